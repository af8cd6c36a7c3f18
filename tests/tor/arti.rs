//! An Arti as the proxy: what keeps lookups apart behind the C Tor does so behind this one. Without a control port it is the
//! relays that tell which circuit a stream rode.

use std::collections::BTreeSet;
use std::io::{Write as _, stderr};
use std::net::{IpAddr, Ipv4Addr};

use isonym::net::dialer::find_tor;
use isonym_sim::{Host, Ledger};
use isonym_testkit::running::eventually;
use isonym_testkit::tor_network::arti::Arti;
use isonym_testkit::tor_network::names::{asked, assert_one_connection_for_each_id, look_all_up, name, value, world};

use crate::daemon::Daemon;
use crate::name_server::HOST;
use crate::network::{beside_others, network};
use crate::raw::{CONNECT, Credentials, GRANTED, RESOLVE, Raw, UNREACHABLE};
use crate::site::Site;

/// Isolation IDs that look names up.
const IDS: usize = 20;

/// Starts one, once it answers; `None` where this machine has none, which is said.
async fn arti(name: &str) -> Option<Arti> {
    let started = network().arti(name);
    match &started {
        Some(arti) => eventually("it answers", async || is_taken_for_tor(arti).await).await,
        // Not by a macro, which would tell nobody.
        None => drop(writeln!(
            stderr(),
            "LEFT OUT: there is no Arti: cargo install --locked arti"
        )),
    }
    started
}

/// Says whether the program takes it for a Tor, as it does where nobody names one.
async fn is_taken_for_tor(arti: &Arti) -> bool {
    find_tor(&[(Ipv4Addr::LOCALHOST, arti.socks).into()]).await.is_some()
}

fn assert_apart(circuits: &[String]) {
    let different: BTreeSet<&String> = circuits.iter().collect();
    assert_eq!(different.len(), circuits.len(), "two on one circuit: {circuits:?}");
}

#[tokio::test]
async fn no_circuit_carries_two_ids_and_each_id_keeps_its_own() {
    let _beside = beside_others().await;
    let network = network();
    let Some(arti) = arti("arti-ids").await else { return };
    let (ledger, world) = (Ledger::new(), world(IDS));
    let near = Host::honest("near", world.clone(), ledger.clone()).await.unwrap();
    let hidden = Host::honest("hidden", world, ledger.clone()).await.unwrap();
    let onion = network.onion_service(50001, hidden.addr);
    let servers = [near.addr.to_string(), format!("{}:50001", onion.host)];
    let daemon = Daemon::start_by(&[&arti.proxy()], &servers, &[]).await;
    look_all_up(&daemon, IDS).await;
    eventually("each connection has its circuit", async || {
        let circuits = [near.addr, hidden.addr].map(|to| network.circuits_of_streams_to(to.port()));
        for circuits in &circuits {
            assert_apart(circuits);
        }
        let open = ledger.connections().iter().filter(|it| !it.closed).count();
        circuits.iter().map(Vec::len).sum::<usize>() == open
    })
    .await;
    assert_one_connection_for_each_id(&ledger.connections(), IDS);
    network.assert_no_leak();
}

#[tokio::test]
async fn an_id_that_was_forgotten_comes_back_on_another_circuit() {
    let _beside = beside_others().await;
    let network = network();
    let Some(arti) = arti("arti-forget").await else { return };
    let ledger = Ledger::new();
    let host = Host::honest("server", world(1), ledger.clone()).await.unwrap();
    let daemon = Daemon::start_by(&[&arti.proxy()], &[host.addr.to_string()], &[]).await;
    for _ in 0..2 {
        assert_eq!(daemon.shows(&name(0, 0), "me").await.unwrap(), value(0, 0));
        daemon.call("isolation_forget", &["me"]).await.unwrap();
    }
    let connections = ledger.connections();
    let of_names = connections.iter().filter(|it| !it.closed && !asked(it, 1).is_empty());
    assert_eq!(of_names.count(), 2);
    let circuits = network.circuits_of_streams_to(host.addr.port());
    assert_apart(&circuits);
    assert_eq!(circuits.len(), connections.iter().filter(|it| !it.closed).count());
}

#[tokio::test]
async fn applications_before_the_front_keep_their_circuits_and_resolve() {
    let _beside = beside_others().await;
    let network = network();
    let Some(arti) = arti("arti-front").await else { return };
    let site = Site::start("plain").await;
    let host = Host::honest("server", world(1), Ledger::new()).await.unwrap();
    let behind = format!("--socks-tor=127.0.0.1:{}", arti.socks);
    let front = ["--socks-listen=127.0.0.1:0", &behind];
    let mut daemon = Daemon::start_by(&[&arti.proxy()], &[host.addr.to_string()], &front).await;
    let address = daemon
        .running
        .says("listening on ", " for SOCKS and HTTP CONNECT")
        .await;
    let (_, port) = address.rsplit_once(':').unwrap();
    let port: u16 = port.parse().unwrap();

    let (alice, bob): (Credentials<'_>, Credentials<'_>) = (Some(("alice", "one")), Some(("bob", "one")));
    let mut held = Vec::new();
    let mut different = 0;
    for (who, is_new) in [
        (alice, true),
        (alice, false),
        (bob, true),
        (Some(("alice", "two")), true),
        (None, true),
        (None, false),
        // Tor's extended way to say the same: the password alone counts.
        (Some(("<torS0X>0", "one")), true),
        (Some(("<torS0X>0", "one")), false),
        (Some(("<torS0X>0", "two")), true),
    ] {
        let raw = Raw::ask(port, who, CONNECT, "127.0.0.1", site.port()).await.unwrap();
        assert_eq!(raw.reply, GRANTED, "{who:?}");
        held.push(raw);
        different += usize::from(is_new);
        eventually("it is on the circuit of its like", async || {
            let circuits = network.circuits_of_streams_to(site.port());
            let all: BTreeSet<&String> = circuits.iter().collect();
            assert!(all.len() <= different, "{who:?}: {circuits:?}");
            circuits.len() == held.len() && all.len() == different
        })
        .await;
    }

    let local = IpAddr::from(Ipv4Addr::LOCALHOST);
    for host in [HOST, "127.0.0.1"] {
        let raw = Raw::ask(port, None, RESOLVE, host, 0).await.unwrap();
        assert_eq!((raw.reply, raw.address), (GRANTED, Some(local)), "{host}");
    }
    let absent = Raw::ask(port, None, RESOLVE, "absent.bit", 0).await.unwrap();
    assert_eq!(absent.reply, UNREACHABLE);
    // That is Arti's own word, which is not always the same.
    let nobody = Raw::ask(port, None, RESOLVE, "nobody.invalid", 0).await.unwrap();
    assert_ne!(nobody.reply, GRANTED);
    network.assert_no_leak();
}

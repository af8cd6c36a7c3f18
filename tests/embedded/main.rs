//! The embedded Tor on a private network on loopback, whose relays say which circuit each stream rode.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test may panic, and is a crate of its own"
)]

mod front;
mod life;

use std::collections::BTreeSet;
use std::path::PathBuf;

use isonym_sim::{Host, Ledger};
use isonym_testkit::program::{End, Program};
use isonym_testkit::running::eventually;
use isonym_testkit::tor_network::daemon::Daemon;
use isonym_testkit::tor_network::names::{
    asked, assert_one_connection_for_each_id, look_all_up, name, syncs, value, world,
};
use isonym_testkit::tor_network::network::{Network, beside_others, network};

/// Isolation IDs that look names up.
const IDS: usize = 50;

/// How an embedded Tor finds the private network, as arguments of the program.
struct WayOut {
    _folder: tempfile::TempDir,
    config: String,
}

impl WayOut {
    fn of(network: &Network) -> Self {
        Self::with(&network.for_arti())
    }

    fn with(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("tor.toml");
        std::fs::write(&path, settings).unwrap();
        Self {
            _folder: folder,
            config: format!("--tor-config={}", path.display()),
        }
    }

    fn arguments(&self) -> [&str; 2] {
        ["--proxy=embedded", &self.config]
    }
}

/// Asserts that no two of these streams ride one circuit, as those see it who connect to where they lead.
fn assert_apart(circuits: &[String]) {
    let different: BTreeSet<&String> = circuits.iter().collect();
    assert_eq!(different.len(), circuits.len(), "two on one circuit: {circuits:?}");
}

#[tokio::test]
async fn a_name_is_shown_through_an_exit_and_from_an_onion_service() {
    let _beside = beside_others().await;
    let network = network();
    let way_out = WayOut::of(network);
    let ledger = Ledger::new();
    let host = Host::honest("server", world(1), ledger.clone()).await.unwrap();
    let onion = network.onion_service(50001, host.addr);
    for server in [host.addr.to_string(), format!("{}:50001", onion.host)] {
        let before = ledger.connections().len();
        let program = Program::new();
        let mut command = program.on_regtest();
        command.args(way_out.arguments());
        command.arg(format!("--server={server}:t"));
        command.args(["name_show", &name(0, 0)]);
        let end = tokio::task::spawn_blocking(move || End::of(&mut command, [""; 0]))
            .await
            .unwrap();
        end.assert_succeeded();
        assert_eq!(end.json()["value"], value(0, 0), "{server}");
        let connections = &ledger.connections()[before..];
        let asked_over: Vec<_> = connections.iter().filter(|it| !asked(it, 1).is_empty()).collect();
        assert!(
            !asked_over.is_empty() && asked_over.iter().all(|it| !syncs(it)),
            "{server}"
        );
        // What it knows of the network lies where all that is ours does.
        assert!(program.folder().join("tor/state").is_dir() && program.folder().join("tor/cache").is_dir());
    }
    network.assert_no_leak();
}

#[tokio::test]
async fn no_circuit_carries_two_ids_and_each_id_keeps_its_own() {
    let _beside = beside_others().await;
    let network = network();
    let way_out = WayOut::of(network);
    let (ledger, world) = (Ledger::new(), world(IDS));
    let near = Host::honest("near", world.clone(), ledger.clone()).await.unwrap();
    let hidden = Host::honest("hidden", world, ledger.clone()).await.unwrap();
    let onion = network.onion_service(50001, hidden.addr);
    let servers = [near.addr.to_string(), format!("{}:50001", onion.host)];
    let daemon = Daemon::start_by(&way_out.arguments(), &servers, &[]).await;
    look_all_up(&daemon, IDS).await;
    // All that the servers have, the network tells of, or something went past it; and none of it shares a circuit.
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
    let way_out = WayOut::of(network);
    let ledger = Ledger::new();
    let host = Host::honest("server", world(1), ledger.clone()).await.unwrap();
    let daemon = Daemon::start_by(&way_out.arguments(), &[host.addr.to_string()], &[]).await;
    let seen = || {
        let connections = ledger.connections();
        let of_names = connections.into_iter().map(|it| (asked(&it, 1), it.closed));
        of_names.filter(|(asked, _)| !asked.is_empty()).collect::<Vec<_>>()
    };
    for number in [0, 1] {
        assert_eq!(daemon.shows(&name(0, number), "me").await.unwrap(), value(0, number));
    }
    assert_eq!(seen(), [(BTreeSet::from([(0, 0), (0, 1)]), false)]);
    daemon.call("isolation_forget", &["me"]).await.unwrap();
    assert_eq!(daemon.shows(&name(0, 1), "me").await.unwrap(), value(0, 1));
    // The old connection, which nobody gets again, ends as it would have.
    let both = [
        (BTreeSet::from([(0, 0), (0, 1)]), false),
        (BTreeSet::from([(0, 1)]), false),
    ];
    assert_eq!(seen(), both);
    let open = ledger.connections().iter().filter(|it| !it.closed).count();
    let circuits = network.circuits_of_streams_to(host.addr.port());
    assert_apart(&circuits);
    assert_eq!(circuits.len(), open);
}

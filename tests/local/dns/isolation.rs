//! Who asks is kept apart: at the backend, in memory, while lookups are on their way, and on circuits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use hickory_proto::rr::rdata::opt::EdnsOption;
use isonym::dns::message::ISOLATION_OPTION;
use isonym::time::Timestamp;
use isonym_sim::ledger::{Connection, Credentials};
use isonym_sim::{AddressKind, Fault, World};
use serde_json::json;

use isonym_testkit::backend::{Backend, Call, Says};
use isonym_testkit::dns::server::{Dns, listens};
use isonym_testkit::dns::wire::{Datagrams, edns_query, query, query_as, tcp, udp};
use isonym_testkit::harness::{Daemon, Stop, honest, id, until};
use isonym_testkit::program::Program;
use isonym_testkit::stage::{NAME, Stage, name_id};

const DOMAIN: &str = "marker-of-the-name.bit";
const IMPORT: &str = "dd/marker-of-the-import";
const ANSWER: [&str; 1] = ["marker-of-the-name.bit. A 192.0.2.1"];

fn call(name: &str, id: Option<&str>) -> Call {
    Call {
        name: name.to_owned(),
        id: id.map(str::to_owned),
    }
}

/// A backend with a name and what it imports.
async fn backend() -> Backend {
    let backend = Backend::start().await;
    backend.say(NAME, Says::value(&json!({ "import": IMPORT })));
    backend.say(IMPORT, Says::value(&json!({ "ip": "192.0.2.1" })));
    backend
}

#[tokio::test]
async fn each_id_asks_for_itself_and_once() {
    let backend = backend().await;
    let dns = Dns::start(&backend, &[]).await;
    let ids = [id(1), id(2)];
    for _ in 0..3 {
        for id in &ids {
            assert_eq!(udp(dns.address, &query_as(id, DOMAIN, "A")).await.answers(), ANSWER);
            assert_eq!(tcp(dns.address, &query_as(id, DOMAIN, "A")).await.answers(), ANSWER);
        }
        // None, an empty one and no EDNS at all are the default identity.
        for asked in [query(DOMAIN, "A"), edns_query(DOMAIN, "A"), query_as("", DOMAIN, "A")] {
            assert_eq!(udp(dns.address, &asked).await.answers(), ANSWER);
        }
    }
    let mut expected = Vec::new();
    for id in [Some(ids[0].as_str()), Some(&ids[1]), None] {
        expected.extend([call(NAME, id), call(IMPORT, id)]);
    }
    assert_eq!(backend.calls(), expected);
    dns.stop().await;
}

#[tokio::test]
async fn absence_and_failure_are_of_one_id_too() {
    let backend = Backend::start().await;
    backend.say_to(&id(1), "d/absent", Says::Code(-4));
    backend.say_to(&id(1), "d/failed", Says::Code(-1));
    backend.say_of_others(Says::value(&json!({ "ip": "192.0.2.1" })));
    let dns = Dns::start(&backend, &[]).await;
    for (name, code) in [("absent.bit", "NXDOMAIN"), ("failed.bit", "SERVFAIL")] {
        assert_eq!(udp(dns.address, &query_as(id(1), name, "A")).await.code(), code);
        assert_eq!(udp(dns.address, &query_as(id(2), name, "A")).await.code(), "NOERROR");
    }
    assert_eq!(backend.count(), 4);
    dns.stop().await;
}

#[tokio::test]
async fn no_id_waits_for_another_ones_lookup() {
    let backend = backend().await;
    let slow = Says::value(&json!({ "ip": "192.0.2.99" })).held();
    backend.say_to(&id(1), NAME, slow);
    let dns = Dns::start(&backend, &[]).await;
    let slow = Datagrams::open(dns.address).await;
    let asked = query_as(id(1), DOMAIN, "A");
    slow.send(&asked.to_vec().unwrap()).await;
    until("it is asked", async || (backend.count() == 1).then_some(())).await;
    for number in 2..20 {
        let other = udp(dns.address, &query_as(id(number), DOMAIN, "A")).await;
        assert_eq!(other.answers(), ANSWER);
    }
    assert_eq!(udp(dns.address, &query(DOMAIN, "A")).await.answers(), ANSWER);
    assert_eq!(backend.count(), 1 + 2 * 19);
    backend.release();
    let late = isonym_testkit::dns::wire::Reply::read(&slow.receive().await);
    assert_eq!(late.answers(), ["marker-of-the-name.bit. A 192.0.2.99"]);
    dns.stop().await;
}

#[tokio::test]
async fn ids_of_any_bytes_stay_what_they_are() {
    let backend = backend().await;
    let dns = Dns::start(&backend, &["--dns-echo-id"]).await;
    let long = "x".repeat(1024);
    for (bytes, text) in [
        (&b"\xff"[..], "hex:ff"),
        (b"\xfe", "hex:fe"),
        (b"hex:ff", "hex:6865783a6666"),
        (b"\0", "\0"),
        ("\u{fffd}".as_bytes(), "\u{fffd}"),
        (long.as_bytes(), &long),
    ] {
        let before = backend.count();
        let reply = tcp(dns.address, &query_as(bytes, DOMAIN, "A")).await;
        assert_eq!(reply.answers(), ANSWER);
        assert_eq!(reply.isolation_id().as_deref(), Some(bytes));
        let expected = [call(NAME, Some(text)), call(IMPORT, Some(text))];
        assert_eq!(backend.calls()[before..], expected);
    }
    let too_long = udp(dns.address, &query_as([b'x'; 1025], DOMAIN, "A")).await;
    assert_eq!(
        (too_long.code().as_str(), too_long.extended_error()),
        ("REFUSED", Some(0))
    );

    // Of several the last counts.
    let mut several = query_as(id(1), DOMAIN, "A");
    let last = EdnsOption::Unknown(ISOLATION_OPTION, id(2).into_bytes());
    several.edns.as_mut().unwrap().options_mut().insert(last);
    udp(dns.address, &several).await;
    let calls = backend.calls();
    assert_eq!(calls[calls.len() - 1], call(IMPORT, Some(&id(2))));
    assert!(!calls.contains(&call(NAME, Some(&id(1)))));
    dns.stop().await;
}

/// Asks twice from two sockets of this machine and twice from one of another address, all without an ID.
async fn ask_around(server: std::net::SocketAddr) {
    let addresses =
        [[127, 0, 0, 2], [127, 0, 0, 2], [127, 0, 0, 3]].map(|address| IpAddr::from(Ipv4Addr::from(address)));
    for address in addresses {
        let client = Datagrams::open_from(address, server).await;
        for _ in 0..2 {
            assert_eq!(client.ask(&query(DOMAIN, "A")).await.answers(), ANSWER);
        }
    }
}

#[tokio::test]
async fn clients_that_can_name_no_id() {
    for (arguments, identities) in [
        (&[][..], 1),
        (&["--dns-isolate=none"], 1),
        (&["--dns-isolate=address"], 2),
        (&["--dns-isolate=port"], 3),
        (&["--dns-isolate=query"], 6),
    ] {
        let backend = backend().await;
        let dns = Dns::start(&backend, arguments).await;
        ask_around(dns.address).await;
        let ids: BTreeSet<_> = backend.calls().into_iter().map(|call| call.id).collect();
        assert_eq!(ids.len(), identities, "{arguments:?}");
        assert_eq!(backend.count(), 2 * identities, "{arguments:?}");
        for id in ids.iter().flatten() {
            // None that a client could name by guessing, and none that tells the address.
            let made_up = id.strip_prefix("dns-client-").unwrap();
            assert!(
                made_up.len() >= 32 && made_up.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{id}"
            );
        }
        // Who names one has it.
        udp(dns.address, &query_as(id(1), DOMAIN, "A")).await;
        assert!(backend.calls().contains(&call(IMPORT, Some(&id(1)))));
        dns.stop().await;
    }
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let mut world = World::new(1, Timestamp(1_700_000_000));
    let value = json!({ "import": IMPORT, "txt": "marker of the value" }).to_string();
    let imported = json!({ "ip": "192.0.2.1" }).to_string();
    world.mine(110);
    world
        .register_all(&[
            (NAME, value, AddressKind::P2wpkh),
            (IMPORT, imported, AddressKind::P2wpkh),
        ])
        .unwrap();
    world.mine(20);
    world
});

/// The connections that asked for a name, each with its credentials.
fn askers(stage: &Stage, name: &str) -> Vec<(Connection, Credentials)> {
    let scripthash = name_id(name).scripthash().to_string();
    let circuits = stage.ledger.circuits().into_iter();
    circuits
        .filter(|(connection, _)| {
            connection
                .requests
                .iter()
                .any(|request| request.line.contains(&scripthash))
        })
        .map(|(connection, way)| (connection, way.unwrap().credentials.unwrap()))
        .collect()
}

/// The numbers of the connections that asked for a name, with in how many flights each did.
fn asked(stage: &Stage, name: &str) -> Vec<(u64, usize)> {
    let scripthash = name_id(name).scripthash().to_string();
    let flights = |connection: &Connection| {
        let requests = connection.requests.iter();
        let methods = requests.filter(|request| request.line.contains(&scripthash));
        let lines = methods.map(|request| request.methods.join(" "));
        let counts = lines.fold(BTreeMap::new(), |mut counts: BTreeMap<String, usize>, line| {
            *counts.entry(line).or_default() += 1;
            counts
        });
        // Along with the greeting, the proof and the history are asked for both.
        counts.into_values().max().unwrap_or_default()
    };
    let askers = askers(stage, name).into_iter();
    askers
        .map(|(connection, _)| (connection.conn.0, flights(&connection)))
        .collect()
}

/// A daemon that serves DNS, the stage it is on, and where it serves.
async fn serving(program: &Program, arguments: &[&str]) -> (Daemon, Stage, std::net::SocketAddr) {
    let (stage, _) = honest(WORLD.clone(), 2).await;
    let arguments = [&["--dns-listen=127.0.0.1:0"], arguments].concat();
    let daemon = Daemon::ready(program, &stage, &arguments).await;
    let server = listens(&daemon.log()).unwrap();
    (daemon, stage, server)
}

/// Asserts that so many connections asked for the name, each one under credentials of its own, and that the import went
/// over the same ones.
#[track_caller]
fn assert_apart(stage: &Stage, identities: usize) {
    let askers_of_name = askers(stage, NAME);
    let credentials: BTreeSet<_> = askers_of_name.iter().map(|(_, credentials)| credentials).collect();
    assert_eq!((askers_of_name.len(), credentials.len()), (identities, identities));
    assert_eq!(asked(stage, NAME), asked(stage, IMPORT));
}

#[tokio::test]
async fn each_id_has_circuits_of_its_own() {
    let program = Program::new();
    let (daemon, stage, server) = serving(&program, &[]).await;
    for number in 0..3 {
        for _ in 0..3 {
            assert_eq!(udp(server, &query_as(id(number), DOMAIN, "A")).await.answers(), ANSWER);
            assert_eq!(tcp(server, &query_as(id(number), DOMAIN, "A")).await.answers(), ANSWER);
        }
        assert_apart(&stage, number + 1);
    }
    for _ in 0..3 {
        assert_eq!(udp(server, &query(DOMAIN, "A")).await.answers(), ANSWER);
    }
    assert_apart(&stage, 4);
    // The default identity of DNS is that of callers without an ID.
    daemon.call("name_show", json!([NAME])).await.unwrap();
    assert_apart(&stage, 4);
    // And an ID is the same one wherever it is named.
    daemon
        .call("name_show", json!([NAME, { "streamID": id(0) }]))
        .await
        .unwrap();
    assert_apart(&stage, 4);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn a_new_identity_begins_with_nothing() {
    let program = Program::new();
    let (daemon, stage, server) = serving(&program, &[]).await;
    let ask = async |number| {
        assert_eq!(udp(server, &query_as(id(number), DOMAIN, "A")).await.answers(), ANSWER);
    };
    ask(0).await;
    ask(1).await;
    assert_apart(&stage, 2);
    daemon.call("isolation_forget", json!([id(0)])).await.unwrap();
    assert!(askers(&stage, NAME).iter().all(|(connection, _)| !connection.closed));
    ask(1).await;
    assert_apart(&stage, 2);
    ask(0).await;
    assert_apart(&stage, 3);
    // All of them.
    daemon.call("isolation_forget", json!([])).await.unwrap();
    ask(0).await;
    ask(1).await;
    assert_apart(&stage, 5);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn the_daemon_keeps_clients_apart_that_can_name_no_id() {
    for (arguments, identities) in [
        (&["--dns-isolate=address"], 2),
        (&["--dns-isolate=port"], 3),
        (&["--dns-isolate=query"], 6),
        (&["--isolate-anonymous"], 6),
    ] {
        let program = Program::new();
        let (daemon, stage, server) = serving(&program, arguments).await;
        ask_around(server).await;
        assert_apart(&stage, identities);
        if identities == 6 {
            // Nobody will ask under them again.
            until("they are forgotten", async || {
                let info = daemon.call("isolation_info", json!([])).await.unwrap();
                (info["ids"] == 0).then_some(())
            })
            .await;
        }
        daemon.stop(Stop::Terminate, &stage.ledger).await;
    }
}

#[tokio::test]
async fn a_daemon_whose_headers_are_not_there_yet_or_whose_servers_are_gone() {
    let (stage, _) = honest(WORLD.clone(), 1).await;
    let delay = std::time::Duration::from_secs(2);
    stage.hosts[0].set_fault(Some(Fault::Slow { delay }));
    let program = Program::new();
    let arguments = ["--dns-listen=127.0.0.1:0"];
    let daemon = Daemon::start(&program, &stage, &arguments).await;
    let server = listens(&daemon.log()).unwrap();
    let reply = udp(server, &edns_query(DOMAIN, "A")).await;
    assert_eq!((reply.code().as_str(), reply.extended_error()), ("SERVFAIL", Some(14)));
    assert!(!reply.message.metadata.authoritative);
    stage.hosts[0].set_fault(None);
    daemon.synced().await;
    until("it recovers", async || {
        let reply = udp(server, &edns_query(DOMAIN, "A")).await;
        (reply.answers() == ANSWER).then_some(())
    })
    .await;
    // A value that its transaction has not.
    stage.hosts[0].set_fault(Some(Fault::ForgedValue));
    let reply = udp(server, &query_as(id(1), DOMAIN, "A")).await;
    assert_eq!((reply.code().as_str(), reply.extended_error()), ("SERVFAIL", Some(22)));
    let Stage { proxy, ledger, .. } = stage;
    drop(proxy);
    until("nobody can be reached", async || {
        let reply = udp(server, &query_as(rand::random::<[u8; 8]>(), DOMAIN, "A")).await;
        assert_eq!(reply.code(), "SERVFAIL");
        (reply.extended_error() == Some(23)).then_some(())
    })
    .await;
    daemon.stop(Stop::Terminate, &ledger).await;
}

//! Isolation on a real Tor: a private network on loopback, whose control port says which circuit each stream rode.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may panic and read the clock, and is a crate of its own"
)]

mod arti;
mod bootstrap;
mod living_names;
mod naming;

use std::collections::BTreeSet;

use isonym_sim::{Host, Ledger};
use isonym_testkit::program::{End, Program};
use isonym_testkit::running::eventually;
use isonym_testkit::tor_network::names::{
    NAMES, asked, assert_one_connection_for_each_id, look_all_up, name, syncs, value, world,
};
use isonym_testkit::tor_network::{client, daemon, name_server, network, raw, record, site, users};

use daemon::Daemon;
use network::{beside_others, network};
use record::{Record, Stream};

/// Isolation IDs that look names up.
const IDS: usize = 50;

/// Returns the streams that had reached their target and have ended.
fn closed(record: &Record) -> Vec<Stream> {
    let streams = record.streams().into_iter();
    streams.filter(|it| it.succeeded && it.closed.is_some()).collect()
}

/// Asserts what holds for all streams of the program where nobody else uses the Tor: see [`assert_kept_apart`].
fn assert_apart(record: &Record) {
    let streams = record.streams();
    assert_kept_apart(&streams, &[]);
    assert_eq!(record.resolved(), Vec::<String>::new());
}

/// Asserts what holds for all streams of the program: each has user and password that no other has, and circuits that
/// no other stream was ever put on, those of others included.
fn assert_kept_apart(streams: &[Stream], others: &[Stream]) {
    let mut words = BTreeSet::new();
    let mut circuits: BTreeSet<u64> = others.iter().flat_map(|stream| stream.circuits.clone()).collect();
    for stream in streams {
        let Some((user, password)) = stream.credentials() else {
            panic!("no credentials: {stream:?}")
        };
        for word in [user, password] {
            assert!(word.len() >= 32 && words.insert(word), "used before: {stream:?}");
        }
        for circuit in &stream.circuits {
            assert!(
                circuits.insert(*circuit),
                "another stream on circuit {circuit}: {stream:?}"
            );
        }
        assert!(stream.circuits.len() == 1 || !stream.succeeded, "{stream:?}");
    }
}

#[tokio::test]
async fn a_name_is_shown_through_an_exit_and_from_an_onion_service() {
    let _beside = beside_others().await;
    let network = network();
    let tor = network.client("one-shot");
    let ledger = Ledger::new();
    let host = Host::honest("server", world(1), ledger.clone()).await.unwrap();
    let onion = network.onion_service(50001, host.addr);
    for server in [host.addr.to_string(), format!("{}:50001", onion.host)] {
        let record = tor.record();
        let before = ledger.connections().len();
        let program = Program::new();
        let mut command = program.on_regtest();
        command.args([tor.proxy(), format!("--server={server}:t")]);
        command.args(["name_show", &name(0, 0)]);
        let end = tokio::task::spawn_blocking(move || End::of(&mut command, [""; 0]))
            .await
            .unwrap();
        end.assert_succeeded();
        assert_eq!(end.json()["value"], value(0, 0), "{server}");
        assert_apart(&record);
        let streams = record.streams();
        assert!(streams.iter().all(|stream| stream.target == server), "{streams:?}");
        let connections = &ledger.connections()[before..];
        assert_eq!(record.succeeded(), connections.len(), "all went through Tor");
        assert!(connections.iter().any(|connection| !asked(connection, 1).is_empty()));
        assert!(
            !connections
                .iter()
                .any(|connection| syncs(connection) && !asked(connection, 1).is_empty())
        );
    }
}

#[tokio::test]
async fn no_circuit_carries_two_ids_and_each_id_keeps_its_own() {
    let _beside = beside_others().await;
    let network = network();
    let tor = network.client("fifty");
    let (ledger, world) = (Ledger::new(), world(IDS));
    let near = Host::honest("near", world.clone(), ledger.clone()).await.unwrap();
    let hidden = Host::honest("hidden", world, ledger.clone()).await.unwrap();
    let onion = network.onion_service(50001, hidden.addr);
    let record = tor.record();
    let servers = [near.addr.to_string(), format!("{}:50001", onion.host)];
    let daemon = Daemon::start(&tor, &servers, &[]).await;
    look_all_up(&daemon, IDS).await;
    // All that the servers saw, the control port has told, or something went past Tor.
    eventually("each connection has its stream", async || {
        record.succeeded() == ledger.connections().len()
    })
    .await;

    // As each stream has circuits of its own, no circuit serves two IDs if no connection does.
    assert_apart(&record);
    assert_one_connection_for_each_id(&ledger.connections(), IDS);
    let streams = record.streams();
    assert!(streams.len() > IDS);
    for server in servers {
        assert!(
            streams.iter().any(|stream| stream.succeeded && stream.target == server),
            "{server}"
        );
    }
}

#[tokio::test]
async fn an_id_that_was_forgotten_comes_back_on_another_circuit() {
    let _beside = beside_others().await;
    let tor = network().client("forget");
    let ledger = Ledger::new();
    let host = Host::honest("server", world(1), ledger.clone()).await.unwrap();
    let record = tor.record();
    let daemon = Daemon::start(&tor, &[host.addr.to_string()], &[]).await;
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
    // What it knew is forgotten too: the name is asked for again.
    assert_eq!(daemon.shows(&name(0, 1), "me").await.unwrap(), value(0, 1));
    // The old connection, which nobody gets again, ends by idleness in some minutes, as it would have: one that ended now
    // would say that both are of one user.
    let both = [
        (BTreeSet::from([(0, 0), (0, 1)]), false),
        (BTreeSet::from([(0, 1)]), false),
    ];
    assert_eq!(seen(), both);
    eventually("each connection has its stream", async || {
        record.succeeded() == ledger.connections().len()
    })
    .await;
    assert_apart(&record);
    assert_eq!(daemon.shows(&name(0, 0), "me").await.unwrap(), value(0, 0));
    assert_eq!(
        seen(),
        [
            (BTreeSet::from([(0, 0), (0, 1)]), false),
            (BTreeSet::from([(0, 0), (0, 1)]), false),
        ]
    );
    assert!(closed(&record).is_empty(), "{:?}", closed(&record));
}

#[tokio::test]
async fn lookups_fail_while_tor_is_down_and_work_again_after_it() {
    let _beside = beside_others().await;
    let mut tor = network().client("restart");
    let ledger = Ledger::new();
    let world = world(2);
    let host = Host::honest("server", world.clone(), ledger.clone()).await.unwrap();
    let before = tor.record();
    let daemon = Daemon::start(&tor, &[host.addr.to_string()], &[]).await;
    assert_eq!(daemon.shows(&name(0, 0), "a").await.unwrap(), value(0, 0));
    tor.kill();
    eventually("all connections have ended", async || {
        before.ended() && ledger.connections().iter().all(|connection| connection.closed)
    })
    .await;
    assert_apart(&before);
    let met = ledger.connections().len();
    // Each within the time that a call may take: an ID that had a connection, and a new one.
    for (number, id) in [(1, "a"), (2, "b")] {
        let error = daemon.shows(&name(0, number), id).await.unwrap_err().to_string();
        assert!(error.contains("no proxy at socks5://127.0.0.1:"), "{error}");
    }
    assert_eq!(ledger.connections().len(), met, "something went past Tor");

    tor.go_on().unwrap();
    let after = tor.record();
    eventually("lookups work again", async || {
        daemon
            .shows(&name(0, 1), "a")
            .await
            .is_ok_and(|shown| shown == value(0, 1))
    })
    .await;
    assert_eq!(daemon.shows(&name(0, 2), "b").await.unwrap(), value(0, 2));
    let height = world.change(|world| {
        world.mine(1);
        world.chain().height()
    });
    eventually("header sync goes on", async || {
        daemon.call("getblockcount", &[]).await.unwrap() == height
    })
    .await;
    eventually("each connection has its stream", async || {
        let streams = after.streams();
        streams.iter().all(|stream| stream.succeeded || stream.closed.is_some())
    })
    .await;
    assert_apart(&after);
    let again = &ledger.connections()[met..];
    assert!(
        again.iter().all(|connection| asked(connection, 2).len() <= 1),
        "two IDs"
    );
}

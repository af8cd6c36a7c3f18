//! Who asks is kept apart: as Tor keeps streams apart, so are the lookups for them.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::JoinSet;

use super::scene::{IDS, Scene, controller, in_control};
use crate::client::Tor;
use crate::raw::fetch;
use crate::record::{Record, Stream};
use crate::users::{Way, curl};
use crate::{NAMES, asked, assert_kept_apart, closed, syncs};
use isonym_testkit::running::{eventually, until};

/// A name, and its port.
fn site(scene: &Scene, id: usize, number: usize) -> (String, u16) {
    (format!("of-{id}-{number}.bit"), scene.plain.port())
}

async fn assert_fetched(scene: &Scene, proxy: u16, user: &str, (host, port): (String, u16)) {
    let page = fetch(proxy, Some((user, "password")), &host, port).await.unwrap();
    assert!(page.ends_with(&scene.plain.text), "{page}");
}

/// Returns the streams of the program, and those of applications.
fn parted(scene: &Scene, record: &Record) -> (Vec<Stream>, Vec<Stream>) {
    let server = scene.server();
    record.streams().into_iter().partition(|stream| stream.target == server)
}

/// Returns what was asked over each connection with lookups, and whether it was closed. An ID has one such connection, as
/// all names here have values.
fn lookups(scene: &Scene) -> Vec<(BTreeSet<(usize, usize)>, bool)> {
    let connections = scene.ledger.connections().into_iter();
    let of_names = connections.map(|it| (asked(&it, IDS), it.closed));
    of_names.filter(|(asked, _)| !asked.is_empty()).collect()
}

#[tokio::test]
async fn lookups_are_apart_as_the_streams_are_with_a_controller() {
    let scene = Scene::new().await;
    let tor = scene.network.naming_client("apart", true);
    let record = tor.record();
    let _daemon = scene.naming_daemon(&tor).await;
    assert_apart(&scene, &record, tor.ports().socks).await;
}

#[tokio::test]
async fn lookups_are_apart_as_the_streams_are_by_the_socks_front() {
    let scene = Scene::new().await;
    let tor = scene.network.client("apart-by-front");
    let record = tor.record();
    let (_daemon, front) = scene.front(&tor).await;
    assert_apart(&scene, &record, front).await;
}

/// Asks for all names of all users, and asserts that nothing tells that two of them are one.
async fn assert_apart(scene: &Scene, record: &Record, socks: u16) {
    for number in 0..NAMES {
        let mut fetches = JoinSet::new();
        for id in 0..IDS {
            let ((host, port), text) = (site(scene, id, number), scene.plain.text.clone());
            fetches.spawn(async move {
                let user = format!("user-{id}");
                let page = fetch(socks, Some((&user, "password")), &host, port).await;
                assert!(
                    page.as_ref().is_ok_and(|page| page.ends_with(&text)),
                    "{host}: {page:?}"
                );
            });
        }
        while let Some(done) = fetches.join_next().await {
            done.unwrap();
        }
    }
    eventually("each connection has its stream", async || {
        let (lookups, _) = parted(scene, record);
        let succeeded = lookups.iter().filter(|stream| stream.succeeded).count();
        succeeded == scene.ledger.connections().len()
    })
    .await;

    let (lookups, applications) = parted(scene, record);
    // No lookup rides with another one, nor with what an application does.
    assert_kept_apart(&lookups, &applications);
    let mut of_ids: BTreeMap<usize, Vec<BTreeSet<usize>>> = BTreeMap::new();
    for connection in scene.ledger.connections() {
        let asked = asked(&connection, IDS);
        let ids: BTreeSet<usize> = asked.iter().map(|(id, _)| *id).collect();
        assert!(ids.len() <= 1, "two IDs: {asked:?}");
        assert!(asked.is_empty() || !syncs(&connection), "a lookup rode header sync");
        for id in ids {
            of_ids
                .entry(id)
                .or_default()
                .push(asked.iter().map(|(_, number)| *number).collect());
        }
    }
    // Who has the same circuit in Tor has one identity here.
    let everything = vec![(0..NAMES).collect::<BTreeSet<_>>()];
    for id in 0..IDS {
        assert_eq!(of_ids.get(&id), Some(&everything), "ID {id}");
    }

    // The streams of applications are on the circuits that Tor gives them anyway.
    let mut circuits: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for stream in &applications {
        assert!(stream.succeeded, "{stream:?}");
        let (user, _) = stream.credentials().unwrap();
        circuits.entry(user).or_default().extend(&stream.circuits);
    }
    assert_eq!((applications.len(), circuits.len()), (IDS * NAMES, IDS));
    let mut all = BTreeSet::new();
    for (user, circuits) in circuits {
        assert_eq!(circuits.len(), 1, "{user}: {circuits:?}");
        assert!(circuits.into_iter().all(|circuit| all.insert(circuit)), "{user}");
    }
    assert_eq!(record.resolved(), Vec::<String>::new());
    scene.network.assert_no_leak();
}

#[tokio::test]
async fn there_are_no_fewer_identities_than_circuits() {
    let scene = Scene::new().await;
    let tor = scene.network.naming_client("flags", true);
    let record = tor.record();
    let _daemon = scene.naming_daemon(&tor).await;
    let flags = [
        "IsolateDestAddr",
        "IsolateDestPort IsolateClientProtocol",
        "NoIsolateSOCKSAuth",
    ];
    let ports = tor.listen_too(&flags);
    let [by_address, by_port, together] = ports[..] else {
        panic!()
    };
    let plain = tor.ports().socks;
    let [alice, bob] = ["alice", "bob"].map(|user| Some((user, "password")));
    let mut expected = 0;
    for (proxy, who, id, number, new) in [
        (plain, alice, 0, 0, 1),
        (plain, alice, 0, 1, 0),
        (plain, alice, 1, 0, 0),
        (plain, bob, 0, 0, 1),
        (plain, Some(("alice", "other")), 0, 0, 1),
        (plain, None, 0, 0, 1),
        (plain, None, 0, 1, 0),
        (by_address, alice, 0, 0, 1),
        (by_address, alice, 0, 0, 0),
        (by_address, alice, 0, 1, 1),
        (by_port, alice, 0, 0, 1),
        (by_port, alice, 0, 1, 0),
        (together, alice, 0, 0, 1),
        (together, bob, 0, 0, 0),
        (together, bob, 0, 1, 0),
    ] {
        let (host, port) = site(&scene, id, number);
        let page = fetch(proxy, who, &host, port).await.unwrap();
        assert!(page.ends_with(&scene.plain.text));
        expected += new;
        assert_eq!(lookups(&scene).len(), expected, "{who:?} at {host} by {proxy}");
    }
    // By a port of its own, which is a group of its own.
    let url = format!("http://of-0-0.bit:{}/", scene.plain.port());
    curl(Way::Http, tor.ports().http, "alice", &url)
        .await
        .assert_succeeded();
    assert_eq!(lookups(&scene).len(), expected + 1);
    let (lookups, applications) = parted(&scene, &record);
    let circuits: BTreeSet<u64> = applications.iter().flat_map(|stream| stream.circuits.clone()).collect();
    // But for one: by IsolateDestAddr lookups are apart as names are, and streams as the addresses that names stand for.
    assert_eq!(circuits.len(), expected, "{applications:?}");
    assert_kept_apart(&lookups, &applications);
    scene.network.assert_no_leak();
}

#[tokio::test]
async fn a_new_identity_is_new_for_lookups_too() {
    let scene = Scene::new().await;
    let tor = scene.network.naming_client("identity", true);
    let record = tor.record();
    let _daemon = scene.naming_daemon(&tor).await;
    assert_new_identity(&scene, &tor, tor.ports().socks, [&record, &record]).await;
}

#[tokio::test]
async fn a_new_identity_is_told_to_a_daemon_elsewhere() {
    let scene = Scene::new().await;
    let way = scene.network.client("not-identity");
    let of_lookups = way.record();
    let daemon = scene.daemon(&way, &[]).await;
    let tor = scene.network.naming_client("identity-alone", true);
    let record = tor.record();
    let _controller = controller(daemon.program(), &["--control", &tor.control_port()]).await;
    assert_new_identity(&scene, &tor, tor.ports().socks, [&record, &of_lookups]).await;
}

#[tokio::test]
async fn a_new_identity_is_new_for_lookups_by_the_socks_front() {
    let scene = Scene::new().await;
    let tor = scene.network.naming_client("identity-by-front", true);
    let record = tor.record();
    let control = format!("--tor-control={}", tor.control_port());
    let (mut daemon, front) = scene.front_with(&tor, &[&control]).await;
    in_control(&mut daemon.running).await;
    assert_new_identity(&scene, &tor, front, [&record, &record]).await;
}

/// Asserts that a new identity of a Tor makes a daemon forget all that was asked by a port, and closes nothing: what ended
/// with it would be known for one user's. `records` are of the streams of applications, and of those of lookups.
async fn assert_new_identity(scene: &Scene, tor: &Tor, socks: u16, [record, of_lookups]: [&Record; 2]) {
    for number in [0, 1] {
        assert_fetched(scene, socks, "me", site(scene, 0, number)).await;
    }
    assert_fetched(scene, socks, "you", site(scene, 1, 0)).await;
    let mut expected = vec![
        (BTreeSet::from([(0, 0), (0, 1)]), false),
        (BTreeSet::from([(1, 0)]), false),
    ];
    assert_eq!(lookups(scene), expected);

    tor.control().unwrap().command("SIGNAL NEWNYM").unwrap();
    // It is there with the first stream that has it: one that needs no lookup.
    until("Tor has a new identity", async || {
        let page = fetch(socks, Some(("me", "password")), "other.example", scene.plain.port()).await;
        assert!(page.unwrap().ends_with(&scene.plain.text));
        let streams = record.streams();
        streams.iter().any(|stream| stream.epoch > 0).then_some(())
    })
    .await;
    // What was known is known no more, and is asked for over a connection of its own.
    eventually("all IDs are forgotten", async || {
        assert_fetched(scene, socks, "me", site(scene, 0, 1)).await;
        lookups(scene).len() > expected.len()
    })
    .await;
    assert_fetched(scene, socks, "you", site(scene, 1, 0)).await;
    expected.push((BTreeSet::from([(0, 1)]), false));
    expected.push((BTreeSet::from([(1, 0)]), false));
    assert_eq!(lookups(scene), expected);
    // Those of before are nobody's: what is asked next goes over the new ones.
    assert_fetched(scene, socks, "me", site(scene, 0, 2)).await;
    expected[2].0.insert((0, 2));
    assert_eq!(lookups(scene), expected);
    let (lookups, applications) = parted(scene, record);
    assert_kept_apart(&lookups, &applications);
    let server = scene.server();
    let closed = closed(of_lookups).into_iter().filter(|stream| stream.target == server);
    assert_eq!(closed.count(), 0, "streams of lookups have ended");
    scene.network.assert_no_leak();
}

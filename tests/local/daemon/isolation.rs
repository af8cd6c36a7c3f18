//! What proxy and servers see of callers: nothing that joins two of them.

use std::collections::BTreeSet;

use isonym_sim::ledger::{Connection, Credentials};
use serde_json::json;

use isonym_testkit::harness::{Daemon, Stop, honest, id, until};
use isonym_testkit::program::Program;
use isonym_testkit::stage::{NAME, Stage, VALUE, name_id, world};

const IDS: usize = 20;

/// The connections that asked for the name, each with its credentials.
fn askers(stage: &Stage) -> Vec<(Connection, Credentials)> {
    let scripthash = name_id(NAME).scripthash().to_string();
    let asked = |connection: &Connection| {
        connection
            .requests
            .iter()
            .any(|request| request.line.contains(&scripthash))
    };
    let circuits = stage.ledger.circuits().into_iter();
    circuits
        .filter(|(connection, _)| asked(connection))
        .map(|(connection, way)| (connection, way.unwrap().credentials.unwrap()))
        .collect()
}

fn credentials(askers: &[(Connection, Credentials)]) -> BTreeSet<Credentials> {
    askers.iter().map(|(_, credentials)| credentials.clone()).collect()
}

async fn assert_all_served(daemon: &Daemon) {
    for number in 0..IDS {
        assert_eq!(daemon.value(&id(number)).await, Ok(VALUE.to_owned()));
    }
}

#[tokio::test]
async fn one_name_under_many_ids() {
    let (stage, _) = honest(world(), 2).await;
    let program = Program::new();
    // The first question over a connection of one's own goes out before it is known what the server can do.
    let daemon = Daemon::ready(&program, &stage, &["--pool=none"]).await;
    assert_all_served(&daemon).await;
    let first = askers(&stage);
    assert_eq!(first.len(), IDS);
    assert_eq!(credentials(&first).len(), IDS);
    let lines = |connection: &Connection| -> Vec<String> {
        let lines = connection.requests.iter().map(|request| request.line.clone());
        // How many companions a flight has depends on how long the server takes for it.
        let of_flights = |line: &String| !line.contains("server.ping") && !line.contains("blockchain.block.headers");
        lines.filter(of_flights).collect()
    };
    for (connection, _) in &first {
        assert!(!connection.closed);
        // The handshake's lines, then those of one lookup, the same for all.
        assert_eq!(lines(connection).len(), lines(&first[0].0).len());
    }
    // All connections of the daemon have credentials of their own, whatever they are for.
    let proxied = stage.ledger.proxied();
    let all: BTreeSet<_> = proxied.iter().map(|way| way.credentials.clone().unwrap()).collect();
    assert_eq!(all.len(), proxied.len());
    assert!(stage.ledger.circuits().iter().all(|(_, way)| way.is_some()));

    // Again: from memory, each its own.
    let requests = |askers: &[(Connection, Credentials)]| -> usize {
        askers.iter().map(|(connection, _)| connection.requests.len()).sum()
    };
    assert_all_served(&daemon).await;
    let second = askers(&stage);
    assert_eq!((second.len(), requests(&second)), (IDS, requests(&first)));

    let forgotten = daemon.call("isolation_forget", json!([id(7)])).await;
    assert_eq!(forgotten, Ok(json!(null)));
    assert!(
        askers(&stage).iter().all(|(it, _)| !it.closed),
        "to close it now would tell"
    );
    assert_all_served(&daemon).await;
    let third = askers(&stage);
    assert_eq!((third.len(), credentials(&third).len()), (IDS + 1, IDS + 1));

    assert_eq!(daemon.call("isolation_forget", json!([])).await, Ok(json!(null)));
    let info = until("all IDs are forgotten", async || {
        let info = daemon.call("isolation_info", json!([])).await.unwrap();
        (info["ids"] == 0).then_some(info)
    })
    .await;
    assert_eq!(info["dirty"], 0);
    assert_eq!(daemon.value(&id(0)).await, Ok(VALUE.to_owned()));
    let fourth = askers(&stage);
    assert_eq!((fourth.len(), credentials(&fourth).len()), (IDS + 2, IDS + 2));
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn all_styles_name_the_same_ids() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    let id = id(0);
    for params in [
        json!([NAME, { "streamID": id }]),
        json!([NAME, { "isolation_id": id }]),
        json!([NAME, "ascii", "ascii", id]),
        json!({ "identifier": NAME, "stream_id": id }),
        json!({ "identifier": NAME, "isolation_id": id }),
        json!({ "name": NAME, "isolation_id": id }),
    ] {
        daemon.call("name_show", params).await.unwrap();
        assert_eq!(askers(&stage).len(), 1);
    }
    // A history has no place in memory, but the ID's connection.
    daemon
        .call("name_history", json!([NAME, { "streamID": id }]))
        .await
        .unwrap();
    assert_eq!(askers(&stage).len(), 1);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn callers_without_an_id() {
    let (stage, _) = honest(world(), 1).await;
    for (arguments, connections) in [(&[][..], 1), (&["--isolate-anonymous"][..], 3)] {
        let program = Program::new();
        let before = askers(&stage).len();
        let daemon = Daemon::ready(&program, &stage, arguments).await;
        for params in [json!([NAME]), json!([NAME, { "streamID": "" }]), json!([NAME, "ascii"])] {
            daemon.call("name_show", params).await.unwrap();
        }
        assert_eq!(askers(&stage).len() - before, connections);
        daemon.stop(Stop::Terminate, &stage.ledger).await;
    }
}

#[tokio::test]
async fn ids_that_are_too_many_and_too_old() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &["--max-ids=2", "--isolation-ttl=3"]).await;
    for number in [0, 1, 2] {
        assert_eq!(daemon.value(&id(number)).await, Ok(VALUE.to_owned()));
    }
    until("the idle IDs are forgotten", async || {
        let info = daemon.call("isolation_info", json!([])).await.unwrap();
        (info["ids"] == 0 && info["dirty"] == 0 && info["parting"] == 4).then_some(())
    })
    .await;
    // Whoever saw them end together would know that they are one user's.
    assert!(askers(&stage).iter().all(|(connection, _)| !connection.closed));
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

//! That nothing of ours shows in what we ask: not our anchor, not our headers, not that somebody wants to be forgotten.

use isonym::chain::{Anchor, Network};
use isonym_sim::{Release, SimChain, World};
use serde_json::json;

use isonym_testkit::harness::{Daemon, Stop, honest, id, until};
use isonym_testkit::one_shot::{self, OneShot};
use isonym_testkit::program::Program;
use isonym_testkit::running::{end_of, signal};
use isonym_testkit::stage::{NAME, Stage, VALUE, lookup_settings, name_id, world};

fn anchor_at(chain: &SimChain, height: u32) -> Anchor {
    Anchor {
        height,
        hash: chain.header(height).unwrap().hash(),
        chainwork: None,
    }
}

/// The requests over the connection that asked for the history, without what depends on the time that replies take.
async fn asked_for_a_history(world: World, anchor: Anchor) -> (usize, Vec<Vec<String>>) {
    let stage = Stage::open(world, Release::V1_17, &[None]).await;
    let folder = tempfile::tempdir().unwrap();
    let node = OneShot::synced(
        stage.node_from(folder.path(), anchor),
        one_shot::settings(lookup_settings(3, 1)),
    )
    .await;
    let (entries, left_out) = node.name_history(&name_id(NAME)).await.unwrap();
    assert_eq!(entries.len() + left_out, 3);
    let scripthash = name_id(NAME).scripthash().to_string();
    let connections = stage.ledger.connections_that_asked(&scripthash);
    let [connection] = &connections[..] else {
        panic!("{}", connections.len())
    };
    let requests = connection.requests.iter().map(|request| request.methods.clone());
    let requests = requests.filter(|methods| methods != &["blockchain.block.headers"]);
    (left_out, requests.collect())
}

#[tokio::test]
async fn a_history_asks_for_the_same_whatever_our_anchor_is() {
    let mut world = world();
    // Headers are kept for 30 blocks below an anchor.
    world.mine(40);
    let chain = world.chain();
    let anchors = [
        Anchor::shipped(Network::Regtest).unwrap(),
        anchor_at(chain, chain.height() - 1),
    ];
    let (none_left_out, low) = asked_for_a_history(world.clone(), anchors[0]).await;
    let (some_left_out, high) = asked_for_a_history(world.clone(), anchors[1]).await;
    assert_eq!(none_left_out, 0);
    assert!(some_left_out > 0, "of these the headers are not there");
    assert_eq!(low, high);
}

#[tokio::test]
async fn signals_for_a_new_identity_and_of_a_terminal_that_hangs_up_end_nothing() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &["--pool=none"]).await;
    assert_eq!(daemon.value(&id(0)).await, Ok(VALUE.to_owned()));
    let askers = || {
        let scripthash = name_id(NAME).scripthash().to_string();
        stage.ledger.connections_that_asked(&scripthash)
    };
    end_of(signal("-HUP", daemon.pid())).await.assert_succeeded();
    assert_eq!(daemon.value(&id(0)).await, Ok(VALUE.to_owned()));
    assert_eq!(askers().len(), 1, "it is remembered");
    end_of(signal("-USR1", daemon.pid())).await.assert_succeeded();
    until("who asked for what is forgotten", async || {
        let info = daemon.call("isolation_info", json!([])).await.unwrap();
        (info["ids"] == 0).then_some(())
    })
    .await;
    assert_eq!(daemon.value(&id(0)).await, Ok(VALUE.to_owned()));
    let askers = askers();
    assert_eq!(askers.len(), 2);
    assert!(askers.iter().all(|connection| !connection.closed), "none ends for it");
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

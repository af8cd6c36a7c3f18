//! Names that are asked for while headers are fetched, or whose proofs need headers that come last.

use isonym::chain::Anchor;
use isonym::chain::sync::HeaderSyncLimits;
use isonym::service::DaemonSettings;
use isonym_sim::Release;

use isonym_testkit::harness::until;
use isonym_testkit::one_shot::{self, OneShot};
use isonym_testkit::stage::{NAME, SETTLED, Stage, VALUE, lookup_settings, name_id, world};

fn asking_at_once() -> DaemonSettings {
    DaemonSettings {
        asks_beside_sync: true,
        ..one_shot::settings(lookup_settings(3, 1))
    }
}

#[tokio::test]
async fn a_name_is_asked_for_before_headers_are_there_and_not_answered() {
    let stage = Stage::open(world(), Release::V1_17, &[None]).await;
    let (node, _folder) = stage.node();
    let settings = DaemonSettings {
        // Header sync opens no connection, so that it never ends.
        sync: HeaderSyncLimits {
            connections: 0,
            ..asking_at_once().sync
        },
        ..asking_at_once()
    };
    let node = OneShot::start(node, settings).await;
    let name = name_id(NAME);
    let asked = until("the question", async || (stage.asked(0, NAME) > 0).then_some(()));
    tokio::select! {
        result = node.name_show(&name, 1) => panic!("{result:?}"),
        () = asked => {}
    }
    assert_eq!(node.tip().height, 0);
}

#[tokio::test]
async fn what_was_asked_beside_sync_is_answered_over_one_connection() {
    let stage = Stage::open(world(), Release::V1_17, &[None]).await;
    let (node, _folder) = stage.node();
    let node = OneShot::start(node, asking_at_once()).await;
    assert_eq!(node.value(1).await, VALUE);
    assert_eq!((stage.asked(0, NAME), stage.met_by_lookups(0)), (1, 1));
}

#[tokio::test]
async fn a_daemon_refuses_what_comes_before_headers_are_there() {
    let stage = Stage::open(world(), Release::V1_17, &[None]).await;
    let (node, _folder) = stage.node();
    let node = OneShot::start(node, one_shot::settings(lookup_settings(3, 1))).await;
    assert!(node.name_show(&name_id(NAME), 1).await.is_err());
    assert_eq!(stage.asked(0, NAME), 0);
}

#[tokio::test]
async fn a_proof_may_go_below_the_anchor() {
    let mut world = world();
    let height = world.chain().height() - SETTLED - 1;
    // What is above the anchor needs twelve confirmations where not all below it is shown.
    world.mine(4);
    let chain = world.chain();
    let history = chain.history(&name_id(NAME).scripthash());
    let below = history.iter().filter(|entry| entry.height < height).count();
    assert_eq!((history.len(), below), (3, 2), "all but the newest operation");
    let anchor = Anchor {
        height,
        hash: chain.header(height).unwrap().hash(),
        chainwork: None,
    };
    for settings in [one_shot::settings(lookup_settings(3, 1)), asking_at_once()] {
        let stage = Stage::open(world.clone(), Release::V1_17, &[None]).await;
        let folder = tempfile::tempdir().unwrap();
        let node = OneShot::start(stage.node_from(folder.path(), anchor), settings).await;
        if !settings.asks_beside_sync {
            node.sync().await.unwrap();
        }
        assert_eq!(node.value(1).await, VALUE);
    }
}

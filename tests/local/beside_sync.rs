//! Names that are asked for while headers are fetched, or whose proofs need headers that come last.

use isonym::chain::sync::HeaderSyncLimits;
use isonym::chain::{Anchor, Network};
use isonym::net::Proxy;
use isonym::service::DaemonSettings;
use isonym::{IsolationId, LightClient, Outcome};
use isonym_sim::{Fault, Release};

use isonym_testkit::harness::{until, way};
use isonym_testkit::one_shot::{self, OneShot};
use isonym_testkit::program::Program;
use isonym_testkit::running::Running;
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

/// Starts a program's light client among the servers of a stage.
async fn light_client(stage: &Stage, folder: &std::path::Path) -> LightClient {
    let servers = stage.hosts.iter().map(|host| format!("{}:50001:t", host.name));
    LightClient::builder(Network::Regtest, folder)
        .proxy(Proxy::Socks5(vec![stage.proxy.addr]))
        .servers(servers)
        .openings_ahead(0)
        .start()
        .await
        .unwrap()
}

/// A server that gives neither headers nor names, so that no sync with it ends.
async fn without_headers() -> Stage {
    Stage::open(world(), Release::V1_17, &[Some(Fault::SilentAfterHandshake)]).await
}

#[tokio::test]
async fn a_program_asks_before_headers_are_there_and_has_its_answer_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let stage = without_headers().await;
    let client = light_client(&stage, folder.path()).await;
    let id = IsolationId::new(b"reader").unwrap();
    let asked = until("the question", async || (stage.asked(0, NAME) > 0).then_some(()));
    tokio::select! {
        result = client.lookup(NAME, &id) => panic!("{result:?}"),
        () = asked => {}
    }
    drop(client);

    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::open(world(), Release::V1_17, &[None]).await;
    let client = light_client(&stage, folder.path()).await;
    let Outcome::Found(status) = client.lookup(NAME, &id).await.unwrap() else {
        panic!("it is registered");
    };
    assert_eq!(status.name.value().as_bytes(), VALUE.as_bytes());
    assert_eq!(stage.asked(0, NAME), 1);
    client.stop().await.unwrap();
}

#[tokio::test]
async fn resolve_asks_before_headers_are_there() {
    let stage = without_headers().await;
    let program = Program::new();
    let mut command = program.on_regtest();
    let domain = format!("{}.bit", NAME.trim_start_matches("d/"));
    command.args(way(&stage)).args(["resolve", &domain]);
    let _resolving = Running::start(command, &program.home().join("log"));
    until("the question", async || (stage.asked(0, NAME) > 0).then_some(())).await;
}

#[tokio::test]
async fn resolve_asks_once_for_what_it_asked_beside_sync() {
    let stage = Stage::open(world(), Release::V1_17, &[None]).await;
    let program = Program::new();
    let mut command = program.on_regtest();
    let domain = format!("{}.bit", NAME.trim_start_matches("d/"));
    command.args(way(&stage)).args(["resolve", "--json", &domain]);
    let end = isonym_testkit::harness::end_of(command).await;
    assert_eq!((stage.asked(0, NAME), stage.met_by_lookups(0)), (1, 1), "{end:?}");
}

#[tokio::test]
async fn header_sync_asks_for_what_every_server_has_along_with_its_greeting() {
    let world = world();
    let height = world.chain().height() - SETTLED;
    let anchor = Anchor {
        height,
        hash: world.chain().header(height).unwrap().hash(),
        chainwork: None,
    };
    // The greeting is answered by nobody.
    let stage = Stage::open(world, Release::V1_17, &[Some(Fault::Silent)]).await;
    let folder = tempfile::tempdir().unwrap();
    let node = stage.node_from(folder.path(), anchor);
    let _node = OneShot::start(node, one_shot::settings(lookup_settings(3, 1))).await;
    let below = format!(",{height}]");
    let asked = until("the request", async || {
        let asked = stage.ledger.connections_that_asked(&below);
        asked.into_iter().next()
    })
    .await;
    let methods: Vec<&String> = asked.requests.iter().flat_map(|it| &it.methods).collect();
    assert_eq!(methods[0], "server.version", "{methods:?}");
}

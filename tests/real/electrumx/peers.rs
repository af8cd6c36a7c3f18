//! What real servers say of others, as each release writes it, and a daemon that learns from it.

use std::time::{Duration, Instant};

use isonym::chain::{Anchor, Network};
use isonym::net::{self, ConnectionLimits};
use isonym::node::{Node, NodeConfig, ServerClass, ServerUse};
use isonym_sim::proxy::Mode;
use isonym_sim::{Ledger, Proxy, Tape};
use isonym_testkit::electrumx::blocks;
use isonym_testkit::electrumx::core_rpc::CoreRpc;
use isonym_testkit::electrumx::scene::{is_answered, settings};
use isonym_testkit::electrumx::server::{ElectrumX, Release, Transport};
use isonym_testkit::running_daemon::run_in_task;
use serde_json::{Value, json};
use tokio::time::{advance, pause, resume, sleep};

/// Names of onion services from rend-spec-v3: of two servers that are asked, and of one that both know.
const FIRST: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
const SECOND: &str = "sp3k262uwy4r2k3ycr5awluarykdpag6a7y33jxop4cs2lu5uz5sseqd.onion";
const THIRD: &str = "xa4r2iadxm55fbnqgwwi5mymqdcofiu3w6rpbtqn7b2dyn7mgwj64jyd.onion";

/// Public addresses of those two, which nobody but the proxy is asked for.
const FIRST_IP: &str = "1.2.3.4";
const SECOND_IP: &str = "5.6.7.8";

/// What is waited where nothing is to end by time.
const LONG: Duration = Duration::from_secs(300);

/// The clock goes by this much at a time: less than what may be overdue and be done all the same.
const STRIDE: Duration = Duration::from_secs(45);

/// A server that says where it is, and reaches others through this proxy alone.
///
/// With `PEER_DISCOVERY=on` it lists whom it has met within three hours, itself among them: `peers.py`,
/// `on_peers_subscribe`. With `self` and `off` it meets nobody and lists nobody.
fn reported(release: Release, core: &CoreRpc, tip: usize, service: &str, proxy: &Proxy) -> ElectrumX {
    let settings = [
        ("REPORT_SERVICES", service.to_owned()),
        ("PEER_DISCOVERY", "on".to_owned()),
        ("FORCE_PROXY", "1".to_owned()),
        ("TOR_PROXY_HOST", proxy.addr.ip().to_string()),
        ("TOR_PROXY_PORT", proxy.addr.port().to_string()),
    ];
    ElectrumX::start_with(release, core, tip, &settings)
}

fn list(server: &ElectrumX) -> Vec<Value> {
    let mut lines = server.lines();
    lines.ask("server.version", &json!(["", "1.4"])).unwrap();
    let mut list = lines.ask("server.peers.subscribe", &json!([])).unwrap();
    let mut rows = std::mem::take(list.as_array_mut().unwrap());
    rows.sort_by_key(ToString::to_string);
    rows
}

/// Has a server meet itself and a third one, and waits until it lists all of it.
async fn meet(server: &ElectrumX, ip: &str, onion: &str) {
    // Before it has found its proxy it takes no onion service, and goes to no other. To hear of another port has it try at
    // once.
    until(async || server.logged("detected SOCKS5 proxy")).await;
    for peer in [
        format!("{ip} v1.4 s50003"),
        format!("{onion} v1.4 s50002"),
        format!("{THIRD} v1.4 t50001"),
    ] {
        server.admin().ask("add_peer", &json!([peer])).unwrap();
    }
    until(async || list(server).len() == 3).await;
    let mut rows = list(server);
    for row in &mut rows {
        // It writes which version of the protocol the other one has.
        let words = row[2].as_array_mut().unwrap();
        assert!(words.remove(0).as_str().unwrap().starts_with("v1."));
    }
    let expected = [
        json!([ip, ip, ["s50002"]]),
        json!([onion, onion, ["s50002"]]),
        json!([THIRD, THIRD, ["t50001"]]),
    ];
    assert_eq!(rows, expected);
}

/// Waits until something holds, by the system's clock: the runtime's is moved.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < LONG, "it never came to that");
        sleep(Duration::from_millis(2)).await;
    }
}

/// Has the clock hurry until something holds; it stands still while anything is on its way.
async fn hurry(tape: &Tape, mut holds: impl FnMut() -> bool) {
    until(async || {
        let is_quiet = tape.read(|streams| {
            let mut open = streams.iter().filter(|stream| stream.ended.is_none());
            open.all(|stream| stream.opened.is_some() && is_answered(stream))
        });
        if is_quiet {
            pause();
            advance(STRIDE).await;
            resume();
        }
        holds()
    })
    .await;
}

async fn is_learned_from(release: Release) {
    let blocks = blocks::recorded();
    let core = CoreRpc::start(&blocks);
    let tip = blocks.len() - 1;
    let theirs = Proxy::start(Mode::Open, Ledger::new()).await.unwrap();
    let services = |ip: &str, onion: &str| format!("ssl://{ip}:50002,ssl://{onion}:50002");
    let first = reported(release, &core, tip, &services(FIRST_IP, FIRST), &theirs);
    let second = reported(release, &core, tip, &services(SECOND_IP, SECOND), &theirs);
    let third = reported(release, &core, tip, &format!("tcp://{THIRD}:50001"), &theirs);
    for host in [FIRST_IP, FIRST] {
        theirs.route(host, first.address(Transport::Tls));
    }
    for host in [SECOND_IP, SECOND] {
        theirs.route(host, second.address(Transport::Tls));
    }
    theirs.route(THIRD, third.address(Transport::Tcp));
    meet(&first, FIRST_IP, FIRST).await;
    meet(&second, SECOND_IP, SECOND).await;

    let tape = Tape::new();
    let ours = Proxy::start(Mode::Open, Ledger::new()).await.unwrap();
    ours.record(tape.clone());
    ours.route("first.example.net", first.address(Transport::Tcp));
    ours.route("second.example.org", second.address(Transport::Tcp));
    ours.route(THIRD, third.address(Transport::Tcp));
    let folder = tempfile::tempdir().unwrap();
    let servers = ["first.example.net:50001:t", "second.example.org:50001:t"];
    let config = NodeConfig {
        network: Network::Regtest,
        folder: folder.path().join("regtest"),
        anchor: Anchor::shipped(Network::Regtest).unwrap(),
        servers: servers.iter().map(|server| server.parse().unwrap()).collect(),
        discover: true,
        proxy: net::Proxy::Socks5(vec![ours.addr]),
        connection_limits: ConnectionLimits {
            dial: LONG * 1000,
            handshake: LONG * 1000,
        },
    };
    let (daemon, running) = run_in_task(Node::open(config).unwrap().0, settings(0, LONG)).await;
    until(async || daemon.node.standing().synchronized).await;
    let known = || {
        let all = daemon.node.server_list().into_iter();
        let others = all.filter(|it| it.class != ServerClass::Configured);
        others.map(|it| (it.address, it.class, it.used_for)).collect::<Vec<_>>()
    };
    hurry(&tape, || known().len() == 5).await;
    let learned = |used| (format!("{THIRD}:50001:t"), ServerClass::Corroborated, used);
    let [corroborated, suggested @ ..] = &known()[..] else {
        panic!("nothing is known")
    };
    assert_eq!(
        (corroborated.0.as_str(), corroborated.1),
        (learned(ServerUse::None).0.as_str(), ServerClass::Corroborated)
    );
    let expected = [FIRST_IP, SECOND_IP, FIRST, SECOND].map(|host| format!("{host}:50002:s"));
    let (mut addresses, mut expected) = (
        suggested.iter().map(|it| it.0.clone()).collect::<Vec<_>>(),
        expected.to_vec(),
    );
    addresses.sort();
    expected.sort();
    assert_eq!(addresses, expected);
    assert!(
        suggested
            .iter()
            .all(|it| it.1 == ServerClass::Suggested && it.2 == ServerUse::None)
    );
    hurry(&tape, || known().contains(&learned(ServerUse::HeaderSync))).await;
    daemon.node.stop();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn lists_of_1_16_0_are_learned_from() {
    is_learned_from(Release::V1_16).await;
}

#[tokio::test]
async fn lists_of_1_17_0_are_learned_from() {
    is_learned_from(Release::V1_17).await;
}

#[tokio::test]
async fn lists_of_1_18_0_are_learned_from() {
    is_learned_from(Release::V1_18).await;
}

#[tokio::test]
async fn lists_of_2_0_0_are_learned_from() {
    is_learned_from(Release::V2_0).await;
}

//! Daemons that reach nobody, or nobody of use: who asks is told why, wherever they ask; and those who wait for a daemon.

use std::net::TcpListener;

use isonym::time::Timestamp;
use isonym_sim::{SharedWorld, World};
use serde_json::json;

use isonym_testkit::harness::{Daemon, end_of, honest, id, until, way};
use isonym_testkit::loopback::own_address;
use isonym_testkit::program::{End, Program, Stage};
use isonym_testkit::running::Running;
use isonym_testkit::stage::{NAME, VALUE, world};

fn servers() -> impl Iterator<Item = String> {
    (1..=4).map(|number| format!("--server=s{number}.sim:50001:t"))
}

async fn run(program: &Program, arguments: &[&str]) -> End {
    let mut command = program.on_regtest();
    command.args(arguments);
    end_of(command).await
}

/// Asserts that a daemon says this wherever one may look, and says it once.
async fn assert_told(program: &Program, daemon: &Daemon, words: &str) {
    let errors = until("getinfo tells it", async || {
        let info = daemon.call("getinfo", json!([])).await.unwrap();
        let errors = info["errors"].as_str().unwrap().to_owned();
        errors.contains(words).then_some(errors)
    })
    .await;
    assert_eq!(errors.matches(words).count(), 1, "{errors}");
    let network = daemon.call("getnetworkinfo", json!([])).await.unwrap();
    assert!(network["warnings"].to_string().contains(words), "{network}");
    let (code, message) = daemon.value(&id(1)).await.unwrap_err();
    assert_eq!(code, -28);
    assert!(message.contains(words), "{message}");
    run(program, &["status", "--check"]).await.assert_failed(&[words]);
    let status = run(program, &["status"]).await;
    assert!(status.out.contains(words), "{status:?}");
    until("the log tells it", async || daemon.log().contains(words).then_some(())).await;
    let log = daemon.log();
    assert_eq!(log.matches(words).count(), 1, "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
}

#[tokio::test]
async fn without_a_proxy() {
    let program = Program::new();
    let closed = TcpListener::bind((own_address(), 0)).unwrap().local_addr().unwrap();
    let way: Vec<String> = [format!("--proxy=socks5://{closed}")]
        .into_iter()
        .chain(servers())
        .collect();
    let daemon = Daemon::start_on(&program, &way, &[]).await;
    assert_told(&program, &daemon, "all 4 servers: no proxy at").await;
    let shown = run(&program, &["name_show", NAME]).await;
    shown.assert_failed(&["all 4 servers: no proxy at", "nothing listens there"]);
}

#[tokio::test]
async fn before_a_proxy_that_builds_no_circuit() {
    let program = Program::new();
    // Connections are taken by the system, and nobody ever answers.
    let silent = TcpListener::bind((own_address(), 0)).unwrap();
    let proxy = format!("--proxy=socks5://{}", silent.local_addr().unwrap());
    let way: Vec<String> = [proxy].into_iter().chain(servers()).collect();
    let daemon = Daemon::start_on(&program, &way, &[]).await;
    assert_told(&program, &daemon, "builds no circuit yet; if it is Tor").await;
}

#[tokio::test]
async fn with_a_clock_that_is_slow() {
    let mut world = World::new(1, Timestamp(4_000_000_000));
    world.mine(20);
    let stage = Stage::honest(world);
    let program = Program::new();
    let mut command = program.direct();
    command.args(["sync", &stage.server('t')]);
    // A server is asked again for a while: its block may be the one that is wrong.
    let syncing = Running::start(command, &program.home().join("log"));
    until("it tells of the clock", async || {
        let log = syncing.log();
        let words = ["ahead of our clock", "2096-", " UTC", "check this machine's clock"];
        words.iter().all(|word| log.contains(word)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn health_is_an_exit_status() {
    let (stage, _): (_, SharedWorld) = honest(world(), 2).await;
    let program = Program::new();
    run(&program, &["status", "--check"])
        .await
        .assert_failed(&["no daemon runs"]);
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    let end = run(&program, &["status", "--check"]).await;
    end.assert_succeeded();
    assert_eq!((end.out.as_str(), end.err.as_str()), ("", ""));
    let end = run(&program, &["status", "--check", "--json"]).await;
    assert_eq!(end.json()["synchronized"], true);
    assert_eq!(daemon.value(&id(1)).await.as_deref(), Ok(VALUE));
}

#[tokio::test]
async fn a_call_waits_for_a_daemon_that_is_not_there_yet() {
    let (stage, shared) = honest(world(), 2).await;
    let program = Program::new();
    run(&program, &["rpc", "--wait", "--wait-timeout=1", "getblockcount"])
        .await
        .assert_failed(&["cookie"]);
    let mut early = program.on_regtest();
    early.args(["rpc", "--wait", "name_show", NAME]);
    let early = tokio::spawn(end_of(early));
    let daemon = Daemon::start_on(&program, &way(&stage), &[]).await;
    let end = early.await.unwrap();
    end.assert_succeeded();
    assert_eq!(end.json()["value"], VALUE);
    assert_eq!(
        daemon.call("getblockcount", json!([])).await,
        Ok(json!(shared.read(isonym_sim::SimChain::height)))
    );
}

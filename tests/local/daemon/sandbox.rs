//! What the daemon gives up before it hears from anybody.

use std::fs;

use isonym_testkit::harness::{Daemon, Stop, honest, id};
use isonym_testkit::program::Program;
use isonym_testkit::stage::{VALUE, world};
use serde_json::json;

/// Returns whether a process may gain rights by what it starts, which is where a sandbox begins.
fn may_gain_rights(process: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    status.lines().any(|line| line == "NoNewPrivs:\t0")
}

async fn sandbox(daemon: &Daemon) -> String {
    let status = daemon.call("status", json!([])).await.unwrap();
    status["sandbox"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn it_is_confined_and_answers() {
    let (stage, _) = honest(world(), 2).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    assert_eq!(daemon.value(&id(0)).await, Ok(VALUE.to_owned()));
    let told = sandbox(&daemon).await;
    if told == "off: this kernel has no Landlock" {
        eprintln!("LEFT OUT: {told}");
    } else {
        assert!(told.starts_with("on"), "{told}");
        assert!(!may_gain_rights(&daemon.pid().to_string()));
    }
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn its_user_may_want_none() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::start(&program, &stage, &["--no-sandbox"]).await;
    assert_eq!(sandbox(&daemon).await, "off: --no-sandbox");
    // As whoever started it, which may have given that up already.
    assert_eq!(may_gain_rights(&daemon.pid().to_string()), may_gain_rights("self"));
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

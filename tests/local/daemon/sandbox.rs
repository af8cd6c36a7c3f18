//! What the daemon gives up before it hears from anybody.

use std::fs;

use isonym_testkit::harness::{Daemon, Stop, honest, id};
use isonym_testkit::program::Program;
use isonym_testkit::stage::{VALUE, world};
use serde_json::json;

/// Returns what the system says of each thread of a process, after this word.
fn of_threads(process: &str, what: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let status = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).unwrap());
    let said = status.map(|status| {
        let mut lines = status
            .lines()
            .filter_map(|line| line.strip_prefix(what)?.strip_prefix(":\t"));
        lines.next().unwrap().to_owned()
    });
    said.collect()
}

/// Returns whether a thread of a process may gain rights by what it starts, which is where a sandbox begins.
fn may_gain_rights(process: &str) -> bool {
    of_threads(process, "NoNewPrivs").contains(&"0".to_owned())
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
    let process = daemon.pid().to_string();
    if told.starts_with("off: there is no Landlock") {
        eprintln!("LEFT OUT: {told}");
    } else {
        assert!(told.starts_with("on"), "{told}");
        assert!(!may_gain_rights(&process));
        // Threads that write to the disk were started since.
        let filtered = of_threads(&process, "Seccomp");
        let all_are = filtered.len() > 1 && filtered.iter().all(|mode| mode == "2");
        assert!(all_are || told.starts_with("on for files"), "{told}: {filtered:?}");
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
    let process = daemon.pid().to_string();
    assert_eq!(may_gain_rights(&process), may_gain_rights("self"));
    assert_eq!(of_threads(&process, "Seccomp")[0], of_threads("self", "Seccomp")[0]);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

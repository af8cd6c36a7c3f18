//! What the daemon tells a monitor: how it stands, and nothing of a single lookup.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use isonym_testkit::harness::{Daemon, Reply, Stop, honest, id, send, until};
use isonym_testkit::program::Program;
use isonym_testkit::stage::{NAME, VALUE, world};
use serde_json::json;

/// Returns where a daemon tells it.
fn address(daemon: &Daemon) -> SocketAddr {
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("for Prometheus")).unwrap();
    let mut words = line.split(' ').skip_while(|word| *word != "on");
    words.nth(1).unwrap().parse().unwrap()
}

async fn ask(address: SocketAddr, line: &str, host: &str) -> Reply {
    send(
        address,
        format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
    )
    .await
}

/// Returns the lines, whose order means nothing.
fn lines(reply: &Reply) -> BTreeSet<String> {
    reply.body.lines().map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn a_monitor_learns_how_it_stands_and_of_no_lookup() {
    let (stage, _) = honest(world(), 2).await;
    let program = Program::new();
    let dns = ["--metrics-listen=127.0.0.1:0", "--dns-listen=127.0.0.1:0"];
    let daemon = Daemon::ready(&program, &stage, &dns).await;
    let metrics = address(&daemon);
    let host = metrics.to_string();
    let ready = ask(metrics, "GET /ready", &host).await;
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    // Servers are known of one after the other.
    let before = until("both servers are told of", async || {
        let reply = ask(metrics, "GET /metrics", &host).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.head.contains("application/openmetrics-text"), "{reply:?}");
        let told = lines(&reply);
        let has = |line: &str| told.contains(line);
        let is_whole = has("isonym_synchronized 1") && has(r#"isonym_servers{state="good"} 2"#);
        is_whole.then_some(told)
    })
    .await;
    for number in 0..20 {
        assert_eq!(daemon.value(&id(number)).await, Ok(VALUE.to_owned()));
        daemon
            .call("name_show", json!(["d/absent", { "streamID": id(number) }]))
            .await
            .unwrap_err();
    }
    let after = lines(&ask(metrics, "GET /metrics", &host).await);
    let is_of_lookups = |line: &&String| line.contains("lookups") || line.contains("pool") || line.contains("dns");
    let of_lookups = |lines: &BTreeSet<String>| lines.iter().filter(is_of_lookups).cloned().collect::<Vec<_>>();
    assert_eq!(of_lookups(&before), of_lookups(&after));
    assert!(of_lookups(&before).len() > 12, "{before:?}");
    assert!(!after.iter().any(|line| line.contains(NAME) || line.contains(&id(0))));
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn web_pages_learn_nothing_and_nothing_can_be_changed() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::start(&program, &stage, &["--metrics-listen=127.0.0.1:0"]).await;
    let metrics = address(&daemon);
    let host = metrics.to_string();
    for (line, host, status) in [
        ("GET /metrics", "rebound.example", 403),
        ("GET /ready", "rebound.example:80", 403),
        ("GET /metrics", &*format!("{host}\r\nOrigin: http://evil.example"), 403),
        ("POST /metrics", &*host, 405),
        ("DELETE /ready", &*host, 405),
        ("GET /", &*host, 404),
        ("GET /metrics", &*host, 200),
    ] {
        let reply = ask(metrics, line, host).await;
        assert_eq!(reply.status, status, "{line} {host}: {reply:?}");
        assert_eq!(reply.body.contains("isonym_"), status == 200, "{reply:?}");
    }
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn who_can_look_nothing_up_is_not_ready_and_says_why() {
    let program = Program::new();
    let way = ["--proxy=socks5://127.0.0.1:1", "--server=electrum.example:50002:s"];
    let way: Vec<String> = way.iter().map(|it| (*it).to_owned()).collect();
    let daemon = Daemon::start_on(&program, &way, &["--metrics-listen=127.0.0.1:0"]).await;
    let metrics = address(&daemon);
    until("the reason is told", async || {
        let reply = ask(metrics, "GET /ready", "localhost").await;
        assert_eq!(reply.status, 503, "{reply:?}");
        reply.body.contains("proxy").then_some(())
    })
    .await;
    let told = ask(metrics, "GET /metrics", "localhost").await.body;
    assert!(told.lines().any(|line| line == "isonym_synchronized 0"), "{told}");
}

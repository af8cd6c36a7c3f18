//! Many, slow and odd TCP connections.

use tokio::io::AsyncWriteExt as _;

use isonym_testkit::backend::{Backend, Says};
use isonym_testkit::dns::server::Dns;
use isonym_testkit::dns::wire::{Datagrams, Line, assert_lives, framed, query, soon, tcp};

const IP: &str = r#"{"ip":"192.0.2.1"}"#;

/// Most connections that the server has open at once.
const PLACES: usize = 256;

/// By how many bytes the server may grow, whatever clients do.
const GROWTH: u64 = 48 << 20;

#[tokio::test]
async fn answers_come_when_they_are_ready() {
    let backend = Backend::start().await;
    backend.say("d/slow", Says::value(IP).held());
    backend.say("d/quick", Says::value(IP));
    let dns = Dns::start(&backend, &[]).await;
    let mut line = Line::open(dns.address).await;
    let asked: Vec<_> = ["slow.bit", "quick.bit", "bit", "www.slow.bit", "quick.bit"]
        .map(|name| query(name, "A"))
        .into();
    let bytes: Vec<u8> = asked
        .iter()
        .flat_map(|query| framed(&query.to_vec().unwrap()))
        .collect();
    // All in one piece.
    line.stream.write_all(&bytes).await.unwrap();
    let mut early = Vec::new();
    for _ in 0..3 {
        early.push(line.receive().await.message.metadata.id);
    }
    early.sort_unstable();
    let mut expected: Vec<_> = [1, 2, 4].map(|number: usize| asked[number].metadata.id).into();
    expected.sort_unstable();
    assert_eq!(early, expected);
    backend.release();
    let mut late = [line.receive().await, line.receive().await].map(|reply| reply.message.metadata.id);
    let mut expected = [asked[0].metadata.id, asked[3].metadata.id];
    late.sort_unstable();
    expected.sort_unstable();
    assert_eq!(late, expected);
    dns.stop().await;
}

#[tokio::test]
async fn byte_by_byte() {
    let backend = Backend::start().await;
    backend.say("d/x", Says::value(IP));
    let dns = Dns::start(&backend, &[]).await;
    let mut line = Line::open(dns.address).await;
    for _ in 0..2 {
        let asked = query("x.bit", "A");
        for byte in framed(&asked.to_vec().unwrap()) {
            line.stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let reply = line.receive().await;
        assert_eq!(reply.message.metadata.id, asked.metadata.id);
        assert_eq!(reply.answers(), ["x.bit. A 192.0.2.1"]);
    }
    dns.stop().await;
}

#[tokio::test]
async fn whoever_says_that_no_more_will_come_is_answered_still() {
    let backend = Backend::start().await;
    backend.say("d/x", Says::value(IP).held());
    let dns = Dns::start(&backend, &[]).await;
    let mut line = Line::open(dns.address).await;
    line.send(&query("x.bit", "A")).await;
    line.send(&query("bit", "NS")).await;
    line.stream.shutdown().await.unwrap();
    assert_eq!(line.receive().await.answers(), ["bit. NS this.x--nmc.bit."]);
    backend.release();
    assert_eq!(line.receive().await.answers(), ["x.bit. A 192.0.2.1"]);
    line.end().await;
    dns.stop().await;
}

#[tokio::test]
async fn idle_connections_are_ended_and_nobody_waits_long_for_their_places() {
    let backend = Backend::start().await;
    backend.say("d/x", Says::value(IP));
    let dns = Dns::start(&backend, &[]).await;
    let mut idle = Vec::new();
    for _ in 0..PLACES + 44 {
        idle.push(Line::open(dns.address).await);
    }
    let client = Datagrams::open(dns.address).await;
    let asked = query("x.bit", "A");
    assert_eq!(client.ask(&asked).await.answers(), ["x.bit. A 192.0.2.1"]);
    // Behind them all.
    assert_eq!(tcp(dns.address, &asked).await.answers(), ["x.bit. A 192.0.2.1"]);
    let mut ended = idle.pop().unwrap();
    ended.end().await;
    dns.stop().await;
}

#[tokio::test]
async fn connections_that_dribble_are_ended_as_idle_ones_are() {
    let backend = Backend::start().await;
    let dns = Dns::start(&backend, &[]).await;
    let mut dribblers = Vec::new();
    for _ in 0..PLACES + 44 {
        let mut line = Line::open(dns.address).await;
        dribblers.push(tokio::spawn(async move {
            // A query of 4000 bytes that never comes to its end.
            let _ = line.stream.write_all(&[15, 160]).await;
            while line.stream.write_all(&[0]).await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }));
    }
    assert_lives(dns.address).await;
    for dribbler in dribblers {
        soon(dribbler).await.unwrap();
    }
    dns.stop().await;
}

#[tokio::test]
async fn a_client_that_never_reads() {
    let backend = Backend::start().await;
    let strings: Vec<String> = (0..60).map(|number| format!("{number:0>12}")).collect();
    let value = serde_json::json!({ "txt": strings });
    backend.say("d/x", Says::value(&value));
    let dns = Dns::start(&backend, &[]).await;
    let mut reader = Line::open(dns.address).await;
    let asked = query("x.bit", "TXT");
    assert_eq!(reader.ask(&asked).await.answers().len(), 60);
    let before = dns.resident();
    let mut greedy = Line::open(dns.address).await;
    let chunk = framed(&asked.to_vec().unwrap()).repeat(1000);
    let sends = async {
        let mut sent = 0;
        while sent < 400_000 && greedy.stream.write_all(&chunk).await.is_ok() {
            sent += 1000;
        }
    };
    // As long as it takes until the server reads no more, or has read them all.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(3), sends).await;
    assert_eq!(reader.ask(&asked).await.answers().len(), 60);
    assert_lives(dns.address).await;
    let grown = dns.resident().saturating_sub(before);
    assert!(grown < GROWTH, "grew by {grown} bytes");
    dns.stop().await;
}

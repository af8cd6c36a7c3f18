//! What the other tests take for granted: that streams wait, that they can be sent elsewhere, and that a name which is
//! let go to an exit is seen.

use crate::client::Tor;
use crate::network::{beside_others, network};
use crate::raw::{CONNECT, GRANTED, Raw, UNREACHABLE};
use crate::site::Site;
use isonym_testkit::running::{eventually, until};

/// How many exits are asked for a name.
const TRIES: usize = 3;

/// Returns the number of the stream to a target, once it waits.
async fn waiting(tor: &Tor, target: &str) -> String {
    let mut control = tor.control().unwrap();
    let control = std::cell::RefCell::new(&mut control);
    until("the stream waits", async || {
        let lines = control.borrow_mut().command("GETINFO stream-status").unwrap();
        let line = lines.iter().find(|line| line.ends_with(target))?;
        let line = line.split_once('=').map_or(line.as_str(), |(_, line)| line);
        line.split_once(" NEW 0 ").map(|(stream, _)| stream.to_owned())
    })
    .await
}

#[tokio::test]
async fn streams_wait_until_they_are_let_go_and_the_exit_asks_for_them_then() {
    let (_beside, network) = (beside_others().await, network());
    let tor = network.naming_client("bare", true);
    let record = tor.record();
    let site = Site::start("bare").await;
    let (socks, port) = (tor.ports().socks, site.port());
    for (host, redirected) in [("sent-elsewhere.invalid", true), ("let-go.invalid", false)] {
        let asked = tokio::spawn(Raw::ask(socks, Some(("bare", "one")), CONNECT, host, port));
        let stream = waiting(&tor, &format!("{host}:{port}")).await;
        assert!(!asked.is_finished());
        let mut control = tor.control().unwrap();
        if redirected {
            control.command(&format!("REDIRECTSTREAM {stream} 127.0.0.1")).unwrap();
        }
        let attach = format!("ATTACHSTREAM {stream} 0");
        control.command(&attach).unwrap();
        // What one exit can't resolve Tor hands back, for another exit, and once more.
        for attached in 1..if redirected { 1 } else { TRIES } {
            eventually("it waits again", async || record.streams()[1].waits > attached).await;
            control.command(&attach).unwrap();
        }
        let raw = asked.await.unwrap().unwrap();
        assert_eq!(raw.reply, if redirected { GRANTED } else { UNREACHABLE }, "{host}");
        if redirected {
            assert!(raw.page().await.unwrap().ends_with(&site.text));
        }
        assert_eq!(network.asked_of_exits().contains(host), !redirected, "{host}");
    }
    eventually("all have ended", async || {
        let streams = record.streams();
        streams.len() == 2 && streams.iter().all(|stream| stream.closed.is_some())
    })
    .await;
    let streams = record.streams();
    assert_eq!(streams[0].target, format!("sent-elsewhere.invalid:{port}"));
    assert_eq!(streams[0].last, format!("127.0.0.1:{port}"));
    assert_eq!(
        (streams[0].succeeded, streams[0].waits, streams[0].circuits.len()),
        (true, 1, 1)
    );
    assert_eq!(streams[0].credentials(), Some(("bare", "one")));
    assert_eq!((streams[1].succeeded, streams[1].waits), (false, TRIES));
    assert_eq!(streams[1].closed.as_deref(), Some("END"));
}

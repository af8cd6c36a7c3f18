//! What becomes of streams, whatever Tor and values say.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::timeout;

use super::port::Port;
use super::scene::{Controller, FORGED, ONION, names};
use isonym_testkit::backend::Backend;

#[tokio::test]
async fn streams_go_where_names_lead_and_nowhere_else() {
    let (backend, port) = (names().await, Port::open().await);
    let controller = Controller::start(&backend, port.address(), &[]);
    let mut control = port.accept_kindly(&[]).await;
    control.wait(1, "marker-onion.bit:80").await;
    control.expect(&format!("REDIRECTSTREAM 1 {ONION}")).await;
    control.hears_nothing().await;
    control.say("250 OK").await;
    control.expect("ATTACHSTREAM 1 0").await;
    control.say("250 OK").await;
    control.wait(2, "marker-absent.bit:80").await;
    control.expect("CLOSESTREAM 2 2").await;
    control.say("250 OK").await;
    control.wait(3, "marker-address.bit:80").await;
    control.expect("REDIRECTSTREAM 3 192.0.2.1").await;
    control.say("552 Unknown stream \"3\"").await;
    control.expect("CLOSESTREAM 3 2").await;
    control.say("552 Unknown stream \"3\"").await;
    controller.stop().await;
}

/// StemNS parts its command from a value's text by blanks alone.
#[tokio::test]
async fn no_value_gives_a_command() {
    let (backend, port) = (names().await, Port::open().await);
    let controller = Controller::start(&backend, port.address(), &["--plugin", "test=false"]);
    let mut control = port.accept_kindly(&[]).await;
    for number in 0..FORGED.len() {
        control.wait(number, &format!("marker-forged-{number}.bit:80")).await;
        control.expect(&format!("CLOSESTREAM {number} 2")).await;
        control.say("250 OK").await;
    }
    // Another suffix that is resolved here: an exit must not see it.
    control.wait(9, "marker-other.bit:80").await;
    control.expect("CLOSESTREAM 9 2").await;
    control.say("250 OK").await;
    control.hears_nothing().await;
    controller.stop().await;
}

#[tokio::test]
async fn a_slow_name_keeps_no_other_stream_waiting_and_is_dropped_with_its_stream() {
    let (backend, port) = (names().await, Port::open().await);
    let controller = Controller::start(&backend, port.address(), &[]);
    let mut control = port.accept_kindly(&[]).await;
    control.wait(1, "marker-slow.bit:80").await;
    control.wait(2, "marker-slow.bit:80").await;
    control.wait(3, "example.com:80").await;
    control.expect("ATTACHSTREAM 3 0").await;
    control.say("250 OK").await;
    control.wait(4, "marker-address.bit:80").await;
    control.expect("REDIRECTSTREAM 4 192.0.2.1").await;
    control.say("250 OK").await;
    control.expect("ATTACHSTREAM 4 0").await;
    control.say("250 OK").await;
    control
        .say("650 STREAM 1 CLOSED 0 marker-slow.bit:80 REASON=DONE")
        .await;
    control.hears_nothing().await;
    backend.release();
    control.expect("REDIRECTSTREAM 2 192.0.2.1").await;
    control.hears_nothing().await;
    assert_eq!(backend.count(), 2, "streams of one ID share a lookup");
    controller.stop().await;
}

#[tokio::test]
async fn a_new_identity_is_forgotten_everywhere() {
    let (backend, port) = (names().await, Port::open().await);
    let controller = Controller::start(&backend, port.address(), &[]);
    let mut control = port.accept_kindly(&[]).await;
    for round in 1..3 {
        control.wait(round, "marker-address.bit:80").await;
        control.expect(&format!("REDIRECTSTREAM {round} 192.0.2.1")).await;
        control.say("250 OK").await;
        control.expect(&format!("ATTACHSTREAM {round} 0")).await;
        control.say("250 OK").await;
        control.say("650 SIGNAL NEWNYM").await;
        let forgotten = async {
            while backend.forgotten().len() < round {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(super::port::PATIENCE, forgotten).await.unwrap();
    }
    let asked: Vec<String> = backend.calls().into_iter().filter_map(|call| call.id).collect();
    assert_eq!(
        asked,
        backend.forgotten(),
        "each was looked up anew, under an ID that was forgotten then"
    );
    assert_ne!(asked[0], asked[1]);
    controller.stop().await;
}

#[tokio::test]
async fn the_user_is_told_where_nobody_can_be_asked_for_names() {
    let (nowhere, port) = (Backend::nowhere().await, Port::open().await);
    let url = format!("http://{nowhere}");
    let controller = Controller::start_before(&url, port.address(), &["--name-patience", "3"]);
    let mut control = port.accept_kindly(&[]).await;
    control.wait(1, "marker-onion.bit:80").await;
    control.hears_nothing().await;
    control.expect("CLOSESTREAM 1 2").await;
    let log = controller.log();
    assert_eq!(log.matches("names cannot be looked up at ").count(), 1, "{log}");
    controller.stop().await;
}

#[tokio::test]
async fn the_controller_comes_back_and_finds_who_waits() {
    let (backend, port) = (names().await, Port::open().await);
    let controller = Controller::start(&backend, port.address(), &[]);
    let mut control = port.accept_kindly(&[]).await;
    control.wait(1, "marker-slow.bit:80").await;
    control.hears_nothing().await;
    drop(control);
    let mut control = port
        .accept_kindly(&[
            "1 NEW 0 marker-onion.bit:80",
            "2 NEW 0 example.com:80",
            "3 SUCCEEDED 7 example.com:80",
        ])
        .await;
    control.expect("ATTACHSTREAM 2 0").await;
    control.say("250 OK").await;
    control.expect(&format!("REDIRECTSTREAM 1 {ONION}")).await;
    let ids: Vec<_> = backend.calls().into_iter().map(|call| call.id).collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "it may be another's Tor now");
    controller.stop().await;
}

#[tokio::test]
async fn what_breaks_the_protocol_is_left_and_tried_again() {
    let (backend, port) = (names().await, Port::open().await);
    let controller = Controller::start(&backend, port.address(), &[]);
    for nonsense in ["250 OK", "hello", "650", "250=x"] {
        let mut control = port.accept_kindly(&[]).await;
        control.say(nonsense).await;
        assert_eq!(control.hear().await, None, "{nonsense}");
    }
    // Lines and messages without an end.
    for piece in ["a".repeat(1 << 16), "650-x\r\n".repeat(1 << 13)] {
        let mut control = port.accept_kindly(&[]).await;
        control.say("650-x").await;
        let mut pieces = 0;
        while control.try_say(piece.as_bytes()).await {
            pieces += 1;
            assert!(pieces < 10_000, "it bears anything");
        }
    }
    let mut control = port.accept_kindly(&[]).await;
    control.wait(1, "example.com:80").await;
    control.expect("ATTACHSTREAM 1 0").await;
    controller.assert_small();
    controller.stop().await;
}

#[tokio::test]
async fn a_tor_that_never_replies_or_reads_is_left() {
    let (backend, port) = (names().await, Port::open().await);
    let controller = Controller::start(&backend, port.address(), &[]);
    let mut silent = port.accept_kindly(&[]).await;
    silent.wait(1, "example.com:80").await;
    silent.expect("ATTACHSTREAM 1 0").await;
    assert_eq!(silent.hear().await, None, "it was left for its silence");
    let mut deaf = port.accept_kindly(&[]).await;
    // Until the pipe is full both ways, or too many replies are owed.
    let mut left = false;
    for first in (0..1_000_000).step_by(1000) {
        let event = |id| format!("650 STREAM {id} CONTROLLER_WAIT 0 example.com:80\r\n");
        let events: Vec<String> = (first..first + 1000).map(event).collect();
        left = !deaf.try_say(events.concat().as_bytes()).await;
        if left {
            break;
        }
    }
    assert!(left, "it bears anything");
    let mut control = port.accept_kindly(&[]).await;
    control.wait(1, "example.com:80").await;
    control.expect("ATTACHSTREAM 1 0").await;
    controller.stop().await;
}

#[tokio::test]
async fn a_thousand_streams_at_once_all_get_where_they_go() {
    const STREAMS: usize = 1000;
    let (backend, port) = (names().await, Port::open().await);
    let controller = Controller::start(&backend, port.address(), &[]);
    let mut control = port.accept_kindly(&[]).await;
    let mut events = String::new();
    for id in 0..STREAMS {
        let host = [
            "marker-address.bit",
            "example.com",
            "marker-onion.bit",
            "marker-absent.bit",
        ][id % 4];
        let fields = super::port::FIELDS.replace("of-the-user", &format!("of-the-user-{}", id % 50));
        write!(
            events,
            "650 STREAM {id} NEW 0 {host}:80 SOURCE_ADDR=127.0.0.1:1 PURPOSE=USER {fields}\r\n\
             650 STREAM {id} CONTROLLER_WAIT 0 {host}:80 {fields}\r\n"
        )
        .unwrap();
    }
    assert!(control.try_say(events.as_bytes()).await);
    let mut ended = vec![false; STREAMS];
    while ended.contains(&false) {
        let command = control.hear().await.unwrap();
        let words: Vec<&str> = command.split(' ').collect();
        let id: usize = words[1].parse().unwrap();
        match (words[0], id % 4) {
            ("REDIRECTSTREAM", 0) => assert_eq!(words[2], "192.0.2.1"),
            ("REDIRECTSTREAM", 2) => assert_eq!(words[2], ONION),
            ("ATTACHSTREAM", 0..=2) | ("CLOSESTREAM", 3) => {
                assert!(!std::mem::replace(&mut ended[id], true), "twice: {command}");
            }
            _ => panic!("{command}"),
        }
        control.say("250 OK").await;
    }
    // 50 IDs with three names, but each ID has one of these streams' names only where the numbers meet.
    assert!(backend.count() <= 150, "{} calls", backend.count());
    controller.assert_small();
    controller.stop().await;
}

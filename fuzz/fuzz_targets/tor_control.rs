//! Any bytes in any pieces on a control port: commands stay one line each, and no stream is sent anywhere but to what was
//! found for its name.

#![no_main]

use isonym::naming::target::{Failure, Target};
use isonym::tor::auth::{Login, answer, choose};
use isonym::tor::controller::{Controller, Effect, MAX_LOOKUPS};
use isonym::tor::reply::Decoder;
use libfuzzer_sys::fuzz_target;

const SUFFIXES: [&str; 3] = ["bit.onion", "test", "bit"];

const TARGETS: [&str; 5] = [
    "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion",
    "192.0.2.1",
    "2001:db8::1",
    "www.example.com",
    "other.test",
];

fn target(number: usize) -> Result<Target, Failure> {
    let text = TARGETS.get(number % 7).ok_or(Failure::NotRegistered)?;
    Target::parse(text, std::iter::empty()).ok_or(Failure::Broken)
}

/// Checks a command.
fn check(command: &str) {
    assert!(command.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{command:?}");
    let words: Vec<&str> = command.split(' ').collect();
    match words[..] {
        ["SETEVENTS", ..] | ["GETCONF", _] | ["GETINFO", _] | ["SETCONF", _] => {}
        ["ATTACHSTREAM", id, "0"] | ["CLOSESTREAM", id, "2"] => {
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        }
        ["REDIRECTSTREAM", _, to] => {
            let bare = to.trim_start_matches('[').trim_end_matches(']');
            assert!(Target::parse(bare, SUFFIXES.into_iter()).is_some(), "{command:?}");
        }
        _ => panic!("{command:?}"),
    }
}

fuzz_target!(|pieces: Vec<&[u8]>| {
    let mut decoder = Decoder::default();
    let mut controller = Controller::new(SUFFIXES.map(str::to_owned).to_vec(), [7; 64]);
    controller.begin();
    let mut open = Vec::new();
    for (number, piece) in pieces.into_iter().enumerate() {
        decoder.push(piece);
        loop {
            let message = match decoder.message() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(_) => return,
            };
            if let Ok(way) = choose(&message, &Login::default()) {
                let _ = format!("{way:?}");
            }
            let _ = answer(&message, &[1; 32], &[2; 32]);
            if controller.take(&message).is_err() {
                return;
            }
        }
        if let Some(lookup) = open.pop() {
            controller.resolved(lookup, target(number));
        }
        for effect in controller.effects() {
            match effect {
                Effect::Send(command) => check(&command),
                Effect::Resolve(lookup) => open.push(lookup.number),
                Effect::Abort(number) => open.retain(|other| *other != number),
                Effect::Forget(ids) => assert!(!ids.is_empty()),
                Effect::Tell(_) => {}
            }
        }
        assert!(controller.lookups() <= MAX_LOOKUPS);
    }
    controller.end();
    assert!(!controller.awaits_reply());
});

//! Any bytes in any pieces on a control port: commands stay one line each, and no stream is sent anywhere but to what was
//! found for its name.

use std::time::Duration;

use isonym::naming::target::{Failure, Target};
use isonym::time::Moment;
use isonym::tor::auth::{ControlLogin, answer_challenge, choose_method};
use isonym::tor::controller::{Controller, ControllerEffect, ControllerEvent, MAX_LOOKUPS, SILENCE};
use isonym::tor::reply::ControlDecoder;

use crate::input;

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

/// A controller, and the lookups that it waits for.
struct Model {
    controller: Controller,
    now: Moment,
    open: Vec<u64>,
    ended: bool,
}

impl Model {
    fn on_event(&mut self, event: ControllerEvent) {
        for effect in self.controller.on_event(self.now, event) {
            assert!(!self.ended);
            match effect {
                ControllerEffect::Send(command) => check(&command),
                ControllerEffect::Resolve(lookup) => self.open.push(lookup.number),
                ControllerEffect::Abort(number) => self.open.retain(|other| *other != number),
                ControllerEffect::Forget(ids) => assert!(!ids.is_empty()),
                ControllerEffect::Notify(_) => {}
                ControllerEffect::WakeAt(at) => assert!(at <= self.now + SILENCE),
                ControllerEffect::Disconnect(_) => self.ended = true,
            }
        }
        assert!(self.controller.lookups() <= MAX_LOOKUPS);
    }
}

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let Some(pieces) = input::<Vec<&[u8]>>(bytes) else { return };
    let mut decoder = ControlDecoder::default();
    let mut model = Model {
        controller: Controller::new(SUFFIXES.map(str::to_owned).to_vec(), [7; 64]),
        now: Moment::default(),
        open: Vec::new(),
        ended: false,
    };
    model.on_event(ControllerEvent::Connected);
    for (number, piece) in pieces.into_iter().enumerate() {
        model.now = model.now + Duration::from_secs(1);
        model.on_event(ControllerEvent::Wake);
        decoder.push(piece);
        loop {
            let message = match decoder.message() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(_) => return,
            };
            if let Ok(method) = choose_method(&message, &ControlLogin::default()) {
                let _ = format!("{method:?}");
            }
            let _ = answer_challenge(&message, &[1; 32], &[2; 32]);
            model.on_event(ControllerEvent::Message(message));
        }
        if let Some(lookup) = model.open.pop() {
            let result = target(number);
            model.on_event(ControllerEvent::Resolved { lookup, result });
        }
        if model.ended {
            break;
        }
    }
    model.on_event(ControllerEvent::Disconnected);
    assert!(model.open.is_empty() && !model.controller.awaits_reply());
}

//! Any bytes of an application are a request, or refused, or wait for more; however they arrive, it is the same. What is
//! asked of Tor for it is what was asked, and no name of ours. Any bytes of Tor are an answer or none.

#![no_main]

use isonym::socks::handshake::{Asking, Conversation, Hearing, MAX_HANDSHAKE, Step};
use libfuzzer_sys::fuzz_target;

/// What one side said and how it ended; nothing, where it waits for more.
type Talk<C> = (
    Vec<u8>,
    Option<Result<<C as Conversation>::Outcome, <C as Conversation>::Error>>,
);

/// Lets one side talk, where so many bytes arrive at a time.
fn talk<C: Conversation>(mut side: C, mut arrives: &[u8], at_once: usize) -> Talk<C> {
    let mut said = Vec::new();
    loop {
        match side.step() {
            Ok(Step::Send(bytes)) => said.extend(bytes),
            Ok(Step::Receive) => {
                let room = side.room();
                assert!((1..=MAX_HANDSHAKE).contains(&room));
                let (next, rest) = arrives.split_at(at_once.min(room).min(arrives.len()));
                if next.is_empty() {
                    return (said, None);
                }
                side.receive(next);
                arrives = rest;
            }
            Ok(Step::Done(outcome)) => return (said, Some(Ok(outcome))),
            Err(error) => return (said, Some(Err(error))),
        }
    }
}

fuzz_target!(|input: (u8, &[u8], &[u8])| {
    let (at_once, bytes, replies) = input;
    let (said, ended) = talk(Hearing::new(), bytes, usize::MAX);
    let (said_in_pieces, ended_in_pieces) = talk(Hearing::new(), bytes, usize::from(at_once) + 1);
    assert_eq!(said, said_in_pieces);
    let heard = match (ended, ended_in_pieces) {
        (Some(Ok(whole)), Some(Ok(pieces))) => {
            assert!(whole.request == pieces.request);
            whole
        }
        (Some(Err(whole)), Some(Err(pieces))) => return assert_eq!(whole, pieces),
        (None, None) => return,
        _ => panic!("the end depends on how the bytes arrive"),
    };
    let request = heard.request;
    let Some(onward) = request.onward(&request.host, request.credentials.as_ref()) else {
        assert!(request.host.handled().is_some());
        return;
    };
    let (asked, answer) = talk(Asking::new(onward), replies, usize::MAX);
    if let Some(Ok(answer)) = answer {
        assert!(replies.ends_with(&[&answer.reply[..], &answer.rest].concat()[..]) || replies.len() > MAX_HANDSHAKE);
        // A success of Tor is one for what was asked.
        let (_, again) = talk(Hearing::new(), &asked, usize::MAX);
        assert!(matches!(again, Some(Ok(again)) if again.request == request && again.early.is_empty()));
    }
});

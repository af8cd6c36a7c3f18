//! Any bytes of an application are a request, or refused, or wait for more; however they arrive, it is the same. What is
//! asked of Tor for it is what was asked, and no name of ours. Any bytes of Tor are an answer or none.

use isonym::socks::handshake::{ClientHandshake, HandshakeEffect, HandshakeEvent, HandshakeMachine, ServerHandshake};

use crate::input;

/// What one side sent and how it ended; nothing, where it waits for more.
type Talk<M> = (
    Vec<u8>,
    Option<Result<<M as HandshakeMachine>::Outcome, <M as HandshakeMachine>::Error>>,
);

/// Lets one side talk, where so many bytes arrive at a time.
fn talk<M: HandshakeMachine>(mut side: M, arrives: &[u8], at_once: usize) -> Talk<M> {
    let mut sent = Vec::new();
    let pieces = arrives.chunks(at_once.min(arrives.len()).max(1));
    let events = [HandshakeEvent::Started].into_iter();
    for event in events.chain(pieces.map(HandshakeEvent::Received)) {
        let mut effects = side.on_event(event).into_iter();
        while let Some(effect) = effects.next() {
            let ended = match effect {
                HandshakeEffect::Send(bytes) => {
                    sent.extend(bytes);
                    continue;
                }
                HandshakeEffect::Finished(outcome) => Ok(outcome),
                HandshakeEffect::Failed(error) => Err(error),
            };
            assert!(effects.next().is_none());
            assert!(side.on_event(HandshakeEvent::Received(arrives)).is_empty());
            return (sent, Some(ended));
        }
    }
    (sent, None)
}

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let Some((at_once, bytes, replies)) = input::<(u8, &[u8], &[u8])>(bytes) else { return };
    let (sent, ended) = talk(ServerHandshake::new(), bytes, usize::MAX);
    let (sent_in_pieces, ended_in_pieces) = talk(ServerHandshake::new(), bytes, usize::from(at_once) + 1);
    assert_eq!(sent, sent_in_pieces);
    let accepted = match (ended, ended_in_pieces) {
        (Some(Ok(whole)), Some(Ok(pieces))) => {
            assert!(whole.request == pieces.request);
            whole
        }
        (Some(Err(whole)), Some(Err(pieces))) => return assert_eq!(whole, pieces),
        (None, None) => return,
        _ => panic!("the end depends on how the bytes arrive"),
    };
    let request = accepted.request;
    let Some(onward) = request.onward(&request.host, request.credentials.as_ref()) else {
        assert!(request.host.handled().is_some());
        return;
    };
    let (asked, answer) = talk(ClientHandshake::new(onward), replies, usize::MAX);
    if let Some(Ok(answer)) = answer {
        assert!(replies.ends_with(&[&answer.message[..], &answer.rest].concat()[..]));
        // A success of Tor is one for what was asked.
        let (_, again) = talk(ServerHandshake::new(), &asked, usize::MAX);
        assert!(matches!(again, Some(Ok(again)) if again.request == request && again.early.is_empty()));
    }
}

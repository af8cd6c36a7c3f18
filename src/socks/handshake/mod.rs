//! The two handshakes of SOCKS, as machines without I/O: with an application, and with Tor. Nothing in them depends on
//! time, so that their events come without; who runs them bounds how long they may take.
//!
//! # Phases of [`ServerHandshake`]
//!
//! | phase | what arrives | next phase | effects |
//! | --- | --- | --- | --- |
//! | methods | the methods of SOCKS5, one of which will do | login or request | [`Send`](HandshakeEffect::Send) of the choice |
//! | login | user name and password | request | `Send` of consent |
//! | request | a request of SOCKS5 | ended | [`Finished`](HandshakeEffect::Finished) |
//! | methods | a request of SOCKS4 or 4a | ended | `Finished` |
//! | any but ended | what cannot be used | ended | [`Failed`](HandshakeEffect::Failed) with what to tell the application |
//!
//! # Phases of [`ClientHandshake`]
//!
//! | phase | what happens | next phase | effects |
//! | --- | --- | --- | --- |
//! | idle | [`Started`](HandshakeEvent::Started) | asking | `Send` of the methods of SOCKS5, or of the request of SOCKS4 |
//! | asking | the choice of a method, or consent to the credentials | asking | `Send` of the credentials or the request |
//! | asking | the reply to the request | ended | `Finished` |
//! | asking | anything else | ended | `Failed` |
//!
//! In both, a part of a message has no effects, and once they have ended nothing has.
//!
//! tor-socksproto reads and writes the messages. It is stricter than Tor in two things, and both suit us: host names have
//! to be UTF-8, and a NUL byte in one is refused, where Tor cuts the name there. User names that begin with `<torS0X>`,
//! which Tor reserves, mean nothing to it: they go on as they are, and Tor refuses those that it refuses.

mod client;
mod server;

use tor_socksproto::{Buffer, Error, Handshake, NextStep, SOCKS_BUF_LEN};

pub use self::client::{ClientHandshake, ProxyReply};
pub use self::server::{AcceptedRequest, ErrorReply, ServerHandshake};

/// Most bytes of a message that are held until the rest of it arrives.
pub const MAX_HANDSHAKE: usize = SOCKS_BUF_LEN;

/// What a handshake is told.
#[derive(Clone, Copy, Debug)]
pub enum HandshakeEvent<'a> {
    /// The connection is open.
    Started,
    /// These bytes arrived.
    Received(&'a [u8]),
}

/// What has to be done for a handshake, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeEffect<T, E> {
    /// Send these bytes.
    Send(Vec<u8>),
    /// The handshake is over, with this outcome. It is the last effect.
    Finished(T),
    /// The handshake is over, and has led nowhere. It is the last effect.
    Failed(E),
}

/// A handshake's effects.
pub type HandshakeEffects<M> = Vec<HandshakeEffect<<M as HandshakeMachine>::Outcome, <M as HandshakeMachine>::Error>>;

/// What both handshakes are to who runs them.
pub trait HandshakeMachine: Sized {
    /// What is known at its end.
    type Outcome;
    /// Why it may fail.
    type Error;

    /// Takes in an event. After the end it has no effects.
    fn on_event(&mut self, event: HandshakeEvent<'_>) -> HandshakeEffects<Self>;
}

/// A handshake of tor-socksproto with the bytes that it has not used.
struct Exchange<H> {
    handshake: H,
    buffer: Buffer,
}

/// What tor-socksproto wants next.
enum Step<T> {
    Send(Vec<u8>),
    /// More bytes have to arrive.
    Wait,
    Finished {
        output: T,
        /// The message that it comes of.
        message: Vec<u8>,
        /// What arrived behind that message.
        rest: Vec<u8>,
    },
}

impl<H: Handshake> Exchange<H> {
    fn new(handshake: H) -> Self {
        Self {
            handshake,
            buffer: Buffer::with_size(MAX_HANDSHAKE),
        }
    }

    /// Goes one step on with the bytes that arrived, of which it takes away those that it has room for.
    fn step(&mut self, arrived: &mut &[u8]) -> Result<Step<H::Output>, BadMessage> {
        self.fill(arrived);
        let mut message = self.buffer.filled_slice().to_vec();
        match self.handshake.step(&mut self.buffer) {
            Ok(NextStep::Recv(_)) => Ok(Step::Wait),
            Ok(NextStep::Send(bytes)) => Ok(Step::Send(bytes)),
            Ok(NextStep::Finished(finished)) => {
                let (output, mut rest) = finished.into_output_and_vec();
                message.truncate(message.len().saturating_sub(rest.len()));
                rest.extend_from_slice(std::mem::take(arrived));
                Ok(Step::Finished { output, message, rest })
            }
            Err(error) => Err(BadMessage { message, error }),
        }
    }

    fn fill(&mut self, arrived: &mut &[u8]) {
        let room = self.buffer.unfilled_slice();
        let length = room.len().min(arrived.len());
        let (Some(room), Some((fits, rest))) = (room.get_mut(..length), arrived.split_at_checked(length)) else {
            return;
        };
        room.copy_from_slice(fits);
        *arrived = rest;
        if let Ok(length) = length.try_into() {
            self.buffer.note_received(length);
        }
    }
}

/// A message that tor-socksproto cannot use.
struct BadMessage {
    /// What has arrived of it, and behind it.
    message: Vec<u8>,
    error: Error,
}

#[cfg(test)]
mod tests;

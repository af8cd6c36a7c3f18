//! The two handshakes, as machines that are told what arrived and tell what to do: with an application that speaks SOCKS,
//! and with Tor.
//!
//! tor-socksproto reads and writes the messages. It is stricter than Tor in two things, and both suit us: host names have
//! to be UTF-8, and a NUL byte in one is refused, where Tor cuts the name there. User names that begin with `<torS0X>`,
//! which Tor reserves, mean nothing to it: they go on as they are, and Tor refuses those that it refuses.

use tor_socksproto::{
    Buffer, Error, Handshake as _, NextStep, SOCKS_BUF_LEN, SocksClientHandshake, SocksProxyHandshake, SocksRequest,
};

use super::reply::{Refusal, SUCCEEDED, refused};
use super::request::{Protocol, Request};

/// Most bytes that are held of a handshake, with what was sent too early.
pub const MAX_HANDSHAKE: usize = SOCKS_BUF_LEN;

/// What to do next.
#[derive(Debug)]
pub enum Step<T> {
    /// Send these bytes, then ask again.
    Send(Vec<u8>),
    /// Receive at least one byte, then ask again.
    Receive,
    /// It is done.
    Done(T),
}

/// A conversation that ends with something known.
pub trait Conversation {
    /// What is known then.
    type Outcome;
    /// Why it may fail.
    type Error;

    /// Returns what to do next. After an error or the outcome it is not to be asked again.
    fn step(&mut self) -> Result<Step<Self::Outcome>, Self::Error>;

    /// Takes bytes that arrived: at most [`Conversation::room`], the rest is lost.
    fn receive(&mut self, bytes: &[u8]);

    /// Returns how many bytes it can take.
    fn room(&mut self) -> usize;
}

/// Puts bytes into a buffer, as far as there is room.
fn fill(buffer: &mut Buffer, bytes: &[u8]) {
    let room = buffer.unfilled_slice();
    let length = room.len().min(bytes.len());
    if let (Some(room), Some(bytes)) = (room.get_mut(..length), bytes.get(..length)) {
        room.copy_from_slice(bytes);
    }
    if let Ok(length) = length.try_into() {
        buffer.note_received(length);
    }
}

/// What an application asked for, and what it sent behind that without waiting for a reply.
#[derive(Clone, PartialEq, Eq)]
pub struct Heard {
    /// The request.
    pub request: Request,
    /// The first bytes for the other side.
    pub early: Vec<u8>,
}

/// What to send to an application before its connection is closed; nothing, if it is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell(pub Vec<u8>);

/// Which message of SOCKS5 is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Methods,
    Login,
    Request,
}

/// Reads what an application asks for.
pub struct Hearing {
    handshake: SocksProxyHandshake,
    buffer: Buffer,
    awaited: Awaited,
}

impl Hearing {
    /// Begins.
    pub fn new() -> Self {
        Self {
            handshake: SocksProxyHandshake::new(),
            buffer: Buffer::with_size(MAX_HANDSHAKE),
            awaited: Awaited::Methods,
        }
    }
}

impl Default for Hearing {
    fn default() -> Self {
        Self::new()
    }
}

/// The reply of SOCKS5 to methods of which none will do. Source: RFC 1928 section 3.
const NO_METHOD: [u8; 2] = [5, 0xff];

/// The reply of SOCKS5 that picks user name and password.
const LOGIN: [u8; 2] = [5, 2];

/// Says what a client is told whose message cannot be used, by its first bytes.
fn farewell(awaited: Awaited, error: &Error, message: [u8; 4]) -> Farewell {
    let bytes = match (awaited, message) {
        (Awaited::Methods, [4, ..]) => refused(Protocol::Socks4, Refusal::General),
        (Awaited::Methods, [5, ..]) if matches!(error, Error::NotImplemented(_)) => NO_METHOD.to_vec(),
        (Awaited::Methods | Awaited::Login, _) => Vec::new(),
        (Awaited::Request, [5, _, _, kind]) if !matches!(kind, 1 | 3 | 4) => {
            refused(Protocol::Socks5, Refusal::AddressKind)
        }
        (Awaited::Request, _) if matches!(error, Error::NotImplemented(_)) => {
            refused(Protocol::Socks5, Refusal::Command)
        }
        (Awaited::Request, _) => refused(Protocol::Socks5, Refusal::General),
    };
    Farewell(bytes)
}

impl Conversation for Hearing {
    type Outcome = Heard;
    type Error = Farewell;

    fn step(&mut self) -> Result<Step<Heard>, Farewell> {
        let mut message = [0; 4];
        for (to, from) in message.iter_mut().zip(self.buffer.filled_slice()) {
            *to = *from;
        }
        match self.handshake.step(&mut self.buffer) {
            Ok(NextStep::Recv(_)) => Ok(Step::Receive),
            Ok(NextStep::Send(reply)) => {
                self.awaited = if reply == LOGIN {
                    Awaited::Login
                } else {
                    Awaited::Request
                };
                Ok(Step::Send(reply))
            }
            Ok(NextStep::Finished(finished)) => {
                let (asked, early) = finished.into_output_and_vec();
                match Request::of_socks(&asked) {
                    Some(request) => Ok(Step::Done(Heard { request, early })),
                    None => Err(farewell(self.awaited, &Error::Syntax, message)),
                }
            }
            Err(error) => Err(farewell(self.awaited, &error, message)),
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        fill(&mut self.buffer, bytes);
    }

    fn room(&mut self) -> usize {
        self.buffer.unfilled_slice().len()
    }
}

/// What Tor answered.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its code, as in SOCKS5: of SOCKS4 there is but success and failure.
    pub code: u8,
    /// Its reply as it came, for a client of the same protocol.
    pub reply: Vec<u8>,
    /// What came behind it: the first bytes of the other side.
    pub rest: Vec<u8>,
}

impl Answer {
    /// Says whether Tor did what it was asked for.
    pub fn is_success(&self) -> bool {
        self.code == SUCCEEDED
    }
}

/// The message of SOCKS5 that offers user name and password alone.
const OFFER_LOGIN: [u8; 3] = [5, 1, 2];

/// The version of the messages that carry user name and password. Source: RFC 1929.
const LOGIN_VERSION: u8 = 1;

/// Asks Tor.
pub struct Asking {
    handshake: SocksClientHandshake,
    buffer: Buffer,
    /// Whether there is a user name or password that has to be said, over SOCKS5.
    login: bool,
    /// Messages that were sent.
    sent: usize,
}

impl Asking {
    /// Begins.
    pub fn new(request: SocksRequest) -> Self {
        let login = matches!(request.auth(), tor_socksproto::SocksAuth::Username(..));
        Self {
            handshake: SocksClientHandshake::new(request),
            buffer: Buffer::with_size(MAX_HANDSHAKE),
            login,
            sent: 0,
        }
    }

    /// Sees to it that credentials are said: tor-socksproto offers to go without them, and Tor has an option to take such
    /// offers.
    fn checked(&mut self, message: Vec<u8>) -> Result<Vec<u8>, Refusal> {
        self.sent += 1;
        match self.sent {
            1 if self.login => Ok(OFFER_LOGIN.to_vec()),
            2 if self.login && message.first() != Some(&LOGIN_VERSION) => Err(Refusal::General),
            _ => Ok(message),
        }
    }
}

impl Conversation for Asking {
    type Outcome = Answer;
    type Error = Refusal;

    fn step(&mut self) -> Result<Step<Answer>, Refusal> {
        let mut seen = self.buffer.filled_slice().to_vec();
        match self.handshake.step(&mut self.buffer) {
            Ok(NextStep::Recv(_)) => Ok(Step::Receive),
            Ok(NextStep::Send(message)) => Ok(Step::Send(self.checked(message)?)),
            Ok(NextStep::Finished(finished)) => {
                let (reply, rest) = finished.into_output_and_vec();
                seen.truncate(seen.len().saturating_sub(rest.len()));
                Ok(Step::Done(Answer {
                    code: reply.status().into(),
                    reply: seen,
                    rest,
                }))
            }
            Err(_) => Err(Refusal::General),
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        fill(&mut self.buffer, bytes);
    }

    fn room(&mut self) -> usize {
        self.buffer.unfilled_slice().len()
    }
}
#[cfg(test)]
mod tests;

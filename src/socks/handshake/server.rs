//! The handshake with an application.

use tor_socksproto::{Error, SocksProxyHandshake};

use super::{BadMessage, Exchange, HandshakeEffect, HandshakeEffects, HandshakeEvent, HandshakeMachine, Step};
use crate::socks::reply::{RequestError, refused};
use crate::socks::request::{ProxyProtocol, ProxyRequest};

/// What an application asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct AcceptedRequest {
    /// The request.
    pub request: ProxyRequest,
    /// What the application sent behind the request without waiting for a reply: the first bytes for the other side.
    pub early: Vec<u8>,
}

/// What to send to an application before its connection is closed; nothing, if it is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply(pub Vec<u8>);

/// Which message is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The methods of SOCKS5, or the request of SOCKS4.
    Methods,
    /// User name and password.
    Login,
    /// The request of SOCKS5.
    Request,
    /// None any more.
    Ended,
}

/// Learns what an application asks for.
pub struct ServerHandshake {
    phase: Phase,
    exchange: Exchange<SocksProxyHandshake>,
}

impl ServerHandshake {
    /// Makes the machine of a new connection.
    pub fn new() -> Self {
        Self {
            phase: Phase::Methods,
            exchange: Exchange::new(SocksProxyHandshake::new()),
        }
    }
}

impl Default for ServerHandshake {
    fn default() -> Self {
        Self::new()
    }
}

impl HandshakeMachine for ServerHandshake {
    type Outcome = AcceptedRequest;
    type Error = ErrorReply;

    fn on_event(&mut self, event: HandshakeEvent<'_>) -> HandshakeEffects<Self> {
        let mut effects = Vec::new();
        let HandshakeEvent::Received(mut arrived) = event else {
            return effects;
        };
        while self.phase != Phase::Ended {
            match self.exchange.step(&mut arrived) {
                Ok(Step::Wait) => break,
                Ok(Step::Send(reply)) => {
                    self.phase = if reply == CHOOSE_LOGIN {
                        Phase::Login
                    } else {
                        Phase::Request
                    };
                    effects.push(HandshakeEffect::Send(reply));
                }
                Ok(Step::Finished { output, message, rest }) => {
                    effects.push(match ProxyRequest::of_socks(&output) {
                        Some(request) => HandshakeEffect::Finished(AcceptedRequest { request, early: rest }),
                        None => HandshakeEffect::Failed(error_reply(self.phase, &Error::Syntax, &message)),
                    });
                    self.phase = Phase::Ended;
                }
                Err(BadMessage { message, error }) => {
                    effects.push(HandshakeEffect::Failed(error_reply(self.phase, &error, &message)));
                    self.phase = Phase::Ended;
                }
            }
        }
        effects
    }
}

/// The reply of SOCKS5 to methods of which none will do. Source: RFC 1928 section 3.
const NO_METHOD: [u8; 2] = [5, 0xff];

/// The reply of SOCKS5 that chooses user name and password.
const CHOOSE_LOGIN: [u8; 2] = [5, 2];

/// Returns what to tell an application whose message cannot be used, in its own protocol if that is known.
fn error_reply(phase: Phase, error: &Error, message: &[u8]) -> ErrorReply {
    let bytes = match (phase, message) {
        (Phase::Methods, [4, ..]) => refused(ProxyProtocol::Socks4, RequestError::General),
        (Phase::Methods, [5, ..]) if matches!(error, Error::NotImplemented(_)) => NO_METHOD.to_vec(),
        (Phase::Methods | Phase::Login | Phase::Ended, _) => Vec::new(),
        (Phase::Request, [5, _, _, kind, ..]) if !matches!(kind, 1 | 3 | 4) => {
            refused(ProxyProtocol::Socks5, RequestError::AddressKindUnsupported)
        }
        (Phase::Request, _) if matches!(error, Error::NotImplemented(_)) => {
            refused(ProxyProtocol::Socks5, RequestError::CommandUnsupported)
        }
        (Phase::Request, _) => refused(ProxyProtocol::Socks5, RequestError::General),
    };
    ErrorReply(bytes)
}

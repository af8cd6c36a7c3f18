//! The handshake with Tor.

use tor_socksproto::{SocksAuth, SocksClientHandshake, SocksRequest};

use super::{Exchange, HandshakeEffect, HandshakeEffects, HandshakeEvent, HandshakeMachine, Step};
use crate::net::socks_login::{LoginGuard, OFFER_LOGIN};
use crate::socks::reply::{RequestError, SUCCEEDED};

/// What Tor replied to a request.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyReply {
    /// Its code, as in SOCKS5. Of SOCKS4 there is but success and failure.
    pub code: u8,
    /// The whole message, for an application that speaks the same protocol.
    pub message: Vec<u8>,
    /// What arrived behind it: the first bytes of the other side.
    pub rest: Vec<u8>,
}

impl ProxyReply {
    /// Says whether Tor did what it was asked for.
    pub fn is_success(&self) -> bool {
        self.code == SUCCEEDED
    }
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The connection is not open.
    Idle,
    /// Messages go to and fro.
    Asking,
    /// There is a reply, or there will be none.
    Ended,
}

/// Asks Tor.
pub struct ClientHandshake {
    phase: Phase,
    exchange: Exchange<SocksClientHandshake>,
    /// There where Tor has to be told a user name and password over SOCKS5.
    login: Option<LoginGuard>,
}

impl ClientHandshake {
    /// Makes the machine for one request.
    pub fn new(request: SocksRequest) -> Self {
        let login = matches!(request.auth(), SocksAuth::Username(..));
        Self {
            phase: Phase::Idle,
            exchange: Exchange::new(SocksClientHandshake::new(request)),
            login: login.then(LoginGuard::default),
        }
    }

    fn advance(&mut self, mut arrived: &[u8], effects: &mut HandshakeEffects<Self>) {
        loop {
            match self.exchange.step(&mut arrived) {
                Ok(Step::Wait) => return,
                Ok(Step::Send(message)) => {
                    let offers = matches!(self.phase, Phase::Idle) && self.login.is_some();
                    self.phase = Phase::Asking;
                    effects.push(HandshakeEffect::Send(if offers {
                        OFFER_LOGIN.to_vec()
                    } else {
                        message
                    }));
                }
                Ok(Step::Finished { output, message, rest }) => {
                    self.phase = Phase::Ended;
                    return effects.push(HandshakeEffect::Finished(ProxyReply {
                        code: output.status().into(),
                        message,
                        rest,
                    }));
                }
                Err(_) => return self.fail(effects),
            }
        }
    }

    fn fail(&mut self, effects: &mut HandshakeEffects<Self>) {
        self.phase = Phase::Ended;
        effects.push(HandshakeEffect::Failed(RequestError::General));
    }
}

impl HandshakeMachine for ClientHandshake {
    type Outcome = ProxyReply;
    type Error = RequestError;

    fn on_event(&mut self, event: HandshakeEvent<'_>) -> HandshakeEffects<Self> {
        let mut effects = Vec::new();
        match (self.phase, event) {
            (Phase::Idle, HandshakeEvent::Started) => self.advance(&[], &mut effects),
            (Phase::Asking, HandshakeEvent::Received(bytes)) => {
                let is_skipped = |login: &mut LoginGuard| login.on_received(bytes).is_err();
                if self.login.as_mut().is_some_and(is_skipped) {
                    self.fail(&mut effects);
                } else {
                    self.advance(bytes, &mut effects);
                }
            }
            (Phase::Idle, HandshakeEvent::Received(_))
            | (Phase::Asking, HandshakeEvent::Started)
            | (Phase::Ended, _) => {}
        }
        effects
    }
}

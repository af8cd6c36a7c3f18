//! Connections onward to Tor's SOCKS port.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use super::handshake::{ClientHandshake, HandshakeEffect, HandshakeEvent, HandshakeMachine, ProxyReply};
use super::reply::RequestError;
use crate::net::dialer::Duplex;

/// How long Tor may take to be connected to.
const CONNECT: Duration = Duration::from_secs(20);

/// How long Tor may take to reply: longer than it waits itself, which is 2 minutes unless it is told otherwise.
const REPLY: Duration = Duration::from_secs(180);

/// How long after a warning that Tor can't be reached there is no other.
const QUIET: Duration = Duration::from_secs(60);

/// Tor's SOCKS port.
#[derive(Debug)]
pub(super) struct TorProxy {
    /// Its addresses, in the order in which they are tried.
    addresses: Vec<SocketAddr>,
    /// When the user was last warned that it can't be reached.
    warned: Mutex<Option<Instant>>,
}

impl TorProxy {
    pub(super) fn new(addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses,
            warned: Mutex::new(None),
        }
    }

    /// Asks Tor, for a caller from this address. Returns its reply, and the stream that goes on behind it.
    pub(super) async fn ask(
        &self,
        handshake: ClientHandshake,
        caller: IpAddr,
    ) -> Result<(ProxyReply, Box<dyn Duplex>), RequestError> {
        let mut stream = match self.connect(caller).await {
            Ok(stream) => stream,
            Err(error) => {
                self.warn(&error);
                return Err(RequestError::General);
            }
        };
        match timeout(REPLY, run_handshake(&mut stream, handshake)).await {
            Ok(Ok(reply)) => Ok((reply, Box::new(stream))),
            Ok(Err(HandshakeError::Failed(error))) => Err(error),
            Ok(Err(HandshakeError::Disconnected)) => Err(RequestError::General),
            Err(_) => Err(RequestError::Timeout),
        }
    }

    async fn connect(&self, caller: IpAddr) -> io::Result<TcpStream> {
        let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for tor in &self.addresses {
            match timeout(CONNECT, connect(*tor, caller.to_canonical())).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = error,
                Err(_) => failed = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(failed)
    }

    fn warn(&self, error: &io::Error) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|warned| warned.elapsed() >= QUIET) {
            *warned = Some(Instant::now());
            tracing::warn!("cannot connect to Tor's SOCKS port, so nobody gets anywhere: {error}");
        }
    }
}

/// Connects to Tor from the caller's own address where that is possible, since Tor keeps clients apart by it: between
/// addresses of the loopback network.
async fn connect(tor: SocketAddr, caller: IpAddr) -> io::Result<TcpStream> {
    let socket = match tor {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    if tor.ip().is_loopback() && caller.is_loopback() && tor.is_ipv4() == caller.is_ipv4() {
        socket.bind((caller, 0).into())?;
    }
    let stream = socket.connect(tor).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Why a handshake has no outcome.
pub(super) enum HandshakeError<E> {
    /// The other side went away.
    Disconnected,
    /// The machine gave it up.
    Failed(E),
}

/// Runs a handshake over a stream.
pub(super) async fn run_handshake<M: HandshakeMachine>(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    mut machine: M,
) -> Result<M::Outcome, HandshakeError<M::Error>> {
    let mut chunk = [0; 512];
    let mut effects = machine.on_event(HandshakeEvent::Started);
    loop {
        for effect in effects {
            match effect {
                HandshakeEffect::Send(bytes) => {
                    let sent = stream.write_all(&bytes).await;
                    sent.map_err(|_| HandshakeError::Disconnected)?;
                }
                HandshakeEffect::Finished(outcome) => return Ok(outcome),
                HandshakeEffect::Failed(error) => return Err(HandshakeError::Failed(error)),
            }
        }
        let bytes = match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return Err(HandshakeError::Disconnected),
            Ok(length) => chunk.get(..length).unwrap_or_default(),
        };
        effects = machine.on_event(HandshakeEvent::Received(bytes));
    }
}

//! The way to Tor.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use super::handshake::{Answer, Asking, Conversation, Step};
use super::reply::Refusal;

/// How long Tor may take to be connected to.
const CONNECT: Duration = Duration::from_secs(20);

/// How long Tor may take to answer: longer than it waits itself, which is 2 minutes unless it is told otherwise.
const ANSWER: Duration = Duration::from_secs(180);

/// How long nothing more is said of it when Tor is not there.
const SILENCE: Duration = Duration::from_secs(60);

/// Where Tor is, by its addresses in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Way {
    tor: Vec<SocketAddr>,
    /// When it was last said that Tor is not there.
    said: Mutex<Option<Instant>>,
}

impl Way {
    pub(super) fn new(tor: Vec<SocketAddr>) -> Self {
        Self {
            tor,
            said: Mutex::new(None),
        }
    }

    /// Asks Tor, for a caller from this address. Returns what it answered and the stream behind that.
    pub(super) async fn ask(&self, asking: Asking, caller: IpAddr) -> Result<(Answer, TcpStream), Refusal> {
        let mut stream = match self.connect(caller).await {
            Ok(stream) => stream,
            Err(error) => {
                self.complain(&error);
                return Err(Refusal::General);
            }
        };
        match timeout(ANSWER, converse(&mut stream, asking)).await {
            Ok(Ok(answer)) => Ok((answer, stream)),
            Ok(Err(Ended::Refused(refusal))) => Err(refusal),
            Ok(Err(Ended::Gone)) => Err(Refusal::General),
            Err(_) => Err(Refusal::Timeout),
        }
    }

    async fn connect(&self, caller: IpAddr) -> io::Result<TcpStream> {
        let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for tor in &self.tor {
            match timeout(CONNECT, connect(*tor, caller.to_canonical())).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = error,
                Err(_) => failed = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(failed)
    }

    fn complain(&self, error: &io::Error) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() >= SILENCE) {
            *said = Some(Instant::now());
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

/// Why a conversation ended without an outcome.
pub(super) enum Ended<E> {
    /// The other side went away.
    Gone,
    /// What it said led nowhere.
    Refused(E),
}

/// Holds a conversation over a stream.
pub(super) async fn converse<C: Conversation>(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    mut conversation: C,
) -> Result<C::Outcome, Ended<C::Error>> {
    let mut chunk = [0; 512];
    loop {
        match conversation.step().map_err(Ended::Refused)? {
            Step::Send(bytes) => stream.write_all(&bytes).await.map_err(|_| Ended::Gone)?,
            Step::Receive => {
                let room = conversation.room().min(chunk.len());
                let room = chunk.get_mut(..room).unwrap_or_default();
                match stream.read(room).await {
                    Ok(0) | Err(_) => return Err(Ended::Gone),
                    Ok(length) => conversation.receive(room.get(..length).unwrap_or_default()),
                }
            }
            Step::Done(outcome) => return Ok(outcome),
        }
    }
}

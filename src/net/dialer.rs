//! Opens streams to servers: through a SOCKS5 proxy with credentials that no other stream has, through the Tor within the
//! program in a group of its own, or directly where that was asked for.

use std::fmt::{self, Write as _};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin as StdPin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rand::TryRngCore;
use rand::rngs::OsRng;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_socks::TargetAddr;
use tokio_socks::tcp::Socks5Stream;

use super::address::{Host, ServerAddr, Transport};
use super::dial_error::{DialError, OnionRefusal, SocksRefusal, Stage};
#[cfg(feature = "embedded-tor")]
use super::embedded_tor::StreamGroup;
use super::pins::{Fingerprint, Identity, Pin};
use super::proxy::Proxy;
use super::socks_login::{LoginGuard, LoginSkipped, ReplyWatch};
use super::tls::{Tls, TlsError};

/// What a stream to a server must be able to do.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// An open stream and who is at its end.
pub struct Dialed {
    /// The stream.
    pub stream: Box<dyn Duplex>,
    /// What proves the server's identity, or what speaks against it: then the stream may be greeted over, as any other,
    /// and must not be used.
    pub identity: Result<Identity, TlsError>,
    /// The SHA-256 of the server's public key, where there is TLS.
    pub key: Option<Fingerprint>,
}

/// A stream that is being opened by a [`StreamSource`].
#[doc(hidden)]
pub type Opening = StdPin<Box<dyn Future<Output = Result<Box<dyn Duplex>, DialError>> + Send>>;

/// A way to servers that needs no socket: worlds that live in memory have one.
#[doc(hidden)]
pub trait StreamSource: fmt::Debug + Send + Sync {
    /// Opens a stream to a server, as TCP would; TLS is spoken over it where the server has it.
    fn open(&self, server: &ServerAddr) -> Opening;
}

/// Opens streams. Holds no state that one stream could leave for another.
#[derive(Clone, Debug)]
pub struct Dialer {
    proxy: Proxy,
    /// What takes the place of all sockets.
    source: Option<Arc<dyn StreamSource>>,
    tls: Tls,
    /// Whether it was said that a Tor is used which is not at the first place for one.
    told_of_second_tor: Arc<AtomicBool>,
}

impl Dialer {
    /// Makes a dialer that trusts the public certificate authorities.
    ///
    /// # Errors
    ///
    /// [`DialError::Tls`] when TLS can't be set up.
    pub fn new(proxy: Proxy) -> Result<Self, DialError> {
        Ok(Self::with_tls(proxy, Tls::with_public_authorities()?))
    }

    /// Makes a dialer with authorities of its own.
    pub fn with_tls(proxy: Proxy, tls: Tls) -> Self {
        Self {
            proxy,
            source: None,
            tls,
            told_of_second_tor: Arc::default(),
        }
    }

    /// Makes a dialer that opens no socket.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    #[doc(hidden)]
    pub fn without_sockets(source: Arc<dyn StreamSource>) -> Result<Self, DialError> {
        Ok(Self {
            source: Some(source),
            ..Self::new(Proxy::Socks5(Vec::new()))?
        })
    }

    /// Returns the way that streams take.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Opens a stream to a server that must show `pin`, within `limit`. A Tor within the program that has just begun is
    /// waited for before.
    ///
    /// # Errors
    ///
    /// See [`DialError`]. There is no second way: what fails through the proxy is not tried without.
    pub async fn dial(&self, server: &ServerAddr, pin: Option<Pin>, limit: Duration) -> Result<Dialed, DialError> {
        #[cfg(feature = "embedded-tor")]
        self.proxy.ready().await?;
        let mut stage = Stage::Connect;
        timeout(limit, self.open(server, pin, &mut stage))
            .await
            .unwrap_or(Err(DialError::TimedOut { after: limit, stage }))
    }

    async fn open(&self, server: &ServerAddr, pin: Option<Pin>, stage: &mut Stage) -> Result<Dialed, DialError> {
        if let Some(source) = &self.source {
            let stream = source.open(server).await?;
            return self.secure(stream, server, pin, stage).await;
        }
        let tcp = match &self.proxy {
            Proxy::Direct => connect_directly(server).await?,
            Proxy::Socks5(candidates) => self.connect_through(candidates, server).await?,
            #[cfg(feature = "embedded-tor")]
            Proxy::Embedded(tor) => {
                let stream = tor.connect(&server.host, server.port, StreamGroup::Alone).await?;
                return self.secure(stream, server, pin, stage).await;
            }
        };
        self.secure(tcp, server, pin, stage).await
    }

    /// Speaks TLS over a stream where the server has it.
    async fn secure(
        &self,
        stream: impl Duplex + 'static,
        server: &ServerAddr,
        pin: Option<Pin>,
        stage: &mut Stage,
    ) -> Result<Dialed, DialError> {
        match server.transport {
            Transport::Tcp => Ok(Dialed {
                stream: Box::new(stream),
                identity: Ok(if server.is_onion() {
                    Identity::Onion
                } else {
                    Identity::Unproved
                }),
                key: None,
            }),
            Transport::Tls => {
                *stage = Stage::Tls;
                let handshaken = self.tls.connect(stream, &server.host, pin).await?;
                Ok(Dialed {
                    stream: Box::new(handshaken.stream),
                    identity: handshaken.identity,
                    key: handshaken.key,
                })
            }
        }
    }

    async fn connect_through(&self, candidates: &[SocketAddr], server: &ServerAddr) -> Result<TcpStream, DialError> {
        let stream = self.reach_proxy(candidates).await?;
        stream
            .set_nodelay(true)
            .map_err(|error| DialError::ProxyFailed(error.kind()))?;
        let target = match &server.host {
            Host::Name(name) => TargetAddr::Domain(name.as_str().into(), server.port),
            Host::Ip(ip) => TargetAddr::Ip(SocketAddr::new(*ip, server.port)),
        };
        let Credentials { user, password } = Credentials::random()?;
        let mut guarded = GuardedStream::new(stream);
        let connected = Socks5Stream::connect_with_password_and_socket(&mut guarded, target, &user, &password).await;
        match connected.map(drop) {
            Ok(()) => Ok(guarded.stream),
            Err(error) => Err(socks_error(error, guarded.reply.code())),
        }
    }

    /// Makes sure that a proxy is a Tor which nobody named, each time: what listens there now may be another program than
    /// before. The first time it says that it is taken. The stream is used up by that, and a new one returned.
    async fn as_tor(&self, stream: TcpStream, proxy: SocketAddr) -> Result<io::Result<TcpStream>, DialError> {
        if !is_tor(stream).await {
            return Err(DialError::ProxyNotTor { proxy });
        }
        if !self.told_of_second_tor.swap(true, Ordering::Relaxed) {
            tracing::warn!("nothing listens at the usual port of Tor: the one at {proxy} is taken");
        }
        Ok(TcpStream::connect(proxy).await)
    }

    /// Says whether a Tor answers where streams go out, by a question that it answers without asking anybody.
    pub async fn is_behind_tor(&self) -> bool {
        let Proxy::Socks5(candidates) = &self.proxy else {
            return false;
        };
        for candidate in candidates {
            if let Ok(Ok(stream)) = timeout(TOR_PATIENCE, TcpStream::connect(candidate)).await {
                return is_tor(stream).await;
            }
        }
        false
    }

    async fn reach_proxy(&self, candidates: &[SocketAddr]) -> Result<TcpStream, DialError> {
        let mut failure = DialError::ProxyUnreachable {
            proxy: self.proxy.clone(),
        };
        for (place, candidate) in candidates.iter().enumerate() {
            let connected = match TcpStream::connect(candidate).await {
                Ok(stream) if place > 0 => self.as_tor(stream, *candidate).await?,
                connected => connected,
            };
            match connected {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = DialError::shortage(&error).unwrap_or(failure),
            }
        }
        Err(failure)
    }
}

/// Finds a Tor: the first of these places where one answers. What else listens there is told nothing.
pub async fn find_tor(candidates: &[SocketAddr]) -> Option<SocketAddr> {
    for candidate in candidates {
        if let Ok(stream) = TcpStream::connect(candidate).await
            && is_tor(stream).await
        {
            return Some(*candidate);
        }
    }
    None
}

/// Says whether a Tor is at the other end: it knows a command that is no other proxy's, by which it finds the address of a
/// name. One that is written as an address it answers itself, so that no circuit is built for it and no relay hears of it.
async fn is_tor(mut stream: TcpStream) -> bool {
    let ask = async {
        let mut method = [0; OFFER_NOTHING.len() - 1];
        stream.write_all(&OFFER_NOTHING).await?;
        stream.read_exact(&mut method).await?;
        let mut reply = [0; RESOLVED.len()];
        if method == NOTHING_WANTED {
            stream.write_all(RESOLVE).await?;
            stream.read_exact(&mut reply).await?;
        }
        io::Result::Ok(reply == RESOLVED)
    };
    matches!(timeout(TOR_PATIENCE, ask).await, Ok(Ok(true)))
}

/// The offer to speak SOCKS5 without credentials, and its acceptance. Source: RFC 1928, section 3.
const OFFER_NOTHING: [u8; 3] = [5, 1, 0];
const NOTHING_WANTED: [u8; 2] = [5, 0];

/// Asks for the address of `192.0.2.1`, which belongs to nobody (RFC 5737), and what a Tor answers. It is asked for as a
/// name, since `SafeSocks` refuses addresses. Source: Tor, socks-extensions, RESOLVE.
const RESOLVE: &[u8] = b"\x05\xf0\x00\x03\x09192.0.2.1\x00\x00";
const RESOLVED: [u8; 10] = [5, 0, 0, 1, 192, 0, 2, 1, 0, 0];

/// How long that may take: it comes from this machine.
const TOR_PATIENCE: Duration = Duration::from_secs(5);

async fn connect_directly(server: &ServerAddr) -> Result<TcpStream, DialError> {
    let outcome = match &server.host {
        Host::Name(_) if server.is_onion() => return Err(DialError::OnionNeedsProxy),
        Host::Name(name) => match tokio::net::lookup_host((name.as_str(), server.port)).await {
            Ok(found) => TcpStream::connect(found.collect::<Vec<_>>().as_slice()).await,
            Err(error) => return Err(DialError::shortage(&error).unwrap_or(DialError::UnknownHost)),
        },
        Host::Ip(ip) => TcpStream::connect((*ip, server.port)).await,
    };
    let stream = outcome.map_err(|error| DialError::without_proxy(&error))?;
    stream.set_nodelay(true).map_err(|error| DialError::Io(error.kind()))?;
    Ok(stream)
}

/// SOCKS5 user name and password of one stream. They put it on a circuit of its own, are never used again and
/// never shown.
///
/// 128 random bits each, in hex: so a user name can't begin with `<torS0X>`, which Tor reserves.
struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    fn random() -> Result<Self, DialError> {
        Ok(Self {
            user: random_hex()?,
            password: random_hex()?,
        })
    }
}

fn random_hex() -> Result<String, DialError> {
    let mut bytes = [0; 16];
    OsRng.try_fill_bytes(&mut bytes).map_err(|_| DialError::NoEntropy)?;
    Ok(bytes.iter().fold(String::with_capacity(32), |mut hex, byte| {
        // Writing to a string can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

/// A stream to a proxy that fails as soon as the proxy chooses to go on without credentials.
struct GuardedStream {
    stream: TcpStream,
    guard: LoginGuard,
    reply: ReplyWatch,
}

impl GuardedStream {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            guard: LoginGuard::default(),
            reply: ReplyWatch::default(),
        }
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(mut self: StdPin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(StdPin::new(&mut self.stream).poll_read(cx, buf))?;
        let received = buf.filled().get(before..).unwrap_or_default();
        self.reply.on_received(received);
        let guarded = self.guard.on_received(received);
        Poll::Ready(guarded.map_err(|skipped| io::Error::new(io::ErrorKind::PermissionDenied, skipped)))
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(mut self: StdPin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        StdPin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: StdPin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        StdPin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: StdPin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        StdPin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Says why a proxy does not connect; it replied with this code, if it did.
fn socks_error(error: tokio_socks::Error, code: Option<u8>) -> DialError {
    use tokio_socks::Error;
    match error {
        Error::Io(error)
            if error
                .get_ref()
                .is_some_and(<dyn std::error::Error + Send + Sync>::is::<LoginSkipped>) =>
        {
            DialError::ProxyDoesNotIsolate
        }
        Error::Io(error) => DialError::ProxyFailed(error.kind()),
        Error::NoAcceptableAuthMethods | Error::PasswordAuthFailure(_) | Error::AuthorizationRequired => {
            DialError::ProxyRefusedCredentials
        }
        Error::ConnectionRefused => DialError::ClosedPort,
        Error::HostUnreachable => DialError::UnknownHost,
        Error::GeneralSocksServerFailure => DialError::ProxyRefused(SocksRefusal::General),
        Error::ConnectionNotAllowedByRuleset => DialError::ProxyRefused(SocksRefusal::NotAllowed),
        Error::NetworkUnreachable => DialError::ProxyRefused(SocksRefusal::NetworkUnreachable),
        Error::TtlExpired => DialError::ProxyRefused(SocksRefusal::Expired),
        Error::CommandNotSupported => DialError::ProxyRefused(SocksRefusal::CommandNotSupported),
        Error::AddressTypeNotSupported => DialError::ProxyRefused(SocksRefusal::AddressNotSupported),
        // The client gives this for replies that it doesn't know.
        Error::UnknownError | Error::UnknownAuthMethod => {
            let refusal = code.and_then(OnionRefusal::of_code);
            DialError::ProxyRefused(refusal.map_or(SocksRefusal::Unknown, SocksRefusal::OfOnionService))
        }
        Error::ProxyServerUnreachable
        | Error::ParseError(_)
        | Error::InvalidTargetAddress(_)
        | Error::InvalidResponseVersion
        | Error::InvalidReservedByte
        | Error::UnknownAddressType
        | Error::InvalidAuthValues(_)
        | Error::IdentdAuthFailure
        | Error::InvalidUserIdAuthFailure => DialError::ProxyNotSocks,
    }
}

//! The edge: a SOCKS5 proxy on 127.0.0.1 that takes notes, and knows the way to made-up host names. It can be as slow as
//! circuits are, and put all it carries on a tape.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fast_socks5::server::{
    NoAuthentication, PasswordAuthentication, Socks5ServerProtocol, SocksServerError, StandardAuthentication,
    StandardAuthenticationStarted, states,
};
use fast_socks5::util::target_addr::TargetAddr;
use fast_socks5::{ReplyError, Socks5Command};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::carry::{Delay, carry};
use super::host::{BUFFER, now};
use super::ledger::{Credentials, Ledger, Proxied, Target, Traffic};
use super::link::Link;
use super::relay::relay;
use super::tape::Tape;

/// How a proxy treats its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Takes any user and password (or none at all) and goes where it knows the way.
    #[default]
    Open,
    /// Offers no authentication but "none".
    WithoutAuthentication,
    /// Refuses every request.
    Refusing(Refusal),
    /// Says that user and password are wrong.
    RejectingCredentials,
    /// Accepts connections and never says anything.
    Silent,
}

/// The reasons for a refusal that SOCKS5 has codes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Code 1.
    GeneralFailure,
    /// Code 2.
    NotAllowed,
    /// Code 3.
    NetworkUnreachable,
    /// Code 4.
    HostUnreachable,
    /// Code 5.
    ConnectionRefused,
    /// Code 6.
    TtlExpired,
    /// Code 7.
    CommandNotSupported,
    /// Code 8.
    AddressTypeNotSupported,
}

impl Refusal {
    /// All refusals.
    pub const ALL: [Self; 8] = [
        Self::GeneralFailure,
        Self::NotAllowed,
        Self::NetworkUnreachable,
        Self::HostUnreachable,
        Self::ConnectionRefused,
        Self::TtlExpired,
        Self::CommandNotSupported,
        Self::AddressTypeNotSupported,
    ];

    fn reply(self) -> ReplyError {
        match self {
            Self::GeneralFailure => ReplyError::GeneralFailure,
            Self::NotAllowed => ReplyError::ConnectionNotAllowed,
            Self::NetworkUnreachable => ReplyError::NetworkUnreachable,
            Self::HostUnreachable => ReplyError::HostUnreachable,
            Self::ConnectionRefused => ReplyError::ConnectionRefused,
            Self::TtlExpired => ReplyError::TtlExpired,
            Self::CommandNotSupported => ReplyError::CommandNotSupported,
            Self::AddressTypeNotSupported => ReplyError::AddressTypeNotSupported,
        }
    }
}

/// The way from host names to local addresses.
type Routes = Arc<Mutex<BTreeMap<String, SocketAddr>>>;

/// A running proxy; it stops, and its connections end, when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub addr: SocketAddr,
    routes: Routes,
    delay: Delay,
    tape: Arc<Mutex<Option<Tape>>>,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    /// Starts a proxy on a free port of 127.0.0.1; it knows no way yet.
    pub async fn start(mode: Mode, ledger: Ledger) -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), mode, ledger).await
    }

    /// Starts a proxy at an address, such as that of one that was dropped.
    pub async fn start_at(addr: SocketAddr, mode: Mode, ledger: Ledger) -> io::Result<Self> {
        Self::serve(addr, mode, None, ledger).await
    }

    /// Starts an open proxy with a link of its own behind each connection. Its replies to requests take a round trip
    /// too, as Tor's do.
    pub async fn over(link: Link, ledger: Ledger) -> io::Result<Self> {
        Self::serve((Ipv4Addr::LOCALHOST, 0).into(), Mode::Open, Some(link), ledger).await
    }

    async fn serve(addr: SocketAddr, mode: Mode, link: Option<Link>, ledger: Ledger) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let desk = Desk {
            mode,
            link,
            ledger,
            routes: Routes::default(),
            delay: Delay::default(),
            tape: Arc::default(),
        };
        Ok(Self {
            addr,
            routes: Arc::clone(&desk.routes),
            delay: desk.delay.clone(),
            tape: Arc::clone(&desk.tape),
            accepting: tokio::spawn(accept(listener, desk)),
        })
    }

    /// Sends requests for a host name (or an IP address as text), at any port, to a local address.
    pub fn route(&self, host: &str, to: SocketAddr) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.insert(host.to_owned(), to);
    }

    /// Holds all bytes that come from now on back by so long, each way, as a circuit does. A request is answered after
    /// two such ways: through Tor, the answer comes from the circuit's far end.
    pub fn set_delay(&self, delay: Duration) {
        self.delay.set(delay);
    }

    /// Puts the streams that are asked for from now on onto a tape.
    pub fn record(&self, tape: Tape) {
        *self.tape.lock().unwrap_or_else(PoisonError::into_inner) = Some(tape);
    }
}

#[derive(Clone)]
struct Desk {
    mode: Mode,
    link: Option<Link>,
    ledger: Ledger,
    routes: Routes,
    delay: Delay,
    tape: Arc<Mutex<Option<Tape>>>,
}

async fn accept(listener: TcpListener, desk: Desk) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = stream else { continue };
        let _ = stream.set_nodelay(true);
        let desk = desk.clone();
        // A client that breaks the protocol only ends its own connection.
        connections.spawn(async move {
            let _ = desk.serve(stream).await;
        });
    }
}

impl Desk {
    async fn serve(&self, mut stream: TcpStream) -> Result<(), SocksServerError> {
        if self.mode == Mode::Silent {
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            return Ok(());
        }
        let (proto, credentials) = self.authenticate(stream).await?;
        let (proto, command, target) = proto.read_command().await?;
        let (target, port) = match target {
            TargetAddr::Domain(host, port) => (Target::Name(host), port),
            TargetAddr::Ip(addr) => (Target::Address(addr.ip().to_string()), addr.port()),
        };
        let onward = self.connect(command, &target).await;
        let proxied = Proxied {
            at: now(),
            credentials,
            target,
            port,
            onward: onward
                .as_ref()
                .ok()
                .and_then(|stream| Some(stream.local_addr().ok()?.port())),
            traffic: Traffic::default(),
        };
        let way = self.ledger.record_proxied(proxied.clone());
        if let Some(link) = self.link {
            sleep(link.round_trip).await;
        }
        match onward {
            Err(refusal) => proto.reply_error(&refusal.reply()).await,
            Ok(onward) => {
                let tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let track = tape.map(|tape| tape.begin(proxied));
                sleep(self.delay.get() * 2).await;
                if let Some(track) = &track {
                    track.opened();
                }
                let unspecified = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
                let stream = proto.reply_success(unspecified).await?;
                let count = |up, down| self.ledger.record_traffic(way, up, down);
                // Either side may hang up at any time.
                let _ = match (track, self.delay.get()) {
                    (None, Duration::ZERO) => relay(stream, onward, self.link, count).await,
                    (track, _) => carry(stream, onward, &self.delay, track).await,
                };
                Ok(())
            }
        }
    }

    async fn authenticate(
        &self,
        stream: TcpStream,
    ) -> Result<
        (
            Socks5ServerProtocol<TcpStream, states::Authenticated>,
            Option<Credentials>,
        ),
        SocksServerError,
    > {
        let password = StandardAuthentication::PasswordAuthentication(PasswordAuthentication);
        let none = StandardAuthentication::NoAuthentication(NoAuthentication);
        let methods = match self.mode {
            Mode::WithoutAuthentication => vec![none],
            Mode::RejectingCredentials => vec![password],
            Mode::Open | Mode::Refusing(_) | Mode::Silent => vec![password, none],
        };
        match Socks5ServerProtocol::start(stream).negotiate_auth(&methods).await? {
            StandardAuthenticationStarted::NoAuthentication(auth) => {
                Ok((Socks5ServerProtocol::finish_auth(auth), None))
            }
            StandardAuthenticationStarted::PasswordAuthentication(auth) => {
                let (user, password, auth) = auth.read_username_password().await?;
                if self.mode == Mode::RejectingCredentials {
                    auth.reject().await?;
                    return Err(SocksServerError::AuthenticationRejected);
                }
                let proto = Socks5ServerProtocol::finish_auth(auth.accept().await?);
                Ok((proto, Some(Credentials { user, password })))
            }
        }
    }

    async fn connect(&self, command: Socks5Command, target: &Target) -> Result<TcpStream, Refusal> {
        if let Mode::Refusing(refusal) = self.mode {
            return Err(refusal);
        }
        if !matches!(command, Socks5Command::TCPConnect) {
            return Err(Refusal::CommandNotSupported);
        }
        let (Target::Name(host) | Target::Address(host)) = target;
        let route = {
            let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
            routes.get(host).copied()
        };
        let addr = route.ok_or(Refusal::HostUnreachable)?;
        let stream = self.connect_to(addr).await.map_err(|_| Refusal::ConnectionRefused)?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn connect_to(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        if self.link.is_none() {
            return TcpStream::connect(addr).await;
        }
        let socket = if addr.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.set_recv_buffer_size(BUFFER)?;
        socket.connect(addr).await
    }
}

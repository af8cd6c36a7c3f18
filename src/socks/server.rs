//! Listens for applications, and carries out what they ask for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

#[cfg(feature = "embedded-tor")]
use super::embedded;
use super::handshake::{AcceptedRequest, ClientHandshake, ErrorReply, ProxyReply, ServerHandshake};
use super::http;
use super::identity::{IdentityEpoch, IsolationFlags, SocksCaller};
use super::onward::{HandshakeError, TorProxy, run_handshake};
use super::relay::{RelaySide, gone, relay};
#[cfg(feature = "embedded-tor")]
use super::reply::resolved_host;
use super::reply::{RequestError, refused, resolved};
use super::request::{ProxyCommand, ProxyHost, ProxyRequest};
use crate::naming::name_resolver::NameResolver;
use crate::naming::target::{Target, TargetKind};
use crate::net::accept::{MOST_CONNECTIONS, Place, Room};
use crate::net::dial_error::OnionRefusal;
use crate::net::dialer::Duplex;
#[cfg(feature = "embedded-tor")]
use crate::net::embedded_tor::{EmbeddedTor, GroupKey, StreamGroup};

/// Bounds and waits of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocksLimits {
    /// Applications' connections at once, each of which may need one to Tor; one more takes the place of the one that has
    /// had no request for longest, if any.
    pub connections: usize,
    /// How long an application may take for its request.
    pub handshake: Duration,
}

impl Default for SocksLimits {
    fn default() -> Self {
        Self {
            connections: MOST_CONNECTIONS,
            handshake: Duration::from_secs(30),
        }
    }
}

/// What the server runs with.
#[derive(Clone, Debug)]
pub struct SocksServerSettings {
    /// The Tor that carries streams.
    pub tor: SocksTor,
    /// What tells callers apart.
    pub flags: IsolationFlags,
    /// What gives them their IDs; whoever shares it can renew these.
    pub epoch: Arc<IdentityEpoch>,
    /// Bounds and waits.
    pub limits: SocksLimits,
}

/// The Tor that carries applications' streams.
#[derive(Clone, Debug)]
pub enum SocksTor {
    /// One that is asked at its SOCKS port, which has these addresses; they are tried in this order.
    Port(Vec<SocketAddr>),
    /// The embedded one.
    #[cfg(feature = "embedded-tor")]
    Embedded(EmbeddedTor),
}

/// Serves applications until `stop` is ready; their connections end with it.
pub async fn serve(
    listeners: Vec<TcpListener>,
    name_resolver: NameResolver,
    settings: SocksServerSettings,
    stop: impl Future<Output = ()>,
) {
    let front = Front {
        name_resolver,
        tor: match settings.tor {
            SocksTor::Port(addresses) => Onward::Port(Arc::new(TorProxy::new(addresses))),
            #[cfg(feature = "embedded-tor")]
            SocksTor::Embedded(tor) => Onward::Embedded(tor),
        },
        flags: Arc::new(settings.flags),
        epoch: settings.epoch,
        limits: settings.limits,
        places: Room::new(settings.limits.connections),
    };
    let mut listening = JoinSet::new();
    for (number, listener) in (0..).zip(listeners) {
        listening.spawn(front.clone().accept(listener, number));
    }
    // What they started ends with them: dropping a set ends its tasks.
    stop.await;
}

/// Who carries out what is no matter of names.
#[derive(Clone)]
enum Onward {
    Port(Arc<TorProxy>),
    #[cfg(feature = "embedded-tor")]
    Embedded(EmbeddedTor),
}

/// What all connections share.
#[derive(Clone)]
pub(super) struct Front {
    name_resolver: NameResolver,
    tor: Onward,
    flags: Arc<IsolationFlags>,
    epoch: Arc<IdentityEpoch>,
    limits: SocksLimits,
    places: Arc<Room>,
}

/// The outcome of a request that was carried out.
pub(super) enum RequestOutcome {
    /// The address of a name of ours, which was all that was asked for.
    Resolved(IpAddr),
    /// The host of an address, which was all that was asked for.
    #[cfg(feature = "embedded-tor")]
    Host(String),
    /// Tor's reply, and the stream that goes on behind it.
    Replied(ProxyReply, Box<dyn Duplex>),
}

impl Front {
    /// Accepts connections of a listener; those are numbered beginning with the listener's number in the upper half.
    async fn accept(self, listener: TcpListener, number: u32) {
        let Ok(here) = listener.local_addr() else { return };
        let mut connections = JoinSet::new();
        let mut connection = u64::from(number) << u32::BITS;
        while let Some((stream, peer, mut place)) = self.places.accept(&listener).await {
            while connections.try_join_next().is_some() {}
            connection = connection.wrapping_add(1);
            let caller = SocksCaller {
                listener: here,
                address: peer.ip(),
                connection,
            };
            let front = self.clone();
            connections.spawn(async move {
                let notice = place.notice();
                tokio::select! {
                    biased;
                    () = front.connection(stream, caller, &mut place) => {}
                    () = notice.given() => {}
                }
            });
        }
    }

    /// Returns how long an application may take for its request.
    pub(super) fn patience(&self) -> Duration {
        self.limits.handshake
    }

    async fn connection(&self, stream: TcpStream, caller: SocksCaller, place: &mut Place) {
        let _ = stream.set_nodelay(true);
        let mut first = [0];
        let Ok(Ok(1)) = timeout(self.patience(), stream.peek(&mut first)).await else {
            return;
        };
        match first {
            [4 | 5] => self.socks(stream, caller, place).await,
            [b'A'..=b'Z'] => http::serve(self, stream, caller, place).await,
            _ => {}
        }
    }

    async fn socks(&self, mut stream: TcpStream, caller: SocksCaller, place: &mut Place) {
        let handshake = run_handshake(&mut stream, ServerHandshake::new());
        let accepted = match timeout(self.patience(), handshake).await {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(HandshakeError::Failed(ErrorReply(bytes)))) => return close_with(stream, &bytes).await,
            Ok(Err(HandshakeError::Disconnected)) | Err(_) => return,
        };
        place.speaks();
        let AcceptedRequest { request, mut early } = accepted;
        let outcome = tokio::select! {
            outcome = self.carry_out(&caller, &request) => outcome,
            () = gone(&mut stream, &mut early) => return,
        };
        let (reply, tor) = match outcome {
            Ok(RequestOutcome::Replied(reply, tor)) => (reply, tor),
            Ok(RequestOutcome::Resolved(address)) => {
                return close_with(stream, &resolved(request.protocol, address)).await;
            }
            #[cfg(feature = "embedded-tor")]
            Ok(RequestOutcome::Host(host)) => {
                return close_with(stream, &resolved_host(request.protocol, &host)).await;
            }
            Err(error) => return close_with(stream, &refused(request.protocol, error)).await,
        };
        if request.command != ProxyCommand::Connect || !reply.is_success() {
            return close_with(stream, &reply.message).await;
        }
        let sent = [reply.message, reply.rest].concat();
        relay(RelaySide { stream, sent: early }, RelaySide { stream: tor, sent }).await;
    }

    /// Carries a request out: finds what a name of ours stands for, and asks Tor.
    pub(super) async fn carry_out(
        &self,
        caller: &SocksCaller,
        request: &ProxyRequest,
    ) -> Result<RequestOutcome, RequestError> {
        let found = match request.host.handled() {
            Some(name) => Some(self.find(name, caller, request).await?),
            None => None,
        };
        let host = match found {
            Some(Target::Address(address)) if request.command == ProxyCommand::Resolve => {
                return Ok(RequestOutcome::Resolved(address));
            }
            Some(target) => ProxyHost::from(target),
            None => request.host.clone(),
        };
        #[cfg_attr(
            not(feature = "embedded-tor"),
            expect(clippy::infallible_destructuring_match, reason = "there may be an embedded Tor")
        )]
        let tor = match &self.tor {
            Onward::Port(tor) => tor,
            #[cfg(feature = "embedded-tor")]
            Onward::Embedded(tor) => {
                let renewals = self.name_resolver.renewals();
                let key = self.epoch.circuit_key(&self.flags, caller, request, renewals);
                return embedded::ask(tor, request, &host, StreamGroup::Of(GroupKey(key))).await;
            }
        };
        let credentials = self.epoch.credentials(caller, request);
        let onward = request
            .onward(&host, credentials.as_ref())
            .ok_or(RequestError::General)?;
        let (reply, stream) = tor.ask(ClientHandshake::new(onward), caller.address).await?;
        if let Some(meaning) = OnionRefusal::of_code(reply.code) {
            // Which service it was is for nobody who reads the log.
            tracing::info!("Tor replied {:02X}: {meaning}", reply.code);
        }
        Ok(RequestOutcome::Replied(reply, stream))
    }

    async fn find(&self, name: &str, caller: &SocksCaller, request: &ProxyRequest) -> Result<Target, RequestError> {
        let target_kind = match request.command {
            ProxyCommand::Connect => TargetKind::Any,
            ProxyCommand::Resolve => TargetKind::Address,
            // Names of ours are no addresses.
            ProxyCommand::ResolvePtr => return Err(RequestError::HostUnreachable),
        };
        let id = self
            .epoch
            .id(&self.flags, caller, request)
            .ok_or(RequestError::General)?;
        Ok(self.name_resolver.resolve(name, target_kind, Some(&id)).await?)
    }
}

/// Replies to an application and closes its connection. What it sent meanwhile is read, if it arrives soon: a connection
/// that is closed with bytes unread is reset, and the reply may be lost with it.
async fn close_with(mut stream: TcpStream, reply: &[u8]) {
    /// How long to wait for its end.
    const LINGER: Duration = Duration::from_secs(2);
    if stream.write_all(reply).await.is_ok() && stream.shutdown().await.is_ok() {
        let _ = timeout(LINGER, gone(&mut stream, &mut Vec::new())).await;
    }
}

//! Listens for applications, and carries out what they ask for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::handshake::{Answer, Asking, Farewell, Heard, Hearing};
use super::http;
use super::identity::{Caller, Epoch, Isolate};
use super::onward::{Ended, Way, converse};
use super::relay::{Side, gone, relay};
use super::reply::{Refusal, refused, resolved};
use super::request::{Command, Host, Request};
use crate::naming::namer::Namer;
use crate::naming::target::{Target, Want};
use crate::net::accept::{MOST_CONNECTIONS, accept_within, connections_within};

/// Bounds and waits of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Applications' connections at once, each of which may need one to Tor; more wait to be accepted.
    pub connections: usize,
    /// How long an application may take to say what it wants; a fifth of that where most places are taken.
    pub handshake: Duration,
}

impl Limits {
    /// Bounds for a process that may have so many files open at once: each connection may need one to Tor.
    pub fn within(files: u64) -> Self {
        Self {
            connections: connections_within(files, 2),
            ..Self::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: MOST_CONNECTIONS,
            handshake: Duration::from_secs(30),
        }
    }
}

/// How the server goes about it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where Tor's SOCKS port is, in the order in which to try.
    pub tor: Vec<SocketAddr>,
    /// What tells callers apart.
    pub isolate: Isolate,
    /// What makes their IDs; whoever holds it too can renew them.
    pub epoch: Arc<Epoch>,
    /// Bounds and waits.
    pub limits: Limits,
}

/// Serves applications until `stop` is ready; their connections end with it.
pub async fn serve(listeners: Vec<TcpListener>, namer: Namer, settings: Settings, stop: impl Future<Output = ()>) {
    let front = Front {
        namer,
        way: Arc::new(Way::new(settings.tor)),
        isolate: Arc::new(settings.isolate),
        epoch: settings.epoch,
        limits: settings.limits,
        places: Arc::new(Semaphore::new(settings.limits.connections.max(1))),
    };
    let mut listening = JoinSet::new();
    for (number, listener) in (0..).zip(listeners) {
        listening.spawn(front.clone().accept(listener, number));
    }
    // What they started ends with them: dropping a set ends its tasks.
    stop.await;
}

/// What all connections share.
#[derive(Clone)]
pub(super) struct Front {
    namer: Namer,
    way: Arc<Way>,
    isolate: Arc<Isolate>,
    epoch: Arc<Epoch>,
    limits: Limits,
    places: Arc<Semaphore>,
}

/// What came of a request.
pub(super) enum Done {
    /// It asked for an address, which is this.
    Resolved(IpAddr),
    /// Tor was asked, and answered; the stream is what comes behind the answer.
    Answered(Answer, TcpStream),
}

impl Front {
    /// Accepts connections of a listener; those are numbered beginning with the listener's number in the upper half.
    async fn accept(self, listener: TcpListener, number: u32) {
        let Ok(here) = listener.local_addr() else { return };
        let mut connections = JoinSet::new();
        let mut connection = u64::from(number) << u32::BITS;
        while let Some((stream, peer, place)) = accept_within(&listener, &self.places).await {
            while connections.try_join_next().is_some() {}
            connection = connection.wrapping_add(1);
            let caller = Caller {
                listener: here,
                address: peer.ip(),
                connection,
            };
            let front = self.clone();
            connections.spawn(async move {
                front.connection(stream, caller).await;
                drop(place);
            });
        }
    }

    /// Returns how long an application may take to say what it wants.
    pub(super) fn patience(&self) -> Duration {
        let crowded = self.places.available_permits() < self.limits.connections / 4;
        if crowded {
            self.limits.handshake / 5
        } else {
            self.limits.handshake
        }
    }

    async fn connection(&self, stream: TcpStream, caller: Caller) {
        let _ = stream.set_nodelay(true);
        let mut first = [0];
        let Ok(Ok(1)) = timeout(self.patience(), stream.peek(&mut first)).await else {
            return;
        };
        match first {
            [4 | 5] => self.socks(stream, caller).await,
            [b'A'..=b'Z'] => http::serve(self, stream, caller).await,
            _ => {}
        }
    }

    async fn socks(&self, mut stream: TcpStream, caller: Caller) {
        let heard = match timeout(self.patience(), converse(&mut stream, Hearing::new())).await {
            Ok(Ok(heard)) => heard,
            Ok(Err(Ended::Refused(Farewell(bytes)))) => return part(stream, &bytes).await,
            Ok(Err(Ended::Gone)) | Err(_) => return,
        };
        let Heard { request, mut early } = heard;
        let done = tokio::select! {
            done = self.carry_out(&caller, &request) => done,
            () = gone(&mut stream, &mut early) => return,
        };
        let (answer, tor) = match done {
            Ok(Done::Answered(answer, tor)) => (answer, tor),
            Ok(Done::Resolved(address)) => return part(stream, &resolved(request.protocol, address)).await,
            Err(refusal) => return part(stream, &refused(request.protocol, refusal)).await,
        };
        if request.command != Command::Connect || !answer.is_success() {
            return part(stream, &answer.reply).await;
        }
        let sent = [answer.reply, answer.rest].concat();
        relay(Side { stream, sent: early }, Side { stream: tor, sent }).await;
    }

    /// Carries a request out: finds what a name of ours stands for, and asks Tor.
    pub(super) async fn carry_out(&self, caller: &Caller, request: &Request) -> Result<Done, Refusal> {
        let found = match request.host.handled() {
            Some(name) => Some(self.find(name, caller, request).await?),
            None => None,
        };
        let host = match found {
            Some(Target::Address(address)) if request.command == Command::Resolve => {
                return Ok(Done::Resolved(address));
            }
            Some(target) => Host::from(target),
            None => request.host.clone(),
        };
        let credentials = self.epoch.credentials(caller, request);
        let onward = request.onward(&host, credentials.as_ref()).ok_or(Refusal::General)?;
        let (answer, stream) = self.way.ask(Asking::new(onward), caller.address).await?;
        Ok(Done::Answered(answer, stream))
    }

    async fn find(&self, name: &str, caller: &Caller, request: &Request) -> Result<Target, Refusal> {
        let want = match request.command {
            Command::Connect => Want::Any,
            Command::Resolve => Want::Address,
            // Names of ours are no addresses.
            Command::ResolvePtr => return Err(Refusal::NotThere),
        };
        let id = self.epoch.id(&self.isolate, caller, request).ok_or(Refusal::General)?;
        Ok(self.namer.resolve(name, want, Some(&id)).await?)
    }
}

/// Tells an application how it went and closes. What it sent meanwhile is read, if it comes soon: a connection that is
/// closed with bytes unread is reset, and the reply may be lost with it.
async fn part(mut stream: TcpStream, reply: &[u8]) {
    /// How long to wait for its end.
    const LINGER: Duration = Duration::from_secs(2);
    if stream.write_all(reply).await.is_ok() && stream.shutdown().await.is_ok() {
        let _ = timeout(LINGER, gone(&mut stream, &mut Vec::new())).await;
    }
}

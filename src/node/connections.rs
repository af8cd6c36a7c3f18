//! Carries out the effects of the connection pool: opens, keeps alive, hands out, closes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::clock::Clock;
use crate::chain::Network;
use crate::electrum::ElectrumRequest;
use crate::isolation::{BlindedId, ConnId, IsolationKey};
use crate::net::pool::{
    FailureKind, LookupId, Pool, PoolCaller, PoolCounts, PoolEffect, PoolEvent, PoolSettings, Refusal, ServerIndex,
    Ticket,
};
use crate::net::{Connection, ConnectionError, ConnectionLimits, Dialer, Pin, Purpose, ServerAddr};
use crate::reputation::ServerReputation;
use crate::time::Moment;

/// How long a server may take to answer a sign of life.
const PING_TIMEOUT: Duration = Duration::from_secs(30);

/// What the rest of the node asks of the pool.
#[derive(Debug)]
enum Command {
    Want {
        ticket: Ticket,
        lookup: LookupId,
        key: IsolationKey,
        caller: PoolCaller,
        distinct_server: bool,
        reply: Reply,
    },
    Release(Ticket),
    End(LookupId),
    NoteRequest(ConnId),
    Lied(ConnId),
    Distrust(ConnId),
    Forget(Option<BlindedId>),
    Use(BlindedId),
}

/// Where a lookup waits for its connection.
type Reply = oneshot::Sender<Result<Lent, NoLease>>;

/// What the pool lends.
#[derive(Debug)]
struct Lent {
    connection: Arc<Connection>,
    conn: ConnId,
    server: ServerIndex,
}

/// A way to the pool; clones lead to the same one.
#[derive(Clone, Debug)]
pub(super) struct Leases {
    commands: mpsc::UnboundedSender<Command>,
    /// Counts lookups and their tickets.
    numbers: Arc<AtomicU64>,
}

impl Leases {
    /// Makes a way to a pool's driver, and its other end.
    pub(super) fn channel() -> (Self, Commands) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let leases = Self {
            commands: sender,
            numbers: Arc::default(),
        };
        (leases, Commands(receiver))
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Begins a lookup: all of its attempts have the same identity, even if its ID is forgotten meanwhile.
    pub(super) fn begin(&self, id: BlindedId, caller: PoolCaller, distinct_servers: bool) -> LookupLeases {
        LookupLeases {
            caller,
            leases: self.clone(),
            lookup: LookupId(self.next_number()),
            id,
            distinct_servers,
        }
    }

    fn tell(&self, command: Command) {
        // A pool that is gone shows as a reply that never comes.
        let _ = self.commands.send(command);
    }

    /// Forgets an identity, or all of them.
    pub(super) fn forget(&self, id: Option<BlindedId>) {
        self.tell(Command::Forget(id));
    }

    /// Says that an identity is in use though it needs no connection.
    pub(super) fn note_use(&self, id: BlindedId) {
        self.tell(Command::Use(id));
    }
}

/// A lookup's way to its connections.
#[derive(Debug)]
pub(super) struct LookupLeases {
    leases: Leases,
    lookup: LookupId,
    id: BlindedId,
    caller: PoolCaller,
    /// Whether each attempt must ask another server.
    distinct_servers: bool,
}

impl LookupLeases {
    /// Waits for the connection of an attempt. The pool learns of it when the wait is given up.
    pub(super) fn lease(&self, attempt: u8) -> impl Future<Output = Result<Lease, NoLease>> + Send + use<> {
        let (reply, lent) = oneshot::channel();
        let ticket = Ticket(self.leases.next_number());
        let wait = Wait {
            ticket,
            leases: self.leases.clone(),
        };
        self.leases.tell(Command::Want {
            ticket,
            lookup: self.lookup,
            key: IsolationKey { id: self.id, attempt },
            caller: self.caller,
            distinct_server: self.distinct_servers,
            reply,
        });
        async move {
            let gone = Err(NoLease {
                refusal: Refusal::Unreachable,
                last: None,
            });
            let lent = lent.await.unwrap_or(gone)?;
            let leases = wait.leases.clone();
            Ok(Lease { lent, leases })
        }
    }

    /// Says that a connection's server lied.
    pub(super) fn lied(&self, conn: ConnId) {
        self.leases.tell(Command::Lied(conn));
    }

    /// Says that a connection's server showed what doesn't fit, though it may be honest.
    pub(super) fn distrust(&self, conn: ConnId) {
        self.leases.tell(Command::Distrust(conn));
    }
}

impl Drop for LookupLeases {
    fn drop(&mut self) {
        self.leases.tell(Command::End(self.lookup));
    }
}

/// The end of the way to the pool's driver. What waits in it is bounded by the lookups at a time.
pub(super) struct Commands(mpsc::UnboundedReceiver<Command>);

/// Why a lookup gets no connection.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .last.as_ref().map_or(refusal.to_string(), ToString::to_string))]
pub struct NoLease {
    /// What the pool says.
    pub refusal: Refusal,
    /// Why the latest connection could not be opened.
    pub last: Option<ConnectionError>,
}

/// The hold of one lookup on the connection of its key.
#[derive(Debug)]
pub(super) struct Lease {
    lent: Lent,
    leases: Leases,
}

impl Lease {
    pub(super) fn connection(&self) -> &Connection {
        &self.lent.connection
    }

    /// Says that something is about to be sent, so that the connection does not count as idle.
    pub(super) fn note_request(&self) {
        self.leases.tell(Command::NoteRequest(self.lent.conn));
    }

    pub(super) fn conn(&self) -> ConnId {
        self.lent.conn
    }

    pub(super) fn server(&self) -> usize {
        self.lent.server.0
    }
}

/// A ticket that is given back when nobody waits for it any more.
#[derive(Debug)]
struct Wait {
    ticket: Ticket,
    leases: Leases,
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.leases.tell(Command::Release(self.ticket));
    }
}

/// What it takes to open a connection.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    pub(super) dialer: Arc<Dialer>,
    pub(super) network: Network,
    pub(super) server: ServerAddr,
    pub(super) pin: Option<Pin>,
    pub(super) limits: ConnectionLimits,
}

/// What the pool's driver needs of the node, and tells it.
pub(super) trait Owner: Send + 'static {
    /// Returns what it takes to open a connection to a server.
    fn dial(&self, server: usize) -> Option<Dial>;
    /// Remembers a server's certificate.
    fn learn_pin(&self, server: &ServerAddr, pin: Pin);
    /// Drops what is cached for an identity.
    fn forgotten(&self, id: &BlindedId);
    /// Lends what is known of the servers, which the pool acts on and adds to.
    fn with_reputation<T>(&self, work: impl FnOnce(&mut ServerReputation) -> T) -> T;
    /// Takes the pool's latest figures.
    fn counted(&self, counts: PoolCounts);
}

/// What a task of the driver came to.
enum Done {
    Opened(ConnId, Result<Box<Connection>, ConnectionError>),
    NoServer(ConnId),
    Ended(ConnId, ConnectionError),
    Pinged(ConnId, Result<(), ConnectionError>),
}

/// Drives the pool until the node ends.
pub(super) struct Connections<O> {
    owner: O,
    clock: Clock,
    pool: Pool,
    open: BTreeMap<ConnId, Arc<Connection>>,
    wanted: BTreeMap<Ticket, Wanted>,
    commands: mpsc::UnboundedReceiver<Command>,
    tasks: JoinSet<Done>,
    wake_at: Option<Moment>,
}

/// A lookup that waits.
struct Wanted {
    reply: Reply,
    /// Why the latest connection that it waited for could not be opened.
    last_failure: Option<ConnectionError>,
}

impl<O: Owner> Connections<O> {
    /// Makes the driver.
    pub(super) fn new(owner: O, settings: PoolSettings, clock: Clock, seed: [u8; 32], commands: Commands) -> Self {
        Self {
            owner,
            clock,
            pool: Pool::new(settings, seed),
            open: BTreeMap::new(),
            wanted: BTreeMap::new(),
            commands: commands.0,
            tasks: JoinSet::new(),
            wake_at: None,
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) -> Infallible {
        self.step(PoolEvent::Tick);
        loop {
            let wake = self.wake_at.unwrap_or(self.clock.now().steady + PING_TIMEOUT);
            tokio::select! {
                Some(command) = self.commands.recv() => self.on_command(command),
                Some(Ok(done)) = self.tasks.join_next() => self.on_done(done),
                () = sleep_until(self.clock.instant(wake)) => self.step(PoolEvent::Tick),
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Want {
                ticket,
                lookup,
                key,
                caller,
                distinct_server,
                reply,
            } => {
                let wanted = Wanted {
                    reply,
                    last_failure: None,
                };
                self.wanted.insert(ticket, wanted);
                self.step(PoolEvent::Acquire {
                    ticket,
                    lookup,
                    key,
                    caller,
                    distinct_server,
                });
            }
            Command::Release(ticket) => {
                if self.wanted.remove(&ticket).is_some() {
                    self.step(PoolEvent::Released(ticket));
                }
            }
            Command::End(lookup) => self.step(PoolEvent::Ended(lookup)),
            Command::NoteRequest(conn) => self.step(PoolEvent::Requested(conn)),
            Command::Lied(conn) => self.step(PoolEvent::Lied(conn)),
            Command::Distrust(conn) => self.step(PoolEvent::Distrusted(conn)),
            Command::Forget(Some(id)) => self.step(PoolEvent::Forget(id)),
            Command::Forget(None) => self.step(PoolEvent::ForgetAll),
            Command::Use(id) => self.step(PoolEvent::Used(id)),
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Opened(conn, Ok(connection)) => {
                let identity = connection.identity();
                if let Ok(Some(pin)) = identity.as_ref().map(|identity| identity.pin()) {
                    self.owner.learn_pin(connection.server(), pin);
                }
                let ended = connection.ended();
                self.tasks.spawn(async move { Done::Ended(conn, ended.await) });
                let server = connection.server().clone();
                self.open.insert(conn, Arc::new(*connection));
                match identity {
                    Ok(_) => self.step(PoolEvent::Opened(conn)),
                    Err(error) => {
                        tracing::warn!(%server, "no lookup goes to this server: {error}");
                        self.step_after(PoolEvent::Barred(conn), Some(&ConnectionError::Dial(error.into())));
                    }
                }
            }
            Done::Opened(conn, Err(error)) => {
                tracing::debug!(%error, "a connection for lookups could not be opened");
                self.step_after(PoolEvent::OpenFailed(conn, failure_kind(&error)), Some(&error));
            }
            Done::NoServer(conn) => self.step(PoolEvent::OpenFailed(conn, FailureKind::Useless)),
            Done::Ended(conn, error) | Done::Pinged(conn, Err(error)) => {
                if self.open.remove(&conn).is_some() {
                    self.step(PoolEvent::Closed(conn, failure_kind(&error)));
                }
            }
            Done::Pinged(_, Ok(())) => {}
        }
    }

    fn step(&mut self, event: PoolEvent) {
        self.step_after(event, None);
    }

    /// Hands an event in, and carries out what follows; `failure` is why a connection could not be opened, if that is it.
    fn step_after(&mut self, event: PoolEvent, failure: Option<&ConnectionError>) {
        let now = self.clock.now().steady;
        let effects = self
            .owner
            .with_reputation(|reputation| self.pool.on_event(now, reputation, event));
        self.wake_at = None;
        for effect in effects {
            match effect {
                PoolEffect::Open { conn, server, own } => self.open(conn, server, own),
                PoolEffect::Ping(conn) => self.ping(conn),
                PoolEffect::Close(conn) => {
                    // A lookup may hold the connection still: it ends all the same.
                    if let Some(connection) = self.open.remove(&conn) {
                        connection.close();
                    }
                }
                PoolEffect::Serve(ticket, conn) => self.serve(ticket, conn),
                PoolEffect::Setback(ticket) => {
                    if let Some(wanted) = self.wanted.get_mut(&ticket) {
                        wanted.last_failure = failure.cloned();
                    }
                }
                PoolEffect::Refuse(ticket, refusal) => {
                    if let Some(wanted) = self.wanted.remove(&ticket) {
                        let _ = wanted.reply.send(Err(NoLease {
                            refusal,
                            last: wanted.last_failure,
                        }));
                    }
                }
                PoolEffect::Forgotten(id) => self.owner.forgotten(&id),
                PoolEffect::WakeAt(at) => self.wake_at = Some(at),
            }
        }
        self.owner.counted(self.pool.counts());
    }

    fn open(&mut self, conn: ConnId, server: ServerIndex, own: bool) {
        let Some(Dial {
            dialer,
            network,
            server,
            pin,
            limits,
        }) = self.owner.dial(server.0)
        else {
            self.tasks.spawn(async move { Done::NoServer(conn) });
            return;
        };
        self.tasks.spawn(async move {
            let opened = if own {
                Connection::begin(&dialer, &server, pin, network, Purpose::Lookup, limits).await
            } else {
                Connection::open(&dialer, &server, pin, network, Purpose::Lookup, limits).await
            };
            Done::Opened(conn, opened.map(Box::new))
        });
    }

    fn ping(&mut self, conn: ConnId) {
        if let Some(connection) = self.open.get(&conn).map(Arc::clone) {
            self.tasks.spawn(async move {
                Done::Pinged(
                    conn,
                    connection
                        .call(vec![ElectrumRequest::Ping], PING_TIMEOUT)
                        .await
                        .map(drop),
                )
            });
        }
    }

    fn serve(&mut self, ticket: Ticket, conn: ConnId) {
        let known = self.open.get(&conn).zip(self.pool.server_of(conn));
        let lent = known.map(|(connection, server)| Lent {
            connection: Arc::clone(connection),
            conn,
            server,
        });
        if let Some(wanted) = self.wanted.remove(&ticket) {
            // A lookup that is gone gives its ticket back a moment later.
            let _ = wanted.reply.send(lent.ok_or(NoLease {
                refusal: Refusal::Unreachable,
                last: None,
            }));
        }
    }
}

fn failure_kind(error: &ConnectionError) -> FailureKind {
    match error {
        ConnectionError::Dial(error) if error.is_proxys() => FailureKind::NoWayOut,
        error if error.is_permanent() => FailureKind::Useless,
        _ => FailureKind::Unreachable,
    }
}

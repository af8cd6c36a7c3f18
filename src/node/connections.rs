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
    FailureKind, Pool, PoolCounts, PoolEffect, PoolEvent, PoolSettings, Refusal, ServerIndex, Ticket,
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
        key: IsolationKey,
        distinct_server: bool,
        reply: Reply,
    },
    Release(Ticket),
    Lied(ConnId),
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
    tickets: Arc<AtomicU64>,
}

impl Leases {
    /// Makes a way to a pool's driver, and its other end.
    pub(super) fn channel() -> (Self, Commands) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let leases = Self {
            commands: sender,
            tickets: Arc::default(),
        };
        (leases, Commands(receiver))
    }

    /// Waits for the connection of a key, distinct from the servers of the attempts before where that is said. The pool
    /// learns of it when the wait is given up.
    pub(super) async fn lease(&self, key: IsolationKey, distinct_server: bool) -> Result<Lease, NoLease> {
        let (reply, lent) = oneshot::channel();
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
        let hold = Hold {
            ticket,
            leases: self.clone(),
        };
        self.tell(Command::Want {
            ticket,
            key,
            distinct_server,
            reply,
        });
        let gone = Err(NoLease {
            refusal: Refusal::Unreachable,
            last: None,
        });
        let lent = lent.await.unwrap_or(gone)?;
        Ok(Lease { lent, _hold: hold })
    }

    fn tell(&self, command: Command) {
        // A pool that is gone shows as a reply that never comes.
        let _ = self.commands.send(command);
    }

    /// Says that a connection's server lied.
    pub(super) fn lied(&self, conn: ConnId) {
        self.tell(Command::Lied(conn));
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
    _hold: Hold,
}

impl Lease {
    pub(super) fn connection(&self) -> &Connection {
        &self.lent.connection
    }

    pub(super) fn conn(&self) -> ConnId {
        self.lent.conn
    }

    pub(super) fn server(&self) -> usize {
        self.lent.server.0
    }
}

/// A ticket that is given back when this is dropped, whether it was served or is waited for still.
#[derive(Debug)]
struct Hold {
    ticket: Ticket,
    leases: Leases,
}

impl Drop for Hold {
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
    wanted: BTreeMap<Ticket, Reply>,
    commands: mpsc::UnboundedReceiver<Command>,
    tasks: JoinSet<Done>,
    wake_at: Option<Moment>,
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
            last_failure: None,
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
                key,
                distinct_server,
                reply,
            } => {
                self.wanted.insert(ticket, reply);
                self.step(PoolEvent::Acquire {
                    ticket,
                    key,
                    distinct_server,
                });
            }
            Command::Release(ticket) => {
                self.wanted.remove(&ticket);
                self.step(PoolEvent::Released(ticket));
            }
            Command::Lied(conn) => self.step(PoolEvent::Lied(conn)),
            Command::Forget(Some(id)) => self.step(PoolEvent::Forget(id)),
            Command::Forget(None) => self.step(PoolEvent::ForgetAll),
            Command::Use(id) => self.step(PoolEvent::Used(id)),
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Opened(conn, Ok(connection)) => {
                if let Some(pin) = connection.identity().pin() {
                    self.owner.learn_pin(connection.server(), pin);
                }
                let ended = connection.ended();
                self.tasks.spawn(async move { Done::Ended(conn, ended.await) });
                self.open.insert(conn, Arc::new(*connection));
                self.last_failure = None;
                self.step(PoolEvent::Opened(conn));
            }
            Done::Opened(conn, Err(error)) => {
                tracing::debug!(%error, "a connection for lookups could not be opened");
                let kind = failure_kind(&error);
                self.last_failure = Some(error);
                self.step(PoolEvent::OpenFailed(conn, kind));
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
        let now = self.clock.now().steady;
        let effects = self
            .owner
            .with_reputation(|reputation| self.pool.on_event(now, reputation, event));
        self.wake_at = None;
        for effect in effects {
            match effect {
                PoolEffect::Open(conn, server) => self.open(conn, server),
                PoolEffect::Ping(conn) => self.ping(conn),
                PoolEffect::Close(conn) => {
                    // A lookup may hold the connection still: it ends all the same.
                    if let Some(connection) = self.open.remove(&conn) {
                        connection.close();
                    }
                }
                PoolEffect::Serve(ticket, conn) => self.serve(ticket, conn),
                PoolEffect::Refuse(ticket, refusal) => {
                    if let Some(reply) = self.wanted.remove(&ticket) {
                        let _ = reply.send(Err(NoLease {
                            refusal,
                            last: self.last_failure.clone(),
                        }));
                    }
                }
                PoolEffect::Forgotten(id) => self.owner.forgotten(&id),
                PoolEffect::WakeAt(at) => self.wake_at = Some(at),
            }
        }
        self.owner.counted(self.pool.counts());
    }

    fn open(&mut self, conn: ConnId, server: ServerIndex) {
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
            let opened = Connection::open(&dialer, &server, pin, network, Purpose::Lookup, limits).await;
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
        if let Some(reply) = self.wanted.remove(&ticket) {
            // A lookup that is gone has given its ticket back.
            let _ = reply.send(lent.ok_or(NoLease {
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

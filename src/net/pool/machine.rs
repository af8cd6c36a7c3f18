//! The machine itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Clean, Dirty, PoolCounts, PoolEffect, PoolEvent, PoolSettings, Refusal, ServerIndex, Ticket};
use crate::isolation::{BlindedId, ConnId, IsolationKey};
use crate::reputation::{Evidence, FailureKind, ServerReputation};
use crate::time::{LEAST_PAUSE, Moment, random_pause};

/// Connections that are opened at once for lookups that found the pool empty, beside the pool's own one.
const MAX_URGENT: usize = 64;

/// Failed attempts to open a connection after which a lookup is told that no server can be reached, if none is under
/// way and none can be begun: one may be a circuit's fault, the second one hardly.
const MAX_FAILURES: u32 = 2;

/// How many times faster than the pool's clock connections are opened for lookups that wait, at least: so many lookups
/// at once don't show as so many connections at once.
const URGENCY: u32 = 8;

/// Where so many lookups wait that this pace would leave the last of them without a connection, it is what brings all of
/// them theirs in about this part of their patience.
const PATIENCE_PART: u32 = 4;

/// Mean time for which a connection stays open, of no use to anybody, when all identities are forgotten together: a
/// server that sees many connections end in one instant knows that they were one user's.
const DRAINING_MEAN: Duration = Duration::from_secs(5);

/// Longest such time, whatever chance says.
const DRAINING_MAX: Duration = Duration::from_secs(30);

#[derive(Debug)]
enum State {
    /// Being opened, by the pool's clock or because a lookup waits.
    Opening {
        urgent: bool,
    },
    Clean {
        clean: Clean,
        ping_at: Moment,
        ends_at: Moment,
    },
    Dirty(Dirty),
    /// Nobody's any more.
    Draining {
        closes_at: Moment,
    },
}

#[derive(Debug)]
struct Connection {
    server: ServerIndex,
    state: State,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    key: IsolationKey,
    /// Whether its server must be another one than those of the attempts before.
    distinct_server: bool,
    deadline: Moment,
    /// Connections that could not be opened since it waits.
    failures: u32,
}

#[derive(Debug)]
struct Identity {
    last_used: Moment,
    connections: BTreeMap<u8, ConnId>,
    /// The server that each attempt had last, be its connection there still or not.
    servers: BTreeMap<u8, ServerIndex>,
    /// Lookups that use the identity now: it is not forgotten under them.
    tickets: BTreeSet<Ticket>,
}

/// Keeps clean connections ready and gives each lookup the connection of its key.
#[derive(Debug)]
pub struct Pool {
    settings: PoolSettings,
    rng: StdRng,
    /// Decides on the moments of the clock that opens connections, and on nothing else: what lookups do can't move them.
    clock_rng: StdRng,
    connections: BTreeMap<ConnId, Connection>,
    identities: BTreeMap<BlindedId, Identity>,
    waiting: VecDeque<Waiting>,
    next_conn: u64,
    /// When the clock that opens connections ticks next; `None` before the first event.
    opens_at: Option<Moment>,
    /// No connection is opened for a waiting lookup before this.
    urgent_from: Moment,
}

impl Pool {
    /// Makes a pool without connections. The seed must come from the operating system's generator: it decides on
    /// moments and servers that an observer must not foresee.
    pub fn new(settings: PoolSettings, seed: [u8; 32]) -> Self {
        let mut rng = StdRng::from_seed(seed);
        Self {
            settings,
            clock_rng: StdRng::from_rng(&mut rng),
            rng,
            connections: BTreeMap::new(),
            identities: BTreeMap::new(),
            waiting: VecDeque::new(),
            next_conn: 0,
            opens_at: None,
            urgent_from: Moment::default(),
        }
    }

    /// Advances by one event. Call it once with [`PoolEvent::Tick`] to begin. Servers are chosen by their reputation, to which
    /// what connections come to is added; it must be about the same servers each time.
    pub fn on_event(&mut self, now: Moment, reputation: &mut ServerReputation, event: PoolEvent) -> Vec<PoolEffect> {
        let mut effects = Vec::new();
        match event {
            PoolEvent::Tick => {}
            PoolEvent::Opened(conn) => self.on_opened(now, reputation, conn),
            PoolEvent::OpenFailed(conn, kind) => self.on_open_failed(now, reputation, conn, kind, &mut effects),
            PoolEvent::Closed(conn, kind) => self.on_closed(now, reputation, conn, kind, &mut effects),
            PoolEvent::Used(id) => {
                if let Some(identity) = self.identities.get_mut(&id) {
                    identity.last_used = now;
                }
            }
            PoolEvent::Acquire {
                ticket,
                key,
                distinct_server,
            } => self.on_acquire(now, ticket, key, distinct_server, &mut effects),
            PoolEvent::Released(ticket) => self.on_released(now, ticket),
            PoolEvent::Lied(conn) => self.on_lied(now, reputation, conn, &mut effects),
            PoolEvent::Forget(id) => self.forget(&id, &mut effects),
            PoolEvent::ForgetAll => self.forget_all(now, &mut effects),
        }
        self.age(now, &mut effects);
        self.serve(now, &mut effects);
        self.open(now, reputation, &mut effects);
        self.shrink(self.settings.max_ids.max(1), &mut effects);
        self.ping(now, &mut effects);
        self.wake(now, reputation, &mut effects);
        effects
    }

    /// Returns how many of what there are.
    pub fn counts(&self) -> PoolCounts {
        let mut counts = PoolCounts {
            ids: self.identities.len(),
            waiting: self.waiting.len(),
            ..PoolCounts::default()
        };
        for connection in self.connections.values() {
            match connection.state {
                State::Opening { .. } => counts.opening += 1,
                State::Clean { .. } => counts.clean += 1,
                State::Dirty(_) => counts.dirty += 1,
                State::Draining { .. } => counts.draining += 1,
            }
        }
        counts
    }

    /// Returns the server of a connection.
    pub fn server_of(&self, conn: ConnId) -> Option<ServerIndex> {
        self.connections.get(&conn).map(|connection| connection.server)
    }

    fn next_ping(&mut self, now: Moment) -> Moment {
        let pause = random_pause(self.settings.keep_alive_mean, &mut self.rng);
        // A maximum that is hit exactly would show as a regular beat.
        let jitter = self.rng.random_range(0.7..1.0);
        now + if pause < self.settings.keep_alive_max {
            pause
        } else {
            self.settings.keep_alive_max.mul_f64(jitter)
        }
    }

    fn on_opened(&mut self, now: Moment, reputation: &mut ServerReputation, conn: ConnId) {
        let ping_at = self.next_ping(now);
        // Cut at random: a life of always the same length would be a mark.
        let ends_at = now + self.settings.clean_ttl.mul_f64(self.rng.random_range(0.7..1.0));
        if let Some(connection) = self.connections.get_mut(&conn)
            && matches!(connection.state, State::Opening { .. })
        {
            reputation.record(now, connection.server, Evidence::Opened, &mut self.rng);
            connection.state = State::Clean {
                clean: Clean(conn),
                ping_at,
                ends_at,
            };
        }
    }

    fn on_open_failed(
        &mut self,
        now: Moment,
        reputation: &mut ServerReputation,
        conn: ConnId,
        kind: FailureKind,
        effects: &mut Vec<PoolEffect>,
    ) {
        let Some(connection) = self.connections.remove(&conn) else {
            return;
        };
        if kind == FailureKind::NoWayOut {
            self.refuse(|_| true, Refusal::Unreachable, effects);
            return;
        }
        self.hold_against(now, reputation, connection.server, Evidence::Failed(kind), effects);
        for waiting in &mut self.waiting {
            waiting.failures = waiting.failures.saturating_add(1);
        }
    }

    fn on_closed(
        &mut self,
        now: Moment,
        reputation: &mut ServerReputation,
        conn: ConnId,
        kind: FailureKind,
        effects: &mut Vec<PoolEffect>,
    ) {
        let Some(connection) = self.connections.remove(&conn) else {
            return;
        };
        // Servers end idle connections; only one that can't be opened again is held against them.
        if kind == FailureKind::Useless {
            self.hold_against(now, reputation, connection.server, Evidence::Failed(kind), effects);
        }
        self.unbind(&connection);
    }

    /// Notes a server's failure. Nobody is to get a connection to one that is of no use, so its clean ones end.
    fn hold_against(
        &mut self,
        now: Moment,
        reputation: &mut ServerReputation,
        server: ServerIndex,
        evidence: Evidence,
        effects: &mut Vec<PoolEffect>,
    ) {
        reputation.record(now, server, evidence, &mut self.rng);
        if matches!(evidence, Evidence::Lied | Evidence::Failed(FailureKind::Useless)) {
            self.close_clean(|it, _| it == server, effects);
        }
    }

    /// Closes the clean connections of which the test on server and end of life holds.
    fn close_clean(&mut self, ends: impl Fn(ServerIndex, Moment) -> bool, effects: &mut Vec<PoolEffect>) {
        let is_over = |it: &Connection| matches!(it.state, State::Clean { ends_at, .. } if ends(it.server, ends_at));
        self.close_all(is_over, effects);
    }

    fn close_all(&mut self, is_over: impl Fn(&Connection) -> bool, effects: &mut Vec<PoolEffect>) {
        let over = self.connections.iter().filter(|(_, it)| is_over(it));
        for conn in over.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            self.close(conn, effects);
        }
    }

    /// Refuses those who wait and of whom the test holds. They have no more use for their tickets.
    fn refuse(&mut self, lost: impl Fn(&Waiting) -> bool, refusal: Refusal, effects: &mut Vec<PoolEffect>) {
        let (refused, kept): (VecDeque<Waiting>, _) = self.waiting.drain(..).partition(lost);
        self.waiting = kept;
        for Waiting { ticket, key, .. } in refused {
            if let Some(identity) = self.identities.get_mut(&key.id) {
                identity.tickets.remove(&ticket);
            }
            effects.push(PoolEffect::Refuse(ticket, refusal));
        }
    }

    fn unbind(&mut self, connection: &Connection) {
        if let State::Dirty(Dirty { conn, key }) = &connection.state
            && let Some(identity) = self.identities.get_mut(&key.id)
            && identity.connections.get(&key.attempt) == Some(conn)
        {
            identity.connections.remove(&key.attempt);
        }
    }

    fn on_acquire(
        &mut self,
        now: Moment,
        ticket: Ticket,
        key: IsolationKey,
        distinct_server: bool,
        effects: &mut Vec<PoolEffect>,
    ) {
        if !self.identities.contains_key(&key.id) {
            self.shrink(self.settings.max_ids.max(1) - 1, effects);
        }
        let identity = self.identities.entry(key.id).or_insert_with(|| Identity {
            last_used: now,
            connections: BTreeMap::new(),
            servers: BTreeMap::new(),
            tickets: BTreeSet::new(),
        });
        identity.last_used = now;
        identity.tickets.insert(ticket);
        self.waiting.push_back(Waiting {
            ticket,
            key,
            distinct_server,
            deadline: now + self.settings.wait,
            failures: 0,
        });
    }

    /// Forgets the least recently used identities until there are fewer than `room`. Those in use stay: their number is
    /// bounded by that of lookups at a time.
    fn shrink(&mut self, room: usize, effects: &mut Vec<PoolEffect>) {
        while self.identities.len() > room {
            let idle = self
                .identities
                .iter()
                .filter(|(_, identity)| identity.tickets.is_empty());
            let Some(oldest) = idle.min_by_key(|(_, identity)| identity.last_used).map(|(id, _)| *id) else {
                return;
            };
            self.forget(&oldest, effects);
        }
    }

    fn on_released(&mut self, now: Moment, ticket: Ticket) {
        self.waiting.retain(|waiting| waiting.ticket != ticket);
        for identity in self.identities.values_mut() {
            if identity.tickets.remove(&ticket) {
                identity.last_used = now;
            }
        }
    }

    fn on_lied(&mut self, now: Moment, reputation: &mut ServerReputation, conn: ConnId, effects: &mut Vec<PoolEffect>) {
        if let Some(server) = self.server_of(conn) {
            self.hold_against(now, reputation, server, Evidence::Lied, effects);
            self.close(conn, effects);
        }
    }

    fn close(&mut self, conn: ConnId, effects: &mut Vec<PoolEffect>) {
        if let Some(connection) = self.connections.remove(&conn) {
            self.unbind(&connection);
            effects.push(PoolEffect::Close(conn));
        }
    }

    fn forget(&mut self, id: &BlindedId, effects: &mut Vec<PoolEffect>) {
        let Some(identity) = self.identities.remove(id) else {
            return;
        };
        for conn in identity.connections.into_values() {
            self.close(conn, effects);
        }
        // Who waits under the ID goes on waiting, as a new identity that shares nothing with the old one.
        let waits = self
            .waiting
            .iter()
            .filter(|waiting| waiting.key.id == *id)
            .map(|waiting| waiting.ticket);
        let tickets: BTreeSet<Ticket> = waits.collect();
        if !tickets.is_empty() {
            let last_used = identity.last_used;
            self.identities.insert(
                *id,
                Identity {
                    last_used,
                    connections: BTreeMap::new(),
                    servers: BTreeMap::new(),
                    tickets,
                },
            );
        }
        effects.push(PoolEffect::Forgotten(*id));
    }

    /// Forgets all identities. Their connections are nobody's from now on, and close one by one.
    fn forget_all(&mut self, now: Moment, effects: &mut Vec<PoolEffect>) {
        for connection in self.connections.values_mut() {
            if let State::Dirty(Dirty { key, .. }) = &connection.state {
                if let Some(identity) = self.identities.get_mut(&key.id) {
                    identity.connections.remove(&key.attempt);
                }
                let stay = random_pause(DRAINING_MEAN, &mut self.rng).min(DRAINING_MAX);
                connection.state = State::Draining { closes_at: now + stay };
            }
        }
        for id in self.identities.keys().copied().collect::<Vec<_>>() {
            self.forget(&id, effects);
        }
    }

    /// Ends what has lived long enough: waits, identities, clean connections, those that nobody owns.
    fn age(&mut self, now: Moment, effects: &mut Vec<PoolEffect>) {
        let late = |waiting: &Waiting| waiting.deadline <= now;
        self.refuse(late, Refusal::TimedOut(self.settings.wait), effects);
        let ttl = self.settings.id_ttl;
        let idle = |identity: &Identity| identity.tickets.is_empty() && now.since(identity.last_used) >= ttl;
        let ids: Vec<BlindedId> = self
            .identities
            .iter()
            .filter(|(_, identity)| idle(identity))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.forget(&id, effects);
        }
        self.close_clean(|_, ends_at| ends_at <= now, effects);
        self.close_all(
            |it| matches!(it.state, State::Draining { closes_at } if closes_at <= now),
            effects,
        );
    }

    /// Gives connections to those who wait, first come first served: the one of their key, else a clean one.
    fn serve(&mut self, now: Moment, effects: &mut Vec<PoolEffect>) {
        let mut unserved = VecDeque::new();
        while let Some(waiting) = self.waiting.pop_front() {
            let Waiting {
                ticket,
                key,
                distinct_server,
                ..
            } = &waiting;
            let avoided = self.avoided(key, *distinct_server);
            let bound = self
                .identities
                .get(&key.id)
                .and_then(|it| it.connections.get(&key.attempt))
                .copied();
            let bound = match bound {
                Some(conn) if self.server_of(conn).is_some_and(|server| avoided.contains(&server)) => {
                    self.close(conn, effects);
                    None
                }
                bound => bound,
            };
            if let Some(conn) = bound.or_else(|| self.bind(key, &avoided)) {
                if let Some(identity) = self.identities.get_mut(&key.id) {
                    identity.last_used = now;
                }
                effects.push(PoolEffect::Serve(*ticket, conn));
            } else {
                unserved.push_back(waiting);
            }
        }
        self.waiting = unserved;
    }

    /// Returns the servers that a key's connection must not lead to.
    fn avoided(&self, key: &IsolationKey, distinct_server: bool) -> BTreeSet<ServerIndex> {
        let identity = self.identities.get(&key.id).filter(|_| distinct_server);
        let before = identity.into_iter().flat_map(|it| it.connections.range(..key.attempt));
        before.filter_map(|(_, conn)| self.server_of(*conn)).collect()
    }

    /// Returns the servers that the attempts before this one had: another one is the better choice, also where their
    /// connections are gone, since that may be why there is a further attempt.
    fn tried(&self, key: &IsolationKey) -> BTreeSet<ServerIndex> {
        let identity = self.identities.get(&key.id).into_iter();
        let before = identity.flat_map(|it| it.servers.range(..key.attempt));
        before.map(|(_, server)| *server).collect()
    }

    /// Takes a clean connection for a key: to a server that the identity has no other connection to and that no attempt
    /// before had, if possible.
    fn bind(&mut self, key: &IsolationKey, avoided: &BTreeSet<ServerIndex>) -> Option<ConnId> {
        let identity = self.identities.get(&key.id)?;
        let mut used = self.tried(key);
        used.extend(identity.connections.values().filter_map(|conn| self.server_of(*conn)));
        let clean = self
            .connections
            .iter()
            .filter(|(_, it)| matches!(it.state, State::Clean { .. }) && !avoided.contains(&it.server));
        let candidates: Vec<(bool, ConnId)> = clean.map(|(conn, it)| (used.contains(&it.server), *conn)).collect();
        let fewest = candidates.iter().map(|(used, _)| *used).min()?;
        let best: Vec<ConnId> = candidates
            .iter()
            .filter(|(used, _)| *used == fewest)
            .map(|(_, conn)| *conn)
            .collect();
        // Which one is left to chance: the order of opening is known to the servers.
        let conn = *best.get(self.rng.random_range(0..best.len().max(1)))?;
        let connection = self.connections.remove(&conn)?;
        let Connection { server, state } = connection;
        let state = match state {
            State::Clean { clean, .. } => State::Dirty(clean.assign(*key)),
            other => other,
        };
        self.connections.insert(conn, Connection { server, state });
        let identity = self.identities.get_mut(&key.id)?;
        identity.connections.insert(key.attempt, conn);
        identity.servers.insert(key.attempt, server);
        Some(conn)
    }

    /// Opens connections: one when the clock ticks and one is missing, and one for each lookup that waits for none
    /// yet.
    fn open(&mut self, now: Moment, reputation: &ServerReputation, effects: &mut Vec<PoolEffect>) {
        if self.ticks(now) {
            let counts = self.counts();
            let under_way = |it: &Connection| matches!(it.state, State::Opening { urgent: false });
            if counts.clean + counts.opening < self.settings.clean && !self.connections.values().any(under_way) {
                self.open_one(now, reputation, false, &BTreeSet::new(), effects);
            }
        }
        if self.lacks_urgent() && self.urgent_from <= now {
            let choosy = self.waiting.iter().find(|waiting| waiting.distinct_server);
            let avoided = choosy.map(|waiting| self.avoided(&waiting.key, true));
            let anybody = self.waiting.iter().find(|waiting| !waiting.distinct_server);
            let tried = anybody.map(|waiting| self.tried(&waiting.key));
            // Whoever may go anywhere takes what is opened for others, but does not wait for their servers.
            let opened = avoided.is_some_and(|avoided| self.open_one(now, reputation, true, &avoided, effects))
                || tried.is_some_and(|tried| {
                    self.open_one(now, reputation, true, &tried, effects)
                        || self.open_one(now, reputation, true, &BTreeSet::new(), effects)
                });
            if opened {
                self.urgent_from = now + random_pause(self.urgent_mean(), &mut self.rng);
            }
        }
        // Who waits is told as soon as there is no hope, not at the end of its patience.
        if self.counts().opening == 0 {
            let lost = |waiting: &&Waiting| {
                let avoided = self.avoided(&waiting.key, waiting.distinct_server);
                let next_try = reputation.next_try(true, &avoided);
                let is_ready = next_try.is_some_and(|at| at <= now);
                !is_ready && (waiting.failures >= MAX_FAILURES || next_try.is_none_or(|at| at >= waiting.deadline))
            };
            let lost: BTreeSet<Ticket> = self.waiting.iter().filter(lost).map(|it| it.ticket).collect();
            self.refuse(|waiting| lost.contains(&waiting.ticket), Refusal::Unreachable, effects);
        }
    }

    /// Says whether the clock that opens connections ticks, and winds it up.
    fn ticks(&mut self, now: Moment) -> bool {
        let mean = self.settings.opening_mean;
        let due = self.opens_at.filter(|at| *at <= now);
        if due.is_some() || self.opens_at.is_none() {
            // The first tick is as random as all others: start-up shows no burst. Ticks that were slept through are
            // not made up for.
            let next = due.unwrap_or(now) + random_pause(mean, &mut self.clock_rng);
            self.opens_at = Some(if next > now {
                next
            } else {
                now + random_pause(mean, &mut self.clock_rng)
            });
        }
        due.is_some()
    }

    /// Says whether more lookups wait than connections are being opened.
    fn lacks_urgent(&self) -> bool {
        self.counts().opening < self.waiting.len().min(MAX_URGENT)
    }

    /// Returns the mean pause between two connections for lookups that wait.
    fn urgent_mean(&self) -> Duration {
        let waiting = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX).max(1);
        let pace = self.settings.opening_mean / URGENCY;
        pace.min(self.settings.wait / PATIENCE_PART / waiting)
    }

    fn open_one(
        &mut self,
        now: Moment,
        reputation: &ServerReputation,
        urgent: bool,
        avoided: &BTreeSet<ServerIndex>,
        effects: &mut Vec<PoolEffect>,
    ) -> bool {
        let connections = &self.connections;
        let load = |server: ServerIndex| {
            let is_idle = |state: &State| matches!(state, State::Opening { .. } | State::Clean { .. });
            let idle = |it: &&Connection| it.server == server && is_idle(&it.state);
            connections.values().filter(idle).count()
        };
        let Some(server) = reputation.choose(now, urgent, avoided, load, &mut self.rng) else {
            return false;
        };
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.connections.insert(
            conn,
            Connection {
                server,
                state: State::Opening { urgent },
            },
        );
        effects.push(PoolEffect::Open(conn, server));
        true
    }

    fn ping(&mut self, now: Moment, effects: &mut Vec<PoolEffect>) {
        let due: Vec<ConnId> = self
            .connections
            .iter()
            .filter(|(_, it)| matches!(it.state, State::Clean { ping_at, .. } if ping_at <= now))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in due {
            let next = self.next_ping(now);
            if let Some(Connection {
                state: State::Clean { ping_at, .. },
                ..
            }) = self.connections.get_mut(&conn)
            {
                *ping_at = next;
                effects.push(PoolEffect::Ping(conn));
            }
        }
    }

    /// Returns the earliest moment at which a server may be tried for one of those who wait.
    fn next_urgent_try(&self, reputation: &ServerReputation) -> Option<Moment> {
        let of = |waiting: &Waiting| reputation.next_try(true, &self.avoided(&waiting.key, waiting.distinct_server));
        // Those who may go anywhere all have the same hope.
        let choosy = self.waiting.iter().filter(|waiting| waiting.distinct_server);
        let other = self.waiting.iter().find(|waiting| !waiting.distinct_server);
        choosy.chain(other).filter_map(of).min()
    }

    fn wake(&self, now: Moment, reputation: &ServerReputation, effects: &mut Vec<PoolEffect>) {
        let ends = self.connections.values().filter_map(|it| match it.state {
            State::Clean { ping_at, ends_at, .. } => Some(ping_at.min(ends_at)),
            State::Draining { closes_at } => Some(closes_at),
            State::Opening { .. } | State::Dirty(_) => None,
        });
        let idle = self.identities.values().filter(|identity| identity.tickets.is_empty());
        let ids = idle.map(|identity| identity.last_used + self.settings.id_ttl);
        let waits = self.waiting.iter().map(|waiting| waiting.deadline);
        let urgent = self.lacks_urgent().then(|| self.next_urgent_try(reputation)).flatten();
        let urgent = urgent.map(|at| at.max(self.urgent_from));
        let times = ends.chain(ids).chain(waits).chain(urgent).chain(self.opens_at);
        if let Some(at) = times.min() {
            effects.push(PoolEffect::WakeAt(at.max(now + LEAST_PAUSE)));
        }
    }
}

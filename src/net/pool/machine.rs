//! The machine itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::servers::Servers;
use super::{Clean, Counts, Dirty, Effect, Event, Refusal, ServerIndex, Settings, Ticket, Trouble};
use crate::isolation::{ConnId, IsolationId, IsolationKey};
use crate::time::Moment;

/// Connections that are opened at once for lookups that found the pool empty, beside the pool's own one.
const MAX_URGENT: usize = 32;

/// Failed attempts to open a connection after which a lookup is told that no server can be reached.
const MAX_FAILURES: u32 = 4;

#[derive(Debug)]
enum State {
    /// Being opened, by the pool's clock or because a lookup waits.
    Opening {
        urgent: bool,
    },
    Clean {
        clean: Clean,
        since: Moment,
        ping_at: Moment,
    },
    Dirty(Dirty),
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
    deadline: Moment,
    /// Connections that could not be opened since it waits.
    failures: u32,
}

#[derive(Debug)]
struct Identity {
    last_used: Moment,
    connections: BTreeMap<u8, ConnId>,
    /// Lookups that use the identity now: it is not forgotten under them.
    tickets: BTreeSet<Ticket>,
}

/// Keeps clean connections ready and gives each lookup the connection of its key.
#[derive(Debug)]
pub struct Pool {
    settings: Settings,
    rng: StdRng,
    servers: Servers,
    connections: BTreeMap<ConnId, Connection>,
    identities: BTreeMap<IsolationId, Identity>,
    waiting: VecDeque<Waiting>,
    next_conn: u64,
    /// When the clock that opens connections ticks next; `None` before the first event.
    opens_at: Option<Moment>,
}

impl Pool {
    /// Makes a pool for so many servers. The seed must come from the operating system's generator: it decides on
    /// moments and servers that an observer must not foresee.
    pub fn new(servers: usize, settings: Settings, seed: [u8; 32]) -> Self {
        Self {
            settings,
            rng: StdRng::from_seed(seed),
            servers: Servers::new(servers),
            connections: BTreeMap::new(),
            identities: BTreeMap::new(),
            waiting: VecDeque::new(),
            next_conn: 0,
            opens_at: None,
        }
    }

    /// Advances by one event. Call it once with [`Event::Tick`] to begin.
    pub fn on_event(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Tick => {}
            Event::Opened(conn) => self.on_opened(now, conn),
            Event::OpenFailed(conn, trouble) => self.on_open_failed(now, conn, trouble, &mut effects),
            Event::Closed(conn, trouble) => self.on_closed(now, conn, trouble),
            Event::Used(id) => {
                if let Some(identity) = self.identities.get_mut(&id) {
                    identity.last_used = now;
                }
            }
            Event::Wanted { ticket, key } => self.on_wanted(now, ticket, key, &mut effects),
            Event::Released(ticket) => self.on_released(now, ticket),
            Event::Lied(conn) => self.on_lied(now, conn, &mut effects),
            Event::Forget(id) => self.forget(&id, &mut effects),
            Event::ForgetAll => {
                for id in self.identities.keys().cloned().collect::<Vec<_>>() {
                    self.forget(&id, &mut effects);
                }
            }
        }
        self.age(now, &mut effects);
        self.serve(now, &mut effects);
        self.open(now, &mut effects);
        self.ping(now, &mut effects);
        self.wake(now, &mut effects);
        effects
    }

    /// Returns how many of what there are.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            ids: self.identities.len(),
            waiting: self.waiting.len(),
            ..Counts::default()
        };
        for connection in self.connections.values() {
            match connection.state {
                State::Opening { .. } => counts.opening += 1,
                State::Clean { .. } => counts.clean += 1,
                State::Dirty(_) => counts.dirty += 1,
            }
        }
        counts
    }

    /// Returns the server of a connection.
    pub fn server_of(&self, conn: ConnId) -> Option<ServerIndex> {
        self.connections.get(&conn).map(|connection| connection.server)
    }

    fn exponential(&mut self, mean: Duration) -> Duration {
        // 1 − u lies in (0, 1], so the logarithm is finite.
        let u: f64 = self.rng.random();
        mean.mul_f64(-(1.0 - u).ln())
    }

    fn next_ping(&mut self, now: Moment) -> Moment {
        let pause = self
            .exponential(self.settings.keep_alive_mean)
            .min(self.settings.keep_alive_max);
        // A maximum that is hit exactly would show as a regular beat.
        let jitter = self.rng.random_range(0.7..1.0);
        now + if pause < self.settings.keep_alive_max {
            pause
        } else {
            pause.mul_f64(jitter)
        }
    }

    fn on_opened(&mut self, now: Moment, conn: ConnId) {
        let ping_at = self.next_ping(now);
        if let Some(connection) = self.connections.get_mut(&conn)
            && matches!(connection.state, State::Opening { .. })
        {
            self.servers.succeeded(connection.server);
            connection.state = State::Clean {
                clean: Clean(conn),
                since: now,
                ping_at,
            };
        }
    }

    fn on_open_failed(&mut self, now: Moment, conn: ConnId, trouble: Trouble, effects: &mut Vec<Effect>) {
        let Some(connection) = self.connections.remove(&conn) else {
            return;
        };
        if trouble != Trouble::NoWayOut {
            self.servers
                .failed(connection.server, trouble, now, &self.settings, &mut self.rng);
        }
        // Who waits is told as soon as there is little hope, not at the end of its patience.
        for waiting in &mut self.waiting {
            waiting.failures = waiting.failures.saturating_add(1);
        }
        let hopeless = |waiting: &Waiting| trouble == Trouble::NoWayOut || waiting.failures >= MAX_FAILURES;
        let (refused, kept): (VecDeque<Waiting>, _) = self.waiting.drain(..).partition(hopeless);
        self.waiting = kept;
        effects.extend(
            refused
                .into_iter()
                .map(|waiting| Effect::Refuse(waiting.ticket, Refusal::Unreachable)),
        );
    }

    fn on_closed(&mut self, now: Moment, conn: ConnId, trouble: Trouble) {
        let Some(connection) = self.connections.remove(&conn) else {
            return;
        };
        // Servers end idle connections; only one that can't be opened again is held against them.
        if trouble == Trouble::Useless {
            self.servers
                .failed(connection.server, trouble, now, &self.settings, &mut self.rng);
        }
        self.unbind(&connection);
    }

    fn unbind(&mut self, connection: &Connection) {
        if let State::Dirty(Dirty { conn, key }) = &connection.state
            && let Some(identity) = self.identities.get_mut(&key.id)
            && identity.connections.get(&key.attempt) == Some(conn)
        {
            identity.connections.remove(&key.attempt);
        }
    }

    fn on_wanted(&mut self, now: Moment, ticket: Ticket, key: IsolationKey, effects: &mut Vec<Effect>) {
        if !self.identities.contains_key(&key.id) {
            self.shrink(self.settings.max_ids.max(1) - 1, effects);
        }
        let identity = self.identities.entry(key.id.clone()).or_insert_with(|| Identity {
            last_used: now,
            connections: BTreeMap::new(),
            tickets: BTreeSet::new(),
        });
        identity.last_used = now;
        identity.tickets.insert(ticket);
        if let Some(conn) = identity.connections.get(&key.attempt) {
            effects.push(Effect::Serve(ticket, *conn));
            return;
        }
        self.waiting.push_back(Waiting {
            ticket,
            key,
            deadline: now + self.settings.wait,
            failures: 0,
        });
    }

    /// Forgets the least recently used identities until there are fewer than `room`. Those in use stay: their number is
    /// bounded by that of lookups at a time.
    fn shrink(&mut self, room: usize, effects: &mut Vec<Effect>) {
        while self.identities.len() > room {
            let idle = self
                .identities
                .iter()
                .filter(|(_, identity)| identity.tickets.is_empty());
            let Some(oldest) = idle
                .min_by_key(|(_, identity)| identity.last_used)
                .map(|(id, _)| id.clone())
            else {
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

    fn on_lied(&mut self, now: Moment, conn: ConnId, effects: &mut Vec<Effect>) {
        if let Some(server) = self.server_of(conn) {
            self.servers
                .failed(server, Trouble::Useless, now, &self.settings, &mut self.rng);
            self.close(conn, effects);
        }
    }

    fn close(&mut self, conn: ConnId, effects: &mut Vec<Effect>) {
        if let Some(connection) = self.connections.remove(&conn) {
            self.unbind(&connection);
            effects.push(Effect::Close(conn));
        }
    }

    fn forget(&mut self, id: &IsolationId, effects: &mut Vec<Effect>) {
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
                id.clone(),
                Identity {
                    last_used,
                    connections: BTreeMap::new(),
                    tickets,
                },
            );
        }
        effects.push(Effect::Forgotten(id.clone()));
    }

    /// Ends what has lived long enough: waits, identities, clean connections.
    fn age(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let wait = self.settings.wait;
        let mut kept = VecDeque::with_capacity(self.waiting.len());
        for waiting in self.waiting.drain(..) {
            if waiting.deadline <= now {
                effects.push(Effect::Refuse(waiting.ticket, Refusal::TimedOut(wait)));
            } else {
                kept.push_back(waiting);
            }
        }
        self.waiting = kept;
        let ttl = self.settings.id_ttl;
        let idle = |identity: &Identity| identity.tickets.is_empty() && now.since(identity.last_used) >= ttl;
        let ids: Vec<IsolationId> = self
            .identities
            .iter()
            .filter(|(_, identity)| idle(identity))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            self.forget(&id, effects);
        }
        self.shrink(self.settings.max_ids.max(1), effects);
        let ttl = self.settings.clean_ttl;
        let old: Vec<ConnId> = self
            .connections
            .iter()
            .filter(|(_, it)| matches!(it.state, State::Clean { since, .. } if now.since(since) >= ttl))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in old {
            self.close(conn, effects);
        }
    }

    /// Gives clean connections to those who wait, first come first served.
    fn serve(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let mut unserved = VecDeque::new();
        while let Some(waiting) = self.waiting.pop_front() {
            let Waiting { ticket, key, .. } = &waiting;
            // Two lookups of one key may wait: the second rides the connection that the first one got.
            let bound = self
                .identities
                .get(&key.id)
                .and_then(|it| it.connections.get(&key.attempt))
                .copied();
            if let Some(conn) = bound.or_else(|| self.bind(key)) {
                if let Some(identity) = self.identities.get_mut(&key.id) {
                    identity.last_used = now;
                }
                effects.push(Effect::Serve(*ticket, conn));
            } else {
                unserved.push_back(waiting);
            }
        }
        self.waiting = unserved;
    }

    /// Takes a clean connection for a key: to a server that the identity has no other connection to, if possible.
    fn bind(&mut self, key: &IsolationKey) -> Option<ConnId> {
        let identity = self.identities.get(&key.id)?;
        let used: BTreeSet<ServerIndex> = identity
            .connections
            .values()
            .filter_map(|conn| self.server_of(*conn))
            .collect();
        let clean = self
            .connections
            .iter()
            .filter(|(_, it)| matches!(it.state, State::Clean { .. }));
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
            State::Clean { clean, .. } => State::Dirty(clean.assign(key.clone())),
            other => other,
        };
        self.connections.insert(conn, Connection { server, state });
        self.identities.get_mut(&key.id)?.connections.insert(key.attempt, conn);
        Some(conn)
    }

    /// Opens connections: one when the clock ticks and one is missing, and one for each lookup that waits for none
    /// yet.
    fn open(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let due = match self.opens_at {
            Some(at) => at <= now,
            // The first tick is as random as all others: start-up shows no burst.
            None => {
                self.opens_at = Some(now + self.exponential(self.settings.opening_mean));
                false
            }
        };
        let counts = self.counts();
        if due {
            self.opens_at = Some(now + self.exponential(self.settings.opening_mean));
            let slow = self
                .connections
                .values()
                .any(|it| matches!(it.state, State::Opening { urgent: false }));
            if counts.clean + counts.opening < self.settings.clean && !slow {
                self.open_one(now, false, effects);
            }
        }
        let mut opening = self
            .connections
            .values()
            .filter(|it| matches!(it.state, State::Opening { .. }))
            .count();
        while opening < self.waiting.len().min(MAX_URGENT) && self.open_one(now, true, effects) {
            opening += 1;
        }
        if !self.waiting.is_empty() && opening == 0 && !self.servers.any_useful() {
            for waiting in self.waiting.drain(..) {
                effects.push(Effect::Refuse(waiting.ticket, Refusal::Unreachable));
            }
        }
    }

    fn open_one(&mut self, now: Moment, urgent: bool, effects: &mut Vec<Effect>) -> bool {
        let connections = &self.connections;
        let load = |server: ServerIndex| {
            let idle = |it: &&Connection| it.server == server && !matches!(it.state, State::Dirty(_));
            connections.values().filter(idle).count()
        };
        let Some(server) = self.servers.choose(now, load, &mut self.rng) else {
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
        effects.push(Effect::Open(conn, server));
        true
    }

    fn ping(&mut self, now: Moment, effects: &mut Vec<Effect>) {
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
                effects.push(Effect::Ping(conn));
            }
        }
    }

    fn wake(&self, now: Moment, effects: &mut Vec<Effect>) {
        let settings = &self.settings;
        let clean = self.connections.values().filter_map(|it| match it.state {
            State::Clean { since, ping_at, .. } => Some(ping_at.min(since + settings.clean_ttl)),
            State::Opening { .. } | State::Dirty(_) => None,
        });
        let idle = self.identities.values().filter(|identity| identity.tickets.is_empty());
        let ids = idle.map(|identity| identity.last_used + settings.id_ttl);
        let waits = self.waiting.iter().map(|waiting| waiting.deadline);
        let retry = (!self.waiting.is_empty()).then(|| self.servers.next_try(now)).flatten();
        let times = clean.chain(ids).chain(waits).chain(retry).chain(self.opens_at);
        if let Some(at) = times.filter(|at| *at > now).min() {
            effects.push(Effect::WakeAt(at));
        }
    }
}

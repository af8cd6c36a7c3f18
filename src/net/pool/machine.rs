//! The machine itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::clock::OpeningClock;
use super::connections::{Connection, Connections, Fate, State};
use super::identities::{Identities, Owner};
use super::wants::{Want, Wants};
use super::{
    Clean, LookupId, PoolCaller, PoolCounts, PoolEffect, PoolEvent, PoolSettings, Refusal, ServerIndex, Ticket,
};
use crate::backoff::{Backoff, shortened};
use crate::isolation::{BlindedId, ConnId, IsolationKey};
use crate::reputation::{Evidence, FailureKind, ServerReputation};
use crate::time::{LEAST_PAUSE, Moment, random_pause};

/// Own connections that may be under way for one attempt at a time: the others are tried where the first ones are slow.
const MAX_OWN_OPENINGS: usize = 3;

/// Failures after which a lookup is told that no server can be reached, once each server was tried: one may be a circuit's
/// fault, the second one hardly.
const LEAST_FAILURES: usize = 2;

/// Failures after which it is told so, however many servers are left to try.
const MOST_FAILURES: usize = 16;

/// The pause before another server is tried for an attempt, each on a timer of its own.
const RETRY: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(4));

/// How many callers' shares of IDs there is room for.
const CAPACITY: usize = 16;

/// How late a moment must be handed in for it to be the machine's sleep, or a stop of the program.
const JUMP: Duration = Duration::from_secs(20);

/// What a lookup asks for.
#[derive(Clone, Copy)]
struct Asked {
    ticket: Ticket,
    lookup: LookupId,
    key: IsolationKey,
    caller: PoolCaller,
    distinct_server: bool,
}

/// Opens connections ahead and gives each lookup the connection of its key.
#[derive(Debug)]
pub struct Pool {
    settings: PoolSettings,
    /// Decides on what identities do.
    rng: StdRng,
    clock: OpeningClock,
    connections: Connections,
    identities: Identities,
    wants: Wants,
    /// Connections of identities that are forgotten.
    parting: usize,
    next_conn: u64,
    /// The moment that was asked for last.
    wake_at: Option<Moment>,
}

impl Pool {
    /// Makes a pool without connections. The seed must come from the operating system's generator: it decides on
    /// moments and servers that an observer must not foresee.
    pub fn new(settings: PoolSettings, seed: [u8; 32]) -> Self {
        let mut rng = StdRng::from_seed(seed);
        Self {
            settings,
            clock: OpeningClock::new(&mut rng),
            rng,
            connections: Connections::default(),
            identities: Identities::default(),
            wants: Wants::default(),
            parting: 0,
            next_conn: 0,
            wake_at: None,
        }
    }

    /// Advances by one event. Call it once with [`PoolEvent::Tick`] to begin. Servers are chosen by their reputation, to which
    /// what connections come to is added; it must be about the same servers each time.
    pub fn on_event(&mut self, now: Moment, reputation: &mut ServerReputation, event: PoolEvent) -> Vec<PoolEffect> {
        let mut effects = Vec::new();
        self.clock.begin(now, &self.settings);
        if self.wake_at.is_some_and(|at| now.since(at) >= JUMP) {
            self.on_jump(now);
        }
        match event {
            PoolEvent::Tick => {}
            PoolEvent::Opened(conn) => self.on_opened(now, reputation, conn, true, &mut effects),
            PoolEvent::Barred(conn) => self.on_opened(now, reputation, conn, false, &mut effects),
            PoolEvent::OpenFailed(conn, kind) => self.on_open_failed(now, reputation, conn, kind, &mut effects),
            PoolEvent::Closed(conn, kind) => self.on_closed(now, reputation, conn, kind),
            PoolEvent::Used(id) => {
                self.identities.note_use(now, &id);
                self.clock.note_question(now, &self.settings);
            }
            PoolEvent::Acquire {
                ticket,
                lookup,
                key,
                caller,
                distinct_server,
            } => {
                self.clock.note_question(now, &self.settings);
                let asked = Asked {
                    ticket,
                    lookup,
                    key,
                    caller,
                    distinct_server,
                };
                self.on_acquire(now, reputation, asked, &mut effects);
            }
            PoolEvent::Released(ticket) => self.wants.release(ticket),
            PoolEvent::Ended(lookup) => self.identities.end_lookup(now, lookup),
            PoolEvent::Requested(conn) => self.on_requested(now, conn),
            PoolEvent::Lied(conn) => self.on_lied(now, reputation, conn, &mut effects),
            PoolEvent::Distrusted(conn) => self.on_distrusted(conn),
            PoolEvent::Forget(id) => self.forget(&id, &mut effects),
            PoolEvent::ForgetAll => {
                for id in self.identities.ids() {
                    self.forget(&id, &mut effects);
                }
            }
        }
        self.age(now, &mut effects);
        self.open_ahead(now, reputation, &mut effects);
        self.open_own(now, reputation, &mut effects);
        self.shrink_all(&mut effects);
        self.ping(now, &mut effects);
        self.wake(now, &mut effects);
        effects
    }

    /// Returns how many of what there are.
    pub fn counts(&self) -> PoolCounts {
        let mut counts = PoolCounts {
            ids: self.identities.len(),
            waiting: self.wants.waiting(),
            opening: self.connections.own_len(),
            clean: 0,
            dirty: self.connections.bound_len().saturating_sub(self.parting),
            parting: self.parting,
        };
        for (_, connection) in self.connections.ahead() {
            match &connection.state {
                State::Opening(_) => counts.opening += 1,
                State::Clean(..) => counts.clean += 1,
                State::Barred(_) => counts.parting += 1,
                State::Own(_) | State::Dirty { .. } => {}
            }
        }
        counts
    }

    /// Returns the server of a connection.
    pub fn server_of(&self, conn: ConnId) -> Option<ServerIndex> {
        self.connections.get(conn).map(|connection| connection.server)
    }

    /// Begins anew what a machine that slept has missed, so that nothing of it comes at once.
    fn on_jump(&mut self, now: Moment) {
        self.clock.skip_to(now, &self.settings);
        let settings = &self.settings;
        self.connections.for_each_fate(|_, fate, _| fate.skip_to(now, settings));
        for conn in self.connections.bound_over(now) {
            let share = self.rng.random();
            self.connections.put_off(conn, |idle| now + idle.mul_f64(share));
        }
    }

    /// A connection is open. Where its server is not who it should be, nobody gets it, and it lives on as others do.
    fn on_opened(
        &mut self,
        now: Moment,
        reputation: &mut ServerReputation,
        conn: ConnId,
        is_trusted: bool,
        effects: &mut Vec<PoolEffect>,
    ) {
        let Some(Connection { server, state }) = self.take_out(conn) else {
            return;
        };
        let (state, owner) = match state {
            State::Opening(fate) if is_trusted => (State::Clean(Clean(conn), fate), None),
            State::Opening(fate) => (State::Barred(fate), None),
            State::Own(owner) => (self.bound(now, Clean(conn), owner), Some(owner)),
            other => {
                self.put_in(conn, Connection { server, state: other });
                return;
            }
        };
        self.put_in(conn, Connection { server, state });
        let evidence = if is_trusted {
            Evidence::Opened
        } else {
            Evidence::Failed(FailureKind::Useless)
        };
        reputation.record(now, server, evidence, &mut self.rng);
        match owner {
            Some(owner) if is_trusted => self.serve_own(now, reputation, owner, conn, server, effects),
            Some(owner) => self.set_back(now, owner, server, effects),
            None => {}
        }
    }

    fn bound(&mut self, now: Moment, clean: Clean, owner: Owner) -> State {
        let idle = shortened(self.settings.idle, &mut self.rng);
        State::Dirty {
            dirty: clean.assign(owner),
            idle,
            ends_at: now + idle,
        }
    }

    /// Gives an own connection to those who wait for it. One that comes too late, or to a server that was to be avoided, is
    /// nobody's, and ends as others do.
    fn serve_own(
        &mut self,
        now: Moment,
        reputation: &ServerReputation,
        owner: Owner,
        conn: ConnId,
        server: ServerIndex,
        effects: &mut Vec<PoolEffect>,
    ) {
        let distinct_server = self.wants.get(owner).is_some_and(|want| want.distinct_server);
        if self.avoided(reputation, owner, distinct_server).contains(&server) {
            self.wants.change(owner, |want| {
                want.failed.insert(server);
                want.next_try = now;
            });
            return;
        }
        if !self.identities.bind(owner, conn, server) {
            return;
        }
        if let Some(want) = self.wants.remove(owner) {
            effects.extend(want.tickets.into_keys().map(|ticket| PoolEffect::Serve(ticket, conn)));
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
        let Some(Connection { server, state }) = self.take_out(conn) else {
            return;
        };
        reputation.record(now, server, Evidence::Failed(kind), &mut self.rng);
        let State::Own(owner) = state else { return };
        self.set_back(now, owner, server, effects);
        if kind == FailureKind::NoWayOut {
            self.refuse(owner, Refusal::Unreachable, effects);
        }
    }

    /// Has those who wait for an own connection wait for one to another server.
    fn set_back(&mut self, now: Moment, owner: Owner, server: ServerIndex, effects: &mut Vec<PoolEffect>) {
        let rng = &mut self.rng;
        self.wants.change(owner, |want| {
            effects.extend(want.tickets.keys().map(|ticket| PoolEffect::Setback(*ticket)));
            let doublings = u32::try_from(want.failures).unwrap_or(u32::MAX);
            want.failures += 1;
            want.failed.insert(server);
            want.next_try = want.next_try.min(now + RETRY.random_pause(doublings, rng));
        });
    }

    fn on_closed(&mut self, now: Moment, reputation: &mut ServerReputation, conn: ConnId, kind: FailureKind) {
        let Some(connection) = self.take_out(conn) else {
            return;
        };
        // Servers end idle connections; only one that breaks the protocol is held against them.
        if kind == FailureKind::Useless {
            reputation.record(now, connection.server, Evidence::Failed(kind), &mut self.rng);
        }
        self.unbind(&connection);
    }

    fn on_lied(&mut self, now: Moment, reputation: &mut ServerReputation, conn: ConnId, effects: &mut Vec<PoolEffect>) {
        let Some(connection) = self.connections.get(conn) else {
            return;
        };
        let server = connection.server;
        if let State::Dirty { dirty, .. } = &connection.state
            && let Some(identity) = self.identities.get_mut(dirty.owner.identity)
        {
            identity.liars.insert(server);
        }
        reputation.record(now, server, Evidence::Lied, &mut self.rng);
        self.close(conn, effects);
    }

    /// Has the connection's identity ask others first. An attempt keeps its connection otherwise, so that all of them might be
    /// with one server that is wrong about a name.
    fn on_distrusted(&mut self, conn: ConnId) {
        if let Some(Connection { server, state }) = self.connections.get(conn)
            && let State::Dirty { dirty, .. } = state
        {
            let owner = dirty.owner;
            if let Some(identity) = self.identities.get_mut(owner.identity) {
                identity.liars.insert(*server);
            }
            self.identities.unbind(owner, conn);
        }
    }

    fn on_requested(&mut self, now: Moment, conn: ConnId) {
        self.connections.put_off(conn, |idle| now + idle);
    }

    fn is_parting(&self, connection: &Connection) -> bool {
        match &connection.state {
            State::Dirty { dirty, .. } => self.identities.is_forgotten(dirty.owner.identity),
            _ => false,
        }
    }

    fn put_in(&mut self, conn: ConnId, connection: Connection) {
        self.parting += usize::from(self.is_parting(&connection));
        self.connections.insert(conn, connection);
    }

    fn take_out(&mut self, conn: ConnId) -> Option<Connection> {
        let connection = self.connections.remove(conn)?;
        self.parting = self.parting.saturating_sub(usize::from(self.is_parting(&connection)));
        Some(connection)
    }

    fn unbind(&mut self, connection: &Connection) {
        if let State::Dirty { dirty, .. } = &connection.state {
            self.identities.unbind(dirty.owner, dirty.conn);
        }
    }

    fn close(&mut self, conn: ConnId, effects: &mut Vec<PoolEffect>) {
        if let Some(connection) = self.take_out(conn) {
            self.unbind(&connection);
            effects.push(PoolEffect::Close(conn));
        }
    }

    /// Tells those who wait for an owner's connection that there will be none.
    fn refuse(&mut self, owner: Owner, refusal: Refusal, effects: &mut Vec<PoolEffect>) {
        if let Some(want) = self.wants.remove(owner) {
            let tickets = want.tickets.into_keys();
            effects.extend(tickets.map(|ticket| PoolEffect::Refuse(ticket, refusal)));
        }
    }

    fn on_acquire(&mut self, now: Moment, reputation: &ServerReputation, asked: Asked, effects: &mut Vec<PoolEffect>) {
        let Asked {
            ticket,
            lookup,
            key,
            caller,
            distinct_server,
        } = asked;
        if !self.identities.knows(lookup) && !self.identities.has(&key.id) {
            self.shrink(caller.number, self.settings.max_ids.max(1) - 1, effects);
        }
        let ttl = self.settings.id_ttl.mul_f64(self.rng.random_range(0.75..1.25));
        let identity = self.identities.of_lookup(now, lookup, key.id, caller.number, ttl);
        let owner = Owner {
            identity,
            attempt: key.attempt,
        };
        if let Some(conn) = self.connection_of(reputation, owner, distinct_server) {
            effects.push(PoolEffect::Serve(ticket, conn));
            return;
        }
        let deadline = now + self.settings.wait;
        if self.wants.has(owner) {
            self.wants.change(owner, |want| {
                want.tickets.insert(ticket, deadline);
                want.distinct_server |= distinct_server;
            });
            return;
        }
        let opens_own = self.rng.random_range(0..100) < self.settings.own_percent;
        if !opens_own
            && let Some(part) = caller.part
            && let Some(conn) = self.take_clean(now, reputation, owner, part, distinct_server)
        {
            effects.push(PoolEffect::Serve(ticket, conn));
            return;
        }
        let want = Want {
            tickets: BTreeMap::from([(ticket, deadline)]),
            distinct_server,
            failed: BTreeSet::new(),
            failures: 0,
            next_try: now,
        };
        self.wants.insert(owner, want);
    }

    /// Returns the connection of an owner. One to a server that it must not lead to is nobody's any more.
    fn connection_of(&mut self, reputation: &ServerReputation, owner: Owner, distinct_server: bool) -> Option<ConnId> {
        let conn = *self.identities.get(owner.identity)?.connections.get(&owner.attempt)?;
        let avoided = self.avoided(reputation, owner, distinct_server);
        let is_barred = |server| avoided.contains(&server) || !reputation.is_admitted(server);
        if self.server_of(conn).is_some_and(is_barred) {
            self.identities.unbind(owner, conn);
            return None;
        }
        Some(conn)
    }

    /// Returns the servers that an owner's connection must not lead to: those of the attempts before it, opened or being
    /// opened, and all others of their operators.
    fn avoided(&self, reputation: &ServerReputation, owner: Owner, distinct_server: bool) -> BTreeSet<ServerIndex> {
        if !distinct_server {
            return BTreeSet::new();
        }
        let identity = self.identities.get(owner.identity);
        let before = identity
            .into_iter()
            .flat_map(|it| it.connections.range(..owner.attempt));
        let bound = before.filter_map(|(_, conn)| self.server_of(*conn));
        reputation.with_siblings(&bound.collect())
    }

    /// Returns the servers that lied to an owner's identity, or may have: they are its last resort.
    fn liars(&self, owner: Owner) -> BTreeSet<ServerIndex> {
        let identity = self.identities.get(owner.identity);
        identity.map_or_else(BTreeSet::new, |identity| identity.liars.clone())
    }

    /// Returns the servers that the other attempts of the identity had, or are being opened to, and those that lied to it:
    /// one of another operator is the better choice, also where the connection is gone, since that may be why there is a further
    /// attempt.
    fn tried(&self, reputation: &ServerReputation, owner: Owner) -> BTreeSet<ServerIndex> {
        let Some(identity) = self.identities.get(owner.identity) else {
            return BTreeSet::new();
        };
        let others = identity.servers.iter().filter(|(at, _)| **at != owner.attempt);
        let had = others.map(|(_, server)| server).chain(&identity.liars).copied();
        let opening = self.connections.servers_opening_for(owner.identity);
        reputation.with_siblings(&had.chain(opening).collect())
    }

    /// Takes a clean connection of a part for an owner, any with the same chance; one to a server that its identity has not
    /// tried and that is not in doubt, where there is one.
    fn take_clean(
        &mut self,
        now: Moment,
        reputation: &ServerReputation,
        owner: Owner,
        part: u8,
        distinct_server: bool,
    ) -> Option<ConnId> {
        let avoided = self.avoided(reputation, owner, distinct_server);
        let tried = self.tried(reputation, owner);
        let clean = self
            .connections
            .ahead()
            .filter(|(_, it)| matches!(&it.state, State::Clean(_, fate) if fate.part == part));
        let liars = self.liars(owner);
        let rank = |server: ServerIndex| {
            let is_doubted = reputation.is_doubted(now, server);
            (liars.contains(&server), is_doubted, tried.contains(&server))
        };
        let allowed: Vec<(ConnId, ServerIndex)> = clean
            .map(|(conn, it)| (conn, it.server))
            .filter(|(_, server)| !avoided.contains(server) && reputation.is_admitted(*server))
            .collect();
        let best = allowed.iter().map(|(_, server)| rank(*server)).min()?;
        let candidates: Vec<_> = allowed
            .iter()
            .filter(|(_, server)| rank(*server) == best)
            .copied()
            .collect();
        let (conn, server) = *candidates.get(self.rng.random_range(0..candidates.len().max(1)))?;
        let connection = self.take_out(conn)?;
        let state = match connection.state {
            State::Clean(clean, _) => self.bound(now, clean, owner),
            other => other,
        };
        self.put_in(conn, Connection { server, state });
        self.identities.bind(owner, conn, server).then_some(conn)
    }

    /// Forgets a caller's least recently used IDs until it has no more than `room`. Those in use stay: their number is bounded
    /// by that of lookups at a time.
    fn shrink(&mut self, caller: u64, room: usize, effects: &mut Vec<PoolEffect>) {
        while self.identities.len_of(caller) > room {
            let Some(oldest) = self.identities.least_recently_used(caller) else {
                return;
            };
            self.forget(&oldest, effects);
        }
    }

    fn shrink_all(&mut self, effects: &mut Vec<PoolEffect>) {
        let room = self.settings.max_ids.max(1);
        for caller in self.identities.callers_above(room) {
            self.shrink(caller, room, effects);
        }
        let capacity = room.saturating_mul(CAPACITY);
        while self.identities.len() > capacity {
            let Some(id) = self.identities.of_the_largest_caller() else {
                return;
            };
            self.forget(&id, effects);
        }
    }

    fn forget(&mut self, id: &BlindedId, effects: &mut Vec<PoolEffect>) {
        if let Some(identity) = self.identities.forget(id) {
            self.parting += self.connections.bound(identity);
            effects.push(PoolEffect::Forgotten(*id));
        }
    }

    /// Ends what is over: clean connections, dirty ones that were idle for long, IDs, the patience of lookups.
    fn age(&mut self, now: Moment, effects: &mut Vec<PoolEffect>) {
        for conn in self.connections.over(now) {
            self.close(conn, effects);
        }
        for id in self.identities.expired(now) {
            self.forget(&id, effects);
        }
        let refusal = Refusal::TimedOut(self.settings.wait);
        for owner in self.wants.due(now) {
            self.wants.change(owner, |want| {
                want.tickets.retain(|ticket, deadline| {
                    let waits = *deadline > now;
                    if !waits {
                        effects.push(PoolEffect::Refuse(*ticket, refusal));
                    }
                    waits
                });
            });
        }
    }

    /// Opens what the clock says.
    fn open_ahead(&mut self, now: Moment, reputation: &ServerReputation, effects: &mut Vec<PoolEffect>) {
        while let Some(mut rng) = self.clock.tick(now, &self.settings) {
            let server = reputation.choose(now, &BTreeSet::new(), &mut rng);
            let fate = Fate::draw(rng, now, &self.settings);
            let has_room = self.connections.ahead_len() < self.settings.most_clean;
            if let Some(server) = server.filter(|_| has_room) {
                self.open(server, State::Opening(fate), false, effects);
            }
        }
    }

    /// Opens a connection for each attempt that waits and whose moment has come.
    fn open_own(&mut self, now: Moment, reputation: &ServerReputation, effects: &mut Vec<PoolEffect>) {
        for owner in self.wants.due(now) {
            if self.wants.get(owner).is_none_or(|want| want.next_try > now) {
                continue;
            }
            let under_way = self.connections.openings_of(owner);
            if under_way >= MAX_OWN_OPENINGS {
                self.try_again_at(owner, now + self.settings.wait);
                continue;
            }
            match self.server_for(now, owner, reputation) {
                Some(server) => {
                    self.open(server, State::Own(owner), true, effects);
                    let hedge = shortened(self.settings.hedge_after, &mut self.rng);
                    self.try_again_at(owner, now + hedge);
                }
                // Who waits is told as soon as there is no hope, not at the end of its patience.
                None if under_way == 0 => self.refuse(owner, Refusal::Unreachable, effects),
                None => self.try_again_at(owner, now + self.settings.wait),
            }
        }
    }

    fn try_again_at(&mut self, owner: Owner, at: Moment) {
        self.wants.change(owner, |want| want.next_try = at);
    }

    /// Chooses the server of an own connection: one that its identity has not tried yet where there is one, else one that
    /// may do after all; `None` when each was tried often enough.
    fn server_for(&mut self, now: Moment, owner: Owner, reputation: &ServerReputation) -> Option<ServerIndex> {
        let want = self.wants.get(owner)?;
        let avoided = self.avoided(reputation, owner, want.distinct_server);
        if want.failures >= MOST_FAILURES {
            return None;
        }
        let failed: BTreeSet<ServerIndex> = avoided.union(&want.failed).copied().collect();
        let liars = self.liars(owner);
        let fresh: BTreeSet<ServerIndex> = failed.union(&self.tried(reputation, owner)).copied().collect();
        let may_repeat = want.failures < LEAST_FAILURES;
        let mut choose = |avoided: &BTreeSet<ServerIndex>| reputation.choose(now, avoided, &mut self.rng);
        let honest: BTreeSet<ServerIndex> = failed.union(&liars).copied().collect();
        let chosen = choose(&fresh).or_else(|| choose(&honest)).or_else(|| choose(&failed));
        chosen.or_else(|| may_repeat.then(|| choose(&avoided)).flatten())
    }

    fn open(&mut self, server: ServerIndex, state: State, own: bool, effects: &mut Vec<PoolEffect>) {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.put_in(conn, Connection { server, state });
        effects.push(PoolEffect::Open { conn, server, own });
    }

    fn ping(&mut self, now: Moment, effects: &mut Vec<PoolEffect>) {
        let mean = self.settings.keep_alive_mean;
        self.connections.for_each_fate(|conn, fate, is_open| {
            if fate.ping_at <= now {
                fate.ping_at = now + random_pause(mean, &mut fate.rng);
                if is_open {
                    effects.push(PoolEffect::Ping(conn));
                }
            }
        });
    }

    fn wake(&mut self, now: Moment, effects: &mut Vec<PoolEffect>) {
        let connections = self.connections.next_moment().into_iter();
        let times = connections
            .chain(self.wants.next_moment())
            .chain(self.identities.next_expiry())
            .chain(self.clock.wake_at());
        self.wake_at = times.min().map(|at| at.max(now + LEAST_PAUSE));
        effects.extend(self.wake_at.map(PoolEffect::WakeAt));
    }
}

//! A driver on virtual time that carries the pool's effects out and checks after each of them what must always hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::isolation::{BlindedId, ConnId, IsolationId, IsolationKey};
use crate::net::pool::{
    FailureKind, LookupId, Pool, PoolCaller, PoolEffect, PoolEvent, PoolSettings, Refusal, ServerIndex, Ticket,
};
use crate::reputation::ServerReputation;
use crate::time::Moment;

pub(super) const SEED: [u8; 32] = [7; 32];

/// Who asks where a test says nothing of it.
const FRONT: PoolCaller = PoolCaller {
    number: 1,
    part: Some(0),
};

pub(super) fn id(number: u32) -> BlindedId {
    IsolationId::new(&number.to_le_bytes()).unwrap().blinded(&[0; 32])
}

pub(super) fn key(number: u32, attempt: u8) -> IsolationKey {
    IsolationKey {
        id: id(number),
        attempt,
    }
}

/// What came of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Served(ConnId),
    Refused(Refusal),
}

/// Whose a connection is: a key, and how often its ID had been forgotten when the lookup began.
pub(super) type Whose = (IsolationKey, u32);

/// What is known of a connection outside the pool.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) server: ServerIndex,
    pub(super) begun: Moment,
    pub(super) own: bool,
    pub(super) open: bool,
    pub(super) barred: bool,
    /// When it ended.
    pub(super) over: Option<Moment>,
    /// Whom it was served to; never more than one.
    pub(super) whose: Option<Whose>,
}

impl Seen {
    pub(super) fn is_open(&self) -> bool {
        self.open && self.over.is_none()
    }

    fn is_clean(&self) -> bool {
        self.is_open() && !self.own && self.whose.is_none() && !self.barred
    }
}

pub(super) struct Driver {
    pub(super) pool: Pool,
    reputation: ServerReputation,
    pub(super) now: Moment,
    pub(super) settings: PoolSettings,
    pub(super) seen: BTreeMap<ConnId, Seen>,
    pub(super) opening: Vec<ConnId>,
    pub(super) fates: BTreeMap<Ticket, (Moment, Fate)>,
    pub(super) asked: BTreeMap<Ticket, (Moment, Whose)>,
    /// Tickets whose lookups go on.
    pub(super) held: BTreeSet<Ticket>,
    /// Tickets without an answer.
    waiting: BTreeSet<Ticket>,
    /// Connections that are open.
    alive: BTreeSet<ConnId>,
    /// How often each ID was forgotten.
    generations: BTreeMap<BlindedId, u32>,
    pub(super) pings: Vec<(Moment, ConnId)>,
    pub(super) forgotten: Vec<BlindedId>,
    pub(super) wake_at: Option<Moment>,
    next_ticket: u64,
    /// Of tickets that are not their lookup's first one: which one is.
    further: BTreeMap<Ticket, Ticket>,
}

impl Driver {
    pub(super) fn new(servers: usize, settings: PoolSettings, seed: [u8; 32]) -> Self {
        Self::of_operators((0..servers).collect(), settings, seed)
    }

    pub(super) fn of_operators(operators: Vec<usize>, settings: PoolSettings, seed: [u8; 32]) -> Self {
        let mut driver = Self {
            pool: Pool::new(settings, seed),
            reputation: ServerReputation::of_operators(operators),
            now: Moment(1000),
            settings,
            seen: BTreeMap::new(),
            opening: Vec::new(),
            generations: BTreeMap::new(),
            fates: BTreeMap::new(),
            asked: BTreeMap::new(),
            held: BTreeSet::new(),
            waiting: BTreeSet::new(),
            alive: BTreeSet::new(),
            pings: Vec::new(),
            forgotten: Vec::new(),
            wake_at: None,
            next_ticket: 0,
            further: BTreeMap::new(),
        };
        driver.step(PoolEvent::Tick);
        driver
    }

    pub(super) fn step(&mut self, event: PoolEvent) {
        self.wake_at = None;
        for effect in self.pool.on_event(self.now, &mut self.reputation, event) {
            self.carry_out(effect);
        }
        assert!(
            self.wake_at.is_none_or(|at| at > self.now),
            "it asks for what is to come"
        );
        let counts = self.pool.counts();
        let busy: BTreeSet<&BlindedId> = self.held.iter().map(|ticket| &self.asked[ticket].1.0.id).collect();
        assert!(
            counts.ids <= (self.settings.max_ids.max(1) * 16).max(busy.len()),
            "{counts:?}"
        );
        assert_eq!(counts.waiting, self.unanswered().count());
        assert_eq!(counts.clean + counts.dirty + counts.parting, self.alive.len());
        assert_eq!(counts.clean, self.clean().len());
        assert_eq!(counts.opening, self.opening.len());
    }

    fn carry_out(&mut self, effect: PoolEffect) {
        match effect {
            PoolEffect::Open { conn, server, own } => {
                let seen = Seen {
                    server,
                    begun: self.now,
                    own,
                    open: false,
                    barred: false,
                    over: None,
                    whose: None,
                };
                assert!(self.seen.insert(conn, seen).is_none(), "a number was used again");
                self.opening.push(conn);
            }
            PoolEffect::Ping(conn) => {
                let seen = &self.seen[&conn];
                assert!(
                    seen.is_clean() || (seen.is_open() && seen.barred && !seen.own),
                    "only what looks clean is kept alive"
                );
                self.pings.push((self.now, conn));
            }
            PoolEffect::Close(conn) => {
                let seen = self.seen.get_mut(&conn).unwrap();
                assert!(seen.is_open());
                seen.over = Some(self.now);
                self.alive.remove(&conn);
            }
            PoolEffect::Serve(ticket, conn) => {
                let whose = self.asked[&ticket].1;
                let seen = self.seen.get_mut(&conn).unwrap();
                assert!(seen.is_open() && !seen.barred, "what is served can be used");
                let bound = seen.whose.get_or_insert(whose);
                assert_eq!(*bound, whose, "a connection changed hands");
                self.answer(ticket, Fate::Served(conn));
            }
            PoolEffect::Setback(ticket) => {
                assert!(self.waiting.contains(&ticket), "it waits still");
            }
            PoolEffect::Refuse(ticket, refusal) => {
                self.answer(ticket, Fate::Refused(refusal));
            }
            PoolEffect::Forgotten(id) => {
                *self.generations.entry(id).or_default() += 1;
                self.forgotten.push(id);
            }
            PoolEffect::WakeAt(at) => self.wake_at = Some(at),
        }
    }

    fn answer(&mut self, ticket: Ticket, fate: Fate) {
        assert!(
            self.waiting.remove(&ticket),
            "a ticket is answered once, and while somebody waits for it"
        );
        self.fates.insert(ticket, (self.now, fate));
        assert!(self.now.since(self.asked[&ticket].0) <= self.settings.wait);
    }

    /// Returns the tickets that wait for an answer.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = Ticket> {
        self.waiting.iter().copied()
    }

    pub(super) fn want(&mut self, key: IsolationKey) -> Ticket {
        self.want_as(key, false, None, FRONT)
    }

    /// As [`Self::want`], at another server than those of the attempts before.
    pub(super) fn want_distinct_server(&mut self, key: IsolationKey) -> Ticket {
        self.want_as(key, true, None, FRONT)
    }

    /// As [`Self::want`], in the lookup of another ticket.
    pub(super) fn want_along(&mut self, key: IsolationKey, first: Ticket) -> Ticket {
        self.want_as(key, false, Some(first), FRONT)
    }

    /// As [`Self::want`], for a client that the front tells apart.
    pub(super) fn want_of_client(&mut self, key: IsolationKey, client: u64) -> Ticket {
        let caller = PoolCaller {
            number: client,
            part: None,
        };
        self.want_as(key, false, None, caller)
    }

    /// As [`Self::want`], through a front that has this part of the clean connections, or none of them.
    pub(super) fn want_through(&mut self, key: IsolationKey, part: Option<u8>) -> Ticket {
        let caller = PoolCaller { part, ..FRONT };
        self.want_as(key, false, None, caller)
    }

    fn want_as(
        &mut self,
        key: IsolationKey,
        distinct_server: bool,
        first: Option<Ticket>,
        caller: PoolCaller,
    ) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        if let Some(first) = first {
            self.further.insert(ticket, first);
        }
        let generation = match first {
            Some(first) => self.asked[&first].1.1,
            None => self.generations.get(&key.id).copied().unwrap_or_default(),
        };
        self.asked.insert(ticket, (self.now, (key, generation)));
        self.waiting.insert(ticket);
        self.held.insert(ticket);
        self.step(PoolEvent::Acquire {
            ticket,
            lookup: LookupId(first.unwrap_or(ticket).0),
            key,
            caller,
            distinct_server,
        });
        ticket
    }

    /// Says whether a ticket is the first one of its lookup.
    pub(super) fn is_first(&self, ticket: Ticket) -> bool {
        !self.further.contains_key(&ticket)
    }

    /// Ends a lookup, with all that its tickets wait for.
    pub(super) fn release(&mut self, ticket: Ticket) {
        let is_of = |it: &Ticket| *it == ticket || self.further.get(it) == Some(&ticket);
        let tickets: Vec<Ticket> = self.held.iter().copied().filter(is_of).collect();
        for ticket in tickets {
            self.waiting.remove(&ticket);
            self.step(PoolEvent::Released(ticket));
        }
        self.held
            .retain(|it| *it != ticket && self.further.get(it) != Some(&ticket));
        self.step(PoolEvent::Ended(LookupId(ticket.0)));
    }

    pub(super) fn fate(&self, ticket: Ticket) -> Option<Fate> {
        self.fates.get(&ticket).map(|(_, fate)| *fate)
    }

    /// Returns the connection that a ticket was served.
    pub(super) fn conn(&self, ticket: Ticket) -> ConnId {
        match self.fate(ticket) {
            Some(Fate::Served(conn)) => conn,
            other => panic!("{other:?}"),
        }
    }

    /// Asks, with all openings going well, and returns the connection that is served.
    pub(super) fn serve(&mut self, key: IsolationKey) -> ConnId {
        let ticket = self.want(key);
        self.open_all(|_| None);
        let conn = self.conn(ticket);
        self.release(ticket);
        conn
    }

    pub(super) fn opened(&mut self, conn: ConnId) {
        self.opening.retain(|it| *it != conn);
        self.seen.get_mut(&conn).unwrap().open = true;
        self.alive.insert(conn);
        self.step(PoolEvent::Opened(conn));
    }

    pub(super) fn barred(&mut self, conn: ConnId) {
        self.opening.retain(|it| *it != conn);
        let seen = self.seen.get_mut(&conn).unwrap();
        (seen.open, seen.barred) = (true, true);
        self.alive.insert(conn);
        self.step(PoolEvent::Barred(conn));
    }

    pub(super) fn failed(&mut self, conn: ConnId, trouble: FailureKind) {
        self.opening.retain(|it| *it != conn);
        self.seen.get_mut(&conn).unwrap().over = Some(self.now);
        self.step(PoolEvent::OpenFailed(conn, trouble));
    }

    pub(super) fn closed(&mut self, conn: ConnId, trouble: FailureKind) {
        self.seen.get_mut(&conn).unwrap().over = Some(self.now);
        self.alive.remove(&conn);
        self.step(PoolEvent::Closed(conn, trouble));
    }

    /// Returns from when until when a server is in doubt.
    pub(super) fn doubted(&self, server: ServerIndex) -> Option<(Moment, Moment)> {
        self.reputation.doubted(server)
    }

    pub(super) fn clean(&self) -> Vec<ConnId> {
        let alive = self.alive.iter().copied();
        alive.filter(|conn| self.seen[conn].is_clean()).collect()
    }

    /// Has all that is being opened come to what `fate` says of its server.
    fn open_all(&mut self, fate: impl Fn(ServerIndex) -> Option<FailureKind>) {
        while let Some(conn) = self.opening.first().copied() {
            match fate(self.seen[&conn].server) {
                None => self.opened(conn),
                Some(trouble) => self.failed(conn, trouble),
            }
        }
    }

    /// Lets time pass up to the next moment that the pool asked for, at most to `end`; says whether it was reached.
    pub(super) fn tick(&mut self, end: Moment) -> bool {
        let at = self.wake_at.unwrap_or(Moment(u64::MAX));
        self.now = at.min(end);
        if at <= end {
            self.step(PoolEvent::Tick);
        }
        at < end
    }

    /// Lets time pass; each opening comes to what `fate` says of its server at once.
    pub(super) fn run(&mut self, time: Duration, fate: impl Fn(ServerIndex) -> Option<FailureKind>) {
        let end = self.now + time;
        loop {
            self.open_all(&fate);
            if !self.tick(end) {
                return;
            }
        }
    }

    /// As [`Self::run`] where all servers are well.
    pub(super) fn run_well(&mut self, time: Duration) {
        self.run(time, |_| None);
    }
}

//! A driver on virtual time that carries the pool's effects out and checks after each of them what must always hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::isolation::{BlindedId, ConnId, IsolationId, IsolationKey};
use crate::net::pool::{FailureKind, Pool, PoolEffect, PoolEvent, PoolSettings, Refusal, ServerIndex, Ticket};
use crate::reputation::ServerReputation;
use crate::time::Moment;

pub(super) const SEED: [u8; 32] = [7; 32];

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

/// What is known of a connection outside the pool.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) server: ServerIndex,
    pub(super) begun: Moment,
    /// It was begun while nobody waited.
    pub(super) unasked: bool,
    pub(super) open: bool,
    pub(super) over: bool,
    /// Whom it was served to; never more than one.
    pub(super) key: Option<IsolationKey>,
}

pub(super) struct Driver {
    pub(super) pool: Pool,
    reputation: ServerReputation,
    pub(super) now: Moment,
    pub(super) settings: PoolSettings,
    pub(super) seen: BTreeMap<ConnId, Seen>,
    pub(super) opening: Vec<ConnId>,
    /// Those that were bound when all was forgotten.
    pub(super) draining: BTreeSet<ConnId>,
    pub(super) fates: BTreeMap<Ticket, (Moment, Fate)>,
    pub(super) asked: BTreeMap<Ticket, (Moment, IsolationKey)>,
    pub(super) released: BTreeSet<Ticket>,
    pub(super) pings: Vec<(Moment, ConnId)>,
    pub(super) forgotten: Vec<BlindedId>,
    pub(super) wake_at: Option<Moment>,
    next_ticket: u64,
}

impl Driver {
    pub(super) fn new(servers: usize, settings: PoolSettings, seed: [u8; 32]) -> Self {
        Self::with_reputation(
            ServerReputation::new(servers, ServerReputation::BACK_OFF),
            settings,
            seed,
        )
    }

    pub(super) fn with_reputation(reputation: ServerReputation, settings: PoolSettings, seed: [u8; 32]) -> Self {
        let mut driver = Self {
            pool: Pool::new(settings, seed),
            reputation,
            now: Moment(1000),
            settings,
            seen: BTreeMap::new(),
            opening: Vec::new(),
            draining: BTreeSet::new(),
            fates: BTreeMap::new(),
            asked: BTreeMap::new(),
            released: BTreeSet::new(),
            pings: Vec::new(),
            forgotten: Vec::new(),
            wake_at: None,
            next_ticket: 0,
        };
        driver.step(PoolEvent::Tick);
        driver
    }

    pub(super) fn step(&mut self, event: PoolEvent) {
        self.wake_at = None;
        for effect in self.pool.on_event(self.now, &mut self.reputation, event) {
            self.carry_out(effect);
        }
        assert!(self.wake_at.is_some_and(|at| at > self.now), "the clock always goes on");
        let counts = self.pool.counts();
        let idle_room = self.settings.max_ids.max(1);
        let busy: BTreeSet<&BlindedId> = self
            .asked
            .iter()
            .filter(|(ticket, _)| !self.released.contains(ticket))
            .map(|(_, (_, key))| &key.id)
            .collect();
        assert!(counts.ids <= idle_room.max(busy.len()), "{counts:?}");
        assert_eq!(counts.waiting, self.unanswered().count());
        let open = self.seen.values().filter(|it| it.open && !it.over).count();
        assert_eq!(counts.clean + counts.dirty + counts.draining, open);
        assert_eq!(counts.opening, self.opening.len());
    }

    fn carry_out(&mut self, effect: PoolEffect) {
        match effect {
            PoolEffect::Open(conn, server) => {
                let unasked = self.unanswered().next().is_none();
                let seen = Seen {
                    server,
                    begun: self.now,
                    unasked,
                    open: false,
                    over: false,
                    key: None,
                };
                assert!(self.seen.insert(conn, seen).is_none(), "a number was used again");
                self.opening.push(conn);
                let unasked = self.opening.iter().filter(|conn| self.seen[conn].unasked);
                assert!(unasked.count() <= 1, "the pool's own openings go one at a time");
            }
            PoolEffect::Ping(conn) => {
                let seen = &self.seen[&conn];
                assert!(
                    seen.open && !seen.over && seen.key.is_none(),
                    "only clean connections are kept alive"
                );
                self.pings.push((self.now, conn));
            }
            PoolEffect::Close(conn) => {
                let seen = self.seen.get_mut(&conn).unwrap();
                assert!(seen.open && !seen.over);
                seen.over = true;
            }
            PoolEffect::Serve(ticket, conn) => {
                let key = self.asked[&ticket].1;
                let seen = self.seen.get_mut(&conn).unwrap();
                assert!(seen.open && !seen.over, "what is served is open");
                assert!(!self.draining.contains(&conn), "what was all forgotten is nobody's");
                let bound = seen.key.get_or_insert(key);
                assert_eq!(*bound, key, "a connection changed hands");
                self.answer(ticket, Fate::Served(conn));
            }
            PoolEffect::Refuse(ticket, refusal) => {
                self.answer(ticket, Fate::Refused(refusal));
                self.released.insert(ticket);
            }
            PoolEffect::Forgotten(id) => {
                let left = self.seen.values().filter(|it| !it.over);
                let left = left
                    .filter(|it| it.key.as_ref().is_some_and(|key| key.id == id))
                    .count();
                let draining = self.pool.counts().draining;
                assert!(
                    left <= draining,
                    "its connections are closed first, or nobody's: {left} {draining}"
                );
                self.forgotten.push(id);
            }
            PoolEffect::WakeAt(at) => self.wake_at = Some(at),
        }
    }

    fn answer(&mut self, ticket: Ticket, fate: Fate) {
        assert!(!self.released.contains(&ticket), "nobody waits for it");
        let before = self.fates.insert(ticket, (self.now, fate));
        assert_eq!(before, None, "a ticket is answered once");
        assert!(self.now.since(self.asked[&ticket].0) <= self.settings.wait);
    }

    /// Returns the tickets that wait for an answer.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = Ticket> {
        let waits = |ticket: &Ticket| !self.fates.contains_key(ticket) && !self.released.contains(ticket);
        self.asked.keys().copied().filter(move |ticket| waits(ticket))
    }

    pub(super) fn want(&mut self, key: IsolationKey) -> Ticket {
        self.want_as(key, false)
    }

    /// As [`Self::want`], at another server than those of the attempts before.
    pub(super) fn want_distinct_server(&mut self, key: IsolationKey) -> Ticket {
        self.want_as(key, true)
    }

    fn want_as(&mut self, key: IsolationKey, distinct_server: bool) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.asked.insert(ticket, (self.now, key));
        self.step(PoolEvent::Acquire {
            ticket,
            key,
            distinct_server,
        });
        ticket
    }

    pub(super) fn release(&mut self, ticket: Ticket) {
        self.released.insert(ticket);
        self.step(PoolEvent::Released(ticket));
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

    /// Asks, and returns the connection that is served at once.
    pub(super) fn serve(&mut self, key: IsolationKey) -> ConnId {
        let ticket = self.want(key);
        let conn = self.conn(ticket);
        self.release(ticket);
        conn
    }

    pub(super) fn opened(&mut self, conn: ConnId) {
        self.opening.retain(|it| *it != conn);
        self.seen.get_mut(&conn).unwrap().open = true;
        self.step(PoolEvent::Opened(conn));
    }

    pub(super) fn failed(&mut self, conn: ConnId, trouble: FailureKind) {
        self.opening.retain(|it| *it != conn);
        self.seen.get_mut(&conn).unwrap().over = true;
        self.step(PoolEvent::OpenFailed(conn, trouble));
    }

    pub(super) fn closed(&mut self, conn: ConnId, trouble: FailureKind) {
        self.seen.get_mut(&conn).unwrap().over = true;
        self.step(PoolEvent::Closed(conn, trouble));
    }

    pub(super) fn forget_all(&mut self) {
        let bound = self.seen.iter().filter(|(_, it)| it.key.is_some());
        self.draining.extend(bound.map(|(conn, _)| *conn));
        self.step(PoolEvent::ForgetAll);
    }

    pub(super) fn clean(&self) -> Vec<ConnId> {
        let clean = self
            .seen
            .iter()
            .filter(|(_, it)| it.open && !it.over && it.key.is_none());
        clean.map(|(conn, _)| *conn).collect()
    }

    /// Lets time pass up to the next moment that the pool asked for, at most to `end`; says whether it was reached.
    pub(super) fn tick(&mut self, end: Moment) -> bool {
        let at = self.wake_at.unwrap();
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
            while let Some(conn) = self.opening.first().copied() {
                match fate(self.seen[&conn].server) {
                    None => self.opened(conn),
                    Some(trouble) => self.failed(conn, trouble),
                }
            }
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

//! All connections of the pool, in the orders in which the machine looks for them.
//!
//! There may be thousands that are bound, and each event of the pool asks which are over: so they stand in the order of their
//! ends. Those that are opened ahead are few, and looked through.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::identities::{IdentityNumber, Owner};
use super::{Clean, Dirty, PoolSettings, ServerIndex};
use crate::isolation::ConnId;
use crate::time::{Moment, random_pause};

/// What chance has for a connection that is opened ahead, from a generator that nothing else draws from.
#[derive(Debug)]
pub(super) struct Fate {
    pub(super) rng: StdRng,
    pub(super) ends_at: Moment,
    pub(super) ping_at: Moment,
    /// Which front may have it.
    pub(super) part: u8,
}

impl Fate {
    pub(super) fn draw(mut rng: StdRng, now: Moment, settings: &PoolSettings) -> Self {
        Self {
            ends_at: now + random_pause(settings.clean_life, &mut rng),
            ping_at: now + random_pause(settings.keep_alive_mean, &mut rng),
            part: rng.random_range(0..settings.parts.max(1)),
            rng,
        }
    }

    /// Draws anew what was slept through: neither lives nor pings have a memory.
    pub(super) fn skip_to(&mut self, now: Moment, settings: &PoolSettings) {
        if self.ends_at <= now {
            self.ends_at = now + random_pause(settings.clean_life, &mut self.rng);
        }
        if self.ping_at <= now {
            self.ping_at = now + random_pause(settings.keep_alive_mean, &mut self.rng);
        }
    }
}

#[derive(Debug)]
pub(super) enum State {
    /// Being opened ahead, by the clock.
    Opening(Fate),
    /// Being opened for one attempt of one identity.
    Own(Owner),
    Clean(Clean, Fate),
    /// Nobody's, for a wrong certificate, though it looks as if it were clean.
    Barred(Fate),
    Dirty {
        dirty: Dirty,
        /// How long it may be idle on the wire.
        idle: Duration,
        ends_at: Moment,
    },
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) server: ServerIndex,
    pub(super) state: State,
}

/// Those that are there, or being opened.
#[derive(Debug, Default)]
pub(super) struct Connections {
    all: BTreeMap<ConnId, Connection>,
    /// Those that are opened ahead.
    ahead: BTreeSet<ConnId>,
    /// Those that are being opened for an attempt.
    own: BTreeSet<(Owner, ConnId)>,
    /// Those that are bound, by their ends.
    ends: BTreeSet<(Moment, ConnId)>,
    /// How many are bound to each identity.
    bound: BTreeMap<IdentityNumber, usize>,
}

impl Connections {
    pub(super) fn get(&self, conn: ConnId) -> Option<&Connection> {
        self.all.get(&conn)
    }

    pub(super) fn insert(&mut self, conn: ConnId, connection: Connection) {
        match &connection.state {
            State::Opening(_) | State::Clean(..) | State::Barred(_) => drop(self.ahead.insert(conn)),
            State::Own(owner) => drop(self.own.insert((*owner, conn))),
            State::Dirty { dirty, ends_at, .. } => {
                self.ends.insert((*ends_at, conn));
                *self.bound.entry(dirty.owner.identity).or_default() += 1;
            }
        }
        self.all.insert(conn, connection);
    }

    pub(super) fn remove(&mut self, conn: ConnId) -> Option<Connection> {
        let connection = self.all.remove(&conn)?;
        match &connection.state {
            State::Opening(_) | State::Clean(..) | State::Barred(_) => drop(self.ahead.remove(&conn)),
            State::Own(owner) => drop(self.own.remove(&(*owner, conn))),
            State::Dirty { dirty, ends_at, .. } => {
                self.ends.remove(&(*ends_at, conn));
                let identity = dirty.owner.identity;
                let left = self.bound(identity).saturating_sub(1);
                if left > 0 {
                    self.bound.insert(identity, left);
                } else {
                    self.bound.remove(&identity);
                }
            }
        }
        Some(connection)
    }

    /// Has a bound connection end at another moment: `until` is told for how long it may be idle.
    pub(super) fn put_off(&mut self, conn: ConnId, until: impl FnOnce(Duration) -> Moment) {
        if let Some(connection) = self.all.get_mut(&conn)
            && let State::Dirty { idle, ends_at, .. } = &mut connection.state
        {
            self.ends.remove(&(*ends_at, conn));
            *ends_at = until(*idle);
            self.ends.insert((*ends_at, conn));
        }
    }

    /// Returns those that are opened ahead, by their numbers.
    pub(super) fn ahead(&self) -> impl Iterator<Item = (ConnId, &Connection)> {
        self.ahead.iter().filter_map(|conn| Some((*conn, self.all.get(conn)?)))
    }

    /// Returns how many are opened ahead.
    pub(super) fn ahead_len(&self) -> usize {
        self.ahead.len()
    }

    /// Does something with what chance has for each that is opened ahead; it is told whether the connection is open.
    pub(super) fn for_each_fate(&mut self, mut work: impl FnMut(ConnId, &mut Fate, bool)) {
        for conn in &self.ahead {
            match self.all.get_mut(conn).map(|it| &mut it.state) {
                Some(State::Clean(_, fate) | State::Barred(fate)) => work(*conn, fate, true),
                Some(State::Opening(fate)) => work(*conn, fate, false),
                Some(State::Own(_) | State::Dirty { .. }) | None => {}
            }
        }
    }

    /// Returns the servers that are being connected to for an identity.
    pub(super) fn servers_opening_for(&self, identity: IdentityNumber) -> impl Iterator<Item = ServerIndex> {
        let first = Owner { identity, attempt: 0 };
        let own = self.own.range((first, ConnId(0))..);
        let own = own.take_while(move |(owner, _)| owner.identity == identity);
        own.filter_map(|(_, conn)| Some(self.all.get(conn)?.server))
    }

    /// Returns how many are being opened for one attempt.
    pub(super) fn openings_of(&self, owner: Owner) -> usize {
        let own = self.own.range((owner, ConnId(0))..);
        own.take_while(|(it, _)| *it == owner).count()
    }

    /// Returns how many are being opened for attempts.
    pub(super) fn own_len(&self) -> usize {
        self.own.len()
    }

    /// Returns those that are over, by their numbers.
    pub(super) fn over(&self, now: Moment) -> BTreeSet<ConnId> {
        let bound = self.ends.iter().take_while(|(at, _)| *at <= now);
        let ahead = self.ahead().filter(|(_, it)| match &it.state {
            State::Clean(_, fate) | State::Barred(fate) => fate.ends_at <= now,
            _ => false,
        });
        let ahead = ahead.map(|(conn, _)| conn);
        bound.map(|(_, conn)| *conn).chain(ahead).collect()
    }

    /// Returns the bound ones that are over, by their numbers.
    pub(super) fn bound_over(&self, now: Moment) -> BTreeSet<ConnId> {
        let over = self.ends.iter().take_while(|(at, _)| *at <= now);
        over.map(|(_, conn)| *conn).collect()
    }

    /// Returns the next moment at which anything is due.
    pub(super) fn next_moment(&self) -> Option<Moment> {
        let ahead = self.ahead().filter_map(|(_, it)| match &it.state {
            State::Clean(_, fate) | State::Barred(fate) => Some(fate.ping_at.min(fate.ends_at)),
            _ => None,
        });
        ahead.chain(self.ends.first().map(|(at, _)| *at)).min()
    }

    /// Returns how many are bound to an identity, whether it has them still or not.
    pub(super) fn bound(&self, identity: IdentityNumber) -> usize {
        self.bound.get(&identity).copied().unwrap_or_default()
    }

    /// Returns how many are bound.
    pub(super) fn bound_len(&self) -> usize {
        self.ends.len()
    }
}

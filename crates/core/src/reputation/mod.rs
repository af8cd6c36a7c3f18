//! What is known of the servers, and what follows from it: who is tried, when, and in which order. Pure, and in memory
//! only: it is gone with the process.
//!
//! Header sync, the pool of lookups' connections and the lookups write down what they see of a server, each as evidence
//! of its own, and ask here whom to try:
//!
//! | who | writes | reads |
//! |---|---|---|
//! | header sync | [`SyncEvidence`] | [`SyncReputation`] |
//! | lookups and their pool | [`Evidence`] | [`ServerReputation::next_try`], [`ServerReputation::choose`] |
//!
//! The bound of it is the principle of stream isolation: what reaches the wire under one isolation ID must not depend on
//! what happened under another one. Header sync runs under no ID, and its connections are seen by the same servers as
//! the lookups'. So **header sync acts on header sync's own evidence only**; it is handed a [`SyncReputation`], in which
//! there is no other. The pool and the lookups may read what header sync found, and what they found themselves. None of
//! it closes a connection that somebody has: it weighs which server the next one leads to, and when. And whatever the
//! evidence says, there is always a server to try again some time: whoever sits between us and a server can make it look
//! as bad as it likes.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;

use crate::backoff::{Backoff, shortened};
use crate::time::Moment;

/// The place of a server in the list that a node was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerIndex(pub usize);

/// How a connection could not be opened or came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The server could not be reached, or closed: try again later.
    Unreachable,
    /// The proxy can't be used: no server's fault, and no server can be reached.
    NoWayOut,
    /// The server is of no use to anybody for now: another network, a broken protocol, a lie.
    Useless,
}

/// What the pool and the lookups see of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A connection for lookups was opened, its handshake done.
    Opened,
    /// A connection for lookups could not be opened, or broke the protocol.
    Failed(FailureKind),
    /// The server gave a lookup something that a rule proves to be false.
    Lied,
}

/// What header sync sees of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncEvidence {
    /// A connection is being opened.
    Dialed,
    /// It brought headers that we didn't have.
    Useful,
    /// Its last connection ended, or could not be opened, without fault: it is left alone for so long.
    Ended(Backoff),
    /// It has had enough of us: it is left alone for so long.
    RateLimited(Backoff),
    /// A connection that was wanted beside another one could not be opened: one is enough to know the server by.
    ExtraDialFailed,
    /// The connection that ended had cost the server enough: a fresh one may take its place at once.
    Rested,
    /// It broke a rule: it is banned for the rest of this run.
    Faulty,
    /// How a sync went with it that asked it.
    Result {
        /// Whether it could be used and broke no rule.
        usable: bool,
        /// How many blocks the tip that it claims lies below ours; `None` when it claims none.
        lag: Option<u32>,
    },
}

/// How many blocks a server's tip may lie below ours for it to count as good: a new block takes a while to reach all.
const MAX_LAG: u32 = 1;

/// The pause before another connection to a server is tried beside one that is there, when the last try failed.
const EXTRA_PAUSE: Duration = Duration::from_secs(30);

/// After this a server that failed as often as it may is tried again: a sync that goes on for weeks outlives outages.
pub const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// What header sync knows of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SyncRecord {
    /// Dials since it was last of use.
    dials: u32,
    /// Not to be dialed before, when it has no connection.
    not_before: Moment,
    /// Not to be dialed before for one more connection beside another one.
    extra_not_before: Moment,
    is_banned: bool,
    /// Whether the last sync that asked it got on with it and it knows the newest blocks; `None` before.
    is_good: Option<bool>,
}

/// What header sync knows of the servers: its own evidence and nothing else.
#[derive(Clone, Debug)]
pub struct SyncReputation(Vec<SyncRecord>);

impl SyncReputation {
    /// Makes the reputation of so many servers, of which nothing is known.
    pub fn new(servers: usize) -> Self {
        Self(vec![SyncRecord::default(); servers])
    }

    /// Returns how many servers there are.
    pub fn servers(&self) -> usize {
        self.0.len()
    }

    /// Has every server tried anew, those banned too: header sync begins once more after no server was left. What lookups
    /// read, how the last sync went, stays as it is until the next one ends.
    pub fn begin(&mut self) {
        for record in &mut self.0 {
            *record = SyncRecord {
                is_good: record.is_good,
                ..SyncRecord::default()
            };
        }
    }

    /// Takes down what header sync saw of a server.
    pub fn record(&mut self, now: Moment, server: ServerIndex, evidence: SyncEvidence) {
        let Some(record) = self.0.get_mut(server.0) else {
            return;
        };
        match evidence {
            SyncEvidence::Dialed => {
                if record.is_forgiven(now) {
                    record.dials = 0;
                }
                record.dials = record.dials.saturating_add(1);
            }
            SyncEvidence::Useful => record.dials = 0,
            SyncEvidence::Ended(back_off) => record.not_before = now + back_off.pause(record.dials),
            SyncEvidence::RateLimited(back_off) => {
                record.not_before = now + back_off.pause(record.dials);
                record.extra_not_before = record.not_before;
            }
            SyncEvidence::ExtraDialFailed => record.extra_not_before = now + EXTRA_PAUSE,
            SyncEvidence::Rested => record.not_before = now,
            SyncEvidence::Faulty => record.is_banned = true,
            SyncEvidence::Result { usable, lag } => {
                record.is_good = Some(usable && lag.is_some_and(|lag| lag <= MAX_LAG));
            }
        }
    }

    fn get(&self, server: ServerIndex) -> SyncRecord {
        self.0.get(server.0).copied().unwrap_or_default()
    }

    /// Says whether header sync banned a server: it broke a rule in this run.
    pub fn is_banned(&self, server: ServerIndex) -> bool {
        self.get(server).is_banned
    }

    /// Returns how often a server was dialed since it was last of use.
    pub fn dials(&self, server: ServerIndex) -> u32 {
        self.get(server).dials
    }

    /// Says whether a server may be dialed now or later: it is not banned, and was dialed fewer than so many times since it
    /// was last of use, or so long ago that this tells nothing any more.
    pub fn may_be_dialed(&self, server: ServerIndex, dials: u32, now: Moment) -> bool {
        let record = self.get(server);
        !record.is_banned && (record.dials < dials || record.is_forgiven(now))
    }

    /// Returns the moment before which a server is left alone that has no connection.
    pub fn not_before(&self, server: ServerIndex) -> Moment {
        self.get(server).not_before
    }

    /// Returns the moment before which a server is left alone that has a connection already.
    pub fn extra_not_before(&self, server: ServerIndex) -> Moment {
        self.get(server).extra_not_before
    }
}

impl SyncRecord {
    /// Says whether its failures are so old that they tell nothing any more.
    fn is_forgiven(&self, now: Moment) -> bool {
        now >= self.not_before + FORGIVEN_AFTER
    }
}

/// How many connections that are ready a failing server's past weighs at most, when the next one is spread: it is tried
/// again, but not before the others have theirs.
const MOST_WEIGHT: u32 = 2;

/// How many connections that are ready it weighs that header sync did not get on with a server, or that it lags: the
/// first one is spread to others, where there are any.
const NOT_GOOD_WEIGHT: usize = 1;

/// How long a server that lied is the last resort. Not for ever: who sits between us and it could make it look so, and
/// would have us ask nobody else in the end.
const DISTRUST: Duration = Duration::from_secs(30 * 60);

/// The pause before a server that could not be reached is tried again while a lookup waits for it: no back-off is to
/// keep people from a server that is back, and a server that is down costs them a short wait only.
const URGENT_REST: Duration = Duration::from_secs(3);

/// What lookups and their connections know of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LookupRecord {
    failures: u32,
    /// Not to be tried before, by the pool's own clock.
    not_before: Moment,
    /// Not to be tried before, for a lookup that waits.
    not_urgently_before: Moment,
    /// Until when it is the last resort, since it lied.
    distrusted_until: Moment,
}

impl LookupRecord {
    fn not_before(&self, urgent: bool) -> Moment {
        if urgent {
            self.not_urgently_before
        } else {
            self.not_before
        }
    }
}

/// What is known of all servers.
#[derive(Clone, Debug)]
pub struct ServerReputation {
    sync: SyncReputation,
    lookups: Vec<LookupRecord>,
    back_off: Backoff,
}

impl ServerReputation {
    /// The pauses before a server is tried again that a lookup's connection could not be opened to.
    pub const BACK_OFF: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(300));

    /// Makes the reputation of so many servers, of which nothing is known; for lookups, failing ones are left alone as
    /// the back-off says.
    pub fn new(servers: usize, back_off: Backoff) -> Self {
        Self {
            sync: SyncReputation::new(servers),
            lookups: vec![LookupRecord::default(); servers],
            back_off,
        }
    }

    /// Returns what header sync knows: all that header sync itself is given.
    pub fn header_sync(&self) -> &SyncReputation {
        &self.sync
    }

    /// As [`Self::header_sync`], to take down what it sees.
    pub fn header_sync_mut(&mut self) -> &mut SyncReputation {
        &mut self.sync
    }

    /// Takes down what a lookup or its connection saw of a server.
    ///
    /// After a failure the server is left alone for a while that doubles each time and is cut at random, so that
    /// servers that failed together don't come back together. One that is of no use is left alone for the longest
    /// time, but not for ever: who sits between us and it could make it look so. That there is no way out is held
    /// against nobody.
    pub fn record(&mut self, now: Moment, server: ServerIndex, evidence: Evidence, rng: &mut impl Rng) {
        let back_off = self.back_off;
        let Some(record) = self.lookups.get_mut(server.0) else {
            return;
        };
        match evidence {
            Evidence::Opened => {
                *record = LookupRecord {
                    // A connection is no proof of honesty.
                    distrusted_until: record.distrusted_until,
                    ..LookupRecord::default()
                };
            }
            Evidence::Failed(FailureKind::NoWayOut) => {}
            Evidence::Failed(FailureKind::Useless) | Evidence::Lied => {
                if evidence == Evidence::Lied {
                    record.distrusted_until = now + DISTRUST;
                }
                record.failures = record.failures.saturating_add(1);
                record.not_before = now + shortened(back_off.longest, rng);
                record.not_urgently_before = record.not_before;
            }
            Evidence::Failed(FailureKind::Unreachable) => {
                // Connections that were under way together fail together: that is one failure. What was tried for a
                // lookup before its time says nothing new either.
                if record.not_before <= now {
                    record.not_before = now + back_off.random_pause(record.failures, rng);
                    record.failures = record.failures.saturating_add(1);
                }
                let urgent = (now + shortened(URGENT_REST, rng)).max(record.not_urgently_before);
                record.not_urgently_before = urgent.min(record.not_before);
            }
        }
    }

    fn others(&self, avoided: &BTreeSet<ServerIndex>) -> impl Iterator<Item = (ServerIndex, &LookupRecord)> {
        let all = self.lookups.iter().enumerate();
        let all = all.map(|(at, record)| (ServerIndex(at), record));
        all.filter(|(server, _)| !avoided.contains(server))
    }

    /// Returns the earliest moment at which another server than the avoided ones may be tried, which may be past; `None`
    /// when there is none. It is urgent when a lookup waits for the connection.
    pub fn next_try(&self, urgent: bool, avoided: &BTreeSet<ServerIndex>) -> Option<Moment> {
        self.others(avoided).map(|(_, record)| record.not_before(urgent)).min()
    }

    /// Chooses among the servers that may be tried now the one with the least `load`, by chance among equals. One that
    /// fails, or that header sync did not get on with, weighs as if it had more of it. One that may only be tried for a
    /// lookup comes after all of these, and one that lied after all others.
    pub fn choose(
        &self,
        now: Moment,
        urgent: bool,
        avoided: &BTreeSet<ServerIndex>,
        load: impl Fn(ServerIndex) -> usize,
        rng: &mut impl Rng,
    ) -> Option<ServerIndex> {
        let ready = self
            .others(avoided)
            .filter(|(_, record)| record.not_before(urgent) <= now);
        let ranked = ready.map(|(server, record)| {
            let is_liar = record.distrusted_until > now;
            let is_urgent_only = record.not_before > now;
            let failures = record.failures.min(MOST_WEIGHT) as usize;
            let not_good = usize::from(self.sync.get(server).is_good == Some(false)) * NOT_GOOD_WEIGHT;
            let weight = load(server) + failures + not_good;
            ((is_liar, is_urgent_only, weight, rng.random::<u32>()), server)
        });
        ranked.min().map(|(_, server)| server)
    }
}

#[cfg(test)]
mod tests;

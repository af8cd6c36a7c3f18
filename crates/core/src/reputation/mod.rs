//! What is known of the servers, and what follows from it: who is tried, when, and in which order. Pure, and in memory
//! only: it is gone with the process.
//!
//! Header sync, the pool of lookups' connections and the lookups write down what they see of a server, each as evidence
//! of its own, and ask here whom to try:
//!
//! | who | writes | reads |
//! |---|---|---|
//! | header sync | [`SyncEvidence`] | [`SyncReputation`] |
//! | lookups and their pool, and header sync once for each of its rounds | [`Evidence`] | [`ServerReputation::choose`] |
//!
//! The bound of it is the principle of stream isolation: what reaches the wire under one isolation ID must not depend on
//! what happened under another one, nor on what a server did to one connection. Header sync runs under no ID, and its
//! connections are seen by the same servers as the lookups'. So **header sync acts on header sync's own evidence only**; it
//! is handed a [`SyncReputation`], in which there is no other. For lookups the evidence of one circuit counts for nothing:
//! only after several does it weigh which servers later connections lead to, from a random moment on and for a random time.
//! None of it closes a connection or delays one. And whatever the evidence says, there is always a server to try: whoever
//! sits between us and a server can make it look as bad as it likes.

mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::Rng;

pub use self::way::{LEAST_REPLY, ServerWay};

use crate::backoff::Backoff;
use crate::time::{Moment, random_pause};

/// The place of a server in a node's list: those that it was made with, and behind them those that it learned of.
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

/// What one circuit shows of a server, which later lookups may go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A connection for lookups was opened, its handshake done.
    Opened,
    /// A connection for lookups could not be opened, or broke the protocol.
    Failed(FailureKind),
    /// The server gave a lookup something that a rule proves to be false.
    Lied,
    /// Header sync could not use it in its last round, or its tip lies below ours: it can only answer with what once was
    /// true.
    Unfit,
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
    /// It is of no use as it is, by a fault that may pass: it is left alone for long.
    Unready,
}

/// The pause before another connection to a server is tried beside one that is there, when the last try failed.
const EXTRA_PAUSE: Duration = Duration::from_secs(30);

/// A server that brought a byte of what it was asked for within this time is not given up.
pub const GIVEN_UP_AFTER: Duration = Duration::from_secs(120);

/// After this a server that failed as often as it may is tried again: a sync that goes on for weeks outlives outages.
pub const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// For so long a server is left alone that is of no use as it is: one that indexes its chain anew takes hours.
pub const UNREADY_FOR: Duration = Duration::from_secs(3600);

/// What header sync knows of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SyncRecord {
    /// Dials since it was last of use.
    dials: u32,
    /// Not to be dialed before, when it has no connection.
    not_before: Moment,
    /// Not to be dialed before for one more connection beside another one.
    extra_not_before: Moment,
    /// When it last brought a byte of a reply, or of what may become one.
    last_byte: Option<Moment>,
    /// Not to be dialed at all before, whatever else is known of it.
    banned_until: Moment,
    /// Whether nobody uses it any more.
    is_parted: bool,
    way: ServerWay,
}

/// What header sync knows of the servers: its own evidence and nothing else.
#[derive(Clone, Debug)]
pub struct SyncReputation {
    records: Vec<SyncRecord>,
    /// Samples of headers that were drawn in this process, for whichever server.
    draws: u64,
}

impl SyncReputation {
    /// Makes the reputation of so many servers, of which nothing is known.
    pub fn new(servers: usize) -> Self {
        Self {
            records: vec![SyncRecord::default(); servers],
            draws: 0,
        }
    }

    /// Returns how many servers there are.
    pub fn servers(&self) -> usize {
        self.records.len()
    }

    /// Has every server tried anew, those banned too: header sync begins once more after no server was left. How the
    /// way to each was stays known, and samples are not forgotten: each one that was drawn is a try that somebody had.
    pub fn begin(&mut self) {
        for record in &mut self.records {
            *record = SyncRecord {
                way: record.way,
                is_parted: record.is_parted,
                ..SyncRecord::default()
            };
        }
    }

    /// Returns what is known of the way to a server.
    pub fn way(&self, server: ServerIndex) -> ServerWay {
        self.get(server).way
    }

    /// Returns the same, to add to it; `None` for a server that there is not.
    pub fn way_mut(&mut self, server: ServerIndex) -> Option<&mut ServerWay> {
        Some(&mut self.records.get_mut(server.0)?.way)
    }

    /// Takes down that a server brought bytes of what it was asked for.
    pub fn note_bytes(&mut self, now: Moment, server: ServerIndex) {
        if let Some(record) = self.records.get_mut(server.0) {
            record.last_byte = Some(now);
        }
    }

    /// Returns when a server that brought a byte lately counts as given up without a further one.
    pub fn given_up_at(&self, server: ServerIndex) -> Option<Moment> {
        Some(self.get(server).last_byte? + GIVEN_UP_AFTER)
    }

    /// Takes down what header sync saw of a server.
    pub fn record(&mut self, now: Moment, server: ServerIndex, evidence: SyncEvidence) {
        let Some(record) = self.records.get_mut(server.0) else {
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
            SyncEvidence::Faulty => record.banned_until = Moment(u64::MAX),
            SyncEvidence::Unready => {
                record.dials = 0;
                record.not_before = now + UNREADY_FOR;
                record.banned_until = record.banned_until.max(record.not_before);
            }
        }
    }

    fn get(&self, server: ServerIndex) -> SyncRecord {
        self.records.get(server.0).copied().unwrap_or_default()
    }

    /// Takes down that a sample of headers is drawn, and returns how many were before it.
    pub fn count_draw(&mut self) -> u64 {
        let before = self.draws;
        self.draws = before.saturating_add(1);
        before
    }

    /// Says whether header sync has banned a server, for this run or for a while.
    pub fn is_banned(&self, server: ServerIndex, now: Moment) -> bool {
        let record = self.get(server);
        record.is_parted || now < record.banned_until
    }

    /// Says whether nobody uses a server any more.
    pub fn is_parted(&self, server: ServerIndex) -> bool {
        self.get(server).is_parted
    }

    /// Returns how often a server was dialed since it was last of use.
    pub fn dials(&self, server: ServerIndex) -> u32 {
        self.get(server).dials
    }

    /// Says whether a server may be dialed now or later: it is not banned, and was dialed fewer than so many times since it
    /// was last of use, or so long ago that this tells nothing any more, or brings bytes, if nothing whole.
    pub fn may_be_dialed(&self, server: ServerIndex, dials: u32, now: Moment) -> bool {
        let record = self.get(server);
        let brings_bytes = self.given_up_at(server).is_some_and(|at| now < at);
        !self.is_banned(server, now) && (record.dials < dials || record.is_forgiven(now) || brings_bytes)
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

/// Circuits that must have seen a server fail, without one that saw it well in between, before it is doubted: a server can do
/// anything to one of them, to see who else learns of it.
const CIRCUITS: u32 = 3;

/// Mean time from enough evidence until it acts: nothing that a server does shows in our choices at once.
const DOUBT_PAUSE: Duration = Duration::from_secs(180);

/// Mean time for which a server is doubted, the first time and at most. Not for ever: who sits between us and it could make
/// it look so, and would have us ask nobody else in the end.
const DOUBT: Backoff = Backoff::new(Duration::from_secs(600), Duration::from_secs(4 * 3600));

/// Lies that are so far apart are not added up.
const FAULTS_APART: Duration = Duration::from_secs(6 * 3600);

/// How much less often than another one a server is chosen that is doubted, or in whose place another one is preferred.
const DOUBTED_SHARE: u32 = 16;

/// What lookups and their connections know of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LookupRecord {
    /// Circuits in a row that could not be opened.
    failures: u32,
    /// Lies and what else makes it useless, each over a circuit of its own.
    faults: u32,
    last_fault: Moment,
    /// How often it was doubted in a row.
    doubts: u32,
    /// From when until when it is chosen less often.
    doubted: Option<(Moment, Moment)>,
    /// Whether that is for its faults.
    is_at_fault: bool,
}

impl LookupRecord {
    /// Doubts the server from a random moment on, for a random time that grows with each time in a row.
    fn doubt(&mut self, now: Moment, rng: &mut impl Rng) {
        let is_at_fault = self.faults >= CIRCUITS;
        (self.failures, self.faults) = (0, 0);
        if self.doubted.is_some_and(|(_, until)| until > now) {
            self.is_at_fault |= is_at_fault;
            return;
        }
        self.is_at_fault = is_at_fault;
        let from = now + random_pause(DOUBT_PAUSE, rng);
        self.doubted = Some((from, from + random_pause(DOUBT.pause(self.doubts), rng)));
        self.doubts = self.doubts.saturating_add(1);
    }

    fn is_doubted(&self, now: Moment) -> bool {
        self.doubted.is_some_and(|(from, until)| from <= now && now < until)
    }
}

/// What is known of all servers.
#[derive(Clone, Debug)]
pub struct ServerReputation {
    /// Who runs each: servers with equal numbers have one operator, and count as one.
    operators: Vec<usize>,
    sync: SyncReputation,
    lookups: Vec<LookupRecord>,
    /// Those that lookups may use.
    admitted: BTreeSet<ServerIndex>,
    /// Those in whose place another one of the same operator is preferred.
    behind: BTreeMap<ServerIndex, ServerIndex>,
}

/// The operator of all servers that were learned, as far as they are of none that is known: they cost nothing to whoever
/// wants many, so together they are one voice.
pub const STRANGERS: usize = usize::MAX;

impl ServerReputation {
    /// Makes the reputation of so many servers, of which nothing is known, each of an operator of its own.
    pub fn new(servers: usize) -> Self {
        Self::of_operators((0..servers).collect())
    }

    /// Makes the reputation of servers of which nothing is known but who runs each.
    pub fn of_operators(operators: Vec<usize>) -> Self {
        let servers = operators.len();
        Self {
            operators,
            sync: SyncReputation::new(servers),
            lookups: vec![LookupRecord::default(); servers],
            admitted: (0..servers).map(ServerIndex).collect(),
            behind: BTreeMap::new(),
        }
    }

    /// Adds a server behind the others, for header sync alone.
    pub fn add(&mut self, operator: usize) -> ServerIndex {
        let server = ServerIndex(self.operators.len());
        self.operators.push(operator);
        self.sync.records.push(SyncRecord::default());
        self.lookups.push(LookupRecord::default());
        server
    }

    /// Has the servers be run by these from now on, and in the place of some of them another one of the same operator
    /// preferred, while that is not in doubt.
    pub fn regroup(&mut self, operators: &[usize], behind: BTreeMap<ServerIndex, ServerIndex>) {
        for (known, new) in self.operators.iter_mut().zip(operators) {
            *known = *new;
        }
        self.behind = behind;
    }

    /// Lets lookups use a server from now on.
    pub fn admit(&mut self, server: ServerIndex) {
        if server.0 < self.lookups.len() {
            self.admitted.insert(server);
        }
    }

    /// Has nobody use a server any more. Its place stays, so that all others keep theirs.
    pub fn part(&mut self, server: ServerIndex) {
        self.admitted.remove(&server);
        if let Some(record) = self.sync.records.get_mut(server.0) {
            record.is_parted = true;
        }
    }

    /// Says whether lookups may use a server.
    pub fn is_admitted(&self, server: ServerIndex) -> bool {
        self.admitted.contains(&server)
    }

    /// Returns the number of a server's operator, who has one voice with all of his servers.
    pub fn operator(&self, server: ServerIndex) -> Option<usize> {
        self.operators.get(server.0).copied()
    }

    /// Returns how many operators there are of servers that lookups may use.
    pub fn operators(&self) -> usize {
        let admitted = self.admitted.iter().filter_map(|it| self.operator(*it));
        admitted.collect::<BTreeSet<_>>().len()
    }

    /// Returns some servers, and with each all others of its operator.
    pub fn with_siblings(&self, servers: &BTreeSet<ServerIndex>) -> BTreeSet<ServerIndex> {
        let operators: BTreeSet<_> = servers.iter().filter_map(|it| self.operator(*it)).collect();
        let all = self.operators.iter().enumerate();
        all.filter(|(_, operator)| operators.contains(operator))
            .map(|(at, _)| ServerIndex(at))
            .collect()
    }

    /// Returns what header sync knows: all that header sync itself is given.
    pub fn header_sync(&self) -> &SyncReputation {
        &self.sync
    }

    /// As [`Self::header_sync`], to take down what it sees.
    pub fn header_sync_mut(&mut self) -> &mut SyncReputation {
        &mut self.sync
    }

    /// Takes down what one circuit saw of a server: an own one of an identity, one that was opened ahead, or one of header
    /// sync.
    ///
    /// One circuit alone changes nothing. After several in a row that failed, or several faults within hours, the server is
    /// doubted: from a random moment on it is chosen less often, for a random time. One that could not be reached and is
    /// seen well again is trusted again after as random a time. That there is no way out is held against nobody.
    pub fn record(&mut self, now: Moment, server: ServerIndex, evidence: Evidence, rng: &mut impl Rng) {
        let Some(record) = self.lookups.get_mut(server.0) else {
            return;
        };
        match evidence {
            Evidence::Opened => {
                record.failures = 0;
                // A connection is no proof of honesty.
                if !record.is_at_fault
                    && let Some((_, until)) = &mut record.doubted
                {
                    *until = (*until).min(now + random_pause(DOUBT_PAUSE, rng));
                }
                if record.doubted.is_none_or(|(_, until)| now.since(until) > DOUBT.longest) {
                    record.doubts = 0;
                }
            }
            Evidence::Failed(FailureKind::NoWayOut) => {}
            Evidence::Failed(FailureKind::Unreachable) => {
                record.failures = record.failures.saturating_add(1);
            }
            // It may be reached all the time, so these need not follow each other.
            Evidence::Failed(FailureKind::Useless) | Evidence::Lied | Evidence::Unfit => {
                if now.since(record.last_fault) > FAULTS_APART {
                    record.faults = 0;
                }
                record.faults = record.faults.saturating_add(1);
                record.last_fault = now;
            }
        }
        if record.failures >= CIRCUITS || record.faults >= CIRCUITS {
            record.doubt(now, rng);
        }
    }

    /// Returns from when until when a server is chosen less often, if it was found wanting.
    pub fn doubted(&self, server: ServerIndex) -> Option<(Moment, Moment)> {
        self.lookups.get(server.0)?.doubted
    }

    /// Says whether a server is in doubt now.
    pub fn is_doubted(&self, now: Moment, server: ServerIndex) -> bool {
        self.lookups.get(server.0).is_some_and(|record| record.is_doubted(now))
    }

    /// Chooses among the servers that lookups may use, but those to avoid, at random: all have the same chance, those in doubt
    /// or with another one in their place a small one. There is always one to try, unless all are to be avoided. Takes one number from the generator, whatever is known.
    pub fn choose(&self, now: Moment, avoided: &BTreeSet<ServerIndex>, rng: &mut impl Rng) -> Option<ServerIndex> {
        let chance: u64 = rng.random();
        let all = self.lookups.iter().enumerate();
        let is_allowed = |server: &ServerIndex| self.is_admitted(*server) && !avoided.contains(server);
        let has_better = |server: ServerIndex| {
            let better = self.behind.get(&server);
            better.is_some_and(|it| is_allowed(it) && !self.is_doubted(now, *it))
        };
        let allowed = all.filter(|(at, _)| is_allowed(&ServerIndex(*at)));
        let weighed = allowed.map(|(at, record)| {
            let is_last = record.is_doubted(now) || has_better(ServerIndex(at));
            let weight = if is_last { 1 } else { DOUBTED_SHARE };
            (ServerIndex(at), u64::from(weight))
        });
        let weighed: Vec<(ServerIndex, u64)> = weighed.collect();
        let total: u64 = weighed.iter().map(|(_, weight)| weight).sum();
        // The bias is below the number of servers over 2^60.
        let mut rest = chance.checked_rem(total)?;
        let chosen = weighed.into_iter().find(|(_, weight)| {
            let is_here = rest < *weight;
            rest = rest.saturating_sub(*weight);
            is_here
        });
        chosen.map(|(server, _)| server)
    }
}

#[cfg(test)]
mod tests;

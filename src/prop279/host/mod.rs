//! The side that asks a plugin, as a machine without I/O: it also says when the plugin's process is started and ended.
//!
//! Every query is answered exactly once within [`PATIENCE`], whatever the plugin writes, unless it is cancelled. The
//! process is started when a query needs it, and ended when it writes nothing that makes sense; after that it is not
//! started again for a while, and for twice as long each time.
//!
//! # Phases of the process
//!
//! | phase | what happens | next phase | effects |
//! | --- | --- | --- | --- |
//! | down | its rest is over, and a query is open | starting | [`Start`](HostEffect::Start) |
//! | starting | `INIT 1 0` | ready | [`Write`](HostEffect::Write) for each open query |
//! | starting | another `INIT`, [`START`] is over, or too many lines without a meaning | down | [`Kill`](HostEffect::Kill), and [`Answer`](HostEffect::Answer) for each open query |
//! | starting | the process exits | down | `Answer` for each open query |
//! | ready | too many lines without a meaning | down | `Kill`, and as for an exit |
//! | ready | the process exits | down | `Answer` for queries that were asked at an earlier exit too; the others wait for the next start |
//!
//! A process that does not get ready fails all queries at once, since it would fail them the next time as well. One that
//! was ready and exits may have been ended by any query that it was asked: so a query is asked of two processes at most.
//!
//! # Phases of a query
//!
//! | phase | what happens | next phase | effects |
//! | --- | --- | --- | --- |
//! | due | its moment has come, and the process is ready | asked | `Write` |
//! | asked | a result, or a failure that asking again would not change | closed | `Answer` |
//! | asked | a failure that may pass | due after [`PAUSE`] | |
//! | asked | the process exits | due, or closed | `Answer` if closed |
//! | any | its deadline | closed | `Write` of a cancellation if asked, `Answer` |
//! | any | [`Cancel`](HostEvent::Cancel) | closed | `Write` of a cancellation if asked |
//!
//! After each event [`HostEffect::WakeAt`] says when the next deadline or pause is over, if there is any.

mod replies;

use std::collections::BTreeMap;
use std::time::Duration;

use super::line::{OutgoingQuery, QueryId, Word};
use super::line_decoder::PluginLine;
use crate::naming::target::Failure;
use crate::time::Moment;

/// How long a query may take, counted from when it was asked first. Source: `StemNS`.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long a plugin may take to get ready.
pub const START: Duration = Duration::from_secs(30);

/// How long to wait before a query that failed is asked again. Source: `StemNS`.
pub const PAUSE: Duration = Duration::from_secs(1);

/// How long a plugin that has ended is not started again; doubled after each further end.
pub const SHORTEST_REST: Duration = Duration::from_secs(1);

/// The longest that a plugin that has ended is not started again.
pub const LONGEST_REST: Duration = Duration::from_secs(60);

/// How long a plugin must have been ready for its earlier ends to be forgotten.
const PROVEN: Duration = Duration::from_secs(60);

/// Most queries at once; further ones fail.
pub const MAX_QUERIES: usize = 4096;

/// Most lines in a row that may make no sense.
pub const MAX_MEANINGLESS: u32 = 1000;

/// How many times the process may end while one query is open.
const MAX_ENDS: u8 = 1;

/// Identifies a query between the machine and its caller, who chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryKey(pub u64);

/// What the machine is told.
#[derive(Clone, Debug)]
pub enum HostEvent {
    /// Somebody wants to know what a name stands for.
    Resolve {
        /// Under which to answer. An event with the key of a query that is still open changes nothing.
        key: QueryKey,
        /// The name.
        name: Word,
        /// The isolation ID to ask under; `None` is the default identity.
        id: Option<Word>,
    },
    /// Nobody waits for the answer any more, so that there will be none.
    Cancel(QueryKey),
    /// The plugin that was started last wrote a line.
    Line(PluginLine),
    /// The plugin that was started last has ended by itself, or could not be started.
    Exited,
    /// The moment of the latest [`HostEffect::WakeAt`] has come.
    Wake,
}

/// What the caller of the machine has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostEffect {
    /// Start the plugin's process.
    Start,
    /// End the process. Nothing more is to be told of it.
    Kill,
    /// Tell the user that the plugin writes what makes no sense: once for each process.
    Complain,
    /// Write a line to the plugin.
    Write(OutgoingQuery),
    /// Answer a query.
    Answer {
        /// The key that it came with.
        key: QueryKey,
        /// What the plugin says the name stands for, unchecked; or why there is no result.
        result: Result<Word, Failure>,
    },
    /// Hand in [`HostEvent::Wake`] at this moment. It takes the place of the one that was asked for before.
    WakeAt(Moment),
}

#[derive(Debug)]
enum Phase {
    /// There is no process, and none is started before this moment.
    Down { until: Moment },
    /// The process has to be ready by this moment.
    Starting { until: Moment, noise: Noise },
    /// The process answers.
    Ready { since: Moment, noise: Noise },
}

/// How much a process has written that answers no query.
#[derive(Debug, Default)]
struct Noise {
    /// Lines in a row that made no sense.
    meaningless: u32,
    /// Lines that may still come for queries that were cancelled.
    owed: u32,
    /// Whether the user was told of the first.
    is_told: bool,
}

#[derive(Debug)]
struct Query {
    key: QueryKey,
    name: Word,
    id: Option<Word>,
    deadline: Moment,
    phase: QueryPhase,
    /// How often the process has ended after it was asked this.
    ends: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QueryPhase {
    /// To be asked at this moment, or as soon after it as the plugin is ready.
    Due(Moment),
    /// The plugin has been asked, and has not replied.
    Asked,
}

/// The side that asks a plugin.
#[derive(Debug)]
pub struct HostMachine {
    phase: Phase,
    /// How often the process has ended without having been ready for long.
    failures: u32,
    queries: BTreeMap<QueryId, Query>,
    keys: BTreeMap<QueryKey, QueryId>,
    /// The number of the latest query. None is used again, so that a late reply belongs to no other query.
    latest: i64,
}

impl Default for HostMachine {
    fn default() -> Self {
        Self {
            phase: Phase::Down {
                until: Moment::default(),
            },
            failures: 0,
            queries: BTreeMap::new(),
            keys: BTreeMap::new(),
            latest: 0,
        }
    }
}

impl HostMachine {
    /// Takes in an event. Time must not go back.
    pub fn on_event(&mut self, now: Moment, event: HostEvent) -> Vec<HostEffect> {
        let mut effects = Vec::new();
        self.expire(now, &mut effects);
        match event {
            HostEvent::Resolve { key, name, id } => self.on_resolve(now, key, name, id, &mut effects),
            HostEvent::Cancel(key) => {
                if let Some(query) = self.keys.get(&key).copied() {
                    self.cancel(query, &mut effects);
                }
            }
            HostEvent::Line(line) => self.on_line(now, &line, &mut effects),
            HostEvent::Exited => self.on_exit(now, &mut effects),
            HostEvent::Wake => {}
        }
        self.advance(now, &mut effects);
        effects.extend(self.next_wake().map(HostEffect::WakeAt));
        effects
    }

    /// Returns when something has to be done even if nothing happens before.
    fn next_wake(&self) -> Option<Moment> {
        let deadline = self.queries.values().map(|query| query.deadline).min();
        let phase = match self.phase {
            Phase::Down { until } => deadline.map(|_| until),
            Phase::Starting { until, .. } => Some(until),
            Phase::Ready { .. } => {
                let due = self.queries.values().filter_map(|query| match query.phase {
                    QueryPhase::Due(at) => Some(at),
                    QueryPhase::Asked => None,
                });
                due.min()
            }
        };
        deadline.into_iter().chain(phase).min()
    }

    /// Ends what has taken too long: queries, and a start of the process.
    fn expire(&mut self, now: Moment, effects: &mut Vec<HostEffect>) {
        let overdue = self.queries.iter().filter(|(_, query)| query.deadline <= now);
        let overdue: Vec<_> = overdue.map(|(id, _)| *id).collect();
        for id in overdue {
            if let Some(query) = self.cancel(id, effects) {
                let (key, result) = (query.key, Err(Failure::Timeout));
                effects.push(HostEffect::Answer { key, result });
            }
        }
        if let Phase::Starting { until, .. } = self.phase
            && until <= now
        {
            effects.push(HostEffect::Kill);
            self.on_exit(now, effects);
        }
    }

    /// Starts the process if a query needs it, or asks it what is due.
    fn advance(&mut self, now: Moment, effects: &mut Vec<HostEffect>) {
        match self.phase {
            Phase::Down { until } if until <= now && !self.queries.is_empty() => {
                effects.push(HostEffect::Start);
                self.phase = Phase::Starting {
                    until: now + START,
                    noise: Noise::default(),
                };
            }
            Phase::Ready { .. } => {
                for (id, query) in &mut self.queries {
                    if matches!(query.phase, QueryPhase::Due(at) if at <= now) {
                        query.phase = QueryPhase::Asked;
                        effects.push(HostEffect::Write(OutgoingQuery::Resolve {
                            query: *id,
                            name: query.name.clone(),
                            id: query.id.clone(),
                        }));
                    }
                }
            }
            Phase::Down { .. } | Phase::Starting { .. } => {}
        }
    }

    fn on_resolve(&mut self, now: Moment, key: QueryKey, name: Word, id: Option<Word>, effects: &mut Vec<HostEffect>) {
        if self.keys.contains_key(&key) {
            return;
        }
        if self.queries.len() >= MAX_QUERIES {
            let result = Err(Failure::Unavailable);
            return effects.push(HostEffect::Answer { key, result });
        }
        self.latest = self.latest.saturating_add(1);
        let number = QueryId(self.latest);
        self.keys.insert(key, number);
        let query = Query {
            key,
            name,
            id,
            deadline: now + PATIENCE,
            phase: QueryPhase::Due(now),
            ends: 0,
        };
        self.queries.insert(number, query);
    }

    /// Removes a query, and tells the plugin if it has been asked.
    fn cancel(&mut self, id: QueryId, effects: &mut Vec<HostEffect>) -> Option<Query> {
        let query = self.remove(id)?;
        if query.phase == QueryPhase::Asked {
            effects.push(HostEffect::Write(OutgoingQuery::Cancel(id)));
            if let Phase::Ready { noise, .. } = &mut self.phase {
                // The reply to the cancellation, and one to the query itself that may have crossed it.
                noise.owed = noise.owed.saturating_add(2);
            }
        }
        Some(query)
    }

    fn remove(&mut self, id: QueryId) -> Option<Query> {
        let query = self.queries.remove(&id)?;
        self.keys.remove(&query.key);
        Some(query)
    }

    fn answer(&mut self, id: QueryId, result: Result<Word, Failure>, effects: &mut Vec<HostEffect>) {
        if let Some(query) = self.remove(id) {
            effects.push(HostEffect::Answer { key: query.key, result });
        }
    }

    /// Takes note that there is no process any more.
    fn on_exit(&mut self, now: Moment, effects: &mut Vec<HostEffect>) {
        let failing: Vec<_> = match self.phase {
            Phase::Down { .. } => return,
            Phase::Starting { .. } => self.queries.keys().copied().collect(),
            Phase::Ready { since, .. } => {
                if now.since(since) >= PROVEN {
                    self.failures = 0;
                }
                self.requeue(now)
            }
        };
        for query in failing {
            self.answer(query, Err(Failure::Unavailable), effects);
        }
        let rest = SHORTEST_REST.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Down {
            until: now + rest.min(LONGEST_REST),
        };
    }

    /// Makes queries that were asked due for the next process, and returns those that are to be given up instead.
    fn requeue(&mut self, now: Moment) -> Vec<QueryId> {
        let mut failing = Vec::new();
        for (id, query) in &mut self.queries {
            if query.phase != QueryPhase::Asked {
                continue;
            }
            if query.ends >= MAX_ENDS {
                failing.push(*id);
            }
            query.ends = query.ends.saturating_add(1);
            query.phase = QueryPhase::Due(now);
        }
        failing
    }
}

#[cfg(test)]
mod tests;

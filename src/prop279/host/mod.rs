//! The side that asks a plugin, as a machine without I/O. It starts and ends the plugin, too.
//!
//! Every query gets one answer within [`PATIENCE`], whatever the plugin says, unless it is cancelled. The plugin is
//! started when a query needs it, and ended when it makes no sense; after that it is left alone for a while.
//!
//! When a plugin does not get ready, what waits fails at once: it would fail the next time as well. When one ends that
//! was ready, its queries wait for the next start; but a query that was open at two such ends fails, since it may be
//! what ends it.

mod replies;

use std::collections::BTreeMap;
use std::time::Duration;

use super::line::{QueryId, Request, Word};
use super::splitter::Line;
use crate::naming::target::Failure;
use crate::time::Moment;

/// How long a query may take, from when it was asked first. Source: `StemNS`.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long a plugin may take to get ready.
pub const START: Duration = Duration::from_secs(30);

/// How long to wait before a query that failed is asked again. Source: `StemNS`.
pub const PAUSE: Duration = Duration::from_secs(1);

/// How long a plugin is left alone that has ended; twice as long after each time.
pub const SHORTEST_REST: Duration = Duration::from_secs(1);

/// The longest that a plugin is left alone.
pub const LONGEST_REST: Duration = Duration::from_secs(60);

/// How long a plugin must have been ready for its earlier ends to be forgotten.
const PROVEN: Duration = Duration::from_secs(60);

/// Most queries at once; more fail.
pub const MAX_QUERIES: usize = 4096;

/// Most lines in a row that make no sense.
pub const MAX_MEANINGLESS: u32 = 1000;

/// How many ends of the plugin a query may be open at.
const MAX_ENDS: u8 = 1;

/// Whose query it is: the caller of the machine chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u64);

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Somebody wants to know what a name stands for.
    Resolve {
        /// To answer under. It is no other open query's; else nothing happens.
        key: Key,
        /// The name.
        name: Word,
        /// For whom; `None` is the default identity.
        id: Option<Word>,
    },
    /// Nobody waits for it any more: there will be no answer.
    Cancel(Key),
    /// The plugin that was started last wrote a line.
    Line(Line),
    /// The plugin that was started last has ended by itself, or could not be started.
    Ended,
    /// The time that [`Host::next_wake`] said has come.
    Wake,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start the plugin.
    Start,
    /// End the plugin. Nothing more is to be told of it.
    Kill,
    /// Write to the plugin.
    Write(Request),
    /// Answer a query.
    Answer {
        /// Whose it was.
        key: Key,
        /// What the plugin says the name stands for, unchecked; or why there is none.
        result: Result<Word, Failure>,
    },
}

#[derive(Debug)]
enum Phase {
    /// There is no plugin, and none is to be started before then.
    Down { until: Moment },
    /// It must be ready by then.
    Starting { until: Moment },
    /// It answers.
    Ready { since: Moment },
}

#[derive(Debug)]
struct Query {
    key: Key,
    name: Word,
    id: Option<Word>,
    deadline: Moment,
    step: Step,
    /// How often the plugin has ended while this was open.
    ends: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// To be asked at that moment, or when there is a plugin after it.
    Due(Moment),
    /// It has been asked.
    Asked,
}

/// The side that asks a plugin.
#[derive(Debug)]
pub struct Host {
    phase: Phase,
    /// How often the plugin has ended without having been ready for long.
    failures: u32,
    queries: BTreeMap<QueryId, Query>,
    keys: BTreeMap<Key, QueryId>,
    /// The number of the latest query: none is reused, in one run of the plugin or another.
    latest: i64,
    /// Lines in a row that made no sense.
    meaningless: u32,
    /// Lines that may still come for queries that were cancelled.
    owed: u32,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            phase: Phase::Down {
                until: Moment::default(),
            },
            failures: 0,
            queries: BTreeMap::new(),
            keys: BTreeMap::new(),
            latest: 0,
            meaningless: 0,
            owed: 0,
        }
    }
}

impl Host {
    /// Takes an event in and returns what is to be done, in this order. Time must not go back.
    pub fn on_event(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.expire(now, &mut effects);
        match event {
            Event::Resolve { key, name, id } => self.on_resolve(now, key, name, id, &mut effects),
            Event::Cancel(key) => {
                if let Some(query) = self.keys.get(&key).copied() {
                    self.cancel(query, &mut effects);
                }
            }
            Event::Line(line) => self.on_line(now, &line, &mut effects),
            Event::Ended => self.on_end(now, &mut effects),
            Event::Wake => {}
        }
        self.advance(now, &mut effects);
        effects
    }

    /// Returns when something is to be done if nothing happens before.
    pub fn next_wake(&self) -> Option<Moment> {
        let deadlines = self.queries.values().map(|query| query.deadline).min();
        let phase = match self.phase {
            Phase::Down { until } => deadlines.map(|_| until),
            Phase::Starting { until } => Some(until),
            Phase::Ready { .. } => {
                let due = self.queries.values().filter_map(|query| match query.step {
                    Step::Due(at) => Some(at),
                    Step::Asked => None,
                });
                due.min()
            }
        };
        deadlines.into_iter().chain(phase).min()
    }

    /// Ends what has taken too long.
    fn expire(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let overdue = self.queries.iter().filter(|(_, query)| query.deadline <= now);
        let overdue: Vec<_> = overdue.map(|(id, _)| *id).collect();
        for id in overdue {
            if let Some(query) = self.cancel(id, effects) {
                let (key, result) = (query.key, Err(Failure::Timeout));
                effects.push(Effect::Answer { key, result });
            }
        }
        if let Phase::Starting { until } = self.phase
            && until <= now
        {
            effects.push(Effect::Kill);
            self.on_end(now, effects);
        }
    }

    /// Does what is due: starts the plugin where it is needed, or asks it.
    fn advance(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Down { until } if until <= now && !self.queries.is_empty() => {
                effects.push(Effect::Start);
                self.phase = Phase::Starting { until: now + START };
            }
            Phase::Ready { .. } => {
                for (query, asked) in &mut self.queries {
                    if matches!(asked.step, Step::Due(at) if at <= now) {
                        asked.step = Step::Asked;
                        effects.push(Effect::Write(Request::Resolve {
                            query: *query,
                            name: asked.name.clone(),
                            id: asked.id.clone(),
                        }));
                    }
                }
            }
            Phase::Down { .. } | Phase::Starting { .. } => {}
        }
    }

    fn on_resolve(&mut self, now: Moment, key: Key, name: Word, id: Option<Word>, effects: &mut Vec<Effect>) {
        if self.keys.contains_key(&key) {
            return;
        }
        if self.queries.len() >= MAX_QUERIES {
            let result = Err(Failure::Unavailable);
            return effects.push(Effect::Answer { key, result });
        }
        self.latest = self.latest.saturating_add(1);
        let query = QueryId(self.latest);
        self.keys.insert(key, query);
        let asked = Query {
            key,
            name,
            id,
            deadline: now + PATIENCE,
            step: Step::Due(now),
            ends: 0,
        };
        self.queries.insert(query, asked);
    }

    /// Removes a query, and tells the plugin where it has been asked.
    fn cancel(&mut self, id: QueryId, effects: &mut Vec<Effect>) -> Option<Query> {
        let query = self.remove(id)?;
        if query.step == Step::Asked {
            effects.push(Effect::Write(Request::Cancel(id)));
            // The cancellation's reply, and one to the query that may have crossed it.
            self.owed = self.owed.saturating_add(2);
        }
        Some(query)
    }

    fn remove(&mut self, id: QueryId) -> Option<Query> {
        let query = self.queries.remove(&id)?;
        self.keys.remove(&query.key);
        Some(query)
    }

    fn answer(&mut self, id: QueryId, result: Result<Word, Failure>, effects: &mut Vec<Effect>) {
        if let Some(query) = self.remove(id) {
            effects.push(Effect::Answer { key: query.key, result });
        }
    }

    /// Takes note that there is no plugin any more.
    fn on_end(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let failing: Vec<_> = match self.phase {
            Phase::Down { .. } => return,
            Phase::Starting { .. } => self.queries.keys().copied().collect(),
            Phase::Ready { since } => {
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
        (self.meaningless, self.owed) = (0, 0);
    }

    /// Puts open queries back for the next start, and returns those that are not worth one.
    fn requeue(&mut self, now: Moment) -> Vec<QueryId> {
        let mut failing = Vec::new();
        for (id, query) in &mut self.queries {
            if query.step != Step::Asked {
                continue;
            }
            if query.ends >= MAX_ENDS {
                failing.push(*id);
            }
            query.ends = query.ends.saturating_add(1);
            query.step = Step::Due(now);
        }
        failing
    }
}

#[cfg(test)]
mod tests;

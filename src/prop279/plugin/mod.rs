//! The side that resolves names, as a machine without I/O. Nothing in it depends on time, so that its events come without.
//!
//! Every query gets one reply: `RESOLVED` when its lookup ends, or `CANCELED` when it is cancelled before that, and never
//! the first after the second. Queries do not wait for each other.
//!
//! # Phases of the machine
//!
//! | phase | what happens | next phase | effects |
//! | --- | --- | --- | --- |
//! | reading | `RESOLVE` | reading | [`StartLookup`](PluginEffect::StartLookup) |
//! | reading | `RESOLVE` under a number that is taken by another query | reading | [`AbortLookup`](PluginEffect::AbortLookup), `StartLookup` |
//! | reading | `RESOLVE` that cannot be read, or is one too many | reading | [`Write`](PluginEffect::Write) of a failure |
//! | reading | `CANCEL` | reading | `AbortLookup` if the query is open, `Write` of `CANCELED` |
//! | reading or draining | a lookup ends | the same | `Write` of its result |
//! | reading | the input ends | draining | |
//! | draining | no query is open, or none any more | finished | [`Finish`](PluginEffect::Finish) |
//!
//! Whatever is not in the table changes nothing. The first query without an isolation ID, and the first line that makes no
//! sense, also have a [`Warn`](PluginEffect::Warn).
//!
//! Where Proposal 279 leaves it open: a cancellation of a query that has been answered, or never was asked, is answered
//! like others, since the two lines may have crossed. A query whose number is taken by one for the same name and isolation
//! ID is the same query; for others it takes that one's place.

use std::collections::BTreeMap;

use super::line::{OutgoingReply, PluginQuery, QueryId, Word};
use super::line_decoder::PluginLine;
use crate::isolation::IsolationId;
use crate::naming::target::{Failure, Target};

/// Most queries at once; further ones fail.
pub const MAX_QUERIES: usize = 1024;

/// The number of a lookup, which one machine uses once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupKey(pub u64);

/// What the machine is told.
#[derive(Debug)]
pub enum PluginEvent {
    /// The caller wrote a line.
    Line(PluginLine),
    /// A lookup ended.
    LookupEnded(LookupKey, Result<Target, Failure>),
    /// The caller writes no more.
    EndOfInput,
}

/// What the caller of the machine has to do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum PluginEffect {
    /// Write a reply.
    Write(OutgoingReply),
    /// Start a lookup.
    StartLookup {
        /// The number to report its end under.
        key: LookupKey,
        /// What to look up.
        name: Word,
        /// The isolation ID to look it up under; `None` is the default identity.
        id: Option<IsolationId>,
    },
    /// Give a lookup up. That it ends all the same does no harm.
    AbortLookup(LookupKey),
    /// Tell the user something that is wrong with the caller: each thing once.
    Warn(CallerFault),
    /// End: all queries are answered, and there will be no more.
    Finish,
}

/// What is wrong with a caller, though it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallerFault {
    /// A query has no isolation ID.
    #[error("the caller gives no isolation ID with its names: all of them are looked up as those of one user")]
    NoId,
    /// A line is none of the protocol's.
    #[error("the caller writes lines that make no sense; they are ignored, or fail where they have a number")]
    Malformed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// The caller may write more queries.
    #[default]
    Reading,
    /// The caller writes no more, but still waits for replies.
    Draining,
    /// All is said.
    Finished,
}

#[derive(Debug)]
struct Query {
    lookup: LookupKey,
    name: Word,
    id: Option<IsolationId>,
}

/// The side that resolves names.
#[derive(Debug, Default)]
pub struct PluginMachine {
    phase: Phase,
    /// The open queries; there are none in [`Phase::Finished`].
    queries: BTreeMap<QueryId, Query>,
    /// The open queries by their lookups.
    lookups: BTreeMap<LookupKey, QueryId>,
    /// How many lookups were started.
    started: u64,
    /// What the user was told of.
    told: Vec<CallerFault>,
}

impl PluginMachine {
    /// Takes in an event.
    pub fn on_event(&mut self, event: PluginEvent) -> Vec<PluginEffect> {
        let mut effects = Vec::new();
        match (event, self.phase) {
            (PluginEvent::Line(line), Phase::Reading) => self.on_line(&line, &mut effects),
            (PluginEvent::LookupEnded(key, result), _) => effects.extend(self.on_end(key, result)),
            (PluginEvent::EndOfInput, Phase::Reading) => self.phase = Phase::Draining,
            // After the end of the input nobody can have written anything.
            (PluginEvent::Line(_) | PluginEvent::EndOfInput, Phase::Draining | Phase::Finished) => {}
        }
        if self.phase == Phase::Draining && self.queries.is_empty() {
            self.phase = Phase::Finished;
            effects.push(PluginEffect::Finish);
        }
        effects
    }

    fn on_line(&mut self, line: &PluginLine, effects: &mut Vec<PluginEffect>) {
        match PluginQuery::parse(line) {
            PluginQuery::Ignored => self.warn(CallerFault::Malformed, effects),
            PluginQuery::Malformed(query) => {
                self.warn(CallerFault::Malformed, effects);
                effects.push(PluginEffect::Write(OutgoingReply::Failed {
                    query,
                    failure: Failure::Invalid,
                    name: None,
                }));
            }
            PluginQuery::Cancel(query) => {
                effects.extend(self.remove(query).map(PluginEffect::AbortLookup));
                effects.push(PluginEffect::Write(OutgoingReply::Canceled(query)));
            }
            PluginQuery::Resolve { query, name, id } => {
                if id.is_none() {
                    self.warn(CallerFault::NoId, effects);
                }
                self.on_resolve(query, name, id, effects);
            }
        }
    }

    fn warn(&mut self, fault: CallerFault, effects: &mut Vec<PluginEffect>) {
        if !self.told.contains(&fault) {
            self.told.push(fault);
            effects.push(PluginEffect::Warn(fault));
        }
    }

    fn on_resolve(&mut self, query: QueryId, name: Word, id: Option<IsolationId>, effects: &mut Vec<PluginEffect>) {
        if self
            .queries
            .get(&query)
            .is_some_and(|old| old.name == name && old.id == id)
        {
            return;
        }
        effects.extend(self.remove(query).map(PluginEffect::AbortLookup));
        if self.queries.len() >= MAX_QUERIES {
            return effects.push(PluginEffect::Write(OutgoingReply::Failed {
                query,
                failure: Failure::Unavailable,
                name: Some(name),
            }));
        }
        let lookup = LookupKey(self.started);
        self.started = self.started.saturating_add(1);
        self.lookups.insert(lookup, query);
        effects.push(PluginEffect::StartLookup {
            key: lookup,
            name: name.clone(),
            id: id.clone(),
        });
        self.queries.insert(query, Query { lookup, name, id });
    }

    fn on_end(&mut self, key: LookupKey, result: Result<Target, Failure>) -> Option<PluginEffect> {
        let query = self.lookups.remove(&key)?;
        let name = self.queries.remove(&query)?.name;
        Some(PluginEffect::Write(match result {
            Ok(target) => OutgoingReply::Resolved { query, target },
            Err(failure) => OutgoingReply::Failed {
                query,
                failure,
                name: Some(name),
            },
        }))
    }

    /// Removes a query, and returns the lookup that was for it.
    fn remove(&mut self, query: QueryId) -> Option<LookupKey> {
        let lookup = self.queries.remove(&query)?.lookup;
        self.lookups.remove(&lookup);
        Some(lookup)
    }
}

#[cfg(test)]
mod tests;

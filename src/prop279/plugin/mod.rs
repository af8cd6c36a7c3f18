//! The side that resolves names, as a machine without I/O.
//!
//! Every query gets one reply: `RESOLVED` when its lookup ends, or `CANCELED` when it is cancelled before, and never
//! the first after the second. Queries do not wait for each other.
//!
//! Where Proposal 279 leaves it open: a cancellation of a query that has been answered, or never was, is answered like
//! others, since the two lines may have crossed. A query whose number is taken by one for the same name and isolation
//! ID is the same query; for others it takes that one's place.

use std::collections::BTreeMap;

use super::line::{Asked, QueryId, Reply, Word};
use super::splitter::Line;
use crate::isolation::IsolationId;
use crate::naming::target::{Failure, Target};

/// Most queries at once; more fail.
pub const MAX_QUERIES: usize = 1024;

/// The number of a lookup, never reused by one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u64);

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The caller wrote a line.
    Line(Line),
    /// A lookup ended.
    Ended(Key, Result<Target, Failure>),
    /// The caller writes no more.
    EndOfInput,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write a reply.
    Write(Reply),
    /// Begin a lookup.
    Begin {
        /// The number to report its end under.
        key: Key,
        /// What to look up.
        name: Word,
        /// For whom; `None` is the default identity.
        id: Option<IsolationId>,
    },
    /// Give a lookup up. If it ends all the same, nobody minds.
    Abort(Key),
    /// All is said: the plugin ends.
    Finish,
}

#[derive(Debug)]
struct Query {
    key: Key,
    name: Word,
    id: Option<IsolationId>,
}

/// The side that resolves names.
#[derive(Debug, Default)]
pub struct Plugin {
    queries: BTreeMap<QueryId, Query>,
    /// The queries by the number of their lookup.
    lookups: BTreeMap<Key, QueryId>,
    begun: u64,
    input_ended: bool,
}

impl Plugin {
    /// Takes an event in and returns what is to be done, in this order.
    pub fn on_event(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        let had_ended = self.input_ended;
        let was_idle = self.queries.is_empty();
        match event {
            // There is nobody any more who could have written it.
            Event::Line(_) if self.input_ended => {}
            Event::Line(line) => self.on_line(&line, &mut effects),
            Event::Ended(key, result) => effects.extend(self.on_end(key, result)),
            Event::EndOfInput => self.input_ended = true,
        }
        let finished = self.input_ended && self.queries.is_empty();
        if finished && !(had_ended && was_idle) {
            effects.push(Effect::Finish);
        }
        effects
    }

    fn on_line(&mut self, line: &Line, effects: &mut Vec<Effect>) {
        match Asked::read(line) {
            Asked::Ignored => {}
            Asked::Malformed(query) => effects.push(Effect::Write(Reply::Failed {
                query,
                failure: Failure::Invalid,
                name: None,
            })),
            Asked::Cancel(query) => {
                effects.extend(self.drop_query(query).map(Effect::Abort));
                effects.push(Effect::Write(Reply::Canceled(query)));
            }
            Asked::Resolve { query, name, id } => self.on_resolve(query, name, id, effects),
        }
    }

    fn on_resolve(&mut self, query: QueryId, name: Word, id: Option<IsolationId>, effects: &mut Vec<Effect>) {
        if self
            .queries
            .get(&query)
            .is_some_and(|old| old.name == name && old.id == id)
        {
            return;
        }
        effects.extend(self.drop_query(query).map(Effect::Abort));
        if self.queries.len() >= MAX_QUERIES {
            return effects.push(Effect::Write(Reply::Failed {
                query,
                failure: Failure::Unavailable,
                name: Some(name),
            }));
        }
        let key = Key(self.begun);
        self.begun = self.begun.saturating_add(1);
        self.lookups.insert(key, query);
        effects.push(Effect::Begin {
            key,
            name: name.clone(),
            id: id.clone(),
        });
        self.queries.insert(query, Query { key, name, id });
    }

    fn on_end(&mut self, key: Key, result: Result<Target, Failure>) -> Option<Effect> {
        let query = self.lookups.remove(&key)?;
        let name = self.queries.remove(&query)?.name;
        Some(Effect::Write(match result {
            Ok(target) => Reply::Resolved { query, target },
            Err(failure) => Reply::Failed {
                query,
                failure,
                name: Some(name),
            },
        }))
    }

    /// Forgets a query, and returns the lookup that was for it.
    fn drop_query(&mut self, query: QueryId) -> Option<Key> {
        let key = self.queries.remove(&query)?.key;
        self.lookups.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests;

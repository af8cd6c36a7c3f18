//! What is kept for each caller, and for no other: results of a while ago, lookups in flight.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use tokio::sync::watch;

use super::NodeError;
use super::handle::Answer;
use crate::isolation::IsolationId;
use crate::name::{NameId, Outcome};
use crate::time::Moment;

/// How long and how much is remembered of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// How long a value is remembered, at most until the next block; zero: not at all.
    pub positive: Duration,
    /// How long absence is remembered; zero: not at all.
    pub negative: Duration,
    /// Most results for one isolation ID. A value has at most 1023 bytes, so this bounds bytes as well.
    pub results: usize,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            positive: Duration::from_secs(600),
            negative: Duration::from_secs(60),
            results: 64,
        }
    }
}

/// What two lookups must have in common to have one result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) name: NameId,
    pub(super) allow_expired: bool,
}

/// A result on its way to all who wait for it.
pub(super) type Pending = watch::Receiver<Option<Result<Answer, NodeError>>>;

#[derive(Debug)]
struct Caller {
    /// Counts the lives of an ID: what was begun in an earlier one is not remembered in a later one.
    life: u64,
    results: LruCache<Key, (Answer, Moment)>,
    pending: HashMap<Key, Pending>,
    last_use_told: Moment,
}

/// All callers.
#[derive(Debug)]
pub(super) struct Callers {
    settings: CacheSettings,
    callers: HashMap<IsolationId, Caller>,
    lives: u64,
}

/// What to do about a question.
pub(super) enum Found {
    /// The answer is remembered; the flag says that the pool is to be told of the use.
    Answer(Answer, bool),
    /// Somebody of the same ID asks already.
    Pending(Pending),
    /// It is to be looked up, in this life of the ID.
    Nothing { life: u64 },
}

/// How often the pool is told that an ID lives on its cache: often enough for an ID's time to live.
const TELL_USE: Duration = Duration::from_secs(60);

impl Callers {
    pub(super) fn new(settings: CacheSettings) -> Self {
        Self {
            settings,
            callers: HashMap::new(),
            lives: 0,
        }
    }

    pub(super) fn find(&mut self, id: &IsolationId, key: &Key, tip: bitcoin::BlockHash, now: Moment) -> Found {
        let lives = &mut self.lives;
        let results = NonZeroUsize::new(self.settings.results).unwrap_or(NonZeroUsize::MIN);
        let settings = self.settings;
        let caller = self.callers.entry(id.clone()).or_insert_with(|| {
            *lives += 1;
            Caller {
                life: *lives,
                results: LruCache::new(results),
                pending: HashMap::new(),
                last_use_told: now,
            }
        });
        if let Some((answer, since)) = caller.results.get(key) {
            let ttl = settings.ttl(&answer.outcome);
            if now.since(*since) < ttl && (answer.tip.hash == tip || answer.outcome.proven().is_none()) {
                let tell = now.since(caller.last_use_told) >= TELL_USE;
                if tell {
                    caller.last_use_told = now;
                }
                return Found::Answer(answer.clone(), tell);
            }
            caller.results.pop(key);
        }
        match caller.pending.get(key) {
            Some(pending) => Found::Pending(pending.clone()),
            None => Found::Nothing { life: caller.life },
        }
    }

    pub(super) fn begin(&mut self, id: &IsolationId, key: Key, pending: Pending) {
        if let Some(caller) = self.callers.get_mut(id) {
            caller.pending.insert(key, pending);
        }
    }

    /// Ends a lookup and remembers its answer, unless the ID was forgotten in the meantime.
    pub(super) fn end(&mut self, id: &IsolationId, life: u64, key: &Key, answer: Option<&Answer>, now: Moment) {
        let Some(caller) = self.callers.get_mut(id).filter(|caller| caller.life == life) else {
            return;
        };
        caller.pending.remove(key);
        if let Some(answer) = answer
            && !self.settings.ttl(&answer.outcome).is_zero()
        {
            caller.results.put(key.clone(), (answer.clone(), now));
        }
    }

    pub(super) fn forget(&mut self, id: &IsolationId) {
        self.callers.remove(id);
    }
}

impl CacheSettings {
    fn ttl(&self, outcome: &Outcome) -> Duration {
        match outcome {
            Outcome::Found(_) => self.positive,
            _ => self.negative,
        }
    }
}

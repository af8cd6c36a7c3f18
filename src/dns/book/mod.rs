//! What is remembered of looked-up names: for each isolation ID on its own, bounded over all.
//!
//! An answer that is there tells that it was asked for before, so nothing is shared between IDs, imported names
//! included. The bounds are common to all: whoever needs much pushes out what was used least lately, whosesoever it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bitcoin::BlockHash;
use hickory_proto::rr::Name;
use lru::LruCache;

use super::engine::{Found, Note};
use super::zone::{self, Built, Domain, Imported};
use crate::isolation::BlindedId;
use crate::name::{NameId, NameValue};
use crate::time::Moment;

/// How long and how much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// How long a value is remembered, and at most until the next block where the backend tells of one.
    pub positive: Duration,
    /// How long absence is remembered.
    pub negative: Duration,
    /// How long a failure is remembered: no longer than it takes to soften a storm.
    pub failure: Duration,
    /// Most names, over all isolation IDs.
    pub names: usize,
    /// Most bytes, over all isolation IDs.
    pub bytes: usize,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            positive: Duration::from_secs(zone::TTL.into()),
            negative: Duration::from_secs(60),
            failure: Duration::from_secs(2),
            names: 20_000,
            bytes: 32 << 20,
        }
    }
}

/// What a lookup came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// The name has this value.
    Value(NameValue),
    /// It has none, and why if that is worth telling.
    Absent(Option<Note>),
    /// It could not be found out.
    Failed(Note),
}

/// What lookups have in common that have one result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whose lookup it is.
    pub id: BlindedId,
    /// Which name.
    pub name: NameId,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    until: Moment,
    /// The block that was the newest when it was looked up, where the backend tells.
    epoch: Option<BlockHash>,
    /// The records made of it: owned by this name, valid until then.
    built: Option<Records>,
}

#[derive(Clone, Debug)]
struct Records {
    apex: Name,
    domain: Arc<Domain>,
    until: Moment,
}

/// What an entry costs beside its value and records, in bytes: key, links of the list, and what maps and the allocator
/// take for themselves. Measured: small values took 2.5 KiB each.
const ENTRY_OVERHEAD: usize = 2048;

impl Entry {
    fn is_stale(&self, at: Instant) -> bool {
        // A newer block may have another value.
        self.until <= at.now || (self.epoch != at.epoch && matches!(self.known, Known::Value(_)))
    }

    fn size(&self, key: &Key) -> usize {
        let value = match &self.known {
            Known::Value(value) => value.as_bytes().len(),
            Known::Absent(_) | Known::Failed(_) => 0,
        };
        let built = self.built.as_ref().map_or(0, |built| built.domain.size());
        ENTRY_OVERHEAD + size_of::<BlindedId>() + key.name.as_bytes().len() + value + built
    }
}

/// All that is remembered.
#[derive(Debug)]
pub struct Book {
    settings: CacheSettings,
    entries: LruCache<Key, Entry>,
    bytes: usize,
}

/// What one question has had looked up itself: it counts, however soon the book forgets it.
pub type Held = BTreeMap<NameId, Known>;

/// The time, and the newest block where the backend tells of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instant {
    /// The time.
    pub now: Moment,
    /// The newest block.
    pub epoch: Option<BlockHash>,
}

impl Book {
    /// Makes an empty book.
    pub fn new(settings: CacheSettings) -> Self {
        Self {
            settings,
            entries: LruCache::unbounded(),
            bytes: 0,
        }
    }

    /// Returns how many names are remembered, and the bytes that they take.
    pub fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    /// Remembers what a lookup came to.
    pub fn store(&mut self, key: Key, known: Known, at: Instant) {
        let life = match known {
            Known::Value(_) => self.settings.positive,
            Known::Absent(_) => self.settings.negative,
            Known::Failed(_) => self.settings.failure,
        };
        self.remove(&key);
        if life.is_zero() {
            return;
        }
        let entry = Entry {
            known,
            until: at.now + life,
            epoch: at.epoch,
            built: None,
        };
        self.bytes += entry.size(&key);
        self.entries.put(key, entry);
        self.trim();
    }

    /// Forgets all that was looked up under an ID; `None`: under any.
    pub fn forget(&mut self, id: Option<&BlindedId>) {
        let Some(id) = id else {
            self.entries.clear();
            self.bytes = 0;
            return;
        };
        let of_id = self.entries.iter().filter(|(key, _)| key.id == *id);
        let keys: Vec<Key> = of_id.map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.remove(&key);
        }
    }

    /// Tells what is known of a name whose records `apex` owns: what the question holds itself, else what is
    /// remembered.
    pub fn find(&mut self, id: &BlindedId, name: &NameId, apex: &Name, held: &Held, at: Instant) -> Found {
        let key = Key {
            id: *id,
            name: name.clone(),
        };
        let life = |until: Moment| u32::try_from(until.since(at.now).as_secs()).unwrap_or(u32::MAX);
        if !held.contains_key(name)
            && let Some(built) = self.built(&key, apex, at)
        {
            return Found::Domain(built.domain, life(built.until));
        }
        let Some((known, until)) = self.known(&key, held, at) else {
            return Found::Needs(BTreeSet::from([key.name]));
        };
        let value = match known {
            Known::Absent(note) => return Found::Absent(note, life(until)),
            Known::Failed(note) => return Found::Failed(note),
            Known::Value(value) => value,
        };
        match self.build(&key, &value, apex, until, held, at) {
            Err(found) => found,
            Ok((domain, until)) => {
                let domain = Arc::new(domain);
                let records = Records {
                    apex: apex.clone(),
                    domain: Arc::clone(&domain),
                    until,
                };
                self.attach(&key, records);
                Found::Domain(domain, life(until))
            }
        }
    }

    /// Makes the records of a value; in place of them what is to be said if that can't be done. They hold as long as
    /// all that they were made of.
    fn build(
        &mut self,
        key: &Key,
        value: &NameValue,
        apex: &Name,
        mut until: Moment,
        held: &Held,
        at: Instant,
    ) -> Result<(Domain, Moment), Found> {
        let mut imports = BTreeMap::new();
        loop {
            let needed = match zone::build(&key.name, value, apex, &imports) {
                Ok(Built::Domain(domain)) => return Ok((domain, until)),
                Ok(Built::Needs(needed)) => needed,
                Err(_) => {
                    let life = until.since(at.now).as_secs();
                    return Err(Found::Unreadable(u32::try_from(life).unwrap_or(u32::MAX)));
                }
            };
            let mut missing = BTreeSet::new();
            for name in needed {
                let key = Key { id: key.id, name };
                let imported = match self.known(&key, held, at) {
                    None => {
                        missing.insert(key.name);
                        continue;
                    }
                    // What could not be looked up is no absent name: records would be missing for no reason.
                    Some((Known::Failed(note), _)) => return Err(Found::Failed(note)),
                    Some((Known::Absent(_), end)) => {
                        until = until.min(end);
                        Imported::Absent
                    }
                    Some((Known::Value(value), end)) => {
                        until = until.min(end);
                        Imported::Value(value)
                    }
                };
                imports.insert(key.name, imported);
            }
            if !missing.is_empty() {
                return Err(Found::Needs(missing));
            }
        }
    }

    fn known(&mut self, key: &Key, held: &Held, at: Instant) -> Option<(Known, Moment)> {
        if let Some(known) = held.get(&key.name) {
            let until = match self.entries.get(key) {
                Some(entry) if entry.known == *known && !entry.is_stale(at) => entry.until,
                // It is forgotten or out of date already, or never was remembered: it holds for this answer.
                _ => at.now,
            };
            return Some((known.clone(), until));
        }
        let entry = self.entries.get(key)?;
        if entry.is_stale(at) {
            self.remove(key);
            return None;
        }
        Some((entry.known.clone(), entry.until))
    }

    /// Returns the records that were made of a value, if they still hold.
    fn built(&mut self, key: &Key, apex: &Name, at: Instant) -> Option<Records> {
        let entry = self.entries.get(key).filter(|entry| !entry.is_stale(at))?;
        let records = entry.built.as_ref()?;
        (records.apex == *apex && records.until > at.now).then(|| records.clone())
    }

    fn attach(&mut self, key: &Key, records: Records) {
        let Some(entry) = self.entries.peek_mut(key) else {
            return;
        };
        let before = entry.size(key);
        entry.built = Some(records);
        let after = entry.size(key);
        self.bytes = (self.bytes + after).saturating_sub(before);
        self.trim();
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.pop(key) {
            self.bytes = self.bytes.saturating_sub(entry.size(key));
        }
    }

    fn trim(&mut self) {
        while self.entries.len() > self.settings.names || self.bytes > self.settings.bytes {
            let Some((key, entry)) = self.entries.pop_lru() else {
                return;
            };
            self.bytes = self.bytes.saturating_sub(entry.size(&key));
        }
    }
}

#[cfg(test)]
mod tests;

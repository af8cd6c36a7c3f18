//! What lookups came to: for each identity on its own, bounded over all.
//!
//! An answer that is there tells that it was asked for before, so nothing is shared between identities. There is one rule
//! of expiry: a result ends by time, each at a moment of its own, and never by an event. A new block may hold an update, but
//! servers would see all identities of a program ask again at once, and could bring that about. So what was proved is judged
//! again by the new block ([`ResultCache::rejudge`]), and asks nobody. There is one way to forget, for one identity or for all.
//!
//! The bounds are on results and on bytes, over all. Where they are reached, the holder (a front, or a client that a front
//! tells from others) of most gives its least recently used result up: whoever asks for much pushes out its own, not what others use.
//!
//! | what | becomes | by |
//! | --- | --- | --- |
//! | unknown | in flight | [`ResultCache::begin`] |
//! | in flight | known, where it belongs to a lasting identity; else unknown | [`ResultCache::end`] |
//! | in flight | unknown: its result reaches those who wait for it, and nobody else | [`ResultCache::forget`] |
//! | known | known, as it stands now | [`ResultCache::rejudge`] |
//! | known | unknown | [`ResultCache::forget`], its time, a block that what it proves is no longer below, another result that needs the room |

use std::any::Any;
use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bitcoin::BlockHash;
use lru::LruCache;
use tokio::sync::watch;

use super::answer::{Answer, NameResult};
use crate::isolation::BlindedId;
use crate::node::{NameRequest, Proved};
use crate::time::Moment;

/// How long and how much is remembered of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// How long a value is remembered at most, each for a share of this that is drawn for it; zero: not at all.
    pub positive: Duration,
    /// How long absence is remembered at most, likewise; zero: not at all.
    pub negative: Duration,
    /// How long a failure is remembered, for callers that take one for an answer: no longer than it takes to soften a
    /// storm of equal questions (RFC 9520 section 3.2).
    pub failure: Duration,
    /// Most results, over all identities.
    pub results: usize,
    /// Most bytes, over all identities.
    pub bytes: usize,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            positive: Duration::from_secs(600),
            negative: Duration::from_secs(60),
            failure: Duration::from_secs(2),
            results: 20_000,
            bytes: 32 << 20,
        }
    }
}

impl CacheSettings {
    fn life(&self, result: &NameResult) -> Duration {
        match result {
            Ok(answer) if answer.has_value() => self.positive,
            Ok(_) => self.negative,
            Err(_) => self.failure,
        }
    }
}

/// Through which front a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caller {
    /// A command, or a program that uses the library.
    Program,
    /// JSON-RPC.
    Rpc,
    /// DNS.
    Dns,
    /// Names of applications' streams: by Tor's control port, by SOCKS, by a naming plugin.
    Streams,
    /// The page.
    Web,
}

impl Caller {
    pub(super) const ALL: [Self; 5] = [Self::Program, Self::Rpc, Self::Dns, Self::Streams, Self::Web];
}

/// Whose share of the bounds a result takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// The front that asked.
    pub front: Caller,
    /// Its client, where it tells them apart.
    pub client: Option<u64>,
}

impl From<Caller> for Holder {
    fn from(front: Caller) -> Self {
        Self { front, client: None }
    }
}

/// The time, and the newest block where the source tells of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheTime {
    /// The time.
    pub now: Moment,
    /// The newest block.
    pub tip: Option<BlockHash>,
}

/// What a front made of a value, with its size in bytes. It lives as long as the value does.
#[derive(Clone, Debug)]
pub struct Derived {
    /// The front's own type.
    pub value: Arc<dyn Any + Send + Sync>,
    /// How much of the bound it takes.
    pub size: usize,
}

/// A result on its way to all who wait for it.
pub type Pending = watch::Receiver<Option<NameResult>>;

/// What becomes of a question that nothing is known for.
#[derive(Debug)]
pub enum Begun {
    /// The same is being looked up already.
    Joined(Pending),
    /// It is to be looked up now: the number is handed to [`ResultCache::end`], and the result to all who wait.
    New {
        /// The lookup's number.
        number: u64,
        /// Where its result goes.
        result: watch::Sender<Option<NameResult>>,
        /// Where its result comes from.
        pending: Pending,
    },
    /// The identity has as many lookups in flight as it may.
    Full,
}

/// What an entry costs beside its value and what was made of it, in bytes: keys, links of the list, and what maps and the
/// allocator take for themselves. Measured: small values took 2.5 KiB each.
const ENTRY_OVERHEAD: usize = 2048;

/// How often the source is told that an identity lives on its cache: often enough for an identity's time to live.
const TELL_USE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Entry {
    result: NameResult,
    /// When it was asked for: it is at least as true as the world was then.
    asked: Moment,
    until: Moment,
    derived: Option<Derived>,
}

impl Entry {
    fn is_stale(&self, at: CacheTime) -> bool {
        self.until <= at.now || self.is_of_another_block(at)
    }

    fn is_of_another_block(&self, at: CacheTime) -> bool {
        let block = self.result.as_ref().ok().and_then(Answer::proved_at);
        at.tip.zip(block).is_some_and(|(tip, block)| tip != block)
    }

    fn size(&self, key: &Key) -> usize {
        let value = self.result.as_ref().ok().and_then(Answer::value);
        let value = value.map_or(0, |value| value.as_bytes().len());
        let derived = self.derived.as_ref().map_or(0, |derived| derived.size);
        ENTRY_OVERHEAD + key.1.name.as_bytes().len() + value + derived
    }
}

/// A request stands in the list of its share and with its identity; it is held once.
type Key = (BlindedId, Arc<NameRequest>);

/// What one caller holds.
#[derive(Debug)]
struct Share {
    entries: LruCache<Key, Entry>,
    bytes: usize,
}

/// All shares, with what finds the largest one at once: there may be one for each client of a network.
#[derive(Debug, Default)]
struct Shares {
    of: HashMap<Holder, Share>,
    by_results: BTreeSet<(usize, Holder)>,
    by_bytes: BTreeSet<(usize, Holder)>,
    results: usize,
    bytes: usize,
}

impl Shares {
    fn get(&self, holder: Holder) -> Option<&Share> {
        self.of.get(&holder)
    }

    /// Changes a share. One that holds nothing is no more.
    fn change<T>(&mut self, holder: Holder, change: impl FnOnce(&mut Share) -> T) -> T {
        let share = self.of.entry(holder).or_insert_with(|| Share {
            entries: LruCache::unbounded(),
            bytes: 0,
        });
        let before = (share.entries.len(), share.bytes);
        let changed = change(share);
        let after = (share.entries.len(), share.bytes);
        if after.0 == 0 {
            self.of.remove(&holder);
        }
        if before != after {
            self.by_results.remove(&(before.0, holder));
            self.by_bytes.remove(&(before.1, holder));
            if after.0 > 0 {
                self.by_results.insert((after.0, holder));
                self.by_bytes.insert((after.1, holder));
            }
            self.results = (self.results + after.0).saturating_sub(before.0);
            self.bytes = (self.bytes + after.1).saturating_sub(before.1);
        }
        changed
    }

    /// Notes that an entry was used.
    fn promote(&mut self, holder: Holder, key: &Key) -> Option<&Entry> {
        self.of.get_mut(&holder)?.entries.get(key)
    }

    fn pop(&mut self, holder: Holder, key: &Key) {
        self.change(holder, |share| {
            if let Some(entry) = share.entries.pop(key) {
                share.bytes = share.bytes.saturating_sub(entry.size(key));
            }
        });
    }

    /// Takes the least recently used entry of a share.
    fn pop_least_used(&mut self, holder: Holder) -> Option<Key> {
        self.change(holder, |share| {
            let (key, entry) = share.entries.pop_lru()?;
            share.bytes = share.bytes.saturating_sub(entry.size(&key));
            Some(key)
        })
    }
}

#[derive(Debug)]
struct Flight {
    number: u64,
    begun: Moment,
    pending: Pending,
}

#[derive(Debug, Default)]
struct Identity {
    /// Whose share holds the result of a request.
    known: HashMap<Arc<NameRequest>, Holder>,
    in_flight: HashMap<NameRequest, Flight>,
    use_told: Option<Moment>,
}

/// All results.
#[derive(Debug)]
pub struct ResultCache {
    settings: CacheSettings,
    identities: HashMap<BlindedId, Identity>,
    shares: Shares,
    begun: u64,
    forgotten: u64,
    renewals: u64,
}

impl ResultCache {
    /// Makes an empty cache.
    pub fn new(settings: CacheSettings) -> Self {
        Self {
            settings,
            identities: HashMap::new(),
            shares: Shares::default(),
            begun: 0,
            forgotten: 0,
            renewals: 0,
        }
    }

    /// Returns how many results are remembered, and the bytes that they take.
    pub fn size(&self) -> (usize, usize) {
        (self.shares.results, self.shares.bytes)
    }

    /// Counts how often something was forgotten: whoever holds what was made of results compares it.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Counts how often all identities were forgotten.
    pub fn renewals(&self) -> u64 {
        self.renewals
    }

    /// Returns what is known, with the moment at which it ends.
    pub fn find(&mut self, id: BlindedId, request: &NameRequest, at: CacheTime) -> Option<(&NameResult, Moment)> {
        let entry = self.entry(id, request, at)?;
        Some((&entry.result, entry.until))
    }

    /// Returns when what is known was asked for.
    pub fn asked(&mut self, id: BlindedId, request: &NameRequest, at: CacheTime) -> Option<Moment> {
        Some(self.entry(id, request, at)?.asked)
    }

    /// Judges a proved result by a newer block than the one that it was last judged by: `judge` says how it stands now, or
    /// that the chain is no longer the one that it was proved by. Without this such a result counts as unknown.
    pub fn rejudge(
        &mut self,
        id: BlindedId,
        request: &NameRequest,
        at: CacheTime,
        judge: impl FnOnce(&Proved) -> Option<Proved>,
    ) {
        let known = self.identities.get(&id).and_then(|it| it.known.get_key_value(request));
        let Some((request, holder)) = known.map(|(request, holder)| (Arc::clone(request), *holder)) else {
            return;
        };
        let key = (id, request);
        let is_newer = |entry: &Entry| entry.is_of_another_block(at);
        let entry = self.shares.get(holder).and_then(|share| share.entries.peek(&key));
        if !entry.is_some_and(is_newer) {
            return;
        }
        let still_true = self.shares.change(holder, |share| {
            let Some(entry) = share.entries.peek_mut(&key) else {
                return true;
            };
            let Ok(Answer::Proved(proved)) = &entry.result else {
                return true;
            };
            let before = entry.size(&key);
            let had_value = entry.result.as_ref().is_ok_and(Answer::has_value);
            let Some(judged) = judge(proved) else {
                return false;
            };
            entry.result = Ok(Answer::Proved(Arc::new(judged)));
            if had_value != entry.result.as_ref().is_ok_and(Answer::has_value) {
                entry.derived = None;
            }
            let after = entry.size(&key);
            share.bytes = (share.bytes + after).saturating_sub(before);
            true
        });
        if !still_true {
            self.remove(holder, &key);
        }
    }

    /// Returns what was made of a value.
    pub fn derived(&mut self, id: BlindedId, request: &NameRequest, at: CacheTime) -> Option<&Derived> {
        self.entry(id, request, at)?.derived.as_ref()
    }

    fn entry(&mut self, id: BlindedId, request: &NameRequest, at: CacheTime) -> Option<&Entry> {
        let (request, holder) = self.identities.get(&id)?.known.get_key_value(request)?;
        let (key, holder) = ((id, Arc::clone(request)), *holder);
        let entry = self.shares.get(holder).and_then(|share| share.entries.peek(&key));
        if entry.is_none_or(|entry| entry.is_stale(at)) {
            self.remove(holder, &key);
            return None;
        }
        self.shares.promote(holder, &key)
    }

    /// Remembers what was made of a value, for as long as the value itself.
    pub fn attach(&mut self, id: BlindedId, request: &NameRequest, derived: Derived) {
        let known = self.identities.get(&id).and_then(|it| it.known.get_key_value(request));
        let Some((request, holder)) = known.map(|(request, holder)| (Arc::clone(request), *holder)) else {
            return;
        };
        let key = (id, request);
        self.shares.change(holder, |share| {
            if let Some(entry) = share.entries.peek_mut(&key) {
                let before = entry.size(&key);
                entry.derived = Some(derived);
                share.bytes = (share.bytes + entry.size(&key)).saturating_sub(before);
            }
        });
        self.trim();
    }

    /// Says whether the source is to be told that an identity lives on its cache; that counts as told.
    pub fn tells_use(&mut self, id: BlindedId, now: Moment) -> bool {
        let Some(identity) = self.identities.get_mut(&id) else {
            return false;
        };
        let is_due = identity.use_told.is_none_or(|told| now.since(told) >= TELL_USE);
        if is_due {
            identity.use_told = Some(now);
        }
        is_due
    }

    /// Begins a lookup, or joins the same one of the same identity. At most `most` are in flight under one identity.
    pub fn begin(&mut self, id: BlindedId, request: &NameRequest, most: usize, now: Moment) -> Begun {
        if most == 0 {
            return Begun::Full;
        }
        let identity = self.identities.entry(id).or_default();
        // One whose task is gone will never come to anything.
        identity
            .in_flight
            .retain(|_, flight| flight.pending.has_changed().is_ok());
        if let Some(flight) = identity.in_flight.get(request) {
            return Begun::Joined(flight.pending.clone());
        }
        if identity.in_flight.len() >= most {
            return Begun::Full;
        }
        self.begun += 1;
        let number = self.begun;
        let (result, pending) = watch::channel(None);
        let flight = Flight {
            number,
            begun: now,
            pending: pending.clone(),
        };
        identity.in_flight.insert(request.clone(), flight);
        identity.use_told = Some(now);
        Begun::New {
            number,
            result,
            pending,
        }
    }

    /// Ends a lookup. Its result is remembered in a holder's share, unless the identity was forgotten in the meantime;
    /// without a holder it is not. It lives for `share` of its time, 0 to 1: drawn at random, so that results that came
    /// together don't end together.
    #[expect(clippy::too_many_arguments, reason = "what a lookup is, and what it came to")]
    pub fn end(
        &mut self,
        id: BlindedId,
        request: NameRequest,
        number: u64,
        holder: Option<Holder>,
        result: &NameResult,
        now: Moment,
        share: f64,
    ) {
        let Some(identity) = self.identities.get_mut(&id) else {
            return;
        };
        let asked = match identity.in_flight.entry(request.clone()) {
            Slot::Occupied(flight) if flight.get().number == number => flight.remove().begun,
            _ => return,
        };
        let key = (id, Arc::new(request));
        // A later lookup takes the place of an earlier one, whatever it came to.
        if let Some(earlier) = identity.known.remove(&key.1) {
            self.shares.pop(earlier, &key);
        }
        let life = self.settings.life(result).mul_f64(share.clamp(0.0, 1.0));
        let holder = holder.filter(|_| !life.is_zero());
        let (Some(holder), Some(identity)) = (holder, self.identities.get_mut(&id)) else {
            self.drop_if_empty(id);
            return;
        };
        identity.known.insert(Arc::clone(&key.1), holder);
        let entry = Entry {
            result: result.clone(),
            asked,
            until: now + life,
            derived: None,
        };
        self.shares.change(holder, |share| {
            share.bytes += entry.size(&key);
            share.entries.put(key, entry);
        });
        self.trim();
    }

    /// Forgets an identity; `None`: all of them. What is in flight is not remembered.
    pub fn forget(&mut self, id: Option<BlindedId>) {
        self.forgotten += 1;
        let Some(id) = id else {
            self.renewals += 1;
            self.identities.clear();
            self.shares = Shares::default();
            return;
        };
        for (request, holder) in self.identities.remove(&id).unwrap_or_default().known {
            self.shares.pop(holder, &(id, request));
        }
    }

    fn remove(&mut self, holder: Holder, key: &Key) {
        self.shares.pop(holder, key);
        if let Some(identity) = self.identities.get_mut(&key.0) {
            identity.known.remove(&key.1);
        }
        self.drop_if_empty(key.0);
    }

    /// Whoever learnt nothing leaves nothing.
    fn drop_if_empty(&mut self, id: BlindedId) {
        if let Slot::Occupied(identity) = self.identities.entry(id)
            && identity.get().known.is_empty()
            && identity.get().in_flight.is_empty()
        {
            identity.remove();
        }
    }

    fn trim(&mut self) {
        loop {
            let (results, bytes) = self.size();
            let largest = if bytes > self.settings.bytes {
                self.shares.by_bytes.last()
            } else if results > self.settings.results {
                self.shares.by_results.last()
            } else {
                return;
            };
            let Some(&(_, holder)) = largest else {
                return;
            };
            let Some(key) = self.shares.pop_least_used(holder) else {
                return;
            };
            if let Some(identity) = self.identities.get_mut(&key.0) {
                identity.known.remove(&key.1);
            }
            self.drop_if_empty(key.0);
        }
    }
}

#[cfg(test)]
mod tests;

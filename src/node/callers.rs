//! What is kept for each caller, and for no other: results of a while ago, lookups in flight.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use tokio::sync::watch;

use super::NodeError;
use super::handle::Answer;
use crate::isolation::BlindedId;
use crate::name::{NameId, Outcome};
use crate::time::Moment;

/// How long and how much is remembered of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// How long a value is remembered, at most until the next block; zero: not at all.
    pub positive: Duration,
    /// How long absence is remembered; zero: not at all.
    pub negative: Duration,
    /// Most results for one isolation ID. A value has at most 1023 bytes, so this bounds bytes as well. Zero: none.
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
    pub(super) quorum: u8,
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
    by_id: HashMap<BlindedId, Caller>,
    lives: u64,
}

/// What to do about a question.
pub(super) enum Found {
    /// The answer is remembered; the flag says that the pool is to be told of the use.
    Answer(Box<Answer>, bool),
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
            by_id: HashMap::new(),
            lives: 0,
        }
    }

    pub(super) fn find(&mut self, id: &BlindedId, key: &Key, tip: bitcoin::BlockHash, now: Moment) -> Found {
        let lives = &mut self.lives;
        let results = NonZeroUsize::new(self.settings.results).unwrap_or(NonZeroUsize::MIN);
        let settings = self.settings;
        let caller = self.by_id.entry(*id).or_insert_with(|| {
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
                return Found::Answer(Box::new(answer.clone()), tell);
            }
            caller.results.pop(key);
        }
        match caller.pending.get(key) {
            Some(pending) => Found::Pending(pending.clone()),
            None => Found::Nothing { life: caller.life },
        }
    }

    pub(super) fn begin(&mut self, id: &BlindedId, key: Key, pending: Pending) {
        if let Some(caller) = self.by_id.get_mut(id) {
            caller.pending.insert(key, pending);
        }
    }

    /// Ends a lookup and remembers its answer, unless the ID was forgotten in the meantime.
    pub(super) fn end(&mut self, id: &BlindedId, life: u64, key: &Key, answer: Option<&Answer>, now: Moment) {
        let Some(caller) = self.by_id.get_mut(id).filter(|caller| caller.life == life) else {
            return;
        };
        caller.pending.remove(key);
        if let Some(answer) = answer
            && self.settings.results > 0
            && !self.settings.ttl(&answer.outcome).is_zero()
        {
            caller.results.put(key.clone(), (answer.clone(), now));
        }
        // The pool may have never heard of an ID that needed no connection, and so would never have it forgotten.
        if caller.pending.is_empty() && caller.results.is_empty() {
            self.by_id.remove(id);
        }
    }

    pub(super) fn forget(&mut self, id: &BlindedId) {
        self.by_id.remove(id);
    }

    pub(super) fn forget_all(&mut self) {
        self.by_id.clear();
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

#[cfg(test)]
mod tests {
    use bitcoin::BlockHash;
    use bitcoin::hashes::Hash;
    use bitcoin::pow::Work;

    use super::*;
    use crate::chain::Tip;
    use crate::isolation::IsolationId;
    use crate::name::policy::NameStatus;
    use crate::name::proof::ProvenName;
    use crate::time::Timestamp;

    fn id(text: &str) -> BlindedId {
        IsolationId::new(text.as_bytes()).unwrap().blinded(&[0; 32])
    }

    fn key(name: &str) -> Key {
        Key {
            name: NameId::new(name.as_bytes()).unwrap(),
            allow_expired: false,
            quorum: 1,
        }
    }

    fn block(number: u8) -> BlockHash {
        BlockHash::from_byte_array([number; 32])
    }

    fn answer(outcome: Outcome) -> Answer {
        let tip = Tip {
            height: 100,
            hash: block(1),
            chainwork: Work::from_be_bytes([0; 32]),
            time: Timestamp(0),
        };
        Answer {
            outcome,
            tip,
            unproved: 0,
        }
    }

    fn found() -> Answer {
        answer(Outcome::Found(NameStatus {
            name: ProvenName::assumed(90, None).unwrap(),
            confirmations: 11,
            expires_in: 35_990,
            semi_expires_in: 31_000,
        }))
    }

    fn absent() -> Answer {
        answer(Outcome::NeverExisted)
    }

    fn callers() -> Callers {
        Callers::new(CacheSettings::default())
    }

    fn seconds(seconds: u64) -> Moment {
        Moment(seconds * 1000)
    }

    /// Begins a lookup and returns the life that it is in, and what ends it.
    fn begin(
        callers: &mut Callers,
        who: &BlindedId,
        key: &Key,
    ) -> (u64, watch::Sender<Option<Result<Answer, NodeError>>>) {
        let Found::Nothing { life } = callers.find(who, key, block(1), seconds(0)) else {
            panic!("something is known");
        };
        let (sender, pending) = watch::channel(None);
        callers.begin(who, key.clone(), pending);
        (life, sender)
    }

    fn remember(callers: &mut Callers, who: &BlindedId, key: &Key, answer: &Answer) {
        let (life, _sender) = begin(callers, who, key);
        callers.end(who, life, key, Some(answer), seconds(0));
    }

    fn is_known(callers: &mut Callers, who: &BlindedId, key: &Key, tip: BlockHash, now: Moment) -> bool {
        matches!(callers.find(who, key, tip, now), Found::Answer(..))
    }

    #[test]
    fn what_one_learns_no_other_knows() {
        let mut callers = callers();
        for (name, answer) in [("d/there", found()), ("d/absent", absent())] {
            remember(&mut callers, &id("a"), &key(name), &answer);
            assert!(is_known(&mut callers, &id("a"), &key(name), block(1), seconds(1)));
            for other in ["b", "", "A"] {
                let known = callers.find(&id(other), &key(name), block(1), seconds(1));
                assert!(matches!(known, Found::Nothing { .. }), "{name} {other}");
            }
        }
    }

    #[test]
    fn lookups_in_flight_are_joined_under_one_id_only() {
        let mut callers = callers();
        let (life, _sender) = begin(&mut callers, &id("a"), &key("d/x"));
        let mut find = |who: &str, key: &Key| callers.find(&id(who), key, block(1), seconds(0));
        assert!(matches!(find("a", &key("d/x")), Found::Pending(_)));
        assert!(matches!(find("b", &key("d/x")), Found::Nothing { .. }));
        assert!(matches!(find("a", &key("d/y")), Found::Nothing { .. }));
        let expired_too = Key {
            allow_expired: true,
            ..key("d/x")
        };
        assert!(matches!(find("a", &expired_too), Found::Nothing { .. }));
        let by_more = Key {
            quorum: 2,
            ..key("d/x")
        };
        assert!(matches!(find("a", &by_more), Found::Nothing { .. }));
        callers.end(&id("a"), life, &key("d/x"), None, seconds(0));
        let after = callers.find(&id("a"), &key("d/x"), block(1), seconds(0));
        assert!(matches!(after, Found::Nothing { .. }), "a failure is not remembered");
    }

    #[test]
    fn a_value_is_known_until_the_next_block_or_ten_minutes() {
        let mut callers = callers();
        let (who, name) = (id("a"), key("d/x"));
        remember(&mut callers, &who, &name, &found());
        assert!(is_known(&mut callers, &who, &name, block(1), seconds(599)));
        assert!(!is_known(&mut callers, &who, &name, block(1), seconds(600)));
        remember(&mut callers, &who, &name, &found());
        assert!(!is_known(&mut callers, &who, &name, block(2), seconds(1)));
        assert!(
            !is_known(&mut callers, &who, &name, block(1), seconds(1)),
            "gone for good"
        );
    }

    #[test]
    fn absence_is_known_for_a_minute_whatever_the_tip() {
        let mut callers = callers();
        let (who, name) = (id("a"), key("d/x"));
        remember(&mut callers, &who, &name, &absent());
        assert!(is_known(&mut callers, &who, &name, block(2), seconds(59)));
        assert!(!is_known(&mut callers, &who, &name, block(2), seconds(60)));
    }

    #[test]
    fn zero_turns_each_kind_off() {
        for (settings, answer) in [
            (
                CacheSettings {
                    positive: Duration::ZERO,
                    ..CacheSettings::default()
                },
                found(),
            ),
            (
                CacheSettings {
                    negative: Duration::ZERO,
                    ..CacheSettings::default()
                },
                absent(),
            ),
            (
                CacheSettings {
                    results: 0,
                    ..CacheSettings::default()
                },
                found(),
            ),
        ] {
            let mut callers = Callers::new(settings);
            remember(&mut callers, &id("a"), &key("d/x"), &answer);
            assert!(!is_known(&mut callers, &id("a"), &key("d/x"), block(1), seconds(0)));
        }
    }

    #[test]
    fn results_of_one_id_are_bounded() {
        let settings = CacheSettings {
            results: 3,
            ..CacheSettings::default()
        };
        let mut callers = Callers::new(settings);
        let names: Vec<Key> = (0..5).map(|at| key(&format!("d/{at}"))).collect();
        for name in &names {
            remember(&mut callers, &id("a"), name, &found());
        }
        let known: Vec<bool> = names
            .iter()
            .map(|name| is_known(&mut callers, &id("a"), name, block(1), seconds(0)))
            .collect();
        assert_eq!(known, [false, false, true, true, true]);
    }

    #[test]
    fn a_lookup_of_an_earlier_life_leaves_nothing_in_the_next() {
        let mut callers = callers();
        let (who, name) = (id("a"), key("d/x"));
        let (earlier, _sender) = begin(&mut callers, &who, &name);
        callers.forget(&who);
        let (later, _sender) = begin(&mut callers, &who, &name);
        assert_ne!(earlier, later);
        callers.end(&who, earlier, &name, Some(&found()), seconds(0));
        let now = callers.find(&who, &name, block(1), seconds(0));
        assert!(matches!(now, Found::Pending(_)), "the later lookup goes on, and alone");
        remember(&mut callers, &id("b"), &name, &found());
        callers.forget_all();
        assert!(callers.by_id.is_empty());
        callers.end(&who, later, &name, Some(&found()), seconds(0));
        assert!(callers.by_id.is_empty());
    }

    #[test]
    fn an_id_that_learnt_nothing_leaves_nothing() {
        let mut callers = callers();
        for at in 0..100 {
            let (who, name) = (id(&at.to_string()), key("d/x"));
            let (life, _sender) = begin(&mut callers, &who, &name);
            callers.end(&who, life, &name, None, seconds(0));
        }
        assert!(callers.by_id.is_empty());
    }

    #[test]
    fn the_pool_is_told_of_uses_once_a_minute() {
        let settings = CacheSettings {
            positive: Duration::from_secs(1000),
            ..CacheSettings::default()
        };
        let mut callers = Callers::new(settings);
        let (who, name) = (id("a"), key("d/x"));
        remember(&mut callers, &who, &name, &found());
        let told: Vec<u64> = (0..200)
            .filter(|at| {
                matches!(
                    callers.find(&who, &name, block(1), seconds(*at)),
                    Found::Answer(_, true)
                )
            })
            .collect();
        assert_eq!(told, [60, 120, 180]);
    }
}

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin::pow::Work;
use proptest::prelude::*;

use super::*;
use crate::chain::Tip;
use crate::isolation::IsolationId;
use crate::name::policy::NameStatus;
use crate::name::proof::ProvenName;
use crate::name::{NameId, Outcome};
use crate::node::{NodeError, Proved};
use crate::service::{ServiceError, Stated};
use crate::time::Timestamp;

fn id(text: &str) -> BlindedId {
    IsolationId::new(text.as_bytes()).unwrap().blinded(&[0; 32])
}

fn request(name: &str) -> NameRequest {
    NameRequest {
        name: NameId::new(name.as_bytes()).unwrap(),
        allow_expired: false,
        quorum: 1,
    }
}

fn block(number: u8) -> BlockHash {
    BlockHash::from_byte_array([number; 32])
}

fn proved(outcome: Outcome) -> Answer {
    let tip = Tip {
        height: 100,
        hash: block(1),
        chainwork: Work::from_be_bytes([0; 32]),
        time: Timestamp(0),
    };
    Answer::Proved(Arc::new(Proved {
        outcome,
        tip,
        unproved: 0,
        read_from: None,
        block: None,
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "a result like any other one")]
fn found() -> NameResult {
    Ok(proved(Outcome::Found(NameStatus {
        name: ProvenName::assumed(90, None).unwrap(),
        confirmations: 11,
        expires_in: 35_990,
        semi_expires_in: 31_000,
    })))
}

#[expect(clippy::unnecessary_wraps, reason = "a result like any other one")]
fn absent() -> NameResult {
    Ok(proved(Outcome::NeverExisted))
}

fn failed() -> NameResult {
    Err(ServiceError::Node(NodeError::Stopped))
}

fn cache() -> ResultCache {
    ResultCache::new(CacheSettings::default())
}

fn seconds(seconds: u64) -> Moment {
    Moment(seconds * 1000)
}

fn at(block_number: u8, now: u64) -> CacheTime {
    CacheTime {
        now: seconds(now),
        tip: Some(block(block_number)),
    }
}

/// Begins a lookup and returns its number, and what ends it.
fn begin(cache: &mut ResultCache, who: BlindedId, request: &NameRequest) -> (u64, watch::Sender<Option<NameResult>>) {
    match cache.begin(who, request, 9, seconds(0)) {
        Begun::New { number, result, .. } => (number, result),
        begun => panic!("{begun:?}"),
    }
}

fn remember_for(
    cache: &mut ResultCache,
    holder: impl Into<Holder>,
    who: BlindedId,
    request: &NameRequest,
    result: &NameResult,
) {
    let (number, _sender) = begin(cache, who, request);
    cache.end(
        who,
        request.clone(),
        number,
        Some(holder.into()),
        result,
        seconds(0),
        1.0,
    );
    cache.check();
}

fn remember(cache: &mut ResultCache, who: BlindedId, request: &NameRequest, result: &NameResult) {
    remember_for(cache, Caller::Rpc, who, request, result);
}

fn is_known(cache: &mut ResultCache, who: BlindedId, request: &NameRequest, at: CacheTime) -> bool {
    cache.find(who, request, at).is_some()
}

impl ResultCache {
    /// Counts anew what the cache says that it holds, and compares what is written in two places.
    pub(crate) fn check(&self) {
        let mut known = 0;
        for (id, identity) in &self.identities {
            assert!(
                !identity.known.is_empty() || !identity.in_flight.is_empty(),
                "an identity that holds nothing"
            );
            for (request, holder) in &identity.known {
                assert!(self.shares.of[holder].entries.contains(&(*id, request.clone())));
                known += 1;
            }
        }
        let (results, bytes) = self.size();
        assert_eq!(results, known);
        let mut sum = 0;
        for (holder, share) in &self.shares.of {
            let counted: usize = share.entries.iter().map(|(key, entry)| entry.size(key)).sum();
            assert_eq!(share.bytes, counted);
            assert!(!share.entries.is_empty(), "a share of nothing");
            assert!(self.shares.by_results.contains(&(share.entries.len(), *holder)));
            assert!(self.shares.by_bytes.contains(&(share.bytes, *holder)));
            sum += counted;
        }
        assert_eq!(bytes, sum);
        let shares = self.shares.of.len();
        assert_eq!(
            (self.shares.by_results.len(), self.shares.by_bytes.len()),
            (shares, shares)
        );
        assert!(results <= self.settings.results && bytes <= self.settings.bytes);
    }
}

#[test]
fn what_one_learns_no_other_knows() {
    let mut cache = cache();
    for (name, result) in [("d/there", found()), ("d/absent", absent()), ("d/failed", failed())] {
        remember(&mut cache, id("a"), &request(name), &result);
        assert!(is_known(&mut cache, id("a"), &request(name), at(1, 1)));
        for other in ["b", "", "A"] {
            assert!(
                !is_known(&mut cache, id(other), &request(name), at(1, 1)),
                "{name} {other}"
            );
            let begun = cache.begin(id(other), &request(name), 9, seconds(1));
            assert!(matches!(begun, Begun::New { .. }), "{name} {other}");
        }
    }
}

#[test]
fn lookups_in_flight_are_joined_under_one_id_only() {
    let mut cache = cache();
    let (number, _sender) = begin(&mut cache, id("a"), &request("d/x"));
    let mut flights = Vec::new();
    let mut is_joined = |who: &str, request: &NameRequest| match cache.begin(id(who), request, 9, seconds(0)) {
        Begun::Joined(_) => true,
        // It is in flight as long as its sender is there.
        Begun::New { result, .. } => {
            flights.push(result);
            false
        }
        Begun::Full => panic!("there is room"),
    };
    assert!(is_joined("a", &request("d/x")));
    assert!(!is_joined("b", &request("d/x")));
    assert!(!is_joined("a", &request("d/y")));
    let expired_too = NameRequest {
        allow_expired: true,
        ..request("d/x")
    };
    assert!(!is_joined("a", &expired_too));
    let by_more = NameRequest {
        quorum: 2,
        ..request("d/x")
    };
    assert!(!is_joined("a", &by_more));
    cache.end(id("a"), request("d/x"), number, None, &failed(), seconds(0), 1.0);
    assert!(!is_known(&mut cache, id("a"), &request("d/x"), at(1, 0)));
    let after = cache.begin(id("a"), &request("d/x"), 9, seconds(0));
    assert!(matches!(after, Begun::New { .. }), "it has ended");
}

#[test]
fn all_who_joined_have_the_result() {
    let mut cache = cache();
    let (number, sender) = begin(&mut cache, id("a"), &request("d/x"));
    let Begun::Joined(mut pending) = cache.begin(id("a"), &request("d/x"), 9, seconds(0)) else {
        panic!("it is in flight");
    };
    // Even if it is forgotten meanwhile.
    cache.forget(Some(id("a")));
    cache.end(
        id("a"),
        request("d/x"),
        number,
        Some(Caller::Rpc.into()),
        &found(),
        seconds(0),
        1.0,
    );
    sender.send_replace(Some(found()));
    assert!(matches!(&*pending.borrow_and_update(), Some(Ok(Answer::Proved(_)))));
    assert!(!is_known(&mut cache, id("a"), &request("d/x"), at(1, 0)));
}

#[test]
fn a_flight_whose_task_is_gone_is_begun_anew() {
    let mut cache = cache();
    let (number, sender) = begin(&mut cache, id("a"), &request("d/x"));
    drop(sender);
    let Begun::New {
        number: later, result, ..
    } = cache.begin(id("a"), &request("d/x"), 1, seconds(0))
    else {
        panic!("nobody will ever end it");
    };
    assert_ne!(number, later);
    drop(result);
    let other = cache.begin(id("a"), &request("d/y"), 1, seconds(0));
    assert!(matches!(other, Begun::New { .. }), "one that is gone takes no room");
}

#[test]
fn an_identity_has_no_more_in_flight_than_it_may() {
    let mut cache = cache();
    let (number, _first) = begin(&mut cache, id("a"), &request("d/x"));
    let (_, _second) = begin(&mut cache, id("a"), &request("d/y"));
    let full = |cache: &mut ResultCache, who: &str, name: &str, most| {
        matches!(cache.begin(id(who), &request(name), most, seconds(0)), Begun::Full)
    };
    assert!(full(&mut cache, "a", "d/z", 2));
    assert!(!full(&mut cache, "a", "d/x", 2), "joining takes no room");
    assert!(!full(&mut cache, "b", "d/z", 2), "another one's are not counted");
    cache.end(id("a"), request("d/x"), number, None, &absent(), seconds(0), 1.0);
    assert!(!full(&mut cache, "a", "d/z", 2));
    assert!(full(&mut cache, "c", "d/x", 0));
    assert!(!cache.identities.contains_key(&id("c")));
}

#[test]
fn a_value_is_known_for_its_share_of_ten_minutes() {
    for (share, life) in [(1.0, 600), (0.5, 300), (0.75, 450)] {
        let mut cache = cache();
        let (who, name) = (id("a"), request("d/x"));
        let (number, _sender) = begin(&mut cache, who, &name);
        cache.end(
            who,
            name.clone(),
            number,
            Some(Caller::Rpc.into()),
            &found(),
            seconds(0),
            share,
        );
        assert!(is_known(&mut cache, who, &name, at(1, life - 1)));
        assert!(!is_known(&mut cache, who, &name, at(1, life)));
        assert!(cache.identities.is_empty());
    }
}

#[test]
fn a_new_block_has_what_was_proved_judged_again_and_ends_nothing() {
    let mut cache = cache();
    let (who, name) = (id("a"), request("d/x"));
    remember(&mut cache, who, &name, &found());
    cache.rejudge(who, &name, at(1, 1), |_| panic!("it is of this very block"));
    let judged_at = |number: u8| {
        move |proved: &Proved| {
            let mut judged = proved.clone();
            judged.tip.hash = block(number);
            Some(judged)
        }
    };
    for number in 2..5 {
        cache.rejudge(who, &name, at(number, 10), judged_at(number));
        cache.check();
        let (result, until) = cache.find(who, &name, at(number, 10)).unwrap();
        assert_eq!(result.as_ref().unwrap().proved_at(), Some(block(number)));
        assert_eq!(until, seconds(600), "no longer and no shorter");
    }
    assert_eq!(cache.asked(who, &name, at(4, 10)), Some(seconds(0)));
    cache.rejudge(who, &name, at(5, 10), |_| None);
    cache.check();
    assert!(!is_known(&mut cache, who, &name, at(5, 10)), "its own block is gone");
    assert!(cache.identities.is_empty());
}

#[test]
fn what_was_made_of_a_value_stays_while_it_is_one() {
    let (who, name) = (id("a"), request("d/x"));
    for (outcome, stays) in [(found(), true), (absent(), false)] {
        let mut cache = cache();
        remember(&mut cache, who, &name, &found());
        let derived = Derived {
            value: Arc::new(()),
            size: 100,
        };
        cache.attach(who, &name, derived);
        let Ok(Answer::Proved(now)) = outcome else { panic!() };
        cache.rejudge(who, &name, at(2, 1), |_| {
            let mut judged = Proved::clone(&now);
            judged.tip.hash = block(2);
            Some(judged)
        });
        cache.check();
        assert_eq!(cache.derived(who, &name, at(2, 1)).is_some(), stays);
    }
}

#[test]
fn without_a_judge_nothing_that_was_proved_outlives_its_block() {
    let mut cache = cache();
    let (who, name) = (id("a"), request("d/x"));
    remember(&mut cache, who, &name, &found());
    assert!(!is_known(&mut cache, who, &name, at(2, 1)));
    assert!(!is_known(&mut cache, who, &name, at(1, 1)), "gone for good");
    assert!(cache.identities.is_empty());
}

#[test]
fn what_was_proved_of_a_name_without_a_value_is_known_for_a_minute() {
    let Ok(Answer::Proved(known)) = found() else { panic!() };
    let Outcome::Found(status) = known.outcome.clone() else {
        panic!()
    };
    let unconfirmed = Ok(proved(Outcome::Unconfirmed {
        status,
        got: 11,
        expected: 12,
    }));
    let mut cache = cache();
    let (who, name) = (id("a"), request("d/x"));
    remember(&mut cache, who, &name, &unconfirmed);
    assert!(is_known(&mut cache, who, &name, at(1, 59)));
    assert!(!is_known(&mut cache, who, &name, at(1, 60)), "it is no value");
    remember(&mut cache, who, &name, &unconfirmed);
    assert!(!is_known(&mut cache, who, &name, at(2, 1)));
}

#[test]
fn absence_is_known_for_a_minute_whatever_the_tip() {
    for absent in [absent(), Ok(Answer::Stated(Stated::Absent))] {
        let mut cache = cache();
        let (who, name) = (id("a"), request("d/x"));
        remember(&mut cache, who, &name, &absent);
        assert!(is_known(&mut cache, who, &name, at(2, 59)));
        assert!(!is_known(&mut cache, who, &name, at(2, 60)));
    }
}

/// Whoever takes no failure for an answer begins anew: what is found says that it is one.
#[test]
fn a_failure_is_known_for_two_seconds_and_stands_in_nobodys_way() {
    let mut cache = cache();
    let (who, name) = (id("a"), request("d/x"));
    remember(&mut cache, who, &name, &failed());
    let time = CacheTime {
        now: Moment(1999),
        tip: Some(block(2)),
    };
    let (result, until) = cache.find(who, &name, time).unwrap();
    assert!(result.is_err());
    assert_eq!(until, seconds(2));
    remember(&mut cache, who, &name, &found());
    let (result, until) = cache.find(who, &name, at(1, 1)).unwrap();
    assert!(result.is_ok());
    assert_eq!(until, seconds(600));
    remember(&mut cache, id("b"), &name, &failed());
    assert!(!is_known(&mut cache, id("b"), &name, at(1, 2)));
}

#[test]
fn zero_turns_each_kind_off() {
    let settings = CacheSettings::default();
    let positive = Duration::ZERO;
    for (settings, result) in [
        (CacheSettings { positive, ..settings }, found()),
        (
            CacheSettings {
                negative: Duration::ZERO,
                ..settings
            },
            absent(),
        ),
        (
            CacheSettings {
                failure: Duration::ZERO,
                ..settings
            },
            failed(),
        ),
        (CacheSettings { results: 0, ..settings }, found()),
        (CacheSettings { bytes: 0, ..settings }, found()),
    ] {
        let mut cache = ResultCache::new(settings);
        remember(&mut cache, id("a"), &request("d/x"), &result);
        assert!(!is_known(&mut cache, id("a"), &request("d/x"), at(1, 0)));
        assert!(cache.identities.is_empty());
    }
    // What was remembered before is not found in place of it either.
    let mut cache = ResultCache::new(CacheSettings { positive, ..settings });
    remember(&mut cache, id("a"), &request("d/x"), &failed());
    remember(&mut cache, id("a"), &request("d/x"), &found());
    assert!(!is_known(&mut cache, id("a"), &request("d/x"), at(1, 0)));
}

#[test]
fn results_are_bounded_over_all() {
    let settings = CacheSettings {
        results: 3,
        ..CacheSettings::default()
    };
    let mut cache = ResultCache::new(settings);
    let names: Vec<(BlindedId, NameRequest)> = (0..5)
        .map(|at| (id(["a", "b"][at % 2]), request(&format!("d/{at}"))))
        .collect();
    for (who, name) in &names {
        remember(&mut cache, *who, name, &found());
    }
    let known: Vec<bool> = names
        .iter()
        .map(|(who, name)| is_known(&mut cache, *who, name, at(1, 0)))
        .collect();
    assert_eq!(known, [false, false, true, true, true]);
    // What was used least lately goes first.
    is_known(&mut cache, names[2].0, &names[2].1, at(1, 0));
    remember(&mut cache, id("c"), &request("d/x"), &found());
    assert!(is_known(&mut cache, names[2].0, &names[2].1, at(1, 0)));
    assert!(!is_known(&mut cache, names[3].0, &names[3].1, at(1, 0)));
}

#[test]
fn bytes_are_bounded_over_all() {
    let settings = CacheSettings {
        bytes: 10 * ENTRY_OVERHEAD,
        ..CacheSettings::default()
    };
    let mut cache = ResultCache::new(settings);
    for at in 0..100 {
        remember(&mut cache, id(&at.to_string()), &request("d/x"), &found());
    }
    let (results, bytes) = cache.size();
    assert_eq!(results, 9);
    assert!(bytes <= settings.bytes && bytes > settings.bytes / 2);
    assert_eq!(cache.identities.len(), 9, "an ID that lost all leaves nothing");
}

#[test]
fn a_lookup_of_an_earlier_life_leaves_nothing_in_the_next() {
    let mut cache = cache();
    let (who, name) = (id("a"), request("d/x"));
    let (earlier, _sender) = begin(&mut cache, who, &name);
    cache.forget(Some(who));
    let (later, _sender) = begin(&mut cache, who, &name);
    assert_ne!(earlier, later);
    cache.end(
        who,
        name.clone(),
        earlier,
        Some(Caller::Rpc.into()),
        &found(),
        seconds(0),
        1.0,
    );
    assert!(!is_known(&mut cache, who, &name, at(1, 0)));
    let now = cache.begin(who, &name, 9, seconds(0));
    assert!(matches!(now, Begun::Joined(_)), "the later lookup goes on, and alone");
    remember(&mut cache, id("b"), &name, &found());
    cache.forget(None);
    assert!(cache.identities.is_empty());
    cache.end(
        who,
        name.clone(),
        later,
        Some(Caller::Rpc.into()),
        &found(),
        seconds(0),
        1.0,
    );
    assert!(cache.identities.is_empty());
    assert_eq!(cache.size(), (0, 0));
}

#[test]
fn an_id_that_learnt_nothing_leaves_nothing() {
    let mut cache = cache();
    for at in 0..100 {
        let (who, name) = (id(&at.to_string()), request("d/x"));
        let (number, _sender) = begin(&mut cache, who, &name);
        cache.end(who, name, number, None, &found(), seconds(0), 1.0);
    }
    assert!(cache.identities.is_empty());
}

#[test]
fn the_pool_is_told_of_uses_once_a_minute() {
    let settings = CacheSettings {
        positive: Duration::from_secs(1000),
        ..CacheSettings::default()
    };
    let mut cache = ResultCache::new(settings);
    let (who, name) = (id("a"), request("d/x"));
    remember(&mut cache, who, &name, &found());
    let told: Vec<u64> = (0..200)
        .filter(|now| is_known(&mut cache, who, &name, at(1, *now)) && cache.tells_use(who, seconds(*now)))
        .collect();
    assert_eq!(told, [60, 120, 180]);
    assert!(!cache.tells_use(id("b"), seconds(0)), "nothing is known of it");
}

#[test]
fn one_identity_is_forgotten_or_all() {
    let mut cache = cache();
    for who in ["", "a", "b"] {
        remember(&mut cache, id(who), &request("d/x"), &found());
        remember_for(&mut cache, Caller::Dns, id(who), &request("d/y"), &absent());
    }
    assert_eq!(cache.forgotten(), 0);
    cache.forget(Some(id("a")));
    cache.check();
    assert_eq!((cache.size().0, cache.forgotten()), (4, 1));
    for (who, is_there) in [("", true), ("a", false), ("b", true)] {
        for name in ["d/x", "d/y"] {
            assert_eq!(is_known(&mut cache, id(who), &request(name), at(1, 0)), is_there);
        }
    }
    cache.forget(None);
    cache.check();
    assert_eq!((cache.size(), cache.forgotten()), ((0, 0), 2));
}

#[test]
fn what_was_made_of_a_value_goes_with_it() {
    let mut cache = cache();
    let (who, name) = (id("a"), request("d/x"));
    let made = |size| Derived {
        value: Arc::new(7_u8),
        size,
    };
    cache.attach(who, &name, made(10));
    assert!(cache.derived(who, &name, at(1, 0)).is_none(), "there is no value");
    remember(&mut cache, who, &name, &found());
    let bare = cache.size().1;
    assert!(cache.derived(who, &name, at(1, 0)).is_none());
    cache.attach(who, &name, made(10));
    cache.attach(who, &name, made(30));
    cache.check();
    assert_eq!(cache.size().1, bare + 30);
    assert!(cache.derived(id("b"), &name, at(1, 0)).is_none());
    let kept = cache.derived(who, &name, at(1, 599)).unwrap();
    assert_eq!(kept.value.downcast_ref(), Some(&7_u8));
    assert!(cache.derived(who, &name, at(1, 600)).is_none());
    for end in ["block", "later lookup", "forgetting"] {
        remember(&mut cache, who, &name, &found());
        cache.attach(who, &name, made(10));
        match end {
            "block" => assert!(cache.derived(who, &name, at(2, 0)).is_none()),
            "later lookup" => remember(&mut cache, who, &name, &found()),
            _ => cache.forget(Some(who)),
        }
        cache.check();
        assert!(cache.derived(who, &name, at(1, 0)).is_none(), "{end}");
        cache.forget(None);
    }
}

#[test]
fn what_was_made_of_a_value_counts_towards_the_bound() {
    let settings = CacheSettings {
        bytes: 10 * ENTRY_OVERHEAD,
        ..CacheSettings::default()
    };
    let mut cache = ResultCache::new(settings);
    for name in ["d/a", "d/b"] {
        remember(&mut cache, id("a"), &request(name), &found());
    }
    let value: Arc<dyn Any + Send + Sync> = Arc::new(());
    let size = 9 * ENTRY_OVERHEAD;
    cache.attach(id("a"), &request("d/b"), Derived { value, size });
    cache.check();
    assert!(cache.size().0 < 2);
}

#[test]
fn a_flood_by_one_caller_pushes_out_its_own_alone() {
    let settings = CacheSettings {
        results: 40,
        ..CacheSettings::default()
    };
    let mut cache = ResultCache::new(settings);
    for at in 0..10 {
        remember_for(
            &mut cache,
            Caller::Streams,
            id("a"),
            &request(&format!("d/{at}")),
            &found(),
        );
    }
    for at in 0..1000 {
        let who = id(&format!("flood {at}"));
        remember_for(&mut cache, Caller::Rpc, who, &request("d/x"), &found());
    }
    assert_eq!(cache.size().0, 40);
    for name in 0..10 {
        assert!(is_known(&mut cache, id("a"), &request(&format!("d/{name}")), at(1, 0)));
    }
}

#[test]
fn a_flood_by_one_client_pushes_out_its_own_alone() {
    let settings = CacheSettings {
        results: 40,
        ..CacheSettings::default()
    };
    let mut cache = ResultCache::new(settings);
    let client = |client| Holder {
        front: Caller::Dns,
        client: Some(client),
    };
    for at in 0..10 {
        let name = request(&format!("d/{at}"));
        remember_for(&mut cache, client(1), id("a"), &name, &found());
    }
    for at in 0..1000 {
        let who = id(&format!("flood {at}"));
        remember_for(&mut cache, client(2), who, &request("d/x"), &found());
    }
    assert_eq!(cache.size().0, 40);
    for name in 0..10 {
        assert!(is_known(&mut cache, id("a"), &request(&format!("d/{name}")), at(1, 0)));
    }
}

#[test]
fn a_result_belongs_to_who_looked_it_up_last() {
    let mut cache = cache();
    remember_for(&mut cache, Caller::Dns, id("a"), &request("d/x"), &failed());
    remember_for(&mut cache, Caller::Rpc, id("a"), &request("d/x"), &found());
    assert_eq!(cache.size().0, 1);
    assert_eq!(cache.shares.of[&Caller::Rpc.into()].entries.len(), 1);
}

fn any_holder() -> impl Strategy<Value = Holder> {
    let fronts = prop::sample::select(Caller::ALL.to_vec());
    (fronts, prop::option::of(0..2_u64)).prop_map(|(front, client)| Holder { front, client })
}

proptest! {
    /// A share is fair when it is the bound, divided by all who hold something.
    #[test]
    fn who_holds_less_than_a_fair_share_never_loses_anything(
        steps in prop::collection::vec((any_holder(), 0..20_u8, 0..4_usize), 1..200),
        results in 1..30_usize,
        kilobytes in 1..80_usize,
    ) {
        let settings = CacheSettings { results, bytes: kilobytes << 10, ..CacheSettings::default() };
        let mut cache = ResultCache::new(settings);
        for (holder, name, derived) in steps {
            // Each has names of its own, so that none takes another one's over.
            let (who, name) = (id(&format!("{holder:?}")), request(&format!("d/{name}")));
            let held = |cache: &ResultCache| -> BTreeMap<Holder, (BTreeSet<Vec<u8>>, usize)> {
                cache.shares.of.iter().map(|(holder, share)| {
                    let names = share.entries.iter().map(|(key, _)| key.1.name.as_bytes().to_vec());
                    (*holder, (names.collect(), share.bytes))
                }).collect()
            };
            let before = held(&cache);
            remember_for(&mut cache, holder, who, &name, &found());
            let value: Arc<dyn Any + Send + Sync> = Arc::new(());
            cache.attach(who, &name, Derived { value, size: derived << 10 });
            cache.check();
            let after = held(&cache);
            let holders = before.len() + usize::from(!before.contains_key(&holder));
            for (at, (names, bytes)) in before.iter().filter(|(at, _)| **at != holder) {
                if names.len() <= settings.results / holders && *bytes <= settings.bytes / holders {
                    let now = after.get(at).map(|(names, _)| names);
                    prop_assert_eq!(now, Some(names), "{:?} of {} hold {:?}", at, holders, before);
                }
            }
        }
    }
}

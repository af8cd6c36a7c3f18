use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

const RULE: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(100));

fn rng() -> StdRng {
    StdRng::seed_from_u64(1)
}

fn seconds(seconds: u64) -> Moment {
    Moment(seconds * 1000)
}

fn reputation(servers: usize) -> ServerReputation {
    ServerReputation::new(servers)
}

const A: ServerIndex = ServerIndex(0);
const B: ServerIndex = ServerIndex(1);
const C: ServerIndex = ServerIndex(2);

#[test]
fn header_sync_leaves_a_server_alone_for_longer_with_each_dial_until_it_is_of_use() {
    let mut sync = SyncReputation::new(1);
    let pauses: Vec<Duration> = (0..3)
        .map(|_| {
            sync.record(seconds(10), A, SyncEvidence::Dialed);
            sync.record(seconds(10), A, SyncEvidence::Ended(RULE));
            sync.not_before(A).since(seconds(10))
        })
        .collect();
    assert_eq!(pauses, [2, 4, 8].map(Duration::from_secs));
    assert!(!sync.may_be_dialed(A, 3, seconds(20)));
    assert!(sync.may_be_dialed(A, 4, seconds(20)));
    sync.record(seconds(20), A, SyncEvidence::Useful);
    assert_eq!(sync.dials(A), 0);
    assert!(sync.may_be_dialed(A, 3, seconds(20)));
}

#[test]
fn header_sync_forgives_failures_of_ten_minutes_ago() {
    let mut sync = SyncReputation::new(1);
    for _ in 0..3 {
        sync.record(seconds(10), A, SyncEvidence::Dialed);
    }
    sync.record(seconds(10), A, SyncEvidence::Ended(RULE));
    assert!(!sync.may_be_dialed(A, 3, seconds(617)));
    assert!(sync.may_be_dialed(A, 3, seconds(618)));
    sync.record(seconds(618), A, SyncEvidence::Dialed);
    assert_eq!(sync.dials(A), 1);
}

#[test]
fn who_has_enough_of_header_sync_is_left_alone_in_both_ways() {
    let mut sync = SyncReputation::new(1);
    sync.record(seconds(1), A, SyncEvidence::RateLimited(RULE));
    assert_eq!((sync.not_before(A), sync.extra_not_before(A)), (seconds(2), seconds(2)));
    sync.record(seconds(5), A, SyncEvidence::ExtraDialFailed);
    assert_eq!(
        (sync.not_before(A), sync.extra_not_before(A)),
        (seconds(2), seconds(35))
    );
    sync.record(seconds(9), A, SyncEvidence::Rested);
    assert_eq!(sync.not_before(A), seconds(9));
}

#[test]
fn a_ban_lasts_for_a_run_of_header_sync_and_is_told() {
    let mut reputation = reputation(2);
    reputation.header_sync_mut().record(seconds(1), A, SyncEvidence::Faulty);
    let sync = reputation.header_sync();
    assert!(sync.is_banned(A, seconds(2)) && !sync.is_banned(B, seconds(2)));
    assert!(!sync.may_be_dialed(A, 3, seconds(100_000)));
    reputation.header_sync_mut().begin();
    assert!(!reputation.header_sync().is_banned(A, seconds(2)));
}

#[test]
fn who_is_not_ready_is_left_alone_for_an_hour_and_a_liar_stays_one() {
    let mut reputation = reputation(2);
    let sync = reputation.header_sync_mut();
    for server in [A, B] {
        sync.record(seconds(1), server, SyncEvidence::Unready);
    }
    sync.record(seconds(2), B, SyncEvidence::Faulty);
    sync.record(seconds(3), B, SyncEvidence::Unready);
    let may = |at| [A, B].map(|server| sync.may_be_dialed(server, 3, seconds(at)));
    assert_eq!(may(3600), [false, false]);
    assert_eq!(may(3601), [true, false]);
    assert_eq!(sync.not_before(A), seconds(3601));
}

#[test]
fn header_sync_sees_nothing_of_what_lookups_see() {
    let mut with = reputation(3);
    let without = with.clone();
    for (at, evidence) in [
        Evidence::Lied,
        Evidence::Failed(FailureKind::Useless),
        Evidence::Failed(FailureKind::Unreachable),
        Evidence::Opened,
        Evidence::Unfit,
    ]
    .into_iter()
    .enumerate()
    {
        with.record(seconds(1), ServerIndex(at % 3), evidence, &mut rng());
    }
    assert_eq!(with.header_sync().records, without.header_sync().records);
}

const FAILED: Evidence = Evidence::Failed(FailureKind::Unreachable);

/// Counts how often each of three servers is chosen, in 4,000 draws.
fn chosen(reputation: &ServerReputation, at: Moment, avoided: &[ServerIndex]) -> [usize; 3] {
    let avoided: BTreeSet<ServerIndex> = avoided.iter().copied().collect();
    let mut rng = rng();
    let mut counts = [0; 3];
    for _ in 0..4000 {
        if let Some(ServerIndex(at)) = reputation.choose(at, &avoided, &mut rng) {
            counts[at] += 1;
        }
    }
    counts
}

/// A reputation of three, of which the first one was met with this evidence at the beginning.
fn met(evidence: &[Evidence]) -> ServerReputation {
    let mut reputation = reputation(3);
    for evidence in evidence {
        reputation.record(seconds(0), A, *evidence, &mut rng());
    }
    reputation
}

fn inside((from, until): (Moment, Moment)) -> Moment {
    Moment(from.0.midpoint(until.0))
}

#[test]
fn all_servers_have_the_same_chance_and_those_to_avoid_have_none() {
    for count in chosen(&reputation(3), seconds(0), &[]) {
        assert!((1200..1470).contains(&count), "{count}");
    }
    let [a, b, c] = chosen(&reputation(3), seconds(0), &[B]);
    assert!((1850..2150).contains(&a) && b == 0 && a + c == 4000, "{a} {b} {c}");
    assert_eq!(chosen(&reputation(3), seconds(0), &[A, B, C]), [0; 3]);
    assert_eq!(chosen(&reputation(0), seconds(0), &[]), [0; 3]);
}

#[test]
fn where_another_one_of_its_operator_is_preferred_a_server_is_chosen_while_that_is_in_doubt() {
    let mut reputation = reputation(3);
    reputation.regroup(&[0, 0, 2], BTreeMap::from([(A, B)]));
    assert_eq!(reputation.operators(), 2);
    assert_eq!(reputation.with_siblings(&BTreeSet::from([A])), BTreeSet::from([A, B]));
    let [a, b, c] = chosen(&reputation, seconds(0), &[]);
    assert!((60..240).contains(&a) && (1800..2200).contains(&b), "{a} {b} {c}");
    assert_eq!(
        chosen(&reputation, seconds(0), &[B, C]),
        [4000, 0, 0],
        "there is always one"
    );
    let [a, _, c] = chosen(&reputation, seconds(0), &[B]);
    assert!(a.abs_diff(c) < 200, "{a} {c}");
    for _ in 0..3 {
        let failed = Evidence::Failed(FailureKind::Unreachable);
        reputation.record(seconds(0), B, failed, &mut rng());
    }
    let (from, _) = reputation.doubted(B).unwrap();
    let [a, b, c] = chosen(&reputation, from, &[]);
    assert!(
        (1700..2200).contains(&a) && b < 240 && (1700..2200).contains(&c),
        "{a} {b} {c}"
    );
}

#[test]
fn a_server_that_was_added_is_for_header_sync_alone_until_it_is_admitted_and_for_nobody_once_parted() {
    let mut reputation = reputation(2);
    let c = reputation.add(STRANGERS);
    assert_eq!(
        (c, reputation.header_sync().servers(), reputation.operators()),
        (C, 3, 2)
    );
    assert_eq!(chosen(&reputation, seconds(0), &[])[2], 0);
    assert_eq!(reputation.choose(seconds(0), &BTreeSet::from([A, B]), &mut rng()), None);
    assert!(reputation.header_sync().may_be_dialed(C, 3, seconds(0)));
    reputation.admit(C);
    assert!(chosen(&reputation, seconds(0), &[])[2] > 1200);
    let other = reputation.add(STRANGERS);
    reputation.admit(other);
    assert_eq!(reputation.operators(), 3, "strangers are one voice");
    assert_eq!(
        reputation.with_siblings(&BTreeSet::from([C])),
        BTreeSet::from([C, other])
    );
    reputation.part(C);
    reputation.header_sync_mut().begin();
    assert_eq!(
        reputation.choose(seconds(0), &BTreeSet::from([A, B, other]), &mut rng()),
        None
    );
    assert!(!reputation.header_sync().may_be_dialed(C, 3, seconds(0)));
}

#[test]
fn what_fewer_than_three_circuits_saw_changes_nothing() {
    for evidence in [
        FAILED,
        Evidence::Lied,
        Evidence::Unfit,
        Evidence::Failed(FailureKind::Useless),
    ] {
        let reputation = met(&[evidence, evidence]);
        for at in [0, 600, 100_000] {
            assert_eq!(
                chosen(&reputation, seconds(at), &[]),
                chosen(&met(&[]), seconds(at), &[])
            );
        }
    }
    let well_again = met(&[FAILED, FAILED, Evidence::Opened, FAILED, FAILED]);
    assert_eq!(well_again.doubted(A), None, "only failures in a row count");
}

#[test]
fn after_three_circuits_a_server_is_chosen_less_often_from_a_random_moment_on_and_for_a_random_time() {
    for evidence in [
        [FAILED; 3],
        [Evidence::Lied; 3],
        [Evidence::Unfit, Evidence::Lied, Evidence::Lied],
    ] {
        let reputation = met(&evidence);
        let (from, until) = reputation.doubted(A).unwrap();
        assert!(from > seconds(0) && until > from);
        let unknown = chosen(&met(&[]), seconds(0), &[]);
        assert_eq!(chosen(&reputation, Moment(from.0 - 1), &[]), unknown);
        let [a, b, c] = chosen(&reputation, inside((from, until)), &[]);
        assert!((70..180).contains(&a), "one in 33: {a}");
        assert!(b > 1700 && c > 1700);
        assert_eq!(chosen(&reputation, until, &[]), unknown);
        assert_eq!(
            chosen(&reputation, inside((from, until)), &[B, C]),
            [4000, 0, 0],
            "there is never none"
        );
    }
    let begins: BTreeSet<Option<(Moment, Moment)>> = (0..20)
        .map(|seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut reputation = reputation(1);
            for _ in 0..3 {
                reputation.record(seconds(0), A, FAILED, &mut rng);
            }
            reputation.doubted(A)
        })
        .collect();
    assert_eq!(begins.len(), 20, "at a moment of its own");
}

#[test]
fn a_server_that_is_seen_well_again_is_trusted_again_but_for_its_lies() {
    for (evidence, ends_sooner) in [(FAILED, true), (Evidence::Lied, false)] {
        let mut reputation = met(&[evidence; 3]);
        let (from, until) = reputation.doubted(A).unwrap();
        let sooner = (0..200).any(|seed| {
            let mut reputation = reputation.clone();
            reputation.record(from, A, Evidence::Opened, &mut StdRng::seed_from_u64(seed));
            reputation.doubted(A).unwrap().1 < until
        });
        assert_eq!(sooner, ends_sooner);
        reputation.record(from, A, Evidence::Opened, &mut rng());
        assert!(reputation.doubted(A).unwrap().1 <= until);
    }
}

#[test]
fn who_can_be_reached_and_is_of_no_use_is_doubted_all_the_same() {
    let useless = Evidence::Failed(FailureKind::Useless);
    let reputation = met(&[
        Evidence::Opened,
        useless,
        Evidence::Opened,
        useless,
        Evidence::Opened,
        useless,
    ]);
    let (_, until) = reputation.doubted(A).unwrap();
    let mut reputation = reputation;
    reputation.record(seconds(1), A, Evidence::Opened, &mut rng());
    assert_eq!(
        reputation.doubted(A).unwrap().1,
        until,
        "another connection says nothing new"
    );
}

#[test]
fn lies_that_are_far_apart_are_not_added_up() {
    let mut reputation = reputation(1);
    for day in 0..10 {
        reputation.record(seconds(day * 86_400), A, Evidence::Lied, &mut rng());
    }
    assert_eq!(reputation.doubted(A), None);
}

#[test]
fn no_way_out_is_held_against_nobody() {
    let reputation = met(&[Evidence::Failed(FailureKind::NoWayOut); 9]);
    assert_eq!(reputation.doubted(A), None);
}

fn evidence() -> impl Strategy<Value = Evidence> {
    prop_oneof![
        Just(Evidence::Opened),
        Just(Evidence::Failed(FailureKind::Unreachable)),
        Just(Evidence::Failed(FailureKind::NoWayOut)),
        Just(Evidence::Failed(FailureKind::Useless)),
        Just(Evidence::Lied),
        Just(Evidence::Unfit),
    ]
}

proptest! {
    #[test]
    fn there_is_always_a_server_and_all_are_trusted_again_some_time(
        events in prop::collection::vec((0..1_000_000_u64, 0..4_usize, evidence()), 0..60),
        seed: u64,
    ) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut reputation = reputation(3);
        let mut now = Moment::default();
        for (pause, server, evidence) in events {
            now = now + Duration::from_millis(pause);
            reputation.record(now, ServerIndex(server), evidence, &mut rng);
            prop_assert!(reputation.choose(now, &BTreeSet::new(), &mut rng).is_some());
            prop_assert!(reputation.choose(now, &BTreeSet::from([A, B]), &mut rng) == Some(C));
        }
        // Pauses are exponential; 40 means is longer than chance makes any of them.
        let later = now + (DOUBT.longest + DOUBT_PAUSE) * 40;
        prop_assert_eq!(chosen(&reputation, later, &[]), chosen(&met(&[]), later, &[]));
    }

    #[test]
    fn what_header_sync_does_depends_on_its_own_evidence_alone(
        events in prop::collection::vec((0..1_000_000_u64, 0..3_usize, 0..7_u8, evidence()), 0..60),
    ) {
        let (mut both, mut alone) = (reputation(3), reputation(3));
        let mut now = Moment::default();
        for (pause, server, which, other) in events {
            now = now + Duration::from_millis(pause);
            let server = ServerIndex(server);
            let sync = match which {
                0 => SyncEvidence::Dialed,
                1 => SyncEvidence::Useful,
                2 => SyncEvidence::Ended(RULE),
                3 => SyncEvidence::RateLimited(RULE),
                4 => SyncEvidence::ExtraDialFailed,
                5 => SyncEvidence::Faulty,
                _ => SyncEvidence::Rested,
            };
            both.record(now, server, other, &mut rng());
            both.header_sync_mut().record(now, server, sync);
            alone.header_sync_mut().record(now, server, sync);
            prop_assert_eq!(&both.header_sync().records, &alone.header_sync().records);
        }
    }
}

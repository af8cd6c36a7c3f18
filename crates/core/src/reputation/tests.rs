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
    ServerReputation::new(servers, ServerReputation::BACK_OFF)
}

fn nobody() -> BTreeSet<ServerIndex> {
    BTreeSet::new()
}

fn good(lag: u32) -> SyncEvidence {
    SyncEvidence::Result {
        usable: true,
        lag: Some(lag),
    }
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
    reputation.header_sync_mut().record(seconds(1), A, good(0));
    reputation.header_sync_mut().record(seconds(1), A, SyncEvidence::Faulty);
    let sync = reputation.header_sync();
    assert!(sync.is_banned(A) && !sync.is_banned(B));
    assert!(!sync.may_be_dialed(A, 3, seconds(100_000)));
    reputation.header_sync_mut().begin();
    assert!(!reputation.header_sync().is_banned(A));
    let is_good = reputation.header_sync().get(A).is_good;
    assert_eq!(is_good, Some(true), "it is good until a sync says otherwise");
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
    ]
    .into_iter()
    .enumerate()
    {
        with.record(seconds(1), ServerIndex(at % 3), evidence, &mut rng());
    }
    assert_eq!(with.header_sync().0, without.header_sync().0);
}

/// Which servers are chosen, over many draws, when each has so many connections.
fn chosen(reputation: &ServerReputation, at: u64, avoided: &[ServerIndex], load: &[usize]) -> BTreeSet<ServerIndex> {
    let avoided: BTreeSet<ServerIndex> = avoided.iter().copied().collect();
    (0..50)
        .filter_map(|seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            reputation.choose(seconds(at), true, &avoided, |server| load[server.0], &mut rng)
        })
        .collect()
}

#[test]
fn those_that_header_sync_got_on_with_come_first() {
    let mut reputation = reputation(3);
    let all = BTreeSet::from([A, B, C]);
    assert_eq!(chosen(&reputation, 0, &[], &[0, 0, 0]), all, "nothing is known of any");
    let sync = reputation.header_sync_mut();
    sync.record(seconds(1), A, good(2));
    sync.record(seconds(1), B, good(1));
    let unusable = SyncEvidence::Result {
        usable: false,
        lag: Some(0),
    };
    sync.record(seconds(1), C, unusable);
    assert_eq!(chosen(&reputation, 1, &[], &[0, 0, 0]), BTreeSet::from([B]));
    let rest = chosen(&reputation, 1, &[B], &[0, 0, 0]);
    assert_eq!(rest, BTreeSet::from([A, C]), "the others come by chance");
    assert_eq!(
        chosen(&reputation, 1, &[], &[0, 1, 0]),
        all,
        "good ones have their connections"
    );
    assert_eq!(chosen(&reputation, 1, &[], &[0, 2, 0]), BTreeSet::from([A, C]));
    let silent = SyncEvidence::Result {
        usable: true,
        lag: None,
    };
    reputation.header_sync_mut().record(seconds(2), B, silent);
    assert_eq!(chosen(&reputation, 2, &[], &[0, 0, 0]), all, "no good one is left");
}

#[test]
fn a_server_that_header_sync_did_not_ask_is_not_held_to_be_bad() {
    let mut reputation = reputation(3);
    let sync = reputation.header_sync_mut();
    sync.record(seconds(1), A, good(0));
    sync.record(seconds(1), B, good(9));
    assert_eq!(chosen(&reputation, 1, &[], &[0, 0, 0]), BTreeSet::from([A, C]));
}

#[test]
fn liars_are_asked_only_when_no_other_is_left() {
    let mut reputation = reputation(2);
    reputation.header_sync_mut().record(seconds(1), A, good(0));
    reputation.record(seconds(1), A, Evidence::Lied, &mut rng());
    assert_eq!(chosen(&reputation, 1, &[], &[0, 9]), BTreeSet::from([B]));
    reputation.record(seconds(900), A, Evidence::Opened, &mut rng());
    assert_eq!(
        chosen(&reputation, 900, &[], &[0, 9]),
        BTreeSet::from([B]),
        "a connection is no proof of honesty"
    );
    reputation.record(seconds(901), B, Evidence::Failed(FailureKind::Unreachable), &mut rng());
    assert_eq!(
        chosen(&reputation, 905, &[], &[0, 0]),
        BTreeSet::from([B]),
        "even if the other one may only be tried for a lookup"
    );
    assert_eq!(
        chosen(&reputation, 905, &[B], &[9, 0]),
        BTreeSet::from([A]),
        "the last resort"
    );
    reputation.record(seconds(905), B, Evidence::Opened, &mut rng());
    reputation.record(seconds(905), B, Evidence::Lied, &mut rng());
    reputation.record(seconds(1300), B, Evidence::Opened, &mut rng());
    assert_eq!(chosen(&reputation, 1300, &[], &[0, 0]), BTreeSet::from([A, B]));
}

#[test]
fn no_lie_is_held_against_a_server_for_ever() {
    let mut reputation = reputation(2);
    reputation.record(seconds(0), A, Evidence::Lied, &mut rng());
    reputation.record(seconds(900), A, Evidence::Opened, &mut rng());
    let until = DISTRUST.as_secs();
    assert_eq!(chosen(&reputation, until - 1, &[], &[0, 9]), BTreeSet::from([B]));
    assert_eq!(chosen(&reputation, until, &[], &[0, 9]), BTreeSet::from([A]));
}

#[test]
fn no_way_out_is_held_against_nobody() {
    let mut reputation = reputation(1);
    reputation.record(seconds(5), A, Evidence::Failed(FailureKind::NoWayOut), &mut rng());
    assert_eq!(reputation.next_try(false, &nobody()), Some(Moment::default()));
}

#[test]
fn a_server_that_was_not_reached_is_tried_for_a_lookup_within_seconds() {
    let mut reputation = reputation(2);
    let failed = Evidence::Failed(FailureKind::Unreachable);
    for at in [0, 400, 800] {
        reputation.record(seconds(at), A, failed, &mut rng());
    }
    let others = BTreeSet::from([B]);
    let patient = reputation.next_try(false, &others).unwrap().since(seconds(800));
    let urgent = reputation.next_try(true, &others).unwrap().since(seconds(800));
    assert!(
        patient >= Duration::from_secs(4) && patient <= Duration::from_secs(8),
        "{patient:?}"
    );
    assert!(urgent >= URGENT_REST / 2 && urgent <= URGENT_REST, "{urgent:?}");
    assert_eq!(reputation.next_try(true, &BTreeSet::from([A, B])), None);
    let choose = |urgent| reputation.choose(seconds(804), urgent, &others, |_| 0, &mut rng());
    assert_eq!((choose(true), choose(false)), (Some(A), None));
}

#[test]
fn the_least_loaded_is_chosen_and_failures_weigh_like_connections() {
    let mut reputation = reputation(2);
    let mut rng = rng();
    assert_eq!(
        reputation.choose(seconds(0), false, &nobody(), |server| server.0, &mut rng),
        Some(A)
    );
    reputation.record(seconds(0), A, Evidence::Failed(FailureKind::Unreachable), &mut rng);
    let load = |server: ServerIndex| usize::from(server == B);
    let chosen: BTreeSet<_> = (0..50)
        .map(|_| reputation.choose(seconds(100), false, &nobody(), load, &mut rng))
        .collect();
    assert_eq!(chosen, BTreeSet::from([Some(A), Some(B)]));
}

fn evidence() -> impl Strategy<Value = Evidence> {
    prop_oneof![
        Just(Evidence::Opened),
        Just(Evidence::Failed(FailureKind::Unreachable)),
        Just(Evidence::Failed(FailureKind::NoWayOut)),
        Just(Evidence::Failed(FailureKind::Useless)),
        Just(Evidence::Lied),
    ]
}

proptest! {
    #[test]
    fn every_server_is_tried_again_some_time_and_none_before_it_may(
        events in prop::collection::vec((0..1_000_000_u64, 0..4_usize, evidence()), 0..60),
        seed: u64,
    ) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut reputation = reputation(3);
        let mut now = Moment::default();
        for (pause, server, evidence) in events {
            now = now + Duration::from_millis(pause);
            reputation.record(now, ServerIndex(server), evidence, &mut rng);
            for urgent in [false, true] {
                let next = reputation.next_try(urgent, &nobody()).unwrap();
                prop_assert!(next <= now + ServerReputation::BACK_OFF.longest);
                let chosen = reputation.choose(now, urgent, &nobody(), |_| 0, &mut rng);
                prop_assert_eq!(chosen.is_some(), next <= now);
            }
        }
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
                _ => good(1),
            };
            both.record(now, server, other, &mut rng());
            both.header_sync_mut().record(now, server, sync);
            alone.header_sync_mut().record(now, server, sync);
            prop_assert_eq!(&both.header_sync().0, &alone.header_sync().0);
        }
    }
}

//! One test for each rule.

use std::collections::BTreeSet;
use std::time::Duration;

use super::driver::{Driver, Fate, SEED, id, key};
use crate::backoff::Backoff;
use crate::isolation::ConnId;
use crate::net::pool::{FailureKind, PoolEvent, PoolSettings, Refusal, ServerIndex};
use crate::reputation::ServerReputation;
use crate::time::Moment;

const MINUTE: Duration = Duration::from_secs(60);

fn driver(servers: usize) -> Driver {
    Driver::new(servers, PoolSettings::default(), SEED)
}

/// Returns a driver whose pool is full.
fn warm(servers: usize) -> Driver {
    let mut driver = driver(servers);
    driver.run_well(MINUTE);
    assert_eq!(driver.clean().len(), driver.settings.clean);
    driver
}

fn tolerant() -> PoolSettings {
    PoolSettings {
        keep_alive_mean: Duration::from_secs(1_000_000),
        keep_alive_max: Duration::from_secs(1_000_000),
        clean_ttl: Duration::from_secs(10_000_000),
        id_ttl: Duration::from_secs(10_000_000),
        ..PoolSettings::default()
    }
}

#[test]
fn the_pool_fills_one_by_one_up_to_the_target_and_starts_with_a_pause() {
    let mut driver = driver(1);
    assert!(driver.opening.is_empty(), "nothing opens at the start itself");
    driver.run_well(MINUTE);
    assert_eq!(driver.clean().len(), 6);
    let moments: BTreeSet<Moment> = driver.seen.values().map(|it| it.begun).collect();
    assert_eq!(moments.len(), 6, "no two at a time");
}

#[test]
fn while_one_opens_the_pools_clock_begins_no_other() {
    let mut driver = driver(2);
    let end = driver.now + MINUTE;
    while driver.tick(end) {}
    assert_eq!(driver.opening.len(), 1);
}

#[test]
fn gaps_between_openings_are_exponential() {
    let settings = PoolSettings {
        clean: 100_000,
        ..tolerant()
    };
    let mut driver = Driver::new(1, settings, SEED);
    driver.run_well(Duration::from_secs(4500));
    let mut moments: Vec<Moment> = driver.seen.values().map(|it| it.begun).collect();
    moments.sort_unstable();
    let mut gaps: Vec<f64> = moments
        .windows(2)
        .map(|two| two[1].since(two[0]).as_secs_f64())
        .collect();
    gaps.sort_unstable_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let count = gaps.len() as f64;
    assert!(count > 2500.0);
    let distances = gaps.iter().zip(0_u32..).map(|(gap, at)| {
        let expected = 1.0 - (-gap / 1.5).exp();
        (expected - f64::from(at) / count)
            .abs()
            .max((expected - f64::from(at + 1) / count).abs())
    });
    // Kolmogorov-Smirnov at the level of 0.1 %.
    assert!(distances.fold(0.0, f64::max) < 1.95 / count.sqrt());
}

#[test]
fn openings_of_the_pools_clock_happen_at_moments_that_uses_cannot_move() {
    let unused = {
        // The target is never reached, so every tick shows as an opening.
        let settings = PoolSettings {
            clean: 10_000,
            ..tolerant()
        };
        let mut driver = Driver::new(2, settings, SEED);
        driver.run_well(MINUTE * 10);
        driver.seen.values().map(|it| it.begun).collect::<Vec<_>>()
    };
    let used = {
        let settings = PoolSettings {
            clean: 10_000,
            ..tolerant()
        };
        let mut driver = Driver::new(2, settings, SEED);
        driver.run_well(MINUTE);
        let end = driver.now + MINUTE * 9;
        for number in 0.. {
            if driver.now >= end {
                break;
            }
            driver.serve(key(number, 0));
            if number % 3 == 0 {
                driver.step(PoolEvent::Forget(id(number)));
            }
            let pause = Duration::from_millis(2600).min(end.since(driver.now));
            driver.run_well(pause);
        }
        driver.seen.values().map(|it| it.begun).collect::<Vec<_>>()
    };
    assert_eq!(unused, used);
}

#[test]
fn a_used_connection_is_replaced_by_the_clock_and_not_by_the_use() {
    let mut driver = warm(1);
    let tick = driver.wake_at;
    let before = driver.seen.len();
    driver.serve(key(1, 0));
    assert_eq!(driver.seen.len(), before, "nothing opens at the use");
    assert!(driver.wake_at <= tick);
    driver.run_well(MINUTE);
    assert_eq!(driver.seen.len(), before + 1);
    assert_eq!(driver.clean().len(), 6);
}

#[test]
fn a_connection_stays_with_its_key_and_other_keys_get_others() {
    let mut driver = warm(1);
    let conn = driver.serve(key(1, 0));
    assert_eq!(driver.serve(key(1, 0)), conn);
    let others = [
        driver.serve(key(1, 1)),
        driver.serve(key(2, 0)),
        driver.serve(key(2, 1)),
    ];
    assert!(!others.contains(&conn));
    assert_eq!(others.iter().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(driver.serve(key(1, 0)), conn);
}

#[test]
fn attempts_of_one_id_go_to_different_servers() {
    for seed in 0..20 {
        let mut driver = Driver::new(3, PoolSettings::default(), [seed; 32]);
        driver.run_well(MINUTE);
        let servers: BTreeSet<ServerIndex> = (0..3)
            .map(|attempt| {
                let conn = driver.serve(key(1, attempt));
                driver.seen[&conn].server
            })
            .collect();
        assert_eq!(servers.len(), 3);
    }
}

#[test]
fn an_attempt_goes_to_another_server_than_one_before_whose_connection_is_gone() {
    for seed in 0..20 {
        // Without connections ready and with: each attempt's server hangs up on it.
        for clean in [0, 6] {
            let settings = PoolSettings {
                clean,
                ..PoolSettings::default()
            };
            let mut driver = Driver::new(3, settings, [seed; 32]);
            driver.run_well(MINUTE);
            let mut servers = BTreeSet::new();
            for attempt in 0..3 {
                let ticket = driver.want(key(1, attempt));
                driver.run_well(MINUTE);
                let conn = driver.conn(ticket);
                servers.insert(driver.seen[&conn].server);
                driver.closed(conn, FailureKind::Unreachable);
                driver.release(ticket);
            }
            assert_eq!(servers.len(), 3, "seed {seed}, {clean} ready");
        }
    }
}

#[test]
fn attempts_that_must_be_apart_wait_for_another_server() {
    for seed in 0..20 {
        let mut driver = Driver::new(2, PoolSettings::default(), [seed; 32]);
        // Everything that is there leads to one server.
        driver.run(MINUTE, |server| (server.0 == 1).then_some(FailureKind::Unreachable));
        let first = driver.serve(key(1, 0));
        let opinion = driver.serve(key(1, 1));
        assert_eq!(
            driver.seen[&opinion].server,
            ServerIndex(0),
            "the best that could be had"
        );
        let ticket = driver.want_distinct_server(key(1, 1));
        assert_eq!(driver.fate(ticket), None);
        assert!(driver.seen[&opinion].over, "and of no use any more");
        driver.run_well(MINUTE / 2);
        let second = driver.conn(ticket);
        assert_eq!(driver.seen[&second].server, ServerIndex(1));
        driver.release(ticket);
        assert_eq!(driver.serve(key(1, 0)), first);
        assert_eq!(driver.serve(key(1, 1)), second);
        let ticket = driver.want_distinct_server(key(1, 2));
        assert_eq!(
            driver.fate(ticket),
            Some(Fate::Refused(Refusal::Unreachable)),
            "there is no third server"
        );
    }
}

#[test]
fn who_waits_for_a_dead_server_keeps_nobody_from_the_others() {
    let mut driver = driver(2);
    let alive = |server: ServerIndex| (server.0 == 1).then_some(FailureKind::Unreachable);
    driver.run(MINUTE, alive);
    for number in 0..6 {
        driver.serve(key(number, 0));
    }
    let choosy: Vec<_> = (0..6)
        .map(|number| driver.want_distinct_server(key(number, 1)))
        .collect();
    let others: Vec<_> = (10..20).map(|number| driver.want(key(number, 0))).collect();
    driver.run(MINUTE / 4, alive);
    for ticket in choosy {
        assert_eq!(driver.fate(ticket), Some(Fate::Refused(Refusal::Unreachable)));
    }
    for ticket in others {
        assert!(matches!(driver.fate(ticket), Some(Fate::Served(_))));
    }
}

#[test]
fn one_server_alive_is_enough() {
    let mut driver = driver(3);
    let one = |server: ServerIndex| (server.0 != 1).then_some(FailureKind::Unreachable);
    driver.run(MINUTE * 3, one);
    assert_eq!(driver.clean().len(), 6);
    let conns: BTreeSet<ConnId> = (0..6).map(|number| driver.serve(key(number, 0))).collect();
    assert_eq!(conns.len(), 6);
}

#[test]
fn a_lookup_that_finds_the_pool_empty_opens_its_own() {
    let mut driver = driver(1);
    let ticket = driver.want(key(1, 0));
    assert_eq!(driver.opening.len(), 1);
    let conn = driver.opening[0];
    driver.opened(conn);
    assert_eq!(driver.fate(ticket), Some(Fate::Served(conn)));
}

#[test]
fn many_lookups_at_once_are_no_burst_and_are_served_in_turn() {
    let mut driver = driver(2);
    let tickets: Vec<_> = (0..20).map(|number| driver.want(key(number, 0))).collect();
    assert_eq!(driver.opening.len(), 1);
    driver.run_well(MINUTE / 2);
    let served: Vec<ConnId> = tickets.iter().map(|ticket| driver.conn(*ticket)).collect();
    let mut sorted = served.clone();
    sorted.sort_unstable();
    assert_eq!(served, sorted, "who came first has the connection that was open first");
    let moments: BTreeSet<Moment> = driver.seen.values().map(|it| it.begun).collect();
    assert_eq!(moments.len(), driver.seen.len(), "no two at a time");
}

#[test]
fn a_lookup_that_gives_up_leaves_the_queue_and_takes_no_connection() {
    let mut driver = driver(1);
    let first = driver.want(key(1, 0));
    let second = driver.want(key(2, 0));
    driver.release(first);
    driver.run_well(MINUTE / 4);
    assert_eq!(driver.fate(first), None);
    assert!(matches!(driver.fate(second), Some(Fate::Served(_))));
    driver.release(second);
    driver.run_well(MINUTE * 11);
    assert_eq!(driver.pool.counts().ids, 0, "neither is kept for ever");
}

#[test]
fn a_lookup_waits_as_long_as_allowed_and_leaves_nothing() {
    let mut driver = driver(1);
    let ticket = driver.want(key(1, 0));
    let end = driver.now + MINUTE * 12;
    while driver.tick(end) {}
    assert_eq!(driver.fate(ticket), Some(Fate::Refused(Refusal::TimedOut(MINUTE))));
    assert_eq!(driver.fates[&ticket].0.since(driver.asked[&ticket].0), MINUTE);
    assert_eq!(driver.pool.counts().ids, 0);
}

#[test]
fn where_all_servers_are_dead_lookups_are_told_soon_and_the_pool_recovers() {
    let mut driver = driver(3);
    let ticket = driver.want(key(1, 0));
    driver.run(MINUTE, |_| Some(FailureKind::Unreachable));
    assert_eq!(driver.fate(ticket), Some(Fate::Refused(Refusal::Unreachable)));
    assert!(driver.fates[&ticket].0.since(driver.asked[&ticket].0) < MINUTE);
    driver.run(MINUTE * 60, |_| Some(FailureKind::Unreachable));
    let tries = driver.seen.len();
    assert!(tries < 3 * 40, "{tries} tries in an hour");
    driver.run_well(MINUTE * 6);
    assert_eq!(driver.clean().len(), 6);
}

#[test]
fn a_dead_server_among_others_fails_no_lookup() {
    for seed in 0..20 {
        let mut driver = Driver::new(3, PoolSettings::default(), [seed; 32]);
        let tickets: Vec<_> = (0..30).map(|number| driver.want(key(number, 0))).collect();
        driver.run(MINUTE, |server| (server.0 == 0).then_some(FailureKind::Unreachable));
        for ticket in tickets {
            assert!(matches!(driver.fate(ticket), Some(Fate::Served(_))), "seed {seed}");
        }
    }
}

#[test]
fn openings_that_fail_together_are_one_failure() {
    let mut driver = driver(1);
    for number in 0..10 {
        driver.want(key(number, 0));
    }
    while driver.opening.len() < 10 {
        driver.tick(Moment(u64::MAX));
    }
    for conn in driver.opening.clone() {
        driver.failed(conn, FailureKind::Unreachable);
    }
    driver.run_well(Duration::from_secs(15));
    assert!(!driver.clean().is_empty(), "the server is tried again within seconds");
}

#[test]
fn without_a_way_out_lookups_fail_at_once_and_no_server_suffers() {
    let mut driver = warm(1);
    for conn in driver.clean() {
        driver.closed(conn, FailureKind::Unreachable);
    }
    let ticket = driver.want(key(1, 0));
    let conn = *driver.opening.last().unwrap();
    driver.failed(conn, FailureKind::NoWayOut);
    assert_eq!(driver.fate(ticket), Some(Fate::Refused(Refusal::Unreachable)));
    driver.run(MINUTE * 10, |_| Some(FailureKind::NoWayOut));
    driver.run_well(MINUTE / 2);
    assert_eq!(driver.clean().len(), 6, "it recovers by itself, without a back-off");
}

#[test]
fn a_useless_server_is_left_for_minutes_and_nobody_gets_its_connections() {
    let mut driver = warm(2);
    let conn = driver.serve(key(1, 0));
    let liar = driver.seen[&conn].server;
    driver.seen.get_mut(&conn).unwrap().open = true;
    driver.step(PoolEvent::Lied(conn));
    let left = driver.seen.values().filter(|it| !it.over && it.server == liar);
    assert_eq!(left.count(), 0);
    let before = driver.seen.len();
    driver.run_well(MINUTE * 2);
    assert!(driver.seen.values().skip(before).all(|it| it.server != liar));
    driver.run_well(MINUTE * 60);
    assert!(
        driver.seen.values().skip(before).any(|it| it.server == liar),
        "not for ever"
    );
}

#[test]
fn clean_connections_are_kept_alive_at_random_and_dirty_ones_not() {
    let settings = PoolSettings {
        clean_ttl: Duration::from_secs(400_000),
        ..PoolSettings::default()
    };
    let mut driver = Driver::new(1, settings, SEED);
    driver.run_well(MINUTE);
    let dirty = driver.serve(key(1, 0));
    driver.run_well(Duration::from_secs(200_000));
    assert!(driver.pings.iter().all(|(_, conn)| *conn != dirty));
    let mut gaps = BTreeSet::new();
    for conn in driver.clean() {
        let seen = &driver.seen[&conn];
        let pings = driver.pings.iter().filter(|(_, it)| *it == conn).map(|(at, _)| *at);
        let moments: Vec<Moment> = std::iter::once(seen.begun).chain(pings).collect();
        assert!(moments.len() > 100);
        for two in moments.windows(2) {
            let gap = two[1].since(two[0]);
            assert!(gap <= settings.keep_alive_max, "{gap:?}");
            gaps.insert(gap);
        }
    }
    // As many lengths as pings, but for those that agree by chance: no beat.
    assert!(
        gaps.len() * 100 > driver.pings.len() * 95,
        "{} of {}",
        gaps.len(),
        driver.pings.len()
    );
}

#[test]
fn clean_connections_end_after_lives_of_different_lengths() {
    let mut driver = warm(1);
    driver.run_well(MINUTE * 300);
    let ended = driver.seen.values().filter(|it| it.over).count();
    assert!(ended > 6 * 8, "{ended}");
    assert_eq!(driver.clean().len(), 6);
}

#[test]
fn an_id_expires_after_its_last_use_and_its_connections_with_it() {
    let mut driver = warm(1);
    let conn = driver.serve(key(1, 0));
    driver.run_well(MINUTE * 9);
    driver.step(PoolEvent::Used(id(1)));
    driver.run_well(MINUTE * 9);
    assert_eq!(driver.serve(key(1, 0)), conn);
    driver.run_well(Duration::from_secs(599));
    assert!(driver.forgotten.is_empty());
    driver.run_well(Duration::from_secs(2));
    assert_eq!(driver.forgotten, [id(1)]);
    assert!(driver.seen[&conn].over);
    assert_ne!(driver.serve(key(1, 0)), conn);
}

#[test]
fn an_id_does_not_expire_under_a_lookup() {
    let mut driver = warm(1);
    let ticket = driver.want(key(1, 0));
    driver.run_well(MINUTE * 30);
    assert!(driver.forgotten.is_empty());
    driver.release(ticket);
    driver.run_well(MINUTE * 9);
    assert!(driver.forgotten.is_empty());
    driver.run_well(MINUTE * 2);
    assert_eq!(driver.forgotten, [id(1)]);
}

#[test]
fn the_cap_evicts_the_least_recently_used_and_none_in_use() {
    let settings = PoolSettings {
        max_ids: 2,
        ..PoolSettings::default()
    };
    let mut driver = Driver::new(1, settings, SEED);
    driver.run_well(MINUTE);
    let held = driver.want(key(1, 0));
    driver.run_well(MINUTE / 60);
    driver.serve(key(2, 0));
    driver.run_well(MINUTE / 60);
    driver.serve(key(3, 0));
    assert_eq!(driver.forgotten, [id(2)], "the first one is older, but in use");
    driver.run_well(MINUTE / 60);
    driver.release(held);
    driver.run_well(MINUTE / 60);
    driver.serve(key(4, 0));
    assert_eq!(driver.forgotten, [id(2), id(3)]);
}

#[test]
fn forget_closes_all_of_an_id_and_nothing_else() {
    let mut driver = warm(1);
    let (first, second) = (driver.serve(key(1, 0)), driver.serve(key(1, 1)));
    let other = driver.serve(key(2, 0));
    driver.step(PoolEvent::Forget(id(1)));
    assert!(driver.seen[&first].over && driver.seen[&second].over && !driver.seen[&other].over);
    assert_eq!(driver.forgotten, [id(1)]);
    assert!(![first, second].contains(&driver.serve(key(1, 0))));
}

#[test]
fn when_all_are_forgotten_connections_are_nobodys_at_once_and_close_one_by_one() {
    let mut driver = warm(1);
    let conns: Vec<ConnId> = (0..6).map(|number| driver.serve(key(number, 0))).collect();
    driver.run_well(MINUTE);
    driver.forget_all();
    let counts = driver.pool.counts();
    assert_eq!((counts.ids, counts.dirty, counts.draining), (0, 0, 6));
    assert!(!conns.contains(&driver.serve(key(0, 0))));
    let since = driver.now;
    let mut closed = BTreeSet::new();
    while driver.pool.counts().draining > 0 {
        let before = driver.pool.counts().draining;
        driver.run_well(Duration::from_millis(1));
        assert!(before - driver.pool.counts().draining <= 1, "no two at a time");
        closed.insert(driver.now);
    }
    assert!(conns.iter().all(|conn| driver.seen[conn].over));
    assert!(driver.now.since(since) <= Duration::from_secs(30));
}

#[test]
fn hundreds_of_lookups_at_once_are_all_served_in_time_and_still_one_by_one() {
    let mut driver = driver(2);
    let begun = driver.now;
    let tickets: Vec<_> = (0..500).map(|number| driver.want(key(number, 0))).collect();
    driver.run_well(MINUTE);
    for ticket in tickets {
        assert!(matches!(driver.fate(ticket), Some(Fate::Served(_))));
    }
    let moments: BTreeSet<Moment> = driver.seen.values().map(|it| it.begun).collect();
    assert_eq!(moments.len(), driver.seen.len(), "no two at a time");
    let soon = driver
        .seen
        .values()
        .filter(|it| it.begun.since(begun) < Duration::from_secs(1));
    assert!(soon.count() < 60, "no burst");
}

#[test]
fn a_server_that_is_back_serves_the_next_lookup_whatever_the_back_off() {
    let mut driver = driver(2);
    driver.run(MINUTE * 60, |_| Some(FailureKind::Unreachable));
    let ticket = driver.want(key(1, 0));
    driver.run_well(Duration::from_secs(3));
    assert!(matches!(driver.fate(ticket), Some(Fate::Served(_))));
    driver.run_well(MINUTE);
    assert_eq!(driver.clean().len(), 6, "nor does the pool wait any longer");
}

#[test]
fn while_all_servers_are_dead_each_lookup_is_told_within_seconds_and_tries_are_few() {
    let mut driver = driver(2);
    driver.run(MINUTE * 60, |_| Some(FailureKind::Unreachable));
    let before = driver.seen.len();
    for number in 0..100 {
        let ticket = driver.want(key(number, 0));
        driver.run(Duration::from_secs(7), |_| Some(FailureKind::Unreachable));
        assert_eq!(driver.fate(ticket), Some(Fate::Refused(Refusal::Unreachable)));
    }
    let tries = driver.seen.len() - before;
    assert!(
        tries <= 700 * 2 * 2 / 3 + 10,
        "{tries} tries of two servers in 700 seconds"
    );
}

#[test]
fn who_waits_when_its_id_is_forgotten_is_served_as_somebody_new() {
    let mut driver = driver(1);
    let ticket = driver.want(key(1, 0));
    driver.step(PoolEvent::Forget(id(1)));
    driver.run_well(MINUTE / 2);
    let conn = driver.conn(ticket);
    driver.release(ticket);
    assert_eq!(driver.serve(key(1, 0)), conn);
}

#[test]
fn a_connection_that_ended_is_not_served_again() {
    let mut driver = warm(2);
    let conn = driver.serve(key(1, 0));
    driver.closed(conn, FailureKind::Unreachable);
    assert_ne!(driver.serve(key(1, 0)), conn);
}

#[test]
fn without_servers_a_lookup_is_refused_at_once() {
    let mut driver = driver(0);
    let ticket = driver.want(key(1, 0));
    assert_eq!(driver.fate(ticket), Some(Fate::Refused(Refusal::Unreachable)));
    assert_eq!(driver.pool.counts().waiting, 0);
}

#[test]
fn extreme_settings_do_no_harm() {
    for extreme in [Duration::ZERO, Duration::MAX] {
        let settings = PoolSettings {
            opening_mean: extreme,
            keep_alive_mean: extreme,
            keep_alive_max: extreme.min(MINUTE),
            ..PoolSettings::default()
        };
        let reputation = ServerReputation::new(1, Backoff::new(extreme, ServerReputation::BACK_OFF.longest));
        let mut driver = Driver::with_reputation(reputation, settings, SEED);
        driver.want(key(1, 0));
        driver.run_well(Duration::from_secs(2));
        driver.run(Duration::from_secs(2), |_| Some(FailureKind::Unreachable));
    }
}

//! One test for each rule.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::driver::{Driver, Fate, SEED, id, key};
use crate::isolation::ConnId;
use crate::net::pool::{FailureKind, PoolEvent, PoolSettings, Refusal, ServerIndex};
use crate::time::Moment;

const MINUTE: Duration = Duration::from_secs(60);

/// A pool that takes clean connections wherever it can.
fn frugal() -> PoolSettings {
    PoolSettings {
        own_percent: 0,
        ..PoolSettings::default()
    }
}

/// A pool that opens nothing ahead.
fn none() -> PoolSettings {
    PoolSettings::with_pace(0)
}

/// Returns a driver with at least so many clean connections to so many servers.
fn warm(servers: usize, clean: usize) -> Driver {
    let settings = PoolSettings {
        clean_life: MINUTE * 1_000_000,
        most_clean: clean,
        ..frugal()
    };
    let mut driver = Driver::new(servers, settings, SEED);
    while driver.clean().len() < clean {
        driver.run_well(MINUTE);
    }
    driver
}

#[test]
fn at_the_start_nothing_opens_but_the_clock() {
    let mut driver = Driver::new(1, PoolSettings::default(), SEED);
    assert!(driver.opening.is_empty());
    driver.run_well(MINUTE * 60);
    let opened = driver.seen.len();
    assert!((30..100).contains(&opened), "{opened}");
    let moments: BTreeSet<Moment> = driver.seen.values().map(|it| it.begun).collect();
    assert_eq!(moments.len(), opened, "no two at a time");
    assert!(driver.seen.values().all(|it| !it.own));
}

#[test]
fn with_no_pace_nothing_is_opened_ahead() {
    let mut driver = Driver::new(1, none(), SEED);
    driver.run_well(MINUTE * 600);
    assert_eq!((driver.seen.len(), driver.wake_at), (0, None));
    driver.serve(key(1, 0));
    driver.run_well(MINUTE * 600);
    assert_eq!(driver.seen.len(), 1, "but what somebody asks for");
}

#[test]
fn the_pace_bounds_how_many_are_clean_on_average() {
    for pace in [1, 15, 30, 60] {
        let mut driver = Driver::new(2, PoolSettings::with_pace(pace), SEED);
        let (mut sum, samples) = (0, 4000);
        for _ in 0..samples {
            driver.step(PoolEvent::Used(id(1)));
            driver.run_well(MINUTE);
            sum += driver.clean().len();
        }
        assert!(sum < samples * 9, "{pace}: {sum} in {samples} samples");
    }
}

#[test]
fn there_is_a_bound_for_memory() {
    let settings = PoolSettings {
        clean_life: MINUTE * 1_000_000,
        most_clean: 5,
        ..PoolSettings::default()
    };
    let mut driver = Driver::new(2, settings, SEED);
    driver.run_well(MINUTE * 60);
    assert_eq!(driver.clean().len(), 5);
}

#[test]
fn each_front_takes_its_own_part_of_the_clean_connections_and_no_more() {
    const CLEAN: usize = 60;
    let settings = PoolSettings {
        clean_life: MINUTE * 1_000_000,
        most_clean: CLEAN,
        parts: 2,
        ..frugal()
    };
    let mut driver = Driver::new(2, settings, SEED);
    while driver.clean().len() < CLEAN {
        driver.run_well(MINUTE);
    }
    let mut ids = 1..;
    // Each asks under new identities for more than there are.
    let mut take_all = |part: Option<u8>| {
        let before = driver.clean().len();
        for number in ids.by_ref().take(CLEAN + 1) {
            let ticket = driver.want_through(key(number, 0), part);
            driver.run_well(Duration::from_millis(1));
            assert!(matches!(driver.fate(ticket), Some(Fate::Served(_))), "{part:?}");
        }
        before - driver.clean().len()
    };
    assert_eq!(take_all(None), 0, "who has no part opens their own");
    let first = take_all(Some(0));
    assert!(
        (CLEAN / 4..CLEAN * 3 / 4).contains(&first),
        "dealt as chance wills: {first}"
    );
    assert_eq!(take_all(Some(0)), 0, "the other part is not theirs");
    assert_eq!(take_all(Some(1)), CLEAN - first, "and whole when its front asks");
}

#[test]
fn a_connection_stays_with_its_key_and_other_keys_get_others() {
    for settings in [none(), PoolSettings::default(), frugal()] {
        let mut driver = Driver::new(1, settings, SEED);
        driver.run_well(MINUTE * 8);
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
}

#[test]
fn an_own_connection_starts_at_once_and_is_nobody_elses_even_if_it_comes_too_late() {
    let mut driver = Driver::new(2, none(), SEED);
    let first = driver.want(key(1, 0));
    let [conn] = driver.opening[..] else { panic!() };
    assert!(driver.seen[&conn].own);
    driver.release(first);
    let second = driver.want(key(2, 0));
    driver.opened(conn);
    assert_eq!(driver.fate(second), None, "that one was not for it");
    let third = driver.want(key(1, 0));
    assert_eq!(driver.conn(third), conn, "but for whoever has the same identity");
    driver.step(PoolEvent::Forget(id(2)));
    driver.release(second);
    let late = driver.opening[0];
    driver.opened(late);
    let fourth = driver.want(key(2, 0));
    assert_eq!(driver.fate(fourth), None, "it was an earlier identity's");
    driver.run_well(MINUTE * 11);
    assert!(
        driver.seen[&late].over.is_some(),
        "nobody's connection ends as others do"
    );
}

#[test]
fn many_at_once_all_open_their_own_at_once() {
    let mut driver = Driver::new(2, none(), SEED);
    let tickets: Vec<_> = (0..200).map(|number| driver.want(key(number, 0))).collect();
    assert_eq!(driver.opening.len(), 200, "none is paced by the others");
    driver.run_well(Duration::from_millis(1));
    assert!(
        tickets
            .iter()
            .all(|ticket| matches!(driver.fate(*ticket), Some(Fate::Served(_))))
    );
}

#[test]
fn lookups_of_one_identity_share_what_is_being_opened() {
    let mut driver = Driver::new(2, none(), SEED);
    let tickets = [driver.want(key(1, 0)), driver.want(key(1, 0))];
    let [conn] = driver.opening[..] else { panic!() };
    driver.opened(conn);
    assert_eq!(tickets.map(|ticket| driver.conn(ticket)), [conn; 2]);
}

#[test]
fn attempts_of_one_id_go_to_different_servers() {
    for seed in 0..20 {
        for settings in [none(), frugal()] {
            let mut driver = Driver::new(3, settings, [seed; 32]);
            driver.run_well(MINUTE * 30);
            let ready: BTreeSet<ServerIndex> = driver.clean().iter().map(|conn| driver.seen[conn].server).collect();
            let servers: BTreeSet<ServerIndex> = (0..3)
                .map(|attempt| {
                    let conn = driver.serve(key(1, attempt));
                    driver.seen[&conn].server
                })
                .collect();
            assert!(
                servers.len() == 3 || servers.len() == ready.len(),
                "{servers:?} of {ready:?}"
            );
        }
    }
}

#[test]
fn an_attempt_goes_to_another_server_than_one_before_whose_connection_is_gone() {
    for seed in 0..20 {
        let mut driver = Driver::new(3, none(), [seed; 32]);
        let mut servers = BTreeSet::new();
        for attempt in 0..3 {
            let ticket = driver.want(key(1, attempt));
            driver.run_well(MINUTE);
            let conn = driver.conn(ticket);
            servers.insert(driver.seen[&conn].server);
            driver.closed(conn, FailureKind::Unreachable);
            driver.release(ticket);
        }
        assert_eq!(servers.len(), 3, "seed {seed}");
    }
}

#[test]
fn attempts_that_must_be_apart_are_and_what_can_not_be_is_refused() {
    for seed in 0..20 {
        for settings in [none(), frugal()] {
            let mut driver = Driver::new(2, settings, [seed; 32]);
            driver.run_well(MINUTE * 8);
            // Both at once, as for a quorum.
            let tickets = [0, 1].map(|attempt| driver.want_distinct_server(key(1, attempt)));
            driver.run_well(MINUTE / 2);
            let servers = tickets.map(|ticket| driver.seen[&driver.conn(ticket)].server);
            assert_ne!(servers[0], servers[1]);
            let third = driver.want_distinct_server(key(1, 2));
            assert_eq!(driver.fate(third), Some(Fate::Refused(Refusal::Unreachable)));
        }
    }
}

#[test]
fn attempts_that_must_be_apart_are_with_different_operators() {
    let operators = vec![0, 0, 0, 0, 1];
    for seed in 0..20 {
        for settings in [none(), frugal()] {
            let mut driver = Driver::of_operators(operators.clone(), settings, [seed; 32]);
            driver.run_well(MINUTE * 8);
            let tickets = [0, 1].map(|attempt| driver.want_distinct_server(key(1, attempt)));
            driver.run_well(MINUTE / 2);
            let servers = tickets.map(|ticket| driver.seen[&driver.conn(ticket)].server);
            assert_ne!(operators[servers[0].0], operators[servers[1].0], "seed {seed}");
            let third = driver.want_distinct_server(key(1, 2));
            assert_eq!(driver.fate(third), Some(Fate::Refused(Refusal::Unreachable)));
        }
        // A connection of a second opinion's own goes to the other operator, where it may go to any.
        let mut driver = Driver::of_operators(operators.clone(), none(), [seed; 32]);
        let tickets = [0, 1].map(|attempt| {
            let ticket = driver.want(key(2, attempt));
            driver.run_well(MINUTE / 2);
            ticket
        });
        let servers = tickets.map(|ticket| driver.seen[&driver.conn(ticket)].server);
        assert_ne!(operators[servers[0].0], operators[servers[1].0], "seed {seed}");
    }
}

#[test]
fn a_connection_to_a_server_that_must_be_avoided_is_left_and_ends_as_others_do() {
    let mut driver = Driver::new(2, none(), SEED);
    let dead = |server: ServerIndex| (server.0 == 1).then_some(FailureKind::Unreachable);
    let tickets = [0, 1].map(|attempt| driver.want(key(1, attempt)));
    driver.run(MINUTE / 2, dead);
    let conns = tickets.map(|ticket| driver.conn(ticket));
    assert!(
        conns.iter().all(|conn| driver.seen[conn].server == ServerIndex(0)),
        "the best that could be had"
    );
    let apart = driver.want_distinct_server(key(1, 1));
    driver.run_well(MINUTE / 2);
    assert_eq!(driver.seen[&driver.conn(apart)].server, ServerIndex(1));
    assert_eq!(driver.seen[&conns[1]].over, None);
}

#[test]
fn dead_servers_among_others_fail_no_lookup() {
    for seed in 0..30 {
        for settings in [none(), PoolSettings::default()] {
            let mut driver = Driver::new(7, settings, [seed; 32]);
            let tickets: Vec<_> = (0..30).map(|number| driver.want(key(number, 0))).collect();
            driver.run(MINUTE, |server| (server.0 != 3).then_some(FailureKind::Unreachable));
            for ticket in tickets {
                assert!(matches!(driver.fate(ticket), Some(Fate::Served(_))), "seed {seed}");
            }
        }
    }
}

#[test]
fn servers_that_never_answer_cost_a_lookup_some_seconds_each() {
    for seed in 0..20 {
        let mut driver = Driver::new(7, none(), [seed; 32]);
        let ticket = driver.want(key(1, 0));
        let (begun, end) = (driver.now, driver.now + MINUTE);
        while driver.fate(ticket).is_none() && driver.tick(end) {
            // Three servers are alive.
            let alive = driver
                .opening
                .iter()
                .find(|conn| driver.seen[conn].server.0 < 3)
                .copied();
            if let Some(conn) = alive {
                driver.opened(conn);
            }
            assert!(driver.opening.len() <= 3);
        }
        if let Some(Fate::Served(_)) = driver.fate(ticket) {
            assert!(driver.now.since(begun) <= Duration::from_secs(12));
        }
    }
}

#[test]
fn where_all_servers_are_dead_lookups_are_told_within_seconds() {
    for servers in [1, 3, 7] {
        let mut driver = Driver::new(servers, PoolSettings::default(), SEED);
        for number in 0..20 {
            let before = driver.seen.len();
            let ticket = driver.want(key(number, 0));
            driver.run(Duration::from_secs(20), |_| Some(FailureKind::Unreachable));
            assert_eq!(driver.fate(ticket), Some(Fate::Refused(Refusal::Unreachable)));
            let tries = driver.seen.values().skip(before).filter(|it| it.own).count();
            assert!(tries <= servers.max(2), "{tries} tries of {servers} servers");
        }
        let ticket = driver.want(key(100, 0));
        driver.run_well(Duration::from_millis(1));
        assert!(
            matches!(driver.fate(ticket), Some(Fate::Served(_))),
            "no back-off is held against it"
        );
    }
}

#[test]
fn a_lookup_waits_as_long_as_allowed_and_leaves_nothing() {
    let mut driver = Driver::new(1, none(), SEED);
    let ticket = driver.want(key(1, 0));
    let end = driver.now + MINUTE * 2;
    while driver.tick(end) {}
    assert_eq!(driver.fate(ticket), Some(Fate::Refused(Refusal::TimedOut(MINUTE))));
    assert_eq!(driver.fates[&ticket].0.since(driver.asked[&ticket].0), MINUTE);
    driver.release(ticket);
    driver.run_well(MINUTE * 13);
    assert_eq!(driver.pool.counts().ids, 0);
}

#[test]
fn without_a_way_out_lookups_fail_at_once() {
    let mut driver = Driver::new(2, none(), SEED);
    let tickets = [driver.want(key(1, 0)), driver.want(key(2, 0))];
    driver.failed(driver.opening[0], FailureKind::NoWayOut);
    assert_eq!(driver.fate(tickets[0]), Some(Fate::Refused(Refusal::Unreachable)));
    assert_eq!(driver.fate(tickets[1]), None, "whose own connection may go well");
    let again = driver.want(key(1, 0));
    driver.run_well(Duration::from_millis(1));
    assert!(
        matches!(driver.fate(again), Some(Fate::Served(_))),
        "nothing is remembered of it"
    );
}

#[test]
fn a_lie_ends_its_own_connection_and_its_identity_goes_elsewhere() {
    let mut driver = warm(2, 20);
    let conn = driver.serve(key(1, 0));
    let liar = driver.seen[&conn].server;
    let before: Vec<ConnId> = driver.clean();
    driver.step(PoolEvent::Lied(conn));
    assert!(driver.seen[&conn].over.is_some());
    assert_eq!(driver.clean(), before, "clean connections to the same server stay");
    for attempt in 0..4 {
        let conn = driver.serve(key(1, attempt));
        assert_ne!(driver.seen[&conn].server, liar);
    }
    let others: BTreeSet<ServerIndex> = (10..20)
        .map(|it| {
            let conn = driver.serve(key(it, 0));
            driver.seen[&conn].server
        })
        .collect();
    assert!(others.contains(&liar), "nobody else feels it");
    // It is the last resort of the identity that it lied to.
    let mut driver = Driver::new(1, none(), SEED);
    let conn = driver.serve(key(1, 0));
    driver.step(PoolEvent::Lied(conn));
    driver.serve(key(1, 0));
}

#[test]
fn nothing_stays_of_what_is_over() {
    let mut driver = Driver::new(3, none(), SEED);
    // All that the machine holds is in its debug text.
    let size = |driver: &Driver| format!("{:?}", driver.pool).len();
    let before = size(&driver);
    for number in 0..500 {
        let conn = driver.serve(key(number, 0));
        driver.serve(key(number, 1));
        match number % 5 {
            0 => driver.step(PoolEvent::Lied(conn)),
            1 => driver.step(PoolEvent::Distrusted(conn)),
            2 => driver.closed(conn, FailureKind::Unreachable),
            3 => driver.step(PoolEvent::Forget(id(number))),
            _ => {}
        }
        let ticket = driver.want(key(number, 2));
        driver.release(ticket);
    }
    assert!(size(&driver) > 10 * before);
    driver.run(2 * driver.settings.id_ttl + driver.settings.idle, |_| {
        Some(FailureKind::Unreachable)
    });
    // Numbers have grown by some digits.
    assert!(size(&driver) < before + 200, "{:?}", driver.pool);
}

#[test]
fn who_shows_what_does_not_fit_is_asked_last_by_that_identity_and_its_connection_ends_in_its_time() {
    let mut driver = warm(2, 20);
    let conn = driver.serve(key(1, 0));
    let server = driver.seen[&conn].server;
    let before = driver.pool.counts();
    driver.step(PoolEvent::Distrusted(conn));
    assert!(driver.seen[&conn].is_open());
    assert_eq!(driver.pool.counts(), before);
    for attempt in 0..4 {
        let conn = driver.serve(key(1, attempt));
        assert_ne!(driver.seen[&conn].server, server);
    }
    assert_eq!(driver.doubted(server), None, "nobody else feels it");
    driver.run_well(driver.settings.idle + Duration::from_secs(1));
    assert!(driver.seen[&conn].over.is_some());
    // It is the last resort.
    let mut driver = Driver::new(1, none(), SEED);
    let conn = driver.serve(key(1, 0));
    driver.step(PoolEvent::Distrusted(conn));
    assert_ne!(driver.serve(key(1, 0)), conn);
}

#[test]
fn clean_connections_to_a_server_in_doubt_are_left_alone_where_there_are_others() {
    let mut driver = warm(2, 20);
    let servers = |driver: &Driver| -> Vec<ServerIndex> {
        let clean = driver.clean();
        clean.iter().map(|conn| driver.seen[conn].server).collect()
    };
    let liar = ServerIndex(0);
    let mut lies = 0;
    for number in 0.. {
        let conn = driver.serve(key(number, 0));
        if driver.seen[&conn].server == liar {
            driver.step(PoolEvent::Lied(conn));
            lies += 1;
        }
        if lies == 3 {
            break;
        }
    }
    let (from, _) = driver.doubted(liar).unwrap();
    let before = servers(&driver);
    assert!(before.contains(&liar), "none was closed");
    driver.run_well(from.since(driver.now) + Duration::from_millis(1));
    let others = servers(&driver).into_iter().filter(|server| *server != liar).count();
    for number in 0..others {
        let conn = driver.serve(key(1000 + u32::try_from(number).unwrap(), 0));
        assert_ne!(driver.seen[&conn].server, liar);
    }
}

#[test]
fn a_wrong_certificate_ends_nothing_and_serves_nobody() {
    let mut driver = Driver::new(1, frugal(), SEED);
    while driver.opening.is_empty() {
        driver.tick(Moment(u64::MAX));
    }
    let ahead = driver.opening[0];
    driver.barred(ahead);
    let ticket = driver.want(key(1, 0));
    let own = *driver.opening.last().unwrap();
    assert!(driver.seen[&own].own, "it is not what is taken");
    driver.barred(own);
    assert_eq!(driver.fate(ticket), None);
    driver.run_well(MINUTE / 6);
    assert!(
        matches!(driver.fate(ticket), Some(Fate::Served(_))),
        "over a further one"
    );
    assert_eq!((driver.seen[&ahead].over, driver.seen[&own].over), (None, None));
    driver.run_well(MINUTE * 200);
    assert!(driver.seen[&ahead].over.is_some() && driver.seen[&own].over.is_some());
    assert!(
        driver.pings.iter().any(|(_, conn)| *conn == ahead)
            || driver.seen[&ahead].over.unwrap().since(driver.seen[&ahead].begun) < MINUTE * 10
    );
}

#[test]
fn an_id_expires_about_its_time_after_its_last_use_each_at_its_own() {
    let mut driver = Driver::new(1, none(), SEED);
    for number in 0..200 {
        driver.serve(key(number, 0));
    }
    driver.run_well(MINUTE * 7);
    for number in 0..200 {
        driver.step(PoolEvent::Used(id(number)));
    }
    let used = driver.now;
    let mut ends = BTreeSet::new();
    while driver.pool.counts().ids > 0 {
        let before = driver.forgotten.len();
        driver.tick(Moment(u64::MAX));
        if driver.forgotten.len() > before {
            ends.insert(driver.now.since(used).as_secs());
        }
    }
    assert!(ends.first() >= Some(&450) && ends.last() <= Some(&750), "{ends:?}");
    assert!(ends.len() > 80);
}

#[test]
fn an_id_does_not_expire_under_a_lookup() {
    let mut driver = Driver::new(1, none(), SEED);
    let ticket = driver.want(key(1, 0));
    driver.run_well(MINUTE * 30);
    assert!(driver.forgotten.is_empty());
    driver.release(ticket);
    driver.run_well(MINUTE * 7);
    assert!(driver.forgotten.is_empty());
    driver.run_well(MINUTE * 6);
    assert_eq!(driver.forgotten, [id(1)]);
}

#[test]
fn the_cap_evicts_the_least_recently_used_and_none_in_use() {
    let settings = PoolSettings { max_ids: 2, ..none() };
    let mut driver = Driver::new(1, settings, SEED);
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
fn no_caller_has_anothers_ids_forgotten_or_takes_what_others_could() {
    let settings = PoolSettings {
        max_ids: 3,
        clean_life: MINUTE * 1_000_000,
        most_clean: 4,
        ..frugal()
    };
    let mut driver = Driver::new(1, settings, SEED);
    while driver.clean().len() < 4 {
        driver.run_well(MINUTE);
    }
    let ours = driver.serve(key(1, 0));
    let clean = driver.clean();
    for number in 0..20 {
        let ticket = driver.want_of_client(key(100 + number, 0), 7);
        let own = *driver.opening.last().unwrap();
        driver.opened(own);
        assert_eq!(driver.conn(ticket), own, "a client that is told apart opens its own");
        driver.release(ticket);
    }
    assert_eq!(driver.clean(), clean);
    assert_eq!(driver.serve(key(1, 0)), ours);
    assert!(!driver.forgotten.contains(&id(1)));
    assert_eq!(driver.forgotten.len(), 17, "it pushes out its own");
    // Above all that there is room for, who has most gives.
    for client in 0..60_u64 {
        let number = u32::try_from(client).unwrap();
        let ticket = driver.want_of_client(key(1000 + number, 0), 100 + client);
        let own = *driver.opening.last().unwrap();
        driver.opened(own);
        driver.release(ticket);
    }
    assert!(driver.pool.counts().ids <= 48);
    assert_eq!(driver.serve(key(1, 0)), ours, "not who has one");
}

#[test]
fn what_is_forgotten_never_comes_back_and_closes_nothing() {
    for all in [false, true] {
        let mut driver = warm(1, 12);
        let (first, second) = (driver.serve(key(1, 0)), driver.serve(key(1, 1)));
        let other = driver.serve(key(2, 0));
        driver.step(if all {
            PoolEvent::ForgetAll
        } else {
            PoolEvent::Forget(id(1))
        });
        assert!(
            [first, second, other]
                .iter()
                .all(|conn| driver.seen[conn].over.is_none())
        );
        assert_eq!(driver.forgotten.len(), if all { 2 } else { 1 });
        assert_eq!(driver.pool.counts().parting, if all { 3 } else { 2 });
        assert!(![first, second].contains(&driver.serve(key(1, 0))));
        assert_eq!(driver.serve(key(2, 0)) == other, !all);
    }
}

#[test]
fn a_lookup_that_began_before_its_id_was_forgotten_never_meets_what_came_after() {
    let mut driver = Driver::new(3, none(), SEED);
    let before = driver.want(key(1, 0));
    driver.step(PoolEvent::Forget(id(1)));
    let after = driver.want(key(1, 0));
    driver.run_well(Duration::from_millis(1));
    assert_ne!(driver.conn(before), driver.conn(after));
    let [old, new] = [
        driver.want_along(key(1, 1), before),
        driver.want_along(key(1, 1), after),
    ];
    driver.run_well(Duration::from_millis(1));
    assert_ne!(driver.conn(old), driver.conn(new));
    assert_eq!(driver.pool.counts().ids, 1);
}

#[test]
fn what_is_sent_keeps_a_connection_and_questions_from_memory_do_not() {
    for sends in [true, false] {
        let mut driver = Driver::new(1, none(), SEED);
        let conn = driver.serve(key(1, 0));
        for _ in 0..15 {
            driver.run_well(MINUTE * 2);
            if sends {
                assert_eq!(driver.serve(key(1, 0)), conn);
                driver.step(PoolEvent::Requested(conn));
            } else {
                driver.step(PoolEvent::Used(id(1)));
            }
        }
        assert_eq!(driver.seen[&conn].over.is_none(), sends);
        assert_eq!(driver.serve(key(1, 0)) == conn, sends);
        assert!(driver.forgotten.is_empty());
    }
}

#[test]
fn the_clock_sleeps_when_nobody_asks_and_wakes_some_time_after_somebody_does() {
    let mut driver = Driver::new(1, PoolSettings::default(), SEED);
    driver.run_well(MINUTE * 60 * 24 * 10);
    let asleep = driver.seen.len();
    assert!(driver.clean().is_empty());
    assert!(asleep < 60 * 24 * 5, "{asleep}");
    driver.run_well(MINUTE * 60 * 24);
    assert_eq!(driver.seen.len(), asleep);
    driver.serve(key(1, 0));
    let asked = driver.now;
    driver.run_well(MINUTE * 120);
    let ahead = driver.seen.values().filter(|it| !it.own && it.begun > asked);
    let first = ahead.map(|it| it.begun).min().unwrap();
    assert!(first.since(asked) > Duration::from_secs(1));
}

#[test]
fn what_a_machine_slept_through_is_not_done_together_when_it_wakes() {
    let settings = PoolSettings {
        clean_life: MINUTE * 60,
        ..frugal()
    };
    let mut driver = Driver::new(2, settings, SEED);
    driver.run_well(MINUTE * 60);
    for number in 0..8 {
        driver.serve(key(number, 0));
    }
    let (opened, pings) = (driver.seen.len(), driver.pings.len());
    let ended = |driver: &Driver| driver.seen.values().filter(|it| it.over.is_some()).count();
    let before = ended(&driver);
    driver.now = driver.now + MINUTE * 60 * 8;
    driver.step(PoolEvent::Tick);
    assert_eq!(
        (driver.seen.len(), driver.pings.len(), ended(&driver)),
        (opened, pings, before)
    );
    let mut moments = BTreeMap::new();
    let end = driver.now + MINUTE * 10;
    let mut last = before;
    while driver.tick(end) {
        if ended(&driver) > last {
            moments.insert(driver.now, ended(&driver) - last);
            last = ended(&driver);
        }
    }
    assert!(moments.values().all(|count| *count == 1), "{moments:?}");
    assert!(moments.len() >= 8, "what is idle ends within its time");
}

#[test]
fn a_connection_that_ended_is_not_served_again() {
    let mut driver = warm(2, 6);
    let conn = driver.serve(key(1, 0));
    driver.closed(conn, FailureKind::Unreachable);
    assert_ne!(driver.serve(key(1, 0)), conn);
}

#[test]
fn without_servers_a_lookup_is_refused_at_once() {
    let mut driver = Driver::new(0, PoolSettings::default(), SEED);
    let ticket = driver.want(key(1, 0));
    assert_eq!(driver.fate(ticket), Some(Fate::Refused(Refusal::Unreachable)));
    assert_eq!(driver.pool.counts().waiting, 0);
}

#[test]
fn extreme_settings_do_no_harm() {
    for extreme in [Duration::ZERO, Duration::MAX] {
        let settings = PoolSettings {
            opening_mean: Some(extreme),
            clean_life: extreme,
            keep_alive_mean: extreme,
            idle: extreme,
            hedge_after: extreme,
            id_ttl: extreme.min(MINUTE * 1_000_000),
            ..PoolSettings::default()
        };
        let mut driver = Driver::new(1, settings, SEED);
        driver.want(key(1, 0));
        driver.run_well(Duration::from_secs(2));
        driver.run(Duration::from_secs(2), |_| Some(FailureKind::Unreachable));
    }
}

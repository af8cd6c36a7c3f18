//! Anything in any order; what must always hold is checked by the driver.

use std::time::Duration;

use proptest::prelude::*;

use super::driver::{Driver, Fate, id, key};
use crate::isolation::IsolationKey;
use crate::net::pool::{FailureKind, PoolEvent, PoolSettings, Ticket};

#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(u64),
    Open(usize),
    Fail(usize, FailureKind),
    Bar(usize),
    Close(usize, FailureKind),
    Want(u32, u8, bool),
    WantAlong(usize, u8),
    Request(usize),
    Release(usize),
    Lie(usize),
    Distrust(usize),
    Use(u32),
    Forget(u32),
    ForgetAll,
}

fn trouble() -> impl Strategy<Value = FailureKind> {
    prop_oneof![
        6 => Just(FailureKind::Unreachable),
        1 => Just(FailureKind::NoWayOut),
        1 => Just(FailureKind::Useless),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..5000_u64).prop_map(Step::Pass),
        1 => (0..700_000_u64).prop_map(Step::Pass),
        8 => any::<usize>().prop_map(Step::Open),
        3 => (any::<usize>(), trouble()).prop_map(|(at, trouble)| Step::Fail(at, trouble)),
        1 => any::<usize>().prop_map(Step::Bar),
        2 => (any::<usize>(), trouble()).prop_map(|(at, trouble)| Step::Close(at, trouble)),
        2 => (any::<usize>(), 0..3_u8).prop_map(|(at, attempt)| Step::WantAlong(at, attempt)),
        2 => any::<usize>().prop_map(Step::Request),
        8 => (0..6_u32, 0..3_u8, any::<bool>()).prop_map(|(id, attempt, distinct_server)| Step::Want(id, attempt, distinct_server)),
        6 => any::<usize>().prop_map(Step::Release),
        1 => any::<usize>().prop_map(Step::Lie),
        1 => any::<usize>().prop_map(Step::Distrust),
        1 => (0..6_u32).prop_map(Step::Use),
        1 => (0..6_u32).prop_map(Step::Forget),
        1 => Just(Step::ForgetAll),
    ]
}

fn nth<T: Clone>(items: &[T], at: usize) -> Option<T> {
    items.get(at.checked_rem(items.len())?).cloned()
}

fn held(driver: &Driver) -> Vec<Ticket> {
    driver.held.iter().copied().collect()
}

fn carry_out(driver: &mut Driver, step: Step) {
    let open = |driver: &Driver| {
        let open = driver.seen.iter().filter(|(_, it)| it.is_open());
        open.map(|(conn, _)| *conn).collect::<Vec<_>>()
    };
    match step {
        Step::Pass(time) => {
            let end = driver.now + Duration::from_millis(time);
            while driver.tick(end) {}
        }
        Step::Open(at) => {
            if let Some(conn) = nth(&driver.opening, at) {
                driver.opened(conn);
            }
        }
        Step::Fail(at, trouble) => {
            if let Some(conn) = nth(&driver.opening, at) {
                driver.failed(conn, trouble);
            }
        }
        Step::Bar(at) => {
            if let Some(conn) = nth(&driver.opening, at) {
                driver.barred(conn);
            }
        }
        Step::WantAlong(at, attempt) => {
            // Only the first ticket of a lookup is released, and the lookup ends with it.
            let first = nth(&held(driver), at).filter(|ticket| driver.is_first(*ticket));
            if let Some(first) = first {
                let key = IsolationKey {
                    attempt,
                    ..driver.asked[&first].1.0
                };
                driver.want_along(key, first);
            }
        }
        Step::Request(at) => {
            if let Some(conn) = nth(&open(driver), at) {
                driver.step(PoolEvent::Requested(conn));
            }
        }
        Step::Close(at, trouble) => {
            if let Some(conn) = nth(&open(driver), at) {
                driver.closed(conn, trouble);
            }
        }
        Step::Want(number, attempt, false) => drop(driver.want(key(number, attempt))),
        Step::Want(number, attempt, true) => drop(driver.want_distinct_server(key(number, attempt))),
        Step::Release(at) => {
            if let Some(ticket) = nth(&held(driver), at) {
                driver.release(ticket);
            }
        }
        Step::Lie(at) => {
            if let Some(conn) = nth(&open(driver), at) {
                driver.step(PoolEvent::Lied(conn));
            }
        }
        Step::Distrust(at) => {
            if let Some(conn) = nth(&open(driver), at) {
                driver.step(PoolEvent::Distrusted(conn));
            }
        }
        Step::Use(number) => driver.step(PoolEvent::Used(id(number))),
        Step::Forget(number) => driver.step(PoolEvent::Forget(id(number))),
        Step::ForgetAll => driver.step(PoolEvent::ForgetAll),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nobody_meets_and_nobody_waits_for_ever(
        servers in 1..4_usize,
        seed: [u8; 32],
        pace in 0..4_u32,
        most_clean in 0..4_usize,
        own_percent in 0..=100_u8,
        max_ids in 1..5_usize,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let settings = PoolSettings { most_clean, own_percent, max_ids, ..PoolSettings::with_pace(pace * 20) };
        let mut driver = Driver::new(servers, settings, seed);
        for step in steps {
            carry_out(&mut driver, step);
        }
        // Whatever the state: the patience of all who wait ends, and what nobody holds is forgotten.
        let end = driver.now + settings.wait;
        while driver.tick(end) {}
        driver.step(PoolEvent::Tick);
        prop_assert_eq!(driver.unanswered().count(), 0);
        for ticket in held(&driver) {
            driver.release(ticket);
        }
        let end = driver.now + settings.id_ttl * 5 / 4 + settings.idle;
        while driver.tick(end) {}
        driver.step(PoolEvent::Tick);
        let counts = driver.pool.counts();
        prop_assert_eq!((counts.ids, counts.dirty, counts.waiting), (0, 0, 0));
        // With everything well again, whoever asks is served at once.
        let ticket = driver.want(key(100, 0));
        driver.run_well(Duration::from_millis(1));
        prop_assert!(matches!(driver.fate(ticket), Some(Fate::Served(_))));
    }
}

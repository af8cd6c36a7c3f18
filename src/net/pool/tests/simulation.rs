//! Anything in any order; what must always hold is checked by the driver.

use std::time::Duration;

use proptest::prelude::*;

use super::driver::{Driver, id, key};
use crate::net::pool::{FailureKind, PoolEvent, PoolSettings, Ticket};
use crate::reputation::ServerReputation;

#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(u64),
    Open(usize),
    Fail(usize, FailureKind),
    Close(usize, FailureKind),
    Want(u32, u8, bool),
    Release(usize),
    Lie(usize),
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
        2 => (any::<usize>(), trouble()).prop_map(|(at, trouble)| Step::Close(at, trouble)),
        8 => (0..6_u32, 0..3_u8, any::<bool>()).prop_map(|(id, attempt, distinct_server)| Step::Want(id, attempt, distinct_server)),
        6 => any::<usize>().prop_map(Step::Release),
        1 => any::<usize>().prop_map(Step::Lie),
        1 => (0..6_u32).prop_map(Step::Use),
        1 => (0..6_u32).prop_map(Step::Forget),
        1 => Just(Step::ForgetAll),
    ]
}

fn nth<T: Clone>(items: &[T], at: usize) -> Option<T> {
    items.get(at.checked_rem(items.len())?).cloned()
}

fn carry_out(driver: &mut Driver, step: Step) {
    let open = |driver: &Driver| {
        let open = driver.seen.iter().filter(|(_, it)| it.open && !it.over);
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
        Step::Close(at, trouble) => {
            if let Some(conn) = nth(&open(driver), at) {
                driver.closed(conn, trouble);
            }
        }
        Step::Want(number, attempt, false) => drop(driver.want(key(number, attempt))),
        Step::Want(number, attempt, true) => drop(driver.want_distinct_server(key(number, attempt))),
        Step::Release(at) => {
            let held = driver.asked.keys().filter(|ticket| !driver.released.contains(ticket));
            if let Some(ticket) = nth(&held.copied().collect::<Vec<Ticket>>(), at) {
                driver.release(ticket);
            }
        }
        Step::Lie(at) => {
            if let Some(conn) = nth(&open(driver), at) {
                driver.step(PoolEvent::Lied(conn));
            }
        }
        Step::Use(number) => driver.step(PoolEvent::Used(id(number))),
        Step::Forget(number) => {
            driver.step(PoolEvent::Forget(id(number)));
            let left = driver
                .seen
                .iter()
                .filter(|(conn, it)| it.open && !it.over && !driver.draining.contains(conn));
            let left = left.filter(|(_, it)| it.key.as_ref().is_some_and(|key| key.id == id(number)));
            // What is there again belongs to who waited, and was served a moment ago.
            let waited = driver.fates.values().filter(|(at, _)| *at == driver.now).count();
            assert!(left.count() <= waited);
        }
        Step::ForgetAll => driver.forget_all(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nobody_meets_and_nobody_waits_for_ever(
        servers in 1..4_usize,
        seed: [u8; 32],
        clean in 0..4_usize,
        max_ids in 1..5_usize,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let settings = PoolSettings { clean, max_ids, ..PoolSettings::default() };
        let mut driver = Driver::new(servers, settings, seed);
        for step in steps {
            carry_out(&mut driver, step);
        }
        // Whatever the state: the patience of all who wait ends, and what nobody holds is forgotten.
        let end = driver.now + settings.wait;
        while driver.tick(end) {}
        driver.step(PoolEvent::Tick);
        prop_assert_eq!(driver.unanswered().count(), 0);
        let held: Vec<Ticket> = driver.asked.keys().filter(|it| !driver.released.contains(it)).copied().collect();
        for ticket in held {
            driver.release(ticket);
        }
        let end = driver.now + settings.id_ttl;
        while driver.tick(end) {}
        driver.step(PoolEvent::Tick);
        let counts = driver.pool.counts();
        prop_assert_eq!((counts.ids, counts.dirty, counts.draining, counts.waiting), (0, 0, 0, 0));
        // With everything well again, so is the pool, after the longest time that a server is left alone.
        driver.run_well(ServerReputation::BACK_OFF.longest + Duration::from_secs(60));
        prop_assert_eq!(driver.clean().len().min(clean), clean);
    }
}

//! That nothing of what identities do shows in what other connections look like: exactly, and in numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::driver::{Driver, Seen, id, key};
use crate::isolation::ConnId;
use crate::net::pool::{FailureKind, PoolEvent, PoolSettings, ServerIndex};
use crate::time::{Moment, random_pause};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn seed(number: u64) -> [u8; 32] {
    StdRng::seed_from_u64(number).random()
}

/// What nobody may be able to move of a connection that was opened ahead: when it opens, where it leads, when it is pinged
/// and when it ends.
type Course = (Moment, ServerIndex, Vec<Moment>, Option<Moment>);

fn courses(driver: &Driver, is_touched: impl Fn(ConnId) -> bool) -> Vec<Option<Course>> {
    let ahead = driver.seen.iter().filter(|(_, it)| !it.own);
    let course = |(conn, it): (&ConnId, &Seen)| {
        let pings = driver.pings.iter().filter(|(_, of)| of == conn).map(|(at, _)| *at);
        (!is_touched(*conn)).then(|| (it.begun, it.server, pings.collect(), it.over))
    };
    ahead.map(course).collect()
}

#[test]
fn what_identities_do_and_suffer_moves_nothing_of_the_connections_that_they_do_not_have() {
    // It would sleep at other moments: lookups do have a part in that, over hours.
    let settings = PoolSettings {
        sleep_mean: Duration::MAX,
        most_clean: usize::MAX,
        ..PoolSettings::default()
    };
    for number in 0..100 {
        let mut untouched = Driver::new(3, settings, seed(number));
        untouched.run_well(HOUR * 10);
        let mut driver = Driver::new(3, settings, seed(number));
        let mut rng = StdRng::seed_from_u64(!number);
        let end = driver.now + HOUR * 10;
        let mut killed = BTreeSet::new();
        while driver.now < end {
            let pause = random_pause(MINUTE * 3, &mut rng).min(end.since(driver.now));
            driver.run_well(pause);
            let who = rng.random_range(0..20);
            match rng.random_range(0..12) {
                0..6 => {
                    driver.serve(key(who, 0));
                }
                6 => driver.step(PoolEvent::Forget(id(who))),
                7 => driver.step(PoolEvent::ForgetAll),
                8 => {
                    let conn = driver.serve(key(who, 1));
                    driver.step(PoolEvent::Lied(conn));
                }
                // A burst.
                9 => (100..108).for_each(|who| {
                    driver.serve(key(who, 0));
                }),
                10 => driver.step(PoolEvent::Used(id(who))),
                _ => {
                    // Lies and failures weigh only after several circuits, and then the choice of server, not moments.
                    if let Some(conn) = driver.clean().first().copied() {
                        driver.closed(conn, FailureKind::Unreachable);
                        killed.insert(conn);
                    }
                }
            }
        }
        let is_touched = |driver: &Driver, conn: ConnId| driver.seen[&conn].whose.is_some() || killed.contains(&conn);
        // Own connections take numbers too, so they are compared in order.
        let (before, after) = (
            courses(&untouched, |_| false),
            courses(&driver, |conn| is_touched(&driver, conn)),
        );
        assert_eq!(before.len(), after.len(), "seed {number}");
        let mut same = 0;
        for (before, after) in before.into_iter().zip(after) {
            let (Some(before), Some(after)) = (before, after) else {
                continue;
            };
            assert_eq!(
                (before.0, before.2, before.3),
                (after.0, after.2, after.3),
                "seed {number}"
            );
            same += 1;
        }
        assert!(same > 100, "seed {number}: {same}");
    }
}

/// Kolmogorov and Smirnov: the greatest distance of a sample from a distribution, in units in which 2.4 is passed by chance
/// once in 10⁵ times.
fn distance(sample: &[f64], distribution: impl Fn(f64) -> f64) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let count = count(sample.len());
    let distances = sorted.iter().zip(0_u32..).map(|(value, at)| {
        let (expected, at) = (distribution(*value), f64::from(at));
        (expected - at / count).abs().max((expected - (at + 1.0) / count).abs())
    });
    distances.fold(0.0, f64::max) * count.sqrt()
}

/// The same for two samples.
fn distance_of_two(one: &[f64], other: &[f64]) -> f64 {
    let share =
        |sample: &[f64], at: f64| count(sample.iter().filter(|value| **value <= at).count()) / count(sample.len());
    let all = one.iter().chain(other);
    let distance = all
        .map(|at| (share(one, *at) - share(other, *at)).abs())
        .fold(0.0, f64::max);
    let (n, m) = (count(one.len()), count(other.len()));
    distance * (n * m / (n + m)).sqrt()
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}

fn exponential(mean: Duration) -> impl Fn(f64) -> f64 {
    move |value| 1.0 - (-value / mean.as_secs_f64()).exp()
}

const RARE: f64 = 2.4;

#[test]
fn openings_lives_and_pings_are_exponential() {
    let settings = PoolSettings {
        sleep_mean: Duration::MAX,
        ..PoolSettings::default()
    };
    let mut driver = Driver::new(2, settings, seed(1));
    driver.run_well(HOUR * 60);
    let begun: Vec<Moment> = driver.seen.values().map(|it| it.begun).collect();
    let gaps: Vec<f64> = begun.windows(2).map(|two| two[1].since(two[0]).as_secs_f64()).collect();
    assert!(gaps.len() > 3000);
    assert!(distance(&gaps, exponential(settings.opening_mean.unwrap())) < RARE);
    let ended = driver
        .seen
        .values()
        .filter_map(|it| Some(it.over?.since(it.begun).as_secs_f64()));
    let lives: Vec<f64> = ended.collect();
    assert!(distance(&lives, exponential(settings.clean_life)) < RARE);
    let mut last: BTreeMap<ConnId, Moment> = driver.seen.iter().map(|(conn, it)| (*conn, it.begun)).collect();
    // Gaps that a life cuts off don't count, which favours the short ones; the first of each long-lived one is not cut.
    let firsts = driver.pings.iter().filter_map(|(at, conn)| {
        let before = last.insert(*conn, *at)?;
        let is_first = before == driver.seen[conn].begun;
        let lived_long = driver.seen[conn]
            .over
            .is_none_or(|over| over.since(before) > MINUTE * 15);
        (is_first && lived_long).then(|| at.since(before).as_secs_f64())
    });
    let firsts: Vec<f64> = firsts.collect();
    assert!(firsts.len() > 300, "{}", firsts.len());
    assert!(distance(&firsts, exponential(settings.keep_alive_mean)) < RARE);
}

#[test]
fn uses_have_no_part_in_when_others_open() {
    for (number, burst) in [(1, 1), (2, 1), (3, 1), (4, 8), (5, 8)] {
        let settings = PoolSettings {
            max_ids: 16,
            ..PoolSettings::default()
        };
        let mut driver = Driver::new(2, settings, seed(number));
        let mut rng = StdRng::seed_from_u64(number);
        let (mut before, mut after, mut who) = (0_u32, 0_u32, 0);
        for _ in 0..2000 / burst {
            driver.run_well(random_pause(MINUTE * 4, &mut rng) + MINUTE);
            let used = driver.now;
            for _ in 0..burst {
                who += 1;
                driver.serve(key(who, 0));
            }
            driver.run_well(MINUTE);
            // Young connections have the greatest numbers.
            let young = driver
                .seen
                .iter()
                .rev()
                .take_while(|(_, it)| it.begun.since(used) > Duration::ZERO || used.since(it.begun) < MINUTE);
            for (_, seen) in young.filter(|(_, it)| !it.own) {
                if seen.begun > used {
                    after += 1;
                } else {
                    before += 1;
                }
            }
        }
        let difference = f64::from(after) - f64::from(before);
        let bound = 4.5 * f64::from(after + before).sqrt();
        assert!(
            difference.abs() <= bound,
            "{before} before, {after} after, bursts of {burst}"
        );
    }
}

#[test]
fn a_new_identity_takes_any_clean_connection_with_the_same_chance_or_opens_its_own_as_its_coin_says() {
    let settings = PoolSettings {
        sleep_mean: Duration::MAX,
        max_ids: 4,
        ..PoolSettings::default()
    };
    let mut driver = Driver::new(1, settings, seed(1));
    let mut rng = StdRng::seed_from_u64(1);
    // By how many were clean: how many uses, and how many of them opened their own.
    let mut uses: BTreeMap<usize, (u32, u32)> = BTreeMap::new();
    let mut ranks = Vec::new();
    for who in 0..6000 {
        driver.run_well(random_pause(MINUTE * 2, &mut rng));
        let clean = driver.clean();
        let conn = driver.serve(key(who, 0));
        let (all, own) = uses.entry(clean.len()).or_default();
        *all += 1;
        *own += u32::from(driver.seen[&conn].own);
        if let Some(at) = clean.iter().position(|it| *it == conn) {
            // A rank among few is spread evenly over its share.
            ranks.push((count(at) + rng.random::<f64>()) / count(clean.len()));
        }
    }
    for (clean, (all, own)) in uses.into_iter().filter(|(_, (all, _))| *all > 50) {
        let (all, own) = (f64::from(all), f64::from(own));
        if clean == 0 {
            assert!(own >= all, "where nothing is clean, each opens its own");
            continue;
        }
        let bound = 4.5 * (all * 0.3 * 0.7).sqrt();
        assert!((own - all * 0.3).abs() <= bound, "{own} of {all} with {clean} clean");
    }
    assert!(ranks.len() > 2000);
    assert!(distance(&ranks, |value| value) < RARE);
}

#[test]
fn connections_of_forgotten_identities_end_as_all_others_do() {
    let mut ends = [Vec::new(), Vec::new()];
    let settings = PoolSettings {
        id_ttl: HOUR,
        max_ids: 1_000_000,
        ..PoolSettings::with_pace(0)
    };
    let mut driver = Driver::new(2, settings, seed(1));
    let mut rng = StdRng::seed_from_u64(1);
    let mut conns = Vec::new();
    for who in 0..2000_u32 {
        conns.push((driver.serve(key(who, 0)), driver.now));
        driver.run_well(random_pause(Duration::from_secs(3), &mut rng));
        if who % 2 == 0 {
            driver.step(PoolEvent::Forget(id(who - who % 7)));
            driver.step(PoolEvent::Forget(id(who)));
        }
    }
    driver.run_well(HOUR);
    for (at, (conn, used)) in conns.into_iter().enumerate() {
        let ended = driver.seen[&conn].over.unwrap();
        ends[at % 2].push(ended.since(used).as_secs_f64());
    }
    let [forgotten, others] = ends;
    assert!(distance_of_two(&forgotten, &others) < RARE);
    assert!(distance(&others, |value| ((value - 300.0) / 300.0).clamp(0.0, 1.0)) < RARE);
}

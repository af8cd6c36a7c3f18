//! How often honest luck alarms, and what whoever hides blocks has to do.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times and heights of a made-up chain"
)]

use bitcoin::CompactTarget;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::chain::{Network, difficulty};

const YEAR: f64 = 365.25;

const BITS: u32 = 0x1703_4219;

/// Block times in seconds and bits, from height 0 on.
#[derive(Default)]
struct Blocks(Vec<(u32, u32)>);

impl Blocks {
    fn header(&self, height: Height) -> Option<PureHeader> {
        let (time, bits) = *self.0.get(height as usize)?;
        let mut bytes = [0; 80];
        bytes[68..72].copy_from_slice(&time.to_le_bytes());
        bytes[72..76].copy_from_slice(&bits.to_le_bytes());
        Some(PureHeader::new(bytes))
    }

    fn check(&self, now: f64) -> Result<(), NotFresh> {
        let now = Timestamp(now as u64);
        check_work(self.0.len() as u32 - 1, now, |height| self.header(height))
    }

    /// Adds a block each ten minutes.
    fn regular(&mut self, count: u32) -> u32 {
        for _ in 0..count {
            let (time, bits) = self.0.last().copied().unwrap_or((1_000_000_000, BITS));
            self.0.push((time + 600, bits));
        }
        self.0.last().unwrap().0
    }

    /// Returns the bits of the next block; the rule's own tests are elsewhere.
    fn next_bits(&self) -> u32 {
        let last = self.0.last().map_or(BITS, |(_, bits)| *bits);
        if self.0.is_empty() || !self.0.len().is_multiple_of(2016) {
            return last;
        }
        let time = |back: usize| self.0[self.0.len().saturating_sub(back).min(self.0.len() - 1)].0;
        let limit = Network::Mainnet.params().pow_limit;
        let span = i64::from(time(1)) - i64::from(time(2017));
        difficulty::retarget(CompactTarget::from_consensus(last), span, limit).to_consensus()
    }
}

/// Returns how often a day fewer than so many blocks for each day of a span are left in it, at this rate of blocks a day.
fn alarms_a_day(rate: f64, span: u32, blocks: u32) -> f64 {
    let mean = rate * (f64::from(span) - 2.0 / 24.0);
    let others = blocks * span - 1;
    let factorial: f64 = (1..=others).map(|n| f64::from(n).ln()).sum();
    rate * (f64::from(others) * mean.ln() - mean - factorial).exp()
}

#[test]
fn half_of_the_hash_rate_alarms_less_than_once_in_ten_years() {
    let years = |blocks| {
        let sum: f64 = SPANS.map(|span| alarms_a_day(72.0, span, blocks)).iter().sum();
        1.0 / (sum * YEAR)
    };
    let (at, most, above) = (years(BLOCKS_A_DAY), years(34), years(35));
    assert!((50.0..65.0).contains(&at), "{at}");
    assert!(most > 10.0 && above < 10.0, "{most} {above}");
}

/// Goes through ten years of blocks, and judges each time at the worst moment: right before the next block. Returns how
/// often too little work was found, and how many blocks there were.
fn ten_years(seed: u64, retargets: bool, mut hash_rate: impl FnMut(f64, &mut StdRng) -> f64) -> (usize, usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut blocks, mut now, mut alarms) = (Blocks::default(), 1.3e9, 0);
    let end = now + 10.0 * YEAR * 86_400.0;
    let first = Target::from_compact(CompactTarget::from_consensus(BITS))
        .to_work()
        .log2();
    while now < end {
        let bits = if retargets { blocks.next_bits() } else { BITS };
        let work = Target::from_compact(CompactTarget::from_consensus(bits))
            .to_work()
            .log2();
        let rate = hash_rate(now, &mut rng) / (work - first).exp2() / 600.0;
        now += -(1.0 - rng.random::<f64>()).ln() / rate;
        if !blocks.0.is_empty() && blocks.check(now).is_err() {
            alarms += 1;
        }
        let mut last: Vec<u32> = blocks.0.iter().rev().take(11).map(|(time, _)| *time).collect();
        last.sort_unstable();
        let median = last.get(last.len() / 2).copied().unwrap_or(0);
        let stamp = (now + rng.random_range(-3600.0..7200.0)) as u32;
        blocks.0.push((stamp.max(median + 1), bits));
    }
    (alarms, blocks.0.len())
}

#[test]
fn ten_years_of_half_the_hash_rate_and_coarse_times_do_not_alarm() {
    let (alarms, blocks) = ten_years(1, false, |_, _| 0.5);
    assert_eq!(alarms, 0);
    assert!((255_000..271_000).contains(&blocks), "{blocks}");
    // The test sees what it looks for.
    assert!(ten_years(1, false, |_, _| 0.3).0 > 0);
}

#[test]
fn a_hash_rate_that_wanders_and_retargets_do_not_alarm() {
    // Some two parts in a hundred each day; and a pool with a third of it comes and goes.
    let mut rate: f64 = 1.0;
    let wandering = |now: f64, rng: &mut StdRng| {
        rate = (rate * (1.0 + 0.0017 * (rng.random::<f64>() * 2.0 - 1.0) * 1.7)).clamp(0.1, 10.0);
        let is_there = ((now / (40.0 * 86_400.0)) as u64).is_multiple_of(2);
        if is_there { rate } else { rate * 0.66 }
    };
    assert_eq!(ten_years(2, true, wandering).0, 0);
}

#[test]
fn an_old_chain_with_a_new_block_on_top_is_not_fresh() {
    let mut blocks = Blocks::default();
    let old = blocks.regular(20_000);
    assert_eq!(blocks.check(f64::from(old + 600)), Ok(()));
    for months in [1, 3, 12] {
        let now = old + months * 30 * 86_400;
        let mut hiding = Blocks(blocks.0.clone());
        hiding.0.push((now - 60, BITS));
        let error = hiding.check(f64::from(now)).unwrap_err();
        let expected = NotFresh::TooLittleWork {
            height: 20_000,
            blocks: 32,
            took: u64::from(now - old + 30 * 600),
            max: 86_400,
        };
        assert_eq!(error, expected, "{months}");
    }
}

#[test]
fn blocks_that_were_mined_ahead_show_the_gap_below_them() {
    let mut blocks = Blocks::default();
    let old = blocks.regular(20_000);
    let now = old + 60 * 86_400;
    for at in 0..50 {
        blocks.0.push((now - 30_000 + at * 600, BITS));
    }
    let error = blocks.check(f64::from(now)).unwrap_err();
    assert!(matches!(error, NotFresh::TooLittleWork { blocks: 128, .. }), "{error}");
}

#[test]
fn a_retarget_does_not_make_the_promise_smaller() {
    // Cut one block short of a retarget, the chain gets a quarter of the difficulty for waiting.
    let easy = 0x170d_0864;
    let mut blocks = Blocks::default();
    let old = blocks.regular(2016 * 10 - 1);
    let now = old + 90 * 86_400;
    blocks.0.push((now - 86_000, BITS));
    assert_eq!(blocks.next_bits(), easy);
    for at in 0..100 {
        blocks.0.push((now - 85_000 + at * 800, easy));
    }
    // The work of 26 blocks, though a hundred are there.
    let error = blocks.check(f64::from(now)).unwrap_err();
    assert!(matches!(error, NotFresh::TooLittleWork { blocks: 32, .. }), "{error}");
}

#[test]
fn a_quarter_of_the_hash_rate_in_the_long_run_is_enough() {
    let mut blocks = Blocks::default();
    let mut time = blocks.regular(100);
    for _ in 0..9_500 {
        time += 86_400 / 33;
        blocks.0.push((time, BITS));
    }
    assert_eq!(blocks.check(f64::from(time)), Ok(()));
}

#[test]
fn a_tip_is_young_for_eight_hours() {
    let check = |age: u64, network: Network| {
        check_tip_age(5, Timestamp(1_000_000), Timestamp(1_000_000 + age), network.params())
    };
    assert_eq!(check(28_800, Network::Mainnet), Ok(()));
    let stale = NotFresh::StaleTip {
        height: 5,
        time: Timestamp(1_000_000),
        age: 28_801,
        max: 28_800,
    };
    assert_eq!(check(28_801, Network::Mainnet), Err(stale.clone()));
    assert_eq!(check(28_801, Network::Testnet), Err(stale));
    assert_eq!(check(u64::MAX / 2, Network::Regtest), Ok(()));
    let lagging = check_tip_age(5, Timestamp(1_000_000), Timestamp(0), Network::Mainnet.params());
    assert_eq!(lagging, Ok(()), "a clock that lags");
}

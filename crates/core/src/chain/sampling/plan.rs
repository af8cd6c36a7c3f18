//! The plan: how many draws, and where the tail begins that is always checked.

use std::collections::BTreeSet;

use bitcoin::pow::Work;
use rand::{CryptoRng, Rng};

use super::Assurance;
use super::axis::{Axis, to_float, with_rounding};
use super::bound;

/// The tails that are tried hold half of the work, a quarter and so on, and so many steps in between.
const STEPS_PER_OCTAVE: u32 = 4;

/// The shortest tail that is tried holds `2^-32` of the work: the bound on rounding counts on it.
const OCTAVES: u32 = 32;

/// A sample promises less than a check of all blocks does, so it has to save half of them at least.
const WORTHWHILE_SHARE: f64 = 0.5;

/// Which blocks of a skeleton must show their AuxPoW, but for the secret part: [`Self::draw`].
///
/// Blocks are counted from 0, the first above the last header that is trusted already.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    axis: Axis,
    /// `None`: all blocks.
    sample: Option<Sample>,
}

/// A tail and the draws below it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    tail_start: usize,
    /// The tail's share of the work, above 0 and below 1.
    tail: f64,
    draws: usize,
    /// Distinct blocks demanded on average, at most.
    expected: f64,
}

impl Plan {
    /// Makes the plan for the blocks of a skeleton, by the work that each claims, the lowest first.
    ///
    /// It takes all blocks where a sample would not save half of them, and where none keeps what is assured: there
    /// are few blocks, they claim no work, or the adversary's share is too close to 1.
    pub fn new(works: impl IntoIterator<Item = Work>, assurance: &Assurance) -> Self {
        let axis = Axis::new(works);
        let starts = tail_starts(&axis, assurance.least_tail());
        let sample = (1..starts.len())
            .filter_map(|last| Sample::new(&axis, starts.get(..=last)?, assurance))
            .min_by(|one, other| one.expected.total_cmp(&other.expected))
            .filter(|cheapest| cheapest.expected <= WORTHWHILE_SHARE * to_float(axis.len()));
        Self { axis, sample }
    }

    /// Returns the number of blocks in the skeleton.
    pub fn blocks(&self) -> usize {
        self.axis.len()
    }

    /// Says whether every block must show its AuxPoW.
    pub fn takes_all(&self) -> bool {
        self.sample.is_none()
    }

    /// Returns the first of the blocks at the end that are always demanded; 0 where all are.
    pub fn tail_start(&self) -> usize {
        self.sample.map_or(0, |sample| sample.tail_start)
    }

    /// Returns how many times a block is drawn from those below the tail.
    pub fn draws(&self) -> usize {
        self.sample.map_or(0, |sample| sample.draws)
    }

    /// Returns how many blocks are demanded on average: an upper bound, close where neighbours claim about equal
    /// work.
    pub fn expected(&self) -> f64 {
        self.sample
            .map_or_else(|| to_float(self.blocks()), |sample| sample.expected)
    }

    /// Returns the greatest probability to get through of a forger who did this share of the work that his chain
    /// claims above any fork point.
    pub fn acceptance(&self, adversary: f64) -> f64 {
        self.sample.map_or(0.0, |sample| {
            let chance = bound::hit_chance(with_rounding(adversary, self.blocks()), sample.tail);
            bound::acceptance(chance, to_float(sample.draws))
        })
    }

    /// Draws the blocks that must show their AuxPoW, the tail among them.
    ///
    /// To be called once for each skeleton, when it is fixed, with a generator that the operating system seeded.
    pub fn draw(&self, rng: &mut impl CryptoRng) -> BTreeSet<usize> {
        let Some(sample) = self.sample else {
            return (0..self.blocks()).collect();
        };
        let ln_tail = sample.tail.ln();
        let drawn = (0..sample.draws).map(|_| {
            let u: f64 = rng.random();
            self.axis.block_at((u * ln_tail).exp())
        });
        drawn.chain(sample.tail_start..self.blocks()).collect()
    }
}

impl Sample {
    /// Makes the sample whose tail begins at the last of `bounds`, which cut the blocks below it into groups; `None`
    /// where it can't keep what is assured with fewer draws than there are blocks.
    fn new(axis: &Axis, bounds: &[usize], assurance: &Assurance) -> Option<Self> {
        let tail_start = *bounds.last()?;
        let tail = axis.share_from(tail_start);
        let adversary = with_rounding(assurance.adversary(), axis.len());
        let draws = bound::draws(assurance.security_bits(), bound::hit_chance(adversary, tail));
        if draws > to_float(axis.len()) {
            return None;
        }
        let below: f64 = bounds
            .windows(2)
            .filter_map(|group| match *group {
                [from, to] => Some(distinct(axis, from, to, tail, draws)),
                _ => None,
            })
            .sum();
        Some(Self {
            tail_start,
            tail,
            draws: to_count(draws),
            expected: to_float(axis.len().saturating_sub(tail_start)) + below,
        })
    }
}

/// Returns the blocks at which a tail may begin and that are tried, rising, each once. The first is the lowest with
/// any work.
fn tail_starts(axis: &Axis, least_tail: usize) -> Vec<usize> {
    let last = axis.len().saturating_sub(least_tail);
    let shares = (0..=OCTAVES * STEPS_PER_OCTAVE).map(|step| (-f64::from(step) / f64::from(STEPS_PER_OCTAVE)).exp2());
    let mut starts: Vec<_> = shares.map(|share| axis.block_at(share).min(last)).collect();
    starts.dedup();
    starts
}

/// Returns how many distinct blocks of `from..to` are drawn on average, at most: as many as if they all claimed the
/// same work, because the chance to be drawn at all is concave in the chance of each draw.
fn distinct(axis: &Axis, from: usize, to: usize, tail: f64, draws: f64) -> f64 {
    let blocks = to_float(to.saturating_sub(from));
    let group_chance = (axis.share_from(to) / axis.share_from(from)).ln() / tail.ln();
    let chance = (group_chance / blocks).min(1.0);
    blocks * -(draws * (-chance).ln_1p()).exp_m1()
}

/// Returns a number of draws as a count.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number from 1 to the number of blocks"
)]
fn to_count(draws: f64) -> usize {
    draws as usize
}

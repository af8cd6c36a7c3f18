//! The axis of work: how much of it lies from each block to the tip, and how exactly we know that.
//!
//! Sums are kept as floating-point numbers, added up from the tip downwards. So each has the same relative error
//! however little work remains, which integers scaled to the total would not have, and no sum of 256-bit numbers
//! overflows.
//!
//! What rounding does, with n blocks and ε = 2^-53:
//!
//! 1. A block's work is off by a factor of `1 ± 32ε`, and each addition by ε of the sum. So the differences of the
//!    sums that we hold are the works of a chain on which an adversary's share above a block is larger by
//!    `(2n + 64)ε` at most.
//! 2. A draw's uniform number is a multiple of ε, and the logarithm, the exponential and their products err by some
//!    ε: the chance of each block is off by `170ε / ln(1/δ)` at most, as a tail δ of less than `2^-32` is never
//!    planned.
//! 3. An adversary's share that is larger by s lowers `ln(1/c)` by s or more.
//!
//! Planning for a share that is larger by [`ROUNDING_PER_BLOCK`], which is `256ε`, for each block and one more puts
//! all of it on the safe side.

use bitcoin::pow::Work;

/// What rounding adds to an adversary's share of the work, for each block of the axis and one more: `2^-45`.
const ROUNDING_PER_BLOCK: f64 = 1.0 / 35_184_372_088_832.0;

/// How much work lies from each block to the tip.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    /// In order of height, so never rising.
    remaining: Vec<f64>,
}

impl Axis {
    /// Lays the blocks out, the lowest first.
    pub(super) fn new(works: impl IntoIterator<Item = Work>) -> Self {
        let mut remaining: Vec<f64> = works.into_iter().map(approximate).collect();
        let mut sum = 0.0;
        for work in remaining.iter_mut().rev() {
            sum += *work;
            *work = sum;
        }
        Self { remaining }
    }

    /// Returns the number of blocks.
    pub(super) fn len(&self) -> usize {
        self.remaining.len()
    }

    /// Returns the share of all work that lies from a block to the tip, the block included; 0 behind the last one.
    pub(super) fn share_from(&self, block: usize) -> f64 {
        let remaining = self.remaining.get(block).copied().unwrap_or(0.0);
        remaining / self.total()
    }

    /// Returns the block in which exactly this share of all work remains to the tip: the highest from whose
    /// beginning no less does. A block that claims no work is passed over, but for the last one.
    pub(super) fn block_at(&self, share: f64) -> usize {
        let least = share * self.total();
        let from_below = self.remaining.partition_point(|remaining| *remaining >= least);
        from_below.saturating_sub(1)
    }

    fn total(&self) -> f64 {
        self.remaining.first().copied().unwrap_or(0.0)
    }
}

/// Returns what an adversary's share has to be taken for on an axis of so many blocks, so that rounding never helps
/// him.
pub(super) fn with_rounding(adversary: f64, blocks: usize) -> f64 {
    adversary + (to_float(blocks) + 1.0) * ROUNDING_PER_BLOCK
}

/// Returns a number of blocks or draws as a floating-point number.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53, and no chain has as many blocks"
)]
pub(super) fn to_float(count: usize) -> f64 {
    count as f64
}

/// Returns work as a floating-point number, off by a factor of `1 ± 32ε` at most: one rounding for each byte.
fn approximate(work: Work) -> f64 {
    let bytes = work.to_be_bytes();
    bytes.iter().fold(0.0, |sum, byte| sum * 256.0 + f64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn power_of_two(exponent: usize) -> Work {
        let mut bytes = [0; 32];
        bytes[31 - exponent / 8] = 1 << (exponent % 8);
        Work::from_be_bytes(bytes)
    }

    fn axis(exponents: &[usize]) -> Axis {
        Axis::new(exponents.iter().copied().map(power_of_two))
    }

    #[test]
    fn a_block_takes_the_axis_from_its_beginning_to_the_next_ones() {
        for shift in [0, 80, 253] {
            let axis = axis(&[shift, shift, shift + 1]);
            let shares: Vec<f64> = (0..4).map(|block| axis.share_from(block)).collect();
            assert_eq!(shares, [1.0, 0.75, 0.5, 0.0]);
            for (share, block) in [
                (1.0, 0),
                (0.75_f64.next_up(), 0),
                (0.75, 1),
                (0.5_f64.next_up(), 1),
                (0.5, 2),
                (0.0, 2),
            ] {
                assert_eq!(axis.block_at(share), block, "{share}");
            }
        }
    }

    #[test]
    fn little_work_at_the_end_is_as_exact_as_all_of_it() {
        let axis = axis(&[255, 100, 1, 0, 0]);
        let ratio = axis.share_from(3) / axis.share_from(2);
        assert!((ratio - 0.5).abs() < 1e-15, "{ratio}");
        assert_eq!(axis.block_at(axis.share_from(4)), 4);
    }

    #[test]
    fn work_of_any_size_is_held_to_its_last_bits() {
        for exponent in 0..256 {
            let expected = f64::from(u16::try_from(exponent).unwrap()).exp2();
            assert!(
                (approximate(power_of_two(exponent)) / expected - 1.0).abs() < 1e-15,
                "{exponent}"
            );
        }
        let most = approximate(Work::from_be_bytes([0xff; 32]));
        assert!((most / 256.0_f64.exp2() - 1.0).abs() < 32.0 * f64::EPSILON);
    }

    #[test]
    fn an_axis_without_work_is_no_trouble() {
        for axis in [Axis::new([]), Axis::new([Work::from_be_bytes([0; 32]); 3])] {
            assert_eq!(axis.block_at(0.5), axis.len().saturating_sub(1));
            assert!(axis.share_from(0).is_nan());
        }
    }

    #[test]
    fn rounding_is_paid_for() {
        let unit = f64::EPSILON / 2.0;
        for blocks in [0, 1, 37_000, 1_000_000] {
            let room = with_rounding(0.5, blocks) - 0.5;
            // What the module's documentation adds up.
            assert!(room >= (2.0 + 170.0) * unit * to_float(blocks) + 64.0 * unit);
            assert!(room < 1e-6);
        }
    }
}

//! Targets: when bits are valid, what work they stand for, and how a retarget moves them.

use bitcoin::consensus::Params as BitcoinParams;
use bitcoin::pow::Work;
use bitcoin::{CompactTarget, Target};

use super::params::{PowLimit, RETARGET_TIMESPAN};

/// Why bits stand for no target that a block may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The sign bit is set.
    #[error("bits {bits:#010x} are negative")]
    Negative {
        /// The bits.
        bits: u32,
    },
    /// The target is zero: no hash could meet it.
    #[error("bits {bits:#010x} stand for a target of zero")]
    Zero {
        /// The bits.
        bits: u32,
    },
    /// The target has more than 256 bits.
    #[error("bits {bits:#010x} stand for a target of more than 256 bits")]
    Overflow {
        /// The bits.
        bits: u32,
    },
    /// The target is easier than the network allows.
    #[error("bits {bits:#010x} are easier than the limit {limit:#010x}")]
    AboveLimit {
        /// The bits.
        bits: u32,
        /// The limit's bits.
        limit: u32,
    },
}

/// Returns the target that bits stand for.
///
/// Source: Namecoin Core `arith_uint256.cpp`, `SetCompact`, and `pow.cpp`, `DeriveTarget`.
pub fn decode_target(bits: CompactTarget, limit: PowLimit) -> Result<Target, TargetError> {
    let compact = bits.to_consensus();
    let (size, sign, mantissa) = (compact >> 24, compact & 0x0080_0000, compact & 0x007f_ffff);
    let mantissa = match size {
        0..=2 => mantissa >> (8 * (3 - size)),
        _ => mantissa,
    };
    if mantissa == 0 {
        return Err(TargetError::Zero { bits: compact });
    }
    if sign != 0 {
        return Err(TargetError::Negative { bits: compact });
    }
    if size > 34 || (size > 33 && mantissa > 0xff) || (size > 32 && mantissa > 0xffff) {
        return Err(TargetError::Overflow { bits: compact });
    }
    let target = Target::from_compact(bits);
    if target > limit.target() {
        return Err(TargetError::AboveLimit {
            bits: compact,
            limit: limit.target().to_compact_lossy().to_consensus(),
        });
    }
    Ok(target)
}

/// Returns the bits after a retarget: the old target times `span` (seconds that the last interval took) over 14 days,
/// the span held between 3.5 days and 56 days, the result at `limit` at most and rounded as bits are.
///
/// `old` must be valid under `limit` ([`decode_target`]): the product then fits into 256 bits.
/// Source: Namecoin Core `pow.cpp`, `CalculateNextWorkRequired`.
pub fn retarget(old: CompactTarget, span: i64, limit: PowLimit) -> CompactTarget {
    let mut rules = BitcoinParams::MAINNET;
    rules.pow_target_timespan = u64::from(RETARGET_TIMESPAN);
    rules.max_attainable_target = limit.target();
    // A negative span counts as a short one; `bitcoin` holds it between the bounds as Core does.
    CompactTarget::from_next_work_required(old, u64::try_from(span).unwrap_or(0), rules)
}

/// Adds up work, at most to the greatest number there is: a configured anchor may claim any.
pub fn add_work(total: Work, work: Work) -> Work {
    let (mut high, low) = halves(total);
    let (work_high, work_low) = halves(work);
    let (low, carry) = low.overflowing_add(work_low);
    let mut overflow = false;
    for part in [work_high, u128::from(carry)] {
        let (sum, over) = high.overflowing_add(part);
        (high, overflow) = (sum, overflow | over);
    }
    if overflow {
        return Work::from_be_bytes([0xff; 32]);
    }
    let mut bytes = [0; 32];
    let both = high.to_be_bytes().into_iter().chain(low.to_be_bytes());
    bytes.iter_mut().zip(both).for_each(|(byte, value)| *byte = value);
    Work::from_be_bytes(bytes)
}

/// Splits work into its upper and lower 128 bits.
fn halves(work: Work) -> (u128, u128) {
    let fold = |bytes: &[u8]| bytes.iter().fold(0, |value, byte| value << 8 | u128::from(*byte));
    let bytes = work.to_be_bytes();
    let (high, low) = bytes.split_at(16);
    (fold(high), fold(low))
}

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chain::{Network, model};

    fn number(bytes: [u8; 32]) -> model::Number {
        let mut number = [0; 64];
        number[..32].copy_from_slice(&bytes);
        number
    }

    fn decode(bits: u32, network: Network) -> Result<Target, TargetError> {
        decode_target(CompactTarget::from_consensus(bits), network.params().pow_limit)
    }

    #[test]
    fn each_kind_of_invalid_bits_has_its_error() {
        let on_mainnet = |bits| decode(bits, Network::Mainnet).unwrap_err();
        for bits in [0x1d80_ffff, 0x0180_0000 | 0x01_0000, 0x0492_3456] {
            assert_eq!(on_mainnet(bits), TargetError::Negative { bits });
        }
        for bits in [0, 0x0100_3456, 0x0200_0056, 0x1d00_0000, 0x1d80_0000, 0xff00_0000] {
            assert_eq!(on_mainnet(bits), TargetError::Zero { bits });
        }
        for bits in [0xff12_3456, 0x2300_0001, 0x2200_0100, 0x2101_0000] {
            assert_eq!(on_mainnet(bits), TargetError::Overflow { bits });
        }
        let limit = 0x1d00_ffff;
        for bits in [0x1d01_0000, 0x207f_ffff, 0x2200_00ff] {
            assert_eq!(on_mainnet(bits), TargetError::AboveLimit { bits, limit });
        }
        for network in Network::ALL {
            let limit = network.params().pow_limit_bits();
            assert!(decode_target(limit, network.params().pow_limit).is_ok());
        }
    }

    #[test]
    fn work_is_summed_over_both_halves_and_never_wraps() {
        let of = |high: u128, low: u128| {
            let bytes = [high.to_be_bytes(), low.to_be_bytes()].concat();
            Work::from_be_bytes(bytes.try_into().unwrap())
        };
        assert_eq!(add_work(of(0, 1), of(0, 2)), of(0, 3));
        assert_eq!(add_work(of(1, u128::MAX), of(2, 1)), of(4, 0));
        let most = of(u128::MAX, u128::MAX);
        assert_eq!(add_work(most, of(0, 1)), most);
        assert_eq!(add_work(of(u128::MAX, 0), of(1, 0)), most);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn bits_are_valid_as_in_the_model(bits in any::<u32>(), size in 0..40_u32) {
            for bits in [bits, bits & 0x00ff_ffff | size << 24] {
                for network in Network::ALL {
                    let limit = number(network.params().pow_limit.target().to_le_bytes());
                    let expected = model::target(bits).filter(|target| !model::is_above(target, &limit));
                    let got = decode(bits, network).ok().map(|target| number(target.to_le_bytes()));
                    prop_assert_eq!(got, expected, "{:#010x}", bits);
                }
            }
        }

        #[test]
        fn targets_survive_their_bits_and_give_the_models_work(size in 4..=32_u32, mantissa in 0x8000..0x80_0000_u32) {
            let bits = size << 24 | mantissa;
            let Ok(target) = decode(bits, Network::Regtest) else { return Ok(()) };
            prop_assert_eq!(target.to_compact_lossy().to_consensus(), bits);
            let expected = model::work(&number(target.to_le_bytes()));
            prop_assert_eq!(number(target.to_work().to_le_bytes()), expected);
        }

        #[test]
        fn retargets_are_those_of_the_model(size in 3..=0x1d_u32, mantissa in 1..0x80_0000_u32, span in -5_000_000..10_000_000_i64) {
            let bits = size << 24 | mantissa;
            for network in [Network::Mainnet, Network::Testnet] {
                let limit = network.params().pow_limit;
                if decode(bits, network).is_err() {
                    continue;
                }
                let got = retarget(CompactTarget::from_consensus(bits), span, limit).to_consensus();
                prop_assert_eq!(got, model::retarget(bits, span, &number(limit.target().to_le_bytes())));
            }
        }
    }
}

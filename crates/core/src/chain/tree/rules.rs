//! The rules that hold a header against its ancestors and its network.
//!
//! Source: Namecoin Core `validation.cpp`, `ContextualCheckBlockHeader` and `CheckProofOfWork`; `pow.cpp`,
//! `GetNextWorkRequired`.

use bitcoin::{BlockHash, CompactTarget, Target};

use super::HeaderError;
use super::lineage::Lineage;
use crate::chain::params::{MAX_FUTURE_SECONDS, RETARGET_INTERVAL, Retargeting};
use crate::chain::{FullHeader, Height, Params, PureHeader, difficulty};
use crate::time::Timestamp;

/// Seconds after its parent from which on a testnet block may have minimum difficulty: two block spacings.
const MINIMUM_DIFFICULTY_DELAY: u32 = 20 * 60;

/// Checks all that does not need the proof of work: version, bits and median time. Returns the header's target.
pub(super) fn check_context(
    header: &PureHeader,
    lineage: &Lineage<'_>,
    params: &Params,
) -> Result<Target, HeaderError> {
    let height = lineage.height();
    check_version(header, height, params)?;
    let target = difficulty::decode_target(header.bits(), params.pow_limit)?;
    let expected = required_bits(header, lineage, params)?;
    if header.bits() != expected {
        let (expected, got) = (expected.to_consensus(), header.bits().to_consensus());
        return Err(HeaderError::WrongBits { height, expected, got });
    }
    let (median, got) = (lineage.median_time_past()?, header.time());
    if got <= median {
        return Err(HeaderError::TimeTooEarly { median, got });
    }
    Ok(target)
}

/// Checks that the header's time is at most two hours ahead of the clock.
pub(super) fn check_not_from_future(header: &PureHeader, now: Timestamp) -> Result<(), HeaderError> {
    let got = Timestamp(u64::from(header.time()));
    let max = Timestamp(now.0.saturating_add(MAX_FUTURE_SECONDS));
    if got > max {
        return Err(HeaderError::TimeTooLate { max, got });
    }
    Ok(())
}

/// Checks the proof of work: AuxPoW where the version says that there is one, else the header's own. Its bits must have
/// been found valid before.
pub(in crate::chain) fn check_work(
    header: &FullHeader<'_>,
    hash: BlockHash,
    params: &Params,
) -> Result<(), HeaderError> {
    let target = Target::from_compact(header.pure.bits());
    match &header.auxpow {
        Some(_) if !header.pure.has_auxpow() => Err(HeaderError::AuxPowUnexpected),
        Some(auxpow) => Ok(auxpow.check(&header.pure, &hash, &target, params)?),
        None if header.pure.has_auxpow() => Err(HeaderError::AuxPowMissing),
        None => check_own_work(&header.pure, hash, &target),
    }
}

/// Checks the work of a header without AuxPoW.
pub(super) fn check_own_work(header: &PureHeader, got: BlockHash, target: &Target) -> Result<(), HeaderError> {
    if target.is_met_by(got) {
        return Ok(());
    }
    let bits = header.bits().to_consensus();
    Err(HeaderError::InsufficientWork { got, bits })
}

fn check_version(header: &PureHeader, height: Height, params: &Params) -> Result<(), HeaderError> {
    if header.is_legacy() && params.legacy_end.is_some_and(|end| height >= end) {
        return Err(HeaderError::LateLegacy { height });
    }
    let min = params
        .base_version_heights
        .iter()
        .zip(2..)
        .filter(|(from, _)| height >= **from)
        .map(|(_, version)| version)
        .max();
    let got = header.base_version();
    if let Some(min) = min.filter(|min| got < *min) {
        return Err(HeaderError::BaseVersionTooLow { height, min, got });
    }
    let (expected, got) = (params.chain_id, header.chain_id());
    if params.strict_chain_id && !header.is_legacy() && got != expected {
        return Err(HeaderError::WrongChainId { expected, got });
    }
    let start = params.auxpow_start;
    if header.has_auxpow() && height < start {
        return Err(HeaderError::EarlyAuxPow { height, start });
    }
    Ok(())
}

/// Returns the height of the first header of the span that a retarget at `boundary` measures.
///
/// Before merge-mining it is one block short of the interval, which allowed the time-warp attack; since then the
/// interval is whole, except at the very first boundary, below which there is no more.
pub(super) fn retarget_start(boundary: Height, params: &Params) -> Height {
    let last = boundary.saturating_sub(1);
    let back = if last >= params.auxpow_start && boundary > RETARGET_INTERVAL {
        RETARGET_INTERVAL
    } else {
        RETARGET_INTERVAL - 1
    };
    last.saturating_sub(back)
}

/// Returns the bits that a header must have.
fn required_bits(header: &PureHeader, lineage: &Lineage<'_>, params: &Params) -> Result<CompactTarget, HeaderError> {
    let height = lineage.height();
    let parent = lineage.parent()?;
    let at_boundary = height.is_multiple_of(RETARGET_INTERVAL);
    match params.retargeting {
        Retargeting::Never => Ok(parent.bits()),
        _ if at_boundary => {
            let first = lineage.at(retarget_start(height, params))?;
            let span = i64::from(parent.time()) - i64::from(first.time());
            Ok(difficulty::retarget(parent.bits(), span, params.pow_limit))
        }
        Retargeting::MinimumDifficultyAfter(since) if header.time() > since => {
            minimum_difficulty_bits(header, lineage, params)
        }
        _ => Ok(parent.bits()),
    }
}

/// Returns the bits of a testnet block off a boundary: the limit when it comes late, or before its parent (an old
/// bug that became a rule), else those of the last block that did not use this exception.
fn minimum_difficulty_bits(
    header: &PureHeader,
    lineage: &Lineage<'_>,
    params: &Params,
) -> Result<CompactTarget, HeaderError> {
    let limit = params.pow_limit_bits();
    let parent = lineage.parent()?;
    let since_parent = header.time().checked_sub(parent.time());
    if since_parent.is_none_or(|seconds| seconds > MINIMUM_DIFFICULTY_DELAY) {
        return Ok(limit);
    }
    let mut bits = parent.bits();
    let heights = (0..lineage.height()).rev();
    for (height, ancestor) in heights.zip(lineage.walk()) {
        bits = ancestor?.bits();
        if bits != limit || height.is_multiple_of(RETARGET_INTERVAL) {
            break;
        }
    }
    Ok(bits)
}

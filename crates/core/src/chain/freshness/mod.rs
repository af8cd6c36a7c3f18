//! Whether a chain is as new as it looks: its last days must hold the work that the difficulty promises for them.
//!
//! The age of the tip alone tells little. Who shows an old, true chain needs one block with a new time on top of it to
//! make months of updates disappear, and one block is what a miner with a hundredth of the hash rate finds in a day. So
//! work is counted, over several spans at once, since blocks can be mined ahead and kept: who has the last day's blocks
//! ready shows a gap before them.
//!
//! # The rule
//!
//! For each span D of [`SPANS`] (1, 4, 16 and 64 days): going down from the tip, the work of [`BLOCKS_A_DAY`] blocks (32,
//! of 144 that are due) for each day of D must have been done within D. A block's work counts in parts of the *promise*: the
//! work of a block by the difficulty at the tip, or by that of the interval before, if that was greater. Else whoever cuts
//! the true chain short of a retarget, and waits, would be promised a quarter of the work by the retarget that follows.
//!
//! # False alarms
//!
//! Blocks are a Poisson process. Let λ be its rate and N the number of blocks within a span of D. The rule fires at the
//! moment at which N falls below k; that is when a block leaves the span and k − 1 others are in it, so it happens at a mean
//! rate of λ·P(N = k − 1), *however often it is judged*: judging rarely only misses some. In other words, k blocks take
//! a time with the Gamma distribution (k, λ), and that exceeds D. With
//!
//! * **half of the promised hash rate**, λ = 72 a day: the largest pool may leave on one day, and the difficulty follows
//!   within four weeks;
//! * **two hours less of D**: block times are coarse. They may be two hours ahead of the clock and, by the rule of the median
//!   of eleven, an hour or so behind it, so a block may seem to have left the span that early;
//! * k = 32 a day,
//!
//! the shortest span alarms once in 57 years, the other ones practically never, and all of them together less than once in
//! ten years with k up to 34. Where the difficulty fell within the span, blocks weigh less than 1 each and come the more
//! often: their sum scatters less than that of whole ones. Namecoin's mean since its genesis block is one block in 577
//! seconds, more than what is promised; the tests go through ten years of half of it, with retargets, with a hash rate that
//! wanders, and with times as coarse as the rules allow.
//!
//! At the promised rate no alarm comes before the hash rate has fallen below a quarter, which no luck explains. Then names
//! are not served, as with a tip that is too old: nobody can tell such a chain from one that somebody keeps from us.
//!
//! # What it costs whoever hides blocks
//!
//! 32 blocks a day at the difficulty that the chain had when he began, 2/9 of the hash rate, for as long as he hides them
//! and from the start. What is hidden for less than a day, or by whoever has that much of the hash rate, is not found this
//! way. On testnet, where a block may have next to no work, only the tip's age is judged.

use bitcoin::Target;

use super::params::{MAX_TIP_AGE, RETARGET_INTERVAL, Retargeting};
use super::{HeaderTree, Height, Params, PureHeader};
use crate::time::{Span, Timestamp};

/// Blocks of the promised work that each day of a span must have, of 144.
pub const BLOCKS_A_DAY: u32 = 32;

/// The spans that are judged, in days.
pub const SPANS: [u32; 4] = [1, 4, 16, 64];

const DAY: u64 = 24 * 60 * 60;

/// Why a chain is not taken for the newest one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotFresh {
    /// The newest header is too old: servers are stale, or keep new blocks from us.
    #[error(
        "the newest header, at height {height}, is of {time}, {} before the time of this machine's clock, {}; at most {} \
         are allowed: set the clock if it is wrong, else servers are stale or keep blocks back",
        Span(*.age), Timestamp(.time.0.saturating_add(*.age)), Span(*.max)
    )]
    StaleTip {
        /// Height of our tip.
        height: Height,
        /// When its block was made.
        time: Timestamp,
        /// Its age in seconds.
        age: u64,
        /// The greatest age, in seconds.
        max: u64,
    },
    /// The newest header is new, but not those below it: servers keep blocks from us, or most miners are gone.
    #[error(
        "the work of the last {blocks} blocks up to height {height} took {}: at most {} are allowed, as the difficulty \
         promises more than four times as much",
        Span(*.took), Span(*.max)
    )]
    TooLittleWork {
        /// Height of our tip.
        height: Height,
        /// How many blocks' work is looked at.
        blocks: u32,
        /// Seconds since it began.
        took: u64,
        /// The greatest number of seconds.
        max: u64,
    },
}

impl HeaderTree {
    /// Checks that the best chain is as new as it looks, as far down as its headers are known. On networks where blocks
    /// are made by hand every chain is.
    ///
    /// # Errors
    ///
    /// [`NotFresh::StaleTip`] when the tip is older than [`MAX_TIP_AGE`], [`NotFresh::TooLittleWork`] when there is too
    /// little work in one of the [`SPANS`].
    pub fn check_fresh(&self, now: Timestamp) -> Result<(), NotFresh> {
        let (tip, params) = (self.tip(), self.params());
        check_tip_age(tip.height, tip.time, now, params)?;
        if !params.tip_ages || matches!(params.retargeting, Retargeting::MinimumDifficultyAfter(_)) {
            return Ok(());
        }
        check_work(tip.height, now, |height| self.header_at(height))
    }
}

/// Checks the age of a tip alone.
///
/// # Errors
///
/// [`NotFresh::StaleTip`] when it is older than [`MAX_TIP_AGE`].
pub fn check_tip_age(height: Height, time: Timestamp, now: Timestamp, params: &Params) -> Result<(), NotFresh> {
    if params.is_stale(time, now) {
        let (age, max) = (now.seconds_since(time), MAX_TIP_AGE);
        return Err(NotFresh::StaleTip { height, time, age, max });
    }
    Ok(())
}

/// Checks the work of the last days of a chain with this tip.
fn check_work(tip: Height, now: Timestamp, header_at: impl Fn(Height) -> Option<PureHeader>) -> Result<(), NotFresh> {
    for days in SPANS {
        let blocks = BLOCKS_A_DAY.saturating_mul(days);
        let Some(first) = first_of(tip, f64::from(blocks), &header_at).and_then(&header_at) else {
            return Ok(());
        };
        let took = now.seconds_since(Timestamp(u64::from(first.time())));
        let max = DAY * u64::from(days);
        if took > max {
            let height = tip;
            return Err(NotFresh::TooLittleWork {
                height,
                blocks,
                took,
                max,
            });
        }
    }
    Ok(())
}

/// Returns the height from which on a chain has the work of so many blocks as promised at its tip; `None` where it does not
/// reach down so far. All blocks of an interval between retargets have the same bits, so one of each is looked at.
fn first_of(tip: Height, blocks: f64, header_at: impl Fn(Height) -> Option<PureHeader>) -> Option<Height> {
    let target = |height: Height| header_at(height).map(|header| Target::from_compact(header.bits()));
    let below = |height: Height| (height - height % RETARGET_INTERVAL).checked_sub(1);
    let own = target(tip)?;
    let promise = below(tip).and_then(target).map_or(own, |previous| previous.min(own));
    let (mut top, mut left) = (tip, blocks);
    loop {
        let target = target(top)?;
        let weight = if target == promise {
            1.0
        } else {
            (target.to_work().log2() - promise.to_work().log2()).exp2()
        };
        let of_interval = f64::from(top % RETARGET_INTERVAL + 1);
        if of_interval * weight >= left {
            return top.checked_sub(to_count((left / weight).ceil()).saturating_sub(1));
        }
        left -= of_interval * weight;
        top = below(top)?;
    }
}

/// Returns a number of blocks of one interval as a count.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number from 1 to the length of an interval"
)]
fn to_count(blocks: f64) -> Height {
    blocks as Height
}

#[cfg(test)]
mod tests;

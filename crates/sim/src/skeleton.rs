//! Skeletons that lie: headers of 80 bytes that claim work which nobody did, and what a server shows when it is asked
//! for their AuxPoW.
//!
//! A skeleton is a chain of headers without AuxPoW, of which a client samples some in full. Whoever forges one keeps
//! every rule that can be checked without AuxPoW, and hopes that no sample falls on a block without work.

use std::borrow::Cow;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::arguments::RpcError;
use super::chain::SimChain;
use super::miner::Work;
use super::parent::{self, AuxPowKind, Flaw};
use super::wallet::AddressKind;
use super::world::long::SETTLED;
use super::world::{FIRST_UPDATE_DEPTH, World};
use isonym_core::chain::params::MEDIAN_TIME_SPAN;
use isonym_core::chain::{Height, PureHeader};
use isonym_core::name::{NameId, NameValue};

/// How a server cheats clients that check samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skeleton {
    /// The lowest block that it cheats with, at least 1.
    pub from: Height,
    /// Which blocks from there on can't be shown in full.
    pub lacking: Lacking,
    /// What is shown of them instead.
    pub shown: Shown,
    /// The chain that it tells from there on; `None`: the true one, of which it only hides the work.
    pub fork: Option<Fork>,
}

/// Which blocks have no work to show, counted from [`Skeleton::from`]. On a [`Fork`] all others were really mined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacking {
    /// None: a fork whose miners had as much work as it claims.
    None,
    /// All.
    All,
    /// So many, then none: one forged header with honest work upon it, or a fork with its work at the end.
    First(Height),
    /// The first `run` of every `period` blocks.
    Runs {
        /// How many of them.
        run: Height,
        /// Of how many.
        period: Height,
    },
}

impl Lacking {
    fn contains(self, place: Height) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::First(count) => place < count,
            Self::Runs { run, period } => place.checked_rem(period).is_some_and(|place| place < run),
        }
    }
}

/// What stands in for a full header. Where the tip of a new block must be told, [`Shown::Refusal`] and
/// [`Shown::Silence`] become [`Shown::Borrowed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The header with an AuxPoW made for it that breaks a rule, such as [`Flaw::NotEnoughWork`].
    Flawed(Flaw),
    /// The header with the AuxPoW of the block below [`Skeleton::from`]: real work, for another block.
    Borrowed,
    /// Another header with work of its own, such as a block of another chain has.
    Stranger,
    /// The header with random bytes.
    Garbage,
    /// An error.
    Refusal,
    /// No reply, ever.
    Silence,
}

/// A chain that leaves the true one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fork {
    /// How many blocks more than the true chain it has.
    pub extra: Height,
    /// When its blocks say that they were mined.
    pub times: Times,
    /// A name that it registers for itself near its tip, with its value, where the true chain knows no such thing.
    /// Takes at least 30 blocks, the last 14 of them upon the registration.
    pub claim: Option<(NameId, NameValue)>,
}

/// The block times of a fork. The last one is that of the true tip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// Evenly apart.
    #[default]
    Even,
    /// The lowest that the rule of the median allows, all but the last.
    Lowest,
}

/// A full header as it is shown.
pub(super) type Reply<'a> = Result<Cow<'a, [u8]>, Denial>;

/// Why a request for full headers has no result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Denial {
    Error(RpcError),
    Silence,
}

impl From<RpcError> for Denial {
    fn from(error: RpcError) -> Self {
        Self::Error(error)
    }
}

impl Skeleton {
    fn lacks(&self, height: Height) -> bool {
        height
            .checked_sub(self.from)
            .is_some_and(|place| self.lacking.contains(place))
    }

    /// Returns the chain that is told; `None`: the true one.
    pub(super) fn doctored(&self, chain: &SimChain) -> Option<SimChain> {
        self.fork.as_ref().map(|fork| self.forked(chain, fork))
    }

    fn forked(&self, chain: &SimChain, fork: &Fork) -> SimChain {
        let below = self.from.saturating_sub(1).min(chain.height());
        let tip = chain.height().saturating_add(fork.extra);
        let clock = Clock {
            times: fork.times,
            start: time(chain, below),
            end: time(chain, chain.height()),
            blocks: tip - below,
        };
        let registered = tip.saturating_sub(SETTLED);
        let mut world = World::upon(chain.truncated(below), below.into());
        for height in below + 1..=tip {
            if let Some((name, value)) = &fork.claim {
                // A fork that is too short for it has no name.
                if height + FIRST_UPDATE_DEPTH == registered {
                    let _ = world.queue_commitment(name.as_bytes(), AddressKind::P2wpkh);
                } else if height == registered {
                    let _ = world.queue_registration(name.as_bytes(), value.as_bytes(), AddressKind::P2wpkh);
                }
            }
            let work = if self.lacks(height) {
                Work::Flawed(AuxPowKind::Minimal, Flaw::NoAuxPow)
            } else {
                Work::AuxPow(AuxPowKind::Realistic)
            };
            world.mine_at(clock.next(world.chain(), height - below), work);
        }
        world.into_chain()
    }

    /// Returns what is shown as the full header at a height of the chain that is told.
    pub(super) fn full_header<'a>(&self, told: &'a SimChain, height: Height) -> Reply<'a> {
        let header = told.full_header(height).unwrap_or_default();
        if !self.lacks(height) {
            return Ok(Cow::Borrowed(header));
        }
        match self.shown {
            Shown::Refusal => Err(Denial::Error(RpcError::new(-32603, "internal server error"))),
            Shown::Silence => Err(Denial::Silence),
            Shown::Flawed(_) | Shown::Borrowed | Shown::Stranger | Shown::Garbage => {
                Ok(Cow::Owned(self.stand_in(told, height)))
            }
        }
    }

    /// Returns what is told as the tip: as [`Self::full_header`] if that is an answer.
    pub(super) fn tip<'a>(&self, told: &'a SimChain) -> Cow<'a, [u8]> {
        let height = told.height();
        let full = told.full_header(height).unwrap_or_default();
        match self.full_header(told, height) {
            Ok(shown) => shown,
            Err(_) if self.fork.is_none() => Cow::Borrowed(full),
            Err(_) => Cow::Owned(self.stand_in(told, height)),
        }
    }

    /// Makes up a full header, the same each time.
    fn stand_in(&self, told: &SimChain, height: Height) -> Vec<u8> {
        let Some(header) = told.header(height) else {
            return Vec::new();
        };
        let mut rng = StdRng::seed_from_u64(height.into());
        let auxpow = match self.shown {
            Shown::Flawed(flaw) => parent::mine(&mut rng, &header, AuxPowKind::Realistic, Some(flaw)),
            Shown::Borrowed | Shown::Refusal | Shown::Silence => {
                let below = told.full_header(self.from.saturating_sub(1));
                below
                    .and_then(|full| full.get(PureHeader::SIZE..))
                    .unwrap_or_default()
                    .to_vec()
            }
            Shown::Garbage => (0..1000).map(|_| rng.random()).collect(),
            Shown::Stranger => {
                let version = (header.version() | PureHeader::AUXPOW_FLAG).cast_unsigned();
                let (prev, root, bits) = (rng.random(), rng.random(), header.bits().to_consensus());
                let other = PureHeader::new(parent::header_bytes(version, &prev, &root, header.time(), bits));
                let auxpow = parent::mine(&mut rng, &other, AuxPowKind::Realistic, None);
                return [other.as_bytes(), auxpow.as_slice()].concat();
            }
        };
        [header.as_bytes(), auxpow.as_slice()].concat()
    }
}

fn time(chain: &SimChain, height: Height) -> u32 {
    chain.header(height).map_or(0, |header| header.time())
}

/// When the blocks of a fork say that they were mined.
struct Clock {
    times: Times,
    start: u32,
    end: u32,
    blocks: Height,
}

impl Clock {
    /// Returns the time of the next block upon `chain`, the `place`-th of the fork.
    fn next(&self, chain: &SimChain, place: Height) -> u32 {
        let wanted = if place == self.blocks {
            self.end
        } else if self.times == Times::Lowest {
            0
        } else {
            let passed = u64::from(self.end.saturating_sub(self.start)) * u64::from(place) / u64::from(self.blocks);
            self.start.saturating_add(u32::try_from(passed).unwrap_or(u32::MAX))
        };
        wanted.max(median_time(chain).saturating_add(1))
    }
}

/// Returns the median of the last eleven block times.
fn median_time(chain: &SimChain) -> u32 {
    let span = Height::try_from(MEDIAN_TIME_SPAN).unwrap_or(Height::MAX);
    let first = chain.height().saturating_sub(span - 1);
    let mut times: Vec<u32> = (first..=chain.height()).map(|height| time(chain, height)).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

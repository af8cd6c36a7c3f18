//! Why a header is refused.

use bitcoin::BlockHash;

use crate::chain::auxpow::AuxPowError;
use crate::chain::difficulty::TargetError;
use crate::chain::{Height, Network};
use crate::time::Timestamp;

/// Why a header is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Its parent is not known: headers in between are missing, or it belongs to another chain.
    #[error("unknown parent {prev}")]
    UnknownParent {
        /// The parent's hash.
        prev: BlockHash,
    },
    /// It can't be checked before older headers are filled in ([`HeaderTree::backfill`](super::HeaderTree::backfill)).
    #[error("header {needed} is needed for the check and not known yet")]
    MissingHistory {
        /// The height of the header that is missing.
        needed: Height,
    },
    /// It is an alternative to the anchor or to a block below it.
    #[error("header at height {height} conflicts with the anchor at {anchor}")]
    AnchorConflict {
        /// Its height.
        height: Height,
        /// The anchor's height.
        anchor: Height,
    },
    /// A header that should fill in the next height downwards has another hash than its child (or the anchor) says.
    #[error("header {got} at height {height}, expected {expected}")]
    BrokenLink {
        /// The height to fill in.
        height: Height,
        /// The hash that belongs there.
        expected: BlockHash,
        /// The header's hash.
        got: BlockHash,
    },
    /// A header that should prove the one known at its height is another one.
    #[error("header {got} at height {height}, asked for was the proof of {expected}")]
    OtherHeader {
        /// Its height.
        height: Height,
        /// The hash of the header to be proved.
        expected: BlockHash,
        /// The header's hash.
        got: BlockHash,
    },
    /// Everything down to the genesis header is known: there is nothing to fill in.
    #[error("nothing lies below the genesis header")]
    BelowGenesis,
    /// A header that the anchor commits to can't be one of this network: so neither can the anchor.
    #[error("the anchor belongs to another network than {network}: see its block at height {height}")]
    ForeignAnchor {
        /// The network of the tree.
        network: Network,
        /// The height of the header.
        height: Height,
    },
    /// Its height would not fit into a number.
    #[error("no height above {}", Height::MAX)]
    HeightOverflow,
    /// Its bits stand for no allowed target.
    #[error("invalid target")]
    Target(#[from] TargetError),
    /// Its bits are not those that the chain before it requires.
    #[error("bits {got:#010x} at height {height}, required are {expected:#010x}")]
    WrongBits {
        /// Its height.
        height: Height,
        /// The bits required.
        expected: u32,
        /// Its bits.
        got: u32,
    },
    /// Its time is not after the median time of the headers before it.
    #[error("time {got} is not after the median time {median}")]
    TimeTooEarly {
        /// The median, in seconds.
        median: u32,
        /// Its time, in seconds.
        got: u32,
    },
    /// Its time lies more than two hours ahead of our clock. It may be accepted later.
    #[error("time {got} is later than {max}, two hours from now")]
    TimeTooLate {
        /// Latest time allowed now, in seconds.
        max: Timestamp,
        /// Its time.
        got: Timestamp,
    },
    /// Its version is that of times before merge-mining.
    #[error("legacy version at height {height}")]
    LateLegacy {
        /// Its height.
        height: Height,
    },
    /// Its base version is no longer allowed.
    #[error("base version {got} at height {height}, at least {min} required")]
    BaseVersionTooLow {
        /// Its height.
        height: Height,
        /// Lowest base version.
        min: i32,
        /// Its base version.
        got: i32,
    },
    /// Its chain ID is not Namecoin's.
    #[error("chain ID {got} instead of {expected}")]
    WrongChainId {
        /// The network's chain ID.
        expected: i32,
        /// Its chain ID.
        got: i32,
    },
    /// It has the AuxPoW flag before AuxPoW started.
    #[error("AuxPoW at height {height}, allowed from {start} on")]
    EarlyAuxPow {
        /// Its height.
        height: Height,
        /// First height with AuxPoW.
        start: Height,
    },
    /// It has the AuxPoW flag and no AuxPoW.
    #[error("AuxPoW flag without AuxPoW")]
    AuxPowMissing,
    /// It has AuxPoW and not the flag.
    #[error("AuxPoW without AuxPoW flag")]
    AuxPowUnexpected,
    /// Its hash is above its target.
    #[error("hash {got} above the target of bits {bits:#010x}")]
    InsufficientWork {
        /// Its hash.
        got: BlockHash,
        /// Its bits.
        bits: u32,
    },
    /// Its AuxPoW is no evidence for it.
    #[error("invalid AuxPoW")]
    AuxPow(#[from] AuxPowError),
    /// Branches beside the best chain hold as many headers as they may, and this one's branch alone is most of them.
    #[error("branches beside the best chain hold {max} headers already")]
    BranchesFull {
        /// The bound.
        max: usize,
    },
}

/// What a refusal says about the server that sent the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtFault {
    /// Nothing yet: something has to be fetched or waited for before the header can be judged.
    Nobody,
    /// The server: no honest one sends such a header.
    Server,
    /// Our own configuration: the header is the one that the anchor commits to.
    Anchor,
}

impl HeaderError {
    /// Says whether the same header may be accepted later, when more headers are known or time has passed.
    pub const fn is_transient(&self) -> bool {
        matches!(self.at_fault(), AtFault::Nobody)
    }

    /// Says who is at fault.
    pub const fn at_fault(&self) -> AtFault {
        match self {
            Self::UnknownParent { .. } | Self::MissingHistory { .. } | Self::TimeTooLate { .. } => AtFault::Nobody,
            Self::ForeignAnchor { .. } => AtFault::Anchor,
            _ => AtFault::Server,
        }
    }
}

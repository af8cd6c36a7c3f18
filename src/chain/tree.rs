//! The header tree: every known header from the lowest one needed to the tips, and which chain is the best.

use bitcoin::BlockHash;
use bitcoin::pow::Work;

use super::{Anchor, FullHeader, Height, Params, PureHeader};
use crate::time::Timestamp;

/// The end of a chain of valid headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
    /// Total work up to it (relative to the anchor where the anchor's work isn't known).
    pub chainwork: Work,
    /// Its block time.
    pub time: Timestamp,
}

/// What accepting a header did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is known already.
    Duplicate,
    /// It is the new tip, on top of the old one.
    Extended,
    /// It lies on a branch with less work than the best chain (or the same: first seen wins).
    Branch,
    /// Its branch is now the best chain.
    Reorganized {
        /// The last height that the old and the new best chain share.
        fork: Height,
    },
}

/// Why a header is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Placeholder.
    #[error("stub")]
    Stub,
}

/// All known headers from an anchor on.
#[derive(Debug)]
pub struct HeaderTree {
    params: &'static Params,
}

impl HeaderTree {
    /// Makes a tree that knows nothing but its anchor (for an anchor at height 0: the genesis header too).
    pub fn new(_params: &'static Params, _anchor: Anchor) -> Self {
        todo!()
    }

    /// Returns the network's constants.
    pub fn params(&self) -> &'static Params {
        self.params
    }

    /// Returns the anchor.
    pub fn anchor(&self) -> &Anchor {
        todo!()
    }

    /// Returns the lowest height whose header is known; `None` until the anchor's own header is.
    pub fn lowest(&self) -> Option<Height> {
        todo!()
    }

    /// Returns the height down to which headers must be known before headers above the anchor can be checked:
    /// what the next retarget and the median time look back to.
    pub fn required_low(&self) -> Height {
        todo!()
    }

    /// Takes the next header downwards: the anchor's own first, then its parent, and so on to height 0.
    pub fn backfill(&mut self, _header: PureHeader) -> Result<(), HeaderError> {
        todo!()
    }

    /// Checks a header by all rules and puts it into the tree.
    pub fn accept(&mut self, _header: &FullHeader<'_>, _now: Timestamp) -> Result<Accepted, HeaderError> {
        todo!()
    }

    /// Puts a header back that was accepted in an earlier run: links, bits and times are checked again, the
    /// proof of work of AuxPoW headers was checked then and is not kept.
    pub fn restore(&mut self, _header: PureHeader) -> Result<(), HeaderError> {
        todo!()
    }

    /// Returns the best tip; the anchor itself while nothing above it is known.
    pub fn tip(&self) -> Tip {
        todo!()
    }

    /// Returns the header of the best chain at a height, if known.
    pub fn header_at(&self, _height: Height) -> Option<PureHeader> {
        todo!()
    }

    /// Returns the hash of the best chain at a height, if known.
    pub fn hash_at(&self, _height: Height) -> Option<BlockHash> {
        todo!()
    }

    /// Returns the height of a known header, on whichever branch.
    pub fn height_of(&self, _hash: &BlockHash) -> Option<Height> {
        todo!()
    }
}

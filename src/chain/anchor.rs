//! Trust anchors: the blocks that verification starts from.

use bitcoin::BlockHash;
use bitcoin::pow::Work;

use super::Height;

/// A block that is trusted by configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
    /// Total work of the chain up to it, where known; only its sum with later work is ever shown, fork choice does
    /// not depend on it.
    pub chainwork: Option<Work>,
}

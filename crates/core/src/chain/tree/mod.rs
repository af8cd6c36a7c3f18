//! The header tree: every known header from the lowest one needed to the tips, and which chain is the best.
//!
//! ```text
//!   past          best                 by height, no gaps
//! o─o─o─o─anchor─o─o─o─o─o─o tip
//!                   └─o─o              branches, by hash
//! ```
//!
//! What lies at or below the anchor is known to be right by its hash alone and never changes; what lies above is
//! checked by every rule, or taken as part of a [`UnverifiedChain`] of which a sample was. A header costs about 144 bytes, and
//! its hash in an index about 60.

mod error;
mod fork;
mod lineage;
mod rules;
mod skeleton;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bitcoin::BlockHash;
use bitcoin::pow::Work;

pub use error::{AtFault, HeaderError};
pub(in crate::chain) use rules::check_work;
pub use skeleton::UnverifiedChain;

use self::lineage::Lineage;
use super::params::{RETARGET_INTERVAL, Retargeting};
use super::{Anchor, FullHeader, Height, Params, PureHeader, difficulty};
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
    /// Its block time; 0 while only the anchor's hash is known.
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

/// A header with its hash.
#[derive(Clone, Copy, Debug)]
struct Link {
    header: PureHeader,
    hash: BlockHash,
}

/// A header above the anchor.
#[derive(Clone, Copy, Debug)]
struct Node {
    link: Link,
    chainwork: Work,
}

/// What is known of a hash.
#[derive(Clone, Copy, Debug)]
struct Known {
    height: Height,
    /// Whether its own proof of work was checked, or the anchor vouches for it.
    proved: bool,
}

/// All known headers around an anchor.
#[derive(Clone, Debug)]
pub struct HeaderTree {
    params: &'static Params,
    anchor: Anchor,
    /// The anchor's own header first, then downwards.
    past: Vec<Link>,
    /// The best chain, from the height above the anchor upwards.
    best: Vec<Node>,
    /// Headers above the anchor that are not on the best chain.
    branches: BTreeMap<BlockHash, Node>,
    /// Every known header.
    heights: BTreeMap<BlockHash, Known>,
    /// How many of them are not proved.
    unproved: usize,
    skeleton: Option<UnverifiedChain>,
}

impl HeaderTree {
    /// Most headers that branches beside the best chain may hold together, a year of blocks. On testnet they cost an
    /// attacker little; the lightest branches are dropped to make room.
    pub const MAX_BRANCH_HEADERS: usize = 50_000;

    /// Makes a tree that knows nothing but its anchor (for an anchor at height 0: the genesis header too).
    pub fn new(params: &'static Params, anchor: Anchor) -> Self {
        let mut tree = Self {
            params,
            anchor,
            past: Vec::new(),
            best: Vec::new(),
            branches: BTreeMap::new(),
            heights: BTreeMap::new(),
            unproved: 0,
            skeleton: None,
        };
        let (header, hash) = (params.genesis, params.genesis.hash());
        if anchor.height == 0 && anchor.hash == hash {
            tree.past.push(Link { header, hash });
            tree.note(hash, 0, true);
        }
        tree
    }

    /// Returns the network's constants.
    pub fn params(&self) -> &'static Params {
        self.params
    }

    /// Returns the anchor.
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Returns the lowest height whose header is known; `None` until the anchor's own header is.
    pub fn lowest(&self) -> Option<Height> {
        let depth = Height::try_from(self.past.len().checked_sub(1)?).ok()?;
        self.anchor.height.checked_sub(depth)
    }

    /// Returns the height down to which headers must be known before headers above the anchor can be checked:
    /// what the next retarget and the median time look back to.
    pub fn required_low(&self) -> Height {
        let median = self.anchor.height.saturating_sub(lineage::MEDIAN_DEPTH);
        if self.params.retargeting == Retargeting::Never {
            return median;
        }
        let boundary = (self.anchor.height / RETARGET_INTERVAL + 1).saturating_mul(RETARGET_INTERVAL);
        median.min(rules::retarget_start(boundary, self.params))
    }

    /// Returns the height down to which headers are wanted in the end: what retargeting needs, and as many below the anchor
    /// as a name that was updated above the anchor may refer back to.
    pub fn history_low(&self) -> Height {
        let anchor = self.anchor.height;
        let depth = self.params.expiration_depth(anchor);
        self.required_low().min(anchor.saturating_sub(depth))
    }

    /// Says whether all headers below the anchor are there that are wanted.
    pub fn has_history(&self) -> bool {
        self.lowest().is_some_and(|lowest| lowest <= self.history_low())
    }

    /// Says whether the header at a height is one of those below the anchor that are still to come.
    pub fn awaits(&self, height: Height) -> bool {
        height >= self.history_low() && self.lowest().is_none_or(|lowest| height < lowest)
    }

    /// Takes the next header downwards: the anchor's own first, then its parent, and so on to height 0.
    ///
    /// # Errors
    ///
    /// [`HeaderError::BrokenLink`] when the header is not the one that belongs there: whoever sent it lies.
    /// [`HeaderError::ForeignAnchor`] when it is, but can't be a header of this network.
    /// [`HeaderError::BelowGenesis`] when height 0 is known already.
    pub fn backfill(&mut self, header: PureHeader) -> Result<(), HeaderError> {
        let (height, expected) = match (self.lowest(), self.past.last()) {
            (Some(lowest), Some(link)) => {
                let height = lowest.checked_sub(1).ok_or(HeaderError::BelowGenesis)?;
                (height, link.header.prev())
            }
            _ => (self.anchor.height, self.anchor.hash),
        };
        let got = header.hash();
        if got != expected {
            return Err(HeaderError::BrokenLink { height, expected, got });
        }
        let is_ours = match height {
            0 => header == self.params.genesis,
            _ => difficulty::decode_target(header.bits(), self.params.pow_limit).is_ok(),
        };
        if !is_ours {
            let network = self.params.network;
            return Err(HeaderError::ForeignAnchor { network, height });
        }
        self.past.push(Link { header, hash: got });
        self.note(got, height, true);
        Ok(())
    }

    /// Checks a header by all rules and puts it into the tree.
    ///
    /// # Errors
    ///
    /// One variant of [`HeaderError`] for each rule; the tree is then as before.
    pub fn accept(&mut self, header: &FullHeader<'_>, now: Timestamp) -> Result<Accepted, HeaderError> {
        let hash = header.pure.hash();
        if self.heights.contains_key(&hash) {
            return Ok(Accepted::Duplicate);
        }
        let lineage = self.lineage_of(&header.pure)?;
        let target = rules::check_context(&header.pure, &lineage, self.params)?;
        rules::check_not_from_future(&header.pure, now)?;
        rules::check_work(header, hash, self.params)?;
        let header = header.pure;
        self.insert(Link { header, hash }, target.to_work(), true)
    }

    /// Puts a header back that was accepted in an earlier run: links, bits and times are checked again, the
    /// proof of work of AuxPoW headers was checked then, or a sample's was, and is not kept.
    ///
    /// # Errors
    ///
    /// As [`Self::accept`], but for AuxPoW and times ahead of the clock, which are not looked at.
    pub fn restore(&mut self, header: PureHeader, proved: bool) -> Result<(), HeaderError> {
        let hash = header.hash();
        if self.heights.contains_key(&hash) {
            return Ok(());
        }
        let lineage = self.lineage_of(&header)?;
        let target = rules::check_context(&header, &lineage, self.params)?;
        if !header.has_auxpow() {
            rules::check_own_work(&header, hash, &target)?;
        }
        let proved = proved || !header.has_auxpow();
        self.insert(Link { header, hash }, target.to_work(), proved).map(|_| ())
    }

    /// Returns the best tip; the anchor itself while nothing above it is known.
    pub fn tip(&self) -> Tip {
        let time = |header: &PureHeader| Timestamp(u64::from(header.time()));
        match self.best.last() {
            Some(node) => Tip {
                height: self.tip_height(),
                hash: node.link.hash,
                chainwork: node.chainwork,
                time: time(&node.link.header),
            },
            None => Tip {
                height: self.anchor.height,
                hash: self.anchor.hash,
                chainwork: self.anchor_work(),
                time: self.past.first().map(|link| time(&link.header)).unwrap_or_default(),
            },
        }
    }

    /// Returns the header of the best chain at a height, if known.
    pub fn header_at(&self, height: Height) -> Option<PureHeader> {
        self.best_link(height).map(|link| link.header)
    }

    /// Returns the hash of the best chain at a height, if known.
    pub fn hash_at(&self, height: Height) -> Option<BlockHash> {
        self.best_link(height)
            .map(|link| link.hash)
            .or_else(|| (height == self.anchor.height).then_some(self.anchor.hash))
    }

    /// Returns the total work up to a height of the best chain (relative to the anchor where its work isn't known); `None`
    /// below the anchor and above the tip.
    pub fn chainwork_at(&self, height: Height) -> Option<Work> {
        let above = height.checked_sub(self.anchor.height)?;
        match above.checked_sub(1) {
            None => Some(self.anchor_work()),
            Some(index) => self.best.get(usize::try_from(index).ok()?).map(|node| node.chainwork),
        }
    }

    /// Returns the height of a known header, on whichever branch.
    pub fn height_of(&self, hash: &BlockHash) -> Option<Height> {
        self.heights.get(hash).map(|known| known.height)
    }

    /// Returns a header of a branch beside the best chain, with its height and the total work up to it; `None` for others.
    pub fn branch_header(&self, hash: &BlockHash) -> Option<(Height, PureHeader, Work)> {
        let node = self.branches.get(hash)?;
        Some((self.height_of(hash)?, node.link.header, node.chainwork))
    }

    /// Returns the headers of the best chain from a height upwards; from the lowest known one if that is higher.
    pub fn best_chain(&self, from: Height) -> impl Iterator<Item = (Height, PureHeader)> + '_ {
        let from = self.lowest().map_or(from, |lowest| from.max(lowest));
        (from..=self.tip_height()).map_while(|height| self.header_at(height).map(|header| (height, header)))
    }

    /// Returns the number of headers on branches beside the best chain.
    pub fn branch_headers(&self) -> usize {
        self.branches.len()
    }

    /// Returns the headers at a height that are on branches beside the best chain.
    pub fn replaced_at(&self, height: Height) -> impl Iterator<Item = PureHeader> + '_ {
        let is_at = move |hash: &BlockHash| self.height_of(hash) == Some(height);
        let branches = self.branches.iter().filter(move |(hash, _)| is_at(hash));
        branches.map(|(_, node)| node.link.header)
    }

    /// Puts a hash into the index.
    fn note(&mut self, hash: BlockHash, height: Height, proved: bool) {
        self.unproved += usize::from(!proved);
        self.heights.insert(hash, Known { height, proved });
    }

    fn tip_height(&self) -> Height {
        let above = Height::try_from(self.best.len()).unwrap_or(Height::MAX);
        self.anchor.height.saturating_add(above)
    }

    fn anchor_work(&self) -> Work {
        self.anchor.chainwork.unwrap_or(Work::from_be_bytes([0; 32]))
    }

    /// Returns what the best chain holds at a height, at or below the anchor too.
    fn best_link(&self, height: Height) -> Option<&Link> {
        match height.checked_sub(self.anchor.height) {
            None | Some(0) => self.past.get(usize::try_from(self.anchor.height - height).ok()?),
            Some(above) => self.best.get(usize::try_from(above - 1).ok()?).map(|node| &node.link),
        }
    }

    /// Returns the view of a header's ancestors, from its parent on.
    fn lineage_of(&self, header: &PureHeader) -> Result<Lineage<'_>, HeaderError> {
        let prev = header.prev();
        let parent = match self.height_of(&prev) {
            Some(height) => height,
            None if prev == self.anchor.hash => {
                let needed = self.anchor.height;
                return Err(HeaderError::MissingHistory { needed });
            }
            None => return Err(HeaderError::UnknownParent { prev }),
        };
        let height = parent.checked_add(1).ok_or(HeaderError::HeightOverflow)?;
        if height <= self.anchor.height {
            let anchor = self.anchor.height;
            return Err(HeaderError::AnchorConflict { height, anchor });
        }
        Ok(Lineage::new(self, prev, parent))
    }
}

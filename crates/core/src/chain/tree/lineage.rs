//! A header's ancestors, whichever branch it lies on.

use bitcoin::BlockHash;

use super::skeleton::{HeaderEntry, UnverifiedChain};
use super::{HeaderError, HeaderTree};
use crate::chain::params::MEDIAN_TIME_SPAN;
use crate::chain::{Height, PureHeader};

/// How far below its parent the median time of a header looks.
pub(super) const MEDIAN_DEPTH: Height = 10;
const _: () = assert!(MEDIAN_DEPTH as usize + 1 == MEDIAN_TIME_SPAN);

/// The ancestors of a header that may be new, its parent first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lineage<'t> {
    tree: &'t HeaderTree,
    /// The nearest ancestors where they are not in the tree yet, the parent last.
    above: &'t [HeaderEntry],
    /// The nearest ancestor in the tree.
    known: BlockHash,
    known_height: Height,
    parent_height: Height,
}

impl<'t> Lineage<'t> {
    /// Makes the lineage that starts with a known header.
    pub(super) fn new(tree: &'t HeaderTree, parent: BlockHash, parent_height: Height) -> Self {
        Self {
            tree,
            above: &[],
            known: parent,
            known_height: parent_height,
            parent_height,
        }
    }

    /// Makes the lineage of the next header of a skeleton.
    pub(super) fn on_top(tree: &'t HeaderTree, skeleton: &'t UnverifiedChain) -> Self {
        Self {
            tree,
            above: skeleton.entries(),
            known: skeleton.base(),
            known_height: skeleton.base_height(),
            parent_height: skeleton.top_height(),
        }
    }

    /// Returns the height of the header whose ancestors these are.
    pub(super) fn height(&self) -> Height {
        self.parent_height.saturating_add(1)
    }

    /// Returns the parent.
    pub(super) fn parent(&self) -> Result<&'t PureHeader, HeaderError> {
        self.walk().next().unwrap_or(Err(missing(self.parent_height)))
    }

    /// Returns the ancestor at a height.
    pub(super) fn at(&self, height: Height) -> Result<&'t PureHeader, HeaderError> {
        if let Some(index) = height.checked_sub(self.known_height).and_then(|up| up.checked_sub(1)) {
            let entry = usize::try_from(index).ok().and_then(|index| self.above.get(index));
            return entry.map(HeaderEntry::header).ok_or(missing(height));
        }
        let mut walk = self.walk();
        walk.above = &[];
        walk.next_height = Some(self.known_height);
        while let Some(hash) = walk.branch {
            if walk.next_height == Some(height) {
                break;
            }
            walk.step_branch(hash);
        }
        if walk.branch.is_none() {
            walk.next_height = Some(height);
        }
        walk.next().unwrap_or(Err(missing(height)))
    }

    /// Returns the ancestors, downwards to genesis. Where the known headers end before, an error is the last item.
    pub(super) fn walk(&self) -> Walk<'t> {
        let branch = self.tree.branches.contains_key(&self.known);
        Walk {
            tree: self.tree,
            above: self.above,
            branch: branch.then_some(self.known),
            next_height: Some(self.parent_height),
        }
    }

    /// Returns the median time of the up to 11 headers before this one.
    ///
    /// Source: Namecoin Core `chain.h`, `GetMedianTimePast`.
    pub(super) fn median_time_past(&self) -> Result<u32, HeaderError> {
        let mut times = [0; MEDIAN_TIME_SPAN];
        let mut count = 0;
        for (slot, ancestor) in times.iter_mut().zip(self.walk()) {
            *slot = ancestor?.time();
            count += 1;
        }
        let known = times.get_mut(..count).unwrap_or_default();
        known.sort_unstable();
        known.get(count / 2).copied().ok_or(missing(self.parent_height))
    }
}

/// Walks down a lineage: what is above the tree first, then by hash while on a branch, then by height.
#[derive(Debug)]
pub(super) struct Walk<'t> {
    tree: &'t HeaderTree,
    above: &'t [HeaderEntry],
    branch: Option<BlockHash>,
    next_height: Option<Height>,
}

impl<'t> Walk<'t> {
    /// Goes on from a header on a branch to its parent.
    fn step_branch(&mut self, hash: BlockHash) -> Option<&'t PureHeader> {
        let header = &self.tree.branches.get(&hash)?.link.header;
        self.branch = Some(header.prev()).filter(|prev| self.tree.branches.contains_key(prev));
        self.next_height = self.next_height.and_then(|height| height.checked_sub(1));
        Some(header)
    }
}

impl<'t> Iterator for Walk<'t> {
    type Item = Result<&'t PureHeader, HeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        let height = self.next_height?;
        if let Some((entry, below)) = self.above.split_last() {
            self.above = below;
            self.next_height = height.checked_sub(1);
            return Some(Ok(entry.header()));
        }
        if let Some(hash) = self.branch {
            return self.step_branch(hash).map(Ok);
        }
        let link = self.tree.best_link(height);
        self.next_height = link.and_then(|_| height.checked_sub(1));
        Some(link.map(|link| &link.header).ok_or(missing(height)))
    }
}

fn missing(needed: Height) -> HeaderError {
    HeaderError::MissingHistory { needed }
}

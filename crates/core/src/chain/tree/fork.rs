//! Fork choice: where a checked header goes, and which branches are kept.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::BlockHash;
use bitcoin::pow::Work;

use super::{Accepted, HeaderError, HeaderTree, Link, Node};
use crate::chain::{Height, difficulty};

impl HeaderTree {
    /// Puts a checked header into the tree, its parent being known and not below the anchor.
    pub(super) fn insert(&mut self, link: Link, work: Work, proved: bool) -> Result<Accepted, HeaderError> {
        let prev = link.header.prev();
        let parent = self.height_of(&prev).ok_or(HeaderError::UnknownParent { prev })?;
        let height = parent.checked_add(1).ok_or(HeaderError::HeightOverflow)?;
        let tip = self.tip();
        let chainwork = difficulty::add_work(self.chainwork_of(&prev, parent), work);
        let node = Node { link, chainwork };
        if prev == tip.hash {
            self.note(link.hash, height, proved);
            self.best.push(node);
            return Ok(Accepted::Extended);
        }
        if chainwork > tip.chainwork {
            self.note(link.hash, height, proved);
            let fork = self.reorganize(node);
            return Ok(Accepted::Reorganized { fork });
        }
        self.make_room(prev)?;
        self.note(link.hash, height, proved);
        self.branches.insert(link.hash, node);
        Ok(Accepted::Branch)
    }

    /// Returns the total work up to a known header that is not below the anchor.
    pub(super) fn chainwork_of(&self, hash: &BlockHash, height: Height) -> Work {
        let on_best = || {
            let above = height.checked_sub(self.anchor.height)?.checked_sub(1)?;
            self.best.get(usize::try_from(above).ok()?)
        };
        self.branches
            .get(hash)
            .or_else(on_best)
            .map_or(self.anchor_work(), |node| node.chainwork)
    }

    /// Makes the branch that ends with `tip` the best chain and returns the last height that both share.
    fn reorganize(&mut self, tip: Node) -> Height {
        let mut path = vec![tip];
        let mut prev = tip.link.header.prev();
        while let Some(node) = self.branches.remove(&prev) {
            path.push(node);
            prev = node.link.header.prev();
        }
        let fork = self.height_of(&prev).unwrap_or(self.anchor.height);
        let kept = usize::try_from(fork.saturating_sub(self.anchor.height)).unwrap_or(usize::MAX);
        let stale = self.best.split_off(kept.min(self.best.len()));
        self.branches
            .extend(stale.into_iter().map(|node| (node.link.hash, node)));
        self.best.extend(path.into_iter().rev());
        fork
    }

    /// Drops the lightest branches when they hold [`Self::MAX_BRANCH_HEADERS`], down to half of that; never the
    /// branch that ends with `growing`, which would lose the work done so far.
    fn make_room(&mut self, growing: BlockHash) -> Result<(), HeaderError> {
        if self.branches.len() < Self::MAX_BRANCH_HEADERS {
            return Ok(());
        }
        let kept = self.branch_down_from(growing);
        let mut children: BTreeMap<BlockHash, usize> = BTreeMap::new();
        for node in self.branches.values() {
            *children.entry(node.link.header.prev()).or_default() += 1;
        }
        let mut ends: Vec<(Work, BlockHash)> = self
            .branches
            .iter()
            .filter(|(hash, _)| !children.contains_key(*hash) && !kept.contains(*hash))
            .map(|(hash, node)| (node.chainwork, *hash))
            .collect();
        ends.sort_unstable();
        for (_, end) in ends {
            if self.branches.len() <= Self::MAX_BRANCH_HEADERS / 2 {
                break;
            }
            self.drop_branch(end, &kept, &mut children);
        }
        if self.branches.len() < Self::MAX_BRANCH_HEADERS {
            return Ok(());
        }
        let max = Self::MAX_BRANCH_HEADERS;
        Err(HeaderError::BranchesFull { max })
    }

    /// Returns the hashes from `end` down to the best chain.
    fn branch_down_from(&self, end: BlockHash) -> BTreeSet<BlockHash> {
        let mut hashes = BTreeSet::new();
        let mut hash = end;
        while let Some(node) = self.branches.get(&hash) {
            hashes.insert(hash);
            hash = node.link.header.prev();
        }
        hashes
    }

    /// Drops the headers from `end` downwards, up to one that is kept or has another child left.
    fn drop_branch(&mut self, end: BlockHash, kept: &BTreeSet<BlockHash>, children: &mut BTreeMap<BlockHash, usize>) {
        let mut hash = end;
        while !kept.contains(&hash) && children.get(&hash).is_none_or(|count| *count == 0) {
            let Some(node) = self.branches.remove(&hash) else {
                return;
            };
            if let Some(known) = self.heights.remove(&hash) {
                self.unproved = self.unproved.saturating_sub(usize::from(!known.proved));
            }
            hash = node.link.header.prev();
            if let Some(count) = children.get_mut(&hash) {
                *count = count.saturating_sub(1);
            }
        }
    }
}

//! Which headers of a tree are not on the disk yet.
//!
//! What waits is not headers but heights: a batch of headers is copied from the tree when the disk is free for it. So
//! however slow the disk is, what waits takes no more than a few bytes for each header of the tree, and what changes
//! twice before its turn comes is written once.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;

use super::records::{Record, meta, record};
use crate::chain::tree::UnverifiedChain;
use crate::chain::{HeaderTree, Height};

/// How a tree changed, as far as its store is to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderChange {
    /// The best chain above the anchor, or a skeleton on its tip, is another one from this height on.
    Forward {
        /// The lowest height that changed.
        from: Height,
    },
    /// Headers at or below the anchor came in addition.
    Backward {
        /// The greatest height of them.
        to: Height,
    },
    /// Headers of the best chain were proved, or of a skeleton on its tip. Headers that were stored as a skeleton may be
    /// part of it now.
    Proved {
        /// Their heights.
        heights: Vec<Height>,
    },
}

/// What the store does not have yet of a tree.
#[derive(Clone, Debug, Default)]
pub struct UnwrittenHeaders {
    /// From here on upwards, the best chain and a skeleton on its tip.
    forward: Option<Height>,
    /// From here on downwards, as far as the tree reaches.
    backward: Option<Height>,
    /// Single headers of the best chain: no more than the tree has.
    proved: BTreeSet<Height>,
    /// Which tip the best chain has.
    tip: bool,
    /// What is on disk is not trusted, but stays until there is something better.
    distrusted: bool,
    /// The next batch begins with an empty database.
    anew: bool,
}

/// Headers that are written together.
#[derive(Clone, Debug, Default)]
pub struct HeaderBatch {
    /// An empty database takes the place of what there is, first of all.
    pub(super) anew: bool,
    /// These are on the disk before the rest is, one by one if need be.
    pub(super) before: Vec<(Height, Record)>,
    /// These come as a whole, together with `top` and `meta`.
    pub(super) whole: Vec<(Height, Record)>,
    /// What is stored above this height is removed.
    pub(super) top: Option<Height>,
    /// What the store says of itself from now on.
    pub(super) meta: Option<Vec<u8>>,
    /// These come last, one by one if need be.
    pub(super) after: Vec<(Height, Record)>,
    /// What is to be noted again where it could not be written.
    scope: BatchScope,
}

/// Which changes a batch was to bring to the disk.
#[derive(Clone, Debug, Default)]
pub struct BatchScope {
    forward: Option<Height>,
    backward: Option<Height>,
    proved: Vec<Height>,
    anew: bool,
}

impl HeaderBatch {
    /// Returns what [`UnwrittenHeaders::put_back`] needs to have it written again.
    pub fn scope(&self) -> BatchScope {
        self.scope.clone()
    }

    /// Returns the batch that names the tree's tip.
    pub(super) fn tip(tree: &HeaderTree) -> Self {
        Self {
            meta: Some(meta(tree, tree.tip().hash)),
            ..Self::default()
        }
    }
}

impl BatchScope {
    fn forward(from: Height) -> Self {
        Self {
            forward: Some(from),
            ..Self::default()
        }
    }
}

impl UnwrittenHeaders {
    /// As at the start with a store that is not trusted: with the first change, a new one takes its place.
    pub(super) fn with_distrusted_store() -> Self {
        Self {
            distrusted: true,
            ..Self::default()
        }
    }

    /// Notes a change of the tree.
    pub fn note(&mut self, tree: &HeaderTree, change: HeaderChange) {
        if self.distrusted {
            self.start_anew(tree);
            return;
        }
        match change {
            HeaderChange::Forward { from } => {
                let from = from.max(tree.anchor().height.saturating_add(1));
                self.forward = Some(self.forward.map_or(from, |other| other.min(from)));
            }
            HeaderChange::Backward { to } => self.backward = self.backward.max(Some(to)),
            HeaderChange::Proved { heights } => {
                self.proved.extend(heights);
                self.tip = true;
            }
        }
    }

    /// Has an empty database filled with all that the tree has.
    pub fn start_anew(&mut self, tree: &HeaderTree) {
        let anchor = tree.anchor().height;
        *self = Self {
            forward: Some(anchor.saturating_add(1)),
            backward: Some(anchor),
            anew: true,
            ..Self::default()
        };
    }

    /// Notes again what a batch was to write and could not.
    pub fn put_back(&mut self, tree: &HeaderTree, scope: BatchScope) {
        if scope.anew {
            self.start_anew(tree);
            return;
        }
        if let Some(from) = scope.forward {
            self.note(tree, HeaderChange::Forward { from });
        }
        if let Some(to) = scope.backward {
            self.note(tree, HeaderChange::Backward { to });
        }
        if !scope.proved.is_empty() {
            let heights = scope.proved;
            self.note(tree, HeaderChange::Proved { heights });
        }
    }

    /// Copies the next batch, of so many headers at most, from the tree; `None` when the store has everything.
    pub fn next_batch(&mut self, tree: &HeaderTree, most: NonZeroUsize) -> Option<HeaderBatch> {
        let most = most.get();
        let anew = std::mem::take(&mut self.anew);
        // The rules for what stands above the anchor look at what stands below it.
        let batch = if let Some(batch) = self.backward_batch(tree, most) {
            batch
        } else if let Some(from) = self.forward.take() {
            self.forward_batch(tree, from, most)
        } else if self.tip {
            self.proved_batch(tree, most)
        } else {
            return None;
        };
        // A database without it would be taken for a damaged one.
        let meta = batch.meta.or_else(|| anew.then(|| meta(tree, tree.anchor().hash)));
        let scope = BatchScope { anew, ..batch.scope };
        Some(HeaderBatch {
            anew,
            meta,
            scope,
            ..batch
        })
    }

    /// The best chain first, as far as there is room, which the store then ends with; then what stands on its tip.
    fn forward_batch(&mut self, tree: &HeaderTree, from: Height, most: usize) -> HeaderBatch {
        let tip = tree.tip();
        let whole: Vec<_> = chain_records(tree, from..=tip.height).take(most).collect();
        let next = from.saturating_add(height_of(whole.len()));
        if next <= tip.height {
            self.forward = Some(next);
            let rest = self.proved.split_off(&next);
            self.proved.split_off(&from);
            self.proved.extend(rest);
            let last = tree.hash_at(next.saturating_sub(1)).unwrap_or(tip.hash);
            return HeaderBatch {
                meta: Some(meta(tree, last)),
                whole,
                scope: BatchScope::forward(from),
                ..HeaderBatch::default()
            };
        }
        self.proved.split_off(&from);
        self.tip = !self.proved.is_empty();
        let above = tree.skeleton().filter(|skeleton| skeleton.base() == tip.hash);
        let top = above.map_or(tip.height, UnverifiedChain::top_height);
        let headers = above.into_iter().flat_map(|skeleton| skeleton.headers(from));
        let mut headers = headers.map(|(height, header, proved)| (height, record(&header, proved)));
        let room = most.saturating_sub(whole.len());
        let after = headers.by_ref().take(room).collect();
        self.forward = headers.next().map(|(height, _)| height);
        HeaderBatch {
            top: Some(top),
            whole,
            after,
            scope: BatchScope::forward(from),
            ..HeaderBatch::tip(tree)
        }
    }

    fn proved_batch(&mut self, tree: &HeaderTree, most: usize) -> HeaderBatch {
        let mut before = Vec::new();
        let mut proved = Vec::new();
        while before.len() < most {
            let Some(height) = self.proved.pop_first() else {
                break;
            };
            before.extend(chain_record(tree, height).or_else(|| skeleton_record(tree, height)));
            proved.push(height);
        }
        self.tip = !self.proved.is_empty();
        HeaderBatch {
            before,
            scope: BatchScope {
                proved,
                ..BatchScope::default()
            },
            ..HeaderBatch::tip(tree)
        }
    }

    /// From the anchor downwards: what is stored below it hangs on what is stored above.
    fn backward_batch(&mut self, tree: &HeaderTree, most: usize) -> Option<HeaderBatch> {
        let to = self.backward.take()?;
        let lowest = tree.lowest().filter(|lowest| *lowest <= to)?;
        let first = lowest.max(to.saturating_sub(height_of(most - 1)));
        self.backward = first.checked_sub(1).filter(|next| *next >= lowest);
        Some(HeaderBatch {
            whole: chain_records(tree, first..=to).collect(),
            scope: BatchScope {
                backward: Some(to),
                ..BatchScope::default()
            },
            ..HeaderBatch::default()
        })
    }
}

fn height_of(count: usize) -> Height {
    Height::try_from(count).unwrap_or(Height::MAX)
}

fn chain_records(
    tree: &HeaderTree,
    heights: RangeInclusive<Height>,
) -> impl Iterator<Item = (Height, Record)> + use<'_> {
    heights.map_while(|height| chain_record(tree, height))
}

/// Returns the record of a header of the skeleton on the best chain's tip.
fn skeleton_record(tree: &HeaderTree, height: Height) -> Option<(Height, Record)> {
    let skeleton = tree.skeleton().filter(|skeleton| skeleton.base() == tree.tip().hash)?;
    let (at, header, proved) = skeleton.headers(height).next()?;
    (at == height).then(|| (height, record(&header, proved)))
}

fn chain_record(tree: &HeaderTree, height: Height) -> Option<(Height, Record)> {
    let header = tree.header_at(height)?;
    Some((height, record(&header, tree.is_proved(height).unwrap_or(false))))
}

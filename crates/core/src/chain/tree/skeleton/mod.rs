//! The skeleton, an [`UnverifiedChain`]: headers on top of a known one that are checked by every rule but for their AuxPoW.
//!
//! What it claims is worth nothing yet. A sample of it has to be proved ([`sampling`](crate::chain::sampling)) before the
//! tree adopts it. There is one at a time.

use bitcoin::BlockHash;
use bitcoin::pow::Work;

use super::lineage::Lineage;
use super::{Accepted, HeaderError, HeaderTree, Link, rules};
use crate::chain::{FullHeader, Height, PureHeader, difficulty};
use crate::time::Timestamp;

/// A header of a skeleton.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeaderEntry {
    link: Link,
    proved: bool,
}

impl HeaderEntry {
    pub(super) fn header(&self) -> &PureHeader {
        &self.link.header
    }
}

/// Headers on top of a header of the tree, linked, with right bits, times and versions, and mostly without proof.
#[derive(Clone, Debug)]
pub struct UnverifiedChain {
    base: BlockHash,
    base_height: Height,
    /// Total work up to the base.
    base_work: Work,
    /// Total work that it claims, the base's included.
    chainwork: Work,
    entries: Vec<HeaderEntry>,
}

impl UnverifiedChain {
    /// Returns the hash of the known header that it stands on.
    pub fn base(&self) -> BlockHash {
        self.base
    }

    /// Returns the height of that header.
    pub fn base_height(&self) -> Height {
        self.base_height
    }

    /// Returns the height of its highest header; the base's where it has none.
    pub fn top_height(&self) -> Height {
        let length = Height::try_from(self.entries.len()).unwrap_or(Height::MAX);
        self.base_height.saturating_add(length)
    }

    /// Returns the hash of its highest header; the base's where it has none.
    pub fn top(&self) -> BlockHash {
        self.entries.last().map_or(self.base, |entry| entry.link.hash)
    }

    /// Returns the total work up to its top, as it claims.
    pub fn chainwork(&self) -> Work {
        self.chainwork
    }

    /// Returns how many headers it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says whether it has no header.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the work that each header claims, from the lowest one on.
    pub fn works(&self) -> impl ExactSizeIterator<Item = Work> + '_ {
        self.entries.iter().map(|entry| claimed_work(entry.header()))
    }

    /// Says whether the proof of work of the header at a height was checked; `None` where it has none.
    pub fn is_proved(&self, height: Height) -> Option<bool> {
        self.entry(height).map(|entry| entry.proved)
    }

    /// Returns its headers from a height on, each with its height and whether it was proved.
    pub fn headers(&self, from: Height) -> impl Iterator<Item = (Height, PureHeader, bool)> + '_ {
        let first = self.base_height.saturating_add(1);
        let skipped = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        let heights = first.max(from)..;
        heights
            .zip(self.entries.iter().skip(skipped))
            .map(|(height, entry)| (height, *entry.header(), entry.proved))
    }

    pub(super) fn entries(&self) -> &[HeaderEntry] {
        &self.entries
    }

    fn index(&self, height: Height) -> Option<usize> {
        let above = height.checked_sub(self.base_height)?.checked_sub(1)?;
        usize::try_from(above).ok()
    }

    fn entry(&self, height: Height) -> Option<&HeaderEntry> {
        self.entries.get(self.index(height)?)
    }
}

/// Returns the work that a header's bits stand for; they were found valid before it became an entry.
fn claimed_work(header: &PureHeader) -> Work {
    bitcoin::Target::from_compact(header.bits()).to_work()
}

impl HeaderTree {
    /// Returns the skeleton, if there is one.
    pub fn skeleton(&self) -> Option<&UnverifiedChain> {
        self.skeleton.as_ref()
    }

    /// Begins a skeleton on top of a known header, in place of any other.
    ///
    /// # Errors
    ///
    /// [`HeaderError::UnknownParent`] for a header that is not known, [`HeaderError::AnchorConflict`] below the anchor.
    pub fn begin_skeleton(&mut self, base: BlockHash) -> Result<(), HeaderError> {
        let height = self.height_of(&base);
        let height = height.or((base == self.anchor.hash).then_some(self.anchor.height));
        let base_height = height.ok_or(HeaderError::UnknownParent { prev: base })?;
        if base_height < self.anchor.height {
            let (height, anchor) = (base_height.saturating_add(1), self.anchor.height);
            return Err(HeaderError::AnchorConflict { height, anchor });
        }
        let base_work = self.chainwork_of(&base, base_height);
        self.skeleton = Some(UnverifiedChain {
            base,
            base_height,
            base_work,
            chainwork: base_work,
            entries: Vec::new(),
        });
        Ok(())
    }

    /// Puts the next header on top of the skeleton: everything is checked but its AuxPoW. One that has none is proved
    /// by its own hash.
    ///
    /// # Errors
    ///
    /// As [`Self::accept`], but for AuxPoW; the skeleton is then as before. [`HeaderError::UnknownParent`] when the
    /// header does not belong there, or there is no skeleton.
    pub fn extend_skeleton(&mut self, header: PureHeader, now: Timestamp) -> Result<(), HeaderError> {
        rules::check_not_from_future(&header, now)?;
        self.restore_skeleton(header, false)
    }

    /// Puts a header back on top of the skeleton that was there in an earlier run, whether it was proved or not.
    ///
    /// # Errors
    ///
    /// As [`Self::extend_skeleton`], but for times ahead of the clock, which are not looked at.
    pub fn restore_skeleton(&mut self, header: PureHeader, proved: bool) -> Result<(), HeaderError> {
        let prev = header.prev();
        let skeleton = self.skeleton.as_ref().filter(|skeleton| skeleton.top() == prev);
        let skeleton = skeleton.ok_or(HeaderError::UnknownParent { prev })?;
        if skeleton.top_height() == Height::MAX {
            return Err(HeaderError::HeightOverflow);
        }
        let hash = header.hash();
        let target = rules::check_context(&header, &Lineage::on_top(self, skeleton), self.params)?;
        let own_work = !header.has_auxpow();
        if own_work {
            rules::check_own_work(&header, hash, &target)?;
        }
        let chainwork = difficulty::add_work(skeleton.chainwork, target.to_work());
        if let Some(skeleton) = &mut self.skeleton {
            skeleton.chainwork = chainwork;
            skeleton.entries.push(HeaderEntry {
                link: Link { header, hash },
                proved: proved || own_work,
            });
        }
        Ok(())
    }

    /// Checks the proof of work of a header of the skeleton.
    ///
    /// # Errors
    ///
    /// [`HeaderError::OtherHeader`] when it is none of the skeleton's, else as [`Self::accept`].
    pub fn prove_in_skeleton(&mut self, height: Height, full: &FullHeader<'_>) -> Result<(), HeaderError> {
        let params = self.params;
        let got = full.pure.hash();
        let skeleton = self.skeleton.as_mut();
        let entry = skeleton.and_then(|skeleton| {
            let index = skeleton.index(height)?;
            skeleton.entries.get_mut(index)
        });
        let entry = entry.ok_or(HeaderError::UnknownParent { prev: full.pure.prev() })?;
        let expected = entry.link.hash;
        if got != expected {
            return Err(HeaderError::OtherHeader { height, expected, got });
        }
        rules::check_work(full, got, params)?;
        entry.proved = true;
        Ok(())
    }

    /// Drops the skeleton's headers above a height.
    pub fn cut_skeleton(&mut self, height: Height) {
        let Some(skeleton) = &mut self.skeleton else { return };
        let kept = usize::try_from(height.saturating_sub(skeleton.base_height)).unwrap_or(usize::MAX);
        skeleton.entries.truncate(kept);
        skeleton.chainwork = skeleton.works().fold(skeleton.base_work, difficulty::add_work);
    }

    /// Drops the skeleton.
    pub fn drop_skeleton(&mut self) {
        self.skeleton = None;
    }

    /// Puts the skeleton's headers into the tree, a sample of them having been proved: work decides what becomes of
    /// them, as for any header. Tells what the last of them did; `None` when there was none.
    ///
    /// # Errors
    ///
    /// [`HeaderError::BranchesFull`] when they are a branch that there is no room for; those below stay.
    pub fn adopt_skeleton(&mut self) -> Result<Option<Accepted>, HeaderError> {
        let mut accepted = None;
        for entry in self.skeleton.take().into_iter().flat_map(|skeleton| skeleton.entries) {
            let link = entry.link;
            if self.heights.contains_key(&link.hash) {
                accepted = Some(Accepted::Duplicate);
                continue;
            }
            let did = self.insert(link, claimed_work(&link.header), entry.proved)?;
            accepted = match (accepted, did) {
                // A reorganisation that goes on is one still.
                (Some(reorganized @ Accepted::Reorganized { .. }), Accepted::Extended) => Some(reorganized),
                _ => Some(did),
            };
        }
        Ok(accepted)
    }

    /// Checks the proof of work of a header of the best chain that was taken on the strength of a sample.
    ///
    /// # Errors
    ///
    /// [`HeaderError::OtherHeader`] when it is not the best chain's at that height, else as [`Self::accept`].
    pub fn prove(&mut self, height: Height, full: &FullHeader<'_>) -> Result<(), HeaderError> {
        let got = full.pure.hash();
        let expected = self.best_link(height).map(|link| link.hash);
        let expected = expected.ok_or(HeaderError::UnknownParent { prev: full.pure.prev() })?;
        if got != expected {
            return Err(HeaderError::OtherHeader { height, expected, got });
        }
        rules::check_work(full, got, self.params)?;
        if let Some(known) = self.heights.get_mut(&got)
            && !known.proved
        {
            known.proved = true;
            self.unproved = self.unproved.saturating_sub(1);
        }
        Ok(())
    }

    /// Returns how many headers above the anchor were taken on the strength of a sample and never proved themselves.
    pub fn unproved(&self) -> usize {
        self.unproved
    }

    /// Says whether a known header of the best chain was proved itself; those at and below the anchor are, by the
    /// anchor's hash.
    pub fn is_proved(&self, height: Height) -> Option<bool> {
        let hash = self.hash_at(height)?;
        self.heights.get(&hash).map(|known| known.proved)
    }
}

#[cfg(test)]
mod tests;

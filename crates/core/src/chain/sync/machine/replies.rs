//! What replies do to the tree, and what they say of who sent them.

use bitcoin::BlockHash;

use super::{Mode, Step, next_backward_end};
use crate::chain::auxpow::FullHeader;
use crate::chain::sync::{Effect, Fault, ServerState};
use crate::chain::tree::{Accepted, HeaderError};
use crate::chain::{Height, PureHeader};
use crate::isolation::ConnId;

impl Step<'_> {
    /// Moves the backfill as far down as the delivered chunks reach.
    pub(super) fn apply_backward(&mut self) {
        let before = self.tree.lowest();
        while let Some(start) = self.sync.backward.ending_at(next_backward_end(self.tree)) {
            let Some((count, conn, bytes)) = self.sync.backward.take(start) else {
                break;
            };
            let end = next_backward_end(self.tree);
            let result = self.backfill(start, count, &bytes);
            let left = next_backward_end(self.tree);
            self.took(conn, end.saturating_sub(left));
            if let Err(fault) = result {
                self.sync.backward.insert(start, left.saturating_sub(start));
                self.blame(conn, &fault);
            }
        }
        let after = self.tree.lowest();
        if let Some(from) = after
            && after != before
        {
            self.effects.push(Effect::StoreBackward { from });
        }
    }

    fn backfill(&mut self, start: Height, count: Height, bytes: &[u8]) -> Result<(), Fault> {
        let headers = pure_headers(start, count, bytes)?;
        let end = start.saturating_add(count);
        for (height, header) in (start..end).zip(headers).rev() {
            // Every header here is authenticated by the one above it, so a mismatch is the sender's fault alone.
            self.tree.backfill(header).map_err(|error| match error {
                HeaderError::BrokenLink { .. } if height == self.tree.anchor().height => {
                    Fault::ConflictsWithAnchor { anchor: height }
                }
                error => Fault::Header { height, error },
            })?;
        }
        Ok(())
    }

    /// Moves the tip as far up as the delivered chunks reach.
    pub(super) fn apply_forward(&mut self) {
        while let Some(start) = self.sync.forward.lowest() {
            if start > self.tree.tip().height.saturating_add(1) {
                break;
            }
            let Some((count, conn, bytes)) = self.sync.forward.take(start) else {
                break;
            };
            let links = FullHeader::decode(&bytes)
                .is_ok_and(|(header, _)| self.tree.height_of(&header.pure.prev()) == start.checked_sub(1));
            if !links {
                // Its branch, or that of whoever sent the chunk below, is another one than ours: work will tell.
                self.sync.forward.insert(start, count);
                self.sync.forward.distrust(conn);
                self.trace(conn, start.saturating_sub(1));
                continue;
            }
            let Some(below) = self.accept(conn, start, count, &bytes) else {
                continue;
            };
            let next = start.saturating_add(count);
            if next > self.tree.tip().height.saturating_add(1)
                && let Some(peer) = self.sync.peers.get_mut(&conn)
            {
                // Valid, but too light so far to be the best chain: the rest of it is its own affair.
                peer.mode = Mode::Branch { next, below };
            }
        }
    }

    /// Puts a reply's headers into the tree and returns the hash of the last one; blames the sender and returns nothing
    /// when one breaks a rule.
    fn accept(&mut self, conn: ConnId, start: Height, count: Height, bytes: &[u8]) -> Option<BlockHash> {
        let mut lowest_changed: Option<Height> = None;
        let mut reorganized = false;
        let mut taken = 0;
        let mut result = Ok(());
        let mut rest = bytes;
        let mut last = None;
        for height in start..start.saturating_add(count) {
            let accepted = match FullHeader::decode(rest) {
                Ok((header, behind)) => {
                    rest = behind;
                    last = Some(header.pure);
                    self.tree
                        .accept(&header, self.now.wall)
                        .map_err(|error| Fault::Header { height, error })
                }
                Err(error) => Err(Fault::Decode { height, error }),
            };
            let changed = match accepted {
                Ok(Accepted::Duplicate) => continue,
                Ok(Accepted::Branch) => None,
                Ok(Accepted::Extended) => Some(height),
                Ok(Accepted::Reorganized { fork }) => {
                    reorganized = true;
                    Some(fork.saturating_add(1))
                }
                Err(fault) => {
                    result = Err(fault);
                    break;
                }
            };
            taken += 1;
            lowest_changed = [lowest_changed, changed].into_iter().flatten().min();
        }
        if result.is_ok() && !rest.is_empty() {
            result = Err(Fault::ExtraBytes { extra: rest.len() });
        }
        if reorganized {
            // What was planned on top of the old branch is worthless.
            self.sync.forward.clear();
        }
        self.took(conn, taken);
        if let Some(from) = lowest_changed {
            self.sync.reported = None;
            self.effects.push(Effect::StoreForward { from });
        }
        match result {
            Ok(()) => last.map(|header| header.hash()),
            Err(fault) => {
                self.judge(conn, start, fault);
                None
            }
        }
    }

    /// Decides what a refused header in a reply from height `start` on means for its sender.
    pub(super) fn judge(&mut self, conn: ConnId, start: Height, fault: Fault) {
        match fault {
            // A block from the future is no lie yet. What lies below it stands; the rest is asked for later.
            Fault::Header {
                height,
                error: error @ HeaderError::TimeTooLate { .. },
            } => {
                let reason = format!("is ahead of our clock at height {height}: {error}");
                self.close(conn, ServerState::Closed(reason));
            }
            Fault::Header {
                height,
                error: HeaderError::UnknownParent { .. },
            } => {
                if height == start {
                    // It may have left the branch that it was on.
                    self.trace(conn, start.saturating_sub(1));
                } else {
                    self.blame(conn, &Fault::BrokenLink { height });
                }
            }
            fault => self.blame(conn, &fault),
        }
    }

    pub(super) fn apply_trace(&mut self, conn: ConnId, start: Height, count: Height, bytes: &[u8]) {
        let headers = match pure_headers(start, count, bytes) {
            Ok(headers) => headers,
            Err(fault) => return self.blame(conn, &fault),
        };
        let known = |height: Height, header: &PureHeader| self.tree.height_of(&header.hash()) == Some(height);
        let heights = start..start.saturating_add(count);
        let top_known = heights
            .zip(&headers)
            .rev()
            .find(|(height, header)| known(*height, header));
        let below = start.checked_sub(1);
        let anchor = self.tree.anchor().height;
        let mode = match (top_known, headers.first()) {
            (Some((height, header)), _) => Mode::Branch {
                next: height.saturating_add(1),
                below: header.hash(),
            },
            (None, Some(first)) if below >= Some(anchor) && self.tree.height_of(&first.prev()) == below => {
                Mode::Branch {
                    next: start,
                    below: first.prev(),
                }
            }
            _ => match below {
                Some(end) if end > anchor => Mode::Tracing {
                    end,
                    span: count.saturating_mul(4),
                },
                _ => return self.blame(conn, &Fault::ConflictsWithAnchor { anchor }),
            },
        };
        if let Some(peer) = self.sync.peers.get_mut(&conn) {
            peer.mode = mode;
        }
    }

    pub(super) fn apply_branch(&mut self, conn: ConnId, start: Height, count: Height, bytes: &[u8]) {
        if let Some(below) = self.accept(conn, start, count, bytes)
            && let Some(peer) = self.sync.peers.get_mut(&conn)
        {
            let next = start.saturating_add(count);
            peer.mode = Mode::Branch { next, below };
        }
    }

    /// Takes proofs of headers of the best chain that were asked for at leisure. A reorganisation in the meantime is no
    /// fault.
    pub(super) fn apply_leisure(&mut self, conn: ConnId, heights: &[Height], bytes: &[u8]) {
        let mut proved = Vec::new();
        let mut rest = bytes;
        let mut fault = None;
        for height in heights.iter().copied() {
            match FullHeader::decode(rest) {
                Ok((header, behind)) => {
                    rest = behind;
                    match self.tree.prove(height, &header) {
                        Ok(()) => proved.push(height),
                        Err(HeaderError::OtherHeader { .. } | HeaderError::UnknownParent { .. }) => {}
                        Err(error) => fault = Some(Fault::Header { height, error }),
                    }
                }
                Err(error) => fault = Some(Fault::Decode { height, error }),
            }
            if fault.is_some() {
                break;
            }
        }
        if !proved.is_empty() {
            self.effects.push(Effect::StoreProved { heights: proved });
        }
        if let Some(fault) = fault {
            self.blame(conn, &fault);
        }
    }
}

/// Takes a reply's headers as pure ones, whether they came truncated or full, and checks the links between them.
pub(super) fn pure_headers(start: Height, count: Height, bytes: &[u8]) -> Result<Vec<PureHeader>, Fault> {
    let truncated = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(PureHeader::SIZE));
    let cut = truncated == Some(bytes.len());
    let mut headers: Vec<PureHeader> = Vec::new();
    let mut rest = bytes;
    for height in start..start.saturating_add(count) {
        let header = if cut {
            let (front, behind) = rest.split_at_checked(PureHeader::SIZE).unwrap_or_default();
            rest = behind;
            PureHeader::decode(front).ok_or(Fault::Count {
                expected: count,
                got: height - start,
            })?
        } else {
            let (full, behind) = FullHeader::decode(rest).map_err(|error| Fault::Decode { height, error })?;
            rest = behind;
            full.pure
        };
        if headers.last().is_some_and(|below| below.hash() != header.prev()) {
            return Err(Fault::BrokenLink { height });
        }
        headers.push(header);
    }
    if !rest.is_empty() {
        return Err(Fault::ExtraBytes { extra: rest.len() });
    }
    Ok(headers)
}

//! Following the tip: where each connection's chain stands to ours, chunks of the chain that all follow, traces and
//! branches of single ones.
//!
//! | event | what follows |
//! |---|---|
//! | a tip that is unknown, or claimed anew | [`FollowTip::classify`]: a phase for the connection, a trace, or a report |
//! | a connection follows, or is traced, or has a branch, and is free | a chunk from below; the next step; the next chunk of its own |
//! | a chunk came that is next, and links | headers into the tree; where they are too light to be ours, the rest is a branch |
//! | a chunk came that is next, and does not link | it is planned anew, its sender is traced |
//! | a step of a trace came | a branch from the highest known header; else a longer step further down; at the anchor a report |
//! | headers of a branch came | headers into the tree, the branch goes on behind them |
//! | the best chain turned to another branch | planned chunks are dropped |
//!
//! Phases are listed at [`super::peers`]. Work decides, not length, and not who came first with a claim.

#[cfg(test)]
mod tests;

use bitcoin::BlockHash;

use super::chunks::{Chunks, Taker};
use super::headers::pure_headers;
use super::outcome::{Outcome, judge};
use super::peers::{Job, Peer, PeerPhase, PeerTable};
use super::{HeaderRequest, HeaderSyncLimits, ServerFault};
use crate::chain::auxpow::FullHeader;
use crate::chain::tree::Accepted;
use crate::chain::{HeaderTree, Height, PureHeader};
use crate::isolation::ConnId;
use crate::time::Timestamp;

/// What came in reply to a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'a> {
    pub(super) conn: ConnId,
    pub(super) start: Height,
    pub(super) count: Height,
    pub(super) bytes: &'a [u8],
}

/// The chunks above our tip.
#[derive(Debug)]
pub(super) struct FollowTip {
    pub(super) chunks: Chunks,
    limits: HeaderSyncLimits,
}

impl FollowTip {
    pub(super) fn new(limits: HeaderSyncLimits) -> Self {
        Self {
            chunks: Chunks::default(),
            limits,
        }
    }

    /// Says where the connections' chains stand of which it is not known, or not any more.
    /// `resumed` is the branch that a fresh connection goes on with, if one is in the making.
    pub(super) fn classify(
        tree: &HeaderTree,
        peers: &PeerTable,
        resumed: impl Fn(&Peer) -> Option<PeerPhase>,
    ) -> Vec<Outcome> {
        let is_undecided = |peer: &Peer| match peer.phase {
            PeerPhase::Waiting | PeerPhase::Following => true,
            PeerPhase::Branch { next, .. } => next > peer.claimed.height,
            PeerPhase::Greeting | PeerPhase::Tracing { .. } | PeerPhase::SetAside | PeerPhase::Settled => false,
        };
        let our_tip = tree.tip().height;
        let outcome = |conn: ConnId, peer: &Peer| {
            let claimed = peer.claimed.height;
            let phase = match tree.height_of(&peer.claimed.hash) {
                Some(height) if height == claimed => PeerPhase::Settled,
                Some(height) => {
                    let fault = ServerFault::ClaimedHeight { claimed, height };
                    return Outcome::Report { conn, fault };
                }
                None => match resumed(peer) {
                    Some(branch) => branch,
                    None if claimed > our_tip => PeerPhase::Following,
                    None => return Outcome::Trace { conn, end: claimed },
                },
            };
            Outcome::Enter { conn, phase }
        };
        let undecided = peers.iter().filter(|(_, peer)| is_undecided(peer));
        undecided.map(|(conn, peer)| outcome(conn, peer)).collect()
    }

    /// Plans chunks up to the highest tip that is followed; none where these headers come as a skeleton.
    pub(super) fn plan(&mut self, tree: &HeaderTree, peers: &PeerTable, awaits_skeleton: impl Fn(&Peer) -> bool) {
        let following = peers.values().filter(|peer| peer.phase == PeerPhase::Following);
        if following.clone().any(awaits_skeleton) {
            return self.chunks.clear();
        }
        let claims: Vec<Height> = following.map(|peer| peer.claimed.height).collect();
        let Some(target) = claims.iter().copied().max() else {
            return self.chunks.clear();
        };
        let next = tree.tip().height.saturating_add(1);
        let chunk = self.limits.full_chunk.max(1);
        self.chunks.plan(next, target, &claims, chunk, self.limits.window);
    }

    /// Returns the next step of a trace.
    pub(super) fn choose_trace(
        &self,
        taker: &Taker,
        end: Height,
        span: Height,
        anchor: Height,
    ) -> (Job, HeaderRequest) {
        let above = end.saturating_add(1);
        let span = span.min(taker.light_chunk(&self.limits, Height::MAX));
        let start = above.saturating_sub(span).max(anchor);
        let request = taker.light_request(start, above.saturating_sub(start), taker.highest);
        (Job::Trace, request)
    }

    /// Returns the next headers of a branch.
    pub(super) fn choose_branch(&self, taker: &Taker, next: Height) -> (Job, HeaderRequest) {
        let left = taker.highest.saturating_sub(next).saturating_add(1);
        let count = left.min(taker.full_chunk(&self.limits, Height::MAX));
        (Job::Branch, HeaderRequest::Full { start: next, count })
    }

    /// Chooses a chunk of the chain that all follow.
    pub(super) fn choose_forward(&mut self, taker: &Taker) -> Option<(Job, HeaderRequest)> {
        let most = taker.full_chunk(&self.limits, self.left(taker.highest));
        let (start, count) = self.chunks.assign(taker, most, taker.each(false), false)?;
        Some((Job::Forward { start }, HeaderRequest::Full { start, count }))
    }

    /// Returns how many headers up to a height nobody was asked for yet.
    fn left(&self, highest: Height) -> Height {
        let from = self.chunks.lowest().unwrap_or(highest);
        let unplanned = highest.saturating_sub(from.saturating_add(self.chunks.heights()));
        self.chunks.free_heights().saturating_add(unplanned)
    }

    /// Puts the next chunk into the tree, if it is there.
    pub(super) fn apply_next(&mut self, tree: &mut HeaderTree, wall: Timestamp) -> Option<Vec<Outcome>> {
        let start = self.chunks.lowest()?;
        if start > tree.tip().height.saturating_add(1) {
            return None;
        }
        let (count, conn, bytes) = self.chunks.take(start)?;
        let links = FullHeader::decode(&bytes)
            .is_ok_and(|(header, _)| tree.height_of(&header.pure.prev()) == start.checked_sub(1));
        if !links {
            // Its branch, or that of whoever sent the chunk below, is another one than ours: work will tell.
            self.chunks.insert(start, count);
            self.chunks.distrust(conn);
            let end = start.saturating_sub(1);
            return Some(vec![Outcome::Trace { conn, end }]);
        }
        let bytes = &bytes;
        let chunk = Chunk {
            conn,
            start,
            count,
            bytes,
        };
        let (mut outcomes, last) = self.accept(tree, wall, chunk);
        let next = start.saturating_add(count);
        if let Some(below) = last
            && next > tree.tip().height.saturating_add(1)
        {
            // Valid, but too light so far to be the best chain: the rest of it is its own affair.
            let phase = PeerPhase::Branch { next, below };
            outcomes.push(Outcome::Enter { conn, phase });
        }
        Some(outcomes)
    }

    /// Puts headers of a connection's own branch into the tree.
    pub(super) fn apply_branch(&mut self, tree: &mut HeaderTree, wall: Timestamp, chunk: Chunk<'_>) -> Vec<Outcome> {
        let (mut outcomes, last) = self.accept(tree, wall, chunk);
        if let Some(below) = last {
            let next = chunk.start.saturating_add(chunk.count);
            outcomes.push(Outcome::Enter {
                conn: chunk.conn,
                phase: PeerPhase::Branch { next, below },
            });
        }
        outcomes
    }

    /// Looks for the fork point in a step of a trace.
    pub(super) fn apply_trace(tree: &HeaderTree, chunk: Chunk<'_>) -> Outcome {
        let Chunk {
            conn,
            start,
            count,
            bytes,
        } = chunk;
        let headers = match pure_headers(start, count, bytes) {
            Ok(headers) => headers,
            Err(fault) => return Outcome::Report { conn, fault },
        };
        let is_known = |height: Height, header: &PureHeader| tree.height_of(&header.hash()) == Some(height);
        let heights = start..start.saturating_add(count);
        let mut downwards = heights.zip(&headers).rev();
        let top_known = downwards.find(|(height, header)| is_known(*height, header));
        let below = start.checked_sub(1);
        let anchor = tree.anchor().height;
        let phase = match (top_known, headers.first()) {
            (Some((height, header)), _) => PeerPhase::Branch {
                next: height.saturating_add(1),
                below: header.hash(),
            },
            (None, Some(first)) if below >= Some(anchor) && tree.height_of(&first.prev()) == below => {
                PeerPhase::Branch {
                    next: start,
                    below: first.prev(),
                }
            }
            _ => match below {
                Some(end) if end > anchor => PeerPhase::Tracing {
                    end,
                    span: count.saturating_mul(4),
                },
                _ => {
                    let fault = ServerFault::ConflictsWithAnchor { anchor };
                    return Outcome::Report { conn, fault };
                }
            },
        };
        Outcome::Enter { conn, phase }
    }

    /// Puts a reply's headers into the tree. Returns what came of it, and the hash of the last header unless one broke a
    /// rule.
    fn accept(
        &mut self,
        tree: &mut HeaderTree,
        wall: Timestamp,
        chunk: Chunk<'_>,
    ) -> (Vec<Outcome>, Option<BlockHash>) {
        let Chunk { conn, start, .. } = chunk;
        let taken = take_headers(tree, wall, chunk);
        if taken.reorganized {
            // What was planned on top of the old branch is worthless.
            self.chunks.clear();
        }
        let headers = taken.new;
        let mut outcomes = vec![Outcome::Brought { conn, headers }];
        outcomes.extend(taken.changed_from.map(|from| Outcome::BestChanged { from }));
        match taken.end {
            Ok(last) => (outcomes, last),
            Err(fault) => {
                outcomes.push(judge(conn, start, fault));
                (outcomes, None)
            }
        }
    }
}

/// What a reply's headers did to the tree.
struct Taken {
    /// How many were new.
    new: Height,
    /// The lowest height at which the best chain is another one now.
    changed_from: Option<Height>,
    /// Whether the best chain turned to another branch.
    reorganized: bool,
    /// The hash of the last one, or what is wrong with one of them.
    end: Result<Option<BlockHash>, ServerFault>,
}

fn take_headers(tree: &mut HeaderTree, wall: Timestamp, chunk: Chunk<'_>) -> Taken {
    let mut taken = Taken {
        new: 0,
        changed_from: None,
        reorganized: false,
        end: Ok(None),
    };
    let mut rest = chunk.bytes;
    let mut last = None;
    for height in chunk.start..chunk.start.saturating_add(chunk.count) {
        let accepted = match FullHeader::decode(rest) {
            Ok((header, behind)) => {
                rest = behind;
                last = Some(header.pure);
                let accepted = tree.accept(&header, wall);
                accepted.map_err(|error| ServerFault::Header { height, error })
            }
            Err(error) => Err(ServerFault::Decode { height, error }),
        };
        let changed = match accepted {
            Ok(Accepted::Duplicate) => continue,
            Ok(Accepted::Branch) => None,
            Ok(Accepted::Extended) => Some(height),
            Ok(Accepted::Reorganized { fork }) => {
                taken.reorganized = true;
                Some(fork.saturating_add(1))
            }
            Err(fault) => {
                taken.end = Err(fault);
                return taken;
            }
        };
        taken.new += 1;
        taken.changed_from = [taken.changed_from, changed].into_iter().flatten().min();
    }
    taken.end = if rest.is_empty() {
        Ok(last.map(|header| header.hash()))
    } else {
        Err(ServerFault::ExtraBytes { extra: rest.len() })
    };
    taken
}

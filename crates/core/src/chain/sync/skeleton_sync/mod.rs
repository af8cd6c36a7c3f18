//! The making of a skeleton: its headers first, then the proof of a random sample of them.
//!
//! There is one skeleton at a time: on our tip, towards the chain that all follow, or on the fork point of a single
//! server's own branch. It has a leader, whose claimed tip it is to reach ([`Lead`]); its [`Stage`] is that of fetching
//! headers or that of proving the sample.
//!
//! | state | event | next state, and what follows |
//! |---|---|---|
//! | none | a connection follows, or has a branch, with so many headers missing that they come as a skeleton | fetching |
//! | a branch, or without leader | another skeleton is wanted more | dropped, and the other one begun |
//! | fetching | a chunk came and links | the skeleton grows; written where it stands on our tip |
//! | fetching | the leader's chunk does not fit on others' headers | cut back to the leader's own, which alone gives headers from now on |
//! | fetching | the leader's chunk does not fit on its own headers | cut back by some; its chain changed |
//! | fetching | somebody else's chunk does not fit | its sender is set aside; at the base it is traced |
//! | fetching | nothing is left to ask a connection for | the last headers are asked for in full, which every sample has |
//! | fetching | full headers came | held against the skeleton as soon as that has got so far |
//! | fetching | all headers are there, and it is heavier than our chain | proving a sample |
//! | fetching | all headers are there, and it is not heavier | dropped; whose branch it is, is settled |
//! | proving | full headers came that hold for it | crossed off the sample |
//! | proving | a full header came that breaks a rule | its server is reported, with all that it gave: cut, fetching |
//! | proving | another header came from who gave the first one | near the top its chain changed: cut, fetching; else it is reported |
//! | proving | another header came from somebody else | its sender is set aside; a branch is dropped |
//! | proving | the sample is not proved in time | fetching, for another sample; the third time dropped |
//! | proving | all of the sample is proved | adopted into the tree |
//! | any | the leader claims a lower tip | cut to that tip, fetching |
//! | any | the leader of the chain that all follow is gone | another one leads; where there is none, it waits, or is dropped for those set aside |
//! | any | the leader of a branch is gone | it waits a little for a fresh connection, then it is dropped |
//! | any | a connection did not give what it was asked for, while others are set aside | dropped, see [`HeaderSync`](super::HeaderSync) |
//!
//! Headers that don't fit on those of somebody else tell that two chains are there, not which one is right.

mod lead;
mod sample;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::CryptoRng;

use self::lead::Lead;
use self::tail::Tail;
use super::chunks::{Chunks, Taker};
use super::headers::pure_headers;
use super::outcome::{Outcome, judge};
use super::peers::{Job, Peer, PeerPhase, PeerTable};
use super::proof_queue::{ProofQueue, is_run};
use super::{HeaderRequest, HeaderSyncEffect, HeaderSyncLimits, ServerFault, Verification};
use crate::chain::tree::UnverifiedChain;
use crate::chain::{HeaderTree, Height, PureHeader};
use crate::isolation::ConnId;
use crate::reputation::{ServerIndex, SyncReputation};
use crate::time::{Moment, Now, Timestamp};

/// How far below its top a skeleton's headers may be replaced by a reorganisation while it is made.
const UNSETTLED: Height = 100;

/// How far the making is.
#[derive(Debug)]
enum Stage {
    /// Headers are on their way.
    Fetching(Chunks),
    /// All headers are there. What is left of the sample is being proved, which was drawn at that moment.
    Proving {
        queue: ProofQueue,
        drawn_at: Moment,
        /// How long that may take.
        time: Duration,
    },
}

/// The last height of a stretch of headers, and who gave it; nobody gave what was there at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    last: Height,
    server: Option<ServerIndex>,
}

/// A skeleton in the making; its headers are in the tree.
#[derive(Debug)]
struct Making {
    lead: Lead,
    stage: Stage,
    tail: Tail,
    /// The height of the tip that the leader claims.
    target: Height,
    origins: Vec<Origin>,
    /// Whether all of it is on the disk, on top of the best chain.
    is_stored: bool,
    /// How many headers its sample is expected to have, and of how many it was reckoned.
    foreseen: f64,
    foreseen_of: Height,
    /// How many headers were proved since it was begun or cut.
    proved: usize,
    /// How many samples were drawn.
    draws: u32,
    /// Heights that were proved and are not written down as such.
    unwritten: Vec<Height>,
    /// When such were last written down.
    written_at: Moment,
}

impl Making {
    fn origin(&self, height: Height) -> Option<ServerIndex> {
        let stretch = self.origins.iter().find(|origin| height <= origin.last);
        stretch.and_then(|origin| origin.server)
    }

    /// Returns the height up to which a server gave all headers, or none of them.
    fn top_of(&self, server: ServerIndex, is_own: bool, base: Height) -> Height {
        let stretches = self.origins.iter();
        let lowest = stretches.take_while(|origin| (origin.server == Some(server)) == is_own);
        lowest.last().map_or(base, |origin| origin.last)
    }

    /// Forgets what is above a height; what was drawn counts no more.
    fn cut(&mut self, height: Height) {
        let kept = self.origins.partition_point(|origin| origin.last <= height);
        let cut_through = self.origins.get(kept).map(|origin| origin.server);
        self.origins.truncate(kept);
        self.origins
            .extend(cut_through.map(|server| Origin { last: height, server }));
        self.stage = Stage::Fetching(Chunks::default());
        self.tail = Tail::default();
        self.proved = 0;
        self.unwritten.clear();
    }

    /// Says whether a connection helps with it.
    fn includes(&self, peer: &Peer) -> bool {
        if self.lead.is_branch() {
            self.lead.server() == Some(peer.server) && peer.is_on_branch()
        } else {
            peer.phase == PeerPhase::Following
        }
    }

    /// Says whether a connection is asked for headers of it.
    fn is_source(&self, peer: &Peer) -> bool {
        peer.truncates && self.has_chain_of(peer)
    }

    /// Says whether a connection's headers are taken for those of it.
    fn has_chain_of(&self, peer: &Peer) -> bool {
        let gives = !self.lead.is_alone() || self.lead.server() == Some(peer.server);
        self.includes(peer) && gives
    }

    fn is_proving(&self) -> bool {
        matches!(self.stage, Stage::Proving { .. })
    }

    /// Drops what a connection delivered, or was given, in whatever stage that was.
    fn forget(&mut self, conn: ConnId) {
        self.tail.forget(conn);
        match &mut self.stage {
            Stage::Fetching(chunks) => chunks.distrust(conn),
            Stage::Proving { queue, .. } => queue.release_all(conn),
        }
    }
}

/// Makes skeletons, one after the other.
#[derive(Debug)]
pub(super) struct SkeletonSync {
    limits: HeaderSyncLimits,
    making: Option<Making>,
    /// Skeletons that a server led and that came to nothing.
    lost_leads: BTreeMap<ServerIndex, u32>,
    /// The height above the highest header that any skeleton had.
    highest: Height,
    /// The most headers that were proved of any skeleton.
    most_proved: usize,
}

impl SkeletonSync {
    pub(super) fn new(limits: HeaderSyncLimits) -> Self {
        Self {
            limits,
            making: None,
            lost_leads: BTreeMap::new(),
            highest: 0,
            most_proved: 0,
        }
    }

    // What others want to know.

    /// Says whether a skeleton is in the making.
    pub(super) fn is_active(&self) -> bool {
        self.making.is_some()
    }

    /// Says whether what is missing up to a connection's claimed tip comes as a skeleton, now or later.
    pub(super) fn is_awaited_by(&self, peer: &Peer, tree: &HeaderTree, peers: &PeerTable) -> bool {
        match peer.phase {
            PeerPhase::Following => {
                let missing = |peer: &Peer| peer.claimed.height.saturating_sub(tree.tip().height);
                let wants =
                    |peer: &Peer| peer.phase == PeerPhase::Following && peer.truncates && self.is_long(missing(peer));
                peers.values().any(wants)
            }
            PeerPhase::Branch { next, .. } => {
                let missing = peer.claimed.height.saturating_sub(next).saturating_add(1);
                peer.truncates && self.is_long(missing)
            }
            _ => false,
        }
    }

    fn is_long(&self, missing: Height) -> bool {
        matches!(self.limits.verification, Verification::Sampled(_)) && missing >= self.limits.skeleton_from.max(1)
    }

    /// Returns the branch that a fresh connection of its leader's goes on with, if one is in the making.
    pub(super) fn resumed_branch(&self, peer: &Peer, tree: &HeaderTree) -> Option<PeerPhase> {
        let lead = self.making.as_ref()?.lead;
        let skeleton = tree.skeleton()?;
        let is_leaders = lead.is_branch() && lead.server() == Some(peer.server);
        (is_leaders && peer.phase == PeerPhase::Waiting).then(|| PeerPhase::Branch {
            next: skeleton.base_height().saturating_add(1),
            below: skeleton.base(),
        })
    }

    /// Returns how many requests are left to be sent, or to be answered.
    pub(super) fn work(&self) -> usize {
        match self.making.as_ref().map(|making| &making.stage) {
            None => 0,
            Some(Stage::Fetching(chunks)) => requests(chunks.heights(), self.limits.skeleton_chunk),
            Some(Stage::Proving { queue, .. }) => queue.left() / self.limits.sample_batch.max(1),
        }
    }

    /// Returns how many headers of the sample are not proved yet.
    pub(super) fn unproved(&self) -> usize {
        match self.making.as_ref().map(|making| &making.stage) {
            Some(Stage::Proving { queue, .. }) => queue.left(),
            None | Some(Stage::Fetching(_)) => 0,
        }
    }

    /// Returns how many bytes on the wire are left of the skeleton and its sample, where one is in the making: so many for
    /// each truncated header, and for each full one.
    pub(super) fn bytes_left(&self, tree: &HeaderTree, truncated: f64, full: f64) -> Option<f64> {
        let making = self.making.as_ref()?;
        let top = tree.skeleton()?.top_height();
        let headers = f64::from(making.target.saturating_sub(top)) * truncated;
        let sample = match &making.stage {
            Stage::Fetching(_) => (making.foreseen - float(making.tail.early())).max(0.0),
            Stage::Proving { queue, .. } => float(queue.left()),
        };
        Some(headers + sample * full)
    }

    /// Returns the moments at which something may follow though nothing happens.
    pub(super) fn wake_times(&self) -> impl Iterator<Item = Moment> + use<> {
        let (mut waits, mut redraw, mut grace) = (None, None, None);
        if let Some(making) = &self.making {
            match &making.stage {
                Stage::Fetching(chunks) => {
                    waits = [chunks.oldest_wait(), making.tail.oldest_wait()]
                        .into_iter()
                        .flatten()
                        .min();
                }
                Stage::Proving { queue, drawn_at, time } => {
                    waits = queue.oldest_wait();
                    redraw = Some(*drawn_at + *time);
                }
            }
            if let Lead::BranchAway { since, .. } = making.lead {
                grace = Some(since + self.limits.second_server_grace);
            }
        }
        let steal = waits.map(|since| since + self.limits.steal_after);
        [steal, redraw, grace].into_iter().flatten()
    }

    // Requests and replies.

    /// Plans the chunks that the skeleton still lacks.
    pub(super) fn plan(&mut self, tree: &HeaderTree, peers: &PeerTable) {
        let (Some(making), Some(skeleton)) = (&mut self.making, tree.skeleton()) else {
            return;
        };
        let sources = peers.values().filter(|peer| making.is_source(peer));
        let target = making.target;
        let claims: Vec<Height> = sources.map(|peer| peer.claimed.height.min(target)).collect();
        let is_led = making.lead != Lead::Vacant;
        let Stage::Fetching(chunks) = &mut making.stage else {
            return;
        };
        if !is_led {
            return chunks.clear();
        }
        let next = skeleton.top_height().saturating_add(1);
        let chunk = self.limits.skeleton_chunk.max(1);
        chunks.plan(next, target, &claims, chunk, self.limits.window);
    }

    /// Chooses what a connection is to be asked of the skeleton.
    pub(super) fn choose(&mut self, taker: &Taker, peer: &Peer, tree: &HeaderTree) -> Option<(Job, HeaderRequest)> {
        let making = self.making.as_mut().filter(|making| making.includes(peer))?;
        let (is_source, has_chain) = (making.is_source(peer), making.has_chain_of(peer));
        match &mut making.stage {
            Stage::Proving { queue, .. } => queue.assign(taker).map(proof_request),
            Stage::Fetching(chunks) if is_source => {
                let from = chunks.lowest().unwrap_or(making.target);
                let unplanned = making.target.saturating_sub(from.saturating_add(chunks.heights()));
                let left = chunks.free_heights().saturating_add(unplanned);
                let most = taker.truncated_chunk(self.limits.skeleton_chunk, left);
                let Some((start, count)) = chunks.assign(taker, most, taker.each(true), false) else {
                    return (left == 0).then(|| self.choose_of_tail(taker, tree)).flatten();
                };
                let under = taker.highest;
                Some((
                    Job::Skeleton { start },
                    HeaderRequest::Truncated { start, count, under },
                ))
            }
            Stage::Fetching(_) => has_chain.then(|| self.choose_of_tail(taker, tree)).flatten(),
        }
    }

    /// Chooses what a connection is to be asked of those headers that every sample has, while the skeleton is not whole.
    fn choose_of_tail(&mut self, taker: &Taker, tree: &HeaderTree) -> Option<(Job, HeaderRequest)> {
        let Verification::Sampled(assurance) = self.limits.verification else {
            return None;
        };
        let making = self.making.as_mut()?;
        let skeleton = tree.skeleton()?;
        let least = Height::try_from(assurance.least_tail()).unwrap_or(Height::MAX);
        // What is there already may have been proved already.
        let above = skeleton.top_height().max(making.target.saturating_sub(least));
        let first = above.saturating_add(1);
        making.tail.reach(first, making.target, self.limits.sample_batch);
        making.tail.assign(taker).map(proof_request)
    }

    /// Gives a chunk free that a connection did not deliver.
    pub(super) fn release_chunk(&mut self, start: Height, conn: ConnId) {
        if let Some(Stage::Fetching(chunks)) = self.making.as_mut().map(|making| &mut making.stage) {
            chunks.release(start, conn);
        }
    }

    /// Gives heights free that a connection did not prove.
    pub(super) fn release_sample(&mut self, heights: &[Height], conn: ConnId) {
        let Some(making) = &mut self.making else { return };
        making.tail.release(heights, conn);
        if let Stage::Proving { queue, .. } = &mut making.stage {
            queue.release(heights, conn);
        }
    }

    /// Drops what a connection delivered and nobody has used yet, and what it was given, since it is not to be believed.
    pub(super) fn forget(&mut self, conn: ConnId) {
        if let Some(making) = &mut self.making {
            making.forget(conn);
        }
    }

    /// Gives free what a connection was given that ended without fault. What it delivered stays.
    pub(super) fn release_all(&mut self, conn: ConnId) {
        let Some(making) = &mut self.making else { return };
        making.tail.release_all(conn);
        match &mut making.stage {
            Stage::Fetching(chunks) => chunks.release_all(conn),
            Stage::Proving { queue, .. } => queue.release_all(conn),
        }
    }

    /// Says whether something that a connection delivered waits for its turn.
    pub(super) fn has_from(&self, conn: ConnId) -> bool {
        self.making.as_ref().is_some_and(|making| match &making.stage {
            Stage::Fetching(chunks) => chunks.has_from(conn) || making.tail.has_from(conn),
            Stage::Proving { .. } => false,
        })
    }

    /// Keeps a chunk until its turn.
    pub(super) fn deliver(&mut self, start: Height, conn: ConnId, count: Height, bytes: Vec<u8>) {
        if let Some(Stage::Fetching(chunks)) = self.making.as_mut().map(|making| &mut making.stage) {
            chunks.deliver(start, conn, count, bytes);
        }
    }

    /// Puts the next chunk on the skeleton, if it is there.
    pub(super) fn apply_next(
        &mut self,
        tree: &mut HeaderTree,
        peers: &PeerTable,
        wall: Timestamp,
    ) -> Option<Vec<Outcome>> {
        let skeleton = tree.skeleton()?;
        let (top, next) = (skeleton.top(), skeleton.top_height().saturating_add(1));
        let Stage::Fetching(chunks) = &mut self.making.as_mut()?.stage else {
            return None;
        };
        let (count, conn, bytes) = chunks.take(next)?;
        let outcomes = match pure_headers(next, count, &bytes) {
            Err(fault) => vec![Outcome::Report { conn, fault }],
            Ok(headers) if headers.first().is_some_and(|header| header.prev() != top) => {
                self.on_misfit(tree, peers, conn, next)
            }
            Ok(headers) => self.extend(tree, peers, conn, next, &headers, wall),
        };
        Some(outcomes)
    }

    fn extend(
        &mut self,
        tree: &mut HeaderTree,
        peers: &PeerTable,
        conn: ConnId,
        start: Height,
        headers: &[PureHeader],
        wall: Timestamp,
    ) -> Vec<Outcome> {
        let mut result = Ok(());
        let mut taken = 0;
        for (height, header) in (start..).zip(headers) {
            if let Err(error) = tree.extend_skeleton(*header, wall) {
                result = Err(ServerFault::Header { height, error });
                break;
            }
            taken += 1;
        }
        let mut outcomes = Vec::new();
        if let Some(making) = &mut self.making
            && taken > 0
        {
            let server = peers.server_of(conn);
            let last = start + taken - 1;
            making.origins.push(Origin { last, server });
            making.is_stored &= is_on_tip(tree);
            if making.is_stored {
                outcomes.push(Outcome::Store(HeaderSyncEffect::StoreForward { from: start }));
            }
        }
        // What was cut off and comes again shows nothing.
        let top = start.saturating_add(taken);
        if top > self.highest {
            self.highest = top;
            outcomes.push(Outcome::Brought { conn, headers: taken });
        }
        outcomes.extend(result.err().map(|fault| judge(conn, start, fault)));
        outcomes
    }

    /// A connection's headers don't follow those that are there.
    fn on_misfit(&mut self, tree: &mut HeaderTree, peers: &PeerTable, conn: ConnId, start: Height) -> Vec<Outcome> {
        let base = tree.skeleton().map_or(0, UnverifiedChain::base_height);
        let (Some(server), Some(making)) = (peers.server_of(conn), &mut self.making) else {
            return Vec::new();
        };
        making.forget(conn);
        if start == base.saturating_add(1) {
            // Its chain parts from ours at the base or below.
            if making.lead.is_branch() {
                return self.drop_making(tree);
            }
            return vec![Outcome::Trace { conn, end: base }];
        }
        if making.lead.server() != Some(server) {
            let phase = PeerPhase::SetAside;
            return vec![Outcome::Enter { conn, phase }];
        }
        let own = making.top_of(server, true, base);
        if own.saturating_add(1) < start && !making.lead.is_alone() {
            making.lead = Lead::Alone(server);
            return self.cut(tree, own);
        }
        if !making.lead.is_branch() {
            making.lead = Lead::Alone(server);
        }
        // It contradicts itself: it has another branch now, which should not lie deep.
        self.on_changed_chain(tree, conn, start)
    }

    /// Cuts off what may have been replaced by a reorganisation of a connection's chain, seen at a height.
    fn on_changed_chain(&mut self, tree: &mut HeaderTree, conn: ConnId, height: Height) -> Vec<Outcome> {
        let base = tree.skeleton().map_or(0, UnverifiedChain::base_height);
        let mut outcomes = self.cut(tree, height.saturating_sub(UNSETTLED).max(base));
        outcomes.push(Outcome::ChangedChain { conn });
        outcomes
    }

    /// Cuts the skeleton down to a height; what was drawn of it counts no more.
    fn cut(&mut self, tree: &mut HeaderTree, height: Height) -> Vec<Outcome> {
        tree.cut_skeleton(height);
        let Some(making) = &mut self.making else {
            return Vec::new();
        };
        making.cut(height);
        let from = height.saturating_add(1);
        let store = Outcome::Store(HeaderSyncEffect::StoreForward { from });
        making.is_stored.then_some(store).into_iter().collect()
    }

    /// Drops what a server gave of the skeleton, and what stands on it.
    fn discard_from(&mut self, tree: &mut HeaderTree, server: ServerIndex) -> Vec<Outcome> {
        let (Some(making), Some(skeleton)) = (&self.making, tree.skeleton()) else {
            return Vec::new();
        };
        let good = making.top_of(server, false, skeleton.base_height());
        if skeleton.top_height() > good {
            self.cut(tree, good)
        } else {
            Vec::new()
        }
    }

    // Transitions that follow from what there is.

    /// Begins, leads, samples and ends a skeleton: one of each at most. Where one ended, that is the last outcome, and
    /// another one may be begun once those who were set aside are judged anew.
    pub(super) fn advance(
        &mut self,
        tree: &mut HeaderTree,
        peers: &PeerTable,
        reputation: &mut SyncReputation,
        rng: &mut impl CryptoRng,
        now: Now,
    ) -> Vec<Outcome> {
        let Verification::Sampled(assurance) = self.limits.verification else {
            return Vec::new();
        };
        let mut outcomes = self.begin(tree, peers);
        outcomes.extend(self.choose_leader(tree, peers, now.steady));
        self.foresee(tree, &assurance);
        outcomes.extend(self.redraw(tree, now.steady));
        outcomes.extend(self.apply_early(tree, peers));
        outcomes.extend(self.draw(tree, peers, reputation, &assurance, rng, now.steady));
        outcomes.extend(self.write_proofs(now.steady));
        outcomes.extend(self.adopt(tree, peers));
        outcomes
    }

    /// Gives the skeleton up.
    pub(super) fn drop_making(&mut self, tree: &mut HeaderTree) -> Vec<Outcome> {
        let Some(making) = self.making.take() else {
            return Vec::new();
        };
        if let Some(leader) = making.lead.server() {
            let lost = self.lost_leads.entry(leader).or_default();
            *lost = lost.saturating_add(1);
        }
        tree.drop_skeleton();
        let from = tree.tip().height.saturating_add(1);
        let store = Outcome::Store(HeaderSyncEffect::StoreForward { from });
        let store = making.is_stored.then_some(store);
        store.into_iter().chain([Outcome::SkeletonDropped]).collect()
    }

    /// Drops a skeleton of an earlier run, or of an earlier leader, that is of no use to anybody any more.
    pub(super) fn drop_useless(&self, tree: &mut HeaderTree) {
        if self.making.is_none() && !is_on_tip(tree) {
            tree.drop_skeleton();
        }
    }
}

/// Returns the request for full headers of these heights.
fn proof_request(heights: Vec<Height>) -> (Job, HeaderRequest) {
    let request = match heights.first() {
        Some(start) if is_run(&heights) => HeaderRequest::Full {
            start: *start,
            count: Height::try_from(heights.len()).unwrap_or(Height::MAX),
        },
        _ => HeaderRequest::Scattered(heights.clone()),
    };
    (Job::Sample { heights }, request)
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Returns how many requests so many headers are, of so many each.
pub(super) fn requests(heights: Height, chunk: Height) -> usize {
    usize::try_from(heights.div_ceil(chunk.max(1))).unwrap_or(usize::MAX)
}

/// Says whether the skeleton stands on our tip.
fn is_on_tip(tree: &HeaderTree) -> bool {
    tree.skeleton().map(UnverifiedChain::base) == Some(tree.tip().hash)
}

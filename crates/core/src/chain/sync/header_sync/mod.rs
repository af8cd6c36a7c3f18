//! The machine itself: takes events to the sub-machines, and carries out what they find.

mod advance;
mod events;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::backfill::Backfill;
use super::background::BackgroundProofs;
use super::cost;
use super::follow::FollowTip;
use super::outcome::Outcome;
use super::pace::TRUNCATED;
use super::peers::{PeerPhase, PeerTable};
use super::skeleton_sync::SkeletonSync;
use super::verdict::Verdict;
use super::{
    CloseReason, HeaderSyncEffect, HeaderSyncEvent, HeaderSyncLimits, Progress, ServerFault, ServerReport, ServerState,
};
use crate::chain::tree::UnverifiedChain;
use crate::chain::{HeaderTree, Height};
use crate::isolation::ConnId;
use crate::reputation::{ServerIndex, SyncReputation};
use crate::time::Now;

/// Header sync from several servers into a [`HeaderTree`].
///
/// Feed it events, carry out its effects. It holds no headers but those that came before their turn.
#[derive(Debug)]
pub struct HeaderSync {
    limits: HeaderSyncLimits,
    peers: PeerTable,
    backfill: Backfill,
    follow: FollowTip,
    skeleton: SkeletonSync,
    background: BackgroundProofs,
    verdict: Verdict,
    rng: StdRng,
}

impl HeaderSync {
    /// Makes a machine for so many servers, to be dialed in this order. The seed must come from the operating system's
    /// generator: samples of headers are drawn with it, which servers must not foresee.
    pub fn new(servers: usize, limits: HeaderSyncLimits, seed: [u8; 32]) -> Self {
        Self {
            limits,
            peers: PeerTable::new(servers, limits),
            backfill: Backfill::new(limits),
            follow: FollowTip::new(limits),
            skeleton: SkeletonSync::new(limits),
            background: BackgroundProofs::new(limits),
            verdict: Verdict::new(limits),
            rng: StdRng::from_seed(seed),
        }
    }

    /// Advances by one event. Call it once with [`HeaderSyncEvent::Tick`] to begin.
    ///
    /// Whom to dial, and when, it decides by what header sync itself wrote down of the servers: of lookups it must not
    /// know anything, since its connections are seen by the same servers. The reputation must be that of at least as many servers
    /// as the machine was made for; those that were added to it are dialed like the others.
    pub fn on_event(
        &mut self,
        tree: &mut HeaderTree,
        reputation: &mut SyncReputation,
        now: Now,
        event: HeaderSyncEvent,
    ) -> Vec<HeaderSyncEffect> {
        self.peers.load_ways(reputation);
        let mut step = Step {
            sync: self,
            tree,
            reputation,
            now,
            effects: Vec::new(),
        };
        step.take(event);
        step.advance();
        let mut effects = step.effects;
        self.peers.store_ways(reputation);
        join_stores(&mut effects);
        effects
    }

    /// Returns how far the sync is.
    pub fn progress(&self, tree: &HeaderTree) -> Progress {
        let low = self.backfill.wanted_low(tree);
        let tip = tree.tip().height;
        let following = self.peers.values().filter(|peer| peer.phase == PeerPhase::Following);
        let claimed = following.map(|peer| peer.claimed.height).max();
        let target = claimed.unwrap_or(tip).max(tip);
        let known = tree
            .lowest()
            .map_or(0, |lowest| u64::from(tip.saturating_sub(lowest)) + 1);
        let skeleton = tree.skeleton().map_or(0, UnverifiedChain::len);
        Progress {
            done: known + skeleton.saturating_sub(self.skeleton.unproved()) as u64,
            total: u64::from(target.saturating_sub(low)) + 1,
            connections: self.peers.len(),
            rate: self.peers.rate(),
            received: self.peers.received(),
            left: self.bytes_left(tree, target, low),
        }
    }

    /// Returns how many bytes on the wire are left of the headers from a height up to another one.
    fn bytes_left(&self, tree: &HeaderTree, target: Height, low: Height) -> u64 {
        let (truncated, full) = (TRUNCATED, 2.0 * self.peers.full_size());
        let lowest = tree.lowest().unwrap_or(tree.anchor().height);
        let below = f64::from(lowest.saturating_sub(low)) * truncated;
        let missing = target.saturating_sub(tree.tip().height);
        let above = self.skeleton.bytes_left(tree, truncated, full);
        cost::whole(below + above.unwrap_or_else(|| f64::from(missing) * full))
    }

    /// Returns what is known of each server, in the order of the list.
    pub fn reports(&self) -> impl Iterator<Item = ServerReport> + '_ {
        self.peers.reports()
    }
}

/// Leaves one effect of those that write from some height upwards: each writes all that is there in the end.
fn join_stores(effects: &mut Vec<HeaderSyncEffect>) {
    let from = |effect: &HeaderSyncEffect| match effect {
        HeaderSyncEffect::StoreForward { from } => Some(*from),
        _ => None,
    };
    let Some(lowest) = effects.iter().filter_map(from).min() else {
        return;
    };
    let mut is_first = true;
    effects.retain_mut(|effect| match effect {
        HeaderSyncEffect::StoreForward { from } => {
            *from = lowest;
            std::mem::take(&mut is_first)
        }
        _ => true,
    });
}

/// What one event sees and does.
struct Step<'a> {
    sync: &'a mut HeaderSync,
    tree: &'a mut HeaderTree,
    reputation: &'a mut SyncReputation,
    now: Now,
    effects: Vec<HeaderSyncEffect>,
}

/// What sub-machines found, and how connections end.
impl Step<'_> {
    fn carry_out(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            self.carry_out_one(outcome);
        }
    }

    fn carry_out_one(&mut self, outcome: Outcome) {
        let now = self.now.steady;
        let sync = &mut *self.sync;
        match outcome {
            Outcome::Brought { headers: 0, .. } => {}
            Outcome::Brought { conn, headers } => {
                sync.verdict.on_progress(now);
                sync.peers.on_useful(self.reputation, conn, headers, now);
            }
            Outcome::Helped { conn } => {
                sync.verdict.on_progress(now);
                sync.peers.on_useful(self.reputation, conn, 0, now);
            }
            Outcome::Progressed => sync.verdict.on_progress(now),
            Outcome::Report { conn, fault } => self.report(conn, &fault),
            Outcome::Close { conn, reason } => self.close(conn, ServerState::Closed(reason)),
            Outcome::Enter { conn, phase } => sync.peers.enter(conn, phase),
            Outcome::Trace { conn, end } => {
                if !sync.peers.begin_trace(conn, end) {
                    self.close(conn, ServerState::Closed(CloseReason::LeadsNowhere));
                }
            }
            Outcome::ChangedChain { conn } => {
                if !sync.peers.on_changed_chain(conn) {
                    self.close(conn, ServerState::Closed(CloseReason::ChangesChain));
                }
            }
            Outcome::BestChanged { from } => {
                sync.verdict.on_new_tip();
                self.effects.push(HeaderSyncEffect::StoreForward { from });
            }
            Outcome::Store(effect) => self.effects.push(effect),
            Outcome::SkeletonDropped => sync.peers.retry_set_aside(),
            Outcome::SkeletonAdopted { helpers } => {
                // What was planned above the old tip is worthless.
                sync.follow.chunks.clear();
                sync.verdict.on_new_tip();
                sync.verdict.on_progress(now);
                for conn in helpers {
                    sync.peers.enter(conn, PeerPhase::Waiting);
                }
                sync.peers.retry_set_aside();
            }
        }
    }

    /// Leaves a server for good.
    fn report(&mut self, conn: ConnId, fault: &ServerFault) {
        let Some(server) = self.sync.peers.server_of(conn) else {
            return;
        };
        let connections = self.sync.peers.connections_to(server);
        if connections.is_empty() {
            let now = self.now.steady;
            let peers = &mut self.sync.peers;
            peers.on_found_guilty(self.reputation, server, fault.clone(), now);
        }
        self.distrust_ended(server);
        for conn in connections {
            self.close(conn, ServerState::Faulty(fault.clone()));
        }
    }

    /// Drops what connections of a server delivered that have ended since, and nobody has used yet.
    fn distrust_ended(&mut self, server: ServerIndex) {
        for conn in self.sync.peers.ended_of(server) {
            self.distrust(conn);
        }
    }

    fn distrust(&mut self, conn: ConnId) {
        self.sync.backfill.chunks.distrust(conn);
        self.sync.follow.chunks.distrust(conn);
        self.sync.skeleton.forget(conn);
    }

    fn close(&mut self, conn: ConnId, state: ServerState) {
        if self.sync.peers.get(conn).is_some() {
            self.effects.push(HeaderSyncEffect::Close(conn));
            self.forget(conn, state);
        }
    }

    fn forget(&mut self, conn: ConnId, state: ServerState) {
        let now = self.now.steady;
        let leaves_headers = state.leaves_headers();
        self.sync.peers.remove(self.reputation, conn, state, now);
        if leaves_headers {
            self.sync.backfill.chunks.release_all(conn);
            self.sync.follow.chunks.release_all(conn);
            self.sync.skeleton.release_all(conn);
        } else {
            self.distrust(conn);
        }
        let HeaderSync {
            peers,
            backfill,
            follow,
            skeleton,
            ..
        } = &mut *self.sync;
        peers.forget_ended(|conn| {
            backfill.chunks.has_from(conn) || follow.chunks.has_from(conn) || skeleton.has_from(conn)
        });
    }
}

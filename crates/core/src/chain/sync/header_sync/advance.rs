//! What follows from the state alone, whatever the event was.

use super::{HeaderSync, Step};
use crate::chain::sync::backfill;
use crate::chain::sync::follow::FollowTip;
use crate::chain::sync::outcome::Outcome;
use crate::chain::sync::peers::{Job, Peer, PeerPhase, PeerTable};
use crate::chain::sync::skeleton_sync::requests;
use crate::chain::sync::{
    CloseReason, HeaderRequest, HeaderSyncEffect, HeaderSyncLimits, ServerFault, ServerState, Verification,
};
use crate::chain::{HeaderTree, Height};
use crate::isolation::ConnId;
use crate::reputation::SyncEvidence;
use crate::time::{Moment, Now};

/// Seconds from one block to the next, as the difficulty is set.
const SPACING: u64 = 600;

/// Returns how many requests the age of our tip lets expect, while no server has told what there is.
fn foreseen_work(tree: &HeaderTree, peers: &PeerTable, limits: &HeaderSyncLimits, now: Now) -> usize {
    if !peers.is_empty() {
        return 0;
    }
    let missing = now.wall.seconds_since(tree.tip().time) / SPACING;
    requests(Height::try_from(missing).unwrap_or(Height::MAX), limits.full_chunk)
}

impl Step<'_> {
    /// Does all of it, in the order that [`crate::chain::sync`] gives reasons for.
    pub(super) fn advance(&mut self) {
        self.expire_requests();
        self.apply_chunks();
        self.judge_claims();
        self.make_skeleton();
        self.plan();
        self.ask();
        self.prove_in_background();
        self.leave();
        self.dial();
        self.tell();
        self.wake();
    }

    fn expire_requests(&mut self) {
        for (conn, request) in self.sync.peers.overdue(self.now.steady) {
            self.sync.peers.on_stalled(conn, request);
            self.on_refused(conn, request, CloseReason::NoAnswer, false);
        }
    }

    /// Uses chunks whose turn it is, also when nothing was delivered just now: the chunk below may have come another way.
    /// One at a time, since what one of them tells of its sender may cost others of the same server their turn.
    fn apply_chunks(&mut self) {
        let lowest = self.tree.lowest();
        while let Some(outcomes) = self.sync.backfill.apply_next(self.tree) {
            self.carry_out(outcomes);
        }
        if let Some(from) = self.tree.lowest().filter(|from| Some(*from) != lowest) {
            self.effects.push(HeaderSyncEffect::StoreBackward { from });
        }
        while let Some(outcomes) = self.sync.follow.apply_next(self.tree, self.now.wall) {
            self.carry_out(outcomes);
        }
        loop {
            let HeaderSync { skeleton, peers, .. } = &mut *self.sync;
            let Some(outcomes) = skeleton.apply_next(self.tree, peers, self.now.wall) else {
                break;
            };
            self.carry_out(outcomes);
        }
    }

    fn judge_claims(&mut self) {
        if !backfill::is_ready(self.tree) {
            return;
        }
        let skeleton = &self.sync.skeleton;
        let resumed = |peer: &Peer| skeleton.resumed_branch(peer, self.tree);
        let outcomes = FollowTip::classify(self.tree, &self.sync.peers, resumed);
        self.carry_out(outcomes);
        if self.sync.peers.any_in(PeerPhase::Settled) {
            self.sync.verdict.on_settled(self.now.steady);
        }
    }

    fn make_skeleton(&mut self) {
        if matches!(self.sync.limits.verification, Verification::Full) || !backfill::is_ready(self.tree) {
            return;
        }
        // Once more where one ended just now: who was set aside takes its place.
        for _ in 0..2 {
            let HeaderSync {
                skeleton, peers, rng, ..
            } = &mut *self.sync;
            let outcomes = skeleton.advance(self.tree, peers, self.reputation, rng, self.now);
            let last = outcomes.last();
            let has_ended = matches!(last, Some(Outcome::SkeletonDropped | Outcome::SkeletonAdopted { .. }));
            self.carry_out(outcomes);
            if has_ended {
                self.judge_claims();
            }
            if self.sync.skeleton.is_active() {
                break;
            }
        }
        self.sync.skeleton.drop_useless(self.tree);
    }

    fn plan(&mut self) {
        if self.is_synced() {
            self.sync.backfill.want_history();
        }
        let HeaderSync {
            backfill,
            follow,
            skeleton,
            peers,
            ..
        } = &mut *self.sync;
        backfill.plan(self.tree);
        follow.plan(self.tree, peers, |peer| skeleton.is_awaited_by(peer, self.tree, peers));
        skeleton.plan(self.tree, peers);
    }

    /// Asks one thing of each connection in turn, so that the first one doesn't take all.
    fn ask(&mut self) {
        let conns: Vec<ConnId> = self.sync.peers.all().map(|(conn, _)| conn).collect();
        let mut has_asked = true;
        while has_asked {
            has_asked = false;
            for conn in &conns {
                has_asked |= self.ask_one(*conn);
            }
        }
    }

    fn ask_one(&mut self, conn: ConnId) -> bool {
        if !self.sync.peers.has_room(conn) {
            return false;
        }
        let Some((job, request)) = self.choose(conn) else {
            return false;
        };
        if !self.sync.peers.fits(conn, &request) {
            self.give_back(conn, &job);
            return false;
        }
        if !self.sync.peers.affords(conn, &request, self.now.steady) {
            self.give_back(conn, &job);
            return false;
        }
        self.send(conn, job, request);
        true
    }

    fn send(&mut self, conn: ConnId, job: Job, request: HeaderRequest) {
        if let Some(id) = self.sync.peers.send(conn, job, &request, self.now.steady) {
            self.effects.push(HeaderSyncEffect::Send { conn, id, request });
        }
    }

    /// Chooses what a connection is to be asked next: what tells where its chain stands, then what others wait for.
    fn choose(&mut self, conn: ConnId) -> Option<(Job, HeaderRequest)> {
        let HeaderSync {
            backfill,
            follow,
            skeleton,
            peers,
            ..
        } = &mut *self.sync;
        let taker = peers.taker(conn, self.now.steady)?;
        let peer = peers.get(conn)?;
        if peer.phase == PeerPhase::Greeting && backfill::is_ready(self.tree) {
            return None;
        }
        if let PeerPhase::Tracing { end, span } = peer.phase {
            let anchor = self.tree.anchor().height;
            return peer.is_idle().then(|| follow.choose_trace(&taker, end, span, anchor));
        }
        if let Some(chosen) = skeleton.choose(&taker, peer, self.tree) {
            return Some(chosen);
        }
        if !skeleton.is_awaited_by(peer, self.tree, peers) {
            match peer.phase {
                PeerPhase::Branch { next, .. } => {
                    return peer.is_idle().then(|| follow.choose_branch(&taker, next));
                }
                PeerPhase::Following => {
                    if let Some(chosen) = follow.choose_forward(&taker) {
                        return Some(chosen);
                    }
                }
                _ => {}
            }
        }
        backfill.choose(&taker, self.tree)
    }

    /// Has headers proved that were taken on the strength of a sample, while there is nothing else to do.
    fn prove_in_background(&mut self) {
        if self.tree.unproved() == 0 || self.sync.skeleton.is_active() || !self.is_complete() {
            return self.sync.background.rest();
        }
        let HeaderSync {
            background, peers, rng, ..
        } = &mut *self.sync;
        if let Some((conn, job, request)) = background.choose(self.tree, peers, rng, self.now.steady) {
            self.send(conn, job, request);
        }
    }

    /// Closes connections that are in the way of better ones.
    fn leave(&mut self) {
        self.leave_stale();
        for conn in self.sync.peers.over_budget() {
            let server = self.sync.peers.get(conn).map(|peer| peer.server);
            self.close(conn, ServerState::Rested);
            if let Some(server) = server {
                self.reputation.record(self.now.steady, server, SyncEvidence::Rested);
            }
        }
        // One connection for each server is enough once nothing is left to fetch.
        if self.is_complete() {
            for conn in self.sync.peers.needless() {
                self.close(conn, ServerState::Connected);
            }
        }
    }

    /// Leaves a server whose chain is not the newest when another one can't be dialed for want of a free connection. The last
    /// ones are kept: where all tips are old, ours is as good as any, and whoever uses it sees its age.
    fn leave_stale(&mut self) {
        if !backfill::is_ready(self.tree) {
            return;
        }
        let Err(reason) = self.tree.check_fresh(self.now.wall) else {
            return;
        };
        if let Some(conn) = self.sync.peers.in_the_way(self.reputation, self.now.steady) {
            self.report(conn, &ServerFault::NotFresh(reason));
        }
    }

    fn dial(&mut self) {
        let is_complete = self.is_complete();
        let sync = &mut *self.sync;
        let forward = requests(sync.follow.chunks.heights(), sync.limits.full_chunk).max(foreseen_work(
            self.tree,
            &sync.peers,
            &sync.limits,
            self.now,
        ));
        let backward = requests(sync.backfill.chunks.heights(), sync.limits.truncated_chunk);
        let work = sync.skeleton.work() + forward + backward;
        let dialed = sync.peers.dial(self.reputation, is_complete, work, self.now.steady);
        self.effects.extend(dialed.into_iter().map(HeaderSyncEffect::Dial));
    }

    fn is_synced(&self) -> bool {
        let HeaderSync { verdict, peers, .. } = &*self.sync;
        verdict.is_synced(self.tree, peers, self.reputation, self.now)
    }

    /// Says whether there is nothing left to fetch.
    fn is_complete(&self) -> bool {
        self.tree.has_history() && self.is_synced()
    }

    fn tell(&mut self) {
        let HeaderSync { verdict, peers, .. } = &mut *self.sync;
        self.effects
            .extend(verdict.tell(self.tree, peers, self.reputation, self.now));
    }

    fn wake(&mut self) {
        let sync = &*self.sync;
        let chunks = [sync.follow.chunks.oldest_wait(), sync.backfill.chunks.oldest_wait()];
        let steals = chunks
            .into_iter()
            .flatten()
            .map(|since| since + sync.limits.steal_after);
        let times = steals
            .chain(sync.peers.wake_times(self.reputation))
            .chain(sync.skeleton.wake_times())
            .chain(sync.verdict.wake_times(&sync.peers))
            .chain(sync.background.due_at());
        let next: Option<Moment> = times.filter(|at| *at > self.now.steady).min();
        self.effects.extend(next.map(HeaderSyncEffect::WakeAt));
    }
}

//! The machine itself: takes events to the sub-machines, carries out what they find, asks, dials, and tells.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::backfill::{self, Backfill};
use super::background::BackgroundProofs;
use super::cost::Reply;
use super::follow::{Chunk, FollowTip};
use super::outcome::Outcome;
use super::peers::{InFlight, Job, Peer, PeerPhase, PeerTable};
use super::skeleton_sync::SkeletonSync;
use super::verdict::Verdict;
use super::{
    ClaimedTip, CloseReason, HeaderRequest, HeaderSyncEffect, HeaderSyncEvent, HeaderSyncLimits, LinkErrorKind,
    Progress, RequestId, ServerFault, ServerReport, ServerState, Verification,
};
use crate::chain::tree::UnverifiedChain;
use crate::chain::{HeaderTree, Height};
use crate::isolation::ConnId;
use crate::reputation::{SyncEvidence, SyncReputation};
use crate::time::{Moment, Now};

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
    /// know anything, since its connections are seen by the same servers.
    pub fn on_event(
        &mut self,
        tree: &mut HeaderTree,
        reputation: &mut SyncReputation,
        now: Now,
        event: HeaderSyncEvent,
    ) -> Vec<HeaderSyncEffect> {
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
        join_stores(&mut effects);
        effects
    }

    /// Returns how far the sync is.
    pub fn progress(&self, tree: &HeaderTree) -> Progress {
        let low = backfill::history_low(tree);
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
        }
    }

    /// Returns what is known of each server, in the order of the list.
    pub fn reports(&self) -> impl Iterator<Item = ServerReport> + '_ {
        self.peers.reports()
    }

    /// Returns the greatest height that a connected server claims and is not known to be wrong about.
    pub fn claimed_height(&self) -> Option<Height> {
        self.peers.values().map(|peer| peer.claimed.height).max()
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

/// The event itself.
impl Step<'_> {
    fn take(&mut self, event: HeaderSyncEvent) {
        match event {
            HeaderSyncEvent::Connected { server, conn, tip } => {
                let is_known = self.sync.peers.get(conn).is_some();
                if self.sync.peers.on_connected(server, conn, tip, self.now.steady) {
                    self.check_claim(conn, tip);
                } else if !is_known {
                    self.effects.push(HeaderSyncEffect::Close(conn));
                }
            }
            HeaderSyncEvent::DialFailed { server, error } => {
                let (peers, now) = (&mut self.sync.peers, self.now.steady);
                peers.on_dial_failed(self.reputation, server, error, now);
            }
            HeaderSyncEvent::TipClaimed { conn, tip } => {
                if self.sync.peers.on_tip_claimed(conn, tip, self.now.steady) {
                    self.sync.verdict.on_news();
                    self.check_claim(conn, tip);
                }
            }
            HeaderSyncEvent::Headers {
                conn,
                request,
                count,
                bytes,
            } => self.on_headers(conn, request, count, bytes, false),
            HeaderSyncEvent::Scattered { conn, request, headers } => {
                let count = Height::try_from(headers.len()).unwrap_or(Height::MAX);
                self.on_headers(conn, request, count, headers.concat(), true);
            }
            HeaderSyncEvent::WronglyCut { conn, request } => {
                self.sync.peers.on_wrongly_cut(conn);
                self.release(conn, request);
            }
            HeaderSyncEvent::Refused { conn, request, error } => {
                let is_rate_limited = error.kind() == LinkErrorKind::RateLimited;
                self.on_refused(conn, request, CloseReason::Link(error), is_rate_limited);
            }
            HeaderSyncEvent::Closed { conn, error } => {
                let state = if error.is_permanent() {
                    ServerState::Faulty(ServerFault::Link(error))
                } else {
                    ServerState::Closed(CloseReason::Link(error))
                };
                self.forget(conn, state);
            }
            HeaderSyncEvent::Tick => {}
        }
    }

    /// Reports who doesn't even know the anchor.
    fn check_claim(&mut self, conn: ConnId, tip: ClaimedTip) {
        let anchor = self.tree.anchor().height;
        if tip.height < anchor {
            let claimed = tip.height;
            self.report(conn, &ServerFault::BelowAnchor { claimed, anchor });
        }
    }

    fn on_headers(&mut self, conn: ConnId, request: RequestId, count: Height, bytes: Vec<u8>, singles: bool) {
        let reply = Reply {
            count,
            bytes: bytes.len(),
            singles,
        };
        let Some(flight) = self.sync.peers.take_reply(conn, request, reply, self.now.steady) else {
            return;
        };
        if count != flight.count {
            return self.on_wrong_count(conn, flight.count, count);
        }
        let InFlight { job, start, .. } = flight;
        let chunk = Chunk {
            conn,
            start,
            count,
            bytes: &bytes,
        };
        let sync = &mut *self.sync;
        let outcomes = match job {
            Job::Backfill { start } => return sync.backfill.chunks.deliver(start, conn, count, bytes),
            Job::Forward { start } => return sync.follow.chunks.deliver(start, conn, count, bytes),
            Job::Skeleton { start } => return sync.skeleton.deliver(start, conn, count, bytes),
            Job::Trace => vec![FollowTip::apply_trace(self.tree, chunk)],
            Job::Branch => sync.follow.apply_branch(self.tree, self.now.wall, chunk),
            Job::Sample { heights } => sync
                .skeleton
                .apply_proofs(self.tree, &sync.peers, conn, &heights, &bytes),
            Job::Background { heights } => BackgroundProofs::apply(self.tree, conn, &heights, &bytes),
        };
        self.carry_out(outcomes);
    }

    /// A server in the middle of a reorganisation has fewer headers than its last tip says, for a while: it is asked
    /// for its tip anew, over a new connection. The last of these finds it guilty.
    fn on_wrong_count(&mut self, conn: ConnId, expected: Height, got: Height) {
        if got < expected && self.sync.peers.has_dials_left(self.reputation, conn) {
            let reason = CloseReason::TooFew { expected, got };
            self.close(conn, ServerState::Closed(reason));
        } else {
            self.report(conn, &ServerFault::Count { expected, got });
        }
    }

    fn on_refused(&mut self, conn: ConnId, request: RequestId, reason: CloseReason, is_rate_limited: bool) {
        let Some(job) = self.release(conn, request) else {
            return;
        };
        // Where others wait with another chain, who gives no more of this skeleton had its chance.
        let is_of_skeleton = matches!(job, Job::Skeleton { .. } | Job::Sample { .. });
        if is_of_skeleton && self.sync.peers.any_in(PeerPhase::SetAside) {
            self.close(conn, ServerState::Closed(reason));
            let outcomes = self.sync.skeleton.drop_making(self.tree);
            return self.carry_out(outcomes);
        }
        if is_rate_limited {
            let server = self.sync.peers.get(conn).map(|peer| peer.server);
            self.close(conn, ServerState::Closed(reason));
            if let Some(server) = server {
                let now = self.now.steady;
                self.sync.peers.on_rate_limited(self.reputation, server, now);
            }
        } else if self.sync.peers.on_strike(conn) {
            self.close(conn, ServerState::Closed(reason));
        }
    }

    /// Takes a request off a connection's list and gives free what it was for.
    fn release(&mut self, conn: ConnId, request: RequestId) -> Option<Job> {
        let job = self.sync.peers.take_request(conn, request)?.job;
        self.give_back(conn, &job);
        Some(job)
    }

    /// Gives free what a connection was to be asked for.
    fn give_back(&mut self, conn: ConnId, job: &Job) {
        match job {
            Job::Backfill { start } => self.sync.backfill.chunks.release(*start, conn),
            Job::Forward { start } => self.sync.follow.chunks.release(*start, conn),
            Job::Skeleton { start } => self.sync.skeleton.release_chunk(*start, conn),
            Job::Sample { heights } => self.sync.skeleton.release_sample(heights, conn),
            Job::Trace | Job::Branch | Job::Background { .. } => {}
        }
    }
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
                sync.verdict.on_news();
                self.effects.push(HeaderSyncEffect::StoreForward { from });
            }
            Outcome::Store(effect) => self.effects.push(effect),
            Outcome::SkeletonDropped => sync.peers.retry_set_aside(),
            Outcome::SkeletonAdopted { helpers } => {
                // What was planned above the old tip is worthless.
                sync.follow.chunks.clear();
                sync.verdict.on_news();
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
        for conn in self.sync.peers.siblings(conn) {
            self.close(conn, ServerState::Faulty(fault.clone()));
        }
    }

    fn close(&mut self, conn: ConnId, state: ServerState) {
        if self.sync.peers.get(conn).is_some() {
            self.effects.push(HeaderSyncEffect::Close(conn));
            self.forget(conn, state);
        }
    }

    fn forget(&mut self, conn: ConnId, state: ServerState) {
        let now = self.now.steady;
        self.sync.peers.remove(self.reputation, conn, state, now);
        self.sync.backfill.chunks.distrust(conn);
        self.sync.follow.chunks.distrust(conn);
        self.sync.skeleton.forget(conn);
    }
}

/// What follows from the state alone, in the order that [`crate::chain::sync`] gives reasons for.
impl Step<'_> {
    fn advance(&mut self) {
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
            let outcomes = skeleton.advance(self.tree, peers, rng, self.now);
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
        let conns: Vec<ConnId> = self.sync.peers.iter().map(|(conn, _)| conn).collect();
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
        if let PeerPhase::Tracing { end, span } = peer.phase {
            let anchor = self.tree.anchor().height;
            return peer.is_idle().then(|| follow.choose_trace(&taker, end, span, anchor));
        }
        if let Some(chosen) = skeleton.choose(&taker, peer) {
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
        if self.tree.unproved() == 0 || self.sync.skeleton.is_active() || !self.is_synced() {
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
        if self.is_synced() {
            for conn in self.sync.peers.needless() {
                self.close(conn, ServerState::Connected);
            }
        }
    }

    /// Leaves a server whose tip is old when another one can't be dialed for want of a free connection. The last
    /// ones are kept: where all tips are old, ours is as good as any, and whoever uses it sees its age.
    fn leave_stale(&mut self) {
        let tip = self.tree.tip();
        if !backfill::is_done(self.tree) || !self.tree.params().is_stale(tip.time, self.now.wall) {
            return;
        }
        if let Some(conn) = self.sync.peers.in_the_way(self.reputation, self.now.steady) {
            let age = self.now.wall.seconds_since(tip.time);
            self.report(conn, &ServerFault::StaleTip { age });
        }
    }

    fn dial(&mut self) {
        let is_synced = self.is_synced();
        let sync = &mut *self.sync;
        let work = sync.skeleton.work() + sync.follow.chunks.len() + sync.backfill.chunks.len();
        let dialed = sync.peers.dial(self.reputation, is_synced, work, self.now.steady);
        self.effects.extend(dialed.into_iter().map(HeaderSyncEffect::Dial));
    }

    fn is_synced(&self) -> bool {
        let HeaderSync { verdict, peers, .. } = &*self.sync;
        verdict.is_synced(self.tree, peers, self.reputation, self.now)
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

//! When a sync is over, for the time being.
//!
//! | state | event | next state, and what is told |
//! |---|---|---|
//! | running | all headers are there, and all who matter are settled | synchronised: [`HeaderSyncEffect::Synced`] |
//! | running | nobody is connected and nobody is left to dial | exhausted: [`HeaderSyncEffect::Exhausted`] |
//! | synchronised, exhausted | the other of the two | that one, told |
//! | synchronised, exhausted | the best chain changed, or a tip is claimed | running |
//!
//! Who claims more than we know holds a sync up as long as it brings headers, and [`HeaderSyncLimits::stall_grace`]
//! more. While others may still be dialed, two servers on our tip end it at once, and one alone after
//! [`HeaderSyncLimits::second_server_grace`].

use super::peers::{AGREEING_SERVERS, PeerPhase, PeerTable};
use super::{HeaderSyncEffect, HeaderSyncLimits, backfill};
use crate::chain::HeaderTree;
use crate::time::{Moment, Now};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Synced,
    Exhausted,
}

/// Where a sync stands, and what that is judged by.
#[derive(Debug)]
pub(super) struct Verdict {
    limits: HeaderSyncLimits,
    stage: Stage,
    /// When a connection was settled for the first time.
    first_settled: Option<Moment>,
    /// When the sync was last brought on.
    last_progress: Moment,
}

impl Verdict {
    pub(super) fn new(limits: HeaderSyncLimits) -> Self {
        Self {
            limits,
            stage: Stage::Running,
            first_settled: None,
            last_progress: Moment::default(),
        }
    }

    /// Notes that the sync was brought on.
    pub(super) fn on_progress(&mut self, now: Moment) {
        self.last_progress = now;
    }

    /// Notes that a connection is settled.
    pub(super) fn on_settled(&mut self, now: Moment) {
        self.first_settled.get_or_insert(now);
    }

    /// Notes that there is something new, so that the end is to be told once more.
    pub(super) fn on_news(&mut self) {
        self.stage = Stage::Running;
    }

    /// Says whether everything that the reachable servers know is known.
    pub(super) fn is_synced(&self, tree: &HeaderTree, peers: &PeerTable, now: Now) -> bool {
        if !backfill::is_done(tree) || !peers.any_in(PeerPhase::Settled) {
            return false;
        }
        let limits = self.limits;
        let stalled = self.stalled_at(peers).is_some_and(|at| at <= now.steady);
        let waited = |since: Moment| now.steady.since(since) >= limits.second_server_grace;
        let waited = self.first_settled.is_some_and(waited);
        if peers.values().any(|peer| peer.phase != PeerPhase::Settled) && !(stalled && waited) {
            return false;
        }
        if !peers.has_more_servers(now.steady) {
            return true;
        }
        let tip = tree.tip();
        let agreeing = peers.agreeing_servers(tip.hash);
        // Where all that are connected lag behind us, or are on a branch as heavy as ours, none will ever agree.
        !tree.params().is_stale(tip.time, now.wall)
            && (agreeing >= AGREEING_SERVERS.min(limits.connections) || (waited && agreeing > 0) || (waited && stalled))
    }

    /// Tells how it ended, unless that was told already.
    pub(super) fn tell(&mut self, tree: &HeaderTree, peers: &PeerTable, now: Now) -> Option<HeaderSyncEffect> {
        let (stage, effect) = if self.is_synced(tree, peers, now) {
            (Stage::Synced, HeaderSyncEffect::Synced)
        } else if peers.is_empty() && !peers.has_more_servers(now.steady) {
            (Stage::Exhausted, HeaderSyncEffect::Exhausted)
        } else {
            return None;
        };
        let is_new = self.stage != stage;
        self.stage = stage;
        is_new.then_some(effect)
    }

    /// Returns when waiting for those who are not settled ends: counted from the last new header, or from when they
    /// last were settled, which no further claim puts off.
    fn stalled_at(&self, peers: &PeerTable) -> Option<Moment> {
        let settled = self.first_settled?;
        let unsettled = peers.values().filter(|peer| peer.phase != PeerPhase::Settled);
        let since = unsettled.map(|peer| peer.since).max().unwrap_or_default();
        Some(since.max(settled).max(self.last_progress) + self.limits.stall_grace)
    }

    /// Returns the moments at which it may end because nothing happens.
    pub(super) fn wake_times(&self, peers: &PeerTable) -> impl Iterator<Item = Moment> + use<> {
        let grace = self.first_settled.map(|since| since + self.limits.second_server_grace);
        [grace, self.stalled_at(peers)].into_iter().flatten()
    }
}

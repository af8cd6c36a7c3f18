//! When a sync is over, for the time being.
//!
//! | state | event | next state, and what is told |
//! |---|---|---|
//! | running | all headers above the anchor are there, and all who matter are settled | synchronised: [`HeaderSyncEffect::Synced`] |
//! | running | nobody is connected and nobody is left to dial | exhausted: [`HeaderSyncEffect::Exhausted`] |
//! | synchronised, exhausted | the other of the two | that one, told |
//! | synchronised, exhausted | the best chain changed, or a tip is claimed | running |
//!
//! Who claims more than we know holds a sync up as long as it brings headers, and [`HeaderSyncLimits::stall_grace`]
//! more. While others may still be dialed, two servers on our tip end it at once, and one alone after
//! [`HeaderSyncLimits::second_server_grace`]. A peer of the peer-to-peer network that has our tip and no more is as good as
//! such a server.

use super::peers::{AGREEING_SERVERS, PeerPhase, PeerTable};
use super::{HeaderSyncEffect, HeaderSyncLimits, backfill};
use crate::chain::HeaderTree;
use crate::reputation::SyncReputation;
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
    /// How many peers have our tip, and no more.
    agreeing_peers: usize,
}

impl Verdict {
    pub(super) fn new(limits: HeaderSyncLimits) -> Self {
        Self {
            limits,
            stage: Stage::Running,
            first_settled: None,
            last_progress: Moment::default(),
            agreeing_peers: 0,
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

    /// Notes how many peers have our tip, and no more.
    pub(super) fn on_agreed_by_peers(&mut self, peers: usize, now: Moment) {
        if peers > 0 {
            self.on_settled(now);
        }
        self.agreeing_peers = peers;
    }

    /// Notes that the best chain has another tip: nobody said so far to have that one.
    pub(super) fn on_new_tip(&mut self) {
        self.agreeing_peers = 0;
        self.on_news();
    }

    /// Notes that there is something new, so that the end is to be told once more.
    pub(super) fn on_news(&mut self) {
        self.stage = Stage::Running;
    }

    /// Says whether everything that the reachable servers know is known.
    pub(super) fn is_synced(
        &self,
        tree: &HeaderTree,
        peers: &PeerTable,
        reputation: &SyncReputation,
        now: Now,
    ) -> bool {
        if !backfill::is_ready(tree) || !(peers.any_in(PeerPhase::Settled) || self.agreeing_peers > 0) {
            return false;
        }
        let limits = self.limits;
        let stalled = self.stalled_at(peers).is_some_and(|at| at <= now.steady);
        let waited = |since: Moment| now.steady.since(since) >= limits.second_server_grace;
        let waited = self.first_settled.is_some_and(waited);
        if peers.values().any(|peer| peer.phase != PeerPhase::Settled) && !(stalled && waited) {
            return false;
        }
        if !peers.has_more_servers(reputation, now.steady) {
            return true;
        }
        let tip = tree.tip();
        let agreeing = peers.agreeing_servers(tip.hash).saturating_add(self.agreeing_peers);
        // Where all that are connected lag behind us, or are on a branch as heavy as ours, none will ever agree.
        tree.check_fresh(now.wall).is_ok()
            && (agreeing >= AGREEING_SERVERS.min(limits.connections) || (waited && agreeing > 0) || (waited && stalled))
    }

    /// Tells how it ended, unless that was told already.
    pub(super) fn tell(
        &mut self,
        tree: &HeaderTree,
        peers: &PeerTable,
        reputation: &SyncReputation,
        now: Now,
    ) -> Option<HeaderSyncEffect> {
        let (stage, effect) = if self.is_synced(tree, peers, reputation, now) {
            (Stage::Synced, HeaderSyncEffect::Synced)
        } else if peers.is_empty() && !peers.has_more_servers(reputation, now.steady) {
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

#[cfg(test)]
mod tests {
    use super::super::ClaimedTip;
    use super::super::tests::chains::Chain;
    use super::super::tests::world::LIMITS;
    use super::*;
    use crate::chain::Network;
    use crate::isolation::ConnId;
    use crate::reputation::ServerIndex;
    use crate::time::Timestamp;

    /// Servers of which some are connected, around a tree that knows all of a chain.
    struct Scene {
        tree: HeaderTree,
        peers: PeerTable,
        reputation: SyncReputation,
        verdict: Verdict,
    }

    fn scene(servers: usize) -> (Scene, Chain) {
        let chain = Chain::mined(10);
        let mut tree = HeaderTree::new(Network::Regtest.params(), chain.anchor(0));
        for height in 1..=10 {
            tree.restore(chain.pure(height), true).unwrap();
        }
        let scene = Scene {
            tree,
            peers: PeerTable::new(servers, LIMITS),
            reputation: SyncReputation::new(servers),
            verdict: Verdict::new(LIMITS),
        };
        (scene, chain)
    }

    impl Scene {
        fn connect(&mut self, server: usize, tip: ClaimedTip, phase: PeerPhase, seconds: u64) {
            let (conn, now) = (ConnId(server as u64), Moment(seconds * 1000));
            self.peers.on_connected(ServerIndex(server), conn, tip, now);
            self.peers.enter(conn, phase);
            if phase == PeerPhase::Settled {
                self.verdict.on_settled(now);
            }
        }

        fn tell(&mut self, seconds: u64) -> Option<HeaderSyncEffect> {
            let now = Now {
                wall: Timestamp(4_000_000_000),
                steady: Moment(seconds * 1000),
            };
            self.verdict.tell(&self.tree, &self.peers, &self.reputation, now)
        }

        fn wakes_at(&self, seconds: u64) -> bool {
            let mut times = self.verdict.wake_times(&self.peers);
            times.any(|at| at == Moment(seconds * 1000))
        }
    }

    #[test]
    fn two_servers_on_our_tip_end_a_sync_at_once_and_one_after_a_while() {
        let (mut scene, chain) = scene(3);
        scene.connect(0, chain.tip(), PeerPhase::Settled, 1);
        assert_eq!(scene.tell(1), None);
        assert!(scene.wakes_at(6));
        assert_eq!(scene.tell(5), None);
        scene.connect(1, chain.tip(), PeerPhase::Settled, 5);
        assert_eq!(scene.tell(5), Some(HeaderSyncEffect::Synced));
        assert_eq!(scene.tell(6), None, "it is told once");
        scene.verdict.on_news();
        assert_eq!(scene.tell(6), Some(HeaderSyncEffect::Synced));
        let (mut scene, chain) = self::scene(3);
        scene.connect(0, chain.tip(), PeerPhase::Settled, 1);
        assert_eq!(scene.tell(6), Some(HeaderSyncEffect::Synced));
    }

    #[test]
    fn who_claims_more_is_waited_for_as_long_as_it_brings_headers_and_a_while_longer() {
        let (mut scene, chain) = scene(2);
        scene.connect(0, chain.tip(), PeerPhase::Settled, 1);
        scene.connect(1, chain.grown(3, 1).tip(), PeerPhase::Following, 2);
        assert!(scene.wakes_at(22), "from when it was connected");
        assert_eq!(scene.tell(21), None);
        scene.verdict.on_progress(Moment(21_000));
        assert_eq!(scene.tell(40), None);
        assert!(scene.wakes_at(41));
        assert_eq!(scene.tell(41), Some(HeaderSyncEffect::Synced));
    }

    #[test]
    fn peers_on_our_tip_are_as_good_as_servers() {
        let (mut scene, chain) = scene(3);
        scene.verdict.on_agreed_by_peers(1, Moment(1000));
        assert_eq!(scene.tell(1), None);
        assert!(scene.wakes_at(6), "one alone is waited for as a server is");
        scene.verdict.on_agreed_by_peers(2, Moment(2000));
        assert_eq!(scene.tell(2), Some(HeaderSyncEffect::Synced));
        // With a server beside it.
        let (mut scene, _) = self::scene(3);
        scene.verdict.on_agreed_by_peers(1, Moment(1000));
        scene.connect(0, chain.tip(), PeerPhase::Settled, 1);
        assert_eq!(scene.tell(1), Some(HeaderSyncEffect::Synced));
        // The tip is another one, or they left.
        let (mut scene, _) = self::scene(3);
        scene.verdict.on_agreed_by_peers(2, Moment(1000));
        scene.verdict.on_new_tip();
        assert_eq!(scene.tell(9), None);
        let (mut scene, _) = self::scene(3);
        scene.verdict.on_agreed_by_peers(2, Moment(1000));
        scene.verdict.on_agreed_by_peers(0, Moment(2000));
        assert_eq!(scene.tell(9), None);
        // Without any server at all.
        let (mut scene, _) = self::scene(0);
        scene.verdict.on_agreed_by_peers(1, Moment(1000));
        assert_eq!(scene.tell(1), Some(HeaderSyncEffect::Synced));
    }

    #[test]
    fn with_nobody_left_to_dial_whoever_is_settled_is_enough() {
        let (mut scene, chain) = scene(1);
        scene.connect(0, chain.cut(4).tip(), PeerPhase::Settled, 1);
        assert_eq!(scene.tell(1), Some(HeaderSyncEffect::Synced));
    }

    #[test]
    fn nobody_connected_and_nobody_to_dial_is_the_end_too() {
        let (mut scene, _) = scene(1);
        assert_eq!(scene.tell(1), None, "one may be dialed");
        let (mut scene, _) = self::scene(0);
        assert_eq!(scene.tell(1), Some(HeaderSyncEffect::Exhausted));
        assert_eq!(scene.tell(2), None);
    }
}

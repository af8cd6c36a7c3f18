//! Who may be dialed, and when.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;
use rand::seq::IteratorRandom;

use super::{KnownPeer, PeerIndex, PeerKind};
use crate::backoff::{Backoff, shortened};
use crate::isolation::ConnId;
use crate::time::Moment;

/// The pauses between two connections to one peer.
const PAUSES: Backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(6 * 3600));

/// How long a peer is left that can't be of use, such as one that keeps no blocks.
const USELESS: Duration = Duration::from_secs(24 * 3600);

/// Most peers that are known. More are left out.
const MAX_KNOWN: usize = 2_000;

#[derive(Debug)]
struct Candidate {
    known: KnownPeer,
    /// Dials and connections in a row that came to nothing.
    failures: u32,
    not_before: Moment,
    /// Whether there is a connection, or one is being opened.
    is_busy: bool,
    is_banned: bool,
    /// Whether it gives blocks that are older than a day or two.
    serves_old_blocks: bool,
}

/// All peers that are known.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    all: Vec<Candidate>,
}

impl Candidates {
    pub(super) fn add(&mut self, peers: Vec<KnownPeer>) {
        let room = MAX_KNOWN.saturating_sub(self.all.len());
        let candidates = peers.into_iter().take(room).map(|known| Candidate {
            known,
            failures: 0,
            not_before: Moment::default(),
            is_busy: false,
            is_banned: false,
            serves_old_blocks: true,
        });
        self.all.extend(candidates);
    }

    fn get(&mut self, peer: PeerIndex) -> Option<&mut Candidate> {
        self.all.get_mut(peer.0)
    }

    /// Takes down that a connection is open; says whether one was to be.
    pub(super) fn on_connected(&mut self, peer: PeerIndex, _: ConnId) -> bool {
        self.get(peer).is_some_and(|it| it.is_busy && !it.is_banned)
    }

    /// Takes down that a peer greeted. That alone does not end its pauses: it may close each connection after that.
    pub(super) fn on_greeted(&mut self, peer: PeerIndex) {
        if let Some(it) = self.get(peer) {
            it.failures = it.failures.min(1);
        }
    }

    /// Takes down that a peer gave what it was asked for.
    pub(super) fn on_useful(&mut self, peer: PeerIndex) {
        if let Some(it) = self.get(peer) {
            it.failures = 0;
        }
    }

    /// Takes down that a dial failed, or that a connection had to be ended.
    pub(super) fn on_failed(&mut self, peer: PeerIndex, now: Moment, rng: &mut impl Rng) {
        if let Some(it) = self.get(peer) {
            it.is_busy = false;
            it.not_before = now + PAUSES.random_pause(it.failures, rng);
            it.failures = it.failures.saturating_add(1);
        }
    }

    /// Takes down that a connection ended.
    pub(super) fn on_closed(&mut self, peer: PeerIndex, now: Moment, rng: &mut impl Rng) {
        if self.get(peer).is_some_and(|it| it.is_busy) {
            self.on_failed(peer, now, rng);
        }
    }

    /// Leaves a peer for long that can't be of use.
    pub(super) fn leave(&mut self, peer: PeerIndex, now: Moment, rng: &mut impl Rng) {
        if let Some(it) = self.get(peer) {
            it.is_busy = false;
            it.not_before = now + shortened(USELESS, rng);
        }
    }

    /// Leaves a peer for good.
    pub(super) fn ban(&mut self, peer: PeerIndex) {
        if let Some(it) = self.get(peer) {
            it.is_banned = true;
        }
    }

    /// Takes down that a peer gives no old blocks.
    pub(super) fn on_no_old_blocks(&mut self, peer: PeerIndex) {
        if let Some(it) = self.get(peer) {
            it.serves_old_blocks = false;
        }
    }

    pub(super) fn serves_old_blocks(&self, peer: PeerIndex) -> bool {
        self.all.get(peer.0).is_some_and(|it| it.serves_old_blocks)
    }

    /// Chooses whom to dial for there to be so many connections, of which so many may go to learned peers where others are
    /// known; none of two that may be the same person's.
    pub(super) fn choose(
        &mut self,
        connections: usize,
        learned: usize,
        now: Moment,
        rng: &mut impl Rng,
    ) -> Vec<PeerIndex> {
        let mut chosen = Vec::new();
        let are_all_learned = self.all.iter().all(|it| it.known.kind == PeerKind::Learned);
        loop {
            let busy = self.all.iter().filter(|it| it.is_busy);
            if busy.clone().count() >= connections {
                return chosen;
            }
            let groups: BTreeSet<u64> = busy.clone().filter_map(|it| it.known.group).collect();
            let is_full = busy.filter(|it| it.known.kind == PeerKind::Learned).count() >= learned && !are_all_learned;
            let may_be_dialed = |it: &Candidate| {
                let is_apart =
                    it.known.kind == PeerKind::Named || it.known.group.is_none_or(|it| !groups.contains(&it));
                let has_room = it.known.kind != PeerKind::Learned || !is_full;
                !it.is_busy && !it.is_banned && it.not_before <= now && is_apart && has_room
            };
            let free = self.all.iter().enumerate().filter(|(_, it)| may_be_dialed(it));
            let Some(best) = free.clone().map(|(_, it)| it.known.kind).min() else {
                return chosen;
            };
            let of_kind = free.filter(|(_, it)| it.known.kind == best).map(|(at, _)| at);
            let Some(at) = of_kind.choose(rng) else {
                return chosen;
            };
            if let Some(it) = self.all.get_mut(at) {
                it.is_busy = true;
            }
            chosen.push(PeerIndex(at));
        }
    }

    /// Returns when somebody may be dialed who may not be now, where somebody is to be.
    pub(super) fn wake_at(&self, connections: usize) -> Option<Moment> {
        if self.all.iter().filter(|it| it.is_busy).count() >= connections {
            return None;
        }
        let waiting = self.all.iter().filter(|it| !it.is_busy && !it.is_banned);
        waiting.map(|it| it.not_before).min()
    }
}

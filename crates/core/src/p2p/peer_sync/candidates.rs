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

/// The pauses before a peer is asked for old blocks again that gave none, as often as it was asked.
const OLD_PAUSES: Backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(6 * 3600));

/// How often in a row a peer may end before its first old block until that counts: circuits die as well.
const OLD_STRIKES: u32 = 2;

/// How long a peer is left that gives no old blocks, where somebody else may.
const MADE_ROOM: Duration = Duration::from_secs(3600);

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
    /// Connections in a row that ended at the first old block that was asked for.
    withheld: u32,
    /// Until when it is asked for none.
    no_old_until: Moment,
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
            withheld: 0,
            no_old_until: Moment::default(),
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

    /// Takes down that a peer gave headers. That alone does not end its pauses: it may close each connection after that.
    pub(super) fn on_headers(&mut self, peer: PeerIndex) {
        if let Some(it) = self.get(peer) {
            it.failures = it.failures.min(1);
        }
    }

    /// Takes down that a peer gave a block that it was asked for.
    pub(super) fn on_block(&mut self, peer: PeerIndex, is_old: bool) {
        if let Some(it) = self.get(peer) {
            it.failures = 0;
            if is_old {
                it.withheld = 0;
            }
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

    /// Takes down that a connection ended before the first old block that was asked for.
    pub(super) fn on_withheld(&mut self, peer: PeerIndex, now: Moment) {
        if let Some(it) = self.get(peer) {
            it.withheld = it.withheld.saturating_add(1);
            if let Some(pauses) = it.withheld.checked_sub(OLD_STRIKES) {
                it.no_old_until = now + OLD_PAUSES.pause(pauses);
            }
        }
    }

    pub(super) fn serves_old_blocks(&self, peer: PeerIndex, now: Moment) -> bool {
        self.all.get(peer.0).is_some_and(|it| it.no_old_until <= now)
    }

    /// Says whether a connected peer may make room for another one, as no connection is free and others may be dialed.
    pub(super) fn may_make_room(&self, peer: PeerIndex, connections: usize, now: Moment) -> bool {
        let is_named = |it: &Candidate| it.known.kind == PeerKind::Named;
        let may_be_dialed = |it: &Candidate| {
            !it.is_busy && !it.is_banned && it.not_before <= now && it.no_old_until <= now && !self.is_kept_out(it)
        };
        self.all.get(peer.0).is_some_and(|it| !is_named(it))
            && self.all.iter().filter(|it| it.is_busy).count() >= connections
            && self.all.iter().any(may_be_dialed)
    }

    /// Says whether a peer shares a group with one that is connected.
    fn is_kept_out(&self, candidate: &Candidate) -> bool {
        let shares = |it: &Candidate| it.is_busy && it.known.group == candidate.known.group;
        candidate.known.kind != PeerKind::Named && candidate.known.group.is_some() && self.all.iter().any(shares)
    }

    /// Leaves a peer for a while that made room.
    pub(super) fn on_made_room(&mut self, peer: PeerIndex, now: Moment, rng: &mut impl Rng) {
        if let Some(it) = self.get(peer) {
            it.not_before = now + shortened(MADE_ROOM, rng);
        }
    }

    /// Chooses whom to dial for there to be so many connections, of which so many may go to learned peers where others are
    /// known, and not all of these to peers that one and the same told of; none of two that may be the same person's.
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
            let of_learned = busy.filter(|it| it.known.kind == PeerKind::Learned);
            let is_full = of_learned.clone().count() >= learned && !are_all_learned;
            let is_one_short = |teller: Option<PeerIndex>| {
                let of_teller = of_learned.clone().filter(|it| it.known.told_by == teller);
                of_teller.count() + 1 >= learned.max(2)
            };
            let may_be_dialed = |it: &Candidate| {
                let is_apart =
                    it.known.kind == PeerKind::Named || it.known.group.is_none_or(|it| !groups.contains(&it));
                let has_room = it.known.kind != PeerKind::Learned || !(is_full || is_one_short(it.known.told_by));
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
    pub(super) fn wake_at(&self, connections: usize, now: Moment) -> Option<Moment> {
        if self.all.iter().filter(|it| it.is_busy).count() >= connections {
            return None;
        }
        let waiting = self.all.iter().filter(|it| !it.is_busy && !it.is_banned);
        waiting.map(|it| it.not_before).filter(|at| *at > now).min()
    }
}

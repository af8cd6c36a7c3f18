//! The blocks that are wanted: of whom each was asked, and those that came before their turn.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bitcoin::BlockHash;

use super::PeerSyncSettings;
use super::peers::Peer;
use crate::chain::{Block, HeaderTree, Height};
use crate::isolation::ConnId;
use crate::p2p::peer_sync::PeerIndex;
use crate::time::Moment;

/// Blocks that every peer keeps. Source: BIP 159, `NODE_NETWORK_LIMITED`.
pub(super) const LIMITED_DEPTH: Height = 288;

/// Blocks that a peer is asked for at first, before it is known what it brings.
const FIRST_FLIGHT: usize = 8;

/// Fewest blocks that a peer is asked for at a time: the next one is on its way while one comes.
const MIN_FLIGHT: usize = 2;

/// Most blocks that a peer is asked for at a time; a good part of a minute's worth on a fast line.
const MAX_FLIGHT: usize = 512;

/// Most blocks that are asked for, or wait, ahead of the next one.
const MAX_AHEAD: Height = 4_096;

/// Bytes that a block is taken for before one is known: what mainnet's have.
const FIRST_SIZE: f64 = 7_000.0;

/// How long a rate is taken over.
const RATE_OVER: Duration = Duration::from_secs(10);

/// A block that was asked for.
#[derive(Debug)]
struct Request {
    hash: BlockHash,
    /// Of whom, and when.
    owners: Vec<(ConnId, Moment)>,
}

/// A block that waits for its turn.
#[derive(Debug)]
struct Waiting {
    block: Block,
    size: usize,
}

/// The queue.
#[derive(Debug)]
pub(super) struct BlockQueue {
    settings: PeerSyncSettings,
    /// The next one to be handed on.
    next: Option<Height>,
    /// Blocks that were handed on and not read, with their sizes.
    unread: VecDeque<(Height, usize)>,
    unread_bytes: usize,
    /// The tip for which all requests and blocks are of the best chain.
    tip: Option<BlockHash>,
    requests: BTreeMap<Height, Request>,
    waiting: BTreeMap<Height, Waiting>,
    waiting_bytes: usize,
    average: f64,
    is_measured: bool,
    received: u64,
    rate: f64,
    rated: (Moment, u64),
    /// Bytes that may be asked for still, where there is a limit, and since when that holds.
    allowance: (f64, Moment),
}

impl BlockQueue {
    pub(super) fn new(settings: PeerSyncSettings) -> Self {
        Self {
            settings,
            next: None,
            unread: VecDeque::new(),
            unread_bytes: 0,
            tip: None,
            requests: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            average: FIRST_SIZE,
            is_measured: false,
            received: 0,
            rate: 0.0,
            rated: (Moment::default(), 0),
            allowance: (0.0, Moment::default()),
        }
    }

    pub(super) fn next(&self) -> Option<Height> {
        self.next
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn rate(&self) -> u64 {
        whole(self.rate)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting_bytes
    }

    pub(super) fn average_size(&self) -> u64 {
        whole(self.average)
    }

    /// Begins anew at a height. What was asked for may come still, and is taken if it fits.
    pub(super) fn begin(&mut self, next: Option<Height>) {
        self.next = next;
        self.unread.clear();
        self.unread_bytes = 0;
        self.waiting.clear();
        self.waiting_bytes = 0;
        let is_wanted = |height: Height| next.is_some_and(|next| height >= next);
        self.requests.retain(|height, _| is_wanted(*height));
    }

    pub(super) fn on_read(&mut self, next: Height) {
        while let Some((_, size)) = self.unread.front().copied().filter(|(height, _)| *height < next) {
            self.unread.pop_front();
            self.unread_bytes = self.unread_bytes.saturating_sub(size);
        }
    }

    pub(super) fn on_received(&mut self, bytes: u64, now: Moment) {
        self.received = self.received.saturating_add(bytes);
        self.update_rate(now);
    }

    fn update_rate(&mut self, now: Moment) {
        let (since, before) = self.rated;
        let taken = now.since(since);
        if taken >= Duration::from_secs(1) {
            let bytes = super::peers::to_float(self.received.saturating_sub(before));
            let current = bytes / taken.as_secs_f64();
            let weight = (taken.as_secs_f64() / RATE_OVER.as_secs_f64()).min(1.0);
            self.rate = self.rate.mul_add(1.0 - weight, current * weight);
            self.rated = (now, self.received);
        }
    }

    /// Returns the height of a block of the best chain that is wanted still.
    pub(super) fn wants(&self, tree: &HeaderTree, hash: BlockHash) -> Option<Height> {
        let height = tree
            .height_of(&hash)
            .filter(|height| tree.hash_at(*height) == Some(hash))?;
        let next = self.next?;
        let is_ahead = height >= next && height <= next.saturating_add(MAX_AHEAD);
        (is_ahead && !self.waiting.contains_key(&height)).then_some(height)
    }

    /// Takes a block that is wanted, where there is room for it; there always is for the next one.
    pub(super) fn deliver(&mut self, height: Height, block: Block, size: usize) {
        let bytes = float(size);
        self.average = if self.is_measured {
            self.average.mul_add(0.98, bytes * 0.02)
        } else {
            bytes
        };
        self.is_measured = true;
        self.requests.remove(&height);
        let needed = self.waiting_bytes.saturating_add(size);
        // Blocks may be larger than those before them. What is dropped is asked for again.
        if self.next == Some(height) || needed <= self.settings.buffer {
            self.waiting_bytes = needed;
            self.waiting.insert(height, Waiting { block, size });
        }
    }

    /// Takes a peer off the list of those that are to bring a block.
    pub(super) fn on_not_found(&mut self, conn: ConnId, height: Height) {
        if let Some(request) = self.requests.get_mut(&height) {
            request.owners.retain(|(owner, _)| *owner != conn);
            if request.owners.is_empty() {
                self.requests.remove(&height);
            }
        }
    }

    /// Gives free what a connection was asked for.
    pub(super) fn release(&mut self, conn: ConnId) {
        self.requests.retain(|_, request| {
            request.owners.retain(|(owner, _)| *owner != conn);
            !request.owners.is_empty()
        });
    }

    /// Says whether the next block is one that not every peer keeps.
    pub(super) fn next_is_old(&self, tip: Height) -> bool {
        self.next.is_some_and(|next| next.saturating_add(LIMITED_DEPTH) <= tip)
    }

    /// Returns the next block, if it is there, is that of the best chain, and those before it were read.
    pub(super) fn next_block(&mut self, tree: &HeaderTree) -> Option<(Height, Block, usize)> {
        let next = self.next?;
        let waiting = self.waiting.get(&next)?;
        let needed = self.unread_bytes.saturating_add(waiting.size);
        let is_full = self.unread.len() >= self.settings.unread || needed > self.settings.buffer / 2;
        let is_of_chain = tree.hash_at(next) == Some(waiting.block.hash());
        if !is_of_chain || (is_full && !self.unread.is_empty()) {
            return None;
        }
        let Waiting { block, size } = self.waiting.remove(&next)?;
        self.waiting_bytes = self.waiting_bytes.saturating_sub(size);
        self.unread_bytes = needed;
        self.unread.push_back((next, size));
        self.next = next.checked_add(1);
        Some((next, block, size))
    }

    /// Decides which blocks to ask of whom.
    pub(super) fn plan(
        &mut self,
        tree: &HeaderTree,
        peers: &mut BTreeMap<ConnId, Peer>,
        serves_old: impl Fn(PeerIndex) -> bool,
        now: Moment,
    ) -> Vec<(ConnId, Vec<BlockHash>)> {
        self.update_rate(now);
        let tip = tree.tip().height;
        if self.tip.replace(tree.tip().hash) != Some(tree.tip().hash) {
            self.drop_replaced(tree);
        }
        for (conn, peer) in peers.iter_mut() {
            peer.compare(tree);
            if peer.drips(now) {
                self.release(*conn);
            }
        }
        let mut asked: BTreeMap<ConnId, Vec<BlockHash>> = BTreeMap::new();
        if let Some(next) = self.next {
            self.refill(now);
            self.plan_missing(tree, peers, &serves_old, next, tip, now, &mut asked);
            self.hedge(peers, &serves_old, tip, now, &mut asked);
        }
        for (conn, peer) in peers {
            if let Some(hashes) = asked.get_mut(conn) {
                peer.on_asked(hashes, now);
            }
            peer.measure(now);
        }
        asked.into_iter().filter(|(_, hashes)| !hashes.is_empty()).collect()
    }

    /// Drops what is of no chain of ours any more.
    fn drop_replaced(&mut self, tree: &HeaderTree) {
        let is_ours = |height: &Height, hash: BlockHash| tree.hash_at(*height) == Some(hash);
        self.requests.retain(|height, request| is_ours(height, request.hash));
        let mut dropped = 0;
        self.waiting.retain(|height, waiting| {
            let stays = is_ours(height, waiting.block.hash());
            dropped += if stays { 0 } else { waiting.size };
            stays
        });
        self.waiting_bytes = self.waiting_bytes.saturating_sub(dropped);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "it is one step of a plan, which it sees the whole of"
    )]
    fn plan_missing(
        &mut self,
        tree: &HeaderTree,
        peers: &BTreeMap<ConnId, Peer>,
        serves_old: &impl Fn(PeerIndex) -> bool,
        next: Height,
        tip: Height,
        now: Moment,
        asked: &mut BTreeMap<ConnId, Vec<BlockHash>>,
    ) {
        // Half a flight at least together: few large requests, and no plan is made for each block that comes.
        let room = |(conn, peer): (&ConnId, &Peer)| {
            let (flight, flying) = (self.flight_of(peer), peer.flying());
            let free = flight.saturating_sub(flying);
            (free * 2 >= flight && peer.is_ready()).then_some((*conn, free))
        };
        // Who brought next to nothing is better than nobody.
        let are_all_spared = peers.values().filter(|it| it.is_ready()).all(|it| it.is_spared(now));
        let may_bring = |(_, peer): &(&ConnId, &Peer)| are_all_spared || !peer.is_spared(now);
        let mut room: BTreeMap<ConnId, usize> = peers.iter().filter(may_bring).filter_map(room).collect();
        if room.is_empty() {
            return;
        }
        let mut planned = float(self.waiting_bytes) + float(self.requests.len()) * self.average;
        for height in next..=tip.min(next.saturating_add(MAX_AHEAD)) {
            if self.waiting.contains_key(&height) || self.requests.contains_key(&height) {
                continue;
            }
            // The next one is always asked for, or nothing would ever get on.
            let fits = planned + self.average <= float(self.settings.buffer);
            if !(fits || height == next) || !self.may_ask() {
                return;
            }
            let Some(hash) = tree.hash_at(height) else { return };
            let has = |conn: &ConnId| {
                peers
                    .get(conn)
                    .is_some_and(|it| it.has_block(height, tip, serves_old(it.index)))
            };
            // Whoever has most room: slices are split by pace.
            let free = room.iter().filter(|(conn, room)| **room > 0 && has(conn));
            let Some((conn, _)) = free.max_by_key(|(_, room)| **room) else {
                // One that some could give may be further up.
                if room.values().all(|room| *room == 0) {
                    return;
                }
                continue;
            };
            let conn = *conn;
            if let Some(room) = room.get_mut(&conn) {
                *room = room.saturating_sub(1);
            }
            planned += self.average;
            self.allowance.0 -= self.average;
            let owners = vec![(conn, now)];
            self.requests.insert(height, Request { hash, owners });
            asked.entry(conn).or_default().push(hash);
        }
    }

    /// Asks a second peer for the next block where its own is slow with it.
    fn hedge(
        &mut self,
        peers: &BTreeMap<ConnId, Peer>,
        serves_old: &impl Fn(PeerIndex) -> bool,
        tip: Height,
        now: Moment,
        asked: &mut BTreeMap<ConnId, Vec<BlockHash>>,
    ) {
        let hedge_after = self.settings.hedge_after;
        let Some((height, request)) = self.requests.iter_mut().next() else {
            return;
        };
        let [(owner, since)] = request.owners[..] else { return };
        if now.since(since) < hedge_after {
            return;
        }
        let has = |(conn, peer): &(&ConnId, &Peer)| {
            **conn != owner && !peer.is_spared(now) && peer.has_block(*height, tip, serves_old(peer.index))
        };
        let others = peers.iter().filter(has);
        let idlest = others.min_by_key(|(_, peer)| peer.flying());
        if let Some((conn, _)) = idlest {
            request.owners.push((*conn, now));
            asked.entry(*conn).or_default().push(request.hash);
        }
    }

    /// Returns how many blocks a peer may be asked for at a time.
    fn flight_of(&self, peer: &Peer) -> usize {
        let brings = peer
            .brings_in(self.settings.ahead)
            .map(|bytes| bytes / self.average.max(1.0));
        brings.map_or(FIRST_FLIGHT, |blocks| {
            let blocks = usize::try_from(whole(blocks)).unwrap_or(MAX_FLIGHT);
            blocks.clamp(MIN_FLIGHT, MAX_FLIGHT)
        })
    }

    fn refill(&mut self, now: Moment) {
        let (left, since) = self.allowance;
        let rate = self.settings.rate.map_or(0.0, super::peers::to_float);
        // No more than some seconds' worth comes together.
        let most = (rate * 4.0).max(self.average);
        let refilled = rate.mul_add(now.since(since).as_secs_f64(), left).min(most);
        self.allowance = (refilled, now);
    }

    /// Says whether the limit lets another block be asked for.
    fn may_ask(&self) -> bool {
        self.settings.rate.is_none() || self.allowance.0 > 0.0
    }

    /// Returns when something is to be done of it.
    pub(super) fn wake_at(&self, now: Moment) -> impl Iterator<Item = Moment> + use<> {
        let first = self
            .requests
            .values()
            .next()
            .filter(|request| request.owners.len() == 1);
        let hedge = first.and_then(|request| Some(request.owners.first()?.1 + self.settings.hedge_after));
        let limited = (self.next.is_some() && !self.may_ask()).then(|| now + Duration::from_secs(1));
        [hedge, limited].into_iter().flatten()
    }
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is within the bounds of the type, and no number becomes 0"
)]
fn whole(number: f64) -> u64 {
    number.clamp(0.0, 1e15) as u64
}

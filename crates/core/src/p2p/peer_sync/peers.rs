//! A connection to a peer: what it said of itself, what it showed, and for how long nothing came.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::Address;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::p2p::message_network::VersionMessage;
use rand::Rng;

use super::blocks::LIMITED_DEPTH;
use super::{PeerIndex, PeerSyncSettings};
use crate::chain::{HeaderTree, Height};
use crate::p2p::codec::MAX_PAYLOAD;
use crate::p2p::message::MAX_LOCATOR;
use crate::time::{Moment, Now};

/// The protocol's version that we speak: that of `addrv2`.
///
/// Source: Namecoin Core `node/protocol_version.h`, `PROTOCOL_VERSION`.
const PROTOCOL: u32 = 70_016;

/// The oldest one that a peer may speak: it gives witnesses, and tells of new blocks by headers.
const OLDEST_PROTOCOL: u32 = 70_013;

/// What we call ourselves: always the same, so that all who use this look alike. It is no other program's name, since what is
/// asked, and in which order, tells such a lie at once.
const USER_AGENT: &str = "/isonym/";

/// Headers in a row that don't link after which a peer is left.
const MAX_UNLINKED: u32 = 5;

/// Blocks in a row that a peer says it has not after which it is asked for no more.
const MAX_NOT_FOUND: u32 = 16;

/// How often headers are asked for again where a peer does not show our tip.
const ASK_AGAIN: Duration = Duration::from_secs(120);

/// How long an answer to that may take, where nothing else comes.
const HEADERS_PATIENCE: Duration = Duration::from_secs(90);

/// Headers at most by which a new block is told. More that don't link are an answer, and the question would bring them again.
///
/// Source: Namecoin Core `net_processing.cpp`, `MAX_BLOCKS_TO_ANNOUNCE`.
const MAX_ANNOUNCED: usize = 8;

/// Blocks that nobody asked for after which a peer is left.
const MAX_UNASKED: u32 = 16;

/// How long a peer may bring next to nothing before what it was asked for is asked of others.
const DRIPS: Duration = Duration::from_secs(60);

/// What is next to nothing, in bytes a second.
const LEAST_RATE: u64 = 500;

/// How long a peer may bring no block that it was asked for.
const NO_BLOCK: Duration = Duration::from_secs(5 * 60);

/// Bytes of whatever else that may come before a block that was asked for: the longest messages have 4 MiB.
const MAX_ELSE: u64 = 3 * (MAX_PAYLOAD as u64);

/// How long a peer that brought next to nothing is asked for no blocks, where others are there.
const SPARED: Duration = Duration::from_secs(5 * 60);

/// Messages with addresses that are looked at, for each connection: a node may tell its own before it answers.
const MAX_TELLINGS: u32 = 10;

/// Addresses that are taken of each connection: few, so that nobody fills all the room.
const MAX_TOLD: usize = 100;

/// Blocks that a peer may lag behind our tip.
const MAX_LAG: Height = 2;

/// How far the greeting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PeerPhase {
    /// Nothing came yet.
    Greeting,
    /// Its version came and is of use.
    Greeted,
    /// All may be asked.
    Ready,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) index: PeerIndex,
    phase: PeerPhase,
    nonce: u64,
    opened: Moment,
    /// When bytes last came.
    heard: Moment,
    /// Whether it keeps all blocks, and not the newest ones alone.
    keeps_all: bool,
    /// How many blocks it has by its own word, which costs nothing.
    claims: Height,
    /// The last header that it showed, and its height.
    shown: Option<(BlockHash, Height)>,
    /// Since when it has shown a block that is not far below our tip.
    level_since: Moment,
    /// Whether it is to be asked for headers at once.
    pub(super) wants_headers: bool,
    /// When headers were last asked for, while no answer came.
    asked_at: Option<Moment>,
    /// When they were last asked for.
    last_asked: Moment,
    /// Whether the last reply brought headers that were new.
    brought: bool,
    unlinked: u32,
    not_found: u32,
    /// Blocks that it was asked for and that have not come, of others too by now.
    asked: BTreeSet<BlockHash>,
    unasked: u32,
    /// Since when a block is waited for.
    waits_since: Moment,
    /// Bytes that came since.
    brought_since: u64,
    /// Until when it is asked for no blocks.
    spared_until: Moment,
    /// The highest block that it shares with our best chain, and the tip for which that holds.
    shared: Option<(Height, BlockHash)>,
    tellings: u32,
    told: usize,
    ping: Option<(u64, Moment)>,
    pinged: Moment,
    /// Bytes of blocks, since blocks were asked for while none had been.
    pace: Pace,
    blocks: u64,
}

/// How fast blocks come.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    since: Option<Moment>,
    bytes: u64,
    /// Bytes a second, once that is known.
    rate: Option<f64>,
}

/// How long a pace is measured before it counts.
const MEASURE: Duration = Duration::from_millis(500);

impl Peer {
    /// Begins a connection; returns it and what is to be said.
    pub(super) fn open(index: PeerIndex, now: Now, rng: &mut impl Rng) -> (Self, VersionMessage) {
        let nonce = rng.random();
        let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let nobody = Address::new(&nobody, ServiceFlags::NONE);
        let peer = Self {
            index,
            phase: PeerPhase::Greeting,
            nonce,
            opened: now.steady,
            heard: now.steady,
            keeps_all: false,
            claims: 0,
            shown: None,
            level_since: now.steady,
            wants_headers: true,
            asked_at: None,
            last_asked: Moment::default(),
            brought: false,
            unlinked: 0,
            not_found: 0,
            asked: BTreeSet::new(),
            unasked: 0,
            waits_since: now.steady,
            brought_since: 0,
            spared_until: Moment::default(),
            shared: None,
            tellings: 0,
            told: 0,
            ping: None,
            pinged: now.steady,
            pace: Pace::default(),
            blocks: 0,
        };
        let version = VersionMessage {
            version: PROTOCOL,
            services: ServiceFlags::NONE,
            // What our clock shows is nobody's business; Core does not look at it where the other one came to it.
            timestamp: 0,
            receiver: nobody.clone(),
            sender: nobody,
            nonce,
            user_agent: USER_AGENT.to_owned(),
            start_height: 0,
            relay: false,
        };
        (peer, version)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.phase == PeerPhase::Ready
    }

    /// Takes a version; an error where the peer is of no use, or ourselves.
    pub(super) fn on_version(&mut self, version: &VersionMessage) -> Result<(), ()> {
        let serves = version.services.has(ServiceFlags::WITNESS)
            && (version.services.has(ServiceFlags::NETWORK) || version.services.has(ServiceFlags::NETWORK_LIMITED));
        if self.phase != PeerPhase::Greeting
            || version.version < OLDEST_PROTOCOL
            || version.nonce == self.nonce
            || !serves
        {
            return Err(());
        }
        self.claims = Height::try_from(version.start_height).unwrap_or_default();
        self.keeps_all = version.services.has(ServiceFlags::NETWORK);
        self.phase = PeerPhase::Greeted;
        Ok(())
    }

    /// Takes the end of the greeting; says whether it is that.
    pub(super) fn on_verack(&mut self, now: Moment) -> bool {
        if self.phase != PeerPhase::Greeted {
            return false;
        }
        self.phase = PeerPhase::Ready;
        self.level_since = now;
        true
    }

    pub(super) fn on_received(&mut self, bytes: u64, now: Moment) {
        self.heard = now;
        self.brought_since = self.brought_since.saturating_add(bytes);
        if self.pace.since.is_some() {
            self.pace.bytes = self.pace.bytes.saturating_add(bytes);
        }
    }

    pub(super) fn on_pong(&mut self, number: u64) {
        if self.ping.is_some_and(|(ours, _)| ours == number) {
            self.ping = None;
        }
    }

    pub(super) fn on_headers_reply(&mut self) {
        self.asked_at = None;
        self.brought = false;
    }

    /// Takes a header that the peer has, and that is in the tree.
    pub(super) fn on_shown(&mut self, hash: BlockHash, height: Height, is_new: bool, now: Moment) {
        self.shown = Some((hash, height));
        self.shared = None;
        self.brought |= is_new;
        self.unlinked = 0;
        if is_new {
            self.level_since = now;
        }
    }

    /// Says whether the last reply brought new headers.
    pub(super) fn brought_any(&self) -> bool {
        self.brought
    }

    /// Returns the last header that it showed.
    pub(super) fn shown(&self) -> Option<BlockHash> {
        self.shown.map(|(hash, _)| hash)
    }

    /// Takes headers that don't link to known ones; says whether that happens too often. A block that was found while headers
    /// came may be told before those below it.
    pub(super) fn on_unlinked(&mut self, headers: usize) -> bool {
        self.unlinked = self.unlinked.saturating_add(1);
        self.wants_headers |= headers <= MAX_ANNOUNCED;
        self.unlinked > MAX_UNLINKED
    }

    /// Takes down that it has not a block; says whether it was asked for it.
    pub(super) fn on_not_found(&mut self, hash: &BlockHash) -> bool {
        let was_asked = self.asked.remove(hash);
        self.not_found = self.not_found.saturating_add(u32::from(was_asked));
        was_asked
    }

    /// Takes down that it is asked for blocks; leaves out those that are on their way already.
    pub(super) fn on_asked(&mut self, hashes: &mut Vec<BlockHash>, now: Moment) {
        if self.asked.is_empty() {
            self.waits_since = now;
            self.brought_since = 0;
        }
        hashes.retain(|hash| self.asked.insert(*hash));
    }

    /// Takes down that a block came; says whether it was asked for it.
    pub(super) fn was_asked(&mut self, hash: &BlockHash, now: Moment) -> bool {
        let was_asked = self.asked.remove(hash);
        if was_asked {
            self.waits_since = now;
            self.brought_since = 0;
        }
        was_asked
    }

    /// Takes a block that nobody asked for; says whether there are too many.
    pub(super) fn on_unasked(&mut self) -> bool {
        self.unasked = self.unasked.saturating_add(1);
        self.unasked > MAX_UNASKED
    }

    /// Counts the blocks that are to come.
    pub(super) fn flying(&self) -> usize {
        self.asked.len()
    }

    /// Says whether it was asked for a block that not every peer keeps, and gave none.
    pub(super) fn withholds_old(&self, tree: &HeaderTree) -> bool {
        let tip = tree.tip().height;
        let is_old = |hash: &BlockHash| {
            tree.height_of(hash)
                .is_some_and(|height| height.saturating_add(LIMITED_DEPTH) <= tip)
        };
        self.blocks == 0 && self.asked.iter().any(is_old)
    }

    /// Says whether next to nothing comes of what it was asked for, and takes down that it is asked for no more for a while.
    pub(super) fn drips(&mut self, now: Moment) -> bool {
        let taken = now.since(self.waits_since);
        let drips = !self.asked.is_empty()
            && taken >= DRIPS
            && self.spared_until <= now
            && self.brought_since < taken.as_secs().saturating_mul(LEAST_RATE);
        if drips {
            self.spared_until = now + SPARED;
        }
        drips
    }

    /// Says whether it is asked for no blocks for now.
    pub(super) fn is_spared(&self, now: Moment) -> bool {
        self.spared_until > now
    }

    /// Says whether it keeps all blocks, by its own word.
    pub(super) fn keeps_all(&self) -> bool {
        self.keeps_all
    }

    /// Takes a block that was asked for.
    pub(super) fn on_block(&mut self, now: Moment) {
        self.blocks = self.blocks.saturating_add(1);
        self.not_found = 0;
        if let Some(since) = self.pace.since {
            let taken = now.since(since);
            if taken >= MEASURE {
                let seconds = taken.as_secs_f64();
                let rate = to_float(self.pace.bytes) / seconds;
                self.pace.rate = Some(self.pace.rate.map_or(rate, |before| before.mul_add(0.5, rate * 0.5)));
                self.pace.since = Some(now);
                self.pace.bytes = 0;
            }
        }
    }

    /// Takes down whether blocks are asked for: while none are, nothing is to be measured.
    pub(super) fn measure(&mut self, now: Moment) {
        if self.asked.is_empty() {
            self.pace.since = None;
            self.pace.bytes = 0;
        } else if self.pace.since.is_none() {
            self.pace.since = Some(now);
        }
    }

    /// Says whether it may be asked for a block at this height, where the tip is at that one.
    pub(super) fn has_block(&self, height: Height, tip: Height, serves_old: bool) -> bool {
        let is_new = height.saturating_add(LIMITED_DEPTH) > tip;
        // Who lags behind shows nothing above our locator, and has what is below all the same.
        let shows = self.shared.map_or(self.claims, |(shared, _)| shared) >= height;
        self.is_ready() && shows && self.not_found < MAX_NOT_FOUND && (is_new || (self.keeps_all && serves_old))
    }

    /// Finds out up to where it has our best chain, where that may have changed.
    pub(super) fn compare(&mut self, tree: &HeaderTree) {
        let tip = tree.tip().hash;
        let Some((shown, _)) = self.shown else { return };
        if self.shared.is_some_and(|(_, at)| at == tip) {
            return;
        }
        let mut hash = shown;
        // A header that was dropped from the tree since then tells nothing.
        let mut shared = 0;
        while let Some(height) = tree.height_of(&hash) {
            if tree.hash_at(height) == Some(hash) {
                shared = height;
                break;
            }
            let Some((_, header, _)) = tree.branch_header(&hash) else {
                break;
            };
            hash = header.prev();
        }
        self.shared = Some((shared, tip));
    }

    /// Returns the bytes that it brings in a time, if that is known.
    pub(super) fn brings_in(&self, time: Duration) -> Option<f64> {
        self.pace.rate.map(|rate| rate * time.as_secs_f64())
    }

    /// Returns how many addresses of those that it tells are taken.
    pub(super) fn takes_addresses(&mut self, told: usize) -> usize {
        self.tellings = self.tellings.saturating_add(1);
        if self.tellings > MAX_TELLINGS {
            return 0;
        }
        let taken = told.min(MAX_TOLD.saturating_sub(self.told));
        self.told = self.told.saturating_add(taken);
        taken
    }

    /// Says whether it has our tip and nothing above it.
    pub(super) fn agrees_with(&self, tip: BlockHash) -> bool {
        self.asked_at.is_none() && !self.wants_headers && self.shown.is_some_and(|(hash, _)| hash == tip)
    }

    /// Says whether it is to be asked for headers, and takes down that it is.
    pub(super) fn asks_headers(&mut self, tip: BlockHash, now: Moment) -> bool {
        if !self.is_ready() || self.asked_at.is_some() {
            return false;
        }
        let is_elsewhere = self.shown.is_none_or(|(hash, _)| hash != tip);
        let is_due = is_elsewhere && now.since(self.last_asked) >= ASK_AGAIN;
        if !(self.wants_headers || is_due) {
            return false;
        }
        self.wants_headers = false;
        self.asked_at = Some(now);
        self.last_asked = now;
        true
    }

    /// Returns the number of a ping that is to be sent.
    pub(super) fn ping(&mut self, now: Moment, every: Duration, rng: &mut impl Rng) -> Option<u64> {
        if !self.is_ready() || self.ping.is_some() || now.since(self.pinged) < every {
            return None;
        }
        let number = rng.random();
        self.ping = Some((number, now));
        self.pinged = now;
        Some(number)
    }

    /// Says whether the connection is to end: nothing comes that is waited for, or the peer is not on our chain for long.
    pub(super) fn is_over(&mut self, now: Moment, settings: &PeerSyncSettings, tip: Height) -> bool {
        let is_level = |(shared, _): (Height, BlockHash)| shared.saturating_add(MAX_LAG) >= tip;
        if self.shared.is_some_and(is_level) {
            self.level_since = now;
        }
        let brings_else = !self.asked.is_empty() && self.brought_since > MAX_ELSE;
        brings_else || self.ends_at(settings).is_some_and(|at| at <= now)
    }

    /// Returns when it will be over, if nothing happens.
    fn ends_at(&self, settings: &PeerSyncSettings) -> Option<Moment> {
        if !self.is_ready() {
            return Some(self.opened + settings.greeting_timeout);
        }
        let waits = !self.asked.is_empty();
        let silence = waits.then(|| (self.heard + settings.silence).min(self.waits_since + NO_BLOCK));
        let headers = self.asked_at.map(|asked| asked.max(self.heard) + HEADERS_PATIENCE);
        let pong = self.ping.map(|(_, sent)| sent.max(self.heard) + settings.ping_every);
        let lag = Some(self.level_since + settings.lag);
        [silence, headers, pong, lag].into_iter().flatten().min()
    }

    /// Returns when something may be to be done of it; what is past waits for something else.
    pub(super) fn wake_at(&self, settings: &PeerSyncSettings) -> impl Iterator<Item = Moment> + use<> {
        let end = self.ends_at(settings);
        let ping = self.ping.is_none().then(|| self.pinged + settings.ping_every);
        let ask = (self.is_ready() && self.asked_at.is_none()).then(|| self.last_asked + ASK_AGAIN);
        let drips = (!self.asked.is_empty()).then(|| self.waits_since + DRIPS);
        [end, ping, ask, drips].into_iter().flatten()
    }
}

pub(super) fn to_float(bytes: u64) -> f64 {
    // More than four gigabytes are as good as four.
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX))
}

/// Returns a locator that goes on where a branch ended which a peer showed, and falls back on that of our best chain.
pub(super) fn locator_for(tree: &HeaderTree, shown: Option<BlockHash>, best: &[BlockHash]) -> Vec<BlockHash> {
    let is_of_branch = |hash: &BlockHash| tree.branch_header(hash).is_some();
    shown
        .filter(is_of_branch)
        .into_iter()
        .chain(best.iter().copied())
        .collect()
}

/// Returns the locator of our best chain: the parent of the tip first, so that whoever has the tip shows it; then older blocks,
/// the further down the fewer.
pub(super) fn locator(tree: &HeaderTree) -> Vec<BlockHash> {
    let tip = tree.tip().height;
    let anchor = tree.anchor().height;
    let mut heights = vec![tip.saturating_sub(1).max(anchor)];
    let mut step = 1;
    while let Some(last) = heights.last().copied()
        && last > anchor
        && heights.len() + 1 < MAX_LOCATOR
    {
        if heights.len() > 10 {
            step *= 2;
        }
        heights.push(last.saturating_sub(step).max(anchor));
    }
    heights.into_iter().filter_map(|height| tree.hash_at(height)).collect()
}

/// Returns what stands for no last block.
pub(super) fn no_stop() -> BlockHash {
    BlockHash::all_zeros()
}

/// Returns the hash of a block in an inventory.
pub(super) fn block_of(inventory: &Inventory) -> Option<BlockHash> {
    match inventory {
        Inventory::Block(hash) | Inventory::WitnessBlock(hash) | Inventory::CompactBlock(hash) => Some(*hash),
        _ => None,
    }
}

/// Asks for a block with its witnesses.
pub(super) fn witness_block(hash: BlockHash) -> Inventory {
    Inventory::WitnessBlock(hash)
}

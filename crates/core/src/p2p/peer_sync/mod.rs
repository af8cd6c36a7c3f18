//! Fetching headers and blocks from peers: whom to dial, what to ask of whom, whom to leave. A machine without I/O.
//!
//! A peer learns that somebody fetches what everybody fetches, and from which height on; nothing here has to do with any
//! lookup.
//!
//! # A connection
//!
//! | phase | event | next phase, and what is told |
//! |---|---|---|
//! | dialing | [`PeerSyncEvent::Connected`] | greeting: our version |
//! | dialing | [`PeerSyncEvent::DialFailed`] | none; the peer is dialed again after a pause |
//! | greeting | a version that is of use | greeting: `sendaddrv2`, `verack` |
//! | greeting | a version that is of no use, or our own | closed; the peer is left for a day |
//! | greeting | `verack` behind a version | ready: `sendheaders`, `getheaders`, for addresses once |
//! | greeting | [`PeerSyncSettings::greeting_timeout`] is over | closed |
//! | ready | headers on top of known ones | ready: they go into the tree; more are asked for until there are none |
//! | ready | headers that don't link, a few times | closed |
//! | ready | a block in an inventory | ready: its headers are asked for |
//! | ready | a block that was asked for, and is that | ready: it is handed on when its turn comes |
//! | ready | what was asked for does not come in time, or is not to be had | closed, or others are asked for it |
//! | ready | old blocks are wanted that it gives none of, and others may be dialed | closed |
//! | any | what is no message | closed, and left for a day |
//! | any | what no honest peer sends | closed, and never dialed again: [`PeerFault`] |
//! | any | [`PeerSyncEvent::Closed`] | none; what it was asked for is asked of others |
//!
//! # After each event
//!
//! 1. Connections end that are silent, or whose peer lags behind for long.
//! 2. Headers are asked for where the tip is another one than the peer showed.
//! 3. Blocks are asked for: the lowest missing ones first, of each peer as many as it brings within a few seconds; the
//!    lowest one of a second peer too where its own is slow.
//! 4. Blocks are handed on, in order.
//! 5. Peers are dialed.
//!
//! Source: Namecoin Core `net_processing.cpp`.

mod blocks;
mod candidates;
mod fault;
mod peers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;

use self::blocks::{BlockQueue, LIMITED_DEPTH};
use self::candidates::Candidates;
use self::peers::Peer;
use super::codec::CodecError;
use super::message::Message;
use crate::chain::{Accepted, Block, FullHeader, HeaderError, HeaderTree, Height, Params};
use crate::isolation::ConnId;
use crate::p2p::message::MAX_HEADERS;
use crate::time::{Moment, Now};

pub use fault::PeerFault;

/// The shortest time to the next tick.
const LEAST_WAKE: Duration = Duration::from_millis(50);

/// The place of a peer in the order in which they became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIndex(pub usize);

/// How a peer became known. Of several that may be dialed the first of these is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerKind {
    /// The user named it.
    Named,
    /// It comes with the program.
    Shipped,
    /// A peer told of it.
    Learned,
}

/// A peer that became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownPeer {
    /// How.
    pub kind: PeerKind,
    /// What it shares with others that may be the same person's, such as the beginning of its address: of these one alone is
    /// dialed at a time. `None` for one of which nothing can be said.
    pub group: Option<u64>,
    /// Who told of it, where it is learned.
    pub told_by: Option<PeerIndex>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum PeerSyncEvent {
    /// Peers became known, numbered on from those before.
    Known(Vec<KnownPeer>),
    /// A connection to a peer is open.
    Connected {
        /// Which peer.
        peer: PeerIndex,
        /// The connection's number.
        conn: ConnId,
    },
    /// A connection could not be opened.
    DialFailed {
        /// To which peer.
        peer: PeerIndex,
    },
    /// Bytes came. To be told several times a second while any come, and of the bytes of a message before the message.
    Received {
        /// On which connection.
        conn: ConnId,
        /// How many.
        bytes: u64,
    },
    /// A message came.
    Message {
        /// On which connection.
        conn: ConnId,
        /// What.
        message: Message,
    },
    /// What came is no message.
    Garbled {
        /// On which connection.
        conn: ConnId,
        /// Why.
        error: CodecError,
    },
    /// A connection ended.
    Closed {
        /// Which one.
        conn: ConnId,
    },
    /// Blocks are wanted from this height on; what was asked for and handed on before is of no use any more. `None`: none are
    /// wanted for now.
    Begin {
        /// The height of the next one.
        next: Option<Height>,
    },
    /// All blocks below this height that were handed on were read.
    Read {
        /// The height of the next one.
        next: Height,
    },
    /// A moment asked for by [`PeerSyncEffect::WakeAt`] is reached, or the header tree is another one than before.
    Tick,
}

/// What the driver must do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerSyncEffect {
    /// Open a connection to a peer.
    Dial(PeerIndex),
    /// Send a message.
    Send {
        /// Over which connection.
        conn: ConnId,
        /// What.
        message: Message,
    },
    /// Close a connection.
    Close(ConnId),
    /// Headers of a peer are in the tree: the best chain is another one from this height on.
    BestChanged {
        /// The lowest height.
        from: Height,
    },
    /// The next block.
    Block {
        /// Its height.
        height: Height,
        /// The block, which is that of the best chain there.
        block: Block,
        /// How many bytes it was on the wire.
        size: usize,
    },
    /// A peer did what no honest one does, and is not dialed again, or, where it may be another program's mistake, not for a
    /// day.
    Report {
        /// Which peer.
        peer: PeerIndex,
        /// What.
        fault: PeerFault,
    },
    /// A peer told of others.
    Told {
        /// Which peer.
        peer: PeerIndex,
        /// Of whom.
        addresses: Vec<bitcoin::p2p::address::AddrV2Message>,
    },
    /// Hand in [`PeerSyncEvent::Tick`] at this moment at the latest.
    WakeAt(Moment),
}

/// How peers are dealt with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeerSyncSettings {
    /// Connections at a time.
    pub connections: usize,
    /// Of these, most that go to learned peers, where others are known.
    pub learned: usize,
    /// How long a peer may take to greet.
    pub greeting_timeout: Duration,
    /// How long nothing may come while something is waited for.
    pub silence: Duration,
    /// How often a peer is asked whether it is there still.
    pub ping_every: Duration,
    /// How long the lowest missing block is waited for before another peer is asked for it as well.
    pub hedge_after: Duration,
    /// How much is asked of a peer at once: what it brings in this time.
    pub ahead: Duration,
    /// Most bytes of blocks that wait for their turn, as they are on the wire; in memory they are larger. Half as many may be
    /// handed on and not read yet. The next block is taken, and handed on, whatever its size.
    pub buffer: usize,
    /// Most blocks that are handed on and not read yet.
    pub unread: usize,
    /// Most bytes a second; `None` for no limit.
    pub rate: Option<u64>,
    /// How long a peer may lag behind our tip.
    pub lag: Duration,
}

impl Default for PeerSyncSettings {
    fn default() -> Self {
        Self {
            connections: 4,
            learned: 3,
            greeting_timeout: Duration::from_secs(60),
            silence: Duration::from_secs(45),
            ping_every: Duration::from_secs(120),
            hedge_after: Duration::from_secs(15),
            ahead: Duration::from_secs(5),
            buffer: 8 << 20,
            unread: 64,
            rate: None,
            lag: Duration::from_secs(30 * 60),
        }
    }
}

/// How far the blocks are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockProgress {
    /// The next block to be handed on; `None` where none are wanted.
    pub next: Option<Height>,
    /// Connections whose peers have greeted.
    pub peers: usize,
    /// How many of these have our tip and no more.
    pub agreeing: usize,
    /// Bytes that came.
    pub received: u64,
    /// Bytes a second of late.
    pub rate: u64,
    /// Bytes of a block on average, as far as that is known.
    pub block_size: u64,
    /// Bytes of blocks that wait for their turn.
    pub waiting: usize,
}

/// The machine.
#[derive(Debug)]
pub struct PeerSync {
    params: &'static Params,
    settings: PeerSyncSettings,
    candidates: Candidates,
    peers: BTreeMap<ConnId, Peer>,
    blocks: BlockQueue,
    rng: StdRng,
}

impl PeerSync {
    /// Makes one that knows no peer. All of its random choices follow from the seed.
    pub fn new(params: &'static Params, settings: PeerSyncSettings, seed: [u8; 32]) -> Self {
        Self {
            params,
            settings,
            candidates: Candidates::default(),
            peers: BTreeMap::new(),
            blocks: BlockQueue::new(settings),
            rng: StdRng::from_seed(seed),
        }
    }

    /// Advances by one event.
    pub fn on_event(&mut self, now: Now, tree: &mut HeaderTree, event: PeerSyncEvent) -> Vec<PeerSyncEffect> {
        let mut step = Step {
            sync: self,
            now,
            tree,
            effects: Vec::new(),
        };
        step.take(event);
        step.advance();
        step.effects
    }

    /// Returns how far the blocks are, and who brings them.
    pub fn progress(&self, tree: &HeaderTree) -> BlockProgress {
        let tip = tree.tip().hash;
        let ready = self.peers.values().filter(|peer| peer.is_ready());
        BlockProgress {
            next: self.blocks.next(),
            peers: ready.clone().count(),
            agreeing: ready.filter(|peer| peer.agrees_with(tip)).count(),
            received: self.blocks.received(),
            rate: self.blocks.rate(),
            block_size: self.blocks.average_size(),
            waiting: self.blocks.waiting(),
        }
    }
}

/// What one event sees and does.
struct Step<'a> {
    sync: &'a mut PeerSync,
    now: Now,
    tree: &'a mut HeaderTree,
    effects: Vec<PeerSyncEffect>,
}

impl Step<'_> {
    fn take(&mut self, event: PeerSyncEvent) {
        let now = self.now.steady;
        match event {
            PeerSyncEvent::Known(peers) => self.sync.candidates.add(peers),
            PeerSyncEvent::Connected { peer, conn } => {
                if self.sync.candidates.on_connected(peer, conn) {
                    let (opened, version) = Peer::open(peer, self.now, &mut self.sync.rng);
                    self.sync.peers.insert(conn, opened);
                    self.send(conn, Message::Version(Box::new(version)));
                } else {
                    self.effects.push(PeerSyncEffect::Close(conn));
                }
            }
            PeerSyncEvent::DialFailed { peer } => self.sync.candidates.on_failed(peer, now, &mut self.sync.rng),
            PeerSyncEvent::Received { conn, bytes } => {
                if let Some(peer) = self.sync.peers.get_mut(&conn) {
                    peer.on_received(bytes, now);
                    self.sync.blocks.on_received(bytes, now);
                }
            }
            PeerSyncEvent::Message { conn, message } => self.on_message(conn, message),
            PeerSyncEvent::Garbled { conn, error } => {
                let index = self.sync.peers.get(&conn).map(|peer| peer.index);
                self.close(conn);
                if let Some(peer) = index {
                    self.sync.candidates.leave(peer, now, &mut self.sync.rng);
                    let fault = PeerFault::Garbled(error);
                    self.effects.push(PeerSyncEffect::Report { peer, fault });
                }
            }
            PeerSyncEvent::Closed { conn } => self.forget(conn),
            PeerSyncEvent::Begin { next } => self.sync.blocks.begin(next),
            PeerSyncEvent::Read { next } => self.sync.blocks.on_read(next),
            PeerSyncEvent::Tick => {}
        }
    }

    fn on_message(&mut self, conn: ConnId, message: Message) {
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return;
        };
        if !peer.is_ready() {
            return self.on_greeting(conn, message);
        }
        match message {
            Message::Ping(number) => self.send(conn, Message::Pong(number)),
            Message::Pong(number) => peer.on_pong(number),
            Message::Headers(headers) => self.on_headers(conn, &headers),
            Message::Inv(inventory) => {
                let tells = |hash| self.tree.height_of(&hash).is_none();
                if inventory.iter().filter_map(peers::block_of).any(tells) {
                    peer.wants_headers = true;
                }
            }
            Message::NotFound(inventory) => {
                for hash in inventory.iter().filter_map(peers::block_of) {
                    if peer.on_not_found(&hash)
                        && let Some(height) = self.tree.height_of(&hash)
                    {
                        self.sync.blocks.on_not_found(conn, height);
                    }
                }
            }
            Message::Block(bytes) => self.on_block(conn, &bytes),
            Message::AddrV2(addresses) => {
                let taken = peer.takes_addresses(addresses.len());
                let (peer, rng) = (peer.index, &mut self.sync.rng);
                let addresses: Vec<_> = addresses.into_iter().choose_multiple(rng, taken);
                if !addresses.is_empty() {
                    self.effects.push(PeerSyncEffect::Told { peer, addresses });
                }
            }
            // We have nothing to give, and said so; Core asks for headers all the same.
            Message::GetHeaders { .. } => self.send(conn, Message::Headers(Vec::new())),
            // An answer would be as long as the question, and wait where the peer does not read.
            Message::GetData(_)
            | Message::Version(_)
            | Message::Verack
            | Message::SendAddrV2
            | Message::SendHeaders
            | Message::GetAddr
            | Message::Other => {}
        }
    }

    fn on_greeting(&mut self, conn: ConnId, message: Message) {
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return;
        };
        match message {
            Message::Version(version) => {
                let index = peer.index;
                if peer.on_version(&version).is_ok() {
                    self.send(conn, Message::SendAddrV2);
                    self.send(conn, Message::Verack);
                } else {
                    self.close(conn);
                    let now = self.now.steady;
                    self.sync.candidates.leave(index, now, &mut self.sync.rng);
                }
            }
            Message::Verack if peer.on_verack(self.now.steady) => {
                self.send(conn, Message::SendHeaders);
                self.send(conn, Message::GetAddr);
            }
            Message::Ping(number) => self.send(conn, Message::Pong(number)),
            // What comes before its time is left alone, as Core does.
            _ => {}
        }
    }

    fn on_headers(&mut self, conn: ConnId, headers: &[Vec<u8>]) {
        let now = self.now;
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return;
        };
        peer.on_headers_reply();
        let shown = peer.shown();
        if !may_ask_headers(self.tree) {
            return;
        }
        let mut changed: Option<Height> = None;
        let mut fault = None;
        let mut links = true;
        for bytes in headers {
            let Ok((header, [])) = FullHeader::decode(bytes) else {
                fault = Some(PeerFault::Undecodable);
                break;
            };
            let hash = header.pure.hash();
            match self.tree.accept(&header, now.wall) {
                Ok(accepted) => {
                    let height = self.tree.height_of(&hash).unwrap_or_default();
                    let from = match accepted {
                        Accepted::Duplicate | Accepted::Branch => None,
                        Accepted::Extended => Some(height),
                        Accepted::Reorganized { fork } => Some(fork.saturating_add(1)),
                    };
                    changed = [changed, from].into_iter().flatten().min();
                    peer.on_shown(hash, height, accepted != Accepted::Duplicate, now.steady);
                }
                // Later it will be right, if our clock is.
                Err(HeaderError::TimeTooLate { .. }) => break,
                Err(error) if error.is_transient() => {
                    links = false;
                    break;
                }
                Err(error) => {
                    fault = Some(PeerFault::Header(error));
                    break;
                }
            }
        }
        // As many as there can be, or as fit: there may be more. The same ones again would bring the same again.
        if peer.brought_any() || (headers.len() >= MAX_HEADERS && peer.shown() != shown) {
            peer.wants_headers = true;
        }
        if links && !headers.is_empty() {
            self.sync.candidates.on_headers(peer.index);
        }
        let is_lost = !links && peer.on_unlinked(headers.len());
        if let Some(from) = changed {
            self.effects.push(PeerSyncEffect::BestChanged { from });
        }
        if let Some(fault) = fault {
            self.report(conn, fault);
        } else if is_lost {
            self.close(conn);
        }
    }

    fn on_block(&mut self, conn: ConnId, bytes: &[u8]) {
        let (params, now) = (self.sync.params, self.now.steady);
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return;
        };
        let hash = FullHeader::decode(bytes).map(|(header, _)| header.pure.hash());
        let Some(hash) = hash.ok().filter(|hash| peer.was_asked(hash, now)) else {
            if peer.on_unasked() {
                self.close(conn);
            }
            return;
        };
        // What somebody else brought first, or nobody wants any more, is of no use.
        let Some(height) = self.sync.blocks.wants(self.tree, hash) else {
            return;
        };
        match Block::read(bytes, params) {
            Ok(block) => {
                peer.on_block(now);
                let is_old = height.saturating_add(LIMITED_DEPTH) <= self.tree.tip().height;
                self.sync.candidates.on_block(peer.index, is_old);
                self.sync.blocks.deliver(height, block, bytes.len());
            }
            Err(error) => self.report(conn, PeerFault::Block { height, error }),
        }
    }

    fn send(&mut self, conn: ConnId, message: Message) {
        self.effects.push(PeerSyncEffect::Send { conn, message });
    }

    /// Leaves a peer for good.
    fn report(&mut self, conn: ConnId, fault: PeerFault) {
        let Some(peer) = self.sync.peers.get(&conn) else {
            return;
        };
        let index = peer.index;
        self.sync.candidates.ban(index);
        self.close(conn);
        self.effects.push(PeerSyncEffect::Report { peer: index, fault });
    }

    fn close(&mut self, conn: ConnId) {
        if self.sync.peers.contains_key(&conn) {
            self.effects.push(PeerSyncEffect::Close(conn));
            self.forget(conn);
        }
    }

    fn forget(&mut self, conn: ConnId) {
        let Some(peer) = self.sync.peers.remove(&conn) else {
            return;
        };
        let now = self.now.steady;
        let sync = &mut *self.sync;
        sync.blocks.release(conn);
        // Core with an upload target hangs up at the first old block that it is asked for.
        if peer.withholds_old(self.tree) {
            sync.candidates.on_withheld(peer.index, now);
        }
        sync.candidates.on_closed(peer.index, now, &mut sync.rng);
    }

    /// Does what follows from the state.
    fn advance(&mut self) {
        self.end_connections();
        self.make_room();
        self.ask_headers();
        self.ask_blocks();
        self.hand_on();
        self.dial();
        let wake = self.next_wake();
        self.effects.push(PeerSyncEffect::WakeAt(wake));
    }

    fn end_connections(&mut self) {
        let (now, settings) = (self.now.steady, self.sync.settings);
        let tip = self.tree.tip();
        let mut ended: Vec<ConnId> = Vec::new();
        let mut pings = Vec::new();
        for (conn, peer) in &mut self.sync.peers {
            peer.compare(self.tree);
            if peer.is_over(now, &settings, tip.height) {
                ended.push(*conn);
            } else if let Some(number) = peer.ping(now, settings.ping_every, &mut self.sync.rng) {
                pings.push((*conn, number));
            }
        }
        for (conn, number) in pings {
            self.send(conn, Message::Ping(number));
        }
        for conn in ended {
            self.close(conn);
        }
    }

    /// Leaves one who keeps no old blocks, where these are wanted and somebody else may have them.
    fn make_room(&mut self) {
        let (now, connections) = (self.now.steady, self.sync.settings.connections);
        let sync = &mut *self.sync;
        if !sync.blocks.next_is_old(self.tree.tip().height) {
            return;
        }
        let candidates = &sync.candidates;
        let is_useless = |peer: &Peer| {
            let gives = peer.keeps_all() && candidates.serves_old_blocks(peer.index, now);
            peer.is_ready() && !gives && candidates.may_make_room(peer.index, connections, now)
        };
        let useless = sync.peers.iter().find(|(_, peer)| is_useless(peer));
        if let Some((conn, index)) = useless.map(|(conn, peer)| (*conn, peer.index)) {
            self.close(conn);
            let sync = &mut *self.sync;
            sync.candidates.on_made_room(index, now, &mut sync.rng);
        }
    }

    fn ask_headers(&mut self) {
        if !may_ask_headers(self.tree) {
            return;
        }
        let (tip, now) = (self.tree.tip(), self.now.steady);
        let mut asked = Vec::new();
        for (conn, peer) in &mut self.sync.peers {
            if peer.asks_headers(tip.hash, now) {
                asked.push((*conn, peer.shown()));
            }
        }
        if asked.is_empty() {
            return;
        }
        let best = peers::locator(self.tree);
        for (conn, shown) in asked {
            let locator = peers::locator_for(self.tree, shown, &best);
            let stop = peers::no_stop();
            self.send(conn, Message::GetHeaders { locator, stop });
        }
    }

    fn ask_blocks(&mut self) {
        let PeerSync {
            peers,
            blocks,
            candidates,
            ..
        } = &mut *self.sync;
        let now = self.now.steady;
        let serves_old = |index| candidates.serves_old_blocks(index, now);
        let requests = blocks.plan(self.tree, peers, serves_old, now);
        for (conn, hashes) in requests {
            let inventory = hashes.into_iter().map(peers::witness_block).collect();
            self.send(conn, Message::GetData(inventory));
        }
    }

    fn hand_on(&mut self) {
        while let Some((height, block, size)) = self.sync.blocks.next_block(self.tree) {
            self.effects.push(PeerSyncEffect::Block { height, block, size });
        }
    }

    fn dial(&mut self) {
        let settings = self.sync.settings;
        let now = self.now.steady;
        let PeerSync { candidates, rng, .. } = &mut *self.sync;
        for peer in candidates.choose(settings.connections, settings.learned, now, rng) {
            self.effects.push(PeerSyncEffect::Dial(peer));
        }
    }

    fn next_wake(&self) -> Moment {
        let (now, settings) = (self.now.steady, self.sync.settings);
        let peers = self.sync.peers.values().flat_map(|peer| peer.wake_at(&settings));
        let blocks = self.sync.blocks.wake_at(now);
        let dial = self.sync.candidates.wake_at(settings.connections, now);
        let latest = now + Duration::from_secs(60);
        // What was due is done, or waits for something other than time.
        let wakes = peers.chain(blocks).chain(dial).filter(|at| *at > now);
        wakes.fold(latest, Moment::min).max(now + LEAST_WAKE)
    }
}

/// Says whether headers of peers can be judged by those that are known. Those below the anchor can't come from peers, who give
/// headers upwards only; and while a skeleton is being made on our tip, that is not to move.
fn may_ask_headers(tree: &HeaderTree) -> bool {
    tree.lowest().is_some_and(|lowest| lowest <= tree.required_low()) && tree.skeleton().is_none()
}

//! One connection to a peer: bytes of the client in, bytes of the peer out.
//!
//! Messages are dealt with one at a time, and a question for blocks one block at a time: what a client said behind it waits,
//! as in Core. Whoever drives a session calls [`PeerSession::step`] as long as it has room for what comes out.
//!
//! | phase | what is heard | next phase | what is said |
//! | --- | --- | --- | --- |
//! | greeting | `version` of 31800 or later | negotiating | `version`, `wtxidrelay`, `sendaddrv2`, `verack` |
//! | greeting | an older one | - | hangs up |
//! | greeting | anything else | greeting | nothing |
//! | negotiating | `verack` | open | `sendcmpct`, `ping`, `feefilter` |
//! | negotiating | `sendheaders`, `sendaddrv2`, `wtxidrelay` | negotiating | nothing, but it is remembered |
//! | negotiating | anything else | negotiating | nothing |
//! | open | `getheaders` | open | `headers` |
//! | open | `getblocks` | open | `inv` |
//! | open | `getdata` | open | `block` for each that is known, `notfound` for transactions |
//! | open | `getaddr`, the first one | open | `addrv2`, or `addr` for who never said `sendaddrv2` |
//! | open | `ping` | open | `pong` |
//! | open | `wtxidrelay`, `sendaddrv2`, `mempool`, Bloom filters, too many items | - | hangs up |
//! | any | bytes that are no message, a payload of more than 4 MB | - | hangs up |
//!
//! Source: Namecoin Core 31.x `net_processing.cpp`.

use std::collections::VecDeque;
use std::time::Duration;

use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::{AddrV2, AddrV2Message, Address};
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::{BlockHash, VarInt};

use super::body::Body;
use super::fault::{Endless, unconnected};
use super::wire::{self, Frames, Heard};
use super::{Peer, PeerFault};
use crate::blocks::Blocks;
use isonym_core::chain::{Height, PureHeader};
use isonym_core::time::Moment;

/// Oldest version of the protocol that is spoken with.
const MIN_VERSION: u32 = 31_800;

/// From this version on messages of headers are bounded in bytes.
const SIZED_HEADERS_VERSION: u32 = 70_015;

/// From this version on `wtxidrelay` and `sendaddrv2` are understood.
const WTXID_RELAY_VERSION: u32 = 70_016;

/// Most headers in a message.
pub const MAX_HEADERS: usize = 2000;

/// Bytes of headers that end a message.
pub const MAX_HEADER_BYTES: usize = 4 << 20;

/// Most hashes in a locator.
pub const MAX_LOCATOR: usize = 101;

/// Most items of a question.
pub const MAX_ITEMS: usize = 50_000;

/// Most hashes that are told of when a client asks for what lies above a block.
const MAX_INVENTORY: usize = 500;

/// Most new blocks that are announced by their headers at once.
const MAX_ANNOUNCED: usize = 8;

/// Most addresses in a message.
const MAX_ADDRESSES: usize = 1000;

/// So many blocks more than it says has a pruned node.
const PRUNED_MARGIN: Height = 2;

/// Bytes that may wait to be dealt with before no more should be read.
const MAX_WAITING: usize = 5_000_000;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// Time between two pings.
const PING_INTERVAL: Duration = Duration::from_secs(2 * 60);

/// How long a ping may stay without its answer.
const PING_TIMEOUT: Duration = Duration::from_secs(20 * 60);

/// The least fee that a node with an empty mempool relays transactions for, in satoshis for a thousand bytes.
const FEE_FILTER: u64 = 1000;

/// What a driver has to do for a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerOutput {
    /// Messages to send, as bytes.
    pub messages: Vec<Vec<u8>>,
    /// What the peer has seen of the client.
    pub note: Option<Note>,
    /// What to do after they are sent.
    pub then: PeerThen,
}

impl PeerOutput {
    fn closing() -> Self {
        Self {
            then: PeerThen::Close,
            ..Self::default()
        }
    }
}

/// What follows the messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PeerThen {
    /// Whatever is next.
    #[default]
    GoOn,
    /// The end of the connection.
    Close,
    /// These bytes again and again, until the client hangs up.
    Forever(Vec<u8>),
}

/// A message of the client, as a peer would write it down to tell clients from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What the message is called.
    pub command: String,
    /// What is in it, in words.
    pub content: String,
    /// The heights of the blocks that it asks for, or of the block above which headers are asked for.
    pub heights: Vec<Height>,
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Terms {
    /// The version that the client said.
    version: u32,
    /// Whether it wants to hear of transactions.
    relays: bool,
    takes_addrv2: bool,
    prefers_headers: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Greeting,
    Negotiating(Terms),
    Open(Terms),
}

/// What a peer remembers of one connection.
#[derive(Clone, Debug)]
pub struct PeerSession {
    phase: Phase,
    received: Frames,
    /// Blocks and transactions that were asked for and wait.
    asked: VecDeque<Inventory>,
    /// How many blocks were sent.
    served: usize,
    /// The best header that the client was told, as Core's `pindexBestHeaderSent`.
    best_told: Option<BlockHash>,
    /// The tip when blocks were announced last.
    tip: Option<BlockHash>,
    /// The last block of an inventory that did not end at the tip.
    continues: Option<BlockHash>,
    gave_addresses: bool,
    opened: Moment,
    pinged: Option<Moment>,
    /// The ping without an answer.
    nonce: Option<u64>,
    pings: u64,
    endless: Option<Endless>,
    is_closed: bool,
}

impl PeerSession {
    /// Begins with a connection that came `now`.
    pub fn new(now: Moment) -> Self {
        Self {
            phase: Phase::default(),
            received: Frames::default(),
            asked: VecDeque::new(),
            served: 0,
            best_told: None,
            tip: None,
            continues: None,
            gave_addresses: false,
            opened: now,
            pinged: None,
            nonce: None,
            pings: 0,
            endless: None,
            is_closed: false,
        }
    }

    /// Takes bytes of the client, which [`Self::step`] deals with.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.received.push(bytes);
    }

    /// Says whether more should be read of the client.
    pub fn has_room(&self) -> bool {
        self.received.len() < MAX_WAITING
    }

    /// Deals with the next block that was asked for, or else with the next message; `None` when there is neither.
    pub fn step(&mut self, now: Moment, peer: &Peer, blocks: &dyn Blocks) -> Option<PeerOutput> {
        if self.is_closed || peer.fault == Some(PeerFault::Silent) || self.has_stalled(peer) {
            return None;
        }
        let output = if self.asked.is_empty() {
            match self.received.next(peer.magic()) {
                Ok(None) => return None,
                Ok(Some(frame)) => {
                    let heard = Heard::read(&frame);
                    let note = note(&frame.command, &heard, blocks);
                    PeerOutput {
                        note: Some(note),
                        ..self.on_message(now, peer, blocks, heard)
                    }
                }
                Err(_) => PeerOutput::closing(),
            }
        } else {
            self.serve(peer, blocks)
        };
        Some(self.finished(output))
    }

    /// Tells the client of new blocks, if it is to be told. Is to be called whenever the chain has changed.
    pub fn announce(&mut self, peer: &Peer, blocks: &dyn Blocks) -> PeerOutput {
        let before = std::mem::replace(&mut self.tip, blocks.tip());
        let Phase::Open(terms) = self.phase else {
            return PeerOutput::default();
        };
        if self.is_closed || self.tip == before || self.has_stalled(peer) || peer.fault == Some(PeerFault::Silent) {
            return PeerOutput::default();
        }
        let messages = self.announcement(peer, blocks, terms, before);
        PeerOutput {
            messages: messages.into_iter().collect(),
            ..PeerOutput::default()
        }
    }

    /// Returns when [`Self::on_time`] has something to do next.
    pub fn next_time(&self) -> Moment {
        match (self.pinged, self.nonce) {
            (None, _) => self.opened + HANDSHAKE_TIMEOUT,
            (Some(pinged), None) => pinged + PING_INTERVAL,
            (Some(pinged), Some(_)) => pinged + PING_TIMEOUT,
        }
    }

    /// Pings, or hangs up on a client that says nothing.
    pub fn on_time(&mut self, now: Moment, peer: &Peer) -> PeerOutput {
        if now < self.next_time() || self.is_closed {
            return PeerOutput::default();
        }
        let output = if self.pinged.is_some() && self.nonce.is_none() {
            PeerOutput {
                messages: vec![self.ping(now, peer)],
                ..PeerOutput::default()
            }
        } else {
            PeerOutput::closing()
        };
        self.finished(output)
    }

    fn finished(&mut self, output: PeerOutput) -> PeerOutput {
        self.is_closed = output.then != PeerThen::GoOn;
        output
    }

    fn has_stalled(&self, peer: &Peer) -> bool {
        matches!(peer.fault, Some(PeerFault::Stalls { after }) if self.served >= after)
    }

    /// Writes a message, after the faults that spoil all of them have had it.
    fn message(&self, peer: &Peer, command: &str, payload: &[u8]) -> Vec<u8> {
        let mut magic = peer.magic();
        if peer.fault == Some(PeerFault::WrongMagic) {
            magic.reverse();
        }
        let mut bytes = wire::message(magic, command, payload);
        let is_open = matches!(self.phase, Phase::Open(_));
        if is_open
            && peer.fault == Some(PeerFault::BadChecksums)
            && let Some(byte) = bytes.get_mut(wire::HEAD - 1)
        {
            *byte ^= 1;
        }
        bytes
    }

    fn on_message(&mut self, now: Moment, peer: &Peer, blocks: &dyn Blocks, heard: Heard) -> PeerOutput {
        let messages = match (&mut self.phase, heard) {
            (Phase::Greeting, Heard::Version(version)) => {
                if version.version < MIN_VERSION {
                    return PeerOutput::closing();
                }
                self.greet(peer, blocks, &version)
            }
            (Phase::Negotiating(terms), Heard::Verack) => {
                let terms = *terms;
                self.phase = Phase::Open(terms);
                self.tip = blocks.tip();
                self.open(now, peer, terms)
            }
            (Phase::Negotiating(terms) | Phase::Open(terms), Heard::SendHeaders) => {
                terms.prefers_headers = true;
                Vec::new()
            }
            (Phase::Negotiating(terms), Heard::SendAddrV2) => {
                terms.takes_addrv2 = true;
                Vec::new()
            }
            (Phase::Open(terms), heard) => {
                let terms = *terms;
                return self.on_question(peer, blocks, terms, heard);
            }
            (Phase::Greeting | Phase::Negotiating(_), _) => Vec::new(),
        };
        PeerOutput {
            messages,
            ..PeerOutput::default()
        }
    }

    fn greet(&mut self, peer: &Peer, blocks: &dyn Blocks, heard: &VersionMessage) -> Vec<Vec<u8>> {
        let nobody = Address {
            services: ServiceFlags::NONE,
            address: [0; 8],
            port: 0,
        };
        let header = blocks
            .tip()
            .and_then(|tip| PureHeader::decode(&blocks.full_header(&tip)?));
        let version = VersionMessage {
            version: peer.version(),
            services: peer.services(),
            timestamp: header.map_or(0, |header| header.time().into()),
            receiver: nobody.clone(),
            sender: Address {
                services: peer.services(),
                ..nobody
            },
            nonce: self.next_nonce(),
            user_agent: peer.user_agent.clone(),
            start_height: blocks.height().cast_signed(),
            relay: true,
        };
        let mut messages = vec![self.message(peer, "version", &serialize(&version))];
        if heard.version.min(peer.version()) >= WTXID_RELAY_VERSION {
            messages.push(self.message(peer, "wtxidrelay", &[]));
            messages.push(self.message(peer, "sendaddrv2", &[]));
        }
        messages.push(self.message(peer, "verack", &[]));
        self.phase = Phase::Negotiating(Terms {
            version: heard.version,
            relays: heard.relay,
            ..Terms::default()
        });
        messages
    }

    fn open(&mut self, now: Moment, peer: &Peer, terms: Terms) -> Vec<Vec<u8>> {
        // Not of high bandwidth, version 2.
        let compact = [&[0][..], &2_u64.to_le_bytes()].concat();
        let mut messages = vec![
            self.message(peer, "sendcmpct", &compact),
            self.ping(now, peer),
            self.message(peer, "feefilter", &FEE_FILTER.to_le_bytes()),
        ];
        if let Some(PeerFault::AddressFlood { messages: count }) = peer.fault {
            messages.extend((0..count).map(|number| self.private_addresses(peer, terms, number)));
        }
        messages
    }

    /// Tells of addresses that nobody can reach from elsewhere.
    fn private_addresses(&self, peer: &Peer, terms: Terms, number: usize) -> Vec<u8> {
        let third = u8::try_from(number % 256).unwrap_or(0);
        let addresses = (0..MAX_ADDRESSES).map(|place| {
            let last = u8::try_from(place % 256).unwrap_or(0);
            let kind = match place % 3 {
                0 => [10, 0, third, last],
                1 => [192, 168, third, last],
                _ => [127, 0, third, last],
            };
            AddrV2Message {
                time: 0,
                services: ServiceFlags::NETWORK,
                addr: AddrV2::Ipv4(kind.into()),
                port: 18444,
            }
        });
        self.addresses(peer, terms, &addresses.collect::<Vec<_>>())
    }

    fn addresses(&self, peer: &Peer, terms: Terms, addresses: &[AddrV2Message]) -> Vec<u8> {
        if terms.takes_addrv2 {
            return self.message(peer, "addrv2", &wire::list(addresses));
        }
        // Who doesn't know of other networks is told of IP alone.
        let known = addresses.iter().filter_map(|known| {
            let address = known.socket_addr().ok()?;
            Some((known.time, Address::new(&address, known.services)))
        });
        let known: Vec<(u32, Address)> = known.collect();
        self.message(peer, "addr", &wire::list(&known))
    }

    fn next_nonce(&mut self) -> u64 {
        self.pings += 1;
        // Odd, so never zero, and no small numbers.
        self.pings.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
    }

    fn ping(&mut self, now: Moment, peer: &Peer) -> Vec<u8> {
        let nonce = self.next_nonce();
        self.nonce = Some(nonce);
        self.pinged = Some(now);
        self.message(peer, "ping", &nonce.to_le_bytes())
    }

    fn on_question(&mut self, peer: &Peer, blocks: &dyn Blocks, terms: Terms, heard: Heard) -> PeerOutput {
        if peer.fault == Some(PeerFault::HugeMessage) && matches!(heard, Heard::GetHeaders(_) | Heard::GetData(_)) {
            let begun = wire::head(peer.magic(), "block", u32::MAX, [0; 4]);
            return PeerOutput {
                messages: vec![begun.to_vec()],
                then: PeerThen::Forever(vec![0; 1 << 16]),
                ..PeerOutput::default()
            };
        }
        let messages = match heard {
            Heard::Ping(nonce) => vec![self.message(peer, "pong", &nonce.to_le_bytes())],
            Heard::Pong(nonce) => {
                if self.nonce == Some(nonce) {
                    self.nonce = None;
                }
                Vec::new()
            }
            Heard::GetHeaders(question) => {
                if question.locator_hashes.len() > MAX_LOCATOR {
                    return PeerOutput::closing();
                }
                let locator = &question.locator_hashes;
                let answer = self.headers(peer, blocks, terms, locator, question.stop_hash);
                answer.into_iter().collect()
            }
            Heard::GetBlocks(question) => {
                if question.locator_hashes.len() > MAX_LOCATOR {
                    return PeerOutput::closing();
                }
                let items = self.inventory(blocks, &question.locator_hashes, question.stop_hash);
                vec![self.message(peer, "inv", &wire::list(&items))]
            }
            Heard::GetData(items) | Heard::Inv(items) if items.len() > MAX_ITEMS => return PeerOutput::closing(),
            Heard::GetData(items) => {
                self.asked.extend(items);
                Vec::new()
            }
            Heard::GetAddr if !self.gave_addresses => {
                self.gave_addresses = true;
                let told = peer.addresses.get(..MAX_ADDRESSES).unwrap_or(&peer.addresses);
                if told.is_empty() {
                    Vec::new()
                } else {
                    vec![self.addresses(peer, terms, told)]
                }
            }
            Heard::Mempool | Heard::Filter | Heard::WtxidRelay | Heard::SendAddrV2 => return PeerOutput::closing(),
            Heard::GetAddr | Heard::Inv(_) | Heard::Version(_) | Heard::Verack | Heard::SendHeaders | Heard::Other => {
                Vec::new()
            }
        };
        PeerOutput {
            messages,
            ..PeerOutput::default()
        }
    }

    fn headers(
        &mut self,
        peer: &Peer,
        blocks: &dyn Blocks,
        terms: Terms,
        locator: &[BlockHash],
        stop: BlockHash,
    ) -> Option<Vec<u8>> {
        let tip = blocks.tip()?;
        match peer.fault {
            Some(PeerFault::SilentToHeaders) => return None,
            Some(PeerFault::UnconnectingHeaders) => return self.unconnected(peer, blocks),
            _ => {}
        }
        let mut headers = Headers::new(terms);
        let endless = self.endless.filter(|endless| locator.first() == Some(&endless.hash()));
        let mut height = match locator {
            [] => {
                // Even of a branch that was left: alone, since what follows is looked for in the chain.
                let height = blocks.find(&stop)?;
                if blocks.find_in_chain(&stop).is_none() {
                    headers.push(&blocks.full_header(&stop)?);
                    self.best_told = Some(stop);
                    return Some(self.message(peer, "headers", &headers.payload()));
                }
                height
            }
            _ if endless.is_some() => blocks.height() + 1,
            _ => fork(blocks, locator) + 1,
        };
        let lowest = match peer.fault {
            Some(PeerFault::Pruned { kept }) => blocks.height().saturating_sub(kept),
            _ => 0,
        };
        let mut last = tip;
        while let Some(hash) = blocks.hash(height)
            && !headers.is_full()
        {
            if height < lowest {
                return None;
            }
            headers.push(&blocks.full_header(&hash)?);
            last = hash;
            height += 1;
            if hash == stop {
                break;
            }
        }
        if peer.fault == Some(PeerFault::EndlessHeaders) && last == tip {
            let mut endless = match endless {
                Some(endless) => endless,
                None => Endless::upon(blocks.height(), &PureHeader::decode(&blocks.full_header(&tip)?)?),
            };
            while !headers.is_full() {
                headers.push(&endless.next());
            }
            self.endless = Some(endless);
        }
        self.best_told = Some(last);
        Some(self.message(peer, "headers", &headers.payload()))
    }

    fn unconnected(&self, peer: &Peer, blocks: &dyn Blocks) -> Option<Vec<u8>> {
        let tip = PureHeader::decode(&blocks.full_header(&blocks.tip()?)?)?;
        let payload = [&[1][..], &unconnected(blocks.height(), &tip), &[0]].concat();
        Some(self.message(peer, "headers", &payload))
    }

    fn inventory(&mut self, blocks: &dyn Blocks, locator: &[BlockHash], stop: BlockHash) -> Vec<Inventory> {
        let mut items = Vec::new();
        let mut height = fork(blocks, locator) + 1;
        while let Some(hash) = blocks.hash(height)
            && hash != stop
        {
            items.push(Inventory::Block(hash));
            height += 1;
            if items.len() == MAX_INVENTORY {
                self.continues = Some(hash);
                break;
            }
        }
        items
    }

    /// Serves the next of what was asked for: a block, or all transactions up to the next one.
    fn serve(&mut self, peer: &Peer, blocks: &dyn Blocks) -> PeerOutput {
        let mut missing = Vec::new();
        while let Some(Inventory::Transaction(_) | Inventory::WitnessTransaction(_) | Inventory::WTx(_)) =
            self.asked.front()
            && let Some(item) = self.asked.pop_front()
        {
            missing.push(item);
        }
        let mut output = PeerOutput::default();
        let (hash, with_witness) = match self.asked.pop_front() {
            Some(Inventory::Block(hash)) => (Some(hash), false),
            Some(Inventory::WitnessBlock(hash) | Inventory::CompactBlock(hash)) => (Some(hash), true),
            // A filtered block, which takes Bloom filters.
            Some(Inventory::Unknown { inv_type: 3, .. }) => return PeerOutput::closing(),
            _ => (None, false),
        };
        // Of blocks that are not known Core says nothing.
        if let Some((hash, height)) = hash.and_then(|hash| Some((hash, blocks.find(&hash)?))) {
            let depth = blocks.height().saturating_sub(height);
            let is_kept = match peer.fault {
                Some(PeerFault::UploadTarget { newest }) => depth < newest,
                Some(PeerFault::Pruned { kept }) => depth <= kept + PRUNED_MARGIN,
                _ => true,
            };
            if !is_kept {
                return PeerOutput::closing();
            }
            if let Some(bytes) = block(peer, blocks, &hash, with_witness) {
                output.messages.push(self.message(peer, "block", &bytes));
                self.served += 1;
            }
            if self.continues == Some(hash) {
                self.continues = None;
                let tip: Vec<_> = blocks.tip().map(Inventory::Block).into_iter().collect();
                output.messages.push(self.message(peer, "inv", &wire::list(&tip)));
            }
        }
        let relays = matches!(self.phase, Phase::Open(terms) if terms.relays);
        if relays && !missing.is_empty() {
            output
                .messages
                .push(self.message(peer, "notfound", &wire::list(&missing)));
        }
        output
    }

    fn announcement(
        &mut self,
        peer: &Peer,
        blocks: &dyn Blocks,
        terms: Terms,
        before: Option<BlockHash>,
    ) -> Option<Vec<u8>> {
        let tip = blocks.tip()?;
        if peer.fault == Some(PeerFault::UnconnectingHeaders) {
            return self.unconnected(peer, blocks);
        }
        let new = new_blocks(blocks, before);
        if new.is_empty() {
            return None;
        }
        if terms.prefers_headers
            && let Some(headers) = self.new_headers(blocks, terms, &new)
        {
            let best = new.last().copied();
            self.best_told = if headers.count == 0 { self.best_told } else { best };
            return (headers.count > 0).then(|| self.message(peer, "headers", &headers.payload()));
        }
        (!self.has_header(blocks, &tip)).then(|| self.message(peer, "inv", &wire::list(&[Inventory::Block(tip)])))
    }

    /// Returns the headers of new blocks that the client lacks; `None` where they don't connect to what it has.
    fn new_headers(&self, blocks: &dyn Blocks, terms: Terms, new: &[BlockHash]) -> Option<Headers> {
        let mut headers = Headers::new(terms);
        for hash in new {
            let connects =
                headers.count > 0 || !self.has_header(blocks, hash) && self.has_header(blocks, &blocks.below(hash)?);
            if connects {
                headers.push(&blocks.full_header(hash)?);
            } else if !self.has_header(blocks, hash) {
                return None;
            }
        }
        Some(headers)
    }

    /// Says whether the client was told of a header, as Core's `PeerHasHeader`.
    fn has_header(&self, blocks: &dyn Blocks, hash: &BlockHash) -> bool {
        let above = || {
            let height = blocks.find(hash)?;
            let mut told = self.best_told?;
            if blocks.find_in_chain(&told).is_some() {
                let told = blocks.find(&told)?;
                return (height <= told && blocks.find_in_chain(hash).is_some()).then_some(());
            }
            while blocks.find(&told)? > height {
                told = blocks.below(&told)?;
            }
            (told == *hash).then_some(())
        };
        above().is_some()
    }
}

/// Returns a block as it is served.
fn block(peer: &Peer, blocks: &dyn Blocks, hash: &BlockHash, with_witness: bool) -> Option<Vec<u8>> {
    let bytes = match peer.fault {
        Some(fault) => fault.spoiled(blocks, hash)?,
        None => blocks.block(hash)?,
    };
    if with_witness {
        return Some(bytes);
    }
    Some(Body::decode(&bytes)?.stripped().to_bytes())
}

/// Returns the highest block of the chain that a locator names, the genesis block if there is none.
///
/// Source: Bitcoin Core `validation.cpp`, `FindForkInGlobalIndex`; the case of a block above our tip can't be here.
fn fork(blocks: &dyn Blocks, locator: &[BlockHash]) -> Height {
    let known = locator.iter().find_map(|hash| blocks.find_in_chain(hash));
    known.unwrap_or(0)
}

/// Returns the last blocks of the chain that were not in it when it ended with another one, lowest first.
fn new_blocks(blocks: &dyn Blocks, before: Option<BlockHash>) -> Vec<BlockHash> {
    let mut shared = before;
    while let Some(hash) = shared
        && blocks.find_in_chain(&hash).is_none()
    {
        shared = blocks.below(&hash);
    }
    let shared = shared.and_then(|hash| blocks.find(&hash)).unwrap_or(0);
    let mut new: Vec<BlockHash> = (shared + 1..=blocks.height())
        .rev()
        .take(MAX_ANNOUNCED)
        .filter_map(|height| blocks.hash(height))
        .collect();
    new.reverse();
    new
}

/// A message of headers.
struct Headers {
    count: usize,
    bytes: Vec<u8>,
    is_sized: bool,
}

impl Headers {
    fn new(terms: Terms) -> Self {
        Self {
            count: 0,
            bytes: Vec::new(),
            is_sized: terms.version >= SIZED_HEADERS_VERSION,
        }
    }

    fn push(&mut self, full_header: &[u8]) {
        self.count += 1;
        self.bytes.extend_from_slice(full_header);
        // A number of transactions belongs to it, which is none.
        self.bytes.push(0);
    }

    fn is_full(&self) -> bool {
        self.count >= MAX_HEADERS || self.is_sized && self.bytes.len() - self.count >= MAX_HEADER_BYTES
    }

    fn payload(&self) -> Vec<u8> {
        let mut bytes = serialize(&VarInt::from(self.count));
        bytes.extend_from_slice(&self.bytes);
        bytes
    }
}

/// Writes down what a client said.
fn note(command: &str, heard: &Heard, blocks: &dyn Blocks) -> Note {
    let (content, heights) = match heard {
        Heard::Version(version) => (
            format!("{} {} {:?}", version.version, version.user_agent, version.nonce),
            Vec::new(),
        ),
        Heard::GetHeaders(question) => {
            let locator = &question.locator_hashes;
            let first = locator.first().copied().unwrap_or_else(BlockHash::all_zeros);
            (
                format!("{} hashes, the first one {first}", locator.len()),
                vec![fork(blocks, locator)],
            )
        }
        Heard::GetBlocks(question) => {
            let locator = &question.locator_hashes;
            (format!("{} hashes", locator.len()), vec![fork(blocks, locator)])
        }
        Heard::GetData(items) => {
            let heights: Vec<Height> = items
                .iter()
                .filter_map(|item| match item {
                    Inventory::Block(hash) | Inventory::WitnessBlock(hash) | Inventory::CompactBlock(hash) => {
                        blocks.find(hash)
                    }
                    _ => None,
                })
                .collect();
            (format!("{} items", items.len()), heights)
        }
        _ => (String::new(), Vec::new()),
    };
    Note {
        command: command.to_owned(),
        content,
        heights,
    }
}

//! The machine that fetches headers and blocks, among peers of all kinds, in virtual time: blocks come in order and without
//! gaps, no more waits than may, nothing is said that Core would hang up at, and all ends well with one honest peer.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use isonym_core::chain::{Anchor, HeaderTree, Height, Network};
use isonym_core::isolation::ConnId;
use isonym_core::p2p::message::{MAX_INVENTORY, MAX_LOCATOR};
use isonym_core::p2p::peer_sync::{KnownPeer, PeerFault as Seen, PeerIndex, PeerKind};
use isonym_core::p2p::{Decoder, Message, PeerSync, PeerSyncEffect, PeerSyncEvent, PeerSyncSettings, encode};
use isonym_core::time::{Moment, Now, Timestamp};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::{Peer, PeerFault, PeerSession, PeerThen};
use crate::blocks::BlockIndex;
use crate::parent::Flaw;
use crate::wallet::AddressKind;
use crate::{SimChain, World};

const START: u64 = 1_600_000_000;

/// The length of a step of virtual time, in milliseconds.
const STEP: u64 = 50;

/// Bytes that a peer has ready at most.
const UNSENT: usize = 64 * 1024;

const SETTINGS: PeerSyncSettings = PeerSyncSettings {
    connections: 4,
    learned: 3,
    greeting_timeout: Duration::from_secs(60),
    silence: Duration::from_secs(45),
    ping_every: Duration::from_secs(120),
    hedge_after: Duration::from_secs(15),
    ahead: Duration::from_secs(5),
    buffer: 20_000,
    unread: 16,
    rate: None,
    lag: Duration::from_secs(30 * 60),
};

/// A peer, and how far away it is.
struct Node {
    peer: Peer,
    index: BlockIndex,
    kind: PeerKind,
    /// One way, in milliseconds.
    delay: u64,
    /// Bytes a second.
    rate: u64,
}

impl Node {
    fn new(fault: Option<PeerFault>, chain: &SimChain) -> Self {
        let doctored = fault.and_then(|fault| fault.doctored(chain));
        let peer = Peer::new(Network::Regtest);
        let rate = match fault {
            Some(PeerFault::Slow { bytes_per_second }) => bytes_per_second,
            _ => 100_000,
        };
        Self {
            peer: match fault {
                Some(fault) => peer.with_fault(fault),
                None => peer,
            },
            index: BlockIndex::of(doctored.as_ref().unwrap_or(chain)),
            kind: PeerKind::Shipped,
            delay: 150,
            rate,
        }
    }
}

struct Link {
    node: usize,
    session: PeerSession,
    decoder: Decoder,
    /// What is on its way to the peer.
    up: VecDeque<(u64, Vec<u8>)>,
    /// What is on its way to us, and when the first of it is there.
    down: VecDeque<(u64, Vec<u8>)>,
    then: PeerThen,
    /// What Core would hang up at.
    has_greeted: bool,
}

struct Room {
    now: u64,
    nodes: Vec<Node>,
    links: BTreeMap<ConnId, Link>,
    dialing: VecDeque<(u64, usize)>,
    next_conn: u64,
    machine: PeerSync,
    tree: HeaderTree,
    wake: u64,
    /// Steps at which the machine was woken for the time alone.
    wakes: u64,
    /// The next block that is to come, and those that were read.
    next: Option<Height>,
    blocks: Vec<bitcoin::BlockHash>,
    unread: VecDeque<(u64, Height)>,
    reading: u64,
    most_waiting: usize,
    faults: BTreeMap<usize, Seen>,
    told: usize,
}

impl Room {
    fn new(nodes: Vec<Node>, settings: PeerSyncSettings, seed: u64) -> Self {
        let params = Network::Regtest.params();
        let anchor = Anchor {
            height: 0,
            hash: params.genesis.hash(),
            chainwork: None,
        };
        let mut machine_seed = [0; 32];
        machine_seed[..8].copy_from_slice(&seed.to_le_bytes());
        let known = nodes
            .iter()
            .map(|node| KnownPeer {
                kind: node.kind,
                group: None,
                told_by: None,
            })
            .collect();
        let mut room = Self {
            now: 1_000,
            nodes,
            links: BTreeMap::new(),
            dialing: VecDeque::new(),
            next_conn: 1,
            machine: PeerSync::new(params, settings, machine_seed),
            tree: HeaderTree::new(params, anchor),
            wake: 0,
            wakes: 0,
            next: None,
            blocks: Vec::new(),
            unread: VecDeque::new(),
            reading: 20,
            most_waiting: 0,
            faults: BTreeMap::new(),
            told: 0,
        };
        room.event(PeerSyncEvent::Known(known));
        room
    }

    fn begin(&mut self, next: Height) {
        self.next = Some(next);
        self.unread.clear();
        self.event(PeerSyncEvent::Begin { next: Some(next) });
    }

    fn event(&mut self, event: PeerSyncEvent) {
        let now = Now {
            wall: Timestamp(START + 1_000_000_000 + self.now / 1_000),
            steady: Moment(self.now),
        };
        let effects = self.machine.on_event(now, &mut self.tree, event);
        let mut wakes = 0;
        for effect in effects {
            match effect {
                PeerSyncEffect::Dial(PeerIndex(node)) => {
                    let at = self.now + 2 * self.nodes[node].delay;
                    self.dialing.push_back((at, node));
                }
                PeerSyncEffect::Send { conn, message } => self.send(conn, &message),
                PeerSyncEffect::Close(conn) => {
                    let link = self.links.get_mut(&conn).unwrap();
                    link.then = PeerThen::Close;
                    link.down.clear();
                }
                PeerSyncEffect::BestChanged { from } => assert!(from > 0 && from <= self.tree.tip().height),
                PeerSyncEffect::Block { height, block, size } => {
                    assert_eq!(self.next, Some(height), "blocks come in order");
                    assert_eq!(self.tree.hash_at(height), Some(block.hash()));
                    assert!(size > 80);
                    self.blocks.truncate(height as usize - 1);
                    assert_eq!(self.blocks.len(), height as usize - 1);
                    self.blocks.push(block.hash());
                    self.next = Some(height + 1);
                    self.unread.push_back((self.now + self.reading, height + 1));
                }
                PeerSyncEffect::Report { peer, fault } => {
                    self.faults.insert(peer.0, fault);
                }
                PeerSyncEffect::Told { addresses, .. } => self.told += addresses.len(),
                PeerSyncEffect::WakeAt(at) => {
                    assert!(at.0 > self.now);
                    self.wake = at.0;
                    wakes += 1;
                }
            }
        }
        assert_eq!(wakes, 1);
        let waiting = self.machine.progress(&self.tree).waiting;
        self.most_waiting = self.most_waiting.max(waiting);
    }

    fn send(&mut self, conn: ConnId, message: &Message) {
        let Some(link) = self.links.get_mut(&conn).filter(|link| link.then == PeerThen::GoOn) else {
            return;
        };
        match message {
            Message::Version(_) => assert!(!link.has_greeted),
            Message::GetHeaders { locator, .. } => assert!(!locator.is_empty() && locator.len() <= MAX_LOCATOR),
            Message::GetData(inventory) => assert!(!inventory.is_empty() && inventory.len() <= MAX_INVENTORY),
            _ => assert!(link.has_greeted),
        }
        link.has_greeted = true;
        let delay = self.nodes[link.node].delay;
        link.up.push_back((self.now + delay, encode(Network::Regtest, message)));
    }

    /// Lets a step of time go by.
    fn step(&mut self) {
        self.now += STEP;
        while let Some((_, node)) = self.dialing.pop_front_if(|(at, _)| *at <= self.now) {
            let conn = ConnId(self.next_conn);
            self.next_conn += 1;
            self.links.insert(
                conn,
                Link {
                    node,
                    session: PeerSession::new(Moment(self.now)),
                    decoder: Decoder::new(Network::Regtest),
                    up: VecDeque::new(),
                    down: VecDeque::new(),
                    then: PeerThen::GoOn,
                    has_greeted: false,
                },
            );
            let peer = PeerIndex(node);
            self.event(PeerSyncEvent::Connected { peer, conn });
        }
        let conns: Vec<ConnId> = self.links.keys().copied().collect();
        for conn in conns {
            self.step_link(conn);
        }
        while let Some((_, next)) = self.unread.pop_front_if(|(at, _)| *at <= self.now) {
            self.event(PeerSyncEvent::Read { next });
        }
        if self.wake <= self.now {
            self.wakes += 1;
            self.event(PeerSyncEvent::Tick);
        }
    }

    fn step_link(&mut self, conn: ConnId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&conn) else { return };
        let node = &self.nodes[link.node];
        while let Some((_, bytes)) = link.up.pop_front_if(|(at, _)| *at <= now) {
            link.session.receive(&bytes);
        }
        let mut said = Vec::new();
        if link.then == PeerThen::GoOn {
            let timed = link.session.on_time(Moment(now), &node.peer);
            link.then = timed.then;
            said.extend(timed.messages);
        }
        let unsent = |link: &Link| link.down.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        while link.then == PeerThen::GoOn
            && unsent(link) < UNSENT
            && let Some(output) = link.session.step(Moment(now), &node.peer, &node.index)
        {
            link.then = output.then;
            let messages = output.messages.into_iter();
            link.down.extend(messages.map(|bytes| (now + node.delay, bytes)));
        }
        link.down
            .extend(said.into_iter().map(|bytes| (now + node.delay, bytes)));
        if let PeerThen::Forever(bytes) = &link.then
            && unsent(link) < UNSENT
        {
            let bytes = bytes.clone();
            link.down.push_back((now + node.delay, bytes));
        }
        let mut quota = (node.rate * STEP / 1_000) as usize;
        let mut came = Vec::new();
        while quota > 0
            && let Some((at, bytes)) = link.down.front_mut()
            && *at <= now
        {
            let count = quota.min(bytes.len());
            quota -= count;
            came.extend(bytes.drain(..count));
            if bytes.is_empty() {
                link.down.pop_front();
            }
        }
        let is_over = link.then == PeerThen::Close && link.down.is_empty();
        self.receive(conn, &came);
        if is_over && self.links.remove(&conn).is_some() {
            self.event(PeerSyncEvent::Closed { conn });
        }
    }

    fn receive(&mut self, conn: ConnId, came: &[u8]) {
        if came.is_empty() {
            return;
        }
        let bytes = came.len() as u64;
        self.event(PeerSyncEvent::Received { conn, bytes });
        self.links.get_mut(&conn).unwrap().decoder.feed(came);
        loop {
            let link = self.links.get_mut(&conn).unwrap();
            match link.decoder.next_message() {
                Ok(Some(message)) => self.event(PeerSyncEvent::Message { conn, message }),
                Ok(None) => return,
                Err(error) => {
                    self.event(PeerSyncEvent::Garbled { conn, error });
                    return;
                }
            }
        }
    }

    fn run(&mut self, seconds: u64) {
        let end = self.now + seconds * 1_000;
        while self.now < end {
            self.step();
        }
    }

    /// Goes on until all blocks of a chain are read.
    fn run_until_read(&mut self, chain: &SimChain, seconds: u64) {
        let end = self.now + seconds * 1_000;
        while self.blocks.last() != Some(&chain.tip_hash()) {
            assert!(
                self.now < end,
                "{} of {} blocks, tip {}, {:?}, faults {:?}",
                self.blocks.len(),
                chain.height(),
                self.tree.tip().height,
                self.machine.progress(&self.tree),
                self.faults
            );
            self.step();
        }
        for (height, hash) in (1..).zip(&self.blocks) {
            assert_eq!(chain.header(height).unwrap().hash(), *hash);
        }
    }

    /// Has peers go over to another chain, and tell of it.
    fn follow(&mut self, chain: &SimChain) {
        for node in &mut self.nodes {
            node.index.follow(chain);
        }
        for link in self.links.values_mut() {
            let node = &self.nodes[link.node];
            let output = link.session.announce(&node.peer, &node.index);
            let messages = output.messages.into_iter();
            link.down.extend(messages.map(|bytes| (self.now + node.delay, bytes)));
        }
    }
}

fn world(seed: u64, blocks: u32) -> World {
    let mut world = World::new(seed, Timestamp(START));
    world.mine(blocks / 2);
    world
        .register_all(&[
            ("d/one", "{}", AddressKind::P2wpkh),
            ("d/two", "{}", AddressKind::P2pkh),
        ])
        .unwrap();
    let missing = blocks.saturating_sub(world.chain().height());
    world.mine(missing);
    world
}

/// One peer that is as it should be.
fn alone(chain: &SimChain) -> Vec<Node> {
    vec![Node::new(None, chain)]
}

/// Peers with these faults, and one without.
fn among(faults: &[PeerFault], chain: &SimChain) -> Vec<Node> {
    let mut nodes: Vec<Node> = faults.iter().map(|fault| Node::new(Some(*fault), chain)).collect();
    nodes.push(Node::new(None, chain));
    nodes
}

fn faults() -> Vec<PeerFault> {
    vec![
        PeerFault::Silent,
        PeerFault::Version(60_000),
        PeerFault::WrongMagic,
        PeerFault::BadChecksums,
        PeerFault::Stalls { after: 0 },
        PeerFault::Stalls { after: 20 },
        PeerFault::Slow { bytes_per_second: 300 },
        PeerFault::UploadTarget { newest: 100 },
        PeerFault::Pruned { kept: 290 },
        PeerFault::SilentToHeaders,
        PeerFault::UnconnectingHeaders,
        PeerFault::ForgedAuxPow {
            from: 40,
            flaw: Flaw::NotEnoughWork,
        },
        PeerFault::LessWork { depth: 9, blocks: 4 },
        PeerFault::Eclipse { height: 150 },
        PeerFault::OtherBlocks,
        PeerFault::MutatedBlocks,
        PeerFault::ForgedTransactions,
        PeerFault::ForgedWitnesses,
        PeerFault::HugeMessage,
        PeerFault::AddressFlood { messages: 30 },
    ]
}

#[test]
fn one_honest_peer_is_enough_and_then_the_machine_sleeps() {
    let world = world(1, 420);
    let mut room = Room::new(alone(world.chain()), SETTINGS, 1);
    room.begin(1);
    room.run_until_read(world.chain(), 120);
    room.run(10);
    let (wakes, progress) = (room.wakes, room.machine.progress(&room.tree));
    assert_eq!((progress.peers, progress.agreeing), (1, 1));
    room.run(600);
    assert!(room.wakes - wakes < 40, "{} wakes in ten minutes", room.wakes - wakes);
    assert_eq!(room.links.len(), 1, "nobody hung up");
    assert_eq!(room.faults, BTreeMap::new());
}

#[test]
fn beside_each_fault_all_blocks_come() {
    let world = world(2, 420);
    for fault in faults() {
        let mut room = Room::new(among(&[fault], world.chain()), SETTINGS, 3);
        room.begin(1);
        room.run_until_read(world.chain(), 900);
        // Waiting blocks keep their bound, whoever stalls; the next one may come on top.
        assert!(
            room.most_waiting <= SETTINGS.buffer + 5_000,
            "{fault:?}: {}",
            room.most_waiting
        );
        let faulty = room.faults.keys().all(|node| *node == 0);
        assert!(faulty, "{fault:?}: an honest peer is blamed: {:?}", room.faults);
    }
}

#[test]
fn who_lies_is_found_out_and_who_is_merely_of_no_use_is_not_blamed() {
    let world = world(4, 330);
    for fault in faults() {
        let mut room = Room::new(vec![Node::new(Some(fault), world.chain())], SETTINGS, 5);
        room.begin(1);
        room.run(60);
        let seen = room.faults.get(&0);
        let is_blamed_rightly = match fault {
            PeerFault::WrongMagic | PeerFault::BadChecksums | PeerFault::HugeMessage => {
                matches!(seen, Some(Seen::Garbled(_)))
            }
            PeerFault::ForgedAuxPow { .. } => matches!(seen, Some(Seen::Header(_))),
            PeerFault::MutatedBlocks | PeerFault::ForgedTransactions | PeerFault::ForgedWitnesses => {
                matches!(seen, Some(Seen::Block { .. }))
            }
            _ => seen.is_none(),
        };
        assert!(is_blamed_rightly, "{fault:?}: {seen:?}");
        assert!(
            u64::try_from(room.told).unwrap() <= 100 * room.next_conn,
            "addresses are bounded"
        );
    }
}

#[test]
fn crowds_of_all_kinds_do_not_keep_the_blocks_back() {
    let world = world(6, 420);
    for seed in 0..12 {
        let mut rng = StdRng::seed_from_u64(seed);
        let all = faults();
        let some: Vec<PeerFault> = all.choose_multiple(&mut rng, 6).copied().collect();
        let mut nodes = among(&some, world.chain());
        for node in &mut nodes {
            node.delay = rng.random_range(20..800);
            node.rate = node.rate.min(rng.random_range(5_000..200_000));
        }
        let mut room = Room::new(nodes, SETTINGS, seed);
        room.reading = rng.random_range(1..300);
        room.begin(1);
        room.run_until_read(world.chain(), 3_600);
        assert!(room.most_waiting <= SETTINGS.buffer + 5_000);
    }
}

#[test]
fn a_chain_that_turns_is_followed() {
    for depth in [1, 6, 30] {
        let world = world(7, 330);
        let mut room = Room::new(among(&[PeerFault::Stalls { after: 50 }], world.chain()), SETTINGS, 8);
        room.begin(1);
        room.run_until_read(world.chain(), 900);
        let fork = world.chain().height() - depth;
        let mut other = world.fork_at(fork, 99);
        other.mine(depth + 2);
        room.follow(other.chain());
        let end = room.now + 600_000;
        while room.tree.tip().hash != other.chain().tip_hash() {
            assert!(room.now < end, "headers of the other branch");
            room.step();
        }
        room.begin(fork + 1);
        room.run_until_read(other.chain(), 600);
    }
}

#[test]
fn new_blocks_come_at_once() {
    let mut world = world(9, 300);
    let mut room = Room::new(alone(world.chain()), SETTINGS, 10);
    room.begin(1);
    room.run_until_read(world.chain(), 300);
    for _ in 0..5 {
        world.mine(1);
        room.follow(world.chain());
        room.run_until_read(world.chain(), 5);
        room.run(30);
    }
}

#[test]
fn a_limit_is_kept() {
    let world = world(11, 420);
    let rate = Some(3_000);
    let settings = PeerSyncSettings { rate, ..SETTINGS };
    let mut room = Room::new(alone(world.chain()), settings, 12);
    room.run(60);
    assert_eq!(room.tree.tip().hash, world.chain().tip_hash());
    let (begun, before) = (room.now, room.machine.progress(&room.tree).received);
    room.begin(1);
    room.run_until_read(world.chain(), 600);
    let bytes = room.machine.progress(&room.tree).received - before;
    let seconds = (room.now - begun) / 1_000;
    assert!(bytes <= 3_000 * (seconds + 6) + 10_000, "{bytes} bytes in {seconds} s");
}

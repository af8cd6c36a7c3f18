//! The client's machine among honest peers and others, in virtual time over slow ways: it comes to the best chain and all of
//! its blocks, and leaves no honest peer for good.

use std::collections::BTreeMap;
use std::time::Duration;

use bitcoin::BlockHash;
use isonym_core::chain::{HeaderTree, Height, Network};
use isonym_core::isolation::ConnId;
use isonym_core::p2p::peer_sync::{KnownPeer, PeerFault as Reported, PeerIndex, PeerKind};
use isonym_core::p2p::{Decoder, PeerSync, PeerSyncEffect, PeerSyncEvent, PeerSyncSettings, encode};
use isonym_core::time::{Moment, Now, Timestamp};

use super::{Peer, PeerFault, PeerOutput, PeerSession, PeerThen};
use crate::blocks::BlockIndex;
use crate::link::{Direction, Link};
use crate::parent::Flaw;
use crate::wallet::{AddressKind, Signer};
use crate::{SimChain, World};

const LINK: Link = Link {
    round_trip: Duration::from_millis(300),
    bytes_per_second: 200_000,
};

/// Bytes that arrive at a time.
const PIECE: usize = 32 << 10;

/// The first block that is wanted.
const WINDOW: Height = 214;

/// After this much virtual time a test has failed.
const PATIENCE: Duration = Duration::from_secs(6 * 60 * 60);

enum Happening {
    Connected(PeerIndex),
    ToPeer(ConnId, Vec<u8>),
    ToClient(ConnId, Vec<u8>),
    /// Bytes without end.
    Flood(ConnId, Vec<u8>),
    Ended(ConnId),
    PeerTime(ConnId),
    Tick,
}

struct Connection {
    peer: usize,
    session: PeerSession,
    decoder: Decoder,
    up: Direction,
    down: Direction,
}

struct Scene {
    now: Moment,
    happenings: BTreeMap<(Moment, u64), Happening>,
    count: u64,
    machine: PeerSync,
    tree: HeaderTree,
    peers: Vec<(Peer, BlockIndex)>,
    connections: BTreeMap<ConnId, Connection>,
    dialed: u64,
    /// The blocks that were handed on, by their heights.
    blocks: BTreeMap<Height, BlockHash>,
    reports: Vec<(usize, Reported)>,
}

impl Scene {
    fn new(chain: &SimChain, faults: &[Option<PeerFault>], seed: u8) -> Self {
        let settings = PeerSyncSettings {
            connections: 3,
            ..PeerSyncSettings::default()
        };
        let params = Network::Regtest.params();
        let peers = faults.iter().map(|fault| {
            let peer = fault.map_or_else(Peer::default, |fault| Peer::default().with_fault(fault));
            (peer, BlockIndex::default())
        });
        let mut network = Self {
            now: Moment::default(),
            happenings: BTreeMap::new(),
            count: 0,
            machine: PeerSync::new(params, settings, [seed; 32]),
            tree: chain.truncated(0).header_tree(params).unwrap(),
            peers: peers.collect(),
            connections: BTreeMap::new(),
            dialed: 0,
            blocks: BTreeMap::new(),
            reports: Vec::new(),
        };
        network.grow(chain);
        let known = KnownPeer {
            kind: PeerKind::Named,
            group: None,
            told_by: None,
        };
        network.tell(PeerSyncEvent::Known(vec![known; faults.len()]));
        network.tell(PeerSyncEvent::Begin { next: Some(WINDOW) });
        network
    }

    /// Lets the chain become another one.
    fn grow(&mut self, chain: &SimChain) {
        for (peer, index) in &mut self.peers {
            let doctored = peer.fault().and_then(|fault| fault.doctored(chain));
            index.follow(doctored.as_ref().unwrap_or(chain));
        }
        for conn in self.connections.keys().copied().collect::<Vec<_>>() {
            let connection = self.connections.get_mut(&conn).unwrap();
            let (peer, index) = &self.peers[connection.peer];
            let output = connection.session.announce(peer, index);
            self.carry_back(conn, output);
        }
    }

    fn at(&mut self, moment: Moment, happening: Happening) {
        self.count += 1;
        self.happenings.insert((moment, self.count), happening);
    }

    fn since(&self) -> Duration {
        self.now.since(Moment::default())
    }

    fn tell(&mut self, event: PeerSyncEvent) {
        let now = Now {
            wall: Timestamp(2_000_000_000 + self.since().as_secs()),
            steady: self.now,
        };
        let effects = self.machine.on_event(now, &mut self.tree, event);
        let mut read = None;
        let mut changed: Option<Height> = None;
        for effect in effects {
            match effect {
                PeerSyncEffect::Dial(peer) => self.at(self.now + LINK.round_trip * 2, Happening::Connected(peer)),
                PeerSyncEffect::Send { conn, message } => {
                    let since = self.since();
                    if let Some(connection) = self.connections.get_mut(&conn) {
                        let bytes = encode(Network::Regtest, &message);
                        let arrival = connection.up.send(since, bytes.len());
                        self.at(Moment::default() + arrival, Happening::ToPeer(conn, bytes));
                    }
                }
                PeerSyncEffect::Close(conn) => drop(self.connections.remove(&conn)),
                PeerSyncEffect::BestChanged { from } => changed = Some(changed.unwrap_or(from).min(from)),
                PeerSyncEffect::Block { height, block, .. } => {
                    self.blocks.insert(height, block.hash());
                    read = Some(height + 1);
                }
                PeerSyncEffect::Report { peer, fault } => self.reports.push((peer.0, fault)),
                PeerSyncEffect::Told { .. } => {}
                PeerSyncEffect::WakeAt(moment) => {
                    self.happenings
                        .retain(|_, happening| !matches!(happening, Happening::Tick));
                    self.at(moment, Happening::Tick);
                }
            }
        }
        if let Some(next) = read {
            self.tell(PeerSyncEvent::Read { next });
        }
        if let Some(from) = changed
            && self.blocks.last_key_value().is_some_and(|(height, _)| *height >= from)
        {
            self.blocks.retain(|height, _| *height < from);
            self.tell(PeerSyncEvent::Begin { next: Some(from) });
        }
    }

    /// Brings what a peer says on its way to the client.
    fn carry_back(&mut self, conn: ConnId, output: PeerOutput) {
        let since = self.since();
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        let link = match self.peers[connection.peer].0.fault() {
            Some(PeerFault::Slow { bytes_per_second }) => Some(bytes_per_second),
            _ => None,
        };
        let bytes = output.messages.concat();
        let mut arrivals = Vec::new();
        for piece in bytes.chunks(PIECE) {
            let factor = link.map_or(1, |rate| LINK.bytes_per_second / rate);
            let size = piece.len() * usize::try_from(factor).unwrap();
            arrivals.push((connection.down.send(since, size), piece.to_vec()));
        }
        let end = connection.down.send(since, 0);
        for (arrival, piece) in arrivals {
            self.at(Moment::default() + arrival, Happening::ToClient(conn, piece));
        }
        match output.then {
            PeerThen::GoOn => {}
            PeerThen::Close => self.at(Moment::default() + end, Happening::Ended(conn)),
            PeerThen::Forever(bytes) => self.at(Moment::default() + end, Happening::Flood(conn, bytes)),
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tick => self.tell(PeerSyncEvent::Tick),
            Happening::Connected(peer) => {
                self.dialed += 1;
                let conn = ConnId(self.dialed);
                let connection = Connection {
                    peer: peer.0,
                    session: PeerSession::new(self.now),
                    decoder: Decoder::new(Network::Regtest),
                    up: LINK.direction(),
                    down: LINK.direction(),
                };
                self.at(connection.session.next_time(), Happening::PeerTime(conn));
                self.connections.insert(conn, connection);
                self.tell(PeerSyncEvent::Connected { peer, conn });
            }
            Happening::ToPeer(conn, bytes) => {
                if let Some(connection) = self.connections.get_mut(&conn) {
                    connection.session.receive(&bytes);
                }
                while let Some(connection) = self.connections.get_mut(&conn) {
                    let (peer, index) = &self.peers[connection.peer];
                    let Some(output) = connection.session.step(self.now, peer, index) else {
                        break;
                    };
                    self.carry_back(conn, output);
                }
            }
            Happening::PeerTime(conn) => {
                if let Some(connection) = self.connections.get_mut(&conn) {
                    let output = connection.session.on_time(self.now, &self.peers[connection.peer].0);
                    let next = connection.session.next_time().max(self.now + Duration::from_secs(1));
                    self.at(next, Happening::PeerTime(conn));
                    self.carry_back(conn, output);
                }
            }
            Happening::ToClient(conn, bytes) => self.receive(conn, &bytes),
            Happening::Flood(conn, bytes) => {
                let since = self.since();
                if let Some(connection) = self.connections.get_mut(&conn) {
                    let arrival = connection.down.send(since, bytes.len());
                    self.at(Moment::default() + arrival, Happening::Flood(conn, bytes.clone()));
                    self.receive(conn, &bytes);
                }
            }
            Happening::Ended(conn) => {
                if self.connections.remove(&conn).is_some() {
                    self.tell(PeerSyncEvent::Closed { conn });
                }
            }
        }
    }

    fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        connection.decoder.feed(bytes);
        let bytes = u64::try_from(bytes.len()).unwrap();
        self.tell(PeerSyncEvent::Received { conn, bytes });
        while let Some(connection) = self.connections.get_mut(&conn) {
            match connection.decoder.next_message() {
                Ok(Some(message)) => self.tell(PeerSyncEvent::Message { conn, message }),
                Ok(None) => return,
                Err(error) => {
                    self.tell(PeerSyncEvent::Garbled { conn, error });
                    return;
                }
            }
        }
    }

    fn has_all(&self, chain: &SimChain) -> bool {
        self.tree.tip().hash == chain.tip_hash() && self.blocks.get(&chain.height()) == Some(&chain.tip_hash())
    }

    /// Goes on until the client has all of a chain; says how long that took.
    fn sync(&mut self, chain: &SimChain) -> Duration {
        let begun = self.now;
        while !self.has_all(chain) {
            let ((moment, _), happening) = self.happenings.pop_first().expect("something is due always");
            self.now = self.now.max(moment);
            let tip = self.tree.tip().height;
            assert!(
                self.now.since(begun) < PATIENCE,
                "after {:?} its tip is {tip}, reports: {:?}",
                self.since(),
                self.reports
            );
            self.happen(happening);
        }
        for height in WINDOW..=chain.height() {
            assert_eq!(
                self.blocks.get(&height).copied(),
                chain.header(height).map(|header| header.hash())
            );
        }
        self.now.since(begun)
    }

    fn reported(&self) -> Vec<usize> {
        let mut reported: Vec<usize> = self.reports.iter().map(|(peer, _)| *peer).collect();
        reported.sort_unstable();
        reported.dedup();
        reported
    }
}

/// Some hundred blocks. In those of the window names are renewed, and all of them have three transactions: an odd number, so
/// that they can be mutated.
fn world(seed: u64) -> World {
    let mut world = World::new(seed, Timestamp(1_700_000_000));
    world.mine(200);
    let names = [
        ("d/a", "value", AddressKind::P2wpkh),
        ("d/b", "value", AddressKind::P2pkh),
    ];
    world.register_all(&names).unwrap();
    assert_eq!(world.chain().height() + 1, WINDOW);
    for number in 0..100 {
        for (name, _, kind) in names {
            let value = number.to_string();
            world.queue_update(name, value, kind, Signer::Owner).unwrap();
        }
        world.mine(1);
    }
    world
}

#[test]
fn honest_peers_share_the_work_and_none_is_left() {
    let mut world = world(1);
    let mut network = Scene::new(world.chain(), &[None; 4], 1);
    network.sync(world.chain());
    assert_eq!(network.reports, []);
    // New blocks come at once, and so do those of another branch.
    for round in 0..3 {
        world.mine(2);
        network.grow(world.chain());
        let took = network.sync(world.chain());
        assert!(took < Duration::from_secs(10), "{took:?}");
        let height = world.chain().height();
        let mut other = world.fork_at(height - 5, 77 + round);
        other.mine(8);
        world = other;
        network.grow(world.chain());
        let took = network.sync(world.chain());
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
    assert_eq!(network.reports, []);
}

/// What a peer can do, and whether no honest one does it. Headers without end are not among it: those have work, and so the
/// most.
const FAULTS: [(PeerFault, bool); 20] = [
    (PeerFault::Silent, false),
    (PeerFault::Version(209), false),
    (PeerFault::WrongMagic, true),
    (PeerFault::BadChecksums, true),
    (PeerFault::Stalls { after: 5 }, false),
    (PeerFault::Slow { bytes_per_second: 1000 }, false),
    (PeerFault::UploadTarget { newest: 20 }, false),
    (PeerFault::Pruned { kept: 40 }, false),
    (PeerFault::SilentToHeaders, false),
    (PeerFault::UnconnectingHeaders, false),
    (
        PeerFault::ForgedAuxPow {
            from: 150,
            flaw: Flaw::NotEnoughWork,
        },
        true,
    ),
    (PeerFault::LessWork { depth: 30, blocks: 20 }, false),
    (PeerFault::Eclipse { height: 100 }, false),
    (PeerFault::OtherBlocks, false),
    (PeerFault::MutatedBlocks, true),
    (PeerFault::ForgedTransactions, true),
    (PeerFault::ForgedWitnesses, true),
    (PeerFault::HugeMessage, true),
    (PeerFault::AddressFlood { messages: 20 }, false),
    (
        PeerFault::ForgedAuxPow {
            from: 1,
            flaw: Flaw::WrongSlot,
        },
        true,
    ),
];

#[test]
fn one_honest_peer_beside_two_of_a_kind_is_enough() {
    let world = world(2);
    for (number, (fault, is_malice)) in (0..).zip(FAULTS) {
        let faults = [Some(fault), None, Some(fault)];
        let mut network = Scene::new(world.chain(), &faults, number);
        let took = network.sync(world.chain());
        let reported = network.reported();
        assert!(
            !reported.contains(&1),
            "{fault:?}: the honest one is left for good: {:?}",
            network.reports
        );
        assert_eq!(is_malice, !reported.is_empty(), "{fault:?} {:?}", network.reports);
        assert!(took < Duration::from_secs(60 * 60), "{fault:?}: {took:?}");
    }
}

#[test]
fn an_honest_peer_with_a_crowd_of_all_kinds_is_found() {
    let mut world = world(3);
    let mut faults: Vec<Option<PeerFault>> = FAULTS.iter().map(|(fault, _)| Some(*fault)).collect();
    faults.push(None);
    let honest = faults.len() - 1;
    let mut network = Scene::new(world.chain(), &faults, 9);
    network.sync(world.chain());
    world.mine(3);
    network.grow(world.chain());
    network.sync(world.chain());
    assert!(!network.reported().contains(&honest), "{:?}", network.reports);
}

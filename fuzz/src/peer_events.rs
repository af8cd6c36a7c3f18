//! Any events in any order, with headers and blocks good and bad: blocks are handed on in order, what waits stays bounded, and
//! nothing is said that a node would hang up at.

use crate::Bytes;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::{AddrV2, AddrV2Message, Address};
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::{Block, BlockHash};
use isonym::chain::{Anchor, HeaderTree, Height, Network};
use isonym::isolation::ConnId;
use isonym::p2p::message::{MAX_INVENTORY, MAX_LOCATOR};
use isonym::p2p::peer_sync::{KnownPeer, PeerIndex, PeerKind};
use isonym::p2p::{CodecError, Message, PeerSync, PeerSyncEffect, PeerSyncEvent, PeerSyncSettings};
use isonym::time::{Moment, Now, Timestamp};

const MOST_EVENTS: usize = 400;
const PEERS: usize = 5;
const TIP: usize = 40;
const WALL: Timestamp = Timestamp(1_296_800_000);

/// Blocks of three branches, the second one from height 20 and the third one from height 30.
static CHAINS: LazyLock<[Vec<Block>; 3]> = LazyLock::new(|| {
    let genesis = vec![bitcoin::constants::genesis_block(bitcoin::Network::Regtest)];
    let first = mined(genesis, TIP, 1);
    let second = mined(first[..=20].to_vec(), TIP - 18, 2);
    let third = mined(first[..=30].to_vec(), 3, 3);
    [first, second, third]
});

fn mined(mut chain: Vec<Block>, count: usize, salt: u8) -> Vec<Block> {
    for _ in 0..count {
        let mut block = chain[0].clone();
        block.txdata[0].input[0].script_sig = vec![salt, chain.len() as u8].into();
        block.header.version = bitcoin::block::Version::from_consensus(0x0001_0004);
        block.header.prev_blockhash = chain[chain.len() - 1].block_hash();
        block.header.merkle_root = block.compute_merkle_root().unwrap();
        block.header.time = 1_296_688_602 + 600 * chain.len() as u32;
        while block.block_hash().to_byte_array()[31] > 0x7e {
            block.header.nonce += 1;
        }
        chain.push(block);
    }
    chain
}

#[derive(Default)]
struct Seen {
    dials: Vec<usize>,
    conns: Vec<ConnId>,
    open: BTreeSet<ConnId>,
    asked: Vec<(ConnId, BlockHash)>,
    handed_on: Option<Height>,
}

fn version(bend: u8) -> VersionMessage {
    let nobody = Address::new(&([0, 0, 0, 0], 0).into(), ServiceFlags::NONE);
    let services = match bend {
        0..16 => ServiceFlags::NONE,
        16..64 => ServiceFlags::NETWORK_LIMITED | ServiceFlags::WITNESS,
        _ => ServiceFlags::NETWORK | ServiceFlags::WITNESS,
    };
    VersionMessage {
        version: if bend == 255 { 60_000 } else { 70_016 },
        services,
        timestamp: 0,
        receiver: nobody.clone(),
        sender: nobody,
        nonce: 1,
        user_agent: String::new(),
        start_height: i32::from(bend) - 100,
        relay: false,
    }
}

fn block(bytes: &mut Bytes<'_>) -> Option<&'static Block> {
    let chain = &CHAINS[usize::from(bytes.next()?) % CHAINS.len()];
    chain.get(usize::from(bytes.next()?) % chain.len())
}

fn message(bytes: &mut Bytes<'_>, conn: ConnId, seen: &mut Seen) -> Option<Message> {
    Some(match bytes.next()? % 14 {
        0 => Message::Version(Box::new(version(bytes.next()?))),
        1 => Message::Verack,
        2 => Message::Ping(1),
        3 => Message::Pong(bytes.next()?.into()),
        4 => Message::Inv(vec![Inventory::Block(block(bytes)?.block_hash())]),
        5 => Message::NotFound(vec![Inventory::WitnessBlock(block(bytes)?.block_hash())]),
        6 => {
            let addr = AddrV2::TorV3([bytes.next()?; 32]);
            let address = AddrV2Message {
                time: 0,
                services: ServiceFlags::NONE,
                addr,
                port: 8334,
            };
            Message::AddrV2(vec![address; usize::from(bytes.next()?) * 4])
        }
        7..10 => {
            let chain = &CHAINS[usize::from(bytes.next()?) % CHAINS.len()];
            let (from, count) = (usize::from(bytes.next()?) % 64, usize::from(bytes.next()?) % 64);
            let headers = chain.iter().skip(from).take(count);
            Message::Headers(headers.map(|block| serialize(&block.header)).collect())
        }
        10 => {
            let mut served = serialize(block(bytes)?);
            let at = usize::from(bytes.next()?) % served.len();
            served[at] ^= bytes.next()?;
            Message::Block(served)
        }
        _ => {
            let at = seen.asked.iter().position(|(asked, _)| *asked == conn)?;
            let (_, hash) = seen.asked.remove(at);
            let block = CHAINS.iter().flatten().find(|block| block.block_hash() == hash)?;
            Message::Block(serialize(block))
        }
    })
}

fn event(bytes: &mut Bytes<'_>, seen: &mut Seen) -> Option<PeerSyncEvent> {
    let (kind, pick) = (bytes.next()? % 16, usize::from(bytes.next()?));
    let stranger = ConnId(u64::MAX);
    let conn = seen.conns.get(pick % seen.conns.len().max(1)).copied().unwrap_or(stranger);
    Some(match kind {
        0 | 1 => {
            let peer = PeerIndex(seen.dials.pop().unwrap_or(pick));
            let conn = ConnId(1 + seen.conns.len() as u64);
            seen.conns.push(conn);
            seen.open.insert(conn);
            PeerSyncEvent::Connected { peer, conn }
        }
        2 => PeerSyncEvent::DialFailed {
            peer: PeerIndex(seen.dials.pop().unwrap_or(pick)),
        },
        3 => {
            let next = (pick > 16).then_some((pick % 64) as Height);
            seen.handed_on = next;
            PeerSyncEvent::Begin { next }
        }
        4 => PeerSyncEvent::Read {
            next: (pick % 64) as Height,
        },
        5 => PeerSyncEvent::Closed { conn },
        6 => PeerSyncEvent::Garbled {
            conn,
            error: CodecError::Checksum,
        },
        7 => PeerSyncEvent::Received {
            conn,
            bytes: pick as u64 * 1_000,
        },
        8 => PeerSyncEvent::Tick,
        _ => PeerSyncEvent::Message {
            conn,
            message: message(bytes, conn, seen).unwrap_or(Message::Other),
        },
    })
}

/// Checks what comes of such an input.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let params = Network::Regtest.params();
    let anchor = Anchor {
        height: 0,
        hash: params.genesis.hash(),
        chainwork: None,
    };
    let mut tree = HeaderTree::new(params, anchor);
    let choice = bytes.next().unwrap_or(0);
    let settings = PeerSyncSettings {
        buffer: 1_000 + usize::from(choice) * 8,
        unread: 1 + usize::from(choice % 8),
        rate: (choice > 200).then_some(500),
        ..PeerSyncSettings::default()
    };
    let mut sync = PeerSync::new(params, settings, [choice; 32]);
    let mut now = Now {
        wall: WALL,
        steady: Moment(0),
    };
    let kinds = [PeerKind::Named, PeerKind::Shipped, PeerKind::Learned];
    let known = (0..PEERS).map(|at| KnownPeer {
        kind: kinds[at % kinds.len()],
        group: (at > 2).then_some(7),
        told_by: (at > 3).then_some(PeerIndex(0)),
    });
    let mut seen = Seen::default();
    let mut next = Some(PeerSyncEvent::Known(known.collect()));
    for _ in 0..MOST_EVENTS {
        let Some(event) = next.take() else { return };
        let before = tree.tip().chainwork;
        let effects = sync.on_event(now, &mut tree, event);
        assert!(tree.tip().chainwork >= before);
        for effect in effects {
            match effect {
                PeerSyncEffect::Dial(PeerIndex(peer)) => {
                    assert!(peer < PEERS);
                    seen.dials.push(peer);
                }
                PeerSyncEffect::Send { conn, message } => {
                    assert!(seen.open.contains(&conn));
                    match message {
                        Message::GetHeaders { locator, .. } => assert!((1..=MAX_LOCATOR).contains(&locator.len())),
                        Message::GetData(items) => {
                            assert!((1..=MAX_INVENTORY).contains(&items.len()));
                            for item in items {
                                let Inventory::WitnessBlock(hash) = item else { panic!("{item:?}") };
                                seen.asked.push((conn, hash));
                            }
                        }
                        _ => {}
                    }
                }
                PeerSyncEffect::Block { height, block, .. } => {
                    assert_eq!(Some(height), seen.handed_on);
                    assert_eq!(tree.hash_at(height), Some(block.hash()));
                    seen.handed_on = Some(height + 1);
                }
                PeerSyncEffect::BestChanged { from } => assert!(from > 0 && from <= tree.tip().height),
                PeerSyncEffect::Told { addresses, .. } => assert!((1..=100).contains(&addresses.len())),
                PeerSyncEffect::WakeAt(at) => assert!(at > now.steady),
                PeerSyncEffect::Close(conn) => assert!(seen.open.remove(&conn)),
                PeerSyncEffect::Report { .. } => {}
            }
        }
        // The next block may come on top of what waits.
        assert!(sync.progress(&tree).waiting <= settings.buffer + 400);
        let Some(pause) = bytes.next() else { return };
        now.steady = now.steady + Duration::from_millis(u64::from(pause) * u64::from(pause));
        next = self::event(&mut bytes, &mut seen);
    }
}

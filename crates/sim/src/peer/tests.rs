//! Sessions of honest peers, without a socket.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use bitcoin::Txid;
use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::hex::FromHex;
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::{AddrV2, AddrV2Message, Address};
use bitcoin::p2p::message_blockdata::{GetHeadersMessage, Inventory};
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::{BlockHash, VarInt};
use flate2::read::GzDecoder;
use isonym_core::chain::{FullHeader, Height, Network, PureHeader};
use isonym_core::time::{Moment, Timestamp};

use super::body::Body;
use super::session::{MAX_HEADER_BYTES, MAX_HEADERS};
use super::wire::{self, Frame};
use super::{Peer, PeerOutput, PeerSession, PeerThen};
use crate::blocks::{BlockIndex, Blocks};
use crate::wallet::{AddressKind, Signer};
use crate::{AuxPowKind, SimChain, Work, World};

/// A client in the same room.
pub(super) struct Client {
    pub(super) peer: Peer,
    pub(super) index: BlockIndex,
    pub(super) session: PeerSession,
    pub(super) now: Moment,
    /// What the peer did after the last message.
    pub(super) then: PeerThen,
}

impl Client {
    pub(super) fn new(peer: Peer, chain: &SimChain) -> Self {
        Self {
            peer,
            index: BlockIndex::of(chain),
            session: PeerSession::new(Moment::default()),
            now: Moment::default(),
            then: PeerThen::GoOn,
        }
    }

    /// Opens a connection, and leaves what the peer says by itself behind.
    pub(super) fn open(peer: Peer, chain: &SimChain) -> Self {
        let mut client = Self::new(peer, chain);
        client.say("version", &version(70016));
        client.say("sendaddrv2", &[]);
        client.say("verack", &[]);
        client
    }

    pub(super) fn say(&mut self, command: &str, payload: &[u8]) -> Vec<Frame> {
        self.say_bytes(&wire::message(wire::magic(Network::Regtest), command, payload))
    }

    pub(super) fn say_bytes(&mut self, bytes: &[u8]) -> Vec<Frame> {
        self.session.receive(bytes);
        let mut heard = Vec::new();
        while let Some(output) = self.session.step(self.now, &self.peer, &self.index) {
            heard.extend(self.hear(output));
        }
        heard
    }

    fn hear(&mut self, output: PeerOutput) -> Vec<Frame> {
        self.then = output.then;
        output.messages.iter().map(|bytes| frame(bytes)).collect()
    }

    /// Lets the chain become another one.
    pub(super) fn follow(&mut self, chain: &SimChain) -> Vec<Frame> {
        self.index.follow(chain);
        let output = self.session.announce(&self.peer, &self.index);
        self.hear(output)
    }

    pub(super) fn headers(&mut self, locator: &[BlockHash], stop: BlockHash) -> Option<Vec<Vec<u8>>> {
        let heard = self.say("getheaders", &getheaders(locator, stop));
        match heard.as_slice() {
            [] => None,
            [headers] => Some(full_headers(headers)),
            more => panic!("{} messages", more.len()),
        }
    }

    pub(super) fn getdata(&mut self, items: &[Inventory]) -> Vec<Frame> {
        self.say("getdata", &wire::list(items))
    }

    pub(super) fn blocks(&mut self, heights: impl Iterator<Item = Height>) -> Vec<Vec<u8>> {
        let items: Vec<_> = heights
            .map(|height| Inventory::WitnessBlock(self.index.hash(height).unwrap()))
            .collect();
        let heard = self.getdata(&items);
        assert!(heard.iter().all(|frame| frame.command == "block"));
        heard.into_iter().map(|frame| frame.payload).collect()
    }
}

/// Reads a whole message. They may be longer than those that a node reads of us.
fn frame(bytes: &[u8]) -> Frame {
    let (head, payload) = bytes.split_at(wire::HEAD);
    let command = head[4..16].split(|byte| *byte == 0).next().unwrap();
    let command = String::from_utf8(command.to_vec()).unwrap();
    let again = wire::message(wire::magic(Network::Regtest), &command, payload);
    assert!(again == bytes, "{command} has another length or checksum");
    Frame {
        command,
        payload: payload.to_vec(),
    }
}

pub(super) fn version(version: u32) -> Vec<u8> {
    let nobody = Address {
        services: ServiceFlags::NONE,
        address: [0; 8],
        port: 0,
    };
    serialize(&VersionMessage {
        version,
        services: ServiceFlags::NONE,
        timestamp: 1,
        receiver: nobody.clone(),
        sender: nobody,
        nonce: 7,
        user_agent: "/test/".to_owned(),
        start_height: 0,
        relay: false,
    })
}

pub(super) fn getheaders(locator: &[BlockHash], stop: BlockHash) -> Vec<u8> {
    serialize(&GetHeadersMessage {
        version: 70016,
        locator_hashes: locator.to_vec(),
        stop_hash: stop,
    })
}

pub(super) fn full_headers(frame: &Frame) -> Vec<Vec<u8>> {
    assert_eq!(frame.command, "headers");
    let (VarInt(count), size) = bitcoin::consensus::encode::deserialize_partial(&frame.payload).unwrap();
    let mut rest = &frame.payload[size..];
    let mut headers = Vec::new();
    for _ in 0..count {
        let (_, after) = FullHeader::decode(rest).unwrap();
        headers.push(rest[..rest.len() - after.len()].to_vec());
        let [0, after @ ..] = after else {
            panic!("a header without its count")
        };
        rest = after;
    }
    assert!(rest.is_empty());
    headers
}

pub(super) fn commands(heard: &[Frame]) -> Vec<&str> {
    heard.iter().map(|frame| frame.command.as_str()).collect()
}

pub(super) fn full(chain: &SimChain, heights: std::ops::RangeInclusive<Height>) -> Vec<Vec<u8>> {
    heights
        .map(|height| chain.full_header(height).unwrap().to_vec())
        .collect()
}

fn hash(chain: &SimChain, height: Height) -> BlockHash {
    chain.header(height).unwrap().hash()
}

pub(super) fn world() -> World {
    let mut world = World::new(1, Timestamp(1_700_000_000));
    world.register("d/a", "value", AddressKind::P2wpkh).unwrap();
    for kind in AddressKind::ALL {
        world.queue_update("d/a", "other", kind, Signer::Owner).unwrap();
        world.mine(1);
    }
    world
}

fn none() -> BlockHash {
    BlockHash::all_zeros()
}

#[test]
fn a_handshake_goes_as_with_core() {
    let chain = world().into_chain();
    let mut client = Client::new(Peer::default(), &chain);
    // Before the version nothing is heard.
    for command in ["verack", "getaddr", "ping", "mempool"] {
        assert_eq!(client.say(command, &[0; 8]), []);
    }
    let heard = client.say("version", &version(70016));
    assert_eq!(commands(&heard), ["version", "wtxidrelay", "sendaddrv2", "verack"]);
    let said: VersionMessage = deserialize(&heard[0].payload).unwrap();
    assert_eq!((said.version, said.start_height), (70016, chain.height().cast_signed()));
    let services = ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::NETWORK_LIMITED;
    assert_eq!(said.services, services);
    assert_eq!(
        client.say("getheaders", &getheaders(&[], chain.tip_hash())),
        [],
        "before verack"
    );
    assert_eq!(client.say("version", &version(70016)), [], "twice");
    for feature in ["wtxidrelay", "sendaddrv2", "sendheaders"] {
        assert_eq!(client.say(feature, &[]), []);
    }
    let heard = client.say("verack", &[]);
    assert_eq!(commands(&heard), ["sendcmpct", "ping", "feefilter"]);
    let nonce = heard[1].payload.clone();
    assert_eq!(client.say("pong", &nonce), []);
    assert_eq!(client.say("verack", &[]), []);
    let pong = client.say("ping", &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(
        (commands(&pong), pong[0].payload.as_slice()),
        (vec!["pong"], &[1, 2, 3, 4, 5, 6, 7, 8][..])
    );
    assert_eq!(client.then, PeerThen::GoOn);
}

#[test]
fn old_clients_hear_of_no_new_features_and_older_ones_nothing() {
    let chain = world().into_chain();
    let mut client = Client::new(Peer::default(), &chain);
    assert_eq!(commands(&client.say("version", &version(70015))), ["version", "verack"]);
    let mut client = Client::new(Peer::default(), &chain);
    assert_eq!(client.say("version", &version(31_799)), []);
    assert_eq!(client.then, PeerThen::Close);
}

#[test]
fn headers_go_on_from_the_newest_known_hash_to_the_stop_and_the_tip() {
    let chain = world().into_chain();
    let tip = chain.height();
    let mut client = Client::open(Peer::default(), &chain);
    let strange = BlockHash::from_byte_array([7; 32]);
    let all = Some(full(&chain, 1..=tip));
    assert_eq!(client.headers(&[hash(&chain, 0)], none()), all);
    assert_eq!(client.headers(&[strange], none()), all, "from the genesis block on");
    assert_eq!(
        client.headers(&[strange, hash(&chain, 50), hash(&chain, 60)], none()),
        Some(full(&chain, 51..=tip))
    );
    assert_eq!(
        client.headers(&[hash(&chain, 50)], hash(&chain, 55)),
        Some(full(&chain, 51..=55))
    );
    assert_eq!(
        client.headers(&[hash(&chain, 50)], strange),
        Some(full(&chain, 51..=tip))
    );
    assert_eq!(
        client.headers(&[chain.tip_hash()], none()),
        Some(Vec::new()),
        "an empty answer is one"
    );
    assert_eq!(client.headers(&[], hash(&chain, 42)), Some(full(&chain, 42..=42)));
    assert_eq!(client.headers(&[], strange), None);
    assert_eq!(client.headers(&[], none()), None);
}

#[test]
fn headers_come_by_the_two_thousand_or_four_megabytes() {
    let mut world = World::new(1, Timestamp(1_500_000_000));
    for _ in 0..2500 {
        world.mine_with(Work::Native);
    }
    let chain = world.into_chain();
    let mut client = Client::open(Peer::default(), &chain);
    let headers = client.headers(&[hash(&chain, 0)], none()).unwrap();
    assert_eq!(headers, full(&chain, 1..=Height::try_from(MAX_HEADERS).unwrap()));
    assert_eq!(
        client.headers(&[hash(&chain, 2000)], none()),
        Some(full(&chain, 2001..=2500))
    );

    // Of 3 kB each.
    let mut chain = chain;
    for height in 1..=2500 {
        let mut header = *chain.header(height).unwrap().as_bytes();
        header[1] |= 1;
        let auxpow = large_auxpow(&PureHeader::new(header));
        chain.replace_full_header(height, [&header[..], &auxpow].concat());
    }
    let mut client = Client::open(Peer::default(), &chain);
    let headers = client.headers(&[hash(&chain, 0)], none()).unwrap();
    assert!(headers.len() < MAX_HEADERS);
    let bytes = |headers: &[Vec<u8>]| headers.iter().map(Vec::len).sum::<usize>();
    assert!(bytes(&headers) >= MAX_HEADER_BYTES && bytes(&headers[1..]) < MAX_HEADER_BYTES);
}

pub(super) fn large_auxpow(header: &PureHeader) -> Vec<u8> {
    use rand::SeedableRng;
    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    let auxpow = crate::parent::mine(&mut rng, header, AuxPowKind::Minimal, None);
    // A longer chain branch: no rule is looked at here.
    let end = auxpow.len() - 80 - 5;
    [&auxpow[..end], &[80], &[0; 80 * 32], &[0; 4], &auxpow[end + 5..]].concat()
}

#[test]
fn blocks_come_in_order_with_or_without_witness() {
    let chain = world().into_chain();
    let tip = chain.height();
    let mut client = Client::open(Peer::default(), &chain);
    let heights = [tip, 3, tip - 1, 0, tip];
    let blocks = client.blocks(heights.into_iter());
    let expected: Vec<_> = heights
        .iter()
        .map(|height| chain.block(*height).unwrap().to_bytes())
        .collect();
    assert_eq!(blocks, expected);
    let stripped = client.getdata(&[Inventory::Block(chain.tip_hash())]);
    let body = Body::decode(&expected[0]).unwrap();
    assert_eq!(stripped[0].payload, body.clone().stripped().to_bytes());
    assert_ne!(stripped[0].payload, expected[0]);
}

#[test]
fn of_unknown_blocks_nothing_is_said_and_of_transactions_that_they_are_not_there() {
    let chain = world().into_chain();
    let strange = BlockHash::from_byte_array([7; 32]);
    let txid = Txid::from_byte_array([8; 32]);
    let items = [
        Inventory::Transaction(txid),
        Inventory::WitnessBlock(strange),
        Inventory::WitnessBlock(chain.tip_hash()),
        Inventory::Error,
    ];
    let mut client = Client::open(Peer::default(), &chain);
    assert_eq!(
        commands(&client.getdata(&items)),
        ["block"],
        "who wants no transactions hears of none"
    );

    let mut client = Client::new(Peer::default(), &chain);
    let mut relaying = version(70016);
    *relaying.last_mut().unwrap() = 1;
    client.say("version", &relaying);
    client.say("verack", &[]);
    let heard = client.getdata(&items);
    assert_eq!(commands(&heard), ["notfound", "block"]);
    assert_eq!(heard[0].payload, wire::list(&items[..1]));
}

#[test]
fn what_is_asked_behind_blocks_waits_for_them() {
    let chain = world().into_chain();
    let mut client = Client::open(Peer::default(), &chain);
    let magic = wire::magic(Network::Regtest);
    let items: Vec<_> = (1..=20)
        .map(|height| Inventory::WitnessBlock(hash(&chain, height)))
        .collect();
    let bytes = [
        wire::message(magic, "getdata", &wire::list(&items)),
        wire::message(magic, "ping", &[0; 8]),
        wire::message(magic, "getdata", &wire::list(&items[..1])),
    ];
    let heard = client.say_bytes(&bytes.concat());
    let mut expected = vec!["block"; 20];
    expected.extend(["pong", "block"]);
    assert_eq!(commands(&heard), expected);
}

#[test]
fn messages_may_come_in_pieces_and_those_with_wrong_checksums_are_passed_over() {
    let chain = world().into_chain();
    let mut client = Client::open(Peer::default(), &chain);
    let magic = wire::magic(Network::Regtest);
    let mut wrong = wire::message(magic, "ping", &[1; 8]);
    wrong[20] ^= 1;
    let bytes = [wrong, wire::message(magic, "ping", &[2; 8])].concat();
    let heard: Vec<_> = bytes.iter().flat_map(|byte| client.say_bytes(&[*byte])).collect();
    assert_eq!(commands(&heard), ["pong"]);
    assert_eq!(heard[0].payload, [2; 8]);
}

#[test]
fn it_hangs_up_as_core_does() {
    let chain = world().into_chain();
    let magic = wire::magic(Network::Regtest);
    let say = |command: &str, payload: &[u8]| wire::message(magic, command, payload);
    let hashes = |count: usize| vec![BlockHash::from_byte_array([7; 32]); count];
    let items = |count: usize| wire::list(&vec![Inventory::WitnessBlock(none()); count]);
    let long = wire::head(magic, "block", 4_000_001, [0; 4]).to_vec();
    let filtered = wire::list(&[Inventory::Unknown {
        inv_type: 3,
        hash: [0; 32],
    }]);
    for (bytes, hangs_up) in [
        (say("getheaders", &getheaders(&hashes(101), none())), false),
        (say("getheaders", &getheaders(&hashes(102), none())), true),
        (say("getblocks", &getheaders(&hashes(102), none())), true),
        (say("getdata", &items(50_000)), false),
        (say("getdata", &items(50_001)), true),
        (say("inv", &items(50_001)), true),
        (say("getdata", &filtered), true),
        (say("mempool", &[]), true),
        (say("filterclear", &[]), true),
        (say("wtxidrelay", &[]), true),
        (say("sendaddrv2", &[]), true),
        (say("sendheaders", &[]), false),
        (say("getdata", &[5]), false),
        (say("nonsense", &[5]), false),
        (wire::message(wire::magic(Network::Mainnet), "ping", &[0; 8]), true),
        (long, true),
    ] {
        let mut client = Client::open(Peer::default(), &chain);
        client.say_bytes(&bytes);
        let then = if hangs_up { PeerThen::Close } else { PeerThen::GoOn };
        assert_eq!(client.then, then, "{:?}", String::from_utf8_lossy(&bytes[4..16]));
        // And then it is deaf.
        assert_eq!(client.say("ping", &[0; 8]).is_empty(), hangs_up);
    }
}

#[test]
fn addresses_are_told_once_in_the_form_that_is_understood() {
    let chain = world().into_chain();
    let address = |addr| AddrV2Message {
        time: 5,
        services: ServiceFlags::NETWORK,
        addr,
        port: 18444,
    };
    let onion = address(AddrV2::TorV3([9; 32]));
    let ip = address(AddrV2::Ipv4([192, 0, 2, 1].into()));
    let peer = Peer::default().telling_of(onion.clone()).telling_of(ip.clone());
    let mut client = Client::open(peer.clone(), &chain);
    let heard = client.say("getaddr", &[]);
    assert_eq!(commands(&heard), ["addrv2"]);
    assert_eq!(heard[0].payload, wire::list(&[onion, ip.clone()]));
    assert_eq!(client.say("getaddr", &[]), []);

    let mut client = Client::new(peer, &chain);
    client.say("version", &version(70016));
    client.say("verack", &[]);
    let heard = client.say("getaddr", &[]);
    assert_eq!(commands(&heard), ["addr"]);
    let known = Address::new(&ip.socket_addr().unwrap(), ip.services);
    assert_eq!(heard[0].payload, wire::list(&[(5_u32, known)]));
}

#[test]
fn it_pings_and_hangs_up_on_the_silent() {
    let chain = world().into_chain();
    let client = Client::open(Peer::default(), &chain);
    let minutes = |count: u64| Moment::default() + Duration::from_secs(60 * count);
    assert_eq!(client.session.next_time(), minutes(20), "the first ping has no answer");
    let mut client = Client::new(Peer::default(), &chain);
    client.say("version", &version(70016));
    let heard = client.say("verack", &[]);
    client.say("pong", &heard[1].payload);
    assert_eq!(client.session.next_time(), minutes(2));
    assert_eq!(client.session.on_time(minutes(1), &client.peer), PeerOutput::default());
    let output = client.session.on_time(minutes(2), &client.peer);
    assert_eq!(frame(&output.messages[0]).command, "ping");
    client.say("pong", &[0; 8]);
    assert_eq!(client.session.next_time(), minutes(22), "that was another nonce");
    assert_eq!(client.session.on_time(minutes(22), &client.peer).then, PeerThen::Close);

    let mut client = Client::new(Peer::default(), &chain);
    assert_eq!(client.session.next_time(), minutes(1));
    assert_eq!(client.session.on_time(minutes(1), &client.peer).then, PeerThen::Close);
}

/// A client that wants headers, and knows all of the chain.
fn follower(chain: &SimChain) -> Client {
    let mut client = Client::open(Peer::default(), chain);
    client.say("sendheaders", &[]);
    client.headers(&[hash(chain, chain.height() - 1)], none()).unwrap();
    client
}

fn inv(chain: &SimChain) -> Vec<u8> {
    wire::list(&[Inventory::Block(chain.tip_hash())])
}

#[test]
fn new_blocks_are_announced_by_headers_to_who_wants_them() {
    let mut world = world();
    let mut client = follower(world.chain());
    let tip = world.chain().height();
    assert_eq!(client.follow(world.chain()), []);
    for (count, first) in [(1, tip + 1), (3, tip + 2), (8, tip + 5)] {
        world.mine(count);
        let heard = client.follow(world.chain());
        assert_eq!(
            full_headers(&heard[0]),
            full(world.chain(), first..=world.chain().height())
        );
        assert_eq!(heard.len(), 1);
    }
    world.mine(9);
    let heard = client.follow(world.chain());
    assert_eq!(
        (commands(&heard), &heard[0].payload),
        (vec!["inv"], &inv(world.chain())),
        "too many at once"
    );
    // Until it asked, it has not got them.
    world.mine(1);
    assert_eq!(commands(&client.follow(world.chain())), ["inv"]);
    client.headers(&[hash(world.chain(), tip)], none()).unwrap();
    world.mine(1);
    assert_eq!(commands(&client.follow(world.chain())), ["headers"]);
}

#[test]
fn new_blocks_are_announced_by_inventory_to_all_others() {
    let mut world = world();
    let mut client = Client::open(Peer::default(), world.chain());
    world.mine(2);
    let heard = client.follow(world.chain());
    assert_eq!(
        (commands(&heard), &heard[0].payload),
        (vec!["inv"], &inv(world.chain()))
    );
    // One that never said what it has hears of the tip alone, whatever it wants.
    client.say("sendheaders", &[]);
    world.mine(1);
    assert_eq!(commands(&client.follow(world.chain())), ["inv"]);
}

#[test]
fn reorganisations_are_announced_from_the_fork_on_and_left_blocks_still_served() {
    let mut world = world();
    let fork = world.chain().height();
    world.mine(3);
    let mut client = follower(world.chain());
    let left = world.chain().clone();
    let mut other = world.fork_at(fork, 7);
    other.mine(5);
    let heard = client.follow(other.chain());
    assert_eq!(full_headers(&heard[0]), full(other.chain(), fork + 1..=fork + 5));
    let gone = left.block(fork + 2).unwrap();
    let heard = client.getdata(&[Inventory::WitnessBlock(gone.header.hash())]);
    assert_eq!(heard[0].payload, gone.to_bytes());
    assert_eq!(
        client.headers(&[], gone.header.hash()),
        Some(vec![gone.full_header.clone()])
    );
    // Who knows the left branch alone is told from the fork on.
    let locator = [left.tip_hash(), hash(&left, fork + 1), hash(&left, fork)];
    assert_eq!(
        client.headers(&locator, none()),
        Some(full(other.chain(), fork + 1..=fork + 5))
    );
    // Back again, from a branch of which it was told.
    world.mine(4);
    let heard = client.follow(world.chain());
    assert_eq!(full_headers(&heard[0]), full(world.chain(), fork + 1..=fork + 7));
}

#[test]
fn a_reorganisation_of_many_blocks_is_announced_by_its_tip() {
    let mut world = world();
    let fork = world.chain().height();
    world.mine(8);
    let mut client = follower(world.chain());
    let mut other = world.fork_at(fork, 7);
    other.mine(30);
    let heard = client.follow(other.chain());
    assert_eq!(
        (commands(&heard), &heard[0].payload),
        (vec!["inv"], &inv(other.chain()))
    );
}

#[test]
fn inventories_go_on_when_their_last_block_was_asked_for() {
    let mut world = World::new(1, Timestamp(1_500_000_000));
    for _ in 0..600 {
        world.mine_with(Work::Native);
    }
    let chain = world.into_chain();
    let mut client = Client::open(Peer::default(), &chain);
    let heard = client.say("getblocks", &getheaders(&[hash(&chain, 0)], none()));
    let items: Vec<_> = (1..=500).map(|height| Inventory::Block(hash(&chain, height))).collect();
    assert_eq!(
        (commands(&heard), &heard[0].payload),
        (vec!["inv"], &wire::list(&items))
    );
    assert_eq!(commands(&client.getdata(&items[..1])), ["block"]);
    let heard = client.getdata(&items[499..]);
    assert_eq!(
        (commands(&heard), &heard[1].payload),
        (vec!["block", "inv"], &inv(&chain))
    );
}

#[test]
fn what_was_asked_is_noted() {
    let chain = world().into_chain();
    let mut client = Client::open(Peer::default(), &chain);
    let mut note = |command: &str, payload: &[u8]| {
        client
            .session
            .receive(&wire::message(wire::magic(Network::Regtest), command, payload));
        let note = client
            .session
            .step(client.now, &client.peer, &client.index)
            .unwrap()
            .note
            .unwrap();
        while client.session.step(client.now, &client.peer, &client.index).is_some() {}
        (note.command, note.heights)
    };
    let items = [3, 1, 2].map(|height| Inventory::WitnessBlock(hash(&chain, height)));
    assert_eq!(
        note("getdata", &wire::list(&items)),
        ("getdata".to_owned(), vec![3, 1, 2])
    );
    let locator = [hash(&chain, 7), hash(&chain, 5)];
    assert_eq!(
        note("getheaders", &getheaders(&locator, none())),
        ("getheaders".to_owned(), vec![7])
    );
    assert_eq!(note("ping", &[0; 8]), ("ping".to_owned(), vec![]));
}

/// See the README beside that file.
#[test]
fn the_chain_of_a_full_node_is_served_as_it_is() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/namecoind-regtest/blocks.hex.gz"
    );
    let lines = BufReader::new(GzDecoder::new(File::open(path).unwrap())).lines();
    let raw: Vec<Vec<u8>> = lines.map(|line| Vec::from_hex(&line.unwrap()).unwrap()).collect();
    let chain = SimChain::decode(&raw).unwrap();
    assert_eq!(
        chain.tip_hash().to_string(),
        "ef1c0b2b8064457c995209dcb801d9baf998f506f57e236e0d217a2a48d72c2d"
    );
    let mut client = Client::open(Peer::default(), &chain);
    let headers = client.headers(&[hash(&chain, 0)], none()).unwrap();
    assert_eq!(headers.len(), 480);
    assert!(
        headers
            .iter()
            .zip(&raw[1..])
            .all(|(header, block)| block.starts_with(header))
    );
    assert_eq!(client.blocks(0..=480), raw);
    assert!(SimChain::decode([&raw[0][..], &raw[1][1..]]).is_none());
    assert!(SimChain::decode(&raw[..0]).is_none());
    // It can go on as a world of our own.
    let mut world = World::upon(chain, 1);
    world.mine(2);
    assert_eq!(commands(&client.follow(world.chain())), ["inv"]);
}

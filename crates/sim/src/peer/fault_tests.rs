//! Sessions of peers with faults, without a socket.

use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::{BlockHash, Target};
use isonym_core::chain::{FullHeader, HeaderTree, Height, Network, PureHeader};
use isonym_core::time::Timestamp;

use super::body::Body;
use super::tests::{Client, commands, full, getheaders, version, world};
use super::wire::{self, Frame};
use super::{Peer, PeerFault, PeerThen};
use crate::blocks::{BlockIndex, Blocks};
use crate::parent::Flaw;
use crate::{SimChain, World};

fn none() -> BlockHash {
    BlockHash::all_zeros()
}

/// Opens a connection to a peer that serves what it makes of a chain.
fn open(fault: PeerFault, chain: &SimChain) -> Client {
    let doctored = fault.doctored(chain);
    Client::open(Peer::default().with_fault(fault), doctored.as_ref().unwrap_or(chain))
}

fn item(chain: &SimChain, height: Height) -> Inventory {
    Inventory::WitnessBlock(chain.header(height).unwrap().hash())
}

/// Accepts headers upon those of a chain; says how many it took.
fn accepted(chain: &SimChain, headers: &[Vec<u8>]) -> (usize, HeaderTree) {
    let mut tree = chain.header_tree(Network::Regtest.params()).unwrap();
    let now = Timestamp(u64::from(u32::MAX));
    let took = headers.iter().take_while(|bytes| {
        let (header, rest) = FullHeader::decode(bytes).unwrap();
        assert!(rest.is_empty());
        tree.accept(&header, now).is_ok()
    });
    let took = took.count();
    (took, tree)
}

#[test]
fn a_silent_peer_says_nothing() {
    let chain = world().into_chain();
    let mut client = Client::new(Peer::default().with_fault(PeerFault::Silent), &chain);
    assert_eq!(client.say("version", &version(70016)), []);
    assert_eq!(client.say("verack", &[]), []);
    assert_eq!(client.then, PeerThen::GoOn);
}

#[test]
fn old_and_foreign_peers_are_told_by_their_first_message() {
    let chain = world().into_chain();
    let mut client = Client::new(Peer::default().with_fault(PeerFault::Version(209)), &chain);
    let heard = client.say("version", &version(70016));
    assert_eq!(commands(&heard), ["version", "verack"]);
    let said: VersionMessage = bitcoin::consensus::encode::deserialize(&heard[0].payload).unwrap();
    assert_eq!(said.version, 209);

    let mut client = Client::new(Peer::default().with_fault(PeerFault::WrongMagic), &chain);
    let magic = wire::magic(Network::Regtest);
    client
        .session
        .receive(&wire::message(magic, "version", &version(70016)));
    let output = client.session.step(client.now, &client.peer, &client.index).unwrap();
    assert!(output.messages.iter().all(|message| message[..4] != magic));
}

#[test]
fn wrong_checksums_begin_after_the_handshake() {
    let chain = world().into_chain();
    let mut client = Client::open(Peer::default(), &chain);
    client.peer.set_fault(Some(PeerFault::BadChecksums));
    client
        .session
        .receive(&wire::message(wire::magic(Network::Regtest), "ping", &[1; 8]));
    let output = client.session.step(client.now, &client.peer, &client.index).unwrap();
    let right = wire::message(wire::magic(Network::Regtest), "pong", &[1; 8]);
    let [wrong] = output.messages.try_into().unwrap();
    assert_ne!(wrong, right);
    assert_eq!((&wrong[..20], &wrong[24..]), (&right[..20], &right[24..]));
}

#[test]
fn a_peer_stalls_after_some_blocks() {
    let mut world = world();
    let mut client = open(PeerFault::Stalls { after: 3 }, world.chain());
    let items: Vec<_> = (1..=10).map(|height| item(world.chain(), height)).collect();
    assert_eq!(commands(&client.getdata(&items)), ["block"; 3]);
    assert_eq!(client.say("ping", &[0; 8]), []);
    world.mine(1);
    assert_eq!(client.follow(world.chain()), []);
    assert_eq!(client.then, PeerThen::GoOn);
}

#[test]
fn a_peer_that_has_given_enough_hangs_up_at_the_first_old_block() {
    let chain = world().into_chain();
    let tip = chain.height();
    let mut client = open(PeerFault::UploadTarget { newest: 10 }, &chain);
    let items = [tip, tip - 9, tip - 10, tip].map(|height| item(&chain, height));
    assert_eq!(commands(&client.getdata(&items)), ["block", "block"]);
    assert_eq!(client.then, PeerThen::Close);
}

#[test]
fn a_pruned_peer_says_so_and_has_no_more() {
    let chain = world().into_chain();
    let tip = chain.height();
    let fault = PeerFault::Pruned { kept: 20 };
    let mut client = Client::new(Peer::default().with_fault(fault), &chain);
    let heard = client.say("version", &version(70016));
    let said: VersionMessage = bitcoin::consensus::encode::deserialize(&heard[0].payload).unwrap();
    assert_eq!(said.services, ServiceFlags::WITNESS | ServiceFlags::NETWORK_LIMITED);

    let mut client = open(fault, &chain);
    let locator = |height: Height| [chain.header(height).unwrap().hash()];
    assert_eq!(
        client.headers(&locator(tip - 21), none()),
        Some(full(&chain, tip - 20..=tip))
    );
    assert_eq!(client.headers(&locator(tip - 22), none()), None);
    let items = [tip, tip - 22, tip - 23].map(|height| item(&chain, height));
    assert_eq!(commands(&client.getdata(&items)), ["block", "block"]);
    assert_eq!(client.then, PeerThen::Close);
}

#[test]
fn a_peer_never_answers_questions_for_headers() {
    let chain = world().into_chain();
    let mut client = open(PeerFault::SilentToHeaders, &chain);
    assert_eq!(client.headers(&[none()], none()), None);
    assert_eq!(commands(&client.getdata(&[item(&chain, 1)])), ["block"]);
}

#[test]
fn unconnecting_headers_have_work_and_no_parent() {
    let mut world = world();
    let mut client = open(PeerFault::UnconnectingHeaders, world.chain());
    let [header] = client.headers(&[none()], none()).unwrap().try_into().unwrap();
    let prev = PureHeader::decode(&header).unwrap().prev();
    assert_eq!(client.index.find(&prev), None);
    let (header, _) = FullHeader::decode(&header).unwrap();
    let target = Target::from_compact(header.pure.bits());
    let auxpow = header.auxpow.unwrap();
    let checked = auxpow.check(&header.pure, &header.pure.hash(), &target, Network::Regtest.params());
    assert_eq!(checked, Ok(()));
    world.mine(1);
    assert_eq!(commands(&client.follow(world.chain())), ["headers"]);
}

#[test]
fn endless_headers_go_on_for_ever_and_are_valid() {
    let chain = world().into_chain();
    let mut client = open(PeerFault::EndlessHeaders, &chain);
    let mut headers = client.headers(&[chain.tip_hash()], none()).unwrap();
    for _ in 0..2 {
        assert_eq!(headers.len() % 2000, 0);
        let last = PureHeader::decode(headers.last().unwrap()).unwrap().hash();
        headers.extend(client.headers(&[last, chain.tip_hash()], none()).unwrap());
    }
    assert_eq!(headers.len(), 6000);
    let (took, tree) = accepted(&chain, &headers);
    assert_eq!((took, tree.tip().height), (6000, chain.height() + 6000));
}

#[test]
fn a_forged_auxpow_breaks_one_rule() {
    let chain = world().into_chain();
    for flaw in [Flaw::NotEnoughWork, Flaw::WrongSlot] {
        let mut client = open(PeerFault::ForgedAuxPow { from: 50, flaw }, &chain);
        let genesis = chain.header(0).unwrap().hash();
        let headers = client.headers(&[genesis], none()).unwrap();
        let (took, _) = accepted(&chain.truncated(0), &headers);
        assert!((49..60).contains(&took), "{took} headers are good");
        let forged = Height::try_from(took + 1).unwrap();
        let [block] = client.blocks([forged].into_iter()).try_into().unwrap();
        assert!(block.starts_with(&headers[took]), "the block has it too");
    }
}

#[test]
fn a_branch_with_less_work_loses() {
    let chain = world().into_chain();
    let tip = chain.height();
    let fault = PeerFault::LessWork { depth: 10, blocks: 7 };
    let mut client = open(fault, &chain);
    let headers = client
        .headers(&[chain.header(tip - 10).unwrap().hash()], none())
        .unwrap();
    assert_eq!(headers.len(), 7);
    let (took, tree) = accepted(&chain, &headers);
    assert_eq!((took, tree.tip().hash), (7, chain.tip_hash()));
    let blocks = client.blocks(tip - 9..=tip - 3);
    for (block, header) in blocks.iter().zip(&headers) {
        assert!(block.starts_with(header));
        assert!(Body::decode(block).is_some());
    }
}

#[test]
fn a_peer_sees_nothing_above_a_height_though_the_chain_grows() {
    let mut world = world();
    let fault = PeerFault::Eclipse { height: 50 };
    let mut client = open(fault, world.chain());
    assert_eq!(client.headers(&[none()], none()), Some(full(world.chain(), 1..=50)));
    let hidden = item(world.chain(), 51);
    assert_eq!(client.getdata(&[hidden]), []);
    world.mine(5);
    assert_eq!(client.follow(&fault.doctored(world.chain()).unwrap()), []);
}

#[test]
fn other_blocks_than_those_that_were_asked_for_are_sent() {
    let chain = world().into_chain();
    let mut client = open(PeerFault::OtherBlocks, &chain);
    let block = |height: Height| chain.block(height).unwrap().to_bytes();
    assert_eq!(client.blocks([7, 3, 0].into_iter()), [block(6), block(2), block(0)]);
}

#[test]
fn blocks_are_spoiled_in_the_way_that_is_said() {
    let chain = world().into_chain();
    let tip = chain.height();
    let right = chain.block(tip).unwrap().to_bytes();
    let body = Body::decode(&right).unwrap();
    for (fault, expected) in [
        (PeerFault::MutatedBlocks, body.clone().mutated()),
        (PeerFault::ForgedTransactions, body.clone().forged()),
        (PeerFault::ForgedWitnesses, body.clone().with_forged_witness()),
    ] {
        let mut client = open(fault, &chain);
        assert_eq!(client.blocks([tip].into_iter()), [expected.to_bytes()], "{fault:?}");
        let stripped = client.getdata(&[Inventory::Block(chain.tip_hash())]);
        assert_eq!(stripped[0].payload, expected.stripped().to_bytes());
    }
}

#[test]
fn a_huge_message_is_begun() {
    let chain = world().into_chain();
    for (command, payload) in [
        ("getheaders", getheaders(&[none()], none())),
        ("getdata", wire::list(&[item(&chain, 1)])),
    ] {
        let mut client = open(PeerFault::HugeMessage, &chain);
        client
            .session
            .receive(&wire::message(wire::magic(Network::Regtest), command, &payload));
        let output = client.session.step(client.now, &client.peer, &client.index).unwrap();
        assert_eq!(output.messages[0][16..20], [0xff; 4]);
        assert!(matches!(output.then, PeerThen::Forever(bytes) if !bytes.is_empty()));
    }
}

#[test]
fn a_flood_of_addresses_comes_unasked() {
    let chain = world().into_chain();
    let mut client = Client::new(
        Peer::default().with_fault(PeerFault::AddressFlood { messages: 4 }),
        &chain,
    );
    client.say("version", &version(70016));
    client.say("sendaddrv2", &[]);
    let heard = client.say("verack", &[]);
    let flood: Vec<&Frame> = heard.iter().filter(|frame| frame.command == "addrv2").collect();
    assert_eq!(flood.len(), 4);
    // A compact size of 1000, and the addresses.
    assert!(
        flood
            .iter()
            .all(|frame| frame.payload.starts_with(&[0xfd, 0xe8, 0x03]) && frame.payload.len() > 10_000)
    );
}

#[test]
fn a_fault_that_ends_leaves_an_honest_peer() {
    let mut world = World::new(1, Timestamp(1_700_000_000));
    world.mine(30);
    let chain = world.into_chain();
    let fault = PeerFault::Eclipse { height: 20 };
    let mut client = open(fault, &chain);
    client.peer.set_fault(None);
    client.say("sendheaders", &[]);
    client.headers(&[chain.header(20).unwrap().hash()], none()).unwrap();
    assert_eq!(commands(&client.follow(&chain)), ["inv"], "ten blocks at once");
    assert_eq!(BlockIndex::of(&chain).tip(), client.index.tip());
}

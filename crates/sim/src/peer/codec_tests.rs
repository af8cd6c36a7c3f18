//! What the peer writes is what the client's codec reads, and the other way round: each was written without the other.

use bitcoin::consensus::encode::deserialize;
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::{AddrV2, AddrV2Message};
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{BlockHash, Txid};
use isonym_core::chain::{Height, Network, PureHeader};
use isonym_core::p2p::{Decoder, Message, codec, encode};
use isonym_core::time::Moment;

use super::session::MAX_HEADER_BYTES;
use super::tests::{full, large_auxpow, version, world};
use super::wire;
use super::{Peer, PeerSession};
use crate::blocks::{BlockIndex, Blocks};
use crate::{SimChain, Work, World};
use isonym_core::time::Timestamp;

/// A client that speaks by the codec.
struct Client {
    session: PeerSession,
    peer: Peer,
    index: BlockIndex,
    decoder: Decoder,
}

impl Client {
    fn new(peer: Peer, chain: &SimChain) -> Self {
        Self {
            session: PeerSession::new(Moment::default()),
            peer,
            index: BlockIndex::of(chain),
            decoder: Decoder::new(Network::Regtest),
        }
    }

    fn open(chain: &SimChain) -> Self {
        let mut client = Self::new(Peer::default(), chain);
        let version = deserialize(&version(70016)).unwrap();
        for message in [
            Message::Version(Box::new(version)),
            Message::SendAddrV2,
            Message::Verack,
            Message::SendHeaders,
        ] {
            client.say(&message);
        }
        client
    }

    fn say(&mut self, message: &Message) -> Vec<Message> {
        self.session.receive(&encode(Network::Regtest, message));
        let mut heard = Vec::new();
        while let Some(output) = self.session.step(Moment::default(), &self.peer, &self.index) {
            for bytes in output.messages {
                self.decoder.feed(&bytes);
                while let Some(message) = self.decoder.next_message().unwrap() {
                    heard.push(message);
                }
            }
        }
        heard
    }
}

fn locator(hash: BlockHash) -> Message {
    Message::GetHeaders {
        locator: vec![hash],
        stop: BlockHash::all_zeros(),
    }
}

#[test]
fn the_two_agree_on_networks() {
    for network in Network::ALL {
        assert_eq!(wire::magic(network), codec::magic(network));
    }
}

#[test]
fn the_two_understand_each_other() {
    let mut world = world();
    let chain = world.chain().clone();
    let address = AddrV2Message {
        time: 5,
        services: ServiceFlags::NETWORK,
        addr: AddrV2::TorV3([9; 32]),
        port: 18445,
    };
    let mut client = Client::new(Peer::default().telling_of(address.clone()), &chain);
    let ours = deserialize(&version(70016)).unwrap();
    let heard = client.say(&Message::Version(Box::new(ours)));
    let [
        Message::Version(theirs),
        Message::Other,
        Message::SendAddrV2,
        Message::Verack,
    ] = heard.as_slice()
    else {
        panic!("{heard:?}");
    };
    assert_eq!(theirs.start_height, chain.height().cast_signed());
    client.say(&Message::SendAddrV2);
    let heard = client.say(&Message::Verack);
    assert!(
        matches!(heard[..], [Message::Other, Message::Ping(_), Message::Other]),
        "{heard:?}"
    );
    assert_eq!(client.say(&Message::Ping(77)), [Message::Pong(77)]);
    assert_eq!(client.say(&Message::GetAddr), [Message::AddrV2(vec![address])]);
    let genesis = client.index.hash(0).unwrap();
    assert_eq!(
        client.say(&locator(genesis)),
        [Message::Headers(full(&chain, 1..=chain.height()))]
    );
    assert_eq!(client.say(&locator(chain.tip_hash())), [Message::Headers(Vec::new())]);
    let blocks: Vec<Message> = (0..=chain.height())
        .map(|height| Message::Block(chain.block(height).unwrap().to_bytes()))
        .collect();
    let items = (0..=chain.height()).map(|height| Inventory::WitnessBlock(client.index.hash(height).unwrap()));
    assert_eq!(client.say(&Message::GetData(items.collect())), blocks);
    client.say(&Message::SendHeaders);
    world.mine(1);
    client.index.follow(world.chain());
    let bytes = client.session.announce(&client.peer, &client.index).messages.concat();
    client.decoder.feed(&bytes);
    let tip = world.chain().height();
    assert_eq!(
        client.decoder.next_message(),
        Ok(Some(Message::Headers(full(world.chain(), tip..=tip))))
    );
    // What only who wants transactions is told.
    let mut relaying = version(70016);
    *relaying.last_mut().unwrap() = 1;
    let mut client = Client::new(Peer::default(), &chain);
    client.say(&Message::Version(Box::new(deserialize(&relaying).unwrap())));
    client.say(&Message::Verack);
    let missing = vec![Inventory::WitnessTransaction(Txid::from_byte_array([3; 32]))];
    assert_eq!(
        client.say(&Message::GetData(missing.clone())),
        [Message::NotFound(missing)]
    );
}

/// Namecoin Core ends a message of headers with the one that makes it 4 MiB, and sends none with more than 6 MiB.
///
/// Source: Namecoin Core `net_processing.cpp`, `threshold_headers_size` and `max_headers_size`.
#[test]
fn messages_of_headers_may_be_longer_than_the_threshold() {
    let mut world = World::new(1, Timestamp(1_500_000_000));
    for _ in 0..1700 {
        world.mine_with(Work::Native);
    }
    let mut chain = world.into_chain();
    for height in 1..=1700 {
        let mut header = *chain.header(height).unwrap().as_bytes();
        header[1] |= 1;
        let auxpow = large_auxpow(&PureHeader::new(header));
        chain.replace_full_header(height, [&header[..], &auxpow].concat());
    }
    let mut client = Client::open(&chain);
    let heard = client.say(&locator(chain.header(0).unwrap().hash()));
    let [Message::Headers(headers)] = heard.as_slice() else {
        panic!("{} messages", heard.len());
    };
    assert_eq!(*headers, full(&chain, 1..=Height::try_from(headers.len()).unwrap()));
    assert!(headers.len() < 1700 && headers.iter().map(Vec::len).sum::<usize>() >= MAX_HEADER_BYTES);
}

//! Messages as bytes and back, whole, in pieces, and damaged.

#![allow(clippy::cast_possible_truncation, reason = "numbers of a test that are small")]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::{AddrV2, Address};
use isonym_fixtures::auxpow::AuxPowSpec;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const NETWORK: Network = Network::Regtest;

fn framed(command: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = magic(NETWORK).to_vec();
    bytes.extend(command.bytes().chain(std::iter::repeat(0)).take(12));
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(checksum(payload));
    bytes.extend(payload);
    bytes
}

fn decoded(bytes: &[u8]) -> Result<Option<Message>, CodecError> {
    let mut decoder = Decoder::new(NETWORK);
    decoder.feed(bytes);
    decoder.next_message()
}

fn hash(number: u8) -> BlockHash {
    BlockHash::from_byte_array([number; 32])
}

fn version(user_agent: &str) -> VersionMessage {
    let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let nobody = Address::new(&nobody, ServiceFlags::NONE);
    VersionMessage {
        version: 70_016,
        services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
        timestamp: 1_700_000_000,
        receiver: nobody.clone(),
        sender: nobody,
        nonce: 7,
        user_agent: user_agent.to_owned(),
        start_height: 800_000,
        relay: true,
    }
}

/// An entry of `addrv2` as BIP 155 has it.
fn entry(network: u8, address: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, 0, 0, 0, 9, network, address.len() as u8];
    bytes.extend(address);
    bytes.extend(8334_u16.to_be_bytes());
    bytes
}

#[test]
fn a_message_begins_as_its_network_says() {
    let bytes = encode(Network::Mainnet, &Message::Ping(1));
    assert_eq!(
        bytes,
        [
            [0xf9, 0xbe, 0xb4, 0xfe].as_slice(),
            b"ping\0\0\0\0\0\0\0\0",
            &[8, 0, 0, 0],
            &checksum(&[1, 0, 0, 0, 0, 0, 0, 0]),
            &[1, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat()
    );
    let ports = Network::ALL.map(default_port);
    assert_eq!(ports, [8334, 18334, 18445]);
}

#[test]
fn the_smallest_part_of_another_magic_is_refused() {
    assert_eq!(decoded(&[]), Ok(None));
    assert_eq!(decoded(&magic(NETWORK)[..3]), Ok(None));
    assert_eq!(decoded(&magic(Network::Testnet)), Err(CodecError::Magic));
    assert_eq!(decoded(b"H"), Err(CodecError::Magic));
}

#[test]
fn a_wrong_checksum_is_refused() {
    let mut bytes = encode(NETWORK, &Message::Ping(1));
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(decoded(&bytes), Err(CodecError::Checksum));
}

#[test]
fn each_kind_has_a_longest_payload_that_is_checked_before_it_comes() {
    for (command, max) in [
        ("version", MAX_SMALL),
        ("verack", MAX_SMALL),
        ("ping", MAX_SMALL),
        ("getheaders", 103 * 32 + 9),
        ("inv", 50_000 * 36 + 9),
        ("notfound", 50_000 * 36 + 9),
        ("addrv2", 531_009),
        ("headers", MAX_PAYLOAD),
        ("block", MAX_PAYLOAD),
        ("tx", MAX_PAYLOAD),
    ] {
        let mut bytes = framed(command, &[]);
        bytes[16..20].copy_from_slice(&(max as u32 + 1).to_le_bytes());
        let got = max as u32 + 1;
        assert_eq!(decoded(&bytes), Err(CodecError::TooLong { got, max }), "{command}");
        bytes[16..20].copy_from_slice(&(max as u32).to_le_bytes());
        let expected = (command == "tx").then_some(Message::Other);
        assert_eq!(decoded(&bytes), Ok(expected), "{command}");
    }
}

#[test]
fn nothing_is_kept_of_what_is_of_no_use() {
    let mut decoder = Decoder::new(NETWORK);
    let long = framed("tx", &vec![7; 1_000_000]);
    for piece in long.chunks(10_000) {
        decoder.feed(piece);
        while decoder.next_message().unwrap().is_some() {}
        assert!(decoder.held() < HEAD);
    }
    decoder.feed(&encode(NETWORK, &Message::Verack));
    assert_eq!(decoder.next_message(), Ok(Some(Message::Verack)));
}

#[test]
fn nothing_is_reserved_for_what_is_merely_announced() {
    let mut decoder = Decoder::new(NETWORK);
    let mut bytes = framed("block", &[]);
    bytes[16..20].copy_from_slice(&4_000_000_u32.to_le_bytes());
    decoder.feed(&bytes);
    assert_eq!(decoder.next_message(), Ok(None));
    assert!(decoder.bytes.capacity() < 1_000);
    // 2000 headers are announced, and none is there.
    let short = framed("headers", &[0xfd, 0xd0, 0x07]);
    assert!(matches!(decoded(&short), Err(CodecError::Header(_))));
}

#[test]
fn room_for_a_long_message_is_given_back() {
    let mut decoder = Decoder::new(NETWORK);
    decoder.feed(&encode(NETWORK, &Message::Block(vec![1; 3_000_000])));
    assert!(decoder.next_message().unwrap().is_some());
    assert!(decoder.bytes.capacity() <= 1 << 16);
}

#[test]
fn counts_are_bounded() {
    let counted = |count: u16| [[0xfd].as_slice(), &count.to_le_bytes()].concat();
    for (command, before, count, max) in [
        ("headers", 0, 2_001, MAX_HEADERS),
        ("getheaders", 4, 102, MAX_LOCATOR),
        ("addrv2", 0, 1_001, MAX_ADDRESSES),
        ("inv", 0, 50_001, MAX_INVENTORY),
    ] {
        let count_bytes = if count < 253 { vec![count as u8] } else { counted(count) };
        let payload = [vec![0; before], count_bytes].concat();
        let got = u64::from(count);
        assert_eq!(
            decoded(&framed(command, &payload)),
            Err(CodecError::TooMany { command, got, max })
        );
    }
}

#[test]
fn headers_are_split_where_their_auxpow_ends() {
    let plain = {
        let mut bytes = AuxPowSpec::default().full_header([1; 32], 5);
        bytes.truncate(80);
        bytes[1] = 0;
        bytes
    };
    let merged = AuxPowSpec::realistic(3).full_header([2; 32], 9);
    let message = Message::Headers(vec![merged.clone(), plain, merged.clone()]);
    assert_eq!(decoded(&encode(NETWORK, &message)), Ok(Some(message)));
    // A transaction count that is not 0.
    let payload = [[1].as_slice(), &merged, &[1]].concat();
    let command = "headers";
    assert_eq!(
        decoded(&framed(command, &payload)),
        Err(CodecError::Undecodable { command })
    );
}

#[test]
fn a_version_may_be_older_or_newer_than_ours() {
    let message = Message::Version(Box::new(version("/Satoshi:31.0.0/")));
    let mut payload = encode(NETWORK, &message).split_off(HEAD);
    payload.extend([1, 2, 3]);
    assert_eq!(decoded(&framed("version", &payload)), Ok(Some(message.clone())));
    payload.truncate(payload.len() - 4);
    assert_eq!(
        decoded(&framed("version", &payload)),
        Ok(Some(message)),
        "no word of relaying is yes"
    );
    payload.truncate(payload.len() - 1);
    let command = "version";
    assert_eq!(
        decoded(&framed(command, &payload)),
        Err(CodecError::Undecodable { command })
    );
    let longest = Message::Version(Box::new(version(&"x".repeat(256))));
    assert_eq!(decoded(&encode(NETWORK, &longest)), Ok(Some(longest)));
    let too_long = Message::Version(Box::new(version(&"x".repeat(257))));
    assert_eq!(
        decoded(&encode(NETWORK, &too_long)),
        Err(CodecError::Undecodable { command })
    );
}

#[test]
fn what_core_lets_pass_passes() {
    let pong = |payload: &[u8]| decoded(&framed("pong", payload));
    assert_eq!(pong(&[]), Ok(Some(Message::Other)));
    assert_eq!(pong(&[1, 0, 0, 0, 0, 0, 0, 0, 9]), Ok(Some(Message::Pong(1))));
    assert_eq!(decoded(&framed("ping", &[1])), Ok(Some(Message::Other)));
    assert_eq!(decoded(&framed("verack", &[1])), Ok(Some(Message::Verack)));
    assert_eq!(decoded(&framed("inv", &[0, 9])), Ok(Some(Message::Inv(Vec::new()))));
    assert_eq!(decoded(&framed("wtxidrelay", &[])), Ok(Some(Message::Other)));
}

#[test]
fn addresses_that_can_not_be_are_left_out() {
    let entries = [
        entry(1, &[192, 0, 2, 1]),
        entry(1, &[192, 0, 2]),
        // IPv4 in IPv6's form.
        entry(2, &Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets()),
        entry(3, &[5; 10]),
        entry(4, &[6; 32]),
        entry(77, &[7; 100]),
    ];
    let payload = [vec![entries.len() as u8], entries.concat()].concat();
    let Ok(Some(Message::AddrV2(addresses))) = decoded(&framed("addrv2", &payload)) else {
        panic!("no addresses");
    };
    let networks: Vec<AddrV2> = addresses.into_iter().map(|it| it.addr).collect();
    assert_eq!(
        networks,
        [
            AddrV2::Ipv4(Ipv4Addr::new(192, 0, 2, 1)),
            AddrV2::TorV2([5; 10]),
            AddrV2::TorV3([6; 32]),
            AddrV2::Unknown(77, vec![7; 100]),
        ]
    );
    let command = "addrv2";
    let undecodable = Err(CodecError::Undecodable { command });
    assert_eq!(decoded(&framed(command, &payload[..payload.len() - 1])), undecodable);
    // Longer than an address of any network may be.
    let long = [&[1, 1, 0, 0, 0, 9, 77, 0xfd, 1, 2], vec![7; 515].as_slice()].concat();
    assert_eq!(decoded(&framed(command, &long)), undecodable);
}

fn inventories() -> impl Strategy<Value = Vec<Inventory>> {
    let one = (any::<bool>(), any::<u8>()).prop_map(|(with_witness, number)| {
        if with_witness {
            Inventory::WitnessBlock(hash(number))
        } else {
            Inventory::Block(hash(number))
        }
    });
    vec(one, 0..20)
}

fn addresses() -> impl Strategy<Value = Vec<AddrV2Message>> {
    let address = prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| AddrV2::Ipv4(ip.into())),
        any::<[u8; 15]>().prop_map(|tail| {
            let mut ip = [0x20; 16];
            ip[1..].copy_from_slice(&tail);
            AddrV2::Ipv6(Ipv6Addr::from(ip))
        }),
        any::<[u8; 32]>().prop_map(AddrV2::TorV3),
    ];
    let one = (address, any::<u32>(), any::<u64>(), any::<u16>()).prop_map(|(addr, time, services, port)| {
        let services = ServiceFlags::from(services);
        AddrV2Message {
            time,
            services,
            addr,
            port,
        }
    });
    vec(one, 0..20)
}

fn messages() -> impl Strategy<Value = Message> {
    let header = (any::<[u8; 32]>(), any::<u32>(), 0_u8..4)
        .prop_map(|(prev, time, levels)| AuxPowSpec::realistic(levels).full_header(prev, time));
    prop_oneof![
        ("[ -~]{0,40}", any::<u64>(), any::<i32>(), any::<bool>()).prop_map(|(agent, nonce, start_height, relay)| {
            Message::Version(Box::new(VersionMessage {
                nonce,
                start_height,
                relay,
                ..version(&agent)
            }))
        }),
        Just(Message::Verack),
        Just(Message::SendAddrV2),
        Just(Message::SendHeaders),
        Just(Message::GetAddr),
        any::<u64>().prop_map(Message::Ping),
        any::<u64>().prop_map(Message::Pong),
        (vec(any::<u8>(), 0..=101), any::<u8>()).prop_map(|(locator, stop)| Message::GetHeaders {
            locator: locator.into_iter().map(hash).collect(),
            stop: hash(stop),
        }),
        vec(header, 0..4).prop_map(Message::Headers),
        inventories().prop_map(Message::Inv),
        inventories().prop_map(Message::GetData),
        inventories().prop_map(Message::NotFound),
        vec(any::<u8>(), 0..500).prop_map(Message::Block),
        addresses().prop_map(Message::AddrV2),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read_whatever_pieces_it_comes_in(
        sent in vec(messages(), 1..5), piece in 1_usize..200,
    ) {
        let bytes: Vec<u8> = sent.iter().flat_map(|message| encode(NETWORK, message)).collect();
        let mut decoder = Decoder::new(NETWORK);
        let mut received = Vec::new();
        for chunk in bytes.chunks(piece) {
            decoder.feed(chunk);
            while let Some(message) = decoder.next_message().unwrap() {
                received.push(message);
            }
        }
        prop_assert_eq!(received, sent);
        prop_assert_eq!(decoder.held(), 0);
    }

    #[test]
    fn payloads_of_any_bytes_are_read_or_refused(command in 0_usize..14, payload in vec(any::<u8>(), 0..300)) {
        let commands = [
            "version", "verack", "sendaddrv2", "sendheaders", "ping", "pong", "getheaders", "headers", "inv", "getdata",
            "notfound", "block", "getaddr", "addrv2",
        ];
        if let Ok(message) = decoded(&framed(commands[command], &payload)) {
            // What is read is the same when it is written again.
            let message = message.unwrap();
            if message != Message::Other {
                prop_assert_eq!(decoded(&encode(NETWORK, &message)), Ok(Some(message)));
            }
        }
    }
}

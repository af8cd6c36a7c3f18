//! Any payloads under any commands, and any bytes, in any pieces, as what a peer sends: never more is held than came, and what
//! is read is the same when it is written again.

use bitcoin::hashes::{Hash, sha256d};
use isonym::chain::Network;
use isonym::p2p::codec::magic;
use isonym::p2p::{Decoder, Message, encode};

use crate::input;

const NETWORK: Network = Network::Regtest;

const COMMANDS: [&str; 15] = [
    "version",
    "verack",
    "sendaddrv2",
    "sendheaders",
    "ping",
    "pong",
    "getheaders",
    "headers",
    "inv",
    "getdata",
    "notfound",
    "block",
    "getaddr",
    "addrv2",
    "tx",
];

/// Returns bytes as they are, or behind what makes a message of them, which no fuzzer would find.
fn piece((is_framed, command, bytes): (bool, u8, &[u8])) -> Vec<u8> {
    if is_framed {
        framed(COMMANDS[usize::from(command) % COMMANDS.len()], bytes)
    } else {
        bytes.to_vec()
    }
}

fn framed(command: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = magic(NETWORK).to_vec();
    bytes.extend(command.bytes().chain(std::iter::repeat(0)).take(12));
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(&sha256d::Hash::hash(payload).to_byte_array()[..4]);
    bytes.extend(payload);
    bytes
}

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let Some((size, pieces)) = input::<(u8, Vec<(bool, u8, &[u8])>)>(bytes) else {
        return;
    };
    let sent: Vec<u8> = pieces.into_iter().flat_map(piece).collect();
    let mut decoder = Decoder::new(NETWORK);
    let mut came = 0;
    for chunk in sent.chunks(usize::from(size).max(1)) {
        decoder.feed(chunk);
        came += chunk.len();
        loop {
            match decoder.next_message() {
                Ok(Some(Message::Other)) => {}
                Ok(Some(message)) => again(&message),
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(decoder.held() <= came);
    }
}

fn again(message: &Message) {
    let mut decoder = Decoder::new(NETWORK);
    decoder.feed(&encode(NETWORK, message));
    assert_eq!(decoder.next_message().as_ref(), Ok(&Some(message.clone())));
    assert_eq!(decoder.held(), 0);
}

//! Any text is parsed as an answer to any request or refused, and what is parsed keeps to its bounds.

#![no_main]

use bitcoin::Txid;
use bitcoin::hashes::Hash;
use isonym::electrum::{Reply, Request, VersionRange};
use isonym::name::ScriptHash;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u8, bool, &str)| {
    let (method, count, truncated, json) = input;
    let scripthash = ScriptHash([0x11; 32]);
    let txid = Txid::from_byte_array([0x22; 32]);
    let request = match method % 10 {
        0 => Request::Version(VersionRange::ALL),
        1 => Request::SubscribeHeaders,
        2 => Request::Headers {
            start: 0,
            count: count.into(),
            cp_height: truncated.into(),
        },
        3 => Request::Header(0),
        4 => Request::Features,
        5 => Request::History(scripthash),
        6 => Request::Transaction(txid),
        7 => Request::Merkle { txid, height: 0 },
        8 => Request::ValueProof(scripthash),
        _ => Request::Ping,
    };
    let _ = Reply::parse_tip(json);
    match Reply::parse(&request, json) {
        Ok(Reply::Headers(chunk)) => {
            let pure = 80 * chunk.count as usize;
            assert!(chunk.count <= count.into() && chunk.bytes.len() >= pure);
            assert!(!truncated || chunk.bytes.len() == pure);
        }
        Ok(Reply::Version(version)) => assert!(VersionRange::ALL.contains(version.protocol)),
        _ => {}
    }
});

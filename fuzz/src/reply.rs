//! Any text is parsed as an answer to any request or refused, and what is parsed keeps to its bounds.

use bitcoin::Txid;
use bitcoin::hashes::Hash;
use isonym::electrum::{ElectrumReply, ElectrumRequest, MAX_PEERS, MAX_PEERS_REPLY, VersionRange};
use isonym::name::ScriptHash;

use crate::input;

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let Some((method, count, truncated, json)) = input::<(u8, u8, bool, &str)>(bytes) else { return };
    let scripthash = ScriptHash([0x11; 32]);
    let txid = Txid::from_byte_array([0x22; 32]);
    let request = match method % 11 {
        0 => ElectrumRequest::Version(VersionRange::ALL),
        1 => ElectrumRequest::SubscribeHeaders,
        2 => ElectrumRequest::Headers {
            start: 0,
            count: count.into(),
            cp_height: truncated.into(),
        },
        3 => ElectrumRequest::Header(0),
        4 => ElectrumRequest::Features,
        5 => ElectrumRequest::History(scripthash),
        6 => ElectrumRequest::Transaction(txid),
        7 => ElectrumRequest::Merkle { txid, height: 0 },
        8 => ElectrumRequest::ValueProof(scripthash),
        9 => ElectrumRequest::Peers,
        _ => ElectrumRequest::Ping,
    };
    let _ = ElectrumReply::parse_tip(json);
    match ElectrumReply::parse(&request, json) {
        Ok(ElectrumReply::Headers(chunk)) => {
            let pure = 80 * chunk.count as usize;
            assert!(chunk.count <= count.into() && chunk.bytes.len() >= pure);
            assert!(!truncated || chunk.bytes.len() == pure);
        }
        Ok(ElectrumReply::Peers(peers)) => {
            assert!(peers.len() <= MAX_PEERS && json.len() <= MAX_PEERS_REPLY);
            assert!(
                peers
                    .iter()
                    .all(|peer| (1..=253).contains(&peer.host.len()) && peer.tls.or(peer.tcp).is_some())
            );
        }
        Ok(ElectrumReply::Version(version)) => assert!(VersionRange::ALL.contains(version.protocol)),
        _ => {}
    }
}

//! Answers of an Electrum server, as bounded plain values. They are parsed, not believed: whether a header,
//! branch or transaction is what it should be is for `chain` and `name` to check.

mod peers;

use std::collections::BTreeMap;
use std::fmt;

use bitcoin::{BlockHash, TxMerkleNode, Txid};
use serde::Deserialize;
use serde_json::value::RawValue;

pub use self::peers::{MAX_PEERS, MAX_PEERS_REPLY, Peer};
use super::request::{ElectrumRequest, InvalidVersion, MAX_HEADERS, ProtocolVersion, VersionRange};
use super::wire::{self, AtMost, OnlyEntry};
use crate::chain::{Height, PureHeader};
use crate::name::ProofLink;
use crate::name::merkle::MAX_BRANCH_LEN;
use crate::name::proof::MAX_TX_SIZE;

/// Most operations of one name that are read: three times what fits into one lookup line as a value proof.
pub const MAX_HISTORY: usize = 12_000;

/// Longest single full header, in bytes: a parent coinbase may be as long as a block, real ones have 1 or 2 kB.
pub const MAX_HEADER: usize = 1_000_000;

/// Longest list of its own hosts that is read of a server, in bytes.
const MAX_OWN_HOSTS: usize = 4 << 10;

/// Longest server software name that is kept, in characters.
pub const MAX_SOFTWARE: usize = 64;

/// What a server says its tip is.
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderTip {
    /// Claimed height.
    pub height: Height,
    /// The full header as serialized, 80 bytes to [`MAX_HEADER`].
    pub header: Vec<u8>,
}

impl fmt::Debug for HeaderTip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderTip")
            .field("height", &self.height)
            .finish_non_exhaustive()
    }
}

/// Consecutive headers.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HeaderChunk {
    /// How many, at most what was asked for; 0 past the server's tip.
    pub count: u32,
    /// The headers one after the other: full ones, or exactly 80 bytes each when a `cp_height` was asked for.
    pub bytes: Vec<u8>,
    /// Most headers that the server gives at a time, at least 1.
    pub max: u32,
}

impl fmt::Debug for HeaderChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderChunk")
            .field("count", &self.count)
            .field("len", &self.bytes.len())
            .field("max", &self.max)
            .finish()
    }
}

/// One transaction that touched a scripthash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The transaction.
    pub txid: Txid,
    /// Height of its block; `None` while it is unconfirmed (0 or below on the wire).
    pub height: Option<Height>,
}

/// Where in a block a transaction is said to be.
#[derive(Clone, PartialEq, Eq)]
pub struct MerkleProof {
    /// Height of the block.
    pub block_height: Height,
    /// The hashes beside the way up from the transaction to the merkle root, at most [`MAX_BRANCH_LEN`].
    pub branch: Vec<TxMerkleNode>,
    /// The transaction's place in the block, from 0.
    pub pos: u32,
}

/// What a server answers to the version handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerVersion {
    /// What the server calls itself, at most [`MAX_SOFTWARE`] printable characters. Untrusted.
    pub software: String,
    /// The version that both will speak, within the range that was offered.
    pub protocol: ProtocolVersion,
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// The hash of its genesis block: which network it serves.
    pub genesis_hash: BlockHash,
    /// The hosts that it says it is reached at; none where it says so in no readable way.
    pub hosts: Vec<String>,
}

/// One answer, of the kind that its request asks for. `Debug` hides what would tell a name.
#[derive(Clone, PartialEq, Eq)]
pub enum ElectrumReply {
    /// To [`ElectrumRequest::Version`].
    Version(ServerVersion),
    /// To [`ElectrumRequest::SubscribeHeaders`].
    Tip(HeaderTip),
    /// To [`ElectrumRequest::Headers`].
    Headers(HeaderChunk),
    /// To [`ElectrumRequest::Header`]: one full header.
    Header(Vec<u8>),
    /// To [`ElectrumRequest::Features`].
    Features(Features),
    /// To [`ElectrumRequest::Peers`], at most [`MAX_PEERS`].
    Peers(Vec<Peer>),
    /// To [`ElectrumRequest::History`], oldest first.
    History(Vec<HistoryEntry>),
    /// To [`ElectrumRequest::Transaction`]: the transaction as serialized.
    Transaction(Vec<u8>),
    /// To [`ElectrumRequest::Merkle`].
    Merkle(MerkleProof),
    /// To [`ElectrumRequest::ValueProof`], newest first; empty for an unknown name.
    ValueProof(Vec<ProofLink>),
    /// To [`ElectrumRequest::Ping`].
    Pong,
}

/// Why an answer can't be one to its request. Carries nothing that the server wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// No JSON of the shape that the method has, or more items than allowed.
    #[error("reply has the wrong shape")]
    WrongShape,
    /// A field that should be hex isn't.
    #[error("reply has invalid hex in `{field}`")]
    InvalidHex {
        /// The field.
        field: &'static str,
    },
    /// A field is shorter or longer than such a thing can be.
    #[error("`{field}` has {got} bytes: expected {min} to {max}")]
    WrongLength {
        /// The field.
        field: &'static str,
        /// Fewest bytes.
        min: usize,
        /// Most bytes.
        max: usize,
        /// Its bytes.
        got: usize,
    },
    /// More headers than were asked for.
    #[error("reply has {got} headers: at most {expected} were asked for")]
    TooManyHeaders {
        /// How many were asked for.
        expected: u32,
        /// How many came.
        got: u32,
    },
    /// Headers that should be cut to 80 bytes aren't: `ElectrumX` 1.19 to 2.0 cut at the wrong offsets, and
    /// protocol 1.4 doesn't cut. This server must be asked for full headers.
    #[error("headers are cut wrongly: expected {expected} bytes, got {got}")]
    WronglyCut {
        /// 80 times the count.
        expected: usize,
        /// The bytes that came.
        got: usize,
    },
    /// The list of headers has another length than its count says.
    #[error("reply says {expected} headers but lists {got}")]
    CountMismatch {
        /// What the count says.
        expected: u32,
        /// How many are listed.
        got: usize,
    },
    /// A proof for something else than what was asked for.
    #[error("reply is about another key")]
    WrongKey,
    /// The server chose a version that was not offered.
    #[error("server chose protocol {got}: offered were {offered}")]
    VersionNotOffered {
        /// What was offered.
        offered: VersionRange,
        /// What it chose.
        got: ProtocolVersion,
    },
    /// The server's version is none.
    #[error(transparent)]
    InvalidVersion(#[from] InvalidVersion),
}

impl ElectrumReply {
    /// Parses the result that came for a request; `result` is one JSON value, `null` included.
    ///
    /// # Errors
    ///
    /// See [`ReplyError`].
    pub fn parse(request: &ElectrumRequest, result: &str) -> Result<Self, ReplyError> {
        Ok(match request {
            ElectrumRequest::Version(offered) => Self::Version(version(result, *offered)?),
            ElectrumRequest::SubscribeHeaders => Self::Tip(HeaderTip::from_wire(&shape(result)?)?),
            ElectrumRequest::Headers { count, cp_height, .. } => {
                Self::Headers(headers(result, *count, *cp_height > 0)?)
            }
            ElectrumRequest::Header(_) => Self::Header(hex("header", shape(result)?, PureHeader::SIZE, MAX_HEADER)?),
            ElectrumRequest::Features => {
                let wire: wire::Features<'_> = shape(result)?;
                Self::Features(Features {
                    genesis_hash: hash("genesis_hash", wire.genesis_hash)?,
                    hosts: wire.hosts.map_or_else(Vec::new, |hosts| own_hosts(hosts.get())),
                })
            }
            ElectrumRequest::Peers => Self::Peers(peers::parse(result)?),
            ElectrumRequest::History(_) => Self::History(history(result)?),
            ElectrumRequest::Transaction(_) => Self::Transaction(transaction(shape(result)?)?),
            ElectrumRequest::Merkle { .. } => {
                let wire: wire::Merkle<'_, MAX_BRANCH_LEN> = shape(result)?;
                Self::Merkle(MerkleProof {
                    block_height: wire.block_height,
                    branch: branch(&wire.branch)?,
                    pos: wire.pos,
                })
            }
            ElectrumRequest::ValueProof(scripthash) => Self::ValueProof(value_proof(result, &scripthash.to_string())?),
            ElectrumRequest::Ping => Self::Pong,
        })
    }

    /// Parses the `params` of a `blockchain.headers.subscribe` notification.
    ///
    /// # Errors
    ///
    /// See [`ReplyError`].
    pub fn parse_tip(params: &str) -> Result<HeaderTip, ReplyError> {
        let AtMost::<wire::Tip<'_>, 1>(tips) = shape(params)?;
        HeaderTip::from_wire(tips.first().ok_or(ReplyError::WrongShape)?)
    }
}

impl fmt::Debug for ElectrumReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => version.fmt(f),
            Self::Tip(tip) => tip.fmt(f),
            Self::Headers(chunk) => chunk.fmt(f),
            Self::Features(features) => features.fmt(f),
            Self::Peers(_) => f.write_str("Peers(..)"),
            Self::Header(_) => f.write_str("Header(..)"),
            Self::History(_) => f.write_str("History(..)"),
            Self::Transaction(_) => f.write_str("Transaction(..)"),
            Self::Merkle(_) => f.write_str("Merkle(..)"),
            Self::ValueProof(_) => f.write_str("ValueProof(..)"),
            Self::Pong => f.write_str("Pong"),
        }
    }
}

impl HeaderTip {
    fn from_wire(wire: &wire::Tip<'_>) -> Result<Self, ReplyError> {
        Ok(Self {
            height: wire.height,
            header: hex("hex", wire.hex, PureHeader::SIZE, MAX_HEADER)?,
        })
    }
}

/// The parser's own message is dropped: it may quote the server, and a name with it.
fn shape<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, ReplyError> {
    serde_json::from_str(json).map_err(|_| ReplyError::WrongShape)
}

/// Reads the hosts that a server says it has. It is not refused for odd ones: few care what it says.
fn own_hosts(hosts: &str) -> Vec<String> {
    let is_short = hosts.len() <= MAX_OWN_HOSTS;
    let hosts: Option<BTreeMap<String, &RawValue>> = is_short.then(|| serde_json::from_str(hosts).ok()).flatten();
    hosts.unwrap_or_default().into_keys().collect()
}

fn version(result: &str, offered: VersionRange) -> Result<ServerVersion, ReplyError> {
    let AtMost::<String, 2>(words) = shape(result)?;
    let [software, protocol] = words.as_slice() else {
        return Err(ReplyError::WrongShape);
    };
    let protocol: ProtocolVersion = protocol.parse()?;
    if !offered.contains(protocol) {
        return Err(ReplyError::VersionNotOffered { offered, got: protocol });
    }
    Ok(ServerVersion {
        software: printable(software, MAX_SOFTWARE),
        protocol,
    })
}

fn headers(result: &str, asked: u32, truncated: bool) -> Result<HeaderChunk, ReplyError> {
    const LIMIT: usize = MAX_HEADERS as usize * 16;
    // Wrong cutting gives more pieces than headers; they are let in so that they can be told from nonsense.
    let wire: wire::Chunk<'_, LIMIT> = shape(result)?;
    if wire.count > asked {
        return Err(ReplyError::TooManyHeaders {
            expected: asked,
            got: wire.count,
        });
    }
    let count = usize::try_from(wire.count).map_err(|_| ReplyError::WrongShape)?;
    let pure = count.saturating_mul(PureHeader::SIZE);
    let pieces = match (&wire.hex, &wire.headers) {
        (Some(hex), None) => std::slice::from_ref(hex),
        (None, Some(AtMost(pieces))) => pieces.as_slice(),
        _ => return Err(ReplyError::WrongShape),
    };
    let len = pieces.iter().map(|piece| piece.len()).sum::<usize>() / 2;
    if truncated && len != pure {
        return Err(ReplyError::WronglyCut {
            expected: pure,
            got: len,
        });
    }
    if len < pure || (count == 0 && len > 0) {
        return Err(ReplyError::WrongLength {
            field: "headers",
            min: pure,
            max: if count == 0 { 0 } else { usize::MAX },
            got: len,
        });
    }
    Ok(HeaderChunk {
        count: wire.count,
        bytes: join(pieces, len)?,
        max: wire.max.unwrap_or(MAX_HEADERS).clamp(1, MAX_HEADERS),
    })
}

/// Joins pieces of hex without a copy in between; how the server cut them doesn't matter, but each must be
/// whole bytes.
fn join(pieces: &[&str], len: usize) -> Result<Vec<u8>, ReplyError> {
    let mut bytes = Vec::with_capacity(len);
    for piece in pieces {
        decode_into(piece, &mut bytes).ok_or(ReplyError::InvalidHex { field: "headers" })?;
    }
    Ok(bytes)
}

fn history(result: &str) -> Result<Vec<HistoryEntry>, ReplyError> {
    let AtMost::<wire::HistoryItem<'_>, MAX_HISTORY>(items) = shape(result)?;
    items
        .iter()
        .map(|item| {
            let height = if item.height > 0 {
                Some(Height::try_from(item.height).map_err(|_| ReplyError::WrongShape)?)
            } else {
                None
            };
            Ok(HistoryEntry {
                txid: hash("tx_hash", item.tx_hash)?,
                height,
            })
        })
        .collect()
}

fn value_proof(result: &str, scripthash: &str) -> Result<Vec<ProofLink>, ReplyError> {
    let entry: OnlyEntry<'_, AtMost<wire::Link<'_, MAX_BRANCH_LEN>, MAX_HISTORY>> = shape(result)?;
    if entry.key != scripthash {
        return Err(ReplyError::WrongKey);
    }
    let AtMost(links) = entry.value;
    links
        .iter()
        .map(|link| {
            Ok(ProofLink {
                height: link.height,
                tx: transaction(link.tx)?,
                merkle: branch(&link.tx_merkle.branch)?,
                pos: link.tx_merkle.pos,
            })
        })
        .collect()
}

fn branch(hashes: &AtMost<&str, MAX_BRANCH_LEN>) -> Result<Vec<TxMerkleNode>, ReplyError> {
    hashes.0.iter().map(|digits| hash("merkle", digits)).collect()
}

fn transaction(digits: &str) -> Result<Vec<u8>, ReplyError> {
    // The smallest transaction with an input and an output has 60 bytes; 10 is what decoding needs at least.
    hex("tx", digits, 10, MAX_TX_SIZE)
}

fn hash<T: std::str::FromStr>(field: &'static str, digits: &str) -> Result<T, ReplyError> {
    digits.parse().map_err(|_| ReplyError::InvalidHex { field })
}

fn hex(field: &'static str, digits: &str, min: usize, max: usize) -> Result<Vec<u8>, ReplyError> {
    let got = digits.len() / 2;
    if !(min..=max).contains(&got) {
        return Err(ReplyError::WrongLength { field, min, max, got });
    }
    let mut bytes = Vec::with_capacity(got);
    decode_into(digits, &mut bytes).ok_or(ReplyError::InvalidHex { field })?;
    Ok(bytes)
}

fn decode_into(digits: &str, bytes: &mut Vec<u8>) -> Option<()> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
        return None;
    };
    for [high, low] in pairs {
        bytes.push(nibble(*high)? << 4 | nibble(*low)?);
    }
    Some(())
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Cuts a server's text to `limit` characters and drops what could change a terminal: control characters and
/// the invisible ones that reorder text.
pub(super) fn printable(text: &str, limit: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control() && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'))
        .take(limit)
        .collect()
}

#[cfg(test)]
mod tests;

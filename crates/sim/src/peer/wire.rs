//! Messages between peers as bytes, version 1 of the transport: written apart from the code of a client that reads them.
//!
//! | bytes | |
//! | --- | --- |
//! | 4 | which network |
//! | 12 | what it is, ASCII filled up with zeros |
//! | 4 | bytes of the payload, little-endian |
//! | 4 | the first bytes of the payload's SHA-256d |
//! | any | the payload |

use bitcoin::VarInt;
use bitcoin::consensus::encode::{Decodable, Encodable, deserialize, serialize};
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::p2p::message_blockdata::{GetBlocksMessage, GetHeadersMessage, Inventory};
use bitcoin::p2p::message_network::VersionMessage;
use isonym_core::chain::Network;

/// Bytes before the payload.
pub(super) const HEAD: usize = 24;

/// Longest payload that a node reads: far more than any message of a light client.
///
/// Source: Bitcoin Core `net.h`, `MAX_PROTOCOL_MESSAGE_LENGTH`.
const MAX_PAYLOAD: usize = 4_000_000;

/// Returns the bytes that a network's messages begin with.
///
/// Source: Namecoin Core `kernel/chainparams.cpp`, `pchMessageStart`.
pub const fn magic(network: Network) -> [u8; 4] {
    match network {
        Network::Mainnet => [0xf9, 0xbe, 0xb4, 0xfe],
        Network::Testnet => [0xfa, 0xbf, 0xb5, 0xfe],
        Network::Regtest => [0xfa, 0xbf, 0xb5, 0xda],
    }
}

/// Writes a message.
pub fn message(magic: [u8; 4], command: &str, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = head(magic, command, size, checksum(payload)).to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

/// Writes what stands before a payload.
pub(super) fn head(magic: [u8; 4], command: &str, size: u32, checksum: [u8; 4]) -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
    let filled = command.bytes().chain(std::iter::repeat(0)).take(12);
    let fields = magic
        .into_iter()
        .chain(filled)
        .chain(size.to_le_bytes())
        .chain(checksum);
    bytes.iter_mut().zip(fields).for_each(|(byte, field)| *byte = field);
    bytes
}

fn checksum(payload: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = sha256d::Hash::hash(payload).to_byte_array();
    [a, b, c, d]
}

/// Writes items behind their number, each as it writes itself.
pub(super) fn list<T: Encodable>(items: &[T]) -> Vec<u8> {
    let mut bytes = serialize(&VarInt::from(items.len()));
    bytes.extend(items.iter().flat_map(serialize));
    bytes
}

/// What ends a connection at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The bytes are no message of this network.
    Magic,
    /// The payload is too long.
    Size,
}

/// A message taken out of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) command: String,
    pub(super) payload: Vec<u8>,
}

/// Takes messages out of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// How many of the bytes were taken already.
    taken: usize,
}

impl Frames {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns how many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.taken)
    }

    /// Returns the next message, if it is whole. Those with a wrong checksum are passed over, as Core does.
    ///
    /// Source: Bitcoin Core `net.cpp`, `V1Transport::readHeader` and `GetReceivedMessage`.
    pub(super) fn next(&mut self, magic: [u8; 4]) -> Result<Option<Frame>, Broken> {
        loop {
            let waiting = self.bytes.get(self.taken..).unwrap_or_default();
            if waiting.iter().zip(magic).any(|(byte, expected)| *byte != expected) {
                return Err(Broken::Magic);
            }
            let Some((head, rest)) = waiting.split_first_chunk::<HEAD>() else {
                return Ok(None);
            };
            let mut fields = head
                .chunks_exact(4)
                .map(|chunk| chunk.first_chunk().copied().unwrap_or([0; 4]));
            let size = fields.nth(4).map_or(0, u32::from_le_bytes);
            let sum = fields.next().unwrap_or_default();
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if size > MAX_PAYLOAD {
                return Err(Broken::Size);
            }
            let Some(payload) = rest.get(..size) else {
                return Ok(None);
            };
            let command = head.iter().skip(4).take(12).take_while(|byte| **byte != 0);
            let frame = Frame {
                command: command.map(|byte| char::from(*byte)).collect(),
                payload: payload.to_vec(),
            };
            self.taken += HEAD + size;
            if checksum(&frame.payload) == sum {
                return Ok(Some(frame));
            }
        }
    }
}

/// What a client said, as far as a node cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Version(Box<VersionMessage>),
    Verack,
    WtxidRelay,
    SendAddrV2,
    SendHeaders,
    Ping(u64),
    Pong(u64),
    GetHeaders(GetHeadersMessage),
    GetBlocks(GetBlocksMessage),
    GetData(Vec<Inventory>),
    Inv(Vec<Inventory>),
    GetAddr,
    Mempool,
    /// One of the messages that need Bloom filters.
    Filter,
    /// Whatever changes nothing, or can't be read: Core only writes of it into its log.
    Other,
}

impl Heard {
    pub(super) fn read(frame: &Frame) -> Self {
        Self::parse(frame).unwrap_or(Self::Other)
    }

    fn parse(frame: &Frame) -> Option<Self> {
        /// Reads a payload, which may have more behind what is known of it.
        fn read<T: Decodable>(mut payload: &[u8]) -> Option<T> {
            T::consensus_decode(&mut payload).ok()
        }
        let payload = frame.payload.as_slice();
        Some(match frame.command.as_str() {
            "version" => Self::Version(Box::new(read(payload)?)),
            "verack" => Self::Verack,
            "wtxidrelay" => Self::WtxidRelay,
            "sendaddrv2" => Self::SendAddrV2,
            "sendheaders" => Self::SendHeaders,
            "ping" => Self::Ping(read(payload)?),
            "pong" => Self::Pong(deserialize(payload).ok()?),
            "getheaders" => Self::GetHeaders(read(payload)?),
            "getblocks" => Self::GetBlocks(read(payload)?),
            "getdata" => Self::GetData(read(payload)?),
            "inv" => Self::Inv(read(payload)?),
            "getaddr" => Self::GetAddr,
            "mempool" => Self::Mempool,
            "filterload" | "filteradd" | "filterclear" => Self::Filter,
            _ => Self::Other,
        })
    }
}

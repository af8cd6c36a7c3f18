//! How messages are written on the wire.
//!
//! ```text
//! magic (4) │ command (12, zeros behind) │ length (4) │ checksum (4) │ payload
//! ```
//!
//! Source: Namecoin Core `protocol.h`, `CMessageHeader`; `net.cpp`, `V1Transport`.

use bitcoin::BlockHash;
use bitcoin::consensus::encode::{self, Decodable, Encodable, VarInt, deserialize_partial};
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::p2p::message_blockdata::Inventory;

use super::message::{MAX_ADDRESSES, MAX_HEADERS, MAX_INVENTORY, MAX_LOCATOR, Message};
use crate::chain::auxpow::DecodeError;
use crate::chain::{FullHeader, Network};

/// Longest payload, in bytes. Source: Namecoin Core `net.h`, `MAX_PROTOCOL_MESSAGE_LENGTH`; Namecoin's `headers` are filled
/// up to 4 MiB.
pub const MAX_PAYLOAD: usize = 4 << 20;

/// Bytes before the payload.
const HEAD: usize = 24;

/// What a number of the protocol's version takes in front of a locator. Nobody reads it.
const LOCATOR_VERSION: u32 = 70_016;

/// Returns the four bytes that each message of a network begins with.
///
/// Source: Namecoin Core `kernel/chainparams.cpp`, `pchMessageStart`.
pub const fn magic(network: Network) -> [u8; 4] {
    match network {
        Network::Mainnet => [0xf9, 0xbe, 0xb4, 0xfe],
        Network::Testnet => [0xfa, 0xbf, 0xb5, 0xfe],
        Network::Regtest => [0xfa, 0xbf, 0xb5, 0xda],
    }
}

/// Returns the port that peers of a network listen at.
///
/// Source: Namecoin Core `kernel/chainparams.cpp`, `nDefaultPort`.
pub const fn default_port(network: Network) -> u16 {
    match network {
        Network::Mainnet => 8334,
        Network::Testnet => 18334,
        Network::Regtest => 18445,
    }
}

/// Why bytes are no messages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// They do not begin as messages of the network do.
    #[error("it does not speak the protocol of this network")]
    Magic,
    /// A payload is longer than any can be.
    #[error("a message of {got} bytes was announced, at most {MAX_PAYLOAD} are allowed")]
    TooLong {
        /// The announced length.
        got: u32,
    },
    /// A payload was damaged on its way.
    #[error("a message with a wrong checksum")]
    Checksum,
    /// A payload can't be read.
    #[error("a message `{command}` that can't be read")]
    Undecodable {
        /// Its command.
        command: &'static str,
    },
    /// There are more entries in a payload than there may be.
    #[error("a message `{command}` with {got} entries, at most {max} are allowed")]
    TooMany {
        /// Its command.
        command: &'static str,
        /// How many.
        got: u64,
        /// Most.
        max: usize,
    },
    /// A header in a payload can't be read.
    #[error("a header that can't be read: {0}")]
    Header(#[from] DecodeError),
}

/// Writes a message.
pub fn encode(network: Network, message: &Message) -> Vec<u8> {
    let mut payload = Vec::new();
    // Writing to memory can't fail.
    let _ = write_payload(message, &mut payload);
    let mut bytes = Vec::with_capacity(HEAD.saturating_add(payload.len()));
    bytes.extend(magic(network));
    let mut command = [0; 12];
    for (place, byte) in command.iter_mut().zip(message.command().bytes()) {
        *place = byte;
    }
    bytes.extend(command);
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_le_bytes());
    bytes.extend(checksum(&payload));
    bytes.append(&mut payload);
    bytes
}

fn write_payload(message: &Message, payload: &mut Vec<u8>) -> Result<(), bitcoin::io::Error> {
    match message {
        Message::Version(version) => version.consensus_encode(payload).map(drop),
        Message::Ping(number) | Message::Pong(number) => number.consensus_encode(payload).map(drop),
        Message::GetHeaders { locator, stop } => {
            LOCATOR_VERSION.consensus_encode(payload)?;
            locator.consensus_encode(payload)?;
            stop.consensus_encode(payload).map(drop)
        }
        Message::Headers(headers) => {
            VarInt::from(headers.len()).consensus_encode(payload)?;
            for header in headers {
                payload.extend_from_slice(header);
                // The number of transactions, of which there are none.
                payload.push(0);
            }
            Ok(())
        }
        Message::Inv(inventory) | Message::GetData(inventory) | Message::NotFound(inventory) => {
            inventory.consensus_encode(payload).map(drop)
        }
        Message::Block(bytes) => {
            payload.extend_from_slice(bytes);
            Ok(())
        }
        Message::AddrV2(addresses) => addresses.consensus_encode(payload).map(drop),
        Message::Verack | Message::SendAddrV2 | Message::SendHeaders | Message::GetAddr | Message::Other => Ok(()),
    }
}

fn checksum(payload: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = sha256d::Hash::hash(payload).to_byte_array();
    [a, b, c, d]
}

/// Cuts a stream into messages. It holds what came and was not taken yet, and reserves nothing for what is merely announced.
#[derive(Clone, Debug)]
pub struct Decoder {
    magic: [u8; 4],
    bytes: Vec<u8>,
}

impl Decoder {
    /// Makes one for a network.
    pub fn new(network: Network) -> Self {
        Self {
            magic: magic(network),
            bytes: Vec::new(),
        }
    }

    /// Takes bytes as they come. Between two of these calls all messages are to be taken out: then it never holds more than
    /// one message and these bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next message out, if it is there as a whole.
    ///
    /// # Errors
    ///
    /// [`CodecError`]; what follows can't be understood then.
    pub fn next_message(&mut self) -> Result<Option<Message>, CodecError> {
        let start = self.bytes.get(..self.bytes.len().min(4)).unwrap_or_default();
        if !self.magic.starts_with(start) {
            return Err(CodecError::Magic);
        }
        let Some((head, rest)) = self.bytes.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let (_, tail) = head.split_at(4);
        let (command, tail) = tail.split_at(12);
        let (length, sum) = tail.split_at(4);
        let length = u32::from_le_bytes(length.try_into().unwrap_or([u8::MAX; 4]));
        let size = usize::try_from(length).ok().filter(|size| *size <= MAX_PAYLOAD);
        let size = size.ok_or(CodecError::TooLong { got: length })?;
        let Some(payload) = rest.get(..size) else {
            return Ok(None);
        };
        if checksum(payload) != sum {
            return Err(CodecError::Checksum);
        }
        let message = read_payload(command, payload)?;
        self.bytes.drain(..HEAD.saturating_add(size));
        // After a block of megabytes most of what follows is short.
        self.bytes.shrink_to(self.bytes.len().max(1 << 16));
        Ok(Some(message))
    }
}

fn read_payload(command: &[u8], payload: &[u8]) -> Result<Message, CodecError> {
    let end = command.iter().position(|byte| *byte == 0).unwrap_or(command.len());
    Ok(match command.get(..end).unwrap_or_default() {
        b"version" => Message::Version(Box::new(read_version(payload)?)),
        b"verack" => Message::Verack,
        b"sendaddrv2" => Message::SendAddrV2,
        b"sendheaders" => Message::SendHeaders,
        b"ping" => Message::Ping(read("ping", payload)?),
        b"pong" => Message::Pong(read("pong", payload)?),
        b"getheaders" => {
            let command = "getheaders";
            let rest = payload.get(4..).ok_or(CodecError::Undecodable { command })?;
            check_count(command, rest, MAX_LOCATOR)?;
            let (locator, used) = partial::<Vec<BlockHash>>(command, rest)?;
            let stop = read(command, rest.get(used..).unwrap_or_default())?;
            Message::GetHeaders { locator, stop }
        }
        b"headers" => Message::Headers(read_headers(payload)?),
        b"inv" => Message::Inv(read_inventory("inv", payload)?),
        b"getdata" => Message::GetData(read_inventory("getdata", payload)?),
        b"notfound" => Message::NotFound(read_inventory("notfound", payload)?),
        b"block" => Message::Block(payload.to_vec()),
        b"getaddr" => Message::GetAddr,
        b"addrv2" => {
            check_count("addrv2", payload, MAX_ADDRESSES)?;
            Message::AddrV2(read("addrv2", payload)?)
        }
        _ => Message::Other,
    })
}

/// Reads a version. What follows the fields that are known is left alone, as Namecoin Core does: later protocols append.
fn read_version(payload: &[u8]) -> Result<bitcoin::p2p::message_network::VersionMessage, CodecError> {
    let command = "version";
    let read = partial(command, payload).map(|(version, _)| version);
    // The last field may be missing, which stands for yes.
    read.or_else(|_| partial(command, &[payload, &[1]].concat()).map(|(version, _)| version))
}

fn read_headers(payload: &[u8]) -> Result<Vec<Vec<u8>>, CodecError> {
    let command = "headers";
    let count = check_count(command, payload, MAX_HEADERS)?;
    let (_, used) = partial::<VarInt>(command, payload)?;
    let mut rest = payload.get(used..).unwrap_or_default();
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let (_, behind) = FullHeader::decode(rest)?;
        let length = rest.len().saturating_sub(behind.len());
        headers.push(rest.get(..length).unwrap_or_default().to_vec());
        let (transactions, used) = partial::<VarInt>(command, behind)?;
        if transactions.0 != 0 {
            return Err(CodecError::Undecodable { command });
        }
        rest = behind.get(used..).unwrap_or_default();
    }
    match rest {
        [] => Ok(headers),
        _ => Err(CodecError::Undecodable { command }),
    }
}

fn read_inventory(command: &'static str, payload: &[u8]) -> Result<Vec<Inventory>, CodecError> {
    check_count(command, payload, MAX_INVENTORY)?;
    read(command, payload)
}

/// Checks a count at the beginning of a payload before anything is reserved for it.
fn check_count(command: &'static str, payload: &[u8], max: usize) -> Result<usize, CodecError> {
    let (VarInt(got), _) = partial(command, payload)?;
    let count = usize::try_from(got).ok().filter(|count| *count <= max);
    count.ok_or(CodecError::TooMany { command, got, max })
}

fn read<T: Decodable>(command: &'static str, payload: &[u8]) -> Result<T, CodecError> {
    encode::deserialize(payload).map_err(|_| CodecError::Undecodable { command })
}

fn partial<T: Decodable>(command: &'static str, payload: &[u8]) -> Result<(T, usize), CodecError> {
    deserialize_partial(payload).map_err(|_| CodecError::Undecodable { command })
}

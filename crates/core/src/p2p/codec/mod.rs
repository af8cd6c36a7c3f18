//! How messages are written on the wire.
//!
//! ```text
//! magic (4) │ command (12, zeros behind) │ length (4) │ checksum (4) │ payload
//! ```
//!
//! Source: Namecoin Core `protocol.h`, `CMessageHeader`; `net.cpp`, `V1Transport`.

#[cfg(test)]
mod tests;

use bitcoin::BlockHash;
use bitcoin::consensus::encode::{self, Decodable, Encodable, VarInt, deserialize_partial};
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::p2p::address::AddrV2Message;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::p2p::message_network::VersionMessage;

use super::message::{MAX_ADDRESSES, MAX_HEADERS, MAX_INVENTORY, MAX_LOCATOR, Message};
use crate::chain::auxpow::DecodeError;
use crate::chain::{FullHeader, Network};

/// Longest payload, in bytes: that of `headers` of 6 MiB with their counts. They are filled until they have 4 MiB, so the last
/// header may lie above that; a block is smaller.
///
/// Source: Namecoin Core `net_processing.cpp`, `threshold_headers_size` and `max_headers_size`.
pub const MAX_PAYLOAD: usize = (6 << 20) + MAX_HEADERS + 3;

/// Bytes before the payload.
const HEAD: usize = 24;

/// Longest payload of a message that has a few fields of fixed size, or none. Later protocols may append some.
const MAX_SMALL: usize = 1_024;

/// Longest user agent, in bytes. Source: Namecoin Core `net.h`, `MAX_SUBVERSION_LENGTH`.
const MAX_USER_AGENT: usize = 256;

/// Longest address in `addrv2`, in bytes. Source: BIP 155.
const MAX_ADDRESS: usize = 512;

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
    /// A payload is longer than any of its kind can be.
    #[error("a message of {got} bytes was announced, at most {max} are allowed")]
    TooLong {
        /// The announced length.
        got: u32,
        /// The longest of its kind.
        max: usize,
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

/// Returns how long the payload of a message may be; `None` for one of which nothing is kept.
fn max_payload(command: &[u8]) -> Option<usize> {
    let entries = |count: usize, size: usize| count.saturating_mul(size).saturating_add(9);
    Some(match command {
        b"version" | b"verack" | b"sendaddrv2" | b"sendheaders" | b"ping" | b"pong" | b"getaddr" => MAX_SMALL,
        // The version and the last block stand around the locator.
        b"getheaders" => entries(MAX_LOCATOR + 2, 32),
        b"inv" | b"getdata" | b"notfound" => entries(MAX_INVENTORY, 36),
        // The time, the services, the network, the length and the port stand around an address.
        b"addrv2" => entries(MAX_ADDRESSES, 4 + 9 + 1 + 3 + MAX_ADDRESS + 2),
        b"headers" | b"block" => MAX_PAYLOAD,
        _ => return None,
    })
}

/// Cuts a stream into messages. It holds what came and was not taken yet, reserves nothing for what is merely announced, and
/// keeps nothing of a message that is of no use.
#[derive(Clone, Debug)]
pub struct Decoder {
    magic: [u8; 4],
    bytes: Vec<u8>,
    /// How much is still to come of a message of no use.
    skipped: usize,
}

/// What is known of a message from what stands before its payload.
struct Head {
    command: [u8; 12],
    size: usize,
    sum: [u8; 4],
    /// Whether anything is to be kept of it.
    is_of_use: bool,
}

impl Decoder {
    /// Makes one for a network.
    pub fn new(network: Network) -> Self {
        Self {
            magic: magic(network),
            bytes: Vec::new(),
            skipped: 0,
        }
    }

    /// Takes bytes as they come. Between two of these calls all messages are to be taken out: then it never holds more than
    /// one message and these bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        let of_no_use = self.skipped.min(bytes.len());
        self.skipped -= of_no_use;
        self.bytes.extend_from_slice(bytes.get(of_no_use..).unwrap_or_default());
    }

    /// Returns how many bytes it holds.
    pub fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Takes the next message out, if it is there as a whole. [`Message::Other`] comes as soon as it is announced.
    ///
    /// # Errors
    ///
    /// [`CodecError`]; what follows can't be understood then.
    pub fn next_message(&mut self) -> Result<Option<Message>, CodecError> {
        let Some(head) = self.head()? else {
            return Ok(None);
        };
        let behind = self.bytes.len().saturating_sub(HEAD);
        if !head.is_of_use {
            let here = head.size.min(behind);
            self.skipped = head.size - here;
            self.drop_front(HEAD.saturating_add(here));
            return Ok(Some(Message::Other));
        }
        let end = HEAD.saturating_add(head.size);
        let Some(payload) = self.bytes.get(HEAD..end) else {
            return Ok(None);
        };
        if checksum(payload) != head.sum {
            return Err(CodecError::Checksum);
        }
        let message = read_payload(&head.command, payload)?;
        self.drop_front(end);
        Ok(Some(message))
    }

    fn head(&self) -> Result<Option<Head>, CodecError> {
        let start = self.bytes.get(..self.bytes.len().min(4)).unwrap_or_default();
        if !self.magic.starts_with(start) {
            return Err(CodecError::Magic);
        }
        let Some(([_, _, _, _, tail @ ..], _)) = self.bytes.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let mut head = Head {
            command: [0; 12],
            size: 0,
            sum: [0; 4],
            is_of_use: false,
        };
        let (command, tail) = tail.split_at(head.command.len());
        let (length, sum) = tail.split_at(head.sum.len());
        head.command.copy_from_slice(command);
        head.sum.copy_from_slice(sum);
        let got = u32::from_le_bytes(length.try_into().unwrap_or([u8::MAX; 4]));
        let max = max_payload(word(command));
        head.is_of_use = max.is_some();
        let max = max.unwrap_or(MAX_PAYLOAD);
        let size = usize::try_from(got).ok().filter(|size| *size <= max);
        head.size = size.ok_or(CodecError::TooLong { got, max })?;
        Ok(Some(head))
    }

    fn drop_front(&mut self, count: usize) {
        self.bytes.drain(..count);
        // After a block of megabytes most of what follows is short.
        self.bytes.shrink_to(self.bytes.len().max(1 << 16));
    }
}

/// Cuts the zeros off that a command is filled up with.
fn word(command: &[u8]) -> &[u8] {
    let end = command.iter().position(|byte| *byte == 0).unwrap_or(command.len());
    command.get(..end).unwrap_or_default()
}

fn read_payload(command: &[u8], payload: &[u8]) -> Result<Message, CodecError> {
    Ok(match word(command) {
        b"version" => Message::Version(Box::new(read_version(payload)?)),
        b"verack" => Message::Verack,
        b"sendaddrv2" => Message::SendAddrV2,
        b"sendheaders" => Message::SendHeaders,
        // Core leaves alone what has no number.
        b"ping" => partial("ping", payload).map_or(Message::Other, |(number, _)| Message::Ping(number)),
        b"pong" => partial("pong", payload).map_or(Message::Other, |(number, _)| Message::Pong(number)),
        b"getheaders" => {
            let command = "getheaders";
            let rest = payload.get(4..).ok_or(CodecError::Undecodable { command })?;
            check_count(command, rest, MAX_LOCATOR)?;
            let (locator, used) = partial::<Vec<BlockHash>>(command, rest)?;
            let (stop, _) = partial(command, rest.get(used..).unwrap_or_default())?;
            Message::GetHeaders { locator, stop }
        }
        b"headers" => Message::Headers(read_headers(payload)?),
        b"inv" => Message::Inv(read_inventory("inv", payload)?),
        b"getdata" => Message::GetData(read_inventory("getdata", payload)?),
        b"notfound" => Message::NotFound(read_inventory("notfound", payload)?),
        b"block" => Message::Block(payload.to_vec()),
        b"getaddr" => Message::GetAddr,
        b"addrv2" => Message::AddrV2(read_addresses(payload)?),
        _ => Message::Other,
    })
}

/// Reads a version. What follows the fields that are known is left alone, as Namecoin Core does: later protocols append.
fn read_version(payload: &[u8]) -> Result<VersionMessage, CodecError> {
    let command = "version";
    let read = partial(command, payload).map(|(version, _)| version);
    // The last field may be missing, which stands for yes.
    let version: VersionMessage =
        read.or_else(|_| partial(command, &[payload, &[1]].concat()).map(|(version, _)| version))?;
    if version.user_agent.len() > MAX_USER_AGENT {
        return Err(CodecError::Undecodable { command });
    }
    Ok(version)
}

/// Reads addresses. Those that can't be any of their network are left out, as Namecoin Core does: whoever tells of them may
/// have heard of them from others.
fn read_addresses(payload: &[u8]) -> Result<Vec<AddrV2Message>, CodecError> {
    let command = "addrv2";
    let count = check_count(command, payload, MAX_ADDRESSES)?;
    let (_, used) = partial::<VarInt>(command, payload)?;
    let mut rest = payload.get(used..).unwrap_or_default();
    let mut addresses = Vec::new();
    for _ in 0..count {
        let size = size_of_address(rest).ok_or(CodecError::Undecodable { command })?;
        let (address, behind) = rest.split_at_checked(size).ok_or(CodecError::Undecodable { command })?;
        rest = behind;
        addresses.extend(encode::deserialize::<AddrV2Message>(address).ok());
    }
    Ok(addresses)
}

/// Returns the length of an address with all that belongs to it.
fn size_of_address(bytes: &[u8]) -> Option<usize> {
    let after_time = bytes.get(4..)?;
    let (_, services) = deserialize_partial::<VarInt>(after_time).ok()?;
    let network = after_time.get(services..)?;
    let (VarInt(length), prefix) = deserialize_partial::<VarInt>(network.get(1..)?).ok()?;
    let length = usize::try_from(length).ok().filter(|length| *length <= MAX_ADDRESS)?;
    Some(4 + services + 1 + prefix + length + 2)
}

fn read_headers(payload: &[u8]) -> Result<Vec<Vec<u8>>, CodecError> {
    let command = "headers";
    let count = check_count(command, payload, MAX_HEADERS)?;
    let (_, used) = partial::<VarInt>(command, payload)?;
    let mut rest = payload.get(used..).unwrap_or_default();
    let mut headers = Vec::new();
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
    Ok(headers)
}

fn read_inventory(command: &'static str, payload: &[u8]) -> Result<Vec<Inventory>, CodecError> {
    check_count(command, payload, MAX_INVENTORY)?;
    partial(command, payload).map(|(inventory, _)| inventory)
}

/// Checks a count at the beginning of a payload before anything is reserved for it.
fn check_count(command: &'static str, payload: &[u8], max: usize) -> Result<usize, CodecError> {
    let (VarInt(got), _) = partial(command, payload)?;
    let count = usize::try_from(got).ok().filter(|count| *count <= max);
    count.ok_or(CodecError::TooMany { command, got, max })
}

/// Reads what a payload begins with. Core leaves alone what follows.
fn partial<T: Decodable>(command: &'static str, payload: &[u8]) -> Result<(T, usize), CodecError> {
    deserialize_partial(payload).map_err(|_| CodecError::Undecodable { command })
}

//! What peers tell each other.

use bitcoin::BlockHash;
use bitcoin::p2p::address::AddrV2Message;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::p2p::message_network::VersionMessage;

/// Most hashes in a block locator. Source: Namecoin Core `net_processing.cpp`, `MAX_LOCATOR_SZ`.
pub const MAX_LOCATOR: usize = 101;

/// Most entries of an inventory. Source: Namecoin Core `net_processing.cpp`, `MAX_INV_SZ`.
pub const MAX_INVENTORY: usize = 50_000;

/// Most headers in a message. Source: Namecoin Core `net_processing.h`, `MAX_HEADERS_RESULTS`.
pub const MAX_HEADERS: usize = 2_000;

/// Most addresses in a message. Source: BIP 155.
pub const MAX_ADDRESSES: usize = 1_000;

/// A message, of those that are of any use here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Who one is; the first message of either side.
    Version(Box<VersionMessage>),
    /// That the other one's version was taken.
    Verack,
    /// That addresses are to come in the newer form (BIP 155).
    SendAddrV2,
    /// That new blocks are to be told by their headers (BIP 130).
    SendHeaders,
    /// Wants the same number back.
    Ping(u64),
    /// The number of a [`Self::Ping`].
    Pong(u64),
    /// Asks for the headers above the first of these blocks that the other one has in its best chain.
    GetHeaders {
        /// Hashes from the newest block on, at most [`MAX_LOCATOR`].
        locator: Vec<BlockHash>,
        /// The last block that is wanted; all zeros for as many as possible.
        stop: BlockHash,
    },
    /// Headers with their AuxPoW, each on top of the one before, at most [`MAX_HEADERS`].
    Headers(Vec<Vec<u8>>),
    /// Things that one has, at most [`MAX_INVENTORY`].
    Inv(Vec<Inventory>),
    /// Asks for things, at most [`MAX_INVENTORY`].
    GetData(Vec<Inventory>),
    /// Things that were asked for, and that one has not.
    NotFound(Vec<Inventory>),
    /// A block as it is serialized.
    Block(Vec<u8>),
    /// Asks for addresses of other peers.
    GetAddr,
    /// Addresses of peers, at most [`MAX_ADDRESSES`].
    AddrV2(Vec<AddrV2Message>),
    /// Something else, of which nothing is kept.
    Other,
}

impl Message {
    /// Returns the word that stands for it on the wire.
    pub fn command(&self) -> &'static str {
        match self {
            Self::Version(_) => "version",
            Self::Verack => "verack",
            Self::SendAddrV2 => "sendaddrv2",
            Self::SendHeaders => "sendheaders",
            Self::Ping(_) => "ping",
            Self::Pong(_) => "pong",
            Self::GetHeaders { .. } => "getheaders",
            Self::Headers(_) => "headers",
            Self::Inv(_) => "inv",
            Self::GetData(_) => "getdata",
            Self::NotFound(_) => "notfound",
            Self::Block(_) => "block",
            Self::GetAddr => "getaddr",
            Self::AddrV2(_) => "addrv2",
            Self::Other => "other",
        }
    }
}

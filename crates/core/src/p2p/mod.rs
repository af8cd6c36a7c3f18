//! Namecoin's peer-to-peer network, as far as it takes to fetch headers and blocks: messages, and machines without I/O.
//!
//! | part | what it is |
//! |---|---|
//! | [`message`] | what peers tell each other |
//! | [`codec`] | how that is written on the wire |
//! | [`peer_sync`] | whom to dial, what to ask of whom, whom to leave: headers into the tree, blocks in order |
//!
//! Source: Namecoin Core `protocol.h`, `net_processing.cpp`; BIPs 130 (`sendheaders`), 155 (`addrv2`).

pub mod codec;
pub mod message;
pub mod peer_sync;

pub use codec::{CodecError, Decoder, encode};
pub use message::Message;
pub use peer_sync::{PeerSync, PeerSyncEffect, PeerSyncEvent, PeerSyncSettings};

//! How questions and proofs look on the wire: the Electrum protocol as Namecoin servers speak it.
//!
//! Wire JSON ends here. [`request`] writes questions, [`reply`] turns answers into bounded plain values,
//! [`framing`] bounds the lines, and [`exchange`] pairs the two on one connection. Nothing here
//! reads a clock or a socket.

pub mod exchange;
pub mod framing;
pub mod reply;
pub mod request;
mod wire;

pub use exchange::{
    AnswerError, Exchange, ExchangeEffect, ExchangeEnd, ExchangeEvent, ServerError, ServerErrorKind, Violation,
};
pub use reply::{
    ElectrumReply, Features, HeaderChunk, HeaderTip, HistoryEntry, MAX_PEERS, MAX_PEERS_REPLY, MerkleProof, Peer,
    ReplyError, ServerVersion,
};
pub use request::{ElectrumRequest, ProtocolVersion, VersionRange};

//! How questions and proofs look on the wire: the Electrum protocol as Namecoin servers speak it.
//!
//! Wire JSON ends here. [`request`] writes questions, [`reply`] turns answers into bounded plain values,
//! [`framing`] cuts the stream into lines, and [`exchange`] pairs the two on one connection. Nothing here
//! reads a clock or a socket.

pub mod exchange;
pub mod framing;
pub mod reply;
pub mod request;
mod wire;

pub use exchange::{AnswerError, Exchange, ServerError, ServerErrorKind, Violation};
pub use framing::LineBuffer;
pub use reply::{Features, HeaderChunk, HeaderTip, HistoryEntry, MerkleProof, Reply, ReplyError, ServerVersion};
pub use request::{ProtocolVersion, Request, VersionRange};

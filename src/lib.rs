//! Isonym: a Namecoin light client and name resolver with stream isolation.
//!
//! [`LightClient`] is all that most programs need: it keeps Namecoin's headers, looks names up over Tor and proves what it
//! finds, each lookup under an isolation ID. `examples/lookup.rs` and `examples/isolation.rs` use it.
//!
//! With the feature `embedded-tor` there is a Tor within the library: `EmbeddedTor`, for `Proxy::Embedded`.
//!
//! The other modules are what the program `isonym` is made of. They are there for its tests and hidden from these pages;
//! they may change with every version. Without the default features the library has no command line (`cli`) and no
//! simulated network (`playground`).
//!
//! A folder names only folders below it in this line; `tests/architecture.rs` checks it:
//!
//! ```text
//! main, cli, config     wiring
//! options               what the user says, from the command line, the environment and the file
//! light_client          the library's face
//! tor                   what becomes of a Tor's streams
//! socks, prop279, web   how names of applications arrive by SOCKS, of programs by proposal 279, of browsers by a page
//!                       (same height)
//! naming                what a name stands for to who connects to it
//! dns                   how a question arrives over DNS
//! rpc                   how a question arrives over JSON-RPC
//! service               the one path of every question: what is remembered, and who is asked
//! jsonrpc               what both ends of JSON-RPC share, and the end that calls
//! node                  the owner of state; clock, entropy and files enter here
//! http, dane            what our servers of HTTP share; what a name's records prove of a site's certificate
//! net                   how connections are made and kept apart
//! electrum              how questions and proofs look on the wire
//! name                  what an answer must prove
//! chain                 what a header must prove
//! reputation            what is known of the servers
//! isolation, backoff,   shared words
//! line, time
//! ```
//!
//! Everything is pure (no sockets, files, clock or entropy) but for the files that the same test lists as
//! the edge. Verification and policy are state machines that take events and return effects as values, so
//! simulation, property tests and fuzzing drive the very code that the program runs.
//!
//! The life of a lookup: [`service::NameService`] blinds the isolation ID, and asks the node for what it does not remember;
//! [`name::NameId`] gives a scripthash; [`name::lookup`] says what to ask;
//! [`electrum`] turns that into requests on a connection that [`net`] opened for this isolation key alone;
//! [`name::proof`] checks the reply against [`chain::HeaderTree`]; [`name::policy`] decides the outcome.

mod light_client;

#[doc(hidden)]
pub mod dane;
#[doc(hidden)]
pub mod dns;
#[doc(hidden)]
pub mod http;
#[doc(hidden)]
pub mod jsonrpc;
#[doc(hidden)]
pub mod name_index;
#[doc(hidden)]
pub mod naming;
#[doc(hidden)]
pub mod net;
#[doc(hidden)]
pub mod node;
#[doc(hidden)]
pub mod prop279;
#[doc(hidden)]
pub mod rpc;
#[doc(hidden)]
pub mod service;
#[doc(hidden)]
pub mod socks;
#[doc(hidden)]
pub mod tor;
#[doc(hidden)]
pub mod web;

#[doc(hidden)]
pub use isonym_core::{backoff, chain, electrum, isolation, line, name, p2p, reputation, time};

pub use chain::sync::Progress;
pub use chain::{Anchor, Network};
pub use isolation::IsolationId;
pub use light_client::{LightClient, LightClientBuilder, LightClientError};
pub use name::{NameId, NameValue, Outcome};
pub use net::Proxy;
#[cfg(feature = "embedded-tor")]
pub use net::embedded_tor::{EmbeddedTor, EmbeddedTorError, EmbeddedTorSettings};
pub use node::NodeError;
pub use service::ServiceError;
pub use time::Timestamp;

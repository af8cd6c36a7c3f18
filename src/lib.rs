//! Isonym: a Namecoin light client and name resolver with stream isolation.
//!
//! A folder names only folders below it in this line; `tests/architecture.rs` checks it:
//!
//! ```text
//! main, cli, config     wiring
//! options               what the user says, from the command line, the environment and the file
//! tor                   what becomes of a Tor's streams
//! socks, prop279        how names of applications arrive by SOCKS, and of programs by proposal 279 (same height)
//! naming                what a name stands for to who connects to it
//! dns                   how a question arrives over DNS
//! rpc                   how a question arrives over JSON-RPC
//! node                  the owner of state; clock, entropy and files enter here     sim (same height)
//! net                   how connections are made and kept apart
//! electrum              how questions and proofs look on the wire
//! name                  what an answer must prove
//! chain                 what a header must prove
//! reputation            what is known of the servers
//! isolation, backoff    shared words
//! time                  shared words
//! ```
//!
//! Everything is pure (no sockets, files, clock or entropy) but for the files that the same test lists as
//! the edge. Verification and policy are state machines that take events and return effects as values, so
//! simulation, property tests and fuzzing drive the very code that the program runs.
//!
//! The life of a lookup: [`name::NameId`] gives a scripthash; [`name::lookup`] says what to ask;
//! [`electrum`] turns that into requests on a connection that [`net`] opened for this isolation key alone;
//! [`name::proof`] checks the reply against [`chain::HeaderTree`]; [`name::policy`] decides the outcome.

pub mod dns;
pub mod jsonrpc;
pub mod naming;
pub mod net;
pub mod node;
pub mod prop279;
pub mod rpc;
pub mod service;
pub mod socks;
pub mod tor;

pub use isonym_core::{backoff, chain, electrum, isolation, line, name, reputation, time};

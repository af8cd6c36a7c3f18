//! A world to try the program in: a merge-mined chain with names, Electrum servers that err on purpose, a proxy
//! that takes notes.
//!
//! | file | |
//! | --- | --- |
//! | [`world`] | the whole: blocks are mined, names are registered, updated, transferred, lost, forked |
//! | [`chain`] | the blocks and what an index over them knows |
//! | [`blocks`] | the blocks as a full node has them, those of left branches too |
//! | [`parent`] | parent blocks: AuxPoW of all kinds, and with each flaw |
//! | [`miner`] | transactions become a block with work |
//! | [`wallet`] | keys, addresses and signatures that hold the names |
//! | [`window`] | a chain of mainnet's size in a file |
//! | [`server`] | an Electrum server as a function from request lines to replies |
//! | [`fault`] | what it may do wrong |
//! | [`skeleton`] | how it cheats with headers of 80 bytes |
//! | [`release`] | which ElectrumX it passes for |
//! | [`cost`] | what it lets a client use, and when it cuts it off |
//! | [`link`] | how long a circuit takes |
//! | [`peer`] | a full node as the peer-to-peer network has it, on 127.0.0.1 too |
//! | [`ledger`] | who saw what |
//! | [`tape`] | every byte that went through a proxy, in order |
//! | [`network`] | a whole network in one call |
//! | [`host`], [`proxy`] | the edge: servers and a recording SOCKS5 proxy on 127.0.0.1 |
//! | `carry` | the edge: how the proxy carries bytes |
//!
//! Everything is repeatable: the same seed and the same calls give the same bytes. Tests, benches and the program's
//! `playground` share it.

mod arguments;
pub mod blocks;
mod carry;
pub mod chain;
mod conversation;
pub mod cost;
pub mod fault;
pub mod host;
pub mod ledger;
pub mod link;
pub mod merkle;
mod methods;
pub mod miner;
pub mod network;
pub mod parent;
pub mod peer;
pub mod proxy;
mod relay;
pub mod release;
pub mod server;
pub mod skeleton;
pub mod tape;
pub mod wallet;
pub mod window;
pub mod world;

pub use blocks::{BlockIndex, Blocks};
pub use chain::SimChain;
pub use conversation::Desk;

#[cfg(test)]
mod edge_tests;
#[cfg(test)]
mod freshness_tests;
#[cfg(test)]
mod lookup_tests;
#[cfg(test)]
mod proof_tests;
#[cfg(test)]
mod skeleton_tests;
#[cfg(test)]
mod tree_tests;

pub use fault::Fault;
pub use host::{Host, SharedWorld, Transport};
pub use ledger::Ledger;
pub use miner::Work;
pub use network::{SimNetwork, SimNetworkError};
pub use parent::{AuxPowKind, Flaw};
pub use peer::{Peer, PeerDesk, PeerFault, PeerHost, PeerSession};
pub use proxy::Proxy;
pub use release::Release;
pub use server::{Server, Session};
pub use skeleton::Skeleton;
pub use tape::Tape;
pub use wallet::AddressKind;
pub use window::WindowFile;
pub use world::{World, WorldError};

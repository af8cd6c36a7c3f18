//! JSON-RPC: how questions arrive over HTTP, in Namecoin Core's style and in Electrum-NMC's, and how answers go back.
//!
//! ```text
//! server ──► auth ──► request ──► methods ──► args ──► service, node
//!    ▲                                          │
//!    └─────────────── reply ◄───── result ◄─────┘
//! ```
//!
//! [`server`] touches the world; the rest turns values into values. The only meeting with names and node is [`Methods`].
//! Errors, credentials and the client are in [`crate::jsonrpc`].

mod args;
pub mod auth;
mod blocks;
mod help;
mod json;
mod methods;
mod network;
mod params;
mod reply;
mod request;
mod result;
mod scan;
pub mod server;

pub use args::{Defaults, NameArgs, isolation_forget, name_history, name_proof, name_show};
pub use auth::Guard;
pub use json::Json;
pub use methods::{Methods, RunningSettings};
pub use reply::{CallResult, MAX_BATCH_REPLY, Reply, result as write_result};
pub use request::{Body, Call, Envelope, MAX_BATCH, MAX_BODY, Member, Params, Request, Version};
pub use result::{Basis, Encodings, EntryJson, NameJson, Style, absence, electrum_name, entry, explanation, name};
pub use scan::{ScanArgs, name_filter, name_scan};
pub use server::{Callee, serve};

use crate::chain::Network;

/// Returns the port that Namecoin Core's RPC has on a network. Source: Namecoin Core `chainparamsbase.cpp`.
pub const fn default_port(network: Network) -> u16 {
    match network {
        Network::Mainnet => 8336,
        Network::Testnet => 18336,
        Network::Regtest => 18443,
    }
}

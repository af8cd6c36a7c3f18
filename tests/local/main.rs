//! Tests that need nothing but Cargo and a shell: simulated servers, recording proxies and scripted peers, all on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may panic and read the clock, and is a crate of its own"
)]

mod beside_sync;
mod cli;
mod controller;
mod daemon;
mod discovery;
mod dns;
mod electrum_client;
mod explain;
mod faults;
mod headers;
mod https;
mod isolation;
mod living_names;
mod name_proofs;
mod operators;
mod pool;
mod prop279;
mod proxy;
mod rpc_wire;
mod signals;
mod socks;
mod tls;
mod unlinkable;
mod users;
mod virtual_time;

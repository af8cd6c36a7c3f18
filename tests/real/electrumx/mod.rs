//! The program against real ElectrumX servers: every answer must be the one that Namecoin Core gave for the same
//! chain, or an outcome that our policy is stricter about on purpose.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that can't go on is to fail, and may say how long it took"
)]

mod client;
mod costs;
mod harness;
mod hello;
mod isolation;
mod long_chain;
mod over_tls;
mod recorded;
mod releases;
mod requests;
mod round_trips;
mod scene;
mod simulated;
#[path = "../support/mod.rs"]
mod support;

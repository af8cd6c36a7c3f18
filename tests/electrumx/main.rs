//! The program against real ElectrumX servers: every answer must be the one that Namecoin Core gave for the same
//! chain, or an outcome that our policy is stricter about on purpose.

mod client;
mod harness;
mod recorded;
mod releases;
mod simulated;
#[path = "../support/mod.rs"]
mod support;

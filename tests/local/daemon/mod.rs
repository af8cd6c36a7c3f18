//! The daemon as its callers meet it: the real program, over simulated servers and a recording proxy.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic and read the clock"
)]

#[path = "../support/program.rs"]
mod program;
#[path = "../stage/mod.rs"]
mod stage;

mod callers;
mod harness;
mod hostile;
mod isolation;
mod life;
mod mutations;
mod shortage;
mod trouble;
mod wire;

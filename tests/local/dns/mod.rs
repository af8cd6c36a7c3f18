//! The DNS server as its clients meet it: the real program, in front of a stand-in `name_show` or, as the daemon, over
//! simulated servers and a recording proxy.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may panic and read the clock, and is a program of its own"
)]

#[path = "../support/program.rs"]
mod program;
#[path = "../support/running.rs"]
mod running;
#[path = "../stage/mod.rs"]
mod stage;

#[allow(dead_code, reason = "the daemon's own tests use all of it")]
#[path = "../daemon/harness.rs"]
mod harness;

mod answers;
mod backend;
mod dig;
mod flood;
mod hostile;
mod isolation;
mod resolve;
mod server;
mod tcp;
mod trouble;
mod wire;

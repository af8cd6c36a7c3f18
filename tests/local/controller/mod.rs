//! The naming controller before a control port that does what no real Tor would, or seldom: the real program, and a script.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may panic and read the clock, and is a program of its own"
)]

#[allow(dead_code, reason = "the DNS server's tests use all of it")]
#[path = "../dns/backend.rs"]
mod backend;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/running.rs"]
mod running;

mod login;
mod plugins;
mod port;
mod scene;
mod streams;

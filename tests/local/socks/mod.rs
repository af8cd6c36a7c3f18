//! The SOCKS front as applications meet it: the real program between curl or raw bytes and a stand-in for Tor that writes
//! down all it is asked.

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

mod curl;
mod front;
mod hostile;
mod isolation;
mod raw;
mod tor;

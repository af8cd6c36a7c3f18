//! The DNS server as a program, and what clients say to it.

pub mod server;
pub mod wire;

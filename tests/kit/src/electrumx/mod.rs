//! What tests need to run the program against real servers.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

pub mod blocks;
pub mod core_rpc;
pub mod electrumx;

//! What the tests, benchmarks and fuzz targets of more than one folder share.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    clippy::new_without_default,
    clippy::return_self_not_must_use,
    reason = "it is for tests, which may panic and read the clock, and whose names say what they do"
)]

pub mod backend;
pub mod chromium;
pub mod dns;
pub mod electrumx;
pub mod harness;
pub mod https;
pub mod linkability;
pub mod loopback;
pub mod machine;
pub mod one_shot;
pub mod page;
pub mod program;
pub mod running;
pub mod running_daemon;
pub mod socks;
pub mod stage;
pub mod tor_network;
pub mod virtual_world;

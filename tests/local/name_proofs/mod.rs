//! What proves a name's value, on a chain that Namecoin Core wrote and on forgeries of our own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod core_chain;
mod edit;
mod forgeries;
mod world;

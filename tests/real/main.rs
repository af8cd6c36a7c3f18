//! Tests that need programs of others, which `tests/install` installs: ElectrumX, unbound, dnsmasq, BIND,
//! `PowerDNS`'s recursor, dnsdist, curl, git, torsocks, Chromium, Firefox.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may panic and read the clock, and is a crate of its own"
)]

mod daemon;
mod dns;
mod dnssec;
mod electrumx;
mod https;
mod page;
mod resolvers;
mod socks;

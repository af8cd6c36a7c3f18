//! The SOCKS front: takes applications' connections as Tor's own ports do, finds what `.bit` names stand for, and hands
//! everything on to Tor's SOCKS port.
//!
//! It is for users who cannot have Tor's control port. Applications reach it with SOCKS4, 4a and 5 or HTTP
//! CONNECT; Tor is reached with the application's own credentials, so that it keeps streams apart as it would have
//! without this in between. What is no name of ours goes through as it came.
//!
//! In builds that have a Tor of their own it may be that in the place of Tor's port: then `.bit` names and all the rest of
//! Tor need no other program.
//!
//! [`request`] is what applications ask for, [`handshake`] reads it and asks it of Tor, [`reply`] is what they are told, and
//! [`identity`] tells them apart; [`server`] listens.

#[cfg(feature = "embedded-tor")]
mod embedded;
pub mod handshake;
mod http;
pub mod identity;
mod onward;
mod relay;
pub mod reply;
pub mod request;
pub mod server;

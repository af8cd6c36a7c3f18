//! The SOCKS front as a program, and a stand-in for the Tor behind it.

pub mod front;
pub mod tor;

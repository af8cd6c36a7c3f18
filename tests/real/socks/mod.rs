//! The SOCKS front before clients of others.

mod curl;
mod tor_resolve;
mod torsocks;

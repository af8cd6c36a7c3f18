//! What both ends of JSON-RPC share, and the end that calls: errors with their codes, credentials, the cookie file, the
//! client. The end that is called is [`crate::rpc`].
//!
//! It stands below the fronts, since each of them may have its names looked up by a server behind JSON-RPC.

pub mod client;
pub mod cookie;
mod credentials;
mod error;
mod listener;
pub mod local;

pub use client::{Client, ClientError, NameRecord};
pub use credentials::{COOKIE_USER, Credentials};
pub use error::{RpcError, code};

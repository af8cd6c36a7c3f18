//! `.bit` over DNS: an authoritative server that keeps apart who asks.
//!
//! [`message`] reads a query; [`engine`] answers it from what [`book`] holds of the names under the query's isolation
//! ID, or says which names are missing; [`resolver`] has [`backend`] look those up and asks the engine again; [`zone`]
//! makes records of values; [`secure`] signs; [`server`] carries it all over UDP and TCP, and [`replies`] holds what it is
//! asked again within a second.
//!
//! A query names its isolation ID in the EDNS option [`message::ISOLATION_OPTION`].

pub mod backend;
pub mod book;
pub mod dnssec;
pub mod engine;
pub mod message;
pub mod presentation;
pub mod replies;
pub mod resolver;
pub mod secure;
pub mod server;
pub mod value;
pub mod zone;
pub mod zones;

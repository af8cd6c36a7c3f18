//! `.bit` over DNS: an authoritative server that keeps apart who asks.
//!
//! [`message`] reads a query; [`engine`] answers it from what [`records`] finds of the names under the query's identity, or
//! says which names are missing; [`resolver`] has those looked up by the [`NameService`](crate::service::NameService) and
//! asks the engine again; [`zone`] makes records of values; [`sign`] signs; [`server`] carries it all over UDP and TCP,
//! and [`response_cache`] holds what it is asked again within a second.
//!
//! A query names its isolation ID in the EDNS option [`message::ISOLATION_OPTION`].

pub mod dnssec;
pub mod engine;
pub mod listing;
pub mod lookup_result;
pub mod message;
pub mod presentation;
pub mod records;
pub mod resolver;
pub mod response_cache;
pub mod server;
pub mod sign;
mod udp;
pub mod value;
pub mod zone;
pub mod zone_file;
pub mod zones;

//! From a name to what Tor can connect to: an onion service, an address or a host that is no name of ours.
//!
//! [`search`] decides it from what is known of names; [`name_resolver`] looks up what is missing, under an isolation ID. The fronts
//! that are given names by Tor's users ask that. [`site`] has sites judged by what their names publish.

pub mod name;
pub mod name_resolver;
pub mod search;
pub mod site;
pub mod target;
pub mod typed;

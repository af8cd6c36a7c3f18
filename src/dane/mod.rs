//! What a name's TLSA records prove of a site's certificate, and keyless pins made of that.
//!
//! [`association`] reads the records, [`chain`] what a site shows, [`judgement`] holds one against the other (RFC 6698,
//! RFC 7671), [`keyless_pin`] writes the certificate by which browsers without TLSA trust the site's own key for its own name:
//! all of these are functions of values. [`site`] has a site show its certificates, [`throwaway`] signs with a key that nobody
//! keeps; these two are the edge.

pub mod association;
pub mod chain;
pub mod judgement;
pub mod keyless_pin;
pub mod site;
pub mod throwaway;

//! DNSSEC for a zone that is signed while it answers: keys, signatures, and proofs that something is not there.
//!
//! [`folder`] reads and writes the key files, whose form is BIND's ([`key_file`]); [`Keys`] is a key-signing and a
//! zone-signing key for one zone; [`Signer`] signs RRsets with them; [`denial`] makes the NSEC records that the signer
//! then signs like any other RRset. Algorithms: ECDSA P-256 with SHA-256 and Ed25519, the two that RFC 8624 recommends
//! and which make short signatures. Keys, records, canonical form and signatures are those of `hickory-proto`.
//!
//! Nothing is denied by NSEC3: a server that signs while it answers gives away no names with NSEC either, for less
//! work on both sides (RFC 9276, section 3.1; RFC 9824).

pub mod denial;
mod error;
pub mod folder;
mod key;
pub mod key_file;
mod keys;
mod private_key;
mod signer;

pub use error::{DnssecError, FieldFault};
pub use key::{Key, KeyAlgorithm, Role};
pub use keys::Keys;
pub use private_key::PrivateKey;
pub use signer::{LEAST_REST, Signer};

//! What an answer must prove: names, their scripts, their proofs and the policy of what is served.

pub mod address;
pub mod encoding;
pub mod id;
pub mod lookup;
pub mod merkle;
pub mod policy;
pub mod proof;
pub mod script;
pub mod verify_script;

pub use encoding::Encoding;
pub use id::{NameId, NameValue, ScriptHash};
pub use policy::{Outcome, Policy};
pub use proof::{NameProof, ProofError, ProofLimits, ProofLink, ProvenName};

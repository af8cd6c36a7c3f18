//! What an answer must prove: names, their scripts, their proofs and the policy of what is served.

pub mod id;
pub mod script;

pub use id::{NameId, NameValue};

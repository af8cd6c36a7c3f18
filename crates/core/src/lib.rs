//! What a header, a name and a reply must prove: the pure part of the Namecoin light client
//! [Isonym](https://crates.io/crates/isonym).
//!
//! Nothing here touches a socket, a file, a clock or a source of randomness. Verification and policy are state machines
//! that take events and return effects as values, so that simulation, property tests and fuzzing drive the very code that
//! the program runs. A module names only modules below it in this line:
//!
//! ```text
//! electrum, p2p         how questions and proofs, headers and blocks look on the wire
//! name                  what an answer must prove
//! chain                 what a header must prove
//! reputation            what is known of the servers
//! isolation, backoff    shared words
//! line                  streams cut into lines
//! time                  shared words
//! ```

pub mod backoff;
pub mod chain;
pub mod electrum;
pub mod isolation;
pub mod line;
pub mod name;
pub mod p2p;
pub mod reputation;
pub mod time;

//! Evidence that a name has a value: its transactions, each in a block, each spending the one before.
//!
//! ```text
//! headers     ... [ 900 ] ........ [ 930 ] ...... [ 950 ] ... tip
//!                    |                |              |          a merkle branch each
//! links    NAME_FIRSTUPDATE <---- NAME_UPDATE <-- NAME_UPDATE   each input spends the older name output,
//!            (registration)                         newest      its script verified
//! ```
//!
//! Without the chain of spends a miner, or a server with one block of work, could give any name any value: the
//! miner of an invalid block doesn't have the owner's key. What is below the newest 12 blocks, nobody would waste
//! so much work on; hence only younger links must all be checked, and [`super::policy`] asks for 12 confirmations
//! of the oldest.

mod error;
mod evidence;
mod step;
mod walk;

pub use error::ProofError;
pub use evidence::{NameProof, ProofLink, ProvenEntry, ProvenName, Reached};
pub use step::{MAX_TX_SIZE, NAME_TX_VERSION, verify_entry};
pub use walk::{ProofLimits, links_needed, verify};

pub(super) use walk::confirmations;

//! Evidence that a name has a value: its transactions, each in a block, each spending the one before.
//!
//! ```text
//! headers     ... [ 900 ] ........ [ 930 ] ...... [ 950 ] ... tip
//!                    |                |              |          a merkle branch each
//! links    NAME_FIRSTUPDATE <---- NAME_UPDATE <-- NAME_UPDATE   each input spends the older name output,
//!            (registration)                         newest      its script verified
//! ```
//!
//! A header only proves work, not that its block is valid. Without the chain of spends whoever wastes the work of
//! one block could give any name any value; with it the owner's key is needed as well. What twelve blocks
//! lie upon is as good as valid, since nobody wastes that many: hence only younger links must all be checked, and
//! [`super::policy`] asks for 12 confirmations of the oldest.

mod error;
mod evidence;
mod held;
mod step;
mod walk;

pub use error::ProofError;
pub use evidence::{NameProof, ProofLink, ProvenEntry, ProvenName, ProvenStep, Reached};
pub use held::{BlockOperation, HeldName, Refusal, block_operations};
pub use step::{MAX_TX_SIZE, NAME_TX_VERSION, is_in_replaced_block, is_operation_of, verify_entry};
pub use walk::{ProofLimits, links_needed, trace, verify};

pub(super) use walk::confirmations;

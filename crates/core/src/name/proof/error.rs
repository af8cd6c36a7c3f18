//! Why a proof is refused.

use super::{MAX_TX_SIZE, NAME_TX_VERSION};
use crate::chain::Height;
use crate::name::merkle::MerkleError;
use crate::name::verify_script::SpendError;

/// Blocks below the tip of which some may be about to be replaced, for all that we know: as many as a coinbase must lie below
/// to be spent.
const REPLACEABLE: Height = 100;

/// Why a proof is refused; [`Self::is_server_fault`] says whether only a server that breaks a rule can bring it about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// There is no transaction at all.
    #[error("proof without a transaction")]
    Empty,
    /// The header of a transaction's block isn't known: above our tip, or below what was fetched.
    #[error("no header is known at height {height}")]
    MissingHeader {
        /// The height.
        height: Height,
    },
    /// A transaction that no block has room for.
    #[error("the transaction at height {height} is longer than {MAX_TX_SIZE} bytes")]
    Oversized {
        /// Claimed height of the transaction.
        height: Height,
    },
    /// Bytes that are no transaction.
    #[error("the transaction at height {height} can't be decoded")]
    Undecodable {
        /// Claimed height of the transaction.
        height: Height,
    },
    /// The merkle proof of a transaction fails.
    #[error("merkle proof of the transaction at height {height}: {error}")]
    Merkle {
        /// Claimed height of the transaction.
        height: Height,
        /// What is wrong with it.
        error: MerkleError,
    },
    /// A transaction's version isn't the one of name transactions.
    #[error("transaction version {got:#x}: expected {NAME_TX_VERSION:#x}")]
    Version {
        /// The version.
        got: i32,
    },
    /// A transaction doesn't have exactly one name output.
    #[error("{got} name outputs: expected one")]
    NameOutputs {
        /// How many it has.
        got: usize,
    },
    /// A transaction of the history is a NAME_NEW, which has no value.
    #[error("the transaction at height {height} is a NAME_NEW")]
    NoValue {
        /// Height of the transaction.
        height: Height,
    },
    /// A transaction is of another name.
    #[error("the transaction at height {height} is of another name")]
    OtherName {
        /// Height of the transaction.
        height: Height,
    },
    /// A name output locks less than the network wants.
    #[error("the name output locks {got} satoshis: expected at least {expected}")]
    LockedValue {
        /// The least.
        expected: u64,
        /// What it locks.
        got: u64,
    },
    /// A transaction is listed before one that is younger, or that comes later in the same block.
    #[error("transaction at height {older}, position {older_pos} listed as older than one at {newer}, {newer_pos}")]
    OutOfOrder {
        /// Height of the transaction that is listed first (as the newer one).
        newer: Height,
        /// Its position in its block.
        newer_pos: u32,
        /// Height of the transaction that follows.
        older: Height,
        /// Its position in its block.
        older_pos: u32,
    },
    /// A NAME_UPDATE follows an operation so much older that the name had expired.
    #[error("NAME_UPDATE at height {height}, {gap} blocks after the operation before: the name had expired")]
    UpdateAfterExpiry {
        /// Height of the NAME_UPDATE.
        height: Height,
        /// Blocks between the two.
        gap: Height,
    },
    /// A NAME_FIRSTUPDATE follows an operation so young that the name was still taken.
    #[error("NAME_FIRSTUPDATE at height {height}, {gap} blocks after the operation before: the name was taken")]
    RegisteredWhileTaken {
        /// Height of the NAME_FIRSTUPDATE.
        height: Height,
        /// Blocks between the two.
        gap: Height,
    },
    /// No input of a NAME_UPDATE spends the name output of the operation before.
    #[error("the transaction at height {height} doesn't spend the operation before it")]
    NotSpent {
        /// Height of the NAME_UPDATE.
        height: Height,
    },
    /// The input that spends the operation before isn't allowed to.
    #[error("the transaction at height {height} isn't authorised by the owner before: {error}")]
    Spend {
        /// Height of the transaction.
        height: Height,
        /// What is wrong.
        error: SpendError,
    },
    /// The transaction given as the registration's NAME_NEW isn't one that it spends.
    #[error("the NAME_FIRSTUPDATE doesn't spend the NAME_NEW shown for it")]
    NameNewNotSpent,
    /// The registration's salt and name don't make the commitment of its NAME_NEW.
    #[error("salt and name of the NAME_FIRSTUPDATE don't hash to the commitment of its NAME_NEW")]
    Commitment,
    /// The server's list of operations ends before the registration.
    #[error("history ends at height {height} before the name's registration")]
    NoRegistration {
        /// Height of the last transaction.
        height: Height,
    },
    /// The list ends since we asked for too little of it.
    #[error("proof of {got} transactions is too short")]
    TooShort {
        /// How many transactions it has.
        got: usize,
    },
    /// None of the transactions is an operation of the name, or too few are for the walk to come to its end: the others were
    /// passed over. Servers keep entries of orphaned blocks, which then point at whatever took their place.
    #[error("{passed_over} of {got} transactions are no operations of the name, and the others are too few")]
    NotOfTheName {
        /// How many transactions there are.
        got: usize,
        /// How many of them are no operations of the name.
        passed_over: usize,
    },
    /// A transaction is in a block that we know, but that was replaced.
    #[error("the proof is of a block that was replaced")]
    Replaced,
    /// More operations than are looked at have to be.
    #[error("more than {max} operations would have to be checked")]
    TooManyLinks {
        /// The limit.
        max: usize,
    },
}

impl ProofError {
    /// Says whether only a server that breaks a rule can cause the error: not so when our own headers end too early, the
    /// name has more operations than we look at, or the server's index still has entries of orphaned blocks.
    pub const fn is_server_fault(&self) -> bool {
        !matches!(
            self,
            Self::MissingHeader { .. } | Self::TooManyLinks { .. } | Self::NotOfTheName { .. } | Self::Replaced
        )
    }

    /// Says whether what fails so may hold once header sync has brought more than our chain up to `tip`, for all that we know.
    pub const fn may_fit_later(&self, tip: Height) -> bool {
        match self {
            Self::MissingHeader { height } => *height > tip,
            Self::Merkle { height, .. } => height.saturating_add(REPLACEABLE) > tip,
            _ => false,
        }
    }

    /// Says whether a transaction that is in its block is no operation of the name at all.
    pub const fn is_of_something_else(&self) -> bool {
        matches!(
            self,
            Self::Version { .. } | Self::NameOutputs { .. } | Self::NoValue { .. } | Self::OtherName { .. }
        )
    }
}

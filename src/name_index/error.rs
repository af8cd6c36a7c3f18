//! Why names can't be read or kept.

use std::io;
use std::sync::Arc;

/// Why the index of names can't be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The disk does not take, or give, what is wanted.
    #[error("the index of names: {0}")]
    Io(Arc<io::Error>),
    /// Its file is damaged: only reading all blocks anew helps.
    #[error("the index of names is damaged: {0}")]
    Damaged(String),
    /// Something else of the database.
    #[error("the index of names: {0}")]
    Database(String),
    /// A block was handed in that is not the next one.
    #[error("block {got} where block {expected} is next")]
    NotNext {
        /// The next one's height.
        expected: Height,
        /// What was handed in.
        got: Height,
    },
    /// What was kept of older blocks does not reach back so far.
    #[error("block {height} can't be taken back")]
    TooDeep {
        /// The lowest block that would have to be.
        height: Height,
    },
}

use crate::chain::Height;

impl IndexError {
    /// Says that a row is not what was written there.
    pub(super) fn bad_row(table: &str) -> Self {
        Self::Damaged(format!("a row of the table `{table}` can't be read"))
    }

    /// Says whether it helps to remove the file.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_))
    }
}

impl From<redb::Error> for IndexError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => Self::Io(Arc::new(error)),
            redb::Error::Corrupted(what) => Self::Damaged(what),
            other @ (redb::Error::UpgradeRequired(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TableDoesNotExist(_)) => Self::Damaged(other.to_string()),
            other => Self::Database(other.to_string()),
        }
    }
}

/// redb has an error of its own for each thing that can be done.
macro_rules! from_redb {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for IndexError {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        })*
    };
}

from_redb!(
    CommitError,
    DatabaseError,
    SetDurabilityError,
    StorageError,
    TableError,
    TransactionError
);

//! What a lookup comes to, whoever looked it up.

use std::fmt;
use std::sync::Arc;

use bitcoin::BlockHash;

use crate::jsonrpc::ClientError;
use crate::name::{NameValue, Outcome};
use crate::node::{NodeError, Proved};

/// What a lookup comes to.
pub type NameResult = Result<Answer, ServiceError>;

/// What was found out of a name.
#[derive(Clone, Debug)]
pub enum Answer {
    /// By our own node: values are proved. Who asks again shares what the cache holds.
    Proved(Arc<Proved>),
    /// By a server behind JSON-RPC: its word is taken.
    Stated(Stated),
}

/// What a server behind JSON-RPC says.
#[derive(Clone)]
pub enum Stated {
    /// The name has this value, and has not expired.
    Value {
        /// The value.
        value: NameValue,
        /// In how many blocks it expires, if the server says so.
        expires_in: Option<i64>,
    },
    /// The name has expired.
    Expired,
    /// The name has no value: never existed, expired or is not final; why is not told apart.
    Absent,
}

impl fmt::Debug for Stated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value { .. } => "Value(..)",
            Self::Expired => "Expired",
            Self::Absent => "Absent",
        })
    }
}

impl Answer {
    /// Returns the value that the name has today, if it has one.
    pub fn value(&self) -> Option<&NameValue> {
        match self {
            Self::Proved(proved) => match &proved.outcome {
                Outcome::Found(status) => Some(status.name.value()),
                _ => None,
            },
            Self::Stated(Stated::Value { value, .. }) => Some(value),
            Self::Stated(_) => None,
        }
    }

    /// Returns in how many blocks the name expires whose value this is, if that is known.
    pub fn expires_in(&self) -> Option<i64> {
        match self {
            Self::Proved(proved) => match &proved.outcome {
                Outcome::Found(status) => Some(status.expires_in),
                _ => None,
            },
            Self::Stated(Stated::Value { expires_in, .. }) => *expires_in,
            Self::Stated(_) => None,
        }
    }

    /// Returns what our own node proved.
    ///
    /// # Errors
    ///
    /// [`ServiceError::NothingProved`] for a server's word.
    pub fn into_proved(self) -> Result<Arc<Proved>, ServiceError> {
        match self {
            Self::Proved(proved) => Ok(proved),
            Self::Stated(_) => Err(ServiceError::NothingProved),
        }
    }

    pub(super) fn has_value(&self) -> bool {
        self.value().is_some()
    }

    /// Returns the newest block at the time of a proof, with another one the outcome may be another.
    pub(super) fn proved_at(&self) -> Option<BlockHash> {
        match self {
            Self::Proved(proved) => proved.outcome.proven().map(|_| proved.tip.hash),
            Self::Stated(_) => None,
        }
    }
}

/// Why a lookup came to no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// Our own node can't tell.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The server behind JSON-RPC can't be asked, or can't tell.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The caller has as many lookups in work as it may.
    #[error("{limit} lookups are in work already, which is as many as allowed; try again later")]
    Busy {
        /// How many it may have.
        limit: usize,
    },
    /// The process ends.
    #[error("the node is stopping")]
    Stopped,
    /// Only our own node proves what it says of a name.
    #[error("a server behind JSON-RPC proves nothing")]
    NothingProved,
}

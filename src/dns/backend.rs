//! Who is asked what names are worth: the node of this process, or any `name_show` over JSON-RPC.

use bitcoin::BlockHash;

use super::book::Known;
use super::engine::Note;
use crate::isolation::IsolationId;
use crate::name::lookup::LookupError;
use crate::name::{NameId, Outcome};
use crate::node::{Handle, NodeError, Question};
use crate::rpc::client::{Client, ClientError};
use crate::rpc::code;

/// Who is asked.
#[derive(Clone, Debug)]
pub enum Backend {
    /// The node of this process: values are proved here.
    Node(Handle),
    /// Isonym, Namecoin Core or Electrum-NMC: their word is taken.
    Rpc(Box<Client>),
}

impl Backend {
    /// Returns the newest block, where it can be told without asking: with another one values may be others.
    pub fn newest_block(&self) -> Option<BlockHash> {
        match self {
            Self::Node(node) => Some(node.tip_hash()),
            Self::Rpc(_) => None,
        }
    }

    /// Looks a name up under an isolation ID; `None` is the default identity.
    pub async fn look_up(&self, name: &NameId, id: Option<&IsolationId>) -> Known {
        match self {
            Self::Node(node) => {
                let question = Question {
                    name: name.clone(),
                    isolation_id: id.cloned(),
                    allow_expired: false,
                    quorum: None,
                };
                match node.name_show(question).await {
                    Ok(answer) => of_outcome(answer.outcome),
                    Err(error) => Known::Failed(of_node_error(&error)),
                }
            }
            Self::Rpc(client) => match client.name_show(name, id).await {
                // Core shows expired names too.
                Ok(record) if record.expired => Known::Absent(Some(Note::Expired)),
                Ok(record) => Known::Value(record.value),
                Err(error) if error.is_absent_name() => Known::Absent(None),
                Err(error) => Known::Failed(of_client_error(&error)),
            },
        }
    }

    /// Returns what an identity is known by to whoever remembers it: as in the node that forgets it, where there is one.
    pub fn blinded(&self, id: &IsolationId, key: &[u8; 32]) -> IsolationId {
        match self {
            Self::Node(node) => node.blinded(id),
            Self::Rpc(_) => id.blinded(key),
        }
    }

    /// Forgets an identity that no further question will have, as far as we can reach: in our node, and by the method
    /// `isolation_forget` where the other side has it.
    pub async fn forget(&self, id: &IsolationId) {
        match self {
            Self::Node(node) => node.forget(Some(id.clone())),
            Self::Rpc(client) => {
                // Who has no such method forgets IDs by itself, after they were not used for a while.
                if let Err(error) = client.isolation_forget(id).await {
                    tracing::debug!("an isolation ID is left to be forgotten later: {error}");
                }
            }
        }
    }
}

/// Returns what an outcome of a lookup says.
pub fn of_outcome(outcome: Outcome) -> Known {
    match outcome {
        Outcome::Found(status) => Known::Value(status.name.value().clone()),
        Outcome::Expired { .. } | Outcome::LongExpired { .. } => Known::Absent(Some(Note::Expired)),
        Outcome::SemiExpired { .. } | Outcome::Unconfirmed { .. } => Known::Absent(Some(Note::NotFinal)),
        Outcome::NeverExisted => Known::Absent(None),
    }
}

/// Returns the extended error for what went wrong with a lookup.
pub fn of_node_error(error: &NodeError) -> Note {
    match error {
        NodeError::Syncing { .. } | NodeError::NotSynchronized { .. } => Note::NotSynchronised,
        NodeError::Lookup(LookupError::Unreachable { .. }) | NodeError::Dial(_) | NodeError::NoServer { .. } => {
            Note::NoProxy
        }
        NodeError::Busy { .. } => Note::Busy,
        NodeError::Lookup(LookupError::NoAnswer { lied_to: true, .. }) => Note::Lied,
        NodeError::Lookup(_) => Note::Timeout,
        _ => Note::NoBackend,
    }
}

fn of_client_error(error: &ClientError) -> Note {
    match error {
        ClientError::Rpc(error) => match error.code {
            code::WARMUP | code::INITIAL_DOWNLOAD => Note::NotSynchronised,
            code::NOT_CONNECTED => Note::NoProxy,
            _ => Note::NoBackend,
        },
        ClientError::Timeout(_) => Note::Timeout,
        _ => Note::NoBackend,
    }
}

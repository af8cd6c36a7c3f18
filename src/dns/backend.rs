//! Who is asked what names are worth: the node of this process, or any `name_show` over JSON-RPC.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitcoin::BlockHash;

use super::book::Known;
use super::engine::Note;
use crate::isolation::{BlindedId, IsolationId};
use crate::name::lookup::LookupError;
use crate::name::{NameId, Outcome};
use crate::node::{Clock, Handle, NodeError, Question};
use crate::rpc::client::{Client, ClientError};
use crate::rpc::code;
use crate::time::Moment;

/// How long nothing more is said of it when the other side can't be asked.
const SILENCE: Duration = Duration::from_secs(60);

/// Who is asked.
#[derive(Clone, Debug)]
pub enum Backend {
    /// The node of this process: values are proved here.
    Node(Handle),
    /// Isonym, Namecoin Core or Electrum-NMC: their word is taken.
    Rpc(Remote),
}

/// A `name_show` over JSON-RPC.
#[derive(Clone, Debug)]
pub struct Remote {
    client: Box<Client>,
    clock: Clock,
    /// When it was last said that it can't be asked.
    said: Arc<Mutex<Option<Moment>>>,
}

impl Remote {
    async fn look_up(&self, name: &NameId, id: Option<&IsolationId>) -> Known {
        match self.client.name_show(name, id).await {
            // Core shows expired names too.
            Ok(record) if record.expired => Known::Absent(Some(Note::Expired)),
            Ok(record) => Known::Value(record.value),
            Err(error) if error.is_absent_name() => Known::Absent(None),
            Err(error) => {
                self.complain(&error);
                Known::Failed(of_client_error(&error))
            }
        }
    }

    /// Tells the user what to mend, now and then: who asks for names is told no more than that there is no answer.
    fn complain(&self, error: &ClientError) {
        // What it says itself may have names in it.
        if matches!(error, ClientError::Rpc(_) | ClientError::Timeout(_)) {
            return;
        }
        let now = self.clock.now().steady;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| now.since(said) >= SILENCE) {
            *said = Some(now);
            tracing::warn!("names cannot be looked up: {error}");
        }
    }
}

impl From<Client> for Backend {
    fn from(client: Client) -> Self {
        Self::Rpc(Remote {
            client: Box::new(client),
            clock: Clock::start(),
            said: Arc::default(),
        })
    }
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
            Self::Rpc(remote) => remote.look_up(name, id).await,
        }
    }

    /// Returns what an identity is known by to whoever remembers it: as in the node that forgets it, where there is one.
    pub fn blinded(&self, id: &IsolationId, key: &[u8; 32]) -> BlindedId {
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
            Self::Rpc(remote) => {
                // Who has no such method forgets IDs by itself, after they were not used for a while.
                if let Err(error) = remote.client.isolation_forget(id).await {
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

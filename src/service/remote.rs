//! A `name_show` over JSON-RPC: Isonym's, Namecoin Core's or Electrum-NMC's.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::answer::{Answer, NameResult, Stated};
use crate::isolation::IsolationId;
use crate::jsonrpc::{Client, ClientError, code};
use crate::name::NameId;
use crate::node::Clock;
use crate::time::Moment;

/// How long nothing more is said of it when the other side can't be asked.
const SILENCE: Duration = Duration::from_secs(60);

/// A server that is asked for names.
#[derive(Debug)]
pub(super) struct Remote {
    client: Client,
    /// How many servers it is to ask where a question says nothing of it.
    pub(super) quorum: u8,
    clock: Clock,
    /// When it was last said that it can't be asked.
    said: Mutex<Option<Moment>>,
}

impl Remote {
    pub(super) fn new(client: Client, quorum: u8) -> Self {
        Self {
            client,
            quorum,
            clock: Clock::start(),
            said: Mutex::new(None),
        }
    }

    pub(super) async fn look_up(&self, name: &NameId, id: Option<&IsolationId>, quorum: u8) -> NameResult {
        let stated = match self.client.name_show(name, id, quorum).await {
            // Core shows expired names too.
            Ok(record) if record.expired => Stated::Expired,
            Ok(record) => Stated::Value(record.value),
            Err(error) if error.is_absent_name() => Stated::Absent,
            Err(error) => {
                self.complain(&error);
                return Err(error.into());
            }
        };
        Ok(Answer::Stated(stated))
    }

    /// Has the other side forget an identity, by the method `isolation_forget` where it has it.
    pub(super) async fn forget(&self, id: &IsolationId) {
        // Who has no such method forgets IDs by itself, after they were not used for a while.
        if let Err(error) = self.client.isolation_forget(id).await {
            tracing::debug!("an isolation ID is left to be forgotten later: {error}");
        }
    }

    /// Tells the user what to mend, now and then: who asks for names is told no more than that there is no answer.
    fn complain(&self, error: &ClientError) {
        let Some(text) = complaint(error) else { return };
        let now = self.clock.now().steady;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| now.since(said) >= SILENCE) {
            *said = Some(now);
            tracing::warn!("names cannot be looked up at {}: {text}", self.client.address());
        }
    }
}

/// Says what is to be mended; `None` where it passes by itself. What the other side says is left out: it may have names in
/// it.
fn complaint(error: &ClientError) -> Option<String> {
    let text = match error {
        ClientError::Timeout(_) => return None,
        ClientError::Rpc(error) => match error.code {
            code::METHOD_NOT_FOUND => "it has no method name_show: it is no Namecoin node, or one without names",
            code::MISC => "it does not take the arguments of name_show; an old one takes no isolation ID",
            code::INTERNAL => "it failed by itself; its own log may say why",
            _ => return None,
        },
        ClientError::Refused { status: 401 } => "it refused the user name and password (HTTP status 401)",
        ClientError::Refused { .. } => "it does not serve this machine's address (HTTP status 403, rpcallowip)",
        ClientError::Status { status: 404 } => "nothing of JSON-RPC is at this path (HTTP status 404)",
        error => return Some(error.to_string()),
    };
    Some(text.to_owned())
}

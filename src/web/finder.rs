//! Has looked up what a session asks for.

use std::time::Duration;

use tokio::time::timeout;

use super::asked::Asked;
use super::proof::Found;
use crate::isolation::IsolationId;
use crate::node::{Handle, NodeError};
use crate::service::{Caller, CallerLimits, NameService, Question, ServiceError};

/// How long a lookup waits for headers that are being fetched. Its page says meanwhile how far they are.
const WAIT_FOR_HEADERS: Duration = Duration::from_secs(60 * 60);

/// What all sessions together may have in work: some dozens of people, or one who is in a hurry.
const LIMITS: CallerLimits = CallerLimits {
    lookups: 64,
    lookups_of_one: 16,
    lookups_of_client: 64,
};

/// Looks names up for the page.
pub(super) struct Finder {
    names: NameService,
    node: Handle,
}

impl Finder {
    pub(super) fn new(names: &NameService, node: Handle) -> Self {
        Self {
            names: names.for_caller(Caller::Web, LIMITS),
            node,
        }
    }

    /// Forgets an identity, and what was looked up under it.
    pub(super) async fn forget(&self, identity: &IsolationId) {
        self.names.forget(Some(identity)).await;
    }

    /// Looks a name up under an identity.
    pub(super) async fn find(&self, identity: &IsolationId, asked: Asked) -> Found {
        let question = Question {
            name: asked.name.clone(),
            isolation_id: Some(identity.clone()),
            allow_expired: false,
            quorum: None,
            max_age: None,
        };
        // Where none can be had the lookup says why.
        if matches!(self.node.check_ready(), Err(NodeError::Syncing { .. })) {
            let _ = timeout(WAIT_FOR_HEADERS, self.node.synced(|_| ())).await;
        }
        let result = match self.names.name_show(&question).await {
            Ok(answer) => answer.into_proved(),
            Err(error) => Err(error),
        };
        Found {
            name: asked.name,
            result: result.map_err(|error: ServiceError| error.to_string()),
        }
    }
}

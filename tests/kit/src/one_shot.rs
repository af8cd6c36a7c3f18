//! A node that runs as a command runs its own: the daemon's path, with no connection opened ahead.

use std::sync::atomic::{AtomicU64, Ordering};

use isonym::chain::Tip;
use isonym::chain::sync::HeaderSyncLimits;
use isonym::isolation::IsolationId;
use isonym::name::lookup::{LookupError, LookupSettings};
use isonym::name::proof::ProvenEntry;
use isonym::name::{NameId, Outcome};
use isonym::net::pool;
use isonym::node::{Explanation, Node, NodeError, SyncReport};
use isonym::service::{Daemon, DaemonSettings, Question, ServiceError, run_daemon};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::stage::{NAME, name_id, sync_limits};

/// Settings under which each connection that is not header sync's has a lookup to it.
pub fn settings(lookup: LookupSettings) -> DaemonSettings {
    let mut settings = DaemonSettings {
        sync: sync_limits(),
        lookup,
        ..DaemonSettings::default()
    };
    settings.pool = pool::PoolSettings::with_pace(0);
    settings
}

/// It ends, with all its connections, when this is dropped.
pub struct OneShot {
    pub daemon: Daemon,
    running: JoinHandle<Result<(), NodeError>>,
    lookups: AtomicU64,
}

impl Drop for OneShot {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl OneShot {
    /// Starts a node; header sync begins.
    pub async fn start(node: Node, settings: DaemonSettings) -> Self {
        let (sender, daemon) = oneshot::channel();
        let running = tokio::spawn(async move {
            run_daemon(node, &settings, async move |daemon: Daemon| {
                let stopped = daemon.node.clone();
                let _ = sender.send(daemon);
                stopped.stopped().await;
                Ok(())
            })
            .await
        });
        Self {
            daemon: daemon.await.unwrap(),
            running,
            lookups: AtomicU64::new(0),
        }
    }

    /// Starts a node and waits until its headers are there.
    pub async fn synced(node: Node, settings: DaemonSettings) -> Self {
        let one_shot = Self::start(node, settings).await;
        one_shot.sync().await.unwrap();
        one_shot
    }

    /// Waits until the headers are there, or no server gives them.
    pub async fn sync(&self) -> Result<SyncReport, NodeError> {
        self.daemon.node.synced(|_| {}).await
    }

    pub fn tip(&self) -> Tip {
        self.daemon.node.standing().tip
    }

    /// An ID that nothing was asked under: what is asked under it goes over connections of its own, and nothing is known
    /// for it. Each run of a command is such a one.
    fn fresh_id(&self) -> Option<IsolationId> {
        let number = self.lookups.fetch_add(1, Ordering::Relaxed);
        IsolationId::new(format!("lookup {number}").as_bytes())
    }

    fn question(&self, name: &NameId, quorum: u8) -> Question {
        Question {
            name: name.clone(),
            isolation_id: self.fresh_id(),
            allow_expired: false,
            quorum: Some(quorum),
            max_age: None,
        }
    }

    /// Looks a name up, under an ID that had no lookup before.
    pub async fn name_show(&self, name: &NameId, quorum: u8) -> Result<Outcome, ServiceError> {
        let answer = self.daemon.names.name_show(&self.question(name, quorum)).await?;
        Ok(answer.into_proved()?.outcome.clone())
    }

    /// Fetches a name's history, under an ID that had no lookup before.
    pub async fn name_history(&self, name: &NameId) -> Result<(Vec<ProvenEntry>, usize), ServiceError> {
        let (entries, _, left_out) = self.daemon.names.name_history(&self.question(name, 1)).await?;
        Ok((entries, left_out))
    }

    /// Looks a name up and says what the answer stands on, under an ID that had no lookup before.
    pub async fn explain(&self, name: &NameId, quorum: u8) -> Result<Explanation, ServiceError> {
        self.daemon.names.explain(&self.question(name, quorum)).await
    }

    /// Returns the value that a lookup of [`NAME`] finds.
    pub async fn value(&self, quorum: u8) -> String {
        match self.name_show(&name_id(NAME), quorum).await {
            Ok(Outcome::Found(status)) => String::from_utf8(status.name.value().as_bytes().to_vec()).unwrap(),
            other => panic!("not found: {other:?}"),
        }
    }

    /// Ends it; the data folder is free then.
    pub async fn stop(mut self) {
        self.daemon.node.stop();
        (&mut self.running).await.unwrap().unwrap();
    }
}

/// Settings of header sync that, once a connection ended, opens no other one for the length of a test: connections that
/// a server has from then on are lookups'.
pub fn sync_once() -> HeaderSyncLimits {
    HeaderSyncLimits {
        redial_pause: crate::stage::LONG,
        ..sync_limits()
    }
}

/// Returns why a lookup came to nothing, in words, one for each attempt, and whether one of the answers was a lie.
pub fn unanswered(result: Result<Outcome, ServiceError>) -> (Vec<String>, bool) {
    let (reasons, lied_to) = match result {
        Err(ServiceError::Node(NodeError::Lookup(LookupError::NoAnswer { reasons, lied_to }))) => (reasons, lied_to),
        Err(ServiceError::Node(NodeError::Lookup(LookupError::Unreachable { reasons }))) => (reasons, false),
        other => panic!("{other:?}"),
    };
    assert!(!reasons.is_empty());
    (reasons.iter().map(ToString::to_string).collect(), lied_to)
}

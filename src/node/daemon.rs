//! The running node: header sync that never ends, the pool of lookups' connections, and a handle for the fronts.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::connections::{Connections, Leases};
use super::handle::{Handle, NodeSettings, reasons};
use super::header_sync::{self, HeaderSyncDriver, SyncStage, SyncUpdate};
use super::local_names::keep_names;
use super::trouble_log::TroubleLog;
use super::{Node, NodeError, ServerResult};
use crate::backoff::Backoff;
use crate::isolation::BlindedId;

/// The pauses before header sync begins anew when no server could be used.
const SYNC_PAUSES: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(30));

/// How often it is looked at whether there is something to be logged.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs a node until its fronts end. They get the handle before anything is synchronised, and end when
/// [`Handle::stopped`] says so. `forgotten` is told of identities that were not used for long.
///
/// # Errors
///
/// That of the fronts.
pub async fn run<F>(
    mut node: Node,
    settings: &NodeSettings,
    forgotten: impl Fn(BlindedId) + Send + Sync + 'static,
    fronts: impl FnOnce(Handle) -> F,
) -> Result<(), NodeError>
where
    F: Future<Output = Result<(), NodeError>>,
{
    let seed = node.draw_seed();
    let clock = node.clock();
    let (leases, commands) = Leases::channel();
    let handle = Handle::new(node, settings, leases, forgotten);
    let connections = Connections::new(handle.clone(), settings.pool, clock, seed, commands);
    let end = tokio::select! {
        never = keep_synced(handle.clone()) => match never {},
        never = header_sync::keep_writing(&handle) => match never {},
        never = connections.run() => match never {},
        never = keep_names(handle.clone()) => match never {},
        end = fronts(handle.clone()) => end,
    };
    // Nobody is served any more: there is time to wait for the disk.
    header_sync::write_all(&handle).await;
    end
}

/// Keeps the headers up to date for ever.
async fn keep_synced(handle: Handle) -> Infallible {
    let mut failures = 0;
    loop {
        let watcher = handle.clone();
        let sync = HeaderSyncDriver::run(handle.clone(), handle.settings().sync, |status| {
            if status.stage == SyncStage::Synced {
                failures = 0;
            }
            let exhausted = status.stage == SyncStage::Exhausted;
            note(&watcher, status);
            if exhausted {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        tokio::select! {
            () = sync => {}
            () = handle.sync_anew() => {
                failures = 0;
                continue;
            }
        }
        let pause = SYNC_PAUSES.pause(failures);
        failures += 1;
        if timeout(pause, handle.sync_anew()).await.is_ok() {
            failures = 0;
        }
    }
}

impl Handle {
    /// Logs why header sync does not get on, where it does not: for who has nobody to tell it to.
    pub async fn log_trouble(&self) -> Infallible {
        let mut log = TroubleLog::default();
        loop {
            sleep(LOOK_EVERY).await;
            let now = self.clock().now().steady;
            let trouble = self.state().trouble(now);
            if let Some(line) = log.line(now, trouble.as_ref()) {
                tracing::warn!("{line}");
            }
        }
    }
}

/// Takes down where header sync stands.
fn note(handle: &Handle, status: SyncUpdate) {
    let SyncUpdate {
        progress,
        stage,
        servers,
    } = status;
    let now = handle.clock().now().steady;
    let mut state = handle.state();
    state.progress = progress;
    state.alone_since = (progress.connections == 0).then(|| state.alone_since.unwrap_or(now));
    if state.alone_since.is_none() {
        state.tor = None;
    }
    if stage == SyncStage::Synced && !state.synchronized {
        let tip = state.node.tree().tip();
        tracing::info!(height = tip.height, hash = %tip.hash, "headers are up to date");
        state.synchronized = true;
    }
    let in_use = state.node.in_use(&servers);
    // What was told while it ran is not noted yet.
    let is_new = state.servers != in_use || handle.sync_stage().0 == SyncStage::Running;
    if stage != SyncStage::Running && is_new {
        state.node.note_sync(&servers);
    }
    if stage == SyncStage::Exhausted {
        state.no_server = Some(reasons(&in_use));
    } else if in_use.iter().any(ServerResult::is_good) {
        state.no_server = None;
    }
    state.servers = in_use;
    drop(state);
    handle.note_stage(stage, progress);
}

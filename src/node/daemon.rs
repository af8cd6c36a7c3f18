//! The running node: header sync that never ends, the pool of lookups' connections, and a handle for the fronts.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::timeout;

use super::connections::{Connections, Leases};
use super::handle::{Handle, NodeSettings};
use super::header_sync::{self, HeaderSyncDriver, SyncStage, SyncUpdate};
use super::report::digest;
use super::{Node, NodeError, ServerResult};
use crate::backoff::Backoff;
use crate::isolation::BlindedId;
use crate::time::Moment;

/// The pauses before header sync begins anew when no server could be used.
const SYNC_PAUSES: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(30));

/// How long the log says no more of what it said already.
const TELL_AGAIN: Duration = Duration::from_secs(3600);

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
        end = fronts(handle.clone()) => end,
    };
    // Nobody is served any more: there is time to wait for the disk.
    header_sync::write_all(&handle).await;
    end
}

/// Keeps the headers up to date for ever.
async fn keep_synced(handle: Handle) -> Infallible {
    let mut failures = 0;
    let mut told: Option<(String, Moment)> = None;
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
                told = None;
                continue;
            }
        }
        let pause = SYNC_PAUSES.pause(failures);
        failures += 1;
        // Commands end meanwhile, and say it themselves.
        if timeout(pause, handle.sync_anew()).await.is_ok() {
            (failures, told) = (0, None);
            continue;
        }
        let (reason, now) = (
            handle.state().no_server.clone().unwrap_or_default(),
            handle.clock().now().steady,
        );
        let is_known = told
            .as_ref()
            .is_some_and(|(last, at)| *last == reason && now.since(*at) < TELL_AGAIN);
        if !is_known {
            tracing::warn!("{reason}; trying again");
            told = Some((reason, now));
        }
    }
}

/// Says why no server is of use.
fn reasons(servers: &[ServerResult]) -> String {
    let digest = digest(servers);
    let reasons: Vec<String> = digest.iter().map(|(who, result)| format!("{who}: {result}")).collect();
    format!("no server gives headers: {}", reasons.join("; "))
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

//! A daemon that runs in a task of its own.

use isonym::node::{Node, NodeError};
use isonym::service::{Daemon, DaemonSettings, run_daemon};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Runs a daemon over a node until it is told to stop; returns it once it is there, and the task.
pub async fn run_in_task(node: Node, settings: DaemonSettings) -> (Daemon, JoinHandle<Result<(), NodeError>>) {
    let (sender, daemon) = oneshot::channel();
    let running = tokio::spawn(async move {
        let fronts = |daemon: Daemon| async move {
            let _ = sender.send(daemon.clone());
            daemon.node.stopped().await;
            Ok(())
        };
        run_daemon(node, &settings, fronts).await
    });
    (daemon.await.unwrap(), running)
}

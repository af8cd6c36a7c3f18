//! Accepts connections, no more than there is room for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

/// Most connections of one kind, however many files may be open.
pub const MOST_CONNECTIONS: usize = 1024;

/// Connections that there is room for even where there is none to spare.
pub const LEAST_CONNECTIONS: usize = 8;

/// Open files that are left to the rest of the process at least: its store, and connections to as many servers as one
/// lookup may need while headers are synchronised.
const OTHER_FILES: u64 = 128;

/// Returns how many connections strangers may have, each of which takes so many files, in a process that may have `files`
/// open at once. They get half of them at most: without the others no answer could be found for anybody.
pub fn connections_within(files: u64, of_each: u64) -> usize {
    let spare = files.saturating_sub(OTHER_FILES.max(files / 2)) / of_each.max(1);
    let spare = usize::try_from(spare).unwrap_or(usize::MAX);
    spare.clamp(LEAST_CONNECTIONS, MOST_CONNECTIONS)
}

/// How long to wait after a connection could not be accepted: out of file descriptors, most likely, and trying again at
/// once would spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts the next connection, whoever it is from; `None` where that failed, which may pass.
pub async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!("cannot accept a connection: {error}");
            sleep(PAUSE).await;
            None
        }
    }
}

/// Accepts the next connection once there is a place for it, which is free again when the last part of what is returned
/// is dropped. `None` once there will be no more places.
pub async fn accept_within(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        if let Some((stream, peer)) = accept(listener).await {
            return Some((stream, peer, place));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_get_half_of_the_files_at_most() {
        for (files, of_each, connections) in [
            (0, 1, LEAST_CONNECTIONS),
            (64, 2, LEAST_CONNECTIONS),
            (257, 1, 129),
            (160, 1, 32),
            (160, 2, 16),
            (256, 1, 128),
            (1024, 1, 512),
            (1024, 2, 256),
            (4096, 1, MOST_CONNECTIONS),
            (u64::MAX, 2, MOST_CONNECTIONS),
        ] {
            assert_eq!(connections_within(files, of_each), connections, "{files} {of_each}");
        }
    }
}

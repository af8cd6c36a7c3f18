//! Carries bytes between an application and the other side.

use std::time::Duration;

use tokio::io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::time::timeout;

/// How long an application may still send when the other side sends no more. Tor has no streams that are open one way:
/// what is sent then goes nowhere, and an application that never closes would hold its place for ever.
const LINGER: Duration = Duration::from_secs(60);

/// A side, and what already came from it.
pub(super) struct RelaySide<S> {
    pub(super) stream: S,
    pub(super) sent: Vec<u8>,
}

/// Carries bytes both ways until both sides have ended. The end of one is told the other, which may go on.
pub(super) async fn relay<A, B>(app: RelaySide<A>, tor: RelaySide<B>)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (from_app, to_app) = split(app.stream);
    let (from_tor, to_tor) = split(tor.stream);
    let up = carry(from_app, to_tor, app.sent);
    let down = carry(from_tor, to_app, tor.sent);
    tokio::pin!(up, down);
    tokio::select! {
        carried = &mut up => {
            if carried.is_ok() {
                let _ = down.await;
            }
        }
        carried = &mut down => {
            if carried.is_ok() {
                let _ = timeout(LINGER, up).await;
            }
        }
    }
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, first: Vec<u8>) -> io::Result<()> {
    to.write_all(&first).await?;
    // What carries on from here knows nothing of it, and a stream through the embedded Tor holds it back until then.
    to.flush().await?;
    drop(first);
    io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

/// Waits until an application has gone; what it sends meanwhile is kept, as far as there is room.
///
/// An application that sends no more before it has a reply counts as gone, as it does for Tor.
pub(super) async fn gone(stream: &mut (impl AsyncRead + Unpin), early: &mut Vec<u8>) {
    /// Most bytes that are kept.
    const ROOM: usize = 16 << 10;
    let mut chunk = [0; 2048];
    while early.len() < ROOM {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(length) => early.extend_from_slice(chunk.get(..length).unwrap_or_default()),
        }
    }
    std::future::pending::<()>().await;
}

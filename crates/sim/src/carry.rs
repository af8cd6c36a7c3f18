//! The edge: carries bytes both ways between a proxy's client and a server, perhaps later, perhaps onto a tape.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep_until};

use super::host::now;
use super::tape::{Side, Track};

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;

/// Bytes that are held back at most, each way; more are left where they are until there is room.
const MOST_HELD: usize = 16 << 20;

/// How long bytes are held back, each way; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Delay(Arc<AtomicU64>);

impl Delay {
    pub(super) fn set(&self, delay: Duration) {
        let milliseconds = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.0.store(milliseconds, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Carries until both sides have ended, or the stream breaks.
pub(super) async fn carry(client: TcpStream, server: TcpStream, delay: &Delay, track: Option<Track>) -> io::Result<()> {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = Way {
        from: Side::Client,
        delay: delay.clone(),
        track: track.clone(),
    };
    let back = Way {
        from: Side::Server,
        ..there.clone()
    };
    let carried = tokio::try_join!(there.carry(from_client, to_server), back.carry(from_server, to_client));
    if let Some(track) = track {
        track.ended(now());
    }
    carried.map(|_| ())
}

/// One of the two directions.
#[derive(Clone)]
struct Way {
    from: Side,
    delay: Delay,
    track: Option<Track>,
}

/// Bytes on the way; none stand for the end.
struct Held {
    due: Instant,
    bytes: Vec<u8>,
    piece: usize,
}

impl Way {
    /// Reads on while earlier bytes are held back: a delay must not make one piece wait for another.
    async fn carry(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
        let mut held: VecDeque<Held> = VecDeque::new();
        let mut chunk = vec![0; CHUNK];
        let mut is_open = true;
        loop {
            while held.front().is_some_and(|held| held.due <= Instant::now())
                && let Some(Held { bytes, piece, .. }) = held.pop_front()
            {
                if bytes.is_empty() {
                    return to.shutdown().await;
                }
                // Before they are written, since the other side may answer before this task goes on.
                if let Some(track) = &self.track {
                    track.given(piece);
                }
                to.write_all(&bytes).await?;
            }
            let due = held.front().map(|held| held.due);
            let has_room = held.iter().map(|held| held.bytes.len()).sum::<usize>() < MOST_HELD;
            tokio::select! {
                read = from.read(&mut chunk), if is_open && has_room => {
                    let bytes = chunk.get(..read?).unwrap_or_default();
                    is_open = !bytes.is_empty();
                    held.push_back(Held {
                        due: Instant::now() + self.delay.get(),
                        piece: self.take(bytes),
                        bytes: bytes.to_vec(),
                    });
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    fn take(&self, bytes: &[u8]) -> usize {
        let Some(track) = &self.track else { return 0 };
        if bytes.is_empty() {
            if self.from == Side::Client {
                track.ended(now());
            }
            return 0;
        }
        track.taken(self.from, now(), bytes)
    }
}

//! A connection to a peer: a stream of its own, with credentials of its own, that carries messages both ways.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, split};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::chain::Network;
use crate::isolation::ConnId;
use crate::net::{DialError, Dialer, ServerAddr};
use crate::p2p::peer_sync::PeerIndex;
use crate::p2p::{Decoder, Message, PeerSyncEvent, encode};

/// Bytes that are read in one go.
const CHUNK: usize = 64 * 1024;

/// Messages to a peer that may wait. Few are sent, and none is long.
const OUTBOX: usize = 64;

/// How long a peer may take to take a message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// What it takes to open a connection to a peer.
pub(super) struct PeerDial {
    pub(super) dialer: Arc<Dialer>,
    pub(super) network: Network,
    pub(super) peer: PeerIndex,
    pub(super) address: ServerAddr,
    pub(super) conn: ConnId,
    pub(super) limit: Duration,
}

/// What a connection tells.
pub(super) enum PeerLinkEvent {
    /// For the machine.
    Sync(PeerSyncEvent),
    /// There is no connection.
    DialFailed {
        peer: PeerIndex,
        conn: ConnId,
        error: DialError,
    },
}

/// Opens a connection in a task of its own. It ends when the sender that this returns is dropped.
pub(super) fn open(dial: PeerDial, events: mpsc::Sender<PeerLinkEvent>) -> mpsc::Sender<Message> {
    let (sender, outbox) = mpsc::channel(OUTBOX);
    tokio::spawn(run(dial, outbox, events));
    sender
}

async fn run(dial: PeerDial, outbox: mpsc::Receiver<Message>, events: mpsc::Sender<PeerLinkEvent>) {
    let (peer, conn) = (dial.peer, dial.conn);
    let stream = match dial.dialer.dial(&dial.address, None, dial.limit).await {
        Ok(dialed) => dialed.stream,
        Err(error) => {
            let _ = events.send(PeerLinkEvent::DialFailed { peer, conn, error }).await;
            return;
        }
    };
    if events
        .send(PeerLinkEvent::Sync(PeerSyncEvent::Connected { peer, conn }))
        .await
        .is_err()
    {
        return;
    }
    let (reader, writer) = split(stream);
    let garbled = tokio::select! {
        garbled = read(reader, &dial, &events) => garbled,
        () = write(writer, dial.network, outbox) => None,
    };
    let _ = events
        .send(PeerLinkEvent::Sync(garbled.unwrap_or(PeerSyncEvent::Closed { conn })))
        .await;
}

/// Brings what comes to the machine, until the stream ends; says what came that is no message, if that is why.
async fn read(
    mut reader: impl tokio::io::AsyncRead + Unpin,
    dial: &PeerDial,
    events: &mpsc::Sender<PeerLinkEvent>,
) -> Option<PeerSyncEvent> {
    let conn = dial.conn;
    let mut decoder = Decoder::new(dial.network);
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = reader.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        let bytes = u64::try_from(count).unwrap_or(u64::MAX);
        let received = PeerSyncEvent::Received { conn, bytes };
        events.send(PeerLinkEvent::Sync(received)).await.ok()?;
        decoder.feed(chunk.get(..count).unwrap_or_default());
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => {
                    let event = PeerSyncEvent::Message { conn, message };
                    events.send(PeerLinkEvent::Sync(event)).await.ok()?;
                }
                Ok(None) => break,
                Err(error) => return Some(PeerSyncEvent::Garbled { conn, error }),
            }
        }
    }
}

/// Sends what the machine wants sent, until it wants no more or the peer takes no more.
async fn write(mut writer: impl tokio::io::AsyncWrite + Unpin, network: Network, mut outbox: mpsc::Receiver<Message>) {
    while let Some(message) = outbox.recv().await {
        let bytes = encode(network, &message);
        let written = timeout(WRITE_TIMEOUT, async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        });
        if !matches!(written.await, Ok(Ok(()))) {
            return;
        }
    }
}

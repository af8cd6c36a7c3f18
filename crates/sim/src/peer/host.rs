//! The edge: a peer on 127.0.0.1, or over any stream.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitcoin::BlockHash;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::{Peer, PeerFault, PeerOutput, PeerSession, PeerThen};
use crate::blocks::{BlockIndex, Blocks};
use crate::host::{SharedWorld, now, origin};
use crate::ledger::Ledger;
use crate::link::{Direction, Link};
use isonym_core::isolation::ConnId;
use isonym_core::time::Moment;

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;

/// Bytes that may wait to be sent before no more blocks are looked up.
///
/// Source: Bitcoin Core `net.h`, `DEFAULT_MAXSENDBUFFER`.
const MAX_UNSENT: usize = 1_000_000;

/// Bytes that a slow peer sends at a time.
const PIECE: usize = 1024;

/// Where a peer has its blocks from.
#[derive(Clone)]
enum Source {
    /// A world, and what the peer knows of it.
    World(SharedWorld, Arc<Mutex<View>>),
    /// Blocks that stay as they are, and who waits for another fault.
    Fixed(Arc<dyn Blocks + Send + Sync>, Arc<watch::Sender<()>>),
}

/// What a peer knows of a world.
#[derive(Default)]
struct View {
    index: BlockIndex,
    /// The tip and the fault when it looked last.
    of: Option<(BlockHash, Option<PeerFault>)>,
}

/// Where a peer serves one client: what every connection of it needs. Clones are the same peer.
#[derive(Clone)]
pub struct PeerDesk {
    name: String,
    peer: Arc<Mutex<Peer>>,
    source: Source,
    ledger: Ledger,
}

impl PeerDesk {
    /// Opens a desk of a peer, which needs no socket.
    pub fn new(name: &str, peer: Peer, world: SharedWorld, ledger: Ledger) -> Self {
        Self::from(name, peer, Source::World(world, Arc::default()), ledger)
    }

    /// Opens a desk of a peer with blocks that stay as they are, such as those of a [`crate::WindowFile`].
    /// Faults that take another chain do nothing there.
    pub fn of_blocks(name: &str, peer: Peer, blocks: Arc<dyn Blocks + Send + Sync>, ledger: Ledger) -> Self {
        let changes = Arc::new(watch::Sender::new(()));
        Self::from(name, peer, Source::Fixed(blocks, changes), ledger)
    }

    fn from(name: &str, peer: Peer, source: Source, ledger: Ledger) -> Self {
        Self {
            name: name.to_owned(),
            peer: Arc::new(Mutex::new(peer)),
            source,
            ledger,
        }
    }

    /// Serves a client over any stream until one side has had enough. `port` stands for the client in the ledger.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite, port: u16) {
        let conn = self.ledger.record_connection(&self.name, port, now());
        // However a client goes, the peer takes no harm: what it did is in the ledger.
        let _ = self.converse(stream, conn).await;
        self.ledger.record_end(conn);
    }

    /// Changes what the peer does wrong from now on.
    pub fn set_fault(&self, fault: Option<PeerFault>) {
        self.peer().set_fault(fault);
        // So that who was kept waiting is looked at again.
        match &self.source {
            Source::World(world, _) => world.changes.send_replace(()),
            Source::Fixed(_, changes) => changes.send_replace(()),
        }
    }

    fn peer(&self) -> MutexGuard<'_, Peer> {
        self.peer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self) -> watch::Receiver<()> {
        match &self.source {
            Source::World(world, _) => world.changes.subscribe(),
            Source::Fixed(_, changes) => changes.subscribe(),
        }
    }

    fn with_blocks<T>(&self, act: impl FnOnce(&Peer, &dyn Blocks) -> T) -> T {
        let peer = self.peer();
        match &self.source {
            Source::Fixed(blocks, _) => act(&peer, blocks.as_ref()),
            Source::World(world, view) => {
                let mut view = view.lock().unwrap_or_else(PoisonError::into_inner);
                world.read(|chain| {
                    let of = Some((chain.tip_hash(), peer.fault()));
                    if view.of != of {
                        let doctored = peer.fault().and_then(|fault| fault.doctored(chain));
                        view.index.follow(doctored.as_ref().unwrap_or(chain));
                        view.of = of;
                    }
                });
                act(&peer, &view.index)
            }
        }
    }

    async fn converse(&self, stream: impl AsyncRead + AsyncWrite, conn: ConnId) -> io::Result<()> {
        let (reader, writer) = tokio::io::split(stream);
        tokio::pin!(reader, writer);
        let mut changes = self.changes();
        let mut session = PeerSession::new(now());
        let mut unsent = Unsent::default();
        let mut chunk = vec![0; CHUNK];
        loop {
            let mut then = PeerThen::GoOn;
            while unsent.size < MAX_UNSENT
                && then == PeerThen::GoOn
                && let Some(output) = self.with_blocks(|peer, blocks| session.step(now(), peer, blocks))
            {
                then = self.take(conn, &mut unsent, output);
            }
            if then == PeerThen::GoOn {
                let pace = self.pace();
                let due = unsent.due(pace);
                then = tokio::select! {
                    read = reader.read(&mut chunk), if session.has_room() => {
                        let bytes = chunk.get(..read?).unwrap_or_default();
                        if bytes.is_empty() {
                            return Ok(());
                        }
                        session.receive(bytes);
                        PeerThen::GoOn
                    }
                    written = write(&mut writer, unsent.piece(pace), due), if unsent.size > 0 => {
                        unsent.sent(written?, pace);
                        if unsent.size == 0 {
                            writer.flush().await?;
                        }
                        PeerThen::GoOn
                    }
                    known = changes.changed() => {
                        if known.is_err() {
                            return Ok(());
                        }
                        let output = self.with_blocks(|peer, blocks| session.announce(peer, blocks));
                        self.take(conn, &mut unsent, output)
                    }
                    () = sleep_until(instant(session.next_time())) => {
                        let output = session.on_time(now(), &self.peer());
                        self.take(conn, &mut unsent, output)
                    }
                };
            }
            if then != PeerThen::GoOn {
                for message in unsent.messages {
                    writer
                        .write_all(message.get(unsent.begun..).unwrap_or_default())
                        .await?;
                    unsent.begun = 0;
                }
                return match then {
                    PeerThen::Forever(bytes) => loop {
                        writer.write_all(&bytes).await?;
                        tokio::task::yield_now().await;
                    },
                    _ => writer.shutdown().await,
                };
            }
        }
    }

    fn take(&self, conn: ConnId, unsent: &mut Unsent, output: PeerOutput) -> PeerThen {
        if let Some(note) = output.note {
            self.ledger
                .record_message(conn, &note.command, note.content, note.heights, now());
        }
        output.messages.into_iter().for_each(|message| unsent.push(message));
        output.then
    }

    /// Returns how fast the peer sends; `None`: as fast as it can.
    fn pace(&self) -> Option<Link> {
        match self.peer().fault() {
            Some(PeerFault::Slow { bytes_per_second }) => Some(Link {
                round_trip: Duration::ZERO,
                bytes_per_second,
            }),
            _ => None,
        }
    }
}

/// Writes some of the bytes, at their time. Cancelled, it has written nothing.
async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8], due: Instant) -> io::Result<usize> {
    sleep_until(due).await;
    let written = writer.write(bytes).await?;
    if written == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(written)
}

fn instant(moment: Moment) -> Instant {
    origin() + moment.since(Moment::default())
}

/// Messages that wait to be sent.
#[derive(Default)]
struct Unsent {
    messages: VecDeque<Vec<u8>>,
    /// How much of the first one was sent.
    begun: usize,
    size: usize,
    /// When the next piece of a slow peer has gone through.
    way: Option<(Direction, Link)>,
    free: Duration,
}

impl Unsent {
    fn push(&mut self, message: Vec<u8>) {
        self.size += message.len();
        if !message.is_empty() {
            self.messages.push_back(message);
        }
    }

    /// Returns what is written next.
    fn piece(&self, pace: Option<Link>) -> &[u8] {
        let message = self.messages.front().map(Vec::as_slice).unwrap_or_default();
        let rest = message.get(self.begun..).unwrap_or_default();
        match pace {
            Some(_) => rest.get(..PIECE).unwrap_or(rest),
            None => rest,
        }
    }

    /// Returns when that may be written.
    fn due(&self, pace: Option<Link>) -> Instant {
        match pace {
            Some(_) => origin() + self.free,
            None => origin(),
        }
    }

    fn sent(&mut self, bytes: usize, pace: Option<Link>) {
        if let Some(pace) = pace {
            let same = self.way.take().filter(|(_, link)| *link == pace);
            let (mut way, link) = same.unwrap_or_else(|| (pace.direction(), pace));
            self.free = way.send(origin().elapsed(), bytes);
            self.way = Some((way, link));
        }
        self.size -= bytes;
        self.begun += bytes;
        if self.messages.front().is_some_and(|message| message.len() <= self.begun) {
            self.messages.pop_front();
            self.begun = 0;
        }
    }
}

/// A running peer; it stops when this is dropped.
pub struct PeerHost {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its name in the ledger.
    pub name: String,
    desk: PeerDesk,
    accepting: JoinHandle<()>,
}

impl Drop for PeerHost {
    fn drop(&mut self) {
        // Its connections' tasks end with it: they belong to the task's join set.
        self.accepting.abort();
    }
}

impl PeerHost {
    /// Starts a peer on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// When no port can be opened.
    pub async fn start(name: &str, peer: Peer, world: SharedWorld, ledger: Ledger) -> io::Result<Self> {
        Self::open(PeerDesk::new(name, peer, world, ledger)).await
    }

    /// Starts a peer whose desk is open already, on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// When no port can be opened.
    pub async fn open(desk: PeerDesk) -> io::Result<Self> {
        Self::open_at((Ipv4Addr::LOCALHOST, 0).into(), desk).await
    }

    /// Starts a peer whose desk is open already, at an address of this machine.
    ///
    /// # Errors
    ///
    /// When the port can't be opened.
    pub async fn open_at(addr: SocketAddr, desk: PeerDesk) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, desk.clone()));
        Ok(Self {
            addr,
            name: desk.name.clone(),
            desk,
            accepting,
        })
    }

    /// Changes what the peer does wrong from now on.
    pub fn set_fault(&self, fault: Option<PeerFault>) {
        self.desk.set_fault(fault);
    }
}

async fn accept(listener: TcpListener, desk: PeerDesk) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, peer)) = stream else { continue };
        let _ = stream.set_nodelay(true);
        let desk = desk.clone();
        connections.spawn(async move { desk.serve(stream, peer.port()).await });
    }
}

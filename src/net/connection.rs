//! One connection to one Electrum server, and the task that serves it.
//!
//! The task owns the stream and an [`Exchange`]; it does nothing of its own accord. What it sends depends on
//! the connection's [`Purpose`] and on the calls alone.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bitcoin::BlockHash;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::address::{ServerAddr, Transport};
use super::dialer::{DialError, Dialed, Dialer, Duplex};
use super::pins::{Identity, Pin};
use crate::chain::Network;
use crate::electrum::exchange::{Effect, Overdue, TooManyOpen};
use crate::electrum::framing::{LOOKUP_LINE, SYNC_LINE};
use crate::electrum::{
    AnswerError, Exchange, HeaderTip, LineBuffer, Reply, Request, ServerVersion, VersionRange, Violation,
};
use crate::time::Moment;

/// Calls that may wait for the task at a time.
const QUEUE: usize = 32;

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;

/// What a connection is for; it decides on the requests of its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Lookups of one isolation ID. Every such connection begins with the same bytes.
    Lookup,
    /// Header sync: subscribes to tips.
    Sync {
        /// The protocol versions to offer.
        versions: VersionRange,
    },
}

impl Purpose {
    const fn versions(self) -> VersionRange {
        match self {
            Self::Lookup => VersionRange::ALL,
            Self::Sync { versions } => versions,
        }
    }

    const fn longest_line(self) -> usize {
        match self {
            Self::Lookup => LOOKUP_LINE,
            Self::Sync { .. } => SYNC_LINE,
        }
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the first packet to an open stream, proxy and TLS included.
    pub dial: Duration,
    /// Each of the handshake's two flights.
    pub handshake: Duration,
}

impl Default for Limits {
    /// A minute to dial, since Tor may have to build circuits, up to two for an onion service; half a minute for
    /// each flight.
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(60),
            handshake: Duration::from_secs(30),
        }
    }
}

/// Why a connection could not be opened, or is of no more use.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The server was not reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The server doesn't keep to the protocol.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The server refused a request of the handshake or answered nonsense.
    #[error("server refused the handshake: {0}")]
    Handshake(AnswerError),
    /// The server serves another network.
    #[error("server is for another network: expected genesis block {expected}, got {got}")]
    WrongNetwork {
        /// The network's genesis block.
        expected: BlockHash,
        /// The server's.
        got: BlockHash,
    },
    /// Plain TCP was spoken to a TLS port.
    #[error("server speaks TLS on this port: use HOST:PORT:s")]
    SpeaksTls,
    /// The server closed before it said anything.
    #[error("server closed the connection before it answered{}", if *.plain { "; if it speaks TLS, use HOST:PORT:s" } else { "" })]
    ClosedAtOnce {
        /// Whether plain TCP was spoken.
        plain: bool,
    },
    /// The server closed.
    #[error("server closed the connection")]
    Closed,
    /// The stream failed.
    #[error("connection failed: {0}")]
    Io(io::ErrorKind),
    /// A request was not answered in time.
    #[error(transparent)]
    Overdue(#[from] Overdue),
    /// More requests at a time than allowed; the connection is fine.
    #[error(transparent)]
    TooManyOpen(#[from] TooManyOpen),
}

/// The answers to one call, in the order of its requests.
pub type Answers = Vec<Result<Reply, AnswerError>>;

type Outcome = Result<Answers, ConnectionError>;

struct Call {
    requests: Vec<Request>,
    timeout: Duration,
    outcome: oneshot::Sender<Outcome>,
}

/// A connection that has done its handshake. Dropping it closes the stream at once.
#[derive(Debug)]
pub struct Connection {
    server: ServerAddr,
    identity: Identity,
    version: ServerVersion,
    calls: mpsc::Sender<Call>,
    tips: watch::Receiver<Option<HeaderTip>>,
    end: watch::Receiver<Option<ConnectionError>>,
    task: JoinHandle<()>,
}

impl Connection {
    /// Dials a server and does the handshake: the version first; when that is answered, `server.features` and, for
    /// sync, the subscription, in one flight.
    ///
    /// `pin` is what the server's certificate must be; [`Self::identity`] says what to remember.
    ///
    /// # Errors
    ///
    /// See [`ConnectionError`].
    pub async fn open(
        dialer: &Dialer,
        server: &ServerAddr,
        pin: Option<Pin>,
        network: Network,
        purpose: Purpose,
        limits: Limits,
    ) -> Result<Self, ConnectionError> {
        let Dialed { stream, identity } = dialer.dial(server, pin, limits.dial).await?;
        let (calls, queue) = mpsc::channel(QUEUE);
        let (tip_sender, tips) = watch::channel(None);
        let (end_sender, end) = watch::channel(None);
        let task = Task::new(
            stream,
            purpose.longest_line(),
            server.transport == Transport::Tcp,
            tip_sender,
        );
        let task = tokio::spawn(async move {
            let end = task.run(queue).await;
            end_sender.send_replace(Some(end));
        });
        let mut connection = Self {
            server: server.clone(),
            identity,
            version: ServerVersion {
                software: String::new(),
                protocol: purpose.versions().min,
            },
            calls,
            tips,
            end,
            task,
        };
        connection.greet(network, purpose, limits.handshake).await?;
        Ok(connection)
    }

    async fn greet(&mut self, network: Network, purpose: Purpose, limit: Duration) -> Result<(), ConnectionError> {
        let answers = self.call(vec![Request::Version(purpose.versions())], limit).await?;
        for answer in answers {
            if let Reply::Version(version) = answer.map_err(ConnectionError::Handshake)? {
                self.version = version;
            }
        }
        let requests = match purpose {
            Purpose::Lookup => vec![Request::Features],
            Purpose::Sync { .. } => vec![Request::SubscribeHeaders, Request::Features],
        };
        let expected = network.params().genesis.hash();
        for answer in self.call(requests, limit).await? {
            match answer.map_err(ConnectionError::Handshake)? {
                Reply::Features(features) if features.genesis_hash != expected => {
                    return Err(ConnectionError::WrongNetwork {
                        expected,
                        got: features.genesis_hash,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Sends requests together and waits for all their answers, each due within `timeout`.
    ///
    /// A call that is dropped leaves its requests open; their answers are read and forgotten.
    ///
    /// # Errors
    ///
    /// See [`ConnectionError`]: but for [`ConnectionError::TooManyOpen`], the connection is closed. A request that
    /// alone has no usable answer is an error in its place of the answers.
    pub async fn call(&self, requests: Vec<Request>, timeout: Duration) -> Outcome {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let (sender, outcome) = oneshot::channel();
        let call = Call {
            requests,
            timeout,
            outcome: sender,
        };
        if self.calls.send(call).await.is_err() {
            return Err(self.closed().await);
        }
        match outcome.await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.closed().await),
        }
    }

    /// Waits until the connection is of no more use and returns why.
    pub async fn closed(&self) -> ConnectionError {
        let mut end = self.end.clone();
        let end = end.wait_for(Option::is_some).await;
        end.ok().and_then(|end| end.clone()).unwrap_or(ConnectionError::Closed)
    }

    /// Returns why the connection is of no more use; `None` while it is.
    pub fn end(&self) -> Option<ConnectionError> {
        self.end.borrow().clone()
    }

    /// Returns the server's latest claimed tip, and word of every later one. Stays `None` but for
    /// [`Purpose::Sync`]. A receiver that is slow sees the last tip only.
    pub fn tips(&self) -> watch::Receiver<Option<HeaderTip>> {
        self.tips.clone()
    }

    /// Returns the server.
    pub fn server(&self) -> &ServerAddr {
        &self.server
    }

    /// Returns what proves the server's identity, and with it what to pin.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Returns what the server answered to the version handshake.
    pub fn version(&self) -> &ServerVersion {
        &self.version
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A call whose answers are coming in.
struct Waiting {
    slots: Vec<Option<Result<Reply, AnswerError>>>,
    missing: usize,
    outcome: oneshot::Sender<Outcome>,
}

struct Task {
    reader: ReadHalf<Box<dyn Duplex>>,
    writer: WriteHalf<Box<dyn Duplex>>,
    state: State,
    plain: bool,
}

/// All that the task knows; the stream's halves are kept apart from it so that both can be waited for.
struct State {
    exchange: Exchange,
    lines: LineBuffer,
    to_write: Outgoing,
    /// Calls by the id of their first request.
    waiting: BTreeMap<u64, Waiting>,
    tips: watch::Sender<Option<HeaderTip>>,
    started: Instant,
}

/// Bytes on their way out.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
    flushed: bool,
}

impl Outgoing {
    fn push(&mut self, lines: &str) {
        self.bytes.drain(..self.written);
        self.written = 0;
        self.bytes.extend_from_slice(lines.as_bytes());
        self.flushed = false;
    }

    fn is_done(&self) -> bool {
        self.flushed || self.bytes.is_empty()
    }

    /// Writes and flushes what is left. May be dropped at any await and called again.
    async fn write_to(&mut self, writer: &mut WriteHalf<Box<dyn Duplex>>) -> io::Result<()> {
        while let Some(rest) = self.bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
            match writer.write(rest).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => self.written = self.written.saturating_add(n),
            }
        }
        writer.flush().await?;
        self.flushed = true;
        Ok(())
    }
}

impl Task {
    fn new(stream: Box<dyn Duplex>, longest_line: usize, plain: bool, tips: watch::Sender<Option<HeaderTip>>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader,
            writer,
            state: State {
                exchange: Exchange::new(),
                lines: LineBuffer::new(longest_line),
                to_write: Outgoing::default(),
                waiting: BTreeMap::new(),
                tips,
                started: Instant::now(),
            },
            plain,
        }
    }

    /// Serves calls until the connection is of no more use and returns why. Whoever waits for an answer then
    /// learns it from the closed channel.
    async fn run(mut self, mut queue: mpsc::Receiver<Call>) -> ConnectionError {
        let mut chunk = vec![0; CHUNK];
        let mut silent = true;
        loop {
            let state = &mut self.state;
            let wake = state.wake_at();
            let sleep_end = wake.unwrap_or(state.started);
            tokio::select! {
                call = queue.recv() => match call {
                    Some(call) => state.on_call(call),
                    None => return ConnectionError::Closed,
                },
                read = self.reader.read(&mut chunk) => {
                    let read = match read {
                        Ok(0) if silent => return ConnectionError::ClosedAtOnce { plain: self.plain },
                        Ok(0) => return ConnectionError::Closed,
                        Ok(read) => chunk.get(..read).unwrap_or_default(),
                        Err(error) => return read_error(&error, silent, self.plain),
                    };
                    if silent && self.plain && is_tls_record(read) {
                        return ConnectionError::SpeaksTls;
                    }
                    silent = false;
                    if let Err(violation) = state.on_bytes(read) {
                        return violation.into();
                    }
                }
                written = state.to_write.write_to(&mut self.writer), if !state.to_write.is_done() => {
                    if let Err(error) = written {
                        return ConnectionError::Io(error.kind());
                    }
                }
                () = sleep_until(sleep_end), if wake.is_some() => {
                    if let Err(overdue) = state.on_time() {
                        return overdue.into();
                    }
                }
            }
        }
    }
}

fn read_error(error: &io::Error, silent: bool, plain: bool) -> ConnectionError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset if silent => {
            ConnectionError::ClosedAtOnce { plain }
        }
        // TLS without a last word: many servers close so.
        io::ErrorKind::UnexpectedEof => ConnectionError::Closed,
        kind => ConnectionError::Io(kind),
    }
}

/// Says whether bytes begin a TLS alert or handshake record. Source: RFC 8446, 5.1.
fn is_tls_record(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15 | 0x16, 0x03, ..])
}

impl State {
    fn now(&self) -> Moment {
        Moment::default() + self.started.elapsed()
    }

    fn wake_at(&self) -> Option<Instant> {
        let Moment(milliseconds) = self.exchange.wake_at()?;
        self.started.checked_add(Duration::from_millis(milliseconds))
    }

    fn on_time(&mut self) -> Result<(), Overdue> {
        let now = self.now();
        for effect in self.exchange.on_time(now)? {
            self.follow(effect);
        }
        Ok(())
    }

    fn on_call(&mut self, call: Call) {
        let now = self.now();
        match self.exchange.send(now, call.requests, call.timeout) {
            Ok(flight) => {
                let missing = usize::try_from(flight.ids.end - flight.ids.start).unwrap_or(usize::MAX);
                self.to_write.push(&flight.lines);
                let waiting = Waiting {
                    slots: vec![None; missing],
                    missing,
                    outcome: call.outcome,
                };
                self.waiting.insert(flight.ids.start, waiting);
            }
            Err(error) => {
                // The caller may have gone.
                let _ = call.outcome.send(Err(error.into()));
            }
        }
    }

    fn on_bytes(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let now = self.now();
        self.lines.extend(bytes)?;
        while let Some(line) = self.lines.next_line()? {
            for effect in self.exchange.on_line(now, line)? {
                self.follow(effect);
            }
        }
        Ok(())
    }

    fn follow(&mut self, effect: Effect) {
        match effect {
            Effect::Write(lines) => self.to_write.push(&lines),
            Effect::Answer { id, outcome } => {
                if let Ok(Reply::Tip(tip)) = &outcome {
                    self.tips.send_replace(Some(tip.clone()));
                }
                settle(&mut self.waiting, id, outcome);
            }
            Effect::Tip(tip) => {
                self.tips.send_replace(Some(tip));
            }
        }
    }
}

/// Puts an answer into its place; the last one of a call ends it.
fn settle(waiting: &mut BTreeMap<u64, Waiting>, id: u64, outcome: Result<Reply, AnswerError>) {
    let Some((first, call)) = waiting.range_mut(..=id).next_back() else {
        return;
    };
    let first = *first;
    let slot = usize::try_from(id - first).ok().and_then(|at| call.slots.get_mut(at));
    if let Some(slot @ None) = slot {
        *slot = Some(outcome);
        call.missing -= 1;
    }
    if call.missing == 0
        && let Some(call) = waiting.remove(&first)
    {
        // The caller may have gone.
        let _ = call.outcome.send(Ok(call.slots.into_iter().flatten().collect()));
    }
}

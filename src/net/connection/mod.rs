//! One connection to one Electrum server, and the task that serves it.
//!
//! The task owns the stream and an [`Exchange`](crate::electrum::Exchange); it does nothing of its own accord. What it sends depends on
//! the connection's [`Purpose`] and on the calls alone.

mod task;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bitcoin::BlockHash;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use self::task::{Call, Outcome, Task};
use super::address::{ServerAddr, Transport};
use super::dial_error::DialError;
use super::dialer::{Dialed, Dialer};
use super::operators::Shown;
use super::pins::{Fingerprint, Identity, Pin};
use super::tls::TlsError;
use crate::chain::Network;
use crate::electrum::exchange::{Overdue, TooManyOpen};
use crate::electrum::framing::{LOOKUP_LINE, SYNC_LINE};
use crate::electrum::{
    AnswerError, ElectrumReply, ElectrumRequest, HeaderTip, ServerError, ServerVersion, VersionRange, Violation,
};

/// Calls that may wait for the task at a time.
const QUEUE: usize = 32;

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

    /// Returns how many bytes are read at a time, and taken unasked: sync reads megabytes over few connections, and of those
    /// for lookups there are hundreds that rest.
    const fn chunk(self) -> usize {
        match self {
            Self::Lookup => 4 << 10,
            Self::Sync { .. } => 64 << 10,
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
pub struct ConnectionLimits {
    /// From the first packet to an open stream, proxy and TLS included.
    pub dial: Duration,
    /// The answers to the greeting.
    pub handshake: Duration,
}

impl Default for ConnectionLimits {
    /// A minute to dial, since Tor may have to build circuits, up to two for an onion service; half a minute for
    /// the greeting.
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
    /// The server closed after it had refused a request.
    #[error("server closed the connection: {0}")]
    ClosedAfter(ServerError),
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

impl ConnectionError {
    /// Says whether another try, over another circuit, would end the same way.
    pub const fn is_permanent(&self) -> bool {
        match self {
            Self::Dial(error) => error.is_permanent(),
            Self::Violation(_) | Self::WrongNetwork { .. } | Self::SpeaksTls => true,
            Self::Handshake(_)
            | Self::ClosedAtOnce { .. }
            | Self::Closed
            | Self::ClosedAfter(_)
            | Self::Io(_)
            | Self::Overdue(_)
            | Self::TooManyOpen(_) => false,
        }
    }
}

/// The answers to one call, in the order of its requests.
pub type Answers = Vec<Result<ElectrumReply, AnswerError>>;

/// What a server answered to the greeting.
#[derive(Clone, Debug)]
struct Greeting {
    version: ServerVersion,
    /// The hosts that it says it is reached at.
    hosts: Vec<String>,
}

/// What the greeting came to; `None` before.
type Greeted = Option<Result<Greeting, ConnectionError>>;

/// What came over a connection, for whoever wants to know how fast it is.
#[derive(Debug, Default)]
struct Meter {
    bytes: AtomicU64,
    pads: AtomicBool,
}

impl Meter {
    fn count(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn note_padding(&self) {
        self.pads.store(true, Ordering::Relaxed);
    }
}

/// A connection. Dropping it closes the stream at once.
#[derive(Debug)]
pub struct Connection {
    server: ServerAddr,
    identity: Result<Identity, TlsError>,
    key: Option<Fingerprint>,
    greeted: watch::Receiver<Greeted>,
    caller: Caller,
    tips: watch::Receiver<Option<HeaderTip>>,
    meter: Arc<Meter>,
    /// Whether the next question goes out along with the greeting.
    is_fresh: AtomicBool,
    task: JoinHandle<()>,
}

/// The way to the task of a connection.
#[derive(Clone, Debug)]
struct Caller {
    calls: mpsc::Sender<Call>,
    end: watch::Receiver<Option<ConnectionError>>,
}

impl Connection {
    /// Dials a server, greets it, and waits for its answers, as [`Self::begin`] does not.
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
        limits: ConnectionLimits,
    ) -> Result<Self, ConnectionError> {
        let connection = Self::begin(dialer, server, pin, network, purpose, limits).await?;
        connection.greeted().await?;
        connection.is_fresh.store(false, Ordering::Relaxed);
        Ok(connection)
    }

    /// Dials a server and sends the greeting: the version, `server.features` and, for sync, the subscription. What is
    /// called right away goes out in the same flight; it is answered only if the greeting is as it must be.
    ///
    /// `pin` is what the server's certificate must be; [`Self::identity`] says what to remember, or that the
    /// connection must not be used.
    ///
    /// # Errors
    ///
    /// See [`ConnectionError`].
    pub async fn begin(
        dialer: &Dialer,
        server: &ServerAddr,
        pin: Option<Pin>,
        network: Network,
        purpose: Purpose,
        limits: ConnectionLimits,
    ) -> Result<Self, ConnectionError> {
        let Dialed { stream, identity, key } = dialer.dial(server, pin, limits.dial).await?;
        let (calls, queue) = mpsc::channel(QUEUE);
        let (tip_sender, tips) = watch::channel(None);
        let (end_sender, end) = watch::channel(None);
        let (greeting, greeted) = watch::channel(None);
        let meter = Arc::new(Meter::default());
        let task = Task::new(
            stream,
            purpose.longest_line(),
            purpose.chunk(),
            server.transport == Transport::Tcp,
            tip_sender,
            Arc::clone(&meter),
        );
        let caller = Caller { calls, end };
        // Sent before anything else, as nobody has the connection yet.
        let flight = caller.send(greeting_of(purpose), limits.handshake).await;
        let task = tokio::spawn(async move {
            let greet = async {
                let answer = match flight {
                    Ok(answers) => answers.await.and_then(|answers| check_greeting(answers, network)),
                    Err(error) => Err(error),
                };
                let failed = answer.as_ref().err().cloned();
                greeting.send_replace(Some(answer));
                match failed {
                    Some(error) => error,
                    None => std::future::pending().await,
                }
            };
            let end = tokio::select! {
                end = task.run(queue) => end,
                end = greet => end,
            };
            end_sender.send_replace(Some(end));
        });
        Ok(Self {
            server: server.clone(),
            identity,
            key,
            greeted,
            caller,
            tips,
            meter,
            is_fresh: AtomicBool::new(true),
            task,
        })
    }

    /// Waits until the server has answered the greeting, and returns what it is.
    ///
    /// # Errors
    ///
    /// See [`ConnectionError`]; the connection is closed then.
    pub async fn greeted(&self) -> Result<ServerVersion, ConnectionError> {
        let mut greeted = self.greeted.clone();
        let greeting = greeted.wait_for(Option::is_some).await;
        let greeting = greeting.ok().and_then(|greeting| greeting.clone());
        match greeting {
            Some(greeting) => greeting.map(|it| it.version),
            None => Err(self.closed().await),
        }
    }

    /// Sends requests together and waits for all their answers, each due within `timeout`.
    ///
    /// A call that is dropped leaves its requests open; their answers are read and forgotten.
    ///
    /// # Errors
    ///
    /// See [`ConnectionError`]: but for [`ConnectionError::TooManyOpen`], the connection is closed. A request that
    /// alone has no usable answer is an error in its place of the answers.
    pub async fn call(&self, requests: Vec<ElectrumRequest>, timeout: Duration) -> Outcome {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self.caller.send(requests, timeout).await?.await;
        self.greeted().await?;
        answers
    }

    /// Waits until the connection is of no more use and returns why.
    pub async fn closed(&self) -> ConnectionError {
        self.ended().await
    }

    /// Waits as [`Self::closed`] does, without a hold on the connection.
    pub fn ended(&self) -> impl Future<Output = ConnectionError> + Send + use<> {
        self.caller.ended()
    }

    /// Closes the stream at once, whoever else holds the connection.
    pub fn close(&self) {
        self.task.abort();
    }

    /// Returns why the connection is of no more use; `None` while it is.
    pub fn end(&self) -> Option<ConnectionError> {
        self.caller.end.borrow().clone()
    }

    /// Returns the server's latest claimed tip, and word of every later one. Stays `None` but for
    /// [`Purpose::Sync`]. A receiver that is slow sees the last tip only.
    pub fn tips(&self) -> watch::Receiver<Option<HeaderTip>> {
        self.tips.clone()
    }

    /// Returns how many bytes the server sent so far.
    pub fn received(&self) -> u64 {
        self.meter.bytes.load(Ordering::Relaxed)
    }

    /// Says whether the server was seen to pad its replies with spaces.
    pub fn is_padded(&self) -> bool {
        self.meter.pads.load(Ordering::Relaxed)
    }

    /// Returns the server.
    pub fn server(&self) -> &ServerAddr {
        &self.server
    }

    /// Returns what proves the server's identity, and with it what to pin.
    ///
    /// # Errors
    ///
    /// What speaks against it: the connection is not to be used.
    pub fn identity(&self) -> Result<Identity, TlsError> {
        self.identity.clone()
    }

    /// Says whether the question at hand is the first one of a connection that did not wait for the greeting's answers; only
    /// once. What is sent then must not depend on how soon they come.
    pub fn is_first_question(&self) -> bool {
        self.is_fresh.swap(false, Ordering::Relaxed)
    }

    /// Returns what the server answered to the greeting; `None` before it did.
    pub fn version(&self) -> Option<ServerVersion> {
        let greeted = self.greeted.borrow();
        Some(greeted.as_ref()?.as_ref().ok()?.version.clone())
    }

    /// Returns what the server showed of who runs it; `None` before it answered the greeting.
    pub(crate) fn shown(&self) -> Option<Shown> {
        let greeted = self.greeted.borrow();
        Some(Shown::new(self.key, &greeted.as_ref()?.as_ref().ok()?.hosts))
    }
}

impl Caller {
    /// Sends requests; returns how to wait for their answers.
    async fn send(
        &self,
        requests: Vec<ElectrumRequest>,
        timeout: Duration,
    ) -> Result<impl Future<Output = Outcome> + Send + use<>, ConnectionError> {
        let (sender, outcome) = oneshot::channel();
        let call = Call {
            requests,
            timeout,
            outcome: sender,
        };
        let ended = self.ended();
        if self.calls.send(call).await.is_err() {
            return Err(ended.await);
        }
        Ok(async move {
            match outcome.await {
                Ok(outcome) => outcome,
                Err(_) => Err(ended.await),
            }
        })
    }

    fn ended(&self) -> impl Future<Output = ConnectionError> + Send + use<> {
        let mut end = self.end.clone();
        async move {
            let end = end.wait_for(Option::is_some).await;
            end.ok().and_then(|end| end.clone()).unwrap_or(ConnectionError::Closed)
        }
    }
}

fn greeting_of(purpose: Purpose) -> Vec<ElectrumRequest> {
    let version = ElectrumRequest::Version(purpose.versions());
    match purpose {
        Purpose::Lookup => vec![version, ElectrumRequest::Features],
        Purpose::Sync { .. } => vec![version, ElectrumRequest::SubscribeHeaders, ElectrumRequest::Features],
    }
}

/// Checks what a server answered to the greeting, and returns what it is.
fn check_greeting(answers: Answers, network: Network) -> Result<Greeting, ConnectionError> {
    let expected = network.params().genesis.hash();
    let (mut version, mut hosts) = (None, Vec::new());
    for answer in answers {
        match answer.map_err(ConnectionError::Handshake)? {
            ElectrumReply::Features(features) if features.genesis_hash != expected => {
                return Err(ConnectionError::WrongNetwork {
                    expected,
                    got: features.genesis_hash,
                });
            }
            ElectrumReply::Features(features) => hosts = features.hosts,
            ElectrumReply::Version(greeted) => version = Some(greeted),
            _ => {}
        }
    }
    let version = version.ok_or(ConnectionError::Closed)?;
    Ok(Greeting { version, hosts })
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

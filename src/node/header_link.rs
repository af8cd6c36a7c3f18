//! A connection of header sync: carries the machine's requests out and what its server tells back.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::chain::sync::{ClaimedTip, HeaderRequest, HeaderSyncEvent, LinkError, LinkErrorKind, RequestId};
use crate::chain::{Height, Network, PureHeader};
use crate::electrum::exchange::ServerErrorKind;
use crate::electrum::{AnswerError, ElectrumReply, ElectrumRequest, HeaderTip, Peer, ReplyError, VersionRange};
use crate::isolation::ConnId;
use crate::net::operators::Shown;
use crate::net::{
    Connection, ConnectionError, ConnectionLimits, DialError, Dialer, Identity, Pin, Proxy, Purpose, ServerAddr,
};
use crate::reputation::ServerIndex;

/// Requests that may wait for the link; the machine keeps fewer in flight.
const QUEUE: usize = 16;

/// How often the machine is told of the bytes that come.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// Seconds of silence after which a sign of life is sent: servers end sessions after ten minutes without a request.
const KEEP_ALIVE: RangeInclusive<u64> = 150..=450;

/// Seconds for which a connection stays that is not used, since the server's certificate is wrong.
const UNUSED_LIFE: RangeInclusive<u64> = 60..=600;

/// What a link tells the driver.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// The server's certificate is to be remembered.
    Pin(ServerIndex, Pin),
    /// The server runs this software, by its own account.
    Software(ServerIndex, String),
    /// What the server showed of who runs it.
    Shown(ServerIndex, Shown),
    /// What other servers it knows.
    Peers(ServerIndex, Vec<Peer>),
    /// How the check of a learned server ended.
    Checked(ServerAddr, bool),
    /// Something for the header sync machine.
    Sync(HeaderSyncEvent),
}

/// Why a link was not opened, ended, or brought no headers.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum HeaderLinkError {
    #[error(transparent)]
    Connection(ConnectionError),
    /// The server shows another certificate than the one that is pinned.
    #[error("{error} ({server} in {})", .known_servers.display())]
    Pin {
        error: ConnectionError,
        server: ServerAddr,
        known_servers: PathBuf,
    },
    #[error("server told no tip")]
    NoTip,
    #[error(transparent)]
    Answer(AnswerError),
    /// The server answered with something else.
    #[error("server gave no headers")]
    NoHeaders,
    /// A server that hangs up has often said why.
    #[error("{error}, after: {refusal}")]
    ClosedAfter { error: ConnectionError, refusal: LinkError },
}

impl HeaderLinkError {
    /// Returns why no stream to the server could be opened, where that is the reason.
    pub(super) fn dial_error(&self) -> Option<&DialError> {
        match self {
            Self::Connection(ConnectionError::Dial(error)) => Some(error),
            _ => None,
        }
    }

    /// Says what the machine is to make of it.
    fn kind(&self) -> LinkErrorKind {
        let is_permanent = match self {
            Self::Connection(error) | Self::Pin { error, .. } | Self::ClosedAfter { error, .. } => error.is_permanent(),
            Self::NoTip => true,
            Self::Answer(AnswerError::Server(error)) if error.kind() == ServerErrorKind::ExcessiveUsage => {
                return LinkErrorKind::RateLimited;
            }
            Self::Answer(_) | Self::NoHeaders => false,
        };
        if is_permanent {
            LinkErrorKind::Permanent
        } else {
            LinkErrorKind::Transient
        }
    }
}

impl From<HeaderLinkError> for LinkError {
    fn from(error: HeaderLinkError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// What it takes to open a link.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    pub(super) dialer: Arc<Dialer>,
    pub(super) network: Network,
    pub(super) index: ServerIndex,
    pub(super) server: ServerAddr,
    pub(super) pin: Option<Pin>,
    pub(super) conn: ConnId,
    pub(super) limits: ConnectionLimits,
    /// A request takes at most this long, however slow the way is: the machine gives up what brings no bytes long before.
    pub(super) timeout: Duration,
    /// The file of pins, for the message when one does not fit.
    pub(super) known_servers: PathBuf,
}

/// What a link is to ask its server.
#[derive(Clone, Debug)]
pub(super) enum LinkRequest {
    /// What header sync wants.
    Headers(RequestId, HeaderRequest),
    /// What other servers it knows.
    Peers,
}

/// Opens a link in a task of its own. It ends, and its connection with it, when the sender is dropped.
pub(super) fn open(dial: Dial, events: mpsc::Sender<LinkEvent>) -> mpsc::Sender<LinkRequest> {
    let (sender, requests) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let conn = dial.conn;
        tokio::select! {
            // Whoever waits for the events is gone, or doesn't want this link any more.
            () = events.closed() => {}
            end = run(dial, requests, &events) => {
                if let Some(error) = end {
                    let closed = HeaderSyncEvent::Closed { conn, error: error.into() };
                    let _ = events.send(LinkEvent::Sync(closed)).await;
                }
            }
        }
    });
    sender
}

/// Serves the link until it ends; returns why, unless the driver ended it or was told already.
async fn run(
    dial: Dial,
    mut requests: mpsc::Receiver<LinkRequest>,
    events: &mpsc::Sender<LinkEvent>,
) -> Option<HeaderLinkError> {
    let (conn, timeout, server) = (dial.conn, dial.timeout, dial.index);
    let (address, known_servers) = (dial.server.clone(), dial.known_servers.clone());
    let failed = |error: LinkError| LinkEvent::Sync(HeaderSyncEvent::DialFailed { server, error });
    let direct = *dial.dialer.proxy() == Proxy::Direct;
    let connection = match begin(&dial).await {
        Ok(connection) => Arc::new(connection),
        Err(error) => {
            let _ = events.send(failed(opening_error(error, direct))).await;
            return None;
        }
    };
    let pin = match connection.identity().map(Identity::pin) {
        Ok(pin) => pin,
        Err(error) => {
            if let Err(error) = connection.greeted().await {
                let _ = events.send(failed(opening_error(error, direct))).await;
                return None;
            }
            let error = HeaderLinkError::Pin {
                error: ConnectionError::Dial(error.into()),
                server: address,
                known_servers,
            };
            let _ = events.send(failed(error.into())).await;
            // To end now would tell the server that its certificate is known.
            let life = rand::rng().random_range(UNUSED_LIFE);
            sleep(Duration::from_secs(life)).await;
            return None;
        }
    };
    let opened = HeaderSyncEvent::Opened { server, conn };
    events.send(LinkEvent::Sync(opened)).await.ok()?;
    let mut calls = Calls {
        connection: Arc::clone(&connection),
        server,
        conn,
        timeout,
        running: JoinSet::new(),
    };
    loop {
        tokio::select! {
            biased;
            greeted = connection.greeted() => match greeted {
                Ok(_) => break,
                Err(error) => {
                    let closed = HeaderSyncEvent::Closed { conn, error: opening_error(error, direct) };
                    let _ = events.send(LinkEvent::Sync(closed)).await;
                    return None;
                }
            },
            request = requests.recv() => calls.begin(request?),
        }
    }
    if let Some(pin) = pin {
        events.send(LinkEvent::Pin(server, pin)).await.ok()?;
    }
    let first = connection.tips().borrow_and_update().as_ref().and_then(claimed);
    let Some(tip) = first else {
        return Some(HeaderLinkError::NoTip);
    };
    if let Some(version) = connection.version() {
        events.send(LinkEvent::Software(server, version.software)).await.ok()?;
    }
    if let Some(shown) = connection.shown() {
        events.send(LinkEvent::Shown(server, shown)).await.ok()?;
    }
    let connected = HeaderSyncEvent::Connected { server, conn, tip };
    events.send(LinkEvent::Sync(connected)).await.ok()?;
    serve(calls, requests, events).await
}

async fn begin(dial: &Dial) -> Result<Connection, ConnectionError> {
    let versions = VersionRange::ALL;
    let purpose = Purpose::Sync { versions };
    Connection::begin(&dial.dialer, &dial.server, dial.pin, dial.network, purpose, dial.limits).await
}

/// Says what the machine is to make of a connection that came to nothing.
fn opening_error(error: ConnectionError, direct: bool) -> LinkError {
    // Without a proxy there is but one way, and it was tried.
    let is_final = direct && matches!(error, ConnectionError::Dial(_));
    let error = HeaderLinkError::Connection(error);
    if is_final {
        LinkError::new(LinkErrorKind::Permanent, error)
    } else {
        error.into()
    }
}

/// What a link asks its server.
struct Calls {
    connection: Arc<Connection>,
    server: ServerIndex,
    conn: ConnId,
    timeout: Duration,
    running: JoinSet<Result<Option<LinkEvent>, ConnectionError>>,
}

impl Calls {
    fn begin(&mut self, request: LinkRequest) {
        let connection = Arc::clone(&self.connection);
        let (server, conn, timeout) = (self.server, self.conn, self.timeout);
        match request {
            LinkRequest::Headers(id, request) => {
                let answer = async move { answer(&connection, conn, id, request, timeout).await };
                self.running
                    .spawn(async move { answer.await.map(|event| Some(LinkEvent::Sync(event))) });
            }
            LinkRequest::Peers => {
                self.running.spawn(async move {
                    let answers = connection.call(vec![ElectrumRequest::Peers], timeout).await?;
                    // A list that can't be read is as good as none: it says nothing of headers.
                    Ok(answers.into_iter().find_map(|answer| match answer {
                        Ok(ElectrumReply::Peers(peers)) => Some(LinkEvent::Peers(server, peers)),
                        _ => None,
                    }))
                });
            }
        }
    }

    fn ping(&mut self) {
        let (connection, timeout) = (Arc::clone(&self.connection), self.timeout);
        self.running.spawn(async move {
            connection
                .call(vec![ElectrumRequest::Ping], timeout)
                .await
                .map(|_| None)
        });
    }
}

/// Carries requests and tips until the connection ends; returns why, unless the driver ended it.
async fn serve(
    mut calls: Calls,
    mut requests: mpsc::Receiver<LinkRequest>,
    events: &mpsc::Sender<LinkEvent>,
) -> Option<HeaderLinkError> {
    let (connection, conn) = (Arc::clone(&calls.connection), calls.conn);
    let mut tips = connection.tips();
    tips.mark_changed();
    let mut refusal = None;
    let mut told = connection.received();
    let error = loop {
        let silence = rand::rng().random_range(KEEP_ALIVE);
        tokio::select! {
            () = sleep(Duration::from_secs(silence)) => calls.ping(),
            request = requests.recv() => calls.begin(request?),
            () = sleep(TELL_EVERY), if !calls.running.is_empty() => {
                tell_received(&connection, conn, &mut told, events).await?;
            }
            Some(answered) = calls.running.join_next() => {
                tell_received(&connection, conn, &mut told, events).await?;
                match answered.ok()? {
                    Ok(Some(event)) => {
                        if let LinkEvent::Sync(HeaderSyncEvent::Refused { error, .. }) = &event {
                            refusal = Some(error.clone());
                        }
                        events.send(event).await.ok()?;
                    }
                    Ok(None) => {}
                    Err(error) => break error,
                }
            }
            changed = tips.changed() => {
                if changed.is_err() {
                    break connection.closed().await;
                }
                let tip = tips.borrow_and_update().as_ref().and_then(claimed);
                if let Some(tip) = tip {
                    let claimed = HeaderSyncEvent::TipClaimed { conn, tip };
                    events.send(LinkEvent::Sync(claimed)).await.ok()?;
                }
            }
            error = connection.closed() => break error,
        }
    };
    // A server that hangs up has often said why, and brought something before; both may still wait to be taken.
    while let Some(answered) = calls.running.join_next().await {
        match answered {
            Ok(Ok(Some(LinkEvent::Sync(HeaderSyncEvent::Refused { error, .. })))) => refusal = Some(error),
            Ok(Ok(Some(event))) => events.send(event).await.ok()?,
            _ => {}
        }
    }
    Some(match refusal {
        Some(refusal) if !matches!(error, ConnectionError::ClosedAfter(_)) => {
            HeaderLinkError::ClosedAfter { error, refusal }
        }
        _ => HeaderLinkError::Connection(error),
    })
}

/// Tells of the bytes that came since that was last told.
async fn tell_received(
    connection: &Connection,
    conn: ConnId,
    told: &mut u64,
    events: &mpsc::Sender<LinkEvent>,
) -> Option<()> {
    let bytes = connection.received().saturating_sub(*told);
    if bytes > 0 {
        *told = told.saturating_add(bytes);
        let pads = connection.is_padded();
        let received = HeaderSyncEvent::Received { conn, bytes, pads };
        events.send(LinkEvent::Sync(received)).await.ok()?;
    }
    Some(())
}

fn claimed(tip: &HeaderTip) -> Option<ClaimedTip> {
    let hash = PureHeader::decode(&tip.header)?.hash();
    Some(ClaimedTip {
        height: tip.height,
        hash,
    })
}

async fn answer(
    connection: &Connection,
    conn: ConnId,
    id: RequestId,
    request: HeaderRequest,
    timeout: Duration,
) -> Result<HeaderSyncEvent, ConnectionError> {
    let (start, count, cp_height) = match request {
        HeaderRequest::Full { start, count } => (start, count, 0),
        HeaderRequest::Truncated { .. }
            // Before the greeting is answered nobody knows, and the reply will show it.
            if connection
                .version()
                .is_some_and(|it| !it.protocol.has_truncated_headers()) =>
        {
            return Ok(HeaderSyncEvent::WronglyCut { conn, request: id });
        }
        HeaderRequest::Truncated { start, count, under } => (start, count, under),
        HeaderRequest::Scattered(heights) => return scattered(connection, conn, id, &heights, timeout).await,
    };
    let request = ElectrumRequest::Headers {
        start,
        count,
        cp_height,
    };
    let answer = connection.call(vec![request], timeout).await?.into_iter().next();
    Ok(match answer {
        Some(Ok(ElectrumReply::Headers(chunk))) => HeaderSyncEvent::Headers {
            conn,
            request: id,
            count: chunk.count,
            bytes: chunk.bytes,
        },
        Some(Err(AnswerError::ElectrumReply(ReplyError::WronglyCut { .. } | ReplyError::CountMismatch { .. })))
            if cp_height > 0 =>
        {
            HeaderSyncEvent::WronglyCut { conn, request: id }
        }
        answer => refused(conn, id, answer.and_then(Result::err)),
    })
}

/// Asks for single headers, all in one flight.
async fn scattered(
    connection: &Connection,
    conn: ConnId,
    id: RequestId,
    heights: &[Height],
    timeout: Duration,
) -> Result<HeaderSyncEvent, ConnectionError> {
    let requests = heights.iter().map(|height| ElectrumRequest::Header(*height));
    let mut headers = Vec::with_capacity(heights.len());
    for answer in connection.call(requests.collect(), timeout).await? {
        match answer {
            Ok(ElectrumReply::Header(header)) => headers.push(header),
            answer => return Ok(refused(conn, id, answer.err())),
        }
    }
    Ok(HeaderSyncEvent::Scattered {
        conn,
        request: id,
        headers,
    })
}

fn refused(conn: ConnId, request: RequestId, error: Option<AnswerError>) -> HeaderSyncEvent {
    let error = error.map_or(HeaderLinkError::NoHeaders, HeaderLinkError::Answer).into();
    HeaderSyncEvent::Refused { conn, request, error }
}

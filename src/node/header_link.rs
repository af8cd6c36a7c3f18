//! A connection of header sync: carries the sync machine's questions out and its server's words back.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::chain::sync::{Ask, AskId, ClaimedTip, Event, ServerIndex};
use crate::chain::{Height, Network, PureHeader};
use crate::electrum::exchange::ServerErrorKind;
use crate::electrum::{AnswerError, ElectrumReply, ElectrumRequest, HeaderTip, ReplyError, VersionRange};
use crate::isolation::ConnId;
use crate::net::tls::TlsError;
use crate::net::{Connection, ConnectionError, ConnectionLimits, DialError, Dialer, Pin, Proxy, Purpose, ServerAddr};

/// Questions that may wait for the link; the machine keeps fewer in flight.
const QUEUE: usize = 16;

/// Seconds of silence after which a sign of life is sent: servers end sessions after ten minutes without a request.
const KEEP_ALIVE: RangeInclusive<u64> = 150..=450;

/// What a link tells the driver.
#[derive(Debug)]
pub(super) enum Word {
    /// The server's certificate is to be remembered.
    Pin(ServerIndex, Pin),
    /// No stream can leave this machine.
    WayOut(DialError),
    /// For the sync machine.
    Event(Event),
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
    /// A request takes at most this long; the machine's own deadline is shorter.
    pub(super) timeout: Duration,
    /// The file of pins, for the message when one does not fit.
    pub(super) known_servers: PathBuf,
}

/// Opens a link in a task of its own. It ends, and its connection with it, when the sender is dropped.
pub(super) fn open(dial: Dial, words: mpsc::Sender<Word>) -> mpsc::Sender<(AskId, Ask)> {
    let (sender, asks) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let conn = dial.conn;
        tokio::select! {
            // Whoever waits for the words is gone, or doesn't want this link any more.
            () = words.closed() => {}
            end = run(dial, asks, &words) => {
                if let Some((reason, permanent)) = end {
                    let _ = words.send(Word::Event(Event::Closed { conn, reason, permanent })).await;
                }
            }
        }
    });
    sender
}

/// Serves the link until it ends; returns why, unless the driver ended it or was told already.
async fn run(dial: Dial, asks: mpsc::Receiver<(AskId, Ask)>, words: &mpsc::Sender<Word>) -> Option<(String, bool)> {
    let (conn, timeout, index) = (dial.conn, dial.timeout, dial.index);
    let failed = |reason: String, permanent: bool| {
        Word::Event(Event::DialFailed {
            server: index,
            reason,
            permanent,
        })
    };
    let connection = match open_connection(dial).await {
        Ok(connection) => connection,
        Err((error, reason, permanent)) => {
            if let ConnectionError::Dial(error) = error
                && error.is_proxys()
            {
                words.send(Word::WayOut(error)).await.ok()?;
            }
            let _ = words.send(failed(reason, permanent)).await;
            return None;
        }
    };
    if let Some(pin) = connection.identity().pin() {
        words.send(Word::Pin(index, pin)).await.ok()?;
    }
    let first = connection.tips().borrow_and_update().as_ref().and_then(claimed);
    let Some(tip) = first else {
        let _ = words.send(failed("server told no tip".to_owned(), true)).await;
        return None;
    };
    let connected = Event::Connected {
        server: index,
        conn,
        tip,
    };
    words.send(Word::Event(connected)).await.ok()?;
    serve(Arc::new(connection), conn, timeout, asks, words).await
}

async fn open_connection(dial: Dial) -> Result<Connection, (ConnectionError, String, bool)> {
    let versions = VersionRange::ALL;
    let purpose = Purpose::Sync { versions };
    let server = &dial.server;
    let opened = Connection::open(&dial.dialer, server, dial.pin, dial.network, purpose, dial.limits).await;
    opened.map_err(|error| {
        // Without a proxy there is but one way, and it was tried.
        let direct = *dial.dialer.proxy() == Proxy::Direct && matches!(error, ConnectionError::Dial(_));
        let reason = match &error {
            ConnectionError::Dial(DialError::Tls(TlsError::PinChanged { .. } | TlsError::AuthorityLost { .. })) => {
                format!("{error} ({server} in {})", dial.known_servers.display())
            }
            _ => error.to_string(),
        };
        let permanent = direct || error.is_permanent();
        (error, reason, permanent)
    })
}

/// Carries questions and tips until the connection ends; returns why, unless the driver ended it.
async fn serve(
    connection: Arc<Connection>,
    conn: ConnId,
    timeout: Duration,
    mut asks: mpsc::Receiver<(AskId, Ask)>,
    words: &mpsc::Sender<Word>,
) -> Option<(String, bool)> {
    let mut tips = connection.tips();
    tips.mark_changed();
    let mut calls = JoinSet::new();
    let mut refusal = None;
    let error = loop {
        let silence = rand::rng().random_range(KEEP_ALIVE);
        tokio::select! {
            () = sleep(Duration::from_secs(silence)) => {
                let connection = Arc::clone(&connection);
                calls.spawn(async move { connection.call(vec![ElectrumRequest::Ping], timeout).await.map(|_| None) });
            }
            ask = asks.recv() => {
                let (id, ask) = ask?;
                let connection = Arc::clone(&connection);
                calls.spawn(async move { answer(&connection, conn, id, ask, timeout).await.map(Some) });
            }
            Some(answered) = calls.join_next() => {
                match answered.ok()? {
                    Ok(Some(event)) => {
                        if let Event::Refused { reason, .. } = &event {
                            refusal = Some(reason.clone());
                        }
                        words.send(Word::Event(event)).await.ok()?;
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
                    words.send(Word::Event(Event::TipClaimed { conn, tip })).await.ok()?;
                }
            }
            error = connection.closed() => break error,
        }
    };
    // A server that hangs up has often said why; its last words may still wait to be taken.
    while let Some(answered) = calls.join_next().await {
        if let Ok(Ok(Some(Event::Refused { reason, .. }))) = answered {
            refusal = Some(reason);
        }
    }
    let reason = match refusal {
        Some(reason) => format!("{error}, after: {reason}"),
        None => error.to_string(),
    };
    Some((reason, error.is_permanent()))
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
    id: AskId,
    ask: Ask,
    timeout: Duration,
) -> Result<Event, ConnectionError> {
    let (start, count, cp_height) = match ask {
        Ask::Full { start, count } => (start, count, 0),
        Ask::Truncated { .. } if !connection.version().protocol.has_truncated_headers() => {
            return Ok(Event::WronglyCut { conn, ask: id });
        }
        Ask::Truncated { start, count, under } => (start, count, under),
        Ask::Scattered(heights) => return scattered(connection, conn, id, &heights, timeout).await,
    };
    let request = ElectrumRequest::Headers {
        start,
        count,
        cp_height,
    };
    let answer = connection.call(vec![request], timeout).await?.into_iter().next();
    Ok(match answer {
        Some(Ok(ElectrumReply::Headers(chunk))) => Event::Headers {
            conn,
            ask: id,
            count: chunk.count,
            bytes: chunk.bytes,
        },
        Some(Err(AnswerError::ElectrumReply(ReplyError::WronglyCut { .. } | ReplyError::CountMismatch { .. })))
            if cp_height > 0 =>
        {
            Event::WronglyCut { conn, ask: id }
        }
        answer => refused(conn, id, answer.and_then(Result::err)),
    })
}

/// Asks for single headers, all in one flight.
async fn scattered(
    connection: &Connection,
    conn: ConnId,
    id: AskId,
    heights: &[Height],
    timeout: Duration,
) -> Result<Event, ConnectionError> {
    let requests = heights.iter().map(|height| ElectrumRequest::Header(*height));
    let mut headers = Vec::with_capacity(heights.len());
    for answer in connection.call(requests.collect(), timeout).await? {
        match answer {
            Ok(ElectrumReply::Header(header)) => headers.push(header),
            answer => return Ok(refused(conn, id, answer.err())),
        }
    }
    Ok(Event::Scattered { conn, ask: id, headers })
}

fn refused(conn: ConnId, ask: AskId, error: Option<AnswerError>) -> Event {
    let overdrawn = matches!(
        &error,
        Some(AnswerError::Server(error)) if error.kind() == ServerErrorKind::ExcessiveUsage
    );
    let reason = error.map_or("server gave no headers".to_owned(), |error| error.to_string());
    Event::Refused {
        conn,
        ask,
        reason,
        overdrawn,
    }
}

//! One attempt of one lookup: carries its questions over the connection that it got, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::connections::{Lease, Leases};
use crate::chain::{Height, Network};
use crate::electrum::{Reply, Request};
use crate::isolation::{ConnId, IsolationKey};
use crate::name::ProofLink;
use crate::name::lookup::{Ask, Attempt, Event};
use crate::net::pool::Refusal;
use crate::net::{Connection, Dialer, Limits, Pin, Purpose, ServerAddr};

/// Questions that may wait for the link: an attempt has at most one open.
const QUEUE: usize = 2;

/// Where an attempt's connection comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// It is opened for this attempt, and closed behind it.
    Dial(Box<Dial>),
    /// It belongs to an isolation key; the flag says whether its server must be another one than those of the attempts
    /// before.
    Lease(Leases, IsolationKey, bool),
}

/// What it takes to open a connection.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    pub(super) dialer: Arc<Dialer>,
    pub(super) network: Network,
    /// Stands for the server where answers are counted.
    pub(super) index: usize,
    pub(super) server: ServerAddr,
    pub(super) pin: Option<Pin>,
    pub(super) limits: Limits,
}

/// What a link tells the driver.
#[derive(Debug)]
pub(super) enum Word {
    /// The attempt has its connection.
    Connected {
        attempt: Attempt,
        server: ServerAddr,
        index: usize,
        /// The connection's number in the pool.
        leased: Option<ConnId>,
        /// What is to be remembered of the server's certificate.
        pin: Option<Pin>,
    },
    /// For the lookup machine.
    Event(Event),
}

enum Line {
    Own(Connection),
    Leased(Lease),
}

impl Line {
    fn connection(&self) -> &Connection {
        match self {
            Self::Own(connection) => connection,
            Self::Leased(lease) => lease.connection(),
        }
    }
}

/// Opens a link in a task of its own. It ends, and its hold on the connection with it, when the sender is dropped.
pub(super) fn open(
    source: Source,
    attempt: Attempt,
    timeout: Duration,
    words: mpsc::Sender<Word>,
) -> mpsc::Sender<Ask> {
    let (sender, asks) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        tokio::select! {
            () = words.closed() => {}
            ended = run(source, attempt, timeout, asks, &words) => {
                if let Err(end) = ended {
                    let event = match end {
                        End::Failed(reason) => Event::Failed { attempt, reason },
                        End::Unreachable(reason) => Event::Unreachable { attempt, reason },
                    };
                    let _ = words.send(Word::Event(event)).await;
                }
            }
        }
    });
    sender
}

/// Why a link ended.
enum End {
    /// This attempt failed; another one may not.
    Failed(String),
    /// No server can be reached, by this attempt or another one.
    Unreachable(String),
}

async fn run(
    source: Source,
    attempt: Attempt,
    timeout: Duration,
    mut asks: mpsc::Receiver<Ask>,
    words: &mpsc::Sender<Word>,
) -> Result<(), End> {
    let (line, index, pin) = connect(source).await?;
    let connection = line.connection();
    let server = connection.server().clone();
    let failed = |error: String| End::Failed(format!("{server}: {error}"));
    let leased = match &line {
        Line::Own(_) => None,
        Line::Leased(lease) => Some(lease.conn()),
    };
    let connected = Word::Connected {
        attempt,
        server: server.clone(),
        index,
        leased,
        pin,
    };
    if words.send(connected).await.is_err() {
        return Ok(());
    }
    while let Some(ask) = asks.recv().await {
        let event = answer(connection, attempt, ask, timeout).await.map_err(failed)?;
        if words.send(Word::Event(event)).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn connect(source: Source) -> Result<(Line, usize, Option<Pin>), End> {
    match source {
        Source::Dial(dial) => {
            let Dial {
                dialer,
                network,
                index,
                server,
                pin,
                limits,
            } = *dial;
            let opened = Connection::open(&dialer, &server, pin, network, Purpose::Lookup, limits).await;
            let connection = opened.map_err(|error| End::Failed(format!("{server}: {error}")))?;
            let pin = connection.identity().pin();
            Ok((Line::Own(connection), index, pin))
        }
        Source::Lease(leases, key, apart) => {
            let lease = leases.lease(key, apart).await.map_err(|error| match error.refusal {
                Refusal::Unreachable => End::Unreachable(error.to_string()),
                _ => End::Failed(error.to_string()),
            })?;
            let index = lease.server();
            Ok((Line::Leased(lease), index, None))
        }
    }
}

async fn answer(connection: &Connection, attempt: Attempt, ask: Ask, timeout: Duration) -> Result<Event, String> {
    match ask {
        Ask::Name(scripthash) | Ask::History(scripthash) => {
            let request = if matches!(ask, Ask::Name(_)) && connection.version().protocol.has_value_proof() {
                Request::ValueProof(scripthash)
            } else {
                Request::History(scripthash)
            };
            match call(connection, vec![request], timeout).await?.into_iter().next() {
                Some(Reply::ValueProof(links)) => Ok(Event::Proof { attempt, links }),
                Some(Reply::History(entries)) => {
                    let confirmed = entries
                        .into_iter()
                        .filter_map(|entry| Some((entry.txid, entry.height?)));
                    Ok(Event::History {
                        attempt,
                        entries: confirmed.collect(),
                    })
                }
                _ => Err("server answered something else".to_owned()),
            }
        }
        Ask::Transactions(wanted) => {
            let requests = wanted.iter().flat_map(|(txid, height)| {
                [
                    Request::Transaction(*txid),
                    Request::Merkle {
                        txid: *txid,
                        height: *height,
                    },
                ]
            });
            let replies = call(connection, requests.collect(), timeout).await?;
            let heights = wanted.iter().map(|(_, height)| *height);
            let links = replies
                .chunks_exact(2)
                .zip(heights)
                .map(|(pair, height)| link(pair, height));
            Ok(Event::Transactions {
                attempt,
                links: links.collect::<Result<_, _>>()?,
            })
        }
    }
}

fn link(pair: &[Reply], height: Height) -> Result<ProofLink, String> {
    match pair {
        [Reply::Transaction(tx), Reply::Merkle(merkle)] if merkle.block_height == height => Ok(ProofLink {
            height,
            tx: tx.clone(),
            merkle: merkle.branch.clone(),
            pos: merkle.pos,
        }),
        _ => Err("server answered something else".to_owned()),
    }
}

async fn call(connection: &Connection, requests: Vec<Request>, timeout: Duration) -> Result<Vec<Reply>, String> {
    let answers = connection
        .call(requests, timeout)
        .await
        .map_err(|error| error.to_string())?;
    answers
        .into_iter()
        .map(|answer| answer.map_err(|error| error.to_string()))
        .collect()
}

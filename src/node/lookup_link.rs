//! One attempt of one lookup: carries its questions over the connection that it got, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::connections::{Lease, Leases, NoLease};
use crate::chain::{Height, Network};
use crate::electrum::{AnswerError, ElectrumReply, ElectrumRequest};
use crate::isolation::{ConnId, IsolationKey};
use crate::name::ProofLink;
use crate::name::lookup::{Attempt, FailureScope, LinkFailure, LookupEvent, LookupRequest};
use crate::net::pool::Refusal;
use crate::net::{Connection, ConnectionError, ConnectionLimits, DialError, Dialer, Pin, Purpose, ServerAddr};

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
    pub(super) limits: ConnectionLimits,
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
    Event(LookupEvent),
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
) -> mpsc::Sender<LookupRequest> {
    let (sender, requests) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        tokio::select! {
            () = words.closed() => {}
            ended = run(source, attempt, timeout, requests, &words) => {
                if let Err(error) = ended {
                    let failure = LinkFailure::new(error.scope(), error);
                    let _ = words.send(Word::Event(LookupEvent::Failed { attempt, failure })).await;
                }
            }
        }
    });
    sender
}

/// Why an attempt of a lookup got no connection, or no answer over it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupLinkError {
    /// The pool has no connection for it.
    #[error(transparent)]
    NoLease(#[from] NoLease),
    /// The connection could not be opened, or is of no more use.
    #[error("{server}: {error}")]
    Connection {
        /// Where it leads.
        server: ServerAddr,
        /// What is wrong with it.
        error: ConnectionError,
    },
    /// The server has no answer to a request.
    #[error("{server}: {error}")]
    Answer {
        /// Which server.
        server: ServerAddr,
        /// What it says instead.
        error: AnswerError,
    },
    /// The server answered a request with the answer to another one.
    #[error("{server}: server answered something else")]
    OtherAnswer {
        /// Which server.
        server: ServerAddr,
    },
}

impl LookupLinkError {
    /// Says whom it concerns: without a server to be had, no other attempt would get a connection either.
    fn scope(&self) -> FailureScope {
        match self {
            Self::NoLease(error) if error.refusal == Refusal::Unreachable => FailureScope::Everything,
            _ => FailureScope::Attempt,
        }
    }

    /// Returns why no stream to a server could be opened, where that is the reason.
    pub fn dial_error(&self) -> Option<&DialError> {
        let error = match self {
            Self::NoLease(error) => error.last.as_ref()?,
            Self::Connection { error, .. } => error,
            Self::Answer { .. } | Self::OtherAnswer { .. } => return None,
        };
        match error {
            ConnectionError::Dial(error) => Some(error),
            _ => None,
        }
    }
}

async fn run(
    source: Source,
    attempt: Attempt,
    timeout: Duration,
    mut requests: mpsc::Receiver<LookupRequest>,
    words: &mpsc::Sender<Word>,
) -> Result<(), LookupLinkError> {
    let (line, index, pin) = connect(source).await?;
    let connection = line.connection();
    let server = connection.server().clone();
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
    while let Some(request) = requests.recv().await {
        let event = answer(connection, attempt, request, timeout).await?;
        if words.send(Word::Event(event)).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn connect(source: Source) -> Result<(Line, usize, Option<Pin>), LookupLinkError> {
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
            let connection = opened.map_err(|error| LookupLinkError::Connection { server, error })?;
            let pin = connection.identity().pin();
            Ok((Line::Own(connection), index, pin))
        }
        Source::Lease(leases, key, distinct_server) => {
            let lease = leases.lease(key, distinct_server).await?;
            let index = lease.server();
            Ok((Line::Leased(lease), index, None))
        }
    }
}

async fn answer(
    connection: &Connection,
    attempt: Attempt,
    request: LookupRequest,
    timeout: Duration,
) -> Result<LookupEvent, LookupLinkError> {
    let other_answer = || LookupLinkError::OtherAnswer {
        server: connection.server().clone(),
    };
    match request {
        LookupRequest::Name(scripthash) | LookupRequest::History(scripthash) => {
            let request =
                if matches!(request, LookupRequest::Name(_)) && connection.version().protocol.has_value_proof() {
                    ElectrumRequest::ValueProof(scripthash)
                } else {
                    ElectrumRequest::History(scripthash)
                };
            match call(connection, vec![request], timeout).await?.into_iter().next() {
                Some(ElectrumReply::ValueProof(links)) => Ok(LookupEvent::Proof { attempt, links }),
                Some(ElectrumReply::History(entries)) => {
                    let confirmed = entries
                        .into_iter()
                        .filter_map(|entry| Some((entry.txid, entry.height?)));
                    Ok(LookupEvent::History {
                        attempt,
                        entries: confirmed.collect(),
                    })
                }
                _ => Err(other_answer()),
            }
        }
        LookupRequest::Transactions(wanted) => {
            let requests = wanted.iter().flat_map(|(txid, height)| {
                [
                    ElectrumRequest::Transaction(*txid),
                    ElectrumRequest::Merkle {
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
                .map(|(pair, height)| link(pair, height).ok_or_else(other_answer));
            Ok(LookupEvent::Transactions {
                attempt,
                links: links.collect::<Result<_, _>>()?,
            })
        }
    }
}

fn link(pair: &[ElectrumReply], height: Height) -> Option<ProofLink> {
    match pair {
        [ElectrumReply::Transaction(tx), ElectrumReply::Merkle(merkle)] if merkle.block_height == height => {
            Some(ProofLink {
                height,
                tx: tx.clone(),
                merkle: merkle.branch.clone(),
                pos: merkle.pos,
            })
        }
        _ => None,
    }
}

async fn call(
    connection: &Connection,
    requests: Vec<ElectrumRequest>,
    timeout: Duration,
) -> Result<Vec<ElectrumReply>, LookupLinkError> {
    let server = || connection.server().clone();
    let answers = connection.call(requests, timeout).await;
    let answers = answers.map_err(|error| LookupLinkError::Connection {
        server: server(),
        error,
    })?;
    let answers = answers.into_iter().map(|answer| {
        answer.map_err(|error| LookupLinkError::Answer {
            server: server(),
            error,
        })
    });
    answers.collect()
}

//! One attempt of one lookup: carries its questions over the connection that it got, and nothing else.

use std::time::Duration;

use tokio::sync::mpsc;

use super::connections::{Lease, LookupLeases, NoLease};
use crate::chain::Height;
use crate::electrum::exchange::ServerErrorKind;
use crate::electrum::{AnswerError, ElectrumReply, ElectrumRequest};
use crate::isolation::ConnId;
use crate::name::ProofLink;
use crate::name::lookup::{Attempt, FailureScope, LinkFailure, LookupEvent, LookupRequest};
use crate::net::pool::Refusal;
use crate::net::{Answers, Connection, ConnectionError, DialError, ServerAddr};

/// Questions that may wait for the link: an attempt has at most one open.
const QUEUE: usize = 2;

/// A question for a link.
#[derive(Debug)]
pub(super) enum LinkRequest {
    /// Of a lookup, or of a history.
    Lookup(LookupRequest),
    /// For the full header at a height, with its AuxPoW.
    Header(Height),
}

/// What a link tells the driver.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// The attempt has its connection.
    Connected {
        attempt: Attempt,
        server: ServerAddr,
        index: usize,
        /// The connection's number in the pool.
        conn: ConnId,
    },
    /// For the lookup machine.
    Lookup(LookupEvent),
    /// The full header that was asked for, as the server gave it.
    Header(Vec<u8>),
}

/// Opens a link in a task of its own. It ends, and its hold on the connection with it, when the sender is dropped.
pub(super) fn open(
    leases: &LookupLeases,
    attempt: Attempt,
    timeout: Duration,
    events: mpsc::Sender<LinkEvent>,
) -> mpsc::Sender<LinkRequest> {
    let (sender, requests) = mpsc::channel(QUEUE);
    let lent = leases.lease(attempt);
    tokio::spawn(async move {
        tokio::select! {
            () = events.closed() => {}
            ended = run(lent, attempt, timeout, requests, &events) => {
                if let Err(error) = ended {
                    let failure = LinkFailure::new(error.scope(), error);
                    let _ = events.send(LinkEvent::Lookup(LookupEvent::Failed { attempt, failure })).await;
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
    /// The connection is of no more use.
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
        match self {
            Self::NoLease(NoLease {
                last: Some(ConnectionError::Dial(error)),
                ..
            })
            | Self::Connection {
                error: ConnectionError::Dial(error),
                ..
            } => Some(error),
            _ => None,
        }
    }
}

async fn run(
    lent: impl Future<Output = Result<Lease, NoLease>>,
    attempt: Attempt,
    timeout: Duration,
    mut requests: mpsc::Receiver<LinkRequest>,
    events: &mpsc::Sender<LinkEvent>,
) -> Result<(), LookupLinkError> {
    let lease = lent.await?;
    let connection = lease.connection();
    let connected = LinkEvent::Connected {
        attempt,
        server: connection.server().clone(),
        index: lease.server(),
        conn: lease.conn(),
    };
    if events.send(connected).await.is_err() {
        return Ok(());
    }
    while let Some(request) = requests.recv().await {
        lease.note_request();
        let event = match request {
            LinkRequest::Lookup(request) => LinkEvent::Lookup(answer(connection, attempt, request, timeout).await?),
            LinkRequest::Header(height) => LinkEvent::Header(header(connection, height, timeout).await?),
        };
        if events.send(event).await.is_err() {
            break;
        }
    }
    Ok(())
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
            let (proof, history) = (
                ElectrumRequest::ValueProof(scripthash),
                ElectrumRequest::History(scripthash),
            );
            let is_name = matches!(request, LookupRequest::Name(_));
            let is_first = connection.is_first_question();
            let version = connection.version().filter(|_| !is_first);
            let can_prove = version.map(|it| it.protocol.has_value_proof());
            let requests = match can_prove {
                _ if !is_name => vec![history],
                // Nobody knows yet what the server can do; whatever it is, it answers one of both.
                None => vec![proof, history],
                Some(true) => vec![proof],
                Some(false) => vec![history],
            };
            let asked_for_proof_alone = matches!(requests[..], [ElectrumRequest::ValueProof(_)]);
            let mut answers = call(connection, requests, timeout).await?;
            // Where a block was just replaced, its index may still name what it has no more: then the history has the rest.
            if asked_for_proof_alone && answers.iter().all(|answer| answer.is_err() && !has_had_enough(answer)) {
                answers = call(connection, vec![ElectrumRequest::History(scripthash)], timeout).await?;
            }
            // A server that can't prove says so, and has the history.
            let mut usable = answers.iter().filter_map(|answer| answer.as_ref().ok());
            match usable.next() {
                Some(ElectrumReply::ValueProof(links)) => Ok(LookupEvent::Proof {
                    attempt,
                    links: links.clone(),
                }),
                Some(ElectrumReply::History(entries)) => {
                    let confirmed = entries.iter().filter_map(|entry| Some((entry.txid, entry.height?)));
                    Ok(LookupEvent::History {
                        attempt,
                        entries: confirmed.collect(),
                    })
                }
                Some(_) => Err(other_answer()),
                None => Err(no_answer(connection, answers)),
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
            let answers = call(connection, requests.collect(), timeout).await?;
            let heights = wanted.iter().map(|(_, height)| *height);
            let pairs = answers.chunks_exact(2).zip(heights);
            let links: Result<Vec<Option<ProofLink>>, NoLink> =
                pairs.map(|(pair, height)| link(pair, height)).collect();
            match links {
                Ok(links) if links.iter().any(Option::is_some) => Ok(LookupEvent::Transactions { attempt, links }),
                Ok(_) | Err(NoLink::Refused) => Err(no_answer(connection, answers)),
                Err(NoLink::OtherAnswer) => Err(other_answer()),
            }
        }
    }
}

async fn header(connection: &Connection, height: Height, timeout: Duration) -> Result<Vec<u8>, LookupLinkError> {
    let mut answers = call(connection, vec![ElectrumRequest::Header(height)], timeout).await?;
    match answers.pop() {
        Some(Ok(ElectrumReply::Header(header))) => Ok(header),
        Some(Ok(_)) => Err(LookupLinkError::OtherAnswer {
            server: connection.server().clone(),
        }),
        error => Err(no_answer(connection, error.into_iter().collect())),
    }
}

/// Says whether a server refuses for its own sake, and not for what was asked.
fn has_had_enough(answer: &Result<ElectrumReply, AnswerError>) -> bool {
    use ServerErrorKind::{Busy, ExcessiveUsage};
    matches!(answer, Err(AnswerError::Server(error)) if matches!(error.kind(), Busy | ExcessiveUsage))
}

/// Why a server shows no transaction.
enum NoLink {
    /// It can't, or will not, just now: that tells nothing of where the transaction is.
    Refused,
    /// It answered a request with the answer to another one.
    OtherAnswer,
}

/// Returns a transaction with its place; `None` where the server says that it is not in that block. Were anything else that
/// goes wrong with a name's newest operation taken for that, the one before would be shown as what is true now.
fn link(pair: &[Result<ElectrumReply, AnswerError>], height: Height) -> Result<Option<ProofLink>, NoLink> {
    match pair {
        [Ok(ElectrumReply::Transaction(tx)), Ok(ElectrumReply::Merkle(merkle))] if merkle.block_height == height => {
            Ok(Some(ProofLink {
                height,
                tx: tx.clone(),
                merkle: merkle.branch.clone(),
                pos: merkle.pos,
            }))
        }
        [_, Err(AnswerError::Server(error))] if error.kind() == ServerErrorKind::Refused => Ok(None),
        [Err(_), _] | [_, Err(_)] => Err(NoLink::Refused),
        _ => Err(NoLink::OtherAnswer),
    }
}

async fn call(
    connection: &Connection,
    requests: Vec<ElectrumRequest>,
    timeout: Duration,
) -> Result<Answers, LookupLinkError> {
    let answers = connection.call(requests, timeout).await;
    answers.map_err(|error| LookupLinkError::Connection {
        server: connection.server().clone(),
        error,
    })
}

/// Says why these answers can't be used: by the last reason, which is that of the request that every server can answer.
fn no_answer(connection: &Connection, answers: Answers) -> LookupLinkError {
    let server = connection.server().clone();
    match answers.into_iter().rev().find_map(Result::err) {
        Some(error) => LookupLinkError::Answer { server, error },
        None => LookupLinkError::OtherAnswer { server },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::electrum::exchange::ServerError;
    use crate::electrum::reply::MerkleProof;

    fn error(code: i64) -> Result<ElectrumReply, AnswerError> {
        let message = String::new();
        Err(AnswerError::Server(ServerError { code, message }))
    }

    /// Says what becomes of a transaction: there, gone, or nothing that can be told.
    fn told(tx: Result<ElectrumReply, AnswerError>, merkle: Result<ElectrumReply, AnswerError>) -> &'static str {
        match link(&[tx, merkle], 7) {
            Ok(Some(_)) => "there",
            Ok(None) => "gone",
            Err(NoLink::Refused) => "refused",
            Err(NoLink::OtherAnswer) => "another answer",
        }
    }

    #[test]
    fn only_what_a_server_says_is_not_in_its_block_is_gone() {
        const NOT_IN_BLOCK: i64 = 1;
        const UNKNOWN_TO_NODE: i64 = 2;
        const BUSY: i64 = -102;
        const INTERNAL: i64 = -32603;
        let tx = || Ok(ElectrumReply::Transaction(vec![1]));
        let merkle = |block_height| {
            Ok(ElectrumReply::Merkle(MerkleProof {
                block_height,
                branch: Vec::new(),
                pos: 0,
            }))
        };
        assert_eq!(told(tx(), merkle(7)), "there");
        assert_eq!(told(tx(), error(NOT_IN_BLOCK)), "gone");
        assert_eq!(told(error(UNKNOWN_TO_NODE), error(NOT_IN_BLOCK)), "gone");
        for code in [UNKNOWN_TO_NODE, BUSY, INTERNAL] {
            assert_eq!(told(error(code), merkle(7)), "refused", "{code}");
            assert_eq!(told(tx(), error(code)), "refused", "{code}");
        }
        assert_eq!(told(tx(), merkle(8)), "another answer");
    }
}

//! One attempt of one lookup: carries its questions over the connection that it got, and nothing else.

use std::time::Duration;

use tokio::sync::mpsc;

use super::connections::{Lease, Leases, NoLease};
use crate::chain::Height;
use crate::electrum::{Reply, Request};
use crate::isolation::{ConnId, IsolationKey};
use crate::name::ProofLink;
use crate::name::lookup::{Ask, Attempt, Event};
use crate::net::pool::Refusal;
use crate::net::{Connection, ServerAddr};

/// Questions that may wait for the link: an attempt has at most one open.
const QUEUE: usize = 2;

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
    Lookup(Event),
}

/// Opens a link in a task of its own. It ends, and its hold on the connection with it, when the sender is dropped.
pub(super) fn open(
    leases: Leases,
    key: IsolationKey,
    distinct_server: bool,
    timeout: Duration,
    events: mpsc::Sender<LinkEvent>,
) -> mpsc::Sender<Ask> {
    let (sender, asks) = mpsc::channel(QUEUE);
    let attempt = key.attempt;
    tokio::spawn(async move {
        let leased = leases.lease(key, distinct_server);
        tokio::select! {
            () = events.closed() => {}
            ended = run(leased, attempt, timeout, asks, &events) => {
                if let Err(end) = ended {
                    let event = match end {
                        End::Failed(reason) => Event::Failed { attempt, reason },
                        End::Unreachable(reason) => Event::Unreachable { attempt, reason },
                    };
                    let _ = events.send(LinkEvent::Lookup(event)).await;
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
    leased: impl Future<Output = Result<Lease, NoLease>>,
    attempt: Attempt,
    timeout: Duration,
    mut asks: mpsc::Receiver<Ask>,
    events: &mpsc::Sender<LinkEvent>,
) -> Result<(), End> {
    let lease = leased.await.map_err(|error| match error.refusal {
        Refusal::Unreachable => End::Unreachable(error.to_string()),
        _ => End::Failed(error.to_string()),
    })?;
    let connection = lease.connection();
    let server = connection.server().clone();
    let failed = |error: String| End::Failed(format!("{server}: {error}"));
    let connected = LinkEvent::Connected {
        attempt,
        server: server.clone(),
        index: lease.server(),
        conn: lease.conn(),
    };
    if events.send(connected).await.is_err() {
        return Ok(());
    }
    while let Some(ask) = asks.recv().await {
        let event = answer(connection, attempt, ask, timeout).await.map_err(failed)?;
        if events.send(LinkEvent::Lookup(event)).await.is_err() {
            break;
        }
    }
    Ok(())
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

//! The connection of one attempt of one lookup: its own circuit, used for this and nothing else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::chain::{Height, Network};
use crate::electrum::{Reply, Request};
use crate::name::ProofLink;
use crate::name::lookup::{Ask, Attempt, Event};
use crate::net::{Connection, Dialer, Limits, Pin, Purpose, ServerAddr};

/// Questions that may wait for the link: an attempt has at most one open.
const QUEUE: usize = 2;

/// What it takes to open a link.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    pub(super) dialer: Arc<Dialer>,
    pub(super) network: Network,
    pub(super) server: ServerAddr,
    pub(super) pin: Option<Pin>,
    pub(super) attempt: Attempt,
    pub(super) limits: Limits,
    pub(super) timeout: Duration,
}

/// Opens a link in a task of its own. It ends, and its connection with it, when the sender is dropped.
pub(super) fn open(dial: Dial, events: mpsc::Sender<(Event, Option<Pin>)>) -> mpsc::Sender<Ask> {
    let (sender, asks) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let attempt = dial.attempt;
        tokio::select! {
            () = events.closed() => {}
            ended = run(dial, asks, &events) => {
                if let Err(reason) = ended {
                    let _ = events.send((Event::Failed { attempt, reason }, None)).await;
                }
            }
        }
    });
    sender
}

async fn run(
    dial: Dial,
    mut asks: mpsc::Receiver<Ask>,
    events: &mpsc::Sender<(Event, Option<Pin>)>,
) -> Result<(), String> {
    let Dial {
        dialer,
        network,
        server,
        pin,
        attempt,
        limits,
        timeout,
    } = dial;
    let failed = |error: &dyn std::fmt::Display| format!("{server}: {error}");
    let opened = Connection::open(&dialer, &server, pin, network, Purpose::Lookup, limits).await;
    let connection = opened.map_err(|error| failed(&error))?;
    let mut pin = connection.identity().pin();
    while let Some(ask) = asks.recv().await {
        let event = answer(&connection, attempt, ask, timeout)
            .await
            .map_err(|error| failed(&error))?;
        if events.send((event, pin.take())).await.is_err() {
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

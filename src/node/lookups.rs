//! Carries out the effects of lookups.

use std::collections::BTreeMap;

use bitcoin::Txid;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::connections::Leases;
use super::header_sync::Lend;
use super::lookup_link::{self, Dial, Source, Word};
use super::{Node, NodeError};
use crate::chain::Height;
use crate::isolation::{BlindedId, ConnId, IsolationKey};
use crate::name::lookup::{Ask, Attempt, Effect, Event, Lookup, LookupError, LookupSettings};
use crate::name::proof::{self, ProvenEntry};
use crate::name::{NameId, Outcome, ProofError, ProofLink};
use crate::net::ServerAddr;
use crate::reputation::{Evidence, ServerIndex};

/// Transactions of a history that are asked for in one go.
const HISTORY_FLIGHT: usize = 100;

impl Node {
    /// Looks a name up, each attempt over a connection of its own.
    ///
    /// # Errors
    ///
    /// [`NodeError::Lookup`] when it comes to no outcome.
    pub async fn name_show(&mut self, name: &NameId, settings: LookupSettings) -> Result<Outcome, NodeError> {
        let way = Way::Dial(self.lookup_servers());
        look_up(self, name, settings, &way).await
    }

    /// Fetches all operations of a name, oldest first, each proved to be in a block. Tells also how many older ones
    /// were left out, since they lie below all headers that are kept. Empty when no server knows any operation.
    ///
    /// # Errors
    ///
    /// [`NodeError::History`] when no server gives it.
    pub async fn name_history(
        &mut self,
        name: &NameId,
        settings: LookupSettings,
    ) -> Result<(Vec<ProvenEntry>, usize), NodeError> {
        let way = Way::Dial(self.lookup_servers());
        history(self, name, settings, &way).await
    }

    /// Returns the servers to look up at, in the order of attempts.
    fn lookup_servers(&self) -> Vec<ServerAddr> {
        let order = self.reputation().lookup_order(&mut rand::rng());
        let servers = order.into_iter().filter_map(|index| self.servers().get(index.0));
        servers.cloned().collect()
    }

    /// Notes that a server lied in a lookup.
    fn note_lie(&mut self, server: &ServerAddr) {
        let now = self.clock().now().steady;
        let index = self.servers().iter().position(|other| other == server);
        if let Some(index) = index.map(ServerIndex) {
            self.reputation_mut()
                .record(now, index, Evidence::Lied, &mut rand::rng());
        }
    }

    /// Returns what it takes to open a connection for lookups to a server, which `index` stands for.
    pub(super) fn lookup_dial(&self, index: usize, server: &ServerAddr) -> Dial {
        Dial {
            dialer: self.dialer(),
            network: self.tree().params().network,
            index,
            server: server.clone(),
            pin: self.pin(server),
            limits: self.connection_limits(),
        }
    }
}

/// How the attempts of a lookup get their connections.
pub(super) enum Way {
    /// Each opens one, to these servers in turn.
    Dial(Vec<ServerAddr>),
    /// Each has that of its isolation key; the flag says whether each must ask another server.
    Lease(Leases, BlindedId, bool),
}

impl Way {
    fn source(&self, node: &Node, attempt: Attempt) -> Option<Source> {
        match self {
            Self::Dial(servers) => {
                let index = usize::from(attempt) % servers.len().max(1);
                servers
                    .get(index)
                    .map(|server| Source::Dial(Box::new(node.lookup_dial(index, server))))
            }
            Self::Lease(leases, id, apart) => {
                let id = *id;
                Some(Source::Lease(leases.clone(), IsolationKey { id, attempt }, *apart))
            }
        }
    }

    /// Returns how many servers there are to choose from.
    fn servers(&self, node: &Node) -> usize {
        match self {
            Self::Dial(servers) => servers.len(),
            Self::Lease(..) => node.servers().len(),
        }
    }
}

/// Looks a name up.
pub(super) async fn look_up(
    mut lend: impl Lend,
    name: &NameId,
    settings: LookupSettings,
    way: &Way,
) -> Result<Outcome, NodeError> {
    let (clock, servers, claimed) = lend.with(|node| (node.clock(), way.servers(node), node.claimed_height));
    if servers == 0 {
        return Err(NodeError::NoServer { servers: Vec::new() });
    }
    let mut lookup = Lookup::new(name.clone(), settings, claimed, servers);
    let (words, mut inbox) = mpsc::channel(usize::from(settings.attempts.max(settings.quorum)) * 4);
    let mut links: BTreeMap<Attempt, mpsc::Sender<Ask>> = BTreeMap::new();
    let mut servers: BTreeMap<Attempt, (ServerAddr, Option<ConnId>)> = BTreeMap::new();
    let mut event = Event::Start;
    loop {
        let mut wake_at = None;
        for effect in lend.with(|node| lookup.on_event(clock.now().steady, node.tree(), event)) {
            match effect {
                Effect::Ask { attempt, ask } => {
                    let Some(source) = lend.with(|node| way.source(node, attempt)) else {
                        continue;
                    };
                    let link = links
                        .entry(attempt)
                        .or_insert_with(|| lookup_link::open(source, attempt, settings.attempt_timeout, words.clone()));
                    // The queue has room for what one attempt asks; a link that is gone says so by itself.
                    let _ = link.try_send(ask);
                }
                Effect::Blame { attempt, fault } => {
                    links.remove(&attempt);
                    if let Some((server, conn)) = servers.remove(&attempt) {
                        // Heights of operations would help to guess the name.
                        tracing::warn!(%server, "a server {}", fault.summary());
                        match (way, conn) {
                            (Way::Lease(leases, ..), Some(conn)) => leases.lied(conn),
                            _ => lend.with(|node| node.note_lie(&server)),
                        }
                    }
                }
                Effect::Abandon(attempt) => drop(links.remove(&attempt)),
                Effect::WakeAt(at) => wake_at = Some(at),
                Effect::Finished(result) => return Ok(result?),
            }
        }
        let wake = wake_at.unwrap_or(clock.now().steady + settings.attempt_timeout);
        event = tokio::select! {
            Some(word) = inbox.recv() => match word {
                Word::Event(event) => event,
                Word::Connected { attempt, server, index, leased, pin } => {
                    if let Some(pin) = pin {
                        lend.with(|node| node.learn_pin(&server, pin));
                    }
                    servers.insert(attempt, (server, leased));
                    Event::Assigned { attempt, server: index }
                }
            },
            () = sleep_until(clock.instant(wake)) => Event::Tick,
        };
    }
}

/// Fetches a name's history.
pub(super) async fn history(
    mut lend: impl Lend,
    name: &NameId,
    settings: LookupSettings,
    way: &Way,
) -> Result<(Vec<ProvenEntry>, usize), NodeError> {
    let mut reasons = Vec::new();
    let mut denied = false;
    for attempt in 0..settings.attempts.max(1) {
        let Some(source) = lend.with(|node| way.source(node, attempt)) else {
            break;
        };
        let (words, mut inbox) = mpsc::channel(4);
        let link = lookup_link::open(source, attempt, settings.attempt_timeout, words);
        match history_over(&mut lend, name, &link, &mut inbox).await {
            Ok((entries, 0)) if entries.is_empty() => denied = true,
            Ok(found) => return Ok(found),
            Err(NodeError::History { reasons: why }) => reasons.extend(why),
            // No further attempt would get a connection.
            Err(error @ NodeError::Lookup(LookupError::Unreachable { .. })) if !denied && reasons.is_empty() => {
                return Err(error);
            }
            Err(error) => reasons.push(error.to_string()),
        }
    }
    if denied {
        return Ok((Vec::new(), 0));
    }
    Err(NodeError::History { reasons })
}

async fn history_over(
    lend: &mut impl Lend,
    name: &NameId,
    link: &mpsc::Sender<Ask>,
    inbox: &mut mpsc::Receiver<Word>,
) -> Result<(Vec<ProvenEntry>, usize), NodeError> {
    let failed = |reason: &str| NodeError::History {
        reasons: vec![reason.to_owned()],
    };
    let Event::History { entries, .. } = ask(lend, link, inbox, Ask::History(name.scripthash())).await? else {
        return Err(failed("server gave no history"));
    };
    let lowest = lend.with(|node| node.tree().lowest()).unwrap_or_default();
    let kept: Vec<(Txid, Height)> = entries
        .iter()
        .copied()
        .filter(|(_, height)| *height >= lowest)
        .collect();
    let mut proven = Vec::with_capacity(kept.len());
    for wanted in kept.chunks(HISTORY_FLIGHT) {
        let Event::Transactions { links, .. } = ask(lend, link, inbox, Ask::Transactions(wanted.to_vec())).await?
        else {
            return Err(failed("server gave no transactions"));
        };
        if links.len() != wanted.len() {
            return Err(failed("server gave other transactions"));
        }
        for (link, (txid, height)) in links.iter().zip(wanted) {
            let entry = lend.with(|node| prove(node, name, link, *txid));
            proven.push(entry.map_err(|error| NodeError::HistoryEntry { height: *height, error })?);
        }
    }
    Ok((proven, entries.len() - kept.len()))
}

async fn ask(
    lend: &mut impl Lend,
    link: &mpsc::Sender<Ask>,
    inbox: &mut mpsc::Receiver<Word>,
    ask: Ask,
) -> Result<Event, NodeError> {
    let failed = |reason: String| NodeError::History { reasons: vec![reason] };
    link.try_send(ask).map_err(|error| failed(error.to_string()))?;
    loop {
        match inbox.recv().await {
            Some(Word::Connected { server, pin, .. }) => {
                if let Some(pin) = pin {
                    lend.with(|node| node.learn_pin(&server, pin));
                }
            }
            Some(Word::Event(Event::Failed { reason, .. })) => return Err(failed(reason)),
            Some(Word::Event(Event::Unreachable { reason, .. })) => {
                let reasons = vec![reason];
                return Err(LookupError::Unreachable { reasons }.into());
            }
            Some(Word::Event(event)) => return Ok(event),
            None => return Err(failed("connection ended".to_owned())),
        }
    }
}

fn prove(node: &Node, name: &NameId, link: &ProofLink, txid: Txid) -> Result<ProvenEntry, ProofError> {
    let entry = proof::verify_entry(name, link, node.tree())?;
    if entry.txid() == txid {
        Ok(entry)
    } else {
        Err(ProofError::OtherName { height: link.height })
    }
}

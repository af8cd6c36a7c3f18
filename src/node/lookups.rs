//! Carries out the effects of lookups.

use std::collections::BTreeMap;

use bitcoin::Txid;
use rand::seq::SliceRandom;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::lookup_link::{self, Dial};
use super::{Node, NodeError};
use crate::chain::Height;
use crate::name::lookup::{Ask, Attempt, Effect, Event, Lookup, LookupSettings};
use crate::name::proof::{self, ProvenEntry};
use crate::name::{NameId, Outcome, ProofError, ProofLink};
use crate::net::ServerAddr;

/// Transactions of a history that are asked for in one go.
const HISTORY_FLIGHT: usize = 100;

impl Node {
    /// Looks a name up, each attempt over a connection of its own.
    ///
    /// # Errors
    ///
    /// [`NodeError::Lookup`] when it comes to no outcome.
    pub async fn name_show(&mut self, name: &NameId, settings: LookupSettings) -> Result<Outcome, NodeError> {
        let servers = self.lookup_servers();
        if servers.is_empty() {
            return Err(NodeError::NoServer { servers: Vec::new() });
        }
        let mut lookup = Lookup::new(name.clone(), settings, self.claimed_height, servers.len());
        let (events, mut inbox) = mpsc::channel(usize::from(settings.attempts.max(settings.quorum)) * 4);
        let mut links: BTreeMap<Attempt, mpsc::Sender<Ask>> = BTreeMap::new();
        let mut event = Event::Start;
        loop {
            let mut wake_at = None;
            for effect in lookup.on_event(self.clock().now().steady, self.tree(), event) {
                match effect {
                    Effect::Ask { attempt, ask } => {
                        let Some(server) = choose(&servers, attempt) else {
                            continue;
                        };
                        let link = links.entry(attempt).or_insert_with(|| {
                            lookup_link::open(self.lookup_dial(server, attempt, settings), events.clone())
                        });
                        // The queue has room for what one attempt asks; a link that is gone says so by itself.
                        let _ = link.try_send(ask);
                    }
                    Effect::Blame { attempt, fault } => {
                        links.remove(&attempt);
                        if let Some(server) = choose(&servers, attempt) {
                            // Heights of operations would help to guess the name.
                            tracing::warn!(%server, "a server {}", fault.summary());
                            self.liars.insert(server.clone());
                        }
                    }
                    Effect::Abandon(attempt) => drop(links.remove(&attempt)),
                    Effect::WakeAt(at) => wake_at = Some(at),
                    Effect::Finished(result) => return Ok(result?),
                }
            }
            let wake = wake_at.unwrap_or(self.clock().now().steady + settings.attempt_timeout);
            event = tokio::select! {
                Some((event, pin)) = inbox.recv() => {
                    if let (Some(pin), Some(server)) = (pin, event.attempt().and_then(|it| choose(&servers, it))) {
                        self.learn_pin(server, pin)?;
                    }
                    event
                }
                () = sleep_until(self.clock().instant(wake)) => Event::Tick,
            };
        }
    }

    /// Fetches all operations of a name, oldest first, each proved to be in a block. Tells also how many older ones
    /// were left out, since they lie below all headers that are kept. Empty when no server knows any operation.
    ///
    /// # Errors
    ///
    /// [`NodeError::History`] when no server gives it, [`NodeError::HistoryEntry`] when one is wrong.
    pub async fn name_history(
        &mut self,
        name: &NameId,
        settings: LookupSettings,
    ) -> Result<(Vec<ProvenEntry>, usize), NodeError> {
        let servers = self.lookup_servers();
        let mut reasons = Vec::new();
        let mut denied = false;
        for attempt in 0..settings.attempts.max(1) {
            let Some(server) = choose(&servers, attempt) else { break };
            match self
                .history_from(name, self.lookup_dial(server, attempt, settings))
                .await
            {
                Ok((entries, 0)) if entries.is_empty() => denied = true,
                Ok(found) => return Ok(found),
                Err(NodeError::History { reasons: why }) => reasons.extend(why),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        if denied {
            return Ok((Vec::new(), 0));
        }
        Err(NodeError::History { reasons })
    }

    async fn history_from(&self, name: &NameId, dial: Dial) -> Result<(Vec<ProvenEntry>, usize), NodeError> {
        let failed = |reason: String| NodeError::History { reasons: vec![reason] };
        let (events, mut inbox) = mpsc::channel(4);
        let link = lookup_link::open(dial, events);
        let mut receive = async |ask: Ask| {
            link.try_send(ask).map_err(|error| failed(error.to_string()))?;
            match inbox.recv().await {
                Some((Event::Failed { reason, .. }, _)) => Err(failed(reason)),
                Some((event, _)) => Ok(event),
                None => Err(failed("connection ended".to_owned())),
            }
        };
        let Event::History { entries, .. } = receive(Ask::History(name.scripthash())).await? else {
            return Err(failed("server gave no history".to_owned()));
        };
        let lowest = self.tree().lowest().unwrap_or_default();
        let kept: Vec<(Txid, Height)> = entries
            .iter()
            .copied()
            .filter(|(_, height)| *height >= lowest)
            .collect();
        let mut proven = Vec::with_capacity(kept.len());
        for wanted in kept.chunks(HISTORY_FLIGHT) {
            let Event::Transactions { links, .. } = receive(Ask::Transactions(wanted.to_vec())).await? else {
                return Err(failed("server gave no transactions".to_owned()));
            };
            for (link, (txid, height)) in links.iter().zip(wanted) {
                let entry = self.prove(name, link, *txid);
                proven.push(entry.map_err(|source| NodeError::HistoryEntry {
                    height: *height,
                    source,
                })?);
            }
        }
        Ok((proven, entries.len() - kept.len()))
    }

    fn prove(&self, name: &NameId, link: &ProofLink, txid: Txid) -> Result<ProvenEntry, ProofError> {
        let entry = proof::verify_entry(name, link, self.tree())?;
        if entry.txid() == txid {
            Ok(entry)
        } else {
            Err(ProofError::OtherName { height: link.height })
        }
    }

    /// Returns the servers to look up at, in the order of attempts: those that sync got on with first, liars never
    /// while there are others.
    fn lookup_servers(&self) -> Vec<ServerAddr> {
        let mut servers = self.servers().to_vec();
        servers.shuffle(&mut rand::rng());
        servers.sort_by_key(|server| !self.good.contains(server));
        let honest: Vec<ServerAddr> = servers
            .iter()
            .filter(|server| !self.liars.contains(server))
            .cloned()
            .collect();
        if honest.is_empty() { servers } else { honest }
    }

    fn lookup_dial(&self, server: &ServerAddr, attempt: Attempt, settings: LookupSettings) -> Dial {
        Dial {
            dialer: self.dialer(),
            network: self.tree().params().network,
            server: server.clone(),
            pin: self.pin(server),
            attempt,
            limits: self.connection_limits(),
            timeout: settings.attempt_timeout,
        }
    }
}

/// Returns the server of an attempt: each another one, from the first again when there are fewer.
fn choose(servers: &[ServerAddr], attempt: Attempt) -> Option<&ServerAddr> {
    servers.get(usize::from(attempt) % servers.len().max(1))
}

//! Looks names up: carries out the effects of lookups.

use std::collections::BTreeMap;
use std::time::Duration;

use bitcoin::consensus::encode::deserialize;
use bitcoin::{BlockHash, Transaction, Txid};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;

use super::connections::LookupLeases;
use super::explanation::{self, Explanation};
use super::local_names::window_low;
use super::lookup_link::{self, LinkEvent, LinkRequest};
use super::{Handle, HistoryFailure, NodeError};
use crate::chain::{HeaderTree, Height, Tip};
use crate::isolation::{BlindedId, ConnId};
use crate::name::lookup::{
    Attempt, FailureScope, HEADER_POLL, Lookup, LookupEffect, LookupError, LookupEvent, LookupRequest, LookupSettings,
};
use crate::name::policy;
use crate::name::proof::{self, ProofError, ProvenEntry};
use crate::name::{NameId, Outcome, ProofLink};
use crate::net::ServerAddr;
use crate::net::pool::PoolCaller;
use crate::reputation::ServerIndex;
use crate::time::Moment;

/// How long a proof waits for the header of a block that a server has and we don't: sync hears of new blocks at once,
/// but has them to fetch still.
const HEADER_GRACE: Duration = Duration::from_secs(10);

/// How long an operation below the anchor waits for its header. Those come newest first once all above the anchor is there;
/// whoever waits for longer than this is told so.
const HISTORY_GRACE: Duration = Duration::from_secs(120);

/// How long what was answered beside header sync waits for it. A later sync has it asked anew, since it may be outdated then.
const BESIDE_SYNC: Duration = Duration::from_secs(120);

/// Transactions of a history that are asked for in one go.
const HISTORY_FLIGHT: usize = 100;

/// Most operations of a history that are asked for, the newest ones: some two megabytes.
const MAX_HISTORY: usize = 2000;

/// What is wanted of a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NameRequest {
    /// The name.
    pub name: NameId,
    /// Whether an expired value is wanted too, flagged as such.
    pub allow_expired: bool,
    /// How many servers must answer.
    pub quorum: u8,
}

/// An outcome, and the tip that its ages were counted from.
#[derive(Clone, Debug)]
pub struct Proved {
    /// What was found out.
    pub outcome: Outcome,
    /// Our tip at that time.
    pub tip: Tip,
    /// How many headers were taken on the strength of a sample.
    pub unproved: usize,
    /// The block of the newest operation; `None` where nothing was proved.
    pub block: Option<BlockHash>,
    /// The lowest of the blocks by which it is so, where it was found in all that living names can be in, and nobody was asked.
    pub read_from: Option<Height>,
}

impl Proved {
    fn new(outcome: Outcome, tree: &HeaderTree) -> Self {
        let height = outcome.proven().map(|status| status.name.height());
        Self {
            outcome,
            tip: tree.tip(),
            unproved: tree.unproved(),
            block: height.and_then(|height| tree.hash_at(height)),
            read_from: None,
        }
    }

    /// Makes one of what was found in all blocks up to a tip that living names can be in.
    pub(super) fn local(outcome: Outcome, tip: Tip, tree: &HeaderTree) -> Self {
        Self {
            tip,
            read_from: Some(window_low(tip.height, tree.params())),
            ..Self::new(outcome, tree)
        }
    }
}

impl Handle {
    /// Looks a name up under an identity, over connections that are its own.
    ///
    /// # Errors
    ///
    /// [`NodeError::Syncing`] or [`NodeError::NotSynchronized`] while headers are not up to date, or where it waits for them
    /// ([`NodeSettings::asks_beside_sync`](super::NodeSettings::asks_beside_sync)) what [`Self::synced`] fails with, else
    /// [`NodeError::Lookup`] when it comes to no outcome.
    pub async fn name_show(
        &self,
        id: BlindedId,
        caller: PoolCaller,
        wanted: &NameRequest,
    ) -> Result<Proved, NodeError> {
        let is_early = match self.check_ready() {
            Err(NodeError::Syncing { .. }) if self.settings().asks_beside_sync => true,
            ready => ready.map(|_| false)?,
        };
        if !is_early && let Some(found) = self.find_locally(wanted).await? {
            return Ok(found);
        }
        self.check_may_ask()?;
        let settings = self.lookup_settings(wanted);
        let leases = self.leases().begin(id, caller, wanted.quorum > 1);
        let early = if is_early {
            self.ask_beside_sync(&leases, &wanted.name, settings).await?
        } else {
            None
        };
        let outcome = match early {
            Some(outcome) => outcome,
            None => look_up(self, &leases, &wanted.name, settings, None).await?,
        };
        Ok(Proved::new(outcome, self.state().node.tree()))
    }

    /// Looks a name up as [`Self::name_show`] does, and tells what the answer stands on. Beyond what a lookup asks, the server
    /// whose proof counts is asked for the full header of the block that it named, since headers are kept without AuxPoW.
    ///
    /// # Errors
    ///
    /// As [`Self::name_show`]; but that no server gave an answer that holds is an explanation too.
    pub async fn explain(
        &self,
        id: BlindedId,
        caller: PoolCaller,
        wanted: &NameRequest,
    ) -> Result<Explanation, NodeError> {
        self.check_ready()?;
        self.check_may_ask()?;
        let settings = self.lookup_settings(wanted);
        let leases = self.leases().begin(id, caller, wanted.quorum > 1);
        let mut ended = run(self, &leases, &wanted.name, settings, None).await?;
        let outcome = match &ended.result {
            Ok(outcome) => Ok(outcome),
            Err(error @ (LookupError::NoAnswer { .. } | LookupError::NoQuorum { .. })) => Err(error.to_string()),
            Err(error) => return Err(error.clone().into()),
        };
        let servers = ended.lookup.accounts().map(|(attempt, account)| {
            let server = ended.servers.get(&attempt).map(ToString::to_string);
            explanation::account(server, account)
        });
        let evidence = ended.lookup.evidence();
        let mut explanation = self.with(|node| {
            let tree = node.tree();
            let traced = evidence
                .as_ref()
                .map(|(_, proof)| proof::trace(&wanted.name, proof, tree, &settings.limits));
            let steps = traced.and_then(Result::ok).map(|(_, steps)| steps).unwrap_or_default();
            let servers = servers.collect();
            Explanation::new(&wanted.name, outcome, &steps, servers, tree)
        });
        if let (Some((attempt, _)), Some(height)) = (evidence, explanation.newest_height()) {
            let link = ended.links.get(&attempt);
            let header = full_header(link, &mut ended.inbox, attempt, height).await;
            explanation.show_work(header.map_err(|error| error.to_string()), self.params());
        }
        Ok(explanation)
    }

    fn lookup_settings(&self, wanted: &NameRequest) -> LookupSettings {
        let mut settings = self.settings().lookup;
        settings.policy.allow_expired = wanted.allow_expired;
        settings.quorum = wanted.quorum;
        settings.header_grace = HEADER_GRACE;
        settings.history_grace = HISTORY_GRACE;
        settings
    }

    /// Asks for a name while headers are fetched, and has the answers judged when these are there: it depends on no headers
    /// what is asked. `None`, once they are, where nothing came of it or they were waited for too long.
    async fn ask_beside_sync(
        &self,
        leases: &LookupLeases,
        name: &NameId,
        settings: LookupSettings,
    ) -> Result<Option<Outcome>, NodeError> {
        let (ready, is_ready) = oneshot::channel();
        let synced = async {
            let synced = self.synced(|_| ()).await;
            let _ = ready.send(());
            synced
        };
        let clock = self.clock();
        let too_late = async {
            sleep_until(clock.instant(clock.now().steady + BESIDE_SYNC)).await;
            if self.check_ready().is_ok() {
                std::future::pending::<()>().await;
            }
        };
        let asked = async {
            tokio::select! {
                found = look_up(self, leases, name, settings, Some(is_ready)) => match found {
                    // It may be otherwise by then.
                    Err(_) if self.check_ready().is_err() => Ok(None),
                    found => found.map(Some),
                },
                () = too_late => Ok(None),
            }
        };
        let (_, found) = tokio::try_join!(synced, asked)?;
        Ok(found)
    }

    /// Says how a result stands with our newest block, and asks nobody. `None` when what it proves is no longer part of our
    /// chain.
    pub fn rejudge(&self, proved: &Proved, wanted: &NameRequest) -> Option<Proved> {
        let mut policy = self.settings().lookup.policy;
        policy.allow_expired = wanted.allow_expired;
        let state = self.state();
        let tree = state.node.tree();
        // It is so by all blocks up to that tip: another one may have an update.
        if proved.read_from.is_some() && tree.tip().hash != proved.tip.hash {
            return None;
        }
        let outcome = match proved.outcome.proven() {
            None => proved.outcome.clone(),
            Some(status) => {
                // All older operations lie below it.
                if tree.hash_at(status.name.height()) != proved.block {
                    return None;
                }
                policy::judge(status.name.clone(), tree.tip().height, tree.params(), &policy)
            }
        };
        Some(Proved {
            read_from: proved.read_from,
            ..Proved::new(outcome, tree)
        })
    }

    /// Returns all operations of a name that can be proved, oldest first, our tip, and how many older operations were left
    /// out, since they lie below all headers that are kept. Without any operation no server knows one.
    ///
    /// # Errors
    ///
    /// As [`Self::name_show`], with [`NodeError::History`] when no server gives a usable history.
    pub async fn name_history(
        &self,
        id: BlindedId,
        caller: PoolCaller,
        name: &NameId,
    ) -> Result<(Vec<ProvenEntry>, Tip, usize), NodeError> {
        self.check_ready()?;
        self.check_may_ask()?;
        let leases = self.leases().begin(id, caller, false);
        let (entries, left_out) = history(self, &leases, name, self.settings().lookup).await?;
        Ok((entries, self.state().node.tree().tip(), left_out))
    }
}

/// Looks a name up; where headers are not up to date, that is told when they are.
async fn look_up(
    node: &Handle,
    leases: &LookupLeases,
    name: &NameId,
    settings: LookupSettings,
    ready: Option<oneshot::Receiver<()>>,
) -> Result<Outcome, NodeError> {
    Ok(run(node, leases, name, settings, ready).await?.result?)
}

/// A lookup that is over.
struct EndedLookup {
    lookup: Lookup,
    result: Result<Outcome, LookupError>,
    /// The links of attempts that were not given up, which hold their connections.
    links: BTreeMap<Attempt, mpsc::Sender<LinkRequest>>,
    inbox: mpsc::Receiver<LinkEvent>,
    /// Whom each attempt asked that got a connection.
    servers: BTreeMap<Attempt, ServerAddr>,
}

/// Runs a lookup to its end.
async fn run(
    node: &Handle,
    leases: &LookupLeases,
    name: &NameId,
    settings: LookupSettings,
    mut ready: Option<oneshot::Receiver<()>>,
) -> Result<EndedLookup, NodeError> {
    let (clock, operators) = node.with(|node| (node.clock(), node.reputation().operators()));
    if operators == 0 {
        return Err(NodeError::NoServer {
            servers: Vec::new(),
            tor: None,
        });
    }
    let mut lookup = Lookup::new(name.clone(), settings, operators);
    if ready.is_some() {
        lookup = lookup.beside_sync();
    }
    let (events, mut inbox) = mpsc::channel(usize::from(settings.attempts.max(settings.quorum)) * 4);
    let mut links: BTreeMap<Attempt, mpsc::Sender<LinkRequest>> = BTreeMap::new();
    let mut servers: BTreeMap<Attempt, ServerAddr> = BTreeMap::new();
    let mut connections: BTreeMap<Attempt, ConnId> = BTreeMap::new();
    let mut event = LookupEvent::Start;
    loop {
        let mut wake_at = None;
        for effect in node.with(|node| lookup.on_event(clock.now().steady, node.tree(), event)) {
            match effect {
                LookupEffect::Ask { attempt, request } => {
                    let link = links.entry(attempt).or_insert_with(|| {
                        lookup_link::open(leases, attempt, settings.attempt_timeout, events.clone())
                    });
                    // The queue has room for what one attempt asks; a link that is gone says so by itself.
                    let _ = link.try_send(LinkRequest::Lookup(request));
                }
                LookupEffect::Report { attempt, fault } => {
                    links.remove(&attempt);
                    if let (Some(server), Some(conn)) = (servers.get(&attempt), connections.remove(&attempt)) {
                        // Heights of operations would help to guess the name.
                        tracing::warn!(%server, "a server {}", fault.summary());
                        leases.lied(conn);
                    }
                }
                LookupEffect::Abandon(attempt) => drop(links.remove(&attempt)),
                LookupEffect::Distrust(attempt) => {
                    links.remove(&attempt);
                    if let Some(conn) = connections.remove(&attempt) {
                        leases.distrust(conn);
                    }
                }
                LookupEffect::WakeAt(at) => wake_at = Some(at),
                LookupEffect::Finished(result) => {
                    return Ok(EndedLookup {
                        lookup,
                        result,
                        links,
                        inbox,
                        servers,
                    });
                }
            }
        }
        let wake = wake_at.unwrap_or(clock.now().steady + settings.attempt_timeout);
        event = tokio::select! {
            Some(event) = inbox.recv() => match event {
                LinkEvent::Lookup(event) => event,
                // No lookup asks for it.
                LinkEvent::Header(_) => LookupEvent::Tick,
                LinkEvent::Connected { attempt, server, index, conn } => {
                    servers.insert(attempt, server);
                    connections.insert(attempt, conn);
                    let operator = node.with(|node| node.reputation().operator(ServerIndex(index)));
                    LookupEvent::Assigned { attempt, server: operator.unwrap_or(index) }
                }
            },
            Some(()) = told(&mut ready) => {
                ready = None;
                LookupEvent::HeadersReady
            }
            () = sleep_until(clock.instant(wake)) => LookupEvent::Tick,
        };
    }
}

/// Waits until headers are ready, where that is still to be told; `None` where it never will be.
async fn told(ready: &mut Option<oneshot::Receiver<()>>) -> Option<()> {
    match ready {
        Some(ready) => ready.await.ok(),
        None => None,
    }
}

/// Fetches a name's history.
async fn history(
    node: &Handle,
    leases: &LookupLeases,
    name: &NameId,
    settings: LookupSettings,
) -> Result<(Vec<ProvenEntry>, usize), NodeError> {
    let mut reasons = Vec::new();
    let mut denied = false;
    for attempt in 0..settings.attempts.max(1) {
        let (events, mut inbox) = mpsc::channel(4);
        let link = lookup_link::open(leases, attempt, settings.attempt_timeout, events);
        match history_over(node, name, &link, &mut inbox).await {
            Ok((entries, 0)) if entries.is_empty() => denied = true,
            Ok(found) => return Ok(found),
            // No further attempt would get a connection.
            Err(HistoryFailure::Link(failure))
                if failure.scope() == FailureScope::Everything && !denied && reasons.is_empty() =>
            {
                let reasons = vec![failure.into()];
                return Err(LookupError::Unreachable { reasons }.into());
            }
            Err(failure) => reasons.push(failure),
        }
    }
    if denied {
        return Ok((Vec::new(), 0));
    }
    Err(NodeError::History { reasons })
}

async fn history_over(
    node: &Handle,
    name: &NameId,
    link: &mpsc::Sender<LinkRequest>,
    inbox: &mut mpsc::Receiver<LinkEvent>,
) -> Result<(Vec<ProvenEntry>, usize), HistoryFailure> {
    let request = LookupRequest::History(name.scripthash());
    let LookupEvent::History { entries, .. } = ask(link, inbox, request).await? else {
        return Err(HistoryFailure::NoHistory);
    };
    // All of them, though what lies below all our headers can't be proved: how much is asked for would tell the server which
    // headers we have, and so which program it is.
    let wanted = entries
        .get(entries.len().saturating_sub(MAX_HISTORY)..)
        .unwrap_or_default();
    let mut proven = Vec::with_capacity(wanted.len());
    let mut orphaned = 0;
    let until = node.with(|node| node.clock()).now().steady + HEADER_GRACE;
    for wanted in wanted.chunks(HISTORY_FLIGHT) {
        let request = LookupRequest::Transactions(wanted.to_vec());
        let LookupEvent::Transactions { links, .. } = ask(link, inbox, request).await? else {
            return Err(HistoryFailure::NoTransactions);
        };
        if links.len() != wanted.len() {
            return Err(HistoryFailure::OtherTransactions);
        }
        let low = node.with(|node| node.tree().history_low());
        for (link, (txid, height)) in links.iter().zip(wanted) {
            if *height < low {
                continue;
            }
            await_history(node, *height).await;
            // What the server's index keeps of orphaned blocks is nobody's operation.
            let Some(link) = link else {
                orphaned += 1;
                continue;
            };
            if !is_of(link, *txid) {
                return Err(HistoryFailure::OtherTransactions);
            }
            match entry_in_time(node, name, link, until).await {
                Ok(entry) => proven.push(entry),
                Err(error) if error.is_of_something_else() => orphaned += 1,
                Err(error) => return Err(HistoryFailure::Entry { height: *height, error }),
            }
        }
    }
    let left_out = entries.len() - proven.len() - orphaned;
    // Where blocks were replaced a server's list may be out of order, and have what came back to its place twice.
    proven.sort_by_key(|entry| (entry.height(), entry.pos()));
    proven.dedup();
    Ok((proven, left_out))
}

/// Waits until a header below the anchor is there, if it is still to come; not for ever.
async fn await_history(node: &Handle, height: Height) {
    let clock = node.clock();
    let until = clock.now().steady + HISTORY_GRACE;
    while clock.now().steady < until && node.with(|node| node.tree().awaits(height)) {
        sleep_until(clock.instant(clock.now().steady + HEADER_POLL)).await;
    }
}

/// Verifies an operation; one that does not fit to our headers as soon as they may have changed, until it is too late.
async fn entry_in_time(
    node: &Handle,
    name: &NameId,
    link: &ProofLink,
    until: Moment,
) -> Result<ProvenEntry, ProofError> {
    let clock = node.with(|node| node.clock());
    loop {
        let (entry, tip) = node.with(|node| (proof::verify_entry(name, link, node.tree()), node.tree().tip().height));
        let now = clock.now().steady;
        match entry {
            Err(error) if now < until && error.may_fit_later(tip) => {
                sleep_until(clock.instant(now + HEADER_POLL)).await;
            }
            entry => return entry,
        }
    }
}

async fn ask(
    link: &mpsc::Sender<LinkRequest>,
    inbox: &mut mpsc::Receiver<LinkEvent>,
    request: LookupRequest,
) -> Result<LookupEvent, HistoryFailure> {
    let request = LinkRequest::Lookup(request);
    link.try_send(request).map_err(|_| HistoryFailure::Ended)?;
    loop {
        match inbox.recv().await {
            Some(LinkEvent::Connected { .. } | LinkEvent::Header(_)) => {}
            Some(LinkEvent::Lookup(LookupEvent::Failed { failure, .. })) => return Err(failure.into()),
            Some(LinkEvent::Lookup(event)) => return Ok(event),
            None => return Err(HistoryFailure::Ended),
        }
    }
}

/// Asks whoever proved a name for the full header of its block, by the same connection.
async fn full_header(
    link: Option<&mpsc::Sender<LinkRequest>>,
    inbox: &mut mpsc::Receiver<LinkEvent>,
    attempt: Attempt,
    height: Height,
) -> Result<Vec<u8>, HistoryFailure> {
    let link = link.ok_or(HistoryFailure::Ended)?;
    link.try_send(LinkRequest::Header(height))
        .map_err(|_| HistoryFailure::Ended)?;
    loop {
        match inbox.recv().await {
            Some(LinkEvent::Header(header)) => return Ok(header),
            Some(LinkEvent::Lookup(LookupEvent::Failed { attempt: of, failure })) if of == attempt => {
                return Err(failure.into());
            }
            // What other attempts still had to say.
            Some(LinkEvent::Connected { .. } | LinkEvent::Lookup(_)) => {}
            None => return Err(HistoryFailure::Ended),
        }
    }
}

fn is_of(link: &ProofLink, txid: Txid) -> bool {
    deserialize::<Transaction>(&link.tx).is_ok_and(|tx| tx.compute_txid() == txid)
}

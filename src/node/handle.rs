//! What the fronts may ask of a running node.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bitcoin::BlockHash;
use bitcoin::pow::Work;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::clock::Clock;
use super::connections::{Dial, Leases, Owner};
use super::header_sync::{SyncStage, write_all};
use super::local_names::LocalNames;
use super::report::{ServerResult, ServerStanding, SyncReport, digest};
use super::{Node, NodeError};
use crate::chain::freshness::NotFresh;
use crate::chain::sync::{HeaderSyncLimits, Progress};
use crate::chain::{Anchor, HeaderTree, Height, Params, PureHeader, Tip};
use crate::isolation::BlindedId;
use crate::name::lookup::LookupSettings;
use crate::net::discovery::DiscoveryEvent;
use crate::net::pool::{self, PoolCounts};
use crate::net::{Pin, Proxy, ServerAddr, TorStanding};
use crate::reputation::ServerReputation;
use crate::time::Moment;

/// How a running node stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The trust anchor.
    pub anchor: Anchor,
    /// Our tip.
    pub tip: Tip,
    /// Whether the headers are up to date, so that names can be looked up.
    pub synchronized: bool,
    /// How far header sync is.
    pub progress: Progress,
    /// How it goes with each server in header sync.
    pub servers: Vec<ServerResult>,
    /// How many headers were taken on the strength of a sample, and not proved yet themselves.
    pub unproved: usize,
    /// Connections of the lookups' pool, for this process alone.
    pub pool: PoolCounts,
    /// The same as callers are told: some seconds old, and rounded up.
    pub pool_told: PoolCounts,
    /// Why what is learnt is kept in memory alone, where the disk does not take it.
    pub unwritten: Option<NodeError>,
    /// Since the start.
    pub uptime: Duration,
    /// Why the headers are not taken for the newest ones, if so.
    pub not_fresh: Option<NotFresh>,
    /// What is known of the Tor that is the proxy, while no connection comes through it.
    pub tor: Option<TorStanding>,
    /// Why header sync does not get on, if so: it can use none of the servers, or reaches none. None is left for good, but
    /// while this lasts no new block is heard of.
    pub trouble: Option<String>,
    /// The way out.
    pub proxy: Proxy,
}

impl Standing {
    /// Returns what header sync waits for, for people: why it does not get on, or a Tor that is on its way.
    pub fn waits_for(&self) -> Option<String> {
        waits_for(self.trouble.as_ref(), self.tor.as_ref())
    }

    /// Returns what its owner should know, for people.
    pub fn warnings(&self) -> Vec<String> {
        let useless = self.trouble.clone().into_iter();
        let stale = self.not_fresh.iter().map(ToString::to_string);
        let unwritten = self.unwritten.iter();
        let unwritten = unwritten.map(|error| format!("nothing is written to the disk: {error}"));
        useless.chain(stale).chain(unwritten).collect()
    }
}

/// Joins both, for people: the trouble, or else a Tor that is on its way.
pub(super) fn waits_for(trouble: Option<&String>, tor: Option<&TorStanding>) -> Option<String> {
    let on_its_way = tor.filter(|tor| tor.explains_all()).map(ToString::to_string);
    trouble.cloned().or(on_its_way)
}

/// How a node goes about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeSettings {
    /// Header sync.
    pub sync: HeaderSyncLimits,
    /// Connections of lookups.
    pub pool: pool::PoolSettings,
    /// Lookups.
    pub lookup: LookupSettings,
    /// Whether a question that comes before the headers are up to date is asked at once and waits for them. Otherwise it is
    /// refused.
    pub asks_beside_sync: bool,
}

/// What the node's tasks share. Locked for moments only, never while a task waits.
pub(super) struct State {
    pub(super) node: Node,
    /// What peers did to the headers, until header sync takes it up.
    pub(super) peer_news: PeerNews,
    pub(super) synchronized: bool,
    pub(super) progress: Progress,
    /// Since when header sync has no connection at all.
    pub(super) alone_since: Option<Moment>,
    pub(super) servers: Vec<ServerResult>,
    /// Why none of them was of use when all had been tried, until one is.
    pub(super) no_server: Option<String>,
    /// What is known of the Tor that is the proxy, while no connection comes through it.
    pub(super) tor: Option<TorStanding>,
    pub(super) counts: PoolCounts,
    /// What callers are told of them, and since when.
    told: PoolCounts,
    told_at: Moment,
}

/// What peers did to the headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PeerNews {
    /// The lowest height at which the best chain is another one since.
    pub(super) brought_from: Option<Height>,
    /// How many of them have our tip and no more, where that is another number now.
    pub(super) agreeing: Option<usize>,
}

/// Who has had no connection for so long is not just about to get one.
const LONG_ALONE: Duration = Duration::from_secs(5);

/// Why header sync does not get on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SyncTrouble {
    /// Each server was tried, and none was of use.
    NoServer(String),
    /// There is no connection to any.
    NoConnection(String),
}

impl SyncTrouble {
    /// Returns the reason, which may be the same for either.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::NoServer(reason) | Self::NoConnection(reason) => reason,
        }
    }
}

impl fmt::Display for SyncTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServer(reason) => write!(f, "no server gives headers: {reason}"),
            Self::NoConnection(reason) => write!(f, "no connection to a server: {reason}"),
        }
    }
}

impl State {
    /// Returns what is known of the Tor that is the way out: by its own word where it is within this process.
    fn tor_standing(&self) -> Option<TorStanding> {
        let own = self.node.dialer().proxy().tor_standing();
        own.filter(|_| self.alone_since.is_some()).or_else(|| self.tor.clone())
    }

    /// Says why header sync does not get on, where it does not.
    pub(super) fn trouble(&self, now: Moment) -> Option<SyncTrouble> {
        let known = self.tor_standing();
        let tor = known.as_ref().filter(|tor| tor.explains_all());
        if let Some(why) = &self.no_server {
            let beside = known.as_ref().filter(|tor| tor.adds_to_others());
            let why = match (tor, beside) {
                (Some(tor), _) => tor.to_string(),
                (None, Some(tor)) => format!("{why}; {tor}"),
                (None, None) => why.clone(),
            };
            return Some(SyncTrouble::NoServer(why));
        }
        // Later it may rest.
        let alone_since = self.alone_since.filter(|_| !self.synchronized)?;
        let is_long = now.since(alone_since) >= LONG_ALONE;
        // That of this process takes its time at each start, which is no trouble.
        if let Some(tor) = tor.filter(|_| is_long || self.tor.is_some()) {
            return Some(SyncTrouble::NoConnection(tor.to_string()));
        }
        if !is_long {
            return None;
        }
        let failed = |server: &&ServerResult| matches!(server.state, ServerStanding::Closed | ServerStanding::Faulty);
        let failed: Vec<ServerResult> = self.servers.iter().filter(failed).cloned().collect();
        let why = match (&known, self.node.dialer().proxy()) {
            _ if !failed.is_empty() => reasons(&failed),
            (Some(tor), _) => tor.to_string(),
            (None, Proxy::Direct) => "none answers yet".to_owned(),
            (None, proxy) => format!(
                "the proxy at {proxy} builds no circuit yet; if it is Tor, its log says how far it is (Bootstrapped)"
            ),
        };
        Some(SyncTrouble::NoConnection(why))
    }
}

/// Says how it went with each of these servers.
pub(super) fn reasons(servers: &[ServerResult]) -> String {
    let digest = digest(servers);
    let reasons: Vec<String> = digest.iter().map(|(who, result)| format!("{who}: {result}")).collect();
    reasons.join("; ")
}

pub(super) struct Shared {
    state: Mutex<State>,
    leases: Leases,
    names: Option<LocalNames>,
    folder: PathBuf,
    /// Told when peers did something to the headers.
    peers_told: Notify,
    clock: Clock,
    params: &'static Params,
    settings: NodeSettings,
    sync: watch::Sender<(SyncStage, Progress)>,
    stop: watch::Sender<bool>,
    /// Told when header sync is to begin anew.
    anew: Notify,
    /// What the process is confined to.
    sandbox: OnceLock<String>,
    forgotten: Box<dyn Fn(BlindedId) + Send + Sync>,
}

/// A way to a running node; clones lead to the same one.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Shared>);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle(..)")
    }
}

/// How long callers are told the same of the pool: who watches it can't see by it when somebody else looks something up.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// How often who waits for the headers is told of their progress, also where there is none.
const TELL_EVERY: Duration = Duration::from_secs(1);

impl Handle {
    /// Makes the way to a node. `forgotten` is told of identities that were not used for long.
    pub(super) fn new(
        mut node: Node,
        settings: &NodeSettings,
        leases: Leases,
        forgotten: impl Fn(BlindedId) + Send + Sync + 'static,
    ) -> Self {
        let (clock, params) = (node.clock(), node.tree().params());
        let (names, folder) = (node.take_names(), node.folder().to_owned());
        let state = State {
            peer_news: PeerNews::default(),
            synchronized: false,
            progress: Progress::default(),
            alone_since: Some(Moment::default()),
            servers: Vec::new(),
            no_server: None,
            tor: None,
            counts: PoolCounts::default(),
            told: PoolCounts::default(),
            told_at: Moment::default(),
            node,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            leases,
            names,
            folder,
            peers_told: Notify::new(),
            clock,
            params,
            settings: *settings,
            sync: watch::Sender::new((SyncStage::Running, Progress::default())),
            stop: watch::Sender::new(false),
            anew: Notify::new(),
            sandbox: OnceLock::new(),
            forgotten: Box::new(forgotten),
        }))
    }

    /// A task that panicked cannot have left the state half-changed: nothing in it panics between two changes.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how it goes about it.
    pub fn settings(&self) -> &NodeSettings {
        &self.0.settings
    }

    /// Lends the node for as long as a closure runs.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Node) -> T) -> T {
        work(&mut self.state().node)
    }

    /// Takes down where header sync stands.
    pub(super) fn note_stage(&self, stage: SyncStage, progress: Progress) {
        self.0.sync.send_replace((stage, progress));
    }

    /// Returns where header sync stands.
    pub(super) fn sync_stage(&self) -> (SyncStage, Progress) {
        *self.0.sync.borrow()
    }

    /// Notes what this process is confined to, for `status`. The first word holds.
    pub fn note_sandbox(&self, sandbox: String) {
        let _ = self.0.sandbox.set(sandbox);
    }

    /// Returns what was noted of that.
    pub(super) fn sandbox(&self) -> Option<String> {
        self.0.sandbox.get().cloned()
    }

    /// Has header sync end its connections and begin anew, with what it has.
    pub(super) fn begin_sync_anew(&self) {
        self.0.anew.notify_one();
    }

    /// Waits until header sync is to begin anew.
    pub(super) async fn sync_anew(&self) {
        self.0.anew.notified().await;
    }

    /// Waits until the headers are up to date, and tells its progress meanwhile, each second at least.
    ///
    /// # Errors
    ///
    /// [`NodeError::NoServer`] when no server could be used, though the node goes on trying;
    /// [`NodeError::NotSynchronized`] when what the servers have is too old.
    pub async fn synced(&self, on_progress: impl FnMut(Progress)) -> Result<SyncReport, NodeError> {
        self.sync_until(on_progress, |_, stage| stage == SyncStage::Synced)
            .await?;
        let shared = self.state();
        Ok(SyncReport {
            tip: self.check_fresh(&shared)?,
            servers: shared.servers.clone(),
        })
    }

    /// Waits until the headers below the anchor are there as well that names may refer to, and tells its progress
    /// meanwhile, each second at least.
    ///
    /// # Errors
    ///
    /// [`NodeError::NoServer`] when no server could be used, though the node goes on trying.
    pub async fn completed(&self, on_progress: impl FnMut(Progress)) -> Result<(), NodeError> {
        self.sync_until(on_progress, |tree, _| tree.has_history()).await
    }

    async fn sync_until(
        &self,
        mut on_progress: impl FnMut(Progress),
        is_over: impl Fn(&HeaderTree, SyncStage) -> bool,
    ) -> Result<(), NodeError> {
        let mut sync = self.0.sync.subscribe();
        loop {
            let (stage, progress) = *sync.borrow_and_update();
            on_progress(progress);
            if is_over(self.state().node.tree(), stage) {
                return Ok(());
            }
            if stage == SyncStage::Exhausted {
                let shared = self.state();
                return Err(NodeError::NoServer {
                    servers: shared.servers.clone(),
                    tor: shared.tor.clone(),
                });
            }
            if let Ok(Err(_)) = timeout(TELL_EVERY, sync.changed()).await {
                return Err(NodeError::Stopped);
            }
        }
    }

    /// Returns the network's constants.
    pub fn params(&self) -> &'static Params {
        self.0.params
    }

    /// Checks that the headers are up to date, so that names can be looked up, and returns the newest block's hash.
    ///
    /// # Errors
    ///
    /// [`NodeError::Syncing`] or [`NodeError::NotSynchronized`] where they are not.
    pub fn check_ready(&self) -> Result<BlockHash, NodeError> {
        let state = self.state();
        if !state.synchronized {
            let Progress { done, total, .. } = state.progress;
            let tor = state.tor_standing().filter(TorStanding::explains_all);
            let trouble = state.trouble(self.0.clock.now().steady).map(|it| it.to_string());
            let trouble = trouble.or_else(|| tor.map(|tor| tor.to_string()));
            return Err(NodeError::Syncing { done, total, trouble });
        }
        Ok(self.check_fresh(&state)?.hash)
    }

    fn check_fresh(&self, state: &State) -> Result<Tip, NodeError> {
        let tree = state.node.tree();
        let fresh = tree.check_fresh(self.0.clock.now().wall);
        fresh.map_err(|reason| NodeError::NotSynchronized {
            reason,
            servers: state.servers.clone(),
        })?;
        Ok(tree.tip())
    }

    /// Returns the names that are kept, if any are.
    pub(super) fn local_names(&self) -> Option<&LocalNames> {
        self.0.names.as_ref()
    }

    /// Returns the data folder.
    pub(super) fn data_folder(&self) -> PathBuf {
        self.0.folder.clone()
    }

    /// Takes down what peers did to the headers, and has header sync take it up.
    pub(super) fn note_peers(&self, news: PeerNews) {
        let known = &mut self.state().peer_news;
        known.brought_from = [known.brought_from, news.brought_from].into_iter().flatten().min();
        known.agreeing = news.agreeing.or(known.agreeing);
        self.0.peers_told.notify_one();
    }

    /// Returns what changes whenever headers may have.
    pub(super) fn header_changes(&self) -> watch::Receiver<(SyncStage, Progress)> {
        self.0.sync.subscribe()
    }

    /// Says whether the headers were up to date since the start.
    pub(super) fn is_synchronized(&self) -> bool {
        self.state().synchronized
    }

    /// Waits until peers did something to the headers.
    pub(super) async fn peers_told(&self) {
        self.0.peers_told.notified().await;
    }

    /// Returns the way to the lookups' connections.
    pub(super) fn leases(&self) -> &Leases {
        &self.0.leases
    }

    /// Returns the node's clock.
    pub(crate) fn clock(&self) -> Clock {
        self.0.clock.clone()
    }

    /// Returns for how long header sync has had no connection at all.
    pub fn alone_for(&self) -> Option<Duration> {
        let now = self.0.clock.now().steady;
        self.state().alone_since.map(|since| now.since(since))
    }

    /// Returns for how long header sync has had no connection, where it needs one.
    pub fn without_way_for(&self) -> Option<Duration> {
        let now = self.0.clock.now().steady;
        let state = self.state();
        let alone_since = state
            .alone_since
            .filter(|_| !state.synchronized || state.no_server.is_some());
        alone_since.map(|since| now.since(since))
    }

    /// Returns how servers are reached.
    pub fn proxy(&self) -> Proxy {
        self.state().node.dialer().proxy().clone()
    }

    /// Says whether a Tor answers where streams to servers go out.
    pub async fn is_behind_tor(&self) -> bool {
        let dialer = self.state().node.dialer();
        dialer.is_behind_tor().await
    }

    /// Takes down what is known of the Tor that is the proxy, until a connection comes through it.
    pub fn note_tor(&self, standing: Option<TorStanding>) {
        let mut state = self.state();
        // What was asked may be out of date once it is answered.
        state.tor = standing.filter(|_| state.alone_since.is_some());
    }

    /// Says that an identity is in use though it needs no connection.
    pub fn note_use(&self, id: BlindedId) {
        self.0.leases.note_use(id);
    }

    /// Returns how the node stands.
    pub fn standing(&self) -> Standing {
        let now = self.0.clock.now().steady;
        let uptime = Duration::from_millis(now.0);
        let mut state = self.state();
        if now.since(state.told_at) >= TOLD_EVERY {
            (state.told, state.told_at) = (state.counts.coarse(), now);
        }
        Standing {
            anchor: *state.node.tree().anchor(),
            tip: state.node.tree().tip(),
            synchronized: state.synchronized,
            progress: state.progress,
            servers: state.servers.clone(),
            unproved: state.node.tree().unproved(),
            pool: state.counts,
            pool_told: state.told,
            unwritten: state.node.unwritten().cloned(),
            uptime,
            not_fresh: state.node.not_fresh(),
            tor: state.tor_standing(),
            proxy: state.node.dialer().proxy().clone(),
            trouble: state.trouble(now).map(|it| it.to_string()),
        }
    }

    /// Returns the newest block's hash.
    pub fn tip_hash(&self) -> BlockHash {
        self.state().node.tree().tip().hash
    }

    /// Returns the best chain's header at a height, if known.
    pub fn header_at(&self, height: Height) -> Option<PureHeader> {
        self.state().node.tree().header_at(height)
    }

    /// Returns the height of a header on the best chain.
    pub fn height_of(&self, hash: &BlockHash) -> Option<Height> {
        let state = self.state();
        let height = state.node.tree().height_of(hash)?;
        (state.node.tree().hash_at(height).as_ref() == Some(hash)).then_some(height)
    }

    /// Returns a header of a branch beside the best chain, with its height and the total work up to it; `None` for others.
    pub fn branch_header(&self, hash: &BlockHash) -> Option<(Height, PureHeader, Work)> {
        self.state().node.tree().branch_header(hash)
    }

    /// Returns the total work up to a height of the best chain, as far as it can be known: `None` below the anchor.
    pub fn chainwork_at(&self, height: Height) -> Option<Work> {
        self.state().node.tree().chainwork_at(height)
    }

    /// Forgets an identity: no lookup that begins after this returns has one of its connections, which end when they would
    /// have. `None` forgets all.
    pub fn forget(&self, id: Option<BlindedId>) {
        self.0.leases.forget(id);
        if id.is_none() {
            self.with(|node| node.discover(DiscoveryEvent::NewIdentity));
        }
    }

    /// Asks the node to stop.
    pub fn stop(&self) {
        self.0.stop.send_replace(true);
    }

    /// Waits until all that was learnt is on the disk.
    ///
    /// # Errors
    ///
    /// [`NodeError::Store`] and [`NodeError::Folder`] when the disk does not take it, though it is tried again later.
    pub async fn written(&self) -> Result<(), NodeError> {
        write_all(self).await;
        self.with(|node| node.unwritten().cloned()).map_or(Ok(()), Err)
    }

    /// Reads anew which certificates servers must show, as the user may have changed their file.
    ///
    /// # Errors
    ///
    /// As [`Self::written`], where a certificate that was seen is not in the file yet, and as the file says.
    pub async fn reload_known_servers(&self) -> Result<(), NodeError> {
        self.written().await?;
        self.with(Node::reload_known_servers)
    }

    /// Waits until somebody asks the node to stop.
    pub async fn stopped(&self) {
        // The sender lives as long as this handle.
        let _ = self.0.stop.subscribe().wait_for(|stop| *stop).await;
    }
}

impl Owner for Handle {
    fn dial(&self, server: usize) -> Option<Dial> {
        let state = self.state();
        let address = state.node.servers().get(server)?;
        Some(state.node.lookup_dial(address))
    }

    fn learn_pin(&self, server: &ServerAddr, pin: Pin) {
        self.state().node.learn_pin(server, pin);
    }

    fn forgotten(&self, id: &BlindedId) {
        (self.0.forgotten)(*id);
    }

    fn with_reputation<T>(&self, work: impl FnOnce(&mut ServerReputation) -> T) -> T {
        work(self.state().node.reputation_mut())
    }

    fn counted(&self, counts: PoolCounts) {
        let now = self.0.clock.now().steady;
        let mut state = self.state();
        state.counts = counts;
        if now.since(state.told_at) >= TOLD_EVERY {
            (state.told, state.told_at) = (counts.coarse(), now);
        }
    }
}

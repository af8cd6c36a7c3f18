//! The node itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

use super::NodeError;
use super::candidate::Check;
use super::clock::{self, Clock};
use super::connections::Dial;
use super::disk::{self, Disk, SmallFile, Writing};
use super::folder::Folder;
use super::known_servers::{self, KnownServers};
use super::learned_servers;
use super::local_names::{LocalNames, NamesConfig, NamesMode};
use super::report::{ServerResult, ServerStanding};
use super::server_operators;
use super::server_ways::ServerWays;
use super::store::{DiskGate, HeaderChange, HeaderStore, Rebuilt};
use crate::chain::freshness::NotFresh;
use crate::chain::{Anchor, HeaderTree, Height, Network, Params};
use crate::isolation::ConnId;
use crate::net::discovery::{Discovery, DiscoveryEffect, DiscoveryEvent, Learned};
use crate::net::operators::{Kinship, KinshipEffect, KinshipEvent, Shown, operators, own_onions};
use crate::net::{self, Dialer, Pin, Proxy, ServerAddr};
use crate::reputation::{Evidence, STRANGERS, ServerIndex, ServerReputation, SyncReputation};
use crate::time::Timestamp;

/// The header store's folder in the data folder.
const STORE: &str = "headers";

/// Largest file of how the last sync went that is read, in bytes.
const MAX_LAST_SYNC: u64 = 1 << 20;

/// How many blocks a server's tip may lie below ours for it to count as good: a new block takes a while to reach all.
const MAX_LAG: Height = 1;

/// What a node is made from.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The network.
    pub network: Network,
    /// The data folder for this network.
    pub folder: PathBuf,
    /// Where verification starts.
    pub anchor: Anchor,
    /// Electrum servers.
    pub servers: Vec<ServerAddr>,
    /// Whether other servers are learned of from these.
    pub discover: bool,
    /// The way out.
    pub proxy: Proxy,
    /// How long it may take to open a connection.
    pub connection_limits: net::ConnectionLimits,
}

/// What a node takes from outside beside its data folder.
#[doc(hidden)]
#[derive(Debug)]
pub struct Surroundings {
    /// How it opens streams.
    pub dialer: Dialer,
    /// The constants of its chain, which are not the network's own where names of a test live longer.
    pub params: &'static Params,
    /// Its clock.
    pub clock: Clock,
    /// What all of its random choices follow from, but for the secrets that no one is to guess.
    pub seed: [u8; 32],
    /// What is asked before headers are brought to its disk.
    pub disk: DiskGate,
}

/// What discovery wants done over connections.
pub(super) enum Wish {
    /// Ask a server for others.
    Ask(ServerIndex),
    /// Check one that was learned.
    Check(Check),
}

/// A light client with its data folder.
#[derive(Debug)]
pub struct Node {
    tree: HeaderTree,
    disk: Disk,
    folder: Arc<Folder>,
    known: KnownServers,
    dialer: Arc<Dialer>,
    servers: Vec<ServerAddr>,
    /// What is known of the servers, in their order: for header sync, the pool and lookups alike.
    reputation: ServerReputation,
    /// What is on the disk of the ways to the servers.
    ways: ServerWays,
    discovery: Option<Discovery>,
    /// What servers showed of who runs them.
    kinship: Box<Kinship>,
    /// Those of the servers that were configured or shipped.
    trusted: Vec<ServerIndex>,
    clock: Clock,
    connection_limits: net::ConnectionLimits,
    connections: u64,
    names: Option<LocalNames>,
    rng: StdRng,
}

impl Node {
    /// Opens the data folder and reads what it has. Tells also why headers on disk had to be dropped, if so.
    ///
    /// # Errors
    ///
    /// [`NodeError::FolderInUse`] while another process holds the folder, [`NodeError::Folder`] and
    /// [`NodeError::Store`] when it can't be used, [`NodeError::FolderOfOther`] and [`NodeError::FolderOpen`] when it is
    /// not ours alone, [`NodeError::Dial`] when TLS can't be set up, [`NodeError::Clock`].
    pub fn open(config: NodeConfig) -> Result<(Self, Option<Rebuilt>), NodeError> {
        if !clock::is_usable() {
            return Err(NodeError::Clock);
        }
        let surroundings = Surroundings {
            dialer: Dialer::new(config.proxy.clone())?,
            params: config.network.params(),
            clock: Clock::start(),
            seed: rand::random(),
            disk: DiskGate::default(),
        };
        Self::open_in(config, surroundings)
    }

    /// Opens the data folder as [`Self::open`] does, in surroundings that need not be the real ones.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    #[doc(hidden)]
    pub fn open_in(config: NodeConfig, surroundings: Surroundings) -> Result<(Self, Option<Rebuilt>), NodeError> {
        let mut rng = StdRng::from_seed(surroundings.seed);
        let folder = Arc::new(Folder::open(&config.folder)?);
        let known = KnownServers::read(&folder, config.network)?;
        let mut tree = HeaderTree::new(surroundings.params, config.anchor);
        let path = folder.file(STORE);
        let opened = HeaderStore::open(&path, &mut tree).and_then(|(mut store, unwritten, rebuilt)| {
            store.set_gate(surroundings.disk);
            let disk = Disk::open(store, unwritten, Arc::clone(&folder))?;
            Ok((disk, rebuilt))
        });
        let (disk, rebuilt) = opened.map_err(|error| NodeError::Store { path, error })?;
        let mut servers = config.servers;
        // No server is everybody's first.
        servers.shuffle(&mut rng);
        let mut reputation = ServerReputation::new(servers.len());
        let ways = ServerWays::read(&folder);
        for (at, server) in servers.iter().enumerate() {
            if let Some(way) = reputation.header_sync_mut().way_mut(ServerIndex(at)) {
                *way = ways.way(server);
            }
        }
        let discovery = config.discover.then(|| {
            let now = surroundings.clock.now().steady;
            Discovery::new(now, &servers, learned_servers::read(&folder), rng.random())
        });
        let kinship = Kinship::new(server_operators::read(&folder), rng.random());
        let mut node = Self {
            tree,
            disk,
            folder,
            known,
            dialer: Arc::new(surroundings.dialer),
            reputation,
            ways,
            discovery,
            kinship: Box::new(kinship),
            trusted: (0..servers.len()).map(ServerIndex).collect(),
            servers,
            clock: surroundings.clock,
            connection_limits: config.connection_limits,
            connections: 0,
            names: None,
            rng,
        };
        node.regroup();
        node.join_learned();
        Ok((node, rebuilt))
    }

    /// Keeps all living names in the data folder, and has them looked up there.
    ///
    /// # Errors
    ///
    /// [`NodeError::Names`] when they can't be read.
    pub fn keep_names(&mut self, config: NamesConfig) -> Result<(), NodeError> {
        if config.mode != NamesMode::Servers {
            let names = LocalNames::open(self.folder.path(), self.tree.params(), config)?;
            self.names = Some(names);
        }
        Ok(())
    }

    /// Hands over the names that are kept, if any are.
    pub(super) fn take_names(&mut self) -> Option<LocalNames> {
        self.names.take()
    }

    /// Returns the data folder.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Has the learned servers used that were checked before.
    fn join_learned(&mut self) {
        let learned: Vec<Learned> = self.discovery.iter().flat_map(Discovery::learned).cloned().collect();
        for learned in learned.iter().filter(|it| it.is_checked) {
            self.join(&learned.address);
            if learned.is_proven() {
                self.admit(&learned.address);
            }
        }
    }

    /// Has these servers trusted and no others, and others learned of from these or not, as if the node had been opened
    /// with them. Says whether that is anything new.
    pub(super) fn set_servers(&mut self, servers: &[ServerAddr], discover: bool) -> bool {
        let before = self.trusted_servers();
        let is_same = before.iter().all(|it| servers.contains(it)) && servers.iter().all(|it| before.contains(it));
        if is_same && discover == self.discovery.is_some() {
            return false;
        }
        let learned: Vec<Learned> = match &self.discovery {
            Some(discovery) => discovery.learned().cloned().collect(),
            None if discover => learned_servers::read(&self.folder),
            None => Vec::new(),
        };
        let is_gone = |it: &ServerAddr| !before.contains(it) || !servers.contains(it);
        for at in (0..self.servers.len()).map(ServerIndex) {
            if self.servers.get(at.0).is_some_and(is_gone) {
                self.reputation.part(at);
            }
        }
        let mut new: Vec<ServerAddr> = servers.iter().filter(|it| !before.contains(it)).cloned().collect();
        new.sort();
        new.dedup();
        new.shuffle(&mut self.rng);
        for server in new {
            let index = self.add(&server);
            self.reputation.admit(index);
            self.trusted.push(index);
        }
        let reputation = self.reputation.header_sync();
        self.trusted.retain(|at| !reputation.is_parted(*at));
        let trusted = self.trusted_servers();
        self.discovery = discover.then(|| {
            let now = self.clock.now().steady;
            Discovery::new(now, &trusted, learned, self.rng.random())
        });
        self.regroup();
        self.join_learned();
        true
    }

    /// Reads anew which certificates servers must show, as their file says now.
    pub(super) fn reload_known_servers(&mut self) -> Result<(), NodeError> {
        self.known = KnownServers::read(&self.folder, self.tree.params().network)?;
        Ok(())
    }

    /// Returns the servers, in the order in which they are tried.
    pub fn servers(&self) -> &[ServerAddr] {
        &self.servers
    }

    /// Returns the header tree.
    pub fn tree(&self) -> &HeaderTree {
        &self.tree
    }

    /// Returns the wall clock's time.
    pub fn time(&self) -> Timestamp {
        self.clock.now().wall
    }

    /// Says why the headers are not taken for the newest ones, if so; nothing where none are known.
    pub(super) fn not_fresh(&self) -> Option<NotFresh> {
        self.tree.lowest()?;
        self.tree.check_fresh(self.time()).err()
    }

    /// Returns how the last sync of this data folder went with each server; empty when there was none.
    ///
    /// # Errors
    ///
    /// [`NodeError::Folder`] when the file can't be read.
    pub fn last_sync(&self) -> Result<Vec<ServerResult>, NodeError> {
        let text = self.folder.read(disk::LAST_SYNC, MAX_LAST_SYNC)?.unwrap_or_default();
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Remembers how a sync went: for `status` on disk, and as one piece of evidence for lookups.
    pub(super) fn note_sync(&mut self, servers: &[ServerResult]) {
        let text = serde_json::to_string_pretty(&self.in_use(servers)).unwrap_or_default();
        self.write_file(SmallFile::LastSync, text);
        let (tip, now) = (self.tree.tip().height, self.clock.now().steady);
        for (index, result) in servers.iter().enumerate() {
            if matches!(result.state, ServerStanding::NotAsked | ServerStanding::NotReached) {
                continue;
            }
            let lag = result.claimed_height.map(|claimed| tip.saturating_sub(claimed));
            let keeps_up = lag.is_some_and(|lag| lag <= MAX_LAG);
            let is_fit = result.is_good() && keeps_up;
            if let Some(address) = self.servers.get(index).filter(|_| is_fit).cloned() {
                self.discover(DiscoveryEvent::Good(address));
            }
            // Connections end, as circuits do, also with a server that has all blocks.
            let has_ended = result.state == ServerStanding::Closed && keeps_up;
            if !is_fit && !has_ended {
                self.reputation
                    .record(now, ServerIndex(index), Evidence::Unfit, &mut rand::rng());
            }
        }
    }

    /// Leaves out of what is told of each server those that nobody uses any more.
    pub(super) fn in_use(&self, servers: &[ServerResult]) -> Vec<ServerResult> {
        let known = self.reputation.header_sync();
        let all = servers.iter().enumerate();
        all.filter(|(at, _)| !known.is_parted(ServerIndex(*at)))
            .map(|(_, it)| it.clone())
            .collect()
    }

    /// Returns what is known of the servers.
    pub(super) fn reputation(&self) -> &ServerReputation {
        &self.reputation
    }

    /// Lends what is known of the servers, to add to it.
    pub(super) fn reputation_mut(&mut self) -> &mut ServerReputation {
        &mut self.reputation
    }

    /// Returns what it takes to open a connection for lookups to a server.
    pub(super) fn lookup_dial(&self, server: &ServerAddr) -> Dial {
        Dial {
            dialer: self.dialer(),
            network: self.tree().params().network,
            server: server.clone(),
            pin: self.pin(server),
            limits: self.connection_limits(),
        }
    }

    /// Lends the headers, for what peers bring.
    pub(super) fn header_tree_mut(&mut self) -> &mut HeaderTree {
        &mut self.tree
    }

    /// Lends what header sync changes: the headers, and what it knows of the servers.
    pub(super) fn header_sync_state(&mut self) -> (&mut HeaderTree, &mut SyncReputation) {
        (&mut self.tree, self.reputation.header_sync_mut())
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Draws the seed of a machine.
    pub(super) fn draw_seed(&mut self) -> [u8; 32] {
        self.rng.random()
    }

    pub(super) fn dialer(&self) -> Arc<Dialer> {
        Arc::clone(&self.dialer)
    }

    pub(super) fn connection_limits(&self) -> net::ConnectionLimits {
        self.connection_limits
    }

    /// Returns what a server's certificate must be.
    pub(super) fn pin(&self, server: &ServerAddr) -> Option<Pin> {
        self.known.pin(server)
    }

    /// Returns where the pins are, for people.
    pub(super) fn known_servers_file(&self) -> PathBuf {
        self.folder.file(known_servers::FILE)
    }

    /// Has a change of the tree written, and waits for nothing.
    pub(super) fn write_headers(&mut self, change: HeaderChange) {
        self.disk.note_headers(&self.tree, change);
        self.advance_writing();
    }

    /// Goes on with what is to be written, and waits for nothing. It is to be called again whenever
    /// [`Self::writing_ended`] changes, and at the moment that it names.
    pub(super) fn advance_writing(&mut self) -> Writing {
        self.disk.advance(&self.tree, self.clock.now().steady)
    }

    /// Returns why what was learnt is kept in memory alone, if it is.
    pub fn unwritten(&self) -> Option<&NodeError> {
        self.disk.trouble()
    }

    /// Returns what changes when something is on the disk.
    pub(super) fn writing_ended(&self) -> watch::Receiver<()> {
        self.disk.ended()
    }

    fn write_file(&mut self, file: SmallFile, text: String) {
        self.disk.note_file(file, text);
        self.advance_writing();
    }

    /// Remembers what a server showed, when it was met for the first time: in this process even if it can't be written.
    pub(super) fn learn_pin(&mut self, server: &ServerAddr, pin: Pin) {
        if let Some(text) = self.known.learn(server, pin) {
            self.write_file(SmallFile::KnownServers, text);
        }
    }

    /// Takes down what software a server runs; says whether that is another one than when it was last known.
    pub(super) fn learn_software(&mut self, server: ServerIndex, software: String) -> bool {
        let address = self.servers.get(server.0);
        address.is_some_and(|address| self.ways.learn_software(address, software))
    }

    /// Writes down what header sync knows of the ways to the servers, where it changed.
    pub(super) fn write_ways(&mut self) {
        let sync = self.reputation.header_sync();
        let servers = self.servers.iter().enumerate();
        let ways = servers.map(|(at, server)| (server, sync.way(ServerIndex(at))));
        if let Some(text) = self.ways.take_over(ways) {
            self.write_file(SmallFile::ServerWays, text);
        }
    }

    /// Returns what is known of other servers, unless none are learned of.
    pub(super) fn discovery(&self) -> Option<&Discovery> {
        self.discovery.as_ref()
    }

    /// Tells discovery what happened; returns what is to be done over connections.
    pub(super) fn discover(&mut self, event: DiscoveryEvent) -> Vec<Wish> {
        let now = self.clock.now();
        let Some(discovery) = &mut self.discovery else {
            return Vec::new();
        };
        // It counts those that are trusted alone.
        let event = match event {
            DiscoveryEvent::Told(server, peers) => match self.trusted.iter().position(|at| *at == server) {
                Some(at) => DiscoveryEvent::Told(ServerIndex(at), peers),
                None => return Vec::new(),
            },
            event => event,
        };
        let mut wishes = Vec::new();
        for effect in discovery.on_event(now, event) {
            match effect {
                DiscoveryEffect::Ask(server) => {
                    let server = self.trusted.get(server.0).copied();
                    wishes.extend(server.map(Wish::Ask));
                }
                DiscoveryEffect::Check(server) => wishes.push(Wish::Check(self.check(&server))),
                DiscoveryEffect::Join(server) => self.join(&server),
                DiscoveryEffect::Admit(server) => self.admit(&server),
                DiscoveryEffect::Part(server) => {
                    if let Some(index) = self.index_of(&server) {
                        self.reputation.part(index);
                    }
                }
                DiscoveryEffect::Write => {
                    let learned = self.discovery.iter().flat_map(Discovery::learned);
                    let text = learned_servers::text(learned);
                    self.write_file(SmallFile::LearnedServers, text);
                }
            }
        }
        wishes
    }

    /// Returns the check of a server: the anchor, and one block of those that were verified, must be its own too.
    fn check(&mut self, server: &ServerAddr) -> Check {
        let (anchor, tip) = (self.tree.anchor().height, self.tree.tip().height);
        let drawn = self.rng.random_range(anchor..=tip.max(anchor));
        let heights = [anchor, drawn].into_iter();
        Check {
            dial: self.lookup_dial(server),
            blocks: heights
                .filter_map(|height| Some((height, self.tree.hash_at(height)?)))
                .collect(),
        }
    }

    /// Returns the servers that were configured or shipped.
    pub(super) fn trusted_servers(&self) -> Vec<ServerAddr> {
        let trusted = self.trusted.iter().filter_map(|at| self.servers.get(at.0));
        trusted.cloned().collect()
    }

    pub(super) fn index_of(&self, server: &ServerAddr) -> Option<ServerIndex> {
        let mut all = self.servers.iter().enumerate();
        // One that parted and came back has two places, of which the last one is its own.
        all.rfind(|(_, it)| *it == server).map(|(at, _)| ServerIndex(at))
    }

    /// Has header sync use a server that was learned.
    fn join(&mut self, server: &ServerAddr) {
        self.add(server);
        self.regroup();
    }

    /// Adds a server behind the others. Who runs it is for [`Self::regroup`] to say.
    fn add(&mut self, server: &ServerAddr) -> ServerIndex {
        let index = self.reputation.add(STRANGERS);
        if let Some(way) = self.reputation.header_sync_mut().way_mut(index) {
            *way = self.ways.way(server);
        }
        self.servers.push(server.clone());
        index
    }

    /// Has all servers be counted by who runs them. What was learned and is of no operator that is known is of one with all
    /// strangers.
    fn regroup(&mut self) {
        let shown = self.kinship.acting();
        let numbers = operators(&self.servers, shown);
        let trusted: Vec<usize> = self
            .trusted
            .iter()
            .filter_map(|at| numbers.get(at.0).copied())
            .collect();
        let is_known = |number: &usize| trusted.contains(number);
        let counted = numbers
            .iter()
            .map(|number| if is_known(number) { *number } else { STRANGERS });
        let counted: Vec<usize> = counted.collect();
        let onions = own_onions(&self.servers, shown).into_iter();
        let behind = onions.map(|(server, onion)| (ServerIndex(server), ServerIndex(onion)));
        self.reputation.regroup(&counted, behind.collect());
        if let Some(discovery) = &mut self.discovery {
            // It counts those that are trusted alone.
            let firsts = trusted
                .iter()
                .map(|number| trusted.iter().position(|it| it == number).unwrap_or_default());
            discovery.regroup(&firsts.collect::<Vec<_>>());
        }
    }

    /// Returns what servers showed of who runs them.
    pub(super) fn kinship(&self) -> &Kinship {
        &self.kinship
    }

    /// Takes down what a server showed of who runs it.
    pub(super) fn learn_operator(&mut self, server: ServerIndex, shown: Shown) {
        if let Some(server) = self.servers.get(server.0).cloned() {
            self.note_kinship(KinshipEvent::Shown(server, shown));
        }
    }

    /// Has what servers showed count, where its moment has come.
    pub(super) fn regroup_if_due(&mut self) {
        self.note_kinship(KinshipEvent::Tick);
    }

    fn note_kinship(&mut self, event: KinshipEvent) {
        match self.kinship.on_event(self.clock.now().steady, event) {
            Some(KinshipEffect::Regroup) => self.regroup(),
            Some(KinshipEffect::Write) => {
                let known = self.reputation.header_sync();
                let used = self.servers.iter().zip((0..).map(ServerIndex));
                let used = used.filter(|(_, at)| !known.is_parted(*at)).map(|(server, _)| server);
                let text = server_operators::text(self.kinship.shown(), used);
                self.write_file(SmallFile::ServerOperators, text);
            }
            None => {}
        }
    }

    fn admit(&mut self, server: &ServerAddr) {
        if let Some(index) = self.index_of(server) {
            self.reputation.admit(index);
        }
    }

    pub(super) fn next_conn(&mut self) -> ConnId {
        self.connections += 1;
        ConnId(self.connections)
    }
}

#[cfg(test)]
impl Node {
    /// Has the thread that writes ask this before each flush of a header store that nothing was written to yet.
    pub(crate) fn set_disk(&mut self, gate: DiskGate) {
        let mut tree = HeaderTree::new(self.tree.params(), *self.tree.anchor());
        let path = self.folder.file(STORE);
        self.disk.end();
        let (mut store, unwritten, _) = HeaderStore::open(&path, &mut tree).unwrap();
        store.set_gate(gate);
        self.disk = Disk::open(store, unwritten, Arc::clone(&self.folder)).unwrap();
    }
}

/// Whatever ends a node, what it learnt is on the disk afterwards, or it is told why not.
impl Drop for Node {
    fn drop(&mut self) {
        // Why it could not be written is told where that is found out.
        let _ = self.disk.finish(&self.tree, self.clock.now().steady);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Fingerprint;

    #[test]
    fn what_can_not_be_written_is_remembered_all_the_same() {
        let temp = tempfile::tempdir().unwrap();
        let server: ServerAddr = "electrum.example:50002:s".parse().unwrap();
        let config = NodeConfig {
            network: Network::Regtest,
            folder: temp.path().to_owned(),
            anchor: Anchor::shipped(Network::Regtest).unwrap(),
            servers: vec![server.clone(); 3],
            discover: false,
            proxy: Proxy::Direct,
            connection_limits: net::ConnectionLimits::default(),
        };
        let (mut node, _) = Node::open(config).unwrap();
        // No file can be made where a folder is.
        for file in [disk::LAST_SYNC, known_servers::FILE] {
            std::fs::create_dir(temp.path().join(format!("{file}.new"))).unwrap();
        }
        let pin = Pin::Certificate(Fingerprint([7; 32]));
        node.learn_pin(&server, pin);
        assert_eq!(node.pin(&server), Some(pin));
        let tip = Some(node.tree().tip().height);
        let states = [
            (ServerStanding::Closed, None),
            (ServerStanding::Closed, tip),
            (ServerStanding::Good, tip),
        ];
        let results = states.map(|(state, claimed_height)| ServerResult {
            address: server.to_string(),
            state,
            result: "ok".to_owned(),
            claimed_height,
            headers: 0,
            way_out: None,
        });
        for _ in 0..3 {
            node.note_sync(&results);
        }
        let doubted = [0, 1, 2].map(|at| node.reputation().doubted(ServerIndex(at)).is_some());
        assert_eq!(
            doubted,
            [true, false, false],
            "after three rounds in which it was not to be had"
        );
    }

    #[test]
    fn who_runs_the_servers_is_known_after_a_restart() {
        let temp = tempfile::tempdir().unwrap();
        let servers = ["a.one:1", "b.two:1", "c.three:1"].map(|server| server.parse::<ServerAddr>().unwrap());
        let config = NodeConfig {
            network: Network::Regtest,
            folder: temp.path().to_owned(),
            anchor: Anchor::shipped(Network::Regtest).unwrap(),
            servers: servers.to_vec(),
            discover: false,
            proxy: Proxy::Direct,
            connection_limits: net::ConnectionLimits::default(),
        };
        let (mut node, _) = Node::open(config.clone()).unwrap();
        for (key, server) in [(1, &servers[0]), (2, &servers[1]), (1, &servers[2])] {
            let index = node.index_of(server).unwrap();
            node.learn_operator(index, Shown::new(Some(Fingerprint([key; 32])), &[]));
        }
        assert_eq!(node.reputation().operators(), 3, "not at once");
        drop(node);
        let (node, _) = Node::open(config).unwrap();
        assert_eq!(node.reputation().operators(), 2);
        let operator = |server| node.reputation().operator(node.index_of(server).unwrap());
        assert_eq!(operator(&servers[0]), operator(&servers[2]));
    }
}

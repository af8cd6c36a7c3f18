//! A simulated world, servers that may err, and a recording proxy, all on loopback; and nodes that use them.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use isonym::chain::{Anchor, Network, sync};
use isonym::name::NameId;
use isonym::name::lookup::LookupSettings;
use isonym::net;
use isonym::node::{Node, NodeConfig, SyncReport};
use isonym::service::DaemonSettings;
use isonym::time::Timestamp;
use isonym_sim::ledger::Connection;
use isonym_sim::proxy::Mode;
use isonym_sim::{AddressKind, Fault, Host, Ledger, Proxy, Release, Server, SharedWorld, Transport, World};
use tempfile::TempDir;

use crate::loopback::own_address;
use crate::one_shot::OneShot;

/// The name that tests look up.
pub const NAME: &str = "d/marker-of-the-name";
/// What it was worth before.
pub const OLD_VALUE: &str = "marker of the old value";
/// What it is worth.
pub const VALUE: &str = "marker of the value";
/// Blocks on top of the last update.
pub const SETTLED: u32 = 8;

/// The name was registered and updated twice, the last time 8 blocks ago.
static WORLD: LazyLock<World> = LazyLock::new(|| {
    let mut world = World::new(1, Timestamp(1_700_000_000));
    world.register(NAME, "first value", AddressKind::P2pkh).unwrap();
    world.update(NAME, OLD_VALUE, AddressKind::P2sh).unwrap();
    world.mine(10);
    world.update(NAME, VALUE, AddressKind::P2wpkh).unwrap();
    world.mine(SETTLED);
    world
});

pub fn world() -> World {
    WORLD.clone()
}

pub fn name_id(name: &str) -> NameId {
    NameId::new(name.as_bytes()).unwrap()
}

/// What a test waits where nothing is to end by time: so long that no load of the machine reaches it.
pub const LONG: Duration = Duration::from_secs(60);

/// What is waited for a server with this fault: not long where silence is the fault.
pub fn patience(fault: Option<&Fault>) -> Duration {
    match fault {
        Some(Fault::Silent | Fault::SilentAfterHandshake | Fault::Slow { .. }) => Duration::from_secs(2),
        _ => LONG,
    }
}

pub fn sync_limits() -> sync::HeaderSyncLimits {
    sync::HeaderSyncLimits {
        request_timeout: LONG,
        steal_after: Duration::from_millis(300),
        second_server_grace: Duration::from_millis(300),
        stall_grace: Duration::from_secs(5),
        redial_pause: Duration::from_millis(10),
        dials: 2,
        ..sync::HeaderSyncLimits::default()
    }
}

pub fn lookup_settings(attempts: u8, quorum: u8) -> LookupSettings {
    LookupSettings {
        attempts,
        quorum,
        hedge_after: Duration::from_millis(500),
        attempt_timeout: LONG,
        ..LookupSettings::default()
    }
}

/// Servers `s0.example`, `s1.example` and so on, and the proxy that knows the way to them.
pub struct Stage {
    pub hosts: Vec<Host>,
    pub proxy: Proxy,
    pub ledger: Ledger,
    /// How long nodes wait for each flight of a handshake.
    pub patience: Duration,
}

impl Stage {
    /// Opens a stage with one server for each fault, all of one release, on one world.
    pub async fn open(world: World, release: Release, faults: &[Option<Fault>]) -> Self {
        let world = SharedWorld::new(world);
        let servers = faults.iter().map(|fault| (world.clone(), release, fault.clone()));
        let patience = faults.iter().map(|fault| patience(fault.as_ref())).min();
        Self {
            patience: patience.unwrap_or(LONG),
            ..Self::with_worlds(servers.collect()).await
        }
    }

    pub async fn with_worlds(servers: Vec<(SharedWorld, Release, Option<Fault>)>) -> Self {
        let ledger = Ledger::new();
        // A test may end the proxy and start another in its place.
        let place = (own_address(), 0).into();
        let proxy = Proxy::start_at(place, Mode::Open, ledger.clone()).await.unwrap();
        let mut hosts = Vec::new();
        for (number, (world, release, fault)) in servers.into_iter().enumerate() {
            let name = format!("s{number}.example");
            let server = Server::new(release, fault);
            let host = Host::start(&name, Transport::Tcp, server, world, ledger.clone())
                .await
                .unwrap();
            proxy.route(&name, host.addr);
            hosts.push(host);
        }
        Self {
            hosts,
            proxy,
            ledger,
            patience: LONG,
        }
    }

    /// Makes a node with these servers; the data folder lives as long as what is returned.
    pub fn node(&self) -> (Node, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (self.node_in(folder.path()), folder)
    }

    pub fn node_in(&self, folder: &Path) -> Node {
        self.node_from(folder, Anchor::shipped(Network::Regtest).unwrap())
    }

    /// Makes a node that trusts another block.
    pub fn node_from(&self, folder: &Path, anchor: Anchor) -> Node {
        let addresses = self.hosts.iter().map(|host| format!("{}:50001:t", host.name));
        Node::open(NodeConfig {
            network: Network::Regtest,
            folder: folder.to_owned(),
            anchor,
            servers: addresses.map(|address| address.parse().unwrap()).collect(),
            discover: false,
            proxy: net::Proxy::Socks5(vec![self.proxy.addr]),
            connection_limits: self.connection_limits(),
        })
        .unwrap()
        .0
    }

    /// Starts a node whose headers are there.
    pub async fn synced(&self, settings: DaemonSettings) -> (OneShot, TempDir) {
        let (node, folder) = self.node();
        (OneShot::synced(node, settings).await, folder)
    }

    /// Starts a node whose sync heard this server. A sync ends when two servers agree, and each node has an order of its
    /// own in which it dials them.
    pub async fn node_that_heard(
        &self,
        folder: &Path,
        server: usize,
        settings: DaemonSettings,
    ) -> (OneShot, SyncReport) {
        let address = format!("{}:50001:t", self.hosts[server].name);
        for _ in 0..ENOUGH {
            let node = OneShot::start(self.node_in(folder), settings).await;
            let report = node.sync().await.unwrap();
            let mut servers = report.servers.iter();
            let heard = servers.find(|result| result.address == address).unwrap();
            if heard.is_good() && heard.claimed_height.is_some() {
                return (node, report);
            }
            node.stop().await;
        }
        panic!("{address} was never heard");
    }

    pub fn connection_limits(&self) -> net::ConnectionLimits {
        net::ConnectionLimits {
            dial: LONG,
            handshake: self.patience,
        }
    }

    /// Says how often a server was asked for a name.
    pub fn asked(&self, server: usize, name: &str) -> usize {
        let connections = self
            .ledger
            .connections_that_asked(&name_id(name).scripthash().to_string());
        let name = &self.hosts[server].name;
        connections
            .iter()
            .filter(|connection| connection.server == *name)
            .count()
    }

    /// Says how often a server was connected to by others than header sync: a lookup's connection subscribes to nothing.
    pub fn met_by_lookups(&self, server: usize) -> usize {
        let connections = self.ledger.connections();
        let name = &self.hosts[server].name;
        let subscribes = |connection: &Connection| {
            let mut methods = connection.requests.iter().flat_map(|request| &request.methods);
            methods.any(|method| method == "blockchain.headers.subscribe")
        };
        let of_lookups = connections.iter().filter(|connection| !subscribes(connection));
        of_lookups.filter(|connection| connection.server == *name).count()
    }

    /// Says how often a server was connected to.
    pub fn met(&self, server: usize) -> usize {
        let connections = self.ledger.connections();
        let name = &self.hosts[server].name;
        connections
            .iter()
            .filter(|connection| connection.server == *name)
            .count()
    }
}

/// Lookups until each of three servers has been asked: they draw one.
pub const ENOUGH: usize = 60;

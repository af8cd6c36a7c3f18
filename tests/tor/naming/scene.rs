//! Names, the sites that they stand for, and the servers that know of them.

use isonym::name::NameId;
use isonym::time::Timestamp;
use isonym_sim::ledger::Connection;
use isonym_sim::{AddressKind, Host, Ledger, SharedWorld, World};
use serde_json::json;
use tokio::sync::RwLockReadGuard;

use crate::client::Tor;
use crate::daemon::Daemon;
use crate::network::{Network, Onion, beside_others, network};
use crate::site::Site;
use crate::{NAMES, name};
use isonym_testkit::program::Program;
use isonym_testkit::running::Running;

/// Isolation IDs that have names of their own.
pub const IDS: usize = 30;

/// An address of documentation, as a name may have it.
pub const V4: &str = "192.0.2.77";
pub const V6: &str = "2001:db8::77";

/// The port that the onion service has, and that addresses of sites need not be told.
pub const HTTP: u16 = 80;

pub struct Scene {
    pub network: &'static Network,
    pub ledger: Ledger,
    /// The Electrum server.
    pub host: Host,
    /// A site that only the onion service leads to.
    pub hidden: Site,
    pub onion: Onion,
    /// A site that exits connect to.
    pub plain: Site,
    _beside: Option<RwLockReadGuard<'static, ()>>,
}

impl Scene {
    /// Makes one for a test that others may run beside.
    pub async fn new() -> Self {
        let beside = beside_others().await;
        Self {
            _beside: Some(beside),
            ..Self::of_its_own().await
        }
    }

    /// Makes one for a test that sees to it itself.
    pub async fn of_its_own() -> Self {
        let network = network();
        let (hidden, plain) = (Site::start("hidden").await, Site::start("plain").await);
        let onion = network.onion_service(HTTP, hidden.address);
        let (world, ledger) = (SharedWorld::new(world(&onion.host)), Ledger::new());
        let host = Host::honest("server", world, ledger.clone()).await.unwrap();
        Self {
            network,
            ledger,
            host,
            hidden,
            onion,
            plain,
            _beside: None,
        }
    }

    /// The Electrum server as an application of Tor is told it.
    pub fn server(&self) -> String {
        self.host.addr.to_string()
    }

    /// Returns over how many connections the Electrum server was asked for a name.
    pub fn connections_with(&self, name: &str) -> usize {
        let scripthash = NameId::new(name.as_bytes()).unwrap().scripthash().to_string();
        let connections = self.ledger.connections();
        let asks = |it: &&Connection| it.requests.iter().any(|request| request.line.contains(&scripthash));
        connections.iter().filter(asks).count()
    }

    /// Starts a daemon whose own connections go through this Tor.
    pub async fn daemon(&self, tor: &Tor, arguments: &[&str]) -> Daemon {
        Daemon::start(tor, &[self.server()], arguments).await
    }

    /// Starts a daemon that says what names stand for to the Tor that its own connections go through.
    pub async fn naming_daemon(&self, tor: &Tor) -> Daemon {
        let control = format!("--tor-control={}", tor.control_port());
        let mut daemon = self.daemon(tor, &["-v", &control]).await;
        in_control(&mut daemon.running).await;
        daemon
    }

    /// Starts a daemon that listens for applications itself; returns its port, too.
    pub async fn front(&self, tor: &Tor) -> (Daemon, u16) {
        self.front_with(tor, &[]).await
    }

    /// As [`Self::front`], with further arguments.
    pub async fn front_with(&self, tor: &Tor, arguments: &[&str]) -> (Daemon, u16) {
        let to = format!("--socks-tor=127.0.0.1:{}", tor.ports().socks);
        let arguments = [&["-v", "--socks-listen=127.0.0.1:0", &to], arguments].concat();
        let mut daemon = self.daemon(tor, &arguments).await;
        let address = daemon
            .running
            .says("listening on ", " for SOCKS and HTTP CONNECT")
            .await;
        let (_, port) = address.rsplit_once(':').unwrap();
        (daemon, port.parse().unwrap())
    }
}

/// Starts `isonym tor` in the data folder of a daemon, or without one, and waits until it is in control.
pub async fn controller(program: &Program, arguments: &[&str]) -> Running {
    let mut command = program.on_regtest();
    command.args(["-v", "tor"]).args(arguments);
    let mut running = Running::start(command, &program.home().join("log of the controller"));
    in_control(&mut running).await;
    running
}

/// Waits until a program says that it is in control of a Tor.
pub async fn in_control(running: &mut Running) {
    running.says("controlling Tor at ", "").await;
}

fn world(onion: &str) -> World {
    let below = |text: &str| json!({ "map": { "_tor": { "txt": text } } });
    let named = [
        ("site", below(onion)),
        ("plain", json!({ "ip": "127.0.0.1" })),
        (
            "both",
            json!({ "ip": "192.0.2.1", "map": { "_tor": { "txt": onion }, "www": { "ip": "127.0.0.1" } } }),
        ),
        ("alias", json!({ "alias": "site.bit." })),
        ("host", json!({ "alias": "www.example.com." })),
        ("moved", json!({ "translate": "both.bit." })),
        ("six", json!({ "ip6": "::1" })),
        ("v4", json!({ "ip": V4 })),
        ("v6", json!({ "ip6": V6 })),
        ("empty", json!({})),
        ("loop", json!({ "alias": "loop.bit." })),
        ("old", below("expyuzz4wqqyqhjn.onion")),
        ("poison", below(&format!("{onion}\nRESOLVED 1 0 {onion}"))),
        ("forged", below(&format!("a\r\nATTACHSTREAM 1 0\r\n{onion}"))),
        ("blank", below(&format!("{V4} {onion}"))),
    ];
    let named = named.map(|(label, value)| (format!("d/{label}"), value.to_string()));
    let apart = (0..IDS).flat_map(|id| (0..NAMES).map(move |number| name(id, number)));
    let apart = apart.map(|name| (name, json!({ "ip": "127.0.0.1" }).to_string()));
    let all = named.into_iter().chain(apart);
    let all: Vec<_> = all.map(|(name, value)| (name, value, AddressKind::P2pkh)).collect();
    let mut world = World::new(5, Timestamp(1_700_000_000));
    world
        .register("d/gone", r#"{"ip":"127.0.0.1"}"#, AddressKind::P2pkh)
        .unwrap();
    // A name is gone 30 blocks after its registration, which the others must not be.
    world.mine(18);
    world.register_all(&all).unwrap();
    world.mine(14);
    world
}

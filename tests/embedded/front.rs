//! Applications whose way into Tor is the program itself.

use std::net::{IpAddr, Ipv4Addr};

use isonym::time::Timestamp;
use isonym_sim::{AddressKind, Host, Ledger, SharedWorld, World};
use isonym_testkit::running::eventually;
use isonym_testkit::tor_network::daemon::Daemon;
use isonym_testkit::tor_network::name_server::HOST;
use isonym_testkit::tor_network::network::{Network, Onion, beside_others, network};
use isonym_testkit::tor_network::raw::{CONNECT, Credentials, GRANTED, RESOLVE, Raw, UNREACHABLE};
use isonym_testkit::tor_network::site::Site;
use isonym_testkit::tor_network::users::{Way, curl, tor_resolve};
use serde_json::json;
use tokio::sync::RwLockReadGuard;

use crate::WayOut;

/// The port of the onion service.
const HTTP: u16 = 80;

/// What a proxy says of a port that nobody listens on.
const REFUSED: u8 = 5;

/// Sites, names that stand for them, and a daemon that is the way to them.
struct Scene {
    network: &'static Network,
    plain: Site,
    hidden: Site,
    onion: Onion,
    daemon: Daemon,
    socks: u16,
    _host: Host,
    _way_out: WayOut,
    _beside: RwLockReadGuard<'static, ()>,
}

impl Scene {
    async fn new() -> Self {
        let beside = beside_others().await;
        let network = network();
        let way_out = WayOut::of(network);
        let (hidden, plain) = (Site::start("hidden").await, Site::start("plain").await);
        let onion = network.onion_service(HTTP, hidden.address);
        let host = Host::honest("server", world(&onion.host), Ledger::new()).await.unwrap();
        let servers = [host.addr.to_string()];
        let mut daemon = Daemon::start_by(&way_out.arguments(), &servers, &["--socks-listen=127.0.0.1:0"]).await;
        let address = daemon
            .running
            .says("listening on ", " for SOCKS and HTTP CONNECT")
            .await;
        let (_, port) = address.rsplit_once(':').unwrap();
        Self {
            network,
            plain,
            hidden,
            onion,
            socks: port.parse().unwrap(),
            daemon,
            _host: host,
            _way_out: way_out,
            _beside: beside,
        }
    }

    /// Opens a stream to the plain site by this name, and returns it with the circuits of all that are open.
    async fn open(&self, who: Credentials<'_>, host: &str, open: usize) -> (Raw, Vec<String>) {
        let raw = Raw::ask(self.socks, who, CONNECT, host, self.plain.port())
            .await
            .unwrap();
        assert_eq!(raw.reply, GRANTED);
        let circuits = || self.network.circuits_of_streams_to(self.plain.port());
        eventually("the exit has connected", async || circuits().len() == open).await;
        (raw, circuits())
    }

    /// As [`Self::open`], where it is not known how many are open.
    async fn open_beside(&self, who: Credentials<'_>, host: &str) -> (Raw, Vec<String>) {
        let raw = Raw::ask(self.socks, who, CONNECT, host, self.plain.port())
            .await
            .unwrap();
        assert_eq!(raw.reply, GRANTED);
        (raw, self.network.circuits_of_streams_to(self.plain.port()))
    }
}

fn world(onion: &str) -> SharedWorld {
    let named = [
        ("d/site", json!({ "map": { "_tor": { "txt": onion } } })),
        ("d/plain", json!({ "ip": "127.0.0.1" })),
        ("d/also", json!({ "ip": "127.0.0.1" })),
    ];
    let all: Vec<_> = named
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_string(), AddressKind::P2pkh))
        .collect();
    let mut world = World::new(5, Timestamp(1_700_000_000));
    world.register_all(&all).unwrap();
    world.mine(14);
    SharedWorld::new(world)
}

#[tokio::test]
async fn applications_get_everywhere_in_every_protocol() {
    let scene = Scene::new().await;
    let (plain, hidden) = (&scene.plain, &scene.hidden);
    for (host, port, site) in [
        ("plain.bit", plain.port(), plain),
        ("site.bit", HTTP, hidden),
        (scene.onion.host.as_str(), HTTP, hidden),
        ("127.0.0.1", plain.port(), plain),
        ("somewhere.example", plain.port(), plain),
    ] {
        for way in Way::ALL {
            let url = format!("http://{host}:{port}/");
            let end = curl(way, scene.socks, "user", &url).await;
            assert_eq!(end.out, site.text, "{way:?} to {host}: {end:?}");
        }
    }
    for host in ["absent.bit", "nobody.invalid"] {
        let raw = Raw::ask(scene.socks, None, CONNECT, host, HTTP).await.unwrap();
        assert_eq!(raw.reply, UNREACHABLE, "{host}");
    }
    let closed = Raw::ask(scene.socks, None, CONNECT, "127.0.0.1", 1).await.unwrap();
    assert_eq!(closed.reply, REFUSED);
    scene.network.assert_no_leak();
}

#[tokio::test]
async fn names_and_addresses_are_resolved() {
    let scene = Scene::new().await;
    let local = IpAddr::from(Ipv4Addr::LOCALHOST);
    for host in ["plain.bit", HOST, "127.0.0.1"] {
        let raw = Raw::ask(scene.socks, None, RESOLVE, host, 0).await.unwrap();
        assert_eq!((raw.reply, raw.address), (GRANTED, Some(local)), "{host}");
    }
    for host in ["absent.bit", "site.bit", "nobody.invalid", &scene.onion.host] {
        let raw = Raw::ask(scene.socks, None, RESOLVE, host, 0).await.unwrap();
        assert_eq!(raw.reply, UNREACHABLE, "{host}");
    }
    let address = tor_resolve(scene.socks, &[HOST]).await;
    assert_eq!(address.as_deref(), Some("127.0.0.1"));
    let name = tor_resolve(scene.socks, &["-x", "192.0.2.77"]).await;
    assert_eq!(name.as_deref(), Some(HOST));
    scene.network.assert_no_leak();
}

#[tokio::test]
async fn applications_are_kept_apart_by_what_they_call_themselves() {
    let scene = Scene::new().await;
    let (alice, bob) = (Some(("alice", "one")), Some(("bob", "one")));
    let mut held = Vec::new();
    let mut different = 0;
    for (who, host, is_new) in [
        (alice, "127.0.0.1", true),
        (alice, "plain.bit", false),
        (alice, "somewhere.example", false),
        (bob, "127.0.0.1", true),
        (bob, "also.bit", false),
        (Some(("alice", "two")), "plain.bit", true),
        (None, "127.0.0.1", true),
        (None, "plain.bit", false),
        // The empty words are none.
        (Some(("", "")), "127.0.0.1", false),
    ] {
        let (raw, mut circuits) = scene.open(who, host, held.len() + 1).await;
        held.push(raw);
        circuits.sort();
        circuits.dedup();
        different += usize::from(is_new);
        assert_eq!(circuits.len(), different, "{who:?} to {host}");
    }
    scene.network.assert_no_leak();
}

#[tokio::test]
async fn a_new_identity_is_new_for_streams_too() {
    let scene = Scene::new().await;
    let alice = Some(("alice", "one"));
    let (first, before) = scene.open(alice, "127.0.0.1", 1).await;
    // By each of the two ways to ask for it.
    scene.daemon.call("isolation_forget", &[]).await.unwrap();
    let (second, between) = scene.open(alice, "127.0.0.1", 2).await;
    assert!(between.iter().any(|circuit| !before.contains(circuit)), "{between:?}");
    scene.daemon.running.signal("-USR1").await;
    drop((first, second));
    eventually("the next stream is on another circuit", async || {
        let (_third, after) = scene.open_beside(alice, "127.0.0.1").await;
        after.iter().any(|circuit| !between.contains(circuit))
    })
    .await;
}

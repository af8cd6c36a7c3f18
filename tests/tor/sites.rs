//! `isonym tls` through a real Tor: a site is reached by an exit or as an onion service, on a circuit that nobody shares.

use std::process::Command;

use isonym::time::Timestamp;
use isonym_fixtures::certificates::{Algorithm, Signer};
use isonym_sim::{AddressKind, Host, Ledger, SharedWorld, World};
use isonym_testkit::https::{Site, Visit, entry};
use isonym_testkit::program::{End, Program};
use isonym_testkit::running::end_of;
use serde_json::json;

use crate::client::Tor;
use crate::daemon::Daemon;
use crate::network::{Network, Onion, beside_others, network};
use crate::record::Record;
use crate::{assert_apart, closed};

/// A site with a name that leads to it by an address, one that leads to its onion service, and one that publishes another key.
struct Scene {
    network: &'static Network,
    tor: Tor,
    host: Host,
    site: Site,
    /// It is there until this is dropped.
    onion: Onion,
}

const PLAIN: &str = "plain.bit";
const HIDDEN: &str = "hidden.bit";
const FORGED: &str = "forged.bit";

impl Scene {
    async fn new(name: &str) -> Self {
        let network = network();
        let [signer, other] = [(); 2].map(|()| Signer::new(Algorithm::P256));
        let shown = signer.site(&[PLAIN]);
        let site = Site::start(&[&shown, &signer.holder]).await;
        let port = site.address.port();
        let onion = network.onion_service(port, site.address);
        let records = |signer: &Signer| [entry(2, 1, 0, &signer.holder.spki())];
        let hidden = json!({
            "map": { "_tor": { "txt": onion.host }, "_tcp": { "map": { format!("_{port}"): { "tls": records(&signer) } } } },
        });
        let names = [
            ("d/plain", site.value(&records(&signer))),
            ("d/hidden", hidden.to_string()),
            ("d/forged", site.value(&records(&other))),
        ];
        let mut world = World::new(7, Timestamp(1_700_000_000));
        world
            .register_all(&names.map(|(name, value)| (name.to_owned(), value, AddressKind::P2pkh)))
            .unwrap();
        world.mine(14);
        let host = Host::honest("server", SharedWorld::new(world), Ledger::new())
            .await
            .unwrap();
        Self {
            network,
            tor: network.client(name),
            host,
            site,
            onion,
        }
    }

    /// Runs `isonym tls` for a host at the site's port.
    async fn run(&self, mut command: Command, words: &[&str], host: &str) -> End {
        command.arg(self.tor.proxy()).arg("tls").args(words);
        command.arg(format!("{host}:{}", self.site.address.port()));
        end_of(command).await
    }

    /// Asserts that so many streams went to the site by its address, and so many as an onion service; that none shared a circuit
    /// with anything, and no exit or onion service was asked for by a name of ours.
    fn assert_reached(&self, record: &Record, plain: usize, hidden: usize) {
        assert_apart(record);
        let reached = |target: &str| record.streams_to(target).iter().filter(|it| it.succeeded).count();
        let plainly = reached(&self.site.address.to_string());
        let hiddenly = reached(&format!("{}:{}", self.onion.host, self.site.address.port()));
        assert_eq!((plainly, hiddenly), (plain, hidden), "{:?}", record.streams());
        assert!(record.streams().iter().all(|stream| !stream.target.contains(".bit")));
        self.network.assert_no_leak();
    }
}

#[tokio::test]
async fn a_site_is_verified_and_pinned_on_circuits_that_nobody_shares() {
    let _beside = beside_others().await;
    let scene = Scene::new("sites").await;
    let record = scene.tor.record();
    let program = Program::new();
    let server = format!("--server={}:t", scene.host.addr);
    let command = || {
        let mut command = program.on_regtest();
        command.arg(&server);
        command
    };
    for (host, id) in [(PLAIN, "marker-of-one"), (HIDDEN, "marker-of-another")] {
        let end = scene.run(command(), &["verify", "--isolation-id", id], host).await;
        end.assert_succeeded();
        assert!(
            end.out.contains("is authenticated") && !end.out.contains("not proved"),
            "{end:?}"
        );
    }
    scene.assert_reached(&record, 1, 1);
    let end = scene.run(command(), &["pin"], PLAIN).await;
    end.assert_succeeded();
    assert!(end.out.contains("BEGIN CERTIFICATE"), "{end:?}");
    let end = scene.run(command(), &["verify"], FORGED).await;
    end.assert_failed(&["is not authenticated", "signed none of the certificates"]);
    scene.assert_reached(&record, 3, 1);
    assert_eq!(scene.site.visits_of(4).await, vec![Visit::Shook; 4]);
    // A command's streams end with it.
    assert!(closed(&record).len() >= 4, "{:?}", record.streams());
}

#[tokio::test]
async fn beside_a_daemon_the_way_to_the_site_is_the_commands_own() {
    let _beside = beside_others().await;
    let scene = Scene::new("sites-daemon").await;
    let record = scene.tor.record();
    let daemon = Daemon::start(&scene.tor, &[scene.host.addr.to_string()], &[]).await;
    let command = || daemon.program().on_regtest();
    for host in [PLAIN, HIDDEN] {
        let end = scene.run(command(), &["verify"], host).await;
        end.assert_succeeded();
    }
    scene.assert_reached(&record, 1, 1);
    let end = scene.run(command(), &["pin"], PLAIN).await;
    end.assert_succeeded();
    scene.assert_reached(&record, 2, 1);
    assert_eq!(scene.site.visits_of(3).await, vec![Visit::Shook; 3]);
}

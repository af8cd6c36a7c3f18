//! The way of a lookup and of the connection that follows it: through the proxy, each on a circuit that nobody shares.

use std::collections::BTreeSet;

use isonym::time::Timestamp;
use isonym_fixtures::certificates::{Algorithm, Signer};
use isonym_sim::ledger::Target;
use isonym_sim::{AddressKind, World};
use isonym_testkit::harness::{Daemon, Stop, end_of, honest, way};
use isonym_testkit::https::{Site, Visit, entry};
use isonym_testkit::program::Program;
use isonym_testkit::stage::Stage;

use super::{HOST, NAME, certified};

/// How many blocks lie above the registration: enough for it to count. Names expire after 30 on this network.
pub const SETTLED: u32 = 12;

pub async fn stage(site: &Site, signer: &Signer, settled: u32) -> Stage {
    let value = site.value(&[entry(2, 1, 0, &signer.holder.spki())]);
    stage_of(site, &value, settled, true).await
}

/// Makes a stage on which the name has this value, and the proxy leads to the site, if that is there.
pub async fn stage_of(site: &Site, value: &str, settled: u32, is_there: bool) -> Stage {
    let mut world = World::new(1, Timestamp(1_700_000_000));
    world.register(NAME, value, AddressKind::P2wpkh).unwrap();
    world.mine(settled);
    let (stage, _) = honest(world, 2).await;
    if is_there {
        stage.proxy.route(&site.address.ip().to_string(), site.address);
    }
    stage
}

/// Asserts that so many streams went to the site, each with credentials that no other stream has.
pub async fn assert_apart(stage: &Stage, site: &Site, streams: usize) {
    let proxied = stage.ledger.proxied();
    let is_sites = |target: &Target| *target == Target::Address(site.address.ip().to_string());
    let all: Vec<_> = proxied
        .iter()
        .map(|it| it.credentials.clone().expect("each has some"))
        .collect();
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "two streams have the same credentials");
    let to_site = proxied.iter().filter(|it| is_sites(&it.target)).count();
    assert_eq!(to_site, streams);
    // Nobody came by another way.
    assert_eq!(site.visits_of(streams).await, vec![Visit::Shook; streams]);
    let named = |it: &&isonym_sim::ledger::Proxied| format!("{:?}", it.target).contains("marker");
    assert_eq!(proxied.iter().find(named), None, "the name went to the proxy");
}

#[tokio::test]
async fn a_command_goes_to_the_site_on_a_circuit_of_its_own() {
    let signer = Signer::new(Algorithm::P256);
    let site = certified(&signer).await;
    let stage = stage(&site, &signer, SETTLED).await;
    let program = Program::new();
    let run = async |words: &[&str]| {
        let mut command = program.on_regtest();
        command.args(way(&stage)).arg("tls").args(words);
        command.arg(format!("{HOST}:{}", site.address.port()));
        end_of(command).await
    };
    let end = run(&["verify", "--isolation-id", "marker-of-the-id-1"]).await;
    end.assert_succeeded();
    assert!(!end.out.contains("not proved"), "{end:?}");
    assert_apart(&stage, &site, 1).await;
    let end = run(&["verify", "--isolation-id", "marker-of-the-id-2", "--json"]).await;
    end.assert_succeeded();
    assert_eq!(end.json()["proved"], true);
    let end = run(&["pin"]).await;
    end.assert_succeeded();
    assert_apart(&stage, &site, 3).await;
}

#[tokio::test]
async fn the_same_where_a_daemon_looks_names_up() {
    let signer = Signer::new(Algorithm::P256);
    let site = certified(&signer).await;
    let stage = stage(&site, &signer, SETTLED).await;
    let program = Program::new();
    let daemon = Daemon::start(&program, &stage, &[]).await;
    let mut command = program.on_regtest();
    command.args(way(&stage)).args(["tls", "pin"]);
    command.arg(format!("{HOST}:{}", site.address.port()));
    let end = end_of(command).await;
    end.assert_succeeded();
    assert!(!end.err.contains("not proved"), "{end:?}");
    assert_apart(&stage, &site, 1).await;
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn a_name_near_its_end_is_not_pinned() {
    let signer = Signer::new(Algorithm::P256);
    let site = certified(&signer).await;
    let stage = stage(&site, &signer, 20).await;
    let program = Program::new();
    let mut command = program.on_regtest();
    command.args(way(&stage)).args(["tls", "pin"]);
    command.arg(format!("{HOST}:{}", site.address.port()));
    let end = end_of(command).await;
    end.assert_failed(&["cannot be pinned", "expires within hours"]);
}

//! A chain that moves on, servers and proxies that die and come back.

use std::time::Instant;

use isonym_sim::{AddressKind, Host, Proxy, SharedWorld, proxy::Mode};
use serde_json::json;

use isonym_testkit::harness::{Daemon, Stop, honest, id, until};
use isonym_testkit::program::Program;
use isonym_testkit::stage::{NAME, Stage, VALUE, world};

const NEWER: &str = "marker of the newer value";
const OTHER: &str = "marker of the other value";

async fn until_served(daemon: &Daemon, id: &str, value: &str) {
    until(value, async || {
        (daemon.value_of_now(id).await == Ok(value.to_owned())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn new_blocks_and_a_reorganisation() {
    let (stage, shared) = honest(world(), 2).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    let fork = shared.read(isonym_sim::SimChain::height);
    for number in 0..3 {
        assert_eq!(daemon.value(&id(number)).await, Ok(VALUE.to_owned()));
    }
    shared.change(|world| world.update(NAME, NEWER, AddressKind::P2pkh).unwrap());
    for number in 0..3 {
        // What was remembered for the ID does not outlive the block.
        until_served(&daemon, &id(number), NEWER).await;
    }
    assert_eq!(daemon.call("getblockcount", json!([])).await, Ok(json!(fork + 1)));
    shared.change(|world| {
        *world = world.fork_at(fork, 99);
        world.update(NAME, OTHER, AddressKind::P2wpkh).unwrap();
        world.mine(3);
    });
    for number in 0..3 {
        until_served(&daemon, &id(number), OTHER).await;
    }
    assert_eq!(daemon.call("getblockcount", json!([])).await, Ok(json!(fork + 4)));
    let tip = shared.read(|chain| chain.header(fork + 4).unwrap().hash());
    let best = daemon.call("getbestblockhash", json!([])).await;
    assert_eq!(best, Ok(json!(tip.to_string())));
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

/// Absence ends by its own time, not with a block: servers would see all identities ask again at once.
#[tokio::test]
async fn a_name_that_is_registered_after_it_was_asked_for() {
    const LATE: &str = "d/registered-later";
    let (stage, shared) = honest(world(), 2).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &["--cache-negative", "2"]).await;
    let show = async || {
        let shown = daemon.call("name_show", json!([LATE, { "streamID": id(0) }])).await;
        shown.map(|shown| shown["value"].clone())
    };
    let (code, message) = show().await.unwrap_err();
    assert_eq!(code, -4, "{message}");
    shared.change(|world| {
        world.register(LATE, VALUE, AddressKind::P2pkh).unwrap();
        world.mine(12);
    });
    until("the name is found", async || {
        (show().await == Ok(json!(VALUE))).then_some(())
    })
    .await;
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

async fn revive(stage: &mut Stage, names: &[String], world: &SharedWorld) {
    for name in names {
        let host = Host::honest(name, world.clone(), stage.ledger.clone()).await.unwrap();
        stage.proxy.route(name, host.addr);
        stage.hosts.push(host);
    }
}

#[tokio::test]
async fn all_servers_die_and_come_back() {
    let (mut stage, shared) = honest(world(), 2).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    assert_eq!(daemon.value(&id(0)).await, Ok(VALUE.to_owned()));
    let names: Vec<String> = stage.hosts.drain(..).map(|host| host.name.clone()).collect();
    // What is remembered is still true; for whom nothing is, an error comes.
    assert_eq!(daemon.value(&id(0)).await, Ok(VALUE.to_owned()));
    for number in [1, 2] {
        let since = Instant::now();
        let (code, message) = daemon.value(&id(number)).await.unwrap_err();
        eprintln!(
            "all servers dead: {code} after {} ms: {message}",
            since.elapsed().as_millis()
        );
        assert!(message.contains("server"), "{message}");
    }
    shared.change(|world| world.update(NAME, NEWER, AddressKind::P2pkh).unwrap());
    revive(&mut stage, &names, &shared).await;
    let since = Instant::now();
    until_served(&daemon, &id(1), NEWER).await;
    until_served(&daemon, &id(0), NEWER).await;
    eprintln!("servers back: served after {} ms", since.elapsed().as_millis());
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn one_of_two_servers_dies() {
    let (mut stage, shared) = honest(world(), 2).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    for number in 0..6 {
        assert_eq!(daemon.value(&id(number)).await, Ok(VALUE.to_owned()));
    }
    drop(stage.hosts.remove(0));
    for number in 0..12 {
        assert_eq!(daemon.value(&id(number)).await, Ok(VALUE.to_owned()));
    }
    shared.change(|world| world.update(NAME, NEWER, AddressKind::P2pkh).unwrap());
    for number in 0..12 {
        until_served(&daemon, &id(number), NEWER).await;
    }
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn the_proxy_dies_and_comes_back() {
    let (mut stage, _) = honest(world(), 2).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    let address = stage.proxy.addr;
    let before = stage.ledger.connections().len();
    stage.proxy = Proxy::start(Mode::Open, stage.ledger.clone()).await.unwrap();
    for number in [1, 2] {
        let since = Instant::now();
        let (code, message) = daemon.value(&id(number)).await.unwrap_err();
        eprintln!("proxy dead: {code} after {} ms: {message}", since.elapsed().as_millis());
        assert!(message.contains("proxy"), "{message}");
    }
    let opened = stage.ledger.connections().split_off(before);
    assert!(opened.is_empty(), "nothing goes past the proxy: {opened:?}");
    stage.proxy = Proxy::start_at(address, Mode::Open, stage.ledger.clone())
        .await
        .unwrap();
    for host in &stage.hosts {
        stage.proxy.route(&host.name, host.addr);
    }
    let since = Instant::now();
    until_served(&daemon, &id(1), VALUE).await;
    eprintln!("proxy back: served after {} ms", since.elapsed().as_millis());
    assert!(stage.ledger.circuits().iter().all(|(_, way)| way.is_some()));
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn servers_of_another_network_are_of_no_use() {
    let (stage, _) = honest(world(), 2).await;
    stage.hosts[0].set_fault(Some(isonym_sim::Fault::WrongNetwork));
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    for number in 0..12 {
        assert_eq!(daemon.value(&id(number)).await, Ok(VALUE.to_owned()));
    }
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

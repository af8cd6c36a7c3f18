//! The daemon with `--names local`: what it answers, from whom it has that, and who hears of a lookup: nobody.

use std::collections::BTreeSet;

use isonym::chain::Height;
use isonym_sim::{AddressKind, Peer, PeerFault, PeerHost, SharedWorld, World};
use isonym_testkit::harness::{Daemon, honest, until};
use isonym_testkit::program::Program;
use isonym_testkit::stage::Stage;
use serde_json::{Value, json};

/// A stage with servers, some peers of the same world, and the world.
pub struct Scene {
    pub stage: Stage,
    pub peers: Vec<PeerHost>,
    pub world: SharedWorld,
}

impl Scene {
    pub async fn open(world: World, servers: usize, faults: &[Option<PeerFault>]) -> Self {
        let (stage, world) = honest(world, servers).await;
        let mut peers = Vec::new();
        for (number, fault) in faults.iter().enumerate() {
            let name = format!("p{number}.example");
            let peer = fault.map_or_else(Peer::default, |fault| Peer::default().with_fault(fault));
            let host = PeerHost::start(&name, peer, world.clone(), stage.ledger.clone()).await;
            let host = host.unwrap();
            stage.proxy.route(&name, host.addr);
            peers.push(host);
        }
        Self { stage, peers, world }
    }

    /// The arguments that lead a daemon to the peers.
    pub fn way(&self, mode: &str) -> Vec<String> {
        let peers = (0..self.peers.len()).map(|number| format!("--peer=p{number}.example"));
        [format!("--names={mode}")].into_iter().chain(peers).collect()
    }

    pub async fn start(&self, program: &Program, mode: &str) -> Daemon {
        let way = self.way(mode);
        let way: Vec<&str> = way.iter().map(String::as_str).collect();
        Daemon::start(program, &self.stage, &way).await
    }

    fn tip(&self) -> Height {
        self.world.read(isonym_sim::SimChain::height)
    }

    /// Counts the connections that servers and peers had so far.
    fn connections(&self) -> usize {
        self.stage.ledger.connections().len()
    }
}

/// Waits until all living names are there, up to the scene's tip.
pub async fn complete(daemon: &Daemon, scene: &Scene) {
    until("all living names are there", async || {
        let status = daemon.call("status", json!([])).await.unwrap();
        let names = &status["names"];
        let is_there = names["complete"] == json!(true) && names["height"] == json!(scene.tip());
        is_there.then_some(())
    })
    .await;
}

pub async fn show(daemon: &Daemon, name: &str) -> Result<Value, (i64, String)> {
    daemon.call("name_show", json!([name])).await
}

pub fn world() -> World {
    let mut world = isonym_testkit::stage::world();
    let names = [
        ("d/alpha", "1", AddressKind::P2pkh),
        ("d/beta", "2", AddressKind::P2wpkh),
        ("d/gamma", "3", AddressKind::P2shP2wpkh),
    ];
    world.register_all(&names).unwrap();
    world.mine(12);
    world
}

#[tokio::test]
async fn names_are_proved_and_so_is_that_there_is_none() {
    let scene = Scene::open(world(), 1, &[None, None]).await;
    let program = Program::new();
    let daemon = scene.start(&program, "local").await;
    complete(&daemon, &scene).await;
    let before = scene.connections();
    for (name, value) in [("d/alpha", "1"), ("d/beta", "2"), ("d/gamma", "3")] {
        let shown = show(&daemon, name).await.unwrap();
        assert_eq!(shown["value"], json!(value));
        assert_eq!(shown["verified"]["tip_height"], json!(scene.tip()));
    }
    let (code, message) = show(&daemon, "d/delta").await.unwrap_err();
    assert_eq!(code, -4);
    assert!(message.contains("proved"), "{message}");
    // Nobody heard of any of that.
    assert_eq!(scene.connections(), before);
    for name in ["d/alpha", "d/beta", "d/gamma", "d/delta"] {
        assert_eq!(scene.stage.asked(0, name), 0);
    }
    assert_eq!(scene.stage.met_by_lookups(0), 0);
    // What only servers know is not asked of them.
    let (_, message) = daemon.call("name_history", json!(["d/alpha"])).await.unwrap_err();
    assert!(message.contains("asks none"), "{message}");
    let (_, message) = daemon.call("name_proof", json!(["d/alpha"])).await.unwrap_err();
    assert!(message.contains("asks none"), "{message}");
}

#[tokio::test]
async fn a_new_block_is_read_at_once_and_a_replaced_one_is_taken_back() {
    let scene = Scene::open(world(), 2, &[None, None]).await;
    let program = Program::new();
    let daemon = scene.start(&program, "local").await;
    complete(&daemon, &scene).await;
    scene
        .world
        .change(|world| world.update("d/alpha", "new", AddressKind::P2pkh).map(drop))
        .unwrap();
    complete(&daemon, &scene).await;
    assert_eq!(show(&daemon, "d/alpha").await.unwrap()["value"], json!("new"));
    // Another branch, on which the update never was, and a name was registered that nobody knew.
    scene.world.change(|world| {
        let fork = world.chain().height() - 1;
        *world = world.fork_at(fork, 77);
        world.register("d/delta", "4", AddressKind::P2pkh).unwrap();
        world.mine(12);
    });
    complete(&daemon, &scene).await;
    assert_eq!(show(&daemon, "d/delta").await.unwrap()["value"], json!("4"));
    // The others have become too old to be served, or expired.
    for name in ["d/alpha", "d/beta"] {
        assert_eq!(show(&daemon, name).await.unwrap_err().0, -4);
    }
}

#[tokio::test]
async fn what_was_read_is_there_after_a_restart_and_after_a_kill() {
    let scene = Scene::open(world(), 1, &[None]).await;
    let program = Program::new();
    let daemon = scene.start(&program, "local").await;
    complete(&daemon, &scene).await;
    drop(daemon);
    let read = blocks_asked(&scene);
    for round in 0..3 {
        scene.world.change(|world| world.mine(2));
        let daemon = scene.start(&program, "local").await;
        complete(&daemon, &scene).await;
        let value = show(&daemon, "d/beta").await.unwrap();
        assert_eq!(value["value"], json!("2"), "round {round}");
        // Dropping it is a kill.
        drop(daemon);
    }
    let again: BTreeSet<Height> = blocks_asked(&scene).split_off(read.len()).into_iter().collect();
    let first: BTreeSet<Height> = read.into_iter().collect();
    assert!(again.is_disjoint(&first), "read twice: {again:?}");
}

/// The heights of all blocks that peers were asked for, in order.
fn blocks_asked(scene: &Scene) -> Vec<Height> {
    let asked = scene.stage.ledger.heights_asked("getdata");
    asked.into_iter().flat_map(|(_, heights)| heights).collect()
}

#[tokio::test]
async fn servers_are_asked_until_all_names_are_here() {
    let scene = Scene::open(world(), 1, &[Some(PeerFault::Stalls { after: 3 })]).await;
    let program = Program::new();
    let daemon = scene.start(&program, "local-or-servers").await;
    daemon.synced().await;
    assert_eq!(show(&daemon, "d/alpha").await.unwrap()["value"], json!("1"));
    assert_eq!(scene.stage.asked(0, "d/alpha"), 1);
    scene.peers[0].set_fault(None);
    complete(&daemon, &scene).await;
    assert_eq!(show(&daemon, "d/beta").await.unwrap()["value"], json!("2"));
    assert_eq!(scene.stage.asked(0, "d/beta"), 0);
}

#[tokio::test]
async fn without_all_names_none_is_looked_up_strictly() {
    let scene = Scene::open(world(), 1, &[Some(PeerFault::Stalls { after: 3 })]).await;
    let program = Program::new();
    let daemon = scene.start(&program, "local").await;
    daemon.synced().await;
    let (code, message) = show(&daemon, "d/alpha").await.unwrap_err();
    assert_eq!(code, -28, "{message}");
    assert!(message.contains("being fetched"), "{message}");
    assert_eq!(scene.stage.asked(0, "d/alpha"), 0);
}

#[tokio::test]
async fn whatever_a_peer_does_another_one_brings_all_names() {
    use isonym_sim::Flaw;
    // What takes patience instead of a look is told apart in virtual time, in the simulator's own tests.
    let faults = [
        PeerFault::Version(60_000),
        PeerFault::WrongMagic,
        PeerFault::BadChecksums,
        PeerFault::UploadTarget { newest: 5 },
        PeerFault::UnconnectingHeaders,
        PeerFault::ForgedAuxPow {
            from: 100,
            flaw: Flaw::NotEnoughWork,
        },
        PeerFault::LessWork { depth: 5, blocks: 3 },
        PeerFault::MutatedBlocks,
        PeerFault::ForgedTransactions,
        PeerFault::HugeMessage,
    ];
    // As many as are dialed at a time, an honest one among them.
    for pair in faults.chunks(3) {
        let faults: Vec<Option<PeerFault>> = pair.iter().copied().map(Some).chain([None]).collect();
        let scene = Scene::open(world(), 1, &faults).await;
        let program = Program::new();
        let daemon = scene.start(&program, "local").await;
        complete(&daemon, &scene).await;
        assert_eq!(show(&daemon, "d/gamma").await.unwrap()["value"], json!("3"), "{pair:?}");
        let (_, message) = show(&daemon, "d/delta").await.unwrap_err();
        assert!(message.contains("proved"), "{pair:?}: {message}");
    }
}

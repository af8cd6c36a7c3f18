//! Whatever the disk does, names are looked up.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use isonym_sim::{AddressKind, Host, Ledger, SharedWorld, SimChain, World};
use tempfile::TempDir;

use super::{Daemon, DaemonSettings, Question, run_daemon};
use crate::chain::{Anchor, Height, Network};
use crate::isolation::IsolationId;
use crate::name::NameId;
use crate::net::{ConnectionLimits, Proxy};
use crate::node::{DiskGate, Node, NodeConfig, NodeError, panic_is_guarded};
use crate::time::Timestamp;

const NAME: &str = "d/disk";

/// After this long a test gives up, so that it fails where it would hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a write waits at until the test opens it.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
    /// Nobody opened it in all the time that tests have: who was to do so waits itself.
    was_forced: AtomicBool,
}

impl Gate {
    /// Waits, and opens the gate by itself when the test never does.
    fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let is_open = self.is_open.lock().unwrap();
        let waited = self.opened.wait_timeout_while(is_open, PATIENCE, |is_open| !*is_open);
        let (mut is_open, timeout) = waited.unwrap();
        if timeout.timed_out() {
            self.was_forced.store(true, Ordering::SeqCst);
            *is_open = true;
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn close(&self) {
        *self.is_open.lock().unwrap() = false;
    }

    fn was_forced(&self) -> bool {
        self.was_forced.load(Ordering::SeqCst)
    }

    fn holds_a_write(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }
}

/// A world with a name and a server that knows it.
struct Scene {
    world: SharedWorld,
    host: Host,
    folder: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let mut world = World::new(1, Timestamp(1_700_000_000));
        world.register(NAME, "value", AddressKind::P2wpkh).unwrap();
        world.mine(12);
        let world = SharedWorld::new(world);
        let host = Host::honest("server.sim", world.clone(), Ledger::new()).await.unwrap();
        Self {
            world,
            host,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn node(&self) -> Node {
        let config = NodeConfig {
            network: Network::Regtest,
            folder: self.folder.path().to_owned(),
            anchor: Anchor::shipped(Network::Regtest).unwrap(),
            servers: vec![format!("{}:t", self.host.addr).parse().unwrap()],
            discover: false,
            proxy: Proxy::Direct,
            connection_limits: ConnectionLimits::default(),
        };
        Node::open(config).unwrap().0
    }

    /// Returns the height of what is on the disk; no node may run meanwhile.
    fn height_on_disk(&self) -> Height {
        self.node().tree().tip().height
    }

    fn height(&self) -> Height {
        self.world.read(SimChain::height)
    }

    fn mine(&self) {
        self.world.change(|world| world.mine(1));
    }

    async fn until_at_tip(&self, daemon: &Daemon) {
        let standing = || daemon.node.standing();
        until(|| standing().synchronized && standing().tip.height == self.height()).await;
    }
}

async fn run<F: Future<Output = ()>>(node: Node, test: impl FnOnce(Daemon) -> F) -> Result<(), NodeError> {
    let settings = DaemonSettings::default();
    let running = run_daemon(node, &settings, async |daemon| {
        test(daemon).await;
        Ok(())
    });
    tokio::time::timeout(3 * PATIENCE, running)
        .await
        .expect("the daemon hangs")
}

async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn look_up(daemon: &Daemon, id: &str) {
    let question = Question {
        name: NameId::new(NAME.as_bytes()).unwrap(),
        isolation_id: IsolationId::new(id.as_bytes()),
        allow_expired: false,
        quorum: None,
        max_age: None,
    };
    let answer = daemon.names.name_show(&question).await.unwrap();
    assert!(answer.value().is_some(), "{answer:?}");
}

#[tokio::test]
async fn names_are_looked_up_and_blocks_come_while_the_disk_says_nothing() {
    let scene = Scene::new().await;
    let gate = Arc::new(Gate::default());
    gate.open();
    let mut node = scene.node();
    let flush = Arc::clone(&gate);
    node.set_disk(DiskGate::new(move || {
        flush.pass();
        Ok(())
    }));
    let running = run(node, async |daemon| {
        scene.until_at_tip(&daemon).await;
        look_up(&daemon, "one").await;
        gate.close();
        for round in 0..10 {
            scene.mine();
            // Only the first block is being written. The others are known without that.
            until(|| gate.holds_a_write() || gate.was_forced()).await;
            scene.until_at_tip(&daemon).await;
            for repeat in 0..3 {
                // Remembered from the second time on, for the second ID from the first.
                look_up(&daemon, "one").await;
                look_up(&daemon, &format!("{round}")).await;
                assert!(gate.holds_a_write(), "in round {round}, repeat {repeat}");
            }
        }
        assert!(!gate.was_forced(), "who was to open the gate waited for the disk");
        gate.open();
    });
    running.await.unwrap();
    // The end of the daemon waited for all that had come meanwhile.
    assert_eq!(scene.height_on_disk(), scene.height());
}

#[tokio::test]
async fn a_daemon_ends_when_what_it_learnt_is_on_the_disk() {
    let scene = Scene::new().await;
    let gate = Arc::new(Gate::default());
    let mut node = scene.node();
    let flush = Arc::clone(&gate);
    node.set_disk(DiskGate::new(move || {
        flush.pass();
        Ok(())
    }));
    let fronts_ended = AtomicBool::new(false);
    let running = run(node, async |daemon| {
        scene.until_at_tip(&daemon).await;
        look_up(&daemon, "one").await;
        fronts_ended.store(true, Ordering::SeqCst);
    });
    let running = std::pin::pin!(running);
    let opening = async {
        until(|| fronts_ended.load(Ordering::SeqCst) && gate.holds_a_write()).await;
        gate.open();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        end = running => end.unwrap(),
        () = opening => {}
    }
    assert!(!gate.was_forced());
    assert_eq!(scene.height_on_disk(), scene.height());
}

#[tokio::test]
async fn a_database_that_panics_in_the_thread_that_writes_is_written_anew() {
    let scene = Scene::new().await;
    let mut node = scene.node();
    let guarded = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&guarded);
    node.set_disk(DiskGate::new(move || {
        assert!(
            seen.swap(panic_is_guarded(), Ordering::SeqCst),
            "as sled does on damaged files"
        );
        Ok(())
    }));
    let running = run(node, async |daemon| {
        scene.until_at_tip(&daemon).await;
        scene.mine();
        scene.until_at_tip(&daemon).await;
        look_up(&daemon, "one").await;
    });
    running.await.unwrap();
    assert!(guarded.load(Ordering::SeqCst));
    assert_eq!(scene.height_on_disk(), scene.height());
}

#[tokio::test]
async fn a_disk_that_is_full_is_told_and_written_to_again_when_it_has_room() {
    let scene = Scene::new().await;
    let mut node = scene.node();
    let told = Arc::new(AtomicBool::new(false));
    let has_room = Arc::clone(&told);
    node.set_disk(DiskGate::new(move || {
        let full = std::io::ErrorKind::StorageFull;
        if has_room.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(full.into())
        }
    }));
    let running = run(node, async |daemon| {
        let standing = || daemon.node.standing();
        until(|| !standing().warnings().is_empty()).await;
        let unwritten = daemon.node.status().unwritten.unwrap_or_default();
        assert!(unwritten.contains("nothing is written"), "{unwritten}");
        scene.until_at_tip(&daemon).await;
        look_up(&daemon, "one").await;
        told.store(true, Ordering::SeqCst);
        until(|| standing().warnings().is_empty()).await;
        scene.mine();
        scene.until_at_tip(&daemon).await;
    });
    running.await.unwrap();
    assert!(told.load(Ordering::SeqCst));
    assert_eq!(scene.height_on_disk(), scene.height());
}

/// Opening a pipe to write to it blocks until somebody reads it, as a disk may block who opens a file.
#[cfg(unix)]
#[tokio::test]
async fn names_are_looked_up_while_a_small_file_is_being_written() {
    let scene = Scene::new().await;
    let pipe = scene.folder.path().join("last-sync.json.new");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let (read, to_read) = std::sync::mpsc::channel::<()>();
    let was_forced = Arc::new(AtomicBool::new(false));
    let forced = Arc::clone(&was_forced);
    let reader = std::thread::spawn(move || {
        let told = to_read.recv_timeout(PATIENCE);
        forced.store(told.is_err(), Ordering::SeqCst);
        let mut text = String::new();
        let mut opened = std::fs::File::open(&pipe).unwrap();
        // The next one is written as ever.
        std::fs::remove_file(pipe).unwrap();
        opened.read_to_string(&mut text).unwrap();
        text
    });
    let running = run(scene.node(), async |daemon| {
        scene.until_at_tip(&daemon).await;
        for _ in 0..3 {
            scene.mine();
            scene.until_at_tip(&daemon).await;
            look_up(&daemon, "one").await;
        }
        read.send(()).unwrap();
    });
    running.await.unwrap();
    assert!(
        !was_forced.load(Ordering::SeqCst),
        "who was to read waited for the file"
    );
    assert!(!reader.join().unwrap().is_empty());
    assert_eq!(scene.height_on_disk(), scene.height());
}

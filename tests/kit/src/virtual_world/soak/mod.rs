//! A soak: a whole daemon for days or years of virtual time, with everything that befalls one and its servers, while
//! thousands of IDs ask for names. What must hold is looked at all along.
//!
//! | what must hold | how it is known |
//! | --- | --- |
//! | no value is wrong | it was the best chain's within twenty minutes, or is what a server shows, or then showed, that is behind: by one server's word that can't be known better |
//! | a value stands on our tip | the block that proves it is part of the chain that it was judged by, and that chain ends with our newest block; one ID asks for what a reorganisation is about to replace, and again after it |
//! | names are answered | within five minutes, by asking again every quarter of a minute, wherever a server was good (two, where two must agree) and nothing was wrong with the machine since [`world::RECOVERY`] |
//! | servers that were learned of take nobody's place | what one operator alone names is never dialed; lookups ask none before a week of good service; those that are configured stay in use; two that deny all names make no quorum |
//! | nobody innocent is left for good | a server that is good is asked for names again within `IDLE` |
//! | what can't be written is told, and written once it can be | the node's warning while the disk takes nothing; a node that is started again has all headers that it had, and finds its store whole |
//! | nothing grows | tasks, connections, IDs and results go back to little when nobody asks any more |
//! | fronts agree | JSON-RPC and DNS say what the library said, under the same ID, unless a block came or something was forgotten |
//! | a connection has one ID | for each there is an ID that asked for every name that it carried, at the time |
//! | nobody is asked for what no ID wants | the same; connections of header sync carry no lookups |
//! | what is used does not show in what is opened | as many connections are opened ahead in the minute after a first use as in the one before, within 4.5 sigmas |
//!
//! A seed decides on blocks, users, events and circuits. It does not decide on everything: secrets and cache lives are drawn
//! from the system's generator, hash maps have an order of their own, and the thread that writes to the disk lives in real
//! time. So a seed that failed fails again mostly, and not to the byte.

mod fates;
mod fronts;
mod openings;
mod patience;
mod truth;
pub mod users;
mod watch;
pub mod world;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use isonym::chain::{Anchor, Height, Network};
use isonym::net::dialer::StreamSource;
use isonym::net::{self, Dialer, Proxy};
use isonym::node::{Clock, DiskGate, Node, NodeConfig, NodeError, Surroundings, VirtualTime};
use isonym::service::{Caller, DaemonSettings, Fronts};
use isonym::time::{Timestamp, random_pause};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::sleep;

pub use self::world::Counts;
use self::world::{NAMED, RECOVERY, SERVERS, SoakWay, SoakWorld};
use super::{BLOCK_MEAN, in_virtual_time, onion};

use crate::running_daemon::run_in_task;

/// How often everything is looked at.
const GLANCE: Duration = Duration::from_secs(300);

/// A good server is asked for names within so long, in seconds.
const IDLE: f64 = 36.0 * 3600.0;

/// How long nobody asks in the end.
const REST: Duration = Duration::from_secs(4 * 3600);

/// What may be left of each thing then: connections that are opened ahead, those of header sync, their tasks.
const LEFT: usize = 120;

/// How much there is of what.
#[derive(Clone, Copy, Debug)]
pub struct SoakSettings {
    pub seed: u64,
    pub days: f64,
    /// IDs that begin to ask on a day.
    pub users_a_day: f64,
    /// Whether thousands of IDs ask at once now and then.
    pub with_floods: bool,
    /// Whether all events are told of as they happen.
    pub tells_all: bool,
}

/// Keeps one daemon on one data folder, whatever comes.
#[derive(Debug)]
struct DaemonKeeper {
    folder: TempDir,
    running: Mutex<Option<JoinHandle<Result<(), NodeError>>>>,
    /// What is wrong with the disk.
    trouble: Arc<Mutex<Option<io::ErrorKind>>>,
    /// The height that a node must have when it is started again.
    height: Mutex<Height>,
    starts: AtomicUsize,
}

impl DaemonKeeper {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            running: Mutex::new(None),
            trouble: Arc::default(),
            height: Mutex::new(0),
            starts: AtomicUsize::new(0),
        }
    }

    /// Has the daemon begin with servers that it learned of long ago, for every other seed.
    fn learn_before(&self, world: &SoakWorld) {
        if !world.seed.is_multiple_of(2) {
            return;
        }
        world.begin_with_learned();
        let day = world.wall() / 86_400;
        let learned = |number: usize| {
            json!({
                "address": format!("{}:50001:t", onion(number)),
                "by": "corroborated",
                "since_day": day - 30,
                "checked": true,
                "good_days": 20,
                "last_good_day": day,
            })
        };
        let learned: Value = (SERVERS..NAMED).map(learned).collect();
        std::fs::write(self.folder.path().join("servers"), learned.to_string()).unwrap();
    }

    /// Starts the daemon; whether the store is whole.
    async fn start(&self, world: &Arc<SoakWorld>, is_whole: bool) {
        self.starts.fetch_add(1, Ordering::Relaxed);
        let time = VirtualTime::starting_at(Timestamp(world.wall()));
        let servers = (0..SERVERS).map(|number| format!("s{number}.sim:50001:t").parse().unwrap());
        let config = NodeConfig {
            discover: true,
            network: Network::Regtest,
            folder: self.folder.path().to_owned(),
            anchor: Anchor::shipped(Network::Regtest).unwrap(),
            servers: servers.collect(),
            proxy: Proxy::default(),
            connection_limits: net::ConnectionLimits::default(),
        };
        let way = Arc::new(SoakWay(Arc::downgrade(world)));
        let surroundings = Surroundings {
            dialer: Dialer::without_sockets(way as Arc<dyn StreamSource>).unwrap(),
            params: Network::Regtest.params(),
            clock: Clock::start_virtual(Arc::clone(&time)),
            seed: world.rng().random(),
            disk: self.disk(),
        };
        let (node, rebuilt) = Node::open_in(config, surroundings).unwrap();
        let (height, wanted) = (node.tree().tip().height, *self.height.lock().unwrap());
        if let Some(reason) = rebuilt.filter(|_| is_whole) {
            world.fail(&format!(
                "the headers on disk are dropped, which nobody damaged: {reason}"
            ));
        }
        if is_whole && height < wanted {
            world.fail(&format!(
                "the disk has headers up to {height}, and the node had them up to {wanted}"
            ));
        }
        let settings = DaemonSettings {
            fronts: Fronts::of(&[Caller::Program, Caller::Dns]),
            ..DaemonSettings::default()
        };
        let (daemon, running) = run_in_task(node, settings).await;
        world.set_daemon(Some((daemon, time)));
        *self.running.lock().unwrap() = Some(running);
    }

    async fn stop(&self, world: &Arc<SoakWorld>, kills: bool) {
        let daemon = world.daemon();
        world.set_daemon(None);
        let running = self.running.lock().unwrap().take();
        let (Some(daemon), Some(running)) = (daemon, running) else {
            return;
        };
        let height = daemon.node.standing().tip.height;
        if kills {
            running.abort();
        } else {
            daemon.node.stop();
        }
        let end = running.await;
        // Whoever is killed may have been about to write something.
        let is_written = !kills && self.trouble().is_none();
        *self.height.lock().unwrap() = if is_written { height } else { 0 };
        if let Ok(Err(error)) = end {
            world.tell(&format!("the node ends with: {error}"));
        }
    }

    /// Ends the daemon, and starts it again after a while.
    async fn restart(&self, world: &Arc<SoakWorld>, kills: bool, away: Duration, damage: Option<StdRng>) {
        world.disturb(true);
        self.stop(world, kills).await;
        sleep(away).await;
        let is_whole = damage.is_none();
        if let Some(mut rng) = damage {
            self.damage(&mut rng);
        }
        // Whoever asked holds a way to the node, and with it the lock on its folder, until told that it ends.
        self.start(world, is_whole).await;
        world.disturb(false);
    }

    fn trouble(&self) -> Option<io::ErrorKind> {
        *self.trouble.lock().unwrap()
    }

    fn disk(&self) -> DiskGate {
        let trouble = Arc::clone(&self.trouble);
        DiskGate::new(move || trouble.lock().unwrap().map_or(Ok(()), |kind| Err(kind.into())))
    }

    /// Has the disk take nothing for a while. That is to be told, and is to change nothing for those who ask.
    async fn fill_disk(&self, world: &SoakWorld, kind: io::ErrorKind, time: Duration) {
        let height = || world.daemon().map(|daemon| daemon.node.standing().tip.height);
        let (start, before) = (self.starts.load(Ordering::Relaxed), height());
        *self.trouble.lock().unwrap() = Some(kind);
        sleep(time).await;
        let is_same = || self.starts.load(Ordering::Relaxed) == start;
        if is_same() && before.is_some() && height() > before {
            let is_told = |unwritten| matches!(unwritten, Some(NodeError::Store { .. })) || !is_same();
            if let Err(unwritten) = until_disk(world, is_told).await {
                world.fail(&format!("nothing can be written, and what is told is {unwritten:?}"));
            }
        }
        *self.trouble.lock().unwrap() = None;
        world.tell("the disk takes everything again");
        let is_written = |unwritten| !matches!(unwritten, Some(NodeError::Store { .. }));
        if let Err(unwritten) = until_disk(world, is_written).await {
            world.fail(&format!("all can be written, and what is told is {unwritten:?}"));
        }
    }

    /// Damages the header store, as a crash of the machine may, while no node runs.
    fn damage(&self, rng: &mut StdRng) {
        let store = std::fs::read_dir(self.folder.path().join("headers"))
            .into_iter()
            .flatten();
        let files: Vec<PathBuf> = store
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_file())
            .collect();
        if files.is_empty() {
            return;
        }
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(&files[rng.random_range(0..files.len())]);
        if let Ok(file) = file {
            let length = file.metadata().unwrap().len();
            file.set_len(rng.random_range(0..=length)).unwrap();
        }
    }

    /// Has none of the small files written for a while: there are folders in their places.
    fn obstruct(&self, world: &Arc<SoakWorld>, time: Duration) {
        let files = ["last-sync.json", "server-ways.json"].map(|file| self.folder.path().join(file));
        let world = Arc::clone(world);
        tokio::spawn(async move {
            let put_in_the_way = |file: &PathBuf| {
                let _ = std::fs::remove_file(file);
                let _ = std::fs::create_dir(file);
            };
            files.iter().for_each(put_in_the_way);
            sleep(time).await;
            for file in &files {
                let _ = std::fs::remove_dir(file);
            }
            world.tell("files can be written again");
        });
    }
}

/// Waits until what the node says of its disk is as it should be. The thread that writes lives in real time: it is given a
/// minute of that.
async fn until_disk(world: &SoakWorld, is_so: impl Fn(Option<NodeError>) -> bool) -> Result<(), Option<NodeError>> {
    let mut told = None;
    for _ in 0..3000 {
        let Some(daemon) = world.daemon() else { return Ok(()) };
        told = daemon.node.standing().unwritten;
        if is_so(told.clone()) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
        sleep(Duration::from_secs(1)).await;
    }
    Err(told)
}

/// Runs a soak.
///
/// # Errors
///
/// What did not hold, with the seed, the moment and what happened before.
pub fn soak(settings: &SoakSettings) -> Result<Counts, String> {
    let settings = *settings;
    in_virtual_time(async move {
        let world = SoakWorld::new(settings.seed, settings.tells_all);
        let keeper = Arc::new(DaemonKeeper::new());
        keeper.learn_before(&world);
        keeper.start(&world, true).await;
        let miner = tokio::spawn(mine(Arc::clone(&world)));
        let fates = fates::suffer(Arc::clone(&world), Arc::clone(&keeper), settings.with_floods);
        let fates = tokio::spawn(fates);
        let users = tokio::spawn(arrive(Arc::clone(&world), settings.users_a_day));
        while world.now() < settings.days * 86_400.0 {
            sleep(GLANCE).await;
            look(&world)?;
        }
        users.abort();
        fates.abort();
        rest(&world).await?;
        keeper.stop(&world, false).await;
        miner.abort();
        Ok(world.counts(|counts| counts.clone()))
    })
}

/// Runs a flood alone; without a limit all of it reaches the pool.
///
/// # Errors
///
/// As [`soak`].
pub fn flood(seed: u64, is_unlimited: bool) -> Result<Counts, String> {
    in_virtual_time(async move {
        let world = SoakWorld::new(seed, false);
        let keeper = DaemonKeeper::new();
        keeper.start(&world, true).await;
        sleep(Duration::from_secs_f64(RECOVERY)).await;
        users::flood(&world, 1, is_unlimited).await;
        look(&world)?;
        keeper.stop(&world, false).await;
        Ok(world.counts(|counts| counts.clone()))
    })
}

async fn mine(world: Arc<SoakWorld>) {
    let mut rng = world.rng();
    loop {
        sleep(random_pause(BLOCK_MEAN, &mut rng)).await;
        world.find_block(None);
    }
}

async fn arrive(world: Arc<SoakWorld>, users_a_day: f64) {
    let mut rng = world.rng();
    for id in 1.. {
        sleep(random_pause(Duration::from_secs_f64(86_400.0 / users_a_day), &mut rng)).await;
        tokio::spawn(users::live(Arc::clone(&world), id));
    }
}

fn look(world: &SoakWorld) -> Result<(), String> {
    world.check();
    for (server, idle) in world.idle().into_iter().enumerate() {
        if idle > IDLE {
            world.fail(&format!("server {server} is good, and was not asked for {idle:.0} s"));
        }
    }
    world.failure().map_or(Ok(()), Err)
}

/// Waits until whatever was asked is answered, and looks at what is left.
async fn rest(world: &Arc<SoakWorld>) -> Result<(), String> {
    let glances = REST.as_secs() / GLANCE.as_secs();
    for _ in 0..glances * 2 {
        sleep(GLANCE).await;
        look(world)?;
    }
    let calm = world.now() - world.calm_since(1) > RECOVERY;
    let Some(daemon) = world.daemon().filter(|_| calm) else {
        return Ok(());
    };
    let pool = daemon.node.standing().pool;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    world.counts(|counts| counts.see("tasks in the end", tasks));
    let left = [
        ("tasks", tasks),
        ("connections bound to an ID", pool.dirty),
        ("connections that part", pool.parting),
        ("IDs in the pool", pool.ids),
        ("lookups that wait", pool.waiting),
    ];
    for (what, many) in left {
        if many > LEFT {
            world.fail(&format!("{many} {what} are left when nobody asks"));
        }
    }
    world.failure().map_or(Ok(()), Err)
}

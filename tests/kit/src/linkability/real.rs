//! The same daemons and people before a real ElectrumX server, in real time. Each daemon reaches it through a proxy of its
//! own, which is as slow as circuits are and keeps all that goes through it: to the server each connection comes from nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use isonym::chain::{Anchor, Network};
use isonym::net::{self, ConnectionLimits};
use isonym::node::{Node, NodeConfig, NodeError};
use isonym::service::{Daemon, DaemonSettings};
use isonym::time::{Moment, random_pause};
use isonym_sim::host::now;
use isonym_sim::proxy::Mode;
use isonym_sim::tape::{self, Stream};
use isonym_sim::{Ledger, Proxy, Tape, World};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::users::{Habit, Observed, People};
use crate::electrumx::core_rpc::CoreRpc;
use crate::electrumx::server::{ElectrumX, Release, Transport};
use crate::running_daemon::run_in_task;
use crate::virtual_world::{BEGINS, BLOCK_MEAN, CHAIN, Message, Record, Seen, Side, Truth, grow};

/// What daemons know the server by.
const HOST: &str = "server";

/// How long a byte takes through a circuit, one way.
const WAY: Duration = Duration::from_millis(150);

/// Daemons start over so long, and people begin after so long.
const STARTS: Duration = Duration::from_secs(60);
const WARM_UP: Duration = Duration::from_secs(240);

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct RealSetting {
    pub seed: u64,
    pub release: Release,
    /// For each habit; each has one user.
    pub daemons: usize,
    pub minutes: f64,
    pub settings: DaemonSettings,
}

/// A daemon, and what went between it and the server.
struct RealDaemon {
    daemon: Daemon,
    tape: Tape,
    running: JoinHandle<Result<(), NodeError>>,
    _proxy: Proxy,
    _folder: TempDir,
}

impl RealDaemon {
    async fn start(server: &ElectrumX, settings: &DaemonSettings) -> Self {
        let tape = Tape::new();
        let proxy = Proxy::start(Mode::Open, Ledger::new()).await.unwrap();
        proxy.set_delay(WAY);
        proxy.record(tape.clone());
        let address = server.address(Transport::Tcp);
        proxy.route(HOST, address);
        let folder = tempfile::tempdir().unwrap();
        let config = NodeConfig {
            network: Network::Regtest,
            folder: folder.path().join("regtest"),
            anchor: Anchor::shipped(Network::Regtest).unwrap(),
            servers: vec![format!("{HOST}:{}:t", address.port()).parse().unwrap()],
            discover: false,
            proxy: net::Proxy::Socks5(vec![proxy.addr]),
            connection_limits: ConnectionLimits::default(),
        };
        let node = Node::open(config).unwrap().0;
        let (daemon, running) = run_in_task(node, *settings).await;
        Self {
            daemon,
            tape,
            running,
            _proxy: proxy,
            _folder: folder,
        }
    }

    async fn stop(self) {
        self.daemon.node.stop();
        self.running.await.unwrap().unwrap();
    }
}

fn blocks(world: &World) -> Vec<Vec<u8>> {
    let chain = world.chain();
    let blocks = (0..=chain.height()).map(|height| chain.block(height).unwrap().to_bytes());
    blocks.collect()
}

/// Finds blocks at random moments for ever.
async fn mine(core: Arc<CoreRpc>, begun: Instant, mut rng: StdRng) {
    let mut world = CHAIN.clone();
    loop {
        sleep(random_pause(BLOCK_MEAN, &mut rng)).await;
        grow(&mut world, BEGINS + begun.elapsed().as_secs());
        core.replace(&blocks(&world));
    }
}

/// Returns what the server saw of a daemon's stream, in seconds since `zero`.
fn seen(stream: &Stream, zero: Moment) -> Seen {
    let seconds = |at: Moment| at.since(zero).as_secs_f64();
    let mut unread: BTreeMap<bool, Vec<u8>> = BTreeMap::new();
    let mut messages = Vec::new();
    for piece in &stream.pieces {
        let from = match piece.from {
            tape::Side::Client => Side::Client,
            tape::Side::Server => Side::Server,
        };
        let bytes = unread.entry(from == Side::Client).or_default();
        bytes.extend_from_slice(&piece.bytes);
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = bytes.drain(..=end).collect();
            messages.push(Message::of(seconds(piece.at), from, &line[..end]));
        }
    }
    Seen {
        server: 0,
        opened: seconds(stream.way.at),
        messages,
        closed: stream.ended_at.map(|at| (seconds(at), Side::Client)),
    }
}

fn record(daemons: &[RealDaemon], zero: Moment) -> Record {
    let mut all: Vec<(Seen, Truth)> = Vec::new();
    for (owner, daemon) in daemons.iter().enumerate() {
        daemon.tape.read(|streams| {
            all.extend(streams.iter().map(|stream| {
                let seen = seen(stream, zero);
                let dialed = seen.opened;
                (seen, Truth { owner, dialed })
            }));
        });
    }
    all.sort_by(|a, b| a.0.opened.total_cmp(&b.0.opened));
    let (seen, truth) = all.into_iter().unzip();
    Record { seen, truth }
}

/// Has people of these habits live before one server, side by side; returns what it saw of those of each habit.
pub fn observe_really(setting: &RealSetting, habits: &[Habit]) -> Vec<Observed> {
    let core = Arc::new(CoreRpc::start(&blocks(&CHAIN)));
    let tip = usize::try_from(CHAIN.chain().height()).unwrap();
    let server = ElectrumX::start(setting.release, &core, tip);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let (begun, zero) = (Instant::now(), now());
        let mut rng = StdRng::seed_from_u64(setting.seed);
        let miner = tokio::spawn(mine(Arc::clone(&core), begun, StdRng::seed_from_u64(rng.random())));
        let mut towns: Vec<Vec<RealDaemon>> = habits.iter().map(|_| Vec::new()).collect();
        let count = u32::try_from(setting.daemons).unwrap();
        for _ in 0..setting.daemons {
            sleep(STARTS.mul_f64(2.0 * rng.random::<f64>()) / count).await;
            for daemons in &mut towns {
                daemons.push(RealDaemon::start(&server, &setting.settings).await);
            }
        }
        sleep(WARM_UP).await;
        let from = begun.elapsed().as_secs_f64();
        let mut lives = JoinSet::new();
        let mut all = Vec::new();
        for (habit, daemons) in habits.iter().zip(&towns) {
            let doors = daemons.iter().map(|it| it.daemon.clone());
            let people = People::new(begun, doors.collect(), StdRng::seed_from_u64(rng.random()));
            for user in 0..setting.daemons {
                lives.spawn(Arc::clone(&people).live(user, *habit));
            }
            all.push(people);
        }
        sleep(Duration::from_secs_f64(60.0 * setting.minutes)).await;
        let to = begun.elapsed().as_secs_f64();
        lives.shutdown().await;
        let observed = towns.iter().zip(&all).map(|(daemons, people)| Observed {
            record: record(daemons, zero),
            uses: people.uses(),
            from,
            to,
        });
        let observed = observed.collect();
        miner.abort();
        for daemon in towns.into_iter().flatten() {
            daemon.stop().await;
        }
        observed
    })
}

//! Whole daemons in virtual time: an afternoon takes seconds.
//!
//! Everything of a daemon runs but its listeners: header sync, pool, lookups, the cache of results. All daemons of a world
//! share one runtime whose clock is paused, so that it jumps to the next moment at which anything is due. Their streams
//! lead through memory, by circuits of a delay that is drawn for each, to servers that share one chain; no socket is opened.
//! All servers have one operator, who takes down what there is to see ([`Record`]).
//!
//! ```no_run
//! use isonym_testkit::virtual_world::{VirtualWorld, in_virtual_time};
//! use std::time::Duration;
//!
//! in_virtual_time(async {
//!     let world = VirtualWorld::new(1, 2);
//!     let daemon = world.start_daemon(isonym::service::DaemonSettings::default()).await;
//!     daemon.synced().await;
//!     daemon.look_up(0, "a user").await.unwrap();
//!     tokio::time::sleep(Duration::from_secs(3600)).await;
//!     println!("{} connections", world.record().seen.len());
//! });
//! ```
//!
//! A seed decides on the world, its blocks and circuits, and on the daemons' pools. It does not decide on everything: the
//! order in which tasks of one moment have their turns is the runtime's.

mod link;
mod record;
pub mod soak;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::time::Duration;

use isonym::chain::{Anchor, Network};
use isonym::isolation::IsolationId;
use isonym::name::{NameId, Outcome};
use isonym::net::dialer::{Duplex, Opening, StreamSource};
use isonym::net::onion::OnionName;
use isonym::net::{self, DialError, Dialer, Host, Proxy, ServerAddr};
use isonym::node::{Clock, DiskGate, Node, NodeConfig, NodeError, Surroundings, VirtualTime};
use isonym::service::{Answer, Caller, Daemon, DaemonSettings, NameResult, Question};
use isonym::time::{Timestamp, random_pause};
use isonym_sim::wallet::Signer;
use isonym_sim::{AddressKind, Desk, Fault, Ledger, Release, Server, SharedWorld, Work, World};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use tokio::io::DuplexStream;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep};

use self::link::{Circuit, Ear, carry};
use self::record::Recorder;

pub use self::record::{Message, Record, Seen, Side, Truth, What};
use crate::running_daemon::run_in_task;

/// When a world begins, by the wall clock.
pub const BEGINS: u64 = 1_700_000_000;

/// Mean time from block to block.
pub const BLOCK_MEAN: Duration = Duration::from_secs(600);

/// Names that are registered.
pub const NAMES: usize = 32;

/// Bytes that one end of a stream may be ahead of the other.
const PIPE: usize = 256 << 10;

/// Blocks after which a name is updated: its value before has the twelve confirmations by then that lookups want, and regtest
/// lets names expire after thirty.
const RENEWAL: usize = 13;

/// The chain in the beginning; its last block is some minutes old then.
pub static CHAIN: LazyLock<World> = LazyLock::new(|| {
    const BLOCKS: u64 = 130;
    let mut world = World::new(1, Timestamp(BEGINS - BLOCKS * 600));
    let names: Vec<_> = (0..NAMES)
        .map(|number| (name(number), "a value", AddressKind::P2wpkh))
        .collect();
    world.register_all(&names).unwrap();
    while world.time().0 + 600 < BEGINS {
        let time = world.time().0 + 600;
        grow(&mut world, time);
    }
    world
});

/// The onion service of a server, which may be one that daemons are not given: one of 26.
pub fn onion(number: usize) -> String {
    let mut key = [0; 32];
    // Five bits are a letter, the first one.
    key[0] = u8::try_from(number % 26).unwrap() << 3;
    OnionName::of_key(&key).to_string()
}

fn name(number: usize) -> String {
    format!("d/name-{number}")
}

/// Returns how one of the names shows in messages.
pub fn name_in_messages(number: usize) -> Option<u64> {
    let scripthash = NameId::new(name(number).as_bytes())?.scripthash().to_string();
    u64::from_str_radix(&scripthash[..16], 16).ok()
}

/// Mines a block in which some of the names are updated.
pub fn grow(world: &mut World, time: u64) {
    let height = usize::try_from(world.chain().height()).unwrap();
    for number in (0..NAMES).filter(|number| (number + height).is_multiple_of(RENEWAL)) {
        let kind = AddressKind::P2wpkh;
        world
            .queue_update(name(number), "a value", kind, Signer::Owner)
            .unwrap();
    }
    world.mine_at(u32::try_from(time).unwrap(), Work::Native);
}

/// Runs to the end in a runtime whose clock is paused.
pub fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(work)
}

/// What its parts share.
struct Inner {
    begun: Instant,
    chain: SharedWorld,
    /// How many servers there are.
    servers: usize,
    recorder: Recorder,
    rng: Mutex<StdRng>,
    daemons: AtomicUsize,
    /// What servers say of others, on the connection of a number.
    peers: Mutex<BTreeMap<usize, PeerList>>,
    /// The hosts that servers say they are reached at, where that is not their own onion service alone.
    hosts: Mutex<BTreeMap<usize, Vec<String>>>,
    /// The server's side of each connection that is open, by its number in the record.
    desks: Mutex<Vec<Open>>,
}

/// What a server says of others, on the connection of a number.
type PeerList = Arc<dyn Fn(usize) -> serde_json::Value + Send + Sync>;

/// A connection that may be open still.
#[derive(Debug)]
struct Open {
    owner: usize,
    desk: Desk,
    task: AbortHandle,
}

/// A world that lives in memory and in virtual time. Blocks are found at random moments from the start on.
#[derive(Debug)]
pub struct VirtualWorld {
    inner: Arc<Inner>,
    miner: JoinHandle<()>,
}

impl Drop for VirtualWorld {
    fn drop(&mut self) {
        self.miner.abort();
    }
}

impl VirtualWorld {
    /// Begins a world with so many servers. To be called within [`in_virtual_time`].
    pub fn new(seed: u64, servers: usize) -> Self {
        let inner = Arc::new(Inner {
            begun: Instant::now(),
            chain: SharedWorld::new(CHAIN.clone()),
            servers,
            recorder: Recorder::default(),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            daemons: AtomicUsize::new(0),
            peers: Mutex::default(),
            hosts: Mutex::default(),
            desks: Mutex::new(Vec::new()),
        });
        let miner = tokio::spawn(mine(Arc::clone(&inner)));
        Self { inner, miner }
    }

    /// Has a server say of others what this returns for the number of the connection that it is asked over.
    pub fn set_peers(&self, server: usize, peers: impl Fn(usize) -> serde_json::Value + Send + Sync + 'static) {
        self.inner.peers.lock().unwrap().insert(server, Arc::new(peers));
    }

    /// Has a server say that it is reached at these hosts.
    pub fn set_hosts(&self, server: usize, hosts: &[&str]) {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        self.inner.hosts.lock().unwrap().insert(server, hosts);
    }

    /// Seconds since it began.
    pub fn now(&self) -> f64 {
        self.inner.now()
    }

    /// When it began.
    pub fn begun(&self) -> Instant {
        self.inner.begun
    }

    /// A generator for whoever adds to the world.
    pub fn rng(&self) -> StdRng {
        StdRng::seed_from_u64(self.inner.draw())
    }

    /// What the operator saw so far.
    pub fn record(&self) -> Record {
        self.look(Record::clone)
    }

    /// Looks at what the operator saw so far.
    pub fn look<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        self.inner.recorder.look(look)
    }

    /// Finds a block now.
    pub fn mine(&self) {
        self.inner.mine();
    }

    /// Has servers tell of the newest block whom they did not tell.
    pub fn announce(&self) {
        self.inner.chain.change(|_| ());
    }

    /// Changes what the server does wrong on one connection, by its number in the record, and on no other.
    pub fn set_fault(&self, connection: usize, fault: Option<Fault>) {
        self.inner.desks.lock().unwrap()[connection].desk.set_fault(fault);
    }

    /// Has the server hang up on one connection.
    pub fn hang_up(&self, connection: usize) {
        self.inner.recorder.close(connection, self.now(), Side::Server);
        self.inner.desks.lock().unwrap()[connection].task.abort();
    }

    /// Starts a daemon with an empty data folder.
    pub async fn start_daemon(&self, settings: DaemonSettings) -> VirtualDaemon {
        Box::pin(self.start(Box::new(settings), self.servers(), false)).await
    }

    /// The same; it learns of servers.
    pub async fn start_discovering(&self, settings: DaemonSettings) -> VirtualDaemon {
        Box::pin(self.start(Box::new(settings), self.servers(), true)).await
    }

    /// Starts a daemon that is given these servers' addresses.
    pub async fn start_daemon_with(&self, settings: DaemonSettings, servers: &[&str]) -> VirtualDaemon {
        let servers = servers.iter().map(|server| server.parse().unwrap());
        Box::pin(self.start(Box::new(settings), servers.collect(), false)).await
    }

    fn servers(&self) -> Vec<ServerAddr> {
        let numbers = 0..self.inner.servers;
        numbers
            .map(|number| format!("s{number}.sim:50001:t").parse().unwrap())
            .collect()
    }

    async fn start(&self, settings: Box<DaemonSettings>, servers: Vec<ServerAddr>, discover: bool) -> VirtualDaemon {
        let number = self.inner.daemons.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::tempdir().unwrap();
        let way = Arc::new(Way {
            owner: number,
            world: Arc::downgrade(&self.inner),
            is_shut: Arc::default(),
        });
        // Whole seconds: as many as the servers' clocks say.
        let wall = BEGINS + self.inner.begun.elapsed().as_secs();
        let time = VirtualTime::starting_at(Timestamp(wall));
        let config = NodeConfig {
            network: Network::Regtest,
            folder: folder.path().to_owned(),
            anchor: Anchor::shipped(Network::Regtest).unwrap(),
            servers,
            discover,
            proxy: Proxy::default(),
            connection_limits: net::ConnectionLimits::default(),
        };
        let surroundings = Surroundings {
            dialer: Dialer::without_sockets(Arc::clone(&way) as Arc<dyn StreamSource>).unwrap(),
            params: Network::Regtest.params(),
            clock: Clock::start_virtual(Arc::clone(&time)),
            seed: self.rng().random(),
            disk: DiskGate::default(),
        };
        let (node, _) = Node::open_in(config, surroundings).unwrap();
        let (daemon, running) = run_in_task(node, *settings).await;
        VirtualDaemon {
            number,
            daemon,
            time,
            way,
            running,
            _folder: folder,
        }
    }
}

async fn mine(inner: Arc<Inner>) {
    let mut rng = StdRng::seed_from_u64(inner.draw());
    loop {
        sleep(random_pause(BLOCK_MEAN, &mut rng)).await;
        inner.mine();
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inner(..)")
    }
}

impl Inner {
    fn draw(&self) -> u64 {
        self.rng.lock().unwrap().random()
    }

    fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    fn mine(&self) {
        let time = BEGINS + self.begun.elapsed().as_secs();
        self.chain.change(|world| grow(world, time));
    }

    /// Puts a connection through to a server and returns the client's end.
    fn connect(self: &Arc<Self>, truth: Truth, server: usize, circuit: Circuit) -> DuplexStream {
        let (client, near) = tokio::io::duplex(PIPE);
        let (far, end) = tokio::io::duplex(PIPE);
        let connection = self.recorder.open(truth, server, self.now());
        let peers = self.peers.lock().unwrap().get(&server).cloned();
        let peers = peers.map_or_else(|| serde_json::json!([]), |peers| peers(connection));
        let hosts = self.hosts.lock().unwrap().get(&server).cloned();
        let hosts = hosts.unwrap_or_else(|| vec![onion(server)]);
        let honest = Server::new(Release::V1_17, None).telling_of(peers);
        let honest = hosts.iter().fold(honest, |server, host| server.at(host));
        let desk = Desk::new(&format!("s{server}.sim"), honest, self.chain.clone(), Ledger::new());
        let ear = Ear {
            recorder: self.recorder.clone(),
            connection,
            begun: self.begun,
        };
        let counter = desk.clone();
        let task = tokio::spawn(async move {
            tokio::join!(carry(near, far, circuit, &ear), counter.serve(end, 0));
        });
        let open = Open {
            owner: truth.owner,
            desk,
            task: task.abort_handle(),
        };
        self.desks.lock().unwrap().push(open);
        client
    }
}

/// The way of one daemon to the servers.
#[derive(Debug)]
struct Way {
    owner: usize,
    world: Weak<Inner>,
    is_shut: Arc<AtomicBool>,
}

impl StreamSource for Way {
    fn open(&self, server: &ServerAddr) -> Opening {
        let (owner, world, is_shut) = (self.owner, self.world.clone(), Arc::clone(&self.is_shut));
        let server = match &server.host {
            Host::Name(name) if server.is_onion() => usize::from(name.as_bytes()[0] - b'a'),
            Host::Name(name) => name.as_str()[1..].trim_end_matches(".sim").parse().unwrap(),
            Host::Ip(ip) => panic!("no server has an address: {ip}"),
        };
        Box::pin(async move {
            let reach = || {
                let world = world.upgrade().filter(|_| !is_shut.load(Ordering::Relaxed));
                let proxy = Proxy::default();
                world.ok_or(DialError::ProxyUnreachable { proxy })
            };
            let world = reach()?;
            let truth = Truth {
                owner,
                dialed: world.now(),
            };
            let mut circuit = Circuit::draw(&mut world.rng.lock().unwrap());
            drop(world);
            sleep(circuit.opening()).await;
            let world = reach()?;
            let stream: Box<dyn Duplex> = Box::new(world.connect(truth, server, circuit));
            Ok(stream)
        })
    }
}

/// A daemon in a virtual world; it ends when this is dropped.
#[derive(Debug)]
pub struct VirtualDaemon {
    /// By which the record's owners know it.
    pub number: usize,
    pub daemon: Daemon,
    /// Its clocks, which can be stepped.
    pub time: Arc<VirtualTime>,
    way: Arc<Way>,
    running: JoinHandle<Result<(), NodeError>>,
    _folder: TempDir,
}

impl Drop for VirtualDaemon {
    fn drop(&mut self) {
        self.daemon.node.stop();
        self.running.abort();
    }
}

impl VirtualDaemon {
    /// Waits until its headers are up to date.
    pub async fn synced(&self) {
        self.daemon.node.synced(|_| ()).await.unwrap();
    }

    /// Looks one of the names up under an ID.
    pub async fn look_up(&self, number: usize, id: &str) -> NameResult {
        self.look_up_as(Caller::Program, number, id).await
    }

    /// The same, through another front.
    pub async fn look_up_as(&self, caller: Caller, number: usize, id: &str) -> NameResult {
        look_up(&self.daemon, caller, number, id).await
    }

    /// New Identity; `None`: for all of them.
    pub async fn forget(&self, id: Option<&str>) {
        let id = id.map(isolation_id);
        self.daemon.names.forget(id.as_ref()).await;
    }

    /// Shuts the way out, or opens it again: nothing new gets through, and what is open ends.
    pub fn shut_way_out(&self, is_shut: bool) {
        self.way.is_shut.store(is_shut, Ordering::Relaxed);
        if is_shut {
            self.cut();
        }
    }

    /// Cuts all its connections.
    pub fn cut(&self) {
        let Some(world) = self.way.world.upgrade() else { return };
        let now = world.now();
        for (connection, open) in world.desks.lock().unwrap().iter().enumerate() {
            if open.owner == self.number {
                world.recorder.close(connection, now, Side::Client);
                open.task.abort();
            }
        }
    }

    /// The machine was suspended for so long: its wall clock jumps, its steady one where it counts such time.
    pub fn resume_after(&self, away: Duration, steady_counts: bool) {
        self.time.step_wall(i64::try_from(away.as_secs()).unwrap());
        if steady_counts {
            self.time.step_steady(away);
        }
    }

    /// Ends it and waits until it has.
    pub async fn stop(mut self) {
        self.daemon.node.stop();
        (&mut self.running).await.unwrap().unwrap();
    }
}

/// Looks one of the names of this chain up under an ID.
pub async fn look_up(daemon: &Daemon, caller: Caller, number: usize, id: &str) -> NameResult {
    let names = &daemon.names;
    let front = names.for_caller(caller, names.limits());
    front.name_show(&question(number, id)).await
}

fn question(number: usize, id: &str) -> Question {
    Question {
        name: NameId::new(name(number).as_bytes()).unwrap(),
        isolation_id: Some(isolation_id(id)),
        allow_expired: false,
        quorum: None,
        max_age: None,
    }
}

fn isolation_id(id: &str) -> IsolationId {
    IsolationId::new(id.as_bytes()).unwrap()
}

/// Whether a lookup found what it looked for.
pub fn is_found(result: &NameResult) -> bool {
    matches!(result, Ok(Answer::Proved(proved)) if matches!(proved.outcome, Outcome::Found(_)))
}

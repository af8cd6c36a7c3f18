//! The daemon in this process, and a proxy with a tape between it and a real server.

use std::time::Duration;

use isonym::chain::{Anchor, Network};
use isonym::isolation::IsolationId;
use isonym::name::lookup::LookupSettings;
use isonym::name::{Encoding, NameId, Outcome};
use isonym::net::{self, ConnectionLimits, pool};
use isonym::node::{Node, NodeConfig};
use isonym::rpc::{self, Basis, Encodings};
use isonym::service::{CacheSettings, Daemon, DaemonSettings, Question, run_daemon};
use isonym_sim::proxy::Mode;
use isonym_sim::tape::{Side, Stream};
use isonym_sim::{Ledger, Proxy, Tape};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::client::{Expected, core_fields};
use super::server::{ElectrumX, Transport};

/// What is waited where nothing is to end by time: so long that no load of the machine reaches it.
const LONG: Duration = Duration::from_secs(300);

/// The server's name: one that a client which went past the proxy could resolve, and reach the server by.
const HOST: &str = "localhost";

/// A proxy that leads to one server, and a data folder.
pub struct Scene {
    pub tape: Tape,
    pub proxy: Proxy,
    port: u16,
    transport: Transport,
    folder: TempDir,
}

impl Scene {
    pub async fn new(server: &ElectrumX, transport: Transport) -> Self {
        let tape = Tape::new();
        let proxy = Proxy::start(Mode::Open, Ledger::new()).await.unwrap();
        proxy.record(tape.clone());
        let address = server.address(transport);
        // Who resolves the name is led there too, and found out.
        for host in [HOST, "127.0.0.1"] {
            proxy.route(host, address);
        }
        Self {
            tape,
            proxy,
            port: address.port(),
            transport,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Runs a daemon for as long as its test takes; waits until the headers are there.
    pub async fn run<F: Future<Output = ()>>(&self, settings: &DaemonSettings, test: impl FnOnce(Daemon) -> F) {
        let kind = match self.transport {
            Transport::Tcp => 't',
            Transport::Tls => 's',
        };
        let config = NodeConfig {
            network: Network::Regtest,
            folder: self.folder.path().join("regtest"),
            anchor: Anchor::shipped(Network::Regtest).unwrap(),
            servers: vec![format!("{HOST}:{}:{kind}", self.port).parse().unwrap()],
            discover: false,
            proxy: net::Proxy::Socks5(vec![self.proxy.addr]),
            connection_limits: ConnectionLimits {
                dial: LONG,
                handshake: LONG,
            },
        };
        let node = Node::open(config).unwrap().0;
        let running = run_daemon(node, settings, async |daemon| {
            until(|| daemon.node.standing().synchronized).await;
            test(daemon).await;
            Ok(())
        });
        tokio::time::timeout(LONG, running)
            .await
            .expect("the test hangs")
            .unwrap();
    }
}

/// As in daily use, but for the pool's size and pace, and that nothing ends by time.
pub fn settings(clean: usize, opening_mean: Duration) -> DaemonSettings {
    DaemonSettings {
        // Some tests ask for thousands of names at once.
        lookups: 4096,
        pool: pool::PoolSettings {
            opening_mean: (clean > 0).then_some(opening_mean),
            clean_life: LONG * 1000,
            most_clean: clean,
            own_percent: 0,
            wait: LONG,
            hedge_after: LONG,
            ..pool::PoolSettings::default()
        },
        cache: CacheSettings {
            positive: LONG * 1000,
            negative: LONG * 1000,
            ..CacheSettings::default()
        },
        lookup: LookupSettings {
            hedge_after: LONG,
            attempt_timeout: LONG,
            ..LookupSettings::default()
        },
        ..DaemonSettings::default()
    }
}

/// Waits until what is looked at holds; the time limit of [`Scene::run`] ends it.
pub async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the pool has all its connections and opens none.
pub async fn full(daemon: &Daemon, clean: usize) {
    until(|| {
        let pool = daemon.node.standing().pool;
        pool.clean >= clean && pool.opening == 0
    })
    .await;
}

/// Runs all to their ends, side by side.
pub async fn join_all<F: Future<Output = ()> + Send + 'static>(work: impl IntoIterator<Item = F>) {
    work.into_iter().collect::<JoinSet<()>>().join_all().await;
}

/// Asks for a name and returns what is said of it.
pub async fn ask(daemon: &Daemon, name: &[u8], id: &str) -> Expected {
    let question = Question {
        name: NameId::new(name).unwrap(),
        isolation_id: IsolationId::new(id.as_bytes()),
        allow_expired: false,
        quorum: None,
        max_age: None,
    };
    let answer = daemon.names.name_show(&question).await.unwrap();
    let proved = answer.into_proved().unwrap();
    let basis = Basis::from(&*proved);
    match &proved.outcome {
        Outcome::Found(status) => {
            let hex = Encodings {
                name: Encoding::Hex,
                value: Encoding::Hex,
            };
            let shown = rpc::name(status, &basis, daemon.node.params(), hex);
            Expected::Found(core_fields(&serde_json::to_value(shown).unwrap()))
        }
        Outcome::Expired(_) | Outcome::LongExpired { .. } => Expected::Absent("expired"),
        Outcome::SemiExpired(_) => Expected::Absent("semi-expired"),
        Outcome::Unconfirmed { .. } => Expected::Absent("unconfirmed"),
        Outcome::NeverExisted | Outcome::ProvedAbsent { .. } => Expected::Absent("never existed"),
    }
}

/// Says whether as many lines have come from the server as went to it.
pub fn is_answered(stream: &Stream) -> bool {
    let lines = |side| stream.sent_by(side).split(|byte| *byte == b'\n').count();
    lines(Side::Server) >= lines(Side::Client)
}

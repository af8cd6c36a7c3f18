//! How long the first answer takes over slow circuits and over circuits that die, in virtual time: hours take seconds,
//! and no socket is opened.
//!
//! ```sh
//! cargo bench --bench slow_links -- --blocks 37000 --below 36000 --rates 5,10,20,50,100,500 --circuits 1,4
//! cargo bench --bench slow_links -- --blocks 7000 --rates 20 --circuits 1 --ends-after 200,400,1000
//! ```
//!
//! A run that does not come to its end within `--patience` seconds says how many headers it had by then.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench may panic"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use isonym::chain::params::Expiration;
use isonym::chain::{Anchor, Height, Network, Params};
use isonym::isolation::IsolationId;
use isonym::name::NameId;
use isonym::net::dialer::{Duplex, Opening, StreamSource};
use isonym::net::pool::PoolSettings;
use isonym::net::{self, Dialer, Proxy, ServerAddr};
use isonym::node::{Clock, DiskGate, Node, NodeConfig, Surroundings, VirtualTime};
use isonym::service::{Caller, Daemon, DaemonSettings, Question, run_daemon};
use isonym::time::Timestamp;
use isonym_sim::cost::Limits;
use isonym_sim::link::Link;
use isonym_sim::{AddressKind, Desk, Ledger, Release, Server, SharedWorld, World};
use isonym_testkit::virtual_world::{in_virtual_time, is_found};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

const NAME: &str = "d/recent";
const TIP_TIME: u64 = 1_700_000_000;

/// Bytes that are on the way at a time, as in buffers of relays and sockets.
const PIPE: usize = 64 << 10;

#[derive(Clone, Debug, Parser)]
#[command(about = "What the first answer takes over slow circuits, in virtual time", long_about = None)]
struct Arguments {
    /// Blocks above the anchor
    #[arg(long, value_delimiter = ',', default_value = "7000")]
    blocks: Vec<Height>,
    /// Blocks below it; with mainnet's 36,000 or more, as many of them are history that names may refer to
    #[arg(long, default_value_t = 0)]
    below: Height,
    /// Rates of a circuit, in kB/s
    #[arg(long, value_delimiter = ',', default_value = "5,10,20,50,100,500")]
    rates: Vec<u64>,
    /// Connections of header sync
    #[arg(long, value_delimiter = ',', default_value = "1,4")]
    circuits: Vec<usize>,
    /// kB after which a circuit dies; 0: it does not
    #[arg(long, value_delimiter = ',', default_value = "0")]
    ends_after: Vec<u64>,
    /// ElectrumX's release: 1.17, or 1.20, which gives headers as 2.0.0 does
    #[arg(long, value_delimiter = ',', default_value = "1.17", value_parser = ["1.17", "1.20"])]
    releases: Vec<String>,
    /// Servers
    #[arg(long, default_value_t = 3)]
    servers: usize,
    /// Round trip of a circuit, in milliseconds
    #[arg(long, default_value_t = 300)]
    delay: u64,
    /// Virtual seconds after which a run is given up
    #[arg(long, default_value_t = 7200)]
    patience: u64,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// The way to the servers: each stream over a circuit of its own.
#[derive(Debug)]
struct Way {
    link: Link,
    ends_after: u64,
    desks: Vec<Desk>,
    down: Arc<AtomicU64>,
    opened: Arc<AtomicU64>,
}

impl StreamSource for Way {
    fn open(&self, server: &ServerAddr) -> Opening {
        let name = server.to_string();
        let number: usize = name[1..].split('.').next().unwrap().parse().unwrap();
        let (link, ends_after, desk) = (self.link, self.ends_after, self.desks[number].clone());
        let down = Arc::clone(&self.down);
        self.opened.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            // Two round trips for SOCKS and TLS, which is not spoken here.
            sleep(link.round_trip * 2).await;
            let (client, near) = tokio::io::duplex(PIPE);
            let (far, end) = tokio::io::duplex(PIPE);
            tokio::spawn(async move {
                let carried = Arc::new(AtomicU64::new(0));
                let (from_client, to_client) = tokio::io::split(near);
                let (from_server, to_server) = tokio::io::split(far);
                let up = carry(from_client, to_server, link, Arc::default(), u64::MAX);
                let counted = Arc::clone(&carried);
                let back = carry(from_server, to_client, link, counted, ends_after);
                tokio::select! {
                    () = up => {}
                    () = back => {}
                    () = desk.serve(end, 0) => {}
                }
                down.fetch_add(carried.load(Ordering::Relaxed), Ordering::Relaxed);
            });
            let stream: Box<dyn Duplex> = Box::new(client);
            Ok(stream)
        })
    }
}

/// Carries bytes at a rate until either end is gone, or so many were carried; each arrives half a round trip later.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    link: Link,
    carried: Arc<AtomicU64>,
    ends_after: u64,
) {
    let (sender, mut under_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let send = async move {
        // A piece for each fiftieth of a second.
        let piece = (link.bytes_per_second / 50).clamp(100, 8192);
        let mut buffer = vec![0; usize::try_from(piece).unwrap()];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let bytes = u64::try_from(read).unwrap();
            sleep(Duration::from_micros(bytes * 1_000_000 / link.bytes_per_second)).await;
            let arrival = Instant::now() + link.round_trip / 2;
            if sender.send((arrival, buffer[..read].to_vec())).is_err() {
                return;
            }
            if carried.fetch_add(bytes, Ordering::Relaxed) + bytes >= ends_after {
                return;
            }
        }
    };
    let arrive = async move {
        while let Some((arrival, piece)) = under_way.recv().await {
            sleep_until(arrival).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(send, arrive);
}

/// What a run came to.
struct Outcome {
    /// Seconds until the headers were up to date, until the answer was there, and until the headers below the anchor were.
    synced: Option<f64>,
    answered: Option<f64>,
    completed: Option<f64>,
    headers: u64,
    circuits: u64,
    down: u64,
}

async fn run(arguments: &Arguments, world: SharedWorld, case: Case<'_>) -> Outcome {
    let begun = Instant::now();
    let release = if case.release == "1.17" {
        Release::V1_17
    } else {
        Release::V1_20
    };
    let desk = |number: usize| {
        let server = Server::new(release, None).limited(Limits::default());
        Desk::new(&format!("s{number}.sim"), server, world.clone(), Ledger::new())
    };
    let way = Arc::new(Way {
        link: Link {
            round_trip: Duration::from_millis(arguments.delay),
            bytes_per_second: case.rate * 1000,
        },
        ends_after: if case.ends_after == 0 {
            u64::MAX / 2
        } else {
            case.ends_after * 1000
        },
        desks: (0..arguments.servers).map(desk).collect(),
        down: Arc::default(),
        opened: Arc::default(),
    });
    let folder = tempfile::tempdir().unwrap();
    let servers = (0..arguments.servers).map(|number| format!("s{number}.sim:50001:t").parse().unwrap());
    let config = NodeConfig {
        network: Network::Regtest,
        folder: folder.path().to_owned(),
        anchor: anchor(&world, arguments.below),
        servers: servers.collect(),
        discover: false,
        proxy: Proxy::default(),
        connection_limits: net::ConnectionLimits::default(),
    };
    let surroundings = Surroundings {
        dialer: Dialer::without_sockets(Arc::clone(&way) as Arc<dyn StreamSource>).unwrap(),
        clock: Clock::start_virtual(VirtualTime::starting_at(Timestamp(TIP_TIME))),
        seed: [7; 32],
        disk: DiskGate::default(),
        params: case.params,
    };
    let (node, _) = Node::open_in(config, surroundings).unwrap();
    let mut settings = DaemonSettings {
        pool: PoolSettings::with_pace(0),
        asks_beside_sync: true,
        ..DaemonSettings::default()
    };
    settings.sync.connections = case.circuits;
    let mut outcome = Outcome {
        synced: None,
        answered: None,
        completed: None,
        headers: 0,
        circuits: 0,
        down: 0,
    };
    let fronts = async |daemon: Daemon| {
        let patience = Duration::from_secs(arguments.patience);
        let synced = async {
            let synced = timeout(patience, daemon.node.synced(|_| ())).await;
            matches!(synced, Ok(Ok(_))).then(|| begun.elapsed().as_secs_f64())
        };
        let answered = async {
            let answered = timeout(patience, answer(&daemon)).await;
            (answered == Ok(true)).then(|| begun.elapsed().as_secs_f64())
        };
        (outcome.synced, outcome.answered) = tokio::join!(synced, answered);
        if outcome.synced.is_some() {
            let completed = timeout(patience, daemon.node.completed(|_| ())).await;
            outcome.completed = matches!(completed, Ok(Ok(()))).then(|| begun.elapsed().as_secs_f64());
        }
        outcome.headers = daemon.node.standing().progress.done;
        Ok(())
    };
    Box::pin(run_daemon(node, &settings, fronts)).await.unwrap();
    // The last circuits end with the daemon.
    sleep(Duration::from_secs(1)).await;
    outcome.circuits = way.opened.load(Ordering::Relaxed);
    outcome.down = way.down.load(Ordering::Relaxed);
    outcome
}

/// Looks the name up; says whether it was found.
async fn answer(daemon: &Daemon) -> bool {
    let front = daemon.names.for_caller(Caller::Program, daemon.names.limits());
    let question = Question {
        name: NameId::new(NAME.as_bytes()).unwrap(),
        isolation_id: Some(IsolationId::new(b"bench").unwrap()),
        allow_expired: false,
        quorum: None,
        max_age: None,
    };
    is_found(&front.name_show(&question).await)
}

/// One row of the table.
#[derive(Clone, Copy)]
struct Case<'a> {
    release: &'a str,
    circuits: usize,
    ends_after: u64,
    rate: u64,
    params: &'static Params,
}

/// Regtest, where names live as long as on mainnet: from height 48,000 on it has as many headers below an anchor that
/// names may refer to.
fn params() -> &'static Params {
    Box::leak(Box::new(Params {
        expiration: Expiration::Historic,
        ..Network::Regtest.params().clone()
    }))
}

fn anchor(world: &SharedWorld, height: Height) -> Anchor {
    let hash = world.read(|chain| chain.header(height).unwrap().hash());
    Anchor {
        height,
        hash,
        chainwork: None,
    }
}

fn main() {
    let arguments = Arguments::parse();
    let params = params();
    for blocks in &arguments.blocks {
        let names = [(NAME, "value of the name", AddressKind::P2wpkh)];
        let height = arguments.below + blocks;
        let world = SharedWorld::new(World::long(1, height, Timestamp(TIP_TIME), &names).unwrap());
        println!(
            "\n{blocks} blocks above the anchor and {} below, {} servers, {} ms; virtual time",
            arguments.below, arguments.servers, arguments.delay
        );
        println!("release  circuits  ends after     kB/s   synced s   answer s  history s  headers    dials   MB down");
        for release in &arguments.releases {
            for circuits in arguments.circuits.iter().copied() {
                for ends_after in arguments.ends_after.iter().copied() {
                    for rate in arguments.rates.iter().copied() {
                        let case = Case {
                            release,
                            circuits,
                            ends_after,
                            rate,
                            params,
                        };
                        let outcome = in_virtual_time(run(&arguments, world.clone(), case));
                        print_row(case, &outcome);
                    }
                }
            }
        }
    }
}

fn print_row(case: Case<'_>, outcome: &Outcome) {
    let seconds = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.1}"));
    let ends_after = match case.ends_after {
        0 => "never".to_owned(),
        kilobytes => format!("{kilobytes} kB"),
    };
    println!(
        "{:<8} {:>8} {ends_after:>11} {:>8} {:>10} {:>10} {:>10} {:>8} {:>8} {:>9.1}",
        case.release,
        case.circuits,
        case.rate,
        seconds(outcome.synced),
        seconds(outcome.answered),
        seconds(outcome.completed),
        outcome.headers,
        outcome.circuits,
        f64::from(u32::try_from(outcome.down / 1000).unwrap()) / 1000.0,
    );
}

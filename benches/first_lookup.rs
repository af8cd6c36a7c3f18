//! How long a user waits for the first answer, and what it takes: the program with an empty data folder, behind
//! circuits with a delay and a rate, before servers that keep accounts as ElectrumX does.
//!
//! ```sh
//! cargo bench --bench first_lookup -- --blocks 5000,37000 --servers 3 -- --verbose
//! ```
//!
//! What follows the second `--` goes to the program.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may panic")]

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Parser;
use isonym::chain::Height;
use isonym::time::Timestamp;
use isonym_sim::cost::{self, Sharing};
use isonym_sim::ledger::{Cut, Traffic};
use isonym_sim::link::Link;
use isonym_sim::{AddressKind, Host, Ledger, Proxy, Release, Server, SharedWorld, Transport, World};
use tokio::time::Instant;

const NAME: &str = "d/recent";
const VALUE: &str = "value of the name";
const PORT: u16 = 50002;

/// How often the program is looked at.
const GLANCE: Duration = Duration::from_millis(5);

#[derive(Clone, Debug, Parser)]
#[command(about = "What the first lookup takes, on a simulated chain behind simulated circuits", long_about = None)]
struct Arguments {
    /// Heights of the chain, each measured for itself
    #[arg(long, value_delimiter = ',', default_value = "2000")]
    blocks: Vec<Height>,
    /// Servers
    #[arg(long, default_value_t = 3)]
    servers: usize,
    /// ElectrumX's release: 1.16, 1.17 or 1.20
    #[arg(long, default_value = "1.16", value_parser = ["1.16", "1.17", "1.20"])]
    release: String,
    /// Round trip of a circuit, in milliseconds
    #[arg(long, default_value_t = 300)]
    delay: u64,
    /// Rate of a circuit, each way, in bytes a second
    #[arg(long, default_value_t = 500_000)]
    rate: u64,
    /// Let all connections answer for each other's debts, as if they had one exit
    #[arg(long)]
    one_exit: bool,
    /// Let clients use what they like
    #[arg(long)]
    unlimited: bool,
    /// Seconds after which a run is given up
    #[arg(long, default_value_t = 900)]
    patience: u64,
    /// Options for the program
    #[arg(last = true)]
    program: Vec<String>,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn release(&self) -> Release {
        match self.release.as_str() {
            "1.16" => Release::V1_16,
            "1.17" => Release::V1_17,
            _ => Release::V1_20,
        }
    }

    fn server(&self) -> Server {
        let server = Server::new(self.release(), None);
        if self.unlimited {
            return server;
        }
        server.limited(cost::Limits {
            sharing: if self.one_exit { Sharing::All } else { Sharing::Nobody },
            ..cost::Limits::default()
        })
    }
}

/// Servers on one chain, and circuits to them.
struct Stage {
    ledger: Ledger,
    proxy: Proxy,
    hosts: Vec<Host>,
}

impl Stage {
    async fn open(arguments: &Arguments, world: SharedWorld) -> Self {
        let ledger = Ledger::new();
        let link = Link {
            round_trip: Duration::from_millis(arguments.delay),
            bytes_per_second: arguments.rate,
        };
        let proxy = Proxy::over(link, ledger.clone()).await.unwrap();
        let mut hosts = Vec::new();
        for number in 0..arguments.servers {
            let name = format!("s{number}.sim");
            let host = Host::start(&name, Transport::Tls, arguments.server(), world.clone(), ledger.clone());
            let host = host.await.unwrap();
            proxy.route(&name, host.addr);
            hosts.push(host);
        }
        Self { ledger, proxy, hosts }
    }

    fn program(&self, home: &Path, command: &[&str], options: &[String]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_isonym"));
        program
            .env_clear()
            .env("HOME", home)
            .args(["--network", "regtest", "--datadir"])
            .arg(home.join("data"))
            .arg(format!("--proxy=socks5://{}", self.proxy.addr))
            .args(self.hosts.iter().map(|host| format!("--server={}:{PORT}:s", host.name)))
            .args(command)
            .args(options)
            .stdin(Stdio::null())
            .stdout(File::create(home.join("out")).unwrap())
            .stderr(File::create(home.join("errors")).unwrap());
        program
    }

    /// Runs the program to its end and prints what it took.
    async fn run(&self, what: &str, home: &Path, command: &[&str], arguments: &Arguments) {
        let (Traffic { up, down }, connections) = (self.ledger.traffic(), self.ledger.connections().len());
        let start = Instant::now();
        let mut child = self.program(home, command, &arguments.program).spawn().unwrap();
        let patience = Duration::from_secs(arguments.patience);
        let (status, succeeded) = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break (status.to_string(), status.success());
            }
            if start.elapsed() > patience {
                child.kill().unwrap();
                child.wait().unwrap();
                break ("given up".to_owned(), false);
            }
            tokio::time::sleep(GLANCE).await;
        };
        let seconds = start.elapsed().as_secs_f64();
        let traffic = self.ledger.traffic();
        let new = self.ledger.connections().split_off(connections);
        let cut = |why| new.iter().filter(|connection| connection.cut == Some(why)).count();
        println!(
            "{what:<18} {seconds:8.2} {:10} {:8} {:8} {:6} {:6}   {status}",
            (traffic.down - down) / 1000,
            (traffic.up - up) / 1000,
            new.len(),
            cut(Cut::Debt),
            cut(Cut::Stall),
        );
        let errors = std::fs::read_to_string(home.join("errors")).unwrap();
        if let Some(last) = errors.lines().last().filter(|_| !succeeded) {
            println!("  {last}");
        }
        let found = std::fs::read_to_string(home.join("out")).unwrap().contains(VALUE);
        if command.contains(&NAME) && !found {
            println!("  the value was not found");
        }
    }
}

async fn measure(arguments: &Arguments, blocks: Height) {
    let names = [(NAME, VALUE, AddressKind::P2wpkh)];
    let world = SharedWorld::new(World::long(1, blocks, now(), &names).unwrap());
    println!(
        "\n{blocks} blocks, {} servers like {}{}; {} ms and {} kB/s for each circuit; options: {}",
        arguments.servers,
        arguments.release().software(),
        match (arguments.unlimited, arguments.one_exit) {
            (true, _) => " without limits",
            (false, true) => " that see one address",
            (false, false) => "",
        },
        arguments.delay,
        arguments.rate / 1000,
        arguments.program.join(" "),
    );
    println!(
        "{:<18} {:>8} {:>10} {:>8} {:>8} {:>6} {:>6}   end",
        "", "s", "kB down", "kB up", "circuits", "debts", "stalls"
    );
    let name_show = ["name_show", NAME];
    for (what, command) in [("first name_show", &name_show[..]), ("sync", &["sync"])] {
        // Each with debts and data of its own.
        let stage = Stage::open(arguments, world.clone()).await;
        let home = tempfile::tempdir().unwrap();
        stage.run(what, home.path(), command, arguments).await;
        stage.run("then name_show", home.path(), &name_show, arguments).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench is the edge")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.unwrap().as_secs())
}

fn main() {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        for blocks in &arguments.blocks {
            measure(&arguments, *blocks).await;
        }
    });
}

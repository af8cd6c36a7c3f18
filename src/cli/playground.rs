//! The embedded world: everything that the program does, on a simulated chain, without any network.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use isonym::chain::{Anchor, Network};
use isonym::isolation::IsolationId;
use isonym::name::{Encoding, NameId, Outcome};
use isonym::net::Proxy;
use isonym::net::pool::PoolSettings;
use isonym::node::{Node, NodeConfig};
use isonym::rpc::{self, Basis, Encodings};
use isonym::service::{Daemon, DaemonSettings, Question, run_daemon};
use isonym_sim::{Fault, SimNetwork, Transport};

use super::show::{now, print_json};

/// Writes a line to standard output; a reader that has gone away is no reason to panic.
macro_rules! tell {
    ($($text:tt)*) => {{
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

/// Letters of a made-up SOCKS user name that are shown: enough to see that they differ.
const SHOWN: usize = 8;

/// How many identities look a name up at most until one meets the server that lies: of three, two are asked at least.
const MOST_TRIES: u32 = 8;

/// How often there is a new block while the world stays up.
const BLOCK_EVERY: Duration = Duration::from_secs(30);

struct Playground {
    network: SimNetwork,
    folder: tempfile::TempDir,
}

/// Runs the playground; returns when it is through (`once`) or when the user ends it.
pub(super) async fn run(once: bool, seed: u64) -> Result<ExitCode> {
    let playground = Playground::start(seed).await?;
    let node = playground.node()?;
    // No connection is opened ahead, so that each that is seen has a lookup to it.
    let settings = DaemonSettings {
        pool: PoolSettings::with_pace(0),
        ..DaemonSettings::default()
    };
    let mut shown = Ok(());
    let running = run_daemon(node, &settings, async |daemon| {
        shown = playground.show(&daemon).await;
        Ok(())
    });
    Box::pin(running).await?;
    shown?;
    playground.tell_what_was_seen();
    if !once {
        playground.stay().await?;
    }
    Ok(ExitCode::SUCCESS)
}

fn step(number: u32, text: &str) {
    tell!("\n[{number}] {text}");
}

impl Playground {
    async fn start(seed: u64) -> Result<Self> {
        step(1, "A simulated world");
        let network = SimNetwork::start(seed, now()).await?;
        let (height, names) = network.world.read(|chain| (chain.height(), chain.names().count()));
        tell!("    a merge-mined chain of {height} blocks with {names} names, seed {seed}");
        tell!("    a recording SOCKS5 proxy at {}", network.proxy.addr);
        for (name, transport, release) in SimNetwork::releases() {
            tell!(
                "    an Electrum server {name} like {}, over {}",
                release.software(),
                if transport == Transport::Tls { "TLS" } else { "TCP" }
            );
        }
        let folder = tempfile::Builder::new().prefix("isonym-playground-").tempdir()?;
        Ok(Self { network, folder })
    }

    fn node(&self) -> Result<Node> {
        let config = NodeConfig {
            network: Network::Regtest,
            folder: self.folder.path().join(Network::Regtest.as_str()),
            anchor: Anchor::shipped(Network::Regtest)?,
            servers: SimNetwork::servers()
                .iter()
                .map(|server| server.parse())
                .collect::<Result<_, _>>()?,
            discover: false,
            proxy: Proxy::Socks5(vec![self.network.proxy.addr]),
            connection_limits: isonym::net::ConnectionLimits::default(),
        };
        Ok(Node::open(config)?.0)
    }

    async fn show(&self, daemon: &Daemon) -> Result<()> {
        self.sync(daemon).await?;
        self.look_up(daemon).await?;
        self.meet_a_liar(daemon).await
    }

    async fn sync(&self, daemon: &Daemon) -> Result<()> {
        step(2, "Header sync: the chain with most work, proved by AuxPoW");
        let report = daemon.node.synced(|_| ()).await?;
        tell!("    tip: height {}", report.tip.height);
        tell!("    block {}", report.tip.hash);
        match daemon.node.standing().unproved {
            0 => tell!("    the proof of work of every header was checked"),
            unproved => {
                tell!("    {unproved} headers taken on the strength of a random sample of");
                tell!("    proofs; those of the others are checked, theirs follow");
            }
        }
        for server in &report.servers {
            tell!(
                "    {}: {}, {} headers taken",
                server.address,
                server.result,
                server.headers
            );
        }
        if report.tip.hash != self.network.world.read(isonym_sim::SimChain::tip_hash) {
            bail!("the tip is not the world's");
        }
        Ok(())
    }

    async fn look_up(&self, daemon: &Daemon) -> Result<()> {
        step(3, "Lookups: each under an isolation ID of its own, so over a");
        tell!("    connection of its own, with SOCKS credentials made up for it");
        for text in ["d/alice", "d/bob", "d/forgotten", "d/nobody"] {
            tell!("  name_show {text}");
            show(daemon, text, text, None).await?;
        }
        Ok(())
    }

    async fn meet_a_liar(&self, daemon: &Daemon) -> Result<()> {
        step(4, "A server that lies: it shows another value for every name");
        let Some(liar) = self.network.hosts.first() else {
            return Ok(());
        };
        let met = || {
            let connections = self.network.ledger.connections();
            let asked = connections.iter().filter(|it| it.server == liar.name);
            asked
                .filter(|it| it.requests.iter().any(|request| !request.methods.is_empty()))
                .count()
        };
        liar.set_fault(Some(Fault::ForgedValue));
        // Servers are drawn at random: it may take some identities until one meets the liar.
        for number in 1..=MOST_TRIES {
            let (who, before) = (format!("somebody else {number}"), met());
            tell!("  name_show d/alice --quorum 2 --isolation-id '{who}'");
            show(daemon, "d/alice", &who, Some(2)).await?;
            if met() > before {
                tell!(
                    "    {} was asked too, and showed a forged value. Its transaction is in",
                    liar.name
                );
                tell!(
                    "    no block, so {} was left in this lookup and reported as a liar;",
                    liar.name
                );
                tell!("    the value above is what the others proved.");
                break;
            }
            tell!("    {} was not asked; once more, as somebody else", liar.name);
        }
        liar.set_fault(None);
        Ok(())
    }

    fn tell_what_was_seen(&self) {
        step(5, "What the proxy and the servers saw of each connection");
        let mut users: BTreeMap<String, u32> = BTreeMap::new();
        for (connection, way) in self.network.ledger.circuits() {
            let user = way.and_then(|way| way.credentials).map(|credentials| credentials.user);
            *users.entry(user.clone().unwrap_or_default()).or_default() += 1;
            let shown: String = user
                .as_deref()
                .unwrap_or("no credentials!")
                .chars()
                .take(SHOWN)
                .collect();
            let methods: Vec<&str> = connection
                .requests
                .iter()
                .flat_map(|it| &it.methods)
                .map(String::as_str)
                .collect();
            tell!("    user {shown}.. to {}", connection.server);
            for line in summary(&methods) {
                tell!("        {line}");
            }
        }
        let shared = users.values().filter(|count| **count > 1).count();
        tell!(
            "    {} connections, {shared} pairs of credentials used more than once",
            self.network.ledger.connections().len()
        );
    }

    async fn stay(&self) -> Result<()> {
        tell!("\nThe world stays up, with a new block every half minute; d/alice and d/bob");
        tell!("are renewed in time. Paste this into another shell:\n");
        tell!("  export ISONYM_NETWORK=regtest");
        tell!("  export ISONYM_DATADIR={}", self.folder.path().display());
        tell!("  export ISONYM_PROXY=socks5://{}", self.network.proxy.addr);
        tell!("  export ISONYM_SERVER={}", SimNetwork::servers().join(","));
        tell!("\nThen try what follows, in this order or another:\n");
        for (command, what) in [
            ("name_show d/alice", "a value, proved"),
            ("name_show d/forgotten", "a name that has expired"),
            ("name_history d/alice", "all that its owner did"),
            ("resolve alice.bit --explain", "its DNS records"),
            ("status", "headers and servers"),
        ] {
            tell!("  isonym {command:32}  # {what}");
        }
        tell!("\nEnd it with Ctrl-C.");
        let mut blocks = tokio::time::interval(BLOCK_EVERY);
        // After a sleep of the machine none is made up for.
        blocks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        blocks.tick().await;
        loop {
            tokio::select! {
                end = tokio::signal::ctrl_c() => return end.context("can't wait for Ctrl-C"),
                _ = blocks.tick() => self.network.go_on(now()).context("the world can't go on")?,
            }
        }
    }
}

async fn show(daemon: &Daemon, text: &str, isolation_id: &str, quorum: Option<u8>) -> Result<()> {
    let name = NameId::new(text.as_bytes()).context("a name of the playground")?;
    let question = Question {
        name: name.clone(),
        isolation_id: IsolationId::new(isolation_id.as_bytes()),
        allow_expired: false,
        quorum,
        max_age: None,
    };
    let proved = daemon.names.name_show(&question).await?.into_proved()?;
    let basis = Basis::from(&*proved);
    let outcome = &proved.outcome;
    if let Outcome::Found(status) = outcome {
        let encodings = Encodings {
            name: Encoding::Ascii,
            value: Encoding::Ascii,
        };
        print_json(&rpc::name(status, &basis, daemon.node.params(), encodings))
    } else {
        tell!("{}", rpc::explanation(outcome, &name));
        Ok(())
    }
}

/// Joins equal neighbours, as `a, b x3`, in lines that fit a terminal.
fn summary(methods: &[&str]) -> Vec<String> {
    let runs = methods.chunk_by(|a, b| a == b);
    let words = runs.map(|run| match (run, run.len()) {
        ([method, ..], 1) => (*method).to_owned(),
        ([method, ..], count) => format!("{method} x{count}"),
        ([], _) => String::new(),
    });
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < WIDTH => {
                line.push_str(", ");
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// About how long a line of methods may be.
const WIDTH: usize = 64;

//! How an embedded Tor begins, what it tells meanwhile, and what keeps it from it.

use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::process::Command;

use isonym_sim::{Host, Ledger};
use isonym_testkit::loopback::own_address;
use isonym_testkit::machine::is_inside;
use isonym_testkit::program::{End, Program};
use isonym_testkit::running::{Running, eventually, until};
use isonym_testkit::tor_network::client::Tor;
use isonym_testkit::tor_network::names::{name, value, world};
use isonym_testkit::tor_network::network::{beside_others, network};

use crate::WayOut;

async fn end_of(mut command: Command) -> End {
    tokio::task::spawn_blocking(move || End::of(&mut command, [""; 0]))
        .await
        .unwrap()
}

fn command(program: &Program, arguments: &[&str]) -> Command {
    let mut command = program.on_regtest();
    command.args(["--server=127.0.0.1:1:t"]).args(arguments);
    command
}

#[tokio::test]
async fn settings_that_would_do_nothing_are_refused() {
    let program = Program::new();
    let misspelt = WayOut::with("[bridges]\nenabeld = true\n");
    let mut arguments = misspelt.arguments().to_vec();
    arguments.push("sync");
    let end = end_of(command(&program, &arguments)).await;
    end.assert_failed(&["tor.toml", "bridges.enabeld"]);
    let sound = WayOut::with("");
    let [_, config] = sound.arguments();
    for way_out in ["--proxy=socks5://127.0.0.1:1", "--direct"] {
        let end = end_of(command(&program, &[way_out, config, "sync"])).await;
        end.assert_failed(&["--tor-config", "--proxy embedded"]);
    }
}

#[tokio::test]
async fn a_folder_that_others_may_write_to_is_not_used() {
    let program = Program::new();
    let data = program.folder();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&data)
        .unwrap();
    let folder = data.join("tor");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let end = end_of(command(&program, &["--proxy=embedded", "sync"])).await;
    end.assert_failed(&["the embedded Tor cannot run", "tor"]);
}

/// A daemon on its way, and its home.
struct Begun {
    program: Program,
    running: Running,
    _host: Host,
    _way_out: WayOut,
}

impl Begun {
    /// Starts one that goes out by a Tor with these settings.
    async fn with(settings: &str) -> Self {
        let way_out = WayOut::with(settings);
        let host = Host::honest("server", world(1), Ledger::new()).await.unwrap();
        let program = Program::new();
        let mut daemon = program.on_regtest();
        daemon.args(way_out.arguments());
        daemon.arg(format!("--server={}:t", host.addr));
        daemon.args(["daemon", "--rpc-listen=127.0.0.1:0"]);
        let mut running = Running::start(daemon, &program.home().join("log"));
        running.says("listening on ", "").await;
        Self {
            program,
            running,
            _host: host,
            _way_out: way_out,
        }
    }

    async fn run(&self, arguments: &[&str]) -> End {
        let mut command = self.program.on_regtest();
        command.args(arguments);
        end_of(command).await
    }

    /// Waits until its status and its log tell of this problem, and returns how far it is then.
    async fn tells(&self, problem: &str) -> u64 {
        let percent = until("status tells it", async || {
            let status = self.run(&["status", "--json"]).await.json();
            let tor = &status["tor"];
            let is_told = tor["problem"].as_str().is_some_and(|told| told.contains(problem));
            is_told.then(|| tor["percent"].as_u64().unwrap())
        })
        .await;
        eventually("the log tells it", async || self.running.log().contains(problem)).await;
        percent
    }

    /// Waits until a name is shown by it.
    async fn shows(&self) {
        eventually("a name is shown", async || {
            let end = self.run(&["rpc", "name_show", &name(0, 0)]).await;
            end.status == Some(0) && end.json()["value"] == value(0, 0)
        })
        .await;
    }
}

/// What is told within seconds, where Arti itself takes a minute.
const NO_RELAY: &str = "no relay of the Tor network has answered yet";

/// The same where one had answered.
const NO_PROGRESS: &str = "nothing more comes from the Tor network at the moment";

#[tokio::test]
async fn how_far_it_is_can_be_seen_while_nothing_can_be_reached() {
    let unreachable = format!(
        "[tor_network]
fallback_caches = [
    {{ rsa_identity = \"{}\", ed_identity = \"{}\", orports = [\"{}:1\"] }},
]
[tor_network.authorities]
v3idents = [\"{}\"]
uploads = []
downloads = []
votes = []
",
        "A".repeat(40),
        "A".repeat(43),
        own_address(),
        "B".repeat(40),
    );
    let mut daemon = Begun::with(&unreachable).await;
    let status = daemon.run(&["status", "--json"]).await.json();
    assert_eq!(status["tor"]["state"], "bootstrapping", "{status}");
    assert!(status["tor"]["percent"].as_u64().unwrap() < 100, "{status}");
    let shown = daemon.run(&["rpc", "name_show", &name(0, 0)]).await;
    shown.assert_failed(&["the embedded Tor"]);
    assert_eq!(daemon.tells(NO_RELAY).await, 0);
    // Who ends it does not wait for what never comes.
    daemon.running.stop().await;
    // A command that fetches headers itself says so as well.
    let way_out = WayOut::with(&unreachable);
    let program = Program::new();
    let mut sync = command(&program, &way_out.arguments());
    sync.arg("sync");
    let sync = Running::start(sync, &program.home().join("log"));
    eventually("the terminal tells it", async || sync.log().contains(NO_RELAY)).await;
}

/// Arti leaves a relay that it could not reach alone for minutes, which is too long where the fault was the cable.
#[tokio::test]
async fn it_goes_on_soon_after_the_cable_is_in_again() {
    let _beside = beside_others().await;
    let network = network();
    for (carries, problem) in [(0, NO_RELAY), (1000, NO_PROGRESS)] {
        let cable = network.cable(carries);
        let daemon = Begun::with(&network.for_arti_at(cable.address())).await;
        let percent = daemon.tells(problem).await;
        assert!(!cable.is_in());
        assert_eq!(percent > 0, carries > 0);
        cable.plug();
        daemon.shows().await;
    }
    network.assert_no_leak();
}

/// Returns a daemon that was left to find its way out, once it says this of it.
async fn found(program: &Program, way_out: &WayOut, start: &str, end: &str) -> Running {
    let [_, config] = way_out.arguments();
    let mut daemon = program.on_regtest();
    daemon.args([
        config,
        "--server=192.0.2.1:50001:t",
        "daemon",
        "--rpc-listen=127.0.0.1:0",
    ]);
    let mut running = Running::start(daemon, &program.home().join("log"));
    running.says(start, end).await;
    running
}

#[tokio::test]
async fn a_tor_of_this_machine_is_found_and_nothing_else_is_taken_for_one() {
    if !is_inside("life::a_tor_of_this_machine_is_found_and_nothing_else_is_taken_for_one") {
        return;
    }
    let way_out = WayOut::with("");
    let embedded = (
        "no Tor answers at 127.0.0.1, port 9050 or 9150",
        "the embedded one is used",
    );
    let program = Program::new();
    // Nobody listens.
    found(&program, &way_out, embedded.0, embedded.1).await.stop().await;
    // A server of HTTP, and one that says nothing.
    let other = Program::new();
    let mut http = other.direct();
    http.args(["--server=192.0.2.1:50001:t", "daemon", "--rpc-listen=127.0.0.1:9050"]);
    let mut http = Running::start(http, &other.home().join("log"));
    http.says("listening on http://127.0.0.1:9050", "/").await;
    let silent = TcpListener::bind("127.0.0.1:9150").unwrap();
    found(&program, &way_out, embedded.0, embedded.1).await.stop().await;
    drop(silent);
    // A Tor beside the server of HTTP. It need not have reached its network.
    let mut tor = Tor::stuck("auto", &["SocksPort 127.0.0.1:9150"]).unwrap();
    let way = ("a Tor answers: socks5://127.0.0.1:9150", "is used");
    let daemon = found(&program, &way_out, way.0, way.1).await;
    // Once found it is the way out, also when it is gone.
    tor.kill();
    let gone = "no proxy at socks5://127.0.0.1:9150";
    eventually("it misses its Tor", async || daemon.log().contains(gone)).await;
    assert!(!daemon.log().contains("embedded"), "{}", daemon.log());
}

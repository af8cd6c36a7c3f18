//! A Tor that has not reached its network: whoever waits for it is told within seconds, and how far it is where it tells.

use std::os::unix::net::UnixDatagram;

use isonym_sim::{Host, Ledger};
use isonym_testkit::program::{End, Program};
use isonym_testkit::running::{Running, end_of, eventually, until};
use isonym_testkit::tor_network::client::Tor;
use isonym_testkit::tor_network::names::{name, value, world};
use isonym_testkit::tor_network::network::{beside_others, network};
use serde_json::{Value, json};

const SERVER: &str = "--server=192.0.2.1:50001:t";

/// What is told of a Tor that can't connect to any relay.
const STUCK: &str = "Tor has not reached its network yet, and is at 5 %: Connecting to a relay (Connection refused)";

async fn run(program: &Program, arguments: &[&str]) -> End {
    let mut command = program.on_regtest();
    command.args(arguments);
    end_of(command).await
}

/// Starts a daemon that has a Tor's control port, and returns it with what it says to systemd.
async fn daemon(program: &Program, tor: &Tor, server: &str) -> (Running, UnixDatagram) {
    let socket = program.home().join("notify");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    systemd.set_nonblocking(true).unwrap();
    let mut command = program.on_regtest();
    command.env("NOTIFY_SOCKET", &socket);
    command.args([&tor.proxy(), server, "daemon", "--rpc-listen=127.0.0.1:0"]);
    command.arg(format!("--tor-control={}", tor.control_port()));
    let mut running = Running::start(command, &program.home().join("log"));
    // Before, a command would take the data folder.
    running.says("listening on ", "").await;
    (running, systemd)
}

fn says_to_systemd(systemd: &UnixDatagram, words: &str) -> bool {
    let mut message = [0; 4096];
    while let Ok(length) = systemd.recv(&mut message) {
        let text = String::from_utf8_lossy(&message[..length]).into_owned();
        if text.starts_with("STATUS=") && text.contains(words) {
            return true;
        }
    }
    false
}

async fn status(program: &Program) -> Option<Value> {
    let end = run(program, &["status", "--json"]).await;
    serde_json::from_str(&end.out).ok()
}

#[tokio::test]
async fn a_daemon_tells_everywhere_how_far_its_tor_is() {
    let _beside = beside_others().await;
    // Names wait for a controller there, so that the daemon may be one.
    let tor = Tor::stuck("told", &["__LeaveStreamsUnattached 1"]).unwrap();
    let program = Program::new();
    let (running, systemd) = daemon(&program, &tor, SERVER).await;
    let of_tor = until("the status tells it", async || {
        let status = status(&program).await?;
        let is_stuck = status["trouble"].as_str()?.contains(STUCK);
        is_stuck.then(|| status["tor"].clone())
    })
    .await;
    assert_eq!(
        of_tor,
        json!({
            "state": "bootstrapping",
            "percent": 5,
            "phase": "Connecting to a relay",
            "problem": "Connection refused",
        })
    );
    run(&program, &["status", "--check"]).await.assert_failed(&[STUCK]);
    let shown = run(&program, &["rpc", "name_show", &name(0, 0)]).await;
    shown.assert_failed(&["-28", STUCK]);
    for (method, member) in [("getinfo", "errors"), ("getnetworkinfo", "warnings")] {
        let info = run(&program, &["rpc", method]).await.json();
        assert!(info[member].to_string().contains(STUCK), "{info}");
    }
    eventually("systemd is told", async || says_to_systemd(&systemd, STUCK)).await;
    eventually("the log tells it", async || running.log().contains(STUCK)).await;
    // It is a fact of the moment, of which only what is new is logged.
    assert_eq!(running.log().matches(STUCK).count(), 1, "{}", running.log());
    // Whom a Tor can't reach may be a bridge, which is its user's secret.
    assert!(!running.log().contains("127.0.0.1:1)"), "{}", running.log());
}

#[tokio::test]
async fn a_command_without_a_daemon_tells_it_in_its_progress() {
    let _beside = beside_others().await;
    let tor = Tor::stuck("alone", &[]).unwrap();
    for told in [true, false] {
        let program = Program::new();
        let mut command = program.on_regtest();
        command.args([&tor.proxy(), SERVER, "name_show", &name(0, 0)]);
        let words = if told {
            command.env("ISONYM_TOR_CONTROL", tor.control_port());
            STUCK
        } else {
            // Nobody named its control port, and it is at none of the usual places.
            "Tor answers, but has built no circuit yet: it may not have reached its network"
        };
        let mut running = Running::start(command, &program.home().join("log"));
        running.says("headers: no connection to a server: ", "").await;
        assert!(running.log().contains(words), "{}", running.log());
        assert_eq!(running.log().matches(words).count(), 1, "{}", running.log());
    }
}

#[tokio::test]
async fn the_word_is_that_of_the_moment() {
    let _beside = beside_others().await;
    let tor = network().naming_client("late", true);
    let host = Host::honest("server", world(1), Ledger::new()).await.unwrap();
    let mut control = tor.control().unwrap();
    control.command("SETCONF DisableNetwork=1").unwrap();
    let program = Program::new();
    let (running, _systemd) = daemon(&program, &tor, &format!("--server={}:t", host.addr)).await;
    let trouble = until("the status tells it", async || {
        let status = status(&program).await?;
        let trouble = status["trouble"].as_str()?.to_owned();
        (status["tor"]["state"] == "network_disabled").then_some(trouble)
    })
    .await;
    for words in ["no proxy at", "was told to use no network (DisableNetwork)"] {
        assert!(trouble.contains(words), "{trouble}");
    }
    control.command("SETCONF DisableNetwork=0").unwrap();
    eventually("its headers are up to date", async || {
        status(&program).await.is_some_and(|it| it["synchronized"] == true)
    })
    .await;
    let after = status(&program).await.unwrap();
    assert!(after.get("tor").is_none() && after.get("trouble").is_none(), "{after}");
    let shown = run(&program, &["name_show", &name(0, 0)]).await;
    assert_eq!(shown.json()["value"], value(0, 0), "{}", running.log());
}

//! What signals do to commands that run: SIGHUP has settings and files taken anew, SIGUSR1 is a New Identity, neither ends
//! any of them.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use isonym_testkit::backend::{Backend, Says};
use isonym_testkit::dns::server::MARKER;
use isonym_testkit::dns::wire::{query_as, udp};
use isonym_testkit::harness::{Daemon, Stop, honest, id, until};
use isonym_testkit::program::{End, Program};
use isonym_testkit::running::{Running, end_of, signal};
use isonym_testkit::stage::{VALUE, world};

const DONE: &str = "SIGHUP: settings and files are taken anew";

/// A configuration file beside the home of a program.
fn config(program: &Program, text: &str) -> PathBuf {
    let path = program.home().join("config.toml");
    fs::write(&path, text).unwrap();
    path
}

/// Waits until a log has a text so many times.
async fn told(log: impl Fn() -> String, text: &str, times: usize) {
    until(text, async || (log().matches(text).count() >= times).then_some(())).await;
}

/// Sends signals to a command that has begun with the level `warn`, and ends it.
async fn live(mut command: Command, program: &Program, begins: &str) {
    let file = config(program, "log-level = \"warn\"\n");
    command.arg("--config").arg(&file);
    let mut running = Running::start(command, &program.home().join("log"));
    let log = program.home().join("log");
    let log = || fs::read_to_string(&log).unwrap();
    told(log, begins, 1).await;
    config(program, "log-level = \"info\"\nname-patience = 7\n");
    running.signal("-HUP").await;
    told(log, DONE, 1).await;
    // It logs that at level info, which it did not begin with.
    running.signal("-USR1").await;
    told(log, "all callers are taken for new ones", 1).await;
    config(program, "log-level = \"loud\"\n");
    running.signal("-HUP").await;
    told(
        log,
        "config.toml:1: log-level = loud: give warn, error, info or debug",
        1,
    )
    .await;
    // What was wrong has changed nothing.
    running.signal("-USR1").await;
    told(log, "all callers are taken for new ones", 2).await;
    config(program, "log-level = \"warn\"\n");
    running.signal("-HUP").await;
    running.signal("-USR1").await;
    running.stop().await;
    assert_eq!(log().matches("all callers are taken for new ones").count(), 2);
}

fn of(program: &Program, arguments: &[&str]) -> Command {
    let mut command = program.on_regtest();
    command.args(arguments);
    command
}

#[tokio::test]
async fn dns() {
    let program = Program::new();
    let arguments = ["dns", "--listen=127.0.0.1:0", "--rpc-url=http://127.0.0.1:1"];
    live(of(&program, &arguments), &program, "for DNS").await;
}

#[tokio::test]
async fn tor() {
    let program = Program::new();
    let nowhere = Backend::nowhere().await.to_string();
    let arguments = ["tor", "--rpc-url=http://127.0.0.1:1", "--control", &nowhere];
    live(of(&program, &arguments), &program, "trying again").await;
}

#[tokio::test]
async fn socks() {
    let program = Program::new();
    let arguments = ["socks", "--listen=127.0.0.1:0", "--rpc-url=http://127.0.0.1:1"];
    live(of(&program, &arguments), &program, "for SOCKS").await;
}

#[tokio::test]
async fn daemon() {
    let program = Program::new();
    let nowhere = Backend::nowhere().await;
    let (proxy, server) = (format!("--proxy=socks5://{nowhere}"), "--server=a.example:50001:t");
    let arguments = [&*proxy, server, "daemon", "--rpc-listen=127.0.0.1:0"];
    live(of(&program, &arguments), &program, "listening on http").await;
}

/// It ends with its standard input, so that it is given one that lasts.
#[tokio::test]
async fn prop279() {
    let program = Program::new();
    let file = config(&program, "log-level = \"warn\"\n");
    let mut command = of(&program, &["prop279", "--rpc-url=http://127.0.0.1:1", "--config"]);
    let log = program.home().join("log");
    command.arg(&file).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let log = || fs::read_to_string(&log).unwrap();
    config(&program, "log-level = \"info\"\n");
    // Before it catches signals they would end it.
    let status = format!("/proc/{}/status", child.id());
    until("it catches SIGHUP", async || {
        let status = fs::read_to_string(&status).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        (u64::from_str_radix(caught.trim(), 16).unwrap() & 1 == 1).then_some(())
    })
    .await;
    for (times, name, text) in [
        (1, "-HUP", DONE),
        (1, "-USR1", "all callers are taken for new ones"),
        (2, "-HUP", DONE),
    ] {
        end_of(signal(name, child.id())).await.assert_succeeded();
        told(log, text, times).await;
    }
    drop(child.stdin.take());
    let ended = until("it ends", || {
        let ended = child.try_wait().unwrap();
        async move { ended }
    })
    .await;
    assert_eq!(ended.code(), Some(0), "{}", log());
}

#[tokio::test]
async fn other_servers_are_used_from_then_on() {
    let (stage, _) = honest(world(), 2).await;
    let program = Program::new();
    let server = |at: usize| format!("server = [\"{}:50001:t\"]\n", stage.hosts[at].name);
    let file = config(&program, &server(0));
    let way = [format!("--proxy=socks5://{}", stage.proxy.addr)];
    let daemon = Daemon::start_on(&program, &way, &["--pool=none", "--config", file.to_str().unwrap()]).await;
    daemon.synced().await;
    daemon.value(&id(1)).await.unwrap();
    let (synced, looked_up) = (stage.met(0), stage.met_by_lookups(0));
    assert!(synced > 0 && looked_up > 0 && stage.met(1) == 0);

    config(&program, &format!("{}dns-patience = 3\n", server(1)));
    end_of(signal("-HUP", daemon.pid())).await.assert_succeeded();
    told(|| daemon.log(), DONE, 1).await;
    assert!(
        daemon.log().contains("dns-patience is another one by now"),
        "{}",
        daemon.log()
    );
    until("header sync uses the other one", async || {
        (stage.met(1) > 0).then_some(())
    })
    .await;
    // What was remembered, and the connection that was open, are those of before.
    for number in 1..4 {
        let found = until("a value", async || daemon.value_of_now(&id(number)).await.ok()).await;
        assert_eq!(found, VALUE);
    }
    assert_eq!(stage.met(0), synced, "the one that is named no more was dialed");
    assert!(stage.met_by_lookups(1) > 0);
    let info = daemon.call("settings", json!([])).await.unwrap();
    assert!(
        info["server"].as_str().unwrap().starts_with(&stage.hosts[1].name),
        "{info}"
    );
    let listed = daemon.call("servers", json!([])).await.unwrap().to_string();
    assert!(
        listed.contains(&stage.hosts[1].name) && !listed.contains(&stage.hosts[0].name),
        "{listed}"
    );

    // And back again.
    config(&program, &server(0));
    end_of(signal("-HUP", daemon.pid())).await.assert_succeeded();
    until("header sync uses the first one again", async || {
        (stage.met(0) > synced).then_some(())
    })
    .await;
    // A file that cannot be read changes nothing, and is told of.
    fs::write(program.known_servers(), "nonsense\n").unwrap();
    end_of(signal("-HUP", daemon.pid())).await.assert_succeeded();
    told(|| daemon.log(), "known-servers", 1).await;
    daemon.value_of_now(&id(9)).await.unwrap();
    fs::remove_file(program.known_servers()).unwrap();
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

/// Makes keys in a folder, in place of those that are there.
fn keygen(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    let mut command = Program::new().bare();
    command.args(["dnssec", "keygen"]).arg(folder);
    End::from(command.output().unwrap()).assert_succeeded();
}

/// A DNS server that signs; killed when this is dropped.
struct Signing {
    running: Running,
    address: std::net::SocketAddr,
}

impl Signing {
    async fn start(program: &Program, url: &str, keys: &Path, notify: Option<&Path>) -> Self {
        let mut command = of(program, &["dns", "-vv", "--listen=127.0.0.1:0", "--rpc-url", url]);
        command.arg("--dnssec").arg(keys);
        if let Some(socket) = notify {
            command.env("NOTIFY_SOCKET", socket);
        }
        let mut running = Running::start(command, &program.home().join("log"));
        let address = running.says("listening on ", " for DNS").await.parse().unwrap();
        Self { running, address }
    }

    async fn keys(&self) -> Vec<String> {
        let reply = udp(self.address, &query_as("x", "bit", "DNSKEY")).await;
        reply.answers()
    }
}

#[tokio::test]
async fn zones_are_signed_with_the_keys_that_are_there_by_then() {
    let backend = Backend::start().await;
    let program = Program::new();
    let folder = program.home().join("keys");
    keygen(&folder);
    let mut dns = Signing::start(&program, &backend.url(), &folder, None).await;
    let before = dns.keys().await;
    assert_eq!(before.len(), 2, "{before:?}");
    keygen(&folder);
    assert_eq!(dns.keys().await, before, "nobody has asked for others");
    dns.running.signal("-HUP").await;
    told(|| dns.running.log(), DONE, 1).await;
    let after = dns.keys().await;
    assert_eq!(after.len(), 2, "{after:?}");
    assert!(after.iter().all(|key| !before.contains(key)), "{after:?}");
    // Where they are gone those from before go on.
    fs::remove_dir_all(&folder).unwrap();
    dns.running.signal("-HUP").await;
    told(|| dns.running.log(), "what was not is as before: --dnssec", 1).await;
    assert_eq!(dns.keys().await, after);
    dns.running.stop().await;
}

/// Source: systemd, `sd_notify(3)` and `systemd.service(5)`, `Type=notify-reload`.
#[tokio::test]
async fn the_service_manager_hears_of_it() {
    let backend = Backend::start().await;
    let program = Program::new();
    let folder = program.home().join("keys");
    keygen(&folder);
    let path = program.home().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let hear = async || {
        until("a notice", async || {
            let mut notice = [0; 4096];
            let length = socket.recv(&mut notice).ok()?;
            Some(String::from_utf8(notice[..length].to_vec()).unwrap())
        })
        .await
    };
    let mut dns = Signing::start(&program, &backend.url(), &folder, Some(&path)).await;
    assert_eq!(hear().await.trim_end(), "READY=1");
    for _ in 0..2 {
        dns.running.signal("-HUP").await;
        let notice = hear().await;
        let mut lines = notice.lines();
        assert_eq!(lines.next(), Some("RELOADING=1"));
        let time = lines
            .next()
            .and_then(|line| line.strip_prefix("MONOTONIC_USEC="))
            .unwrap();
        assert!(time.parse::<u64>().unwrap() > 0);
        assert_eq!(hear().await.trim_end(), "READY=1");
        // What is wrong is no reason to leave the manager waiting.
        let _ = fs::remove_dir_all(&folder);
    }
    dns.running.stop().await;
    assert_eq!(hear().await.trim_end(), "STOPPING=1");
}

#[tokio::test]
async fn after_a_new_identity_a_backend_hears_of_new_ids() {
    let backend = Backend::start().await;
    let name = format!("d/{MARKER}-name");
    backend.say(&name, Says::value(&json!({ "ip": "192.0.2.1" })));
    let program = Program::new();
    let folder = program.home().join("keys");
    keygen(&folder);
    let mut dns = Signing::start(&program, &backend.url(), &folder, None).await;
    let ask = async |who: &str| {
        let reply = udp(dns.address, &query_as(who, &format!("{MARKER}-name.bit"), "A")).await;
        assert_eq!(reply.answers().len(), 1, "{reply:?}");
        backend.calls().into_iter().map(|call| call.id).collect::<Vec<_>>()
    };
    ask("marker-of-the-id").await;
    let before = ask("").await;
    assert_eq!(before, [Some("marker-of-the-id".to_owned()), None]);
    dns.running.signal("-USR1").await;
    told(|| dns.running.log(), "all callers are taken for new ones", 1).await;
    // Who gave no ID has none there still, and is forgotten there.
    assert_eq!(backend.forgotten(), [""]);
    ask("marker-of-the-id").await;
    ask("").await;
    let after = ask("marker-of-the-id").await;
    assert_eq!(after.len(), 4, "{after:?}");
    assert_eq!(after[3], None);
    let renewed = after[2].clone().unwrap();
    assert!(
        !before.contains(&Some(renewed.clone())) && renewed.starts_with("renewed-"),
        "{renewed}"
    );
    dns.running.stop().await;
}

/// Source: systemd, `sd_watchdog_enabled(3)`.
#[tokio::test]
async fn a_service_manager_that_wants_signs_of_life_has_them() {
    let program = Program::new();
    let nowhere = Backend::nowhere().await;
    let (proxy, server) = (format!("--proxy=socks5://{nowhere}"), "--server=a.example:50001:t");
    let path = program.home().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut command = of(&program, &[&*proxy, server, "daemon", "--rpc-listen=127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000");
    let mut running = Running::start(command, &program.home().join("log"));
    for _ in 0..3 {
        until("a sign of life", async || {
            let mut notice = [0; 4096];
            let length = socket.recv(&mut notice).ok()?;
            notice[..length].starts_with(b"WATCHDOG=1").then_some(())
        })
        .await;
    }
    running.stop().await;
}

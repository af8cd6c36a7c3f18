//! Too few open files, a folder that can't be written to, more work than memory for it: the daemon says so, lives, and
//! goes on when there is room again.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use isonym::rpc::MAX_BODY;
use isonym_sim::{AddressKind, Fault};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use isonym_testkit::dns::wire::{query, tcp};
use isonym_testkit::harness::{Daemon, Line, PATIENCE, Stop, end_of, honest, id, until};
use isonym_testkit::program::Program;
use isonym_testkit::stage::{NAME, VALUE, world};

const NEWER: &str = "marker of the newer value";

async fn until_at(daemon: &Daemon, height: u32) {
    until("the new block is known", async || {
        (daemon.call("getblockcount", json!([])).await == Ok(json!(height))).then_some(())
    })
    .await;
}

/// Waits over a connection that is there already.
async fn until_counted(line: &mut Line, count: &[u8], height: u32) {
    let counted = async {
        while line.ask(count).await.json()["result"] != height {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, counted).await.unwrap();
}

/// The limits of open files, soft and hard.
fn file_limits(daemon: &Daemon) -> (u64, u64) {
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let mut numbers = line.unwrap().split_whitespace().map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

async fn set_soft_limit(daemon: &Daemon, files: u64) {
    let mut limit = Command::new("prlimit");
    limit.args(["--pid", &daemon.pid().to_string(), &format!("--nofile={files}:")]);
    end_of(limit).await.assert_succeeded();
}

#[tokio::test]
async fn callers_without_a_password_can_not_take_all_files() {
    let _turn = crate::turn().await;
    let (stage, shared) = honest(world(), 2).await;
    let program = Program::new();
    let daemon = Daemon::start_with_files(&program, &stage, "100:200", &[]).await;
    daemon.synced().await;
    assert_eq!(file_limits(&daemon), (200, 200));
    let mut first = Line::open(&daemon).await;
    let count = daemon.with_body(json!({ "method": "getblockcount" }).to_string().as_bytes());
    assert_eq!(first.ask(&count).await.status, 200);
    let mut idle = Vec::new();
    // More than there are files for, fewer than a listener lets wait outside.
    for _ in 0..190 {
        idle.push(TcpStream::connect(daemon.address).await.unwrap());
    }
    // Whoever asks is let in and served, often enough for all others to be let in if that was to happen.
    for _ in 0..50 {
        first = Line::open(&daemon).await;
        assert_eq!(first.ask(&count).await.status, 200);
    }
    // A new block is written down, and how it went with the servers; a lookup gets its connection.
    let height = shared.read(isonym_sim::SimChain::height) + 1;
    shared.change(|world| world.update(NAME, NEWER, AddressKind::P2pkh).unwrap());
    let show = json!({ "method": "name_show", "params": [NAME, { "streamID": id(0) }] }).to_string();
    let show = daemon.with_body(show.as_bytes());
    until_counted(&mut first, &count, height).await;
    assert_eq!(first.ask(&show).await.json()["result"]["value"], NEWER);
    let log = daemon.log();
    assert!(!log.contains("Too many open files"), "{log}");
    drop(idle);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

/// Where a daemon listens, by what it says.
fn place(daemon: &Daemon, kind: &str) -> SocketAddr {
    let log = daemon.log();
    let mut lines = log.lines();
    let found = lines.find_map(|line| line.split_once("listening on ")?.1.strip_suffix(kind));
    found.unwrap().parse().unwrap()
}

#[tokio::test]
async fn strangers_at_all_fronts_together_can_not_take_all_files() {
    let _turn = crate::turn().await;
    let (stage, shared) = honest(world(), 2).await;
    let program = Program::new();
    let fronts = [
        "--dns-listen=127.0.0.1:0",
        "--socks-listen=127.0.0.1:0",
        "--socks-tor=127.0.0.1:1",
        "--pool=none",
    ];
    let daemon = Daemon::start_with_files(&program, &stage, "100:256", &fronts).await;
    daemon.synced().await;
    let [dns, socks] = [" for DNS", " for SOCKS and HTTP CONNECT"].map(|kind| place(&daemon, kind));
    let asked = || query(&format!("{}.bit", NAME.strip_prefix("d/").unwrap()), "A");
    let code = tcp(dns, &asked()).await.code();
    let socket = program.folder().join("rpc.sock");
    let (mut idle, mut idle_here) = (Vec::new(), Vec::new());
    for _ in 0..120 {
        for front in [daemon.address, dns, socks] {
            idle.push(TcpStream::connect(front).await.unwrap());
        }
        idle_here.push(UnixStream::connect(&socket).await.unwrap());
    }
    // Whoever asks is let in and served, often enough for all others to be let in if that was to happen.
    let count = daemon.with_body(json!({ "method": "getblockcount" }).to_string().as_bytes());
    for _ in 0..50 {
        assert_eq!(Line::open(&daemon).await.ask(&count).await.status, 200);
        assert_eq!(tcp(dns, &asked()).await.code(), code);
        let mut application = TcpStream::connect(socks).await.unwrap();
        application.write_all(&[5, 1, 0]).await.unwrap();
        let mut chosen = [0; 2];
        timeout(PATIENCE, application.read_exact(&mut chosen))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(chosen, [5, 0]);
    }
    // A new block is written down, and a lookup gets its connection.
    let height = shared.read(isonym_sim::SimChain::height) + 1;
    shared.change(|world| world.update(NAME, NEWER, AddressKind::P2pkh).unwrap());
    until_at(&daemon, height).await;
    let shown = daemon
        .call("name_show", json!([NAME, { "streamID": id(1) }]))
        .await
        .unwrap();
    assert_eq!(shown["value"], NEWER);
    let log = daemon.log();
    assert!(!log.contains("Too many open files"), "{log}");
    drop((idle, idle_here));
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn no_file_can_be_opened_for_a_while() {
    let _turn = crate::turn().await;
    let (stage, shared) = honest(world(), 2).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &["--pool=none"]).await;
    let mut line = Line::open(&daemon).await;
    let count = daemon.with_body(json!({ "method": "getblockcount" }).to_string().as_bytes());
    assert_eq!(line.ask(&count).await.status, 200);
    let (soft, _) = file_limits(&daemon);
    // What is open stays so.
    set_soft_limit(&daemon, 1).await;
    let show = json!({ "method": "name_show", "params": [NAME, { "streamID": id(0) }] }).to_string();
    let reply = line.ask(&daemon.with_body(show.as_bytes())).await.json();
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(message.contains("Too many open files"), "{message}");
    assert!(!message.contains("start Tor"), "{message}");
    // The servers' tips are news, which can't be written down now.
    let height = shared.read(isonym_sim::SimChain::height) + 1;
    shared.change(|world| world.update(NAME, NEWER, AddressKind::P2pkh).unwrap());
    until_counted(&mut line, &count, height).await;
    until("it says so", async || {
        daemon.log().contains("kept in memory alone").then_some(())
    })
    .await;
    set_soft_limit(&daemon, soft).await;
    until("a name is served", async || {
        (daemon.value(&id(1)).await == Ok(NEWER.to_owned())).then_some(())
    })
    .await;
    drop(line);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn a_report_that_can_not_be_written() {
    let _turn = crate::turn().await;
    let (stage, shared) = honest(world(), 2).await;
    let program = Program::new();
    // No file can be made where a folder is.
    fs::create_dir_all(program.folder().join("last-sync.json.new")).unwrap();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    assert_eq!(daemon.value(&id(0)).await, Ok(VALUE.to_owned()));
    shared.change(|world| world.mine(1));
    until_at(&daemon, shared.read(isonym_sim::SimChain::height)).await;
    assert!(daemon.log().contains("kept in memory alone"), "{}", daemon.log());
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

/// The memory that the daemon has, in bytes.
fn memory(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn a_batch_that_waits_takes_little_more_room_than_its_text() {
    const BATCHES: usize = 20;
    let _turn = crate::turn().await;
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    assert_eq!(daemon.value(&id(BATCHES)).await, Ok(VALUE.to_owned()));
    stage.hosts[0].set_fault(Some(Fault::SilentAfterHandshake));
    let before = memory(&daemon);
    // Each `0,` becomes a value of many bytes.
    let numbers = "0,".repeat(MAX_BODY / 2 - 200);
    let mut waiting = JoinSet::new();
    for number in 0..BATCHES {
        let first = json!({ "method": "name_show", "params": [NAME, { "streamID": id(number) }] });
        let body = format!(r#"[{first},{{"method":"uptime","params":[{numbers}0]}}]"#);
        assert!(body.len() <= MAX_BODY);
        let mut line = Line::open(&daemon).await;
        let request = daemon.with_body(body.as_bytes());
        waiting.spawn(async move { line.ask(&request).await });
    }
    until("all of them wait", async || {
        let info = daemon.call("isolation_info", json!([])).await.unwrap();
        (info["ids"].as_u64().unwrap() > BATCHES as u64).then_some(())
    })
    .await;
    let grown = memory(&daemon).saturating_sub(before);
    assert!(grown < 3 * (BATCHES * MAX_BODY) as u64, "grew by {grown} bytes");
    stage.hosts[0].set_fault(None);
    waiting.abort_all();
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

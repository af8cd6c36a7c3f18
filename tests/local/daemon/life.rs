//! Coming up, going down, and what is in the way.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use isonym_sim::Fault;
use serde_json::json;

use isonym_testkit::harness::{Daemon, Stop, end_of, honest, id, send, until, way};
use isonym_testkit::program::Program;
use isonym_testkit::running::Running;
use isonym_testkit::stage::{NAME, VALUE, world};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn it_comes_up_answers_and_leaves_nothing_behind() {
    let (stage, shared) = honest(world(), 2).await;
    let program = Program::new();
    for stop in [Stop::Terminate, Stop::Interrupt, Stop::Quit, Stop::Call] {
        let daemon = Daemon::ready(&program, &stage, &[]).await;
        assert_eq!(mode(&daemon.folder.join(".cookie")), 0o600);
        assert_eq!(mode(&daemon.folder), 0o700);
        assert_eq!(mode(daemon.folder.parent().unwrap()), 0o700);
        let address = fs::read_to_string(daemon.folder.join(".rpc-address")).unwrap();
        assert_eq!(address, daemon.address.to_string());

        let mut count = program.on_regtest();
        count.args(["rpc", "getblockcount"]);
        let end = end_of(count).await;
        end.assert_succeeded();
        assert_eq!(end.json(), json!(shared.read(isonym_sim::SimChain::height)));

        let mut show = program.on_regtest();
        show.args(["rpc", "name_show", NAME, r#"{"streamID":"marker-of-the-id"}"#]);
        let end = end_of(show).await;
        end.assert_succeeded();
        assert_eq!(end.json()["value"], VALUE);

        daemon.stop(stop, &stage.ledger).await;
        assert_eq!(mode(&program.folder()), 0o700);
    }
}

#[tokio::test]
async fn it_ends_while_headers_and_callers_wait() {
    let (stage, _) = honest(world(), 1).await;
    stage.hosts[0].set_fault(Some(Fault::Silent));
    for stop in [Stop::Terminate, Stop::Interrupt, Stop::Call] {
        let program = Program::new();
        let daemon = Daemon::start(&program, &stage, &[]).await;
        daemon.stop(stop, &stage.ledger).await;
    }
    stage.hosts[0].set_fault(None);
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    stage.hosts[0].set_fault(Some(Fault::Silent));
    let request = json!({ "method": "name_show", "params": [NAME, { "streamID": id(0) }], "id": 1 });
    let asks = tokio::spawn(send(daemon.address, daemon.request(&request)));
    until("the lookup waits", async || {
        let info = daemon.call("isolation_info", json!([])).await.unwrap();
        (info["ids"] != 0).then_some(())
    })
    .await;
    // Whoever waits for an answer does not keep it from ending.
    daemon.stop(Stop::Terminate, &stage.ledger).await;
    assert_eq!(asks.await.unwrap().status, 0);
}

#[tokio::test]
async fn a_second_one_on_the_same_folder() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    let mut second = program.on_regtest();
    second.args(way(&stage)).args(["daemon", "--rpc-listen=127.0.0.1:0"]);
    let end = end_of(second).await;
    end.assert_failed(&["another isonym process uses", "--datadir"]);
    // The first one's callers are still let in.
    assert_eq!(daemon.value(&id(0)).await, Ok(VALUE.to_owned()));
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn one_without_a_port_is_called_by_the_socket() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    // What one that was killed left.
    fs::create_dir_all(program.folder()).unwrap();
    fs::set_permissions(program.folder(), fs::Permissions::from_mode(0o700)).unwrap();
    for file in [".cookie", ".rpc-address"] {
        fs::write(program.folder().join(file), "127.0.0.1:1").unwrap();
    }
    let mut command = program.on_regtest();
    command.args(way(&stage)).args(["daemon", "--rpc-listen=none"]);
    let mut daemon = Running::start(command, &program.home().join("log"));
    daemon.says("listening at ", "rpc.sock, and at no port").await;
    for file in [".cookie", ".rpc-address"] {
        assert!(!program.folder().join(file).exists(), "{file}");
    }
    let run = |arguments: &[&str]| {
        let mut command = program.on_regtest();
        command.args(arguments);
        end_of(command)
    };
    let shown = until("a value", async || {
        let end = run(&["rpc", "name_show", NAME]).await;
        (end.status == Some(0)).then_some(end)
    })
    .await;
    assert_eq!(shown.json()["value"], VALUE);
    for arguments in [&["name_show", NAME][..], &["rpc", "--rpc-listen=none", "getblockcount"]] {
        run(arguments).await.assert_succeeded();
    }
    // Fronts of the machine find it as well.
    let mut plugin = program.on_regtest();
    plugin.arg("prop279").stdin(std::process::Stdio::piped());
    let mut plugin = plugin.spawn().unwrap();
    let name = NAME.strip_prefix("d/").unwrap();
    std::io::Write::write_all(
        &mut plugin.stdin.take().unwrap(),
        format!("RESOLVE 1 {name}.bit\n").as_bytes(),
    )
    .unwrap();
    let said = tokio::task::spawn_blocking(move || plugin.wait_with_output().unwrap());
    let said = String::from_utf8(said.await.unwrap().stdout).unwrap();
    // The value is no JSON, which it can only know by having it.
    assert!(
        said.contains("RESOLVED 1 3 ") && said.contains("a value that cannot be used"),
        "{said}"
    );
    run(&["rpc", "stop"]).await.assert_succeeded();
    assert!(daemon.ended().await.success());
    assert!(!program.folder().join("rpc.sock").exists());
    let end = run(&["rpc", "--rpc-listen=none", "getblockcount"]).await;
    end.assert_failed(&["no daemon"]);
}

#[tokio::test]
async fn a_port_that_is_taken() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut daemon = program.on_regtest();
    daemon.args(way(&stage)).args(["daemon", "--rpc-listen", &address]);
    let end = end_of(daemon).await;
    end.assert_failed(&["cannot listen on", &address, "--rpc-listen"]);
    for file in [".cookie", ".rpc-address"] {
        assert!(!program.folder().join(file).exists());
    }
}

#[tokio::test]
async fn what_a_crash_left_is_in_nobodys_way() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let crashed = Daemon::ready(&program, &stage, &[]).await;
    drop(crashed);
    assert!(program.folder().join(".rpc-address").exists());
    let mut show = program.on_regtest();
    show.args(way(&stage)).args(["name_show", NAME]);
    end_of(show).await.assert_succeeded();
    let mut call = program.on_regtest();
    call.args(["rpc", "getblockcount"]);
    end_of(call).await.assert_failed(&["no connection"]);
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    daemon.stop(Stop::Call, &stage.ledger).await;
}

/// After a crash anybody may take the port: here it is even the same user, whom no check of who listens turns away.
#[tokio::test]
async fn whoever_takes_the_port_of_one_that_crashed_is_told_nothing() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let crashed = Daemon::ready(&program, &stage, &[]).await;
    let address = crashed.address;
    drop(crashed);
    assert!(program.folder().join(".cookie").exists());
    let taken = TcpListener::bind(address).unwrap();
    taken.set_nonblocking(true).unwrap();
    let mut command = program.on_regtest();
    command.args(["rpc", "name_show", NAME]);
    let end = end_of(command).await;
    assert_eq!(end.status, Some(1), "{end:?}");
    assert!(end.err.contains("no connection"), "{end:?}");
    // A plugin goes on, and has no answer.
    let asks = program.folder().join("queries");
    fs::write(&asks, "RESOLVE 1 example.bit\n").unwrap();
    let mut command = program.on_regtest();
    command.arg("prop279").stdin(fs::File::open(&asks).unwrap());
    let end = end_of(command).await;
    end.assert_succeeded();
    assert!(end.out.contains("RESOLVED 1 1 "), "{end:?}");
    let refused = taken.accept().unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock, "somebody called");
    // The next one is called by the socket again, which the crash left, and not at the port.
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    assert_eq!(mode(&program.folder().join("rpc.sock")), 0o600);
    fs::write(program.folder().join(".rpc-address"), address.to_string()).unwrap();
    for arguments in [&["rpc", "name_show", NAME][..], &["name_show", NAME]] {
        let mut command = program.on_regtest();
        command.args(arguments);
        end_of(command).await.assert_succeeded();
    }
    let refused = taken.accept().unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock, "somebody called");
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn headers_that_are_not_there_yet() {
    let (stage, _) = honest(world(), 1).await;
    let delay = Duration::from_secs(2);
    stage.hosts[0].set_fault(Some(Fault::Slow { delay }));
    let program = Program::new();
    let daemon = Daemon::start(&program, &stage, &[]).await;
    let (code, message) = daemon.value(&id(0)).await.unwrap_err();
    assert_eq!(code, -28);
    assert!(
        message.starts_with("Synchronising headers: ") && message.contains(" of "),
        "{message}"
    );
    let mut show = program.on_regtest();
    show.args(["name_show", NAME]);
    // A command waits for them.
    let shown = tokio::spawn(end_of(show));
    stage.hosts[0].set_fault(None);
    daemon.synced().await;
    assert_eq!(daemon.value(&id(0)).await, Ok(VALUE.to_owned()));
    let shown = shown.await.unwrap();
    shown.assert_succeeded();
    assert_eq!(shown.json()["value"], VALUE);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

/// User and system time of a process, in clock ticks, and its resident memory in kB.
fn uses(pid: u32) -> Option<(u64, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some((ticks, line.trim().strip_suffix(" kB")?.parse().ok()?))
}

/// Prints what an idle daemon costs; nothing of it is asserted.
#[tokio::test]
async fn what_it_costs_to_do_nothing() {
    let (stage, _) = honest(world(), 2).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    let before = uses(daemon.pid());
    tokio::time::sleep(Duration::from_secs(10)).await;
    if let Some(((before, _), (after, resident))) = before.zip(uses(daemon.pid())) {
        eprintln!("idle for 10 s: {} clock ticks, {resident} kB resident", after - before);
    }
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

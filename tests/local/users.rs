//! Another user in place of root, and sockets of a service manager in place of our own ports.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use isonym_testkit::backend::{Backend, Says};
use isonym_testkit::dns::wire::{query_as, tcp, udp};
use isonym_testkit::harness::{honest, until, way};
use isonym_testkit::loopback::own_address;
use isonym_testkit::program::{Program, isonym};
use isonym_testkit::running::{Running, end_of};
use isonym_testkit::stage::{NAME, VALUE, world};

/// A user whom every system has.
const USER: &str = "nobody";

/// Returns the numbers of the user and of its group; `None` where these tests can't be made, which is said.
fn user() -> Option<(u32, u32)> {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = fields.find(|fields| fields[0] == USER && is_root);
    if found.is_none() {
        eprintln!("SKIPPED: only root can become {USER}, and there has to be one");
    }
    found.map(|fields| (fields[2].parse().unwrap(), fields[3].parse().unwrap()))
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Lets the user into the home, and gives it the data folder.
fn give(program: &Program, (user, group): (u32, u32)) {
    set_mode(program.home(), 0o711);
    let data = program.home().join("data");
    fs::create_dir(&data).unwrap();
    set_mode(&data, 0o700);
    chown(&data, Some(user), Some(group)).unwrap();
}

/// Asserts that each thread of a process is the user's alone.
fn assert_is(process: u32, (user, group): (u32, u32)) {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    for task in tasks {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let lines = status.lines().filter_map(|line| line.split_once(':'));
        let status: BTreeMap<&str, &str> = lines.map(|(name, value)| (name, value.trim())).collect();
        let numbers = |field: &str| status[field].split_whitespace().collect::<Vec<_>>();
        assert_eq!(numbers("Uid"), [&*user.to_string(); 4], "{status:?}");
        assert_eq!(numbers("Gid"), [&*group.to_string(); 4], "{status:?}");
        assert!(!numbers("Groups").contains(&"0"), "{status:?}");
        for field in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(u64::from_str_radix(status[field], 16), Ok(0), "{field}: {status:?}");
        }
        assert_eq!(status["NoNewPrivs"], "1", "{status:?}");
    }
}

#[tokio::test]
async fn a_daemon_opens_the_ports_of_root_and_is_root_no_more() {
    let Some(user) = user() else { return };
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    give(&program, user);
    let place = SocketAddr::from((own_address(), 53));
    let rpc = SocketAddr::from((own_address(), 336));
    let mut command = program.on_regtest();
    command.args(way(&stage)).args(["daemon", "-v", "--user", USER]);
    command.args([format!("--dns-listen={place}"), format!("--rpc-listen={rpc}")]);
    let mut daemon = Running::start(command, &program.home().join("log"));
    daemon.says("listening on http", "/").await;
    assert_is(daemon.process(), user);
    // It does its work: it writes, listens at the socket, and answers.
    let shown = until("a value", async || {
        let mut call = program.on_regtest();
        call.args(["rpc", "name_show", NAME]);
        let end = end_of(call).await;
        (end.status == Some(0)).then_some(end)
    })
    .await;
    assert_eq!(shown.json()["value"], VALUE);
    let reply = udp(place, &query_as("x", "bit", "SOA")).await;
    assert_eq!(reply.answers().len(), 1, "{reply:?}");
    for file in [".cookie", ".rpc-address", "rpc.sock", "headers"] {
        let file = fs::metadata(program.folder().join(file)).unwrap();
        assert_eq!((file.uid(), file.gid()), user);
    }
    // Threads that began later are no other.
    assert_is(daemon.process(), user);
    assert!(!daemon.log().contains("running as root"), "{}", daemon.log());
    daemon.stop().await;
}

#[tokio::test]
async fn each_front_alone_becomes_that_user() {
    let Some(user) = user() else { return };
    let nowhere = Backend::nowhere().await.to_string();
    let fronts: [(&[&str], &str); 3] = [
        (&["dns", "--listen=127.0.0.1:0"], "for DNS"),
        (&["socks", "--listen=127.0.0.1:0"], "for SOCKS"),
        (&["tor", "--control", &nowhere], "trying again"),
    ];
    for (arguments, begins) in fronts {
        let program = Program::new();
        give(&program, user);
        let mut command = program.on_regtest();
        command.args(arguments);
        command.args(["--rpc-url=http://127.0.0.1:1", "--user", USER]);
        let mut front = Running::start(command, &program.home().join("log"));
        until("it has begun", async || front.log().contains(begins).then_some(())).await;
        assert_is(front.process(), user);
        front.stop().await;
    }
}

#[tokio::test]
async fn what_the_user_cannot_do_is_said() {
    let Some(user) = user() else { return };
    let program = Program::new();
    give(&program, user);
    let daemon = |user: &str| {
        let mut command = program.on_regtest();
        let server = "--server=a.example:50001:t";
        command.args([server, "daemon", "--rpc-listen=127.0.0.1:0", "--user", user]);
        command
    };
    let unknown = end_of(daemon("no-such-user")).await;
    unknown.assert_failed(&["--user no-such-user", "there is no such user"]);
    let root = end_of(daemon("root")).await;
    root.assert_failed(&["--user root", "name a user without its rights"]);
    // Others may not look where it was built.
    let own = program.home().join("isonym");
    fs::copy(isonym(), &own).unwrap();
    set_mode(&own, 0o755);
    let daemon_of = |name: &str| {
        let all = daemon(name);
        let mut command = Command::new(&own);
        command.args(all.get_args()).env_clear().env("HOME", program.home());
        command
            .uid(user.0)
            .gid(user.1)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    let unprivileged = daemon_of("daemon");
    let unprivileged = end_of(unprivileged).await;
    unprivileged.assert_failed(&["only root can become another user"]);
    // Who is that user already need not become it.
    let mut already = Running::start(daemon_of(USER), &program.home().join("log"));
    already.says("listening on http", "/").await;
    already.stop().await;
    // Of what is root's it is told that it has to be given away.
    let data = program.home().join("data");
    fs::remove_dir_all(&data).unwrap();
    fs::create_dir(&data).unwrap();
    set_mode(&data, 0o700);
    let end = end_of(daemon(USER)).await;
    end.assert_failed(&["data", &format!("chown -R {USER}")]);
}

/// A command that is handed one or two sockets as a service manager does it: by numbers from 3 on.
fn handed(command: &Command, names: &str, sockets: Vec<OwnedFd>) -> Command {
    let mut shell = Command::new("sh");
    let take = "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$@\"";
    shell.args(["-c", take, "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.env_clear().env("PATH", "/usr/bin:/bin");
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("LISTEN_FDS", sockets.len().to_string());
    shell.env("LISTEN_FDNAMES", names);
    let mut sockets = sockets.into_iter();
    shell.stdin(Stdio::from(sockets.next().unwrap()));
    shell.stdout(sockets.next().map_or_else(Stdio::null, Stdio::from));
    shell
}

/// A program that ends with the test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(mut command: Command, log: &Path) -> Started {
    Started(command.stderr(fs::File::create(log).unwrap()).spawn().unwrap())
}

async fn told(log: &Path, text: &str) {
    until(text, async || {
        fs::read_to_string(log).unwrap().contains(text).then_some(())
    })
    .await;
}

#[tokio::test]
async fn dns_answers_at_sockets_that_were_handed_over() {
    let backend = Backend::start().await;
    backend.say("d/a", Says::value(&json!({ "ip": "192.0.2.1" })));
    let place = SocketAddr::from((own_address(), 0));
    let datagrams = UdpSocket::bind(place).unwrap();
    let address = datagrams.local_addr().unwrap();
    let streams = TcpListener::bind(address).unwrap();
    let program = Program::new();
    let mut command = program.on_regtest();
    command.args(["dns", "--rpc-url", &backend.url()]);
    let log = program.home().join("log");
    let sockets = vec![datagrams.into(), streams.into()];
    let _dns = start(handed(&command, "a.socket:b.socket", sockets), &log);
    told(&log, &format!("listening on {address} for DNS")).await;
    let query = query_as("x", "a.bit", "A");
    assert_eq!(udp(address, &query).await.answers(), ["a.bit. A 192.0.2.1"]);
    assert_eq!(tcp(address, &query).await.answers(), ["a.bit. A 192.0.2.1"]);
    // It opened none of its own.
    assert!(!fs::read_to_string(&log).unwrap().contains(":5300"));
}

#[tokio::test]
async fn a_daemon_takes_calls_at_a_socket_that_was_handed_over() {
    let (stage, _) = honest(world(), 1).await;
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let program = Program::new();
    let command = |names: &str, sockets: Vec<OwnedFd>| {
        let mut command = program.on_regtest();
        command.args(way(&stage)).arg("daemon");
        handed(&command, names, sockets)
    };
    for (names, words) in [
        ("isonym.socket", ["isonym.socket", "name it rpc, dns or socks"]),
        ("rpc:rpc", ["number 1", "one is there for rpc already"]),
    ] {
        let mut failing = command(names, vec![listen().into(), listen().into()]);
        let output = failing.stderr(Stdio::piped()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    let (rpc, dns) = (listen(), listen());
    let [at, dns_at] = [&rpc, &dns].map(|listener| listener.local_addr().unwrap());
    let log = program.home().join("log");
    let mut daemon = start(command("rpc:dns", vec![rpc.into(), dns.into()]), &log);
    told(&log, &format!("listening on http://{at}/")).await;
    told(&log, &format!("listening on {dns_at} for DNS")).await;
    let mut call = program.on_regtest();
    call.args(["rpc", "--rpc-listen", &at.to_string(), "stop"]);
    end_of(call).await.assert_succeeded();
    until("it ends", || {
        let ended = daemon.0.try_wait().unwrap();
        async move { ended }
    })
    .await;
}

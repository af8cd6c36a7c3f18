//! Tests of what commands that stay up give away.

use super::*;
use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use crate::cli::parse_from;

/// Returns the settings of a command line, without any of whoever runs the test.
fn settings(command: CommandName, arguments: &[&str]) -> Settings {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("isonym.toml");
    fs::write(&file, "").unwrap();
    let file = format!("--config={}", file.display());
    let words = ["isonym"].iter().chain(command.path()).copied();
    let words = words.chain([file.as_str(), "--datadir=/data"]);
    let cli = parse_from(words.chain(arguments.iter().copied())).unwrap();
    Settings::load(&cli.given, command).unwrap()
}

fn needs(command: CommandName, way_out: Option<&Proxy>, arguments: &[&str]) -> Needs {
    Needs::of(&settings(command, arguments), way_out, command != CommandName::Daemon)
}

fn proxy(address: &str) -> Proxy {
    Proxy::Socks5(vec![address.parse().unwrap()])
}

#[test]
fn a_daemon_reaches_the_ports_of_its_proxy_and_of_tor_alone() {
    let daemon = |way_out: &Proxy, arguments: &[&str]| needs(CommandName::Daemon, Some(way_out), arguments);
    let behind = daemon(&proxy("127.0.0.1:9050"), &[]);
    assert_eq!(behind.connect, Some(BTreeSet::from([9050, 9051, 9151])));
    assert!(!behind.datagrams);
    assert_eq!(behind.write, Path::new("/data/mainnet"));
    let front = ["--socks-listen=127.0.0.1:9052", "--socks-tor=127.0.0.1:9150"];
    assert_eq!(
        daemon(&proxy("127.0.0.1:1"), &front).connect,
        Some(BTreeSet::from([1, 9051, 9150, 9151]))
    );
    let controller = ["--tor-control=127.0.0.1:2"];
    assert_eq!(
        daemon(&proxy("127.0.0.1:1"), &controller).connect,
        Some(BTreeSet::from([1, 2]))
    );
    // Tor says where it listens once it runs.
    let told = ["--tor-control-file=/tor/port"];
    assert_eq!(daemon(&proxy("127.0.0.1:1"), &told).connect, None);
    // Servers are anywhere, and the system finds their hosts.
    let direct = daemon(&Proxy::Direct, &["--direct"]);
    assert_eq!((direct.connect, direct.datagrams), (None, true));
}

#[test]
fn a_front_reaches_the_server_that_it_asks_alone() {
    let dns = |arguments: &[&str]| needs(CommandName::Dns, None, arguments);
    let by_address = dns(&["--rpc-url=http://127.0.0.1:3", "--rpc-cookie=/core/.cookie"]);
    assert_eq!(by_address.connect, Some(BTreeSet::from([3, 9051, 9151])));
    assert!(!by_address.datagrams);
    assert!(by_address.read.unwrap().contains(Path::new("/core")));
    assert!(dns(&["--rpc-url=http://localhost:3", "--rpc-cookie=/core/.cookie"]).datagrams);
    // A daemon says where it listens once it runs.
    assert_eq!(dns(&[]).connect, None);
}

#[test]
fn what_is_read_is_the_systems_and_what_was_named() {
    let system: BTreeSet<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    let read = |arguments: &[&str]| {
        let settings = settings(CommandName::Daemon, arguments);
        let configured = settings.file.as_deref().and_then(Path::parent).unwrap().to_owned();
        let read = Needs::of(&settings, Some(&proxy("127.0.0.1:1")), false).read?;
        assert!(read.contains(&configured));
        let named = read.difference(&system).filter(|path| **path != configured);
        Some(named.cloned().collect::<Vec<_>>())
    };
    let none: [PathBuf; 0] = [];
    assert_eq!(read(&[]).unwrap(), none);
    let zone = ["--dns-listen=127.0.0.1:5300", "--dnssec=/keys/zone"];
    assert_eq!(read(&zone).unwrap(), [PathBuf::from("/keys")]);
    assert_eq!(
        read(&["--tor-control=/tor/control", "--control-cookie=/cookie/file"]).unwrap(),
        [PathBuf::from("/cookie"), PathBuf::from("/tor")]
    );
    assert_eq!(
        read(&["--tor-control=127.0.0.1:2", "--control-password=secret"]).unwrap(),
        none
    );
    // Tor says where its cookie is once it runs.
    assert_eq!(read(&["--tor-control=127.0.0.1:2"]), None);
}

#[test]
fn nothing_is_given_up_where_that_is_not_wanted_or_plugins_run() {
    for (arguments, expected) in [
        (&["--no-sandbox"][..], Confined::Unwanted),
        (
            &["--tor-control=127.0.0.1:2", "--plugin=i2p=/bin/true"],
            Confined::Plugins,
        ),
    ] {
        let settings = settings(CommandName::Daemon, arguments);
        let enters = || enter(&settings, Some(&proxy("127.0.0.1:1")), CommandName::Daemon);
        let confined = std::thread::scope(|scope| scope.spawn(enters).join()).unwrap();
        assert_eq!(confined, expected);
    }
}

/// Returns whether the kernel can confine files, and whether it can confine all that is to be confined: asked past what is
/// tested here, so that rules which it refuses are not taken for a kernel that has none.
fn landlock() -> (bool, bool) {
    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, Scope,
    };

    let rules = |abi| {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(abi))
    };
    let files = rules(ABI::V1).and_then(Ruleset::create).is_ok();
    let network = |rules: Ruleset| rules.handle_access(AccessNet::ConnectTcp);
    let all = rules(ABI::V6).and_then(network);
    let all = all
        .and_then(|rules| rules.scope(Scope::Signal))
        .and_then(Ruleset::create);
    (files, all.is_ok())
}

/// Returns how many filters of system calls this thread has, where the kernel tells.
fn filters() -> Option<u32> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let mut lines = status.lines();
    lines
        .find_map(|line| line.strip_prefix("Seccomp_filters:"))?
        .trim()
        .parse()
        .ok()
}

/// Does something in a thread that is confined: no other one of the process is.
fn confined<T: Send>(needs: &Needs, act: impl FnOnce() -> T + Send) -> (Confined, T) {
    let in_thread = || (confine(needs), act());
    std::thread::scope(|scope| scope.spawn(in_thread).join()).unwrap()
}

#[test]
fn what_is_given_up_is_gone_and_the_rest_works() {
    let [own, others] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let secret = others.path().join("secret");
    fs::write(&secret, "marker").unwrap();
    let [proxy, other] = ["127.0.0.1:0"; 2].map(|address| TcpListener::bind(address).unwrap());
    let [proxy, other_port] = [&proxy, &other].map(|listener| listener.local_addr().unwrap());
    let needs = Needs {
        read: Some(SYSTEM.iter().map(PathBuf::from).collect()),
        write: own.path().to_owned(),
        connect: Some([proxy.port()].into()),
        datagrams: false,
    };
    let (how, ()) = confined(&needs, || {
        let ours = own.path().join("store");
        fs::create_dir(&ours).unwrap();
        fs::write(ours.join("new"), "1").unwrap();
        fs::rename(ours.join("new"), own.path().join("file")).unwrap();
        assert_eq!(fs::read(own.path().join("file")).unwrap(), b"1");
        assert!(fs::read("/proc/self/status").is_ok());
        assert!(fs::write("/dev/null", "1").is_ok());
        TcpStream::connect(proxy).unwrap();
        // What of a store is copied there is removed again.
        let memory = Path::new(MEMORY).join(format!("isonym-test-{}", std::process::id()));
        fs::write(&memory, "1").unwrap();
        fs::remove_file(memory).unwrap();
    });
    let (has_files, has_all) = landlock();
    let are_confined = !matches!(how, Confined::Calls | Confined::Unsupported);
    assert_eq!(are_confined, has_files, "{how}");
    assert!(!(has_all && how == Confined::Partly));
    if !has_files {
        eprintln!("LEFT OUT: this kernel has no Landlock");
        return;
    }
    let refused = |result: std::io::Result<()>| result.unwrap_err().kind() == ErrorKind::PermissionDenied;
    let (_, ()) = confined(&needs, || {
        assert!(refused(fs::read(&secret).map(drop)));
        assert!(refused(fs::write(&secret, "2")));
        assert!(refused(fs::write(others.path().join("new"), "2")));
        assert!(refused(Command::new("/bin/true").spawn().map(drop)));
        // Known to kernels from 6.7 on.
        if has_all {
            assert!(refused(TcpStream::connect(other_port).map(drop)));
        }
    });
    // Where a cookie may lie anywhere, all can be read, and nothing else is written.
    let reads_all = Needs { read: None, ..needs };
    let (_, ()) = confined(&reads_all, || {
        assert_eq!(fs::read(&secret).unwrap(), b"marker");
        assert!(refused(fs::write(&secret, "2")));
        assert!(refused(Command::new("/bin/true").spawn().map(drop)));
    });
    assert_eq!(fs::read(&secret).unwrap(), b"marker");
    assert!(TcpStream::connect(other_port).is_ok());
}

#[test]
fn other_processes_are_left_alone() {
    use rustix::process::{Pid, Signal, getppid, test_kill_process};
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

    let own = tempfile::tempdir().unwrap();
    let name = SocketAddr::from_abstract_name(format!("isonym-{}", std::process::id())).unwrap();
    let _listener = UnixListener::bind_addr(&name).unwrap();
    let parent: Pid = getppid().unwrap();
    test_kill_process(parent).unwrap();
    let needs = Needs {
        read: None,
        write: own.path().to_owned(),
        connect: None,
        datagrams: false,
    };
    if !landlock().1 {
        eprintln!("LEFT OUT: this kernel has no such Landlock");
        return;
    }
    let (_, ()) = confined(&needs, || {
        assert!(UnixStream::connect_addr(&name).is_err());
        assert!(rustix::process::kill_process(parent, Signal::CHILD).is_err());
    });
    UnixStream::connect_addr(&name).unwrap();
}

#[test]
fn no_program_is_started_even_where_the_calls_are_left() {
    use std::os::unix::fs::PermissionsExt as _;

    if !landlock().0 {
        eprintln!("LEFT OUT: this kernel has no Landlock");
        return;
    }
    let own = tempfile::tempdir().unwrap();
    let program = own.path().join("program");
    // What the kernel would find to be none, were it let to look: one that needs no library could be there.
    fs::write(&program, "none").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let needs = Needs {
        read: Some(SYSTEM.iter().map(PathBuf::from).collect()),
        write: own.path().to_owned(),
        connect: None,
        datagrams: false,
    };
    let starts = || {
        assert!(confine_files(&needs).is_some());
        for program in [Path::new("/bin/true"), &program] {
            let error = Command::new(program).spawn().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{}", program.display());
        }
    };
    std::thread::scope(|scope| scope.spawn(starts).join()).unwrap();
    // The others still may.
    assert!(Command::new("/bin/true").status().unwrap().success());
}

#[test]
fn calls_are_given_up_along_with_files() {
    let own = tempfile::tempdir().unwrap();
    let needs = |datagrams| Needs {
        read: None,
        write: own.path().to_owned(),
        connect: None,
        datagrams,
    };
    let before = filters();
    for datagrams in [false, true] {
        let (how, (opened, after)) = confined(&needs(datagrams), || (UdpSocket::bind("127.0.0.1:0"), filters()));
        if matches!(how, Confined::Files | Confined::Unsupported) {
            eprintln!("LEFT OUT: no filter of system calls is taken here");
            return;
        }
        assert_eq!(opened.is_ok(), datagrams, "{opened:?}");
        // One of what is refused, one of what is not known.
        let more = before.zip(after).map(|(before, after)| after - before);
        assert!(more.is_none_or(|more| more == 2), "{more:?}");
    }
}

#[test]
fn hosts_and_addresses() {
    for (url, expected) in [
        ("http://127.0.0.1:8336", true),
        ("http://[::1]/", true),
        ("http://localhost:8336", false),
        ("no url", false),
    ] {
        assert_eq!(is_address(url), expected, "{url}");
    }
}

#[test]
fn ports_of_servers() {
    assert_eq!(port_of("http://127.0.0.1:8336"), Some(8336));
    assert_eq!(port_of("http://[::1]:1/"), Some(1));
    assert_eq!(port_of("http://localhost"), Some(80));
    assert_eq!(port_of("no url"), None);
}

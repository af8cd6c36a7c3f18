//! What proxy and servers can put together when they compare notes: nothing that joins two lookups.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use bitcoin::hex::DisplayHex;
use isonym::chain::{Anchor, Network};
use isonym::name::Outcome;
use isonym::net;
use isonym::node::{Node, NodeConfig, NodeError};
use isonym::service::ServiceError;
use isonym::time::Timestamp;
use isonym_sim::ledger::{Connection, Target};
use isonym_sim::proxy::{Mode, Refusal};
use isonym_sim::{AddressKind, Fault, Ledger, Proxy, Release, World};
use tracing_subscriber::filter::LevelFilter;

use isonym_testkit::one_shot::{OneShot, settings, sync_once, unanswered};
use isonym_testkit::stage::{ENOUGH, NAME, OLD_VALUE, Stage, VALUE, lookup_settings, name_id, world};

/// Names beside [`NAME`] that are looked up.
const NAMES: usize = 40;

/// How often each is.
const ROUNDS: usize = 3;

/// What only lookups ask.
const OF_NAMES: [&str; 4] = [
    "blockchain.name.get_value_proof",
    "blockchain.scripthash.get_history",
    "blockchain.transaction.get",
    "blockchain.transaction.get_merkle",
];

fn many_names() -> World {
    let names: Vec<_> = (0..NAMES)
        .map(|number| {
            (
                format!("d/many-{number}"),
                format!("value {number}"),
                AddressKind::P2pkh,
            )
        })
        .collect();
    let mut world = World::new(7, Timestamp(1_700_000_000));
    world.register_all(&names).unwrap();
    world.mine(12);
    world
}

fn methods(connection: &Connection) -> BTreeSet<&str> {
    let requests = connection.requests.iter().flat_map(|request| &request.methods);
    requests.map(String::as_str).collect()
}

fn lines(connection: &Connection) -> Vec<&str> {
    connection
        .requests
        .iter()
        .map(|request| request.line.as_str())
        .collect()
}

/// Over two hundred lookups of different names and of the same ones, and syncs in between.
async fn look_up_much(stage: &Stage) {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let node = OneShot::synced(stage.node_in(folder.path()), settings(lookup_settings(3, 1))).await;
        for number in 0..NAMES {
            let number = (number * [1, 3, 7][round]) % NAMES;
            let name = name_id(&format!("d/many-{number}"));
            let quorum = if number.is_multiple_of(10) { 2 } else { 1 };
            let outcome = node.name_show(&name, quorum).await.unwrap();
            let Outcome::Found(status) = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(status.name.value().as_bytes(), format!("value {number}").as_bytes());
        }
        let absent = node.name_show(&name_id("d/absent"), 1).await.unwrap();
        assert_eq!(absent, Outcome::NeverExisted);
        node.stop().await;
    }
}

async fn ledger_of_much(release: Release) -> Ledger {
    let stage = Stage::open(many_names(), release, &[None, None, None]).await;
    look_up_much(&stage).await;
    // Somebody else, who has asked nothing before and starts from the other end.
    let (node, _folder) = stage.synced(settings(lookup_settings(3, 1))).await;
    for number in (0..NAMES).rev() {
        let name = name_id(&format!("d/many-{number}"));
        node.name_show(&name, 1).await.unwrap();
    }
    node.stop().await;
    stage.ledger.clone()
}

#[tokio::test]
async fn no_two_connections_have_anything_in_common() {
    let mut lookups = 0;
    for release in [Release::V1_16, Release::V1_17] {
        let ledger = ledger_of_much(release).await;
        let mut words = BTreeSet::new();
        let proxied = ledger.proxied();
        for way in &proxied {
            let credentials = way.credentials.as_ref().unwrap();
            for word in [&credentials.user, &credentials.password] {
                assert!(
                    word.len() >= 32 && word.bytes().all(|digit| digit.is_ascii_hexdigit()),
                    "128 bits"
                );
                assert!(words.insert(word.clone()), "used before");
            }
            assert!(
                matches!(&way.target, Target::Name(name) if name.ends_with(".example")),
                "{:?} was resolved",
                way.target
            );
        }
        let circuits = ledger.circuits();
        assert_eq!(circuits.len(), proxied.len());
        let mut syncs = 0;
        for (connection, way) in &circuits {
            assert!(way.is_some(), "{connection:?} came past the proxy");
            let methods = methods(connection);
            let is_sync = methods.contains("blockchain.headers.subscribe");
            let names = OF_NAMES.iter().any(|method| methods.contains(method));
            assert!(!(is_sync && names), "a lookup rode a connection of header sync");
            let asked: BTreeSet<&str> = lines(connection).into_iter().filter_map(scripthash_in).collect();
            assert!(asked.len() <= 1, "two names on one connection");
            lookups += usize::from(names);
            syncs += usize::from(is_sync);
        }
        assert!(syncs >= ROUNDS, "{syncs}");
    }
    assert!(lookups > 200, "{lookups}");
}

/// Returns the scripthash that a line asks for.
fn scripthash_in(line: &str) -> Option<&str> {
    let asks = line.contains("get_history") || line.contains("get_value_proof");
    let mut words = line.split('"').filter(|word| word.len() == 64);
    words.next_back().filter(|_| asks)
}

#[tokio::test]
async fn a_lookup_looks_the_same_whoever_makes_it_and_whatever_came_before() {
    for release in [Release::V1_16, Release::V1_17] {
        let ledger = ledger_of_much(release).await;
        let connections = ledger.connections();
        let mut by_name: BTreeMap<&str, Vec<Vec<&str>>> = BTreeMap::new();
        for connection in &connections {
            let lines = lines(connection);
            if let Some(name) = lines.iter().find_map(|line| scripthash_in(line)) {
                by_name.entry(name).or_default().push(lines);
            }
        }
        assert_eq!(by_name.len(), NAMES + 1);
        for all in by_name.values() {
            assert!(all.len() > ROUNDS);
            let longest = all.iter().max_by_key(|lines| lines.len()).unwrap();
            for lines in all {
                // A server may not have read what came behind the last line that was answered.
                assert!(lines.len() + 1 >= longest.len());
                assert_eq!(lines[..], longest[..lines.len()]);
            }
        }
        // And lookups of two names differ in what tells the name alone.
        let mut shapes = BTreeSet::new();
        for (name, all) in &by_name {
            let first = all[0][..4].iter().map(|line| line.replace(name, "NAME"));
            shapes.insert(first.collect::<Vec<_>>());
        }
        assert_eq!(shapes.len(), 1, "{shapes:?}");
    }
}

/// Makes a node whose servers are named by their true addresses: it could reach them without the proxy.
fn node_through(proxy: net::Proxy, stage: &Stage, folder: &Path) -> Node {
    let servers = stage
        .hosts
        .iter()
        .map(|host| format!("{}:t", host.addr).parse().unwrap());
    Node::open(NodeConfig {
        network: Network::Regtest,
        folder: folder.to_owned(),
        anchor: Anchor::shipped(Network::Regtest).unwrap(),
        servers: servers.collect(),
        discover: false,
        proxy,
        connection_limits: stage.connection_limits(),
    })
    .unwrap()
    .0
}

/// Puts a proxy of this mode, or none, at an address, which may be that of one that is just gone.
async fn proxy_at(address: std::net::SocketAddr, mode: Option<Mode>) -> Option<Proxy> {
    let mode = mode?;
    loop {
        if let Ok(proxy) = Proxy::start_at(address, mode, Ledger::new()).await {
            return Some(proxy);
        }
        // A listener closes when its task is gone.
        tokio::task::yield_now().await;
    }
}

/// With a proxy of this mode, or none, from the start there are no headers, and no lookup is sent anywhere.
async fn assert_nothing_goes_past(mode: Option<Mode>, says: &str) {
    let stage = Stage::open(world(), Release::V1_17, &[None, None]).await;
    let folder = tempfile::tempdir().unwrap();
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let _proxy = proxy_at(address, mode).await;
    let node = node_through(net::Proxy::Socks5(vec![address]), &stage, folder.path());
    let node = OneShot::start(node, settings(lookup_settings(3, 1))).await;
    match node.sync().await {
        Err(NodeError::NoServer { servers, .. }) => {
            assert!(servers.iter().all(|server| server.result.contains(says)), "{servers:?}");
        }
        other => panic!("{other:?}"),
    }
    match node.name_show(&name_id(NAME), 1).await {
        Err(ServiceError::Node(NodeError::Syncing { .. })) => {}
        other => panic!("{other:?}"),
    }
    assert!(node.name_history(&name_id(NAME)).await.is_err());
    assert!(stage.ledger.connections().is_empty(), "{says}");
}

/// Where the proxy turns into one of this mode, or dies, once the headers are there, lookups fail and say why.
async fn assert_nothing_goes_past_later(mode: Option<Mode>, says: &str) {
    let stage = Stage::open(world(), Release::V1_17, &[None, None]).await;
    for host in &stage.hosts {
        stage.proxy.route(&host.addr.ip().to_string(), host.addr);
    }
    let folder = tempfile::tempdir().unwrap();
    let address = stage.proxy.addr;
    let node = node_through(net::Proxy::Socks5(vec![address]), &stage, folder.path());
    let node = OneShot::synced(node, settings(lookup_settings(3, 1))).await;
    let Stage {
        hosts, proxy, ledger, ..
    } = stage;
    let before = ledger.connections().len();
    drop(proxy);
    // The listener closes when its task is gone.
    tokio::task::yield_now().await;
    let _proxy = proxy_at(address, mode).await;
    let (reasons, lied_to) = unanswered(node.name_show(&name_id(NAME), 1).await);
    assert!(reasons.iter().all(|reason| reason.contains(says)), "{reasons:?}");
    assert!(!lied_to);
    assert!(node.name_history(&name_id(NAME)).await.is_err());
    assert_eq!(ledger.connections().len(), before, "{says}");
    drop(hosts);
}

#[tokio::test]
async fn nothing_goes_past_a_proxy_that_is_down() {
    assert_nothing_goes_past(None, "no proxy at").await;
}

#[tokio::test]
async fn nothing_goes_past_a_proxy_that_refuses() {
    for (mode, says) in [
        (Mode::WithoutAuthentication, "does not isolate"),
        (Mode::RejectingCredentials, "refuses made-up credentials"),
        (Mode::Refusing(Refusal::NotAllowed), "not allowed by its rules"),
        (Mode::Refusing(Refusal::GeneralFailure), "general failure"),
    ] {
        assert_nothing_goes_past(Some(mode), says).await;
        assert_nothing_goes_past_later(Some(mode), says).await;
    }
}

#[tokio::test]
async fn nothing_goes_past_a_proxy_that_dies() {
    assert_nothing_goes_past_later(None, "proxy").await;
}

/// Everything by which a lookup could be recognised in a file or a log.
fn markers() -> Vec<Vec<u8>> {
    let mut markers = Vec::new();
    for text in [NAME, &NAME[2..], VALUE, OLD_VALUE] {
        markers.push(text.as_bytes().to_vec());
        markers.push(text.as_bytes().to_lower_hex_string().into_bytes());
    }
    let scripthash = name_id(NAME).scripthash();
    markers.push(scripthash.to_string().into_bytes());
    markers.push(scripthash.0.to_vec());
    let chain = world();
    for entry in chain.chain().history(&scripthash) {
        markers.push(entry.txid.to_string().into_bytes());
        markers.push(bitcoin::consensus::serialize(&entry.txid));
    }
    markers
}

fn assert_no_marker(bytes: &[u8], place: &dyn std::fmt::Display) {
    for marker in markers() {
        let found = bytes
            .windows(marker.len())
            .any(|window| window.eq_ignore_ascii_case(&marker));
        assert!(!found, "{place} tells {}", String::from_utf8_lossy(&marker));
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] })
        .collect()
}

fn assert_no_file_tells(folder: &Path) {
    let files = files_below(folder);
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_no_marker(&fs::read(&file).unwrap(), &file.display());
        assert_no_marker(file.to_string_lossy().as_bytes(), &"a file's name");
    }
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Counts how often something was said.
    fn says(&self, what: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).matches(what).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_files_nor_log_tell_what_was_looked_up() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let folder = tempfile::tempdir().unwrap();
    for release in [Release::V1_16, Release::V1_17] {
        // With what the log says of each, in this release.
        for (fault, says) in [
            (None, ""),
            (Some(Fault::DeniesNames), "denied a name"),
            (Some(Fault::HiddenUpdates { newest: 1 }), "hid an update"),
            (
                Some(Fault::ForgedValue),
                if release == Release::V1_17 {
                    "gave a wrong proof"
                } else {
                    ""
                },
            ),
            (Some(Fault::ForgedMerkleBranch), "gave a wrong proof"),
            (Some(Fault::Errors), ""),
            (Some(Fault::GarbageJson), ""),
        ] {
            let stage = Stage::open(world(), release, &[None, None, None]).await;
            let mut settings = settings(lookup_settings(5, 1));
            settings.sync = sync_once();
            let (node, _) = stage.node_that_heard(folder.path(), 0, settings).await;
            stage.hosts[0].set_fault(fault.clone());
            let before = (stage.met_by_lookups(0), log.says(says));
            let is_met = || stage.met_by_lookups(0) > before.0 && (says.is_empty() || log.says(says) > before.1);
            for _ in 0..ENOUGH {
                assert_eq!(node.value(2).await, VALUE);
                if is_met() {
                    break;
                }
            }
            assert!(is_met(), "{fault:?} was met and {says:?} said");
            let absent = node.name_show(&name_id("d/marker-of-the-name-2"), 1).await;
            assert!(matches!(absent, Ok(Outcome::NeverExisted)), "{absent:?}");
            node.name_history(&name_id(NAME)).await.unwrap();
            node.stop().await;
        }
    }
    drop(guard);
    assert_no_file_tells(folder.path());
    assert_no_marker(&log.0.lock().unwrap(), &"the log");
}

/// Runs the program, with nothing of the surroundings that could tell it what to do.
async fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isonym"));
    command
        .env_clear()
        .env("HOME", folder)
        .args(["--network", "regtest", "--datadir"])
        .arg(folder.join("data"))
        .args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn the_program_tells_nobody_but_its_caller() {
    let stage = Stage::open(world(), Release::V1_17, &[None, Some(Fault::DeniesNames), None]).await;
    let folder = tempfile::tempdir().unwrap();
    let proxy = format!("socks5://{}", stage.proxy.addr);
    let mut arguments = vec!["-v", "-v", "--proxy", &proxy];
    let servers: Vec<String> = stage
        .hosts
        .iter()
        .map(|host| format!("{}:50001:t", host.name))
        .collect();
    for server in &servers {
        arguments.extend(["--server", server]);
    }
    arguments.extend(["name_show", NAME, "--quorum", "3", "--isolation-id", VALUE]);
    let output = run(folder.path(), &arguments).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains(VALUE));
    assert!(String::from_utf8_lossy(&output.stderr).contains("denied a name"));
    assert_no_marker(&output.stderr, &"standard error");
    assert_no_file_tells(&folder.path().join("data"));
    assert!(stage.ledger.circuits().iter().all(|(_, way)| way.is_some()));
}

#[tokio::test]
async fn the_program_goes_without_a_proxy_only_when_told_to() {
    let stage = Stage::open(world(), Release::V1_17, &[None]).await;
    let folder = tempfile::tempdir().unwrap();
    let server = format!("{}:t", stage.hosts[0].addr);
    let arguments = ["--server", &server, "name_show", NAME];
    // Where Tor runs on this machine it is used, and refuses to go to a loopback address.
    let output = run(folder.path(), &arguments).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(stage.ledger.connections().is_empty());
    let output = run(folder.path(), &[&["--direct"][..], &arguments].concat()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!stage.ledger.connections().is_empty());
}

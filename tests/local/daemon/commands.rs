//! Commands beside a running daemon and beside each other: what they say is carried to it or refused, and what one front
//! knows or forgets all do.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use isonym::chain::{Anchor, Network};
use isonym::net::{ConnectionLimits, Proxy};
use isonym::node::{Node, NodeConfig};
use isonym_sim::ledger::Connection;
use serde_json::{Value, json};

use isonym_testkit::dns::server::listens;
use isonym_testkit::dns::wire::{query, query_as, udp};
use isonym_testkit::harness::{Daemon, Stop, end_of, honest, id, until, way};
use isonym_testkit::program::{End, Program};
use isonym_testkit::stage::{NAME, Stage, VALUE, world};

const DOMAIN: &str = "marker-of-the-name.bit";

/// Runs a command with nothing said of servers and proxy.
async fn plain(program: &Program, arguments: &[&str]) -> End {
    let mut command = program.on_regtest();
    command.args(arguments);
    end_of(command).await
}

/// The connections on which a name was asked for.
fn that_asked(stage: &Stage) -> Vec<Connection> {
    let scripthash = isonym_testkit::stage::name_id(NAME).scripthash().to_string();
    stage.ledger.connections_that_asked(&scripthash)
}

async fn dns_of(daemon: &Daemon) -> std::net::SocketAddr {
    until("it listens for DNS", async || listens(&daemon.log())).await
}

#[tokio::test]
async fn several_at_once_without_a_daemon_all_answer() {
    const COMMANDS: usize = 4;
    let (stage, _) = honest(world(), 2).await;
    let program = Program::new();
    let commands: Vec<_> = (0..COMMANDS)
        .map(|number| {
            let mut command = program.on_regtest();
            command.args(way(&stage));
            command.args(["name_show", NAME, "--isolation-id", &id(number)]);
            tokio::spawn(end_of(command))
        })
        .collect();
    for command in commands {
        let end = command.await.unwrap();
        end.assert_succeeded();
        assert_eq!(end.json()["value"], VALUE);
    }
    let credentials: BTreeSet<String> = stage
        .ledger
        .proxied()
        .into_iter()
        .map(|way| way.credentials.unwrap().user)
        .collect();
    assert_eq!(credentials.len(), stage.ledger.proxied().len());
    assert!(that_asked(&stage).len() >= COMMANDS, "each asked for itself");
}

#[tokio::test]
async fn what_is_said_of_the_node_is_asked_of_the_daemon_that_runs() {
    let (stage, shared) = honest(world(), 2).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    let (height, hash) = shared.read(|world| (world.height(), world.tip_hash().to_string()));

    let status = plain(&program, &["status", "--json"]).await;
    status.assert_succeeded();
    let status = status.json();
    assert_eq!((&status["height"], &status["tip_hash"]), (&json!(height), &json!(hash)));
    assert_eq!(status["sync"]["stage"], "synced");
    plain(&program, &["status"]).await.assert_succeeded();

    let sync = plain(&program, &["sync"]).await;
    sync.assert_succeeded();
    assert!(sync.err.contains(&format!("height {height}, block {hash}")), "{sync:?}");

    let export = plain(&program, &["anchor", "export", "--depth=10"]).await;
    export.assert_succeeded();
    let anchor = isonym::chain::Anchor::parse_toml(&export.out).unwrap();
    assert_eq!(anchor.height, height - 10);

    let anchor = format!("{}:{}", anchor.height, anchor.hash);
    let check = plain(&program, &["anchor", "check", &anchor]).await;
    check.assert_succeeded();
    assert_eq!(check.out.matches("has this block").count(), 2, "{check:?}");
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

/// Each as it is given, what it says, and what the daemon runs with.
fn differences(stage: &Stage) -> Vec<(Vec<String>, String, String)> {
    let servers: BTreeSet<String> = stage
        .hosts
        .iter()
        .map(|host| format!("{}:50001:t", host.name))
        .collect();
    let servers: Vec<String> = servers.into_iter().collect();
    let proxy = format!("socks5://{}", stage.proxy.addr);
    let hash = world().chain().header(50).unwrap().hash().to_string();
    vec![
        (
            vec!["--proxy=socks5://127.0.0.1:9".to_owned()],
            "socks5://127.0.0.1:9".to_owned(),
            proxy,
        ),
        (vec!["--direct".to_owned()], "true".to_owned(), "false".to_owned()),
        (
            vec!["--server=other.example:50001:t".to_owned()],
            "other.example:50001:t".to_owned(),
            servers.join(","),
        ),
        (
            vec![format!("--anchor=50:{hash}")],
            format!("50:{hash}"),
            "0:".to_owned(),
        ),
        (
            vec!["--verification=sampled".to_owned()],
            "sampled".to_owned(),
            "full".to_owned(),
        ),
    ]
}

#[tokio::test]
async fn what_is_said_with_a_command_is_carried_to_the_daemon_or_refused() {
    let (stage, _) = honest(world(), 2).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &["--verification=full"]).await;
    let before = stage.ledger.connections().len();
    for command in [
        &["name_show", NAME][..],
        &["name_history", NAME],
        &["status"],
        &["sync"],
    ] {
        for (said, ours, theirs) in differences(&stage) {
            let arguments: Vec<&str> = said.iter().map(String::as_str).chain(command.iter().copied()).collect();
            let end = plain(&program, &arguments).await;
            if command == ["status"] && said == ["--verification=sampled"] {
                // It verifies nothing, daemon or not.
                end.assert_failed(&["--verification has no effect on `isonym status`"]);
            } else {
                end.assert_failed(&[&ours, &theirs, "leave it out", "--datadir"]);
            }
        }
    }
    assert_eq!(stage.ledger.connections().len(), before, "nothing was asked");

    // What the daemon runs with may be said.
    let mut same = program.on_regtest();
    same.args(way(&stage)).args(["--verification=full", "name_show", NAME]);
    end_of(same).await.assert_succeeded();

    // A quorum goes with the call, and so does the isolation ID.
    let asked = that_asked(&stage).len();
    let isolation_id = format!("--isolation-id={}", id(1));
    let end = plain(&program, &["name_show", NAME, "--quorum=2", &isolation_id]).await;
    end.assert_succeeded();
    assert_eq!(that_asked(&stage).len(), asked + 2);
    let end = plain(
        &program,
        &["name_show", NAME, "--quorum=3", "--isolation-id=marker-of-the-id"],
    )
    .await;
    end.assert_failed(&["3 servers must answer, but only 2 can be asked"]);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn another_network_is_another_folder_or_refused() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    // It never answers for another network than was said.
    let mut other = program.bare();
    other.args(["--network=testnet", "--datadir"]);
    other.arg(program.home().join("data")).args(["status", "--json"]);
    let end = end_of(other).await;
    end.assert_succeeded();
    assert_eq!(end.json()["network"], "testnet");
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[test]
fn the_playground_refuses_what_it_can_not_honour() {
    let program = Program::new();
    for option in [
        "--proxy=socks5://127.0.0.1:9",
        "--direct",
        "--server=other.example:50001:t",
        "--network=mainnet",
        "--verification=full",
        "--datadir=/nowhere",
    ] {
        let end = End::of(&mut program.bare(), ["playground", "--once", option]);
        let name = option.split('=').next().unwrap();
        end.assert_failed(&[name, "no effect"]);
    }
    // It has none to begin with.
    let end = End::of(&mut program.bare(), ["playground", "--once", "--quorum=2"]);
    assert!(
        !end.err.is_empty() && end.out.is_empty() && end.err.contains("--quorum"),
        "{end:?}"
    );
    assert_ne!(end.status, Some(0));
}

#[test]
fn the_playground_says_what_is_so_in_lines_that_fit_a_terminal() {
    let end = End::of(&mut Program::new().bare(), ["playground", "--once"]);
    end.assert_succeeded();
    for line in end.out.lines() {
        // Values and hashes are as long as they are.
        assert!(line.len() <= 80 || line.contains('"') || line.contains("'d/"), "{line}");
    }
    let sampled = end.out.contains(r#""headers": "sampled""#);
    assert_eq!(end.out.contains("every header was checked"), !sampled, "{}", end.out);
    assert!(end.out.contains("was left in this lookup"), "{}", end.out);
}

#[tokio::test]
async fn what_one_front_knows_of_an_id_the_others_know_and_forget_together() {
    let mut named = world();
    named
        .update(NAME, r#"{"ip":"192.0.2.1"}"#, isonym_sim::AddressKind::P2pkh)
        .unwrap();
    named.mine(13);
    let (stage, _) = honest(named, 2).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &["--dns-listen=127.0.0.1:0"]).await;
    let dns = dns_of(&daemon).await;
    let answer = [format!("{DOMAIN}. A 192.0.2.1")];
    let asked = || that_asked(&stage).len();
    let ask = async |id: &str| assert_eq!(udp(dns, &query_as(id, DOMAIN, "A")).await.answers(), answer);

    daemon.value(&id(1)).await.unwrap();
    assert_eq!(asked(), 1);
    ask(&id(1)).await;
    assert_eq!(asked(), 1, "what was asked over RPC is known to DNS");
    ask(&id(2)).await;
    assert_eq!(asked(), 2, "another ID asks for itself");
    daemon.value(&id(2)).await.unwrap();
    assert_eq!(asked(), 2, "what was asked over DNS is known to RPC");

    let forgotten = daemon.call("isolation_forget", json!([id(1)])).await;
    assert_eq!(forgotten, Ok(Value::Null));
    ask(&id(1)).await;
    assert_eq!(asked(), 3, "what is forgotten over RPC is to DNS too");
    daemon.value(&id(1)).await.unwrap();
    ask(&id(2)).await;
    assert_eq!(asked(), 3, "the other ID's is not");
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn callers_without_an_id_are_each_their_own_over_rpc_and_dns() {
    let mut named = world();
    named
        .update(NAME, r#"{"ip":"192.0.2.1"}"#, isonym_sim::AddressKind::P2pkh)
        .unwrap();
    named.mine(13);
    for (apart, due) in [(false, 1), (true, 4)] {
        let (stage, _) = honest(named.clone(), 2).await;
        let program = Program::new();
        let isolate = format!("--isolate-anonymous={apart}");
        let daemon = Daemon::ready(&program, &stage, &["--dns-listen=127.0.0.1:0", &isolate]).await;
        let dns = dns_of(&daemon).await;
        for _ in 0..2 {
            daemon.call("name_show", json!([NAME])).await.unwrap();
            let reply = udp(dns, &query(DOMAIN, "A")).await;
            assert_eq!(reply.answers(), [format!("{DOMAIN}. A 192.0.2.1")]);
        }
        assert_eq!(that_asked(&stage).len(), due, "{isolate}");
        // Who names an ID has it, over both.
        daemon.value(&id(1)).await.unwrap();
        assert_eq!(udp(dns, &query_as(id(1), DOMAIN, "A")).await.code(), "NOERROR");
        assert_eq!(that_asked(&stage).len(), due + 1, "{isolate}");
        daemon.stop(Stop::Terminate, &stage.ledger).await;
    }
}

/// A stand-in for the daemon of a data folder, which it holds: it says once that headers are missing, if so, and writes down
/// which methods were called.
struct Calls {
    methods: Arc<Mutex<Vec<String>>>,
    _node: Node,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Calls {
    async fn of(program: &Program, mut is_syncing: bool) -> Self {
        let (node, _) = Node::open(NodeConfig {
            network: Network::Regtest,
            folder: program.folder(),
            anchor: Anchor::shipped(Network::Regtest).unwrap(),
            servers: Vec::new(),
            discover: false,
            proxy: Proxy::Direct,
            connection_limits: ConnectionLimits::default(),
        })
        .unwrap();
        let mut status = json!(node.status().unwrap());
        status["sync"] = json!({"stage": "synced", "headers_done": 1, "headers_total": 1, "connections": 1});
        let methods = Arc::new(Mutex::new(Vec::new()));
        let called = Arc::clone(&methods);
        let answer = Arc::new(Mutex::new(move |call: Value| {
            let method = call["method"].as_str().unwrap().to_owned();
            let (result, error) = match method.as_str() {
                "settings" => (json!({}), Value::Null),
                "status" => (status.clone(), Value::Null),
                _ if std::mem::take(&mut is_syncing) => (Value::Null, json!({"code": -28, "message": "1 of 2"})),
                _ => (json!({"name": NAME, "value": "{}", "expired": false}), Value::Null),
            };
            called.lock().unwrap().push(method);
            axum::Json(json!({"id": call["id"], "result": result, "error": error}))
        }));
        let handler = move |axum::Json(call): axum::Json<Value>| {
            let answer = Arc::clone(&answer);
            async move { (answer.lock().unwrap())(call) }
        };
        let app = axum::Router::new().route("/", axum::routing::post(handler));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        std::fs::write(program.folder().join(".rpc-address"), address.to_string()).unwrap();
        std::fs::write(program.folder().join(".cookie"), "__cookie__:word").unwrap();
        Self {
            methods,
            _node: node,
            task: tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }),
        }
    }
}

#[tokio::test]
async fn a_command_asks_its_daemon_first_and_how_far_it_is_only_where_that_is_not_ready() {
    for (arguments, method) in [
        (["name_show", NAME], "name_show"),
        (["name_history", NAME], "name_history"),
        (["resolve", DOMAIN], "name_show"),
    ] {
        for is_syncing in [false, true] {
            let program = Program::new();
            let daemon = Calls::of(&program, is_syncing).await;
            let end = plain(&program, &arguments).await;
            assert_ne!(end.status, Some(1), "{end:?}");
            let expected = if is_syncing {
                vec!["settings", method, "status", method]
            } else {
                vec!["settings", method]
            };
            assert_eq!(*daemon.methods.lock().unwrap(), expected, "{arguments:?}");
        }
    }
}

//! The daemon's pool over simulated servers and a recording proxy: who met whom is read from the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use isonym::chain::{Anchor, Network};
use isonym::isolation::{ConnId, IsolationId};
use isonym::name::lookup::LookupSettings;
use isonym::name::{NameId, Outcome};
use isonym::net::{ConnectionLimits, Proxy, ServerAddr, pool};
use isonym::node::{Node, NodeConfig, NodeError};
use isonym::service::{Answer, CacheSettings, Daemon, DaemonSettings, NameResult, Question, ServiceError, run_daemon};
use isonym::time::Timestamp;
use isonym_sim::ledger::{Connection, Ledger};
use isonym_sim::proxy::Mode;
use isonym_sim::{AddressKind, Host, SharedWorld, World};

type Fallible = Result<(), NodeError>;

const CLEAN: usize = 4;

/// A world in which `d/0`, `d/1`, … have values.
fn world(names: usize) -> SharedWorld {
    let mut world = World::new(5, Timestamp(1_700_000_000));
    let name = |at| (format!("d/{at}"), format!("v{at}"), AddressKind::P2wpkh);
    world.register_all(&(0..names).map(name).collect::<Vec<_>>()).unwrap();
    // Old enough to be final, young enough to be alive: on regtest names live for 30 blocks.
    world.mine(14);
    SharedWorld::new(world)
}

struct Scene {
    world: SharedWorld,
    ledger: Ledger,
    hosts: Vec<Host>,
    proxy: Option<isonym_sim::Proxy>,
    folder: tempfile::TempDir,
}

fn host_name(at: usize) -> String {
    format!("electrum{at}.example")
}

impl Scene {
    async fn new(servers: usize, names: usize) -> Self {
        let (world, ledger) = (world(names), Ledger::new());
        let proxy = isonym_sim::Proxy::start(Mode::Open, ledger.clone()).await.unwrap();
        let mut hosts = Vec::new();
        for at in 0..servers {
            let host = Host::honest(&host_name(at), world.clone(), ledger.clone())
                .await
                .unwrap();
            proxy.route(&host_name(at), host.addr);
            hosts.push(host);
        }
        Self {
            world,
            ledger,
            hosts,
            proxy: Some(proxy),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn node(&self, proxies: Vec<SocketAddr>) -> Node {
        let server = |at| format!("{}:50001:t", host_name(at)).parse::<ServerAddr>().unwrap();
        let config = NodeConfig {
            network: Network::Regtest,
            folder: self.folder.path().join("regtest"),
            anchor: Anchor::shipped(Network::Regtest).unwrap(),
            servers: (0..self.hosts.len()).map(server).collect(),
            discover: false,
            proxy: Proxy::Socks5(proxies),
            connection_limits: ConnectionLimits::default(),
        };
        Node::open(config).unwrap().0
    }

    /// Runs a daemon for as long as the test of it takes.
    async fn run<F: Future<Output = Fallible>>(&self, settings: &DaemonSettings, test: impl FnOnce(Daemon) -> F) {
        let proxies = self.proxy.iter().map(|proxy| proxy.addr).collect();
        let running = run_daemon(self.node(proxies), settings, test);
        tokio::time::timeout(Duration::from_secs(240), running)
            .await
            .expect("the test hangs")
            .unwrap();
    }

    /// Returns the connections that are no header sync's.
    fn lookup_connections(&self) -> Vec<Connection> {
        let mut connections = self.ledger.connections();
        connections.retain(|it| !asks(it, "blockchain.headers.subscribe"));
        connections
    }

    /// Returns connections of lookups and what was asked after the handshake.
    fn asked(&self) -> BTreeMap<ConnId, Vec<String>> {
        let lines = |it: &Connection| {
            // Companions, which make servers send at once, and signs of life ask for nothing.
            let lines = it.requests.iter().filter(|request| {
                let subjects = ["blockchain.name.", "blockchain.scripthash.", "blockchain.transaction."];
                let mut methods = request.methods.iter();
                methods.any(|method| subjects.iter().any(|subject| method.starts_with(subject)))
            });
            lines.map(|request| request.line.clone()).collect::<Vec<_>>()
        };
        let asked = self
            .lookup_connections()
            .iter()
            .map(|it| (it.conn, lines(it)))
            .collect::<Vec<_>>();
        asked.into_iter().filter(|(_, lines)| !lines.is_empty()).collect()
    }

    fn lookup_requests(&self) -> usize {
        self.asked().values().map(Vec::len).sum()
    }
}

fn asks(connection: &Connection, method: &str) -> bool {
    let mut methods = connection.requests.iter().flat_map(|request| &request.methods);
    methods.any(|asked| asked == method)
}

fn settings() -> DaemonSettings {
    DaemonSettings {
        pool: pool::PoolSettings {
            opening_mean: Some(Duration::from_millis(40)),
            clean_life: Duration::from_secs(1000),
            most_clean: CLEAN,
            own_percent: 0,
            ..pool::PoolSettings::default()
        },
        ..DaemonSettings::default()
    }
}

/// Waits until what is looked at holds; the daemon's own time limit ends it.
async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn ready(daemon: &Daemon) {
    until(|| daemon.node.standing().synchronized).await;
}

async fn warm(daemon: &Daemon) {
    ready(daemon).await;
    until(|| daemon.node.standing().pool.clean >= CLEAN).await;
}

fn question(name: &str, id: &str) -> Question {
    Question {
        name: NameId::new(name.as_bytes()).unwrap(),
        isolation_id: IsolationId::new(id.as_bytes()).filter(|id| !id.as_bytes().is_empty()),
        allow_expired: false,
        quorum: None,
        max_age: None,
    }
}

async fn ask(daemon: &Daemon, name: &str, id: &str) -> NameResult {
    daemon.names.name_show(&question(name, id)).await
}

#[track_caller]
fn assert_found(answer: NameResult) {
    let answer = answer.unwrap();
    assert!(
        matches!(&answer, Answer::Proved(proved) if matches!(proved.outcome, Outcome::Found(_))),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_lookup_takes_a_connection_that_was_ready_and_repeats_ask_nothing() {
    let scene = Scene::new(2, 3).await;
    scene
        .run(&settings(), async |daemon| {
            warm(&daemon).await;
            let before: BTreeSet<ConnId> = scene.lookup_connections().iter().map(|it| it.conn).collect();
            assert_found(ask(&daemon, "d/1", "a").await);
            let asked = scene.asked();
            assert_eq!(asked.len(), 1, "{asked:?}");
            assert!(
                asked.keys().all(|conn| before.contains(conn)),
                "its handshake was done before"
            );
            assert_found(ask(&daemon, "d/1", "a").await);
            assert_eq!(scene.asked(), asked, "the answer was remembered");
            assert_found(ask(&daemon, "d/1", "b").await);
            let lines: Vec<Vec<String>> = scene.asked().into_values().collect();
            assert_eq!(lines.len(), 2, "the other has a connection of its own");
            assert_eq!(lines[0], lines[1], "and asks in the same words");
            daemon.names.forget(IsolationId::new(b"a").as_ref()).await;
            assert_found(ask(&daemon, "d/1", "a").await);
            assert_eq!(scene.asked().len(), 3, "nothing was left of the first one");
            let first = *asked.keys().next().unwrap();
            let connections = scene.ledger.connections();
            assert!(
                connections.iter().all(|it| it.conn != first || !it.closed),
                "it ends when it would have"
            );
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn lookups_in_flight_are_joined_under_one_id_and_never_across() {
    let scene = Scene::new(1, 2).await;
    scene
        .run(&settings(), async |daemon| {
            warm(&daemon).await;
            assert_found(ask(&daemon, "d/0", "one").await);
            let of_one = scene.lookup_requests();
            let many = |id: &'static str| {
                let daemon = daemon.clone();
                (0..10).map(move |_| {
                    let daemon = daemon.clone();
                    tokio::spawn(async move { ask(&daemon, "d/0", id).await })
                })
            };
            let tasks: Vec<_> = many("a").chain(many("b")).collect();
            for task in tasks {
                assert_found(task.await.unwrap());
            }
            assert_eq!(scene.lookup_requests(), 3 * of_one);
            assert_eq!(scene.asked().len(), 3);
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn nothing_is_answered_before_headers_are_there() {
    let mut scene = Scene::new(1, 1).await;
    scene.proxy = None;
    let proxy = isonym_sim::Proxy::start(
        Mode::Refusing(isonym_sim::proxy::Refusal::GeneralFailure),
        scene.ledger.clone(),
    )
    .await
    .unwrap();
    scene.proxy = Some(proxy);
    scene
        .run(&settings(), async |daemon| {
            let error = ask(&daemon, "d/0", "a").await.unwrap_err();
            assert!(
                matches!(error, ServiceError::Node(NodeError::Syncing { .. })),
                "{error}"
            );
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn callers_without_an_id_are_one_or_each_their_own() {
    for (isolate_anonymous, connections) in [(false, 1), (true, 3)] {
        let scene = Scene::new(1, 3).await;
        let settings = DaemonSettings {
            isolate_anonymous,
            ..settings()
        };
        scene
            .run(&settings, async |daemon| {
                warm(&daemon).await;
                for name in ["d/0", "d/1", "d/2"] {
                    assert_found(ask(&daemon, name, "").await);
                }
                assert_eq!(scene.asked().len(), connections);
                if isolate_anonymous {
                    until(|| daemon.node.standing().pool.ids == 0).await;
                }
                Ok(())
            })
            .await;
    }
}

#[tokio::test]
async fn lookups_go_on_when_a_server_dies() {
    let mut scene = Scene::new(2, 6).await;
    let victim = scene.hosts.pop().unwrap();
    // The list of servers keeps it.
    let other = Host::honest(&host_name(7), scene.world.clone(), scene.ledger.clone())
        .await
        .unwrap();
    scene.hosts.push(other);
    scene
        .run(&settings(), async |daemon| {
            warm(&daemon).await;
            assert_found(ask(&daemon, "d/0", "a").await);
            drop(victim);
            for at in 1..6 {
                assert_found(ask(&daemon, &format!("d/{at}"), "a").await);
                assert_found(ask(&daemon, &format!("d/{at}"), "b").await);
            }
            warm(&daemon).await;
            Ok(())
        })
        .await;
}

/// Starts a proxy at an address that another one had.
async fn proxy_at(addr: SocketAddr, scene: &Scene) -> tokio::task::JoinHandle<()> {
    let inner = isonym_sim::Proxy::start(Mode::Open, scene.ledger.clone())
        .await
        .unwrap();
    for host in &scene.hosts {
        inner.route(&host.name, host.addr);
    }
    let listener = loop {
        if let Ok(listener) = tokio::net::TcpListener::bind(addr).await {
            break listener;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    tokio::spawn(async move {
        // All of it, not its address alone: it stops when it is dropped.
        let inner = inner;
        while let Ok((mut client, _)) = listener.accept().await {
            let mut onward = tokio::net::TcpStream::connect(inner.addr).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut onward).await });
        }
    })
}

#[tokio::test]
async fn without_the_proxy_lookups_fail_and_with_it_they_go_on() {
    let mut scene = Scene::new(1, 4).await;
    let proxy = scene.proxy.take().unwrap();
    let node = scene.node(vec![proxy.addr]);
    let settings = settings();
    let running = run_daemon(node, &settings, async |daemon| {
        warm(&daemon).await;
        assert_found(ask(&daemon, "d/0", "a").await);
        let addr = proxy.addr;
        drop(proxy);
        until(|| daemon.node.standing().pool.clean == 0 && daemon.node.standing().pool.dirty == 0).await;
        let connections = scene.ledger.connections().len();
        let error = ask(&daemon, "d/1", "a").await.unwrap_err();
        assert!(matches!(error, ServiceError::Node(NodeError::Lookup(_))), "{error}");
        assert_eq!(
            scene.ledger.connections().len(),
            connections,
            "it went out past the proxy"
        );
        let _again = proxy_at(addr, &scene).await;
        until(|| daemon.node.standing().pool.clean >= CLEAN).await;
        assert_found(ask(&daemon, "d/1", "a").await);
        Ok(())
    });
    tokio::time::timeout(Duration::from_secs(240), running)
        .await
        .expect("the test hangs")
        .unwrap();
}

#[tokio::test]
async fn a_lookup_that_nobody_waits_for_leaves_nothing_behind() {
    let scene = Scene::new(1, 2).await;
    let settings = DaemonSettings {
        cache: CacheSettings {
            positive: Duration::ZERO,
            ..CacheSettings::default()
        },
        ..settings()
    };
    scene
        .run(&settings, async |daemon| {
            warm(&daemon).await;
            for at in 0..20 {
                let id = format!("id{at}");
                let asked = ask(&daemon, "d/0", &id);
                let _ = tokio::time::timeout(Duration::from_millis(1), asked).await;
                daemon.names.forget(None).await;
            }
            until(|| daemon.node.standing().pool.waiting == 0).await;
            daemon.names.forget(None).await;
            until(|| daemon.node.standing().pool.ids == 0 && daemon.node.standing().pool.dirty == 0).await;
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn a_hundred_ids_never_meet() {
    const IDS: usize = 100;
    const LOOKUPS: usize = 20;
    let scene = Scene::new(3, LOOKUPS).await;
    let mut asked_by: BTreeMap<ConnId, usize> = BTreeMap::new();
    scene
        .run(&settings(), async |daemon| {
            warm(&daemon).await;
            let lines = |scene: &Scene| -> BTreeMap<ConnId, usize> {
                scene.asked().iter().map(|(conn, lines)| (*conn, lines.len())).collect()
            };
            let mut before = lines(&scene);
            // In batches, each ID by itself, so that the ledger tells whose a request is.
            for who in 0..IDS {
                let tasks: Vec<_> = (0..LOOKUPS)
                    .map(|name| {
                        let daemon = daemon.clone();
                        tokio::spawn(async move { ask(&daemon, &format!("d/{name}"), &format!("id{who}")).await })
                    })
                    .collect();
                for task in tasks {
                    assert_found(task.await.unwrap());
                }
                let after = lines(&scene);
                for (conn, count) in &after {
                    if before.get(conn) != Some(count) {
                        let owner = *asked_by.entry(*conn).or_insert(who);
                        assert_eq!(owner, who, "a connection carried two IDs");
                    }
                }
                before = after;
            }
            Ok(())
        })
        .await;
    assert!(asked_by.len() >= IDS);
    let credentials: Vec<_> = scene
        .ledger
        .proxied()
        .into_iter()
        .map(|it| it.credentials.unwrap())
        .collect();
    let users: BTreeSet<_> = credentials.iter().map(|it| &it.user).collect();
    let passwords: BTreeSet<_> = credentials.iter().map(|it| &it.password).collect();
    assert_eq!((users.len(), passwords.len()), (credentials.len(), credentials.len()));
    assert!(
        scene.ledger.circuits().iter().all(|(_, way)| way.is_some()),
        "past the proxy"
    );
    for connection in scene
        .ledger
        .connections()
        .iter()
        .filter(|it| asked_by.contains_key(&it.conn))
    {
        assert!(!asks(connection, "blockchain.headers.subscribe"));
    }
    let handshakes: BTreeSet<Vec<String>> = scene
        .lookup_connections()
        .iter()
        .filter(|it| it.requests.len() >= 2)
        .map(|it| it.requests.iter().take(2).map(|request| request.line.clone()).collect())
        .collect();
    assert_eq!(handshakes.len(), 1, "all connections begin with the same bytes");
}

/// Polls a request once, which begins it, and goes away.
async fn begin_and_leave(request: impl Future) {
    tokio::select! {
        biased;
        _ = request => panic!("answered at once"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test]
async fn lookups_are_bounded_whether_somebody_waits_for_them_or_not() {
    let scene = Scene::new(1, 2).await;
    let settings = DaemonSettings {
        lookups: 2,
        lookup: LookupSettings {
            attempt_timeout: Duration::from_secs(2),
            ..LookupSettings::default()
        },
        ..settings()
    };
    scene
        .run(&settings, async |daemon| {
            warm(&daemon).await;
            assert_found(ask(&daemon, "d/0", "known").await);
            scene.hosts[0].set_fault(Some(isonym_sim::Fault::SilentAfterHandshake));
            begin_and_leave(ask(&daemon, "d/0", "a")).await;
            // A history is given up with its caller, and so is its place.
            begin_and_leave(daemon.names.name_history(&question("d/0", "a"))).await;
            begin_and_leave(ask(&daemon, "d/0", "b")).await;
            for request in ["c", "d", "e"] {
                let error = ask(&daemon, "d/0", request).await.unwrap_err();
                assert!(matches!(error, ServiceError::Busy { limit: 2 }), "{error}");
                let error = daemon.names.name_history(&question("d/0", request)).await.unwrap_err();
                assert!(matches!(error, ServiceError::Busy { limit: 2 }), "{error}");
            }
            // What takes no place is as before: what is known, and waiting for what is asked already.
            assert_found(ask(&daemon, "d/0", "known").await);
            begin_and_leave(ask(&daemon, "d/0", "a")).await;
            scene.hosts[0].set_fault(None);
            // Nobody waits for the two, but they end.
            until_found(&daemon, "c").await;
            Ok(())
        })
        .await;
}

async fn until_found(daemon: &Daemon, id: &str) {
    while ask(daemon, "d/1", id).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

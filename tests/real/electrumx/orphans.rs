//! Names whose updates were in blocks that a reorganisation dropped. What real servers keep of them in their indices is no
//! reason for a wrong answer, for none, or for leaving a server.

use isonym::chain::Height;
use isonym::time::Timestamp;
use isonym_sim::ledger::Ledger;
use isonym_sim::proxy::Mode;
use isonym_sim::{AddressKind, Proxy, Tape, World};
use serde_json::{Value, json};

use super::requests::Requests;
use super::story::Story;
use isonym_testkit::dns::server::listens;
use isonym_testkit::dns::wire::{query_as, udp};
use isonym_testkit::electrumx::client::{Expected, hex};
use isonym_testkit::electrumx::core_rpc::CoreRpc;
use isonym_testkit::electrumx::server::{ElectrumX, Release, Transport};
use isonym_testkit::harness::{Daemon, until};
use isonym_testkit::program::Program;

/// How many blocks are dropped; one more takes their place.
const DEPTHS: [Height; 6] = [1, 2, 3, 6, 12, 30];

/// What becomes of updates in the first of the blocks that are dropped: of one nothing; it comes a block later; it comes back
/// to its own place in the block; it comes in another place; nothing, of a name that nobody asked for while it was there, so
/// that no server has its history in memory.
const FIRST: [&str; 5] = ["gone", "a-block-later", "same-place", "elsewhere", "gone-unseen"];

/// And in the last one: the same height on; nothing; it comes in the first block of the branch.
const LAST: [&str; 3] = ["late", "gone-at-last", "early"];

/// A name that nothing happens to, and one that is updated in the branch alone.
const OTHERS: [&str; 2] = ["untouched", "updated-there"];

/// The chain as it goes on, with the updates that are to be orphaned, and the branch that takes over.
struct Scenes {
    story: Story,
    updates: usize,
}

impl Scenes {
    fn new() -> Self {
        let mut story = Story::in_world(World::new(21, Timestamp(1_700_000_000)));
        story.world.mine(200);
        Self { story, updates: 0 }
    }

    /// Gives a name a value that no other one has.
    fn update(updates: &mut usize, story: &mut Story, name: &[u8]) {
        *updates += 1;
        let value = json!({ "ip": format!("192.0.{}.{}", *updates / 250, *updates % 250) });
        // Else each would spend the change of the one before, and none could come without that.
        story.world.pay_apart().unwrap();
        story.queue_update(name, value.to_string().as_bytes(), AddressKind::P2wpkh);
    }

    /// Registers names for this depth, and goes on for as many blocks as are to be dropped. Returns the branch that takes
    /// over.
    fn play(&mut self, depth: Height) -> Story {
        let name = |fate: &str| name(fate, depth);
        // Names live 30 blocks: what is to be seen at the end of the deepest branch must not be older, nor expire before.
        let (first, last) = (depth.saturating_sub(20).max(1), depth.min(28));
        let Self { story, updates } = self;
        let names = fates().map(|fate| (name(fate), b"{}".to_vec(), AddressKind::P2pkh));
        story.register(&names.collect::<Vec<_>>());
        story.world.mine(12);
        for fate in fates() {
            Self::update(updates, story, &name(fate));
        }
        story.world.mine(1);
        let fork = story.world.chain().height();
        for at in 1..=depth {
            let first = FIRST.iter().filter(|_| at == first);
            for fate in first.chain(LAST.iter().filter(|_| at == last)) {
                Self::update(updates, story, &name(fate));
            }
            story.world.mine(1);
        }
        let mut branch = story.branch(fork);
        for at in 1..=depth + 1 {
            let again: &[&str] = match at {
                _ if at == first => &["elsewhere", "early", "same-place"],
                _ if at == last + 1 && last == first => &["a-block-later", "late"],
                _ if at == last + 1 => &["late"],
                _ if at == first + 1 => &["a-block-later"],
                _ => &[],
            };
            for fate in again {
                branch.queue_again(story, &name(fate));
            }
            // As many transactions in all as were orphaned, so that no server waits for the next ones.
            for _ in 0..if at == last + 1 { 2 } else { 0 } {
                Self::update(updates, &mut branch, &name("updated-there"));
            }
            branch.world.mine(1);
        }
        branch
    }
}

fn fates() -> impl Iterator<Item = &'static str> {
    FIRST.into_iter().chain(LAST).chain(OTHERS)
}

fn name(fate: &str, depth: Height) -> Vec<u8> {
    format!("d/{fate}-{depth}").into_bytes()
}

/// Returns the value that a name must have, if it must have one.
fn value(story: &Story, name: &[u8]) -> Option<String> {
    match story.expected_show(name) {
        Expected::Found(shown) => Some(shown["value"].as_str().unwrap().to_owned()),
        Expected::Absent(_) => None,
    }
}

/// A daemon before servers, and the proxy between them.
struct Front {
    daemon: Daemon,
    dns: std::net::SocketAddr,
    _program: Program,
    _proxy: Proxy,
    tape: Tape,
    ids: usize,
}

impl Front {
    async fn start(servers: &[&ElectrumX], arguments: &[&str]) -> Self {
        let program = Program::new();
        let tape = Tape::new();
        let proxy = Proxy::start(Mode::Open, Ledger::new()).await.unwrap();
        proxy.record(tape.clone());
        let mut way = vec![format!("--proxy=socks5://{}", proxy.addr)];
        for (at, server) in servers.iter().enumerate() {
            // Hosts without a domain are of this machine, and each of an operator of its own.
            let host = format!("server{at}");
            proxy.route(&host, server.address(Transport::Tcp));
            way.push(format!("--server={host}:50001:t"));
        }
        // With more connections header sync closes those that it needs no more.
        let arguments = [&["--dns-listen=127.0.0.1:0", "--sync-connections=1"], arguments].concat();
        let daemon = Daemon::start_on(&program, &way, &arguments).await;
        daemon.synced().await;
        let dns = until("it listens for DNS", async || listens(&daemon.log())).await;
        Self {
            daemon,
            dns,
            _program: program,
            _proxy: proxy,
            tape,
            ids: 0,
        }
    }

    fn new_id(&mut self) -> String {
        self.ids += 1;
        format!("id-{}", self.ids)
    }

    async fn at(&self, story: &Story) {
        until("the daemon has the newest block", async || {
            let height = self.daemon.call("getblockcount", json!([])).await.unwrap();
            (height == json!(story.tip())).then_some(())
        })
        .await;
    }

    async fn shown(&self, method: &str, name: &[u8], id: &str) -> Result<Value, String> {
        let options = json!({ "streamID": id, "nameEncoding": "hex", "valueEncoding": "hex" });
        let called = self.daemon.call(method, json!([hex(name), options])).await;
        called.map_err(|(_, message)| message)
    }

    /// Looks a name up for an ID of its own that goes on to hold its connection, and comes back to it.
    async fn remember(&self, story: &Story, name: &[u8]) {
        let shown = self.shown("name_show", name, &hex(name)).await;
        story.check_shown(name, shown);
    }

    /// Looks a name up in the moment in which the servers have another chain, which the daemon has perhaps not yet.
    async fn check_at_once(&mut self, story: &Story, name: &[u8]) {
        let id = self.new_id();
        if let Some(value) = value(story, name) {
            let shown = self.shown("name_show", name, &id).await;
            let named = String::from_utf8_lossy(name);
            assert_eq!(shown.map(|shown| shown["value"].clone()), Ok(json!(value)), "{named}");
        }
    }

    /// Looks a name up in all ways.
    async fn check(&mut self, story: &Story, name: &[u8]) {
        let id = self.new_id();
        story.check_shown(name, self.shown("name_show", name, &id).await);
        // What is remembered ends by time, but where it is no longer true.
        if !name.starts_with(b"d/updated-there") {
            self.remember(story, name).await;
        }
        story.check_history(name, self.shown("name_history", name, &id).await);
        let domain = format!("{}.bit", String::from_utf8_lossy(&name[2..]));
        let reply = udp(self.dns, &query_as(self.new_id(), &domain, "A")).await;
        let answers: Vec<String> = value(story, name).iter().map(|value| record(&domain, value)).collect();
        assert_eq!(reply.answers(), answers, "{domain}: {}", reply.code());
    }

    /// Nobody was blamed, and no connection ended that a name was asked for on.
    fn assert_nobody_was_left(&self) {
        let log = self.daemon.log();
        let warned: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
        assert!(warned.is_empty(), "{warned:#?}");
        self.tape.read(|streams| {
            let used = streams.iter().filter(|stream| !Requests::of(stream).flights.is_empty());
            let (ended, open): (Vec<_>, Vec<_>) = used.partition(|stream| stream.ended.is_some());
            assert!(
                ended.is_empty() && open.len() > 50,
                "{} of {} ended",
                ended.len(),
                open.len()
            );
        });
    }
}

/// Returns the record that a value in hex makes.
fn record(domain: &str, value: &str) -> String {
    let value: Vec<u8> = bitcoin::hex::FromHex::from_hex(value).unwrap();
    let value: Value = serde_json::from_slice(&value).unwrap();
    format!("{domain}. A {}", value["ip"].as_str().unwrap())
}

/// One server each, and a quorum over two.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_true_after_a_reorganisation_is_said_at_once_and_nobody_is_left() {
    let mut scenes = Scenes::new();
    let core = CoreRpc::start(&scenes.story.blocks());
    let looks_often = [("DAEMON_POLL_INTERVAL_MEMPOOL", "100".to_owned())];
    let mut servers =
        Release::ALL.map(|release| ElectrumX::start_with(release, &core, scenes.story.tip(), &looks_often));
    let mut fronts = Vec::new();
    for server in &servers {
        fronts.push(Front::start(&[server], &[]).await);
    }
    fronts.push(Front::start(&[&servers[1], &servers[3]], &["--quorum=2"]).await);
    for depth in DEPTHS {
        let branch = scenes.play(depth);
        let mut follow = |story: &Story| {
            core.replace(&story.blocks());
            for server in &mut servers {
                server.wait_for(story.tip());
            }
        };
        follow(&scenes.story);
        for front in &fronts {
            front.at(&scenes.story).await;
            for fate in fates().filter(|fate| *fate != "gone-unseen") {
                front.remember(&scenes.story, &name(fate, depth)).await;
            }
        }
        follow(&branch);
        for front in &mut fronts {
            for fate in fates() {
                front.check_at_once(&branch, &name(fate, depth)).await;
            }
            front.at(&branch).await;
            for fate in fates() {
                front.check(&branch, &name(fate, depth)).await;
            }
        }
        scenes.story = branch;
    }
    for front in &fronts {
        front.assert_nobody_was_left();
    }
}

/// A server whose index names a transaction beyond the end of its chain has no history of that name until there are as many
/// again, and says nothing at all meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_of_a_name_until_the_next_block_is_waited_for_and_asked_for_others() {
    let mut scenes = Scenes::new();
    let Scenes { story, updates } = &mut scenes;
    let names = ["above", "other", "before"].map(|fate| name(fate, 1));
    story.register(
        &names
            .each_ref()
            .map(|name| (name.clone(), b"{}".to_vec(), AddressKind::P2pkh)),
    );
    story.world.mine(12);
    let fork = story.world.chain().height();
    let core = CoreRpc::start(&story.blocks());
    let looks_often = [("DAEMON_POLL_INTERVAL_MEMPOOL", "100".to_owned())];
    let mut server = ElectrumX::start_with(Release::V2_0, &core, story.tip(), &looks_often);
    for name in [&names[2], &names[2], &names[0]] {
        Scenes::update(updates, story, name);
    }
    story.world.mine(1);
    core.replace(&story.blocks());
    server.wait_for(story.tip());
    let mut branch = story.branch(fork);
    branch.world.mine(2);
    core.replace(&branch.blocks());
    server.wait_for(branch.tip());

    let mut front = Front::start(&[&server], &[]).await;
    let waiting = async {
        let shown = front.shown("name_show", &names[0], "who waits").await;
        assert_eq!(shown.map(|shown| shown["value"].clone()), Ok(json!(hex("{}"))));
    };
    let going_on = async {
        until("it is asked for", async || {
            let asked = front
                .tape
                .read(|streams| streams.iter().any(|stream| !Requests::of(stream).flights.is_empty()));
            asked.then_some(())
        })
        .await;
        branch.check_shown(&names[1], front.shown("name_show", &names[1], "who goes on").await);
        for _ in 0..3 {
            Scenes::update(updates, &mut branch, &names[2]);
        }
        branch.world.mine(1);
        core.replace(&branch.blocks());
    };
    tokio::join!(waiting, going_on);
    let log = front.daemon.log();
    assert!(!log.contains("WARN"), "{log}");
    front.at(&branch).await;
    for name in &names {
        let id = front.new_id();
        branch.check_shown(name, front.shown("name_show", name, &id).await);
    }
}

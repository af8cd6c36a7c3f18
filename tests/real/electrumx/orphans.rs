//! Names whose updates were in blocks that a reorganisation dropped: what real servers keep of them is no reason for a wrong
//! answer, for none, or for leaving a server.

use isonym::chain::Height;
use isonym::time::Timestamp;
use isonym_sim::ledger::Ledger;
use isonym_sim::proxy::Mode;
use isonym_sim::{AddressKind, Proxy, Tape, World};
use serde_json::{Value, json};

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

/// What becomes of a name's update when the block that it was in is dropped.
const FATES: [&str; 8] = [
    "late", "gone", "one-later", "elsewhere", "same-slot", "last-gone", "last-early", "never",
];

fn name(fate: &str, depth: Height) -> Vec<u8> {
    format!("d/{fate}-{depth}").into_bytes()
}

fn value(number: usize) -> Vec<u8> {
    json!({ "ip": format!("192.0.2.{}", number % 250) }).to_string().into_bytes()
}

fn update(story: &mut Story, number: &mut usize, name: &[u8]) {
    story.world.pay_apart().unwrap();
    *number += 1;
    story.queue_update(name, &value(*number), AddressKind::P2wpkh);
}

/// A daemon before servers, by way of a proxy that keeps what goes through it.
struct Before {
    daemon: Daemon,
    _program: Program,
    _proxy: Proxy,
    tape: Tape,
    ids: usize,
}

impl Before {
    async fn start(servers: &[&ElectrumX], arguments: &[&str]) -> Self {
        let program = Program::new();
        let tape = Tape::new();
        let proxy = Proxy::start(Mode::Open, Ledger::new()).await.unwrap();
        proxy.record(tape.clone());
        let mut way = vec![format!("--proxy=socks5://{}", proxy.addr)];
        for (at, server) in servers.iter().enumerate() {
            let host = format!("server{at}");
            proxy.route(&host, server.address(Transport::Tcp));
            way.push(format!("--server={host}:50001:t"));
        }
        let arguments = [&["--dns-listen=127.0.0.1:0"], arguments].concat();
        let daemon = Daemon::ready_by(&program, &way, &arguments).await;
        Self { daemon, _program: program, _proxy: proxy, tape, ids: 0 }
    }

    async fn shown(&self, name: &[u8], id: &str) -> Result<Value, String> {
        let options = json!({ "streamID": id, "nameEncoding": "hex", "valueEncoding": "hex", "maxAge": 0 });
        self.daemon.call("name_show", json!([hex(name), options])).await.map_err(|(_, message)| message)
    }

    async fn check(&mut self, story: &Story, name: &[u8]) {
        self.ids += 1;
        let id = format!("id-{}", self.ids);
        let start = std::time::Instant::now();
        let shown = self.shown(name, &id).await;
        eprintln!("{} {:?}: {:?} expected {:?}", String::from_utf8_lossy(name), start.elapsed(), shown.as_ref().map(|s| s["height"].clone()), match story.expected_show(name) { Expected::Found(v) => v["height"].to_string(), Expected::Absent(w) => w.to_string() });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explore() {
    let mut story = Story::in_world(World::new(21, Timestamp(1_700_000_000)));
    story.world.mine(200);
    let mut number = 0;
    let core = CoreRpc::start(&story.blocks());
    let releases = [Release::V1_16, Release::V1_17, Release::V2_0];
    let mut servers = releases.map(|release| ElectrumX::start(release, &core, story.tip()));
    let mut daemons = Vec::new();
    for server in &servers {
        daemons.push(Before::start(&[server], &[]).await);
    }
    daemons.push(Before::start(&[&servers[1], &servers[2]], &["--quorum=2"]).await);
    for depth in DEPTHS {
        let names: Vec<_> = FATES.iter().map(|fate| (name(fate, depth), value(0), AddressKind::P2pkh)).collect();
        story.register(&names);
        story.world.mine(12);
        for (name, ..) in &names {
            update(&mut story, &mut number, name);
        }
        story.world.mine(1);
        let fork = story.world.chain().height();
        let n = |fate: &str| name(fate, depth);
        for fate in ["gone", "one-later", "same-slot", "elsewhere"] {
            update(&mut story, &mut number, &n(fate));
        }
        if depth > 1 { story.world.mine(depth - 1); }
        for fate in ["late", "last-gone", "last-early"] {
            update(&mut story, &mut number, &n(fate));
        }
        story.world.mine(1);
        core.replace(&story.blocks());
        for server in &mut servers { server.wait_for(story.tip()); }
        eprintln!("== depth {depth} before");
        for daemon in &mut daemons {
            for fate in FATES { daemon.check(&story, &n(fate)).await; }
        }
        let mut branch = story.branch(fork);
        branch.queue_again(&story, &n("elsewhere"));
        branch.queue_again(&story, &n("last-early"));
        branch.queue_again(&story, &n("same-slot"));
        branch.world.mine(1);
        branch.queue_again(&story, &n("one-later"));
        if depth > 1 { branch.world.mine(depth - 1); }
        branch.queue_again(&story, &n("late"));
        branch.world.mine(1);
        core.replace(&branch.blocks());
        for server in &mut servers { server.wait_for(branch.tip()); }
        eprintln!("== depth {depth} after");
        for daemon in &mut daemons {
            for fate in FATES { daemon.check(&branch, &n(fate)).await; }
            eprintln!("-");
        }
        story = branch;
    }
    for daemon in &daemons {
        let log = daemon.daemon.log();
        for line in log.lines().filter(|line| line.contains("WARN")) { eprintln!("{line}"); }
    }
}

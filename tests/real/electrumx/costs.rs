//! What a real server lets one client use is what the simulated one does.

use isonym::isolation::ConnId;
use isonym::time::{Moment, Timestamp};
use isonym_sim::cost::{Accounts, Cost, Limits, Refusal};
use isonym_sim::{Server, Session, World};
use serde_json::{Value, json};

use isonym_testkit::electrumx::core_rpc::CoreRpc;
use isonym_testkit::electrumx::server::{ElectrumX, Release};

const CONN: ConnId = ConnId(0);

/// So low that a few hundred requests reach it, and without waits, so that it takes no time.
const SOFT: u64 = 100;
const HARD: u64 = 200;

/// A header whose hex digits are over 1 KiB.
const LARGE_HEADER: u32 = 250;

/// Clients that ask for the same again and again, with replies of more than 1 KiB.
fn large_manners() -> Vec<(&'static str, Value)> {
    vec![
        ("blockchain.block.headers", json!([1, 60])),
        ("blockchain.block.headers", json!([1, 60, 300])),
        // As many as are asked for are paid, however few there are.
        ("blockchain.block.headers", json!([295, 500])),
        ("blockchain.block.header", json!([LARGE_HEADER])),
    ]
}

/// The same with smaller ones, which 2.0.0 sends one each second.
fn small_manners(world: &World) -> Vec<(&'static str, Value)> {
    let txid = world.chain().block(5).unwrap().transactions[0].txid;
    vec![
        ("blockchain.block.header", json!([LARGE_HEADER, 300])),
        ("blockchain.headers.subscribe", json!([])),
        ("blockchain.transaction.get", json!([txid.to_string()])),
        ("server.features", json!([])),
        ("server.ping", json!([])),
        ("no.such.method", json!([])),
    ]
}

/// Says how many requests are answered before the refusal; `None` when the connection is cut without one. 1.17.0 does
/// so, after it left a request unanswered for a while, where it counted anew of its own accord at the very end.
fn served_by_the_real_one(server: &ElectrumX, method: &str, params: &Value) -> Option<usize> {
    let mut lines = server.lines();
    lines.say(&version()).unwrap();
    lines.hear().unwrap();
    for served in 0.. {
        lines.say(&request(method, params)).unwrap();
        let reply: Value = serde_json::from_str(&lines.hear()?).unwrap();
        if reply["error"]["code"] == -101 {
            assert_eq!(lines.hear(), None, "the connection goes on");
            return Some(served);
        }
    }
    unreachable!("a debt grows without end")
}

/// The same of the simulated one, which sends what the real one does but for spaces.
fn served_by_the_simulated_one(release: isonym_sim::Release, world: &World, method: &str, params: &Value) -> usize {
    let now = Moment(0);
    let limits = Limits {
        soft: Cost::units(SOFT),
        hard: Cost::units(HARD),
        ..Limits::default()
    };
    let mut accounts = Accounts::new(limits, now);
    let (mut server, mut session) = (Server::new(release, None), Session::default());
    accounts.open(CONN, now);
    let mut lines = [version()]
        .into_iter()
        .chain(std::iter::repeat(request(method, params)));
    for served in 0.. {
        accounts.receive(CONN, now, lines.next().unwrap().into_bytes());
        let admitted = accounts.take(CONN, now + limits.sleep).unwrap();
        if admitted.refusal == Some(Refusal::Debt) {
            return served - 1;
        }
        let output = server.on_line(&mut session, world.chain(), &admitted.line);
        accounts.handled(CONN, now, output.cost);
        accounts.sent(CONN, now, output.lines[0].len());
    }
    unreachable!("a debt grows without end")
}

fn version() -> String {
    request("server.version", &json!(["", "1.4.2"]))
}

fn request(method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 0, "method": method, "params": params}).to_string()
}

/// A world, and a real server in front of its blocks.
fn real_one(release: Release) -> (World, CoreRpc, ElectrumX) {
    let mut world = World::new(21, Timestamp(1_700_000_000));
    world.mine(300);
    let chain = world.chain();
    let blocks: Vec<_> = (0..=300)
        .map(|height| chain.block(height).unwrap().to_bytes())
        .collect();
    let core = CoreRpc::start(&blocks);
    let settings = [
        ("COST_SOFT_LIMIT", SOFT.to_string()),
        ("COST_HARD_LIMIT", HARD.to_string()),
        ("REQUEST_SLEEP", "0".to_owned()),
    ];
    let server = ElectrumX::start_with(release, &core, 300, &settings);
    (world, core, server)
}

/// The real one's clock runs, and pays back a fiftieth of a unit each second.
#[track_caller]
fn assert_about(served: usize, expected: usize, what: &str) {
    assert!(
        served.abs_diff(expected) <= expected / 100,
        "{what}: {expected} by the real one, {served} by the simulated one"
    );
}

/// Compares what both serve of each kind of request, but of those where the real one never refused.
#[track_caller]
fn assert_debts_grow_alike(
    world: &World,
    server: &ElectrumX,
    release: isonym_sim::Release,
    manners: Vec<(&'static str, Value)>,
) {
    let (mut compared, kinds) = (0, manners.len());
    for (method, params) in manners {
        if let Some(expected) = served_by_the_real_one(server, method, &params) {
            let simulated = served_by_the_simulated_one(release, world, method, &params);
            assert_about(simulated, expected, &format!("{method} {params}"));
            compared += 1;
        }
    }
    assert!(compared * 2 >= kinds, "{compared} of {kinds} could be compared");
}

#[test]
fn a_debt_grows_as_on_1_17_0() {
    let (world, _core, electrumx) = real_one(Release::V1_17);
    let manners = [large_manners(), small_manners(&world)].concat();
    assert_debts_grow_alike(&world, &electrumx, isonym_sim::Release::V1_16, manners);
}

#[test]
fn a_debt_grows_as_on_2_0_0() {
    let (world, _core, electrumx) = real_one(Release::V2_0);
    assert_debts_grow_alike(&world, &electrumx, isonym_sim::Release::V1_20, large_manners());
}

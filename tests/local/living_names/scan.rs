//! Lists of all living names, of a daemon that keeps them: held against Namecoin Core.

use isonym_sim::{Peer, PeerHost, SimChain, World};
use isonym_testkit::electrumx::blocks::recorded;
use isonym_testkit::harness::{Daemon, Stop, end_of, honest, until};
use isonym_testkit::program::Program;
use isonym_testkit::stage::{self, Stage};
use serde_json::{Value, json};

/// Returns what Core shows of the living names of the recorded chain, in the order of its database.
fn shown_by_core() -> Vec<Value> {
    let answers: Value = serde_json::from_slice(include_bytes!("../../vectors/namecoind-regtest/names.json")).unwrap();
    let names = answers["names"].as_array().unwrap().iter();
    let mut shown: Vec<Value> = names
        .map(|name| name["name_show_hex"]["result"].clone())
        .filter(Value::is_object)
        .collect();
    shown.sort_by_key(|shown| {
        let name = shown["name"].as_str().unwrap().to_owned();
        (name.len(), name)
    });
    assert!(shown.len() > 30, "{}", shown.len());
    shown
}

/// A daemon that keeps all names of the recorded chain.
async fn keeping(program: &Program) -> (Daemon, Stage, PeerHost) {
    let (stage, world) = honest(World::upon(SimChain::decode(recorded()).unwrap(), 1), 1).await;
    let peer = PeerHost::start("peer.example", Peer::default(), world, stage.ledger.clone());
    let peer = peer.await.unwrap();
    stage.proxy.route("peer.example", peer.addr);
    let daemon = Daemon::ready(program, &stage, &["--names=local", "--peer=peer.example:18444"]).await;
    until("all names are there", async || {
        let status = daemon.call("status", json!([])).await.unwrap();
        status["names"]["complete"].as_bool().unwrap().then_some(())
    })
    .await;
    (daemon, stage, peer)
}

/// Returns an object without what Core's does not have.
fn as_core(mut object: Value) -> Value {
    let members = object.as_object_mut().unwrap();
    for ours in ["confirmations", "verified", "withheld"] {
        members.remove(ours);
    }
    object
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|name| name["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn lists_have_what_core_has() {
    let program = Program::new();
    let (daemon, stage, _peer) = keeping(&program).await;
    let core = shown_by_core();
    let hex = json!({ "nameEncoding": "hex", "valueEncoding": "hex" });
    let with = |more: Value| {
        let mut options = hex.clone();
        options
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        options
    };
    let all = daemon.call("name_scan", json!(["", 500, hex])).await.unwrap();
    let listed: Vec<Value> = all.as_array().unwrap().iter().cloned().map(as_core).collect();
    assert_eq!(listed, core);
    // The order of Core's; the recorded answers have lost it.
    let order: Vec<&String> = listed[0].as_object().unwrap().keys().collect();
    let expected = [
        "name",
        "name_encoding",
        "value",
        "value_encoding",
        "txid",
        "vout",
        "address",
        "height",
        "expires_in",
        "expired",
    ];
    assert_eq!(order, expected);
    // Page by page, each from the last name of the one before.
    let mut paged: Vec<Value> = Vec::new();
    loop {
        let start = paged.last().map_or("", |name| name["name"].as_str().unwrap());
        let page = daemon.call("name_scan", json!([start, 7, hex])).await.unwrap();
        let page = page.as_array().unwrap();
        paged.extend(page.iter().skip(usize::from(!paged.is_empty())).cloned().map(as_core));
        if page.len() < 7 {
            break;
        }
    }
    assert_eq!(paged, core);
    // What is filtered does not count.
    let is_domain = |name: &&str| name.starts_with("642f");
    let all_names = names(&all);
    let domains: Vec<&str> = all_names.iter().copied().filter(is_domain).collect();
    assert!(domains.len() > 3 && domains.len() < all_names.len(), "{all_names:?}");
    let three = daemon
        .call("name_scan", json!(["", 3, with(json!({ "prefix": "642f" }))]))
        .await
        .unwrap();
    assert_eq!(names(&three), domains[..3]);
    let matching = daemon
        .call("name_scan", json!(["", 3, with(json!({ "regexp": "^d/" }))]))
        .await
        .unwrap();
    assert_eq!(names(&matching), domains[..3]);
    let tip = daemon.call("getblockcount", json!([])).await.unwrap().as_i64().unwrap();
    let age = |name: &Value| tip + 1 - name["height"].as_i64().unwrap();
    let middle = with(json!({ "minConf": 5, "maxConf": 20 }));
    let middle = daemon.call("name_scan", json!(["", 500, middle])).await.unwrap();
    let expected = core.iter().filter(|name| (5..=20).contains(&age(name)));
    let expected: Vec<&str> = expected.map(|name| name["name"].as_str().unwrap()).collect();
    assert!(!expected.is_empty() && expected.len() < core.len());
    assert_eq!(names(&middle), expected);
    assert_eq!(daemon.call("name_scan", json!(["", 0])).await, Ok(json!([])));

    let filtered = json!(["^d/", 0, 1, 2, null, hex]);
    assert_eq!(
        names(&daemon.call("name_filter", filtered).await.unwrap()),
        domains[1..3]
    );
    let count = daemon.call("name_filter", json!(["^d/", 0, 0, 0, "stat"])).await;
    let utf8 = domains.iter().filter(|name| {
        let bytes: Vec<u8> = bitcoin::hex::FromHex::from_hex(name).unwrap();
        String::from_utf8(bytes).is_ok()
    });
    assert_eq!(count, Ok(json!({ "blocks": tip, "count": utf8.count() })));
    let young = daemon
        .call("name_filter", json!([null, 5, 0, 0, "stat"]))
        .await
        .unwrap();
    assert_eq!(young["count"], core.iter().filter(|name| age(name) <= 5).count());

    // All that name_show withholds says so, and nothing else.
    for name in all.as_array().unwrap() {
        let shown = daemon.call("name_show", json!([name["name"], hex])).await;
        match name.get("withheld") {
            None => assert_eq!(shown.unwrap(), *name),
            Some(_) => assert_eq!(shown.unwrap_err().0, -4, "{name}"),
        }
        assert_eq!(name["verified"]["source"], "local");
        assert_eq!(name["verified"]["read_from"], tip - 29);
    }
    let absent = daemon
        .ask(&json!({ "method": "name_show", "params": ["d/no-such-name"], "id": 1 }))
        .await;
    let hash = daemon.call("getbestblockhash", json!([])).await.unwrap();
    let data = json!({
        "absence": "proved", "source": "local", "read_from": tip - 29, "tip_height": tip, "tip_hash": hash,
    });
    assert_eq!(absent.json()["error"]["code"], -4);
    assert_eq!(absent.json()["error"]["data"], data);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn the_zone_has_the_records_that_resolve_prints() {
    let program = Program::new();
    let (daemon, stage, _peer) = keeping(&program).await;
    let run = async |arguments: &[&str]| {
        let mut command = program.on_regtest();
        command.args(arguments);
        let end = end_of(command).await;
        assert_eq!(end.status, Some(0), "{arguments:?}: {}", end.err);
        end
    };
    let lines = run(&[
        "dump",
        "--format",
        "json",
        "--name-encoding",
        "hex",
        "--value-encoding",
        "hex",
    ])
    .await
    .out;
    let objects: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let domains: Vec<Value> = shown_by_core()
        .into_iter()
        .filter(|name| name["name"].as_str().unwrap().starts_with("642f"))
        .collect();
    assert_eq!(objects.iter().cloned().map(as_core).collect::<Vec<_>>(), domains);
    let zone = run(&["dump", "--dns-hostmaster", "who@example.org"]).await;
    let told = format!("{} names of block 480", domains.len());
    assert!(
        zone.err.contains(&told) && zone.out.starts_with(&format!("; {told}")),
        "{}",
        zone.err
    );
    assert!(
        zone.out
            .contains("\nbit. 86400 IN SOA this.x--nmc.bit. who.example.org. 480 "),
        "{}",
        zone.out
    );
    let scanned = run(&["name_scan", "", "3", "--prefix", "d/"]).await;
    let scanned: Value = serde_json::from_str(&scanned.out).unwrap();
    assert_eq!(scanned.as_array().unwrap().len(), 3);
    // Each name's own lines, but for what is hidden there.
    let mut with_records = 0;
    for object in objects.iter().filter(|object| object.get("withheld").is_none()) {
        let name: Vec<u8> = bitcoin::hex::FromHex::from_hex(object["name"].as_str().unwrap()).unwrap();
        let Some(label) = std::str::from_utf8(&name).ok().and_then(|name| name.strip_prefix("d/")) else {
            continue;
        };
        // No argument can hold that.
        if label.contains('\0') {
            continue;
        }
        let mut command = program.on_regtest();
        command.args(["resolve", &format!("{label}.bit")]);
        let resolved = end_of(command).await;
        if resolved.status != Some(0) {
            continue;
        }
        with_records += 1;
        for line in resolved.out.lines().filter(|line| !line.starts_with(';')) {
            assert!(zone.out.lines().any(|other| other == line), "{line}");
        }
    }
    assert!(with_records > 3, "{with_records}");
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn who_keeps_no_names_says_what_to_do() {
    let (stage, _world) = honest(stage::world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::start(&program, &stage, &[]).await;
    for method in ["name_scan", "name_filter"] {
        let reply = daemon.ask(&json!({ "method": method, "params": [], "id": 1 })).await;
        let error = r#"{"code":-1,"message":"no names are kept here, so that they can't be listed; that takes a daemon with --names local or local-or-servers"}"#;
        let expected = format!("{{\"result\":null,\"error\":{error},\"id\":1}}\n");
        assert_eq!((reply.status, reply.body), (500, expected), "{method}");
    }
    let mut command = program.on_regtest();
    command.args(["dump"]);
    let end = end_of(command).await;
    assert_eq!(end.status, Some(1));
    assert!(end.err.contains("--names local"), "{}", end.err);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

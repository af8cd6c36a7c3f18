//! Namecoin Core's own client before the daemon: what `namecoin-cli` sends, byte by byte, and what its parser needs.

use serde_json::{Value, json};

use isonym_testkit::harness::{Daemon, Reply, Stop, honest};
use isonym_testkit::program::Program;
use isonym_testkit::stage::{NAME, VALUE, world};

/// What it says of itself, beside host and credentials.
const HEADERS: &str = "Connection: close\r\nContent-Type: application/json\r\n";

/// Sends a body as it does.
async fn send(daemon: &Daemon, body: &str) -> Reply {
    daemon.post(&format!("{HEADERS}{}", daemon.authorization()), body).await
}

/// Asserts that members are there, of these types, as it fails where one is not.
#[track_caller]
fn assert_members(object: &Value, members: &[(&str, &str)]) {
    for (name, kind) in members {
        let is_of_kind = match *kind {
            "number" => object[name].is_number(),
            "string" => object[name].is_string(),
            "bool" => object[name].is_boolean(),
            "array" => object[name].is_array(),
            other => panic!("{other}"),
        };
        assert!(is_of_kind, "{name} is no {kind}: {object}");
    }
}

#[tokio::test]
async fn its_overviews_find_all_that_they_need() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    // -getinfo
    let reply = send(
        &daemon,
        r#"[{"method":"getnetworkinfo","params":null,"id":0,"jsonrpc":"2.0"},{"method":"getblockchaininfo","params":null,"id":1,"jsonrpc":"2.0"},{"method":"getwalletinfo","params":null,"id":2,"jsonrpc":"2.0"},{"method":"getbalances","params":null,"id":3,"jsonrpc":"2.0"}]"#,
    )
    .await;
    assert_eq!(reply.status, 200);
    let batch = reply.json();
    let network = &batch[0]["result"];
    assert_members(
        network,
        &[
            ("version", "number"),
            ("subversion", "string"),
            ("protocolversion", "number"),
            ("localservices", "string"),
            ("localservicesnames", "array"),
            ("localrelay", "bool"),
            ("timeoffset", "number"),
            ("networkactive", "bool"),
            ("connections", "number"),
            ("connections_in", "number"),
            ("connections_out", "number"),
            ("networks", "array"),
            ("relayfee", "number"),
            ("incrementalfee", "number"),
            ("localaddresses", "array"),
            ("warnings", "array"),
        ],
    );
    assert_eq!(network["localservices"].as_str().unwrap().len(), 16);
    for of in network["networks"].as_array().unwrap() {
        assert_members(
            of,
            &[
                ("name", "string"),
                ("limited", "bool"),
                ("reachable", "bool"),
                ("proxy", "string"),
                ("proxy_randomize_credentials", "bool"),
            ],
        );
    }
    let proxy = stage.proxy.addr.to_string();
    assert_eq!(network["networks"][0]["proxy"], json!(proxy), "told truly");
    assert_members(
        &batch[1]["result"],
        &[
            ("chain", "string"),
            ("blocks", "number"),
            ("headers", "number"),
            ("bestblockhash", "string"),
            ("bits", "string"),
            ("difficulty", "number"),
            ("target", "string"),
            ("time", "number"),
            ("mediantime", "number"),
            ("verificationprogress", "number"),
            ("initialblockdownload", "bool"),
            ("chainwork", "string"),
            ("size_on_disk", "number"),
            ("pruned", "bool"),
            ("warnings", "array"),
        ],
    );
    for (member, id) in [(2, 2), (3, 3)] {
        assert_eq!(
            (&batch[member]["error"]["code"], &batch[member]["id"]),
            (&json!(-32601), &json!(id)),
            "which it takes for a node without a wallet"
        );
    }
    let reply = send(
        &daemon,
        r#"{"method":"listwallets","params":[],"id":"1","jsonrpc":"2.0"}"#,
    )
    .await;
    assert_eq!(reply.json()["result"], json!([]));

    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn its_lists_of_peers_and_addresses_find_all_that_they_need() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    // -netinfo 0
    let reply = send(
        &daemon,
        r#"[{"method":"getpeerinfo","params":null,"id":0,"jsonrpc":"2.0"},{"method":"getnetworkinfo","params":null,"id":1,"jsonrpc":"2.0"}]"#,
    )
    .await;
    let peers = &reply.json()[0]["result"];
    assert_eq!(peers.as_array().unwrap().len(), 1, "{peers}");
    for peer in peers.as_array().unwrap() {
        assert_members(
            peer,
            &[
                ("addr", "string"),
                ("network", "string"),
                ("connection_type", "string"),
                ("inbound", "bool"),
                ("relaytxes", "bool"),
            ],
        );
    }

    // -addrinfo
    let reply = send(
        &daemon,
        r#"{"method":"getaddrmaninfo","params":null,"id":1,"jsonrpc":"2.0"}"#,
    )
    .await;
    let counts = &reply.json()["result"];
    for network in ["ipv4", "ipv6", "onion", "i2p", "cjdns", "all_networks"] {
        assert_members(
            &counts[network],
            &[("new", "number"), ("tried", "number"), ("total", "number")],
        );
    }
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn its_calls_by_position_and_by_name() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    for params in [
        format!(r#"["{NAME}",{{"streamID":"a"}}]"#),
        format!(r#"{{"name":"{NAME}","options":{{"streamID":"a"}}}}"#),
    ] {
        let body = format!(r#"{{"method":"name_show","params":{params},"id":"1","jsonrpc":"2.0"}}"#);
        let reply = send(&daemon, &body).await;
        assert_eq!((reply.status, &reply.json()["result"]["value"]), (200, &json!(VALUE)));
    }
    // The texts that people search for.
    for (method, params, status, code, message) in [
        (
            "getblockhash",
            json!([99_999_999_999_u64]),
            200,
            -1,
            "JSON integer out of range",
        ),
        ("getblockhash", json!([1.5]), 200, -1, "JSON integer out of range"),
        ("getblockhash", json!([-1]), 200, -8, "Block height out of range"),
        (
            "getblockheader",
            json!(["ab"]),
            200,
            -8,
            "hash must be of length 64 (not 2, for 'ab')",
        ),
        ("getblockheader", json!(["00".repeat(32)]), 200, -5, "Block not found"),
        ("getwalletinfo", json!([]), 200, -32601, "Method not found"),
    ] {
        let body = json!({ "method": method, "params": params, "id": "1", "jsonrpc": "2.0" }).to_string();
        let reply = send(&daemon, &body).await;
        let error = &reply.json()["error"];
        assert_eq!(
            (reply.status, error["code"].as_i64(), error["message"].as_str()),
            (status, Some(code), Some(message)),
            "{method} {params}"
        );
    }
    let help = send(
        &daemon,
        r#"{"method":"help","params":["nosuch"],"id":"1","jsonrpc":"2.0"}"#,
    )
    .await;
    assert_eq!(help.json()["result"], "help: unknown command: nosuch");
    assert!(daemon.call("getdifficulty", json!([])).await.unwrap().is_number());
    assert_eq!(daemon.call("ping", json!([])).await, Ok(Value::Null));
    // What is no request of version 2 fails before its rules hold.
    for body in [
        r#"{"jsonrpc":"2.0","id":7}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":5}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":"x"}"#,
    ] {
        let reply = send(&daemon, body).await;
        let json = reply.json();
        assert_eq!(
            (reply.status, &json["error"]["code"], &json["id"], &json["jsonrpc"]),
            (400, &json!(-32600), &json!(7), &json!("2.0")),
            "{body}"
        );
    }
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

/// A block that a reorganisation took away has -1 confirmations.
#[tokio::test]
async fn a_stale_block_is_told_as_one() {
    let (stage, shared) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    let lost = daemon.call("getbestblockhash", json!([])).await.unwrap();
    let before = daemon.call("getblockheader", json!([lost])).await.unwrap();
    assert_eq!(before["confirmations"], 1);
    shared.change(|world| {
        let height = world.chain().height();
        *world = world.fork_at(height - 1, 9);
        world.mine(2);
    });
    isonym_testkit::harness::until("the block is stale", async || {
        let header = daemon.call("getblockheader", json!([lost])).await.unwrap();
        (header["confirmations"] == -1).then(|| {
            assert_eq!(
                (&header["height"], &header["chainwork"]),
                (&before["height"], &before["chainwork"])
            );
            assert_eq!(header["nextblockhash"], Value::Null);
        })
    })
    .await;
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

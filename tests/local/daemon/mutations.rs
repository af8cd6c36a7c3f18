//! Requests that were right once, changed at random: each is answered in due form over one connection.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use isonym_testkit::harness::{Daemon, Line, Reply, Stop, honest, id};
use isonym_testkit::program::Program;
use isonym_testkit::stage::{NAME, VALUE, world};

const ROUNDS: usize = 4000;

/// Pieces that mean something in JSON or to the daemon.
const PIECES: [&str; 34] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "null",
    "true",
    "0",
    "-1",
    "1e999",
    "1.5",
    "\"\"",
    "{}",
    "[]",
    " ",
    "\n",
    "\0",
    "\u{ff}",
    "\\u0000",
    "\\ud800",
    "\"id\":",
    "\"method\":",
    "\"params\":",
    "\"jsonrpc\":\"2.0\",",
    "\"name\":",
    "\"options\":",
    "\"args\":",
    "\"streamID\":",
    "\"hex\"",
    "\"utf8\"",
    "18446744073709551616",
];

fn right_ones(best: &Value) -> Vec<Vec<u8>> {
    let known = json!({ "nameEncoding": "ascii", "valueEncoding": "hex", "allowExpired": true, "byHash": "direct" });
    let identifier = json!({ "identifier": NAME, "name_encoding": "ascii", "verify_sig": false, "options": known });
    [
        json!({ "method": "name_show", "params": [NAME], "id": 1 }),
        json!({ "method": "name_show", "params": [NAME, { "streamID": id(0) }], "id": "x" }),
        json!({ "jsonrpc": "2.0", "method": "name_show", "params": { "name": NAME, "options": known }, "id": null }),
        json!({ "jsonrpc": "2.0", "method": "name_show", "params": identifier, "id": 1.5 }),
        json!({ "method": "name_show", "params": [NAME, "ascii", "hex", id(0)], "id": [{ "a": [] }] }),
        json!({ "jsonrpc": "1.0", "method": "name_history", "params": [NAME, {}], "id": true }),
        json!({ "method": "getblockheader", "params": [best, true], "id": 1 }),
        json!({ "method": "getblockhash", "params": { "height": 5 }, "id": 1 }),
        json!({ "method": "help", "params": ["name_show"], "id": "\u{e4}\\\"" }),
        json!({ "method": "isolation_forget", "params": { "isolation_id": id(1) } }),
        json!({ "jsonrpc": "2.0", "method": "getblockchaininfo", "params": [] }),
        json!([
            { "method": "uptime", "id": 1 },
            { "jsonrpc": "2.0", "method": "getinfo" },
            7,
            { "jsonrpc": "2.0", "method": "servers", "id": 3 }
        ]),
    ]
    .map(|request| request.to_string().into_bytes())
    .into()
}

/// Changes a body in one place.
fn change(body: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut StdRng) {
    let at = rng.random_range(0..=body.len());
    let to = rng.random_range(at..=body.len().min(at + 12));
    match rng.random_range(0..7) {
        0 => drop(body.drain(at..to)),
        1 => body.truncate(at),
        2 => {
            let piece = PIECES.choose(rng).unwrap();
            body.splice(at..at, piece.bytes());
        }
        3 => {
            let piece = PIECES.choose(rng).unwrap();
            body.splice(at..to, piece.bytes());
        }
        4 => {
            let again = body[at..to].to_vec();
            body.splice(at..at, again);
        }
        5 => {
            if let Some(byte) = body.get_mut(at) {
                *byte = rng.random();
            }
        }
        _ => {
            let other = others.choose(rng).unwrap();
            body.truncate(at);
            body.extend(&other[rng.random_range(0..other.len())..]);
        }
    }
}

/// The members of a reply object. Its ID is the caller's text, which may be a number or a string that no parser of ours
/// takes as one.
type Members = BTreeMap<String, Box<RawValue>>;

/// Asserts that a reply has the shape that Core's have.
fn assert_in_due_form(reply: &Reply, request: &str) {
    if reply.status == 204 {
        assert_eq!(reply.body, "", "{request}");
        return;
    }
    let json = "content-type: application/json";
    assert!(reply.head.lines().any(|line| line == json), "{request}: {reply:?}");
    let end = reply.body.find('\n').map(|end| end + 1);
    assert_eq!(end, Some(reply.body.len()), "{request}: {reply:?}");
    let many = reply.body.starts_with('[');
    let objects: Vec<Members> = if many {
        serde_json::from_str(&reply.body).unwrap()
    } else {
        vec![serde_json::from_str(&reply.body).unwrap()]
    };
    for object in &objects {
        let keys: Vec<&str> = object.keys().map(String::as_str).filter(|key| *key != "id").collect();
        let known = [["error", "result"], ["jsonrpc", "result"], ["error", "jsonrpc"]];
        assert!(known.iter().any(|known| *known == *keys), "{request}: {reply:?}");
        if let Some(error) = object.get("error").filter(|error| error.get() != "null") {
            let error: Value = serde_json::from_str(error.get()).unwrap();
            let fine = error["code"].is_i64() && error["message"].is_string();
            assert!(fine && error.as_object().unwrap().len() == 2, "{request}: {reply:?}");
        }
    }
    // A request of version 2 that is none fails before its rules hold.
    let is_malformed = |object: &Members| object.get("error").is_some_and(|error| error.get().contains("-32600"));
    let is_fine = |object: &Members| match object.get("error") {
        Some(error) if object.contains_key("jsonrpc") => !is_malformed(object) || error.get() == "null",
        Some(error) => error.get() == "null",
        None => true,
    };
    assert_eq!(
        reply.status == 200,
        many || is_fine(&objects[0]),
        "{request}: {reply:?}"
    );
}

#[tokio::test]
async fn whatever_is_said_is_answered() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    let best = daemon.call("getbestblockhash", json!([])).await.unwrap();
    let right = right_ones(&best);
    let mut line = Line::open(&daemon).await;
    for body in &right {
        let reply = line.ask(&daemon.with_body(body)).await;
        assert!([200, 204].contains(&reply.status), "{reply:?}");
    }
    let mut rng = StdRng::seed_from_u64(1);
    let mut statuses = BTreeMap::<u16, usize>::new();
    for _ in 0..ROUNDS {
        let mut body = right.choose(&mut rng).unwrap().clone();
        for _ in 0..rng.random_range(1..4) {
            change(&mut body, &right, &mut rng);
        }
        let reply = line.ask(&daemon.with_body(&body)).await;
        *statuses.entry(reply.status).or_default() += 1;
        assert_in_due_form(&reply, &String::from_utf8_lossy(&body));
    }
    // All kinds of answers came, and no other.
    let seen: Vec<u16> = statuses.keys().copied().collect();
    assert_eq!(seen, [200, 204, 400, 404, 500], "{statuses:?}");
    let shown = line.ask(&daemon.with_body(&right[0])).await.json();
    assert_eq!(shown["result"]["value"], VALUE);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

//! What goes over HTTP: by curl, and by hand where curl is too polite.

use std::process::Command;

use bitcoin::hex::DisplayHex;
use serde_json::{Value, json};

use isonym_testkit::harness::{Daemon, Reply, Stop, end_of, honest, send};
use isonym_testkit::program::Program;
use isonym_testkit::stage::{NAME, Stage, VALUE, world};

async fn start(program: &Program) -> (Daemon, Stage) {
    let (stage, _) = honest(world(), 1).await;
    let daemon = Daemon::ready(program, &stage, &[]).await;
    (daemon, stage)
}

/// Posts by curl; returns the HTTP status and the body.
async fn curl(daemon: &Daemon, arguments: &[&str]) -> (String, String) {
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--write-out",
        "%{http_code}",
    ])
    .args(["--user", &daemon.user()])
    .args(arguments)
    .arg(format!("http://{}/", daemon.address));
    let end = end_of(curl).await;
    end.assert_succeeded();
    let (body, status) = end.out.split_at(end.out.len() - 3);
    (status.to_owned(), body.to_owned())
}

async fn shown(daemon: &Daemon, params: Value) -> Value {
    let request = json!({ "method": "name_show", "params": params, "id": "an id" }).to_string();
    let (status, body) = curl(daemon, &["--data-binary", &request]).await;
    let mut reply: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status.as_str(), &reply["error"]), ("200", &Value::Null), "{reply}");
    assert!(body.ends_with('\n'));
    assert_eq!(reply["id"], "an id");
    reply["result"].take()
}

#[tokio::test]
async fn every_style_of_asking_for_a_name() {
    let program = Program::new();
    let (daemon, stage) = start(&program).await;
    let hex = "6d61726b6572206f66207468652076616c7565";
    let id = "marker-of-the-id";
    for (params, value, electrum) in [
        (json!([NAME]), VALUE, false),
        (json!([NAME, { "streamID": id, "valueEncoding": "hex" }]), hex, false),
        (
            json!([NAME, { "isolation_id": id, "isolationID": id, "streamID": id }]),
            VALUE,
            false,
        ),
        (json!({ "name": NAME }), VALUE, false),
        (
            json!({ "name": NAME, "options": { "valueEncoding": "hex", "streamID": id } }),
            hex,
            false,
        ),
        (json!({ "name": NAME, "isolation_id": id }), VALUE, false),
        (json!([NAME, "ascii"]), VALUE, true),
        (json!([NAME, "ascii", "hex", id]), hex, true),
        (json!({ "identifier": NAME }), VALUE, true),
        (
            json!({ "identifier": NAME, "name_encoding": "ascii", "value_encoding": "hex", "stream_id": id }),
            hex,
            true,
        ),
        (
            json!({ "identifier": NAME, "isolation_id": id, "options": { "valueEncoding": "hex" } }),
            hex,
            true,
        ),
    ] {
        let result = shown(&daemon, params.clone()).await;
        assert_eq!(
            (&result["name"], &result["value"]),
            (&json!(NAME), &json!(value)),
            "{params}"
        );
        assert_eq!(result.get("semi_expired").is_some(), electrum, "{params}");
    }
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn arguments_that_would_join_what_must_be_apart() {
    let program = Program::new();
    let (daemon, stage) = start(&program).await;
    let (a, b) = ("marker-of-the-id-a", "marker-of-the-id-b");
    for (params, code) in [
        (json!([NAME, { "streamID": a, "isolation_id": b }]), -8),
        (json!([NAME, { "streamID": a, "isolationID": b }]), -8),
        (
            json!({ "name": NAME, "isolation_id": a, "options": { "streamID": b } }),
            -8,
        ),
        (json!({ "identifier": NAME, "stream_id": a, "isolation_id": b }), -8),
        (
            json!({ "identifier": NAME, "stream_id": a, "options": { "streamID": b } }),
            -8,
        ),
        (json!([NAME, "ascii", "ascii", a, false, { "streamID": b }]), -8),
        (json!([NAME, { "streamId": a }]), -8),
        (json!({ "name": NAME, "streamID": a }), -8),
        (json!({ "identifier": NAME, "streamid": a }), -8),
        (json!([NAME, { "streamID": 1 }]), -3),
        (json!({ "identifier": NAME, "stream_id": ["a"] }), -3),
        (json!([NAME, { "streamID": "a".repeat(1 << 12) }]), -8),
        (json!([]), -1),
    ] {
        let refused = daemon.call("name_show", params.clone()).await.unwrap_err();
        assert_eq!(refused.0, code, "{params}: {}", refused.1);
    }
    assert_eq!(stage.asked(0, NAME), 0);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn versions_and_batches() {
    let program = Program::new();
    let (daemon, stage) = start(&program).await;
    let legacy = json!({ "jsonrpc": "1.0", "method": "getblockcount", "params": [], "id": 7 });
    let reply = daemon.ask(&legacy).await;
    let count = reply.json()["result"].clone();
    assert!(count.is_u64());
    assert_eq!(reply.json(), json!({ "result": count, "error": null, "id": 7 }));
    let second = json!({ "jsonrpc": "2.0", "method": "getblockcount", "id": "x" });
    assert_eq!(
        daemon.ask(&second).await.json(),
        json!({ "jsonrpc": "2.0", "result": count, "id": "x" })
    );
    let missing = json!({ "method": "nothing", "id": 1 });
    assert_eq!(daemon.ask(&missing).await.status, 404);
    let missing = json!({ "jsonrpc": "2.0", "method": "nothing", "id": 1 });
    let reply = daemon.ask(&missing).await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (200, &json!(-32601)));
    let absent = json!({ "method": "name_show", "params": ["d/marker-of-the-nothing"], "id": 1 });
    let reply = daemon.ask(&absent).await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (500, &json!(-4)));
    let notification = json!({ "jsonrpc": "2.0", "method": "uptime" });
    assert_eq!(daemon.ask(&notification).await.status, 204);

    let batch = json!([legacy, { "method": "name_show", "params": [NAME], "id": 8 }, second, 5, notification]);
    let (status, body) = curl(&daemon, &["--data-binary", &batch.to_string()]).await;
    let replies: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status.as_str(), replies.as_array().unwrap().len()),
        ("200", 4),
        "{body}"
    );
    assert_eq!((&replies[0]["id"], &replies[0]["result"]), (&json!(7), &count));
    assert_eq!(
        (&replies[1]["id"], &replies[1]["result"]["value"]),
        (&json!(8), &json!(VALUE))
    );
    assert_eq!(
        (&replies[2]["id"], &replies[3]["error"]["code"]),
        (&json!("x"), &json!(-32600))
    );
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn callers_who_are_kept_out() {
    let program = Program::new();
    let (daemon, stage) = start(&program).await;
    let host = format!("Host: {}\r\n", daemon.address);
    let authorization = daemon.authorization();
    let body = json!({ "method": "stop", "id": 1 }).to_string();
    let bearing = |reply: &Reply, status: u16| {
        assert_eq!((reply.status, reply.body.as_str()), (status, ""), "{reply:?}");
    };

    let nobody = daemon.post(&host, &body).await;
    bearing(&nobody, 401);
    assert!(nobody.head.contains("www-authenticate: basic realm=\"jsonrpc\""));
    // `__cookie__:` and a wrong password.
    let wrong = format!("{host}Authorization: Basic X19jb29raWVfXzp3cm9uZw==\r\n");
    bearing(&daemon.post(&wrong, &body).await, 401);
    for forged in ["evil.example", "evil.example:8336", "127.0.0.1.evil.example"] {
        let reply = daemon.post(&format!("Host: {forged}\r\n"), &body).await;
        assert!(reply.status == 403 && reply.body.contains("another host"), "{reply:?}");
        // Who knows the password may call it what he likes.
        let headers = format!("Host: {forged}\r\n{authorization}");
        let uptime = json!({ "method": "uptime", "id": 1 }).to_string();
        assert_eq!(daemon.post(&headers, &uptime).await.status, 200);
    }
    let from_a_site = format!("{host}{authorization}Origin: https://evil.example\r\n");
    let reply = daemon.post(&from_a_site, &body).await;
    assert!(reply.status == 403 && reply.body.contains("Origin"), "{reply:?}");
    let get = format!("GET / HTTP/1.1\r\nConnection: close\r\n{host}{authorization}\r\n");
    let reply = send(daemon.address, get).await;
    assert_eq!(reply.status, 405);
    assert_eq!(reply.body, "JSONRPC server handles only POST requests");
    let elsewhere = format!("POST /x HTTP/1.1\r\nConnection: close\r\n{host}{authorization}Content-Length: 0\r\n\r\n");
    bearing(&send(daemon.address, elsewhere).await, 404);

    // None of them has stopped it.
    assert!(daemon.call("uptime", json!([])).await.is_ok());
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

/// Takes the examples as they stand, but for where the daemon is and the name.
#[tokio::test]
async fn the_examples_of_the_documents() {
    let document = include_str!("../../../docs/operators.md");
    let begin = document.find("cookie=$(cat").unwrap();
    let examples = &document[begin..begin + document[begin..].find("```").unwrap()];
    let program = Program::new();
    let (daemon, stage) = start(&program).await;
    let cookie = daemon.folder.join(".cookie").display().to_string();
    let mut shell = Command::new("sh");
    shell.env_clear().env("PATH", "/usr/bin:/bin").args(["-c"]).arg(
        examples
            .replace("~/.local/share/isonym/mainnet/.cookie", &cookie)
            .replace("127.0.0.1:8336", &daemon.address.to_string())
            .replace("d/example", NAME)
            .replace("curl ", "curl --silent "),
    );
    let end = end_of(shell).await;
    end.assert_succeeded();
    let replies: Vec<Value> = end
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(replies.len(), 2, "{end:?}");
    let hex = VALUE.as_bytes().to_lower_hex_string();
    assert_eq!(replies[0]["result"]["value"], hex);
    assert_eq!(replies[1]["result"]["value"], VALUE);
    assert_eq!(replies[1]["result"]["semi_expired"], false);
    // Both have one ID.
    assert_eq!(stage.asked(0, NAME), 1);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

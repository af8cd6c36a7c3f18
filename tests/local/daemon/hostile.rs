//! Callers who mean harm: the daemon answers them or hangs up, does not grow, and goes on serving everybody else.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use isonym::rpc::{MAX_BATCH, MAX_BODY};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use isonym_testkit::harness::{Daemon, Line, PATIENCE, Stop, end_of, honest, id, send, until};
use isonym_testkit::program::Program;
use isonym_testkit::stage::{NAME, Stage, VALUE, world};

/// By how many bytes the daemon may grow, whatever callers do: much more than it does, much less than they send.
const GROWTH: u64 = 64 << 20;

async fn start(program: &Program) -> (Daemon, Stage) {
    let (stage, _) = honest(world(), 1).await;
    let daemon = Daemon::ready(program, &stage, &[]).await;
    (daemon, stage)
}

/// The most memory that the daemon ever had, in bytes.
fn peak(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

/// How many callers of JSON-RPC the daemon has let in. What else it holds open, its connections to servers above all,
/// comes and goes by chance and is not counted.
fn let_in(daemon: &Daemon) -> usize {
    let ours = format!(":{:04X}", daemon.address.port());
    // The daemon shows nobody its open files, and all processes of these tests are in one network.
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    // Columns as in proc_pid_net(5): the local address is the second, the far one the third, the inode the tenth. Who
    // waits to be let in has no inode yet, nor has who was hung up on; the listening socket itself has no far port.
    let connections = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    connections
        .filter(|columns| columns.len() > 9 && columns[1].ends_with(&ours) && !columns[2].ends_with(":0000"))
        .filter(|columns| columns[9] != "0")
        .count()
}

async fn assert_serves(daemon: &Daemon, callers: usize) {
    for number in 0..callers {
        assert_eq!(daemon.value(&id(number)).await, Ok(VALUE.to_owned()));
    }
}

/// Sends a start, then the same again and again, up to a gigabyte, until nobody takes it any more. Returns the status
/// that came back, 0 if none did, and how much was sent.
async fn flood(daemon: &Daemon, start: &str, again: &str) -> (u16, usize) {
    const GIGABYTE: usize = 1_000_000_000;
    let (mut reader, mut writer) = TcpStream::connect(daemon.address).await.unwrap().into_split();
    let chunk = again.repeat((64 << 10) / again.len());
    let sends = async {
        let mut sent = start.len();
        let mut all = writer.write_all(start.as_bytes()).await;
        while all.is_ok() && sent < GIGABYTE {
            all = writer.write_all(chunk.as_bytes()).await;
            sent += chunk.len();
        }
        sent
    };
    let reads = async {
        let mut reply = Vec::new();
        // The connection may be reset: bytes are on their way that nobody reads.
        let _ = reader.read_to_end(&mut reply).await;
        reply
    };
    let (sent, reply) = timeout(PATIENCE, async { tokio::join!(sends, reads) }).await.unwrap();
    let status = String::from_utf8(reply).unwrap().split(' ').nth(1).map(str::parse);
    (status.map_or(0, Result::unwrap), sent)
}

#[tokio::test]
async fn requests_of_a_gigabyte_are_neither_read_nor_kept() {
    let program = Program::new();
    let (daemon, stage) = start(&program).await;
    assert_serves(&daemon, 1).await;
    let before = peak(&daemon);
    let head = daemon.head();
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("400\r\n{}\r\n", " ".repeat(0x400));
    let announced = format!("{head}Content-Length: 1000000000\r\n\r\n");
    for (what, start, again) in [
        ("a body as announced", announced, " "),
        ("a body in chunks", chunked.clone(), &chunk),
        ("chunks of one byte", chunked.clone(), "1\r\n \r\n"),
        ("a chunk's extension", format!("{chunked}1;"), "x"),
        ("trailers", format!("{chunked}0\r\n"), "X: y\r\n"),
        ("one header", format!("{head}X: "), "x"),
        ("headers", head.clone(), "X: y\r\n"),
        ("a method", String::new(), "x"),
        ("a target", "POST /".to_owned(), "x"),
    ] {
        let (status, sent) = flood(&daemon, &start, again).await;
        assert!(sent < 100_000_000, "{what}: {sent} bytes were taken");
        // Nothing comes back where a reset overtakes it.
        assert!(status == 0 || (400..500).contains(&status), "{what}: {status}");
    }
    let grown = peak(&daemon) - before;
    assert!(grown < GROWTH, "grew by {grown} bytes");
    assert_serves(&daemon, 2).await;
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn calls_at_the_limits() {
    let program = Program::new();
    let (daemon, stage) = start(&program).await;
    assert_serves(&daemon, 1).await;
    let before = peak(&daemon);
    let mut line = Line::open(&daemon).await;
    let refusal = |code: i32, message: &str| {
        format!("{{\"result\":null,\"error\":{{\"code\":{code},\"message\":\"{message}\"}},\"id\":null}}\n")
    };

    let call = |number| json!({ "method": "name_show", "params": [NAME, { "streamID": id(0) }], "id": number });
    let most: Vec<Value> = (0..MAX_BATCH).map(call).collect();
    let reply = line.ask(&daemon.with_body(json!(most).to_string().as_bytes())).await;
    assert_eq!(reply.status, 200);
    for (number, reply) in reply.json().as_array().unwrap().iter().enumerate() {
        let shown = (&reply["id"], &reply["result"]["value"]);
        assert_eq!(shown, (&json!(number), &json!(VALUE)));
    }
    let too_large = refusal(
        -32600,
        &format!("Batch too large: at most {MAX_BATCH} requests are allowed"),
    );
    for calls in [MAX_BATCH + 1, 100_000] {
        let batch = format!("[{}]", vec!["{}"; calls].join(","));
        let reply = line.ask(&daemon.with_body(batch.as_bytes())).await;
        assert_eq!((reply.status, &reply.body), (400, &too_large), "{calls}");
    }

    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    // What only comes back, or is not looked at, may be as deep as it likes.
    for body in [
        format!(r#"{{"method":"getblockcount","id":{deep}}}"#),
        format!(r#"{{"method":"getblockcount","more":{deep},"id":{deep}}}"#),
    ] {
        let reply = line.ask(&daemon.with_body(body.as_bytes())).await;
        let end = format!(",\"error\":null,\"id\":{deep}}}\n");
        assert!(reply.status == 200 && reply.body.ends_with(&end));
    }
    let no_json = refusal(-32700, "Parse error");
    for body in [
        format!(r#"{{"method":"name_show","params":{deep},"id":1}}"#),
        format!(r#"{{"method":"name_show","params":["d/x",{{"streamID":{deep}}}],"id":1}}"#),
        format!(r#"{{"method":{deep},"id":1}}"#),
        "[".repeat(100_000),
        r#"{"id":"#.repeat(100_000),
    ] {
        let reply = line.ask(&daemon.with_body(body.as_bytes())).await;
        assert_eq!((reply.status, &reply.body), (500, &no_json));
    }

    let mut body = json!({ "method": "getblockcount", "id": 1 }).to_string().into_bytes();
    body.resize(MAX_BODY, b' ');
    assert_eq!(line.ask(&daemon.with_body(&body)).await.status, 200);
    body.push(b' ');
    // The last of this connection, as the body is not read.
    let reply = line.ask(&daemon.with_body(&body)).await;
    assert_eq!((reply.status, reply.body.as_str()), (413, ""));
    let grown = peak(&daemon) - before;
    assert!(grown < GROWTH, "grew by {grown} bytes");
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn fifty_slow_callers_keep_nobody_out() {
    let program = Program::new();
    let (daemon, stage) = start(&program).await;
    let address = daemon.address;
    let mut slow = JoinSet::new();
    for number in 0..50 {
        let start = match number % 2 {
            0 => format!("{}X: ", daemon.head()),
            _ => format!("{}Content-Length: 100000\r\n\r\n", daemon.head()),
        };
        slow.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let mut sent = stream.write_all(start.as_bytes()).await;
            while sent.is_ok() {
                sleep(Duration::from_millis(100)).await;
                sent = stream.write_all(b" ").await;
            }
        });
    }
    until("all slow callers are let in", async || {
        (let_in(&daemon) >= 50).then_some(())
    })
    .await;
    assert_serves(&daemon, 10).await;
    drop(slow);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn callers_who_read_nothing_are_read_no_further() {
    const EACH: usize = 64 << 20;
    let program = Program::new();
    let (daemon, stage) = start(&program).await;
    assert_serves(&daemon, 1).await;
    let (address, before) = (daemon.address, peak(&daemon));
    // What is asked comes back whole.
    let request = json!({ "method": "getblockcount", "id": "x".repeat(MAX_BODY / 2) }).to_string();
    let request = daemon.with_body(request.as_bytes());
    let sent = Arc::new(AtomicUsize::new(0));
    let mut deaf = JoinSet::new();
    for _ in 0..10 {
        let (request, sent) = (request.clone(), Arc::clone(&sent));
        deaf.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            for _ in 0..EACH / request.len() {
                if stream.write_all(&request).await.is_err() {
                    break;
                }
                sent.fetch_add(request.len(), Ordering::Relaxed);
            }
            // Stays, and still reads nothing.
            std::future::pending::<()>().await;
        });
    }
    let mut last = (0, 0);
    until("they can send no more", || {
        let now = sent.load(Ordering::Relaxed);
        last = if now == last.0 { (now, last.1 + 1) } else { (now, 0) };
        let stuck = now > 0 && last.1 >= 20;
        async move { stuck.then_some(()) }
    })
    .await;
    assert_serves(&daemon, 3).await;
    let (sent, grown) = (sent.load(Ordering::Relaxed), peak(&daemon) - before);
    assert!(sent < 10 * EACH / 2, "{sent} bytes were taken");
    assert!(grown < GROWTH, "grew by {grown} bytes");
    drop(deaf);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn ten_who_guess_the_password_delay_nobody() {
    let program = Program::new();
    let (daemon, stage) = start(&program).await;
    let wrong = "Connection: close\r\nAuthorization: Basic X19jb29raWVfXzp3cm9uZw==\r\nContent-Length: 0\r\n\r\n";
    let wrong = format!("POST / HTTP/1.1\r\nHost: localhost\r\n{wrong}");
    let mut served_first = false;
    // The machine may be slow at times, but not always.
    for _ in 0..20 {
        let mut guesses = JoinSet::new();
        for _ in 0..10 {
            guesses.spawn(send(daemon.address, wrong.clone()));
        }
        // They are in, and a quarter of a second from their answers.
        sleep(Duration::from_millis(100)).await;
        assert!(daemon.call("uptime", json!([])).await.is_ok());
        served_first = guesses.try_join_next().is_none();
        for refused in guesses.join_all().await {
            assert_eq!((refused.status, refused.body.as_str()), (401, ""), "{refused:?}");
        }
        if served_first {
            break;
        }
    }
    assert!(served_first, "they were always answered first");
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn requests_that_claim_to_be_for_somebody_else() {
    let program = Program::new();
    let (daemon, stage) = start(&program).await;
    let ours = daemon.address.to_string();
    let body = json!({ "method": "stop", "id": 1 }).to_string();
    let ask = async |line: &str, headers: &str, authorization: &str| {
        let request = format!(
            "{line}\r\n{headers}{authorization}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        send(daemon.address, request).await
    };
    let host = format!("Host: {ours}\r\n");
    for (line, headers, status) in [
        // The target's own host counts, and so does the header beside it.
        ("POST http://evil.example/ HTTP/1.1", host.clone(), 403),
        (
            &format!("POST http://{ours}/ HTTP/1.1"),
            "Host: evil.example\r\n".to_owned(),
            403,
        ),
        (&format!("POST http://{ours}@evil.example/ HTTP/1.1"), host.clone(), 403),
        (&format!("POST http://evil.example@{ours}/ HTTP/1.1"), host.clone(), 403),
        ("POST https://evil.example:443/ HTTP/1.1", String::new(), 403),
        ("CONNECT evil.example:443 HTTP/1.1", host.clone(), 403),
        (&format!("CONNECT {ours} HTTP/1.1"), host.clone(), 405),
        ("OPTIONS * HTTP/1.1", host.clone(), 405),
        ("POST * HTTP/1.1", host.clone(), 404),
        ("POST // HTTP/1.1", host.clone(), 404),
        ("POST /../ HTTP/1.1", host.clone(), 404),
        ("POST /%2F HTTP/1.1", host.clone(), 404),
        // Names of ours that are none, and two names at once.
        ("POST / HTTP/1.1", "Host: \r\n".to_owned(), 403),
        ("POST / HTTP/1.1", "Host: localhost.\r\n".to_owned(), 403),
        ("POST / HTTP/1.1", "Host: localhost.evil.example\r\n".to_owned(), 403),
        ("POST / HTTP/1.1", "Host: 0.0.0.0\r\n".to_owned(), 403),
        ("POST / HTTP/1.1", "Host: 2130706433\r\n".to_owned(), 403),
        ("POST / HTTP/1.1", format!("Host: evil.example, {ours}\r\n"), 403),
        (
            "POST / HTTP/1.1",
            format!("Host: {ours}\r\nHost: evil.example\r\n"),
            403,
        ),
        ("POST / HTTP/1.1", format!("{host}{host}"), 403),
        // Pages, whatever they are called.
        ("POST / HTTP/1.1", format!("{host}Origin: http://{ours}\r\n"), 403),
        ("POST / HTTP/1.1", format!("{host}Origin: null\r\n"), 403),
        ("POST / HTTP/1.1", format!("{host}Origin:\r\n"), 403),
        (
            "OPTIONS / HTTP/1.1",
            format!("{host}Origin: http://evil.example\r\n"),
            403,
        ),
    ] {
        let reply = ask(line, &headers, "").await;
        assert_eq!(reply.status, status, "{line} {headers}");
        assert_eq!(reply.body.is_empty(), status != 403, "{line} {headers} {}", reply.body);
        assert!(!reply.head.contains("access-control"), "{line} {headers}");
        // A page, and what is no sound request, gets nothing with the password either.
        let is_unsound = headers.contains("Origin") || headers.matches("Host:").count() > 1;
        if status != 403 || is_unsound {
            let reply = ask(line, &headers, &daemon.authorization()).await;
            assert_eq!(reply.status, status, "{line} {headers}");
        }
    }
    // None of them has stopped it. Those that may come in other clothes as well.
    let count = json!({ "method": "getblockcount", "id": 1 }).to_string();
    for (line, headers) in [
        // Who knows the password may call it by any name.
        ("POST / HTTP/1.1".to_owned(), "Host: isonym\r\n".to_owned()),
        ("POST / HTTP/1.1".to_owned(), "Host: evil.example\r\n".to_owned()),
        (format!("POST http://{ours}/ HTTP/1.1"), host.clone()),
        ("POST / HTTP/1.0".to_owned(), String::new()),
        (
            "POST /?wallet=x HTTP/1.1".to_owned(),
            "Host: LOCALHOST:1\r\n".to_owned(),
        ),
        (
            "POST /wallet/x HTTP/1.1".to_owned(),
            "Host: [::1]\r\nX-Forwarded-Host: evil.example\r\n".to_owned(),
        ),
    ] {
        let length = count.len();
        let authorization = daemon.authorization();
        let close = format!("Connection: close\r\nContent-Length: {length}\r\n\r\n{count}");
        let reply = send(daemon.address, format!("{line}\r\n{headers}{authorization}{close}")).await;
        assert_eq!(reply.status, 200, "{line} {headers}");
    }
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn more_connections_than_there_is_room_for() {
    /// As `server::Limits` has it.
    const ROOM: usize = 1024;
    // Each connection is an open file, here and there; shells and services commonly allow 1024. The daemon helps itself.
    let mut allow = Command::new("prlimit");
    allow.args(["--pid", &std::process::id().to_string(), "--nofile=8192:"]);
    end_of(allow).await.assert_succeeded();
    let program = Program::new();
    let (daemon, stage) = start(&program).await;
    // They have said nothing yet, and one of them the half of what it wants.
    let mut idle = Vec::new();
    for number in 0..1100 {
        let mut stream = TcpStream::connect(daemon.address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"POST / HTTP/1.1\r\nHost: ").await.unwrap();
        }
        idle.push(stream);
    }
    // Whoever asks is let in and answered, in the place of who has said nothing for longest.
    for _ in 0..20 {
        let reply = daemon.ask(&json!({ "method": "uptime", "id": 1 })).await;
        assert_eq!(reply.status, 200);
        // One more than there are places for, and those who are being seen off.
        until("no more are inside", async || {
            (let_in(&daemon) <= ROOM + 24).then_some(())
        })
        .await;
    }
    let ended = async |stream: &mut TcpStream| {
        let mut byte = [0];
        matches!(stream.read(&mut byte).await, Ok(0) | Err(_))
    };
    assert!(timeout(PATIENCE, ended(&mut idle[0])).await.unwrap(), "it had to go");
    assert_serves(&daemon, 1).await;
    drop(idle);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn bytes_that_are_no_http() {
    let program = Program::new();
    let (daemon, stage) = start(&program).await;
    let head = daemon.head();
    let mut requests: Vec<Vec<u8>> = [
        // Other protocols: HTTP/2, SOCKS5, Electrum; and below, TLS.
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x05\x01\0",
        "{\"id\":0,\"method\":\"server.version\",\"params\":[]}\n",
        "",
        "\r\n",
        "\0",
        "POST",
        "POST / HTTP/9.9\r\n\r\n",
        "POST / HTTP/1.1\r\nHost localhost\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: local\0host\r\n\r\n",
        "POST\t/\tHTTP/1.1\r\n\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    requests.push(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec());
    for framing in [
        "Content-Length: -1",
        "Content-Length: 1e3",
        "Content-Length: 99999999999999999999999",
        "Content-Length: 2\r\nContent-Length: 3",
        "Transfer-Encoding: chunked\r\n\r\nx",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n[]",
        "Transfer-Encoding: chunked\r\n\r\n-2\r\n[]\r\n0\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\r\n[]0\r\n",
        "Transfer-Encoding: chunked, gzip\r\n\r\n2\r\n[]\r\n0\r\n",
        " folded: header",
    ] {
        requests.push(format!("{head}{framing}\r\n\r\n[]").into_bytes());
    }
    // Everything in the bytes' own order, from each start.
    requests.extend((0..=255).map(|first| (first..=255).chain(0..=255).collect()));
    for request in requests {
        let shown = String::from_utf8_lossy(&request).into_owned();
        let mut stream = TcpStream::connect(daemon.address).await.unwrap();
        let _ = stream.write_all(&request).await;
        // Who says no more would be waited for otherwise.
        let _ = stream.shutdown().await;
        let mut reply = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut reply)).await.unwrap();
        let reply = String::from_utf8(reply).unwrap();
        let refused = reply.starts_with("HTTP/1.1 4") || reply.is_empty();
        assert!(refused, "{shown:?}: {reply}");
    }
    assert_serves(&daemon, 1).await;
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

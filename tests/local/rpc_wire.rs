//! JSON-RPC on the wire: the bytes that Core's and Electrum's clients send, and what hostile callers try.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use isonym::isolation::IsolationId;
use isonym::jsonrpc::client::{Client, ClientError, ClientSettings, Dialect, Login};
use isonym::jsonrpc::{Credentials, RpcError, code};
use isonym::name::NameId;
use isonym::rpc::server::Limits;
use isonym::rpc::{
    Call, CallResult, Callee, Defaults, Guard, MAX_BODY, Style, name_filter, name_scan, name_show, serve, write_result,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// `Basic` and base64 of `user:password`.
const AUTHORIZATION: &str = "Basic dXNlcjpwYXNzd29yZA==";

fn credentials() -> Credentials {
    Credentials::new("user", "password").unwrap()
}

/// The length of a reply that is written as it is read.
const LONG: usize = 12 << 20;

/// Tells how `name_show` was understood; knows no name but `d/x`.
struct Scripted;

impl Callee for Scripted {
    async fn call(&self, call: Call) -> CallResult {
        scripted(call).await
    }
}

async fn scripted(call: Call) -> CallResult {
    match call.method.as_str() {
        "name_show" => {
            let args = name_show(call.params, Defaults::default())?;
            if args.question.name.as_bytes() != b"d/x" {
                return Err(RpcError::new(code::NAME, "name never existed: 'd/y'"));
            }
            let id = args.question.isolation_id.unwrap_or_default();
            write_result(&json!({
                "name": args.encodings.name.encode(b"d/x").unwrap(),
                "name_encoding": args.encodings.name.as_str(),
                "value": args.encodings.value.encode(b"v").unwrap(),
                "value_encoding": args.encodings.value.as_str(),
                "txid": "11".repeat(32),
                "vout": 0,
                "address": "<nonstandard>",
                "height": 7,
                "expires_in": 9,
                "expired": false,
                "id": String::from_utf8_lossy(id.as_bytes()),
                "electrum": args.style == Style::Electrum,
            }))
        }
        "name_scan" => write_result(&name_scan(call.params, Defaults::default())?.wanted.most),
        "name_filter" => write_result(&name_filter(call.params, Defaults::default())?.wanted.most),
        "proved absent" => Err(RpcError::new(code::NAME, "none").with_data(json!({
            "absence": "proved",
            "source": "local",
            "read_from": 5,
        }))),
        "getblockcount" => write_result(&7),
        "wait" => std::future::pending().await,
        // More than any system keeps of what nobody reads.
        "long" => write_result(&"x".repeat(LONG)),
        _ => Err(RpcError::new(code::METHOD_NOT_FOUND, "Method not found")),
    }
}

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let guard = Guard::new([&credentials()]);
        let stopped = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve(listener, guard, limits, Scripted, stopped));
        Self { address, stop, task }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }

    /// Sends bytes and reads to the end of the connection.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may refuse and close before all is sent.
        let _ = stream.write_all(request).await;
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply).await;
        String::from_utf8(reply).unwrap()
    }

    /// Posts as curl does, but for `headers`, and returns status and body.
    async fn post_with(&self, headers: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let request =
            format!("POST / HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}");
        split(&self.raw(request.as_bytes()).await)
    }

    async fn post(&self, body: &str) -> (u16, String) {
        let headers = format!(
            "Host: {}\r\nAuthorization: {AUTHORIZATION}\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\nContent-Type: text/plain\r\n",
            self.address
        );
        self.post_with(&headers, body).await
    }

    fn client(&self, login: Login, dialect: Dialect, timeout: Duration) -> Client {
        let url = format!("http://{}", self.address);
        Client::new(ClientSettings {
            url,
            login,
            dialect,
            timeout,
        })
        .unwrap()
    }
}

fn split(reply: &str) -> (u16, String) {
    let (head, body) = reply
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no reply: {reply:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

fn result(body: &str) -> Value {
    serde_json::from_str::<Value>(body).unwrap()["result"].clone()
}

#[tokio::test]
async fn what_btcds_client_sends() {
    let server = Server::start(Limits::default()).await;
    for (params, id) in [
        (r#"["d/x"]"#, ""),
        (r#"["d/x",{"streamID":"example.com"}]"#, "example.com"),
        (
            r#"["642f78",{"nameEncoding":"hex","valueEncoding":"hex","streamID":"s"}]"#,
            "s",
        ),
    ] {
        let body = format!(r#"{{"jsonrpc":"1.0","method":"name_show","params":{params},"id":1}}"#);
        let headers = format!(
            "Host: 127.0.0.1:{}\r\nUser-Agent: Go-http-client/1.1\r\nAuthorization: {AUTHORIZATION}\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n",
            server.address.port()
        );
        let (status, reply) = server.post_with(&headers, &body).await;
        assert_eq!((status, &result(&reply)["id"]), (200, &json!(id)), "{reply}");
        assert!(reply.ends_with("},\"error\":null,\"id\":1}\n"), "{reply}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_electrums_clients_send() {
    let server = Server::start(Limits::default()).await;
    for params in [
        r#"["d/x","ascii","ascii","s"]"#,
        r#"{"identifier":"d/x","stream_id":"s"}"#,
        r#"{"identifier":"d/x","options":{"streamID":"s"}}"#,
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":"curltext","method":"name_show","params":{params}}}"#);
        let (status, reply) = server.post(&body).await;
        assert_eq!((status, &result(&reply)["id"]), (200, &json!("s")), "{reply}");
        assert_eq!(result(&reply)["electrum"], json!(true));
        assert!(reply.starts_with(r#"{"jsonrpc":"2.0","result":{"#) && reply.ends_with("},\"id\":\"curltext\"}\n"));
    }
    server.stop().await;
}

#[tokio::test]
async fn statuses_and_shapes_are_cores() {
    let server = Server::start(Limits::default()).await;
    for (body, status, reply) in [
        (
            r#"{"method":"getblockcount","id":"a"}"#,
            200,
            "{\"result\":7,\"error\":null,\"id\":\"a\"}\n",
        ),
        (
            r#"{"method":"name_show","params":["d/y"],"id":1}"#,
            500,
            "{\"result\":null,\"error\":{\"code\":-4,\"message\":\"name never existed: 'd/y'\"},\"id\":1}\n",
        ),
        (
            r#"{"jsonrpc":"2.0","method":"name_show","params":["d/y"],"id":1}"#,
            200,
            "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-4,\"message\":\"name never existed: 'd/y'\"},\"id\":1}\n",
        ),
        (
            r#"{"method":"foo","id":1}"#,
            404,
            "{\"result\":null,\"error\":{\"code\":-32601,\"message\":\"Method not found\"},\"id\":1}\n",
        ),
        (
            r#"{"id":1}"#,
            400,
            "{\"result\":null,\"error\":{\"code\":-32600,\"message\":\"Missing method\"},\"id\":1}\n",
        ),
        (
            "{",
            500,
            "{\"result\":null,\"error\":{\"code\":-32700,\"message\":\"Parse error\"},\"id\":null}\n",
        ),
        (r#"{"jsonrpc":"2.0","method":"getblockcount"}"#, 204, ""),
        ("[]", 200, "[]\n"),
        (
            r#"[{"method":"getblockcount","id":1},{"jsonrpc":"2.0","method":"getblockcount","id":2}]"#,
            200,
            "[{\"result\":7,\"error\":null,\"id\":1},{\"jsonrpc\":\"2.0\",\"result\":7,\"id\":2}]\n",
        ),
    ] {
        assert_eq!(server.post(body).await, (status, reply.to_owned()), "{body}");
    }
    let ours = format!("Host: localhost\r\nAuthorization: {AUTHORIZATION}\r\nConnection: close\r\n\r\n");
    let only_post = "JSONRPC server handles only POST requests";
    for (line, status, text) in [
        ("GET / HTTP/1.1", 405, only_post),
        ("PUT / HTTP/1.1", 405, only_post),
        ("DELETE / HTTP/1.1", 405, ""),
        ("OPTIONS / HTTP/1.1", 405, ""),
        ("POST /other HTTP/1.1", 404, ""),
        ("POST /wallet HTTP/1.1", 404, ""),
        (
            "POST /wallet/ HTTP/1.1",
            500,
            "{\"result\":null,\"error\":{\"code\":-32700,\"message\":\"Parse error\"},\"id\":null}\n",
        ),
    ] {
        let reply = server.raw(format!("{line}\r\n{ours}").as_bytes()).await;
        assert_eq!(split(&reply), (status, text.to_owned()), "{line}");
    }
    server.stop().await;
}

#[tokio::test]
async fn only_those_with_the_password_are_let_in() {
    let server = Server::start(Limits::default()).await;
    for authorization in [
        "",
        "Authorization: Bearer x\r\n",
        "Authorization: Basic d3Jvbmc6b25l\r\n",
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\n{authorization}Connection: close\r\nContent-Length: 2\r\n\r\n[]"
        );
        let reply = server.raw(request.as_bytes()).await;
        assert!(
            reply
                .to_lowercase()
                .contains("www-authenticate: basic realm=\"jsonrpc\"\r\n"),
            "{reply}"
        );
        assert_eq!(split(&reply), (401, String::new()));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_answered_late() {
    let limits = Limits {
        wrong_password_pause: Duration::from_secs(3600),
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    // The wrong one gets no answer for an hour, one after it gets it now.
    let wrong = server.post_with("Host: localhost\r\nAuthorization: Basic d3Jvbmc6b25l\r\n", "[]");
    let right = server.post("[]");
    tokio::select! {
        biased;
        reply = wrong => panic!("answered at once: {reply:?}"),
        reply = right => assert_eq!(reply, (200, "[]\n".to_owned())),
    }
    server.stop.send(()).unwrap();
    assert_eq!(Limits::default().wrong_password_pause, Duration::from_millis(250));
}

#[tokio::test]
async fn web_sites_are_kept_out() {
    let server = Server::start(Limits::default()).await;
    let auth = format!("Authorization: {AUTHORIZATION}\r\n");
    for (headers, with_password) in [
        ("Host: evil.example\r\n", 200),
        ("Host: evil.example:8336\r\n", 200),
        ("Host: 192.0.2.1\r\n", 200),
        ("Host: localhost\r\nHost: evil.example\r\n", 403),
        ("Host: localhost\r\nOrigin: http://evil.example\r\n", 403),
        ("Host: localhost\r\nOrigin: null\r\n", 403),
    ] {
        for (auth, expected) in [("", 403), (auth.as_str(), with_password)] {
            let (status, body) = server.post_with(&format!("{headers}{auth}"), "[]").await;
            assert_eq!(status, expected, "{headers}{auth}");
            assert!(!body.is_empty(), "it says why: {headers}");
        }
    }
    let absolute = "POST http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(split(&server.raw(absolute.as_bytes()).await).0, 403);
    server.stop().await;
}

#[tokio::test]
async fn what_is_too_much_is_refused() {
    let server = Server::start(Limits::default()).await;
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {AUTHORIZATION}\r\n");
    let announced = format!("{head}Content-Length: 1000000000\r\n\r\n");
    assert_eq!(split(&server.raw(announced.as_bytes()).await).0, 413);
    let chunk = format!("{:x}\r\n{}\r\n", MAX_BODY, " ".repeat(MAX_BODY));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}1\r\n \r\n");
    assert_eq!(split(&server.raw(chunked.as_bytes()).await).0, 413);
    let large_head = format!("{head}X: {}\r\n\r\n", "x".repeat(100_000));
    assert!(!server.raw(large_head.as_bytes()).await.contains(" 200 "));
    let batch = format!("[{}]", vec!["1"; 100_000].join(","));
    assert_eq!(server.post(&batch).await.0, 400);
    let deep = "[".repeat(500_000);
    assert_eq!(server.post(&deep).await.0, 500);
    assert_eq!(
        server
            .post(&format!("{{\"method\":\"getblockcount\",\"params\":{deep}"))
            .await
            .0,
        500
    );
    assert_eq!(server.post(r#"{"method":"getblockcount"}"#).await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn slow_callers_lose_their_connection_and_keep_nobody_out() {
    let short = Duration::from_millis(200);
    let limits = Limits {
        connections: 2,
        header_timeout: short,
        body_timeout: short,
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    let mut slow = Vec::new();
    for start in ["", "POST / HTTP/1.1\r\nHost: loc", "POST / HTTP/1.1\r\n", ""] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    // All places are taken: this one is served once they are given up.
    assert_eq!(server.post(r#"{"method":"getblockcount"}"#).await.0, 200);
    let body =
        format!("POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {AUTHORIZATION}\r\nContent-Length: 9\r\n\r\n[");
    assert_eq!(split(&server.raw(body.as_bytes()).await).0, 408);
    server.stop().await;
}

#[tokio::test]
async fn who_reads_slowly_has_the_whole_reply_though_it_is_crowded() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    let body = r#"{"method":"long"}"#;
    let long = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {AUTHORIZATION}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(long.as_bytes()).await.unwrap();
    let mut reply = vec![0; 1 << 10];
    slow.read_exact(&mut reply).await.unwrap();
    // Each of them takes the place of whoever is silent for longest.
    for _ in 0..8 {
        assert_eq!(server.post(r#"{"method":"getblockcount"}"#).await.0, 200);
        let silent = TcpStream::connect(server.address).await.unwrap();
        assert_eq!(server.post(r#"{"method":"getblockcount"}"#).await.0, 200);
        drop(silent);
    }
    slow.read_to_end(&mut reply).await.unwrap();
    assert!(reply.len() > LONG, "{}", reply.len());
    server.stop().await;
}

#[tokio::test]
async fn too_many_requests_at_once_are_refused() {
    let limits = Limits {
        requests: 1,
        stop_grace: Duration::from_millis(10),
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    let body = r#"{"method":"wait"}"#;
    let wait = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {AUTHORIZATION}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut waiting = TcpStream::connect(server.address).await.unwrap();
    waiting.write_all(wait.as_bytes()).await.unwrap();
    // The one that waits may still be on its way.
    let mut last = (200, String::new());
    for _ in 0..1000 {
        last = server.post(r#"{"method":"getblockcount"}"#).await;
        if last.0 != 200 {
            break;
        }
    }
    assert_eq!(last, (503, "Work queue depth exceeded".to_owned()));
    // A server that stops does not wait for what never ends.
    server.stop().await;
}

#[tokio::test]
async fn one_connection_carries_calls_of_many_ids() {
    let server = Server::start(Limits::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for id in ["a", "b", ""] {
        let body = format!(r#"{{"method":"name_show","params":["d/x",{{"streamID":"{id}"}}]}}"#);
        let request = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {AUTHORIZATION}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        while !reply.ends_with("}\n") {
            let mut part = [0; 4096];
            let length = stream.read(&mut part).await.unwrap();
            assert!(length > 0, "closed after {reply:?}");
            reply.push_str(std::str::from_utf8(&part[..length]).unwrap());
        }
        assert_eq!(result(&split(&reply).1)["id"], json!(id));
    }
    server.stop().await;
}

#[tokio::test]
async fn our_client_speaks_both_dialects() {
    let server = Server::start(Limits::default()).await;
    let (name, absent) = (NameId::new(b"d/x").unwrap(), NameId::new(b"d/y").unwrap());
    let id = IsolationId::new(b"\xff").unwrap();
    for dialect in [Dialect::Core, Dialect::Electrum] {
        let client = server.client(Login::Password(credentials()), dialect, Duration::from_secs(20));
        let record = client.name_show(&name, Some(&id), 1).await.unwrap();
        assert_eq!((record.value.as_bytes(), record.expired), (&b"v"[..], false));
        assert!(client.name_show(&absent, None, 1).await.unwrap_err().is_absent_name());
        assert_eq!(client.call::<u32>("getblockcount", &json!([])).await.unwrap(), 7);
        let error = client.call::<Value>("foo", &json!([])).await.unwrap_err();
        assert!(matches!(error, ClientError::Rpc(error) if error.code == -32601));
        let error = client.call::<String>("getblockcount", &json!([])).await.unwrap_err();
        assert!(matches!(error, ClientError::Malformed { .. }));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cookie");
    let client = server.client(Login::Cookie(path.clone()), Dialect::Core, Duration::from_secs(20));
    let call = || client.call::<u32>("getblockcount", &Value::Null);
    assert!(matches!(call().await, Err(ClientError::Cookie { .. })));
    std::fs::write(&path, "user:password").unwrap();
    assert_eq!(call().await.unwrap(), 7);
    std::fs::write(&path, "user:other").unwrap();
    assert!(matches!(call().await, Err(ClientError::Refused { status: 401 })));
    let short = server.client(Login::Password(credentials()), Dialect::Core, Duration::from_millis(50));
    assert!(matches!(
        short.call::<Value>("wait", &Value::Null).await,
        Err(ClientError::Timeout(_))
    ));
    server.stop().await;
}

/// Answers one connection with these bytes, whatever it says.
async fn canned(reply: String) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(reply.as_bytes()).await;
        let _ = stream.shutdown().await;
    });
    address
}

#[tokio::test]
async fn our_client_reads_what_others_answer() {
    for (status, body, expected) in [
        // Core with an error outside version 2.0, and Core in warm-up.
        (
            "500 Internal Server Error",
            r#"{"result":null,"error":{"code":-4,"message":"x"},"id":1}"#,
            "x (code -4)",
        ),
        // Electrum-NMC: any defect, and wrong credentials.
        (
            "500 Internal Server Error",
            "Invalid Request",
            "HTTP status 500 without a reply",
        ),
        (
            "403 Forbidden",
            "Forbidden",
            "the server refused the credentials (HTTP status 403)",
        ),
        (
            "200 OK",
            r#"{"id":1,"jsonrpc":"2.0","error":{"code":1,"message":"y"}}"#,
            "y (code 1)",
        ),
        (
            "503 Service Unavailable",
            "Work queue depth exceeded",
            "HTTP status 503 without a reply",
        ),
    ] {
        let length = body.len();
        let reply = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        let settings = ClientSettings {
            url: format!("http://{}", canned(reply).await),
            login: Login::None,
            dialect: Dialect::Core,
            timeout: Duration::from_secs(20),
        };
        let error = Client::new(settings)
            .unwrap()
            .call::<Value>("a", &json!([]))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn lists_of_names_are_refused_in_cores_words() {
    let server = Server::start(Limits::default()).await;
    for (params, code, message) in [
        (r#"["",7,{"minConf":0}]"#, -8, "minConf must be >= 1"),
        (r#"["",7,{"maxConf":-1}]"#, -8, "maxConf must not be negative"),
        (
            r#"["",10001]"#,
            -8,
            "count must not be above 10000: ask for the next names from the last one on",
        ),
        (
            r#"["",7,{"minConf":"1"}]"#,
            -3,
            "JSON value of type string for field minConf is not of expected type number",
        ),
        (
            r#"["",7,null]"#,
            -3,
            "JSON value of type null is not of expected type object",
        ),
        (r#"["\u00e9"]"#, -1000, "Name/value is invalid for encoding ascii"),
    ] {
        let (status, body) = server
            .post(&format!(r#"{{"method":"name_scan","params":{params},"id":1}}"#))
            .await;
        let expected = format!(r#"{{"result":null,"error":{{"code":{code},"message":"{message}"}},"id":1}}"#);
        assert_eq!((status, body.trim_end()), (500, &*expected), "{params}");
    }
    // What ncrpcclient sends.
    let (status, body) = server
        .post(r#"{"jsonrpc":"1.0","method":"name_scan","params":["d/",1000],"id":1}"#)
        .await;
    assert_eq!((status, &*body), (200, "{\"result\":1000,\"error\":null,\"id\":1}\n"));
    let (status, body) = server
        .post(r#"{"method":"name_filter","params":["^d/",0,0,0,"all"],"id":1}"#)
        .await;
    let message = "fifth argument must be the literal string 'stat'";
    let expected = format!(r#"{{"result":null,"error":{{"code":-8,"message":"{message}"}},"id":1}}"#);
    assert_eq!((status, body.trim_end()), (500, &*expected));
    server.stop().await;
}

#[tokio::test]
async fn errors_may_say_more_to_programs() {
    let server = Server::start(Limits::default()).await;
    let (status, body) = server.post(r#"{"method":"proved absent","id":1}"#).await;
    let error = r#"{"code":-4,"message":"none","data":{"absence":"proved","source":"local","read_from":5}}"#;
    let expected = format!("{{\"result\":null,\"error\":{error},\"id\":1}}\n");
    assert_eq!((status, body), (500, expected));
    let client = Client::new(ClientSettings {
        url: format!("http://{}", server.address),
        login: Login::Password(credentials()),
        dialect: Dialect::Core,
        timeout: Duration::from_secs(60),
    });
    let called = client.unwrap().call::<Value>("proved absent", &json!([])).await;
    let Err(ClientError::Rpc(error)) = called else {
        panic!("{called:?}")
    };
    assert!(error.code == code::NAME && error.data.unwrap()["read_from"] == 5);
    server.stop().await;
}

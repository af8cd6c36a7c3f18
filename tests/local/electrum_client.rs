//! The Electrum client over loopback sockets: what it does with servers and proxies that misbehave.

use std::time::Duration;

use bitcoin::hex::DisplayHex;
use isonym::chain::Network;
use isonym::electrum::exchange::{MAX_OPEN, Overdue};
use isonym::electrum::framing::LOOKUP_LINE;
use isonym::electrum::{
    AnswerError, ElectrumReply, ElectrumRequest, ProtocolVersion, ServerErrorKind, VersionRange, Violation,
};
use isonym::line::LineTooLong;
use isonym::name::{NameId, ScriptHash};
use isonym::net::{Connection, ConnectionError, ConnectionLimits, Dialer, Identity, Proxy, Purpose, ServerAddr};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// Waits that a test would rather not reach.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

const LIMITS: ConnectionLimits = ConnectionLimits {
    dial: LONG,
    handshake: LONG,
};

/// What the scripted server does with one request.
enum Act {
    /// Sends these bytes.
    Say(Vec<u8>),
    /// Sends nothing.
    Ignore,
    /// Closes.
    Close,
}

fn say(value: &Value) -> Act {
    Act::Say(format!("{value}\n").into_bytes())
}

/// Answers as an honest regtest server with nothing but the genesis block would.
fn honest(request: &Value) -> Act {
    let genesis = Network::Regtest.params().genesis;
    let header = genesis.as_bytes().as_hex().to_string();
    let result = match request["method"].as_str().unwrap() {
        "server.version" => json!(["Test 1", "1.4.2"]),
        "server.features" => json!({"genesis_hash": genesis.hash().to_string(), "hosts": {}}),
        "blockchain.headers.subscribe" => json!({"hex": header, "height": 0}),
        "blockchain.block.headers" => json!({"hex": header, "count": 1, "max": 2016}),
        "blockchain.scripthash.get_history" => json!([]),
        "server.ping" => Value::Null,
        method => panic!("unexpected {method}"),
    };
    say(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
}

/// Answers honestly up to a history request, and as `act` says from then on.
fn on_history(act: impl Fn(&Value) -> Act + Send + 'static) -> impl FnMut(&Value) -> Act + Send + 'static {
    let mut asked = false;
    move |request| {
        asked |= request["method"] == "blockchain.scripthash.get_history";
        if asked { act(request) } else { honest(request) }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, mut act: impl FnMut(&Value) -> Act) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        match act(&serde_json::from_str(&line).unwrap()) {
            Act::Say(bytes) => {
                if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
            Act::Ignore => {}
            Act::Close => return,
        }
        line.clear();
    }
}

/// Serves one plain TCP connection.
async fn server(act: impl FnMut(&Value) -> Act + Send + 'static) -> ServerAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("{}:t", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { serve(listener.accept().await.unwrap().0, act).await });
    address
}

fn direct() -> Dialer {
    Dialer::new(Proxy::Direct).unwrap()
}

async fn open(server: &ServerAddr) -> Result<Connection, ConnectionError> {
    Connection::open(&direct(), server, None, Network::Regtest, Purpose::Lookup, LIMITS).await
}

fn history() -> Vec<ElectrumRequest> {
    vec![ElectrumRequest::History(
        NameId::new(b"d/example").unwrap().scripthash(),
    )]
}

/// What becomes of a lookup's call when the server does `act` with it.
async fn lookup(act: impl Fn(&Value) -> Act + Send + 'static) -> ConnectionError {
    let connection = open(&server(on_history(act)).await).await.unwrap();
    let error = connection.call(history(), LONG).await.unwrap_err();
    assert_eq!(connection.closed().await, error);
    assert_eq!(connection.end(), Some(error.clone()));
    error
}

#[tokio::test]
async fn a_connection_shakes_hands_and_answers() {
    let connection = open(&server(honest).await).await.unwrap();
    let version = connection.version().unwrap();
    assert_eq!(version.protocol, ProtocolVersion::V1_4_2);
    assert_eq!(version.software, "Test 1");
    assert_eq!(connection.identity(), Ok(Identity::Unproved));
    let answers = connection.call(history(), LONG).await.unwrap();
    assert_eq!(answers, [Ok(ElectrumReply::History(Vec::new()))]);
    assert_eq!(connection.tips().borrow().clone(), None);
}

#[tokio::test]
async fn a_lookup_sends_the_same_bytes_each_time() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
        let address = server(move |request| {
            sender.send(request.to_string()).unwrap();
            honest(request)
        });
        let connection = open(&address.await).await.unwrap();
        connection.call(history(), LONG).await.unwrap();
        drop(connection);
        let mut sent = Vec::new();
        while let Some(line) = lines.recv().await {
            sent.push(line);
        }
        seen.push(sent);
    }
    assert_eq!(seen[0], seen[1]);
    let methods: Vec<Value> = seen[0]
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["method"].take())
        .collect();
    assert_eq!(
        methods,
        [
            "server.version",
            "server.features",
            "blockchain.block.headers",
            "blockchain.scripthash.get_history",
            "blockchain.block.headers"
        ]
    );
    assert!(seen[0][0].contains(r#""id":0"#) && seen[0][0].contains(r#"["",["1.4","1.6"]]"#));
}

#[tokio::test]
async fn sync_subscribes_and_hears_of_tips() {
    let address = server(|request| {
        let Act::Say(mut bytes) = honest(request) else {
            unreachable!()
        };
        if request["method"] == "server.ping" {
            let header = "00".repeat(80);
            for height in 1..=3 {
                let tip = json!({"hex": header, "height": height});
                let note = json!({"jsonrpc": "2.0", "method": "blockchain.headers.subscribe", "params": [tip]});
                bytes.extend(format!("{note}\n").into_bytes());
            }
        }
        Act::Say(bytes)
    });
    let purpose = Purpose::Sync {
        versions: VersionRange::JOINED_HEADERS,
    };
    let connection = Connection::open(&direct(), &address.await, None, Network::Regtest, purpose, LIMITS)
        .await
        .unwrap();
    let mut tips = connection.tips();
    assert_eq!(tips.borrow().as_ref().map(|tip| tip.height), Some(0));
    assert_eq!(
        connection.call(vec![ElectrumRequest::Ping], LONG).await,
        Ok(vec![Ok(ElectrumReply::Pong)])
    );
    let tip = tips
        .wait_for(|tip| tip.as_ref().is_some_and(|tip| tip.height == 3))
        .await;
    assert_eq!(tip.unwrap().as_ref().unwrap().header, [0; 80]);
}

#[tokio::test]
async fn calls_do_not_mix_whatever_the_order_of_answers() {
    // Holds every history back and answers them in reverse with the third, as one batch.
    let mut held: Vec<String> = Vec::new();
    let address = server(move |request| {
        if request["method"] != "blockchain.scripthash.get_history" {
            return honest(request);
        }
        let error = json!({"code": 1, "message": request["id"].to_string()});
        held.push(json!({"jsonrpc": "2.0", "id": request["id"], "error": error}).to_string());
        if held.len() < 3 {
            return Act::Ignore;
        }
        held.reverse();
        Act::Say(format!("[{}]\n", held.join(",")).into_bytes())
    });
    let history = || ElectrumRequest::History(ScriptHash([7; 32]));
    let connection = open(&address.await).await.unwrap();
    let (one, two) = tokio::join!(
        connection.call(vec![history(), history()], LONG),
        connection.call(vec![history()], LONG),
    );
    let ids = |answers: Vec<Result<ElectrumReply, AnswerError>>| -> Vec<u64> {
        let id = |answer| match answer {
            Err(AnswerError::Server(error)) => error.message.parse().unwrap(),
            other => panic!("{other:?}"),
        };
        answers.into_iter().map(id).collect()
    };
    assert_eq!((ids(one.unwrap()), ids(two.unwrap())), (vec![3, 4], vec![6]));
}

#[tokio::test]
async fn lines_may_arrive_byte_by_byte() {
    let (near, far) = tokio::io::duplex(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("{}:t", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(serve(far, honest));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut near = near;
        tokio::io::copy_bidirectional(&mut stream, &mut near).await
    });
    let connection = open(&address).await.unwrap();
    assert!(connection.call(history(), LONG).await.is_ok());
}

#[tokio::test]
async fn a_silent_server_is_left() {
    let connection = open(&server(on_history(|_| Act::Ignore)).await).await.unwrap();
    let error = connection.call(history(), SHORT).await.unwrap_err();
    assert_eq!(error, ConnectionError::Overdue(Overdue));
    assert_eq!(connection.call(history(), LONG).await, Err(error));
}

#[tokio::test]
async fn a_server_that_is_silent_from_the_start_is_left() {
    let address = server(|_| Act::Ignore).await;
    let limits = ConnectionLimits {
        handshake: SHORT,
        ..LIMITS
    };
    let error = Connection::open(&direct(), &address, None, Network::Regtest, Purpose::Lookup, limits).await;
    assert_eq!(error.unwrap_err(), ConnectionError::Overdue(Overdue));
}

#[tokio::test]
async fn a_server_that_reads_nothing_is_left() {
    let mut far_end = None;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: ServerAddr = format!("{}:t", listener.local_addr().unwrap()).parse().unwrap();
    let (opened, ()) = tokio::join!(
        async {
            let limits = ConnectionLimits {
                handshake: SHORT,
                ..LIMITS
            };
            Connection::open(&direct(), &address, None, Network::Regtest, Purpose::Lookup, limits).await
        },
        async { far_end = listener.accept().await.ok() }
    );
    assert_eq!(opened.unwrap_err(), ConnectionError::Overdue(Overdue));
}

#[tokio::test]
async fn a_flood_without_a_newline_is_cut_off() {
    let error = lookup(|_| Act::Say(vec![b' '; LOOKUP_LINE + 1])).await;
    let limit = LOOKUP_LINE;
    assert_eq!(error, Violation::LineTooLong(LineTooLong { limit }).into());
}

#[tokio::test]
async fn a_flood_of_answers_is_cut_off() {
    let flood = |request: &Value| {
        let line = json!({"jsonrpc": "2.0", "id": request["id"], "result": []}).to_string() + "\n";
        Act::Say(line.repeat(100_000).into_bytes())
    };
    let connection = open(&server(on_history(flood)).await).await.unwrap();
    let _ = connection.call(history(), LONG).await;
    assert!(matches!(
        connection.closed().await,
        ConnectionError::Violation(Violation::AnsweredTwice { .. })
    ));
}

#[tokio::test]
async fn every_breach_of_the_protocol_ends_the_connection_with_its_name() {
    let deep = lookup(|_| Act::Say(("[".repeat(1 << 20) + "\n").into_bytes())).await;
    assert_eq!(deep, Violation::TooDeep.into());
    let wrong = lookup(|_| say(&json!({"jsonrpc": "2.0", "id": 77, "result": []}))).await;
    assert_eq!(wrong, Violation::NeverAsked { id: 77 }.into());
    let noise = lookup(|_| Act::Say(b"\x00\xff\n".to_vec())).await;
    assert_eq!(noise, Violation::Malformed.into());
    let note = json!({"jsonrpc": "2.0", "method": "blockchain.headers.subscribe", "params": []});
    assert_eq!(lookup(move |_| say(&note)).await, Violation::UnaskedNotification.into());
    assert_eq!(lookup(|_| Act::Close).await, ConnectionError::Closed);
}

#[tokio::test]
async fn a_server_of_another_network_is_refused() {
    let address = server(honest).await;
    let mainnet = Network::Mainnet;
    let error = Connection::open(&direct(), &address, None, mainnet, Purpose::Lookup, LIMITS).await;
    assert_eq!(
        error.unwrap_err(),
        ConnectionError::WrongNetwork {
            expected: mainnet.params().genesis.hash(),
            got: Network::Regtest.params().genesis.hash(),
        }
    );
}

#[tokio::test]
async fn a_refused_version_is_reported_as_such() {
    let address = server(|request| {
        let error = json!({"code": 1, "message": "unsupported protocol version: 1.4"});
        say(&json!({"jsonrpc": "2.0", "id": request["id"], "error": error}))
    });
    match open(&address.await).await.unwrap_err() {
        ConnectionError::Handshake(AnswerError::Server(error)) => {
            assert_eq!(error.kind(), ServerErrorKind::UnsupportedVersion);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn plain_tcp_to_a_tls_port_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: ServerAddr = format!("{}:t", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        // The alert of a TLS server that got no ClientHello, then the same without one.
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[0x15, 3, 1, 0, 2, 2, 10]).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 100]).await;
    });
    let error = open(&address).await.unwrap_err();
    assert_eq!(error, ConnectionError::SpeaksTls);
    let error = open(&address).await.unwrap_err();
    assert_eq!(error, ConnectionError::ClosedAtOnce { plain: true });
    assert!(error.to_string().contains("HOST:PORT:s"));
}

#[tokio::test]
async fn dropping_a_connection_closes_it_at_once() {
    let (sender, closed) = tokio::sync::oneshot::channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("{}:t", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        serve(listener.accept().await.unwrap().0, on_history(|_| Act::Ignore)).await;
        sender.send(()).unwrap();
    });
    let connection = open(&address).await.unwrap();
    // A call that is given up leaves the connection as it is.
    let given_up = tokio::time::timeout(SHORT, connection.call(history(), LONG)).await;
    assert!(given_up.is_err());
    assert_eq!(connection.end(), None);
    drop(connection);
    tokio::time::timeout(LONG, closed).await.unwrap().unwrap();
}

#[tokio::test]
async fn too_many_requests_are_refused_and_the_connection_lives() {
    let connection = open(&server(honest).await).await.unwrap();
    let error = connection.call(vec![ElectrumRequest::Ping; MAX_OPEN + 1], LONG).await;
    assert!(matches!(error, Err(ConnectionError::TooManyOpen(_))));
    assert_eq!(connection.call(Vec::new(), LONG).await, Ok(Vec::new()));
    assert!(connection.call(history(), LONG).await.is_ok());
}

// The server holds small replies back as ElectrumX does from 1.18 on: until 1 KiB waits.
#[tokio::test]
async fn small_replies_that_a_server_holds_back_come_with_the_companion() {
    let mut held = Vec::new();
    let mut slow: Option<Vec<u8>> = None;
    let address = server(move |request| {
        let Act::Say(bytes) = honest(request) else {
            unreachable!()
        };
        match request["method"].as_str().unwrap() {
            "server.version" => return Act::Say(bytes),
            // Not ready before the first companion has been answered.
            "blockchain.scripthash.get_history" => slow = Some(bytes),
            "blockchain.block.headers" => {
                held.extend(bytes);
                held.splice(held.len() - 1..held.len() - 1, vec![b' '; 1024]);
                let out = std::mem::take(&mut held);
                held.extend(slow.take().unwrap_or_default());
                return Act::Say(out);
            }
            _ => held.extend(bytes),
        }
        Act::Ignore
    });
    let connection = open(&address.await).await.unwrap();
    let answers = connection.call(history(), LONG).await.unwrap();
    assert_eq!(answers, [Ok(ElectrumReply::History(Vec::new()))]);
}

/// Who owes no answer could fill the memory otherwise, over all connections that rest.
#[tokio::test]
async fn a_line_that_nobody_asked_for_stays_short() {
    for (bytes, ends) in [(1000, false), (100_000, true)] {
        // All that was asked for is answered, and more comes right behind it.
        let mut pinged = false;
        let address = server(move |request| {
            let Act::Say(mut said) = honest(request) else { panic!() };
            if pinged && request["method"] == "blockchain.block.headers" {
                said.extend(vec![b' '; bytes]);
            }
            pinged |= request["method"] == "server.ping";
            Act::Say(said)
        });
        let connection = open(&address.await).await.unwrap();
        connection.call(history(), LONG).await.unwrap();
        connection.call(vec![ElectrumRequest::Ping], LONG).await.unwrap();
        if ends {
            let limit = 4 << 10;
            let end = tokio::time::timeout(LONG, connection.closed()).await.unwrap();
            assert_eq!(end, Violation::LineTooLong(LineTooLong { limit }).into());
        } else {
            connection.call(history(), LONG).await.unwrap();
        }
    }
}

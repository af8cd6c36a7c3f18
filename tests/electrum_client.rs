//! The Electrum client over loopback sockets: what it does with servers and proxies that misbehave.

use std::net::SocketAddr;
use std::time::Duration;

use isonym::chain::Network;
use isonym::electrum::{ProtocolVersion, Reply, Request, VersionRange, Violation};
use isonym::name::NameId;
use isonym::net::{Connection, ConnectionError, DialError, Dialer, Identity, Limits, Proxy, Purpose, ServerAddr};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// Waits that a test would rather not reach.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

const LIMITS: Limits = Limits {
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
    let header: String = genesis.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
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

fn history() -> Vec<Request> {
    vec![Request::History(NameId::new(b"d/example").unwrap().scripthash())]
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
    assert_eq!(connection.version().protocol, ProtocolVersion::V1_4_2);
    assert_eq!(connection.version().software, "Test 1");
    assert_eq!(connection.identity(), Identity::Unproved);
    let answers = connection.call(history(), LONG).await.unwrap();
    assert_eq!(answers, [Ok(Reply::History(Vec::new()))]);
    assert_eq!(connection.tips().borrow().clone(), None);
}

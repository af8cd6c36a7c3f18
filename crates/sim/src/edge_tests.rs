//! Servers and proxy on real sockets of the loopback interface.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_socks::tcp::Socks5Stream;

use super::cost::{Cost, Limits, Sharing};
use super::host::now;
use super::ledger::{Credentials, Cut, Target, Traffic};
use super::link::Link;
use super::proxy::{Mode, Proxy, Refusal};
use super::tape::{Side, Stream};
use super::{Fault, Host, Ledger, Release, Server, SharedWorld, Tape, Transport, World};
use isonym_core::time::Timestamp;

const PING: &[u8] = b"{\"id\":1,\"jsonrpc\":\"2.0\",\"method\":\"server.ping\"}\n";

fn world() -> SharedWorld {
    let mut world = World::new(1, Timestamp(1_700_000_000));
    world.mine(20);
    SharedWorld::new(world)
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> Value {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await.unwrap() {
            b'\n' => return serde_json::from_slice(&line).unwrap(),
            byte => line.push(byte),
        }
    }
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), method: &str) -> Value {
    let params = if method == "server.version" {
        json!(["", "1.4"])
    } else {
        json!([])
    };
    let request = json!({"id": 1, "jsonrpc": "2.0", "method": method, "params": params});
    stream.write_all(format!("{request}\n").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    read_line(stream).await
}

#[test]
fn subscribers_hear_of_new_blocks() {
    run(async {
        let world = world();
        let host = Host::honest("sim1.example", world.clone(), Ledger::new())
            .await
            .unwrap();
        let mut stream = TcpStream::connect(host.addr).await.unwrap();
        ask(&mut stream, "server.version").await;
        let reply = ask(&mut stream, "blockchain.headers.subscribe").await;
        assert_eq!(reply["result"]["height"], 20);
        world.change(|world| world.mine(1));
        assert_eq!(read_line(&mut stream).await["params"][0]["height"], 21);
    });
}

#[test]
fn tls_shows_the_certificate_that_the_host_tells() {
    run(async {
        let server = Server::new(Release::V1_16, None);
        let host = Host::start("sim1.example", Transport::Tls, server, world(), Ledger::new())
            .await
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(host.certificate.clone().unwrap().into()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("sim1.example").unwrap();
        let stream = TcpStream::connect(host.addr).await.unwrap();
        let mut stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap();
        assert_eq!(ask(&mut stream, "server.version").await["result"][1], "1.4");
    });
}

#[test]
fn the_ledger_joins_credentials_and_requests() {
    run(async {
        let ledger = Ledger::new();
        let host = Host::honest("sim1.example", world(), ledger.clone()).await.unwrap();
        let proxy = Proxy::start(Mode::Open, ledger.clone()).await.unwrap();
        proxy.route("sim1.example", host.addr);
        for user in ["alice", "bob"] {
            let target = ("sim1.example", 50001);
            let mut stream = Socks5Stream::connect_with_password(proxy.addr, target, user, "secret")
                .await
                .unwrap();
            ask(&mut stream, "server.version").await;
        }
        let users: Vec<String> = ledger
            .circuits()
            .into_iter()
            .map(|(connection, way)| {
                assert_eq!(connection.requests[0].methods, ["server.version"]);
                let way = way.unwrap();
                assert_eq!((way.target, way.port), (Target::Name("sim1.example".to_owned()), 50001));
                let Credentials { user, password } = way.credentials.unwrap();
                assert_eq!(password, "secret");
                user
            })
            .collect();
        assert_eq!(users, ["alice", "bob"]);
        assert_eq!(ledger.connections_that_asked("server.version").len(), 2);
        assert_eq!(ledger.requests_of("server.version").len(), 2);
    });
}

async fn through(proxy: &Proxy) -> Socks5Stream<TcpStream> {
    Socks5Stream::connect_with_password(proxy.addr, ("sim1.example", 50001), "user", "secret")
        .await
        .unwrap()
}

#[test]
fn the_proxy_counts_the_bytes_of_each_connection() {
    run(async {
        let ledger = Ledger::new();
        let host = Host::honest("sim1.example", world(), ledger.clone()).await.unwrap();
        let proxy = Proxy::start(Mode::Open, ledger.clone()).await.unwrap();
        proxy.route("sim1.example", host.addr);
        let mut sizes = Vec::new();
        for requests in [1, 3] {
            let mut stream = through(&proxy).await;
            let mut size = Traffic::default();
            for _ in 0..requests {
                stream.write_all(PING).await.unwrap();
                size.up += u64::try_from(PING.len()).unwrap();
                size.down += u64::try_from(read_line(&mut stream).await.to_string().len() + 1).unwrap();
            }
            sizes.push(size);
        }
        // Bytes are counted after they are written.
        while ledger.traffic().down < sizes[0].down + sizes[1].down {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let counted: Vec<Traffic> = ledger.proxied().into_iter().map(|way| way.traffic).collect();
        assert_eq!(counted, sizes);
        assert_eq!(ledger.traffic().up, sizes[0].up + sizes[1].up);
    });
}

#[test]
fn all_that_is_sent_over_a_link_arrives_and_ends() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = Link {
            round_trip: Duration::from_millis(2),
            bytes_per_second: 100_000_000,
        };
        let ledger = Ledger::new();
        let proxy = Proxy::over(link, ledger.clone()).await.unwrap();
        proxy.route("sim1.example", listener.local_addr().unwrap());
        let mut client = through(&proxy).await;
        let (mut server, _) = listener.accept().await.unwrap();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|count| count.to_le_bytes()[1]).collect();
        let [mut there, mut back] = [Vec::new(), Vec::new()];
        let clients = async {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
            client.read_to_end(&mut back).await.unwrap();
        };
        let servers = async {
            server.read_to_end(&mut there).await.unwrap();
            server.write_all(&there).await.unwrap();
            server.shutdown().await.unwrap();
        };
        tokio::join!(clients, servers);
        assert!(there == sent && back == sent);
        let million = u64::try_from(sent.len()).unwrap();
        assert_eq!(
            ledger.traffic(),
            Traffic {
                up: million,
                down: million
            }
        );
    });
}

#[test]
fn requests_in_a_row_share_the_round_trip_of_a_link() {
    run(async {
        let ledger = Ledger::new();
        let host = Host::honest("sim1.example", world(), ledger.clone()).await.unwrap();
        let link = Link {
            round_trip: Duration::from_millis(50),
            bytes_per_second: 1_000_000,
        };
        let proxy = Proxy::over(link, ledger).await.unwrap();
        proxy.route("sim1.example", host.addr);
        let mut stream = through(&proxy).await;
        let start = now();
        for _ in 0..8 {
            stream.write_all(PING).await.unwrap();
            read_line(&mut stream).await;
        }
        let one_by_one = now().since(start);
        let start = now();
        stream.write_all(&PING.repeat(8)).await.unwrap();
        for _ in 0..8 {
            read_line(&mut stream).await;
        }
        let in_a_row = now().since(start);
        assert!(one_by_one > in_a_row * 2, "{one_by_one:?} and {in_a_row:?}");
    });
}

#[test]
fn the_proxy_refuses_as_told() {
    run(async {
        for refusal in Refusal::ALL {
            let ledger = Ledger::new();
            let proxy = Proxy::start(Mode::Refusing(refusal), ledger.clone()).await.unwrap();
            let refused = Socks5Stream::connect_with_password(proxy.addr, ("sim1.example", 1), "u", "p").await;
            assert!(refused.is_err());
            assert_eq!(ledger.proxied()[0].onward, None);
        }
        let proxy = Proxy::start(Mode::RejectingCredentials, Ledger::new()).await.unwrap();
        let rejected = Socks5Stream::connect_with_password(proxy.addr, ("sim1.example", 1), "u", "p").await;
        assert!(matches!(rejected, Err(tokio_socks::Error::PasswordAuthFailure(_))));
        let proxy = Proxy::start(Mode::WithoutAuthentication, Ledger::new()).await.unwrap();
        let unknown = Socks5Stream::connect(proxy.addr, ("nowhere.example", 1)).await;
        assert!(matches!(unknown, Err(tokio_socks::Error::HostUnreachable)));
    });
}

#[test]
fn floods_fill_the_line_until_the_client_leaves() {
    run(async {
        let ledger = Ledger::new();
        let host = Host::honest("sim1.example", world(), ledger.clone()).await.unwrap();
        let mut stream = TcpStream::connect(host.addr).await.unwrap();
        ask(&mut stream, "server.version").await;
        host.set_fault(Some(Fault::FloodInOneLine));
        stream.write_all(PING).await.unwrap();
        let mut flood = vec![0; 1 << 20];
        stream.read_exact(&mut flood).await.unwrap();
        assert!(!flood.contains(&b'\n'));
        drop(stream);
        while !ledger.connections()[0].closed {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

async fn send(stream: &mut TcpStream, method: &str, params: &Value) -> std::io::Result<()> {
    let request = json!({"id": 1, "jsonrpc": "2.0", "method": method, "params": params});
    stream.write_all(format!("{request}\n").as_bytes()).await
}

/// Starts a server that keeps accounts, and lets nobody wait.
async fn limited(limits: Limits, ledger: &Ledger) -> Host {
    let server = Server::new(Release::V1_17, None).limited(Limits {
        sleep: Duration::ZERO,
        ..limits
    });
    Host::start("sim1.example", Transport::Tcp, server, world(), ledger.clone())
        .await
        .unwrap()
}

#[test]
fn who_owes_too_much_is_cut_off_and_a_subnet_answers_for_all_of_its_own() {
    run(async {
        for (sharing, served) in [(Sharing::Nobody, 2), (Sharing::All, 0)] {
            let ledger = Ledger::new();
            let limits = Limits {
                soft: Cost::units(100),
                hard: Cost::units(200),
                sharing,
                ..Limits::default()
            };
            let host = limited(limits, &ledger).await;
            for served in [2, served] {
                let mut stream = TcpStream::connect(host.addr).await.unwrap();
                for _ in 0..served {
                    let reply = ask(&mut stream, "no.such.method").await;
                    assert_eq!(reply["error"]["code"], -32601);
                }
                let refusal = ask(&mut stream, "server.ping").await;
                assert_eq!(refusal["error"]["code"], -101);
                assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            }
            let connections = ledger.connections();
            assert_eq!(connections.len(), 2);
            assert!(connections.iter().all(|connection| connection.cut == Some(Cut::Debt)));
        }
    });
}

#[test]
fn requests_of_one_flight_are_all_answered_within_the_limits() {
    run(async {
        let host = limited(Limits::default(), &Ledger::new()).await;
        let mut stream = TcpStream::connect(host.addr).await.unwrap();
        let mut flight = Vec::new();
        for id in 1..=100 {
            writeln!(flight, "{{\"id\":{id},\"jsonrpc\":\"2.0\",\"method\":\"server.ping\"}}").unwrap();
        }
        stream.write_all(&flight).await.unwrap();
        for id in 1..=100 {
            assert_eq!(read_line(&mut stream).await["id"], id);
        }
    });
}

#[test]
fn a_client_that_does_not_read_is_cut_off_when_replies_wait() {
    run(async {
        let ledger = Ledger::new();
        let limits = Limits {
            send_timeout: Duration::from_millis(20),
            bytes_per_unit: u64::MAX,
            ..Limits::default()
        };
        let host = limited(limits, &ledger).await;
        let mut stream = TcpStream::connect(host.addr).await.unwrap();
        // Some 40 kB each: more than the system's buffers hold.
        for _ in 0..1000 {
            // It may be faster than we are.
            if send(&mut stream, "blockchain.block.headers", &json!([1, 20]))
                .await
                .is_err()
            {
                break;
            }
        }
        while ledger.connections()[0].cut.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(ledger.connections()[0].cut, Some(Cut::Stall));
    });
}

#[test]
fn held_replies_go_with_a_large_one() {
    run(async {
        let host = Host::honest("sim1.example", world(), Ledger::new()).await.unwrap();
        let delay = Duration::from_secs(3600);
        host.set_fault(Some(Fault::HoldsSmallReplies { delay }));
        let mut stream = TcpStream::connect(host.addr).await.unwrap();
        ask(&mut stream, "server.version").await;
        let large = r#"{"id":2,"jsonrpc":"2.0","method":"blockchain.block.headers","params":[1,10]}"#;
        stream.write_all(format!("{large}\n").as_bytes()).await.unwrap();
        assert_eq!(read_line(&mut stream).await["id"], 2);
        let small = r#"{"id":3,"jsonrpc":"2.0","method":"server.ping"}"#;
        stream
            .write_all(format!("{small}\n{large}\n").as_bytes())
            .await
            .unwrap();
        assert_eq!(read_line(&mut stream).await["id"], 3);
        assert_eq!(read_line(&mut stream).await["id"], 2);
        host.set_fault(Some(Fault::HoldsSmallReplies {
            delay: Duration::from_millis(1),
        }));
        stream.write_all(format!("{small}\n").as_bytes()).await.unwrap();
        assert_eq!(read_line(&mut stream).await["id"], 3);
    });
}

/// A proxy with a tape, a server behind it that sends all back, and a stream to it.
async fn echo(delay: Duration) -> (Proxy, Tape, Socks5Stream<TcpStream>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(Mode::Open, Ledger::new()).await.unwrap();
    let tape = Tape::new();
    proxy.record(tape.clone());
    proxy.route("echo.example", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        tokio::io::copy(&mut reader, &mut writer).await
    });
    let stream = Socks5Stream::connect_with_password(proxy.addr, ("echo.example", 7), "u", "p").await;
    proxy.set_delay(delay);
    (proxy, tape, stream.unwrap())
}

async fn until(tape: &Tape, holds: impl Fn(&Stream) -> bool) {
    while !tape.read(|streams| holds(&streams[0])) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_slow_proxy_reads_on_while_it_holds_bytes_back() {
    run(async {
        let (_proxy, tape, mut stream) = echo(Duration::from_secs(3600)).await;
        for count in 1..=3 {
            stream.write_all(b"x").await.unwrap();
            until(&tape, |stream| stream.pieces.len() == count).await;
        }
        tape.read(|streams| assert!(streams[0].pieces.iter().all(|piece| piece.given.is_none())));
    });
}

#[test]
fn a_slow_proxy_gives_everything_in_order_and_the_tape_tells_when() {
    const DELAY: Duration = Duration::from_millis(30);
    run(async {
        let (_proxy, tape, mut stream) = echo(DELAY).await;
        let sent: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await.unwrap();
        assert!(back == sent, "{} bytes of {}", back.len(), sent.len());
        tape.read(|streams| {
            let [stream] = streams else { panic!("{streams:?}") };
            assert_eq!(stream.way.target, Target::Name("echo.example".to_owned()));
            assert!(stream.sent_by(Side::Client) == sent && stream.sent_by(Side::Server) == sent);
            let first = |side| stream.pieces.iter().find(|piece| piece.from == side).unwrap();
            let (there, back) = (first(Side::Client), first(Side::Server));
            assert!(stream.opened < Some(there.taken) && there.given < Some(back.taken));
            assert!(Some(back.taken) < back.given && stream.ended.is_some());
            // The clock's steps are of a millisecond.
            assert!(back.at.since(there.at) + Duration::from_millis(1) >= DELAY);
        });
    });
}

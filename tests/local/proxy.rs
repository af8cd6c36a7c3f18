//! SOCKS5 over loopback: credentials of its own for every stream, names unresolved, and no way past the proxy.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use fast_socks5::ReplyError;
use fast_socks5::server::Socks5ServerProtocol;
use fast_socks5::util::target_addr::TargetAddr;
use isonym::net::dial_error::{SocksRefusal, Stage};
use isonym::net::dialer::find_tor;
use isonym::net::{DialError, Dialer, Identity, Proxy, ServerAddr};
use isonym_testkit::loopback::own_address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const LONG: Duration = Duration::from_secs(20);
const ONION: &str = "6cbn4rskfdr647otej7gpqlmpqcmj723vg2eoeuu7ljbwu6cpdebozyd.onion:50001:t";

async fn listen() -> (TcpListener, Dialer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::Socks5(vec![listener.local_addr().unwrap()]);
    (listener, Dialer::new(proxy).unwrap())
}

fn server(address: &str) -> ServerAddr {
    address.parse().unwrap()
}

async fn dial(dialer: &Dialer, address: &str) -> Result<Identity, DialError> {
    let open = dialer.dial(&server(address), None, LONG).await?;
    Ok(open.identity?)
}

/// What one stream told the proxy.
#[derive(Debug)]
struct Told {
    user: String,
    password: String,
    target: TargetAddr,
}

/// Goes through one client's handshake and answers with `reply`.
async fn handshake(stream: TcpStream, reply: ReplyError) -> Told {
    let check = |user: String, password: String| Some((user, password));
    let (protocol, credentials) = Socks5ServerProtocol::accept_password_auth(stream, check).await.unwrap();
    let (protocol, _, target) = protocol.read_command().await.unwrap();
    let (user, password) = credentials.unwrap();
    if matches!(reply, ReplyError::Succeeded) {
        let bound: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let mut stream = protocol.reply_success(bound).await.unwrap();
        let _ = stream.write_all(b"x").await;
    } else {
        protocol.reply_error(&reply).await.unwrap();
    }
    Told { user, password, target }
}

#[tokio::test]
async fn every_stream_has_credentials_of_its_own() {
    const STREAMS: usize = 1000;
    let (listener, dialer) = listen().await;
    let proxy = tokio::spawn(async move {
        let mut told = Vec::new();
        for _ in 0..STREAMS {
            let (stream, _) = listener.accept().await.unwrap();
            told.push(handshake(stream, ReplyError::Succeeded).await);
        }
        told
    });
    for _ in 0..STREAMS {
        assert_eq!(dial(&dialer, "electrum.example:50001:t").await, Ok(Identity::Unproved));
    }
    let told = proxy.await.unwrap();
    let words: BTreeSet<&str> = told
        .iter()
        .flat_map(|told| [told.user.as_str(), &told.password])
        .collect();
    assert_eq!(words.len(), 2 * STREAMS);
    for word in words {
        assert!(word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert!(!word.starts_with("<torS0X>"));
    }
    let by_name = |told: &Told| matches!(&told.target, TargetAddr::Domain(name, 50001) if name == "electrum.example");
    assert!(told.iter().all(by_name));
}

#[tokio::test]
async fn the_target_goes_as_it_was_given() {
    let (listener, dialer) = listen().await;
    let proxy = tokio::spawn(async move {
        let mut targets = Vec::new();
        for _ in 0..4 {
            let (stream, _) = listener.accept().await.unwrap();
            targets.push(handshake(stream, ReplyError::Succeeded).await.target.to_string());
        }
        targets
    });
    assert_eq!(dial(&dialer, ONION).await, Ok(Identity::Onion));
    for address in ["localhost:50001:t", "23.158.233.10:50001:t", "[::1]:50001:t"] {
        assert_eq!(dial(&dialer, address).await, Ok(Identity::Unproved));
    }
    let onion = ONION.trim_end_matches(":t");
    assert_eq!(
        proxy.await.unwrap(),
        [onion, "localhost:50001", "23.158.233.10:50001", "[::1]:50001"]
    );
}

#[tokio::test]
async fn a_proxy_without_credentials_is_refused_before_it_learns_anything() {
    let (listener, dialer) = listen().await;
    let proxy = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut methods = [0; 4];
        stream.read_exact(&mut methods).await.unwrap();
        // The two bytes apart, as a network may deliver them.
        stream.write_all(&[5]).await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(&[0]).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        rest
    });
    let error = dial(&dialer, "electrum.example:50001:t").await.unwrap_err();
    assert_eq!(error, DialError::ProxyDoesNotIsolate);
    assert!(error.to_string().contains("does not isolate"));
    assert_eq!(
        proxy.await.unwrap(),
        b"",
        "neither credentials nor the target may follow"
    );
}

/// The offer of no credentials, and what a Tor answers to who asks it for the address of an address.
const OFFER: &[u8] = &[5, 1, 0];
const RESOLVED: &[u8] = &[5, 0, 0, 1, 192, 0, 2, 1, 0, 0];

/// A second place for a Tor, after an empty first one.
struct SecondPlace {
    dialer: Dialer,
    proxy: SocketAddr,
    /// All that each connection said, once it ended.
    said: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl SecondPlace {
    /// What listens there takes whoever offers no credentials, and gives these replies to what else it is asked, the first
    /// to the first connection that asks so.
    async fn with(replies: &[&'static [u8]]) -> Self {
        let empty = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let places = [&empty, &listener].map(|place| place.local_addr().unwrap());
        let (told, said) = mpsc::unbounded_channel();
        let mut replies: VecDeque<_> = replies.iter().copied().collect();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (mut bytes, mut all) = ([0; 64], Vec::new());
                while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                    all.extend_from_slice(&bytes[..count]);
                    let is_first = all.len() == count;
                    if !is_first || all == OFFER {
                        let reply = if is_first {
                            &[5, 0][..]
                        } else {
                            replies.pop_front().unwrap_or_default()
                        };
                        stream.write_all(reply).await.unwrap();
                    }
                    // A reply ends it, as in Tor, and so does an offer of credentials.
                    if !is_first || all != OFFER {
                        break;
                    }
                }
                told.send(all).unwrap();
            }
        });
        let dialer = Dialer::new(Proxy::Socks5(places.to_vec())).unwrap();
        let proxy = places[1];
        Self { dialer, proxy, said }
    }

    async fn dial(&self) -> DialError {
        dial(&self.dialer, "electrum.example:50001:t").await.unwrap_err()
    }
}

#[tokio::test]
async fn the_second_place_for_a_tor_is_taken_by_a_tor_alone() {
    for reply in [
        // The command is not known, which is what other proxies say.
        &[5, 7, 0, 1, 0, 0, 0, 0, 0, 0][..],
        // Any command succeeds.
        &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        b"HTTP/1.0 501 Tor is not an HTTP Proxy\r\n\r\n",
        b"",
    ] {
        let mut place = SecondPlace::with(&[reply]).await;
        let (error, proxy) = (place.dial().await, place.proxy);
        assert_eq!(error, DialError::ProxyNotTor { proxy });
        assert!(error.is_proxys() && error.to_string().contains("no Tor at"));
        let said = place.said.recv().await.unwrap();
        assert!(!said.windows(8).any(|part| part == b"electrum"), "no target may follow");
        assert!(place.said.try_recv().is_err(), "nor anything else");
    }
}

#[tokio::test]
async fn the_second_place_for_a_tor_is_looked_at_each_time() {
    // A Tor listens there twice, and then something else.
    let mut place = SecondPlace::with(&[RESOLVED, RESOLVED]).await;
    for _ in 0..2 {
        // It takes no credentials, so that this is as far as it goes.
        let _ = place.dial().await;
        assert!(place.said.recv().await.unwrap().starts_with(OFFER));
        let offered = place.said.recv().await.unwrap();
        assert!(!offered.starts_with(OFFER) && offered.contains(&2), "{offered:?}");
    }
    let (error, proxy) = (place.dial().await, place.proxy);
    assert_eq!(error, DialError::ProxyNotTor { proxy });
}

#[tokio::test]
async fn a_tor_is_found_where_one_answers_and_nowhere_else() {
    // One that is no Tor, one that is.
    let (other, tor) = (SecondPlace::with(&[&[]]).await, SecondPlace::with(&[RESOLVED]).await);
    let empty = SocketAddr::from((own_address(), 9050));
    assert_eq!(find_tor(&[empty, other.proxy, tor.proxy]).await, Some(tor.proxy));
    let other = SecondPlace::with(&[&[]]).await;
    assert_eq!(find_tor(&[empty, other.proxy]).await, None);
}

#[tokio::test]
async fn a_real_socks_server_without_authentication_is_refused() {
    let (listener, dialer) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = Socks5ServerProtocol::accept_no_auth(stream)
            .await
            .unwrap()
            .read_command()
            .await;
    });
    assert_eq!(
        dial(&dialer, "electrum.example:50001:t").await,
        Err(DialError::ProxyDoesNotIsolate)
    );
}

#[tokio::test]
async fn a_proxy_that_rejects_the_credentials_says_so() {
    let (listener, dialer) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = Socks5ServerProtocol::accept_password_auth(stream, |_, _| false).await;
    });
    assert_eq!(
        dial(&dialer, "electrum.example:50001:t").await,
        Err(DialError::ProxyRefusedCredentials)
    );
}

#[tokio::test]
async fn each_refusal_of_a_proxy_has_its_meaning() {
    for (reply, error) in [
        (
            ReplyError::GeneralFailure,
            DialError::ProxyRefused(SocksRefusal::General),
        ),
        (
            ReplyError::ConnectionNotAllowed,
            DialError::ProxyRefused(SocksRefusal::NotAllowed),
        ),
        (
            ReplyError::NetworkUnreachable,
            DialError::ProxyRefused(SocksRefusal::NetworkUnreachable),
        ),
        (ReplyError::HostUnreachable, DialError::UnknownHost),
        (ReplyError::ConnectionRefused, DialError::ClosedPort),
        (ReplyError::TtlExpired, DialError::ProxyRefused(SocksRefusal::Expired)),
        (
            ReplyError::CommandNotSupported,
            DialError::ProxyRefused(SocksRefusal::CommandNotSupported),
        ),
        (
            ReplyError::AddressTypeNotSupported,
            DialError::ProxyRefused(SocksRefusal::AddressNotSupported),
        ),
    ] {
        let (listener, dialer) = listen().await;
        tokio::spawn(async move { handshake(listener.accept().await.unwrap().0, reply).await });
        assert_eq!(dial(&dialer, "electrum.example:50001:t").await, Err(error));
    }
}

/// Source: Tor, socks-extensions, and proposal 304.
#[tokio::test]
async fn what_tor_says_of_onion_services_is_told() {
    for (code, words) in [
        (0xf0, "descriptor is not found"),
        (0xf1, "descriptor is invalid"),
        (0xf2, "introduction to the onion service failed"),
        (0xf3, "rendezvous with the onion service failed"),
        (0xf4, "wants a client's key"),
        (0xf5, "refuses the client's key"),
        (0xf6, "none of an onion service"),
        (0xf7, "took too long"),
        (0xf8, "reason unknown"),
    ] {
        let (listener, dialer) = listen().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut told = [0; 512];
            for reply in [&[5, 2][..], &[1, 0], &[5, code, 0, 1, 0, 0, 0, 0, 0, 0]] {
                assert!(stream.read(&mut told).await.unwrap() > 0);
                stream.write_all(reply).await.unwrap();
            }
            let _ = stream.read(&mut told).await;
        });
        let error = dial(&dialer, ONION).await.unwrap_err();
        assert!(matches!(error, DialError::ProxyRefused(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(words), "{text}");
        assert_eq!(
            text.contains(&format!("(SOCKS reply {code:02X})")),
            code <= 0xf7,
            "{text}"
        );
    }
}

#[tokio::test]
async fn without_a_proxy_nothing_is_dialled() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("{}:t", target.local_addr().unwrap());
    let (closed, dialer) = listen().await;
    drop(closed);
    let error = dial(&dialer, &address).await.unwrap_err();
    assert!(matches!(error, DialError::ProxyUnreachable { .. }));
    // What to do about it is the program's to say: `cli::network` has that.
    assert!(
        error.to_string().starts_with("no proxy at socks5://127.0.0.1:"),
        "{error}"
    );
    let accepted = tokio::time::timeout(Duration::from_millis(50), target.accept()).await;
    assert!(accepted.is_err(), "dialled past the proxy");
}

#[tokio::test]
async fn the_second_proxy_is_taken_when_the_first_is_not_there() {
    let (first, _) = listen().await;
    let (second, _) = listen().await;
    let candidates = vec![first.local_addr().unwrap(), second.local_addr().unwrap()];
    drop(first);
    let dialer = Dialer::new(Proxy::Socks5(candidates)).unwrap();
    tokio::spawn(async move {
        let (mut asks, _) = second.accept().await.unwrap();
        for reply in [&[5, 0][..], RESOLVED] {
            let _ = asks.read(&mut [0; 64]).await.unwrap();
            asks.write_all(reply).await.unwrap();
        }
        handshake(second.accept().await.unwrap().0, ReplyError::Succeeded).await
    });
    assert_eq!(dial(&dialer, ONION).await, Ok(Identity::Onion));
}

#[tokio::test]
async fn what_is_no_proxy_is_told_apart() {
    let (listener, dialer) = listen().await;
    tokio::spawn(async move {
        let (mut http, _) = listener.accept().await.unwrap();
        http.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let (mut closing, _) = listener.accept().await.unwrap();
        let _ = closing.read(&mut [0; 4]).await;
        drop(closing);
        let _silent = listener.accept().await.unwrap();
        std::future::pending::<()>().await;
    });
    assert_eq!(
        dial(&dialer, "electrum.example:50001:t").await,
        Err(DialError::ProxyNotSocks)
    );
    assert!(matches!(
        dial(&dialer, "electrum.example:50001:t").await,
        Err(DialError::ProxyFailed(_))
    ));
    let after = Duration::from_millis(100);
    let stage = Stage::Connect;
    let error = dialer.dial(&server(ONION), None, after).await.err();
    assert_eq!(error, Some(DialError::TimedOut { after, stage }));
}

#[tokio::test]
async fn direct_dialling_reaches_no_onion_and_knows_a_closed_port() {
    let direct = Dialer::new(Proxy::Direct).unwrap();
    assert_eq!(dial(&direct, ONION).await, Err(DialError::OnionNeedsProxy));
    let (closed, _) = listen().await;
    let address = format!("{}:t", closed.local_addr().unwrap());
    assert_eq!(dial(&direct, &address).await, Ok(Identity::Unproved));
    drop(closed);
    assert_eq!(dial(&direct, &address).await, Err(DialError::ClosedPort));
}

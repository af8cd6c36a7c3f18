//! Who is kept apart from whom.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use isonym::socks::server::SocksLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use super::raw::{said, socks5};
use isonym_testkit::backend::Backend;
use isonym_testkit::socks::front::{Front, names, served_on, soon, until};
use isonym_testkit::socks::tor::Tor;

/// Connects to a name with SOCKS5 as somebody, from an address.
async fn connect(to: SocketAddr, from: [u8; 4], who: Option<(&str, &str)>, name: &str) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    let counted = |text: &str| [&[u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat();
    let login = who.map(|(user, password)| [&[1][..], &counted(user), &counted(password)].concat());
    let bytes = [
        &[5, 1, if login.is_some() { 2 } else { 0 }][..],
        &login.clone().unwrap_or_default(),
        &[5, 1, 0, 3],
        &counted(name),
        &[0, 7],
    ];
    stream.write_all(&bytes.concat()).await.unwrap();
    let mut reply = vec![0; if login.is_some() { 14 } else { 12 }];
    soon(stream.read_exact(&mut reply)).await.unwrap();
    assert_eq!(reply[reply.len() - 9], 0, "{reply:?}");
}

/// The ID that asked last.
fn last_id(backend: &Backend) -> String {
    backend.calls().pop().unwrap().id.unwrap()
}

const HOME: [u8; 4] = [127, 0, 0, 1];

/// Asks for a name that nobody asked for yet, so that the backend is asked for it. Returns the ID.
async fn id_of(front: &Front, backend: &Backend, from: [u8; 4], who: Option<(&str, &str)>) -> String {
    let count = backend.count();
    let name = format!("marker-of-the-{count}");
    backend.say(
        &format!("d/{name}"),
        isonym_testkit::backend::Says::value(r#"{"ip":"192.0.2.1"}"#),
    );
    connect(front.address, from, who, &format!("{name}.bit")).await;
    assert!(backend.count() > count);
    last_id(backend)
}

#[tokio::test]
async fn callers_have_ids_of_their_own() {
    let (backend, tor) = (names().await, Tor::start().await);
    let front = Front::start(&backend, &tor, &[]).await;
    let id = async |from, who| id_of(&front, &backend, from, who).await;
    let callers = [
        (HOME, None),
        (HOME, Some(("marker-of-the-user", "one"))),
        (HOME, Some(("marker-of-the-user", "two"))),
        (HOME, Some(("marker-of-the-use", "rone"))),
        ([127, 0, 0, 2], None),
        ([127, 0, 0, 2], Some(("marker-of-the-user", "one"))),
    ];
    let mut first = Vec::new();
    for (from, who) in callers {
        first.push(id(from, who).await);
    }
    for ((from, who), first) in callers.into_iter().zip(&first) {
        assert_eq!(id(from, who).await, *first);
    }
    assert_eq!(BTreeSet::from_iter(&first).len(), callers.len());
    for id in &first {
        assert!(!id.contains("marker") && !id.contains("127."), "{id}");
    }
    // Tor sees each caller's own address and words.
    let seen: BTreeSet<_> = tor
        .asked()
        .into_iter()
        .map(|asked| (asked.from, asked.user, asked.password))
        .collect();
    let expected = callers.map(|(from, who)| {
        let (user, password) = who.unzip();
        let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
        (IpAddr::from(from), bytes(user), bytes(password))
    });
    assert_eq!(seen, BTreeSet::from(expected));

    // Names that are asked for by one caller are not known to another.
    for (from, who) in callers {
        let count = backend.count();
        connect(front.address, from, who, "marker-of-the-address.bit").await;
        assert!(backend.count() > count);
    }

    front.signal("-USR1").await;
    until("it is a new one", || {
        front.log().contains("taken for new ones").then_some(())
    })
    .await;
    let mut renewed = BTreeSet::from_iter(first);
    for (from, who) in callers {
        renewed.insert(id(from, who).await);
    }
    assert_eq!(renewed.len(), 2 * callers.len());
    front.stop().await;
}

#[tokio::test]
async fn settings_say_who_is_kept_apart() {
    let alice = Some(("marker-of-the-user", "one"));
    for (isolate, by_auth, by_address, by_connection) in [
        ("none", false, false, false),
        ("auth", true, false, false),
        ("address", false, true, false),
        ("port", false, false, true),
        ("auth,address", true, true, false),
    ] {
        let (backend, tor) = (names().await, Tor::start().await);
        let front = Front::start(&backend, &tor, &["--isolate", isolate]).await;
        let id = async |from, who| id_of(&front, &backend, from, who).await;
        let first = id(HOME, alice).await;
        assert_eq!(id(HOME, alice).await != first, by_connection, "{isolate}");
        assert_eq!(id(HOME, None).await != first, by_auth || by_connection, "{isolate}");
        assert_eq!(
            id([127, 0, 0, 2], alice).await != first,
            by_address || by_connection,
            "{isolate}"
        );
        front.stop().await;
    }
    let (backend, tor) = (names().await, Tor::start().await);
    let front = Front::start(&backend, &tor, &["--isolate", "destination"]).await;
    let first = id_of(&front, &backend, HOME, None).await;
    assert_ne!(id_of(&front, &backend, HOME, None).await, first);
    front.stop().await;
}

/// Tor sees one address for all of them.
#[tokio::test]
async fn clients_that_tor_cannot_see_are_told_apart_there() {
    let (backend, tor) = (names().await, Tor::start().await);
    // Nothing is sent: that is the address from which it would be.
    let probe = UdpSocket::bind("0.0.0.0:0").await.unwrap();
    let own = probe.connect("198.51.100.1:9").await.and_then(|()| probe.local_addr());
    let Some(own) = own.ok().filter(|own| !own.ip().is_loopback()) else {
        eprintln!("skipped: this machine has no address but loopback's");
        return;
    };
    let IpAddr::V4(own) = own.ip() else { unreachable!() };
    let listener = TcpListener::bind((own, 0)).await.unwrap();
    let (limits, patience) = (SocksLimits::default(), Duration::from_secs(60));
    let front = served_on(listener, &backend, &tor, limits, patience);
    let mut seen = BTreeSet::new();
    for who in [
        None,
        Some(("marker-of-the-user", "one")),
        Some(("marker-of-the-user", "two")),
    ] {
        for name in ["marker-of-the-onion.bit", "example.com"] {
            connect(front, own.octets(), who, name).await;
            let asked = tor.one();
            assert_eq!(asked.from, IpAddr::from(HOME));
            let user = asked.user.unwrap();
            assert_eq!(user.len(), 64);
            assert!(user.iter().all(u8::is_ascii_hexdigit));
            seen.insert((user, asked.password.unwrap()));
        }
    }
    assert_eq!(seen.len(), 3);
    let mut stream = TcpStream::connect(front).await.unwrap();
    stream
        .write_all(b"\x04\x01\x00\x07\x00\x00\x00\x01\x00example.com\x00")
        .await
        .unwrap();
    soon(stream.read_exact(&mut [0; 8])).await.unwrap();
    assert!(seen.iter().any(|(user, _)| tor.asked()[0].user.as_ref() == Some(user)));
}

#[tokio::test]
async fn tor_may_be_of_the_other_family() {
    let (backend, tor) = (names().await, Tor::start().await);
    let listener = TcpListener::bind(("::1", 0)).await.unwrap();
    let front = served_on(
        listener,
        &backend,
        &tor,
        SocksLimits::default(),
        Duration::from_secs(60),
    );
    let reply = said(front, &socks5(0xf0, "example.com", 0)).await;
    assert_eq!(reply[3], 0);
    let asked = tor.one();
    assert_eq!((asked.from, asked.user), (IpAddr::from(HOME), None));
}

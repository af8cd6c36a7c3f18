//! Applications that mean ill, are slow or go away.

use std::time::Duration;

use isonym::socks::server::SocksLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::raw::{said, socks5};
use isonym_testkit::socks::front::{Front, names, served, soon, until};
use isonym_testkit::socks::tor::Tor;

const SHORT: SocksLimits = SocksLimits {
    connections: 16,
    handshake: Duration::from_millis(400),
};

#[tokio::test]
async fn garbage_is_ended() {
    let (backend, tor) = (names().await, Tor::start().await);
    let front = Front::start(&backend, &tor, &[]).await;
    let long = vec![b'a'; 100_000];
    for (bytes, expected) in [
        (&b"\x00"[..], &b""[..]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b""),
        (b"{\"id\":1}\n", b""),
        (b"SSH-2.0-marker-of-the\r\n", b"HTTP/1.1 400 "),
        (b"GET marker-of-the HTTP/9\r\n\r\n", b"HTTP/1.1 400 "),
        (b"CONNECT marker-of-the:0 HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 "),
        (b"CONNECT marker-of-the-onion.bit HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 "),
        (
            b"CONNECT user@marker-of-the-onion.bit:80 HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 400 ",
        ),
        (
            b"POST / HTTP/1.1\r\nHost: marker-of-the\r\nContent-Length: 9\r\n\r\nmarker-of",
            b"HTTP/1.1 405 ",
        ),
        (b"\x05\x01\x09", b"\x05\xff"),
        (
            b"\x05\x01\x00\x05\x01\x00\x03\x0cfoo.bit\x00.com\x00\x50",
            b"\x05\x00\x05\x01",
        ),
        (b"\x05\x01\x00\x05\x01\x00\x03\x08foo.bit \x00\x50", b"\x05\x00\x05\x01"),
        (
            b"\x05\x01\x00\x05\x01\x00\x03\x09foo\xe3\x80\x82bit\x00\x50",
            b"\x05\x00\x05\x01",
        ),
        (b"\x04\x01\x00\x50\x00\x00\x00\x01\x00foo.bit/\x00", b"\x00\x5b"),
        (&[b"\x04\x01\x00\x50\x00\x00\x00\x01", &long[..]].concat(), b"\x00\x5b"),
        (&[b"CONNECT a:80 HTTP/1.1\r\nX: ", &long[..]].concat(), b"HTTP/1.1 431 "),
    ] {
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let mut said = Vec::new();
        let _ = soon(stream.read_to_end(&mut said)).await;
        // What is too long may be cut off before the reply is read.
        let fits = said.starts_with(expected) && said.is_empty() == expected.is_empty();
        assert!(
            fits || (bytes.len() > long.len() && said.is_empty()),
            "{bytes:?}: {said:?}"
        );
    }
    tor.assert_unasked();
    front.stop().await;
}

#[tokio::test]
async fn who_takes_too_long_is_ended() {
    let (backend, tor) = (names().await, Tor::start().await);
    let front = served(&backend, &tor, SHORT, Duration::from_secs(60)).await;
    let mut slow = JoinSet::new();
    for bytes in [
        &b""[..],
        b"\x05",
        b"\x05\x02\x00",
        b"\x05\x01\x02\x01\x50",
        b"\x04\x01\x00\x50",
        b"C",
        b"CONNECT a:80 HTTP/1.1\r\n",
    ] {
        slow.spawn(async move {
            let mut stream = TcpStream::connect(front).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let mut said = Vec::new();
            soon(stream.read_to_end(&mut said)).await.unwrap();
        });
        slow.spawn(async move {
            let stream = TcpStream::connect(front).await.unwrap();
            let (mut read, mut write) = stream.into_split();
            let dribbling = async move {
                let endless = bytes.iter().copied().chain(std::iter::repeat(b'a'));
                for byte in endless {
                    if write.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    sleep(Duration::from_millis(50)).await;
                }
            };
            let mut said = Vec::new();
            let ended = async {
                let _ = read.read_to_end(&mut said).await;
            };
            soon(async {
                tokio::select! { () = dribbling => {}, () = ended => {} }
            })
            .await;
        });
    }
    soon(slow.join_all()).await;
    // And others have their turn.
    assert_eq!(said(front, &socks5(0xf0, "marker-of-the-address.bit", 0)).await[3], 0);
}

#[tokio::test]
async fn who_goes_away_leaves_its_place() {
    let (backend, tor) = (names().await, Tor::start().await);
    let one = SocksLimits {
        connections: 1,
        ..SocksLimits::default()
    };
    let front = served(&backend, &tor, one, Duration::from_secs(60)).await;
    let held = "marker-of-the-held.bit";
    let http = format!("CONNECT {held}:80 HTTP/1.1\r\n\r\n");
    for (number, request) in (1..).zip([socks5(1, held, 80), http.into_bytes()]) {
        let mut stream = TcpStream::connect(front).await.unwrap();
        stream.write_all(&request).await.unwrap();
        // Both ask under the same ID, so the lookup of the first goes on for the second.
        until("it is looked up", || (backend.count() > 0).then_some(())).await;
        sleep(Duration::from_millis(100)).await;
        drop(stream);
        let reply = said(front, &socks5(0xf0, "marker-of-the-address.bit", 0)).await;
        assert_eq!(reply[3], 0, "{number}");
    }
    tor.assert_unasked();
    backend.release();
    // Who is not there any more is connected nowhere.
    assert_eq!(said(front, &socks5(0xf0, "marker-of-the-address.bit", 0)).await[3], 0);
    tor.assert_unasked();
}

#[tokio::test]
async fn what_takes_too_long_or_fails_is_told() {
    let (backend, tor) = (names().await, Tor::start().await);
    let front = served(&backend, &tor, SocksLimits::default(), Duration::from_secs(2)).await;
    // The last of several tries may fail, or be out of time.
    for (name, codes) in [("held", &[6][..]), ("broken", &[1, 6])] {
        let name = format!("marker-of-the-{name}.bit");
        let socks5 = said(front, &socks5(1, &name, 80)).await;
        assert!(socks5[2] == 5 && codes.contains(&socks5[3]), "{name}: {socks5:?}");
        let http = said(front, format!("CONNECT {name}:80 HTTP/1.1\r\n\r\n").as_bytes()).await;
        let told = |code| match code {
            6 => http.starts_with(b"HTTP/1.1 504 "),
            _ => http.starts_with(b"HTTP/1.1 503 "),
        };
        assert!(codes.iter().any(|code| told(*code)), "{name}");
    }
    tor.assert_unasked();
}

#[tokio::test]
async fn many_are_served_at_once() {
    let (backend, tor) = (names().await, Tor::start().await);
    let front = Front::start(&backend, &tor, &[]).await;
    let address = front.address;
    let mut open = JoinSet::new();
    for number in 0..200 {
        open.spawn(async move {
            let name = ["marker-of-the-onion.bit", "marker-of-the-address.bit", "example.com"][number % 3];
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&socks5(1, name, 7)).await.unwrap();
            let mut reply = [0; 12];
            soon(stream.read_exact(&mut reply)).await.unwrap();
            assert_eq!(reply[3], 0);
            stream
        });
    }
    let mut streams = soon(open.join_all()).await;
    for stream in &mut streams {
        stream.write_all(b" all").await.unwrap();
        stream.shutdown().await.unwrap();
    }
    for mut stream in streams {
        let mut all = Vec::new();
        soon(stream.read_to_end(&mut all)).await.unwrap();
        assert_eq!(all, b"hello allbye");
    }
    assert_eq!(tor.asked().len(), 200);
    front.stop().await;
}

/// What a program does that is given the port as `http_proxy`, and a browser that opens it.
#[tokio::test]
async fn who_takes_it_for_another_proxy_is_told_what_to_do() {
    let (backend, tor) = (names().await, Tor::start().await);
    let front = Front::start(&backend, &tor, &[]).await;
    for target in ["http://marker-of-the-onion.bit/", "/"] {
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: marker-of-the-onion.bit\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut page = String::new();
        soon(stream.read_to_string(&mut page)).await.unwrap();
        let socks = format!("socks5h://{}", front.address);
        for words in ["HTTP/1.1 405 ", "allow: CONNECT", "--socks5-hostname", &socks] {
            assert!(page.contains(words), "{words}: {page}");
        }
        assert!(!page.contains("marker"), "{page}");
    }
    assert_eq!(backend.count(), 0);
    front.stop().await;
}

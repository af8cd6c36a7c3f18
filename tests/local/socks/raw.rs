//! What is said byte by byte.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use isonym_testkit::backend::Backend;
use isonym_testkit::program::Program;
use isonym_testkit::running::end_of;
use isonym_testkit::socks::front::{Front, ONION, names, soon, until};
use isonym_testkit::socks::tor::Tor;

/// Everything that a server says to a client that says this, until its end.
pub async fn said(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut said = Vec::new();
    let _ = soon(stream.read_to_end(&mut said)).await;
    said
}

/// A request of SOCKS5 without authentication, with its methods.
pub fn socks5(command: u8, host: &str, port: u16) -> Vec<u8> {
    let length = u8::try_from(host.len()).unwrap();
    [
        &[5, 1, 0, 5, command, 0, 3, length][..],
        host.as_bytes(),
        &port.to_be_bytes(),
    ]
    .concat()
}

/// What SOCKS5 without authentication answers, with the choice of a method.
fn answered(rest: &[u8]) -> Vec<u8> {
    [&[5, 0][..], rest].concat()
}

fn failed(code: u8) -> Vec<u8> {
    answered(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0])
}

#[tokio::test]
async fn what_is_not_ours_goes_through_as_it_came() {
    let (backend, tor) = (names().await, Tor::start().await);
    let front = Front::start(&backend, &tor, &[]).await;
    let login = b"\x05\x01\x02\x01\x10marker-of-the-u\xff\x01p\x05\x01\x00\x03\x0cExample.COM.\x00\x07";
    for (request, before) in [
        (socks5(1, "Example.COM.", 7), 2),
        (socks5(1, "rabbit", 7), 2),
        (socks5(1, "1.2.3.4", 7), 2),
        (socks5(1, "a.bit.example", 7), 2),
        (socks5(1, ONION, 7), 2),
        (b"\x05\x01\x00\x05\x01\x00\x01\x01\x02\x03\x04\x00\x07".to_vec(), 2),
        (b"\x05\x01\x00\x05\x01\x00\x04abcdefghijklmnop\x00\x07".to_vec(), 2),
        (login.to_vec(), 4),
        (b"\x04\x01\x00\x07\x01\x02\x03\x04marker-of-the-id\x00".to_vec(), 0),
        (b"\x04\x01\x00\x07\x00\x00\x00\x01\x00Example.COM.\x00".to_vec(), 0),
    ] {
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        // What is sent behind a request without a wait arrives.
        stream.write_all(&[&request[..], b"early "].concat()).await.unwrap();
        stream.write_all(b"late").await.unwrap();
        let reply = if request[0] == 4 { 8 } else { 10 };
        let mut head = vec![0; before + reply];
        soon(stream.read_exact(&mut head)).await.unwrap();
        assert_eq!(head[before..][..2], if request[0] == 4 { [0, 0x5a] } else { [5, 0] });
        let mut first = [0; 15];
        soon(stream.read_exact(&mut first)).await.unwrap();
        assert_eq!(&first, b"helloearly late");
        // Its end is told the other side, which still may send.
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        soon(stream.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest, b"bye");
        assert_eq!(tor.one().bytes, request);
    }
    assert_eq!(backend.count(), 0);
    front.stop().await;
}

#[tokio::test]
async fn addresses_and_hosts_are_resolved() {
    let (backend, tor) = (names().await, Tor::start().await);
    let front = Front::start(&backend, &tor, &[]).await;
    let ask = async |command, host: &str| said(front.address, &socks5(command, host, 0)).await;

    let v4 = answered(&[5, 0, 0, 1, 192, 0, 2, 1, 0, 0]);
    for name in [
        "marker-of-the-address.bit",
        "MARKER-of-the-address.BIT.",
        "marker-of-the-onion.bit",
    ] {
        assert_eq!(ask(0xf0, name).await, v4, "{name}");
    }
    let v6 = [&[5, 0, 0, 4, 0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1, 0, 0]].concat();
    assert_eq!(ask(0xf0, "marker-of-the-address6.bit").await, answered(&v6));
    let socks4 = [
        &b"\x04\xf0\x00\x01\x00\x00\x00\x01\x00marker-of-the-address"[..],
        b".bit\x00",
    ]
    .concat();
    assert_eq!(said(front.address, &socks4).await, [0, 0x5a, 0, 0, 192, 0, 2, 1]);
    let socks4 = [
        &b"\x04\xf0\x00\x01\x00\x00\x00\x01\x00marker-of-the-address6"[..],
        b".bit\x00",
    ]
    .concat();
    assert_eq!(said(front.address, &socks4).await[1], 0x5b);
    for name in [
        "marker-of-the-address.bit.onion",
        "marker-of-the-nothing.bit",
        "marker-of-the-empty.bit",
        "bit",
    ] {
        assert_eq!(ask(0xf0, name).await, failed(4), "{name}");
    }
    // Names are no addresses.
    assert_eq!(ask(0xf1, "marker-of-the-address.bit").await, failed(4));
    assert_eq!(ask(2, "marker-of-the-address.bit").await, failed(7));
    assert_eq!(ask(3, "example.com").await, failed(7));
    tor.assert_unasked();

    let of_tor = answered(&[5, 0, 0, 1, 192, 0, 2, 99, 0, 0]);
    assert_eq!(ask(0xf0, "marker-of-the-alias.bit").await, of_tor);
    assert_eq!(tor.one().bytes, socks5(0xf0, "www.example.com", 0));
    assert_eq!(ask(0xf0, "Example.com").await, of_tor);
    assert_eq!(tor.one().bytes, socks5(0xf0, "Example.com", 0));
    assert_eq!(
        ask(0xf1, "192.0.2.1").await,
        answered(b"\x05\x00\x00\x03\x0bexample.org\x00\x00")
    );
    assert_eq!(tor.one().bytes, socks5(0xf1, "192.0.2.1", 0));
    front.stop().await;
}

#[tokio::test]
async fn failures_of_tor_are_handed_on() {
    let (backend, tor) = (names().await, Tor::start().await);
    let front = Front::start(&backend, &tor, &[]).await;
    for code in [1, 2, 3, 4, 5, 6, 8, 0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7] {
        tor.refuse(ONION, code);
        for host in [ONION, "marker-of-the-onion.bit"] {
            assert_eq!(said(front.address, &socks5(1, host, 80)).await, failed(code));
        }
        let socks4 = b"\x04\x01\x00\x50\x00\x00\x00\x01\x00marker-of-the-onion.bit\x00";
        assert_eq!(said(front.address, socks4).await, [0, 0x5b, 0, 0, 0, 0, 0, 0]);
        let http = said(front.address, b"CONNECT marker-of-the-onion.bit:80 HTTP/1.1\r\n\r\n").await;
        let http = String::from_utf8(http).unwrap();
        let status = match code {
            2 | 5 => "403",
            6 => "504",
            _ => "503",
        };
        assert!(http.starts_with(&format!("HTTP/1.1 {status} ")), "{http}");
    }
    front.stop().await;
}

#[tokio::test]
async fn without_tor_nothing_goes_anywhere() {
    let backend = names().await;
    let front = Front::start_before(&backend, Backend::nowhere().await, &[]).await;
    for host in [
        "example.com",
        "marker-of-the-onion.bit",
        "marker-of-the-address.bit",
        "marker-of-the.example",
    ] {
        assert_eq!(said(front.address, &socks5(1, host, 80)).await, failed(1), "{host}");
    }
    assert_eq!(
        said(front.address, &socks5(0xf0, "marker-of-the-address.bit", 0)).await[3],
        0
    );
    let complaints = || front.log().matches("cannot connect to Tor").count();
    until("it complains", || (complaints() > 0).then_some(())).await;
    assert_eq!(complaints(), 1, "{}", front.log());
    front.stop().await;
}

#[tokio::test]
async fn what_cannot_be_begun_is_told() {
    let program = Program::new();
    let taken = Tor::start().await;
    let taken = taken.address.to_string();
    let port = Backend::nowhere().await.to_string();
    let url = "--rpc-url=http://127.0.0.1:1";
    for (arguments, words) in [
        (
            &[url, "--listen", &taken][..],
            &["cannot listen", &taken, "--socks-listen"][..],
        ),
        (&[url, "--listen", &port, "--tor", &port], &[&port, "--socks-tor"]),
        (
            &[url, "--listen", "127.0.0.1:0", "--direct"],
            &["--direct", "--socks-tor"],
        ),
        (&[url, "--isolate", "none,auth"], &["none"]),
        (&[url, "--isolate", "query"], &["query"]),
        (&[url, "--tor", "localhost"], &["localhost"]),
    ] {
        let mut command = program.on_regtest();
        command.arg("socks").args(arguments);
        end_of(command).await.assert_failed(words);
    }
}

#[tokio::test]
async fn the_configuration_file_is_heard() {
    let (backend, tor) = (names().await, Tor::start().await);
    let program = Program::new();
    let file = program.home().join("isonym.toml");
    let text = format!(
        "socks-listen = [\"{}\"]\nsocks-tor = \"127.0.0.1:1\"\nsocks-isolate = [\"none\"]\n",
        tor.address
    );
    std::fs::write(&file, text).unwrap();
    // The command line goes over it: else the port would be taken, and Tor elsewhere.
    let config = ["--config", file.to_str().unwrap()];
    let front = Front::start(&backend, &tor, &config).await;
    assert_eq!(said(front.address, &socks5(0xf0, "example.com", 0)).await[3], 0);
    front.stop().await;
}

use proptest::collection::vec;
use proptest::prelude::*;
use tor_socksproto::{SocksAddr, SocksAuth, SocksCmd, SocksRequest, SocksVersion};

use super::super::reply::RequestError;
use super::super::request::{ProxyCommand, ProxyCredentials, ProxyHost, ProxyProtocol, ProxyRequest};
use super::*;

/// What one side sent and how it ended; nothing, where it waits for more.
type Talk<M> = (
    Vec<u8>,
    Option<Result<<M as HandshakeMachine>::Outcome, <M as HandshakeMachine>::Error>>,
);

/// Lets one side talk, where so many bytes arrive at a time.
fn talk<M: HandshakeMachine>(mut side: M, arrives: &[u8], at_once: usize) -> Talk<M> {
    let mut sent = Vec::new();
    let pieces = arrives.chunks(at_once.min(arrives.len()).max(1));
    let events = [HandshakeEvent::Started].into_iter();
    for event in events.chain(pieces.map(HandshakeEvent::Received)) {
        let mut effects = side.on_event(event).into_iter();
        while let Some(effect) = effects.next() {
            let ended = match effect {
                HandshakeEffect::Send(bytes) => {
                    sent.extend(bytes);
                    continue;
                }
                HandshakeEffect::Finished(outcome) => Ok(outcome),
                HandshakeEffect::Failed(error) => Err(error),
            };
            assert!(effects.next().is_none(), "it goes on after its end");
            let after = [HandshakeEvent::Received(b"\x05"), HandshakeEvent::Started];
            assert!(after.into_iter().all(|event| side.on_event(event).is_empty()));
            return (sent, Some(ended));
        }
    }
    (sent, None)
}

fn heard(bytes: &[u8]) -> (Vec<u8>, AcceptedRequest) {
    let (sent, ended) = talk(ServerHandshake::new(), bytes, usize::MAX);
    match ended {
        Some(Ok(accepted)) => (sent, accepted),
        Some(Err(reply)) => panic!("refused with {reply:?}"),
        None => panic!("it waits for more"),
    }
}

fn error_reply_to(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    match talk(ServerHandshake::new(), bytes, usize::MAX) {
        (sent, Some(Err(ErrorReply(bytes)))) => (sent, bytes),
        (_, Some(Ok(_))) => panic!("accepted"),
        (_, None) => panic!("it waits for more"),
    }
}

const NAME: &[u8] = b"\x05\x01\x00\x03\x08Foo.bit.\x01\xbb";

#[test]
fn requests_of_each_protocol_are_heard() {
    let (said, socks5) = heard(&[b"\x05\x01\x00", NAME, b"early"].concat());
    assert_eq!(said, [5, 0]);
    assert_eq!(socks5.request.protocol, ProxyProtocol::Socks5);
    assert_eq!(socks5.request.command, ProxyCommand::Connect);
    assert_eq!(socks5.request.host, ProxyHost::Name("Foo.bit.".to_owned()));
    assert_eq!((socks5.request.port, socks5.request.credentials), (443, None));
    assert_eq!(socks5.early, b"early");

    let (said, login) = heard(&[b"\x05\x02\x00\x02\x01\x02u\xff\x01p", NAME].concat());
    assert_eq!(said, [5, 2, 1, 0]);
    let who = ProxyCredentials {
        user: b"u\xff".to_vec(),
        password: b"p".to_vec(),
    };
    assert_eq!(login.request.credentials, Some(who));

    let (said, socks4) = heard(b"\x04\x01\x00\x50\x00\x00\x00\x07carol\x00foo.bit\x00hi");
    assert!(said.is_empty());
    assert_eq!(socks4.request.protocol, ProxyProtocol::Socks4);
    assert_eq!(socks4.request.host, ProxyHost::Name("foo.bit".to_owned()));
    let who = ProxyCredentials {
        user: b"carol".to_vec(),
        password: Vec::new(),
    };
    assert_eq!((socks4.request.port, socks4.request.credentials), (80, Some(who)));
    assert_eq!(socks4.early, b"hi");

    let (_, address) = heard(b"\x04\x01\x00\x50\x01\x02\x03\x04\x00");
    assert_eq!(address.request.host, ProxyHost::Address([1, 2, 3, 4].into()));
    for (code, command) in [(0xf0, ProxyCommand::Resolve), (0xf1, ProxyCommand::ResolvePtr)] {
        let (_, asked) = heard(&[b"\x05\x01\x00\x05", &[code][..], b"\x00\x03\x01a\x00\x00"].concat());
        assert_eq!((asked.request.command, asked.request.port), (command, 0));
    }
}

#[test]
fn what_cannot_be_used_is_refused_as_tor_does() {
    let none = &[5, 0][..];
    let failed = |code| vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0];
    for (bytes, said, expected) in [
        (&b"\x05\x01\x01"[..], &[][..], vec![5, 0xff]),
        (b"\x05\x00", &[], vec![5, 0xff]),
        (b"\x05\x01\x00\x04\x01\x00\x01\x01\x02\x03\x04\x00\x50", none, failed(1)),
        (b"\x05\x01\x00\x05\x02\x00\x01\x01\x02\x03\x04\x00\x50", none, failed(7)),
        (b"\x05\x01\x00\x05\x03\x00\x03\x01a\x00\x50", none, failed(7)),
        (b"\x05\x01\x00\x05\x01\x00\x02\x01a\x00\x50", none, failed(8)),
        (b"\x05\x01\x00\x05\x01\x00\x03\x02a \x00\x50", none, failed(1)),
        (b"\x05\x01\x00\x05\x01\x00\x03\x02\xc3\xa9\x00\x50", none, failed(1)),
        (b"\x05\x01\x00\x05\x01\x00\x03\x02\xff\xff\x00\x50", none, failed(1)),
        (b"\x05\x01\x00\x05\x01\x00\x03\x09foo.bit\0x\x00\x50", none, failed(1)),
        (b"\x05\x01\x00\x05\x01\x00\x03\x00\x00\x50", none, failed(1)),
        (b"\x05\x01\x00\x05\x01\x00\x03\x01a\x00\x00", none, failed(1)),
        (b"\x05\x01\x02\x02\x01u\x01p", &[5, 2], vec![]),
        (
            b"\x04\x02\x00\x50\x01\x02\x03\x04\x00",
            &[],
            vec![0, 0x5b, 0, 0, 0, 0, 0, 0],
        ),
        (
            b"\x04\x01\x00\x50\x00\x00\x00\x01\x00a b\x00",
            &[],
            vec![0, 0x5b, 0, 0, 0, 0, 0, 0],
        ),
        (
            &[&b"\x04\x01\x00\x50\x01\x02\x03\x04"[..], &[7; 2000]].concat(),
            &[],
            vec![0, 0x5b, 0, 0, 0, 0, 0, 0],
        ),
        (b"\x16\x03\x01", &[], vec![]),
    ] {
        assert_eq!(error_reply_to(bytes), (said.to_vec(), expected), "{bytes:?}");
    }
}

/// What is asked of Tor for a request, and what came of its replies.
fn asked(
    request: &ProxyRequest,
    replies: &[u8],
    at_once: usize,
) -> (Vec<u8>, Option<Result<ProxyReply, RequestError>>) {
    let onward = request.onward(&request.host, request.credentials.as_ref()).unwrap();
    talk(ClientHandshake::new(onward), replies, at_once)
}

#[test]
fn tor_is_asked_for_the_same_with_the_same_credentials() {
    let reply = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00";
    let plain = b"\x05\x01\x00\x05\x01\x00\x03\x08Foo.com.\x01\xbb";
    let login = b"\x05\x01\x02\x01\x02u\xff\x00\x05\xf0\x00\x03\x08Foo.com.\x00\x00";
    for (request, replies) in [(&plain[..], &b"\x05\x00"[..]), (login, b"\x05\x02\x01\x00")] {
        let (_, AcceptedRequest { request: heard, .. }) = heard(request);
        let (said, answer) = asked(&heard, &[replies, reply, b"SSH"].concat(), usize::MAX);
        assert_eq!(said, request);
        let answer = answer.unwrap().ok().unwrap();
        assert!(answer.is_success());
        assert_eq!((&answer.message[..], &answer.rest[..]), (&reply[..], &b"SSH"[..]));
    }
    for request in [
        &b"\x04\x01\x00\x50\x00\x00\x00\x01carol\x00Foo.com.\x00"[..],
        b"\x04\x01\x00\x50\x01\x02\x03\x04\x00",
    ] {
        let (_, AcceptedRequest { request: heard, .. }) = heard(request);
        let (said, answer) = asked(&heard, b"\x00\x5b\x00\x00\x00\x00\x00\x00", usize::MAX);
        assert_eq!(said, request);
        let answer = answer.unwrap().ok().unwrap();
        assert_eq!(
            (answer.code, &answer.message[..]),
            (1, &b"\x00\x5b\x00\x00\x00\x00\x00\x00"[..])
        );
    }
}

#[test]
fn codes_of_tor_are_handed_on() {
    let (_, AcceptedRequest { request, .. }) = heard(b"\x05\x01\x00\x05\x01\x00\x03\x08Foo.com.\x01\xbb");
    for code in 0..=u8::MAX {
        let reply = [5, code, 0, 1, 0, 0, 0, 0, 0, 0];
        let (_, answer) = asked(&request, &[&[5, 0][..], &reply].concat(), 1);
        let answer = answer.unwrap().ok().unwrap();
        assert_eq!((answer.code, &answer.message[..]), (code, &reply[..]));
    }
}

#[test]
fn credentials_are_never_left_out() {
    let (_, AcceptedRequest { request, .. }) = heard(b"\x05\x01\x02\x01\x01u\x01p\x05\x01\x00\x03\x01a\x00\x50");
    for replies in [&[5, 0][..], &[5, 0xff], &[5, 2, 1, 1], b"HTTP/1.1 400"] {
        let (said, ended) = asked(&request, replies, usize::MAX);
        assert_eq!(ended.map(Result::err), Some(Some(RequestError::General)), "{replies:?}");
        assert!(!said.ends_with(b"a\x00\x50"), "{replies:?}");
    }
}

fn requests() -> impl Strategy<Value = SocksRequest> {
    let host = prop_oneof![
        "[a-zA-Z0-9._-]{1,255}".prop_map(|name| SocksAddr::Hostname(name.try_into().unwrap())),
        any::<[u8; 4]>().prop_map(|address| SocksAddr::Ip(address.into())),
        any::<[u8; 16]>().prop_map(|address| SocksAddr::Ip(address.into())),
    ];
    let auth = prop_oneof![
        Just(SocksAuth::NoAuth),
        vec(1u8.., 1..255).prop_map(SocksAuth::Socks4),
        (vec(any::<u8>(), 0..=255), vec(any::<u8>(), 0..=255))
            .prop_map(|(user, password)| SocksAuth::Username(user, password)),
    ];
    (host, auth, 1u16.., 0..3usize).prop_filter_map("SOCKS4 has other addresses", |(host, auth, port, command)| {
        let command = [SocksCmd::CONNECT, SocksCmd::RESOLVE, SocksCmd::RESOLVE_PTR][command];
        let version = match (&auth, &host) {
            (SocksAuth::Socks4(_), SocksAddr::Ip(std::net::IpAddr::V4(address))) if u32::from(*address) >> 8 == 0 => {
                return None;
            }
            (SocksAuth::Socks4(_), SocksAddr::Ip(std::net::IpAddr::V6(_))) => return None,
            (SocksAuth::Socks4(_), _) => SocksVersion::V4,
            _ => SocksVersion::V5,
        };
        SocksRequest::new(version, command, host, port, auth).ok()
    })
}

/// What a client of tor-socksproto says for a request.
fn spoken(request: SocksRequest) -> Vec<u8> {
    let replies: &[u8] = match (request.version(), request.auth()) {
        (SocksVersion::V4, _) => b"",
        (_, SocksAuth::NoAuth) => b"\x05\x00",
        _ => b"\x05\x02\x01\x00",
    };
    talk(ClientHandshake::new(request), replies, usize::MAX).0
}

proptest! {
    #[test]
    fn any_bytes_are_read_the_same_in_any_pieces(bytes in vec(any::<u8>(), 0..600), first in 0..6usize, at_once in 1..20usize) {
        let begins: [&[u8]; 6] = [b"", b"\x04\x01", b"\x05\x01\x00\x05\x01\x00\x03", b"\x05\x01\x02\x01", b"\x05\x01\x00\x05", b"\x04\x01\x00\x50\x00\x00\x00\x01"];
        let bytes = [begins[first], &bytes].concat();
        let whole = talk(ServerHandshake::new(), &bytes, usize::MAX);
        let pieces = talk(ServerHandshake::new(), &bytes, at_once);
        prop_assert_eq!(whole.0, pieces.0);
        match (whole.1, pieces.1) {
            (None, None) => {}
            (Some(Ok(whole)), Some(Ok(pieces))) => prop_assert!(whole.request == pieces.request),
            (Some(Err(whole)), Some(Err(pieces))) => prop_assert_eq!(whole, pieces),
            _ => prop_assert!(false, "they end in different ways"),
        }
    }

    #[test]
    fn what_is_heard_is_asked_in_the_same_words(asked in requests()) {
        let words = spoken(asked);
        let (_, AcceptedRequest { request, early }) = heard(&words);
        prop_assert!(early.is_empty());
        match request.onward(&request.host, request.credentials.as_ref()) {
            Some(onward) => prop_assert_eq!(spoken(onward), words),
            None => prop_assert!(request.host.handled().is_some()),
        }
    }

    #[test]
    fn whatever_tor_says_is_an_answer_or_none(asked in requests(), replies in vec(any::<u8>(), 0..300), at_once in 1..20usize) {
        let _ = talk(ClientHandshake::new(asked.clone()), &replies, at_once);
        let _ = talk(ClientHandshake::new(asked), &[b"\x05\x00\x05\x00", &replies[..]].concat(), at_once);
    }
}

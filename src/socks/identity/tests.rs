use proptest::collection::vec;
use proptest::prelude::*;

use super::super::request::{ProxyCommand, ProxyHost};
use super::*;

fn request(protocol: ProxyProtocol, credentials: Option<(&[u8], &[u8])>) -> ProxyRequest {
    ProxyRequest {
        protocol,
        command: ProxyCommand::Connect,
        host: ProxyHost::Name("a.bit".to_owned()),
        port: 80,
        credentials: credentials.map(|(user, password)| ProxyCredentials {
            user: user.to_vec(),
            password: password.to_vec(),
        }),
    }
}

fn caller(address: &str, connection: u64) -> SocksCaller {
    SocksCaller {
        listener: ([127, 0, 0, 1], 9052).into(),
        address: address.parse().unwrap(),
        connection,
    }
}

fn isolate(by: &[IsolateBy]) -> IsolationFlags {
    IsolationFlags(by.iter().copied().collect())
}

#[test]
fn equal_callers_have_equal_ids() {
    let epoch = IdentityEpoch::new([1; 32]);
    let id = |isolate: &IsolationFlags, caller, request: &ProxyRequest| epoch.id(isolate, &caller, request).unwrap();
    let isolated = IsolationFlags::default();
    let alice = request(ProxyProtocol::Socks5, Some((b"alice", b"one")));
    let base = id(&isolated, caller("127.0.0.1", 1), &alice);
    assert_eq!(id(&isolated, caller("127.0.0.1", 2), &alice), base);
    assert_eq!(id(&isolated, caller("::ffff:127.0.0.1", 2), &alice), base);
    assert_eq!(
        id(
            &isolated,
            caller("127.0.0.1", 2),
            &request(ProxyProtocol::Http, Some((b"alice", b"one")))
        ),
        base
    );
    let mut elsewhere = alice.clone();
    elsewhere.host = ProxyHost::Name("b.bit".to_owned());
    assert_eq!(id(&isolated, caller("127.0.0.1", 1), &elsewhere), base);
    assert_ne!(id(&isolated, caller("127.0.0.2", 1), &alice), base);
    for (user, password) in [
        (&b"alice"[..], &b"two"[..]),
        (b"bob", b"one"),
        (b"aliceo", b"ne"),
        (b"", b"aliceone"),
    ] {
        let other = request(ProxyProtocol::Socks5, Some((user, password)));
        assert_ne!(id(&isolated, caller("127.0.0.1", 1), &other), base);
    }
    let other_listener = SocksCaller {
        listener: ([127, 0, 0, 1], 9053).into(),
        ..caller("127.0.0.1", 1)
    };
    assert_ne!(
        id(&isolate(&[]), other_listener, &alice),
        id(&isolate(&[]), caller("127.0.0.1", 1), &alice)
    );

    let nobody = id(&isolated, caller("127.0.0.1", 1), &request(ProxyProtocol::Socks5, None));
    assert_eq!(
        id(
            &isolated,
            caller("127.0.0.1", 1),
            &request(ProxyProtocol::Socks5, Some((b"", b"")))
        ),
        nobody
    );
    assert_eq!(
        id(&isolated, caller("127.0.0.1", 1), &request(ProxyProtocol::Socks4, None)),
        nobody
    );
}

#[test]
fn settings_say_what_counts() {
    let epoch = IdentityEpoch::new([1; 32]);
    let differ = |by: &[IsolateBy], one: (SocksCaller, &ProxyRequest), other: (SocksCaller, &ProxyRequest)| {
        epoch.id(&isolate(by), &one.0, one.1) != epoch.id(&isolate(by), &other.0, other.1)
    };
    let alice = request(ProxyProtocol::Socks5, Some((b"alice", b"")));
    let bob = request(ProxyProtocol::Socks5, Some((b"bob", b"")));
    let mut elsewhere = alice.clone();
    elsewhere.host = ProxyHost::Name("b.bit".to_owned());
    let mut same = alice.clone();
    same.host = ProxyHost::Name("A.BIT.".to_owned());
    let here = caller("127.0.0.1", 1);
    for (by, auth, address, port, destination) in [
        (&[][..], false, false, false, false),
        (&[IsolateBy::Auth], true, false, false, false),
        (&[IsolateBy::Address], false, true, false, false),
        (&[IsolateBy::Port], false, false, true, false),
        (&[IsolateBy::Destination], false, false, false, true),
        (
            &[
                IsolateBy::Destination,
                IsolateBy::Auth,
                IsolateBy::Port,
                IsolateBy::Address,
            ],
            true,
            true,
            true,
            true,
        ),
    ] {
        assert_eq!(differ(by, (here, &alice), (here, &bob)), auth);
        assert_eq!(differ(by, (here, &alice), (caller("127.0.0.2", 1), &alice)), address);
        assert_eq!(differ(by, (here, &alice), (caller("127.0.0.1", 2), &alice)), port);
        assert_eq!(differ(by, (here, &alice), (here, &elsewhere)), destination);
        assert!(!differ(by, (here, &alice), (here, &same)));
    }
    for (word, by) in [
        ("auth", IsolateBy::Auth),
        ("address", IsolateBy::Address),
        ("port", IsolateBy::Port),
        ("destination", IsolateBy::Destination),
    ] {
        assert_eq!(word.parse(), Ok(by));
    }
    assert_eq!("query".parse::<IsolateBy>(), Err(UnknownIsolateBy));
}

#[test]
fn ids_tell_nothing_and_are_renewed() {
    let epoch = IdentityEpoch::new([1; 32]);
    let marked = request(ProxyProtocol::Socks5, Some((b"marker", b"marker")));
    let here = caller("127.0.0.1", 1);
    let isolated = isolate(&[
        IsolateBy::Auth,
        IsolateBy::Address,
        IsolateBy::Port,
        IsolateBy::Destination,
    ]);
    let id = epoch.id(&isolated, &here, &marked).unwrap();
    let text = std::str::from_utf8(id.as_bytes()).unwrap();
    let hex = text.strip_prefix("socks-").unwrap();
    assert!(
        hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{text}"
    );
    let other = epoch.id(&IsolationFlags::default(), &here, &marked).unwrap();
    let mut old = epoch.renew([2; 32]);
    old.sort();
    let mut expected = vec![id.clone(), other];
    expected.sort();
    assert_eq!(old, expected);
    let new = epoch.id(&isolated, &here, &marked).unwrap();
    assert_ne!(new, id);
    assert_eq!(epoch.renew([3; 32]), [new]);
    assert_eq!(epoch.renew([4; 32]), []);
    for number in 0..5000 {
        epoch.id(&isolate(&[IsolateBy::Port]), &caller("127.0.0.1", number), &marked);
    }
    assert_eq!(epoch.renew([5; 32]).len(), REMEMBERED);
    assert!(!format!("{epoch:?} {here:?}").contains("127"));
}

#[test]
fn programs_of_this_machine_call_themselves_what_they_want() {
    let epoch = IdentityEpoch::new([1; 32]);
    for here in [
        caller("127.0.0.1", 1),
        caller("127.9.9.9", 1),
        caller("::1", 1),
        caller("::ffff:127.0.0.1", 1),
    ] {
        for protocol in [ProxyProtocol::Socks4, ProxyProtocol::Socks5, ProxyProtocol::Http] {
            for said in [None, Some((&b""[..], &b""[..])), Some((b"u\xff", b"p"))] {
                let request = request(protocol, said);
                assert_eq!(epoch.credentials(&here, &request), request.credentials);
            }
        }
        let reserved = request(ProxyProtocol::Socks5, Some((b"<torS0X>1", b"p")));
        assert_eq!(epoch.credentials(&here, &reserved), reserved.credentials);
    }
}

#[test]
fn strangers_and_long_headers_are_hashed() {
    let epoch = IdentityEpoch::new([1; 32]);
    let named = |caller: SocksCaller, request: &ProxyRequest| {
        let made = epoch.credentials(&caller, request).unwrap();
        let hex = |bytes: &[u8]| bytes.len() == 64 && bytes.iter().all(u8::is_ascii_hexdigit);
        assert!(hex(&made.user) && hex(&made.password));
        made.user
    };
    let (one, other) = (caller("192.0.2.1", 1), caller("192.0.2.2", 1));
    let alice = request(ProxyProtocol::Socks5, Some((b"alice", b"one")));
    let nobody = request(ProxyProtocol::Socks4, None);
    assert_eq!(named(one, &alice), named(one, &alice));
    assert_ne!(named(one, &alice), named(other, &alice));
    assert_ne!(named(one, &alice), named(one, &nobody));
    assert_ne!(named(one, &nobody), named(other, &nobody));
    let before = named(one, &alice);
    epoch.renew([2; 32]);
    assert_ne!(named(one, &alice), before);

    let long = |end: &[u8]| request(ProxyProtocol::Http, Some((&[&[b'a'; 300][..], end].concat(), b"")));
    let here = caller("127.0.0.1", 1);
    assert_ne!(named(here, &long(b"a")), named(here, &long(b"b")));
    let password = request(ProxyProtocol::Http, Some((b"", &[b'p'; 256])));
    named(here, &password);
    named(here, &request(ProxyProtocol::Http, Some((b"<torS0X>1x", b""))));
}

proptest! {
    #[test]
    fn other_credentials_are_other_ids(one in vec(any::<u8>(), 0..6), other in vec(any::<u8>(), 0..6), cut in 0..6usize, other_cut in 0..6usize) {
        let epoch = IdentityEpoch::new([1; 32]);
        let (one, other) = (one.split_at(cut.min(one.len())), other.split_at(other_cut.min(other.len())));
        let id = |said| epoch.id(&IsolationFlags::default(), &caller("127.0.0.1", 1), &request(ProxyProtocol::Socks5, Some(said)));
        prop_assert_eq!(id(one) == id(other), one == other);
    }
}

#[test]
fn circuits_are_kept_apart_as_ids_are_and_renewed_with_them() {
    let epoch = IdentityEpoch::new([1; 32]);
    let flags = IsolationFlags::default();
    let (alice, bob) = (Some((&b"alice"[..], &b"one"[..])), Some((&b"bob"[..], &b"one"[..])));
    let key = |credentials, renewals| {
        let request = request(ProxyProtocol::Socks5, credentials);
        epoch.circuit_key(&flags, &caller("127.0.0.1", 1), &request, renewals)
    };
    let before = key(alice, 0);
    assert_eq!(key(alice, 0), before);
    assert_ne!(key(bob, 0), before);
    assert_ne!(key(alice, 1), before, "all identities were forgotten");
    assert_eq!(epoch.renew([2; 32]), [], "nothing is remembered of streams");
    assert_ne!(key(alice, 0), before);
}

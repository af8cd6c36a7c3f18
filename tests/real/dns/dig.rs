//! BIND's `dig` as a client.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::json;

use isonym_testkit::backend::{Backend, Call, Says};
use isonym_testkit::dns::server::Dns;
use isonym_testkit::harness::end_of;

/// What dig printed.
struct Dug(String);

impl Dug {
    async fn up(server: SocketAddr, arguments: &str) -> Self {
        let mut command = Command::new("dig");
        let (ip, port) = (server.ip(), server.port());
        command.args([format!("@{ip}"), format!("-p{port}")]);
        command.args([
            "+tries=1",
            "+time=60",
            "+noall",
            "+comments",
            "+answer",
            "+authority",
            "+additional",
        ]);
        command.args(arguments.split(' '));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", "/nonexistent");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let end = end_of(command).await;
        end.assert_succeeded();
        // Of all that it warns of when it finds fault, this is none.
        let faults = end.out.replace(";; WARNING: recursion requested but not available", "");
        for word in [
            "WARNING",
            "Warning",
            "malformed",
            "mismatch",
            "extra bytes",
            "timed out",
        ] {
            assert!(!faults.contains(word), "{arguments}: {}", end.out);
        }
        Self(end.out)
    }

    fn behind(&self, start: &str, end: &str) -> &str {
        let found = self
            .0
            .split_once(start)
            .unwrap_or_else(|| panic!("no {start:?} in {}", self.0));
        found.1.split(end).next().unwrap()
    }

    fn status(&self) -> &str {
        self.behind("status: ", ",")
    }

    fn flags(&self) -> &str {
        self.behind(";; flags: ", ";")
    }

    /// The records, with single spaces and without TTLs.
    fn records(&self) -> Vec<String> {
        let lines = self.0.lines().filter(|line| !line.is_empty() && !line.starts_with(';'));
        let fields = lines.map(|line| line.split_whitespace().enumerate().filter(|(at, _)| *at != 1));
        fields
            .map(|fields| fields.map(|(_, field)| field).collect::<Vec<_>>().join(" "))
            .collect()
    }
}

/// A name with all types of records that a value can give, each with members that can't be served.
fn every_type() -> serde_json::Value {
    let sha256 = "q1NdUVM7HRfcMgRJ4RV0VUkHkVkqnXX+FGaR7HTzYxE=";
    json!({
        "ip": ["192.0.2.1", "192.0.2.01"], "ip6": ["2001:db8::1", "::ffff:192.0.2.1"],
        "txt": ["one", ["two", "more", 5], []],
        "mx": [[10, "mx"], [70_000, "mx"], [1, "192.0.2.1"]],
        "srv": [[1, 2, 3, "srv"], [1, 2, 3, "."]],
        "loc": ["52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m", "somewhere"],
        "sshfp": [[4, 2, "AAAA"], [4, 1, sha256], [4, 3, ""], [4, 2, sha256]],
        "tls": [[3, 1, 1, "AAAA"], [3, 1, 2, sha256], [3, 1, 0, ""], [3, 1, 1, sha256]],
    })
}

/// The records of [`every_type`], as dig shows them.
const EVERY_TYPE: &[&str] = &[
    "A 192.0.2.1",
    "AAAA 2001:db8::1",
    "LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m",
    "MX 10 mx.every.bit.",
    "SRV 1 2 3 srv.every.bit.",
    "SSHFP 4 2 AB535D51533B1D17DC320449E1157455490791592A9D75FE146691EC 74F36311",
    "TLSA 3 1 1 AB535D51533B1D17DC320449E1157455490791592A9D75FE146691EC 74F36311",
    "TXT \"one\"",
    "TXT \"two\" \"more\"",
];

/// Whatever stands in a value: clients take the message, and the members that are well.
#[tokio::test]
async fn records_of_every_type() {
    let (dns, _backend) = served(&[]).await;
    for kind in ["A", "AAAA", "LOC", "MX", "SRV", "SSHFP", "TLSA", "TXT"] {
        let dug = Dug::up(dns.address, &format!("every.bit {kind}")).await;
        let expected = EVERY_TYPE
            .iter()
            .filter(|record| record.split(' ').next() == Some(kind));
        let expected: Vec<String> = expected.map(|record| format!("every.bit. IN {record}")).collect();
        assert_eq!(dug.records(), expected, "{kind}");
    }
    let cut = Dug::up(dns.address, "signed-cut.bit DS").await;
    let digest = "AB535D51533B1D17DC320449E1157455490791592A9D75FE146691EC 74F36311";
    assert_eq!(cut.records(), [format!("signed-cut.bit. IN DS 1 13 2 {digest}")]);
    let broken = Dug::up(dns.address, "broken-cut.bit DS").await;
    let zeros = format!("{} {}", "0".repeat(56), "0".repeat(8));
    assert_eq!(broken.records(), [format!("broken-cut.bit. IN DS 0 13 2 {zeros}")]);
    // As strict as they come, and what our own command prints is what they show.
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-c").arg(DNSPYTHON).arg(dns.address.port().to_string());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let end = end_of(command).await;
    end.assert_succeeded();
    assert_eq!(end.out.lines().collect::<Vec<_>>(), ["11 records"], "{end:?}");
    dns.stop().await;
}

/// Reads all of it with dnspython, which refuses messages that others let pass.
const DNSPYTHON: &str = "
import sys, dns.message, dns.query
count = 0
for name, kinds in (('every.bit.', 'A AAAA LOC MX SRV SSHFP TLSA TXT'), ('signed-cut.bit.', 'DS'), ('broken-cut.bit.', 'DS')):
    for kind in kinds.split():
        query = dns.message.make_query(name, kind)
        reply = dns.query.udp(query, '127.0.0.1', port=int(sys.argv[1]), timeout=60)
        for rrset in reply.answer:
            for record in rrset:
                record.to_text()
                count += 1
print(count, 'records')
";

/// A server with one name of each kind.
async fn served(arguments: &[&str]) -> (Dns, Backend) {
    let backend = Backend::start().await;
    let long: Vec<String> = (0..9).map(|number| format!("{number}{}", "x".repeat(70))).collect();
    for (name, value) in [
        (
            "d/plain",
            json!({ "ip": "192.0.2.1", "ip6": "2001:db8::1", "map": { "www": { "alias": "@" } } }),
        ),
        ("d/long", json!({ "txt": long })),
        ("d/cut", json!({ "ns": "ns", "map": { "ns": "192.0.2.53" } })),
        ("d/moved", json!({ "translate": "example.com." })),
        ("d/every", every_type()),
        (
            "d/signed-cut",
            json!({ "ns": "ns", "ds": [
                [1, 13, 2, "AAAA"],
                [1, 13, 0, "AAAA"],
                [1, 13, 3, "AAAA"],
                [1, 13, 2, "q1NdUVM7HRfcMgRJ4RV0VUkHkVkqnXX+FGaR7HTzYxE="],
            ] }),
        ),
        ("d/broken-cut", json!({ "ns": "ns", "ds": [[1, 13, 2, "AAAA"]] })),
    ] {
        backend.say(name, Says::value(&value));
    }
    (Dns::start(&backend, arguments).await, backend)
}

#[tokio::test]
async fn plain_questions_over_udp_and_tcp() {
    let (dns, _backend) = served(&[]).await;
    for way in ["+notcp", "+tcp", "+noedns", "+nocookie", "+edns=0"] {
        let dug = Dug::up(dns.address, &format!("{way} plain.bit A")).await;
        assert_eq!((dug.status(), dug.flags()), ("NOERROR", "qr aa rd"), "{}", dug.0);
        assert_eq!(dug.records(), ["plain.bit. IN A 192.0.2.1"], "{way}");
    }
    let dug = Dug::up(dns.address, "+norec plain.bit AAAA").await;
    assert_eq!(dug.flags(), "qr aa");
    assert_eq!(dug.records(), ["plain.bit. IN AAAA 2001:db8::1"]);
    let dug = Dug::up(dns.address, "plain.bit ANY").await;
    assert_eq!((dug.status(), dug.records().len()), ("NOERROR", 1), "{}", dug.0);
    let dug = Dug::up(dns.address, "www.plain.bit A").await;
    assert_eq!(dug.records(), ["www.plain.bit. IN CNAME plain.bit."]);
    let dug = Dug::up(dns.address, "a.moved.bit MX").await;
    let moved = [
        "moved.bit. IN DNAME example.com.",
        "a.moved.bit. IN CNAME a.example.com.",
    ];
    assert_eq!(dug.records(), moved);
    let dug = Dug::up(dns.address, "+norec www.cut.bit A").await;
    assert_eq!((dug.status(), dug.flags()), ("NOERROR", "qr"));
    assert_eq!(
        dug.records(),
        ["cut.bit. IN NS ns.cut.bit.", "ns.cut.bit. IN A 192.0.2.53"]
    );
    dns.stop().await;
}

#[tokio::test]
async fn negative_answers() {
    let (dns, backend) = served(&[]).await;
    backend.say("d/broken", Says::Code(-1));
    let soa = "bit. IN SOA this.x--nmc.bit. . 1 600 600 7200 600";
    for (asked, status, flags, records) in [
        ("nosuch.bit", "NXDOMAIN", "qr aa rd", &[soa][..]),
        ("nosuch.plain.bit", "NXDOMAIN", "qr aa rd", &[soa]),
        ("plain.bit MX", "NOERROR", "qr aa rd", &[soa]),
        ("example.com", "REFUSED", "qr rd", &[]),
        // Transfers are asked for over TCP, and without recursion.
        ("plain.bit AXFR", "REFUSED", "qr", &[]),
        ("broken.bit", "SERVFAIL", "qr rd", &[]),
    ] {
        let dug = Dug::up(dns.address, asked).await;
        assert_eq!((dug.status(), dug.flags()), (status, flags), "{asked}: {}", dug.0);
        assert_eq!(dug.records(), records, "{asked}");
    }
    let dug = Dug::up(dns.address, "broken.bit").await;
    assert!(
        dug.behind("EDE: ", "\n").starts_with("23 (Network Error): "),
        "{}",
        dug.0
    );
    let dug = Dug::up(dns.address, "+edns=1 +noednsneg plain.bit").await;
    assert_eq!(dug.status(), "BADVERS");
    let dug = Dug::up(dns.address, "+opcode=notify +noedns plain.bit").await;
    assert_eq!(dug.status(), "NOTIMP");
    dns.stop().await;
}

#[tokio::test]
async fn edns_as_the_client_wants_it() {
    let (dns, backend) = served(&[]).await;
    // "me"
    let dug = Dug::up(dns.address, "+ednsopt=65312:6d65 plain.bit").await;
    assert_eq!(dug.records(), ["plain.bit. IN A 192.0.2.1"]);
    assert!(!dug.0.contains("65312"), "{}", dug.0);
    let call = Call {
        name: "d/plain".to_owned(),
        id: Some("me".to_owned()),
    };
    assert_eq!(backend.calls(), [call]);

    let dug = Dug::up(dns.address, "+dnssec plain.bit").await;
    assert_eq!(dug.records(), ["plain.bit. IN A 192.0.2.1"]);
    assert_eq!(dug.behind("; EDNS: ", "\n"), "version: 0, flags: do; udp: 1232");

    // It says so where an answer is cut, and dig comes again over TCP.
    for way in ["+bufsize=512", "+noedns"] {
        let dug = Dug::up(dns.address, &format!("{way} +ignore long.bit TXT")).await;
        assert_eq!((dug.flags(), dug.records().len()), ("qr aa tc rd", 0), "{}", dug.0);
        let dug = Dug::up(dns.address, &format!("{way} long.bit TXT")).await;
        assert!(dug.0.contains("retrying in TCP mode"), "{}", dug.0);
        assert_eq!((dug.flags(), dug.records().len()), ("qr aa rd", 9));
    }
    let dug = Dug::up(dns.address, "+bufsize=1232 +ignore long.bit TXT").await;
    assert_eq!((dug.flags(), dug.records().len()), ("qr aa rd", 9));
    dns.stop().await;

    let (dns, _backend) = served(&["--dns-echo-id"]).await;
    let dug = Dug::up(dns.address, "+ednsopt=65312:6d65 plain.bit").await;
    assert!(dug.behind("; OPT=65312: ", "\n").contains("6d 65"), "{}", dug.0);
    dns.stop().await;
}

#[tokio::test]
async fn the_version_is_told_only_on_request() {
    let (dns, _backend) = served(&[]).await;
    let dug = Dug::up(dns.address, "CH TXT version.bind").await;
    assert_eq!((dug.status(), dug.records().len()), ("REFUSED", 0));
    dns.stop().await;
    let (dns, _backend) = served(&["--dns-version=none of yours"]).await;
    for name in ["version.bind", "version.server"] {
        let dug = Dug::up(dns.address, &format!("CH TXT {name}")).await;
        assert_eq!(dug.records(), [format!("{name}. CH TXT \"none of yours\"")]);
    }
    dns.stop().await;
}

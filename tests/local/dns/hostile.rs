//! Messages and values that mean harm: the server answers them or drops them, and lives.

use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use isonym_testkit::backend::{Backend, Says};
use isonym_testkit::dns::server::Dns;
use isonym_testkit::dns::wire::{
    Datagrams, Line, Reply, assert_lives, edns_query, framed, query, query_as, soon, tcp, udp,
};

const IP: &str = r#"{"ip":"192.0.2.1"}"#;

/// A header with these flags and counts, and what follows.
fn message(flags: u16, counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xbe, 0xef];
    bytes.extend(flags.to_be_bytes());
    for count in counts {
        bytes.extend(count.to_be_bytes());
    }
    bytes.extend(rest);
    bytes
}

/// The question for `x.bit A`.
const QUESTION: &[u8] = b"\x01x\x03bit\x00\x00\x01\x00\x01";

fn with_question(counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
    message(0, counts, &[QUESTION, rest].concat())
}

/// The response code of most of them.
const FORMERR: Option<u8> = Some(1);

/// What is asked, and the response code; `None` where there is no reply.
fn malformed() -> Vec<(&'static str, Vec<u8>, Option<u8>)> {
    let opt = |options: &[u8]| {
        let length = u16::try_from(options.len()).unwrap().to_be_bytes();
        [b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00", &length[..], options].concat()
    };
    let long_name = [[63; 64].repeat(5), b"\x00\x00\x01\x00\x01".to_vec()].concat();
    let many_questions = QUESTION.repeat(300);
    vec![
        ("nothing", vec![], None),
        ("one byte", vec![0], None),
        ("less than a header", message(0, [1, 0, 0, 0], &[])[..11].to_vec(), None),
        ("a response", message(0x8000, [1, 0, 0, 0], QUESTION), None),
        ("a response without anything", message(0x8000, [0; 4], &[]), None),
        ("no question", message(0, [0; 4], &[]), FORMERR),
        ("two questions", with_question([2, 0, 0, 0], QUESTION), FORMERR),
        ("many questions", message(0, [300, 0, 0, 0], &many_questions), FORMERR),
        (
            "more questions than there are",
            with_question([65_535, 0, 0, 0], &[]),
            FORMERR,
        ),
        (
            "more records than there are",
            with_question([1, 65_535, 65_535, 65_535], &[]),
            FORMERR,
        ),
        ("half a question", message(0, [1, 0, 0, 0], &QUESTION[..7]), FORMERR),
        (
            "a name that points at itself",
            message(0, [1, 0, 0, 0], b"\xc0\x0c\x00\x01\x00\x01"),
            FORMERR,
        ),
        (
            "a name that points ahead",
            message(0, [1, 0, 0, 0], b"\xc0\x20\x00\x01\x00\x01"),
            FORMERR,
        ),
        (
            "names that point at each other",
            message(0, [1, 0, 0, 0], b"\x01a\xc0\x0e\xc0\x0c\x00\x01\x00\x01"),
            FORMERR,
        ),
        (
            "a label that points back into itself",
            message(0, [1, 0, 0, 0], b"\x03abc\xc0\x0c\x00\x01\x00\x01"),
            FORMERR,
        ),
        (
            "a pointer into the header",
            message(0, [1, 0, 0, 0], b"\xc0\x00\x00\x01\x00\x01"),
            FORMERR,
        ),
        (
            "a label of an unknown kind",
            message(0, [1, 0, 0, 0], b"\x40a\x00\x00\x01\x00\x01"),
            FORMERR,
        ),
        ("a name that is too long", message(0, [1, 0, 0, 0], &long_name), FORMERR),
        (
            "two OPT records",
            with_question([1, 0, 0, 2], &[opt(&[]), opt(&[])].concat()),
            FORMERR,
        ),
        (
            "an option that is longer than its record",
            with_question([1, 0, 0, 1], &opt(b"\xff\x20\xff\xff")),
            FORMERR,
        ),
        ("half an option", with_question([1, 0, 0, 1], &opt(b"\xff")), FORMERR),
        (
            "an OPT with a name",
            with_question([1, 0, 0, 1], b"\x01a\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"),
            FORMERR,
        ),
    ]
}

#[tokio::test]
async fn malformed_messages() {
    let backend = Backend::start().await;
    backend.say("d/x", Says::value(IP));
    let dns = Dns::start(&backend, &[]).await;
    for (what, bytes, code) in malformed() {
        let client = Datagrams::open(dns.address).await;
        client.send(&bytes).await;
        let good = query("x.bit", "A");
        client.send(&good.to_vec().unwrap()).await;
        let mut replies = Vec::new();
        loop {
            let reply = client.receive().await;
            if Reply::read(&reply).message.metadata.id == good.metadata.id {
                break;
            }
            replies.push(reply);
        }
        let codes: Vec<u8> = replies.iter().map(|reply| reply[3] & 15).collect();
        assert_eq!(codes, code.into_iter().collect::<Vec<_>>(), "{what}");
        for reply in replies {
            assert_eq!(reply[..2], [0xbe, 0xef], "{what}");
            assert_eq!(reply[2] & 0x80, 0x80, "{what}");
            assert!(reply.len() <= 512);
        }
        let mut line = Line::open(dns.address).await;
        line.stream.write_all(&framed(&bytes)).await.unwrap();
        end_soon(&mut line).await;
    }
    assert_lives(dns.address).await;
    assert!(backend.count() <= 1, "{:?}", backend.calls());
    dns.stop().await;
}

/// Reads what comes in a short while, or to the end.
async fn end_soon(line: &mut Line) {
    let mut rest = vec![0; 4096];
    let _ = timeout(std::time::Duration::from_millis(20), line.stream.read(&mut rest)).await;
}

/// Changes a message in a few places.
fn change(bytes: &mut Vec<u8>, rng: &mut StdRng) {
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.random()),
            2 => {
                let again = bytes[at..].to_vec();
                bytes.extend(again);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = rng.random();
                }
            }
        }
    }
}

#[tokio::test]
async fn random_bytes_and_messages_that_were_right_once() {
    let backend = Backend::start().await;
    backend.say("d/x", Says::value(IP));
    let dns = Dns::start(&backend, &[]).await;
    let mut rng = StdRng::seed_from_u64(1);
    let right: Vec<Vec<u8>> = [
        query("x.bit", "A"),
        edns_query("www.x.bit", "ANY"),
        query_as("marker-of-the-id", "x.bit", "TXT"),
        query("version.bind", "TXT"),
    ]
    .iter()
    .map(|query| query.to_vec().unwrap())
    .collect();
    for round in 0..40 {
        let client = Datagrams::open(dns.address).await;
        for _ in 0..50 {
            let mut bytes = right[rng.random_range(0..right.len())].clone();
            if round % 4 == 0 {
                bytes = vec![0; rng.random_range(0..600)];
                rng.fill(&mut bytes[..]);
            } else {
                change(&mut bytes, &mut rng);
            }
            client.send(&bytes).await;
        }
        // Whatever came back is a response.
        let apex = query("bit", "NS");
        client.send(&apex.to_vec().unwrap()).await;
        loop {
            let reply = client.receive().await;
            assert_eq!(reply[2] & 0x80, 0x80, "{reply:?}");
            let is_apex = Message::from_vec(&reply).is_ok_and(|reply| {
                assert_eq!(reply.metadata.message_type, MessageType::Response);
                reply.metadata.id == apex.metadata.id && !reply.answers.is_empty()
            });
            if is_apex {
                break;
            }
        }
        let mut line = Line::open(dns.address).await;
        let mut bytes = vec![0; 2000];
        rng.fill(&mut bytes[..]);
        let _ = line.stream.write_all(&bytes).await;
    }
    assert_lives(dns.address).await;
    dns.stop().await;
}

#[tokio::test]
async fn names_of_any_bytes() {
    let backend = Backend::start().await;
    backend.say("d/x", Says::value(IP));
    let dns = Dns::start(&backend, &[]).await;
    for label in [
        &b"\x00\xff"[..],
        b"a.b",
        b"\"\\",
        b"\n",
        "\u{fc}".as_bytes(),
        &[b'*'; 63],
    ] {
        for (above, code) in [
            (&[&b"x"[..], b"bit"][..], "NXDOMAIN"),
            (&[b"bit"], "NXDOMAIN"),
            (&[], "REFUSED"),
        ] {
            let mut asked = query("bit", "A");
            let labels = [&[label], above].concat();
            asked.queries[0].set_name(hickory_proto::rr::Name::from_labels(labels).unwrap());
            let reply = udp(dns.address, &asked).await;
            assert_eq!(reply.code(), code, "{label:?} {above:?}");
            assert!(reply.message.queries[0].name().eq_case(asked.queries[0].name()));
        }
    }
    assert!(backend.count() <= 1, "{:?}", backend.calls());
    dns.stop().await;
}

#[tokio::test]
async fn values_as_large_and_deep_as_they_can_be() {
    let lists = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let maps = |depth: usize| format!("{}{{}}{}", r#"{"map":{"a":"#.repeat(depth), "}}".repeat(depth));
    let values = [
        lists(1000),
        maps(1000),
        maps(60),
        format!(r#"{{"x":{},"ip":"192.0.2.1"}}"#, lists(480)),
        "[".repeat(1_000_000),
        "9".repeat(1_000_000),
        format!("\"{}\"", "x".repeat(3_000_000)),
        format!(r#"{{"txt":"{}"}}"#, "x".repeat(1000)),
        format!(r#"{{"txt":["{}"]}}"#, [""; 300].join("\",\"")),
        format!(r#"{{"ip":["{}"]}}"#, ["1.1.1.1"; 90].join("\",\"")),
        format!(r#"{{"ns":["{}"]}}"#, ["a.b."; 120].join("\",\"")),
        "\0".repeat(500),
        r#"{"map":{"map":{"map":{"":{"":{"":{}}}}}}}"#.to_owned(),
        "1e999999999".to_owned(),
    ];
    let backend = Backend::start().await;
    let dns = Dns::start(&backend, &[]).await;
    let before = dns.resident();
    for (number, value) in values.iter().enumerate() {
        backend.say(&format!("d/x{number}"), Says::value(&value));
        for name in [format!("x{number}.bit"), format!("a.a.a.a.x{number}.bit")] {
            for kind in ["A", "ANY", "TXT", "NS"] {
                let asked = edns_query(&name, kind);
                let (small, large) = (udp(dns.address, &asked).await, tcp(dns.address, &asked).await);
                assert_eq!(small.code(), large.code(), "{number} {kind}");
                let known = ["NOERROR", "NXDOMAIN", "SERVFAIL"];
                assert!(known.contains(&small.code().as_str()), "{number} {kind}: {small:?}");
            }
        }
    }
    let grown = dns.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "grew by {grown} bytes");
    assert_lives(dns.address).await;
    dns.stop().await;
}

/// Most names that are looked up for one question.
const MOST: usize = 64;

/// Asks, and returns how many names were asked for.
async fn cost(dns: &Dns, backend: &Backend, name: &str) -> usize {
    let before = backend.count();
    let reply = soon(udp(dns.address, &edns_query(name, "A"))).await;
    assert!(reply.length <= 1232);
    backend.count() - before
}

#[tokio::test]
async fn imports_that_multiply() {
    let backend = Backend::start().await;
    let dns = Dns::start(&backend, &[]).await;

    // ncdns asks more than 7000 times for one question about this.
    let labels: serde_json::Map<_, _> = (b'a'..=b'f')
        .map(|label| (char::from(label).to_string(), json!({ "import": "d/bomb" })))
        .collect();
    let bomb = json!({ "import": "d/bomb", "map": labels });
    assert!(bomb.to_string().len() < 200);
    backend.say("d/bomb", Says::value(&bomb));
    assert_eq!(cost(&dns, &backend, "a.b.c.bomb.bit").await, 1);

    // Two names that import each other at every label.
    let each = |name: &str| {
        let labels: serde_json::Map<_, _> = (b'a'..=b'p')
            .map(|label| (char::from(label).to_string(), json!({ "import": name })))
            .collect();
        json!({ "import": name, "map": labels })
    };
    backend.say("d/one", Says::value(&each("dd/two")));
    backend.say("dd/two", Says::value(&each("d/one")));
    assert_eq!(cost(&dns, &backend, "a.b.c.one.bit").await, 2);

    // Each imports others that import others.
    let others = |from: usize| -> Vec<_> { (from..from + 45).map(|number| [format!("dd/{number}")]).collect() };
    backend.say("d/wide", Says::value(&json!({ "import": others(0) })));
    for number in 0..45 {
        backend.say(
            &format!("dd/{number}"),
            Says::value(&json!({ "import": others(45 * number) })),
        );
    }
    let asked = cost(&dns, &backend, "wide.bit").await;
    assert!((2..=MOST).contains(&asked), "{asked}");

    // Nameservers in many names that import many each.
    let servers: Vec<_> = (0..40).map(|number| format!("ns{number}.bit.")).collect();
    backend.say("d/glue", Says::value(&json!({ "ns": servers })));
    for number in 0..40 {
        let imports: Vec<_> = (0..20).map(|other| [format!("dd/{number}-{other}")]).collect();
        backend.say(&format!("d/ns{number}"), Says::value(&json!({ "import": imports })));
    }
    let asked = cost(&dns, &backend, "www.glue.bit").await;
    assert!((2..=MOST).contains(&asked), "{asked}");
    assert_lives(dns.address).await;
    dns.stop().await;
}

#[tokio::test]
async fn a_client_that_floods_leaves_the_others_their_share() {
    /// As many as all lookups that the front has in work at a time, and as many again.
    const FLOOD: usize = 1024;
    let backend = Backend::start().await;
    backend.say_of_others(Says::value(IP).held());
    backend.say("d/known", Says::value(IP));
    backend.say("d/new", Says::value(IP));
    let dns = Dns::start(&backend, &["--dns-isolate=address"]).await;
    let [victim, spy] = [2, 3].map(|last| IpAddr::from([127, 0, 0, last]));
    let victim = Datagrams::open_from(victim, dns.address).await;
    assert_eq!(victim.ask(&query("known.bit", "A")).await.code(), "NOERROR");
    let spy = Datagrams::open_from(spy, dns.address).await;
    let mut refused = 0;
    for at in 0..FLOOD {
        // Each under an ID of its own, one after the other, so that none is lost on the way.
        let asked = query_as(format!("spy-{at}"), &format!("held-{at}.bit"), "A");
        spy.send(&asked.to_vec().unwrap()).await;
        if at % 32 == 31 {
            let own = query_as(format!("probe-{at}"), "known.bit", "AAAA");
            let reply = spy.ask(&own).await;
            refused += usize::from(reply.code() == "SERVFAIL");
        }
    }
    assert!(refused > 0, "the flood never reached its share");
    assert_eq!(victim.ask(&query("known.bit", "A")).await.code(), "NOERROR");
    assert_eq!(victim.ask(&query("new.bit", "A")).await.code(), "NOERROR");
    backend.release();
    dns.stop().await;
}

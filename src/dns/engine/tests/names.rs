//! Names that are there or not, and their records.

use RecordType::{A, ANY, DS, MX, SRV, TXT};
use serde_json::json;

use super::*;

#[test]
fn absence_and_failure_are_told_apart() {
    let world = World::new([
        (
            "d/x",
            json!({"map":{"deep":{"map":{"er":{"ip":"192.0.2.1"}}},"none":{}}}),
        ),
        ("d/empty", json!("")),
        ("d/text", json!("\"text\"")),
        ("d/broken", json!("{")),
    ])
    .with("d/expired", LookupResult::Absent(Some(ExtendedError::Expired)))
    .with("d/failed", LookupResult::Failed(ExtendedError::Timeout));
    check(
        &world,
        &[
            ("nosuch.bit.", A, NXDOMAIN),
            ("a.b.nosuch.bit.", A, NXDOMAIN),
            ("expired.bit.", A, NXDOMAIN),
            ("nosuch.x.bit.", A, NXDOMAIN),
            ("nosuch.deep.x.bit.", A, NXDOMAIN),
            ("below.none.x.bit.", A, NXDOMAIN),
            ("x.bit.", A, NODATA),
            ("none.x.bit.", A, NODATA),
            ("deep.x.bit.", A, NODATA),
            ("deep.x.bit.", ANY, NODATA),
            ("er.deep.x.bit.", TXT, NODATA),
            ("er.deep.x.bit.", DS, NODATA),
            ("empty.bit.", A, NODATA),
            ("text.bit.", A, NODATA),
            ("sub.text.bit.", A, NXDOMAIN),
            ("broken.bit.", A, "SERVFAIL"),
            ("sub.broken.bit.", A, "SERVFAIL"),
            ("failed.bit.", A, "SERVFAIL"),
        ],
    );
    let note = |query: &str| world.ask(query, A).note;
    assert_eq!(note("nosuch.bit."), None);
    assert_eq!(note("expired.bit."), Some(ExtendedError::Expired));
    assert_eq!(note("broken.bit."), Some(ExtendedError::Unreadable));
    assert_eq!(note("failed.bit."), Some(ExtendedError::Timeout));
    let reply = world.ask("Sub.nosuch.bit.", A);
    assert_eq!(reply.denial, Some(Denial::Name(name("sub.nosuch.bit."))));
    assert_eq!((reply.life, reply.zone), (60, Some(name("bit."))));
    let reply = world.ask("er.deep.x.bit.", TXT);
    assert_eq!(reply.denial, Some(Denial::Type(name("er.deep.x.bit."), vec![A])));
    assert_eq!(world.ask("failed.bit.", A).zone, None);
}

#[test]
fn labels_of_no_domain_are_never_looked_up() {
    let world = World::default();
    let labels: [&[u8]; 10] = [
        b"_tor", b"a--b", b"-a", b"a-", b"*", b"a.b", b"\0", b"\xff", b"xn--", b"x--nmcx",
    ];
    for label in labels {
        let name = Name::from_labels([&b"sub"[..], label, b"bit"]).unwrap();
        let (reply, rounds) = world.trace(&Question::new(name.clone(), A, DNSClass::IN));
        assert_eq!((told(&reply).as_str(), rounds.len()), (NXDOMAIN, 0), "{name}");
        assert_eq!(reply.denial, Some(Denial::Name(name)));
    }
    assert_eq!(world.names_of("a.b.EXAMPLE.bit.", A), [["d/example"]]);
    assert_eq!(world.names_of("123.bit.", A), [["d/123"]]);
}

#[test]
fn the_case_of_the_question_is_kept() {
    let values = json!({"ip":"192.0.2.1","map":{"www":{"alias":"@"},"there":{"translate":"example.com."}}});
    let world = World::new([("d/x", values)]);
    check(
        &world,
        &[
            ("X.bIt.", A, "NOERROR aa; an: X.bIt. A 192.0.2.1"),
            ("wWw.X.bIt.", A, "NOERROR aa; an: wWw.X.bIt. CNAME x.bit."),
            (
                "Sub.tHere.X.bIt.",
                A,
                "NOERROR aa; an: tHere.X.bIt. DNAME example.com., Sub.tHere.X.bIt. CNAME Sub.example.com.",
            ),
            ("X.bIt.", TXT, NODATA),
        ],
    );
}

#[test]
fn records_of_the_type_answer() {
    let world = World::new([(
        "d/x",
        json!({
            "ip": ["192.0.2.1", "192.0.2.2"],
            "txt": "text",
            "mx": [[10, "mail"]],
            "map": {"_tcp": {"map": {"_xmpp": {"srv": [[0, 0, 5222, "x.@"]]}}}}
        }),
    )]);
    check(
        &world,
        &[
            ("x.bit.", A, "NOERROR aa; an: x.bit. A 192.0.2.1, x.bit. A 192.0.2.2"),
            ("x.bit.", TXT, "NOERROR aa; an: x.bit. TXT \"text\""),
            ("x.bit.", MX, "NOERROR aa; an: x.bit. MX 10 mail.x.bit."),
            ("x.bit.", ANY, "NOERROR aa; an: x.bit. A 192.0.2.1, x.bit. A 192.0.2.2"),
            (
                "_xmpp._tcp.x.bit.",
                SRV,
                "NOERROR aa; an: _xmpp._tcp.x.bit. SRV 0 0 5222 x.x.bit.",
            ),
            ("_tcp.x.bit.", SRV, NODATA),
        ],
    );
    let reply = world.ask("x.bit.", A);
    assert!(reply.answers.iter().all(|record| record.ttl == 600));
    assert_eq!((reply.life, reply.zone, reply.denial), (600, Some(name("bit.")), None));
}

#[test]
fn imports_are_asked_for_before_there_is_an_answer() {
    let world = World::new([
        (
            "d/x",
            json!({"import": [["dd/a"], ["dd/b"]], "map": {"self": {"import": "d/x"}}}),
        ),
        ("dd/a", json!({"import": "dd/c"})),
        ("dd/c", json!({"ip": "192.0.2.1"})),
    ]);
    check(&world, &[("x.bit.", A, "NOERROR aa; an: x.bit. A 192.0.2.1")]);
    assert_eq!(
        world.names_of("x.bit.", A),
        [vec!["d/x"], vec!["dd/a", "dd/b"], vec!["dd/c"]]
    );
    let failing = world.with("dd/b", LookupResult::Failed(ExtendedError::NoProxy));
    assert_eq!(
        failing.ask("x.bit.", A),
        Reply::noted(ResponseCode::ServFail, ExtendedError::NoProxy)
    );
}

//! The rules of answering, one by one.

use RecordType::{A, AAAA, ANY, AXFR, CNAME, DNAME, DNSKEY, DS, IXFR, MX, NS, NSEC, SOA, SRV, TXT};
use hickory_proto::rr::rdata;
use serde_json::json;

use super::*;

/// The queries of one world, and what is told.
fn check(world: &World, rows: &[(&str, RecordType, &str)]) {
    let failed: Vec<String> = rows
        .iter()
        .map(|(query, kind, expected)| (query, kind, *expected, world.tell(query, *kind)))
        .filter(|(.., expected, got)| expected != got)
        .map(|(query, kind, expected, got)| format!("{query} {kind}\n  expected {expected}\n  got      {got}"))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

const NODATA: &str = "NOERROR aa; ns: bit. SOA";
const NXDOMAIN: &str = "NXDOMAIN aa; ns: bit. SOA";

#[test]
fn the_apex_has_records_of_its_own() {
    let mut world = World::default();
    check(
        &world,
        &[
            ("bit.", SOA, "NOERROR aa; an: bit. SOA"),
            ("bit.", NS, "NOERROR aa; an: bit. NS this.x--nmc.bit."),
            ("bit.", A, NODATA),
            ("bit.", DS, NODATA),
            ("bit.", DNSKEY, NODATA),
            // RFC 8482: one RRset will do.
            ("bit.", ANY, "NOERROR aa; an: bit. SOA"),
            ("BiT.", NS, "NOERROR aa; an: BiT. NS this.x--nmc.bit."),
        ],
    );
    world.settings.nameservers = vec![name("ns1.example.com."), name("ns2.example.com.")];
    world.settings.hostmaster = name("admin.example.com.");
    world.settings.vanity = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    check(
        &world,
        &[
            (
                "bit.",
                NS,
                "NOERROR aa; an: bit. NS ns1.example.com., bit. NS ns2.example.com.",
            ),
            ("bit.", A, "NOERROR aa; an: bit. A 192.0.2.1"),
            ("bit.", AAAA, "NOERROR aa; an: bit. AAAA 2001:db8::1"),
        ],
    );
    let reply = world.ask("bit.", SOA);
    let [soa] = reply.answers.as_slice() else {
        panic!("no single SOA")
    };
    let expected = rdata::SOA::new(
        name("ns1.example.com."),
        name("admin.example.com."),
        1,
        600,
        600,
        7200,
        600,
    );
    assert_eq!((soa.ttl, &soa.data), (86_400, &RData::SOA(expected)));
    let negative = world.ask("bit.", TXT);
    // RFC 2308 section 3: the lesser of the TTL and the minimum.
    assert_eq!(negative.authorities[0].ttl, 600);
    let denied = Denial::Type(name("bit."), vec![SOA, NS, A, AAAA]);
    assert_eq!(negative.denial, Some(denied));
}

#[test]
fn the_keys_of_the_apex_keep_their_ttl() {
    let mut world = World::default();
    let key = |text: &str| Record::from_rdata(name("bit."), 3600, RData::TXT(rdata::TXT::new(vec![text.to_owned()])));
    // Any data will do here for a key.
    world.settings.dnskeys = BTreeMap::from([(name("bit."), vec![key("a"), key("b")])]);
    let reply = world.ask("BIT.", DNSKEY);
    assert_eq!(reply.answers.len(), 2);
    for record in &reply.answers {
        assert_eq!((record.ttl, record.name.to_ascii()), (3600, "BIT.".to_owned()));
    }
    assert_eq!((reply.authoritative, reply.zone), (true, Some(name("bit."))));
    assert_eq!(
        world.ask("bit.", A).denial,
        Some(Denial::Type(name("bit."), vec![SOA, NS, DNSKEY]))
    );
}

#[test]
fn names_of_the_server_are_no_domains() {
    let mut world = World::default();
    check(
        &world,
        &[
            (
                "this.x--nmc.bit.",
                A,
                "NOERROR aa; an: this.x--nmc.bit. A 127.127.127.127",
            ),
            ("this.x--nmc.bit.", AAAA, NODATA),
            (
                "aia.x--nmc.bit.",
                A,
                "NOERROR aa; an: aia.x--nmc.bit. CNAME this.x--nmc.bit.",
            ),
            (
                "aia.x--nmc.bit.",
                CNAME,
                "NOERROR aa; an: aia.x--nmc.bit. CNAME this.x--nmc.bit.",
            ),
            (
                "aia.x--nmc.bit.",
                ANY,
                "NOERROR aa; an: aia.x--nmc.bit. CNAME this.x--nmc.bit.",
            ),
            ("x--nmc.bit.", A, NODATA),
            ("other.x--nmc.bit.", A, NODATA),
            ("deep.this.x--nmc.bit.", A, NODATA),
        ],
    );
    assert_eq!(world.ask("this.x--nmc.bit.", A).answers[0].ttl, 86_400);
    assert!(world.names_of("other.x--nmc.bit.", A).is_empty());
    world.settings.nameservers = vec![name("ns.example.com.")];
    check(
        &world,
        &[("this.x--nmc.bit.", A, NXDOMAIN), ("x--nmc.bit.", A, NXDOMAIN)],
    );
    assert!(world.names_of("x--nmc.bit.", A).is_empty());
}

#[test]
fn suffixes_float_where_they_may() {
    let values = [
        ("d/b", json!({"map":{"a":{"ip":"192.0.2.1","map":{"c":{"alias":"@"}}}}})),
        ("d/bit", json!({"ip":"192.0.2.2"})),
    ];
    let mut world = World::new(values);
    check(
        &world,
        &[
            ("bit.bit.", A, "NOERROR aa; an: bit.bit. A 192.0.2.2"),
            ("a.b.bit.suffix.xyz.", A, "REFUSED"),
        ],
    );
    world.settings.zones = Zones::new([], true).unwrap();
    check(
        &world,
        &[
            (
                "a.b.bit.suffix.xyz.",
                A,
                "NOERROR aa; an: a.b.bit.suffix.xyz. A 192.0.2.1",
            ),
            // `@` is the domain under the suffix.
            (
                "c.a.b.bit.suffix.xyz.",
                A,
                "NOERROR aa; an: c.a.b.bit.suffix.xyz. CNAME b.bit.suffix.xyz.",
            ),
            ("a.b.bit.suffix.xyz.", TXT, "NOERROR aa; ns: bit.suffix.xyz. SOA"),
            ("nosuch.bit.suffix.xyz.", A, "NXDOMAIN aa; ns: bit.suffix.xyz. SOA"),
            ("bit.com.", NS, "NOERROR aa; an: bit.com. NS this.x--nmc.bit.com."),
            ("bit.bit.", A, "NOERROR aa; an: bit.bit. A 192.0.2.2"),
            (".", NS, "REFUSED"),
            ("com.", A, "REFUSED"),
        ],
    );
}

#[test]
fn what_is_not_ours_is_refused() {
    let world = World::new([("d/x", json!({"ip":"192.0.2.1"}))]);
    for outside in [".", "com.", "x.bit.com.", "rabbit."] {
        let reply = world.ask(outside, A);
        assert_eq!(reply, Reply::noted(ResponseCode::Refused, Note::NotOurs), "{outside}");
    }
    for kind in [AXFR, IXFR] {
        check(&world, &[("bit.", kind, "REFUSED"), ("x.bit.", kind, "REFUSED")]);
        assert!(world.names_of("x.bit.", kind).is_empty());
    }
    for (class, expected) in [
        (DNSClass::ANY, "NOERROR aa; an: x.bit. A 192.0.2.1"),
        (DNSClass::HS, "REFUSED"),
        (DNSClass::NONE, "REFUSED"),
        (DNSClass::from(42), "REFUSED"),
    ] {
        let question = Question::new(name("x.bit."), A, class);
        let (reply, rounds) = world.trace(&question);
        assert_eq!(told(&reply), expected, "{class}");
        assert_eq!(rounds.len(), usize::from(class == DNSClass::ANY));
    }
}

#[test]
fn the_version_is_told_only_if_there_is_one() {
    let mut world = World::default();
    let ask = |world: &World, text: &str, kind| {
        let (reply, rounds) = world.trace(&Question::new(name(text), kind, DNSClass::CH));
        assert!(rounds.is_empty());
        reply
    };
    assert_eq!(told(&ask(&world, "version.bind.", TXT)), "REFUSED");
    world.settings.version = Some("here".to_owned());
    for text in ["version.bind.", "VERSION.Server."] {
        for kind in [TXT, ANY] {
            let reply = ask(&world, text, kind);
            assert_eq!(told(&reply), format!("NOERROR aa; an: {text} TXT \"here\""));
            assert_eq!((reply.answers[0].dns_class, reply.zone), (DNSClass::CH, None));
        }
    }
    for (text, kind) in [
        ("version.bind.", A),
        ("id.server.", TXT),
        ("x.bit.", TXT),
        ("bit.", SOA),
    ] {
        assert_eq!(told(&ask(&world, text, kind)), "REFUSED", "{text}");
    }
    check(&world, &[("version.bind.", TXT, "REFUSED")]);
}

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
    .with("d/expired", Known::Absent(Some(Note::Expired)))
    .with("d/failed", Known::Failed(Note::Timeout));
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
    assert_eq!(note("expired.bit."), Some(Note::Expired));
    assert_eq!(note("broken.bit."), Some(Note::Unreadable));
    assert_eq!(note("failed.bit."), Some(Note::Timeout));
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
fn a_cname_answers_for_all_types() {
    let world = World::new([(
        "d/x",
        json!({"map":{"www":{"alias":"a.example.com.","map":{"sub":{"ip":"192.0.2.1"}}}}}),
    )]);
    let alias = "NOERROR aa; an: www.x.bit. CNAME a.example.com.";
    check(
        &world,
        &[
            ("www.x.bit.", A, alias),
            ("www.x.bit.", DS, alias),
            ("www.x.bit.", CNAME, alias),
            ("www.x.bit.", ANY, alias),
            ("sub.www.x.bit.", A, "NOERROR aa; an: sub.www.x.bit. A 192.0.2.1"),
            ("other.www.x.bit.", A, NXDOMAIN),
        ],
    );
    // Its target is not followed, not even to another domain of ours.
    let world = World::new([("d/x", json!({"alias":"y.bit."})), ("d/y", json!({"ip":"192.0.2.1"}))]);
    check(&world, &[("x.bit.", A, "NOERROR aa; an: x.bit. CNAME y.bit.")]);
    assert_eq!(world.names_of("x.bit.", A), [["d/x"]]);
}

#[test]
fn a_dname_renames_what_is_below() {
    let values = json!({"map":{
        "d": {"translate": "example.com.", "ip": "192.0.2.1", "map": {
            "sub": {"ip": "192.0.2.2"}, "cut": {"ns": "ns.example.com."}}},
        "*": {"translate": "example.net."}
    }});
    let world = World::new([("d/x", values)]);
    check(
        &world,
        &[
            ("d.x.bit.", DNAME, "NOERROR aa; an: d.x.bit. DNAME example.com."),
            ("d.x.bit.", ANY, "NOERROR aa; an: d.x.bit. DNAME example.com."),
            ("d.x.bit.", A, NODATA),
            ("d.x.bit.", CNAME, NODATA),
            (
                "a.b.d.x.bit.",
                A,
                "NOERROR aa; an: d.x.bit. DNAME example.com., a.b.d.x.bit. CNAME a.b.example.com.",
            ),
            (
                "sub.d.x.bit.",
                CNAME,
                "NOERROR aa; an: d.x.bit. DNAME example.com., sub.d.x.bit. CNAME sub.example.com.",
            ),
            // Nothing below is served, a zone cut neither.
            (
                "cut.d.x.bit.",
                NS,
                "NOERROR aa; an: d.x.bit. DNAME example.com., cut.d.x.bit. CNAME cut.example.com.",
            ),
            // Where a wildcard has it, the name that it stands for does.
            (
                "a.b.x.bit.",
                A,
                "NOERROR aa; an: b.x.bit. DNAME example.net., a.b.x.bit. CNAME a.example.net.",
            ),
        ],
    );
    assert_eq!(world.ask("a.d.x.bit.", A).denial, None);
}

/// `Name::num_labels` does not count a leading `*`: the DNAME was said to be its parent's, or labels were lost.
#[test]
fn a_literal_asterisk_is_a_label_as_any_other_to_a_dname() {
    let top = World::new([("d/x", json!({"translate":"example.com."}))]);
    check(
        &top,
        &[(
            "*.a.x.bit.",
            A,
            "NOERROR aa; an: x.bit. DNAME example.com., *.a.x.bit. CNAME *.a.example.com.",
        )],
    );
    let wild = World::new([("d/x", json!({"map":{"*":{"translate":"example.com."}}}))]);
    check(
        &wild,
        &[
            (
                "a.*.x.bit.",
                A,
                "NOERROR aa; an: *.x.bit. DNAME example.com., a.*.x.bit. CNAME a.example.com.",
            ),
            (
                "*.*.x.bit.",
                A,
                "NOERROR aa; an: *.x.bit. DNAME example.com., *.*.x.bit. CNAME *.example.com.",
            ),
        ],
    );
}

#[test]
fn what_a_dname_makes_too_long_is_an_error() {
    let target = [vec!["a".repeat(63); 3], vec!["b".repeat(50)]].concat().join(".");
    let world = World::new([("d/x", json!({"translate": format!("{target}.")}))]);
    let fits = world.ask("cccccccccc.x.bit.", A);
    assert_eq!((fits.code, fits.answers.len()), (ResponseCode::NoError, 2));
    let long = world.ask("ccccccccccc.x.bit.", A);
    assert_eq!((long.code, long.authoritative), (ResponseCode::YXDomain, true));
    assert_eq!(long.answers.len(), 1);
    assert_eq!(long.answers[0].record_type(), DNAME);
}

#[test]
fn the_first_cut_or_dname_on_the_way_counts() {
    let world = World::new([
        (
            "d/cut",
            json!({"map":{"a":{"ns":"ns.example.com.","map":{"b":{"translate":"example.com."},"c":{"ns":"other.example.com."}}}}}),
        ),
        // An `ns` hides what stands beside it, a `translate` too.
        ("d/both", json!({"ns":"ns.example.com.","translate":"example.com."})),
    ]);
    check(
        &world,
        &[
            ("x.b.a.cut.bit.", A, "NOERROR; ns: a.cut.bit. NS ns.example.com."),
            ("c.a.cut.bit.", NS, "NOERROR; ns: a.cut.bit. NS ns.example.com."),
            ("c.a.cut.bit.", DS, "NOERROR; ns: a.cut.bit. NS ns.example.com."),
            ("x.both.bit.", A, "NOERROR; ns: both.bit. NS ns.example.com."),
        ],
    );
}

#[test]
fn a_cut_refers_and_its_parent_keeps_ds() {
    let digest = "AAECAwQFBgcICQoLDA0ODwABAgMEBQYHCAkKCwwNDg8=";
    let world = World::new([
        (
            "d/x",
            json!({"ns":["ns.example.com."],"ds":[[1,13,2,digest]],"ip":"192.0.2.1"}),
        ),
        ("d/y", json!({"ns":["ns.example.com."]})),
    ]);
    let hex = "000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f";
    let signed = format!("NOERROR; ns: x.bit. NS ns.example.com., x.bit. DS 1 13 2 {hex}");
    let ds = format!("NOERROR aa; an: x.bit. DS 1 13 2 {hex}");
    let unsigned = "NOERROR; ns: y.bit. NS ns.example.com.";
    check(
        &world,
        &[
            ("x.bit.", A, &signed),
            ("x.bit.", NS, &signed),
            ("x.bit.", ANY, &signed),
            ("a.b.x.bit.", A, &signed),
            ("a.x.bit.", DS, &signed),
            ("X.bit.", DS, &ds.replace("x.bit.", "X.bit.")),
            ("y.bit.", A, unsigned),
            ("y.bit.", NSEC, unsigned),
            ("y.bit.", DS, NODATA),
        ],
    );
    assert_eq!(world.ask("a.x.bit.", A).denial, None);
    assert_eq!(world.ask("A.Y.bit.", A).denial, Some(Denial::Ds(name("y.bit."))));
    assert_eq!(
        world.ask("y.bit.", DS).denial,
        Some(Denial::Type(name("y.bit."), vec![NS]))
    );
    let referral = world.ask("a.y.bit.", A);
    assert_eq!((referral.life, referral.zone.as_ref()), (600, Some(&name("bit."))));
    assert_eq!(referral.shown(), referral.authorities);
}

#[test]
fn glue_is_found_wherever_the_value_has_it() {
    let values = json!({"map":{
        "cut": {"ns": ["ns.cut.@", "beside.@", "deep.wild.@", "none.@", "out.example.com.", "ns.other.@"],
                "map": {"ns": {"ip": "192.0.2.1", "ip6": "2001:db8::1"}}},
        "beside": {"ip": "192.0.2.2"},
        "wild": {"map": {"*": {"ip": "192.0.2.3"}}},
        "other": {"ns": "ns.example.com.", "map": {"ns": {"ip": "192.0.2.4"}}}
    }});
    let world = World::new([("d/x", values)]);
    let reply = world.ask("www.cut.x.bit.", A);
    let mut glue: Vec<String> = reply.additionals.iter().map(shown).collect();
    glue.sort();
    assert_eq!(
        glue,
        [
            "beside.x.bit. A 192.0.2.2",
            "deep.wild.x.bit. A 192.0.2.3",
            "ns.cut.x.bit. A 192.0.2.1",
            "ns.cut.x.bit. AAAA 2001:db8::1",
            "ns.other.x.bit. A 192.0.2.4",
        ]
    );
    assert_eq!(reply.authorities.len(), 6);
    // Its own name is referred like all below.
    assert_eq!(world.ask("ns.cut.x.bit.", A).authorities.len(), 6);
    assert_eq!(world.names_of("www.cut.x.bit.", A), [["d/x"]]);
}

#[test]
fn glue_of_other_names_is_looked_up_and_can_be_done_without() {
    let world = World::new([
        (
            "d/x",
            json!({"ns": ["a.one.bit.", "b.one.bit.", "two.bit.", "three.bit.", "four.bit."]}),
        ),
        ("d/one", json!({"import": "dd/one"})),
        ("dd/one", json!({"map":{"a":{"ip":"192.0.2.1"},"b":{"ip":"192.0.2.2"}}})),
        (
            "d/four",
            json!({"ns":"ns.example.com.","map":{"deep":{"ip":"192.0.2.4"}}}),
        ),
    ])
    .with("d/two", Known::Failed(Note::Timeout));
    let told = world.tell("www.x.bit.", A);
    assert!(told.starts_with("NOERROR; ns: x.bit. NS a.one.bit., "), "{told}");
    assert!(
        told.ends_with("; ad: a.one.bit. A 192.0.2.1, b.one.bit. A 192.0.2.2"),
        "{told}"
    );
    // All are asked for at once.
    assert_eq!(
        world.names_of("www.x.bit.", A),
        [vec!["d/x"], vec!["d/four", "d/one", "d/three", "d/two"], vec!["dd/one"]]
    );
}

#[test]
fn glue_of_only_so_many_other_names_is_looked_up() {
    let servers: Vec<String> = (0..20).map(|number| format!("n{number}.bit.")).collect();
    let world = World::new([("d/x", json!({"ns": servers}))]);
    let rounds = world.names_of("x.bit.", A);
    assert_eq!((rounds.len(), rounds[1].len()), (2, MAX_GLUE_NAMES));
    assert_eq!(world.ask("x.bit.", A).authorities.len(), 20);
}

#[test]
fn nameservers_that_can_be_no_name_take_no_lookup() {
    let world = World::new([(
        "d/x",
        json!({"ns": ["a--b.bit.", "bit.", "example.com.", "this.x--nmc.bit."]}),
    )]);
    assert_eq!(world.names_of("x.bit.", A), [["d/x"]]);
}

/// Glue once had its full TTL, however soon the value that it comes from was to be looked up anew.
#[test]
fn glue_is_kept_no_longer_than_the_value_it_comes_from() {
    let domain = |id_text: &str, text: &str, json: Value| {
        let value = NameValue::new(json.to_string().as_bytes()).unwrap();
        let built = zone::build(&id(id_text), &value, &name(text), &BTreeMap::new()).unwrap();
        let zone::Built::Domain(domain) = built else {
            panic!("imports")
        };
        Arc::new(domain)
    };
    let cut = domain(
        "d/x",
        "x.bit.",
        json!({"ns":["y.bit.","ns.@"],"map":{"ns":{"ip":"192.0.2.1"}}}),
    );
    let other = domain("d/y", "y.bit.", json!({"ip":"192.0.2.2"}));
    let step = answer(&Settings::default(), &question("x.bit.", A), |found, _| {
        if *found == id("d/x") {
            Found::Domain(Arc::clone(&cut), 300)
        } else {
            Found::Domain(Arc::clone(&other), 5)
        }
    });
    let Step::Reply(reply) = step else {
        panic!("all is known")
    };
    let ttls: Vec<_> = reply
        .additionals
        .iter()
        .map(|record| (shown(record), record.ttl))
        .collect();
    assert_eq!(reply.life, 300);
    let expected = [("y.bit. A 192.0.2.2", 5), ("ns.x.bit. A 192.0.2.1", 600)];
    assert_eq!(ttls, expected.map(|(text, ttl)| (text.to_owned(), ttl)));
}

#[test]
fn wildcards_stand_for_what_is_not_there() {
    let values = json!({"ip": "192.0.2.9", "map":{
        "*": {"ip": "192.0.2.1", "map": {"in": {"ip": "192.0.2.2"}, "*": {"txt": "two"}}},
        "there": {"ip": "192.0.2.3"},
        "empty": {"map": {"deep": {"ip": "192.0.2.4"}}}
    }});
    let world = World::new([("d/x", values)]);
    check(
        &world,
        &[
            ("a.x.bit.", A, "NOERROR aa; an: a.x.bit. A 192.0.2.1"),
            ("a.x.bit.", MX, NODATA),
            ("*.x.bit.", A, "NOERROR aa; an: *.x.bit. A 192.0.2.1"),
            // The map of `*` goes on below it.
            ("in.a.x.bit.", A, "NOERROR aa; an: in.a.x.bit. A 192.0.2.2"),
            ("other.a.x.bit.", TXT, "NOERROR aa; an: other.a.x.bit. TXT \"two\""),
            (
                "far.other.a.x.bit.",
                TXT,
                "NOERROR aa; an: far.other.a.x.bit. TXT \"two\"",
            ),
            ("below.in.a.x.bit.", A, NXDOMAIN),
            // What is there blocks it for itself and all below, an empty non-terminal too.
            ("there.x.bit.", TXT, NODATA),
            ("a.there.x.bit.", A, NXDOMAIN),
            ("empty.x.bit.", A, NODATA),
            ("a.empty.x.bit.", A, NXDOMAIN),
            ("x.bit.", A, "NOERROR aa; an: x.bit. A 192.0.2.9"),
        ],
    );
    let denied = Denial::Type(name("a.x.bit."), vec![A]);
    assert_eq!(world.ask("a.x.bit.", MX).denial, Some(denied));
}

/// RFC 4592 section 2.2.1, as far as values can say it.
#[test]
fn wildcards_are_those_of_rfc_4592() {
    let values = json!({"map":{
        "*": {"txt": "this is a wildcard", "mx": [[10, "host1.@"]]},
        "sub": {"map": {"*": {"txt": "this is not a wildcard"}}},
        "host1": {"ip": "192.0.2.1"},
        "_ssh": {"map": {"_tcp": {"map": {"host1": {"srv": [[0, 0, 22, "h.@"]]}, "host2": {"txt": "2"}}}}},
        "subdel": {"ns": ["ns.example.com.", "ns.example.net."]}
    }});
    let world = World::new([("d/example", values)]);
    check(
        &world,
        &[
            (
                "host3.example.bit.",
                MX,
                "NOERROR aa; an: host3.example.bit. MX 10 host1.example.bit.",
            ),
            ("host3.example.bit.", A, NODATA),
            (
                "foo.bar.example.bit.",
                TXT,
                "NOERROR aa; an: foo.bar.example.bit. TXT \"this is a wildcard\"",
            ),
            ("host1.example.bit.", MX, NODATA),
            ("sub.example.bit.", MX, NODATA),
            ("_telnet._tcp.host1.example.bit.", SRV, NXDOMAIN),
            (
                "host.subdel.example.bit.",
                A,
                "NOERROR; ns: subdel.example.bit. NS ns.example.com., subdel.example.bit. NS ns.example.net.",
            ),
            ("ghost.*.example.bit.", MX, NXDOMAIN),
        ],
    );
}

#[test]
fn wildcards_hold_cuts_and_aliases_for_the_name_they_stand_for() {
    let world = World::new([
        ("d/x", json!({"map":{"*":{"ns":"ns.example.com."}}})),
        ("d/y", json!({"map":{"*":{"alias":"@"}}})),
    ]);
    check(
        &world,
        &[
            ("a.b.x.bit.", A, "NOERROR; ns: b.x.bit. NS ns.example.com."),
            ("b.x.bit.", DS, NODATA),
            ("a.b.y.bit.", A, "NOERROR aa; an: a.b.y.bit. CNAME y.bit."),
        ],
    );
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
    let failing = world.with("dd/b", Known::Failed(Note::NoProxy));
    assert_eq!(
        failing.ask("x.bit.", A),
        Reply::noted(ResponseCode::ServFail, Note::NoProxy)
    );
}

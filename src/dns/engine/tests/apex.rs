//! What the zone itself answers.

use RecordType::{A, AAAA, ANY, AXFR, CNAME, DNSKEY, DS, IXFR, NS, SOA, TXT};
use hickory_proto::rr::rdata;
use serde_json::json;

use super::*;

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
            ("aia.x--nmc.bit.", A, NODATA),
            ("aia.x--nmc.bit.", CNAME, NODATA),
            ("aia.x--nmc.bit.", ANY, NODATA),
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
        assert_eq!(
            reply,
            Reply::noted(ResponseCode::Refused, ExtendedError::NotOurs),
            "{outside}"
        );
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

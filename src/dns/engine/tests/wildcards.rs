//! Wildcards.

use RecordType::{A, DS, MX, SRV, TXT};
use serde_json::json;

use super::*;

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

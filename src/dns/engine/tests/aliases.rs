//! CNAME and DNAME.

use RecordType::{A, ANY, CNAME, DNAME, DS, NS};
use serde_json::json;

use super::*;

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

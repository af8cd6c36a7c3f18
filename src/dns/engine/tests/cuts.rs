//! Zone cuts and glue.

use RecordType::{A, ANY, DS, NS, NSEC};
use serde_json::json;

use super::*;

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
    .with("d/two", LookupResult::Failed(ExtendedError::Timeout));
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

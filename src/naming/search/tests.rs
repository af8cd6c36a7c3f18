use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dns::lookup_result::LookupResult;
use crate::dns::records::LookedUp;
use crate::dns::records::memory_tests::Memory;
use crate::isolation::IsolationId;
use crate::name::NameValue;
use crate::service::{CacheSettings, CacheTime};

const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
const OTHER: &str = "sp3k262uwy4r2k3ycr5awluarykdpag6a7y33jxop4cs2lu5uz5sseqd.onion";

/// All names that have a value; a string is its text.
struct World(BTreeMap<NameId, LookupResult>);

impl World {
    fn new<'a>(values: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let value = |json: Value| {
            let text = json.as_str().map_or_else(|| json.to_string(), str::to_owned);
            LookupResult::Value(NameValue::new(text.as_bytes()).unwrap())
        };
        let id = |name: &str| NameId::new(format!("d/{name}").as_bytes()).unwrap();
        Self(values.into_iter().map(|(name, json)| (id(name), value(json))).collect())
    }

    fn failing(name: &str, note: ExtendedError) -> Self {
        let id = NameId::new(name.as_bytes()).unwrap();
        Self(BTreeMap::from([(id, LookupResult::Failed(note))]))
    }

    /// Searches as the resolver does; returns what was looked up as well.
    fn trace(&self, query: &TargetQuery<'_>) -> (Result<Target, Failure>, Vec<NameId>) {
        let (mut memory, mut looked_up) = (Memory::new(CacheSettings::default()), LookedUp::new());
        let (settings, who) = (Settings::default(), IsolationId::default().blinded(&[0; 32]));
        let mut order = Vec::new();
        loop {
            let mut known = |name: &NameId, apex: &Name| memory.find(who, name, apex, &looked_up, CacheTime::default());
            match search(&settings, query, &mut known) {
                Ok(found) => return (found, order),
                Err(needed) => {
                    assert!(needed.iter().any(|name| !looked_up.contains_key(name)), "it gets on");
                    for name in needed {
                        let known = self.0.get(&name).cloned().unwrap_or(LookupResult::Absent(None));
                        order.push(name.clone());
                        looked_up.insert(name, known);
                    }
                }
            }
        }
    }

    /// Returns the first byte of each record that a host publishes for a port.
    fn keys(&self, host: &str, port: u16) -> Result<PublishedKeys, Failure> {
        let (mut memory, mut looked_up) = (Memory::new(CacheSettings::default()), LookedUp::new());
        let (settings, who) = (Settings::default(), IsolationId::default().blinded(&[0; 32]));
        loop {
            let mut known = |name: &NameId, apex: &Name| memory.find(who, name, apex, &looked_up, CacheTime::default());
            match keys(&settings, host, port, &mut known) {
                Ok(found) => return found,
                Err(needed) => looked_up.extend(needed.into_iter().map(|name| {
                    let known = self.0.get(&name).cloned();
                    (name, known.unwrap_or(LookupResult::Absent(None)))
                })),
            }
        }
    }

    fn find(&self, name: &str, target_kind: TargetKind) -> Result<String, Failure> {
        let query = TargetQuery {
            name,
            target_kind,
            choice: 0,
        };
        self.trace(&query).0.map(|target| target.to_string())
    }
}

fn service(onion: &str) -> Value {
    json!({ "map": { "_tor": { "txt": onion } } })
}

/// The rows of ncprop279, but for services written as `tor`, which it does not read.
#[test]
fn names_stand_for_what_ncprop279_says() {
    let both = json!({ "ip": "1.2.3.4", "map": { "_tor": { "txt": ONION } } });
    let world = World::new([
        ("a", json!({ "ip": "1.2.3.4" })),
        ("six", json!({ "ip6": "::1" })),
        ("alias", json!({ "alias": "www.example.com." })),
        ("both", both),
        ("ns", json!({ "ns": "ns.example.com." })),
        ("tor", json!({ "tor": ONION })),
        ("empty", json!({})),
        ("broken", json!("{")),
    ]);
    for (name, target_kind, expected) in [
        ("a.bit", TargetKind::Any, Ok("1.2.3.4")),
        ("six.bit", TargetKind::Any, Ok("::1")),
        ("alias.bit", TargetKind::Any, Ok("www.example.com")),
        ("both.bit", TargetKind::Any, Ok(ONION)),
        ("both.bit", TargetKind::Onion, Ok(ONION)),
        ("both.bit", TargetKind::Address, Ok("1.2.3.4")),
        ("a.bit", TargetKind::Onion, Err(Failure::NoTarget)),
        ("alias.bit", TargetKind::Onion, Err(Failure::NoTarget)),
        ("alias.bit", TargetKind::Address, Ok("www.example.com")),
        ("ns.bit", TargetKind::Any, Err(Failure::NoTarget)),
        ("tor.bit", TargetKind::Any, Ok(ONION)),
        ("empty.bit", TargetKind::Any, Err(Failure::NoTarget)),
        ("broken.bit", TargetKind::Any, Err(Failure::Broken)),
        ("absent.bit", TargetKind::Any, Err(Failure::NotRegistered)),
        ("x.a.bit", TargetKind::Any, Err(Failure::NotRegistered)),
        ("bit", TargetKind::Any, Err(Failure::Invalid)),
        ("under_score.bit", TargetKind::Any, Err(Failure::Invalid)),
        ("a..bit", TargetKind::Any, Err(Failure::Invalid)),
        (".bit", TargetKind::Any, Err(Failure::Invalid)),
        ("", TargetKind::Any, Err(Failure::Invalid)),
        ("a b.bit", TargetKind::Any, Err(Failure::Invalid)),
        ("example.com", TargetKind::Any, Err(Failure::NotHandled)),
    ] {
        assert_eq!(
            world.find(name, target_kind),
            expected.map(str::to_owned),
            "{name} {target_kind:?}"
        );
    }
}

/// IFA-0002: nothing hides a `tor` item from who looks for it.
#[test]
fn services_of_a_tor_item_are_found_whatever_hides_them_from_dns() {
    let world = World::new([
        ("ns", json!({ "ns": "ns.example.com.", "tor": ONION })),
        (
            "below-ns",
            json!({ "ns": "ns.example.com.", "map": { "www": { "tor": ONION } } }),
        ),
        ("moved", json!({ "translate": "example.com.", "tor": ONION })),
        (
            "below-moved",
            json!({ "translate": "plain.bit.", "map": { "*": { "tor": ONION } } }),
        ),
        (
            "alias",
            json!({ "alias": "www.example.com.", "tor": [ONION.to_uppercase()] }),
        ),
        ("to-ns", json!({ "alias": "ns.bit." })),
        ("ip", json!({ "ip": "192.0.2.1", "tor": ONION })),
        ("import", json!({ "import": "d/ns" })),
        ("other", json!({ "tor": ONION, "map": { "_tor": { "txt": OTHER } } })),
        (
            "hidden-other",
            json!({ "ns": "a.", "tor": ONION, "map": { "_tor": { "txt": OTHER } } }),
        ),
        (
            "useless",
            json!({ "tor": ONION, "map": { "_tor": { "txt": "no onion" } } }),
        ),
        ("plain", json!({ "ip": "192.0.2.1" })),
    ]);
    for (name, expected) in [
        ("ns.bit", Ok(ONION)),
        ("www.below-ns.bit", Ok(ONION)),
        ("below-ns.bit", Err(Failure::NoTarget)),
        ("moved.bit", Ok(ONION)),
        ("www.below-moved.bit", Ok(ONION)),
        ("alias.bit", Ok(ONION)),
        ("to-ns.bit", Ok(ONION)),
        ("ip.bit", Ok(ONION)),
        ("import.bit", Ok(ONION)),
        ("other.bit", Ok(OTHER)),
        ("hidden-other.bit", Ok(ONION)),
        ("useless.bit", Ok(ONION)),
    ] {
        assert_eq!(world.find(name, TargetKind::Any), expected.map(str::to_owned), "{name}");
    }
    assert_eq!(
        world.find("ip.bit", TargetKind::Address),
        Ok("192.0.2.1".to_owned()),
        "who wants an address has it"
    );
}

/// ncprop279 gives the other name back, which an exit would then see.
#[test]
fn aliases_within_the_zone_are_followed() {
    let world = World::new([
        ("site", service(ONION)),
        (
            "plain",
            json!({ "ip": "192.0.2.1", "map": { "www": { "ip6": "2001:db8::1" } } }),
        ),
        ("to-site", json!({ "alias": "site.bit." })),
        ("to-www", json!({ "alias": "www.plain.bit." })),
        ("twice", json!({ "alias": "to-site.bit." })),
        ("moved", json!({ "translate": "site.bit." })),
        ("below", json!({ "map": { "sub": { "translate": "plain.bit." } } })),
        ("out", json!({ "translate": "example.com." })),
        ("to-onion", json!({ "alias": format!("{ONION}.") })),
        ("to-nothing", json!({ "alias": "absent.bit." })),
        ("to-invalid", json!({ "alias": "x.onion." })),
    ]);
    for (name, target_kind, expected) in [
        ("to-site.bit", TargetKind::Any, Ok(ONION)),
        ("to-site.bit", TargetKind::Onion, Ok(ONION)),
        ("to-www.bit", TargetKind::Any, Ok("2001:db8::1")),
        ("to-www.bit", TargetKind::Onion, Err(Failure::NoTarget)),
        ("twice.bit", TargetKind::Any, Ok(ONION)),
        ("www.below.bit", TargetKind::Any, Err(Failure::NotRegistered)),
        ("www.sub.below.bit", TargetKind::Any, Ok("2001:db8::1")),
        ("www.out.bit", TargetKind::Any, Ok("www.example.com")),
        ("www.out.bit", TargetKind::Onion, Err(Failure::NoTarget)),
        ("to-onion.bit", TargetKind::Any, Ok(ONION)),
        ("to-onion.bit", TargetKind::Onion, Ok(ONION)),
        ("to-onion.bit", TargetKind::Address, Err(Failure::NoTarget)),
        ("to-nothing.bit", TargetKind::Any, Err(Failure::NotRegistered)),
        ("to-invalid.bit", TargetKind::Any, Err(Failure::Broken)),
    ] {
        assert_eq!(
            world.find(name, target_kind),
            expected.map(str::to_owned),
            "{name} {target_kind:?}"
        );
    }
    // The services of a name below `translate` are those below its target.
    assert_eq!(world.find("x.moved.bit", TargetKind::Any), Err(Failure::NotRegistered));
    let world = World::new([
        ("moved", json!({ "translate": "site.bit." })),
        ("site", json!({ "map": { "x": service(ONION) } })),
    ]);
    assert_eq!(world.find("x.moved.bit", TargetKind::Onion).as_deref(), Ok(ONION));
}

#[test]
fn aliases_that_never_end_are_given_up() {
    let world = World::new([
        ("a", json!({ "alias": "b.bit." })),
        ("b", json!({ "alias": "a.bit." })),
        ("self", json!({ "alias": "self.bit." })),
        ("moving", json!({ "translate": "x.moving.bit." })),
    ]);
    for name in ["a.bit", "self.bit", "y.moving.bit"] {
        assert_eq!(world.find(name, TargetKind::Any), Err(Failure::Broken), "{name}");
    }
    let hops = |number: usize| {
        let link = |at: usize| (format!("l{at}"), json!({ "alias": format!("l{}.bit.", at + 1) }));
        let mut values: Vec<(String, Value)> = (0..number).map(link).collect();
        values.push((format!("l{number}"), json!({ "ip": "192.0.2.1" })));
        World::new(values.iter().map(|(name, value)| (name.as_str(), value.clone())))
    };
    assert_eq!(
        hops(MAX_ALIASES).find("l0.bit", TargetKind::Any).as_deref(),
        Ok("192.0.2.1")
    );
    assert_eq!(
        hops(MAX_ALIASES + 1).find("l0.bit", TargetKind::Any),
        Err(Failure::Broken)
    );
}

/// A string of a TXT record can hold anything: ncprop279 prints it as it is.
#[test]
fn only_valid_services_are_taken() {
    let forged = format!("x.onion\nRESOLVED 99 0 {ONION}");
    for text in [
        forged.as_str(),
        "sp ace.onion",
        "expyuzz4wqqyqhjn.onion",
        &format!("{ONION} "),
        &format!("{ONION}."),
        &format!("{}a.onion", &ONION[..55]),
        "\u{1}.onion",
        "x.onion",
        "",
    ] {
        let alone = World::new([("x", service(text))]);
        assert_eq!(alone.find("x.bit", TargetKind::Any), Err(Failure::NoTarget), "{text:?}");
        let both = World::new([("x", json!({ "map": { "_tor": { "txt": [text, ONION] } } }))]);
        assert_eq!(both.find("x.bit", TargetKind::Any).as_deref(), Ok(ONION), "{text:?}");
    }
    let upper = World::new([("x", service(&ONION.to_uppercase().replace(".ONION", ".onion")))]);
    assert_eq!(upper.find("x.bit", TargetKind::Any).as_deref(), Ok(ONION));
}

#[test]
fn one_of_several_is_taken_by_the_number() {
    let world = World::new([
        ("x", json!({ "map": { "_tor": { "txt": [ONION, OTHER] } } })),
        ("y", json!({ "ip": ["192.0.2.1", "192.0.2.2", "192.0.2.3"] })),
    ]);
    let find = |name, choice| {
        let query = TargetQuery {
            name,
            target_kind: TargetKind::Any,
            choice,
        };
        world.trace(&query).0.unwrap().to_string()
    };
    assert_eq!(find("x.bit", 4), find("x.bit", 4));
    assert_ne!(find("x.bit", 4), find("x.bit", 5));
    let all: BTreeSet<String> = (0..3).map(|choice| find("y.bit", choice)).collect();
    assert_eq!(all.len(), 3);
}

#[test]
fn what_failed_ends_the_search() {
    for (note, expected) in [
        (ExtendedError::Timeout, Failure::Timeout),
        (ExtendedError::NotSynchronised, Failure::Unavailable),
        (ExtendedError::NoProxy, Failure::Unavailable),
        (ExtendedError::NoBackend, Failure::Unavailable),
        (ExtendedError::Busy, Failure::Unavailable),
        (ExtendedError::Lied, Failure::Unavailable),
    ] {
        let world = World::failing("d/x", note);
        assert_eq!(world.find("x.bit", TargetKind::Any), Err(expected), "{note:?}");
    }
}

#[test]
fn each_name_is_looked_up_once() {
    let world = World::new([("a", json!({ "alias": "b.bit." })), ("b", json!({ "ip": "192.0.2.1" }))]);
    let (_, order) = world.trace(&TargetQuery {
        name: "a.bit",
        target_kind: TargetKind::Any,
        choice: 0,
    });
    let expected = ["d/a", "d/b"].map(|name| NameId::new(name.as_bytes()).unwrap());
    assert_eq!(order, expected);
}

fn any_host() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a.bit.",
        "b.bit.",
        "x.a.bit.",
        "example.com.",
        "x.onion.",
        "bit.",
        "a.bit.onion.",
    ])
    .prop_map(str::to_owned)
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any_host().prop_map(|host| json!({ "alias": host })),
        any_host().prop_map(|host| json!({ "translate": host })),
        Just(json!({ "ip": "192.0.2.1" })),
        "[ -~\n]{0,40}".prop_map(|text| service(&text)),
        any_host().prop_map(|host| json!({ "map": { "x": { "alias": host }, "*": { "translate": "b.bit." } } })),
        Just(service(ONION)),
    ]
}

proptest! {
    #[test]
    fn nothing_that_must_be_resolved_here_ever_comes_out(a in any_value(), b in any_value(), name in "(x\\.)?[ab]\\.bit") {
        let world = World::new([("a", a), ("b", b)]);
        for target_kind in [TargetKind::Any, TargetKind::Onion, TargetKind::Address] {
            if let Ok(target) = world.trace(&TargetQuery { name: &name, target_kind, choice: 1 }).0 {
                let text = target.to_string();
                prop_assert_eq!(Target::parse(&text, ["bit", "bit.onion"].into_iter()), Some(target.clone()));
                prop_assert!(target_kind != TargetKind::Onion || matches!(target, Target::Onion(_)));
                prop_assert!(target_kind != TargetKind::Address || !matches!(target, Target::Onion(_)));
            }
        }
    }
}

/// A `tls` item of one key, which is told by its first byte.
fn key(byte: u8) -> Value {
    use base64::Engine as _;
    json!([[3, 1, 0, base64::engine::general_purpose::STANDARD.encode([byte; 4])]])
}

fn key_at(port: &str, byte: u8) -> Value {
    json!({ "_tcp": { "map": { port: { "tls": key(byte) } } } })
}

/// Source: RFC 6698, section 3; RFC 7671, section 7.
#[test]
fn keys_are_those_of_the_port_and_of_where_aliases_lead() {
    let world = World::new([
        ("a", json!({ "ip": "1.2.3.4", "map": key_at("_443", 1) })),
        ("any", json!({ "map": { "*": { "tls": key(2) } } })),
        ("alias", json!({ "alias": "a.bit.", "map": key_at("_443", 3) })),
        ("own", json!({ "alias": "bare.bit.", "map": key_at("_443", 4) })),
        ("bare", json!({ "ip": "1.2.3.4" })),
        ("out", json!({ "alias": "www.example.com.", "map": key_at("_443", 5) })),
        (
            "record",
            json!({ "map": { "_tcp": { "map": { "_443": { "alias": "keys.held.bit." } } } } }),
        ),
        (
            "away",
            json!({ "map": { "_tcp": { "map": { "_443": { "alias": "keys.example.com." } } } } }),
        ),
        ("ns", json!({ "ns": "ns.example.com.", "map": key_at("_443", 6) })),
        ("held", json!({ "map": { "keys": { "tls": key(7) } } })),
        ("loop", json!({ "alias": "loop.bit." })),
        ("bad", json!("no JSON")),
    ]);
    let first = |host: &str, port| match world.keys(host, port) {
        Ok(PublishedKeys::Records(records)) => Ok(records.iter().map(|record| record.cert_data[0]).collect::<Vec<_>>()),
        other => Err(other),
    };
    let nothing = || Err(Ok(PublishedKeys::Nothing));
    for (host, port, expected) in [
        ("a.bit", 443, Ok(vec![1])),
        ("a.bit", 8443, nothing()),
        ("www.a.bit", 443, nothing()),
        ("any.bit", 443, Ok(vec![2])),
        ("any.bit", 25, Ok(vec![2])),
        ("alias.bit", 443, Ok(vec![1])),
        ("own.bit", 443, Ok(vec![4])),
        ("out.bit", 443, Ok(vec![5])),
        ("record.bit", 443, Ok(vec![7])),
        ("away.bit", 443, nothing()),
        ("bare.bit", 443, nothing()),
        ("none.bit", 443, nothing()),
        ("ns.bit", 443, Err(Ok(PublishedKeys::Delegated))),
        ("loop.bit", 443, Err(Err(Failure::Broken))),
        ("bad.bit", 443, Err(Err(Failure::Broken))),
        ("a.example", 443, Err(Err(Failure::NotHandled))),
        ("a b.bit", 443, Err(Err(Failure::Invalid))),
    ] {
        assert_eq!(first(host, port), expected, "{host} {port}");
    }
}

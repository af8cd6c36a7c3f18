//! The cases of `tests/vectors/dns/values.json`, and properties of every value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use hickory_proto::dnssec::rdata::DNSSECRData;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::dns::value::bounds::{MAX_BYTES, MAX_CERTIFICATES, MAX_IMPORTS, MAX_MAP_DEPTH, MAX_OBJECTS, MAX_RECORDS};

const APEX: &str = "example.bit.";

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// Section of the rules, and what it says.
    rule: String,
    /// A string is the text itself.
    value: Value,
    /// Values of other names; null for one that doesn't exist.
    #[serde(default)]
    imports: BTreeMap<String, Value>,
    /// `d/example` where there is none.
    name: Option<String>,
    apex: Option<String>,
    /// All records, by owner and type.
    expect: BTreeMap<String, Vec<String>>,
    /// Paths, in order unless `unordered`.
    #[serde(default)]
    problems: Vec<String>,
    #[serde(default)]
    unordered: bool,
    #[serde(default)]
    delegated: Vec<String>,
    /// All names, with and without records.
    names: Option<Vec<String>>,
    /// All addresses of `tor` items, by name.
    services: Option<BTreeMap<String, Vec<String>>>,
}

fn value_of(json: &Value) -> NameValue {
    let text = match json {
        Value::String(text) => text.clone(),
        json => json.to_string(),
    };
    NameValue::new(text.as_bytes()).unwrap()
}

fn name(text: &str) -> NameId {
    NameId::new(text.as_bytes()).unwrap()
}

/// Builds a domain, looking up in `world` what is needed; what isn't there is absent. Also returns how many names were
/// looked up.
fn resolve_name(
    id: &NameId,
    value: &NameValue,
    apex: &str,
    world: &BTreeMap<NameId, NameValue>,
) -> Result<(Domain, usize), ValueError> {
    let apex = Name::from_ascii(apex).unwrap();
    let mut imports = BTreeMap::new();
    loop {
        let needs = match build(id, value, &apex, &imports)? {
            Built::Domain(domain) => return Ok((domain, imports.len())),
            Built::Needs(needs) => needs,
        };
        assert!(!needs.is_empty());
        for need in needs {
            let found = world.get(&need).cloned().map_or(Imported::Absent, Imported::Value);
            assert_eq!(imports.insert(need, found), None, "looked up twice");
        }
        assert!(imports.len() <= MAX_IMPORTS);
    }
}

fn resolve(value: &NameValue, world: &BTreeMap<NameId, NameValue>) -> Result<(Domain, usize), ValueError> {
    resolve_name(&name("d/example"), value, APEX, world)
}

fn domain(json: &Value) -> Domain {
    resolve(&value_of(json), &BTreeMap::new()).unwrap().0
}

/// Everything a domain says, in presentation format.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown {
    records: BTreeMap<String, Vec<String>>,
    names: BTreeSet<String>,
    delegated: Vec<String>,
}

impl Shown {
    fn of(domain: &Domain, apex: &str) -> Self {
        let mut shown = Self::default();
        shown.add(domain.root(), apex);
        shown
    }

    /// Leaves away what stands in for items of which nothing can be served.
    fn without_stand_ins(mut self) -> Self {
        let zeros = "0".repeat(64);
        let stand_ins = [format!("0 13 2 {zeros}"), format!("3 1 1 {zeros}")];
        for records in self.records.values_mut() {
            records.retain(|record| !stand_ins.contains(record));
        }
        self.records.retain(|_, records| !records.is_empty());
        self
    }

    fn add(&mut self, node: &Node, owner: &str) {
        self.names.insert(owner.to_owned());
        if node.is_delegated() {
            self.delegated.push(owner.to_owned());
        }
        for (kind, records) in node.rrsets() {
            assert!(!records.is_empty());
            assert_eq!(records, node.rrset(kind));
            let kind = if u16::from(kind) == 29 {
                "LOC".to_owned()
            } else {
                kind.to_string()
            };
            let records = records.iter().map(|record| presentation(record, node)).collect();
            self.records.insert(format!("{owner} {kind}"), records);
        }
        for (label, child) in node.children().filter(|_| !node.is_renamed()) {
            assert!(node.child(label).is_some());
            self.add(child, &format!("{}.{owner}", std::str::from_utf8(label).unwrap()));
        }
    }
}

fn services(node: &Node, owner: &str) -> BTreeMap<String, Vec<String>> {
    let own: Vec<String> = node.services().iter().map(ToString::to_string).collect();
    let mut all: BTreeMap<_, _> = [(owner.to_owned(), own)]
        .into_iter()
        .filter(|(_, own)| !own.is_empty())
        .collect();
    for (label, child) in node.children() {
        all.extend(services(
            child,
            &format!("{}.{owner}", std::str::from_utf8(label).unwrap()),
        ));
    }
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn quoted(string: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in string {
        let _ = match byte {
            b'"' | b'\\' => write!(text, "\\{}", char::from(*byte)),
            0x20..=0x7e => write!(text, "{}", char::from(*byte)),
            _ => write!(text, "\\{byte:03}"),
        };
    }
    text + "\""
}

fn presentation(record: &RData, node: &Node) -> String {
    match record {
        RData::TXT(txt) => {
            let strings: Vec<_> = txt.txt_data.iter().map(|string| quoted(string)).collect();
            strings.join(" ")
        }
        RData::MX(mx) => format!("{} {}", mx.preference, mx.exchange),
        RData::SRV(srv) => format!("{} {} {} {}", srv.priority, srv.weight, srv.port, srv.target),
        RData::TLSA(tlsa) => {
            let numbers = [tlsa.cert_usage.into(), tlsa.selector.into(), u8::from(tlsa.matching)];
            let [usage, selector, matching] = numbers;
            format!("{usage} {selector} {matching} {}", hex(&tlsa.cert_data))
        }
        RData::SSHFP(sshfp) => {
            let [algorithm, kind] = [u8::from(sshfp.algorithm), sshfp.fingerprint_type.into()];
            format!("{algorithm} {kind} {}", hex(&sshfp.fingerprint))
        }
        RData::DNSSEC(DNSSECRData::DS(ds)) => {
            let [algorithm, kind] = [u8::from(ds.algorithm()), ds.digest_type().into()];
            format!("{} {algorithm} {kind} {}", ds.key_tag(), hex(ds.digest()))
        }
        RData::Unknown { code, rdata } if *code == RecordType::DNAME => {
            use hickory_proto::serialize::binary::BinDecodable as _;
            let name = Name::from_bytes(&rdata.anything).unwrap();
            assert_eq!(node.dname(), Some(&name));
            name.to_string()
        }
        RData::Unknown { rdata, .. } => hex(&rdata.anything),
        record => record.to_string(),
    }
}

#[test]
fn cases_give_the_records_expected() {
    let vectors: Vectors = serde_json::from_str(include_str!("../../../tests/vectors/dns/values.json")).unwrap();
    let mut failed = Vec::new();
    for case in vectors.cases {
        let id = name(case.name.as_deref().unwrap_or("d/example"));
        let apex = case.apex.as_deref().unwrap_or(APEX);
        let present = case.imports.iter().filter(|(_, json)| !json.is_null());
        let world = present.map(|(id, json)| (name(id), value_of(json))).collect();
        let (domain, _) = resolve_name(&id, &value_of(&case.value), apex, &world).unwrap();
        let shown = Shown::of(&domain, apex);
        let mut problems: Vec<_> = domain
            .problems()
            .iter()
            .map(|problem| problem.path().to_owned())
            .collect();
        let mut expected = case.problems;
        if case.unordered {
            problems.sort();
            expected.sort();
        }
        let names = case.names.map(|names| names.into_iter().collect::<BTreeSet<_>>());
        if shown.records != case.expect
            || problems != expected
            || shown.delegated != case.delegated
            || names.is_some_and(|names| names != shown.names)
            || case
                .services
                .is_some_and(|expected| expected != services(domain.root(), apex))
        {
            failed.push(format!("{}\n  {shown:?}\n  problems {problems:?}", case.rule));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn what_is_no_json_is_an_error() {
    for (bytes, error) in [
        (&b"{"[..], ValueError::Syntax),
        (b"1.2.3.4", ValueError::Syntax),
        (b"\xa0", ValueError::Encoding),
    ] {
        let value = NameValue::new(bytes).unwrap();
        assert_eq!(resolve(&value, &BTreeMap::new()), Err(error));
    }
}

#[test]
fn problems_tell_where_and_why_but_not_to_logs() {
    let domain = domain(&json!({"map": {"www\u{1b}[2J": {}, "a": {"ip": ["x", "1.2.3.4"]}}}));
    let shown: Vec<_> = domain.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "map.www\\u{1b}[2J: not a lowercase label, `*` or empty: no query reaches it",
            "map.a.ip[0]: not an IPv4 address in dotted decimal without leading zeros",
        ]
    );
    assert_eq!(
        format!("{:?} {:?} {:?}", domain, domain.root(), domain.problems()),
        "Domain(..) Node(..) [Problem(..), Problem(..)]"
    );
    let list: Vec<_> = (0..200).collect();
    assert_eq!(self::domain(&json!({ "ip": list })).problems().len(), 64);
}

/// Maps with imports in imported maps: each level doubles or worse.
#[test]
fn nested_imports_are_bounded() {
    let world = (0..4)
        .map(|index| {
            let child = if index < 3 {
                json!({"import": format!("dd/{}", index + 1)})
            } else {
                json!("1.2.3.4")
            };
            let map: serde_json::Map<_, _> = (0..20).map(|label| (label.to_string(), child.clone())).collect();
            (
                name(&format!("dd/{index}")),
                value_of(&json!({"map": map, "txt": "x".repeat(400)})),
            )
        })
        .collect();
    let (domain, lookups) = resolve(&value_of(&json!({"import": "dd/0"})), &world).unwrap();
    assert!(lookups <= MAX_IMPORTS);
    let shown = Shown::of(&domain, APEX);
    assert!(
        shown.names.len() > MAX_OBJECTS / 2 && shown.names.len() < 2 * MAX_OBJECTS,
        "{}",
        shown.names.len()
    );
    assert!(
        domain
            .problems()
            .iter()
            .any(|problem| *problem.reason() == Reason::ObjectCount)
    );
    assert!(domain.size() < 3 * MAX_BYTES, "{}", domain.size());
}

#[test]
fn names_to_look_up_are_bounded() {
    let world: BTreeMap<_, _> = (0..200)
        .map(|index| {
            let next: Vec<_> = (1..20).map(|step| format!("dd/{}", index * 20 + step)).collect();
            (
                name(&format!("dd/{index}")),
                value_of(&json!({"import": next, "ip": "1.2.3.4"})),
            )
        })
        .collect();
    let (domain, lookups) = resolve(&value_of(&json!({"import": "dd/0"})), &world).unwrap();
    assert_eq!(lookups, MAX_IMPORTS);
    assert_eq!(domain.root().rrset(RecordType::A).len(), 1);
    assert!(
        domain
            .problems()
            .iter()
            .any(|problem| *problem.reason() == Reason::ImportCount)
    );
}

#[test]
fn records_are_bounded() {
    let strings: Vec<_> = (0..150).map(|index| format!("{index}")).collect();
    let mut world = BTreeMap::from([(name("dd/x"), value_of(&json!({ "txt": strings })))]);
    let map: serde_json::Map<_, _> = (0..35)
        .map(|label| (format!("{label}"), json!({"import": "dd/x"})))
        .collect();
    world.insert(name("dd/y"), value_of(&json!({ "map": map })));
    let (domain, _) = resolve(&value_of(&json!({"import": "dd/y"})), &world).unwrap();
    let shown = Shown::of(&domain, APEX);
    let count: usize = shown.records.values().map(Vec::len).sum();
    assert!(
        count <= MAX_RECORDS && domain.size() <= 2 * MAX_BYTES,
        "{count} {}",
        domain.size()
    );
    assert!(
        domain
            .problems()
            .iter()
            .any(|problem| *problem.reason() == Reason::RecordCount)
    );
}

#[test]
fn only_what_can_matter_is_looked_up() {
    let needs = |json: Value| {
        let apex = Name::from_ascii(APEX).unwrap();
        match build(&name("d/example"), &value_of(&json), &apex, &BTreeMap::new()) {
            Ok(Built::Needs(needs)) => needs.len(),
            _ => 0,
        }
    };
    assert_eq!(needs(json!({"import": ["dd/a", "dd/b", "dd/a"]})), 2);
    assert_eq!(
        needs(json!({"import": "d/example", "map": {"a": {"import": "d/example"}}})),
        0
    );
    assert_eq!(needs(json!({"map": {"A": {"import": "dd/a"}}})), 0, "not reachable");
}

/// Signatures and points cost most; they are counted, and each that is left out is told.
#[test]
fn computations_are_bounded() {
    let compressed = "MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgACGm0zZlzrnwEYvub3BG3+VTKjvXWdMntoTanw3cwGAqc=";
    let row: Vec<_> = (0..8).map(|usage| json!([usage, 1, 0, compressed])).collect();
    let world = BTreeMap::from([(name("dd/x"), value_of(&json!({ "tls": row })))]);
    let map: serde_json::Map<_, _> = (0..10)
        .map(|label| (label.to_string(), json!({"import": "dd/x"})))
        .collect();
    let (domain, _) = resolve(&value_of(&json!({ "map": map })), &world).unwrap();
    let shown = Shown::of(&domain, APEX);
    let count: usize = shown.records.values().map(Vec::len).sum();
    assert_eq!(count, 80 + MAX_CERTIFICATES);
    let left_out = domain
        .problems()
        .iter()
        .filter(|problem| *problem.reason() == Reason::CertificateCount);
    assert_eq!(left_out.count(), 80 - MAX_CERTIFICATES);
}

/// JSON as owners and attackers write it: the known keys, plausible and implausible contents.
fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        prop::sample::select(vec![
            "1.2.3.4",
            "::1",
            "ns1",
            "a.b.",
            "@",
            "x.@",
            "",
            "A",
            "dd/x",
            "dd/y",
            "d/example",
            "a",
            "a.onion",
            "AA==",
            "0 N 0 E 0m",
            "*",
        ])
        .prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let leaf = prop_oneof![
        4 => text,
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        2 => (0..300_u32).prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "ip",
        "ip6",
        "ns",
        "dns",
        "alias",
        "translate",
        "ds",
        "txt",
        "srv",
        "mx",
        "tls",
        "loc",
        "sshfp",
        "tor",
        "map",
        "map",
        "import",
        "delegate",
        "",
        "*",
        "a",
        "_tcp",
        "_smtp",
        "_tor",
        "dane",
        "d8",
    ]);
    let value = leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|members| {
                Value::Object(
                    members
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value))
                        .collect(),
                )
            }),
        ]
    });
    value.prop_filter("too long for a name", |value| {
        value.to_string().len() <= NameValue::MAX_LEN
    })
}

fn any_world() -> impl Strategy<Value = BTreeMap<NameId, NameValue>> {
    prop::collection::vec(any_value(), 2).prop_map(|values| {
        ["dd/x", "dd/y"]
            .into_iter()
            .map(name)
            .zip(values.iter().map(value_of))
            .collect()
    })
}

fn depth(node: &Node) -> usize {
    node.children().map(|(_, child)| 1 + depth(child)).max().unwrap_or(0)
}

proptest! {
    #[test]
    fn any_bytes_are_read_within_bounds(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let value = NameValue::new(&bytes).unwrap();
        let _ = resolve(&value, &BTreeMap::new());
    }

    #[test]
    fn any_json_makes_a_bounded_domain(json in any_value(), world in any_world()) {
        let value = NameValue::new(json.to_string().as_bytes()).unwrap();
        let (domain, _) = resolve(&value, &world).unwrap();
        let shown = Shown::of(&domain, APEX);
        prop_assert!(shown.records.values().map(Vec::len).sum::<usize>() <= MAX_RECORDS);
        prop_assert!(depth(domain.root()) <= MAX_MAP_DEPTH);
        prop_assert!(domain.size() <= 2 * MAX_BYTES);
        for records in shown.records.values() {
            let distinct: BTreeSet<_> = records.iter().collect();
            prop_assert_eq!(distinct.len(), records.len());
        }
        prop_assert_eq!(resolve(&value, &world).unwrap().0, domain);
    }

    #[test]
    fn the_order_of_keys_does_not_matter(json in any_value(), world in any_world()) {
        let [written, reversed] = [false, true].map(|reverse| {
            let text = ordered(&json, reverse).to_string();
            let value = NameValue::new(text.as_bytes()).unwrap();
            Shown::of(&resolve(&value, &world).unwrap().0, APEX)
        });
        prop_assert_eq!(written, reversed);
    }

    #[test]
    fn a_malformed_member_changes_nothing_else(
        lists in prop::collection::btree_map(prop::sample::select(vec![
            "ip", "ip6", "ns", "ds", "txt", "srv", "mx", "tls", "loc", "sshfp", "tor",
        ]), prop::collection::vec(member(), 0..5), 1..6),
        key in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        junk in prop::sample::select(vec![json!(5), json!(null), json!(true), json!({}), json!([]), json!([[]])]),
    ) {
        let mut spoilt = lists.clone();
        let list = spoilt.values_mut().nth(key.index(lists.len())).unwrap();
        list.insert(at.index(list.len() + 1), junk);
        for below in [json!(lists), json!({"map": {"a": lists}})] {
            let spoilt = if below.get("map").is_some() { json!({"map": {"a": spoilt}}) } else { json!(spoilt) };
            let [before, after] = [below, spoilt].map(|json| Shown::of(&domain(&json), APEX).without_stand_ins());
            prop_assert_eq!(before, after);
        }
    }

    #[test]
    fn a_malformed_item_changes_nothing_else(json in any_value(), junk in any_value()) {
        let mut spoilt = json!({"ip": "1.2.3.4", "map": {"a": json.clone()}});
        prop_assume!(spoilt.to_string().len() <= NameValue::MAX_LEN);
        let before = Shown::of(&domain(&spoilt), APEX);
        spoilt["unknown"] = junk.clone();
        spoilt["map"]["UPPER"] = junk.clone();
        spoilt["map"]["a.b"] = junk;
        if spoilt.to_string().len() <= NameValue::MAX_LEN {
            prop_assert_eq!(Shown::of(&domain(&spoilt), APEX), before);
        }
    }
}

/// A member that some item may have.
fn member() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!("1.2.3.4"),
        json!("::1"),
        json!("ns1"),
        json!("a.onion"),
        json!("0 N 0 E 0m"),
        json!([1, 2, 3, "AA=="]),
        json!([1, 2, 3, "a"]),
        json!([1, "a"]),
        json!([1, 2, "AA=="]),
        json!(["a", "b"]),
        json!("bad one"),
        json!([99999, "x"]),
    ])
}

/// The same JSON with the members of all objects in sorted order, or the reverse.
fn ordered(json: &Value, reverse: bool) -> Value {
    match json {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| key.as_str());
            if reverse {
                members.reverse();
            }
            let members = members.into_iter();
            Value::Object(
                members
                    .map(|(key, json)| (key.clone(), ordered(json, reverse)))
                    .collect(),
            )
        }
        Value::Array(members) => members.iter().map(|json| ordered(json, reverse)).collect(),
        json => json.clone(),
    }
}

use std::borrow::Borrow;
use std::time::Duration;

use bitcoin::BlockHash;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::memory_tests::Memory;
use super::*;
use crate::dns::engine::ExtendedError;
use crate::isolation::{BlindedId, IsolationId};
use crate::service::{CacheSettings, CacheTime};

fn name(text: &str) -> NameId {
    NameId::new(text.as_bytes()).unwrap()
}

fn who(text: &str) -> BlindedId {
    IsolationId::new(text.as_bytes()).unwrap().blinded(&[0; 32])
}

fn value(json: &Value) -> LookupResult {
    LookupResult::Value(NameValue::new(json.to_string().as_bytes()).unwrap())
}

fn at(seconds: u64) -> CacheTime {
    CacheTime {
        now: Moment(seconds * 1000),
        tip: None,
    }
}

fn in_block(seconds: u64, block: u8) -> CacheTime {
    use bitcoin::hashes::Hash as _;
    CacheTime {
        tip: Some(BlockHash::from_byte_array([block; 32])),
        ..at(seconds)
    }
}

fn held<'a>(known: impl IntoIterator<Item = (&'a str, LookupResult)>) -> LookedUp {
    known.into_iter().map(|(text, known)| (name(text), known)).collect()
}

fn find(memory: &mut Memory, id: &str, text: &str, held: &LookedUp, at: CacheTime) -> Found {
    let label = text.split('/').next_back().unwrap();
    let apex = Name::from_ascii(format!("{label}.bit.")).unwrap();
    memory.find(who(id), &name(text), &apex, held, at)
}

fn address(last: u8) -> Value {
    json!({ "ip": format!("192.0.2.{last}") })
}

/// What was found, as text: a domain by its addresses.
fn told(found: &Found) -> String {
    use hickory_proto::rr::RecordType;
    match found {
        Found::Domain(domain, life) => {
            let records = domain.root().rrset(RecordType::A).iter();
            let records: Vec<String> = records.map(ToString::to_string).collect();
            format!("{} for {life}", records.join(" "))
        }
        Found::Absent(note, life) => format!("absent {note:?} for {life}"),
        Found::Unreadable(life) => format!("unreadable for {life}"),
        Found::Failed(note) => format!("failed {note:?}"),
        Found::Needs(names) => {
            let names = names
                .iter()
                .map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
            format!("needs {}", names.collect::<Vec<_>>().join(" "))
        }
    }
}

fn tell(memory: &mut Memory, text: &str, seconds: u64) -> String {
    told(&find(memory, "", text, &LookedUp::new(), at(seconds)))
}

fn store(memory: &mut Memory, id: &str, text: &str, known: impl Borrow<LookupResult>, at: CacheTime) {
    memory.store(who(id), &name(text), known.borrow(), at);
}

fn check(memory: &Memory) {
    memory.0.check();
}

#[test]
fn each_kind_has_a_life_of_its_own() {
    let mut memory = Memory::new(CacheSettings::default());
    store(&mut memory, "", "d/x", value(&address(1)), at(0));
    store(
        &mut memory,
        "",
        "d/broken",
        LookupResult::Value(NameValue::new(b"{").unwrap()),
        at(0),
    );
    store(
        &mut memory,
        "",
        "d/none",
        LookupResult::Absent(Some(ExtendedError::Expired)),
        at(0),
    );
    store(
        &mut memory,
        "",
        "d/failed",
        LookupResult::Failed(ExtendedError::Timeout),
        at(0),
    );
    for (text, seconds, expected) in [
        ("d/x", 0, "192.0.2.1 for 600"),
        ("d/x", 1, "192.0.2.1 for 599"),
        ("d/x", 599, "192.0.2.1 for 1"),
        ("d/x", 600, "needs d/x"),
        ("d/broken", 10, "unreadable for 590"),
        ("d/broken", 600, "needs d/broken"),
        ("d/none", 59, "absent Some(Expired) for 1"),
        ("d/none", 60, "needs d/none"),
        ("d/failed", 1, "failed Timeout"),
        ("d/failed", 2, "needs d/failed"),
        ("d/other", 0, "needs d/other"),
    ] {
        assert_eq!(tell(&mut memory, text, seconds), expected, "{text} after {seconds} s");
    }
    check(&memory);
    assert_eq!(memory.0.size().0, 0, "what is out of date goes when it is asked for");
}

#[test]
fn nothing_is_remembered_that_has_no_life() {
    let mut memory = Memory::new(CacheSettings {
        positive: Duration::ZERO,
        ..CacheSettings::default()
    });
    store(&mut memory, "", "d/x", LookupResult::Absent(None), at(0));
    store(&mut memory, "", "d/x", value(&address(1)), at(0));
    assert_eq!(memory.0.size(), (0, 0));
    let held = held([("d/x", value(&address(1)))]);
    assert_eq!(told(&find(&mut memory, "", "d/x", &held, at(0))), "192.0.2.1 for 0");
}

#[test]
fn a_later_lookup_takes_the_place_of_an_earlier_one() {
    let mut memory = Memory::new(CacheSettings::default());
    store(&mut memory, "", "d/x", value(&address(1)), at(0));
    assert_eq!(tell(&mut memory, "d/x", 0), "192.0.2.1 for 600");
    store(&mut memory, "", "d/x", value(&address(2)), at(100));
    assert_eq!(tell(&mut memory, "d/x", 100), "192.0.2.2 for 600");
    store(&mut memory, "", "d/x", LookupResult::Absent(None), at(200));
    assert_eq!(tell(&mut memory, "d/x", 200), "absent None for 60");
    check(&memory);
}

#[test]
fn a_new_block_ends_values_alone() {
    let mut memory = Memory::new(CacheSettings::default());
    let mut tell = |text: &str, at: CacheTime| told(&find(&mut memory, "", text, &LookedUp::new(), at));
    assert_eq!(tell("d/x", in_block(0, 1)), "needs d/x");
    let mut memory = Memory::new(CacheSettings::default());
    store(&mut memory, "", "d/x", value(&address(1)), in_block(0, 1));
    store(&mut memory, "", "d/none", LookupResult::Absent(None), in_block(0, 1));
    store(
        &mut memory,
        "",
        "d/failed",
        LookupResult::Failed(ExtendedError::Lied),
        in_block(0, 1),
    );
    let mut tell = |text: &str, at: CacheTime| told(&find(&mut memory, "", text, &LookedUp::new(), at));
    assert_eq!(tell("d/x", in_block(1, 1)), "192.0.2.1 for 599");
    assert_eq!(tell("d/none", in_block(1, 2)), "absent None for 59");
    assert_eq!(tell("d/failed", in_block(1, 2)), "failed Lied");
    assert_eq!(tell("d/x", in_block(1, 2)), "needs d/x");
    check(&memory);
}

#[test]
fn nothing_is_shared_between_identities() {
    let mut memory = Memory::new(CacheSettings::default());
    store(&mut memory, "a", "d/x", value(&json!({"import": "dd/i"})), at(0));
    store(&mut memory, "b", "dd/i", value(&address(1)), at(0));
    store(&mut memory, "", "dd/i", value(&address(2)), at(0));
    let mut tell = |id: &str, text: &str| told(&find(&mut memory, id, text, &LookedUp::new(), at(0)));
    assert_eq!(tell("b", "d/x"), "needs d/x");
    assert_eq!(tell("", "d/x"), "needs d/x");
    assert_eq!(tell("a", "d/x"), "needs dd/i");
    store(&mut memory, "a", "dd/i", value(&address(3)), at(0));
    let mut tell = |id: &str, text: &str| told(&find(&mut memory, id, text, &LookedUp::new(), at(0)));
    assert_eq!(tell("a", "d/x"), "192.0.2.3 for 600");
    assert_eq!(tell("b", "d/x"), "needs d/x");
}

#[test]
fn one_identity_is_forgotten_or_all() {
    let mut memory = Memory::new(CacheSettings::default());
    for id in ["", "a", "b"] {
        store(&mut memory, id, "d/x", value(&address(1)), at(0));
        store(&mut memory, id, "d/y", LookupResult::Absent(None), at(0));
        find(&mut memory, id, "d/x", &LookedUp::new(), at(0));
    }
    memory.0.forget(Some(who("a")));
    check(&memory);
    let mut tell = |id: &str, text: &str| told(&find(&mut memory, id, text, &LookedUp::new(), at(0)));
    assert_eq!([tell("a", "d/x"), tell("a", "d/y")], ["needs d/x", "needs d/y"]);
    assert_eq!(
        [tell("", "d/x"), tell("b", "d/y")],
        ["192.0.2.1 for 600", "absent None for 60"]
    );
    memory.0.forget(Some(who("")));
    assert_eq!(memory.0.size().0, 2);
    memory.0.forget(None);
    assert_eq!(memory.0.size(), (0, 0));
}

#[test]
fn what_the_question_holds_beats_memory() {
    let mut memory = Memory::new(CacheSettings::default());
    store(&mut memory, "", "d/x", value(&address(1)), at(0));
    assert_eq!(tell(&mut memory, "d/x", 0), "192.0.2.1 for 600");
    for (known, expected) in [
        (value(&address(2)), "192.0.2.2 for 0"),
        (value(&address(1)), "192.0.2.1 for 590"),
        (LookupResult::Absent(None), "absent None for 0"),
        (LookupResult::Failed(ExtendedError::Timeout), "failed Timeout"),
    ] {
        let held = held([("d/x", known)]);
        assert_eq!(told(&find(&mut memory, "", "d/x", &held, at(10))), expected);
        check(&memory);
    }
    // Another question is not told.
    assert_eq!(tell(&mut memory, "d/x", 10), "192.0.2.1 for 590");
}

#[test]
fn imports_hold_what_is_made_of_them_no_longer_than_themselves() {
    let mut memory = Memory::new(CacheSettings::default());
    store(&mut memory, "", "dd/i", value(&address(1)), at(0));
    store(&mut memory, "", "dd/none", LookupResult::Absent(None), at(280));
    store(
        &mut memory,
        "",
        "d/x",
        value(&json!({"import": [["dd/none"], ["dd/i"]]})),
        at(300),
    );
    assert_eq!(tell(&mut memory, "d/x", 300), "192.0.2.1 for 40");
    assert_eq!(tell(&mut memory, "d/x", 339), "192.0.2.1 for 1");
    assert_eq!(tell(&mut memory, "d/x", 340), "needs dd/none");
    store(&mut memory, "", "dd/none", LookupResult::Absent(None), at(580));
    assert_eq!(tell(&mut memory, "d/x", 580), "192.0.2.1 for 20");
    assert_eq!(tell(&mut memory, "d/x", 600), "needs dd/i");
    check(&memory);
}

#[test]
fn an_import_that_failed_fails_all() {
    let mut memory = Memory::new(CacheSettings::default());
    store(
        &mut memory,
        "",
        "d/x",
        value(&json!({"ip": "192.0.2.1", "import": [["dd/a"], ["dd/b"]]})),
        at(0),
    );
    assert_eq!(tell(&mut memory, "d/x", 0), "needs dd/a dd/b");
    store(&mut memory, "", "dd/a", value(&json!({})), at(0));
    store(
        &mut memory,
        "",
        "dd/b",
        LookupResult::Failed(ExtendedError::NoProxy),
        at(0),
    );
    assert_eq!(tell(&mut memory, "d/x", 1), "failed NoProxy");
    assert_eq!(tell(&mut memory, "d/x", 2), "needs dd/b");
    store(&mut memory, "", "dd/b", LookupResult::Absent(None), at(2));
    assert_eq!(tell(&mut memory, "d/x", 2), "192.0.2.1 for 60");
}

#[test]
fn a_question_ends_however_soon_the_cache_forgets() {
    // There is room for one name: what was looked up in one round is gone in the next.
    let mut memory = Memory::new(CacheSettings {
        results: 1,
        ..CacheSettings::default()
    });
    let world = held([
        ("d/x", value(&json!({"import": [["dd/a"], ["dd/b"]]}))),
        ("dd/a", value(&json!({"import": "dd/c"}))),
        ("dd/b", value(&json!({"import": "dd/d"}))),
        ("dd/c", value(&address(1))),
    ]);
    let mut holds = LookedUp::new();
    let mut rounds = 0;
    let found = loop {
        match find(&mut memory, "", "d/x", &holds, at(0)) {
            Found::Needs(names) => {
                for name in names {
                    let known = world.get(&name).cloned().unwrap_or(LookupResult::Absent(None));
                    memory.store(who(""), &name, &known, at(0));
                    check(&memory);
                    assert_eq!(holds.insert(name, known), None, "needed twice");
                }
                rounds += 1;
            }
            found => break found,
        }
    };
    assert_eq!((told(&found).as_str(), rounds), ("192.0.2.1 for 0", 3));
}

#[test]
fn records_are_made_once_and_for_each_apex() {
    let mut memory = Memory::new(CacheSettings::default());
    store(&mut memory, "", "d/x", value(&json!({"alias": "a.@"})), at(0));
    let mut domain = |apex: &str| {
        let apex = Name::from_ascii(apex).unwrap();
        match memory.find(who(""), &name("d/x"), &apex, &LookedUp::new(), at(0)) {
            Found::Domain(domain, _) => domain,
            found => panic!("{found:?}"),
        }
    };
    let first = domain("x.bit.");
    assert!(Arc::ptr_eq(&first, &domain("x.bit.")));
    let suffixed = domain("x.bit.example.com.");
    assert!(*suffixed != *first);
    assert!(Arc::ptr_eq(&suffixed, &domain("x.bit.example.com.")));
    check(&memory);
}

/// Records once could outlast the block after which an import of theirs was to be looked up anew.
#[test]
fn a_block_between_two_rounds_ends_what_was_held_before_it() {
    let mut memory = Memory::new(CacheSettings::default());
    let import = value(&address(1));
    let own = value(&json!({"import": "dd/i"}));
    store(&mut memory, "", "dd/i", import.clone(), in_block(0, 1));
    store(&mut memory, "", "d/x", own.clone(), in_block(1, 2));
    let held = held([("dd/i", import)]);
    assert_eq!(
        told(&find(&mut memory, "", "d/x", &held, in_block(1, 2))),
        "192.0.2.1 for 0"
    );
    assert_eq!(
        told(&find(&mut memory, "", "d/x", &LookedUp::new(), in_block(1, 2))),
        "needs dd/i"
    );
}

#[test]
fn what_was_used_least_lately_goes_first() {
    let mut memory = Memory::new(CacheSettings {
        results: 3,
        ..CacheSettings::default()
    });
    for text in ["d/a", "d/b", "d/c"] {
        store(&mut memory, "", text, value(&address(1)), at(0));
    }
    tell(&mut memory, "d/a", 0);
    store(&mut memory, "other", "d/d", value(&address(1)), at(0));
    assert_eq!(tell(&mut memory, "d/b", 0), "needs d/b");
    assert_eq!(tell(&mut memory, "d/a", 0), "192.0.2.1 for 600");
    check(&memory);
}

#[derive(Clone, Debug)]
enum Step {
    Store(u8, u8, LookupResult),
    Find(u8, u8, Option<LookupResult>),
    Forget(Option<u8>),
    Wait(u64),
    Block(u8),
}

fn known() -> impl Strategy<Value = LookupResult> {
    let values = prop_oneof![
        any::<u8>().prop_map(address),
        (0..300_usize).prop_map(|length| json!({ "txt": "a".repeat(length) })),
        prop::collection::vec(0..6_u8, 1..3).prop_map(|names| {
            let names: Vec<Value> = names.iter().map(|number| json!([format!("d/{number}")])).collect();
            json!({"ip6": "::1", "import": names})
        }),
        Just(json!({"map": {"a": {"map": {"b": {"txt": ["a", "b"]}}}}})),
    ];
    prop_oneof![
        6 => values.prop_map(|json| value(&json)),
        1 => Just(LookupResult::Value(NameValue::new(b"{").unwrap())),
        1 => Just(LookupResult::Absent(None)),
        1 => Just(LookupResult::Failed(ExtendedError::Timeout)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (ids, names) = (0..3_u8, 0..6_u8);
    let step = prop_oneof![
        6 => (ids.clone(), names.clone(), known()).prop_map(|(id, name, known)| Step::Store(id, name, known)),
        6 => (ids.clone(), names, prop::option::weighted(0.2, known())).prop_map(|(id, name, held)| Step::Find(id, name, held)),
        1 => prop::option::weighted(0.8, ids).prop_map(Step::Forget),
        2 => (0..300_u64).prop_map(Step::Wait),
        1 => (0..2_u8).prop_map(Step::Block),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// The model keeps the latest lookup of each name for ever: whatever is found must be of it, and young enough.
    #[test]
    fn the_cache_is_within_bounds_and_tells_the_latest(steps in steps(), names in 0..12_usize, bytes in 0..12_000_usize) {
        let mut memory = Memory::new(CacheSettings { results: names, bytes, ..CacheSettings::default() });
        let mut model: BTreeMap<(u8, u8), (LookupResult, CacheTime)> = BTreeMap::new();
        let mut now = in_block(0, 0);
        for step in steps {
            match step {
                Step::Store(id, number, known) => {
                    model.insert((id, number), (known.clone(), now));
                    store(&mut memory, &id.to_string(), &format!("d/{number}"), known, now);
                }
                Step::Find(id, number, holds) => {
                    let text = format!("d/{number}");
                    let own = holds.clone().map(|known| (known, now));
                    let held = holds.into_iter().map(|known| (name(&text), known)).collect();
                    let found = find(&mut memory, &id.to_string(), &text, &held, now);
                    let (known, since) = match (own, model.get(&(id, number))) {
                        (Some(own), _) => own,
                        (None, Some(latest)) => latest.clone(),
                        (None, None) => {
                            prop_assert!(matches!(&found, Found::Needs(names) if names.contains(&name(&text))));
                            continue;
                        }
                    };
                    let age = now.now.since(since.now).as_secs();
                    match (&found, &known) {
                        (Found::Domain(_, life), LookupResult::Value(_)) => {
                            prop_assert!(u64::from(*life) + age <= 600 && since.tip == now.tip);
                        }
                        (Found::Unreadable(life), LookupResult::Value(_)) => prop_assert!(u64::from(*life) + age <= 600),
                        (Found::Absent(_, life), LookupResult::Absent(_)) => prop_assert!(u64::from(*life) + age <= 60),
                        // Its own, or that of an import.
                        (Found::Failed(ExtendedError::Timeout), LookupResult::Failed(_) | LookupResult::Value(_)) => {}
                        (Found::Needs(names), _) => prop_assert!(names.iter().all(|name| !held.contains_key(name))),
                        _ => prop_assert!(false, "{} of {known:?}", told(&found)),
                    }
                }
                Step::Forget(Some(id)) => {
                    model.retain(|(other, _), _| *other != id);
                    memory.0.forget(Some(who(&id.to_string())));
                }
                Step::Forget(None) => {
                    model.clear();
                    memory.0.forget(None);
                }
                Step::Wait(seconds) => now.now = now.now + Duration::from_secs(seconds),
                Step::Block(block) => now.tip = in_block(0, block).tip,
            }
            check(&memory);
        }
    }
}

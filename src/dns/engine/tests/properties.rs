//! What holds for any values and any question.

use proptest::prelude::*;

use super::*;
use crate::dns::value::bounds::MAX_IMPORTS;

fn labels() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "x", "*", "*", "_tcp", "_smtp", "www", "A"]).prop_map(str::to_owned)
}

fn targets() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "",
        "@",
        "a",
        "a.@",
        "x.b.@",
        "y.bit.",
        "a.y.bit.",
        "b.z.bit.",
        "example.com.",
        "a.x.bit.",
        "x--nmc.bit.",
    ])
    .prop_map(str::to_owned)
}

fn objects() -> impl Strategy<Value = Value> {
    let items = prop_oneof![
        Just(("ip".to_owned(), Value::from("192.0.2.1"))),
        Just(("ip6".to_owned(), Value::from("2001:db8::1"))),
        Just(("txt".to_owned(), Value::from("text"))),
        Just(("ds".to_owned(), serde_json::json!([[1, 13, 2, "AAAA"]]))),
        targets().prop_map(|target| ("alias".to_owned(), target.into())),
        targets().prop_map(|target| ("translate".to_owned(), target.into())),
        prop::collection::vec(targets(), 0..4).prop_map(|list| ("ns".to_owned(), list.into())),
        targets().prop_map(|target| ("srv".to_owned(), serde_json::json!([[1, 1, 25, target]]))),
        prop::collection::vec(prop::sample::select(vec!["d/x", "d/y", "dd/a", "dd/b"]), 1..3).prop_map(|names| {
            let list: Vec<Value> = names.into_iter().map(|name| serde_json::json!([name])).collect();
            ("import".to_owned(), list.into())
        }),
    ];
    let items = prop::collection::vec(items, 0..3);
    let leaf = items
        .clone()
        .prop_map(|items| Value::Object(items.into_iter().collect()));
    leaf.prop_recursive(4, 24, 3, move |inner| {
        let map = prop::collection::btree_map(labels(), inner, 0..4);
        (items.clone(), map).prop_map(|(items, map)| {
            let mut object: serde_json::Map<String, Value> = items.into_iter().collect();
            object.insert("map".to_owned(), Value::Object(map.into_iter().collect()));
            Value::Object(object)
        })
    })
}

fn questions() -> impl Strategy<Value = Question> {
    let below = prop::collection::vec(labels(), 0..5);
    let ends = prop::sample::select(vec!["x.bit.", "X.Bit.", "y.bit.", "bit.", "x--nmc.bit.", "com."]);
    let kinds = prop::sample::select(vec![
        RecordType::A,
        RecordType::AAAA,
        RecordType::NS,
        RecordType::DS,
        RecordType::CNAME,
        RecordType::DNAME,
        RecordType::TXT,
        RecordType::ANY,
        RecordType::SOA,
        RecordType::OPT,
        RecordType::from(65280),
    ]);
    (below, ends, kinds).prop_map(|(below, end, kind)| {
        let text = below.into_iter().map(|label| label + ".").collect::<String>() + end;
        question(&text, kind)
    })
}

/// Checks what holds of any reply.
fn check(question: &Question, reply: &Reply) {
    let [answers, authorities, additionals] = [&reply.answers, &reply.authorities, &reply.additionals];
    let depth = question.name.iter().len();
    for record in answers {
        if record.record_type() == RecordType::DNAME && record.name.iter().len() < depth {
            let above = question.name.trim_to(record.name.iter().len());
            assert!(record.name.eq_case(&above), "{} {}", question.name, record.name);
        } else {
            assert!(record.name.eq_case(&question.name), "{} {}", question.name, record.name);
        }
    }
    let is_referral = !reply.authoritative && reply.code == ResponseCode::NoError;
    if is_referral {
        assert!(answers.is_empty());
        let cut = &authorities[0].name;
        assert!(cut.zone_of(&question.name) && reply.zone.as_ref().is_some_and(|zone| zone.zone_of(cut)));
        let mut targets = Vec::new();
        for record in authorities {
            assert_eq!(&record.name, cut);
            match &record.data {
                RData::NS(target) => targets.push(target.0.to_lowercase()),
                data => assert_eq!(data.record_type(), RecordType::DS),
            }
        }
        assert!(!targets.is_empty());
        assert!(additionals.iter().all(|glue| targets.contains(&glue.name)));
        return;
    }
    assert!(additionals.is_empty());
    let is_negative = reply.authoritative && answers.is_empty();
    assert_eq!(reply.denial.is_some(), is_negative);
    assert_eq!(authorities.len(), usize::from(is_negative));
    match reply.code {
        ResponseCode::NoError => assert!(reply.authoritative),
        ResponseCode::NXDomain => assert!(is_negative),
        ResponseCode::YXDomain => assert!(!answers.is_empty()),
        _ => assert!(!reply.authoritative && answers.is_empty() && reply.zone.is_none()),
    }
}

proptest! {
    #[test]
    fn any_question_is_answered_after_few_rounds(
        values in prop::collection::vec(objects(), 5),
        question in questions(),
        failing in prop::option::of(0..4_usize),
    ) {
        let names = ["d/x", "d/y", "dd/a", "dd/b", "d/z"];
        let fitting = names.into_iter().zip(values).filter(|(_, json)| NameValue::new(json.to_string().as_bytes()).is_some());
        let mut world = World::new(fitting);
        if let Some(name) = failing.and_then(|index| names.get(index + 1)) {
            world = world.with(name, LookupResult::Failed(ExtendedError::Busy));
        }
        let (reply, rounds) = world.trace(&question);
        prop_assert!(rounds.iter().map(BTreeSet::len).sum::<usize>() <= (MAX_GLUE_NAMES + 1) * (MAX_IMPORTS + 1));
        check(&question, &reply);
    }

    #[test]
    fn any_name_and_value_are_taken(
        labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..6),
        number in any::<u16>(),
        class in any::<u16>(),
        text in any::<String>(),
    ) {
        let ends: [&[u8]; 2] = [b"x", b"bit"];
        let labels = labels.iter().map(Vec::as_slice).chain(ends);
        let name = Name::from_labels(labels).unwrap();
        let text = text.chars().take(100).collect::<String>();
        let world = World::new([("d/x", Value::String(text))]);
        let kind = RecordType::from(number);
        check(&Question::new(name.clone(), kind, DNSClass::IN), &world.trace(&Question::new(name.clone(), kind, DNSClass::IN)).0);
        world.trace(&Question::new(name, kind, DNSClass::from(class)));
    }
}

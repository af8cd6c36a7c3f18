//! Values behind a zone, and what must hold of any answer from it.

use std::collections::BTreeSet;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};
use isonym::dns::book::{Book, CacheSettings, Held, Instant, Key, Known};
use isonym::dns::engine::{Note, Question, Reply, Settings, Step, answer};
use isonym::dns::value::bounds::MAX_IMPORTS;
use isonym::isolation::IsolationId;
use isonym::name::{NameId, NameValue};

/// Names whose values are always the same: each kind of end that a way can have.
const FIXED: [(&str, &str); 8] = [
    (
        "d/a",
        r#"{"ip":"192.0.2.1","txt":["a","b"],"map":{"*":{"ip6":"::1","map":{"b":{"mx":[[1,"@"]]}}},"c":{"map":{"d":{"alias":"@"}}}}}"#,
    ),
    (
        "d/cut",
        r#"{"ns":["ns.@","a.glue.bit.","b.bit.","nosuch.bit.","example.com."],"map":{"ns":{"ip":"192.0.2.2"}},"ds":[[1,13,2,"AAAA"]]}"#,
    ),
    (
        "d/plain",
        r#"{"map":{"*":{"ns":"ns.glue.bit."},"ns":{"ns":"ns.example.com."}}}"#,
    ),
    (
        "d/dname",
        r#"{"translate":"example.com.","map":{"a":{"ip":"192.0.2.3"}}}"#,
    ),
    ("d/wild", r#"{"map":{"*":{"translate":"a.bit."}}}"#),
    ("d/glue", r#"{"import":["dd/glue"],"map":{"a":{"ip":"192.0.2.4"}}}"#),
    ("dd/glue", r#"{"map":{"ns":{"ip":["192.0.2.5","192.0.2.6"]}}}"#),
    ("d/broken", "{"),
];

/// Most names that one question can have looked up: its own and the glue's, each with imports.
const MAX_LOOKUPS: usize = 5 * (1 + MAX_IMPORTS);

fn known(name: &NameId, value: &NameValue) -> Known {
    let name = name.as_bytes();
    if let Some((_, text)) = FIXED.iter().find(|(fixed, _)| fixed.as_bytes() == name) {
        return NameValue::new(text.as_bytes()).map_or(Known::Absent(None), Known::Value);
    }
    match name {
        b"d/x" | b"dd/x" => Known::Value(value.clone()),
        b"d/failed" => Known::Failed(Note::Timeout),
        b"d/expired" => Known::Absent(Some(Note::Expired)),
        _ => Known::Absent(None),
    }
}

/// Answers a question, with `value` as that of `d/x` and `dd/x`.
pub fn reply(settings: &Settings, question: &Question, value: &NameValue) -> Reply {
    // So small that it forgets between rounds.
    let mut book = Book::new(CacheSettings {
        names: 2,
        ..CacheSettings::default()
    });
    let (id, at) = (IsolationId::default().blinded(&[0; 32]), Instant::default());
    let mut held = Held::new();
    loop {
        let step = answer(settings, question, |name, apex| book.find(&id, name, apex, &held, at));
        let needs = match step {
            Step::Reply(reply) => return *reply,
            Step::Need(needs) => needs,
        };
        assert!(!needs.is_empty());
        for name in needs {
            let known = known(&name, value);
            let key = Key { id, name: name.clone() };
            book.store(key, known.clone(), at);
            assert!(held.insert(name, known).is_none());
        }
        assert!(held.len() <= MAX_LOOKUPS);
    }
}

/// Checks what holds of any reply.
pub fn check(question: &Question, reply: &Reply) {
    let depth = question.name.iter().len();
    for record in &reply.answers {
        let own = record.name.iter().len();
        assert!(own == depth || (own < depth && record.record_type() == RecordType::DNAME));
        assert!(record.name.eq_case(&question.name.trim_to(own)));
    }
    if !reply.authoritative && reply.code == ResponseCode::NoError {
        assert!(reply.answers.is_empty());
        let targets: BTreeSet<_> = reply
            .authorities
            .iter()
            .filter_map(|record| match &record.data {
                RData::NS(target) => Some(target.0.to_lowercase()),
                _ => None,
            })
            .collect();
        assert!(!targets.is_empty());
        assert!(
            reply
                .authorities
                .iter()
                .all(|record| record.name.zone_of(&question.name))
        );
        assert!(reply.additionals.iter().all(|glue| targets.contains(&glue.name)));
        return;
    }
    assert!(reply.additionals.is_empty());
    let is_negative = reply.authoritative && reply.answers.is_empty();
    assert_eq!(reply.denial.is_some(), is_negative);
    assert_eq!(reply.authorities.len(), usize::from(is_negative));
}

//! Values behind a zone, and what must hold of any answer from it.

use std::collections::BTreeSet;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};
use isonym::dns::engine::{Question, Reply, Settings, Step, answer};
use isonym::dns::lookup_result::LookupResult;
use isonym::dns::records::{self, LookedUp};
use isonym::dns::value::bounds::MAX_IMPORTS;
use isonym::isolation::IsolationId;
use isonym::name::lookup::LookupError;
use isonym::name::{NameId, NameValue};
use isonym::node::{NameRequest, NodeError};
use isonym::service::{
    Answer, Begun, CacheSettings, CacheTime, CacheView, Caller, NameResult, ResultCache, ServiceError, Stated,
};

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

fn result(name: &NameId, value: &NameValue) -> NameResult {
    let text = name.as_bytes();
    if let Some((_, json)) = FIXED.iter().find(|(fixed, _)| fixed.as_bytes() == text) {
        let value = NameValue::new(json.as_bytes()).unwrap();
        return Ok(Answer::Stated(Stated::Value {
            value,
            expires_in: None,
        }));
    }
    let stated = match text {
        b"d/x" | b"dd/x" => Stated::Value {
            value: value.clone(),
            expires_in: None,
        },
        b"d/expired" => Stated::Expired,
        b"d/failed" => {
            let no_answer = LookupError::NoAnswer {
                reasons: Vec::new(),
                lied_to: false,
            };
            return Err(ServiceError::Node(NodeError::Lookup(no_answer)));
        }
        _ => Stated::Absent,
    };
    Ok(Answer::Stated(stated))
}

/// Answers a question, with `value` as that of `d/x` and `dd/x`.
pub fn reply(settings: &Settings, question: &Question, value: &NameValue) -> Reply {
    // So small that it forgets between rounds.
    let mut cache = ResultCache::new(CacheSettings {
        results: 2,
        ..CacheSettings::default()
    });
    let (id, at, quorum) = (IsolationId::default().blinded(&[0; 32]), CacheTime::default(), 1);
    let mut looked_up = LookedUp::new();
    loop {
        let mut view = CacheView::new(&mut cache, id, quorum, at);
        let step = answer(settings, question, |name, apex| {
            records::find(&mut view, name, apex, &looked_up)
        });
        let needs = match step {
            Step::Reply(reply) => return *reply,
            Step::Need(needs) => needs,
        };
        assert!(!needs.is_empty());
        for name in needs {
            let request = NameRequest {
                name: name.clone(),
                allow_expired: false,
                quorum,
            };
            let Begun::New { number, .. } = cache.begin(id, &request, 1, at.now) else {
                panic!("it is in flight");
            };
            let result = result(&name, value);
            cache.end(id, request, number, Some(Caller::Dns.into()), &result, at.now, 1.0);
            assert!(looked_up.insert(name, LookupResult::of(&result)).is_none());
        }
        assert!(looked_up.len() <= MAX_LOOKUPS);
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

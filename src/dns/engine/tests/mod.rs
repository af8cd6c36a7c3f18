//! The engine over worlds of values: what it answers, and what it asks for first.

mod aliases;
mod apex;
mod cuts;
mod names;
mod properties;
mod wildcards;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::*;
use crate::dns::lookup_result::LookupResult;
use crate::dns::presentation::{data_text, type_text};
use crate::dns::records::LookedUp;
use crate::dns::records::memory_tests::Memory;
use crate::isolation::IsolationId;
use crate::name::NameValue;
use crate::service::{CacheSettings, CacheTime};

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn id(text: &str) -> NameId {
    NameId::new(text.as_bytes()).unwrap()
}

fn question(text: &str, kind: RecordType) -> Question {
    Question::new(name(text), kind, DNSClass::IN)
}

/// All names that have a value, or whose lookup fails; others are absent.
#[derive(Default)]
struct World {
    names: BTreeMap<NameId, LookupResult>,
    settings: Settings,
}

impl World {
    /// A string is the value's text.
    fn new<'a>(values: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let known = |json: Value| {
            let text = json.as_str().map_or_else(|| json.to_string(), str::to_owned);
            LookupResult::Value(NameValue::new(text.as_bytes()).unwrap())
        };
        let names = values.into_iter().map(|(name, json)| (id(name), known(json)));
        Self {
            names: names.collect(),
            settings: Settings::default(),
        }
    }

    fn with(mut self, name: &str, known: LookupResult) -> Self {
        self.names.insert(id(name), known);
        self
    }

    /// Answers a question as the resolver does, and returns which names it took in which round.
    fn trace(&self, question: &Question) -> (Reply, Vec<BTreeSet<NameId>>) {
        let mut memory = Memory::new(CacheSettings::default());
        let (who, at) = (IsolationId::default().blinded(&[0; 32]), CacheTime::default());
        let mut rounds: Vec<BTreeSet<NameId>> = Vec::new();
        loop {
            let step = answer(&self.settings, question, |name, apex| {
                memory.find(who, name, apex, &LookedUp::new(), at)
            });
            let needs = match step {
                Step::Reply(reply) => return (*reply, rounds),
                Step::Need(needs) => needs,
            };
            assert!(!needs.is_empty());
            for name in &needs {
                assert!(rounds.iter().all(|round| !round.contains(name)), "asked for twice");
                let known = self.names.get(name).cloned().unwrap_or(LookupResult::Absent(None));
                memory.store(who, name, &known, at);
            }
            rounds.push(needs);
        }
    }

    fn ask(&self, text: &str, kind: RecordType) -> Reply {
        self.trace(&question(text, kind)).0
    }

    /// Answers as text, such as `NOERROR aa; an: a.bit. A 192.0.2.1`.
    fn tell(&self, text: &str, kind: RecordType) -> String {
        told(&self.ask(text, kind))
    }

    fn names_of(&self, text: &str, kind: RecordType) -> Vec<Vec<String>> {
        let (_, rounds) = self.trace(&question(text, kind));
        let text = |id: &NameId| String::from_utf8_lossy(id.as_bytes()).into_owned();
        rounds.iter().map(|round| round.iter().map(text).collect()).collect()
    }
}

fn told(reply: &Reply) -> String {
    let mut text = match reply.code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::YXDomain => "YXDOMAIN",
        _ => "another",
    }
    .to_owned();
    if reply.authoritative {
        text += " aa";
    }
    let sections = [
        ("an", &reply.answers),
        ("ns", &reply.authorities),
        ("ad", &reply.additionals),
    ];
    for (title, records) in sections.into_iter().filter(|(_, records)| !records.is_empty()) {
        let shown: Vec<String> = records.iter().map(shown).collect();
        text.extend(["; ", title, ": ", &shown.join(", ")]);
    }
    text
}

fn shown(record: &Record) -> String {
    let (owner, kind) = (record.name.to_ascii(), type_text(record.record_type()));
    match record.data {
        RData::SOA(_) => format!("{owner} SOA"),
        _ => format!("{owner} {kind} {}", data_text(&record.data)),
    }
}

/// The queries of one world, and what is told.
fn check(world: &World, rows: &[(&str, RecordType, &str)]) {
    let failed: Vec<String> = rows
        .iter()
        .map(|(query, kind, expected)| (query, kind, *expected, world.tell(query, *kind)))
        .filter(|(.., expected, got)| expected != got)
        .map(|(query, kind, expected, got)| format!("{query} {kind}\n  expected {expected}\n  got      {got}"))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

const NODATA: &str = "NOERROR aa; ns: bit. SOA";
const NXDOMAIN: &str = "NXDOMAIN aa; ns: bit. SOA";

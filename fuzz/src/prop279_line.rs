//! Any bytes are lines of both sides or ignored; a plugin gives each query one reply, and what it writes is one line.

use std::collections::BTreeMap;

use isonym::isolation::IsolationId;
use isonym::naming::target::{Failure, Target};
use isonym::prop279::line::{OutgoingQuery, OutgoingReply, PluginQuery, PluginReply, QueryId, Word};
use isonym::prop279::line_decoder::{LineDecoder, MAX_LINE, PluginLine};
use isonym::prop279::plugin::{LookupKey, MAX_QUERIES, PluginEffect, PluginEvent, PluginMachine};

use crate::input;

/// Cuts what was written into its only line.
fn sent(text: &str) -> PluginLine {
    assert!(text.len() <= MAX_LINE);
    let mut lines = LineDecoder::default().decode(text.as_bytes());
    assert_eq!(lines.len(), 1);
    lines.remove(0)
}

/// What is read and can be written is read as the same again.
fn check_asked(line: &PluginLine) {
    let asked = PluginQuery::parse(line);
    let request = match &asked {
        PluginQuery::Resolve { query, name, id } => {
            let id = id.as_ref().map(|id| Word::from_bytes(id.as_bytes()));
            let (query, name) = (*query, name.clone());
            match id {
                Some(None) => return, // no word for every reader
                id => OutgoingQuery::Resolve {
                    query,
                    name,
                    id: id.flatten(),
                },
            }
        }
        PluginQuery::Cancel(query) => OutgoingQuery::Cancel(*query),
        _ => return,
    };
    assert_eq!(PluginQuery::parse(&sent(&request.to_string())), asked);
}

fn check_said(line: &PluginLine) {
    match PluginReply::parse(line) {
        PluginReply::Resolved(query, result) => {
            if let Some(target) = Target::parse(result.as_str(), ["bit"].into_iter()) {
                let reply = OutgoingReply::Resolved { query, target }.to_string();
                assert!(matches!(PluginReply::parse(&sent(&reply)), PluginReply::Resolved(read, _) if read == query));
            }
        }
        PluginReply::Canceled(query) => {
            let reply = OutgoingReply::Canceled(query).to_string();
            assert_eq!(PluginReply::parse(&sent(&reply)), PluginReply::Canceled(query));
        }
        _ => {}
    }
}

#[derive(Default)]
struct Model {
    plugin: PluginMachine,
    lookups: BTreeMap<LookupKey, (Word, Option<IsolationId>)>,
    finished: bool,
}

impl Model {
    /// Returns which queries were resolved or failed, and which were cancelled.
    fn step(&mut self, event: PluginEvent) -> (Vec<QueryId>, Vec<QueryId>) {
        assert!(!self.finished);
        let (mut resolved, mut cancelled) = (Vec::new(), Vec::new());
        for effect in self.plugin.on_event(event) {
            assert!(!self.finished);
            match effect {
                PluginEffect::Write(reply) => match PluginReply::parse(&sent(&reply.to_string())) {
                    PluginReply::Resolved(query, _) | PluginReply::Failed(query, _) => resolved.push(query),
                    PluginReply::Canceled(query) => cancelled.push(query),
                    other => panic!("a plugin does not say {other:?}"),
                },
                PluginEffect::StartLookup { key, name, id } => assert!(self.lookups.insert(key, (name, id)).is_none()),
                PluginEffect::AbortLookup(key) => assert!(self.lookups.remove(&key).is_some()),
                PluginEffect::Warn(_) => {}
                PluginEffect::Finish => self.finished = true,
            }
        }
        assert!(self.lookups.len() <= MAX_QUERIES);
        (resolved, cancelled)
    }

    fn take(&mut self, line: PluginLine) {
        let asked = PluginQuery::parse(&line);
        let (resolved, cancelled) = self.step(PluginEvent::Line(line));
        match asked {
            PluginQuery::Cancel(query) => assert_eq!((resolved, cancelled), (vec![], vec![query])),
            PluginQuery::Malformed(query) => assert_eq!((resolved, cancelled), (vec![query], vec![])),
            PluginQuery::Resolve { .. } => assert!(resolved.len() <= 1 && cancelled.is_empty()),
            PluginQuery::Ignored => assert!(resolved.is_empty() && cancelled.is_empty()),
        }
    }

    fn end(&mut self, key: LookupKey, result: Result<Target, Failure>) {
        let awaited = self.lookups.remove(&key).is_some();
        let (resolved, cancelled) = self.step(PluginEvent::LookupEnded(key, result));
        assert_eq!((resolved.len(), cancelled.len()), (usize::from(awaited), 0));
    }
}

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let Some(chunks) = input::<Vec<(&[u8], u8)>>(bytes) else { return };
    let (mut decoder, mut model, mut all) = (LineDecoder::default(), Model::default(), Vec::new());
    let mut lines = Vec::new();
    for (bytes, how) in chunks {
        all.extend_from_slice(bytes);
        for line in decoder.decode(bytes) {
            check_asked(&line);
            check_said(&line);
            lines.push(line.clone());
            model.take(line);
        }
        if how % 2 == 1 {
            let result = match how % 3 {
                0 => Ok(Target::Host("host.example".to_owned())),
                1 => Err(Failure::NotRegistered),
                // Whoever makes such a target is wrong, but no line comes of it.
                _ => Ok(Target::Host(String::from_utf8_lossy(bytes).into_owned())),
            };
            model.end(LookupKey(u64::from(how / 16)), result);
        }
    }
    assert!(LineDecoder::default().decode(&all) == lines);
    model.step(PluginEvent::EndOfInput);
    while let Some(key) = model.lookups.keys().next().copied() {
        model.end(key, Err(Failure::Timeout));
    }
    assert!(model.finished);
}

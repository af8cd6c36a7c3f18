//! Any bytes are lines of both sides or ignored; a plugin gives each query one reply, and what it writes is one line.

#![no_main]

use std::collections::BTreeMap;

use isonym::isolation::IsolationId;
use isonym::naming::target::{Failure, Target};
use isonym::prop279::line::{Asked, QueryId, Reply, Request, Said, Word};
use isonym::prop279::plugin::{Effect, Event, Key, MAX_QUERIES, Plugin};
use isonym::prop279::splitter::{Line, MAX_LINE, Splitter};
use libfuzzer_sys::fuzz_target;

/// Cuts what was written into its only line.
fn sent(text: &str) -> Line {
    assert!(text.len() <= MAX_LINE);
    let mut lines = Splitter::default().feed(text.as_bytes());
    assert_eq!(lines.len(), 1);
    lines.remove(0)
}

/// What is read and can be written is read as the same again.
fn check_asked(line: &Line) {
    let asked = Asked::read(line);
    let request = match &asked {
        Asked::Resolve { query, name, id } => {
            let id = id.as_ref().map(|id| Word::from_bytes(id.as_bytes()));
            let (query, name) = (*query, name.clone());
            match id {
                Some(None) => return, // no word for every reader
                id => Request::Resolve {
                    query,
                    name,
                    id: id.flatten(),
                },
            }
        }
        Asked::Cancel(query) => Request::Cancel(*query),
        _ => return,
    };
    assert_eq!(Asked::read(&sent(&request.to_string())), asked);
}

fn check_said(line: &Line) {
    match Said::read(line) {
        Said::Resolved(query, result) => {
            if let Some(target) = Target::parse(result.as_str(), ["bit"].into_iter()) {
                let reply = Reply::Resolved { query, target }.to_string();
                assert!(matches!(Said::read(&sent(&reply)), Said::Resolved(read, _) if read == query));
            }
        }
        Said::Canceled(query) => {
            let reply = Reply::Canceled(query).to_string();
            assert_eq!(Said::read(&sent(&reply)), Said::Canceled(query));
        }
        _ => {}
    }
}

#[derive(Default)]
struct Model {
    plugin: Plugin,
    lookups: BTreeMap<Key, (Word, Option<IsolationId>)>,
    finished: bool,
}

impl Model {
    /// Returns which queries were resolved or failed, and which were cancelled.
    fn step(&mut self, event: Event) -> (Vec<QueryId>, Vec<QueryId>) {
        assert!(!self.finished);
        let (mut resolved, mut cancelled) = (Vec::new(), Vec::new());
        for effect in self.plugin.on_event(event) {
            assert!(!self.finished);
            match effect {
                Effect::Write(reply) => match Said::read(&sent(&reply.to_string())) {
                    Said::Resolved(query, _) | Said::Failed(query, _) => resolved.push(query),
                    Said::Canceled(query) => cancelled.push(query),
                    other => panic!("a plugin does not say {other:?}"),
                },
                Effect::Begin { key, name, id } => assert!(self.lookups.insert(key, (name, id)).is_none()),
                Effect::Abort(key) => assert!(self.lookups.remove(&key).is_some()),
                Effect::Finish => self.finished = true,
            }
        }
        assert!(self.lookups.len() <= MAX_QUERIES);
        (resolved, cancelled)
    }

    fn take(&mut self, line: Line) {
        let asked = Asked::read(&line);
        let (resolved, cancelled) = self.step(Event::Line(line));
        match asked {
            Asked::Cancel(query) => assert_eq!((resolved, cancelled), (vec![], vec![query])),
            Asked::Malformed(query) => assert_eq!((resolved, cancelled), (vec![query], vec![])),
            Asked::Resolve { .. } => assert!(resolved.len() <= 1 && cancelled.is_empty()),
            Asked::Ignored => assert!(resolved.is_empty() && cancelled.is_empty()),
        }
    }

    fn end(&mut self, key: Key, result: Result<Target, Failure>) {
        let awaited = self.lookups.remove(&key).is_some();
        let (resolved, cancelled) = self.step(Event::Ended(key, result));
        assert_eq!((resolved.len(), cancelled.len()), (usize::from(awaited), 0));
    }
}

fuzz_target!(|chunks: Vec<(&[u8], u8)>| {
    let (mut splitter, mut model, mut all) = (Splitter::default(), Model::default(), Vec::new());
    let mut lines = Vec::new();
    for (bytes, how) in chunks {
        all.extend_from_slice(bytes);
        for line in splitter.feed(bytes) {
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
            model.end(Key(u64::from(how / 16)), result);
        }
    }
    assert!(Splitter::default().feed(&all) == lines);
    model.step(Event::EndOfInput);
    while let Some(key) = model.lookups.keys().next().copied() {
        model.end(key, Err(Failure::Timeout));
    }
    assert!(model.finished);
});

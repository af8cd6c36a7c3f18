//! Every query gets one reply, whatever comes in which order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::line_decoder::MAX_LINE;
use super::*;

fn line(text: &str) -> PluginEvent {
    PluginEvent::Line(PluginLine::Whole(text.as_bytes().to_vec()))
}

fn host(name: &str) -> Target {
    Target::Host(name.to_owned())
}

/// A plugin whose effects are texts.
#[derive(Default)]
struct Talk(PluginMachine, Vec<CallerFault>);

impl Talk {
    fn on(&mut self, event: PluginEvent) -> Vec<String> {
        let faults = &mut self.1;
        let show = |effect: &PluginEffect| match effect {
            PluginEffect::Warn(fault) => {
                faults.push(*fault);
                None
            }
            PluginEffect::Write(reply) => Some(reply.to_string()),
            PluginEffect::StartLookup { key, name, id } => {
                let id = id
                    .as_ref()
                    .map_or("-".into(), |id| String::from_utf8_lossy(id.as_bytes()).into_owned());
                Some(format!("begin {} {} {id}", key.0, name.as_str()))
            }
            PluginEffect::AbortLookup(key) => Some(format!("abort {}", key.0)),
            PluginEffect::Finish => Some("finish".to_owned()),
        };
        self.0.on_event(event).iter().filter_map(show).collect()
    }

    fn says(&mut self, text: &str) -> Vec<String> {
        self.on(line(text))
    }

    fn ends(&mut self, key: u64, result: Result<Target, Failure>) -> Vec<String> {
        self.on(PluginEvent::LookupEnded(LookupKey(key), result))
    }
}

/// The questions and replies recorded from ncprop279, with the lookups that are made meanwhile.
#[test]
fn a_recorded_dialogue_is_repeated() {
    let mut talk = Talk::default();
    for (key, (request, result, reply)) in [
        (
            "RESOLVE 1 a.bit i",
            Ok(Target::Address("1.2.3.4".parse().unwrap())),
            "RESOLVED 1 0 1.2.3.4\n",
        ),
        (
            "RESOLVE 2 b.bit i",
            Ok(Target::Address("::1".parse().unwrap())),
            "RESOLVED 2 0 ::1\n",
        ),
        (
            "RESOLVE 3 c.bit",
            Ok(host("www.example.com")),
            "RESOLVED 3 0 www.example.com\n",
        ),
        (
            "RESOLVE 5 a.bit.onion",
            Err(Failure::NotRegistered),
            "RESOLVED 5 3 \"a.bit.onion is not registered\"\n",
        ),
        (
            "RESOLVE 6 under_score.bit",
            Err(Failure::Invalid),
            "RESOLVED 6 3 \"under_score.bit is no valid domain name\"\n",
        ),
        (
            "RESOLVE 7 example.com",
            Err(Failure::NotHandled),
            "RESOLVED 7 2 \"example.com is not a Namecoin domain\"\n",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let words: Vec<_> = request.split(' ').collect();
        let id = words.get(3).unwrap_or(&"-");
        assert_eq!(talk.says(request), [format!("begin {key} {} {id}", words[2])]);
        assert_eq!(talk.ends(key as u64, result), [reply]);
    }
    assert_eq!(talk.says("CANCEL 1"), ["CANCELED 1\n"]);
    assert_eq!(talk.on(PluginEvent::EndOfInput), ["finish"]);
}

#[test]
fn queries_do_not_wait_for_each_other() {
    let mut talk = Talk::default();
    talk.says("RESOLVE 1 slow.bit");
    talk.says("RESOLVE 2 quick.bit");
    assert_eq!(
        talk.ends(1, Ok(host("quick.example"))),
        ["RESOLVED 2 0 quick.example\n"]
    );
    assert_eq!(talk.ends(0, Ok(host("slow.example"))), ["RESOLVED 1 0 slow.example\n"]);
}

#[test]
fn a_cancelled_query_is_cancelled_once_and_not_resolved() {
    let mut talk = Talk::default();
    talk.says("RESOLVE 1 a.bit");
    assert_eq!(talk.says("CANCEL 1"), ["abort 0", "CANCELED 1\n"]);
    assert!(talk.ends(0, Ok(host("late.example"))).is_empty());
    // The number is free again.
    assert_eq!(talk.says("RESOLVE 1 a.bit"), ["begin 1 a.bit -"]);
    assert!(talk.ends(0, Ok(host("late.example"))).is_empty());
    assert_eq!(talk.ends(1, Err(Failure::Timeout)), ["RESOLVED 1 4 \"Timeout\"\n"]);
}

#[test]
fn a_number_that_is_taken_is_the_same_query_or_a_new_one() {
    let mut talk = Talk::default();
    talk.says("RESOLVE 1 a.bit i");
    assert!(talk.says("RESOLVE 1 a.bit i").is_empty());
    assert_eq!(talk.says("RESOLVE 1 a.bit j"), ["abort 0", "begin 1 a.bit j"]);
    assert_eq!(talk.says("RESOLVE 1 a.bit"), ["abort 1", "begin 2 a.bit -"]);
    assert_eq!(talk.says("RESOLVE 1 b.bit"), ["abort 2", "begin 3 b.bit -"]);
    assert_eq!(talk.ends(3, Ok(host("b.example"))), ["RESOLVED 1 0 b.example\n"]);
}

#[test]
fn what_makes_no_sense_is_answered_where_it_can_be() {
    let mut talk = Talk::default();
    for text in ["RESOLVE 7", "RESOLVE 7 a.bit\r", "RESOLVE 7 a\0b.bit"] {
        let invalid = "RESOLVED 7 3 \"The name is no valid domain name\"\n";
        assert_eq!(talk.says(text), [invalid], "{text:?}");
    }
    for text in ["", "  ", "RESOLVE", "RESOLVE x a.bit", "FUTURE 1", "CANCEL x"] {
        assert!(talk.says(text).is_empty(), "{text:?}");
    }
    let long = format!("RESOLVE 8 {}", "a".repeat(MAX_LINE));
    let start = PluginLine::Overlong(long.into_bytes());
    let invalid = "RESOLVED 8 3 \"The name is no valid domain name\"\n";
    assert_eq!(talk.on(PluginEvent::Line(start)), [invalid]);
}

#[test]
fn what_is_too_much_at_once_fails() {
    let mut talk = Talk::default();
    for query in 0..MAX_QUERIES {
        assert_eq!(
            talk.says(&format!("RESOLVE {query} a.bit")),
            [format!("begin {query} a.bit -")]
        );
    }
    assert_eq!(talk.says("RESOLVE -1 a.bit"), ["RESOLVED -1 1 \"Server failure\"\n"]);
    // One takes another's place even so.
    let begin = format!("begin {MAX_QUERIES} b.bit -");
    assert_eq!(talk.says("RESOLVE 1 b.bit"), ["abort 1", &begin]);
    talk.says("CANCEL 0");
    assert_eq!(talk.says("RESOLVE -1 a.bit").len(), 1);
}

#[test]
fn what_is_asked_is_still_answered_when_the_input_ends() {
    let mut talk = Talk::default();
    talk.says("RESOLVE 1 a.bit");
    assert!(talk.on(PluginEvent::EndOfInput).is_empty());
    assert!(talk.says("RESOLVE 2 b.bit").is_empty());
    assert_eq!(
        talk.ends(0, Ok(host("a.example"))),
        ["RESOLVED 1 0 a.example\n", "finish"]
    );
    assert!(talk.ends(0, Ok(host("a.example"))).is_empty());
    assert!(talk.on(PluginEvent::EndOfInput).is_empty());
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Resolve(i64, u8, u8),
    Cancel(i64),
    Malformed(i64),
    /// Ends a lookup, perhaps one that has been given up.
    End(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0..4_i64, 0..3_u8, 0..2_u8).prop_map(|(query, name, id)| Act::Resolve(query, name, id)),
        2 => (0..5_i64).prop_map(Act::Cancel),
        1 => (0..4_i64).prop_map(Act::Malformed),
        3 => any::<usize>().prop_map(Act::End),
    ];
    proptest::collection::vec(act, 0..60)
}

/// What is open by the rules, told by what goes in and comes out alone.
#[derive(Default)]
struct Model {
    plugin: PluginMachine,
    open: BTreeMap<QueryId, (u8, u8)>,
    keys: BTreeMap<LookupKey, QueryId>,
    begun: Vec<LookupKey>,
    finished: bool,
}

impl Model {
    fn step(&mut self, event: PluginEvent) -> Vec<OutgoingReply> {
        assert!(!self.finished);
        let mut replies = Vec::new();
        for effect in self.plugin.on_event(event) {
            assert!(!self.finished);
            match effect {
                PluginEffect::Warn(_) => {}
                PluginEffect::Write(reply) => replies.push(reply),
                PluginEffect::StartLookup { key, .. } => self.begun.push(key),
                PluginEffect::AbortLookup(key) => assert!(self.keys.remove(&key).is_some()),
                PluginEffect::Finish => self.finished = true,
            }
        }
        replies
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Resolve(query, name, id) => {
                let replies = self.step(line(&format!("RESOLVE {query} n{name}.bit i{id}")));
                assert_eq!(replies, []);
                let query = QueryId(query);
                let old = self.open.insert(query, (name, id));
                if old != Some((name, id)) {
                    let key = *self.begun.last().unwrap();
                    assert_eq!(self.keys.insert(key, query), None);
                }
                assert_eq!(self.keys.len(), self.open.len());
            }
            Act::Cancel(query) => {
                let replies = self.step(line(&format!("CANCEL {query}")));
                let query = QueryId(query);
                self.open.remove(&query);
                assert_eq!(replies, [OutgoingReply::Canceled(query)]);
                assert_eq!(self.keys.len(), self.open.len());
            }
            Act::Malformed(query) => {
                assert_eq!(self.step(line(&format!("RESOLVE {query} \0"))).len(), 1);
            }
            Act::End(which) => {
                let Some(key) = self.begun.get(which % self.begun.len().max(1)).copied() else {
                    return;
                };
                let expected = self.keys.remove(&key).map(|query| {
                    self.open.remove(&query);
                    let target = host("target");
                    OutgoingReply::Resolved { query, target }
                });
                assert_eq!(
                    self.step(PluginEvent::LookupEnded(key, Ok(host("target")))),
                    Vec::from_iter(expected)
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn every_query_gets_one_reply(acts in acts()) {
        let mut model = Model::default();
        for act in acts {
            model.act(act);
        }
        prop_assert_eq!(model.step(PluginEvent::EndOfInput), vec![]);
        while let Some(key) = model.keys.keys().next().copied() {
            let which = model.begun.iter().position(|begun| *begun == key).unwrap();
            model.act(Act::End(which));
        }
        prop_assert!(model.finished && model.open.is_empty());
        prop_assert!(model.plugin.queries.is_empty() && model.plugin.lookups.is_empty());
    }
}

#[test]
fn the_user_is_told_once_of_each_fault_of_the_caller() {
    let mut talk = Talk::default();
    talk.says("RESOLVE 1 a.bit i");
    talk.says("CANCEL 1");
    assert_eq!(talk.1, []);
    for _ in 0..2 {
        talk.says("RESOLVE 2 b.bit");
        talk.says("HELLO");
        talk.says("RESOLVE 3");
    }
    assert_eq!(talk.1, [CallerFault::NoId, CallerFault::Malformed]);
}

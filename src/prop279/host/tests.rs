//! Every query gets one answer in time, whatever the plugin says, on a simulated clock.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::line_decoder::LineDecoder;
use super::*;

fn word(text: &str) -> Word {
    Word::new(text).unwrap()
}

/// Returns when a machine wants to be woken up by its latest effects, which ask for it once at most and last of all.
fn wake_of(effects: &[HostEffect]) -> Option<Moment> {
    let (last, others) = effects.split_last()?;
    let asks = |effect: &HostEffect| matches!(effect, HostEffect::WakeAt(_));
    assert!(!others.iter().any(asks));
    match last {
        HostEffect::WakeAt(at) => Some(*at),
        _ => None,
    }
}

/// A host whose effects are texts, and a clock in seconds.
#[derive(Default)]
struct Talk {
    host: HostMachine,
    now: Moment,
    /// How often the user was told of lines without sense.
    complaints: usize,
    /// When the latest event's effects ask to be woken up.
    wake: Option<Moment>,
}

impl Talk {
    /// One whose plugin has been started for query 0, for the name a.bit, and is ready.
    fn ready() -> Self {
        let mut talk = Self::default();
        assert_eq!(talk.resolve(0, "a.bit"), ["start"]);
        assert_eq!(talk.says("INIT 1 0"), ["RESOLVE 1 a.bit\n"]);
        talk
    }

    fn on(&mut self, event: HostEvent) -> Vec<String> {
        let mut show = |effect: &HostEffect| match effect {
            HostEffect::Start => Some("start".to_owned()),
            HostEffect::Kill => Some("kill".to_owned()),
            HostEffect::Complain => {
                self.complaints += 1;
                None
            }
            HostEffect::Write(request) => Some(request.to_string()),
            HostEffect::Answer {
                key,
                result: Ok(result),
            } => Some(format!("{} is {}", key.0, result.as_str())),
            HostEffect::Answer {
                key,
                result: Err(failure),
            } => Some(format!("{} {failure:?}", key.0)),
            HostEffect::WakeAt(_) => None,
        };
        let effects = self.host.on_event(self.now, event);
        self.wake = wake_of(&effects);
        effects.iter().filter_map(&mut show).collect()
    }

    fn resolve(&mut self, key: u64, name: &str) -> Vec<String> {
        self.on(HostEvent::Resolve {
            key: QueryKey(key),
            name: word(name),
            id: None,
        })
    }

    fn says(&mut self, text: &str) -> Vec<String> {
        self.on(HostEvent::Line(PluginLine::Whole(text.as_bytes().to_vec())))
    }

    /// Lets time pass, and returns what happens meanwhile, each with the second at which it does.
    fn pass(&mut self, seconds: u64) -> Vec<(u64, String)> {
        self.pass_to(self.now + Duration::from_secs(seconds))
    }

    fn pass_to(&mut self, end: Moment) -> Vec<(u64, String)> {
        let mut happened = Vec::new();
        while let Some(at) = self.wake.filter(|at| *at <= end) {
            assert!(at > self.now, "it would wake for ever");
            self.now = at;
            happened.extend(self.on(HostEvent::Wake).into_iter().map(|what| (at.0 / 1000, what)));
        }
        self.now = end;
        happened
    }
}

fn at(second: u64, what: &str) -> (u64, String) {
    (second, what.to_owned())
}

#[test]
fn a_dialogue_is_held() {
    let mut talk = Talk::default();
    assert_eq!(talk.wake, None);
    let id = Some(word("f00-1"));
    let resolve = HostEvent::Resolve {
        key: QueryKey(7),
        name: word("a.bit"),
        id,
    };
    assert_eq!(talk.on(resolve), ["start"]);
    assert!(talk.resolve(8, "b.bit").is_empty());
    assert_eq!(talk.says("INIT 1 0"), ["RESOLVE 1 a.bit f00-1\n", "RESOLVE 2 b.bit\n"]);
    assert_eq!(talk.resolve(9, "c.bit"), ["RESOLVE 3 c.bit\n"]);
    assert_eq!(
        talk.says("RESOLVED 2 3 \"b.bit is not registered\""),
        ["8 NotRegistered"]
    );
    assert_eq!(talk.says("RESOLVED 1 0 a.example and more"), ["7 is a.example"]);
    assert_eq!(
        talk.says("RESOLVED 3 2 \"c.bit is not a Namecoin domain\""),
        ["9 NotHandled"]
    );
    // No number is used again.
    assert_eq!(talk.resolve(7, "a.bit"), ["RESOLVE 4 a.bit\n"]);
    assert_eq!(talk.says("RESOLVED 4 17 what"), ["7 Broken"]);
    assert_eq!(talk.wake, None);
}

#[test]
fn a_key_that_waits_is_not_taken_twice() {
    let mut talk = Talk::ready();
    assert!(talk.resolve(0, "b.bit").is_empty());
    assert_eq!(talk.says("RESOLVED 1 0 a.example"), ["0 is a.example"]);
}

#[test]
fn what_may_pass_is_asked_again_and_others_do_not_wait() {
    let mut talk = Talk::ready();
    talk.resolve(1, "b.bit");
    assert!(talk.says("RESOLVED 1 1 \"Server failure\"").is_empty());
    assert!(talk.says("RESOLVED 2 4").is_empty());
    assert!(talk.says("RESOLVED 2 0 twice.example").is_empty());
    assert_eq!(talk.resolve(2, "c.bit"), ["RESOLVE 3 c.bit\n"]);
    assert_eq!(talk.says("RESOLVED 3 0 c.example"), ["2 is c.example"]);
    assert_eq!(talk.pass(1), [at(1, "RESOLVE 1 a.bit\n"), at(1, "RESOLVE 2 b.bit\n")]);
    assert_eq!(talk.says("RESOLVED 2 0 b.example"), ["1 is b.example"]);
    assert!(talk.says("RESOLVED 1 1").is_empty());
    talk.pass(58);
    assert!(talk.says("RESOLVED 1 1").is_empty());
    // It is not asked at the moment, so there is nothing to cancel.
    assert_eq!(talk.pass(100), [at(60, "0 Timeout")]);
}

#[test]
fn a_query_has_a_deadline() {
    let mut talk = Talk::ready();
    talk.pass(30);
    assert_eq!(talk.resolve(1, "b.bit"), ["RESOLVE 2 b.bit\n"]);
    let expected = [
        at(60, "CANCEL 1\n"),
        at(60, "0 Timeout"),
        at(90, "CANCEL 2\n"),
        at(90, "1 Timeout"),
    ];
    assert_eq!(talk.pass(60), expected);
    assert!(talk.says("RESOLVED 1 0 late.example").is_empty());
    // The time is up though nothing woke it up.
    talk.resolve(2, "c.bit");
    talk.now = talk.now + PATIENCE;
    assert_eq!(talk.says("RESOLVED 3 0 late.example"), ["CANCEL 3\n", "2 Timeout"]);
}

#[test]
fn a_query_is_cancelled() {
    let mut talk = Talk::ready();
    assert_eq!(talk.on(HostEvent::Cancel(QueryKey(0))), ["CANCEL 1\n"]);
    assert!(talk.on(HostEvent::Cancel(QueryKey(0))).is_empty());
    assert!(talk.says("CANCELED 1").is_empty());
    // One that has not been asked yet is just forgotten.
    talk.resolve(1, "b.bit");
    talk.says("RESOLVED 2 1");
    assert!(talk.on(HostEvent::Cancel(QueryKey(1))).is_empty());
    assert!(talk.pass(100).is_empty());
}

#[test]
fn a_plugin_that_does_not_get_ready_fails_what_waits() {
    for says in ["INIT 1 1 \"no\"", "INIT 2 0", "INIT"] {
        let mut talk = Talk::default();
        talk.resolve(0, "a.bit");
        talk.resolve(1, "b.bit");
        assert_eq!(talk.says(says), ["kill", "0 Unavailable", "1 Unavailable"]);
    }
    let mut talk = Talk::default();
    talk.resolve(0, "a.bit");
    assert_eq!(talk.pass(100), [at(30, "kill"), at(30, "0 Unavailable")]);
    let mut talk = Talk::default();
    talk.resolve(0, "a.bit");
    assert_eq!(talk.on(HostEvent::Exited), ["0 Unavailable"]);
}

#[test]
fn a_plugin_that_fails_is_left_alone_longer_each_time_and_while_nobody_asks() {
    let mut talk = Talk::default();
    talk.resolve(0, "a.bit");
    for (key, rest) in (1..).zip([1, 2, 4, 8, 16, 32, 60, 60]) {
        talk.on(HostEvent::Exited);
        let start = talk.now + Duration::from_secs(rest);
        // The query's patience is to be longer than the longest rest.
        talk.now = talk.now + Duration::from_millis(500);
        assert!(talk.resolve(key, "a.bit").is_empty());
        assert_eq!(talk.pass_to(start), [at(start.0 / 1000, "start")]);
    }
    talk.on(HostEvent::Exited);
    assert!(talk.pass(1000).is_empty());
    assert_eq!(talk.wake, None);
    assert_eq!(talk.resolve(100, "a.bit"), ["start"]);
}

#[test]
fn what_a_plugin_had_not_answered_is_asked_of_the_next_one() {
    let mut talk = Talk::ready();
    assert!(talk.on(HostEvent::Exited).is_empty());
    assert!(talk.resolve(1, "b.bit").is_empty());
    assert_eq!(talk.pass(1), [at(1, "start")]);
    assert_eq!(talk.says("INIT 1 0"), ["RESOLVE 1 a.bit\n", "RESOLVE 2 b.bit\n"]);
    // The first may be what ends it.
    assert_eq!(talk.on(HostEvent::Exited), ["0 Unavailable"]);
    assert_eq!(talk.pass(2), [at(3, "start")]);
    assert_eq!(talk.says("INIT 1 0"), ["RESOLVE 2 b.bit\n"]);
    assert_eq!(talk.says("RESOLVED 2 0 b.example"), ["1 is b.example"]);
    // It has been ready for a minute, so it may be started soon again.
    talk.pass(60);
    talk.on(HostEvent::Exited);
    assert!(talk.resolve(2, "c.bit").is_empty());
    assert_eq!(talk.pass(1), [at(64, "start")]);
}

#[test]
fn garbage_is_ignored_until_it_is_too_much() {
    let garbage = [
        "",
        "  ",
        "RESOLVED 99 0 x",
        "CANCELED 99",
        "INIT 1 0",
        "RESOLVED",
        "FUTURE",
        "\0\u{1b}",
    ];
    let mut talk = Talk::ready();
    for _ in 0..3 {
        for text in garbage.iter().cycle().take(MAX_MEANINGLESS as usize) {
            assert!(talk.says(text).is_empty(), "{text:?}");
        }
        assert!(talk.says("RESOLVED 1 1").is_empty());
        talk.pass(1);
    }
    for _ in 0..MAX_MEANINGLESS {
        assert!(
            talk.on(HostEvent::Line(PluginLine::Overlong(b"RESOLVED".to_vec())))
                .is_empty()
        );
    }
    assert_eq!(talk.says(""), ["kill"]);
    // What it still had to say is not heard.
    assert!(talk.says("RESOLVED 1 0 evil.example").is_empty());
    assert!(talk.on(HostEvent::Exited).is_empty());

    let mut talk = Talk::default();
    talk.resolve(0, "a.bit");
    for _ in 0..MAX_MEANINGLESS {
        assert!(talk.says("RESOLVED 1 0 early.example").is_empty());
    }
    assert_eq!(talk.says(""), ["kill", "0 Unavailable"]);
}

#[test]
fn replies_to_what_was_cancelled_are_no_garbage() {
    let mut talk = Talk::ready();
    talk.says("RESOLVED 1 0 a.example");
    for round in 0..2 * u64::from(MAX_MEANINGLESS) {
        let query = round + 2;
        talk.resolve(round, "b.bit");
        talk.on(HostEvent::Cancel(QueryKey(round)));
        assert!(talk.says(&format!("CANCELED {query}")).is_empty());
    }
}

#[test]
fn a_reply_that_makes_no_sense_ends_its_query() {
    for text in ["RESOLVED 1", "RESOLVED 1 0", "RESOLVED 1 x", "RESOLVED 1 0 a\rb"] {
        assert_eq!(Talk::ready().says(text), ["0 Broken"], "{text:?}");
    }
    let mut decoder = LineDecoder::default();
    let text = format!("RESOLVED 1 0 a.onion {}", "a".repeat(10_000));
    let line = decoder.decode(text.as_bytes()).remove(0);
    assert_eq!(Talk::ready().on(HostEvent::Line(line)), ["0 Broken"]);
}

#[test]
fn what_is_too_much_at_once_fails() {
    let mut talk = Talk::ready();
    for key in 1..MAX_QUERIES as u64 {
        assert_eq!(talk.resolve(key, "a.bit").len(), 1);
    }
    assert_eq!(talk.resolve(u64::MAX, "a.bit"), ["18446744073709551615 Unavailable"]);
    talk.on(HostEvent::Cancel(QueryKey(5)));
    assert_eq!(talk.resolve(u64::MAX, "a.bit"), ["RESOLVE 4097 a.bit\n"]);
}

#[derive(Clone, Debug)]
enum Act {
    Resolve(u64),
    Cancel(u64),
    Line(String),
    Garbage(Vec<u8>),
    Flood(u32),
    Ended,
    Pass(u64),
    /// Time passes, but nobody is woken up.
    Late(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let reply = (1..12_i64, -1..6_i64, "[a-z. \r\t]{0,6}");
    let act = prop_oneof![
        6 => (0..20_u64).prop_map(Act::Resolve),
        2 => (0..20_u64).prop_map(Act::Cancel),
        6 => reply.prop_map(|(query, status, rest)| Act::Line(format!("RESOLVED {query} {status} {rest}"))),
        1 => (1..12_i64).prop_map(|query| Act::Line(format!("CANCELED {query}"))),
        5 => Just(Act::Line("INIT 1 0".to_owned())),
        1 => Just(Act::Line("INIT 1 1".to_owned())),
        1 => any::<Vec<u8>>().prop_map(Act::Garbage),
        1 => (0..1500_u32).prop_map(Act::Flood),
        2 => Just(Act::Ended),
        5 => (0..40_000_u64).prop_map(Act::Pass),
        1 => (0..70_000_u64).prop_map(Act::Late),
    ];
    proptest::collection::vec(act, 0..80)
}

/// What must be true by the rules, told by what goes in and comes out alone.
#[derive(Default)]
struct Model {
    host: HostMachine,
    now: Moment,
    /// When the latest event's effects ask to be woken up.
    wake: Option<Moment>,
    /// When each open query is to be answered at the latest.
    open: BTreeMap<QueryKey, Moment>,
    runs: bool,
    /// The numbers that the plugin which runs has been asked under, and not told to cancel.
    asked: BTreeSet<QueryId>,
    /// What each number has been used for: every query is for a name of its own.
    used: BTreeMap<QueryId, Word>,
    names: u64,
    /// Whether time has been wasted since something was due.
    late: bool,
}

impl Model {
    fn step(&mut self, event: HostEvent) {
        let ended = matches!(event, HostEvent::Exited);
        if ended {
            self.runs = false;
        }
        let effects = self.host.on_event(self.now, event);
        self.wake = wake_of(&effects);
        for effect in effects {
            match effect {
                HostEffect::Complain => {}
                HostEffect::WakeAt(at) => assert!(at > self.now, "it would wake for ever"),
                HostEffect::Start => {
                    assert!(!self.runs);
                    assert!(!self.open.is_empty(), "nobody asks");
                    self.runs = true;
                    self.asked.clear();
                }
                HostEffect::Kill => {
                    // One that ended in the same moment in which its time was up is there no more.
                    assert!(std::mem::take(&mut self.runs) || ended);
                }
                HostEffect::Write(OutgoingQuery::Resolve { query, name, .. }) => {
                    assert!(self.runs);
                    assert_eq!(*self.used.entry(query).or_insert_with(|| name.clone()), name);
                    self.asked.insert(query);
                }
                HostEffect::Write(OutgoingQuery::Cancel(query)) => assert!(self.asked.remove(&query)),
                HostEffect::Answer { key, .. } => {
                    let deadline = self.open.remove(&key).expect("it is open");
                    assert!(self.now <= deadline || self.late);
                }
            }
        }
        self.late = false;
        assert!(self.open.values().all(|deadline| self.now < *deadline));
        assert_eq!(self.open.len(), self.host.queries.len());
        assert_eq!(self.open.len(), self.host.keys.len());
        assert!(
            self.wake.is_some() || self.open.is_empty(),
            "it never ends what takes too long"
        );
        assert_eq!(self.open.is_empty(), self.host.queries.is_empty());
    }

    fn pass(&mut self, end: Moment) {
        while let Some(wake) = self.wake.filter(|wake| *wake <= end) {
            self.now = wake;
            self.step(HostEvent::Wake);
        }
        self.now = end;
    }

    fn act(&mut self, act: Act) {
        let event = match act {
            Act::Resolve(key) => {
                self.open.entry(QueryKey(key)).or_insert(self.now + PATIENCE);
                self.names += 1;
                HostEvent::Resolve {
                    key: QueryKey(key),
                    name: word(&format!("{}.bit", self.names)),
                    id: None,
                }
            }
            Act::Cancel(key) => {
                // One whose time is up is answered first.
                let overdue = self
                    .open
                    .get(&QueryKey(key))
                    .is_some_and(|deadline| *deadline <= self.now);
                if !overdue {
                    self.open.remove(&QueryKey(key));
                }
                HostEvent::Cancel(QueryKey(key))
            }
            Act::Line(text) => HostEvent::Line(PluginLine::Whole(text.into_bytes())),
            Act::Garbage(bytes) => HostEvent::Line(PluginLine::Whole(bytes)),
            Act::Flood(lines) => {
                for _ in 0..lines {
                    self.step(HostEvent::Line(PluginLine::Overlong(Vec::new())));
                }
                return;
            }
            Act::Ended => HostEvent::Exited,
            Act::Pass(time) => return self.pass(self.now + Duration::from_millis(time)),
            Act::Late(time) => {
                self.now = self.now + Duration::from_millis(time);
                self.late = true;
                HostEvent::Wake
            }
        };
        if !self.runs && matches!(event, HostEvent::Line(_) | HostEvent::Exited) {
            return;
        }
        self.step(event);
    }
}

proptest! {
    #[test]
    fn every_query_gets_one_answer_in_time(acts in acts()) {
        let mut model = Model::default();
        for act in acts {
            model.act(act);
        }
        model.pass(model.now + PATIENCE);
        prop_assert!(model.open.is_empty());
        model.pass(model.now + START);
        prop_assert_eq!(model.wake, None);
    }
}

#[test]
fn the_user_is_told_once_of_each_process_that_makes_no_sense() {
    let mut talk = Talk::ready();
    talk.says("RESOLVED 1 0 b.example");
    assert_eq!(talk.complaints, 0);
    for _ in 0..3 {
        talk.says("hello");
        talk.says("RESOLVED x");
    }
    assert_eq!(talk.complaints, 1);
}

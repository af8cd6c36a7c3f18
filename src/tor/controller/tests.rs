use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::reply::ControlDecoder;
use super::*;

const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

const FIELDS: &str = "SOCKS_USERNAME=\"alice\" SOCKS_PASSWORD=\"one\" CLIENT_PROTOCOL=SOCKS5 NYM_EPOCH=0 \
                      SESSION_GROUP=-4 ISO_FIELDS=SOCKS_USERNAME,SOCKS_PASSWORD,CLIENTADDR,SESSION_GROUP,NYM_EPOCH";

#[test]
fn the_end_of_the_program_ends_the_streams_that_wait_for_it() {
    let mut talk = Talk::new();
    talk.happens(ControllerEvent::Stopping).unwrap();
    assert_eq!(talk.effects(), [], "nobody waits");
    let mut talk = Talk::new();
    for (id, name) in [(1, "a.bit"), (2, "b.bit"), (3, "example.com")] {
        talk.say(&format!(
            "650 STREAM {id} NEW 0 {name}:80 SOURCE_ADDR=127.0.0.1:1 PURPOSE=USER {FIELDS}"
        ));
        talk.say(&format!("650 STREAM {id} CONTROLLER_WAIT 0 {name}:80 {FIELDS}"));
    }
    talk.say(&format!(
        "650 STREAM 4 NEW 0 c.bit:80 SOURCE_ADDR=127.0.0.1:1 PURPOSE=USER {FIELDS}"
    ));
    let begun = talk.effects();
    let lookups = begun.iter().filter_map(|effect| match effect {
        ControllerEffect::Resolve(lookup) => Some(lookup.number),
        _ => None,
    });
    let lookups: Vec<u64> = lookups.collect();
    assert_eq!(lookups.len(), 2, "{begun:?}");
    let result = Ok(Target::Address([192, 0, 2, 1].into()));
    let lookup = lookups[0];
    talk.happens(ControllerEvent::Resolved { lookup, result }).unwrap();
    let send = |command: &str| ControllerEffect::Send(command.to_owned());
    assert_eq!(talk.effects(), [send("REDIRECTSTREAM 1 192.0.2.1")]);
    talk.happens(ControllerEvent::Stopping).unwrap();
    let expected = [
        send("CLOSESTREAM 1 2"),
        ControllerEffect::Abort(lookups[1]),
        send("CLOSESTREAM 2 2"),
        send("QUIT"),
    ];
    assert_eq!(talk.effects(), expected);
    // Replies to all of it come before the end: those to ATTACHSTREAM, REDIRECTSTREAM, CLOSESTREAM and QUIT.
    for reply in [
        "250 OK",
        "250 OK",
        "250 OK",
        "552 Unknown stream",
        "250 closing connection",
    ] {
        talk.say(reply);
    }
    assert_eq!(talk.effects(), []);
}

/// A controller and the Tor that it talks to.
struct Talk {
    controller: Controller,
    decoder: ControlDecoder,
    now: Moment,
    /// What is to be done and was not looked at yet, but for being woken up.
    effects: Vec<ControllerEffect>,
    /// When the latest event's effects ask to be woken up.
    wake: Option<Moment>,
}

impl Talk {
    /// Begins, with nothing waiting.
    fn new() -> Self {
        let mut talk = Self::begun();
        talk.say("250 OK");
        talk.say("250 __LeaveStreamsUnattached=1");
        talk.say("250-stream-status=\r\n250 OK");
        assert_eq!(talk.effects(), [ControllerEffect::Notify(Notice::Ready)]);
        talk
    }

    fn begun() -> Self {
        let suffixes = ["bit.onion", "test", "bit"].map(str::to_owned).to_vec();
        let mut talk = Self {
            controller: Controller::new(suffixes, [7; 64]),
            decoder: ControlDecoder::default(),
            now: Moment::default(),
            effects: Vec::new(),
            wake: None,
        };
        talk.happens(ControllerEvent::Connected).unwrap();
        let expected = [
            "SETEVENTS STREAM SIGNAL CONF_CHANGED",
            "GETCONF __LeaveStreamsUnattached",
            "GETINFO stream-status",
        ];
        let expected = expected.map(|command| ControllerEffect::Send(command.to_owned()));
        assert_eq!(talk.effects(), expected);
        talk
    }

    /// Lets something happen. An error is why the controller wants to disconnect, which is the last that it wants.
    fn happens(&mut self, event: ControllerEvent) -> Result<(), ControlError> {
        let mut effects = self.controller.on_event(self.now, event);
        let wakes = effects.extract_if(.., |effect| matches!(effect, ControllerEffect::WakeAt(_)));
        let wakes: Vec<_> = wakes.collect();
        self.wake = match wakes[..] {
            [] => None,
            [ControllerEffect::WakeAt(at)] => Some(at),
            _ => panic!("{wakes:?}"),
        };
        assert_eq!(self.wake.is_some(), self.controller.awaits_reply());
        let ends = effects.pop_if(|effect| matches!(effect, ControllerEffect::Disconnect(_)));
        self.effects.append(&mut effects);
        match ends {
            Some(ControllerEffect::Disconnect(error)) => Err(error),
            _ => Ok(()),
        }
    }

    fn try_say(&mut self, text: &str) -> Result<(), ControlError> {
        self.decoder.push(text.as_bytes());
        self.decoder.push(b"\r\n");
        while let Some(message) = self.decoder.message().unwrap() {
            self.happens(ControllerEvent::Message(message))?;
        }
        Ok(())
    }

    fn resolved(&mut self, lookup: u64, result: Result<Target, Failure>) {
        self.happens(ControllerEvent::Resolved { lookup, result }).unwrap();
    }

    fn streams(&self) -> &HashMap<StreamId, StreamPhase> {
        &self.controller.session().unwrap().streams
    }

    fn say(&mut self, text: &str) {
        self.try_say(text).unwrap();
    }

    fn effects(&mut self) -> Vec<ControllerEffect> {
        std::mem::take(&mut self.effects)
    }

    /// Lets a stream come and wait.
    fn wait(&mut self, id: u64, target: &str) {
        self.say(&format!(
            "650 STREAM {id} NEW 0 {target} SOURCE_ADDR=127.0.0.1:52000 PURPOSE=USER {FIELDS}"
        ));
        self.say(&format!("650 STREAM {id} CONTROLLER_WAIT 0 {target} {FIELDS}"));
    }

    /// Returns the one lookup that there is to do.
    fn lookup(&mut self) -> StreamLookup {
        match &self.effects()[..] {
            [ControllerEffect::Resolve(lookup)] => lookup.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn expect(&mut self, commands: &[&str]) {
        let expected: Vec<ControllerEffect> = commands
            .iter()
            .map(|command| ControllerEffect::Send((*command).to_owned()))
            .collect();
        assert_eq!(self.effects(), expected);
    }
}

fn target(text: &str) -> Target {
    Target::parse(text, std::iter::empty()).unwrap()
}

#[test]
fn a_name_of_ours_is_redirected_and_then_attached() {
    let mut talk = Talk::new();
    talk.wait(57, "foo.bit:80");
    let lookup = talk.lookup();
    assert_eq!(
        (lookup.name.as_str(), lookup.target_kind, lookup.suffix),
        ("foo.bit", TargetKind::Any, 2)
    );
    talk.resolved(lookup.number, Ok(target(ONION)));
    talk.expect(&[&format!("REDIRECTSTREAM 57 {ONION}")]);
    talk.say("250 OK");
    talk.expect(&["ATTACHSTREAM 57 0"]);
    talk.say("250 OK");
    talk.say(&format!("650 STREAM 57 SENTCONNECT 7 {ONION}:80 {FIELDS}"));
    talk.say(&format!("650 STREAM 57 CLOSED 7 {ONION}:80 REASON=DONE {FIELDS}"));
    talk.expect(&[]);
    assert!(talk.streams().is_empty() && !talk.controller.awaits_reply());
}

#[test]
fn what_is_not_ours_is_attached_untouched() {
    let mut talk = Talk::new();
    for (id, host) in [
        "example.com",
        "example.com.",
        "127.0.0.1",
        "[::1]",
        ONION,
        "rabbit",
        "a.b.it",
    ]
    .iter()
    .enumerate()
    {
        talk.wait(id as u64, &format!("{host}:443"));
        talk.expect(&[&format!("ATTACHSTREAM {id} 0")]);
    }
    for reply in [
        "250 OK",
        "552 Unknown stream \"1\"",
        "555 Connection is not managed by controller.",
    ] {
        talk.say(reply);
        talk.expect(&[]);
    }
}

/// StemNS compares names as they come: with a final dot or in capitals they go to the exit.
#[test]
fn case_and_final_dots_do_not_hide_a_name() {
    for host in ["foo.bit.", "FOO.BIT", "Foo.Bit.", "foo.bit..", "bit", "BIT."] {
        let mut talk = Talk::new();
        talk.wait(1, &format!("{host}:80"));
        assert_eq!(talk.lookup().name, host.trim_end_matches('.').to_lowercase());
    }
}

#[test]
fn a_failed_lookup_closes_the_stream() {
    for failure in [
        Failure::NotRegistered,
        Failure::Broken,
        Failure::Timeout,
        Failure::Unavailable,
    ] {
        let mut talk = Talk::new();
        talk.wait(1, "foo.bit:80");
        let lookup = talk.lookup();
        talk.resolved(lookup.number, Err(failure));
        talk.expect(&["CLOSESTREAM 1 2"]);
        assert!(talk.streams().is_empty());
    }
}

/// StemNS attaches without looking at the reply: a stream that is still there goes out under its own name.
#[test]
fn no_stream_is_attached_unless_it_was_redirected() {
    for reply in [
        "551 Unable to redirect",
        "552 Unknown stream",
        "512 Syntax error",
        "451 Resource exhausted",
    ] {
        let mut talk = Talk::new();
        talk.wait(1, "foo.bit:80");
        let lookup = talk.lookup();
        talk.resolved(lookup.number, Ok(target("192.0.2.1")));
        talk.expect(&["REDIRECTSTREAM 1 192.0.2.1"]);
        talk.say(reply);
        talk.expect(&["CLOSESTREAM 1 2"]);
    }
    // It ended, and another has its number, before the reply is there.
    let mut talk = Talk::new();
    talk.wait(1, "foo.bit:80");
    let lookup = talk.lookup();
    talk.resolved(lookup.number, Ok(target("192.0.2.1")));
    talk.say("650 STREAM 1 CLOSED 0 foo.bit:80 REASON=DONE");
    talk.wait(1, "bar.bit:80");
    talk.say("250 OK");
    let effects = talk.effects();
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, ControllerEffect::Send(command) if command.starts_with("ATTACH")))
    );
}

/// StemNS sends whatever a plugin says.
#[test]
fn nothing_but_a_checked_target_is_passed_to_tor() {
    for (name, answer, passes) in [
        ("foo.bit", ONION, true),
        ("foo.bit", "192.0.2.1", true),
        ("foo.bit", "2001:db8::1", true),
        ("foo.bit", "www.example.com", true),
        ("foo.bit", "other.bit", false),
        ("foo.bit", "other.test", false),
        ("foo.bit", "bit", false),
        ("foo.bit.onion", ONION, true),
        ("foo.bit.onion", "192.0.2.1", false),
        ("foo.bit.onion", "www.example.com", false),
        ("foo.test", ONION, true),
    ] {
        let mut talk = Talk::new();
        talk.wait(1, &format!("{name}:80"));
        let lookup = talk.lookup();
        let is_onion_only = lookup.target_kind == TargetKind::Onion;
        assert_eq!(is_onion_only, name == "foo.bit.onion");
        talk.resolved(lookup.number, Ok(target(answer)));
        let redirect = if answer.contains(':') {
            format!("REDIRECTSTREAM 1 [{answer}]")
        } else {
            format!("REDIRECTSTREAM 1 {answer}")
        };
        talk.expect(&[if passes { &redirect } else { "CLOSESTREAM 1 2" }]);
    }
}

/// StemNS keeps the query of a stream that has ended, and does not notice.
#[test]
fn a_stream_that_ends_meanwhile_has_its_lookup_aborted() {
    for end in ["CLOSED", "FAILED", "DETACHED", "SENTCONNECT", "SOMETHING_NEW"] {
        let mut talk = Talk::new();
        talk.wait(1, "foo.bit:80");
        let lookup = talk.lookup();
        talk.say(&format!("650 STREAM 1 {end} 0 foo.bit:80 REASON=DONE"));
        assert_eq!(talk.effects(), [ControllerEffect::Abort(lookup.number)]);
        talk.resolved(lookup.number, Ok(target(ONION)));
        talk.expect(&[]);
    }
}

/// An exit that could not reach the target hands the stream back, up to twice.
#[test]
fn a_stream_that_waits_again_is_attached_without_another_lookup() {
    let mut talk = Talk::new();
    talk.wait(58, "foo.bit:1");
    let lookup = talk.lookup();
    talk.resolved(lookup.number, Ok(target("127.0.0.1")));
    talk.expect(&["REDIRECTSTREAM 58 127.0.0.1"]);
    talk.say("250 OK");
    talk.expect(&["ATTACHSTREAM 58 0"]);
    talk.say("250 OK");
    for _ in 0..2 {
        talk.say(&format!(
            "650 STREAM 58 DETACHED 3 127.0.0.1:1 REASON=END REMOTE_REASON=MISC {FIELDS}"
        ));
        talk.say(&format!("650 STREAM 58 CONTROLLER_WAIT 3 127.0.0.1:1 {FIELDS}"));
        talk.expect(&["ATTACHSTREAM 58 0"]);
        talk.say("250 OK");
    }
}

/// Each that attaches a stream which is on its way begins it anew, and Tor says once more that it waits.
#[test]
fn another_controller_is_not_answered_in_kind() {
    let mut talk = Talk::new();
    talk.wait(1, "example.com:80");
    talk.expect(&["ATTACHSTREAM 1 0"]);
    talk.say(&format!("650 STREAM 1 CONTROLLER_WAIT 0 example.com:80 {FIELDS}"));
    talk.expect(&[]);
    talk.say("250 OK");
    talk.say(&format!("650 STREAM 1 DETACHED 3 example.com:80 REASON=END {FIELDS}"));
    talk.say(&format!("650 STREAM 1 CONTROLLER_WAIT 3 example.com:80 {FIELDS}"));
    talk.expect(&["ATTACHSTREAM 1 0"]);
    talk.say("250 OK");
    // It attaches what we have redirected, before we do.
    talk.wait(2, "foo.bit:80");
    let lookup = talk.lookup();
    talk.resolved(lookup.number, Ok(target("192.0.2.1")));
    talk.expect(&["REDIRECTSTREAM 2 192.0.2.1"]);
    talk.say(&format!("650 STREAM 2 SENTCONNECT 3 192.0.2.1:80 {FIELDS}"));
    talk.say("250 OK");
    talk.expect(&[]);
}

/// StemNS never sees them: no event comes for them again.
#[test]
fn streams_that_wait_already_are_taken_care_of() {
    let mut talk = Talk::begun();
    talk.say("250 OK");
    talk.say("250 __LeaveStreamsUnattached=1");
    // One that came just now is told of twice.
    talk.wait(9, "new.bit:80");
    let new = talk.lookup();
    talk.say(
        "250+stream-status=\r\n7 NEW 0 foo.bit:80\r\n8 NEW 0 example.com:80\r\n9 NEW 0 new.bit:80\r\n\
         5 SUCCEEDED 3 example.com:80\r\n6 NEWRESOLVE 0 foo.bit:0\r\n.\r\n250 OK",
    );
    match &talk.effects()[..] {
        [
            ControllerEffect::Resolve(seven),
            ControllerEffect::Send(attach),
            ControllerEffect::Resolve(six),
            ControllerEffect::Notify(Notice::Ready),
        ] => {
            assert_eq!(attach, "ATTACHSTREAM 8 0");
            assert_eq!(
                (seven.target_kind, six.target_kind),
                (TargetKind::Any, TargetKind::Address)
            );
            assert!(
                seven.id != six.id && seven.id != new.id && six.id != new.id,
                "who they are is not known"
            );
        }
        other => panic!("{other:?}"),
    }
    let mut talk = Talk::begun();
    talk.say("250 OK");
    talk.say("250 __LeaveStreamsUnattached=1");
    talk.say("250-stream-status=7 NEW 0 foo.bit:80\r\n250 OK");
    assert!(matches!(
        &talk.effects()[..],
        [ControllerEffect::Resolve(_), ControllerEffect::Notify(Notice::Ready)]
    ));
}

#[test]
fn who_asks_for_an_address_gets_one_or_none() {
    let mut talk = Talk::new();
    let come = |talk: &mut Talk, id: u64, host: &str| {
        talk.say(&format!(
            "650 STREAM {id} NEWRESOLVE 0 {host}:0 SOURCE_ADDR=127.0.0.1:1 PURPOSE=DNS_REQUEST {FIELDS}"
        ));
        talk.say(&format!("650 STREAM {id} CONTROLLER_WAIT 0 {host}:0 {FIELDS}"));
    };
    come(&mut talk, 1, "foo.bit");
    let lookup = talk.lookup();
    assert_eq!(lookup.target_kind, TargetKind::Address);
    talk.resolved(lookup.number, Ok(target("192.0.2.1")));
    talk.expect(&["REDIRECTSTREAM 1 192.0.2.1"]);
    talk.say("250 OK");
    talk.expect(&["ATTACHSTREAM 1 0"]);
    talk.say("250 OK");
    come(&mut talk, 4, "foo.bit");
    let lookup = talk.lookup();
    talk.resolved(lookup.number, Ok(target("2001:db8::1")));
    talk.expect(&["REDIRECTSTREAM 4 2001:db8::1"]);
    talk.say("552 Unknown stream \"4\"");
    talk.expect(&["CLOSESTREAM 4 2"]);
    talk.say("552 Unknown stream \"4\"");
    come(&mut talk, 2, "foo.bit.onion");
    talk.expect(&["CLOSESTREAM 2 2"]);
    talk.say("250 OK");
    come(&mut talk, 3, "foo.bit");
    let lookup = talk.lookup();
    talk.resolved(lookup.number, Ok(target(ONION)));
    talk.expect(&["CLOSESTREAM 3 2"]);
}

#[test]
fn tor_must_leave_streams_to_us() {
    for reply in [
        "250 __LeaveStreamsUnattached=0",
        "250 __LeaveStreamsUnattached",
        "250 __leavestreamsunattached=0",
    ] {
        let mut talk = Talk::begun();
        talk.say("250 OK");
        assert_eq!(talk.try_say(reply), Err(ControlError::Unsafe));
    }
    let mut talk = Talk::begun();
    assert!(matches!(
        talk.try_say("552 Unrecognized event"),
        Err(ControlError::Refused {
            command: "SETEVENTS",
            ..
        })
    ));
}

/// StemNS looks once, at the start.
#[test]
fn the_option_is_put_back() {
    for changed in [
        "__LeaveStreamsUnattached=0",
        "__leaveStreamsUnattached",
        "SocksPort=1\r\n650-__LeaveStreamsUnattached=0",
    ] {
        let mut talk = Talk::new();
        talk.say(&format!("650-CONF_CHANGED\r\n650-{changed}\r\n650 OK"));
        talk.expect(&["SETCONF __LeaveStreamsUnattached=1"]);
        talk.say("250 OK");
        assert_eq!(talk.effects(), [ControllerEffect::Notify(Notice::OptionRestored)]);
        talk.say("650-CONF_CHANGED\r\n650-__LeaveStreamsUnattached=1\r\n650 OK");
        talk.expect(&[]);
    }
    let mut talk = Talk::new();
    talk.say("650-CONF_CHANGED\r\n650-__LeaveStreamsUnattached=0\r\n650 OK");
    assert!(matches!(
        talk.try_say("553 Unable to set option"),
        Err(ControlError::Refused { .. })
    ));
}

#[test]
fn a_new_identity_forgets_the_old_ones() {
    let mut talk = Talk::new();
    talk.wait(1, "foo.bit:80");
    let old = talk.lookup().id;
    talk.say("650 SIGNAL NEWNYM");
    assert_eq!(
        talk.effects(),
        [
            ControllerEffect::Forget(vec![old.clone()]),
            ControllerEffect::Notify(Notice::NewIdentity)
        ]
    );
    talk.say("650 SIGNAL RELOAD");
    talk.expect(&[]);
    talk.wait(2, "foo.bit:80");
    assert_ne!(talk.lookup().id, old);
}

#[test]
fn ids_follow_who_asks() {
    let mut talk = Talk::new();
    let mut ids = Vec::new();
    for (id, (source, user)) in [
        ("127.0.0.1:1", "a"),
        ("127.0.0.1:2", "a"),
        ("127.0.0.1:1", "b"),
        ("127.0.0.2:1", "a"),
    ]
    .into_iter()
    .enumerate()
    {
        let fields = FIELDS.replace("alice", user);
        talk.say(&format!(
            "650 STREAM {id} NEW 0 x.bit:80 SOURCE_ADDR={source} PURPOSE=USER {fields}"
        ));
        talk.say(&format!("650 STREAM {id} CONTROLLER_WAIT 0 x.bit:80 {fields}"));
        ids.push(talk.lookup().id);
    }
    assert_eq!(ids[0], ids[1]);
    assert!(ids[0] != ids[2] && ids[0] != ids[3] && ids[2] != ids[3]);
    // The line with the address of this one was missed.
    talk.say(&format!("650 STREAM 9 CONTROLLER_WAIT 0 x.bit:80 {FIELDS}"));
    let alone = talk.lookup();
    assert!(!ids.contains(&alone.id));
    talk.resolved(alone.number, Err(Failure::NotRegistered));
    assert_eq!(
        talk.effects(),
        [
            ControllerEffect::Forget(vec![alone.id]),
            ControllerEffect::Send("CLOSESTREAM 9 2".to_owned())
        ]
    );
}

#[test]
fn the_end_of_a_tor_ends_all() {
    let mut talk = Talk::new();
    talk.wait(1, "foo.bit:80");
    let lookup = talk.lookup();
    talk.happens(ControllerEvent::Disconnected).unwrap();
    assert_eq!(
        talk.effects(),
        [
            ControllerEffect::Abort(lookup.number),
            ControllerEffect::Forget(vec![lookup.id])
        ]
    );
    talk.resolved(lookup.number, Ok(target(ONION)));
    talk.expect(&[]);
    assert!(!talk.controller.awaits_reply());
}

#[test]
fn a_tor_that_owes_a_reply_may_not_be_silent() {
    let mut talk = Talk::new();
    assert_eq!(talk.wake, None, "it owes nothing");
    talk.wait(1, "foo.bit:80");
    let lookup = talk.lookup();
    talk.wait(2, "example.com:80");
    talk.expect(&["ATTACHSTREAM 2 0"]);
    let first = talk.now + SILENCE;
    assert_eq!(talk.wake, Some(first));
    // Neither is a sign of life of Tor's.
    talk.now = talk.now + Duration::from_secs(20);
    talk.happens(ControllerEvent::Wake).unwrap();
    talk.resolved(0, Err(Failure::Timeout));
    assert_eq!(talk.wake, Some(first));
    // This is.
    talk.happens(ControllerEvent::PartialMessage).unwrap();
    let second = talk.now + SILENCE;
    assert_eq!(talk.wake, Some(second));
    talk.now = first;
    talk.happens(ControllerEvent::Wake).unwrap();
    talk.now = second;
    assert_eq!(talk.happens(ControllerEvent::Wake), Err(ControlError::Silent));
    let expected = [
        ControllerEffect::Abort(lookup.number),
        ControllerEffect::Forget(vec![lookup.id]),
    ];
    assert_eq!(talk.effects(), expected);
    // There is no connection any more that anything could be said over.
    talk.say("250 OK");
    talk.happens(ControllerEvent::Disconnected).unwrap();
    assert_eq!(talk.effects(), []);
}

#[test]
fn a_hostile_tor_is_bounded() {
    let mut talk = Talk::new();
    assert_eq!(talk.try_say("250 OK"), Err(ControlError::Protocol), "nothing was asked");
    let mut talk = Talk::new();
    for id in 0..MAX_LOOKUPS + 5 {
        talk.wait(id as u64, "x.bit:80");
    }
    let effects = talk.effects();
    let resolved = effects
        .iter()
        .filter(|effect| matches!(effect, ControllerEffect::Resolve(_)))
        .count();
    assert_eq!(
        (resolved, effects.len()),
        (MAX_LOOKUPS, MAX_LOOKUPS + 5),
        "the others are closed"
    );
    let mut talk = Talk::new();
    for id in 0..MAX_STREAMS + 5 {
        talk.say(&format!("650 STREAM {id} NEW 0 x.bit:80"));
    }
    assert_eq!(talk.streams().len(), MAX_STREAMS);
    let mut talk = Talk::new();
    let end = (0..).find_map(|id| talk.try_say(&format!("650 STREAM {id} CONTROLLER_WAIT 0 x:80")).err());
    assert_eq!(end, Some(ControlError::Protocol), "it never replies");
}

fn any_event() -> impl Strategy<Value = String> {
    let status = prop::sample::select(vec![
        "NEW",
        "NEWRESOLVE",
        "CONTROLLER_WAIT",
        "CONTROLLER_WAIT",
        "SENTCONNECT",
        "REMAP",
        "CLOSED",
        "FAILED",
        "DETACHED",
    ]);
    let host = prop::sample::select(vec!["a.bit", "b.bit.", "x.example", "c.bit.onion", "192.0.2.1"]);
    (0..4_u8, status, host)
        .prop_map(|(id, status, host)| format!("650 STREAM {id} {status} 0 {host}:80 SOURCE_ADDR=127.0.0.1:1 {FIELDS}"))
}

#[derive(Clone, Debug)]
enum Turn {
    Event(String),
    Reply(bool),
    Resolve(usize, bool),
}

fn any_turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => any_event().prop_map(Turn::Event),
        3 => any::<bool>().prop_map(Turn::Reply),
        2 => (0..4_usize, any::<bool>()).prop_map(|(at, ok)| Turn::Resolve(at, ok)),
    ]
}

proptest! {
    /// A Tor that keeps count: a stream whose name is ours is attached only when the last redirect of that stream, with no
    /// new stream of its number since, was confirmed.
    #[test]
    fn no_name_of_ours_is_ever_attached(turns in prop::collection::vec(any_turn(), 0..60)) {
        let mut talk = Talk::new();
        // What streams are for, as Tor has it.
        let mut hosts: BTreeMap<String, String> = BTreeMap::new();
        let mut sent: VecDeque<String> = VecDeque::new();
        let mut open: Vec<u64> = Vec::new();
        for turn in turns {
            match turn {
                Turn::Event(event) => {
                    let words: Vec<&str> = event.split(' ').collect();
                    let (id, status, host) = (words[2].to_owned(), words[3], words[5].trim_end_matches(":80").to_owned());
                    match status {
                        "NEW" | "NEWRESOLVE" => drop(hosts.insert(id, host)),
                        // Tor says of a stream what it has.
                        _ if hosts.get(&id) != Some(&host) => continue,
                        "CLOSED" => drop(hosts.remove(&id)),
                        _ => {}
                    }
                    talk.say(&event);
                }
                Turn::Reply(ok) => {
                    let Some(command) = sent.pop_front() else { continue };
                    let words: Vec<&str> = command.split(' ').collect();
                    if let (true, ["REDIRECTSTREAM", id, target]) = (ok && hosts.contains_key(words[1]), &words[..]) {
                        hosts.insert((*id).to_owned(), (*target).to_owned());
                    }
                    let carried_out = ok && hosts.contains_key(words[1]);
                    talk.say(if carried_out { "250 OK" } else { "552 Unknown stream" });
                }
                Turn::Resolve(at, ok) => {
                    if at < open.len() {
                        let answer = if ok { Ok(target(ONION)) } else { Err(Failure::NotRegistered) };
                        talk.resolved(open.remove(at), answer);
                    }
                }
            }
            for effect in talk.effects() {
                match effect {
                    ControllerEffect::Send(command) => {
                        if let Some(id) = command.strip_prefix("ATTACHSTREAM ").and_then(|rest| rest.strip_suffix(" 0")) {
                            let host = hosts.get(id).cloned().unwrap_or_default();
                            let ours = ["a.bit", "b.bit.", "c.bit.onion"].contains(&host.as_str());
                            prop_assert!(!ours, "{} is attached", host);
                        }
                        sent.push_back(command);
                    }
                    ControllerEffect::Resolve(lookup) => open.push(lookup.number),
                    ControllerEffect::Abort(number) => open.retain(|other| *other != number),
                    ControllerEffect::Forget(_) | ControllerEffect::Notify(_) => {}
                    ControllerEffect::WakeAt(_) | ControllerEffect::Disconnect(_) => panic!("the talk keeps them back"),
                }
            }
        }
    }
}

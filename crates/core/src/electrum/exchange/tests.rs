use proptest::prelude::*;

use super::*;
use crate::electrum::request::VersionRange;
use crate::name::id::ScriptHash;

const SECOND: Duration = Duration::from_secs(1);

fn history() -> ElectrumRequest {
    ElectrumRequest::History(ScriptHash([0x11; 32]))
}

/// Requests that went out together.
#[derive(Debug, PartialEq)]
struct Flight {
    ids: Range<u64>,
    lines: String,
}

/// The machine, with its effects sorted by what they answer.
#[derive(Default)]
struct Driven {
    machine: Exchange,
    wake_at: Option<Moment>,
}

impl Driven {
    fn step(&mut self, now: Moment, event: ExchangeEvent<'_>) -> Result<Vec<ExchangeEffect>, ExchangeEnd> {
        let mut effects = self.machine.on_event(now, event);
        self.wake_at = None;
        if let Some(ExchangeEffect::WakeAt(at)) = effects.last() {
            self.wake_at = Some(*at);
            effects.pop();
        }
        let wakes = |effect: &ExchangeEffect| matches!(effect, ExchangeEffect::WakeAt(_));
        assert!(!effects.iter().any(wakes), "{effects:?}");
        match effects.as_slice() {
            [ExchangeEffect::Leave(end)] => Err(end.clone()),
            _ => Ok(effects),
        }
    }

    fn send(&mut self, now: Moment, requests: Vec<ElectrumRequest>, timeout: Duration) -> Result<Flight, TooManyOpen> {
        let effects = self.step(now, ExchangeEvent::Send { requests, timeout }).unwrap();
        match effects.as_slice() {
            [ExchangeEffect::Refuse(error)] => Err(*error),
            [ExchangeEffect::Sent(ids)] => Ok(Flight {
                ids: ids.clone(),
                lines: String::new(),
            }),
            [ExchangeEffect::Sent(ids), ExchangeEffect::Write(lines)] => Ok(Flight {
                ids: ids.clone(),
                lines: lines.clone(),
            }),
            other => panic!("{other:?}"),
        }
    }

    fn on_line(&mut self, now: Moment, line: &[u8]) -> Result<Vec<ExchangeEffect>, Violation> {
        self.step(now, ExchangeEvent::Line(line)).map_err(|end| match end {
            ExchangeEnd::Violation(violation) => violation,
            ExchangeEnd::Overdue(_) => panic!("only time makes it overdue"),
        })
    }

    fn on_time(&mut self, now: Moment) -> Result<Vec<ExchangeEffect>, Overdue> {
        self.step(now, ExchangeEvent::Tick).map_err(|end| match end {
            ExchangeEnd::Overdue(overdue) => overdue,
            ExchangeEnd::Violation(violation) => panic!("{violation:?}"),
        })
    }

    fn wake_at(&self) -> Option<Moment> {
        self.wake_at
    }

    fn open(&self) -> usize {
        self.machine.open()
    }
}

fn exchange(requests: Vec<ElectrumRequest>) -> (Driven, Flight) {
    let mut exchange = Driven::default();
    let flight = exchange.send(Moment(0), requests, SECOND).unwrap();
    (exchange, flight)
}

fn result(id: u64, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

fn empty_history(id: u64) -> String {
    result(id, "[]")
}

fn companion(id: u64) -> String {
    result(id, r#"{"count":0,"hex":"","max":2016}"#)
}

fn on(exchange: &mut Driven, line: &str) -> Result<Vec<ExchangeEffect>, Violation> {
    exchange.on_line(Moment(0), line.as_bytes())
}

fn answered(id: u64) -> ExchangeEffect {
    ExchangeEffect::Answer {
        id,
        outcome: Ok(ElectrumReply::History(Vec::new())),
    }
}

#[test]
fn a_flight_is_lines_with_a_companion_at_the_end() {
    let (mut exchange, flight) = exchange(vec![history(), ElectrumRequest::Ping]);
    assert_eq!(flight.ids, 0..2);
    let expected = [
        history().encode(0),
        ElectrumRequest::Ping.encode(1),
        ElectrumRequest::COMPANION.encode(2),
    ];
    assert_eq!(flight.lines, expected.concat());
    assert_eq!(exchange.open(), 3);
    let next = exchange.send(Moment(0), vec![history()], SECOND).unwrap();
    assert_eq!(next.ids, 3..4);
}

#[test]
fn signs_of_life_shift_no_other_requests_ids() {
    let (mut exchange, _) = exchange(vec![history()]);
    let pings: Vec<Flight> = (0..3)
        .map(|_| exchange.send(Moment(0), vec![ElectrumRequest::Ping], SECOND).unwrap())
        .collect();
    let next = exchange.send(Moment(0), vec![history()], SECOND).unwrap();
    assert_eq!(next.ids, 2..3);
    assert_eq!(
        next.lines,
        [history().encode(2), ElectrumRequest::COMPANION.encode(3)].concat()
    );
    let ids: Vec<u64> = pings.iter().map(|flight| flight.ids.start - FIRST_KEEP_ALIVE).collect();
    assert_eq!(ids, [0, 2, 4]);
    // Both kinds are answered, once.
    let pong = result(FIRST_KEEP_ALIVE, "null");
    assert_eq!(
        on(&mut exchange, &pong),
        Ok(vec![ExchangeEffect::Answer {
            id: FIRST_KEEP_ALIVE,
            outcome: Ok(ElectrumReply::Pong)
        }])
    );
    let id = FIRST_KEEP_ALIVE;
    assert_eq!(on(&mut exchange, &pong), Err(Violation::AnsweredTwice { id }));
    assert_eq!(on(&mut exchange, &empty_history(2)), Ok(vec![answered(2)]));
    let id = FIRST_KEEP_ALIVE + 6;
    assert_eq!(
        on(&mut exchange, &result(id, "null")),
        Err(Violation::NeverAsked { id })
    );
}

#[test]
fn the_greeting_is_not_held_back_and_an_empty_flight_sends_nothing() {
    let (_, flight) = exchange(vec![ElectrumRequest::Version(VersionRange::ALL)]);
    let expected = [
        ElectrumRequest::Version(VersionRange::ALL).encode(0),
        ElectrumRequest::COMPANION.encode(1),
    ];
    assert_eq!(flight.lines, expected.concat());
    let (_, flight) = exchange(Vec::new());
    assert_eq!((flight.ids, flight.lines.as_str()), (0..0, ""));
}

#[test]
fn answers_come_in_any_order_and_in_batches() {
    let (mut exchange, _) = exchange(vec![history(), history(), history()]);
    assert_eq!(on(&mut exchange, &empty_history(2)), Ok(vec![answered(2)]));
    let batch = format!("  [{},{}]  ", empty_history(1), empty_history(0));
    assert_eq!(on(&mut exchange, &batch), Ok(vec![answered(1), answered(0)]));
    assert_eq!(on(&mut exchange, &companion(3)), Ok(vec![]));
    assert_eq!(exchange.open(), 0);
    assert_eq!(exchange.wake_at(), None);
}

#[test]
fn companions_follow_each_other_while_others_are_open() {
    let (mut exchange, _) = exchange(vec![history()]);
    let mut now = Moment(0);
    for id in 1..u64::from(COMPANIONS_PER_FLIGHT) {
        assert_eq!(exchange.on_line(now, companion(id).as_bytes()), Ok(vec![]));
        let pause = COMPANION_PAUSES.first * (1 << (id - 1));
        assert_eq!(exchange.wake_at(), Some((now + pause).min(Moment(1000))));
        assert_eq!(exchange.on_time(Moment(now.0 + 1)), Ok(vec![]));
        now = now + pause;
        if id < 9 {
            assert_eq!(
                exchange.on_time(now),
                Ok(vec![ExchangeEffect::Write(ElectrumRequest::COMPANION.encode(id + 1))])
            );
        }
    }
    assert!(now >= Moment(1000));
    assert_eq!(exchange.on_time(now), Err(Overdue));
}

#[test]
fn no_companion_follows_when_nothing_waits_for_it() {
    let (mut exchange, _) = exchange(vec![history()]);
    on(&mut exchange, &companion(1)).unwrap();
    on(&mut exchange, &empty_history(0)).unwrap();
    assert_eq!(exchange.on_time(Moment(900)), Ok(vec![]));
    assert_eq!(exchange.wake_at(), None);
    let flight = exchange.send(Moment(900), vec![history()], SECOND).unwrap();
    on(&mut exchange, &empty_history(flight.ids.start)).unwrap();
    on(&mut exchange, &companion(flight.ids.end)).unwrap();
    assert_eq!(exchange.wake_at(), None);
}

#[test]
fn a_late_companion_of_an_earlier_flight_asks_for_nothing() {
    let (mut exchange, _) = exchange(vec![history()]);
    on(&mut exchange, &empty_history(0)).unwrap();
    exchange.send(Moment(0), vec![history()], SECOND).unwrap();
    on(&mut exchange, &companion(1)).unwrap();
    assert_eq!(exchange.wake_at(), Some(Moment(1000)));
    on(&mut exchange, &companion(3)).unwrap();
    assert_eq!(exchange.wake_at(), Some(Moment(0) + COMPANION_PAUSES.first));
}

#[test]
fn a_companion_that_makes_no_sense_is_a_violation() {
    let (mut exchange, _) = exchange(vec![history()]);
    let nonsense = result(1, r#"{"count":9,"hex":"","max":2016}"#);
    assert!(matches!(on(&mut exchange, &nonsense), Err(Violation::Companion(_))));
}

#[test]
fn ids_are_answered_once_and_only_if_asked() {
    let (mut exchange, _) = exchange(vec![history()]);
    assert_eq!(
        on(&mut exchange, &empty_history(7)),
        Err(Violation::NeverAsked { id: 7 })
    );
    on(&mut exchange, &empty_history(0)).unwrap();
    assert_eq!(
        on(&mut exchange, &empty_history(0)),
        Err(Violation::AnsweredTwice { id: 0 })
    );
}

#[test]
fn lines_that_are_no_response_are_violations() {
    for line in [
        "",
        "   ",
        "x",
        "null",
        "7",
        "{}",
        "{\"id\":null}",
        "\u{7f}",
        "{\"id\":0}x",
        r#"{"id":"0","result":[]}"#,
        r#"{"id":-1,"result":[]}"#,
        r#"{"id":0.0,"result":[]}"#,
        r#"{"id":18446744073709551616,"result":[]}"#,
        r#"{"id":0,"id":0,"result":[]}"#,
        r#"{"id":0,"result":[],"error":{"code":1}}"#,
        r#"{"id":0,"error":"text"}"#,
        r#"[[{"id":0,"result":[]}]]"#,
    ] {
        let (mut exchange, _) = exchange(vec![history()]);
        assert_eq!(on(&mut exchange, line), Err(Violation::Malformed), "{line}");
    }
    let (mut exchange, _) = exchange(vec![history()]);
    assert_eq!(exchange.on_line(Moment(0), b"\xff"), Err(Violation::Malformed));
    let deep = format!(r#"{{"id":0,"result":{}}}"#, "[".repeat(100_000));
    assert_eq!(on(&mut exchange, &deep), Err(Violation::TooDeep));
}

#[test]
fn a_server_error_is_an_answer_with_its_text_made_safe() {
    let (mut exchange, _) = exchange(vec![history()]);
    let message = "\\u001b[2Jexcessive resource usage\\n".to_owned() + &"x".repeat(1000);
    let line = format!(r#"{{"id":0,"error":{{"code":-101,"message":"{message}"}}}}"#);
    let effects = on(&mut exchange, &line).unwrap();
    let [
        ExchangeEffect::Answer {
            id: 0,
            outcome: Err(AnswerError::Server(error)),
        },
    ] = effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    assert_eq!(error.kind(), ServerErrorKind::ExcessiveUsage);
    assert_eq!(error.message.chars().count(), MAX_ERROR_TEXT);
    assert!(error.message.starts_with("[2Jexcessive resource usagexx"));
    assert_eq!(format!("{error:?}"), "ServerError { code: -101, .. }");
}

#[test]
fn error_codes_have_meanings() {
    let kind = |code, message: &str| {
        let message = message.to_owned();
        ServerError { code, message }.kind()
    };
    assert_eq!(kind(1, "excessive resource usage"), ServerErrorKind::ExcessiveUsage);
    assert_eq!(kind(-102, "server busy"), ServerErrorKind::Busy);
    assert_eq!(kind(-32601, "unknown method \"x\""), ServerErrorKind::UnknownMethod);
    assert_eq!(
        kind(1, "unsupported protocol version: 1.2"),
        ServerErrorKind::UnsupportedVersion
    );
    assert_eq!(kind(2, "daemon error: .."), ServerErrorKind::Daemon);
    assert_eq!(kind(1, "height 9 out of range"), ServerErrorKind::Refused);
    assert_eq!(kind(-32603, "internal server error"), ServerErrorKind::Other);
}

#[test]
fn an_error_without_an_id_ends_the_connection() {
    let (mut exchange, _) = exchange(vec![history()]);
    let line = r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"invalid JSON"},"id":null}"#;
    assert!(matches!(on(&mut exchange, line), Err(Violation::ErrorWithoutId(error)) if error.code == -32700));
}

#[test]
fn tips_are_taken_only_after_a_subscription_and_not_without_end() {
    let header = "00".repeat(80);
    let line = format!(
        r#"{{"jsonrpc":"2.0","method":"blockchain.headers.subscribe","params":[{{"hex":"{header}","height":7}}]}}"#
    );
    let (mut exchange, _) = exchange(vec![history()]);
    assert_eq!(on(&mut exchange, &line), Err(Violation::UnaskedNotification));
    exchange
        .send(Moment(0), vec![ElectrumRequest::SubscribeHeaders], SECOND)
        .unwrap();
    assert!(matches!(on(&mut exchange, &line).as_deref(), Ok([ExchangeEffect::Tip(tip)]) if tip.height == 7));
    let other = line.replace("headers", "scripthash");
    assert_eq!(on(&mut exchange, &other), Err(Violation::UnaskedNotification));
    let with_id = line.replace("\"method\"", "\"id\":0,\"method\"");
    assert_eq!(on(&mut exchange, &with_id), Err(Violation::UnaskedNotification));
    for _ in 1..MAX_TIPS {
        on(&mut exchange, &line).unwrap();
    }
    assert_eq!(on(&mut exchange, &line), Err(Violation::TooManyNotifications));
    let later = Moment(0) + TIP_WINDOW + SECOND;
    assert!(exchange.on_line(later, line.as_bytes()).is_ok());
}

#[test]
fn the_earliest_deadline_counts() {
    let mut exchange = Driven::default();
    exchange.send(Moment(5), vec![history()], 2 * SECOND).unwrap();
    exchange.send(Moment(6), vec![history()], SECOND).unwrap();
    assert_eq!(exchange.wake_at(), Some(Moment(1006)));
    assert_eq!(exchange.on_time(Moment(1005)), Ok(vec![]));
    assert_eq!(exchange.on_time(Moment(1006)), Err(Overdue));
}

#[test]
fn open_requests_are_bounded() {
    let mut exchange = Driven::default();
    let open = MAX_OPEN + 1;
    assert_eq!(
        exchange.send(Moment(0), vec![history(); open], SECOND),
        Err(TooManyOpen { open })
    );
    assert_eq!(exchange.open(), 0);
    assert!(exchange.send(Moment(0), vec![history(); MAX_OPEN], SECOND).is_ok());
}

proptest! {
    #[test]
    fn whatever_the_order_every_request_is_answered_once(
        order in Just((0u64..20).collect::<Vec<_>>()).prop_shuffle(),
        batches in prop::collection::vec(1usize..5, 20),
    ) {
        let (mut exchange, flight) = exchange(vec![history(); 20]);
        let mut answers = Vec::new();
        let mut rest = order.as_slice();
        for size in batches {
            let (batch, next) = rest.split_at(size.min(rest.len()));
            rest = next;
            let lines: Vec<String> = batch.iter().map(|id| empty_history(*id)).collect();
            let line = if let [line] = lines.as_slice() { line.clone() } else { format!("[{}]", lines.join(",")) };
            for effect in on(&mut exchange, &line).unwrap() {
                let ExchangeEffect::Answer { id, .. } = effect else { panic!("{effect:?}") };
                answers.push(id);
            }
        }
        prop_assert_eq!(answers, order);
        prop_assert_eq!(exchange.open(), 1);
        prop_assert_eq!(flight.ids, 0..20);
    }

    #[test]
    fn any_lines_are_taken_or_refused(lines in prop::collection::vec(
        prop_oneof![
            (0u64..6).prop_map(empty_history),
            (0u64..6).prop_map(companion),
            (0u64..6, "[\\[\\]{}\":,0-9a-z]{0,20}").prop_map(|(id, text)| result(id, &text)),
            ".{0,40}",
        ],
        0..20,
    )) {
        let (mut exchange, _) = exchange(vec![history(); 3]);
        let mut answers = 0;
        for line in lines {
            match on(&mut exchange, &line) {
                Ok(effects) => answers += effects.iter().filter(|effect| matches!(effect, ExchangeEffect::Answer { .. })).count(),
                Err(_) => break,
            }
            prop_assert!(exchange.open() <= 4);
        }
        prop_assert!(answers <= 3);
    }
}

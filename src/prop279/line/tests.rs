//! Lines say the same to who reads them as to who wrote them, and nothing in them ends them.

use proptest::prelude::*;

use super::super::splitter::{MAX_LINE, Splitter};
use super::*;
use crate::naming::onion::OnionName;

const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

const FAILURES: [(Failure, Status); 7] = [
    (Failure::NotRegistered, Status::NotRegistered),
    (Failure::NoTarget, Status::NotRegistered),
    (Failure::NotHandled, Status::NotHandled),
    (Failure::Invalid, Status::Generic),
    (Failure::Broken, Status::Generic),
    (Failure::Timeout, Status::Timeout),
    (Failure::Unavailable, Status::Generic),
];

fn whole(text: &str) -> Line {
    Line::Whole(text.as_bytes().to_vec())
}

fn word(text: &str) -> Word {
    Word::new(text).unwrap()
}

fn resolve(query: i64, name: &str, id: Option<&str>) -> Asked {
    Asked::Resolve {
        query: QueryId(query),
        name: word(name),
        id: id.map(|id| IsolationId::new(id.as_bytes()).unwrap()),
    }
}

fn failed(query: i64, failure: Failure, name: &str) -> String {
    let name = Word::new(name);
    Reply::Failed {
        query: QueryId(query),
        failure,
        name,
    }
    .to_string()
}

/// Cuts what was written into its only line.
fn sent(text: &str) -> Line {
    let mut lines = Splitter::default().feed(text.as_bytes());
    assert_eq!(lines.len(), 1, "{text:?}");
    assert!(text.len() <= MAX_LINE);
    lines.remove(0)
}

#[test]
fn requests_are_read() {
    for (line, expected) in [
        ("RESOLVE 1 a.bit", resolve(1, "a.bit", None)),
        ("RESOLVE 1 a.bit id", resolve(1, "a.bit", Some("id"))),
        ("RESOLVE 1 a.bit id and more", resolve(1, "a.bit", Some("id"))),
        (" RESOLVE\t-7  A.Bit.  ", resolve(-7, "A.Bit.", None)),
        ("RESOLVE 1 a.bit id\r", resolve(1, "a.bit", Some("id\r"))),
        ("CANCEL 1", Asked::Cancel(QueryId(1))),
        ("CANCEL 1 2", Asked::Cancel(QueryId(1))),
        ("RESOLVE 1", Asked::Malformed(QueryId(1))),
        ("RESOLVE 1 a.bit\r", Asked::Malformed(QueryId(1))),
        ("RESOLVE 1 a\0.bit", Asked::Malformed(QueryId(1))),
        ("RESOLVE x a.bit", Asked::Ignored),
        ("RESOLVE 9223372036854775808 a.bit", Asked::Ignored),
        ("RESOLVE", Asked::Ignored),
        ("CANCEL", Asked::Ignored),
        ("CANCEL 1\r", Asked::Ignored),
        ("CANCEL x", Asked::Ignored),
        ("resolve 1 a.bit", Asked::Ignored),
        ("RESOLVED 1 0 a.onion", Asked::Ignored),
        ("FUTURE 1 a", Asked::Ignored),
        ("", Asked::Ignored),
        (" \t ", Asked::Ignored),
    ] {
        assert_eq!(Asked::read(&whole(line)), expected, "{line:?}");
    }
    let line = Line::Whole(b"RESOLVE 1 a\xff.bit".to_vec());
    assert_eq!(Asked::read(&line), Asked::Malformed(QueryId(1)));
}

#[test]
fn words_that_are_too_long_are_answered() {
    let longest = "i".repeat(IsolationId::MAX_LEN);
    let line = whole(&format!("RESOLVE 1 a.bit {longest}"));
    assert_eq!(Asked::read(&line), resolve(1, "a.bit", Some(&longest)));
    for line in [format!("RESOLVE 1 a.bit {longest}i"), format!("RESOLVE 1 {longest}i")] {
        assert_eq!(Asked::read(&whole(&line)), Asked::Malformed(QueryId(1)));
    }
    let overlong = |start: &str| Line::Overlong(start.as_bytes().to_vec());
    for (start, expected) in [
        ("RESOLVE 1 a.bit i", Asked::Malformed(QueryId(1))),
        ("RESOLVE 1 a", Asked::Malformed(QueryId(1))),
        ("RESOLVE 1", Asked::Ignored), // it may go on with more digits
        ("CANCEL 1 a", Asked::Ignored),
        ("", Asked::Ignored),
    ] {
        assert_eq!(Asked::read(&overlong(start)), expected, "{start}");
    }
    let malformed = Said::Malformed(QueryId(1));
    assert_eq!(Said::read(&overlong("RESOLVED 1 0 a.onion a")), malformed);
    assert_eq!(Said::read(&overlong("INIT 1 0 a")), Said::Unready);
    assert_eq!(Said::read(&overlong("CANCELED 1 a")), Said::Ignored);
}

#[test]
fn replies_are_read() {
    let query = QueryId(1);
    for (line, expected) in [
        ("INIT 1 0", Said::Ready),
        ("INIT 1 0 \"here I am\"", Said::Ready),
        ("INIT 1 1 \"no\"", Said::Unready),
        ("INIT 2 0", Said::Unready),
        ("INIT 1", Said::Unready),
        ("INIT 1 0\r", Said::Unready),
        ("INIT", Said::Unready),
        ("RESOLVED 1 0 a.onion", Said::Resolved(query, word("a.onion"))),
        ("RESOLVED  1\t0  a b", Said::Resolved(query, word("a"))),
        ("RESOLVED 1 1 \"Server failure\"", Said::Failed(query, Status::Generic)),
        ("RESOLVED 1 2", Said::Failed(query, Status::NotHandled)),
        ("RESOLVED 1 3 \"a.bit", Said::Failed(query, Status::NotRegistered)),
        ("RESOLVED 1 4", Said::Failed(query, Status::Timeout)),
        ("RESOLVED 1 5", Said::Failed(query, Status::Unknown)),
        ("RESOLVED 1 -1", Said::Failed(query, Status::Unknown)),
        ("RESOLVED 1 0", Said::Malformed(query)),
        ("RESOLVED 1 0 a\r", Said::Malformed(query)),
        ("RESOLVED 1 x a", Said::Malformed(query)),
        ("RESOLVED 1", Said::Malformed(query)),
        ("RESOLVED x 0 a", Said::Ignored),
        ("RESOLVED", Said::Ignored),
        ("CANCELED 1", Said::Canceled(query)),
        ("CANCELED", Said::Ignored),
        ("CANCELLED 1", Said::Ignored),
        ("", Said::Ignored),
        ("  ", Said::Ignored),
    ] {
        assert_eq!(Said::read(&whole(line)), expected, "{line:?}");
    }
}

#[test]
fn replies_are_written_as_ncprop279_does() {
    assert_eq!(Reply::Ready.to_string(), "INIT 1 0\n");
    assert_eq!(Reply::Canceled(QueryId(-3)).to_string(), "CANCELED -3\n");
    for (target, expected) in [
        (Target::Address("1.2.3.4".parse().unwrap()), "RESOLVED 1 0 1.2.3.4\n"),
        (Target::Address("::1".parse().unwrap()), "RESOLVED 1 0 ::1\n"),
        (
            Target::Host("www.example.com".to_owned()),
            "RESOLVED 1 0 www.example.com\n",
        ),
    ] {
        let query = QueryId(1);
        assert_eq!(Reply::Resolved { query, target }.to_string(), expected);
    }
    for (failure, expected) in [
        (
            Failure::NotRegistered,
            "RESOLVED 5 3 \"a.bit.onion is not registered\"\n",
        ),
        (
            Failure::NoTarget,
            "RESOLVED 5 3 \"a.bit.onion has nothing to connect to\"\n",
        ),
        (
            Failure::NotHandled,
            "RESOLVED 5 2 \"a.bit.onion is not a Namecoin domain\"\n",
        ),
        (Failure::Invalid, "RESOLVED 5 1 \"Server failure\"\n"),
        (Failure::Broken, "RESOLVED 5 1 \"Server failure\"\n"),
        (Failure::Timeout, "RESOLVED 5 4 \"Timeout\"\n"),
        (Failure::Unavailable, "RESOLVED 5 1 \"Server failure\"\n"),
    ] {
        assert_eq!(failed(5, failure, "a.bit.onion"), expected);
    }
    assert_eq!(
        failed(1, Failure::NotRegistered, "A.Bit."),
        "RESOLVED 1 3 \"A.Bit. is not registered\"\n"
    );
}

#[test]
fn nothing_that_is_asked_or_complained_of_ends_a_line() {
    for name in [
        "a\"b.bit",
        "a\\.bit",
        "é.bit",
        "..",
        "-",
        "a/b",
        "*",
        "[::1]",
        "\u{1b}[0m",
    ] {
        let line = failed(1, Failure::NotRegistered, name);
        assert_eq!(line, "RESOLVED 1 3 \"The name is not registered\"\n", "{name:?}");
    }
    for host in ["", "a b", "a\nRESOLVED 2 0 evil", "a\r", "A"] {
        let reply = Reply::Resolved {
            query: QueryId(1),
            target: Target::Host(host.to_owned()),
        };
        assert_eq!(reply.to_string(), "RESOLVED 1 1 \"Server failure\"\n", "{host:?}");
    }
    let message = "a\nRESOLVED 1 0 evil\r\0\"\\é".to_owned();
    assert_eq!(Reply::Unready(message).to_string(), "INIT 1 1 \"aRESOLVED 1 0 evil\"\n");
    let long = Reply::Unready("a".repeat(MAX_LINE)).to_string();
    assert!(long.len() < 2 * MAX_MESSAGE);
}

#[test]
fn nothing_shows_who_asks_for_what() {
    let asked = Asked::read(&whole("RESOLVE 1 secret.bit secretly"));
    let said = Said::read(&whole("RESOLVED 1 0 secret.onion"));
    let request = Request::Resolve {
        query: QueryId(1),
        name: word("secret.bit"),
        id: Some(word("secretly")),
    };
    let reply = Reply::Resolved {
        query: QueryId(1),
        target: Target::Host("secret.example".to_owned()),
    };
    let failed = Reply::Failed {
        query: QueryId(1),
        failure: Failure::NotRegistered,
        name: Some(word("secret.bit")),
    };
    assert!(!format!("{asked:?} {said:?} {request:?} {reply:?} {failed:?}").contains("secret"));
}

fn targets() -> impl Strategy<Value = Target> {
    prop_oneof![
        Just(Target::Onion(OnionName::parse(ONION).unwrap())),
        any::<std::net::IpAddr>().prop_map(Target::Address),
        "[a-z]{1,60}(\\.[a-z0-9]{1,10}){0,9}".prop_map(Target::Host),
    ]
}

proptest! {
    #[test]
    fn requests_round_trip(query: i64, name in "\\PC{1,80}", id in proptest::option::of("\\PC{1,80}")) {
        let id = id.and_then(|id| Word::new(&id));
        prop_assume!(Word::new(&name).is_some());
        let request = Request::Resolve { query: QueryId(query), name: word(&name), id: id.clone() };
        let expected = resolve(query, &name, id.as_ref().map(Word::as_str));
        prop_assert_eq!(Asked::read(&sent(&request.to_string())), expected);
        let request = Request::Cancel(QueryId(query));
        prop_assert_eq!(Asked::read(&sent(&request.to_string())), Asked::Cancel(QueryId(query)));
    }

    #[test]
    fn replies_round_trip(query: i64, target in targets()) {
        let expected = Said::Resolved(QueryId(query), word(&target.to_string()));
        let reply = Reply::Resolved { query: QueryId(query), target };
        prop_assert_eq!(Said::read(&sent(&reply.to_string())), expected);
        let reply = Reply::Canceled(QueryId(query));
        prop_assert_eq!(Said::read(&sent(&reply.to_string())), Said::Canceled(QueryId(query)));
    }

    #[test]
    fn failures_are_one_line_whatever_was_asked(query: i64, name: String, which in 0..FAILURES.len()) {
        let (failure, status) = FAILURES[which];
        let line = failed(query, failure, &name);
        prop_assert_eq!(Said::read(&sent(&line)), Said::Failed(QueryId(query), status));
    }

    #[test]
    fn complaints_are_one_line(message: String) {
        prop_assert_eq!(Said::read(&sent(&Reply::Unready(message).to_string())), Said::Unready);
    }

    #[test]
    fn any_bytes_are_read(bytes: Vec<u8>, keyword in 0_usize..6, whole: bool) {
        let keywords = ["INIT", "RESOLVE", "RESOLVED", "CANCEL", "CANCELED", ""];
        let bytes = [keywords[keyword].as_bytes(), b" ", &bytes].concat();
        let line = if whole { Line::Whole(bytes) } else { Line::Overlong(bytes) };
        let _ = (Asked::read(&line), Said::read(&line));
    }
}

//! Lines say the same to who reads them as to who wrote them, and nothing in them ends them.

use proptest::prelude::*;

use super::super::line_decoder::{LineDecoder, MAX_LINE};
use super::*;
use crate::net::onion::OnionName;

const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

const FAILURES: [(Failure, ReplyStatus); 7] = [
    (Failure::NotRegistered, ReplyStatus::NotRegistered),
    (Failure::NoTarget, ReplyStatus::NotRegistered),
    (Failure::NotHandled, ReplyStatus::NotHandled),
    (Failure::Invalid, ReplyStatus::NotRegistered),
    (Failure::Broken, ReplyStatus::NotRegistered),
    (Failure::Timeout, ReplyStatus::Timeout),
    (Failure::Unavailable, ReplyStatus::Generic),
];

fn whole(text: &str) -> PluginLine {
    PluginLine::Whole(text.as_bytes().to_vec())
}

fn word(text: &str) -> Word {
    Word::new(text).unwrap()
}

fn resolve(query: i64, name: &str, id: Option<&str>) -> PluginQuery {
    PluginQuery::Resolve {
        query: QueryId(query),
        name: word(name),
        id: id.map(|id| IsolationId::new(id.as_bytes()).unwrap()),
    }
}

fn failed(query: i64, failure: Failure, name: &str) -> String {
    let name = Word::new(name);
    OutgoingReply::Failed {
        query: QueryId(query),
        failure,
        name,
    }
    .to_string()
}

/// Cuts what was written into its only line.
fn sent(text: &str) -> PluginLine {
    let mut lines = LineDecoder::default().decode(text.as_bytes());
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
        ("CANCEL 1", PluginQuery::Cancel(QueryId(1))),
        ("CANCEL 1 2", PluginQuery::Cancel(QueryId(1))),
        ("RESOLVE 1", PluginQuery::Malformed(QueryId(1))),
        ("RESOLVE 1 a.bit\r", PluginQuery::Malformed(QueryId(1))),
        ("RESOLVE 1 a\0.bit", PluginQuery::Malformed(QueryId(1))),
        ("RESOLVE x a.bit", PluginQuery::Ignored),
        ("RESOLVE 9223372036854775808 a.bit", PluginQuery::Ignored),
        ("RESOLVE", PluginQuery::Ignored),
        ("CANCEL", PluginQuery::Ignored),
        ("CANCEL 1\r", PluginQuery::Ignored),
        ("CANCEL x", PluginQuery::Ignored),
        ("resolve 1 a.bit", PluginQuery::Ignored),
        ("RESOLVED 1 0 a.onion", PluginQuery::Ignored),
        ("FUTURE 1 a", PluginQuery::Ignored),
        ("", PluginQuery::Ignored),
        (" \t ", PluginQuery::Ignored),
    ] {
        assert_eq!(PluginQuery::parse(&whole(line)), expected, "{line:?}");
    }
    let line = PluginLine::Whole(b"RESOLVE 1 a\xff.bit".to_vec());
    assert_eq!(PluginQuery::parse(&line), PluginQuery::Malformed(QueryId(1)));
}

#[test]
fn words_that_are_too_long_are_answered() {
    let longest = "i".repeat(IsolationId::MAX_LEN);
    let line = whole(&format!("RESOLVE 1 a.bit {longest}"));
    assert_eq!(PluginQuery::parse(&line), resolve(1, "a.bit", Some(&longest)));
    for line in [format!("RESOLVE 1 a.bit {longest}i"), format!("RESOLVE 1 {longest}i")] {
        assert_eq!(PluginQuery::parse(&whole(&line)), PluginQuery::Malformed(QueryId(1)));
    }
    let overlong = |start: &str| PluginLine::Overlong(start.as_bytes().to_vec());
    for (start, expected) in [
        ("RESOLVE 1 a.bit i", PluginQuery::Malformed(QueryId(1))),
        ("RESOLVE 1 a", PluginQuery::Malformed(QueryId(1))),
        ("RESOLVE 1", PluginQuery::Ignored), // it may go on with more digits
        ("CANCEL 1 a", PluginQuery::Ignored),
        ("", PluginQuery::Ignored),
    ] {
        assert_eq!(PluginQuery::parse(&overlong(start)), expected, "{start}");
    }
    let malformed = PluginReply::Malformed(QueryId(1));
    assert_eq!(PluginReply::parse(&overlong("RESOLVED 1 0 a.onion a")), malformed);
    assert_eq!(PluginReply::parse(&overlong("INIT 1 0 a")), PluginReply::Unready);
    assert_eq!(PluginReply::parse(&overlong("CANCELED 1 a")), PluginReply::Ignored);
}

#[test]
fn replies_are_read() {
    let query = QueryId(1);
    for (line, expected) in [
        ("INIT 1 0", PluginReply::Ready),
        ("INIT 1 0 \"here I am\"", PluginReply::Ready),
        ("INIT 1 1 \"no\"", PluginReply::Unready),
        ("INIT 2 0", PluginReply::Unready),
        ("INIT 1", PluginReply::Unready),
        ("INIT 1 0\r", PluginReply::Unready),
        ("INIT", PluginReply::Unready),
        ("RESOLVED 1 0 a.onion", PluginReply::Resolved(query, word("a.onion"))),
        ("RESOLVED  1\t0  a b", PluginReply::Resolved(query, word("a"))),
        (
            "RESOLVED 1 1 \"Server failure\"",
            PluginReply::Failed(query, ReplyStatus::Generic),
        ),
        ("RESOLVED 1 2", PluginReply::Failed(query, ReplyStatus::NotHandled)),
        (
            "RESOLVED 1 3 \"a.bit",
            PluginReply::Failed(query, ReplyStatus::NotRegistered),
        ),
        ("RESOLVED 1 4", PluginReply::Failed(query, ReplyStatus::Timeout)),
        ("RESOLVED 1 5", PluginReply::Failed(query, ReplyStatus::Unknown)),
        ("RESOLVED 1 -1", PluginReply::Failed(query, ReplyStatus::Unknown)),
        ("RESOLVED 1 0", PluginReply::Malformed(query)),
        ("RESOLVED 1 0 a\r", PluginReply::Malformed(query)),
        ("RESOLVED 1 x a", PluginReply::Malformed(query)),
        ("RESOLVED 1", PluginReply::Malformed(query)),
        ("RESOLVED x 0 a", PluginReply::Ignored),
        ("RESOLVED", PluginReply::Ignored),
        ("CANCELED 1", PluginReply::Canceled(query)),
        ("CANCELED", PluginReply::Ignored),
        ("CANCELLED 1", PluginReply::Ignored),
        ("", PluginReply::Ignored),
        ("  ", PluginReply::Ignored),
    ] {
        assert_eq!(PluginReply::parse(&whole(line)), expected, "{line:?}");
    }
}

#[test]
fn replies_are_written_as_ncprop279_does() {
    assert_eq!(OutgoingReply::Ready.to_string(), "INIT 1 0\n");
    assert_eq!(OutgoingReply::Canceled(QueryId(-3)).to_string(), "CANCELED -3\n");
    for (target, expected) in [
        (Target::Address("1.2.3.4".parse().unwrap()), "RESOLVED 1 0 1.2.3.4\n"),
        (Target::Address("::1".parse().unwrap()), "RESOLVED 1 0 ::1\n"),
        (
            Target::Host("www.example.com".to_owned()),
            "RESOLVED 1 0 www.example.com\n",
        ),
    ] {
        let query = QueryId(1);
        assert_eq!(OutgoingReply::Resolved { query, target }.to_string(), expected);
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
        (
            Failure::Invalid,
            "RESOLVED 5 3 \"a.bit.onion is no valid domain name\"\n",
        ),
        (
            Failure::Broken,
            "RESOLVED 5 3 \"a.bit.onion has a value that cannot be used\"\n",
        ),
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
        let reply = OutgoingReply::Resolved {
            query: QueryId(1),
            target: Target::Host(host.to_owned()),
        };
        let unusable = "RESOLVED 1 3 \"The name has a value that cannot be used\"\n";
        assert_eq!(reply.to_string(), unusable, "{host:?}");
    }
    let message = "a\nRESOLVED 1 0 evil\r\0\"\\é".to_owned();
    assert_eq!(
        OutgoingReply::Unready(message).to_string(),
        "INIT 1 1 \"aRESOLVED 1 0 evil\"\n"
    );
    let long = OutgoingReply::Unready("a".repeat(MAX_LINE)).to_string();
    assert!(long.len() < 2 * MAX_MESSAGE);
}

#[test]
fn nothing_shows_who_asks_for_what() {
    let asked = PluginQuery::parse(&whole("RESOLVE 1 secret.bit secretly"));
    let said = PluginReply::parse(&whole("RESOLVED 1 0 secret.onion"));
    let request = OutgoingQuery::Resolve {
        query: QueryId(1),
        name: word("secret.bit"),
        id: Some(word("secretly")),
    };
    let reply = OutgoingReply::Resolved {
        query: QueryId(1),
        target: Target::Host("secret.example".to_owned()),
    };
    let failed = OutgoingReply::Failed {
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
        let request = OutgoingQuery::Resolve { query: QueryId(query), name: word(&name), id: id.clone() };
        let expected = resolve(query, &name, id.as_ref().map(Word::as_str));
        prop_assert_eq!(PluginQuery::parse(&sent(&request.to_string())), expected);
        let request = OutgoingQuery::Cancel(QueryId(query));
        prop_assert_eq!(PluginQuery::parse(&sent(&request.to_string())), PluginQuery::Cancel(QueryId(query)));
    }

    #[test]
    fn replies_round_trip(query: i64, target in targets()) {
        let expected = PluginReply::Resolved(QueryId(query), word(&target.to_string()));
        let reply = OutgoingReply::Resolved { query: QueryId(query), target };
        prop_assert_eq!(PluginReply::parse(&sent(&reply.to_string())), expected);
        let reply = OutgoingReply::Canceled(QueryId(query));
        prop_assert_eq!(PluginReply::parse(&sent(&reply.to_string())), PluginReply::Canceled(QueryId(query)));
    }

    #[test]
    fn failures_are_one_line_whatever_was_asked(query: i64, name: String, which in 0..FAILURES.len()) {
        let (failure, status) = FAILURES[which];
        let line = failed(query, failure, &name);
        prop_assert_eq!(PluginReply::parse(&sent(&line)), PluginReply::Failed(QueryId(query), status));
    }

    #[test]
    fn complaints_are_one_line(message: String) {
        prop_assert_eq!(PluginReply::parse(&sent(&OutgoingReply::Unready(message).to_string())), PluginReply::Unready);
    }

    #[test]
    fn any_bytes_are_read(bytes: Vec<u8>, keyword in 0_usize..6, whole: bool) {
        let keywords = ["INIT", "RESOLVE", "RESOLVED", "CANCEL", "CANCELED", ""];
        let bytes = [keywords[keyword].as_bytes(), b" ", &bytes].concat();
        let line = if whole { PluginLine::Whole(bytes) } else { PluginLine::Overlong(bytes) };
        let _ = (PluginQuery::parse(&line), PluginReply::parse(&line));
    }
}

//! What is read of queries, and what of them is refused.

use super::*;

#[test]
fn a_query_is_read() {
    let query = query_of(&message("Www.Example.bit."));
    assert!(query.question.name.eq_case(&name("Www.Example.bit.")));
    assert!(query.question.lower.eq_case(&name("www.example.bit.")));
    assert_eq!(
        (query.question.kind, query.question.class),
        (RecordType::A, DNSClass::IN)
    );
    assert_eq!((query.edns, query.isolation_id.as_ref()), (None, None));
    assert!(!query.wants_dnssec() && !query.takes_compact());
}

#[test]
fn nothing_that_is_no_query_is_answered() {
    let whole = bytes_of(&message("example.bit."));
    for length in 0..12 {
        assert!(matches!(read(&whole[..length]), Incoming::Ignored), "{length}");
    }
    let mut response = message("example.bit.");
    response.metadata.message_type = MessageType::Response;
    assert!(matches!(read(&bytes_of(&response)), Incoming::Ignored));
    response.metadata.op_code = OpCode::Update;
    assert!(matches!(read(&bytes_of(&response)), Incoming::Ignored));
}

#[test]
fn other_opcodes_are_not_implemented() {
    for code in 1..16 {
        let mut query = message("example.bit.");
        query.metadata.op_code = OpCode::from_u8(code);
        (query.metadata.recursion_desired, query.metadata.checking_disabled) = (true, true);
        let reply = refusal(&bytes_of(&query));
        assert_eq!(
            (reply.metadata.response_code, reply.metadata.id),
            (ResponseCode::NotImp, 0x1234)
        );
        assert_eq!(
            (u8::from(reply.metadata.op_code), reply.metadata.message_type),
            (code, MessageType::Response)
        );
        assert_eq!(
            bytes_of(&reply)[2..4],
            [0x80 | code << 3, 4],
            "no flag but that it is a response"
        );
    }
}

#[test]
fn other_counts_of_questions_are_malformed() {
    for count in [0_u16, 2, 65535] {
        let mut bytes = bytes_of(&message("example.bit."));
        bytes[4..6].copy_from_slice(&count.to_be_bytes());
        let reply = refusal(&bytes);
        assert_eq!(
            (reply.metadata.response_code, reply.metadata.id),
            (ResponseCode::FormErr, 0x1234),
            "{count}"
        );
    }
    let mut two = message("example.bit.");
    two.queries.push(two.queries[0].clone());
    assert_eq!(refusal(&bytes_of(&two)).metadata.response_code, ResponseCode::FormErr);
}

#[test]
fn what_can_not_be_decoded_is_malformed() {
    let whole = bytes_of(&with_edns(1232, &[(ISOLATION_OPTION, b"id")]));
    for length in 12..whole.len() {
        assert_eq!(
            refusal(&whole[..length]).metadata.response_code,
            ResponseCode::FormErr,
            "{length}"
        );
    }
    let plain = bytes_of(&message("a.bit."));
    let with_name = |labels: &[u8]| [&plain[..12], labels, &[0, 1, 0, 1]].concat();
    for (what, labels) in [
        ("a pointer to itself", &b"\xc0\x0c"[..]),
        ("a pointer ahead", b"\xc0\x0e\x00"),
        ("a label and a pointer to it", b"\x01a\xc0\x0c"),
        ("a pointer beyond the end", b"\xff\xff"),
        ("a label of a type that there is not", b"\x80a\x00"),
    ] {
        assert_eq!(
            refusal(&with_name(labels)).metadata.response_code,
            ResponseCode::FormErr,
            "{what}"
        );
    }
    let long: Vec<u8> = [[63].as_slice(), &[b'a'; 63]].concat().repeat(4);
    assert_eq!(
        refusal(&with_name(&[&long[..], &[0]].concat())).metadata.response_code,
        ResponseCode::FormErr
    );
    // Counts of records that aren't there.
    for at in [6, 8, 10] {
        let mut bytes = plain.clone();
        bytes[at..at + 2].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(refusal(&bytes).metadata.response_code, ResponseCode::FormErr);
    }
}

#[test]
fn bytes_behind_the_message_are_no_matter() {
    let bytes = [bytes_of(&message("example.bit.")), vec![0xff; 20]].concat();
    assert!(matches!(read(&bytes), Incoming::Query(_)));
}

/// Appends another additional record to a message.
fn with_additional(message: &Message, record: &[u8]) -> Vec<u8> {
    let mut bytes = bytes_of(message);
    bytes[11] += 1;
    [bytes.as_slice(), record].concat()
}

#[test]
fn two_opt_records_are_malformed() {
    let opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
    let one = with_additional(&message("example.bit."), &opt);
    assert!(matches!(read(&one), Incoming::Query(query) if query.edns.is_some()));
    let two = with_additional(&with_edns(1232, &[]), &opt);
    assert_eq!(refusal(&two).metadata.response_code, ResponseCode::FormErr);
}

/// hickory-proto drops all options where the last does not fit: the query had no isolation ID any more and was answered
/// as one of the default identity.
#[test]
fn an_isolation_id_is_not_lost_to_malformed_options() {
    let whole: &[u8] = &[0xff, 0x20, 0, 2, b'i', b'd'];
    for behind in [
        &b""[..],
        &[0],
        &[0, 10],
        &[0, 10, 0],
        &[0, 10, 0, 1],
        &[0xff, 0x20, 0, 5, b'o', b't', b'h'],
    ] {
        let data = [whole, behind].concat();
        let length = u8::try_from(data.len()).unwrap();
        let opt = [&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, length], data.as_slice()].concat();
        let read = read(&with_additional(&message("example.bit."), &opt));
        match read {
            Incoming::Query(query) => {
                assert!(behind.is_empty(), "{behind:?}");
                assert_eq!(query.isolation_id, IsolationId::new(b"id"));
            }
            Incoming::Refused(reply) => {
                assert!(!behind.is_empty());
                assert_eq!(decoded(&reply).metadata.response_code, ResponseCode::FormErr);
            }
            Incoming::Ignored => panic!("ignored"),
        }
    }
}

#[test]
fn the_last_isolation_id_counts_and_an_empty_one_is_none() {
    let id = |bytes: &[u8]| IsolationId::new(bytes);
    let ours = ISOLATION_OPTION;
    assert_eq!(id_of(&[]), None);
    assert_eq!(id_of(&[(ours, b"")]), None);
    assert_eq!(id_of(&[(ours, b"one")]), id(b"one"));
    assert_eq!(id_of(&[(ours, b"one"), (ours, b"two")]), id(b"two"));
    assert_eq!(id_of(&[(ours, b"one"), (10, b"12345678"), (65001, b"x")]), id(b"one"));
    assert_eq!(id_of(&[(ours, b"one"), (ours, b"")]), None);
    assert_eq!(id_of(&[(ours, b"\0\xff\n")]), id(b"\0\xff\n"));
    assert_eq!(id_of(&[(ours, &[7; 1024])]), id(&[7; 1024]));
}

#[test]
fn an_isolation_id_that_is_too_long_is_refused_and_not_cut() {
    let reply = refusal(&bytes_of(&with_edns(1232, &[(ISOLATION_OPTION, &[7; 1025])])));
    assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
    let edns = reply.edns.unwrap();
    assert!(
        matches!(edns.option(EdnsCode::Unknown(15)), Some(EdnsOption::Unknown(_, data)) if data.starts_with(&[0, 0]))
    );
    assert_eq!(edns.option(EdnsCode::Unknown(ISOLATION_OPTION)), None);
}

#[test]
fn other_versions_of_edns_are_refused() {
    for version in [1, 255] {
        let mut asked = with_edns(1232, &[(ISOLATION_OPTION, b"id")]);
        asked.edns.as_mut().unwrap().set_version(version);
        let reply = refusal(&bytes_of(&asked));
        // hickory-proto reads the number as BADSIG, which it is in messages with TSIG.
        assert_eq!(u16::from(reply.metadata.response_code), 16);
        assert_eq!(reply.edns.unwrap().version(), 0);
        assert_eq!(reply.queries, asked.queries);
    }
}

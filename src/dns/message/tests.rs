use std::net::Ipv4Addr;

use hickory_proto::rr::rdata::{A, NS, SOA, TXT};
use hickory_proto::rr::{DNSClass, RecordType};
use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn message(text: &str) -> Message {
    let mut message = Message::query();
    message.metadata.id = 0x1234;
    message.metadata.recursion_desired = true;
    message.queries.push(op::Query::query(name(text), RecordType::A));
    message
}

fn with_edns(payload: u16, options: &[(u16, &[u8])]) -> Message {
    let mut message = message("Www.example.bit.");
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    for (code, bytes) in options {
        edns.options_mut().insert(EdnsOption::Unknown(*code, bytes.to_vec()));
    }
    message.edns = Some(edns);
    message
}

fn bytes_of(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap()
}

fn query_of(message: &Message) -> Query {
    match read(&bytes_of(message)) {
        Incoming::Query(query) => *query,
        other => panic!("{other:?}"),
    }
}

fn refusal(bytes: &[u8]) -> Message {
    match read(bytes) {
        Incoming::Refused(reply) => decoded(&reply),
        other => panic!("{other:?}"),
    }
}

fn decoded(bytes: &[u8]) -> Message {
    Message::from_vec(bytes).unwrap()
}

fn id_of(options: &[(u16, &[u8])]) -> Option<IsolationId> {
    query_of(&with_edns(1232, options)).isolation_id
}

fn address(owner: &str, number: u16) -> Record {
    let [high, low] = number.to_be_bytes();
    Record::from_rdata(name(owner), 600, RData::A(A(Ipv4Addr::new(192, 0, high, low))))
}

fn addresses(owner: &str, count: u16) -> Vec<Record> {
    (0..count).map(|number| address(owner, number)).collect()
}

fn nameserver(cut: &str, target: &str) -> Record {
    Record::from_rdata(name(cut), 600, RData::NS(NS(name(target))))
}

fn answer(answers: Vec<Record>) -> Reply {
    Reply {
        authoritative: true,
        answers,
        ..Reply::bare(ResponseCode::NoError)
    }
}

fn written(query: &Message, reply: &Reply, transport: Transport) -> (usize, Message) {
    let bytes = write(&query_of(query), reply, transport, false);
    (bytes.len(), decoded(&bytes))
}

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
fn a_reply_repeats_the_question_and_asks_for_nothing() {
    let mut asked = message("Www.Example.bit.");
    asked.metadata.checking_disabled = true;
    asked.metadata.authentic_data = true;
    let (_, reply) = written(&asked, &answer(addresses("Www.Example.bit.", 1)), Transport::Udp);
    let metadata = reply.metadata;
    assert_eq!(
        (metadata.id, metadata.message_type, metadata.op_code),
        (0x1234, MessageType::Response, OpCode::Query)
    );
    assert!(metadata.recursion_desired && metadata.authoritative && metadata.checking_disabled);
    assert!(!metadata.recursion_available && !metadata.truncation && !metadata.authentic_data);
    assert_eq!(reply.queries.len(), 1);
    assert!(reply.queries[0].name().eq_case(&name("Www.Example.bit.")));
    assert!(reply.answers[0].name.eq_case(&name("Www.Example.bit.")));
    assert_eq!(reply.edns, None);
}

#[test]
fn ttls_are_capped_by_the_life_of_the_reply() {
    let mut reply = answer(addresses("example.bit.", 1));
    reply.authorities = vec![nameserver("example.bit.", "a.example.bit.")];
    reply.additionals = addresses("a.example.bit.", 1);
    reply.additionals[0].ttl = 5;
    for (life, expected) in [(0, [0, 0, 0]), (7, [7, 7, 5]), (u32::MAX, [600, 600, 5])] {
        reply.life = life;
        let (_, message) = written(&message("example.bit."), &reply, Transport::Udp);
        let ttls: Vec<u32> = message.all_sections().map(|record| record.ttl).collect();
        assert_eq!(ttls, expected);
    }
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
        let reply = refusal(&bytes_of(&query));
        assert_eq!(
            (reply.metadata.response_code, reply.metadata.id),
            (ResponseCode::NotImp, 0x1234)
        );
        assert_eq!(
            (u8::from(reply.metadata.op_code), reply.metadata.message_type),
            (code, MessageType::Response)
        );
        assert!(reply.metadata.recursion_desired && !reply.metadata.authoritative);
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
fn edns_is_answered_with_our_own() {
    let mut asked = with_edns(4096, &[(10, b"12345678"), (ISOLATION_OPTION, b"id"), (65001, b"other")]);
    let (_, reply) = written(&asked, &answer(Vec::new()), Transport::Udp);
    let edns = reply.edns.unwrap();
    assert_eq!(
        (edns.version(), edns.max_payload(), u16::from(*edns.flags())),
        (0, MAX_UDP, 0)
    );
    assert!(edns.options().as_ref().is_empty(), "nothing is echoed");
    for (flags, expected) in [
        (0x8000, 0x8000),
        (0x4000, 0x4000),
        (0xc000, 0xc000),
        (0xffff, 0xc000),
        (0x3fff, 0),
    ] {
        *asked.edns.as_mut().unwrap().flags_mut() = flags.into();
        let query = query_of(&asked);
        assert_eq!(
            (query.wants_dnssec(), query.takes_compact()),
            (flags & 0x8000 != 0, flags & 0x4000 != 0)
        );
        let (_, reply) = written(&asked, &answer(Vec::new()), Transport::Udp);
        assert_eq!(u16::from(*reply.edns.unwrap().flags()), expected);
    }
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

#[test]
fn an_isolation_id_is_given_back_only_if_wanted() {
    let query = query_of(&with_edns(1232, &[(ISOLATION_OPTION, b"id")]));
    let reply = decoded(&write(&query, &answer(Vec::new()), Transport::Udp, true));
    let id = EdnsOption::Unknown(ISOLATION_OPTION, b"id".to_vec());
    assert_eq!(
        reply.edns.unwrap().options().as_ref(),
        [(EdnsCode::Unknown(ISOLATION_OPTION), id)]
    );
    // There is none to give back.
    let query = query_of(&with_edns(1232, &[]));
    let reply = decoded(&write(&query, &answer(Vec::new()), Transport::Udp, true));
    assert!(reply.edns.unwrap().options().as_ref().is_empty());
}

/// Once such a query got SERVFAIL.
#[test]
fn an_isolation_id_that_does_not_fit_is_not_given_back() {
    let query = query_of(&with_edns(512, &[(ISOLATION_OPTION, &[7; 1000])]));
    let reply = answer(addresses("www.example.bit.", 1));
    let bytes = write(&query, &reply, Transport::Udp, true);
    assert!(bytes.len() <= 512);
    let message = decoded(&bytes);
    assert_eq!(
        (message.metadata.response_code, message.metadata.truncation),
        (ResponseCode::NoError, true)
    );
    assert!(message.edns.is_some_and(|edns| edns.options().as_ref().is_empty()));
    let whole = decoded(&write(&query, &reply, Transport::Tcp, true));
    assert_eq!((whole.answers.len(), whole.metadata.truncation), (1, false));
}

#[test]
fn reasons_are_told_to_who_has_edns() {
    use Note::{
        Busy, Expired, IdTooLong, Lied, NoBackend, NoProxy, NotFinal, NotOurs, NotSynchronised, Timeout, Unreadable,
    };
    let reply = Reply::noted(ResponseCode::ServFail, NotSynchronised);
    let (_, without) = written(&message("example.bit."), &reply, Transport::Udp);
    assert_eq!(
        (without.edns, without.metadata.response_code),
        (None, ResponseCode::ServFail)
    );
    for (note, expected) in [
        (Expired, 0),
        (NotFinal, 0),
        (Unreadable, 24),
        (NotSynchronised, 14),
        (NoProxy, 23),
        (NoBackend, 23),
        (Timeout, 22),
        (Lied, 22),
        (Busy, 0),
        (IdTooLong, 0),
        (NotOurs, 20),
    ] {
        let (_, message) = written(
            &with_edns(1232, &[]),
            &Reply::noted(ResponseCode::ServFail, note),
            Transport::Udp,
        );
        let edns = message.edns.unwrap();
        let Some(EdnsOption::Unknown(15, data)) = edns.option(EdnsCode::Unknown(15)) else {
            panic!("{note:?}")
        };
        let (code, text) = data.split_at(2);
        assert_eq!(code, u16::to_be_bytes(expected), "{note:?}");
        assert_eq!(text, note.code_and_text().1.as_bytes());
    }
}

#[test]
fn replies_over_udp_keep_to_the_size_that_the_client_takes() {
    let plain = || message("www.example.bit.");
    // An A record behind a pointer is 16 bytes; header and question are 33, OPT is 11.
    for (asked, limit, fitting) in [
        (plain(), 512, 29),
        (with_edns(0, &[]), 512, 29),
        (with_edns(512, &[]), 512, 29),
        (with_edns(1000, &[]), 1000, 59),
        (with_edns(1232, &[]), 1232, 74),
        (with_edns(65535, &[]), 1232, 74),
    ] {
        let (length, whole) = written(&asked, &answer(addresses("www.example.bit.", fitting)), Transport::Udp);
        assert!(length <= limit && length + 16 > limit, "{length}");
        assert_eq!(
            (whole.answers.len(), whole.metadata.truncation),
            (usize::from(fitting), false)
        );
        let (length, cut) = written(
            &asked,
            &answer(addresses("www.example.bit.", fitting + 1)),
            Transport::Udp,
        );
        assert!(length <= limit);
        assert_eq!((cut.answers.len(), cut.metadata.truncation), (0, true));
        assert_eq!((cut.metadata.authoritative, cut.queries.len()), (true, 1));
        assert_eq!(cut.edns.is_some(), asked.edns.is_some());
    }
}

#[test]
fn replies_over_tcp_are_whole() {
    let (length, whole) = written(
        &message("www.example.bit."),
        &answer(addresses("www.example.bit.", 2000)),
        Transport::Tcp,
    );
    assert!(length > 32_000);
    assert_eq!((whole.answers.len(), whole.metadata.truncation), (2000, false));
}

#[test]
fn what_no_message_holds_is_cut_over_tcp_too() {
    let (length, cut) = written(
        &with_edns(512, &[]),
        &answer(addresses("www.example.bit.", 5000)),
        Transport::Tcp,
    );
    assert!(length <= 65535);
    assert!(cut.metadata.truncation);
}

#[test]
fn glue_goes_first_and_is_missed_only_below_the_cut() {
    let cut = "sub.example.bit.";
    let referral = |servers: &[&str], glue: Vec<Record>| Reply {
        authorities: servers.iter().map(|target| nameserver(cut, target)).collect(),
        additionals: glue,
        ..Reply::bare(ResponseCode::NoError)
    };
    let asked = message("www.sub.example.bit.");
    let few = referral(&["ns.sub.example.bit."], addresses("ns.sub.example.bit.", 3));
    let (_, message) = written(&asked, &few, Transport::Udp);
    assert_eq!((message.additionals.len(), message.metadata.truncation), (3, false));

    let elsewhere = referral(&["ns.other.bit."], addresses("ns.other.bit.", 40));
    let (_, message) = written(&asked, &elsewhere, Transport::Udp);
    assert_eq!((message.authorities.len(), message.additionals.len()), (1, 0));
    assert!(!message.metadata.truncation && !message.metadata.authoritative);

    // RFC 9471 section 3.1.
    for glue in ["ns.sub.example.bit.", "NS.SUB.example.bit.", "sub.example.bit."] {
        let below = referral(&[glue], addresses(glue, 40));
        let (_, message) = written(&asked, &below, Transport::Udp);
        assert_eq!((message.authorities.len(), message.additionals.len()), (1, 0));
        assert!(message.metadata.truncation, "{glue}");
        let (_, whole) = written(&asked, &below, Transport::Tcp);
        assert_eq!((whole.additionals.len(), whole.metadata.truncation), (40, false));
    }

    let targets: Vec<String> = (0..60).map(|number| format!("ns{number}.example.com.")).collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let (_, message) = written(&asked, &referral(&targets, Vec::new()), Transport::Udp);
    assert_eq!((message.authorities.len(), message.metadata.truncation), (0, true));
}

/// Once such a reply was said to be truncated, over TCP too.
#[test]
fn a_record_that_can_not_be_written_is_a_failure() {
    let text = RData::TXT(TXT::from_bytes(vec![&[b'a'; 300]]));
    let reply = answer(vec![Record::from_rdata(name("www.example.bit."), 600, text)]);
    for transport in [Transport::Udp, Transport::Tcp] {
        for asked in [message("www.example.bit."), with_edns(1232, &[])] {
            let (_, message) = written(&asked, &reply, transport);
            assert_eq!(message.metadata.response_code, ResponseCode::ServFail);
            assert!(!message.metadata.truncation && !message.metadata.authoritative);
            assert_eq!(
                (message.queries.len(), message.edns.is_some()),
                (1, asked.edns.is_some())
            );
        }
    }
}

fn names() -> impl Strategy<Value = Name> {
    let label = prop::collection::vec(any::<u8>(), 1..30);
    prop::collection::vec(label, 0..7).prop_map(|labels| Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap())
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let data = prop_oneof![
        any::<Ipv4Addr>().prop_map(|address| RData::A(A(address))),
        names().prop_map(|target| RData::NS(NS(target))),
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..256), 1..3).prop_map(|strings| {
            let strings = strings.iter().map(Vec::as_slice).collect();
            RData::TXT(TXT::from_bytes(strings))
        }),
        (names(), names()).prop_map(|(server, mailbox)| RData::SOA(SOA::new(server, mailbox, 1, 2, 3, 4, 5))),
    ];
    let record = (names(), any::<u32>(), data).prop_map(|(owner, ttl, data)| Record::from_rdata(owner, ttl, data));
    prop::collection::vec(record, 0..12)
}

proptest! {
    #[test]
    fn replies_are_decoded_as_they_were_meant(
        asked in names(),
        sections in prop::array::uniform3(records()),
        life in prop_oneof![Just(u32::MAX), any::<u32>()],
        payload in prop::option::of(any::<u16>()),
        id in prop::collection::vec(any::<u8>(), 0..1024),
        tcp in any::<bool>(),
        echo in any::<bool>(),
    ) {
        let mut request = Message::query();
        request.queries.push(op::Query::query(asked, RecordType::A));
        request.edns = payload.map(|payload| {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            edns.options_mut().insert(EdnsOption::Unknown(ISOLATION_OPTION, id));
            edns
        });
        let query = query_of(&request);
        let [answers, authorities, additionals] = sections;
        let reply = Reply { answers, authorities, additionals, life, ..Reply::bare(ResponseCode::NXDomain) };
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let bytes = write(&query, &reply, transport, echo);
        let limit = match payload {
            _ if tcp => 65535,
            Some(payload) => usize::from(payload).clamp(512, 1232),
            None => 512,
        };
        prop_assert!(bytes.len() <= limit);
        let message = decoded(&bytes);
        prop_assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
        prop_assert_eq!(&message.queries, &request.queries);
        prop_assert_eq!(message.edns.is_some(), payload.is_some());
        if message.metadata.truncation {
            prop_assert!(!tcp && message.additionals.is_empty());
        } else {
            prop_assert_eq!(&message.answers, &reply.answers);
            prop_assert_eq!(&message.authorities, &reply.authorities);
            prop_assert!(message.additionals.is_empty() || message.additionals == reply.additionals);
            prop_assert!(message.all_sections().all(|record| record.ttl <= life));
        }
    }

    #[test]
    fn any_bytes_are_read(mut bytes in prop::collection::vec(any::<u8>(), 0..200), as_query in any::<bool>()) {
        if as_query && bytes.len() > 12 {
            bytes[2] &= 1;
            let additionals = bytes[11] & 1;
            bytes[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, additionals]);
        }
        match read(&bytes) {
            Incoming::Query(query) => {
                let reply = write(&query, &answer(addresses("example.bit.", 100)), Transport::Udp, true);
                prop_assert!(reply.len() <= 1232);
                prop_assert_eq!(&reply[..2], &bytes[..2]);
            }
            Incoming::Refused(reply) => {
                prop_assert!(reply.len() <= 1232);
                prop_assert_eq!(&reply[..2], &bytes[..2]);
                prop_assert!(reply[2] & 0x80 != 0);
            }
            Incoming::Ignored => {}
        }
    }
}

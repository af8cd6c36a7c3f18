//! What is written, and what is cut.

use super::*;

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
    use ExtendedError::{
        BackendNonsense, Busy, Expired, IdTooLong, Lied, NoBackend, NoProxy, NotFinal, NotOurs, NotSynchronised,
        Sprawling, Timeout, Unreadable,
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
        (BackendNonsense, 23),
        (Timeout, 22),
        (Lied, 22),
        (Busy, 0),
        (Sprawling, 24),
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

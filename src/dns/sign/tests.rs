use std::collections::BTreeSet;
use std::sync::Arc;

use RecordType::{A, ANY, CNAME, DNSKEY, DS, MX, NS, NSEC, RRSIG as RRSIG_TYPE, SOA, TXT};
use ResponseCode::{FormErr, NXDomain, NoError};
use hickory_proto::dnssec::Verifier as _;
use hickory_proto::dnssec::rdata::{DNSSECRData, RRSIG};
use hickory_proto::op::{self, Edns, Message};
use hickory_proto::rr::DNSClass;
use serde_json::{Value, json};

use super::*;
use crate::dns::dnssec::denial::COMPACT_OK;
use crate::dns::dnssec::{KeyAlgorithm, Keys};
use crate::dns::engine::{self, ExtendedError, Found, Step};
use crate::dns::message::{self, Incoming};
use crate::dns::zone::{Built, build};
use crate::name::{NameId, NameValue};

const NOW: Timestamp = Timestamp(1_800_001_234);
const DO: u16 = 0x8000;
const DO_CO: u16 = DO | COMPACT_OK;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn signers(algorithm: KeyAlgorithm) -> Signers {
    Signers::new([Signer::new(Keys::generate(&name("bit."), algorithm).unwrap())])
}

fn query(text: &str, kind: RecordType, flags: Option<u16>) -> Query {
    let mut message = Message::query();
    message.queries.push(op::Query::query(name(text), kind));
    message.edns = flags.map(|flags| {
        let mut edns = Edns::new();
        *edns.flags_mut() = flags.into();
        edns
    });
    match message::read(&message.to_vec().unwrap()) {
        Incoming::Query(query) => *query,
        other => panic!("{other:?}"),
    }
}

fn value() -> Value {
    let digest = "AAECAwQFBgcICQoLDA0ODwABAgMEBQYHCAkKCwwNDg8=";
    json!({
        "ip": ["192.0.2.2", "192.0.2.1"], "txt": "text",
        "map": {
            "www": {"alias": "@"},
            "old": {"translate": "example.com."},
            "cut": {"ns": "ns.@", "ds": [[1, 13, 2, digest]]},
            "plain": {"ns": ["ns.plain.@", "ns.example.com."], "map": {"ns": {"ip": "192.0.2.3"}}},
            "ns": {"ip": "192.0.2.4"},
            "empty": {"map": {"deep": {"ip": "192.0.2.5"}}},
            "wild": {"map": {"*": {"txt": "wild"}}}
        }
    })
}

/// Answers from one domain, `x.bit`, as the zone has it that these signers sign.
fn unsigned(query: &Query, signers: &Signers) -> Reply {
    let settings = engine::Settings {
        dnskeys: signers.dnskeys(),
        ..engine::Settings::default()
    };
    let step = engine::answer(&settings, &query.question, |id, apex| {
        match id.as_bytes() {
            b"d/x" => {}
            b"d/failed" => return Found::Failed(ExtendedError::Timeout),
            _ => return Found::Absent(None, 60),
        }
        let value = NameValue::new(value().to_string().as_bytes()).unwrap();
        let name = NameId::new(b"d/x").unwrap();
        match build(&name, &value, apex, &BTreeMap::new()).unwrap() {
            Built::Domain(domain) => Found::Domain(Arc::new(domain), 600),
            Built::Needs(_) => panic!("it imports nothing"),
        }
    });
    match step {
        Step::Reply(reply) => *reply,
        Step::Need(_) => panic!("all is known"),
    }
}

fn signed(query: &Query, signers: &Signers) -> Reply {
    sign(unsigned(query, signers), query, signers, NOW)
}

fn rrsig(record: &Record) -> Option<&RRSIG> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) => Some(rrsig),
        _ => None,
    }
}

/// Verifies what is signed in a section and returns all RRsets, such as `x.bit. A`, with a `!` where one is bare.
fn checked(section: &[Record], signers: &Signers) -> Vec<String> {
    let signer = signers.0.values().next().unwrap();
    let mut seen = BTreeSet::new();
    let mut shown = Vec::new();
    let mut rest = section;
    while let Some(first) = rest.first() {
        let same = |record: &&Record| record.name == first.name && record.record_type() == first.record_type();
        let (rrset, behind) = rest.split_at(rest.iter().take_while(same).count());
        assert!(
            seen.insert((first.name.clone(), first.record_type())),
            "an RRset in two pieces"
        );
        let mut text = format!("{} {}", first.name.to_ascii(), first.record_type());
        rest = behind;
        match behind.split_first() {
            Some((signature, behind)) if rrsig(signature).is_some() => {
                let key = match first.record_type() {
                    RecordType::DNSKEY => signer.keys().ksk(),
                    _ => signer.keys().zsk(),
                };
                let data = rrsig(signature).unwrap();
                let valid = key
                    .dnskey()
                    .verify_rrsig(&signature.name, DNSClass::IN, data, rrset.iter());
                assert!(valid.is_ok(), "{text}");
                assert_eq!(data.input().type_covered, first.record_type());
                assert_eq!((&signature.name, signature.ttl), (&first.name, first.ttl));
                rest = behind;
            }
            _ => text.push('!'),
        }
        shown.push(text);
    }
    shown
}

/// A question, and the code, answer and authority section of its reply.
type Row<'a> = (&'a str, RecordType, ResponseCode, &'a [&'a str], &'a [&'a str]);

fn check(flags: u16, rows: &[Row<'_>]) {
    for algorithm in KeyAlgorithm::ALL {
        let signers = signers(algorithm);
        for (text, kind, code, answers, authorities) in rows {
            let query = query(text, *kind, Some(flags));
            let reply = signed(&query, &signers);
            assert_eq!(reply.code, *code, "{text} {kind}");
            assert_eq!(checked(&reply.answers, &signers), *answers, "{text} {kind}");
            assert_eq!(checked(&reply.authorities, &signers), *authorities, "{text} {kind}");
            assert!(reply.additionals.iter().all(|record| rrsig(record).is_none()));
            // Nothing is lost on the wire.
            let bytes = message::write(&query, &reply, message::Transport::Tcp, false);
            let decoded = Message::from_vec(&bytes).unwrap();
            assert_eq!(decoded.answers, reply.answers, "{text} {kind}");
            assert_eq!(decoded.authorities, reply.authorities, "{text} {kind}");
        }
    }
}

/// Returns the types that the one proof of a reply shows, and its owner.
fn proof(reply: &Reply) -> (String, Vec<RecordType>) {
    let records = reply.answers.iter().chain(&reply.authorities);
    let mut proofs = records.filter_map(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::NSEC(nsec)) => Some((record.name.to_ascii(), nsec.type_set().iter().collect())),
        _ => None,
    });
    let proof = proofs.next().unwrap();
    assert_eq!(proofs.next(), None);
    proof
}

#[test]
fn signatures_of_answers_verify() {
    check(
        DO,
        &[
            ("x.bit.", A, NoError, &["x.bit. A"], &[]),
            ("X.bIt.", A, NoError, &["X.bIt. A"], &[]),
            ("x.bit.", ANY, NoError, &["x.bit. A"], &[]),
            ("www.x.bit.", A, NoError, &["www.x.bit. CNAME"], &[]),
            ("a.wild.x.bit.", TXT, NoError, &["a.wild.x.bit. TXT"], &[]),
            ("*.wild.x.bit.", TXT, NoError, &["*.wild.x.bit. TXT"], &[]),
            ("bit.", SOA, NoError, &["bit. SOA"], &[]),
            ("BIT.", NS, NoError, &["BIT. NS"], &[]),
            ("bit.", DNSKEY, NoError, &["bit. DNSKEY"], &[]),
            ("cut.x.bit.", DS, NoError, &["cut.x.bit. DS"], &[]),
            ("this.x--nmc.bit.", A, NoError, &["this.x--nmc.bit. A"], &[]),
            ("old.x.bit.", RecordType::DNAME, NoError, &["old.x.bit. DNAME"], &[]),
        ],
    );
}

#[test]
fn the_cname_of_a_dname_needs_no_signature() {
    let expected: &[&str] = &["old.x.bit. DNAME", "a.old.x.bit. CNAME!"];
    check(
        DO,
        &[
            ("a.old.x.bit.", A, NoError, expected, &[]),
            ("a.old.x.bit.", CNAME, NoError, expected, &[]),
        ],
    );
}

#[test]
fn what_is_not_there_is_denied() {
    for (text, kind, types) in [
        ("x.bit.", MX, vec![A, TXT, RRSIG_TYPE, NSEC]),
        ("empty.x.bit.", A, vec![RRSIG_TYPE, NSEC]),
        ("a.wild.x.bit.", A, vec![TXT, RRSIG_TYPE, NSEC]),
        ("plain.x.bit.", DS, vec![NS, RRSIG_TYPE, NSEC]),
        ("bit.", A, vec![NS, SOA, RRSIG_TYPE, NSEC, DNSKEY]),
        ("x--nmc.bit.", A, vec![RRSIG_TYPE, NSEC]),
    ] {
        let nsec = format!("{text} NSEC");
        check(DO, &[(text, kind, NoError, &[], &["bit. SOA", &nsec])]);
        let signers = signers(KeyAlgorithm::Ed25519);
        let (owner, mut shown) = proof(&signed(&query(text, kind, Some(DO)), &signers));
        let mut types = types;
        shown.sort();
        types.sort();
        assert_eq!((owner.as_str(), shown), (text, types));
    }
}

#[test]
fn a_name_that_is_not_there_is_denied_as_the_client_takes_it() {
    for (text, owner) in [
        ("no.x.bit.", "no.x.bit."),
        ("NoSuch.bit.", "nosuch.bit."),
        ("a--b.bit.", "a--b.bit."),
        ("a.b.nosuch.bit.", "a.b.nosuch.bit."),
    ] {
        let nsec = format!("{owner} NSEC");
        check(DO, &[(text, A, NoError, &[], &["bit. SOA", &nsec])]);
        check(DO_CO, &[(text, A, NXDomain, &[], &["bit. SOA", &nsec])]);
        let reply = signed(&query(text, A, Some(DO)), &signers(KeyAlgorithm::Ed25519));
        let (_, mut types) = proof(&reply);
        types.sort();
        let mut expected = vec![RRSIG_TYPE, NSEC, NXNAME];
        expected.sort();
        assert_eq!(types, expected);
        assert!(reply.authoritative);
    }
    // CO without DO asks for no proof.
    let signers = signers(KeyAlgorithm::Ed25519);
    let reply = signed(&query("no.x.bit.", A, Some(COMPACT_OK)), &signers);
    assert_eq!((reply.code, reply.authorities.len()), (NXDomain, 1));
}

#[test]
fn a_referral_proves_whether_there_is_a_ds() {
    check(
        DO,
        &[
            ("a.cut.x.bit.", A, NoError, &[], &["cut.x.bit. NS!", "cut.x.bit. DS"]),
            (
                "A.Plain.x.bit.",
                A,
                NoError,
                &[],
                &["plain.x.bit. NS!", "plain.x.bit. NSEC"],
            ),
            (
                "plain.x.bit.",
                NSEC,
                NoError,
                &[],
                &["plain.x.bit. NS!", "plain.x.bit. NSEC"],
            ),
        ],
    );
    let reply = signed(&query("a.plain.x.bit.", A, Some(DO)), &signers(KeyAlgorithm::Ed25519));
    let (_, mut types) = proof(&reply);
    types.sort();
    assert_eq!(types, [NS, RRSIG_TYPE, NSEC]);
    assert_eq!((reply.authoritative, reply.additionals.len()), (false, 1));
}

#[test]
fn a_question_for_nsec_is_answered_with_it() {
    check(
        DO,
        &[
            ("x.bit.", NSEC, NoError, &["x.bit. NSEC"], &[]),
            ("bit.", NSEC, NoError, &["bit. NSEC"], &[]),
            ("empty.x.bit.", NSEC, NoError, &["empty.x.bit. NSEC"], &[]),
            ("nosuch.bit.", NSEC, NoError, &["nosuch.bit. NSEC"], &[]),
        ],
    );
}

#[test]
fn nobody_may_ask_for_the_type_that_is_nowhere() {
    check(
        DO,
        &[
            ("x.bit.", NXNAME, FormErr, &[], &[]),
            ("nosuch.bit.", NXNAME, FormErr, &[], &[]),
        ],
    );
}

#[test]
fn nothing_changes_for_who_does_not_ask_for_it() {
    let signers = signers(KeyAlgorithm::Ed25519);
    for text in [
        "x.bit.",
        "no.x.bit.",
        "a.old.x.bit.",
        "a.cut.x.bit.",
        "a.plain.x.bit.",
        "bit.",
        "failed.bit.",
        "com.",
    ] {
        for kind in [A, MX, DS, NSEC, DNSKEY, ANY] {
            for flags in [None, Some(0), Some(COMPACT_OK)] {
                let query = query(text, kind, flags);
                assert_eq!(signed(&query, &signers), unsigned(&query, &signers), "{text} {kind}");
            }
        }
    }
}

#[test]
fn a_zone_without_keys_stays_as_it_is() {
    let other = Signers::new([Signer::new(
        Keys::generate(&name("example.com."), KeyAlgorithm::Ed25519).unwrap(),
    )]);
    for signers in [Signers::default(), other] {
        for text in ["x.bit.", "no.x.bit.", "a.old.x.bit.", "a.plain.x.bit.", "bit."] {
            for kind in [A, NSEC, NXNAME] {
                let query = query(text, kind, Some(DO_CO));
                assert_eq!(signed(&query, &signers), unsigned(&query, &signers), "{text} {kind}");
            }
        }
    }
}

#[test]
fn what_no_zone_stands_behind_is_not_signed() {
    let signers = signers(KeyAlgorithm::Ed25519);
    for text in ["failed.bit.", "com."] {
        let query = query(text, A, Some(DO));
        assert_eq!(signed(&query, &signers), unsigned(&query, &signers), "{text}");
    }
}

#[test]
fn the_time_of_signatures_is_counted_modulo() {
    let signers = signers(KeyAlgorithm::Ed25519);
    let query = query("x.bit.", A, Some(DO));
    for now in [0, u64::from(u32::MAX), 1 << 32, u64::MAX] {
        let reply = sign(unsigned(&query, &signers), &query, &signers, Timestamp(now));
        assert_eq!(checked(&reply.answers, &signers), ["x.bit. A"]);
        let input = rrsig(reply.answers.last().unwrap()).unwrap().input();
        let low = u32::try_from(now & 0xffff_ffff).unwrap();
        assert!(low.wrapping_sub(input.sig_inception.get()) < 7200);
        assert!(input.sig_expiration.get().wrapping_sub(low) > 600);
    }
}

#[test]
fn what_can_not_be_signed_fails() {
    let signers = signers(KeyAlgorithm::Ed25519);
    let query = query("x.bit.", A, Some(DO));
    let mut reply = unsigned(&query, &signers);
    reply.answers[0].ttl += 1;
    assert_eq!(sign(reply, &query, &signers, NOW), Reply::bare(ResponseCode::ServFail));
}

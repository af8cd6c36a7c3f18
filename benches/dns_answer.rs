//! Queries per second of one core where the value is remembered: from the bytes of the query to those of the reply.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "benches fail by panicking"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use isonym::dns::book::{Book, CacheSettings, Held, Instant, Key, Known};
use isonym::dns::dnssec::{KeyAlgorithm, Keys, Signer};
use isonym::dns::engine::{self, Settings, Step};
use isonym::dns::message::{self, Incoming, Transport};
use isonym::dns::secure::{Signers, secure};
use isonym::isolation::IsolationId;
use isonym::name::{NameId, NameValue};
use isonym::time::Timestamp;

const NOW: Timestamp = Timestamp(1_800_000_000);

const VALUE: &[u8] = br#"{"ip":"192.0.2.1","map":{"www":{"ip":["192.0.2.2","192.0.2.3"]},"_tor":{"txt":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.onion"}}}"#;

fn query(name: &str, kind: RecordType, dnssec_ok: bool) -> Vec<u8> {
    let mut message = Message::query();
    message
        .queries
        .push(Query::query(Name::from_ascii(name).unwrap(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(1232).set_dnssec_ok(dnssec_ok);
    message.edns = Some(edns);
    message.to_vec().unwrap()
}

/// What is known: `d/example`, and that there is no `d/nosuch`.
fn book() -> Book {
    let mut book = Book::new(CacheSettings::default());
    let value = Known::Value(NameValue::new(VALUE).unwrap());
    for (name, known) in [("d/example", value), ("d/nosuch", Known::Absent(None))] {
        let key = Key {
            id: IsolationId::default().blinded(&[0; 32]),
            name: NameId::new(name.as_bytes()).unwrap(),
        };
        book.store(key, known, Instant::default());
    }
    book
}

fn answer(bytes: &[u8], settings: &Settings, book: &mut Book, signers: &Signers) -> Vec<u8> {
    let Incoming::Query(query) = message::read(bytes) else {
        panic!("no query");
    };
    let (id, held) = (
        query.isolation_id.clone().unwrap_or_default().blinded(&[0; 32]),
        Held::new(),
    );
    let step = engine::answer(settings, &query.question, |name, apex| {
        book.find(&id, name, apex, &held, Instant::default())
    });
    let Step::Reply(reply) = step else {
        panic!("it is not remembered");
    };
    message::write(&query, &secure(*reply, &query, signers, NOW), Transport::Udp, false)
}

fn dns_answer(criterion: &mut Criterion) {
    let bit = Name::from_ascii("bit.").unwrap();
    let keys = Keys::generate(&bit, KeyAlgorithm::EcdsaP256Sha256).unwrap();
    let signers = Signers::new([Signer::new(keys)]);
    let settings = Settings {
        dnskeys: signers.dnskeys(),
        ..Settings::default()
    };
    let mut book = book();
    let mut group = criterion.benchmark_group("dns_answer");
    group.throughput(Throughput::Elements(1));
    for (title, dnssec_ok) in [("unsigned", false), ("ecdsa", true)] {
        for (case, name, kind, answers) in [
            ("a", "www.example.bit.", RecordType::A, 2),
            ("txt", "_tor.example.bit.", RecordType::TXT, 1),
            ("nxdomain", "www.nosuch.bit.", RecordType::A, 0),
        ] {
            let bytes = query(name, kind, dnssec_ok);
            let reply = Message::from_vec(&answer(&bytes, &settings, &mut book, &signers)).unwrap();
            let signatures = usize::from(dnssec_ok && answers > 0);
            assert_eq!(reply.answers.len(), answers + signatures);
            assert_eq!(
                reply.metadata.response_code == ResponseCode::NXDomain,
                answers == 0 && !dnssec_ok
            );
            group.bench_function(format!("{title}/{case}"), |bencher| {
                bencher.iter(|| answer(black_box(&bytes), &settings, &mut book, &signers));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, dns_answer);
criterion_main!(benches);

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
use isonym::dns::dnssec::{KeyAlgorithm, Keys, Signer};
use isonym::dns::engine::{self, Settings, Step};
use isonym::dns::message::{self, Incoming, Transport};
use isonym::dns::records::{self, LookedUp};
use isonym::dns::sign::{Signers, sign};
use isonym::isolation::IsolationId;
use isonym::name::{NameId, NameValue};
use isonym::node::NameRequest;
use isonym::service::{Answer, Begun, CacheSettings, CacheTime, CacheView, Caller, ResultCache, Stated};
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

/// How many servers must answer.
const QUORUM: u8 = 1;

/// What is known: `d/example`, and that there is no `d/nosuch`.
fn cache() -> ResultCache {
    let mut cache = ResultCache::new(CacheSettings::default());
    let example = NameId::new(b"d/example").unwrap();
    let value = Stated::Value {
        value: NameValue::new(VALUE).unwrap(),
        expires_in: None,
    };
    let (id, now) = (IsolationId::default().blinded(&[0; 32]), CacheTime::default().now);
    for (name, stated) in [(example, value), (NameId::new(b"d/nosuch").unwrap(), Stated::Absent)] {
        let request = NameRequest {
            name,
            allow_expired: false,
            quorum: QUORUM,
        };
        let Begun::New { number, .. } = cache.begin(id, &request, 1, now) else {
            panic!("it is in flight");
        };
        cache.end(
            id,
            request,
            number,
            Some(Caller::Dns.into()),
            &Ok(Answer::Stated(stated)),
            now,
            1.0,
        );
    }
    cache
}

fn answer(bytes: &[u8], settings: &Settings, cache: &mut ResultCache, signers: &Signers) -> Vec<u8> {
    let Incoming::Query(query) = message::read(bytes) else {
        panic!("no query");
    };
    let (id, looked_up) = (
        query.isolation_id.clone().unwrap_or_default().blinded(&[0; 32]),
        LookedUp::new(),
    );
    let mut view = CacheView::new(cache, id, QUORUM, CacheTime::default());
    let step = engine::answer(settings, &query.question, |name, apex| {
        records::find(&mut view, name, apex, &looked_up)
    });
    let Step::Reply(reply) = step else {
        panic!("it is not remembered");
    };
    message::write(&query, &sign(*reply, &query, signers, NOW), Transport::Udp, false)
}

fn dns_answer(criterion: &mut Criterion) {
    let bit = Name::from_ascii("bit.").unwrap();
    let keys = Keys::generate(&bit, KeyAlgorithm::EcdsaP256Sha256).unwrap();
    let signers = Signers::new([Signer::new(keys)]);
    let settings = Settings {
        dnskeys: signers.dnskeys(),
        ..Settings::default()
    };
    let mut cache = cache();
    let mut group = criterion.benchmark_group("dns_answer");
    group.throughput(Throughput::Elements(1));
    for (title, dnssec_ok) in [("unsigned", false), ("ecdsa", true)] {
        for (case, name, kind, answers) in [
            ("a", "www.example.bit.", RecordType::A, 2),
            ("txt", "_tor.example.bit.", RecordType::TXT, 1),
            ("nxdomain", "www.nosuch.bit.", RecordType::A, 0),
        ] {
            let bytes = query(name, kind, dnssec_ok);
            let reply = Message::from_vec(&answer(&bytes, &settings, &mut cache, &signers)).unwrap();
            let signatures = usize::from(dnssec_ok && answers > 0);
            assert_eq!(reply.answers.len(), answers + signatures);
            assert_eq!(
                reply.metadata.response_code == ResponseCode::NXDomain,
                answers == 0 && !dnssec_ok
            );
            group.bench_function(format!("{title}/{case}"), |bencher| {
                bencher.iter(|| answer(black_box(&bytes), &settings, &mut cache, &signers));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, dns_answer);
criterion_main!(benches);

//! What DNSSEC costs a server that signs while it answers: signatures per second of one core, over an address and over
//! the denial of a name.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may panic")]

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record};
use isonym::dns::dnssec::{KeyAlgorithm, Keys, Signer, denial};

const NOW: u32 = 1_800_000_000;

fn dnssec_sign(criterion: &mut Criterion) {
    let bit = Name::from_ascii("bit.").unwrap();
    let owner = Name::from_ascii("example.bit.").unwrap();
    let address = [Record::from_rdata(owner.clone(), 600, RData::A(A(Ipv4Addr::LOCALHOST)))];
    let mut group = criterion.benchmark_group("dnssec_sign");
    group.throughput(Throughput::Elements(1));
    for algorithm in KeyAlgorithm::ALL {
        let signer = Signer::new(Keys::generate(&bit, algorithm).unwrap());
        group.bench_function(format!("{algorithm}/address"), |bencher| {
            bencher.iter(|| signer.sign(black_box(&address), NOW).unwrap());
        });
        group.bench_function(format!("{algorithm}/denial"), |bencher| {
            bencher.iter(|| {
                let record = denial::nxdomain(&bit, black_box(&owner), 600);
                signer.sign(&[record], NOW).unwrap()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, dnssec_sign);
criterion_main!(benches);

//! What AuxPoW costs: decoding and checking one realistic header, beside its bare SHA-256 compressions; and taking
//! 10,000 headers into a tree.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench may panic"
)]

use std::hint::black_box;

use bitcoin::hashes::{Hash, HashEngine, sha256d};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use isonym::chain::{Anchor, FullHeader, HeaderTree, Network};
use isonym::time::Timestamp;
use isonym_fixtures::auxpow::{AuxPowSpec, sha256d};

const HEADERS: u16 = 1000;
const IMPORTED: usize = 10_000;

/// Returns realistic headers, with chain branches of 0 to 6 hashes in turn.
fn headers(count: usize) -> Vec<Vec<u8>> {
    let mut prev = *AsRef::<[u8; 32]>::as_ref(&Network::Regtest.params().genesis.hash());
    (0..count)
        .map(|step| {
            let spec = AuxPowSpec::realistic(u8::try_from(step % 7).unwrap());
            let full = spec.full_header(prev, 1_600_000_000 + u32::try_from(step).unwrap() * 600);
            prev = sha256d(&full[..80]);
            full
        })
        .collect()
}

/// Returns how often SHA-256d compresses a message of so many bytes.
fn compressions(length: usize) -> usize {
    (length + 9).div_ceil(64) + 1
}

/// Returns how many compressions a header can't be checked without: both headers, the coinbase, both branches.
fn needed_compressions(bytes: &[u8]) -> usize {
    let (full, _) = FullHeader::decode(bytes).unwrap();
    let auxpow = full.auxpow.unwrap();
    let inner = auxpow.coinbase_branch.hashes.len() + auxpow.chain_branch.hashes.len();
    2 * compressions(80) + compressions(auxpow.coinbase.as_bytes().len()) + inner * compressions(64)
}

fn verify(c: &mut Criterion) {
    let params = Network::Regtest.params();
    let target = params.pow_limit.target();
    let headers = headers(usize::from(HEADERS));
    let bytes: usize = headers.iter().map(Vec::len).sum();
    let needed: Vec<usize> = headers.iter().map(|header| needed_compressions(header)).collect();
    println!(
        "{} bytes and {} compressions per header",
        bytes / headers.len(),
        needed.iter().sum::<usize>() / headers.len()
    );

    let mut group = c.benchmark_group("auxpow_verify");
    for (name, throughput) in [
        ("headers", Throughput::Elements(u64::from(HEADERS))),
        ("bytes", Throughput::Bytes(u64::try_from(bytes).unwrap())),
    ] {
        group.throughput(throughput);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for header in &headers {
                    let (full, _) = FullHeader::decode(black_box(header)).unwrap();
                    let auxpow = full.auxpow.unwrap();
                    auxpow.check(&full.pure, &full.pure.hash(), &target, params).unwrap();
                }
            });
        });
    }
    group.throughput(Throughput::Elements(u64::from(HEADERS)));
    group.bench_function("sha256_bound", |bencher| {
        let input = vec![7; 64 * needed.iter().max().unwrap()];
        bencher.iter(|| {
            for count in &needed {
                let mut engine = sha256d::Hash::engine();
                engine.input(black_box(&input[..64 * count]));
                black_box(engine.midstate());
            }
        });
    });
    group.finish();
}

fn import(c: &mut Criterion) {
    let headers = headers(IMPORTED);
    let empty = HeaderTree::new(Network::Regtest.params(), Anchor::shipped(Network::Regtest).unwrap());
    let mut group = c.benchmark_group("header_tree");
    group.throughput(Throughput::Elements(u64::try_from(IMPORTED).unwrap()));
    group.sample_size(20);
    group.bench_function("accept", |bencher| {
        bencher.iter_batched(
            || empty.clone(),
            |mut tree| {
                for header in &headers {
                    let (full, _) = FullHeader::decode(header).unwrap();
                    tree.accept(&full, Timestamp(2_000_000_000)).unwrap();
                }
                tree
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("restore", |bencher| {
        bencher.iter_batched(
            || empty.clone(),
            |mut tree| {
                for header in &headers {
                    let (full, _) = FullHeader::decode(header).unwrap();
                    tree.restore(full.pure, true).unwrap();
                }
                tree
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, verify, import);
criterion_main!(benches);

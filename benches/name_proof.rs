//! Verification of name proofs: what a lookup costs once the server has answered.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "benches fail by panicking"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use isonym::name::ProofLimits;
use isonym::name::proof::verify;
use isonym_fixtures::world::{Holder, World, id};

fn name_proof(criterion: &mut Criterion) {
    let limits = ProofLimits::default();
    let mut group = criterion.benchmark_group("name_proof");
    for holder in [Holder::P2pkh, Holder::P2wpkh] {
        for spends in [1, 4, 16] {
            let mut world = World::new();
            let proof = world.chain("d/x", spends, holder);
            group.throughput(Throughput::Elements(spends as u64));
            group.bench_function(format!("{holder:?}/{spends}"), |bencher| {
                bencher.iter(|| verify(&id("d/x"), black_box(&proof), &world.tree, &limits));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, name_proof);
criterion_main!(benches);

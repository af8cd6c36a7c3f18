//! What it takes to import headers as a sync does: decoded, checked by every rule, put into the tree and, chunk by
//! chunk, on the disk.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may panic")]

use std::num::NonZeroUsize;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use isonym::chain::{Anchor, FullHeader, HeaderTree, Height, Network};
use isonym::node::{BatchEnd, HeaderChange, HeaderStore, UnwrittenHeaders};
use isonym::time::Timestamp;
use isonym_sim::World;

const HEADERS: Height = 10_000;

/// Headers in a batch: as many as sync asks for at a time.
const CHUNK: NonZeroUsize = NonZeroUsize::new(252).unwrap();

const START: Timestamp = Timestamp(1_600_000_000);

fn import(headers: &[Vec<u8>], tree: &mut HeaderTree, store: &mut HeaderStore) {
    let now = Timestamp(START.0 * 2);
    let mut unwritten = UnwrittenHeaders::default();
    for chunk in headers.chunks(CHUNK.get()) {
        let from = tree.tip().height + 1;
        for bytes in chunk {
            let (header, _) = FullHeader::decode(bytes).unwrap();
            tree.accept(&header, now).unwrap();
        }
        unwritten.note(tree, HeaderChange::Forward { from });
        while let Some(batch) = unwritten.next_batch(tree, CHUNK) {
            assert_eq!(store.write(batch).unwrap(), BatchEnd::Written);
        }
    }
}

fn header_import(c: &mut Criterion) {
    let mut world = World::new(1, START);
    world.mine(HEADERS);
    let chain = world.chain();
    let headers: Vec<Vec<u8>> = (1..=HEADERS)
        .map(|height| chain.full_header(height).unwrap().to_vec())
        .collect();
    let anchor = Anchor::shipped(Network::Regtest).unwrap();
    let tree = || HeaderTree::new(Network::Regtest.params(), anchor);
    let empty = || {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = tree();
        let (store, ..) = HeaderStore::open(&folder.path().join("headers"), &mut tree).unwrap();
        (folder, tree, store)
    };
    let mut group = c.benchmark_group("header_import");
    group.sample_size(10);
    group.throughput(Throughput::Elements(HEADERS.into()));
    group.bench_function("tree_and_store", |bench| {
        bench.iter_batched(
            empty,
            |(folder, mut tree, mut store)| {
                import(&headers, &mut tree, &mut store);
                (folder, tree, store)
            },
            BatchSize::PerIteration,
        );
    });
    let (folder, mut full, mut store) = empty();
    import(&headers, &mut full, &mut store);
    drop(store);
    group.bench_function("open", |bench| {
        bench.iter_batched(
            tree,
            |mut tree| {
                let opened = HeaderStore::open(&folder.path().join("headers"), &mut tree).unwrap();
                assert_eq!(tree.tip().height, HEADERS);
                opened
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, header_import);
criterion_main!(benches);

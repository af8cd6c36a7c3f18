//! What the fuzzer has found that goes each its own way through the code, which no target may fail on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on is to fail")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use isonym_fuzz::TARGETS;

/// Most bytes of all corpora together: they are part of the source.
const MOST_BYTES: usize = 1 << 20;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The names in a folder, without their extensions.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    let stem = |entry: fs::DirEntry| entry.path().file_stem().unwrap().to_str().unwrap().to_owned();
    entries.map(|entry| stem(entry.unwrap())).collect()
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = fuzz().join("corpus").join(target);
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

/// Runs one target on its corpus.
fn replay(target: &str) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{target} has no corpus");
    for input in corpus {
        run(&input);
    }
}

/// One test for each target, so that they share the processors, and the name of one that fails tells which.
macro_rules! replays {
    ($($target:ident),* $(,)?) => {
        const REPLAYED: &[&str] = &[$(stringify!($target)),*];

        $(
            #[test]
            fn $target() {
                replay(stringify!($target));
            }
        )*
    };
}

replays!(
    anchor_toml,
    auxpow,
    dane_chain,
    dns_engine,
    dns_message,
    dns_value,
    exchange,
    full_header,
    lookup_events,
    name_proof,
    name_script,
    p2p_codec,
    peer_events,
    pool_events,
    prop279_line,
    reply,
    rpc_request,
    server_address,
    socks_front,
    sync_events,
    tor_control,
);

#[test]
fn each_target_has_a_program_and_a_corpus() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz().join("fuzz_targets")), targets);
    assert_eq!(names(&fuzz().join("corpus")), targets);
    assert_eq!(
        REPLAYED.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(),
        targets
    );
}

#[test]
fn corpora_are_small() {
    let bytes = TARGETS
        .iter()
        .flat_map(|(name, _)| corpus(name))
        .map(|input| input.len());
    assert!(bytes.sum::<usize>() <= MOST_BYTES);
}

//! Whatever a server does to an honest proof, it proves nothing that isn't on the chain.

use std::sync::LazyLock;

use isonym::name::proof::{ProvenEntry, verify, verify_entry};
use isonym::name::{NameProof, ProofLimits};
use isonym_fixtures::edit::Edit;
use isonym_fixtures::world::{Holder, World, id};

static EXAMPLE: LazyLock<(World, NameProof, Vec<ProvenEntry>)> = LazyLock::new(|| {
    let mut world = World::new();
    let proof = world.chain("d/x", 3, Holder::P2wpkh);
    let entries = proof
        .links
        .iter()
        .map(|link| verify_entry(&id("d/x"), link, &world.tree).expect("honest links verify"))
        .collect();
    (world, proof, entries)
});

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let (world, honest, entries) = &*EXAMPLE;
    let mut proof = honest.clone();
    for edit in Edit::all_in(bytes).take(32) {
        edit.apply(&mut proof);
    }
    if let Ok(proven) = verify(&id("d/x"), &proof, &world.tree, &ProofLimits::default()) {
        assert!(entries.contains(proven.entry()));
    }
}

//! The real name proofs hold for what honest servers show, and fail for what a dishonest miner slips in.

use super::wallet::Signer;
use super::{AddressKind, World};
use isonym_core::name::proof::{self, Reached};
use isonym_core::name::{NameId, ProofError, ProofLimits, ProvenName};
use isonym_core::time::Timestamp;

fn prove(world: &World, name: &str) -> Result<ProvenName, ProofError> {
    let name = NameId::new(name.as_bytes()).unwrap();
    let tree = world.chain().header_tree(world.params()).unwrap();
    proof::verify(&name, &world.chain().name_proof(&name), &tree, &ProofLimits::default())
}

fn world() -> World {
    World::new(1, Timestamp(1_700_000_000))
}

#[test]
fn names_of_all_kinds_of_address_are_proved_to_their_registration() {
    let mut world = world();
    let names = AddressKind::ALL.map(|kind| (format!("d/{kind:?}"), "first", kind));
    world.register_all(&names).unwrap();
    world.mine(12);
    for (name, _, kind) in &names {
        world.update(name, "second", *kind).unwrap();
        world.update(name, "third", AddressKind::P2pkh).unwrap();
    }
    for (name, ..) in &names {
        let proven = prove(&world, name).unwrap();
        assert_eq!(proven.value().as_bytes(), b"third");
        assert_eq!((proven.reached(), proven.links()), (Reached::Registration, 2));
        assert!(proven.commitment_checked());
    }
}

#[test]
fn a_name_that_lapsed_is_proved_to_its_new_registration() {
    let mut world = world();
    world.register("d/lapsed", "old", AddressKind::P2sh).unwrap();
    world.mine(30);
    world.register("d/lapsed", "new", AddressKind::P2wsh).unwrap();
    world.update("d/lapsed", "newer", AddressKind::P2wsh).unwrap();
    let proven = prove(&world, "d/lapsed").unwrap();
    assert_eq!((proven.value().as_bytes(), proven.links()), (&b"newer"[..], 1));
    assert!(proven.commitment_checked());
}

#[test]
fn an_update_that_a_stranger_signed_is_refused_whoever_mined_it() {
    for kind in AddressKind::ALL {
        let mut world = world();
        world.register("d/stolen", "mine", kind).unwrap();
        world.mine(12);
        world
            .queue_update("d/stolen", "theirs", kind, Signer::Stranger)
            .unwrap();
        world.mine(1);
        assert!(
            matches!(prove(&world, "d/stolen"), Err(ProofError::Spend { .. })),
            "{kind:?}"
        );
        world.update("d/stolen", "later", kind).unwrap();
        assert!(
            matches!(prove(&world, "d/stolen"), Err(ProofError::Spend { .. })),
            "{kind:?}"
        );
    }
}

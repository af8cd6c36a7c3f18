//! Every way to forge a proof that we can think of ends in an error of its own.

use std::sync::OnceLock;

use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash;
use bitcoin::hex::FromHex;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxMerkleNode, TxOut, Witness};
use isonym::chain::{Anchor, HeaderTree, Height};
use isonym::name::merkle::MerkleError;
use isonym::name::policy;
use isonym::name::proof::{MAX_TX_SIZE, Reached, verify, verify_entry};
use isonym::name::script::{NameOp, NameScript};
use isonym::name::verify_script::{SpendError, check_spend};
use isonym::name::{NameProof, Outcome, Policy, ProofError, ProofLimits, ProvenName};
use proptest::prelude::*;

use isonym_fixtures::edit::Edit;
use isonym_fixtures::world::{Holder, LOCKED, World, id, input, plain_output, text, transaction, update};

const HOLDERS: [Holder; 3] = [Holder::P2pkh, Holder::P2wpkh, Holder::P2shP2wpkh];

fn check(world: &World, proof: &NameProof) -> Result<ProvenName, ProofError> {
    verify(&id("d/x"), proof, &world.tree, &ProofLimits::default())
}

fn hex(digits: &str) -> Vec<u8> {
    Vec::from_hex(digits).unwrap()
}

/// Registers d/x, lets `forge` make a transaction that spends the registration as its owner and mines it: the
/// worst that a miner can do. Returns what the proof of it ends in.
fn forged(holder: Holder, forge: impl Fn(&World, &Transaction, Transaction) -> Transaction) -> ProofError {
    let (world, proof) = with_forged(holder, forge);
    check(&world, &proof).unwrap_err()
}

/// As [`forged`], for what is no operation of the name at all: it is passed over, and what it follows is proved. Returns what
/// it is by itself.
fn passed_over(forge: impl Fn(&World, &Transaction, Transaction) -> Transaction) -> ProofError {
    let (world, proof) = with_forged(Holder::P2pkh, forge);
    assert_eq!(check(&world, &proof).unwrap().value().as_bytes(), b"true");
    verify_entry(&id("d/x"), &proof.links[0], &world.tree).unwrap_err()
}

fn with_forged(holder: Holder, forge: impl Fn(&World, &Transaction, Transaction) -> Transaction) -> (World, NameProof) {
    let mut world = World::new();
    let registered = world.register("d/x", "true", holder);
    let honest = world.update(&registered.first, "d/x", "forged", holder);
    let forged = forge(&world, &registered.first, honest);
    let height = world.mine(vec![forged]);
    world.age(20);
    let proof = world.proof(&[registered.height, height]);
    (world, proof)
}

#[test]
fn honest_chains_are_proved_for_each_kind_of_holder() {
    for holder in HOLDERS {
        let mut world = World::new();
        let proof = world.chain("d/x", 3, holder);
        let proven = check(&world, &proof).unwrap();
        assert_eq!(proven.value().as_bytes(), b"3");
        assert_eq!((proven.links(), proven.reached()), (3, Reached::Registration));
        assert_eq!(proven.oldest_above_anchor(), Some(proven.oldest_height()));
    }
}

#[test]
fn an_altered_value_breaks_the_merkle_proof() {
    let mut world = World::new();
    let mut proof = world.chain("d/x", 1, Holder::P2pkh);
    let at = proof.links[0]
        .tx
        .windows(3)
        .position(|bytes| bytes == [1, b'1', 0x6d])
        .unwrap();
    proof.links[0].tx[at + 1] = b'2';
    let error = check(&world, &proof).unwrap_err();
    assert!(
        matches!(
            error,
            ProofError::Merkle {
                error: MerkleError::RootMismatch { .. },
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_miner_without_the_key_gets_nowhere() {
    for holder in HOLDERS {
        let error = forged(holder, |world, first, mut tx| {
            tx.output[0] = world.output(&update("d/x", "stolen"), holder);
            assert_eq!(tx.input[0].previous_output.txid, first.compute_txid());
            tx
        });
        let ProofError::Spend { error: cause, .. } = error else {
            panic!("{error}")
        };
        let program = holder != Holder::P2pkh;
        let expected = if program {
            SpendError::Program { input: 0 }
        } else {
            SpendError::Script { input: 0 }
        };
        assert_eq!(cause, expected, "{holder:?}");
    }
}

#[test]
fn the_amount_is_signed_and_the_witness_needed() {
    let refused = |error: &ProofError| matches!(error, ProofError::Spend { .. });
    let error = forged(Holder::P2wpkh, |_, _, mut tx| {
        tx.input[0].witness = Witness::new();
        tx
    });
    assert!(refused(&error), "{error}");
    let error = forged(Holder::P2wpkh, |world, first, tx| {
        let mut cheaper = first.clone();
        cheaper.output[0].value = Amount::from_sat(LOCKED - 1);
        let mut signed = world.update(&cheaper, "d/x", "forged", Holder::P2wpkh);
        signed.input[0].previous_output = tx.input[0].previous_output;
        signed
    });
    assert!(refused(&error), "{error}");
    let error = forged(Holder::P2pkh, |_, _, mut tx| {
        tx.input[0].witness = Witness::from_slice(&[b"none belongs here"]);
        tx
    });
    assert!(refused(&error), "{error}");
}

#[test]
fn programs_behind_odd_prefixes_are_judged_as_core_does() {
    let world = World::new();
    let long = vec![b'v'; 521];
    let prefixes: [(&str, Vec<u8>, [bool; 3]); 5] = [
        ("balanced", hex("530164017675756175"), [true; 3]),
        ("one item left", hex("53016401766d"), [false, true, false]),
        ("one item too many dropped", hex("53016401766d6d"), [false; 3]),
        (
            "a push of 520 bytes",
            [&hex("5301644d0802"), &long[1..], &hex("6d75")].concat(),
            [true; 3],
        ),
        (
            "a push of 521 bytes",
            [&hex("5301644d0902"), &long[..], &hex("6d75")].concat(),
            [false; 3],
        ),
    ];
    for (what, prefix, accepted) in prefixes {
        for (holder, accepted) in HOLDERS.into_iter().zip(accepted) {
            let address = world.address(holder);
            let script = ScriptBuf::from_bytes([&prefix[..], address.as_bytes()].concat());
            let output = TxOut {
                value: Amount::from_sat(LOCKED),
                script_pubkey: script,
            };
            assert!(NameScript::parse(&output.script_pubkey).is_some_and(|parsed| *parsed.address == *address));
            let spent = transaction(vec![], vec![output.clone()]);
            let tx = world.spend(&spent, 0, holder, vec![plain_output(1)]);
            let checked = check_spend(&output, &address, &serialize(&tx), 0);
            let expected = if accepted {
                Ok(())
            } else {
                Err(SpendError::Script { input: 0 })
            };
            assert_eq!(checked, expected, "{what}, {holder:?}");
        }
    }
}

#[test]
fn a_spend_of_another_output_is_none() {
    let error = forged(Holder::P2pkh, |_, _, mut tx| {
        tx.input[0].previous_output.vout = 1;
        tx
    });
    assert!(matches!(error, ProofError::NotSpent { .. }), "{error}");
    let error = forged(Holder::P2pkh, |_, _, tx| {
        transaction(vec![input(OutPoint::null(), ScriptBuf::new())], tx.output)
    });
    assert!(matches!(error, ProofError::NotSpent { .. }), "{error}");
}

#[test]
fn transactions_that_consensus_forbids_are_refused() {
    let resigned = |world: &World, first: &Transaction, outputs| world.spend(first, 0, Holder::P2pkh, outputs);
    let error = passed_over(|_, _, mut tx| {
        tx.version = Version(1);
        tx
    });
    assert_eq!(error, ProofError::Version { got: 1 });
    let error = passed_over(|world, first, tx| {
        let second = world.output(&update("d/y", "forged"), Holder::P2pkh);
        resigned(world, first, vec![tx.output[0].clone(), second])
    });
    assert_eq!(error, ProofError::NameOutputs { got: 2 });
    let error = passed_over(|world, first, _| resigned(world, first, vec![plain_output(LOCKED)]));
    assert_eq!(error, ProofError::NameOutputs { got: 0 });
    let error = passed_over(|world, first, _| {
        let other = world.output(&update("d/y", "forged"), Holder::P2pkh);
        resigned(world, first, vec![other])
    });
    assert!(matches!(error, ProofError::OtherName { .. }), "{error}");
    let error = passed_over(|world, first, _| {
        let new = NameOp::New { commitment: [1; 20] };
        resigned(world, first, vec![world.output(&new, Holder::P2pkh)])
    });
    assert!(matches!(error, ProofError::NoValue { .. }), "{error}");
    let error = forged(Holder::P2pkh, |world, first, mut tx| {
        tx.output[0].value = Amount::from_sat(LOCKED - 1);
        resigned(world, first, tx.output)
    });
    assert_eq!(
        error,
        ProofError::LockedValue {
            expected: LOCKED,
            got: LOCKED - 1
        }
    );
}

#[test]
fn a_name_that_is_taken_cannot_be_registered() {
    let error = forged(Holder::P2pkh, |world, first, _| {
        let op = NameOp::FirstUpdate {
            name: id("d/x"),
            salt: vec![],
            value: text("forged"),
        };
        world.spend(first, 0, Holder::P2pkh, vec![world.output(&op, Holder::P2pkh)])
    });
    assert_eq!(error, ProofError::RegisteredWhileTaken { height: 14, gap: 1 });
}

#[test]
fn a_name_that_has_expired_cannot_be_updated() {
    for (pause, accepted) in [(28, true), (29, false)] {
        let mut world = World::new();
        let registered = world.register("d/x", "true", Holder::P2pkh);
        world.age(pause);
        let late = world.update(&registered.first, "d/x", "late", Holder::P2pkh);
        let height = world.mine(vec![late]);
        world.age(12);
        let checked = check(&world, &world.proof(&[registered.height, height]));
        assert_eq!(checked.is_ok(), accepted);
        if !accepted {
            assert_eq!(checked, Err(ProofError::UpdateAfterExpiry { height, gap: 30 }));
        }
    }
}

#[test]
fn histories_with_holes_are_refused() {
    let mut world = World::new();
    let proof = world.chain("d/x", 4, Holder::P2pkh);
    let mut missing = proof.clone();
    missing.links.remove(2);
    let error = check(&world, &missing).unwrap_err();
    assert!(matches!(error, ProofError::NotSpent { .. }), "{error}");
    let mut cut = proof.clone();
    let last = cut.links.pop().unwrap();
    let height = cut.links[3].height;
    assert_eq!(check(&world, &cut), Err(ProofError::NoRegistration { height }));
    cut.complete = false;
    assert_eq!(check(&world, &cut), Err(ProofError::TooShort { got: 4 }));
    cut.links.push(last);
    assert!(check(&world, &cut).is_ok());
    assert_eq!(check(&world, &NameProof::default()), Err(ProofError::Empty));
}

#[test]
fn order_and_heights_are_checked() {
    let mut world = World::new();
    let proof = world.chain("d/x", 2, Holder::P2pkh);
    let mut swapped = proof.clone();
    swapped.links.swap(0, 1);
    let error = check(&world, &swapped).unwrap_err();
    assert!(matches!(error, ProofError::OutOfOrder { .. }), "{error}");
    let mut twice = proof.clone();
    twice.links.insert(0, proof.links[0].clone());
    let error = check(&world, &twice).unwrap_err();
    assert!(matches!(error, ProofError::OutOfOrder { .. }), "{error}");
    let mut shuffled = proof.clone();
    shuffled.links[0].height += 1;
    let error = check(&world, &shuffled).unwrap_err();
    assert!(
        matches!(
            error,
            ProofError::Merkle {
                error: MerkleError::RootMismatch { .. },
                ..
            }
        ),
        "{error}"
    );
    let mut above = proof.clone();
    above.links[0].height = world.tree.tip().height + 1;
    let height = above.links[0].height;
    assert_eq!(check(&world, &above), Err(ProofError::MissingHeader { height }));
}

#[test]
fn merkle_branches_of_others_are_refused() {
    let mut world = World::new();
    let proof = world.chain("d/x", 2, Holder::P2pkh);
    let merkle = |proof: &NameProof| match check(&world, proof) {
        Err(ProofError::Merkle { error, .. }) => error,
        other => panic!("{other:?}"),
    };
    let mut foreign = proof.clone();
    foreign.links[0].merkle = proof.links[1].merkle.clone();
    assert!(matches!(merkle(&foreign), MerkleError::RootMismatch { .. }));
    let mut moved = proof.clone();
    moved.links[0].pos = 0;
    assert!(matches!(merkle(&moved), MerkleError::RootMismatch { .. }));
    moved.links[0].pos = 2;
    assert_eq!(merkle(&moved), MerkleError::PositionOutOfRange { pos: 2, height: 1 });
    let mut long = proof.clone();
    long.links[0].merkle = vec![TxMerkleNode::all_zeros(); 33];
    assert_eq!(merkle(&long), MerkleError::BranchTooLong { got: 33 });
    let mut cut = proof.clone();
    cut.links[0].tx.pop();
    let height = cut.links[0].height;
    assert_eq!(check(&world, &cut), Err(ProofError::Undecodable { height }));
    let mut longer = proof;
    longer.links[0].tx.push(0);
    assert_eq!(check(&world, &longer), Err(ProofError::Undecodable { height }));
    longer.links[0].tx.resize(MAX_TX_SIZE + 1, 0);
    assert_eq!(check(&world, &longer), Err(ProofError::Oversized { height }));
}

#[test]
fn a_commitment_must_fit_the_registration() {
    let mut world = World::new();
    let registered = world.register("d/x", "true", Holder::P2wpkh);
    world.age(12);
    let mut proof = world.proof(&[registered.height]);
    proof.name_new = Some(serialize(&registered.new));
    assert!(check(&world, &proof).unwrap().commitment_checked());
    let mut other = registered.new.clone();
    other.lock_time = bitcoin::absolute::LockTime::from_consensus(1);
    for unspent in [serialize(&other), serialize(&registered.first), vec![], vec![0; 40]] {
        proof.name_new = Some(unspent);
        assert_eq!(check(&world, &proof), Err(ProofError::NameNewNotSpent));
    }
    let mut world = World::new();
    let stranger = world.register("d/y", "true", Holder::P2wpkh);
    let op = NameOp::FirstUpdate {
        name: id("d/x"),
        salt: vec![3; 20],
        value: text("forged"),
    };
    let outputs = vec![world.output(&op, Holder::P2wpkh)];
    let stolen = world.spend(&stranger.new, 0, Holder::P2wpkh, outputs);
    let height = world.mine(vec![stolen]);
    let mut proof = world.proof(&[height]);
    proof.name_new = Some(serialize(&stranger.new));
    assert_eq!(check(&world, &proof), Err(ProofError::Commitment));
}

#[test]
fn the_walk_ends_at_the_limit_once_it_is_deep() {
    let mut world = World::new();
    let proof = world.chain("d/x", 20, Holder::P2pkh);
    let proven = check(&world, &proof).unwrap();
    assert_eq!((proven.links(), proven.reached()), (16, Reached::Limit));
    assert_eq!(proven.oldest_height(), proof.links[16].height);
    let few = ProofLimits {
        max_links: 1,
        ..ProofLimits::default()
    };
    let proven = verify(&id("d/x"), &proof, &world.tree, &few).unwrap();
    assert_eq!((proven.links(), proven.reached()), (1, Reached::Limit), "all are deep");
    let capped = ProofLimits {
        max_links: 16,
        max_entries: 16,
        ..few
    };
    let error = verify(&id("d/x"), &proof, &world.tree, &capped).unwrap_err();
    assert_eq!(error, ProofError::TooManyLinks { max: 16 });
}

#[test]
fn young_links_are_verified_beyond_the_limit() {
    let mut world = World::new();
    let registered = world.register("d/x", "0", Holder::P2pkh);
    world.age(11);
    let (mut txs, mut heights, mut last) = (vec![], vec![registered.height], registered.first);
    for number in 0..20 {
        last = world.update(&last, "d/x", &number.to_string(), Holder::P2pkh);
        txs.push(last.clone());
    }
    let height = world.mine(txs);
    heights.push(height);
    let mut proof = world.proof(&heights[..1]);
    proof
        .links
        .splice(0..0, (1..=20).rev().map(|pos| world.link(height, pos)));
    let proven = check(&world, &proof).unwrap();
    assert_eq!((proven.links(), proven.reached()), (20, Reached::Registration));
    assert_eq!(proven.value().as_bytes(), b"19");
    let mut swapped = proof;
    swapped.links.swap(0, 1);
    let error = check(&world, &swapped).unwrap_err();
    assert!(matches!(error, ProofError::OutOfOrder { .. }), "{error}");
}

#[test]
fn a_young_registration_is_unconfirmed() {
    for (blocks, confirmed) in [(10, false), (11, true)] {
        let mut world = World::new();
        let registered = world.register("d/x", "true", Holder::P2pkh);
        world.age(blocks);
        let proven = check(&world, &world.proof(&[registered.height])).unwrap();
        let outcome = policy::judge(proven, world.tree.tip().height, world.tree.params(), &Policy::default());
        assert_eq!(matches!(outcome, Outcome::Found(_)), confirmed);
        assert_eq!(
            matches!(
                outcome,
                Outcome::Unconfirmed {
                    got: 11,
                    expected: 12,
                    ..
                }
            ),
            !confirmed
        );
    }
}

/// Returns the world's headers up to a height, which is the anchor.
fn anchored(world: &World, height: Height) -> HeaderTree {
    let anchor = Anchor {
        height,
        hash: world.tree.hash_at(height).unwrap(),
        chainwork: None,
    };
    let mut tree = HeaderTree::new(world.tree.params(), anchor);
    for below in (0..=height).rev() {
        tree.backfill(world.tree.header_at(below).unwrap()).unwrap();
    }
    tree
}

#[test]
fn the_value_that_is_locked_matters_above_the_anchor() {
    let mut world = World::new();
    let mut cheap = world.output(&update("d/x", "old"), Holder::P2pkh);
    cheap.value = Amount::from_sat(LOCKED - 1);
    let tx = transaction(vec![input(OutPoint::null(), ScriptBuf::new())], vec![cheap]);
    let height = world.mine(vec![tx]);
    let proof = world.proof(&[height]);
    let refused = ProofError::LockedValue {
        expected: LOCKED,
        got: LOCKED - 1,
    };
    assert_eq!(check(&world, &proof), Err(refused));
    let tree = anchored(&world, height);
    assert!(verify(&id("d/x"), &proof, &tree, &ProofLimits::default()).is_ok());
}

#[test]
fn what_the_anchor_vouches_for_needs_no_owner() {
    let mut world = World::new();
    let proof = world.chain("d/x", 2, Holder::P2pkh);
    let tree = anchored(&world, proof.links[1].height);
    let mut old = NameProof {
        links: proof.links[1..2].to_vec(),
        ..proof.clone()
    };
    let proven = verify(&id("d/x"), &old, &tree, &ProofLimits::default()).unwrap();
    assert_eq!(
        (proven.reached(), proven.links(), proven.oldest_above_anchor()),
        (Reached::Anchor, 0, None)
    );
    old.links[0].merkle = vec![];
    assert!(verify(&id("d/x"), &old, &tree, &ProofLimits::default()).is_err());
}

proptest! {
    #[test]
    fn whatever_is_done_to_a_proof_it_proves_nothing_new(edits in prop::collection::vec(edit(), 1..6)) {
        let (world, honest) = example();
        let mut proof = honest.clone();
        for edit in edits {
            edit.apply(&mut proof);
        }
        if let Ok(proven) = check(world, &proof) {
            let shown = honest.links.iter().any(|link| {
                verify_entry(&id("d/x"), link, &world.tree).as_ref() == Ok(proven.entry())
            });
            prop_assert!(shown, "{:?}", proven.value().as_bytes());
        }
    }
}

/// A chain of four operations and its proof, made once.
fn example() -> &'static (World, NameProof) {
    static EXAMPLE: OnceLock<(World, NameProof)> = OnceLock::new();
    EXAMPLE.get_or_init(|| {
        let mut world = World::new();
        let proof = world.chain("d/x", 3, Holder::P2pkh);
        (world, proof)
    })
}

fn edit() -> impl Strategy<Value = Edit> {
    (any::<u8>(), any::<u8>(), 0..400_u16, any::<u8>()).prop_map(|(what, link, at, with)| Edit { what, link, at, with })
}

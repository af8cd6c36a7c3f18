use bitcoin::hashes::Hash;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::chain::Network;
use crate::chain::builder::{AuxPowSpec, MARKER, sha256d};

const PREV: [u8; 32] = [3; 32];

fn check_on(network: Network, bytes: &[u8]) -> Result<(), AuxPowError> {
    let (full, rest) = FullHeader::decode(bytes).unwrap();
    assert!(rest.is_empty());
    let target = Network::Regtest.params().pow_limit.target();
    full.auxpow
        .unwrap()
        .check(&full.pure, &full.pure.hash(), &target, network.params())
}

fn check(spec: &AuxPowSpec) -> Result<(), AuxPowError> {
    check_on(Network::Regtest, &spec.full_header(PREV, 1))
}

fn bent(bend: impl FnOnce(&mut AuxPowSpec)) -> Result<(), AuxPowError> {
    let mut spec = AuxPowSpec::default();
    assert_eq!(check(&spec), Ok(()));
    bend(&mut spec);
    check(&spec)
}

#[test]
fn every_form_that_core_takes_is_taken() {
    let bare = AuxPowSpec {
        marker: false,
        script_head: vec![0; 20],
        ..AuxPowSpec::default()
    };
    let with_witness = AuxPowSpec {
        witness: Some(vec![vec![0; 32]]),
        ..AuxPowSpec::realistic(4)
    };
    let tallest = AuxPowSpec {
        chain_branch: vec![[1; 32]; 30],
        ..AuxPowSpec::default()
    };
    let marker_far_behind = AuxPowSpec {
        script_head: vec![0; 60],
        ..AuxPowSpec::default()
    };
    let no_tail = AuxPowSpec {
        script_end: vec![],
        outputs: vec![],
        coinbase_branch: vec![],
        chain_branch: vec![],
        ..AuxPowSpec::default()
    };
    let deep_parent = AuxPowSpec {
        coinbase_branch: vec![[1; 32]; 300],
        ..AuxPowSpec::default()
    };
    for spec in [bare, with_witness, tallest, marker_far_behind, no_tail, deep_parent] {
        assert_eq!(check(&spec), Ok(()), "{spec:?}");
    }
}

#[test]
fn every_broken_rule_has_its_error() {
    assert_eq!(
        bent(|spec| spec.parent_version = 0x0002_0104),
        Err(AuxPowError::NestedAuxPow { version: 0x0002_0104 })
    );
    assert!(matches!(
        bent(|spec| spec.parent_meets = false),
        Err(AuxPowError::InsufficientWork { .. })
    ));
    assert_eq!(
        bent(|spec| spec.parent_version = 0x0001_0004),
        Err(AuxPowError::OwnChainId { chain_id: 1 })
    );
    assert_eq!(
        bent(|spec| spec.chain_branch = vec![[0; 32]; 31]),
        Err(AuxPowError::ChainBranchTooLong { got: 31, max: 30 })
    );
    assert_eq!(
        bent(|spec| spec.chain_index = Some(-1)),
        Err(AuxPowError::NegativeChainIndex { got: -1 })
    );
    assert_eq!(
        bent(|spec| spec.coinbase_index = 1),
        Err(AuxPowError::CoinbaseIndex { got: 1 })
    );
    assert_eq!(
        bent(|spec| spec.coinbase_index = -1),
        Err(AuxPowError::CoinbaseIndex { got: -1 })
    );
    assert!(matches!(
        bent(|spec| spec.parent_root = Some([1; 32])),
        Err(AuxPowError::WrongMerkleRoot { .. })
    ));
    assert_eq!(
        bent(|spec| {
            spec.inputs = 0;
            spec.outputs = vec![];
        }),
        Err(AuxPowError::NoInputs)
    );
    assert_eq!(
        bent(|spec| spec.script_root = Some([1; 32])),
        Err(AuxPowError::RootMissing)
    );
    assert_eq!(
        bent(|spec| spec.script_end = MARKER.to_vec()),
        Err(AuxPowError::MarkerRepeated)
    );
    assert_eq!(
        bent(|spec| spec.script_gap = vec![0]),
        Err(AuxPowError::MarkerApart { marker: 4, root: 9 })
    );
    assert_eq!(
        bent(|spec| {
            spec.marker = false;
            spec.script_head = vec![0; 21];
        }),
        Err(AuxPowError::RootTooLate { got: 21, max: 20 })
    );
    for length in 0..8 {
        assert_eq!(
            bent(|spec| {
                spec.script_tail_len = length;
                spec.script_end = vec![];
            }),
            Err(AuxPowError::TreeSizeMissing { got: length })
        );
    }
    assert_eq!(
        bent(|spec| spec.tree_size = Some(8)),
        Err(AuxPowError::WrongTreeSize { expected: 4, got: 8 })
    );
    let right = AuxPowSpec::default().index();
    assert!(matches!(
        bent(|spec| spec.chain_index = Some(right ^ 1)),
        Err(AuxPowError::WrongChainIndex { .. })
    ));
    assert!(matches!(
        bent(|spec| spec.chain_index = Some(right + 4)),
        Err(AuxPowError::WrongChainIndex { .. })
    ));
}

#[test]
fn a_root_in_natural_byte_order_does_not_count() {
    let mut spec = AuxPowSpec {
        chain_branch: vec![],
        ..AuxPowSpec::default()
    };
    let hash = sha256d(&spec.full_header(PREV, 1)[..80]);
    spec.script_root = Some(hash);
    assert_eq!(check(&spec), Err(AuxPowError::RootMissing));
}

#[test]
fn the_marker_behind_the_root_is_apart() {
    let spec = AuxPowSpec {
        marker: false,
        script_head: vec![],
        script_end: MARKER.to_vec(),
        ..AuxPowSpec::default()
    };
    assert_eq!(check(&spec), Err(AuxPowError::MarkerApart { marker: 40, root: 0 }));
}

#[test]
fn testnet_lets_parents_have_our_chain_id() {
    let spec = AuxPowSpec {
        parent_version: 0x0001_0004,
        ..AuxPowSpec::default()
    };
    assert_eq!(check_on(Network::Testnet, &spec.full_header(PREV, 1)), Ok(()));
}

#[test]
fn an_auxpow_is_evidence_for_one_header_only() {
    let mut bytes = AuxPowSpec::default().full_header(PREV, 1);
    bytes[68] ^= 1;
    assert_eq!(check_on(Network::Regtest, &bytes), Err(AuxPowError::RootMissing));
}

fn decode_coinbase(bytes: &[u8]) -> Result<(), DecodeError> {
    ParentCoinbase::decode(bytes).map(|(_, rest)| assert!(rest.is_empty()))
}

#[test]
fn coinbases_that_core_would_not_read_are_refused() {
    let with_witness = AuxPowSpec {
        witness: Some(vec![vec![1]]),
        ..AuxPowSpec::default()
    };
    let mut bytes = with_witness.coinbase([0; 32], true);
    assert_eq!(decode_coinbase(&bytes), Ok(()));
    for flag in [2, 3, 0xff] {
        bytes[5] = flag;
        assert_eq!(decode_coinbase(&bytes), Err(DecodeError::WitnessFlag { got: flag }));
    }
    let empty = AuxPowSpec {
        witness: Some(vec![]),
        ..AuxPowSpec::default()
    };
    assert_eq!(
        decode_coinbase(&empty.coinbase([0; 32], true)),
        Err(DecodeError::EmptyWitness)
    );
    let long_form = [&[1, 0, 0, 0][..], &[0xfd, 1, 0], &[0; 100]].concat();
    assert_eq!(
        decode_coinbase(&long_form),
        Err(DecodeError::LongCompactSize {
            field: "coinbase inputs",
            value: 1
        })
    );
    let no_inputs = [1, 0, 0, 0, 0, 0, 9, 9, 9, 9];
    assert_eq!(decode_coinbase(&no_inputs), Ok(()));
}

#[test]
fn sizes_are_bounded_before_anything_is_read() {
    let lying = [&[1, 0, 0, 0, 0xff][..], &[0xff; 8], &[0; 100]].concat();
    assert!(matches!(decode_coinbase(&lying), Err(DecodeError::Truncated { .. })));
    let huge = AuxPowSpec {
        outputs: vec![vec![0; ParentCoinbase::MAX_SIZE]],
        ..AuxPowSpec::default()
    };
    let max = ParentCoinbase::MAX_SIZE;
    assert_eq!(
        decode_coinbase(&huge.coinbase([0; 32], true)),
        Err(DecodeError::OversizedCoinbase { max })
    );
    let spec = AuxPowSpec::default();
    let mut bytes = spec.coinbase([0; 32], true);
    bytes.extend([0; 32]);
    bytes.extend([0xfe, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(
        AuxPow::decode(&bytes),
        Err(DecodeError::OversizedBranch {
            field: "coinbase merkle branch",
            length: 0xffff_ffff,
            max: 125_000
        })
    );
}

#[test]
fn every_prefix_is_truncated_and_what_follows_is_left() {
    let spec = AuxPowSpec {
        witness: Some(vec![vec![2; 32], vec![]]),
        ..AuxPowSpec::default()
    };
    let mut bytes = spec.full_header(PREV, 1);
    for end in 0..bytes.len() {
        assert!(
            matches!(FullHeader::decode(&bytes[..end]), Err(DecodeError::Truncated { .. })),
            "{end}"
        );
    }
    bytes.extend(b"next");
    assert_eq!(FullHeader::decode(&bytes).unwrap().1, b"next");
}

fn hashes(most: usize) -> impl Strategy<Value = Vec<[u8; 32]>> {
    vec(any::<[u8; 32]>(), 0..=most)
}

prop_compose! {
    fn specs()(
        coinbase_branch in hashes(20),
        chain_branch in hashes(12),
        outputs in vec(vec(any::<u8>(), 0..300), 0..4),
        witness in proptest::option::of(vec(vec(any::<u8>(), 0..40), 1..3)),
        script_head in vec(any::<u8>(), 0..20),
        marker in any::<bool>(),
        nonce in any::<u32>(),
        parent_hash in any::<[u8; 32]>(),
    ) -> AuxPowSpec {
        AuxPowSpec {
            marker, script_head, nonce, outputs, witness, coinbase_branch, chain_branch, parent_hash,
            ..AuxPowSpec::default()
        }
    }
}

proptest! {
    #[test]
    fn what_the_builder_writes_is_read_back_and_valid(spec in specs()) {
        let bytes = spec.full_header(PREV, 1);
        let hash = sha256d(&bytes[..80]);
        let (full, rest) = FullHeader::decode(&bytes).unwrap();
        prop_assert!(rest.is_empty());
        let auxpow = full.auxpow.unwrap();
        prop_assert_eq!(auxpow.coinbase.as_bytes(), spec.coinbase(hash, true));
        prop_assert_eq!(auxpow.coinbase.txid().to_byte_array(), sha256d(&spec.coinbase(hash, false)));
        prop_assert_eq!(auxpow.coinbase.script().unwrap(), spec.script(hash));
        prop_assert_eq!(auxpow.coinbase_branch.hashes, &spec.coinbase_branch[..]);
        prop_assert_eq!(auxpow.chain_branch.hashes, &spec.chain_branch[..]);
        prop_assert_eq!(auxpow.chain_branch.index, spec.index());
        prop_assert_eq!(check(&spec), Ok(()));
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed(spec in specs(), at in any::<proptest::sample::Index>(), bit in 0..8_u8) {
        let bytes = spec.full_header(PREV, 1);
        let hash = sha256d(&bytes[..80]);
        let stripped = spec.coinbase(hash, false).len();
        let (body, _) = FullHeader::decode(&bytes).unwrap();
        // Neither the parent's hash nor a witness is covered by anything.
        prop_assume!(body.auxpow.unwrap().coinbase.as_bytes().len() == stripped);
        let at = at.index(bytes.len());
        let ignored = 80 + stripped..80 + stripped + 32;
        prop_assume!(!ignored.contains(&at));
        let mut flipped = bytes.clone();
        flipped[at] ^= 1_u8 << bit;
        let unnoticed = FullHeader::decode(&flipped).is_ok_and(|(full, rest)| {
            full.auxpow.is_some() && rest.is_empty() && check_on(Network::Regtest, &flipped) == Ok(())
        });
        // The parent header's other fields are free while its hash still meets the target.
        let parent = bytes.len() - 80;
        let free = at >= parent && !(parent + 36..parent + 68).contains(&at);
        prop_assert!(!unnoticed || free);
    }

    #[test]
    fn any_bytes_decode_or_fail(bytes in vec(any::<u8>(), 0..600)) {
        let _ = FullHeader::decode(&bytes);
        let _ = AuxPow::decode(&bytes);
    }
}

use bitcoin::hashes::Hash;

use super::*;
use crate::chain::builder::{self, AuxPowSpec, REGTEST_BITS};
use crate::chain::{Anchor, Network};

const GENESIS_TIME: u32 = 1_296_688_602;
const NOW: Timestamp = Timestamp(GENESIS_TIME as u64 + 10_000_000);

/// Mines full headers on top of one: every third without AuxPoW.
fn mined(prev: BlockHash, height: Height, count: Height, salt: u8) -> Vec<Vec<u8>> {
    let mut chain: Vec<Vec<u8>> = Vec::new();
    let mut prev = prev.to_byte_array();
    for height in height..height + count {
        let time = GENESIS_TIME + height * 600 + u32::from(salt);
        let full = if height.is_multiple_of(3) {
            let header = builder::header(0x0001_0004, prev, [salt; 32], time, REGTEST_BITS, 0);
            builder::mine(header, true).to_vec()
        } else {
            AuxPowSpec::default().full_header(prev, time)
        };
        prev = builder::sha256d(&full[..80]);
        chain.push(full);
    }
    chain
}

fn full(bytes: &[u8]) -> FullHeader<'_> {
    FullHeader::decode(bytes).unwrap().0
}

fn tree_of(chain: &[Vec<u8>]) -> HeaderTree {
    let params = Network::Regtest.params();
    let anchor = Anchor {
        height: 0,
        hash: params.genesis.hash(),
        chainwork: None,
    };
    let mut tree = HeaderTree::new(params, anchor);
    for header in chain {
        tree.accept(&full(header), NOW).unwrap();
    }
    tree
}

fn genesis() -> BlockHash {
    Network::Regtest.params().genesis.hash()
}

/// A tree with a skeleton of these headers on top of its block at a height.
fn with_skeleton(chain: &[Vec<u8>], base: Height, above: &[Vec<u8>]) -> HeaderTree {
    let mut tree = tree_of(chain);
    tree.begin_skeleton(tree.hash_at(base).unwrap()).unwrap();
    for header in above {
        tree.extend_skeleton(full(header).pure, NOW).unwrap();
    }
    tree
}

#[test]
fn a_skeleton_becomes_the_chain_that_its_full_headers_make() {
    let chain = mined(genesis(), 1, 60, 0);
    let truth = tree_of(&chain);
    for base in [0, 1, 20, 59] {
        let (below, above) = chain.split_at(base as usize);
        let mut tree = with_skeleton(below, base, above);
        assert_eq!(tree.tip().height, base, "a skeleton is worth nothing yet");
        let skeleton = tree.skeleton().unwrap();
        assert_eq!((skeleton.base_height(), skeleton.top_height()), (base, 60));
        assert_eq!((skeleton.top(), skeleton.len()), (truth.tip().hash, above.len()));
        assert_eq!(skeleton.chainwork(), truth.tip().chainwork);
        assert_eq!(tree.adopt_skeleton(), Ok(Some(Accepted::Extended)));
        assert_eq!(tree.tip(), truth.tip());
        assert!(tree.skeleton().is_none());
        let heights = base + 1..=60;
        let unproved = heights.clone().filter(|height| height % 3 != 0);
        assert_eq!(tree.unproved(), unproved.count());
        for height in heights {
            assert_eq!(tree.header_at(height), truth.header_at(height));
            assert_eq!(tree.is_proved(height), Some(height % 3 == 0));
        }
    }
}

#[test]
fn a_skeleton_keeps_to_every_rule_that_needs_no_proof() {
    let chain = mined(genesis(), 1, 30, 0);
    let (below, above) = chain.split_at(12);
    let good = with_skeleton(below, 12, &above[..9]);
    let next = full(&above[9]).pure;
    let bent = |at: usize, value: u32| {
        let mut bytes = *next.as_bytes();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        PureHeader::new(bytes)
    };
    let error = |header: PureHeader, now: Timestamp| {
        let mut tree = good.clone();
        let error = tree.extend_skeleton(header, now).unwrap_err();
        assert_eq!(tree.skeleton().unwrap().top_height(), 21, "it is as before");
        error
    };
    // The same that a full header gets on top of the same chain.
    let mut truth = tree_of(&chain[..21]);
    let mut same = |header: PureHeader| {
        let expected = truth
            .accept(
                &FullHeader {
                    pure: header,
                    auxpow: None,
                },
                NOW,
            )
            .unwrap_err();
        assert_eq!(error(header, NOW), expected);
    };
    same(bent(72, 0x207f_fffe));
    same(bent(68, GENESIS_TIME + 16 * 600));
    same(bent(0, 0x0002_0104));
    same(bent(4, 1));
    assert!(matches!(error(next, Timestamp(0)), HeaderError::TimeTooLate { .. }));
    // Not mined: the version has no AuxPoW flag.
    let idle = builder::header(
        0x0001_0004,
        next.prev().to_byte_array(),
        [0; 32],
        next.time(),
        REGTEST_BITS,
        0,
    );
    let idle = PureHeader::new(builder::mine(idle, false));
    assert!(matches!(error(idle, NOW), HeaderError::InsufficientWork { .. }));
    let mut tree = tree_of(&chain);
    let nowhere = tree.extend_skeleton(next, NOW);
    assert!(matches!(nowhere, Err(HeaderError::UnknownParent { .. })));
}

#[test]
fn proofs_are_checked_against_the_skeleton() {
    let chain = mined(genesis(), 1, 10, 0);
    let mut tree = with_skeleton(&[], 0, &chain);
    assert_eq!(tree.skeleton().unwrap().is_proved(4), Some(false));
    assert_eq!(tree.prove_in_skeleton(4, &full(&chain[3])), Ok(()));
    assert_eq!(tree.skeleton().unwrap().is_proved(4), Some(true));
    assert_eq!(
        tree.skeleton().unwrap().is_proved(6),
        Some(true),
        "proved by its own hash"
    );
    let other = tree.prove_in_skeleton(5, &full(&chain[3]));
    assert!(matches!(other, Err(HeaderError::OtherHeader { height: 5, .. })));
    let mut forged = chain[4].clone();
    let last = forged.len() - 1;
    forged[last] ^= 0xff;
    let error = tree.prove_in_skeleton(5, &full(&forged)).unwrap_err();
    assert!(matches!(error, HeaderError::AuxPow(_)), "{error}");
    let bare = FullHeader {
        auxpow: None,
        ..full(&chain[4])
    };
    assert_eq!(tree.prove_in_skeleton(5, &bare), Err(HeaderError::AuxPowMissing));
    assert_eq!(tree.skeleton().unwrap().is_proved(5), Some(false));
    for height in [0, 11, u32::MAX] {
        let error = tree.prove_in_skeleton(height, &full(&chain[3]));
        assert!(matches!(error, Err(HeaderError::UnknownParent { .. })), "{height}");
    }
    tree.adopt_skeleton().unwrap();
    assert_eq!((tree.is_proved(4), tree.is_proved(5)), (Some(true), Some(false)));
    // Later, in the background.
    let before = tree.unproved();
    assert!(tree.prove(5, &full(&forged)).is_err());
    for _ in 0..2 {
        assert_eq!(tree.prove(5, &full(&chain[4])), Ok(()));
        assert_eq!((tree.is_proved(5), tree.unproved()), (Some(true), before - 1));
    }
    let error = tree.prove(5, &full(&chain[3]));
    assert!(matches!(error, Err(HeaderError::OtherHeader { .. })));
}

#[test]
fn work_decides_what_becomes_of_a_skeleton_on_a_branch() {
    let chain = mined(genesis(), 1, 30, 0);
    let fork = full(&chain[9]).pure.hash();
    for (count, reorganizes) in [(19, false), (20, false), (21, true), (40, true)] {
        let branch = mined(fork, 11, count, 7);
        let mut tree = with_skeleton(&chain, 10, &branch);
        let accepted = tree.adopt_skeleton().unwrap().unwrap();
        if reorganizes {
            assert_eq!(accepted, Accepted::Reorganized { fork: 10 }, "{count}");
            assert_eq!(tree.tip().hash, full(branch.last().unwrap()).pure.hash());
        } else {
            assert_eq!(accepted, Accepted::Branch, "{count}");
            assert_eq!(tree.tip().height, 30);
        }
        assert_eq!(tree.branch_headers(), if reorganizes { 20 } else { count as usize });
    }
}

#[test]
fn a_skeleton_is_cut_and_grown_again() {
    let chain = mined(genesis(), 1, 30, 0);
    let mut tree = with_skeleton(&chain[..10], 10, &chain[10..]);
    for (height, top) in [(40, 30), (25, 25), (12, 12), (10, 10), (3, 10)] {
        tree.cut_skeleton(height);
        let skeleton = tree.skeleton().unwrap();
        assert_eq!(skeleton.top_height(), top);
        assert_eq!(skeleton.chainwork(), tree_of(&chain[..top as usize]).tip().chainwork);
    }
    for header in &chain[10..] {
        tree.extend_skeleton(full(header).pure, NOW).unwrap();
    }
    let heights: Vec<_> = tree
        .skeleton()
        .unwrap()
        .headers(28)
        .map(|(height, ..)| height)
        .collect();
    assert_eq!(heights, [28, 29, 30]);
    assert_eq!(tree.skeleton().unwrap().headers(0).count(), 20);
    assert_eq!(tree.skeleton().unwrap().headers(u32::MAX).count(), 0);
    tree.drop_skeleton();
    assert!(tree.skeleton().is_none());
    assert_eq!(tree.adopt_skeleton(), Ok(None));
    assert_eq!(tree.tip().height, 10);
}

#[test]
fn a_skeleton_stands_on_a_known_block_that_is_not_below_the_anchor() {
    let chain = mined(genesis(), 1, 20, 0);
    let truth = tree_of(&chain);
    let anchor = Anchor {
        height: 10,
        hash: truth.hash_at(10).unwrap(),
        chainwork: None,
    };
    let mut tree = HeaderTree::new(Network::Regtest.params(), anchor);
    for height in (0..=10).rev() {
        tree.backfill(truth.header_at(height).unwrap()).unwrap();
    }
    assert_eq!(tree.begin_skeleton(anchor.hash), Ok(()));
    let below = tree.begin_skeleton(truth.hash_at(9).unwrap());
    assert!(matches!(below, Err(HeaderError::AnchorConflict { .. })));
    let unknown = tree.begin_skeleton(truth.hash_at(11).unwrap());
    assert!(matches!(unknown, Err(HeaderError::UnknownParent { .. })));
    for header in &chain[10..] {
        tree.extend_skeleton(full(header).pure, NOW).unwrap();
    }
    tree.adopt_skeleton().unwrap();
    assert_eq!(tree.tip().hash, truth.tip().hash);
    assert_eq!(tree.is_proved(10), Some(true), "the anchor vouches for it");
}

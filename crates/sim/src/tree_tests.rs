//! The real header tree takes what the simulator mines, and refuses each flaw for its own reason.

use super::parent::{AuxPowKind, Flaw};
use super::{AddressKind, SimChain, Work, World, WorldError};
use isonym_core::chain::auxpow::AuxPowError;
use isonym_core::chain::tree::{Accepted, HeaderError};
use isonym_core::chain::{Anchor, FullHeader, HeaderTree, Height, Network};
use isonym_core::name::NameId;
use isonym_core::time::Timestamp;

const START: Timestamp = Timestamp(1_700_000_000);
const NOW: Timestamp = Timestamp(4_000_000_000);

fn tree() -> HeaderTree {
    HeaderTree::new(Network::Regtest.params(), Anchor::shipped(Network::Regtest).unwrap())
}

fn feed(tree: &mut HeaderTree, chain: &SimChain, from: Height) -> Result<Option<Accepted>, HeaderError> {
    let mut last = None;
    for height in from..=chain.height() {
        let (header, rest) = FullHeader::decode(chain.full_header(height).unwrap()).unwrap();
        assert!(rest.is_empty());
        last = Some(tree.accept(&header, NOW)?);
    }
    Ok(last)
}

#[test]
fn long_chains_with_work_of_all_kinds_verify() {
    let mut world = World::new(11, START);
    world.register("d/verified", "value", AddressKind::P2wsh).unwrap();
    world.mine(500);
    let mut tree = tree();
    feed(&mut tree, world.chain(), 1).unwrap();
    assert_eq!(tree.tip().height, world.chain().height());
    assert_eq!(tree.tip().hash, world.chain().tip_hash());
}

#[test]
fn the_longer_fork_wins() {
    let mut world = World::new(12, START);
    world.mine(30);
    let mut fork = world.fork_at(20, 13);
    fork.mine(11);
    let mut tree = tree();
    feed(&mut tree, world.chain(), 1).unwrap();
    assert_eq!(
        feed(&mut tree, fork.chain(), 21),
        Ok(Some(Accepted::Reorganized { fork: 20 }))
    );
}

#[test]
fn each_flaw_is_refused_for_its_own_reason() {
    for kind in AuxPowKind::ALL {
        for flaw in Flaw::ALL {
            let mut world = World::new(14, START);
            world.mine_with(Work::Flawed(kind, flaw));
            let bytes = world.chain().full_header(1).unwrap();
            let Ok((header, _)) = FullHeader::decode(bytes) else {
                assert_eq!(flaw, Flaw::NoAuxPow);
                continue;
            };
            let error = tree().accept(&header, NOW).unwrap_err();
            let HeaderError::AuxPow(error) = error else {
                panic!("{kind:?} {flaw:?}: {error}");
            };
            let expected = match flaw {
                Flaw::ParentHasAuxPow => matches!(error, AuxPowError::NestedAuxPow { .. }),
                Flaw::NotEnoughWork => matches!(error, AuxPowError::InsufficientWork { .. }),
                Flaw::ParentOfOurChain => matches!(error, AuxPowError::OwnChainId { .. }),
                Flaw::ChainBranchTooLong => matches!(error, AuxPowError::ChainBranchTooLong { .. }),
                Flaw::CoinbaseNotInParent => matches!(error, AuxPowError::WrongMerkleRoot { .. }),
                Flaw::CoinbaseNotFirst | Flaw::CoinbaseIndexNegative => {
                    matches!(error, AuxPowError::CoinbaseIndex { .. })
                }
                Flaw::CoinbaseWithoutInput => matches!(error, AuxPowError::NoInputs),
                Flaw::RootMissing => matches!(error, AuxPowError::RootMissing),
                Flaw::RootTooLate => matches!(error, AuxPowError::RootTooLate { .. }),
                Flaw::MarkerTwice => matches!(error, AuxPowError::MarkerRepeated),
                Flaw::MarkerApart => matches!(error, AuxPowError::MarkerApart { .. }),
                Flaw::SizeMissing => matches!(error, AuxPowError::TreeSizeMissing { .. }),
                Flaw::WrongSize => matches!(error, AuxPowError::WrongTreeSize { .. }),
                Flaw::WrongSlot => matches!(error, AuxPowError::WrongChainIndex { .. }),
                Flaw::ChainIndexNegative => matches!(error, AuxPowError::NegativeChainIndex { .. }),
                Flaw::NoAuxPow => false,
            };
            assert!(expected, "{kind:?} {flaw:?}: {error}");
        }
    }
}

#[test]
fn blocks_without_work_are_refused() {
    let mut world = World::new(15, START);
    world.mine_with(Work::Nothing);
    let (header, _) = FullHeader::decode(world.chain().full_header(1).unwrap()).unwrap();
    assert!(matches!(
        tree().accept(&header, NOW),
        Err(HeaderError::InsufficientWork { .. })
    ));
}

#[test]
fn a_world_as_long_as_mainnet_since_an_anchor_is_a_matter_of_seconds() {
    const HEIGHT: Height = 37_000;
    let tip_time = Timestamp(1_760_000_000);
    let names = [("d/recent", "value", AddressKind::P2wpkh)];
    let world = World::long(16, HEIGHT, tip_time, &names).unwrap();
    let chain = world.chain();
    assert_eq!(chain.height(), HEIGHT);
    assert_eq!(world.time(), tip_time);
    let bytes: usize = (1..=HEIGHT)
        .map(|height| chain.full_header(height).unwrap().len())
        .sum();
    let average = bytes / HEIGHT as usize;
    assert!((1250..1350).contains(&average), "{average} bytes for a full header");
    assert_eq!(chain.header_tree(world.params()).unwrap().tip().hash, chain.tip_hash());
}

#[test]
fn names_of_a_long_world_can_be_shown() {
    let names = [("d/one", "1", AddressKind::P2wpkh), ("d/two", "2", AddressKind::P2sh)];
    let world = World::long(17, 140, START, &names).unwrap();
    for (name, ..) in names {
        let [entry] = world
            .chain()
            .history(&NameId::new(name.as_bytes()).unwrap().scripthash())
        else {
            panic!("{name} is not registered once");
        };
        let confirmations = 140 - entry.height + 1;
        let margin = world.params().semi_expiration_margin();
        assert!((12..30 - margin).contains(&confirmations), "{confirmations}");
    }
    assert!(matches!(
        World::long(17, 100, START, &names),
        Err(WorldError::NoFunds { .. })
    ));
}

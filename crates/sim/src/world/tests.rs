//! The chain is what its documentation says, by rules written down here once more.

use bitcoin::consensus::deserialize;

use super::*;
use crate::merkle;
use crate::parent::{AuxPowKind, Flaw};

const START: Timestamp = Timestamp(1_700_000_000);

/// P2SH, DERSIG, NULLDUMMY, CHECKLOCKTIMEVERIFY, CHECKSEQUENCEVERIFY, WITNESS.
const FLAGS: u32 = 1 | 1 << 2 | 1 << 4 | 1 << 9 | 1 << 10 | 1 << 11;

/// Runs all input scripts of a transaction as Namecoin Core does.
fn scripts_pass(chain: &SimChain, transaction: &Transaction) -> bool {
    let bytes = bitcoin::consensus::serialize(transaction);
    transaction.input.iter().enumerate().all(|(index, input)| {
        let spent = &chain.transaction(&input.previous_output.txid).unwrap().transaction;
        let output = &spent.output[input.previous_output.vout as usize];
        let script = &output.script_pubkey;
        let address =
            isonym_core::name::script::NameScript::parse(script).map_or(script.as_script(), |name| name.address);
        let checked = if address.is_p2sh() || address.is_witness_program() {
            address
        } else {
            script
        };
        let value = output.value.to_sat();
        bitcoinconsensus::verify_with_flags(checked.as_bytes(), value, &bytes, None, index, FLAGS).is_ok()
    })
}

fn last_transaction(world: &World) -> Transaction {
    let block = world.chain().block(world.chain().height()).unwrap();
    block.transactions.last().unwrap().transaction.clone()
}

#[test]
fn names_move_between_all_kinds_of_address() {
    let mut world = World::new(1, START);
    world.register("d/moving", "0", AddressKind::P2pkh).unwrap();
    for from in AddressKind::ALL {
        for to in AddressKind::ALL {
            world.update("d/moving", format!("{from:?}"), from).unwrap();
            assert!(scripts_pass(world.chain(), &last_transaction(&world)), "to {from:?}");
            world.update("d/moving", format!("{to:?}"), to).unwrap();
            assert!(
                scripts_pass(world.chain(), &last_transaction(&world)),
                "{from:?} to {to:?}"
            );
        }
    }
    let name = NameId::new(b"d/moving").unwrap();
    assert_eq!(world.chain().history(&name.scripthash()).len(), 51);
}

#[test]
fn a_stranger_can_not_sign() {
    for kind in AddressKind::ALL {
        let mut world = World::new(2, START);
        world.register("d/stolen", "mine", kind).unwrap();
        world
            .queue_update("d/stolen", "theirs", kind, Signer::Stranger)
            .unwrap();
        world.mine(1);
        assert!(!scripts_pass(world.chain(), &last_transaction(&world)), "{kind:?}");
    }
}

#[test]
fn a_lapsed_name_is_registered_anew() {
    let mut world = World::new(3, START);
    world.register("d/lapsed", "first", AddressKind::P2wpkh).unwrap();
    assert_eq!(
        world.register("d/lapsed", "again", AddressKind::P2sh),
        Err(WorldError::StillRegistered)
    );
    world.mine(30);
    assert_eq!(
        world.update("d/lapsed", "late", AddressKind::P2sh),
        Err(WorldError::NotRegistered)
    );
    world.register("d/lapsed", "second", AddressKind::P2sh).unwrap();
    assert!(scripts_pass(world.chain(), &last_transaction(&world)));
    world.update("d/lapsed", "third", AddressKind::P2pkh).unwrap();
    assert!(scripts_pass(world.chain(), &last_transaction(&world)));
}

#[test]
fn several_names_and_several_updates_fit_into_one_block() {
    let mut world = World::new(4, START);
    let names = AddressKind::ALL.map(|kind| (format!("d/{kind:?}"), kind));
    let registered: Vec<_> = names
        .iter()
        .map(|(name, kind)| (name.as_str(), "value", *kind))
        .collect();
    let txids = world.register_all(&registered).unwrap();
    let height = world.chain().height();
    assert!(
        txids
            .iter()
            .all(|txid| world.chain().position(txid).unwrap().height == height)
    );
    for value in ["a", "b"] {
        world
            .queue_update("d/P2wsh", value, AddressKind::P2wsh, Signer::Owner)
            .unwrap();
    }
    world.mine(1);
    let block = world.chain().block(height + 1).unwrap();
    assert_eq!(block.transactions.len(), 3);
    for transaction in &block.transactions[1..] {
        assert!(scripts_pass(world.chain(), &transaction.transaction));
    }
}

#[test]
fn blocks_are_whole() {
    let mut world = World::new(5, START);
    world.register("d/whole", "value", AddressKind::P2wsh).unwrap();
    world.update("d/whole", "other", AddressKind::P2wsh).unwrap();
    let chain = world.chain();
    for height in 1..=chain.height() {
        let block = chain.block(height).unwrap();
        assert_eq!(block.header.prev(), chain.header(height - 1).unwrap().hash());
        assert_eq!(u64::from(block.header.time()), START.0 + u64::from(height - 1) * 600);
        let tail = &block.to_bytes()[block.full_header.len()..];
        let transactions: Vec<Transaction> = deserialize(tail).unwrap();
        let txids: Vec<_> = transactions
            .iter()
            .map(|transaction| transaction.compute_txid().to_byte_array())
            .collect();
        assert_eq!(merkle::root(&txids), block.header.merkle_root().to_byte_array());
        assert!(transactions[0].is_coinbase());
        let plain = bitcoin::Block {
            header: deserialize(block.header.as_bytes()).unwrap(),
            txdata: transactions,
        };
        assert!(plain.check_witness_commitment());
        assert_eq!(
            plain.bip34_block_height().unwrap_or(0),
            if height > 16 { u64::from(height) } else { 0 }
        );
    }
}

#[test]
fn the_seed_decides_everything() {
    let tips = [6, 6, 7].map(|seed| {
        let mut world = World::new(seed, START);
        world.register("d/seeded", "value", AddressKind::P2sh).unwrap();
        world.chain().tip_hash()
    });
    assert_eq!(tips[0], tips[1]);
    assert_ne!(tips[0], tips[2]);
}

#[test]
fn a_fork_shares_the_past_and_goes_its_own_way() {
    let mut world = World::new(8, START);
    world.register("d/forked", "old", AddressKind::P2sh).unwrap();
    let height = world.chain().height();
    world.update("d/forked", "here", AddressKind::P2wsh).unwrap();
    let mut fork = world.fork_at(height, 9);
    assert_eq!(fork.chain().height(), height);
    fork.update("d/forked", "there", AddressKind::P2pkh).unwrap();
    assert!(scripts_pass(fork.chain(), &last_transaction(&fork)));
    assert_eq!(fork.chain().header(height), world.chain().header(height));
    assert_ne!(fork.chain().tip_hash(), world.chain().tip_hash());
    let name = NameId::new(b"d/forked").unwrap().scripthash();
    assert_eq!(fork.chain().history(&name).len(), 2);
    assert_ne!(fork.chain().history(&name)[1], world.chain().history(&name)[1]);
}

#[test]
fn what_a_branch_lost_is_confirmed_again_in_another_order() {
    let mut world = World::new(8, START);
    for name in ["d/a", "d/b"] {
        world.register(name, "old", AddressKind::P2sh).unwrap();
    }
    let height = world.chain().height();
    let mut orphaned = Vec::new();
    for name in ["d/a", "d/b"] {
        world.pay_apart().unwrap();
        orphaned.push(
            world
                .queue_update(name, "new", AddressKind::P2wsh, Signer::Owner)
                .unwrap(),
        );
    }
    world.mine(1);
    let mut fork = world.fork_at(height, 9);
    for txid in orphaned.iter().rev() {
        fork.queue_again(&world, txid).unwrap();
        fork.mine(1);
        assert!(scripts_pass(fork.chain(), &last_transaction(&fork)));
    }
    let history = |name: &[u8]| fork.chain().history(&NameId::new(name).unwrap().scripthash())[1];
    assert_eq!(
        history(b"d/b"),
        crate::chain::HistoryEntry {
            txid: orphaned[1],
            height: height + 1
        }
    );
    assert_eq!(
        history(b"d/a"),
        crate::chain::HistoryEntry {
            txid: orphaned[0],
            height: height + 2
        }
    );
    fork.update("d/a", "newer", AddressKind::P2pkh).unwrap();
    assert!(scripts_pass(fork.chain(), &last_transaction(&fork)));
    let nowhere = fork.chain().block(fork.chain().height()).unwrap().transactions[0].txid;
    assert_eq!(fork.queue_again(&world, &nowhere), Err(WorldError::NotInBranch));
}

#[test]
fn work_is_as_ordered() {
    let target = Network::Regtest.params().pow_limit.target();
    let mut world = World::new(10, START);
    for kind in AuxPowKind::ALL {
        world.mine_with(Work::AuxPow(kind));
        let block = world.chain().block(world.chain().height()).unwrap();
        assert!(block.header.has_auxpow());
        let parent =
            isonym_core::chain::PureHeader::decode(&block.full_header[block.full_header.len() - 80..]).unwrap();
        assert!(target.is_met_by(parent.hash()));
    }
    world.mine_with(Work::Flawed(AuxPowKind::Realistic, Flaw::NotEnoughWork));
    let bytes = world.chain().full_header(world.chain().height()).unwrap();
    let parent = isonym_core::chain::PureHeader::decode(&bytes[bytes.len() - 80..]).unwrap();
    assert!(!target.is_met_by(parent.hash()));
    world.mine_with(Work::Native);
    assert!(target.is_met_by(world.chain().tip_hash()));
    world.mine_with(Work::Nothing);
    assert!(!target.is_met_by(world.chain().tip_hash()));
    assert_eq!(world.chain().full_header(world.chain().height()).unwrap().len(), 80);
}

#[test]
fn an_index_that_follows_a_reorganisation_keeps_the_place_of_what_it_left() {
    let mut world = World::new(12, START);
    world.register("d/a", "old", AddressKind::P2pkh).unwrap();
    let mut index = world.chain().clone();
    let height = world.chain().height();
    let mut fork = world.fork_at(height, 13);
    world.update("d/a", "new", AddressKind::P2pkh).unwrap();
    index.follow(world.chain());
    let name = NameId::new(b"d/a").unwrap().scripthash();
    assert_eq!(index.history(&name), world.chain().history(&name));
    fork.register("d/b", "other", AddressKind::P2pkh).unwrap();
    index.follow(fork.chain());
    assert_eq!(index.tip_hash(), fork.chain().tip_hash());
    let (listed, truly) = (index.history(&name), fork.chain().history(&name));
    assert_eq!(listed[..1], *truly);
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(index.position(&listed[1].txid).is_some());
}

//! The index of names: held against Namecoin Core, and against a plain count of the same blocks.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use bitcoin::Transaction;
use bitcoin::hex::FromHex;
use flate2::read::GzDecoder;
use isonym::chain::{Block, Height, Network, Params};
use isonym::name::NameId;
use isonym::name::proof::{HeldName, NAME_TX_VERSION, ProvenName, Reached, Refusal};
use isonym::name::script::NameScript;
use isonym::name_index::{IndexError, NameIndex, NextBlock, UNDO_DEPTH};
use isonym::time::Timestamp;
use isonym_sim::wallet::Signer;
use isonym_sim::{AddressKind, SimChain, World};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

fn regtest() -> &'static Params {
    Network::Regtest.params()
}

fn vector(file: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/namecoind-regtest");
    std::fs::read(folder.join(file)).unwrap()
}

/// Returns the blocks that Namecoin Core wrote, in order.
fn core_blocks() -> Vec<Block> {
    let mut lines = String::new();
    GzDecoder::new(&vector("blocks.hex.gz")[..])
        .read_to_string(&mut lines)
        .unwrap();
    let bytes = lines.lines().map(|line| Vec::from_hex(line).unwrap());
    bytes.map(|bytes| Block::read(&bytes, regtest()).unwrap()).collect()
}

fn open(folder: &tempfile::TempDir) -> NameIndex {
    NameIndex::open(&folder.path().join("names"), regtest()).unwrap()
}

fn read(index: &NameIndex, blocks: &[(Height, Block)], target: Height) -> Result<(), IndexError> {
    let blocks: Vec<NextBlock> = blocks
        .iter()
        .map(|(height, block)| NextBlock {
            height: *height,
            block: block.clone(),
        })
        .collect();
    index.read(&blocks, target, true)
}

/// Returns all names with what is proved of them.
fn proven(index: &NameIndex) -> Vec<(NameId, Result<ProvenName, Option<Refusal>>)> {
    let mut all = Vec::new();
    index
        .scan(&NameId::new(b"").unwrap(), |name, held| {
            let proven = held.prove(&name, 0, regtest());
            all.push((name, proven));
            true
        })
        .unwrap();
    all
}

/// Returns the same in the words of Namecoin Core.
fn as_core(proven: &ProvenName, tip: Height) -> Value {
    let hex = |bytes: &[u8]| bitcoin::hex::DisplayHex::to_lower_hex_string(bytes);
    let left = i64::from(proven.height()) + 30 - i64::from(tip);
    json!({
        "name": hex(proven.name().as_bytes()),
        "name_encoding": "hex",
        "value": hex(proven.value().as_bytes()),
        "value_encoding": "hex",
        "txid": proven.txid().to_string(),
        "vout": proven.vout(),
        "address": proven.address(),
        "height": proven.height(),
        "expires_in": left,
        "expired": left <= 0,
    })
}

#[test]
fn core_and_the_index_know_the_same_names() {
    let answers: Value = serde_json::from_slice(&vector("names.json")).unwrap();
    let living: BTreeMap<String, Value> = answers["names"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|name| {
            let result = name["name_show_hex"]["result"].as_object()?;
            Some((name["name_hex"].as_str()?.to_owned(), Value::Object(result.clone())))
        })
        .collect();
    assert!(living.len() > 30, "{}", living.len());
    let blocks = core_blocks();
    let tip = Height::try_from(blocks.len() - 1).unwrap();
    // From all blocks, from as few as living names can be in, and from some between.
    for from in [1, 200, tip + 1 - 30] {
        let folder = tempfile::tempdir().unwrap();
        let index = open(&folder);
        for (height, block) in (0..).zip(&blocks).skip(usize::try_from(from).unwrap()) {
            read(&index, &[(height, block.clone())], tip).unwrap();
        }
        let covered = index.covered().unwrap().unwrap();
        assert_eq!((covered.from, covered.tip), (from, tip));
        assert_eq!(covered.hash.to_string(), answers["tip"].as_str().unwrap());
        let found: BTreeMap<String, Value> = proven(&index)
            .into_iter()
            .map(|(name, proven)| {
                let proven = proven.unwrap();
                // Whoever reads from the registration on says so.
                if from == 1 {
                    assert_eq!(proven.reached(), Reached::Registration);
                }
                let hex = bitcoin::hex::DisplayHex::to_lower_hex_string(name.as_bytes());
                (hex, as_core(&proven, tip))
            })
            .collect();
        assert_eq!(found, living, "from {from}");
        for unregistered in answers["unregistered"].as_array().unwrap() {
            let name = Vec::from_hex(unregistered["name_hex"].as_str().unwrap()).unwrap();
            assert!(index.find(&NameId::new(&name).unwrap()).unwrap().1.is_none());
        }
    }
}

#[test]
fn names_are_in_the_order_of_core() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(&folder);
    let blocks = core_blocks();
    let tip = Height::try_from(blocks.len() - 1).unwrap();
    let blocks: Vec<(Height, Block)> = (0..).zip(blocks).skip(1).collect();
    read(&index, &blocks, tip).unwrap();
    let names: Vec<NameId> = proven(&index).into_iter().map(|(name, _)| name).collect();
    assert!(names.is_sorted_by_key(|name| (name.as_bytes().len(), name.as_bytes().to_vec())));
    // From one on, whether it is there or not, and no further than wanted.
    for start in [
        names[7].clone(),
        NameId::new(&[names[7].as_bytes(), b"!"].concat()).unwrap(),
    ] {
        let mut found = Vec::new();
        index
            .scan(&start, |name, _| {
                found.push(name);
                found.len() < 3
            })
            .unwrap();
        let key = |name: &NameId| (name.as_bytes().len(), name.as_bytes().to_vec());
        let expected = names.iter().filter(|name| key(name) >= key(&start)).take(3);
        assert!(expected.eq(&found));
    }
}

/// What a plain reader makes of blocks: the newest operation of each name, and where it is.
fn counted(chain: &SimChain, from: Height, tip: Height) -> BTreeMap<Vec<u8>, (Height, String)> {
    let mut newest = BTreeMap::new();
    for height in from..=tip {
        let transactions: Vec<Transaction> = chain
            .block(height)
            .unwrap()
            .transactions
            .iter()
            .map(|it| it.transaction.clone())
            .collect();
        for tx in transactions.iter().filter(|tx| tx.version.0 == NAME_TX_VERSION) {
            for output in &tx.output {
                if let Some(script) = NameScript::parse(&output.script_pubkey)
                    && let Some((name, _)) = script.op.any_update()
                {
                    newest.insert(name.as_bytes().to_vec(), (height, tx.compute_txid().to_string()));
                }
            }
        }
    }
    newest.retain(|_, (height, _)| *height + 30 > tip);
    newest
}

fn indexed(index: &NameIndex) -> BTreeMap<Vec<u8>, (Height, String)> {
    let all = proven(index).into_iter().map(|(name, proven)| {
        let proven = proven.unwrap();
        (name.as_bytes().to_vec(), (proven.height(), proven.txid().to_string()))
    });
    all.collect()
}

fn block(chain: &SimChain, height: Height) -> (Height, Block) {
    let bytes = chain.block(height).unwrap().to_bytes();
    (height, Block::read(&bytes, regtest()).unwrap())
}

/// Has a world do something with names for some blocks.
fn live(world: &mut World, rng: &mut StdRng, blocks: u32) {
    let kinds = [AddressKind::P2pkh, AddressKind::P2wpkh, AddressKind::P2shP2wpkh];
    for _ in 0..blocks {
        for _ in 0..rng.random_range(0..4) {
            let name = format!("d/n{}", rng.random_range(0..12));
            let kind = *kinds.choose(rng).unwrap();
            let value = format!("{}", rng.random_range(0..1000));
            // Whatever it may do with the name as it is.
            let _ = match rng.random_range(0..4) {
                0 => world.queue_commitment(&name, kind),
                1 => world.queue_registration(&name, &value, kind),
                _ => world.queue_update(&name, &value, kind, Signer::Owner),
            };
        }
        world.mine(1);
    }
}

#[test]
fn whatever_the_chain_does_the_index_has_what_a_plain_count_has() {
    for seed in 0..6 {
        let mut rng = StdRng::seed_from_u64(seed);
        let folder = tempfile::tempdir().unwrap();
        let mut index = open(&folder);
        let mut world = World::new(seed, Timestamp(1_700_000_000));
        world.mine(101);
        live(&mut world, &mut rng, 60);
        let from = world.chain().height() + 1 - 30;
        let mut next = from;
        for round in 0..25 {
            let tip = world.chain().height();
            while next <= tip {
                let end = (next + rng.random_range(1..9)).min(tip + 1);
                let blocks: Vec<_> = (next..end).map(|height| block(world.chain(), height)).collect();
                read(&index, &blocks, tip).unwrap();
                next = end;
            }
            let covered = index.covered().unwrap().unwrap();
            assert_eq!((covered.from, covered.tip), (from, tip));
            assert_eq!(
                indexed(&index),
                counted(world.chain(), from, tip),
                "seed {seed}, round {round}"
            );
            assert_eq!(index.names().unwrap(), u64::try_from(indexed(&index).len()).unwrap());
            if rng.random_bool(0.2) {
                drop(index);
                index = open(&folder);
            }
            if rng.random_bool(0.6) {
                // What is below the first block can't be taken back.
                let depth = rng.random_range(1..=30).min(tip - from);
                let fork = tip - depth;
                if depth > 0 {
                    index.take_back(fork + 1).unwrap();
                    assert_eq!(
                        indexed(&index),
                        counted(world.chain(), from, fork),
                        "seed {seed}, round {round}, back"
                    );
                    world = world.fork_at(fork, rng.random());
                    next = fork + 1;
                }
            }
            let blocks = rng.random_range(1..20);
            live(&mut world, &mut rng, blocks);
        }
    }
}

#[test]
fn what_is_out_of_order_changes_nothing() {
    let mut world = World::new(3, Timestamp(1_700_000_000));
    world.register("d/a", "1", AddressKind::P2pkh).unwrap();
    world.mine(5);
    let folder = tempfile::tempdir().unwrap();
    let index = open(&folder);
    assert!(index.covered().unwrap().is_none());
    assert!(index.find(&NameId::new(b"d/a").unwrap()).unwrap().1.is_none());
    let tip = world.chain().height();
    let blocks: Vec<_> = (tip - 9..=tip - 2).map(|height| block(world.chain(), height)).collect();
    read(&index, &blocks, tip).unwrap();
    let before = (index.covered().unwrap(), indexed(&index));
    for wrong in [tip, tip - 2, tip - 9] {
        let expected = tip - 1;
        let got = read(&index, &[block(world.chain(), wrong)], tip);
        assert!(matches!(got, Err(IndexError::NotNext { expected: at, got }) if (at, got) == (expected, wrong)));
        // Nor what comes before it in one go.
        let mixed = [block(world.chain(), tip - 1), block(world.chain(), wrong)];
        assert_eq!(read(&index, &mixed, tip).is_err(), wrong != tip);
        if wrong == tip {
            index.take_back(tip - 1).unwrap();
        }
        assert_eq!((index.covered().unwrap(), indexed(&index)), before);
    }
    assert!(matches!(index.take_back(tip - 9), Err(IndexError::TooDeep { .. })));
    assert_eq!((index.covered().unwrap(), indexed(&index)), before);
}

#[test]
fn what_lies_too_deep_to_be_replaced_leaves_nothing_for_that() {
    let mut world = World::new(4, Timestamp(1_700_000_000));
    world.mine(UNDO_DEPTH + 60);
    let tip = world.chain().height();
    let folder = tempfile::tempdir().unwrap();
    let index = open(&folder);
    let blocks: Vec<_> = (5..=tip).map(|height| block(world.chain(), height)).collect();
    read(&index, &blocks, tip).unwrap();
    assert!(index.hash_at(tip - UNDO_DEPTH - 1).unwrap().is_none());
    assert!(index.hash_at(tip - UNDO_DEPTH).unwrap().is_some());
    let lowest = tip - UNDO_DEPTH + 1;
    assert!(matches!(index.take_back(lowest - 1), Err(IndexError::TooDeep { .. })));
    index.take_back(lowest).unwrap();
    assert_eq!(index.covered().unwrap().unwrap().tip, lowest - 1);
    // And there it stands still: what is below was not kept.
    assert!(matches!(index.take_back(lowest - 1), Err(IndexError::TooDeep { .. })));
}

/// Returns what became of a name by a block with an operation that breaks a rule, and of another one beside it.
fn refused(break_rule: impl FnOnce(&mut World)) -> (Option<Refusal>, Option<Refusal>) {
    let mut world = World::new(5, Timestamp(1_700_000_000));
    let names = [
        ("d/victim", "1", AddressKind::P2pkh),
        ("d/other", "1", AddressKind::P2wpkh),
    ];
    world.register_all(&names).unwrap();
    world.update("d/other", "2", AddressKind::P2pkh).unwrap();
    break_rule(&mut world);
    let tip = world.chain().height();
    let folder = tempfile::tempdir().unwrap();
    let index = open(&folder);
    let blocks: Vec<_> = (1..=tip).map(|height| block(world.chain(), height)).collect();
    read(&index, &blocks, tip).unwrap();
    let refusal = |name: &[u8]| {
        let held = index.find(&NameId::new(name).unwrap()).unwrap().1;
        held.as_ref().and_then(HeldName::refusal)
    };
    (refusal(b"d/victim"), refusal(b"d/other"))
}

#[test]
fn what_breaks_a_rule_is_refused_and_hurts_no_other_name() {
    assert_eq!(refused(|_| ()), (None, None));
    let stolen = |world: &mut World| {
        world
            .queue_update("d/victim", "stolen", AddressKind::P2pkh, Signer::Stranger)
            .unwrap();
        world.mine(1);
    };
    assert_eq!(refused(stolen), (Some(Refusal::Script), None));
    let stolen_and_passed_on = |world: &mut World| {
        stolen(world);
        world.update("d/victim", "mine", AddressKind::P2pkh).unwrap();
    };
    assert_eq!(refused(stolen_and_passed_on), (Some(Refusal::Before), None));
}

#[test]
fn what_is_not_on_the_disk_yet_is_seen_all_the_same() {
    let mut world = World::new(6, Timestamp(1_700_000_000));
    world.mine(40);
    let folder = tempfile::tempdir().unwrap();
    let index = open(&folder);
    for height in 3..=40 {
        let (height, block) = block(world.chain(), height);
        let blocks = [NextBlock { height, block }];
        index.read(&blocks, 40, false).unwrap();
        assert_eq!(
            index.covered().unwrap().map(|covered| (covered.from, covered.tip)),
            Some((3, height))
        );
    }
}

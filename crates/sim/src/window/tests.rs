use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use bitcoin::hashes::{Hash, sha256d};
use bitcoin::{OutPoint, TxOut};

use super::*;
use crate::chain::{SimBlock, SimChain};
use crate::merkle;
use crate::world::FIRST_UPDATE_DEPTH;
use isonym_core::name::script::{self, NameOp, NameScript};
use isonym_core::name::verify_script::check_spend;

const PLAN: Plan = Plan::short(7, 500);

/// What a scanner that knows nothing of the generator finds.
#[derive(Default)]
struct Scan {
    outputs: BTreeMap<OutPoint, (Height, TxOut)>,
    names: BTreeMap<NameId, (Height, NameValue)>,
    /// Operations: commitments, registrations, renewals of outputs in the chain and of others.
    counts: [usize; 4],
    transactions: usize,
}

impl Scan {
    fn block(&mut self, height: Height, block: &SimBlock) {
        let txids: Vec<_> = block.transactions.iter().map(|tx| tx.txid.to_byte_array()).collect();
        assert_eq!(merkle::root(&txids), block.header.merkle_root().to_byte_array());
        let has_witness =
            |tx: &crate::chain::SimTransaction| tx.transaction.compute_wtxid().to_raw_hash() != tx.txid.to_raw_hash();
        if block.transactions[1..].iter().any(has_witness) {
            let wtxids = block.transactions[1..]
                .iter()
                .map(|tx| tx.transaction.compute_wtxid().to_byte_array());
            let root = merkle::root(&[[0; 32]].into_iter().chain(wtxids).collect::<Vec<_>>());
            let commitment = sha256d::Hash::hash(&[root, [0; 32]].concat()).to_byte_array();
            let committed = &block.transactions[0].transaction.output[1].script_pubkey;
            assert!(committed.as_bytes().ends_with(&commitment), "{height}");
        }
        self.transactions += block.transactions.len();
        for tx in &block.transactions[1..] {
            self.transaction(height, &tx.transaction, &tx.bytes);
            for (vout, output) in (0..).zip(&tx.transaction.output) {
                self.outputs
                    .insert(OutPoint::new(tx.txid, vout), (height, output.clone()));
            }
        }
        let coinbase = &block.transactions[0];
        self.outputs.insert(
            OutPoint::new(coinbase.txid, 0),
            (height, coinbase.transaction.output[0].clone()),
        );
    }

    fn transaction(&mut self, height: Height, tx: &bitcoin::Transaction, bytes: &[u8]) {
        let spent: Vec<_> = tx
            .input
            .iter()
            .map(|input| self.outputs.remove(&input.previous_output))
            .collect();
        for (index, spent) in spent.iter().enumerate() {
            if let Some((_, output)) = spent {
                let address =
                    NameScript::parse(&output.script_pubkey).map_or(&*output.script_pubkey, |name| name.address);
                let checked = check_spend(output, address, bytes, index);
                assert_eq!(checked, Ok(()), "input {index} of {tx:?}, which spends {output:?}");
            }
        }
        let paid: Option<u64> = spent.iter().map(|spent| Some(spent.as_ref()?.1.value.to_sat())).sum();
        if let Some(paid) = paid {
            let out: u64 = tx.output.iter().map(|output| output.value.to_sat()).sum();
            assert!(paid > out && paid < out + 10_000);
        }
        let ops: Vec<_> = tx
            .output
            .iter()
            .filter_map(|output| NameScript::parse(&output.script_pubkey))
            .collect();
        assert!(ops.len() <= 1);
        let Some(NameScript { op, .. }) = ops.first() else {
            return;
        };
        let (kind, name, value) = match op {
            NameOp::New { .. } => (0, None, None),
            NameOp::FirstUpdate { name, salt, value } => {
                let (born, output) = spent[0].as_ref().unwrap();
                let Some(NameOp::New { commitment }) = NameScript::parse(&output.script_pubkey).map(|it| it.op) else {
                    panic!("a registration spends no commitment");
                };
                assert_eq!(commitment, script::commitment(salt, name));
                assert!(born + FIRST_UPDATE_DEPTH <= height);
                assert!(!self.names.contains_key(name));
                (1, Some(name), Some(value))
            }
            NameOp::Update { name, value } => {
                if let Some((_, output)) = &spent[0] {
                    let before = NameScript::parse(&output.script_pubkey).unwrap();
                    assert_eq!(before.op.any_update().unwrap().0, name);
                }
                assert_eq!(spent[0].is_some(), self.names.contains_key(name));
                (2 + usize::from(spent[0].is_none()), Some(name), Some(value))
            }
        };
        self.counts[kind] += 1;
        if let (Some(name), Some(value)) = (name, value) {
            self.names.insert(name.clone(), (height, value.clone()));
        }
    }
}

#[test]
fn a_window_is_valid_but_for_what_is_older_than_it() {
    let mut generator = Generator::new(PLAN);
    let mut chain = SimChain::new(generator.next().unwrap());
    let mut scan = Scan::default();
    for block in generator.by_ref() {
        scan.block(chain.height() + 1, &block);
        chain.push(block);
    }
    assert_eq!(chain.height(), PLAN.height());
    assert_eq!(chain.header_tree(params()).unwrap().tip().height, PLAN.height());
    let told: BTreeMap<_, _> = generator
        .registered()
        .map(|it| (it.name(), (it.height, it.value())))
        .collect();
    assert_eq!(told, scan.names);
    assert!(scan.counts.iter().all(|count| *count > 100), "{:?}", scan.counts);
    let renewals = scan.counts[2] + scan.counts[3];
    assert!(renewals * 10 > scan.transactions * 6, "most transactions renew names");
}

#[test]
fn a_window_is_as_dense_as_mainnet() {
    let blocks = Generator::new(PLAN).skip(PLAN.before as usize + 1);
    let (mut bytes, mut headers, mut transactions, mut count) = (0, 0, 0, 0);
    for block in blocks {
        bytes += block.to_bytes().len();
        headers += block.full_header.len();
        transactions += block.transactions.len();
        count += 1;
    }
    assert_eq!(count, PLAN.blocks as usize);
    assert!(
        (6500..7500).contains(&(bytes / count)),
        "{} bytes a block",
        bytes / count
    );
    assert!(
        (850..1050).contains(&(headers / count)),
        "{} bytes a header",
        headers / count
    );
    assert!(
        (24..26).contains(&(transactions * 2 / count)),
        "{transactions} transactions"
    );
}

#[test]
fn names_differ_and_values_are_json() {
    let names: BTreeSet<NameId> = (0..20_000).map(name).collect();
    assert_eq!(names.len(), 20_000);
    for index in 0..2000 {
        let value = value(index, index % 7);
        assert!((20..=520).contains(&value.as_bytes().len()));
        let _: serde_json::Value = serde_json::from_slice(value.as_bytes()).unwrap();
        assert_ne!(value, super::value(index, 7));
    }
}

#[test]
fn a_file_has_what_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("window");
    let plan = Plan::short(3, 20);
    let window = WindowFile::open_or_make(&path, plan).unwrap();
    let mut generator = Generator::new(plan);
    for (height, block) in (0..).zip(generator.by_ref()) {
        let hash = block.header.hash();
        assert_eq!(window.hash(height), Some(hash));
        assert_eq!(window.find(&hash), Some(height));
        assert_eq!(window.header(height).unwrap(), block.header);
        assert_eq!(window.full_header(height).unwrap(), block.full_header);
        assert_eq!(window.block(height).unwrap(), block.to_bytes());
    }
    assert_eq!(window.height(), plan.height());
    assert_eq!(window.names(), generator.registered().collect::<Vec<_>>());
    assert!(matches!(
        window.block(plan.height() + 1),
        Err(WindowError::NotTheWindow)
    ));
    assert_eq!(window.hash(plan.height() + 1), None);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn a_file_that_is_another_or_cut_short_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("window");
    let (one, other) = (Plan::short(3, 2), Plan::short(4, 2));
    WindowFile::open_or_make(&path, one).unwrap();
    assert!(matches!(WindowFile::open(&path, other), Err(WindowError::NotTheWindow)));
    let whole = fs::read(&path).unwrap();
    for length in [0, 10, 36, 60, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(WindowFile::open(&path, one).is_err(), "{length} bytes");
    }
    let tip = WindowFile::open_or_make(&path, one).unwrap().hash(one.height());
    assert!(tip.is_some());
    assert_eq!(fs::read(&path).unwrap(), whole, "the same plan gives the same bytes");
    assert_ne!(
        WindowFile::open_or_make(&path, other).unwrap().hash(other.height()),
        tip
    );
}

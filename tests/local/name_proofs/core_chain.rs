//! Every name of a chain that Namecoin Core wrote gets Core's answer, by proof alone.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use bitcoin::consensus::{deserialize, deserialize_partial, serialize};
use bitcoin::hex::FromHex;
use bitcoin::{Transaction, Txid, VarInt};
use flate2::read::GzDecoder;
use isonym::chain::{Anchor, FullHeader, HeaderTree, Height, Network, Params};
use isonym::name::policy;
use isonym::name::proof::{ProvenEntry, Reached, links_needed, verify, verify_entry};
use isonym::name::script::{NameOp, NameScript, commitment};
use isonym::name::verify_script::{SpendError, check_spend};
use isonym::name::{Encoding, NameId, NameProof, Outcome, Policy, ProofLimits, ProofLink, encoding};
use isonym::time::Timestamp;
use isonym_fixtures::world;
use serde_json::Value;

/// Names that Core shows and we don't, on purpose: Core has no notion of overdue renewal nor of a registration that
/// is too young.
const STRICTER: [(&str, &str); 13] = [
    ("d/plain", "semi-expired"),
    ("d/tls", "semi-expired"),
    ("d/latin1-value", "semi-expired"),
    ("d/value-75", "semi-expired"),
    ("d/value-zero-byte", "semi-expired"),
    ("", "semi-expired"),
    ("id/gpg", "semi-expired"),
    ("d/expires-in-1", "semi-expired"),
    ("d/expires-in-2", "semi-expired"),
    ("d/several-1", "semi-expired"),
    ("d/taken-over-recently", "unconfirmed"),
    ("d/first-conf-3", "unconfirmed"),
    ("d/first-conf-11", "unconfirmed"),
];

/// The chain of tests/vectors/namecoind-regtest, as an Electrum server would index it.
struct Fixture {
    params: &'static Params,
    tree: HeaderTree,
    blocks: Vec<Vec<Transaction>>,
    txs: HashMap<Txid, (Height, u32)>,
    operations: BTreeMap<Vec<u8>, Vec<(Txid, Height)>>,
    answers: Value,
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/namecoind-regtest")
}

impl Fixture {
    fn load() -> Self {
        let packed = std::fs::read(vectors().join("blocks.hex.gz")).unwrap();
        let mut lines = String::new();
        GzDecoder::new(&packed[..]).read_to_string(&mut lines).unwrap();
        let params = Network::Regtest.params();
        let anchor = Anchor {
            height: 0,
            hash: params.genesis.hash(),
            chainwork: None,
        };
        let mut fixture = Self {
            params,
            tree: HeaderTree::new(params, anchor),
            blocks: vec![],
            txs: HashMap::new(),
            operations: BTreeMap::new(),
            answers: serde_json::from_slice(&std::fs::read(vectors().join("names.json")).unwrap()).unwrap(),
        };
        lines
            .lines()
            .for_each(|line| fixture.connect(&Vec::from_hex(line).unwrap()));
        fixture
    }

    fn connect(&mut self, block: &[u8]) {
        let height = Height::try_from(self.blocks.len()).unwrap();
        let (header, mut rest) = FullHeader::decode(block).unwrap();
        if height > 0 {
            self.tree
                .accept(&header, Timestamp(u64::from(header.pure.time())))
                .unwrap();
        }
        let (count, used) = deserialize_partial::<VarInt>(rest).unwrap();
        rest = &rest[used..];
        let mut txs = vec![];
        for pos in 0..u32::try_from(count.0).unwrap() {
            let (tx, used) = deserialize_partial::<Transaction>(rest).unwrap();
            rest = &rest[used..];
            self.txs.insert(tx.compute_txid(), (height, pos));
            for output in &tx.output {
                let script = NameScript::parse(&output.script_pubkey);
                if let Some((name, _)) = script.as_ref().and_then(|script| script.op.any_update()) {
                    let history = self.operations.entry(name.as_bytes().to_vec()).or_default();
                    history.push((tx.compute_txid(), height));
                }
            }
            txs.push(tx);
        }
        assert!(rest.is_empty());
        self.blocks.push(txs);
    }

    fn tx(&self, txid: &Txid) -> Option<(&Transaction, Height, u32)> {
        let (height, pos) = *self.txs.get(txid)?;
        let block = &self.blocks[usize::try_from(height).unwrap()];
        Some((&block[usize::try_from(pos).unwrap()], height, pos))
    }

    fn link(&self, txid: &Txid) -> ProofLink {
        let (tx, height, pos) = self.tx(txid).unwrap();
        let leaves = world::leaves(&self.blocks[usize::try_from(height).unwrap()]);
        ProofLink {
            height,
            tx: serialize(tx),
            merkle: world::merkle_branch(&leaves, usize::try_from(pos).unwrap()),
            pos,
        }
    }

    fn history(&self, name: &NameId) -> &[(Txid, Height)] {
        self.operations.get(name.as_bytes()).map_or(&[], Vec::as_slice)
    }

    /// Fetches just what is needed of a name's history, as a lookup does.
    fn proof(&self, name: &NameId) -> NameProof {
        let history = self.history(name);
        let needed = links_needed(history, self.params, &ProofLimits::default()).unwrap();
        let links: Vec<_> = needed.iter().map(|(txid, _)| self.link(txid)).collect();
        NameProof {
            links,
            complete: needed.len() == history.len(),
            name_new: None,
        }
    }

    /// Returns the NAME_NEW behind the oldest transaction of a proof.
    fn name_new(&self, proof: &NameProof) -> Option<Vec<u8>> {
        let first: Transaction = deserialize(&proof.links.last()?.tx).unwrap();
        first.input.iter().find_map(|input| {
            let (tx, ..) = self.tx(&input.previous_output.txid)?;
            let spent = &tx.output[usize::try_from(input.previous_output.vout).unwrap()];
            let script = NameScript::parse(&spent.script_pubkey)?;
            matches!(script.op, NameOp::New { .. }).then(|| serialize(tx))
        })
    }

    fn names(&self) -> impl Iterator<Item = (NameId, &Value)> {
        self.answers["names"].as_array().unwrap().iter().map(|answer| {
            let bytes = Encoding::Hex.decode(answer["name_hex"].as_str().unwrap()).unwrap();
            (NameId::new(&bytes).unwrap(), answer)
        })
    }

    fn judge(&self, name: &NameId, policy: Policy) -> Outcome {
        let proven = verify(name, &self.proof(name), &self.tree, &ProofLimits::default())
            .unwrap_or_else(|error| panic!("{}: {error}", encoding::quoted(name.as_bytes())));
        policy::judge(proven, self.tree.tip().height, self.params, &policy)
    }
}

/// Checks an operation against one of Core's answers, both encodings of which are hex.
fn assert_same(entry: &ProvenEntry, expires_in: i64, core: &Value) {
    let what = encoding::quoted(entry.name().as_bytes());
    assert_eq!(
        Encoding::Hex.encode(entry.name().as_bytes()).unwrap(),
        core["name"],
        "{what}"
    );
    assert_eq!(
        Encoding::Hex.encode(entry.value().as_bytes()).unwrap(),
        core["value"],
        "{what}"
    );
    assert_eq!(entry.txid().to_string(), core["txid"], "{what}");
    assert_eq!(entry.vout(), core["vout"], "{what}");
    assert_eq!(entry.address(), core["address"], "{what}");
    assert_eq!(entry.height(), core["height"], "{what}");
    assert_eq!(expires_in, core["expires_in"], "{what}");
    assert_eq!(expires_in <= 0, core["expired"], "{what}");
}

#[test]
fn every_name_of_cores_chain_gets_cores_answer() {
    let fixture = Fixture::load();
    assert_eq!(fixture.tree.tip().hash.to_string(), fixture.answers["tip"]);
    let (mut found, mut expired, mut stricter) = (0, 0, BTreeMap::new());
    for (name, answer) in fixture.names() {
        let core = &answer["name_show_hex"];
        let what = encoding::quoted(name.as_bytes());
        let held_back = match fixture.judge(&name, Policy::default()) {
            Outcome::Found(status) => {
                found += 1;
                assert_same(status.name.entry(), status.expires_in, &core["result"]);
                continue;
            }
            Outcome::Expired(status) => {
                expired += 1;
                assert_eq!(core["error"]["message"], format!("name expired: {what}"));
                assert!(status.expired());
                continue;
            }
            Outcome::SemiExpired(status) => ("semi-expired", status),
            Outcome::Unconfirmed { status, .. } => ("unconfirmed", status),
            Outcome::LongExpired { .. } | Outcome::NeverExisted | Outcome::ProvedAbsent { .. } => {
                panic!("{what} exists")
            }
        };
        let (why, status) = held_back;
        assert_same(status.name.entry(), status.expires_in, &core["result"]);
        stricter.insert(String::from_utf8(name.as_bytes().to_vec()).unwrap(), why);
    }
    let expected = STRICTER.iter().map(|(name, why)| ((*name).to_owned(), *why)).collect();
    assert_eq!(stricter, expected);
    assert_eq!((found, expired), (76, 7));
}

#[test]
fn expired_names_are_shown_on_request_as_core_does() {
    let fixture = Fixture::load();
    let policy = Policy {
        allow_expired: true,
        ..Policy::default()
    };
    for (name, answer) in fixture.names() {
        let status = match fixture.judge(&name, policy) {
            Outcome::Found(status) | Outcome::Unconfirmed { status, .. } => status,
            other => panic!("{other:?}"),
        };
        if let Some(core) = answer["name_show_allow_expired"].get("result") {
            assert_eq!(status.expires_in, core["expires_in"]);
            assert_eq!(status.expired(), core["expired"]);
            assert_eq!(status.name.txid().to_string(), core["txid"]);
        }
    }
}

#[test]
fn histories_are_cores() {
    let fixture = Fixture::load();
    let tip = fixture.tree.tip().height;
    for (name, answer) in fixture.names() {
        let core = answer["name_history"]["result"].as_array().unwrap();
        let ours = fixture.history(&name);
        assert_eq!(ours.len(), core.len());
        for ((txid, _), core) in ours.iter().zip(core) {
            let entry = verify_entry(&name, &fixture.link(txid), &fixture.tree).unwrap();
            assert_same(&entry, policy::expires_in(entry.height(), tip, fixture.params), core);
        }
    }
}

#[test]
fn every_chain_reaches_its_registration_and_commitment() {
    let fixture = Fixture::load();
    let limits = ProofLimits::default();
    for (name, _) in fixture.names() {
        let what = encoding::quoted(name.as_bytes());
        let mut proof = fixture.proof(&name);
        let proven = verify(&name, &proof, &fixture.tree, &limits).unwrap();
        assert_eq!(proven.reached(), Reached::Registration, "{what}");
        assert!(!proven.commitment_checked());
        proof.links.truncate(proven.links() + 1);
        proof.name_new = fixture.name_new(&proof);
        let again = verify(&name, &proof, &fixture.tree, &limits).unwrap();
        assert!(again.commitment_checked(), "{what}");
        assert_eq!(proven.entry(), again.entry());
    }
}

#[test]
fn names_that_were_never_registered_have_no_history() {
    let fixture = Fixture::load();
    for answer in fixture.answers["unregistered"].as_array().unwrap() {
        let name = NameId::new(answer["name"].as_str().unwrap().as_bytes()).unwrap();
        assert!(fixture.history(&name).is_empty());
        assert_eq!(answer["name_show"]["error"]["code"], -4);
    }
}

/// Returns the file of real mainnet data, which isn't part of this repository, if it is there.
fn mainnet_file(name: &str) -> Option<Value> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures");
    let folder = std::env::var_os("ISONYM_FIXTURES").map_or_else(beside, PathBuf::from);
    let bytes = std::fs::read(folder.join("mainnet").join(name)).ok()?;
    Some(serde_json::from_slice(&bytes).unwrap())
}

#[test]
fn a_registration_of_mainnet_matches_its_name_new() {
    let Some(list) = mainnet_file("transactions.json") else {
        eprintln!("skipped: no mainnet/transactions.json under ISONYM_FIXTURES");
        return;
    };
    let raw = |at: usize| Vec::from_hex(list[at]["raw"].as_str().unwrap()).unwrap();
    let (new, first_raw) = (deserialize::<Transaction>(&raw(0)).unwrap(), raw(1));
    let first: Transaction = deserialize(&first_raw).unwrap();
    assert_eq!(new.compute_txid().to_string(), list[0]["txid"]);
    assert_eq!(first.compute_txid().to_string(), list[1]["txid"]);
    let spent = first.input[0].previous_output;
    assert_eq!(spent.txid, new.compute_txid());
    let output = &new.output[usize::try_from(spent.vout).unwrap()];
    let committed = NameScript::parse(&output.script_pubkey).unwrap();
    let registered = first
        .output
        .iter()
        .find_map(|output| NameScript::parse(&output.script_pubkey))
        .unwrap();
    let NameOp::FirstUpdate { name, salt, .. } = &registered.op else {
        panic!("no NAME_FIRSTUPDATE")
    };
    assert_eq!(name.as_bytes(), b"d/bitcoin");
    let made = NameOp::New {
        commitment: commitment(salt, name),
    };
    assert_eq!(committed.op, made);
    assert_eq!(check_spend(output, committed.address, &first_raw, 0), Ok(()));
    let wrong = check_spend(output, committed.address, &first_raw, 1);
    assert_eq!(wrong, Err(SpendError::Script { input: 1 }));
}

//! A regtest chain of our own: blocks with any transactions, names held by real keys, honest merkle branches.

use bitcoin::absolute::LockTime;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash;
use bitcoin::key::{CompressedPublicKey, PrivateKey, Secp256k1};
use bitcoin::script::{Builder, PushBytesBuf, Script};
use bitcoin::secp256k1::{All, Message, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, Network as BitcoinNetwork, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Witness,
    merkle_tree,
};
use isonym::chain::{Anchor, FullHeader, HeaderTree, Height, Network, PureHeader};
use isonym::name::proof::NAME_TX_VERSION;
use isonym::name::script::{self, NameOp};
use isonym::name::{NameId, NameProof, NameValue, ProofLink};
use isonym::time::Timestamp;

/// What every name output of these chains locks, in satoshis.
pub(crate) const LOCKED: u64 = 1_000_000;

/// How a name is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    P2pkh,
    P2wpkh,
    P2shP2wpkh,
}

pub(crate) struct World {
    pub(crate) tree: HeaderTree,
    blocks: Vec<Vec<Transaction>>,
    secp: Secp256k1<All>,
    key: PrivateKey,
}

impl World {
    pub(crate) fn new() -> Self {
        let params = Network::Regtest.params();
        let anchor = Anchor {
            height: 0,
            hash: params.genesis.hash(),
            chainwork: None,
        };
        Self {
            tree: HeaderTree::new(params, anchor),
            blocks: vec![vec![]],
            secp: Secp256k1::new(),
            key: PrivateKey::new(SecretKey::from_slice(&[7; 32]).unwrap(), BitcoinNetwork::Regtest),
        }
    }

    /// Mines a block with a coinbase and these transactions.
    pub(crate) fn mine(&mut self, txs: Vec<Transaction>) -> Height {
        let height = Height::try_from(self.blocks.len()).unwrap();
        let coinbase = transaction(
            vec![input(
                OutPoint::null(),
                Builder::new().push_int(height.into()).into_script(),
            )],
            vec![plain_output(50)],
        );
        let txs = [vec![coinbase], txs].concat();
        let root = merkle_tree::calculate_root(leaves(&txs).into_iter()).unwrap();
        let genesis = self.tree.params().genesis;
        let mut bytes = [0; PureHeader::SIZE];
        bytes[..4].copy_from_slice(&0x0001_0004_u32.to_le_bytes());
        bytes[4..36].copy_from_slice(self.tree.tip().hash.as_byte_array());
        bytes[36..68].copy_from_slice(root.as_byte_array());
        bytes[68..72].copy_from_slice(&(genesis.time() + 600 * height).to_le_bytes());
        bytes[72..76].copy_from_slice(&genesis.bits().to_consensus().to_le_bytes());
        for nonce in 0_u32.. {
            bytes[76..].copy_from_slice(&nonce.to_le_bytes());
            let pure = PureHeader::new(bytes);
            if pure.hash().as_byte_array()[31] < 0x7f {
                let now = Timestamp(u64::from(pure.time()));
                self.tree.accept(&FullHeader { pure, auxpow: None }, now).unwrap();
                break;
            }
        }
        self.blocks.push(txs);
        height
    }

    /// Mines empty blocks.
    pub(crate) fn age(&mut self, blocks: usize) {
        for _ in 0..blocks {
            self.mine(vec![]);
        }
    }

    /// Returns the transaction at `pos` of the block at `height` with its merkle branch; position 0 is the coinbase.
    pub(crate) fn link(&self, height: Height, pos: u32) -> ProofLink {
        let txs = &self.blocks[usize::try_from(height).unwrap()];
        let at = usize::try_from(pos).unwrap();
        ProofLink {
            height,
            tx: serialize(&txs[at]),
            merkle: merkle_branch(&leaves(txs), at),
            pos,
        }
    }

    /// Returns the script that lets the world's key spend.
    pub(crate) fn address(&self, holder: Holder) -> ScriptBuf {
        let key = CompressedPublicKey::from_private_key(&self.secp, &self.key).unwrap();
        let program = ScriptBuf::new_p2wpkh(&key.wpubkey_hash());
        match holder {
            Holder::P2pkh => ScriptBuf::new_p2pkh(&key.pubkey_hash()),
            Holder::P2wpkh => program,
            Holder::P2shP2wpkh => program.to_p2sh(),
        }
    }

    /// Returns a name output.
    pub(crate) fn output(&self, op: &NameOp, holder: Holder) -> TxOut {
        TxOut {
            value: Amount::from_sat(LOCKED),
            script_pubkey: op.to_script(&self.address(holder)),
        }
    }

    /// Spends output `vout` of `spent` into `outputs`, signed by the world's key.
    pub(crate) fn spend(&self, spent: &Transaction, vout: u32, holder: Holder, outputs: Vec<TxOut>) -> Transaction {
        let outpoint = OutPoint::new(spent.compute_txid(), vout);
        let output = &spent.output[usize::try_from(vout).unwrap()];
        let mut tx = transaction(vec![input(outpoint, ScriptBuf::new())], outputs);
        let key = CompressedPublicKey::from_private_key(&self.secp, &self.key).unwrap();
        let program = ScriptBuf::new_p2wpkh(&key.wpubkey_hash());
        let all = EcdsaSighashType::All;
        let mut cache = SighashCache::new(&tx);
        let digest = if holder == Holder::P2pkh {
            let whole = &output.script_pubkey;
            cache
                .legacy_signature_hash(0, whole, all.to_u32())
                .unwrap()
                .to_byte_array()
        } else {
            cache
                .p2wpkh_signature_hash(0, &program, output.value, all)
                .unwrap()
                .to_byte_array()
        };
        let signature = self.secp.sign_ecdsa(&Message::from_digest(digest), &self.key.inner);
        let mut signature = signature.serialize_der().to_vec();
        signature.push(1);
        match holder {
            Holder::P2pkh => {
                tx.input[0].script_sig = Builder::new()
                    .push_slice(PushBytesBuf::try_from(signature).unwrap())
                    .push_slice(key.to_bytes())
                    .into_script();
            }
            Holder::P2wpkh => tx.input[0].witness = Witness::from_slice(&[&signature[..], &key.to_bytes()]),
            Holder::P2shP2wpkh => {
                tx.input[0].script_sig = push_script(&program);
                tx.input[0].witness = Witness::from_slice(&[&signature[..], &key.to_bytes()]);
            }
        }
        tx
    }

    /// Registers a name: a NAME_NEW and, 12 blocks later, its NAME_FIRSTUPDATE. Returns both and the height of the
    /// latter, where it is at position 1.
    pub(crate) fn register(&mut self, name: &str, value: &str, holder: Holder) -> Registered {
        let salt = vec![3; 20];
        let commitment = script::commitment(&salt, &id(name));
        let anything = OutPoint::new(
            self.blocks[self.blocks.len() - 1]
                .first()
                .map_or_else(|| bitcoin::Txid::from_byte_array([9; 32]), Transaction::compute_txid),
            0,
        );
        let new = transaction(
            vec![input(anything, ScriptBuf::new())],
            vec![self.output(&NameOp::New { commitment }, holder)],
        );
        self.mine(vec![new.clone()]);
        self.age(11);
        let op = NameOp::FirstUpdate {
            name: id(name),
            salt,
            value: text(value),
        };
        let first = self.spend(&new, 0, holder, vec![self.output(&op, holder)]);
        let height = self.mine(vec![first.clone()]);
        Registered { new, first, height }
    }

    /// Spends the name output (at index 0) of `spent` by a NAME_UPDATE, unmined.
    pub(crate) fn update(&self, spent: &Transaction, name: &str, value: &str, holder: Holder) -> Transaction {
        self.spend(spent, 0, holder, vec![self.output(&update(name, value), holder)])
    }

    /// Returns a chain of `spends` updates over a registration, two blocks apart and 12 deep, and its whole proof.
    pub(crate) fn chain(&mut self, name: &str, spends: usize, holder: Holder) -> NameProof {
        let registered = self.register(name, "0", holder);
        let mut heights = vec![registered.height];
        let mut last = registered.first;
        for number in 1..=spends {
            last = self.update(&last, name, &number.to_string(), holder);
            heights.push(self.mine(vec![last.clone()]));
            self.age(1);
        }
        self.age(12);
        self.proof(&heights)
    }

    /// Returns the proof made of the transactions at position 1 of these heights, given oldest first.
    pub(crate) fn proof(&self, heights: &[Height]) -> NameProof {
        NameProof {
            links: heights.iter().rev().map(|height| self.link(*height, 1)).collect(),
            complete: true,
            name_new: None,
        }
    }
}

/// What [`World::register`] made.
pub(crate) struct Registered {
    pub(crate) new: Transaction,
    pub(crate) first: Transaction,
    pub(crate) height: Height,
}

pub(crate) fn id(name: &str) -> NameId {
    NameId::new(name.as_bytes()).unwrap()
}

pub(crate) fn text(value: &str) -> NameValue {
    NameValue::new(value.as_bytes()).unwrap()
}

pub(crate) fn update(name: &str, value: &str) -> NameOp {
    NameOp::Update {
        name: id(name),
        value: text(value),
    }
}

/// Returns an output that has nothing to do with names.
pub(crate) fn plain_output(value: u64) -> TxOut {
    TxOut {
        value: Amount::from_sat(value),
        script_pubkey: ScriptBuf::from_bytes(vec![0x51]),
    }
}

pub(crate) fn input(previous_output: OutPoint, script_sig: ScriptBuf) -> TxIn {
    TxIn {
        previous_output,
        script_sig,
        sequence: Sequence::MAX,
        witness: Witness::new(),
    }
}

pub(crate) fn transaction(input: Vec<TxIn>, output: Vec<TxOut>) -> Transaction {
    Transaction {
        version: Version(NAME_TX_VERSION),
        lock_time: LockTime::ZERO,
        input,
        output,
    }
}

fn push_script(script: &Script) -> ScriptBuf {
    Builder::new()
        .push_slice(PushBytesBuf::try_from(script.to_bytes()).unwrap())
        .into_script()
}

pub(crate) fn leaves(txs: &[Transaction]) -> Vec<TxMerkleNode> {
    txs.iter()
        .map(|tx| TxMerkleNode::from_raw_hash(tx.compute_txid().to_raw_hash()))
        .collect()
}

/// Returns the merkle branch of a leaf, from the leaf up.
pub(crate) fn merkle_branch(leaves: &[TxMerkleNode], pos: usize) -> Vec<TxMerkleNode> {
    let (mut level, mut at, mut branch) = (leaves.to_vec(), pos, vec![]);
    while level.len() > 1 {
        if level.len() % 2 == 1 {
            level.extend(level.last().copied());
        }
        branch.push(level[at ^ 1]);
        level = level
            .chunks(2)
            .map(|pair| merkle_tree::calculate_root(pair.iter().copied()).unwrap())
            .collect();
        at /= 2;
    }
    branch
}

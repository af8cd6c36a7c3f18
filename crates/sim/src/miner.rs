//! Mining: queued transactions become a block with work.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::script::{Builder, ScriptBuf};
use bitcoin::{
    Amount, BlockHash, CompactTarget, OutPoint, Sequence, Target, Transaction, TxIn, TxOut, Witness, transaction,
};
use rand::Rng;
use rand::rngs::StdRng;

use super::chain::{SimBlock, SimChain};
use super::merkle::{self, Node};
use super::parent::{self, AuxPowKind, Flaw};
use isonym_core::chain::{Height, PureHeader};

/// Version of our headers without AuxPoW: chain ID 1, base version 4.
const BASE_VERSION: u32 = 0x0001_0004;

/// Blocks between two halvings of the subsidy on regtest.
const HALVING_INTERVAL: Height = 150;

/// The first subsidy, in satoshis.
const SUBSIDY: u64 = 5_000_000_000;

/// The work under a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A parent block's, of this kind.
    AuxPow(AuxPowKind),
    /// A parent block's, with one rule broken.
    Flawed(AuxPowKind, Flaw),
    /// The block's own hash.
    Native,
    /// None: the hash is above the target and there is no AuxPoW.
    Nothing,
}

impl Work {
    /// Draws a kind of work, realistic ones most often.
    pub fn draw(rng: &mut StdRng) -> Self {
        match rng.random_range(0..100_u8) {
            0..60 => Self::AuxPow(AuxPowKind::Realistic),
            60..80 => Self::AuxPow(AuxPowKind::Nested),
            80..90 => Self::AuxPow(AuxPowKind::Witness),
            90..94 => Self::AuxPow(AuxPowKind::Legacy),
            94..97 => Self::AuxPow(AuxPowKind::Minimal),
            _ => Self::Native,
        }
    }
}

/// What a block is mined upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Below {
    /// The height of the block below.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
    /// The compact target of the new block.
    pub bits: CompactTarget,
}

/// Mines the block on top of `chain` with `transactions` (inputs before their spenders), paying the subsidy to
/// `payee`.
pub fn mine(
    rng: &mut StdRng,
    chain: &SimChain,
    time: u32,
    payee: ScriptBuf,
    transactions: Vec<Transaction>,
    work: Work,
) -> SimBlock {
    let below = Below {
        height: chain.height(),
        hash: chain.tip_hash(),
        bits: chain.header(0).map(|genesis| genesis.bits()).unwrap_or_default(),
    };
    mine_upon(rng, below, time, payee, transactions, work)
}

/// Mines a block as [`mine`] does, upon one of which no more need be there than this.
pub fn mine_upon(
    rng: &mut StdRng,
    below: Below,
    time: u32,
    payee: ScriptBuf,
    transactions: Vec<Transaction>,
    work: Work,
) -> SimBlock {
    let height = below.height.saturating_add(1);
    let mut all = vec![coinbase(rng, height, payee, &transactions)];
    all.extend(transactions);
    let leaves: Vec<Node> = all
        .iter()
        .map(|transaction| transaction.compute_txid().to_byte_array())
        .collect();
    let bits = below.bits;
    let target = Target::from_compact(bits);
    let version = match work {
        Work::AuxPow(_) | Work::Flawed(..) => BASE_VERSION | PureHeader::AUXPOW_FLAG.cast_unsigned(),
        Work::Native | Work::Nothing => BASE_VERSION,
    };
    let mut header = parent::header_bytes(
        version,
        &below.hash.to_byte_array(),
        &merkle::root(&leaves),
        time,
        bits.to_consensus(),
    );
    let auxpow = match work {
        Work::AuxPow(kind) => parent::mine(rng, &PureHeader::new(header), kind, None),
        Work::Flawed(kind, flaw) => parent::mine(rng, &PureHeader::new(header), kind, Some(flaw)),
        Work::Native | Work::Nothing => {
            parent::grind(&mut header, target, work == Work::Native);
            Vec::new()
        }
    };
    SimBlock::new(PureHeader::new(header), &auxpow, all)
}

/// Makes the coinbase: height in the script (BIP-0034), and where a transaction has a witness the commitment to
/// all of them (BIP-0141).
fn coinbase(rng: &mut StdRng, height: Height, payee: ScriptBuf, transactions: &[Transaction]) -> Transaction {
    let subsidy = SUBSIDY.checked_shr(height / HALVING_INTERVAL).unwrap_or(0);
    let mut output = vec![TxOut {
        value: Amount::from_sat(subsidy),
        script_pubkey: payee,
    }];
    let mut witness = Witness::new();
    let witnessed = |transaction: &Transaction| transaction.input.iter().any(|input| !input.witness.is_empty());
    if transactions.iter().any(witnessed) {
        let leaves: Vec<Node> = std::iter::once([0; 32])
            .chain(
                transactions
                    .iter()
                    .map(|transaction| transaction.compute_wtxid().to_byte_array()),
            )
            .collect();
        let reserved = [0; 32];
        let commitment = sha256d::Hash::hash(&[merkle::root(&leaves), reserved].concat());
        let script = [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], commitment.as_byte_array()].concat();
        output.push(TxOut {
            value: Amount::ZERO,
            script_pubkey: ScriptBuf::from_bytes(script),
        });
        witness.push(reserved);
    }
    let extra_nonce: [u8; 8] = rng.random();
    Transaction {
        version: transaction::Version::ONE,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: Builder::new()
                .push_int(height.into())
                .push_slice(extra_nonce)
                .into_script(),
            sequence: Sequence::MAX,
            witness,
        }],
        output,
    }
}

//! Parent blocks: the work that merge-mined blocks borrow, in every form seen on mainnet, and with every flaw.

use std::ops::RangeInclusive;

use bitcoin::absolute::LockTime;
use bitcoin::consensus::serialize;
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Target, Transaction, TxIn, TxOut, VarInt, Witness, transaction};
use rand::Rng;
use rand::rngs::StdRng;

use super::merkle::{self, Node};
use isonym_core::chain::PureHeader;

/// The merge-mining marker in front of the chain merkle root.
const MARKER: [u8; 4] = [0xfa, 0xbe, 0x6d, 0x6d];

/// Namecoin's chain ID, which decides its slot among merge-mined chains.
const CHAIN_ID: u32 = 1;

/// Version of a parent header: version bits without any bit that Namecoin reads.
const PARENT_VERSION: u32 = 0x2000_0000;

/// Compact target that parent headers claim; only Namecoin's own counts.
const PARENT_BITS: u32 = 0x1703_4219;

/// How many miners a pool pays in one coinbase: 31 bytes for each.
const POOL_MINERS: RangeInclusive<usize> = 2..=24;

/// How a parent block commits to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuxPowKind {
    /// Marker, three outputs, coinbase branch of 11 or 12 hashes.
    Realistic,
    /// The same, and a chain merkle branch of 1 to 6 hashes: several chains share the parent.
    Nested,
    /// As realistic, but the coinbase is serialized with its witness.
    Witness,
    /// No marker: the root starts within the first 20 bytes of the script.
    Legacy,
    /// Marker, no outputs, no branches.
    Minimal,
    /// As nested, and the coinbase pays many: with the AuxPoW of a pool, a full header has some 1.3 kB on average.
    Pool,
}

impl AuxPowKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Realistic,
        Self::Nested,
        Self::Witness,
        Self::Legacy,
        Self::Minimal,
        Self::Pool,
    ];
}

/// One rule of AuxPoW broken, all others kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The header has the AuxPoW flag and no AuxPoW.
    NoAuxPow,
    /// The parent header has the AuxPoW flag itself.
    ParentHasAuxPow,
    /// The parent header's hash is above our target.
    NotEnoughWork,
    /// The parent header has Namecoin's chain ID.
    ParentOfOurChain,
    /// The chain merkle branch has 31 hashes.
    ChainBranchTooLong,
    /// The coinbase branch doesn't lead to the parent's merkle root.
    CoinbaseNotInParent,
    /// The coinbase is not leaf 0 of the parent block.
    CoinbaseNotFirst,
    /// The coinbase branch has the index −1.
    CoinbaseIndexNegative,
    /// The parent coinbase has no input.
    CoinbaseWithoutInput,
    /// The parent coinbase does not contain the chain merkle root.
    RootMissing,
    /// No marker, and the root starts after byte 20.
    RootTooLate,
    /// The marker occurs twice.
    MarkerTwice,
    /// The marker is not directly before the root.
    MarkerApart,
    /// The script ends behind the root.
    SizeMissing,
    /// The tree size is not 2 to the power of the chain branch's length.
    WrongSize,
    /// The chain index is not the slot that nonce and chain ID demand.
    WrongSlot,
    /// The chain merkle branch has the index −1.
    ChainIndexNegative,
}

impl Flaw {
    /// All flaws.
    pub const ALL: [Self; 17] = [
        Self::NoAuxPow,
        Self::ParentHasAuxPow,
        Self::NotEnoughWork,
        Self::ParentOfOurChain,
        Self::ChainBranchTooLong,
        Self::CoinbaseNotInParent,
        Self::CoinbaseNotFirst,
        Self::CoinbaseIndexNegative,
        Self::CoinbaseWithoutInput,
        Self::RootMissing,
        Self::RootTooLate,
        Self::MarkerTwice,
        Self::MarkerApart,
        Self::SizeMissing,
        Self::WrongSize,
        Self::WrongSlot,
        Self::ChainIndexNegative,
    ];
}

/// Mines a parent block for `header` and returns the AuxPoW as it follows the 80 bytes: valid, or with one flaw.
///
/// Takes as many hashes as the header's bits ask for, so it is meant for regtest's.
pub fn mine(rng: &mut StdRng, header: &PureHeader, kind: AuxPowKind, flaw: Option<Flaw>) -> Vec<u8> {
    if flaw == Some(Flaw::NoAuxPow) {
        return Vec::new();
    }
    let chain = ChainCommitment::new(rng, header, kind, flaw);
    let script = chain.coinbase_script(rng, kind, flaw);
    let (coinbase, txid) = coinbase(rng, script, kind, flaw);
    let branch = match kind {
        AuxPowKind::Minimal if !matches!(flaw, Some(Flaw::CoinbaseNotFirst | Flaw::CoinbaseIndexNegative)) => 0,
        _ => rng.random_range(11..=12),
    };
    let branch = random_nodes(rng, branch);
    let index: i32 = match flaw {
        Some(Flaw::CoinbaseNotFirst) => 1,
        Some(Flaw::CoinbaseIndexNegative) => -1,
        _ => 0,
    };
    let root = match flaw {
        Some(Flaw::CoinbaseNotInParent) => rng.random(),
        _ => merkle::fold(txid, &branch, index.cast_unsigned()),
    };
    let parent = parent_header(rng, header, &root, flaw);

    let mut bytes = coinbase;
    bytes.extend_from_slice(&[0; 32]);
    write_branch(&mut bytes, &branch, index);
    write_branch(&mut bytes, &chain.branch, chain.index);
    bytes.extend_from_slice(&parent);
    bytes
}

/// Counts the nonce of a header up until its hash meets the target, or until it misses it.
pub fn grind(header: &mut [u8; PureHeader::SIZE], target: Target, meet: bool) {
    for nonce in 0..=u32::MAX {
        if let Some(field) = header.last_chunk_mut() {
            *field = nonce.to_le_bytes();
        }
        if target.is_met_by(PureHeader::new(*header).hash()) == meet {
            return;
        }
    }
}

/// The place of our block among the chains that share the parent block.
struct ChainCommitment {
    root: Node,
    branch: Vec<Node>,
    index: i32,
    nonce: u32,
}

impl ChainCommitment {
    fn new(rng: &mut StdRng, header: &PureHeader, kind: AuxPowKind, flaw: Option<Flaw>) -> Self {
        let height = match (kind, flaw) {
            (_, Some(Flaw::ChainBranchTooLong)) => 31,
            (AuxPowKind::Nested | AuxPowKind::Pool, _) | (_, Some(Flaw::WrongSlot)) => rng.random_range(1..=6),
            _ => 0,
        };
        let branch = random_nodes(rng, height);
        let nonce = rng.random();
        let slot = slot(nonce, height);
        let index = match flaw {
            Some(Flaw::WrongSlot) => (slot ^ 1).cast_signed(),
            Some(Flaw::ChainIndexNegative) => -1,
            _ => slot.cast_signed(),
        };
        let mut root = merkle::fold(header.hash().to_byte_array(), &branch, index.cast_unsigned());
        root.reverse();
        Self {
            root,
            branch,
            index,
            nonce,
        }
    }

    /// Writes the parent coinbase's script: height, a miner's tag, the merge-mining header, an extra nonce.
    fn coinbase_script(&self, rng: &mut StdRng, kind: AuxPowKind, flaw: Option<Flaw>) -> Vec<u8> {
        let mut script = vec![3];
        script.extend_from_slice(&rng.random::<[u8; 3]>());
        let marked = kind != AuxPowKind::Legacy || flaw == Some(Flaw::MarkerTwice) || flaw == Some(Flaw::MarkerApart);
        if flaw == Some(Flaw::RootTooLate) {
            script.extend_from_slice(b"\x14a tag of 20 bytes in.");
        } else if marked {
            script.extend_from_slice(b"\x05/sim/\x2c");
            script.extend_from_slice(&MARKER);
        }
        if flaw == Some(Flaw::MarkerApart) {
            script.push(0);
        }
        let root = if flaw == Some(Flaw::RootMissing) {
            rng.random()
        } else {
            self.root
        };
        script.extend_from_slice(&root);
        if flaw == Some(Flaw::SizeMissing) {
            return script;
        }
        let size = 1_u32
            .checked_shl(u32::try_from(self.branch.len()).unwrap_or(u32::MAX))
            .unwrap_or(0);
        let size = if flaw == Some(Flaw::WrongSize) {
            size.wrapping_add(1)
        } else {
            size
        };
        script.extend_from_slice(&size.to_le_bytes());
        script.extend_from_slice(&self.nonce.to_le_bytes());
        if flaw == Some(Flaw::MarkerTwice) {
            script.extend_from_slice(&MARKER);
        }
        if kind != AuxPowKind::Minimal {
            script.push(8);
            script.extend_from_slice(&rng.random::<[u8; 8]>());
        }
        script
    }
}

/// Returns the slot of our chain in a tree of the given height.
///
/// Source: Namecoin Core `auxpow.cpp`, `CAuxPow::getExpectedIndex`.
fn slot(nonce: u32, height: usize) -> u32 {
    let next = |value: u32| value.wrapping_mul(1_103_515_245).wrapping_add(12345);
    let mixed = next(next(nonce).wrapping_add(CHAIN_ID));
    let mask = 1_u32
        .checked_shl(u32::try_from(height).unwrap_or(u32::MAX))
        .map_or(u32::MAX, |size| size - 1);
    mixed & mask
}

/// Returns the parent coinbase as serialized, and its txid.
fn coinbase(rng: &mut StdRng, script: Vec<u8>, kind: AuxPowKind, flaw: Option<Flaw>) -> (Vec<u8>, Node) {
    if flaw == Some(Flaw::CoinbaseWithoutInput) {
        // Version 1, no inputs, no outputs, no lock time.
        let bytes = vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let txid = sha256d::Hash::hash(&bytes).to_byte_array();
        return (bytes, txid);
    }
    let mut witness = Witness::new();
    if kind == AuxPowKind::Witness {
        witness.push([0; 32]);
    }
    let transaction = Transaction {
        version: transaction::Version::ONE,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::from_bytes(script),
            sequence: Sequence::MAX,
            witness,
        }],
        output: match kind {
            AuxPowKind::Minimal => Vec::new(),
            AuxPowKind::Pool => {
                let miners = rng.random_range(POOL_MINERS);
                let mut outputs: Vec<TxOut> = (0..miners).map(|_| payment(rng, 20_000_000)).collect();
                outputs.extend(parent_outputs(rng));
                outputs
            }
            AuxPowKind::Realistic | AuxPowKind::Nested | AuxPowKind::Witness | AuxPowKind::Legacy => {
                parent_outputs(rng)
            }
        },
    };
    (serialize(&transaction), transaction.compute_txid().to_byte_array())
}

/// Makes the outputs of a mining pool's coinbase: the reward, the witness commitment, a third chain's tag.
fn parent_outputs(rng: &mut StdRng) -> Vec<TxOut> {
    let reward = payment(rng, 312_500_000);
    let commitment = [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], &rng.random::<[u8; 32]>()].concat();
    let tag = [&b"\x6a\x29RSKBLOCK:"[..], &rng.random::<[u8; 32]>()].concat();
    let without_value = |script| TxOut {
        value: Amount::ZERO,
        script_pubkey: ScriptBuf::from_bytes(script),
    };
    vec![reward, without_value(commitment), without_value(tag)]
}

/// Pays so many satoshis to a witness public key hash that nobody has the key of.
fn payment(rng: &mut StdRng, value: u64) -> TxOut {
    TxOut {
        value: Amount::from_sat(value),
        script_pubkey: ScriptBuf::from_bytes([&[0x00, 0x14][..], &rng.random::<[u8; 20]>()].concat()),
    }
}

fn parent_header(rng: &mut StdRng, header: &PureHeader, root: &Node, flaw: Option<Flaw>) -> [u8; PureHeader::SIZE] {
    let version = match flaw {
        Some(Flaw::ParentHasAuxPow) => PARENT_VERSION | PureHeader::AUXPOW_FLAG.cast_unsigned(),
        Some(Flaw::ParentOfOurChain) => CHAIN_ID << 16 | 4,
        _ => PARENT_VERSION,
    };
    let mut bytes = header_bytes(version, &rng.random(), root, header.time(), PARENT_BITS);
    let target = Target::from_compact(header.bits());
    grind(&mut bytes, target, flaw != Some(Flaw::NotEnoughWork));
    bytes
}

/// Lays out the 80 bytes of a header, with nonce 0.
pub fn header_bytes(version: u32, prev: &Node, root: &Node, time: u32, bits: u32) -> [u8; PureHeader::SIZE] {
    let mut bytes = [0; PureHeader::SIZE];
    let fields = version
        .to_le_bytes()
        .into_iter()
        .chain(*prev)
        .chain(*root)
        .chain(time.to_le_bytes())
        .chain(bits.to_le_bytes());
    bytes.iter_mut().zip(fields).for_each(|(byte, field)| *byte = field);
    bytes
}

fn random_nodes(rng: &mut StdRng, count: usize) -> Vec<Node> {
    (0..count).map(|_| rng.random()).collect()
}

fn write_branch(bytes: &mut Vec<u8>, branch: &[Node], index: i32) {
    bytes.extend_from_slice(&serialize(&VarInt::from(branch.len())));
    bytes.extend(branch.iter().flatten());
    bytes.extend_from_slice(&index.to_le_bytes());
}

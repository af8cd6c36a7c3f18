//! Whole blocks: that the transactions in them are those that the header names.
//!
//! Which blocks are part of the chain, the header tree says. Here a block is held against its own header alone, so that
//! whatever is wrong with it is the fault of whoever sent it, and another sender has the right one.
//!
//! Source: Namecoin Core `validation.cpp`, `CheckBlock`, `CheckMerkleRoot`, `CheckWitnessMalleation` and `IsBlockMutated`;
//! BIP 141, "Commitment structure".

use bitcoin::consensus::Decodable;
use bitcoin::hashes::{Hash, HashEngine, sha256d};
use bitcoin::{BlockHash, Transaction, TxMerkleNode, WitnessCommitment, WitnessMerkleNode};

use super::auxpow::DecodeError;
use super::{FullHeader, HeaderError, Params, PureHeader, difficulty, tree};

/// Longest serialized block, in bytes; no message has room for a longer one.
///
/// Source: Namecoin Core `consensus/consensus.h`, `MAX_BLOCK_SERIALIZED_SIZE`; `net.h`, `MAX_PROTOCOL_MESSAGE_LENGTH`.
pub const MAX_BLOCK_SIZE: usize = 4_000_000;

/// Bytes of a transaction without witness that might be an inner node of the merkle tree.
const NODE_SIZE: usize = 64;

/// What the output begins with that commits to the witnesses: `OP_RETURN`, a push of 36 bytes, the mark.
const COMMITMENT_MARK: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

/// Bytes of that output's script at least.
const COMMITMENT_LEN: usize = 38;

/// Why bytes are not the block that their header names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// There are more bytes than a block can have.
    #[error("block of {got} bytes, at most {MAX_BLOCK_SIZE} allowed")]
    Oversized {
        /// How many there are.
        got: usize,
    },
    /// The header can't be read.
    #[error("header: {0}")]
    Header(#[from] DecodeError),
    /// The header has no work.
    #[error("header: {0}")]
    Work(#[from] HeaderError),
    /// The transactions can't be read.
    #[error("transactions that can't be read")]
    Undecodable,
    /// More follows after the last transaction.
    #[error("{got} bytes after the last transaction")]
    TrailingBytes {
        /// How many.
        got: usize,
    },
    /// The first transaction is no coinbase, or another one is.
    #[error("no coinbase in front, or another one behind it")]
    Coinbase,
    /// The merkle root is of other transactions.
    #[error("transactions with the merkle root {got}, the header has {expected}")]
    MerkleRoot {
        /// The header's.
        expected: TxMerkleNode,
        /// That of the transactions.
        got: TxMerkleNode,
    },
    /// The transactions have the right merkle root, as other transactions have: some stand in the block twice
    /// (CVE-2012-2459), or one may be a node of the tree (CVE-2017-12842).
    #[error("mutated: other transactions have the same merkle root")]
    Mutated,
    /// The witnesses are not those that the coinbase commits to.
    #[error("witnesses other than those that the coinbase commits to")]
    WitnessCommitment,
    /// There are witnesses that nothing commits to.
    #[error("witnesses that the coinbase does not commit to")]
    UnexpectedWitness,
}

/// A block whose header has work, and whose transactions, with their witnesses, are those that the header commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    header: PureHeader,
    hash: BlockHash,
    transactions: Vec<Transaction>,
}

impl Block {
    /// Reads a serialized block with its AuxPoW and its witnesses, at most [`MAX_BLOCK_SIZE`] bytes, and checks it.
    ///
    /// # Errors
    ///
    /// One variant of [`BlockError`] for each rule.
    pub fn read(bytes: &[u8], params: &Params) -> Result<Self, BlockError> {
        if bytes.len() > MAX_BLOCK_SIZE {
            return Err(BlockError::Oversized { got: bytes.len() });
        }
        let (full, mut rest) = FullHeader::decode(bytes)?;
        let (header, hash) = (full.pure, full.pure.hash());
        difficulty::decode_target(header.bits(), params.pow_limit).map_err(HeaderError::from)?;
        tree::check_work(&full, hash, params)?;
        // Reserves no more room than a megabyte before it has read what is to fill it.
        let transactions = Vec::<Transaction>::consensus_decode(&mut rest).map_err(|_| BlockError::Undecodable)?;
        if !rest.is_empty() {
            return Err(BlockError::TrailingBytes { got: rest.len() });
        }
        let block = Self {
            header,
            hash,
            transactions,
        };
        block.check_transactions()?;
        block.check_witnesses()?;
        Ok(block)
    }

    /// Returns the 80 bytes of its header.
    pub fn header(&self) -> &PureHeader {
        &self.header
    }

    /// Returns its hash.
    pub fn hash(&self) -> BlockHash {
        self.hash
    }

    /// Returns its transactions, the coinbase first.
    pub fn transactions(&self) -> &[Transaction] {
        &self.transactions
    }

    fn check_transactions(&self) -> Result<(), BlockError> {
        let mut coinbases = self.transactions.iter().map(Transaction::is_coinbase);
        if coinbases.next() != Some(true) || coinbases.any(|it| it) {
            return Err(BlockError::Coinbase);
        }
        let txids = self.transactions.iter().map(|tx| tx.compute_txid().to_raw_hash());
        let (root, is_ambiguous) = merkle_root(txids.collect());
        let (expected, got) = (self.header.merkle_root(), TxMerkleNode::from_raw_hash(root));
        if got != expected {
            return Err(BlockError::MerkleRoot { expected, got });
        }
        if is_ambiguous || self.transactions.iter().any(|tx| tx.base_size() == NODE_SIZE) {
            return Err(BlockError::Mutated);
        }
        Ok(())
    }

    fn check_witnesses(&self) -> Result<(), BlockError> {
        let Some(coinbase) = self.transactions.first() else {
            return Err(BlockError::Coinbase);
        };
        let mut commitments = coinbase.output.iter().filter_map(|output| {
            let script = output.script_pubkey.as_bytes();
            let (head, _) = script.split_at_checked(COMMITMENT_LEN)?;
            head.strip_prefix(&COMMITMENT_MARK)
        });
        let Some(committed) = commitments.next_back() else {
            let has_witness = |tx: &Transaction| tx.input.iter().any(|input| !input.witness.is_empty());
            let is_clean = !self.transactions.iter().any(has_witness);
            return is_clean.then_some(()).ok_or(BlockError::UnexpectedWitness);
        };
        let reserved = coinbase.input.first().and_then(|input| {
            let witness = &input.witness;
            witness.nth(0).filter(|it| it.len() == 32 && witness.len() == 1)
        });
        let reserved = reserved.ok_or(BlockError::WitnessCommitment)?;
        let others = self.transactions.iter().skip(1);
        let wtxids = others.map(|tx| tx.compute_wtxid().to_raw_hash());
        // The coinbase holds the commitment, so that its own hash can't be part of it.
        let wtxids = std::iter::once(sha256d::Hash::all_zeros()).chain(wtxids).collect();
        let root = WitnessMerkleNode::from_raw_hash(merkle_root(wtxids).0);
        let mut engine = WitnessCommitment::engine();
        engine.input(root.as_byte_array());
        engine.input(reserved);
        if WitnessCommitment::from_engine(engine).as_byte_array() != committed {
            return Err(BlockError::WitnessCommitment);
        }
        Ok(())
    }
}

/// Returns the root of a merkle tree over at least one leaf, and whether a longer list of leaves has the same: where two
/// nodes beside each other are equal, the right one may be the copy that fills up an odd level.
fn merkle_root(mut level: Vec<sha256d::Hash>) -> (sha256d::Hash, bool) {
    let mut is_ambiguous = false;
    while level.len() > 1 {
        let pairs = level
            .chunks(2)
            .filter_map(|pair| Some((*pair.first()?, *pair.last()?, pair.len())));
        let parents = pairs.map(|(left, right, nodes)| {
            is_ambiguous |= nodes == 2 && left == right;
            let mut engine = sha256d::Hash::engine();
            engine.input(left.as_byte_array());
            engine.input(right.as_byte_array());
            sha256d::Hash::from_engine(engine)
        });
        level = parents.collect();
    }
    (
        level.first().copied().unwrap_or_else(sha256d::Hash::all_zeros),
        is_ambiguous,
    )
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::consensus::serialize;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, TxIn, TxOut, Txid, Witness};

    use super::*;
    use crate::chain::builder::{self, AuxPowSpec};
    use crate::chain::{AuxPow, Network};

    fn transaction(spent: OutPoint, number: u64, witness: &[&[u8]]) -> Transaction {
        Transaction {
            version: Version(2),
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: spent,
                script_sig: ScriptBuf::from_bytes(vec![1, 7]),
                sequence: Sequence::MAX,
                witness: Witness::from_slice(witness),
            }],
            output: vec![TxOut {
                value: Amount::from_sat(number),
                script_pubkey: ScriptBuf::from_bytes(vec![0x51; 20]),
            }],
        }
    }

    /// Returns a coinbase and some other transactions, of which the odd ones have a witness if any shall.
    fn transactions(others: u64, with_witness: bool) -> Vec<Transaction> {
        let mut all = vec![transaction(OutPoint::null(), 50, &[])];
        for number in 0..others {
            let txid = Txid::from_byte_array([u8::try_from(number).unwrap() + 1; 32]);
            let witness: &[&[u8]] = if with_witness && number % 2 == 1 {
                &[b"signature"]
            } else {
                &[]
            };
            all.push(transaction(OutPoint { txid, vout: 0 }, number, witness));
        }
        all
    }

    /// Has the coinbase commit to the witnesses.
    fn committed(mut all: Vec<Transaction>) -> Vec<Transaction> {
        let wtxids = all.iter().skip(1).map(|tx| tx.compute_wtxid().to_byte_array());
        let leaves: Vec<[u8; 32]> = std::iter::once([0; 32]).chain(wtxids).collect();
        let commitment = builder::sha256d(&[root(&leaves), [9; 32]].concat());
        let script = [&COMMITMENT_MARK[..], &commitment].concat();
        all[0].input[0].witness = Witness::from_slice(&[[9; 32]]);
        all[0].output.push(TxOut {
            value: Amount::ZERO,
            script_pubkey: ScriptBuf::from_bytes(script),
        });
        all
    }

    /// Computes a root the slow way.
    fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
        if let [only] = leaves {
            return *only;
        }
        let parents: Vec<[u8; 32]> = leaves
            .chunks(2)
            .map(|pair| builder::pair(pair[0], *pair.last().unwrap()))
            .collect();
        root(&parents)
    }

    fn bytes(all: &[Transaction]) -> Vec<u8> {
        let txids: Vec<[u8; 32]> = all.iter().map(|tx| tx.compute_txid().to_byte_array()).collect();
        let header = builder::header(
            0x0001_0004,
            [3; 32],
            root(&txids),
            1_700_000_000,
            builder::REGTEST_BITS,
            0,
        );
        [&builder::mine(header, true)[..], &serialize(&all.to_vec())].concat()
    }

    fn read(bytes: &[u8]) -> Result<Block, BlockError> {
        Block::read(bytes, Network::Regtest.params())
    }

    #[test]
    fn blocks_of_all_sizes_are_read() {
        for others in 0..9 {
            for all in [transactions(others, false), committed(transactions(others, true))] {
                let block = read(&bytes(&all)).unwrap();
                assert_eq!(block.transactions(), all);
                assert_eq!(block.hash(), block.header().hash());
            }
        }
    }

    #[test]
    fn merge_mined_blocks_are_read() {
        let all = transactions(3, false);
        let txids: Vec<[u8; 32]> = all.iter().map(|tx| tx.compute_txid().to_byte_array()).collect();
        let header = builder::header(0x0001_0104, [3; 32], root(&txids), 1, builder::REGTEST_BITS, 0);
        let auxpow = AuxPowSpec::realistic(2).build(builder::sha256d(&header));
        let whole = [&header[..], &auxpow, &serialize(&all)].concat();
        assert_eq!(read(&whole).unwrap().transactions(), all);
        // Of the work of another block nothing is to be had.
        let other = AuxPowSpec::realistic(2).build([5; 32]);
        assert!(AuxPow::decode(&other).is_ok());
        let forged = [&header[..], &other, &serialize(&all)].concat();
        assert!(matches!(read(&forged), Err(BlockError::Work(HeaderError::AuxPow(_)))));
    }

    #[test]
    fn no_byte_can_be_changed_nor_left_out() {
        let whole = bytes(&committed(transactions(4, true)));
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            // What is left of the header has other work by chance.
            if let Ok(block) = read(&changed) {
                assert!(at < PureHeader::SIZE, "byte {at}");
                assert_ne!(block.hash(), read(&whole).unwrap().hash());
            }
            assert!(read(&whole[..at]).is_err(), "the first {at} bytes");
        }
        assert_eq!(
            read(&[&whole[..], &[0]].concat()),
            Err(BlockError::TrailingBytes { got: 1 })
        );
    }

    #[test]
    fn a_block_that_repeats_its_last_transactions_is_another_ones_root() {
        // Three, five, six and seven transactions have levels that are filled up.
        for (count, repeated) in [(3, 1), (5, 1), (6, 2), (7, 1), (9, 1), (10, 2), (12, 4)] {
            let mut all = transactions(count - 1, false);
            let whole = bytes(&all);
            all.extend_from_within(all.len() - repeated..);
            let mutated = [&whole[..PureHeader::SIZE], &serialize(&all)].concat();
            assert_eq!(read(&mutated), Err(BlockError::Mutated), "{count}");
        }
    }

    #[test]
    fn what_may_be_a_node_of_the_tree_is_refused() {
        let mut all = transactions(2, false);
        let short = &mut all[2];
        short.input[0].script_sig = ScriptBuf::new();
        short.output[0].script_pubkey = ScriptBuf::from_bytes(vec![0x51; 4]);
        assert_eq!(short.base_size(), NODE_SIZE);
        assert_eq!(read(&bytes(&all)), Err(BlockError::Mutated));
    }

    #[test]
    fn the_coinbase_is_first_and_alone() {
        let all = transactions(3, false);
        for wrong in [
            Vec::new(),
            all[1..].to_vec(),
            [&all[..], &all[..1]].concat(),
            [&all[1..], &all[..1]].concat(),
        ] {
            let root = if wrong.is_empty() { vec![] } else { wrong };
            let read = if root.is_empty() {
                let header = builder::header(0x0001_0004, [3; 32], [0; 32], 1, builder::REGTEST_BITS, 0);
                read(&[&builder::mine(header, true)[..], &[0]].concat())
            } else {
                read(&bytes(&root))
            };
            assert_eq!(read, Err(BlockError::Coinbase));
        }
    }

    #[test]
    fn witnesses_are_those_that_the_coinbase_commits_to() {
        let all = transactions(3, true);
        assert_eq!(read(&bytes(&all)), Err(BlockError::UnexpectedWitness));
        let honest = committed(all);
        let forged = |change: &dyn Fn(&mut Vec<Transaction>)| {
            let mut all = honest.clone();
            change(&mut all);
            read(&bytes(&all))
        };
        let refused = Err(BlockError::WitnessCommitment);
        let another = Witness::from_slice(&[b"another"]);
        assert_eq!(forged(&|all| all[2].input[0].witness = another.clone()), refused);
        assert_eq!(forged(&|all| all[2].input[0].witness = Witness::new()), refused);
        assert_eq!(forged(&|all| all[0].input[0].witness = Witness::new()), refused);
        assert_eq!(
            forged(&|all| all[0].input[0].witness = Witness::from_slice(&[[9; 32], [9; 32]])),
            refused
        );
        // The last one counts.
        let mut decoy = honest[0].output[1].clone();
        assert!(forged(&|all| all[0].output.insert(0, decoy.clone())).is_ok());
        decoy.script_pubkey = ScriptBuf::from_bytes([&COMMITMENT_MARK[..], &[1; 32]].concat());
        assert!(forged(&|all| all[0].output.insert(0, decoy.clone())).is_ok());
        assert_eq!(forged(&|all| all[0].output.push(decoy.clone())), refused);
    }

    #[test]
    fn nothing_longer_than_a_block_is_looked_at() {
        let long = vec![0; MAX_BLOCK_SIZE + 1];
        assert_eq!(read(&long), Err(BlockError::Oversized { got: long.len() }));
    }
}

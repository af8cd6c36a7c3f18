//! A simulated chain: its blocks, and what an index over them knows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Script, Transaction, Txid, VarInt};

use super::merkle::{self, Node};
use crate::chain::{Height, PureHeader};
use crate::name::id::ScriptHash;
use crate::name::script::NameScript;

/// A block.
#[derive(Clone, Debug)]
pub struct SimBlock {
    /// The 80 bytes and the AuxPoW, if it has one.
    pub full_header: Vec<u8>,
    /// The 80 bytes.
    pub header: PureHeader,
    /// The transactions in order, the coinbase first.
    pub transactions: Vec<SimTransaction>,
}

impl SimBlock {
    /// Makes a block; the header's merkle root is the caller's affair.
    pub fn new(header: PureHeader, auxpow: &[u8], transactions: Vec<Transaction>) -> Self {
        Self {
            full_header: [header.as_bytes(), auxpow].concat(),
            header,
            transactions: transactions.into_iter().map(SimTransaction::new).collect(),
        }
    }

    /// Returns the block as serialized.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.full_header.clone();
        bytes.extend_from_slice(&serialize(&VarInt::from(self.transactions.len())));
        for transaction in &self.transactions {
            bytes.extend_from_slice(&transaction.bytes);
        }
        bytes
    }

    fn leaves(&self) -> Vec<Node> {
        self.transactions
            .iter()
            .map(|transaction| transaction.txid.to_byte_array())
            .collect()
    }
}

/// A transaction in a block.
#[derive(Clone, Debug)]
pub struct SimTransaction {
    /// Its hash without witness.
    pub txid: Txid,
    /// As serialized, with witness.
    pub bytes: Vec<u8>,
    /// The same, taken apart.
    pub transaction: Transaction,
}

impl SimTransaction {
    fn new(transaction: Transaction) -> Self {
        Self {
            txid: transaction.compute_txid(),
            bytes: serialize(&transaction),
            transaction,
        }
    }

    /// Returns the index keys of the names that it registers or updates.
    fn names(&self) -> impl Iterator<Item = ScriptHash> {
        self.transaction.output.iter().filter_map(|output| {
            let script: &Script = &output.script_pubkey;
            NameScript::parse(script)?
                .op
                .any_update()
                .map(|(name, _)| name.scripthash())
        })
    }
}

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The height of its block.
    pub height: Height,
    /// Its index in the block.
    pub pos: usize,
}

/// One entry of a name's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The transaction.
    pub txid: Txid,
    /// The height of its block.
    pub height: Height,
}

/// A chain of blocks from the genesis block on. Blocks are shared between clones, so a clone is cheap.
#[derive(Clone, Debug)]
pub struct SimChain {
    blocks: Vec<Arc<SimBlock>>,
    positions: HashMap<Txid, Position>,
    histories: BTreeMap<ScriptHash, Vec<HistoryEntry>>,
}

impl SimChain {
    /// Starts a chain with its genesis block.
    pub fn new(genesis: SimBlock) -> Self {
        let mut chain = Self {
            blocks: Vec::new(),
            positions: HashMap::new(),
            histories: BTreeMap::new(),
        };
        chain.push(genesis);
        chain
    }

    /// Appends a block; nothing is checked.
    pub fn push(&mut self, block: SimBlock) {
        self.push_shared(Arc::new(block));
    }

    fn push_shared(&mut self, block: Arc<SimBlock>) {
        let height = Height::try_from(self.blocks.len()).unwrap_or(Height::MAX);
        for (pos, transaction) in block.transactions.iter().enumerate() {
            self.positions.insert(transaction.txid, Position { height, pos });
            for name in transaction.names() {
                self.histories.entry(name).or_default().push(HistoryEntry {
                    txid: transaction.txid,
                    height,
                });
            }
        }
        self.blocks.push(block);
    }

    /// Returns the chain up to and including `height`.
    #[must_use]
    pub fn truncated(&self, height: Height) -> Self {
        let mut chain = self.clone();
        chain.blocks.truncate(height as usize + 1);
        chain.positions.retain(|_, position| position.height <= height);
        chain.histories.retain(|_, history| {
            history.retain(|entry| entry.height <= height);
            !history.is_empty()
        });
        chain
    }

    /// Returns the height of the last block.
    pub fn height(&self) -> Height {
        Height::try_from(self.blocks.len().saturating_sub(1)).unwrap_or(Height::MAX)
    }

    /// Returns the hash of the last block.
    pub fn tip_hash(&self) -> BlockHash {
        self.header(self.height())
            .map_or_else(BlockHash::all_zeros, |header| header.hash())
    }

    /// Returns the block at a height.
    pub fn block(&self, height: Height) -> Option<&SimBlock> {
        self.blocks.get(height as usize).map(AsRef::as_ref)
    }

    /// Returns the 80 bytes of the header at a height.
    pub fn header(&self, height: Height) -> Option<PureHeader> {
        self.block(height).map(|block| block.header)
    }

    /// Returns the full header at a height, as serialized.
    pub fn full_header(&self, height: Height) -> Option<&[u8]> {
        self.block(height).map(|block| block.full_header.as_slice())
    }

    /// Replaces what is served as the full header at a height; the block below it stays.
    pub fn replace_full_header(&mut self, height: Height, full_header: Vec<u8>) {
        if let Some(shared) = self.blocks.get_mut(height as usize) {
            let block = Arc::make_mut(shared);
            if let Some(header) = PureHeader::decode(&full_header) {
                block.header = header;
            }
            block.full_header = full_header;
        }
    }

    /// Returns where a transaction is.
    pub fn position(&self, txid: &Txid) -> Option<Position> {
        self.positions.get(txid).copied()
    }

    /// Returns a transaction.
    pub fn transaction(&self, txid: &Txid) -> Option<&SimTransaction> {
        let Position { height, pos } = self.position(txid)?;
        self.block(height)?.transactions.get(pos)
    }

    /// Returns registrations and updates of a name, oldest first.
    pub fn history(&self, name: &ScriptHash) -> &[HistoryEntry] {
        self.histories.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns the index keys of all names that ever were registered.
    pub fn names(&self) -> impl Iterator<Item = ScriptHash> {
        self.histories.keys().copied()
    }

    /// Returns the branch from a transaction to its block's merkle root.
    pub fn merkle_branch(&self, position: Position) -> Option<Vec<Node>> {
        let block = self.block(position.height)?;
        Some(merkle::branch_and_root(&block.leaves(), position.pos).0)
    }

    /// Returns branch and root of the tree over the block hashes from 0 to `cp_height` for the one at `height`;
    /// `None` unless `height <= cp_height <=` [`Self::height`].
    pub fn header_branch(&self, height: Height, cp_height: Height) -> Option<(Vec<Node>, Node)> {
        if height > cp_height {
            return None;
        }
        let leaves: Vec<Node> = self
            .blocks
            .get(..=cp_height as usize)?
            .iter()
            .map(|block| block.header.hash().to_byte_array())
            .collect();
        Some(merkle::branch_and_root(&leaves, height as usize))
    }
}

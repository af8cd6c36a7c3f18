//! A simulated chain: its blocks, and what an index over them knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitcoin::consensus::{Decodable, serialize};
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Script, Transaction, TxMerkleNode, Txid, VarInt};

use super::merkle::{self, Node};
use isonym_core::chain::auxpow::DecodeError;
use isonym_core::chain::{Anchor, FullHeader, HeaderError, HeaderTree, Height, Params, PureHeader};
use isonym_core::name::script::{NameOp, NameScript};
use isonym_core::name::{NameId, NameProof, ProofLink, ScriptHash};
use isonym_core::time::Timestamp;

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

    /// Takes a block that is serialized with its witness; `None` when the bytes are none, or have more behind it.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (full_header, transactions) = taken_apart(bytes)?;
        let (header, auxpow) = full_header.split_first_chunk()?;
        Some(Self::new(PureHeader::new(*header), auxpow, transactions))
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

/// Takes a serialized block apart: header with AuxPoW, and transactions.
pub(super) fn taken_apart(bytes: &[u8]) -> Option<(&[u8], Vec<Transaction>)> {
    let (_, mut rest) = FullHeader::decode(bytes).ok()?;
    let full_header = bytes.get(..bytes.len() - rest.len())?;
    let count = VarInt::consensus_decode(&mut rest).ok()?.0;
    let transactions = (0..count).map(|_| Transaction::consensus_decode_from_finite_reader(&mut rest).ok());
    let transactions = transactions.collect::<Option<Vec<_>>>()?;
    rest.is_empty().then_some((full_header, transactions))
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

/// Why [`SimChain::header_tree`] stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header at height {height}")]
pub struct RefusedHeader {
    /// Its height.
    pub height: Height,
    /// What is wrong with it.
    #[source]
    pub cause: RefusalCause,
}

/// What is wrong with a header of a simulated chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusalCause {
    /// It can't be read.
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
    /// It breaks a rule.
    #[error(transparent)]
    Refused(#[from] HeaderError),
}

/// A chain of blocks from the genesis block on. Blocks are shared between clones, so a clone is cheap.
#[derive(Clone, Debug)]
pub struct SimChain {
    blocks: Vec<Arc<SimBlock>>,
    positions: BTreeMap<Txid, Position>,
    histories: BTreeMap<ScriptHash, Vec<HistoryEntry>>,
    /// What the index keeps of blocks that it followed no longer: the number of a transaction, counted from the first one of
    /// the chain, and the name that it belonged to.
    leftovers: Vec<(usize, ScriptHash)>,
    /// Over the block hashes.
    rows: merkle::Rows,
}

impl SimChain {
    /// Starts a chain with its genesis block.
    pub fn new(genesis: SimBlock) -> Self {
        let mut chain = Self {
            blocks: Vec::new(),
            positions: BTreeMap::new(),
            histories: BTreeMap::new(),
            leftovers: Vec::new(),
            rows: merkle::Rows::default(),
        };
        chain.push(genesis);
        chain
    }

    /// Takes a chain of serialized blocks, from its genesis block on: such as one that a full node made. `None` when one of
    /// them is no block, or there are none; nothing else is checked.
    pub fn decode<B: AsRef<[u8]>>(blocks: impl IntoIterator<Item = B>) -> Option<Self> {
        let mut blocks = blocks.into_iter().map(|bytes| SimBlock::decode(bytes.as_ref()));
        let mut chain = Self::new(blocks.next()??);
        for block in blocks {
            chain.push(block?);
        }
        Some(chain)
    }

    /// Appends a block; nothing is checked.
    pub fn push(&mut self, block: SimBlock) {
        self.push_shared(Arc::new(block));
    }

    fn push_shared(&mut self, block: Arc<SimBlock>) {
        let height = Height::try_from(self.blocks.len()).unwrap_or(Height::MAX);
        self.list_leftovers(&block, height);
        for (pos, transaction) in block.transactions.iter().enumerate() {
            self.positions.insert(transaction.txid, Position { height, pos });
            for name in transaction.names() {
                self.histories.entry(name).or_default().push(HistoryEntry {
                    txid: transaction.txid,
                    height,
                });
            }
        }
        self.rows.push(block.header.hash().to_byte_array());
        self.blocks.push(block);
    }

    /// Lists for a name what stands now where an operation of it stood in a block that was left.
    fn list_leftovers(&mut self, block: &SimBlock, height: Height) {
        if self.leftovers.is_empty() {
            return;
        }
        let first = self.transactions_up_to(self.blocks.len());
        let histories = &mut self.histories;
        self.leftovers.retain(|(number, name)| {
            let place = number
                .checked_sub(first)
                .and_then(|place| block.transactions.get(place));
            if let Some(SimTransaction { txid, .. }) = place {
                let entry = HistoryEntry { txid: *txid, height };
                histories.entry(*name).or_default().push(entry);
            }
            place.is_none()
        });
    }

    /// Counts the transactions of so many blocks.
    fn transactions_up_to(&self, blocks: usize) -> usize {
        self.blocks
            .iter()
            .take(blocks)
            .map(|block| block.transactions.len())
            .sum()
    }

    /// Goes over to the blocks of another chain as ElectrumX's index does: what it had listed for names in blocks that it
    /// leaves is kept by the place of the transaction, and from the next blocks on lists whatever stands there.
    pub fn follow(&mut self, other: &Self) {
        let shared = self
            .blocks
            .iter()
            .zip(&other.blocks)
            .rposition(|(ours, theirs)| ours.header == theirs.header);
        let shared = shared.map_or(0, |last| last + 1);
        if shared < self.blocks.len() {
            let height = Height::try_from(shared.saturating_sub(1)).unwrap_or(Height::MAX);
            let numbers = self.transactions_up_to(shared)..;
            let left = self.blocks.split_off(shared);
            for (number, transaction) in numbers.zip(left.iter().flat_map(|block| &block.transactions)) {
                self.positions.remove(&transaction.txid);
                self.leftovers.extend(transaction.names().map(|name| (number, name)));
            }
            self.rows.truncate(shared);
            self.histories.retain(|_, history| {
                history.retain(|entry| entry.height <= height);
                !history.is_empty()
            });
        }
        for block in other.blocks.iter().skip(shared) {
            self.push_shared(Arc::clone(block));
        }
    }

    /// Returns the chain up to and including `height`.
    #[must_use]
    pub fn truncated(&self, height: Height) -> Self {
        let mut chain = self.clone();
        chain.blocks.truncate(height as usize + 1);
        chain.rows.truncate(chain.blocks.len());
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

    /// Returns the block at a height, to be kept.
    pub fn shared_block(&self, height: Height) -> Option<Arc<SimBlock>> {
        self.blocks.get(height as usize).map(Arc::clone)
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
            let before = block.header;
            if let Some(header) = PureHeader::decode(&full_header) {
                block.header = header;
            }
            block.full_header = full_header;
            if block.header != before {
                self.rows.truncate(height as usize);
                for block in self.blocks.iter().skip(height as usize) {
                    self.rows.push(block.header.hash().to_byte_array());
                }
            }
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

    /// Returns what an honest server shows for a name: all of its history, and the NAME_NEW that its newest
    /// registration spends.
    pub fn name_proof(&self, name: &NameId) -> NameProof {
        let history = self.history(&name.scripthash());
        let links = history.iter().rev().filter_map(|entry| {
            let position = self.position(&entry.txid)?;
            Some(ProofLink {
                height: entry.height,
                tx: self.transaction(&entry.txid)?.bytes.clone(),
                merkle: self
                    .merkle_branch(position)?
                    .into_iter()
                    .map(TxMerkleNode::from_byte_array)
                    .collect(),
                pos: u32::try_from(position.pos).ok()?,
            })
        });
        NameProof {
            links: links.collect(),
            complete: true,
            name_new: self.name_new(history),
        }
    }

    fn name_new(&self, history: &[HistoryEntry]) -> Option<Vec<u8>> {
        let is = |transaction: &Transaction, wanted: fn(&NameOp) -> bool| {
            let mut scripts = transaction.output.iter().map(|output| &output.script_pubkey);
            scripts.any(|script| NameScript::parse(script).is_some_and(|name| wanted(&name.op)))
        };
        let mut transactions = history.iter().rev().filter_map(|entry| self.transaction(&entry.txid));
        let registration =
            transactions.find(|known| is(&known.transaction, |op| matches!(op, NameOp::FirstUpdate { .. })))?;
        let spent = registration.transaction.input.iter();
        spent
            .filter_map(|input| self.transaction(&input.previous_output.txid))
            .find(|known| is(&known.transaction, |op| matches!(op, NameOp::New { .. })))
            .map(|known| known.bytes.clone())
    }

    /// Returns a header tree that starts at the genesis block and took the whole chain.
    ///
    /// # Errors
    ///
    /// The first header that was refused.
    pub fn header_tree(&self, params: &'static Params) -> Result<HeaderTree, RefusedHeader> {
        let mut blocks = self.blocks.iter().zip(0..);
        let genesis = blocks.next().map_or(params.genesis, |(block, _)| block.header);
        let anchor = Anchor {
            height: 0,
            hash: genesis.hash(),
            chainwork: None,
        };
        let mut tree = HeaderTree::new(params, anchor);
        for (block, height) in blocks {
            let now = Timestamp(block.header.time().into());
            let refused = |cause| RefusedHeader { height, cause };
            let (header, _) = FullHeader::decode(&block.full_header).map_err(|error| refused(error.into()))?;
            tree.accept(&header, now).map_err(|error| refused(error.into()))?;
        }
        Ok(tree)
    }

    /// Returns branch and root of the tree over the block hashes from 0 to `cp_height` for the one at `height`;
    /// `None` unless `height <= cp_height <=` [`Self::height`].
    pub fn header_branch(&self, height: Height, cp_height: Height) -> Option<(Vec<Node>, Node)> {
        self.rows.branch_and_root(cp_height as usize + 1, height as usize)
    }
}

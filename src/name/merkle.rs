//! Merkle proofs: that a transaction is in the block whose header names a merkle root.
//!
//! ```text
//!            root              level 3      pos = 5 = 0b101: the bits, lowest first, say on
//!        .-----^-----.                      which side of its sibling each node lies (1: right)
//!     [2]             o        level 2
//!    .-^-.        .---^---.                 branch = [0], [1], [2], from the leaf up
//!   o     o      o        [1]  level 1
//!  .^.   .^.    .^.      .^.
//! o   o o   o [0] tx    o   o  level 0
//! ```

use bitcoin::consensus::encode::deserialize;
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::{Transaction, TxMerkleNode};

/// Longest branch: positions are 32 bits.
pub const MAX_BRANCH_LEN: usize = 32;

/// What an inner node of the tree hashes: two hashes.
const NODE_SIZE: usize = 64;

/// Why a merkle proof is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MerkleError {
    /// The branch is longer than any block's tree is high.
    #[error("merkle branch of {got} hashes: at most {MAX_BRANCH_LEN} are possible")]
    BranchTooLong {
        /// Hashes in the branch.
        got: usize,
    },
    /// The position is outside of a tree as high as the branch is long.
    #[error("position {pos} is outside of a tree of height {height}")]
    PositionOutOfRange {
        /// The position.
        pos: u32,
        /// Length of the branch.
        height: usize,
    },
    /// The transaction is as long as an inner node, so it may be one of an honest tree.
    #[error("the transaction has the 64 bytes of an inner merkle node")]
    LeafLikeInnerNode,
    /// An inner node of the branch reads as a transaction: the leaf may lie below a real transaction.
    #[error("the inner merkle node at level {level} reads as a transaction")]
    InnerNodeLikeTransaction {
        /// Height of the node above the leaves, from 1.
        level: usize,
    },
    /// The branch leads to another root than the header's.
    #[error("merkle root {got} where the header has {expected}")]
    RootMismatch {
        /// The header's merkle root.
        expected: TxMerkleNode,
        /// What leaf and branch fold to.
        got: TxMerkleNode,
    },
}

/// Checks that a transaction is at position `pos` in the block whose merkle root is `root`.
///
/// A merkle tree doesn't tell leaves from inner nodes: who gets a 64-byte transaction mined can show part of it
/// as the hash of a transaction that never was in a block, or pass an inner node off as a transaction. Hence
/// both are refused. By chance an honest inner node reads as one less than once in a hundred million.
///
/// # Errors
///
/// Any [`MerkleError`]; each variant says its cause.
///
/// Source of the guard: "Leaf-Node weakness in Bitcoin Merkle Tree Design" (Sergio Demian Lerner, 2018), and
/// Electrum's `verifier.py`.
pub fn check_inclusion(
    tx: &Transaction,
    branch: &[TxMerkleNode],
    pos: u32,
    root: TxMerkleNode,
) -> Result<(), MerkleError> {
    if tx.base_size() == NODE_SIZE {
        return Err(MerkleError::LeafLikeInnerNode);
    }
    let got = fold(
        TxMerkleNode::from_raw_hash(tx.compute_txid().to_raw_hash()),
        branch,
        pos,
    )?;
    if got == root {
        Ok(())
    } else {
        Err(MerkleError::RootMismatch { expected: root, got })
    }
}

/// Returns the root that a leaf (a txid) and its branch lead to.
///
/// # Errors
///
/// [`MerkleError::BranchTooLong`], [`MerkleError::PositionOutOfRange`] and
/// [`MerkleError::InnerNodeLikeTransaction`].
pub fn fold(leaf: TxMerkleNode, branch: &[TxMerkleNode], pos: u32) -> Result<TxMerkleNode, MerkleError> {
    if branch.len() > MAX_BRANCH_LEN {
        return Err(MerkleError::BranchTooLong { got: branch.len() });
    }
    if u64::from(pos) >> branch.len() != 0 {
        return Err(MerkleError::PositionOutOfRange {
            pos,
            height: branch.len(),
        });
    }
    let mut node = leaf;
    for (below, sibling) in branch.iter().enumerate() {
        let (left, right) = if pos >> below & 1 == 0 {
            (&node, sibling)
        } else {
            (sibling, &node)
        };
        let mut pair = [0; NODE_SIZE];
        let halves = left.as_byte_array().iter().chain(right.as_byte_array());
        pair.iter_mut().zip(halves).for_each(|(to, from)| *to = *from);
        if deserialize::<Transaction>(&pair).is_ok() {
            return Err(MerkleError::InnerNodeLikeTransaction { level: below + 1 });
        }
        node = TxMerkleNode::from_raw_hash(sha256d::Hash::hash(&pair));
    }
    Ok(node)
}

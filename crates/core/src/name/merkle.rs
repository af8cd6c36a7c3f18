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
    /// A node on the right equals its sibling on the left: only the copy that fills up an odd level does, and nothing
    /// lies below it.
    #[error("the merkle node at level {level} is the copy of its sibling")]
    CopiedNode {
        /// Height of the node above the leaves, from 0.
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
/// [`MerkleError::BranchTooLong`], [`MerkleError::PositionOutOfRange`], [`MerkleError::InnerNodeLikeTransaction`] and
/// [`MerkleError::CopiedNode`].
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
            // A transaction would have two positions otherwise, and the later one could be shown for an older
            // operation. Source: Bitcoin Core `merkleblock.cpp`, `TraverseAndExtract`.
            if *sibling == node {
                return Err(MerkleError::CopiedNode { level: below });
            }
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

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, TxIn, TxOut, Witness, merkle_tree};
    use proptest::prelude::*;

    use super::*;

    fn node(byte: u8) -> TxMerkleNode {
        TxMerkleNode::from_byte_array([byte; 32])
    }

    #[test]
    fn the_copy_that_fills_up_an_odd_level_is_no_position() {
        let root = fold(node(5), &[node(5), node(9)], 0).unwrap();
        assert_eq!(
            fold(node(5), &[node(5), node(9)], 1),
            Err(MerkleError::CopiedNode { level: 0 })
        );
        let pair = fold(node(1), &[node(2)], 0).unwrap();
        assert_eq!(
            fold(node(1), &[node(2), pair], 2),
            Err(MerkleError::CopiedNode { level: 1 })
        );
        assert!(fold(node(1), &[node(2), pair], 0).is_ok_and(|top| top != root));
    }

    /// Builds a branch the slow way: every level of the tree written out.
    fn branch_of(leaves: &[TxMerkleNode], pos: usize) -> Vec<TxMerkleNode> {
        let (mut level, mut at, mut branch) = (leaves.to_vec(), pos, vec![]);
        while level.len() > 1 {
            if level.len() % 2 == 1 {
                level.push(*level.last().unwrap());
            }
            branch.push(level[at ^ 1]);
            level = level
                .chunks(2)
                .map(|pair| {
                    let bytes = [pair[0].to_byte_array(), pair[1].to_byte_array()].concat();
                    TxMerkleNode::from_raw_hash(sha256d::Hash::hash(&bytes))
                })
                .collect();
            at /= 2;
        }
        branch
    }

    fn tx(script_len: usize) -> Transaction {
        Transaction {
            version: Version(0x7100),
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::null(),
                script_sig: ScriptBuf::new(),
                sequence: Sequence::MAX,
                witness: Witness::new(),
            }],
            output: vec![TxOut {
                value: Amount::from_sat(1),
                script_pubkey: ScriptBuf::from_bytes(vec![0x51; script_len]),
            }],
        }
    }

    #[test]
    fn a_transaction_as_long_as_a_node_is_refused() {
        for (len, refused) in [(3, false), (4, true), (5, false)] {
            let tx = tx(len);
            let root = TxMerkleNode::from_raw_hash(tx.compute_txid().to_raw_hash());
            let checked = check_inclusion(&tx, &[], 0, root);
            assert_eq!(checked == Err(MerkleError::LeafLikeInnerNode), refused);
            assert_eq!(checked.is_ok(), !refused);
        }
    }

    #[test]
    fn a_leaf_below_a_64_byte_transaction_is_refused() {
        let bytes = bitcoin::consensus::serialize(&tx(4));
        let (left, right) = bytes.split_at(32);
        let left = TxMerkleNode::from_slice(left).unwrap();
        let right = TxMerkleNode::from_slice(right).unwrap();
        assert_eq!(
            fold(right, &[left], 1),
            Err(MerkleError::InnerNodeLikeTransaction { level: 1 })
        );
        assert_eq!(
            fold(left, &[right, node(1)], 2),
            Err(MerkleError::InnerNodeLikeTransaction { level: 1 })
        );
        assert!(fold(left, &[right], 1).is_ok(), "the other way round it is none");
    }

    #[test]
    fn branches_and_positions_are_bounded() {
        let long = vec![node(1); MAX_BRANCH_LEN + 1];
        assert_eq!(fold(node(0), &long, 0), Err(MerkleError::BranchTooLong { got: 33 }));
        assert!(fold(node(0), &long[..MAX_BRANCH_LEN], u32::MAX).is_ok());
        for (height, pos) in [(0, 1), (1, 2), (5, 32), (31, u32::MAX)] {
            let error = MerkleError::PositionOutOfRange { pos, height };
            assert_eq!(fold(node(0), &long[..height], pos), Err(error));
            assert!(fold(node(0), &long[..height], pos.min((1 << height) - 1)).is_ok());
        }
    }

    proptest! {
        #[test]
        fn each_leaf_folds_to_the_root_of_the_whole_tree(
            seed in any::<[u8; 32]>(),
            len in 1_usize..70,
            pick in any::<prop::sample::Index>(),
        ) {
            let leaves: Vec<_> = (0..len)
                .map(|at| TxMerkleNode::from_raw_hash(sha256d::Hash::hash(&[&seed[..], &at.to_le_bytes()].concat())))
                .collect();
            let root = merkle_tree::calculate_root(leaves.iter().copied()).unwrap();
            let pos = pick.index(len);
            let branch = branch_of(&leaves, pos);
            let at = u32::try_from(pos).unwrap();
            prop_assert_eq!(fold(leaves[pos], &branch, at), Ok(root));
            if let Some(sibling) = branch.first() && *sibling != leaves[pos] {
                prop_assert_ne!(fold(leaves[pos], &branch, at ^ 1), Ok(root));
            }
        }
    }
}

//! Merkle branches: the way from a leaf up to the root of its tree.

use bitcoin::hashes::{Hash, HashEngine, sha256d};

/// Folds a branch onto a leaf and returns the root.
///
/// Bit `n` of `index` says on which side of the node at level `n` its sibling `branch[n]` stands: 0 right, 1 left.
/// Bits beyond the branch do not count, as in Namecoin Core's `CheckMerkleBranch` (`auxpow.cpp`).
pub fn fold(leaf: sha256d::Hash, branch: &[[u8; 32]], index: u32) -> sha256d::Hash {
    let mut sides = index;
    branch.iter().fold(leaf, |node, sibling| {
        let left = sides & 1 == 1;
        sides >>= 1;
        let (first, second) = if left {
            (sibling, node.as_byte_array())
        } else {
            (node.as_byte_array(), sibling)
        };
        let mut engine = sha256d::Hash::engine();
        engine.input(first);
        engine.input(second);
        sha256d::Hash::from_engine(engine)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(left: [u8; 32], right: [u8; 32]) -> [u8; 32] {
        sha256d::Hash::hash(&[left, right].concat()).to_byte_array()
    }

    #[test]
    fn every_leaf_of_a_tree_of_four_folds_to_its_root() {
        let leaves = [[1; 32], [2; 32], [3; 32], [4; 32]];
        let (left, right) = (pair(leaves[0], leaves[1]), pair(leaves[2], leaves[3]));
        let root = pair(left, right);
        for (index, branch) in [
            [leaves[1], right],
            [leaves[0], right],
            [leaves[3], left],
            [leaves[2], left],
        ]
        .iter()
        .enumerate()
        {
            let leaf = sha256d::Hash::from_byte_array(leaves[index]);
            assert_eq!(fold(leaf, branch, u32::try_from(index).unwrap()).to_byte_array(), root);
        }
    }

    #[test]
    fn an_empty_branch_leaves_the_leaf_alone() {
        let leaf = sha256d::Hash::from_byte_array([7; 32]);
        assert_eq!(fold(leaf, &[], 5), leaf);
    }
}

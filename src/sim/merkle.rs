//! Merkle trees as Bitcoin builds them, written apart from the code that checks them.

use bitcoin::hashes::{Hash, sha256d};

/// A node of a tree, in the byte order of hashing.
pub type Node = [u8; 32];

fn parent(left: &Node, right: &Node) -> Node {
    let mut pair = [0; 64];
    let (head, tail) = pair.split_at_mut(32);
    head.copy_from_slice(left);
    tail.copy_from_slice(right);
    sha256d::Hash::hash(&pair).to_byte_array()
}

/// Returns the row above: pairs hashed, the last node paired with itself when their number is odd.
fn row_above(row: &[Node]) -> Vec<Node> {
    row.chunks(2)
        .filter_map(|pair| Some(parent(pair.first()?, pair.last()?)))
        .collect()
}

/// Returns the root over `leaves`; all zeros when there are none.
pub fn root(leaves: &[Node]) -> Node {
    branch_and_root(leaves, 0).1
}

/// Returns the siblings on the way up from the leaf at `index`, and the root.
pub fn branch_and_root(leaves: &[Node], index: usize) -> (Vec<Node>, Node) {
    let mut row = leaves.to_vec();
    let mut index = index;
    let mut branch = Vec::new();
    while row.len() > 1 {
        if let Some(sibling) = row.get(index ^ 1).or_else(|| row.get(index)) {
            branch.push(*sibling);
        }
        row = row_above(&row);
        index /= 2;
    }
    (branch, row.first().copied().unwrap_or_default())
}

/// Returns the root that a leaf, its branch and its index amount to.
pub fn fold(leaf: Node, branch: &[Node], index: u32) -> Node {
    branch.iter().enumerate().fold(leaf, |node, (level, sibling)| {
        let right = u32::try_from(level)
            .ok()
            .and_then(|level| index.checked_shr(level))
            .is_some_and(|rest| rest & 1 == 1);
        if right {
            parent(sibling, &node)
        } else {
            parent(&node, sibling)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_branch_folds_to_the_root() {
        for count in 1..20_u8 {
            let leaves: Vec<Node> = (0..count).map(|byte| [byte; 32]).collect();
            for index in 0..leaves.len() {
                let (branch, root) = branch_and_root(&leaves, index);
                assert_eq!(fold(leaves[index], &branch, u32::try_from(index).unwrap()), root);
                assert_eq!(root, super::root(&leaves));
            }
        }
    }
}

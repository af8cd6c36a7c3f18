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

/// All full subtrees over a list that grows at its end: branches and roots of every beginning of it take a hash or
/// two for each level.
#[derive(Clone, Debug, Default)]
pub struct Rows(Vec<Vec<Node>>);

impl Rows {
    /// Appends a leaf.
    pub fn push(&mut self, leaf: Node) {
        let mut node = leaf;
        for level in 0.. {
            if self.0.len() == level {
                self.0.push(Vec::new());
            }
            let Some(row) = self.0.get_mut(level) else { return };
            row.push(node);
            match row.as_slice() {
                [.., left, right] if row.len().is_multiple_of(2) => node = parent(left, right),
                _ => return,
            }
        }
    }

    /// Drops all leaves but the first `count`.
    pub fn truncate(&mut self, count: usize) {
        for (level, row) in self.0.iter_mut().enumerate() {
            row.truncate(count >> level);
        }
    }

    /// Returns what [`branch_and_root`] does for the first `count` leaves; `None` unless `index < count`, and there
    /// are so many.
    pub fn branch_and_root(&self, count: usize, index: usize) -> Option<(Vec<Node>, Node)> {
        if index >= count {
            return None;
        }
        let (mut count, mut index) = (count, index);
        let mut branch = Vec::new();
        // The last node of a row may stand for fewer leaves than the others: such a one is not stored.
        let mut last = *self.0.first()?.get(count - 1)?;
        for row in &self.0 {
            if count == 1 {
                break;
            }
            let node = |at: usize| {
                if at + 1 == count {
                    Some(last)
                } else {
                    row.get(at).copied()
                }
            };
            branch.push(node((index ^ 1).min(count - 1))?);
            let left = if count.is_multiple_of(2) {
                node(count - 2)?
            } else {
                last
            };
            last = parent(&left, &last);
            count = count.div_ceil(2);
            index /= 2;
        }
        Some((branch, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_tell_what_hashing_anew_does_for_every_beginning() {
        let leaves: Vec<Node> = (0..70_u8).map(|byte| [byte; 32]).collect();
        let mut rows = Rows::default();
        for leaf in &leaves {
            rows.push(*leaf);
        }
        for count in 1..=leaves.len() {
            for index in 0..count {
                let anew = branch_and_root(&leaves[..count], index);
                assert_eq!(rows.branch_and_root(count, index), Some(anew), "{index} of {count}");
            }
        }
        assert_eq!(rows.branch_and_root(5, 5), None);
        assert_eq!(rows.branch_and_root(71, 5), None);
        assert_eq!(rows.branch_and_root(0, 0), None);
    }

    #[test]
    fn rows_that_were_cut_grow_again_as_if_nothing_had_been() {
        let mut rows = Rows::default();
        for byte in 0..70_u8 {
            rows.push([byte; 32]);
        }
        rows.truncate(37);
        assert_eq!(rows.branch_and_root(38, 0), None);
        let other: Vec<Node> = (0..37_u8).chain(200..230).map(|byte| [byte; 32]).collect();
        for leaf in &other[37..] {
            rows.push(*leaf);
        }
        for count in 1..=other.len() {
            let anew = branch_and_root(&other[..count], count / 2);
            assert_eq!(rows.branch_and_root(count, count / 2), Some(anew), "{count}");
        }
    }

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

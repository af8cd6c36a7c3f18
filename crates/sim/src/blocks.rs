//! Blocks as a full node has them: by their hash, those of its best chain and those that it left.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitcoin::BlockHash;
use isonym_core::chain::{Height, PureHeader};

use super::SimChain;
use super::chain::SimBlock;

/// What a node serves blocks from.
pub trait Blocks {
    /// Returns the height of the best chain's last block.
    fn height(&self) -> Height;

    /// Returns the hash of the block at a height of the best chain.
    fn hash(&self, height: Height) -> Option<BlockHash>;

    /// Returns the height of a block, whether the best chain has it or one that was left.
    fn find(&self, hash: &BlockHash) -> Option<Height>;

    /// Returns header and AuxPoW of a block, as serialized.
    fn full_header(&self, hash: &BlockHash) -> Option<Vec<u8>>;

    /// Returns a block as serialized, with its witness.
    fn block(&self, hash: &BlockHash) -> Option<Vec<u8>>;

    /// Returns the hash of the best chain's last block.
    fn tip(&self) -> Option<BlockHash> {
        self.hash(self.height())
    }

    /// Returns the height of a block, if the best chain has it.
    fn find_in_chain(&self, hash: &BlockHash) -> Option<Height> {
        let height = self.find(hash)?;
        (self.hash(height).as_ref() == Some(hash)).then_some(height)
    }

    /// Returns the hash of the block below another.
    fn below(&self, hash: &BlockHash) -> Option<BlockHash> {
        PureHeader::decode(&self.full_header(hash)?).map(|header| header.prev())
    }
}

/// All blocks of a chain that grows and reorganises, as far as it was followed.
#[derive(Clone, Debug, Default)]
pub struct BlockIndex {
    blocks: BTreeMap<BlockHash, (Height, Arc<SimBlock>)>,
    chain: Vec<BlockHash>,
}

impl BlockIndex {
    /// Makes the index of a chain.
    pub fn of(chain: &SimChain) -> Self {
        let mut index = Self::default();
        index.follow(chain);
        index
    }

    /// Goes over to the blocks of a chain, and keeps those that it leaves.
    pub fn follow(&mut self, chain: &SimChain) {
        let mut new = Vec::new();
        for height in (0..=chain.height()).rev() {
            let Some(block) = chain.shared_block(height) else {
                continue;
            };
            let hash = block.header.hash();
            if self.chain.get(height as usize) == Some(&hash) {
                break;
            }
            new.push(hash);
            self.blocks.insert(hash, (height, block));
        }
        let kept = (chain.height() as usize + 1).saturating_sub(new.len());
        self.chain.truncate(kept);
        self.chain.extend(new.into_iter().rev());
    }

    fn get(&self, hash: &BlockHash) -> Option<&SimBlock> {
        self.blocks.get(hash).map(|(_, block)| block.as_ref())
    }
}

impl Blocks for BlockIndex {
    fn height(&self) -> Height {
        Height::try_from(self.chain.len().saturating_sub(1)).unwrap_or(Height::MAX)
    }

    fn hash(&self, height: Height) -> Option<BlockHash> {
        self.chain.get(height as usize).copied()
    }

    fn find(&self, hash: &BlockHash) -> Option<Height> {
        self.blocks.get(hash).map(|(height, _)| *height)
    }

    fn full_header(&self, hash: &BlockHash) -> Option<Vec<u8>> {
        self.get(hash).map(|block| block.full_header.clone())
    }

    fn block(&self, hash: &BlockHash) -> Option<Vec<u8>> {
        self.get(hash).map(SimBlock::to_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::World;
    use isonym_core::time::Timestamp;

    #[test]
    fn an_index_follows_growth_and_reorganisations_and_keeps_what_it_left() {
        let mut world = World::new(1, Timestamp(1_700_000_000));
        world.mine(10);
        let mut index = BlockIndex::of(world.chain());
        world.mine(3);
        index.follow(world.chain());
        let left = world.chain().clone();
        let mut fork = world.fork_at(8, 2);
        fork.mine(2);
        for chain in [left.clone(), fork.chain().clone(), left.truncated(9), left.clone()] {
            index.follow(&chain);
            assert_eq!(index.height(), chain.height());
            assert_eq!(index.tip(), Some(chain.tip_hash()));
            for height in 0..=chain.height() {
                let block = chain.block(height).unwrap();
                let hash = block.header.hash();
                assert_eq!(index.hash(height), Some(hash));
                assert_eq!(index.find_in_chain(&hash), Some(height));
                assert_eq!(index.block(&hash), Some(block.to_bytes()));
                assert_eq!(index.full_header(&hash).as_deref(), chain.full_header(height));
                assert_eq!(index.below(&hash), Some(block.header.prev()));
            }
            assert_eq!(index.hash(chain.height() + 1), None);
        }
        let gone = fork.chain().header(9).unwrap().hash();
        assert_eq!(index.find(&gone), Some(9));
        assert_eq!(index.find_in_chain(&gone), None);
        assert!(index.block(&gone).is_some());
    }
}

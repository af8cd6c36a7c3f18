//! Worlds as long as the chain that a light client fetches.

use super::{AddressKind, BLOCK_SPACING, FIRST_UPDATE_DEPTH, World, WorldError};
use crate::miner::Work;
use crate::parent::AuxPowKind;
use isonym_core::chain::Height;
use isonym_core::time::Timestamp;

/// Blocks on top of the names' registrations: more than the twelve confirmations that are asked of one, and far from
/// the thirty blocks after which it expires.
pub(crate) const SETTLED: Height = 14;

/// Mainnet's first blocks are not merge-mined: what is asked from there on comes in 80 bytes for each header.
const NATIVE: Height = 20;

impl World {
    /// Makes a world of `height` blocks, merge-mined but for the first twenty, with headers of mainnet's size, the
    /// last one at `tip_time`. The names are registered near the tip, so that they can be looked up.
    ///
    /// # Errors
    ///
    /// [`WorldError::NoFunds`] where `height` is below 130, and those of [`World::register_all`].
    pub fn long<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        seed: u64,
        height: Height,
        tip_time: Timestamp,
        names: &[(N, V, AddressKind)],
    ) -> Result<Self, WorldError> {
        let age = u64::from(BLOCK_SPACING) * u64::from(height.saturating_sub(1));
        let mut world = Self::new(seed, Timestamp(tip_time.0.saturating_sub(age)));
        let registered = height.saturating_sub(SETTLED);
        for _ in 0..NATIVE {
            world.mine_with(Work::Native);
        }
        world.mine_pooled(registered.saturating_sub(NATIVE + FIRST_UPDATE_DEPTH + 1));
        for (name, _, kind) in names {
            world.queue_commitment(name, *kind)?;
        }
        world.mine_pooled(FIRST_UPDATE_DEPTH);
        for (name, value, kind) in names {
            world.queue_registration(name, value, *kind)?;
        }
        world.mine_pooled(height.saturating_sub(world.chain().height()));
        Ok(world)
    }

    fn mine_pooled(&mut self, count: Height) {
        for _ in 0..count {
            self.mine_with(Work::AuxPow(AuxPowKind::Pool));
        }
    }
}

//! What a header must prove: Namecoin's merge-mined chain, its rules and its best tip.

pub mod anchor;
pub mod auxpow;
pub mod block;
#[cfg(test)]
use isonym_fixtures::auxpow as builder;
pub mod difficulty;
pub mod freshness;
pub mod header;
pub mod merkle;
#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers taken apart digit by digit"
)]
mod model;
pub mod params;
pub mod sampling;
pub mod sync;
pub mod tree;

pub use anchor::Anchor;
pub use auxpow::{AuxPow, FullHeader};
pub use block::{Block, BlockError};
pub use header::PureHeader;
pub use params::{Network, Params};
pub use tree::{Accepted, HeaderError, HeaderTree, Tip};

/// The height of a block; the genesis block has height 0.
pub type Height = u32;

//! All living names, kept on the disk, with what it takes to follow the chain: names expire as it grows, and come back as
//! it is reorganised.
//!
//! It holds what everybody holds who read the same blocks, and nothing of what was looked up in it.
//!
//! | table | key | row |
//! |---|---|---|
//! | `names` | length of the name, name | its newest operation ([`HeldName`](crate::name::proof::HeldName)) |
//! | `updated` | height, length of the name, name | nothing: an operation of the name is in this block |
//! | `undo` | height, number | what a block changed, with the row that stood there before |
//! | `blocks` | height | the block's hash, of the newest blocks |
//! | `covered` | a word | a height: the lowest block that was read, the next one, the lowest that can be taken back |
//!
//! Names are in the order of Namecoin Core's database, shorter ones first, which is that of `name_scan`.
//! Source: Namecoin Core `names/main.h`, `CNameCache::NameComparator`.

mod database;
mod error;

pub use database::NameIndex;
pub use error::IndexError;

use bitcoin::BlockHash;

use crate::chain::{Block, Height};
use crate::name::NameId;

/// How many blocks can be taken back one by one. A longer reorganisation has all of them read anew.
///
/// As many as Namecoin Core keeps at least of what undoes a block (`validation.h`, `MIN_BLOCKS_TO_KEEP`).
pub const UNDO_DEPTH: Height = 288;

/// Which blocks the names are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// The lowest block that was read.
    pub from: Height,
    /// The highest block that was read.
    pub tip: Height,
    /// Its hash.
    pub hash: BlockHash,
}

/// A block to be read, and its height.
#[derive(Debug)]
pub struct NextBlock {
    /// Its height.
    pub height: Height,
    /// The block, which is part of the chain.
    pub block: Block,
}

/// Returns the key of a name.
fn name_key(name: &NameId) -> Vec<u8> {
    // They are 255 bytes at most.
    let length = u8::try_from(name.as_bytes().len()).unwrap_or(u8::MAX);
    [&[length], name.as_bytes()].concat()
}

/// Returns the name of a key.
fn name_of_key(key: &[u8]) -> Option<NameId> {
    let (length, name) = key.split_first()?;
    (usize::from(*length) == name.len()).then(|| NameId::new(name))?
}

/// Returns the key under which it is known that a block has an operation of a name.
fn updated_key(height: Height, name_key: &[u8]) -> Vec<u8> {
    [&height.to_be_bytes(), name_key].concat()
}

/// What a block changed in the row of one name.
struct Undo<'a> {
    name_key: &'a [u8],
    /// The row that stood there before; empty where there was none.
    before: &'a [u8],
}

impl<'a> Undo<'a> {
    fn to_bytes(&self) -> Vec<u8> {
        [self.name_key, self.before].concat()
    }

    fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        let length = usize::from(*bytes.first()?).checked_add(1)?;
        let (name_key, before) = bytes.split_at_checked(length)?;
        Some(Self { name_key, before })
    }
}

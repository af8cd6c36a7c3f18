//! AuxPoW: evidence that the parent block commits to ours.
//!
//! | bytes | field |
//! | --- | --- |
//! | any | parent coinbase transaction |
//! | 32 | parent block hash: ignored, today's nodes write zeros |
//! | any | coinbase merkle branch: compact size n, n × 32 bytes, i32 index |
//! | any | chain merkle branch, in the same form |
//! | 80 | parent header |
//!
//! Everything is a view of the bytes that came in: parsing and checking allocate nothing.
//! Source: Namecoin Core `auxpow.h`, `auxpow.cpp`.

mod check;
mod coinbase;
mod reader;
#[cfg(test)]
mod tests;

pub use check::AuxPowError;
pub use coinbase::ParentCoinbase;

use self::reader::Reader;
use super::PureHeader;

/// Why bytes are no full header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end within a field.
    #[error("truncated within {field}")]
    Truncated {
        /// Where they end.
        field: &'static str,
    },
    /// A count is not written in its shortest form.
    #[error("{field}: compact size of {value} is not in its shortest form")]
    LongCompactSize {
        /// What is counted.
        field: &'static str,
        /// The count.
        value: u64,
    },
    /// The parent coinbase goes on beyond [`ParentCoinbase::MAX_SIZE`].
    #[error("parent coinbase longer than {max} bytes")]
    OversizedCoinbase {
        /// Longest size in bytes.
        max: usize,
    },
    /// The byte after the witness marker is not 1.
    #[error("parent coinbase with unknown witness flag {got:#04x}")]
    WitnessFlag {
        /// The byte.
        got: u8,
    },
    /// The parent coinbase announces a witness and has none.
    #[error("parent coinbase with an empty witness")]
    EmptyWitness,
    /// A merkle branch has more hashes than [`MerkleBranch::MAX_LEN`].
    #[error("{field} of {length} hashes, at most {max} allowed")]
    OversizedBranch {
        /// Which branch.
        field: &'static str,
        /// Its announced length.
        length: u64,
        /// Longest length.
        max: usize,
    },
}

/// A merkle branch with the index of its leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MerkleBranch<'a> {
    /// The siblings, from the leaf's to the root's child.
    pub hashes: &'a [[u8; 32]],
    /// The leaf's position, as written; −1 and other negative numbers are no positions.
    pub index: i32,
}

impl<'a> MerkleBranch<'a> {
    /// Most hashes that a branch can have: as many as fit into a message of Core, see [`ParentCoinbase::MAX_SIZE`].
    /// Honest branches have some 12. The chain branch has a bound of its own, which [`AuxPow::check`] enforces.
    pub const MAX_LEN: usize = ParentCoinbase::MAX_SIZE / 32;

    fn decode(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DecodeError> {
        let length = reader.compact_size(field)?;
        let count = usize::try_from(length)
            .ok()
            .filter(|count| *count <= Self::MAX_LEN)
            .ok_or(DecodeError::OversizedBranch {
                field,
                length,
                max: Self::MAX_LEN,
            })?;
        let (hashes, _) = reader.take(count * 32, field)?.as_chunks();
        let index = reader.int(field)?;
        Ok(Self { hashes, index })
    }
}

/// The AuxPoW of a header, parsed from borrowed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuxPow<'a> {
    /// The parent coinbase transaction.
    pub coinbase: ParentCoinbase<'a>,
    /// From the parent coinbase to the parent's merkle root.
    pub coinbase_branch: MerkleBranch<'a>,
    /// From our block hash to the merge-mining root in the parent coinbase.
    pub chain_branch: MerkleBranch<'a>,
    /// The header whose hash meets our target.
    pub parent: PureHeader,
}

impl<'a> AuxPow<'a> {
    /// Parses the part of a full header after the 80 bytes and returns it with what follows.
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let (coinbase, rest) = ParentCoinbase::decode(bytes)?;
        let mut reader = Reader { rest };
        reader.take(32, "parent block hash")?;
        let coinbase_branch = MerkleBranch::decode(&mut reader, "coinbase merkle branch")?;
        let chain_branch = MerkleBranch::decode(&mut reader, "chain merkle branch")?;
        let parent = PureHeader::new(*reader.array("parent header")?);
        let auxpow = Self {
            coinbase,
            coinbase_branch,
            chain_branch,
            parent,
        };
        Ok((auxpow, reader.rest))
    }
}

/// A full header: the 80 bytes and, with the AuxPoW flag, the AuxPoW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullHeader<'a> {
    /// The 80 bytes.
    pub pure: PureHeader,
    /// The AuxPoW, when the flag is set.
    pub auxpow: Option<AuxPow<'a>>,
}

impl<'a> FullHeader<'a> {
    /// Parses one full header from the front of `bytes` and returns it with what follows.
    ///
    /// The AuxPoW flag of the version says whether AuxPoW follows the 80 bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let mut reader = Reader { rest: bytes };
        let pure = PureHeader::new(*reader.array("header")?);
        if !pure.has_auxpow() {
            return Ok((Self { pure, auxpow: None }, reader.rest));
        }
        let (auxpow, rest) = AuxPow::decode(reader.rest)?;
        let auxpow = Some(auxpow);
        Ok((Self { pure, auxpow }, rest))
    }
}

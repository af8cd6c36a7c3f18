//! The 80 bytes of a block header without its AuxPoW.

use std::fmt;

use bitcoin::hashes::{Hash, sha256d};
use bitcoin::{BlockHash, CompactTarget, TxMerkleNode};

/// A pure header: the 80 bytes that the block hash covers, with or without AuxPoW.
///
/// | bytes | field | |
/// | --- | --- | --- |
/// | 0..4 | version | i32, little-endian: chain ID × 65536 + AuxPoW flag 0x100 + base version |
/// | 4..36 | prev | hash of the parent header |
/// | 36..68 | merkle root | over the txids |
/// | 68..72 | time | u32, seconds since the Unix epoch |
/// | 72..76 | bits | u32, the compact target |
/// | 76..80 | nonce | u32 |
///
/// Kept as bytes: they are hashed, stored and sent far more often than their fields are read.
/// Source: Namecoin Core `primitives/pureheader.h`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PureHeader([u8; Self::SIZE]);

impl PureHeader {
    /// Size in bytes.
    pub const SIZE: usize = 80;

    /// The bit of the version that says that AuxPoW follows the header.
    pub const AUXPOW_FLAG: i32 = 0x100;

    /// Takes 80 bytes as a header; every content is one.
    pub const fn new(bytes: [u8; Self::SIZE]) -> Self {
        Self(bytes)
    }

    /// Takes the first 80 bytes of `bytes` as a header; `None` when there are fewer.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|chunk| Self(*chunk))
    }

    /// Returns the 80 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }

    /// Returns the block hash: SHA-256d of the 80 bytes.
    pub fn hash(&self) -> BlockHash {
        BlockHash::from_raw_hash(sha256d::Hash::hash(&self.0))
    }

    /// Returns the version field whole.
    pub const fn version(&self) -> i32 {
        i32::from_le_bytes(self.field::<0, 4>())
    }

    /// Returns the version without AuxPoW flag and chain ID.
    pub const fn base_version(&self) -> i32 {
        self.version() % Self::AUXPOW_FLAG
    }

    /// Says whether AuxPoW belongs to this header.
    pub const fn has_auxpow(&self) -> bool {
        self.version() & Self::AUXPOW_FLAG != 0
    }

    /// Returns the chain ID, 1 for Namecoin.
    pub const fn chain_id(&self) -> i32 {
        self.version() >> 16
    }

    /// Says whether this is a legacy header: version 1 exactly, without chain ID, from before merge-mining.
    pub const fn is_legacy(&self) -> bool {
        self.version() == 1
    }

    /// Returns the hash of the parent header on the same chain.
    pub fn prev(&self) -> BlockHash {
        BlockHash::from_byte_array(self.field::<4, 32>())
    }

    /// Returns the root of the merkle tree of the block's txids.
    pub fn merkle_root(&self) -> TxMerkleNode {
        TxMerkleNode::from_byte_array(self.field::<36, 32>())
    }

    /// Returns the block time in seconds since the Unix epoch.
    pub const fn time(&self) -> u32 {
        u32::from_le_bytes(self.field::<68, 4>())
    }

    /// Returns the compact target.
    pub fn bits(&self) -> CompactTarget {
        CompactTarget::from_consensus(u32::from_le_bytes(self.field::<72, 4>()))
    }

    /// Returns the nonce.
    pub const fn nonce(&self) -> u32 {
        u32::from_le_bytes(self.field::<76, 4>())
    }

    /// Returns the `N` bytes from `AT` on, which must lie within the header: checked when compiled.
    const fn field<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= Self::SIZE) };
        match self.0.split_at(AT).1.first_chunk() {
            Some(field) => *field,
            None => [0; N],
        }
    }
}

impl fmt::Debug for PureHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PureHeader")
            .field("hash", &self.hash())
            .field("version", &format_args!("{:#010x}", self.version()))
            .field("prev", &self.prev())
            .field("time", &self.time())
            .field("bits", &self.bits())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_the_table_says() {
        let bytes = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let header = PureHeader::new(bytes);
        assert_eq!(header.version(), 0x0302_0100);
        assert_eq!(header.prev().to_byte_array(), bytes[4..36]);
        assert_eq!(header.merkle_root().to_byte_array(), bytes[36..68]);
        assert_eq!(header.time(), 0x4746_4544);
        assert_eq!(header.bits().to_consensus(), 0x4b4a_4948);
        assert_eq!(header.nonce(), 0x4f4e_4d4c);
        assert_eq!(PureHeader::decode(&bytes[..79]), None);
        assert_eq!(PureHeader::decode(&[&bytes[..], &[1]].concat()), Some(header));
    }

    #[test]
    fn versions_hold_chain_id_flag_and_base() {
        let header = |version: i32| {
            let mut bytes = [0; PureHeader::SIZE];
            bytes[..4].copy_from_slice(&version.to_le_bytes());
            PureHeader::new(bytes)
        };
        let parts = |version| {
            let header = header(version);
            (header.chain_id(), header.has_auxpow(), header.base_version())
        };
        assert_eq!(parts(0x0001_0104), (1, true, 4));
        assert_eq!(parts(0x0001_0004), (1, false, 4));
        assert_eq!(parts(0x2000_0000), (0x2000, false, 0));
        assert!(header(1).is_legacy() && !header(0x0001_0001).is_legacy() && !header(2).is_legacy());
        assert!(header(i32::MIN).chain_id() < 0 && header(i32::MIN).base_version() <= 0);
    }
}

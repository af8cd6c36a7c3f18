//! AuxPoW: evidence that the parent block commits to ours.

use super::PureHeader;

/// The AuxPoW of a header, parsed from borrowed bytes.
#[derive(Clone, Copy, Debug)]
pub struct AuxPow<'a> {
    /// The parent coinbase transaction as serialized, with its witness if it has one.
    pub coinbase: &'a [u8],
}

/// A full header: the 80 bytes and, with the AuxPoW flag, the AuxPoW.
#[derive(Clone, Copy, Debug)]
pub struct FullHeader<'a> {
    /// The 80 bytes.
    pub pure: PureHeader,
    /// The AuxPoW, when the flag is set.
    pub auxpow: Option<AuxPow<'a>>,
}

impl<'a> FullHeader<'a> {
    /// Parses one full header from the front of `bytes` and returns it with what follows.
    pub fn decode(_bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        todo!()
    }
}

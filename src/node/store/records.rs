//! The bytes of the header store: its keys, its records, and what it says of itself.

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;

use super::Rebuilt;
use crate::chain::{HeaderTree, Height, PureHeader};

/// The layout that [`super`] describes.
const FORMAT: u8 = 2;

pub(super) const META_KEY: &[u8] = b"m";
pub(super) const META_SIZE: usize = 1 + 32 + 4 + 32 + 32;
pub(super) const HEADER_PREFIX: u8 = b'h';
pub(super) const RECORD_SIZE: usize = PureHeader::SIZE + 1;

/// What is stored of a header.
pub(super) type Record = [u8; RECORD_SIZE];

pub(super) fn header_key(height: Height) -> [u8; 5] {
    let [a, b, c, d] = height.to_be_bytes();
    [HEADER_PREFIX, a, b, c, d]
}

pub(super) fn record(header: &PureHeader, proved: bool) -> Record {
    let mut record = [u8::from(proved); RECORD_SIZE];
    if let Some(bytes) = record.first_chunk_mut() {
        *bytes = *header.as_bytes();
    }
    record
}

pub(super) fn decode_record(
    (key, value): &(impl AsRef<[u8]>, impl AsRef<[u8]>),
    expected: Height,
) -> Result<(Height, PureHeader, bool), Rebuilt> {
    let torn = Rebuilt::Torn { height: expected };
    let value = value.as_ref();
    if key.as_ref() != header_key(expected).as_slice() || value.len() != RECORD_SIZE {
        return Err(torn);
    }
    match (PureHeader::decode(value), value.last()) {
        (Some(header), Some(0)) => Ok((expected, header, false)),
        (Some(header), Some(1)) => Ok((expected, header, true)),
        _ => Err(torn),
    }
}

pub(super) fn meta(tree: &HeaderTree, tip: BlockHash) -> Vec<u8> {
    let anchor = tree.anchor();
    let mut bytes = Vec::with_capacity(META_SIZE);
    bytes.push(FORMAT);
    bytes.extend_from_slice(&tree.params().genesis.hash().to_byte_array());
    bytes.extend_from_slice(&anchor.height.to_be_bytes());
    bytes.extend_from_slice(&anchor.hash.to_byte_array());
    bytes.extend_from_slice(&tip.to_byte_array());
    bytes
}

/// Compares what the store says of itself with the tree's network and anchor; returns the tip that it names.
pub(super) fn check_meta(stored: &[u8], tree: &HeaderTree) -> Result<BlockHash, Rebuilt> {
    let tip: [u8; 32] = match stored.split_last_chunk() {
        Some((_, tip)) if stored.len() == META_SIZE => *tip,
        _ => return Err(Rebuilt::Foreign),
    };
    let tip = BlockHash::from_byte_array(tip);
    let ours = meta(tree, tip);
    if stored == ours {
        return Ok(tip);
    }
    let network = ..33;
    if stored.get(network) != ours.get(network) {
        return Err(Rebuilt::Foreign);
    }
    let height = stored
        .get(33..37)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, Height::from_be_bytes);
    Err(Rebuilt::OtherAnchor { height })
}

//! Builds AuxPoW headers byte by byte, right or wrong in one place, for tests and benches.
//!
//! Knows nothing of the crate's own types, so that a mistake there can't hide here.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "each user needs a part of it; its numbers are small"
)]

use bitcoin::hashes::{Hash, sha256d};

pub const REGTEST_BITS: u32 = 0x207f_ffff;
pub const MARKER: [u8; 4] = *b"\xfa\xbemm";

pub fn sha256d(bytes: &[u8]) -> [u8; 32] {
    sha256d::Hash::hash(bytes).to_byte_array()
}

pub fn pair(left: [u8; 32], right: [u8; 32]) -> [u8; 32] {
    sha256d(&[left, right].concat())
}

pub fn fold(leaf: [u8; 32], branch: &[[u8; 32]], index: u32) -> [u8; 32] {
    let mut node = leaf;
    let mut index = index;
    for sibling in branch {
        let left = index % 2 == 1;
        index /= 2;
        node = if left {
            pair(*sibling, node)
        } else {
            pair(node, *sibling)
        };
    }
    node
}

/// Where a chain with this ID belongs in a merge-mining tree of `levels`.
pub fn slot(nonce: u32, chain_id: u32, levels: u32) -> u32 {
    let step = |x: u64| (x * 1_103_515_245 + 12_345) % (1 << 32);
    (step((step(u64::from(nonce)) + u64::from(chain_id)) % (1 << 32)) % (1 << levels)) as u32
}

pub fn header(version: i32, prev: [u8; 32], root: [u8; 32], time: u32, bits: u32, nonce: u32) -> [u8; 80] {
    let mut bytes = Vec::new();
    bytes.extend(version.to_le_bytes());
    bytes.extend(prev);
    bytes.extend(root);
    bytes.extend(time.to_le_bytes());
    bytes.extend(bits.to_le_bytes());
    bytes.extend(nonce.to_le_bytes());
    bytes.try_into().unwrap()
}

/// Says whether a hash meets the regtest target, 0x7fffff followed by zeros.
pub fn meets_regtest(hash: [u8; 32]) -> bool {
    let mut target = [0; 32];
    target[29..].copy_from_slice(&[0xff, 0xff, 0x7f]);
    hash.iter().rev().le(target.iter().rev())
}

/// Counts the nonce up until the hash meets the regtest target, or with `false` does not meet it.
pub fn mine(mut header: [u8; 80], meets: bool) -> [u8; 80] {
    while meets_regtest(sha256d(&header)) != meets {
        let nonce = u32::from_le_bytes(header[76..].try_into().unwrap()).wrapping_add(1);
        header[76..].copy_from_slice(&nonce.to_le_bytes());
    }
    header
}

pub fn compact_size(value: usize) -> Vec<u8> {
    match value {
        0..=0xfc => vec![value as u8],
        0xfd..=0xffff => [&[0xfd][..], &(value as u16).to_le_bytes()].concat(),
        _ => [&[0xfe][..], &(value as u32).to_le_bytes()].concat(),
    }
}

/// All that an AuxPoW is made of; every field may be bent before [`AuxPowSpec::build`].
#[derive(Clone, Debug)]
pub struct AuxPowSpec {
    pub parent_version: i32,
    pub parent_time: u32,
    pub parent_meets: bool,
    /// The root that the parent header gets instead of the right one.
    pub parent_root: Option<[u8; 32]>,
    pub marker: bool,
    /// Bytes of the coinbase script before marker and root.
    pub script_head: Vec<u8>,
    /// Bytes between marker and root.
    pub script_gap: Vec<u8>,
    /// The root to write instead of the right one.
    pub script_root: Option<[u8; 32]>,
    pub tree_size: Option<u32>,
    pub nonce: u32,
    /// How many of the 8 bytes for size and nonce are written.
    pub script_tail_len: usize,
    /// Bytes after the nonce.
    pub script_end: Vec<u8>,
    pub inputs: usize,
    pub outputs: Vec<Vec<u8>>,
    pub witness: Option<Vec<Vec<u8>>>,
    pub coinbase_branch: Vec<[u8; 32]>,
    pub coinbase_index: i32,
    pub chain_branch: Vec<[u8; 32]>,
    pub chain_index: Option<i32>,
    pub parent_hash: [u8; 32],
}

impl Default for AuxPowSpec {
    fn default() -> Self {
        Self {
            parent_version: 0x2000_0000,
            parent_time: 1_700_000_000,
            parent_meets: true,
            parent_root: None,
            marker: true,
            script_head: vec![3, 1, 2, 3],
            script_gap: Vec::new(),
            script_root: None,
            tree_size: None,
            nonce: 7,
            script_tail_len: 8,
            script_end: b"/pool/".to_vec(),
            inputs: 1,
            outputs: vec![vec![0x51; 22]],
            witness: None,
            coinbase_branch: (0..3).map(|n| [n; 32]).collect(),
            coinbase_index: 0,
            chain_branch: (9..11).map(|n| [n; 32]).collect(),
            chain_index: None,
            parent_hash: [0; 32],
        }
    }
}

impl AuxPowSpec {
    /// About what mainnet's headers look like: 250 bytes of coinbase, 12 hashes up to the parent's root.
    pub fn realistic(chain_levels: u8) -> Self {
        Self {
            outputs: vec![vec![0xa9; 23], vec![0x6a; 38], vec![0x6a; 36]],
            coinbase_branch: (0..12).map(|n| sha256d(&[n])).collect(),
            chain_branch: (20..20 + chain_levels).map(|n| sha256d(&[n])).collect(),
            ..Self::default()
        }
    }

    /// Returns the parent coinbase's script for a block hash.
    pub fn script(&self, hash: [u8; 32]) -> Vec<u8> {
        let levels = self.chain_branch.len() as u32;
        let mut root = fold(hash, &self.chain_branch, self.index() as u32);
        root.reverse();
        let mut script = self.script_head.clone();
        if self.marker {
            script.extend(MARKER);
        }
        script.extend(&self.script_gap);
        script.extend(self.script_root.unwrap_or(root));
        let size = self.tree_size.unwrap_or(1_u32.checked_shl(levels).unwrap_or(0));
        let tail = [size.to_le_bytes(), self.nonce.to_le_bytes()].concat();
        script.extend(&tail[..self.script_tail_len]);
        script.extend(&self.script_end);
        script
    }

    pub fn index(&self) -> i32 {
        let levels = self.chain_branch.len() as u32;
        self.chain_index
            .unwrap_or_else(|| slot(self.nonce, 1, levels.min(30)) as i32)
    }

    /// Returns the coinbase, with or without its witness.
    pub fn coinbase(&self, hash: [u8; 32], with_witness: bool) -> Vec<u8> {
        let witness = self.witness.as_ref().filter(|_| with_witness);
        let mut bytes = 1_i32.to_le_bytes().to_vec();
        if witness.is_some() {
            bytes.extend([0, 1]);
        }
        let script = self.script(hash);
        bytes.extend(compact_size(self.inputs));
        for _ in 0..self.inputs {
            bytes.extend([0; 32]);
            bytes.extend([0xff; 4]);
            bytes.extend(compact_size(script.len()));
            bytes.extend(&script);
            bytes.extend([0xff; 4]);
        }
        bytes.extend(compact_size(self.outputs.len()));
        for output in &self.outputs {
            bytes.extend(625_000_000_u64.to_le_bytes());
            bytes.extend(compact_size(output.len()));
            bytes.extend(output);
        }
        for _ in 0..witness.map_or(0, |_| self.inputs) {
            let stack = witness.unwrap();
            bytes.extend(compact_size(stack.len()));
            for item in stack {
                bytes.extend(compact_size(item.len()));
                bytes.extend(item);
            }
        }
        bytes.extend([0; 4]);
        bytes
    }

    /// Returns the AuxPoW for a block hash.
    pub fn build(&self, hash: [u8; 32]) -> Vec<u8> {
        let txid = sha256d(&self.coinbase(hash, false));
        let root = self.parent_root.unwrap_or(fold(txid, &self.coinbase_branch, 0));
        let parent = header(self.parent_version, [5; 32], root, self.parent_time, 0x1703_4219, 0);
        let mut bytes = self.coinbase(hash, true);
        bytes.extend(self.parent_hash);
        for (branch, index) in [
            (&self.coinbase_branch, self.coinbase_index),
            (&self.chain_branch, self.index()),
        ] {
            bytes.extend(compact_size(branch.len()));
            bytes.extend(branch.concat());
            bytes.extend(index.to_le_bytes());
        }
        bytes.extend(mine(parent, self.parent_meets));
        bytes
    }

    /// Returns a full regtest header with this AuxPoW on top of `prev`.
    pub fn full_header(&self, prev: [u8; 32], time: u32) -> Vec<u8> {
        let pure = header(0x0001_0104, prev, [0x77; 32], time, REGTEST_BITS, 0);
        [&pure[..], &self.build(sha256d(&pure))].concat()
    }
}

//! The rules that make an AuxPoW evidence for one header and no other.

use bitcoin::hashes::{Hash, sha256d};
use bitcoin::{BlockHash, Target, TxMerkleNode};

use super::AuxPow;
use crate::chain::{Params, PureHeader, merkle};

/// What precedes the root in the parent coinbase, first of the merge-mining header.
const MARKER: [u8; 4] = [0xfa, 0xbe, b'm', b'm'];

/// Without the marker the root must start within this many bytes: 8 to 12 are what extra nonce and bits take.
const MAX_BARE_ROOT_START: usize = 20;

/// Why an AuxPoW is no evidence for its header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuxPowError {
    /// The parent header has the AuxPoW flag itself.
    #[error("parent header of version {version:#010x} has the AuxPoW flag itself")]
    NestedAuxPow {
        /// Its version.
        version: i32,
    },
    /// The parent header's hash is above the target.
    #[error("parent hash {got} above the target {target:x}")]
    InsufficientWork {
        /// Its hash.
        got: BlockHash,
        /// The target of our header.
        target: Target,
    },
    /// The parent is a block of the same chain.
    #[error("parent header has our own chain ID {chain_id}")]
    OwnChainId {
        /// The chain ID of both.
        chain_id: i32,
    },
    /// The chain merkle branch is longer than any merge-mining tree is high.
    #[error("chain merkle branch of {got} hashes, at most {max} allowed")]
    ChainBranchTooLong {
        /// Its length.
        got: usize,
        /// Longest length.
        max: usize,
    },
    /// The chain index is negative; −1 would fold to the zero hash in Core.
    #[error("negative chain index {got}")]
    NegativeChainIndex {
        /// The index.
        got: i32,
    },
    /// The coinbase branch starts at another leaf than the first.
    #[error("parent coinbase at merkle leaf {got} instead of 0")]
    CoinbaseIndex {
        /// The leaf's index.
        got: i32,
    },
    /// The coinbase branch leads to another root than the parent header's.
    #[error("coinbase merkle branch leads to {got}, the parent header has {expected}")]
    WrongMerkleRoot {
        /// The parent header's root.
        expected: TxMerkleNode,
        /// The branch's root.
        got: TxMerkleNode,
    },
    /// The parent coinbase has no input.
    #[error("parent coinbase without inputs")]
    NoInputs,
    /// The parent coinbase's first script does not hold the chain root.
    #[error("no chain merkle root in the parent coinbase")]
    RootMissing,
    /// The marker occurs more than once.
    #[error("more than one merge-mining header in the parent coinbase")]
    MarkerRepeated,
    /// The marker is not directly before the root.
    #[error("merge-mining marker at {marker}, the root at {root} does not follow it")]
    MarkerApart {
        /// Where the marker starts in the script.
        marker: usize,
        /// Where the root starts.
        root: usize,
    },
    /// There is no marker, and the root starts late.
    #[error("root without marker at {got}, must start at {max} at the latest")]
    RootTooLate {
        /// Where it starts in the script.
        got: usize,
        /// Latest start.
        max: usize,
    },
    /// The script ends before tree size and nonce.
    #[error("{got} bytes instead of 8 for tree size and nonce after the root")]
    TreeSizeMissing {
        /// How many bytes follow the root.
        got: usize,
    },
    /// The tree size in the script is not that of the branch.
    #[error("merge-mining tree of size {got}, the chain merkle branch says {expected}")]
    WrongTreeSize {
        /// 2 to the power of the branch's length.
        expected: u32,
        /// The size in the script.
        got: u32,
    },
    /// The chain index is not the slot that nonce and chain ID give.
    #[error("chain index {got} instead of {expected}")]
    WrongChainIndex {
        /// The slot.
        expected: u32,
        /// The index.
        got: u32,
    },
}

impl AuxPow<'_> {
    /// Longest chain merkle branch: its tree's size must fit into an i32.
    pub const MAX_CHAIN_BRANCH: usize = 30;

    /// Checks that this AuxPoW is evidence of work for `header`, whose hash is `hash` and whose bits decode to
    /// `target`.
    ///
    /// # Errors
    ///
    /// One variant for each rule; the first broken one is told.
    ///
    /// Source: Namecoin Core `auxpow.cpp`, `CAuxPow::check`, and `validation.cpp`, `CheckProofOfWork`.
    pub fn check(
        &self,
        header: &PureHeader,
        hash: &BlockHash,
        target: &Target,
        params: &Params,
    ) -> Result<(), AuxPowError> {
        self.check_parent(header, target, params)?;
        self.check_chain_branch()?;
        self.check_coinbase_branch()?;
        let index = self.chain_branch.index.cast_unsigned();
        let mut root = merkle::fold(hash.to_raw_hash(), self.chain_branch.hashes, index).to_byte_array();
        root.reverse();
        let script = self.coinbase.script().ok_or(AuxPowError::NoInputs)?;
        self.check_slot(after_root(script, &root)?, header.chain_id())
    }

    fn check_parent(&self, header: &PureHeader, target: &Target, params: &Params) -> Result<(), AuxPowError> {
        let version = self.parent.version();
        if self.parent.has_auxpow() {
            return Err(AuxPowError::NestedAuxPow { version });
        }
        let got = self.parent.hash();
        if !target.is_met_by(got) {
            return Err(AuxPowError::InsufficientWork { got, target: *target });
        }
        let chain_id = header.chain_id();
        if params.strict_chain_id && self.parent.chain_id() == chain_id {
            return Err(AuxPowError::OwnChainId { chain_id });
        }
        Ok(())
    }

    fn check_chain_branch(&self) -> Result<(), AuxPowError> {
        let got = self.chain_branch.hashes.len();
        if got > Self::MAX_CHAIN_BRANCH {
            let max = Self::MAX_CHAIN_BRANCH;
            return Err(AuxPowError::ChainBranchTooLong { got, max });
        }
        if self.chain_branch.index.is_negative() {
            let got = self.chain_branch.index;
            return Err(AuxPowError::NegativeChainIndex { got });
        }
        Ok(())
    }

    fn check_coinbase_branch(&self) -> Result<(), AuxPowError> {
        if self.coinbase_branch.index != 0 {
            let got = self.coinbase_branch.index;
            return Err(AuxPowError::CoinbaseIndex { got });
        }
        let got: sha256d::Hash = merkle::fold(self.coinbase.txid(), self.coinbase_branch.hashes, 0);
        let (expected, got) = (self.parent.merkle_root(), TxMerkleNode::from_raw_hash(got));
        if got != expected {
            return Err(AuxPowError::WrongMerkleRoot { expected, got });
        }
        Ok(())
    }

    /// Checks what follows the root: tree size and nonce bind the chain index, so that one parent block can't be
    /// evidence for two blocks of one chain.
    fn check_slot(&self, tail: &[u8], chain_id: i32) -> Result<(), AuxPowError> {
        let got = tail.len();
        let (size, rest) = tail.split_first_chunk().ok_or(AuxPowError::TreeSizeMissing { got })?;
        let nonce = rest.first_chunk().ok_or(AuxPowError::TreeSizeMissing { got })?;
        let levels = u32::try_from(self.chain_branch.hashes.len()).unwrap_or(u32::MAX);
        let (expected, got) = (1_u32.checked_shl(levels).unwrap_or(0), u32::from_le_bytes(*size));
        if got != expected {
            return Err(AuxPowError::WrongTreeSize { expected, got });
        }
        let expected = slot(u32::from_le_bytes(*nonce), chain_id) & (expected.wrapping_sub(1));
        let got = self.chain_branch.index.cast_unsigned();
        if got != expected {
            return Err(AuxPowError::WrongChainIndex { expected, got });
        }
        Ok(())
    }
}

/// Finds the root (bytes reversed) in the parent coinbase's script and returns what follows it.
fn after_root<'a>(script: &'a [u8], root: &[u8; 32]) -> Result<&'a [u8], AuxPowError> {
    let at = find(script, root).ok_or(AuxPowError::RootMissing)?;
    match find(script, &MARKER) {
        Some(marker) => {
            let behind = script.get(marker.saturating_add(1)..).unwrap_or_default();
            if find(behind, &MARKER).is_some() {
                return Err(AuxPowError::MarkerRepeated);
            }
            if marker.saturating_add(MARKER.len()) != at {
                return Err(AuxPowError::MarkerApart { marker, root: at });
            }
        }
        None if at > MAX_BARE_ROOT_START => {
            return Err(AuxPowError::RootTooLate {
                got: at,
                max: MAX_BARE_ROOT_START,
            });
        }
        None => {}
    }
    Ok(script.get(at.saturating_add(root.len())..).unwrap_or_default())
}

/// Returns where `pattern` first occurs in `bytes`.
fn find<const N: usize>(bytes: &[u8], pattern: &[u8; N]) -> Option<usize> {
    bytes.windows(N).position(|window| window == pattern)
}

/// Mixes nonce and chain ID into a number whose low bits are the chain's slot in the merge-mining tree.
///
/// Source: Namecoin Core `auxpow.cpp`, `CAuxPow::getExpectedIndex`.
fn slot(nonce: u32, chain_id: i32) -> u32 {
    let step = |value: u32| value.wrapping_mul(1_103_515_245).wrapping_add(12_345);
    step(step(nonce).wrapping_add(chain_id.cast_unsigned()))
}

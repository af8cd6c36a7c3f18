//! Faults: one wrong behaviour each, of a peer that is honest otherwise.

use bitcoin::BlockHash;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::body::Body;
use crate::blocks::Blocks;
use crate::chain::SimChain;
use crate::fault::{Fault, extended};
use crate::miner::{self, Below, Work};
use crate::parent::{AuxPowKind, Flaw};
use crate::world::BLOCK_SPACING;
use isonym_core::chain::{Height, PureHeader};

/// What a peer does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerFault {
    /// It accepts the connection and never says anything.
    Silent,
    /// It speaks an old version of the protocol.
    Version(u32),
    /// It is of another network, as the first bytes of its messages tell.
    WrongMagic,
    /// Its messages have wrong checksums, but for those of the handshake.
    BadChecksums,
    /// It says no more after so many blocks, and keeps the connection.
    Stalls {
        /// How many.
        after: usize,
    },
    /// It sends slowly. The edge waits.
    Slow {
        /// How much, at least one.
        bytes_per_second: u64,
    },
    /// It hangs up when it is asked for a block that is not among so many newest ones: an honest node that has reached its
    /// `-maxuploadtarget`.
    UploadTarget {
        /// How many.
        newest: Height,
    },
    /// It has no more than so many blocks, and says so. It hangs up when it is asked for others, and is silent when it is
    /// asked for their headers, as honest nodes with `-prune` do.
    Pruned {
        /// How many; honest nodes have 288 or more, and give 290.
        kept: Height,
    },
    /// It never answers questions for headers.
    SilentToHeaders,
    /// It answers questions for headers with one that connects to nothing, and announces such ones.
    UnconnectingHeaders,
    /// It never comes to an end of headers: those upon the chain have little work, but enough.
    EndlessHeaders,
    /// It replaces the AuxPoW of one header, in headers and blocks.
    ForgedAuxPow {
        /// The header: the first one with AuxPoW from this height on.
        from: Height,
        /// The rule that the new AuxPoW breaks.
        flaw: Flaw,
    },
    /// It serves a branch of its own, without transactions, that has less work than the chain.
    LessWork {
        /// How many blocks of the chain it lacks.
        depth: Height,
        /// How many blocks it has instead.
        blocks: Height,
    },
    /// It knows nothing above a height, though the chain grows.
    Eclipse {
        /// The height of its last block.
        height: Height,
    },
    /// It sends the block below the one that it was asked for.
    OtherBlocks,
    /// It repeats transactions in blocks so that the merkle root stays, see CVE-2012-2459. Blocks where that can't be done
    /// are served as they are.
    MutatedBlocks,
    /// It puts another value into the last name operation of each block, or changes the last transaction.
    ForgedTransactions,
    /// It flips a bit in the witness of each block that has one.
    ForgedWitnesses,
    /// It begins a message of four gigabytes when it is asked for anything.
    HugeMessage,
    /// It sends so many messages after the handshake, each with a thousand addresses of private networks.
    AddressFlood {
        /// How many.
        messages: usize,
    },
}

impl PeerFault {
    /// Returns the chain that the peer serves; `None`: the true one.
    pub(super) fn doctored(self, chain: &SimChain) -> Option<SimChain> {
        match self {
            Self::ForgedAuxPow { from, flaw } => Fault::ForgedAuxPow { from, flaw }.doctored(chain),
            Self::Eclipse { height } => Some(chain.truncated(height)),
            Self::LessWork { depth, blocks } => {
                let kept = chain.truncated(chain.height().saturating_sub(depth));
                Some(extended(&kept, blocks, Work::AuxPow(AuxPowKind::Minimal)))
            }
            _ => None,
        }
    }

    /// Returns what is served as a block.
    pub(super) fn spoiled(self, blocks: &dyn Blocks, hash: &BlockHash) -> Option<Vec<u8>> {
        let bytes = if self == Self::OtherBlocks {
            let other = blocks.below(hash).filter(|below| blocks.find(below).is_some());
            blocks.block(&other.unwrap_or(*hash))?
        } else {
            blocks.block(hash)?
        };
        let spoil = match self {
            Self::MutatedBlocks => Body::mutated,
            Self::ForgedTransactions => Body::forged,
            Self::ForgedWitnesses => Body::with_forged_witness,
            _ => return Some(bytes),
        };
        Some(Body::decode(&bytes).map_or(bytes, |body| spoil(body).to_bytes()))
    }
}

/// Mines headers upon a chain's end, for a peer that never comes to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endless {
    below: Below,
    time: u32,
}

impl Endless {
    /// Begins upon a header.
    pub(super) fn upon(height: Height, header: &PureHeader) -> Self {
        Self {
            below: Below {
                height,
                hash: header.hash(),
                bits: header.bits(),
            },
            time: header.time(),
        }
    }

    /// Returns the hash of the last header.
    pub(super) fn hash(&self) -> BlockHash {
        self.below.hash
    }

    /// Returns the next header, with its AuxPoW.
    pub(super) fn next(&mut self) -> Vec<u8> {
        let mut rng = StdRng::seed_from_u64(self.below.height.into());
        let time = self.time.saturating_add(BLOCK_SPACING);
        let work = Work::AuxPow(AuxPowKind::Minimal);
        let block = miner::mine_upon(&mut rng, self.below, time, bitcoin::ScriptBuf::new(), Vec::new(), work);
        *self = Self::upon(self.below.height.saturating_add(1), &block.header);
        block.full_header
    }
}

/// Makes a header with work that connects to nothing.
pub(super) fn unconnected(height: Height, header: &PureHeader) -> Vec<u8> {
    let mut upon = Endless::upon(height, header);
    let mut bytes = header.hash();
    bytes = BlockHash::from_raw_hash(bitcoin::hashes::Hash::hash(bytes.as_ref()));
    upon.below.hash = bytes;
    upon.next()
}

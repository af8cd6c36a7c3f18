//! What servers show and what is left of it once it is proved.

use std::fmt;

use bitcoin::{TxMerkleNode, Txid};

use crate::chain::Height;
use crate::name::{NameId, NameValue, address};

/// A transaction of a name's history and the merkle branch that puts it into a block.
///
/// `Debug` hides the content, which tells the name.
#[derive(Clone, PartialEq, Eq)]
pub struct ProofLink {
    /// Height of the block.
    pub height: Height,
    /// The transaction as serialized, with its witness if it has one.
    pub tx: Vec<u8>,
    /// The merkle branch, from the leaf up.
    pub merkle: Vec<TxMerkleNode>,
    /// Position of the transaction in its block.
    pub pos: u32,
}

impl fmt::Debug for ProofLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofLink(..)")
    }
}

/// What a server shows for a name: its newest transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameProof {
    /// The transactions, newest first; more than needed is ignored.
    pub links: Vec<ProofLink>,
    /// Whether the server's list ends with the last link; else we left older ones out.
    pub complete: bool,
    /// The NAME_NEW that the registration spends, as serialized, where it was fetched.
    pub name_new: Option<Vec<u8>>,
}

/// How far back a proof went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// To the name's registration, its NAME_FIRSTUPDATE.
    Registration,
    /// To a transaction at or below the anchor.
    Anchor,
    /// Over as many links as the limits ask for.
    Limit,
    /// To the oldest operation among the blocks that living names are in: the one before it lies below them.
    Window,
}

/// A name operation that is in a block of our chain. Only this folder makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct ProvenEntry {
    pub(super) name: NameId,
    pub(super) value: NameValue,
    pub(super) registers: bool,
    pub(super) txid: Txid,
    pub(super) vout: u32,
    pub(super) address: Option<String>,
    pub(super) height: Height,
    pub(super) pos: u32,
}

impl ProvenEntry {
    /// Returns the name.
    pub fn name(&self) -> &NameId {
        &self.name
    }

    /// Returns the value that the operation gives the name.
    pub fn value(&self) -> &NameValue {
        &self.value
    }

    /// Says whether it registers the name (a NAME_FIRSTUPDATE) rather than updates it.
    pub fn is_registration(&self) -> bool {
        self.registers
    }

    /// Returns the transaction's ID.
    pub fn txid(&self) -> Txid {
        self.txid
    }

    /// Returns the index of the name output.
    pub fn vout(&self) -> u32 {
        self.vout
    }

    /// Returns the address that holds the name since, or [`address::NONSTANDARD`].
    pub fn address(&self) -> &str {
        self.address.as_deref().unwrap_or(address::NONSTANDARD)
    }

    /// Returns the height of its block.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Returns the transaction's position in its block.
    pub fn pos(&self) -> u32 {
        self.pos
    }
}

impl fmt::Debug for ProvenEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProvenEntry(..)")
    }
}

/// An operation that a proof goes over, and the merkle branch by which it is in its block. Only this folder makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenStep {
    pub(super) entry: ProvenEntry,
    pub(super) merkle: Vec<TxMerkleNode>,
}

impl ProvenStep {
    /// Returns the operation.
    pub fn entry(&self) -> &ProvenEntry {
        &self.entry
    }

    /// Returns the merkle branch from its transaction up to the header's root, the leaf's sibling first.
    pub fn merkle(&self) -> &[TxMerkleNode] {
        &self.merkle
    }
}

/// A name's newest operation, with the chain of owners behind it verified. Only this folder makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenName {
    pub(super) entry: ProvenEntry,
    pub(super) links: usize,
    pub(super) reached: Reached,
    pub(super) oldest_height: Height,
    pub(super) oldest_above_anchor: Option<Height>,
    pub(super) commitment_checked: bool,
}

impl ProvenName {
    /// Makes one up, for tests of what is done with it.
    #[cfg(any(test, feature = "testing"))]
    #[doc(hidden)]
    pub fn assumed(height: Height, oldest_above_anchor: Option<Height>) -> Option<Self> {
        use bitcoin::hashes::Hash;
        Some(Self {
            entry: ProvenEntry {
                name: NameId::new(b"d/x")?,
                value: NameValue::new(b"")?,
                registers: false,
                txid: Txid::all_zeros(),
                vout: 0,
                address: None,
                height,
                pos: 0,
            },
            links: 0,
            reached: Reached::Limit,
            oldest_height: height,
            oldest_above_anchor,
            commitment_checked: false,
        })
    }

    /// Makes up another value, for tests.
    #[cfg(any(test, feature = "testing"))]
    #[doc(hidden)]
    #[must_use]
    pub fn with_value(mut self, value: NameValue) -> Self {
        self.entry.value = value;
        self
    }

    /// Returns the newest operation.
    pub fn entry(&self) -> &ProvenEntry {
        &self.entry
    }

    /// Returns the name.
    pub fn name(&self) -> &NameId {
        &self.entry.name
    }

    /// Returns the value.
    pub fn value(&self) -> &NameValue {
        &self.entry.value
    }

    /// Returns the ID of the newest transaction.
    pub fn txid(&self) -> Txid {
        self.entry.txid
    }

    /// Returns the index of its name output.
    pub fn vout(&self) -> u32 {
        self.entry.vout
    }

    /// Returns the address that holds the name, or [`address::NONSTANDARD`].
    pub fn address(&self) -> &str {
        self.entry.address()
    }

    /// Returns the height of the newest operation.
    pub fn height(&self) -> Height {
        self.entry.height
    }

    /// Returns how many spends were verified behind it.
    pub fn links(&self) -> usize {
        self.links
    }

    /// Says how far back the proof went.
    pub fn reached(&self) -> Reached {
        self.reached
    }

    /// Returns the height of the oldest transaction that was verified.
    pub fn oldest_height(&self) -> Height {
        self.oldest_height
    }

    /// Returns the height of the oldest verified transaction above the anchor; `None` when the name wasn't touched
    /// since. What the chain proves about this one, only the work on top of it vouches for.
    pub fn oldest_above_anchor(&self) -> Option<Height> {
        self.oldest_above_anchor
    }

    /// Says whether the registration was checked against its NAME_NEW too.
    pub fn commitment_checked(&self) -> bool {
        self.commitment_checked
    }
}

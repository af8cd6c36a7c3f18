//! Evidence that a name has a value: its transactions, each in a block, each spending the one before.
//!
//! ```text
//! headers     ... [ 900 ] ........ [ 930 ] ...... [ 950 ] ... tip
//!                    |                |              |          a merkle branch each
//! links    NAME_FIRSTUPDATE <---- NAME_UPDATE <-- NAME_UPDATE   each input spends the older name output,
//!            (registration)                         newest      its script verified
//! ```
//!
//! Without the chain of spends a miner, or a server with one block of work, could give any name any value: the
//! miner of an invalid block doesn't have the owner's key. What is below the newest 12 blocks, nobody would waste
//! so much work on; hence only younger links must all be checked, and [`super::policy`] asks for 12 confirmations
//! of the oldest.

use std::fmt;

use bitcoin::consensus::encode::deserialize;
use bitcoin::transaction::Version;
use bitcoin::{OutPoint, Script, ScriptBuf, Transaction, TxMerkleNode, TxOut, Txid};

use super::merkle::{self, MerkleError};
use super::script::{self, NameOp, NameScript};
use super::verify_script::{self, SpendError};
use super::{NameId, NameValue, address};
use crate::chain::{HeaderTree, Height, Params};

/// The version of transactions that carry name operations.
///
/// Source: Namecoin Core `primitives/transaction.h`, `NAMECOIN_TX_VERSION`.
pub const NAME_TX_VERSION: i32 = 0x7100;

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

/// How much of a name's history is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofLimits {
    /// Most spends that are verified when all younger than `min_confirmations` are: 16.
    pub max_links: usize,
    /// Most transactions that are looked at in any case: 128. A name with more in its newest 12 blocks has no answer.
    pub max_entries: usize,
    /// From how many confirmations on older links needn't be verified: 12, as [`super::policy::MIN_CONFIRMATIONS`].
    pub min_confirmations: Height,
}

impl Default for ProofLimits {
    fn default() -> Self {
        Self {
            max_links: 16,
            max_entries: 128,
            min_confirmations: super::policy::MIN_CONFIRMATIONS,
        }
    }
}

/// Why a proof is refused. Each but [`Self::MissingHeader`] and [`Self::TooManyLinks`] is the server's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// There is no transaction at all.
    #[error("proof without a transaction")]
    Empty,
    /// The header of a transaction's block isn't known: above our tip, or below what was fetched.
    #[error("no header is known at height {height}")]
    MissingHeader {
        /// The height.
        height: Height,
    },
    /// Bytes that are no transaction.
    #[error("the transaction at height {height} can't be decoded")]
    Undecodable {
        /// Claimed height of the transaction.
        height: Height,
    },
    /// The merkle proof of a transaction fails.
    #[error("merkle proof of the transaction at height {height}")]
    Merkle {
        /// Claimed height of the transaction.
        height: Height,
        /// What is wrong with it.
        source: MerkleError,
    },
    /// A transaction's version isn't the one of name transactions.
    #[error("transaction version {got:#x}: expected {NAME_TX_VERSION:#x}")]
    Version {
        /// The version.
        got: i32,
    },
    /// A transaction doesn't have exactly one name output.
    #[error("{got} name outputs: expected one")]
    NameOutputs {
        /// How many it has.
        got: usize,
    },
    /// A transaction of the history is a NAME_NEW, which has no value.
    #[error("the transaction at height {height} is a NAME_NEW")]
    NoValue {
        /// Height of the transaction.
        height: Height,
    },
    /// A transaction is of another name.
    #[error("the transaction at height {height} is of another name")]
    OtherName {
        /// Height of the transaction.
        height: Height,
    },
    /// A name output locks less than the network wants.
    #[error("the name output locks {got} satoshis: expected at least {expected}")]
    LockedValue {
        /// The least.
        expected: u64,
        /// What it locks.
        got: u64,
    },
    /// A transaction is listed before one that is younger, or that comes later in the same block.
    #[error("transaction at height {older}, position {older_pos} listed as older than one at {newer}, {newer_pos}")]
    OutOfOrder {
        /// Height of the transaction that is listed first (as the newer one).
        newer: Height,
        /// Its position in its block.
        newer_pos: u32,
        /// Height of the transaction that follows.
        older: Height,
        /// Its position in its block.
        older_pos: u32,
    },
    /// A NAME_UPDATE follows an operation so much older that the name had expired.
    #[error("NAME_UPDATE at height {height}, {gap} blocks after the operation before: the name had expired")]
    UpdateAfterExpiry {
        /// Height of the NAME_UPDATE.
        height: Height,
        /// Blocks between the two.
        gap: Height,
    },
    /// A NAME_FIRSTUPDATE follows an operation so young that the name was still taken.
    #[error("NAME_FIRSTUPDATE at height {height}, {gap} blocks after the operation before: the name was taken")]
    RegisteredWhileTaken {
        /// Height of the NAME_FIRSTUPDATE.
        height: Height,
        /// Blocks between the two.
        gap: Height,
    },
    /// No input of a NAME_UPDATE spends the name output of the operation before.
    #[error("the transaction at height {height} doesn't spend the operation before it")]
    NotSpent {
        /// Height of the NAME_UPDATE.
        height: Height,
    },
    /// The input that spends the operation before isn't allowed to.
    #[error("the transaction at height {height} isn't authorised by the owner before")]
    Spend {
        /// Height of the transaction.
        height: Height,
        /// What is wrong.
        source: SpendError,
    },
    /// The transaction given as the registration's NAME_NEW isn't one that it spends.
    #[error("the NAME_FIRSTUPDATE doesn't spend the NAME_NEW shown for it")]
    NameNewNotSpent,
    /// The registration's salt and name don't make the commitment of its NAME_NEW.
    #[error("salt and name of the NAME_FIRSTUPDATE don't hash to the commitment of its NAME_NEW")]
    Commitment,
    /// The server's list of operations ends before the registration.
    #[error("history ends at height {height} before the name's registration")]
    NoRegistration {
        /// Height of the last transaction.
        height: Height,
    },
    /// The list ends since we asked for too little of it.
    #[error("proof of {got} transactions is too short")]
    TooShort {
        /// How many transactions it has.
        got: usize,
    },
    /// More operations than are looked at have to be.
    #[error("more than {max} operations would have to be checked")]
    TooManyLinks {
        /// The limit.
        max: usize,
    },
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
}

/// A name operation that is in a block of our chain. Only this file makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct ProvenEntry {
    name: NameId,
    value: NameValue,
    registers: bool,
    txid: Txid,
    vout: u32,
    address: Option<String>,
    height: Height,
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
}

impl fmt::Debug for ProvenEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProvenEntry(..)")
    }
}

/// A name's newest operation, with the chain of owners behind it verified. Only this file makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenName {
    entry: ProvenEntry,
    links: usize,
    reached: Reached,
    oldest_height: Height,
    oldest_above_anchor: Option<Height>,
    commitment_checked: bool,
}

impl ProvenName {
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

/// Verifies what a server shows for a name, against our own headers.
///
/// Each transaction that is looked at must be in a block of the best chain, be a name transaction with one name
/// output of this name and enough value locked, and spend the name output of the next older one by a valid script.
/// The walk ends at the registration, at the first transaction at or below the anchor, or after
/// [`ProofLimits::max_links`] spends once 12 confirmations are reached.
///
/// # Errors
///
/// Any [`ProofError`]; each variant says its cause.
pub fn verify(
    name: &NameId,
    proof: &NameProof,
    tree: &HeaderTree,
    limits: &ProofLimits,
) -> Result<ProvenName, ProofError> {
    let (newest, older) = proof.links.split_first().ok_or(ProofError::Empty)?;
    let newest = Step::check(name, newest, tree)?;
    let entry = newest.entry.clone();
    let mut older = older.iter();
    let mut walk = Walk {
        current: newest,
        links: 0,
        oldest_above_anchor: None,
    };
    let reached = loop {
        match walk.end(tree, limits) {
            Some(reached) => break reached,
            None if walk.links + 1 >= limits.max_entries => {
                return Err(ProofError::TooManyLinks {
                    max: limits.max_entries,
                });
            }
            None => {}
        }
        let next = older.next().ok_or_else(|| walk.ended_early(proof))?;
        walk.step_to(name, next, tree)?;
    };
    let mut commitment_checked = false;
    if reached == Reached::Registration {
        if let Some(before) = older.next() {
            walk.check_was_free(before, tree)?;
        }
        if let Some(name_new) = &proof.name_new {
            walk.current.check_commitment(name_new)?;
            commitment_checked = true;
        }
    }
    Ok(ProvenName {
        entry,
        links: walk.links,
        reached,
        oldest_height: walk.current.link.height,
        oldest_above_anchor: walk.oldest_above_anchor,
        commitment_checked,
    })
}

/// Verifies that one operation of a name's history is in a block of our chain, not whether its owner was entitled
/// to it: enough for what lies deep.
///
/// # Errors
///
/// The [`ProofError`]s of a single transaction.
pub fn verify_entry(name: &NameId, link: &ProofLink, tree: &HeaderTree) -> Result<ProvenEntry, ProofError> {
    Step::check(name, link, tree).map(|step| step.entry)
}

/// Returns how many of the newest operations of a history must be fetched for [`verify`] to succeed.
///
/// The history is a server's claim, oldest first. Our own tip has no say in it, since what we ask for would tell
/// it: the newest operation stands for the tip.
///
/// # Errors
///
/// [`ProofError::OutOfOrder`] when heights fall (positions are not known then, and 0), [`ProofError::TooManyLinks`]
/// when more than [`ProofLimits::max_entries`] would be needed.
pub fn links_needed(history: &[(Txid, Height)], params: &Params, limits: &ProofLimits) -> Result<usize, ProofError> {
    let mut needed = 0;
    let mut newer: Option<Height> = None;
    let newest = history.last().map_or(0, |(_, height)| *height);
    for (_, height) in history.iter().rev() {
        if let Some(newer) = newer {
            let gap = newer.checked_sub(*height).ok_or(ProofError::OutOfOrder {
                newer,
                newer_pos: 0,
                older: *height,
                older_pos: 0,
            })?;
            if gap > params.expiration_depth(newer) {
                break;
            }
        }
        if needed >= limits.max_entries {
            return Err(ProofError::TooManyLinks {
                max: limits.max_entries,
            });
        }
        needed += 1;
        let deep = height.saturating_add(limits.min_confirmations) <= newest;
        if needed > limits.max_links && deep {
            break;
        }
        newer = Some(*height);
    }
    Ok(needed)
}

/// Where [`verify`] stands: at a transaction that is verified but for who was entitled to make it.
struct Walk<'a> {
    current: Step<'a>,
    links: usize,
    oldest_above_anchor: Option<Height>,
}

impl<'a> Walk<'a> {
    /// Says whether the chain has gone far enough back.
    fn end(&mut self, tree: &HeaderTree, limits: &ProofLimits) -> Option<Reached> {
        let height = self.current.link.height;
        let above_anchor = height > tree.anchor().height;
        if above_anchor {
            self.oldest_above_anchor = Some(height);
        }
        let deep = confirmations(height, tree.tip().height) >= limits.min_confirmations;
        if self.current.entry.registers {
            Some(Reached::Registration)
        } else if !above_anchor {
            Some(Reached::Anchor)
        } else {
            (self.links >= limits.max_links && deep).then_some(Reached::Limit)
        }
    }

    /// Goes to the next older transaction: the one that the current one must spend.
    fn step_to(&mut self, name: &NameId, older: &'a ProofLink, tree: &HeaderTree) -> Result<(), ProofError> {
        let height = self.current.link.height;
        let gap = self.gap_to(older)?;
        if gap > tree.params().expiration_depth(height) {
            return Err(ProofError::UpdateAfterExpiry { height, gap });
        }
        let older = Step::check(name, older, tree)?;
        self.current.check_spends(&older)?;
        self.current = older;
        self.links += 1;
        Ok(())
    }

    /// Checks that the name had expired when the current transaction registered it. Below the anchor there is
    /// nothing to check: early mainnet blocks hold registrations that broke the rule.
    fn check_was_free(&self, before: &ProofLink, tree: &HeaderTree) -> Result<(), ProofError> {
        let height = self.current.link.height;
        let gap = self.gap_to(before)?;
        if height > tree.anchor().height && gap < tree.params().expiration_depth(height) {
            return Err(ProofError::RegisteredWhileTaken { height, gap });
        }
        Ok(())
    }

    fn gap_to(&self, older: &ProofLink) -> Result<Height, ProofError> {
        let newer = self.current.link;
        match newer.height.checked_sub(older.height) {
            Some(gap) if gap > 0 || newer.pos > older.pos => Ok(gap),
            _ => Err(ProofError::OutOfOrder {
                newer: newer.height,
                newer_pos: newer.pos,
                older: older.height,
                older_pos: older.pos,
            }),
        }
    }

    fn ended_early(&self, proof: &NameProof) -> ProofError {
        if proof.complete {
            ProofError::NoRegistration {
                height: self.current.link.height,
            }
        } else {
            ProofError::TooShort { got: proof.links.len() }
        }
    }
}

/// A link whose transaction is in its block and is a name transaction of the name.
struct Step<'a> {
    link: &'a ProofLink,
    tx: Transaction,
    output: NameOutput,
    entry: ProvenEntry,
}

impl<'a> Step<'a> {
    fn check(name: &NameId, link: &'a ProofLink, tree: &HeaderTree) -> Result<Self, ProofError> {
        let height = link.height;
        let header = tree.header_at(height).ok_or(ProofError::MissingHeader { height })?;
        let tx: Transaction = deserialize(&link.tx).map_err(|_| ProofError::Undecodable { height })?;
        merkle::check_inclusion(&tx, &link.merkle, link.pos, header.merkle_root())
            .map_err(|source| ProofError::Merkle { height, source })?;
        let output = NameOutput::of(&tx)?;
        let registers = matches!(output.op, NameOp::FirstUpdate { .. });
        let (found, value) = output.op.any_update().ok_or(ProofError::NoValue { height })?;
        if found != name {
            return Err(ProofError::OtherName { height });
        }
        let expected = tree.params().min_name_value;
        let got = output.txout.value.to_sat();
        if got < expected {
            return Err(ProofError::LockedValue { expected, got });
        }
        let entry = ProvenEntry {
            name: name.clone(),
            value: value.clone(),
            registers,
            txid: tx.compute_txid(),
            vout: output.vout,
            address: address::address(&output.address, tree.params()),
            height,
        };
        Ok(Self {
            link,
            tx,
            output,
            entry,
        })
    }

    /// Checks that this transaction spends the older one's name output as its owner.
    fn check_spends(&self, older: &Self) -> Result<(), ProofError> {
        let height = self.link.height;
        let spent = OutPoint {
            txid: older.entry.txid,
            vout: older.entry.vout,
        };
        let input = self
            .input_of(|outpoint| *outpoint == spent)
            .ok_or(ProofError::NotSpent { height })?;
        self.check_script(&older.output.txout, &older.output.address, input)
    }

    /// Checks this NAME_FIRSTUPDATE against the NAME_NEW that it spends.
    fn check_commitment(&self, name_new: &[u8]) -> Result<(), ProofError> {
        let NameOp::FirstUpdate { name, salt, .. } = &self.output.op else {
            return Err(ProofError::NameNewNotSpent);
        };
        let tx: Transaction = deserialize(name_new).map_err(|_| ProofError::NameNewNotSpent)?;
        let output = NameOutput::of(&tx)?;
        let NameOp::New { commitment } = output.op else {
            return Err(ProofError::NameNewNotSpent);
        };
        let spent = OutPoint {
            txid: tx.compute_txid(),
            vout: output.vout,
        };
        let input = self
            .input_of(|outpoint| *outpoint == spent)
            .ok_or(ProofError::NameNewNotSpent)?;
        if script::commitment(salt, name) != commitment {
            return Err(ProofError::Commitment);
        }
        self.check_script(&output.txout, &output.address, input)
    }

    fn input_of(&self, wanted: impl Fn(&OutPoint) -> bool) -> Option<usize> {
        self.tx.input.iter().position(|input| wanted(&input.previous_output))
    }

    fn check_script(&self, spent: &TxOut, address: &Script, input: usize) -> Result<(), ProofError> {
        verify_script::check_spend(spent, address, &self.link.tx, input).map_err(|source| ProofError::Spend {
            height: self.link.height,
            source,
        })
    }
}

/// The only name output of a name transaction.
struct NameOutput {
    vout: u32,
    txout: TxOut,
    op: NameOp,
    address: ScriptBuf,
}

impl NameOutput {
    fn of(tx: &Transaction) -> Result<Self, ProofError> {
        let Version(got) = tx.version;
        if got != NAME_TX_VERSION {
            return Err(ProofError::Version { got });
        }
        let mut outputs = (0..).zip(&tx.output).filter_map(|(vout, txout)| {
            let NameScript { op, address } = NameScript::parse(&txout.script_pubkey)?;
            Some((vout, txout, op, address))
        });
        match (outputs.next(), outputs.count()) {
            (Some((vout, txout, op, address)), 0) => Ok(Self {
                vout,
                txout: txout.clone(),
                op,
                address: address.to_owned(),
            }),
            (first, more) => Err(ProofError::NameOutputs {
                got: usize::from(first.is_some()) + more,
            }),
        }
    }
}

/// Returns how many blocks of a chain with this tip confirm a block at `height`, itself counted.
pub(super) fn confirmations(height: Height, tip: Height) -> Height {
    tip.checked_sub(height).map_or(0, |above| above.saturating_add(1))
}

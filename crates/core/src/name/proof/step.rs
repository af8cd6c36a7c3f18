//! A single transaction of a name's history.

use bitcoin::consensus::encode::deserialize;
use bitcoin::transaction::Version;
use bitcoin::{OutPoint, Script, ScriptBuf, Transaction, TxOut};

use super::{ProofError, ProofLink, ProvenEntry};
use crate::chain::HeaderTree;
use crate::name::script::{self, NameOp, NameScript};
use crate::name::verify_script;
use crate::name::{NameId, address, merkle};

/// The version of transactions that carry name operations.
///
/// Source: Namecoin Core `primitives/transaction.h`, `NAMECOIN_TX_VERSION`.
pub const NAME_TX_VERSION: i32 = 0x7100;

/// Longest serialized transaction, in bytes: no block has room for more.
///
/// Source: Namecoin Core `consensus/consensus.h`, `MAX_BLOCK_SERIALIZED_SIZE`.
pub const MAX_TX_SIZE: usize = 4_000_000;

/// Verifies that one operation of a name's history is in a block of our chain, not whether its owner was entitled
/// to it: enough for what lies deep.
///
/// # Errors
///
/// The [`ProofError`]s of a single transaction.
pub fn verify_entry(name: &NameId, link: &ProofLink, tree: &HeaderTree) -> Result<ProvenEntry, ProofError> {
    Step::check(name, link, tree).map(|step| step.entry)
}

/// Says whether a transaction sets a name's value, by itself: in which block it is, if in any, is not looked at.
pub fn is_operation_of(name: &NameId, tx: &[u8]) -> bool {
    let tx = deserialize::<Transaction>(tx).ok().filter(|_| tx.len() <= MAX_TX_SIZE);
    let output = tx.and_then(|tx| NameOutput::of(&tx).ok());
    output.is_some_and(|output| output.op.any_update().is_some_and(|(found, _)| found == name))
}

/// Says whether a link is in a block that we know and that is not, or no longer, in the best chain: who shows it lags.
pub fn is_in_replaced_block(link: &ProofLink, tree: &HeaderTree) -> bool {
    let Ok(tx) = deserialize::<Transaction>(&link.tx) else {
        return false;
    };
    let mut replaced = tree.replaced_at(link.height);
    replaced.any(|header| merkle::check_inclusion(&tx, &link.merkle, link.pos, header.merkle_root()).is_ok())
}

/// A link whose transaction is in its block and is a name transaction of the name.
pub(super) struct Step<'a> {
    pub(super) link: &'a ProofLink,
    pub(super) entry: ProvenEntry,
    tx: Transaction,
    output: NameOutput,
}

impl<'a> Step<'a> {
    /// Checks what can be said of the transaction by itself.
    pub(super) fn check(name: &NameId, link: &'a ProofLink, tree: &HeaderTree) -> Result<Self, ProofError> {
        let height = link.height;
        let header = tree.header_at(height).ok_or(ProofError::MissingHeader { height })?;
        if link.tx.len() > MAX_TX_SIZE {
            return Err(ProofError::Oversized { height });
        }
        let tx: Transaction = deserialize(&link.tx).map_err(|_| ProofError::Undecodable { height })?;
        merkle::check_inclusion(&tx, &link.merkle, link.pos, header.merkle_root())
            .map_err(|error| ProofError::Merkle { height, error })?;
        let output = NameOutput::of(&tx)?;
        let registers = matches!(output.op, NameOp::FirstUpdate { .. });
        let (found, value) = output.op.any_update().ok_or(ProofError::NoValue { height })?;
        if found != name {
            return Err(ProofError::OtherName { height });
        }
        let expected = tree.params().min_name_value;
        let got = output.txout.value.to_sat();
        // Below the anchor nothing needs checking, and mainnet wanted no locked value before height 212500.
        if got < expected && height > tree.anchor().height {
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
            pos: link.pos,
        };
        Ok(Self {
            link,
            entry,
            tx,
            output,
        })
    }

    /// Checks that this transaction spends the older one's name output as its owner.
    pub(super) fn check_spends(&self, older: &Self) -> Result<(), ProofError> {
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
    pub(super) fn check_commitment(&self, name_new: &[u8]) -> Result<(), ProofError> {
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
        verify_script::check_spend(spent, address, &self.link.tx, input).map_err(|error| ProofError::Spend {
            height: self.link.height,
            error,
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

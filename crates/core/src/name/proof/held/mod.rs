//! Names as the blocks of the chain have them: what each operation in a block makes of the name that it is of.
//!
//! A living name was updated within the last blocks, as many as [`Params::expiration_depth`] says. Who goes through all
//! of those in order, and keeps the newest operation of each name, has every living name, and knows of all others that
//! they have no value: nobody is left who could hide an update.
//!
//! A block is only held against its header, so an operation in it may still break a rule: a miner wastes the work of a
//! block to put it there. Such a name is kept as one that is refused ([`Refusal`]), which hurts no other name.
//!
//! Source: Namecoin Core `names/main.cpp`, `CheckNameTransaction` and `CNameData`; `names/main.h`, `isExpired`.

use std::fmt;

use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut, Txid};

use super::evidence::{ProvenEntry, ProvenName, Reached};
use super::step::NAME_TX_VERSION;
use crate::chain::{Block, Height, Params};
use crate::name::script::{NameOp, NameScript};
use crate::name::{NameId, address, verify_script};

/// Why the newest operation of a name can't be believed, though it is in a block of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Its transaction has more name outputs than one.
    #[error("its transaction has several name outputs")]
    NameOutputs,
    /// Its output locks less than every name output must.
    #[error("its output locks too little")]
    LockedValue,
    /// It does not spend the output that held the name.
    #[error("it does not spend the output that held the name")]
    NotSpent,
    /// It spends that output without being entitled to.
    #[error("it is not signed by the name's owner")]
    Script,
    /// It registers a name that somebody holds.
    #[error("it registers a name that is held already")]
    StillRegistered,
    /// It updates a name that nobody holds.
    #[error("it updates a name that nobody holds")]
    NotRegistered,
    /// The operation that it follows is refused itself.
    #[error("an operation before it can't be believed")]
    Before,
}

impl Refusal {
    /// All of them, in the order of their numbers on the disk, which begin with 1.
    const ALL: [Self; 7] = [
        Self::NameOutputs,
        Self::LockedValue,
        Self::NotSpent,
        Self::Script,
        Self::StillRegistered,
        Self::NotRegistered,
        Self::Before,
    ];
}

/// An operation of a name as it stands in a block, not yet held against the one before it.
#[derive(Clone)]
pub struct BlockOperation<'a> {
    name: NameId,
    tx: &'a Transaction,
    output: TxOut,
    vout: u32,
    registers: bool,
    height: Height,
    pos: u32,
    is_alone: bool,
}

impl fmt::Debug for BlockOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockOperation(..)")
    }
}

/// Returns the operations of a block at a height that give a name a value, in the order in which they happen.
pub fn block_operations(block: &Block, height: Height) -> impl Iterator<Item = BlockOperation<'_>> {
    let is_of_names = |tx: &Transaction| tx.version == Version(NAME_TX_VERSION);
    let named = (0..).zip(block.transactions()).filter(move |(_, tx)| is_of_names(tx));
    named.flat_map(move |(pos, tx)| operations_of(tx, height, pos))
}

fn operations_of(tx: &Transaction, height: Height, pos: u32) -> Vec<BlockOperation<'_>> {
    let outputs = (0..).zip(&tx.output);
    let parsed = outputs.filter_map(|(vout, output)| Some((vout, output, NameScript::parse(&output.script_pubkey)?)));
    let parsed: Vec<_> = parsed.collect();
    let is_alone = parsed.len() == 1;
    let operation = |(vout, output, script): (u32, &TxOut, NameScript<'_>)| {
        let (name, _) = script.op.any_update()?;
        Some(BlockOperation {
            name: name.clone(),
            tx,
            output: output.clone(),
            vout,
            registers: matches!(script.op, NameOp::FirstUpdate { .. }),
            height,
            pos,
            is_alone,
        })
    };
    parsed.into_iter().filter_map(operation).collect()
}

impl BlockOperation<'_> {
    /// Returns the name.
    pub fn name(&self) -> &NameId {
        &self.name
    }

    /// Says what the operation makes of its name. `held` is the newest one before it, unless the name had expired since.
    /// `from` is the lowest block that was read: what lies below is not known.
    pub fn follow(&self, held: Option<&HeldName>, from: Height, params: &Params) -> HeldName {
        let goes_on = held.filter(|_| !self.registers);
        let refusal = self.refusal(held, from, params);
        HeldName {
            txid: self.tx.compute_txid(),
            vout: self.vout,
            output: self.output.clone(),
            height: self.height,
            pos: self.pos,
            since: goes_on.map_or(self.height, |held| held.since),
            links: goes_on.map_or(0, |held| held.links.saturating_add(1)),
            is_registered: self.registers || goes_on.is_some_and(|held| held.is_registered),
            refusal,
        }
    }

    fn refusal(&self, held: Option<&HeldName>, from: Height, params: &Params) -> Option<Refusal> {
        if !self.is_alone {
            return Some(Refusal::NameOutputs);
        }
        if self.output.value.to_sat() < params.min_name_value {
            return Some(Refusal::LockedValue);
        }
        match held {
            Some(_) if self.registers => Some(Refusal::StillRegistered),
            None if self.registers => None,
            // The one before it may lie below all that was read.
            None => {
                let reach = from.saturating_add(params.expiration_depth(self.height));
                (self.height >= reach).then_some(Refusal::NotRegistered)
            }
            Some(held) if held.refusal.is_some() => Some(Refusal::Before),
            Some(held) => self.check_spends(held).err(),
        }
    }

    fn check_spends(&self, held: &HeldName) -> Result<(), Refusal> {
        let spent = OutPoint {
            txid: held.txid,
            vout: held.vout,
        };
        let mut inputs = self.tx.input.iter();
        let input = inputs.position(|input| input.previous_output == spent);
        let input = input.ok_or(Refusal::NotSpent)?;
        let script = NameScript::parse(&held.output.script_pubkey).ok_or(Refusal::Script)?;
        verify_script::check_spend(&held.output, script.address, &serialize(self.tx), input)
            .map_err(|_| Refusal::Script)
    }
}

/// The newest operation of a name among the blocks that were read.
#[derive(Clone, PartialEq, Eq)]
pub struct HeldName {
    txid: Txid,
    vout: u32,
    output: TxOut,
    height: Height,
    pos: u32,
    since: Height,
    links: u32,
    is_registered: bool,
    refusal: Option<Refusal>,
}

impl fmt::Debug for HeldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeldName(..)")
    }
}

/// Bytes before the script in a row: flag, refusal, height, position, height of the oldest, links, transaction, output, value.
const HEAD: usize = 1 + 1 + 4 * 4 + 32 + 4 + 8;

impl HeldName {
    /// Most bytes of [`Self::to_bytes`]: a name output's script has a name, a value, a salt, and an address script, whose
    /// own bound is that of all scripts.
    ///
    /// Source: Namecoin Core `script/script.h`, `MAX_SCRIPT_SIZE`.
    pub const MAX_BYTES: usize = HEAD + 10_000;

    /// Returns the height of the block that the operation is in.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Returns why it can't be believed, if so.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// Writes it as a row of a table, in which the name itself is the key.
    pub fn to_bytes(&self) -> Vec<u8> {
        let refusal = Refusal::ALL.iter().position(|it| Some(*it) == self.refusal);
        let refusal = refusal.map_or(0, |at| at.saturating_add(1));
        let mut bytes = Vec::with_capacity(HEAD.saturating_add(self.output.script_pubkey.len()));
        bytes.push(u8::from(self.is_registered));
        // There are seven of them.
        bytes.push(u8::try_from(refusal).unwrap_or(u8::MAX));
        for number in [self.height, self.pos, self.since, self.links] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.txid.as_byte_array());
        bytes.extend(self.vout.to_le_bytes());
        bytes.extend(self.output.value.to_sat().to_le_bytes());
        bytes.extend(self.output.script_pubkey.as_bytes());
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[flag, refusal], rest) = bytes.split_first_chunk()?;
        let (numbers, rest) = rest.split_first_chunk::<16>()?;
        let (txid, rest) = rest.split_first_chunk::<32>()?;
        let (vout, rest) = rest.split_first_chunk()?;
        let (value, script) = rest.split_first_chunk()?;
        let (numbers, _) = numbers.as_chunks::<4>();
        let [height, pos, since, links] = numbers else {
            return None;
        };
        let refusal = match usize::from(refusal).checked_sub(1) {
            None => None,
            Some(at) => Some(*Refusal::ALL.get(at)?),
        };
        (flag <= 1).then_some(())?;
        Some(Self {
            txid: Txid::from_byte_array(*txid),
            vout: u32::from_le_bytes(*vout),
            output: TxOut {
                value: Amount::from_sat(u64::from_le_bytes(*value)),
                script_pubkey: ScriptBuf::from_bytes(script.to_vec()),
            },
            height: u32::from_le_bytes(*height),
            pos: u32::from_le_bytes(*pos),
            since: u32::from_le_bytes(*since),
            links: u32::from_le_bytes(*links),
            is_registered: flag == 1,
            refusal,
        })
    }

    /// Returns what is proved of the name: its newest operation, and how far back the chain of its owners was seen.
    /// `anchor` is the height of the block that verification starts from.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]; `None` where the row is not of this name.
    pub fn prove(&self, name: &NameId, anchor: Height, params: &Params) -> Result<ProvenName, Option<Refusal>> {
        if let Some(refusal) = self.refusal {
            return Err(Some(refusal));
        }
        let script = NameScript::parse(&self.output.script_pubkey).ok_or(None)?;
        let registers = matches!(script.op, NameOp::FirstUpdate { .. });
        let (found, value) = script.op.any_update().ok_or(None)?;
        if found != name {
            return Err(None);
        }
        let entry = ProvenEntry {
            name: name.clone(),
            value: value.clone(),
            registers,
            txid: self.txid,
            vout: self.vout,
            address: address::address(script.address, params),
            height: self.height,
            pos: self.pos,
        };
        let is_above = self.since > anchor;
        Ok(ProvenName {
            entry,
            links: usize::try_from(self.links).unwrap_or(usize::MAX),
            reached: match (self.is_registered, is_above) {
                (true, _) => Reached::Registration,
                (false, false) => Reached::Anchor,
                (false, true) => Reached::Window,
            },
            oldest_height: self.since,
            oldest_above_anchor: is_above.then_some(self.since),
            commitment_checked: false,
        })
    }
}

#[cfg(test)]
mod tests;

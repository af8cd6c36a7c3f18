//! Name scripts: an operation's prefix followed by an ordinary address script.
//!
//! | operation | prefix |
//! | --- | --- |
//! | NAME_NEW | `OP_1 <commitment> OP_2DROP` |
//! | NAME_FIRSTUPDATE | `OP_2 <name> <salt> <value> OP_2DROP OP_2DROP` |
//! | NAME_UPDATE | `OP_3 <name> <value> OP_2DROP OP_DROP` |
//!
//! Source: Namecoin Core `script/names.cpp`, `CNameScript`.

use bitcoin::opcodes::all::{OP_2DROP, OP_DROP, OP_NOP, OP_PUSHNUM_1, OP_PUSHNUM_2, OP_PUSHNUM_3, OP_RETURN};
use bitcoin::script::{Builder, Instruction, PushBytesBuf, Script, ScriptBuf};

use super::{NameId, NameValue};

/// Longest salt of a NAME_FIRSTUPDATE, in bytes.
pub const MAX_SALT_LEN: usize = 20;

/// The operation that a name output carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameOp {
    /// Commits to a name without telling it.
    New {
        /// hash160 of salt and name.
        commitment: [u8; 20],
    },
    /// Registers a name.
    FirstUpdate {
        /// The name.
        name: NameId,
        /// What was hashed with the name to make the commitment, at most 20 bytes.
        salt: Vec<u8>,
        /// The value.
        value: NameValue,
    },
    /// Gives a registered name a value and an owner.
    Update {
        /// The name.
        name: NameId,
        /// The value.
        value: NameValue,
    },
}

impl NameOp {
    /// Returns name and value of a NAME_FIRSTUPDATE or NAME_UPDATE; a NAME_NEW has none.
    pub fn any_update(&self) -> Option<(&NameId, &NameValue)> {
        match self {
            Self::New { .. } => None,
            Self::FirstUpdate { name, value, .. } | Self::Update { name, value } => Some((name, value)),
        }
    }

    /// Writes the operation's prefix, followed by the address script.
    pub fn to_script(&self, address: &Script) -> ScriptBuf {
        let prefix = match self {
            Self::New { commitment } => Builder::new()
                .push_opcode(OP_PUSHNUM_1)
                .push_slice(commitment)
                .push_opcode(OP_2DROP),
            Self::FirstUpdate { name, salt, value } => Builder::new()
                .push_opcode(OP_PUSHNUM_2)
                .push_slice(push(name.as_bytes()))
                .push_slice(push(salt))
                .push_slice(push(value.as_bytes()))
                .push_opcode(OP_2DROP)
                .push_opcode(OP_2DROP),
            Self::Update { name, value } => update_prefix(name.as_bytes(), value.as_bytes()),
        };
        let mut bytes = prefix.into_bytes();
        bytes.extend_from_slice(address.as_bytes());
        ScriptBuf::from_bytes(bytes)
    }
}

/// Returns the script whose hash is Electrum's index key of a name: a NAME_UPDATE with an empty value that
/// can't be spent.
///
/// Source: ElectrumX `lib/coins.py`, `NameIndexAuxPoWMixin.build_name_index_script`.
pub fn index_script(name: &NameId) -> ScriptBuf {
    update_prefix(name.as_bytes(), &[]).push_opcode(OP_RETURN).into_script()
}

fn update_prefix(name: &[u8], value: &[u8]) -> Builder {
    Builder::new()
        .push_opcode(OP_PUSHNUM_3)
        .push_slice(push(name))
        .push_slice(push(value))
        .push_opcode(OP_2DROP)
        .push_opcode(OP_DROP)
}

/// Names, salts and values are at most 1023 bytes, far below what a push can carry; longer input would be cut
/// to an empty push rather than panic.
fn push(bytes: &[u8]) -> PushBytesBuf {
    PushBytesBuf::try_from(bytes.to_vec()).unwrap_or_default()
}

/// A name output's script, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameScript<'a> {
    /// What it does.
    pub op: NameOp,
    /// The prefix: operation, pushes and drops.
    pub prefix: &'a Script,
    /// The ordinary script that says who may spend the output.
    pub address: &'a Script,
}

impl<'a> NameScript<'a> {
    /// Takes a script apart; `None` when it carries no name operation, as most scripts don't.
    ///
    /// The name operation first, then plain pushes (`OP_0` to `OP_PUSHDATA4`, of any length whether minimal
    /// or not), then `OP_DROP`, `OP_2DROP` and `OP_NOP` in any number; what follows is the address script.
    /// Sizes out of bounds make it no name script: such an output can't be in a valid block.
    pub fn parse(script: &'a Script) -> Option<Self> {
        let mut instructions = script.instruction_indices();
        let (_, first) = instructions.next()?.ok()?;
        let Instruction::Op(operation) = first else { return None };
        let mut pushes: Vec<&[u8]> = Vec::with_capacity(3);
        let mut dropping = false;
        let mut end = script.len();
        for step in instructions {
            let (at, instruction) = step.ok()?;
            match instruction {
                Instruction::PushBytes(bytes) if !dropping => {
                    if pushes.len() == 3 {
                        return None;
                    }
                    pushes.push(bytes.as_bytes());
                }
                Instruction::Op(OP_DROP | OP_2DROP | OP_NOP) => dropping = true,
                _ if dropping => {
                    end = at;
                    break;
                }
                _ => return None,
            }
        }
        if !dropping {
            return None;
        }
        let op = match (operation, pushes.as_slice()) {
            (OP_PUSHNUM_1, [commitment]) => NameOp::New {
                commitment: (*commitment).try_into().ok()?,
            },
            (OP_PUSHNUM_2, [name, salt, value]) if salt.len() <= MAX_SALT_LEN => NameOp::FirstUpdate {
                name: NameId::new(name)?,
                salt: salt.to_vec(),
                value: NameValue::new(value)?,
            },
            (OP_PUSHNUM_3, [name, value]) => NameOp::Update {
                name: NameId::new(name)?,
                value: NameValue::new(value)?,
            },
            _ => return None,
        };
        Some(Self {
            op,
            prefix: Script::from_bytes(script.as_bytes().get(..end)?),
            address: Script::from_bytes(script.as_bytes().get(end..)?),
        })
    }
}

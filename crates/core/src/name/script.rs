//! Name scripts: an operation's prefix followed by an ordinary address script.
//!
//! | operation | prefix |
//! | --- | --- |
//! | NAME_NEW | `OP_1 <commitment> OP_2DROP` |
//! | NAME_FIRSTUPDATE | `OP_2 <name> <salt> <value> OP_2DROP OP_2DROP` |
//! | NAME_UPDATE | `OP_3 <name> <value> OP_2DROP OP_DROP` |
//!
//! Source: Namecoin Core `script/names.cpp`, `CNameScript`.

use std::fmt;

use bitcoin::Opcode;
use bitcoin::hashes::{Hash, hash160};
use bitcoin::opcodes::all::{OP_2DROP, OP_DROP, OP_NOP, OP_PUSHNUM_1, OP_PUSHNUM_2, OP_PUSHNUM_3, OP_RETURN};
use bitcoin::script::{Builder, PushBytesBuf, Script, ScriptBuf};

use super::{NameId, NameValue};

/// Longest salt of a NAME_FIRSTUPDATE, in bytes.
pub const MAX_SALT_LEN: usize = 20;

/// The operation that a name output carries.
///
/// `Debug` tells the kind alone: salts and commitments give a name away as much as the name itself.
#[derive(Clone, PartialEq, Eq)]
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

impl fmt::Debug for NameOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New { .. } => "New { .. }",
            Self::FirstUpdate { .. } => "FirstUpdate { .. }",
            Self::Update { .. } => "Update { .. }",
        })
    }
}

/// Returns what a NAME_NEW must commit to for a NAME_FIRSTUPDATE with this salt: hash160 of salt and name.
///
/// Source: Namecoin Core `names/main.cpp`, `CheckNameTransaction`.
pub fn commitment(salt: &[u8], name: &NameId) -> [u8; 20] {
    hash160::Hash::hash(&[salt, name.as_bytes()].concat()).to_byte_array()
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
    /// The ordinary script that says who may spend the output.
    pub address: &'a Script,
}

impl<'a> NameScript<'a> {
    /// Takes a script apart; `None` when it carries no name operation, as most scripts don't.
    ///
    /// The name operation first, then plain pushes (`OP_0` to `OP_PUSHDATA4`, of any length whether minimal
    /// or not), then `OP_DROP`, `OP_2DROP` and `OP_NOP` in any number; what follows is the address script.
    /// Sizes out of bounds make it no name script: such an output can't be in a valid block.
    ///
    /// Core finds the start of the address script by reading one operation too many and stepping one byte
    /// back. An address script that starts with a push of data (a bare key) thus loses all of that push but its
    /// last byte, and one that is empty is taken to be the last drop. Kept, since it decides what counts as P2SH.
    pub fn parse(script: &'a Script) -> Option<Self> {
        let mut cursor = Cursor {
            bytes: script.as_bytes(),
            at: 0,
        };
        let (operation, _) = cursor.next()?;
        let mut pushes = Vec::with_capacity(3);
        loop {
            match cursor.next()? {
                (opcode, _) if is_drop(opcode) => break,
                (opcode, data) if opcode <= PUSHDATA4 && pushes.len() < 3 => pushes.push(data),
                _ => return None,
            }
        }
        while cursor.next().is_some_and(|(opcode, _)| is_drop(opcode)) {}
        Some(Self {
            op: operation_of(operation, &pushes)?,
            address: Script::from_bytes(script.as_bytes().get(cursor.at.checked_sub(1)?..)?),
        })
    }
}

fn operation_of(opcode: u8, pushes: &[&[u8]]) -> Option<NameOp> {
    match (Opcode::from(opcode), pushes) {
        (OP_PUSHNUM_1, [commitment]) => Some(NameOp::New {
            commitment: (*commitment).try_into().ok()?,
        }),
        (OP_PUSHNUM_2, [name, salt, value]) if salt.len() <= MAX_SALT_LEN => Some(NameOp::FirstUpdate {
            name: NameId::new(name)?,
            salt: salt.to_vec(),
            value: NameValue::new(value)?,
        }),
        (OP_PUSHNUM_3, [name, value]) => Some(NameOp::Update {
            name: NameId::new(name)?,
            value: NameValue::new(value)?,
        }),
        _ => None,
    }
}

/// The last opcode that is a plain push. Opcodes below 0x4c push as many bytes as they say.
const PUSHDATA4: u8 = 0x4e;

fn is_drop(opcode: u8) -> bool {
    matches!(Opcode::from(opcode), OP_DROP | OP_2DROP | OP_NOP)
}

/// Reads a script operation by operation, moving as Core's `GetScriptOp` does, also when it fails.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Reads an opcode and the data that it pushes; `None` at the end and where the data are cut short.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let opcode = *self.take(1)?.first()?;
        let len = match opcode {
            0..=0x4b => usize::from(opcode),
            0x4c => self.length(1)?,
            0x4d => self.length(2)?,
            PUSHDATA4 => self.length(4)?,
            _ => 0,
        };
        Some((opcode, self.take(len)?))
    }

    /// Reads a little-endian length of `size` bytes.
    fn length(&mut self, size: usize) -> Option<usize> {
        let bytes = self.take(size)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |length, byte| length << 8 | usize::from(*byte)),
        )
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(hex: &str) -> Option<(NameOp, String)> {
        let script = ScriptBuf::from_hex(hex).unwrap();
        NameScript::parse(&script).map(|parsed| (parsed.op, parsed.address.to_hex_string()))
    }

    fn update(name: &[u8], value: &[u8]) -> NameOp {
        NameOp::Update {
            name: NameId::new(name).unwrap(),
            value: NameValue::new(value).unwrap(),
        }
    }

    #[test]
    fn pushes_may_be_written_in_any_form() {
        for hex in [
            "5301640176 6d75 00",
            "534c0164 4d010076 6d75 00",
            "53 4e0100000064 0176 757561 00",
        ] {
            let hex = hex.replace(' ', "");
            assert_eq!(parse(&hex), Some((update(b"d", b"v"), "00".to_owned())), "{hex}");
        }
        assert_eq!(parse("5300006d7500"), Some((update(b"", b""), "00".to_owned())));
        assert_eq!(parse("534c004d00006d7500"), Some((update(b"", b""), "00".to_owned())));
    }

    #[test]
    fn opcodes_that_push_numbers_are_no_plain_pushes() {
        assert_eq!(parse("530105006d75ac"), Some((update(&[5], b""), "ac".to_owned())));
        for opcode in (0x51..=0x60).chain([0x4f, 0x50]) {
            assert_eq!(parse(&format!("53{opcode:02x}006d75ac")), None);
        }
    }

    #[test]
    fn each_operation_has_its_number_of_pushes() {
        let commitment = "14".to_owned() + &"07".repeat(20);
        for (operation, pushes) in [(0x51, 1), (0x52, 3), (0x53, 2)] {
            for count in 0..5 {
                let hex = format!("{operation:02x}{}6dac", commitment.repeat(count));
                assert_eq!(parse(&hex).is_some(), count == pushes, "{hex}");
            }
        }
        for operation in [0x00, 0x4f, 0x50, 0x54, 0x61, 0x6a, 0x75] {
            assert_eq!(parse(&format!("{operation:02x}{commitment}{commitment}6d75ac")), None);
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let script = |pushes: &[usize], operation| {
            let pushes = pushes
                .iter()
                .fold(Builder::new().push_opcode(operation), |builder, len| {
                    builder.push_slice(push(&vec![b'a'; *len]))
                });
            let script = pushes
                .push_opcode(OP_2DROP)
                .push_opcode(OP_2DROP)
                .push_opcode(OP_RETURN);
            NameScript::parse(&script.into_script()).is_some()
        };
        assert!(script(&[255, 1023], OP_PUSHNUM_3));
        assert!(!script(&[256, 1023], OP_PUSHNUM_3));
        assert!(!script(&[255, 1024], OP_PUSHNUM_3));
        assert!(script(&[255, 20, 1023], OP_PUSHNUM_2));
        assert!(!script(&[255, 21, 1023], OP_PUSHNUM_2));
        assert!(script(&[20], OP_PUSHNUM_1));
        assert!(!script(&[19], OP_PUSHNUM_1));
        assert!(!script(&[21], OP_PUSHNUM_1));
    }

    #[test]
    fn scripts_that_end_in_the_middle_are_no_name_scripts() {
        let whole = "5302642f03616263";
        for end in (0..=whole.len()).step_by(2) {
            assert_eq!(parse(&whole[..end]), None);
        }
        assert_eq!(parse("5302642f4dff"), None);
        assert_eq!(parse("534effffffff00"), None);
    }

    #[test]
    fn the_address_script_starts_where_core_says() {
        let op = || update(b"d", b"");
        let hash = "11".repeat(20);
        for (tail, address) in [
            (
                "6d75".to_owned() + "76a914" + &hash + "88ac",
                "76a914".to_owned() + &hash + "88ac",
            ),
            ("6d75".to_owned() + "0014" + &hash, "0014".to_owned() + &hash),
            ("6d7561616175".to_owned() + "ac", "ac".to_owned()),
            ("6d75".to_owned(), "75".to_owned()),
            ("6d7502aabbac".to_owned(), "bbac".to_owned()),
            (
                "6d754c02aaa914".to_owned() + &hash + "87",
                "a914".to_owned() + &hash + "87",
            ),
            ("6d754cff".to_owned(), "ff".to_owned()),
        ] {
            assert_eq!(parse(&("53016400".to_owned() + &tail)), Some((op(), address)), "{tail}");
        }
    }

    fn operations() -> impl Strategy<Value = NameOp> {
        let bytes = |max| proptest::collection::vec(any::<u8>(), 0..=max);
        let new = any::<[u8; 20]>().prop_map(|commitment| NameOp::New { commitment });
        let first = (bytes(255), bytes(20), bytes(1023)).prop_map(|(name, salt, value)| NameOp::FirstUpdate {
            name: NameId::new(&name).unwrap(),
            salt,
            value: NameValue::new(&value).unwrap(),
        });
        let later = (bytes(255), bytes(1023)).prop_map(|(name, value)| update(&name, &value));
        prop_oneof![new, first, later]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(op in operations(), hash in any::<[u8; 20]>()) {
            let address = ScriptBuf::new_p2pkh(&bitcoin::PubkeyHash::from_byte_array(hash));
            let script = op.to_script(&address);
            prop_assert_eq!(NameScript::parse(&script), Some(NameScript { op, address: &address }));
        }

        #[test]
        fn any_bytes_can_be_parsed(bytes in proptest::collection::vec(any::<u8>(), 0..200), operation in 0x51_u8..0x54) {
            let script = [&[operation][..], &bytes].concat();
            if let Some(parsed) = NameScript::parse(Script::from_bytes(&script)) {
                prop_assert!(script.ends_with(parsed.address.as_bytes()) && parsed.address.len() < script.len());
            }
        }
    }
}

//! Name identifiers and values, as bytes.

use std::fmt;

use bitcoin::hashes::{Hash, sha256};

use super::script;

/// The bytes that identify a name, such as `d/example`: 0 to 255 of them, any.
///
/// `Debug` hides them: what is looked up must not reach a log by accident.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameId(Box<[u8]>);

impl NameId {
    /// Longest identifier, in bytes. Source: Namecoin Core `names/main.h`, `MAX_NAME_LENGTH`.
    pub const MAX_LEN: usize = 255;

    /// Makes an identifier from bytes; `None` when they are more than [`Self::MAX_LEN`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= Self::MAX_LEN).then(|| Self(bytes.into()))
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the key under which Electrum servers index the name's operations.
    pub fn scripthash(&self) -> ScriptHash {
        ScriptHash(sha256::Hash::hash(script::index_script(self).as_bytes()).to_byte_array())
    }
}

impl fmt::Debug for NameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameId(..)")
    }
}

/// The bytes bound to a name: 0 to 1023 of them, any; text only after decoding by a stated encoding.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameValue(Box<[u8]>);

impl NameValue {
    /// Longest value, in bytes. Source: Namecoin Core `names/main.h`, `MAX_VALUE_LENGTH`.
    pub const MAX_LEN: usize = 1023;

    /// Makes a value from bytes; `None` when they are more than [`Self::MAX_LEN`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= Self::MAX_LEN).then(|| Self(bytes.into()))
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for NameValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameValue(..)")
    }
}

/// Electrum's index key: SHA-256 of a script. `Display` is byte-reversed hex, as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScriptHash(pub [u8; 32]);

impl fmt::Display for ScriptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ScriptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScriptHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_keys_are_those_of_electrumx() {
        let script = |name: &[u8]| script::index_script(&NameId::new(name).unwrap()).to_hex_string();
        assert_eq!(script(b"d/x"), "5303642f78006d756a");
        assert_eq!(
            script(&[5]),
            "530105006d756a",
            "one byte is pushed as data, not as a number"
        );
        assert_eq!(script(b""), "5300006d756a");
        assert!(script(&[7; 75]).starts_with("534b07"));
        assert!(script(&[7; 76]).starts_with("534c4c07"));
        assert!(script(&[7; 255]).starts_with("534cff07"));
    }

    #[test]
    fn lengths_are_bounded() {
        assert!(NameId::new(&[0; 255]).is_some() && NameId::new(&[0; 256]).is_none());
        assert!(NameValue::new(&[0; 1023]).is_some() && NameValue::new(&[0; 1024]).is_none());
    }

    #[test]
    fn nothing_that_tells_a_name_is_printed_for_debugging() {
        let name = NameId::new(b"d/secret").unwrap();
        let value = NameValue::new(b"secret").unwrap();
        let op = script::NameOp::FirstUpdate {
            name: name.clone(),
            salt: vec![1],
            value: value.clone(),
        };
        let printed = format!("{name:?} {value:?} {:?} {op:?}", name.scripthash());
        assert_eq!(printed, "NameId(..) NameValue(..) ScriptHash(..) FirstUpdate { .. }");
    }
}

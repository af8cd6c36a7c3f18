//! Name identifiers and values, as bytes.

use std::fmt;

use bitcoin::hashes::{Hash, sha256};

use super::script;

/// The bytes that identify a name, such as `d/example`: 0 to 255 of them, any.
///
/// `Debug` hides them: what is looked up must not reach a log by accident.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

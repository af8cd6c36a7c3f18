//! The words that keep users apart: connection and stream isolation identities.

use std::fmt;

use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};

/// The number of one connection to one server, never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What a caller passes to say which lookups may be linked with each other: those with equal IDs.
///
/// Any bytes, at most [`IsolationId::MAX_LEN`]. The empty ID is the shared default identity. `Debug` hides
/// the bytes, so that an ID can't reach a log by accident.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IsolationId(Box<[u8]>);

impl IsolationId {
    /// Longest ID in bytes; more is refused rather than cut, since cutting would join two identities.
    pub const MAX_LEN: usize = 1024;

    /// Makes an ID from bytes; `None` when they are more than [`Self::MAX_LEN`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= Self::MAX_LEN).then(|| Self(bytes.into()))
    }

    /// Hashes an ID with a key, so that whoever remembers it need not hold the ID itself.
    #[must_use]
    pub fn blinded(&self, key: &[u8; 32]) -> Self {
        let mut engine = HmacEngine::<sha256::Hash>::new(key);
        engine.input(&self.0);
        let hash = Hmac::<sha256::Hash>::from_engine(engine).to_byte_array();
        Self(Box::from(hash))
    }

    /// Returns the bytes that the caller passed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for IsolationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IsolationId(..)")
    }
}

/// What a connection that carries lookups is bound to for life: an isolation ID and the attempt number.
///
/// Two attempts of one lookup ride two circuits, so that a second opinion is one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IsolationKey {
    /// Whose lookup it is.
    pub id: IsolationId,
    /// Counts the attempts of one lookup, from 0.
    pub attempt: u8,
}

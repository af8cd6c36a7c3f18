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
    pub fn blinded(&self, key: &[u8; 32]) -> BlindedId {
        let mut engine = HmacEngine::<sha256::Hash>::new(key);
        engine.input(&self.0);
        BlindedId(Hmac::<sha256::Hash>::from_engine(engine).to_byte_array())
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

/// An isolation ID hashed with a random key of the process: what everything that remembers identities knows them by.
///
/// It is made by [`IsolationId::blinded`] alone, so a raw ID can't be taken for one. Whoever reads the memory of a process
/// learns from it what the ID was only by guessing the ID and knowing the key. `Debug` hides the bytes, since two
/// lines of a log with the same ones would tell that they are one user's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlindedId([u8; 32]);

impl BlindedId {
    /// Returns the hash. It is for this process only: to derive another secret from, never to be shown.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for BlindedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlindedId(..)")
    }
}

/// What a connection that carries lookups is bound to for life: an isolation ID and the attempt number.
///
/// Two attempts of one lookup ride two circuits, so that a second opinion is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IsolationKey {
    /// Whose lookup it is.
    pub id: BlindedId,
    /// Counts the attempts of one lookup, from 0.
    pub attempt: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blinded_id_depends_on_id_and_key_and_shows_nothing() {
        let id = IsolationId::new(b"alice").unwrap();
        let blinded = id.blinded(&[1; 32]);
        assert_eq!(blinded, id.blinded(&[1; 32]));
        assert_ne!(blinded, id.blinded(&[2; 32]));
        assert_ne!(blinded, IsolationId::new(b"alicf").unwrap().blinded(&[1; 32]));
        let key = IsolationKey {
            id: blinded,
            attempt: 3,
        };
        assert_eq!(
            format!("{id:?} {key:?}"),
            "IsolationId(..) IsolationKey { id: BlindedId(..), attempt: 3 }"
        );
    }
}

//! What is known of servers' TLS certificates.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bitcoin::hashes::{Hash, sha256};

use super::address::ServerAddr;

/// SHA-256 of a certificate's DER form. Hex, in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Computes the fingerprint of a certificate.
    pub fn of(der: &[u8]) -> Self {
        Self(sha256::Hash::hash(der).to_byte_array())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A text that is no fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid certificate fingerprint: expected 64 hex digits")]
pub struct InvalidFingerprint;

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(word: &str) -> Result<Self, InvalidFingerprint> {
        let digest: sha256::Hash = word.parse().map_err(|_| InvalidFingerprint)?;
        Ok(Self(digest.to_byte_array()))
    }
}

/// What a server must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// This certificate, or one that is valid for the host's name under a public authority.
    Certificate(Fingerprint),
    /// A certificate that is valid under a public authority, since it had one before: whoever intercepts could
    /// show a self-signed one otherwise.
    Authority,
}

/// What proves who the peer of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nothing: plain TCP to a host that is no onion service.
    Unproved,
    /// The onion address.
    Onion,
    /// A certificate that a public authority vouches for.
    Authority,
    /// The pinned certificate.
    Pinned,
    /// A certificate that was never seen before: to be pinned by the caller.
    FirstUse(Fingerprint),
}

impl Identity {
    /// Returns what to remember for the next connection to the server; `None` when nothing is new.
    pub const fn pin(self) -> Option<Pin> {
        match self {
            Self::Unproved | Self::Onion | Self::Pinned => None,
            Self::Authority => Some(Pin::Authority),
            Self::FirstUse(fingerprint) => Some(Pin::Certificate(fingerprint)),
        }
    }
}

/// The pins of all servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins(BTreeMap<ServerAddr, Pin>);

impl Pins {
    /// Remembers what a server must show from now on, in place of what was known.
    pub fn insert(&mut self, server: ServerAddr, pin: Pin) {
        self.0.insert(server, pin);
    }

    /// Forgets a server, so that its next certificate is trusted on first use.
    pub fn remove(&mut self, server: &ServerAddr) {
        self.0.remove(server);
    }

    /// Returns what a server must show; `None` for one that was never met.
    pub fn of(&self, server: &ServerAddr) -> Option<Pin> {
        self.0.get(server).copied()
    }

    /// Iterates over all pins in order of address.
    pub fn iter(&self) -> impl Iterator<Item = (&ServerAddr, Pin)> {
        self.0.iter().map(|(server, pin)| (server, *pin))
    }
}

impl FromIterator<(ServerAddr, Pin)> for Pins {
    fn from_iter<I: IntoIterator<Item = (ServerAddr, Pin)>>(pins: I) -> Self {
        Self(pins.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_sha256_and_parse_back() {
        let fingerprint = Fingerprint::of(b"abc");
        let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fingerprint.to_string(), digits);
        assert_eq!(digits.parse(), Ok(fingerprint));
        assert_eq!("ba78".parse::<Fingerprint>(), Err(InvalidFingerprint));
    }

    #[test]
    fn only_news_are_to_be_remembered() {
        let fingerprint = Fingerprint([7; 32]);
        assert_eq!(
            Identity::FirstUse(fingerprint).pin(),
            Some(Pin::Certificate(fingerprint))
        );
        assert_eq!(Identity::Authority.pin(), Some(Pin::Authority));
        for identity in [Identity::Unproved, Identity::Onion, Identity::Pinned] {
            assert_eq!(identity.pin(), None);
        }
    }
}

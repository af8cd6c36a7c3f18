//! One key of a zone.

use std::fmt;
use std::str::FromStr;

use hickory_proto::dnssec::rdata::DNSKEY;
use hickory_proto::dnssec::{Algorithm, PublicKey as _};
use hickory_proto::rr::Name;

use super::{DnssecError, PrivateKey};

/// The algorithms that keys may be of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// ECDSA over P-256 with SHA-256, number 13 (RFC 6605): every validator has it.
    #[default]
    EcdsaP256Sha256,
    /// Ed25519, number 15 (RFC 8080): signatures are the same each time and need no randomness.
    Ed25519,
}

impl KeyAlgorithm {
    /// Both.
    pub const ALL: [Self; 2] = [Self::EcdsaP256Sha256, Self::Ed25519];

    /// Returns the number in IANA's registry.
    pub fn number(self) -> u8 {
        Algorithm::from(self).into()
    }

    /// Returns the name in IANA's registry, in small letters as in BIND's options.
    pub fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 => "ecdsap256sha256",
            Self::Ed25519 => "ed25519",
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyAlgorithm {
    type Err = DnssecError;

    /// Takes the name in large or small letters.
    fn from_str(name: &str) -> Result<Self, DnssecError> {
        let found = Self::ALL.into_iter().find(|one| one.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| DnssecError::AlgorithmName { name: name.to_owned() })
    }
}

impl From<KeyAlgorithm> for Algorithm {
    fn from(algorithm: KeyAlgorithm) -> Self {
        match algorithm {
            KeyAlgorithm::EcdsaP256Sha256 => Self::ECDSAP256SHA256,
            KeyAlgorithm::Ed25519 => Self::ED25519,
        }
    }
}

impl TryFrom<Algorithm> for KeyAlgorithm {
    type Error = DnssecError;

    fn try_from(algorithm: Algorithm) -> Result<Self, DnssecError> {
        let found = Self::ALL.into_iter().find(|one| Algorithm::from(*one) == algorithm);
        found.ok_or_else(|| DnssecError::Algorithm {
            number: algorithm.into(),
        })
    }
}

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The DNSKEY RRset alone. The DS record, and so whoever trusts the zone, names this key.
    KeySigning,
    /// Everything else.
    ZoneSigning,
}

impl Role {
    /// Returns the flags of the DNSKEY record (RFC 4034, section 2.1.1).
    pub fn flags(self) -> u16 {
        match self {
            Self::KeySigning => 257,
            Self::ZoneSigning => 256,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeySigning => "key-signing key",
            Self::ZoneSigning => "zone-signing key",
        })
    }
}

/// One key of a zone: the DNSKEY record and the private key.
#[derive(Debug)]
pub struct Key {
    zone: Name,
    role: Role,
    ttl: Option<u32>,
    dnskey: DNSKEY,
    tag: u16,
    private: PrivateKey,
}

impl Key {
    /// Makes a key of its parts; `ttl` is the DNSKEY record's in seconds, where it is known.
    ///
    /// # Errors
    ///
    /// [`DnssecError::Zone`] when the zone's name has no labels or one that is no part of a host's name.
    pub fn new(zone: &Name, role: Role, ttl: Option<u32>, private: PrivateKey) -> Result<Self, DnssecError> {
        let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        // A label may hold a slash or a dot, and the name becomes part of a file's.
        if zone.is_root() || !zone.iter().flatten().all(letter) {
            return Err(DnssecError::Zone { zone: zone.to_string() });
        }
        let dnskey = DNSKEY::with_flags(role.flags(), private.public().clone());
        let tag = dnskey.calculate_key_tag().map_err(|error| DnssecError::Record {
            reason: error.to_string(),
        })?;
        let mut zone = zone.to_lowercase();
        zone.set_fqdn(true);
        Ok(Self {
            zone,
            role,
            ttl,
            dnskey,
            tag,
            private,
        })
    }

    /// Draws a new key.
    ///
    /// # Errors
    ///
    /// [`DnssecError::Random`] and [`DnssecError::Zone`].
    pub fn generate(zone: &Name, role: Role, algorithm: KeyAlgorithm) -> Result<Self, DnssecError> {
        Self::new(zone, role, None, PrivateKey::generate(algorithm)?)
    }

    /// Makes a key of what its two files say.
    pub(super) fn from_record(
        zone: &Name,
        ttl: Option<u32>,
        dnskey: &DNSKEY,
        secret: &[u8; PrivateKey::LENGTH],
    ) -> Result<Self, DnssecError> {
        let role = [Role::KeySigning, Role::ZoneSigning]
            .into_iter()
            .find(|role| role.flags() == dnskey.flags())
            .ok_or(DnssecError::Flags { got: dnskey.flags() })?;
        let public = dnskey.public_key();
        let algorithm = public.algorithm().try_into()?;
        let private = PrivateKey::from_parts(algorithm, secret, public.public_bytes())?;
        Self::new(zone, role, ttl, private)
    }

    /// Returns the zone, in small letters and fully qualified.
    pub fn zone(&self) -> &Name {
        &self.zone
    }

    /// Returns what the key signs.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns the DNSKEY record's TTL in seconds, where the key file has one.
    pub fn ttl(&self) -> Option<u32> {
        self.ttl
    }

    /// Returns the DNSKEY record.
    pub fn dnskey(&self) -> &DNSKEY {
        &self.dnskey
    }

    /// Returns the key tag (RFC 4034, appendix B): short, and not always unlike another key's.
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// Returns the private key.
    pub fn private(&self) -> &PrivateKey {
        &self.private
    }
}

//! Private keys: drawn, taken from their numbers, and signed with.

use std::fmt;

use hickory_proto::dnssec::crypto::{EcdsaSigningKey, Ed25519SigningKey};
use hickory_proto::dnssec::{PublicKeyBuf, SigningKey, TBS};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use yasna::{ASN1Result, BERReader};
use zeroize::Zeroizing;

use super::{DnssecError, KeyAlgorithm};

/// A private key and the public one that belongs to it. It is never shown, and its number is wiped from memory in the end;
/// the form in which `ring` signs with it is not.
///
/// ECDSA wants a secret random number for each signature, which `ring` draws from the system and mixes with the key
/// and the message; so two signatures of the same are unlike. Those of Ed25519 are alike (RFC 8032).
pub struct PrivateKey {
    algorithm: KeyAlgorithm,
    secret: Zeroizing<[u8; PrivateKey::LENGTH]>,
    public: PublicKeyBuf,
    signing: Box<dyn SigningKey>,
}

impl PrivateKey {
    /// Bytes of a secret number: a P-256 scalar, big-endian (RFC 6605), or an Ed25519 seed (RFC 8080).
    pub const LENGTH: usize = 32;

    /// Draws a new key.
    ///
    /// # Errors
    ///
    /// [`DnssecError::Random`] when the system gives no randomness.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, DnssecError> {
        let mut secret = Zeroizing::new([0; Self::LENGTH]);
        match algorithm {
            KeyAlgorithm::EcdsaP256Sha256 => {
                let scheme = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let document =
                    EcdsaKeyPair::generate_pkcs8(scheme, &SystemRandom::new()).map_err(|_| DnssecError::Random)?;
                let found = yasna::parse_der(document.as_ref(), p256_secret).map_err(|_| DnssecError::Halves)?;
                secret = take_secret(&found).ok_or(DnssecError::Halves)?;
                let pair = EcdsaKeyPair::from_pkcs8(scheme, document.as_ref(), &SystemRandom::new())
                    .map_err(|_| DnssecError::Halves)?;
                let point = pair.public_key().as_ref();
                Self::from_parts(algorithm, &secret, point.strip_prefix(&[UNCOMPRESSED]).unwrap_or(point))
            }
            KeyAlgorithm::Ed25519 => {
                OsRng
                    .try_fill_bytes(secret.as_mut_slice())
                    .map_err(|_| DnssecError::Random)?;
                let pair = Ed25519KeyPair::from_seed_unchecked(secret.as_slice()).map_err(|_| DnssecError::Halves)?;
                Self::from_parts(algorithm, &secret, pair.public_key().as_ref())
            }
        }
    }

    /// Makes a key of its secret number and its public key as in a DNSKEY record.
    ///
    /// # Errors
    ///
    /// [`DnssecError::Halves`] when one doesn't belong to the other.
    pub fn from_parts(
        algorithm: KeyAlgorithm,
        secret: &[u8; Self::LENGTH],
        public: &[u8],
    ) -> Result<Self, DnssecError> {
        let signing: Box<dyn SigningKey> = match algorithm {
            KeyAlgorithm::EcdsaP256Sha256 => {
                let point = [&[UNCOMPRESSED], public].concat();
                let scheme = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::from_private_key_and_public_key(scheme, secret, &point, &SystemRandom::new());
                let pair = pair.map_err(|_| DnssecError::Halves)?;
                Box::new(EcdsaSigningKey::from_ecdsa(pair, algorithm.into()))
            }
            KeyAlgorithm::Ed25519 => {
                let pair = Ed25519KeyPair::from_seed_and_public_key(secret, public);
                Box::new(Ed25519SigningKey::from_ed25519(pair.map_err(|_| DnssecError::Halves)?))
            }
        };
        Ok(Self {
            algorithm,
            secret: Zeroizing::new(*secret),
            public: PublicKeyBuf::new(public.to_vec(), algorithm.into()),
            signing,
        })
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// Returns the public key as in a DNSKEY record.
    pub fn public(&self) -> &PublicKeyBuf {
        &self.public
    }

    /// Returns the secret number, for the key file alone.
    pub(super) fn secret(&self) -> &[u8; Self::LENGTH] {
        &self.secret
    }

    /// Returns the signature of what is to be signed, 64 bytes.
    pub(super) fn sign(&self, data: &TBS) -> Result<Vec<u8>, DnssecError> {
        let signature = self.signing.sign(data);
        signature.map_err(|error| DnssecError::Signing {
            reason: error.to_string(),
        })
    }
}

/// Returns bytes as a secret number, if there are as many as it has.
pub(super) fn take_secret(bytes: &[u8]) -> Option<Zeroizing<[u8; PrivateKey::LENGTH]>> {
    bytes.try_into().ok().map(Zeroizing::new)
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// The byte before an uncompressed point, which a DNSKEY leaves out ([SEC 1], section 2.3.3; RFC 6605, section 4).
const UNCOMPRESSED: u8 = 4;

/// Reads the secret number in what `ring` makes: a `PrivateKeyInfo` (RFC 5208) around an `ECPrivateKey` (RFC 5915).
fn p256_secret(reader: BERReader<'_, '_>) -> ASN1Result<Zeroizing<Vec<u8>>> {
    let inner = reader.read_sequence(|fields| {
        fields.next().read_u8()?;
        fields.next().read_der()?;
        fields.next().read_bytes().map(Zeroizing::new)
    })?;
    yasna::parse_der(&inner, |reader| {
        reader.read_sequence(|fields| {
            fields.next().read_u8()?;
            let secret = Zeroizing::new(fields.next().read_bytes()?);
            while fields.read_optional(|field| Ok(field.read_der()?.len()))?.is_some() {}
            Ok(secret)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}

    #[test]
    fn a_drawn_key_is_whole_and_says_nothing() {
        for algorithm in KeyAlgorithm::ALL {
            let key = PrivateKey::generate(algorithm).unwrap();
            let again = PrivateKey::from_parts(algorithm, key.secret(), &key.public().clone().into_inner()).unwrap();
            assert_eq!(again.public(), key.public());
            let other = PrivateKey::generate(algorithm).unwrap();
            assert_ne!(other.secret(), key.secret());
            let mixed = PrivateKey::from_parts(algorithm, key.secret(), &other.public().clone().into_inner());
            assert!(matches!(mixed, Err(DnssecError::Halves)));
            assert!(!format!("{key:?}").contains("secret"));
            is_wiped(&key.secret);
        }
    }

    #[test]
    fn parts_that_are_no_key_are_refused() {
        for algorithm in KeyAlgorithm::ALL {
            for public in [&[][..], &[0; 31], &[0; 64], &[255; 64], &[1; 65]] {
                for secret in [[0; 32], [255; 32], [1; 32]] {
                    let key = PrivateKey::from_parts(algorithm, &secret, public);
                    assert!(matches!(key, Err(DnssecError::Halves)), "{algorithm:?} {public:?}");
                }
            }
        }
    }
}

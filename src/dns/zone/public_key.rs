//! Public keys of certificates: the `SubjectPublicKeyInfo` of RFC 5280 and signatures made by them.

use bitcoin::hashes::{Hash, sha1, sha256, sha384, sha512};
use der::asn1::{AnyRef, BitString, ObjectIdentifier};
use der::{Decode, Encode};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use ring::signature::{self as ring_signature, UnparsedPublicKey};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// First byte of an elliptic curve point that is written with both coordinates. Source: SEC 1 section 2.3.3.
const UNCOMPRESSED: u8 = 4;

/// A curve of FIPS 186-4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// Returns the curve that an algorithm names; `None` when it isn't an elliptic curve key, or on another curve.
    fn of(algorithm: &AlgorithmIdentifierRef<'_>) -> Option<Self> {
        if algorithm.oid != EC {
            return None;
        }
        let named = algorithm.parameters?.decode_as::<ObjectIdentifier>().ok()?;
        let curves = [
            (ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), Self::P256),
            (ObjectIdentifier::new_unwrap("1.3.132.0.34"), Self::P384),
            (ObjectIdentifier::new_unwrap("1.3.132.0.35"), Self::P521),
        ];
        curves
            .into_iter()
            .find(|(oid, _)| *oid == named)
            .map(|(_, curve)| curve)
    }

    /// Returns a point with both coordinates; `None` when it isn't on the curve.
    fn uncompressed(self, point: &[u8]) -> Option<Vec<u8>> {
        use {p256::ecdsa as p256, p384::ecdsa as p384, p521::ecdsa as p521};
        let long = match self {
            Self::P256 => p256::VerifyingKey::from_sec1_bytes(point)
                .ok()?
                .to_sec1_point(false)
                .as_bytes()
                .to_vec(),
            Self::P384 => p384::VerifyingKey::from_sec1_bytes(point)
                .ok()?
                .to_sec1_point(false)
                .as_bytes()
                .to_vec(),
            Self::P521 => p521::VerifyingKey::from_sec1_bytes(point)
                .ok()?
                .to_sec1_point(false)
                .as_bytes()
                .to_vec(),
        };
        Some(long)
    }

    /// Checks a signature in DER on a digest. `None` when it doesn't fit.
    fn verify(self, point: &[u8], digest: &[u8], signature: &[u8]) -> Option<()> {
        use {p256::ecdsa as p256, p384::ecdsa as p384, p521::ecdsa as p521};
        let result = match self {
            Self::P256 => p256::VerifyingKey::from_sec1_bytes(point)
                .ok()?
                .verify_prehash(digest, &p256::Signature::from_der(signature).ok()?),
            Self::P384 => p384::VerifyingKey::from_sec1_bytes(point)
                .ok()?
                .verify_prehash(digest, &p384::Signature::from_der(signature).ok()?),
            Self::P521 => p521::VerifyingKey::from_sec1_bytes(point)
                .ok()?
                .verify_prehash(digest, &p521::Signature::from_der(signature).ok()?),
        };
        result.ok()
    }
}

/// Says whether bytes are an elliptic curve key with a compressed point.
pub(super) fn is_compressed(spki: &[u8]) -> bool {
    let compressed = |spki: SubjectPublicKeyInfoRef<'_>| {
        Curve::of(&spki.algorithm)?;
        let first = *spki.subject_public_key.as_bytes()?.first()?;
        Some([2, 3].contains(&first))
    };
    SubjectPublicKeyInfoRef::from_der(spki).ok().and_then(compressed) == Some(true)
}

/// Returns an elliptic curve key with its point uncompressed; `None` when it isn't on its curve.
pub(super) fn uncompressed(spki: &[u8]) -> Option<Vec<u8>> {
    let key = SubjectPublicKeyInfoRef::from_der(spki).ok()?;
    let curve = Curve::of(&key.algorithm)?;
    let point = curve.uncompressed(key.subject_public_key.as_bytes()?)?;
    let mut long = SubjectPublicKeyInfoOwned::from_der(spki).ok()?;
    long.subject_public_key = BitString::from_bytes(&point).ok()?;
    long.to_der().ok()
}

/// Says whether bytes are a key that certificates are rehydrated with: RSA, elliptic curve with a point
/// uncompressed, Ed25519.
pub(super) fn is_certified(spki: &[u8]) -> bool {
    let Ok(key) = SubjectPublicKeyInfoRef::from_der(spki) else {
        return false;
    };
    let first = key.subject_public_key.as_bytes().and_then(<[u8]>::first);
    let oid = key.algorithm.oid;
    oid == RSA || oid == ED25519 || Curve::of(&key.algorithm).is_some() && first == Some(&UNCOMPRESSED)
}

/// How a certificate is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rsa(Digest),
    Ecdsa(Digest),
    Ed25519,
}

/// What is signed of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digest {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Digest {
    fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => sha1::Hash::hash(bytes).to_byte_array().to_vec(),
            Self::Sha256 => sha256::Hash::hash(bytes).to_byte_array().to_vec(),
            Self::Sha384 => sha384::Hash::hash(bytes).to_byte_array().to_vec(),
            Self::Sha512 => sha512::Hash::hash(bytes).to_byte_array().to_vec(),
        }
    }
}

impl Algorithm {
    /// Returns the algorithm of a number of Go's `x509.SignatureAlgorithm`, which dehydrated certificates use.
    pub(super) fn from_go(number: u8) -> Option<Self> {
        Some(match number {
            3 => Self::Rsa(Digest::Sha1),
            4 => Self::Rsa(Digest::Sha256),
            5 => Self::Rsa(Digest::Sha384),
            6 => Self::Rsa(Digest::Sha512),
            9 => Self::Ecdsa(Digest::Sha1),
            10 => Self::Ecdsa(Digest::Sha256),
            11 => Self::Ecdsa(Digest::Sha384),
            12 => Self::Ecdsa(Digest::Sha512),
            16 => Self::Ed25519,
            _ => return None,
        })
    }

    /// Returns how certificates name the algorithm. Source: RFC 3279, RFC 4055, RFC 5758, RFC 8410.
    pub(super) fn identifier(self) -> AlgorithmIdentifierRef<'static> {
        let oid = ObjectIdentifier::new_unwrap(match self {
            Self::Rsa(Digest::Sha1) => "1.2.840.113549.1.1.5",
            Self::Rsa(Digest::Sha256) => "1.2.840.113549.1.1.11",
            Self::Rsa(Digest::Sha384) => "1.2.840.113549.1.1.12",
            Self::Rsa(Digest::Sha512) => "1.2.840.113549.1.1.13",
            Self::Ecdsa(Digest::Sha1) => "1.2.840.10045.4.1",
            Self::Ecdsa(Digest::Sha256) => "1.2.840.10045.4.3.2",
            Self::Ecdsa(Digest::Sha384) => "1.2.840.10045.4.3.3",
            Self::Ecdsa(Digest::Sha512) => "1.2.840.10045.4.3.4",
            Self::Ed25519 => {
                return AlgorithmIdentifierRef {
                    oid: ED25519,
                    parameters: None,
                };
            }
        });
        AlgorithmIdentifierRef {
            oid,
            parameters: matches!(self, Self::Rsa(_)).then_some(AnyRef::NULL),
        }
    }

    /// Checks a signature. `None` when it doesn't fit, or the key is of another kind.
    ///
    /// SHA-1 is good enough here: the owner signs nothing but their own value.
    pub(super) fn verify(self, spki: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
        let key = SubjectPublicKeyInfoRef::from_der(spki).ok()?;
        let bytes = key.subject_public_key.as_bytes()?;
        let (kind, by_ring): (_, &dyn ring_signature::VerificationAlgorithm) = match self {
            Self::Ecdsa(digest) => return Curve::of(&key.algorithm)?.verify(bytes, &digest.of(message), signature),
            Self::Ed25519 => (ED25519, &ring_signature::ED25519),
            Self::Rsa(Digest::Sha1) => (RSA, &ring_signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY),
            Self::Rsa(Digest::Sha256) => (RSA, &ring_signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rsa(Digest::Sha384) => (RSA, &ring_signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rsa(Digest::Sha512) => (RSA, &ring_signature::RSA_PKCS1_2048_8192_SHA512),
        };
        let fits = UnparsedPublicKey::new(by_ring, bytes).verify(message, signature);
        fits.ok().filter(|()| key.algorithm.oid == kind)
    }
}

//! Finds the public key in a certificate that nothing else is wanted of.
//!
//! Pinning needs the fingerprint and a key that the handshake's signature is checked with. The usual
//! parser refuses certificates of X.509 version 1, which Electrum servers made with old instructions have.

/// The public key of a certificate, borrowed from its DER form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey<'a> {
    /// The whole `SubjectPublicKeyInfo`, tag and length included.
    pub info: &'a [u8],
    /// The content of its algorithm identifier, tag and length left out.
    pub algorithm: &'a [u8],
    /// The key itself: the content of the bit string.
    pub key: &'a [u8],
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const VERSION: u8 = 0xa0;

/// One value of DER: its tag, content and all its bytes.
struct Value<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

impl<'a> PublicKey<'a> {
    /// Finds the key of a certificate of X.509 version 1 to 3; `None` when the bytes are no certificate.
    ///
    /// Source: RFC 5280, 4.1.
    pub fn of_certificate(der: &'a [u8]) -> Option<Self> {
        let mut der = der;
        let mut certificate = next(&mut der, SEQUENCE)?.content;
        let mut fields = next(&mut certificate, SEQUENCE)?.content;
        if fields.first() == Some(&VERSION) {
            next(&mut fields, VERSION)?;
        }
        next(&mut fields, INTEGER)?; // serial number
        for _ in ["signature", "issuer", "validity", "subject"] {
            next(&mut fields, SEQUENCE)?;
        }
        let info = next(&mut fields, SEQUENCE)?;
        let mut parts = info.content;
        let algorithm = next(&mut parts, SEQUENCE)?.content;
        let bits = next(&mut parts, BIT_STRING)?.content;
        // The first byte counts unused bits; a key has none.
        let key = bits.strip_prefix(&[0])?;
        parts.is_empty().then_some(Self {
            info: info.whole,
            algorithm,
            key,
        })
    }
}

fn next<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<Value<'a>> {
    let (value, rest) = value(bytes)?;
    *bytes = rest;
    (value.tag == tag).then_some(value)
}

/// Reads one value with a definite length below 2^16, as a certificate's are.
fn value(bytes: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(len, rest)| (usize::from(*len), rest))?,
        0x82 => rest
            .split_first_chunk()
            .map(|(len, rest)| (usize::from(u16::from_be_bytes(*len)), rest))?,
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    let whole = bytes.get(..bytes.len() - rest.len())?;
    Some((Value { tag, content, whole }, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VERSION_1: &[u8] = include_bytes!("../../tests/vectors/tls-v1/certificate.der");

    #[test]
    fn the_key_of_version_1_is_found() {
        let key = PublicKey::of_certificate(VERSION_1).unwrap();
        // An uncompressed point of P-256.
        assert_eq!((key.key.len(), key.key[0]), (65, 4));
        assert!(key.info.ends_with(key.key));
        let ecdsa_p256: &[u8] = &[
            6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7,
        ];
        assert_eq!(key.algorithm, ecdsa_p256);
    }

    #[test]
    fn the_key_of_version_3_is_found() {
        let made = rcgen::generate_simple_self_signed(["example.org".to_owned()]).unwrap();
        let key = PublicKey::of_certificate(made.cert.der()).unwrap();
        assert_eq!(
            key.info,
            rcgen::PublicKeyData::subject_public_key_info(&made.signing_key)
        );
    }

    #[test]
    fn a_certificate_cut_anywhere_is_none() {
        for end in 0..VERSION_1.len() {
            assert_eq!(PublicKey::of_certificate(&VERSION_1[..end]), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(at in 0..VERSION_1.len(), byte: u8, tail: Vec<u8>) {
            let mut changed = VERSION_1.to_vec();
            changed[at] = byte;
            let _ = PublicKey::of_certificate(&changed);
            let _ = PublicKey::of_certificate(&tail);
            changed.truncate(at);
            changed.extend(tail);
            let _ = PublicKey::of_certificate(&changed);
        }
    }
}

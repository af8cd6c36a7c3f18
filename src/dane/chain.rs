//! The certificates that a site shows, read within bounds.
//!
//! What is wanted of them is little: whose key, by whom, for which names. Signatures, times and constraints are
//! [`judgement`](super::judgement)'s business.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use der::asn1::{AnyRef, BitStringRef, Ia5StringRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode, Sequence, Tag, TagNumber, Tagged as _};

/// Most certificates of a chain.
pub const MAX_CERTIFICATES: usize = 10;

/// Most bytes of a certificate.
pub const MAX_CERTIFICATE: usize = 16 * 1024;

const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const AUTHORITY_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");

/// A context-specific tag that is not constructed.
const fn context(number: u8) -> Tag {
    Tag::ContextSpecific {
        constructed: false,
        number: TagNumber(number as u32),
    }
}

/// The choice of `GeneralName` that is a DNS name. Source: RFC 5280, section 4.2.1.6.
const DNS_NAME: Tag = context(2);

/// The field of `AuthorityKeyIdentifier` that names the issuer by a serial number. Source: RFC 5280, section 4.2.1.1.
const AUTHORITY_SERIAL: Tag = context(2);

/// Why a chain is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// There is nothing in it.
    #[error("the site shows no certificate")]
    Empty,
    /// More certificates than [`MAX_CERTIFICATES`].
    #[error("the site shows {got} certificates, and more than {MAX_CERTIFICATES} are not looked at")]
    TooMany {
        /// How many there are.
        got: usize,
    },
    /// A certificate of more bytes than [`MAX_CERTIFICATE`].
    #[error("a certificate of the site has {got} bytes, and more than {MAX_CERTIFICATE} are not looked at")]
    TooLong {
        /// How many it has.
        got: usize,
    },
    /// One that is no certificate.
    #[error("certificate {place} of those that the site shows cannot be read")]
    Malformed {
        /// Which one, counted from 1.
        place: usize,
    },
}

/// What a site shows: its own certificate, then others that may lead from there to an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    leaf: Certificate,
    others: Vec<Certificate>,
}

impl Chain {
    /// Reads a chain in the order in which it was shown.
    ///
    /// # Errors
    ///
    /// See [`ChainError`].
    pub fn read<'a>(certificates: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<Self, ChainError> {
        let got = certificates.len();
        if got > MAX_CERTIFICATES {
            return Err(ChainError::TooMany { got });
        }
        let mut read = Vec::with_capacity(got);
        for (index, der) in certificates.enumerate() {
            if der.len() > MAX_CERTIFICATE {
                return Err(ChainError::TooLong { got: der.len() });
            }
            let malformed = ChainError::Malformed { place: index + 1 };
            read.push(Certificate::read(der).ok_or(malformed)?);
        }
        let mut read = read.into_iter();
        Ok(Self {
            leaf: read.next().ok_or(ChainError::Empty)?,
            others: read.collect(),
        })
    }

    /// Returns the site's own certificate.
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// Returns those behind it.
    pub fn others(&self) -> &[Certificate] {
        &self.others
    }

    /// Returns all of them, the site's own first.
    pub fn all(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.leaf).chain(&self.others)
    }
}

/// A certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    issuer: Vec<u8>,
    subject: Vec<u8>,
    key: Vec<u8>,
    signs_others: bool,
    dns_names: Vec<String>,
    has_other_names: bool,
    issuer_by_serial: bool,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate(..)")
    }
}

impl Certificate {
    /// Reads a certificate of any version; `None` when the bytes are none.
    pub fn read(der: &[u8]) -> Option<Self> {
        let certificate = Outer::from_der(der).ok()?;
        let inner = certificate.inner;
        let mut read = Self {
            der: der.to_vec(),
            issuer: sequence(inner.issuer)?,
            subject: sequence(inner.subject)?,
            key: sequence(inner.key)?,
            signs_others: false,
            dns_names: Vec::new(),
            has_other_names: false,
            issuer_by_serial: false,
        };
        for extension in inner.extensions.unwrap_or_default() {
            read.take(&extension).ok()?;
        }
        Some(read)
    }

    fn take(&mut self, extension: &Extension<'_>) -> der::Result<()> {
        let value = extension.value.as_bytes();
        match extension.oid {
            SUBJECT_ALT_NAME => {
                for name in Vec::<AnyRef<'_>>::from_der(value)? {
                    match (name.tag(), Ia5StringRef::new(name.value())) {
                        (DNS_NAME, Ok(text)) => self.dns_names.push(text.as_str().to_ascii_lowercase()),
                        _ => self.has_other_names = true,
                    }
                }
            }
            BASIC_CONSTRAINTS => {
                let first = Vec::<AnyRef<'_>>::from_der(value)?;
                self.signs_others = first.first().is_some_and(|field| field.decode_as::<bool>() == Ok(true));
            }
            AUTHORITY_KEY_ID => {
                let fields = Vec::<AnyRef<'_>>::from_der(value)?;
                self.issuer_by_serial = fields.iter().any(|field| field.tag() == AUTHORITY_SERIAL);
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns the certificate itself, in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Returns the name of who signed it, in DER.
    pub fn issuer(&self) -> &[u8] {
        &self.issuer
    }

    /// Returns the name of whose it is, in DER.
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// Returns its `SubjectPublicKeyInfo`, in DER.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Says whether it may sign others, by its basic constraints.
    pub fn signs_others(&self) -> bool {
        self.signs_others
    }

    /// Says whether it names itself as who signed it.
    pub fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// Returns the DNS names it is for, in lower case, of which the first label may be `*`.
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// Says whether it is for more than DNS names, such as addresses.
    pub fn has_other_names(&self) -> bool {
        self.has_other_names
    }

    /// Says whether it wants the certificate of its issuer to have a certain serial number.
    pub fn issuer_by_serial(&self) -> bool {
        self.issuer_by_serial
    }

    /// Returns the key that the name of its issuer carries as `Stapled: {"pubb64": ...}`. Anybody can write there whatever
    /// they like, so that it is worth nothing unless a record fits. Source: Encaya.
    pub fn stapled_key(&self) -> Option<Vec<u8>> {
        let parts = Vec::<AnyRef<'_>>::from_der(&self.issuer).ok()?;
        let mut texts = parts.iter().filter_map(|part| {
            // A set of attributes, each of them a type and a value.
            let attribute = AnyRef::from_der(part.value()).ok()?;
            let [_, value] = <[AnyRef<'_>; 2]>::try_from(sequence_of(attribute)?).ok()?;
            std::str::from_utf8(value.value()).ok()
        });
        texts.find_map(stapled)
    }
}

fn stapled(text: &str) -> Option<Vec<u8>> {
    let (_, json) = text.split_once("Stapled: ")?;
    let stapled: serde_json::Value = serde_json::from_str(json).ok()?;
    let key = stapled.get("pubb64")?.as_str()?;
    URL_SAFE_NO_PAD.decode(key).or_else(|_| STANDARD.decode(key)).ok()
}

fn sequence_of(value: AnyRef<'_>) -> Option<Vec<AnyRef<'_>>> {
    value.decode_as().ok()
}

/// Returns the bytes of a value that must be a sequence, tag and length included: DER has but one way to write these.
fn sequence(value: AnyRef<'_>) -> Option<Vec<u8>> {
    (value.tag() == Tag::Sequence).then(|| value.to_der().ok()).flatten()
}

/// `Certificate` of RFC 5280 section 4.1.
#[derive(Sequence)]
struct Outer<'a> {
    inner: Inner<'a>,
    algorithm: AnyRef<'a>,
    signature: BitStringRef<'a>,
}

/// `TBSCertificate` there.
#[derive(Sequence)]
struct Inner<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    version: Option<u8>,
    serial: AnyRef<'a>,
    algorithm: AnyRef<'a>,
    issuer: AnyRef<'a>,
    validity: AnyRef<'a>,
    subject: AnyRef<'a>,
    key: AnyRef<'a>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    issuer_id: Option<BitStringRef<'a>>,
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", optional = "true")]
    subject_id: Option<BitStringRef<'a>>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension<'a>>>,
}

#[derive(Sequence)]
struct Extension<'a> {
    oid: ObjectIdentifier,
    #[asn1(default = "Default::default")]
    critical: bool,
    value: &'a OctetStringRef,
}

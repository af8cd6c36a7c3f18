//! Keyless pins: certificates by which a browser takes the key that a name publishes, for that name alone.
//!
//! A pin has the name and the key of the authority that signs the site's certificate, so it stands where that authority's own
//! certificate would. It is signed by a key that nobody keeps: whoever trusts it trusts the site's owner and nobody else. What
//! it may be used for is written into it, critical: the one host (and, as constraints of X.509 go, names below it), TLS
//! servers, a few weeks. Addresses are excluded one and all, since constraints that speak of DNS names alone leave certificates
//! for addresses free.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::asn1::{
    AnyRef, BitString, ContextSpecific, GeneralizedTime, Ia5StringRef, ObjectIdentifier, OctetString, SetOfVec,
    UintRef, UtcTime, Utf8StringRef,
};
use der::{Choice, DateTime, Decode, Encode, EncodeValue, Sequence, TagMode, TagNumber, Tagged, ValueOrd};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::chain::{Certificate, Chain};
use super::judgement::{self, Authenticated, Authority, Flaw, Proof};
use crate::time::Timestamp;

/// The longest time that a pin is good for, in seconds: 30 days. Whoever has the name then may be somebody else.
pub const LONGEST: u64 = 30 * 24 * 60 * 60;

/// The shortest time that a pin is of use for, in seconds.
pub const SHORTEST: u64 = 60 * 60;

/// How many seconds a block counts for: half of what it takes. Blocks come faster than they should while miners join, and a
/// pin must not outlive the name.
const SECONDS_OF_BLOCK: u64 = 300;

/// How long before it is made a pin is good, in seconds, for machines whose clocks are slow.
const BEFORE: u64 = 60 * 60;

/// Bytes of a serial number. Its highest bit is cleared, since the number is positive, and the next one set, so that it has
/// that length. Source: RFC 5280, section 4.1.2.2.
pub const SERIAL_LEN: usize = 16;

/// Who is named as having signed a pin.
const ISSUER: &str = "Isonym: a key that nobody has";

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");
const EXT_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");

/// ECDSA with SHA-256, which pins are signed with; it has no parameters. Source: RFC 5758, section 3.2.
const ALGORITHM: AlgorithmIdentifierRef<'static> = AlgorithmIdentifierRef {
    oid: ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2"),
    parameters: None,
};

/// Why no pin can be made of what a name publishes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// The name publishes the site's certificate, which has no room for limits of ours.
    #[error("the name publishes the site's certificate itself, which can be limited to no date of ours")]
    LeafOnly,
    /// That certificate may sign others.
    #[error(
        "the site's certificate may sign others, for any name, so that trusting it would be trusting it for every site"
    )]
    LeafSigns,
    /// That certificate is for other names.
    #[error("the site's certificate is for other names too, and would be trusted for these")]
    LeafOfOthers,
    /// The site's certificate names itself as who signed it.
    #[error("the site's certificate is signed by itself, and clients take none in its place")]
    SelfSigned,
    /// The site's certificate is for names that the host does not cover.
    #[error("the site's certificate is for {names} as well, which a pin of the host alone rules out")]
    Wider {
        /// These names.
        names: String,
        /// A host whose pin would cover all of them.
        parent: Option<String>,
    },
    /// The certificate wants its issuer's to have a certain serial number, which a pin has not.
    #[error("the site's certificate names its issuer by a serial number, which a pin can't have")]
    BySerial,
    /// A client would not take the site's certificate by the pin.
    #[error("clients would not take the site's certificate by a pin: {0}")]
    Flaw(Flaw),
    /// Nobody says when the name expires.
    #[error("when the name expires is not known, and a pin must not outlive it")]
    NoExpiry,
    /// The name expires too soon.
    #[error("the name expires within hours: its owner has to renew it first")]
    ExpiresSoon,
    /// The host has no form that certificates have room for.
    #[error("the host can't be written into a certificate")]
    Host,
    /// The system gives no randomness.
    #[error("operating system gives no random bytes")]
    NoEntropy,
}

/// Until when a pin is good that is made now, if the name expires after so many blocks: the last second.
///
/// # Errors
///
/// [`PinError::NoExpiry`] when that is not known, [`PinError::ExpiresSoon`] when it would be good for less than an hour.
pub fn not_after(now: Timestamp, expires_in: Option<i64>) -> Result<Timestamp, PinError> {
    let blocks = u64::try_from(expires_in.ok_or(PinError::NoExpiry)?).unwrap_or(0);
    let seconds = blocks.saturating_mul(SECONDS_OF_BLOCK).min(LONGEST);
    if seconds < SHORTEST {
        return Err(PinError::ExpiresSoon);
    }
    Ok(Timestamp(now.0.saturating_add(seconds)))
}

/// Returns the authority that a pin for a host can stand in for.
///
/// # Errors
///
/// [`PinError::LeafOnly`] and what keeps clients from going from a site's certificate to a pin.
pub fn authority<'a>(authenticated: &'a Authenticated, chain: &Chain) -> Result<&'a Authority, PinError> {
    let Proof::Authority(authority) = &authenticated.by else {
        return Err(PinError::LeafOnly);
    };
    if chain.leaf().is_self_issued() {
        return Err(PinError::SelfSigned);
    }
    let mut signed = chain
        .all()
        .filter(|it| it.issuer() == authority.subject && !it.is_self_issued());
    if signed.any(Certificate::issuer_by_serial) {
        return Err(PinError::BySerial);
    }
    Ok(authority)
}

/// Checks that the site's own certificate is good for this host alone, so that trusting it is trusting it for nothing else.
///
/// # Errors
///
/// [`PinError::LeafSigns`], [`PinError::LeafOfOthers`].
pub fn check_leaf(leaf: &Certificate, host: &str) -> Result<(), PinError> {
    if leaf.signs_others() {
        return Err(PinError::LeafSigns);
    }
    let is_alone = leaf.dns_names().iter().all(|name| name == host) && !leaf.dns_names().is_empty();
    if !is_alone || leaf.has_other_names() {
        return Err(PinError::LeafOfOthers);
    }
    Ok(())
}

/// Checks that clients who trust a pin take what the site shows.
///
/// # Errors
///
/// [`PinError::Wider`] or [`PinError::Flaw`].
pub fn check(pin: &[u8], chain: &Chain, host: &str, now: Timestamp) -> Result<(), PinError> {
    let Err(flaw) = judgement::check_trusting(pin, chain, host, now) else {
        return Ok(());
    };
    let names = chain.leaf().dns_names();
    let wider: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| !is_within(name, host))
        .collect();
    if flaw != Flaw::Constraint || wider.is_empty() {
        return Err(PinError::Flaw(flaw));
    }
    let parent = wider.iter().map(|name| name.strip_prefix("*.").unwrap_or(name));
    let parent = parent.min_by_key(|name| name.len());
    let covers = |parent: &&str| names.iter().all(|name| is_within(name, parent)) && parent.contains('.');
    Err(PinError::Wider {
        parent: parent.filter(covers).map(str::to_owned),
        names: wider.join(", "),
    })
}

/// Says whether a name is a host or lies below it, as constraints of certificates see it.
fn is_within(name: &str, host: &str) -> bool {
    match name.strip_suffix(host) {
        Some(rest) => rest.is_empty() || rest.ends_with('.'),
        None => false,
    }
}

/// Says whether a key is of the kind that curl takes, but neither Chromium nor Firefox: Ed25519.
pub fn is_for_curl_alone(key: &[u8]) -> bool {
    SubjectPublicKeyInfoRef::from_der(key).is_ok_and(|key| key.algorithm.oid == ED25519)
}

/// What a pin is to say, before it is signed.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The one host that it is for, in lower case.
    pub host: &'a str,
    /// When it is made.
    pub now: Timestamp,
    /// The last second in which it is good.
    pub not_after: Timestamp,
    /// Its number, which no other pin has.
    pub serial: [u8; SERIAL_LEN],
}

/// Returns what is to be signed of a pin, in DER.
///
/// # Errors
///
/// [`PinError::Host`].
pub fn unsigned(authority: &Authority, terms: &Terms<'_>) -> Result<Vec<u8>, PinError> {
    encode(authority, terms).map_err(|_| PinError::Host)
}

fn encode(authority: &Authority, terms: &Terms<'_>) -> der::Result<Vec<u8>> {
    let mut serial = terms.serial;
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    let issuer = Attribute {
        oid: COMMON_NAME,
        value: Utf8StringRef::new(ISSUER)?.into(),
    };
    let signed = Unsigned {
        version: 2, // stands for 3
        serial: UintRef::new(&serial)?,
        algorithm: ALGORITHM,
        issuer: vec![SetOfVec::try_from([issuer])?],
        validity: Validity {
            not_before: time(Timestamp(terms.now.0.saturating_sub(BEFORE)))?,
            not_after: time(terms.not_after)?,
        },
        subject: AnyRef::from_der(&authority.subject)?,
        key: AnyRef::from_der(&authority.key)?,
        extensions: extensions(terms.host)?,
    };
    signed.to_der()
}

/// Joins what was signed with its signature, an ECDSA one on P-256 with SHA-256 in DER.
///
/// # Errors
///
/// [`PinError::Host`].
pub fn signed(unsigned: &[u8], signature: &[u8]) -> Result<Vec<u8>, PinError> {
    let join = || {
        Signed {
            unsigned: AnyRef::from_der(unsigned)?,
            algorithm: ALGORITHM,
            signature: BitString::from_bytes(signature)?,
        }
        .to_der()
    };
    join().map_err(|_: der::Error| PinError::Host)
}

/// Writes a certificate as text. Nothing stands before it: not all that read such files pass over that.
///
/// Source: RFC 7468.
pub fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(64).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str("-----END CERTIFICATE-----");
    pem
}

fn time(at: Timestamp) -> der::Result<Time> {
    let time = DateTime::from_unix_duration(Duration::from_secs(at.0))?;
    // Two digits of the year reach to 2049: RFC 5280 section 4.1.2.5.
    Ok(match UtcTime::from_date_time(time) {
        Ok(time) => Time::Utc(time),
        Err(_) => Time::General(GeneralizedTime::from_date_time(time)),
    })
}

fn extensions(host: &str) -> der::Result<Vec<Extension>> {
    let extension = |oid, critical, value: Vec<u8>| {
        Ok::<_, der::Error>(Extension {
            oid,
            critical,
            value: OctetString::new(value)?,
        })
    };
    let sign_certificates = BitString::new(2, [0x04])?;
    let dns = general_name(2, Ia5StringRef::new(host)?)?;
    // Each is an address and a mask: whatever the address.
    let [v4, v6] = [
        general_name(7, OctetString::new([0; 8])?)?,
        general_name(7, OctetString::new([0; 32])?)?,
    ];
    let subtree = |name| AnyRef::from_der(name).map(|base| Subtree { base });
    let constraints = Constraints {
        permitted: vec![subtree(&dns)?],
        excluded: vec![subtree(&v4)?, subtree(&v6)?],
    };
    Ok(vec![
        extension(BASIC_CONSTRAINTS, true, vec![true].to_der()?)?,
        extension(KEY_USAGE, true, sign_certificates.to_der()?)?,
        extension(EXT_KEY_USAGE, false, vec![SERVER_AUTH].to_der()?)?,
        extension(NAME_CONSTRAINTS, true, constraints.to_der()?)?,
    ])
}

/// `Certificate` of RFC 5280 section 4.1.
#[derive(Sequence)]
struct Signed<'a> {
    unsigned: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitString,
}

/// `TBSCertificate` there.
#[derive(Sequence)]
struct Unsigned<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial: UintRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    issuer: Vec<SetOfVec<Attribute<'a>>>,
    validity: Validity,
    subject: AnyRef<'a>,
    key: AnyRef<'a>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

#[derive(Clone, Copy, Sequence, ValueOrd)]
struct Attribute<'a> {
    oid: ObjectIdentifier,
    value: AnyRef<'a>,
}

#[derive(Sequence)]
struct Validity {
    not_before: Time,
    not_after: Time,
}

#[derive(Choice)]
enum Time {
    #[asn1(type = "UTCTime")]
    Utc(UtcTime),
    #[asn1(type = "GeneralizedTime")]
    General(GeneralizedTime),
}

#[derive(Sequence)]
struct Extension {
    oid: ObjectIdentifier,
    #[asn1(default = "Default::default")]
    critical: bool,
    value: OctetString,
}

/// `NameConstraints` of RFC 5280 section 4.2.1.10.
#[derive(Sequence)]
struct Constraints<'a> {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    permitted: Vec<Subtree<'a>>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT")]
    excluded: Vec<Subtree<'a>>,
}

/// `GeneralSubtree` there, whose other fields are never written.
#[derive(Sequence)]
struct Subtree<'a> {
    base: AnyRef<'a>,
}

/// Returns a choice of `GeneralName`, in DER. Source: RFC 5280, section 4.2.1.6.
fn general_name<T: EncodeValue + Tagged>(number: u32, value: T) -> der::Result<Vec<u8>> {
    ContextSpecific {
        tag_number: TagNumber(number),
        tag_mode: TagMode::Implicit,
        value,
    }
    .to_der()
}

#[cfg(test)]
mod tests;

//! Dehydrated certificates: what little a value holds of a certificate, and the certificate again.
//!
//! The certificate is DER to the byte as Go's `x509.CreateCertificate` makes it from ncdns' template; else its
//! signature wouldn't fit. Source: IFA-0003; ncdns, `certdehydrate`.

use std::time::Duration;

use bitcoin::hashes::{Hash, HashEngine, sha256};
use der::asn1::{
    AnyRef, BitString, BitStringRef, ContextSpecific, GeneralizedTime, Ia5StringRef, ObjectIdentifier, OctetString,
    PrintableStringRef, SetOfVec, UintRef, UtcTime, Utf8StringRef,
};
use der::{Choice, DateTime, Decode, Encode, Sequence, TagMode, TagNumber, ValueOrd};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::public_key::{self, Algorithm};
use crate::dns::value::{Json, Reason, base64, number};

/// The only version there is.
const VERSION: u8 = 1;

/// What every certificate has as its subject's serial number.
const SUBJECT_SERIAL: &str = "Namecoin TLS Certificate";

/// Length of the serial number, in bytes: one less than RFC 5280 allows.
const SERIAL_LEN: usize = 19;

/// The unit of the validity's times, in seconds.
const TIME_UNIT: u64 = 300;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.5");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const EXT_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");

/// A dehydrated certificate.
pub(super) struct Dehydrated {
    /// The `SubjectPublicKeyInfo`, in DER.
    spki: Vec<u8>,
    /// In units of [`TIME_UNIT`] since 1970.
    not_before: u32,
    not_after: u32,
    algorithm: Algorithm,
    signature: Vec<u8>,
}

impl Dehydrated {
    /// Reads `d8`: a row of version, key, the two times, signature algorithm, signature.
    pub(super) fn read(json: &Json) -> Result<Self, Reason> {
        let fields = match json {
            Json::List(fields) => fields.as_slice(),
            _ => &[],
        };
        let [version, spki, not_before, not_after, algorithm, signature, ..] = fields else {
            let expected = "a `d8` of at least six fields";
            return Err(Reason::Form { expected });
        };
        let spki = base64(spki)?;
        if number::<u8>(version)? != VERSION || !public_key::is_certified(&spki) {
            return Err(Reason::Certificate);
        }
        Ok(Self {
            spki,
            not_before: number(not_before)?,
            not_after: number(not_after)?,
            algorithm: Algorithm::from_go(number(algorithm)?).ok_or(Reason::Certificate)?,
            signature: base64(signature)?,
        })
    }

    /// Returns the certificate of a domain, in DER.
    pub(super) fn rehydrate(&self, domain: &str) -> Result<Vec<u8>, Reason> {
        let not_before = time(self.not_before).ok_or(Reason::CertificateTime)?;
        let not_after = time(self.not_after).ok_or(Reason::CertificateTime)?;
        let validity = Validity { not_before, not_after };
        // All that can fail was checked: the key and the times.
        let encoded = self.encode(domain, validity).map_err(|_| Reason::Certificate)?;
        let (message, certificate) = encoded;
        self.algorithm
            .verify(&self.spki, &message, &self.signature)
            .ok_or_else(|| Reason::CertificateSignature {
                domain: domain.to_owned(),
            })?;
        Ok(certificate)
    }

    /// Returns what is signed, and the certificate.
    fn encode(&self, domain: &str, validity: Validity) -> der::Result<(Vec<u8>, Vec<u8>)> {
        let serial = self.serial(domain);
        let name = vec![
            SetOfVec::try_from([Attribute::new(COMMON_NAME, domain)?])?,
            SetOfVec::try_from([Attribute::new(SERIAL_NUMBER, SUBJECT_SERIAL)?])?,
        ];
        let signed = Signed {
            version: 2, // stands for 3
            serial: UintRef::new(&serial)?,
            algorithm: self.algorithm.identifier(),
            issuer: name.clone(),
            validity,
            subject: name,
            key: SubjectPublicKeyInfoRef::from_der(&self.spki)?,
            extensions: extensions(domain)?,
        };
        let message = signed.to_der()?;
        let certificate = Certificate {
            signed,
            algorithm: self.algorithm.identifier(),
            signature: BitStringRef::from_bytes(&self.signature)?,
        };
        Ok((message, certificate.to_der()?))
    }

    fn serial(&self, domain: &str) -> [u8; SERIAL_LEN] {
        let [not_before, not_after] = [self.not_before, self.not_after].map(|time| u64::from(time).to_be_bytes());
        let mut hash = sha256::Hash::engine();
        for part in [domain.as_bytes(), &self.spki, &not_before, &not_after] {
            hash.input(sha256::Hash::hash(part).as_byte_array());
        }
        let hash = sha256::Hash::from_engine(hash).to_byte_array();
        hash.first_chunk().copied().unwrap_or_default()
    }
}

fn time(units: u32) -> Option<Time> {
    let time = DateTime::from_unix_duration(Duration::from_secs(u64::from(units) * TIME_UNIT)).ok()?;
    // Two digits of the year reach to 2049: RFC 5280 section 4.1.2.5.
    Some(match UtcTime::from_date_time(time) {
        Ok(time) => Time::Utc(time),
        Err(_) => Time::General(GeneralizedTime::from_date_time(time)),
    })
}

fn extensions(domain: &str) -> der::Result<Vec<Extension>> {
    let extension = |oid, critical, value: Vec<u8>| {
        Ok::<_, der::Error>(Extension {
            oid,
            critical,
            value: OctetString::new(value)?,
        })
    };
    let digital_signature = BitString::new(7, [0x80])?;
    let no_authority: Vec<ObjectIdentifier> = Vec::new();
    let names = vec![ContextSpecific {
        tag_number: TagNumber(2), // dNSName
        tag_mode: TagMode::Implicit,
        value: Ia5StringRef::new(domain)?,
    }];
    Ok(vec![
        extension(KEY_USAGE, true, digital_signature.to_der()?)?,
        extension(EXT_KEY_USAGE, false, vec![SERVER_AUTH].to_der()?)?,
        extension(BASIC_CONSTRAINTS, true, no_authority.to_der()?)?,
        extension(SUBJECT_ALT_NAME, false, names.to_der()?)?,
    ])
}

/// `Certificate` of RFC 5280 section 4.1.
#[derive(Sequence)]
struct Certificate<'a> {
    signed: Signed<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

/// `TBSCertificate` there.
#[derive(Sequence)]
struct Signed<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial: UintRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    issuer: Vec<SetOfVec<Attribute<'a>>>,
    validity: Validity,
    subject: Vec<SetOfVec<Attribute<'a>>>,
    key: SubjectPublicKeyInfoRef<'a>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

#[derive(Clone, Sequence, ValueOrd)]
struct Attribute<'a> {
    oid: ObjectIdentifier,
    value: AnyRef<'a>,
}

impl<'a> Attribute<'a> {
    /// Makes an attribute, a `PrintableString` where the characters allow it, as Go does.
    fn new(oid: ObjectIdentifier, text: &'a str) -> der::Result<Self> {
        let value = match PrintableStringRef::new(text) {
            Ok(text) => AnyRef::from(text),
            Err(_) => AnyRef::from(Utf8StringRef::new(text)?),
        };
        Ok(Self { oid, value })
    }
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

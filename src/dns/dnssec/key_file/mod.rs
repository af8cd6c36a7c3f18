//! BIND's key files: `Kbit.+013+12345.key` holds the DNSKEY record, `Kbit.+013+12345.private` the secret number.
//!
//! ```text
//! ; This is a zone-signing key, keyid 12345, for bit.     Private-key-format: v1.3
//! bit. IN DNSKEY 256 3 13 QRDK...rQ==                     Algorithm: 13 (ECDSAP256SHA256)
//!                                                         PrivateKey: JFbS...bY4=
//!                                                         Created: 20261126012340
//! ```
//!
//! The times in the private part (`Created`, `Publish`, `Activate`, ...) are written for BIND's tools and ignored when
//! read: a key that is in the folder is used. A record stands on one line, without parentheses. Source: BIND's dnssec-keygen(8), and files that it made.

use std::str::FromStr as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hickory_proto::dnssec::Algorithm;
use hickory_proto::dnssec::PublicKey as _;
use hickory_proto::dnssec::rdata::DNSKEY;
use hickory_proto::rr::{DNSClass, Name};
use hickory_proto::serialize::txt::trust_anchor::{Entry, Parser};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{DnssecError, FieldFault, Key, KeyAlgorithm, PrivateKey, private_key};
use crate::time::Timestamp;

/// Longest key file that is read, in bytes. Those of the supported algorithms have some 350.
pub const MAX_LENGTH: usize = 8192;

/// The text of a key's two files.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFiles {
    /// The one whose name ends in `.key`.
    pub public: String,
    /// The one whose name ends in `.private`, for its owner's eyes alone; wiped from memory in the end.
    pub private: Zeroizing<String>,
}

/// Returns what a key's files are called, without their endings: zone, algorithm and key tag.
pub fn stem(key: &Key) -> String {
    let number = key.private().algorithm().number();
    format!("K{}+{number:03}+{:05}", key.zone().to_ascii(), key.tag())
}

/// Writes a key as text; `now` becomes the time from which BIND's tools publish it and sign with it.
pub fn encode(key: &Key, now: Timestamp) -> KeyFiles {
    let algorithm = key.private().algorithm();
    let (zone, flags, time) = (key.zone().to_ascii(), key.dnskey().flags(), bind_time(now));
    let public = BASE64.encode(key.private().public().public_bytes());
    let secret = Zeroizing::new(BASE64.encode(key.private().secret()));
    let (role, tag, number) = (key.role(), key.tag(), algorithm.number());
    let ttl = key.ttl().map_or(String::new(), |ttl| format!("{ttl} "));
    KeyFiles {
        public: format!(
            "; This is a {role}, keyid {tag}, for {zone}\n; Created: {time}\n; Publish: {time}\n; Activate: {time}\n\
             {zone} {ttl}IN DNSKEY {flags} 3 {number} {public}\n"
        ),
        private: Zeroizing::new(format!(
            "Private-key-format: v1.3\nAlgorithm: {number} ({})\nPrivateKey: {}\nCreated: {time}\n\
             Publish: {time}\nActivate: {time}\n",
            algorithm.name().to_ascii_uppercase(),
            *secret
        )),
    }
}

/// Reads a key from its two files.
///
/// # Errors
///
/// The variants of [`DnssecError`] from `Algorithm` to `Halves`, and `Zone`; none holds anything of the secret.
pub fn decode(files: &KeyFiles) -> Result<Key, DnssecError> {
    let (zone, ttl, dnskey) = decode_public(&files.public)?;
    let algorithm = dnskey.public_key().algorithm();
    // First: private keys of others have other fields.
    KeyAlgorithm::try_from(algorithm)?;
    let secret = decode_private(&files.private, algorithm)?;
    Key::from_record(&zone, ttl, &dnskey, &secret)
}

fn check_length(text: &str) -> Result<(), DnssecError> {
    if text.len() > MAX_LENGTH {
        return Err(DnssecError::TooLong { max: MAX_LENGTH });
    }
    Ok(())
}

fn decode_public(text: &str) -> Result<(Name, Option<u32>, DNSKEY), DnssecError> {
    check_length(text)?;
    let bad = |reason: String| DnssecError::Record { reason };
    let entries = Parser::new(text).parse().map_err(|error| bad(error.to_string()))?;
    let count = entries.len();
    let mut entries = entries.into_iter();
    let (Some(Entry::DNSKEY(record)), None) = (entries.next(), entries.next()) else {
        return Err(DnssecError::RecordCount { got: count });
    };
    if record.dns_class() != DNSClass::IN {
        return Err(bad(format!("class is {}, expected IN", record.dns_class())));
    }
    Ok((record.name().clone(), record.ttl(), record.data().clone()))
}

fn decode_private(text: &str, expected: Algorithm) -> Result<Zeroizing<[u8; PrivateKey::LENGTH]>, DnssecError> {
    check_length(text)?;
    let version = field(text, "Private-key-format")?;
    if !version.starts_with("v1.") {
        return Err(DnssecError::PrivateFormat);
    }
    let malformed = |name| DnssecError::Field {
        name,
        fault: FieldFault::Malformed,
    };
    // "13 (ECDSAP256SHA256)": the number counts.
    let number = field(text, "Algorithm")?.split_whitespace().next().unwrap_or_default();
    let number = u8::from_str(number).map_err(|_| malformed("Algorithm"))?;
    if number != u8::from(expected) {
        return Err(DnssecError::Halves);
    }
    let bytes = BASE64
        .decode(field(text, "PrivateKey")?)
        .map(Zeroizing::new)
        .map_err(|_| malformed("PrivateKey"))?;
    // BIND before 9.18 leaves out the zero bytes that a scalar begins with; seeds have none to leave out.
    let padding = PrivateKey::LENGTH
        .checked_sub(bytes.len())
        .ok_or(malformed("PrivateKey"))?;
    if bytes.is_empty() || (padding > 0 && expected == Algorithm::ED25519) {
        return Err(malformed("PrivateKey"));
    }
    let padded = Zeroizing::new([vec![0; padding].as_slice(), bytes.as_slice()].concat());
    private_key::take_secret(&padded).ok_or(malformed("PrivateKey"))
}

/// Returns the value of the one field of a name.
fn field<'a>(text: &'a str, name: &'static str) -> Result<&'a str, DnssecError> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let mut values = fields
        .filter(|(found, _)| *found == name)
        .map(|(_, value)| value.trim());
    let (first, second) = (values.next(), values.next());
    match (first, second) {
        (Some(value), None) => Ok(value),
        (None, _) => Err(DnssecError::Field {
            name,
            fault: FieldFault::Missing,
        }),
        (_, Some(_)) => Err(DnssecError::Field {
            name,
            fault: FieldFault::Repeated,
        }),
    }
}

/// Writes a time as BIND does: `YYYYMMDDHHMMSS` in UTC. One that no calendar has is written as the epoch.
fn bind_time(time: Timestamp) -> String {
    let seconds = i64::try_from(time.0).unwrap_or(0);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests;

//! What can be wrong with keys and with what they are to sign.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use hickory_proto::rr::{Name, RecordType};

use super::{KeyAlgorithm, Role};

/// How a field of a private key file is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldFault {
    /// It isn't there.
    Missing,
    /// It is there more than once.
    Repeated,
    /// Its value can't be read.
    Malformed,
}

/// What can be wrong with keys and with what they are to sign.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DnssecError {
    /// A zone's name has no labels, or one that can't be part of a file's name.
    #[error("{zone:?} can't be a zone with keys: labels of letters, digits, hyphens and underscores are needed")]
    Zone {
        /// The name.
        zone: String,
    },
    /// A key is of an algorithm that can't be used here.
    #[error("keys of DNSSEC algorithm {number}{} are not supported, only of 13 (ecdsap256sha256) and 15 (ed25519); make new ones, and have their DS record trusted", is_rsa(*number))]
    Algorithm {
        /// Its number in IANA's registry.
        number: u8,
    },
    /// An algorithm is called by a name that isn't known.
    #[error("{name:?} is no supported DNSSEC algorithm; ecdsap256sha256 and ed25519 are")]
    AlgorithmName {
        /// The name.
        name: String,
    },
    /// A key file is longer than key files are.
    #[error("key file is longer than {max} bytes")]
    TooLong {
        /// Most bytes.
        max: usize,
    },
    /// The public part of a key can't be understood.
    #[error("not a DNSKEY record: {reason}")]
    Record {
        /// Why.
        reason: String,
    },
    /// The public part of a key holds more or less than one record.
    #[error("{got} DNSKEY records where one was expected")]
    RecordCount {
        /// How many there are.
        got: usize,
    },
    /// The flags of a DNSKEY are those of neither a key-signing key nor a zone-signing key.
    #[error("DNSKEY flags are {got}; expected 257 (key-signing key) or 256 (zone-signing key)")]
    Flags {
        /// The flags.
        got: u16,
    },
    /// The private part of a key doesn't begin as that of BIND's version 1.
    #[error("private key is not in BIND's format (Private-key-format: v1.x)")]
    PrivateFormat,
    /// A field of the private part is wrong.
    #[error("field {name} of the private key is {}", match .fault {
        FieldFault::Missing => "missing",
        FieldFault::Repeated => "there twice",
        FieldFault::Malformed => "malformed",
    })]
    Field {
        /// The field.
        name: &'static str,
        /// What is wrong.
        fault: FieldFault,
    },
    /// The private part of a key isn't that of its public part.
    #[error("private key does not belong to the public key")]
    Halves,
    /// A key is another zone's.
    #[error("key is for the zone {got}, expected {expected}")]
    OtherZone {
        /// The zone that keys are wanted for.
        expected: Box<Name>,
        /// The zone of the key.
        got: Box<Name>,
    },
    /// A key's files are called otherwise than it should be.
    #[error("key files should be called {expected}.key and {expected}.private")]
    FileName {
        /// How they should be called.
        expected: String,
    },
    /// There is no key for the zone.
    #[error("no keys for the zone {zone}{}; make some with isonym dnssec keygen", match .others.as_str() {
        "" => String::new(),
        others => format!(", only for {others}"),
    })]
    NoKeys {
        /// The zone.
        zone: Name,
        /// Other zones that there are keys for, if any.
        others: String,
    },
    /// There is no key for one of the two tasks.
    #[error("no {role} for the zone {zone}: a key-signing key and a zone-signing key are needed")]
    NoKey {
        /// The task.
        role: Role,
        /// The zone.
        zone: Name,
    },
    /// There are several keys for one task.
    #[error("more than one {role} for the zone {zone} (key tags {first} and {second}); keep one of them here")]
    Several {
        /// The task.
        role: Role,
        /// The zone.
        zone: Name,
        /// The tag of one.
        first: u16,
        /// The tag of another.
        second: u16,
    },
    /// The keys are of two algorithms, each of which would then have to sign everything (RFC 4035, section 2.2).
    #[error("key-signing key is {ksk} and zone-signing key {zsk}; both must be of one algorithm")]
    AlgorithmsDiffer {
        /// The algorithm of the one.
        ksk: KeyAlgorithm,
        /// The algorithm of the other.
        zsk: KeyAlgorithm,
    },
    /// A folder already has keys for the zone.
    #[error("there is a key for the zone {zone} already: {}; keys are never overwritten", .path.display())]
    KeysPresent {
        /// The zone.
        zone: Name,
        /// The file of one.
        path: PathBuf,
    },
    /// The system gives no randomness, so that no key or signature can be made.
    #[error("no randomness from the system")]
    Random,
    /// Records can't be signed.
    #[error("records can't be signed: {reason}")]
    Signing {
        /// Why.
        reason: String,
    },
    /// There is no record to sign.
    #[error("an empty RRset can't be signed")]
    EmptySet,
    /// Records to sign together aren't one RRset.
    #[error("records of different owner, type, class or TTL can't be signed as one RRset")]
    MixedSet,
    /// Records to sign aren't of the keys' zone.
    #[error("{owner} is not in the zone {zone}")]
    OutsideZone {
        /// Their owner.
        owner: Box<Name>,
        /// The zone.
        zone: Box<Name>,
    },
    /// Records of this type are never signed.
    #[error("{record_type} records are never signed")]
    Unsignable {
        /// The type.
        record_type: RecordType,
    },
    /// A folder or file can't be used.
    #[error("cannot use {}: {error}", .path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        error: Arc<io::Error>,
    },
    /// A file is there, but something is wrong with it.
    #[error("{}: {error}", .path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What.
        error: Box<DnssecError>,
    },
}

/// Returns a word on the algorithms that owners know by another name. Source: IANA's registry of DNSSEC algorithms.
fn is_rsa(number: u8) -> &'static str {
    match number {
        1 | 5 | 7 | 8 | 10 => " (RSA)",
        _ => "",
    }
}

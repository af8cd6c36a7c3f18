//! Signatures over RRsets.

use std::collections::BTreeMap;

use hickory_proto::ProtoError;
use hickory_proto::dnssec::TBS;
use hickory_proto::dnssec::rdata::{DNSSECRData, DS, RRSIG, SigInput};
use hickory_proto::rr::{Name, RData, Record, RecordType, SerialNumber};
use hickory_proto::serialize::binary::{BinDecoder, BinEncodable as _, BinEncoder, NameEncoding, Restrict};

use super::{DnssecError, Keys};

/// The time in seconds that all signatures begin at a multiple of: those made within it are alike but for the nonce, so
/// that they can be kept.
const GRID: u32 = 3600;

/// How far back signatures begin at the least, in seconds, for validators whose clock is late.
const HEAD_START: u32 = 3600;

/// How long a signature is valid at the least after the TTL has passed since it was made, in seconds: for signatures
/// that were kept for an hour, caches that stretch TTLs, and clocks that are early.
pub const LEAST_REST: u32 = 6 * 3600;

/// The longest TTL that signatures outlast, in seconds. Validators cap a longer one to what the signature has left
/// (RFC 4035, section 5.3.3).
const MAX_TTL: u32 = 30 * 24 * 3600;

/// Signs the RRsets of one zone: the key-signing key the DNSKEY RRset, the zone-signing key all others.
#[derive(Debug)]
pub struct Signer {
    keys: Keys,
}

impl Signer {
    /// Takes the keys to sign with.
    pub fn new(keys: Keys) -> Self {
        Self { keys }
    }

    /// Returns the keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Returns the zone, in small letters and fully qualified.
    pub fn zone(&self) -> &Name {
        self.keys.zone()
    }

    /// Returns the apex's DNSKEY RRset, unsigned, as [`Keys::dnskeys`].
    pub fn dnskeys(&self) -> Vec<Record> {
        self.keys.dnskeys()
    }

    /// Returns the DS record's data, as [`Keys::ds`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn ds(&self) -> Result<DS, DnssecError> {
        self.keys.ds()
    }

    /// Returns the RRSIG record of an RRset: records of one owner, type, class and TTL. `now` is in seconds since the
    /// epoch, modulo 2^32 as signatures count (RFC 4034, section 3.1.5).
    ///
    /// The signature begins an hour before the full hour and ends at least [`LEAST_REST`] after the TTL has passed from
    /// now on; so it is the same for an hour, with Ed25519 to the bit. Records that a wildcard stands for are to have
    /// the query's name as their owner: they are signed as if they were there. Only authoritative records are to be
    /// signed: neither the NS records of a zone cut nor glue (RFC 4035, section 2.2).
    ///
    /// # Errors
    ///
    /// [`DnssecError::EmptySet`], [`DnssecError::MixedSet`], [`DnssecError::OutsideZone`], [`DnssecError::Unsignable`]
    /// for RRSIG records, and [`DnssecError::Signing`] for records that can't be encoded and when the system gives no
    /// randomness.
    pub fn sign(&self, rrset: &[Record], now: u32) -> Result<Record, DnssecError> {
        let ttl = rrset.first().map_or(0, |record| record.ttl).min(MAX_TTL);
        let hour = now - now % GRID;
        let inception = hour.wrapping_sub(HEAD_START);
        let expiration = hour.wrapping_add(GRID + ttl + LEAST_REST);
        self.sign_between(rrset, inception, expiration)
    }

    fn sign_between(&self, rrset: &[Record], inception: u32, expiration: u32) -> Result<Record, DnssecError> {
        let first = rrset.first().ok_or(DnssecError::EmptySet)?;
        let record_type = first.record_type();
        if record_type == RecordType::RRSIG {
            return Err(DnssecError::Unsignable { record_type });
        }
        if !self.zone().zone_of(&first.name) {
            return Err(DnssecError::OutsideZone {
                owner: Box::new(first.name.clone()),
                zone: Box::new(self.zone().clone()),
            });
        }
        let key = match record_type {
            RecordType::DNSKEY => self.keys.ksk(),
            _ => self.keys.zsk(),
        };
        let input = SigInput {
            type_covered: record_type,
            algorithm: self.keys.algorithm().into(),
            num_labels: first.name.num_labels(),
            original_ttl: first.ttl,
            sig_expiration: SerialNumber::new(expiration),
            sig_inception: SerialNumber::new(inception),
            key_tag: key.tag(),
            signer_name: self.zone().clone(),
        };
        let records = canonical(rrset, first)?;
        let data = TBS::from_input(&first.name, first.dns_class, &input, records.iter()).map_err(unsignable)?;
        let signature = RRSIG::from_sig(input, key.private().sign(&data)?);
        let data = RData::DNSSEC(DNSSECRData::RRSIG(signature));
        let mut record = Record::from_rdata(first.name.clone(), first.ttl, data);
        record.dns_class = first.dns_class;
        Ok(record)
    }
}

fn unsignable(error: impl std::fmt::Display) -> DnssecError {
    DnssecError::Signing {
        reason: error.to_string(),
    }
}

/// Returns the records in canonical form, each once (RFC 4034, section 6).
///
/// `TBS` writes names within records in small letters, but sorts the records before and keeps those that are there
/// twice: with names in capitals the order could be another, and no validator would find the signature to be good.
fn canonical(rrset: &[Record], first: &Record) -> Result<Vec<Record>, DnssecError> {
    let mut records = BTreeMap::new();
    for record in rrset {
        let is_of_set = record.name == first.name
            && record.record_type() == first.record_type()
            && record.dns_class == first.dns_class
            && record.ttl == first.ttl;
        if !is_of_set {
            return Err(DnssecError::MixedSet);
        }
        let bytes = encoded(&record.data, true).map_err(unsignable)?;
        let mut record = record.clone();
        if bytes != encoded(&record.data, false).map_err(unsignable)? {
            let length = u16::try_from(bytes.len()).map_err(unsignable)?;
            let mut decoder = BinDecoder::new(&bytes);
            record.data = RData::read(&mut decoder, first.record_type(), Restrict::new(length)).map_err(unsignable)?;
        }
        records.insert(bytes, record);
    }
    Ok(records.into_values().collect())
}

fn encoded(data: &RData, canonical: bool) -> Result<Vec<u8>, ProtoError> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_canonical_form(canonical);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    data.emit(&mut encoder)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;

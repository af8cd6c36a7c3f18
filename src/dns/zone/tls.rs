//! TLSA records (RFC 6698) from `tls` items.

use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::TLSA;
use hickory_proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};

use super::certificate::Dehydrated;
use super::public_key;
use crate::dns::value::bounds::MAX_CERTIFICATES;
use crate::dns::value::{Json, Reason, Report, digest_of, number};
use crate::name::NameId;

/// Reads the `tls` items of one domain.
pub(super) struct Tls {
    /// The domain's name, such as `example.bit`; `None` when the value isn't of the `d/` namespace.
    domain: Option<String>,
    /// How many certificates and compressed keys were computed.
    computed: usize,
}

impl Tls {
    pub(super) fn new(name: &NameId) -> Self {
        let label = name.as_bytes().strip_prefix(b"d/");
        let label = label.and_then(|label| std::str::from_utf8(label).ok());
        Self {
            domain: label.map(|label| format!("{label}.bit")),
            computed: 0,
        }
    }

    /// Reads the item of an object; `labels` are those between it and the apex, the lowest first.
    ///
    /// An entry is a row of usage, selector, matching type and data, or an object with such a row as `dane`, a
    /// dehydrated certificate as `d8`, or both: then `d8` is tried first. An object instead of the list is a form that is
    /// no longer read.
    pub(super) fn records(&mut self, json: &Json, labels: &[&str], report: &mut Report<'_>) -> Vec<RData> {
        let Json::List(members) = json else {
            let expected = "a list of lists and objects";
            report.item(Reason::Form { expected });
            return Vec::new();
        };
        let mut records = Vec::new();
        for (index, member) in members.iter().enumerate() {
            let dane = match member {
                Json::Object(_) => member.member("dane"),
                row => Some(row),
            };
            let rehydrated = member.member("d8").map(|d8| self.rehydrate(d8, labels));
            let rehydrated = rehydrated.and_then(|done| done.map_err(|reason| report.member(index, reason)).ok());
            if let Some(record) = rehydrated {
                records.push(record);
            } else if dane.is_some() || member.member("d8").is_none() {
                match dane_record(dane.unwrap_or(&Json::Null)) {
                    Ok(record) => records.extend(self.with_uncompressed(record, index, report)),
                    Err(reason) => report.member(index, reason),
                }
            }
        }
        records
    }

    /// Takes one computation from what a domain may cost.
    fn compute(&mut self) -> Result<(), Reason> {
        if self.computed >= MAX_CERTIFICATES {
            return Err(Reason::CertificateCount);
        }
        self.computed += 1;
        Ok(())
    }

    /// Makes the record of a dehydrated certificate. Its domain is always below `bit`, which its owner signed,
    /// whatever suffix the zone is served under.
    fn rehydrate(&mut self, d8: &Json, labels: &[&str]) -> Result<RData, Reason> {
        let dehydrated = Dehydrated::read(d8)?;
        let (Some(domain), [_port, _protocol, below @ ..]) = (&self.domain, labels) else {
            return Err(Reason::CertifiedName);
        };
        let domain: Vec<&str> = below.iter().copied().chain([domain.as_str()]).collect();
        let domain = domain.join(".");
        self.compute()?;
        let certificate = dehydrated.rehydrate(&domain)?;
        Ok(tlsa(CertUsage::DaneEe, Selector::Full, Matching::Raw, certificate))
    }

    /// Adds the record with the key as clients send it, when a whole key is given in its short form.
    fn with_uncompressed(&mut self, record: TLSA, index: usize, report: &mut Report<'_>) -> Vec<RData> {
        let whole_key = (record.selector, record.matching) == (Selector::Spki, Matching::Raw);
        let long = if whole_key && public_key::is_compressed(&record.cert_data) {
            match self.compute() {
                Ok(()) => public_key::uncompressed(&record.cert_data),
                Err(reason) => {
                    report.member(index, reason);
                    None
                }
            }
        } else {
            None
        };
        let long = long.map(|key| tlsa(record.cert_usage, record.selector, record.matching, key));
        [RData::TLSA(record)].into_iter().chain(long).collect()
    }
}

fn tlsa(usage: CertUsage, selector: Selector, matching: Matching, data: Vec<u8>) -> RData {
    RData::TLSA(TLSA::new(usage, selector, matching, data))
}

fn dane_record(json: &Json) -> Result<TLSA, Reason> {
    let fields = match json {
        Json::List(fields) => fields.as_slice(),
        _ => &[],
    };
    let [usage, selector, matching, data, ..] = fields else {
        let expected = "a list of at least four fields, or an object with `dane` or `d8`";
        return Err(Reason::Form { expected });
    };
    let matching = Matching::from(number::<u8>(matching)?);
    let length = match matching {
        Matching::Sha256 => Some(32),
        Matching::Sha512 => Some(64),
        _ => None,
    };
    Ok(TLSA::new(
        CertUsage::from(number::<u8>(usage)?),
        Selector::from(number::<u8>(selector)?),
        matching,
        digest_of(data, length)?,
    ))
}

/// Returns the TLSA record of no key: no key has a digest of zeros.
///
/// It is served where an owner wrote `tls` and nothing of it can be: without any, clients would take whatever certificate
/// they are shown.
pub(super) fn tlsa_of_no_key() -> RData {
    tlsa(CertUsage::DaneEe, Selector::Spki, Matching::Sha256, vec![0; 32])
}

//! Signs replies, and has them prove what they deny.

use std::collections::BTreeMap;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::dnssec::denial::{self, NXNAME};
use super::dnssec::{DnssecError, Signer};
use super::engine::{Denial, Reply};
use super::message::Query;
use super::zone;
use crate::time::Timestamp;

/// What signs each zone that is signed.
#[derive(Debug, Default)]
pub struct Signers(BTreeMap<Name, Signer>);

impl Signers {
    /// Takes signers, one for each zone.
    pub fn new(signers: impl IntoIterator<Item = Signer>) -> Self {
        Self(
            signers
                .into_iter()
                .map(|signer| (signer.zone().clone(), signer))
                .collect(),
        )
    }

    /// Returns each zone's DNSKEY RRset, which is a part of the zone.
    pub fn dnskeys(&self) -> BTreeMap<Name, Vec<Record>> {
        let keys = self.0.iter().map(|(apex, signer)| (apex.clone(), signer.dnskeys()));
        keys.collect()
    }
}

/// Adds the signatures and proofs that a client asks for, where the zone is signed.
pub fn sign(mut reply: Reply, query: &Query, signers: &Signers, now: Timestamp) -> Reply {
    let signer = reply.zone.as_ref().and_then(|zone| signers.0.get(zone));
    let Some(signer) = signer.filter(|_| query.wants_dnssec()) else {
        return reply;
    };
    // Nobody can have the type by which a proof says that there is no such name (RFC 9824 section 3.1).
    if query.question.kind == NXNAME {
        return Reply::bare(ResponseCode::FormErr);
    }
    if let Some(denied) = reply.denial.take() {
        deny(&mut reply, denied, query, signer);
    }
    // Signatures count seconds modulo 2^32 (RFC 4034 section 3.1.5).
    let now = u32::try_from(now.0 & u64::from(u32::MAX)).unwrap_or_default();
    let answers = with_signatures(&reply.answers, signer, now);
    let authorities = with_signatures(&reply.authorities, signer, now);
    match answers.and_then(|answers| Ok((answers, authorities?))) {
        Ok((answers, authorities)) => {
            reply.answers = answers;
            reply.authorities = authorities;
            reply
        }
        Err(error) => {
            // The error may name the records' owner.
            drop(error);
            tracing::error!("a reply could not be signed");
            Reply::bare(ResponseCode::ServFail)
        }
    }
}

/// Puts the proof of what is denied where it belongs.
fn deny(reply: &mut Reply, denied: Denial, query: &Query, signer: &Signer) {
    let (apex, ttl) = (signer.zone(), zone::TTL);
    let proof = match denied {
        Denial::Name(name) => {
            if !query.takes_compact() {
                reply.code = ResponseCode::NoError;
            }
            denial::nxdomain(apex, &name, ttl)
        }
        Denial::Type(name, types) => denial::nodata(apex, &name, types, ttl),
        Denial::Ds(cut) => denial::referral(apex, &cut, ttl),
    };
    // No proof can deny its own type.
    if query.question.kind == RecordType::NSEC && reply.authoritative {
        reply.code = ResponseCode::NoError;
        reply.authorities.clear();
        reply.answers.push(proof);
    } else {
        reply.authorities.push(proof);
    }
}

/// Puts its signature behind each RRset that the zone speaks for.
fn with_signatures(records: &[Record], signer: &Signer, now: u32) -> Result<Vec<Record>, DnssecError> {
    let is_dname = |record: &Record| record.record_type() == RecordType::DNAME;
    let renames = records.iter().any(is_dname);
    let mut with_signatures = Vec::with_capacity(records.len() * 2);
    for rrset in records.chunk_by(|a, b| a.name == b.name && a.record_type() == b.record_type()) {
        with_signatures.extend_from_slice(rrset);
        let bare = match rrset.first().map(|record| &record.data) {
            // What a DNAME implies needs no signature of its own (RFC 6672 section 5.3.1).
            Some(RData::CNAME(_)) => renames,
            // Those of a zone cut are the other zone's (RFC 4035 section 2.2).
            Some(RData::NS(_)) => rrset.iter().all(|record| record.name != *signer.zone()),
            _ => false,
        };
        if !bare {
            with_signatures.push(signer.sign(rrset, now)?);
        }
    }
    Ok(with_signatures)
}

#[cfg(test)]
mod tests;

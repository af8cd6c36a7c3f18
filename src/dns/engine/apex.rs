//! The zone's own records, and those of the names that stand for this server.

use hickory_proto::rr::rdata::{A, AAAA, NS, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use std::net::IpAddr;

use super::{Answering, Reply, Settings};
use crate::dns::zones::Place;

/// Below this label of each zone are the server's own names: it can't be a Namecoin domain, and is ncdns's.
pub(super) const META: &[u8] = b"x--nmc";

/// How long the zone's own records hold, in seconds.
const APEX_TTL: u32 = 86_400;

/// How long a name that can't be a domain may be taken for absent, in seconds: the SOA's minimum.
pub(super) const NEGATIVE_TTL: u32 = 600;

/// The seconds that the SOA states: refresh and retry, which no secondary of ours heeds, and expire.
const REFRESH: i32 = 600;
const EXPIRE: i32 = 7200;

impl Answering<'_> {
    /// Answers for the zone's apex.
    pub(super) fn at_apex(&self) -> Reply {
        let mut records = vec![(RecordType::SOA, vec![self.soa_data()])];
        let servers = self.nameservers().into_iter().map(|name| RData::NS(NS(name)));
        records.push((RecordType::NS, servers.collect()));
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for address in &self.settings.vanity {
            match address {
                IpAddr::V4(address) => v4.push(RData::A(A(*address))),
                IpAddr::V6(address) => v6.push(RData::AAAA(AAAA(*address))),
            }
        }
        if let Some(keys) = self.settings.dnskeys.get(&self.apex) {
            if self.question.kind == RecordType::DNSKEY {
                // Theirs is the TTL that their files say.
                let key = |key: &Record| self.record(key.ttl, key.data.clone());
                return Reply {
                    answers: keys.iter().map(key).collect(),
                    ..self.reply(APEX_TTL)
                };
            }
            records.push((RecordType::DNSKEY, keys.iter().map(|key| key.data.clone()).collect()));
        }
        records.push((RecordType::A, v4));
        records.push((RecordType::AAAA, v6));
        self.own_records(records)
    }

    /// Answers for a name of this server's.
    pub(super) fn at_meta(&self, place: &Place<'_>) -> Reply {
        let labels: Vec<&[u8]> = place.below().skip(1).collect();
        match labels.as_slice() {
            [b"this"] => self.own_records(vec![(RecordType::A, vec![RData::A(A(self.settings.self_ip))])]),
            // As with ncdns, all else below the label is there and empty. There `aia` is this server's as well: from it browsers
            // fetch authorities of sites, in plain text and with the site's name, off to whoever has bound that address.
            _ => self.own_records(Vec::new()),
        }
    }

    fn own_records(&self, records: Vec<(RecordType, Vec<RData>)>) -> Reply {
        let kind = self.question.kind;
        let mut records: Vec<_> = records.into_iter().filter(|(_, data)| !data.is_empty()).collect();
        let wanted = records
            .iter()
            .position(|(found, _)| kind == RecordType::ANY || *found == kind);
        let Some(wanted) = wanted else {
            let types = records.into_iter().map(|(kind, _)| kind).collect();
            return self.no_such_type(types, APEX_TTL);
        };
        let (_, data) = records.swap_remove(wanted);
        Reply {
            answers: data.into_iter().map(|data| self.record(APEX_TTL, data)).collect(),
            ..self.reply(APEX_TTL)
        }
    }

    /// Returns the zone's SOA record, as negative answers carry it.
    pub(super) fn soa(&self) -> Record {
        Record::from_rdata(self.apex.clone(), NEGATIVE_TTL, self.soa_data())
    }

    fn soa_data(&self) -> RData {
        soa_data(self.settings, &self.apex, 1)
    }

    fn nameservers(&self) -> Vec<Name> {
        nameservers(self.settings, &self.apex)
    }
}

/// Returns the records of a zone itself, as a zone file begins with them.
pub fn apex_records(settings: &Settings, apex: &Name, serial: u32) -> Vec<Record> {
    let own = |data| Record::from_rdata(apex.clone(), APEX_TTL, data);
    let mut records = vec![own(soa_data(settings, apex, serial))];
    let servers = nameservers(settings, apex).into_iter();
    records.extend(servers.map(|name| own(RData::NS(NS(name)))));
    records.extend(settings.vanity.iter().map(|address| {
        own(match address {
            IpAddr::V4(address) => RData::A(A(*address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
        })
    }));
    if let Some(name) = own_name(apex).filter(|_| settings.nameservers.is_empty()) {
        records.push(Record::from_rdata(name, APEX_TTL, RData::A(A(settings.self_ip))));
    }
    records
}

fn soa_data(settings: &Settings, apex: &Name, serial: u32) -> RData {
    let server = nameservers(settings, apex).into_iter().next().unwrap_or_default();
    RData::SOA(SOA::new(
        server,
        settings.hostmaster.clone(),
        serial,
        REFRESH,
        REFRESH,
        EXPIRE,
        NEGATIVE_TTL,
    ))
}

fn nameservers(settings: &Settings, apex: &Name) -> Vec<Name> {
    if settings.nameservers.is_empty() {
        // Under an apex so long that its own server has no name, the apex itself is named.
        vec![own_name(apex).unwrap_or_else(|| apex.clone())]
    } else {
        settings.nameservers.clone()
    }
}

/// Returns the name that stands for this server.
fn own_name(apex: &Name) -> Option<Name> {
    let meta = apex.prepend_label(META);
    meta.and_then(|meta| meta.prepend_label("this")).ok()
}

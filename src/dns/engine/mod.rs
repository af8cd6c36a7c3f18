//! From a question to its answer, as a function of what is known: nothing is asked here.
//!
//! [`answer`] looks names up in what its caller holds. Where something is missing it says what ([`Step::Need`]), and is
//! called again when that is known. It keeps no state between the calls, so nothing can pass from one question to
//! another here.
//!
//! The order of steps is that of RFC 1034 section 4.3.2 with DNAME (RFC 6672 section 3.2), from the apex down: the first
//! zone cut or DNAME on the way ends it. ncdns's engine, madns, lets a cut win over a DNAME above it, though nothing
//! below a DNAME is served.

mod apex;
mod reply;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{CNAME, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

pub use apex::apex_records;
pub use reply::{Denial, ExtendedError, Reply};
pub use walk::services;

use self::walk::{End, walk};
use super::zone::{self, Domain};
use super::zones::{Place, Zones};
use crate::name::NameId;

/// Most other names that are looked up for the glue of one referral: a value of 520 bytes can name dozens.
const MAX_GLUE_NAMES: usize = 4;

/// What is served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Under which suffixes.
    pub zones: Zones,
    /// Names of the zones' nameservers; with none, each zone has one of its own that is [`Self::self_ip`].
    pub nameservers: Vec<Name>,
    /// The mailbox of who answers for the zones, in DNS form; the root where there is none.
    pub hostmaster: Name,
    /// Addresses of the apex itself.
    pub vanity: Vec<IpAddr>,
    /// The address of the nameserver that stands for us.
    pub self_ip: Ipv4Addr,
    /// What `version.bind` is answered with; refused without.
    pub version: Option<String>,
    /// The DNSKEY RRset of each zone that is signed.
    pub dnskeys: BTreeMap<Name, Vec<Record>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            zones: Zones::default(),
            nameservers: Vec::new(),
            hostmaster: Name::root(),
            vanity: Vec::new(),
            // The one ncdns has: on this machine, and nobody else's by accident.
            self_ip: Ipv4Addr::new(127, 127, 127, 127),
            version: None,
            dnskeys: BTreeMap::new(),
        }
    }
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name, in the case in which it was asked.
    pub name: Name,
    /// The same in lowercase.
    pub lower: Name,
    /// The type.
    pub kind: RecordType,
    /// The class.
    pub class: DNSClass,
}

impl Question {
    /// Makes a question.
    pub fn new(name: Name, kind: RecordType, class: DNSClass) -> Self {
        Self {
            lower: name.to_lowercase(),
            name,
            kind,
            class,
        }
    }
}

/// What is known of a Namecoin name under the isolation ID of the question.
#[derive(Clone, Debug)]
pub enum Found {
    /// Its records, and for how many seconds they hold.
    Domain(Arc<Domain>, u32),
    /// It has no value, and for how many seconds that holds.
    Absent(Option<ExtendedError>, u32),
    /// Its value is no JSON, and for how many seconds that holds.
    Unreadable(u32),
    /// It could not be found out.
    Failed(ExtendedError),
    /// These names must be looked up first.
    Needs(BTreeSet<NameId>),
}

/// What comes of a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// These names must be looked up, under the isolation ID of the question.
    Need(BTreeSet<NameId>),
    /// It is answered.
    Reply(Box<Reply>),
}

impl From<Reply> for Step {
    fn from(reply: Reply) -> Self {
        Self::Reply(Box::new(reply))
    }
}

/// Answers a question. `known` tells what is known of a name whose records are owned by an apex, such as `d/example`
/// and `example.bit.`.
pub fn answer(settings: &Settings, question: &Question, mut known: impl FnMut(&NameId, &Name) -> Found) -> Step {
    match question.class {
        DNSClass::IN | DNSClass::ANY => {}
        DNSClass::CH => return chaos(settings, question).into(),
        _ => return Reply::bare(ResponseCode::Refused).into(),
    }
    if matches!(question.kind, RecordType::AXFR | RecordType::IXFR) {
        return Reply::bare(ResponseCode::Refused).into();
    }
    let Some(place) = settings.zones.find(&question.lower) else {
        return Reply::noted(ResponseCode::Refused, ExtendedError::NotOurs).into();
    };
    let zone = Answering {
        settings,
        question,
        apex: place.apex(),
    };
    let Some(label) = place.below().next() else {
        return zone.at_apex().into();
    };
    if label == apex::META && settings.nameservers.is_empty() {
        return zone.at_meta(&place).into();
    }
    // What can't be a domain is not asked for.
    let Some(id) = zone::name_id(label) else {
        return zone.no_such_name(None, apex::NEGATIVE_TTL).into();
    };
    match known(&id, &place.at(1)) {
        Found::Needs(names) => Step::Need(names),
        Found::Absent(note, life) => zone.no_such_name(note, life).into(),
        Found::Unreadable(life) => Reply {
            life,
            ..Reply::noted(ResponseCode::ServFail, ExtendedError::Unreadable)
        }
        .into(),
        Found::Failed(note) => Reply::noted(ResponseCode::ServFail, note).into(),
        Found::Domain(domain, life) => zone.in_domain(&place, &domain, life, known),
    }
}

/// A question that one of our zones answers.
struct Answering<'a> {
    settings: &'a Settings,
    question: &'a Question,
    /// The zone's apex.
    apex: Name,
}

impl Answering<'_> {
    fn in_domain(
        &self,
        place: &Place<'_>,
        domain: &Domain,
        life: u32,
        known: impl FnMut(&NameId, &Name) -> Found,
    ) -> Step {
        let kind = self.question.kind;
        match walk(domain, place) {
            End::Nothing => self.no_such_name(None, life).into(),
            End::Lame => Reply::noted(ResponseCode::ServFail, ExtendedError::Lame).into(),
            End::Cut { depth, node } => {
                let owner = place.at(depth);
                let is_here = owner == self.question.lower;
                if is_here && kind == RecordType::DS {
                    return self.of_type(node, life).into();
                }
                self.referral(&owner, node, domain, life, known)
            }
            End::Dname { depth, target, node } => self.renamed(place, depth, target, node, life).into(),
            End::Here(node) => {
                let other_types = matches!(kind, RecordType::CNAME | RecordType::ANY);
                match node.rrset(RecordType::CNAME) {
                    [RData::CNAME(CNAME(target)), ..] if !other_types => Reply {
                        answers: vec![self.record(zone::TTL, RData::CNAME(CNAME(target.clone())))],
                        ..self.reply(life)
                    }
                    .into(),
                    _ => self.of_type(node, life).into(),
                }
            }
        }
    }

    /// Returns the records of the type that is asked for; of one type where all are (RFC 8482 section 4.1).
    fn of_type(&self, node: &zone::Node, life: u32) -> Reply {
        let wanted = match self.question.kind {
            RecordType::ANY => node.rrsets().next().map(|(_, data)| data),
            kind => Some(node.rrset(kind)).filter(|data| !data.is_empty()),
        };
        let Some(data) = wanted else {
            let types = node.rrsets().map(|(kind, _)| kind).collect();
            return self.no_such_type(types, life);
        };
        let record = |data: &RData| self.record(zone::TTL, data.clone());
        Reply {
            answers: data.iter().map(record).collect(),
            ..self.reply(life)
        }
    }

    /// Sends the question on to the nameservers of a zone below.
    fn referral(
        &self,
        cut: &Name,
        node: &zone::Node,
        domain: &Domain,
        life: u32,
        mut known: impl FnMut(&NameId, &Name) -> Found,
    ) -> Step {
        let record = |kind: RecordType| {
            let data = node.rrset(kind).iter();
            data.map(|data| Record::from_rdata(cut.clone(), zone::TTL, data.clone()))
        };
        let authorities: Vec<Record> = record(RecordType::NS).chain(record(RecordType::DS)).collect();
        let denial = node.rrset(RecordType::DS).is_empty().then(|| Denial::Ds(cut.clone()));
        let mut additionals = Vec::new();
        let mut missing = BTreeSet::new();
        let mut others: BTreeSet<NameId> = BTreeSet::new();
        for data in node.rrset(RecordType::NS) {
            let RData::NS(target) = data else { continue };
            let target = target.0.to_lowercase();
            let Some(place) = self.settings.zones.find(&target) else {
                continue;
            };
            let Some(id) = place.below().next().and_then(zone::name_id) else {
                continue;
            };
            let owner = place.at(1);
            if owner.zone_of_case(cut) {
                walk::glue(domain, &place, zone::TTL, &mut additionals);
                continue;
            }
            if !others.contains(&id) && others.len() == MAX_GLUE_NAMES {
                continue;
            }
            match known(&id, &owner) {
                Found::Needs(names) => missing.extend(names),
                Found::Domain(other, life) => walk::glue(&other, &place, zone::TTL.min(life), &mut additionals),
                // Resolvers can do without glue of other names: they ask for it.
                Found::Absent(..) | Found::Unreadable(_) | Found::Failed(_) => {}
            }
            others.insert(id);
        }
        if !missing.is_empty() {
            return Step::Need(missing);
        }
        Reply {
            authoritative: false,
            authorities,
            additionals,
            denial,
            ..self.reply(life)
        }
        .into()
    }

    /// Answers for a name below a DNAME.
    fn renamed(&self, place: &Place<'_>, depth: usize, target: &Name, node: &zone::Node, life: u32) -> Reply {
        let owner = place.at(depth);
        let dname = |data: &RData| Record::from_rdata(self.in_asked_case(&owner), zone::TTL, data.clone());
        let mut data: Vec<Record> = node.rrset(RecordType::DNAME).iter().map(dname).collect();
        // The labels in front, in the case in which they were asked.
        let kept = self.question.name.iter().len().saturating_sub(owner.iter().len());
        let prefix = Name::from_labels(self.question.name.iter().take(kept));
        match prefix.and_then(|prefix| prefix.append_domain(target)) {
            Ok(renamed) => {
                data.push(self.record(zone::TTL, RData::CNAME(CNAME(renamed))));
                Reply {
                    answers: data,
                    ..self.reply(life)
                }
            }
            // The result would be too long: RFC 6672 section 2.2.
            Err(_) => Reply {
                code: ResponseCode::YXDomain,
                answers: data,
                ..self.reply(life)
            },
        }
    }

    /// Makes a record that the name asked for owns.
    fn record(&self, ttl: u32, data: RData) -> Record {
        Record::from_rdata(self.question.name.clone(), ttl, data)
    }

    /// Returns an ancestor of the name that is asked for, written as it was asked.
    fn in_asked_case(&self, ancestor: &Name) -> Name {
        // `num_labels` does not count a leading `*`, which here is a label like any other.
        self.question.name.trim_to(ancestor.iter().len())
    }

    fn reply(&self, life: u32) -> Reply {
        Reply {
            authoritative: true,
            zone: Some(self.apex.clone()),
            life,
            ..Reply::bare(ResponseCode::NoError)
        }
    }

    fn no_such_type(&self, types: Vec<RecordType>, life: u32) -> Reply {
        Reply {
            authorities: vec![self.soa()],
            denial: Some(Denial::Type(self.question.lower.clone(), types)),
            ..self.reply(life)
        }
    }

    fn no_such_name(&self, note: Option<ExtendedError>, life: u32) -> Reply {
        Reply {
            code: ResponseCode::NXDomain,
            authorities: vec![self.soa()],
            denial: Some(Denial::Name(self.question.lower.clone())),
            note,
            ..self.reply(life)
        }
    }
}

/// Answers a question about the server itself.
fn chaos(settings: &Settings, question: &Question) -> Reply {
    let names = ["version.bind.", "version.server."];
    let asked = question.lower.to_ascii();
    let is_text = matches!(question.kind, RecordType::TXT | RecordType::ANY);
    match &settings.version {
        Some(version) if names.contains(&asked.as_str()) && is_text => {
            let data = RData::TXT(TXT::new(vec![version.clone()]));
            let mut record = Record::from_rdata(question.name.clone(), 0, data);
            record.dns_class = DNSClass::CH;
            Reply {
                authoritative: true,
                answers: vec![record],
                ..Reply::bare(ResponseCode::NoError)
            }
        }
        _ => Reply::bare(ResponseCode::Refused),
    }
}

#[cfg(test)]
mod tests;

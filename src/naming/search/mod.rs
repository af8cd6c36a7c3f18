//! Finds the target of a name from the values of names that are known, as a function: nothing is looked up here.
//!
//! The order is ncprop279's: an onion service in the TXT records of `_tor` below the name, else addresses. Unlike there,
//! aliases that lead to other names of the zone are followed, so that no `.bit` name ever comes out; and services are tried
//! at each of them.

mod keys;

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

pub use self::keys::{PublishedKeys, keys};
use super::name::is_host_name;
use super::target::{Failure, Target, TargetKind};
use crate::dns::engine::{self, ExtendedError, Found, Question, Settings};
use crate::dns::resolver::NameSource;
use crate::dns::zone;
use crate::name::NameId;
use crate::net::onion::OnionName;

/// Most aliases that are followed from one name, as resolvers do.
pub const MAX_ALIASES: usize = 8;

/// The label below a name that owns its onion services. Source: IFA-0001, "tor".
const SERVICES: &[u8] = b"_tor";

/// Names that must be looked up before a search can end.
pub type Needed = BTreeSet<NameId>;

/// A question for the target of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetQuery<'a> {
    /// The name, folded.
    pub name: &'a str,
    /// Which kinds of targets will do.
    pub target_kind: TargetKind,
    /// Chooses among several targets: equal numbers choose the same one.
    pub choice: u64,
}

/// Finds the target of a name.
///
/// # Errors
///
/// The names that must be looked up first.
pub fn search(
    settings: &Settings,
    query: &TargetQuery<'_>,
    known: NameSource<'_>,
) -> Result<Result<Target, Failure>, Needed> {
    if !is_host_name(query.name) {
        return Ok(Err(Failure::Invalid));
    }
    let Ok(mut name) = Name::from_ascii(query.name) else {
        return Ok(Err(Failure::Invalid));
    };
    name.set_fqdn(true);
    match settings.zones.find(&name) {
        None => return Ok(Err(Failure::NotHandled)),
        Some(place) if place.below().next().and_then(zone::name_id).is_none() => return Ok(Err(Failure::Invalid)),
        Some(_) => {}
    }
    let search = Search {
        settings,
        query,
        aliases: MAX_ALIASES,
        known,
    };
    match search.from(name) {
        Ok(target) => Ok(Ok(target)),
        Err(Stop::Failed(failure)) => Ok(Err(failure)),
        Err(Stop::Need(names)) => Err(names),
    }
}

/// Why a search stops.
enum Stop {
    Failed(Failure),
    Need(Needed),
}

/// What records of one type a name has.
enum NameRecords {
    Records(Vec<RData>),
    /// Another name, in a zone of ours or not.
    Alias(Name),
    /// Nothing of that type, or the name is not there at all.
    Nothing(Failure),
}

struct Search<'a> {
    settings: &'a Settings,
    query: &'a TargetQuery<'a>,
    /// How many more aliases may be followed.
    aliases: usize,
    known: NameSource<'a>,
}

impl Search<'_> {
    fn from(mut self, mut name: Name) -> Result<Target, Stop> {
        loop {
            if self.query.target_kind != TargetKind::Address
                && let Some(service) = self.service(&name)?
            {
                return Ok(Target::Onion(service));
            }
            let mut missing = Failure::NoTarget;
            let mut alias = None;
            for kind in [RecordType::A, RecordType::AAAA] {
                match self.ask(&name, kind)? {
                    NameRecords::Records(data) => {
                        let addresses = data.iter().filter_map(RData::ip_addr);
                        return self.address(&addresses.collect::<Vec<_>>());
                    }
                    NameRecords::Alias(target) => {
                        alias = Some(target);
                        break;
                    }
                    NameRecords::Nothing(failure) => missing = failure,
                }
            }
            let Some(target) = alias else {
                return Err(Stop::Failed(missing));
            };
            if !self.is_ours(&target) {
                return self.elsewhere(&target);
            }
            self.follow()?;
            name = target;
        }
    }

    fn is_ours(&self, name: &Name) -> bool {
        self.settings.zones.find(name).is_some()
    }

    fn follow(&mut self) -> Result<(), Stop> {
        self.aliases = self.aliases.checked_sub(1).ok_or(Stop::Failed(Failure::Broken))?;
        Ok(())
    }

    /// Returns the onion service of a name: of the TXT records of `_tor` below it, else of its `tor` item, which is there
    /// even where DNS does not show it. Aliases of those records are followed as well: a name below `translate` has them
    /// there.
    fn service(&mut self, name: &Name) -> Result<Option<OnionName>, Stop> {
        // The longest names have no room for it.
        let Ok(mut owner) = name.prepend_label(SERVICES) else {
            return self.stated(name);
        };
        loop {
            let answer = self.ask(&owner, RecordType::TXT)?;
            if let NameRecords::Records(data) = &answer {
                let services: Vec<OnionName> = data.iter().filter_map(first_string_as_service).collect();
                if let Some(service) = self.chosen(&services) {
                    return Ok(Some(service.clone()));
                }
            }
            if owner.iter().next() == Some(SERVICES)
                && let Some(service) = self.stated(&owner.base_name())?
            {
                return Ok(Some(service));
            }
            match answer {
                NameRecords::Alias(target) if self.is_ours(&target) => {
                    self.follow()?;
                    owner = target;
                }
                _ => return Ok(None),
            }
        }
    }

    /// Returns the onion service that the `tor` item of a name states.
    fn stated(&mut self, name: &Name) -> Result<Option<OnionName>, Stop> {
        let Some(place) = self.settings.zones.find(name) else {
            return Ok(None);
        };
        let Some(id) = place.below().next().and_then(zone::name_id) else {
            return Ok(None);
        };
        match (self.known)(&id, &place.at(1)) {
            Found::Needs(names) => Err(Stop::Need(names)),
            Found::Domain(domain, _) => {
                let stated = engine::services(&domain, &place).iter();
                let services: Vec<OnionName> = stated.filter_map(|text| OnionName::parse(text)).collect();
                Ok(self.chosen(&services).cloned())
            }
            Found::Absent(..) | Found::Unreadable(_) | Found::Failed(_) => Ok(None),
        }
    }

    fn address(&self, addresses: &[IpAddr]) -> Result<Target, Stop> {
        let chosen = self
            .chosen(addresses)
            .filter(|_| self.query.target_kind != TargetKind::Onion);
        let target = chosen.map(|address| Target::Address(*address));
        target.ok_or(Stop::Failed(Failure::NoTarget))
    }

    /// Returns one of several, by the number that the question came with.
    fn chosen<'t, T>(&self, all: &'t [T]) -> Option<&'t T> {
        let count = u64::try_from(all.len()).ok()?;
        let at = self.query.choice.checked_rem(count)?;
        all.get(usize::try_from(at).ok()?)
    }

    /// Returns the target that an alias to a name of others gives.
    fn elsewhere(&self, name: &Name) -> Result<Target, Stop> {
        let target = Target::parse(&name.to_ascii(), std::iter::empty()).ok_or(Stop::Failed(Failure::Broken))?;
        let fits = self.query.target_kind.takes(&target);
        fits.then_some(target).ok_or(Stop::Failed(Failure::NoTarget))
    }

    fn ask(&mut self, name: &Name, kind: RecordType) -> Result<NameRecords, Stop> {
        let question = Question::new(name.clone(), kind, DNSClass::IN);
        let reply = match engine::answer(self.settings, &question, &mut *self.known) {
            engine::Step::Reply(reply) => reply,
            engine::Step::Need(names) => return Err(Stop::Need(names)),
        };
        let failure = match (reply.code, reply.note) {
            (ResponseCode::NoError, _) => return Ok(records_of(&reply.answers, &question.lower, kind)),
            (ResponseCode::NXDomain, _) => return Ok(NameRecords::Nothing(Failure::NotRegistered)),
            (ResponseCode::YXDomain, _)
            | (
                _,
                Some(
                    ExtendedError::Unreadable
                    | ExtendedError::Lame
                    | ExtendedError::Sprawling
                    // It will say the same again.
                    | ExtendedError::BackendNonsense,
                ),
            ) => Failure::Broken,
            (_, Some(ExtendedError::Timeout)) => Failure::Timeout,
            _ => Failure::Unavailable,
        };
        Err(Stop::Failed(failure))
    }
}

/// Returns what records say that a name has of a type.
fn records_of(records: &[Record], name: &Name, kind: RecordType) -> NameRecords {
    let data = |kind| {
        let of_kind = records.iter().filter(move |record| record.record_type() == kind);
        of_kind.filter(|record| record.name.to_lowercase() == *name)
    };
    let found: Vec<RData> = data(kind).map(|record| record.data.clone()).collect();
    if !found.is_empty() {
        return NameRecords::Records(found);
    }
    match data(RecordType::CNAME).next().map(|record| &record.data) {
        Some(RData::CNAME(target)) => NameRecords::Alias(target.0.to_lowercase()),
        _ => NameRecords::Nothing(Failure::NoTarget),
    }
}

/// Returns the service that a TXT record names, which is its first string. What is no valid name is passed over: a string
/// can hold anything.
fn first_string_as_service(data: &RData) -> Option<OnionName> {
    let RData::TXT(text) = data else { return None };
    OnionName::parse(std::str::from_utf8(text.txt_data.first()?).ok()?)
}

#[cfg(test)]
mod tests;

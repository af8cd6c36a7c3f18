//! The keys that a name publishes for TLS.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::TLSA;
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

use super::{NameRecords, Needed, Search, Stop, TargetQuery};
use crate::dns::engine::{self, Question, Settings, Step};
use crate::dns::resolver::NameSource;
use crate::naming::name::is_host_name;
use crate::naming::target::{Failure, TargetKind};

/// What a name publishes for one of its services.
#[derive(Clone, Debug, PartialEq)]
pub enum PublishedKeys {
    /// These records.
    Records(Vec<TLSA>),
    /// None.
    Nothing,
    /// The value leaves it to nameservers, which prove nothing.
    Delegated,
}

/// Finds the TLSA records for the TLS server at a port of a host. Where the host is an alias of another one of the zone, that
/// one's records come first. Source: RFC 6698, section 3; RFC 7671, section 7.
///
/// # Errors
///
/// The names that must be looked up first.
pub fn keys(
    settings: &Settings,
    host: &str,
    port: u16,
    known: NameSource<'_>,
) -> Result<Result<PublishedKeys, Failure>, Needed> {
    let mut name = match Name::from_ascii(host) {
        Ok(name) if is_host_name(host) => name,
        _ => return Ok(Err(Failure::Invalid)),
    };
    name.set_fqdn(true);
    if settings.zones.find(&name).is_none() {
        return Ok(Err(Failure::NotHandled));
    }
    let query = TargetQuery {
        name: host,
        target_kind: TargetKind::Any,
        choice: 0,
    };
    let search = Search {
        settings,
        query: &query,
        aliases: super::MAX_ALIASES,
        known,
    };
    match search.keys(name, port) {
        Ok(keys) => Ok(Ok(keys)),
        Err(Stop::Failed(failure)) => Ok(Err(failure)),
        Err(Stop::Need(names)) => Err(names),
    }
}

impl Search<'_> {
    fn keys(mut self, host: Name, port: u16) -> Result<PublishedKeys, Stop> {
        let end = self.end_of_aliases(host.clone())?;
        let mut hosts = vec![end];
        if hosts.first() != Some(&host) {
            hosts.push(host);
        }
        let mut found = PublishedKeys::Nothing;
        for host in hosts {
            match self.keys_of(&host, port)? {
                PublishedKeys::Nothing => {}
                PublishedKeys::Delegated => found = PublishedKeys::Delegated,
                records @ PublishedKeys::Records(_) => return Ok(records),
            }
        }
        Ok(found)
    }

    /// Follows the aliases of a host within our zones. Those that lead out of them prove nothing, and count for none.
    fn end_of_aliases(&mut self, host: Name) -> Result<Name, Stop> {
        let mut end = host;
        loop {
            match self.ask(&end, RecordType::A)? {
                NameRecords::Alias(target) if self.is_ours(&target) => {
                    self.follow()?;
                    end = target;
                }
                _ => return Ok(end),
            }
        }
    }

    fn keys_of(&mut self, host: &Name, port: u16) -> Result<PublishedKeys, Stop> {
        let protocol = host.prepend_label("_tcp");
        let owner = protocol.and_then(|name| name.prepend_label(format!("_{port}")));
        // The longest names have no room for it.
        let Ok(mut owner) = owner else {
            return Ok(PublishedKeys::Nothing);
        };
        loop {
            match self.ask(&owner, RecordType::TLSA)? {
                NameRecords::Records(data) => {
                    let records = data.into_iter().filter_map(|data| match data {
                        RData::TLSA(record) => Some(record),
                        _ => None,
                    });
                    return Ok(PublishedKeys::Records(records.collect()));
                }
                NameRecords::Alias(target) if self.is_ours(&target) => {
                    self.follow()?;
                    owner = target;
                }
                NameRecords::Nothing(_) if self.is_delegated(&owner)? => return Ok(PublishedKeys::Delegated),
                NameRecords::Alias(_) | NameRecords::Nothing(_) => return Ok(PublishedKeys::Nothing),
            }
        }
    }

    /// Says whether a referral is all that there is for a name.
    fn is_delegated(&mut self, name: &Name) -> Result<bool, Stop> {
        let question = Question::new(name.clone(), RecordType::TLSA, DNSClass::IN);
        match engine::answer(self.settings, &question, &mut *self.known) {
            Step::Reply(reply) => Ok(reply.code == ResponseCode::NoError && !reply.authoritative),
            Step::Need(names) => Err(Stop::Need(names)),
        }
    }
}

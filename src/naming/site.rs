//! What a name says of a site, and whether who is there is who the name means.

use std::collections::BTreeSet;
use std::fmt;

use hickory_proto::rr::Name;
use tokio::time::Instant;

use super::name::{folded, is_host_name};
use super::search::{PublishedKeys, TargetQuery, keys, search};
use super::target::{Failure, Target, TargetKind};
use crate::dane::chain::Chain;
use crate::dane::judgement::{Authenticated, Refusal, judge};
use crate::dane::site::{SiteError, SiteLimits, shown_chain};
use crate::dns::engine::Found;
use crate::dns::resolver::{NameSource, Resolver};
use crate::dns::zone;
use crate::dns::zones::Zones;
use crate::isolation::IsolationId;
use crate::name::NameId;
use crate::name::encoding::quoted;
use crate::net::{Dialer, Host, Proxy};
use crate::rpc::explanation;
use crate::service::{Answer, NameResult, NameService, Question, ServiceError};
use crate::time::Timestamp;

/// The port of HTTPS.
pub const HTTPS: u16 = 443;

/// A TLS server of a host below a zone.
#[derive(Clone, PartialEq, Eq)]
pub struct Site {
    /// In lower case, without a final dot.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The name whose value has it.
    pub name: NameId,
}

impl Site {
    /// Returns the site at a port of a domain; `None` where that is no host, or below no name.
    pub fn of(domain: &Name, port: u16, zones: &Zones) -> Option<Self> {
        let domain = domain.to_lowercase();
        let host = folded(&domain.to_ascii());
        let name = zone::name_id(zones.find(&domain)?.below().next()?)?;
        is_host_name(&host).then_some(Self { host, port, name })
    }
}

/// Returns the sites that TLSA records at these names are about, each once and `most` of them: of a record for any port or any
/// protocol, that of HTTPS. Source: RFC 6698, section 3.
pub fn sites<'a>(owners: impl IntoIterator<Item = &'a Name>, zones: &Zones, most: usize) -> Vec<Site> {
    let mut sites = Vec::new();
    for site in owners.into_iter().filter_map(|owner| site_of(owner, zones)) {
        if sites.len() < most && !sites.contains(&site) {
            sites.push(site);
        }
    }
    sites
}

fn site_of(owner: &Name, zones: &Zones) -> Option<Site> {
    let labels: Vec<&[u8]> = owner.iter().collect();
    let (port, host) = match labels.split_first()? {
        (&b"*", [b"_tcp", host @ ..] | host) => (HTTPS, host),
        (port, [b"_tcp", host @ ..]) => {
            let digits = port.strip_prefix(b"_").filter(|it| it.iter().all(u8::is_ascii_digit))?;
            let digits = std::str::from_utf8(digits).ok()?;
            (digits.parse().ok().filter(|port| *port != 0)?, host)
        }
        _ => return None,
    };
    Site::of(&owner.trim_to(host.len()), port, zones)
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Hides which one it is.
impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Site(..)")
    }
}

/// What a name says of a site.
#[derive(Clone, Debug)]
pub struct PublishedSite {
    keys: Result<PublishedKeys, Failure>,
    target: Result<Target, Failure>,
    /// In how many blocks the first of the names expires whose values said so; `None` where that is not known of each.
    pub expires_in: Option<i64>,
}

/// Why nothing is judged of a site.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unjudged {
    /// There is nothing to judge it by.
    #[error("its name publishes no TLSA record for port {port}, so that no certificate proves who it is")]
    NoKeys {
        /// The port.
        port: u16,
    },
    /// Nor can there be.
    #[error("its name leaves it to nameservers (`ns`), and what they say is not proved by the name")]
    Delegated,
    /// What the name says can't be found out, or is not there.
    #[error(transparent)]
    Name(Failure),
    /// The site shows no certificates that can be judged.
    #[error(transparent)]
    Site(SiteError),
}

impl Unjudged {
    /// Says whether the name has nothing that would be needed. Nobody was connected to then.
    pub const fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::NoKeys { .. } | Self::Delegated | Self::Name(Failure::NoTarget | Failure::NotRegistered)
        )
    }
}

/// What came of holding what a site shows against what its name publishes.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What it shows.
    pub chain: Chain,
    /// What that is worth.
    pub authenticated: Result<Authenticated, Refusal>,
}

/// Says why an answer has no value by which a site could be judged; `None` where it has one.
pub fn absence(answer: &Answer, site: &Site) -> Option<String> {
    match answer {
        answer if answer.value().is_some() => None,
        Answer::Proved(proved) => Some(explanation(&proved.outcome, &site.name)),
        Answer::Stated(_) => Some(format!("the name has no value: {}", quoted(site.name.as_bytes()))),
    }
}

/// Looks up the value of one of the names that a site needs.
///
/// # Errors
///
/// As [`NameService::name_show`].
pub async fn value_of(names: &NameService, id: &IsolationId, name: &NameId) -> NameResult {
    let question = Question {
        name: name.clone(),
        isolation_id: Some(id.clone()),
        allow_expired: false,
        quorum: None,
        max_age: None,
    };
    names.name_show(&question).await
}

/// Returns what the name of a site says of it, with as many lookups as that takes, all of them under one identity; for a
/// connection by this way out.
///
/// # Errors
///
/// As [`NameService::name_show`].
pub async fn published(
    names: &NameService,
    resolver: &Resolver,
    id: &IsolationId,
    site: &Site,
    way_out: &Proxy,
    deadline: Instant,
) -> Result<PublishedSite, ServiceError> {
    let who = names.identity(Some(id));
    let engine = resolver.engine();
    let mut used = BTreeSet::from([site.name.clone()]);
    let step = |known: NameSource<'_>| keys(&engine, &site.host, site.port, &mut noting(&mut used, known));
    let keys = resolver.settle(&who, deadline, step).await;
    let query = TargetQuery {
        name: &site.host,
        // Onion services are behind Tor only.
        target_kind: if *way_out == Proxy::Direct {
            TargetKind::Address
        } else {
            TargetKind::Any
        },
        choice: who.choice(),
    };
    let target = resolver
        .settle(&who, deadline, |known| search(&engine, &query, known))
        .await;
    let mut expires_in = Some(i64::MAX);
    for name in used {
        // They are remembered: nobody is asked again.
        let answer = value_of(names, id, &name).await?;
        if answer.value().is_some() {
            expires_in = expires_in.min(answer.expires_in());
        }
    }
    Ok(PublishedSite {
        keys,
        target,
        expires_in,
    })
}

/// Notes the names that decide, as they are asked for.
fn noting<'a>(used: &'a mut BTreeSet<NameId>, known: NameSource<'a>) -> impl FnMut(&NameId, &Name) -> Found + 'a {
    |name, apex| {
        let found = known(name, apex);
        used.insert(name.clone());
        if let Found::Needs(names) = &found {
            used.extend(names.iter().cloned());
        }
        found
    }
}

/// Connects to a site and judges what it shows. Where there is nothing to judge it by, it is not connected to.
///
/// # Errors
///
/// See [`Unjudged`].
pub async fn judged(
    dialer: &Dialer,
    site: &Site,
    published: &PublishedSite,
    now: Timestamp,
) -> Result<Verdict, Unjudged> {
    let records = match &published.keys {
        Ok(PublishedKeys::Records(records)) => records,
        Ok(PublishedKeys::Nothing) => return Err(Unjudged::NoKeys { port: site.port }),
        Ok(PublishedKeys::Delegated) => return Err(Unjudged::Delegated),
        Err(failure) => return Err(Unjudged::Name(*failure)),
    };
    let at = match published.target.as_ref().map_err(|failure| Unjudged::Name(*failure))? {
        Target::Address(address) => Host::Ip(*address),
        Target::Onion(name) => Host::Name(name.as_str().to_owned()),
        Target::Host(name) => Host::Name(name.clone()),
    };
    let shown = shown_chain(dialer, (at, site.port), &site.host, SiteLimits::default()).await;
    let chain = shown.map_err(Unjudged::Site)?;
    Ok(Verdict {
        authenticated: judge(records, &chain, &site.host, now),
        chain,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_say_which_sites_they_are_about() {
        let about = |owners: &[&str]| {
            let owners: Vec<Name> = owners.iter().map(|it| Name::from_ascii(it).unwrap()).collect();
            let sites = sites(&owners, &Zones::default(), 3);
            sites.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        for (owner, site) in [
            ("_443._tcp.example.bit.", Some("example.bit:443")),
            ("_8443._tcp.www.Example.bit.", Some("www.example.bit:8443")),
            ("*._tcp.example.bit.", Some("example.bit:443")),
            ("*.example.bit.", Some("example.bit:443")),
            ("_0._tcp.example.bit.", None),
            ("_65536._tcp.example.bit.", None),
            ("_4a3._tcp.example.bit.", None),
            ("_._tcp.example.bit.", None),
            ("_443._udp.example.bit.", None),
            ("_443._tcp.*.example.bit.", None),
            ("_443._tcp.bit.", None),
            ("_443._tcp.example.com.", None),
            ("example.bit.", None),
            ("*.bit.", None),
            (".", None),
        ] {
            assert_eq!(about(&[owner]).first().map(String::as_str), site, "{owner}");
        }
        let many = [
            "_1._tcp.a.bit.",
            "_1._tcp.a.bit.",
            "_2._tcp.a.bit.",
            "*.a.bit.",
            "_3._tcp.a.bit.",
        ];
        assert_eq!(about(&many), ["a.bit:1", "a.bit:2", "a.bit:443"]);
    }
}

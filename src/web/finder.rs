//! Has looked up what a session asks for.

use std::time::Duration;

use hickory_proto::rr::{Name, RecordType};
use tokio::time::{Instant, timeout};

use super::asked::Asked;
use super::proof::{Found, MAX_SITES, Records};
use super::site::Judged;
use crate::dns::engine::{self, Found as Domain};
use crate::dns::listing::{Entry, at_and_below};
use crate::dns::lookup_result::LookupResult;
use crate::dns::records::LookedUp;
use crate::dns::resolver::{Anonymous, Limits, Resolver, Settings};
use crate::dns::sign::Signers;
use crate::dns::zone;
use crate::isolation::IsolationId;
use crate::name::{NameId, NameValue};
use crate::naming::site::{Site, absence, judged, published, sites, value_of};
use crate::net::Dialer;
use crate::node::{Handle, NodeError};
use crate::service::{Caller, CallerLimits, NameService, Question, ServiceError};

/// How long a lookup waits for headers that are being fetched. Its page says meanwhile how far they are.
const WAIT_FOR_HEADERS: Duration = Duration::from_secs(60 * 60);

/// How long the names are looked up whose values a value imports.
const IMPORT_PATIENCE: Duration = Duration::from_secs(60);

/// How long a site is checked: as long as its name may take, and the connection to it, and its handshake.
const CHECK_TIME: Duration = Duration::from_secs(180);

/// What all sessions together may have in work: some dozens of people, or one who is in a hurry.
const LIMITS: CallerLimits = CallerLimits {
    lookups: 64,
    lookups_of_one: 32,
    lookups_of_client: 64,
};

/// Looks names up for the page.
pub(super) struct Finder {
    names: NameService,
    resolver: Resolver,
    node: Handle,
}

impl Finder {
    pub(super) fn new(names: &NameService, node: Handle, engine: engine::Settings) -> Self {
        let names = names.for_caller(Caller::Web, LIMITS);
        let settings = Settings {
            engine,
            signers: Signers::new(Vec::new()),
            limits: Limits {
                patience: IMPORT_PATIENCE,
                caller: LIMITS,
                ..Limits::default()
            },
            anonymous: Anonymous::Together,
        };
        Self {
            resolver: Resolver::new(names.clone(), settings),
            names,
            node,
        }
    }

    /// Forgets an identity, and what was looked up under it.
    pub(super) async fn forget(&self, identity: &IsolationId) {
        self.names.forget(Some(identity)).await;
    }

    /// Counts how often all identities of the process were forgotten.
    pub(super) fn renewals(&self) -> u64 {
        self.names.renewals()
    }

    /// Looks a name up under an identity.
    pub(super) async fn find(&self, identity: &IsolationId, asked: Asked) -> Found {
        let question = Question {
            name: asked.name.clone(),
            isolation_id: Some(identity.clone()),
            allow_expired: false,
            quorum: None,
            max_age: None,
        };
        // Where none can be had the lookup says why.
        if matches!(self.node.check_ready(), Err(NodeError::Syncing { .. })) {
            let _ = timeout(WAIT_FOR_HEADERS, self.node.synced(|_| ())).await;
        }
        let explained = self.names.explain(&question).await.map_err(|error| error.to_string());
        let value = explained.as_ref().ok().and_then(|it| NameValue::new(it.value()?));
        let records = match (&asked.domain, value) {
            (Some(domain), Some(value)) => self.records(identity, domain, &asked.name, value).await,
            _ => None,
        };
        Found {
            name: asked.name.as_bytes().to_vec(),
            explained,
            records,
        }
    }

    /// Connects to a site and judges what it shows by what its name publishes, under an identity: the name is looked up on its
    /// connections, and the connection to the site is nobody's else.
    pub(super) async fn check(&self, identity: &IsolationId, site: &Site) -> Judged {
        let judged = timeout(CHECK_TIME, self.judged(identity, site)).await;
        judged.unwrap_or_else(|_| {
            Judged::not_looked_up(format!("that was not done within {} seconds", CHECK_TIME.as_secs()))
        })
    }

    async fn judged(&self, identity: &IsolationId, site: &Site) -> Judged {
        let way_out = self.node.proxy();
        let published = async {
            let answer = value_of(&self.names, identity, &site.name).await?;
            if let Some(absence) = absence(&answer, site) {
                return Ok(Err(absence));
            }
            let deadline = Instant::now() + IMPORT_PATIENCE;
            let (names, resolver) = (&self.names, &self.resolver);
            let published = published(names, resolver, identity, site, &way_out, deadline).await?;
            Ok::<_, ServiceError>(Ok(published))
        };
        let published = match published.await {
            Ok(Ok(published)) => published,
            Ok(Err(absence)) => return Judged::Unjudgeable(absence),
            Err(error) => return Judged::not_looked_up(error.to_string()),
        };
        let dialer = match Dialer::new(way_out) {
            Ok(dialer) => dialer,
            Err(error) => return Judged::not_looked_up(error.to_string()),
        };
        let now = self.node.clock().now().wall;
        match judged(&dialer, site, &published, now).await {
            Ok(verdict) => Judged::of(&verdict.authenticated),
            Err(unjudged) => Judged::not(&unjudged),
        }
    }

    /// Makes the records of a value, with what it imports from other names' under the same identity.
    async fn records(&self, identity: &IsolationId, domain: &Name, name: &NameId, value: NameValue) -> Option<Records> {
        let zones = &self.resolver.engine().zones;
        let apex = zones.find(domain)?.at(1);
        let unreadable = || {
            let built = zone::build(name, &value, &apex, &std::collections::BTreeMap::new());
            built.err().map(|error| error.to_string())
        };
        let own: LookedUp = [(name.clone(), LookupResult::Value(value.clone()))]
            .into_iter()
            .collect();
        let who = self.names.identity(Some(identity));
        let deadline = Instant::now() + IMPORT_PATIENCE;
        let built = self
            .resolver
            .settle_with(own, &who, deadline, |known| match known(name, &apex) {
                Domain::Needs(names) => Err(names),
                Domain::Domain(domain, _) => Ok(Ok(domain)),
                Domain::Absent(..) | Domain::Failed(_) | Domain::Unreadable(_) => Ok(Err(unreadable())),
            })
            .await;
        let mut records = Records {
            domain: domain.to_ascii(),
            ..Records::default()
        };
        match built {
            Ok(built) => {
                let entries = at_and_below(zones, domain, &built).unwrap_or_default();
                let keys = || entries.iter().filter(|it| it.record.record_type() == RecordType::TLSA);
                records.keys = keys().map(Entry::line).collect();
                records.sites = sites(keys().map(|it| &it.record.name), zones, MAX_SITES);
                records.lines = entries.iter().map(Entry::line).collect();
                records.problems = built.problems().iter().map(ToString::to_string).collect();
            }
            Err(reason) => {
                let failed = || "what it imports from other names could not be looked up".to_owned();
                records.problems.push(reason.unwrap_or_else(failed));
            }
        }
        Some(records)
    }
}

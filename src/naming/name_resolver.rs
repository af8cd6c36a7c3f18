//! Finds what names stand for, each under an isolation ID, with as many lookups as that takes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::name::{folded, is_below, onion_only};
use super::search::{TargetQuery, search};
use super::target::{Failure, Target, TargetKind};
use crate::dns::engine;
use crate::dns::resolver::{Anonymous, Limits, Resolver, Settings};
use crate::dns::sign::Signers;
use crate::isolation::IsolationId;
use crate::service::{Caller, CallerLimits, NameService};

/// The suffix of names that are resolved.
pub const SUFFIX: &str = "bit";

/// How long a name is looked up, again and again where that can help. Source: StemNS, which gives a name up after it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before a lookup that failed is tried again. Source: StemNS.
const PAUSE: Duration = Duration::from_secs(1);

/// How long nobody may be there to ask until lookups fail at once: as long as a daemon takes to be started anew.
pub const RESTART: Duration = Duration::from_secs(5);

/// Finds what names stand for.
#[derive(Clone, Debug)]
pub struct NameResolver {
    names: NameService,
    resolver: Arc<Resolver>,
    patience: Duration,
}

impl NameResolver {
    /// Makes a resolver that has its names looked up by `names`, as the caller of streams' names.
    pub fn new(names: &NameService, patience: Duration) -> Self {
        let limits = Limits {
            patience,
            ..Limits::default()
        };
        let caller = CallerLimits {
            lookups_of_one: limits.caller.lookups_of_one,
            lookups_of_client: limits.caller.lookups_of_client,
            ..names.limits()
        };
        let names = names.for_caller(Caller::Streams, caller);
        let settings = Settings {
            engine: engine::Settings::default(),
            signers: Signers::new(Vec::new()),
            limits,
            anonymous: Anonymous::Together,
        };
        Self {
            resolver: Arc::new(Resolver::new(names.clone(), settings)),
            names,
            patience,
        }
    }

    /// Says whether a name is for this to resolve: in `.bit`, or in `.bit.onion`.
    pub fn handles(name: &str) -> bool {
        let name = folded(name);
        is_below(onion_only(&name).unwrap_or(&name), SUFFIX)
    }

    /// Finds what a name stands for, under an isolation ID; `None` is the default identity. Failures that may pass are
    /// waited out, as long as there is time, but not where nobody has been there to ask for [`RESTART`].
    ///
    /// It can be dropped at any time. Lookups that it began go on for whoever asks next.
    pub async fn resolve(
        &self,
        name: &str,
        target_kind: TargetKind,
        id: Option<&IsolationId>,
    ) -> Result<Target, Failure> {
        let deadline = Instant::now() + self.patience;
        let name = folded(name);
        let (name, target_kind) = match onion_only(&name) {
            Some(_) if target_kind == TargetKind::Address => return Err(Failure::NoTarget),
            Some(name) => (name, TargetKind::Onion),
            None => (&*name, target_kind),
        };
        let who = self.names.identity(id);
        let query = TargetQuery {
            name,
            target_kind,
            choice: who.choice(),
        };
        let settings = self.resolver.engine();
        loop {
            let step = |known: &mut dyn FnMut(&_, &_) -> _| search(&settings, &query, known);
            let found = self.resolver.settle(&who, deadline, step).await;
            match found {
                Err(failure) if failure.is_transient() => {
                    let is_deserted = self.names.nobody_for().is_some_and(|time| time >= RESTART);
                    if is_deserted || timeout_at(deadline, sleep(PAUSE)).await.is_err() {
                        return Err(failure);
                    }
                }
                found => return found,
            }
        }
    }

    /// Counts how often all identities were forgotten in this process.
    pub fn renewals(&self) -> u64 {
        self.names.renewals()
    }

    /// Forgets isolation IDs, here and where their lookups went.
    pub async fn forget(&self, ids: Vec<IsolationId>) {
        for id in ids {
            self.names.forget(Some(&id)).await;
        }
    }
}

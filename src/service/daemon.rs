//! A node that runs, with the service before it.

use std::sync::{Arc, Mutex, PoisonError};

use super::{CacheSettings, Caller, NameService, ResultCache};
use crate::chain::sync::HeaderSyncLimits;
use crate::name::lookup::LookupSettings;
use crate::net::pool;
use crate::node::{self, Handle, Node, NodeError, NodeSettings};

/// How a daemon goes about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DaemonSettings {
    /// Header sync.
    pub sync: HeaderSyncLimits,
    /// Connections of lookups.
    pub pool: pool::PoolSettings,
    /// Lookups.
    pub lookup: LookupSettings,
    /// Most lookups and histories at a time for each front, whether somebody waits for them still or not; more are refused.
    pub lookups: usize,
    /// Results that are remembered.
    pub cache: CacheSettings,
    /// Whether each request without an isolation ID is an identity of its own. Otherwise all of them are one, as with
    /// Electrum-NMC.
    pub isolate_anonymous: bool,
    /// The fronts that run: connections that are opened ahead are dealt among them.
    pub fronts: Fronts,
    /// Whether a question that comes before the headers are up to date is asked at once and waits for them. Otherwise it is
    /// refused.
    pub asks_beside_sync: bool,
}

/// Some of the fronts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fronts([bool; Caller::ALL.len()]);

impl Fronts {
    /// Makes the set of these.
    pub fn of(callers: &[Caller]) -> Self {
        Self(Caller::ALL.map(|caller| callers.contains(&caller)))
    }

    fn all(self) -> impl Iterator<Item = Caller> {
        let callers = Caller::ALL.into_iter().zip(self.0);
        callers.filter_map(|(caller, runs)| runs.then_some(caller))
    }

    /// Returns the place of a front among them, from 0.
    pub(super) fn part_of(self, caller: Caller) -> Option<u8> {
        let found = (0..).zip(self.all()).find(|(_, it)| *it == caller);
        found.map(|(place, _)| place)
    }

    fn len(self) -> u8 {
        self.all().map(|_| 1).sum()
    }
}

impl Default for Fronts {
    /// Commands and programs alone.
    fn default() -> Self {
        Self::of(&[Caller::Program])
    }
}

impl Default for DaemonSettings {
    fn default() -> Self {
        Self {
            sync: HeaderSyncLimits::default(),
            pool: pool::PoolSettings::default(),
            lookup: LookupSettings::default(),
            // As many as JSON-RPC lets callers have at once.
            lookups: 1024,
            cache: CacheSettings::default(),
            isolate_anonymous: false,
            fronts: Fronts::default(),
            asks_beside_sync: false,
        }
    }
}

/// What the fronts of a running node are made from.
#[derive(Clone, Debug)]
pub struct Daemon {
    /// The way to names.
    pub names: NameService,
    /// The node itself: how it stands, its headers, its end.
    pub node: Handle,
}

/// Runs a node until its fronts end. They get it before anything is synchronised, and end when [`Handle::stopped`] says
/// so.
///
/// # Errors
///
/// That of the fronts.
pub async fn run_daemon<F>(
    node: Node,
    settings: &DaemonSettings,
    fronts: impl FnOnce(Daemon) -> F,
) -> Result<(), NodeError>
where
    F: Future<Output = Result<(), NodeError>>,
{
    let cache = Arc::new(Mutex::new(ResultCache::new(settings.cache)));
    let forgotten = {
        let cache = Arc::clone(&cache);
        move |id| cache.lock().unwrap_or_else(PoisonError::into_inner).forget(Some(id))
    };
    let of_node = NodeSettings {
        sync: settings.sync,
        pool: pool::PoolSettings {
            parts: settings.fronts.len().max(1),
            ..settings.pool
        },
        lookup: settings.lookup,
        asks_beside_sync: settings.asks_beside_sync,
    };
    node::run(node, &of_node, forgotten, |node| {
        let names = NameService::local(node.clone(), cache, settings);
        fronts(Daemon { names, node })
    })
    .await
}

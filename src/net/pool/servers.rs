//! Which server the next connection goes to.

use rand::Rng;
use rand::rngs::StdRng;

use super::{ServerIndex, Settings, Trouble};
use crate::time::Moment;

/// What is known of one server; in memory only, gone with the process.
#[derive(Clone, Debug, Default)]
struct Standing {
    failures: u32,
    not_before: Moment,
    useless: bool,
}

/// All servers and how they stand.
#[derive(Debug)]
pub(super) struct Servers(Vec<Standing>);

impl Servers {
    pub(super) fn new(count: usize) -> Self {
        Self(vec![Standing::default(); count])
    }

    pub(super) fn any_useful(&self) -> bool {
        self.0.iter().any(|server| !server.useless)
    }

    pub(super) fn succeeded(&mut self, server: ServerIndex) {
        if let Some(standing) = self.0.get_mut(server.0) {
            standing.failures = 0;
            standing.not_before = Moment::default();
        }
    }

    /// Notes a failure: the server is left alone for a while that doubles each time and is cut at random, so that
    /// servers that failed together don't come back together.
    pub(super) fn failed(
        &mut self,
        server: ServerIndex,
        trouble: Trouble,
        now: Moment,
        settings: &Settings,
        rng: &mut StdRng,
    ) {
        let Some(standing) = self.0.get_mut(server.0) else {
            return;
        };
        standing.useless |= trouble == Trouble::Useless;
        let doubled = settings.back_off.saturating_mul(1 << standing.failures.min(16));
        standing.failures = standing.failures.saturating_add(1);
        standing.not_before = now + doubled.min(settings.back_off_max).mul_f64(rng.random_range(0.5..1.0));
    }

    /// Returns the earliest moment at which a server that is left alone may be tried again.
    pub(super) fn next_try(&self, now: Moment) -> Option<Moment> {
        let rested = self
            .0
            .iter()
            .filter(|server| !server.useless)
            .map(|server| server.not_before);
        rested.filter(|at| *at > now).min()
    }

    /// Chooses among the servers that may be tried now the one with the least `load`, by chance among equals.
    pub(super) fn choose(
        &self,
        now: Moment,
        load: impl Fn(ServerIndex) -> usize,
        rng: &mut StdRng,
    ) -> Option<ServerIndex> {
        let usable = |server: &Standing| !server.useless && server.not_before <= now;
        let indexes = self
            .0
            .iter()
            .enumerate()
            .filter(|(_, server)| usable(server))
            .map(|(at, _)| ServerIndex(at));
        indexes.min_by_key(|server| (load(*server), rng.random::<u32>()))
    }
}

//! Which server the next connection goes to.

use rand::Rng;
use rand::rngs::StdRng;

use super::{ServerIndex, Settings, Trouble};
use crate::time::Moment;

/// How many connections that are ready a failing server's past weighs at most, when the next one is spread: it is tried
/// again, but not before the others have theirs.
const MOST_WEIGHT: u32 = 2;

/// What is known of one server; in memory only, gone with the process.
#[derive(Clone, Debug, Default)]
struct Standing {
    failures: u32,
    not_before: Moment,
}

/// All servers and how they stand.
#[derive(Debug)]
pub(super) struct Servers(Vec<Standing>);

impl Servers {
    pub(super) fn new(count: usize) -> Self {
        Self(vec![Standing::default(); count])
    }

    /// Says whether any server may be tried now.
    pub(super) fn any_ready(&self, now: Moment) -> bool {
        self.next_try().is_some_and(|at| at <= now)
    }

    pub(super) fn succeeded(&mut self, server: ServerIndex) {
        if let Some(standing) = self.0.get_mut(server.0) {
            standing.failures = 0;
            standing.not_before = Moment::default();
        }
    }

    /// Notes a failure: the server is left alone for a while that doubles each time and is cut at random, so that
    /// servers that failed together don't come back together. One that is of no use is left alone for the longest
    /// time, but not for ever: who sits between us and it could make it look so.
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
        let useless = trouble == Trouble::Useless;
        // Connections that were under way together fail together: that is one failure.
        if standing.not_before > now && !useless {
            return;
        }
        let doubled = settings.back_off.saturating_mul(1 << standing.failures.min(16));
        let longest = settings.back_off_max;
        standing.failures = standing.failures.saturating_add(1);
        let rest = if useless { longest } else { doubled.min(longest) };
        standing.not_before = now + rest.mul_f64(rng.random_range(0.5..1.0));
    }

    /// Returns the earliest moment at which a server may be tried, which may be past; `None` when there is no server.
    pub(super) fn next_try(&self) -> Option<Moment> {
        self.0.iter().map(|server| server.not_before).min()
    }

    /// Chooses among the servers that may be tried now the one with the least `load`, by chance among equals.
    pub(super) fn choose(
        &self,
        now: Moment,
        load: impl Fn(ServerIndex) -> usize,
        rng: &mut StdRng,
    ) -> Option<ServerIndex> {
        let ready = self.0.iter().enumerate().filter(|(_, it)| it.not_before <= now);
        let weighed = ready.map(|(at, it)| {
            let weight = load(ServerIndex(at)) + it.failures.min(MOST_WEIGHT) as usize;
            ((weight, rng.random::<u32>()), ServerIndex(at))
        });
        weighed.min().map(|(_, server)| server)
    }
}

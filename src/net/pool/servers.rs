//! Which server the next connection goes to.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::{ServerIndex, Settings, Trouble};
use crate::time::Moment;

/// How many connections that are ready a failing server's past weighs at most, when the next one is spread: it is tried
/// again, but not before the others have theirs.
const MOST_WEIGHT: u32 = 2;

/// The pause before a server that could not be reached is tried again while a lookup waits for it: no back-off is to
/// keep people from a server that is back, and a server that is down costs them a short wait only.
const URGENT_REST: Duration = Duration::from_secs(3);

/// What is known of one server; in memory only, gone with the process.
#[derive(Clone, Debug, Default)]
struct Standing {
    failures: u32,
    /// Not to be tried before, by the pool's own clock.
    not_before: Moment,
    /// Not to be tried before, for a lookup that waits.
    not_urgently_before: Moment,
}

impl Standing {
    fn not_before(&self, urgent: bool) -> Moment {
        if urgent {
            self.not_urgently_before
        } else {
            self.not_before
        }
    }
}

/// All servers and how they stand.
#[derive(Debug)]
pub(super) struct Servers(Vec<Standing>);

impl Servers {
    pub(super) fn new(count: usize) -> Self {
        Self(vec![Standing::default(); count])
    }

    pub(super) fn succeeded(&mut self, server: ServerIndex) {
        if let Some(standing) = self.0.get_mut(server.0) {
            *standing = Standing::default();
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
        let longest = settings.back_off_max;
        let mut rest = |rest: Duration| now + rest.mul_f64(rng.random_range(0.5..1.0));
        if useless {
            standing.failures = standing.failures.saturating_add(1);
            standing.not_before = rest(longest);
            standing.not_urgently_before = standing.not_before;
            return;
        }
        // Connections that were under way together fail together: that is one failure. What was tried for a lookup
        // before its time says nothing new either.
        if standing.not_before <= now {
            let doubled = settings.back_off.saturating_mul(1 << standing.failures.min(16));
            standing.failures = standing.failures.saturating_add(1);
            standing.not_before = rest(doubled.min(longest));
        }
        let urgent = rest(URGENT_REST).max(standing.not_urgently_before);
        standing.not_urgently_before = urgent.min(standing.not_before);
    }

    fn others(&self, avoided: &BTreeSet<ServerIndex>) -> impl Iterator<Item = (ServerIndex, &Standing)> {
        let all = self.0.iter().enumerate().map(|(at, it)| (ServerIndex(at), it));
        all.filter(|(server, _)| !avoided.contains(server))
    }

    /// Returns the earliest moment at which another server than the avoided ones may be tried, which may be past; `None`
    /// when there is none.
    pub(super) fn next_try(&self, urgent: bool, avoided: &BTreeSet<ServerIndex>) -> Option<Moment> {
        self.others(avoided).map(|(_, it)| it.not_before(urgent)).min()
    }

    /// Chooses among the servers that may be tried now the one with the least `load`, by chance among equals. One that
    /// may only be tried for a lookup is the last resort.
    pub(super) fn choose(
        &self,
        now: Moment,
        urgent: bool,
        avoided: &BTreeSet<ServerIndex>,
        load: impl Fn(ServerIndex) -> usize,
        rng: &mut StdRng,
    ) -> Option<ServerIndex> {
        let urgent = urgent && self.next_try(false, avoided).is_none_or(|at| at > now);
        let ready = self.others(avoided).filter(|(_, it)| it.not_before(urgent) <= now);
        let weighed = ready.map(|(server, it)| {
            let weight = load(server) + it.failures.min(MOST_WEIGHT) as usize;
            ((weight, rng.random::<u32>()), server)
        });
        weighed.min().map(|(_, server)| server)
    }
}

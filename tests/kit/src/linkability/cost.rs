//! What it costs.

use super::users::Observed;

/// Figures for one daemon, on average.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Connections for lookups that are opened an hour.
    pub opened: f64,
    /// The same for header sync.
    pub sync: f64,
    /// Clean connections at a time.
    pub clean: f64,
    /// Part of the first uses that opened a connection of their own.
    pub own: f64,
    /// Median and 99th percentile of an ID's first lookup, in seconds.
    pub median: f64,
    pub slow: f64,
    /// Lookups that found nothing.
    pub lost: usize,
}

impl Cost {
    pub fn of(runs: &[Observed], daemons: usize) -> Self {
        let mut cost = Self::default();
        let (mut hours, mut visits, mut times) = (0.0, 0, Vec::new());
        for run in runs {
            hours += (run.to - run.from) / 3600.0 * daemons as f64;
            for seen in &run.record.seen {
                let is_new = f64::from(u8::from(seen.opened >= run.from));
                if seen.is_sync() {
                    cost.sync += is_new;
                    continue;
                }
                cost.opened += is_new;
                let end = seen.first_use().or(seen.closed_at()).unwrap_or(run.to).min(run.to);
                cost.clean += (end - seen.opened.max(run.from)).max(0.0) / 3600.0;
            }
            let first = run.visits();
            cost.own += first.iter().filter(|visit| visit.is_own).count() as f64;
            visits += first.len();
            let mut known = std::collections::BTreeSet::new();
            times.extend(
                run.uses
                    .iter()
                    .filter(|it| known.insert(it.id))
                    .filter_map(|it| it.took),
            );
            // Those of the last minute may be under way.
            let over = run.uses.iter().filter(|it| it.asked < run.to - 60.0);
            cost.lost += over.filter(|it| it.took.is_none()).count();
        }
        times.sort_by(f64::total_cmp);
        let quantile = |part: f64| {
            times
                .get((times.len() as f64 * part) as usize)
                .copied()
                .unwrap_or(f64::NAN)
        };
        Self {
            opened: cost.opened / hours,
            sync: cost.sync / hours,
            clean: cost.clean / hours,
            own: cost.own / visits as f64,
            median: quantile(0.5),
            slow: quantile(0.99),
            lost: cost.lost,
        }
    }
}

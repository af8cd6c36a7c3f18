//! Which of header sync's troubles are worth a line in the log: each reason once for a while.

use std::time::Duration;

use super::handle::SyncTrouble;
use crate::time::Moment;

/// How long no more is said of what was said already.
const TELL_AGAIN: Duration = Duration::from_secs(3600);

/// How long a trouble lasts before it is told: by then a Tor that tells has been asked what it knows of it.
const FIRST_AFTER: Duration = Duration::from_secs(3);

/// The shortest time between two lines: what changes faster is told as it is then.
const GAP: Duration = Duration::from_secs(10);

/// After so long without trouble the next one is another.
const OVER_AFTER: Duration = Duration::from_secs(60);

/// Most reasons that are remembered.
const REASONS: usize = 16;

/// Remembers what was told.
#[derive(Debug, Default)]
pub(super) struct TroubleLog {
    /// Each reason, and when it was told; the oldest first.
    told: Vec<(String, Moment)>,
    /// Since when there is trouble.
    since: Option<Moment>,
    /// When there last was.
    last: Moment,
}

impl TroubleLog {
    /// Takes how header sync stands, each second or so, and returns the line that is due.
    pub(super) fn line(&mut self, now: Moment, trouble: Option<&SyncTrouble>) -> Option<String> {
        let Some(trouble) = trouble else {
            self.since = None;
            if now.since(self.last) >= OVER_AFTER {
                self.told.clear();
            }
            return None;
        };
        self.last = now;
        let since = *self.since.get_or_insert(now);
        self.told.retain(|(_, at)| now.since(*at) < TELL_AGAIN);
        let is_known = self.told.iter().any(|(reason, _)| reason == trouble.reason());
        let is_soon = self.told.last().is_some_and(|(_, at)| now.since(*at) < GAP);
        if is_known || is_soon || now.since(since) < FIRST_AFTER {
            return None;
        }
        if self.told.len() >= REASONS {
            self.told.remove(0);
        }
        self.told.push((trouble.reason().to_owned(), now));
        Some(format!("{trouble}; trying again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    fn alone(reason: &str) -> SyncTrouble {
        SyncTrouble::NoConnection(reason.to_owned())
    }

    /// Returns how many lines come of a trouble that lasts this long.
    fn lines(log: &mut TroubleLog, during: std::ops::Range<u64>, trouble: &SyncTrouble) -> usize {
        during
            .filter_map(|second| log.line(seconds(second), Some(trouble)))
            .count()
    }

    #[test]
    fn a_reason_is_told_within_seconds_and_again_after_an_hour() {
        let mut log = TroubleLog::default();
        assert_eq!(lines(&mut log, 2..5, &alone("none answers")), 0, "a Tor may know more");
        let line = log.line(seconds(5), Some(&alone("Tor sleeps"))).unwrap();
        assert_eq!(line, "no connection to a server: Tor sleeps; trying again");
        assert_eq!(lines(&mut log, 6..3605, &alone("Tor sleeps")), 0);
        assert_eq!(lines(&mut log, 3605..3700, &alone("Tor sleeps")), 1);
    }

    #[test]
    fn the_same_reason_is_not_told_twice_since_all_servers_were_tried() {
        let mut log = TroubleLog::default();
        assert_eq!(lines(&mut log, 5..60, &alone("all 7 servers: no proxy")), 1);
        let tried = SyncTrouble::NoServer("all 7 servers: no proxy".to_owned());
        assert_eq!(lines(&mut log, 60..300, &tried), 0);
        let other = SyncTrouble::NoServer("all 7 servers: closed".to_owned());
        assert_eq!(lines(&mut log, 300..600, &other), 1);
        assert_eq!(lines(&mut log, 600..900, &tried), 0, "nor when it comes back");
    }

    #[test]
    fn what_changes_fast_is_told_now_and_then() {
        let mut log = TroubleLog::default();
        let told: Vec<String> = (0..40)
            .filter_map(|second| log.line(seconds(second), Some(&alone(&format!("{second} %")))))
            .collect();
        assert_eq!(told.len(), 4, "{told:?}");
        for second in 40..2000 {
            log.line(seconds(second), Some(&alone(&format!("{second} %"))));
            assert!(log.told.len() <= REASONS);
        }
    }

    #[test]
    fn another_outage_is_told_again_and_a_flapping_one_is_not() {
        let mut log = TroubleLog::default();
        let trouble = alone("Tor sleeps");
        assert_eq!(lines(&mut log, 2..10, &trouble), 1);
        for second in 10..60 {
            assert_eq!(log.line(seconds(second), None), None);
        }
        assert_eq!(lines(&mut log, 60..90, &trouble), 0);
        for second in 90..151 {
            assert_eq!(log.line(seconds(second), None), None);
        }
        assert_eq!(lines(&mut log, 151..170, &trouble), 1);
    }
}

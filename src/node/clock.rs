//! Where the clocks are read.
#![expect(clippy::disallowed_methods, reason = "this is the edge where clocks enter")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::time::{Moment, Now, Timestamp};

/// Reads both clocks; the steady one counts from when this was made, and is the runtime's.
#[derive(Clone, Debug)]
pub struct Clock {
    started: Instant,
    virtual_time: Option<Arc<VirtualTime>>,
}

/// A wall clock that does not ask the system: it goes with the runtime's clock, which may be paused, and can be stepped.
#[derive(Debug)]
pub struct VirtualTime {
    begun: Instant,
    /// What the wall clock would have shown in the beginning, in seconds.
    wall: AtomicU64,
    /// By how much the steady clock is ahead of the runtime's, in milliseconds.
    ahead: AtomicU64,
}

impl VirtualTime {
    /// Begins at a time of the wall clock.
    pub fn starting_at(wall: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            wall: AtomicU64::new(wall.0),
            ahead: AtomicU64::new(0),
        })
    }

    /// Steps the wall clock by so many seconds.
    pub fn step_wall(&self, seconds: i64) {
        let wall = self.wall.load(Ordering::Relaxed).saturating_add_signed(seconds);
        self.wall.store(wall, Ordering::Relaxed);
    }

    /// Steps the steady clock forward, as systems do that count the time for which they were suspended.
    pub fn step_steady(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.ahead.fetch_add(by, Ordering::Relaxed);
    }

    fn wall(&self) -> u64 {
        self.wall.load(Ordering::Relaxed) + self.begun.elapsed().as_secs()
    }

    fn ahead(&self) -> Duration {
        Duration::from_millis(self.ahead.load(Ordering::Relaxed))
    }
}

/// Returns a time in seconds; `None` before 1970, which no chain and no certificate knows.
fn seconds(time: SystemTime) -> Option<u64> {
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// Says whether the system's clock can be worked with at all.
pub(super) fn is_usable() -> bool {
    seconds(SystemTime::now()).is_some()
}

impl Clock {
    /// Makes a clock whose steady time begins now.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            virtual_time: None,
        }
    }

    /// Makes a clock that does not ask the system for the time.
    #[doc(hidden)]
    pub fn start_virtual(time: Arc<VirtualTime>) -> Self {
        Self {
            started: Instant::now(),
            virtual_time: Some(time),
        }
    }

    fn ahead(&self) -> Duration {
        self.virtual_time.as_ref().map_or(Duration::ZERO, |time| time.ahead())
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        // It was right at the start. Where it is set back since, headers are of the future until it is right again.
        let system = || seconds(SystemTime::now()).unwrap_or_default();
        let wall = self.virtual_time.as_ref().map_or_else(system, |time| time.wall());
        let steady = self.started.elapsed().saturating_add(self.ahead());
        Now {
            wall: Timestamp(wall),
            steady: Moment(u64::try_from(steady.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// Turns a moment into the runtime's own clock.
    pub(super) fn instant(&self, moment: Moment) -> Instant {
        let since_start = Duration::from_millis(moment.0).saturating_sub(self.ahead());
        self.started.checked_add(since_start).unwrap_or(self.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_is_none() {
        assert_eq!(seconds(UNIX_EPOCH), Some(0));
        assert_eq!(seconds(UNIX_EPOCH - Duration::from_nanos(1)), None);
        assert!(is_usable());
    }
}

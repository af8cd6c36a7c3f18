//! Where the clocks are read.
#![expect(clippy::disallowed_methods, reason = "this is the edge where clocks enter")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::time::{Moment, Now, Timestamp};

/// Reads both clocks; the steady one counts from when this was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// Makes a clock whose steady time begins now.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let steady = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now {
            wall: Timestamp(wall),
            steady: Moment(steady),
        }
    }

    /// Turns a moment into the runtime's own clock.
    pub(super) fn instant(&self, moment: Moment) -> tokio::time::Instant {
        let started = tokio::time::Instant::from_std(self.started);
        started
            .checked_add(std::time::Duration::from_millis(moment.0))
            .unwrap_or(started)
    }
}

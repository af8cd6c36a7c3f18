//! Points in time, as values that the edge reads and hands in.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

use rand::Rng;

/// Seconds since the Unix epoch: block times and the wall clock that they are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Returns the whole seconds from `earlier` to `self`, zero when `earlier` is later.
    pub fn seconds_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds on a clock that never jumps back, since an arbitrary start: time-outs are counted in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// Returns the time from `earlier` to `self`, zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Returns the moment that lies so much earlier, at the least the start.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

/// The least pause between two of anything, so that a pause which chance makes too short to count is one still.
pub const LEAST_PAUSE: Duration = Duration::from_millis(1);

/// Draws a pause before something that happens at random moments, so often on average: exponentially distributed.
pub fn random_pause(mean: Duration, rng: &mut impl Rng) -> Duration {
    // 1 − u lies in (0, 1], so the logarithm is finite.
    let u: f64 = rng.random();
    let seconds = mean.as_secs_f64() * -(1.0 - u).ln();
    Duration::try_from_secs_f64(seconds)
        .unwrap_or(Duration::MAX)
        .max(LEAST_PAUSE)
}

/// Both clocks, read together at the edge and handed to a machine with each event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The wall clock.
    pub wall: Timestamp,
    /// The steady clock.
    pub steady: Moment,
}

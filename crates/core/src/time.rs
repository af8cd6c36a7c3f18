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

/// Shows the date and time, as `2026-11-27 18:05 UTC`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: u64 = 86_400;
        let (year, month, day) = date(self.0 / DAY);
        let minute = self.0 % DAY / 60;
        let (hour, minute) = (minute / 60, minute % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
    }
}

/// Returns the year, the month and the day of the month, of a day that is counted from 1970-01-01.
///
/// Years are counted from March on, so that a leap day is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_BEFORE_1970: u64 = 719_468;
    const FOUR_CENTURIES: u64 = 146_097;
    let days = days.saturating_add(DAYS_BEFORE_1970);
    let (era, day) = (days / FOUR_CENTURIES, days % FOUR_CENTURIES);
    let leap_days = day / 1_460 - day / 36_524 + day / (FOUR_CENTURIES - 1);
    let year = (day - leap_days) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day_of_month)
}

/// A number of seconds, shown to people in the unit in which it is easily grasped, as `3 days`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 5] = [
            (365 * 86_400, "years"),
            (86_400, "days"),
            (3_600, "hours"),
            (60, "minutes"),
            (1, "seconds"),
        ];
        let seconds = self.0;
        let (length, unit) = UNITS
            .into_iter()
            .find(|(length, _)| seconds / 2 >= *length)
            .unwrap_or((1, "seconds"));
        match (seconds / length, unit) {
            (1, "seconds") => f.write_str("1 second"),
            (count, unit) => write!(f, "{count} {unit}"),
        }
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

/// How much further than the steady clock the wall clock must have gone for the machine to have slept: it counts in whole
/// seconds, and is set right by little all the time.
const SLEPT: Duration = Duration::from_secs(3);

/// Time for what is true for so long and no longer: the steady clock, and all that it missed. On most systems it stands
/// still while the machine sleeps, so that what was learnt an hour ago would look a minute old. A wall clock that is set
/// forward counts as sleep; one that is set back changes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct AgingTime {
    since: Option<Now>,
    slept: Duration,
}

impl AgingTime {
    /// Returns the moment that it is. It is never before one that was returned earlier, where the steady clock is not.
    pub fn moment(&mut self, now: Now) -> Moment {
        let since = *self.since.get_or_insert(now);
        let by_wall = Duration::from_secs(now.wall.seconds_since(since.wall));
        let by_steady = now.steady.since(since.steady);
        let slept = by_wall.saturating_sub(by_steady);
        let is_set_back = by_steady.saturating_sub(by_wall) > SLEPT;
        if slept > SLEPT {
            self.slept = self.slept.saturating_add(slept);
        }
        if slept > SLEPT || is_set_back {
            self.since = Some(now);
        }
        now.steady + self.slept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_slept_counts_and_a_clock_that_is_set_back_does_not() {
        let mut time = AgingTime::default();
        let mut at = |wall: u64, steady: u64| {
            let now = Now {
                wall: Timestamp(1_700_000_000 + wall),
                steady: Moment(steady * 1000),
            };
            time.moment(now).0 / 1000
        };
        assert_eq!(at(100_000, 0), 0);
        assert_eq!(at(100_061, 60), 60, "the wall clock counts in whole seconds");
        assert_eq!(at(103_700, 100), 3_700, "an hour is slept through");
        assert_eq!(at(103_710, 110), 3_710);
        // Where the steady clock goes on during sleep, nothing is counted twice.
        assert_eq!(at(107_310, 3_710), 7_310);
        assert_eq!(at(20_000, 3_720), 7_320, "it is set back");
        assert_eq!(at(23_600, 3_730), 10_920, "and a sleep is noticed all the same");
        assert_eq!(at(23_610, 3_740), 10_930);
    }

    #[test]
    fn timestamps_are_shown_as_dates() {
        for (seconds, shown) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_700_000_000, "2023-11-14 22:13 UTC"),
            (1_735_689_599, "2024-12-31 23:59 UTC"),
            (4_107_542_399, "2100-02-28 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(Timestamp(seconds).to_string(), shown);
        }
        assert!(Timestamp(u64::MAX).to_string().ends_with(" UTC"));
    }

    #[test]
    fn spans_are_shown_in_the_unit_that_suits_them() {
        for (seconds, shown) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7_199, "119 minutes"),
            (28_800, "8 hours"),
            (259_200, "3 days"),
            (499_116_646, "15 years"),
        ] {
            assert_eq!(Span(seconds).to_string(), shown);
        }
    }
}

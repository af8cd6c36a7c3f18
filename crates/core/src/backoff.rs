//! Pauses that grow with each failure.

use std::time::Duration;

use rand::Rng;

/// Doublings after which a pause is long enough for anybody, so that the factor can be counted in 32 bits.
const MAX_DOUBLINGS: u32 = 16;

/// The rule by which pauses grow: the first one doubles with each further failure in a row, up to the longest.
///
/// It is a rule and counts nothing itself: whoever follows it counts the failures and begins anew after a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub first: Duration,
    /// The longest pause; it wins where the first one is longer.
    pub longest: Duration,
}

impl Backoff {
    /// Makes the rule.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// Returns the pause before another try, after one failure that followed so many others.
    pub fn pause(self, failures_before: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures_before.min(MAX_DOUBLINGS));
        doubled.min(self.longest)
    }

    /// Returns the pause, cut at random.
    pub fn random_pause(self, failures_before: u32, rng: &mut impl Rng) -> Duration {
        shortened(self.pause(failures_before), rng)
    }
}

/// Cuts a pause to a random part of it, at least the half: what failed together must not come back together.
pub fn shortened(pause: Duration, rng: &mut impl Rng) -> Duration {
    pause.mul_f64(rng.random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let rule = Backoff::new(Duration::from_secs(2), Duration::from_secs(30));
        let pauses: Vec<u64> = (0..6).map(|failures| rule.pause(failures).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30]);
        assert_eq!(rule.pause(u32::MAX), rule.longest);
        let short = Backoff::new(Duration::from_secs(2), Duration::from_secs(1));
        assert_eq!(short.pause(0), Duration::from_secs(1));
    }

    #[test]
    fn the_extremes_are_pauses_too() {
        let rule = |first| Backoff::new(first, Duration::MAX);
        assert_eq!(rule(Duration::MAX).pause(5), Duration::MAX);
        assert_eq!(rule(Duration::ZERO).pause(5), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn a_pause_never_shrinks_and_keeps_its_bounds_when_it_is_cut(
            first in 0..10_000_u64, longest in 0..1_000_000_u64, failures: u32, seed: u64,
        ) {
            let rule = Backoff::new(Duration::from_millis(first), Duration::from_millis(longest));
            let pause = rule.pause(failures);
            prop_assert!(pause <= rule.longest);
            prop_assert!(pause <= rule.pause(failures.saturating_add(1)));
            let cut = rule.random_pause(failures, &mut StdRng::seed_from_u64(seed));
            prop_assert!(cut >= pause / 2 && cut <= pause);
        }
    }
}

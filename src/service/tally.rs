//! Counts for an operator that tell of nobody: they come late, and in steps so large that no single event shows in them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::answer::NameResult;

/// How large the steps of counted events are.
pub const STEP: u64 = 100;

/// What the lookups of a service came to that were not answered from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// The name has a value.
    Found,
    /// It has none.
    Absent,
    /// Nothing was learned.
    Failed,
}

impl Came {
    /// All of them, with the words for them.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Found, "found"),
        (Self::Absent, "absent"),
        (Self::Failed, "failed"),
    ];

    /// Returns what a result is counted as.
    pub fn of(result: &NameResult) -> Self {
        match result {
            Ok(answer) if answer.has_value() => Self::Found,
            Ok(_) => Self::Absent,
            Err(_) => Self::Failed,
        }
    }
}

/// Counts events, and tells of them when it is asked to alone.
#[derive(Debug, Default)]
struct LateCounter {
    unsaid: AtomicU64,
    said: AtomicU64,
}

impl LateCounter {
    fn add(&self) {
        self.unsaid.fetch_add(1, Ordering::Relaxed);
    }

    fn tell(&self, draw: u64) {
        let unsaid = self.unsaid.swap(0, Ordering::Relaxed);
        self.said.fetch_add(in_steps(unsaid, STEP, draw), Ordering::Relaxed);
    }

    fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }
}

/// Rounds a number to a multiple of `step`, down or up by chance, so that it is right on average: `draw` is uniform over
/// all numbers. Whoever knows all other events learns of one more hardly anything: it shows once in `step` times.
pub fn in_steps(number: u64, step: u64, draw: u64) -> u64 {
    let step = step.max(1);
    number.saturating_add(draw % step) / step * step
}

/// Counts of all fronts of a process, since its start.
#[derive(Debug, Default)]
pub struct Tally {
    lookups: [LateCounter; 3],
    /// By their response code (RFC 1035 section 4.1.1).
    dns: [LateCounter; 16],
}

impl Tally {
    /// Counts a lookup that has ended.
    pub fn lookup(&self, came: Came) {
        for ((it, _), counter) in Came::ALL.iter().zip(&self.lookups) {
            if *it == came {
                counter.add();
            }
        }
    }

    /// Counts a DNS response, which is a whole message.
    pub fn dns_response(&self, message: &[u8]) {
        let code = message.get(3).map(|flags| usize::from(flags & 0xf));
        if let Some(counter) = code.and_then(|code| self.dns.get(code)) {
            counter.add();
        }
    }

    /// Tells what was counted since it told before. To be called at moments that no event has a part in.
    pub fn tell(&self, mut draw: impl FnMut() -> u64) {
        for counter in self.lookups.iter().chain(&self.dns) {
            counter.tell(draw());
        }
    }

    /// Returns how many lookups were told of.
    pub fn lookups(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = Came::ALL.iter().map(|(_, name)| *name);
        names.zip(self.lookups.iter().map(LateCounter::said))
    }

    /// Returns how many DNS responses were told of, by response code.
    pub fn dns_responses(&self) -> impl Iterator<Item = (u8, u64)> {
        (0..).zip(self.dns.iter().map(LateCounter::said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_told_before_its_time() {
        let tally = Tally::default();
        for _ in 0..1000 {
            tally.lookup(Came::Absent);
            tally.dns_response(&[0, 0, 0, 3]);
        }
        assert!(tally.lookups().all(|(_, count)| count == 0));
        assert!(tally.dns_responses().all(|(_, count)| count == 0));
        tally.tell(|| 0);
        let lookups: Vec<_> = tally.lookups().collect();
        assert_eq!(lookups, [("found", 0), ("absent", 1000), ("failed", 0)]);
        assert!(
            tally
                .dns_responses()
                .all(|(code, count)| count == if code == 3 { 1000 } else { 0 })
        );
        // What was told is not told again.
        tally.tell(|| STEP - 1);
        assert_eq!(tally.lookups().map(|(_, count)| count).sum::<u64>(), 1000);
    }

    #[test]
    fn one_lookup_shows_once_in_a_hundred_times_whatever_else_there_was() {
        for others in [0, 1, 50, 99, 100, 12_345] {
            let shows = (0..STEP).filter(|draw| in_steps(others + 1, STEP, *draw) != in_steps(others, STEP, *draw));
            assert_eq!(shows.count(), 1, "{others}");
        }
    }

    #[test]
    fn messages_of_any_length_are_counted_or_not() {
        let tally = Tally::default();
        for length in 0..20 {
            tally.dns_response(&vec![0xff; length]);
        }
        tally.tell(|| STEP - 1);
        assert_eq!(tally.dns_responses().last(), Some((15, STEP)));
    }

    proptest! {
        #[test]
        fn on_average_it_is_right(number in 0..100_000_u64, step in 1..500_u64) {
            let sum: u64 = (0..step).map(|draw| in_steps(number, step, draw)).sum();
            prop_assert_eq!(sum, number * step);
        }
    }
}

//! Whether connections are opened ahead of lookups without regard to what is used.
//!
//! Which connection was opened ahead shows by its first use, which comes later than at once, or by a sign of life: what an
//! attempt opens for itself and then comes too late has neither; or it is used later by the ID that it was opened for, which is
//! one that asked for something then.

use std::collections::BTreeMap;

/// A lookup that comes no later than this after its connection was opened, in seconds, is the one that it was opened for.
const AT_ONCE: f64 = 5.0;

/// For so long before and after a use, in seconds, openings are counted.
const WINDOW: f64 = 60.0;

/// Standard deviations that chance is given.
const SIGMAS: f64 = 4.5;

/// So much of an opening for each use is no sign: something that is used was opened before, so a little more was.
const SELECTION: f64 = 0.05;

/// The openings of connections that were there before they were used, around the first uses of others.
#[derive(Debug, Default)]
pub(super) struct Openings {
    /// When each connection was opened that was not used yet, and whether there was a sign of life.
    unused: BTreeMap<usize, (f64, bool)>,
    /// When those were opened that were opened ahead.
    ahead: Vec<f64>,
    /// When they were first used, and which opening was theirs.
    uses: Vec<(f64, f64)>,
    /// The last use that was counted: others so soon after it say the same once more.
    last: f64,
    /// From when until when something was wrong with the machine, or a server changed its state: openings around that mean
    /// nothing.
    disturbances: Vec<(f64, f64)>,
    /// How many of them last.
    lasting: usize,
    before: u64,
    after: u64,
    counted: u64,
}

impl Openings {
    pub(super) fn open(&mut self, connection: usize, now: f64) {
        self.unused.insert(connection, (now, false));
    }

    /// Returns when a connection was opened that was not used yet.
    pub(super) fn opening_of(&self, connection: usize) -> Option<f64> {
        self.unused.get(&connection).map(|(opened, _)| *opened)
    }

    pub(super) fn note_use(&mut self, connection: usize, at: f64) {
        if let Some((opened, _)) = self
            .unused
            .remove(&connection)
            .filter(|(opened, _)| at > opened + AT_ONCE)
        {
            self.ahead.push(opened);
            self.uses.push((at, opened));
        }
    }

    pub(super) fn note_sign_of_life(&mut self, connection: usize) {
        if let Some((_, was_alive)) = self.unused.get_mut(&connection) {
            *was_alive = true;
        }
    }

    /// A connection turns out to be one of header sync, or one that may have been opened for whoever uses it.
    pub(super) fn leave_out(&mut self, connection: usize) {
        self.unused.remove(&connection);
    }

    pub(super) fn close(&mut self, connection: usize) {
        let ahead = self.unused.remove(&connection).filter(|(_, was_alive)| *was_alive);
        self.ahead.extend(ahead.map(|(opened, _)| opened));
    }

    pub(super) fn note_disturbance(&mut self, now: f64) {
        self.disturbances.push((now, now));
    }

    /// Begins, or ends, a disturbance that lasts: while all circuits are slow, one that an attempt opens for itself carries
    /// its lookup as late as one that was opened ahead.
    pub(super) fn disturb(&mut self, begins: bool, now: f64) {
        if begins {
            self.lasting += 1;
            self.disturbances.push((now, f64::INFINITY));
            return;
        }
        self.lasting -= 1;
        if self.lasting == 0 {
            for (_, until) in &mut self.disturbances {
                *until = until.min(now);
            }
        }
    }

    /// Counts what is known whole: all connections that were opened up to then were used, or are over.
    pub(super) fn count_until(&mut self, now: f64) {
        let oldest = self.unused.values().map(|(opened, _)| *opened).fold(now, f64::min);
        let ripe = oldest - WINDOW;
        self.uses.sort_by(|a, b| a.0.total_cmp(&b.0));
        let later = self.uses.split_off(self.uses.partition_point(|(at, _)| *at < ripe));
        for (used, own) in std::mem::replace(&mut self.uses, later) {
            let around = |(from, until): &(f64, f64)| from - 2.0 * WINDOW < used && used < until + 2.0 * WINDOW;
            let is_disturbed = self.disturbances.iter().any(around);
            if is_disturbed || (self.counted > 0 && used < self.last + 2.0 * WINDOW) {
                continue;
            }
            let others = || self.ahead.iter().filter(|at| (*at - own).abs() > f64::EPSILON);
            let within = |from: f64, to: f64| others().filter(|at| from < **at && **at <= to).count() as u64;
            self.last = used;
            self.counted += 1;
            self.before += within(used - WINDOW, used);
            self.after += within(used, used + WINDOW);
        }
        let oldest_use = self.uses.first().map_or(ripe, |(at, _)| at.min(ripe));
        self.ahead.retain(|at| *at > oldest_use - WINDOW);
        self.disturbances
            .retain(|(_, until)| *until > oldest_use - 2.0 * WINDOW);
    }

    /// Says what is wrong.
    ///
    /// # Errors
    ///
    /// More, or fewer, connections were opened after uses than before.
    pub(super) fn check(&self) -> Result<(), String> {
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let (before, after, counted) = (self.before as f64, self.after as f64, self.counted as f64);
        let bound = SIGMAS * (before + after).sqrt() + SELECTION * counted + 1.0;
        if (after - before).abs() <= bound {
            return Ok(());
        }
        Err(format!(
            "openings follow uses: {before} in the minute before {} first uses, {after} in the minute after",
            self.counted
        ))
    }

    /// How many uses were counted, and the openings before and after them.
    pub(super) fn counted(&self) -> (u64, u64, u64) {
        (self.counted, self.before, self.after)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use isonym::time::random_pause;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// Openings once a minute and a third as many uses; with a chance of `refilled`, the opening of another one upon a use.
    fn run(refilled: f64) -> Result<(), String> {
        let (mut openings, mut rng, mut now, mut number) = (Openings::default(), StdRng::seed_from_u64(1), 0.0, 0);
        let mut clean: Vec<(usize, f64)> = Vec::new();
        for _ in 0..30_000 {
            now += random_pause(Duration::from_secs(45), &mut rng).as_secs_f64();
            let opens = rng.random_bool(0.75);
            if opens {
                openings.open(number, now);
                openings.note_sign_of_life(number);
                clean.push((number, now));
                number += 1;
            } else if let Some(at) = clean.len().checked_sub(1).map(|most| rng.random_range(0..=most)) {
                let (used, _) = clean.swap_remove(at);
                openings.note_use(used, now);
                if rng.random_bool(refilled) {
                    openings.open(number, now + 1.0);
                    openings.note_sign_of_life(number);
                    clean.push((number, now + 1.0));
                    number += 1;
                }
            }
            clean.retain(|(number, opened)| {
                let lives = now - opened < 480.0;
                if !lives {
                    openings.close(*number);
                }
                lives
            });
        }
        openings.count_until(now);
        assert!(openings.counted > 500, "{openings:?}");
        openings.check()
    }

    #[test]
    fn a_pool_that_knows_nothing_of_uses_passes() {
        run(0.0).unwrap();
    }

    #[test]
    fn a_pool_that_is_refilled_is_noticed() {
        let found = run(0.3).unwrap_err();
        assert!(found.contains("openings follow uses"), "{found}");
    }

    #[test]
    fn what_is_used_while_something_is_wrong_says_nothing() {
        let counted = |begins: f64, ends: f64| {
            let mut openings = Openings::default();
            let mut moments: Vec<(f64, Option<bool>)> = vec![(begins, Some(true)), (ends, Some(false))];
            moments.extend((0..40).map(|use_| (f64::from(use_) * 500.0, None)));
            moments.sort_by(|a, b| a.0.total_cmp(&b.0));
            for (at, (now, begins)) in moments.into_iter().enumerate() {
                if let Some(begins) = begins {
                    openings.disturb(begins, now);
                    continue;
                }
                openings.open(at, now);
                openings.note_use(at, now + 10.0);
            }
            openings.count_until(1e5);
            openings.counted().0
        };
        assert_eq!(counted(30_000.0, 40_000.0), 40);
        assert_eq!(counted(5_200.0, 10_200.0), 30, "but those in it");
    }

    #[test]
    fn connections_that_are_used_at_once_were_not_opened_ahead() {
        let mut openings = Openings::default();
        for number in 0..1000_u32 {
            let (connection, now) = (number as usize, f64::from(number) * 10.0);
            openings.open(connection, now);
            openings.note_use(connection, now + 0.5);
        }
        openings.count_until(1e5);
        assert_eq!(openings.counted(), (0, 0, 0));
    }
}

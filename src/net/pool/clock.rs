//! When connections are opened ahead of lookups: by a clock that sees nothing but time, and whether anybody asks at all.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::PoolSettings;
use crate::time::{Moment, random_pause};

#[derive(Debug)]
enum Activity {
    Awake {
        sleeps_at: Moment,
    },
    /// `wakes_at` is drawn when somebody asks.
    Asleep {
        wakes_at: Option<Moment>,
    },
}

/// A Poisson process. It ticks on while it sleeps, unheard: so its moments are the same whether it slept or not.
#[derive(Debug)]
pub(super) struct OpeningClock {
    /// Decides on the moments and on the seeds of connections, and on nothing else.
    rng: StdRng,
    /// Decides on sleep alone, which lookups do have a part in.
    sleep_rng: StdRng,
    next: Option<Moment>,
    activity: Activity,
}

impl OpeningClock {
    pub(super) fn new(rng: &mut StdRng) -> Self {
        Self {
            rng: StdRng::from_rng(rng),
            sleep_rng: StdRng::from_rng(rng),
            next: None,
            activity: Activity::Asleep { wakes_at: None },
        }
    }

    /// Begins: it is awake, and its first tick is as random as all others, so that a start shows no burst.
    pub(super) fn begin(&mut self, now: Moment, settings: &PoolSettings) {
        if self.next.is_some() {
            return;
        }
        if let Some(mean) = settings.opening_mean {
            self.next = Some(now + random_pause(mean, &mut self.rng));
            self.stay_awake(now, settings.sleep_mean);
        }
    }

    fn stay_awake(&mut self, now: Moment, sleep_mean: Duration) {
        let sleeps_at = now + random_pause(sleep_mean, &mut self.sleep_rng);
        self.activity = Activity::Awake { sleeps_at };
    }

    /// Takes note that somebody asks.
    pub(super) fn note_question(&mut self, now: Moment, settings: &PoolSettings) {
        match &mut self.activity {
            Activity::Awake { .. } => self.stay_awake(now, settings.sleep_mean),
            Activity::Asleep { wakes_at } => {
                wakes_at.get_or_insert_with(|| now + random_pause(settings.wake_mean, &mut self.sleep_rng));
            }
        }
    }

    /// Returns the generator of a connection that is to be opened, once for each tick that is due.
    pub(super) fn tick(&mut self, now: Moment, settings: &PoolSettings) -> Option<StdRng> {
        match self.activity {
            Activity::Awake { sleeps_at } if sleeps_at <= now => {
                self.activity = Activity::Asleep { wakes_at: None };
            }
            Activity::Asleep { wakes_at: Some(at) } if at <= now => self.stay_awake(now, settings.sleep_mean),
            Activity::Awake { .. } | Activity::Asleep { .. } => {}
        }
        loop {
            let (due, mean) = (self.next?, settings.opening_mean?);
            if due > now {
                return None;
            }
            let rng = StdRng::from_rng(&mut self.rng);
            self.next = Some(due + random_pause(mean, &mut self.rng));
            if matches!(self.activity, Activity::Awake { .. }) {
                return Some(rng);
            }
        }
    }

    /// Passes over the ticks that were slept through together with the whole machine. What has no memory begins anew.
    pub(super) fn skip_to(&mut self, now: Moment, settings: &PoolSettings) {
        if let (Some(next), Some(mean)) = (&mut self.next, settings.opening_mean)
            && *next <= now
        {
            *next = now + random_pause(mean, &mut self.rng);
        }
    }

    pub(super) fn wake_at(&self) -> Option<Moment> {
        let at_activity = match self.activity {
            Activity::Awake { .. } => self.next,
            Activity::Asleep { wakes_at } => wakes_at,
        };
        at_activity.filter(|_| self.next.is_some())
    }
}

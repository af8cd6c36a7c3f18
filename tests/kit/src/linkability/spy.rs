//! The attack by who may use the victim's daemon as well, under IDs of his own, and runs the servers besides: does what he
//! gets tell whether somebody else was just there?

use std::time::Duration;

use isonym::service::Caller;
use rand::Rng;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::score::Figure;
use super::users::{Setting, observe_with, two_fronts};

/// IDs that the victim uses at once, half of the times, and the spy right afterwards.
const IDS: usize = 6;

/// From the one to the other.
const LAG: Duration = Duration::from_secs(4);

/// From one trial to the next: a pool has recovered by then.
const PAUSE: Duration = Duration::from_secs(900);

/// One look of the spy.
#[derive(Clone, Copy, Debug)]
pub struct Glance {
    /// What he wants to know: whether somebody was there just before.
    pub was_used: bool,
    /// How long his lookups took, in seconds, all together.
    pub took: f64,
    /// How many of his connections were opened after he had asked, as his servers see.
    pub own: usize,
}

/// Has the spy look for hours.
pub fn spy(setting: &Setting) -> Vec<Glance> {
    let seconds = 3600.0 * setting.hours;
    let mut setting = *setting;
    setting.settings.fronts = two_fronts();
    let (observed, asked) = observe_with(&setting, |town| async move {
        let (begun, mut glances) = (town.world.now(), Vec::new());
        while town.world.now() < begun + seconds - 120.0 {
            sleep(PAUSE / u32::try_from(town.daemons.len()).unwrap()).await;
            let daemon = glances.len() % town.daemons.len();
            let was_used = town.draw(|rng| rng.random_bool(0.5));
            let mut victims = JoinSet::new();
            for _ in 0..IDS * usize::from(was_used) {
                let town = std::sync::Arc::clone(&town);
                victims.spawn(async move { town.look_up(daemon, town.new_id(), town.new_group()).await });
            }
            sleep(LAG).await;
            let ids: Vec<usize> = (0..IDS).map(|_| town.new_id()).collect();
            let mut probes = JoinSet::new();
            for id in &ids {
                let (town, id) = (std::sync::Arc::clone(&town), *id);
                probes.spawn(async move { town.look_up_as(Caller::Rpc, daemon, id, town.new_group()).await });
            }
            let took: f64 = probes.join_all().await.into_iter().sum();
            victims.join_all().await;
            glances.push((was_used, took, ids));
        }
        glances
    });
    let visits = observed.visits();
    let glances = asked.into_iter().map(|(was_used, took, ids)| Glance {
        was_used,
        took,
        own: visits
            .iter()
            .filter(|visit| visit.is_own && ids.contains(&visit.id))
            .count(),
    });
    glances.collect()
}

/// How well a number of the spy's tells whether somebody was there: AUC.
pub fn tells(glances: &[Glance], number: impl Fn(&Glance) -> f64) -> Figure {
    let of = |was_used: bool| -> Vec<f64> {
        let fitting = glances.iter().filter(|glance| glance.was_used == was_used);
        fitting.map(&number).collect()
    };
    let (used, unused) = (of(true), of(false));
    let wins = used.iter().flat_map(|a| unused.iter().map(move |b| (a, b)));
    let won: f64 = wins
        .map(|(a, b)| if a > b { 1.0 } else { f64::from(u8::from(a >= b)) / 2.0 })
        .sum();
    let (n, m) = (used.len() as f64, unused.len() as f64);
    Figure {
        got: won / (n * m),
        chance: 0.5,
        // Of the rank sum's distribution.
        deviation: ((n + m + 1.0) / (12.0 * n * m)).sqrt(),
    }
}

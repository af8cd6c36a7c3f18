//! What the operator of all servers can tell of whose connections are whose, in virtual time.
//!
//! ```sh
//! cargo bench --bench linkability -- --scenarios quiet,bursts --seeds 24 --hours 2
//! cargo bench --bench linkability -- --real 20
//! ```
//!
//! The second one takes that many minutes, before a real ElectrumX that `tests/install` puts under `target/`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a bench may panic"
)]

use std::time::Duration;

use clap::Parser;
use isonym::net::pool::PoolSettings;
use isonym_testkit::electrumx::server::Release;
use isonym_testkit::linkability::active::{MIXED, Trick, Twitch, play, trials};
use isonym_testkit::linkability::combined::Model;
use isonym_testkit::linkability::cost::Cost;
use isonym_testkit::linkability::passive::{ATTACKS, Numbers, View};
use isonym_testkit::linkability::real::{RealSetting, observe_really};
use isonym_testkit::linkability::sampler::sample;
use isonym_testkit::linkability::score::{Figure, Score, score};
use isonym_testkit::linkability::spy::{Glance, spy, tells};
use isonym_testkit::linkability::users::{BURSTS, BUSY, Habit, IDLE, Observed, QUIET, Setting, observe};

const ASLEEP: &str = "asleep";

const SCENARIOS: [&str; 7] = ["idle", ASLEEP, "quiet", "busy", "bursts", "tricks", "spy"];

#[derive(Clone, Debug, Parser)]
#[command(about = "What links two isolation IDs, as the operator of all servers sees it", long_about = None)]
struct Arguments {
    /// How people use names while somebody looks, or what is done to them
    #[arg(long, value_delimiter = ',', default_value = "idle,asleep,quiet,busy,bursts,tricks,spy", value_parser = SCENARIOS)]
    scenarios: Vec<String>,
    /// Runs, each with a seed of its own
    #[arg(long, default_value_t = 12)]
    seeds: u64,
    /// Hours of each run
    #[arg(long, default_value_t = 2.0)]
    hours: f64,
    /// Daemons
    #[arg(long, default_value_t = 8)]
    daemons: usize,
    /// Users, spread over the daemons; as many as daemons where nothing is said
    #[arg(long)]
    users: Option<usize>,
    /// Connections that a daemon opens ahead in an hour, 0: none; as the program does where nothing is said
    #[arg(long)]
    pace: Option<u32>,
    /// In how many of a hundred cases an identity opens a connection of its own without looking at the clean ones
    #[arg(long)]
    own_percent: Option<u8>,
    /// Mean life of a clean connection, in seconds
    #[arg(long)]
    clean_life: Option<u64>,
    /// Minutes of real time for which quiet, busy and bursting users are watched before a real ElectrumX, instead of all else
    #[arg(long)]
    real: Option<f64>,
    /// Which release that is
    #[arg(long, default_value = "1.17.0", value_parser = Release::ALL.map(Release::version))]
    release: String,
    /// The only trick to be played
    #[arg(long, value_parser = Trick::ALL.map(|trick| format!("{trick:?}")))]
    trick: Option<String>,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn setting(&self, seed: u64, habit: Habit) -> Setting {
        let mut setting = Setting {
            daemons: self.daemons,
            users: self.users.unwrap_or(self.daemons),
            hours: self.hours,
            ..Setting::new(seed, habit)
        };
        if let Some(pace) = self.pace {
            setting.settings.pool = PoolSettings::with_pace(pace);
        }
        let pool = &mut setting.settings.pool;
        pool.own_percent = self.own_percent.unwrap_or(pool.own_percent);
        pool.clean_life = self.clean_life.map_or(pool.clean_life, Duration::from_secs);
        setting
    }
}

fn habit(name: &str) -> Habit {
    let habits = [IDLE, QUIET, BUSY, BURSTS];
    habits.into_iter().find(|habit| habit.name == name).unwrap()
}

fn print(what: &str, score: &Score) {
    let figure = |figure: &Figure| {
        let (got, chance, band) = (figure.got, figure.chance, figure.deviation);
        format!("{got:6.3} {chance:6.3} ±{band:.3} {:+7.1}", figure.sigmas())
    };
    println!(
        "{what:<28} {}   {}   {:8}",
        figure(&score.auc),
        figure(&score.top),
        score.pairs
    );
}

fn head(what: &str) {
    println!(
        "{:<28} {:>6} {:>6} {:>6} {:>7}   {:>6} {:>6} {:>6} {:>7}   {:>8}",
        what, "AUC", "chance", "band", "sigmas", "top-1", "chance", "band", "sigmas", "pairs"
    );
}

fn cost(arguments: &Arguments, what: &str, runs: &[Observed]) {
    let daemons = arguments.daemons;
    let users = arguments.users.unwrap_or(daemons);
    let hours = runs.iter().map(|run| run.to - run.from).sum::<f64>() / 3600.0;
    let cost = Cost::of(runs, daemons);
    println!(
        "\n{what}: {daemons} daemons, {users} users, {} runs of together {hours:.0} hours",
        runs.len()
    );
    println!(
        "a daemon opens {:.1} an hour for lookups and {:.1} for sync, and has {:.1} clean",
        cost.opened, cost.sync, cost.clean
    );
    if runs.iter().any(|run| !run.uses.is_empty()) {
        println!(
            "own share {:.2}; an ID's first lookup {:.2} s, 99 %: {:.2} s; {} came to nothing",
            cost.own, cost.median, cost.slow, cost.lost
        );
    }
}

/// What a daemon costs that nobody has used for long.
fn asleep(arguments: &Arguments) {
    const HOURS: f64 = 30.0;
    const LAST: f64 = 6.0;
    let mut run = observe(&Setting {
        hours: HOURS,
        ..arguments.setting(1, IDLE)
    });
    run.from = run.to - 3600.0 * LAST;
    cost(arguments, ASLEEP, &[run]);
}

fn passive(arguments: &Arguments, habit: Habit) {
    let runs = (0..arguments.seeds).map(|seed| observe(&arguments.setting(seed, habit)));
    attack(arguments, habit.name, &runs.collect::<Vec<_>>());
}

/// Before a real server, in real time.
fn real(arguments: &Arguments, minutes: f64) {
    let release = Release::ALL.into_iter().find(|it| it.version() == arguments.release);
    let habits = [QUIET, BUSY, BURSTS];
    let runs = observe_really(
        &RealSetting {
            seed: 1,
            release: release.unwrap(),
            daemons: arguments.daemons,
            minutes,
            settings: arguments.setting(1, IDLE).settings,
        },
        &habits,
    );
    for (habit, run) in habits.iter().zip(&runs) {
        attack(
            arguments,
            &format!("{} before {}", habit.name, arguments.release),
            std::slice::from_ref(run),
        );
    }
}

fn attack(arguments: &Arguments, what: &str, runs: &[Observed]) {
    let daemons = arguments.daemons;
    cost(arguments, what, runs);
    for view in [View::Uses, View::Openings] {
        let numbers = runs.iter().map(|run| {
            let mut numbers = Numbers::of(run, daemons, view);
            sample(run, daemons, &mut numbers);
            numbers
        });
        let numbers: Vec<Numbers> = numbers.collect();
        if numbers.iter().all(|numbers| numbers.pairs.is_empty()) {
            return;
        }
        head(match view {
            View::Uses => "later uses",
            View::Openings => "openings about then",
        });
        let names = ATTACKS.iter().map(|(name, _)| *name).chain(["sampler"]);
        for (at, name) in names.enumerate() {
            let trials: Vec<_> = numbers.iter().map(|run| run.trial(|row| row[at])).collect();
            print(name, &score(&trials, 1));
        }
        let (learn, tried) = numbers.split_at(numbers.len() / 2);
        if !learn.is_empty() {
            let model = Model::learn(learn);
            let trials: Vec<_> = tried.iter().map(|run| model.trial(run)).collect();
            print("all of these", &score(&trials, 1));
        }
    }
}

fn active(arguments: &Arguments) {
    println!("\ntricks: {} runs of {} hours", arguments.seeds, arguments.hours);
    head("trick: twitch");
    let is_wanted = |trick: &Trick| {
        arguments
            .trick
            .as_ref()
            .is_none_or(|name| *name == format!("{trick:?}"))
    };
    for trick in Trick::ALL.into_iter().filter(is_wanted) {
        let runs = (0..arguments.seeds).map(|seed| play(&arguments.setting(seed, MIXED), &[trick]));
        let runs: Vec<_> = runs.collect();
        for twitch in Twitch::ALL {
            let trials = runs
                .iter()
                .flat_map(|(observed, played)| trials(observed, trick, played, twitch));
            let trials: Vec<_> = trials.collect();
            print(&format!("{trick:?}: {twitch:?}"), &score(&trials, 1));
        }
    }
}

fn spies(arguments: &Arguments) {
    let glances = (0..arguments.seeds).flat_map(|seed| spy(&arguments.setting(seed, IDLE)));
    let glances: Vec<Glance> = glances.collect();
    println!("\nspy on the same daemon: {} glances, AUC (chance 0.5)", glances.len());
    for (name, figure) in [
        ("time of his lookups", tells(&glances, |glance| glance.took)),
        ("his own openings", tells(&glances, |glance| glance.own as f64)),
    ] {
        println!(
            "{name:<28} {:6.3} ±{:.3} {:+7.1}",
            figure.got,
            figure.deviation,
            figure.sigmas()
        );
    }
}

fn main() {
    let arguments = Arguments::parse();
    if let Some(minutes) = arguments.real {
        return real(&arguments, minutes);
    }
    for name in &arguments.scenarios {
        match name.as_str() {
            ASLEEP => asleep(&arguments),
            "tricks" => active(&arguments),
            "spy" => spies(&arguments),
            name => passive(&arguments, habit(name)),
        }
    }
}

//! People who look names up, as chance wills.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use isonym::service::{Caller, Daemon, DaemonSettings, Fronts};
use isonym::time::random_pause;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::virtual_world::{
    NAMES, Record, VirtualDaemon, VirtualWorld, in_virtual_time, is_found, look_up, name_in_messages,
};

/// How somebody uses names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Habit {
    pub name: &'static str,
    /// Times an hour.
    pub times: f64,
    /// New IDs each time.
    pub ids: usize,
    /// Part of the IDs that go on to ask for the same name for a while, as who looks at a page does.
    pub reloads: f64,
}

pub const IDLE: Habit = Habit {
    name: "idle",
    times: 0.0,
    ids: 1,
    reloads: 0.5,
};
pub const QUIET: Habit = Habit {
    name: "quiet",
    times: 4.0,
    ids: 1,
    reloads: 0.5,
};
pub const BUSY: Habit = Habit {
    name: "busy",
    times: 30.0,
    ids: 1,
    reloads: 0.5,
};
pub const BURSTS: Habit = Habit {
    name: "bursts",
    times: 3.0,
    ids: 8,
    reloads: 0.5,
};

/// Part of the times at which one ID goes on that was used before.
const AGAIN: f64 = 0.25;

/// Part of the IDs that look another name up soon.
const ONE_MORE: f64 = 0.5;

/// Mean time between two of the same questions, and how many there are.
const RELOAD_PAUSE: Duration = Duration::from_secs(30);
const RELOAD_TIMES: usize = 12;

/// Over so long the IDs of one burst begin.
const BURST_LENGTH: Duration = Duration::from_secs(2);

/// Daemons start one after the other over so long, and are left alone for so long afterwards.
const STARTS: Duration = Duration::from_secs(600);
const WARM_UP: Duration = Duration::from_secs(1800);

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub seed: u64,
    pub daemons: usize,
    /// Spread over the daemons.
    pub users: usize,
    pub hours: f64,
    pub habit: Habit,
    pub settings: DaemonSettings,
}

impl Setting {
    pub fn new(seed: u64, habit: Habit) -> Self {
        Self {
            seed,
            daemons: 8,
            users: 8,
            hours: 2.0,
            habit,
            settings: DaemonSettings::default(),
        }
    }

    /// How many servers there are, all of one operator.
    const SERVERS: usize = 2;
}

/// The front of the people, and another one for who spies on them.
pub fn two_fronts() -> Fronts {
    Fronts::of(&[Caller::Program, Caller::Rpc])
}

/// One lookup, as only its user knows it.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    pub daemon: usize,
    pub id: usize,
    /// What was begun together has one number.
    pub group: usize,
    pub name: usize,
    pub asked: f64,
    /// How long it took, once it is over.
    pub took: Option<f64>,
}

/// Somebody else's view: the operator's, and the truth beside it.
#[derive(Clone, Debug)]
pub struct Observed {
    pub record: Record,
    pub uses: Vec<Use>,
    /// What counts: after the starts, to the end.
    pub from: f64,
    pub to: f64,
}

/// The first use of a connection for a name.
#[derive(Clone, Copy, Debug)]
pub struct Visit {
    pub connection: usize,
    pub owner: usize,
    pub id: usize,
    pub group: usize,
    pub at: f64,
    /// Whether the connection was opened for it, in truth.
    pub is_own: bool,
}

impl Observed {
    /// Returns the first uses within the time that counts, in order.
    pub fn visits(&self) -> Vec<Visit> {
        let mut uses: BTreeMap<(usize, Option<u64>), Vec<&Use>> = BTreeMap::new();
        for it in &self.uses {
            uses.entry((it.daemon, name_in_messages(it.name))).or_default().push(it);
        }
        let connections = self.record.seen.iter().zip(&self.record.truth).enumerate();
        let mut visits: Vec<Visit> = connections
            .filter_map(|(connection, (seen, truth))| {
                let first = seen.messages.iter().find(|message| message.name.is_some())?;
                let mut candidates = uses.get(&(truth.owner, first.name))?.iter();
                let by = candidates.rfind(|it| it.asked <= first.at)?;
                Some(Visit {
                    connection,
                    owner: truth.owner,
                    id: by.id,
                    group: by.group,
                    at: first.at,
                    is_own: truth.dialed >= by.asked,
                })
            })
            .filter(|visit| visit.at >= self.from)
            .collect();
        visits.sort_by(|a, b| a.at.total_cmp(&b.at));
        visits
    }
}

/// Numbers for all that is used.
#[derive(Debug, Default)]
struct Counters {
    ids: usize,
    groups: usize,
    /// By daemon: names take turns, so that each use can be told from the others in the record.
    names: BTreeMap<usize, usize>,
}

/// People who use daemons, and what they did so far.
#[derive(Debug)]
pub struct People {
    begun: Instant,
    daemons: Vec<Daemon>,
    uses: Mutex<Vec<Use>>,
    counters: Mutex<Counters>,
    rng: Mutex<StdRng>,
}

/// The people of a virtual world, and its daemons.
#[derive(Debug)]
pub struct Town {
    pub world: VirtualWorld,
    pub daemons: Vec<VirtualDaemon>,
    people: Arc<People>,
}

impl Deref for Town {
    type Target = People;

    fn deref(&self) -> &People {
        &self.people
    }
}

impl Town {
    async fn found(setting: &Setting) -> Arc<Self> {
        let world = VirtualWorld::new(setting.seed, Setting::SERVERS);
        let mut rng = world.rng();
        let mut daemons = Vec::new();
        for _ in 0..setting.daemons {
            let pause = STARTS.mul_f64(2.0 * rng.random::<f64>()) / u32::try_from(setting.daemons).unwrap();
            sleep(pause).await;
            daemons.push(world.start_daemon(setting.settings).await);
        }
        sleep(WARM_UP).await;
        let doors = daemons.iter().map(|it| it.daemon.clone());
        let people = People::new(world.begun(), doors.collect(), rng);
        Arc::new(Self { world, daemons, people })
    }

    /// What the daemons call an ID.
    pub fn id(number: usize) -> String {
        format!("user {number}")
    }
}

impl People {
    /// Makes people who do nothing yet; moments are counted from `begun` on.
    pub fn new(begun: Instant, daemons: Vec<Daemon>, rng: StdRng) -> Arc<Self> {
        Arc::new(Self {
            begun,
            daemons,
            uses: Mutex::default(),
            counters: Mutex::default(),
            rng: Mutex::new(rng),
        })
    }

    /// Returns what they did so far.
    pub fn uses(&self) -> Vec<Use> {
        self.uses.lock().unwrap().clone()
    }

    fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Lends the generator.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.rng.lock().unwrap())
    }

    /// A new ID, and a new group.
    pub fn new_id(&self) -> usize {
        let mut counters = self.counters.lock().unwrap();
        counters.ids += 1;
        counters.ids
    }

    pub fn new_group(&self) -> usize {
        let mut counters = self.counters.lock().unwrap();
        counters.groups += 1;
        counters.groups
    }

    /// The ID that was used last on a daemon.
    pub fn latest_id(&self, daemon: usize) -> Option<usize> {
        let uses = self.uses.lock().unwrap();
        uses.iter().rev().find(|it| it.daemon == daemon).map(|it| it.id)
    }

    /// Looks the next name up; returns how long it took.
    pub async fn look_up(&self, daemon: usize, id: usize, group: usize) -> f64 {
        self.look_up_as(Caller::Program, daemon, id, group).await
    }

    /// The same, through another front.
    pub async fn look_up_as(&self, caller: Caller, daemon: usize, id: usize, group: usize) -> f64 {
        let name = {
            let mut counters = self.counters.lock().unwrap();
            let next = counters.names.entry(daemon).or_default();
            *next += 1;
            *next % NAMES
        };
        let asked = self.now();
        let index = {
            let mut uses = self.uses.lock().unwrap();
            uses.push(Use {
                daemon,
                id,
                group,
                name,
                asked,
                took: None,
            });
            uses.len() - 1
        };
        let found = look_up(&self.daemons[daemon], caller, name, &Town::id(id)).await;
        let took = self.now() - asked;
        if is_found(&found) {
            self.uses.lock().unwrap()[index].took = Some(took);
        }
        took
    }

    /// Looks the name that was looked up last under an ID up again and again.
    async fn reload(&self, daemon: usize, id: usize) {
        let name = {
            let uses = self.uses.lock().unwrap();
            uses.iter().rev().find(|it| it.id == id).map(|it| it.name)
        };
        for _ in 0..RELOAD_TIMES {
            sleep(self.draw(|rng| random_pause(RELOAD_PAUSE, rng))).await;
            // It is known for the most part; what comes of it otherwise is in the record.
            let name = name.unwrap_or_default();
            let _ = look_up(&self.daemons[daemon], Caller::Program, name, &Town::id(id)).await;
        }
    }

    /// Lets one user live on for ever.
    pub async fn live(self: Arc<Self>, daemon: usize, habit: Habit) {
        let mut had: Vec<usize> = Vec::new();
        let mut under_way = JoinSet::new();
        loop {
            let mean = Duration::from_secs_f64(3600.0 / habit.times);
            sleep(self.draw(|rng| random_pause(mean, rng))).await;
            while under_way.try_join_next().is_some() {}
            let group = self.new_group();
            for _ in 0..habit.ids {
                let again = habit.ids == 1 && self.draw(|rng| rng.random_bool(AGAIN));
                let id = had.last().copied().filter(|_| again).unwrap_or_else(|| self.new_id());
                had.push(id);
                let (town, start) = (Arc::clone(&self), self.draw(Rng::random::<f64>));
                under_way.spawn(async move {
                    if habit.ids > 1 {
                        sleep(BURST_LENGTH.mul_f64(start)).await;
                    }
                    town.look_up(daemon, id, group).await;
                    if town.draw(|rng| rng.random_bool(habit.reloads)) {
                        town.reload(daemon, id).await;
                    }
                    if town.draw(|rng| rng.random_bool(ONE_MORE)) {
                        sleep(town.draw(|rng| random_pause(Duration::from_secs(60), rng))).await;
                        town.look_up(daemon, id, group).await;
                    }
                });
            }
        }
    }
}

/// Has users live for hours, while something else goes on among them.
pub fn observe_with<T, F: Future<Output = T>>(setting: &Setting, beside: impl FnOnce(Arc<Town>) -> F) -> (Observed, T) {
    in_virtual_time(async {
        let town = Town::found(setting).await;
        let from = town.world.now();
        let end = Instant::now() + Duration::from_secs_f64(3600.0 * setting.hours);
        let mut people = JoinSet::new();
        let is_used = setting.habit.times > 0.0;
        for user in (0..setting.users).filter(|_| is_used) {
            people.spawn(Arc::clone(&town.people).live(user % setting.daemons, setting.habit));
        }
        let beside = beside(Arc::clone(&town)).await;
        sleep_until(end).await;
        people.shutdown().await;
        let observed = Observed {
            record: town.world.record(),
            uses: town.uses(),
            from,
            to: town.world.now(),
        };
        (observed, beside)
    })
}

/// Has users live for hours.
pub fn observe(setting: &Setting) -> Observed {
    observe_with(setting, |_| async {}).0
}

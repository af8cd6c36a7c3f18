//! Attacks by who does something to one daemon, or over one connection, and looks who twitches.
//!
//! After each trick every other connection is a candidate, be it of header sync, clean or used. Its score is how soon after
//! the trick it opens, closes or says something; where the trick is not played over one connection that is known to be the
//! victim's, each that twitches is compared with all others by when they do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use isonym::service::Caller;
use isonym_sim::{Fault, Work};
use rand::Rng;
use rand::seq::IndexedRandom;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::score::{Riddle, Trial};
use super::users::{Habit, Observed, Setting, Town, observe_with, two_fronts};
use crate::virtual_world::{Seen, Side, VirtualDaemon, What};

/// How people live meanwhile.
pub const MIXED: Habit = Habit {
    name: "mixed",
    times: 12.0,
    ids: 1,
    reloads: 1.0,
};

/// IDs that fit into a daemon where the cap is tried.
const CAP: usize = 24;

/// How long a machine is suspended, and a proxy out of order.
const AWAY: Duration = Duration::from_secs(3 * 3600);
const OUTAGE: Duration = Duration::from_secs(300);

/// From one trick to the next.
const REST: Duration = Duration::from_secs(120);

/// How long the attacker waits until a bait is taken.
const PATIENCE: u32 = 900;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// One clean connection is answered with bytes that are no JSON.
    Nonsense,
    /// One connection is given a false proof.
    Lie,
    /// The server hangs up on one clean connection.
    KillClean,
    /// The server hangs up on one that was used.
    KillUsed,
    /// One connection of header sync, and no other, is told of a new block.
    BlockToOne,
    /// One connection of header sync is told of blocks that nobody worked for.
    FalseClaim,
    /// All identities of a daemon are forgotten.
    ForgetAll,
    /// One identity is forgotten.
    ForgetOne,
    /// Somebody takes up as many new IDs as a daemon has room for, through another front than its people.
    Cap,
    /// A daemon starts.
    Start,
    /// A daemon's proxy is out of order for a while; what counts is what happens when it is back.
    Outage,
    /// A machine was suspended; its steady clock stood still.
    Suspend,
    /// The same where the steady clock went on.
    SuspendCounted,
}

impl Trick {
    pub const ALL: [Self; 13] = [
        Self::Nonsense,
        Self::Lie,
        Self::KillClean,
        Self::KillUsed,
        Self::BlockToOne,
        Self::FalseClaim,
        Self::ForgetAll,
        Self::ForgetOne,
        Self::Cap,
        Self::Start,
        Self::Outage,
        Self::Suspend,
        Self::SuspendCounted,
    ];

    /// Whether only those are compared that twitch: who is forgotten is not used again, and ends, which is the user's doing;
    /// what counts is whether it shows with whom.
    fn compares_moments(self) -> bool {
        matches!(self, Self::ForgetAll | Self::ForgetOne)
    }

    /// For how many seconds the attacker looks.
    fn window(self) -> f64 {
        match self {
            Self::ForgetAll | Self::ForgetOne | Self::Cap => 660.0,
            Self::Outage | Self::Start => 300.0,
            Self::BlockToOne => 120.0,
            _ => 60.0,
        }
    }
}

/// How connections twitch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twitch {
    /// It opens.
    Opens,
    /// The client closes it.
    Closes,
    /// It is asked for a name for which it was asked before.
    AsksAgain,
    /// It gives a sign of life.
    Pings,
}

impl Twitch {
    pub const ALL: [Self; 4] = [Self::Opens, Self::Closes, Self::AsksAgain, Self::Pings];

    /// The first one after a time.
    fn of(self, seen: &Seen, after: f64) -> Option<f64> {
        match self {
            Self::Opens => Some(seen.opened).filter(|at| *at > after),
            Self::Closes => {
                let by_client = seen.closed.filter(|(_, by)| *by == Side::Client);
                by_client.map(|(at, _)| at).filter(|at| *at > after)
            }
            Self::AsksAgain => {
                let mut known = BTreeSet::new();
                let asked = seen.messages.iter().filter_map(|it| Some((it.at, it.name?)));
                let again = asked.filter(|(_, name)| !known.insert(*name));
                again.map(|(at, _)| at).find(|at| *at > after)
            }
            Self::Pings => seen.times(What::Ping).find(|at| *at > after),
        }
    }
}

/// A trick that was played.
#[derive(Clone, Debug)]
pub struct Played {
    trick: Trick,
    at: f64,
    victim: usize,
    /// The connection that the attacker knows to be the victim's.
    known: Option<usize>,
    /// IDs that are the attacker's own.
    probes: Vec<usize>,
}

/// Plays tricks in turn, again and again, on daemons as chance wills, while people live on.
pub fn play(setting: &Setting, tricks: &[Trick]) -> (Observed, Vec<Played>) {
    let mut setting = *setting;
    if tricks.contains(&Trick::Cap) {
        setting.settings.pool.max_ids = CAP;
        setting.settings.fronts = two_fronts();
    }
    let (tricks, seconds) = (tricks.to_vec(), 3600.0 * setting.hours);
    observe_with(&setting, |town| async move {
        let begun = town.world.now();
        let mut played = Vec::new();
        for trick in tricks.iter().cycle() {
            // The last one is to have its time.
            if town.world.now() + 2.0 * trick.window() > begun + seconds {
                break;
            }
            sleep(REST).await;
            played.extend(play_once(&town, *trick, &setting).await);
        }
        played
    })
}

/// Plays a trick, looks on for as long as it takes, and puts all right again.
async fn play_once(town: &Arc<Town>, trick: Trick, setting: &Setting) -> Option<Played> {
    // One that is started for the trick lives until it is over.
    let (played, _started) = match trick {
        Trick::Nonsense | Trick::Lie | Trick::KillClean | Trick::KillUsed | Trick::BlockToOne | Trick::FalseClaim => {
            (play_over_one(town, trick).await?, None)
        }
        _ => play_on_one(town, trick, setting).await?,
    };
    sleep(Duration::from_secs_f64(trick.window())).await;
    for connection in open_ones(town, |_| true) {
        town.world.set_fault(connection, None);
    }
    town.world.announce();
    if matches!(trick, Trick::Suspend | Trick::SuspendCounted) {
        let back = -i64::try_from(AWAY.as_secs()).unwrap();
        town.daemons[played.victim].time.step_wall(back);
    }
    Some(played)
}

/// Plays a trick over one connection, which the attacker knows to be the victim's.
async fn play_over_one(town: &Town, trick: Trick) -> Option<Played> {
    let is_clean = |seen: &Seen| !seen.is_sync() && seen.first_use().is_none();
    let connection = match trick {
        Trick::Nonsense | Trick::Lie | Trick::KillClean => pick(town, is_clean)?,
        Trick::KillUsed => pick(town, |seen| seen.first_use().is_some())?,
        _ => pick(town, Seen::is_sync)?,
    };
    let mut at = town.world.now();
    match trick {
        Trick::Nonsense => at = bait(town, connection, Fault::GarbageJson, |_| true).await?,
        Trick::Lie => {
            let is_lookup = |what| what == What::Lookup;
            at = bait(town, connection, Fault::ForgedMerkleBranch, is_lookup).await?;
        }
        Trick::BlockToOne => {
            for other in open_ones(town, |_| true).into_iter().filter(|it| *it != connection) {
                town.world.set_fault(other, Some(Fault::Stale { behind: 1 }));
            }
            town.world.mine();
        }
        Trick::FalseClaim => {
            let (extra, work) = (60, Work::Nothing);
            town.world
                .set_fault(connection, Some(Fault::FakeLongerChain { extra, work }));
            town.world.mine();
        }
        _ => town.world.hang_up(connection),
    }
    Some(Played {
        trick,
        at,
        victim: town.world.look(|record| record.truth[connection].owner),
        known: Some(connection),
        probes: Vec::new(),
    })
}

/// Plays a trick on one daemon, of which the attacker knows when.
async fn play_on_one(town: &Arc<Town>, trick: Trick, setting: &Setting) -> Option<(Played, Option<VirtualDaemon>)> {
    let victim = town.draw(|rng| rng.random_range(0..town.daemons.len()));
    let daemon = &town.daemons[victim];
    let mut played = Played {
        trick,
        at: town.world.now(),
        victim,
        known: None,
        probes: Vec::new(),
    };
    match trick {
        Trick::ForgetAll => daemon.forget(None).await,
        Trick::ForgetOne => {
            let id = town.latest_id(victim)?;
            daemon.forget(Some(&Town::id(id))).await;
        }
        Trick::Cap => {
            played.probes = (0..CAP).map(|_| town.new_id()).collect();
            let mut under_way = JoinSet::new();
            for probe in played.probes.clone() {
                let town = Arc::clone(town);
                under_way.spawn(async move { town.look_up_as(Caller::Rpc, victim, probe, town.new_group()).await });
            }
            under_way.join_all().await;
        }
        Trick::Outage => {
            daemon.shut_way_out(true);
            sleep(OUTAGE).await;
            daemon.shut_way_out(false);
            played.at = town.world.now();
        }
        Trick::Suspend | Trick::SuspendCounted => daemon.resume_after(AWAY, trick == Trick::SuspendCounted),
        _ => {
            let started = town.world.start_daemon(setting.settings).await;
            played.victim = started.number;
            return Some((played, Some(started)));
        }
    }
    Some((played, None))
}

fn open_ones(town: &Town, wanted: impl Fn(&Seen) -> bool) -> Vec<usize> {
    town.world.look(|record| {
        let open = record.seen.iter().enumerate().filter(|(_, seen)| seen.closed.is_none());
        // Those that have not said anything yet are being opened.
        let open = open.filter(|(_, seen)| !seen.messages.is_empty() && wanted(seen));
        open.map(|(index, _)| index).collect()
    })
}

fn pick(town: &Town, wanted: impl Fn(&Seen) -> bool) -> Option<usize> {
    let open = open_ones(town, wanted);
    town.draw(|rng| open.choose(rng).copied())
}

/// Has the server do wrong on one connection, and waits until it had the occasion: a request of this kind.
async fn bait(town: &Town, connection: usize, fault: Fault, taken_by: impl Fn(What) -> bool) -> Option<f64> {
    let laid = town.world.now();
    town.world.set_fault(connection, Some(fault));
    for _ in 0..PATIENCE {
        sleep(Duration::from_secs(1)).await;
        let (taken, is_open) = town.world.look(|record| {
            let seen = &record.seen[connection];
            let mut taken = seen
                .messages
                .iter()
                .filter(|it| it.from == Side::Client && it.at > laid);
            (
                taken.find(|it| taken_by(it.what)).map(|it| it.at),
                seen.closed.is_none(),
            )
        });
        if taken.is_some() || !is_open {
            return taken;
        }
    }
    town.world.set_fault(connection, None);
    None
}

/// Makes the riddles of what was played: who twitched?
pub fn trials(observed: &Observed, trick: Trick, played: &[Played], twitch: Twitch) -> Vec<Trial> {
    let visits = observed.visits();
    let id_of = |connection: usize| {
        visits
            .iter()
            .find(|visit| visit.connection == connection)
            .map(|it| it.id)
    };
    let record = &observed.record;
    let mut trials = Vec::new();
    for it in played.iter().filter(|it| it.trick == trick) {
        let Played { at, known, probes, .. } = it;
        let end = at + trick.window();
        let is_there = |seen: &Seen| seen.opened < end && seen.closed_at().is_none_or(|closed| closed > *at);
        // Things of this trial by number: connection, when it twitches, whose it is.
        let things: Vec<(usize, Option<f64>)> = (record.seen.iter().enumerate())
            .filter(|(index, seen)| is_there(seen) || Some(*index) == *known)
            .map(|(index, seen)| (index, twitch.of(seen, *at).filter(|moment| *moment < end)))
            .collect();
        let ids: Vec<Option<usize>> = things.iter().map(|(index, _)| id_of(*index)).collect();
        let is_probe = |thing: usize| ids[thing].is_some_and(|id| probes.contains(&id));
        let owner = |thing: usize| record.truth[things[thing].0].owner;
        let mut riddles = Vec::new();
        for subject in 0..things.len() {
            let moment = match known {
                Some(known) => (things[subject].0 == *known).then_some(*at),
                None if probes.is_empty() => things[subject].1,
                None => is_probe(subject).then_some(*at),
            };
            let Some(moment) = moment else { continue };
            let others = (0..things.len()).filter(|it| *it != subject && !is_probe(*it));
            let others = others.filter(|it| ids[*it].is_none() || ids[*it] != ids[subject]);
            // Whose connections of header sync belong together tells of no ID.
            let is_sync = |thing: usize| record.seen[things[thing].0].is_sync();
            let others = others.filter(|it| !(is_sync(*it) && is_sync(subject)));
            let others = others.filter(|it| things[*it].1.is_some() || !trick.compares_moments());
            let score = |thing: usize| things[thing].1.map_or(f64::NEG_INFINITY, |it| -(it - moment).abs());
            riddles.push(Riddle {
                subject,
                candidates: others.map(|thing| (thing, score(thing))).collect(),
            });
            if !probes.is_empty() {
                break;
            }
        }
        trials.push(Trial {
            riddles,
            owners: (0..things.len()).map(owner).collect(),
            clusters: (0..things.len()).collect(),
            kinds: things
                .iter()
                .map(|(index, _)| kind(&record.seen[*index], *at))
                .collect(),
        });
    }
    trials
}

/// What an attacker sees of a connection at a time: of header sync, clean, used, or not opened yet.
fn kind(seen: &Seen, at: f64) -> usize {
    let has_begun = |it: f64| usize::from(it <= at);
    match seen.first_use() {
        _ if seen.is_sync() => 3,
        Some(used) => has_begun(seen.opened) + has_begun(used),
        None => has_begun(seen.opened),
    }
}

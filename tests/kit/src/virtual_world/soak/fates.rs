//! What befalls a daemon and its servers.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use isonym::time::random_pause;
use isonym_sim::{AuxPowKind, Fault, Flaw, Work};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::sleep;

use super::world::{PROMPT, SERVERS, SoakWorld};
use super::{DaemonKeeper, users};

/// The mean pause from one event to the next.
const BETWEEN: Duration = Duration::from_secs(3 * 3600);

fn minutes(range: std::ops::Range<u64>, rng: &mut StdRng) -> Duration {
    Duration::from_secs(60 * rng.random_range(range))
}

/// What an honest server does wrong for a while.
fn honest_fault(rng: &mut StdRng) -> Fault {
    match rng.random_range(0..8) {
        0 => Fault::Silent,
        1 => Fault::SilentAfterHandshake,
        2 => Fault::Slow {
            delay: Duration::from_secs(20),
        },
        3 => Fault::Errors,
        4 => Fault::ExcessiveResources { after_bytes: 20_000 },
        5 => Fault::DropsConnection {
            after_replies: rng.random_range(1..6),
        },
        6 => Fault::HoldsSmallReplies {
            delay: Duration::from_secs(1),
        },
        _ => Fault::Stale {
            behind: rng.random_range(1..6),
        },
    }
}

/// What a liar does.
fn lie(rng: &mut StdRng) -> Fault {
    let auxpow = AuxPowKind::Realistic;
    match rng.random_range(0..12) {
        0 => Fault::ForgedValue,
        1 => Fault::ForgedMerkleBranch,
        2 => Fault::ForgedAuxPow {
            from: 100,
            flaw: Flaw::NotEnoughWork,
        },
        3 => Fault::FakeLongerChain {
            extra: 3,
            work: Work::Nothing,
        },
        4 => Fault::FakeLongerChain {
            extra: 1,
            work: Work::Flawed(auxpow, Flaw::NotEnoughWork),
        },
        5 => Fault::GarbageJson,
        6 => Fault::WrongIds,
        7 => Fault::TruncatedReplies,
        8 => Fault::InventsNames,
        9 => Fault::DeniesNames,
        10 => Fault::DeepNesting { depth: 2000 },
        _ => Fault::TruncatedHeaders,
    }
}

/// Has something happen to a server for a while.
fn for_a_while(world: &Arc<SoakWorld>, server: usize, fault: Option<Fault>, time: Duration) {
    let world = Arc::clone(world);
    tokio::spawn(async move {
        world.change(server, |state| match fault {
            Some(fault) => state.fault = Some(fault),
            None => state.is_up = false,
        });
        sleep(time).await;
        world.change(server, |state| {
            state.fault = None;
            state.is_up = true;
        });
        world.tell(&format!("server {server} is well again"));
    });
}

/// Has the machine and its servers suffer until the end.
pub(super) async fn suffer(world: Arc<SoakWorld>, keeper: Arc<DaemonKeeper>, with_floods: bool) {
    let mut rng = world.rng();
    let (mut floods, mut reorganisations) = (0, 0);
    loop {
        sleep(random_pause(BETWEEN, &mut rng)).await;
        let server = rng.random_range(0..SERVERS);
        match rng.random_range(0..100) {
            0..12 => {
                let time = minutes(1..20, &mut rng);
                note(&world, "server restarts", &format!("server {server} for {time:?}"));
                for_a_while(&world, server, None, time);
            }
            12..16 => {
                let time = minutes(120..1440, &mut rng);
                note(&world, "server outages", &format!("server {server} for {time:?}"));
                for_a_while(&world, server, None, time);
            }
            16..28 => {
                let (fault, time) = (honest_fault(&mut rng), minutes(10..180, &mut rng));
                note(
                    &world,
                    "honest faults",
                    &format!("server {server} for {time:?}: {fault:?}"),
                );
                for_a_while(&world, server, Some(fault), time);
            }
            28..38 => {
                let (fault, time) = (lie(&mut rng), minutes(30..360, &mut rng));
                note(
                    &world,
                    "liars",
                    &format!("server {} for {time:?}: {fault:?}", SERVERS - 1),
                );
                for_a_while(&world, SERVERS - 1, Some(fault), time);
            }
            38..44 => behind(&world, server, &mut rng),
            44..48 => reindex(&world, server, &mut rng),
            48..62 => {
                let depths = [1, 1, 1, 1, 2, 2, 3, 6, 12, 30];
                let depth = depths[rng.random_range(0..depths.len())];
                note(&world, "reorganisations", &format!("{depth} blocks are left"));
                reorganisations += 1;
                let (world, id) = (Arc::clone(&world), 2_000_000_000 + 8 * reorganisations);
                tokio::spawn(async move { users::look_across(&world, id, depth).await });
            }
            62..68 => {
                let time = minutes(1..120, &mut rng);
                note(&world, "outages of Tor", &format!("{time:?}"));
                world.disturb(true);
                world.shut_way_out(true);
                sleep(time).await;
                world.shut_way_out(false);
                world.disturb(false);
            }
            68..72 => {
                note(&world, "circuits all dead", "at once");
                world.cut();
            }
            72..75 => {
                let time = minutes(30..180, &mut rng);
                note(&world, "slow hours", &format!("{time:?}"));
                let world = Arc::clone(&world);
                tokio::spawn(async move {
                    world.disturb(true);
                    world.set_slowness(4);
                    sleep(time).await;
                    world.set_slowness(1);
                    world.disturb(false);
                });
            }
            75..82 => {
                restart(&world, &keeper, &mut rng).await;
            }
            82..84 => {
                let time = minutes(30..600, &mut rng);
                note(&world, "unwritable files", &format!("{time:?}"));
                keeper.obstruct(&world, time);
            }
            84..88 => fill_disk(&world, &keeper, &mut rng),
            88..92 => suspend(&world, &mut rng).await,
            92..96 => step_clock(&world, &mut rng).await,
            96..98 => {
                note(&world, "New Identity", "for all");
                if let Some(daemon) = world.daemon() {
                    daemon.names.forget(None).await;
                }
            }
            _ if with_floods => {
                note(&world, "floods", "begins");
                floods += 1;
                users::flood(&world, 1_000_000 * floods, floods % 2 == 0).await;
                world.tell("the flood is over");
            }
            _ => {}
        }
    }
}

/// The disk takes nothing for some hours, and neither do the small files on it.
fn fill_disk(world: &Arc<SoakWorld>, keeper: &Arc<DaemonKeeper>, rng: &mut StdRng) {
    let kinds = [ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem, ErrorKind::Other];
    let (kind, time) = (kinds[rng.random_range(0..kinds.len())], minutes(60..720, rng));
    if keeper.trouble().is_some() {
        return;
    }
    note(world, "disks that take nothing", &format!("{kind:?} for {time:?}"));
    keeper.obstruct(world, time);
    let (world, keeper) = (Arc::clone(world), Arc::clone(keeper));
    tokio::spawn(async move { keeper.fill_disk(&world, kind, time).await });
}

/// The daemon ends, in order or not, and is started again; what was killed may find its store damaged.
async fn restart(world: &Arc<SoakWorld>, keeper: &DaemonKeeper, rng: &mut StdRng) {
    let kills = rng.random_bool(0.3);
    note(world, "restarts of the node", if kills { "killed" } else { "in order" });
    let damage = (kills && rng.random_bool(0.4)).then(|| world.rng());
    if damage.is_some() {
        note(world, "damaged stores", "a file is cut off");
    }
    keeper.restart(world, kills, minutes(0..20, rng), damage).await;
}

fn note(world: &SoakWorld, event: &'static str, what: &str) {
    world.count(event);
    world.tell(&format!("{event}: {what}"));
}

/// A server hears of blocks late, or not at all.
fn behind(world: &Arc<SoakWorld>, server: usize, rng: &mut StdRng) {
    let stands_still = rng.random_bool(0.3);
    let (lag, time) = (minutes(2..45, rng), minutes(60..600, rng));
    note(
        world,
        "servers behind",
        &format!("server {server} for {time:?}: stands still: {stands_still}, {lag:?}"),
    );
    let world = Arc::clone(world);
    tokio::spawn(async move {
        world.change(server, |state| {
            state.lag = lag;
            state.follows = !stands_still;
        });
        sleep(time).await;
        world.change(server, |state| {
            state.lag = PROMPT / 10;
            state.follows = true;
        });
        world.follow(server);
        world.tell(&format!("server {server} follows again"));
    });
}

/// A server begins anew, and serves what it has meanwhile.
fn reindex(world: &Arc<SoakWorld>, server: usize, rng: &mut StdRng) {
    let time = minutes(60..600, rng);
    note(
        world,
        "servers that index anew",
        &format!("server {server} for {time:?}"),
    );
    let world = Arc::clone(world);
    tokio::spawn(async move {
        world.change(server, |state| state.follows = false);
        for tenth in 1..=10 {
            world.reindex(server, tenth);
            sleep(time / 10).await;
        }
        world.change(server, |state| state.follows = true);
        world.follow(server);
        world.tell(&format!("server {server} has its index again"));
    });
}

/// The machine sleeps: its connections are gone when it wakes, and blocks were found.
async fn suspend(world: &Arc<SoakWorld>, rng: &mut StdRng) {
    let (away, steady_counts) = (minutes(5..600, rng), rng.random_bool(0.5));
    note(
        world,
        "suspensions",
        &format!("{away:?}, the steady clock goes on: {steady_counts}"),
    );
    world.disturb(true);
    let blocks = away.as_secs() / super::super::BLOCK_MEAN.as_secs();
    let part = away.as_secs() / (blocks + 1);
    world.cut();
    for _ in 0..blocks {
        world.sleep_through(part);
        world.find_block(None);
    }
    world.sleep_through(away.as_secs() - blocks * part);
    if let Some(time) = world.daemon_time() {
        time.step_wall(i64::try_from(away.as_secs()).unwrap());
        if steady_counts {
            time.step_steady(away);
        }
    }
    // A part of its streams is found dead only later.
    sleep(Duration::from_secs(1)).await;
    world.disturb(false);
}

/// Somebody sets the clock wrong, and right again.
async fn step_clock(world: &Arc<SoakWorld>, rng: &mut StdRng) {
    let steps = [-86_400, -7200, -600, -30, 30, 600, 7200, 86_400];
    let (step, time) = (steps[rng.random_range(0..steps.len())], minutes(1..60, rng));
    note(world, "wrong clocks", &format!("by {step} s for {time:?}"));
    let Some(clock) = world.daemon_time() else { return };
    world.disturb(true);
    clock.step_wall(step);
    sleep(time).await;
    clock.step_wall(-step);
    world.disturb(false);
}

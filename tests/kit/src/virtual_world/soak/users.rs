//! Who asks for names in a soak.

use std::sync::Arc;
use std::time::Duration;

use isonym::chain::Height;
use isonym::isolation::IsolationId;
use isonym::name::Outcome;
use isonym::service::{Answer, Caller, NameResult, Question};
use isonym::time::random_pause;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::{NAMES, look_up, question};
use super::fronts;
use super::truth::LAPSING;
use super::world::{RECOVERY, SoakWorld};

/// Pause before a question that failed is asked again.
const AGAIN: Duration = Duration::from_secs(15);

/// So much of an error tells what it is, in characters.
const SAID: usize = 48;

/// Names from here on do not exist.
const ABSENT: usize = 1000;

/// Mean pause between two visits of one user.
const BETWEEN_VISITS: Duration = Duration::from_secs(2400);

/// Mean pause until a user looks once more at what was just looked up.
const BETWEEN_LOOKS: Duration = Duration::from_secs(150);

/// Most visits of one user.
const VISITS: u32 = 5;

/// Most names that are asked for across a reorganisation.
const LOOKS_ACROSS: usize = 6;

/// How many ask at once in a flood.
const FLOOD: u32 = 5000;

fn draw_name(id: u32, rng: &mut StdRng) -> usize {
    match rng.random_range(0..100) {
        0..60 => rng.random_range(0..LAPSING),
        60..75 => rng.random_range(LAPSING..NAMES),
        // Everybody's own.
        _ => ABSENT + id as usize,
    }
}

fn word_for(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Found(_) => "found",
        Outcome::Expired(_) | Outcome::LongExpired { .. } => "expired",
        Outcome::SemiExpired(_) => "semi-expired",
        Outcome::Unconfirmed { .. } => "unconfirmed",
        Outcome::NeverExisted => "never existed",
        Outcome::ProvedAbsent { .. } => "proved absent",
    }
}

/// Holds an answer against the truth; says whether there was one.
fn judge(world: &SoakWorld, number: usize, quorum: u8, result: &NameResult) -> bool {
    let Ok(Answer::Proved(proved)) = result else {
        return false;
    };
    world.counts(|counts| *counts.outcomes.entry(word_for(&proved.outcome)).or_default() += 1);
    if number < ABSENT {
        world.judge(number, quorum, proved);
    } else if proved.outcome != Outcome::NeverExisted {
        world.fail(&format!("name {number} exists: {:?}", proved.outcome));
    }
    true
}

/// Asks until there is an answer.
async fn ask(world: &SoakWorld, id: u32, number: usize) {
    let quorum = if id % 8 == 1 { 2 } else { 1 };
    let waiting = world.begin_waiting(format!("user {id}, who asks {quorum} for name {number},"), quorum);
    world.counts(|counts| counts.questions += 1);
    loop {
        if let Some(daemon) = world.daemon() {
            world.begin_question(number, id);
            let before = daemon.node.tip_hash();
            let asked = Question {
                quorum: Some(quorum),
                ..question(number, &format!("user {id}"))
            };
            let front = daemon.names.for_caller(Caller::Program, daemon.names.limits());
            let result = front.name_show(&asked).await;
            world.end_question(number, id);
            if let Ok(Answer::Proved(proved)) = &result
                && proved.outcome.proven().is_some()
                && daemon.node.tip_hash() == before
                && proved.tip.hash != before
            {
                world.fail(&format!(
                    "name {number} is judged by another block than our newest: {proved:?}"
                ));
            }
            if judge(world, number, quorum, &result) {
                world.end_waiting(waiting);
                if let (0, Ok(Answer::Proved(proved))) = (id % 4, &result) {
                    fronts::compare(world, &daemon, id, number, &proved.outcome).await;
                }
                return;
            }
            if let Err(error) = &result {
                let said: String = error.to_string().chars().take(SAID).collect();
                world.counts(|counts| *counts.failures.entry(said).or_default() += 1);
                world.note_failure(waiting, format!("{error:?}"));
            }
        }
        sleep(AGAIN).await;
    }
}

/// One isolation ID's life: some visits, in each of them some names at once.
pub(super) async fn live(world: Arc<SoakWorld>, id: u32) {
    let mut rng = world.rng();
    for _ in 0..rng.random_range(1..=VISITS) {
        let mut asking = JoinSet::new();
        let mut last = 0;
        for _ in 0..rng.random_range(1..=4) {
            let (world, number) = (Arc::clone(&world), draw_name(id, &mut rng));
            last = number;
            asking.spawn(async move { ask(&world, id, number).await });
        }
        asking.join_all().await;
        // What is remembered is judged by whatever blocks came meanwhile.
        for _ in 0..rng.random_range(0..3) {
            sleep(random_pause(BETWEEN_LOOKS, &mut rng)).await;
            ask(&world, id, last).await;
        }
        sleep(random_pause(BETWEEN_VISITS, &mut rng)).await;
    }
    if rng.random_bool(0.3)
        && let Some(daemon) = world.daemon()
    {
        let id = IsolationId::new(format!("user {id}").as_bytes()).unwrap();
        daemon.names.forget(Some(&id)).await;
    }
}

/// One ID asks for names of blocks that are replaced then, and for the same ones again: what is remembered is no part of the
/// chain any more.
pub(super) async fn look_across(world: &Arc<SoakWorld>, id: u32, depth: Height) {
    let mut numbers = world.changed_of_late(depth);
    numbers.truncate(LOOKS_ACROSS);
    for number in &numbers {
        ask(world, id, *number).await;
    }
    world.find_block(Some(depth));
    let knows = || {
        world
            .daemon()
            .is_some_and(|daemon| daemon.node.tip_hash() == world.best())
    };
    for _ in 0..60 {
        if knows() {
            break;
        }
        sleep(Duration::from_secs(2)).await;
    }
    for number in numbers {
        ask(world, id, number).await;
    }
}

/// Thousands of IDs ask through one front, while another ID asks for what is remembered for it through another one.
pub(super) async fn flood(world: &Arc<SoakWorld>, first_id: u32, is_unlimited: bool) {
    let Some(daemon) = world.daemon() else { return };
    let (number, id) = (0, first_id);
    ask(world, id, number).await;
    let mut flood = JoinSet::new();
    let mut limits = daemon.names.limits();
    if is_unlimited {
        limits.lookups = FLOOD as usize;
    }
    let front = daemon.names.for_caller(Caller::Dns, limits);
    for other in 1..=FLOOD {
        let (world, front) = (Arc::clone(world), front.clone());
        flood.spawn(async move {
            let (id, number) = (first_id + other, ABSENT + (first_id + other) as usize);
            world.begin_question(number, id);
            // Where there is a limit most are refused, which is as it should be.
            let result = front.name_show(&question(number, &format!("user {id}"))).await;
            world.end_question(number, id);
            judge(&world, number, 1, &result);
        });
    }
    for _ in 0..20 {
        sleep(Duration::from_millis(500)).await;
        world.begin_question(number, id);
        let begun = world.now();
        let result = look_up(&daemon, Caller::Program, number, &format!("user {id}")).await;
        let took = Duration::from_secs_f64(world.now() - begun);
        world.end_question(number, id);
        if !judge(world, number, 1, &result) && world.calm_since(1) + RECOVERY < begun {
            world.fail(&format!("what is remembered is not served in a flood: {result:?}"));
        }
        world.counts(|counts| {
            counts.see(
                "milliseconds of a question in a flood",
                usize::try_from(took.as_millis()).unwrap(),
            );
        });
    }
    flood.join_all().await;
}

//! Who asks for names in a soak.

use std::sync::Arc;
use std::time::Duration;

use isonym::isolation::IsolationId;
use isonym::name::Outcome;
use isonym::service::{Answer, Caller, NameResult};
use isonym::time::random_pause;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::{NAMES, look_up, question};
use super::truth::LAPSING;
use super::world::{RECOVERY, SoakWorld};

/// Who waited so long for an answer, in seconds, while a server was good and nothing else was wrong, waited too long.
pub const BOUND: f64 = 300.0;

/// Pause before a question that failed is asked again.
const AGAIN: Duration = Duration::from_secs(15);

/// So much of an error tells what it is, in characters.
const SAID: usize = 48;

/// Names from here on do not exist.
const ABSENT: usize = 1000;

/// Mean pause between two visits of one user.
const BETWEEN_VISITS: Duration = Duration::from_secs(2400);

/// Most visits of one user.
const VISITS: u32 = 5;

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
    }
}

/// Holds an answer against the truth; says whether there was one.
fn judge(world: &SoakWorld, number: usize, result: &NameResult) -> bool {
    let Ok(Answer::Proved(proved)) = result else {
        return false;
    };
    world.counts(|counts| *counts.outcomes.entry(word_for(&proved.outcome)).or_default() += 1);
    let is_true = if number < ABSENT {
        world.is_true(number, &proved.outcome, proved.tip.height)
    } else {
        proved.outcome == Outcome::NeverExisted
    };
    if !is_true {
        world.fail(&format!(
            "name {number}: {:?} at our height {} is not true",
            proved.outcome, proved.tip.height
        ));
    }
    true
}

/// Asks until there is an answer.
async fn ask(world: &SoakWorld, id: u32, number: usize) {
    let begun = world.now();
    world.counts(|counts| counts.questions += 1);
    loop {
        if let Some(daemon) = world.daemon() {
            world.begin_question(number, id);
            let result = look_up(&daemon, Caller::Program, number, &format!("user {id}")).await;
            world.end_question(number, id);
            let waited = (world.now() - begun.max(world.calm_since() + RECOVERY)).max(0.0);
            if judge(world, number, &result) {
                world.counts(|counts| counts.longest_wait = counts.longest_wait.max(waited));
                return;
            }
            if let Err(error) = &result {
                let said: String = error.to_string().chars().take(SAID).collect();
                world.counts(|counts| *counts.failures.entry(said).or_default() += 1);
            }
            if waited > BOUND {
                world.fail(&format!("user {id} has no answer after {waited:.0} s, but {result:?}"));
                return;
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
        for _ in 0..rng.random_range(1..=4) {
            let (world, number) = (Arc::clone(&world), draw_name(id, &mut rng));
            asking.spawn(async move { ask(&world, id, number).await });
        }
        asking.join_all().await;
        sleep(random_pause(BETWEEN_VISITS, &mut rng)).await;
    }
    if rng.random_bool(0.3)
        && let Some(daemon) = world.daemon()
    {
        let id = IsolationId::new(format!("user {id}").as_bytes()).unwrap();
        daemon.names.forget(Some(&id)).await;
    }
}

/// Thousands of IDs ask through one front, while another ID asks for what is remembered for it through another one.
pub(super) async fn flood(world: &Arc<SoakWorld>, first_id: u32) {
    let Some(daemon) = world.daemon() else { return };
    let (number, id) = (0, first_id);
    ask(world, id, number).await;
    let mut flood = JoinSet::new();
    let front = daemon.names.for_caller(Caller::Dns, daemon.names.limits());
    for other in 1..=FLOOD {
        let (world, front) = (Arc::clone(world), front.clone());
        flood.spawn(async move {
            let (id, number) = (first_id + other, ABSENT + (first_id + other) as usize);
            world.begin_question(number, id);
            // Most are refused, which is as it should be.
            let result = front.name_show(&question(number, &format!("user {id}"))).await;
            world.end_question(number, id);
            judge(&world, number, &result);
        });
    }
    for _ in 0..20 {
        sleep(Duration::from_millis(500)).await;
        world.begin_question(number, id);
        let begun = world.now();
        let result = look_up(&daemon, Caller::Program, number, &format!("user {id}")).await;
        let took = Duration::from_secs_f64(world.now() - begun);
        world.end_question(number, id);
        if !judge(world, number, &result) && world.calm_since() + RECOVERY < begun {
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

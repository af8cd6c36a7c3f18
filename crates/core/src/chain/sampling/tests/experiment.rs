//! Forgers against the sample, many times over with fixed seeds, and against samplers with a flaw, which the same
//! statistic has to find.
//!
//! A judgement is wrong with a probability of one in a million at most, by Chernoff's bound.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::forgery::{Forgery, Layout, Share, chains};
use super::*;

/// So few bits that forgers do get through at times.
const BITS: u16 = 5;

/// How often each forger tries.
const TRIALS: usize = 2000;

/// The natural logarithm of a million.
const MILLION: f64 = 13.816;

/// Where forgers fork off: at the beginning, at shares of the blocks, and as high as they can without a forged block
/// in the tail.
fn forks(works: &[u64], tail_start: usize, share: Share) -> Vec<usize> {
    let needed = sum(&works[tail_start..]) * u128::from(share.1) / u128::from(share.0) + 1;
    let highest = (0..tail_start).rev().find(|fork| sum(&works[*fork..]) >= needed);
    let blocks = works.len();
    let mut forks = vec![0, blocks / 4, blocks / 2, blocks / 10 * 9];
    forks.extend(highest);
    forks
}

/// The forgers of one chain who have done this share of the work.
fn forgers(works: &[u64], tail_start: usize, share: Share) -> Vec<Forgery> {
    let forks = forks(works, tail_start, share);
    let of = |fork, share, layout| Forgery::new(works, tail_start, fork, share, layout);
    let mut forgers: Vec<_> = forks.iter().map(|fork| of(*fork, share, Layout::ForgedFirst)).collect();
    for layout in [Layout::InTurn, Layout::Scattered, Layout::ForgedLast] {
        forgers.push(of(forks[0], share, layout));
        forgers.push(of(forks[2], share, layout));
    }
    for percent in [90, 99] {
        forgers.push(of(forks[2], (share.0 * percent, share.1 * 100), Layout::ForgedFirst));
    }
    // Nothing real above the fork point: in the tail, and from far below.
    forgers.push(of(works.len() - 1, (0, 1), Layout::ForgedFirst));
    forgers.push(of(forks[1], (0, 1), Layout::ForgedFirst));
    forgers
}

/// A sampler as the documentation defines it, on exact sums, with room for a flaw.
struct Model {
    /// Work from each block to the tip, as a share of all.
    remaining: Vec<f64>,
    draws: usize,
    tail_start: usize,
    /// The share of the work in the tail that draws count on.
    tail: f64,
    is_uniform: bool,
}

impl Model {
    fn new(works: &[u64], plan: &Plan) -> Self {
        let whole = sum(works);
        let mut rest = whole;
        let mut remaining = Vec::new();
        for amount in works {
            remaining.push(quotient(rest, whole));
            rest -= u128::from(*amount);
        }
        Self {
            tail: remaining[plan.tail_start()],
            remaining,
            draws: plan.draws(),
            tail_start: plan.tail_start(),
            is_uniform: false,
        }
    }

    /// Samplers that each have one flaw.
    fn flawed(works: &[u64], plan: &Plan) -> Vec<(&'static str, Self)> {
        let model = || Self::new(works, plan);
        let blocks = float(works.len());
        let tail = model().tail * blocks;
        let by_count = (0..works.len()).find(|block| blocks - float(*block) <= tail);
        vec![
            (
                "uniform",
                Self {
                    is_uniform: true,
                    ..model()
                },
            ),
            (
                "half of the draws",
                Self {
                    draws: plan.draws() / 2,
                    ..model()
                },
            ),
            (
                "no tail",
                Self {
                    tail_start: works.len(),
                    ..model()
                },
            ),
            (
                "tail by count",
                Self {
                    tail_start: by_count.unwrap_or(works.len()),
                    ..model()
                },
            ),
        ]
    }

    fn draw(&self, rng: &mut StdRng) -> BTreeSet<usize> {
        let drawn = (0..self.draws).map(|_| {
            let u: f64 = rng.random();
            let remaining = if self.is_uniform {
                1.0 - u * (1.0 - self.tail)
            } else {
                self.tail.powf(u)
            };
            self.remaining.partition_point(|share| *share >= remaining) - 1
        });
        drawn.chain(self.tail_start..self.remaining.len()).collect()
    }
}

/// The share of the samples that a forger passes.
fn share_passed(forger: &Forgery, samples: &[BTreeSet<usize>]) -> f64 {
    float(samples.iter().filter(|sample| forger.passes(sample)).count()) / float(samples.len())
}

/// Says whether so many got through that the bound does not hold.
fn refutes_the_bound(observed: f64) -> bool {
    observed > bound() && float(TRIALS) * divergence(observed, bound()) > MILLION
}

fn bound() -> f64 {
    (-f64::from(BITS)).exp2()
}

#[test]
fn no_forger_gets_through_more_often_than_assured() {
    let mut rng = StdRng::seed_from_u64(0);
    let mut closest: f64 = 0.0;
    for (share, adversary) in [((1, 2), 0.5), ((1, 3), 1.0 / 3.0), ((3, 4), 0.75)] {
        let assurance = Assurance::new(BITS, adversary, 1).unwrap();
        for (kind, works) in chains(500, 5) {
            let plan = plan(&works, &assurance);
            assert!(!plan.takes_all(), "{kind}");
            let samples: Vec<_> = (0..TRIALS).map(|_| plan.draw(&mut rng)).collect();
            for forger in forgers(&works, plan.tail_start(), share) {
                let name = format!("{kind}: {}", forger.name);
                let exact = forger.acceptance(&plan);
                assert!(exact <= bound(), "{name}: {exact}");
                closest = closest.max(exact);
                let observed = share_passed(&forger, &samples);
                assert!(!refutes_the_bound(observed), "{name}: {observed}");
                // Not only below the bound, but what the arithmetic says.
                let surprise = float(TRIALS) * divergence(observed, exact);
                assert!(surprise <= MILLION, "{name}: {observed} instead of {exact}");
            }
        }
    }
    // The worst forgers come close to the bound: it was put to the test.
    assert!(closest > 0.9 * bound(), "{closest}");
}

#[test]
fn the_statistic_finds_every_flaw_of_a_sampler() {
    let assurance = Assurance::new(BITS, 0.5, 1).unwrap();
    let mut rng = StdRng::seed_from_u64(0);
    for (kind, works) in chains(500, 5) {
        let plan = plan(&works, &assurance);
        let forgers = forgers(&works, plan.tail_start(), (1, 2));
        let mut finds_flaw = |model: &Model| {
            let samples: Vec<_> = (0..TRIALS).map(|_| model.draw(&mut rng)).collect();
            forgers
                .iter()
                .any(|forger| refutes_the_bound(share_passed(forger, &samples)))
        };
        assert!(!finds_flaw(&Model::new(&works, &plan)), "{kind}");
        let found: Vec<_> = Model::flawed(&works, &plan)
            .into_iter()
            .filter_map(|(flaw, model)| finds_flaw(&model).then_some(flaw))
            .collect();
        // Blocks and work are the same thing where work is equal, and a tail by count is the longer one where work
        // rises.
        let expected = &["uniform", "half of the draws", "no tail", "tail by count"];
        let flaws = if kind == "falling" { 4 } else { 3 };
        assert_eq!(found, expected[..flaws], "{kind}");
    }
}

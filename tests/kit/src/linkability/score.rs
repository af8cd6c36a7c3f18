//! How well an attacker does, and how well chance would.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// How often owners are dealt anew.
const DEALS: usize = 200;

/// One guess: this and which of the others have one owner? Everything is a number: which is meant is the attacker's affair.
#[derive(Clone, Debug)]
pub struct Riddle {
    /// Whose relatives are sought.
    pub subject: usize,
    /// Among whom, with the attacker's score: the higher, the more likely one owner has both.
    pub candidates: Vec<(usize, f64)>,
}

/// Riddles about things of one run, and who owns each thing.
#[derive(Clone, Debug)]
pub struct Trial {
    pub riddles: Vec<Riddle>,
    pub owners: Vec<usize>,
    /// What kind of thing each is, as the attacker sees too: owners are dealt anew within a kind, since who has many of one
    /// kind has them by chance as well.
    pub kinds: Vec<usize>,
    /// What is one owner's beyond doubt has one number.
    pub clusters: Vec<usize>,
}

impl Trial {
    fn deal(&self, owners: &mut [usize], rng: &mut StdRng) {
        let mut kinds: BTreeMap<usize, BTreeMap<usize, usize>> = BTreeMap::new();
        for (thing, (kind, cluster)) in self.kinds.iter().zip(&self.clusters).enumerate() {
            let clusters = kinds.entry(*kind).or_default();
            clusters.insert(*cluster, self.owners[thing]);
        }
        for clusters in kinds.values_mut() {
            let mut hand: Vec<usize> = clusters.values().copied().collect();
            hand.shuffle(rng);
            clusters
                .values_mut()
                .zip(hand)
                .for_each(|(owner, dealt)| *owner = dealt);
        }
        for (thing, owner) in owners.iter_mut().enumerate() {
            *owner = kinds[&self.kinds[thing]][&self.clusters[thing]];
        }
    }
}

/// A figure, and what it is when owners are dealt anew among the same things.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figure {
    pub got: f64,
    pub chance: f64,
    /// Standard deviation of chance.
    pub deviation: f64,
}

impl Figure {
    pub fn excess(&self) -> f64 {
        self.got - self.chance
    }

    /// The excess in standard deviations.
    pub fn sigmas(&self) -> f64 {
        if self.deviation > 0.0 {
            self.excess() / self.deviation
        } else {
            0.0
        }
    }
}

/// What an attack comes to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Score {
    /// How likely it is that of a pair with one owner and one with two, the former has the higher score.
    pub auc: Figure,
    /// How often the candidate with the highest score has the subject's owner.
    pub top: Figure,
    pub riddles: usize,
    pub pairs: usize,
}

/// Scores an attack over several runs.
pub fn score(trials: &[Trial], seed: u64) -> Score {
    let mut rng = StdRng::seed_from_u64(seed);
    // Once for all deals: the order does not depend on owners. Ties fall to chance.
    let ranked: Vec<Ranked> = trials.iter().map(|trial| Ranked::new(trial, &mut rng)).collect();
    let owners: Vec<&[usize]> = trials.iter().map(|trial| trial.owners.as_slice()).collect();
    let (auc, top) = rate(&ranked, &owners);
    let mut dealt: Vec<Vec<usize>> = trials.iter().map(|trial| trial.owners.clone()).collect();
    let mut by_chance = Vec::new();
    for _ in 0..DEALS {
        for (trial, owners) in trials.iter().zip(&mut dealt) {
            trial.deal(owners, &mut rng);
        }
        let owners: Vec<&[usize]> = dealt.iter().map(Vec::as_slice).collect();
        by_chance.push(rate(&ranked, &owners));
    }
    Score {
        auc: figure(auc, by_chance.iter().map(|deal| deal.0)),
        top: figure(top, by_chance.iter().map(|deal| deal.1)),
        riddles: trials.iter().map(|trial| trial.riddles.len()).sum(),
        pairs: ranked.iter().map(|ranked| ranked.pairs.len()).sum(),
    }
}

fn figure(got: f64, deals: impl Iterator<Item = f64> + Clone) -> Figure {
    let count = DEALS as f64;
    let chance = deals.clone().sum::<f64>() / count;
    let variance = deals.map(|deal| (deal - chance).powi(2)).sum::<f64>() / count;
    Figure {
        got,
        chance,
        deviation: variance.sqrt(),
    }
}

/// A trial's pairs in the order of their scores.
struct Ranked {
    /// Rank, the same for equal scores, and the pair.
    pairs: Vec<(f64, usize, usize)>,
    /// The best candidate of each riddle.
    named: Vec<(usize, usize)>,
}

impl Ranked {
    fn new(trial: &Trial, rng: &mut StdRng) -> Self {
        let mut pairs = Vec::new();
        let mut named = Vec::new();
        for riddle in &trial.riddles {
            let best = riddle.candidates.iter().map(|it| (it.1, rng.random::<u64>(), it.0));
            named.extend(
                best.max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
                    .map(|best| (riddle.subject, best.2)),
            );
            pairs.extend(riddle.candidates.iter().map(|it| (it.1, riddle.subject, it.0)));
        }
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut start = 0;
        while start < pairs.len() {
            let tied = pairs[start..]
                .iter()
                .take_while(|pair| pair.0.total_cmp(&pairs[start].0).is_eq())
                .count();
            let rank = start as f64 + f64::midpoint(tied as f64, 1.0);
            pairs[start..start + tied].iter_mut().for_each(|pair| pair.0 = rank);
            start += tied;
        }
        Self { pairs, named }
    }
}

/// AUC (the mean over runs, each by its number of comparisons) and the share of riddles that are solved.
fn rate(trials: &[Ranked], owners: &[&[usize]]) -> (f64, f64) {
    let (mut won, mut compared, mut solved, mut riddles) = (0.0, 0.0, 0.0, 0.0);
    for (trial, owners) in trials.iter().zip(owners) {
        let same = |a: usize, b: usize| owners[a] == owners[b];
        let (mut ranks, mut related) = (0.0, 0.0);
        for (rank, a, b) in &trial.pairs {
            if same(*a, *b) {
                ranks += rank;
                related += 1.0;
            }
        }
        let strange = trial.pairs.len() as f64 - related;
        won += ranks - related * (related + 1.0) / 2.0;
        compared += related * strange;
        solved += trial.named.iter().filter(|(a, b)| same(*a, *b)).count() as f64;
        riddles += trial.named.len() as f64;
    }
    let part = |of: f64, all: f64| if all > 0.0 { of / all } else { f64::NAN };
    (part(won, compared), part(solved, riddles))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many things of eight owners, each to be told from the twelve that follow.
    fn trial(score: impl Fn(usize, usize, bool, &mut StdRng) -> f64) -> Trial {
        let mut rng = StdRng::seed_from_u64(1);
        let owners: Vec<usize> = (0..300).map(|_| rng.random_range(0..8)).collect();
        let riddles = (0..280).map(|subject| {
            let candidates = (subject + 1..subject + 13).map(|other| {
                let score = score(subject, other, owners[subject] == owners[other], &mut rng);
                (other, score)
            });
            let candidates = candidates.collect();
            Riddle { subject, candidates }
        });
        let riddles = riddles.collect();
        Trial {
            riddles,
            kinds: vec![0; owners.len()],
            clusters: (0..owners.len()).collect(),
            owners,
        }
    }

    #[test]
    fn who_knows_nothing_does_as_chance_would() {
        for trial in [
            trial(|_, _, _, rng| rng.random()),
            trial(|_, _, _, _| 1.0),
            trial(|a, b, _, _| -((b - a) as f64)),
        ] {
            let score = score(&[trial.clone(), trial], 2);
            assert!(
                score.auc.sigmas().abs() < 5.0 && score.top.sigmas().abs() < 5.0,
                "{score:?}"
            );
            assert!((score.auc.chance - 0.5).abs() < 0.01, "{score:?}");
        }
    }

    #[test]
    fn who_knows_a_little_is_found_out_and_who_knows_all_is_always_right() {
        let little = trial(|_, _, same, rng| rng.random::<f64>() + if same { 0.3 } else { 0.0 });
        let little = score(&[little], 2);
        assert!(little.auc.sigmas() > 5.0 && little.top.sigmas() > 5.0, "{little:?}");
        let all = trial(|_, _, same, _| f64::from(u8::from(same)));
        assert!((score(&[all], 2).auc.got - 1.0).abs() < 1e-9);
    }
}

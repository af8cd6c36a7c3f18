//! Chains with forged blocks, as an adversary may show them.

use std::collections::BTreeSet;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::*;

/// An adversary's share of the work above the fork point: a numerator and a denominator.
pub(super) type Share = (u64, u64);

/// A chain of which some blocks have no valid AuxPoW.
#[derive(Clone, Debug)]
pub(super) struct Forgery {
    /// What it is, for people.
    pub(super) name: String,
    /// What each block claims.
    pub(super) works: Vec<u64>,
    /// Whether each block is forged.
    pub(super) forged: Vec<bool>,
}

/// How the adversary lays out his blocks between the fork point and the tail; those of the tail come first, or he is
/// caught.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Layout {
    /// All that are forged directly above the fork point: what the bound says is best for him.
    ForgedFirst,
    /// Forged and real ones in turn.
    InTurn,
    /// At random.
    Scattered,
    /// All that are forged directly below the tail.
    ForgedLast,
}

impl Forgery {
    /// Lets the adversary do as much of the work from block `fork` on as his share allows.
    pub(super) fn new(works: &[u64], tail_start: usize, fork: usize, share: Share, layout: Layout) -> Self {
        let mut order: Vec<usize> = (fork..works.len()).collect();
        match layout {
            Layout::ForgedFirst => order.reverse(),
            Layout::InTurn => order.sort_by_key(|block| block % 2),
            Layout::Scattered => order.shuffle(&mut StdRng::seed_from_u64(1)),
            Layout::ForgedLast => {}
        }
        order.sort_by_key(|block| *block < tail_start);
        let mut budget = sum(&works[fork..]) * u128::from(share.0) / u128::from(share.1);
        let mut forged = vec![false; works.len()];
        for block in order {
            match budget.checked_sub(works[block].into()) {
                Some(rest) => budget = rest,
                None => forged[block] = true,
            }
        }
        Self {
            name: format!("{layout:?} from {fork} of {}, share {share:?}", works.len()),
            works: works.to_vec(),
            forged,
        }
    }

    /// The probability with which the plan lets it through, from exact sums.
    pub(super) fn acceptance(&self, plan: &Plan) -> f64 {
        let (below, tail) = self.forged.split_at(plan.tail_start());
        if tail.contains(&true) {
            return 0.0;
        }
        let chances = chances(&self.works, plan.tail_start());
        let hits = below.iter().zip(chances).filter(|(forged, _)| **forged);
        let hit: f64 = hits.map(|(_, chance)| chance).sum();
        (float(plan.draws()) * (-hit.min(1.0)).ln_1p()).exp()
    }

    /// Says whether it gets through when these blocks must show their AuxPoW.
    pub(super) fn passes(&self, sample: &BTreeSet<usize>) -> bool {
        !sample.iter().any(|block| self.forged[*block])
    }
}

/// Chains that claim equal work, work that rises or falls by the most that a retarget allows, and work that swings.
pub(super) fn chains(period: usize, periods: usize) -> Vec<(&'static str, Vec<u64>)> {
    let of = |exponent: &dyn Fn(usize) -> usize| -> Vec<u64> {
        (0..period * periods)
            .map(|block| 1 << (20 + 2 * exponent(block / period)))
            .collect()
    };
    vec![
        ("equal", of(&|_| 0)),
        ("rising", of(&|at| at)),
        ("falling", of(&|at| periods - at)),
        ("swinging", of(&|at| [0, 1, 0, 0, 1, 2, 1][at % 7])),
    ]
}

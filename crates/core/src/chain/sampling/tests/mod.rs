//! Samples of headers: what is promised, against forgers, by exact arithmetic and by experiment.

mod claims;
mod experiment;
mod forgery;
mod grinding;
mod plans;
mod properties;

use bitcoin::pow::Work;

use super::{Assurance, Plan};

/// Work as a plan takes it.
fn work(amount: u64) -> Work {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&amount.to_be_bytes());
    Work::from_be_bytes(bytes)
}

/// Against half of the honest hash rate: less than the default, and easier to compute by hand.
fn basic() -> Assurance {
    Assurance::new(80, 0.5, 72).unwrap()
}

fn plan(works: &[u64], assurance: &Assurance) -> Plan {
    Plan::new(works.iter().copied().map(work), assurance)
}

fn sum(works: &[u64]) -> u128 {
    works.iter().copied().map(u128::from).sum()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the sums are exact, their quotient is off by 2^-52"
)]
fn quotient(part: u128, whole: u128) -> f64 {
    part as f64 / whole as f64
}

#[expect(clippy::cast_precision_loss, reason = "some thousands")]
fn float(count: usize) -> f64 {
    count as f64
}

/// The chance of each block below the tail in one draw, by the definition and from exact sums.
fn chances(works: &[u64], tail_start: usize) -> Vec<f64> {
    let whole = sum(works);
    let ln_tail = quotient(sum(&works[tail_start..]), whole).ln();
    let mut remaining = whole;
    let below_tail = works[..tail_start].iter().copied().map(u128::from);
    below_tail
        .map(|amount| {
            // The logarithm of what remains behind the block, by what remains before it.
            let ln_rest = (-quotient(amount, remaining)).ln_1p();
            remaining -= amount;
            ln_rest / ln_tail
        })
        .collect()
}

/// The Kullback-Leibler divergence, in nats, of coins that fall with these chances.
///
/// By Chernoff, so many trials show a share this far from the true chance or farther, on that side, with a
/// probability of `exp(−trials × divergence)` at most.
fn divergence(observed: f64, chance: f64) -> f64 {
    let part = |observed: f64, chance: f64| {
        if observed > 0.0 {
            observed * (observed / chance).ln()
        } else {
            0.0
        }
    };
    part(observed, chance) + part(1.0 - observed, 1.0 - chance)
}

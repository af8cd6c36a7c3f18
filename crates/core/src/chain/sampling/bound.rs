//! The bound of the module's documentation as functions of c (`adversary`), δ (`tail`), λ (`bits`) and m (`draws`).

use std::f64::consts::LN_2;

/// Returns the least probability that one draw hits a forged block, when not even the tail has one:
/// `ln(1/c) / ln(1/δ)`.
///
/// 0 where nothing can be promised: c is 1 or more. 1 where the tail alone shows the forger up: δ is above c.
pub(super) fn hit_chance(adversary: f64, tail: f64) -> f64 {
    let chance = adversary.ln() / tail.ln();
    if adversary < 1.0 && tail < 1.0 {
        chance.min(1.0)
    } else {
        0.0
    }
}

/// Returns how many draws it takes, each with this chance, to let a forger through with a probability of `2^-bits` at
/// most: one or more, infinitely many where the chance is 0. It is a whole number.
pub(super) fn draws(bits: u16, hit_chance: f64) -> f64 {
    (f64::from(bits) * LN_2 / -(-hit_chance).ln_1p()).ceil().max(1.0)
}

/// Returns the greatest probability that so many draws let a forger through: `(1 − ln(1/c) / ln(1/δ))^m`.
pub(super) fn acceptance(hit_chance: f64, draws: f64) -> f64 {
    (1.0 - hit_chance).powf(draws)
}

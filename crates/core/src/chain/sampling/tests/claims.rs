//! The numbers in the module's documentation.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

/// What is demanded of chains of equal work: blocks, draws, tail, headers on average.
type Row = (usize, usize, usize, u32);

/// Checks the averages against exact sums and against draws too.
fn check_costs(assurance: &Assurance, rows: &[Row]) {
    for &(blocks, draws, tail, expected) in rows {
        let works = vec![1 << 60; blocks];
        let plan = plan(&works, assurance);
        assert_eq!(
            (blocks, plan.draws(), blocks - plan.tail_start()),
            (blocks, draws, tail)
        );
        assert!(
            (plan.expected() - f64::from(expected)).abs() <= 0.5,
            "{}",
            plan.expected()
        );
        if plan.takes_all() {
            continue;
        }
        let chances = chances(&works, plan.tail_start());
        let never = |chance: &f64| (float(draws) * (-chance).ln_1p()).exp();
        let exact = float(tail) + chances.iter().map(|chance| 1.0 - never(chance)).sum::<f64>();
        assert!((0.0..0.5).contains(&(plan.expected() - exact)), "{exact}");
        let mut rng = StdRng::seed_from_u64(0);
        let samples = 50;
        let drawn: usize = (0..samples).map(|_| plan.draw(&mut rng).len()).sum();
        // The number of distinct blocks deviates by less than the root of the draws; six times that, for the average.
        let room = 6.0 * (float(draws) / float(samples)).sqrt();
        assert!((float(drawn) / float(samples) - exact).abs() < room, "{drawn}");
    }
}

#[test]
fn a_sample_costs_what_the_tables_say() {
    check_costs(
        &basic(),
        &[
            (500, 126, 72, 177),
            (2016, 238, 72, 281),
            (10_000, 367, 72, 407),
            (37_000, 470, 73, 510),
            (100_000, 551, 72, 589),
            (300_000, 639, 72, 676),
        ],
    );
    check_costs(
        &Assurance::new(80, 0.75, 288).unwrap(),
        &[(500, 0, 500, 500), (37_000, 908, 288, 1142)],
    );
    check_costs(&Assurance::default().after(0), &[(37_000, 1033, 288, 1252)]);
}

/// The probability to find so many blocks before honest miners find theirs, with this part of their hash rate.
fn luck(rate: f64, own: i32, honest: i32) -> f64 {
    // The last of the own blocks comes after `late` honest ones: a negative binomial distribution.
    let chance = rate / (1.0 + rate);
    let mut term = chance.powi(own);
    let mut total = 0.0;
    for late in 0..honest {
        total += term;
        term *= (1.0 - chance) * f64::from(own + late) / f64::from(late + 1);
    }
    total
}

#[test]
fn luck_helps_as_much_as_the_documentation_says() {
    let bits = |rate, own, honest| -luck(rate, own, honest).log2();
    for (rate, own, honest, expected) in [
        (1.0 / 3.0, 72, 144, 8.2),
        (0.25, 72, 144, 18.6),
        (1.0 / 3.0, 288, 384, 77.9),
    ] {
        let bits = bits(rate, own, honest);
        assert!((bits - expected).abs() <= 0.1, "{bits}");
    }
}

/// The bits that hold a forger back who forged so many blocks below the tail and can still mine some once he knows
/// the sample.
fn bits_left(plan: &Plan, forged: usize, minable: f64) -> f64 {
    let forged_blocks = float(forged);
    let hit = 1.0 - plan.acceptance(0.5).powf(1.0 / float(plan.draws()));
    // How many different forged blocks are drawn, if all are as likely to be.
    let mut distinct = vec![0.0; forged + 1];
    distinct[0] = 1.0;
    for _ in 0..plan.draws() {
        for count in (0..=forged).rev() {
            let fresh = |count: usize| hit * (1.0 - float(count) / forged_blocks);
            let from_below = if count == 0 {
                0.0
            } else {
                distinct[count - 1] * fresh(count - 1)
            };
            distinct[count] = distinct[count] * (1.0 - fresh(count)) + from_below;
        }
    }
    // How many he finds in time is Poisson-distributed.
    let (mut finds, mut finds_fewer, mut passes) = ((-minable).exp(), 0.0, 0.0);
    for (count, chance) in distinct.iter().enumerate() {
        passes += chance * (1.0 - finds_fewer);
        finds_fewer += finds;
        finds *= minable / float(count + 1);
    }
    -passes.log2()
}

#[test]
fn blocks_mined_later_help_as_much_as_the_documentation_says() {
    let plan = plan(&vec![1 << 60; 37_000], &basic());
    // Half of the honest hash rate: a block in 20 minutes.
    for (minutes, expected) in [(0.0, 80.0), (10.0, 65.0), (60.0, 43.0), (360.0, 10.0)] {
        let bits = bits_left(&plan, 72, minutes / 20.0);
        assert!((bits - expected).abs() <= 0.5, "{minutes} minutes: {bits}");
    }
}

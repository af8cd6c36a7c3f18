//! Forgers who come back after each sample that they can't answer, with so few bits that one of them would get through.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

const BITS: u16 = 5;

const BLOCKS: usize = 2000;

const TRIES: u64 = 300;

const GRINDERS: u64 = 60;

/// Returns how many of the grinders get through, where each try is drawn by what this makes of those before it.
fn through(assurance_of: impl Fn(u64) -> Assurance) -> usize {
    let works = [1_u64; BLOCKS];
    let plans: Vec<Plan> = (0..TRIES).map(|before| plan(&works, &assurance_of(before))).collect();
    // Half of the work, all of it at the end: the best that a forger can do.
    let forged = BLOCKS / 2;
    let gets_through = |seed: &u64| {
        let mut rng = StdRng::seed_from_u64(*seed);
        plans
            .iter()
            .any(|plan| plan.tail_start() >= forged && plan.draw(&mut rng).iter().all(|block| *block >= forged))
    };
    (0..GRINDERS).filter(gets_through).count()
}

#[test]
fn who_comes_back_again_and_again_gets_through_no_more_often_than_in_one_try() {
    let assurance = Assurance::new(BITS, 0.5, 72).unwrap();
    let unpaid = through(|_| assurance);
    assert!(unpaid > 50, "{unpaid} of them would get through if tries cost nothing");
    // 60 / 32 on average, at most.
    let paid = through(|before| assurance.after(before));
    assert!(paid <= 8, "{paid}");
}

#[test]
fn tries_cost_bits() {
    let assurance = Assurance::default();
    for (before, bits) in [
        (0, 91),
        (1, 93),
        (2, 95),
        (3, 95),
        (999, 111),
        (1 << 23, 138),
        (u64::MAX, 219),
    ] {
        assert_eq!(assurance.after(before).security_bits(), bits, "{before}");
    }
    let most = Assurance::new(256, 0.5, 1).unwrap();
    assert_eq!(most.after(5).security_bits(), 256);
    // A million draws add up to less than the bits that are promised.
    let sum: f64 = (0..1_000_000)
        .map(|n| (-f64::from(assurance.after(n).security_bits())).exp2())
        .sum();
    assert!(sum <= (-90_f64).exp2(), "{sum}");
}

//! What holds for any chain and any assurance.

use proptest::collection::vec;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::forgery::{Forgery, Layout, chains};
use super::*;

/// Work of all sizes up to 2^40: steady, in runs, or another at each block.
fn works() -> impl Strategy<Value = Vec<u64>> {
    let amount = (0..40_u32, 0..1_u64 << 40).prop_map(|(size, bits)| (1 << size) | (bits & ((1 << size) - 1)));
    let runs = vec((amount.clone(), 1..300_usize), 0..10);
    prop_oneof![
        (amount.clone(), 0..3000_usize).prop_map(|(amount, blocks)| vec![amount; blocks]),
        runs.prop_map(|runs| runs
            .into_iter()
            .flat_map(|(amount, blocks)| vec![amount; blocks])
            .collect()),
        vec(amount, 0..600),
    ]
}

/// Work that no rule holds in bounds.
fn wild_works() -> impl Strategy<Value = Vec<Work>> {
    let bytes = prop_oneof![
        any::<[u8; 32]>(),
        Just([0; 32]),
        Just([0xff; 32]),
        (0..32_usize).prop_map(|at| std::array::from_fn(|byte| u8::from(byte == at))),
    ];
    vec(bytes.prop_map(Work::from_be_bytes), 0..400)
}

/// Assurances, with the adversary's share in thousandths.
fn assurance() -> impl Strategy<Value = (Assurance, u64)> {
    let bits = prop_oneof![1..20_u16, 1..=Assurance::MAX_SECURITY_BITS];
    (bits, 1..1000_u16, 1..50_usize).prop_map(|(bits, thousandths, least_tail)| {
        let adversary = f64::from(thousandths) / 1000.0;
        (Assurance::new(bits, adversary, least_tail).unwrap(), thousandths.into())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn samples_are_blocks_of_the_chain_and_hold_the_tail(
        works in wild_works(),
        (assurance, _) in assurance(),
        seed in any::<u64>(),
    ) {
        let plan = Plan::new(works.iter().copied(), &assurance);
        let sample = plan.draw(&mut StdRng::seed_from_u64(seed));
        let blocks = works.len();
        prop_assert_eq!(plan.blocks(), blocks);
        prop_assert!(sample.iter().all(|block| *block < blocks));
        let tail = plan.tail_start()..blocks;
        prop_assert!(tail.len() >= assurance.least_tail().min(blocks));
        prop_assert_eq!(sample.range(tail.clone()).count(), tail.len());
        prop_assert!(sample.len() <= tail.len() + plan.draws());
        prop_assert!(plan.draws() <= blocks);
        prop_assert!(plan.expected() <= float(blocks) && plan.expected() >= float(tail.len()));
        prop_assert!(plan.takes_all() == (tail.start == 0));
        prop_assert!(plan.acceptance(assurance.adversary()) <= (-f64::from(assurance.security_bits())).exp2());
    }

    #[test]
    fn a_plan_is_the_same_each_time_and_a_sample_for_each_seed(
        works in works(),
        (assurance, _) in assurance(),
        seed in any::<u64>(),
    ) {
        let plan = super::plan(&works, &assurance);
        prop_assert_eq!(&plan, &super::plan(&works, &assurance));
        let draw = || plan.draw(&mut StdRng::seed_from_u64(seed));
        prop_assert_eq!(draw(), draw());
    }

    #[test]
    fn more_security_costs_no_fewer_headers(works in works(), (assurance, _) in assurance(), more in 1..=256_u16) {
        let bits = assurance.security_bits().max(more);
        let surer = Assurance::new(bits, assurance.adversary(), assurance.least_tail()).unwrap();
        prop_assert!(super::plan(&works, &surer).expected() >= super::plan(&works, &assurance).expected() - 1e-6);
    }

    /// The bound itself, from exact sums: at every fork point, for the layout that it calls the worst and for others.
    #[test]
    fn no_layout_is_accepted_more_often_than_assured(works in works(), (assurance, thousandths) in assurance()) {
        let plan = super::plan(&works, &assurance);
        if plan.takes_all() {
            return Ok(());
        }
        let bound = (-f64::from(assurance.security_bits())).exp2();
        for fork in (0..works.len()).step_by(1 + works.len() / 20) {
            for layout in [Layout::ForgedFirst, Layout::InTurn, Layout::Scattered, Layout::ForgedLast] {
                let forger = Forgery::new(&works, plan.tail_start(), fork, (thousandths, 1000), layout);
                prop_assert!(forger.acceptance(&plan) <= bound, "{}", forger.name);
            }
        }
    }
}

/// The sum of the squared deviations of how often each block was demanded, and the number of blocks: about equal
/// when the chance of a block in one draw is as given.
fn deviations(works: &[u64], plan: &Plan, chances: &[f64]) -> (f64, f64) {
    let samples = 2000;
    let mut rng = StdRng::seed_from_u64(0);
    let mut times = vec![0; works.len()];
    for _ in 0..samples {
        for block in plan.draw(&mut rng) {
            times[block] += 1;
        }
    }
    let squares = chances.iter().zip(&times).map(|(chance, times)| {
        let demanded = 1.0 - (float(plan.draws()) * (-chance).ln_1p()).exp();
        let mean = demanded * float(samples);
        (f64::from(*times) - mean).powi(2) / (mean * (1.0 - demanded))
    });
    (squares.sum(), float(chances.len()))
}

#[test]
fn draws_have_the_density_that_the_bound_counts_on() {
    let assurance = Assurance::new(20, 0.5, 4).unwrap();
    for (kind, works) in chains(100, 5) {
        let plan = plan(&works, &assurance);
        let chances = chances(&works, plan.tail_start());
        // Six standard deviations of chi-square: one in a million.
        let is_likely = |(squares, blocks): (f64, f64)| squares < blocks + 6.0 * (2.0 * blocks).sqrt();
        assert!(is_likely(deviations(&works, &plan, &chances)), "{kind}");
        // A density that is off by a tenth at both ends is found.
        let tilt = |(at, chance): (usize, &f64)| chance * (1.1 - 0.2 * float(at) / float(chances.len()));
        let tilted: Vec<_> = chances.iter().enumerate().map(tilt).collect();
        assert!(!is_likely(deviations(&works, &plan, &tilted)), "{kind}");
    }
}

//! What may be assured, what it costs, and the edges of a plan.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::AssuranceError;
use super::*;

fn takes_everything(plan: &Plan) -> bool {
    let all = (0..plan.blocks()).collect();
    plan.takes_all() && plan.draw(&mut StdRng::seed_from_u64(0)) == all
}

#[test]
fn only_what_can_be_kept_is_assured() {
    let default = Assurance::default();
    assert_eq!(Assurance::new(90, 0.75, 288), Ok(default));
    let parts = (default.security_bits(), default.adversary(), default.least_tail());
    assert_eq!(parts, (90, 0.75, 288));
    assert!(Assurance::new(1, f64::MIN_POSITIVE, 1).is_ok());
    assert!(Assurance::new(256, 1.0_f64.next_down(), usize::MAX).is_ok());
    for got in [0, 257, u16::MAX] {
        assert_eq!(Assurance::new(got, 0.5, 72), Err(AssuranceError::SecurityBits { got }));
    }
    for got in [0.0, -0.0, -0.5, 1.0, 1.5, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(Assurance::new(80, got, 72), Err(AssuranceError::Adversary { got }));
    }
    let not_a_number = Assurance::new(80, f64::NAN, 72);
    assert!(matches!(not_a_number, Err(AssuranceError::Adversary { .. })));
    assert_eq!(Assurance::new(80, 0.5, 0), Err(AssuranceError::NoTail));
}

#[test]
fn short_chains_are_checked_whole() {
    for blocks in [0, 1, 2, 71, 72, 73, 100, 144] {
        let plan = plan(&vec![7; blocks], &basic());
        assert!(takes_everything(&plan), "{blocks}");
        assert_eq!((plan.blocks(), plan.tail_start(), plan.draws()), (blocks, 0, 0));
        assert!((plan.expected() - float(blocks)).abs() < 1e-9);
        assert!(plan.acceptance(0.5) == 0.0);
    }
    let long = plan(&[7; 1000], &basic());
    assert!(!long.takes_all());
}

#[test]
fn all_are_checked_where_nothing_better_can_be_promised() {
    let nearly_all = Assurance::new(80, 1.0_f64.next_down(), 1).unwrap();
    assert!(takes_everything(&plan(&[7; 2000], &nearly_all)));
    let long_tail = Assurance::new(80, 0.5, usize::MAX).unwrap();
    assert!(takes_everything(&plan(&[7; 2000], &long_tail)));
    assert!(takes_everything(&plan(&[0; 2000], &basic())));
}

#[test]
fn more_work_of_an_adversary_is_accepted_more_often() {
    let plan = plan(&vec![7; 37_000], &basic());
    let at = |share| plan.acceptance(share);
    assert!(at(0.5) <= (-80.0_f64).exp2() && at(0.5) > (-80.2_f64).exp2());
    assert!(at(0.0) == 0.0 && at(0.001) == 0.0, "the tail alone shows him up");
    assert!(at(0.4) < at(0.5) && at(0.5) < at(0.6) && at(0.6) < at(0.9));
    for nothing_is_promised in [1.0, 2.0, f64::NAN] {
        assert!(at(nothing_is_promised) >= 1.0);
    }
}

/// One block with nearly all of the work, wherever it is: it is demanded for sure, or all are.
#[test]
fn a_block_of_enormous_work_can_not_be_forged() {
    let enormous = Work::from_be_bytes([0xff; 32]);
    for at in [0, 1, 500, 900, 999] {
        let works = (0..1000).map(|block| if block == at { enormous } else { work(1) });
        let plan = Plan::new(works, &basic());
        for seed in 0..20 {
            let sample = plan.draw(&mut StdRng::seed_from_u64(seed));
            assert!(sample.contains(&at) && sample.contains(&999), "{at}");
        }
    }
}

/// Blocks that claim nothing have no place on the axis; real difficulty rules know none.
#[test]
fn blocks_without_work_are_demanded_in_the_tail_alone() {
    let works: Vec<u64> = (0..2000).map(|block| u64::from(block % 2 == 0)).collect();
    let plan = plan(&works, &basic());
    assert!(!plan.takes_all());
    let sample = plan.draw(&mut StdRng::seed_from_u64(0));
    assert!(sample.range(..plan.tail_start()).all(|block| block % 2 == 0));
    assert!(sample.range(plan.tail_start()..).count() == 2000 - plan.tail_start());
}

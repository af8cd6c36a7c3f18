//! An old, true chain with one new block on top of it, from a server that has nothing false.

use std::sync::LazyLock;

use isonym_core::chain::freshness::NotFresh;
use isonym_core::chain::{Network, Params};
use isonym_core::time::Timestamp;

use super::{AddressKind, AuxPowKind, Work, World};

/// Regtest, but with tips that age.
static AGEING: LazyLock<Params> = LazyLock::new(|| Params {
    tip_ages: true,
    ..*Network::Regtest.params()
});

const MINED: Work = Work::AuxPow(AuxPowKind::Realistic);

const MONTHS: u32 = 90 * 24 * 3600;

#[test]
fn one_new_block_does_not_make_an_old_chain_new() {
    let names = [("d/old", "true", AddressKind::P2wpkh)];
    let mut world = World::long(5, 300, Timestamp(1_700_000_000), &names).unwrap();
    let check = |world: &World, now: Timestamp| world.chain().header_tree(&AGEING).unwrap().check_fresh(now);
    let old = world.time();
    assert_eq!(check(&world, old), Ok(()));
    let later = u32::try_from(old.0).unwrap() + MONTHS;
    world.mine_at(later, MINED);
    let now = Timestamp(u64::from(later) + 60);
    let error = check(&world, now).unwrap_err();
    assert!(
        matches!(
            error,
            NotFresh::TooLittleWork {
                blocks: 32,
                max: 86_400,
                ..
            }
        ),
        "{error}"
    );
    // Five hours and a half of blocks, and the four days before them are still missing.
    for at in 1..=33 {
        world.mine_at(later + at * 600, MINED);
    }
    let now = Timestamp(u64::from(later) + 33 * 600);
    let error = check(&world, now).unwrap_err();
    assert!(matches!(error, NotFresh::TooLittleWork { blocks: 128, .. }), "{error}");
}

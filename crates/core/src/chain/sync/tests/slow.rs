//! Slow ways, and circuits that die: what comes is kept, and nobody is given up who brings anything.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::chains::Chain;
use super::skeletons::sampled;
use super::world::{Habit, LIMITS, Script, World};
use crate::chain::sync::{HeaderRequest, HeaderSyncEffect, HeaderSyncLimits, ServerState};
use crate::chain::{HeaderTree, Height, Network};

const TIP: Height = 120;

static CHAIN: LazyLock<Chain> = LazyLock::new(|| Chain::mined(0).merge_mined(TIP, 0, |_| false));

/// No circuit dies.
const NEVER: u64 = u64::MAX / 2;

fn world(servers: Vec<Script>, limits: HeaderSyncLimits) -> World {
    let limits = HeaderSyncLimits {
        in_flight: 12,
        ..limits
    };
    let tree = HeaderTree::new(Network::Regtest.params(), CHAIN.anchor(0));
    let mut world = World::with(tree, servers, limits);
    world.wall = CHAIN.tip_time() + 600;
    world
}

fn asked(world: &World, server: usize) -> usize {
    let of_it = world.asked.iter().filter(|(by, _)| *by == server);
    of_it.map(|(_, request)| request.count() as usize).sum()
}

fn assert_synced(world: &World) {
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.tip().hash, CHAIN.tip().hash);
}

#[test]
fn a_reply_that_keeps_coming_is_never_given_up() {
    // Eight full headers take two minutes and more.
    let limits = HeaderSyncLimits {
        connections: 1,
        ..LIMITS
    };
    let mut world = world(vec![Script::honest(&CHAIN).circuit(50, NEVER)], limits);
    world.settle(3_000_000);
    world.settle(3_000_000);
    assert_synced(&world);
    assert_eq!(asked(&world, 0), TIP as usize, "nothing is asked for twice");
}

#[test]
fn circuits_that_die_bring_the_sync_on_each() {
    for ends_after in [20_000, 30_000, 60_000] {
        for limits in [LIMITS, sampled(16)] {
            let mut world = world(vec![Script::honest(&CHAIN).circuit(5_000, ends_after)], limits);
            world.run();
            assert_synced(&world);
            assert!(world.dials.len() > 1, "{ends_after}: {:?}", world.dials);
        }
    }
}

#[test]
fn what_is_left_is_told_in_bytes_and_comes_to_nothing() {
    for limits in [LIMITS, sampled(16)] {
        let mut world = world(vec![Script::honest(&CHAIN).circuit(2_000, NEVER)], limits);
        world.settle(8_000);
        let early = world.progress();
        assert!(early.left > 0 && early.seconds_left().is_some(), "{early:?}");
        world.run();
        assert_synced(&world);
        let end = world.progress();
        assert_eq!((end.left, end.seconds_left()), (0, None), "{end:?}");
        assert!(end.received > early.received, "{early:?} {end:?}");
        let told = early.received + early.left;
        assert!(
            (end.received / 2..end.received * 2).contains(&told),
            "{early:?} {end:?}"
        );
    }
}

#[test]
fn who_trickles_loses_its_chunks_to_another_and_is_kept_where_it_is_the_only_one() {
    let trickling = Script::honest(&CHAIN).circuit(1, NEVER);
    let mut beside = world(
        vec![trickling.clone(), Script::honest(&CHAIN).circuit(5_000, NEVER)],
        LIMITS,
    );
    beside.run();
    assert_synced(&beside);
    assert!(beside.now < 300_000, "{}", beside.now);
    let mut alone = world(vec![trickling], LIMITS);
    alone.settle(3_000_000);
    assert_eq!(alone.dials.len(), LIMITS.connections, "the first connections are kept");
    assert_eq!(alone.verdicts, []);
    assert_eq!(alone.state(0), ServerState::Connected);
}

#[test]
fn headers_that_are_cut_wrongly_in_the_right_length_are_no_lie() {
    let mut world = world(vec![Script::new(&CHAIN, Habit::CutsByAccident)], sampled(16));
    world.run();
    assert_synced(&world);
    let truncated = |(_, request): &&(usize, HeaderRequest)| matches!(request, HeaderRequest::Truncated { .. });
    let first = world.asked.iter().take_while(truncated).count();
    assert_eq!(
        world.asked.iter().filter(truncated).count(),
        first,
        "it is not asked for such any more"
    );
    world.restart();
    assert!(world.asked.len() > first);
}

#[test]
fn that_a_server_cuts_wrongly_is_known_of_it_and_not_of_a_connection() {
    let scripts = vec![Script::new(&CHAIN, Habit::CutsByAccident).circuit(5_000, 60_000)];
    let mut world = world(scripts, sampled(16));
    world.run();
    assert_synced(&world);
    assert!(world.dials.len() > 2, "{:?}", world.dials);
    let truncated = |(_, request): &&(usize, HeaderRequest)| matches!(request, HeaderRequest::Truncated { .. });
    let all = world.asked.iter().filter(truncated).count();
    assert_eq!(all, world.asked.iter().take_while(truncated).count());
}

fn circuit() -> impl Strategy<Value = (u64, u64)> {
    let rate = prop_oneof![500u64..2_000, 2_000u64..20_000, 20_000u64..500_000];
    let ends_after = prop_oneof![20_000u64..200_000, Just(NEVER)];
    (rate, ends_after)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_comes_is_kept_over_deaths_and_restarts(
        circuits in prop::collection::vec(circuit(), 1..4),
        restarts in prop::collection::vec(20_000u64..200_000, 0..4),
        is_sampled: bool,
    ) {
        let scripts = circuits.iter().map(|(rate, ends_after)| Script::honest(&CHAIN).circuit(*rate, *ends_after));
        let limits = if is_sampled { sampled(16) } else { LIMITS };
        let mut world = world(scripts.collect(), limits);
        for pause in restarts {
            world.settle(pause);
            let kept = world.kept();
            world.restart();
            prop_assert!(world.kept() >= kept);
        }
        world.settle(3_000_000);
        prop_assert_eq!(world.tree.tip().hash, CHAIN.tip().hash);
    }
}

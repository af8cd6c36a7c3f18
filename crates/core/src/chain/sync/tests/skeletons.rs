//! Headers that come as a skeleton and are believed on the strength of a sample.

use std::sync::LazyLock;
use std::time::Duration;

use super::chains::Chain;
use super::world::{Habit, LIMITS, Script, World};
use crate::chain::sampling::Assurance;
use crate::chain::sync::{HeaderRequest, HeaderSyncEffect, HeaderSyncLimits, ServerFault, ServerState, Verification};
use crate::chain::tree::UnverifiedChain;
use crate::chain::{HeaderError, HeaderTree, Height, Network};

const TIP: Height = 200;

/// Merge-mined headers only, each honest.
static CHAIN: LazyLock<Chain> = LazyLock::new(|| Chain::mined(0).merge_mined(TIP, 0, |_| false));

pub(super) fn sampled(bits: u16) -> HeaderSyncLimits {
    HeaderSyncLimits {
        verification: Verification::Sampled(Assurance::new(bits, 0.5, 8).unwrap()),
        ..LIMITS
    }
}

fn world_with(servers: Vec<Script>, limits: HeaderSyncLimits) -> World {
    let tree = HeaderTree::new(Network::Regtest.params(), CHAIN.anchor(0));
    let mut world = World::with(tree, servers, limits);
    // Forgers' chains are longer than the honest one, and not ahead of the clock.
    world.wall = CHAIN.tip_time() + 100 * 600;
    world
}

fn world(servers: Vec<Script>) -> World {
    world_with(servers, sampled(16))
}

/// How many full headers were asked for, and how many truncated ones.
fn asked(world: &World) -> (usize, usize) {
    let count = |of: fn(&HeaderRequest) -> usize| world.asked.iter().map(|(_, ask)| of(ask)).sum();
    let full = count(|ask| match ask {
        HeaderRequest::Full { count, .. } => *count as usize,
        HeaderRequest::Truncated { .. } => 0,
        HeaderRequest::Scattered(heights) => heights.len(),
    });
    let truncated = count(|ask| match ask {
        HeaderRequest::Truncated { count, .. } => *count as usize,
        HeaderRequest::Full { .. } | HeaderRequest::Scattered(_) => 0,
    });
    (full, truncated)
}

#[test]
fn one_honest_server_gives_all_headers_truncated_and_some_in_full() {
    let mut world = world(vec![Script::honest(&CHAIN)]);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.tip().hash, CHAIN.tip().hash);
    let (full, truncated) = asked(&world);
    assert_eq!(truncated, TIP as usize);
    assert!((8..120).contains(&full), "{full}");
    assert_eq!(world.tree.unproved(), TIP as usize - full);
    assert_eq!(world.proofs.len(), full);
    assert!((TIP - 7..=TIP).all(|height| world.tree.is_proved(height) == Some(true)));
    assert!(world.tree.skeleton().is_none());
    assert_eq!((world.progress().done, world.progress().total), (201, 201));
}

#[test]
fn servers_share_the_skeleton_and_the_sample() {
    let mut world = world(vec![Script::honest(&CHAIN); 3]);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.tip().hash, CHAIN.tip().hash);
    assert_eq!(asked(&world).1, TIP as usize, "nothing is fetched twice");
    for server in 0..3 {
        let of = |wanted: fn(&HeaderRequest) -> bool| world.asked.iter().any(|(by, ask)| *by == server && wanted(ask));
        assert!(of(|ask| matches!(ask, HeaderRequest::Truncated { .. })), "{server}");
        assert!(of(|ask| !matches!(ask, HeaderRequest::Truncated { .. })), "{server}");
    }
}

#[test]
fn one_server_is_met_over_several_connections_while_there_is_much_to_fetch() {
    let limits = HeaderSyncLimits {
        connections: 4,
        ..sampled(16)
    };
    let mut world = world_with(vec![Script::honest(&CHAIN).latency(300)], limits);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.tip().hash, CHAIN.tip().hash);
    assert!((3..=4).contains(&world.dials.len()), "{:?}", world.dials);
    world.settle(5_000);
    assert_eq!(world.progress().connections, 1, "one is left");
}

#[test]
fn few_missing_headers_come_full() {
    let limits = HeaderSyncLimits {
        skeleton_from: TIP + 1,
        ..sampled(16)
    };
    let mut world = world_with(vec![Script::honest(&CHAIN)], limits);
    world.run();
    assert_eq!(world.tree.unproved(), 0);
    assert_eq!(asked(&world), (TIP as usize, 0));
}

#[test]
fn new_blocks_are_proved_in_full() {
    let longer = CHAIN.merge_mined(9, 1, |_| false);
    let mut world = world(vec![Script::honest(&CHAIN).turns_to(60_000, &longer)]);
    world.run();
    let unproved = world.tree.unproved();
    world.run();
    assert_eq!(world.tree.tip().hash, longer.tip().hash);
    assert!((TIP + 1..=TIP + 9).all(|height| world.tree.is_proved(height) == Some(true)));
    assert!(world.tree.unproved() <= unproved);
}

#[test]
fn the_rest_is_proved_in_the_background() {
    let mut world = world(vec![Script::honest(&CHAIN), Script::honest(&CHAIN).latency(40)]);
    world.run();
    let before = world.tree.unproved();
    assert!(before > 50);
    world.settle(3_600_000);
    let after = world.tree.unproved();
    assert!(after < before && before - after < 3 * 120, "{before} {after}");
    world.settle(20 * 3_600_000);
    assert_eq!(world.tree.unproved(), 0);
    assert_eq!(world.proofs.len(), TIP as usize);
    let asked = world.asked.len();
    world.settle(10 * 3_600_000);
    assert_eq!(world.asked.len(), asked, "and then nothing more is asked");
}

#[test]
fn what_proves_nothing_in_the_background_is_left() {
    let mut world = world(vec![Script::honest(&CHAIN)]);
    world.run();
    let tree = world.tree.clone();
    let forger = Script::new(&CHAIN, Habit::Garbage);
    let mut world = World::with(tree, vec![forger], sampled(16));
    world.wall = CHAIN.tip_time() + 60;
    world.run();
    world.settle(3_600_000);
    assert!(matches!(world.state(0), ServerState::Faulty(_)), "{:?}", world.state(0));
    assert_eq!(world.tree.tip().hash, CHAIN.tip().hash);
}

#[test]
fn a_server_that_cuts_wrongly_serves_proofs_or_alone_all_headers_in_full() {
    let wrongly = Script::new(&CHAIN, Habit::CutsWrongly);
    let mut world = world(vec![wrongly.clone(), Script::honest(&CHAIN)]);
    world.run();
    assert_eq!(world.tree.tip().hash, CHAIN.tip().hash);
    assert!(world.tree.unproved() > 50);
    let proves =
        |(server, ask): &(usize, HeaderRequest)| *server == 0 && !matches!(ask, HeaderRequest::Truncated { .. });
    assert!(world.asked.iter().any(proves));

    let mut world = self::world(vec![wrongly]);
    world.run();
    assert_eq!(world.tree.tip().hash, CHAIN.tip().hash);
    assert_eq!(world.tree.unproved(), 0);
}

/// Runs a forger alone and beside an honest server that is slower or faster.
fn forger(script: &Script, bits: u16) {
    let mut alone = world_with(vec![script.clone()], sampled(bits));
    alone.run();
    assert_eq!(*alone.verdict(), HeaderSyncEffect::Exhausted, "{script:?}");
    assert!(alone.tree.tip().height <= 150, "{script:?}");
    for latency in [10, 100, 900] {
        for honest_first in [false, true] {
            let mut servers = vec![script.clone(), Script::honest(&CHAIN).latency(latency)];
            if honest_first {
                servers.reverse();
            }
            let mut beside = world_with(servers, sampled(bits));
            beside.run();
            assert_eq!(*beside.verdict(), HeaderSyncEffect::Synced, "{script:?}");
            assert_eq!(beside.tree.tip().hash, CHAIN.tip().hash, "{script:?} {latency}");
            let honest = beside.state(usize::from(!honest_first));
            assert_eq!(honest, ServerState::Connected, "{script:?} {latency}");
            assert!(beside.now < 300_000, "{script:?} {latency}: {}", beside.now);
        }
    }
}

#[test]
fn forged_runs_and_private_forks_are_not_believed() {
    let forks = [0, 50, 150].map(|fork| CHAIN.cut(fork));
    for below in &forks {
        let longer = TIP + 30 - below.height();
        for chain in [
            below.merge_mined(longer, 3, |_| true),
            // Half of it real: at the end, in between, at the start.
            below.merge_mined(longer, 3, |at| at < longer / 2),
            below.merge_mined(longer, 3, |at| at % 2 == 0),
            below.merge_mined(longer, 3, |at| at >= longer / 2),
        ] {
            forger(&Script::honest(&chain).latency(60), 40);
        }
    }
}

#[test]
fn a_forged_tail_is_never_believed() {
    let forged = CHAIN.merge_mined(30, 3, |at| at == 29);
    forger(&Script::honest(&CHAIN.cut(150).merge_mined(80, 4, |at| at == 79)), 16);
    let mut world = world(vec![Script::honest(&forged).latency(20), Script::honest(&CHAIN)]);
    world.run();
    world.settle(600_000);
    assert_eq!(world.tree.tip().hash, CHAIN.tip().hash);
    let ServerState::Faulty(ServerFault::Header { height, error }) = world.state(0) else {
        panic!("{:?}", world.state(0))
    };
    assert_eq!(height, TIP + 30);
    assert!(matches!(error, HeaderError::AuxPow(_)));
}

#[test]
fn who_gives_headers_and_no_proof_keeps_nobody_up() {
    for habit in [Habit::NeverProves, Habit::RefusesProofs] {
        let chain = CHAIN.cut(20).merge_mined(TIP, 3, |_| true);
        for latency in [10, 100, 900] {
            let servers = vec![Script::new(&chain, habit), Script::honest(&CHAIN).latency(latency)];
            let mut world = world(servers);
            world.run();
            assert_eq!(*world.verdict(), HeaderSyncEffect::Synced, "{habit:?} {latency}");
            assert_eq!(world.tree.tip().hash, CHAIN.tip().hash, "{habit:?} {latency}");
            assert!(world.now < 300_000, "{habit:?} {latency}: {}", world.now);
        }
        // On the right chain it only loses its part.
        let mut world = world(vec![Script::new(&CHAIN, habit), Script::honest(&CHAIN)]);
        world.run();
        assert_eq!(world.tree.tip().hash, CHAIN.tip().hash);
        assert!(
            !matches!(world.state(0), ServerState::Faulty(_)),
            "{:?}",
            world.state(0)
        );
        let mut world = self::world(vec![Script::new(&chain, habit)]);
        world.run();
        assert_eq!(*world.verdict(), HeaderSyncEffect::Exhausted);
        assert_eq!(world.tree.tip().height, 0);
    }
}

#[test]
fn two_chains_of_which_both_are_real_are_settled_by_work() {
    let light = CHAIN.cut(60).merge_mined(100, 5, |_| false);
    for latencies in [[20, 200], [200, 20], [50, 50]] {
        for reversed in [false, true] {
            let mut servers = vec![
                Script::honest(&light).latency(latencies[0]),
                Script::honest(&CHAIN).latency(latencies[1]),
            ];
            if reversed {
                servers.reverse();
            }
            let mut world = world(servers);
            world.run();
            world.settle(600_000);
            assert_eq!(world.tree.tip().hash, CHAIN.tip().hash);
            for server in 0..2 {
                assert!(
                    !matches!(world.state(server), ServerState::Faulty(_)),
                    "{:?}",
                    world.state(server)
                );
            }
        }
    }
}

#[test]
fn a_long_branch_of_one_server_comes_as_a_skeleton_too() {
    let light = CHAIN.cut(60).merge_mined(100, 5, |_| false);
    let mut world = world(vec![Script::honest(&light)]);
    world.run();
    assert_eq!(world.tree.tip().hash, light.tip().hash);
    let tree = world.tree.clone();
    let mut world = World::with(tree, vec![Script::honest(&CHAIN)], sampled(16));
    world.wall = CHAIN.tip_time() + 60;
    world.run();
    assert_eq!(world.tree.tip().hash, CHAIN.tip().hash);
    let (full, truncated) = asked(&world);
    assert!(full < 120 && truncated >= 140, "{full} {truncated}");
}

#[test]
fn a_reorganisation_in_the_middle_is_followed_and_nobody_is_reported() {
    let other = CHAIN.cut(TIP - 3).merge_mined(6, 2, |_| false);
    for at in (0..4_000).step_by(130) {
        let turning = Script::honest(&CHAIN).turns_to(at, &other);
        for servers in [
            vec![turning.clone()],
            vec![turning.clone(), Script::honest(&CHAIN).turns_to(at + 900, &other)],
        ] {
            let mut world = world(servers);
            world.run();
            world.settle(120_000);
            assert_eq!(world.tree.tip().hash, other.tip().hash, "{at}");
            let faulty = |state: &ServerState| matches!(state, ServerState::Faulty(_));
            assert!(
                !world.reports().iter().any(|report| faulty(&report.state)),
                "{at}: {:?}",
                world.reports()
            );
        }
    }
}

#[test]
fn a_connection_that_cost_enough_makes_room_for_a_fresh_one() {
    // A chunk of sixteen truncated headers costs some four units, four full ones some five.
    let limits = HeaderSyncLimits {
        budget: 30.0,
        ..sampled(16)
    };
    let mut world = world_with(vec![Script::honest(&CHAIN)], limits);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.tip().hash, CHAIN.tip().hash);
    assert!(world.dials.len() >= 4, "{}", world.dials.len());
    let full = HeaderSyncLimits {
        verification: Verification::Full,
        ..limits
    };
    let mut world = world_with(vec![Script::honest(&CHAIN)], full);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.tip().hash, CHAIN.tip().hash);
    assert!(world.dials.len() >= 6, "{}", world.dials.len());
}

#[test]
fn a_server_that_has_had_enough_is_left_alone_for_a_while() {
    let mut world = world(vec![Script::new(&CHAIN, Habit::RateLimited(5))]);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.tip().hash, CHAIN.tip().hash);
    assert!(world.now > 20_000, "{}", world.now);
    assert_eq!(world.state(0), ServerState::Connected);
}

#[test]
fn a_half_made_skeleton_is_gone_on_with() {
    for asked in [1, 2, 3] {
        let mut world = world(vec![Script::new(&CHAIN, Habit::Closes(asked))]);
        world.settle(2_000);
        let tree = world.tree.clone();
        let there = tree.skeleton().map_or(0, UnverifiedChain::len);
        assert!(there > 0, "{asked}");
        let mut world = World::with(tree, vec![Script::honest(&CHAIN)], sampled(16));
        world.wall = CHAIN.tip_time() + 60;
        world.run();
        assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
        assert_eq!(world.tree.tip().hash, CHAIN.tip().hash);
        let (_, truncated) = self::asked(&world);
        assert_eq!(truncated, TIP as usize - there, "only what is missing is asked for");
    }
}

#[test]
fn a_half_made_skeleton_of_a_liar_is_dropped() {
    let forged = CHAIN.cut(10).merge_mined(TIP, 3, |_| true);
    let mut world = world(vec![Script::new(&forged, Habit::NeverProves)]);
    world.settle(10_000);
    let tree = world.tree.clone();
    assert!(tree.skeleton().is_some_and(|skeleton| skeleton.len() > 100));
    let mut world = World::with(tree, vec![Script::honest(&CHAIN)], sampled(16));
    world.wall = CHAIN.tip_time() + 60;
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.tip().hash, CHAIN.tip().hash);
    assert_eq!(world.state(0), ServerState::Connected);
    assert!(world.now < Duration::from_secs(60).as_millis().try_into().unwrap());
}

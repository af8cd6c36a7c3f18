//! Any mixture of servers, in any order: a sync ends, well where an honest server is there.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::chains::Chain;
use super::world::{Habit, LIMITS, Script, World};
use crate::chain::sampling::Assurance;
use crate::chain::sync::{HeaderSyncEffect, HeaderSyncLimits, ServerState, Verification};
use crate::chain::{HeaderTree, Network};

const TIP: u32 = 90;

/// Chains are mined once: all cases choose from these.
struct Chains {
    best: Chain,
    grown: Chain,
    reorganized: Chain,
    lighter: Vec<Chain>,
    worthless: Vec<Chain>,
}

static CHAINS: LazyLock<Chains> = LazyLock::new(|| {
    let best = Chain::mined(TIP);
    let bend = |header: &mut Vec<u8>| {
        let last = header.len() - 1;
        header[last] ^= 0xff;
    };
    Chains {
        grown: best.grown(7, 1),
        reorganized: best.forked(85, 9, 2),
        lighter: vec![
            best.cut(55),
            best.cut(89),
            best.forked(60, 25, 3),
            best.forked(51, 30, 4),
        ],
        worthless: vec![
            best.forked(20, 90, 5),
            best.cut(70).idled(60),
            best.cut(30),
            best.bent(61, bend),
            best.bent(83, bend),
            best.ahead(2_000 * 600),
            best.cut(60).merge_mined(60, 6, |_| true),
            best.cut(75).merge_mined(20, 6, |at| at > 2),
        ],
        best,
    }
});

fn habit() -> impl Strategy<Value = Habit> {
    prop_oneof![
        Just(Habit::Unreachable),
        Just(Habit::Silent),
        Just(Habit::SilentAbove),
        Just(Habit::Forgetful),
        (0_u32..5).prop_map(Habit::Closes),
        (1_u32..5).prop_map(Habit::Busy),
        Just(Habit::Short),
        Just(Habit::Extra),
        Just(Habit::Garbage),
        Just(Habit::Repeats),
        Just(Habit::CutsWrongly),
        (1_u32..100).prop_map(Habit::Boasts),
        Just(Habit::Restless),
        Just(Habit::Misplaces),
        Just(Habit::NeverProves),
        Just(Habit::RefusesProofs),
        (1_u32..9).prop_map(Habit::RateLimited),
    ]
}

/// Ways to verify, and budgets that last for all or for a few requests only.
fn limits() -> impl Strategy<Value = HeaderSyncLimits> {
    let sampled = |bits| Verification::Sampled(Assurance::new(bits, 0.5, 4).unwrap());
    let verification = prop_oneof![
        2 => Just(Verification::Full),
        2 => Just(sampled(2)),
        1 => Just(sampled(40)),
    ];
    let budget = prop_oneof![2 => Just(1_000_000.0), 1 => Just(90.0)];
    (verification, budget).prop_map(|(verification, budget)| HeaderSyncLimits {
        verification,
        budget,
        ..LIMITS
    })
}

fn latency() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 5_u64..500, 1 => 500_u64..3_000]
}

fn honest() -> impl Strategy<Value = Script> {
    let wrongly = prop_oneof![3 => Just(Habit::Honest), 1 => Just(Habit::CutsWrongly)];
    let turns = prop_oneof![3 => Just(None), 1 => (0_u64..30_000).prop_map(Some)];
    (latency(), wrongly, turns, any::<bool>()).prop_map(|(latency, habit, turn, reorganizes)| {
        let script = Script::new(&CHAINS.best, habit).latency(latency);
        match turn {
            Some(at) if reorganizes => script
                .turns_to(at, &CHAINS.best.cut(85))
                .turns_to(at + 700, &CHAINS.reorganized),
            Some(at) => script.turns_to(at, &CHAINS.grown),
            None => script,
        }
    })
}

fn liar() -> impl Strategy<Value = Script> {
    let bad_habit = (habit(), latency()).prop_map(|(habit, latency)| Script::new(&CHAINS.best, habit).latency(latency));
    let bad_chain = (0..CHAINS.worthless.len(), latency())
        .prop_map(|(index, latency)| Script::honest(&CHAINS.worthless[index]).latency(latency));
    let both = (0..CHAINS.worthless.len(), habit(), latency())
        .prop_map(|(index, habit, latency)| Script::new(&CHAINS.worthless[index], habit).latency(latency));
    prop_oneof![3 => bad_habit, 2 => bad_chain, 1 => both]
}

fn lagging() -> impl Strategy<Value = Script> {
    (0..CHAINS.lighter.len(), latency())
        .prop_map(|(index, latency)| Script::honest(&CHAINS.lighter[index]).latency(latency))
}

/// Servers in any order, and for each whether it is honest.
fn mixture(
    honest_count: std::ops::Range<usize>,
    lagging_count: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<(Script, bool)>> {
    let honest = prop::collection::vec((honest(), Just(true)), honest_count);
    let lagging = prop::collection::vec((lagging(), Just(true)), lagging_count);
    let liars = prop::collection::vec((liar(), Just(false)), 0..5);
    (honest, lagging, liars)
        .prop_map(|(honest, lagging, liars)| [honest, lagging, liars].concat())
        .prop_shuffle()
}

fn world(anchor: u32, servers: &[(Script, bool)], connections: usize, limits: HeaderSyncLimits) -> World {
    let tree = HeaderTree::new(Network::Regtest.params(), CHAINS.best.anchor(anchor));
    let servers = servers.iter().map(|(script, _)| script.clone()).collect();
    let mut world = World::with(tree, servers, HeaderSyncLimits { connections, ..limits });
    world.wall = CHAINS.best.tip_time() + 60;
    world
}

fn check_honest(world: &World, servers: &[(Script, bool)]) {
    for (index, (script, is_honest)) in servers.iter().enumerate() {
        let faulty = matches!(world.state(index), ServerState::Faulty(_));
        assert!(!(faulty && *is_honest), "{script:?}: {:?}", world.state(index));
    }
}

/// Says whether no honest server that is connected still is ahead of us: one that was closed in the middle of a
/// reorganisation is not missed while others are there.
fn best_of(servers: &[(Script, bool)], world: &World) -> bool {
    let tip = world.tree.tip();
    let honest = servers
        .iter()
        .enumerate()
        .filter(|(index, (_, is_honest))| *is_honest && world.state(*index) == ServerState::Connected);
    honest.map(|(_, (script, _))| script.chain.height()).max() <= Some(tip.height)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_sync_ends_and_finds_the_best_chain(
        anchor in prop::sample::select(vec![35, 50]),
        servers in mixture(1..4, 0..1),
        limits in limits(),
    ) {
        let mut world = world(anchor, &servers, 3, limits);
        world.run();
        prop_assert_eq!(world.verdict(), &HeaderSyncEffect::Synced);
        // A server may have been in the middle of a reorganisation.
        world.settle(40_000);
        prop_assert!(best_of(&servers, &world), "{:?}", world.tree.tip());
        check_honest(&world, &servers);
    }

    #[test]
    fn in_the_end_the_heaviest_chain_of_all_that_are_connected_wins(
        anchor in prop::sample::select(vec![35, 50]),
        servers in mixture(0..3, 1..3),
        limits in limits(),
    ) {
        let mut world = world(anchor, &servers, servers.len(), limits);
        world.run();
        prop_assert_eq!(world.verdict(), &HeaderSyncEffect::Synced);
        world.settle(1_800_000);
        check_honest(&world, &servers);
        prop_assert!(best_of(&servers, &world), "{:?}", world.tree.tip());
    }

    #[test]
    fn without_an_honest_server_a_sync_ends_too(
        anchor in prop::sample::select(vec![35, 50]),
        servers in prop::collection::vec((liar(), Just(false)), 1..6),
        limits in limits(),
    ) {
        let mut world = world(anchor, &servers, 3, limits);
        world.run();
        prop_assert!(world.tree.tip().height <= CHAINS.best.height() + 9);
    }
}

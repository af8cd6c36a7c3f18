//! Work decides: not length alone, not who came first, not how many say so.

use super::chains::Chain;
use super::world::{Habit, LIMITS, Script, World};
use crate::chain::sync::{HeaderSyncEffect, ServerState};
use crate::chain::{HeaderTree, Network};

fn settled(servers: Vec<Script>) -> World {
    let limits = super::super::HeaderSyncLimits {
        connections: servers.len(),
        ..LIMITS
    };
    let tree = HeaderTree::new(Network::Regtest.params(), Chain::mined(0).anchor(0));
    let mut world = World::with(tree, servers, limits);
    world.run();
    world.settle(600_000);
    world
}

fn assert_all_connected(world: &World) {
    for report in world.reports() {
        assert_eq!(report.state, ServerState::Connected);
    }
}

#[test]
fn the_heavier_branch_wins_in_whatever_order() {
    let light = Chain::mined(60);
    let heavy = light.forked(25, 40, 3);
    for latencies in [[50, 400], [400, 50], [200, 200]] {
        for heavy_first in [false, true] {
            let mut servers = vec![
                Script::honest(&light).latency(latencies[0]),
                Script::honest(&heavy).latency(latencies[1]),
            ];
            if heavy_first {
                servers.reverse();
            }
            let world = settled(servers);
            assert_eq!(world.tree.tip().hash, heavy.tip().hash);
            assert_all_connected(&world);
        }
    }
}

#[test]
fn a_branch_from_the_anchor_itself_is_found() {
    let light = Chain::mined(60);
    let heavy = light.forked(0, 61, 3);
    let world = settled(vec![
        Script::honest(&light).latency(50),
        Script::honest(&heavy).latency(300),
    ]);
    assert_eq!(world.tree.tip().hash, heavy.tip().hash);
    assert_all_connected(&world);
}

#[test]
fn a_majority_on_the_lighter_branch_does_not_matter() {
    let light = Chain::mined(40);
    let heavy = light.forked(10, 31, 3);
    let mut servers = vec![Script::honest(&light); 4];
    servers.push(Script::honest(&heavy));
    let world = settled(servers);
    assert_eq!(world.tree.tip().hash, heavy.tip().hash);
    assert_all_connected(&world);
}

#[test]
fn equal_work_keeps_what_was_seen_first_and_ends_all_the_same() {
    let one = Chain::mined(30);
    let other = one.forked(29, 1, 3);
    let mut world = World::new(one.anchor(0), vec![Script::honest(&one)]);
    world.run();
    let mut world = World::with(world.tree.clone(), vec![Script::honest(&other); 5], LIMITS);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.tip().hash, one.tip().hash);
}

#[test]
fn a_stale_server_beside_a_fresh_one_does_no_harm() {
    let fresh = Chain::mined(70);
    let stale = fresh.cut(20);
    let mut world = World::new(
        fresh.anchor(0),
        vec![
            Script::honest(&stale).latency(20),
            Script::honest(&fresh).latency(2_000),
        ],
    );
    world.run();
    assert_eq!(world.tree.tip().hash, fresh.tip().hash);
    assert_all_connected(&world);
}

#[test]
fn a_fresh_slow_server_is_not_cut_off_while_it_helps() {
    let fresh = Chain::mined(200);
    let stale = fresh.cut(20);
    let mut world = World::new(
        fresh.anchor(0),
        vec![
            Script::honest(&stale).latency(20),
            Script::honest(&fresh).latency(2_000),
        ],
    );
    world.run();
    assert_eq!(world.tree.tip().hash, fresh.tip().hash);
    assert!(world.now > 30_000);
}

#[test]
fn a_reorganisation_after_the_sync_is_followed() {
    let old = Chain::mined(50);
    let new = old.forked(44, 9, 3);
    let mut world = World::new(old.anchor(0), vec![Script::honest(&old).turns_to(100_000, &new); 2]);
    world.run();
    assert_eq!(world.tree.tip().hash, old.tip().hash);
    world.run();
    assert_eq!(world.tree.tip().hash, new.tip().hash);
    assert_all_connected(&world);
}

#[test]
fn a_server_that_unwinds_in_the_middle_of_a_sync_is_not_reported() {
    let old = Chain::mined(80);
    let new = old.forked(70, 15, 3);
    // From well before the first answer to well after the last one.
    for at in (300..3_000).step_by(50) {
        let script = Script::honest(&old).turns_to(at, &old.cut(70)).turns_to(at + 400, &new);
        for servers in [vec![script.clone()], vec![script.clone(), Script::honest(&old)]] {
            let world = settled(servers);
            assert_eq!(world.tree.tip().hash, new.tip().hash, "{at}");
            for report in world.reports() {
                assert!(!matches!(report.state, ServerState::Faulty(_)), "{at}: {report:?}");
            }
        }
    }
}

#[test]
fn a_server_that_changes_its_branch_while_it_is_traced_is_not_reported() {
    let ours = Chain::mined(60);
    let first = ours.forked(10, 60, 3);
    let second = ours.forked(20, 70, 4);
    for at in (1_000..8_000).step_by(100) {
        let turncoat = Script::honest(&first).latency(100).turns_to(at, &second);
        let world = settled(vec![Script::honest(&ours).latency(20), turncoat]);
        assert_eq!(world.tree.tip().hash, second.tip().hash, "{at}");
        assert!(!matches!(world.state(1), ServerState::Faulty(_)), "{at}");
    }
}

#[test]
fn a_restless_server_holds_nobody_up() {
    let chain = Chain::mined(60);
    let restless = Script::new(&chain, Habit::Restless).latency(20);
    let world = settled(vec![restless.clone(), Script::honest(&chain)]);
    assert_eq!(world.tree.tip().hash, chain.tip().hash);
    assert_eq!(world.state(1), ServerState::Connected);
    assert!(world.verdicts[0].0 < 60_000);
    World::new(chain.anchor(0), vec![restless]).run();
}

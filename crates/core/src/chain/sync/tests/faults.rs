//! What a lie costs: the liar, and nobody else.

use super::chains::Chain;
use super::world::{Habit, LIMITS, Script, World};
use crate::chain::sync::{
    CloseReason, HeaderSync, HeaderSyncEffect, HeaderSyncEvent, LinkError, LinkErrorKind, ServerFault, ServerState,
};
use crate::chain::tree::HeaderError;
use crate::chain::{HeaderTree, Network};
use crate::isolation::ConnId;
use crate::reputation::{ServerIndex, SyncReputation};
use crate::time::Now;

const HEIGHT: u32 = 60;

/// Runs a liar alone and beside an honest server, and returns how it ended each time.
fn liar(script: &Script, anchor: u32) -> [ServerState; 2] {
    let chain = Chain::mined(HEIGHT);
    let mut alone = World::new(chain.anchor(anchor), vec![script.clone()]);
    alone.run();
    assert_eq!(*alone.verdict(), HeaderSyncEffect::Exhausted, "{script:?}");

    let honest = Script::honest(&chain).latency(300);
    let mut beside = World::new(chain.anchor(anchor), vec![script.clone(), honest]);
    beside.run();
    assert_eq!(*beside.verdict(), HeaderSyncEffect::Synced, "{script:?}");
    assert_eq!(beside.tree.tip().hash, chain.tip().hash, "{script:?}");
    assert_eq!(beside.state(1), ServerState::Connected, "{script:?}");
    [alone.state(0), beside.state(0)]
}

fn fault_of(script: &Script, anchor: u32) -> ServerFault {
    match liar(script, anchor) {
        [ServerState::Faulty(fault), _] => fault,
        [state, _] => panic!("{state:?}"),
    }
}

#[test]
fn wrong_bytes_are_told_apart() {
    let chain = Chain::mined(HEIGHT);
    let fault = |habit: Habit| fault_of(&Script::new(&chain, habit), 0);
    assert!(matches!(
        fault(Habit::Short),
        ServerFault::Count { expected: 8, got: 7 }
    ));
    assert_eq!(fault(Habit::Extra), ServerFault::ExtraBytes { extra: 1 });
    assert!(matches!(
        fault(Habit::Repeats),
        ServerFault::BrokenLink { .. } | ServerFault::Header { .. }
    ));
}

#[test]
fn wrong_bytes_below_the_anchor_are_told_apart() {
    let chain = Chain::mined(HEIGHT);
    let fault = |habit: Habit| fault_of(&Script::new(&chain, habit), 50);
    assert!(matches!(fault(Habit::Short), ServerFault::Count { .. }));
    assert!(matches!(
        fault(Habit::Extra),
        ServerFault::Decode { .. } | ServerFault::ExtraBytes { .. }
    ));
    assert!(matches!(fault(Habit::Repeats), ServerFault::BrokenLink { .. }));
    assert!(matches!(
        fault(Habit::Garbage),
        ServerFault::BrokenLink { .. } | ServerFault::Decode { .. }
    ));
}

#[test]
fn a_liar_in_the_middle_of_a_chunk_stalls_nobody() {
    let chain = Chain::mined(HEIGHT);
    let bent = chain.bent(20, |header| {
        let last = header.len() - 1;
        header[last] ^= 0xff;
    });
    let script = Script::honest(&bent).latency(20);
    let fault = fault_of(&script, 0);
    assert!(matches!(fault, ServerFault::Header { height: 20, .. }), "{fault:?}");

    let native = chain.bent(22, |header| header[40] ^= 1);
    let fault = fault_of(&Script::honest(&native).latency(20), 0);
    assert!(
        matches!(fault, ServerFault::BrokenLink { .. } | ServerFault::Header { .. }),
        "{fault:?}"
    );
}

#[test]
fn blocks_without_work_count_for_nothing() {
    let chain = Chain::mined(HEIGHT);
    let fault = fault_of(&Script::honest(&chain.cut(30).idled(500)), 0);
    let ServerFault::Header { height: 31, error } = fault else {
        panic!("{fault:?}");
    };
    assert!(matches!(error, HeaderError::InsufficientWork { .. }));
}

#[test]
fn who_is_left_for_good_while_it_is_dialed_once_more_stays_left() {
    let chain = Chain::mined(HEIGHT);
    let mut tree = HeaderTree::new(Network::Regtest.params(), chain.anchor(0));
    let mut reputation = SyncReputation::new(1);
    let mut sync = HeaderSync::new(1, LIMITS, [1; 32]);
    let mut step = |event| sync.on_event(&mut tree, &mut reputation, Now::default(), event);
    let server = ServerIndex(0);
    assert_eq!(
        step(HeaderSyncEvent::Tick).first(),
        Some(&HeaderSyncEffect::Dial(server))
    );
    let connected = |conn| HeaderSyncEvent::Connected {
        server,
        conn: ConnId(conn),
        tip: chain.tip(),
    };
    let asks = |effects: &[HeaderSyncEffect]| effects.iter().any(|it| matches!(it, HeaderSyncEffect::Send { .. }));
    assert!(asks(&step(connected(1))));
    step(HeaderSyncEvent::Closed {
        conn: ConnId(1),
        error: LinkError::new(LinkErrorKind::Permanent, "spoke no protocol"),
    });
    let effects = step(connected(2));
    assert!(
        effects.contains(&HeaderSyncEffect::Close(ConnId(2))) && !asks(&effects),
        "{effects:?}"
    );
    assert!(!effects.iter().any(|effect| matches!(effect, HeaderSyncEffect::Dial(_))));
    assert!(matches!(
        sync.reports().next().unwrap().state,
        ServerState::Faulty(ServerFault::Link(_))
    ));
}

#[test]
fn servers_without_the_anchor_are_left() {
    let chain = Chain::mined(HEIGHT);
    let other = chain.forked(20, 100, 5);
    assert_eq!(
        fault_of(&Script::honest(&other), 50),
        ServerFault::ConflictsWithAnchor { anchor: 50 }
    );
    let other = chain.forked(20, 30, 5);
    assert_eq!(
        fault_of(&Script::honest(&other), 50),
        ServerFault::ConflictsWithAnchor { anchor: 50 }
    );
    let below = chain.cut(49);
    let expected = ServerFault::BelowAnchor {
        claimed: 49,
        anchor: 50,
    };
    assert_eq!(fault_of(&Script::honest(&below), 50), expected);
}

#[test]
fn a_server_without_the_anchor_is_left_when_the_tree_is_filled_already() {
    let chain = Chain::mined(HEIGHT);
    for other in [
        chain.forked(20, 100, 5),
        chain.forked(49, 1, 5),
        chain.forked(45, 20, 5),
    ] {
        let mut world = World::new(chain.anchor(50), vec![Script::honest(&chain)]);
        world.run();
        let tree = world.tree.clone();
        let mut world = World::with(tree, vec![Script::honest(&other)], LIMITS);
        world.run();
        assert_eq!(
            world.state(0),
            ServerState::Faulty(ServerFault::ConflictsWithAnchor { anchor: 50 })
        );
    }
}

#[test]
fn servers_that_waste_time_are_given_up() {
    let chain = Chain::mined(HEIGHT);
    for habit in [
        Habit::Silent,
        Habit::SilentAbove,
        Habit::Boasts(1),
        Habit::Boasts(1_000_000),
        Habit::Garbage,
    ] {
        let [alone, _] = liar(&Script::new(&chain, habit), 50);
        assert!(
            matches!(alone, ServerState::Closed(_) | ServerState::Faulty(_)),
            "{habit:?}: {alone:?}"
        );
    }
}

#[test]
fn a_block_from_the_future_is_taken_later() {
    let chain = Chain::mined(HEIGHT);
    let ahead = chain.ahead(3 * 3600);
    let mut world = World::new(chain.anchor(0), vec![Script::honest(&ahead)]);
    world.wall = chain.tip_time();
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Exhausted);
    assert_eq!(world.tree.tip().hash, chain.tip().hash);
    let ServerState::Closed(reason) = world.state(0) else {
        panic!("{:?}", world.state(0));
    };
    assert!(
        matches!(reason, CloseReason::AheadOfClock { height: 61, .. }),
        "{reason}"
    );
    let text = reason.to_string();
    assert!(text.contains("ahead of our clock at height 61"), "{text}");

    let mut world = World::with(world.tree.clone(), vec![Script::honest(&ahead)], LIMITS);
    world.wall = chain.tip_time() + 2 * 3600;
    world.run();
    assert_eq!(world.tree.tip().hash, ahead.tip().hash);
}

#[test]
fn a_known_block_at_another_height_is_no_tip() {
    let chain = Chain::mined(HEIGHT);
    let liar = Script::new(&chain, Habit::Misplaces).latency(2_000);
    let mut world = World::new(chain.anchor(0), vec![Script::honest(&chain), liar]);
    world.run();
    world.settle(60_000);
    let fault = ServerFault::ClaimedHeight {
        claimed: HEIGHT + 5,
        height: HEIGHT,
    };
    assert_eq!(world.state(1), ServerState::Faulty(fault));
}

#[test]
fn a_chunk_that_waits_above_a_lie_is_used_once_the_lie_is_replaced() {
    let chain = Chain::mined(HEIGHT);
    // The liar's headers are right, its bytes are not: nothing comes after them that would move the tip again.
    for latency in [10, 60, 110, 160, 250] {
        let servers = vec![
            Script::new(&chain, Habit::Extra).latency(latency),
            Script::honest(&chain).latency(30),
        ];
        let mut world = World::new(chain.anchor(0), servers);
        world.run();
        assert_eq!(world.tree.tip().hash, chain.tip().hash, "{latency}");
    }
}

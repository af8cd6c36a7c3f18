//! Who is dialed and asked, and when a sync ends.

use std::sync::LazyLock;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::chains::{Chain, SPACING};
use super::world::{Habit, LIMITS, Script, World};
use crate::chain::freshness::NotFresh;
use crate::chain::params::MAX_TIP_AGE;
use crate::chain::sync::{
    CloseReason, HeaderRequest, HeaderSync, HeaderSyncEffect, HeaderSyncEvent, HeaderSyncLimits, LinkError,
    LinkErrorKind, RequestId, ServerFault, ServerState,
};
use crate::chain::{HeaderTree, Network, Params};
use crate::isolation::ConnId;
use crate::reputation::{Evidence, FailureKind, ServerIndex, ServerReputation, SyncReputation};
use crate::time::{Moment, Now, Timestamp};

/// Regtest, but with tips that age.
static AGEING: LazyLock<Params> = LazyLock::new(|| Params {
    tip_ages: true,
    ..*Network::Regtest.params()
});

fn genesis_world(servers: Vec<Script>) -> World {
    World::new(Chain::mined(0).anchor(0), servers)
}

#[test]
fn one_honest_server_is_enough() {
    let chain = Chain::mined(50);
    let mut world = genesis_world(vec![Script::honest(&chain)]);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.tip().hash, chain.tip().hash);
    assert_eq!(world.reports()[0].headers, 50);
    assert_eq!((world.progress().done, world.progress().total), (51, 51));
}

#[test]
fn three_honest_servers_share_the_work() {
    let chain = Chain::mined(100);
    let mut world = genesis_world(vec![Script::honest(&chain); 3]);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.tip().hash, chain.tip().hash);
    let reports = world.reports();
    assert!(reports.iter().all(|report| report.headers >= 16), "{reports:?}");
    assert_eq!(reports.iter().map(|report| report.headers).sum::<u64>(), 100);
}

#[test]
fn a_slow_servers_chunk_is_stolen() {
    let chain = Chain::mined(40);
    let slow = Script::honest(&chain).latency(15_000);
    let mut world = genesis_world(vec![
        slow,
        Script::honest(&chain).latency(16_000),
        Script::honest(&chain),
    ]);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert!(world.now < 20_000, "{}", world.now);

    let mut world = genesis_world(vec![Script::new(&chain, Habit::Silent), Script::honest(&chain)]);
    world.run();
    assert_eq!(world.tree.tip().hash, chain.tip().hash);
    assert!(world.now < 45_000, "{}", world.now);
}

#[test]
fn two_silent_servers_keep_nothing_from_a_third() {
    let chain = Chain::mined(40);
    let silent = Script::new(&chain, Habit::Silent);
    let mut world = genesis_world(vec![silent.clone(), silent, Script::honest(&chain).latency(200)]);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.tip().hash, chain.tip().hash);
    assert!(world.now < 60_000, "{}", world.now);
}

#[test]
fn a_busy_server_is_dialed_again() {
    let chain = Chain::mined(40);
    let mut world = genesis_world(vec![Script::new(&chain, Habit::Closes(3))]);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.tip().hash, chain.tip().hash);

    let mut world = genesis_world(vec![Script::new(&chain, Habit::Busy(1))]);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.dials.len(), LIMITS.connections, "none but those at the start");

    let mut world = genesis_world(vec![Script::new(&chain, Habit::Busy(9))]);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Exhausted);
    // Those that began together count as one.
    let dials = usize::try_from(LIMITS.dials).unwrap();
    assert_eq!(world.dials.len(), LIMITS.connections + dials - 1);
    let reason = LinkError::new(LinkErrorKind::Transient, "too busy");
    assert_eq!(world.state(0), ServerState::Closed(CloseReason::Link(reason)));
}

#[test]
fn nobody_reachable_is_told_after_the_last_dial() {
    let chain = Chain::mined(5);
    let mut world = genesis_world(vec![Script::new(&chain, Habit::Unreachable); 4]);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Exhausted);
    assert_eq!(world.dials.len(), 12);
    assert!(genesis_world(Vec::new()).run().verdict() == &HeaderSyncEffect::Exhausted);
}

#[test]
fn a_second_server_is_waited_for_but_not_for_long() {
    let chain = Chain::mined(20);
    let near = Script::honest(&chain);
    let mut world = genesis_world(vec![near.clone(), Script::honest(&chain).latency(30_000)]);
    world.run();
    let alone = world.now;
    assert!((5_000..9_000).contains(&alone), "{alone}");

    let mut world = genesis_world(vec![near, Script::honest(&chain).latency(1_000)]);
    world.run();
    assert!(world.now < 5_000, "{}", world.now);
}

#[test]
fn a_new_tip_is_fetched_and_told_again() {
    let short = Chain::mined(20);
    let long = short.grown(30, 1);
    let mut world = genesis_world(vec![Script::honest(&short).turns_to(60_000, &long)]);
    world.run();
    assert_eq!(world.tree.tip().height, 20);
    world.run();
    assert_eq!(world.tree.tip().hash, long.tip().hash);
    assert_eq!(world.verdicts.len(), 2);
}

#[test]
fn headers_below_the_anchor_are_filled_in() {
    let chain = Chain::mined(120);
    let mut world = World::new(chain.anchor(80), vec![Script::honest(&chain); 2]);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    // What few answers need comes behind what all do.
    assert!(world.tree.lowest() > Some(50) && !world.tree.has_history());
    world.settle(60_000);
    assert_eq!(world.verdicts.len(), 1, "there is nothing to tell of it");
    assert!(world.tree.has_history());
    assert_eq!(world.tree.lowest(), Some(50));
    assert_eq!(world.tree.header_at(50), Some(chain.pure(50)));
    assert_eq!(world.tree.tip().hash, chain.tip().hash);
}

#[test]
fn a_server_that_cuts_wrongly_is_asked_for_full_headers_in_smaller_chunks() {
    let chain = Chain::mined(120);
    let mut world = World::new(chain.anchor(80), vec![Script::new(&chain, Habit::CutsWrongly)]);
    world.run().settle(60_000);
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.lowest(), Some(50));
    let mut counts = world.asked.iter().filter_map(|(_, ask)| match ask {
        HeaderRequest::Full { count, .. } => Some(*count),
        HeaderRequest::Truncated { .. } | HeaderRequest::Scattered(_) => None,
    });
    assert!(counts.all(|count| count <= LIMITS.full_chunk));
}

#[test]
fn a_half_filled_tree_is_filled_further() {
    let chain = Chain::mined(120);
    let mut tree = HeaderTree::new(Network::Regtest.params(), chain.anchor(80));
    for height in (75..=80).rev() {
        tree.backfill(chain.pure(height)).unwrap();
    }
    let mut world = World::with(tree, vec![Script::honest(&chain)], LIMITS);
    world.run().settle(60_000);
    assert_eq!(world.tree.lowest(), Some(50));
    assert_eq!(world.tree.tip().hash, chain.tip().hash);
    let below =
        |ask: &HeaderRequest| matches!(ask, HeaderRequest::Truncated { start, count, .. } if start + count > 75);
    assert!(!world.asked.iter().any(|(_, ask)| below(ask)));
}

#[test]
fn servers_that_all_lag_behind_us_end_a_sync_too() {
    let chain = Chain::mined(30);
    let mut tree = HeaderTree::new(Network::Regtest.params(), chain.anchor(0));
    for height in 1..=30 {
        tree.restore(chain.pure(height), true).unwrap();
    }
    let lagging = Script::honest(&chain.cut(29));
    let mut world = World::with(tree, vec![lagging; 5], LIMITS);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.tip().height, 30);
    assert!(world.now < 30_000);
}

#[test]
fn stale_servers_make_room_for_fresh_ones() {
    let stale = Chain::mined(20);
    let fresh = stale.grown(100, 1);
    let mut servers = vec![Script::honest(&stale); 5];
    servers.push(Script::honest(&fresh));
    let mut world = World::on(&AGEING, fresh.anchor(0), servers);
    world.wall = fresh.tip_time() + 60;
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.tip().hash, fresh.tip().hash);
    let left = |index: usize| {
        matches!(
            world.state(index),
            ServerState::Faulty(ServerFault::NotFresh(NotFresh::StaleTip { .. }))
        )
    };
    assert_eq!((0..5).filter(|index| left(*index)).count(), 3);
}

#[test]
fn an_old_chain_with_one_new_block_makes_room_for_a_whole_one() {
    let old = Chain::mined(60);
    let hiding = old.ahead(200 * SPACING);
    let whole = old.grown(200, 1);
    let mut servers = vec![Script::honest(&hiding); 5];
    servers.push(Script::honest(&whole));
    let mut world = World::on(&AGEING, whole.anchor(0), servers);
    world.wall = whole.tip_time() + 1_200;
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.tip().hash, whole.tip().hash);
    assert_eq!(world.tree.check_fresh(Timestamp(world.wall)), Ok(()));
}

#[test]
fn where_all_tips_are_stale_the_best_is_taken_whoever_cannot_be_reached() {
    let chain = Chain::mined(20);
    let honest = Script::honest(&chain);
    let down = Script::new(&chain, Habit::Unreachable);
    for servers in [
        vec![honest.clone(), down.clone()],
        vec![down.clone(), honest.clone()],
        vec![honest.clone(), honest.clone(), honest.clone(), down],
        vec![honest; 5],
    ] {
        let mut world = World::on(&AGEING, chain.anchor(0), servers);
        world.wall = chain.tip_time() + MAX_TIP_AGE + 1;
        world.run();
        assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
        assert_eq!(world.tree.tip().hash, chain.tip().hash);
    }
}

#[test]
fn a_tip_just_young_enough_is_taken() {
    let chain = Chain::mined(20);
    let mut world = World::on(&AGEING, chain.anchor(0), vec![Script::honest(&chain); 5]);
    world.wall = chain.tip_time() + MAX_TIP_AGE - u64::from(SPACING);
    world.run();
    assert_eq!(world.dials.len(), 3);
    assert!(world.now < 5_000);
}

#[test]
fn a_chunk_too_long_for_those_who_are_left_is_cut() {
    let long = Chain::mined(104);
    let short = long.cut(100);
    let limits = HeaderSyncLimits {
        full_chunk: 50,
        steal_after: Duration::from_secs(6),
        ..LIMITS
    };
    let tree = HeaderTree::new(Network::Regtest.params(), long.anchor(0));
    let silent = Script::new(&long.grown(46, 3), Habit::Silent);
    let late = Script::honest(&short).latency(1_000);
    let mut world = World::with(tree, vec![silent, late], limits);
    world.run();
    assert_eq!(*world.verdict(), HeaderSyncEffect::Synced);
    assert_eq!(world.tree.tip().hash, short.tip().hash);
    assert!(world.now < 45_000, "{}", world.now);
}

#[test]
fn what_lookups_find_out_changes_nothing_that_header_sync_does() {
    let chain = Chain::mined(20);
    let server = ServerIndex;
    let error = || LinkError::new(LinkErrorKind::Transient, "no route");
    let connected = |index, conn| HeaderSyncEvent::Connected {
        server: server(index),
        conn: ConnId(conn),
        tip: chain.tip(),
    };
    let failed = |index| HeaderSyncEvent::DialFailed {
        server: server(index),
        error: error(),
    };
    let closed = |conn| HeaderSyncEvent::Closed {
        conn: ConnId(conn),
        error: error(),
    };
    let events = [
        (0, HeaderSyncEvent::Tick),
        (10, connected(0, 1)),
        (20, failed(1)),
        (30, connected(2, 2)),
        (2_100, HeaderSyncEvent::Tick),
        (2_200, failed(1)),
        (2_300, closed(2)),
        (6_300, HeaderSyncEvent::Tick),
        (60_000, closed(1)),
        (700_000, HeaderSyncEvent::Tick),
    ];
    let run = |evidence: Option<Evidence>| {
        let mut reputation = ServerReputation::new(4);
        let mut tree = HeaderTree::new(Network::Regtest.params(), chain.anchor(0));
        let mut sync = HeaderSync::new(4, LIMITS, [1; 32]);
        let mut rng = StdRng::seed_from_u64(1);
        let mut all = Vec::new();
        for (at, event) in events.clone() {
            let now = Now {
                wall: Timestamp(chain.tip_time()),
                steady: Moment(at),
            };
            for index in 0..4 {
                if let Some(evidence) = evidence {
                    reputation.record(now.steady, server(index), evidence, &mut rng);
                }
            }
            all.push(sync.on_event(&mut tree, reputation.header_sync_mut(), now, event));
        }
        all
    };
    let alone = run(None);
    let dials = alone
        .iter()
        .flatten()
        .filter(|effect| matches!(effect, HeaderSyncEffect::Dial(_)));
    assert!(dials.count() > 5);
    for evidence in [
        Evidence::Lied,
        Evidence::Opened,
        Evidence::Failed(FailureKind::Useless),
        Evidence::Failed(FailureKind::Unreachable),
    ] {
        assert_eq!(run(Some(evidence)), alone, "{evidence:?}");
    }
}

/// A machine that knows nothing above or below an anchor, and one server that it dials.
struct Opening {
    chain: Chain,
    tree: HeaderTree,
    reputation: SyncReputation,
    sync: HeaderSync,
}

impl Opening {
    fn new() -> Self {
        let chain = Chain::mined(100);
        let limits = HeaderSyncLimits {
            connections: 1,
            ..LIMITS
        };
        let mut opening = Self {
            tree: HeaderTree::new(Network::Regtest.params(), chain.anchor(80)),
            chain,
            reputation: SyncReputation::new(1),
            sync: HeaderSync::new(1, limits, [1; 32]),
        };
        let effects = opening.step(HeaderSyncEvent::Tick);
        assert_eq!(effects.first(), Some(&HeaderSyncEffect::Dial(ServerIndex(0))));
        opening
    }

    fn step(&mut self, event: HeaderSyncEvent) -> Vec<HeaderSyncEffect> {
        let now = Now {
            wall: Timestamp(self.chain.tip_time()),
            steady: Moment(1000),
        };
        self.sync.on_event(&mut self.tree, &mut self.reputation, now, event)
    }

    /// Returns what a connection is asked upon an event.
    fn asked(&mut self, event: HeaderSyncEvent) -> Vec<(RequestId, HeaderRequest)> {
        let effects = self.step(event).into_iter();
        let asked = effects.filter_map(|effect| match effect {
            HeaderSyncEffect::Send { id, request, .. } => Some((id, request)),
            _ => None,
        });
        asked.collect()
    }

    fn opened(&mut self, conn: u64) -> Vec<(RequestId, HeaderRequest)> {
        self.asked(HeaderSyncEvent::Opened {
            server: ServerIndex(0),
            conn: ConnId(conn),
        })
    }

    fn connected(&mut self, conn: u64) -> Vec<(RequestId, HeaderRequest)> {
        let tip = self.chain.tip();
        self.asked(HeaderSyncEvent::Connected {
            server: ServerIndex(0),
            conn: ConnId(conn),
            tip,
        })
    }

    /// Answers a request for truncated headers.
    fn answer(&mut self, conn: u64, id: RequestId, request: &HeaderRequest) -> Vec<(RequestId, HeaderRequest)> {
        let (start, count) = (request.start(), request.count());
        let headers = (start..start + count).map(|height| self.chain.pure(height).as_bytes().to_vec());
        let bytes = headers.collect::<Vec<_>>().concat();
        self.asked(HeaderSyncEvent::Headers {
            conn: ConnId(conn),
            request: id,
            count,
            bytes,
        })
    }
}

#[test]
fn what_every_server_has_is_asked_along_with_the_greeting_and_only_once() {
    let mut opening = Opening::new();
    let asked = opening.opened(1);
    let [(id, request)] = &asked[..] else {
        panic!("{asked:?}");
    };
    assert!(
        matches!(request, HeaderRequest::Truncated { under: 80, .. }),
        "{request:?}"
    );
    assert_eq!(request.start() + request.count(), 81, "down from the anchor");
    // Nobody has told anything yet.
    let progress = opening.sync.progress(&opening.tree);
    assert_eq!((progress.connections, progress.total), (0, progress.total.min(81)));
    let again = opening.connected(1);
    assert!(again.iter().all(|(_, other)| other != request), "{again:?}");
    assert_eq!(opening.sync.progress(&opening.tree).connections, 1);
    let next = opening.answer(1, *id, request);
    assert!(next.iter().any(|(_, request)| request.start() == 81), "{next:?}");
}

#[test]
fn a_connection_that_ends_while_it_is_greeted_was_not_reached_and_another_one_is_asked() {
    let mut opening = Opening::new();
    let first = opening.opened(1);
    opening.step(HeaderSyncEvent::Closed {
        conn: ConnId(1),
        error: LinkError::new(LinkErrorKind::Transient, "silent"),
    });
    assert!(matches!(
        opening.sync.reports().next().unwrap().state,
        ServerState::Closed(CloseReason::Link(_))
    ));
    let second: Vec<HeaderRequest> = opening.opened(2).into_iter().map(|(_, request)| request).collect();
    assert_eq!(second, [first[0].1.clone()]);
    // Where it is known already, nothing is left that every server has.
    let (id, request) = (RequestId(1), second[0].clone());
    opening.connected(2);
    opening.answer(2, id, &request);
    assert!(crate::chain::sync::backfill::is_ready(&opening.tree));
    assert_eq!(opening.opened(3), []);
}

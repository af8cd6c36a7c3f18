use bitcoin::hashes::Hash;

use super::super::LinkErrorKind;
use super::super::tests::world::LIMITS;
use super::*;
use crate::chain::freshness::NotFresh;
use crate::chain::sync::HeaderRequest;
use crate::chain::sync::cost::Reply;
use crate::chain::tree::HeaderError;
use crate::reputation::FORGIVEN_AFTER;

const A: ServerIndex = ServerIndex(0);
const B: ServerIndex = ServerIndex(1);
const C: ServerIndex = ServerIndex(2);

fn tip() -> ClaimedTip {
    ClaimedTip {
        height: 100,
        hash: BlockHash::from_byte_array([7; 32]),
    }
}

/// A table with the reputation that goes with it.
struct Scene {
    table: PeerTable,
    reputation: SyncReputation,
}

fn seconds(seconds: u64) -> Moment {
    Moment(seconds * 1000)
}

fn scene(servers: usize) -> Scene {
    Scene {
        table: PeerTable::new(servers, LIMITS),
        reputation: SyncReputation::new(servers),
    }
}

fn error(kind: LinkErrorKind) -> LinkError {
    LinkError::new(kind, "said so")
}

fn closed() -> ServerState {
    ServerState::Closed(CloseReason::NoAnswer)
}

fn full(count: Height) -> HeaderRequest {
    HeaderRequest::Full { start: 1, count }
}

impl Scene {
    fn dial(&mut self, now: Moment) -> Vec<ServerIndex> {
        self.table.dial(&mut self.reputation, false, 0, now)
    }

    /// The same where there is much to be fetched.
    fn dial_for_much(&mut self, at: u64) -> Vec<ServerIndex> {
        self.table.dial(&mut self.reputation, false, 100, seconds(at))
    }

    fn connect(&mut self, server: ServerIndex, conn: u64, now: Moment) -> bool {
        self.table.on_connected(server, ConnId(conn), tip(), now)
    }

    fn end(&mut self, conn: u64, state: ServerState, now: Moment) {
        self.table.remove(&mut self.reputation, ConnId(conn), state, now);
    }

    fn fail(&mut self, server: ServerIndex, kind: LinkErrorKind, now: Moment) {
        self.table
            .on_dial_failed(&mut self.reputation, server, error(kind), now);
    }

    fn state(&self, server: ServerIndex) -> ServerState {
        self.table.reports().nth(server.0).unwrap().state
    }

    fn next_wake(&self, now: Moment) -> Option<Moment> {
        let times = self.table.wake_times(&self.reputation);
        times.filter(|at| *at > now).min()
    }
}

#[test]
fn servers_are_dialed_in_order_until_there_are_enough() {
    let mut scene = scene(5);
    assert_eq!(scene.dial(seconds(0)), [A, B, C]);
    assert_eq!(scene.state(A), ServerState::Dialing);
    assert_eq!(scene.dial(seconds(1)), []);
    // A dial that takes long holds nobody else up.
    let slow = LIMITS.steal_after;
    assert_eq!(scene.dial(seconds(0) + slow), [ServerIndex(3), ServerIndex(4)]);
    assert_eq!(scene.next_wake(seconds(1)), Some(seconds(0) + slow));
}

#[test]
fn pauses_double_and_end_with_the_last_dial_but_not_for_ever() {
    let mut scene = scene(1);
    let mut now = seconds(0);
    for pause in [2, 4, 8] {
        assert_eq!(scene.dial(now), [A]);
        scene.fail(A, LinkErrorKind::Transient, now);
        assert_eq!(
            scene.state(A),
            ServerState::Closed(CloseReason::Link(error(LinkErrorKind::Transient)))
        );
        let next = now + Duration::from_secs(pause);
        assert_eq!(scene.dial(next.before(Duration::from_millis(1))), []);
        assert_eq!(scene.next_wake(now), Some(next));
        now = next;
    }
    assert_eq!(scene.dial(now), [], "it was dialed as often as it may be");
    assert!(!scene.table.has_more_servers(&scene.reputation, now));
    assert_eq!(scene.dial(now + FORGIVEN_AFTER), [A]);
}

#[test]
fn who_brings_headers_has_all_its_dials_again() {
    let mut scene = scene(1);
    for (conn, at) in [(1, 0), (2, 2), (3, 6)] {
        assert_eq!(scene.dial(seconds(at)), [A]);
        scene.connect(A, conn, seconds(at));
        scene.end(conn, closed(), seconds(at));
    }
    assert!(!scene.table.has_more_servers(&scene.reputation, seconds(100)));
    assert_eq!(scene.dial(seconds(700)), [A]);
    scene.connect(A, 4, seconds(700));
    assert!(scene.table.has_dials_left(&scene.reputation, ConnId(4)));
    scene
        .table
        .on_useful(&mut scene.reputation, ConnId(4), 30, seconds(700));
    assert_eq!(scene.table.reports().next().unwrap().headers, 30);
    scene.end(4, closed(), seconds(700));
    assert_eq!(scene.dial(seconds(701)), [A]);
}

#[test]
fn who_is_left_for_good_is_not_dialed_again_whatever_comes_later() {
    let faulty = ServerState::Faulty(ServerFault::BrokenLink { height: 5 });
    let mut scene = scene(1);
    scene.dial(seconds(0));
    scene.connect(A, 1, seconds(0));
    scene.connect(A, 2, seconds(0));
    scene.end(1, faulty.clone(), seconds(0));
    scene.end(2, closed(), seconds(1));
    assert_eq!(scene.state(A), faulty);
    assert!(!scene.connect(A, 3, seconds(2)), "it was being dialed once more");
    scene.fail(A, LinkErrorKind::Transient, seconds(3));
    assert_eq!(scene.state(A), faulty);
    assert_eq!(scene.dial(seconds(100_000)), []);
    assert_eq!(scene.next_wake(seconds(0)), None);
}

#[test]
fn who_is_left_for_what_may_pass_is_dialed_again_after_an_hour() {
    let stale = ServerFault::NotFresh(NotFresh::StaleTip {
        height: 5,
        time: crate::time::Timestamp(1),
        age: 9,
        max: 8,
    });
    let mut scene = scene(2);
    scene.dial(seconds(0));
    scene.connect(A, 1, seconds(0));
    scene.fail(B, LinkErrorKind::Permanent, seconds(0));
    assert!(matches!(scene.state(B), ServerState::Faulty(ServerFault::Link(_))));
    scene.end(1, ServerState::Faulty(stale), seconds(1));
    assert_eq!(scene.dial(seconds(3599)), []);
    assert!(!scene.table.has_more_servers(&scene.reputation, seconds(3599)));
    assert_eq!(scene.next_wake(seconds(1)), Some(seconds(3600)));
    assert_eq!(scene.dial(seconds(3600)), [B]);
    assert_eq!(scene.dial(seconds(3601)), [A]);
}

#[test]
fn a_server_stands_as_its_last_connection_does() {
    let mut scene = scene(1);
    scene.dial(seconds(0));
    scene.connect(A, 1, seconds(0));
    scene.connect(A, 2, seconds(0));
    assert_eq!(scene.table.connections_to(A), [ConnId(1), ConnId(2)]);
    assert_eq!(scene.table.connected_servers(), 1);
    scene.end(1, closed(), seconds(1));
    assert_eq!(scene.state(A), ServerState::Connected);
    scene.fail(A, LinkErrorKind::Transient, seconds(1));
    assert_eq!(scene.state(A), ServerState::Connected, "one is enough to know it by");
    scene.end(2, ServerState::Rested, seconds(1));
    assert_eq!(scene.state(A), ServerState::Rested);
    assert!(!scene.connect(ServerIndex(7), 3, seconds(1)));
}

#[test]
fn who_is_connected_is_dialed_once_more_only_for_work_and_where_nobody_else_is_left() {
    let mut scene = scene(2);
    scene.dial(seconds(0));
    scene.connect(A, 1, seconds(0));
    let more =
        |scene: &mut Scene, work: usize, at: u64| scene.table.dial(&mut scene.reputation, false, work, seconds(at));
    assert_eq!(more(&mut scene, 100, 0), [], "another one is being dialed");
    scene.fail(B, LinkErrorKind::Permanent, seconds(0));
    assert_eq!(more(&mut scene, 100, 0), [], "it has brought nothing yet");
    scene.table.on_useful(&mut scene.reputation, ConnId(1), 1, seconds(0));
    assert_eq!(more(&mut scene, 3, 0), [], "one connection is enough for that");
    assert_eq!(more(&mut scene, 4, 0), [A]);
    scene.fail(A, LinkErrorKind::Transient, seconds(0));
    scene.table.on_useful(&mut scene.reputation, ConnId(1), 1, seconds(0));
    assert_eq!(more(&mut scene, 100, 29), []);
    assert_eq!(more(&mut scene, 100, 30), [A]);
    scene.connect(A, 2, seconds(30));
    let needless = scene.table.needless();
    assert_eq!(needless, [ConnId(2)]);
}

#[test]
fn who_limits_our_rate_is_left_alone_for_a_while() {
    let mut scene = scene(1);
    scene.dial(seconds(0));
    scene.connect(A, 1, seconds(0));
    scene.end(1, closed(), seconds(10));
    scene.table.on_rate_limited(&mut scene.reputation, A, seconds(10));
    assert_eq!(scene.dial(seconds(49)), []);
    assert_eq!(
        scene.dial(seconds(50)),
        [A],
        "twice twenty seconds after the first dial"
    );
}

#[test]
fn after_a_sync_a_second_server_is_looked_for_without_haste() {
    let mut scene = scene(1);
    let compare = |scene: &mut Scene, at: u64| scene.table.dial(&mut scene.reputation, true, 100, seconds(at));
    assert_eq!(compare(&mut scene, 59), []);
    assert_eq!(compare(&mut scene, 60), [A]);
    let mut scene = self::scene(3);
    scene.connect(A, 1, seconds(0));
    scene.connect(B, 2, seconds(0));
    assert_eq!(compare(&mut scene, 1000), [], "two tell their tips");
}

#[test]
fn the_lowest_settled_tip_makes_room_for_a_server_that_waits() {
    let mut scene = scene(4);
    for (server, conn, height) in [(A, 1, 90), (B, 2, 80), (C, 3, 70)] {
        let tip = ClaimedTip { height, ..tip() };
        scene.table.on_connected(server, ConnId(conn), tip, seconds(0));
    }
    scene.table.enter(ConnId(1), PeerPhase::Settled);
    scene.table.enter(ConnId(2), PeerPhase::Settled);
    assert_eq!(scene.table.in_the_way(&scene.reputation, seconds(0)), Some(ConnId(2)));
    scene.end(3, closed(), seconds(0));
    assert_eq!(
        scene.table.in_the_way(&scene.reputation, seconds(0)),
        None,
        "there is room"
    );
}

#[test]
fn the_second_request_in_a_row_without_answer_is_one_too_many() {
    let mut scene = scene(1);
    scene.connect(A, 1, seconds(0));
    let conn = ConnId(1);
    assert!(!scene.table.on_strike(conn));
    let id = scene.table.send(conn, Job::Trace, &full(3), seconds(0)).unwrap();
    let reply = Reply {
        count: 3,
        bytes: 300,
        singles: false,
    };
    assert!(scene.table.take_reply(conn, id, reply, seconds(1)).is_some());
    assert!(
        scene.table.take_reply(conn, id, reply, seconds(1)).is_none(),
        "it is answered once"
    );
    assert!(!scene.table.on_strike(conn));
    assert!(scene.table.on_strike(conn));
}

#[test]
fn requests_are_counted_numbered_and_overdue() {
    let mut scene = scene(2);
    scene.connect(A, 1, seconds(0));
    scene.connect(B, 2, seconds(0));
    let send =
        |scene: &mut Scene, conn: u64, at: u64| scene.table.send(ConnId(conn), Job::Trace, &full(3), seconds(at));
    assert_eq!(send(&mut scene, 1, 0), Some(RequestId(0)));
    assert_eq!(send(&mut scene, 2, 1), Some(RequestId(1)));
    assert_eq!(send(&mut scene, 9, 1), None);
    assert!(scene.table.has_room(ConnId(1)));
    assert_eq!(send(&mut scene, 1, 2), Some(RequestId(2)));
    assert!(!scene.table.has_room(ConnId(1)));
    assert_eq!(scene.table.overdue(seconds(44)), []);
    let silent = seconds(2) + LIMITS.steal_after;
    assert!(
        scene.next_wake(seconds(2)).is_some_and(|at| at <= silent),
        "others may help"
    );
    assert_eq!(scene.next_wake(silent), Some(seconds(45)));
    let overdue = [(ConnId(1), RequestId(0)), (ConnId(2), RequestId(1))];
    assert_eq!(scene.table.overdue(seconds(46)), overdue);
    assert!(scene.table.take_request(ConnId(1), RequestId(0)).is_some());
    assert!(scene.table.has_room(ConnId(1)));
}

#[test]
fn a_connection_ends_rather_than_cost_more_than_its_budget_and_a_fresh_one_may_cost_anything() {
    let limits = HeaderSyncLimits { budget: 10.0, ..LIMITS };
    let mut table = PeerTable::new(1, limits);
    let conn = ConnId(1);
    table.on_connected(A, conn, tip(), seconds(0));
    assert!(table.affords(conn, &full(252), seconds(0)), "it is fresh");
    let id = table.send(conn, Job::Branch, &full(252), seconds(0)).unwrap();
    assert!(!table.affords(conn, &full(1), seconds(0)), "what is under way counts");
    assert_eq!(table.over_budget(), [], "a reply is still to come");
    let reply = Reply {
        count: 252,
        bytes: 252 * 1000,
        singles: false,
    };
    table.take_reply(conn, id, reply, seconds(1));
    assert_eq!(table.over_budget(), [conn]);
    assert!(!table.affords(conn, &full(1), seconds(2)));
    assert!(table.affords(conn, &full(1), seconds(1000)), "time forgives");
}

#[test]
fn a_claim_has_its_connection_judged_anew() {
    let tip = ClaimedTip { height: 50, ..tip() };
    let below = BlockHash::all_zeros();
    for (phase, next) in [
        (PeerPhase::Waiting, PeerPhase::Waiting),
        (PeerPhase::Following, PeerPhase::Waiting),
        (PeerPhase::Settled, PeerPhase::Waiting),
        (PeerPhase::SetAside, PeerPhase::SetAside),
        (
            PeerPhase::Tracing { end: 80, span: 8 },
            PeerPhase::Tracing { end: 50, span: 8 },
        ),
        (
            PeerPhase::Branch { next: 80, below },
            PeerPhase::Branch { next: 80, below },
        ),
    ] {
        let mut scene = scene(1);
        scene.connect(A, 1, seconds(0));
        scene.table.enter(ConnId(1), phase);
        assert!(scene.table.on_tip_claimed(ConnId(1), tip, seconds(9)));
        let peer = scene.table.get(ConnId(1)).unwrap();
        assert_eq!((peer.phase, peer.claimed), (next, tip));
        let since = if phase == PeerPhase::Settled { 9 } else { 0 };
        assert_eq!(peer.since, seconds(since), "only who was settled begins anew");
        assert_eq!(scene.table.reports().next().unwrap().claimed, Some(tip));
    }
    assert!(!scene(1).table.on_tip_claimed(ConnId(1), tip, seconds(0)));
}

#[test]
fn traces_are_few_unless_they_lead_somewhere() {
    let mut scene = scene(1);
    scene.connect(A, 1, seconds(0));
    let conn = ConnId(1);
    for _ in 0..MAX_TRACES {
        assert!(scene.table.begin_trace(conn, 90));
        assert!(scene.table.begin_trace(conn, 70), "it is one still");
        let expected = PeerPhase::Tracing {
            end: 90,
            span: FIRST_TRACE,
        };
        assert_eq!(scene.table.get(conn).unwrap().phase, expected);
        scene.table.enter(conn, PeerPhase::Waiting);
    }
    assert!(!scene.table.on_changed_chain(conn));
    scene.table.on_useful(&mut scene.reputation, conn, 1, seconds(0));
    assert!(scene.table.begin_trace(conn, 90));
}

#[test]
fn who_was_set_aside_is_judged_anew_and_nobody_else() {
    let mut scene = scene(3);
    for (server, conn, phase) in [
        (A, 1, PeerPhase::SetAside),
        (B, 2, PeerPhase::Following),
        (C, 3, PeerPhase::SetAside),
    ] {
        scene.connect(server, conn, seconds(0));
        scene.table.enter(ConnId(conn), phase);
    }
    assert!(scene.table.any_in(PeerPhase::SetAside));
    scene.table.retry_set_aside();
    let phases: Vec<PeerPhase> = scene.table.values().map(|peer| peer.phase).collect();
    assert_eq!(phases, [PeerPhase::Waiting, PeerPhase::Following, PeerPhase::Waiting]);
}

#[test]
fn servers_that_agree_are_counted_once_each() {
    let mut scene = scene(2);
    scene.connect(A, 1, seconds(0));
    scene.connect(A, 2, seconds(0));
    assert_eq!(scene.table.agreeing_servers(tip().hash), 1);
    scene.connect(B, 3, seconds(0));
    assert_eq!(scene.table.agreeing_servers(tip().hash), 2);
    assert_eq!(scene.table.agreeing_servers(BlockHash::all_zeros()), 0);
    let fault = ServerFault::Header {
        height: 5,
        error: HeaderError::BelowGenesis,
    };
    scene.end(3, ServerState::Faulty(fault), seconds(1));
    assert_eq!(scene.table.agreeing_servers(tip().hash), 1);
}

#[test]
fn a_server_answers_for_what_an_ended_connection_left() {
    let mut scene = scene(2);
    scene.connect(A, 1, seconds(0));
    scene.end(1, closed(), seconds(1));
    assert_eq!(scene.table.server_of(ConnId(1)), Some(A));
    assert_eq!(scene.table.ended_of(A), [ConnId(1)]);
    let fault = ServerFault::ExtraBytes { extra: 1 };
    let now = seconds(2);
    scene
        .table
        .on_found_guilty(&mut scene.reputation, A, fault.clone(), now);
    assert_eq!(scene.state(A), ServerState::Faulty(fault));
    assert!(scene.reputation.is_banned(A, seconds(9)));
    scene.table.forget_ended(|_| false);
    assert_eq!(scene.table.server_of(ConnId(1)), None, "nothing of it waits any more");
}

#[test]
fn a_connection_that_was_cut_leaves_what_is_known_of_the_way_to_the_next_one() {
    let mut scene = scene(1);
    scene.connect(A, 1, seconds(0));
    let id = scene.table.send(ConnId(1), Job::Trace, &full(200), seconds(0));
    assert!(id.is_some());
    for quarter in 1..=20 {
        scene.table.on_received(ConnId(1), 2500, true, Moment(quarter * 250));
    }
    let cut = CloseReason::Link(error(LinkErrorKind::Transient));
    scene.end(1, ServerState::Closed(cut), seconds(6));
    scene.table.store_ways(&mut scene.reputation);
    let way = scene.reputation.way(A);
    assert_eq!((way.rate, way.longest, way.pads), (Some(10_000), Some(12_500), true));
    scene.reputation.begin();
    assert_eq!(scene.reputation.way(A), way, "for the next run too");
}

#[test]
fn where_much_is_missing_all_connections_are_dialed_at_once() {
    let mut scene = scene(2);
    let much = |scene: &mut Scene, at: u64| scene.table.dial(&mut scene.reputation, false, 100, seconds(at));
    assert_eq!(much(&mut scene, 0), [A, B, A]);
    assert_eq!(much(&mut scene, 0), []);
    // What becomes of one of them alone says nothing of its server.
    scene.fail(A, LinkErrorKind::Transient, seconds(1));
    assert_eq!(scene.state(A), ServerState::Dialing);
    assert_eq!(much(&mut scene, 1), [B], "the place is another one's");
    assert!(scene.connect(A, 1, seconds(2)));
    assert_eq!(scene.state(A), ServerState::Connected);
    scene.fail(B, LinkErrorKind::Transient, seconds(2));
    scene.fail(B, LinkErrorKind::Transient, seconds(2));
    assert!(matches!(scene.state(B), ServerState::Closed(_)), "the last one tells");
    assert_eq!(
        scene.reputation.dials(B),
        1,
        "of three servers that were tried it is one"
    );
}

#[test]
fn where_a_server_is_down_it_is_dialed_no_more_often_for_it() {
    let mut scene = scene(1);
    let much = |scene: &mut Scene, at: u64| scene.table.dial(&mut scene.reputation, false, 100, seconds(at));
    assert_eq!(much(&mut scene, 0), [A; 3]);
    for _ in 0..3 {
        scene.fail(A, LinkErrorKind::Transient, seconds(0));
    }
    assert_eq!(much(&mut scene, 1), []);
    assert_eq!(much(&mut scene, 2), [A], "after the usual pause, and one alone");
    scene.fail(A, LinkErrorKind::Transient, seconds(2));
    assert_eq!(much(&mut scene, 40), [A], "the last of three");
    scene.fail(A, LinkErrorKind::Transient, seconds(40));
    assert_eq!(much(&mut scene, 90), []);
}

/// A scene of so many servers with room for one connection, which leads to the first one and is worn after a second request.
fn nearly_worn(servers: usize) -> Scene {
    let limits = HeaderSyncLimits {
        budget: 30.0,
        connections: 1,
        ..LIMITS
    };
    let mut scene = scene(servers);
    scene.table = PeerTable::new(servers, limits);
    assert_eq!(scene.dial_for_much(0), [A]);
    scene.connect(A, 1, seconds(0));
    let conn = ConnId(1);
    let first = scene.table.send(conn, Job::Branch, &full(1), seconds(0)).unwrap();
    let reply = Reply {
        count: 1,
        bytes: 1000,
        singles: false,
    };
    scene.table.take_reply(conn, first, reply, seconds(0));
    scene.table.on_useful(&mut scene.reputation, conn, 1, seconds(0));
    assert_eq!(scene.dial_for_much(0), [], "it has much of its budget left");
    scene.table.send(conn, Job::Branch, &full(252), seconds(0)).unwrap();
    scene
}

#[test]
fn a_worn_connection_has_its_successor_dialed_before_it_ends() {
    let mut scene = nearly_worn(1);
    assert_eq!(scene.dial_for_much(0), [A], "what is under way uses it up");
    assert_eq!(scene.dial_for_much(1), [], "one successor is enough");
    assert!(scene.connect(A, 2, seconds(2)));
    assert_eq!(scene.dial_for_much(2), []);
    scene.end(1, ServerState::Rested, seconds(3));
    assert_eq!(scene.state(A), ServerState::Connected);
    assert_eq!(scene.dial_for_much(3), []);
}

#[test]
fn what_a_worn_connection_brings_is_not_counted_on() {
    let mut scene = nearly_worn(1);
    let bring = |scene: &mut Scene, conn: u64| {
        for quarter in 1..=3 {
            scene
                .table
                .on_received(ConnId(conn), 2500, false, Moment(quarter * 250));
        }
    };
    bring(&mut scene, 1);
    assert_eq!(scene.table.lasting_rate(seconds(1)), 10_000, "there is no other");
    scene.dial_for_much(1);
    assert!(scene.connect(A, 2, seconds(1)));
    scene.table.send(ConnId(2), Job::Branch, &full(1), seconds(1)).unwrap();
    bring(&mut scene, 2);
    assert_eq!(
        (scene.table.rate(), scene.table.lasting_rate(seconds(2))),
        (20_000, 10_000)
    );
}

#[test]
fn its_successor_leads_to_another_server_where_there_is_one() {
    let mut scene = nearly_worn(3);
    assert_eq!(scene.dial(seconds(0)), [], "there is nothing to be fetched");
    assert_eq!(scene.dial_for_much(0), [B]);
    assert_eq!(scene.dial_for_much(1), []);
    assert!(scene.connect(B, 2, seconds(2)));
    assert_eq!(scene.dial_for_much(2), []);
    scene.end(1, ServerState::Rested, seconds(3));
    assert_eq!(scene.dial_for_much(3), []);
}

#[test]
fn its_successor_leads_to_the_same_server_while_all_others_have_to_wait() {
    let mut scene = nearly_worn(2);
    assert_eq!(scene.dial_for_much(0), [B]);
    scene.fail(B, LinkErrorKind::Transient, seconds(1));
    assert!(scene.table.has_more_servers(&scene.reputation, seconds(1)));
    assert_eq!(scene.dial_for_much(1), [A]);
    assert_eq!(scene.dial_for_much(1), [], "one successor is enough");
}

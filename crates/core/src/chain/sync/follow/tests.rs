use super::super::ClaimedTip;
use super::super::tests::chains::Chain;
use super::super::tests::world::LIMITS;
use super::*;
use crate::chain::Network;
use crate::reputation::ServerIndex;
use crate::time::Moment;

const WALL: Timestamp = Timestamp(4_000_000_000);

/// A tree with the headers of a chain.
fn tree_of(chain: &Chain, anchor: Height) -> HeaderTree {
    let mut tree = HeaderTree::new(Network::Regtest.params(), chain.anchor(anchor));
    for height in (0..=anchor).rev().take_while(|_| anchor > 0) {
        tree.backfill(chain.pure(height)).unwrap();
    }
    for height in anchor + 1..=chain.height() {
        tree.restore(chain.pure(height), true).unwrap();
    }
    tree
}

/// A table of connections, numbered from 0, that claim these tips.
fn claiming(tips: &[ClaimedTip]) -> PeerTable {
    let mut peers = PeerTable::new(tips.len(), LIMITS);
    for (index, tip) in tips.iter().enumerate() {
        peers.on_connected(ServerIndex(index), ConnId(index as u64), *tip, Moment(0));
    }
    peers
}

fn taker(conn: u64, highest: Height) -> Taker {
    Taker::unknown(conn, highest, Moment(0), LIMITS.steal_after)
}

fn bytes_of(chain: &Chain, start: Height, count: Height) -> Vec<u8> {
    chain.full(start, count).flatten().copied().collect()
}

fn apply_all(follow: &mut FollowTip, tree: &mut HeaderTree) -> Vec<Outcome> {
    std::iter::from_fn(|| follow.apply_next(tree, WALL)).flatten().collect()
}

fn trace(tree: &HeaderTree, chain: &Chain, start: Height, count: Height) -> Outcome {
    let chunk = Chunk {
        conn: ConnId(1),
        start,
        count,
        bytes: &bytes_of(chain, start, count),
    };
    FollowTip::apply_trace(tree, chunk)
}

#[test]
fn a_claim_is_judged_by_the_tree() {
    let ours = Chain::mined(60);
    let tree = tree_of(&ours, 0);
    let other = ours.forked(40, 20, 3);
    let misplaced = ClaimedTip {
        height: 65,
        ..ours.tip()
    };
    let claims = [
        ours.tip(),
        ours.cut(30).tip(),
        ours.grown(5, 1).tip(),
        other.tip(),
        misplaced,
        ours.grown(5, 2).tip(),
    ];
    let mut peers = claiming(&claims);
    peers.enter(ConnId(5), PeerPhase::SetAside);
    let outcomes = FollowTip::classify(&tree, &peers, |_| None);
    let conn = ConnId;
    let enter = |conn, phase| Outcome::Enter { conn, phase };
    let expected = [
        enter(conn(0), PeerPhase::Settled),
        enter(conn(1), PeerPhase::Settled),
        enter(conn(2), PeerPhase::Following),
        Outcome::Trace { conn: conn(3), end: 60 },
        Outcome::Report {
            conn: conn(4),
            fault: ServerFault::ClaimedHeight {
                claimed: 65,
                height: 60,
            },
        },
    ];
    assert_eq!(outcomes, expected);
}

#[test]
fn a_branch_is_judged_once_its_tip_is_reached_and_a_fresh_connection_resumes_it() {
    let ours = Chain::mined(60);
    let tree = tree_of(&ours, 0);
    let mut peers = claiming(&[ours.forked(40, 30, 3).tip(), ours.forked(40, 19, 4).tip()]);
    let below = ours.cut(40).tip().hash;
    let branch = PeerPhase::Branch { next: 41, below };
    peers.enter(ConnId(0), branch);
    peers.enter(ConnId(1), PeerPhase::Branch { next: 60, below });
    let outcomes = FollowTip::classify(&tree, &peers, |_| None);
    let trace = Outcome::Trace {
        conn: ConnId(1),
        end: 59,
    };
    assert_eq!(outcomes, [trace], "the other one is not at its end");
    peers.enter(ConnId(0), PeerPhase::Waiting);
    let resumed = |peer: &Peer| (peer.server == ServerIndex(0)).then_some(branch);
    let outcomes = FollowTip::classify(&tree, &peers, resumed);
    let conn = ConnId(0);
    assert_eq!(outcomes.first(), Some(&Outcome::Enter { conn, phase: branch }));
}

#[test]
fn chunks_are_shared_and_used_in_turn() {
    let ours = Chain::mined(20);
    let longer = ours.grown(20, 1);
    let mut tree = tree_of(&ours, 0);
    let mut peers = claiming(&[longer.tip(), longer.cut(30).tip()]);
    for conn in 0..2 {
        peers.enter(ConnId(conn), PeerPhase::Following);
    }
    let mut follow = FollowTip::new(LIMITS);
    follow.plan(&tree, &peers, |_| true);
    assert_eq!(follow.chunks.heights(), 0, "they come as a skeleton");
    follow.plan(&tree, &peers, |_| false);
    let chosen: Vec<_> = [(0, 40), (1, 30), (0, 40)]
        .into_iter()
        .map(|(conn, highest)| follow.choose_forward(&taker(conn, highest)).unwrap().1)
        .collect();
    let full = |start, count| HeaderRequest::Full { start, count };
    assert_eq!(
        chosen,
        [full(21, 8), full(29, 2), full(31, 8)],
        "one ends at a claimed tip"
    );
    follow.chunks.deliver(29, ConnId(1), 2, bytes_of(&longer, 29, 2));
    assert_eq!(apply_all(&mut follow, &mut tree), [], "it waits for the one below");
    follow.chunks.deliver(21, ConnId(0), 8, bytes_of(&longer, 21, 8));
    let brought = |conn, headers| Outcome::Brought {
        conn: ConnId(conn),
        headers,
    };
    let expected = [
        brought(0, 8),
        Outcome::BestChanged { from: 21 },
        brought(1, 2),
        Outcome::BestChanged { from: 29 },
    ];
    assert_eq!(apply_all(&mut follow, &mut tree), expected);
    assert_eq!(tree.tip().height, 30);
}

#[test]
fn who_does_not_link_is_traced_and_its_chunk_given_to_others() {
    let ours = Chain::mined(20);
    let other = ours.forked(10, 30, 3);
    let mut tree = tree_of(&ours, 0);
    let mut peers = claiming(&[other.tip()]);
    peers.enter(ConnId(0), PeerPhase::Following);
    let mut follow = FollowTip::new(LIMITS);
    follow.plan(&tree, &peers, |_| false);
    follow.choose_forward(&taker(0, 40)).unwrap();
    follow.chunks.deliver(21, ConnId(0), 8, bytes_of(&other, 21, 8));
    let conn = ConnId(0);
    let expected = [Outcome::Trace { conn, end: 20 }];
    assert_eq!(apply_all(&mut follow, &mut tree), expected);
    let again = follow.choose_forward(&taker(1, 40)).unwrap();
    assert_eq!(again.1, HeaderRequest::Full { start: 21, count: 8 });
}

#[test]
fn a_trace_widens_until_it_meets_our_chain() {
    let ours = Chain::mined(100);
    let tree = tree_of(&ours, 0);
    let other = ours.forked(40, 70, 3);
    let follow = FollowTip::new(LIMITS);
    let (job, step) = follow.choose_trace(&taker(1, 110), 100, 8, 0);
    assert_eq!(job, Job::Trace);
    let expected = HeaderRequest::Truncated {
        start: 93,
        count: 8,
        under: 110,
    };
    assert_eq!(step, expected);
    let conn = ConnId(1);
    let phase = PeerPhase::Tracing { end: 92, span: 32 };
    assert_eq!(trace(&tree, &other, 93, 8), Outcome::Enter { conn, phase });
    let (_, step) = follow.choose_trace(&taker(1, 110), 92, 32, 0);
    assert_eq!(
        (step.start(), step.count()),
        (77, LIMITS.truncated_chunk),
        "one reply is no longer"
    );
    let below = ours.cut(40).tip().hash;
    let phase = PeerPhase::Branch { next: 41, below };
    assert_eq!(trace(&tree, &other, 35, 10), Outcome::Enter { conn, phase });
    assert_eq!(
        trace(&tree, &other, 41, 10),
        Outcome::Enter { conn, phase },
        "it is just below"
    );
}

#[test]
fn a_trace_that_reaches_the_anchor_in_vain_finds_its_server_guilty() {
    let ours = Chain::mined(100);
    let tree = tree_of(&ours, 50);
    let other = ours.forked(40, 70, 3);
    let conn = ConnId(1);
    let fault = ServerFault::ConflictsWithAnchor { anchor: 50 };
    assert_eq!(
        trace(&tree, &other, 51, 8),
        Outcome::Report {
            conn,
            fault: fault.clone()
        }
    );
    assert_eq!(trace(&tree, &other, 50, 8), Outcome::Report { conn, fault });
    let follow = FollowTip::new(LIMITS);
    let (_, step) = follow.choose_trace(&taker(1, 110), 52, 8, 50);
    assert_eq!((step.start(), step.count()), (50, 3));
}

#[test]
fn a_branch_becomes_the_chain_once_it_is_heavier_and_planned_chunks_go() {
    let ours = Chain::mined(20);
    let other = ours.forked(10, 14, 3);
    let mut tree = tree_of(&ours, 0);
    let mut follow = FollowTip::new(LIMITS);
    follow.chunks.insert(21, 8);
    let conn = ConnId(1);
    let mut next = 11;
    let mut changed = Vec::new();
    while next <= other.height() {
        let (job, request) = follow.choose_branch(&taker(1, other.height()), next);
        assert_eq!(job, Job::Branch);
        let (start, count) = (request.start(), request.count());
        let chunk = Chunk {
            conn,
            start,
            count,
            bytes: &bytes_of(&other, start, count),
        };
        for outcome in follow.apply_branch(&mut tree, WALL, chunk) {
            match outcome {
                Outcome::Enter { phase, .. } => {
                    let PeerPhase::Branch { next: behind, .. } = phase else {
                        panic!("{phase:?}")
                    };
                    assert_eq!(behind, start + count);
                }
                Outcome::BestChanged { from } => changed.push(from),
                outcome => assert_eq!(outcome, Outcome::Brought { conn, headers: count }),
            }
        }
        next += count;
    }
    assert_eq!(changed, [11], "from above the fork point");
    assert_eq!(tree.tip().hash, other.tip().hash);
    assert_eq!(follow.chunks.heights(), 0);
}

#[test]
fn what_is_as_heavy_as_ours_does_not_replace_it() {
    let ours = Chain::mined(20);
    let tree = &mut tree_of(&ours, 0);
    let other = ours.forked(5, 35, 3);
    for height in 6..=12 {
        let (header, _) = FullHeader::decode(other.full(height, 1).next().unwrap()).unwrap();
        tree.accept(&header, WALL).unwrap();
    }
    let mut follow = FollowTip::new(LIMITS);
    follow.chunks.insert(13, 8);
    follow.choose_forward(&taker(0, 40)).unwrap();
    follow.chunks.deliver(13, ConnId(0), 8, bytes_of(&other, 13, 8));
    let outcomes = apply_all(&mut follow, tree);
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    assert_eq!(tree.tip().hash, ours.tip().hash);
    follow.chunks.insert(21, 8);
    follow.choose_forward(&taker(0, 40)).unwrap();
    follow.chunks.deliver(21, ConnId(0), 8, bytes_of(&other, 21, 8));
    apply_all(&mut follow, tree);
    assert_eq!(tree.tip().height, 28);
}

#[test]
fn a_refused_header_means_what_it_is_refused_for() {
    let ours = Chain::mined(20);
    let mut tree = tree_of(&ours, 0);
    let mut follow = FollowTip::new(LIMITS);
    let conn = ConnId(1);
    let mut apply = |chain: &Chain, start: Height, count: Height, wall: Timestamp| {
        let chunk = Chunk {
            conn,
            start,
            count,
            bytes: &bytes_of(chain, start, count),
        };
        follow.apply_branch(&mut tree, wall, chunk).pop().unwrap()
    };
    let ahead = ours.ahead(3 * 3600);
    let early = apply(&ahead, 21, 1, Timestamp(ours.tip_time()));
    assert!(matches!(early, Outcome::Close { .. }), "{early:?}");
    let elsewhere = apply(&ours.forked(10, 20, 3), 21, 4, WALL);
    assert_eq!(elsewhere, Outcome::Trace { conn, end: 20 });
    let idle = apply(&ours.idled(3), 21, 3, WALL);
    let Outcome::Report { fault, .. } = idle else {
        panic!("{idle:?}")
    };
    assert!(matches!(fault, ServerFault::Header { height: 21, .. }), "{fault:?}");
}

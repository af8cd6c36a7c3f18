use std::sync::LazyLock;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::tests::chains::Chain;
use super::super::tests::world::LIMITS;
use super::*;
use crate::chain::Network;
use crate::chain::sampling::Assurance;
use crate::chain::sync::ServerState;
use crate::reputation::SyncReputation;

const TIP: Height = 150;

/// Merge-mined headers only, each honest.
static CHAIN: LazyLock<Chain> = LazyLock::new(|| Chain::mined(0).merge_mined(TIP, 0, |_| false));

/// Another chain, longer than the one above.
static OTHER: LazyLock<Chain> = LazyLock::new(|| CHAIN.cut(20).merge_mined(TIP, 1, |_| false));

const A: ConnId = ConnId(0);
const B: ConnId = ConnId(1);

/// Connections, one for each server, and the maker of skeletons that they serve.
struct Scene {
    tree: HeaderTree,
    peers: PeerTable,
    skeleton: SkeletonSync,
    reputation: SyncReputation,
    rng: StdRng,
    now: Now,
}

/// Makes a scene in which servers follow chains with these tips, on top of the genesis block.
fn following(chains: &[&Chain]) -> Scene {
    let limits = HeaderSyncLimits {
        verification: Verification::Sampled(Assurance::new(16, 0.5, 8).unwrap()),
        ..LIMITS
    };
    let mut scene = Scene {
        tree: HeaderTree::new(Network::Regtest.params(), CHAIN.anchor(0)),
        peers: PeerTable::new(chains.len(), limits),
        skeleton: SkeletonSync::new(limits),
        reputation: SyncReputation::new(chains.len()),
        rng: StdRng::seed_from_u64(5),
        now: Now {
            wall: Timestamp(CHAIN.tip_time() + 100 * 600),
            steady: Moment(0),
        },
    };
    for (index, chain) in chains.iter().enumerate() {
        let conn = ConnId(index as u64);
        let now = scene.now.steady;
        scene.peers.on_connected(ServerIndex(index), conn, chain.tip(), now);
        scene.peers.enter(conn, PeerPhase::Following);
    }
    scene
}

impl Scene {
    /// Advances, plans, and puts connections into the phases that come of it; returns the rest.
    fn advance(&mut self) -> Vec<Outcome> {
        let outcomes = self.skeleton.advance(
            &mut self.tree,
            &self.peers,
            &mut self.reputation,
            &mut self.rng,
            self.now,
        );
        let rest = self.enter(outcomes);
        self.skeleton.plan(&self.tree, &self.peers);
        rest
    }

    fn enter(&mut self, outcomes: Vec<Outcome>) -> Vec<Outcome> {
        for outcome in &outcomes {
            if let Outcome::Enter { conn, phase } = outcome {
                self.peers.enter(*conn, *phase);
            }
        }
        let is_rest = |outcome: &Outcome| !matches!(outcome, Outcome::Enter { .. });
        outcomes.into_iter().filter(is_rest).collect()
    }

    fn choose(&mut self, conn: ConnId) -> Option<(Job, HeaderRequest)> {
        let taker = self.peers.taker(conn, self.now.steady)?;
        self.skeleton.choose(&taker, self.peers.get(conn)?, &self.tree)
    }

    /// Has a connection answer from a chain what it is asked next, and returns what comes of it, phases too; `None` when
    /// it is asked for nothing.
    fn serve(&mut self, conn: ConnId, chain: &Chain) -> Option<Vec<Outcome>> {
        let (job, request) = self.choose(conn)?;
        Some(match job {
            Job::Skeleton { start } => {
                let count = request.count();
                let headers = chain.full(start, count).flat_map(|header| &header[..80]);
                self.skeleton.deliver(start, conn, count, headers.copied().collect());
                self.apply()
            }
            Job::Sample { heights } => self.prove(conn, chain, &heights),
            job => panic!("{job:?}"),
        })
    }

    fn apply(&mut self) -> Vec<Outcome> {
        let mut all = Vec::new();
        while let Some(outcomes) = self.skeleton.apply_next(&mut self.tree, &self.peers, self.now.wall) {
            all.extend(outcomes.clone());
            self.enter(outcomes);
        }
        all
    }

    fn prove(&mut self, conn: ConnId, chain: &Chain, heights: &[Height]) -> Vec<Outcome> {
        let headers = heights.iter().flat_map(|height| chain.full(*height, 1));
        let bytes: Vec<u8> = headers.flatten().copied().collect();
        let outcomes = self
            .skeleton
            .apply_proofs(&mut self.tree, &self.peers, conn, heights, &bytes);
        self.enter(outcomes.clone());
        outcomes
    }

    /// Has a connection give all headers, until the sample is drawn, and none of the last ones in full before.
    fn fetch_all(&mut self, conn: ConnId, chain: &Chain) {
        while !self.is_proving() {
            self.advance();
            while !self.is_proving() {
                let Some((job, _)) = self.choose(conn) else { break };
                self.give_back(conn, &job);
                if !matches!(job, Job::Skeleton { .. }) {
                    break;
                }
                self.serve(conn, chain);
            }
        }
    }

    fn give_back(&mut self, conn: ConnId, job: &Job) {
        match job {
            Job::Skeleton { start } => self.skeleton.release_chunk(*start, conn),
            Job::Sample { heights } => self.skeleton.release_sample(heights, conn),
            job => panic!("{job:?}"),
        }
    }

    fn is_proving(&self) -> bool {
        self.skeleton.making.as_ref().is_some_and(Making::is_proving)
    }

    fn lead(&self) -> Option<Lead> {
        self.skeleton.making.as_ref().map(|making| making.lead)
    }

    fn top(&self) -> Height {
        self.tree.skeleton().map_or(0, UnverifiedChain::top_height)
    }

    fn phase(&self, conn: ConnId) -> PeerPhase {
        self.peers.get(conn).unwrap().phase
    }

    fn close(&mut self, conn: ConnId) {
        let mut reputation = SyncReputation::new(2);
        self.peers
            .remove(&mut reputation, conn, ServerState::Rested, self.now.steady);
        self.skeleton.forget(conn);
    }
}

fn brought(conn: ConnId, headers: Height) -> Outcome {
    Outcome::Brought { conn, headers }
}

fn store(from: Height) -> Outcome {
    Outcome::Store(HeaderSyncEffect::StoreForward { from })
}

#[test]
fn headers_are_fetched_then_a_sample_is_proved_then_all_is_adopted() {
    let mut scene = following(&[&CHAIN]);
    assert_eq!(scene.advance(), []);
    assert_eq!(scene.lead(), Some(Lead::Shared(ServerIndex(0))));
    assert_eq!(scene.serve(A, &CHAIN), Some(vec![store(1), brought(A, 16)]));
    while scene.serve(A, &CHAIN).is_some() {
        scene.skeleton.plan(&scene.tree, &scene.peers);
    }
    assert_eq!((scene.top(), scene.is_proving()), (TIP, false));
    assert_eq!(scene.advance(), [Outcome::Progressed]);
    assert!(scene.is_proving());
    let unproved = scene.skeleton.unproved();
    assert!(unproved >= 8, "{unproved}");
    assert_eq!(scene.serve(A, &CHAIN), Some(vec![Outcome::Helped { conn: A }]));
    while scene.serve(A, &CHAIN).is_some() {}
    assert_eq!(scene.skeleton.unproved(), 0);
    let outcomes = scene.advance();
    let [
        Outcome::Store(HeaderSyncEffect::StoreProved { heights }),
        Outcome::SkeletonAdopted { helpers },
    ] = &outcomes[..]
    else {
        panic!("{outcomes:?}")
    };
    assert_eq!((heights.len(), &helpers[..]), (unproved, &[A][..]));
    assert_eq!(scene.tree.tip().hash, CHAIN.tip().hash);
    assert!(!scene.skeleton.is_active());
}

/// Has a connection give all headers but the last ones, which it was asked for; returns where these begin, and how many
/// they are.
fn fetch_all_but_last(scene: &mut Scene, conn: ConnId, chain: &Chain) -> (Height, Height) {
    loop {
        scene.advance();
        let Some((Job::Skeleton { start }, request)) = scene.choose(conn) else {
            panic!("it idles")
        };
        let count = request.count();
        if start + count > chain.height() {
            return (start, count);
        }
        deliver(scene, conn, chain, (start, count));
    }
}

fn deliver(scene: &mut Scene, conn: ConnId, chain: &Chain, (start, count): (Height, Height)) {
    let headers = chain.full(start, count).flat_map(|header| &header[..80]);
    scene.skeleton.deliver(start, conn, count, headers.copied().collect());
    scene.apply();
}

#[test]
fn who_has_nothing_left_to_fetch_brings_the_last_headers_in_full_before_the_skeleton_is_whole() {
    for closes in [false, true] {
        let mut scene = following(&[&CHAIN, &CHAIN]);
        let held = fetch_all_but_last(&mut scene, A, &CHAIN);
        let Some((Job::Sample { heights }, _)) = scene.choose(B) else {
            panic!("it idles")
        };
        assert!(
            heights.iter().all(|height| *height > TIP - 8),
            "only those are no secret: {heights:?}"
        );
        assert_eq!(scene.prove(B, &CHAIN, &heights), [], "it is kept");
        if closes {
            scene.close(B);
        }
        deliver(&mut scene, A, &CHAIN, held);
        let helped = scene.advance().contains(&Outcome::Helped { conn: B });
        assert!(scene.is_proving());
        let is_proved = |height| scene.tree.skeleton().unwrap().is_proved(height) == Some(true);
        assert_eq!(
            (helped, heights.iter().all(|height| is_proved(*height))),
            (!closes, !closes)
        );
        while let Some((Job::Sample { heights: more }, _)) = scene.choose(A) {
            let again = more.iter().any(|height| heights.contains(height));
            assert!(closes || !again, "{more:?}");
            scene.prove(A, &CHAIN, &more);
        }
        scene.advance();
        assert_eq!(scene.tree.tip().hash, CHAIN.tip().hash);
        assert_eq!(scene.tree.is_proved(TIP), Some(true));
    }
}

#[test]
fn last_headers_that_come_early_are_held_against_the_skeleton() {
    let other = CHAIN.cut(20).merge_mined(TIP - 20, 1, |_| false);
    let mut scene = following(&[&CHAIN, &other]);
    let held = fetch_all_but_last(&mut scene, A, &CHAIN);
    let Some((Job::Sample { heights }, _)) = scene.choose(B) else {
        panic!("it idles")
    };
    scene.prove(B, &other, &heights);
    deliver(&mut scene, A, &CHAIN, held);
    scene.advance();
    assert_eq!(scene.phase(B), PeerPhase::SetAside);
    let skeleton = scene.tree.skeleton().unwrap();
    assert!(heights.iter().all(|height| skeleton.is_proved(*height) == Some(false)));
}

#[test]
fn few_missing_headers_make_no_skeleton() {
    let mut scene = following(&[&CHAIN.cut(LIMITS.skeleton_from - 1)]);
    assert_eq!(scene.advance(), []);
    assert!(!scene.skeleton.is_active());
    let peer = scene.peers.get(A).unwrap();
    assert!(!scene.skeleton.is_awaited_by(peer, &scene.tree, &scene.peers));
}

#[test]
fn who_claims_most_leads_unless_it_lost_a_lead_or_cannot_cut() {
    let mut scene = following(&[&CHAIN, &OTHER]);
    scene.advance();
    assert_eq!(scene.lead(), Some(Lead::Shared(ServerIndex(1))));
    let dropped = scene.skeleton.drop_making(&mut scene.tree);
    assert_eq!(dropped, [store(1), Outcome::SkeletonDropped]);
    scene.advance();
    assert_eq!(scene.lead(), Some(Lead::Shared(ServerIndex(0))));
    scene.peers.on_wrongly_cut(A);
    scene.advance();
    assert_eq!(scene.lead(), Some(Lead::Shared(ServerIndex(1))));
    scene.peers.on_wrongly_cut(B);
    assert_eq!(scene.advance(), []);
    assert_eq!(scene.lead(), Some(Lead::Vacant));
    scene.peers.enter(A, PeerPhase::SetAside);
    assert_eq!(
        scene.advance(),
        [store(1), Outcome::SkeletonDropped],
        "for those who were set aside"
    );
}

#[test]
fn somebody_elses_headers_on_top_of_the_leaders_set_their_sender_aside() {
    let mut scene = following(&[&OTHER, &CHAIN.cut(140)]);
    scene.advance();
    for _ in 0..3 {
        scene.serve(A, &OTHER);
    }
    let outcomes = scene.serve(B, &CHAIN).unwrap();
    let phase = PeerPhase::SetAside;
    assert_eq!(outcomes, [Outcome::Enter { conn: B, phase }]);
    assert_eq!(scene.choose(B), None, "it is asked nothing of this skeleton");
    assert_eq!(scene.lead(), Some(Lead::Shared(ServerIndex(0))));
    assert_eq!(scene.top(), 48);
}

#[test]
fn a_leader_whose_headers_do_not_fit_on_others_goes_on_alone_from_its_own() {
    let mut scene = following(&[&OTHER, &CHAIN.cut(140)]);
    scene.advance();
    scene.serve(A, &OTHER);
    // The second chunk is somebody else's and still on the way that both go, the third one is not.
    let (job, request) = scene.choose(B).unwrap();
    let Job::Skeleton { start: 17 } = job else {
        panic!("{job:?}")
    };
    let headers = CHAIN.full(17, request.count()).flat_map(|header| &header[..80]);
    scene
        .skeleton
        .deliver(17, B, request.count(), headers.copied().collect());
    assert_eq!(scene.apply(), [store(17), brought(B, 16)]);
    assert_eq!(
        scene.serve(A, &OTHER),
        Some(vec![store(17)]),
        "cut to what the leader gave"
    );
    assert_eq!(scene.lead(), Some(Lead::Alone(ServerIndex(0))));
    assert_eq!(scene.top(), 16);
    scene.advance();
    assert_eq!(scene.choose(B), None);
    assert_eq!(
        scene.serve(A, &OTHER),
        Some(vec![store(17)]),
        "what comes again shows nothing"
    );
    assert_eq!(scene.top(), 32);
    // It contradicts itself now: it has another chain.
    let outcomes = scene.serve(A, &CHAIN).unwrap();
    assert_eq!(outcomes, [store(1), Outcome::ChangedChain { conn: A }]);
    assert_eq!(scene.top(), 0);
}

#[test]
fn who_does_not_fit_on_the_base_is_traced() {
    let mut scene = following(&[&CHAIN]);
    scene.advance();
    let (job, request) = scene.choose(A).unwrap();
    let Job::Skeleton { start: 1 } = job else {
        panic!("{job:?}")
    };
    let headers = CHAIN.full(2, request.count()).flat_map(|header| &header[..80]);
    scene
        .skeleton
        .deliver(1, A, request.count(), headers.copied().collect());
    assert_eq!(scene.apply(), [Outcome::Trace { conn: A, end: 0 }]);
}

#[test]
fn who_gave_a_header_that_is_not_proved_is_left_with_all_that_it_gave() {
    let forged = CHAIN.cut(40).merge_mined(TIP, 3, |_| true);
    let mut scene = following(&[&forged]);
    scene.fetch_all(A, &forged);
    let bad = loop {
        let outcomes = scene.serve(A, &forged).unwrap();
        if outcomes != [Outcome::Helped { conn: A }] {
            break outcomes;
        }
    };
    let [Outcome::Report { conn, fault }, Outcome::Store(_)] = &bad[..] else {
        panic!("{bad:?}")
    };
    assert_eq!(*conn, A);
    assert!(matches!(fault, ServerFault::Header { height: 41.., .. }), "{fault:?}");
    assert_eq!((scene.top(), scene.is_proving()), (0, false));
}

#[test]
fn what_stands_below_the_liars_headers_stays() {
    let forged = CHAIN.cut(40).merge_mined(TIP, 3, |_| true);
    let mut scene = following(&[&forged, &CHAIN.cut(30)]);
    scene.advance();
    scene.serve(B, &CHAIN);
    scene.fetch_all(A, &forged);
    while scene.is_proving() {
        scene.serve(A, &forged).unwrap();
    }
    assert_eq!(scene.top(), 16, "the honest server's chunk");
}

#[test]
fn another_header_from_somebody_else_sets_it_aside_and_is_asked_of_others() {
    let mut scene = following(&[&CHAIN, &CHAIN]);
    scene.fetch_all(A, &CHAIN);
    let left = scene.skeleton.unproved();
    // The part that both chains share proves nothing against it.
    while scene.phase(B) == PeerPhase::Following {
        scene.serve(B, &OTHER).unwrap();
    }
    assert_eq!(scene.phase(B), PeerPhase::SetAside);
    while scene.serve(A, &CHAIN).is_some() {}
    assert!(left > 0 && scene.skeleton.unproved() == 0);
}

#[test]
fn another_header_from_its_giver_is_a_reorganisation_near_the_top_and_a_lie_below() {
    for (height, expected_top) in [(TIP, TIP - 100), (20, 0)] {
        let mut scene = following(&[&CHAIN]);
        scene.fetch_all(A, &CHAIN);
        let other = CHAIN.cut(height - 1).merge_mined(TIP, 4, |_| false);
        let outcomes = scene.prove(A, &other, &[height]);
        match &outcomes[..] {
            [Outcome::Store(_), Outcome::ChangedChain { conn: A }] => assert_eq!(height, TIP),
            [Outcome::Report { conn: A, fault }, Outcome::Store(_)] => {
                assert_eq!(*fault, ServerFault::OtherHeader { height: 20 });
            }
            _ => panic!("{outcomes:?}"),
        }
        assert_eq!((scene.top(), scene.is_proving()), (expected_top, false));
    }
}

#[test]
fn a_sample_that_is_not_proved_in_time_is_drawn_anew_and_the_third_is_the_last() {
    let mut scene = following(&[&CHAIN]);
    scene.fetch_all(A, &CHAIN);
    for draw in 1..=3 {
        let making = scene.skeleton.making.as_ref().unwrap();
        assert_eq!(making.draws, draw);
        let at = scene.now.steady + sample::SAMPLE_TIME;
        assert!(scene.skeleton.wake_times().any(|wake| wake == at));
        scene.now.steady = at.before(std::time::Duration::from_millis(1));
        assert_eq!(scene.advance(), []);
        scene.now.steady = at;
        let expected = if draw < 3 {
            vec![Outcome::Progressed]
        } else {
            vec![store(1), Outcome::SkeletonDropped]
        };
        assert_eq!(scene.advance(), expected);
    }
}

#[test]
fn a_lower_claim_of_the_leader_cuts_the_skeleton() {
    let mut scene = following(&[&CHAIN]);
    scene.fetch_all(A, &CHAIN);
    let now = scene.now.steady;
    scene.peers.on_tip_claimed(A, CHAIN.cut(100).tip(), now);
    scene.peers.enter(A, PeerPhase::Following);
    assert_eq!(scene.advance(), [store(101), Outcome::Progressed]);
    assert_eq!((scene.top(), scene.is_proving()), (100, true));
}

/// A scene on our chain, in which one server has a long branch of its own from height 20 on.
fn branched(branch: &Chain) -> Scene {
    let mut scene = following(&[branch]);
    for height in 1..=CHAIN.height() {
        scene.tree.restore(CHAIN.pure(height), true).unwrap();
    }
    let below = CHAIN.cut(20).tip().hash;
    scene.peers.enter(A, PeerPhase::Branch { next: 21, below });
    scene
}

#[test]
fn a_branch_is_adopted_where_it_is_heavier() {
    let mut scene = branched(&OTHER);
    scene.fetch_all(A, &OTHER);
    assert_eq!(scene.lead(), Some(Lead::Branch(ServerIndex(0))));
    while scene.serve(A, &OTHER).is_some() {}
    let helpers = vec![A];
    assert_eq!(scene.advance(), [store(21), Outcome::SkeletonAdopted { helpers }]);
    assert_eq!(scene.tree.tip().hash, OTHER.tip().hash);
}

#[test]
fn a_branch_that_is_not_heavier_is_settled_without_a_sample() {
    let light = OTHER.cut(100);
    let mut scene = branched(&light);
    scene.advance();
    while scene.serve(A, &light).is_some() {
        scene.skeleton.plan(&scene.tree, &scene.peers);
    }
    assert_eq!(scene.advance(), [Outcome::SkeletonDropped]);
    assert_eq!(scene.phase(A), PeerPhase::Settled);
    assert!(scene.tree.skeleton().is_none());
}

#[test]
fn the_leader_of_a_branch_may_come_back_over_a_fresh_connection() {
    let mut scene = branched(&OTHER);
    scene.advance();
    scene.serve(A, &OTHER);
    scene.close(A);
    assert_eq!(scene.advance(), []);
    let leader = ServerIndex(0);
    let since = scene.now.steady;
    assert_eq!(scene.lead(), Some(Lead::BranchAway { leader, since }));
    let until = since + LIMITS.second_server_grace;
    assert!(scene.skeleton.wake_times().any(|at| at == until));
    scene.peers.on_connected(leader, B, OTHER.tip(), since);
    let peer = scene.peers.get(B).unwrap();
    let phase = scene.skeleton.resumed_branch(peer, &scene.tree).unwrap();
    assert!(matches!(phase, PeerPhase::Branch { next: 21, .. }), "{phase:?}");
    scene.peers.enter(B, phase);
    scene.advance();
    assert_eq!(scene.lead(), Some(Lead::Branch(leader)));
    assert_eq!(scene.top(), 36, "what was there is there still");
    scene.close(B);
    scene.advance();
    scene.now.steady = until;
    assert_eq!(scene.advance(), [Outcome::SkeletonDropped]);
}

#[test]
fn one_servers_branch_gives_way_to_the_chain_that_others_follow() {
    let mut scene = branched(&OTHER);
    scene.advance();
    let longer = CHAIN.merge_mined(40, 5, |_| false);
    let now = scene.now.steady;
    scene.peers.on_connected(ServerIndex(0), B, longer.tip(), now);
    scene.peers.enter(B, PeerPhase::Following);
    assert_eq!(scene.advance(), [Outcome::SkeletonDropped]);
    assert_eq!(scene.advance(), []);
    assert_eq!(scene.lead(), Some(Lead::Shared(ServerIndex(0))));
    assert_eq!(scene.tree.skeleton().unwrap().base_height(), TIP);
}

#[test]
fn what_an_earlier_run_left_is_gone_on_with_and_its_origin_is_nobodys() {
    let mut scene = following(&[&CHAIN]);
    scene.tree.begin_skeleton(CHAIN.anchor(0).hash).unwrap();
    for height in 1..=40 {
        scene.tree.restore_skeleton(CHAIN.pure(height), false).unwrap();
    }
    scene.skeleton.drop_useless(&mut scene.tree);
    scene.advance();
    let (_, request) = scene.choose(A).unwrap();
    assert_eq!(request.start(), 41);
    let making = scene.skeleton.making.as_ref().unwrap();
    assert_eq!((making.origin(40), making.origin(41)), (None, None));
    assert_eq!(making.origins, [Origin { last: 40, server: None }]);
}

#[test]
fn a_cut_goes_through_the_middle_of_a_stretch() {
    let (one, two) = (Some(ServerIndex(0)), Some(ServerIndex(1)));
    let mut scene = following(&[&CHAIN]);
    scene.advance();
    let making = scene.skeleton.making.as_mut().unwrap();
    making.origins = [(10, one), (20, two), (30, one)]
        .map(|(last, server)| Origin { last, server })
        .to_vec();
    assert_eq!(
        [5, 10, 11, 30, 31].map(|height| making.origin(height)),
        [one, one, two, one, None]
    );
    assert_eq!(making.top_of(ServerIndex(0), true, 0), 10);
    assert_eq!(making.top_of(ServerIndex(0), false, 0), 0);
    assert_eq!(making.top_of(ServerIndex(1), false, 0), 10);
    making.cut(15);
    let expected = [(10, one), (15, two)].map(|(last, server)| Origin { last, server });
    assert_eq!(making.origins, expected);
}

#[test]
fn each_further_sample_is_drawn_with_more_bits_also_where_header_sync_began_anew() {
    let sampled = |reputation: &mut SyncReputation| {
        let mut scene = following(&[&CHAIN]);
        std::mem::swap(&mut scene.reputation, reputation);
        scene.advance();
        scene.fetch_all(A, &CHAIN);
        scene.advance();
        std::mem::swap(&mut scene.reputation, reputation);
        scene.skeleton.unproved()
    };
    let mut reputation = SyncReputation::new(1);
    let first = sampled(&mut reputation);
    for _ in 0..500 {
        reputation.count_draw();
    }
    reputation.begin();
    let later = sampled(&mut reputation);
    assert!(later > first, "{later} {first}");
    assert_eq!(reputation.count_draw(), 502);
}

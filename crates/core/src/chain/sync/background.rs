//! Background proofs: headers that were taken on the strength of a sample are proved as well, a few at a time.
//!
//! | state | event | next state, and what follows |
//! |---|---|---|
//! | `Resting` | all is synchronised, and a header is unproved | `Due` at a random moment |
//! | `Due` | its moment | `Due` at another random moment; one idle settled connection is asked for a few headers, by chance |
//! | `Due` | all are proved, or there is more urgent work | `Resting` |
//! | any | a proof came | it is noted in the tree, and to be written; where it is none, the server is reported |
//! | any | another header came | nothing: the best chain may have turned to another branch in the meantime |

use std::collections::BTreeSet;

use rand::Rng;
use rand::seq::IndexedRandom;

use super::outcome::Outcome;
use super::peers::{Job, PeerPhase, PeerTable};
use super::{HeaderRequest, HeaderSyncEffect, HeaderSyncLimits, ServerFault};
use crate::chain::auxpow::FullHeader;
use crate::chain::tree::HeaderError;
use crate::chain::{HeaderTree, Height};
use crate::isolation::ConnId;
use crate::time::{Moment, random_pause};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resting,
    Due(Moment),
}

/// When headers are proved that no sample asked for.
#[derive(Debug)]
pub(super) struct BackgroundProofs {
    state: State,
    limits: HeaderSyncLimits,
}

impl BackgroundProofs {
    pub(super) fn new(limits: HeaderSyncLimits) -> Self {
        Self {
            state: State::Resting,
            limits,
        }
    }

    /// Returns when the next ones are due.
    pub(super) fn due_at(&self) -> Option<Moment> {
        match self.state {
            State::Resting => None,
            State::Due(at) => Some(at),
        }
    }

    /// There is nothing to prove, or something more urgent to do.
    pub(super) fn rest(&mut self) {
        self.state = State::Resting;
    }

    /// Chooses whom to ask for what, once it is time.
    pub(super) fn choose(
        &mut self,
        tree: &HeaderTree,
        peers: &PeerTable,
        rng: &mut impl Rng,
        now: Moment,
    ) -> Option<(ConnId, Job, HeaderRequest)> {
        let is_due = self.due_at().is_some_and(|at| at <= now);
        if is_due || self.state == State::Resting {
            self.state = State::Due(now + random_pause(self.limits.background_mean, rng));
        }
        if !is_due {
            return None;
        }
        let idle = peers
            .iter()
            .filter(|(_, peer)| peer.phase == PeerPhase::Settled && peer.is_idle());
        let idle: Vec<(ConnId, Height)> = idle.map(|(conn, peer)| (conn, peer.claimed.height)).collect();
        let (conn, highest) = idle.choose(rng).copied()?;
        let heights = self.pick_unproved(tree, highest, rng);
        if heights.is_empty() {
            return None;
        }
        let request = HeaderRequest::Scattered(heights.clone());
        Some((conn, Job::Background { heights }, request))
    }

    /// Picks some of the headers that are not proved, by chance.
    fn pick_unproved(&self, tree: &HeaderTree, highest: Height, rng: &mut impl Rng) -> Vec<Height> {
        let low = tree.anchor().height.saturating_add(1);
        let high = tree.tip().height.min(highest);
        if low > high {
            return Vec::new();
        }
        let from = rng.random_range(low..=high);
        // From there on, around the end: near the end of the work chance alone would search for long.
        let around = (from..=high).chain(low..from);
        let unproved = around.filter(|height| tree.is_proved(*height) == Some(false));
        let picked: BTreeSet<Height> = unproved.take(self.limits.background_batch).collect();
        picked.into_iter().collect()
    }

    /// Takes proofs of headers of the best chain.
    pub(super) fn apply(tree: &mut HeaderTree, conn: ConnId, heights: &[Height], bytes: &[u8]) -> Vec<Outcome> {
        let mut proved = Vec::new();
        let mut rest = bytes;
        let mut fault = None;
        for height in heights.iter().copied() {
            match FullHeader::decode(rest) {
                Ok((header, behind)) => {
                    rest = behind;
                    match tree.prove(height, &header) {
                        Ok(()) => proved.push(height),
                        // The best chain turned to another branch in the meantime.
                        Err(HeaderError::OtherHeader { .. } | HeaderError::UnknownParent { .. }) => {}
                        Err(error) => fault = Some(ServerFault::Header { height, error }),
                    }
                }
                Err(error) => fault = Some(ServerFault::Decode { height, error }),
            }
            if fault.is_some() {
                break;
            }
        }
        let mut outcomes = Vec::new();
        if !proved.is_empty() {
            outcomes.push(Outcome::Store(HeaderSyncEffect::StoreProved { heights: proved }));
        }
        outcomes.extend(fault.map(|fault| Outcome::Report { conn, fault }));
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::tests::chains::Chain;
    use super::super::tests::world::LIMITS;
    use super::*;
    use crate::chain::Network;
    use crate::reputation::ServerIndex;

    const TIP: Height = 30;

    /// A tree all of whose headers were taken on the strength of a sample.
    fn unproved(chain: &Chain) -> HeaderTree {
        let mut tree = HeaderTree::new(Network::Regtest.params(), chain.anchor(0));
        for height in 1..=TIP {
            tree.restore(chain.pure(height), false).unwrap();
        }
        assert_eq!(tree.unproved(), TIP as usize);
        tree
    }

    fn chain() -> Chain {
        Chain::mined(0).merge_mined(TIP, 0, |_| false)
    }

    fn settled(chain: &Chain) -> PeerTable {
        let mut peers = PeerTable::new(2, LIMITS);
        for conn in 0..2 {
            let server = ServerIndex(usize::try_from(conn).unwrap());
            peers.on_connected(server, ConnId(conn), chain.tip(), Moment(0));
        }
        peers.enter(ConnId(1), PeerPhase::Settled);
        peers
    }

    fn bytes_of(chain: &Chain, heights: &[Height]) -> Vec<u8> {
        let headers = heights.iter().flat_map(|height| chain.full(*height, 1));
        headers.flatten().copied().collect()
    }

    #[test]
    fn a_few_are_asked_of_a_settled_connection_at_random_moments() {
        let chain = chain();
        let (tree, peers) = (unproved(&chain), settled(&chain));
        let mut rng = StdRng::seed_from_u64(1);
        let mut background = BackgroundProofs::new(LIMITS);
        assert_eq!(background.choose(&tree, &peers, &mut rng, Moment(5)), None);
        let mut asked = BTreeSet::new();
        for _ in 0..20 {
            let at = background.due_at().unwrap();
            assert_eq!(background.choose(&tree, &peers, &mut rng, Moment(at.0 - 1)), None);
            let (conn, job, request) = background.choose(&tree, &peers, &mut rng, at).unwrap();
            assert_eq!(conn, ConnId(1), "the other one is not settled");
            assert!(background.due_at().unwrap() > at);
            let Job::Background { heights } = job else {
                panic!("{job:?}")
            };
            assert_eq!(heights.len(), LIMITS.background_batch);
            assert!(heights.is_sorted() && heights.iter().all(|height| (1..=TIP).contains(height)));
            asked.extend(heights.iter().copied());
            assert_eq!(request, HeaderRequest::Scattered(heights));
        }
        assert!(asked.len() > 15, "they are picked by chance: {asked:?}");
        background.rest();
        assert_eq!(background.due_at(), None);
    }

    #[test]
    fn the_last_ones_are_found_around_the_end() {
        let chain = chain();
        let mut tree = unproved(&chain);
        let heights: Vec<Height> = (1..=TIP).filter(|height| *height != 3).collect();
        let outcomes = BackgroundProofs::apply(&mut tree, ConnId(1), &heights, &bytes_of(&chain, &heights));
        let stored = HeaderSyncEffect::StoreProved { heights };
        assert_eq!(outcomes, [Outcome::Store(stored)]);
        assert_eq!(tree.unproved(), 1);
        let background = BackgroundProofs::new(LIMITS);
        let mut rng = StdRng::seed_from_u64(2);
        assert_eq!(background.pick_unproved(&tree, TIP, &mut rng), [3]);
        let beyond = background.pick_unproved(&tree, 2, &mut rng);
        assert!(beyond.is_empty(), "the server has no header that high: {beyond:?}");
        assert!(background.pick_unproved(&tree, 0, &mut rng).is_empty());
    }

    #[test]
    fn what_proves_nothing_is_reported_and_another_chain_is_no_fault() {
        let chain = chain();
        let mut tree = unproved(&chain);
        let conn = ConnId(1);
        let other = chain.cut(1).merge_mined(TIP, 4, |_| false);
        let bytes = [bytes_of(&chain, &[1]), bytes_of(&other, &[5])].concat();
        let outcomes = BackgroundProofs::apply(&mut tree, conn, &[1, 5], &bytes);
        let stored = HeaderSyncEffect::StoreProved { heights: vec![1] };
        assert_eq!(outcomes, [Outcome::Store(stored)]);
        let outcomes = BackgroundProofs::apply(&mut tree, conn, &[5], &[0; 3]);
        let [Outcome::Report { fault, .. }] = &outcomes[..] else {
            panic!("{outcomes:?}")
        };
        assert!(matches!(fault, ServerFault::Decode { height: 5, .. }), "{fault:?}");
    }
}

//! Backfill: headers from the anchor downwards, each authenticated by the link of the one above it.
//!
//! First come those that the next retarget looks back to, without which nothing above the anchor can be checked. Those that
//! names may refer to come when all above the anchor is there: few answers need them, and none is to wait for the others.
//!
//! | state | event | what follows |
//! |---|---|---|
//! | headers are missing below | a connection is free | a chunk from above, truncated, full where it can't cut |
//! | a chunk is missing above it | a chunk came | it waits |
//! | it is next | a chunk came and links | the tree grows downwards, [`Outcome::Brought`] |
//! | it is next | a chunk came and does not link, or is no headers | what linked stays, the rest is planned anew, [`Outcome::Report`] |
//! | all is there | | nothing is planned |

use super::chunks::{Chunks, Taker};
use super::headers::pure_headers;
use super::outcome::Outcome;
use super::peers::Job;
use super::{HeaderRequest, HeaderSyncLimits, ServerFault};
use crate::chain::tree::HeaderError;
use crate::chain::{HeaderTree, Height};

/// The chunks below the anchor.
#[derive(Debug)]
pub(super) struct Backfill {
    pub(super) chunks: Chunks,
    limits: HeaderSyncLimits,
    /// Whether it is time for what names may refer to.
    wants_history: bool,
}

impl Backfill {
    pub(super) fn new(limits: HeaderSyncLimits) -> Self {
        Self {
            chunks: Chunks::default(),
            limits,
            wants_history: false,
        }
    }

    /// Notes that all above the anchor is there: from now on what names may refer to is fetched as well.
    pub(super) fn want_history(&mut self) {
        self.wants_history = true;
    }

    /// Returns the height down to which headers are wanted now.
    pub(super) fn wanted_low(&self, tree: &HeaderTree) -> Height {
        if self.wants_history && is_ready(tree) {
            tree.history_low()
        } else {
            tree.required_low()
        }
    }

    /// Plans chunks down to what is wanted now, while fewer than [`HeaderSyncLimits::window`] wait.
    pub(super) fn plan(&mut self, tree: &HeaderTree) {
        let low = self.wanted_low(tree);
        let chunk = self.limits.truncated_chunk.max(1);
        while self.chunks.has_room(chunk, self.limits.window) {
            let end = self.chunks.lowest().unwrap_or_else(|| next_end(tree));
            if end <= low {
                break;
            }
            let start = end.saturating_sub(chunk).max(low);
            self.chunks.insert(start, end - start);
        }
    }

    /// Chooses what a connection is to be asked for.
    pub(super) fn choose(&mut self, taker: &Taker, tree: &HeaderTree) -> Option<(Job, HeaderRequest)> {
        let most = taker.light_chunk(&self.limits, self.left(tree));
        let each = taker.each(taker.truncates);
        let (start, count) = self.chunks.assign(taker, most, each, true)?;
        let under = tree.anchor().height;
        Some((Job::Backfill { start }, taker.light_request(start, count, under)))
    }

    /// Returns how many headers nobody was asked for yet.
    pub(super) fn left(&self, tree: &HeaderTree) -> Height {
        let planned = self.chunks.lowest().unwrap_or_else(|| next_end(tree));
        let unplanned = planned.saturating_sub(self.wanted_low(tree));
        self.chunks.free_heights().saturating_add(unplanned)
    }

    /// Puts the next chunk into the tree, if it is there.
    pub(super) fn apply_next(&mut self, tree: &mut HeaderTree) -> Option<Vec<Outcome>> {
        let end = next_end(tree);
        let start = self.chunks.ending_at(end)?;
        let (count, conn, bytes) = self.chunks.take(start)?;
        let result = backfill(tree, start, count, &bytes);
        let left = next_end(tree);
        let mut outcomes = vec![Outcome::Brought {
            conn,
            headers: end.saturating_sub(left),
        }];
        if let Err(fault) = result {
            self.chunks.insert(start, left.saturating_sub(start));
            outcomes.push(Outcome::Report { conn, fault });
        }
        Some(outcomes)
    }
}

fn backfill(tree: &mut HeaderTree, start: Height, count: Height, bytes: &[u8]) -> Result<(), ServerFault> {
    let headers = pure_headers(start, count, bytes)?;
    let end = start.saturating_add(count);
    for (height, header) in (start..end).zip(headers).rev() {
        // Every header here is authenticated by the one above it, so a mismatch is the sender's fault alone.
        tree.backfill(header).map_err(|error| match error {
            HeaderError::BrokenLink { .. } if height == tree.anchor().height => {
                ServerFault::ConflictsWithAnchor { anchor: height }
            }
            error => ServerFault::Header { height, error },
        })?;
    }
    Ok(())
}

/// Says whether headers above the anchor can be checked.
pub(super) fn is_ready(tree: &HeaderTree) -> bool {
    tree.lowest().is_some_and(|lowest| lowest <= tree.required_low())
}

/// Returns the height above the next chunk: the anchor's own header comes first.
fn next_end(tree: &HeaderTree) -> Height {
    tree.lowest().unwrap_or_else(|| tree.anchor().height.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::super::tests::chains::Chain;
    use super::super::tests::world::LIMITS;
    use super::*;
    use crate::chain::Network;
    use crate::isolation::ConnId;
    use crate::time::Moment;

    const ANCHOR: Height = 80;

    fn chain() -> Chain {
        Chain::mined(100)
    }

    fn taker(conn: u64, truncates: bool) -> Taker {
        Taker {
            truncates,
            ..Taker::unknown(conn, 100, Moment(0), LIMITS.steal_after)
        }
    }

    fn started(chain: &Chain) -> (HeaderTree, Backfill) {
        let tree = HeaderTree::new(Network::Regtest.params(), chain.anchor(ANCHOR));
        let mut backfill = Backfill::new(LIMITS);
        backfill.want_history();
        backfill.plan(&tree);
        (tree, backfill)
    }

    /// Serves a chunk from a chain, over the connection that it was given to.
    fn serve(backfill: &mut Backfill, tree: &HeaderTree, conn: u64, chain: &Chain) -> HeaderRequest {
        let (job, request) = backfill.choose(&taker(conn, true), tree).unwrap();
        let Job::Backfill { start } = job else {
            panic!("{job:?}")
        };
        let count = request.count();
        let bytes = chain.full(start, count).flat_map(|header| &header[..80]).copied();
        backfill.chunks.deliver(start, ConnId(conn), count, bytes.collect());
        request
    }

    #[test]
    fn chunks_go_down_to_what_is_wanted_and_are_cut_where_they_can_be() {
        let (mut tree, mut backfill) = started(&chain());
        for (conn, start, count) in [(1, 73, 8), (2, 70, 3)] {
            let (_, asked) = backfill.choose(&taker(conn, true), &tree).unwrap();
            let under = ANCHOR;
            let expected = HeaderRequest::Truncated { start, count, under };
            assert_eq!(asked, expected, "what is to be checked first is wanted first");
        }
        assert_eq!(
            backfill.choose(&taker(3, true), &tree),
            None,
            "nothing else is before that is there"
        );
        backfill.chunks.distrust(ConnId(1));
        backfill.chunks.distrust(ConnId(2));
        let (_, full) = backfill.choose(&taker(3, false), &tree).unwrap();
        assert_eq!(full, HeaderRequest::Full { start: 73, count: 8 });
        backfill.chunks.distrust(ConnId(3));
        serve(&mut backfill, &tree, 4, &chain());
        serve(&mut backfill, &tree, 5, &chain());
        while backfill.apply_next(&mut tree).is_some() {}
        assert!(is_ready(&tree) && !tree.has_history());
        backfill.plan(&tree);
        while !tree.has_history() {
            serve(&mut backfill, &tree, 1, &chain());
            let outcomes = backfill.apply_next(&mut tree).unwrap();
            assert!(matches!(outcomes[..], [Outcome::Brought { conn: ConnId(1), .. }]));
        }
        assert_eq!(tree.lowest(), Some(tree.history_low()));
        backfill.plan(&tree);
        assert_eq!(backfill.chunks.heights(), 0);
    }

    #[test]
    fn history_waits_until_it_is_wanted() {
        let chain = chain();
        let mut tree = HeaderTree::new(Network::Regtest.params(), chain.anchor(ANCHOR));
        let mut backfill = Backfill::new(LIMITS);
        backfill.plan(&tree);
        while !is_ready(&tree) {
            serve(&mut backfill, &tree, 1, &chain);
            backfill.apply_next(&mut tree);
        }
        backfill.plan(&tree);
        assert_eq!((backfill.chunks.heights(), backfill.left(&tree)), (0, 0));
        assert!(tree.awaits(tree.history_low()) && !tree.awaits(ANCHOR));
        backfill.want_history();
        backfill.plan(&tree);
        assert!(backfill.chunks.heights() > 0);
    }

    #[test]
    fn another_chain_is_told_from_a_forged_header_and_what_linked_stays() {
        let chain = chain();
        let (mut tree, mut backfill) = started(&chain);
        serve(&mut backfill, &tree, 1, &chain.forked(60, 40, 3));
        let outcomes = backfill.apply_next(&mut tree).unwrap();
        let conn = ConnId(1);
        let fault = ServerFault::ConflictsWithAnchor { anchor: ANCHOR };
        let nothing = Outcome::Brought { conn, headers: 0 };
        assert_eq!(outcomes, [nothing, Outcome::Report { conn, fault }]);
        backfill.plan(&tree);
        serve(&mut backfill, &tree, 2, &chain);
        backfill.apply_next(&mut tree).unwrap();
        backfill.plan(&tree);
        // Its upper headers are right, the others link to each other but not to ours.
        let (job, request) = backfill.choose(&taker(3, true), &tree).unwrap();
        let (start, count) = (request.start(), request.count());
        assert_eq!(job, Job::Backfill { start });
        let other = chain.forked(start, 2, 4);
        let bytes = other.full(start, count).flat_map(|header| &header[..80]).copied();
        let mut bytes: Vec<u8> = bytes.collect();
        let (cut, _) = chain.full(start + 3, count).next().unwrap().split_at(80);
        bytes.extend_from_slice(cut);
        backfill.chunks.deliver(start, ConnId(3), count, bytes);
        let outcomes = backfill.apply_next(&mut tree).unwrap();
        let [_, Outcome::Report { conn, .. }] = outcomes[..] else {
            panic!("{outcomes:?}")
        };
        assert_eq!(conn, ConnId(3));
    }

    #[test]
    fn what_comes_before_its_turn_waits() {
        let chain = chain();
        let (mut tree, mut backfill) = started(&chain);
        while !is_ready(&tree) {
            serve(&mut backfill, &tree, 1, &chain);
            backfill.apply_next(&mut tree).unwrap();
        }
        backfill.plan(&tree);
        let (upper, _) = backfill.choose(&taker(1, true), &tree).unwrap();
        serve(&mut backfill, &tree, 2, &chain);
        assert_eq!(backfill.apply_next(&mut tree), None);
        let Job::Backfill { start } = upper else {
            panic!("{upper:?}")
        };
        let count = tree.lowest().unwrap() - start;
        let bytes = chain.full(start, count).flatten().copied().collect();
        backfill.chunks.deliver(start, ConnId(1), count, bytes);
        assert!(backfill.apply_next(&mut tree).is_some());
        assert!(backfill.apply_next(&mut tree).is_some());
        assert_eq!(backfill.apply_next(&mut tree), None);
    }
}

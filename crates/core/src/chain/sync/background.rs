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

//! Drawing a sample of a skeleton that is whole, and what its proofs do.

use std::time::Duration;

use rand::CryptoRng;

use super::tail::Early;
use super::{Making, SkeletonSync, Stage, UNSETTLED, is_on_tip};
use crate::chain::auxpow::FullHeader;
use crate::chain::sampling::{Assurance, Plan};
use crate::chain::sync::outcome::Outcome;
use crate::chain::sync::peers::{Peer, PeerPhase, PeerTable};
use crate::chain::sync::proof_queue::ProofQueue;
use crate::chain::sync::{HeaderSyncEffect, ServerFault};
use crate::chain::tree::{Accepted, HeaderError, UnverifiedChain};
use crate::chain::{HeaderTree, Height};
use crate::isolation::ConnId;
use crate::reputation::{ServerIndex, SyncReputation};
use crate::time::Moment;

/// How long a sample may take to be proved at least. Over Tor one of 3 MB takes a minute or two.
pub(super) const SAMPLE_TIME: Duration = Duration::from_secs(300);

/// How long it may take at most, on a way that is slower than that.
const LONGEST_SAMPLE_TIME: Duration = Duration::from_secs(1800);

/// How many times as long a sample may take as it will at the present rate.
const SLACK: f64 = 1.5;

/// Returns how long a sample of so many headers may take, which have so many bytes each on the wire.
fn sample_time(headers: f64, each: f64, rate: u64) -> Duration {
    let rate = f64::from(u32::try_from(rate).unwrap_or(u32::MAX));
    let seconds = if rate > 0.0 { SLACK * headers * each / rate } else { 0.0 };
    Duration::try_from_secs_f64(seconds)
        .unwrap_or(LONGEST_SAMPLE_TIME)
        .clamp(SAMPLE_TIME, LONGEST_SAMPLE_TIME)
}

/// Returns the assurance of a sample that may take so long. Who knows what is asked for can mine it meanwhile, which
/// costs bits: as many more are drawn as it takes to have what was wished for in the end.
fn assurance_over(assurance: &Assurance, time: Duration) -> Assurance {
    let minutes = time.as_secs_f64() / 60.0;
    let more = if minutes <= 10.0 {
        0.014f64.mul_add(minutes - 5.0, 0.14)
    } else {
        0.01f64.mul_add(minutes - 10.0, 0.21)
    };
    let bits = (f64::from(assurance.security_bits()) * (1.0 + more)).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float saturates"
    )]
    let bits = (bits as u16).min(Assurance::MAX_SECURITY_BITS);
    Assurance::new(bits, assurance.adversary(), assurance.least_tail()).unwrap_or(*assurance)
}

/// How often what was proved of a skeleton is written down.
const WRITE_PROOFS_EVERY: Duration = Duration::from_secs(5);

/// How many samples are drawn of one skeleton before it is given up.
const MAX_DRAWS: u32 = 3;

impl SkeletonSync {
    /// Drops a sample that is not proved in time, for another one to be drawn: AuxPoW can be mined for a header that is
    /// fixed already by whoever knows that it will be asked for.
    pub(super) fn redraw(&mut self, tree: &mut HeaderTree, now: Moment) -> Vec<Outcome> {
        let Some(making) = &mut self.making else {
            return Vec::new();
        };
        match making.stage {
            Stage::Proving { drawn_at, time, .. } if now.since(drawn_at) >= time => {
                making.stage = Stage::Fetching(super::Chunks::default());
            }
            _ => return Vec::new(),
        }
        if making.draws >= MAX_DRAWS {
            return self.drop_making(tree);
        }
        Vec::new()
    }

    /// Reckons how many headers the sample of the whole skeleton will have, as if all claimed the work of the first.
    pub(super) fn foresee(&mut self, tree: &HeaderTree, assurance: &Assurance) {
        let (Some(making), Some(skeleton)) = (&mut self.making, tree.skeleton()) else {
            return;
        };
        let count = making.target.saturating_sub(skeleton.base_height());
        let Some(work) = skeleton.works().next().filter(|_| making.foreseen_of != count) else {
            return;
        };
        let works = std::iter::repeat_n(work, usize::try_from(count).unwrap_or(usize::MAX));
        making.foreseen = Plan::new(works, &assurance_over(assurance, SAMPLE_TIME)).expected();
        making.foreseen_of = count;
    }

    /// Draws the sample, once all headers are there.
    pub(super) fn draw(
        &mut self,
        tree: &mut HeaderTree,
        peers: &PeerTable,
        reputation: &mut SyncReputation,
        assurance: &Assurance,
        rng: &mut impl CryptoRng,
        now: Moment,
    ) -> Vec<Outcome> {
        let (Some(making), Some(skeleton)) = (&mut self.making, tree.skeleton()) else {
            return Vec::new();
        };
        let Some(leader) = making.lead.server() else {
            return Vec::new();
        };
        let is_whole = skeleton.top_height() >= making.target && !skeleton.is_empty();
        if making.is_proving() || !is_whole {
            return Vec::new();
        }
        if skeleton.chainwork() <= tree.tip().chainwork {
            let is_leaders = |peer: &Peer| peer.server == leader && peer.is_on_branch();
            let branches = peers.iter().filter(|(_, peer)| is_leaders(peer));
            let phase = PeerPhase::Settled;
            let mut outcomes: Vec<Outcome> = branches.map(|(conn, _)| Outcome::Enter { conn, phase }).collect();
            outcomes.extend(self.drop_making(tree));
            return outcomes;
        }
        // Whoever had tries before, under whatever name, pays with a longer sample.
        let assurance = assurance.after(reputation.count_draw());
        let each = 2.0 * peers.full_size();
        let usual = Plan::new(skeleton.works(), &assurance).expected();
        let time = sample_time(usual, each, peers.lasting_rate(now));
        let drawn = Plan::new(skeleton.works(), &assurance_over(&assurance, time)).draw(rng);
        let first = skeleton.base_height().saturating_add(1);
        let heights = drawn
            .into_iter()
            .filter_map(|index| Some(first.saturating_add(Height::try_from(index).ok()?)));
        let asked = std::mem::take(&mut making.tail).into_held();
        let unproved = heights.filter(|height| skeleton.is_proved(*height) == Some(false) && !asked.includes(*height));
        let mut queue = ProofQueue::new(unproved, self.limits.sample_batch);
        queue.join(asked);
        making.stage = Stage::Proving {
            queue,
            drawn_at: now,
            time,
        };
        making.draws = making.draws.saturating_add(1);
        vec![Outcome::Progressed]
    }

    /// Holds those of the last headers that came early against the skeleton, as far as that has got.
    pub(super) fn apply_early(&mut self, tree: &mut HeaderTree, peers: &PeerTable) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while let (Some(making), Some(skeleton)) = (&mut self.making, tree.skeleton()) {
            let Some(Early { conn, heights, bytes }) = making.tail.take_up_to(skeleton.top_height()) else {
                break;
            };
            outcomes.extend(self.apply_proofs(tree, peers, conn, &heights, &bytes));
        }
        outcomes
    }

    /// Holds full headers against the skeleton, or keeps them where that has not got so far.
    pub(in crate::chain::sync) fn apply_proofs(
        &mut self,
        tree: &mut HeaderTree,
        peers: &PeerTable,
        conn: ConnId,
        heights: &[Height],
        bytes: &[u8],
    ) -> Vec<Outcome> {
        let Some(server) = peers.get(conn).map(|peer| peer.server) else {
            return Vec::new();
        };
        if let (Some(making), Some(skeleton)) = (&mut self.making, tree.skeleton())
            && heights.last().is_some_and(|last| *last > skeleton.top_height())
        {
            making.tail.keep(Early {
                conn,
                heights: heights.to_vec(),
                bytes: bytes.to_vec(),
            });
            return Vec::new();
        }
        let mut rest = bytes;
        for height in heights.iter().copied() {
            let header = match FullHeader::decode(rest) {
                Ok((header, behind)) => {
                    rest = behind;
                    header
                }
                Err(error) => return self.ban(tree, conn, server, ServerFault::Decode { height, error }),
            };
            match tree.prove_in_skeleton(height, &header) {
                Ok(()) => {}
                Err(HeaderError::OtherHeader { .. }) => {
                    return self.on_other_header(tree, conn, server, heights, height);
                }
                // The skeleton was cut or ended in the meantime.
                Err(HeaderError::UnknownParent { .. }) => return Vec::new(),
                Err(error) => return self.ban(tree, conn, server, ServerFault::Header { height, error }),
            }
        }
        if !rest.is_empty() {
            return self.ban(tree, conn, server, ServerFault::ExtraBytes { extra: rest.len() });
        }
        let Some(making) = &mut self.making else {
            return Vec::new();
        };
        making.proved += heights.len();
        making.unwritten.extend_from_slice(heights);
        making.tail.cross_off(heights);
        if let Stage::Proving { queue, .. } = &mut making.stage {
            queue.cross_off(heights);
        }
        if making.proved > self.most_proved {
            self.most_proved = making.proved;
            return vec![Outcome::Helped { conn }];
        }
        Vec::new()
    }

    /// Has what was proved written down now and then, so that it is there after a restart.
    pub(super) fn write_proofs(&mut self, now: Moment) -> Option<Outcome> {
        let making = self
            .making
            .as_mut()
            .filter(|making| making.is_stored && making.is_proving())?;
        if making.unwritten.is_empty() || now.since(making.written_at) < WRITE_PROOFS_EVERY {
            return None;
        }
        making.written_at = now;
        let heights = std::mem::take(&mut making.unwritten);
        Some(Outcome::Store(HeaderSyncEffect::StoreProved { heights }))
    }

    /// Leaves a server that can't prove what it gave, with all of that.
    fn ban(&mut self, tree: &mut HeaderTree, conn: ConnId, server: ServerIndex, fault: ServerFault) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::Report { conn, fault }];
        outcomes.extend(self.discard_from(tree, server));
        outcomes
    }

    /// A connection has another header than the skeleton: there are two chains, or it changed its own.
    fn on_other_header(
        &mut self,
        tree: &mut HeaderTree,
        conn: ConnId,
        server: ServerIndex,
        heights: &[Height],
        height: Height,
    ) -> Vec<Outcome> {
        self.release_sample(heights, conn);
        let top = tree.skeleton().map_or(0, UnverifiedChain::top_height);
        let Some(making) = &self.making else {
            return Vec::new();
        };
        if making.origin(height) != Some(server) {
            if making.lead.is_branch() {
                return self.drop_making(tree);
            }
            let phase = PeerPhase::SetAside;
            return vec![Outcome::Enter { conn, phase }];
        }
        if top.saturating_sub(height) < UNSETTLED {
            return self.on_changed_chain(tree, conn, height);
        }
        self.ban(tree, conn, server, ServerFault::OtherHeader { height })
    }

    /// Adopts the skeleton once all of the sample is proved.
    pub(super) fn adopt(&mut self, tree: &mut HeaderTree, peers: &PeerTable) -> Vec<Outcome> {
        let is_proved = |making: &Making| match &making.stage {
            Stage::Proving { queue, .. } => queue.left() == 0,
            Stage::Fetching(_) => false,
        };
        let Some(making) = self.making.take_if(|making| is_proved(making)) else {
            return Vec::new();
        };
        let Some(skeleton) = tree.skeleton() else {
            return Vec::new();
        };
        let from = skeleton.base_height().saturating_add(1);
        let is_stored = making.is_stored && is_on_tip(tree);
        let proved = skeleton
            .headers(from)
            .filter(|(_, header, proved)| *proved && header.has_auxpow());
        let heights = proved.map(|(height, ..)| height).collect();
        let effect = match tree.adopt_skeleton() {
            Ok(Some(Accepted::Extended)) if is_stored => Some(HeaderSyncEffect::StoreProved { heights }),
            Ok(Some(Accepted::Extended)) => Some(HeaderSyncEffect::StoreForward { from }),
            Ok(Some(Accepted::Reorganized { fork })) => Some(HeaderSyncEffect::StoreForward {
                from: fork.saturating_add(1),
            }),
            // Lighter than what came in the meantime, or there is no room for it.
            Ok(Some(Accepted::Duplicate | Accepted::Branch) | None) | Err(_) => None,
        };
        let helpers = peers.iter().filter(|(_, peer)| making.includes(peer));
        let helpers = helpers.map(|(conn, _)| conn).collect();
        let mut outcomes: Vec<Outcome> = effect.map(Outcome::Store).into_iter().collect();
        outcomes.push(Outcome::SkeletonAdopted { helpers });
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_way_has_longer_to_prove_a_sample_and_has_more_to_prove() {
        assert_eq!(sample_time(1000.0, 2600.0, 0), SAMPLE_TIME, "nothing is known");
        assert_eq!(sample_time(1000.0, 2600.0, 100_000), SAMPLE_TIME);
        assert_eq!(sample_time(1000.0, 2600.0, 5000), Duration::from_secs(780));
        assert_eq!(sample_time(1000.0, 2600.0, 1), LONGEST_SAMPLE_TIME);
        let wished = Assurance::default();
        let bits =
            [300, 600, 1800].map(|seconds| assurance_over(&wished, Duration::from_secs(seconds)).security_bits());
        assert_eq!(wished.security_bits(), 90);
        assert_eq!(bits, [103, 109, 127]);
    }
}

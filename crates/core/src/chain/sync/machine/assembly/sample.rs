//! Drawing a sample of a skeleton that is whole, and what its proofs do.

use super::super::{Mode, Step};
use super::{Assembly, SAMPLE_TIME, UNSETTLED};
use crate::chain::Height;
use crate::chain::auxpow::FullHeader;
use crate::chain::sampling::{Assurance, Plan};
use crate::chain::sync::errands::Errands;
use crate::chain::sync::{Effect, Fault};
use crate::chain::tree::{Accepted, HeaderError, Skeleton};
use crate::isolation::ConnId;

/// How many samples are drawn of one skeleton before it is given up.
const MAX_DRAWS: u32 = 3;

impl Step<'_> {
    /// Drops a sample that is not proved in time, for another one to be drawn: AuxPoW can be mined for a header that is
    /// fixed already by whoever knows that it will be asked for.
    pub(super) fn redraw(&mut self) {
        let Some(assembly) = &mut self.sync.assembly else {
            return;
        };
        let is_late = self.now.steady.since(assembly.drawn_at) >= SAMPLE_TIME;
        if assembly.errands.is_none() || !is_late {
            return;
        }
        assembly.errands = None;
        if assembly.draws >= MAX_DRAWS {
            self.end_assembly();
        }
    }

    /// Draws the sample, once all headers are there.
    pub(super) fn draw(&mut self, assurance: &Assurance) {
        let Some(assembly) = &mut self.sync.assembly else {
            return;
        };
        let Some(skeleton) = self.tree.skeleton() else { return };
        let is_whole = assembly.leader.is_some() && skeleton.top_height() >= assembly.target && !skeleton.is_empty();
        if assembly.errands.is_some() || !is_whole {
            return;
        }
        if skeleton.chainwork() <= self.tree.tip().chainwork {
            let leader = assembly.leader;
            let members = self.sync.peers.values_mut();
            for peer in members.filter(|peer| Some(peer.server) == leader && matches!(peer.mode, Mode::Branch { .. })) {
                peer.mode = Mode::Settled;
            }
            return self.end_assembly();
        }
        let drawn = Plan::new(skeleton.works(), assurance).draw(&mut self.sync.rng);
        let first = skeleton.base_height().saturating_add(1);
        let heights = drawn
            .into_iter()
            .filter_map(|index| Some(first.saturating_add(Height::try_from(index).ok()?)));
        let unproved = heights.filter(|height| skeleton.is_proved(*height) == Some(false));
        let limits = &self.sync.limits;
        let errands = Errands::new(unproved, limits.sample_batch, limits.full_chunk.max(1));
        assembly.errands = Some(errands);
        assembly.drawn_at = self.now.steady;
        assembly.draws = assembly.draws.saturating_add(1);
        assembly.chunks.clear();
        self.sync.last_progress = self.now.steady;
    }

    /// Holds full headers against the skeleton.
    pub(in crate::chain::sync::machine) fn apply_proofs(&mut self, conn: ConnId, heights: &[Height], bytes: &[u8]) {
        let mut rest = bytes;
        let mut fault = None;
        for height in heights.iter().copied() {
            let proved = match FullHeader::decode(rest) {
                Ok((header, behind)) => {
                    rest = behind;
                    self.tree.prove_in_skeleton(height, &header)
                }
                Err(error) => {
                    fault = Some(Fault::Decode { height, error });
                    break;
                }
            };
            match proved {
                Ok(()) => {}
                Err(HeaderError::OtherHeader { .. }) => return self.on_other_header(conn, heights, height),
                // The skeleton was cut or ended in the meantime.
                Err(HeaderError::UnknownParent { .. }) => return,
                Err(error) => {
                    fault = Some(Fault::Header { height, error });
                    break;
                }
            }
        }
        if fault.is_none() && !rest.is_empty() {
            fault = Some(Fault::ExtraBytes { extra: rest.len() });
        }
        if let Some(fault) = fault {
            return self.condemn(conn, &fault);
        }
        let Some(assembly) = &mut self.sync.assembly else {
            return;
        };
        assembly.proved += heights.len();
        let most = assembly.proved;
        if let Some(errands) = &mut assembly.errands {
            errands.cross_off(heights);
        }
        if most > self.sync.most_proved {
            self.sync.most_proved = most;
            self.is_of_use(conn);
        }
    }

    /// Leaves a server that can't prove what it gave, with all of that.
    fn condemn(&mut self, conn: ConnId, fault: &Fault) {
        let server = self.sync.peers.get(&conn).map(|peer| peer.server);
        self.blame(conn, fault);
        if let Some(server) = server {
            self.discredit(server);
        }
    }

    /// A connection has another header than the skeleton: there are two chains, or it changed its own.
    fn on_other_header(&mut self, conn: ConnId, heights: &[Height], height: Height) {
        let top = self.tree.skeleton().map_or(0, Skeleton::top_height);
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return;
        };
        let Some(assembly) = &mut self.sync.assembly else {
            return;
        };
        if let Some(errands) = &mut assembly.errands {
            errands.release(heights, conn);
        }
        if assembly.origin(height) != Some(peer.server) {
            if assembly.branch {
                return self.end_assembly();
            }
            peer.mode = Mode::Apart;
        } else if top.saturating_sub(height) < UNSETTLED {
            let base = self.tree.skeleton().map_or(0, Skeleton::base_height);
            self.cut(height.saturating_sub(UNSETTLED).max(base));
            self.on_change(conn);
        } else {
            self.condemn(conn, &Fault::OtherHeader { height });
        }
    }

    /// Adopts the skeleton once all of the sample is proved.
    pub(super) fn adopt(&mut self) {
        let is_proved = |assembly: &Assembly| assembly.errands.as_ref().is_some_and(|errands| errands.left() == 0);
        let Some(assembly) = self.sync.assembly.take_if(|assembly| is_proved(assembly)) else {
            return;
        };
        let Some(skeleton) = self.tree.skeleton() else { return };
        let from = skeleton.base_height().saturating_add(1);
        let stored = assembly.stored && self.skeleton_is_on_tip();
        let proved = skeleton
            .headers(from)
            .filter(|(_, header, proved)| *proved && header.has_auxpow());
        let heights = proved.map(|(height, ..)| height).collect();
        let effect = match self.tree.adopt_skeleton() {
            Ok(Some(Accepted::Extended)) if stored => Some(Effect::StoreProved { heights }),
            Ok(Some(Accepted::Extended)) => Some(Effect::StoreForward { from }),
            Ok(Some(Accepted::Reorganized { fork })) => Some(Effect::StoreForward {
                from: fork.saturating_add(1),
            }),
            // Lighter than what came in the meantime, or there is no room for it.
            Ok(Some(Accepted::Duplicate | Accepted::Branch) | None) | Err(_) => None,
        };
        self.effects.extend(effect);
        self.sync.forward.clear();
        self.sync.reported = None;
        self.sync.last_progress = self.now.steady;
        for peer in self.sync.peers.values_mut() {
            if assembly.includes(peer) {
                peer.mode = Mode::Waiting;
            }
        }
        self.readmit();
    }
}

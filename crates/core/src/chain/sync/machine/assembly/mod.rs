//! The making of a skeleton: its headers first, then the proof of a sample of them.

mod sample;

use std::cmp::Reverse;
use std::time::Duration;

use bitcoin::BlockHash;

use super::{Job, MAX_TRACES, Mode, Peer, Step, is_ready};
use crate::chain::sync::chunks::Chunks;
use crate::chain::sync::errands::Errands;
use crate::chain::sync::{Effect, Fault, ServerIndex, ServerState, Verification};
use crate::chain::tree::Skeleton;
use crate::chain::{Height, PureHeader};
use crate::isolation::ConnId;
use crate::time::Moment;

/// Most headers of one skeleton, two years of blocks: a longer way is gone in stages. Bounds what a claim of a great
/// height may cost us.
const MAX_SKELETON: Height = 100_000;

/// How long a sample may take to be proved. Over Tor one of 3 MB takes a minute or two.
const SAMPLE_TIME: Duration = Duration::from_secs(300);

/// How far below its top a skeleton's headers may be replaced by a reorganisation while it is made.
const UNSETTLED: Height = 100;

/// A skeleton in the making.
#[derive(Debug)]
pub(super) struct Assembly {
    /// Whether it is the leader's own branch, not the chain that all seem to follow.
    branch: bool,
    /// The server whose claimed tip it is to reach, while one is connected.
    leader: Option<ServerIndex>,
    /// Since when a branch's leader has no connection.
    pub(super) absent_since: Option<Moment>,
    /// The height of that tip.
    target: Height,
    /// Headers are taken from the leader alone, since somebody else's did not fit.
    solo: bool,
    /// Who gave its headers: the last height of each stretch and the server. Nobody gave what was there at the start.
    origins: Vec<(Height, Option<ServerIndex>)>,
    /// Headers on their way.
    pub(super) chunks: Chunks,
    /// Whether all of it is on the disk, on top of the best chain.
    stored: bool,
    /// What is still to be proved, once all headers are there.
    pub(super) errands: Option<Errands>,
    /// How many headers were proved since it was begun or cut.
    proved: usize,
    /// When the sample was drawn.
    drawn_at: Moment,
    /// How often one was drawn.
    draws: u32,
}

impl Assembly {
    /// Returns when the sample is to be drawn anew.
    pub(super) fn redraw_at(&self) -> Option<Moment> {
        self.errands.as_ref().map(|_| self.drawn_at + SAMPLE_TIME)
    }

    fn origin(&self, height: Height) -> Option<ServerIndex> {
        let stretch = self.origins.iter().find(|(last, _)| height <= *last);
        stretch.and_then(|(_, server)| *server)
    }

    /// Forgets the origins above a height.
    fn cut(&mut self, height: Height) {
        let kept = self.origins.partition_point(|(last, _)| *last <= height);
        let cut_through = self.origins.get(kept).map(|(_, server)| *server);
        self.origins.truncate(kept);
        self.origins.extend(cut_through.map(|server| (height, server)));
        self.chunks.clear();
        self.errands = None;
        self.proved = 0;
    }

    /// Says whether a connection helps with it.
    pub(super) fn includes(&self, peer: &Peer) -> bool {
        if self.branch {
            self.leader == Some(peer.server) && matches!(peer.mode, Mode::Branch { .. })
        } else {
            peer.mode == Mode::Following
        }
    }

    /// Says whether a connection is asked for headers of it.
    pub(super) fn is_source(&self, peer: &Peer) -> bool {
        self.includes(peer) && peer.truncates && (!self.solo || self.leader == Some(peer.server))
    }
}

impl Step<'_> {
    /// Says whether so many missing headers are to come as a skeleton.
    pub(super) fn is_long(&self, missing: Height) -> bool {
        let limits = &self.sync.limits;
        matches!(limits.verification, Verification::Sampled(_)) && missing >= limits.skeleton_from.max(1)
    }

    /// Says whether what is missing up to a claimed height comes as a skeleton, now or later.
    pub(super) fn awaits_skeleton(&self, peer: &Peer) -> bool {
        match &peer.mode {
            Mode::Following => {
                let missing = |peer: &Peer| peer.claimed.height.saturating_sub(self.tree.tip().height);
                let wanted =
                    |peer: &Peer| peer.mode == Mode::Following && peer.truncates && self.is_long(missing(peer));
                self.sync.peers.values().any(wanted)
            }
            Mode::Branch { next, .. } => {
                peer.truncates && self.is_long(peer.claimed.height.saturating_sub(*next).saturating_add(1))
            }
            _ => false,
        }
    }

    /// Begins, leads and ends the making of a skeleton.
    pub(super) fn lead(&mut self) {
        let Verification::Sampled(assurance) = self.sync.limits.verification else {
            return;
        };
        if !is_ready(self.tree) {
            return;
        }
        // Once more where one ended just now: who stood apart takes its place.
        for _ in 0..2 {
            self.begin_assembly();
            self.choose_leader();
            self.redraw();
            self.draw(&assurance);
            self.adopt();
            if self.sync.assembly.is_some() {
                break;
            }
        }
        // Of no use to anybody any more.
        if self.sync.assembly.is_none() && !self.skeleton_is_on_tip() {
            self.tree.drop_skeleton();
        }
    }

    /// Lets a fresh connection go on with the branch of its server, if one is in the making.
    pub(super) fn resumes_branch(&mut self, conn: ConnId) -> bool {
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return false;
        };
        let assembly = self.sync.assembly.as_ref().filter(|assembly| assembly.branch);
        let is_leaders = assembly.is_some_and(|assembly| assembly.leader == Some(peer.server));
        let Some(skeleton) = self
            .tree
            .skeleton()
            .filter(|_| is_leaders && peer.mode == Mode::Waiting)
        else {
            return false;
        };
        peer.mode = Mode::Branch {
            next: skeleton.base_height().saturating_add(1),
            below: skeleton.base(),
        };
        true
    }

    fn begin_assembly(&mut self) {
        let following = self.sync.peers.values().find(|peer| peer.mode == Mode::Following);
        if following.is_some_and(|peer| self.awaits_skeleton(peer)) {
            match &self.sync.assembly {
                Some(assembly) if !assembly.branch => return,
                // One server's own branch keeps nobody from the chain that others follow.
                Some(_) => self.end_assembly(),
                None => {}
            }
            self.sync.forward.clear();
            return self.begin_on(self.tree.tip().hash, None);
        }
        let branch = self.sync.peers.values().find_map(|peer| match peer.mode {
            Mode::Branch { below, .. } if self.awaits_skeleton(peer) => Some((below, peer.server)),
            _ => None,
        });
        let Some((below, server)) = branch else { return };
        match &self.sync.assembly {
            Some(assembly) if assembly.leader.is_some() => return,
            // Nobody goes on with it.
            Some(_) => self.end_assembly(),
            None => {}
        }
        self.begin_on(below, Some(server));
    }

    fn begin_on(&mut self, base: BlockHash, branch_of: Option<ServerIndex>) {
        let kept = self.tree.skeleton().filter(|skeleton| skeleton.base() == base);
        let top = kept.filter(|kept| !kept.is_empty()).map(Skeleton::top_height);
        let is_there = kept.is_some();
        // A base comes from the tree and is not below the anchor.
        if !is_there && self.tree.begin_skeleton(base).is_err() {
            return;
        }
        self.sync.assembly = Some(Assembly {
            branch: branch_of.is_some(),
            leader: branch_of,
            absent_since: None,
            target: 0,
            solo: branch_of.is_some(),
            origins: top.map(|top| (top, None)).into_iter().collect(),
            chunks: Chunks::default(),
            stored: base == self.tree.tip().hash,
            errands: None,
            proved: 0,
            drawn_at: Moment::default(),
            draws: 0,
        });
    }

    /// Gives the skeleton up, and those a new chance whose headers did not fit.
    fn end_assembly(&mut self) {
        let Some(assembly) = self.sync.assembly.take() else {
            return;
        };
        if let Some(leader) = assembly.leader.and_then(|leader| self.sync.servers.get_mut(leader.0)) {
            leader.lost_leads = leader.lost_leads.saturating_add(1);
        }
        self.tree.drop_skeleton();
        if assembly.stored {
            let from = self.tree.tip().height.saturating_add(1);
            self.effects.push(Effect::StoreForward { from });
        }
        self.readmit();
    }

    fn readmit(&mut self) {
        for peer in self.sync.peers.values_mut().filter(|peer| peer.mode == Mode::Apart) {
            peer.mode = Mode::Waiting;
        }
        self.classify();
    }

    fn choose_leader(&mut self) {
        let Some(assembly) = &self.sync.assembly else { return };
        let members = || self.sync.peers.values().filter(|peer| assembly.includes(peer));
        // Who can't give the headers can't lead to its tip.
        let can_lead = |peer: &&Peer| peer.truncates || assembly.errands.is_some();
        let is_led = members()
            .filter(can_lead)
            .any(|peer| assembly.leader == Some(peer.server));
        let leader = if is_led {
            assembly.leader
        } else if assembly.branch {
            return self.await_leader();
        } else {
            // Who failed to prove its headers before comes last.
            let losses = |peer: &Peer| {
                self.sync
                    .servers
                    .get(peer.server.0)
                    .map_or(0, |server| server.lost_leads)
            };
            let best = members()
                .filter(can_lead)
                .min_by_key(|peer| (losses(peer), Reverse(peer.claimed.height), peer.server));
            best.map(|peer| peer.server)
        };
        let claims = members().filter(|peer| Some(peer.server) == leader);
        let claimed = claims.map(|peer| peer.claimed.height).max();
        let apart = self.sync.peers.values().any(|peer| peer.mode == Mode::Apart);
        let base = self.tree.skeleton().map_or(0, Skeleton::base_height);
        match (leader, &mut self.sync.assembly) {
            (Some(_), Some(assembly)) => {
                let target = claimed.unwrap_or(0).min(base.saturating_add(MAX_SKELETON)).max(base);
                if assembly.leader != leader {
                    assembly.solo = assembly.branch;
                }
                assembly.leader = leader;
                assembly.absent_since = None;
                assembly.target = target;
                // What lies above its tip it could not prove.
                if self
                    .tree
                    .skeleton()
                    .is_some_and(|skeleton| skeleton.top_height() > target)
                {
                    self.cut(target);
                }
            }
            // Nobody is left to go on with it, but there are others.
            (None, _) if apart => self.end_assembly(),
            // What there is of it waits for the next connection.
            (None, Some(assembly)) => assembly.leader = None,
            (_, None) => {}
        }
    }

    /// Gives the leader of a branch, whose connection ended, the time to come back over a fresh one.
    fn await_leader(&mut self) {
        let grace = self.sync.limits.second_server_grace;
        let now = self.now.steady;
        let Some(assembly) = &mut self.sync.assembly else {
            return;
        };
        let server = assembly.leader.and_then(|leader| self.sync.servers.get(leader.0));
        let is_dialed = server.is_some_and(|server| server.dialing.is_some());
        let since = *assembly.absent_since.get_or_insert(now);
        if !is_dialed && now.since(since) >= grace {
            self.end_assembly();
        }
    }

    /// Asks for the headers that the skeleton still lacks.
    pub(super) fn plan_bones(&mut self) {
        let Some(assembly) = &mut self.sync.assembly else {
            return;
        };
        let Some(skeleton) = self.tree.skeleton() else { return };
        if assembly.errands.is_some() || assembly.leader.is_none() {
            return assembly.chunks.clear();
        }
        let next = skeleton.top_height().saturating_add(1);
        let limits = &self.sync.limits;
        let claims: Vec<Height> = {
            let members = self.sync.peers.values().filter(|peer| assembly.is_source(peer));
            members.map(|peer| peer.claimed.height.min(assembly.target)).collect()
        };
        let target = assembly.target;
        assembly
            .chunks
            .plan(next, target, &claims, limits.skeleton_chunk.max(1), limits.window);
    }

    /// Moves the skeleton as far up as the delivered chunks reach.
    pub(super) fn apply_bones(&mut self) {
        loop {
            let Some(skeleton) = self.tree.skeleton() else { return };
            let (top, next) = (skeleton.top(), skeleton.top_height().saturating_add(1));
            let Some(assembly) = &mut self.sync.assembly else {
                return;
            };
            let Some((count, conn, bytes)) = assembly.chunks.take(next) else {
                return;
            };
            let headers = match super::replies::pure_headers(next, count, &bytes) {
                Ok(headers) => headers,
                Err(fault) => {
                    self.blame(conn, &fault);
                    continue;
                }
            };
            if headers.first().is_some_and(|header| header.prev() != top) {
                self.on_misfit(conn, next);
            } else {
                self.extend(conn, next, &headers);
            }
        }
    }

    fn extend(&mut self, conn: ConnId, start: Height, headers: &[PureHeader]) {
        let mut result = Ok(());
        let mut taken = 0;
        for (height, header) in (start..).zip(headers) {
            if let Err(error) = self.tree.extend_skeleton(*header, self.now.wall) {
                result = Err(Fault::Header { height, error });
                break;
            }
            taken += 1;
        }
        let server = self.sync.peers.get(&conn).map(|peer| peer.server);
        let on_tip = self.skeleton_is_on_tip();
        if let Some(assembly) = &mut self.sync.assembly
            && taken > 0
        {
            assembly.origins.push((start + taken - 1, server));
            assembly.stored &= on_tip;
            if assembly.stored {
                self.effects.push(Effect::StoreForward { from: start });
            }
        }
        // What was cut off and comes again shows nothing.
        let top = start.saturating_add(taken);
        if top > self.sync.highest_bone {
            self.sync.highest_bone = top;
            self.took(conn, taken);
        }
        if let Err(fault) = result {
            self.judge(conn, start, fault);
        }
    }

    fn skeleton_is_on_tip(&self) -> bool {
        let base = self.tree.skeleton().map(Skeleton::base);
        base == Some(self.tree.tip().hash)
    }

    /// A connection's headers don't follow those that are there.
    fn on_misfit(&mut self, conn: ConnId, start: Height) {
        let base = self.tree.skeleton().map_or(0, Skeleton::base_height);
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return;
        };
        let server = peer.server;
        let Some(assembly) = &mut self.sync.assembly else {
            return;
        };
        assembly.chunks.distrust(conn);
        if start == base.saturating_add(1) {
            // Its chain parts from ours at the base or below.
            if assembly.branch {
                return self.end_assembly();
            }
            return self.trace(conn, base);
        }
        if assembly.leader != Some(server) {
            peer.mode = Mode::Apart;
            return;
        }
        let own = assembly
            .origins
            .iter()
            .take_while(|(_, origin)| *origin == Some(server));
        let own = own.last().map_or(base, |(last, _)| *last);
        let was_solo = std::mem::replace(&mut assembly.solo, true);
        if own.saturating_add(1) < start && !was_solo {
            return self.cut(own);
        }
        // It contradicts itself: it has another branch now, which should not lie deep.
        self.cut(start.saturating_sub(UNSETTLED).max(base));
        self.on_change(conn);
    }

    /// A server has another chain than a moment ago. It may, but not for ever.
    fn on_change(&mut self, conn: ConnId) {
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return;
        };
        peer.traces += 1;
        if peer.traces > MAX_TRACES {
            self.close(
                conn,
                ServerState::Closed("changed its chain again and again".to_owned()),
            );
        }
    }

    /// Cuts the skeleton down to a height; what was drawn of it counts no more.
    fn cut(&mut self, height: Height) {
        self.tree.cut_skeleton(height);
        let Some(assembly) = &mut self.sync.assembly else {
            return;
        };
        assembly.cut(height);
        if assembly.stored {
            let from = height.saturating_add(1);
            self.effects.push(Effect::StoreForward { from });
        }
    }

    /// Drops what a server gave of the skeleton, and what stands on it.
    fn discredit(&mut self, server: ServerIndex) {
        let Some(assembly) = &self.sync.assembly else { return };
        let base = self.tree.skeleton().map_or(0, Skeleton::base_height);
        let good = assembly
            .origins
            .iter()
            .take_while(|(_, origin)| *origin != Some(server));
        let good = good.last().map_or(base, |(last, _)| *last);
        if self
            .tree
            .skeleton()
            .is_some_and(|skeleton| skeleton.top_height() > good)
        {
            self.cut(good);
        }
    }

    /// A connection did not give in time what it was asked for of the skeleton. Where others wait with another chain,
    /// it had its chance.
    pub(super) fn on_skeleton_refused(&mut self, conn: ConnId, job: &Job, reason: &str) {
        let apart = self.sync.peers.values().any(|peer| peer.mode == Mode::Apart);
        if !apart || !matches!(job, Job::Bones { .. } | Job::Prove { .. }) {
            return;
        }
        self.close(conn, ServerState::Closed(reason.to_owned()));
        self.end_assembly();
    }
}

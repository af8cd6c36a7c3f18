//! Which skeleton is made, and whose claim it is to reach.

use std::cmp::Reverse;

use bitcoin::BlockHash;

use super::{Making, Origin, SkeletonSync, Stage, Tail};
use crate::chain::sync::chunks::Chunks;
use crate::chain::sync::outcome::Outcome;
use crate::chain::sync::peers::{Peer, PeerPhase, PeerTable};
use crate::chain::tree::UnverifiedChain;
use crate::chain::{HeaderTree, Height};
use crate::reputation::ServerIndex;
use crate::time::Moment;

/// Most headers of one skeleton, two years of blocks: a longer way is gone in stages. Bounds what a claim of a great
/// height may cost us.
const MAX_SKELETON: Height = 100_000;

/// Who leads a skeleton, and who gives its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lead {
    /// It is the chain that all seem to follow, and nobody is connected who could lead it.
    Vacant,
    /// It is the chain that all seem to follow: all of them give headers.
    Shared(ServerIndex),
    /// As above, but headers are taken from the leader alone, since somebody else's did not fit.
    Alone(ServerIndex),
    /// It is the leader's own branch.
    Branch(ServerIndex),
    /// It is the branch of a server that has had no connection since then.
    BranchAway { leader: ServerIndex, since: Moment },
}

impl Lead {
    pub(super) fn server(self) -> Option<ServerIndex> {
        match self {
            Self::Vacant => None,
            Self::Shared(leader) | Self::Alone(leader) | Self::Branch(leader) | Self::BranchAway { leader, .. } => {
                Some(leader)
            }
        }
    }

    pub(super) fn is_branch(self) -> bool {
        matches!(self, Self::Branch(_) | Self::BranchAway { .. })
    }

    /// Says whether headers are taken from the leader alone.
    pub(super) fn is_alone(self) -> bool {
        self.is_branch() || matches!(self, Self::Alone(_))
    }
}

impl SkeletonSync {
    /// Begins a skeleton that is wanted. One that is in the way of it is dropped before: it is begun the next time.
    pub(super) fn begin(&mut self, tree: &mut HeaderTree, peers: &PeerTable) -> Vec<Outcome> {
        let mut following = peers.values().filter(|peer| peer.phase == PeerPhase::Following);
        let (base, lead) = if following.any(|peer| self.is_awaited_by(peer, tree, peers)) {
            (tree.tip().hash, Lead::Vacant)
        } else {
            let branch = peers.values().find_map(|peer| match peer.phase {
                PeerPhase::Branch { below, .. } if self.is_awaited_by(peer, tree, peers) => {
                    Some((below, Lead::Branch(peer.server)))
                }
                _ => None,
            });
            let Some(branch) = branch else {
                return Vec::new();
            };
            branch
        };
        match self.making.as_ref().map(|making| making.lead) {
            None => self.begin_on(tree, base, lead),
            // One server's own branch keeps nobody from the chain that others follow.
            Some(current) if !lead.is_branch() && current.is_branch() => return self.drop_making(tree),
            // Nobody goes on with it.
            Some(Lead::Vacant) if lead.is_branch() => return self.drop_making(tree),
            Some(_) => {}
        }
        Vec::new()
    }

    fn begin_on(&mut self, tree: &mut HeaderTree, base: BlockHash, lead: Lead) {
        let kept = tree.skeleton().filter(|skeleton| skeleton.base() == base);
        let top = kept.filter(|kept| !kept.is_empty()).map(UnverifiedChain::top_height);
        let is_there = kept.is_some();
        // A base comes from the tree and is not below the anchor.
        if !is_there && tree.begin_skeleton(base).is_err() {
            return;
        }
        let nobodys = top.map(|last| Origin { last, server: None });
        self.making = Some(Making {
            lead,
            stage: Stage::Fetching(Chunks::default()),
            tail: Tail::default(),
            target: 0,
            origins: nobodys.into_iter().collect(),
            is_stored: base == tree.tip().hash,
            foreseen: 0.0,
            foreseen_of: 0,
            proved: 0,
            draws: 0,
            unwritten: Vec::new(),
            written_at: Moment::default(),
        });
    }

    /// Chooses whose tip is to be reached, and takes that for the target.
    pub(super) fn choose_leader(&mut self, tree: &mut HeaderTree, peers: &PeerTable, now: Moment) -> Vec<Outcome> {
        let Some(making) = &mut self.making else {
            return Vec::new();
        };
        let members = peers.values().filter(|peer| making.includes(peer));
        // Who can't give the headers can't lead to its tip.
        let able = members.clone().filter(|peer| peer.truncates || making.is_proving());
        let led_by = |leader: ServerIndex| able.clone().any(|peer| peer.server == leader);
        let lead = match making.lead {
            Lead::Branch(leader) | Lead::BranchAway { leader, .. } if led_by(leader) => Lead::Branch(leader),
            Lead::Branch(leader) => return self.await_leader(tree, peers, leader, now, now),
            Lead::BranchAway { leader, since } => return self.await_leader(tree, peers, leader, since, now),
            Lead::Shared(leader) | Lead::Alone(leader) if led_by(leader) => making.lead,
            Lead::Vacant | Lead::Shared(_) | Lead::Alone(_) => {
                // Who failed to prove its headers before comes last.
                let losses = |peer: &Peer| self.lost_leads.get(&peer.server).copied().unwrap_or_default();
                let best = able.min_by_key(|peer| (losses(peer), Reverse(peer.claimed.height), peer.server));
                best.map_or(Lead::Vacant, |peer| Lead::Shared(peer.server))
            }
        };
        let Some(leader) = lead.server() else {
            // Nobody is left to go on with it, but there may be others.
            if peers.any_in(PeerPhase::SetAside) {
                return self.drop_making(tree);
            }
            making.lead = lead;
            return Vec::new();
        };
        let claims = members
            .filter(|peer| peer.server == leader)
            .map(|peer| peer.claimed.height);
        let base = tree.skeleton().map_or(0, UnverifiedChain::base_height);
        let target = claims
            .max()
            .unwrap_or(0)
            .min(base.saturating_add(MAX_SKELETON))
            .max(base);
        making.lead = lead;
        making.target = target;
        // What lies above its tip it could not prove.
        if tree.skeleton().is_some_and(|skeleton| skeleton.top_height() > target) {
            return self.cut(tree, target);
        }
        Vec::new()
    }

    /// Gives the leader of a branch, whose connection ended, the time to come back over a fresh one.
    fn await_leader(
        &mut self,
        tree: &mut HeaderTree,
        peers: &PeerTable,
        leader: ServerIndex,
        since: Moment,
        now: Moment,
    ) -> Vec<Outcome> {
        if !peers.is_dialed(leader) && now.since(since) >= self.limits.second_server_grace {
            return self.drop_making(tree);
        }
        if let Some(making) = &mut self.making {
            making.lead = Lead::BranchAway { leader, since };
        }
        Vec::new()
    }
}

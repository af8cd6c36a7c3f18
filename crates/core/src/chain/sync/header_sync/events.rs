//! What an event does at once.

use super::Step;
use crate::chain::Height;
use crate::chain::sync::background::BackgroundProofs;
use crate::chain::sync::cost::Reply;
use crate::chain::sync::follow::{Chunk, FollowTip};
use crate::chain::sync::headers::pure_headers;
use crate::chain::sync::outcome::Outcome;
use crate::chain::sync::peers::{InFlight, Job, PeerPhase};
use crate::chain::sync::{
    ClaimedTip, CloseReason, HeaderSyncEffect, HeaderSyncEvent, LinkErrorKind, RequestId, ServerFault, ServerState,
};
use crate::isolation::ConnId;

impl Step<'_> {
    pub(super) fn take(&mut self, event: HeaderSyncEvent) {
        match event {
            HeaderSyncEvent::Opened { server, conn } => {
                let anchor = self.tree.anchor().height;
                self.sync.peers.on_opened(server, conn, anchor, self.now.steady);
            }
            HeaderSyncEvent::Connected { server, conn, tip } => {
                let is_known = self.sync.peers.get(conn).is_some();
                if self.sync.peers.on_connected(server, conn, tip, self.now.steady) {
                    self.check_claim(conn, tip);
                } else if !is_known {
                    self.effects.push(HeaderSyncEffect::Close(conn));
                }
            }
            HeaderSyncEvent::DialFailed { server, error } => {
                let (peers, now) = (&mut self.sync.peers, self.now.steady);
                peers.on_dial_failed(self.reputation, server, error, now);
            }
            HeaderSyncEvent::TipClaimed { conn, tip } => {
                if self.sync.peers.on_tip_claimed(conn, tip, self.now.steady) {
                    self.sync.verdict.on_news();
                    self.check_claim(conn, tip);
                }
            }
            HeaderSyncEvent::Headers {
                conn,
                request,
                count,
                bytes,
            } => self.on_headers(conn, request, count, bytes, false),
            HeaderSyncEvent::Scattered { conn, request, headers } => {
                let count = Height::try_from(headers.len()).unwrap_or(Height::MAX);
                self.on_headers(conn, request, count, headers.concat(), true);
            }
            HeaderSyncEvent::Received { conn, bytes, pads } => {
                let now = self.now.steady;
                if let Some(server) = self.sync.peers.on_received(conn, bytes, pads, now) {
                    self.reputation.note_bytes(now, server);
                }
            }
            HeaderSyncEvent::OtherRelease { server } => self.sync.peers.on_other_release(server),
            HeaderSyncEvent::WronglyCut { conn, request } => {
                self.sync.peers.on_wrongly_cut(conn);
                self.release(conn, request);
            }
            HeaderSyncEvent::Refused { conn, request, error } => {
                let is_rate_limited = error.kind() == LinkErrorKind::RateLimited;
                self.on_refused(conn, request, CloseReason::Link(error), is_rate_limited);
            }
            HeaderSyncEvent::Closed { conn, error } => {
                let state = if error.is_permanent() {
                    ServerState::Faulty(ServerFault::Link(error))
                } else {
                    ServerState::Closed(CloseReason::Link(error))
                };
                self.forget(conn, state);
            }
            HeaderSyncEvent::BroughtByPeers { from } => {
                self.sync.follow.chunks.clear();
                self.carry_out(vec![Outcome::Progressed, Outcome::BestChanged { from }]);
            }
            HeaderSyncEvent::AgreedByPeers { peers } => {
                let now = self.now.steady;
                self.sync.verdict.on_agreed_by_peers(peers, now);
            }
            HeaderSyncEvent::Tick => {}
        }
    }

    /// Reports who doesn't even know the anchor.
    fn check_claim(&mut self, conn: ConnId, tip: ClaimedTip) {
        let anchor = self.tree.anchor().height;
        if tip.height < anchor {
            let claimed = tip.height;
            self.report(conn, &ServerFault::BelowAnchor { claimed, anchor });
        }
    }

    fn on_headers(&mut self, conn: ConnId, request: RequestId, count: Height, bytes: Vec<u8>, singles: bool) {
        let reply = Reply {
            count,
            bytes: bytes.len(),
            singles,
        };
        let Some(flight) = self.sync.peers.take_reply(conn, request, reply, self.now.steady) else {
            return;
        };
        if count != flight.count {
            return self.on_wrong_count(conn, flight.count, count);
        }
        if flight.is_truncated && pure_headers(flight.start, count, &bytes).is_err() {
            // The length alone may agree by accident. Full headers will tell whether it can't cut, or has none.
            self.sync.peers.on_wrongly_cut(conn);
            return self.give_back(conn, &flight.job);
        }
        let InFlight { job, start, .. } = flight;
        let chunk = Chunk {
            conn,
            start,
            count,
            bytes: &bytes,
        };
        let sync = &mut *self.sync;
        let outcomes = match job {
            Job::Backfill { start } => return sync.backfill.chunks.deliver(start, conn, count, bytes),
            Job::Forward { start } => return sync.follow.chunks.deliver(start, conn, count, bytes),
            Job::Skeleton { start } => return sync.skeleton.deliver(start, conn, count, bytes),
            Job::Trace => vec![FollowTip::apply_trace(self.tree, chunk)],
            Job::Branch => sync.follow.apply_branch(self.tree, self.now.wall, chunk),
            Job::Sample { heights } => sync
                .skeleton
                .apply_proofs(self.tree, &sync.peers, conn, &heights, &bytes),
            Job::Background { heights } => BackgroundProofs::apply(self.tree, conn, &heights, &bytes),
        };
        self.carry_out(outcomes);
    }

    /// A server in the middle of a reorganisation has fewer headers than its last tip says, for a while: it is asked
    /// for its tip anew, over a new connection. The last of these finds it guilty.
    fn on_wrong_count(&mut self, conn: ConnId, expected: Height, got: Height) {
        if got < expected && self.sync.peers.has_dials_left(self.reputation, conn) {
            let reason = CloseReason::TooFew { expected, got };
            self.close(conn, ServerState::Closed(reason));
        } else {
            self.report(conn, &ServerFault::Count { expected, got });
        }
    }

    pub(super) fn on_refused(&mut self, conn: ConnId, request: RequestId, reason: CloseReason, is_rate_limited: bool) {
        let Some(job) = self.release(conn, request) else {
            return;
        };
        // Where others wait with another chain, who gives no more of this skeleton had its chance.
        let is_of_skeleton = matches!(job, Job::Skeleton { .. } | Job::Sample { .. });
        if is_of_skeleton && self.sync.peers.any_in(PeerPhase::SetAside) {
            self.close(conn, ServerState::Closed(reason));
            let outcomes = self.sync.skeleton.drop_making(self.tree);
            return self.carry_out(outcomes);
        }
        if is_rate_limited {
            let server = self.sync.peers.get(conn).map(|peer| peer.server);
            self.close(conn, ServerState::Closed(reason));
            if let Some(server) = server {
                let now = self.now.steady;
                self.sync.peers.on_rate_limited(self.reputation, server, now);
            }
        } else if self.sync.peers.on_strike(conn) {
            self.close(conn, ServerState::Closed(reason));
        }
    }

    /// Takes a request off a connection's list and gives free what it was for.
    fn release(&mut self, conn: ConnId, request: RequestId) -> Option<Job> {
        let job = self.sync.peers.take_request(conn, request)?.job;
        self.give_back(conn, &job);
        Some(job)
    }

    /// Gives free what a connection was to be asked for.
    pub(super) fn give_back(&mut self, conn: ConnId, job: &Job) {
        match job {
            Job::Backfill { start } => self.sync.backfill.chunks.release(*start, conn),
            Job::Forward { start } => self.sync.follow.chunks.release(*start, conn),
            Job::Skeleton { start } => self.sync.skeleton.release_chunk(*start, conn),
            Job::Sample { heights } => self.sync.skeleton.release_sample(heights, conn),
            Job::Trace | Job::Branch | Job::Background { .. } => {}
        }
    }
}

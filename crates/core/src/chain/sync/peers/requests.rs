//! What connections are asked, and what that costs.

use super::{InFlight, Job, PeerTable};
use crate::chain::sync::chunks::Taker;
use crate::chain::sync::cost;
use crate::chain::sync::{HeaderRequest, RequestId};
use crate::isolation::ConnId;
use crate::time::Moment;

impl PeerTable {
    /// Returns what a connection may be given to fetch, of those that wait in chunks.
    pub(in crate::chain::sync) fn taker(&self, conn: ConnId, now: Moment) -> Option<Taker> {
        let peer = self.get(conn)?;
        Some(Taker {
            conn,
            highest: peer.claimed.height,
            truncates: peer.truncates,
            now,
            steal_after: self.limits.steal_after,
        })
    }

    /// Says whether a connection may be asked one thing more at a time.
    pub(in crate::chain::sync) fn has_room(&self, conn: ConnId) -> bool {
        let most = self.limits.in_flight.max(1);
        self.get(conn).is_some_and(|peer| peer.in_flight.len() < most)
    }

    /// Says whether a connection may cost its server so much more; else it is to end with its last reply. What is begun
    /// must be affordable: rather a fresh connection than a slow one. Of a fresh one everything may be asked.
    pub(in crate::chain::sync) fn affords(&mut self, conn: ConnId, request: &HeaderRequest, now: Moment) -> bool {
        let cost = self.full_size.of(request);
        let Some(peer) = self.peers.get_mut(&conn) else {
            return false;
        };
        let reserved: f64 = peer.in_flight.values().map(|flight| flight.cost).sum();
        let left = self.limits.budget - peer.account.spent(now) - reserved;
        let is_fresh = peer.replies == 0 && peer.in_flight.is_empty();
        let affords = cost <= left || is_fresh;
        peer.over_budget |= !affords;
        affords
    }

    /// Takes down a request that is sent, and gives it its number.
    pub(in crate::chain::sync) fn send(
        &mut self,
        conn: ConnId,
        job: Job,
        request: &HeaderRequest,
        now: Moment,
    ) -> Option<RequestId> {
        let peer = self.peers.get_mut(&conn)?;
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let flight = InFlight {
            job,
            start: request.start(),
            count: request.count(),
            deadline: now + self.limits.request_timeout,
            cost: self.full_size.of(request),
        };
        peer.in_flight.insert(id, flight);
        Some(id)
    }

    /// Takes a request off a connection's list that brought no headers.
    pub(in crate::chain::sync) fn take_request(&mut self, conn: ConnId, id: RequestId) -> Option<InFlight> {
        self.peers.get_mut(&conn)?.in_flight.remove(&id)
    }

    /// Takes a request off a connection's list that was answered, and books what the reply cost.
    pub(in crate::chain::sync) fn take_reply(
        &mut self,
        conn: ConnId,
        id: RequestId,
        reply: cost::Reply,
        now: Moment,
    ) -> Option<InFlight> {
        let peer = self.peers.get_mut(&conn)?;
        let flight = peer.in_flight.remove(&id)?;
        peer.account.book(reply.cost(), now);
        peer.replies = peer.replies.saturating_add(1);
        if reply.count == flight.count {
            peer.strikes = 0;
            if matches!(flight.job, Job::Forward { .. } | Job::Sample { .. }) {
                self.full_size.note(reply.count, reply.bytes);
            }
        }
        Some(flight)
    }

    /// Returns the requests that were not answered in time.
    pub(in crate::chain::sync) fn overdue(&self, now: Moment) -> Vec<(ConnId, RequestId)> {
        let overdue = self.iter().flat_map(|(conn, peer)| {
            let flights = peer.in_flight.iter();
            let overdue = flights.filter(move |(_, flight)| flight.deadline <= now);
            overdue.map(move |(id, _)| (conn, *id))
        });
        overdue.collect()
    }
}

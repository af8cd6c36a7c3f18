//! What connections are asked, what that costs, and how fast it comes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{InFlight, Job, Peer, PeerTable};
use crate::chain::Height;
use crate::chain::sync::chunks::{Holder, Taker};
use crate::chain::sync::cost;
use crate::chain::sync::pace::Allowance;
use crate::chain::sync::{HeaderRequest, RequestId};
use crate::isolation::ConnId;
use crate::reputation::{ServerIndex, ServerWay, SyncReputation};
use crate::time::Moment;

impl Peer {
    /// Returns how many bytes of replies are awaited up to a request, or all.
    fn awaited(&self, up_to: Option<RequestId>) -> u64 {
        let flights = self
            .in_flight
            .iter()
            .filter(|(id, _)| up_to.is_none_or(|last| **id <= last));
        flights.map(|(_, flight)| u64::from(flight.wire)).sum()
    }

    /// Returns since when no byte came of what is awaited.
    fn silent_since(&self) -> Option<Moment> {
        let sent = self.in_flight.values().map(|flight| flight.sent).min()?;
        Some(self.pace.last_byte().max(sent))
    }
}

impl InFlight {
    /// Returns when it counts as not answered: as long as bytes come, they may be its own, unless later requests were
    /// answered before it.
    fn due(&self, last_byte: Moment, timeout: Duration) -> Moment {
        let since = self.overtaken.unwrap_or_else(|| last_byte.max(self.sent));
        since + timeout
    }
}

impl PeerTable {
    /// Takes over what is known of the ways to the servers.
    pub(in crate::chain::sync) fn load_ways(&mut self, reputation: &SyncReputation) {
        self.grow(reputation.servers());
        for (server, way) in self.ways.iter_mut().enumerate() {
            *way = reputation.way(ServerIndex(server));
        }
    }

    /// Gives on what is known of the ways to the servers by now.
    pub(in crate::chain::sync) fn store_ways(&self, reputation: &mut SyncReputation) {
        for (server, way) in self.ways.iter().enumerate() {
            if let Some(known) = reputation.way_mut(ServerIndex(server)) {
                *known = *way;
            }
        }
    }

    fn way(&self, server: ServerIndex) -> ServerWay {
        self.ways.get(server.0).copied().unwrap_or_default()
    }

    pub(super) fn way_mut(&mut self, server: ServerIndex) -> Option<&mut ServerWay> {
        self.ways.get_mut(server.0)
    }

    fn allowance(&self, peer: &Peer) -> Allowance {
        peer.pace.allowance(&self.way(peer.server))
    }

    /// Takes down that bytes came; says of which server, where they were of a reply that is awaited.
    pub(in crate::chain::sync) fn on_received(
        &mut self,
        conn: ConnId,
        bytes: u64,
        pads: bool,
        now: Moment,
    ) -> Option<ServerIndex> {
        let peer = self.peers.get_mut(&conn)?;
        let server = peer.server;
        let rate = if peer.in_flight.is_empty() {
            None
        } else {
            peer.pace.on_bytes(bytes, now)
        };
        let is_awaited = !peer.in_flight.is_empty();
        if is_awaited {
            self.received = self.received.saturating_add(bytes);
        }
        if let Some(way) = self.way_mut(server) {
            way.pads |= pads;
            way.rate = rate.or(way.rate);
        }
        is_awaited.then_some(server)
    }

    /// Returns what a connection may be given to fetch, of those that wait in chunks.
    pub(in crate::chain::sync) fn taker(&self, conn: ConnId, now: Moment) -> Option<Taker> {
        let peer = self.get(conn)?;
        Some(Taker {
            conn,
            highest: peer.claimed.height,
            truncates: peer.truncates,
            now,
            steal_after: self.limits.steal_after,
            allowance: self.allowance(peer),
            full_size: self.full_size.bytes(),
            circuits: self.len(),
            busy: peer.pace.time_for(peer.awaited(None)),
            rate: peer.pace.rate(),
            holders: self.holders(now),
        })
    }

    /// Says how all stand with what they were given.
    fn holders(&self, now: Moment) -> BTreeMap<(ConnId, Height), Holder> {
        let steal_after = self.limits.steal_after;
        let holders = self.all().flat_map(|(conn, peer)| {
            let is_silent = peer.silent_since().is_some_and(|since| now.since(since) >= steal_after);
            let flights = peer.in_flight.iter();
            flights.map(move |(id, flight)| {
                let holder = match peer.pace.time_for(peer.awaited(Some(*id))) {
                    _ if is_silent => Holder::Silent,
                    Some(time) => Holder::Done(time),
                    None => Holder::Unknown,
                };
                ((conn, flight.start), holder)
            })
        });
        holders.collect()
    }

    /// Says whether a connection may be asked one thing more at a time.
    pub(in crate::chain::sync) fn has_room(&self, conn: ConnId) -> bool {
        let most = self.limits.in_flight.max(1);
        self.get(conn).is_some_and(|peer| {
            let requests = peer.in_flight.len();
            requests < most && self.allowance(peer).has_room(requests, peer.awaited(None), 0)
        })
    }

    /// Says whether a request is not too much for a connection beside what it is asked for already.
    pub(in crate::chain::sync) fn fits(&self, conn: ConnId, request: &HeaderRequest) -> bool {
        self.get(conn).is_some_and(|peer| {
            let allowance = self.allowance(peer);
            let more = allowance.expected(request, self.full_size.bytes());
            allowance.has_room(peer.in_flight.len(), peer.awaited(None), u64::from(more))
        })
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
        let wire = self
            .allowance(self.get(conn)?)
            .expected(request, self.full_size.bytes());
        let peer = self.peers.get_mut(&conn)?;
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let flight = InFlight {
            job,
            start: request.start(),
            count: request.count(),
            is_truncated: matches!(request, HeaderRequest::Truncated { .. }),
            sent: now,
            overtaken: None,
            wire,
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
        for (_, earlier) in peer.in_flight.range_mut(..id) {
            earlier.overtaken.get_or_insert(now);
        }
        peer.pace.on_reply(peer.in_flight.is_empty(), now);
        peer.account.book(reply.cost(), now);
        peer.replies = peer.replies.saturating_add(1);
        let server = peer.server;
        if reply.count == flight.count {
            peer.strikes = 0;
            if matches!(flight.job, Job::Forward { .. } | Job::Sample { .. }) {
                self.full_size.note(reply.count, reply.bytes);
            }
            if let Some(way) = self.way_mut(server) {
                way.on_reply(flight.wire);
            }
        }
        Some(flight)
    }

    /// Takes down that the reply to a request does not come: shorter ones may.
    pub(in crate::chain::sync) fn on_stalled(&mut self, conn: ConnId, id: RequestId) {
        let Some(peer) = self.get(conn) else { return };
        let (server, wire) = (peer.server, peer.in_flight.get(&id).map(|flight| flight.wire));
        if let (Some(way), Some(wire)) = (self.way_mut(server), wire) {
            way.on_stall(wire);
        }
    }

    /// Takes down that a connection was cut while a reply was awaited.
    pub(super) fn on_cut(&mut self, peer: &Peer) {
        let longest = peer.in_flight.values().map(|flight| flight.wire).max();
        if let (Some(longest), Some(way)) = (longest, self.way_mut(peer.server))
            && peer.pace.received() > 0
        {
            way.on_cut(peer.pace.received(), longest);
        }
    }

    /// Returns the requests that were not answered in time.
    pub(in crate::chain::sync) fn overdue(&self, now: Moment) -> Vec<(ConnId, RequestId)> {
        let timeout = self.limits.request_timeout;
        let overdue = self.all().flat_map(|(conn, peer)| {
            let last_byte = peer.pace.last_byte();
            let flights = peer.in_flight.iter();
            let overdue = flights.filter(move |(_, flight)| flight.due(last_byte, timeout) <= now);
            overdue.map(move |(id, _)| (conn, *id))
        });
        overdue.collect()
    }

    /// Returns when requests are overdue or may be given to others, if no byte comes.
    pub(super) fn due_times(&self) -> impl Iterator<Item = Moment> + '_ {
        let (timeout, steal_after) = (self.limits.request_timeout, self.limits.steal_after);
        self.all().flat_map(move |(_, peer)| {
            let last_byte = peer.pace.last_byte();
            let due = peer
                .in_flight
                .values()
                .map(move |flight| flight.due(last_byte, timeout));
            due.chain(peer.silent_since().map(|since| since + steal_after))
        })
    }

    /// Returns bytes a second over all connections, as far as that is known.
    pub(in crate::chain::sync) fn rate(&self) -> u64 {
        let rates = self.values().filter_map(|peer| peer.pace.rate());
        rates.map(u64::from).sum()
    }

    /// Returns the bytes that came of what was asked for.
    pub(in crate::chain::sync) fn received(&self) -> u64 {
        self.received
    }

    /// Returns the bytes of a full header.
    pub(in crate::chain::sync) fn full_size(&self) -> f64 {
        self.full_size.bytes()
    }
}

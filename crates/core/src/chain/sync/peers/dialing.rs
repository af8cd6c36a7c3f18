//! Which connections are left, and which servers are dialed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::server::Server;
use super::{AGREEING_SERVERS, Peer, PeerPhase, PeerTable};
use crate::isolation::ConnId;
use crate::reputation::{FORGIVEN_AFTER, ServerIndex, SyncEvidence, SyncReputation};
use crate::time::Moment;

/// The pause before a server is dialed again when all is synchronised but fewer than two servers tell their tips: one
/// alone may lag, and nobody would notice.
const COMPARE_PAUSE: Duration = Duration::from_secs(60);

/// The part of its budget from which on a connection is worn: so much is left that the next one is open when it ends.
const WORN: f64 = 0.8;

impl PeerTable {
    /// Returns the connections that have cost their servers enough and have nothing more to wait for.
    pub(in crate::chain::sync) fn over_budget(&self) -> Vec<ConnId> {
        let over = self.iter().filter(|(_, peer)| peer.over_budget && peer.is_idle());
        over.map(|(conn, _)| conn).collect()
    }

    /// Returns all idle connections but the first one of each server.
    pub(in crate::chain::sync) fn needless(&self) -> Vec<ConnId> {
        let mut seen = BTreeSet::new();
        let needless = self
            .iter()
            .filter(|(_, peer)| !seen.insert(peer.server) && peer.is_idle());
        needless.map(|(conn, _)| conn).collect()
    }

    /// Returns the settled connection with the lowest tip, where a server waits that can't be dialed for want of room.
    pub(in crate::chain::sync) fn in_the_way(&self, reputation: &SyncReputation, now: Moment) -> Option<ConnId> {
        let waits = |server| self.is_due(reputation, server, Duration::ZERO, now);
        if self.open_connections(now) < self.limits.connections || !self.indices().any(waits) {
            return None;
        }
        let settled = self.iter().filter(|(_, peer)| peer.phase == PeerPhase::Settled);
        let lowest = settled.min_by_key(|(_, peer)| peer.claimed.height);
        lowest.map(|(conn, _)| conn)
    }

    /// Says whether there are servers that are being dialed, or may be now or later.
    pub(in crate::chain::sync) fn has_more_servers(&self, reputation: &SyncReputation, now: Moment) -> bool {
        self.indices()
            .any(|server| self.is_dialed(server) || self.may_be_dialed(reputation, server, now))
    }

    /// Says whether a server may be dialed for its first connection, now or after a pause.
    fn may_be_dialed(&self, reputation: &SyncReputation, server: ServerIndex, now: Moment) -> bool {
        let is_free = self.servers.get(server.0).is_some_and(Server::is_free);
        is_free && reputation.may_be_dialed(server, self.limits.dials, now)
    }

    /// Says whether a server may be dialed now, its own pause and another one being over.
    fn is_due(&self, reputation: &SyncReputation, server: ServerIndex, pause: Duration, now: Moment) -> bool {
        self.may_be_dialed(reputation, server, now) && reputation.not_before(server) + pause <= now
    }

    /// Returns how many connections are open or soon will be: a dial that takes long holds nobody else up.
    fn open_connections(&self, now: Moment) -> usize {
        self.len() + self.dials_under_way(now)
    }

    /// Returns how many dials are under way that do not take long yet.
    fn dials_under_way(&self, now: Moment) -> usize {
        let slow = self.limits.steal_after;
        self.servers.iter().map(|server| server.dials_since(slow, now)).sum()
    }

    /// Says whether a connection will soon have cost its server enough.
    fn is_worn(&self, peer: &Peer, now: Moment) -> bool {
        let reserved: f64 = peer.in_flight.values().map(|flight| flight.cost).sum();
        let is_spent = peer.over_budget || peer.account.spent(now) + reserved > self.limits.budget * WORN;
        // A fresh one may be asked for anything, and is no nearer to its end for that.
        peer.replies > 0 && is_spent
    }

    /// Returns how many connections will soon have cost their servers enough.
    fn worn_connections(&self, now: Moment) -> usize {
        self.values().filter(|peer| self.is_worn(peer, now)).count()
    }

    /// Returns bytes a second over the connections that are not about to end, as far as that is known; over all, where
    /// nothing is known of these.
    pub(in crate::chain::sync) fn lasting_rate(&self, now: Moment) -> u64 {
        let lasting = self.values().filter(|peer| !self.is_worn(peer, now));
        let rates: u64 = lasting.filter_map(|peer| peer.pace.rate()).map(u64::from).sum();
        if rates > 0 { rates } else { self.rate() }
    }

    /// Chooses whom to dial, and takes down that they are dialed. While there is `work` left, in requests, servers that
    /// are connected are dialed once more where no other one is left, such that each connection has two to send. A worn
    /// connection counts no more then: the one that takes its place is opened beside it, so that nothing stands still.
    ///
    /// Where much is known to be missing before anybody has told so, servers that are dialed for the first time are dialed
    /// for all that at once.
    pub(in crate::chain::sync) fn dial(
        &mut self,
        reputation: &mut SyncReputation,
        is_synced: bool,
        work: usize,
        now: Moment,
    ) -> Vec<ServerIndex> {
        let mut dialed = Vec::new();
        if is_synced && self.connected_servers() >= AGREEING_SERVERS {
            return dialed;
        }
        let most = self.limits.connections;
        let pause = if is_synced { COMPARE_PAUSE } else { Duration::ZERO };
        let needs = |connections: usize| !is_synced && work >= connections.saturating_mul(2);
        let ending = self.worn_connections(now);
        let mut open = self.open_connections(now);
        for server in self.indices() {
            let lasting = open.saturating_sub(ending);
            if open >= most && (lasting >= most || !needs(lasting + 1)) {
                break;
            }
            if self.is_due(reputation, server, pause, now) {
                if let Some(entry) = self.servers.get_mut(server.0) {
                    entry.dial(now);
                }
                reputation.record(now, server, SyncEvidence::Dialed);
                dialed.push(server);
                open += 1;
            }
        }
        open = self.open_connections(now).saturating_sub(ending);
        while open < most && needs(open + 1) {
            let next = if self.has_more_servers(reputation, now) {
                // Servers that are reached later can't take a worn one's place now.
                let first = self.first_dialed(reputation, now);
                let is_replaced = self.dials_under_way(now) >= ending;
                first.or_else(|| {
                    if is_replaced {
                        None
                    } else {
                        self.least_loaded(reputation, now)
                    }
                })
            } else {
                self.least_loaded(reputation, now)
            };
            let Some(server) = next else {
                break;
            };
            let is_first = self.servers.get(server.0).is_some_and(Server::is_first_dialed);
            if let Some(entry) = self.servers.get_mut(server.0) {
                entry.dial_once_more(now);
            }
            // Dials that begin together tell no more of a server than one.
            if !is_first {
                reputation.record(now, server, SyncEvidence::Dialed);
            }
            dialed.push(server);
            open += 1;
        }
        dialed
    }

    /// Returns the server that is dialed the fewest times of those that are dialed for the first time, before any is
    /// connected and where none is left that is not dialed.
    fn first_dialed(&self, reputation: &SyncReputation, now: Moment) -> Option<ServerIndex> {
        if !self.is_empty() || self.indices().any(|server| self.may_be_dialed(reputation, server, now)) {
            return None;
        }
        let is_first = |(server, entry): &(ServerIndex, &Server)| {
            entry.is_first_dialed() && reputation.dials(*server) <= 1 && reputation.extra_not_before(*server) <= now
        };
        let dialed = self.indices().zip(&self.servers).filter(is_first);
        let counted = dialed.map(|(server, entry)| (entry.dials(), server));
        counted.min().map(|(_, server)| server)
    }

    /// Returns the connected server with the fewest connections that may have one more: it has brought something since
    /// it was last dialed.
    fn least_loaded(&self, reputation: &SyncReputation, now: Moment) -> Option<ServerIndex> {
        let links = |server: ServerIndex| self.values().filter(|peer| peer.server == server).count();
        let may_have_one_more = |server: &ServerIndex| {
            let is_connected = self.servers.get(server.0).is_some_and(Server::is_connected);
            is_connected && reputation.dials(*server) == 0 && reputation.extra_not_before(*server) <= now
        };
        let counted = self
            .indices()
            .filter(may_have_one_more)
            .map(|server| (links(server), server));
        counted.filter(|(links, _)| *links > 0).min().map(|(_, server)| server)
    }

    /// Returns the moments at which something may follow: a request is overdue, a server may be dialed.
    pub(in crate::chain::sync) fn wake_times<'a>(
        &'a self,
        reputation: &'a SyncReputation,
    ) -> impl Iterator<Item = Moment> + 'a {
        let servers = self.servers.iter();
        let slow = servers.flat_map(|server| server.slow_at(self.limits.steal_after));
        let servers = self.indices().zip(&self.servers);
        let waiting = servers.filter(|(_, server)| !server.is_dialed() && !server.is_left_for_good());
        let redials = waiting.flat_map(|(server, _)| {
            let at = reputation.not_before(server);
            let extra_at = reputation.extra_not_before(server);
            let given_up_at = reputation.given_up_at(server);
            [at, at + COMPARE_PAUSE, at + FORGIVEN_AFTER, extra_at]
                .into_iter()
                .chain(given_up_at)
        });
        self.due_times().chain(slow).chain(redials)
    }
}

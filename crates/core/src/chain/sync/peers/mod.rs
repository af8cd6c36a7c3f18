//! The peer table: servers with their back-off, and connections with what they claim, can do, cost and are asked.
//!
//! A connection's [`PeerPhase`] tells how its chain stands to ours. It decides what the connection is asked:
//!
//! | phase | event | next phase |
//! |---|---|---|
//! | none | connected | `Waiting` |
//! | `Waiting`, `Following` | its tip is known, at the height that it claims | `Settled` |
//! | `Waiting`, `Following` | its tip is known, at another height | its server is reported |
//! | `Waiting` | its server leads a branch that comes as a skeleton | `Branch` from the skeleton's base |
//! | `Waiting`, `Following` | its tip is unknown, and higher than ours | `Following` |
//! | `Waiting`, `Following` | its tip is unknown, and not higher | `Tracing` from its tip downwards |
//! | `Following` | headers that don't link to ours | `Tracing` from below them |
//! | `Following` | valid headers that are too light to be ours | `Branch` behind them |
//! | `Following` | other headers than the skeleton's, which it doesn't lead | `SetAside` |
//! | `Tracing` | no header of a reply is known | `Tracing` four times as far, down to the anchor |
//! | `Tracing` | a header of a reply is known | `Branch` from there |
//! | `Branch` | valid headers | `Branch` behind them; at its tip: as `Waiting` |
//! | `Branch` | its whole branch is a skeleton not heavier than our chain | `Settled` |
//! | `SetAside`, or helped | the skeleton ended | `Waiting` |
//! | `Settled`, `Following` | a new tip is claimed | `Waiting` |
//!
//! A server is dialed again after a pause that doubles with each dial that brought nothing, [`HeaderSyncLimits::dials`]
//! times in a row at most: what it brings, or ten minutes of silence, give it all its dials back. Reported ones are
//! never dialed again.

mod server;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bitcoin::BlockHash;

use self::server::{COMPARE_PAUSE, Server};
use super::chunks::Taker;
use super::cost::{self, Account, FullSize};
use super::{
    ClaimedTip, CloseReason, HeaderRequest, HeaderSyncLimits, LinkError, RequestId, ServerFault, ServerIndex,
    ServerReport, ServerState,
};
use crate::chain::Height;
use crate::isolation::ConnId;
use crate::time::Moment;

/// Headers asked for in the first step of a trace; each further step takes four times as many.
const FIRST_TRACE: Height = 8;

/// How often in a row a server may fail to answer before it is left for this run.
const MAX_STRIKES: u32 = 2;

/// How often a connection may be traced, or change its chain, without a new header from it: one that starts over again
/// and again would never be settled.
const MAX_TRACES: u32 = 3;

/// Servers on our own tip that end a sync at once, and that are enough to be connected with after it.
pub(super) const AGREEING_SERVERS: usize = 2;

/// How a connection's chain stands to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerPhase {
    /// The tree can't judge its tip yet, or has to judge it anew.
    Waiting,
    /// It claims a chain longer than ours, which is fetched in chunks that all share.
    Following,
    /// Its headers don't link to ours; the fork point lies at or below `end`, and `span` headers are asked for next.
    Tracing { end: Height, span: Height },
    /// Its own branch is fetched from `next` on, from it alone; `below` is the block under that.
    Branch { next: Height, below: BlockHash },
    /// Its headers don't fit on the skeleton that is made: it waits for what becomes of that.
    SetAside,
    /// Its tip is known to us: it is ours, below ours, or on a branch that isn't better.
    Settled,
}

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// A chunk below the anchor.
    Backfill { start: Height },
    /// A chunk of the chain that all follow.
    Forward { start: Height },
    /// A step of a trace.
    Trace,
    /// The next headers of the connection's own branch.
    Branch,
    /// A chunk of the skeleton.
    Skeleton { start: Height },
    /// Full headers of the skeleton's sample.
    Sample { heights: Vec<Height> },
    /// Full headers beyond any sample.
    Background { heights: Vec<Height> },
}

/// A request that waits for its reply.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    pub(super) job: Job,
    pub(super) start: Height,
    pub(super) count: Height,
    deadline: Moment,
    cost: f64,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) server: ServerIndex,
    pub(super) claimed: ClaimedTip,
    pub(super) phase: PeerPhase,
    /// Whether it can cut headers to 80 bytes.
    pub(super) truncates: bool,
    /// When it was connected, or told a new tip after it was settled.
    pub(super) since: Moment,
    /// Requests in a row that it did not answer.
    strikes: u32,
    /// Traces and changes of its chain since it last had a header that we didn't.
    traces: u32,
    in_flight: BTreeMap<RequestId, InFlight>,
    account: Account,
    replies: u32,
    /// What it was to be asked next was more than it may still cost: it ends with its last reply.
    over_budget: bool,
}

impl Peer {
    /// Says whether it is asked for nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    pub(super) fn is_on_branch(&self) -> bool {
        matches!(self.phase, PeerPhase::Branch { .. })
    }
}

/// All servers and all connections.
#[derive(Debug)]
pub(super) struct PeerTable {
    limits: HeaderSyncLimits,
    servers: Vec<Server>,
    peers: BTreeMap<ConnId, Peer>,
    full_size: FullSize,
    next_request: u64,
}

impl PeerTable {
    /// Makes a table of so many servers, to be dialed in this order.
    pub(super) fn new(servers: usize, limits: HeaderSyncLimits) -> Self {
        Self {
            limits,
            servers: std::iter::repeat_with(Server::default).take(servers).collect(),
            peers: BTreeMap::new(),
            full_size: FullSize::default(),
            next_request: 0,
        }
    }

    // What there is.

    pub(super) fn get(&self, conn: ConnId) -> Option<&Peer> {
        self.peers.get(&conn)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Peer)> + Clone {
        self.peers.iter().map(|(conn, peer)| (*conn, peer))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Peer> + Clone {
        self.peers.values()
    }

    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Says whether a connection is in a phase.
    pub(super) fn any_in(&self, phase: PeerPhase) -> bool {
        self.values().any(|peer| peer.phase == phase)
    }

    /// Returns all connections to the server of one of them.
    pub(super) fn siblings(&self, conn: ConnId) -> Vec<ConnId> {
        let server = self.get(conn).map(|peer| peer.server);
        let siblings = self.iter().filter(|(_, peer)| Some(peer.server) == server);
        siblings.map(|(conn, _)| conn).collect()
    }

    /// Returns how many servers there is a connection to.
    pub(super) fn connected_servers(&self) -> usize {
        self.values().map(|peer| peer.server).collect::<BTreeSet<_>>().len()
    }

    /// Returns how many connected servers claim the tip with this hash.
    pub(super) fn agreeing_servers(&self, tip: BlockHash) -> usize {
        let agreeing = self.values().filter(|peer| peer.claimed.hash == tip);
        agreeing.map(|peer| peer.server).collect::<BTreeSet<_>>().len()
    }

    /// Says whether a server is being dialed.
    pub(super) fn is_dialed(&self, server: ServerIndex) -> bool {
        self.servers.get(server.0).is_some_and(Server::is_dialed)
    }

    pub(super) fn reports(&self) -> impl Iterator<Item = ServerReport> + '_ {
        self.servers.iter().map(Server::report)
    }

    // What happens to a connection.

    /// Takes a new connection in; says whether it did.
    pub(super) fn on_connected(&mut self, server: ServerIndex, conn: ConnId, tip: ClaimedTip, now: Moment) -> bool {
        if self.peers.contains_key(&conn) {
            return false;
        }
        let Some(entry) = self.servers.get_mut(server.0) else {
            return false;
        };
        entry.on_connected(tip);
        let peer = Peer {
            server,
            claimed: tip,
            phase: PeerPhase::Waiting,
            truncates: true,
            since: now,
            strikes: 0,
            traces: 0,
            in_flight: BTreeMap::new(),
            account: Account::new(now),
            replies: 0,
            over_budget: false,
        };
        self.peers.insert(conn, peer);
        true
    }

    /// Takes down that a server was not reached.
    pub(super) fn on_dial_failed(&mut self, server: ServerIndex, error: LinkError, now: Moment) {
        let is_connected = self.values().any(|peer| peer.server == server);
        if let Some(entry) = self.servers.get_mut(server.0) {
            entry.on_dial_failed(error, is_connected, self.limits.redial_pause, now);
        }
    }

    /// Takes down what a connection claims now; says whether there is such a connection.
    pub(super) fn on_tip_claimed(&mut self, conn: ConnId, tip: ClaimedTip, now: Moment) -> bool {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return false;
        };
        peer.claimed = tip;
        match &mut peer.phase {
            PeerPhase::Settled => {
                peer.phase = PeerPhase::Waiting;
                peer.since = now;
            }
            PeerPhase::Following => peer.phase = PeerPhase::Waiting,
            // What lies above its new tip can't be asked for any more.
            PeerPhase::Tracing { end, .. } => *end = tip.height.min(*end),
            PeerPhase::Waiting | PeerPhase::Branch { .. } | PeerPhase::SetAside => {}
        }
        if let Some(server) = self.servers.get_mut(peer.server.0) {
            server.claims(tip);
        }
        true
    }

    /// Puts a connection into a phase.
    pub(super) fn enter(&mut self, conn: ConnId, phase: PeerPhase) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.phase = phase;
        }
    }

    /// Has those who were set aside judged anew.
    pub(super) fn retry_set_aside(&mut self) {
        let set_aside = |peer: &&mut Peer| peer.phase == PeerPhase::SetAside;
        for peer in self.peers.values_mut().filter(set_aside) {
            peer.phase = PeerPhase::Waiting;
        }
    }

    /// Begins to look for a connection's fork point from `end` downwards; says whether it may still be traced.
    pub(super) fn begin_trace(&mut self, conn: ConnId, end: Height) -> bool {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return true;
        };
        if matches!(peer.phase, PeerPhase::Tracing { .. }) {
            return true;
        }
        peer.phase = PeerPhase::Tracing { end, span: FIRST_TRACE };
        self.on_changed_chain(conn)
    }

    /// Takes down that a connection has another chain than before; says whether it may still change it.
    pub(super) fn on_changed_chain(&mut self, conn: ConnId) -> bool {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return true;
        };
        peer.traces += 1;
        peer.traces <= MAX_TRACES
    }

    /// Notes that a connection brought the sync on, with so many new headers: its server may be dialed as often as at
    /// the start.
    pub(super) fn on_useful(&mut self, conn: ConnId, headers: Height) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        peer.traces = 0;
        if let Some(server) = self.servers.get_mut(peer.server.0) {
            server.on_useful(headers);
        }
    }

    /// Notes that a connection's server can't cut headers.
    pub(super) fn on_wrongly_cut(&mut self, conn: ConnId) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.truncates = false;
        }
    }

    /// Notes that a connection failed to answer; says whether it did so too often.
    pub(super) fn on_strike(&mut self, conn: ConnId) -> bool {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return false;
        };
        peer.strikes += 1;
        peer.strikes >= MAX_STRIKES
    }

    /// Takes a connection off the table, which left its server in this state.
    pub(super) fn remove(&mut self, conn: ConnId, state: ServerState, now: Moment) {
        let Some(peer) = self.peers.remove(&conn) else {
            return;
        };
        let is_connected = self.values().any(|other| other.server == peer.server);
        if let Some(server) = self.servers.get_mut(peer.server.0) {
            server.on_ended(state, is_connected, self.limits.redial_pause, now);
        }
    }

    /// Has a server left alone for a while that has had enough of us.
    pub(super) fn on_rate_limited(&mut self, server: ServerIndex, now: Moment) {
        if let Some(server) = self.servers.get_mut(server.0) {
            server.on_rate_limited(self.limits.rate_limit_pause, now);
        }
    }

    /// Says whether the server of a connection may be dialed once more.
    pub(super) fn has_dials_left(&self, conn: ConnId) -> bool {
        let server = self.get(conn).and_then(|peer| self.servers.get(peer.server.0));
        server.is_some_and(|server| server.has_dials_left(self.limits.dials))
    }

    // Requests.

    /// Returns what a connection may be given to fetch, of those that wait in chunks.
    pub(super) fn taker(&self, conn: ConnId, now: Moment) -> Option<Taker> {
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
    pub(super) fn has_room(&self, conn: ConnId) -> bool {
        let most = self.limits.in_flight.max(1);
        self.get(conn).is_some_and(|peer| peer.in_flight.len() < most)
    }

    /// Says whether a connection may cost its server so much more; else it is to end with its last reply. What is begun
    /// must be affordable: rather a fresh connection than a slow one. Of a fresh one everything may be asked.
    pub(super) fn affords(&mut self, conn: ConnId, request: &HeaderRequest, now: Moment) -> bool {
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
    pub(super) fn send(&mut self, conn: ConnId, job: Job, request: &HeaderRequest, now: Moment) -> Option<RequestId> {
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
    pub(super) fn take_request(&mut self, conn: ConnId, id: RequestId) -> Option<InFlight> {
        self.peers.get_mut(&conn)?.in_flight.remove(&id)
    }

    /// Takes a request off a connection's list that was answered, and books what the reply cost.
    pub(super) fn take_reply(
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
    pub(super) fn overdue(&self, now: Moment) -> Vec<(ConnId, RequestId)> {
        let overdue = self.iter().flat_map(|(conn, peer)| {
            let flights = peer.in_flight.iter();
            let overdue = flights.filter(move |(_, flight)| flight.deadline <= now);
            overdue.map(move |(id, _)| (conn, *id))
        });
        overdue.collect()
    }

    // Who is left and who is dialed.

    /// Returns the connections that have cost their servers enough and have nothing more to wait for.
    pub(super) fn over_budget(&self) -> Vec<ConnId> {
        let over = self.iter().filter(|(_, peer)| peer.over_budget && peer.is_idle());
        over.map(|(conn, _)| conn).collect()
    }

    /// Has the server of a connection that had cost enough dialed again without a pause.
    pub(super) fn redial_at_once(&mut self, server: ServerIndex, now: Moment) {
        if let Some(server) = self.servers.get_mut(server.0) {
            server.redial_from(now);
        }
    }

    /// Returns all idle connections but the first one of each server.
    pub(super) fn needless(&self) -> Vec<ConnId> {
        let mut seen = BTreeSet::new();
        let needless = self
            .iter()
            .filter(|(_, peer)| !seen.insert(peer.server) && peer.is_idle());
        needless.map(|(conn, _)| conn).collect()
    }

    /// Returns the settled connection with the lowest tip, where a server waits that can't be dialed for want of room.
    pub(super) fn in_the_way(&self, now: Moment) -> Option<ConnId> {
        let waits = |server: &Server| server.is_due(self.limits.dials, Duration::ZERO, now);
        if self.open_connections(now) < self.limits.connections || !self.servers.iter().any(waits) {
            return None;
        }
        let settled = self.iter().filter(|(_, peer)| peer.phase == PeerPhase::Settled);
        let lowest = settled.min_by_key(|(_, peer)| peer.claimed.height);
        lowest.map(|(conn, _)| conn)
    }

    /// Says whether there are servers that are being dialed, or may be now or later.
    pub(super) fn has_more_servers(&self, now: Moment) -> bool {
        let dials = self.limits.dials;
        let may_come = |server: &Server| server.is_dialed() || server.may_be_dialed(dials, now);
        self.servers.iter().any(may_come)
    }

    /// Returns how many connections are open or soon will be: a dial that takes long holds nobody else up.
    fn open_connections(&self, now: Moment) -> usize {
        let slow = self.limits.steal_after;
        let soon = self.servers.iter().filter(|server| server.is_dialed_since(slow, now));
        self.len() + soon.count()
    }

    /// Chooses whom to dial, and takes down that they are dialed. While there is `work` left, in requests, servers that
    /// are connected are dialed once more where no other one is left, such that each connection has two to send.
    pub(super) fn dial(&mut self, is_synced: bool, work: usize, now: Moment) -> Vec<ServerIndex> {
        let mut dialed = Vec::new();
        if is_synced && self.connected_servers() >= AGREEING_SERVERS {
            return dialed;
        }
        let (dials, most) = (self.limits.dials, self.limits.connections);
        let pause = if is_synced { COMPARE_PAUSE } else { Duration::ZERO };
        let mut open = self.open_connections(now);
        for (index, server) in self.servers.iter_mut().enumerate() {
            if open >= most {
                return dialed;
            }
            if server.is_due(dials, pause, now) {
                server.dial(now);
                dialed.push(ServerIndex(index));
                open += 1;
            }
        }
        let needs = |connections: usize| work >= connections.saturating_mul(2);
        while !is_synced && open < most && !self.has_more_servers(now) && needs(open + 1) {
            let Some(index) = self.least_loaded(now) else { break };
            if let Some(server) = self.servers.get_mut(index.0) {
                server.dial_once_more(now);
            }
            dialed.push(index);
            open += 1;
        }
        dialed
    }

    /// Returns the connected server with the fewest connections that may have one more: it has brought something since
    /// it was last dialed.
    fn least_loaded(&self, now: Moment) -> Option<ServerIndex> {
        let links = |index: ServerIndex| self.values().filter(|peer| peer.server == index).count();
        let servers = self.servers.iter().enumerate();
        let free = servers.filter(|(_, server)| server.may_have_one_more(now));
        let counted = free.map(|(index, _)| (links(ServerIndex(index)), ServerIndex(index)));
        counted.filter(|(links, _)| *links > 0).min().map(|(_, index)| index)
    }

    /// Returns the moments at which something may follow: a request is overdue, a server may be dialed.
    pub(super) fn wake_times(&self) -> impl Iterator<Item = Moment> + '_ {
        let flights = self.values().flat_map(|peer| peer.in_flight.values());
        let deadlines = flights.map(|flight| flight.deadline);
        let slow = self.limits.steal_after;
        let dials = self.servers.iter().flat_map(move |server| server.wake_times(slow));
        deadlines.chain(dials)
    }
}

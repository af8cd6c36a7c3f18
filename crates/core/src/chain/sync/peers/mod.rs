//! The peer table: servers with their back-off, and connections with what they claim, can do, cost and are asked.
//!
//! A connection's [`PeerPhase`] tells how its chain stands to ours. It decides what the connection is asked:
//!
//! | phase | event | next phase |
//! |---|---|---|
//! | none | opened | `Greeting` |
//! | none, `Greeting` | connected | `Waiting` |
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
//! times in a row at most: what it brings, or [`FORGIVEN_AFTER`](crate::reputation::FORGIVEN_AFTER), gives it all its dials back. Reported ones are never
//! dialed again. All of this is counted in its reputation, of which header sync sees the part that it wrote itself.

mod dialing;
mod requests;
mod server;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bitcoin::BlockHash;
use bitcoin::hashes::Hash as _;

use self::server::Server;
use super::cost::{Account, FullSize};
use super::pace::Pace;
use super::{ClaimedTip, CloseReason, HeaderSyncLimits, LinkError, RequestId, ServerFault, ServerReport, ServerState};
use crate::backoff::Backoff;
use crate::chain::Height;
use crate::isolation::ConnId;
use crate::reputation::{ServerIndex, ServerWay, SyncEvidence, SyncReputation};
use crate::time::Moment;

/// Headers asked for in the first step of a trace; each further step takes four times as many.
const FIRST_TRACE: Height = 8;

/// How often in a row a server may fail to answer before it is left for this run.
const MAX_STRIKES: u32 = 2;

/// How often a connection may be traced, or change its chain, without a new header from it: one that starts over again
/// and again would never be settled.
const MAX_TRACES: u32 = 3;

/// How many times as long as the first one the longest pause before a server is dialed again is.
const LONGEST_PAUSE: u32 = 1024;

/// Servers on our own tip that end a sync at once, and that are enough to be connected with after it.
pub(super) const AGREEING_SERVERS: usize = 2;

/// How a connection's chain stands to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerPhase {
    /// It is open, and has not answered the greeting: for all but what it is asked it is still being dialed.
    Greeting,
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
    pub(super) is_truncated: bool,
    sent: Moment,
    /// When a later request was first answered before it.
    overtaken: Option<Moment>,
    /// How many bytes its reply is expected to have.
    wire: u32,
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
    pace: Pace,
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
    /// What is known of the way to each server.
    ways: Vec<ServerWay>,
    /// The servers of connections that ended without fault and whose headers wait for their turn still.
    ended: BTreeMap<ConnId, ServerIndex>,
    full_size: FullSize,
    /// Bytes that came over all connections, of what was asked for.
    received: u64,
    next_request: u64,
}

impl PeerTable {
    /// Makes a table of so many servers, to be dialed in this order.
    pub(super) fn new(servers: usize, limits: HeaderSyncLimits) -> Self {
        Self {
            limits,
            servers: std::iter::repeat_with(Server::default).take(servers).collect(),
            peers: BTreeMap::new(),
            ways: vec![ServerWay::default(); servers],
            ended: BTreeMap::new(),
            full_size: FullSize::default(),
            received: 0,
            next_request: 0,
        }
    }

    /// Takes in servers that were added behind the others.
    fn grow(&mut self, servers: usize) {
        self.servers
            .resize_with(servers.max(self.servers.len()), Server::default);
        self.ways.resize(self.servers.len(), ServerWay::default());
    }

    // What there is.

    pub(super) fn get(&self, conn: ConnId) -> Option<&Peer> {
        self.peers.get(&conn)
    }

    /// Returns all connections, those that are still greeted included.
    pub(super) fn all(&self) -> impl Iterator<Item = (ConnId, &Peer)> + Clone {
        self.peers.iter().map(|(conn, peer)| (*conn, peer))
    }

    /// Returns all that have answered the greeting.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Peer)> + Clone {
        self.all().filter(|(_, peer)| peer.phase != PeerPhase::Greeting)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Peer> + Clone {
        self.iter().map(|(_, peer)| peer)
    }

    pub(super) fn len(&self) -> usize {
        self.iter().count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Says whether a connection is in a phase.
    pub(super) fn any_in(&self, phase: PeerPhase) -> bool {
        self.values().any(|peer| peer.phase == phase)
    }

    /// Returns the server of a connection, which may have ended while its headers wait for their turn.
    pub(super) fn server_of(&self, conn: ConnId) -> Option<ServerIndex> {
        let open = self.get(conn).map(|peer| peer.server);
        open.or_else(|| self.ended.get(&conn).copied())
    }

    /// Forgets the servers of ended connections but those that something waits of still.
    pub(super) fn forget_ended(&mut self, waits: impl Fn(ConnId) -> bool) {
        self.ended.retain(|conn, _| waits(*conn));
    }

    /// Returns the connections of a server that ended while their headers wait for their turn still.
    pub(super) fn ended_of(&self, server: ServerIndex) -> Vec<ConnId> {
        let ended = self.ended.iter().filter(|(_, of)| **of == server);
        ended.map(|(conn, _)| *conn).collect()
    }

    /// Returns all connections to a server.
    pub(super) fn connections_to(&self, server: ServerIndex) -> Vec<ConnId> {
        let siblings = self.all().filter(|(_, peer)| peer.server == server);
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

    fn indices(&self) -> impl Iterator<Item = ServerIndex> + use<> {
        (0..self.servers.len()).map(ServerIndex)
    }

    fn is_connected(&self, server: ServerIndex) -> bool {
        self.values().any(|peer| peer.server == server)
    }

    /// Says whether a server is being dialed.
    pub(super) fn is_dialed(&self, server: ServerIndex) -> bool {
        self.servers.get(server.0).is_some_and(Server::is_dialed)
    }

    pub(super) fn reports(&self) -> impl Iterator<Item = ServerReport> + '_ {
        self.servers.iter().map(Server::report)
    }

    // What happens to a connection.

    /// Takes a connection in that greets its server, which is asked for what is there up to a height. Not where the
    /// connection is known already, or its server was left for good.
    pub(super) fn on_opened(&mut self, server: ServerIndex, conn: ConnId, height: Height, now: Moment) {
        let is_left = self.servers.get(server.0).is_none_or(Server::is_faulty);
        if is_left || self.peers.contains_key(&conn) {
            return;
        }
        // It claims nothing yet.
        let hash = BlockHash::all_zeros();
        let tip = ClaimedTip { height, hash };
        self.insert(server, conn, tip, PeerPhase::Greeting, now);
    }

    /// Takes a new connection in; says whether it did. It does not where the connection is known already, or its server
    /// was left for good while this one was being opened.
    pub(super) fn on_connected(&mut self, server: ServerIndex, conn: ConnId, tip: ClaimedTip, now: Moment) -> bool {
        let is_greeted = |peer: &Peer| peer.phase == PeerPhase::Greeting && peer.server == server;
        if !self.peers.get(&conn).is_none_or(is_greeted) {
            return false;
        }
        let Some(entry) = self.servers.get_mut(server.0) else {
            return false;
        };
        if entry.is_faulty() {
            entry.on_late();
            return false;
        }
        entry.on_connected(tip);
        match self.peers.get_mut(&conn) {
            Some(peer) => (peer.claimed, peer.phase, peer.since) = (tip, PeerPhase::Waiting, now),
            None => self.insert(server, conn, tip, PeerPhase::Waiting, now),
        }
        true
    }

    fn insert(&mut self, server: ServerIndex, conn: ConnId, claimed: ClaimedTip, phase: PeerPhase, now: Moment) {
        let way = self.ways.get(server.0).copied().unwrap_or_default();
        let peer = Peer {
            server,
            claimed,
            phase,
            truncates: !way.cuts_wrongly,
            since: now,
            strikes: 0,
            traces: 0,
            in_flight: BTreeMap::new(),
            account: Account::new(now),
            pace: Pace::new(&way, now),
            replies: 0,
            over_budget: false,
        };
        self.peers.insert(conn, peer);
    }

    /// Takes down that a server was not reached.
    pub(super) fn on_dial_failed(
        &mut self,
        reputation: &mut SyncReputation,
        server: ServerIndex,
        error: LinkError,
        now: Moment,
    ) {
        let is_connected = self.is_connected(server);
        let others = self.servers.get(server.0).is_some_and(|entry| entry.dials() > 1);
        let evidence = if is_connected || others {
            // One connection is enough to know it by: that there is no other is no fault of the server. Of several dials
            // that began together the last one tells.
            SyncEvidence::ExtraDialFailed
        } else if error.is_permanent() {
            SyncEvidence::Unready
        } else {
            SyncEvidence::Ended(back_off(self.limits.redial_pause))
        };
        reputation.record(now, server, evidence);
        if let Some(entry) = self.servers.get_mut(server.0) {
            entry.on_dial_failed(error, is_connected);
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
            PeerPhase::Greeting | PeerPhase::Waiting | PeerPhase::Branch { .. } | PeerPhase::SetAside => {}
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
    pub(super) fn on_useful(&mut self, reputation: &mut SyncReputation, conn: ConnId, headers: Height, now: Moment) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        peer.traces = 0;
        reputation.record(now, peer.server, SyncEvidence::Useful);
        if let Some(server) = self.servers.get_mut(peer.server.0) {
            server.brought(headers);
        }
    }

    /// Notes that a connection's server can't cut headers, whatever the connection.
    pub(super) fn on_wrongly_cut(&mut self, conn: ConnId) {
        let Some(server) = self.get(conn).map(|peer| peer.server) else {
            return;
        };
        for peer in self.peers.values_mut().filter(|peer| peer.server == server) {
            peer.truncates = false;
        }
        if let Some(way) = self.way_mut(server) {
            way.cuts_wrongly = true;
        }
    }

    /// Notes that a server may give headers otherwise than it did.
    pub(super) fn on_other_release(&mut self, server: ServerIndex) {
        if let Some(way) = self.way_mut(server) {
            way.on_other_release();
        }
    }

    /// Leaves a server that has no connection any more.
    pub(super) fn on_found_guilty(
        &mut self,
        reputation: &mut SyncReputation,
        server: ServerIndex,
        fault: ServerFault,
        now: Moment,
    ) {
        reputation.record(now, server, fault.evidence());
        if let Some(entry) = self.servers.get_mut(server.0) {
            entry.on_ended(ServerState::Faulty(fault));
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

    /// Takes a connection off the table, which left its server in this state. While the server has another one it stands
    /// as that does, unless it is at fault.
    pub(super) fn remove(&mut self, reputation: &mut SyncReputation, conn: ConnId, state: ServerState, now: Moment) {
        let Some(peer) = self.peers.remove(&conn) else {
            return;
        };
        let server = peer.server;
        if let ServerState::Closed(CloseReason::Link(_)) = state {
            self.on_cut(&peer);
        }
        if state.leaves_headers() {
            self.ended.insert(conn, server);
        }
        if peer.phase == PeerPhase::Greeting {
            if let ServerState::Closed(CloseReason::Link(error)) | ServerState::Faulty(ServerFault::Link(error)) = state
            {
                return self.on_dial_failed(reputation, server, error, now);
            }
            if let Some(server) = self.servers.get_mut(server.0) {
                server.on_late();
            }
        }
        let evidence = match &state {
            ServerState::Faulty(fault) => fault.evidence(),
            _ if self.is_connected(server) => return,
            _ => SyncEvidence::Ended(back_off(self.limits.redial_pause)),
        };
        reputation.record(now, server, evidence);
        if let Some(server) = self.servers.get_mut(server.0) {
            server.on_ended(state);
        }
    }

    /// Has a server left alone for a while that has had enough of us.
    pub(super) fn on_rate_limited(&self, reputation: &mut SyncReputation, server: ServerIndex, now: Moment) {
        let pause = back_off(self.limits.rate_limit_pause);
        reputation.record(now, server, SyncEvidence::RateLimited(pause));
    }

    /// Says whether the server of a connection may be dialed once more.
    pub(super) fn has_dials_left(&self, reputation: &SyncReputation, conn: ConnId) -> bool {
        let server = self.get(conn).map(|peer| peer.server);
        server.is_some_and(|server| reputation.dials(server) < self.limits.dials)
    }
}

/// Returns the rule by which pauses grow that begin with this one.
fn back_off(first: Duration) -> Backoff {
    Backoff::new(first, first.saturating_mul(LONGEST_PAUSE))
}

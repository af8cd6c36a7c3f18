//! The machine itself.

mod plan;
mod replies;

use std::collections::BTreeMap;

use super::chunks::Chunks;
use super::{AskId, ClaimedTip, Effect, Event, Fault, Limits, Progress, ServerIndex, ServerReport, ServerState};
use crate::chain::{HeaderTree, Height};
use crate::isolation::ConnId;
use crate::time::{Moment, Now};

/// Headers asked for in the first step of a trace; each further step takes four times as many.
const FIRST_TRACE: Height = 8;

/// How often in a row a server may fail to answer before it is left for this run.
const MAX_STRIKES: u32 = 2;

/// How often a server may be traced without a new header from it: one that starts over again and again would never
/// be settled.
const MAX_TRACES: u32 = 3;

/// Servers on our own tip that end a sync at once.
const AGREEING_SERVERS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The tree can't judge its tip yet.
    Waiting,
    /// It claims a chain longer than ours, which is fetched in shared chunks.
    Following,
    /// Its headers don't link to ours; the fork point lies at or below `end`.
    Tracing { end: Height, span: Height },
    /// Its own branch is fetched from `next` on, from it alone.
    Branch { next: Height },
    /// Its tip is known to us: it is ours, below ours, or on a branch that isn't better.
    Settled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Backward { start: Height },
    Forward { start: Height },
    Trace,
    Branch,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    job: Job,
    start: Height,
    count: Height,
    deadline: Moment,
}

#[derive(Debug)]
struct Peer {
    server: ServerIndex,
    claimed: ClaimedTip,
    mode: Mode,
    truncates: bool,
    strikes: u32,
    /// Traces since it last had a header that we didn't.
    traces: u32,
    /// When it was connected, or told a new tip after it was settled.
    since: Moment,
    in_flight: BTreeMap<AskId, InFlight>,
}

#[derive(Debug)]
struct Server {
    state: ServerState,
    claimed: Option<ClaimedTip>,
    headers: u64,
    dials: u32,
    /// While dialing: since when. When closed: not to be dialed again before.
    at: Moment,
}

/// Header sync from several servers into a [`HeaderTree`].
///
/// Feed it events, carry out its effects. It holds no headers but those that came before their turn.
#[derive(Debug)]
pub struct Sync {
    limits: Limits,
    servers: Vec<Server>,
    peers: BTreeMap<ConnId, Peer>,
    backward: Chunks,
    forward: Chunks,
    next_ask: u64,
    first_settled: Option<Moment>,
    last_progress: Moment,
    reported: Option<Effect>,
}

impl Sync {
    /// Makes a machine for so many servers, to be dialed in this order.
    pub fn new(servers: usize, limits: Limits) -> Self {
        let server = || Server {
            state: ServerState::Unused,
            claimed: None,
            headers: 0,
            dials: 0,
            at: Moment::default(),
        };
        Self {
            limits,
            servers: std::iter::repeat_with(server).take(servers).collect(),
            peers: BTreeMap::new(),
            backward: Chunks::default(),
            forward: Chunks::default(),
            next_ask: 0,
            first_settled: None,
            last_progress: Moment::default(),
            reported: None,
        }
    }

    /// Advances by one event. Call it once with [`Event::Tick`] to begin.
    pub fn on_event(&mut self, tree: &mut HeaderTree, now: Now, event: Event) -> Vec<Effect> {
        let mut step = Step {
            sync: self,
            tree,
            now,
            effects: Vec::new(),
        };
        step.handle(event);
        step.advance();
        step.effects
    }

    /// Returns how far the sync is.
    pub fn progress(&self, tree: &HeaderTree) -> Progress {
        let low = history_low(tree);
        let tip = tree.tip().height;
        let claimed = self
            .peers
            .values()
            .filter(|peer| peer.mode == Mode::Following)
            .map(|peer| peer.claimed.height);
        let target = claimed.max().unwrap_or(tip).max(tip);
        let known = tree
            .lowest()
            .map_or(0, |lowest| u64::from(tip.saturating_sub(lowest)) + 1);
        Progress {
            done: known,
            total: u64::from(target.saturating_sub(low)) + 1,
            connections: self.peers.len(),
        }
    }

    /// Returns what is known of each server, in the order of the list.
    pub fn reports(&self) -> impl Iterator<Item = ServerReport> + '_ {
        self.servers.iter().map(|server| ServerReport {
            state: server.state.clone(),
            claimed: server.claimed,
            headers: server.headers,
        })
    }

    /// Returns the greatest height that a connected server claims and is not known to be wrong about.
    pub fn claimed_height(&self) -> Option<Height> {
        self.peers.values().map(|peer| peer.claimed.height).max()
    }
}

/// Returns the height down to which headers are wanted: what retargeting needs, and as many below the anchor as a
/// name that was updated above the anchor may refer back to.
fn history_low(tree: &HeaderTree) -> Height {
    let anchor = tree.anchor().height;
    let depth = tree.params().expiration_depth(anchor);
    tree.required_low().min(anchor.saturating_sub(depth))
}

fn is_ready(tree: &HeaderTree) -> bool {
    tree.lowest().is_some_and(|lowest| lowest <= tree.required_low())
}

struct Step<'a> {
    sync: &'a mut Sync,
    tree: &'a mut HeaderTree,
    now: Now,
    effects: Vec<Effect>,
}

impl Step<'_> {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Connected { server, conn, tip } => self.on_connected(server, conn, tip),
            Event::DialFailed {
                server,
                reason,
                permanent,
            } => self.on_dial_failed(server, reason, permanent),
            Event::TipClaimed { conn, tip } => self.on_tip_claimed(conn, tip),
            Event::Headers {
                conn,
                ask,
                count,
                bytes,
            } => self.on_headers(conn, ask, count, bytes),
            Event::WronglyCut { conn, ask } => self.on_wrongly_cut(conn, ask),
            Event::Refused { conn, ask, reason } => self.on_refused(conn, ask, reason),
            Event::Closed {
                conn,
                reason,
                permanent,
            } => {
                let state = if permanent {
                    ServerState::Faulty(Fault::Connection(reason))
                } else {
                    ServerState::Closed(reason)
                };
                self.forget(conn, state);
            }
            Event::Tick => {}
        }
    }

    fn on_connected(&mut self, server: ServerIndex, conn: ConnId, tip: ClaimedTip) {
        if self.sync.peers.contains_key(&conn) {
            return;
        }
        let Some(entry) = self.sync.servers.get_mut(server.0) else {
            return;
        };
        entry.state = ServerState::Connected;
        entry.claimed = Some(tip);
        self.sync.peers.insert(
            conn,
            Peer {
                server,
                claimed: tip,
                mode: Mode::Waiting,
                truncates: true,
                strikes: 0,
                traces: 0,
                since: self.now.steady,
                in_flight: BTreeMap::new(),
            },
        );
        let anchor = self.tree.anchor().height;
        if tip.height < anchor {
            self.blame(
                conn,
                Fault::BelowAnchor {
                    claimed: tip.height,
                    anchor,
                },
            );
        }
    }

    fn on_dial_failed(&mut self, server: ServerIndex, reason: String, permanent: bool) {
        let pause = self.sync.limits.redial_pause;
        let steady = self.now.steady;
        let Some(entry) = self.sync.servers.get_mut(server.0) else {
            return;
        };
        entry.state = if permanent {
            ServerState::Faulty(Fault::Connection(reason))
        } else {
            ServerState::Closed(reason)
        };
        entry.at = steady + pause.saturating_mul(1 << entry.dials.min(10));
    }

    fn on_tip_claimed(&mut self, conn: ConnId, tip: ClaimedTip) {
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return;
        };
        peer.claimed = tip;
        match &mut peer.mode {
            Mode::Settled => {
                peer.mode = Mode::Waiting;
                peer.since = self.now.steady;
            }
            Mode::Following => peer.mode = Mode::Waiting,
            // What lies above its new tip can't be asked for any more.
            Mode::Tracing { end, .. } => *end = tip.height.min(*end),
            Mode::Waiting | Mode::Branch { .. } => {}
        }
        if let Some(server) = self.sync.servers.get_mut(peer.server.0) {
            server.claimed = Some(tip);
        }
        self.sync.reported = None;
        let anchor = self.tree.anchor().height;
        if tip.height < anchor {
            self.blame(
                conn,
                Fault::BelowAnchor {
                    claimed: tip.height,
                    anchor,
                },
            );
        }
    }

    fn on_headers(&mut self, conn: ConnId, ask: AskId, count: Height, bytes: Vec<u8>) {
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return;
        };
        let Some(flight) = peer.in_flight.remove(&ask) else {
            return;
        };
        if count != flight.count {
            let expected = flight.count;
            return self.on_wrong_count(conn, Fault::Count { expected, got: count }, count < expected);
        }
        peer.strikes = 0;
        match flight.job {
            Job::Forward { start } => self.sync.forward.deliver(start, conn, count, bytes),
            Job::Backward { start } => self.sync.backward.deliver(start, conn, count, bytes),
            Job::Trace => self.apply_trace(conn, flight.start, count, &bytes),
            Job::Branch => self.apply_branch(conn, flight.start, count, &bytes),
        }
    }

    /// A server in the middle of a reorganisation has fewer headers than its last tip says, for a while: it is asked
    /// for its tip anew, over a new connection. The last of these finds it guilty.
    fn on_wrong_count(&mut self, conn: ConnId, fault: Fault, too_few: bool) {
        let dials = self.sync.limits.dials;
        let server = self.sync.peers.get(&conn).map(|peer| peer.server.0);
        let may_retry = server
            .and_then(|index| self.sync.servers.get(index))
            .is_some_and(|server| server.dials < dials);
        if too_few && may_retry {
            self.close(conn, ServerState::Closed(fault.to_string()));
        } else {
            self.blame(conn, fault);
        }
    }

    fn on_wrongly_cut(&mut self, conn: ConnId, ask: AskId) {
        if let Some(peer) = self.sync.peers.get_mut(&conn) {
            peer.truncates = false;
        }
        self.release(conn, ask);
    }

    fn on_refused(&mut self, conn: ConnId, ask: AskId, reason: String) {
        self.release(conn, ask);
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return;
        };
        peer.strikes += 1;
        if peer.strikes >= MAX_STRIKES {
            self.close(conn, ServerState::Closed(reason));
        }
    }

    /// Takes a request off a connection's list and gives its chunk free.
    fn release(&mut self, conn: ConnId, ask: AskId) {
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return;
        };
        match peer.in_flight.remove(&ask).map(|flight| flight.job) {
            Some(Job::Forward { start }) => self.sync.forward.release(start, conn),
            Some(Job::Backward { start }) => self.sync.backward.release(start, conn),
            Some(Job::Trace | Job::Branch) | None => {}
        }
    }

    /// Notes that a connection brought so many headers that were new to us: only that shows a server to be of use.
    fn took(&mut self, conn: ConnId, count: Height) {
        if count == 0 {
            return;
        }
        self.sync.last_progress = self.now.steady;
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return;
        };
        peer.traces = 0;
        if let Some(server) = self.sync.servers.get_mut(peer.server.0) {
            server.headers += u64::from(count);
            server.dials = 0;
        }
    }

    /// Looks for the fork point from `end` downwards.
    fn trace(&mut self, conn: ConnId, end: Height) {
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return;
        };
        if matches!(peer.mode, Mode::Tracing { .. }) {
            return;
        }
        peer.mode = Mode::Tracing { end, span: FIRST_TRACE };
        peer.traces += 1;
        if peer.traces > MAX_TRACES {
            self.close(conn, ServerState::Closed("its headers lead nowhere".to_owned()));
        }
    }

    /// Leaves a server for good.
    fn blame(&mut self, conn: ConnId, fault: Fault) {
        self.close(conn, ServerState::Faulty(fault));
    }

    fn close(&mut self, conn: ConnId, state: ServerState) {
        if self.sync.peers.contains_key(&conn) {
            self.effects.push(Effect::Close(conn));
            self.forget(conn, state);
        }
    }

    fn forget(&mut self, conn: ConnId, state: ServerState) {
        let Some(peer) = self.sync.peers.remove(&conn) else {
            return;
        };
        self.sync.forward.distrust(conn);
        self.sync.backward.distrust(conn);
        let pause = self.sync.limits.redial_pause;
        if let Some(server) = self.sync.servers.get_mut(peer.server.0) {
            server.state = state;
            server.at = self.now.steady + pause.saturating_mul(1 << server.dials.min(10));
        }
    }
}

impl Server {
    fn may_be_dialed(&self, dials: u32) -> bool {
        matches!(self.state, ServerState::Unused | ServerState::Closed(_)) && self.dials < dials
    }
}

/// Returns the height above the next chunk to be fetched backwards: the anchor's own header comes first.
fn next_backward_end(tree: &HeaderTree) -> Height {
    tree.lowest().unwrap_or_else(|| tree.anchor().height.saturating_add(1))
}

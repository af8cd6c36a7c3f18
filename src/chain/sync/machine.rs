//! The machine itself.

use std::collections::BTreeMap;

use super::chunks::Chunks;
use super::{Ask, AskId, ClaimedTip, Effect, Event, Fault, Limits, Progress, ServerIndex, ServerReport, ServerState};
use crate::chain::auxpow::FullHeader;
use crate::chain::tree::Accepted;
use crate::chain::{HeaderTree, Height, PureHeader};
use crate::isolation::ConnId;
use crate::time::{Moment, Now};

/// Headers asked for in the first step of a trace; each further step takes four times as many.
const FIRST_TRACE: Height = 8;

/// How often in a row a server may fail to answer before it is left for this run.
const MAX_STRIKES: u32 = 2;

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
        if matches!(peer.mode, Mode::Settled | Mode::Following) {
            peer.mode = Mode::Waiting;
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
            // A reorganisation may have shortened its chain since it told its tip; then a new tip is on its way,
            // and it may come back. Without one it claimed what it doesn't have.
            self.blame(
                conn,
                Fault::Count {
                    expected: flight.count,
                    got: count,
                },
            );
            return;
        }
        peer.strikes = 0;
        if let Some(server) = self.sync.servers.get_mut(peer.server.0) {
            server.headers += u64::from(count);
            server.dials = 0;
        }
        match flight.job {
            Job::Forward { start } => {
                self.sync.forward.deliver(start, conn, bytes);
                self.apply_forward();
            }
            Job::Backward { start } => {
                self.sync.backward.deliver(start, conn, bytes);
                self.apply_backward();
            }
            Job::Trace => self.apply_trace(conn, flight.start, count, &bytes),
            Job::Branch => self.apply_branch(conn, flight.start, count, &bytes),
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

    /// Moves the backfill as far down as the delivered chunks reach.
    fn apply_backward(&mut self) {
        let before = self.tree.lowest();
        while let Some(start) = self.sync.backward.ending_at(next_backward_end(self.tree)) {
            let Some((count, conn, bytes)) = self.sync.backward.take(start) else {
                break;
            };
            if let Err(fault) = self.backfill(start, count, &bytes) {
                self.sync.backward.insert(start, count);
                self.blame(conn, fault);
                break;
            }
        }
        let after = self.tree.lowest();
        if let Some(from) = after
            && after != before
        {
            self.effects.push(Effect::StoreBackward { from });
        }
    }

    fn backfill(&mut self, start: Height, count: Height, bytes: &[u8]) -> Result<(), Fault> {
        let headers = pure_headers(start, count, bytes)?;
        let end = start.saturating_add(count);
        for (height, header) in (start..end).zip(headers).rev() {
            // Every header here is authenticated by the one above it, so a mismatch is the sender's fault alone.
            self.tree.backfill(header).map_err(|error| {
                if height == self.tree.anchor().height {
                    Fault::ConflictsWithAnchor { anchor: height }
                } else {
                    Fault::Header { height, error }
                }
            })?;
        }
        Ok(())
    }

    /// Moves the tip as far up as the delivered chunks reach.
    fn apply_forward(&mut self) {
        loop {
            let start = self.tree.tip().height.saturating_add(1);
            let Some((count, conn, bytes)) = self.sync.forward.take(start) else {
                break;
            };
            let links = FullHeader::decode(&bytes)
                .is_ok_and(|(header, _)| self.tree.height_of(&header.pure.prev()) == start.checked_sub(1));
            if !links {
                // Its branch, or that of whoever sent the chunk below, is another one than ours: work will tell.
                self.sync.forward.insert(start, count);
                self.sync.forward.distrust(conn);
                self.trace(conn, start.saturating_sub(1));
                break;
            }
            if !self.accept(conn, start, count, &bytes) {
                break;
            }
        }
    }

    /// Puts a reply's headers into the tree; blames the sender and says `false` when one breaks a rule.
    fn accept(&mut self, conn: ConnId, start: Height, count: Height, bytes: &[u8]) -> bool {
        let mut lowest_changed: Option<Height> = None;
        let mut reorganized = false;
        let mut result = Ok(());
        let mut rest = bytes;
        for height in start..start.saturating_add(count) {
            let accepted = match FullHeader::decode(rest) {
                Ok((header, behind)) => {
                    rest = behind;
                    self.tree
                        .accept(&header, self.now.wall)
                        .map_err(|error| Fault::Header { height, error })
                }
                Err(error) => Err(Fault::Decode { height, error }),
            };
            let changed = match accepted {
                Ok(Accepted::Duplicate | Accepted::Branch) => None,
                Ok(Accepted::Extended) => Some(height),
                Ok(Accepted::Reorganized { fork }) => {
                    reorganized = true;
                    Some(fork.saturating_add(1))
                }
                Err(fault) => {
                    result = Err(fault);
                    break;
                }
            };
            lowest_changed = [lowest_changed, changed].into_iter().flatten().min();
        }
        if result.is_ok() && !rest.is_empty() {
            result = Err(Fault::ExtraBytes { extra: rest.len() });
        }
        if reorganized {
            // What was planned on top of the old branch is worthless.
            self.sync.forward.clear();
        }
        if let Some(from) = lowest_changed {
            self.sync.last_progress = self.now.steady;
            self.sync.reported = None;
            self.effects.push(Effect::StoreForward { from });
        }
        match result {
            Ok(()) => true,
            Err(Fault::Header { height, error }) if error.is_transient() => {
                // A block from the future is no lie yet. What lies below it stands; the rest is asked for later.
                if let Some(peer) = self.sync.peers.get_mut(&conn) {
                    peer.mode = Mode::Settled;
                }
                let reason = format!("is ahead of our clock at height {height}: {error}");
                self.close(conn, ServerState::Closed(reason));
                false
            }
            Err(fault) => {
                self.blame(conn, fault);
                false
            }
        }
    }

    fn trace(&mut self, conn: ConnId, end: Height) {
        if let Some(peer) = self.sync.peers.get_mut(&conn) {
            peer.mode = Mode::Tracing { end, span: FIRST_TRACE };
        }
    }

    fn apply_trace(&mut self, conn: ConnId, start: Height, count: Height, bytes: &[u8]) {
        let headers = match pure_headers(start, count, bytes) {
            Ok(headers) => headers,
            Err(fault) => return self.blame(conn, fault),
        };
        let known = |height: Height, header: &PureHeader| self.tree.height_of(&header.hash()) == Some(height);
        let heights = start..start.saturating_add(count);
        let top_known = heights
            .zip(&headers)
            .rev()
            .find(|(height, header)| known(*height, header));
        let below = start.checked_sub(1);
        let mode = match (top_known, headers.first()) {
            (Some((height, _)), _) => Mode::Branch {
                next: height.saturating_add(1),
            },
            (None, Some(first)) if below.is_some() && self.tree.height_of(&first.prev()) == below => {
                Mode::Branch { next: start }
            }
            _ => {
                let anchor = self.tree.anchor().height;
                match below {
                    Some(end) if end > anchor => Mode::Tracing {
                        end,
                        span: count.saturating_mul(4).min(self.sync.limits.truncated_chunk),
                    },
                    _ => return self.blame(conn, Fault::ConflictsWithAnchor { anchor }),
                }
            }
        };
        if let Some(peer) = self.sync.peers.get_mut(&conn) {
            peer.mode = mode;
        }
    }

    fn apply_branch(&mut self, conn: ConnId, start: Height, count: Height, bytes: &[u8]) {
        if self.accept(conn, start, count, bytes)
            && let Some(peer) = self.sync.peers.get_mut(&conn)
        {
            let next = start.saturating_add(count);
            peer.mode = if next > peer.claimed.height {
                Mode::Settled
            } else {
                Mode::Branch { next }
            };
        }
    }

    /// Everything that follows from the state alone: time-outs, who may do what, requests, the verdict.
    fn advance(&mut self) {
        self.expire_requests();
        self.classify();
        self.plan_backward();
        self.plan_forward();
        self.ask();
        self.leave_stale();
        self.dial();
        self.report();
        self.wake();
    }

    fn expire_requests(&mut self) {
        let now = self.now.steady;
        let overdue: Vec<(ConnId, AskId)> = self
            .sync
            .peers
            .iter()
            .flat_map(|(conn, peer)| {
                peer.in_flight
                    .iter()
                    .map(|(ask, flight)| (*conn, *ask, flight.deadline))
            })
            .filter(|(_, _, deadline)| *deadline <= now)
            .map(|(conn, ask, _)| (conn, ask))
            .collect();
        for (conn, ask) in overdue {
            self.on_refused(conn, ask, Fault::Stuck.to_string());
        }
    }

    fn classify(&mut self) {
        if !is_ready(self.tree) {
            return;
        }
        let tip = self.tree.tip();
        let lowest = self.tree.lowest().unwrap_or_default();
        for peer in self.sync.peers.values_mut() {
            if !matches!(peer.mode, Mode::Waiting | Mode::Following) {
                continue;
            }
            peer.mode = if self.tree.height_of(&peer.claimed.hash).is_some() {
                Mode::Settled
            } else if peer.claimed.height > tip.height {
                Mode::Following
            } else if peer.claimed.height <= lowest {
                Mode::Settled
            } else {
                Mode::Tracing {
                    end: peer.claimed.height,
                    span: FIRST_TRACE,
                }
            };
        }
        if self.sync.first_settled.is_none() && self.sync.peers.values().any(|peer| peer.mode == Mode::Settled) {
            self.sync.first_settled = Some(self.now.steady);
        }
    }

    fn plan_backward(&mut self) {
        let low = if is_ready(self.tree) {
            history_low(self.tree)
        } else {
            self.tree.required_low()
        };
        let chunk = self.sync.limits.truncated_chunk.max(1);
        while self.sync.backward.len() < self.sync.limits.window {
            let end = self
                .sync
                .backward
                .lowest()
                .unwrap_or_else(|| next_backward_end(self.tree));
            if end <= low {
                break;
            }
            let start = end.saturating_sub(chunk).max(low);
            self.sync.backward.insert(start, end - start);
        }
    }

    fn plan_forward(&mut self) {
        if !is_ready(self.tree) {
            return;
        }
        let claimed = self
            .sync
            .peers
            .values()
            .filter(|peer| peer.mode == Mode::Following)
            .map(|peer| peer.claimed.height);
        let Some(target) = claimed.max() else {
            self.sync.forward.clear();
            return;
        };
        let chunk = self.sync.limits.full_chunk.max(1);
        while self.sync.forward.len() < self.sync.limits.window {
            let start = self
                .sync
                .forward
                .end()
                .unwrap_or_else(|| self.tree.tip().height.saturating_add(1));
            if start > target {
                break;
            }
            // A chunk ends at a claimed tip, so that whoever claims it can serve it whole.
            let tips = self
                .sync
                .peers
                .values()
                .map(|peer| peer.claimed.height)
                .filter(|height| *height >= start);
            let end = tips.min().unwrap_or(target).min(start.saturating_add(chunk - 1));
            self.sync
                .forward
                .insert(start, end.saturating_sub(start).saturating_add(1));
        }
    }

    fn ask(&mut self) {
        let conns: Vec<ConnId> = self.sync.peers.keys().copied().collect();
        // One request each in turn, so that the first connection doesn't take all.
        let mut asked = true;
        while asked {
            asked = false;
            for conn in &conns {
                asked |= self.ask_one(*conn);
            }
        }
    }

    fn ask_one(&mut self, conn: ConnId) -> bool {
        let limits = self.sync.limits;
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return false;
        };
        if peer.in_flight.len() >= limits.in_flight.max(1) {
            return false;
        }
        let now = self.now.steady;
        let steal_before = now.before(limits.steal_after);
        let highest = peer.claimed.height;
        let alone = peer.in_flight.is_empty();
        let (job, start, count) = match peer.mode {
            Mode::Tracing { end, span } => {
                if !alone {
                    return false;
                }
                let start = end
                    .saturating_add(1)
                    .saturating_sub(span)
                    .max(self.tree.anchor().height);
                (Job::Trace, start, end.saturating_add(1).saturating_sub(start))
            }
            Mode::Branch { next } => {
                if !alone {
                    return false;
                }
                let left = highest.saturating_sub(next).saturating_add(1);
                if next > highest {
                    peer.mode = Mode::Settled;
                    return false;
                }
                (Job::Branch, next, left.min(limits.full_chunk.max(1)))
            }
            Mode::Waiting | Mode::Following | Mode::Settled => {
                let forward = match peer.mode {
                    Mode::Following => self.sync.forward.assign(conn, highest, false, now, steal_before),
                    _ => None,
                };
                if let Some((start, count)) = forward {
                    (Job::Forward { start }, start, count)
                } else if let Some((start, count)) = self.sync.backward.assign(conn, highest, true, now, steal_before) {
                    (Job::Backward { start }, start, count)
                } else {
                    return false;
                }
            }
        };
        let full = matches!(job, Job::Forward { .. } | Job::Branch) || !peer.truncates;
        let ask = if full {
            Ask::Full { start, count }
        } else {
            let under = if matches!(job, Job::Trace) {
                highest
            } else {
                self.tree.anchor().height
            };
            Ask::Truncated { start, count, under }
        };
        let id = AskId(self.sync.next_ask);
        self.sync.next_ask += 1;
        peer.in_flight.insert(
            id,
            InFlight {
                job,
                start,
                count,
                deadline: now + limits.ask_timeout,
            },
        );
        self.effects.push(Effect::Ask { conn, id, ask });
        true
    }

    /// Leaves servers whose tip is old while there are others to ask.
    fn leave_stale(&mut self) {
        let tip = self.tree.tip();
        if !self.backward_done() || !self.tree.params().is_stale(tip.time, self.now.wall) || !self.has_more_servers() {
            return;
        }
        let settled = |(conn, peer): (&ConnId, &Peer)| (peer.mode == Mode::Settled).then_some(*conn);
        let stale: Vec<ConnId> = self.sync.peers.iter().filter_map(settled).collect();
        for conn in stale {
            self.blame(
                conn,
                Fault::StaleTip {
                    age: self.now.wall.seconds_since(tip.time),
                },
            );
        }
    }

    fn dial(&mut self) {
        if self.is_synced() {
            return;
        }
        let limits = self.sync.limits;
        let now = self.now.steady;
        // A dial that takes long holds nobody else up.
        let slow = now.before(limits.steal_after);
        let busy = |server: &&Server| match server.state {
            ServerState::Connected => true,
            ServerState::Dialing => server.at > slow,
            ServerState::Unused | ServerState::Closed(_) | ServerState::Faulty(_) => false,
        };
        let mut open = self.sync.servers.iter().filter(busy).count();
        for (index, server) in self.sync.servers.iter_mut().enumerate() {
            if open >= limits.connections {
                break;
            }
            if server.may_be_dialed(limits.dials) && server.at <= now {
                server.state = ServerState::Dialing;
                server.at = now;
                server.dials += 1;
                open += 1;
                self.effects.push(Effect::Dial(ServerIndex(index)));
            }
        }
    }

    fn backward_done(&self) -> bool {
        self.tree
            .lowest()
            .is_some_and(|lowest| lowest <= history_low(self.tree))
    }

    fn has_more_servers(&self) -> bool {
        let dials = self.sync.limits.dials;
        self.sync
            .servers
            .iter()
            .any(|server| server.state == ServerState::Dialing || server.may_be_dialed(dials))
    }

    fn is_synced(&self) -> bool {
        let peers = &self.sync.peers;
        if !self.backward_done() || !peers.values().any(|peer| peer.mode == Mode::Settled) {
            return false;
        }
        let limits = self.sync.limits;
        let now = self.now.steady;
        let stalled = now.since(self.sync.last_progress) >= limits.stall_grace;
        let waited = |since: Moment| now.since(since) >= limits.second_server_grace;
        let waited = self.sync.first_settled.is_some_and(waited);
        if peers.values().any(|peer| peer.mode != Mode::Settled) && !(stalled && waited) {
            return false;
        }
        if !self.has_more_servers() {
            return true;
        }
        let tip = self.tree.tip();
        let agreeing = peers.values().filter(|peer| peer.claimed.hash == tip.hash).count();
        !self.tree.params().is_stale(tip.time, self.now.wall)
            && (agreeing >= AGREEING_SERVERS || (waited && agreeing > 0))
    }

    fn report(&mut self) {
        let verdict = if self.is_synced() {
            Some(Effect::Synced)
        } else if self.sync.peers.is_empty() && !self.has_more_servers() {
            Some(Effect::Exhausted)
        } else {
            None
        };
        if verdict.is_some() && self.sync.reported != verdict {
            self.effects.extend(verdict.clone());
        }
        if verdict.is_some() {
            self.sync.reported = verdict;
        }
    }

    fn wake(&mut self) {
        let limits = self.sync.limits;
        let sync = &*self.sync;
        let deadlines = sync
            .peers
            .values()
            .flat_map(|peer| peer.in_flight.values())
            .map(|flight| flight.deadline);
        let waits = [sync.forward.oldest_wait(), sync.backward.oldest_wait()];
        let steals = waits.into_iter().flatten().map(|since| since + limits.steal_after);
        let dials = sync.servers.iter().filter_map(|server| match server.state {
            ServerState::Dialing => Some(server.at + limits.steal_after),
            _ if server.may_be_dialed(limits.dials) => Some(server.at),
            _ => None,
        });
        let graces = [
            sync.first_settled.map(|since| since + limits.second_server_grace),
            sync.first_settled.map(|_| sync.last_progress + limits.stall_grace),
        ];
        let times = deadlines.chain(steals).chain(dials).chain(graces.into_iter().flatten());
        if let Some(at) = times.filter(|at| *at > self.now.steady).min() {
            self.effects.push(Effect::WakeAt(at));
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

/// Takes a reply's headers as pure ones, whether they came truncated or full, and checks the links between them.
fn pure_headers(start: Height, count: Height, bytes: &[u8]) -> Result<Vec<PureHeader>, Fault> {
    let truncated = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(PureHeader::SIZE));
    let cut = truncated == Some(bytes.len());
    let mut headers: Vec<PureHeader> = Vec::new();
    let mut rest = bytes;
    for height in start..start.saturating_add(count) {
        let header = if cut {
            let (front, behind) = rest.split_at_checked(PureHeader::SIZE).unwrap_or_default();
            rest = behind;
            PureHeader::decode(front).ok_or(Fault::Count {
                expected: count,
                got: height - start,
            })?
        } else {
            let (full, behind) = FullHeader::decode(rest).map_err(|error| Fault::Decode { height, error })?;
            rest = behind;
            full.pure
        };
        if headers.last().is_some_and(|below| below.hash() != header.prev()) {
            return Err(Fault::BrokenLink { height });
        }
        headers.push(header);
    }
    if !rest.is_empty() {
        return Err(Fault::ExtraBytes { extra: rest.len() });
    }
    Ok(headers)
}

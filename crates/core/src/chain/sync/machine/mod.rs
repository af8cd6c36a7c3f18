//! The machine itself.

mod assembly;
mod plan;
mod replies;

use std::collections::BTreeMap;
use std::time::Duration;

use bitcoin::BlockHash;
use rand::SeedableRng;
use rand::rngs::StdRng;

use self::assembly::Assembly;
use super::chunks::Chunks;
use super::cost::{self, Account, FullSize};
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

/// The pause before another connection to a server is tried beside one that is there, when the last try failed.
const EXTRA_PAUSE: Duration = Duration::from_secs(30);

/// After this a server that failed as often as it may is tried again: a sync that goes on for weeks outlives outages.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// The pause before a server is dialed again when all is synchronised but fewer than two servers tell their tips: one
/// alone may lag, and nobody would notice.
const COMPARE_PAUSE: Duration = Duration::from_secs(60);

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
    /// Its own branch is fetched from `next` on, from it alone; `below` is the block under that.
    Branch { next: Height, below: BlockHash },
    /// Its headers don't fit on the skeleton that is made: it waits for what becomes of that.
    Apart,
    /// Its tip is known to us: it is ours, below ours, or on a branch that isn't better.
    Settled,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Job {
    Backward {
        start: Height,
    },
    Forward {
        start: Height,
    },
    Trace,
    Branch,
    /// Headers of the skeleton.
    Bones {
        start: Height,
    },
    /// Proofs of the sample.
    Prove {
        heights: Vec<Height>,
    },
    /// Proofs beyond the sample.
    Leisure {
        heights: Vec<Height>,
    },
}

#[derive(Clone, Debug)]
struct InFlight {
    job: Job,
    start: Height,
    count: Height,
    deadline: Moment,
    cost: f64,
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
    /// What it cost its server.
    account: Account,
    /// Replies that it gave.
    replies: u32,
    /// It has cost enough and is to end when its last reply is there.
    is_worn: bool,
}

#[derive(Debug)]
struct Server {
    state: ServerState,
    claimed: Option<ClaimedTip>,
    headers: u64,
    dials: u32,
    /// While it is being dialed: since when.
    dialing: Option<Moment>,
    /// When closed: not to be dialed again before.
    at: Moment,
    /// Not to be dialed before for one more connection.
    extra_at: Moment,
    /// Skeletons that it led and that came to nothing.
    lost_leads: u32,
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
    assembly: Option<Assembly>,
    /// The height above the highest header that any skeleton had.
    highest_bone: Height,
    /// The most headers that were proved of any skeleton.
    most_proved: usize,
    full_size: FullSize,
    rng: StdRng,
    leisure_at: Option<Moment>,
    next_ask: u64,
    first_settled: Option<Moment>,
    last_progress: Moment,
    reported: Option<Effect>,
}

impl Sync {
    /// Makes a machine for so many servers, to be dialed in this order. The seed must come from the operating system's
    /// generator: samples of headers are drawn with it, which servers must not foresee.
    pub fn new(servers: usize, limits: Limits, seed: [u8; 32]) -> Self {
        let server = || Server {
            state: ServerState::Unused,
            claimed: None,
            headers: 0,
            dials: 0,
            dialing: None,
            at: Moment::default(),
            extra_at: Moment::default(),
            lost_leads: 0,
        };
        Self {
            limits,
            servers: std::iter::repeat_with(server).take(servers).collect(),
            peers: BTreeMap::new(),
            backward: Chunks::default(),
            forward: Chunks::default(),
            assembly: None,
            highest_bone: 0,
            most_proved: 0,
            full_size: FullSize::default(),
            rng: StdRng::from_seed(seed),
            leisure_at: None,
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
        let mut effects = step.effects;
        join_stores(&mut effects);
        effects
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
        let skeleton = tree.skeleton().map_or(0, crate::chain::tree::Skeleton::len);
        let errands = self.assembly.as_ref().and_then(|assembly| assembly.errands.as_ref());
        let unproved = errands.map_or(0, super::errands::Errands::left);
        Progress {
            done: known + skeleton.saturating_sub(unproved) as u64,
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

/// Leaves one effect of those that write from some height upwards: each writes all that is there in the end.
fn join_stores(effects: &mut Vec<Effect>) {
    let from = |effect: &Effect| match effect {
        Effect::StoreForward { from } => Some(*from),
        _ => None,
    };
    let Some(lowest) = effects.iter().filter_map(from).min() else {
        return;
    };
    let mut is_first = true;
    effects.retain_mut(|effect| match effect {
        Effect::StoreForward { from } => {
            *from = lowest;
            std::mem::take(&mut is_first)
        }
        _ => true,
    });
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
            } => self.on_headers(conn, ask, count, bytes, false),
            Event::Scattered { conn, ask, headers } => {
                let count = Height::try_from(headers.len()).unwrap_or(Height::MAX);
                self.on_headers(conn, ask, count, headers.concat(), true);
            }
            Event::WronglyCut { conn, ask } => self.on_wrongly_cut(conn, ask),
            Event::Refused {
                conn,
                ask,
                reason,
                overdrawn,
            } => self.on_refused(conn, ask, reason, overdrawn),
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
        entry.dialing = None;
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
                account: Account::new(self.now.steady),
                replies: 0,
                is_worn: false,
            },
        );
        let anchor = self.tree.anchor().height;
        if tip.height < anchor {
            self.blame(
                conn,
                &Fault::BelowAnchor {
                    claimed: tip.height,
                    anchor,
                },
            );
        }
    }

    fn on_dial_failed(&mut self, server: ServerIndex, reason: String, permanent: bool) {
        let pause = self.sync.limits.redial_pause;
        let steady = self.now.steady;
        let has_more = self.sync.peers.values().any(|peer| peer.server == server);
        let Some(entry) = self.sync.servers.get_mut(server.0) else {
            return;
        };
        entry.dialing = None;
        if has_more {
            // One connection is enough to know it by: that there is no other is no fault of the server.
            entry.extra_at = steady + EXTRA_PAUSE;
            return;
        }
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
            Mode::Waiting | Mode::Branch { .. } | Mode::Apart => {}
        }
        if let Some(server) = self.sync.servers.get_mut(peer.server.0) {
            server.claimed = Some(tip);
        }
        self.sync.reported = None;
        let anchor = self.tree.anchor().height;
        if tip.height < anchor {
            self.blame(
                conn,
                &Fault::BelowAnchor {
                    claimed: tip.height,
                    anchor,
                },
            );
        }
    }

    fn on_headers(&mut self, conn: ConnId, ask: AskId, count: Height, bytes: Vec<u8>, single: bool) {
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return;
        };
        let Some(flight) = peer.in_flight.remove(&ask) else {
            return;
        };
        peer.account
            .book(cost::of_reply(count, bytes.len(), single), self.now.steady);
        peer.replies = peer.replies.saturating_add(1);
        if count != flight.count {
            let expected = flight.count;
            return self.on_wrong_count(conn, &Fault::Count { expected, got: count }, count < expected);
        }
        peer.strikes = 0;
        match flight.job {
            Job::Forward { start } => {
                self.sync.full_size.note(count, bytes.len());
                self.sync.forward.deliver(start, conn, count, bytes);
            }
            Job::Backward { start } => self.sync.backward.deliver(start, conn, count, bytes),
            Job::Trace => self.apply_trace(conn, flight.start, count, &bytes),
            Job::Branch => self.apply_branch(conn, flight.start, count, &bytes),
            Job::Bones { start } => {
                if let Some(assembly) = &mut self.sync.assembly {
                    assembly.chunks.deliver(start, conn, count, bytes);
                }
            }
            Job::Prove { heights } => {
                self.sync.full_size.note(count, bytes.len());
                self.apply_proofs(conn, &heights, &bytes);
            }
            Job::Leisure { heights } => self.apply_leisure(conn, &heights, &bytes),
        }
    }

    /// A server in the middle of a reorganisation has fewer headers than its last tip says, for a while: it is asked
    /// for its tip anew, over a new connection. The last of these finds it guilty.
    fn on_wrong_count(&mut self, conn: ConnId, fault: &Fault, too_few: bool) {
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

    fn on_refused(&mut self, conn: ConnId, ask: AskId, reason: String, overdrawn: bool) {
        let Some(job) = self.release(conn, ask) else {
            return;
        };
        self.on_skeleton_refused(conn, &job, &reason);
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return;
        };
        if overdrawn {
            let server = peer.server;
            self.close(conn, ServerState::Closed(reason));
            let pause = self.sync.limits.overdrawn_pause;
            if let Some(server) = self.sync.servers.get_mut(server.0) {
                let until = self.now.steady + pause.saturating_mul(1 << server.dials.min(10));
                (server.at, server.extra_at) = (until, until);
            }
            return;
        }
        peer.strikes += 1;
        if peer.strikes >= MAX_STRIKES {
            self.close(conn, ServerState::Closed(reason));
        }
    }

    /// Takes a request off a connection's list and gives free what it was for.
    fn release(&mut self, conn: ConnId, ask: AskId) -> Option<Job> {
        let peer = self.sync.peers.get_mut(&conn)?;
        let job = peer.in_flight.remove(&ask)?.job;
        self.give_back(conn, &job);
        Some(job)
    }

    /// Gives free what a connection was to be asked for.
    fn give_back(&mut self, conn: ConnId, job: &Job) {
        match job {
            Job::Forward { start } => self.sync.forward.release(*start, conn),
            Job::Backward { start } => self.sync.backward.release(*start, conn),
            Job::Bones { start } => {
                if let Some(assembly) = &mut self.sync.assembly {
                    assembly.chunks.release(*start, conn);
                }
            }
            Job::Prove { heights } => {
                if let Some(errands) = self.sync.assembly.as_mut().and_then(|it| it.errands.as_mut()) {
                    errands.release(heights, conn);
                }
            }
            Job::Trace | Job::Branch | Job::Leisure { .. } => {}
        }
    }

    /// Notes that a connection brought so many headers that were new to us: only that shows a server to be of use.
    fn took(&mut self, conn: ConnId, count: Height) {
        if count == 0 {
            return;
        }
        self.is_of_use(conn);
        let server = self.sync.peers.get(&conn).map(|peer| peer.server);
        if let Some(server) = server.and_then(|server| self.sync.servers.get_mut(server.0)) {
            server.headers += u64::from(count);
        }
    }

    /// Notes that a connection brought the sync on: its server may be dialed as often as at the start.
    fn is_of_use(&mut self, conn: ConnId) {
        self.sync.last_progress = self.now.steady;
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return;
        };
        peer.traces = 0;
        if let Some(server) = self.sync.servers.get_mut(peer.server.0) {
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
    fn blame(&mut self, conn: ConnId, fault: &Fault) {
        let server = self.sync.peers.get(&conn).map(|peer| peer.server);
        let all = self.sync.peers.iter().filter(|(_, peer)| Some(peer.server) == server);
        for conn in all.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            self.close(conn, ServerState::Faulty(fault.clone()));
        }
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
        if let Some(assembly) = &mut self.sync.assembly {
            assembly.chunks.distrust(conn);
            if let Some(errands) = &mut assembly.errands {
                errands.release_all(conn);
            }
        }
        let pause = self.sync.limits.redial_pause;
        let has_more = self.sync.peers.values().any(|other| other.server == peer.server);
        if let Some(server) = self.sync.servers.get_mut(peer.server.0) {
            // It stands as its last connection does, unless it is at fault.
            if has_more && !matches!(state, ServerState::Faulty(_)) {
                return;
            }
            server.state = state;
            server.at = self.now.steady + pause.saturating_mul(1 << server.dials.min(10));
        }
    }
}

impl Server {
    fn may_be_dialed(&self, dials: u32, now: Moment) -> bool {
        let is_free = matches!(
            self.state,
            ServerState::Unused | ServerState::Rested | ServerState::Closed(_)
        );
        is_free && self.dialing.is_none() && (self.dials < dials || self.is_forgiven(now))
    }

    /// Says whether its failures are so old that they tell nothing any more.
    fn is_forgiven(&self, now: Moment) -> bool {
        now >= self.at + FORGIVEN_AFTER
    }
}

/// Returns the height above the next chunk to be fetched backwards: the anchor's own header comes first.
fn next_backward_end(tree: &HeaderTree) -> Height {
    tree.lowest().unwrap_or_else(|| tree.anchor().height.saturating_add(1))
}

//! Scripted servers, virtual time, and a model of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::chains::{Chain, GENESIS_TIME, SPACING};
use crate::chain::sync::{
    ClaimedTip, HeaderRequest, HeaderSync, HeaderSyncEffect, HeaderSyncEvent, HeaderSyncLimits, LinkError,
    LinkErrorKind, Progress, RequestId, ServerReport, ServerState, Verification,
};
use crate::chain::{Anchor, HeaderTree, Height, Network, Params, PureHeader};
use crate::isolation::ConnId;
use crate::reputation::{ServerIndex, SyncReputation};
use crate::time::{Moment, Now, Timestamp};

/// Small chunks, so that short chains have many of them.
pub(in crate::chain::sync) const LIMITS: HeaderSyncLimits = HeaderSyncLimits {
    verification: Verification::Full,
    skeleton_from: 12,
    skeleton_chunk: 16,
    sample_batch: 4,
    background_mean: Duration::from_secs(60),
    background_batch: 3,
    budget: 1_000_000.0,
    rate_limit_pause: Duration::from_secs(20),
    connections: 3,
    full_chunk: 8,
    truncated_chunk: 16,
    in_flight: 2,
    window: 8,
    request_timeout: Duration::from_secs(45),
    steal_after: Duration::from_secs(6),
    second_server_grace: Duration::from_secs(5),
    stall_grace: Duration::from_secs(20),
    dials: 3,
    redial_pause: Duration::from_secs(1),
};

/// What a server does wrong, beside what is wrong with its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    Honest,
    /// Can't be reached.
    Unreachable,
    /// Never answers.
    Silent,
    /// Never answers full headers.
    SilentAbove,
    /// Answers only every other question.
    Forgetful,
    /// Answers so many questions of a connection and then closes it.
    Closes(u32),
    /// Answers so many questions of a connection with an error.
    Busy(u32),
    /// Leaves out the last header.
    Short,
    /// Adds a byte.
    Extra,
    /// Sends garbage.
    Garbage,
    /// Repeats the first header of every reply.
    Repeats,
    /// Can't cut headers.
    CutsWrongly,
    /// Can't cut headers, such that the length agrees by accident.
    CutsByAccident,
    /// Claims so many more blocks than it has.
    Boasts(Height),
    /// Tells another tip of its own making with every answer.
    Restless,
    /// Claims its tip's block at another height.
    Misplaces,
    /// Answers so many questions of a connection, and then says that it has had enough.
    RateLimited(u32),
    /// Gives headers, but lets all wait that is to prove them.
    NeverProves,
    /// Gives headers, but refuses all that is to prove them.
    RefusesProofs,
}

const BUSY: &str = "too busy";
const RATE_LIMITED: &str = "excessive resource usage";

/// Says whether full headers are asked for as the end of a sample, not to be taken in turn.
fn proves(request: &HeaderRequest) -> bool {
    matches!(request, HeaderRequest::Full { count, .. } if *count != LIMITS.full_chunk)
}

/// A server.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) chain: Chain,
    pub(super) habit: Habit,
    /// One way, in milliseconds.
    pub(super) latency: u64,
    /// Bytes a second of each connection, and after how many it ends. Without it all comes at once.
    pub(super) circuit: Option<(u64, u64)>,
    /// Other chains that it turns to, each at a time in milliseconds.
    pub(super) turns: Vec<(u64, Chain)>,
}

impl Script {
    pub(super) fn honest(chain: &Chain) -> Self {
        Self::new(chain, Habit::Honest)
    }

    pub(super) fn new(chain: &Chain, habit: Habit) -> Self {
        Self {
            chain: chain.clone(),
            habit,
            latency: 100,
            circuit: None,
            turns: Vec::new(),
        }
    }

    pub(super) fn latency(mut self, milliseconds: u64) -> Self {
        self.latency = milliseconds;
        self
    }

    pub(super) fn circuit(mut self, rate: u64, ends_after: u64) -> Self {
        self.circuit = Some((rate, ends_after));
        self
    }

    pub(super) fn turns_to(mut self, at: u64, chain: &Chain) -> Self {
        self.turns.push((at, chain.clone()));
        self
    }

    fn tip(&self, salt: u64) -> ClaimedTip {
        let tip = self.chain.tip();
        match self.habit {
            Habit::Boasts(more) => ClaimedTip {
                height: tip.height + more,
                hash: self.chain.grown(1, 77).tip().hash,
            },
            Habit::Misplaces => ClaimedTip {
                height: tip.height + 5,
                ..tip
            },
            Habit::Restless if salt > 0 => ClaimedTip {
                height: tip.height + Height::try_from(salt % 2).unwrap(),
                hash: self.chain.cut(1).grown(1, u8::try_from(salt % 250).unwrap()).tip().hash,
            },
            _ => tip,
        }
    }

    /// Answers a request; `None`: not at all.
    fn answer(&self, conn: ConnId, id: RequestId, request: &HeaderRequest, asked: u32) -> Option<HeaderSyncEvent> {
        let refused_as = |kind, reason: &str| {
            Some(HeaderSyncEvent::Refused {
                conn,
                request: id,
                error: LinkError::new(kind, reason),
            })
        };
        let refused = |reason: &str| refused_as(LinkErrorKind::Transient, reason);
        let scattered = matches!(request, HeaderRequest::Scattered(_));
        let (heights, under): (Vec<Height>, _) = match request {
            HeaderRequest::Full { start, count } => ((*start..start + count).collect(), None),
            HeaderRequest::Truncated { start, count, under } => ((*start..start + count).collect(), Some(*under)),
            HeaderRequest::Scattered(heights) => (heights.clone(), None),
        };
        let last = *heights.last().unwrap();
        match self.habit {
            Habit::Silent => return None,
            Habit::SilentAbove if under.is_none() => return None,
            Habit::Forgetful if asked.is_multiple_of(2) => return None,
            Habit::Busy(times) if asked <= times => return refused(BUSY),
            Habit::RateLimited(most) if asked > most => return refused_as(LinkErrorKind::RateLimited, RATE_LIMITED),
            Habit::NeverProves if scattered || proves(request) => return None,
            Habit::RefusesProofs if scattered || proves(request) => return refused("no such header"),
            Habit::CutsWrongly if under.is_some() => return Some(HeaderSyncEvent::WronglyCut { conn, request: id }),
            _ => {}
        }
        if under.is_some_and(|under| under > self.chain.height() || under < last) {
            return refused("no such height");
        }
        if scattered && last > self.chain.height() {
            return refused("height out of range");
        }
        let full = |height: &Height| self.chain.full(*height, 1).next();
        let mut headers: Vec<&[u8]> = heights.iter().filter_map(full).collect();
        if self.habit == Habit::Repeats && headers.len() > 1 {
            headers[1] = headers[0];
        }
        if self.habit == Habit::Short {
            headers.pop();
        }
        let count = Height::try_from(headers.len()).unwrap();
        let cut = |header: &&[u8]| header[..if under.is_some() { 80 } else { header.len() }].to_vec();
        let mut bytes = headers.iter().map(cut).collect::<Vec<_>>().concat();
        if scattered {
            let mut headers: Vec<Vec<u8>> = headers.into_iter().map(<[u8]>::to_vec).collect();
            match self.habit {
                Habit::Extra => headers[0].push(0),
                Habit::Garbage => headers.iter_mut().flatten().for_each(|byte| *byte ^= 0x5a),
                _ => {}
            }
            return Some(HeaderSyncEvent::Scattered {
                conn,
                request: id,
                headers,
            });
        }
        match self.habit {
            Habit::Extra => bytes.push(0),
            Habit::Garbage => bytes.iter_mut().for_each(|byte| *byte ^= 0x5a),
            Habit::CutsByAccident if under.is_some() && bytes.len() > 80 => {
                bytes.iter_mut().skip(80).for_each(|byte| *byte ^= 0x5a);
            }
            _ => {}
        }
        Some(HeaderSyncEvent::Headers {
            conn,
            request: id,
            count,
            bytes,
        })
    }
}

#[derive(Debug)]
enum Happening {
    Event(HeaderSyncEvent),
    Asked(ConnId, RequestId, HeaderRequest),
    Turn(usize, Chain),
    Dialed(usize),
    Cut(ConnId),
}

/// Scripted servers around a machine.
#[derive(Debug)]
pub(super) struct World {
    pub(super) tree: HeaderTree,
    machine: HeaderSync,
    reputation: SyncReputation,
    limits: HeaderSyncLimits,
    servers: Vec<Script>,
    /// Each open connection's server, and how many questions it had.
    open: BTreeMap<ConnId, (usize, u32)>,
    /// Until when each connection with a rate has bytes to carry, in milliseconds, and how many it carried.
    carried: BTreeMap<ConnId, (u64, u64)>,
    /// How many requests of each connection are not answered.
    outstanding: BTreeMap<ConnId, usize>,
    /// The connections that the machine must take to be open.
    told: BTreeSet<ConnId>,
    queue: BTreeMap<(u64, u64), Happening>,
    wake: Option<Moment>,
    pub(super) now: u64,
    pub(super) wall: u64,
    sequence: u64,
    stored: BTreeMap<Height, PureHeader>,
    /// The heights that were stored as proved in the background, or when a skeleton was adopted.
    pub(super) proofs: BTreeSet<Height>,
    /// `Synced` and `Exhausted`, each with its time.
    pub(super) verdicts: Vec<(u64, HeaderSyncEffect)>,
    pub(super) asked: Vec<(usize, HeaderRequest)>,
    pub(super) dials: Vec<usize>,
}

impl World {
    pub(super) fn new(anchor: Anchor, servers: Vec<Script>) -> Self {
        Self::with(HeaderTree::new(Network::Regtest.params(), anchor), servers, LIMITS)
    }

    pub(super) fn on(params: &'static Params, anchor: Anchor, servers: Vec<Script>) -> Self {
        Self::with(HeaderTree::new(params, anchor), servers, LIMITS)
    }

    pub(super) fn with(tree: HeaderTree, servers: Vec<Script>, limits: HeaderSyncLimits) -> Self {
        let mut world = Self {
            machine: HeaderSync::new(servers.len(), limits, [11; 32]),
            reputation: SyncReputation::new(servers.len()),
            limits,
            stored: tree.best_chain(0).collect(),
            proofs: BTreeSet::new(),
            tree,
            servers,
            open: BTreeMap::new(),
            carried: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            told: BTreeSet::new(),
            queue: BTreeMap::new(),
            wake: None,
            now: 0,
            wall: u64::from(GENESIS_TIME + 1_000 * SPACING),
            sequence: 0,
            verdicts: Vec::new(),
            asked: Vec::new(),
            dials: Vec::new(),
        };
        world.stored.extend(world.skeleton_headers());
        for index in 0..world.servers.len() {
            for (at, chain) in std::mem::take(&mut world.servers[index].turns) {
                world.push(at, Happening::Turn(index, chain));
            }
        }
        world
    }

    /// Runs until the first verdict, at most an hour.
    pub(super) fn run(&mut self) -> &mut Self {
        let told = self.verdicts.len();
        self.begin();
        while self.verdicts.len() == told {
            assert!(self.now < 3_600_000, "no verdict within an hour: {:?}", self.machine);
            assert!(self.next(), "asleep for ever: {:?}", self.machine);
        }
        self
    }

    /// Runs on until nothing happens any more, at most for so many milliseconds.
    pub(super) fn settle(&mut self, milliseconds: u64) -> &mut Self {
        self.begin();
        let end = self.now + milliseconds;
        while self.now < end && self.next() {}
        self
    }

    fn begin(&mut self) {
        if self.now == 0 {
            self.step(HeaderSyncEvent::Tick);
        }
    }

    pub(super) fn verdict(&self) -> &HeaderSyncEffect {
        &self.verdicts.last().unwrap().1
    }

    pub(super) fn reports(&self) -> Vec<ServerReport> {
        self.machine.reports().collect()
    }

    pub(super) fn state(&self, index: usize) -> ServerState {
        self.reports()[index].state.clone()
    }

    pub(super) fn progress(&self) -> Progress {
        self.machine.progress(&self.tree)
    }

    fn push(&mut self, at: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), happening);
    }

    fn next(&mut self) -> bool {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let wake = self.wake.map(|wake| wake.0);
        match (queued, wake) {
            (None, None) => return false,
            (queued, Some(wake)) if queued.is_none_or(|queued| wake < queued) => {
                self.now = self.now.max(wake);
                self.step(HeaderSyncEvent::Tick);
            }
            _ => {
                let ((at, _), happening) = self.queue.pop_first().unwrap();
                self.now = self.now.max(at);
                match happening {
                    Happening::Event(event) => self.step(event),
                    Happening::Asked(conn, id, request) => self.serve(conn, id, &request),
                    Happening::Turn(index, chain) => self.turn(index, chain),
                    Happening::Dialed(index) => self.dialed(index),
                    Happening::Cut(conn) => self.cut(conn),
                }
            }
        }
        true
    }

    fn turn(&mut self, index: usize, chain: Chain) {
        self.servers[index].chain = chain;
        let tip = self.servers[index].tip(0);
        let at = self.now + self.servers[index].latency;
        let conns: Vec<ConnId> = self.conns_of(index);
        for conn in conns {
            self.push(at, Happening::Event(HeaderSyncEvent::TipClaimed { conn, tip }));
        }
    }

    fn conns_of(&self, index: usize) -> Vec<ConnId> {
        let open = self.open.iter().filter(|(_, (server, _))| *server == index);
        open.map(|(conn, _)| *conn).collect()
    }

    fn serve(&mut self, conn: ConnId, id: RequestId, request: &HeaderRequest) {
        let Some((index, asked)) = self.open.get_mut(&conn) else {
            return;
        };
        *asked += 1;
        let (index, asked) = (*index, *asked);
        let script = &self.servers[index];
        let at = self.now + script.latency;
        if matches!(script.habit, Habit::Closes(after) if asked > after) {
            self.open.remove(&conn);
            let event = HeaderSyncEvent::Closed {
                conn,
                error: LinkError::new(LinkErrorKind::Transient, "hung up"),
            };
            return self.push(at, Happening::Event(event));
        }
        let event = script.answer(conn, id, request, asked);
        let restless = (script.habit == Habit::Restless).then(|| script.tip(id.0 + 1));
        if let Some(tip) = restless {
            self.push(at, Happening::Event(HeaderSyncEvent::TipClaimed { conn, tip }));
        }
        if let Some(event) = event {
            match self.servers[index].circuit {
                None => self.push(at, Happening::Event(event)),
                Some((rate, ends_after)) => self.carry(conn, event, at, rate, ends_after),
            }
        }
    }

    /// Has a reply come bit by bit.
    fn carry(&mut self, conn: ConnId, event: HeaderSyncEvent, at: u64, rate: u64, ends_after: u64) {
        let bytes = match &event {
            HeaderSyncEvent::Headers { bytes, .. } => bytes.len(),
            HeaderSyncEvent::Scattered { headers, .. } => headers.iter().map(Vec::len).sum(),
            _ => 0,
        };
        let bytes = 2 * bytes as u64 + 100;
        let (free, carried) = self.carried.get(&conn).copied().unwrap_or_default();
        let (begin, mut sent) = (free.max(at), 0);
        let end = begin + bytes * 1000 / rate;
        let mut at = begin;
        while at < end {
            at = (at + 250.max(1000 / rate)).min(end);
            let until = (at - begin) * rate / 1000;
            if carried + until >= ends_after {
                return self.push(at, Happening::Cut(conn));
            }
            let (bytes, pads) = (until - sent, false);
            sent = until;
            self.push(at, Happening::Event(HeaderSyncEvent::Received { conn, bytes, pads }));
        }
        self.carried.insert(conn, (end, carried + bytes));
        self.push(end, Happening::Event(event));
    }

    fn cut(&mut self, conn: ConnId) {
        if self.open.remove(&conn).is_some() {
            let error = LinkError::new(LinkErrorKind::Transient, "the circuit died");
            self.step(HeaderSyncEvent::Closed { conn, error });
        }
    }

    /// Ends the process and starts another one: what is on the disk is there, and no more.
    pub(super) fn restart(&mut self) {
        let seed = [u8::try_from(self.now % 251).unwrap(); 32];
        self.machine = HeaderSync::new(self.servers.len(), self.limits, seed);
        self.reputation.begin();
        self.open.clear();
        self.carried.clear();
        self.outstanding.clear();
        self.told.clear();
        self.queue
            .retain(|_, happening| matches!(happening, Happening::Turn(..)));
        self.wake = None;
        self.step(HeaderSyncEvent::Tick);
    }

    /// How many headers are kept: those of the chain and those that wait for their proof.
    pub(super) fn kept(&self) -> usize {
        self.stored.len()
    }

    fn step(&mut self, event: HeaderSyncEvent) {
        let now = Now {
            wall: Timestamp(self.wall + self.now / 1000),
            steady: Moment(self.now),
        };
        match &event {
            HeaderSyncEvent::Headers { conn, .. }
            | HeaderSyncEvent::Scattered { conn, .. }
            | HeaderSyncEvent::Refused { conn, .. }
            | HeaderSyncEvent::WronglyCut { conn, .. } => {
                if let Some(outstanding) = self.outstanding.get_mut(conn) {
                    *outstanding = outstanding.saturating_sub(1);
                }
            }
            _ => {}
        }
        match &event {
            HeaderSyncEvent::Opened { conn, .. } | HeaderSyncEvent::Connected { conn, .. } => {
                self.told.insert(*conn);
            }
            HeaderSyncEvent::Closed { conn, .. } => drop(self.told.remove(conn)),
            _ => {}
        }
        let (before, lowest) = (self.tree.tip(), self.tree.lowest());
        let effects = self.machine.on_event(&mut self.tree, &mut self.reputation, now, event);
        let most = 2 + self.servers.len() * (3 + 2 * self.limits.in_flight) + 2 * self.limits.window;
        assert!(effects.len() <= most, "{effects:?}");
        assert!(self.tree.tip().chainwork >= before.chainwork);
        self.wake = None;
        for effect in effects {
            self.carry_out(effect, lowest);
        }
        let mut best: BTreeMap<Height, PureHeader> = self.tree.best_chain(0).collect();
        best.extend(self.skeleton_headers());
        assert!(
            self.stored == best,
            "the store is not the best chain and what stands on it"
        );
        let open = self.told.len();
        assert!(
            open <= 2 * self.limits.connections + self.servers.len(),
            "{open} connections"
        );
    }

    /// Returns the headers of a skeleton on the tip.
    fn skeleton_headers(&self) -> Vec<(Height, PureHeader)> {
        let skeleton = self.tree.skeleton();
        let on_tip = skeleton.filter(|skeleton| skeleton.base() == self.tree.tip().hash);
        let headers = on_tip.into_iter().flat_map(|skeleton| skeleton.headers(0));
        headers.map(|(height, header, _)| (height, header)).collect()
    }

    fn carry_out(&mut self, effect: HeaderSyncEffect, lowest: Option<Height>) {
        match effect {
            HeaderSyncEffect::Dial(ServerIndex(server)) => self.dial(server),
            HeaderSyncEffect::Send { conn, id, request } => {
                assert!(self.told.contains(&conn));
                let outstanding = self.outstanding.entry(conn).or_default();
                *outstanding += 1;
                if self.servers.iter().all(|server| server.circuit.is_some()) {
                    assert!(*outstanding <= self.limits.in_flight, "{outstanding} requests");
                }
                // Where the server hung up already, nobody hears it.
                if let Some((index, _)) = self.open.get(&conn) {
                    self.asked.push((*index, request.clone()));
                    let at = self.now + self.servers[*index].latency;
                    self.push(at, Happening::Asked(conn, id, request));
                }
            }
            HeaderSyncEffect::Close(conn) => {
                assert!(self.told.remove(&conn));
                self.open.remove(&conn);
            }
            HeaderSyncEffect::StoreForward { from } => {
                self.stored.extend(self.tree.best_chain(from));
                let skeleton_headers = self.skeleton_headers();
                let top = skeleton_headers
                    .last()
                    .map_or(self.tree.tip().height, |(height, _)| *height);
                self.stored
                    .extend(skeleton_headers.into_iter().filter(|(height, _)| *height >= from));
                self.stored.split_off(&(top + 1));
            }
            HeaderSyncEffect::StoreProved { heights } => {
                for height in heights {
                    let in_skeleton = self.tree.skeleton().and_then(|skeleton| skeleton.is_proved(height));
                    assert_eq!(self.tree.is_proved(height).or(in_skeleton), Some(true));
                    self.proofs.insert(height);
                }
            }
            HeaderSyncEffect::StoreBackward { from } => {
                let end = lowest.unwrap_or(self.tree.anchor().height + 1);
                self.stored
                    .extend(self.tree.best_chain(from).take_while(|(height, _)| *height < end));
            }
            HeaderSyncEffect::WakeAt(at) => {
                assert!(at.0 > self.now);
                self.wake = Some(at);
            }
            verdict @ (HeaderSyncEffect::Synced | HeaderSyncEffect::Exhausted) => {
                self.verdicts.push((self.now, verdict));
            }
        }
    }

    fn dial(&mut self, index: usize) {
        self.dials.push(index);
        let at = self.now + 2 * self.servers[index].latency;
        self.push(at, Happening::Dialed(index));
    }

    fn dialed(&mut self, index: usize) {
        let server = ServerIndex(index);
        let script = &self.servers[index];
        if script.habit == Habit::Unreachable {
            let error = LinkError::new(LinkErrorKind::Transient, "no route");
            return self.step(HeaderSyncEvent::DialFailed { server, error });
        }
        let (conn, tip) = (ConnId(self.sequence), script.tip(0));
        self.sequence += 1;
        self.open.insert(conn, (index, 0));
        self.step(HeaderSyncEvent::Connected { server, conn, tip });
    }
}

//! What follows from the state alone: time-outs, who may do what, requests, the verdict.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;

use super::assembly::Assembly;
use super::{
    AGREEING_SERVERS, COMPARE_PAUSE, FORGIVEN_AFTER, InFlight, Job, Mode, Peer, Server, Step, history_low, is_ready,
    next_backward_end,
};
use crate::chain::Height;
use crate::chain::sync::chunks::Taker;
use crate::chain::sync::errands::is_run;
use crate::chain::sync::{Ask, AskId, Effect, Fault, ServerIndex, ServerState};
use crate::isolation::ConnId;
use crate::time::{Moment, random_pause};

impl Step<'_> {
    /// Everything that follows from the state alone: time-outs, who may do what, requests, the verdict.
    pub(super) fn advance(&mut self) {
        self.expire_requests();
        // Also when nothing was delivered just now: the chunk below may have come another way, or in part.
        self.apply_backward();
        self.apply_forward();
        self.apply_bones();
        self.classify();
        self.lead();
        self.plan_backward();
        self.plan_forward();
        self.plan_bones();
        self.ask();
        self.prove_at_leisure();
        self.leave_stale();
        self.leave_worn();
        self.leave_needless();
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
            self.on_refused(conn, ask, Fault::Stuck.to_string(), false);
        }
    }

    pub(super) fn classify(&mut self) {
        if !is_ready(self.tree) {
            return;
        }
        let undecided = |(conn, peer): (&ConnId, &Peer)| {
            let ended = matches!(peer.mode, Mode::Branch { next, .. } if next > peer.claimed.height);
            (ended || matches!(peer.mode, Mode::Waiting | Mode::Following)).then_some((*conn, peer.claimed))
        };
        let undecided: Vec<_> = self.sync.peers.iter().filter_map(undecided).collect();
        let tip = self.tree.tip();
        for (conn, claimed) in undecided {
            let mode = match self.tree.height_of(&claimed.hash) {
                Some(height) if height == claimed.height => Mode::Settled,
                Some(height) => {
                    let claimed = claimed.height;
                    self.blame(conn, &Fault::ClaimedHeight { claimed, height });
                    continue;
                }
                None if self.resumes_branch(conn) => continue,
                None if claimed.height > tip.height => Mode::Following,
                None => {
                    self.trace(conn, claimed.height);
                    continue;
                }
            };
            if let Some(peer) = self.sync.peers.get_mut(&conn) {
                peer.mode = mode;
            }
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
        let following = self.sync.peers.values().filter(|peer| peer.mode == Mode::Following);
        if following.clone().any(|peer| self.awaits_skeleton(peer)) {
            self.sync.forward.clear();
            return;
        }
        let claims: Vec<Height> = following.map(|peer| peer.claimed.height).collect();
        let Some(target) = claims.iter().copied().max() else {
            self.sync.forward.clear();
            return;
        };
        let next = self.tree.tip().height.saturating_add(1);
        let limits = &self.sync.limits;
        let (chunk, window) = (limits.full_chunk.max(1), limits.window);
        self.sync.forward.plan(next, target, &claims, chunk, window);
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
        let now = self.now.steady;
        let Some(peer) = self.sync.peers.get(&conn) else {
            return false;
        };
        if peer.in_flight.len() >= self.sync.limits.in_flight.max(1) {
            return false;
        }
        // What is begun must be affordable: rather a fresh connection than a slow one.
        let reserved: f64 = peer.in_flight.values().map(|flight| flight.cost).sum();
        let left = self.sync.limits.budget - peer.account.spent(now) - reserved;
        let is_fresh = peer.replies == 0 && peer.in_flight.is_empty();
        let Some((job, ask)) = self.choose(conn) else {
            return false;
        };
        let cost = self.sync.full_size.of(&ask);
        if cost > left && !is_fresh {
            self.give_back(conn, &job);
            if let Some(peer) = self.sync.peers.get_mut(&conn) {
                peer.is_worn = true;
            }
            return false;
        }
        self.send(conn, job, ask, cost);
        true
    }

    /// Sends a request.
    pub(super) fn send(&mut self, conn: ConnId, job: Job, ask: Ask, cost: f64) {
        let deadline = self.now.steady + self.sync.limits.ask_timeout;
        let id = AskId(self.sync.next_ask);
        let Some(peer) = self.sync.peers.get_mut(&conn) else {
            return;
        };
        self.sync.next_ask += 1;
        let (start, count) = match &ask {
            Ask::Full { start, count } | Ask::Truncated { start, count, .. } => (*start, *count),
            Ask::Scattered(heights) => (
                heights.first().copied().unwrap_or_default(),
                Height::try_from(heights.len()).unwrap_or(Height::MAX),
            ),
        };
        let flight = InFlight {
            job,
            start,
            count,
            deadline,
            cost,
        };
        peer.in_flight.insert(id, flight);
        self.effects.push(Effect::Ask { conn, id, ask });
    }

    /// Chooses what a connection is to be asked next.
    fn choose(&mut self, conn: ConnId) -> Option<(Job, Ask)> {
        let limits = self.sync.limits;
        let now = self.now.steady;
        let peer = self.sync.peers.get(&conn)?;
        let (highest, alone, truncates) = (peer.claimed.height, peer.in_flight.is_empty(), peer.truncates);
        let light_chunk = if truncates {
            limits.truncated_chunk
        } else {
            limits.full_chunk
        }
        .max(1);
        let full_chunk = limits.full_chunk.max(1);
        let taker = |max_count: Height| Taker {
            conn,
            highest,
            max_count,
            now,
            steal_after: limits.steal_after,
        };
        // Headers that our tree or a skeleton hold against others may come truncated.
        let light = |start, count, under| {
            if truncates {
                Ask::Truncated { start, count, under }
            } else {
                Ask::Full { start, count }
            }
        };
        let mode = peer.mode;
        if let Mode::Tracing { end, span } = mode {
            let above = end.saturating_add(1);
            let start = above
                .saturating_sub(span.min(light_chunk))
                .max(self.tree.anchor().height);
            return alone.then(|| (Job::Trace, light(start, above.saturating_sub(start), highest)));
        }
        if let Some(chosen) = self.choose_bones(conn, &taker(limits.skeleton_chunk.max(1))) {
            return Some(chosen);
        }
        let awaits_skeleton = self
            .sync
            .peers
            .get(&conn)
            .is_some_and(|peer| self.awaits_skeleton(peer));
        match mode {
            Mode::Branch { next, .. } if !awaits_skeleton => {
                let left = highest.saturating_sub(next).saturating_add(1);
                let count = left.min(full_chunk);
                return alone.then_some((Job::Branch, Ask::Full { start: next, count }));
            }
            Mode::Following if !awaits_skeleton => {
                if let Some((start, count)) = self.sync.forward.assign(&taker(full_chunk), false) {
                    return Some((Job::Forward { start }, Ask::Full { start, count }));
                }
            }
            _ => {}
        }
        let (start, count) = self.sync.backward.assign(&taker(light_chunk), true)?;
        let ask = light(start, count, self.tree.anchor().height);
        Some((Job::Backward { start }, ask))
    }

    /// Chooses what a connection is to be asked of the skeleton.
    fn choose_bones(&mut self, conn: ConnId, taker: &Taker) -> Option<(Job, Ask)> {
        let peer = self.sync.peers.get(&conn)?;
        let assembly = self.sync.assembly.as_mut().filter(|assembly| assembly.includes(peer))?;
        if let Some(errands) = &mut assembly.errands {
            let heights = errands.assign(conn, taker.highest, taker.now, taker.steal_after)?;
            let ask = match heights.first() {
                Some(start) if is_run(&heights) => Ask::Full {
                    start: *start,
                    count: Height::try_from(heights.len()).unwrap_or(Height::MAX),
                },
                _ => Ask::Scattered(heights.clone()),
            };
            return Some((Job::Prove { heights }, ask));
        }
        if !assembly.is_source(peer) {
            return None;
        }
        let (start, count) = assembly.chunks.assign(taker, false)?;
        let under = taker.highest;
        Some((Job::Bones { start }, Ask::Truncated { start, count, under }))
    }

    /// Has headers proved at leisure that were taken on the strength of a sample.
    fn prove_at_leisure(&mut self) {
        let now = self.now.steady;
        if self.tree.unproved() == 0 || self.sync.assembly.is_some() || !self.is_synced() {
            self.sync.leisure_at = None;
            return;
        }
        let mean = self.sync.limits.leisure_mean;
        let due = self.sync.leisure_at.is_some_and(|at| at <= now);
        if due || self.sync.leisure_at.is_none() {
            self.sync.leisure_at = Some(now + random_pause(mean, &mut self.sync.rng));
        }
        if !due {
            return;
        }
        let idle = self
            .sync
            .peers
            .iter()
            .filter(|(_, peer)| peer.mode == Mode::Settled && peer.in_flight.is_empty());
        let idle: Vec<(ConnId, Height)> = idle.map(|(conn, peer)| (*conn, peer.claimed.height)).collect();
        let Some((conn, highest)) = idle.choose(&mut self.sync.rng).copied() else {
            return;
        };
        let heights = self.pick_unproved(highest);
        if !heights.is_empty() {
            let ask = Ask::Scattered(heights.clone());
            let cost = self.sync.full_size.of(&ask);
            self.send(conn, Job::Leisure { heights }, ask, cost);
        }
    }

    /// Picks some of the headers that are not proved, by chance.
    fn pick_unproved(&mut self, highest: Height) -> Vec<Height> {
        let low = self.tree.anchor().height.saturating_add(1);
        let high = self.tree.tip().height.min(highest);
        let mut picked = BTreeSet::new();
        if low > high {
            return Vec::new();
        }
        let from = self.sync.rng.random_range(low..=high);
        // From there on, around the end: near the end of the work chance alone would search for long.
        for height in (from..=high).chain(low..from) {
            if picked.len() >= self.sync.limits.leisure_batch {
                break;
            }
            if self.tree.is_proved(height) == Some(false) {
                picked.insert(height);
            }
        }
        picked.into_iter().collect()
    }

    /// Closes connections that have cost their servers enough, for fresh ones to take their place.
    fn leave_worn(&mut self) {
        let is_worn = |peer: &Peer| peer.is_worn && peer.in_flight.is_empty();
        let worn = self.sync.peers.iter().filter(|(_, peer)| is_worn(peer));
        for conn in worn.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            let server = self.sync.peers.get(&conn).map(|peer| peer.server);
            self.close(conn, ServerState::Rested);
            if let Some(server) = server.and_then(|server| self.sync.servers.get_mut(server.0)) {
                server.at = self.now.steady;
            }
        }
    }

    /// Closes all but one connection of each server once nothing is left to fetch.
    fn leave_needless(&mut self) {
        if !self.is_synced() {
            return;
        }
        let mut seen = BTreeSet::new();
        let needless = self
            .sync
            .peers
            .iter()
            .filter(|(_, peer)| !seen.insert(peer.server) && peer.in_flight.is_empty());
        for conn in needless.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            self.close(conn, ServerState::Connected);
        }
    }

    /// Leaves a server whose tip is old when another one can't be dialed for want of a free connection. The last
    /// ones are kept: where all tips are old, ours is as good as any, and whoever uses it sees its age.
    fn leave_stale(&mut self) {
        let tip = self.tree.tip();
        if !self.backward_done() || !self.tree.params().is_stale(tip.time, self.now.wall) {
            return;
        }
        let (dials, now) = (self.sync.limits.dials, self.now.steady);
        let waits = |server: &Server| server.may_be_dialed(dials, now) && server.at <= now;
        if self.open_connections() < self.sync.limits.connections || !self.sync.servers.iter().any(waits) {
            return;
        }
        let settled = self.sync.peers.iter().filter(|(_, peer)| peer.mode == Mode::Settled);
        let oldest = settled.min_by_key(|(_, peer)| peer.claimed.height);
        if let Some((conn, _)) = oldest {
            let age = self.now.wall.seconds_since(tip.time);
            self.blame(*conn, &Fault::StaleTip { age });
        }
    }

    /// Returns how many connections are open or soon will be: a dial that takes long holds nobody else up.
    fn open_connections(&self) -> usize {
        let slow = self.sync.limits.steal_after;
        let now = self.now.steady;
        let soon = |server: &&Server| server.dialing.is_some_and(|since| now.since(since) < slow);
        self.sync.peers.len() + self.sync.servers.iter().filter(soon).count()
    }

    fn dial(&mut self) {
        let is_synced = self.is_synced();
        if is_synced && self.connected_servers() >= AGREEING_SERVERS {
            return;
        }
        let limits = self.sync.limits;
        let now = self.now.steady;
        let pause = if is_synced { COMPARE_PAUSE } else { Duration::ZERO };
        let mut open = self.open_connections();
        for index in 0..self.sync.servers.len() {
            let Some(server) = self.sync.servers.get_mut(index) else {
                break;
            };
            if open >= limits.connections {
                return;
            }
            if server.may_be_dialed(limits.dials, now) && server.at + pause <= now {
                if server.is_forgiven(now) {
                    server.dials = 0;
                }
                server.state = ServerState::Dialing;
                server.dials += 1;
                self.dial_one(ServerIndex(index));
                open += 1;
            }
        }
        // Only where no other server is left, and there is work for more hands.
        while !is_synced && open < limits.connections && !self.has_more_servers() && self.has_work_for(open + 1) {
            let Some(index) = self.least_loaded() else { return };
            if let Some(server) = self.sync.servers.get_mut(index.0) {
                server.dials += 1;
            }
            self.dial_one(index);
            open += 1;
        }
    }

    fn connected_servers(&self) -> usize {
        let servers = self.sync.peers.values().map(|peer| peer.server);
        servers.collect::<BTreeSet<_>>().len()
    }

    fn dial_one(&mut self, index: ServerIndex) {
        if let Some(server) = self.sync.servers.get_mut(index.0) {
            server.dialing = Some(self.now.steady);
            self.effects.push(Effect::Dial(index));
        }
    }

    /// Says whether so many connections would all have something to fetch.
    fn has_work_for(&self, connections: usize) -> bool {
        let sync = &self.sync;
        let bones = sync.assembly.as_ref().map_or(0, |assembly| {
            let errands = assembly
                .errands
                .as_ref()
                .map_or(0, |errands| errands.left() / sync.limits.sample_batch.max(1));
            assembly.chunks.len() + errands
        });
        bones + sync.forward.len() + sync.backward.len() >= connections.saturating_mul(2)
    }

    /// Returns the connected server with the fewest connections that may have one more: it has brought something since
    /// it was last dialed.
    fn least_loaded(&self) -> Option<ServerIndex> {
        let links = |index: usize| self.sync.peers.values().filter(|peer| peer.server.0 == index).count();
        let servers = self.sync.servers.iter().enumerate();
        let free = servers.filter(|(_, server)| {
            let is_useful = server.state == ServerState::Connected && server.dials == 0;
            is_useful && server.dialing.is_none() && server.extra_at <= self.now.steady
        });
        let counted = free.map(|(index, _)| (links(index), ServerIndex(index)));
        counted.filter(|(links, _)| *links > 0).min().map(|(_, index)| index)
    }

    fn backward_done(&self) -> bool {
        self.tree
            .lowest()
            .is_some_and(|lowest| lowest <= history_low(self.tree))
    }

    fn has_more_servers(&self) -> bool {
        let (dials, now) = (self.sync.limits.dials, self.now.steady);
        self.sync
            .servers
            .iter()
            .any(|server| server.dialing.is_some() || server.may_be_dialed(dials, now))
    }

    fn is_synced(&self) -> bool {
        let peers = &self.sync.peers;
        if !self.backward_done() || !peers.values().any(|peer| peer.mode == Mode::Settled) {
            return false;
        }
        let limits = self.sync.limits;
        let now = self.now.steady;
        let stalled = self.stalled_at().is_some_and(|at| at <= now);
        let waited = |since: Moment| now.since(since) >= limits.second_server_grace;
        let waited = self.sync.first_settled.is_some_and(waited);
        if peers.values().any(|peer| peer.mode != Mode::Settled) && !(stalled && waited) {
            return false;
        }
        if !self.has_more_servers() {
            return true;
        }
        let tip = self.tree.tip();
        let agreeing = peers.values().filter(|peer| peer.claimed.hash == tip.hash);
        let agreeing = agreeing.map(|peer| peer.server).collect::<BTreeSet<_>>().len();
        // Where all that are connected lag behind us, or are on a branch as heavy as ours, none will ever agree.
        !self.tree.params().is_stale(tip.time, self.now.wall)
            && (agreeing >= AGREEING_SERVERS.min(limits.connections) || (waited && agreeing > 0) || (waited && stalled))
    }

    /// Returns when waiting for those who are not settled ends: counted from the last new header, or from when they
    /// last were settled, which no further claim puts off.
    fn stalled_at(&self) -> Option<Moment> {
        let settled = self.sync.first_settled?;
        let unsettled = self.sync.peers.values().filter(|peer| peer.mode != Mode::Settled);
        let since = unsettled.map(|peer| peer.since).max().unwrap_or_default();
        Some(since.max(settled).max(self.sync.last_progress) + self.sync.limits.stall_grace)
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
        let assembly = sync.assembly.as_ref();
        let waits = [
            sync.forward.oldest_wait(),
            sync.backward.oldest_wait(),
            assembly.and_then(|assembly| assembly.chunks.oldest_wait()),
            assembly.and_then(|assembly| assembly.errands.as_ref()?.oldest_wait()),
        ];
        let steals = waits.into_iter().flatten().map(|since| since + limits.steal_after);
        let dials = sync
            .servers
            .iter()
            .filter_map(|server| server.dialing.map(|since| since + limits.steal_after));
        let free = sync.servers.iter().filter(|server| server.dialing.is_none());
        let redials = free.flat_map(|server| {
            let again = [
                server.at,
                server.at + COMPARE_PAUSE,
                server.at + FORGIVEN_AFTER,
                server.extra_at,
            ];
            again
                .into_iter()
                .filter(|_| !matches!(server.state, ServerState::Faulty(_)))
        });
        let graces = [
            sync.first_settled.map(|since| since + limits.second_server_grace),
            self.stalled_at(),
            sync.leisure_at,
            assembly.and_then(|it| Some(it.absent_since? + limits.second_server_grace)),
            assembly.and_then(Assembly::redraw_at),
        ];
        let times = deadlines
            .chain(steals)
            .chain(dials)
            .chain(redials)
            .chain(graces.into_iter().flatten());
        if let Some(at) = times.filter(|at| *at > self.now.steady).min() {
            self.effects.push(Effect::WakeAt(at));
        }
    }
}

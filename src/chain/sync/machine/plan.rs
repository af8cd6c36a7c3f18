//! What follows from the state alone: time-outs, who may do what, requests, the verdict.

use super::{AGREEING_SERVERS, InFlight, Job, Mode, Peer, Server, Step, history_low, is_ready, next_backward_end};
use crate::chain::Height;
use crate::chain::sync::chunks::Taker;
use crate::chain::sync::{Ask, AskId, Effect, Fault, ServerIndex, ServerState};
use crate::isolation::ConnId;
use crate::time::Moment;

impl Step<'_> {
    /// Everything that follows from the state alone: time-outs, who may do what, requests, the verdict.
    pub(super) fn advance(&mut self) {
        self.expire_requests();
        // Also when nothing was delivered just now: the chunk below may have come another way, or in part.
        self.apply_backward();
        self.apply_forward();
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
        let undecided = |(conn, peer): (&ConnId, &Peer)| {
            let ended = matches!(peer.mode, Mode::Branch { next } if next > peer.claimed.height);
            (ended || matches!(peer.mode, Mode::Waiting | Mode::Following)).then_some((*conn, peer.claimed))
        };
        let undecided: Vec<_> = self.sync.peers.iter().filter_map(undecided).collect();
        let tip = self.tree.tip();
        for (conn, claimed) in undecided {
            let mode = match self.tree.height_of(&claimed.hash) {
                Some(height) if height == claimed.height => Mode::Settled,
                Some(height) => {
                    let claimed = claimed.height;
                    self.blame(conn, Fault::ClaimedHeight { claimed, height });
                    continue;
                }
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
        let claims: Vec<Height> = following.map(|peer| peer.claimed.height).collect();
        let Some(target) = claims.iter().copied().max() else {
            self.sync.forward.clear();
            return;
        };
        let forward = &mut self.sync.forward;
        let next = self.tree.tip().height.saturating_add(1);
        forward.keep(next, target);
        let chunk = self.sync.limits.full_chunk.max(1);
        loop {
            let (start, gap_end) = forward.first_gap(next);
            // Without the lowest chunk nothing moves, however many wait above it.
            let has_room = forward.len() < self.sync.limits.window || start == next;
            if start > target || !has_room {
                break;
            }
            // A chunk ends at a claimed tip, so that whoever claims it can serve it whole.
            let tips = claims.iter().copied().filter(|height| *height >= start);
            let end = tips.min().unwrap_or(target).min(start.saturating_add(chunk - 1));
            let end = end.min(gap_end.map_or(Height::MAX, |above| above - 1));
            forward.insert(start, end.saturating_sub(start).saturating_add(1));
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
        let highest = peer.claimed.height;
        let alone = peer.in_flight.is_empty();
        let light_chunk = if peer.truncates {
            limits.truncated_chunk.max(1)
        } else {
            limits.full_chunk.max(1)
        };
        let taker = |max_count: Height| Taker {
            conn,
            highest,
            max_count,
            now,
            steal_after: limits.steal_after,
        };
        let (job, start, count) = match peer.mode {
            Mode::Tracing { end, span } => {
                if !alone {
                    return false;
                }
                let start = end
                    .saturating_add(1)
                    .saturating_sub(span.min(light_chunk))
                    .max(self.tree.anchor().height);
                (Job::Trace, start, end.saturating_add(1).saturating_sub(start))
            }
            Mode::Branch { next } => {
                if !alone {
                    return false;
                }
                let left = highest.saturating_sub(next).saturating_add(1);
                (Job::Branch, next, left.min(limits.full_chunk.max(1)))
            }
            Mode::Waiting | Mode::Following | Mode::Settled => {
                let forward = match peer.mode {
                    Mode::Following => self.sync.forward.assign(&taker(limits.full_chunk.max(1)), false),
                    _ => None,
                };
                if let Some((start, count)) = forward {
                    (Job::Forward { start }, start, count)
                } else if let Some((start, count)) = self.sync.backward.assign(&taker(light_chunk), true) {
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

    /// Leaves a server whose tip is old when another one can't be dialed for want of a free connection. The last
    /// ones are kept: where all tips are old, ours is as good as any, and whoever uses it sees its age.
    fn leave_stale(&mut self) {
        let tip = self.tree.tip();
        if !self.backward_done() || !self.tree.params().is_stale(tip.time, self.now.wall) {
            return;
        }
        let (dials, now) = (self.sync.limits.dials, self.now.steady);
        let waits = |server: &Server| server.may_be_dialed(dials) && server.at <= now;
        if self.open_connections() < self.sync.limits.connections || !self.sync.servers.iter().any(waits) {
            return;
        }
        let settled = self.sync.peers.iter().filter(|(_, peer)| peer.mode == Mode::Settled);
        let oldest = settled.min_by_key(|(_, peer)| peer.claimed.height);
        if let Some((conn, _)) = oldest {
            let age = self.now.wall.seconds_since(tip.time);
            self.blame(*conn, Fault::StaleTip { age });
        }
    }

    /// Returns how many connections are open or soon will be: a dial that takes long holds nobody else up.
    fn open_connections(&self) -> usize {
        let slow = self.sync.limits.steal_after;
        let now = self.now.steady;
        let busy = |server: &&Server| match server.state {
            ServerState::Connected => true,
            ServerState::Dialing => now.since(server.at) < slow,
            ServerState::Unused | ServerState::Closed(_) | ServerState::Faulty(_) => false,
        };
        self.sync.servers.iter().filter(busy).count()
    }

    fn dial(&mut self) {
        if self.is_synced() {
            return;
        }
        let limits = self.sync.limits;
        let now = self.now.steady;
        let mut open = self.open_connections();
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
        let agreeing = peers.values().filter(|peer| peer.claimed.hash == tip.hash).count();
        // Where all that are connected lag behind us, or are on a branch as heavy as ours, none will ever agree.
        !self.tree.params().is_stale(tip.time, self.now.wall)
            && (agreeing >= AGREEING_SERVERS || (waited && agreeing > 0) || (waited && stalled))
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
        let waits = [sync.forward.oldest_wait(), sync.backward.oldest_wait()];
        let steals = waits.into_iter().flatten().map(|since| since + limits.steal_after);
        let dials = sync.servers.iter().filter_map(|server| match server.state {
            ServerState::Dialing => Some(server.at + limits.steal_after),
            _ if server.may_be_dialed(limits.dials) => Some(server.at),
            _ => None,
        });
        let graces = [
            sync.first_settled.map(|since| since + limits.second_server_grace),
            self.stalled_at(),
        ];
        let times = deadlines.chain(steals).chain(dials).chain(graces.into_iter().flatten());
        if let Some(at) = times.filter(|at| *at > self.now.steady).min() {
            self.effects.push(Effect::WakeAt(at));
        }
    }
}

//! A server, connected or not: how it stands. When it may be dialed is a matter of its reputation.

use std::time::Duration;

use super::{ClaimedTip, CloseReason, LinkError, ServerFault, ServerReport, ServerState};
use crate::chain::Height;
use crate::time::Moment;

/// A server of the list.
#[derive(Debug)]
pub(super) struct Server {
    state: ServerState,
    claimed: Option<ClaimedTip>,
    headers: u64,
    /// Since when it is being dialed, for the first connection or for more: one entry for each dial, oldest first.
    dialing: Vec<Moment>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            state: ServerState::Unused,
            claimed: None,
            headers: 0,
            dialing: Vec::new(),
        }
    }
}

impl Server {
    pub(super) fn report(&self) -> ServerReport {
        ServerReport {
            state: self.state.clone(),
            claimed: self.claimed,
            headers: self.headers,
        }
    }

    pub(super) fn on_connected(&mut self, tip: ClaimedTip) {
        self.state = ServerState::Connected;
        self.end_dial();
        self.claimed = Some(tip);
    }

    pub(super) fn claims(&mut self, tip: ClaimedTip) {
        self.claimed = Some(tip);
    }

    /// Takes down that no connection came of dialing it, which matters where that was to be its only one.
    pub(super) fn on_dial_failed(&mut self, error: LinkError, is_connected: bool) {
        self.end_dial();
        if is_connected || self.is_dialed() {
            return;
        }
        self.on_ended(if error.is_permanent() {
            ServerState::Faulty(ServerFault::Link(error))
        } else {
            ServerState::Closed(CloseReason::Link(error))
        });
    }

    /// Takes down that a connection came of dialing it that nobody wants any more.
    pub(super) fn on_late(&mut self) {
        self.end_dial();
    }

    /// One dial has ended, whichever: they lead to the same server, and the one that began first has waited longest.
    fn end_dial(&mut self) {
        if !self.dialing.is_empty() {
            self.dialing.remove(0);
        }
    }

    /// Takes down how its last connection ended. Who was left for good stays so, whatever else ends later.
    pub(super) fn on_ended(&mut self, state: ServerState) {
        if !self.is_faulty() || matches!(state, ServerState::Faulty(_)) {
            self.state = state;
        }
    }

    pub(super) fn brought(&mut self, headers: Height) {
        self.headers += u64::from(headers);
    }

    /// Takes down that it is dialed.
    pub(super) fn dial(&mut self, now: Moment) {
        self.state = ServerState::Dialing;
        self.dial_once_more(now);
    }

    /// Takes down that it is dialed for one more connection.
    pub(super) fn dial_once_more(&mut self, now: Moment) {
        self.dialing.push(now);
    }

    pub(super) fn is_dialed(&self) -> bool {
        !self.dialing.is_empty()
    }

    /// Returns how many times it is being dialed.
    pub(super) fn dials(&self) -> usize {
        self.dialing.len()
    }

    /// Returns how many of its dials take no longer than this yet.
    pub(super) fn dials_since(&self, slow: Duration, now: Moment) -> usize {
        self.dialing.iter().filter(|since| now.since(**since) < slow).count()
    }

    /// Says whether it is being dialed for its first connection.
    pub(super) fn is_first_dialed(&self) -> bool {
        self.state == ServerState::Dialing && self.is_dialed()
    }

    /// Returns when its dials count as slow.
    pub(super) fn slow_at(&self, slow: Duration) -> impl Iterator<Item = Moment> + '_ {
        self.dialing.iter().map(move |since| *since + slow)
    }

    /// Says whether it has no connection, is not dialed, and broke no rule for good.
    pub(super) fn is_free(&self) -> bool {
        let is_free = match &self.state {
            ServerState::Unused | ServerState::Rested | ServerState::Closed(_) => true,
            ServerState::Faulty(_) => !self.is_left_for_good(),
            ServerState::Dialing | ServerState::Connected => false,
        };
        is_free && !self.is_dialed()
    }

    /// Says whether it has a connection, and is not dialed for one more.
    pub(super) fn is_connected(&self) -> bool {
        self.state == ServerState::Connected && !self.is_dialed()
    }

    /// Says whether it broke a rule as no honest server does.
    pub(super) fn is_left_for_good(&self) -> bool {
        matches!(&self.state, ServerState::Faulty(fault) if !fault.may_pass())
    }

    pub(super) fn is_faulty(&self) -> bool {
        matches!(self.state, ServerState::Faulty(_))
    }
}

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
    /// While it is being dialed, for the first connection or for one more: since when.
    dialing: Option<Moment>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            state: ServerState::Unused,
            claimed: None,
            headers: 0,
            dialing: None,
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
        self.dialing = None;
        self.claimed = Some(tip);
    }

    pub(super) fn claims(&mut self, tip: ClaimedTip) {
        self.claimed = Some(tip);
    }

    /// Takes down that no connection came of dialing it, which matters where that was to be its only one.
    pub(super) fn on_dial_failed(&mut self, error: LinkError, is_connected: bool) {
        self.dialing = None;
        if is_connected {
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
        self.dialing = None;
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
        self.dialing = Some(now);
    }

    pub(super) fn is_dialed(&self) -> bool {
        self.dialing.is_some()
    }

    /// Says whether it is being dialed, and not for longer than this.
    pub(super) fn is_dialed_since(&self, slow: Duration, now: Moment) -> bool {
        self.dialing.is_some_and(|since| now.since(since) < slow)
    }

    /// Returns when it counts as slow to be reached.
    pub(super) fn slow_at(&self, slow: Duration) -> Option<Moment> {
        self.dialing.map(|since| since + slow)
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

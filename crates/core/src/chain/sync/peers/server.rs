//! A server, connected or not: how it stands, and when it may be dialed.

use std::time::Duration;

use super::{ClaimedTip, CloseReason, LinkError, ServerFault, ServerReport, ServerState};
use crate::chain::Height;
use crate::time::Moment;

/// The pause before another connection to a server is tried beside one that is there, when the last try failed.
const EXTRA_PAUSE: Duration = Duration::from_secs(30);

/// After this a server that failed as often as it may is tried again: a sync that goes on for weeks outlives outages.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// The pause before a server is dialed again when all is synchronised but fewer than two servers tell their tips: one
/// alone may lag, and nobody would notice.
pub(super) const COMPARE_PAUSE: Duration = Duration::from_secs(60);

/// A server of the list.
#[derive(Debug)]
pub(super) struct Server {
    state: ServerState,
    claimed: Option<ClaimedTip>,
    headers: u64,
    /// Dials since it was last of use.
    dials: u32,
    /// While it is being dialed, for the first connection or for one more: since when.
    dialing: Option<Moment>,
    /// When closed: not to be dialed again before.
    at: Moment,
    /// Not to be dialed before for one more connection.
    extra_at: Moment,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            state: ServerState::Unused,
            claimed: None,
            headers: 0,
            dials: 0,
            dialing: None,
            at: Moment::default(),
            extra_at: Moment::default(),
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

    pub(super) fn on_dial_failed(&mut self, error: LinkError, is_connected: bool, pause: Duration, now: Moment) {
        self.dialing = None;
        if is_connected {
            // One connection is enough to know it by: that there is no other is no fault of the server.
            self.extra_at = now + EXTRA_PAUSE;
            return;
        }
        self.state = if error.is_permanent() {
            ServerState::Faulty(ServerFault::Link(error))
        } else {
            ServerState::Closed(CloseReason::Link(error))
        };
        self.at = now + self.backed_off(pause);
    }

    /// Takes down how a connection ended. While it has another one it stands as that does, unless it is at fault.
    pub(super) fn on_ended(&mut self, state: ServerState, is_connected: bool, pause: Duration, now: Moment) {
        if is_connected && !matches!(state, ServerState::Faulty(_)) {
            return;
        }
        self.state = state;
        self.at = now + self.backed_off(pause);
    }

    pub(super) fn on_rate_limited(&mut self, pause: Duration, now: Moment) {
        let until = now + self.backed_off(pause);
        (self.at, self.extra_at) = (until, until);
    }

    /// Gives it all its dials back, since it brought something.
    pub(super) fn on_useful(&mut self, headers: Height) {
        self.dials = 0;
        self.headers += u64::from(headers);
    }

    pub(super) fn redial_from(&mut self, at: Moment) {
        self.at = at;
    }

    /// Takes down that it is dialed.
    pub(super) fn dial(&mut self, now: Moment) {
        if self.is_forgiven(now) {
            self.dials = 0;
        }
        self.state = ServerState::Dialing;
        self.dial_once_more(now);
    }

    /// Takes down that it is dialed for one more connection.
    pub(super) fn dial_once_more(&mut self, now: Moment) {
        self.dials += 1;
        self.dialing = Some(now);
    }

    pub(super) fn is_dialed(&self) -> bool {
        self.dialing.is_some()
    }

    /// Says whether it is being dialed, and not for longer than this.
    pub(super) fn is_dialed_since(&self, slow: Duration, now: Moment) -> bool {
        self.dialing.is_some_and(|since| now.since(since) < slow)
    }

    pub(super) fn has_dials_left(&self, dials: u32) -> bool {
        self.dials < dials
    }

    /// Says whether it may be dialed, now or after a pause.
    pub(super) fn may_be_dialed(&self, dials: u32, now: Moment) -> bool {
        let is_free = matches!(
            self.state,
            ServerState::Unused | ServerState::Rested | ServerState::Closed(_)
        );
        is_free && !self.is_dialed() && (self.has_dials_left(dials) || self.is_forgiven(now))
    }

    /// Says whether it may be dialed now, its own pause and another one being over.
    pub(super) fn is_due(&self, dials: u32, pause: Duration, now: Moment) -> bool {
        self.may_be_dialed(dials, now) && self.at + pause <= now
    }

    /// Says whether it may have one more connection beside those that it has.
    pub(super) fn may_have_one_more(&self, now: Moment) -> bool {
        let is_useful = self.state == ServerState::Connected && self.dials == 0;
        is_useful && !self.is_dialed() && self.extra_at <= now
    }

    /// Returns the moments at which it may be dialed, or counts as slow to be reached.
    pub(super) fn wake_times(&self, slow: Duration) -> impl Iterator<Item = Moment> + use<> {
        let slow = self.dialing.map(|since| since + slow);
        let (at, extra_at) = (self.at, self.extra_at);
        let is_free = !self.is_dialed() && !matches!(self.state, ServerState::Faulty(_));
        let redials = is_free.then_some([at, at + COMPARE_PAUSE, at + FORGIVEN_AFTER, extra_at]);
        slow.into_iter().chain(redials.into_iter().flatten())
    }

    /// Says whether its failures are so old that they tell nothing any more.
    fn is_forgiven(&self, now: Moment) -> bool {
        now >= self.at + FORGIVEN_AFTER
    }

    fn backed_off(&self, pause: Duration) -> Duration {
        pause.saturating_mul(1 << self.dials.min(10))
    }
}

//! What the machine tells of itself: how far it is, and how each server stands.

use super::{ClaimedTip, CloseReason, ServerFault};

/// How far the sync is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Headers known, of those wanted.
    pub done: u64,
    /// Headers wanted, by what servers claim.
    pub total: u64,
    /// Connections open.
    pub connections: usize,
    /// Bytes a second that they bring together when they are asked for something, as far as that is known.
    pub rate: u64,
    /// Bytes that came so far of what was asked for.
    pub received: u64,
    /// Bytes that are left to come, as far as can be told from what servers claim.
    pub left: u64,
}

impl Progress {
    /// Returns how many seconds the rest takes at the present rate, where both are known.
    pub fn seconds_left(&self) -> Option<u64> {
        (self.connections > 0 && self.left > 0)
            .then(|| self.left.checked_div(self.rate))
            .flatten()
    }
}

/// What is known of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerReport {
    /// How its last connection went.
    pub state: ServerState,
    /// What it last claimed as its tip.
    pub claimed: Option<ClaimedTip>,
    /// Headers from it that we didn't have.
    pub headers: u64,
}

/// How a server stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// It was not dialed.
    Unused,
    /// Its first connection, or the first one since the last ended, is being opened.
    Dialing,
    /// It is connected.
    Connected,
    /// It was left in good standing: its connection had cost it enough, or was not needed any more.
    Rested,
    /// Its last connection was not opened, or ended, without fault.
    Closed(CloseReason),
    /// It is left for good.
    Faulty(ServerFault),
}

impl ServerState {
    /// Says whether what a connection brought that ended so is as good as it was: it may have been cut or been too slow,
    /// but its chain is in no doubt.
    pub(super) fn leaves_headers(&self) -> bool {
        match self {
            Self::Closed(reason) => matches!(reason, CloseReason::Link(_) | CloseReason::NoAnswer),
            Self::Rested | Self::Connected => true,
            Self::Unused | Self::Dialing | Self::Faulty(_) => false,
        }
    }
}

//! The connection pool: clean connections kept ready, each bound to one isolation key for the rest of its life. A
//! machine without I/O.
//!
//! ```text
//!  the pool's own clock ──► opening ──► clean ──► dirty (one isolation key) ──► closed
//!                             │           │ keep-alive      │ idles out, evicted, forgotten
//!  a lookup that finds none ──┘           └─ taken by the first who waits
//! ```
//!
//! There is no way back from dirty to clean, and none from one key to another: [`Clean`] is consumed by
//! `Clean::assign`. What an observer could link is random and not triggered by use: the clock that opens
//! connections is a Poisson process that runs whether or not connections are missing, and opens at most one each
//! time. Connections for lookups that found the pool empty are opened at random distances as well, only shorter ones.
//!
//! A connection goes this way; an event that does not belong to its phase changes nothing:
//!
//! | phase | event | next phase, and what is told |
//! |---|---|---|
//! | none | the pool's clock ticks and a connection is missing, or a lookup waits and its turn comes | `Opening`: [`PoolEffect::Open`] |
//! | `Opening` | [`PoolEvent::Opened`] | `Clean` |
//! | `Opening` | [`PoolEvent::OpenFailed`] | none; who waits in vain is told: [`PoolEffect::Refuse`] |
//! | `Clean` | its random moment comes | `Clean`: [`PoolEffect::Ping`] |
//! | `Clean` | [`PoolEvent::Acquire`] by a key without a connection, or one that waits already | `Dirty`: [`PoolEffect::Serve`] |
//! | `Clean` | its life ends, or its server proves to be of no use | none: [`PoolEffect::Close`] |
//! | `Dirty` | [`PoolEvent::Acquire`] by its own key | `Dirty`: [`PoolEffect::Serve`] |
//! | `Dirty` | its ID idles out, is evicted, or [`PoolEvent::Forget`] | none: [`PoolEffect::Close`], [`PoolEffect::Forgotten`] |
//! | `Dirty` | [`PoolEvent::Lied`] | none: [`PoolEffect::Close`] |
//! | `Dirty` | its key must have a server distinct from those of the attempts before, and this one is not | none: [`PoolEffect::Close`] |
//! | `Dirty` | [`PoolEvent::ForgetAll`] | `Draining`, for some seconds: [`PoolEffect::Forgotten`] |
//! | `Draining` | its random moment comes | none: [`PoolEffect::Close`] |
//! | any | [`PoolEvent::Closed`] | none |

mod machine;
#[cfg(test)]
mod tests;

pub use machine::Pool;

pub use crate::reputation::{FailureKind, ServerIndex};

use std::time::Duration;

use crate::isolation::{BlindedId, ConnId, IsolationKey};
use crate::time::Moment;

/// A connection that has carried nothing but the handshake.
#[derive(Debug, PartialEq, Eq)]
pub struct Clean(ConnId);

impl Clean {
    /// Binds the connection to one key for the rest of its life; there is no way back.
    fn assign(self, key: IsolationKey) -> Dirty {
        Dirty { conn: self.0, key }
    }
}

/// A connection that belongs to one isolation key.
#[derive(Debug, PartialEq, Eq)]
pub struct Dirty {
    conn: ConnId,
    key: IsolationKey,
}

/// A lookup's request for a connection, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolEvent {
    /// A moment asked for by [`PoolEffect::WakeAt`] is reached; also the way to begin.
    Tick,
    /// A connection is open, its handshake done and its server's network checked.
    Opened(ConnId),
    /// A connection could not be opened.
    OpenFailed(ConnId, FailureKind),
    /// A connection is gone.
    Closed(ConnId, FailureKind),
    /// A lookup needs the connection of a key.
    Acquire {
        /// Who asks.
        ticket: Ticket,
        /// Whose connection it must be.
        key: IsolationKey,
        /// Whether it must lead to another server than the connections of the ID's attempts before this one, as for a
        /// quorum; otherwise it does so only where there is the choice.
        distinct_server: bool,
    },
    /// A lookup has no use for its ticket any more: served, or given up. One that was refused has none anyway.
    Released(Ticket),
    /// The server of this connection lied in a lookup.
    Lied(ConnId),
    /// An ID is in use though it needs no connection: it is not to be forgotten yet.
    Used(BlindedId),
    /// Everything of an ID is to be forgotten now.
    Forget(BlindedId),
    /// Everything of all IDs is to be forgotten now. Nobody gets their connections any more, but these close one by
    /// one: a server that sees them end together knows that they were one user's.
    ForgetAll,
}

/// What the driver must do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolEffect {
    /// Open a connection to a server, over a circuit of its own.
    Open(ConnId, ServerIndex),
    /// Send a sign of life over a clean connection.
    Ping(ConnId),
    /// Close a connection.
    Close(ConnId),
    /// Give a lookup its connection, which is bound to its key for life.
    Serve(Ticket, ConnId),
    /// There is no connection for a lookup: no server is left to try, or it waited too long.
    Refuse(Ticket, Refusal),
    /// Drop all that is cached for an ID.
    Forgotten(BlindedId),
    /// Hand in [`PoolEvent::Tick`] at this moment at the latest.
    WakeAt(Moment),
}

/// Why a lookup gets no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It waited as long as allowed.
    #[error("no connection to a server within {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// The last of the attempts to open one for it failed.
    #[error("no server can be reached")]
    Unreachable,
}

/// Bounds and waits of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Clean connections to keep ready.
    pub clean: usize,
    /// Mean time between two ticks of the clock that opens connections.
    pub opening_mean: Duration,
    /// Mean time between two signs of life of a clean connection. Servers close after ten minutes of silence.
    pub keep_alive_mean: Duration,
    /// Longest time between two signs of life, whatever chance says.
    pub keep_alive_max: Duration,
    /// How long a clean connection is kept at most.
    pub clean_ttl: Duration,
    /// After this without a lookup an ID is forgotten.
    pub id_ttl: Duration,
    /// Most live IDs; the least recently used one is forgotten to make room.
    pub max_ids: usize,
    /// How long a lookup waits for a connection.
    pub wait: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            clean: 6,
            opening_mean: Duration::from_millis(1500),
            keep_alive_mean: Duration::from_secs(120),
            keep_alive_max: Duration::from_secs(400),
            clean_ttl: Duration::from_secs(30 * 60),
            id_ttl: Duration::from_secs(10 * 60),
            max_ids: 256,
            wait: Duration::from_secs(60),
        }
    }
}

/// How many of what there are: all that may be told of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Connections being opened.
    pub opening: usize,
    /// Clean connections.
    pub clean: usize,
    /// Connections bound to a key.
    pub dirty: usize,
    /// Connections of identities that are forgotten, about to close.
    pub draining: usize,
    /// Live isolation IDs.
    pub ids: usize,
    /// Lookups that wait for a connection.
    pub waiting: usize,
}

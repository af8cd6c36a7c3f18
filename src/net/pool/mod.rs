//! The connection pool: connections are opened ahead of lookups, and each is bound to one identity for the rest of its
//! life. A machine without I/O.
//!
//! ```text
//!  a clock that looks at nothing ──► opening ──► clean ──► dirty (one identity) ──► closed
//!                                                  │ pings, dies    ▲   idles out, used again or not
//!  a coin of the identity, or nothing clean ──► opening ────────────┘
//! ```
//!
//! Whoever runs the servers sees each connection with its moments. So **nothing that one identity does changes what the
//! connections of others, and those of nobody, look like**:
//!
//! * Openings ahead are a Poisson process with a generator of its own. It depends on no count, use, failure or demand:
//!   nothing is refilled, there is neither a floor nor a target. The one bound is on memory.
//! * Each clean connection has a generator of its own, drawn by that clock: its server, its exponential life, the moments of
//!   its pings, and which of the fronts it is for: who asks through one front can't tell from what he finds how much
//!   was taken through another. A clean connection that ends is not replaced.
//! * An identity that needs a connection tosses a coin: it opens one of its own at once, or takes a clean one, any of them
//!   with the same chance; where there is none, it opens its own. An own connection is bound from birth, waits for
//!   nobody, and is nobody else's even if it comes too late.
//! * A dirty connection ends when it has been idle on the wire for a time that was drawn when it was bound, whether its
//!   identity still has it or was forgotten.
//! * What is learnt of a server weighs the choice of later servers ([`crate::reputation`]), and touches no connection.
//!
//! Where the clock sleeps, since nobody asked for hours, it comes back a random time after somebody asks again.
//!
//! There is no way back from dirty to clean, and none from one identity to another: [`Clean`] is consumed by
//! `Clean::assign`. An identity that is forgotten never comes back: who has the same ID afterwards is somebody new. A lookup
//! that began before keeps the identity that it began with until it ends.
//!
//! A connection goes this way; an event that does not belong to its phase changes nothing:
//!
//! | phase | event | next phase, and what is told |
//! |---|---|---|
//! | none | the clock ticks, awake and below the bound | `Opening`: [`PoolEffect::Open`] |
//! | none | [`PoolEvent::Acquire`], with the coin on its side or nothing clean; a further one where that is slow or fails | `Own`: [`PoolEffect::Open`] |
//! | `Opening` | [`PoolEvent::Opened`] | `Clean`, or none where its life is over: [`PoolEffect::Close`] |
//! | `Clean` | its random moment comes | `Clean`: [`PoolEffect::Ping`] |
//! | `Clean` | [`PoolEvent::Acquire`] | `Dirty`: [`PoolEffect::Serve`] |
//! | `Clean` | its life ends | none: [`PoolEffect::Close`] |
//! | `Own` | [`PoolEvent::Opened`] | `Dirty`: [`PoolEffect::Serve`] to those who wait |
//! | `Opening`, `Own` | [`PoolEvent::Barred`] | `Barred`, or `Dirty` and nobody's; whoever waited for it: [`PoolEffect::Setback`] |
//! | `Barred` | its random moment comes; its life ends | as `Clean` |
//! | `Opening`, `Own` | [`PoolEvent::OpenFailed`] | none; whoever waited for it is told: [`PoolEffect::Setback`], [`PoolEffect::Refuse`] |
//! | `Dirty` | [`PoolEvent::Acquire`] by its own identity and attempt | `Dirty`: [`PoolEffect::Serve`] |
//! | `Dirty` | [`PoolEvent::Distrusted`] | `Dirty`, nobody's |
//! | `Dirty` | [`PoolEvent::Forget`], or its identity is evicted or expires | `Dirty`, nobody's: [`PoolEffect::Forgotten`] |
//! | `Dirty` | idle for its time | none: [`PoolEffect::Close`] |
//! | `Clean`, `Dirty` | [`PoolEvent::Lied`] | none: [`PoolEffect::Close`] |
//! | any | [`PoolEvent::Closed`] | none |

mod clock;
mod connections;
mod identities;
mod machine;
#[cfg(test)]
mod tests;
mod wants;

pub use machine::Pool;

pub use crate::reputation::{FailureKind, ServerIndex};

use std::time::Duration;

use self::identities::Owner;
use crate::isolation::{BlindedId, ConnId, IsolationKey};
use crate::time::Moment;

/// A connection that has carried nothing but the handshake.
#[derive(Debug, PartialEq, Eq)]
pub struct Clean(ConnId);

impl Clean {
    /// Binds the connection to one identity for the rest of its life; there is no way back.
    fn assign(self, owner: Owner) -> Dirty {
        Dirty { conn: self.0, owner }
    }
}

/// A connection that belongs to one attempt of one identity.
#[derive(Debug, PartialEq, Eq)]
pub struct Dirty {
    conn: ConnId,
    owner: Owner,
}

/// A lookup's request for a connection, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One lookup with all of its attempts, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupId(pub u64);

/// Who asks: a front, or one of its clients. No caller can have another one's IDs forgotten, and none but those of one part
/// can learn from the clean connections what another one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolCaller {
    /// Tells callers apart.
    pub number: u64,
    /// Which part of the connections that are opened ahead it may take, below [`PoolSettings::parts`]. Without one it opens
    /// its own.
    pub part: Option<u8>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolEvent {
    /// A moment asked for by [`PoolEffect::WakeAt`] is reached; also the way to begin.
    Tick,
    /// A connection is open, its handshake done and its server's network checked.
    Opened(ConnId),
    /// A connection is open, but the server's certificate is wrong: no lookup may have it. It lives on as others do, since
    /// a server that sees it end would know that two of its connections are one client's.
    Barred(ConnId),
    /// A connection could not be opened.
    OpenFailed(ConnId, FailureKind),
    /// A connection is gone.
    Closed(ConnId, FailureKind),
    /// A lookup needs the connection of a key.
    Acquire {
        /// Who asks.
        ticket: Ticket,
        /// The lookup that the ticket belongs to: all of its attempts have the identity that its first one found.
        lookup: LookupId,
        /// Whose connection it must be.
        key: IsolationKey,
        /// Who asks under that ID.
        caller: PoolCaller,
        /// Whether it must lead to another server than the connections of the identity's attempts before this one, as for
        /// a quorum; otherwise it does so only where there is the choice.
        distinct_server: bool,
    },
    /// Nobody waits for this ticket any more.
    Released(Ticket),
    /// A lookup is over: its identity may expire.
    Ended(LookupId),
    /// A lookup sends something over this connection, so it is not idle.
    Requested(ConnId),
    /// The server of this connection lied in a lookup.
    Lied(ConnId),
    /// The server of this connection showed a lookup what doesn't fit, though it may be honest. Its identity asks others first,
    /// and uses the connection no more, which ends when it would have.
    Distrusted(ConnId),
    /// An ID is in use though it needs no connection: it is not to be forgotten yet.
    Used(BlindedId),
    /// Everything of an ID is to be forgotten now. Nobody gets its connections any more, but they end when they would have:
    /// a server that sees them end together knows that they were one user's.
    Forget(BlindedId),
    /// As [`Self::Forget`], for all IDs.
    ForgetAll,
}

/// What the driver must do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolEffect {
    /// Open a connection to a server, over a circuit of its own.
    Open {
        /// Its number.
        conn: ConnId,
        /// Where it leads.
        server: ServerIndex,
        /// Whether a lookup waits for just this one, so that its first question may go out along with the greeting.
        own: bool,
    },
    /// Send a sign of life over a clean connection.
    Ping(ConnId),
    /// Close a connection.
    Close(ConnId),
    /// Give a lookup its connection, which is bound to its identity for life.
    Serve(Ticket, ConnId),
    /// A connection that this lookup waited for could not be opened, as the event at hand says. It waits for another one.
    Setback(Ticket),
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

/// Most connections that may be opened ahead of lookups in an hour: public servers have a thousand sessions in all.
pub const MAX_OPENINGS_AN_HOUR: u32 = 60;

/// How many clean connections there are on average, at most: the mean life follows from it and from the pace of openings.
const MEAN_CLEAN: u32 = 8;

/// The longest mean life of a clean connection.
const LONGEST_MEAN_LIFE: Duration = Duration::from_secs(900);

/// Bounds and waits of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Mean time between two openings ahead of lookups; `None`: nothing is opened ahead, so nothing can be learnt from it.
    pub opening_mean: Option<Duration>,
    /// Mean life of a clean connection.
    pub clean_life: Duration,
    /// Most connections opened ahead at a time, for memory's sake: far above what there are on average.
    pub most_clean: usize,
    /// Among how many fronts clean connections are dealt, as chance wills; at least one.
    pub parts: u8,
    /// In how many of a hundred cases an identity opens a connection of its own without looking at the clean ones.
    pub own_percent: u8,
    /// Mean time between two signs of life of a clean connection. Servers close after ten minutes of silence.
    pub keep_alive_mean: Duration,
    /// Mean time without a question after which the clock sleeps.
    pub sleep_mean: Duration,
    /// Mean time from the first question after that until the clock runs again.
    pub wake_mean: Duration,
    /// How long a dirty connection stays when nothing is sent over it: at least the half of this.
    pub idle: Duration,
    /// After about this without a lookup an ID is forgotten: a quarter more or less, drawn for each.
    pub id_ttl: Duration,
    /// Most live IDs of one caller; its least recently used one is forgotten to make room. All callers together have at most
    /// 16 times as many, beyond which who has most gives.
    pub max_ids: usize,
    /// How long a lookup waits for a connection.
    pub wait: Duration,
    /// How long, at most, an own connection may take to open before another server is tried beside it: at least the half
    /// of this.
    pub hedge_after: Duration,
}

impl PoolSettings {
    /// Makes the defaults, with so many openings ahead in an hour on average; 0: none.
    pub fn with_pace(openings_an_hour: u32) -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        let opening_mean = HOUR.checked_div(openings_an_hour);
        let clean_life = opening_mean.map(|mean| mean.saturating_mul(MEAN_CLEAN).min(LONGEST_MEAN_LIFE));
        Self {
            opening_mean,
            clean_life: clean_life.unwrap_or(LONGEST_MEAN_LIFE),
            most_clean: 64,
            parts: 1,
            own_percent: 30,
            keep_alive_mean: Duration::from_secs(120),
            sleep_mean: Duration::from_secs(6 * 3600),
            wake_mean: Duration::from_secs(600),
            idle: Duration::from_secs(600),
            id_ttl: Duration::from_secs(10 * 60),
            max_ids: 256,
            wait: Duration::from_secs(60),
            hedge_after: Duration::from_secs(6),
        }
    }
}

impl Default for PoolSettings {
    /// As many openings as are allowed: of the paces within the bounds it is the one that bursts of new identities show
    /// least with.
    fn default() -> Self {
        Self::with_pace(MAX_OPENINGS_AN_HOUR)
    }
}

/// How many of what there are: all that may be told of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Connections being opened.
    pub opening: usize,
    /// Clean connections.
    pub clean: usize,
    /// Connections bound to an identity.
    pub dirty: usize,
    /// Connections that nobody gets any more, of identities that are forgotten or to servers with a wrong certificate; they
    /// end when they would have.
    pub parting: usize,
    /// Live isolation IDs.
    pub ids: usize,
    /// Lookups that wait for a connection.
    pub waiting: usize,
}

impl PoolCounts {
    /// Rounds all of them up to a multiple of four, so that one more or less seldom shows.
    #[must_use]
    pub fn coarse(self) -> Self {
        let coarse = |count: usize| count.next_multiple_of(4);
        Self {
            opening: coarse(self.opening),
            clean: coarse(self.clean),
            dirty: coarse(self.dirty),
            parting: coarse(self.parting),
            ids: coarse(self.ids),
            waiting: coarse(self.waiting),
        }
    }
}

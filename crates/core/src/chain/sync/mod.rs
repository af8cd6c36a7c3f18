//! Header sync: which headers to ask of whom, whom to believe, whom to leave. A machine without I/O.
//!
//! The order of work:
//!
//! 1. **Backwards** from the anchor, as truncated headers, each authenticated by the link of the one above it:
//!    first what the next retarget needs, later what names may refer to.
//! 2. **Forwards** from the best tip to the highest tip that a server claims, in chunks that all connections share. A
//!    slow connection's chunk is given to an idle one as well. Where few headers are missing, or
//!    [`Verification::Full`] is wished for, they come full. Else they come truncated, as a
//!    [`Skeleton`](super::tree::Skeleton), of which a secret random sample is then asked for in full
//!    ([`sampling`](super::sampling)): only what all of it holds for is adopted.
//! 3. **Branches.** A server whose headers don't link to ours is traced back to the fork point, and its branch
//!    is fetched from it alone, as a skeleton too where it is long. Work decides, not length, and not who came first with
//!    a claim.
//! 4. **At leisure** headers that were taken on the strength of a sample are proved as well, a few at a time.
//!
//! A skeleton has one leader, whose claimed tip it is to reach; others that seem to be on the same chain help. Headers
//! that don't fit on those of somebody else tell that two chains are there, not which one is right: the leader's is
//! followed alone, the others stand apart until it has proved itself or failed. Who fails to prove headers of its own is
//! left with all that it gave; who merely has other headers is not at fault.
//!
//! A server that breaks a rule is left with a [`Fault`] and is not dialed again. A server that is slow, closed,
//! out of its resource budget or in the middle of a reorganisation only loses its chunk; it is dialed again, over a
//! fresh circuit, a few times in a row at most unless it brings new headers.

mod chunks;
mod cost;
mod errands;
mod machine;
#[cfg(test)]
mod tests;

pub use machine::Sync;

use std::time::Duration;

use bitcoin::BlockHash;

use super::Height;
use super::auxpow::DecodeError;
use super::sampling::Assurance;
use super::tree::HeaderError;
use crate::isolation::ConnId;

/// A request for headers, in the words of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `count` full headers from `start` on.
    Full {
        /// First height.
        start: Height,
        /// How many.
        count: Height,
    },
    /// `count` headers from `start` on, cut to 80 bytes, which a server sends when it also proves them to be under
    /// the block at height `under`.
    Truncated {
        /// First height.
        start: Height,
        /// How many.
        count: Height,
        /// A height not below the last one asked for and not above the server's tip.
        under: Height,
    },
    /// Full headers of single heights, in rising order.
    Scattered(Vec<Height>),
}

/// The number of an [`Ask`], never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// The place of a server in the list that the machine was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerIndex(pub usize);

/// The tip that a server claims: a statement, not a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimedTip {
    /// Its height.
    pub height: Height,
    /// The hash of its header.
    pub hash: BlockHash,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A connection to a server is open and its claimed tip is known.
    Connected {
        /// Which server.
        server: ServerIndex,
        /// The connection's number.
        conn: ConnId,
        /// What the server says its tip is.
        tip: ClaimedTip,
    },
    /// A connection could not be opened; the text says why.
    DialFailed {
        /// Which server.
        server: ServerIndex,
        /// For [`ServerReport`].
        reason: String,
        /// Whether the server itself is at fault (another network, a changed certificate): not dialed again.
        permanent: bool,
    },
    /// A server told a new tip.
    TipClaimed {
        /// On which connection.
        conn: ConnId,
        /// What it says.
        tip: ClaimedTip,
    },
    /// Headers came: `count` of them, concatenated.
    Headers {
        /// On which connection.
        conn: ConnId,
        /// In reply to what.
        ask: AskId,
        /// How many the server says they are.
        count: Height,
        /// The headers' bytes.
        bytes: Vec<u8>,
    },
    /// Full headers of single heights came.
    Scattered {
        /// On which connection.
        conn: ConnId,
        /// In reply to what.
        ask: AskId,
        /// The bytes of each, in the order asked for.
        headers: Vec<Vec<u8>>,
    },
    /// The server can't cut headers correctly (ElectrumX 1.19 to 2.0 can't): ask it for full ones.
    WronglyCut {
        /// On which connection.
        conn: ConnId,
        /// In reply to what.
        ask: AskId,
    },
    /// The server answered a request with an error, or not in time.
    Refused {
        /// On which connection.
        conn: ConnId,
        /// In reply to what.
        ask: AskId,
        /// For [`ServerReport`].
        reason: String,
        /// Whether the server has had enough of this connection, and of its kind for a while.
        overdrawn: bool,
    },
    /// A connection ended.
    Closed {
        /// Which one.
        conn: ConnId,
        /// For [`ServerReport`].
        reason: String,
        /// Whether the server broke the protocol: not dialed again.
        permanent: bool,
    },
    /// A moment asked for by [`Effect::WakeAt`] is reached.
    Tick,
}

/// What the driver must do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Open a connection to a server.
    Dial(ServerIndex),
    /// Send a request.
    Ask {
        /// Over which connection.
        conn: ConnId,
        /// Its number, to come back with the reply.
        id: AskId,
        /// What to ask.
        ask: Ask,
    },
    /// Close a connection.
    Close(ConnId),
    /// Write the best chain's headers from this height to the tip, and a skeleton that stands on it; drop what is
    /// stored above.
    StoreForward {
        /// The lowest height that changed.
        from: Height,
    },
    /// Note that the best chain's headers of these heights were proved, and where it ends: what is stored of a skeleton
    /// may be part of it now.
    StoreProved {
        /// The heights.
        heights: Vec<Height>,
    },
    /// Write the headers from this height (included) up to the previously lowest one.
    StoreBackward {
        /// The lowest known height.
        from: Height,
    },
    /// Hand in [`Event::Tick`] at this moment at the latest.
    WakeAt(crate::time::Moment),
    /// Everything that the reachable servers know is known; told again after each new tip.
    Synced,
    /// No server is left to ask.
    Exhausted,
}

/// Why a server is left for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A header breaks a rule.
    #[error("sent an invalid header at height {height}: {error}")]
    Header {
        /// Where.
        height: Height,
        /// Which rule.
        error: HeaderError,
    },
    /// The bytes are no headers.
    #[error("sent bytes that are no header at height {height}: {error}")]
    Decode {
        /// Where.
        height: Height,
        /// What is wrong.
        error: DecodeError,
    },
    /// The reply has another number of headers than was asked for, though the server claims to have them: more, or
    /// fewer again and again.
    #[error("sent {got} headers of {expected} that it claims to have")]
    Count {
        /// How many were asked for.
        expected: Height,
        /// How many came.
        got: Height,
    },
    /// More bytes came than the headers take.
    #[error("sent {extra} bytes behind the last header")]
    ExtraBytes {
        /// How many.
        extra: usize,
    },
    /// It gave headers that it then could not prove, or had others in their place.
    #[error("gave a header at height {height} and then another one in its place")]
    OtherHeader {
        /// Where.
        height: Height,
    },
    /// Two headers in one reply don't follow each other.
    #[error("sent headers that don't link at height {height}")]
    BrokenLink {
        /// The upper one's height.
        height: Height,
    },
    /// Its chain doesn't contain the trust anchor.
    #[error("is on a chain without the trust anchor at height {anchor}")]
    ConflictsWithAnchor {
        /// The anchor's height.
        anchor: Height,
    },
    /// Its tip is below the trust anchor.
    #[error("knows only {claimed} blocks, fewer than the trust anchor at height {anchor}")]
    BelowAnchor {
        /// What it claims.
        claimed: Height,
        /// The anchor's height.
        anchor: Height,
    },
    /// It claims a block as its tip that lies at another height.
    #[error("claims a tip at height {claimed} that lies at height {height}")]
    ClaimedHeight {
        /// What it claims.
        claimed: Height,
        /// Where the block lies.
        height: Height,
    },
    /// Its tip is so old that it must have lost touch.
    #[error("has a tip that is {age} seconds old")]
    StaleTip {
        /// Seconds since its tip's block time.
        age: u64,
    },
    /// It let requests wait.
    #[error("did not answer in time")]
    Stuck,
    /// The driver says so.
    #[error("{0}")]
    Connection(String),
}

/// How headers are verified that are missing in great number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verification {
    /// Each shows its AuxPoW.
    Full,
    /// A secret random sample of them does.
    Sampled(Assurance),
}

impl Default for Verification {
    fn default() -> Self {
        Self::Sampled(Assurance::default())
    }
}

/// Bounds and waits of a sync.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// How headers are verified that are missing in great number.
    pub verification: Verification,
    /// Fewer headers than this come full in any case.
    pub skeleton_from: Height,
    /// Headers per request of a skeleton.
    pub skeleton_chunk: Height,
    /// Headers of a sample per request.
    pub sample_batch: usize,
    /// Mean time between two requests of headers to be proved at leisure.
    pub leisure_mean: Duration,
    /// Headers in such a request.
    pub leisure_batch: usize,
    /// How many connections to have at once. Where there are fewer servers, several lead to one while much is to be
    /// fetched, each over a circuit of its own.
    pub connections: usize,
    /// What a connection may cost its server, in ElectrumX's units, before a fresh one takes its place: servers slow
    /// down a session from 1000 on, and end it at 10,000.
    pub budget: f64,
    /// The pause before a server is dialed again that had enough of us; doubles each time.
    pub overdrawn_pause: Duration,
    /// Headers per request for full headers: 252 of some 1.3 kB make a line of about 650 kB.
    pub full_chunk: Height,
    /// Headers per request for truncated headers, 160 hex digits each.
    pub truncated_chunk: Height,
    /// Requests in flight on one connection: one being sent while one is being computed.
    pub in_flight: usize,
    /// Chunks in flight or waiting for one below them: bounds the memory.
    pub window: usize,
    /// After this a request counts as not answered. Over Tor 650 kB may take half a minute.
    pub ask_timeout: Duration,
    /// After this an idle connection is given a waiting chunk too.
    pub steal_after: Duration,
    /// How long to wait for a second server once a first one is settled.
    pub second_server_grace: Duration,
    /// How long a connection that claims more than we know may hold up a sync that makes no progress.
    pub stall_grace: Duration,
    /// How often a server that failed without fault is dialed in a row.
    pub dials: u32,
    /// The pause before dialing a server again; doubles each time.
    pub redial_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            verification: Verification::default(),
            skeleton_from: 1500,
            skeleton_chunk: 2016,
            sample_batch: 24,
            leisure_mean: Duration::from_secs(60),
            leisure_batch: 8,
            connections: 4,
            budget: 850.0,
            overdrawn_pause: Duration::from_secs(20),
            full_chunk: 252,
            truncated_chunk: 1008,
            in_flight: 2,
            window: 12,
            ask_timeout: Duration::from_secs(45),
            steal_after: Duration::from_secs(6),
            second_server_grace: Duration::from_secs(5),
            stall_grace: Duration::from_secs(20),
            dials: 3,
            redial_pause: Duration::from_secs(1),
        }
    }
}

/// How far the sync is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Headers known, of those wanted.
    pub done: u64,
    /// Headers wanted, by what servers claim.
    pub total: u64,
    /// Connections open.
    pub connections: usize,
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
    /// Not dialed.
    Unused,
    /// Being dialed.
    Dialing,
    /// Connected.
    Connected,
    /// Left in good standing: its connection had cost it enough, or was not needed any more.
    Rested,
    /// Ended without fault; the text says how.
    Closed(String),
    /// Left for good.
    Faulty(Fault),
}

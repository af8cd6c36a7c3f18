//! What goes into the machine and what comes out of it.

use bitcoin::BlockHash;

use super::LinkError;
use crate::chain::Height;
use crate::isolation::ConnId;
use crate::reputation::ServerIndex;
use crate::time::Moment;

/// A request for headers, in the words of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderRequest {
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

impl HeaderRequest {
    /// Returns the first height that is asked for.
    pub fn start(&self) -> Height {
        match self {
            Self::Full { start, .. } | Self::Truncated { start, .. } => *start,
            Self::Scattered(heights) => heights.first().copied().unwrap_or_default(),
        }
    }

    /// Returns how many headers are asked for.
    pub fn count(&self) -> Height {
        match self {
            Self::Full { count, .. } | Self::Truncated { count, .. } => *count,
            Self::Scattered(heights) => Height::try_from(heights.len()).unwrap_or(Height::MAX),
        }
    }
}

/// The number of a [`HeaderRequest`], never reused by one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

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
pub enum HeaderSyncEvent {
    /// A connection to a server is open, and greets it: what is asked now goes out along with the greeting.
    Opened {
        /// Which server.
        server: ServerIndex,
        /// The connection's number.
        conn: ConnId,
    },
    /// A connection to a server is open and its claimed tip is known. Whether it was told before that it was open, or not.
    Connected {
        /// Which server.
        server: ServerIndex,
        /// The connection's number.
        conn: ConnId,
        /// What the server says its tip is.
        tip: ClaimedTip,
    },
    /// A connection could not be opened, of which nothing was told. Where the error is permanent (another network, a changed certificate), the
    /// server is not dialed again.
    DialFailed {
        /// Which server.
        server: ServerIndex,
        /// Why.
        error: LinkError,
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
        request: RequestId,
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
        request: RequestId,
        /// The bytes of each, in the order asked for.
        headers: Vec<Vec<u8>>,
    },
    /// Bytes came on a connection, since this was last told of it. To be told several times a second while any come, and
    /// of the bytes of a reply before the reply.
    Received {
        /// On which connection.
        conn: ConnId,
        /// How many.
        bytes: u64,
        /// Whether the server pads its replies to a power of two.
        pads: bool,
    },
    /// A server runs another release of its software than when it was last known: how it gives headers is to be learnt
    /// anew.
    OtherRelease {
        /// Which server.
        server: ServerIndex,
    },
    /// The server can't cut headers correctly (ElectrumX 1.19 to 2.0 can't): it is asked for full ones from now on.
    WronglyCut {
        /// On which connection.
        conn: ConnId,
        /// In reply to what.
        request: RequestId,
    },
    /// The server answered a request with an error. Where that says that we are rate-limited, the connection is given
    /// up, and the server left alone for a while.
    Refused {
        /// On which connection.
        conn: ConnId,
        /// In reply to what.
        request: RequestId,
        /// Why.
        error: LinkError,
    },
    /// A connection ended. Where the error is permanent, the server broke the protocol and is not dialed again.
    Closed {
        /// Which one.
        conn: ConnId,
        /// Why.
        error: LinkError,
    },
    /// Others than servers brought headers, which are in the tree by now: peers of the peer-to-peer network.
    BroughtByPeers {
        /// The lowest height at which the best chain is another one since.
        from: Height,
    },
    /// So many peers of the peer-to-peer network have our tip, and nothing above it.
    AgreedByPeers {
        /// How many.
        peers: usize,
    },
    /// A moment asked for by [`HeaderSyncEffect::WakeAt`] is reached.
    Tick,
}

/// What the driver must do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderSyncEffect {
    /// Open a connection to a server.
    Dial(ServerIndex),
    /// Send a request.
    Send {
        /// Over which connection.
        conn: ConnId,
        /// Its number, to come back with the reply.
        id: RequestId,
        /// What to ask.
        request: HeaderRequest,
    },
    /// Close a connection.
    Close(ConnId),
    /// Write the best chain's headers from this height to the tip, and a skeleton that stands on it; drop what is
    /// stored above.
    StoreForward {
        /// The lowest height that changed.
        from: Height,
    },
    /// Note that headers of these heights were proved, of the best chain or of a skeleton on its tip, and where the chain
    /// ends: what is stored of a skeleton may be part of it now.
    StoreProved {
        /// The heights.
        heights: Vec<Height>,
    },
    /// Write the headers from this height (included) up to the previously lowest one.
    StoreBackward {
        /// The lowest known height.
        from: Height,
    },
    /// Hand in [`HeaderSyncEvent::Tick`] at this moment at the latest.
    WakeAt(Moment),
    /// Everything above the anchor that the reachable servers know is known; told again after each new tip. What names may
    /// refer to below the anchor is fetched from then on ([`HeaderTree::has_history`](crate::chain::HeaderTree::has_history)).
    Synced,
    /// No server is left to ask.
    Exhausted,
}

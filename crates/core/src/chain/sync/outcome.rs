//! What a sub-machine found out, for the top level to carry out.

use super::HeaderSyncEffect;
use super::peers::PeerPhase;
use super::{CloseReason, ServerFault};
use crate::chain::Height;
use crate::chain::tree::HeaderError;
use crate::isolation::ConnId;

/// What a sub-machine found out. Sub-machines change nothing but themselves and the tree: what follows for connections,
/// servers, other sub-machines and the driver the top level does, in the order in which outcomes are returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A connection brought so many headers that were new to us.
    Brought { conn: ConnId, headers: Height },
    /// A connection brought the sync on, though not by new headers.
    Helped { conn: ConnId },
    /// The sync was brought on by nobody in particular.
    Progressed,
    /// A server broke a rule: it is left for good, with all its connections.
    Report { conn: ConnId, fault: ServerFault },
    /// A connection is of no use, without fault of its server.
    Close { conn: ConnId, reason: CloseReason },
    /// It is known where a connection's chain stands to ours.
    Enter { conn: ConnId, phase: PeerPhase },
    /// A connection's headers don't link to ours: the fork point lies at or below `end`.
    Trace { conn: ConnId, end: Height },
    /// A connection has another chain than a moment ago. It may, but not for ever.
    ChangedChain { conn: ConnId },
    /// The best chain is another one from this height on.
    BestChanged { from: Height },
    /// There is something to write.
    Store(HeaderSyncEffect),
    /// The making of a skeleton ended without result: those who were set aside are tried again.
    SkeletonDropped,
    /// A skeleton is part of the tree now, and these helped: what they claim is looked at anew.
    SkeletonAdopted { helpers: Vec<ConnId> },
}

/// Decides what a refused header in a reply from height `start` on means for its sender.
pub(super) fn judge(conn: ConnId, start: Height, fault: ServerFault) -> Outcome {
    match fault {
        // A block from the future is no lie yet. What lies below it stands; the rest is asked for later.
        ServerFault::Header {
            height,
            error: error @ HeaderError::TimeTooLate { .. },
        } => Outcome::Close {
            conn,
            reason: CloseReason::AheadOfClock { height, error },
        },
        ServerFault::Header {
            height,
            error: HeaderError::UnknownParent { .. },
        } => {
            if height == start {
                // It may have left the branch that it was on.
                Outcome::Trace {
                    conn,
                    end: start.saturating_sub(1),
                }
            } else {
                Outcome::Report {
                    conn,
                    fault: ServerFault::BrokenLink { height },
                }
            }
        }
        fault => Outcome::Report { conn, fault },
    }
}

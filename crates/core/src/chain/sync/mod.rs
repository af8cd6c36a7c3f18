//! Header sync: which headers to ask of whom, whom to believe, whom to leave. A machine without I/O.
//!
//! It is made of a peer table and sub-machines, each in a file of its own with its transitions in a table:
//!
//! | part | what it decides |
//! |---|---|
//! | `peers` | when a server is dialed; what a connection claims, can do, has cost, and how its chain stands to ours |
//! | `backfill` | **Backwards** from the anchor, as truncated headers, each authenticated by the link of the one above it: first what the next retarget needs, later what names may refer to |
//! | `follow` | **Forwards** from the best tip to the highest tip that a server claims, in chunks that all connections share; and **branches**: a server whose headers don't link to ours is traced back to the fork point, and its branch is fetched from it alone. Work decides, not length, and not who came first with a claim |
//! | `skeleton_sync` | where many headers are missing, and [`Verification::Full`] is not wished for, they come truncated, as a skeleton ([`UnverifiedChain`](super::tree::UnverifiedChain)), of which a secret random sample is then asked for in full ([`sampling`](super::sampling)): only what all of it holds for is adopted |
//! | `background` | headers that were taken on the strength of a sample are proved as well, a few at a time |
//! | `verdict` | when a sync is over |
//!
//! Sub-machines change nothing but themselves and the tree. What they find out of connections they return as outcomes,
//! which the top level, [`HeaderSync`], carries out.
//!
//! # What events do
//!
//! | event | what follows at once |
//! |---|---|
//! | [`Opened`](HeaderSyncEvent::Opened) | the connection is asked for what every server has: headers below the anchor, without which nothing above can be checked |
//! | [`Connected`](HeaderSyncEvent::Connected) | the connection waits to be judged; below the anchor its server is reported |
//! | [`DialFailed`](HeaderSyncEvent::DialFailed) | the server is closed until its pause is over; for good where the error is permanent; nothing but a pause where it has another connection |
//! | [`TipClaimed`](HeaderSyncEvent::TipClaimed) | the connection is judged anew, and the end of the sync is told anew; below the anchor its server is reported |
//! | [`Headers`](HeaderSyncEvent::Headers), [`Scattered`](HeaderSyncEvent::Scattered) | booked; too few: the connection ends, the last time its server is reported; else they go to the sub-machine that asked |
//! | [`WronglyCut`](HeaderSyncEvent::WronglyCut) | the chunk is given free, and the connection asked for full headers from now on |
//! | [`Refused`](HeaderSyncEvent::Refused), or no answer in time | what was asked for is given free; where others are set aside and it was of the skeleton, the connection and the skeleton end; rate-limited: it ends, and its server is left alone for a while; the second time in a row it ends |
//! | [`Closed`](HeaderSyncEvent::Closed) | before it was connected: as `DialFailed`; what it was asked for is given free, what it delivered and nobody used is dropped; its server is left for good where the error is permanent |
//! | [`BroughtByPeers`](HeaderSyncEvent::BroughtByPeers) | what the best chain is now is written; chunks that were planned on the old tip are dropped |
//! | [`AgreedByPeers`](HeaderSyncEvent::AgreedByPeers) | they count as so many servers on our tip |
//! | [`Tick`](HeaderSyncEvent::Tick) | nothing |
//!
//! # What follows from the state
//!
//! After each event, in this order:
//!
//! 1. Requests that are overdue count as refused, so that others may be given them.
//! 2. Chunks whose turn it is are used: backfill, chain, skeleton.
//! 3. Claims are judged by the tree that this left behind.
//! 4. The skeleton is begun, led, sampled, adopted or dropped, by those judgements. Where one ended, claims are judged
//!    and a skeleton is begun once more.
//! 5. What is missing is planned, and asked for: the step of a trace before the skeleton, the skeleton before the chain,
//!    the chain before backfill. One request for each connection in turn.
//! 6. Where nothing is left to ask, background proofs.
//! 7. Connections end that are stale, over budget, or needless: what is in flight is known now.
//! 8. Servers are dialed for those that ended, and where there is more work than hands.
//! 9. The end of the sync is told; the next moment at which anything of this may change is asked for.
//!
//! # Who is left
//!
//! A server that breaks a rule is left with a [`ServerFault`] and is not dialed again. A server that is slow, closed,
//! out of its resource budget or in the middle of a reorganisation only loses its chunk; it is dialed again, over a
//! fresh circuit, a few times in a row at most unless it brings new headers. Who fails to prove headers of its own is
//! left with all that it gave; who merely has other headers is not at fault.

mod backfill;
mod background;
mod chunks;
mod cost;
mod event;
mod fault;
mod follow;
mod header_sync;
mod headers;
mod limits;
mod outcome;
mod pace;
mod peers;
mod proof_queue;
mod report;
mod skeleton_sync;
#[cfg(test)]
mod tests;
mod verdict;

pub use event::{ClaimedTip, HeaderRequest, HeaderSyncEffect, HeaderSyncEvent, RequestId};
pub use fault::{CloseReason, LinkError, LinkErrorKind, ServerFault};
pub use header_sync::HeaderSync;
pub use limits::{HeaderSyncLimits, Verification};
pub use report::{Progress, ServerReport, ServerState};

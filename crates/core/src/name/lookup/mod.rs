//! A lookup: whom to ask what, when to ask somebody else, and whom to believe. A machine without I/O.
//!
//! Each attempt is a question to one server over a connection of its own. A proved value is final, unless a quorum
//! was asked for. That a name has no value is nowhere proved, since an update may be hidden: it takes a second opinion. What
//! went wrong is asked again over other circuits, hedged: the next attempt starts when the last one is slow, not only when
//! it failed.
//!
//! What an attempt asks depends on the name and on the replies to this attempt alone, never on our tip, on which headers
//! we hold, on other attempts or on other lookups. Only whether there is another attempt depends on more, and nobody
//! can tell it from a lookup of somebody else.
//!
//! Each attempt goes its own way; an event that does not belong to its phase changes nothing:
//!
//! | phase | event | next phase, and what is told |
//! |---|---|---|
//! | none | the lookup starts, a server is lacking for the quorum, the last attempt is slow or failed, or a name was denied | `Asked`: [`LookupRequest::Name`] |
//! | `Asked` | [`LookupEvent::Proof`] or [`LookupEvent::History`] without operations | `Answered`: the name never existed |
//! | `Asked` | [`LookupEvent::Proof`] of nothing but other transactions | `Listing`: [`LookupRequest::History`] |
//! | `Asked`, `Listing` | [`LookupEvent::History`] | `Fetching`: [`LookupRequest::Transactions`] |
//! | `Fetching` | some are no operations of the name, or gone, and older ones are needed in their place | `Fetching`: [`LookupRequest::Transactions`] |
//! | `Fetching` | all that is listed is something else | `Answered`: the name never existed |
//! | `Asked`, `Fetching` | a proof above our tip, or that does not fit to our chain | `Ahead`, for [`LookupSettings::header_grace`] at most |
//! | `Asked`, `Fetching`, `Ahead` | a proof that holds | `Answered` |
//! | `Asked`, `Fetching`, `Ahead` | a proof that can't hold | `Failed`: [`LookupEffect::Report`] |
//! | `Asked`, `Fetching`, `Ahead` | a proof that can't be judged by our headers, or is of a block that was replaced | `Failed`: [`LookupEffect::Distrust`] |
//! | `Fetching` | other transactions than were asked for | `Failed`: [`LookupEffect::Report`] |
//! | `Asked`, `Fetching` | a proof with an operation below the anchor whose header is still to come | `Below`, for [`LookupSettings::history_grace`] at most |
//! | `Below` | headers came | judged anew |
//! | `Asked`, `Fetching` | a proof, before our headers are up to date ([`Lookup::beside_sync`]) | `Unjudged` |
//! | `Unjudged` | [`LookupEvent::HeadersReady`] | judged |
//! | any open one | [`LookupEvent::Failed`] | `Failed`; no further attempt begins when no server can be reached |
//! | any open one | [`LookupSettings::attempt_timeout`] is over | `Failed`: [`LookupEffect::Abandon`] |
//!
//! A server's index keeps entries of orphaned blocks, lists them out of order, or twice; all of that is put right here and
//! blamed on nobody (`docs/servers.md` has the whole table). Whether a transaction is one of the name is read off the
//! transaction, so that what is asked for next depends on the replies and not on our headers.
//!
//! The lookup ends, with [`LookupEffect::Finished`], when as many servers as the quorum answered and one of them proved
//! the name, when two denied it, or when all attempts ended and none may follow. What is still open then is abandoned.
//! Before our headers are up to date it ends only where no attempt came to anything: what was answered waits, denials too.

mod failure;
mod machine;

pub use failure::{AttemptError, FailureScope, LinkFailure};
pub use machine::{HEADER_POLL, Lookup};

use std::time::Duration;

use bitcoin::Txid;

use super::id::ScriptHash;
use super::policy::Outcome;
use super::proof::{ProofError, ProofLimits, ProofLink};
use crate::chain::Height;
use crate::time::Moment;

/// Most servers that a lookup may be made to ask.
pub const MAX_QUORUM: u8 = 8;

/// Counts the attempts of one lookup, from 0.
pub type Attempt = u8;

/// A question to a server, in the words of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupRequest {
    /// All that the server has on a name: a whole proof where it can give one in one go, else the history.
    Name(ScriptHash),
    /// The list of a name's operations, even from a server that could give a proof in one go: a proof ends where the
    /// name expired once.
    History(ScriptHash),
    /// These transactions, each with its merkle branch, in this order.
    Transactions(Vec<(Txid, Height)>),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum LookupEvent {
    /// Begin.
    Start,
    /// An attempt has its connection. What it answers counts towards the quorum as the voice of this server's operator.
    Assigned {
        /// Which attempt.
        attempt: Attempt,
        /// A number that stands for whoever runs the server.
        server: usize,
    },
    /// A server gave the operations of the name with their proofs, newest first.
    Proof {
        /// In which attempt.
        attempt: Attempt,
        /// The operations; none: the name never existed, it says.
        links: Vec<ProofLink>,
    },
    /// A server gave the list of confirmed operations, oldest first.
    History {
        /// In which attempt.
        attempt: Attempt,
        /// The operations; none: the name never existed, it says.
        entries: Vec<(Txid, Height)>,
    },
    /// The transactions asked for, in the order asked.
    Transactions {
        /// In which attempt.
        attempt: Attempt,
        /// One for each; `None` where the server says that it is not, or no longer, in that block.
        links: Vec<Option<ProofLink>>,
    },
    /// The attempt failed before there was an answer.
    Failed {
        /// Which attempt.
        attempt: Attempt,
        /// Why, and whether another attempt can do better.
        failure: LinkFailure,
    },
    /// Our headers are up to date, which they were not when the lookup began ([`Lookup::beside_sync`]).
    HeadersReady,
    /// A moment asked for by [`LookupEffect::WakeAt`] is reached.
    Tick,
}

impl LookupEvent {
    /// Returns the attempt that the event belongs to, if to one.
    pub fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::Start | Self::HeadersReady | Self::Tick => None,
            Self::Assigned { attempt, .. }
            | Self::Proof { attempt, .. }
            | Self::History { attempt, .. }
            | Self::Transactions { attempt, .. }
            | Self::Failed { attempt, .. } => Some(*attempt),
        }
    }
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account<'a> {
    /// Its server's answer came to this.
    Answered(&'a Outcome),
    /// It came to nothing.
    Failed(&'a AttemptError),
    /// It was not over when the lookup was.
    Open,
}

/// What the driver must do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupEffect {
    /// Ask over the attempt's own connection; opens it when it is the attempt's first question.
    Ask {
        /// Which attempt.
        attempt: Attempt,
        /// What to ask.
        request: LookupRequest,
    },
    /// The attempt's server broke a rule: trust it no more.
    Report {
        /// Which attempt.
        attempt: Attempt,
        /// What it did.
        fault: LookupFault,
    },
    /// The attempt is of no use any more: close its connection.
    Abandon(Attempt),
    /// The attempt's server shows what doesn't fit, though it may be honest: no later question under this ID goes over the
    /// attempt's connection, and others are asked before its server.
    Distrust(Attempt),
    /// Hand in [`LookupEvent::Tick`] at this moment at the latest.
    WakeAt(Moment),
    /// The lookup is over.
    Finished(Result<Outcome, LookupError>),
}

/// How a server broke the rules of a lookup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupFault {
    /// Its proof is wrong.
    #[error("gave a wrong proof: {0}")]
    Proof(ProofError),
    /// It answered with other transactions than were asked for.
    #[error("gave other transactions than asked for")]
    OtherTransactions,
    /// It named a block so far above our tip that no honest server can be there.
    #[error("named a block at height {shown}, but the newest one is at {tip}")]
    FarAbove {
        /// What it named.
        shown: Height,
        /// Our tip.
        tip: Height,
    },
    /// It showed an older operation than another server proved.
    #[error("hid the operation at height {newest} and showed the one at height {shown}")]
    HidUpdate {
        /// What it showed.
        shown: Height,
        /// What another server proved.
        newest: Height,
    },
    /// It denied a name that another server proved.
    #[error("denied a name that was last updated at height {newest}")]
    DeniedName {
        /// What another server proved.
        newest: Height,
    },
}

impl LookupFault {
    /// Says what it did in words that don't help to guess the name, as heights would: fit for a log.
    pub const fn summary(&self) -> &'static str {
        match self {
            Self::Proof(_) => "gave a wrong proof",
            Self::OtherTransactions => "gave other transactions than asked for",
            Self::FarAbove { .. } => "named a block far above the newest one",
            Self::HidUpdate { .. } => "hid an update",
            Self::DeniedName { .. } => "denied a name",
        }
    }
}

/// Why a lookup has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// No attempt got a connection, and none was to be had.
    #[error("no server can be reached: {}", joined(.reasons))]
    Unreachable {
        /// Why, one for each attempt.
        reasons: Vec<AttemptError>,
    },
    /// No attempt came to an answer.
    #[error("no server gave a usable answer: {}", joined(.reasons))]
    NoAnswer {
        /// Why, one for each attempt.
        reasons: Vec<AttemptError>,
        /// Whether one of the answers was a lie: it could not be proved.
        lied_to: bool,
    },
    /// Fewer servers can be asked than the quorum asks for; none was.
    #[error("{expected} servers must answer, but only {known} can be asked")]
    TooFewServers {
        /// How many can be asked.
        known: usize,
        /// The quorum.
        expected: usize,
    },
    /// Fewer servers answered than the quorum asks for.
    #[error("only {got} of {expected} servers gave a usable answer: {}", joined(.reasons))]
    NoQuorum {
        /// How many answered.
        got: usize,
        /// The quorum.
        expected: usize,
        /// Why the others didn't.
        reasons: Vec<AttemptError>,
    },
}

/// Joins reasons to a text; once where attempts in a row failed alike.
fn joined(reasons: &[AttemptError]) -> String {
    let runs = reasons.chunk_by(|a, b| a == b).filter_map(|run| run.first());
    runs.map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// How a lookup goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookupSettings {
    /// Most attempts, at least 1; the quorum if that is greater.
    pub attempts: u8,
    /// How many different servers must answer: 1, or more to notice that one of them hides an update.
    pub quorum: u8,
    /// After this without an answer the next attempt starts beside the last one.
    pub hedge_after: Duration,
    /// After this an attempt counts as failed.
    pub attempt_timeout: Duration,
    /// How long an operation in a block that our headers don't have yet waits for it: a server is often a moment ahead
    /// of header sync. Zero where no sync goes on.
    pub header_grace: Duration,
    /// How long an operation below the anchor waits for headers there that are still to come. Zero where no sync goes on.
    pub history_grace: Duration,
    /// How much of a name's history is checked.
    pub limits: ProofLimits,
    /// What is served.
    pub policy: super::policy::Policy,
}

impl Default for LookupSettings {
    fn default() -> Self {
        Self {
            attempts: 3,
            quorum: 1,
            hedge_after: Duration::from_secs(8),
            attempt_timeout: Duration::from_secs(45),
            header_grace: Duration::ZERO,
            history_grace: Duration::ZERO,
            limits: ProofLimits::default(),
            policy: super::policy::Policy::default(),
        }
    }
}

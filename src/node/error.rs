//! Why the node can't do what it is asked for.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::lookup_link::LookupLinkError;
use super::report::{ServerResult, digest};
use super::store::StoreError;
use crate::chain::Height;
use crate::chain::freshness::NotFresh;
use crate::name::ProofError;
use crate::name::lookup::{AttemptError, LinkFailure, LookupError};
use crate::name::proof::Refusal;
use crate::name_index::IndexError;
use crate::net::{DialError, TorStanding};

/// Why the node can't do what it is asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The data folder, or a file in it, can't be used.
    #[error("cannot use {}: {error}", .path.display())]
    Folder {
        /// What can't be used.
        path: PathBuf,
        /// Why.
        error: Arc<io::Error>,
    },
    /// The data folder belongs to somebody else.
    #[error("{} belongs to another user (number {owner})", .path.display())]
    FolderOfOther {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Others may write to the data folder.
    #[error("other users may write to {}", .path.display())]
    FolderOpen {
        /// The folder.
        path: PathBuf,
    },
    /// The clock can't be right.
    #[error("this machine's clock shows a time before 1970")]
    Clock,
    /// Another process uses the data folder.
    #[error("another isonym process uses {}", .path.display())]
    FolderInUse {
        /// The folder.
        path: PathBuf,
    },
    /// The file of known servers can't be understood.
    #[error("{}, line {line}: not a server and its certificate; mend or remove that line", .path.display())]
    KnownServers {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The header store failed.
    #[error("the header store in {} failed: {error}", .path.display())]
    Store {
        /// Where it is.
        path: PathBuf,
        /// How.
        error: StoreError,
    },
    /// Connections can't be opened at all.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No server could be used for header sync.
    #[error("no server gave headers that can be used:{}{}", list(.servers), .tor.iter().fold(String::new(), |_, it| format!("\n  {it}")))]
    NoServer {
        /// How it went with each.
        servers: Vec<ServerResult>,
        /// What is known of the Tor that is the proxy.
        tor: Option<TorStanding>,
    },
    /// The node was stopped before there was an answer.
    #[error("the node is stopping")]
    Stopped,
    /// Header sync has not come to the tip yet.
    #[error("headers are being synchronised: {done} of {total}{}", .trouble.iter().fold(String::new(), |_, it| format!("; {it}")))]
    Syncing {
        /// Headers known.
        done: u64,
        /// Headers wanted, by what servers claim.
        total: u64,
        /// Why it does not get on, where it does not.
        trouble: Option<String>,
    },
    /// The headers are too old to tell what names are worth today.
    #[error("not synchronised: {reason}; the servers asked:{}", list(.servers))]
    NotSynchronized {
        /// Why.
        reason: NotFresh,
        /// What the servers say.
        servers: Vec<ServerResult>,
    },
    /// The lookup came to no outcome.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The names that are kept can't be read or written.
    #[error("{}: {error}", .path.display())]
    Names {
        /// Their file.
        path: PathBuf,
        /// Why.
        error: IndexError,
    },
    /// Not all living names are here yet, and nobody else is to be asked.
    #[error("all living names are being fetched: {done} of {total} blocks{}", .trouble.iter().fold(String::new(), |_, it| format!("; {it}")))]
    NamesIncomplete {
        /// Blocks that were read.
        done: u64,
        /// Blocks wanted.
        total: u64,
        /// Why it does not get on, where it does not.
        trouble: Option<String>,
    },
    /// Blocks are known that were not read, so that the names of today are not.
    #[error("the names that are kept are those of block {height}, the newest block is {tip}{}; try again later", .trouble.iter().fold(String::new(), |_, it| format!(" ({it})")))]
    NamesBehind {
        /// The highest block that was read.
        height: Height,
        /// Our tip.
        tip: Height,
        /// Why it does not get on, where it does not.
        trouble: Option<String>,
    },
    /// The newest operation of a name breaks a rule, though it is in a block.
    #[error("the name's newest operation, in block {height}, can't be believed: {refusal}")]
    NameRefused {
        /// Which rule.
        refusal: Refusal,
        /// The block.
        height: Height,
    },
    /// No names are kept here.
    #[error(
        "no names are kept here, so that they can't be listed; that takes a daemon with --names local or local-or-servers"
    )]
    NoNamesKept,
    /// Only servers could answer, and none is to be asked.
    #[error("only servers could answer that, and this node asks none for names")]
    NoServerIsAsked,
    /// A history could not be had or proved.
    #[error("no server gave a usable history: {}", joined(.reasons))]
    History {
        /// Why, one for each attempt.
        reasons: Vec<HistoryFailure>,
    },
}

impl NodeError {
    /// Says whether two failures to write are one to people: the same place, and the same reason of the system.
    pub(super) fn is_same_failure(&self, other: &Self) -> bool {
        use StoreError::{Damaged, Io, WriterGone};
        match (self, other) {
            (
                Self::Folder { path, error },
                Self::Folder {
                    path: other,
                    error: reason,
                },
            ) => path == other && error.kind() == reason.kind(),
            (Self::Store { error: Io(error), .. }, Self::Store { error: Io(other), .. }) => {
                error.kind() == other.kind()
            }
            (Self::Store { error, .. }, Self::Store { error: other, .. }) => {
                matches!(
                    (error, other),
                    (Damaged { .. }, Damaged { .. }) | (WriterGone, WriterGone)
                )
            }
            _ => false,
        }
    }

    /// Returns why no stream to a server could be opened, where that is the reason.
    pub fn dial_error(&self) -> Option<&DialError> {
        match self {
            Self::Dial(error) => Some(error),
            Self::NoServer { servers, .. } => servers.iter().find_map(|server| server.way_out.as_ref()),
            Self::Lookup(
                LookupError::Unreachable { reasons }
                | LookupError::NoAnswer { reasons, .. }
                | LookupError::NoQuorum { reasons, .. },
            ) => reasons.iter().find_map(|reason| match reason {
                AttemptError::Link(failure) => dial_error(failure),
                _ => None,
            }),
            Self::History { reasons } => reasons.iter().find_map(|reason| match reason {
                HistoryFailure::Link(failure) => dial_error(failure),
                _ => None,
            }),
            _ => None,
        }
    }
}

fn dial_error(failure: &LinkFailure) -> Option<&DialError> {
    failure.error().downcast_ref::<LookupLinkError>()?.dial_error()
}

/// Why one attempt to fetch a history came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryFailure {
    /// It got no connection, or no answer over it.
    #[error(transparent)]
    Link(#[from] LinkFailure),
    /// The connection ended, and nobody said why.
    #[error("connection ended")]
    Ended,
    /// The server answered with something else than a history.
    #[error("server gave no history")]
    NoHistory,
    /// The server answered with something else than transactions.
    #[error("server gave no transactions")]
    NoTransactions,
    /// The server gave more or fewer transactions than were asked for.
    #[error("server gave other transactions")]
    OtherTransactions,
    /// An operation can't be proved.
    #[error("the operation at height {height} can't be proved: {error}")]
    Entry {
        /// Its height, by the server's word.
        height: Height,
        /// Why.
        error: ProofError,
    },
}

fn joined(reasons: &[HistoryFailure]) -> String {
    let reasons = reasons.iter().map(ToString::to_string);
    reasons.collect::<Vec<_>>().join("; ")
}

/// Lists how it went with each server; once where it went the same.
fn list(servers: &[ServerResult]) -> String {
    digest(servers).iter().fold(String::new(), |mut list, (who, result)| {
        // Writing to a string can't fail.
        let _ = write!(list, "\n  {who}: {result}");
        list
    })
}

//! Why the node can't do what it is asked for.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::report::ServerResult;
use super::store::StoreError;
use crate::chain::Height;
use crate::name::ProofError;
use crate::name::lookup::LookupError;
use crate::name::policy::NotSynchronized;
use crate::net::DialError;

/// Why the node can't do what it is asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The data folder, or a file in it, can't be used.
    #[error("cannot use {}: {source}; name another data folder with --datadir DIR", .path.display())]
    Folder {
        /// What can't be used.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// Another process uses the data folder.
    #[error("another isonym process uses {}; wait for it to end, or name another data folder with --datadir DIR", .path.display())]
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
    #[error("the header store in {} failed: {source}", .path.display())]
    Store {
        /// Where it is.
        path: PathBuf,
        /// How.
        source: StoreError,
    },
    /// Connections can't be opened at all.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No server could be used for header sync.
    #[error("no server gave headers that can be used:{}", list(.servers))]
    NoServer {
        /// How it went with each.
        servers: Vec<ServerResult>,
    },
    /// The node was stopped before there was an answer.
    #[error("the node is stopping")]
    Stopped,
    /// Header sync has not come to the tip yet.
    #[error("headers are being synchronised: {done} of {total}")]
    Syncing {
        /// Headers known.
        done: u64,
        /// Headers wanted, by what servers claim.
        total: u64,
    },
    /// The headers are too old to tell what names are worth today.
    #[error("not synchronised: {reason}; the servers asked:{}", list(.servers))]
    NotSynchronized {
        /// How old.
        reason: NotSynchronized,
        /// What the servers say.
        servers: Vec<ServerResult>,
    },
    /// The lookup came to no outcome.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// A history could not be had or proved.
    #[error("no server gave a usable history: {}", .reasons.join("; "))]
    History {
        /// Why, one for each attempt.
        reasons: Vec<String>,
    },
    /// An operation of a history can't be proved.
    #[error("the operation at height {height} can't be proved: {source}")]
    HistoryEntry {
        /// Its height, by the server's word.
        height: Height,
        /// Why.
        source: ProofError,
    },
}

/// Lists how it went with each server; once where it went the same with all.
fn list(servers: &[ServerResult]) -> String {
    if let [first, others @ ..] = servers
        && !others.is_empty()
        && others.iter().all(|server| server.result == first.result)
    {
        return format!("\n  all {} servers: {}", servers.len(), first.result);
    }
    servers.iter().fold(String::new(), |mut list, server| {
        // Writing to a string can't fail.
        let _ = write!(list, "\n  {}: {}", server.address, server.result);
        list
    })
}

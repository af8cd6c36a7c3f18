//! What a user can do about an error. The library's errors know nothing of options; here they are named.

use isonym::net::DialError;
use isonym::node::{NodeError, StoreError};

/// Returns what helps against an error, if that is known.
pub(crate) fn advice(error: &anyhow::Error) -> Option<&'static str> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<NodeError>().and_then(of_node_error))
}

fn of_node_error(error: &NodeError) -> Option<&'static str> {
    match error {
        NodeError::Folder { .. } => Some("name another data folder with --datadir DIR"),
        NodeError::FolderInUse { .. } => Some("wait for it to end, or name another data folder with --datadir DIR"),
        NodeError::Store { error, .. } => of_store_error(error),
        NodeError::Dial(error) => of_dial_error(error),
        NodeError::NoServer { servers } | NodeError::NotSynchronized { servers, .. } => servers
            .iter()
            .filter_map(|server| server.dial_error.as_ref())
            .find_map(of_dial_error),
        _ => None,
    }
}

fn of_store_error(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::Io(_) => {
            Some("make room, or name another data folder with --datadir DIR, then run again: nothing is lost")
        }
        StoreError::Damaged { .. } => Some("name a data folder on another disk with --datadir DIR"),
        _ => None,
    }
}

fn of_dial_error(error: &DialError) -> Option<&'static str> {
    match error {
        DialError::ProxyUnreachable { .. } => Some(
            "start Tor, or name another proxy with --proxy socks5://HOST:PORT, or use --direct to go without one and be \
             linkable",
        ),
        DialError::ProxyDoesNotIsolate => Some("use Tor, or --direct if you can do without isolation"),
        _ => None,
    }
}

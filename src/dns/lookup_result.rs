//! What DNS needs to know of a lookup's result.

use super::engine::ExtendedError;
use crate::jsonrpc::{ClientError, code};
use crate::name::lookup::LookupError;
use crate::name::{NameValue, Outcome};
use crate::node::NodeError;
use crate::service::{Answer, NameResult, ServiceError, Stated};

/// What a lookup came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupResult {
    /// The name has this value.
    Value(NameValue),
    /// It has none, and why if that is worth telling.
    Absent(Option<ExtendedError>),
    /// It could not be found out.
    Failed(ExtendedError),
}

impl LookupResult {
    /// Reads the result of a lookup.
    pub fn of(result: &NameResult) -> Self {
        match result {
            Ok(Answer::Proved(proved)) => of_outcome(&proved.outcome),
            Ok(Answer::Stated(Stated::Value { value, .. })) => Self::Value(value.clone()),
            Ok(Answer::Stated(Stated::Expired)) => Self::Absent(Some(ExtendedError::Expired)),
            Ok(Answer::Stated(Stated::Absent)) => Self::Absent(None),
            Err(error) => Self::Failed(of_error(error)),
        }
    }
}

/// Chooses the extended error for what went wrong with a lookup.
pub fn of_error(error: &ServiceError) -> ExtendedError {
    match error {
        ServiceError::Node(error) => of_node_error(error),
        ServiceError::Client(error) => of_client_error(error),
        ServiceError::Busy { .. } => ExtendedError::Busy,
        ServiceError::Stopped | ServiceError::NothingProved => ExtendedError::NoBackend,
    }
}

fn of_outcome(outcome: &Outcome) -> LookupResult {
    match outcome {
        Outcome::Found(status) => LookupResult::Value(status.name.value().clone()),
        Outcome::Expired(_) | Outcome::LongExpired { .. } => LookupResult::Absent(Some(ExtendedError::Expired)),
        Outcome::SemiExpired(_) | Outcome::Unconfirmed { .. } => LookupResult::Absent(Some(ExtendedError::NotFinal)),
        Outcome::NeverExisted | Outcome::ProvedAbsent { .. } => LookupResult::Absent(None),
    }
}

fn of_node_error(error: &NodeError) -> ExtendedError {
    match error {
        NodeError::Syncing { .. }
        | NodeError::NotSynchronized { .. }
        | NodeError::NamesIncomplete { .. }
        | NodeError::NamesBehind { .. } => ExtendedError::NotSynchronised,
        NodeError::Lookup(LookupError::Unreachable { .. }) | NodeError::Dial(_) | NodeError::NoServer { .. } => {
            ExtendedError::NoProxy
        }
        NodeError::NameRefused { .. } | NodeError::Lookup(LookupError::NoAnswer { lied_to: true, .. }) => {
            ExtendedError::Lied
        }
        NodeError::Lookup(_) => ExtendedError::Timeout,
        _ => ExtendedError::NoBackend,
    }
}

fn of_client_error(error: &ClientError) -> ExtendedError {
    match error {
        ClientError::Rpc(error) => match error.code {
            code::WARMUP | code::INITIAL_DOWNLOAD => ExtendedError::NotSynchronised,
            code::NOT_CONNECTED => ExtendedError::NoProxy,
            code::METHOD_NOT_FOUND => ExtendedError::BackendUnfit,
            code::MISC => ExtendedError::BackendArguments,
            code::INTERNAL => ExtendedError::BackendFailed,
            _ => ExtendedError::NoBackend,
        },
        ClientError::Refused { .. } | ClientError::Cookie { .. } => ExtendedError::BackendRefused,
        ClientError::Status { status: 404 } => ExtendedError::BackendUnfit,
        ClientError::Malformed { .. } | ClientError::TooLong => ExtendedError::BackendNonsense,
        ClientError::Timeout(_) => ExtendedError::Timeout,
        _ => ExtendedError::NoBackend,
    }
}

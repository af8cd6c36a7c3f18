//! Why an attempt came to no answer.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::LookupFault;
use crate::name::proof::ProofError;

/// Whom a failure to get an answer concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureScope {
    /// This attempt alone: another one, over another circuit, may go better.
    Attempt,
    /// All attempts: this one got no connection, and none can be had for another one either.
    Everything,
}

/// Why an attempt got no connection or no answer: the driver's own error, which the machine keeps to show it, and of
/// which it looks at the scope alone.
#[derive(Clone, Debug)]
pub struct LinkFailure {
    scope: FailureScope,
    error: Arc<dyn Error + Send + Sync>,
}

impl LinkFailure {
    /// Takes the driver's error and whom it concerns.
    pub fn new(scope: FailureScope, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = Arc::from(error.into());
        Self { scope, error }
    }

    /// Returns whom it concerns.
    pub const fn scope(&self) -> FailureScope {
        self.scope
    }

    /// Returns the driver's own error, for those who know its type.
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }
}

impl fmt::Display for LinkFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for LinkFailure {
    // It shows the error's own words, so that its cause is the error's cause.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Two are equal that concern the same and tell a reader the same. No decision depends on it.
impl PartialEq for LinkFailure {
    fn eq(&self, other: &Self) -> bool {
        self.scope == other.scope && self.to_string() == other.to_string()
    }
}

impl Eq for LinkFailure {}

/// Why an attempt came to no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// It got no connection, or no answer over it.
    #[error(transparent)]
    Link(#[from] LinkFailure),
    /// It took too long.
    #[error("no answer within {} seconds", .after.as_secs())]
    TimedOut {
        /// The time allowed.
        after: Duration,
    },
    /// Its server broke a rule.
    #[error("a server {0}")]
    Fault(LookupFault),
    /// What the server gave can't be judged by the headers that we have: it may be right.
    #[error(transparent)]
    Unproved(ProofError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no way out")]
    struct NoWay(#[source] std::io::Error);

    fn failure(scope: FailureScope) -> LinkFailure {
        LinkFailure::new(scope, NoWay(std::io::Error::other("cable cut")))
    }

    #[test]
    fn an_error_of_the_driver_is_shown_once_and_keeps_cause_and_type() {
        let error = AttemptError::from(failure(FailureScope::Attempt));
        assert_eq!(error.to_string(), "no way out");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("cable cut"));
        let AttemptError::Link(link) = error else {
            panic!("it is the driver's");
        };
        assert!(link.error().is::<NoWay>());
    }

    #[test]
    fn failures_differ_that_concern_others_though_they_say_the_same() {
        let of = |scope| failure(scope);
        assert_eq!(of(FailureScope::Attempt), of(FailureScope::Attempt));
        assert_ne!(of(FailureScope::Attempt), of(FailureScope::Everything));
    }
}

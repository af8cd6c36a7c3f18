//! Why a connection ends, and why a server is left.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::chain::Height;
use crate::chain::auxpow::DecodeError;
use crate::chain::freshness::NotFresh;
use crate::chain::tree::HeaderError;
use crate::reputation::SyncEvidence;

/// What the machine makes of an error of the driver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkErrorKind {
    /// Another try, over a fresh circuit, may go better.
    Transient,
    /// The server has had enough of us, and will have for a while.
    RateLimited,
    /// The server can't be used at all: another network, a certificate that changed, no such protocol.
    Permanent,
}

/// Why a server was not reached, why a connection to it ended, or why it gave no headers: the driver's own error, which
/// the machine keeps to show it, and of which it looks at the kind alone.
#[derive(Clone, Debug)]
pub struct LinkError {
    kind: LinkErrorKind,
    source: Arc<dyn Error + Send + Sync>,
}

impl LinkError {
    /// Takes the driver's error and what is to be made of it.
    pub fn new(kind: LinkErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = Arc::from(source.into());
        Self { kind, source }
    }

    /// Returns what is to be made of it.
    pub const fn kind(&self) -> LinkErrorKind {
        self.kind
    }

    /// Returns the driver's own error, for those who know its type.
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.source
    }

    /// Says whether the server can't be used at all.
    pub fn is_permanent(&self) -> bool {
        self.kind == LinkErrorKind::Permanent
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Error for LinkError {
    // It shows its source's own words, so that its cause is the source's cause.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

/// Two are equal that are of one kind and tell a reader the same. No decision depends on it.
impl PartialEq for LinkError {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.to_string() == other.to_string()
    }
}

impl Eq for LinkError {}

/// Why a connection ended without fault of its server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The driver says so.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Requests were not answered in time.
    #[error("did not answer in time")]
    NoAnswer,
    /// It sent fewer headers than it claims to have, which a server does in the middle of a reorganisation.
    #[error("sent {got} headers of {expected} that it claims to have")]
    TooFew {
        /// How many were asked for.
        expected: Height,
        /// How many came.
        got: Height,
    },
    /// A block is from the future, by our clock.
    #[error("is ahead of our clock at height {height}: {error}; check this machine's clock")]
    AheadOfClock {
        /// Where.
        height: Height,
        /// How far ahead it is.
        error: HeaderError,
    },
    /// Its chain was traced again and again, and nothing new came of it.
    #[error("its headers lead nowhere")]
    LeadsNowhere,
    /// It had another chain each time it was asked.
    #[error("changed its chain again and again")]
    ChangesChain,
}

/// Why a server is left: for the rest of the run, or for long where the fault [may pass](Self::may_pass).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerFault {
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
    /// Its chain is so old, or so poor in work of late, that it must have lost touch.
    #[error("has an old chain: {0}")]
    NotFresh(NotFresh),
    /// The driver says so: it can't be used at all, or broke the protocol.
    #[error(transparent)]
    Link(LinkError),
}

impl ServerFault {
    /// Says whether the fault may pass, so that the server is worth another look some time: one that indexes its chain anew knows
    /// few blocks, one that was offline has an old chain, and one of another release may speak otherwise. What it claimed to
    /// be true and is not, no honest server says.
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::BelowAnchor { .. } | Self::NotFresh(_) | Self::Count { .. } | Self::Link(_)
        )
    }

    /// Returns what it tells of its server.
    pub(super) const fn evidence(&self) -> SyncEvidence {
        if self.may_pass() {
            SyncEvidence::Unready
        } else {
            SyncEvidence::Faulty
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no way out")]
    struct NoWay(#[source] std::io::Error);

    #[test]
    fn an_error_of_the_driver_is_shown_once_and_keeps_its_cause() {
        let cause = std::io::Error::other("cable cut");
        let error = LinkError::new(LinkErrorKind::Transient, NoWay(cause));
        let chain = |error: &dyn Error| error.source().map(ToString::to_string);
        assert_eq!(error.to_string(), "no way out");
        assert_eq!(chain(&error).as_deref(), Some("cable cut"));
        assert_eq!(chain(&CloseReason::from(error.clone())).as_deref(), Some("cable cut"));
        assert_eq!(chain(&ServerFault::Link(error)).as_deref(), Some("cable cut"));
    }

    #[test]
    fn errors_of_two_kinds_differ_though_they_say_the_same() {
        let error = |kind| LinkError::new(kind, "full");
        assert_eq!(error(LinkErrorKind::Transient), error(LinkErrorKind::Transient));
        assert_ne!(error(LinkErrorKind::Transient), error(LinkErrorKind::RateLimited));
        assert!(error(LinkErrorKind::Permanent).is_permanent());
    }
}

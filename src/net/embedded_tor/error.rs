//! Why the Tor within the program has no stream for somebody.

use std::path::PathBuf;

use arti_client::{ErrorKind, HasKind};

use super::standing::EmbeddedTorStanding;

/// Why the Tor within the program did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedTorError {
    /// The file with its settings can't be used.
    #[error("cannot use the settings for Tor in {path}: {reason}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It can't run at all, as where its folder can't be used.
    #[error("the embedded Tor cannot run: {reason}")]
    Failed {
        /// Why.
        reason: String,
    },
    /// It was waited for, and carries no streams yet.
    #[error("the embedded Tor is not ready yet: {0}")]
    NotReady(EmbeddedTorStanding),
    /// It runs, but this one thing could not be done.
    #[error("the embedded Tor could not connect: {0}")]
    Refused(TorRefusal),
}

impl EmbeddedTorError {
    /// Says whether no server can be reached at all while this lasts.
    pub const fn is_its_own(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    /// Says whether another try would end the same way.
    pub const fn is_permanent(&self) -> bool {
        match self {
            Self::Config { .. } | Self::Failed { .. } => true,
            Self::NotReady(_) => false,
            Self::Refused(refusal) => matches!(refusal, TorRefusal::Address | TorRefusal::Forbidden),
        }
    }
}

/// Why one stream could not be opened, or one name not be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TorRefusal {
    /// The address is none that Tor takes.
    #[error("the address is invalid")]
    Address,
    /// Streams to this machine and its own network are not opened at exits.
    #[error("addresses of private networks are not reached through Tor")]
    Forbidden,
    /// The exit finds no such host.
    #[error("the host is unknown or unreachable")]
    UnknownHost,
    /// Nothing listens there.
    #[error("the port is closed")]
    ClosedPort,
    /// No exit takes such streams.
    #[error("no exit allows it")]
    ExitPolicy,
    /// The onion service is not there, or was never.
    #[error("the onion service cannot be reached")]
    OnionService,
    /// There was no answer in time.
    #[error("there was no answer in time")]
    Timeout,
    /// Something within the Tor network, or in this Tor, did not work.
    #[error("it failed on the way")]
    OnTheWay,
}

impl From<&arti_client::Error> for TorRefusal {
    fn from(error: &arti_client::Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidStreamTarget | ErrorKind::OnionServiceAddressInvalid => Self::Address,
            ErrorKind::ForbiddenStreamTarget | ErrorKind::FeatureDisabled => Self::Forbidden,
            ErrorKind::RemoteHostNotFound | ErrorKind::RemoteHostResolutionFailed | ErrorKind::RemoteNetworkFailed => {
                Self::UnknownHost
            }
            ErrorKind::RemoteConnectionRefused | ErrorKind::RemoteStreamError => Self::ClosedPort,
            ErrorKind::ExitPolicyRejected | ErrorKind::NoExit => Self::ExitPolicy,
            ErrorKind::OnionServiceNotFound
            | ErrorKind::OnionServiceNotRunning
            | ErrorKind::OnionServiceProtocolViolation
            | ErrorKind::OnionServiceConnectionFailed
            | ErrorKind::OnionServiceMissingClientAuth
            | ErrorKind::OnionServiceWrongClientAuth => Self::OnionService,
            ErrorKind::RemoteNetworkTimeout | ErrorKind::ExitTimeout | ErrorKind::TorNetworkTimeout => Self::Timeout,
            _ => Self::OnTheWay,
        }
    }
}

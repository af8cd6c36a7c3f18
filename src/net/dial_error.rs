//! Why streams to servers can't be opened.

use std::io;
use std::time::Duration;

use super::proxy::Proxy;
use super::tls::TlsError;

/// Why no stream to a server could be opened.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nothing listens where the proxy should be.
    #[error(
        "no proxy at {proxy}: start Tor, or name another proxy with --proxy socks5://HOST:PORT, or use --direct \
         to go without one and be linkable"
    )]
    ProxyUnreachable {
        /// What was tried.
        proxy: Proxy,
    },
    /// The proxy goes on without credentials, so that it can't tell one stream from another.
    #[error("proxy takes no credentials, so it does not isolate streams: use Tor, or --direct if you can do without")]
    ProxyDoesNotIsolate,
    /// The proxy insists on credentials of its own, or on none that we know.
    #[error("proxy refuses made-up credentials, so it can't be used to isolate streams")]
    ProxyRefusedCredentials,
    /// What listens there speaks no SOCKS5.
    #[error("proxy does not speak SOCKS5")]
    ProxyNotSocks,
    /// The proxy closed, or its stream failed, before the server was reached.
    #[error("connection to the proxy failed: {0}")]
    ProxyFailed(io::ErrorKind),
    /// The proxy doesn't connect to the server.
    #[error("proxy could not connect: {0}")]
    ProxyRefused(SocksRefusal),
    /// The server's machine answers, but nothing listens on the port.
    #[error("server refuses connections on this port")]
    ClosedPort,
    /// The server's name is unknown or its machine can't be reached.
    #[error("server host is unknown or unreachable")]
    UnknownHost,
    /// The stream failed while it was opened.
    #[error("connection to the server failed: {0}")]
    Io(io::ErrorKind),
    /// It took too long.
    #[error("server was not reached within {} seconds{}", .after.as_secs(), .stage.hint())]
    TimedOut {
        /// The time allowed.
        after: Duration,
        /// How far it got.
        stage: Stage,
    },
    /// Onion services are behind Tor only.
    #[error("an onion service can't be reached without a proxy")]
    OnionNeedsProxy,
    /// TLS failed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operating system gave no random bytes, without which streams can't be kept apart.
    #[error("operating system gives no random bytes")]
    NoEntropy,
}

impl DialError {
    /// Says whether the way out is at fault, so that no server can be reached at all.
    pub const fn is_proxys(&self) -> bool {
        matches!(
            self,
            Self::ProxyUnreachable { .. }
                | Self::ProxyDoesNotIsolate
                | Self::ProxyRefusedCredentials
                | Self::ProxyNotSocks
                | Self::ProxyFailed(_)
                | Self::NoEntropy
        )
    }

    /// Says whether another try, over another circuit, would end the same way.
    pub const fn is_permanent(&self) -> bool {
        match self {
            Self::ProxyUnreachable { .. }
            | Self::ProxyDoesNotIsolate
            | Self::ProxyRefusedCredentials
            | Self::ProxyNotSocks
            | Self::OnionNeedsProxy
            | Self::NoEntropy => true,
            Self::Tls(error) => error.is_permanent(),
            Self::ProxyFailed(_)
            | Self::ProxyRefused(_)
            | Self::ClosedPort
            | Self::UnknownHost
            | Self::Io(_)
            | Self::TimedOut { .. } => false,
        }
    }
}

/// How far a dial got before it took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No stream yet.
    Connect,
    /// The TLS handshake had begun.
    Tls,
}

impl Stage {
    const fn hint(self) -> &'static str {
        match self {
            Self::Connect => "",
            Self::Tls => ": it does not answer in TLS; if it speaks plain TCP, use HOST:PORT:t",
        }
    }
}

/// What a SOCKS5 proxy says when it can't connect. Source: RFC 1928, 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SocksRefusal {
    /// Reply 01.
    #[error("general failure (SOCKS reply 01)")]
    General,
    /// Reply 02.
    #[error("not allowed by its rules (SOCKS reply 02)")]
    NotAllowed,
    /// Reply 03.
    #[error("network unreachable (SOCKS reply 03)")]
    NetworkUnreachable,
    /// Reply 06.
    #[error("it took too long (SOCKS reply 06)")]
    Expired,
    /// Reply 07.
    #[error("it knows no CONNECT (SOCKS reply 07)")]
    CommandNotSupported,
    /// Reply 08.
    #[error("it takes no host names (SOCKS reply 08)")]
    AddressNotSupported,
    /// Another reply, as Tor's extended ones (F0 to F7) are.
    #[error("reason unknown (another SOCKS reply)")]
    Unknown,
}

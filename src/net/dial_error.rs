//! Why streams to servers can't be opened.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

#[cfg(feature = "embedded-tor")]
use super::embedded_tor::EmbeddedTorError;
use super::proxy::Proxy;
use super::tls::TlsError;

/// Why no stream to a server could be opened.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nothing listens where the proxy should be.
    #[error("no proxy at {proxy}: nothing listens there")]
    ProxyUnreachable {
        /// What was tried.
        proxy: Proxy,
    },
    /// This machine has no socket left, whoever is to be reached: too many files are open, or memory is short.
    #[error("this machine can't open another connection: {0}")]
    NoSocket(String),
    /// What listens at the second place where a Tor may be is none. Nobody named it, so it is told nothing.
    #[error("no Tor at {proxy}: something else listens there")]
    ProxyNotTor {
        /// Where.
        proxy: SocketAddr,
    },
    /// The proxy goes on without credentials, so that it can't tell one stream from another.
    #[error("proxy takes no credentials, so it does not isolate streams")]
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
    /// The Tor within the program has no stream for us.
    #[cfg(feature = "embedded-tor")]
    #[error(transparent)]
    Tor(#[from] EmbeddedTorError),
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
        #[cfg(feature = "embedded-tor")]
        if let Self::Tor(error) = self {
            return error.is_its_own();
        }
        matches!(
            self,
            Self::ProxyUnreachable { .. }
                | Self::NoSocket(_)
                | Self::ProxyNotTor { .. }
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
            | Self::ProxyNotTor { .. }
            | Self::ProxyDoesNotIsolate
            | Self::ProxyRefusedCredentials
            | Self::ProxyNotSocks
            | Self::OnionNeedsProxy
            | Self::NoEntropy => true,
            #[cfg(feature = "embedded-tor")]
            Self::Tor(error) => error.is_permanent(),
            Self::Tls(error) => error.is_permanent(),
            Self::NoSocket(_)
            | Self::ProxyFailed(_)
            | Self::ProxyRefused(_)
            | Self::ClosedPort
            | Self::UnknownHost
            | Self::Io(_)
            | Self::TimedOut { .. } => false,
        }
    }

    /// Reads a failure to connect as this machine's own, if it is one: nobody else is to be blamed then.
    pub(super) fn shortage(error: &io::Error) -> Option<Self> {
        /// `ENFILE` and `EMFILE`, of the system and of the process: the same on every Unix, and no kind of Rust's.
        const TOO_MANY_FILES: [i32; 2] = [23, 24];
        let number = error.raw_os_error();
        let files = number.is_some_and(|number| TOO_MANY_FILES.contains(&number));
        (files || error.kind() == io::ErrorKind::OutOfMemory).then(|| Self::NoSocket(error.to_string()))
    }

    /// Reads a failure to connect to a server without a proxy.
    pub(super) fn without_proxy(error: &io::Error) -> Self {
        Self::shortage(error).unwrap_or_else(|| match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::ClosedPort,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::UnknownHost,
            kind => Self::Io(kind),
        })
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
    /// Replies F0 to F7, which Tor gives where its port has the flag `ExtendedErrors`.
    #[error("{0} (SOCKS reply {code:02X})", code = .0.code())]
    OfOnionService(OnionRefusal),
    /// Another reply.
    #[error("reason unknown (another SOCKS reply)")]
    Unknown,
}

/// Why Tor can't connect to an onion service. Source: Tor, socks-extensions, and proposal 304.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnionRefusal {
    /// Reply F0.
    #[error("the onion service's descriptor is not found: it is not there, or was never")]
    NotFound,
    /// Reply F1.
    #[error("the onion service's descriptor is invalid")]
    Invalid,
    /// Reply F2.
    #[error("the introduction to the onion service failed")]
    IntroductionFailed,
    /// Reply F3.
    #[error("the rendezvous with the onion service failed")]
    RendezvousFailed,
    /// Reply F4.
    #[error("the onion service wants a client's key, and Tor has none for it")]
    KeyMissing,
    /// Reply F5.
    #[error("the onion service refuses the client's key that Tor has for it")]
    KeyRefused,
    /// Reply F6.
    #[error("the address is none of an onion service")]
    BadAddress,
    /// Reply F7.
    #[error("the introduction to the onion service took too long")]
    IntroductionTimedOut,
}

impl OnionRefusal {
    /// All of them, in the order of their codes.
    const ALL: [Self; 8] = [
        Self::NotFound,
        Self::Invalid,
        Self::IntroductionFailed,
        Self::RendezvousFailed,
        Self::KeyMissing,
        Self::KeyRefused,
        Self::BadAddress,
        Self::IntroductionTimedOut,
    ];

    /// The code of the first.
    const FIRST: u8 = 0xf0;

    /// Returns what a code of SOCKS5 means; `None` for one that is none of these.
    pub fn of_code(code: u8) -> Option<Self> {
        let at = code.checked_sub(Self::FIRST)?;
        Self::ALL.get(usize::from(at)).copied()
    }

    /// Returns its code.
    pub fn code(self) -> u8 {
        let codes = (Self::FIRST..).zip(Self::ALL);
        codes
            .filter(|(_, it)| *it == self)
            .map(|(code, _)| code)
            .next()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_nobody_elses_fault() {
        for number in [23, 24] {
            let error = DialError::without_proxy(&io::Error::from_raw_os_error(number));
            assert!(matches!(error, DialError::NoSocket(_)), "{error}");
            assert!(error.to_string().contains(&format!("os error {number}")), "{error}");
            assert!(error.is_proxys() && !error.is_permanent());
        }
        let reset = io::ErrorKind::ConnectionReset;
        for (kind, expected) in [
            (io::ErrorKind::ConnectionRefused, DialError::ClosedPort),
            (io::ErrorKind::HostUnreachable, DialError::UnknownHost),
            (reset, DialError::Io(reset)),
        ] {
            assert_eq!(DialError::without_proxy(&kind.into()), expected);
        }
    }
}

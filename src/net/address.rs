//! Addresses of Electrum servers.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::onion;

/// Longest host name, in bytes. Source: RFC 1035, 2.3.4.
const MAX_NAME: usize = 253;

/// Longest label of a host name, in bytes. Source: RFC 1035, 2.3.4.
const MAX_LABEL: usize = 63;

/// Who is dialled: a name or a literal address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A host name in lower case, 1 to 253 bytes of letters, digits, `-`, `_` and dots. One below `.onion` is that of an
    /// onion service of version 3, whose checksum fits.
    Name(String),
    /// A literal address.
    Ip(IpAddr),
}

impl Host {
    /// Says whether it is an onion service's name, which authenticates itself.
    pub fn is_onion(&self) -> bool {
        matches!(self, Self::Name(name) if name.rsplit('.').next() == Some("onion"))
    }

    /// Says whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Self::Ip(ip) => ip.is_loopback(),
        }
    }
}

impl FromStr for Host {
    type Err = AddressError;

    fn from_str(word: &str) -> Result<Self, AddressError> {
        if let Some(inner) = word.strip_prefix('[') {
            let literal = inner.strip_suffix(']').ok_or(AddressError::InvalidHost)?;
            let ip: Ipv6Addr = literal.parse().map_err(|_| AddressError::InvalidHost)?;
            return Ok(Self::Ip(ip.into()));
        }
        if word.contains(':') {
            return Err(AddressError::BareIpv6);
        }
        if let Ok(ip) = word.parse() {
            return Ok(Self::Ip(ip));
        }
        let name = word.strip_suffix('.').unwrap_or(word).to_ascii_lowercase();
        let label_is_valid = |label: &str| {
            (1..=MAX_LABEL).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        // A last label of digits only is a mistyped IPv4 address, never a name; RFC 1123, 2.1.
        let numeric = name
            .rsplit('.')
            .next()
            .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
        if name.len() > MAX_NAME || numeric || !name.split('.').all(label_is_valid) {
            return Err(AddressError::InvalidHost);
        }
        let host = Self::Name(name);
        match &host {
            Self::Name(name) if host.is_onion() && !onion::is_service(name) => Err(AddressError::InvalidOnion),
            _ => Ok(host),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// How bytes travel to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Plain TCP, written `t`.
    Tcp,
    /// TLS, written `s`.
    #[default]
    Tls,
}

impl Transport {
    /// Reads the letter or the word that stands for it.
    fn named(word: &str) -> Result<Self, AddressError> {
        match word.to_ascii_lowercase().as_str() {
            "t" | "tcp" => Ok(Self::Tcp),
            "s" | "ssl" | "tls" => Ok(Self::Tls),
            _ => Err(AddressError::UnknownTransport),
        }
    }
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Says whether it is a host and a port already, so that what follows can only be something else.
fn has_port(word: &str) -> bool {
    word.rsplit_once(':').is_some_and(|(host, port)| {
        is_number(port) && matches!(host.parse::<Host>(), Ok(_) | Err(AddressError::InvalidOnion))
    })
}

/// Where an Electrum server listens: `HOST:PORT`, `HOST:PORT:t` or `HOST:PORT:s` (TLS, also when left out).
///
/// `tcp://HOST:PORT` and `ssl://HOST:PORT` are understood as well, and the words `tcp`, `ssl` and `tls` for the letters. IPv6
/// addresses stand in brackets. Host names are compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerAddr {
    /// Who.
    pub host: Host,
    /// Which port, not 0.
    pub port: u16,
    /// How.
    pub transport: Transport,
}

impl ServerAddr {
    /// Says whether it is an onion service.
    pub fn is_onion(&self) -> bool {
        self.host.is_onion()
    }
}

/// Why a text is no server address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// No port.
    #[error("server address needs a port: expected HOST:PORT, HOST:PORT:t or HOST:PORT:s")]
    MissingPort,
    /// The port is none.
    #[error("invalid port in server address: expected 1 to 65535")]
    InvalidPort,
    /// The host is none.
    #[error("invalid host in server address: expected a host name, an IPv4 address or an IPv6 address in brackets")]
    InvalidHost,
    /// A name below `.onion` that is none of an onion service.
    #[error(
        "invalid onion service in server address: expected 56 characters before .onion whose checksum fits; is one mistyped?"
    )]
    InvalidOnion,
    /// An IPv6 address without brackets, which can't be told from its port.
    #[error("an IPv6 address in a server address must stand in brackets, as in [::1]:50001:t")]
    BareIpv6,
    /// What says how to get there is none of what is known.
    #[error("a server is reached by TCP or TLS: expected HOST:PORT:t, HOST:PORT:s, tcp://HOST:PORT or ssl://HOST:PORT")]
    UnknownTransport,
    /// Two ways to get there.
    #[error("a server address says once whether it is TCP or TLS: before it (ssl://) or behind it (:s)")]
    TwoTransports,
    /// A user name, a password or a path.
    #[error("a server address has no user name, no password and no path")]
    Surplus,
}

impl FromStr for ServerAddr {
    type Err = AddressError;

    fn from_str(word: &str) -> Result<Self, AddressError> {
        let (scheme, word) = match word.split_once("://") {
            Some((scheme, rest)) => (Some(Transport::named(scheme)?), rest.strip_suffix('/').unwrap_or(rest)),
            None => (None, word),
        };
        if word.contains(['@', '/']) {
            return Err(AddressError::Surplus);
        }
        let (rest, letter) = match word.rsplit_once(':') {
            Some((rest, end)) if has_port(rest) && !is_number(end) => (rest, Some(Transport::named(end)?)),
            Some((rest, end)) if Transport::named(end).is_ok() => (rest, Some(Transport::named(end)?)),
            _ => (word, None),
        };
        if scheme.is_some() && letter.is_some() {
            return Err(AddressError::TwoTransports);
        }
        let transport = scheme.or(letter).unwrap_or_default();
        let (host, port) = rest.rsplit_once(':').ok_or(AddressError::MissingPort)?;
        if host.starts_with('[') && !host.ends_with(']') {
            return Err(AddressError::MissingPort);
        }
        let host = host.parse()?;
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AddressError::InvalidPort);
        }
        match port.parse() {
            Ok(0) | Err(_) => Err(AddressError::InvalidPort),
            Ok(port) => Ok(Self { host, port, transport }),
        }
    }
}

impl fmt::Display for ServerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Tcp => 't',
            Transport::Tls => 's',
        };
        write!(f, "{}:{}:{transport}", self.host, self.port)
    }
}

/// Where a peer of Namecoin's peer-to-peer network listens: `HOST` or `HOST:PORT`, on the network's own port where none is
/// said. IPv6 addresses stand in brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddr {
    /// Who.
    pub host: Host,
    /// Which port, not 0; `None` for the network's own.
    pub port: Option<u16>,
}

/// Why a text is no address of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected HOST or HOST:PORT, with an IPv6 address in brackets")]
pub struct PeerAddrError;

impl PeerAddr {
    /// Returns how it is dialed, where the network's own port is this one.
    pub fn target(&self, port: u16) -> ServerAddr {
        ServerAddr {
            host: self.host.clone(),
            port: self.port.unwrap_or(port),
            transport: Transport::Tcp,
        }
    }
}

impl FromStr for PeerAddr {
    type Err = PeerAddrError;

    fn from_str(word: &str) -> Result<Self, PeerAddrError> {
        if let Ok(host) = word.parse() {
            return Ok(Self { host, port: None });
        }
        let (host, port) = word.rsplit_once(':').ok_or(PeerAddrError)?;
        // An IPv6 address without brackets can't be told from its port.
        let host = (!host.contains(':') || host.starts_with('['))
            .then(|| host.parse().ok())
            .flatten();
        let port = port.parse().ok().filter(|number| *number != 0 && is_number(port));
        match (host, port) {
            (Some(host), Some(port)) => Ok(Self { host, port: Some(port) }),
            _ => Err(PeerAddrError),
        }
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => self.host.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn peers_are_named_with_or_without_a_port() {
        for text in [
            "nmc.example",
            "nmc.example:8334",
            "192.0.2.1",
            "192.0.2.1:1",
            "[2001:db8::1]",
            "[2001:db8::1]:65535",
        ] {
            assert_eq!(text.parse::<PeerAddr>().unwrap().to_string(), text);
        }
        let peer: PeerAddr = "Nmc.Example".parse().unwrap();
        assert_eq!(peer.target(8334).to_string(), "nmc.example:8334:t");
        for text in [
            "",
            ":1",
            "nmc.example:",
            "nmc.example:0",
            "nmc.example:65536",
            "nmc.example:+1",
            "a:b:1",
            "nmc.example:1:t",
        ] {
            assert_eq!(text.parse::<PeerAddr>(), Err(PeerAddrError), "{text}");
        }
    }

    #[test]
    fn addresses_parse_and_show_back() {
        for (word, shown) in [
            ("example.org:50002", "example.org:50002:s"),
            ("Example.ORG.:50002:s", "example.org:50002:s"),
            ("example.org:50001:t", "example.org:50001:t"),
            ("127.0.0.1:50001:t", "127.0.0.1:50001:t"),
            ("[::1]:50001:t", "[::1]:50001:t"),
            ("localhost:1", "localhost:1:s"),
            ("a_b.example:65535", "a_b.example:65535:s"),
            ("ssl://example.org:50002", "example.org:50002:s"),
            ("TLS://example.org:50002/", "example.org:50002:s"),
            ("tcp://[::1]:50001", "[::1]:50001:t"),
            ("example.org:50001:T", "example.org:50001:t"),
            ("example.org:50001:tcp", "example.org:50001:t"),
            ("example.org:50002:ssl", "example.org:50002:s"),
        ] {
            let address: ServerAddr = word.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        use AddressError::{
            BareIpv6, InvalidHost, InvalidOnion, InvalidPort, MissingPort, Surplus, TwoTransports, UnknownTransport,
        };
        let long = format!("{}:1", "a".repeat(64));
        let longer = format!("{}a:1", "a.".repeat(127));
        for (word, error) in [
            ("example.org", MissingPort),
            ("example.org:50002:x", UnknownTransport),
            ("[::1]:50002:x", UnknownTransport),
            ("example.org:50002:", UnknownTransport),
            ("wss://example.org:50004", UnknownTransport),
            ("ssl://example.org:50002:s", TwoTransports),
            ("u:p@example.org:50002", Surplus),
            ("ssl://u:p@example.org:50002", Surplus),
            ("tcp://example.org:50001/x", Surplus),
            ("ssl://example.org", MissingPort),
            ("[::1]", MissingPort),
            ("example.org:t", MissingPort),
            ("example.org:0", InvalidPort),
            ("example.org:65536", InvalidPort),
            ("example.org:+1", InvalidPort),
            ("example.org:", InvalidPort),
            (":50001", InvalidHost),
            ("exa mple.org:1", InvalidHost),
            ("b\u{fc}cher.example:1", InvalidHost),
            ("-a.example:1", InvalidHost),
            ("a..b:1", InvalidHost),
            ("1.2.3.256:1", InvalidHost),
            ("[1.2.3.4]:1", InvalidHost),
            ("::1:50001:t", BareIpv6),
            (
                "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscrye.onion:1",
                InvalidOnion,
            ),
            (
                "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscry.onion:1:t",
                InvalidOnion,
            ),
            ("expyuzz4wqqyqhjn.onion:50001:x", UnknownTransport),
            ("x.expyuzz4wqqyqhjn.onion.:50001:s", InvalidOnion),
            ("onion:1", InvalidOnion),
            (".onion:1", InvalidHost),
            (long.as_str(), InvalidHost),
            (longer.as_str(), InvalidHost),
        ] {
            assert_eq!(word.parse::<ServerAddr>(), Err(error), "{word}");
        }
    }

    #[test]
    fn onions_and_loopback_are_recognised() {
        let onion = "WWW.pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryD.onion.:1";
        assert!(onion.parse::<ServerAddr>().unwrap().is_onion());
        assert!(!"onion.example:1".parse::<ServerAddr>().unwrap().is_onion());
        for (host, loopback) in [
            ("localhost", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("8.8.8.8", false),
        ] {
            assert_eq!(host.parse::<Host>().unwrap().is_loopback(), loopback);
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused_and_what_parses_shows_back(word in ".{0,80}") {
            if let Ok(address) = word.parse::<ServerAddr>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }
}

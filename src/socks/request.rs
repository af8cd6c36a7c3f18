//! What an application asks for, whichever protocol it speaks.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use tor_socksproto::{SocksAddr, SocksAuth, SocksCmd, SocksRequest, SocksVersion};

use crate::naming::name_resolver::NameResolver;
use crate::naming::target::Target;

/// Longest host name in bytes. Source: RFC 1928, whose length is one byte.
const MAX_NAME: usize = 255;

/// Longest user name or password in bytes. Source: RFC 1929, whose lengths are one byte.
pub const MAX_CREDENTIAL: usize = 255;

/// What stands between the two parts of the password that Tor makes of an HTTP client's headers. Source: Tor, as seen in
/// its STREAM events.
const SEPARATOR: &[u8] = b"\x01\xff\x01\xff";

/// The protocol that an application speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// SOCKS4, in its version 4a where it names a host.
    Socks4,
    /// SOCKS5.
    Socks5,
    /// The method CONNECT of HTTP.
    Http,
}

/// What an application wants. Other commands are refused by the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyCommand {
    /// A connection.
    Connect,
    /// The address of a host. Source: Tor, socks-extensions.
    Resolve,
    /// The host of an address. Source: Tor, socks-extensions.
    ResolvePtr,
}

/// The host that an application wants to reach.
#[derive(Clone, PartialEq, Eq)]
pub enum ProxyHost {
    /// A host by its name, in the case and with the final dot that it came with.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl ProxyHost {
    /// Takes a name; `None` for anything but letters, digits, `-`, `_` and `.`, or an IPv6 address with or without
    /// brackets.
    ///
    /// Tor refuses the rest too, but for names in brackets. It is refused here so that nothing depends on how a proxy
    /// reads a name like `a.bit/` or `[a.bit]`.
    pub fn name(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let is_address = bare.unwrap_or(text).parse::<Ipv6Addr>().is_ok();
        let fits = (1..=MAX_NAME).contains(&text.len()) && (text.bytes().all(is_plain) || is_address);
        fits.then(|| Self::Name(text.to_owned()))
    }

    /// Returns the name, if it is one that is resolved here.
    pub fn handled(&self) -> Option<&str> {
        match self {
            Self::Name(name) if NameResolver::handles(name) => Some(name),
            Self::Name(_) | Self::Address(_) => None,
        }
    }
}

impl From<Target> for ProxyHost {
    fn from(target: Target) -> Self {
        match target {
            Target::Address(address) => Self::Address(address),
            Target::Onion(name) => Self::Name(name.as_str().to_owned()),
            Target::Host(name) => Self::Name(name),
        }
    }
}

impl fmt::Display for ProxyHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Says what it is, but not which.
impl fmt::Debug for ProxyHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name(_) => "Name(..)",
            Self::Address(_) => "Address(..)",
        })
    }
}

/// What an application calls itself. Tor checks no password; it keeps streams with different ones apart.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxyCredentials {
    /// The user name, or SOCKS4's user ID.
    pub user: Vec<u8>,
    /// The password; SOCKS4 has none.
    pub password: Vec<u8>,
}

impl fmt::Debug for ProxyCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyCredentials(..)")
    }
}

/// The headers of an HTTP client by which Tor's `HTTPTunnelPort` keeps streams apart.
#[derive(Clone, Copy, Default)]
pub struct IsolationHeaders<'a> {
    /// `Proxy-Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// `Tor-Stream-Isolation`.
    pub tor: Option<&'a [u8]>,
    /// `X-Tor-Stream-Isolation`.
    pub x_tor: Option<&'a [u8]>,
}

impl IsolationHeaders<'_> {
    /// Returns the user and password that Tor makes of them, as its STREAM events show them: values are not decoded.
    pub fn credentials(&self) -> Option<ProxyCredentials> {
        let (tor, x_tor) = (self.tor, self.x_tor);
        let said = tor.is_some() || x_tor.is_some();
        let password = said.then(|| [tor.unwrap_or_default(), SEPARATOR, x_tor.unwrap_or_default()].concat());
        (said || self.authorization.is_some()).then(|| ProxyCredentials {
            user: self.authorization.unwrap_or_default().to_vec(),
            password: password.unwrap_or_default(),
        })
    }
}

/// What an application asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyRequest {
    /// The application's protocol.
    pub protocol: ProxyProtocol,
    /// What the application wants.
    pub command: ProxyCommand,
    /// The host that it wants to reach.
    pub host: ProxyHost,
    /// The port there; no connection is asked for to port 0.
    pub port: u16,
    /// What it calls itself; `None` where it gave nothing.
    pub credentials: Option<ProxyCredentials>,
}

impl ProxyRequest {
    /// Converts a SOCKS client's request; `None` for a host that Tor would not take either.
    pub fn of_socks(asked: &SocksRequest) -> Option<Self> {
        let command = match asked.command() {
            SocksCmd::CONNECT => ProxyCommand::Connect,
            SocksCmd::RESOLVE => ProxyCommand::Resolve,
            SocksCmd::RESOLVE_PTR => ProxyCommand::ResolvePtr,
            _ => return None,
        };
        let credentials = match asked.auth() {
            SocksAuth::Socks4(user) => Some(ProxyCredentials {
                user: user.clone(),
                password: Vec::new(),
            }),
            SocksAuth::Username(user, password) => Some(ProxyCredentials {
                user: user.clone(),
                password: password.clone(),
            }),
            _ => None,
        };
        Some(Self {
            protocol: match asked.version() {
                SocksVersion::V4 => ProxyProtocol::Socks4,
                _ => ProxyProtocol::Socks5,
            },
            command,
            host: match asked.addr() {
                SocksAddr::Hostname(name) => ProxyHost::name(name.as_ref())?,
                SocksAddr::Ip(address) => ProxyHost::Address(*address),
            },
            port: asked.port(),
            credentials,
        })
    }

    /// Reads an HTTP client's target, `HOST:PORT`; `None` when it is none.
    pub fn of_http(target: &str, headers: &IsolationHeaders<'_>) -> Option<Self> {
        let (host, port) = target.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match address {
            Some(address) => ProxyHost::Address(IpAddr::V6(address.parse().ok()?)),
            None => host
                .parse()
                .map(ProxyHost::Address)
                .ok()
                .or_else(|| ProxyHost::name(host))?,
        };
        Some(Self {
            protocol: ProxyProtocol::Http,
            command: ProxyCommand::Connect,
            host,
            port,
            credentials: headers.credentials(),
        })
    }

    /// Returns the request to Tor, for a host that may be another than the one that was asked for; `None` when it cannot be
    /// asked.
    ///
    /// No name of ours passes here, whatever went before. SOCKS4 stays SOCKS4, as an application's protocol is among the
    /// things that Tor can keep streams apart by; HTTP becomes SOCKS5, which has room for what those clients say.
    pub fn onward(&self, host: &ProxyHost, credentials: Option<&ProxyCredentials>) -> Option<SocksRequest> {
        if host.handled().is_some() {
            return None;
        }
        let address = match host {
            ProxyHost::Name(name) => SocksAddr::Hostname(name.clone().try_into().ok()?),
            ProxyHost::Address(address) => SocksAddr::Ip(*address),
        };
        let command = match self.command {
            ProxyCommand::Connect => SocksCmd::CONNECT,
            ProxyCommand::Resolve => SocksCmd::RESOLVE,
            ProxyCommand::ResolvePtr => SocksCmd::RESOLVE_PTR,
        };
        let (version, auth) = match (self.protocol, credentials) {
            (ProxyProtocol::Socks4, None) => (SocksVersion::V4, SocksAuth::NoAuth),
            (ProxyProtocol::Socks4, Some(who)) => (SocksVersion::V4, SocksAuth::Socks4(who.user.clone())),
            (ProxyProtocol::Socks5 | ProxyProtocol::Http, None) => (SocksVersion::V5, SocksAuth::NoAuth),
            (ProxyProtocol::Socks5 | ProxyProtocol::Http, Some(who)) => {
                let auth = SocksAuth::Username(who.user.clone(), who.password.clone());
                (SocksVersion::V5, auth)
            }
        };
        SocksRequest::new(version, command, address, self.port, auth).ok()
    }
}

/// Hides who asks and for what.
impl fmt::Debug for ProxyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyRequest")
            .field("protocol", &self.protocol)
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_they_come() {
        for text in [
            "a",
            "Example.COM.",
            "a_b.example",
            "foo.bit",
            "a..b",
            ".a",
            "1.2.3.4",
            "::1",
            "[::1]",
            "-a",
        ] {
            assert!(
                matches!(ProxyHost::name(text), Some(ProxyHost::Name(name)) if name == text),
                "{text}"
            );
        }
        for text in [
            "",
            "a b",
            "foo.bit ",
            "a/b",
            "foo.bit/",
            "foo.bit:80",
            "a\"b",
            "é.example",
            "foo。bit",
            "a\0b",
            "a\nb",
            "[a]",
            "[a.bit]",
            "[::1",
            "%66oo.bit",
            "fe80::1%eth0",
            &"a".repeat(256),
        ] {
            assert_eq!(ProxyHost::name(text), None, "{text}");
        }
    }

    #[test]
    fn our_names_are_told_from_others() {
        for (text, handled) in [
            ("foo.bit", true),
            ("FOO.Bit.", true),
            ("foo.bit..", true),
            ("bit", true),
            ("foo.bit.onion", true),
            ("rabbit", false),
            ("foo.bit.example", false),
            ("::1", false),
        ] {
            assert_eq!(ProxyHost::name(text).unwrap().handled().is_some(), handled, "{text}");
        }
        assert_eq!(ProxyHost::Address(Ipv6Addr::LOCALHOST.into()).handled(), None);
    }

    fn http(target: &str) -> Option<(String, u16)> {
        let request = ProxyRequest::of_http(target, &IsolationHeaders::default())?;
        assert_eq!(
            (request.protocol, request.command),
            (ProxyProtocol::Http, ProxyCommand::Connect)
        );
        assert_eq!(request.credentials, None);
        Some((request.host.to_string(), request.port))
    }

    #[test]
    fn targets_of_http_are_read() {
        for (target, host, port) in [
            ("foo.bit:443", "foo.bit", 443),
            ("Example.COM.:1", "Example.COM.", 1),
            ("1.2.3.4:80", "1.2.3.4", 80),
            ("[2001:db8::1]:80", "2001:db8::1", 80),
        ] {
            assert_eq!(http(target), Some((host.to_owned(), port)), "{target}");
        }
        for target in [
            "",
            ":",
            "foo.bit",
            "foo.bit:",
            "foo.bit:0",
            "foo.bit:65536",
            "[::1]",
            "[foo.bit]:80",
            "a@b:80",
            "/:80",
        ] {
            assert_eq!(http(target), None, "{target}");
        }
    }

    /// As Tor's STREAM events show them.
    #[test]
    fn headers_become_what_tor_makes_of_them() {
        let made = |authorization, tor, x_tor| {
            let headers = IsolationHeaders {
                authorization,
                tor,
                x_tor,
            };
            let made = headers.credentials()?;
            Some((made.user, made.password))
        };
        let basic = &b"Basic YWxpY2U6b25l"[..];
        let pair = |user: &[u8], password: &[u8]| Some((user.to_vec(), password.to_vec()));
        assert_eq!(made(None, None, None), None);
        assert_eq!(made(Some(basic), None, None), pair(basic, b""));
        assert_eq!(made(None, None, Some(b"zed")), pair(b"", b"\x01\xff\x01\xffzed"));
        assert_eq!(made(None, Some(b"zed2"), None), pair(b"", b"zed2\x01\xff\x01\xff"));
        assert_eq!(
            made(Some(basic), Some(b"a"), Some(b"b")),
            pair(basic, b"a\x01\xff\x01\xffb")
        );
    }

    #[test]
    fn no_name_of_ours_is_asked_of_tor() {
        let mut request = ProxyRequest::of_http("foo.bit:443", &IsolationHeaders::default()).unwrap();
        for protocol in [ProxyProtocol::Socks4, ProxyProtocol::Socks5, ProxyProtocol::Http] {
            request.protocol = protocol;
            for name in ["foo.bit", "FOO.BIT.", "bit", "a.bit.onion"] {
                assert!(request.onward(&ProxyHost::Name(name.to_owned()), None).is_none());
            }
            assert!(
                request
                    .onward(&ProxyHost::Name("foo.example".to_owned()), None)
                    .is_some()
            );
        }
    }

    #[test]
    fn nothing_is_shown() {
        let headers = IsolationHeaders {
            authorization: Some(b"marker"),
            ..IsolationHeaders::default()
        };
        let request = ProxyRequest::of_http("marker.bit:1", &headers).unwrap();
        let shown = format!("{request:?} {:?} {:?}", request.host, request.credentials);
        assert!(!shown.contains("marker"), "{shown}");
    }
}

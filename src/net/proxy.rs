//! The way out: a SOCKS5 proxy, which should be Tor, a Tor within the program, or none.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

#[cfg(feature = "embedded-tor")]
use super::dial_error::DialError;
#[cfg(feature = "embedded-tor")]
use super::embedded_tor::EmbeddedTor;
use super::tor_standing::TorStanding;

/// Where Tor listens: the system service first, then the one of Tor Browser.
pub const TOR: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9050),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9150),
];

/// How servers are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Through the first SOCKS5 proxy of these that can be connected to. Never past them.
    Socks5(Vec<SocketAddr>),
    /// Through the Tor within the program.
    #[cfg(feature = "embedded-tor")]
    Embedded(EmbeddedTor),
    /// Without a proxy: every server learns our address, and all lookups can be linked. Only when asked for.
    Direct,
}

impl Proxy {
    /// Returns the default: Tor on this machine.
    pub fn tor() -> Self {
        Self::Socks5(TOR.to_vec())
    }

    /// Waits until streams can go out, where that takes its time at the beginning: until the Tor within the program is ready.
    ///
    /// # Errors
    ///
    /// [`DialError::Tor`] when it never will be, or is not after three minutes.
    #[cfg(feature = "embedded-tor")]
    pub async fn ready(&self) -> Result<(), DialError> {
        match self {
            Self::Embedded(tor) => Ok(tor.ready().await?),
            Self::Socks5(_) | Self::Direct => Ok(()),
        }
    }

    /// Returns how far the Tor within the program is, where that is the way out.
    pub fn tor_standing(&self) -> Option<TorStanding> {
        match self {
            #[cfg(feature = "embedded-tor")]
            Self::Embedded(tor) => Some(tor.standing().into()),
            Self::Socks5(_) | Self::Direct => None,
        }
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Self::tor()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            #[cfg(feature = "embedded-tor")]
            Self::Embedded(_) => f.write_str("embedded"),
            Self::Socks5(candidates) => {
                for (at, candidate) in candidates.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}socks5://{candidate}")?;
                }
                Ok(())
            }
        }
    }
}

/// Why a text names no proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// Another scheme, or none.
    #[error("proxy must be given as socks5://HOST:PORT")]
    WrongScheme,
    /// User name or password.
    #[error("proxy takes no user name or password: every connection makes up its own, to keep streams apart")]
    Credentials,
    /// The host is a name. It would have to be looked up past the proxy.
    #[error("proxy host must be an IP address or localhost, with a port from 1 to 65535")]
    InvalidAddress,
}

impl FromStr for Proxy {
    type Err = ProxyError;

    /// Parses `socks5://HOST:PORT`; `socks5h` means the same.
    fn from_str(word: &str) -> Result<Self, ProxyError> {
        let (scheme, rest) = word.split_once("://").ok_or(ProxyError::WrongScheme)?;
        if !["socks5", "socks5h"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
        {
            return Err(ProxyError::WrongScheme);
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(ProxyError::Credentials);
        }
        let address: SocketAddr = match rest.rsplit_once(':') {
            Some((host, port)) if host.eq_ignore_ascii_case("localhost") => {
                let port = port.parse().map_err(|_| ProxyError::InvalidAddress)?;
                SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
            }
            _ => rest.parse().map_err(|_| ProxyError::InvalidAddress)?,
        };
        if address.port() == 0 {
            return Err(ProxyError::InvalidAddress);
        }
        Ok(Self::Socks5(vec![address]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_parse_and_show_back() {
        for (word, shown) in [
            ("socks5://127.0.0.1:9050", "socks5://127.0.0.1:9050"),
            ("SOCKS5://localhost:9150/", "socks5://127.0.0.1:9150"),
            ("socks5h://[::1]:1080", "socks5://[::1]:1080"),
        ] {
            assert_eq!(word.parse::<Proxy>().unwrap().to_string(), shown);
        }
        assert_eq!(
            Proxy::default().to_string(),
            "socks5://127.0.0.1:9050, socks5://127.0.0.1:9150"
        );
    }

    #[test]
    fn other_proxies_are_refused_by_name() {
        for (word, error) in [
            ("127.0.0.1:9050", ProxyError::WrongScheme),
            ("http://127.0.0.1:9050", ProxyError::WrongScheme),
            ("socks5://me:secret@127.0.0.1:9050", ProxyError::Credentials),
            ("socks5://tor.example:9050", ProxyError::InvalidAddress),
            ("socks5://127.0.0.1", ProxyError::InvalidAddress),
            ("socks5://127.0.0.1:0", ProxyError::InvalidAddress),
        ] {
            assert_eq!(word.parse::<Proxy>(), Err(error), "{word}");
        }
    }
}

//! How a request went, in the words of each protocol.

use std::net::IpAddr;

use super::request::Protocol;
use crate::naming::target::Failure;

/// Tor's code for success.
pub const SUCCEEDED: u8 = 0;

/// Why a request is not carried out. The codes are those that Tor gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It went wrong here, or Tor is not there.
    #[error("the request could not be carried out")]
    General,
    /// The name stands for nothing that can be used.
    #[error("the name cannot be resolved")]
    NotThere,
    /// There was no answer in time.
    #[error("there was no answer in time")]
    Timeout,
    /// The command is none of those that Tor takes.
    #[error("the command is not supported")]
    Command,
    /// The address is of no kind that Tor takes.
    #[error("the kind of address is not supported")]
    AddressKind,
}

impl Refusal {
    /// Returns the code in SOCKS5. Source: RFC 1928 section 6.
    pub fn code(self) -> u8 {
        match self {
            Self::General => 1,
            Self::NotThere => 4,
            Self::Timeout => 6,
            Self::Command => 7,
            Self::AddressKind => 8,
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotRegistered | Failure::NoTarget | Failure::NotHandled | Failure::Invalid | Failure::Broken => {
                Self::NotThere
            }
            Failure::Timeout => Self::Timeout,
            Failure::Unavailable => Self::General,
        }
    }
}

/// SOCKS4's code for success.
const GRANTED: u8 = 0x5a;

/// SOCKS4's code for all that goes wrong.
const REJECTED: u8 = 0x5b;

/// Writes what a SOCKS client is told when its request is refused.
pub fn refused(protocol: Protocol, refusal: Refusal) -> Vec<u8> {
    match protocol {
        Protocol::Socks4 => vec![0, REJECTED, 0, 0, 0, 0, 0, 0],
        Protocol::Socks5 | Protocol::Http => vec![5, refusal.code(), 0, 1, 0, 0, 0, 0, 0, 0],
    }
}

/// Writes what a SOCKS client is told when it asked for an address. SOCKS4 has no room for those of IPv6.
pub fn resolved(protocol: Protocol, address: IpAddr) -> Vec<u8> {
    match (protocol, address) {
        (Protocol::Socks4, IpAddr::V4(address)) => {
            let mut bytes = vec![0, GRANTED, 0, 0];
            bytes.extend(address.octets());
            bytes
        }
        (Protocol::Socks4, IpAddr::V6(_)) => refused(protocol, Refusal::NotThere),
        (Protocol::Socks5 | Protocol::Http, address) => {
            let mut bytes = vec![5, SUCCEEDED, 0];
            match address {
                IpAddr::V4(address) => {
                    bytes.push(1);
                    bytes.extend(address.octets());
                }
                IpAddr::V6(address) => {
                    bytes.push(4);
                    bytes.extend(address.octets());
                }
            }
            bytes.extend([0, 0]);
            bytes
        }
    }
}

/// Returns the status and text that an HTTP client is given for a code of SOCKS5, close to those of Tor's
/// `HTTPTunnelPort`.
pub fn http(code: u8) -> (u16, &'static str) {
    match code {
        SUCCEEDED => (200, ""),
        2 => (403, "Tor's rules or those of all exits forbid it\n"),
        5 => (403, "the connection was refused\n"),
        6 => (504, "there was no answer in time\n"),
        3 | 4 => (503, "the name cannot be resolved, or there is no way to it\n"),
        0xf0..=0xf7 => (503, "the onion service cannot be reached\n"),
        _ => (503, "the request could not be carried out\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_the_codes_of_tor() {
        for (failure, code, status) in [
            (Failure::NotRegistered, 4, 503),
            (Failure::NoTarget, 4, 503),
            (Failure::NotHandled, 4, 503),
            (Failure::Invalid, 4, 503),
            (Failure::Broken, 4, 503),
            (Failure::Timeout, 6, 504),
            (Failure::Unavailable, 1, 503),
        ] {
            let refusal = Refusal::from(failure);
            assert_eq!((refusal.code(), http(refusal.code()).0), (code, status), "{failure}");
            assert_eq!(refused(Protocol::Socks4, refusal), [0, 0x5b, 0, 0, 0, 0, 0, 0]);
            assert_eq!(refused(Protocol::Socks5, refusal), [5, code, 0, 1, 0, 0, 0, 0, 0, 0]);
        }
    }

    #[test]
    fn addresses_are_written() {
        let (v4, v6) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert_eq!(resolved(Protocol::Socks5, v4), [5, 0, 0, 1, 192, 0, 2, 1, 0, 0]);
        assert_eq!(
            resolved(Protocol::Socks5, v6),
            [5, 0, 0, 4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]
        );
        assert_eq!(resolved(Protocol::Socks4, v4), [0, 0x5a, 0, 0, 192, 0, 2, 1]);
        assert_eq!(resolved(Protocol::Socks4, v6)[1], 0x5b);
    }
}

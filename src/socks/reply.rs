//! What applications are told of their requests, in the protocol of each.

use std::net::IpAddr;

use super::request::ProxyProtocol;
use crate::naming::target::Failure;

/// The code of SOCKS5 for success.
pub const SUCCEEDED: u8 = 0;

/// Why a request is not carried out. The codes are those that Tor gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Something failed here, or Tor can't be reached.
    #[error("the request could not be carried out")]
    General,
    /// Tor does not go there, or no exit does.
    #[error("Tor or all its exits forbid it")]
    Forbidden,
    /// The name stands for nothing that can be connected to.
    #[error("the name cannot be resolved")]
    HostUnreachable,
    /// Nothing listens there.
    #[error("the connection was refused")]
    Refused,
    /// The name was not looked up in time, or Tor did not reply in time.
    #[error("there was no answer in time")]
    Timeout,
    /// The command is none of those that Tor takes.
    #[error("the command is not supported")]
    CommandUnsupported,
    /// The address is of no kind that Tor takes.
    #[error("the kind of address is not supported")]
    AddressKindUnsupported,
}

impl RequestError {
    /// Returns the code in SOCKS5. Source: RFC 1928 section 6.
    pub fn code(self) -> u8 {
        match self {
            Self::General => 1,
            Self::Forbidden => 2,
            Self::HostUnreachable => 4,
            Self::Refused => 5,
            Self::Timeout => 6,
            Self::CommandUnsupported => 7,
            Self::AddressKindUnsupported => 8,
        }
    }
}

impl From<Failure> for RequestError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotRegistered | Failure::NoTarget | Failure::NotHandled | Failure::Invalid | Failure::Broken => {
                Self::HostUnreachable
            }
            Failure::Timeout => Self::Timeout,
            Failure::Unavailable => Self::General,
        }
    }
}

/// SOCKS4's code for success.
const GRANTED: u8 = 0x5a;

/// SOCKS4's only code for failures.
const REJECTED: u8 = 0x5b;

/// Returns the reply to a SOCKS client whose request is refused.
pub fn refused(protocol: ProxyProtocol, error: RequestError) -> Vec<u8> {
    match protocol {
        ProxyProtocol::Socks4 => vec![0, REJECTED, 0, 0, 0, 0, 0, 0],
        ProxyProtocol::Socks5 | ProxyProtocol::Http => vec![5, error.code(), 0, 1, 0, 0, 0, 0, 0, 0],
    }
}

/// Returns the reply to a SOCKS client that asked for an address. SOCKS4 has no room for those of IPv6.
pub fn resolved(protocol: ProxyProtocol, address: IpAddr) -> Vec<u8> {
    match (protocol, address) {
        (ProxyProtocol::Socks4, IpAddr::V4(address)) => {
            let mut bytes = vec![0, GRANTED, 0, 0];
            bytes.extend(address.octets());
            bytes
        }
        (ProxyProtocol::Socks4, IpAddr::V6(_)) => refused(protocol, RequestError::HostUnreachable),
        (ProxyProtocol::Socks5 | ProxyProtocol::Http, address) => {
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

/// Returns the reply to a SOCKS5 client that asked for the host of an address; there is none that the others could read.
pub fn resolved_host(protocol: ProxyProtocol, host: &str) -> Vec<u8> {
    let length = u8::try_from(host.len());
    let (ProxyProtocol::Socks5, Ok(length)) = (protocol, length) else {
        return refused(protocol, RequestError::HostUnreachable);
    };
    let mut bytes = vec![5, SUCCEEDED, 0, 3, length];
    bytes.extend(host.as_bytes());
    bytes.extend([0, 0]);
    bytes
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
        0xf6 => (503, "the address of the onion service is invalid\n"),
        0xf4 | 0xf5 => (
            503,
            "the onion service wants its clients to have a key, which Tor was not given\n",
        ),
        0xf0..=0xf3 | 0xf7 => (503, "the onion service cannot be reached\n"),
        _ => (503, "the request could not be carried out\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::dial_error::OnionRefusal;

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
            let error = RequestError::from(failure);
            assert_eq!((error.code(), http(error.code()).0), (code, status), "{failure}");
            assert_eq!(refused(ProxyProtocol::Socks4, error), [0, 0x5b, 0, 0, 0, 0, 0, 0]);
            assert_eq!(refused(ProxyProtocol::Socks5, error), [5, code, 0, 1, 0, 0, 0, 0, 0, 0]);
        }
    }

    #[test]
    fn extended_codes_are_named() {
        for code in 0xf0..=0xf7 {
            let refusal = OnionRefusal::of_code(code).unwrap();
            assert_eq!(refusal.code(), code, "{refusal}");
            assert_eq!(http(code).0, 503, "{code:x}");
        }
        for code in [0, 1, 8, 0xef, 0xf8, 0xff] {
            assert_eq!(OnionRefusal::of_code(code), None, "{code:x}");
        }
    }

    #[test]
    fn addresses_are_written() {
        let (v4, v6) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert_eq!(resolved(ProxyProtocol::Socks5, v4), [5, 0, 0, 1, 192, 0, 2, 1, 0, 0]);
        assert_eq!(
            resolved(ProxyProtocol::Socks5, v6),
            [5, 0, 0, 4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]
        );
        assert_eq!(resolved(ProxyProtocol::Socks4, v4), [0, 0x5a, 0, 0, 192, 0, 2, 1]);
        assert_eq!(resolved(ProxyProtocol::Socks4, v6)[1], 0x5b);
        assert_eq!(resolved_host(ProxyProtocol::Socks5, "a.b"), b"\x05\0\0\x03\x03a.b\0\0");
        assert_eq!(resolved_host(ProxyProtocol::Socks4, "a.b")[1], 0x5b);
        assert_eq!(resolved_host(ProxyProtocol::Socks5, &"a".repeat(256))[1], 4);
    }
}

//! Who may call: HTTP Basic authentication and the checks that keep web sites out.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bitcoin::hashes::{Hash, sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::jsonrpc::Credentials;

/// What an `Authorization` header is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let in.
    Allowed,
    /// There are none, or not of HTTP Basic: to be asked for.
    Missing,
    /// Guessed: to be refused slowly.
    Wrong,
}

/// Those who are let in. Of their secrets only hashes are kept.
#[derive(Clone)]
pub struct Guard(Vec<sha256::Hash>);

impl Guard {
    /// Lets these in; nobody when there are none.
    pub fn new<'a>(allowed: impl IntoIterator<Item = &'a Credentials>) -> Self {
        let digest = |credentials: &Credentials| sha256::Hash::hash(credentials.to_line().as_bytes());
        Self(allowed.into_iter().map(digest).collect())
    }

    /// Judges the value of an `Authorization` header. Takes the same time for all wrong secrets of a length: hashes
    /// are compared, in constant time.
    pub fn judge(&self, header: Option<&[u8]>) -> Verdict {
        let Some(encoded) = header.and_then(|header| header.strip_prefix(b"Basic ")) else {
            return Verdict::Missing;
        };
        let Ok(line) = STANDARD.decode(encoded.trim_ascii()).map(Zeroizing::new) else {
            return Verdict::Wrong;
        };
        let digest = sha256::Hash::hash(&line);
        let matches = self.0.iter().fold(subtle::Choice::from(0), |matches, allowed| {
            matches | allowed.as_byte_array().ct_eq(digest.as_byte_array())
        });
        if bool::from(matches) {
            Verdict::Allowed
        } else {
            Verdict::Wrong
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard(..)")
    }
}

/// Says whether a `Host` header (or the authority of a request's target) names us: an address of the loopback
/// interface, `localhost`, or the address that the connection came to. A web site whose name was made to resolve to our
/// address (DNS rebinding) is named by its own name there.
pub fn is_our_host(host: &str, local: IpAddr) -> bool {
    // A port follows an IPv6 address in brackets, or a name, which has no colon.
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some(split) => split,
            None => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    if !port.is_empty() && port.strip_prefix(':').is_none_or(|port| port.parse::<u16>().is_err()) {
        return false;
    }
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    name.parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback() || address.to_canonical() == local.to_canonical())
}

#[cfg(test)]
mod tests;

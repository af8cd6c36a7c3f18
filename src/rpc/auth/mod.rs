//! Who may call: HTTP Basic authentication and the checks that keep web sites out.

use std::fmt;

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

#[cfg(test)]
mod tests;

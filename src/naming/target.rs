//! What a name stands for, or why it stands for nothing.

use std::fmt;
use std::net::IpAddr;

use super::name::{folded, is_below, is_host_name};
use crate::net::onion::OnionName;

/// Where a stream can go: nothing else is ever handed to Tor.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// An onion service.
    Onion(OnionName),
    /// An address, which an exit connects to.
    Address(IpAddr),
    /// A host name, which an exit resolves.
    Host(String),
}

impl Target {
    /// Parses what a stranger says a name stands for; `None` when it is nothing to hand on, or itself a name that would
    /// have to be resolved here.
    ///
    /// Addresses are taken in the forms of RFC 4291 and dotted decimals, without brackets; `suffixes` are folded.
    pub fn parse<'a>(text: &str, mut suffixes: impl Iterator<Item = &'a str>) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address));
        }
        let name = folded(text);
        if name.rsplit('.').next() == Some("onion") {
            return OnionName::parse(&name).map(Self::Onion);
        }
        // A last label of digits alone is a misspelt address, and resolvers take some of those.
        let numeric = name.rsplit('.').next().is_some_and(|label| {
            let hex = label.strip_prefix("0x").unwrap_or(label);
            label.bytes().all(|byte| byte.is_ascii_digit()) || (hex.len() < label.len() && is_hex(hex))
        });
        let resolvable = suffixes.any(|suffix| is_below(&name, suffix));
        (is_host_name(&name) && !numeric && !resolvable).then_some(Self::Host(name))
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Onion(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
            Self::Host(name) => f.write_str(name),
        }
    }
}

/// Shows the kind of a target, and hides which one it is.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Onion(_) => "Onion(..)",
            Self::Address(_) => "Address(..)",
            Self::Host(_) => "Host(..)",
        })
    }
}

/// The kinds of targets that a caller can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// Whatever can be connected to.
    Any,
    /// An onion service and nothing else.
    Onion,
    /// An address, or a host to ask for one.
    Address,
}

impl TargetKind {
    /// Says whether a target is of use to the caller. A host may have an address; an onion service has none.
    pub fn takes(self, target: &Target) -> bool {
        match self {
            Self::Any => true,
            Self::Onion => matches!(target, Target::Onion(_)),
            Self::Address => !matches!(target, Target::Onion(_)),
        }
    }
}

/// Why a name stands for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Nobody has the name, or it has expired.
    #[error("the name is not registered")]
    NotRegistered,
    /// The name has a value, but no target in it, or none of the wanted kind.
    #[error("the name has nothing to connect to")]
    NoTarget,
    /// The name lies under no suffix that is resolved here.
    #[error("the name is no Namecoin domain")]
    NotHandled,
    /// The text is no domain name.
    #[error("the name is no valid domain name")]
    Invalid,
    /// The name's value can't be read, or its aliases lead nowhere.
    #[error("the name's value cannot be used")]
    Broken,
    /// The lookup took too long.
    #[error("there was no answer in time")]
    Timeout,
    /// The lookup failed, and trying again soon may help.
    #[error("the name cannot be looked up at the moment")]
    Unavailable,
}

impl Failure {
    /// Says whether the same question may soon have another answer.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Timeout | Self::Unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<String> {
        Target::parse(text, ["bit", "bit.onion"].into_iter()).map(|target| target.to_string())
    }

    #[test]
    fn targets_are_read() {
        let onion = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
        for (text, expected) in [
            ("1.2.3.4", "1.2.3.4"),
            ("::1", "::1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("www.Example.com", "www.example.com"),
            ("example.com.", "example.com"),
            ("rabbit", "rabbit"),
            (onion, onion),
        ] {
            assert_eq!(parse(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_must_not_reach_tor_is_no_target() {
        for text in [
            "",
            ".",
            "a.bit",
            "A.BIT.",
            "bit",
            "a.bit.onion",
            "x.onion",
            "[::1]",
            "1.2.3.4 80",
            "1.2.3.256",
            "1.2.3",
            "127.1",
            "0x7f.1",
            "a.0x7f",
            "2130706433",
            "a b",
            "a\r\nSIGNAL NEWNYM",
            "a.example\n",
            "fe80::1%eth0",
            "é.example",
            &"a".repeat(300),
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}

//! Names as people type them, and what they may have meant by what is none.
//!
//! A name that is not what its user meant is answered with absence, after a server was told it. So it is found out before.

use std::fmt;

use hickory_proto::rr::Name;

use crate::dns::zone;
use crate::dns::zones::Zones;

/// What stands before a name that holds a domain's value.
const DOMAIN: &str = "d/";

/// What is meant by a text that is hardly meant as a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// The same with its namespace in small letters.
    Namespace {
        /// The namespace.
        namespace: String,
        /// The whole name.
        name: String,
    },
    /// The name that holds a domain, in a namespace already.
    Holder(String),
    /// A domain in full.
    Domain {
        /// The domain.
        domain: String,
        /// The name that holds it.
        name: String,
    },
    /// A word without a namespace, of which a domain's name can be made.
    Word {
        /// The word.
        word: String,
        /// The name of that domain.
        name: String,
    },
    /// Nothing that is known.
    Nothing,
}

impl fmt::Display for Meant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace { namespace, name } => {
                write!(f, "that namespace is written `{namespace}/`, so the name is `{name}`")
            }
            Self::Holder(name) | Self::Domain { name, .. } => write!(f, "the name that holds that domain is `{name}`"),
            Self::Word { word, name } => write!(
                f,
                "names begin with a namespace, so that of a domain is `{name}`, of a person `id/{word}`"
            ),
            Self::Nothing => write!(f, "names begin with a namespace, such as `{DOMAIN}` for domains"),
        }
    }
}

/// Says what is meant by a text that is hardly meant as a name; `None` where it may well be one.
pub fn meant_name(text: &str, zones: &Zones) -> Option<Meant> {
    let bare = host(text);
    if let Some((namespace, rest)) = bare.split_once('/') {
        let lower = namespace.to_ascii_lowercase();
        if lower != "d" {
            let is_known = ["dd", "id", "idd"].contains(&lower.as_str());
            return (is_known && lower != namespace).then(|| Meant::Namespace {
                name: format!("{lower}/{rest}"),
                namespace: lower,
            });
        }
        let meant = name_of(rest).or_else(|| name_of_domain(rest, zones))?;
        return (meant != text).then_some(Meant::Holder(meant));
    }
    if bare.is_empty() {
        return None;
    }
    let domain = bare.to_owned();
    if let Some(name) = name_of_domain(bare, zones) {
        return Some(Meant::Domain { domain, name });
    }
    Some(match name_of(bare) {
        Some(name) => Meant::Word { word: domain, name },
        None => Meant::Nothing,
    })
}

/// Returns the part of a URL that names a host, or all of what is none.
pub fn host(text: &str) -> &str {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text;
    };
    if !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return text;
    }
    let end = rest.find(['/', '?', '#', ':']).unwrap_or(rest.len());
    rest.get(..end).unwrap_or(rest)
}

/// Reads a domain name, with letters of all scripts as they are written in DNS.
pub fn domain_name(text: &str) -> Option<Name> {
    let read = if text.is_ascii() {
        Name::from_ascii(text)
    } else {
        Name::from_utf8(text)
    };
    let mut name = read.ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// Returns the name that holds the domain with this label.
pub fn name_of(label: &str) -> Option<String> {
    let name = domain_name(label)?.to_lowercase();
    let mut labels = name.iter();
    let id = zone::name_id(labels.next()?)?;
    if labels.next().is_some() {
        return None;
    }
    std::str::from_utf8(id.as_bytes()).ok().map(str::to_owned)
}

/// Returns the name that holds a domain which is written in full.
pub fn name_of_domain(domain: &str, zones: &Zones) -> Option<String> {
    let name = domain_name(domain)?.to_lowercase();
    let id = zone::name_id(zones.find(&name)?.below().next()?)?;
    std::str::from_utf8(id.as_bytes()).ok().map(str::to_owned)
}

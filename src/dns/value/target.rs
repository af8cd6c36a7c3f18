//! Names in values: absolute, relative to the object's place, or to the apex.

use std::net::IpAddr;

use hickory_proto::rr::rdata::{MX, NS, SRV};
use hickory_proto::rr::{Name, RData};

use super::form::{number, rows, text, texts};
use super::{Json, Key, Reason, Report};

/// Longest label, in bytes. Source: RFC 1035 section 2.3.4.
const MAX_LABEL: usize = 63;

/// What names are relative to.
pub(in crate::dns) struct Place<'a> {
    /// The domain: what `@` stands for.
    pub(in crate::dns) apex: &'a Name,
    /// The name of the object above; at the top, the apex.
    pub(in crate::dns) base: &'a Name,
}

/// Says whether an item is a well-formed name, as far as its text tells. Only then it hides other items.
pub(in crate::dns) fn is_target(json: &Json) -> Result<(), Reason> {
    parse(text(json)?).map(|_| ())
}

/// Returns the names of an item that count from the object though they have several labels, as `ns1.example.com`: owners
/// who leave the final dot away seldom mean that. With the member that each stands in, where there is a list.
pub(in crate::dns) fn without_dot<'a>(key: Key, json: &'a Json) -> Vec<(Option<usize>, &'a str)> {
    let field = match key {
        Key::Srv => 3,
        Key::Mx => 1,
        _ => 0,
    };
    let name_of = |member: &'a Json| match member {
        Json::Text(text) if field == 0 => Some(text.as_str()),
        Json::List(fields) if field > 0 => fields.get(field).and_then(|json| text(json).ok()),
        _ => None,
    };
    let names: Vec<(Option<usize>, &str)> = match json {
        Json::List(members) => {
            let numbered = members.iter().enumerate();
            numbered
                .filter_map(|(at, member)| Some((Some(at), name_of(member)?)))
                .collect()
        }
        member => name_of(member).map(|name| (None, name)).into_iter().collect(),
    };
    let is_meant = |text: &str| matches!(parse(text), Ok((labels, From::Base)) if labels.contains('.'));
    names.into_iter().filter(|(_, text)| is_meant(text)).collect()
}

/// Reads a name: `alias` or `translate`. A host name once it is absolute.
pub(in crate::dns) fn target(json: &Json, place: &Place<'_>) -> Result<Name, Reason> {
    absolute(text(json)?, place)
}

/// Reads `ns`: NS records.
pub(in crate::dns) fn ns(json: &Json, place: &Place<'_>, report: &mut Report<'_>) -> Vec<RData> {
    texts(json, report, |text| Ok(RData::NS(NS(absolute(text, place)?))))
}

/// Reads `srv`: rows of priority, weight, port, target (RFC 2782).
pub(in crate::dns) fn srv(json: &Json, place: &Place<'_>, report: &mut Report<'_>) -> Vec<RData> {
    rows(json, report, |[priority, weight, port, host]| {
        Ok(RData::SRV(SRV::new(
            number(priority)?,
            number(weight)?,
            number(port)?,
            target(host, place)?,
        )))
    })
}

/// Reads `mx`: rows of preference, host.
pub(in crate::dns) fn mx(json: &Json, place: &Place<'_>, report: &mut Report<'_>) -> Vec<RData> {
    rows(json, report, |[preference, host]| {
        Ok(RData::MX(MX::new(number(preference)?, target(host, place)?)))
    })
}

/// Where a written name starts to be counted.
enum From {
    Root,
    Apex,
    Base,
}

/// Takes a written name apart; `None` when it is none. Lowercase labels with digits, underscores and inner hyphens.
fn split(text: &str) -> Option<(&str, From)> {
    let (labels, from) = match text.strip_suffix('@') {
        Some("") => ("", From::Apex),
        Some(labels) => (labels.strip_suffix('.')?, From::Apex),
        None => match text.strip_suffix('.') {
            Some(labels) => (labels, From::Root),
            None => (text, From::Base),
        },
    };
    let nothing = text.is_empty() || text == "@";
    (nothing || labels.split('.').all(is_label)).then_some((labels, from))
}

/// Says whether a text is a lowercase label, underscores allowed.
pub(super) fn is_label(label: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
    let bytes = label.as_bytes();
    bytes.len() <= MAX_LABEL
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes
            .iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

/// Takes a written name apart, which an IP address is not: every host of DNS has a name.
fn parse(text: &str) -> Result<(&str, From), Reason> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return Err(Reason::HostAddress);
    }
    split(text).ok_or(Reason::TargetSyntax)
}

/// Returns the absolute name, which must be a host's.
fn absolute(text: &str, place: &Place<'_>) -> Result<Name, Reason> {
    let (labels, from) = parse(text)?;
    let origin = match from {
        From::Root => &Name::root(),
        From::Apex => place.apex,
        From::Base => place.base,
    };
    let relative = labels.split('.').filter(|label| !label.is_empty());
    let name = Name::from_labels(relative.map(str::as_bytes)).and_then(|name| name.append_domain(origin));
    match name {
        Ok(name) if name.iter().all(is_host_label) => Ok(name),
        Ok(name) => Err(Reason::HostName { name: name.to_ascii() }),
        Err(_) => Err(Reason::HostName { name: text.to_owned() }),
    }
}

fn is_host_label(label: &[u8]) -> bool {
    std::str::from_utf8(label).is_ok_and(|label| is_label(label) && !label.contains('_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, Reason> {
        let apex = Name::from_ascii("example.bit.").unwrap();
        let base = Name::from_ascii("www.example.bit.").unwrap();
        let place = Place {
            apex: &apex,
            base: &base,
        };
        absolute(text, &place).map(|name| name.to_ascii())
    }

    #[test]
    fn names_count_from_the_root_the_apex_or_the_object_above() {
        for (text, expected) in [
            ("example.com.", "example.com."),
            ("com.", "com."),
            ("@", "example.bit."),
            ("a.b.@", "a.b.example.bit."),
            ("a", "a.www.example.bit."),
            ("a--b.c", "a--b.c.www.example.bit."),
            ("", "www.example.bit."),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn malformed_names_are_told_from_those_that_are_no_host() {
        for text in [
            ".", ".@", "@.", "a@", "a@.", "@.@", "a..b", ".a", "A", "-a", "a-", "a b", "*", "é", "a.*.b",
        ] {
            assert_eq!(read(text), Err(Reason::TargetSyntax), "{text}");
        }
        let long = vec!["a".repeat(63); 4].join(".");
        for text in ["192.0.2.1", "192.0.2.1.", "2001:db8::1", "::"] {
            assert_eq!(read(text), Err(Reason::HostAddress), "{text}");
        }
        for text in ["192.0.2", "192.0.2.256", "192.0.2.1.example.com."] {
            assert!(read(text).is_ok(), "{text}");
        }
        for text in ["_a", "_tcp.a.@", "a._b.c.", &format!("{long}."), &long] {
            assert!(matches!(read(text), Err(Reason::HostName { .. })), "{text}");
        }
        assert_eq!(read(&"a".repeat(64)), Err(Reason::TargetSyntax));
    }

    #[test]
    fn a_label_above_may_spoil_a_relative_name() {
        let apex = Name::from_ascii("example.bit.").unwrap();
        let base = Name::from_ascii("_tcp.example.bit.").unwrap();
        let place = Place {
            apex: &apex,
            base: &base,
        };
        let expected = "x._tcp.example.bit.".to_owned();
        assert_eq!(absolute("x", &place), Err(Reason::HostName { name: expected }));
        assert!(absolute("x.@", &place).is_ok());
    }
}

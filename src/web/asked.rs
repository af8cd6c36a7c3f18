//! What a user wants to see, by what was typed.

use hickory_proto::rr::Name;

use super::page::{self, Reply};
use crate::dns::zones::Zones;
use crate::name::NameId;
use crate::naming::typed::{Meant, domain_name, host, meant_name};

/// A name that is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The name.
    pub name: NameId,
    /// The domain whose records are shown: the one that was typed, or the name's own, where it holds one.
    pub domain: Option<Name>,
}

/// Why what was typed is not looked up: a server would be told of it, and say that it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistyped {
    /// Why.
    pub reason: String,
    /// What was meant, as it is typed.
    pub instead: Option<String>,
}

impl Mistyped {
    /// Returns the page that says so.
    pub fn page(&self, session: &str, typed: &str) -> Reply {
        page::mistyped(session, typed, &self.reason, self.instead.as_deref())
    }
}

/// Reads what was typed, as commands do: a name with its namespace, or a domain, also in an address of the web.
///
/// # Errors
///
/// [`Mistyped`].
pub fn read(typed: &str, zones: &Zones) -> Result<Asked, Mistyped> {
    let mistyped = |reason: String, instead| Err(Mistyped { reason, instead });
    if typed.is_empty() {
        return mistyped("Nothing was typed.".to_owned(), None);
    }
    match meant_name(typed, zones) {
        None => {}
        Some(Meant::Domain { name, domain }) => return of_domain(&name, &domain),
        Some(meant) => {
            let instead = match &meant {
                Meant::Namespace { name, .. } | Meant::Holder(name) | Meant::Word { name, .. } => Some(name.clone()),
                Meant::Domain { .. } | Meant::Nothing => None,
            };
            return mistyped(
                format!("Servers would be told of a name that is hardly meant: {meant}."),
                instead,
            );
        }
    }
    let Some(name) = NameId::new(typed.as_bytes()) else {
        let reason = format!("It has {} bytes; names have at most {}.", typed.len(), NameId::MAX_LEN);
        return mistyped(reason, None);
    };
    Ok(Asked {
        domain: zones.own_domain(&name),
        name,
    })
}

fn of_domain(name: &str, domain: &str) -> Result<Asked, Mistyped> {
    let id = NameId::new(name.as_bytes());
    let (Some(name), Some(domain)) = (id, domain_name(host(domain))) else {
        return Err(Mistyped {
            reason: "It is no domain name.".to_owned(),
            instead: None,
        });
    };
    Ok(Asked {
        name,
        domain: Some(domain.to_lowercase()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(typed: &str) -> Result<Asked, Mistyped> {
        read(typed, &Zones::default())
    }

    #[test]
    fn names_and_domains() {
        for (typed, name, domain) in [
            ("d/example", "d/example", Some("example.bit.")),
            ("example.bit", "d/example", Some("example.bit.")),
            ("WWW.Example.bit.", "d/example", Some("www.example.bit.")),
            ("https://example.bit:8443/x", "d/example", Some("example.bit.")),
            ("b\u{fc}cher.bit", "d/xn--bcher-kva", Some("xn--bcher-kva.bit.")),
            ("id/alice", "id/alice", None),
            ("d/", "d/", None),
            ("d/a b", "d/a b", None),
            ("p/x\u{202e}", "p/x\u{202e}", None),
        ] {
            let asked = asked(typed).unwrap();
            assert_eq!(asked.name.as_bytes(), name.as_bytes(), "{typed}");
            assert_eq!(asked.domain.map(|it| it.to_ascii()).as_deref(), domain, "{typed}");
        }
    }

    #[test]
    fn of_several_suffixes_the_shortest_is_shown_and_the_one_that_was_typed() {
        let zones = Zones::new(["bit.example.org", "coin", "bit"], false).unwrap();
        for (typed, domain) in [
            ("d/example", "example.coin."),
            ("example.bit", "example.bit."),
            ("www.example.bit.example.org", "www.example.bit.example.org."),
        ] {
            let domain_of = |asked: Asked| asked.domain.map(|it| it.to_ascii());
            assert_eq!(
                domain_of(read(typed, &zones).unwrap()).as_deref(),
                Some(domain),
                "{typed}"
            );
        }
    }

    #[test]
    fn what_is_hardly_meant_is_not_looked_up() {
        for (typed, instead) in [
            ("example", Some("d/example")),
            ("D/example", Some("d/example")),
            ("d/Example", Some("d/example")),
            ("ID/alice", Some("id/alice")),
            ("example.com", None),
            ("", None),
        ] {
            assert_eq!(asked(typed).unwrap_err().instead.as_deref(), instead, "{typed}");
        }
        assert!(asked(&format!("x/{}", "y".repeat(NameId::MAX_LEN))).is_err());
    }
}

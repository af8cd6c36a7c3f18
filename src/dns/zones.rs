//! Which part of a query name is the zone, which the Namecoin name, and what lies below it.

use std::str::FromStr;

use hickory_proto::rr::Name;

use super::zone::name_id;
use crate::name::NameId;

/// The label that is the apex wherever it stands, when suffixes float.
const BIT: &[u8] = b"bit";

/// Most zones that can be configured: each query is compared with all.
pub const MAX_ZONES: usize = 16;

/// Why zones can't be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ZonesError {
    /// A suffix is no domain name.
    #[error("`{suffix}` is no domain name")]
    NoName {
        /// What was given.
        suffix: String,
    },
    /// The root can't be a suffix: every name would be ours.
    #[error("the root zone can't be served; give a suffix such as bit")]
    Root,
    /// There are too many.
    #[error("{got} suffixes are given; at most {MAX_ZONES} can be served")]
    TooMany {
        /// How many.
        got: usize,
    },
}

/// The zones that are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zones {
    /// Their apexes: lowercase, fully qualified, longest first.
    apexes: Vec<Name>,
    /// Whether whatever ends in `bit.` and further labels is a zone as well.
    floating: bool,
}

impl Default for Zones {
    fn default() -> Self {
        Self {
            apexes: Name::from_str("bit.").into_iter().collect(),
            floating: false,
        }
    }
}

impl Zones {
    /// Makes the zones of these suffixes, such as `bit` or `bit.example.com`; of `bit.` alone when there are none.
    /// With `floating` the rightmost label `bit` of a query name is an apex too, whatever follows it, as ncdns has it.
    ///
    /// # Errors
    ///
    /// [`ZonesError`].
    pub fn new<'a>(suffixes: impl IntoIterator<Item = &'a str>, floating: bool) -> Result<Self, ZonesError> {
        let mut apexes = Vec::new();
        for suffix in suffixes {
            let name = Name::from_ascii(suffix).map_err(|_| ZonesError::NoName {
                suffix: suffix.to_owned(),
            })?;
            let mut name = name.to_lowercase();
            name.set_fqdn(true);
            if name.is_root() {
                return Err(ZonesError::Root);
            }
            if !apexes.contains(&name) {
                apexes.push(name);
            }
        }
        if apexes.len() > MAX_ZONES {
            return Err(ZonesError::TooMany { got: apexes.len() });
        }
        if apexes.is_empty() {
            return Ok(Self {
                floating,
                ..Self::default()
            });
        }
        apexes.sort_by_key(|apex| std::cmp::Reverse(apex.iter().len()));
        Ok(Self { apexes, floating })
    }

    /// Returns the configured apexes, longest first.
    pub fn apexes(&self) -> &[Name] {
        &self.apexes
    }

    /// Returns the domain that a name holds, where it is shown in one zone alone: below the shortest suffix, and the first given
    /// of those; `None` for names that hold none.
    pub fn own_domain(&self, name: &NameId) -> Option<Name> {
        let label = name.as_bytes().strip_prefix(b"d/")?;
        name_id(label)?;
        let mut apexes: Vec<&Name> = self.apexes.iter().collect();
        apexes.sort_by_key(|apex| apex.iter().len());
        let domains = apexes.into_iter().filter_map(|apex| apex.prepend_label(label).ok());
        // What is below one suffix may be another one.
        let mut its_own = domains.filter(|domain| self.find(domain).is_some_and(|place| place.below().eq([label])));
        its_own.next()
    }

    /// Finds the zone of a lowercase name; `None` when it is in none.
    pub fn find<'a>(&self, name: &'a Name) -> Option<Place<'a>> {
        // The iterator knows no length of its own, but where the labels end from both sides.
        let labels: Vec<&[u8]> = name.iter().collect();
        let configured = self.apexes.iter().find(|apex| apex.zone_of_case(name));
        let zone = match configured {
            Some(apex) => apex.iter().len(),
            None if self.floating => {
                let at = labels.iter().rposition(|label| *label == BIT)?;
                labels.len() - at
            }
            None => return None,
        };
        Some(Place { name, labels, zone })
    }
}

/// Where a name lies in its zone.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    name: &'a Name,
    /// All of it, leftmost first.
    labels: Vec<&'a [u8]>,
    /// How many of them are the apex.
    zone: usize,
}

impl<'a> Place<'a> {
    /// Returns the zone's apex.
    pub fn apex(&self) -> Name {
        self.name.trim_to(self.zone)
    }

    /// Returns the labels below the apex from right to left: first the one that is a Namecoin name, then what is looked
    /// up in its value.
    pub fn below(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + '_ {
        let below = self.labels.len().saturating_sub(self.zone);
        self.labels.get(..below).unwrap_or_default().iter().rev().copied()
    }

    /// Returns the name that has so many of the labels below the apex.
    pub fn at(&self, depth: usize) -> Name {
        self.name.trim_to(self.zone.saturating_add(depth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn place(zones: &Zones, text: &str) -> Option<(String, Vec<String>)> {
        let name = name(text);
        let place = zones.find(&name)?;
        let below = place
            .below()
            .map(|label| String::from_utf8_lossy(label).into_owned())
            .collect();
        Some((place.apex().to_ascii(), below))
    }

    fn found(zone: &str, below: &[&str]) -> (String, Vec<String>) {
        (zone.to_owned(), below.iter().map(|&label| label.to_owned()).collect())
    }

    #[test]
    fn the_zone_is_bit_unless_told_otherwise() {
        let zones = Zones::new([], false).unwrap();
        assert_eq!(
            place(&zones, "a.b.example.bit."),
            Some(found("bit.", &["example", "b", "a"]))
        );
        assert_eq!(place(&zones, "bit."), Some(found("bit.", &[])));
        assert_eq!(place(&zones, "bit.bit."), Some(found("bit.", &["bit"])));
        for outside in [".", "com.", "bit.com.", "example.bit.com.", "rabbit."] {
            assert_eq!(place(&zones, outside), None, "{outside}");
        }
    }

    #[test]
    fn the_longest_suffix_wins() {
        let zones = Zones::new(["example.com", "Bit.example.com.", "bit"], false).unwrap();
        assert_eq!(
            place(&zones, "x.bit.example.com."),
            Some(found("bit.example.com.", &["x"]))
        );
        assert_eq!(place(&zones, "x.example.com."), Some(found("example.com.", &["x"])));
        assert_eq!(place(&zones, "x.bit."), Some(found("bit.", &["x"])));
    }

    #[test]
    fn the_rightmost_bit_is_the_apex_when_suffixes_float() {
        let zones = Zones::new([], true).unwrap();
        assert_eq!(
            place(&zones, "a.b.bit.suffix.xyz."),
            Some(found("bit.suffix.xyz.", &["b", "a"]))
        );
        assert_eq!(place(&zones, "x.bit.bit.com."), Some(found("bit.com.", &["bit", "x"])));
        assert_eq!(place(&zones, "com."), None);
    }

    #[test]
    fn names_of_a_depth_end_in_the_apex() {
        let zones = Zones::default();
        let name = name("a.b.example.bit.");
        let place = zones.find(&name).unwrap();
        let at: Vec<String> = (0..4).map(|depth| place.at(depth).to_ascii()).collect();
        assert_eq!(at, ["bit.", "example.bit.", "b.example.bit.", "a.b.example.bit."]);
    }

    #[test]
    fn a_name_is_shown_below_the_shortest_suffix() {
        for (suffixes, name, expected) in [
            (&[][..], "d/example", Some("example.bit.")),
            (&["bit.example.com", "bit", "coin"], "d/example", Some("example.bit.")),
            (&["coin", "bit.example.com", "bit"], "d/example", Some("example.coin.")),
            // One suffix is where the name would be below another.
            (&["bit", "example.bit"], "d/example", Some("example.example.bit.")),
            (&["bit", "example.bit"], "d/other", Some("other.bit.")),
            (&[], "d/a.b", None),
            (&[], "d/Example", None),
            (&[], "id/example", None),
        ] {
            let zones = Zones::new(suffixes.iter().copied(), false).unwrap();
            let name = NameId::new(name.as_bytes()).unwrap();
            let domain = zones.own_domain(&name).map(|it| it.to_ascii());
            assert_eq!(domain.as_deref(), expected, "{suffixes:?}");
        }
    }

    #[test]
    fn what_is_no_suffix_is_refused() {
        assert_eq!(Zones::new(["."], false), Err(ZonesError::Root));
        assert!(matches!(Zones::new(["a..b"], false), Err(ZonesError::NoName { .. })));
        let many: Vec<String> = (0..20).map(|number| format!("bit{number}")).collect();
        let many = Zones::new(many.iter().map(String::as_str), false);
        assert_eq!(many, Err(ZonesError::TooMany { got: 20 }));
    }
}

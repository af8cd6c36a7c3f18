//! One domain as a tree of records.
//!
//! Building is a function of values: it names the imports that have to be looked up, and is called again with them.
//! Everything is bounded by `value::bounds`, so no value can make a domain that costs more.

mod certificate;
mod expand;
mod label;
mod object;
mod public_key;
mod records;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use hickory_proto::rr::{Name, RData, RecordType};

use self::expand::{Expansion, Source};
pub use self::label::name_id;
use self::records::Records;
use super::value::{Json, Problem, Problems, Reason, ValueError};
use crate::name::{NameId, NameValue};

/// How long a record may be kept, in seconds. Source: ncdns.
pub const TTL: u32 = 600;

/// What looking up a name to import it gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imported {
    /// Its value.
    Value(NameValue),
    /// It never existed, or has expired.
    Absent,
}

/// How far building a domain came.
#[derive(Debug)]
pub enum Built {
    /// These names have to be looked up first, under the isolation ID of the domain itself: at most
    /// [`MAX_IMPORTS`](super::value::bounds::MAX_IMPORTS) over all calls.
    Needs(BTreeSet<NameId>),
    /// The domain.
    Domain(Domain),
}

/// Builds the domain of a name from its value and the names at hand that it imports.
///
/// `apex` is the domain's full name, such as `example.bit.` or, where the zone is served under a suffix,
/// `example.bit.suffix.xyz.`. Start without imports; while the result is [`Built::Needs`], call again with those
/// names added. JSON that is no object, but a string or a number, is a domain without records.
///
/// # Errors
///
/// [`ValueError`] when the domain's own value is no JSON; the empty one counts as `{}`.
pub fn build(
    name: &NameId,
    value: &NameValue,
    apex: &Name,
    imports: &BTreeMap<NameId, Imported>,
) -> Result<Built, ValueError> {
    let mut own = Json::read(value.as_bytes())?;
    let mut problems = Problems::default();
    if !matches!(own, Json::Object(_)) {
        problems.add("", Reason::NotAnObject);
        own = Json::Object(BTreeMap::new());
    }
    let mut values: BTreeMap<&NameId, Source> = imports
        .iter()
        .map(|(name, imported)| (name, Source::from(imported)))
        .collect();
    // A map may import the domain itself: that takes no look-up.
    values.insert(name, Source::of(own.clone()));
    let tree = match Expansion::new(&values, imports.len(), &mut problems).domain(name, &own) {
        Ok(tree) => tree,
        Err(needs) => return Ok(Built::Needs(needs)),
    };
    let mut apex = apex.to_lowercase();
    apex.set_fqdn(true);
    let root = Records::new(name, &apex, &mut problems).top(&tree);
    Ok(Built::Domain(Domain {
        root,
        problems: problems.into_vec(),
    }))
}

impl Source {
    fn of(json: Json) -> Self {
        match json {
            Json::Object(_) => Self::Object(json),
            _ => Self::Unreadable,
        }
    }
}

impl From<&Imported> for Source {
    fn from(imported: &Imported) -> Self {
        match imported {
            Imported::Value(value) => Json::read(value.as_bytes()).map_or(Self::Unreadable, Self::of),
            Imported::Absent => Self::Absent,
        }
    }
}

/// A domain: its records, and what in its value gave none.
///
/// `Debug` hides all of it.
#[derive(Clone, PartialEq)]
pub struct Domain {
    root: Node,
    problems: Vec<Problem>,
}

impl Domain {
    /// Returns the node of the apex.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Returns what was left out, for the owner to mend; at most 64 of it.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns about how many bytes of memory the domain takes.
    pub fn size(&self) -> usize {
        let problems = self.problems.iter();
        let problems: usize = problems
            .map(|problem| size_of_val(problem) + problem.path().len())
            .sum();
        self.root.size() + problems
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Domain(..)")
    }
}

/// One name of a domain: its records, after suppression, and the names below.
///
/// `Debug` hides all of it.
#[derive(Clone, Default, PartialEq)]
pub struct Node {
    records: BTreeMap<RecordType, Vec<RData>>,
    children: BTreeMap<Box<[u8]>, Self>,
    dname: Option<Name>,
    delegated: bool,
    renamed: bool,
    services: Vec<Box<str>>,
}

impl Node {
    /// Returns the node below at a label, which is a lowercase key of the map; `*` is only itself.
    pub fn child(&self, label: &[u8]) -> Option<&Self> {
        self.children.get(label)
    }

    /// Returns the nodes below with their labels, in order.
    pub fn children(&self) -> impl Iterator<Item = (&[u8], &Self)> {
        self.children.iter().map(|(label, node)| (&**label, node))
    }

    /// Returns the records by type: no type without any, no record twice.
    pub fn rrsets(&self) -> impl Iterator<Item = (RecordType, &[RData])> {
        self.records.iter().map(|(kind, records)| (*kind, records.as_slice()))
    }

    /// Returns the records of a type; none when it has none.
    pub fn rrset(&self, kind: RecordType) -> &[RData] {
        self.records.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// Says whether the value delegates this name and all below it: it has `ns`, for which there was room unless it has
    /// no NS record. What is below is kept as glue, and for [`Self::services`].
    pub fn is_delegated(&self) -> bool {
        self.delegated
    }

    /// Returns where the DNAME record leads, which is also in [`Self::rrset`], as bytes.
    pub fn dname(&self) -> Option<&Name> {
        self.dname.as_ref()
    }

    /// Says whether all names below are elsewhere: it has `translate`, though perhaps to no usable name. What is below is
    /// kept for [`Self::services`] alone.
    pub fn is_renamed(&self) -> bool {
        self.renamed
    }

    /// Returns the onion addresses of the `tor` item, which nothing hides from who looks for them. Source: IFA-0002.
    pub fn services(&self) -> &[Box<str>] {
        &self.services
    }

    fn size(&self) -> usize {
        let records = self.records.values().flatten().map(records::size);
        let children = self.children.iter().map(|(label, node)| label.len() + node.size());
        let services = self.services.iter().map(|service| size_of_val(service) + service.len());
        size_of::<Self>() + records.chain(children).chain(services).sum::<usize>()
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Node(..)")
    }
}

//! All records that a value gives, for people: those of a name and of all below it, also those that are not served.

use hickory_proto::rr::{Name, Record};

use super::presentation::{data_text, type_text};
use super::zone::{self, Domain, Node};
use super::zones::Zones;

/// A record that a value gives.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The record.
    pub record: Record,
    /// The item that hides it, so that it is not served.
    pub hidden_by: Option<&'static str>,
}

impl From<Record> for Entry {
    fn from(record: Record) -> Self {
        Self {
            record,
            hidden_by: None,
        }
    }
}

impl Entry {
    /// Writes it as a zone file has it; a hidden one as a comment there.
    pub fn line(&self) -> String {
        let record = &self.record;
        let (kind, data) = (type_text(record.record_type()), data_text(&record.data));
        let line = format!("{} {} IN {kind} {data}", record.name.to_ascii(), record.ttl);
        match self.hidden_by {
            None => line,
            Some(by) => format!("; hidden by `{by}`: {line}"),
        }
    }
}

/// Returns all records of a name (lowercase) and of those below it, if it is written in the domain's value.
pub fn at_and_below(zones: &Zones, name: &Name, domain: &Domain) -> Option<Vec<Entry>> {
    let place = zones.find(name)?;
    let mut node = domain.root();
    let mut hidden_by = None;
    for label in place.below().skip(1) {
        hidden_by = hidden_by.or_else(|| hides_below(node));
        node = node.child(label)?;
    }
    let mut entries = Vec::new();
    collect(node, name, hidden_by, &mut entries);
    Some(entries)
}

fn collect(node: &Node, owner: &Name, hidden_by: Option<&'static str>, entries: &mut Vec<Entry>) {
    for data in node.rrsets().flat_map(|(_, data)| data) {
        let record = Record::from_rdata(owner.clone(), zone::TTL, data.clone());
        entries.push(Entry { record, hidden_by });
    }
    let hidden_by = hidden_by.or_else(|| hides_below(node));
    for (label, child) in node.children() {
        // A label that does not fit makes a name that nobody can ask for.
        if let Ok(owner) = owner.prepend_label(label) {
            collect(child, &owner, hidden_by, entries);
        }
    }
}

/// Returns the item by which a node hides all below it.
fn hides_below(node: &Node) -> Option<&'static str> {
    if node.is_delegated() {
        Some("ns")
    } else {
        node.is_renamed().then_some("translate")
    }
}

//! The way from a domain's own name down to the one that is asked for.

use hickory_proto::rr::{Name, Record, RecordType};

use super::super::zone::{Domain, Node};
use super::super::zones::Place;

/// The label that stands for all that are not there.
const WILDCARD: &[u8] = b"*";

/// Where the way ends.
pub(super) enum End<'a> {
    /// At the name itself.
    Here(&'a Node),
    /// At a zone cut so many labels below the zone's apex, which may be the name itself.
    Cut { depth: usize, node: &'a Node },
    /// At a DNAME so many labels below the zone's apex, above the name.
    Dname {
        depth: usize,
        target: &'a Name,
        node: &'a Node,
    },
    /// Below a delegation to no usable nameserver: nobody can answer.
    Lame,
    /// Before it: there is no such name.
    Nothing,
}

/// Goes from the domain's own name down to the place.
pub(super) fn walk<'a>(domain: &'a Domain, place: &Place<'_>) -> End<'a> {
    let mut step = Some(Step::at(domain.root()));
    let mut labels = place.below().skip(1);
    let mut depth = 1;
    while let Some(Step { node, .. }) = step {
        if !node.rrset(RecordType::NS).is_empty() {
            return End::Cut { depth, node };
        }
        let Some(label) = labels.next() else {
            return End::Here(node);
        };
        if node.is_delegated() {
            return End::Lame;
        }
        if let Some(target) = node.dname() {
            return End::Dname { depth, target, node };
        }
        if node.is_renamed() {
            return End::Nothing;
        }
        step = step.and_then(|step| step.down(label));
        depth += 1;
    }
    End::Nothing
}

/// A place on the way.
#[derive(Clone, Copy)]
struct Step<'a> {
    node: &'a Node,
    /// Whether a wildcard led here: it stands for all that is below, too.
    wild: bool,
}

impl<'a> Step<'a> {
    fn at(node: &'a Node) -> Self {
        Self { node, wild: false }
    }

    /// Goes one label down. A label that is there blocks the wildcard beside it. A wildcard's own map goes on below it,
    /// as in ncdns; what that has no label for is answered by the wildcard itself, as in DNS (RFC 4592).
    fn down(self, label: &[u8]) -> Option<Self> {
        if let Some(node) = self.node.child(label) {
            return Some(Self::at(node));
        }
        match self.node.child(WILDCARD) {
            Some(node) => Some(Self { node, wild: true }),
            None => self.wild.then_some(self),
        }
    }
}

/// Returns the onion addresses that the `tor` item of a name in a domain states, whatever hides its other items: it is
/// for clients of Tor, and not of DNS. Source: IFA-0002.
pub fn services<'a>(domain: &'a Domain, place: &Place<'_>) -> &'a [Box<str>] {
    reach(domain, place, |_| true).map_or(&[], Node::services)
}

/// Goes down to a place, past delegations, as long as `may_pass` lets it.
fn reach<'a>(domain: &'a Domain, place: &Place<'_>, may_pass: impl Fn(&Node) -> bool) -> Option<&'a Node> {
    let mut step = Step::at(domain.root());
    for label in place.below().skip(1) {
        if !may_pass(step.node) {
            return None;
        }
        step = step.down(label)?;
    }
    Some(step.node)
}

/// Adds the addresses of a name in a domain, whatever is cut off above it: as glue they count all the same. `ttl` is in
/// seconds.
pub(super) fn glue(domain: &Domain, place: &Place<'_>, ttl: u32, records: &mut Vec<Record>) {
    let Some(node) = reach(domain, place, |node| !node.is_renamed()) else {
        return;
    };
    let owner = place.at(place.below().len());
    for kind in [RecordType::A, RecordType::AAAA] {
        for data in node.rrset(kind) {
            let record = Record::from_rdata(owner.clone(), ttl, data.clone());
            if !records.contains(&record) {
                records.push(record);
            }
        }
    }
}

//! All domains as one zone file (RFC 1035 section 5.1), for servers that load one.
//!
//! What such a server would refuse the whole zone for is left out: one owner must not be able to take down all. That is what
//! lies below a delegation or a DNAME, but for glue, and nameservers within the zone that have no address in it.

use std::collections::{BTreeMap, BTreeSet};

use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::engine::{Settings, apex_records};
use super::listing::Entry;
use super::zone::{self, Domain, Node};

/// A name that others answer for.
struct Cut {
    owner: Name,
    nameservers: Vec<Name>,
    /// What stands beside the nameservers: DS records.
    lines: Vec<String>,
    /// Addresses of names below.
    glue: BTreeMap<Name, Vec<String>>,
}

impl Cut {
    /// Says whether anything more than nameservers of others is needed: some of these have addresses elsewhere, or here.
    fn stands_alone(&self, apex: &Name, addressed: &BTreeSet<Name>) -> bool {
        self.nameservers
            .iter()
            .any(|server| !apex.zone_of(server) || addressed.contains(server) || self.glue.contains_key(server))
    }
}

/// A zone file that is being made.
pub struct ZoneFile {
    apex: Name,
    lines: Vec<String>,
    /// Names that have addresses, and which this zone answers for.
    addressed: BTreeSet<Name>,
    cuts: Vec<Cut>,
}

impl std::fmt::Debug for ZoneFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ZoneFile(..)")
    }
}

impl ZoneFile {
    /// Begins the file of a zone; `apex` is lowercase and fully qualified.
    pub fn new(settings: &Settings, apex: &Name, serial: u32) -> Self {
        let mut file = Self {
            apex: apex.clone(),
            lines: Vec::new(),
            addressed: BTreeSet::new(),
            cuts: Vec::new(),
        };
        for record in apex_records(settings, apex, serial) {
            file.push(record);
        }
        file
    }

    /// Adds the domain of a label, and says whether it has records.
    pub fn add(&mut self, label: &[u8], domain: &Domain) -> bool {
        let before = (self.lines.len(), self.cuts.len());
        if let Ok(owner) = self.apex.prepend_label(label) {
            self.add_node(domain.root(), &owner);
        }
        before != (self.lines.len(), self.cuts.len())
    }

    /// Returns the lines, in the order in which domains were added but for delegations, which come last, and how many of the latter
    /// were left out.
    pub fn finish(self) -> (Vec<String>, usize) {
        let Self {
            apex,
            mut lines,
            addressed,
            cuts,
        } = self;
        let alone: Vec<bool> = cuts.iter().map(|cut| cut.stands_alone(&apex, &addressed)).collect();
        let with_glue: BTreeSet<Name> = cuts
            .iter()
            .zip(&alone)
            .filter(|(_, alone)| **alone)
            .flat_map(|(cut, _)| cut.glue.keys().cloned())
            .collect();
        let mut left_out = 0;
        for (cut, alone) in cuts.into_iter().zip(alone) {
            let has_address = |server: &Name| {
                !apex.zone_of(server)
                    || addressed.contains(server)
                    || with_glue.contains(server)
                    || alone && cut.glue.contains_key(server)
            };
            let servers: Vec<&Name> = cut.nameservers.iter().filter(|server| has_address(server)).collect();
            if servers.is_empty() {
                left_out += 1;
                continue;
            }
            for server in servers {
                let data = RData::NS(hickory_proto::rr::rdata::NS(server.clone()));
                lines.push(line(&cut.owner, data));
            }
            lines.extend(cut.lines);
            // Where others stand only by the glue of a cut, that is there: it stands by itself.
            if alone {
                lines.extend(cut.glue.into_values().flatten());
            }
        }
        (lines, left_out)
    }

    fn push(&mut self, record: Record) {
        if is_address(record.record_type()) {
            self.addressed.insert(record.name.clone());
        }
        self.lines.push(Entry::from(record).line());
    }

    fn add_node(&mut self, node: &Node, owner: &Name) {
        if node.is_delegated() {
            self.add_cut(node, owner);
            return;
        }
        for data in node.rrsets().flat_map(|(_, data)| data) {
            self.push(Record::from_rdata(owner.clone(), zone::TTL, data.clone()));
        }
        if node.is_renamed() {
            return;
        }
        for (label, child) in node.children() {
            // A label that does not fit makes a name that nobody can ask for.
            if let Ok(owner) = owner.prepend_label(label) {
                self.add_node(child, &owner);
            }
        }
    }

    fn add_cut(&mut self, node: &Node, owner: &Name) {
        let mut cut = Cut {
            owner: owner.clone(),
            nameservers: Vec::new(),
            lines: Vec::new(),
            glue: BTreeMap::new(),
        };
        for data in node.rrsets().flat_map(|(_, data)| data) {
            match data {
                RData::NS(server) => cut.nameservers.push(server.0.to_lowercase()),
                data => cut.lines.push(line(owner, data.clone())),
            }
        }
        add_glue(node, owner, &mut cut);
        // For all that the delegation hides nobody asks here.
        if !cut.nameservers.is_empty() {
            self.cuts.push(cut);
        }
    }
}

/// Takes the addresses of a delegation's own nameservers below it.
fn add_glue(node: &Node, owner: &Name, cut: &mut Cut) {
    if cut.nameservers.contains(owner) {
        let addresses = node
            .rrsets()
            .filter(|(kind, _)| is_address(*kind))
            .flat_map(|(_, data)| data);
        let lines: Vec<String> = addresses.map(|data| line(owner, data.clone())).collect();
        if !lines.is_empty() {
            cut.glue.insert(owner.clone(), lines);
        }
    }
    for (label, child) in node.children() {
        if let Ok(owner) = owner.prepend_label(label) {
            add_glue(child, &owner, cut);
        }
    }
}

fn is_address(kind: RecordType) -> bool {
    matches!(kind, RecordType::A | RecordType::AAAA)
}

fn line(owner: &Name, data: RData) -> String {
    Entry::from(Record::from_rdata(owner.clone(), zone::TTL, data)).line()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::zone::{Built, build, name_id};
    use crate::name::NameValue;

    /// Returns the file of domains with these values, without the zone's own records, and how many delegations it leaves out.
    fn file(domains: &[(&str, &str)]) -> (Vec<String>, usize) {
        let apex = Name::from_ascii("bit.").unwrap();
        let mut file = ZoneFile::new(&Settings::default(), &apex, 7);
        let own = file.lines.len();
        for (label, value) in domains {
            let owner = apex.prepend_label(*label).unwrap();
            let name = name_id(label.as_bytes()).unwrap();
            let value = NameValue::new(value.as_bytes()).unwrap();
            let Built::Domain(domain) = build(&name, &value, &owner, &BTreeMap::new()).unwrap() else {
                panic!("imports")
            };
            file.add(label.as_bytes(), &domain);
        }
        let (lines, left_out) = file.finish();
        (lines[own..].to_vec(), left_out)
    }

    #[test]
    fn a_zone_begins_with_its_own_records() {
        let apex = Name::from_ascii("bit.").unwrap();
        let (lines, _) = ZoneFile::new(&Settings::default(), &apex, 7).finish();
        assert_eq!(
            lines,
            [
                "bit. 86400 IN SOA this.x--nmc.bit. . 7 600 600 7200 600",
                "bit. 86400 IN NS this.x--nmc.bit.",
                "this.x--nmc.bit. 86400 IN A 127.127.127.127",
            ]
        );
    }

    #[test]
    fn domains_have_all_their_records() {
        let value = r#"{"ip":"192.0.2.1","map":{"www":{"alias":"@"},"*":{"ip6":"2001:db8::1"}}}"#;
        let (lines, left_out) = file(&[("a", value), ("b", "{}"), ("c", "5")]);
        let expected = [
            "a.bit. 600 IN A 192.0.2.1",
            "*.a.bit. 600 IN AAAA 2001:db8::1",
            "www.a.bit. 600 IN CNAME a.bit.",
        ];
        assert_eq!((lines.as_slice(), left_out), (&expected.map(str::to_owned)[..], 0));
    }

    #[test]
    fn delegations_have_glue_and_nothing_else_below() {
        let own = r#"{"ns":"ns1.a.bit.","map":{"ns1":{"ip":"192.0.2.1","txt":"x"},"www":{"ip":"192.0.2.2"}}}"#;
        let by_it = r#"{"ns":["ns1.a.bit.","ns.example.com."]}"#;
        let (lines, left_out) = file(&[("a", own), ("b", by_it)]);
        let expected = [
            "a.bit. 600 IN NS ns1.a.bit.",
            "ns1.a.bit. 600 IN A 192.0.2.1",
            "b.bit. 600 IN NS ns1.a.bit.",
            "b.bit. 600 IN NS ns.example.com.",
        ];
        assert_eq!((lines.as_slice(), left_out), (&expected.map(str::to_owned)[..], 0));
    }

    #[test]
    fn nameservers_without_an_address_are_left_out() {
        let nowhere = r#"{"ns":["ns.nowhere.bit.","ns1.a.bit."],"map":{"ns1":{"txt":"x"}}}"#;
        // Its address would be found below a delegation that is not there.
        let by_it = r#"{"ns":"ns2.a.bit."}"#;
        let half = r#"{"ns":["ns.nowhere.bit.","e.bit."]}"#;
        let (lines, left_out) = file(&[
            ("a", nowhere),
            ("b", by_it),
            ("d", half),
            ("e", r#"{"ip":"192.0.2.5"}"#),
        ]);
        let expected = ["e.bit. 600 IN A 192.0.2.5", "d.bit. 600 IN NS e.bit."];
        assert_eq!((lines.as_slice(), left_out), (&expected.map(str::to_owned)[..], 2));
    }

    #[test]
    fn nothing_is_below_a_dname() {
        let (lines, _) = file(&[("a", r#"{"translate":"b.bit.","map":{"www":{"ip":"192.0.2.1"}}}"#)]);
        assert_eq!(lines, ["a.bit. 600 IN DNAME b.bit."]);
    }
}

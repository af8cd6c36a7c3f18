//! From a tree of objects to records: places, suppression, and the records that others imply.

use std::borrow::Cow;

use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::rr::rdata::{CNAME, MX, NULL};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::BinEncodable;

use super::Node;
use super::object::{Item, Object};
use super::tls::{Tls, tlsa_of_no_key};
use crate::dns::value::bounds::{MAX_BYTES, MAX_RECORDS};
use crate::dns::value::{
    Json, Key, Place, Problems, Reason, Report, ds, ds_of_no_key, ip, ip6, is_stated, is_target, loc, mx, ns, srv,
    sshfp, target, txt, without_dot,
};
use crate::name::NameId;

/// The port of mail transfer, whose SRV records give MX records. Source: IFA-0001.
const SMTP: u16 = 25;

/// Makes the records of one domain.
pub(super) struct Records<'a> {
    apex: &'a Name,
    problems: &'a mut Problems,
    tls: Tls,
    count: usize,
    bytes: usize,
}

impl<'a> Records<'a> {
    pub(super) fn new(name: &NameId, apex: &'a Name, problems: &'a mut Problems) -> Self {
        Self {
            apex,
            problems,
            tls: Tls::new(name),
            count: 0,
            bytes: 0,
        }
    }

    /// Makes the node of the apex and all below.
    pub(super) fn top(mut self, object: &Object<'_>) -> Node {
        let apex = self.apex;
        self.node(object, apex, apex, &[])
    }

    /// Makes a node. `base` is the name of the object above, `labels` are those between owner and apex.
    fn node(&mut self, object: &Object<'_>, owner: &Name, base: &Name, labels: &[&str]) -> Node {
        let place = Place { apex: self.apex, base };
        let mut node = Node {
            services: services(object),
            ..Node::default()
        };
        let nameservers = self.nameservers(object, &place);
        if !nameservers.is_empty() {
            node.delegated = true;
            self.add(&mut node, nameservers);
            if let Some(item) = object.item(Key::Ds) {
                let records = ds(&item.json, &mut self.problems.at(&item.path));
                self.closed(&mut node, item, is_stated(&item.json), records, ds_of_no_key());
            }
            self.tell_hidden(object, Key::Ns, &[Key::Ds]);
        } else if let Some(item) = self.well_formed(object, Key::Translate) {
            node.renamed = true;
            if let Some(name) = self.target(Key::Translate, item, &place) {
                self.translate(&mut node, name);
            }
            self.tell_hidden(object, Key::Translate, &[]);
        } else if let Some(item) = self.well_formed(object, Key::Alias) {
            let name = self.target(Key::Alias, item, &place);
            self.add(&mut node, name.map(|name| RData::CNAME(CNAME(name))));
            self.tell_hidden(object, Key::Alias, &[]);
            self.children(&mut node, object, owner, labels);
            return node;
        } else {
            self.own(&mut node, object, &place, labels);
        }
        self.children(&mut node, object, owner, labels);
        if !node.delegated && !node.renamed {
            let exchanges = exchanges(&node);
            self.add(&mut node, exchanges);
        }
        node
    }

    /// Reads `ns`. Where nothing valid is in it, it counts as absent: owners who wrote an address there meant `ip`.
    fn nameservers(&mut self, object: &Object<'_>, place: &Place<'_>) -> Vec<RData> {
        let Some(item) = object.item(Key::Ns) else {
            return Vec::new();
        };
        self.tell_without_dot(Key::Ns, item, place);
        ns(&item.json, place, &mut self.problems.at(&item.path))
    }

    /// Tells the owner what an item hides that stands beside it: all but `kept`.
    fn tell_hidden(&mut self, object: &Object<'_>, by: Key, kept: &[Key]) {
        let is_hidden = |key: Key| key != by && key != Key::Tor && !kept.contains(&key);
        for (key, item) in &object.items {
            if is_hidden(*key) && is_stated(&item.json) {
                self.problems.add(&*item.path, Reason::Hidden { by: by.text() });
            }
        }
        let has_below = object.map.values().flatten().any(|child| !is_of_tor(child));
        if let Some(item) = object.item(by).filter(|_| has_below && by != Key::Alias) {
            self.problems.add(&*item.path, Reason::HidesMap);
        }
    }

    /// Tells the owner of names that need a final dot to mean what they look like.
    fn tell_without_dot(&mut self, key: Key, item: &Item<'_>, place: &Place<'_>) {
        for (member, text) in without_dot(key, &item.json) {
            let Ok(name) = target(&Json::Text(text.to_owned()), place) else {
                continue;
            };
            let reason = Reason::WithoutDot { name: name.to_ascii() };
            let mut report = self.problems.at(&item.path);
            match member {
                Some(index) => report.member(index, reason),
                None => report.item(reason),
            }
        }
    }

    /// Returns an item that is a name. A malformed one is reported and hides nothing.
    fn well_formed<'o>(&mut self, object: &'o Object<'_>, key: Key) -> Option<&'o Item<'o>> {
        let item = object.item(key)?;
        match is_target(&item.json) {
            Ok(()) => Some(item),
            Err(reason) => {
                self.problems.add(&*item.path, reason);
                None
            }
        }
    }

    fn target(&mut self, key: Key, item: &Item<'_>, place: &Place<'_>) -> Option<Name> {
        self.tell_without_dot(key, item, place);
        let name = target(&item.json, place);
        name.map_err(|reason| self.problems.add(&*item.path, reason)).ok()
    }

    fn translate(&mut self, node: &mut Node, name: Name) {
        // Not compressed: RFC 6672 section 2.1.
        if let Ok(bytes) = name.to_bytes() {
            let record = RData::Unknown {
                code: RecordType::DNAME,
                rdata: NULL::with(bytes),
            };
            self.add(node, Some(record));
            node.dname = Some(name).filter(|_| !node.rrset(RecordType::DNAME).is_empty());
        }
    }

    /// Adds the records of an object that is neither delegated nor another's alias.
    fn own(&mut self, node: &mut Node, object: &Object<'_>, place: &Place<'_>, labels: &[&str]) {
        self.plain(node, object, Key::Ip, ip);
        self.plain(node, object, Key::Ip6, ip6);
        self.plain(node, object, Key::Txt, txt);
        self.plain(node, object, Key::Loc, loc);
        self.plain(node, object, Key::Sshfp, sshfp);
        for key in [Key::Mx, Key::Srv] {
            if let Some(item) = object.item(key) {
                self.tell_without_dot(key, item, place);
            }
        }
        self.plain(node, object, Key::Mx, |json, report| mx(json, place, report));
        self.plain(node, object, Key::Srv, |json, report| srv(json, place, report));
        if let Some(item) = object.item(Key::Tls) {
            let records = self.tls.records(&item.json, labels, &mut self.problems.at(&item.path));
            // The form that is no longer read says nothing.
            let is_stated = is_stated(&item.json) && !matches!(*item.json, Json::Object(_));
            self.closed(node, item, is_stated, records, tlsa_of_no_key());
        }
        if let Some(item) = object.item(Key::Ds) {
            self.problems.add(&*item.path, Reason::DsWithoutNs);
        }
    }

    /// Adds the records of one item.
    fn plain(
        &mut self,
        node: &mut Node,
        object: &Object<'_>,
        key: Key,
        read: impl Fn(&Json, &mut Report<'_>) -> Vec<RData>,
    ) {
        if let Some(item) = object.item(key) {
            let records = read(&item.json, &mut self.problems.at(&item.path));
            self.add(node, records);
        }
    }

    /// Adds the records of an item by which clients tell the right key. Where it is stated, but none of its records can be
    /// served, one is that no key matches: that there is no such record must not be proved.
    fn closed(&mut self, node: &mut Node, item: &Item<'_>, is_stated: bool, records: Vec<RData>, stand_in: RData) {
        let kind = stand_in.record_type();
        self.add(node, records);
        if is_stated && node.rrset(kind).is_empty() {
            self.problems.add(&*item.path, Reason::FailsClosed);
            // It is one for each object at most, so that it needs no room among the domain's records.
            node.records.insert(kind, vec![stand_in]);
        }
    }

    /// Adds records that the node hasn't, as long as the domain has room.
    fn add(&mut self, node: &mut Node, records: impl IntoIterator<Item = RData>) {
        for record in records {
            let rrset = node.records.entry(record.record_type()).or_default();
            if rrset.contains(&record) {
                continue;
            }
            let bytes = self.bytes.saturating_add(size(&record));
            if self.count >= MAX_RECORDS || bytes > MAX_BYTES {
                self.problems.add("", Reason::RecordCount);
                break;
            }
            self.count += 1;
            self.bytes = bytes;
            rrset.push(record);
        }
        node.records.retain(|_, rrset| !rrset.is_empty());
    }

    fn children(&mut self, node: &mut Node, object: &Object<'_>, owner: &Name, labels: &[&str]) {
        for (label, child) in &object.map {
            let Some(child) = child else { continue };
            if is_void(child) {
                continue;
            }
            let Ok(name) = owner.prepend_label(label.as_bytes()) else {
                self.problems.add(*label, Reason::LongName);
                continue;
            };
            let labels: Vec<&str> = [*label].into_iter().chain(labels.iter().copied()).collect();
            let child = self.node(child, &name, owner, &labels);
            node.children.insert(label.as_bytes().into(), child);
        }
    }
}

/// Says whether an object stands for a `tor` item above it, and has nothing else.
fn is_of_tor(object: &Object<'_>) -> bool {
    let is_made = |item: &Item<'_>| matches!(&item.json, Cow::Owned(_));
    object.map.is_empty() && object.items.len() == 1 && object.items.get(&Key::Txt).is_some_and(is_made)
}

/// Says whether an object only hides imported onion addresses and has none itself: then there is no such name.
fn is_void(object: &Object<'_>) -> bool {
    let has_strings = |item: &Item<'_>| is_stated(&item.json);
    is_of_tor(object) && !object.items.get(&Key::Txt).is_some_and(has_strings)
}

/// Returns the addresses of the `tor` item.
fn services(object: &Object<'_>) -> Vec<Box<str>> {
    let Some(Json::List(members)) = object.item(Key::Tor).map(|item| &*item.json) else {
        return Vec::new();
    };
    let texts = members.iter().filter_map(|member| match member {
        Json::Text(text) => Some(text.as_str().into()),
        _ => None,
    });
    texts.collect()
}

/// Returns the MX records that SRV records of `_smtp._tcp` below give. Source: IFA-0001, MX.
fn exchanges(node: &Node) -> Vec<RData> {
    let tcp = node.child(b"_tcp").filter(|tcp| !tcp.delegated);
    let Some(smtp) = tcp.and_then(|tcp| tcp.child(b"_smtp")) else {
        return Vec::new();
    };
    let records = smtp.rrset(RecordType::SRV).iter();
    records
        .filter_map(|record| match record {
            RData::SRV(srv) if srv.port == SMTP => Some(RData::MX(MX::new(srv.priority, srv.target.clone()))),
            _ => None,
        })
        .collect()
}

/// Returns about how many bytes of memory a record takes.
pub(super) fn size(record: &RData) -> usize {
    let heap = match record {
        RData::TXT(txt) => txt
            .txt_data
            .iter()
            .map(|string| size_of_val(string) + string.len())
            .sum(),
        RData::TLSA(tlsa) => tlsa.cert_data.len(),
        RData::SSHFP(sshfp) => sshfp.fingerprint.len(),
        RData::Unknown { rdata, .. } => rdata.anything.len(),
        RData::DNSSEC(DNSSECRData::DS(ds)) => ds.digest().len(),
        RData::CNAME(name) => name.0.len(),
        RData::NS(name) => name.0.len(),
        RData::MX(mx) => mx.exchange.len(),
        RData::SRV(srv) => srv.target.len(),
        _ => 0,
    };
    size_of::<RData>() + heap
}

//! Proofs that something is not there, made for the question: compact denial of existence (RFC 9824) with NSEC.
//!
//! One NSEC record at the very name in question says which types are there, and that the next name comes right
//! behind it, so that it covers nothing else. A name that isn't there is said to be there with the types RRSIG, NSEC and
//! NXNAME alone. What the answer around it must be, besides the SOA record and both signatures:
//!
//! | question                              | record                    | response code                            |
//! |---------------------------------------|---------------------------|------------------------------------------|
//! | a type that isn't there, also at an empty node, under a wildcard, and DS at a signed cut | [`nodata`] | NOERROR |
//! | a name that isn't there, DO set       | [`nxdomain`]              | NOERROR; NXDOMAIN if CO is set too       |
//! | the same, DO not set                  | none                      | NXDOMAIN                                 |
//! | below or at a cut without DS          | [`referral`], beside NS   | NOERROR, no SOA                          |
//! | DS at a cut without DS                | [`referral`]              | NOERROR                                  |
//! | type NXNAME                           | none                      | FORMERR, extended error 30 if one likes  |
//!
//! CO, *compact answers OK*, is the bit below DO among the EDNS flags, [`COMPACT_OK`] (RFC 9824, section 5.1). Who sets
//! it wants the true response code; the answer's OPT has it too. `hickory-proto` has no name for it but keeps it: it is
//! in the `z` of `EdnsFlags`, which can be read and set.
//!
//! A question for the type NSEC can't be denied by a record that says NSEC is there: it is to be answered with that
//! very record.

use hickory_proto::dnssec::rdata::{DNSSECRData, NSEC};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// The type that is said to be at a name which isn't there (RFC 9824, section 3.1).
pub const NXNAME: RecordType = RecordType::Unknown(128);

/// The EDNS flag CO in `EdnsFlags::z` (RFC 9824, section 5.1).
pub const COMPACT_OK: u16 = 0x4000;

/// Most bytes of a label (RFC 1035, section 2.3.4).
const MAX_LABEL: usize = 63;

/// Denies all types at a name but `types`; RRSIG and NSEC are always there, and types that exist in questions alone
/// never. With no types, it denies everything at a name that is there, such as an empty non-terminal. `ttl` is to be
/// the lesser of the SOA record's TTL and its minimum (RFC 9077).
pub fn nodata(apex: &Name, owner: &Name, types: impl IntoIterator<Item = RecordType>, ttl: u32) -> Record {
    let types = types.into_iter().filter(|one| !is_of_questions(*one));
    nsec(owner, successor(apex, owner), types, ttl)
}

/// Denies that a name is there.
pub fn nxdomain(apex: &Name, owner: &Name, ttl: u32) -> Record {
    nsec(owner, successor(apex, owner), [NXNAME], ttl)
}

/// Denies that a zone cut has a DS record. The next name comes behind all that is below the cut, for that is the other
/// zone's to deny (RFC 9824, section 3.4).
pub fn referral(apex: &Name, cut: &Name, ttl: u32) -> Record {
    nsec(cut, behind_descendants(apex, cut), [RecordType::NS], ttl)
}

fn nsec(owner: &Name, next: Name, types: impl IntoIterator<Item = RecordType>, ttl: u32) -> Record {
    let data = RData::DNSSEC(DNSSECRData::NSEC(NSEC::new_cover_self(next, types)));
    Record::from_rdata(owner.to_lowercase(), ttl, data)
}

/// Says whether a type never is a record's in a zone, so that its bit must be clear (RFC 4034, section 4.1.2): types of
/// questions and of messages' own records (RFC 6895, section 3.1).
fn is_of_questions(record_type: RecordType) -> bool {
    let number = u16::from(record_type);
    number == 0 || record_type == RecordType::OPT || (128..=255).contains(&number)
}

/// Returns the name that comes right behind another in canonical order (RFC 4034, section 6.1): `\000.` and the name.
/// Where that doesn't fit into 255 bytes, the name has no descendants.
fn successor(apex: &Name, name: &Name) -> Name {
    name.to_lowercase()
        .prepend_label(&b"\0"[..])
        .unwrap_or_else(|_| behind_descendants(apex, name))
}

/// Returns the first name behind one and all names below it, in canonical order; the apex, which follows the last name
/// of a zone, when none is left.
///
/// A zero byte is appended to the first label. Where that doesn't fit, no name begins with that label, and its last
/// byte is raised; bytes of 255, which can't be raised, are cut off before. Where nothing can be raised, the search
/// goes on behind all names below the parent (RFC 4471, section 3.1.2).
fn behind_descendants(apex: &Name, name: &Name) -> Name {
    let mut name = name.to_lowercase();
    while apex.zone_of(&name) && name != *apex {
        let labels: Vec<&[u8]> = name.iter().collect();
        let Some((first, rest)) = labels.split_first() else {
            break;
        };
        let appended = (first.len() < MAX_LABEL).then(|| [first, &b"\0"[..]].concat());
        let raised = raised(first);
        for label in [appended, raised].into_iter().flatten() {
            let labels = std::iter::once(label.as_slice()).chain(rest.iter().copied());
            if let Ok(next) = Name::from_labels(labels) {
                return next;
            }
        }
        name = name.base_name();
    }
    apex.to_lowercase()
}

/// Returns the label, of small letters, that follows all labels which begin with another.
fn raised(label: &[u8]) -> Option<Vec<u8>> {
    let end = label.iter().rposition(|byte| *byte != u8::MAX)?;
    let (last, start) = label.get(..=end)?.split_last()?;
    let next = match last.saturating_add(1) {
        // Capitals would be read as small letters, which come behind these.
        b'A'..=b'Z' => b'Z' + 1,
        next => next,
    };
    Some([start, &[next]].concat())
}

#[cfg(test)]
mod tests;

use hickory_proto::serialize::binary::{BinDecodable as _, BinEncodable as _};
use proptest::prelude::*;

use super::*;

fn name(labels: &[&[u8]]) -> Name {
    Name::from_labels(labels.iter().copied()).unwrap()
}

fn bit() -> Name {
    name(&[b"bit"])
}

fn next(record: &Record) -> Name {
    data(record).next_domain_name().clone()
}

fn data(record: &Record) -> &NSEC {
    let RData::DNSSEC(DNSSECRData::NSEC(nsec)) = &record.data else {
        panic!("{record} is no NSEC");
    };
    nsec
}

fn types(record: &Record) -> Vec<u16> {
    data(record).type_bit_maps().map(u16::from).collect()
}

/// A name of just so many bytes on the wire, its first label as given.
fn long(first: &[u8], length: usize) -> Name {
    let mut name = name(&[first, b"bit"]);
    let mut rest = length - first.len() - 6;
    let mut labels: Vec<Vec<u8>> = Vec::new();
    while rest > 0 {
        let size = if rest == 65 { 62 } else { (rest - 1).min(63) };
        labels.push(vec![b'm'; size]);
        rest -= size + 1;
    }
    if !labels.is_empty() {
        let labels = std::iter::once(first.to_vec()).chain(labels).chain([b"bit".to_vec()]);
        name = Name::from_labels(labels).unwrap();
    }
    assert_eq!(name.to_bytes().unwrap().len(), length);
    name
}

#[test]
fn a_name_that_is_not_there_has_the_type_nxname() {
    let record = nxdomain(&bit(), &name(&[b"No", b"bit"]), 60);
    assert_eq!(record.name.to_ascii(), "no.bit.");
    assert_eq!((record.ttl, record.record_type()), (60, RecordType::NSEC));
    assert_eq!(next(&record), name(&[b"\0", b"no", b"bit"]));
    assert_eq!(types(&record), [46, 47, 128]);
    // RFC 9824, section 3.1: RRSIG NSEC NXNAME.
    let bytes = data(&record).to_bytes().unwrap();
    assert!(bytes.ends_with(&[0, 17, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80]));
}

#[test]
fn a_type_that_is_not_there_is_denied_by_those_that_are() {
    let owner = name(&[b"a", b"bit"]);
    let record = nodata(&bit(), &owner, [RecordType::TXT, RecordType::A, RecordType::A], 60);
    assert_eq!(types(&record), [1, 16, 46, 47]);
    assert_eq!(next(&record), name(&[b"\0", b"a", b"bit"]));
    assert_eq!(types(&nodata(&bit(), &owner, [], 60)), [46, 47]);
    let of_questions = [
        RecordType::ANY,
        RecordType::AXFR,
        RecordType::IXFR,
        RecordType::OPT,
        RecordType::TSIG,
        RecordType::ZERO,
        NXNAME,
        RecordType::CAA,
        RecordType::Unknown(65_280),
    ];
    assert_eq!(types(&nodata(&bit(), &owner, of_questions, 60)), [46, 47, 257, 65_280]);
    let apex = nodata(
        &bit(),
        &bit(),
        [RecordType::SOA, RecordType::NS, RecordType::DNSKEY],
        60,
    );
    assert_eq!(types(&apex), [2, 6, 46, 47, 48]);
    assert_eq!(next(&apex), name(&[b"\0", b"bit"]));
}

#[test]
fn a_cut_covers_all_below_it() {
    let cut = name(&[b"sub", b"bit"]);
    let record = referral(&bit(), &cut, 60);
    assert_eq!(next(&record), name(&[b"sub\0", b"bit"]));
    assert_eq!(types(&record), [2, 46, 47]);
    assert!(data(&record).is_ancestor_delegation());
    let below = name(&[&[255; 63], b"sub", b"bit"]);
    assert!(cut < below && below < next(&record));
    let full = name(&[&[b'z'; 63], b"bit"]);
    let mut expected = [b'z'; 63];
    expected[62] = b'{';
    assert_eq!(next(&referral(&bit(), &full, 60)), name(&[&expected, b"bit"]));
}

#[test]
fn names_that_have_no_room_for_another_label_are_followed_by_a_sibling() {
    let next_of = |owner: &Name| next(&nxdomain(&bit(), owner, 60));
    let with_first = |owner: &Name, first: &[u8]| {
        let labels = std::iter::once(first).chain(owner.iter().skip(1));
        Name::from_labels(labels).unwrap()
    };
    let fits = long(b"a", 253);
    assert_eq!(next_of(&fits), fits.prepend_label(&b"\0"[..]).unwrap());
    let appended = long(b"a", 254);
    assert_eq!(next_of(&appended), with_first(&appended, b"a\0"));
    for (first, expected) in [
        (&b"a"[..], &b"b"[..]),
        (b"@", b"["),
        (b"ab\xff\xff", b"ac"),
        (b"\xfe", b"\xff"),
        (b"a\0", b"a\x01"),
    ] {
        let owner = long(first, 255);
        assert_eq!(next_of(&owner), with_first(&owner, expected), "{owner}");
    }
    // Nothing can be raised: the search goes on behind the parent, which has room.
    let last = long(b"\xff\xff", 255);
    let parent = last.base_name();
    assert_eq!(next_of(&last), behind_descendants(&bit(), &parent));
    assert!(last < next_of(&last));
}

#[test]
fn the_apex_follows_the_last_name() {
    let full: &[u8] = &[255; 63];
    let last = name(
        &[&full[..57], full, full, full, b"bit"][..]
            .iter()
            .map(|l| &l[..])
            .collect::<Vec<_>>(),
    );
    let fewer = name(&[full, b"bit"]);
    assert_eq!(next(&referral(&bit(), &fewer, 60)), bit());
    assert!(last > fewer);
    assert_eq!(behind_descendants(&bit(), &last), bit());
    assert_eq!(behind_descendants(&bit(), &bit()), bit());
    // Not asked of a name outside, but it ends.
    assert_eq!(behind_descendants(&bit(), &name(&[b"com"])), bit());
}

/// Labels of few kinds of bytes, with the ends of the order and its gap among them.
fn labels() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let byte = prop_oneof![
        Just(0),
        Just(255),
        Just(b'@'),
        Just(b'['),
        Just(b'a'),
        Just(b'A'),
        any::<u8>()
    ];
    let size = prop_oneof![1_usize..4, 60_usize..64];
    let label = size.prop_flat_map(move |size| prop::collection::vec(byte.clone(), size));
    prop::collection::vec(label, 0..6)
}

proptest! {
    #[test]
    fn the_next_name_is_in_the_zone_behind_and_close(labels in labels(), other in labels()) {
        let under = |labels: Vec<Vec<u8>>| {
            Name::from_labels(labels.into_iter().chain([b"bit".to_vec()])).ok()
        };
        let (Some(owner), Some(other)) = (under(labels), under(other)) else {
            return Ok(());
        };
        for record in [nxdomain(&bit(), &owner, 60), referral(&bit(), &owner, 60)] {
            let next = next(&record);
            prop_assert!(bit().zone_of(&next));
            prop_assert!(next == bit() || owner < next, "{owner} {next}");
            // The labels are as valid as on the wire.
            prop_assert_eq!(Name::from_bytes(&next.to_bytes().unwrap()).unwrap(), next.clone());
            let is_last = next == bit();
            let covered = owner < other && (is_last || other < next);
            if data(&record).is_ancestor_delegation() {
                prop_assert_eq!(covered && owner != bit(), owner != bit() && other != owner && owner.zone_of(&other));
            } else {
                prop_assert!(!covered || (is_last && owner == other), "{} covers {}", record, other);
            }
        }
    }
}

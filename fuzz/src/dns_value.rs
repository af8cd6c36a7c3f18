//! Any values make a domain within bounds after few look-ups, or are refused; building is a function of them.

use std::collections::BTreeMap;

use hickory_proto::rr::Name;
use isonym::dns::value::bounds::{MAX_BYTES, MAX_IMPORTS, MAX_MAP_DEPTH, MAX_RECORDS};
use isonym::dns::zone::{Built, Domain, Imported, Node, build};
use isonym::name::{NameId, NameValue};

use crate::input;

fn count(node: &Node, depth: usize) -> usize {
    assert!(depth <= MAX_MAP_DEPTH);
    let own: usize = node.rrsets().map(|(_, records)| records.len()).sum();
    own + node.children().map(|(_, child)| count(child, depth + 1)).sum::<usize>()
}

fn resolve(value: &NameValue, others: &[NameValue]) -> Option<Domain> {
    let name = NameId::new(b"d/example")?;
    let apex = Name::from_ascii("example.bit.").ok()?;
    let mut imports = BTreeMap::new();
    loop {
        let needs = match build(&name, value, &apex, &imports).ok()? {
            Built::Domain(domain) => return Some(domain),
            Built::Needs(needs) => needs,
        };
        assert!(!needs.is_empty());
        for need in needs {
            // `dd/0`, `dd/1` and so on are the other values.
            let index = need.as_bytes().last().map(|byte| usize::from(byte.wrapping_sub(b'0')));
            let found = index.and_then(|index| others.get(index)).cloned();
            let before = imports.insert(need, found.map_or(Imported::Absent, Imported::Value));
            assert!(before.is_none());
        }
        assert!(imports.len() <= MAX_IMPORTS);
    }
}

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let Some(texts) = input::<Vec<&str>>(bytes) else { return };
    let values: Vec<_> = texts
        .iter()
        .filter_map(|text| NameValue::new(text.as_bytes()))
        .collect();
    let Some((value, others)) = values.split_first() else {
        return;
    };
    if let Some(domain) = resolve(value, others) {
        assert!(count(domain.root(), 0) <= MAX_RECORDS);
        assert!(domain.size() <= 2 * MAX_BYTES);
        assert!(resolve(value, others).is_some_and(|again| again == domain));
    }
}

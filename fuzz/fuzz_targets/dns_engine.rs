//! Any value and any question give an answer after few lookups, whose records belong to the question.

#![no_main]

use hickory_proto::rr::{DNSClass, Name, RecordType};
use isonym::dns::engine::{Question, Settings};
use isonym::name::NameValue;
use libfuzzer_sys::fuzz_target;

mod world;

fuzz_target!(|input: (&[u8], u16, &[u8])| {
    let (below, kind, value) = input;
    let Some(value) = NameValue::new(value) else { return };
    let labels = below.split(|byte| *byte == b'.').filter(|label| !label.is_empty());
    for end in [&[b"x".as_slice(), b"bit"][..], &[b"bit"]] {
        if let Ok(name) = Name::from_labels(labels.clone().chain(end.iter().copied())) {
            let question = Question::new(name, RecordType::from(kind), DNSClass::IN);
            world::check(&question, &world::reply(&Settings::default(), &question, &value));
        }
    }
});

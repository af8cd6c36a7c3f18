//! Any value and any question give an answer after few lookups, whose records belong to the question.

use hickory_proto::rr::{DNSClass, Name, RecordType};
use isonym::dns::engine::{Question, Settings};
use isonym::name::NameValue;

use crate::input;
use crate::world;

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let Some((below, kind, value)) = input::<(&[u8], u16, &[u8])>(bytes) else { return };
    let Some(value) = NameValue::new(value) else { return };
    let labels = below.split(|byte| *byte == b'.').filter(|label| !label.is_empty());
    for end in [&[b"x".as_slice(), b"bit"][..], &[b"bit"]] {
        if let Ok(name) = Name::from_labels(labels.clone().chain(end.iter().copied())) {
            let question = Question::new(name, RecordType::from(kind), DNSClass::IN);
            world::check(&question, &world::reply(&Settings::default(), &question, &value));
        }
    }
}

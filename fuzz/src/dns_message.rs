//! Any bytes are a query, or refused or ignored; the reply is no longer than the client takes and can be decoded.

use std::sync::LazyLock;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::Name;
use isonym::dns::dnssec::{KeyAlgorithm, Keys, Signer};
use isonym::dns::engine::Settings;
use isonym::dns::message::{Incoming, MAX_UDP, Query, Transport, read, write};
use isonym::dns::sign::{Signers, sign};
use isonym::name::NameValue;
use isonym::time::Timestamp;

use crate::input;
use crate::world;

static SIGNERS: LazyLock<Signers> = LazyLock::new(|| {
    let bit = Name::from_ascii("bit.").into_iter();
    let keys = bit.filter_map(|zone| Keys::generate(&zone, KeyAlgorithm::Ed25519).ok());
    Signers::new(keys.map(Signer::new))
});

/// Checks the reply to a query, or to what was to be one.
fn check(request: &[u8], reply: &[u8], limit: usize) -> Message {
    assert!(reply.len() <= limit);
    let message = Message::from_vec(reply).expect("what is sent can be decoded");
    assert_eq!(request.get(..2), reply.get(..2));
    assert_eq!(message.metadata.message_type, MessageType::Response);
    assert!(!message.metadata.recursion_available);
    message
}

fn answer(bytes: &[u8], query: &Query, value: &NameValue) {
    let settings = Settings {
        version: Some("version".to_owned()),
        dnskeys: SIGNERS.dnskeys(),
        ..Settings::default()
    };
    let reply = world::reply(&settings, &query.question, value);
    world::check(&query.question, &reply);
    let reply = sign(reply, query, &SIGNERS, Timestamp(1_800_000_000));
    let payload = query.edns.map_or(512, |edns| edns.payload.clamp(512, MAX_UDP));
    for (transport, limit) in [(Transport::Udp, payload), (Transport::Tcp, u16::MAX)] {
        for echo_id in [false, true] {
            let message = check(bytes, &write(query, &reply, transport, echo_id), limit.into());
            assert_eq!(message.metadata.response_code, reply.code);
            assert!(
                message
                    .queries
                    .iter()
                    .all(|asked| asked.name().eq_case(&query.question.name))
            );
            let options = message.edns.as_ref().map_or(0, |edns| edns.options().as_ref().len());
            let echoed = usize::from(echo_id && query.isolation_id.is_some());
            assert!(options <= usize::from(reply.note.is_some()) + echoed);
            if !message.metadata.truncation {
                assert_eq!(message.answers, reply.answers);
                assert_eq!(message.authorities, reply.authorities);
            }
        }
    }
}

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let Some((value, bytes)) = input::<(&[u8], &[u8])>(bytes) else { return };
    let Some(value) = NameValue::new(value) else { return };
    match read(bytes) {
        Incoming::Query(query) => answer(bytes, &query, &value),
        Incoming::Refused(reply) => {
            check(bytes, &reply, MAX_UDP.into());
        }
        Incoming::Ignored => {}
    }
}

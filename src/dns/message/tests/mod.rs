//! Messages as they come and go.

mod properties;
mod queries;
mod replies;

use std::net::Ipv4Addr;

use hickory_proto::rr::rdata::{A, NS, SOA, TXT};
use hickory_proto::rr::{DNSClass, RecordType};

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn message(text: &str) -> Message {
    let mut message = Message::query();
    message.metadata.id = 0x1234;
    message.metadata.recursion_desired = true;
    message.queries.push(op::Query::query(name(text), RecordType::A));
    message
}

fn with_edns(payload: u16, options: &[(u16, &[u8])]) -> Message {
    let mut message = message("Www.example.bit.");
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    for (code, bytes) in options {
        edns.options_mut().insert(EdnsOption::Unknown(*code, bytes.to_vec()));
    }
    message.edns = Some(edns);
    message
}

fn bytes_of(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap()
}

fn query_of(message: &Message) -> Query {
    match read(&bytes_of(message)) {
        Incoming::Query(query) => *query,
        other => panic!("{other:?}"),
    }
}

fn refusal(bytes: &[u8]) -> Message {
    match read(bytes) {
        Incoming::Refused(reply) => decoded(&reply),
        other => panic!("{other:?}"),
    }
}

fn decoded(bytes: &[u8]) -> Message {
    Message::from_vec(bytes).unwrap()
}

fn id_of(options: &[(u16, &[u8])]) -> Option<IsolationId> {
    query_of(&with_edns(1232, options)).isolation_id
}

fn address(owner: &str, number: u16) -> Record {
    let [high, low] = number.to_be_bytes();
    Record::from_rdata(name(owner), 600, RData::A(A(Ipv4Addr::new(192, 0, high, low))))
}

fn addresses(owner: &str, count: u16) -> Vec<Record> {
    (0..count).map(|number| address(owner, number)).collect()
}

fn nameserver(cut: &str, target: &str) -> Record {
    Record::from_rdata(name(cut), 600, RData::NS(NS(name(target))))
}

fn answer(answers: Vec<Record>) -> Reply {
    Reply {
        authoritative: true,
        answers,
        ..Reply::bare(ResponseCode::NoError)
    }
}

fn written(query: &Message, reply: &Reply, transport: Transport) -> (usize, Message) {
    let bytes = write(&query_of(query), reply, transport, false);
    (bytes.len(), decoded(&bytes))
}

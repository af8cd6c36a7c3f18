//! Queries off the wire, and replies onto it: header, EDNS, sizes.
//!
//! Decoding and encoding are hickory-proto's; here is what a server must make of it.

use hickory_proto::ProtoError;
use hickory_proto::op::{self, Edns, Header, Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::OPT;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError};

use super::dnssec::denial::COMPACT_OK;
use super::engine::{ExtendedError, Question, Reply};
use crate::isolation::IsolationId;

/// The EDNS option that carries an isolation ID. Source: ncdns, `backend/backend.go`; the code is of the private range.
pub const ISOLATION_OPTION: u16 = 65312;

/// The EDNS option for extended errors (RFC 8914).
const EXTENDED_ERROR: u16 = 15;

/// Largest message over UDP in bytes: fits into a packet on every path that matters. Source: DNS Flag Day 2020.
pub const MAX_UDP: u16 = 1232;

/// Largest message over UDP without EDNS, in bytes (RFC 1035 section 4.2.1).
const MAX_PLAIN_UDP: u16 = 512;

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Over UDP: replies are cut to what the client takes.
    Udp,
    /// Over TCP: replies are whole.
    Tcp,
}

/// What a message off the wire is.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// A query.
    Query(Box<Query>),
    /// Something that is refused with this message.
    Refused(Vec<u8>),
    /// Nothing that is answered: a response, or less than a header.
    Ignored,
}

/// A query.
#[derive(Clone, Debug)]
pub struct Query {
    /// What is asked.
    pub question: Question,
    /// Under which isolation ID, if it says so; never an empty one.
    pub isolation_id: Option<IsolationId>,
    /// What it says of itself by EDNS.
    pub edns: Option<ClientEdns>,
    metadata: Metadata,
}

/// What a client says by EDNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientEdns {
    /// The largest message that it takes over UDP, in bytes.
    pub payload: u16,
    /// Whether it wants DNSSEC records.
    pub dnssec_ok: bool,
    /// Whether it takes NXDOMAIN with a compact proof.
    pub compact_ok: bool,
}

impl Query {
    /// Says whether DNSSEC records are wanted.
    pub fn wants_dnssec(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// Says whether NXDOMAIN is understood where a compact proof denies a name.
    pub fn takes_compact(&self) -> bool {
        self.edns.is_some_and(|edns| edns.compact_ok)
    }
}

/// Reads a message off the wire.
pub fn read(bytes: &[u8]) -> Incoming {
    // The counts first: room is made for as many questions as a message claims to have.
    let Ok(header) = Header::read(&mut BinDecoder::new(bytes)) else {
        return Incoming::Ignored;
    };
    if header.metadata.message_type == MessageType::Response {
        return Incoming::Ignored;
    }
    let refuse = |code| refused(&header.metadata, None, code);
    if header.metadata.op_code != OpCode::Query {
        // What the flags of another operation mean is not known here, so none is given back.
        let mut metadata = header.metadata;
        (metadata.recursion_desired, metadata.checking_disabled) = (false, false);
        return refused(&metadata, None, ResponseCode::NotImp);
    }
    if header.counts.queries != 1 {
        return refuse(ResponseCode::FormErr);
    }
    if check_options(bytes).is_err() {
        return refuse(ResponseCode::FormErr);
    }
    let Ok(mut message) = Message::from_vec(bytes) else {
        return refuse(ResponseCode::FormErr);
    };
    let Some(mut asked) = message.queries.pop() else {
        return refuse(ResponseCode::FormErr);
    };
    // The wire knows no other names.
    let mut name = std::mem::take(&mut asked.name);
    name.set_fqdn(true);
    let mut query = Query {
        question: Question::new(name, asked.query_type, asked.query_class),
        isolation_id: None,
        edns: None,
        metadata: message.metadata,
    };
    let Some(edns) = message.edns else {
        return Incoming::Query(Box::new(query));
    };
    query.edns = Some(ClientEdns {
        payload: edns.max_payload(),
        dnssec_ok: edns.flags().dnssec_ok,
        compact_ok: edns.flags().z & COMPACT_OK != 0,
    });
    if edns.version() > 0 {
        return refused(&query.metadata, Some(&query), ResponseCode::BADVERS);
    }
    // Of several the last counts, as with ncdns.
    let options = edns.options().as_ref().iter().rev();
    let id = options.into_iter().find_map(|(code, option)| match (code, option) {
        (EdnsCode::Unknown(ISOLATION_OPTION), EdnsOption::Unknown(_, bytes)) => Some(bytes),
        _ => None,
    });
    match id.map(|bytes| IsolationId::new(bytes)) {
        Some(None) => {
            let reply = Reply::noted(ResponseCode::Refused, ExtendedError::IdTooLong);
            Incoming::Refused(write(&query, &reply, Transport::Udp, false))
        }
        Some(Some(id)) if !id.as_bytes().is_empty() => {
            query.isolation_id = Some(id);
            Incoming::Query(Box::new(query))
        }
        _ => Incoming::Query(Box::new(query)),
    }
}

/// Checks that EDNS options fill their record exactly.
///
/// Where they don't, hickory-proto drops them all and goes on: a query would lose its isolation ID and be answered as one
/// of the default identity. It also logs what it has read of the last option, which may be that ID.
fn check_options(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut decoder = BinDecoder::new(bytes);
    let counts = Header::read(&mut decoder)?.counts;
    for _ in 0..counts.queries {
        op::Query::read(&mut decoder)?;
    }
    let records = [counts.answers, counts.authorities, counts.additionals].map(usize::from);
    for _ in 0..records.into_iter().sum() {
        Name::read(&mut decoder)?;
        let kind = RecordType::read(&mut decoder)?;
        let _class_and_ttl = decoder.read_slice(6)?;
        let data = counted(&mut decoder)?;
        if kind == RecordType::OPT {
            let mut options = BinDecoder::new(data);
            while !options.is_empty() {
                let _code = options.read_u16()?;
                counted(&mut options)?;
            }
        }
    }
    Ok(())
}

/// Reads bytes behind their number in two bytes.
fn counted<'a>(decoder: &mut BinDecoder<'a>) -> Result<&'a [u8], DecodeError> {
    let length = decoder.read_u16()?.unverified(/*the decoder checks that they are there*/);
    Ok(decoder.read_slice(length.into())?.unverified(/*any bytes will do*/))
}

fn refused(metadata: &Metadata, query: Option<&Query>, code: ResponseCode) -> Incoming {
    if let Some(query) = query {
        return Incoming::Refused(write(query, &Reply::bare(code), Transport::Udp, false));
    }
    let message = response(metadata, code);
    message.to_vec().map_or(Incoming::Ignored, Incoming::Refused)
}

/// Makes a response to a message, without a question.
fn response(metadata: &Metadata, code: ResponseCode) -> Message {
    let mut message = Message::response(metadata.id, metadata.op_code);
    message.metadata = Metadata::response_from_request(metadata);
    message.metadata.response_code = code;
    message
}

/// Writes the reply to a query. `echo_id` gives the isolation ID back, as ncdns does.
///
/// What is too long for the transport is cut: glue first, then all records, with the flag that says so, then options.
pub fn write(query: &Query, reply: &Reply, transport: Transport, echo_id: bool) -> Vec<u8> {
    let limit = match (transport, query.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, Some(edns)) => edns.payload.clamp(MAX_PLAIN_UDP, MAX_UDP),
        (Transport::Udp, None) => MAX_PLAIN_UDP,
    };
    let mut message = response(&query.metadata, reply.code);
    message.metadata.authoritative = reply.authoritative;
    message.queries.push(asked(&query.question));
    message.edns = query.edns.map(|edns| our_edns(query, edns, reply, echo_id));
    let capped = |records: &[Record]| {
        let cap = |record: &Record| {
            let mut record = record.clone();
            record.ttl = record.ttl.min(reply.life);
            record
        };
        records.iter().map(cap).collect::<Vec<_>>()
    };
    message.answers = capped(&reply.answers);
    message.authorities = capped(&reply.authorities);
    message.additionals = capped(&reply.additionals);
    cut(message, limit).unwrap_or_else(|_| {
        // There is a record that can't be written at all.
        let reply = Reply::bare(ResponseCode::ServFail);
        let mut failure = response(&query.metadata, reply.code);
        failure.queries.push(asked(&query.question));
        failure.edns = query.edns.map(|edns| our_edns(query, edns, &reply, false));
        failure.to_vec().unwrap_or_default()
    })
}

/// Encodes a message, without what makes it longer than the limit. The encoder's own limit would drop the OPT record
/// first.
fn cut(mut message: Message, limit: u16) -> Result<Vec<u8>, ProtoError> {
    let fits = |bytes: &Vec<u8>| bytes.len() <= usize::from(limit);
    let whole = message.to_vec()?;
    if fits(&whole) {
        return Ok(whole);
    }
    // Without glue for a nameserver below the cut a resolver gets no further (RFC 9471): it must ask over TCP.
    message.metadata.truncation = is_glue_needed(&message.authorities, &message.additionals);
    message.additionals.clear();
    let without_glue = message.to_vec()?;
    if fits(&without_glue) {
        return Ok(without_glue);
    }
    message.metadata.truncation = true;
    message.answers.clear();
    message.authorities.clear();
    let empty = message.to_vec()?;
    if fits(&empty) {
        return Ok(empty);
    }
    // An isolation ID that is given back, and does not fit.
    if let Some(edns) = &mut message.edns {
        *edns.options_mut() = OPT::default();
    }
    message.to_vec()
}

fn asked(question: &Question) -> op::Query {
    let mut asked = op::Query::query(question.name.clone(), question.kind);
    asked.set_query_class(question.class);
    asked
}

fn our_edns(query: &Query, client: ClientEdns, reply: &Reply, echo_id: bool) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_UDP).set_dnssec_ok(client.dnssec_ok);
    if client.compact_ok {
        edns.flags_mut().z = COMPACT_OK;
    }
    if let Some(note) = reply.note {
        let (code, text) = note.code_and_text();
        let data = [&code.to_be_bytes(), text.as_bytes()].concat();
        edns.options_mut().insert(EdnsOption::Unknown(EXTENDED_ERROR, data));
    }
    if let (true, Some(id)) = (echo_id, &query.isolation_id) {
        let option = EdnsOption::Unknown(ISOLATION_OPTION, id.as_bytes().to_vec());
        edns.options_mut().insert(option);
    }
    edns
}

fn is_glue_needed(authorities: &[Record], glue: &[Record]) -> bool {
    let mut cuts = authorities.iter().filter(|record| matches!(record.data, RData::NS(_)));
    cuts.any(|record| {
        let below = |glue: &Record| record.name.zone_of(&glue.name);
        glue.iter().any(below)
    })
}

#[cfg(test)]
mod tests;

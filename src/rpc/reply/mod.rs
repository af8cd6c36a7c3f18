//! JSON-RPC replies: results of calls to a status and a body.
//!
//! Source: Namecoin Core `rpc/request.cpp`, `JSONRPCReplyObj`, and `httprpc.cpp`, `JSONErrorReply`.

use std::fmt::Write as _;

use bitcoin::hashes::Hash;
use bitcoin::hex::DisplayHex as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::request::{Body, Call, Envelope, MAX_BATCH, MAX_BODY, Member, Request, Version};
use crate::jsonrpc::client::MAX_REPLY;
use crate::jsonrpc::{RpcError, code};

/// Longest reply to a batch in bytes. As many lookups as a batch may have fit in, whatever their values; as many
/// histories need not.
pub const MAX_BATCH_REPLY: usize = MAX_REPLY;

/// What of it is kept for errors, once there is no room for results: IDs come back, and all of them were in one body;
/// the rest of an error is short.
const ROOM_FOR_ERRORS: usize = MAX_BODY + MAX_BATCH * 256;

/// What a call answers: JSON on one line, or an error.
pub type CallResult = Result<Box<RawValue>, RpcError>;

/// Writes a result as JSON.
///
/// # Errors
///
/// An internal error, for types that JSON can't express; none of ours is.
pub fn result(value: &impl Serialize) -> CallResult {
    serde_json::value::to_raw_value(value).map_err(|error| RpcError::new(code::INTERNAL, error.to_string()))
}

/// Serializes a hash as its text, which has the last byte first.
///
/// Its own `Display` gives the text out digit by digit: two hashes took an eighth of all instructions for a remembered
/// name.
pub(super) fn hash_text<H: Hash<Bytes = [u8; 32]>, S: Serializer>(hash: &H, serializer: S) -> Result<S::Ok, S::Error> {
    let mut bytes = hash.to_byte_array();
    bytes.reverse();
    serializer.serialize_str(&bytes.to_lower_hex_string())
}

/// An HTTP reply.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// JSON and a line feed; `None` where nothing is to be said.
    pub body: Option<String>,
}

impl Reply {
    const NOTHING: Self = Self {
        status: 204,
        body: None,
    };

    fn json(status: u16, mut body: String) -> Self {
        body.push('\n');
        Self {
            status,
            body: Some(body),
        }
    }
}

/// Answers a body: calls `service` for each of its calls, one after the other, in order. Once the replies to a batch
/// come to [`MAX_BATCH_REPLY`], the rest of its calls are answered with errors, and not made.
pub async fn answer<F, S>(body: Body, mut service: S) -> Reply
where
    S: FnMut(Call) -> F,
    F: Future<Output = CallResult>,
{
    match body {
        Body::Refused(error) => {
            let envelope = Envelope {
                version: Version::Legacy,
                id: Some("null".into()),
            };
            let status = status(&error);
            Reply::json(status, object(&envelope, &Err(error)))
        }
        Body::Single(request) => {
            let malformed = request.call.is_err();
            let result = match request.call {
                Ok(call) => service(call).await,
                Err(error) => Err(error),
            };
            if request.envelope.is_notification() && !malformed {
                return Reply::NOTHING;
            }
            let status = match (&result, request.envelope.version) {
                (Err(error), Version::Legacy) => status(error),
                _ => 200,
            };
            Reply::json(status, object(&request.envelope, &result))
        }
        Body::Batch(members) if members.is_empty() => Reply::json(200, "[]".to_owned()),
        Body::Batch(members) => answer_batch(members, service).await,
    }
}

async fn answer_batch<F, S>(members: Vec<Member>, mut service: S) -> Reply
where
    S: FnMut(Call) -> F,
    F: Future<Output = CallResult>,
{
    let no_room = || {
        let message = format!("the replies to this batch have more than {MAX_BATCH_REPLY} bytes: ask for less at once");
        Err(RpcError::new(code::MISC, message))
    };
    let mut replies = String::from("[");
    let mut full = false;
    for member in members {
        let Request { envelope, call } = member.into_request();
        let wanted = !envelope.is_notification();
        let result = match call {
            Ok(_) if full && wanted => no_room(),
            Ok(call) => service(call).await,
            Err(error) => Err(error),
        };
        if !wanted {
            continue;
        }
        let mut reply = object(&envelope, &result);
        full = full || replies.len() + reply.len() > MAX_BATCH_REPLY - ROOM_FOR_ERRORS;
        if full {
            reply = object(&envelope, &no_room());
        }
        replies.push_str(if replies.len() > 1 { "," } else { "" });
        replies.push_str(&reply);
    }
    if replies.len() == 1 {
        return Reply::NOTHING;
    }
    replies.push(']');
    Reply::json(200, replies)
}

/// Returns the HTTP status that an error has outside of version 2.0.
fn status(error: &RpcError) -> u16 {
    match error.code {
        code::INVALID_REQUEST => 400,
        code::METHOD_NOT_FOUND => 404,
        _ => 500,
    }
}

/// Writes one reply object.
fn object(envelope: &Envelope, result: &CallResult) -> String {
    let mut text = String::with_capacity(128 + result.as_ref().map_or(0, |result| result.get().len()));
    text.push('{');
    if envelope.version == Version::V2 {
        text.push_str(r#""jsonrpc":"2.0","#);
    }
    match (result, envelope.version) {
        (Ok(result), Version::Legacy) => push(&mut text, &[r#""result":"#, result.get(), r#","error":null"#]),
        (Ok(result), Version::V2) => push(&mut text, &[r#""result":"#, result.get()]),
        (Err(error), version) => {
            if version == Version::Legacy {
                text.push_str(r#""result":null,"#);
            }
            // A string's `Display` as JSON value escapes it.
            let message = serde_json::Value::String(error.message.clone());
            // Writing to a string does not fail.
            let _ = write!(text, r#""error":{{"code":{},"message":{message}}}"#, error.code);
        }
    }
    if let Some(id) = &envelope.id {
        push(&mut text, &[r#","id":"#, id]);
    }
    text.push('}');
    text
}

fn push(text: &mut String, parts: &[&str]) {
    for part in parts {
        text.push_str(part);
    }
}

#[cfg(test)]
mod tests;

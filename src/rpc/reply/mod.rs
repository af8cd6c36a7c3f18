//! JSON-RPC replies: results of calls to a status and a body.
//!
//! Source: Namecoin Core `rpc/request.cpp`, `JSONRPCReplyObj`, and `httprpc.cpp`, `JSONErrorReply`.

use std::fmt::Write as _;

use bitcoin::hashes::Hash;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::request::{Envelope, MAX_BATCH, MAX_BODY, Version};
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
    let mut text = [0; 64];
    for (digits, byte) in text.chunks_exact_mut(2).zip(hash.to_byte_array().iter().rev()) {
        digits.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
    }
    serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
}

const fn hex_digit(number: u8) -> u8 {
    match number {
        0..=9 => b'0' + number,
        _ => b'a' - 10 + number,
    }
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
    /// Refuses a body that holds no request.
    pub(super) fn to_none(error: RpcError) -> Self {
        let envelope = Envelope {
            version: Version::Legacy,
            id: Some("null".into()),
        };
        Self::to_one(&envelope, &Err(error))
    }

    /// Says nothing: to a notification, or to a batch of them.
    pub(super) const fn to_nobody() -> Self {
        Self {
            status: 204,
            body: None,
        }
    }

    /// Answers one request.
    pub(super) fn to_one(envelope: &Envelope, result: &CallResult) -> Self {
        let status = match (result, envelope.version) {
            (Err(error), Version::Legacy) => status(error),
            // Core fails when it parses the request, before the rule that errors of version 2 have status 200.
            (Err(error), Version::V2) if error.code == code::INVALID_REQUEST => status(error),
            _ => 200,
        };
        Self::json(status, object(envelope, result))
    }

    fn json(status: u16, mut body: String) -> Self {
        body.push('\n');
        Self {
            status,
            body: Some(body),
        }
    }
}

/// The reply to a batch. Once it comes to [`MAX_BATCH_REPLY`], the rest of the calls are answered with errors.
#[derive(Default)]
pub(super) struct BatchReply {
    replies: String,
    is_full: bool,
}

impl BatchReply {
    /// Says whether there is no room for further results, so that calls need not be made for them.
    pub(super) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// Returns what a call comes to for which there is no room.
    pub(super) fn no_room() -> CallResult {
        let message = format!("the replies to this batch have more than {MAX_BATCH_REPLY} bytes: ask for less at once");
        Err(RpcError::new(code::MISC, message))
    }

    /// Adds the answer to a member that wants one.
    pub(super) fn push(&mut self, envelope: &Envelope, result: &CallResult) {
        let mut reply = object(envelope, result);
        self.is_full = self.is_full || self.replies.len() + reply.len() > MAX_BATCH_REPLY - ROOM_FOR_ERRORS;
        if self.is_full {
            reply = object(envelope, &Self::no_room());
        }
        self.replies.push(if self.replies.is_empty() { '[' } else { ',' });
        self.replies.push_str(&reply);
    }

    /// Ends the batch; nothing is said where no member wants an answer.
    pub(super) fn end(mut self) -> Reply {
        if self.replies.is_empty() {
            return Reply::to_nobody();
        }
        self.replies.push(']');
        Reply::json(200, self.replies)
    }

    /// Answers a batch without members.
    pub(super) fn empty() -> Reply {
        Reply::json(200, "[]".to_owned())
    }
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
            let _ = write!(text, r#""error":{{"code":{},"message":{message}"#, error.code);
            if let Some(data) = &error.data {
                let _ = write!(text, r#","data":{data}"#);
            }
            text.push('}');
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

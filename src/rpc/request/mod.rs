//! JSON-RPC requests: bytes of a body to calls. Versions 1.0, 1.1 and 2.0, batches and notifications as in Core.
//!
//! Source: Namecoin Core `rpc/request.cpp`, `JSONRPCRequest::parse`, and `httprpc.cpp`, `HTTPReq_JSONRPC`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::Json;
use crate::jsonrpc::{RpcError, code};

/// Longest body in bytes: a megabyte, ten times what a full batch of lookups takes.
pub const MAX_BODY: usize = 1 << 20;

/// Most calls in one batch.
pub const MAX_BATCH: usize = 1000;

/// Which version's rules a request is answered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// 1.0 and 1.1: errors set the HTTP status.
    #[default]
    Legacy,
    /// 2.0.
    V2,
}

/// What a reply needs of its request. `Debug` hides the ID, which is the caller's text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Which version.
    pub version: Version,
    /// The ID's JSON text on one line, as it was given; `None` when it was not given.
    pub id: Option<Box<str>>,
}

impl Envelope {
    /// Says whether no reply is wanted: a request of version 2.0 without an ID. `"id":null` is one.
    pub fn is_notification(&self) -> bool {
        self.version == Version::V2 && self.id.is_none()
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({:?}, ..)", self.version)
    }
}

/// A call's parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Params {
    /// By position.
    Positional(Vec<Json>),
    /// By name, in order; a name may come twice.
    Named(Vec<(String, Json)>),
}

/// A method to be called.
#[derive(Clone, PartialEq)]
pub struct Call {
    /// Its name, as given.
    pub method: String,
    /// Its parameters.
    pub params: Params,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call(..)")
    }
}

/// One request: a call, or why it is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What its reply needs.
    pub envelope: Envelope,
    /// The call.
    pub call: Result<Call, RpcError>,
}

/// One member of a batch: JSON that is not looked into before its turn comes, as values take many times the room of
/// their text. `Debug` hides it.
#[derive(Clone)]
pub struct Member(Box<RawValue>);

impl Member {
    /// Reads the request. What is no object is none, and nor is what is nested too deep.
    pub fn into_request(self) -> Request {
        let nobody = |error: RpcError| Request {
            envelope: Envelope {
                version: Version::Legacy,
                id: Some("null".into()),
            },
            call: Err(error),
        };
        match serde_json::from_str::<Item<'_>>(self.0.get()) {
            Ok(Item(Some(members))) => members.into_request(),
            Ok(Item(None)) => nobody(invalid("Invalid Request object")),
            Err(_) => nobody(parse_error()),
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Member(..)")
    }
}

/// What a body holds.
#[derive(Clone, Debug)]
pub enum Body {
    /// One request.
    Single(Request),
    /// Several, to be answered together.
    Batch(Vec<Member>),
    /// None that could be answered by itself.
    Refused(RpcError),
}

impl Body {
    /// Parses a body of at most [`MAX_BODY`] bytes, with at most [`MAX_BATCH`] calls; more nesting than some 120
    /// levels, where it is looked at, is no JSON to us.
    pub fn parse(bytes: &[u8]) -> Self {
        if bytes.len() > MAX_BODY {
            return Self::Refused(RpcError::new(code::INVALID_REQUEST, "Request too large"));
        }
        // Strings must be UTF-8 anyway; checked once here, IDs can then be borrowed from the text.
        let parsed = std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| serde_json::from_str::<Top<'_>>(text).ok());
        match parsed {
            None => Self::Refused(parse_error()),
            Some(Top::Neither) => Self::Refused(RpcError::new(code::PARSE, "Top-level object parse error")),
            Some(Top::Object(members)) => Self::Single(members.into_request()),
            Some(Top::Array(items)) if items.len() > MAX_BATCH => {
                let message = format!("Batch too large: at most {MAX_BATCH} requests are allowed");
                Self::Refused(RpcError::new(code::INVALID_REQUEST, message))
            }
            Some(Top::Array(items)) => Self::Batch(items),
        }
    }
}

/// The members of a request object that mean something; the first of each name counts, as in Core.
#[derive(Default)]
struct Members<'a> {
    id: Option<&'a RawValue>,
    jsonrpc: Option<Json>,
    method: Option<Json>,
    params: Option<Json>,
}

impl Members<'_> {
    fn into_request(self) -> Request {
        let mut envelope = Envelope {
            version: Version::Legacy,
            id: self.id.map(|id| on_one_line(id.get())),
        };
        let call = self.jsonrpc.map_or(Ok(Version::Legacy), version).and_then(|version| {
            envelope.version = version;
            call(self.method, self.params)
        });
        Request { envelope, call }
    }
}

fn version(member: Json) -> Result<Version, RpcError> {
    match member {
        Json::Null => Ok(Version::Legacy),
        Json::String(version) if version == "1.0" => Ok(Version::Legacy),
        Json::String(version) if version == "2.0" => Ok(Version::V2),
        Json::String(_) => Err(invalid("JSON-RPC version not supported")),
        _ => Err(invalid("jsonrpc field must be a string")),
    }
}

fn call(method: Option<Json>, params: Option<Json>) -> Result<Call, RpcError> {
    let method = match method {
        Some(Json::String(method)) => method,
        None | Some(Json::Null) => return Err(invalid("Missing method")),
        Some(_) => return Err(invalid("Method must be a string")),
    };
    let params = match params {
        None | Some(Json::Null) => Params::Positional(Vec::new()),
        Some(Json::Array(items)) => Params::Positional(items),
        Some(Json::Object(members)) => Params::Named(members),
        Some(_) => return Err(invalid("Params must be an array or object")),
    };
    Ok(Call { method, params })
}

fn invalid(message: &str) -> RpcError {
    RpcError::new(code::INVALID_REQUEST, message)
}

fn parse_error() -> RpcError {
    RpcError::new(code::PARSE, "Parse error")
}

/// Copies JSON text without the blanks between its tokens: a reply is one line, whatever its ID looks like.
fn on_one_line(json: &str) -> Box<str> {
    let (mut quoted, mut escaped) = (false, false);
    let keep = |c: &char| {
        let inside = quoted;
        match *c {
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = inside && *c == '\\' && !escaped;
        inside || !c.is_ascii_whitespace()
    };
    json.chars().filter(keep).collect::<String>().into()
}

/// The whole of a body.
enum Top<'a> {
    Object(Members<'a>),
    /// At most one item more than a batch may have is kept: enough to see that there are too many.
    Array(Vec<Member>),
    Neither,
}

/// What a member of a batch holds; `None` when it is no object.
struct Item<'a>(Option<Members<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Top<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TopVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Item<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor).map(Item)
    }
}

fn members<'de, A: MapAccess<'de>>(mut access: A) -> Result<Members<'de>, A::Error> {
    let mut members = Members::default();
    while let Some(key) = access.next_key::<Cow<'_, str>>()? {
        match &*key {
            "id" if members.id.is_none() => members.id = Some(access.next_value()?),
            "jsonrpc" if members.jsonrpc.is_none() => members.jsonrpc = Some(access.next_value()?),
            "method" if members.method.is_none() => members.method = Some(access.next_value()?),
            "params" if members.params.is_none() => members.params = Some(access.next_value()?),
            _ => {
                access.next_value::<IgnoredAny>()?;
            }
        }
    }
    Ok(members)
}

/// Accepts every scalar as `$none`.
macro_rules! scalars_are {
    ($none:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON value")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($none)
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($none)
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($none)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($none)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($none)
        }

        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($none)
        }
    };
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top<'de>;

    scalars_are!(Top::Neither);

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Top<'de>, A::Error> {
        let mut items = Vec::new();
        while items.len() <= MAX_BATCH {
            match access.next_element()? {
                Some(item) => items.push(Member(item)),
                None => return Ok(Top::Array(items)),
            }
        }
        while access.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Top::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Top<'de>, A::Error> {
        members(access).map(Top::Object)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Option<Members<'de>>;

    scalars_are!(None);

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        while access.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Self::Value, A::Error> {
        members(access).map(Some)
    }
}

#[cfg(test)]
mod tests;

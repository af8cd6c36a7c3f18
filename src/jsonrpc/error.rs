//! What a call answers when it fails: Namecoin Core's codes and texts.

use std::fmt;

use serde_json::Value;

use crate::name::Encoding;

/// Codes of errors. Source: Namecoin Core `rpc/protocol.h`.
pub mod code {
    /// Everything that has no code of its own; in Electrum's style see [`ELECTRUM`].
    pub const MISC: i32 = -1;
    /// A parameter of the wrong JSON type.
    pub const TYPE: i32 = -3;
    /// The name has no value: in Core the code of wallet errors, long in use for names.
    pub const NAME: i32 = -4;
    /// An unknown block.
    pub const NOT_FOUND: i32 = -5;
    /// A parameter that makes no sense.
    pub const PARAMETER: i32 = -8;
    /// No server can be reached; in Core: no peer.
    pub const NOT_CONNECTED: i32 = -9;
    /// Our headers are too old to tell what names are worth.
    pub const INITIAL_DOWNLOAD: i32 = -10;
    /// Headers are being synchronised.
    pub const WARMUP: i32 = -28;
    /// Text that does not keep to its encoding.
    pub const ENCODING: i32 = -1000;
    /// JSON that is no request.
    pub const INVALID_REQUEST: i32 = -32600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// A failure of ours.
    pub const INTERNAL: i32 = -32603;
    /// No JSON.
    pub const PARSE: i32 = -32700;
    /// What Electrum-NMC answers for everything but a name without a value.
    pub const ELECTRUM: i32 = 1;
}

/// The error of a call. `Debug` shows the code alone, as messages quote names.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct RpcError {
    /// One of [`code`].
    pub code: i32,
    /// For people.
    pub message: String,
    /// For programs: what Core's errors don't have. JSON-RPC 2.0 section 5.1 has a place for it.
    pub data: Option<Box<Value>>,
}

impl RpcError {
    /// Makes an error.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// Adds what programs may go by beyond the code.
    #[must_use]
    pub fn with_data(self, data: Value) -> Self {
        Self {
            data: Some(Box::new(data)),
            ..self
        }
    }

    /// Says that a value inside a parameter has the wrong type.
    ///
    /// Source: Namecoin Core `rpc/util.cpp`, `RPCTypeCheckObj`.
    pub(crate) fn field_type(field: &str, got: &str, expected: &str) -> Self {
        let message = format!("JSON value of type {got} for field {field} is not of expected type {expected}");
        Self::new(code::TYPE, message)
    }

    /// Says that text does not keep to its encoding. Source: Namecoin Core `rpc/names.cpp`.
    pub(crate) fn encoding(encoding: Encoding) -> Self {
        Self::new(code::ENCODING, format!("Name/value is invalid for encoding {encoding}"))
    }
}

impl fmt::Debug for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RpcError({})", self.code)
    }
}

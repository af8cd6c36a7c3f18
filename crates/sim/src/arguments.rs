//! The arguments of Electrum requests, and the errors that bad ones get.

use std::str::FromStr;

use bitcoin::{BlockHash, Txid};
use serde_json::Value;

use isonym_core::name::ScriptHash;

/// The methods, each with the fewest and the most arguments that it takes.
const METHODS: [(&str, [usize; 2]); 10] = [
    ("server.ping", [0, 0]),
    ("server.peers.subscribe", [0, 0]),
    ("server.features", [0, 0]),
    ("blockchain.headers.subscribe", [0, 0]),
    ("blockchain.block.header", [1, 2]),
    ("blockchain.block.headers", [2, 3]),
    ("blockchain.scripthash.get_history", [1, 1]),
    ("blockchain.transaction.get", [1, 2]),
    ("blockchain.transaction.get_merkle", [2, 2]),
    ("blockchain.name.get_value_proof", [1, 2]),
];

/// An error as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RpcError {
    pub(super) code: i32,
    pub(super) message: String,
}

impl RpcError {
    pub(super) fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(1, message)
    }
}

/// The arguments of a request, by position or by name.
pub(super) struct Arguments<'a>(pub(super) Option<&'a Value>);

impl<'a> Arguments<'a> {
    pub(super) fn check_count(&self, method: &str) -> Result<(), RpcError> {
        let count = match self.0 {
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(items)) => items.len(),
            _ => 0,
        };
        let known = METHODS.iter().find(|(name, _)| *name == method);
        let &(_, [fewest, most]) = known.unwrap_or(&("", [0, usize::MAX]));
        let plural = if count == 1 { "" } else { "s" };
        let passed = format!("{count} argument{plural} passed to method");
        if count < fewest {
            let message = format!("{passed} \"{method}\" but it requires {fewest}");
            return Err(RpcError::new(-32602, message));
        }
        if count > most {
            let message = format!("{passed} {method} taking at most {most}");
            return Err(RpcError::new(-32602, message));
        }
        Ok(())
    }

    pub(super) fn at(&self, index: usize, name: &str) -> Option<&'a Value> {
        match self.0? {
            Value::Array(items) => items.get(index),
            Value::Object(items) => items.get(name),
            _ => None,
        }
    }

    pub(super) fn natural(&self, index: usize, name: &str) -> Result<u64, RpcError> {
        let value = self.at(index, name).unwrap_or(&Value::Null);
        value
            .as_u64()
            .ok_or_else(|| RpcError::bad_request(format!("{} should be a non-negative integer", plain(value))))
    }

    pub(super) fn natural_or_zero(&self, index: usize, name: &str) -> Result<u64, RpcError> {
        self.at(index, name).map_or(Ok(0), |_| self.natural(index, name))
    }

    pub(super) fn scripthash(&self) -> Result<ScriptHash, RpcError> {
        let value = self.at(0, "scripthash").unwrap_or(&Value::Null);
        // A block hash is printed as a scripthash is: 32 bytes, reversed, in hex.
        value
            .as_str()
            .and_then(|hex| BlockHash::from_str(hex).ok())
            .map(|hash| ScriptHash(*hash.as_ref()))
            .ok_or_else(|| RpcError::bad_request(format!("{} is not a valid script hash", plain(value))))
    }

    pub(super) fn txid(&self) -> Result<Txid, RpcError> {
        let value = self.at(0, "tx_hash").unwrap_or(&Value::Null);
        value
            .as_str()
            .and_then(|hex| Txid::from_str(hex).ok())
            .ok_or_else(|| RpcError::bad_request(format!("{} should be a transaction hash", plain(value))))
    }
}

/// Writes a value as Python's `str` does: texts without quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

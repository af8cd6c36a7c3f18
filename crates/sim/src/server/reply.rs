//! Replies, from values to lines.

use serde_json::{Value, json};

use super::{Output, Then};
use crate::arguments::RpcError;
use crate::cost::{self, Cost, Refusal};
use crate::methods::Answerer;

/// A request, or a reply to it, on its way through the faults.
pub(super) struct Reply {
    pub(super) value: Value,
    pub(super) close: bool,
    pub(super) handshake: bool,
    pub(super) cost: Cost,
}

impl Reply {
    pub(super) fn result(id: &Value, result: Value) -> Self {
        let mut value = json!({"jsonrpc": "2.0", "result": null, "id": id});
        if let Some(slot) = value.get_mut("result") {
            *slot = result;
        }
        Self {
            value,
            close: false,
            handshake: false,
            cost: Cost::ZERO,
        }
    }

    pub(super) fn refusal(id: &Value, error: RpcError) -> Self {
        let RpcError { code, message } = error;
        Self {
            value: json!({"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": id}),
            close: false,
            handshake: false,
            cost: cost::ERROR,
        }
    }

    pub(super) fn to_line(&self) -> Vec<u8> {
        self.value.to_string().into_bytes()
    }

    pub(super) fn spoil_ids(&mut self) {
        let replies = match &mut self.value {
            Value::Array(replies) => replies.as_mut_slice(),
            single => std::slice::from_mut(single),
        };
        for reply in replies {
            if let Some(id) = reply.get_mut("id") {
                *id = match id.as_u64() {
                    Some(number) => json!(number.wrapping_add(1_000_000)),
                    None => json!("nobody asked"),
                };
            }
        }
    }
}

pub(super) fn notification(answerer: &Answerer<'_>) -> Vec<u8> {
    json!({
        "jsonrpc": "2.0",
        "method": "blockchain.headers.subscribe",
        "params": [answerer.tip()],
    })
    .to_string()
    .into_bytes()
}

/// Answers a request that a server which keeps accounts does not deal with.
pub(crate) fn turned_down(line: &[u8], refusal: Refusal) -> Output {
    let request: Value = serde_json::from_slice(line).unwrap_or_default();
    let (code, message, then) = match refusal {
        Refusal::Busy => (-102, "server busy - request timed out", Then::GoOn),
        Refusal::Debt => (-101, "excessive resource usage", Then::Close),
    };
    let id = request.get("id").unwrap_or(&Value::Null);
    let reply = Reply::refusal(id, RpcError::new(code, message));
    Output {
        lines: vec![reply.to_line()],
        cost: reply.cost,
        then,
        ..Output::default()
    }
}

//! Replies byte for byte.

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use super::*;
use crate::rpc::request::{Body, Call};
use crate::rpc::server::{Callee, answer};

/// Answers a call by a function, and never waits.
struct AtOnce<F>(F);

impl<F: Fn(Call) -> CallResult + Send + Sync + 'static> Callee for AtOnce<F> {
    fn call(&self, call: Call) -> impl Future<Output = CallResult> + Send {
        ready((self.0)(call))
    }
}

/// Answers a body: `ok` has a result, everything else fails with the code that it is.
fn reply(body: &str) -> (u16, Option<String>) {
    let callee = AtOnce(|call: Call| match (call.method.as_str(), call.method.parse()) {
        ("ok", _) => result(&"yes"),
        (_, Ok(code)) => Err(RpcError::new(code, "a \"quoted\"\ntext")),
        _ => Err(RpcError::new(code::METHOD_NOT_FOUND, "Method not found")),
    });
    let future = pin!(answer(Body::parse(body.as_bytes()), &callee));
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Reply { status, body }) => (status, body),
        Poll::Pending => panic!("nothing waits"),
    }
}

fn check(body: &str, status: u16, expected: &str) {
    assert_eq!(reply(body), (status, Some(format!("{expected}\n"))), "{body}");
}

#[test]
fn legacy_replies() {
    check(
        r#"{"method":"ok","id":1}"#,
        200,
        r#"{"result":"yes","error":null,"id":1}"#,
    );
    check(
        r#"{"jsonrpc":"1.0","method":"ok","id":"curl"}"#,
        200,
        r#"{"result":"yes","error":null,"id":"curl"}"#,
    );
    check(r#"{"method":"ok"}"#, 200, r#"{"result":"yes","error":null}"#);
    for (method, status) in [
        ("-4", 500),
        ("-8", 500),
        ("-28", 500),
        ("-32600", 400),
        ("-32601", 404),
        ("-32700", 500),
    ] {
        let expected =
            format!(r#"{{"result":null,"error":{{"code":{method},"message":"a \"quoted\"\ntext"}},"id":1}}"#);
        check(&format!(r#"{{"method":"{method}","id":1}}"#), status, &expected);
    }
    check(
        r#"{"method":"nothing","id":1}"#,
        404,
        r#"{"result":null,"error":{"code":-32601,"message":"Method not found"},"id":1}"#,
    );
    check(
        r#"{"id":1}"#,
        400,
        r#"{"result":null,"error":{"code":-32600,"message":"Missing method"},"id":1}"#,
    );
}

#[test]
fn version_2_replies() {
    check(
        r#"{"jsonrpc":"2.0","method":"ok","id":1}"#,
        200,
        r#"{"jsonrpc":"2.0","result":"yes","id":1}"#,
    );
    check(
        r#"{"jsonrpc":"2.0","method":"ok","id":null}"#,
        200,
        r#"{"jsonrpc":"2.0","result":"yes","id":null}"#,
    );
    check(
        r#"{"jsonrpc":"2.0","method":"nothing","id":1}"#,
        200,
        r#"{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method not found"},"id":1}"#,
    );
    assert_eq!(reply(r#"{"jsonrpc":"2.0","method":"ok"}"#), (204, None));
    assert_eq!(reply(r#"{"jsonrpc":"2.0","method":"nothing"}"#), (204, None));
    check(
        r#"{"jsonrpc":"2.0"}"#,
        400,
        r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"Missing method"}}"#,
    );
}

#[test]
fn bodies_that_are_none() {
    check(
        "{",
        500,
        r#"{"result":null,"error":{"code":-32700,"message":"Parse error"},"id":null}"#,
    );
    check(
        "7",
        500,
        r#"{"result":null,"error":{"code":-32700,"message":"Top-level object parse error"},"id":null}"#,
    );
}

#[test]
fn batches() {
    check("[]", 200, "[]");
    check(
        r#"[{"method":"ok","id":1},{"jsonrpc":"2.0","method":"ok"},{"jsonrpc":"2.0","method":"-4","id":2},7]"#,
        200,
        concat!(
            r#"[{"result":"yes","error":null,"id":1},"#,
            r#"{"jsonrpc":"2.0","error":{"code":-4,"message":"a \"quoted\"\ntext"},"id":2},"#,
            r#"{"result":null,"error":{"code":-32600,"message":"Invalid Request object"},"id":null}]"#,
        ),
    );
    check(
        r#"[{"method":"nothing"}]"#,
        200,
        r#"[{"result":null,"error":{"code":-32601,"message":"Method not found"}}]"#,
    );
    assert_eq!(
        reply(r#"[{"jsonrpc":"2.0","method":"ok"},{"jsonrpc":"2.0","method":"-4"}]"#),
        (204, None)
    );
}

#[test]
fn replies_to_a_batch_are_bounded() {
    const CALLS: usize = 100;
    let large = "x".repeat(1 << 20);
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let callee = AtOnce(move |_: Call| {
        count.fetch_add(1, Ordering::Relaxed);
        result(&large)
    });
    let id = "i".repeat(MAX_BODY / CALLS - 100);
    let member = format!(r#"{{"method":"large","id":"{id}"}}"#);
    let batch = format!("[{}]", vec![member; CALLS].join(","));
    let future = pin!(answer(Body::parse(batch.as_bytes()), &callee));
    let Poll::Ready(Reply { status: 200, body }) = future.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("all is answered at once")
    };
    let body = body.unwrap();
    assert!(body.len() <= MAX_BATCH_REPLY, "{} bytes", body.len());
    let replies: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
    assert_eq!(replies.len(), CALLS);
    assert!(replies.iter().all(|reply| reply["id"] == id));
    let good = replies.iter().take_while(|reply| reply["error"].is_null()).count();
    assert!((10..16).contains(&good), "{good}");
    assert!(replies[good..].iter().all(|reply| reply["error"]["code"] == -1));
    // The first that found no room was made in vain, none after it.
    assert_eq!(made.load(Ordering::Relaxed), good + 1);
}

//! Codes and parameters of the methods, without a node.

use super::*;
use crate::chain::freshness::NotFresh;
use crate::name::lookup::{FailureScope, LinkFailure, LookupError};
use crate::time::Timestamp;

#[test]
fn codes_of_the_nodes_errors() {
    let stale = NotFresh::StaleTip {
        height: 5,
        time: Timestamp(1),
        age: 9,
        max: 8,
    };
    let stale = NodeError::NotSynchronized {
        reason: stale,
        servers: Vec::new(),
    };
    let reasons = vec![LinkFailure::new(FailureScope::Attempt, "it is slow").into()];
    for (error, code, message) in [
        (
            NodeError::Syncing {
                done: 1,
                total: 2,
                trouble: Some("no server gives headers: a".to_owned()),
            },
            -28,
            "Synchronising headers: 1 of 2; no server gives headers: a",
        ),
        (stale, -10, "Namecoin is downloading blocks..."),
        (
            NodeError::NoServer {
                servers: Vec::new(),
                tor: None,
            },
            -9,
            "no server",
        ),
        (
            NodeError::Lookup(LookupError::NoAnswer {
                reasons,
                lied_to: false,
            }),
            -1,
            "no server gave a usable answer: it is slow",
        ),
    ] {
        let core = node_error(&error, Style::Core);
        assert_eq!(core.code, code);
        assert!(core.message.starts_with(message), "{}", core.message);
        assert_eq!(node_error(&error, Style::Electrum).code, 1);
        let service = ServiceError::Node(error);
        assert_eq!(service_error(&service, Style::Core), core);
    }
}

#[test]
fn codes_of_the_services_own_errors() {
    let busy = ServiceError::Busy { limit: 7 };
    let core = service_error(&busy, Style::Core);
    assert_eq!(core.code, -1);
    assert!(
        core.message.starts_with("7 lookups are in work already"),
        "{}",
        core.message
    );
    assert_eq!(service_error(&busy, Style::Electrum).code, 1);
}

#[test]
fn block_hashes() {
    let good = "000000000062b72c5e2ceb45fbc8587e807c155b0da735e6483dfba2f0a9c770";
    assert_eq!(block_hash(good).unwrap().to_string(), good);
    let error = block_hash("abc").unwrap_err();
    assert_eq!(
        (error.code, &*error.message),
        (-8, "hash must be of length 64 (not 3, for 'abc')")
    );
    let error = block_hash(&"g".repeat(64)).unwrap_err();
    assert!(error.code == -8 && error.message.starts_with("hash must be hexadecimal string (not 'gg"));
}

#[test]
fn parameters_by_position_and_name() {
    let wanted = [
        Wanted::required("height", "number"),
        Wanted::optional("verbose", "bool"),
    ];
    let take = |json| {
        let params = match serde_json::from_str(json).unwrap() {
            Json::Array(items) => Params::Positional(items),
            Json::Object(members) => Params::Named(members),
            other => panic!("{other:?}"),
        };
        super::take(params, wanted, "help").map_err(|error| error.code)
    };
    let one = Json::Number(1.into());
    for json in ["[1]", "[1,null]", r#"{"height":1}"#, r#"{"args":[1]}"#] {
        assert_eq!(take(json), Ok([one.clone(), Json::Null]), "{json}");
    }
    assert_eq!(take(r#"{"verbose":true,"args":[1]}"#), Ok([one, Json::Bool(true)]));
    for (json, code) in [
        ("[]", -1),
        ("[1,true,1]", -1),
        (r#"["1"]"#, -3),
        (r#"{"verbose":true}"#, -3),
        (r#"{"x":1}"#, -8),
    ] {
        assert_eq!(take(json), Err(code), "{json}");
    }
}

#[test]
fn help_lists_every_method_and_knows_each() {
    let list = help_text("");
    let usages: Vec<&str> = list.lines().collect();
    assert_eq!(usages.len(), METHODS.len());
    for (method, usage) in METHODS.iter().zip(usages) {
        let text = help_text(method.name);
        assert_eq!(text, method.help);
        assert_eq!(text.lines().next(), Some(usage));
        assert_eq!(usage.split(' ').next(), Some(method.name));
        let explained = text.lines().skip(1).any(|line| !line.is_empty());
        assert!(explained, "{} has no help beside its parameters", method.name);
    }
    assert_eq!(help_text("foo"), "help: unknown command: foo");
}

#[test]
fn methods_are_sorted_and_none_is_there_twice() {
    assert!(METHODS.iter().map(|method| method.name).is_sorted_by(|a, b| a < b));
}

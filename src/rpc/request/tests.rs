//! Requests of every version, and bodies that are none.

use proptest::prelude::*;

use super::*;

fn single(body: &str) -> Request {
    match Body::parse(body.as_bytes()) {
        Body::Single(request) => request,
        other => panic!("{body}: {other:?}"),
    }
}

fn batch(body: &str) -> Vec<Request> {
    match Body::parse(body.as_bytes()) {
        Body::Batch(members) => members.into_iter().map(Member::into_request).collect(),
        other => panic!("{body}: {other:?}"),
    }
}

fn refused(body: &[u8]) -> (i32, String) {
    match Body::parse(body) {
        Body::Refused(error) => (error.code, error.message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn versions() {
    for (jsonrpc, version) in [
        ("", Version::Legacy),
        (r#""jsonrpc":null,"#, Version::Legacy),
        (r#""jsonrpc":"1.0","#, Version::Legacy),
        (r#""version":"1.1","#, Version::Legacy),
        (r#""jsonrpc":"2.0","#, Version::V2),
    ] {
        let request = single(&format!(r#"{{{jsonrpc}"method":"uptime","id":7}}"#));
        assert_eq!(request.envelope.version, version, "{jsonrpc}");
        assert_eq!(request.envelope.id.as_deref(), Some("7"));
        let call = request.call.unwrap();
        assert_eq!(
            (call.method.as_str(), call.params),
            ("uptime", Params::Positional(Vec::new()))
        );
    }
}

#[test]
fn requests_that_are_none_of_ours() {
    for (body, message) in [
        ("{}", "Missing method"),
        (r#"{"method":null}"#, "Missing method"),
        (r#"{"method":1}"#, "Method must be a string"),
        (r#"{"method":"a","params":"x"}"#, "Params must be an array or object"),
        (r#"{"method":"a","params":1}"#, "Params must be an array or object"),
        (r#"{"method":"a","jsonrpc":2.0}"#, "jsonrpc field must be a string"),
        (r#"{"method":"a","jsonrpc":"1.1"}"#, "JSON-RPC version not supported"),
        (r#"{"method":"a","jsonrpc":"3.0"}"#, "JSON-RPC version not supported"),
    ] {
        let error = single(body).call.unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (-32600, message), "{body}");
    }
    let id = single(r#"{"jsonrpc":"9","method":"a","id":"x"}"#).envelope.id;
    assert_eq!(id.as_deref(), Some(r#""x""#));
}

#[test]
fn ids_are_kept_as_given_on_one_line() {
    for (given, kept) in [
        ("1", "1"),
        ("null", "null"),
        ("1e400", "1e400"),
        ("-0.10", "-0.10"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        (r#""a \" b\\""#, r#""a \" b\\""#),
        (
            "{ \"a\" : [ 1,\n\t\"b  \\\\\" , \" \\\" \" ] }",
            "{\"a\":[1,\"b  \\\\\",\" \\\" \"]}",
        ),
    ] {
        let id = single(&format!(r#"{{"method":"a","id": {given} }}"#)).envelope.id;
        assert_eq!(id.as_deref(), Some(kept));
    }
}

#[test]
fn the_first_of_two_members_counts() {
    let request = single(r#"{"method":"a","method":"b","id":1,"id":2,"params":[1],"params":[]}"#);
    assert_eq!(request.envelope.id.as_deref(), Some("1"));
    let call = request.call.unwrap();
    assert_eq!(call.method, "a");
    assert_eq!(call.params, Params::Positional(vec![Json::Number(1.into())]));
}

#[test]
fn notifications() {
    assert!(single(r#"{"jsonrpc":"2.0","method":"a"}"#).envelope.is_notification());
    assert!(
        !single(r#"{"jsonrpc":"2.0","method":"a","id":null}"#)
            .envelope
            .is_notification()
    );
    assert!(!single(r#"{"method":"a"}"#).envelope.is_notification());
}

#[test]
fn bodies_that_are_no_requests() {
    for body in [
        "",
        " ",
        "{",
        "[",
        "{]",
        "nul",
        "{\"method\":\"a\"} x",
        "'a'",
        "{\"a\":\"\u{1}\"}",
        "\u{feff}{}",
    ] {
        assert_eq!(refused(body.as_bytes()), (-32700, "Parse error".to_owned()), "{body}");
    }
    assert_eq!(refused(b"{\"method\":\"\xff\"}").0, -32700);
    for body in ["1", "\"a\"", "null", "true", "-1.5"] {
        assert_eq!(
            refused(body.as_bytes()),
            (-32700, "Top-level object parse error".to_owned()),
            "{body}"
        );
    }
    assert_eq!(refused(&vec![b' '; MAX_BODY + 1]).0, -32600);
}

#[test]
fn deep_nesting_is_refused_or_skipped() {
    for levels in [200, 100_000] {
        let deep = "[".repeat(levels) + &"]".repeat(levels);
        let params = format!(r#"{{"method":"a","params":{deep}}}"#);
        assert_eq!(refused(params.as_bytes()).0, -32700);
        assert_eq!(refused("[".repeat(levels).as_bytes()).0, -32700);
        // In a batch it is one member's own fault, once its turn comes.
        let [first, second] = &batch(&format!(r#"[{{"method":"a","id":1}},{params}]"#))[..] else {
            panic!("two members")
        };
        assert!(first.call.is_ok());
        let error = second.call.as_ref().unwrap_err();
        assert_eq!((error.code, second.envelope.id.as_deref()), (-32700, Some("null")));
        // What is not looked at may be as deep as it likes.
        assert!(
            single(&format!(r#"{{"method":"a","x":{deep},"id":{deep}}}"#))
                .call
                .is_ok()
        );
    }
}

#[test]
fn batches() {
    let requests = batch(r#"[{"method":"a","id":1},7,[],"x",null,{"id":2}]"#);
    let errors: Vec<_> = requests
        .iter()
        .map(|request| request.call.as_ref().err().map(|error| error.message.as_str()))
        .collect();
    let none = Some("Invalid Request object");
    assert_eq!(errors, [None, none, none, none, none, Some("Missing method")]);
    assert!(batch("[]").is_empty());
    let ones = |length| format!("[{}]", vec!["1"; length].join(","));
    assert_eq!(batch(&ones(MAX_BATCH)).len(), MAX_BATCH);
    for length in [MAX_BATCH + 1, 100_000] {
        assert_eq!(refused(ones(length).as_bytes()).0, -32600);
    }
    // Half a batch is none, however good its members are so far.
    for cut in [
        r#"[{"method":"a"}"#,
        r#"[{"method":"a"},"#,
        r#"[{"method":"a"},]"#,
        "[{}}]",
    ] {
        assert_eq!(refused(cut.as_bytes()).0, -32700);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Body::parse(&body);
    }

    #[test]
    fn near_json_is_parsed_or_refused(body in r#"[\[\]{},:"a0-9 \\ntruefalsmhodpijrc.]{0,60}"#) {
        if let Body::Single(Request { envelope: Envelope { id: Some(id), .. }, .. }) = Body::parse(body.as_bytes()) {
            prop_assert!(serde_json::from_str::<&RawValue>(&id).is_ok() && !id.contains('\n'));
        }
    }

    #[test]
    fn ids_mean_the_same_on_one_line(id in any_id()) {
        let pretty = serde_json::to_string_pretty(&id).unwrap();
        let kept = single(&format!(r#"{{"method":"a","id":{pretty}}}"#)).envelope.id.unwrap();
        prop_assert_eq!(String::from(kept), id.to_string());
    }
}

fn any_id() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(|number| json!(number)),
        any::<String>().prop_map(Value::String)
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            (any::<String>(), inner).prop_map(|(key, value)| json!({ key: value })),
        ]
    })
}

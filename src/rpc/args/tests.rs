//! Every row of the argument styles.

use proptest::prelude::*;

use super::*;

fn params(json: &str) -> Params {
    match serde_json::from_str(json).unwrap() {
        Json::Array(items) => Params::Positional(items),
        Json::Object(members) => Params::Named(members),
        other => panic!("{other:?}"),
    }
}

fn read(json: &str) -> Result<NameArgs, RpcError> {
    name_show(params(json), Defaults::default())
}

/// What a call came to: name, encodings in and out, whether expired values are wanted, isolation ID, style.
type Read = (Vec<u8>, &'static str, &'static str, bool, Option<Vec<u8>>, Style);

fn parts(args: &NameArgs) -> Read {
    let question = &args.question;
    (
        question.name.as_bytes().to_vec(),
        args.encodings.name.as_str(),
        args.encodings.value.as_str(),
        question.allow_expired,
        question.isolation_id.as_ref().map(|id| id.as_bytes().to_vec()),
        args.style,
    )
}

fn good(json: &str, name: &str, encodings: [&'static str; 2], expired: bool, id: &str, style: Style) {
    let args = read(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    let id = (!id.is_empty()).then(|| id.as_bytes().to_vec());
    let expected = (name.as_bytes().to_vec(), encodings[0], encodings[1], expired, id, style);
    assert_eq!(parts(&args), expected, "{json}");
}

fn bad(json: &str, code: i32, message: &str) {
    let error = read(json).map(|args| parts(&args)).expect_err(json);
    assert_eq!((error.code, error.message.as_str()), (code, message), "{json}");
}

const ASCII: [&str; 2] = ["ascii", "ascii"];

#[test]
fn core_positional() {
    for (json, encodings, expired, id) in [
        (r#"["d/x"]"#, ASCII, false, ""),
        (r#"["d/x",{}]"#, ASCII, false, ""),
        (r#"["d/x",{"streamID":"a"}]"#, ASCII, false, "a"),
        (r#"["d/x",{"streamID":""}]"#, ASCII, false, ""),
        (r#"["d/x",{"streamID":null}]"#, ASCII, false, ""),
        (r#"["d/x",{"stream_id":"a"}]"#, ASCII, false, "a"),
        (r#"["d/x",{"isolation_id":"a"}]"#, ASCII, false, "a"),
        (r#"["d/x",{"isolationID":"a"}]"#, ASCII, false, "a"),
        (r#"["d/x",{"isolationID":"a","streamID":"a"}]"#, ASCII, false, "a"),
        (r#"["d/x",{"streamID":"a","streamID":"a"}]"#, ASCII, false, "a"),
        (r#"["d/x",{"streamID":"ä\u0000\n"}]"#, ASCII, false, "ä\0\n"),
        (r#"["d/x",{"allowExpired":true}]"#, ASCII, true, ""),
        (r#"["d/x",{"allowExpired":null,"nameEncoding":null}]"#, ASCII, false, ""),
        (r#"["d/x",{"byHash":"direct"}]"#, ASCII, false, ""),
        (r#"["d/x",{"valueEncoding":"hex"}]"#, ["ascii", "hex"], false, ""),
        (
            r#"["d/x",{"nameEncoding":"utf8","valueEncoding":"utf8"}]"#,
            ["utf8", "utf8"],
            false,
            "",
        ),
        // Core logs an unknown word and goes on.
        (
            r#"["d/x",{"nameEncoding":"base64","valueEncoding":"HEX"}]"#,
            ASCII,
            false,
            "",
        ),
    ] {
        good(json, "d/x", encodings, expired, id, Style::Core);
    }
    let hex = r#"["642F78",{"nameEncoding":"hex","valueEncoding":"utf8","byHash":"direct","allowExpired":true,"streamID":"s"}]"#;
    good(hex, "d/x", ["hex", "utf8"], true, "s", Style::Core);
}

#[test]
fn core_named() {
    for (json, id) in [
        (r#"{"name":"d/x"}"#, ""),
        (r#"{"name":"d/x","options":{}}"#, ""),
        (r#"{"name":"d/x","options":{"streamID":"a"}}"#, "a"),
        (r#"{"options":{"streamID":"a"},"name":"d/x"}"#, "a"),
        (r#"{"name":"d/x","isolation_id":"a"}"#, "a"),
        (r#"{"name":"d/x","isolation_id":"a","options":{"streamID":"a"}}"#, "a"),
        (r#"{"name":"d/x","isolation_id":null}"#, ""),
        (r#"{"args":["d/x"]}"#, ""),
        (r#"{"args":["d/x"],"options":{"streamID":"a"}}"#, "a"),
        (r#"{"args":["d/x",{"streamID":"a"}]}"#, "a"),
    ] {
        good(json, "d/x", ASCII, false, id, Style::Core);
    }
}

#[test]
fn electrum_positional() {
    for (json, encodings, id) in [
        (r#"["d/x","ascii"]"#, ASCII, ""),
        (r#"["d/x","ascii","hex"]"#, ["ascii", "hex"], ""),
        (r#"["d/x","ascii","hex","stream"]"#, ["ascii", "hex"], "stream"),
        (r#"["d/x","ascii","hex",""]"#, ["ascii", "hex"], ""),
        (r#"["d/x",null,null,"stream"]"#, ASCII, "stream"),
        (r#"["d/x","utf8","utf8","s",true]"#, ["utf8", "utf8"], "s"),
        (
            r#"["d/x","ascii","hex",null,false,{"streamID":"s"}]"#,
            ["ascii", "hex"],
            "s",
        ),
        (
            r#"["d/x","ascii","hex","s",false,{"streamID":"s"},null]"#,
            ["ascii", "hex"],
            "s",
        ),
        (
            r#"["d/x","ascii","hex","s",false,null,"wallet"]"#,
            ["ascii", "hex"],
            "s",
        ),
    ] {
        good(json, "d/x", encodings, false, id, Style::Electrum);
    }
    good(
        r#"["642f78","hex"]"#,
        "d/x",
        ["hex", "ascii"],
        false,
        "",
        Style::Electrum,
    );
}

#[test]
fn electrum_named() {
    for (json, encodings, id) in [
        (r#"{"identifier":"d/x"}"#, ASCII, ""),
        (r#"{"identifier":"d/x","stream_id":"s"}"#, ASCII, "s"),
        (r#"{"identifier":"d/x","stream_id":null}"#, ASCII, ""),
        (r#"{"identifier":"d/x","isolation_id":"s"}"#, ASCII, "s"),
        (r#"{"identifier":"d/x","isolation_id":"s","stream_id":"s"}"#, ASCII, "s"),
        (r#"{"identifier":"d/x","value_encoding":"hex"}"#, ["ascii", "hex"], ""),
        (r#"{"identifier":"d/x","options":{"streamID":"s"}}"#, ASCII, "s"),
        (
            r#"{"identifier":"d/x","options":{"isolationID":"s"},"wallet":null,"verify_sig":true}"#,
            ASCII,
            "s",
        ),
        // Electrum-NMC lets options win.
        (
            r#"{"identifier":"d/x","value_encoding":"hex","options":{"valueEncoding":"utf8"}}"#,
            ["ascii", "utf8"],
            "",
        ),
    ] {
        good(json, "d/x", encodings, false, id, Style::Electrum);
    }
    let all = r#"{"identifier":"642f78","name_encoding":"hex","value_encoding":"utf8","stream_id":"s","options":{"allowExpired":true}}"#;
    good(all, "d/x", ["hex", "utf8"], true, "s", Style::Electrum);
}

#[test]
fn a_quorum_may_be_asked_for_in_either_style() {
    for json in [
        r#"["d/x", {"quorum": 3}]"#,
        r#"{"name": "d/x", "options": {"quorum": 3}}"#,
        r#"{"identifier": "d/x", "options": {"quorum": 3}}"#,
    ] {
        assert_eq!(read(json).unwrap().question.quorum, Some(3), "{json}");
    }
    assert_eq!(read(r#"["d/x", {"quorum": null}]"#).unwrap().question.quorum, None);
    for number in ["0", "9", "-1", "1.5", "1e30"] {
        bad(
            &format!(r#"["d/x", {{"quorum": {number}}}]"#),
            -8,
            "quorum must be a number from 1 to 8",
        );
    }
    let message = "JSON value of type string for field quorum is not of expected type number";
    bad(r#"["d/x", {"quorum": "2"}]"#, -3, message);
}

#[test]
fn two_different_ids_are_refused_wherever_they_stand() {
    for json in [
        r#"["d/x",{"streamID":"a","isolation_id":"b"}]"#,
        r#"["d/x",{"streamID":"a","isolationID":"b"}]"#,
        r#"["d/x",{"streamID":"a","stream_id":"b"}]"#,
        r#"["d/x",{"streamID":"a","streamID":"b"}]"#,
        r#"["d/x",{"streamID":"","isolation_id":"b"}]"#,
        r#"{"name":"d/x","isolation_id":"a","options":{"streamID":"b"}}"#,
        r#"{"name":"d/x","isolation_id":"a","isolation_id":"b"}"#,
        r#"["d/x","ascii","ascii","a",false,{"streamID":"b"}]"#,
        r#"{"identifier":"d/x","stream_id":"a","options":{"streamID":"b"}}"#,
        r#"{"identifier":"d/x","stream_id":"a","isolation_id":"b"}"#,
    ] {
        bad(json, -8, "two different stream isolation IDs in one call");
    }
}

#[test]
fn what_is_misspelt_is_refused() {
    for key in [
        "streamId",
        "streamid",
        "StreamID",
        "isolation",
        "isolation-id",
        "name_encoding",
        "minConf",
        "",
    ] {
        let message = format!("Unknown option {key}");
        bad(&format!(r#"["d/x",{{"{key}":"a"}}]"#), -8, &message);
        bad(
            &format!(r#"["d/x","ascii","hex",null,null,{{"{key}":"a"}}]"#),
            -8,
            &message,
        );
    }
    for key in ["streamID", "isolationID", "nameEncoding", "foo"] {
        let message = format!("Unknown named parameter {key}");
        bad(&format!(r#"{{"name":"d/x","{key}":"a"}}"#), -8, &message);
        bad(&format!(r#"{{"identifier":"d/x","{key}":"a"}}"#), -8, &message);
    }
    // Both worlds at once: one of the two names is unknown to the other style.
    bad(r#"{"name":"d/x","stream_id":"a"}"#, -8, "Unknown named parameter name");
    bad(
        r#"{"name":"d/x","name":"d/y"}"#,
        -8,
        "Parameter name specified multiple times",
    );
    bad(
        r#"{"args":["d/x"],"name":"d/x"}"#,
        -8,
        "Parameter name specified twice both as positional and named argument",
    );
    bad(
        r#"["d/x",{"nameEncoding":"hex","nameEncoding":"hex"}]"#,
        -8,
        "Option nameEncoding specified multiple times",
    );
}

#[test]
fn wrong_types_are_refused() {
    for (value, word) in [("1", "number"), ("true", "bool"), ("[]", "array"), ("{}", "object")] {
        for key in [
            "streamID",
            "stream_id",
            "isolationID",
            "isolation_id",
            "nameEncoding",
            "valueEncoding",
            "byHash",
        ] {
            let message = format!("JSON value of type {word} for field {key} is not of expected type string");
            bad(&format!(r#"["d/x",{{"{key}":{value}}}]"#), -3, &message);
            bad(
                &format!(r#"{{"identifier":"d/x","options":{{"{key}":{value}}}}}"#),
                -3,
                &message,
            );
        }
        for key in ["stream_id", "isolation_id", "name_encoding", "value_encoding"] {
            let message = format!("JSON value of type {word} for field {key} is not of expected type string");
            bad(&format!(r#"{{"identifier":"d/x","{key}":{value}}}"#), -3, &message);
        }
    }
    bad(
        r#"["d/x",{"allowExpired":"yes"}]"#,
        -3,
        "JSON value of type string for field allowExpired is not of expected type bool",
    );
    bad(
        r#"["d/x",null]"#,
        -3,
        "JSON value of type null is not of expected type object",
    );
    bad(
        r#"{"name":"d/x","options":null}"#,
        -3,
        "JSON value of type null is not of expected type object",
    );
    bad(
        "[1]",
        -3,
        "Wrong type passed:\n{\n    \"Position 1 (name)\": \"JSON value of type number is not of expected type string\"\n}",
    );
    bad(
        "[null,7]",
        -3,
        "Wrong type passed:\n{\n    \"Position 1 (name)\": \"JSON value of type null is not of expected type string\",\n    \"Position 2 (options)\": \"JSON value of type number is not of expected type object\"\n}",
    );
    bad(
        r#"{"options":{}}"#,
        -3,
        "Wrong type passed:\n{\n    \"Position 1 (name)\": \"JSON value of type null is not of expected type string\"\n}",
    );
    bad(
        r#"["d/x",["ascii"]]"#,
        -3,
        "Wrong type passed:\n{\n    \"Position 2 (options)\": \"JSON value of type array is not of expected type object\"\n}",
    );
    for json in [r#"{"stream_id":"a"}"#, r#"[null,"ascii"]"#] {
        bad(
            json,
            -3,
            "JSON value of type null for field identifier is not of expected type string",
        );
    }
}

#[test]
fn too_few_and_too_many_parameters_get_the_help() {
    for json in [
        "[]",
        "{}",
        r#"["d/x",{},{}]"#,
        r#"["d/x",{},"a"]"#,
        r#"["d/x","ascii","hex","s",false,{},null,null]"#,
        r#"{"isolation_id":"a"}"#,
    ] {
        bad(json, -1, help::NAME_SHOW);
    }
}

#[test]
fn encodings_that_do_not_fit() {
    bad("[\"d/ä\"]", -1000, "Name/value is invalid for encoding ascii");
    bad(r#"["d/x\n"]"#, -1000, "Name/value is invalid for encoding ascii");
    bad(
        r#"["abc",{"nameEncoding":"hex"}]"#,
        -1000,
        "Name/value is invalid for encoding hex",
    );
    bad(r#"["d/x","hex"]"#, 1, "Name/value is invalid for encoding hex");
    bad(
        r#"["d/x","base64"]"#,
        1,
        "unknown encoding `base64`: expected ascii, utf8 or hex",
    );
    bad(
        r#"["d/x","ascii","x"]"#,
        1,
        "unknown encoding `x`: expected ascii, utf8 or hex",
    );
}

#[test]
fn hashes_of_names_are_not_served() {
    for word in ["sha256d", "foo", ""] {
        bad(
            &format!(r#"["d/x",{{"byHash":"{word}"}}]"#),
            -1,
            "-namehashindex is not enabled",
        );
    }
    // Core decodes the name first.
    bad(
        r#"["x",{"byHash":"sha256d","nameEncoding":"hex"}]"#,
        -1000,
        "Name/value is invalid for encoding hex",
    );
    bad(
        r#"["d/x","ascii","ascii","",false,{"byHash":"sha256d"}]"#,
        1,
        "-namehashindex is not enabled",
    );
}

#[test]
fn names_and_ids_of_any_length() {
    let longest = format!("d/{}", "x".repeat(253));
    good(&format!(r#"["{longest}"]"#), &longest, ASCII, false, "", Style::Core);
    bad(
        &format!(r#"["{longest}x"]"#),
        -4,
        &format!("name never existed: '{longest}x'"),
    );
    bad(
        &format!(r#"["{longest}x","ascii"]"#),
        -4,
        "Name purportedly never existed",
    );
    good(r#"[""]"#, "", ASCII, false, "", Style::Core);
    let id = "i".repeat(1024);
    good(
        &format!(r#"["d/x",{{"streamID":"{id}"}}]"#),
        "d/x",
        ASCII,
        false,
        &id,
        Style::Core,
    );
    bad(
        &format!(r#"["d/x",{{"streamID":"{id}i"}}]"#),
        -8,
        "the stream isolation ID has 1025 bytes; at most 1024 are allowed",
    );
}

#[test]
fn defaults_hold_for_core_alone() {
    let defaults = Defaults {
        encodings: Encodings {
            name: Encoding::Utf8,
            value: Encoding::Hex,
        },
        allow_expired: true,
    };
    let read = |json| parts(&name_show(params(json), defaults).unwrap());
    let name = "d/ä".as_bytes().to_vec();
    assert_eq!(
        read(r#"["d/ä"]"#),
        (name.clone(), "utf8", "hex", true, None, Style::Core)
    );
    let off = r#"["d/ä",{"allowExpired":false,"valueEncoding":"utf8"}]"#;
    assert_eq!(read(off), (name, "utf8", "utf8", false, None, Style::Core));
    let electrum = (b"d/x".to_vec(), "ascii", "ascii", false, None, Style::Electrum);
    assert_eq!(read(r#"["d/x",null,null,""]"#), electrum);
}

#[test]
fn histories_are_asked_for_in_cores_style() {
    let read = |json| name_history(params(json), Defaults::default());
    let args = read(r#"["d/x",{"streamID":"a","valueEncoding":"hex"}]"#).unwrap();
    let id = Some(b"a".to_vec());
    assert_eq!(parts(&args), (b"d/x".to_vec(), "ascii", "hex", false, id, Style::Core));
    for (json, code) in [
        (r#"["d/x",{"allowExpired":true}]"#, -8),
        (r#"["d/x","ascii"]"#, -3),
        (r#"{"identifier":"d/x"}"#, -8),
        ("[]", -1),
    ] {
        assert_eq!(read(json).unwrap_err().code, code, "{json}");
    }
}

#[test]
fn what_to_forget() {
    let read = |json| isolation_forget(params(json)).map(|id| id.map(|id| id.as_bytes().to_vec()));
    for json in ["[]", "{}", "[null]"] {
        assert_eq!(read(json), Ok(None), "{json}");
    }
    for json in [r#"["a"]"#, r#"{"isolation_id":"a"}"#, r#"{"stream_id":"a"}"#] {
        assert_eq!(read(json), Ok(Some(b"a".to_vec())), "{json}");
    }
    assert_eq!(read(r#"[""]"#), Ok(Some(Vec::new())));
    for (json, code) in [("[1]", -3), (r#"["a","b"]"#, -1), (r#"{"streamID":"a"}"#, -8)] {
        assert_eq!(read(json).unwrap_err().code, code, "{json}");
    }
}

#[test]
fn nothing_of_a_call_is_shown_by_debug() {
    let args = read(r#"["d/secret",{"streamID":"marker"}]"#).unwrap();
    let error = read(r#"["d/secret\n",{"streamID":"marker"}]"#).unwrap_err();
    let shown = format!("{args:?} {error:?} {:?}", params(r#"["d/secret","marker"]"#));
    assert!(!shown.contains("secret") && !shown.contains("marker"), "{shown}");
}

fn any_json() -> impl Strategy<Value = Json> {
    let words = prop::sample::select(vec![
        "", "d/x", "a", "b", "hex", "ascii", "utf8", "642f78", "direct", "sha256d",
    ]);
    let keys = prop::sample::select(vec![
        "streamID",
        "stream_id",
        "isolation_id",
        "isolationID",
        "nameEncoding",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<u64>().prop_map(|number| Json::Number(number.into())),
        words.prop_map(|word| Json::String(word.to_owned())),
    ];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        let member = (keys.clone().prop_map(str::to_owned), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Json::Array),
            prop::collection::vec(member, 0..4).prop_map(Json::Object),
        ]
    })
}

fn any_params() -> impl Strategy<Value = Params> {
    let places: Vec<_> = ELECTRUM
        .into_iter()
        .chain(CORE)
        .chain([ISOLATION_ID, "args", "streamID"])
        .collect();
    let named = (prop::sample::select(places).prop_map(str::to_owned), any_json());
    prop_oneof![
        prop::collection::vec(any_json(), 0..9).prop_map(Params::Positional),
        prop::collection::vec(named, 0..6).prop_map(Params::Named),
    ]
}

/// Collects the strings that stand under any spelling of the isolation ID, and in Electrum's fourth place.
fn ids_in(params: &Params) -> Vec<&str> {
    fn collect<'a>(value: &'a Json, found: &mut Vec<&'a str>) {
        match value {
            Json::Object(members) => members.iter().for_each(|(key, value)| member(key, value, found)),
            Json::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    fn member<'a>(key: &str, value: &'a Json, found: &mut Vec<&'a str>) {
        match value {
            Json::String(text) if ["streamID", "stream_id", "isolationID", ISOLATION_ID].contains(&key) => {
                found.push(text);
            }
            other => collect(other, found),
        }
    }
    let mut found = Vec::new();
    match params {
        Params::Positional(items) => {
            for item in items {
                collect(item, &mut found);
            }
            if let Some(Json::String(text)) = items.get(3) {
                found.push(text);
            }
        }
        Params::Named(members) => members.iter().for_each(|(key, value)| member(key, value, &mut found)),
    }
    found
}

proptest! {
    #[test]
    fn no_id_is_ever_ignored(params in any_params()) {
        let ids: Vec<_> = ids_in(&params).into_iter().map(str::to_owned).collect();
        if let Ok(args) = name_show(params, Defaults::default()) {
            let used = args.question.isolation_id.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
            prop_assert!(ids.iter().all(|id| id.as_bytes() == used));
        }
    }
}

//! What a list is asked for, and what it is refused.

use super::*;

fn params(json: &str) -> Params {
    match serde_json::from_str(json).unwrap() {
        Json::Array(items) => Params::Positional(items),
        Json::Object(members) => Params::Named(members),
        other => panic!("{other:?}"),
    }
}

fn scan(json: &str) -> Result<ScanArgs, RpcError> {
    name_scan(params(json), Defaults::default())
}

fn filter(json: &str) -> Result<ScanArgs, RpcError> {
    name_filter(params(json), Defaults::default())
}

fn refusal(read: Result<ScanArgs, RpcError>) -> (i32, String) {
    let error = read.err().unwrap();
    (error.code, error.message)
}

fn is_wanted(args: &ScanArgs, name: &[u8], confirmations: u32) -> bool {
    (args.wanted.filter)(&NameId::new(name).unwrap(), 101 - confirmations, 100)
}

#[test]
fn scans_start_somewhere_and_have_an_end() {
    for (json, start, most) in [
        ("[]", "", 500),
        ("[null,null]", "", 500),
        (r#"["d/x"]"#, "d/x", 500),
        (r#"["642f78",7,{"nameEncoding":"hex"}]"#, "d/x", 7),
        (r#"{"start":"d/x","count":10000}"#, "d/x", 10_000),
        (r#"{"count":0}"#, "", 0),
        (r#"["",-1]"#, "", 0),
        (
            r#"{"args":["d/x"],"options":{"streamID":"a"},"isolation_id":"a"}"#,
            "d/x",
            500,
        ),
    ] {
        let ScanArgs { wanted, .. } = scan(json).unwrap_or_else(|error| panic!("{json}: {error}"));
        assert_eq!(
            (wanted.start.as_bytes(), wanted.most),
            (start.as_bytes(), most),
            "{json}"
        );
        assert!(wanted.skip == 0 && !wanted.are_counted, "{json}");
    }
    // Names that long are behind all that there can be.
    let long = scan(&format!(r#"["{}"]"#, "x".repeat(256))).unwrap();
    assert_eq!(long.wanted.most, 0);
}

#[test]
fn what_scans_refuse() {
    let type_of = |place: &str, got: &str, wanted: &str| {
        format!(
            "Wrong type passed:\n{{\n    \"{place}\": \"JSON value of type {got} is not of expected type {wanted}\"\n}}"
        )
    };
    let field = |name: &str, got: &str, wanted: &str| {
        format!("JSON value of type {got} for field {name} is not of expected type {wanted}")
    };
    for (json, code, message) in [
        ("[7]", -3, type_of("Position 1 (start)", "number", "string")),
        (r#"["","7"]"#, -3, type_of("Position 2 (count)", "string", "number")),
        (r#"["",7,7]"#, -3, type_of("Position 3 (options)", "number", "object")),
        (
            r#"["",7,null]"#,
            -3,
            "JSON value of type null is not of expected type object".to_owned(),
        ),
        (r#"["",7,{},7]"#, -1, help::NAME_SCAN.to_owned()),
        (r#"["",1.5]"#, -1, "JSON integer out of range".to_owned()),
        (r#"["",4294967296]"#, -1, "JSON integer out of range".to_owned()),
        (r#"["é"]"#, -1000, "Name/value is invalid for encoding ascii".to_owned()),
        (r#"["",7,{"minConf":0}]"#, -8, "minConf must be >= 1".to_owned()),
        (
            r#"["",7,{"maxConf":-1}]"#,
            -8,
            "maxConf must not be negative".to_owned(),
        ),
        (r#"["",7,{"minConf":"1"}]"#, -3, field("minConf", "string", "number")),
        (r#"["",7,{"maxConf":true}]"#, -3, field("maxConf", "bool", "number")),
        (r#"["",7,{"prefix":1}]"#, -3, field("prefix", "number", "string")),
        (r#"["",7,{"regexp":{}}]"#, -3, field("regexp", "object", "string")),
        (
            r#"["",7,{"prefix":"x","nameEncoding":"hex"}]"#,
            -1000,
            "Name/value is invalid for encoding hex".to_owned(),
        ),
        (r#"["",7,{"quorum":2}]"#, -8, "Unknown option quorum".to_owned()),
        (
            r#"["",7,{"prefix":"a","prefix":"b"}]"#,
            -8,
            "Option prefix specified multiple times".to_owned(),
        ),
        (r#"{"nb":7}"#, -8, "Unknown named parameter nb".to_owned()),
        (
            r#"["",7,{"streamID":"a","isolation_id":"b"}]"#,
            -8,
            "two different stream isolation IDs in one call".to_owned(),
        ),
        (
            r#"["",10001]"#,
            -8,
            "count must not be above 10000: ask for the next names from the last one on".to_owned(),
        ),
    ] {
        assert_eq!(refusal(scan(json)), (code, message), "{json}");
    }
}

#[test]
fn scans_pick_by_age_and_beginning_and_pattern() {
    let args = scan(r#"["",1,{"minConf":2,"maxConf":3}]"#).unwrap();
    let ages: Vec<bool> = (1..=4).map(|age| is_wanted(&args, b"d/x", age)).collect();
    assert_eq!(ages, [false, true, true, false]);
    let args = scan(r#"["",1,{"maxConf":0}]"#).unwrap();
    assert!(!is_wanted(&args, b"d/x", 1));
    let args = scan(r#"["",1,{"prefix":"642f","nameEncoding":"hex"}]"#).unwrap();
    assert!(is_wanted(&args, b"d/x", 1) && !is_wanted(&args, b"dd/x", 1) && !is_wanted(&args, b"d", 1));
    for (pattern, name, expected) in [
        ("x", &b"d/axe"[..], true),
        ("^x", b"d/x", false),
        ("^d/[a-z]+$", b"d/x", true),
        ("", b"d/x", true),
        // Not UTF-8, so that it never matches.
        ("d", b"d/\xff", false),
        ("", b"\xff", false),
        // As Boost.Xpressive has it: bytes, any byte, ends of lines.
        ("^d/..$", "d/é".as_bytes(), true),
        ("^d/.$", "d/é".as_bytes(), false),
        ("a.b", b"a\nb", true),
        ("^b$", b"a\nb", true),
    ] {
        let args = scan(&serde_json::json!(["", 1, { "regexp": pattern }]).to_string()).unwrap();
        assert_eq!(is_wanted(&args, name, 1), expected, "{pattern} {name:?}");
    }
}

#[test]
fn patterns_are_bounded() {
    let of = |pattern: &str| refusal(scan(&serde_json::json!(["", 1, { "regexp": pattern }]).to_string()));
    assert_eq!(of("(").0, -1);
    assert!(of("(?=d/)").1.starts_with("regexp can't be used"), "no look-around");
    assert_eq!(of(&"x".repeat(501)).0, -8);
    assert_eq!(of("(x{1000}){1000}"), (-8, "regexp takes too much memory".to_owned()));
    assert_eq!(of(&"(".repeat(400)).0, -1);
    // What takes others years is over soon.
    let args = scan(r#"["",1,{"regexp":"^(a+)+$"}]"#).unwrap();
    assert!(!is_wanted(&args, &[&b"a".repeat(254)[..], b"!"].concat(), 1));
}

#[test]
fn filters_look_back_and_count() {
    for (json, skip, most, are_counted, is_bounded) in [
        ("[]", 0, 10_001, false, false),
        (r#"["^d/",0,5,7]"#, 5, 7, false, true),
        (r#"["^d/",36000,0,0,"stat"]"#, 0, usize::MAX, true, false),
        (r#"["^d/",36000,0,20000,"stat"]"#, 0, 20_000, true, true),
        (
            r#"{"nb":3,"options":{"streamID":"a","nameEncoding":"hex"}}"#,
            0,
            3,
            false,
            true,
        ),
    ] {
        let args = filter(json).unwrap_or_else(|error| panic!("{json}: {error}"));
        let wanted = &args.wanted;
        let read = (wanted.skip, wanted.most, wanted.are_counted, args.is_bounded);
        assert_eq!(read, (skip, most, are_counted, is_bounded), "{json}");
    }
    let args = filter(r#"["^d/",2]"#).unwrap();
    let ages: Vec<bool> = (1..=3).map(|age| is_wanted(&args, b"d/x", age)).collect();
    assert_eq!(ages, [true, true, false]);
    assert!(!is_wanted(&args, b"id/x", 1));
    let all = filter(r"[null,0]").unwrap();
    assert!(is_wanted(&all, b"\xff", 100));
}

#[test]
fn what_filters_refuse() {
    for (json, code, message) in [
        (r#"["",-1]"#, -8, "'maxage' should be non-negative"),
        (r#"["",0,-1]"#, -8, "'from' should be non-negative"),
        (r#"["",0,0,-1]"#, -8, "'nb' should be non-negative"),
        (r#"["",0,0,10001]"#, -8, "'nb' should not be above 10000"),
        (
            r#"["",0,0,0,"all"]"#,
            -8,
            "fifth argument must be the literal string 'stat'",
        ),
        (r#"["",0,0,0,"stat",{"minConf":1}]"#, -8, "Unknown option minConf"),
        (r#"["",0,0,0,"stat",{},1]"#, -1, help::NAME_FILTER),
    ] {
        assert_eq!(refusal(filter(json)), (code, message.to_owned()), "{json}");
    }
    assert_eq!(refusal(filter("[1]")).0, -3);
}

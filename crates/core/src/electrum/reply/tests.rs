use bitcoin::hashes::Hash;
use bitcoin::hex::DisplayHex;
use proptest::prelude::*;

use super::*;
use crate::name::id::ScriptHash;

const KEY: ScriptHash = ScriptHash([0x11; 32]);

fn ask(count: u32, cp_height: Height) -> ElectrumRequest {
    ElectrumRequest::Headers {
        start: 100,
        count,
        cp_height,
    }
}

fn pure(count: usize) -> String {
    "00".repeat(80 * count)
}

#[test]
fn both_shapes_of_headers_give_the_same_bytes() {
    let joined = format!(r#"{{"hex":"{}","count":3,"max":2016}}"#, pure(3) + "ab");
    let piece = pure(1);
    let listed = format!(r#"{{"count":3,"max":2016,"headers":["{piece}","{piece}","{piece}ab"]}}"#);
    let chunk = ElectrumReply::parse(&ask(3, 0), &joined);
    assert_eq!(ElectrumReply::parse(&ask(3, 0), &listed), chunk);
    let Ok(ElectrumReply::Headers(chunk)) = chunk else {
        panic!("{chunk:?}")
    };
    assert_eq!((chunk.count, chunk.bytes.len(), chunk.max), (3, 241, 2016));
}

#[test]
fn full_headers_cut_at_the_wrong_places_are_joined() {
    // As ElectrumX 1.19 cuts: ten pieces for three headers.
    let pieces = vec![format!("\"{}\"", "ab".repeat(80)); 10].join(",");
    let reply = ElectrumReply::parse(&ask(3, 0), &format!(r#"{{"count":3,"max":2016,"headers":[{pieces}]}}"#));
    assert!(matches!(reply, Ok(ElectrumReply::Headers(chunk)) if chunk.bytes == [0xab; 800]));
}

#[test]
fn truncated_headers_cut_at_the_wrong_places_are_told_apart() {
    let right = format!(r#"{{"hex":"{}","count":3,"max":2016,"branch":[],"root":""}}"#, pure(3));
    assert!(
        matches!(ElectrumReply::parse(&ask(3, 200), &right), Ok(ElectrumReply::Headers(chunk)) if chunk.bytes.len() == 240)
    );
    let wrong = format!(r#"{{"hex":"{}","count":3,"max":2016}}"#, pure(10));
    let error = ReplyError::WronglyCut {
        expected: 240,
        got: 800,
    };
    assert_eq!(ElectrumReply::parse(&ask(3, 200), &wrong), Err(error.clone()));
    let pieces = vec![format!("\"{}\"", pure(1)); 10].join(",");
    let wrong = format!(r#"{{"count":3,"max":2016,"headers":[{pieces}]}}"#);
    assert_eq!(ElectrumReply::parse(&ask(3, 200), &wrong), Err(error));
}

#[test]
fn past_the_tip_there_are_no_headers() {
    for reply in [
        r#"{"hex":"","count":0,"max":2016}"#,
        r#"{"headers":[],"count":0,"max":2016}"#,
    ] {
        for cp_height in [0, 7] {
            let chunk = HeaderChunk {
                count: 0,
                bytes: Vec::new(),
                max: 2016,
            };
            assert_eq!(
                ElectrumReply::parse(&ask(3, cp_height), reply),
                Ok(ElectrumReply::Headers(chunk))
            );
        }
    }
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let parse = |reply: String| ElectrumReply::parse(&ask(3, 0), &reply).unwrap_err();
    assert_eq!(
        parse(format!(r#"{{"hex":"{}","count":4}}"#, pure(4))),
        ReplyError::TooManyHeaders { expected: 3, got: 4 }
    );
    assert!(matches!(
        parse(format!(r#"{{"hex":"{}","count":3}}"#, pure(2))),
        ReplyError::WrongLength { min: 240, got: 160, .. }
    ));
    assert!(matches!(
        parse(r#"{"hex":"00","count":0}"#.to_owned()),
        ReplyError::WrongLength { max: 0, got: 1, .. }
    ));
    assert_eq!(
        parse(format!(r#"{{"hex":"{}0","count":3}}"#, pure(3))),
        ReplyError::InvalidHex { field: "headers" }
    );
    assert_eq!(
        parse(format!(r#"{{"hex":"{}zz","count":3}}"#, pure(3))),
        ReplyError::InvalidHex { field: "headers" }
    );
    assert_eq!(parse(r#"{"count":3}"#.to_owned()), ReplyError::WrongShape);
    assert_eq!(
        parse(r#"{"count":0,"hex":"","headers":[]}"#.to_owned()),
        ReplyError::WrongShape
    );
    assert_eq!(parse(r#"{"count":-1,"hex":""}"#.to_owned()), ReplyError::WrongShape);
}

#[test]
fn the_version_must_be_one_that_was_offered() {
    let request = ElectrumRequest::Version(VersionRange::ALL);
    let software = "E\u{1b}[31m\u{202e}x".to_owned() + &"y".repeat(100);
    let reply = serde_json::json!([software, "1.4.2"]).to_string();
    let Ok(ElectrumReply::Version(version)) = ElectrumReply::parse(&request, &reply) else {
        panic!()
    };
    assert_eq!(version.protocol, ProtocolVersion::V1_4_2);
    assert!(version.software.starts_with("E[31mxyyy") && version.software.len() == MAX_SOFTWARE);
    assert!(matches!(
        ElectrumReply::parse(&request, r#"["E","1.7.0"]"#),
        Err(ReplyError::VersionNotOffered { .. })
    ));
    assert!(matches!(
        ElectrumReply::parse(&request, r#"["E","x"]"#),
        Err(ReplyError::InvalidVersion(_))
    ));
    for wrong in [r#"["E"]"#, r#"["E","1.4","1.4"]"#, "null", "{}"] {
        assert_eq!(
            ElectrumReply::parse(&request, wrong),
            Err(ReplyError::WrongShape),
            "{wrong}"
        );
    }
}

#[test]
fn history_tells_confirmed_from_unconfirmed() {
    let txid = "cd".repeat(32);
    let json = format!(
        r#"[{{"tx_hash":"{txid}","height":7}},{{"tx_hash":"{txid}","height":0,"fee":1}},{{"tx_hash":"{txid}","height":-1}}]"#
    );
    let Ok(ElectrumReply::History(entries)) = ElectrumReply::parse(&ElectrumRequest::History(KEY), &json) else {
        panic!()
    };
    assert_eq!(
        entries.iter().map(|entry| entry.height).collect::<Vec<_>>(),
        [Some(7), None, None]
    );
    assert_eq!(entries[0].txid, Txid::from_byte_array([0xcd; 32]));
    let high = format!(r#"[{{"tx_hash":"{txid}","height":4294967296}}]"#);
    assert_eq!(
        ElectrumReply::parse(&ElectrumRequest::History(KEY), &high),
        Err(ReplyError::WrongShape)
    );
    let short = r#"[{"tx_hash":"cdcd","height":7}]"#;
    assert_eq!(
        ElectrumReply::parse(&ElectrumRequest::History(KEY), short),
        Err(ReplyError::InvalidHex { field: "tx_hash" })
    );
}

#[test]
fn lists_are_bounded_while_they_are_read() {
    let item = format!(r#"{{"tx_hash":"{}","height":7}}"#, "cd".repeat(32));
    let list = |n| format!("[{}]", vec![item.as_str(); n].join(","));
    assert!(ElectrumReply::parse(&ElectrumRequest::History(KEY), &list(MAX_HISTORY)).is_ok());
    assert_eq!(
        ElectrumReply::parse(&ElectrumRequest::History(KEY), &list(MAX_HISTORY + 1)),
        Err(ReplyError::WrongShape)
    );
    let merkle = |n| {
        let hashes = vec![format!("\"{}\"", "ab".repeat(32)); n].join(",");
        format!(r#"{{"block_height":7,"merkle":[{hashes}],"pos":1}}"#)
    };
    let request = ElectrumRequest::Merkle {
        txid: Txid::from_byte_array([0; 32]),
        height: 7,
    };
    assert!(ElectrumReply::parse(&request, &merkle(MAX_BRANCH_LEN)).is_ok());
    assert_eq!(
        ElectrumReply::parse(&request, &merkle(MAX_BRANCH_LEN + 1)),
        Err(ReplyError::WrongShape)
    );
}

#[test]
fn a_value_proof_is_for_the_key_that_was_asked_for() {
    let link = format!(
        r#"{{"height":9,"tx":"{}","tx_merkle":{{"merkle":["{}"],"pos":1}},"header":{{"header":"00","branch":[],"root":""}}}}"#,
        "01".repeat(60),
        "02".repeat(32)
    );
    let json = format!(r#"{{"{KEY}":[{link},{link}]}}"#);
    let Ok(ElectrumReply::ValueProof(links)) = ElectrumReply::parse(&ElectrumRequest::ValueProof(KEY), &json) else {
        panic!()
    };
    let expected = ProofLink {
        height: 9,
        tx: vec![1; 60],
        merkle: vec![TxMerkleNode::from_byte_array([2; 32])],
        pos: 1,
    };
    assert!(links == [expected.clone(), expected]);
    assert_eq!(
        ElectrumReply::parse(&ElectrumRequest::ValueProof(KEY), &format!(r#"{{"{KEY}":[]}}"#)),
        Ok(ElectrumReply::ValueProof(Vec::new()))
    );
    assert_eq!(
        ElectrumReply::parse(&ElectrumRequest::ValueProof(ScriptHash([0x22; 32])), &json),
        Err(ReplyError::WrongKey)
    );
    let two = format!(r#"{{"{KEY}":[],"{KEY}":[]}}"#);
    for wrong in ["{}", "[]", &two] {
        assert_eq!(
            ElectrumReply::parse(&ElectrumRequest::ValueProof(KEY), wrong),
            Err(ReplyError::WrongShape)
        );
    }
}

#[test]
fn transactions_and_tips_have_bounded_lengths() {
    let request = ElectrumRequest::Transaction(Txid::from_byte_array([0; 32]));
    assert_eq!(
        ElectrumReply::parse(&request, &format!("\"{}\"", "00".repeat(60))),
        Ok(ElectrumReply::Transaction(vec![0; 60]))
    );
    assert!(matches!(
        ElectrumReply::parse(&request, "\"\""),
        Err(ReplyError::WrongLength { got: 0, .. })
    ));
    let long = format!("\"{}\"", "00".repeat(MAX_TX_SIZE + 1));
    assert!(matches!(
        ElectrumReply::parse(&request, &long),
        Err(ReplyError::WrongLength { .. })
    ));
    let tip = format!(r#"{{"hex":"{}","height":5}}"#, pure(1));
    assert!(
        matches!(ElectrumReply::parse(&ElectrumRequest::SubscribeHeaders, &tip), Ok(ElectrumReply::Tip(tip)) if tip.height == 5)
    );
    assert!(matches!(ElectrumReply::parse_tip(&format!("[{tip}]")), Ok(tip) if tip.header == [0; 80]));
    assert_eq!(ElectrumReply::parse_tip("[]"), Err(ReplyError::WrongShape));
    assert_eq!(
        ElectrumReply::parse_tip(&format!("[{tip},{tip}]")),
        Err(ReplyError::WrongShape)
    );
}

#[test]
fn errors_and_debug_output_quote_nothing_that_the_server_wrote() {
    let marker = "marker";
    let reply = ElectrumReply::parse(&ElectrumRequest::History(KEY), &format!(r#"["{marker}"]"#));
    assert!(!format!("{reply:?}").contains(marker));
    let transaction = ElectrumReply::Transaction(b"marker".to_vec());
    assert_eq!(format!("{transaction:?}"), "Transaction(..)");
}

fn any_request() -> impl Strategy<Value = ElectrumRequest> {
    let txid = Txid::from_byte_array([3; 32]);
    prop_oneof![
        Just(ElectrumRequest::Version(VersionRange::ALL)),
        Just(ElectrumRequest::SubscribeHeaders),
        (0u32..5, 0u32..2).prop_map(|(count, cp_height)| ask(count, cp_height)),
        Just(ElectrumRequest::Header(1)),
        Just(ElectrumRequest::Features),
        Just(ElectrumRequest::History(KEY)),
        Just(ElectrumRequest::Transaction(txid)),
        Just(ElectrumRequest::Merkle { txid, height: 1 }),
        Just(ElectrumRequest::ValueProof(KEY)),
        Just(ElectrumRequest::Ping),
    ]
}

fn any_json() -> impl Strategy<Value = String> {
    let hex = prop_oneof![Just(80usize), Just(32), 0usize..200].prop_map(|len| format!("\"{}\"", "5a".repeat(len)));
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        (0u32..10).prop_map(|number| number.to_string()),
        hex,
    ];
    let key = prop_oneof![
        Just("count".to_owned()),
        Just("hex".to_owned()),
        Just("headers".to_owned()),
        Just("height".to_owned()),
        Just("tx".to_owned()),
        Just("tx_hash".to_owned()),
        Just("merkle".to_owned()),
        Just("tx_merkle".to_owned()),
        Just("pos".to_owned()),
        Just(KEY.to_string()),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let object = prop::collection::vec((key.clone(), inner.clone()), 0..5).prop_map(|entries| {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("\"{key}\":{value}"))
                .collect();
            format!("{{{}}}", entries.join(","))
        });
        let list = prop::collection::vec(inner, 0..5).prop_map(|items| format!("[{}]", items.join(",")));
        prop_oneof![object, list]
    })
}

proptest! {
    #[test]
    fn any_json_is_parsed_or_refused(request in any_request(), json in any_json()) {
        if let Ok(ElectrumReply::Headers(chunk)) = ElectrumReply::parse(&request, &json) {
            let ElectrumRequest::Headers { count, cp_height, .. } = request else { panic!("headers for {request:?}") };
            prop_assert!(chunk.count <= count);
            prop_assert!(chunk.bytes.len() >= 80 * chunk.count as usize);
            prop_assert!(cp_height == 0 || chunk.bytes.len() == 80 * chunk.count as usize);
        }
    }

    #[test]
    fn hex_decodes_as_it_was_encoded(bytes in prop::collection::vec(any::<u8>(), 10..100)) {
        let digits = bytes.as_hex().to_string();
        let request = ElectrumRequest::Transaction(Txid::from_byte_array([0; 32]));
        prop_assert_eq!(ElectrumReply::parse(&request, &format!("\"{digits}\"")), Ok(ElectrumReply::Transaction(bytes.clone())));
        let upper = digits.to_uppercase();
        prop_assert_eq!(ElectrumReply::parse(&request, &format!("\"{upper}\"")), Ok(ElectrumReply::Transaction(bytes)));
    }
}

//! What the client sends and how it reads addresses.

use super::*;

fn client(dialect: Dialect) -> Client {
    let settings = ClientSettings {
        url: "http://localhost:8336".to_owned(),
        login: Login::None,
        dialect,
        timeout: Duration::from_secs(1),
    };
    Client::new(settings).unwrap()
}

#[test]
fn lookups_in_both_dialects() {
    let name = NameId::new(b"d/x").unwrap();
    let id = IsolationId::new(b"a").unwrap();
    let params = |dialect, id, form| client(dialect).name_params(&name, id, 1, form).to_string();
    let empty = IsolationId::default();
    for id in [None, Some(&empty)] {
        assert_eq!(params(Dialect::Core, id, Form::Plain), r#"["d/x"]"#);
        assert_eq!(
            params(Dialect::Core, id, Form::Hex),
            r#"["642f78",{"nameEncoding":"hex","valueEncoding":"hex"}]"#
        );
    }
    assert_eq!(
        params(Dialect::Core, Some(&id), Form::Plain),
        r#"["d/x",{"streamID":"a"}]"#
    );
    assert_eq!(
        params(Dialect::Core, Some(&id), Form::Hex),
        r#"["642f78",{"nameEncoding":"hex","valueEncoding":"hex","streamID":"a"}]"#
    );
    assert_eq!(
        params(Dialect::Electrum, Some(&id), Form::Hex),
        r#"{"identifier":"642f78","name_encoding":"hex","value_encoding":"hex","stream_id":"a"}"#
    );
}

#[test]
fn results_of_old_and_new_servers_are_read() {
    let name = NameId::new(b"d/x").unwrap();
    let read = |result: &str| record(&name, &serde_json::from_str(result).ok()?);
    for (result, value, expired) in [
        (
            r#"{"name":"d/x","name_encoding":"ascii","value":"{}","value_encoding":"ascii","expires_in":1,"expired":false}"#,
            "{}",
            false,
        ),
        (r#"{"name":"d/x","value":"{}","expires_in":-1}"#, "{}", true),
        (
            r#"{"name":"d/x","value":"{}","expires_in":1,"txid":"","address":""}"#,
            "{}",
            false,
        ),
        (
            r#"{"name":"642f78","name_encoding":"hex","value":"c3a4","value_encoding":"hex","expired":true}"#,
            "ä",
            true,
        ),
        (
            r#"{"name":"d/x","value":"ä","value_encoding":"utf8","expired":false}"#,
            "ä",
            false,
        ),
    ] {
        let found = read(result).unwrap();
        assert_eq!(
            (found.value.as_bytes(), found.expired),
            (value.as_bytes(), expired),
            "{result}"
        );
    }
    for malformed in [
        r#"{"name":"d/y","value":"{}","expired":false}"#,
        r#"{"name":"d/x","value_error":"invalid data for ascii","expired":false}"#,
        r#"{"name":"d/x","value":"{}"}"#,
        r#"{"name":"d/x","value":"0","value_encoding":"hex","expired":false}"#,
        r#"{"value":"{}","expired":false}"#,
        "{}",
    ] {
        assert_eq!(read(malformed), None, "{malformed}");
    }
}

#[test]
fn a_quorum_is_asked_for_where_one_server_is_not_enough() {
    let name = NameId::new(b"d/x").unwrap();
    let params = |dialect, quorum| client(dialect).name_params(&name, None, quorum, Form::Hex);
    for dialect in [Dialect::Core, Dialect::Electrum] {
        assert_eq!(params(dialect, 0), params(dialect, 1));
        assert!(!params(dialect, 1).to_string().contains("quorum"));
    }
    assert_eq!(params(Dialect::Core, 2)[1]["quorum"], 2);
    assert_eq!(params(Dialect::Electrum, 2)["options"]["quorum"], 2);
}

#[test]
fn no_two_ids_have_the_same_text() {
    let text = |bytes: &[u8]| id_text(&IsolationId::new(bytes).unwrap());
    assert_eq!(text(b""), "");
    assert_eq!(text("ä".as_bytes()), "ä");
    assert_eq!(text(b"\xff"), "hex:ff");
    assert_eq!(text(b"hex:ff"), "hex:6865783a6666");
}

#[test]
fn addresses() {
    for (given, used) in [
        ("http://127.0.0.1:8336", Some("http://127.0.0.1:8336/")),
        ("http://localhost:8336/", Some("http://127.0.0.1:8336/")),
        ("http://[::1]:8336/wallet/a", Some("http://[::1]:8336/wallet/a")),
        ("http://core.example:8336", Some("http://core.example:8336/")),
        ("http://127.0.0.1", None),
        ("https://127.0.0.1:8336", None),
        ("http://user:password@127.0.0.1:8336", None),
        ("127.0.0.1:8336", None),
        ("", None),
    ] {
        assert_eq!(server_uri(given).map(|uri| uri.to_string()).as_deref(), used, "{given}");
    }
}

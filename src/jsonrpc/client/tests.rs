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
    let params = |dialect, id| client(dialect).name_params(&name, id, 1).to_string();
    let empty = IsolationId::default();
    for id in [None, Some(&empty)] {
        assert_eq!(
            params(Dialect::Core, id),
            r#"["642f78",{"nameEncoding":"hex","valueEncoding":"hex"}]"#
        );
    }
    assert_eq!(
        params(Dialect::Core, Some(&id)),
        r#"["642f78",{"nameEncoding":"hex","valueEncoding":"hex","streamID":"a"}]"#
    );
    assert_eq!(
        params(Dialect::Electrum, Some(&id)),
        r#"{"identifier":"642f78","name_encoding":"hex","value_encoding":"hex","stream_id":"a"}"#
    );
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

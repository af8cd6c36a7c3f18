//! The JSON of names.

use super::*;
use crate::chain::{Anchor, HeaderTree, Network};
use crate::name::proof::{ProvenName, Refusal};
use crate::time::Timestamp;

fn tip() -> Tip {
    let regtest = Network::Regtest;
    let mut tip = HeaderTree::new(regtest.params(), Anchor::shipped(regtest).unwrap()).tip();
    tip.height = 120;
    tip.time = Timestamp(1_000_000);
    tip
}

fn basis() -> Basis {
    Basis {
        tip: tip(),
        unproved: 0,
        read_from: None,
    }
}

fn status() -> NameStatus {
    NameStatus {
        name: ProvenName::assumed(100, Some(100)).unwrap(),
        confirmations: 21,
        expires_in: 10,
        semi_expires_in: 6,
    }
}

/// What stands before the fields that say how the name was proved.
fn shown(json: &NameJson) -> String {
    let text = serde_json::to_string(json).unwrap();
    text.split_once(r#","confirmations":"#).unwrap().0.to_owned()
}

#[test]
fn cores_fields_in_cores_order() {
    let json = name(&status(), &basis(), Network::Regtest.params(), Encodings::default());
    let zeros = "0".repeat(64);
    let expected = format!(
        r#"{{"name":"d/x","name_encoding":"ascii","value":"","value_encoding":"ascii","txid":"{zeros}","vout":0,"address":"<nonstandard>","height":100,"expires_in":10,"expired":false"#
    );
    assert_eq!(shown(&json), expected);
}

#[test]
fn electrums_fields_follow() {
    let json = electrum_name(&status(), &basis(), Network::Regtest.params(), Encodings::default()).unwrap();
    let expected = r#","expires_in":10,"expired":false,"expires_time":1006000,"semi_expires_in":6,"semi_expires_time":1003600,"semi_expired":false,"ismine":null"#;
    assert!(shown(&json).ends_with(expected), "{}", shown(&json));
}

#[test]
fn what_an_encoding_cannot_express() {
    assert_eq!(
        text(b"a\n", Encoding::Ascii),
        (None, Some("invalid data for ascii".to_owned()))
    );
    assert_eq!(text(b"a\n", Encoding::Utf8), (Some("a\n".to_owned()), None));
    assert_eq!(
        text(b"\xff", Encoding::Utf8),
        (None, Some("invalid data for utf8".to_owned()))
    );
}

#[test]
fn absence_in_both_styles() {
    let name = NameId::new(b"d/x").unwrap();
    let status = status();
    for (outcome, core, electrum) in [
        (
            Outcome::NeverExisted,
            "name never existed: 'd/x'",
            "Name purportedly never existed",
        ),
        (
            Outcome::Expired(status.clone()),
            "name expired: 'd/x'",
            "Name is purportedly expired (latest update height 100, latest verified height 120)",
        ),
        (
            Outcome::LongExpired { height: 7 },
            "name expired: 'd/x'",
            "Name is purportedly expired (latest update height 7, latest verified height 120)",
        ),
        (
            Outcome::SemiExpired(status.clone()),
            "name semi-expired: 'd/x' (expires in 10 blocks and was not renewed in time)",
            "Name is purportedly semi-expired (latest update height 100, latest verified height 120)",
        ),
        (
            Outcome::Unconfirmed {
                status,
                got: 3,
                expected: 12,
            },
            "name unconfirmed: 'd/x' (registered with 3 of 12 confirmations)",
            "Name is purportedly unconfirmed (registration height 100, latest verified height 120)",
        ),
    ] {
        for (style, message) in [(Style::Core, core), (Style::Electrum, electrum)] {
            let error = absence(&outcome, &name, &tip(), style);
            assert_eq!((error.code, error.message.as_str()), (-4, message));
        }
    }
}

#[test]
fn what_was_found_here_says_so() {
    let of = |read_from| {
        let basis = Basis { read_from, ..basis() };
        let json = name(&status(), &basis, Network::Regtest.params(), Encodings::default());
        serde_json::to_string(&json).unwrap()
    };
    let zeros = format!(r#""tip_hash":"{}""#, tip().hash);
    assert!(of(None).ends_with(&format!("{zeros}}}}}")), "{}", of(None));
    let local = format!(r#"{zeros},"source":"local","read_from":91}}}}"#);
    assert!(of(Some(91)).ends_with(&local), "{}", of(Some(91)));
}

#[test]
fn names_that_are_kept() {
    let living = |outcome| LivingName {
        name: NameId::new(b"d/x").unwrap(),
        outcome,
    };
    let json = |outcome, encodings| {
        let living = living(outcome);
        let written = living_name(&living, &basis(), Network::Regtest.params(), encodings);
        written.map(|json| json.unwrap().get().to_owned())
    };
    let plain = json(Ok(Outcome::Found(status())), Encodings::default()).unwrap();
    let shown = name(&status(), &basis(), Network::Regtest.params(), Encodings::default());
    assert_eq!(plain, serde_json::to_string(&shown).unwrap());
    let body = plain.strip_suffix('}').unwrap();
    let semi_expired = json(Ok(Outcome::SemiExpired(status())), Encodings::default()).unwrap();
    assert_eq!(semi_expired, format!(r#"{body},"withheld":"semi-expired"}}"#));
    let unconfirmed = Outcome::Unconfirmed {
        status: status(),
        got: 1,
        expected: 12,
    };
    let unconfirmed = json(Ok(unconfirmed), Encodings::default()).unwrap();
    assert_eq!(unconfirmed, format!(r#"{body},"withheld":"unconfirmed"}}"#));
    let refused = || NodeError::NameRefused {
        refusal: Refusal::Script,
        height: 100,
    };
    assert_eq!(
        json(Err(refused()), Encodings::default()).unwrap(),
        format!(
            r#"{{"name":"d/x","name_encoding":"ascii","value_error":"{}","value_encoding":"ascii","height":100,"expires_in":10,"expired":false}}"#,
            refused()
        )
    );
    // Where not even the name is known, nothing of the list is.
    assert!(json(Err(NodeError::Stopped), Encodings::default()).is_err());
}

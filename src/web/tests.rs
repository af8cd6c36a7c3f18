//! What is shown of anything, whoever wrote it.

use isonym_testkit::page::assert_only_ours;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::html::{Html, is_plain};
use super::page::{self, Awaited, Earlier, Reply, Standing, Way};
use super::proof::{self, Found, Records};
use super::request::Refused;
use super::site::{self, CheckedSite, Judged, Reason};
use crate::name::NameId;
use crate::naming::site::Site;
use crate::net::pool::PoolCounts;
use crate::node::Explanation;

/// An explanation in which every text is `text`, with this verdict and this account of where the work was done.
fn explanation(text: &str, verdict: &Value, auxpow: &Value) -> Explanation {
    let bytes = bitcoin::hex::DisplayHex::to_lower_hex_string(text.as_bytes());
    let operation = |registers: bool| {
        json!({
            "registers": registers,
            "value": bytes,
            "txid": text,
            "vout": 1,
            "address": text,
            "block": { "height": 7, "hash": text, "time": 1_700_000_000, "merkle_root": text, "confirmations": 3 },
            "position": 2,
            "merkle": [text, text],
        })
    };
    let said = [
        json!({ "server": text, "said": "proved", "height": 7 }),
        json!({ "server": null, "said": "failed", "reason": text }),
        json!({ "server": text, "said": "refused", "reason": text }),
        json!({ "server": text, "said": "denied" }),
        json!({ "server": text, "said": "not_waited_for" }),
    ];
    let explanation = json!({
        "name": bytes,
        "network": text,
        "verdict": verdict,
        "term": { "expires_in": 30_000, "semi_expires_in": -1 },
        "operations": [operation(false), operation(true)],
        "reached": "registration",
        "work": { "above": 1e20, "own": 3.0, "auxpow": auxpow },
        "tip": { "height": 9, "hash": text, "time": 1_700_000_000 },
        "anchor_height": 1,
        "servers": said,
        "caveats": [{ "is": "newer_may_be_hidden", "servers": 1 }, { "is": "work_not_shown" }],
    });
    serde_json::from_value(explanation).unwrap()
}

fn verdicts(text: &str) -> Vec<Value> {
    vec![
        json!({ "is": "found" }),
        json!({ "is": "expired" }),
        json!({ "is": "semi_expired" }),
        json!({ "is": "unconfirmed", "got": 1, "expected": 12 }),
        json!({ "is": "purportedly_expired", "height": 3 }),
        json!({ "is": "purportedly_absent" }),
        json!({ "is": "refused", "reason": text }),
    ]
}

fn auxpows(text: &str) -> Vec<Value> {
    vec![
        json!({ "is": "own_work" }),
        json!({ "is": "not_shown", "reason": text }),
        json!({
            "is": "parent",
            "hash": text,
            "time": 1_700_000_000,
            "coinbase": text,
            "coinbase_branch": [text, text],
            "chain_branch": [text],
            "chain_index": -5,
        }),
    ]
}

fn standing(text: &str) -> Standing {
    let status = json!({
        "network": text,
        "anchor": { "height": 5, "hash": text },
        "height": 820_000,
        "tip_hash": text,
        "tip_age": 61,
        "warning": text,
        "trouble": text,
        "unwritten": text,
        "synchronized": false,
        "headers_unproved": 3,
        "skeleton_height": null,
        "chainwork": text,
        "sync": { "stage": "running", "headers_done": 30, "headers_total": 7, "connections": 2, "seconds_left": 9 },
        "servers": [{ "address": text, "state": "good", "result": text, "claimed_height": 1, "headers": 1 }],
    });
    Standing {
        status: serde_json::from_value(status).unwrap(),
        pool: PoolCounts::default(),
        way: Way::Direct,
    }
}

/// All pages there are of things in which every text is `text`.
fn pages(text: &str) -> Vec<Reply> {
    let records = || Records {
        domain: text.to_owned(),
        lines: vec![text.to_owned()],
        keys: vec![text.to_owned()],
        sites: vec![Site {
            host: text.to_owned(),
            port: 443,
            name: NameId::new(b"d/x").unwrap(),
        }],
        problems: vec![text.to_owned()],
    };
    let mut pages = Vec::new();
    for verdict in verdicts(text) {
        for auxpow in auxpows(text) {
            let found = Found {
                name: text.as_bytes().to_vec(),
                explained: Ok(explanation(text, &verdict, &auxpow)),
                records: Some(records()),
            };
            pages.push(proof::page("1f", 3, text, &found));
        }
    }
    let failed = Found {
        name: text.as_bytes().to_vec(),
        explained: Err(text.to_owned()),
        records: None,
    };
    let earlier = Earlier {
        number: 3,
        typed: text.to_owned(),
        came_to: "proved",
    };
    let checked = CheckedSite {
        site: text.to_owned(),
        lookup: 3,
        place: 0,
    };
    let reason = || Reason {
        why: text.to_owned(),
        help: "",
    };
    for judged in [
        Judged::Authenticated(text.to_owned()),
        Judged::Refused(reason()),
        Judged::Unjudgeable(text.to_owned()),
        Judged::Failed(reason()),
    ] {
        pages.push(site::page("1f", &checked, &judged));
    }
    pages.extend([
        proof::page("1f", 3, text, &failed),
        page::start("1f", &standing(text), &[earlier]),
        page::waiting("1f", Awaited::Check, text, 3, &standing(text)),
        page::mistyped("1f", text, text, Some(text)),
    ]);
    pages
}

fn shown(found: &Found) -> String {
    proof::page("1f", 3, "d/x", found).html.into_string()
}

fn found(verdict: &Value) -> Found {
    Found {
        name: b"d/x".to_vec(),
        explained: Ok(explanation("d/x", verdict, &json!({ "is": "own_work" }))),
        records: None,
    }
}

#[test]
fn what_an_answer_is_worth_is_said_in_words() {
    for (verdict, words, class, came_to) in [
        (
            json!({ "is": "found" }),
            "Proved: this is its value",
            "proved",
            "proved",
        ),
        (
            json!({ "is": "expired" }),
            "No value: it has expired",
            "absent",
            "no value",
        ),
        (
            json!({ "is": "semi_expired" }),
            "Value that is not served",
            "absent",
            "no value",
        ),
        (
            json!({ "is": "purportedly_absent" }),
            "No value, servers say",
            "absent",
            "no value",
        ),
        (
            json!({ "is": "refused", "reason": "no server gave a usable answer" }),
            "Refused: no answer holds",
            "refused",
            "refused",
        ),
    ] {
        let found = found(&verdict);
        let page = shown(&found);
        assert!(page.contains(words), "{page}");
        assert!(page.contains(&format!("class=\"verdict {class}\"")), "{page}");
        assert_eq!(page.contains("Proved"), class == "proved", "{page}");
        assert_eq!(proof::came_to(&found), came_to);
        assert_eq!(page.contains("Look it up again"), class == "refused", "{page}");
    }
}

#[test]
fn reasons_of_several_lines_have_a_paragraph_each() {
    let page = shown(&Found {
        name: b"d/x".to_vec(),
        explained: Err("no server gave headers:\n  one: closed\n  two: silent".to_owned()),
        records: None,
    });
    assert!(
        page.contains("<p>No server gave headers:</p><p>One: closed.</p><p>Two: silent.</p>"),
        "{page}"
    );
}

#[test]
fn each_step_of_a_proof_is_shown() {
    let verdict = json!({ "is": "found" });
    let mut explanation = explanation("text", &verdict, &auxpows("text")[2]);
    for (number, operation) in explanation.operations.iter_mut().enumerate() {
        operation.txid = format!("transaction {number}");
    }
    explanation.operations[0].merkle = vec!["first".to_owned(), "second".to_owned()];
    let page = shown(&Found {
        name: b"d/x".to_vec(),
        explained: Ok(explanation),
        records: None,
    });
    // The transaction is the third one: what is beside it is on its right, and then on its left.
    let order = [
        "Proved",
        "Update in block 7",
        "transaction 0",
        "Registration in block 7",
        "transaction 1",
        "right: <code>first</code>",
        "left: <code>second</code>",
        "2^66.4 hashes",
        "AuxPoW",
        "Parent block",
        "proved the update in block 7",
        "REFUSED",
        "the word of one server",
        "up to block 1 ",
    ];
    let mut rest = &*page;
    for words in order {
        let at = rest.find(words).unwrap_or_else(|| panic!("{words} is not in {rest}"));
        rest = &rest[at..];
    }
}

#[test]
fn titles_and_addresses_name_nothing_that_is_looked_up() {
    for page in pages("marker") {
        let html = page.html.into_string();
        let (title, _) = html.split_once("<title>").unwrap().1.split_once("</title>").unwrap();
        assert!(title.starts_with("Isonym") && !title.contains("marker"), "{title}");
        assert!(!html.contains("href=\"marker") && !html.contains("/marker"), "{html}");
        assert!(page.location.is_none() && page.cookie.is_none());
    }
}

#[test]
fn refusals_have_reasons() {
    for (reason, status) in [
        (Refused::Host, 403),
        (Refused::NoToken, 403),
        (Refused::NoSession, 403),
        (Refused::NotFound, 404),
        (Refused::TooLarge, 413),
    ] {
        let page = page::refused(reason);
        assert_eq!(page.status, status);
        let html = page.html.into_string();
        assert!(html.contains(&Html::text(&reason.to_string()).into_string()), "{html}");
        assert_only_ours(&html);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_text_of_strangers_is_markup_in_any_place(text in "\\PC{0,12}|[<>&\"'=/ a-z\u{202a}-\u{202e}\u{0}-\u{1f}]{0,40}") {
        for page in pages(&text) {
            let html = page.html.into_string();
            assert_only_ours(&html);
            let (_, body) = html.split_once("<body>").unwrap();
            let is_ours = |it: char| is_plain(it) || "\u{2713}\u{2717}".contains(it);
            prop_assert!(body.chars().all(is_ours), "{}", html);
        }
    }
}

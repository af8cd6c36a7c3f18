//! Real resolvers in front of our server: what they fetch from it, what they validate, and what they refuse to believe.

mod cases;
mod client;
mod machine;
mod peers;
mod process;
mod relay;
mod server;
mod snippets;
mod unbound;

use std::net::SocketAddr;

use serde_json::json;

use cases::{Case, RENAMED, SECURE, SIGNED, UNSIGNED, Zones};
use client::{delv, dig, dig_all, run};
use relay::{Change, relay};
use server::{Keys, Server, name_show};
use unbound::{Config, Unbound};

/// The algorithms that keys may have.
const ALGORITHMS: [&str; 2] = ["ecdsap256sha256", "ed25519"];

/// The status, records and security that a resolver must give to these questions.
#[track_caller]
fn assert_cases<'a>(resolver: SocketAddr, cases: impl IntoIterator<Item = &'a Case>, secure: bool) {
    for (question, records) in cases {
        let seen = dig(resolver, question);
        assert_eq!(
            (seen.status.as_str(), &seen.records[..]),
            ("NOERROR", &owned(records)[..]),
            "{}",
            seen.text
        );
        assert_eq!(seen.has_flag("ad"), secure, "{}", seen.text);
    }
}

fn owned(records: &[&str]) -> Vec<String> {
    records.iter().map(|record| (*record).to_owned()).collect()
}

/// A validating resolver before these zones, told also where the children are, as their ports are not DNS's.
fn validating(zones: &Zones) -> Config {
    let mut config = Config::bit(zones.bit.address).trusting(&zones.keys.ds());
    config.stubs.extend(zones.children());
    config
}

#[test]
fn unbound_validates_all_that_we_sign() {
    for (algorithm, of_child) in [(ALGORITHMS[0], ALGORITHMS[1]), (ALGORITHMS[1], ALGORITHMS[0])] {
        let zones = Zones::on_free_ports(algorithm, of_child);
        let unbound = Unbound::start(&validating(&zones));
        let secure = || SECURE.iter().chain(SIGNED).chain([&RENAMED]);
        assert_cases(unbound.address, secure(), true);
        assert_cases(unbound.address, UNSIGNED, false);
        // Again, from what it remembers.
        assert_cases(unbound.address, secure(), true);
        let signed = dig(unbound.address, "+dnssec example.bit A");
        assert_eq!(signed.signed, ["A"], "{}", signed.text);
        let delegated = dig(unbound.address, "signed.child.bit DS");
        assert!(
            delegated.has_flag("ad") && delegated.records.len() == 1,
            "{}",
            delegated.text
        );
    }
}

#[test]
fn unbound_validates_by_its_strictest_settings() {
    let zones = Zones::on_free_ports(ALGORITHMS[0], ALGORITHMS[0]);
    let mut config = validating(&zones);
    for setting in [
        "qname-minimisation-strict: yes",
        "aggressive-nsec: yes",
        "use-caps-for-id: yes",
        "harden-glue: yes",
        "harden-dnssec-stripped: yes",
        "harden-below-nxdomain: yes",
        "harden-algo-downgrade: yes",
        "harden-large-queries: yes",
        "val-clean-additional: yes",
        "edns-buffer-size: 512",
        "prefetch-key: yes",
    ] {
        config = config.with(setting);
    }
    let unbound = Unbound::start(&config);
    assert_cases(unbound.address, SECURE.iter().chain(SIGNED).chain([&RENAMED]), true);
    assert_cases(unbound.address, UNSIGNED, false);
    // What was there or not is remembered, and must not be taken for a proof of anything else.
    assert_cases(unbound.address, SECURE.iter().chain(SIGNED).rev(), true);
}

#[test]
fn unbound_validates_over_tcp_alone() {
    let zones = Zones::on_free_ports(ALGORITHMS[1], ALGORITHMS[1]);
    let unbound = Unbound::start(&validating(&zones).with("tcp-upstream: yes"));
    assert_cases(unbound.address, SECURE.iter().chain(SIGNED), true);
    assert_cases(unbound.address, UNSIGNED, false);
}

#[test]
fn unbound_believes_nothing_that_was_changed_on_the_way() {
    let zones = Zones::on_free_ports(ALGORITHMS[0], ALGORITHMS[0]);
    for change in [
        Change::Nothing,
        Change::Address,
        Change::Signature,
        Change::NoSignature,
        Change::Nonexistence,
    ] {
        let relay = relay(zones.bit.address, change);
        let unbound = Unbound::start(&Config::bit(relay).trusting(&zones.keys.ds()));
        let seen = dig(unbound.address, "example.bit A");
        let unchanged = change == Change::Nothing;
        let status = if unchanged { "NOERROR" } else { "SERVFAIL" };
        assert_eq!(
            (seen.status.as_str(), seen.has_flag("ad")),
            (status, unchanged),
            "{change:?}: {}",
            seen.text
        );
        if change == Change::Address {
            // It was the validator that refused, and nothing before it.
            let unchecked = dig(unbound.address, "+cd example.bit A");
            assert_eq!(unchecked.records, ["example.bit. A 203.0.113.66"], "{}", unchecked.text);
        }
    }
}

/// An owner whose `ds` can't be served meant a signed zone: nothing of it may be believed. One who says that there is
/// none has an unsigned zone.
#[test]
fn unbound_believes_nothing_of_a_zone_whose_ds_can_not_be_served() {
    let in_hex = "ab535d51533b1d17dc320449e1157455490791592a9d75fe146691ec74f36311";
    for (ds, status) in [
        (json!([[1, 13, 2, in_hex]]), "SERVFAIL"),
        (json!([[1, 13, 2, "AAAA"], 5]), "SERVFAIL"),
        (json!("1 13 2 ab53"), "SERVFAIL"),
        (json!([]), "NOERROR"),
    ] {
        let keys = Keys::new("bit", ALGORITHMS[0]);
        let map = json!({ "ns": { "ip": "127.0.0.56" } });
        let (names, _) = name_show(server::Names::from([
            ("d/cut", json!({ "ns": "ns.cut.bit.", "ds": ds, "map": map })),
            ("d/host", json!({ "ip": "192.0.2.33" })),
        ]));
        let bit = Server::start("127.0.0.1:0", names, "bit", Some(&keys));
        let child = Server::start("127.0.0.1:0", names, "cut.bit", None);
        let mut config = Config::bit(bit.address).trusting(&keys.ds());
        config.stubs.push(("cut.bit.".to_owned(), child.address));
        let unbound = Unbound::start(&config);
        let seen = dig(unbound.address, "host.cut.bit A");
        assert_eq!(seen.status, status, "{ds}: {}", seen.text);
        // Who does not validate has the zone.
        let seen = dig(unbound.address, "+cd host.cut.bit A");
        assert_eq!(seen.records, ["host.cut.bit. A 192.0.2.33"], "{ds}: {}", seen.text);
    }
}

#[test]
fn unbound_believes_no_keys_but_those_that_it_trusts() {
    let zones = Zones::on_free_ports(ALGORITHMS[1], ALGORITHMS[1]);
    let others = Keys::new("bit", ALGORITHMS[1]);
    let unbound = Unbound::start(&Config::bit(zones.bit.address).trusting(&others.ds()));
    for question in ["example.bit A", "nosuch.bit A", "bit SOA"] {
        let seen = dig(unbound.address, question);
        assert_eq!(seen.status, "SERVFAIL", "{}", seen.text);
    }
}

#[test]
fn unbound_takes_an_unsigned_zone_that_it_is_told_is_insecure() {
    // By the root's keys, whoever trusts them, there is no bit.
    let root = ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D";
    let (names, _) = name_show(cases::names(&Keys::new("signed.child.bit", ALGORITHMS[0])));
    let bit = Server::start("127.0.0.1:0", names, "bit", None);
    let trusting = Config::bit(bit.address).trusting(root);
    let told = Unbound::start(&trusting.clone().with("domain-insecure: \"bit\""));
    let seen = dig(told.address, "www.example.bit A");
    let records = ["www.example.bit. CNAME example.bit.", "example.bit. A 192.0.2.1"];
    assert_eq!(
        (seen.status.as_str(), &seen.records[..]),
        ("NOERROR", &owned(&records)[..]),
        "{}",
        seen.text
    );
    assert!(!seen.has_flag("ad"), "{}", seen.text);
    // Without proofs NXDOMAIN is what it is.
    assert_eq!(dig(told.address, "nosuch.bit A").status, "NXDOMAIN");
    let not_told = Unbound::start(&trusting);
    assert_eq!(dig(not_told.address, "example.bit A").status, "SERVFAIL");
}

#[test]
fn resolvers_that_ask_from_addresses_of_their_own_are_identities_of_their_own() {
    let keys = Keys::new("signed.child.bit", ALGORITHMS[0]);
    let (names, asked) = name_show(cases::names(&keys));
    let bit = Server::start_with(&["--dns-isolate=address"], "127.0.0.1:0", names, "bit", None);
    let config = Config::bit(bit.address);
    for address in ["127.0.1.2", "127.0.1.3"] {
        let unbound = Unbound::start(&config.clone().with(&format!("outgoing-interface: {address}")));
        for question in ["other.bit A", "x.other.bit A", "other.bit TXT"] {
            assert_eq!(dig(unbound.address, question).status, "NOERROR", "{question}");
        }
    }
    let asked = asked.lock().unwrap();
    // Each once, as what one has learnt is not told to the other.
    let [(first, one), (second, other)] = &asked[..] else {
        panic!("{asked:?}")
    };
    assert_eq!((first.as_str(), second.as_str()), ("d/other", "d/other"));
    assert!(one.is_some() && other.is_some() && one != other, "{asked:?}");
}

#[test]
fn delv_validates_what_it_asks_us_itself() {
    for algorithm in ALGORITHMS {
        let zones = Zones::on_free_ports(algorithm, algorithm);
        let anchor = zones.keys.anchor_file();
        for (question, records) in SECURE {
            let said = delv(zones.bit.address, &anchor, question);
            let verdict = if records.is_empty() {
                "; negative response, fully validated"
            } else {
                "; fully validated"
            };
            assert!(said.contains(verdict), "{question}: {said}");
        }
        let forger = relay(zones.bit.address, Change::Address);
        let said = delv(forger, &anchor, "example.bit A");
        assert!(
            said.contains("resolution failed") && !said.contains("fully validated"),
            "{said}"
        );
        let said = delv(
            zones.bit.address,
            &Keys::new("bit", algorithm).anchor_file(),
            "example.bit A",
        );
        assert!(
            said.contains("resolution failed") && !said.contains("fully validated"),
            "{said}"
        );
    }
}

#[test]
fn dig_sees_referrals_with_their_proofs() {
    let zones = Zones::on_free_ports(ALGORITHMS[0], ALGORITHMS[0]);
    for (child, server, proof) in [
        ("signed.child.bit.", cases::SIGNED_CHILD, "DS"),
        ("unsigned.child.bit.", cases::UNSIGNED_CHILD, "NSEC"),
    ] {
        let seen = dig_all(zones.bit.address, &format!("+dnssec +norecurse host.{child} A"));
        assert_eq!(seen.status, "NOERROR", "{}", seen.text);
        assert!(!seen.has_flag("aa"), "{}", seen.text);
        assert_eq!(seen.signed, [proof], "{}", seen.text);
        assert_eq!(seen.records[0], format!("{child} NS ns.{child}"), "{}", seen.text);
        assert!(
            seen.records[1].starts_with(&format!("{child} {proof} ")),
            "{}",
            seen.text
        );
        assert_eq!(seen.records[2..], [format!("ns.{child} A {server}")], "{}", seen.text);
    }
}

#[test]
fn dig_sees_nxdomain_where_it_says_that_it_takes_compact_proofs() {
    let zones = Zones::on_free_ports(ALGORITHMS[1], ALGORITHMS[1]);
    // Newer ones have a name for the flag, and older ones send it as a number.
    let flag = if run("dig", &["-h"]).contains("+[no]coflag") {
        "+coflag"
    } else {
        "+ednsflags=0x4000"
    };
    for (options, status) in [
        ("+noedns".to_owned(), "NXDOMAIN"),
        ("+dnssec".to_owned(), "NOERROR"),
        (format!("+dnssec {flag}"), "NXDOMAIN"),
    ] {
        let seen = dig_all(zones.bit.address, &format!("{options} nosuch.bit A"));
        assert_eq!(seen.status, status, "{}", seen.text);
        let proof = "nosuch.bit. NSEC \\000.nosuch.bit. RRSIG NSEC ";
        let is_proved = seen.records.iter().any(|record| record.starts_with(proof));
        assert_eq!(is_proved, options.contains("+dnssec"), "{}", seen.text);
    }
}

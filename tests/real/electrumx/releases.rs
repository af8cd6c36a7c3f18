//! Each release of ElectrumX on the recorded chain.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use isonym_testkit::electrumx::blocks;
use isonym_testkit::electrumx::client::{Client, Expected, hex, in_two_parts};
use isonym_testkit::electrumx::core_rpc::CoreRpc;
use isonym_testkit::electrumx::recorded::{Recorded, TIP, recorded, registration};
use isonym_testkit::electrumx::server::{ElectrumX, Release, Transport};

fn every_answer_is_that_of_core(release: Release) {
    let blocks = blocks::recorded();
    let core = CoreRpc::start(&blocks);
    let server = ElectrumX::start(release, &core, blocks.len() - 1);
    let names = recorded();
    assert_eq!(names.len(), 99);
    in_two_parts(&names, |names| {
        let client = Client::new([server.server(Transport::Tcp)]);
        for name in names {
            client.check("name_show", &name.hex, &name.show);
            client.check("name_history", &name.hex, &name.history);
        }
    });

    // What carries the lines changes no answer, so over TLS it is all address kinds and every ninth name.
    let is_address_kind =
        |name: &Recorded| name.hex.starts_with(&hex("d/addr-")) || name.hex.starts_with(&hex("d/signed-"));
    let client = Client::new([server.server(Transport::Tls)]);
    for (at, name) in names.iter().enumerate() {
        if is_address_kind(name) || at % 9 == 0 {
            client.check("name_show", &name.hex, &name.show);
        }
    }
}

#[test]
fn answers_of_1_16_0_are_those_of_core() {
    every_answer_is_that_of_core(Release::V1_16);
}

#[test]
fn answers_of_1_17_0_are_those_of_core() {
    every_answer_is_that_of_core(Release::V1_17);
}

#[test]
fn answers_of_1_18_0_are_those_of_core() {
    every_answer_is_that_of_core(Release::V1_18);
}

#[test]
fn answers_of_2_0_0_are_those_of_core() {
    every_answer_is_that_of_core(Release::V2_0);
}

#[test]
fn answers_over_servers_of_all_releases_are_those_of_core() {
    let blocks = blocks::recorded();
    let core = CoreRpc::start(&blocks);
    let servers = Release::ALL.map(|release| ElectrumX::start(release, &core, blocks.len() - 1));
    let transports = [Transport::Tcp, Transport::Tls].into_iter().cycle();
    let addresses = servers
        .iter()
        .zip(transports)
        .map(|(server, transport)| server.server(transport));
    let client = Client::new(addresses);
    for name in recorded().iter().step_by(6) {
        client.check("name_show", &name.hex, &name.show);
        client.check("name_history", &name.hex, &name.history);
    }
    let all_must_agree = client.with_environment("ISONYM_QUORUM", "4");
    for name in recorded().iter().skip(1).step_by(6) {
        all_must_agree.check("name_show", &name.hex, &name.show);
    }
}

#[test]
fn answers_say_how_deep_and_what_was_proved() {
    let blocks = blocks::recorded();
    let core = CoreRpc::start(&blocks);
    let server = ElectrumX::start(Release::V2_0, &core, blocks.len() - 1);
    let client = Client::new([server.server(Transport::Tcp)]);
    assert!(client.run(&["sync"]).status.success());
    let status: Value = serde_json::from_slice(&client.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["height"], TIP);
    assert_eq!(status["tip_hash"], blocks::hash(&blocks[480]).to_string());

    let shown = client.ask("name_show", &hex("d/many-updates")).unwrap();
    assert_eq!(shown["confirmations"], TIP + 1 - shown["height"].as_u64().unwrap());
    assert_eq!(shown["verified"]["links"], 16);
    assert_eq!(shown["verified"]["reached"], "registration");
    assert_eq!(shown["verified"]["tip_height"], TIP);
    assert_eq!(shown["verified"]["tip_hash"], status["tip_hash"]);
}

/// Says where the proof of a name must end, going back from its newest operation, and the oldest height above the
/// anchor on that way.
fn way_back(heights: &[u64], anchor: u64) -> (&'static str, Option<u64>) {
    let registration = registration(heights);
    let mut oldest = None;
    for (at, height) in heights.iter().copied().enumerate().rev() {
        if height > anchor {
            oldest = Some(height);
        }
        if at == registration {
            return ("registration", oldest);
        }
        if height <= anchor {
            return ("anchor", oldest);
        }
    }
    unreachable!("a name has a registration")
}

/// What is above the anchor needs twelve confirmations of its own: with an anchor so near to the tip, a young update
/// of an old name is held to what else a registration is.
fn expected_above(anchor: u64, name: &Recorded) -> Expected {
    if !matches!(name.show, Expected::Found(_)) {
        return name.show.clone();
    }
    match way_back(&name.heights, anchor) {
        (_, Some(oldest)) if TIP + 1 - oldest < 12 => Expected::Absent("unconfirmed"),
        _ => name.show.clone(),
    }
}

/// Headers below an anchor come cut to 80 bytes: 1.17.0 cuts them right, 2.0.0 cuts them wrongly and must be asked
/// for whole ones.
fn answers_above_an_anchor_are_those_of_core(release: Release) {
    let blocks = blocks::recorded();
    let core = CoreRpc::start(&blocks);
    let server = ElectrumX::start(release, &core, blocks.len() - 1);
    let names = recorded();
    for anchor in [300, 465] {
        let option = format!("{anchor}:{}", blocks::hash(&blocks[anchor]));
        let anchor = u64::try_from(anchor).unwrap();
        let client = Client::new([server.server(Transport::Tcp)]).with(&["--anchor", &option]);
        let mut reached = BTreeSet::new();
        let mut newest_below = 0;
        for (at, name) in names.iter().enumerate() {
            let found = matches!(name.show, Expected::Found(_));
            if !found && at % 4 != 0 {
                continue;
            }
            if let Some(shown) = client.check("name_show", &name.hex, &expected_above(anchor, name)) {
                let (due, _) = way_back(&name.heights, anchor);
                assert_eq!(shown["verified"]["reached"], due, "{} {shown}", name.hex);
                reached.insert(due);
                newest_below += u32::from(name.heights.last().is_some_and(|newest| *newest <= anchor));
            }
        }
        assert_eq!(reached, BTreeSet::from(["anchor", "registration"]), "{anchor}");
        assert_eq!(newest_below > 0, anchor == 465);
    }
}

#[test]
fn answers_above_an_anchor_by_headers_cut_right() {
    answers_above_an_anchor_are_those_of_core(Release::V1_17);
}

#[test]
fn answers_above_an_anchor_by_headers_cut_wrongly() {
    answers_above_an_anchor_are_those_of_core(Release::V2_0);
}

/// A reply that is held back costs a second, several times what a lookup takes.
#[test]
#[allow(clippy::disallowed_methods, reason = "the program's run is measured from outside")]
fn lookups_are_not_held_back() {
    const SLOWER_AT_MOST: u32 = 4;
    let blocks = blocks::recorded();
    let core = CoreRpc::start(&blocks);
    let releases = [Release::V1_17, Release::V1_18, Release::V2_0];
    let servers = releases.map(|release| ElectrumX::start(release, &core, blocks.len() - 1));
    let clients = servers
        .each_ref()
        .map(|server| Client::new([server.server(Transport::Tcp)]));
    let name = hex("d/addr-p2pkh");
    // In turns, so that what else the machine does falls on all alike; the first turn syncs.
    let turns: Vec<[Duration; 3]> = (0..10)
        .map(|_| {
            clients.each_ref().map(|client| {
                let start = Instant::now();
                client.ask("name_show", &name).unwrap();
                start.elapsed()
            })
        })
        .collect();
    let [plain, holding @ ..] = [0, 1, 2].map(|at| {
        let mut took: Vec<_> = turns[1..].iter().map(|turn| turn[at]).collect();
        took.sort_unstable();
        took[took.len() / 2]
    });
    for (release, took) in releases[1..].iter().zip(holding) {
        assert!(
            took < plain * SLOWER_AT_MOST,
            "{release:?}: {took:?}, but 1.17.0: {plain:?}"
        );
    }
}

/// The chain grows, loses its last blocks to a branch without names, and gets them back.
///
/// The branch has fewer transactions than what it takes the place of. `ElectrumX` keeps in its index where the dropped
/// operations were (`block_processor.py`, `backup_txs` touches no name), which is beyond the end of its chain now: it says
/// nothing of such a name until there are as many transactions again, and another server has the answer.
#[test]
fn answers_follow_growth_and_reorganisations() {
    let recorded_blocks = blocks::recorded();
    let mut branch = recorded_blocks[..=465].to_vec();
    blocks::extend_without_names(&mut branch, 471);

    let core = CoreRpc::start(&recorded_blocks[..=460]);
    let mut server = ElectrumX::start(Release::V2_0, &core, 460);
    let client = Client::new([server.server(Transport::Tcp)]);
    let height = |client: &Client, name: &str| client.ask("name_show", &hex(name)).map(|shown| shown["height"].clone());
    assert_eq!(height(&client, "d/many-updates"), Ok(json!(447)));
    assert_eq!(height(&client, "d/signed-p2pkh"), Ok(json!(456)));

    core.replace(&recorded_blocks[..=469]);
    server.wait_for(469);
    assert_eq!(height(&client, "d/many-updates"), Ok(json!(467)));
    assert_eq!(height(&client, "d/signed-p2pkh"), Ok(json!(466)));

    core.replace(&branch);
    server.wait_for(471);
    let fresh = ElectrumX::start(Release::V1_17, &core, 471);
    let both = Client::new([server.server(Transport::Tcp), fresh.server(Transport::Tcp)]);
    for (name, newest) in [("d/many-updates", 447), ("d/signed-p2pkh", 456)] {
        if let (Some(0), Ok(shown)) = client.try_ask("name_show", &hex(name)) {
            assert_eq!(shown["height"], newest, "{name} is shown from a block that was dropped");
        }
        assert_eq!(height(&both, name), Ok(json!(newest)));
    }

    core.replace(&recorded_blocks);
    server.wait_for(480);
    for name in recorded().iter().step_by(7) {
        client.check("name_show", &name.hex, &name.show);
    }
}

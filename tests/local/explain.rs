//! Why an answer is true: what `name_proof` and `name_show --explain` show of it, and what the wire shows of them.

use bitcoin::hashes::{Hash as _, HashEngine as _, sha256d};
use bitcoin::hex::DisplayHex as _;
use isonym::isolation::IsolationId;
use isonym::node::{AuxPowEvidence, Caveat, Explanation, Operation, ReachedWord, Said, Verdict};
use isonym::service::Question;
use isonym::time::Timestamp;
use isonym_sim::{AddressKind, Fault, Flaw, Release, World};
use serde_json::json;

use isonym_testkit::harness::{Daemon, Stop, end_of, honest};
use isonym_testkit::one_shot::{OneShot, settings, sync_once};
use isonym_testkit::program::{End, Program, Stage as Shell};
use isonym_testkit::stage::{NAME, OLD_VALUE, SETTLED, Stage, VALUE, lookup_settings, name_id, world};

async fn synced(stage: &Stage) -> (OneShot, tempfile::TempDir) {
    let mut settings = settings(lookup_settings(3, 1));
    settings.sync = sync_once();
    stage.synced(settings).await
}

/// Returns a hash as it is in memory.
fn raw(text: &str) -> [u8; 32] {
    text.parse::<sha256d::Hash>().unwrap().to_byte_array()
}

/// Returns the merkle root that a branch leads to, by the rule and not by the program's own code.
fn root(operation: &Operation) -> [u8; 32] {
    let (mut node, mut position) = (raw(&operation.txid), operation.position);
    for sibling in &operation.merkle {
        let mut engine = sha256d::Hash::engine();
        let pair = if position % 2 == 0 {
            [node, raw(sibling)]
        } else {
            [raw(sibling), node]
        };
        engine.input(&pair.concat());
        node = sha256d::Hash::from_engine(engine).to_byte_array();
        position /= 2;
    }
    node
}

fn has(explanation: &Explanation, wanted: impl Fn(&Caveat) -> bool) -> bool {
    explanation.caveats.iter().any(wanted)
}

#[tokio::test]
async fn all_that_a_value_stands_on_is_shown() {
    for release in [Release::V1_16, Release::V1_17, Release::V1_20] {
        let stage = Stage::open(world(), release, &[None]).await;
        let (node, _folder) = synced(&stage).await;
        let it = node.explain(&name_id(NAME), 1).await.unwrap();
        assert_eq!((&it.verdict, it.value()), (&Verdict::Found, Some(VALUE.as_bytes())));
        assert_eq!(it.reached, Some(ReachedWord::Registration));
        let registers: Vec<bool> = it.operations.iter().map(|operation| operation.registers).collect();
        assert!(
            registers.len() > 1 && registers.iter().rev().skip(1).all(|it| !it),
            "{registers:?}"
        );
        assert_eq!(registers.last(), Some(&true));
        for operation in &it.operations {
            assert_eq!(root(operation), raw(&operation.block.merkle_root), "{operation:?}");
            let above = it.tip.height - operation.block.height;
            assert_eq!(operation.block.confirmations, above + 1);
        }
        let newest = &it.operations[0];
        let header = world().chain().header(newest.block.height).unwrap();
        assert_eq!(newest.block.hash, header.hash().to_string());
        let work = it.work.as_ref().unwrap();
        assert!(work.own >= 2.0 && work.above.unwrap() > 0.0, "{work:?}");
        assert!(matches!(work.auxpow, AuxPowEvidence::Parent { .. }), "{work:?}");
        assert_eq!(it.servers.len(), 1);
        let height = newest.block.height;
        assert_eq!(it.servers[0].said, Said::Proved { height });
        assert!(it.servers[0].server.is_some());
        assert!(
            has(&it, |caveat| *caveat == Caveat::NewerMayBeHidden { servers: 1 }),
            "{:?}",
            it.caveats
        );
        let json = serde_json::to_value(&it).unwrap();
        assert_eq!(serde_json::from_value::<Explanation>(json).unwrap(), it);
    }
}

fn question(name: &str, id: &str) -> Question {
    Question {
        name: name_id(name),
        isolation_id: IsolationId::new(id.as_bytes()),
        allow_expired: false,
        quorum: None,
        max_age: None,
    }
}

/// The method of the question that is asked along with others for the size of its reply.
const COMPANION: &str = "blockchain.block.headers";

/// What an observer of the server sees: the lookup of anybody, and one header more, over the connection of that lookup.
#[tokio::test]
async fn one_more_question_is_asked_than_a_lookup_asks_and_by_its_own_connection() {
    for release in [Release::V1_16, Release::V1_17, Release::V1_20] {
        let stage = Stage::open(world(), release, &[None]).await;
        let (node, _folder) = synced(&stage).await;
        let names = &node.daemon.names;
        names.name_show(&question(NAME, "plain")).await.unwrap();
        names.explain(&question(NAME, "explained")).await.unwrap();
        let scripthash = name_id(NAME).scripthash().to_string();
        let asked: Vec<Vec<String>> = stage
            .ledger
            .connections_that_asked(&scripthash)
            .iter()
            .map(|connection| connection.requests.iter().flat_map(|it| it.methods.clone()).collect())
            .collect();
        let [plain, explained] = &asked[..] else {
            panic!("a connection for each ID: {asked:?}");
        };
        let (rest, more) = explained.split_at(plain.len());
        assert_eq!(rest, plain);
        // Whatever is asked goes with the companion that keeps servers from holding small replies back.
        let more: Vec<&str> = more.iter().map(String::as_str).filter(|it| *it != COMPANION).collect();
        assert_eq!(more, ["blockchain.block.header"]);
        // Under an ID that has a connection that one is used, and nothing is remembered.
        names.explain(&question(NAME, "plain")).await.unwrap();
        let again = stage.ledger.connections_that_asked(&scripthash);
        assert_eq!(again.len(), 2);
    }
}

#[tokio::test]
async fn a_proof_that_is_refused_is_shown_as_refused() {
    let stage = Stage::open(world(), Release::V1_17, &[None]).await;
    let (node, _folder) = synced(&stage).await;
    stage.hosts[0].set_fault(Some(Fault::ForgedMerkleBranch));
    let it = node.explain(&name_id(NAME), 1).await.unwrap();
    assert!(matches!(it.verdict, Verdict::Refused { .. }), "{it:?}");
    assert!(
        it.operations.is_empty() && it.value().is_none() && it.work.is_none(),
        "{it:?}"
    );
    let refused = |said: &Said| matches!(said, Said::Refused { reason } if reason.contains("merkle"));
    assert!(it.servers.iter().any(|account| refused(&account.said)), "{it:?}");
}

/// The header is that of our chain, whatever comes with it.
#[tokio::test]
async fn an_auxpow_that_is_wrong_is_not_shown() {
    let stage = Stage::open(world(), Release::V1_17, &[None]).await;
    let (node, _folder) = synced(&stage).await;
    for (flaw, says) in [(Flaw::CoinbaseNotInParent, "wrong"), (Flaw::NoAuxPow, "header")] {
        // It is the first one from there on that is forged.
        let from = world().chain().height() - SETTLED;
        stage.hosts[0].set_fault(Some(Fault::ForgedAuxPow { from, flaw }));
        let it = node.explain(&name_id(NAME), 1).await.unwrap();
        assert_eq!(it.value(), Some(VALUE.as_bytes()), "{it:?}");
        let auxpow = it.work.as_ref().map(|work| &work.auxpow);
        let is_refused = matches!(auxpow, Some(AuxPowEvidence::NotShown { reason }) if reason.contains(says));
        assert!(
            is_refused && has(&it, |caveat| *caveat == Caveat::WorkNotShown),
            "{flaw:?}: {auxpow:?}"
        );
    }
}

#[tokio::test]
async fn who_hides_an_update_is_seen_beside_who_does_not() {
    let stage = Stage::open(world(), Release::V1_17, &[None, None]).await;
    let (node, _folder) = synced(&stage).await;
    stage.hosts[0].set_fault(Some(Fault::HiddenUpdates { newest: 1 }));
    let it = node.explain(&name_id(NAME), 2).await.unwrap();
    assert_eq!(it.value(), Some(VALUE.as_bytes()));
    let mut heights: Vec<u32> = it
        .servers
        .iter()
        .map(|account| match account.said {
            Said::Proved { height } => height,
            _ => 0,
        })
        .collect();
    heights.sort_unstable();
    let proved: Vec<u32> = it.operations.iter().map(|operation| operation.block.height).collect();
    assert_eq!(heights, [proved[1], proved[0]]);
    assert!(
        has(&it, |caveat| *caveat == Caveat::NewerMayBeHidden { servers: 2 }),
        "{it:?}"
    );
    assert_eq!(it.operations[1].value.0, OLD_VALUE.as_bytes());
}

#[tokio::test]
async fn that_nothing_is_there_is_said_to_be_others_word() {
    let stage = Stage::open(world(), Release::V1_17, &[None, None]).await;
    let (node, _folder) = synced(&stage).await;
    let it = node.explain(&name_id("d/nowhere"), 1).await.unwrap();
    assert_eq!((&it.verdict, it.value()), (&Verdict::PurportedlyAbsent, None));
    assert!(
        has(&it, |caveat| *caveat == Caveat::AbsenceIsTheirWord { servers: 2 }),
        "{it:?}"
    );
    assert!(it.servers.iter().all(|account| account.said == Said::Denied), "{it:?}");
}

/// A value that would repaint a terminal, or turn round what follows.
const HOSTILE: &str = "{\"ip\":\"192.0.2.7\",\"x\":\"\u{9b}2J\u{202e}<b>\u{7f}\"}";

fn hostile_world() -> World {
    let mut world = World::new(1, Timestamp(1_700_000_000));
    world.register("d/over", "gone", AddressKind::P2wpkh).unwrap();
    world.register("d/here", HOSTILE, AddressKind::P2wpkh).unwrap();
    world.mine(20);
    world.update("d/here", HOSTILE, AddressKind::P2wpkh).unwrap();
    world.mine(5);
    world
}

#[test]
fn a_shell_is_told_in_words() {
    let program = Program::new();
    let stage = Shell::honest(hostile_world());
    let explain = |name: &str| {
        End::of(
            &mut program.direct(),
            ["name_show", name, "--explain", &stage.server('t')],
        )
    };
    let found = explain("d/here");
    found.assert_succeeded();
    for words in [
        "d/here, regtest: proved; expires in",
        "here.bit. 600 IN A 192.0.2.7",
        r"\u{9b}2J\u{202e}<b>\u{7f}",
        "registration in block",
        "update in block",
        "commits to it",
        "proved the operation in block",
        "is the word of one server",
    ] {
        assert!(found.out.contains(words), "{words}: {found:?}");
    }
    let is_hidden = |c: char| c != '\n' && c.is_control() || c == '\u{202e}';
    assert!(!found.out.contains(is_hidden), "{found:?}");
    let over = explain("d/over");
    assert_eq!(over.status, Some(2), "{over:?}");
    for words in ["d/over, regtest: EXPIRED", "which does not hold", "  gone\n"] {
        assert!(over.out.contains(words), "{words}: {over:?}");
    }
    assert!(!over.out.contains("DNS records"), "{over:?}");
    let nowhere = explain("d/nowhere");
    assert_eq!(nowhere.status, Some(2), "{nowhere:?}");
    assert!(nowhere.out.contains("NO VALUE, servers say"), "{nowhere:?}");
    assert_eq!(nowhere.err, "", "{nowhere:?}");
}

#[tokio::test]
async fn by_json_rpc_it_takes_the_options_that_mean_something_for_it() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    let hex = NAME.as_bytes().to_lower_hex_string();
    let shown = daemon
        .call(
            "name_proof",
            json!([hex, { "nameEncoding": "hex", "streamID": "a", "quorum": 1 }]),
        )
        .await
        .unwrap();
    assert_eq!(
        (&shown["verdict"]["is"], &shown["name"]),
        (&json!("found"), &json!(hex))
    );
    for options in [
        json!({ "maxAge": 1 }),
        json!({ "valueEncoding": "hex" }),
        json!({ "explain": true }),
    ] {
        let refused = daemon.call("name_proof", json!([NAME, options])).await.unwrap_err();
        assert_eq!(refused.0, -8, "{refused:?}");
    }
    // A command finds the daemon, and is told the same.
    let mut command = program.on_regtest();
    command.args(["name_show", NAME, "--explain", "--isolation-id=b"]);
    let told = end_of(command).await;
    told.assert_succeeded();
    assert!(told.out.contains("proved; expires in"), "{told:?}");
    daemon.stop(Stop::Call, &stage.ledger).await;
}

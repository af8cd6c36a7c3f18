//! The program against real ElectrumX servers: every answer must be the one that Namecoin Core gave for the same
//! chain, or an outcome that our policy is stricter about on purpose.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use serde_json::{Value, json};
use support::blocks;
use support::core_rpc::CoreRpc;
use support::electrumx::{ElectrumX, Release, Transport};
use tempfile::TempDir;

const TIP: u64 = 480;

/// Names that Core still serves but that are semi-expired: at most 4 blocks are left to renew them.
const SEMI_EXPIRED: [&str; 10] = [
    "",
    "d/expires-in-1",
    "d/expires-in-2",
    "d/latin1-value",
    "d/plain",
    "d/several-1",
    "d/tls",
    "d/value-75",
    "d/value-zero-byte",
    "id/gpg",
];

/// Names that Core serves but whose registration has fewer than 12 confirmations.
const UNCONFIRMED: [&str; 3] = ["d/first-conf-11", "d/first-conf-3", "d/taken-over-recently"];

/// The fields of Core's `name_show` without a wallet.
const CORE_FIELDS: [&str; 10] = [
    "name",
    "name_encoding",
    "value",
    "value_encoding",
    "txid",
    "vout",
    "address",
    "height",
    "expires_in",
    "expired",
];

/// What the program must answer for a name.
#[derive(Clone, Debug, PartialEq)]
enum Expected {
    /// This object, and more fields; exit 0.
    Found(Value),
    /// Exit 2, with this word in the message.
    Absent(&'static str),
}

/// The recorded answers of Namecoin Core about one name.
struct Recorded {
    hex: String,
    show: Expected,
    history: Expected,
}

fn recorded() -> Vec<Recorded> {
    let file: Value = serde_json::from_str(include_str!("vectors/namecoind-regtest/names.json")).unwrap();
    assert_eq!(file["height"], TIP);
    ["names", "unregistered"]
        .into_iter()
        .flat_map(|group| file[group].as_array().unwrap())
        .map(|entry| Recorded {
            hex: entry["name_hex"].as_str().unwrap().to_owned(),
            show: expected_show(entry),
            history: match &entry["name_history"]["result"] {
                Value::Null => Expected::Absent("never existed"),
                history => Expected::Found(history.clone()),
            },
        })
        .collect()
}

fn expected_show(entry: &Value) -> Expected {
    let shown = &entry["name_show_hex"]["result"];
    let name = entry["name"].as_str().unwrap_or("(not printable)");
    if entry["name_show_hex"]["error"]["message"]
        .as_str()
        .is_some_and(|message| message.contains("expired"))
    {
        Expected::Absent("expired")
    } else if shown.is_null() {
        Expected::Absent("never existed")
    } else if SEMI_EXPIRED.contains(&name) {
        Expected::Absent("semi-expired")
    } else if UNCONFIRMED.contains(&name) {
        Expected::Absent("unconfirmed")
    } else {
        Expected::Found(shown.clone())
    }
}

/// The lists by name are what the policy says in numbers.
#[test]
fn names_that_the_policy_refuses_are_those_listed() {
    let file: Value = serde_json::from_str(include_str!("vectors/namecoind-regtest/names.json")).unwrap();
    let mut refused = BTreeMap::<&str, Vec<&str>>::new();
    for entry in file["names"].as_array().unwrap() {
        let shown = &entry["name_show_hex"]["result"];
        if shown.is_null() {
            continue;
        }
        let heights: Vec<u64> = entry["name_history"]["result"]
            .as_array()
            .unwrap()
            .iter()
            .map(|update| update["height"].as_u64().unwrap())
            .collect();
        let lapse = heights.windows(2).rposition(|pair| pair[1] - pair[0] >= 30);
        let registered = heights[lapse.map_or(0, |at| at + 1)];
        let why = if shown["expires_in"].as_i64().unwrap() <= 4 {
            "semi-expired"
        } else if TIP + 1 - registered < 12 {
            "unconfirmed"
        } else {
            continue;
        };
        refused.entry(why).or_default().push(entry["name"].as_str().unwrap());
    }
    refused.values_mut().for_each(|names| names.sort_unstable());
    assert_eq!(
        refused,
        BTreeMap::from([
            ("semi-expired", SEMI_EXPIRED.to_vec()),
            ("unconfirmed", UNCONFIRMED.to_vec())
        ])
    );
}

/// The program with a data folder of its own, on one server.
struct Client {
    datadir: TempDir,
    server: String,
}

impl Client {
    fn new(server: String) -> Self {
        Self {
            datadir: tempfile::tempdir().unwrap(),
            server,
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_isonym"))
            .args(["--network", "regtest", "--direct", "--datadir"])
            .arg::<&Path>(self.datadir.path())
            .args(["--server", &self.server])
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Runs a command on a name in hex and returns its JSON, or its message when it ends with exit code 2.
    ///
    /// # Panics
    /// On any other exit code.
    fn ask(&self, command: &str, name: &str) -> Result<Value, String> {
        let output = self.run(&[command, name, "--name-encoding", "hex", "--value-encoding", "hex"]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => Ok(serde_json::from_slice(&output.stdout).unwrap()),
            Some(2) => Err(message),
            code => panic!("{command} {name} on {} ended with {code:?}: {message}", self.server),
        }
    }

    fn check(&self, command: &str, name: &str, expected: &Expected) {
        let answer = self.ask(command, name);
        let context = format!("{command} {name} on {}: {answer:?}", self.server);
        match (expected, &answer) {
            (Expected::Found(expected), Ok(found)) => assert_eq!(&core_fields(found), expected, "{context}"),
            (Expected::Absent(word), Err(message)) => {
                assert!(message.contains(word), "{context} does not say {word}");
                assert_eq!(message.contains("semi-expired"), *word == "semi-expired", "{context}");
            }
            _ => panic!("{context}, but expected {expected:?}"),
        }
    }

    fn check_show(&self, name: &str, expected: &Expected) {
        self.check("name_show", name, expected);
    }
}

/// Leaves only the fields that Core gives, in an answer to `name_show` or `name_history`.
fn core_fields(answer: &Value) -> Value {
    match answer {
        Value::Array(entries) => entries.iter().map(core_fields).collect(),
        Value::Object(fields) => fields
            .iter()
            .filter(|(field, _)| CORE_FIELDS.contains(&field.as_str()))
            .map(|(field, value)| (field.clone(), value.clone()))
            .collect(),
        other => other.clone(),
    }
}

/// Two clients share the work, one for each core of a small machine: a data folder serves one process at a time.
fn in_two_parts<T: Sync>(items: &[T], work: impl Fn(&[T]) + Sync) {
    let (left, right) = items.split_at(items.len() / 2);
    thread::scope(|scope| {
        scope.spawn(|| work(left));
        work(right);
    });
}

fn every_answer_is_that_of_core(release: Release) {
    let blocks = blocks::recorded();
    let core = CoreRpc::start(&blocks);
    let server = ElectrumX::start(release, &core, blocks.len() - 1);
    let names = recorded();
    assert_eq!(names.len(), 99);

    in_two_parts(&names, |names| {
        let client = Client::new(server.server(Transport::Tcp));
        for name in names {
            client.check("name_show", &name.hex, &name.show);
            client.check("name_history", &name.hex, &name.history);
        }
    });

    // The transport below the lines changes no answer: one name of each kind and every address kind will do.
    let client = Client::new(server.server(Transport::Tls));
    for name in names
        .iter()
        .filter(|name| name.hex.starts_with(TLS_SAMPLE_PREFIX))
        .step_by(3)
    {
        client.check("name_show", &name.hex, &name.show);
    }
}

/// `d/` in hex.
const TLS_SAMPLE_PREFIX: &str = "642f";

#[test]
fn answers_of_1_17_0_held_to_1_4_2_are_those_of_core() {
    every_answer_is_that_of_core(Release::V1_17At1_4_2);
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
fn answers_say_how_deep_and_what_was_proved() {
    let blocks = blocks::recorded();
    let core = CoreRpc::start(&blocks);
    let server = ElectrumX::start(Release::V2_0, &core, blocks.len() - 1);
    let client = Client::new(server.server(Transport::Tcp));
    assert!(client.run(&["sync"]).status.success());
    let status: Value = serde_json::from_slice(&client.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["height"], TIP);

    let shown = client.ask("name_show", &hex("d/many-updates")).unwrap();
    assert_eq!(shown["confirmations"], TIP + 1 - shown["height"].as_u64().unwrap());
    assert!(shown["verified"].is_object(), "{shown}");
}

/// The chain grows, loses its last blocks to a branch without names, and gets them back.
#[test]
fn answers_follow_growth_and_reorganisations() {
    let recorded_blocks = blocks::recorded();
    let mut branch = recorded_blocks[..=465].to_vec();
    blocks::extend_without_names(&mut branch, 471);

    let core = CoreRpc::start(&recorded_blocks[..=460]);
    let mut server = ElectrumX::start(Release::V2_0, &core, 460);
    let client = Client::new(server.server(Transport::Tcp));
    let height_of = |name: &str| client.ask("name_show", &hex(name)).map(|shown| shown["height"].clone());
    assert_eq!(height_of("d/many-updates"), Ok(json!(447)));
    assert_eq!(height_of("d/signed-p2pkh"), Ok(json!(456)));

    core.replace(&recorded_blocks[..=469]);
    server.wait_for(469);
    assert_eq!(height_of("d/many-updates"), Ok(json!(467)));
    assert_eq!(height_of("d/signed-p2pkh"), Ok(json!(466)));

    core.replace(&branch);
    server.wait_for(471);
    assert_eq!(height_of("d/many-updates"), Ok(json!(447)));
    assert_eq!(height_of("d/signed-p2pkh"), Ok(json!(456)));

    core.replace(&recorded_blocks);
    server.wait_for(480);
    for name in recorded().iter().step_by(7) {
        client.check_show(&name.hex, &name.show);
    }
}

/// What the other tests stand on, without the program: the servers serve the recorded chain, and follow it.
mod harness {
    use super::*;

    /// The script hash that ElectrumX indexes a name by: of an update with no value, and OP_RETURN.
    fn script_hash(name: &[u8]) -> String {
        use bitcoin::hashes::{Hash as _, sha256};
        let mut script = vec![0x53];
        match u8::try_from(name.len()).unwrap() {
            length @ 0..=75 => script.push(length),
            length => script.extend([0x4c, length]),
        }
        script.extend(name);
        script.extend([0x00, 0x6d, 0x75, 0x6a]);
        let mut hash = sha256::Hash::hash(&script).to_byte_array();
        hash.reverse();
        bitcoin::hex::DisplayHex::to_lower_hex_string(&hash[..])
    }

    #[test]
    fn every_release_serves_the_recorded_chain() {
        let blocks = blocks::recorded();
        let core = CoreRpc::start(&blocks);
        let names: Value = serde_json::from_str(include_str!("vectors/namecoind-regtest/names.json")).unwrap();
        for (release, newest) in Release::ALL.into_iter().zip(["1.4.2", "1.4.3", "1.4.3", "1.6"]) {
            let server = ElectrumX::start(release, &core, blocks.len() - 1);
            let mut lines = server.lines();
            let version = lines.ask("server.version", &json!(["", ["1.4", "1.6"]])).unwrap();
            assert_eq!(version[1], newest, "{release:?}");
            let tip = lines.ask("blockchain.headers.subscribe", &json!([])).unwrap();
            assert_eq!(tip["height"], TIP);
            for entry in names["names"].as_array().unwrap().iter().step_by(19) {
                let name: Vec<u8> = bitcoin::hex::FromHex::from_hex(entry["name_hex"].as_str().unwrap()).unwrap();
                let history = lines
                    .ask("blockchain.scripthash.get_history", &json!([script_hash(&name)]))
                    .unwrap();
                let served: Vec<_> = history
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| (&item["tx_hash"], &item["height"]))
                    .collect();
                let core = entry["name_history"]["result"].as_array().unwrap();
                assert_eq!(
                    served,
                    core.iter()
                        .map(|update| (&update["txid"], &update["height"]))
                        .collect::<Vec<_>>()
                );
            }
        }
    }

    #[test]
    fn a_server_follows_growth_and_a_reorganisation() {
        let recorded_blocks = blocks::recorded();
        let mut branch = recorded_blocks[..=465].to_vec();
        blocks::extend_without_names(&mut branch, 471);
        let core = CoreRpc::start(&recorded_blocks[..=460]);
        let mut server = ElectrumX::start(Release::V2_0, &core, 460);
        for (chain, tip) in [
            (&recorded_blocks[..=469], 469),
            (&branch[..], 471),
            (&recorded_blocks[..], 480),
        ] {
            core.replace(chain);
            server.wait_for(tip);
            let mut lines = server.lines();
            lines.ask("server.version", &json!(["", "1.4"])).unwrap();
            let header = lines.ask("blockchain.block.header", &json!([tip])).unwrap();
            let header: Vec<u8> = bitcoin::hex::FromHex::from_hex(header.as_str().unwrap()).unwrap();
            assert_eq!(blocks::hash(&header), blocks::hash(&chain[tip]));
        }
    }
}

fn hex(name: &str) -> String {
    bitcoin::hex::DisplayHex::to_lower_hex_string(name.as_bytes())
}

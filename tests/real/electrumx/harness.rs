//! What the other tests stand on, without the program: the servers serve the recorded chain, and follow it.

use serde_json::{Value, json};

use isonym_testkit::electrumx::blocks;
use isonym_testkit::electrumx::core_rpc::CoreRpc;
use isonym_testkit::electrumx::recorded::TIP;
use isonym_testkit::electrumx::server::{ElectrumX, Release};

/// The script hash that `ElectrumX` indexes a name by: of an update with no value, and `OP_RETURN`.
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
    let names: Value = serde_json::from_str(include_str!("../../vectors/namecoind-regtest/names.json")).unwrap();
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
            let listed: Vec<_> = history
                .as_array()
                .unwrap()
                .iter()
                .map(|item| (&item["tx_hash"], &item["height"]))
                .collect();
            let recorded = entry["name_history"]["result"].as_array().unwrap();
            assert_eq!(
                listed,
                recorded
                    .iter()
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

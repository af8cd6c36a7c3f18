//! Every fault shows in what the server serves.

use std::time::Duration;

use bitcoin::Transaction;
use bitcoin::consensus::deserialize;
use serde_json::{Value, json};

use super::tests::{Client, bytes, proves, scripthash, value, world};
use super::{Output, Then};
use crate::parent::{AuxPowKind, Flaw};
use crate::{Fault, Release, Work};
use isonym_core::chain::{Network, PureHeader};

fn raw_line(fault: Fault) -> Output {
    Client::shaken(Release::V1_17, Some(fault)).output("blockchain.headers.subscribe", &json!([]))
}

#[test]
fn stale_and_fake_tips_differ_from_the_true_one() {
    let height = u64::from(world().chain().height());
    let fake = |work| Fault::FakeLongerChain { extra: 5, work };
    for (fault, claimed) in [
        (Fault::Stale { behind: 10 }, height - 10),
        (fake(Work::Nothing), height + 5),
        (fake(Work::Flawed(AuxPowKind::Nested, Flaw::NotEnoughWork)), height + 5),
    ] {
        let mut client = Client::shaken(Release::V1_17, Some(fault));
        assert_eq!(
            client.ask("blockchain.headers.subscribe", &json!([]))["height"],
            claimed
        );
    }
    let mut client = Client::shaken(Release::V1_17, Some(fake(Work::Nothing)));
    let header = bytes(&client.ask("blockchain.block.header", &json!([height + 5])));
    let target = Network::Regtest.params().pow_limit.target();
    assert!(!target.is_met_by(PureHeader::decode(&header).unwrap().hash()));
}

#[test]
fn silence_and_slowness() {
    let mut client = Client::new(Release::V1_17, Some(Fault::Silent));
    assert_eq!(client.output("server.version", &json!(["", "1.4"])), Output::default());
    assert_eq!(raw_line(Fault::SilentAfterHandshake), Output::default());
    let delay = Duration::from_secs(3);
    assert_eq!(raw_line(Fault::Slow { delay }).delay, delay);
    let mut client = Client::shaken(Release::V1_17, Some(Fault::HoldsSmallReplies { delay }));
    client.ask("blockchain.block.headers", &json!([1, 10]));
    assert_eq!(client.output("server.ping", &json!([])).hold, delay);
}

#[test]
fn floods_never_end() {
    assert!(matches!(raw_line(Fault::FloodOfNotifications).then, Then::Forever(line) if line.ends_with(b"\n")));
    assert!(matches!(raw_line(Fault::FloodInOneLine).then, Then::Forever(line) if !line.contains(&b'\n')));
}

#[test]
fn spoilt_lines() {
    for fault in [
        Fault::TruncatedReplies,
        Fault::GarbageJson,
        Fault::DeepNesting { depth: 10_000 },
    ] {
        assert!(
            serde_json::from_slice::<Value>(&raw_line(fault.clone()).lines[0]).is_err(),
            "{fault:?}"
        );
    }
    let wrong: Value = serde_json::from_slice(&raw_line(Fault::WrongIds).lines[0]).unwrap();
    assert_eq!(wrong["id"], 1_000_007);
    let refused: Value = serde_json::from_slice(&raw_line(Fault::Errors).lines[0]).unwrap();
    assert_eq!(refused["error"]["code"], -32603);
    let mut client = Client::shaken(Release::V1_17, Some(Fault::TruncatedHeaders));
    let reply = client.ask("blockchain.block.headers", &json!([1, 2]));
    let sizes = [1, 2].map(|height| client.world.chain().full_header(height).unwrap().len());
    assert_eq!(bytes(&reply["hex"]).len(), sizes.iter().sum::<usize>() - 40);
}

#[test]
fn service_ends() {
    let refused = raw_line(Fault::ExcessiveResources { after_bytes: 100 });
    let error: Value = serde_json::from_slice(&refused.lines[0]).unwrap();
    assert_eq!((&error["error"]["code"], refused.then), (&json!(-101), Then::Close));
    assert_eq!(raw_line(Fault::DropsConnection { after_replies: 2 }).then, Then::Close);
    assert_eq!(raw_line(Fault::DropsConnection { after_replies: 3 }).then, Then::GoOn);
}

#[test]
fn forged_auxpow_changes_nothing_but_the_auxpow() {
    for flaw in Flaw::ALL {
        let fault = Fault::ForgedAuxPow { from: 20, flaw };
        let mut client = Client::shaken(Release::V1_17, Some(fault));
        let chain = client.world.chain().clone();
        let height = (20..100)
            .find(|height| chain.header(*height).unwrap().has_auxpow())
            .unwrap();
        let forged = bytes(&client.ask("blockchain.block.header", &json!([height])));
        assert_ne!(forged, chain.full_header(height).unwrap());
        assert_eq!(forged[..80], *chain.header(height).unwrap().as_bytes());
        let other = bytes(&client.ask("blockchain.block.header", &json!([height + 1])));
        assert_eq!(other, chain.full_header(height + 1).unwrap());
    }
}

#[test]
fn forged_branches_prove_nothing() {
    let mut client = Client::shaken(Release::V1_17, Some(Fault::ForgedMerkleBranch));
    let entry = client.history()[0].clone();
    let height = entry["height"].as_u64().unwrap();
    assert!(!proves(&mut client, entry["tx_hash"].as_str().unwrap(), height));
}

#[test]
fn forged_values_change_the_txid() {
    let mut client = Client::shaken(Release::V1_17, Some(Fault::ForgedValue));
    let entry = client.history()[1].clone();
    let raw = client.ask("blockchain.transaction.get", &json!([entry["tx_hash"]]));
    let transaction: Transaction = deserialize(&bytes(&raw)).unwrap();
    assert_eq!(value(&transaction), b"recond");
    assert_ne!(
        transaction.compute_txid().to_string(),
        entry["tx_hash"].as_str().unwrap()
    );
}

#[test]
fn names_are_hidden_denied_and_invented() {
    let mut client = Client::shaken(Release::V1_17, Some(Fault::HiddenUpdates { newest: 1 }));
    assert_eq!(client.history().len(), 1);
    let mut client = Client::shaken(Release::V1_17, Some(Fault::DeniesNames));
    assert!(client.history().is_empty());
    let mut client = Client::shaken(Release::V1_17, Some(Fault::InventsNames));
    let absent = client.ask("blockchain.scripthash.get_history", &json!([scripthash("d/absent")]));
    assert_eq!(absent.as_array().unwrap().len(), 2);
}

#[test]
fn another_network_has_another_genesis() {
    let mut client = Client::shaken(Release::V1_17, Some(Fault::WrongNetwork));
    let genesis = Network::Regtest.params().genesis;
    let features = client.ask("server.features", &json!([]));
    assert_ne!(features["genesis_hash"], genesis.hash().to_string());
    let served = bytes(&client.ask("blockchain.block.header", &json!([0])));
    assert_ne!(served, genesis.as_bytes());
    let tip = client.ask("blockchain.headers.subscribe", &json!([]));
    assert_eq!(tip["height"], client.world.chain().height());
}

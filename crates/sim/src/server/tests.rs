//! The server answers as ElectrumX does.

use std::str::FromStr;

use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash;
use bitcoin::hex::FromHex;
use bitcoin::{Transaction, Txid};

use super::*;
use crate::{AddressKind, World, merkle};
use isonym_core::chain::PureHeader;
use isonym_core::name::NameId;
use isonym_core::name::script::NameScript;
use isonym_core::time::Timestamp;

pub(super) const NAME: &str = "d/asked";

pub(super) fn world() -> World {
    let mut world = World::new(1, Timestamp(1_700_000_000));
    world.register(NAME, "first", AddressKind::P2wpkh).unwrap();
    world.mine(12);
    world.update(NAME, "second", AddressKind::P2pkh).unwrap();
    world.mine(2);
    world
}

/// A client on one connection.
pub(super) struct Client {
    server: Server,
    session: Session,
    pub(super) world: World,
}

impl Client {
    pub(super) fn new(release: Release, fault: Option<Fault>) -> Self {
        Self {
            server: Server::new(release, fault),
            session: Session::default(),
            world: world(),
        }
    }

    pub(super) fn shaken(release: Release, fault: Option<Fault>) -> Self {
        let mut client = Self::new(release, fault);
        client.ask("server.version", &json!(["", ["1.4", "1.6"]]));
        client
    }

    fn send(&mut self, request: &Value) -> Output {
        let line = request.to_string();
        self.server
            .on_line(&mut self.session, self.world.chain(), line.as_bytes())
    }

    pub(super) fn output(&mut self, method: &str, params: &Value) -> Output {
        self.send(&json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))
    }

    pub(super) fn ask(&mut self, method: &str, params: &Value) -> Value {
        let output = self.output(method, params);
        let reply: Value = serde_json::from_slice(&output.lines[0]).unwrap();
        assert_eq!(reply["id"], 7);
        if reply.get("error").is_some() {
            reply["error"].clone()
        } else {
            reply["result"].clone()
        }
    }

    pub(super) fn history(&mut self) -> Vec<Value> {
        let history = self.ask("blockchain.scripthash.get_history", &json!([scripthash(NAME)]));
        history.as_array().unwrap().clone()
    }
}

pub(super) fn scripthash(name: &str) -> String {
    NameId::new(name.as_bytes()).unwrap().scripthash().to_string()
}

pub(super) fn bytes(hex: &Value) -> Vec<u8> {
    Vec::from_hex(hex.as_str().unwrap()).unwrap()
}

fn node(hex: &Value) -> merkle::Node {
    let mut node: merkle::Node = bytes(hex).try_into().unwrap();
    node.reverse();
    node
}

fn branch(hashes: &Value) -> Vec<merkle::Node> {
    hashes.as_array().unwrap().iter().map(node).collect()
}

pub(super) fn value(transaction: &Transaction) -> Vec<u8> {
    let mut names = transaction
        .output
        .iter()
        .filter_map(|output| NameScript::parse(&output.script_pubkey));
    let name = names.next().unwrap();
    name.op.any_update().unwrap().1.as_bytes().to_vec()
}

/// Says whether the branch of `get_merkle` leads from a transaction to its header.
pub(super) fn proves(client: &mut Client, txid: &str, height: u64) -> bool {
    let proof = client.ask("blockchain.transaction.get_merkle", &json!([txid, height]));
    let header = client.ask("blockchain.block.header", &json!([height]));
    let header = PureHeader::decode(&bytes(&header)).unwrap();
    let leaf = Txid::from_str(txid).unwrap().to_byte_array();
    let pos = u32::try_from(proof["pos"].as_u64().unwrap()).unwrap();
    merkle::fold(leaf, &branch(&proof["merkle"]), pos) == header.merkle_root().to_byte_array()
}

#[test]
fn versions_are_negotiated() {
    for (release, asked, agreed) in [
        (
            Release::V1_16,
            json!(["1.4", "1.6"]),
            json!(["ElectrumX 1.16.0", "1.4.2"]),
        ),
        (
            Release::V1_17,
            json!(["1.4", "1.6"]),
            json!(["ElectrumX 1.17.0", "1.4.3"]),
        ),
        (
            Release::V1_20,
            json!(["1.4", "1.6"]),
            json!(["ElectrumX 1.20.0", "1.6"]),
        ),
        (
            Release::V1_20,
            json!(["1.4", "1.7"]),
            json!(["ElectrumX 1.20.0", "1.6.0"]),
        ),
        (Release::V1_20, json!("1.4"), json!(["ElectrumX 1.20.0", "1.4"])),
    ] {
        let mut client = Client::new(release, None);
        assert_eq!(client.ask("server.version", &json!(["", asked])), agreed);
        let again = client.ask("server.version", &json!(["", asked]));
        assert_eq!(again["message"], "server.version already sent");
    }
    let mut client = Client::new(Release::V1_16, None);
    assert_eq!(client.output("server.version", &json!(["", "1.2"])).then, Then::Close);
}

#[test]
fn only_new_releases_insist_on_the_handshake() {
    for release in Release::ALL {
        let mut client = Client::new(release, None);
        let closes = client.output("server.ping", &json!([])).then == Then::Close;
        assert_eq!(closes, release == Release::V1_20);
    }
}

#[test]
fn headers_come_in_both_shapes() {
    let mut old = Client::shaken(Release::V1_17, None);
    let mut new = Client::shaken(Release::V1_20, None);
    let chain = old.world.chain().clone();
    let expected: Vec<u8> = (3..8)
        .flat_map(|height| chain.full_header(height).unwrap().to_vec())
        .collect();
    let reply = old.ask("blockchain.block.headers", &json!([3, 5]));
    assert_eq!(bytes(&reply["hex"]), expected);
    assert_eq!(reply["count"], 5);
    let reply = new.ask("blockchain.block.headers", &json!([3, 5]));
    let pieces: Vec<Vec<u8>> = reply["headers"].as_array().unwrap().iter().map(bytes).collect();
    assert_eq!(pieces.concat(), expected);
    assert_ne!(pieces[0], chain.full_header(3).unwrap(), "cut at the wrong places");
    let beyond = old.ask("blockchain.block.headers", &json!([chain.height() + 1, 5]));
    assert_eq!((&beyond["count"], &beyond["hex"]), (&json!(0), &json!("")));
}

#[test]
fn checkpoint_proofs_hold_and_cut_headers() {
    for (release, cut_right) in [(Release::V1_17, true), (Release::V1_20, false)] {
        let mut client = Client::shaken(release, None);
        let chain = client.world.chain().clone();
        let reply = client.ask("blockchain.block.header", &json!([9, 100]));
        let header = PureHeader::decode(&bytes(&reply["header"])).unwrap();
        assert_eq!(bytes(&reply["header"]).len(), 80);
        let root = merkle::fold(header.hash().to_byte_array(), &branch(&reply["branch"]), 9);
        assert_eq!(root, node(&reply["root"]));
        let reply = client.ask("blockchain.block.headers", &json!([7, 3, 100]));
        assert_eq!(node(&reply["root"]), root);
        let last = chain.header(9).unwrap().hash().to_byte_array();
        assert_eq!(merkle::fold(last, &branch(&reply["branch"]), 9), root);
        let pieces = match reply.get("hex") {
            Some(hex) => bytes(hex),
            None => reply["headers"].as_array().unwrap().iter().flat_map(bytes).collect(),
        };
        let right: Vec<u8> = (7..10)
            .flat_map(|height| *chain.header(height).unwrap().as_bytes())
            .collect();
        assert_eq!(pieces == right, cut_right);
    }
    let mut client = Client::shaken(Release::V1_17, None);
    let error = client.ask("blockchain.block.header", &json!([102, 50]));
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("require header height 102 <= cp_height 50")
    );
}

#[test]
fn names_are_proved_in_two_round_trips() {
    let mut client = Client::shaken(Release::V1_16, None);
    let history = client.history();
    assert_eq!(history.len(), 2);
    for (entry, expected) in history.iter().zip(["first", "second"]) {
        let txid = entry["tx_hash"].as_str().unwrap();
        let raw = client.ask("blockchain.transaction.get", &json!([txid]));
        let transaction: Transaction = deserialize(&bytes(&raw)).unwrap();
        assert_eq!(value(&transaction), expected.as_bytes());
        assert!(proves(&mut client, txid, entry["height"].as_u64().unwrap()));
    }
    let proof = client.ask("blockchain.name.get_value_proof", &json!([scripthash(NAME)]));
    assert_eq!(proof["code"], -32601);
}

#[test]
fn names_are_proved_in_one_round_trip() {
    let mut client = Client::shaken(Release::V1_17, None);
    let chain = client.world.chain().clone();
    let id = scripthash(NAME);
    let items = client.ask("blockchain.name.get_value_proof", &json!([id]))[&id].clone();
    let heights: Vec<u64> = items
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["height"].as_u64().unwrap())
        .collect();
    assert_eq!(heights, [u64::from(chain.height()) - 2, u64::from(chain.height()) - 15]);
    assert!(items[0].get("header").is_none());
    let checked = client.ask("blockchain.name.get_value_proof", &json!([id, chain.height()]))[&id].clone();
    assert_eq!(checked.as_array().unwrap().len(), 1);
    assert_eq!(bytes(&checked[0]["header"]["header"]).len(), 80);
    let absent = scripthash("d/absent");
    let none = client.ask("blockchain.name.get_value_proof", &json!([absent]));
    assert_eq!(none, json!({absent: []}));
}

#[test]
fn odd_input_gets_the_known_errors() {
    let mut client = Client::shaken(Release::V1_17, None);
    let mut send = |line: &str| {
        let output = client
            .server
            .on_line(&mut client.session, client.world.chain(), line.as_bytes());
        output
            .lines
            .first()
            .map(|line| serde_json::from_slice::<Value>(line).unwrap())
    };
    assert_eq!(send("{").unwrap()["error"]["code"], -32700);
    assert_eq!(send("[]").unwrap()["error"]["code"], -32600);
    assert_eq!(
        send(r#"{"id":1,"jsonrpc":"1.0","method":"server.ping"}"#).unwrap()["error"]["code"],
        -32600
    );
    assert_eq!(send(r#"{"id":null,"jsonrpc":"2.0","method":"server.ping"}"#), None);
    assert_eq!(send(r#"{"id":1,"jsonrpc":"2.0"}"#), None);
    let few = send(r#"{"id":1,"jsonrpc":"2.0","method":"blockchain.block.header"}"#).unwrap();
    assert_eq!(
        few["error"]["message"],
        "0 arguments passed to method \"blockchain.block.header\" but it requires 1"
    );
    let many = send(r#"{"id":1,"jsonrpc":"2.0","method":"server.ping","params":[1]}"#).unwrap();
    assert_eq!(many["error"]["code"], -32602);
    let odd = send(r#"{"id":1,"jsonrpc":"2.0","method":"blockchain.scripthash.get_history","params":["zz"]}"#).unwrap();
    assert_eq!(
        odd["error"],
        json!({"code": 1, "message": "zz is not a valid script hash"})
    );
    assert_eq!(
        send(r#"{"id":"a","jsonrpc":"2.0","method":"nothing"}"#).unwrap()["error"]["message"],
        "unknown method \"nothing\""
    );
    let named =
        send(r#"{"id":1,"jsonrpc":"2.0","method":"blockchain.block.header","params":{"height":99999}}"#).unwrap();
    assert_eq!(named["error"]["message"], "height 99,999 out of range");
    let batch =
        send(r#"[{"id":1,"jsonrpc":"2.0","method":"server.ping"},{"id":2,"jsonrpc":"2.0","method":"server.ping"}]"#)
            .unwrap();
    assert_eq!((&batch[0]["id"], &batch[1]["id"]), (&json!(2), &json!(1)));
}

#[test]
fn a_subscriber_hears_of_the_newest_tip_once() {
    let mut client = Client::shaken(Release::V1_17, None);
    client.world.mine(1);
    let unsubscribed = client.server.on_block(&mut client.session, client.world.chain());
    assert_eq!(unsubscribed, Output::default());
    client.ask("blockchain.headers.subscribe", &json!([]));
    client.world.mine(3);
    let output = client.server.on_block(&mut client.session, client.world.chain());
    let line: Value = serde_json::from_slice(&output.lines[0]).unwrap();
    assert_eq!(line["params"][0]["height"], client.world.chain().height());
    let again = client.server.on_block(&mut client.session, client.world.chain());
    assert_eq!(again, Output::default());
}

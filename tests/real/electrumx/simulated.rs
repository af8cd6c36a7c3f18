//! Chains of our own simulator behind real servers, compared with what the simulator did. Needs no recorded chain.

use isonym::chain::Height;
use isonym::time::Timestamp;
use isonym_sim::wallet::Signer;
use isonym_sim::{AddressKind, AuxPowKind, Work, World};
use serde_json::{Value, json};

use isonym_testkit::electrumx::client::{Client, Expected, core_fields, hex, in_two_parts};
use isonym_testkit::electrumx::core_rpc::CoreRpc;
use isonym_testkit::electrumx::server::{ElectrumX, Release, Transport};

/// Blocks that a name lives on regtest.
const LIFE: Height = 30;

/// One operation that the simulator was told to do.
#[derive(Clone)]
struct Done {
    name: Vec<u8>,
    value: Vec<u8>,
    kind: AddressKind,
    txid: bitcoin::Txid,
    registers: bool,
}

/// A world and the book of what was done in it.
#[derive(Clone)]
struct Story {
    world: World,
    book: Vec<Done>,
}

impl Story {
    fn register(&mut self, names: &[(Vec<u8>, Vec<u8>, AddressKind)]) {
        let txids = self.world.register_all(names).unwrap();
        for ((name, value, kind), txid) in names.iter().cloned().zip(txids) {
            self.book.push(Done {
                name,
                value,
                kind,
                txid,
                registers: true,
            });
        }
    }

    fn queue_update(&mut self, name: &[u8], value: &[u8], kind: AddressKind) {
        let txid = self.world.queue_update(name, value, kind, Signer::Owner).unwrap();
        self.book.push(Done {
            name: name.to_vec(),
            value: value.to_vec(),
            kind,
            txid,
            registers: false,
        });
    }

    /// Names that move through all address kinds, several in a block and one twice in a block; names that expire, are
    /// registered anew, are about to expire, are young.
    fn tell() -> Self {
        let mut story = Self {
            world: World::new(11, Timestamp(1_700_000_000)),
            book: Vec::new(),
        };
        let named = |name: &[u8], value: &[u8], kind| (name.to_vec(), value.to_vec(), kind);
        let kinds = AddressKind::ALL;
        let moving = |kind| format!("d/moving-{kind:?}").into_bytes();
        let mut first: Vec<_> = kinds.map(|kind| (moving(kind), b"{}".to_vec(), kind)).to_vec();
        first.push(named(b"d/expired", b"gone", AddressKind::P2pkh));
        first.push(named(b"d/again", b"before", AddressKind::P2wsh));
        first.push(named(b"", b"", AddressKind::P2pkh));
        first.push(named(&[0xff, 0x00, 0x80], &[0x00, 0xfe], AddressKind::P2wpkh));
        story.register(&first);
        for (turn, work) in (0..kinds.len()).zip(AuxPowKind::ALL.into_iter().cycle()) {
            for (at, kind) in kinds.into_iter().enumerate() {
                let to = kinds[(at + turn + 1) % kinds.len()];
                story.queue_update(&moving(kind), format!("turn {turn}").as_bytes(), to);
            }
            story.world.mine_with(Work::AuxPow(work));
        }
        story.world.mine(LIFE);
        let again: Vec<_> = kinds.map(|kind| (moving(kind), b"anew".to_vec(), kind)).to_vec();
        story.register(&again);
        story.register(&[
            named(b"d/again", b"after", AddressKind::P2shP2wpkh),
            named(&[b'n'; 255], &[b'v'; 520], AddressKind::P2sh),
            named(b"d/semi-expired", b"soon", AddressKind::P2pkh),
            named(b"d/late", b"renewed", AddressKind::P2pkh),
        ]);
        story.register(&[named(b"d/stays", b"as it is", AddressKind::P2wsh)]);
        for (turn, kind) in kinds.into_iter().enumerate() {
            for held in kinds {
                story.queue_update(&moving(held), format!("anew {turn}").as_bytes(), kind);
            }
            story.queue_update(b"d/again", b"first in the block", AddressKind::P2wpkh);
            story.queue_update(b"d/again", b"last in the block", kind);
            story.queue_update(b"d/late", b"renewed again", kind);
            if turn == 0 {
                story.queue_update(b"d/semi-expired", b"soon", kind);
            }
            story.world.mine_with(Work::AuxPow(AuxPowKind::Witness));
        }
        story.world.mine(8);
        story.register(&[named(b"d/young", b"not final", AddressKind::P2pkh)]);
        story.queue_update(b"d/stays", b"as it was", AddressKind::P2pkh);
        story.queue_update(b"d/again", b"last of the story", AddressKind::P2sh);
        story.world.mine(1);
        story
    }

    /// The same up to `height`, and from there on another way.
    fn branch(&self, height: Height) -> Self {
        let world = self.world.fork_at(height, 12);
        let book = self
            .book
            .iter()
            .filter(|done| world.chain().position(&done.txid).is_some());
        Self {
            book: book.cloned().collect(),
            world,
        }
    }

    fn blocks(&self) -> Vec<Vec<u8>> {
        let chain = self.world.chain();
        (0..=chain.height())
            .map(|height| chain.block(height).unwrap().to_bytes())
            .collect()
    }

    fn tip(&self) -> usize {
        self.world.chain().height() as usize
    }

    /// All names of the book and one that is not in it, each once.
    fn names(&self) -> Vec<Vec<u8>> {
        let mut names: Vec<_> = self.book.iter().map(|done| done.name.clone()).collect();
        names.push(b"d/never".to_vec());
        names.sort_unstable();
        names.dedup();
        names
    }

    fn operations(&self, name: &[u8]) -> Vec<(&Done, Height)> {
        let operations = self.book.iter().filter(|done| done.name == name);
        operations
            .map(|done| (done, self.world.chain().position(&done.txid).unwrap().height))
            .collect()
    }

    /// Core's fields but the address, whose form depends on its kind alone and is checked apart.
    fn entry(&self, done: &Done, height: Height) -> Value {
        let left = i64::from(height + LIFE) - i64::from(self.world.chain().height());
        json!({
            "name": hex(&done.name), "name_encoding": "hex",
            "value": hex(&done.value), "value_encoding": "hex",
            "txid": done.txid.to_string(), "vout": 0,
            "height": height, "expires_in": left, "expired": left <= 0,
        })
    }

    fn expected_show(&self, name: &[u8]) -> Expected {
        let operations = self.operations(name);
        let Some((newest, height)) = operations.last() else {
            return Expected::Absent("never existed");
        };
        let tip = self.world.chain().height();
        let (_, registered) = operations.iter().rfind(|(done, _)| done.registers).unwrap();
        if height + LIFE <= tip {
            Expected::Absent("expired")
        } else if tip + 1 - registered < 12 {
            Expected::Absent("unconfirmed")
        } else if height + LIFE <= tip + 4 {
            Expected::Absent("semi-expired")
        } else {
            Expected::Found(self.entry(newest, *height))
        }
    }

    fn check(&self, client: &Client, name: &[u8]) {
        let show = client.ask("name_show", &hex(name));
        match (self.expected_show(name), show) {
            (Expected::Found(expected), Ok(shown)) => {
                let kind = self.operations(name).last().unwrap().0.kind;
                assert_eq!(without_address(&shown, kind), expected);
            }
            (Expected::Absent(word), Err(message)) => assert!(
                message.contains(word) && message.contains("semi-expired") == (word == "semi-expired"),
                "{message}, but expected {word}"
            ),
            (expected, answer) => panic!("{}: {answer:?}, but expected {expected:?}", hex(name)),
        }
        let operations = self.operations(name);
        match client.ask("name_history", &hex(name)) {
            Ok(history) => {
                let history = history.as_array().unwrap();
                assert_eq!(history.len(), operations.len());
                for (entry, (done, height)) in history.iter().zip(operations) {
                    assert_eq!(without_address(entry, done.kind), self.entry(done, height));
                }
            }
            Err(message) => assert!(operations.is_empty() && message.contains("never existed"), "{message}"),
        }
    }
}

/// Takes the address out of an entry, after a look at its form.
fn without_address(entry: &Value, kind: AddressKind) -> Value {
    let mut entry = core_fields(entry);
    let address = entry.as_object_mut().unwrap().shift_remove("address").unwrap();
    let (start, length): (&[&str], _) = match kind {
        AddressKind::P2pkh => (&["m", "n"], 34),
        AddressKind::P2sh | AddressKind::P2shP2wpkh => (&["2"], 35),
        AddressKind::P2wpkh => (&["ncrt1q"], 44),
        AddressKind::P2wsh => (&["ncrt1q"], 64),
    };
    let address = address.as_str().unwrap();
    assert!(
        start.iter().any(|start| address.starts_with(start)),
        "{kind:?}: {address}"
    );
    assert!((length - 1..=length).contains(&address.len()), "{kind:?}: {address}");
    entry
}

#[test]
fn the_story_has_every_outcome() {
    let story = Story::tell();
    for (name, word) in [
        (&b"d/expired"[..], Some("expired")),
        (b"d/semi-expired", Some("semi-expired")),
        (b"d/young", Some("unconfirmed")),
        (b"d/never", Some("never existed")),
        (b"d/again", None),
        (b"d/late", None),
        (b"d/moving-P2pkh", None),
    ] {
        let expected = story.expected_show(name);
        match word {
            Some(word) => assert_eq!(expected, Expected::Absent(word)),
            None => assert!(matches!(expected, Expected::Found(_)), "{expected:?}"),
        }
    }
}

fn every_answer_is_what_was_done(release: Release) {
    let story = Story::tell();
    let core = CoreRpc::start(&story.blocks());
    let server = ElectrumX::start(release, &core, story.tip());
    in_two_parts(&story.names(), |names| {
        let client = Client::new([server.server(Transport::Tcp)]);
        for name in names {
            story.check(&client, name);
        }
    });
    let client = Client::new([server.server(Transport::Tls)]);
    for name in story.names().iter().filter(|name| name.starts_with(b"d/moving")) {
        story.check(&client, name);
    }
}

#[test]
fn answers_of_1_16_0_are_what_was_done() {
    every_answer_is_what_was_done(Release::V1_16);
}

#[test]
fn answers_of_2_0_0_are_what_was_done() {
    every_answer_is_what_was_done(Release::V2_0);
}

/// The chain grows, goes another way below its tip, and grows there. Names that the dropped blocks changed have no
/// answer from a server that dropped them, for the reason given in `releases.rs`, but from another one.
#[test]
fn answers_follow_growth_and_a_reorganisation() {
    let mut story = Story::tell();
    let core = CoreRpc::start(&story.blocks());
    let mut servers = [Release::V1_16, Release::V2_0].map(|release| ElectrumX::start(release, &core, story.tip()));
    let clients = servers
        .each_ref()
        .map(|server| Client::new([server.server(Transport::Tcp)]));
    let names: [&[u8]; 4] = [b"d/moving-P2sh", b"d/stays", b"d/again", b"d/never"];
    let mut follow = |story: &Story, names: &[&[u8]]| {
        core.replace(&story.blocks());
        for (server, client) in servers.iter_mut().zip(&clients) {
            server.wait_for(story.tip());
            for name in names {
                story.check(client, name);
            }
        }
    };
    follow(&story, &names);

    let fork = story.world.chain().height();
    story.queue_update(b"d/again", b"grown", AddressKind::P2pkh);
    story.world.mine(2);
    follow(&story, &names);

    let mut branch = story.branch(fork);
    branch.queue_update(b"d/moving-P2sh", b"the other way", AddressKind::P2wsh);
    branch.world.mine(4);
    assert!(!branch.book.iter().any(|done| done.value == b"grown"));
    follow(&branch, &[b"d/moving-P2sh", b"d/stays", b"d/never"]);
    let shown = clients
        .each_ref()
        .map(|client| client.try_ask("name_show", &hex(b"d/again")));
    for answer in shown {
        if let (Some(0), Ok(shown)) = answer {
            assert_ne!(shown["value"], hex(b"grown"), "shown from a block that was dropped");
        }
    }

    branch.queue_update(b"d/stays", b"no more", AddressKind::P2pkh);
    branch.world.mine(3);
    follow(&branch, &[b"d/moving-P2sh", b"d/stays"]);

    let fresh = ElectrumX::start(Release::V1_17, &core, branch.tip());
    let both = Client::new([servers[1].server(Transport::Tcp), fresh.server(Transport::Tcp)]);
    let shown = both.ask("name_show", &hex(b"d/again")).unwrap();
    assert_eq!(shown["value"], hex(b"last of the story"));
}

//! What was done in a simulated world, and what must be said of its names. Needs no recorded chain.

use isonym::chain::Height;
use isonym_sim::wallet::Signer;
use isonym_sim::{AddressKind, World};
use serde_json::{Value, json};

use isonym_testkit::electrumx::client::{Client, Expected, core_fields, hex};

/// Blocks that a name lives on regtest.
pub(super) const LIFE: Height = 30;

/// One operation that the simulator was told to do.
#[derive(Clone)]
pub(super) struct Done {
    name: Vec<u8>,
    pub(super) value: Vec<u8>,
    kind: AddressKind,
    txid: bitcoin::Txid,
    registers: bool,
}

/// A world and the book of what was done in it.
#[derive(Clone)]
pub(super) struct Story {
    pub(super) world: World,
    pub(super) book: Vec<Done>,
}

impl Story {
    /// Begins a book.
    pub(super) fn in_world(world: World) -> Self {
        Self {
            world,
            book: Vec::new(),
        }
    }

    pub(super) fn register(&mut self, names: &[(Vec<u8>, Vec<u8>, AddressKind)]) {
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

    pub(super) fn queue_update(&mut self, name: &[u8], value: &[u8], kind: AddressKind) {
        let txid = self.world.queue_update(name, value, kind, Signer::Owner).unwrap();
        self.book.push(Done {
            name: name.to_vec(),
            value: value.to_vec(),
            kind,
            txid,
            registers: false,
        });
    }

    /// Confirms in the next block what another branch did to a name last.
    pub(super) fn queue_again(&mut self, branch: &Self, name: &[u8]) {
        let done = branch.book.iter().rfind(|done| done.name == name).unwrap().clone();
        self.world.queue_again(&branch.world, &done.txid).unwrap();
        self.book.push(done);
    }

    /// The same up to `height`, and from there on another way.
    pub(super) fn branch(&self, height: Height) -> Self {
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

    pub(super) fn blocks(&self) -> Vec<Vec<u8>> {
        let chain = self.world.chain();
        (0..=chain.height())
            .map(|height| chain.block(height).unwrap().to_bytes())
            .collect()
    }

    pub(super) fn tip(&self) -> usize {
        self.world.chain().height() as usize
    }

    /// All names of the book and one that is not in it, each once.
    pub(super) fn names(&self) -> Vec<Vec<u8>> {
        let mut names: Vec<_> = self.book.iter().map(|done| done.name.clone()).collect();
        names.push(b"d/never".to_vec());
        names.sort_unstable();
        names.dedup();
        names
    }

    fn operations(&self, name: &[u8]) -> Vec<(&Done, Height)> {
        let operations = self.book.iter().filter(|done| done.name == name);
        let placed = operations.map(|done| (done, self.world.chain().position(&done.txid).unwrap()));
        let mut placed: Vec<_> = placed.collect();
        placed.sort_by_key(|(_, position)| (position.height, position.pos));
        placed
            .into_iter()
            .map(|(done, position)| (done, position.height))
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

    pub(super) fn expected_show(&self, name: &[u8]) -> Expected {
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

    /// Compares what is answered for a name with what was done.
    pub(super) fn check_shown(&self, name: &[u8], show: Result<Value, String>) {
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
    }

    /// Asks a client for a name in both ways, and compares what it says with what was done.
    pub(super) fn check(&self, client: &Client, name: &[u8]) {
        self.check_shown(name, client.ask("name_show", &hex(name)));
        self.check_history(name, client.ask("name_history", &hex(name)));
    }

    /// The same for all of its operations.
    pub(super) fn check_history(&self, name: &[u8], history: Result<Value, String>) {
        let operations = self.operations(name);
        match history {
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

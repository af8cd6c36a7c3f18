//! Forged skeletons keep every rule but that of the work, and servers tell them in one voice.

use std::sync::LazyLock;

use bitcoin::hashes::Hash;
use bitcoin::hex::FromHex;
use serde_json::{Value, json};

use super::merkle;
use super::parent::Flaw;
use super::skeleton::{Fork, Lacking, Shown, Skeleton, Times};
use super::{AddressKind, Fault, Release, Server, Session, SimChain, World};
use isonym_core::chain::auxpow::AuxPowError;
use isonym_core::chain::{Anchor, FullHeader, HeaderTree, Height, Network, PureHeader};
use isonym_core::name::proof::{self, Reached};
use isonym_core::name::{NameId, NameValue, ProofLimits};
use isonym_core::time::Timestamp;

const HEIGHT: Height = 200;
const FROM: Height = 150;
const NAME: &str = "d/claimed";

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let names = [(NAME, "true", AddressKind::P2wpkh)];
    World::long(5, HEIGHT, Timestamp(1_700_000_000), &names).unwrap()
});

fn skeleton(lacking: Lacking, shown: Shown) -> Skeleton {
    Skeleton {
        from: FROM,
        lacking,
        shown,
        fork: None,
    }
}

fn fork(lacking: Lacking, fork: Fork) -> Skeleton {
    Skeleton {
        fork: Some(fork),
        ..skeleton(lacking, Shown::Borrowed)
    }
}

/// What a server with this fault tells.
struct Liar {
    server: Server,
    session: Session,
    chain: SimChain,
}

impl Liar {
    fn new(skeleton: Skeleton) -> Self {
        Self::of(Release::V1_16, skeleton)
    }

    fn of(release: Release, skeleton: Skeleton) -> Self {
        let chain = skeleton.doctored(WORLD.chain());
        let mut liar = Self {
            server: Server::new(release, Some(Fault::Skeleton(skeleton))),
            session: Session::default(),
            chain: chain.unwrap_or_else(|| WORLD.chain().clone()),
        };
        liar.ask("server.version", &json!(["", ["1.4", "1.6"]])).unwrap();
        liar
    }

    fn ask(&mut self, method: &str, params: &Value) -> Option<Value> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let line = request.to_string();
        let output = self.server.on_line(&mut self.session, WORLD.chain(), line.as_bytes());
        let reply = output.lines.first()?;
        Some(serde_json::from_slice(reply).unwrap())
    }

    fn full(&mut self, height: Height) -> Vec<u8> {
        let reply = self.ask("blockchain.block.header", &json!([height])).unwrap();
        bytes(&reply["result"])
    }

    fn tip(&mut self) -> (Height, Vec<u8>) {
        let tip = self.ask("blockchain.headers.subscribe", &json!([])).unwrap();
        let height = tip["result"]["height"].as_u64().unwrap();
        (Height::try_from(height).unwrap(), bytes(&tip["result"]["hex"]))
    }
}

fn bytes(hex: &Value) -> Vec<u8> {
    Vec::from_hex(hex.as_str().unwrap()).unwrap()
}

/// Checks what 80 bytes can be checked for.
fn tree_of(chain: &SimChain) -> HeaderTree {
    let mut tree = HeaderTree::new(Network::Regtest.params(), Anchor::shipped(Network::Regtest).unwrap());
    for height in 1..=chain.height() {
        tree.restore(chain.header(height).unwrap(), true)
            .unwrap_or_else(|error| panic!("height {height}: {error}"));
    }
    tree
}

/// Says what is wrong with a full header's work, after a look at whose it is.
fn work_of(full: &[u8], header: PureHeader) -> Option<Result<(), AuxPowError>> {
    let (full, rest) = FullHeader::decode(full).ok()?;
    assert!(rest.is_empty());
    assert_eq!(full.pure, header);
    let params = Network::Regtest.params();
    let target = params.pow_limit.target();
    Some(full.auxpow?.check(&full.pure, &full.pure.hash(), &target, params))
}

#[test]
fn forks_keep_every_rule_but_that_of_the_work() {
    let lackings = [
        Lacking::None,
        Lacking::All,
        Lacking::First(1),
        Lacking::First(40),
        Lacking::Runs { run: 3, period: 10 },
    ];
    for lacking in lackings {
        for times in [Times::Even, Times::Lowest] {
            for extra in [0, 30] {
                let fork = fork(
                    lacking,
                    Fork {
                        extra,
                        times,
                        claim: None,
                    },
                );
                let mut liar = Liar::new(fork);
                let chain = liar.chain.clone();
                assert_eq!(tree_of(&chain).tip().hash, chain.tip_hash());
                assert_eq!(chain.height(), HEIGHT + extra);
                let time = chain.header(HEIGHT + extra).unwrap().time();
                assert_eq!(time, WORLD.chain().header(HEIGHT).unwrap().time());
                assert_eq!(chain.header(FROM - 1), WORLD.chain().header(FROM - 1));
                assert_ne!(chain.header(FROM), WORLD.chain().header(FROM));
                for height in FROM..=chain.height() {
                    let place = height - FROM;
                    let lacks = match lacking {
                        Lacking::None => false,
                        Lacking::All => true,
                        Lacking::First(count) => place < count,
                        Lacking::Runs { run, period } => place % period < run,
                    };
                    let work = work_of(&liar.full(height), chain.header(height).unwrap());
                    assert_eq!(work.unwrap().is_err(), lacks, "{lacking:?} at {height}");
                }
            }
        }
    }
}

#[test]
fn the_lowest_times_leave_the_last_block_all_the_time_there_is() {
    let fork = fork(
        Lacking::All,
        Fork {
            times: Times::Lowest,
            ..Fork::default()
        },
    );
    let chain = fork.doctored(WORLD.chain()).unwrap();
    let time = |height| chain.header(height).unwrap().time();
    assert!(time(HEIGHT - 1) < time(FROM - 1) + 600);
    assert_eq!(time(HEIGHT), time(FROM - 1) + 51 * 600);
}

#[test]
fn a_longer_fork_claims_more_work_than_the_true_chain() {
    let fork = fork(
        Lacking::All,
        Fork {
            extra: 1,
            ..Fork::default()
        },
    );
    let (lie, truth) = (tree_of(&fork.doctored(WORLD.chain()).unwrap()), tree_of(WORLD.chain()));
    assert!(lie.tip().chainwork > truth.tip().chainwork);
}

#[test]
fn what_is_shown_in_place_of_work_is_none() {
    for told in [None, Some(Fork::default())] {
        let height = FROM + 3;
        for flaw in Flaw::ALL {
            let mut liar = Liar::new(Skeleton {
                fork: told.clone(),
                ..skeleton(Lacking::All, Shown::Flawed(flaw))
            });
            let work = work_of(&liar.full(height), liar.chain.header(height).unwrap());
            assert!(work.is_none_or(|work| work.is_err()), "{flaw:?}");
        }
        for shown in [Shown::Borrowed, Shown::Garbage] {
            let mut liar = Liar::new(Skeleton {
                fork: told.clone(),
                ..skeleton(Lacking::All, shown)
            });
            let full = liar.full(height);
            let header = liar.chain.header(height).unwrap();
            assert_eq!(full[..80], header.as_bytes()[..]);
            let decoded = FullHeader::decode(&full).is_ok();
            assert!(!decoded || work_of(&full, header).unwrap().is_err(), "{shown:?}");
            assert_eq!(liar.full(height), full, "not the same when asked again");
        }
    }
}

#[test]
fn a_stranger_has_work_and_another_place() {
    let mut liar = Liar::new(skeleton(Lacking::First(1), Shown::Stranger));
    let full = liar.full(FROM);
    let stranger = PureHeader::decode(&full).unwrap();
    assert_ne!(Some(stranger), liar.chain.header(FROM));
    assert_eq!(work_of(&full, stranger), Some(Ok(())));
    assert_eq!(liar.full(FROM + 1), WORLD.chain().full_header(FROM + 1).unwrap());
}

#[test]
fn refusals_and_silence_meet_requests_for_full_headers_alone() {
    for shown in [Shown::Refusal, Shown::Silence] {
        for told in [None, Some(Fork::default())] {
            let mut liar = Liar::new(Skeleton {
                fork: told.clone(),
                ..skeleton(Lacking::Runs { run: 1, period: 10 }, shown)
            });
            for params in [json!([FROM]), json!([FROM + 10, 0])] {
                let reply = liar.ask("blockchain.block.header", &params);
                match shown {
                    Shown::Silence => assert_eq!(reply, None),
                    _ => assert!(reply.unwrap()["error"]["code"].is_i64()),
                }
            }
            assert_eq!(
                liar.full(FROM + 1),
                liar.chain.full_header(FROM + 1).unwrap(),
                "{shown:?}"
            );
            for (params, served) in [
                (json!([FROM + 1, 9]), true),
                (json!([FROM + 1, 10]), false),
                (json!([FROM + 1, 10, HEIGHT]), true),
            ] {
                let reply = liar.ask("blockchain.block.headers", &params);
                assert_eq!(
                    reply.is_some_and(|reply| reply["result"].is_object()),
                    served,
                    "{params}"
                );
            }
            let cut = liar.ask("blockchain.block.header", &json!([FROM, HEIGHT])).unwrap();
            let header = liar.chain.header(FROM).unwrap();
            assert_eq!(bytes(&cut["result"]["header"]), header.as_bytes());
        }
    }
}

#[test]
fn tips_are_always_told() {
    for shown in [Shown::Refusal, Shown::Silence, Shown::Garbage] {
        let mut liar = Liar::new(Skeleton {
            fork: Some(Fork {
                extra: 7,
                ..Fork::default()
            }),
            ..skeleton(Lacking::All, shown)
        });
        let (height, full) = liar.tip();
        assert_eq!(height, HEIGHT + 7);
        assert_eq!(full[..80], liar.chain.header(height).unwrap().as_bytes()[..]);
        assert!(full.len() > 500);
    }
    let mut hider = Liar::new(skeleton(Lacking::All, Shown::Silence));
    assert_eq!(
        hider.tip(),
        (HEIGHT, WORLD.chain().full_header(HEIGHT).unwrap().to_vec())
    );
}

#[test]
fn cut_headers_are_those_of_the_lie_and_proved_under_its_tip() {
    for release in Release::ALL {
        let mut liar = Liar::of(release, fork(Lacking::All, Fork::default()));
        let (first, count) = (FROM - 5, 30);
        let reply = liar
            .ask("blockchain.block.headers", &json!([first, count, HEIGHT]))
            .unwrap();
        let result = &reply["result"];
        let served: Vec<u8> = match result.get("headers") {
            Some(pieces) => pieces.as_array().unwrap().iter().flat_map(bytes).collect(),
            None => bytes(&result["hex"]),
        };
        let told: Vec<u8> = (first..first + count)
            .flat_map(|height| *liar.chain.header(height).unwrap().as_bytes())
            .collect();
        assert_eq!(served, told, "{release:?}");
        let node = |hex: &Value| {
            let mut node: merkle::Node = bytes(hex).try_into().unwrap();
            node.reverse();
            node
        };
        let branch: Vec<_> = result["branch"].as_array().unwrap().iter().map(node).collect();
        let last = first + count - 1;
        let leaf = liar.chain.header(last).unwrap().hash().to_byte_array();
        let hashes: Vec<_> = (0..=HEIGHT)
            .map(|height| liar.chain.header(height).unwrap().hash().to_byte_array())
            .collect();
        assert_eq!(merkle::fold(leaf, &branch, last), merkle::root(&hashes));
        assert_eq!(node(&result["root"]), merkle::root(&hashes));
    }
}

#[test]
fn a_name_claimed_on_a_fork_is_proved_on_it_and_nowhere_else() {
    let name = NameId::new(NAME.as_bytes()).unwrap();
    let claim = Some((name.clone(), NameValue::new(b"false").unwrap()));
    let fork = fork(
        Lacking::First(10),
        Fork {
            extra: 1,
            claim,
            ..Fork::default()
        },
    );
    let chain = fork.doctored(WORLD.chain()).unwrap();
    let lie = chain.name_proof(&name);
    let proven = proof::verify(&name, &lie, &tree_of(&chain), &ProofLimits::default()).unwrap();
    assert_eq!(proven.value().as_bytes(), b"false");
    assert_eq!(proven.reached(), Reached::Registration);
    assert!(proof::verify(&name, &lie, &tree_of(WORLD.chain()), &ProofLimits::default()).is_err());
}

#[test]
fn a_fork_that_is_too_short_for_a_claim_has_none() {
    let name = NameId::new(NAME.as_bytes()).unwrap();
    let claim = Some((name.clone(), NameValue::new(b"false").unwrap()));
    let short = Skeleton {
        from: HEIGHT - 20,
        ..fork(
            Lacking::All,
            Fork {
                claim,
                ..Fork::default()
            },
        )
    };
    let chain = short.doctored(WORLD.chain()).unwrap();
    assert_eq!(chain.height(), HEIGHT);
    assert!(chain.history(&name.scripthash()).is_empty());
}

//! Any events in any order: a lookup ends once, and what it finds is on the chain.

use std::sync::LazyLock;
use std::time::Duration;

use bitcoin::Txid;
use isonym::chain::{HeaderTree, Height};
use isonym::name::lookup::{
    FailureScope, LinkFailure, Lookup, LookupEffect, LookupEvent, LookupRequest, LookupSettings,
};
use isonym::name::proof::{ProvenEntry, verify_entry};
use isonym::name::{NameId, NameProof, Outcome};
use isonym::time::{Moment, Timestamp};
use isonym_fixtures::edit::Edit;
use isonym_sim::{AddressKind, World};

use crate::input;

/// Bytes of an event: what, attempt, seconds since the last one, an edit of what the server says.
const EVENT: usize = 8;

/// Most events in a run.
const EVENTS: usize = 64;

struct Example {
    name: NameId,
    tree: HeaderTree,
    proof: NameProof,
    history: Vec<(Txid, Height)>,
    entries: Vec<ProvenEntry>,
}

static EXAMPLE: LazyLock<Example> = LazyLock::new(|| {
    let mut world = World::new(1, Timestamp(1_700_000_000));
    world
        .register("d/x", "one", AddressKind::P2pkh)
        .expect("a new world has funds");
    world.mine(6);
    world
        .update("d/x", "two", AddressKind::P2wpkh)
        .expect("it is registered");
    world
        .update("d/x", "three", AddressKind::P2sh)
        .expect("it is registered");
    world.mine(8);
    let name = NameId::new(b"d/x").expect("it is short");
    let tree = world.chain().header_tree(world.params()).expect("the chain is valid");
    let proof = world.chain().name_proof(&name);
    let entry = |link| verify_entry(&name, link, &tree).expect("honest links verify");
    let entries = proof.links.iter().map(entry).collect();
    let history = world.chain().history(&name.scripthash());
    Example {
        history: history.iter().map(|entry| (entry.txid, entry.height)).collect(),
        entries,
        proof,
        tree,
        name,
    }
});

/// Turns bytes into an event: honest words of a server, bent by one edit, or something else.
fn event(bytes: [u8; EVENT], asked: &[Option<Vec<(Txid, Height)>>]) -> LookupEvent {
    let [what, attempt, _, edit @ ..] = bytes;
    let attempt = attempt % 16;
    let example = &*EXAMPLE;
    let mut proof = example.proof.clone();
    match what % 8 {
        0 => LookupEvent::Start,
        1 => LookupEvent::Tick,
        2 if edit[0] < 16 => LookupEvent::Failed {
            attempt,
            failure: LinkFailure::new(FailureScope::Everything, "no way"),
        },
        2 => LookupEvent::Failed {
            attempt,
            failure: LinkFailure::new(FailureScope::Attempt, "hung up"),
        },
        3 => {
            let mut entries = example.history.clone();
            let [how, at, height, ..] = edit;
            let at = usize::from(at) % entries.len();
            match how % 6 {
                0 => drop(entries.remove(at)),
                1 => entries[at].1 = Height::from(height),
                2 => entries.reverse(),
                3 => entries = vec![entries[at]; usize::from(height)],
                4 => entries.clear(),
                _ => {}
            }
            LookupEvent::History { attempt, entries }
        }
        4 | 5 => {
            for edit in Edit::all_in(&edit).filter(|_| what < 128) {
                edit.apply(&mut proof);
            }
            LookupEvent::Proof {
                attempt,
                links: proof.links,
            }
        }
        _ => {
            if let Some(Some(wanted)) = asked.get(usize::from(attempt)) {
                let honest = example.proof.links.iter().zip(&example.entries);
                let link = |txid| {
                    honest
                        .clone()
                        .find(|(_, entry)| entry.txid() == txid)
                        .map(|(link, _)| link.clone())
                };
                proof.links = wanted.iter().filter_map(|(txid, _)| link(*txid)).collect();
            }
            for edit in Edit::all_in(&edit).filter(|_| what < 128) {
                edit.apply(&mut proof);
            }
            LookupEvent::Transactions {
                attempt,
                links: proof.links.into_iter().map(Some).collect(),
            }
        }
    }
}

struct Run {
    lookup: Lookup,
    asked: Vec<Option<Vec<(Txid, Height)>>>,
    finished: Option<bool>,
}

impl Run {
    fn step(&mut self, now: Moment, event: LookupEvent) {
        let example = &*EXAMPLE;
        let effects = self.lookup.on_event(now, &example.tree, event);
        assert!(self.finished.is_none() || effects.is_empty());
        assert!(effects.len() < 64);
        for effect in effects {
            match effect {
                LookupEffect::Ask {
                    attempt,
                    request: LookupRequest::Transactions(wanted),
                } => {
                    self.asked[usize::from(attempt)] = Some(wanted);
                }
                LookupEffect::WakeAt(at) => assert!(at > now),
                LookupEffect::Finished(result) => {
                    assert!(self.finished.is_none());
                    let found = match result {
                        Ok(Outcome::Found(status)) => {
                            assert!(example.entries.contains(status.name.entry()));
                            true
                        }
                        _ => false,
                    };
                    self.finished = Some(found);
                }
                _ => {}
            }
        }
    }
}

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let Some((attempts, quorum, servers, bytes)) = input::<(u8, u8, u8, &[u8])>(bytes) else { return };
    let settings = LookupSettings {
        attempts: attempts % 8,
        quorum: quorum % 4,
        header_grace: Duration::from_secs(u64::from(quorum / 4 % 16)),
        ..LookupSettings::default()
    };
    let mut run = Run {
        lookup: Lookup::new(EXAMPLE.name.clone(), settings, usize::from(servers % 5)),
        asked: vec![None; 256],
        finished: None,
    };
    let mut now = Moment(0);
    run.step(now, LookupEvent::Start);
    let (events, _) = bytes.as_chunks::<EVENT>();
    for bytes in events.iter().take(EVENTS) {
        now = now + Duration::from_secs(u64::from(bytes[2]) % 16);
        let event = event(*bytes, &run.asked);
        run.step(now, event);
    }
    for _ in 0..16 {
        now = now + settings.attempt_timeout;
        run.step(now, LookupEvent::Tick);
    }
    assert!(run.finished.is_some());
}

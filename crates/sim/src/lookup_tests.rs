//! Lookups in simulated worlds, without sockets: servers are functions from questions to replies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use bitcoin::hashes::Hash as _;
use bitcoin::{OutPoint, TxMerkleNode, Txid};
use proptest::prelude::*;

use crate::{AddressKind, SimChain, World};
use isonym_core::chain::{Anchor, FullHeader, HeaderTree, Height, Network};
use isonym_core::name::lookup::*;
use isonym_core::name::{NameId, Outcome, Policy, ProofLimits, ProofLink};
use isonym_core::reputation::STRANGERS;
use isonym_core::time::{Moment, Timestamp};

const START: Timestamp = Timestamp(1_700_000_000);
const TRUE_VALUE: &[u8] = b"three";

/// A chain and our headers of it.
struct Truth {
    chain: SimChain,
    tree: HeaderTree,
}

impl Truth {
    fn of(world: &World) -> Self {
        Self {
            chain: world.chain().clone(),
            tree: world.chain().header_tree(world.params()).unwrap(),
        }
    }
}

/// `d/x` was registered, updated twice, the last time 8 blocks ago; `d/other` is another name.
static TRUTH: LazyLock<Truth> = LazyLock::new(|| {
    let mut world = World::new(1, START);
    world
        .register_all(&[
            ("d/x", "one", AddressKind::P2pkh),
            ("d/other", "other", AddressKind::P2wpkh),
        ])
        .unwrap();
    world.update("d/x", "two", AddressKind::P2sh).unwrap();
    world.update("d/other", "other two", AddressKind::P2pkh).unwrap();
    world.mine(12);
    world.update("d/x", "three", AddressKind::P2wpkh).unwrap();
    world.update("d/other", "other three", AddressKind::P2pkh).unwrap();
    world.mine(6);
    Truth::of(&world)
});

/// The same, but that the last update is in our newest block, and the newest two are in one block.
static FRESH: LazyLock<Truth> = LazyLock::new(|| {
    let mut world = World::new(2, START);
    world.register("d/x", "one", AddressKind::P2pkh).unwrap();
    world.mine(12);
    for value in ["two", "three"] {
        world
            .queue_update("d/x", value, AddressKind::P2pkh, crate::wallet::Signer::Owner)
            .unwrap();
    }
    world.mine(1);
    Truth::of(&world)
});

fn name() -> NameId {
    NameId::new(b"d/x").unwrap()
}

/// How a server of these tests answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// All in one reply.
    Proof,
    /// History, then transactions.
    History,
    /// As the first, but with no operation.
    DeniesByProof,
    /// As the second, but with no operation.
    DeniesByHistory,
    /// Leaves the newest operation out.
    HidesByProof,
    /// Leaves the newest operation out.
    HidesByHistory,
    ForgesBranch,
    /// The value and with it the transaction's ID.
    ForgesValue,
    /// Transactions of another name, after a true history.
    OtherTransactions,
    /// Too few of the transactions asked for.
    FewerTransactions,
    /// What its index has since a reorganisation: heights that fall, and each operation twice; as the first.
    DisorderByProof,
    /// The same, as the second.
    DisorderByHistory,
    /// The proof of another name.
    OtherName,
    /// Its index has an entry of an orphaned block, in which there is something else now; as the first.
    OrphanByProof,
    /// The same, as the second.
    OrphanByHistory,
    /// Its history names a newest operation that is no longer in its block.
    NewestIsGone,
    /// The same of the operation before.
    OneBeforeIsGone,
    AllAreGone,
    Fails,
    Silent,
    /// Answers as [`Self::Proof`] after 20 seconds.
    Slow,
}

use Manner::*;

const LIES_BUT_HIDING: [Manner; 13] = [
    Proof,
    History,
    DeniesByProof,
    DeniesByHistory,
    ForgesBranch,
    ForgesValue,
    OtherTransactions,
    FewerTransactions,
    DisorderByProof,
    DisorderByHistory,
    OtherName,
    Fails,
    Silent,
];

fn hung_up() -> LinkFailure {
    LinkFailure::new(FailureScope::Attempt, "hung up")
}

fn no_way() -> LinkFailure {
    LinkFailure::new(FailureScope::Everything, "no server can be reached")
}

fn texts(reasons: &[AttemptError]) -> Vec<String> {
    reasons.iter().map(ToString::to_string).collect()
}

impl Manner {
    fn is_honest(self) -> bool {
        matches!(self, Proof | History | Slow)
    }

    fn reply(self, truth: &Truth, attempt: Attempt, ask: &LookupRequest) -> Option<LookupEvent> {
        let failed = || LookupEvent::Failed {
            attempt,
            failure: hung_up(),
        };
        if self == Silent {
            return None;
        }
        if self == Fails {
            return Some(failed());
        }
        Some(match ask {
            LookupRequest::Name(scripthash) | LookupRequest::History(scripthash) => {
                assert_eq!(*scripthash, name().scripthash());
                self.reply_to_name(truth, attempt, matches!(ask, LookupRequest::History(_)))
            }
            LookupRequest::Transactions(wanted) => LookupEvent::Transactions {
                attempt,
                links: self.transactions(truth, wanted),
            },
        })
    }

    fn reply_to_name(self, truth: &Truth, attempt: Attempt, history_only: bool) -> LookupEvent {
        let history = truth.chain.history(&name().scripthash());
        let mut entries: Vec<(Txid, Height)> = history.iter().map(|entry| (entry.txid, entry.height)).collect();
        let mut links = truth.chain.name_proof(&name()).links;
        match self {
            DeniesByProof => links.clear(),
            DeniesByHistory => entries.clear(),
            HidesByProof => drop(links.remove(0)),
            HidesByHistory => drop(entries.pop()),
            ForgesBranch => links[0].merkle.push(branch_node()),
            ForgesValue => links[0].tx = forged(&links[0].tx),
            OtherName => {
                links = others_operations(truth);
                entries = links.iter().map(|link| (txid_of(&link.tx), link.height)).collect();
            }
            OrphanByProof | OrphanByHistory => {
                let other = others_operations(truth).swap_remove(0);
                entries.push((txid_of(&other.tx), other.height));
                entries.sort_by_key(|(_, height)| *height);
                let at = links.iter().position(|link| link.height <= other.height).unwrap();
                links.insert(at, other);
            }
            DisorderByProof | DisorderByHistory => {
                entries.extend(entries.clone());
                entries.reverse();
                links.extend(links.clone());
                links.reverse();
            }
            _ => {}
        }
        match self {
            _ if history_only => LookupEvent::History { attempt, entries },
            History | DeniesByHistory | HidesByHistory | OtherTransactions | FewerTransactions | DisorderByHistory
            | OrphanByHistory | NewestIsGone | OneBeforeIsGone | AllAreGone => {
                LookupEvent::History { attempt, entries }
            }
            _ => LookupEvent::Proof { attempt, links },
        }
    }

    fn transactions(self, truth: &Truth, wanted: &[(Txid, Height)]) -> Vec<Option<ProofLink>> {
        let known = truth.chain.name_proof(&name()).links.into_iter();
        let known: Vec<ProofLink> = known.chain(others_operations(truth)).collect();
        let of = |txid: Txid| known.iter().find(|link| txid_of(&link.tx) == txid).cloned();
        let mut links: Vec<Option<ProofLink>> = wanted.iter().map(|(txid, _)| of(*txid)).collect();
        match self {
            OtherTransactions => {
                let other = others_operations(truth).into_iter();
                links = other.take(wanted.len()).map(Some).collect();
            }
            FewerTransactions => drop(links.pop()),
            OneBeforeIsGone => links.get_mut(1).into_iter().for_each(|link| *link = None),
            NewestIsGone => links.first_mut().into_iter().for_each(|link| *link = None),
            AllAreGone => links.fill(None),
            _ => {}
        }
        links
    }
}

/// Operations of another name, newest first, each in its block.
fn others_operations(truth: &Truth) -> Vec<ProofLink> {
    truth.chain.name_proof(&NameId::new(b"d/other").unwrap()).links
}

fn branch_node() -> TxMerkleNode {
    use bitcoin::hashes::Hash;
    TxMerkleNode::from_byte_array([7; 32])
}

fn txid_of(tx: &[u8]) -> Txid {
    let tx: bitcoin::Transaction = bitcoin::consensus::deserialize(tx).unwrap();
    tx.compute_txid()
}

fn forged(tx: &[u8]) -> Vec<u8> {
    let mut tx: bitcoin::Transaction = bitcoin::consensus::deserialize(tx).unwrap();
    tx.input[0].previous_output = OutPoint::null();
    bitcoin::consensus::serialize(&tx)
}

/// What came of a lookup.
#[derive(Debug)]
struct Ended {
    result: Result<Outcome, LookupError>,
    asks: BTreeMap<Attempt, Vec<LookupRequest>>,
    started: BTreeMap<Attempt, Moment>,
    blamed: Vec<(Attempt, LookupFault)>,
    abandoned: Vec<Attempt>,
    at: Moment,
}

impl Ended {
    fn value(&self) -> &[u8] {
        match &self.result {
            Ok(Outcome::Found(status)) => status.name.value().as_bytes(),
            other => panic!("not found: {other:?}"),
        }
    }

    fn blamed(&self) -> Vec<Attempt> {
        self.blamed.iter().map(|(attempt, _)| *attempt).collect()
    }
}

fn settings(attempts: u8, quorum: u8) -> LookupSettings {
    LookupSettings {
        attempts,
        quorum,
        ..LookupSettings::default()
    }
}

/// Lets servers answer a lookup, in virtual time; each reply takes a second. Attempt `i` meets `manners[i % len]`.
fn look_up(truth: &Truth, manners: &[Manner], settings: LookupSettings) -> Ended {
    let operators: Vec<usize> = (0..manners.len()).collect();
    look_up_of(truth, manners, &operators, settings)
}

/// As [`look_up`], where servers may have one operator.
fn look_up_of(truth: &Truth, manners: &[Manner], operators: &[usize], settings: LookupSettings) -> Ended {
    let known = operators.iter().collect::<BTreeSet<_>>().len();
    let mut lookup = Lookup::new(name(), settings, known);
    let mut queue: BTreeMap<(Moment, usize), LookupEvent> = BTreeMap::from([((Moment(0), 0), LookupEvent::Start)]);
    let mut ended = Ended {
        result: Ok(Outcome::NeverExisted),
        asks: BTreeMap::new(),
        started: BTreeMap::new(),
        blamed: Vec::new(),
        abandoned: Vec::new(),
        at: Moment(0),
    };
    for count in 1.. {
        assert!(count < 1000, "no end");
        let ((now, _), event) = queue.pop_first().unwrap();
        for effect in lookup.on_event(now, &truth.tree, event) {
            match effect {
                LookupEffect::Ask { attempt, request: ask } => {
                    let manner = manners[usize::from(attempt) % manners.len()];
                    let delay = Duration::from_secs(if manner == Slow { 20 } else { 1 });
                    if let Some(reply) = manner.reply(truth, attempt, &ask) {
                        queue.insert((now + delay, 10 * count + usize::from(attempt)), reply);
                    }
                    ended.started.entry(attempt).or_insert_with(|| {
                        let server = operators[usize::from(attempt) % manners.len()];
                        queue.insert(
                            (now, 10 * count + usize::from(attempt)),
                            LookupEvent::Assigned { attempt, server },
                        );
                        now
                    });
                    ended.asks.entry(attempt).or_default().push(ask);
                }
                LookupEffect::Report { attempt, fault } => ended.blamed.push((attempt, fault)),
                LookupEffect::Abandon(attempt) | LookupEffect::Distrust(attempt) => ended.abandoned.push(attempt),
                LookupEffect::WakeAt(at) => {
                    assert!(at > now, "a wake-up in the past would never come");
                    queue.insert((at, 10 * count + 9), LookupEvent::Tick);
                }
                LookupEffect::Finished(result) => {
                    ended.result = result;
                    ended.at = now;
                    let late = queue.into_values();
                    for event in late {
                        assert_eq!(lookup.on_event(now, &truth.tree, event), []);
                    }
                    return ended;
                }
            }
        }
    }
    ended
}

fn plain(manners: &[Manner]) -> Ended {
    look_up(&TRUTH, manners, settings(3, 1))
}

#[test]
fn an_honest_server_is_believed_at_once_and_alone() {
    for (manner, asks) in [(Proof, 1), (History, 2)] {
        let ended = plain(&[manner, Fails, Fails]);
        assert_eq!(ended.value(), TRUE_VALUE);
        assert_eq!(ended.asks.len(), 1, "{manner:?} asks one server");
        assert_eq!(ended.asks[&0].len(), asks);
        assert!(ended.blamed.is_empty() && ended.abandoned.is_empty());
    }
}

#[test]
fn both_ways_prove_the_same() {
    let statuses = [Proof, History].map(|manner| plain(&[manner]).result.unwrap());
    let [Outcome::Found(proof), Outcome::Found(history)] = statuses else {
        panic!("not found")
    };
    assert_eq!(proof, history);
    assert_eq!(proof.name.links(), 2);
}

#[test]
fn what_one_server_denies_has_a_second_opinion_at_once_and_a_third_where_that_is_slow() {
    for manner in [DeniesByProof, DeniesByHistory] {
        let ended = plain(&[manner, Silent, Proof]);
        assert_eq!(ended.value(), TRUE_VALUE);
        assert_eq!(ended.started[&2].since(ended.started[&1]), settings(3, 1).hedge_after);
        assert!(matches!(ended.blamed.as_slice(), [(0, LookupFault::DeniedName { .. })]));
        assert_eq!(ended.abandoned, [1]);
    }
}

#[test]
fn a_name_that_two_deny_never_existed_they_say() {
    let ended = plain(&[DeniesByProof, DeniesByHistory, DeniesByProof]);
    assert_eq!(ended.result, Ok(Outcome::NeverExisted));
    assert_eq!(ended.asks.len(), 2, "no circuit is spent on a third");
    assert!(ended.blamed.is_empty());
}

#[test]
fn a_denial_stands_only_when_nobody_else_can_answer() {
    let ended = plain(&[DeniesByProof, Fails, Silent]);
    assert_eq!(ended.result, Ok(Outcome::NeverExisted));
    assert!(ended.at >= Moment(45_000), "it waits for the silent one");
}

#[test]
fn what_the_index_keeps_of_an_orphaned_block_is_passed_over_at_once_and_blamed_on_nobody() {
    for manner in [OrphanByProof, OrphanByHistory, DisorderByProof, DisorderByHistory] {
        let ended = plain(&[manner, Silent, Silent]);
        assert_eq!(ended.value(), TRUE_VALUE, "{manner:?}");
        assert!(
            ended.blamed.is_empty() && ended.asks.len() == 1,
            "{manner:?}: {ended:?}"
        );
    }
}

#[test]
fn what_is_passed_over_last_counts_as_well() {
    let mut links = TRUTH.chain.name_proof(&name()).links;
    links.truncate(1);
    links.push(others_operations(&TRUTH).pop().unwrap());
    let proof = isonym_core::name::NameProof {
        links,
        complete: false,
        name_new: None,
    };
    let limits = LookupSettings::default().limits;
    let error = isonym_core::name::proof::verify(&name(), &proof, &TRUTH.tree, &limits).unwrap_err();
    let expected = isonym_core::name::ProofError::NotOfTheName { got: 2, passed_over: 1 };
    assert_eq!(error, expected);
    assert!(!error.is_server_fault());
}

#[test]
fn where_the_newest_operation_is_gone_the_one_before_is_true() {
    let ended = plain(&[NewestIsGone, Silent, Silent]);
    assert_eq!(ended.value(), b"two");
    assert!(ended.blamed.is_empty());
    // As a server that hides it could have it, so a quorum has the newer one.
    let ended = look_up(&TRUTH, &[NewestIsGone, Proof], settings(2, 2));
    assert_eq!(ended.value(), TRUE_VALUE);
}

#[test]
fn a_server_that_has_nothing_of_its_own_list_is_no_liar_but_of_no_use() {
    for manner in [AllAreGone, OneBeforeIsGone] {
        let ended = plain(&[manner, Proof, Proof]);
        assert_eq!(ended.value(), TRUE_VALUE, "{manner:?}");
        assert!(ended.blamed.is_empty(), "{manner:?}");
        let ended = plain(&[manner, manner, manner]);
        assert!(
            matches!(&ended.result, Err(LookupError::NoAnswer { reasons, lied_to: false }) if reasons.len() == 3),
            "{manner:?}: {ended:?}"
        );
    }
}

#[test]
fn a_name_of_which_all_that_is_listed_is_something_else_never_existed_if_two_say_so() {
    let ended = plain(&[OtherName, Proof]);
    assert_eq!((ended.value(), ended.asks[&0].len()), (TRUE_VALUE, 3));
    let ended = plain(&[OtherName, OtherName]);
    assert_eq!(ended.result, Ok(Outcome::NeverExisted));
    assert!(ended.blamed.is_empty());
}

/// Returns entries of a history that an index kept of orphaned blocks: other transactions of the chain, at these heights.
fn stale_entries(chain: &SimChain, heights: impl IntoIterator<Item = Height>) -> Vec<(Txid, Height)> {
    let stale = |height| (chain.block(height).unwrap().transactions[0].txid, height);
    heights.into_iter().map(stale).collect()
}

/// Answers a lookup of `d/x` as one server that has `stale` entries beside those of the chain; returns what came of it, and
/// how often it was asked.
fn look_up_beside(chain: &SimChain, stale: &[(Txid, Height)], proves: bool) -> (Result<Outcome, LookupError>, usize) {
    let tree = chain.header_tree(Network::Regtest.params()).unwrap();
    let mut history: Vec<_> = chain
        .history(&name().scripthash())
        .iter()
        .map(|entry| (entry.txid, entry.height))
        .collect();
    history.extend(stale);
    history.sort_by_key(|(_, height)| *height);
    let link = |(txid, height): (Txid, Height)| {
        let position = chain.position(&txid).unwrap();
        ProofLink {
            height,
            tx: chain.transaction(&txid).unwrap().bytes.clone(),
            merkle: chain
                .merkle_branch(position)
                .unwrap()
                .into_iter()
                .map(TxMerkleNode::from_byte_array)
                .collect(),
            pos: u32::try_from(position.pos).unwrap(),
        }
    };
    let mut lookup = Lookup::new(name(), settings(1, 1), 1);
    let mut effects = lookup.on_event(Moment(0), &tree, LookupEvent::Start);
    let (attempt, server) = (0, 0);
    effects.extend(lookup.on_event(Moment(0), &tree, LookupEvent::Assigned { attempt, server }));
    for count in 1.. {
        let asked = effects.into_iter().find_map(|effect| match effect {
            LookupEffect::Ask { request, .. } => Some(Ok(request)),
            LookupEffect::Finished(result) => Some(Err(result)),
            LookupEffect::Report { fault, .. } => panic!("blamed for {fault}"),
            LookupEffect::Abandon(_) | LookupEffect::Distrust(_) | LookupEffect::WakeAt(_) => None,
        });
        let event = match asked.unwrap() {
            Err(result) => return (result, count - 1),
            // It ends where two entries are further apart than a name lives, as ElectrumX does.
            Ok(LookupRequest::Name(_)) if proves => {
                let mut links: Vec<ProofLink> = Vec::new();
                for entry in history.iter().rev() {
                    if links.last().is_some_and(|newer| newer.height - entry.1 > 30) {
                        break;
                    }
                    links.push(link(*entry));
                }
                LookupEvent::Proof { attempt, links }
            }
            Ok(LookupRequest::Name(_) | LookupRequest::History(_)) => LookupEvent::History {
                attempt,
                entries: history.clone(),
            },
            Ok(LookupRequest::Transactions(wanted)) => LookupEvent::Transactions {
                attempt,
                links: wanted.into_iter().map(|entry| Some(link(entry))).collect(),
            },
        };
        effects = lookup.on_event(Moment(0), &tree, event);
    }
    unreachable!("it ends");
}

#[test]
fn in_place_of_what_orphaned_blocks_left_older_operations_are_asked_for() {
    let mut world = World::new(3, START);
    world.register("d/x", "one", AddressKind::P2pkh).unwrap();
    for count in 0..40 {
        world.update("d/x", format!("{count}"), AddressKind::P2pkh).unwrap();
    }
    let tip = world.chain().height();
    for spoilt in [1, 5, 17, 30] {
        let stale = stale_entries(world.chain(), tip - spoilt + 1..=tip);
        for proves in [true, false] {
            let (result, _) = look_up_beside(world.chain(), &stale, proves);
            let Ok(Outcome::Found(status)) = result else {
                panic!("{spoilt} {proves}: {result:?}")
            };
            assert_eq!(status.name.value().as_bytes(), b"39");
        }
    }
    let (_, asks) = look_up_beside(world.chain(), &[], false);
    assert_eq!(asks, 2);
}

#[test]
fn an_expired_name_whose_renewal_was_orphaned_has_expired() {
    let mut world = World::new(4, START);
    world.register("d/x", "one", AddressKind::P2pkh).unwrap();
    world.mine(45);
    let tip = world.chain().height();
    let stale = stale_entries(world.chain(), tip - 8..tip - 6);
    for proves in [true, false] {
        let (result, _) = look_up_beside(world.chain(), &stale, proves);
        assert!(matches!(result, Ok(Outcome::Expired(_))), "{proves}: {result:?}");
    }
}

#[test]
fn a_wrong_proof_is_blamed_and_the_next_server_asked() {
    for manner in [ForgesBranch, ForgesValue, OtherTransactions, FewerTransactions] {
        let ended = plain(&[manner, Proof, Proof]);
        assert_eq!(ended.value(), TRUE_VALUE, "{manner:?}");
        assert_eq!(ended.blamed(), [0], "{manner:?}");
        assert!(ended.at < Moment(8_000), "{manner:?} is not waited for");
        let ended = plain(&[manner, manner, manner]);
        assert!(
            matches!(&ended.result, Err(LookupError::NoAnswer { reasons, .. }) if reasons.len() == 3),
            "{manner:?}: {ended:?}"
        );
        assert_eq!(ended.blamed(), [0, 1, 2], "{manner:?}");
    }
}

#[test]
fn transactions_other_than_asked_for_are_named_as_such() {
    for manner in [OtherTransactions, FewerTransactions] {
        let ended = plain(&[manner, Proof, Proof]);
        assert_eq!(ended.blamed, [(0, LookupFault::OtherTransactions)]);
    }
}

#[test]
fn a_slow_server_is_hedged_and_may_still_win() {
    let ended = plain(&[Slow, Silent, Silent]);
    assert_eq!(ended.value(), TRUE_VALUE);
    let starts: Vec<u64> = ended.started.values().map(|at| at.0).collect();
    assert_eq!(starts, [0, 8_000, 16_000]);
    assert_eq!(ended.at, Moment(20_000));
    assert_eq!(ended.abandoned, [1, 2]);
    let ended = plain(&[Slow, Proof, Proof]);
    assert_eq!((ended.value(), ended.at), (TRUE_VALUE, Moment(9_000)));
    assert_eq!(ended.abandoned, [0]);
}

#[test]
fn silence_ends_by_time() {
    let ended = plain(&[Silent, Silent, Silent]);
    let Err(LookupError::NoAnswer { reasons, .. }) = &ended.result else {
        panic!("{ended:?}")
    };
    assert_eq!(texts(reasons), ["no answer within 45 seconds"; 3]);
    assert_eq!(ended.at, Moment(16_000 + 45_000));
    assert_eq!(ended.abandoned, [0, 1, 2], "no connection outlives its attempt");
}

#[test]
fn a_quorum_finds_the_update_that_one_hides_and_blames() {
    for hider in [HidesByProof, HidesByHistory] {
        for manners in [[hider, Proof, Silent], [History, hider, Silent]] {
            let ended = look_up(&TRUTH, &manners, settings(3, 2));
            assert_eq!(ended.value(), TRUE_VALUE, "{manners:?}");
            let at = Attempt::try_from(manners.iter().position(|manner| *manner == hider).unwrap()).unwrap();
            assert!(
                matches!(ended.blamed.as_slice(), [(attempt, LookupFault::HidUpdate { .. })] if *attempt == at),
                "{ended:?}"
            );
        }
    }
}

#[test]
fn a_quorum_of_three_blames_hider_and_denier() {
    let manners = [DeniesByProof, HidesByHistory, Proof, Fails, Fails];
    let ended = look_up(&TRUTH, &manners, settings(5, 3));
    assert_eq!(ended.value(), TRUE_VALUE);
    assert!(matches!(
        ended.blamed.as_slice(),
        [(0, LookupFault::DeniedName { .. }), (1, LookupFault::HidUpdate { .. })]
    ));
}

#[test]
fn with_a_quorum_of_one_a_hider_shows_what_once_was_true() {
    // What can't be had without a second opinion; the README says so.
    assert_eq!(plain(&[HidesByProof, Proof, Proof]).value(), b"two");
}

#[test]
fn a_quorum_that_is_not_reached_is_an_error_and_no_value() {
    let ended = look_up(&TRUTH, &[Proof, Fails, Silent], settings(3, 2));
    assert!(
        matches!(&ended.result, Err(LookupError::NoQuorum { got: 1, expected: 2, reasons }) if reasons.len() == 2),
        "{ended:?}"
    );
}

#[test]
fn one_server_asked_twice_makes_no_quorum() {
    let ended = look_up(&TRUTH, &[HidesByProof, Silent], settings(4, 2));
    assert!(
        matches!(
            &ended.result,
            Err(LookupError::NoQuorum {
                got: 1,
                expected: 2,
                ..
            })
        ),
        "{ended:?}"
    );
    let ended = look_up(&TRUTH, &[Proof], settings(4, 2));
    let few = LookupError::TooFewServers { known: 1, expected: 2 };
    assert_eq!(ended.result, Err(few));
    assert!(ended.asks.is_empty());
}

#[test]
fn two_servers_of_one_operator_are_no_second_opinion_and_no_quorum() {
    let servers = [DeniesByProof, DeniesByHistory, Proof];
    let apart = look_up_of(&TRUTH, &servers, &[0, 1, 2], settings(3, 1));
    assert_eq!(apart.result, Ok(Outcome::NeverExisted));
    let ended = look_up_of(&TRUTH, &servers, &[0, 0, 1], settings(3, 1));
    assert!(matches!(ended.result, Ok(Outcome::Found(_))), "{ended:?}");
    let alone = look_up_of(&TRUTH, &[DeniesByProof, DeniesByHistory], &[0, 0], settings(3, 1));
    assert_eq!(alone.result, Ok(Outcome::NeverExisted), "there is nobody else");
    let ended = look_up_of(&TRUTH, &[Proof, Proof], &[0, 0], settings(4, 2));
    let few = LookupError::TooFewServers { known: 1, expected: 2 };
    assert_eq!(ended.result, Err(few));
    let ended = look_up_of(&TRUTH, &[Proof, Proof, Silent], &[0, 0, 1], settings(3, 2));
    assert!(
        matches!(ended.result, Err(LookupError::NoQuorum { got: 1, .. })),
        "{ended:?}"
    );
}

#[test]
fn that_a_name_has_no_value_is_never_said_by_servers_alone_that_were_learned_of() {
    let servers = [DeniesByProof, ForgesBranch, DeniesByHistory];
    for (operators, is_believed) in [([0, 1, 2], true), ([STRANGERS, 1, STRANGERS], false)] {
        let ended = look_up_of(&TRUTH, &servers, &operators, settings(3, 1));
        let is_denied = ended.result == Ok(Outcome::NeverExisted);
        assert_eq!(is_denied, is_believed, "{operators:?}: {ended:?}");
        // The next lookup asks others.
        let distrusted: &[Attempt] = if is_believed { &[] } else { &[0, 2] };
        assert_eq!(ended.abandoned, distrusted, "{operators:?}");
    }
    let ended = look_up_of(
        &TRUTH,
        &[DeniesByProof, Fails, Fails],
        &[STRANGERS, 0, 1],
        settings(3, 1),
    );
    assert!(matches!(ended.result, Err(LookupError::NoAnswer { .. })), "{ended:?}");
    // Beside somebody who is known it counts, and so does what can be proved.
    let ended = look_up_of(
        &TRUTH,
        &[DeniesByProof, DeniesByHistory],
        &[STRANGERS, 0],
        settings(3, 1),
    );
    assert_eq!(ended.result, Ok(Outcome::NeverExisted));
    let ended = look_up_of(&TRUTH, &[Proof, Fails, Fails], &[STRANGERS, 0, 1], settings(3, 1));
    assert_eq!(ended.value(), TRUE_VALUE);
}

#[test]
fn the_later_of_two_updates_in_one_block_wins() {
    for manners in [[HidesByProof, Proof], [Proof, HidesByHistory]] {
        let ended = look_up(&FRESH, &manners, settings(2, 2));
        assert_eq!(ended.value(), TRUE_VALUE, "{manners:?}");
    }
}

#[test]
fn who_lags_by_a_block_is_not_believed_and_not_blamed() {
    let ended = look_up(&FRESH, &[DeniesByProof, Proof, HidesByProof], settings(3, 3));
    assert_eq!(ended.value(), TRUE_VALUE);
    assert!(ended.blamed.is_empty(), "{ended:?}");
}

#[test]
fn a_branch_that_fails_in_a_block_just_mined_may_be_a_reorganisation() {
    let ended = look_up(&FRESH, &[ForgesBranch, Proof], settings(2, 1));
    assert_eq!(ended.value(), TRUE_VALUE);
    assert!(ended.blamed.is_empty(), "{ended:?}");
}

/// Returns a tree without the newest headers of [`TRUTH`].
fn tree_without(newest: Height) -> HeaderTree {
    let mut tree = HeaderTree::new(TRUTH.tree.params(), *TRUTH.tree.anchor());
    for height in 1..=TRUTH.chain.height() - newest {
        take(&mut tree, height);
    }
    tree
}

fn take(tree: &mut HeaderTree, height: Height) {
    let (header, _) = FullHeader::decode(TRUTH.chain.full_header(height).unwrap()).unwrap();
    tree.accept(&header, Timestamp(header.pure.time().into())).unwrap();
}

#[test]
fn an_update_above_our_tip_is_no_servers_fault() {
    for header_grace in [Duration::ZERO, Duration::from_secs(10)] {
        let truth = Truth {
            chain: TRUTH.chain.clone(),
            tree: tree_without(11),
        };
        let settings = LookupSettings {
            header_grace,
            ..settings(2, 1)
        };
        let ended = look_up(&truth, &[Proof, History], settings);
        assert!(matches!(ended.result, Err(LookupError::NoAnswer { .. })));
        assert!(ended.blamed.is_empty());
    }
}

/// A chain of 20 blocks above a common past, and the branch that took its place: `d/x` was updated in the first block of
/// each. Returns our headers of the first, of both, and the proof that the branch has.
fn replaced(depth: Height) -> (HeaderTree, HeaderTree, Vec<ProofLink>, Vec<ProofLink>) {
    let mut world = World::new(5, START);
    world.register("d/x", "one", AddressKind::P2pkh).unwrap();
    world.mine(12);
    let mut branch = world.fork_at(world.chain().height(), 6);
    world.update("d/x", "there", AddressKind::P2pkh).unwrap();
    world.mine(depth - 1);
    branch.update("d/x", "here", AddressKind::P2pkh).unwrap();
    branch.mine(depth);
    let before = world.chain().header_tree(world.params()).unwrap();
    let mut after = world.chain().header_tree(world.params()).unwrap();
    for height in 1..=branch.chain().height() {
        let (header, _) = FullHeader::decode(branch.chain().full_header(height).unwrap()).unwrap();
        after.accept(&header, Timestamp(header.pure.time().into())).unwrap();
    }
    assert_eq!(after.tip().hash, branch.chain().tip_hash());
    let links = [&world, &branch].map(|world| world.chain().name_proof(&name()).links);
    let [theirs, ours] = links;
    (before, after, theirs, ours)
}

#[test]
fn a_proof_of_the_branch_that_takes_over_waits_for_its_headers_however_deep() {
    for depth in [1, 6, 12, 20] {
        let (before, after, _, links) = replaced(depth);
        let settings = LookupSettings {
            header_grace: Duration::from_secs(5),
            ..settings(2, 1)
        };
        let mut lookup = Lookup::new(name(), settings, 1);
        let (attempt, server) = (0, 0);
        lookup.on_event(Moment(0), &before, LookupEvent::Start);
        lookup.on_event(Moment(0), &before, LookupEvent::Assigned { attempt, server });
        let effects = lookup.on_event(Moment(0), &before, LookupEvent::Proof { attempt, links });
        assert!(
            matches!(
                effects[..],
                [LookupEffect::Ask { attempt: 1, .. }, LookupEffect::WakeAt(_)]
            ),
            "somebody else is asked at once: {effects:?}"
        );
        let effects = lookup.on_event(Moment(1000), &after, LookupEvent::Tick);
        let [
            LookupEffect::Abandon(1),
            LookupEffect::Finished(Ok(Outcome::Found(status))),
        ] = &effects[..]
        else {
            panic!("{depth}: {effects:?}")
        };
        assert_eq!(status.name.value().as_bytes(), b"here");
    }
}

#[test]
fn who_still_shows_the_branch_that_was_replaced_lags_and_lies_not() {
    for (depth, header_grace) in [(2, Duration::ZERO), (20, Duration::ZERO), (20, Duration::from_secs(5))] {
        let (_, after, links, _) = replaced(depth);
        let settings = LookupSettings {
            header_grace,
            ..settings(1, 1)
        };
        let mut lookup = Lookup::new(name(), settings, 1);
        lookup.on_event(Moment(0), &after, LookupEvent::Start);
        let mut effects = lookup.on_event(Moment(0), &after, LookupEvent::Proof { attempt: 0, links });
        if !header_grace.is_zero() {
            assert!(matches!(effects[..], [LookupEffect::WakeAt(_)]), "{effects:?}");
            effects = lookup.on_event(Moment(5000), &after, LookupEvent::Tick);
        }
        assert!(
            matches!(effects[..], [LookupEffect::Distrust(0), LookupEffect::Finished(Err(_))]),
            "{depth}: {effects:?}"
        );
    }
}

#[test]
fn who_shows_a_wrong_branch_does_not_get_away_with_it_where_somebody_else_answers_first() {
    let settings = LookupSettings {
        header_grace: Duration::from_secs(10),
        ..settings(3, 1)
    };
    let ended = look_up(&TRUTH, &[ForgesBranch, Proof, Silent], settings);
    assert_eq!((ended.value(), ended.blamed()), (TRUE_VALUE, vec![0]));
    assert!(ended.at < Moment(5_000), "it is not waited for");
}

#[test]
fn a_block_far_above_our_tip_is_noticed() {
    for (above, is_fault) in [(7, false), (144, false), (145, true)] {
        let mut lookup = Lookup::new(name(), settings(1, 1), 1);
        lookup.on_event(Moment(0), &TRUTH.tree, LookupEvent::Start);
        let mut links = TRUTH.chain.name_proof(&name()).links;
        let tip = TRUTH.chain.height();
        links[0].height = tip + above;
        let effects = lookup.on_event(Moment(0), &TRUTH.tree, LookupEvent::Proof { attempt: 0, links });
        let fault = LookupFault::FarAbove {
            shown: tip + above,
            tip,
        };
        let told = LookupEffect::Report { attempt: 0, fault };
        assert_eq!(effects.contains(&told), is_fault, "{above}: {effects:?}");
    }
}

/// What became of a lookup before headers were up to date, and what then: a server for each attempt answers at once.
fn beside_sync(manners: &[Manner], settings: LookupSettings) -> (Vec<LookupEffect>, Vec<LookupEffect>) {
    let mut lookup = Lookup::new(name(), settings, manners.len()).beside_sync();
    let empty = tree_without(TRUTH.chain.height());
    let mut early = Vec::new();
    let mut events = vec![LookupEvent::Start];
    while let Some(event) = events.pop() {
        let effects = lookup.on_event(Moment(1000), &empty, event);
        for effect in &effects {
            if let LookupEffect::Ask { attempt, request } = effect {
                let attempt = *attempt;
                let server = usize::from(attempt);
                events.extend(manners[server % manners.len()].reply(&TRUTH, attempt, request));
                events.push(LookupEvent::Assigned { attempt, server });
            }
        }
        early.extend(effects);
    }
    // Nobody is waited for, however long that takes.
    early.extend(lookup.on_event(Moment(500_000), &empty, LookupEvent::Tick));
    let ready = lookup.on_event(Moment(600_000), &TRUTH.tree, LookupEvent::HeadersReady);
    (early, ready)
}

fn asked(effects: &[LookupEffect]) -> usize {
    let asks = |effect: &&LookupEffect| matches!(effect, LookupEffect::Ask { .. });
    effects.iter().filter(asks).count()
}

#[test]
fn what_is_asked_beside_sync_is_judged_when_headers_are_there() {
    for (manner, requests) in [(Proof, 1), (History, 2)] {
        let (early, ready) = beside_sync(&[manner; 3], settings(3, 1));
        assert_eq!(asked(&early), requests, "no more than after sync: {early:?}");
        let is_quiet = |effect: &LookupEffect| matches!(effect, LookupEffect::Ask { .. } | LookupEffect::WakeAt(_));
        assert!(early.iter().all(is_quiet), "{early:?}");
        let [LookupEffect::Finished(Ok(Outcome::Found(status)))] = &ready[..] else {
            panic!("{ready:?}")
        };
        assert_eq!(status.name.value().as_bytes(), TRUE_VALUE);
    }
}

#[test]
fn a_lie_and_a_denial_are_found_out_no_sooner_than_headers_are_there() {
    let is_told = |effect: &LookupEffect| matches!(effect, LookupEffect::Report { .. } | LookupEffect::Finished(_));
    let (early, ready) = beside_sync(&[ForgesBranch, Proof, Proof], settings(3, 1));
    assert!(!early.iter().any(is_told), "{early:?}");
    assert!(matches!(ready[0], LookupEffect::Report { attempt: 0, .. }), "{ready:?}");
    assert_eq!(asked(&ready), 1, "the next one is asked: {ready:?}");

    let (early, ready) = beside_sync(&[DeniesByProof; 3], settings(3, 1));
    assert!(!early.iter().any(is_told), "{early:?}");
    assert_eq!(asked(&early), 2, "a second opinion: {early:?}");
    assert_eq!(ready, [LookupEffect::Finished(Ok(Outcome::NeverExisted))]);

    let (early, _) = beside_sync(&[Fails; 3], settings(3, 1));
    let last = early.last().unwrap();
    assert!(
        matches!(last, LookupEffect::Finished(Err(_))),
        "no answer to wait with: {last:?}"
    );
}

/// What a lookup does while the header of the update is missing, when it is asked again at these seconds, and what in the
/// end: the header comes before the last of them, or never.
fn await_header(seconds: &[u64], comes: bool) -> Vec<Vec<LookupEffect>> {
    // The update lies seven blocks below the tip.
    let mut tree = tree_without(8);
    let settings = LookupSettings {
        header_grace: Duration::from_secs(5),
        hedge_after: Duration::from_secs(100),
        ..settings(1, 1)
    };
    let mut lookup = Lookup::new(name(), settings, 1);
    lookup.on_event(Moment(0), &tree, LookupEvent::Start);
    lookup.on_event(Moment(0), &tree, LookupEvent::Assigned { attempt: 0, server: 0 });
    let mut effects = vec![lookup.on_event(Moment(0), &tree, Proof.reply_to_name(&TRUTH, 0, false))];
    for (at, second) in seconds.iter().enumerate() {
        if comes && at + 1 == seconds.len() {
            take(&mut tree, TRUTH.chain.height() - 7);
        }
        effects.push(lookup.on_event(Moment(second * 1000), &tree, LookupEvent::Tick));
    }
    effects
}

#[test]
fn an_update_in_a_block_just_mined_waits_for_its_header() {
    let mut effects = await_header(&[1, 4, 4], true);
    let last = effects.pop().unwrap();
    let [LookupEffect::Finished(Ok(Outcome::Found(status)))] = last.as_slice() else {
        panic!("{last:?}")
    };
    assert_eq!(status.name.value().as_bytes(), TRUE_VALUE);
    for waiting in effects {
        assert!(matches!(waiting[..], [LookupEffect::WakeAt(_)]), "{waiting:?}");
    }
    let mut effects = await_header(&[1, 4, 6], false);
    let last = effects.pop().unwrap();
    assert!(
        matches!(
            last[..],
            [
                LookupEffect::Distrust(0),
                LookupEffect::Finished(Err(LookupError::NoAnswer { .. }))
            ]
        ),
        "{last:?}"
    );
    assert!(
        effects
            .iter()
            .flatten()
            .all(|effect| matches!(effect, LookupEffect::WakeAt(_)))
    );
}

#[test]
fn where_nobody_can_be_reached_no_further_attempt_is_made() {
    let unreachable = |attempt| LookupEvent::Failed {
        attempt,
        failure: no_way(),
    };
    let mut lookup = Lookup::new(name(), settings(3, 1), 3);
    lookup.on_event(Moment(0), &TRUTH.tree, LookupEvent::Start);
    let effects = lookup.on_event(Moment(1), &TRUTH.tree, unreachable(0));
    assert!(
        matches!(
            &effects[..],
            [LookupEffect::Finished(Err(LookupError::Unreachable { reasons }))] if reasons.len() == 1
        ),
        "{effects:?}"
    );

    // One that has its connection may answer yet.
    let mut lookup = Lookup::new(name(), settings(3, 1), 3);
    lookup.on_event(Moment(0), &TRUTH.tree, LookupEvent::Start);
    lookup.on_event(Moment(0), &TRUTH.tree, LookupEvent::Assigned { attempt: 0, server: 0 });
    let effects = lookup.on_event(Moment(8000), &TRUTH.tree, LookupEvent::Tick);
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, LookupEffect::Ask { attempt: 1, .. }))
    );
    let effects = lookup.on_event(Moment(9000), &TRUTH.tree, unreachable(1));
    assert!(matches!(effects[..], [LookupEffect::WakeAt(_)]), "{effects:?}");
    let effects = lookup.on_event(Moment(9001), &TRUTH.tree, Proof.reply_to_name(&TRUTH, 0, false));
    assert!(
        matches!(effects[..], [LookupEffect::Finished(Ok(Outcome::Found(_)))]),
        "{effects:?}"
    );
}

#[test]
fn more_updates_than_are_checked_are_no_answer_and_no_fault() {
    let mut world = World::new(3, START);
    world.register("d/x", "one", AddressKind::P2pkh).unwrap();
    for _ in 0..=ProofLimits::default().max_entries {
        world
            .queue_update("d/x", "three", AddressKind::P2pkh, crate::wallet::Signer::Owner)
            .unwrap();
    }
    world.mine(1);
    let ended = look_up(&Truth::of(&world), &[Proof, History], settings(2, 1));
    let Err(LookupError::NoAnswer { reasons, .. }) = &ended.result else {
        panic!("{ended:?}")
    };
    assert_eq!(texts(reasons), ["more than 128 operations would have to be checked"; 2]);
    assert!(ended.blamed.is_empty(), "{:?}", ended.blamed);
}

/// Returns our headers of the true chain from an anchor near its end.
fn high_tree(chain: &SimChain, above: Height) -> HeaderTree {
    let height = chain.height() - above;
    let anchor = Anchor {
        height,
        hash: chain.header(height).unwrap().hash(),
        chainwork: None,
    };
    let mut tree = HeaderTree::new(Network::Regtest.params(), anchor);
    let low = height - tree.params().expiration_depth(height);
    for below in (low..=height).rev() {
        tree.backfill(chain.header(below).unwrap()).unwrap();
    }
    for above in height + 1..=chain.height() {
        let (header, _) = FullHeader::decode(chain.full_header(above).unwrap()).unwrap();
        tree.accept(&header, Timestamp(header.pure.time().into())).unwrap();
    }
    tree
}

#[test]
fn a_name_last_seen_below_all_headers_has_purportedly_long_expired() {
    let mut world = World::new(4, START);
    world.register("d/x", "one", AddressKind::P2pkh).unwrap();
    let registered = world.chain().height();
    world.mine(60);
    let truth = Truth {
        chain: world.chain().clone(),
        tree: high_tree(world.chain(), 10),
    };
    assert!(truth.tree.lowest().unwrap() > registered);
    let ended = look_up(&truth, &[Proof, History, DeniesByProof], settings(3, 1));
    assert_eq!(ended.result, Ok(Outcome::LongExpired { height: registered }));
    assert_eq!(ended.asks.len(), 2, "it is not one server's word alone");
    assert!(ended.blamed.is_empty());
}

/// Returns a chain on which `d/x` was registered at the second height returned, and updated 21 blocks later; and our headers
/// of it from an anchor so many blocks above the registration, of those below only what the next headers need.
fn renewed_above_an_anchor(above: i32) -> (Truth, Height) {
    let mut world = World::new(5, START);
    world.register("d/x", "one", AddressKind::P2pkh).unwrap();
    let registered = world.chain().height();
    world.mine(20);
    world.update("d/x", "three", AddressKind::P2wpkh).unwrap();
    world.mine(12);
    let chain = world.chain().clone();
    let height = registered.checked_add_signed(above).unwrap();
    let hash = chain.header(height).unwrap().hash();
    let anchor = Anchor {
        height,
        hash,
        chainwork: None,
    };
    let mut tree = HeaderTree::new(Network::Regtest.params(), anchor);
    for below in (tree.required_low()..=height).rev() {
        tree.backfill(chain.header(below).unwrap()).unwrap();
    }
    for above in height + 1..=chain.height() {
        let (header, _) = FullHeader::decode(chain.full_header(above).unwrap()).unwrap();
        tree.accept(&header, Timestamp(header.pure.time().into())).unwrap();
    }
    assert!(!tree.has_history());
    (Truth { chain, tree }, registered)
}

/// A lookup whose servers answer at once, by headers that come in between.
struct Waiting {
    lookup: Lookup,
    manner: Manner,
    /// Whether the branch of the oldest operation is wrong.
    is_bent: bool,
    now: Moment,
    blamed: usize,
}

impl Waiting {
    fn new(manner: Manner, is_bent: bool) -> Self {
        let settings = LookupSettings {
            history_grace: Duration::from_secs(120),
            ..settings(2, 1)
        };
        Self {
            lookup: Lookup::new(name(), settings, 2),
            manner,
            is_bent,
            now: Moment(0),
            blamed: 0,
        }
    }

    /// Returns what the lookup comes to by an event, and by all that servers say to what it asks then.
    fn on(&mut self, truth: &Truth, event: LookupEvent) -> Option<Result<Outcome, LookupError>> {
        let mut events = vec![event];
        let mut result = None;
        while let Some(event) = events.pop() {
            for effect in self.lookup.on_event(self.now, &truth.tree, event) {
                match effect {
                    LookupEffect::Ask { attempt, request } => {
                        let mut reply = self.manner.reply(truth, attempt, &request).unwrap();
                        if let LookupEvent::Proof { links, .. } = &mut reply
                            && self.is_bent
                        {
                            links.last_mut().unwrap().merkle.push(branch_node());
                        }
                        events.push(reply);
                        let server = usize::from(attempt);
                        events.push(LookupEvent::Assigned { attempt, server });
                    }
                    LookupEffect::Report { .. } => self.blamed += 1,
                    LookupEffect::Finished(end) => result = Some(end),
                    LookupEffect::Abandon(_) | LookupEffect::Distrust(_) | LookupEffect::WakeAt(_) => {}
                }
            }
        }
        result
    }

    fn tick(&mut self, truth: &Truth) -> Option<Result<Outcome, LookupError>> {
        self.now = self.now + Duration::from_secs(10);
        self.on(truth, LookupEvent::Tick)
    }
}

#[test]
fn a_name_that_was_registered_above_the_anchor_needs_no_history() {
    for manner in [Proof, History] {
        let (truth, _) = renewed_above_an_anchor(-1);
        let mut waiting = Waiting::new(manner, false);
        let ended = waiting.on(&truth, LookupEvent::Start);
        let Some(Ok(Outcome::Found(found))) = ended else {
            panic!("{manner:?}: it waits for headers that it has no use for: {ended:?}")
        };
        assert_eq!(found.name.value().as_bytes(), TRUE_VALUE);
    }
}

#[test]
fn what_is_wrong_below_the_anchor_is_found_when_the_headers_are_there_and_is_no_answer() {
    let (mut truth, registered) = renewed_above_an_anchor(16);
    let mut waiting = Waiting::new(Proof, true);
    assert_eq!(waiting.on(&truth, LookupEvent::Start), None);
    while truth.tree.lowest().unwrap() > registered {
        assert_eq!((waiting.tick(&truth), waiting.blamed), (None, 0));
        let next = truth.tree.lowest().unwrap() - 1;
        truth.tree.backfill(truth.chain.header(next).unwrap()).unwrap();
    }
    assert!(matches!(waiting.tick(&truth), Some(Err(_))));
    assert_eq!(waiting.blamed, 2, "both servers gave the same");
}

#[test]
fn where_the_history_is_withheld_a_proof_that_needs_it_comes_to_nothing_in_the_end() {
    let (truth, _) = renewed_above_an_anchor(16);
    let mut waiting = Waiting::new(Proof, false);
    let mut result = waiting.on(&truth, LookupEvent::Start);
    while result.is_none() {
        assert!(waiting.now < Moment(600_000), "it waits for ever");
        result = waiting.tick(&truth);
    }
    assert!(matches!(result, Some(Err(_))), "{result:?}");
    assert!(waiting.now >= Moment(120_000));
    assert_eq!(waiting.blamed, 0, "it is not these servers' fault");
}

#[test]
fn late_and_unasked_events_change_nothing() {
    let truth = &*TRUTH;
    let mut lookup = Lookup::new(name(), settings(3, 1), 3);
    let proof = |attempt| Proof.reply_to_name(truth, attempt, false);
    assert_eq!(
        lookup.on_event(Moment(0), &truth.tree, proof(0)),
        [],
        "nothing was asked yet"
    );
    assert_eq!(lookup.on_event(Moment(0), &truth.tree, LookupEvent::Tick), []);
    lookup.on_event(Moment(0), &truth.tree, LookupEvent::Start);
    for event in [
        LookupEvent::Start,
        proof(1),
        proof(200),
        LookupEvent::Transactions {
            attempt: 0,
            links: Vec::new(),
        },
        LookupEvent::Failed {
            attempt: 7,
            failure: hung_up(),
        },
    ] {
        let effects = lookup.on_event(Moment(1), &truth.tree, event.clone());
        assert!(matches!(effects.as_slice(), [LookupEffect::WakeAt(_)]), "{event:?}");
    }
    // The first attempt times out; its reply comes after all.
    lookup.on_event(Moment(45_000), &truth.tree, LookupEvent::Tick);
    let effects = lookup.on_event(Moment(45_001), &truth.tree, proof(0));
    assert!(!effects.iter().any(|effect| matches!(effect, LookupEffect::Finished(_))));
    lookup.on_event(
        Moment(45_002),
        &truth.tree,
        LookupEvent::Assigned { attempt: 1, server: 1 },
    );
    let effects = lookup.on_event(Moment(45_002), &truth.tree, proof(1));
    assert!(matches!(
        effects.last(),
        Some(LookupEffect::Finished(Ok(Outcome::Found(_))))
    ));
    assert_eq!(lookup.on_event(Moment(45_003), &truth.tree, proof(2)), []);
}

fn manners(of: &'static [Manner]) -> impl Strategy<Value = Vec<Manner>> {
    prop::collection::vec(prop::sample::select(of), 1..6)
}

/// Any event for any attempt, whether it was asked for or not.
fn any_event() -> impl Strategy<Value = (u64, LookupEvent)> {
    let manner = prop::sample::select(&LIES_BUT_HIDING[..]);
    (0..20_000_u64, 0..8_u8, 0..6_u8, manner).prop_map(|(pause, kind, attempt, manner)| {
        let truth = &*TRUTH;
        let history = truth.chain.history(&name().scripthash());
        let wanted: Vec<(Txid, Height)> = history.iter().rev().map(|entry| (entry.txid, entry.height)).collect();
        let event = match kind {
            0 => LookupEvent::Start,
            1 => LookupEvent::Tick,
            2 => LookupEvent::Failed {
                attempt,
                failure: hung_up(),
            },
            3 => LookupEvent::Failed {
                attempt,
                failure: no_way(),
            },
            4 => LookupEvent::Transactions {
                attempt,
                links: manner.transactions(truth, &wanted),
            },
            _ => manner.reply_to_name(truth, attempt, false),
        };
        (pause, event)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_order_of_events_ends_once_and_never_in_a_wrong_value(
        events in prop::collection::vec(any_event(), 0..30),
        attempts in 0..6_u8,
        quorum in 0..4_u8,
        servers in 0..5_usize,
    ) {
        let truth = &*TRUTH;
        let mut lookup = Lookup::new(name(), settings(attempts, quorum), servers);
        let mut now = Moment(0);
        let mut finished = Vec::new();
        let mut drive = |now: Moment, event: LookupEvent| {
            let mut asked = 0;
            for effect in lookup.on_event(now, &truth.tree, event) {
                match effect {
                    LookupEffect::Finished(result) => finished.push(result),
                    LookupEffect::Ask { .. } => asked += 1,
                    _ => {}
                }
            }
            assert!(asked <= 7, "work is bounded");
        };
        drive(now, LookupEvent::Start);
        for (pause, event) in events {
            now = now + Duration::from_millis(pause);
            if let Some(attempt) = event.attempt() {
                let server = usize::from(attempt) % servers.max(1);
                drive(now, LookupEvent::Assigned { attempt, server });
            }
            drive(now, event);
        }
        for _ in 0..20 {
            now = now + Duration::from_secs(45);
            drive(now, LookupEvent::Tick);
        }
        prop_assert_eq!(finished.len(), 1);
        if let Ok(Outcome::Found(status)) = &finished[0] {
            prop_assert_eq!(status.name.value().as_bytes(), TRUE_VALUE);
        }
    }

    #[test]
    fn one_honest_server_of_the_first_two_is_enough(mut manners in manners(&LIES_BUT_HIDING), at in any::<prop::sample::Index>()) {
        let at = at.index(manners.len().min(2));
        manners[at] = History;
        let ended = look_up(&TRUTH, &manners, settings(5, 1));
        prop_assert_eq!(ended.value(), TRUE_VALUE);
        for (attempt, _) in &ended.blamed {
            prop_assert!(!manners[usize::from(*attempt) % manners.len()].is_honest());
        }
    }

    #[test]
    fn a_quorum_with_an_honest_voice_is_never_fooled(
        lies in prop::collection::vec(prop::sample::select(&[HidesByProof, HidesByHistory, DeniesByProof, ForgesBranch][..]), 1..3),
        honest_first in any::<bool>(),
    ) {
        let mut manners = lies.clone();
        manners.insert(if honest_first { 0 } else { lies.len() }, Proof);
        let quorum = u8::try_from(manners.len()).unwrap();
        match look_up(&TRUTH, &manners, settings(quorum, quorum)).result {
            Ok(Outcome::Found(status)) => prop_assert_eq!(status.name.value().as_bytes(), TRUE_VALUE),
            Ok(other) => prop_assert!(false, "{:?}", other),
            Err(error) => prop_assert!(matches!(error, LookupError::NoQuorum { .. }), "{}", error),
        }
    }

    #[test]
    fn what_is_asked_tells_nothing_of_us(manners in manners(&LIES_BUT_HIDING), above in 1..40_u32) {
        let mut lagging = high_tree(&TRUTH.chain, above);
        if above % 2 == 0 {
            // Only the anchor: nothing can be proved.
            lagging = HeaderTree::new(lagging.params(), *lagging.anchor());
        }
        let other = Truth { chain: TRUTH.chain.clone(), tree: lagging };
        let strict = LookupSettings {
            policy: Policy { min_confirmations: 200, allow_expired: true },
            ..settings(5, 1)
        };
        let ours = look_up(&TRUTH, &manners, settings(5, 1));
        let theirs = look_up(&other, &manners, strict);
        for (attempt, asks) in &ours.asks {
            if let Some(others) = theirs.asks.get(attempt) {
                // Whoever was abandoned early was asked less.
                let both = asks.len().min(others.len());
                prop_assert_eq!(&asks[..both], &others[..both]);
            }
        }
        let first = (ours.asks.get(&0), theirs.asks.get(&0));
        prop_assert_eq!(first.0, first.1);
    }
}

use bitcoin::hashes::Hash;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::chain::Network;
use crate::chain::builder::{self, AuxPowSpec, REGTEST_BITS};
use crate::chain::difficulty::TargetError;
use crate::chain::model::{self, ModelTree};

const GENESIS_TIME: u32 = 1_296_688_602;
const NATIVE: i32 = 0x0001_0004;
const FLAGGED: i32 = 0x0001_0104;
/// Later than the time from which testnet's exception holds.
const EXCEPTION_TIME: u32 = 1_394_838_001;
const TESTNET_LIMIT: u32 = 0x1d0f_ffff;

fn now() -> Timestamp {
    Timestamp(u64::from(GENESIS_TIME) + 10_000_000)
}

fn genesis_tree(network: Network) -> HeaderTree {
    let hash = network.params().genesis.hash();
    let anchor = Anchor {
        height: 0,
        hash,
        chainwork: None,
    };
    HeaderTree::new(network.params(), anchor)
}

fn header(version: i32, prev: BlockHash, time: u32, bits: u32, salt: u32) -> PureHeader {
    let mut root = [0; 32];
    root[..4].copy_from_slice(&salt.to_le_bytes());
    PureHeader::new(builder::header(version, prev.to_byte_array(), root, time, bits, 0))
}

fn mined(version: i32, prev: BlockHash, time: u32, salt: u32) -> PureHeader {
    let header = header(version, prev, time, REGTEST_BITS, salt);
    PureHeader::new(builder::mine(*header.as_bytes(), true))
}

fn pure(pure: PureHeader) -> FullHeader<'static> {
    FullHeader { pure, auxpow: None }
}

/// Mines `count` regtest headers on top of a header, a minute apart.
fn grow(tree: &mut HeaderTree, from: BlockHash, count: u32, salt: u32) -> Vec<BlockHash> {
    let mut hashes = vec![from];
    let height = tree.height_of(&from).unwrap();
    for step in 1..=count {
        let time = GENESIS_TIME + (height + step) * 60;
        let next = mined(NATIVE, hashes[hashes.len() - 1], time, salt);
        tree.accept(&pure(next), now()).unwrap();
        hashes.push(next.hash());
    }
    hashes
}

#[test]
fn a_header_takes_the_memory_that_the_docs_say() {
    assert_eq!(size_of::<Node>(), 144);
}

#[test]
fn a_tree_starts_with_its_anchor() {
    let tree = genesis_tree(Network::Regtest);
    let genesis = Network::Regtest.params().genesis;
    assert_eq!(tree.tip().height, 0);
    assert_eq!(tree.tip().hash, genesis.hash());
    assert_eq!(tree.tip().time, Timestamp(u64::from(GENESIS_TIME)));
    assert_eq!(tree.header_at(0), Some(genesis));
    assert_eq!((tree.lowest(), tree.required_low()), (Some(0), 0));

    let anchor = Anchor::shipped(Network::Mainnet).unwrap();
    let tree = HeaderTree::new(Network::Mainnet.params(), anchor);
    assert_eq!(tree.tip().chainwork, anchor.chainwork.unwrap());
    assert_eq!(
        (tree.tip().hash, tree.hash_at(815_000)),
        (anchor.hash, Some(anchor.hash))
    );
    assert_eq!((tree.lowest(), tree.header_at(815_000)), (None, None));
}

#[test]
fn required_headers_reach_back_to_the_retarget_and_the_median() {
    let low = |network: Network, height| {
        let hash = BlockHash::all_zeros();
        let chainwork = None;
        let anchor = Anchor {
            height,
            hash,
            chainwork,
        };
        HeaderTree::new(network.params(), anchor).required_low()
    };
    assert_eq!(low(Network::Mainnet, 815_000), 814_463);
    // The anchor is the last header before a retarget, or the first after it.
    assert_eq!(low(Network::Mainnet, 2016 * 404 - 1), 2016 * 403 - 1);
    assert_eq!(low(Network::Mainnet, 2016 * 404), 2016 * 404 - 10);
    assert_eq!(low(Network::Mainnet, 2016 * 404 + 9), 2016 * 404 - 1);
    // Before merge-mining the span is one block shorter, and so it is at the very first boundary.
    assert_eq!(low(Network::Mainnet, 5000), 4032);
    assert_eq!(low(Network::Testnet, 5000), 4031);
    assert_eq!(low(Network::Testnet, 100), 0);
    assert_eq!(low(Network::Regtest, 5000), 4990);
    assert_eq!(low(Network::Regtest, 3), 0);
    let most = Anchor::MAX_HEIGHT;
    assert_eq!(low(Network::Mainnet, most), most / 2016 * 2016 - 1);
}

#[test]
fn headers_below_the_anchor_are_known_by_their_links() {
    let mut full = genesis_tree(Network::Regtest);
    let genesis = full.tip().hash;
    let hashes = grow(&mut full, genesis, 20, 0);
    let anchor = format!("15:{}", hashes[15]).parse().unwrap();
    let mut tree = HeaderTree::new(Network::Regtest.params(), anchor);
    let next = pure(full.header_at(16).unwrap());

    assert_eq!(
        tree.accept(&next, now()),
        Err(HeaderError::MissingHistory { needed: 15 })
    );
    let wrong = full.header_at(14).unwrap();
    assert_eq!(
        tree.backfill(wrong),
        Err(HeaderError::BrokenLink {
            height: 15,
            expected: hashes[15],
            got: hashes[14]
        })
    );
    for height in (6..=15).rev() {
        assert_eq!(tree.backfill(full.header_at(height).unwrap()), Ok(()));
        assert_eq!(
            (tree.lowest(), tree.hash_at(height)),
            (Some(height), Some(hashes[height as usize]))
        );
    }
    assert_eq!(tree.tip().time, Timestamp(u64::from(GENESIS_TIME + 15 * 60)));
    assert_eq!(
        tree.accept(&next, now()),
        Err(HeaderError::MissingHistory { needed: 5 })
    );
    assert_eq!(tree.required_low(), 5);
    assert_eq!(tree.backfill(full.header_at(5).unwrap()), Ok(()));
    assert_eq!(tree.accept(&next, now()), Ok(Accepted::Extended));
    assert_eq!(
        tree.accept(&pure(full.header_at(9).unwrap()), now()),
        Ok(Accepted::Duplicate)
    );

    let rival = mined(NATIVE, hashes[9], GENESIS_TIME + 600, 1);
    assert_eq!(
        tree.accept(&pure(rival), now()),
        Err(HeaderError::AnchorConflict { height: 10, anchor: 15 })
    );
    let heights: Vec<Height> = tree.best_chain(0).map(|(height, _)| height).collect();
    assert_eq!(heights, (5..=16).collect::<Vec<_>>());
}

#[test]
fn an_anchor_of_another_network_is_found_out() {
    let regtest = Network::Regtest.params().genesis;
    for (height, network) in [(0, Network::Testnet), (7, Network::Mainnet)] {
        let anchor = format!("{height}:{}", regtest.hash()).parse().unwrap();
        let mut tree = HeaderTree::new(network.params(), anchor);
        let error = tree.backfill(regtest).unwrap_err();
        assert_eq!(error, HeaderError::ForeignAnchor { network, height });
        assert_eq!(error.at_fault(), AtFault::Anchor);
    }
}

#[test]
fn the_heaviest_chain_wins_and_the_first_of_equals() {
    let mut tree = genesis_tree(Network::Regtest);
    let genesis = tree.tip().hash;
    let first = grow(&mut tree, genesis, 5, 0);
    let second = grow(&mut tree, first[2], 3, 1);
    assert_eq!((tree.tip().hash, tree.branch_headers()), (first[5], 3));
    assert_eq!(tree.height_of(&second[3]), Some(5));

    let sixth = mined(NATIVE, second[3], GENESIS_TIME + 1000, 1);
    assert_eq!(tree.accept(&pure(sixth), now()), Ok(Accepted::Reorganized { fork: 2 }));
    assert_eq!((tree.tip().height, tree.tip().hash), (6, sixth.hash()));
    assert_eq!(tree.hash_at(3), Some(second[1]));
    assert_eq!((tree.height_of(&first[5]), tree.branch_headers()), (Some(5), 3));

    let back = grow(&mut tree, first[5], 2, 2);
    assert_eq!((tree.tip().height, tree.tip().hash), (7, back[2]));
    assert_eq!(
        (1..=5).map(|height| tree.hash_at(height)).collect::<Vec<_>>(),
        first[1..].iter().copied().map(Some).collect::<Vec<_>>()
    );
    assert_eq!(tree.branch_headers(), 4);
    assert_eq!(tree.accept(&pure(sixth), now()), Ok(Accepted::Duplicate));
}

/// Sends one header on top of five and returns the answer; the tree must be as before.
fn refusal(network: Network, make: impl FnOnce(BlockHash, u32) -> PureHeader) -> HeaderError {
    let mut tree = genesis_tree(network);
    if network == Network::Regtest {
        let genesis = tree.tip().hash;
        grow(&mut tree, genesis, 5, 0);
    }
    let before = tree.tip();
    let header = make(before.hash, u32::try_from(before.time.0).unwrap());
    let error = tree.accept(&pure(header), now()).unwrap_err();
    assert_eq!((tree.tip(), tree.height_of(&header.hash())), (before, None));
    error
}

#[test]
fn every_broken_rule_has_its_error() {
    use Network::{Mainnet, Regtest, Testnet};
    let zeros = BlockHash::all_zeros();
    assert_eq!(
        refusal(Regtest, |_, time| mined(NATIVE, zeros, time + 60, 0)),
        HeaderError::UnknownParent { prev: zeros }
    );
    assert_eq!(
        refusal(Regtest, |prev, time| mined(1, prev, time + 60, 0)),
        HeaderError::LateLegacy { height: 6 }
    );
    assert_eq!(
        refusal(Regtest, |prev, time| mined(0x0001_0003, prev, time + 60, 0)),
        HeaderError::BaseVersionTooLow {
            height: 6,
            min: 4,
            got: 3
        }
    );
    for (version, got) in [(4, 0), (0x0002_0004, 2)] {
        assert_eq!(
            refusal(Regtest, |prev, time| mined(version, prev, time + 60, 0)),
            HeaderError::WrongChainId { expected: 1, got }
        );
    }
    assert_eq!(
        refusal(Mainnet, |prev, time| header(FLAGGED, prev, time + 60, 0x1c00_7fff, 0)),
        HeaderError::EarlyAuxPow {
            height: 1,
            start: 19_200
        }
    );
    assert_eq!(
        refusal(Regtest, |prev, time| header(NATIVE, prev, time + 60, 0x2080_0001, 0)),
        HeaderError::Target(TargetError::Negative { bits: 0x2080_0001 })
    );
    let (expected, got) = (REGTEST_BITS, REGTEST_BITS - 1);
    assert_eq!(
        refusal(Regtest, |prev, time| header(NATIVE, prev, time + 60, got, 0)),
        HeaderError::WrongBits {
            height: 6,
            expected,
            got
        }
    );
    let median = GENESIS_TIME + 180;
    assert_eq!(
        refusal(Regtest, |prev, _| mined(NATIVE, prev, median, 0)),
        HeaderError::TimeTooEarly { median, got: median }
    );
    assert!(matches!(
        refusal(Mainnet, |prev, time| header(NATIVE, prev, time + 60, 0x1c00_7fff, 0)),
        HeaderError::InsufficientWork { .. }
    ));
    assert!(matches!(
        refusal(Regtest, |prev, time| {
            let easy = header(NATIVE, prev, time + 60, REGTEST_BITS, 0);
            PureHeader::new(builder::mine(*easy.as_bytes(), false))
        }),
        HeaderError::InsufficientWork { .. }
    ));
    assert_eq!(
        refusal(Regtest, |prev, time| mined(FLAGGED, prev, time + 60, 0)),
        HeaderError::AuxPowMissing
    );
    assert!(matches!(
        refusal(Testnet, |prev, time| header(NATIVE, prev, time + 60, 0x1d07_fff8, 0)),
        HeaderError::InsufficientWork { .. }
    ));
}

#[test]
fn a_header_from_the_future_is_taken_when_its_time_has_come() {
    let mut tree = genesis_tree(Network::Regtest);
    let time = GENESIS_TIME + 100_000;
    let late = pure(mined(NATIVE, tree.tip().hash, time, 0));
    let two_hours_before = Timestamp(u64::from(time) - 7200);
    let max = Timestamp(u64::from(time) - 1);
    let error = tree.accept(&late, Timestamp(two_hours_before.0 - 1)).unwrap_err();
    assert_eq!(
        error,
        HeaderError::TimeTooLate {
            max,
            got: Timestamp(u64::from(time))
        }
    );
    assert!(error.is_transient());
    assert_eq!(tree.accept(&late, two_hours_before), Ok(Accepted::Extended));
}

#[test]
fn auxpow_belongs_to_the_flag_and_is_checked() {
    let mut tree = genesis_tree(Network::Regtest);
    let genesis = tree.tip().hash.to_byte_array();
    let time = GENESIS_TIME + 60;
    let right = AuxPowSpec::default().full_header(genesis, time);
    let (full, _) = FullHeader::decode(&right).unwrap();

    let native = mined(NATIVE, tree.tip().hash, time, 0);
    let both = FullHeader {
        pure: native,
        auxpow: full.auxpow,
    };
    assert_eq!(tree.accept(&both, now()), Err(HeaderError::AuxPowUnexpected));

    let wrong = AuxPowSpec {
        coinbase_index: 1,
        ..AuxPowSpec::default()
    }
    .full_header(genesis, time);
    let (broken, _) = FullHeader::decode(&wrong).unwrap();
    assert!(matches!(tree.accept(&broken, now()), Err(HeaderError::AuxPow(_))));
    assert_eq!(tree.accept(&full, now()), Ok(Accepted::Extended));
}

#[test]
fn restoring_checks_all_but_auxpow() {
    let mut tree = genesis_tree(Network::Regtest);
    let genesis = tree.tip().hash;
    let flagged = header(FLAGGED, genesis, GENESIS_TIME + 60, REGTEST_BITS, 0);
    assert_eq!(tree.restore(flagged, true), Ok(()));
    assert_eq!(tree.restore(flagged, true), Ok(()));
    assert_eq!(tree.tip().hash, flagged.hash());
    let unmined = header(NATIVE, genesis, GENESIS_TIME + 60, REGTEST_BITS, 0);
    let unmined = PureHeader::new(builder::mine(*unmined.as_bytes(), false));
    assert!(matches!(
        tree.restore(unmined, true),
        Err(HeaderError::InsufficientWork { .. })
    ));
    let early = header(FLAGGED, genesis, GENESIS_TIME, REGTEST_BITS, 0);
    assert!(matches!(
        tree.restore(early, true),
        Err(HeaderError::TimeTooEarly { .. })
    ));
}

/// Lengthens a chain of flagged headers up to a height and checks each step against the model: the right bits are
/// taken, and no others.
fn follow_the_model(tree: &mut HeaderTree, chain: &mut Vec<PureHeader>, to: usize, seconds: impl Fn(usize) -> u32) {
    for height in chain.len()..=to {
        let parent = &chain[height - 1];
        let time = parent.time() + seconds(height);
        let bits = model::required_bits(chain, time, tree.params());
        let wrong = header(FLAGGED, parent.hash(), time, bits ^ 1, 0);
        assert!(matches!(
            tree.restore(wrong, true),
            Err(HeaderError::WrongBits { .. } | HeaderError::Target(_))
        ));
        let right = header(FLAGGED, parent.hash(), time, bits, 0);
        assert_eq!(tree.restore(right, true), Ok(()), "height {height}");
        chain.push(right);
    }
}

/// Builds a chain on testnet, whose retargeting is real, see [`follow_the_model`].
fn testnet_chain(to: usize, seconds: impl Fn(usize) -> u32) -> (HeaderTree, Vec<PureHeader>) {
    let mut tree = genesis_tree(Network::Testnet);
    let mut chain = vec![Network::Testnet.params().genesis];
    follow_the_model(&mut tree, &mut chain, to, seconds);
    (tree, chain)
}

#[test]
fn testnet_retargets_as_the_model_through_three_intervals() {
    // Before the exception holds: faster by half, then slower, with the time-warp fix from the second interval on.
    let (tree, _) = testnet_chain(6100, |height| if height < 4000 { 300 } else { 700 });
    let bits = [1, 2016, 4032, 6048].map(|height| tree.header_at(height).unwrap().bits().to_consensus());
    assert!(bits[1] < bits[0] && bits[2] < bits[1] && bits[3] > bits[2], "{bits:x?}");
}

#[test]
fn a_branch_retargets_by_its_own_headers() {
    let (mut tree, mut chain) = testnet_chain(4100, |_| 300);
    let tip = tree.tip();
    chain.truncate(6);
    follow_the_model(&mut tree, &mut chain, 4100, |_| 400);
    assert_eq!((tree.tip(), tree.branch_headers()), (tip, 4095));
    follow_the_model(&mut tree, &mut chain, 6000, |_| 400);
    assert_eq!(tree.tip().hash, chain[6000].hash());
    assert_eq!(tree.branch_headers(), 4095);
}

#[test]
fn testnets_exception_is_the_models() {
    let (tree, _) = testnet_chain(4100, |height| match height {
        1 => EXCEPTION_TIME - GENESIS_TIME,
        _ if height % 7 == 0 => 1201,
        _ if height % 11 == 0 => 1200,
        _ => 400,
    });
    let easy = tree
        .best_chain(1)
        .filter(|(_, header)| header.bits().to_consensus() == TESTNET_LIMIT)
        .count();
    assert!(easy > 500, "{easy}");
}

#[test]
fn a_skeleton_retargets_as_the_tree_does() {
    let (truth, chain) = testnet_chain(4100, |height| if height < 2500 { 300 } else { 900 });
    for base in [0, 1, 1000, 2014, 2015, 2016, 3000, 4031, 4032] {
        let (mut tree, _) = testnet_chain(0, |_| 0);
        let (below, above) = chain[1..].split_at(base);
        for header in below {
            tree.restore(*header, true).unwrap();
        }
        grow_skeleton(&mut tree, above);
        tree.adopt_skeleton().unwrap();
        assert_eq!(tree.tip(), truth.tip());
    }
    // On top of a branch it looks back to the branch's headers.
    let (mut tree, mut branch) = testnet_chain(4100, |_| 300);
    branch.truncate(6);
    let (mut truth, mut longer) = (tree.clone(), branch.clone());
    follow_the_model(&mut truth, &mut longer, 6000, |_| 400);
    follow_the_model(&mut tree, &mut branch, 3000, |_| 400);
    grow_skeleton(&mut tree, &longer[3001..]);
    let did = tree.adopt_skeleton().unwrap();
    assert_eq!(did, Some(Accepted::Reorganized { fork: 5 }));
    assert_eq!(tree.tip(), truth.tip());
}

fn grow_skeleton(tree: &mut HeaderTree, headers: &[PureHeader]) {
    tree.begin_skeleton(headers[0].prev()).unwrap();
    for header in headers {
        tree.restore_skeleton(*header, false).unwrap();
    }
}

#[test]
fn a_testnet_block_before_its_parent_has_the_easiest_bits() {
    let mut tree = genesis_tree(Network::Testnet);
    let mut prev = tree.tip().hash;
    for step in 0..4 {
        let bits = if step == 0 { TESTNET_LIMIT } else { 0x1d07_fff8 };
        let next = header(FLAGGED, prev, EXCEPTION_TIME + step, bits, 0);
        assert_eq!(tree.restore(next, true), Ok(()));
        prev = next.hash();
    }
    let before = header(FLAGGED, prev, EXCEPTION_TIME + 2, 0x1d07_fff8, 0);
    assert!(matches!(tree.restore(before, true), Err(HeaderError::WrongBits { .. })));
    let before = header(FLAGGED, prev, EXCEPTION_TIME + 2, TESTNET_LIMIT, 0);
    assert_eq!(tree.restore(before, true), Ok(()));
}

#[test]
fn full_branches_lose_their_lightest_but_never_the_growing_one() {
    let mut tree = genesis_tree(Network::Regtest);
    let genesis = tree.tip().hash;
    let flagged = |prev, height: u32, salt| header(FLAGGED, prev, GENESIS_TIME + 60 * height, REGTEST_BITS, salt);
    let mut main = vec![genesis];
    for height in 1..=10 {
        let next = flagged(main[main.len() - 1], height, 0);
        tree.restore(next, true).unwrap();
        main.push(next.hash());
    }
    let rival = flagged(main[2], 3, 1);
    tree.restore(rival, true).unwrap();
    let heavy = flagged(main[8], 9, 1);
    tree.restore(heavy, true).unwrap();
    let most = u32::try_from(HeaderTree::MAX_BRANCH_HEADERS).unwrap();
    for salt in 0..most - 2 {
        tree.restore(flagged(main[5], 6, salt + 10), true).unwrap();
    }
    assert_eq!(tree.branch_headers(), HeaderTree::MAX_BRANCH_HEADERS);
    let second = flagged(rival.hash(), 4, 1);
    tree.restore(second, true).unwrap();
    assert_eq!(tree.branch_headers(), HeaderTree::MAX_BRANCH_HEADERS / 2 + 1);
    let known = [rival, second, heavy].map(|header| tree.height_of(&header.hash()));
    assert_eq!(known, [Some(3), Some(4), Some(9)]);
    assert_eq!(tree.tip().hash, main[10]);
    assert_eq!(tree.heights.len(), tree.branch_headers() + 11);
}

/// What a random tree is made of: which header to build on, how many seconds later (or earlier), a salt.
type Plan = Vec<(prop::sample::Index, i32)>;

fn plans() -> impl Strategy<Value = Plan> {
    let seconds = prop_oneof![Just(600), Just(1300), -500..3000_i32];
    vec((any::<prop::sample::Index>(), seconds), 1..40)
}

/// Builds the plan's valid headers on testnet, whose exception gives them different work, parents first.
fn plant(plan: &Plan) -> Vec<PureHeader> {
    let params = Network::Testnet.params();
    let mut model = ModelTree::new(params);
    let start = header(FLAGGED, params.genesis.hash(), EXCEPTION_TIME, TESTNET_LIMIT, 0);
    model.accept(start);
    let mut headers = vec![start];
    for (salt, (index, seconds)) in (1..).zip(plan) {
        let parent = headers[index.index(headers.len())];
        let chain = model.chain(model::hash(&parent));
        let mut times: Vec<u32> = chain.iter().rev().take(11).map(PureHeader::time).collect();
        times.sort_unstable();
        let time = parent
            .time()
            .saturating_add_signed(*seconds)
            .max(times[times.len() / 2] + 1);
        let bits = model::required_bits(&chain, time, params);
        let next = header(FLAGGED, parent.hash(), time, bits, salt);
        model.accept(next);
        headers.push(next);
    }
    headers
}

/// Orders headers by rank, but each after its parent.
fn delivery(headers: &[PureHeader], ranks: &[u32]) -> Vec<PureHeader> {
    let mut waiting: Vec<(u32, PureHeader)> = ranks.iter().copied().zip(headers.iter().copied()).collect();
    waiting.sort_by_key(|(rank, _)| *rank);
    let mut delivered: Vec<PureHeader> = Vec::new();
    while !waiting.is_empty() {
        let ready = waiting
            .iter()
            .position(|(_, header)| !waiting.iter().any(|(_, other)| other.hash() == header.prev()))
            .unwrap();
        delivered.push(waiting.remove(ready).1);
    }
    delivered
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_tree_equals_the_model_in_any_order(plan in plans(), ranks in vec(any::<u32>(), 41)) {
        let headers = plant(&plan);
        let mut tree = genesis_tree(Network::Testnet);
        let mut model = ModelTree::new(Network::Testnet.params());
        for next in delivery(&headers, &ranks) {
            let old_tip = model.tip;
            let better = model.accept(next);
            let at = rules::check_context(&next, &tree.lineage_of(&next).unwrap(), tree.params()).unwrap();
            let accepted = tree.insert(Link { header: next, hash: next.hash() }, at.to_work(), true).unwrap();
            let expected = match better {
                false => Accepted::Branch,
                true if next.prev().to_byte_array() == old_tip => Accepted::Extended,
                true => Accepted::Reorganized { fork: model.fork(old_tip, model.tip) },
            };
            prop_assert_eq!(accepted, expected);
            prop_assert_eq!(tree.tip().hash.to_byte_array(), model.tip);
            let best: Vec<PureHeader> = tree.best_chain(0).map(|(_, header)| header).collect();
            prop_assert_eq!(&best, &model.chain(model.tip));
            prop_assert_eq!(tree.heights.len(), best.len() + tree.branch_headers());
        }
        for header in &headers {
            let height = model.chain(model::hash(header)).len() - 1;
            prop_assert_eq!(tree.height_of(&header.hash()), Some(u32::try_from(height).unwrap()));
        }
    }

    #[test]
    fn the_order_of_arrival_does_not_change_the_work_of_the_tip(
        plan in plans(), one in vec(any::<u32>(), 41), other in vec(any::<u32>(), 41),
    ) {
        let headers = plant(&plan);
        let tips = [one, other].map(|ranks| {
            let mut tree = genesis_tree(Network::Testnet);
            for header in delivery(&headers, &ranks) {
                tree.restore(header, true).unwrap();
            }
            tree.tip()
        });
        prop_assert_eq!(tips[0].chainwork, tips[1].chainwork);
    }
}

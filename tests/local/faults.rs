//! Every fault of a server, one by one: beside two honest servers it ends in the right answer; alone in the right
//! error, never in a wrong value.

use std::time::Duration;

use isonym::chain::Network;
use isonym::chain::freshness::{NotFresh, check_tip_age};
use isonym::name::Outcome;
use isonym::name::lookup::{LookupError, LookupSettings};
use isonym::node::{NodeError, SyncReport};
use isonym::service::{DaemonSettings, ServiceError};
use isonym::time::Timestamp;
use isonym_sim::wallet::Signer;
use isonym_sim::{AddressKind, AuxPowKind, Fault, Flaw, Release, SharedWorld, Work};

use isonym_testkit::one_shot::{self, OneShot, sync_once, unanswered};
use isonym_testkit::stage::{
    ENOUGH, NAME, OLD_VALUE, SETTLED, Stage, VALUE, lookup_settings, name_id, patience, sync_limits, world,
};

/// The server that errs, where there are others.
const FAULTY: usize = 0;

/// So many attempts for each lookup.
fn attempts(attempts: u8) -> DaemonSettings {
    one_shot::settings(lookup_settings(attempts, 1))
}

/// As [`attempts`]; whom header sync loses it does not dial again, so that those who meet a fault are lookups.
fn attempts_after_sync(attempts: u8) -> DaemonSettings {
    DaemonSettings {
        sync: sync_once(),
        ..self::attempts(attempts)
    }
}

fn beside_honest(fault: &Fault) -> [Option<Fault>; 3] {
    [Some(fault.clone()), None, None]
}

/// The fault meets header sync, beside two honest servers: the tip is the true one, and so is the value.
async fn sync_beside_honest(fault: &Fault) -> SyncReport {
    let stage = Stage::open(world(), Release::V1_17, &beside_honest(fault)).await;
    let (node, _folder) = stage.node();
    let node = OneShot::start(node, attempts(4)).await;
    let report = node.sync().await.unwrap();
    assert_eq!(report.tip.hash, world().chain().tip_hash(), "{fault:?}");
    assert_ne!(stage.met(FAULTY), 0, "{fault:?} was met");
    assert_eq!(node.value(1).await, VALUE, "{fault:?}");
    report
}

/// The fault meets header sync, and there is no other server: the error says what is wrong with it.
async fn sync_alone(fault: &Fault, says: &str) {
    let stage = Stage::open(world(), Release::V1_17, &[Some(fault.clone())]).await;
    let (node, _folder) = stage.node();
    let node = OneShot::start(node, attempts(3)).await;
    match node.sync().await {
        Err(NodeError::NoServer { servers, .. }) => {
            assert!(servers[0].result.contains(says), "{fault:?}: {}", servers[0].result);
        }
        other => panic!("{fault:?}: {other:?}"),
    }
    assert!(
        world().chain().header(node.tip().height).unwrap().hash() == node.tip().hash,
        "{fault:?}: what was taken is true"
    );
}

/// The fault begins after header sync; lookups go on until one meets it.
async fn lookup_beside_honest(fault: &Fault, release: Release) {
    let mut stage = Stage::open(world(), release, &[None, None, None]).await;
    stage.patience = patience(Some(fault));
    let folder = tempfile::tempdir().unwrap();
    let (node, _) = stage
        .node_that_heard(folder.path(), FAULTY, attempts_after_sync(4))
        .await;
    stage.hosts[FAULTY].set_fault(Some(fault.clone()));
    let before = stage.met_by_lookups(FAULTY);
    for _ in 0..ENOUGH {
        assert_eq!(node.value(1).await, VALUE, "{fault:?}");
        if stage.met_by_lookups(FAULTY) > before {
            return;
        }
    }
    panic!("{fault:?} was never met");
}

/// The fault begins after header sync, and there is no other server.
async fn lookup_result_alone(fault: &Fault, release: Release, name: &str) -> Result<Outcome, ServiceError> {
    let mut stage = Stage::open(world(), release, &[None]).await;
    stage.patience = patience(Some(fault));
    let mut settings = attempts_after_sync(3);
    settings.lookup = LookupSettings {
        attempt_timeout: 2 * stage.patience,
        ..settings.lookup
    };
    let (node, _folder) = stage.synced(settings).await;
    stage.hosts[FAULTY].set_fault(Some(fault.clone()));
    node.name_show(&name_id(name), 1).await
}

async fn lookup_alone(fault: &Fault, release: Release, says: &str) {
    let (reasons, lied_to) = unanswered(lookup_result_alone(fault, release, NAME).await);
    assert!(
        reasons.iter().any(|reason| reason.contains(says)),
        "{fault:?}: {reasons:?}"
    );
    let lies = matches!(fault, Fault::ForgedValue | Fault::ForgedMerkleBranch);
    assert_eq!(lied_to, lies, "{fault:?}");
}

/// A fault of the connection: it meets sync and lookup in the same way.
async fn breaks_connections(fault: Fault, says: &str) {
    tokio::join!(
        sync_beside_honest(&fault),
        sync_alone(&fault, says),
        lookup_beside_honest(&fault, Release::V1_17),
        lookup_alone(&fault, Release::V1_16, says),
    );
}

/// A fault of what is said about names, over both ways to ask.
async fn spoils_lookups(fault: Fault, says: &str) {
    for release in [Release::V1_16, Release::V1_17, Release::V1_20] {
        tokio::join!(
            lookup_beside_honest(&fault, release),
            lookup_alone(&fault, release, says),
        );
    }
}

#[tokio::test]
async fn silent() {
    breaks_connections(Fault::Silent, "in time").await;
}

#[tokio::test]
async fn silent_after_the_handshake() {
    breaks_connections(Fault::SilentAfterHandshake, "in time").await;
}

#[tokio::test]
async fn slower_than_allowed() {
    let delay = Duration::from_secs(3600);
    breaks_connections(Fault::Slow { delay }, "in time").await;
}

#[tokio::test]
async fn slow_but_in_time() {
    let delay = Duration::from_millis(100);
    let fault = Fault::Slow { delay };
    let stage = Stage::open(world(), Release::V1_16, &[Some(fault.clone())]).await;
    let (node, _folder) = stage.node();
    let node = OneShot::start(node, attempts(3)).await;
    let (report, ..) = tokio::join!(node.sync(), sync_beside_honest(&fault));
    assert_eq!(report.unwrap().tip.hash, world().chain().tip_hash());
    assert_eq!(node.value(1).await, VALUE);
}

#[tokio::test]
async fn holds_small_replies_back() {
    // Longer than every time-out: held replies come since others push them out.
    let delay = Duration::from_secs(3600);
    for release in [Release::V1_16, Release::V1_17, Release::V1_20] {
        let stage = Stage::open(world(), release, &[Some(Fault::HoldsSmallReplies { delay })]).await;
        let (node, _folder) = stage.node();
        let node = OneShot::start(node, attempts(3)).await;
        let report = node.sync().await.unwrap();
        assert_eq!(report.tip.hash, world().chain().tip_hash());
        assert_eq!(node.value(1).await, VALUE);
    }
}

#[tokio::test]
async fn floods_notifications() {
    let fault = Fault::FloodOfNotifications;
    tokio::join!(
        sync_beside_honest(&fault),
        sync_alone(&fault, "notification"),
        lookup_beside_honest(&fault, Release::V1_17),
        lookup_alone(&fault, Release::V1_16, "notification that nobody asked for"),
    );
}

#[tokio::test]
async fn floods_in_one_line() {
    let fault = Fault::FloodInOneLine;
    tokio::join!(sync_beside_honest(&fault), sync_alone(&fault, "line is longer than"));
    tokio::join!(
        lookup_beside_honest(&fault, Release::V1_17),
        lookup_alone(&fault, Release::V1_16, "line is longer than"),
    );
}

#[tokio::test]
async fn truncates_replies() {
    breaks_connections(Fault::TruncatedReplies, "malformed line").await;
}

#[tokio::test]
async fn truncates_headers() {
    let fault = Fault::TruncatedHeaders;
    tokio::join!(sync_beside_honest(&fault), sync_alone(&fault, "no header at height"));
}

#[tokio::test]
async fn answers_under_wrong_ids() {
    breaks_connections(Fault::WrongIds, "which was never made").await;
}

#[tokio::test]
async fn sends_garbage() {
    breaks_connections(Fault::GarbageJson, "malformed line").await;
}

#[tokio::test]
async fn nests_deeply() {
    for depth in [20, 100_000] {
        breaks_connections(Fault::DeepNesting { depth }, "nested deeper").await;
    }
}

#[tokio::test]
async fn answers_with_errors() {
    breaks_connections(Fault::Errors, "internal server error").await;
}

#[tokio::test]
async fn drops_connections() {
    for after_replies in 1..=3 {
        breaks_connections(Fault::DropsConnection { after_replies }, "closed the connection").await;
    }
}

#[tokio::test]
async fn drops_connections_in_the_middle_of_a_lookup() {
    for release in [Release::V1_16, Release::V1_17] {
        for after_replies in 3..12 {
            let fault = Fault::DropsConnection { after_replies };
            match lookup_result_alone(&fault, release, NAME).await {
                Ok(Outcome::Found(status)) => assert_eq!(status.name.value().as_bytes(), VALUE.as_bytes()),
                other => drop(unanswered(other)),
            }
            lookup_beside_honest(&fault, release).await;
        }
    }
}

#[tokio::test]
async fn serves_another_network() {
    breaks_connections(Fault::WrongNetwork, "another network").await;
}

#[tokio::test]
async fn has_had_enough_in_a_sync() {
    let fault = Fault::ExcessiveResources { after_bytes: 30_000 };
    // What each connection brings is kept, so that alone it is to bring nothing.
    let at_once = Fault::ExcessiveResources { after_bytes: 500 };
    tokio::join!(
        sync_beside_honest(&fault),
        sync_alone(&at_once, "excessive resource usage")
    );
}

#[tokio::test]
async fn has_had_enough_in_a_lookup() {
    for release in [Release::V1_16, Release::V1_17] {
        let (mut found, mut told) = (0, 0);
        // The greeting's own headers take some 30,000 bytes.
        let (range, step) = match release {
            Release::V1_17 => (20_000..36_000, 250),
            _ => (0..120_000, 20_000),
        };
        for after_bytes in range.step_by(step) {
            let fault = Fault::ExcessiveResources { after_bytes };
            match lookup_result_alone(&fault, release, NAME).await {
                Ok(Outcome::Found(status)) => {
                    assert_eq!(status.name.value().as_bytes(), VALUE.as_bytes());
                    found += 1;
                }
                other => {
                    let (reasons, _) = unanswered(other);
                    told += usize::from(reasons[0].contains("excessive resource usage"));
                }
            }
        }
        // The history is so short that the refusal always falls on the headers asked for along with it.
        assert!(
            found > 0 && (told > 0 || release == Release::V1_16),
            "{found} found, {told} told why not"
        );
        lookup_beside_honest(&Fault::ExcessiveResources { after_bytes: 500 }, release).await;
    }
}

#[tokio::test]
async fn a_small_budget_is_enough_over_many_connections() {
    let fault = Fault::ExcessiveResources { after_bytes: 30_000 };
    let stage = Stage::open(world(), Release::V1_17, &[Some(fault)]).await;
    let mut settings = attempts(3);
    // One after the other: how many of those that are opened together have something to do depends on the machine's load.
    settings.sync = isonym::chain::sync::HeaderSyncLimits {
        full_chunk: 8,
        connections: 1,
        rate_limit_pause: Duration::from_millis(10),
        ..sync_limits()
    };
    let (node, _folder) = stage.node();
    let report = OneShot::start(node, settings).await.sync().await.unwrap();
    assert_eq!(report.tip.hash, world().chain().tip_hash());
    assert!(stage.met(FAULTY) > 3, "{}", stage.met(FAULTY));
}

#[tokio::test]
async fn forges_a_merkle_branch() {
    spoils_lookups(Fault::ForgedMerkleBranch, "merkle proof").await;
}

#[tokio::test]
async fn forges_a_value() {
    for (release, says) in [
        (Release::V1_16, "other transactions than asked for"),
        (Release::V1_17, "merkle proof"),
    ] {
        let fault = Fault::ForgedValue;
        tokio::join!(
            lookup_beside_honest(&fault, release),
            lookup_alone(&fault, release, says),
        );
    }
}

/// What the program says of each broken rule of AuxPoW.
fn says_of(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::NoAuxPow | Flaw::ChainBranchTooLong | Flaw::CoinbaseWithoutInput => "at height",
        _ => "invalid header at height",
    }
}

async fn forges_auxpow(flaw: Flaw) {
    let fault = Fault::ForgedAuxPow { from: 60, flaw };
    tokio::join!(sync_beside_honest(&fault), sync_alone(&fault, says_of(flaw)));
}

macro_rules! forged_auxpow {
    ($($test:ident: $flaw:ident,)*) => {
        mod forged_auxpow {
            use super::Flaw;

            $(#[tokio::test]
            async fn $test() {
                super::forges_auxpow(Flaw::$flaw).await;
            })*

            #[test]
            fn every_flaw_has_its_test() {
                assert_eq!([$(Flaw::$flaw),*], Flaw::ALL);
            }
        }
    };
}

forged_auxpow! {
    no_auxpow: NoAuxPow,
    parent_has_auxpow: ParentHasAuxPow,
    not_enough_work: NotEnoughWork,
    parent_of_our_chain: ParentOfOurChain,
    chain_branch_too_long: ChainBranchTooLong,
    coinbase_not_in_parent: CoinbaseNotInParent,
    coinbase_not_first: CoinbaseNotFirst,
    coinbase_index_negative: CoinbaseIndexNegative,
    coinbase_without_input: CoinbaseWithoutInput,
    root_missing: RootMissing,
    root_too_late: RootTooLate,
    marker_twice: MarkerTwice,
    marker_apart: MarkerApart,
    size_missing: SizeMissing,
    wrong_size: WrongSize,
    wrong_slot: WrongSlot,
    chain_index_negative: ChainIndexNegative,
}

#[tokio::test]
async fn claims_a_longer_chain_without_work() {
    let flawed = Flaw::ALL.map(|flaw| Work::Flawed(AuxPowKind::Realistic, flaw));
    for work in [Work::Nothing, flawed[2], flawed[5]] {
        for extra in [1, 40] {
            let fault = Fault::FakeLongerChain { extra, work };
            tokio::join!(sync_beside_honest(&fault), sync_alone(&fault, "at height"));
        }
    }
}

/// A stranger's signature under an update is no server's but a miner's doing. He mines more than all others, so that
/// his chain has the most work, and puts the update into it.
#[tokio::test]
async fn forges_a_signature_under_the_most_work() {
    for kind in AddressKind::ALL {
        let honest = SharedWorld::new(world());
        let mut stolen = world().fork_at(world().chain().height() - 4, 666);
        stolen.queue_update(NAME, "stolen", kind, Signer::Stranger).unwrap();
        stolen.mine(14);
        let (height, tip) = (stolen.chain().height(), stolen.chain().tip_hash());
        let stolen = SharedWorld::new(stolen);
        let release = Release::V1_17;
        let alone = Stage::with_worlds(vec![(stolen.clone(), release, None)]).await;
        let beside = Stage::with_worlds(vec![
            (stolen, release, None),
            (honest.clone(), release, None),
            (honest, release, None),
        ])
        .await;

        let (node, _folder) = alone.synced(attempts(3)).await;
        let (reasons, _) = unanswered(node.name_show(&name_id(NAME), 1).await);
        assert!(
            reasons[0].contains("isn't authorised by the owner before: input 0"),
            "{kind:?}: {reasons:?}"
        );

        let folder = tempfile::tempdir().unwrap();
        let (node, report) = beside.node_that_heard(folder.path(), FAULTY, attempts(3)).await;
        assert_eq!((report.tip.height, report.tip.hash), (height, tip), "work decides");
        for _ in 0..ENOUGH {
            assert_eq!(node.value(1).await, VALUE, "{kind:?}");
            if beside.asked(FAULTY, NAME) > 0 {
                break;
            }
        }
        assert_ne!(beside.asked(FAULTY, NAME), 0, "it was met");
    }
}

#[tokio::test]
async fn hides_an_update_from_a_quorum() {
    for release in [Release::V1_16, Release::V1_17] {
        let fault = Fault::HiddenUpdates { newest: 1 };
        let stage = Stage::open(world(), release, &beside_honest(&fault)).await;
        let folder = tempfile::tempdir().unwrap();
        let (node, _) = stage.node_that_heard(folder.path(), FAULTY, attempts(4)).await;
        for _ in 0..ENOUGH {
            assert_eq!(node.value(2).await, VALUE);
            if stage.asked(FAULTY, NAME) > 0 {
                break;
            }
        }
        assert_ne!(stage.asked(FAULTY, NAME), 0, "it was met");
        for _ in 0..10 {
            assert_eq!(node.value(2).await, VALUE);
        }
    }
}

/// Whoever asks one server only, and that one hides an update, gets the value that was true before it: every proof
/// that a light client can ask for holds. Hence `--quorum`. It is never a value that was not once true, and hiding
/// more leaves a name that has lapsed.
#[tokio::test]
async fn hides_an_update_and_is_the_only_one_asked() {
    for release in [Release::V1_16, Release::V1_17] {
        let older = |newest| async move { lookup_result_alone(&Fault::HiddenUpdates { newest }, release, NAME).await };
        let Ok(Outcome::Found(status)) = older(1).await else {
            panic!()
        };
        assert_eq!(status.name.value().as_bytes(), OLD_VALUE.as_bytes());
        assert_eq!(older(3).await.unwrap(), Outcome::NeverExisted);
    }
    let fault = Fault::HiddenUpdates { newest: 1 };
    let stage = Stage::open(world(), Release::V1_17, &[Some(fault)]).await;
    let (node, _folder) = stage.synced(attempts(4)).await;
    let few = LookupError::TooFewServers { known: 1, expected: 2 };
    let result = node.name_show(&name_id(NAME), 2).await;
    assert!(
        matches!(result, Err(ServiceError::Node(NodeError::Lookup(error))) if error == few),
        "one voice is no quorum"
    );
}

#[tokio::test]
async fn denies_a_name() {
    for release in [Release::V1_16, Release::V1_17, Release::V1_20] {
        lookup_beside_honest(&Fault::DeniesNames, release).await;
        // Absence is what servers purport; there is nobody to say otherwise.
        let outcome = lookup_result_alone(&Fault::DeniesNames, release, NAME).await.unwrap();
        assert_eq!(outcome, Outcome::NeverExisted);
    }
}

#[tokio::test]
async fn denies_a_names_history() {
    let stage = Stage::open(world(), Release::V1_17, &beside_honest(&Fault::DeniesNames)).await;
    let folder = tempfile::tempdir().unwrap();
    let (node, _) = stage.node_that_heard(folder.path(), FAULTY, attempts(3)).await;
    for _ in 0..ENOUGH {
        let (entries, left_out) = node.name_history(&name_id(NAME)).await.unwrap();
        assert_eq!((entries.len(), left_out), (3, 0));
        if stage.asked(FAULTY, NAME) > 0 {
            return;
        }
    }
    panic!("never met");
}

#[tokio::test]
async fn invents_a_name() {
    const NOBODY: &str = "d/nobody-has-it";
    for release in [Release::V1_16, Release::V1_17, Release::V1_20] {
        let fault = Fault::InventsNames;
        // What it names is there, and is something else: as if it had named nothing.
        let alone = lookup_result_alone(&fault, release, NOBODY).await;
        assert!(matches!(alone, Ok(Outcome::NeverExisted)), "{alone:?}");
        let stage = Stage::open(world(), release, &beside_honest(&fault)).await;
        let (node, _folder) = stage.synced(attempts(3)).await;
        for _ in 0..ENOUGH {
            let outcome = node.name_show(&name_id(NOBODY), 1).await.unwrap();
            assert_eq!(outcome, Outcome::NeverExisted);
            if stage.asked(FAULTY, NOBODY) > 0 {
                break;
            }
        }
        assert_ne!(stage.asked(FAULTY, NOBODY), 0, "it was met");
    }
}

#[tokio::test]
async fn stale_beside_honest() {
    let fault = Fault::Stale { behind: SETTLED + 2 };
    let stage = Stage::open(world(), Release::V1_17, &beside_honest(&fault)).await;
    let (node, _folder) = stage.node();
    let node = OneShot::start(node, attempts(2)).await;
    let report = node.sync().await.unwrap();
    assert_eq!(report.tip.hash, world().chain().tip_hash());
    for _ in 0..ENOUGH {
        assert_eq!(node.value(2).await, VALUE, "two don't lag alike");
        // Alone it can only say what once was true. That it lags is known from header sync, but may not show at once in
        // who is asked.
        let alone = node.value(1).await;
        assert!(alone == VALUE || alone == OLD_VALUE, "{alone}");
        if alone == OLD_VALUE {
            break;
        }
    }
    assert_ne!(stage.asked(FAULTY, NAME), 0);
}

/// With nobody else, a stale chain is all there is. Where blocks come by the clock its age tells: regtest, the only
/// network that can be simulated, has no ages, so mainnet's rule is put to this tip.
#[tokio::test]
async fn stale_alone() {
    let behind = 60;
    let stage = Stage::open(world(), Release::V1_17, &[Some(Fault::Stale { behind })]).await;
    let (node, _folder) = stage.node();
    let node = OneShot::start(node, attempts(3)).await;
    let report = node.sync().await.unwrap();
    assert_eq!(report.tip.height, world().chain().height() - behind);
    let now: Timestamp = world().time();
    assert!(matches!(
        check_tip_age(report.tip.height, report.tip.time, now, Network::Mainnet.params()),
        Err(NotFresh::StaleTip { age: 36_000, .. })
    ));
    let outcome = node.name_show(&name_id(NAME), 1).await.unwrap();
    assert_eq!(outcome, Outcome::NeverExisted, "it was not registered then");
}

//! What is on disk comes back whole, or is reported and never believed.

use std::fs;
use std::num::NonZeroUsize;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::records::{META_SIZE, record};
use super::*;
use crate::chain::tree::UnverifiedChain;
use crate::chain::{Anchor, FullHeader, Network};
use crate::time::Timestamp;
use isonym_sim::{SimChain, World};

const BLOCKS: Height = 300;
const ANCHOR: Height = 100;
const LOWEST: Height = 40;

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let mut world = World::new(1, Timestamp(1_700_000_000));
    world.mine(BLOCKS);
    world
});

/// A folder with a store of the whole chain, written in several batches.
static FULL: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let temp = tempfile::tempdir().unwrap();
    let mut tree = empty(ANCHOR);
    let (mut store, reason) = Store::open(&temp.path().join("headers"), &mut tree).unwrap();
    assert_eq!(reason, None);
    backfill(&mut tree, WORLD.chain(), LOWEST);
    store.write_backward(&tree, ANCHOR);
    for to in (ANCHOR..=BLOCKS).step_by(25) {
        let from = tree.tip().height + 1;
        extend(&mut tree, WORLD.chain(), to);
        store.write_forward(&tree, from);
    }
    temp
});

/// More headers than any tree here has.
const MANY: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

/// A store whose writer waits for the disk.
struct Store {
    files: HeaderStore,
    unwritten: UnwrittenHeaders,
}

impl Store {
    fn open(path: &Path, tree: &mut HeaderTree) -> Result<(Self, Option<Rebuilt>), StoreError> {
        let (files, unwritten, reason) = HeaderStore::open(path, tree)?;
        Ok((Self { files, unwritten }, reason))
    }

    fn write_forward(&mut self, tree: &HeaderTree, from: Height) {
        self.write(tree, HeaderChange::Forward { from });
    }

    fn write_backward(&mut self, tree: &HeaderTree, to: Height) {
        self.write(tree, HeaderChange::Backward { to });
    }

    fn write_proved(&mut self, tree: &HeaderTree, heights: &[Height]) {
        let heights = heights.to_vec();
        self.write(tree, HeaderChange::Proved { heights });
    }

    fn write(&mut self, tree: &HeaderTree, change: HeaderChange) {
        self.unwritten.note(tree, change);
        while let Some(batch) = self.unwritten.next_batch(tree, MANY) {
            match self.files.write(batch).unwrap() {
                BatchEnd::Written => {}
                BatchEnd::Damaged => self.unwritten.start_anew(tree),
            }
        }
    }
}

fn empty(anchor: Height) -> HeaderTree {
    let hash = WORLD.chain().header(anchor).unwrap().hash();
    let chainwork = None;
    HeaderTree::new(
        Network::Regtest.params(),
        Anchor {
            height: anchor,
            hash,
            chainwork,
        },
    )
}

fn backfill(tree: &mut HeaderTree, chain: &SimChain, lowest: Height) {
    let from = tree.lowest().unwrap_or(tree.anchor().height + 1);
    for height in (lowest..from).rev() {
        tree.backfill(chain.header(height).unwrap()).unwrap();
    }
}

fn extend(tree: &mut HeaderTree, chain: &SimChain, to: Height) {
    for height in tree.anchor().height + 1..=to {
        let (header, _) = FullHeader::decode(chain.full_header(height).unwrap()).unwrap();
        let now = Timestamp(header.pure.time().into());
        tree.accept(&header, now).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A copy of the full store, to be spoiled.
fn full() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("headers");
    copy(&FULL.path().join("headers"), &path);
    (temp, path)
}

fn open(path: &Path, anchor: Height) -> (Store, HeaderTree, Option<Rebuilt>) {
    let mut tree = empty(anchor);
    let (store, reason) = Store::open(path, &mut tree).unwrap();
    (store, tree, reason)
}

/// Changes the records as sled would let anybody.
fn edit(path: &Path, edit: impl FnOnce(&sled::Db)) {
    let config = sled::Config::new().path(path).flush_every_ms(None);
    // On a loaded machine threads of the store that was just closed may hold sled's lock still.
    let db = (0..1000).find_map(|_| {
        let opened = config.open();
        opened
            .inspect_err(|_| std::thread::sleep(Duration::from_millis(10)))
            .ok()
    });
    let db = db.expect("the store is free");
    edit(&db);
    db.flush().unwrap();
}

fn is_untouched(tree: &HeaderTree) -> bool {
    tree.lowest().is_none() && tree.tip().height == tree.anchor().height
}

#[track_caller]
fn assert_is_full(tree: &HeaderTree) {
    assert_eq!(tree.lowest(), Some(LOWEST));
    assert_eq!(tree.tip().hash, WORLD.chain().tip_hash());
    assert_all_true(tree);
}

#[track_caller]
fn assert_all_true(tree: &HeaderTree) {
    for (height, header) in tree.best_chain(0) {
        assert_eq!(Some(header), WORLD.chain().header(height));
    }
}

#[track_caller]
fn assert_distrusted(path: &Path, expected: &Rebuilt) {
    let (_, tree, reason) = open(path, ANCHOR);
    assert_eq!(reason.as_ref(), Some(expected));
    assert!(is_untouched(&tree));
}

#[test]
fn all_headers_come_back_from_below_and_above_the_anchor() {
    let (_temp, path) = full();
    let (store, tree, reason) = open(&path, ANCHOR);
    assert_eq!(reason, None);
    assert_is_full(&tree);
    drop(store);
    assert_eq!(open(&path, ANCHOR).2, None);
}

#[test]
fn a_chain_from_genesis_comes_back() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("headers");
    let (mut store, mut tree, reason) = open(&path, 0);
    assert_eq!(reason, None);
    extend(&mut tree, WORLD.chain(), 30);
    store.write_forward(&tree, 1);
    drop(store);
    let (_, again, reason) = open(&path, 0);
    assert_eq!((reason, again.tip()), (None, tree.tip()));
}

#[test]
fn a_new_store_that_nothing_was_written_to_is_no_damaged_one() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("headers");
    for _ in 0..3 {
        let (_, tree, reason) = open(&path, ANCHOR);
        assert_eq!(reason, None);
        assert!(is_untouched(&tree));
    }
}

#[test]
fn after_a_reorganisation_nothing_of_the_old_branch_is_left() {
    let (_temp, path) = full();
    let fork = BLOCKS - 20;
    let mut other = WORLD.fork_at(fork, 2);
    other.mine(21);
    let (mut store, mut tree, _) = open(&path, ANCHOR);
    extend(&mut tree, other.chain(), BLOCKS + 1);
    assert_eq!(tree.tip().hash, other.chain().tip_hash());
    store.write_forward(&tree, fork + 1);
    drop(store);
    let (mut store, again, reason) = open(&path, ANCHOR);
    assert_eq!((reason, again.tip()), (None, tree.tip()));

    // A shorter chain can have more work; here it is but a tree that ends earlier.
    let mut shorter = empty(ANCHOR);
    backfill(&mut shorter, WORLD.chain(), LOWEST);
    extend(&mut shorter, WORLD.chain(), fork + 5);
    store.write_forward(&shorter, fork + 1);
    drop(store);
    let (_, again, reason) = open(&path, ANCHOR);
    assert_eq!((reason, again.tip()), (None, shorter.tip()));
}

#[test]
fn a_record_that_is_torn_or_missing_is_named() {
    for height in [LOWEST + 1, ANCHOR, ANCHOR + 1, BLOCKS - 1] {
        let (_temp, path) = full();
        edit(&path, |db| {
            let value = db.get(header_key(height)).unwrap().unwrap();
            db.insert(header_key(height), &value[..79]).unwrap();
        });
        assert_distrusted(&path, &Rebuilt::Torn { height });
        let (_temp, path) = full();
        edit(&path, |db| drop(db.remove(header_key(height)).unwrap()));
        assert_distrusted(&path, &Rebuilt::Torn { height });
    }
}

#[test]
fn a_header_that_does_not_fit_is_named() {
    for height in [LOWEST, ANCHOR, ANCHOR + 1, BLOCKS - 1] {
        let (_temp, path) = full();
        edit(&path, |db| {
            let mut value = db.get(header_key(height)).unwrap().unwrap().to_vec();
            value[70] ^= 1;
            db.insert(header_key(height), value).unwrap();
        });
        let (_, tree, reason) = open(&path, ANCHOR);
        assert!(matches!(reason, Some(Rebuilt::Invalid { .. })), "{height}: {reason:?}");
        assert!(is_untouched(&tree));
    }
}

#[test]
fn a_lost_or_exchanged_tip_is_seen() {
    let (_temp, path) = full();
    edit(&path, |db| drop(db.remove(header_key(BLOCKS)).unwrap()));
    assert_distrusted(&path, &Rebuilt::OtherTip);
    let (_temp, path) = full();
    let mut other = WORLD.fork_at(BLOCKS - 1, 3);
    other.mine(1);
    let header = other.chain().header(BLOCKS).unwrap();
    edit(&path, |db| {
        drop(db.insert(header_key(BLOCKS), record(&header, true).as_slice()).unwrap());
    });
    assert_distrusted(&path, &Rebuilt::OtherTip);
}

#[test]
fn a_store_that_lost_everything_is_no_new_one() {
    let (_temp, path) = full();
    edit(&path, |db| db.clear().unwrap());
    assert_distrusted(&path, &Rebuilt::Damaged);
    let (_temp, path) = full();
    edit(&path, |db| drop(db.remove(META_KEY).unwrap()));
    assert_distrusted(&path, &Rebuilt::Damaged);
}

#[test]
fn a_foreign_store_is_kept_until_there_is_something_better() {
    let (_temp, path) = full();
    let mainnet = Anchor::shipped(Network::Mainnet).unwrap();
    let mut tree = HeaderTree::new(Network::Mainnet.params(), mainnet);
    let (_, reason) = Store::open(&path, &mut tree).unwrap();
    assert_eq!(reason, Some(Rebuilt::Foreign));
    let (_, tree, reason) = open(&path, ANCHOR);
    assert_eq!(reason, None);
    assert_is_full(&tree);
}

#[test]
fn another_anchor_costs_nothing_until_headers_follow_from_it() {
    let (_temp, path) = full();
    let (_, tree, reason) = open(&path, ANCHOR + 1);
    assert_eq!(reason, Some(Rebuilt::OtherAnchor { height: ANCHOR }));
    assert!(is_untouched(&tree));
    let (_, tree, reason) = open(&path, ANCHOR);
    assert_eq!(reason, None);
    assert_is_full(&tree);

    let (mut store, mut tree, _) = open(&path, ANCHOR + 1);
    backfill(&mut tree, WORLD.chain(), LOWEST);
    store.write_backward(&tree, ANCHOR + 1);
    drop(store);
    let (_, again, reason) = open(&path, ANCHOR + 1);
    assert_eq!((reason, again.tip().height), (None, ANCHOR + 1));
    let (_, _, reason) = open(&path, ANCHOR);
    assert_eq!(reason, Some(Rebuilt::OtherAnchor { height: ANCHOR + 1 }));
}

/// Spoils one of sled's files in one of the ways that disks and editors have.
fn damage(path: &Path, rng: &mut StdRng) -> String {
    let file = path.join(if rng.random_bool(0.8) { "db" } else { "conf" });
    let mut bytes = fs::read(&file).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let at = rng.random_range(0..used);
    let how = rng.random_range(0..5_u8);
    let length = [1, 8, 512, 4096, 100_000][rng.random_range(0..5)];
    match how {
        0 => bytes[at] ^= 1 << rng.random_range(0..8_u8),
        1 => bytes
            .iter_mut()
            .skip(at)
            .take(length)
            .for_each(|byte| *byte = rng.random()),
        2 => bytes.iter_mut().skip(at).take(length).for_each(|byte| *byte = 0),
        3 => bytes.truncate(at),
        _ => (0..100).for_each(|_| bytes[rng.random_range(0..used)] = rng.random()),
    }
    fs::write(&file, bytes).unwrap();
    format!("{} in way {how} at {at}, {length} bytes", file.display())
}

#[test]
fn damaged_files_never_panic_are_never_believed_and_are_made_anew() {
    let (mut reported, mut shortened) = (0, 0);
    for seed in 0..300 {
        let (_temp, path) = full();
        let how = damage(&path, &mut StdRng::seed_from_u64(seed));
        let (mut store, mut tree, reason) = open(&path, ANCHOR);
        if reason.is_some() {
            reported += 1;
            assert!(is_untouched(&tree), "{how}: {reason:?}");
        }
        // What is silently lost may be the newest batches alone: what is left is true.
        assert_all_true(&tree);
        let (low, tip) = (tree.lowest().unwrap_or(ANCHOR + 1), tree.tip().height);
        shortened += u32::from(reason.is_none() && tip < BLOCKS);
        backfill(&mut tree, WORLD.chain(), LOWEST);
        store.write_backward(&tree, low.saturating_sub(1));
        extend(&mut tree, WORLD.chain(), BLOCKS);
        store.write_forward(&tree, tip + 1);
        drop(store);
        let (_, again, reason) = open(&path, ANCHOR);
        assert_eq!(reason, None, "{how}");
        assert_is_full(&again);
    }
    // Else the files were not hurt enough for this test to mean anything.
    assert!(
        reported > 5 && shortened > 10,
        "{reported} of 300 reported, {shortened} shortened"
    );
}

#[test]
fn a_database_that_breaks_under_our_hands_is_written_anew() {
    let (_temp, path) = full();
    let (mut store, tree, _) = open(&path, ANCHOR);
    store.files.db.as_mut().unwrap().close();
    store.write_forward(&tree, BLOCKS);
    drop(store);
    let (_, again, reason) = open(&path, ANCHOR);
    assert_eq!(reason, None);
    assert_is_full(&again);
}

#[test]
fn what_sled_left_half_done_costs_no_headers() {
    for (name, content) in [
        ("snap.FFFFFFFFFFFFFFFF.generating", &b""[..]),
        ("snap.0000000000000000.generating", b"half of it"),
        ("snap.FFFFFFFFFFFFFFFE", b""),
        ("snap.FFFFFFFFFFFFFFFE", b"longer than twelve bytes, and no snapshot"),
        ("conf", b""),
        ("conf", b"no settings of sled's at all"),
    ] {
        let (_temp, path) = full();
        fs::write(path.join(name), content).unwrap();
        let (_, tree, reason) = open(&path, ANCHOR);
        assert_eq!(reason, None, "{name}");
        assert_is_full(&tree);
    }
}

#[test]
fn without_its_log_a_store_is_moved_aside_and_kept() {
    let (_temp, path) = full();
    fs::remove_file(path.join("db")).unwrap();
    fs::write(
        path.join("snap.FFFFFFFFFFFFFFFE"),
        "no snapshot, and longer than twelve bytes",
    )
    .unwrap();
    let (mut store, mut tree, reason) = open(&path, ANCHOR);
    assert_eq!(reason, Some(Rebuilt::Damaged));
    backfill(&mut tree, WORLD.chain(), LOWEST);
    extend(&mut tree, WORLD.chain(), BLOCKS);
    store.write_forward(&tree, ANCHOR + 1);
    drop(store);
    assert!(path.with_extension("damaged").join("conf").exists());
    // What took its place is sound.
    let (_, again, reason) = open(&path, ANCHOR);
    assert_eq!(reason, None);
    assert_is_full(&again);
}

#[test]
fn what_could_not_be_written_is_written_with_the_next_try() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("headers");
    let (mut store, mut tree, _) = open(&path, ANCHOR);
    backfill(&mut tree, WORLD.chain(), LOWEST);
    extend(&mut tree, WORLD.chain(), BLOCKS);
    let most = NonZeroUsize::new(30).unwrap();
    let is_full = Arc::new(AtomicBool::new(false));
    let full = Arc::clone(&is_full);
    store.files.set_gate(DiskGate::new(move || {
        let error = std::io::ErrorKind::StorageFull;
        if full.load(Ordering::SeqCst) {
            Err(error.into())
        } else {
            Ok(())
        }
    }));
    store.unwritten.note(&tree, HeaderChange::Backward { to: ANCHOR });
    store.unwritten.note(&tree, HeaderChange::Forward { from: ANCHOR + 1 });
    let mut refused = 0;
    while let Some(batch) = store.unwritten.next_batch(&tree, most) {
        let scope = batch.scope();
        // Each is written with its second try.
        is_full.fetch_xor(true, Ordering::SeqCst);
        match store.files.write(batch) {
            Ok(end) => assert_eq!(end, BatchEnd::Written),
            Err(error) => {
                assert!(matches!(error, StoreError::Io(_)), "{error}");
                store.unwritten.put_back(&tree, scope);
                refused += 1;
            }
        }
    }
    assert!(refused > 5, "{refused}");
    drop(store);
    let (_, again, reason) = open(&path, ANCHOR);
    assert_eq!(reason, None);
    assert_is_full(&again);
}

#[test]
fn a_copy_of_a_store_is_read_where_nothing_can_be_written() {
    let (_temp, path) = full();
    let store = HeaderStore {
        path: path.clone(),
        db: None,
        unwritable: None,
        keep: false,
        gate: DiskGate::default(),
    };
    let mut tree = empty(ANCHOR);
    let full = StoreError::Io(std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem).into());
    let (mut store, _, reason) = store.read_copy(&mut tree, full).unwrap();
    assert_eq!(reason, None);
    assert!(store.take_unwritable().is_some());
    assert_is_full(&tree);
}

#[test]
fn a_file_in_the_way_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("headers");
    fs::write(&path, "").unwrap();
    let error = HeaderStore::open(&path, &mut empty(ANCHOR)).unwrap_err();
    assert!(matches!(error, StoreError::Io(_)), "{error}");
}

/// A change to the stored map.
#[derive(Clone, Debug)]
enum Change {
    Remove(Height),
    Alter(Height, usize, u8),
    Cut(Height, usize),
    Lengthen(Height),
    Swap(Height, Height),
    Insert(Vec<u8>, Vec<u8>),
    AlterMeta(usize, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let height = || LOWEST..=BLOCKS;
    prop_oneof![
        height().prop_map(Change::Remove),
        (height(), 0..80_usize, 1..=u8::MAX).prop_map(|(height, at, bits)| Change::Alter(height, at, bits)),
        (height(), 0..80_usize).prop_map(|(height, length)| Change::Cut(height, length)),
        height().prop_map(Change::Lengthen),
        (height(), height()).prop_map(|(one, other)| Change::Swap(one, other)),
        (
            prop::collection::vec(any::<u8>(), 1..7),
            prop::collection::vec(any::<u8>(), 0..100)
        )
            .prop_map(|(key, value)| Change::Insert(key, value)),
        (
            prop_oneof![0..LOWEST, BLOCKS + 1..BLOCKS + 10],
            prop::collection::vec(any::<u8>(), 80)
        )
            .prop_map(|(height, value)| Change::Insert(header_key(height).to_vec(), value)),
        (0..META_SIZE, 1..=u8::MAX).prop_map(|(at, bits)| Change::AlterMeta(at, bits)),
    ]
}

fn apply(db: &sled::Db, change: Change) {
    let get = |height| db.get(header_key(height)).unwrap().unwrap_or_default().to_vec();
    let put = |height, value: Vec<u8>| drop(db.insert(header_key(height), value).unwrap());
    match change {
        Change::Remove(height) => drop(db.remove(header_key(height)).unwrap()),
        Change::Alter(height, at, bits) => {
            let mut value = get(height);
            value.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bits);
            put(height, value);
        }
        Change::Cut(height, length) => {
            let mut value = get(height);
            value.truncate(length);
            put(height, value);
        }
        Change::Lengthen(height) => put(height, [get(height), vec![0]].concat()),
        Change::Swap(one, other) => {
            let (first, second) = (get(one), get(other));
            put(one, second);
            put(other, first);
        }
        Change::Insert(key, value) => drop(db.insert(key, value).unwrap()),
        Change::AlterMeta(at, bits) => {
            let mut value = db.get(META_KEY).unwrap().unwrap().to_vec();
            value.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bits);
            db.insert(META_KEY, value).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn edits_of_the_stored_map_are_seen_or_do_no_harm(changes in prop::collection::vec(change(), 1..4)) {
        let (_temp, path) = full();
        edit(&path, |db| changes.into_iter().for_each(|change| apply(db, change)));
        let (_, tree, reason) = open(&path, ANCHOR);
        if reason.is_some() {
            prop_assert!(is_untouched(&tree));
        } else {
            // Headers that are missing at the low end are fetched again.
            prop_assert_eq!(tree.tip().hash, WORLD.chain().tip_hash());
            assert_all_true(&tree);
        }
    }
}

/// Puts the chain's headers from the tip up to a height into a skeleton, and proves those of which the test holds.
fn grow_skeleton(tree: &mut HeaderTree, to: Height, is_proved: impl Fn(Height) -> bool) {
    if tree.skeleton().is_none() {
        tree.begin_skeleton(tree.tip().hash).unwrap();
    }
    let from = tree.skeleton().unwrap().top_height() + 1;
    for height in from..=to {
        let bytes = WORLD.chain().full_header(height).unwrap();
        let (header, _) = FullHeader::decode(bytes).unwrap();
        tree.extend_skeleton(header.pure, Timestamp(header.pure.time().into()))
            .unwrap();
        if is_proved(height) {
            tree.prove_in_skeleton(height, &header).unwrap();
        }
    }
}

/// A store of the chain up to the height of 150 and a skeleton up to 250 on top of it.
fn with_skeleton() -> (tempfile::TempDir, PathBuf, HeaderTree) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("headers");
    let (mut store, mut tree, _) = open(&path, ANCHOR);
    backfill(&mut tree, WORLD.chain(), LOWEST);
    extend(&mut tree, WORLD.chain(), 150);
    store.write_backward(&tree, ANCHOR);
    store.write_forward(&tree, ANCHOR + 1);
    for to in [180, 220, 250] {
        let from = tree.skeleton().map_or(151, |skeleton| skeleton.top_height() + 1);
        grow_skeleton(&mut tree, to, |_| false);
        store.write_forward(&tree, from);
    }
    (temp, path, tree)
}

#[test]
fn a_skeleton_comes_back_as_one_and_is_no_chain_yet() {
    let (_temp, path, _) = with_skeleton();
    let (_, tree, reason) = open(&path, ANCHOR);
    assert_eq!(reason, None);
    assert_eq!(tree.tip().height, 150);
    let skeleton = tree.skeleton().unwrap();
    assert_eq!((skeleton.base_height(), skeleton.top_height()), (150, 250));
    assert_eq!(skeleton.top(), WORLD.chain().header(250).unwrap().hash());
}

#[test]
fn a_skeleton_that_was_adopted_is_the_chain_with_what_was_proved_of_it() {
    let (_temp, path, mut tree) = with_skeleton();
    let (mut store, ..) = open(&path, ANCHOR);
    let sampled = [160, 200, 249, 250];
    for height in sampled {
        let (header, _) = FullHeader::decode(WORLD.chain().full_header(height).unwrap()).unwrap();
        tree.prove_in_skeleton(height, &header).unwrap();
    }
    tree.adopt_skeleton().unwrap();
    store.write_proved(&tree, &sampled);
    drop(store);
    let (mut store, mut again, reason) = open(&path, ANCHOR);
    assert_eq!(reason, None);
    assert_eq!(again.tip(), tree.tip());
    assert!(again.skeleton().is_none());
    assert_eq!(again.unproved(), tree.unproved());
    for height in 101..=250 {
        assert_eq!(again.is_proved(height), tree.is_proved(height), "{height}");
    }
    // Later headers and later proofs are added.
    extend(&mut again, WORLD.chain(), 260);
    store.write_forward(&again, 251);
    let (header, _) = FullHeader::decode(WORLD.chain().full_header(170).unwrap()).unwrap();
    again.prove(170, &header).unwrap();
    store.write_proved(&again, &[170]);
    drop(store);
    let (_, last, _) = open(&path, ANCHOR);
    assert_eq!((last.tip(), last.unproved()), (again.tip(), again.unproved()));
    assert_eq!(last.is_proved(170), Some(true));
}

#[test]
fn a_skeleton_that_was_cut_or_dropped_is_gone_from_the_disk() {
    let (_temp, path, mut tree) = with_skeleton();
    let (mut store, ..) = open(&path, ANCHOR);
    tree.cut_skeleton(190);
    store.write_forward(&tree, 191);
    drop(store);
    let (mut store, mut tree, _) = open(&path, ANCHOR);
    assert_eq!(tree.skeleton().unwrap().top_height(), 190);
    tree.drop_skeleton();
    store.write_forward(&tree, 151);
    drop(store);
    let (_, tree, reason) = open(&path, ANCHOR);
    assert_eq!(
        (tree.tip().height, tree.skeleton().is_none(), reason),
        (150, true, None)
    );
}

#[test]
fn damage_in_a_skeleton_costs_nothing_below_it() {
    for at in [151, 200, 250] {
        let (_temp, path, _) = with_skeleton();
        edit(&path, |db| {
            let mut record = db.get(header_key(at)).unwrap().unwrap().to_vec();
            record[70] ^= 1;
            db.insert(header_key(at), record).unwrap();
        });
        let (_, tree, reason) = open(&path, ANCHOR);
        assert_eq!((tree.tip().height, reason), (150, None));
        let top = tree.skeleton().map_or(150, UnverifiedChain::top_height);
        // Nothing stands on the last one that could tell.
        assert!(top < at || at == 250, "{top} {at}");
    }
}

/// Opens what a `kill -9` would leave now.
fn after_a_kill(path: &Path) -> (HeaderTree, Option<Rebuilt>) {
    let temp = tempfile::tempdir().unwrap();
    let path_then = temp.path().join("headers");
    copy(path, &path_then);
    let (_, tree, reason) = open(&path_then, ANCHOR);
    (tree, reason)
}

#[test]
fn after_each_of_many_batches_the_store_can_be_trusted() {
    for most in [1, 7, 60, 200] {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("headers");
        let (mut store, mut tree, _) = open(&path, ANCHOR);
        backfill(&mut tree, WORLD.chain(), LOWEST);
        extend(&mut tree, WORLD.chain(), BLOCKS);
        store.unwritten.note(&tree, HeaderChange::Backward { to: ANCHOR });
        store.unwritten.note(&tree, HeaderChange::Forward { from: ANCHOR + 1 });
        let (mut batches, mut before) = (0, (ANCHOR, ANCHOR + 1));
        while let Some(batch) = store.unwritten.next_batch(&tree, NonZeroUsize::new(most).unwrap()) {
            assert_eq!(store.files.write(batch).unwrap(), BatchEnd::Written);
            batches += 1;
            // Each of the smallest batches would take long.
            if most > 1 || batches % 13 == 0 {
                let (then, reason) = after_a_kill(&path);
                assert_eq!(reason, None, "{most}: batch {batches}");
                assert_all_true(&then);
                let now = (then.tip().height, then.lowest().unwrap_or(ANCHOR + 1));
                assert!(now.0 > before.0 || now.1 < before.1, "{now:?} after {before:?}");
                before = now;
            }
        }
        let parts = |headers: Height| usize::try_from(headers).unwrap().div_ceil(most);
        assert_eq!(batches, parts(BLOCKS - ANCHOR) + parts(ANCHOR + 1 - LOWEST), "{most}");
        drop(store);
        assert_is_full(&open(&path, ANCHOR).1);
    }
}

#[test]
fn a_reorganisation_between_two_batches_leaves_nothing_of_the_old_branch() {
    let fork = 220;
    let mut other = WORLD.fork_at(fork, 2);
    other.mine(BLOCKS - fork + 1);
    let most = NonZeroUsize::new(30).unwrap();
    // As many batches before the reorganisation; the fifth one ends above the fork.
    for before in 0..8 {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("headers");
        let (mut store, mut tree, _) = open(&path, ANCHOR);
        backfill(&mut tree, WORLD.chain(), LOWEST);
        store.write_backward(&tree, ANCHOR);
        extend(&mut tree, WORLD.chain(), BLOCKS);
        store.unwritten.note(&tree, HeaderChange::Forward { from: ANCHOR + 1 });
        for _ in 0..before {
            if let Some(batch) = store.unwritten.next_batch(&tree, most) {
                store.files.write(batch).unwrap();
            }
        }
        extend(&mut tree, other.chain(), BLOCKS + 1);
        store.unwritten.note(&tree, HeaderChange::Forward { from: fork + 1 });
        while let Some(batch) = store.unwritten.next_batch(&tree, most) {
            store.files.write(batch).unwrap();
            assert_eq!(after_a_kill(&path).1, None, "{before}");
        }
        drop(store);
        let (_, again, reason) = open(&path, ANCHOR);
        assert_eq!((reason, again.tip()), (None, tree.tip()), "{before}");
        assert!(again.skeleton().is_none());
    }
}

#[test]
fn what_changes_again_before_its_turn_is_written_once() {
    let temp = tempfile::tempdir().unwrap();
    let (mut store, mut tree, _) = open(&temp.path().join("headers"), ANCHOR);
    backfill(&mut tree, WORLD.chain(), LOWEST);
    for to in (ANCHOR..=BLOCKS).step_by(20) {
        let from = tree.tip().height + 1;
        extend(&mut tree, WORLD.chain(), to);
        store.unwritten.note(&tree, HeaderChange::Forward { from });
        let heights = (from..=to).collect();
        store.unwritten.note(&tree, HeaderChange::Proved { heights });
    }
    let batch = store.unwritten.next_batch(&tree, MANY).unwrap();
    let heights: Vec<Height> = batch.whole.iter().map(|(height, _)| *height).collect();
    assert_eq!(heights, (ANCHOR + 1..=BLOCKS).collect::<Vec<_>>());
    assert!(store.unwritten.next_batch(&tree, MANY).is_none());
}

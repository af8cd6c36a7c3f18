//! The header store: the best chain's headers on disk, in sled.
//!
//! One tree, so that a batch is atomic:
//!
//! | key | value |
//! | --- | --- |
//! | `m` | format (1 byte), network's genesis hash (32), anchor height (4, big-endian), anchor hash (32), tip hash (32) |
//! | `h` + height (4, big-endian) | pure header (80), 1 where its own proof of work was checked, else 0 (1 byte) |
//!
//! What lies above the tip that `m` names is a skeleton: headers of which a sample has still to be proved.
//!
//! [`UnwrittenHeaders`] knows which headers of a tree changed, and makes batches of them. [`HeaderStore`] brings one
//! batch after another to the disk, in whatever thread it lives. After each batch the store holds a chain from the
//! anchor that can be trusted, if a shorter one than the tree's while others wait.
//!
//! Nothing that is read is believed: it must link from the anchor down and up, obey bits and times, and pass the tip
//! that `m` names, or all of it is dropped and fetched anew. Proof of work of merge-mined headers was checked before
//! they were written, or a sample's was.

mod database;
mod records;
#[cfg(test)]
mod tests;
mod unwritten;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::database::{Database, Trouble};
use self::records::{HEADER_PREFIX, META_KEY, Record, check_meta, decode_record, header_key};
use crate::chain::tree::HeaderError;
use crate::chain::{HeaderTree, Height, PureHeader};

pub use self::database::{DiskGate, panic_is_guarded};
pub(super) use self::unwritten::BatchScope;
pub use self::unwritten::{HeaderBatch, HeaderChange, UnwrittenHeaders};

/// Records in a batch that need not be whole.
const SMALL_BATCH: usize = 252;

/// How the store fails.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// The files are damaged, and so are those that took their place.
    #[error("its files are damaged again and again ({reason})")]
    Damaged {
        /// What sled says.
        reason: String,
    },
    /// sled itself.
    #[error("{0}")]
    Database(sled::Error),
    /// The thread that writes ended, and nobody knows why.
    #[error("the thread that writes to the disk is gone")]
    WriterGone,
}

/// Why what was on disk was dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rebuilt {
    /// sled can't read its own files, or they lost what says what they hold.
    #[error("the database is damaged")]
    Damaged,
    /// It belongs to another network or was written by another version.
    #[error("the database is of another network or version")]
    Foreign,
    /// It starts from another anchor.
    #[error("the database starts from another trust anchor, at height {height}")]
    OtherAnchor {
        /// That anchor's height.
        height: Height,
    },
    /// A header is missing, or a record has the wrong size.
    #[error("the record of height {height} is missing or torn")]
    Torn {
        /// Where.
        height: Height,
    },
    /// A header breaks a rule.
    #[error("the header at height {height} does not fit: {error}")]
    Invalid {
        /// Where.
        height: Height,
        /// Which rule.
        error: HeaderError,
    },
    /// The last header isn't the one that was written last.
    #[error("the last header is not the one that was written last")]
    OtherTip,
}

/// How the writing of a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchEnd {
    /// It is on the disk.
    Written,
    /// The database turned out to be damaged, so a new one is needed, with all that the tree has. This is
    /// [`UnwrittenHeaders::start_anew`].
    Damaged,
}

/// The best chain's headers on disk. It blocks whoever writes to it, and needs no tree for that: the changes of a tree
/// are collected in [`UnwrittenHeaders`].
#[derive(Debug)]
pub struct HeaderStore {
    path: PathBuf,
    /// `None` after it could not be written to: sled takes nothing more then, and is opened again with the next batch.
    db: Option<Database>,
    /// Why nothing could be written when it was opened.
    unwritable: Option<StoreError>,
    /// Whether what is on the disk is moved aside, and not removed, when a new database takes its place.
    keep: bool,
    gate: DiskGate,
}

/// A store, what it does not have yet of the tree, and why what it had was dropped.
type Opened = (HeaderStore, UnwrittenHeaders, Option<Rebuilt>);

impl HeaderStore {
    /// Opens the store and fills the tree from it. What can't be trusted is dropped, and the reason told; it stays on
    /// the disk until there is something better, since a wrong anchor would cost good headers otherwise.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when there is a store that can't be read for another reason than damage. One that can't be written
    /// to is no error: see [`Self::take_unwritable`].
    pub fn open(path: &Path, tree: &mut HeaderTree) -> Result<Opened, StoreError> {
        let is_new = is_missing_or_empty(path).map_err(|error| StoreError::Io(Arc::new(error)))?;
        let mut store = Self {
            path: path.to_owned(),
            db: None,
            unwritable: None,
            keep: false,
            gate: DiskGate::default(),
        };
        let mut damaged = false;
        match Database::open(path) {
            Ok(db) => store.db = Some(db),
            Err(Trouble::Damaged(reason)) => {
                tracing::debug!(reason, "the header store can't be opened");
                damaged = true;
                match replace(path, true) {
                    Ok(db) => store.db = Some(db),
                    Err(error) => store.unwritable = Some(error),
                }
            }
            Err(Trouble::Failed(error)) if is_new => store.unwritable = Some(error),
            Err(Trouble::Failed(error)) => return store.read_copy(tree, error),
        }
        if is_new || damaged {
            // An empty database says what it is, so that one that lost everything can be told from a new one.
            if store.db.is_some()
                && let Err(trouble) = store.try_write(HeaderBatch::tip(tree))
            {
                store.db = None;
                store.unwritable = Some(trouble.into());
            }
            let unwritten = match store.unwritable {
                Some(_) => UnwrittenHeaders::with_distrusted_store(),
                None => UnwrittenHeaders::default(),
            };
            return Ok((store, unwritten, damaged.then_some(Rebuilt::Damaged)));
        }
        let loaded = store.load_or_drop(tree);
        match loaded {
            Ok((unwritten, reason)) => Ok((store, unwritten, reason)),
            Err(error) => {
                store.db = None;
                store.read_copy(tree, error)
            }
        }
    }

    /// Fills the tree; what can't be trusted is dropped, and the reason told.
    fn load_or_drop(&mut self, tree: &mut HeaderTree) -> Result<(UnwrittenHeaders, Option<Rebuilt>), StoreError> {
        let fresh = HeaderTree::new(tree.params(), *tree.anchor());
        let loaded = self.load(tree);
        if loaded.is_err() {
            *tree = fresh;
        }
        let reason = match loaded {
            Ok(()) => return Ok((UnwrittenHeaders::default(), None)),
            Err(Failure::Store(Trouble::Failed(error))) => return Err(error),
            Err(Failure::Store(Trouble::Damaged(reason))) => {
                tracing::debug!(reason, "the header store can't be read");
                Rebuilt::Damaged
            }
            Err(Failure::Distrust(reason)) => reason,
        };
        self.keep = true;
        Ok((UnwrittenHeaders::with_distrusted_store(), Some(reason)))
    }

    /// Reads a store that stands where nothing can be written, which sled can't: a copy of it elsewhere, which lives as
    /// long as this takes. Fails with `error`, for which it is done, where that is no help.
    fn read_copy(mut self, tree: &mut HeaderTree, error: StoreError) -> Result<Opened, StoreError> {
        let Ok(copy) = StoreCopy::make(&self.path) else {
            return Err(error);
        };
        match Database::open(&copy.0) {
            Ok(db) => self.db = Some(db),
            Err(_) => return Err(error),
        }
        let loaded = self.load_or_drop(tree);
        self.db = None;
        let Ok((unwritten, reason)) = loaded else {
            return Err(error);
        };
        self.unwritable = Some(error);
        Ok((self, unwritten, reason))
    }

    /// Says why nothing can be written for now, if that was found out when it was opened.
    pub fn take_unwritable(&mut self) -> Option<StoreError> {
        self.unwritable.take()
    }

    /// Has this asked before anything more is brought to the disk.
    pub(super) fn set_gate(&mut self, gate: DiskGate) {
        self.gate = gate;
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn database(&self) -> Result<&Database, Trouble> {
        self.db.as_ref().ok_or(Trouble::Damaged("it is closed".to_owned()))
    }

    fn load(&self, tree: &mut HeaderTree) -> Result<(), Failure> {
        let db = self.database()?;
        let meta = db.get(META_KEY)?.ok_or(Rebuilt::Damaged)?;
        let tip = check_meta(&meta, tree)?;
        let anchor = tree.anchor().height;
        // Genesis is known to a tree that is anchored there.
        let first = tree.lowest();
        let mut expected = first.map_or(anchor, |lowest| lowest.saturating_sub(1));
        if first != Some(0) {
            for record in db.range(header_key(0)..=header_key(anchor))?.rev() {
                let (height, header, _) = decode_record(&record?, expected)?;
                tree.backfill(header)
                    .map_err(|error| Rebuilt::Invalid { height, error })?;
                expected = height.saturating_sub(1);
            }
        }
        let mut expected = anchor.saturating_add(1);
        for record in db.range(header_key(expected)..)? {
            let record = record?;
            if record.0.first() != Some(&HEADER_PREFIX) {
                break;
            }
            let decoded = decode_record(&record, expected);
            if tree.tip().hash == tip {
                // What stands above has no proof yet: the rest of it is dropped where it does not fit.
                let restored = decoded.is_ok_and(|(_, header, proved)| restore_above(tree, header, proved).is_ok());
                if !restored {
                    break;
                }
            } else {
                let (height, header, proved) = decoded?;
                tree.restore(header, proved)
                    .map_err(|error| Rebuilt::Invalid { height, error })?;
            }
            expected = expected.saturating_add(1);
        }
        if tree.tip().hash != tip {
            return Err(Rebuilt::OtherTip.into());
        }
        Ok(())
    }

    /// Writes a batch, and returns when it is on the disk.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when it could not be brought there; what was there before still is, and the batch may be written
    /// again later.
    pub fn write(&mut self, batch: HeaderBatch) -> Result<BatchEnd, StoreError> {
        let anew = batch.anew;
        match self.open_and_write(batch) {
            Ok(()) => Ok(BatchEnd::Written),
            Err(Trouble::Damaged(reason)) if !anew => {
                tracing::warn!("the headers on disk are written anew: {reason}");
                Ok(BatchEnd::Damaged)
            }
            Err(trouble) => {
                self.db = None;
                Err(trouble.into())
            }
        }
    }

    fn open_and_write(&mut self, batch: HeaderBatch) -> Result<(), Trouble> {
        if batch.anew {
            self.db = None;
            self.db = Some(replace(&self.path, self.keep).map_err(Trouble::Failed)?);
            self.keep = false;
        } else if self.db.is_none() {
            let db = Database::open(&self.path)?;
            if db.get(META_KEY)?.is_none() {
                return Err(Trouble::Damaged("it lost what it said of itself".to_owned()));
            }
            self.db = Some(db);
        }
        self.try_write(batch)
    }

    fn try_write(&self, batch: HeaderBatch) -> Result<(), Trouble> {
        let db = self.database()?;
        write_records(db, &batch.before, &self.gate)?;
        let mut whole = sled::Batch::default();
        for (height, record) in &batch.whole {
            whole.insert(&header_key(*height), record.as_slice());
        }
        if let Some(top) = batch.top {
            for stored in db.range(header_key(top.saturating_add(1))..)? {
                let (key, _) = stored?;
                if key.first() == Some(&HEADER_PREFIX) {
                    whole.remove(key);
                }
            }
        }
        if let Some(meta) = batch.meta {
            whole.insert(META_KEY, meta);
        }
        db.apply(whole)?;
        db.flush(&self.gate)?;
        write_records(db, &batch.after, &self.gate)
    }
}

/// Writes records of which any number, from the first on, may be on the disk without the others. In small batches: sled
/// keeps what a batch replaces until its end.
fn write_records(db: &Database, records: &[(Height, Record)], gate: &DiskGate) -> Result<(), Trouble> {
    if records.is_empty() {
        return Ok(());
    }
    for records in records.chunks(SMALL_BATCH) {
        let mut batch = sled::Batch::default();
        for (height, record) in records {
            batch.insert(&header_key(*height), record.as_slice());
        }
        db.apply(batch)?;
    }
    db.flush(gate)
}

enum Failure {
    Store(Trouble),
    Distrust(Rebuilt),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Store(trouble)
    }
}

impl From<Rebuilt> for Failure {
    fn from(reason: Rebuilt) -> Self {
        Self::Distrust(reason)
    }
}

fn is_missing_or_empty(path: &Path) -> io::Result<bool> {
    match std::fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Moves a closed database that is no good out of the way, and puts an empty one in its place. The old one is kept where
/// that is wanted, in place of one that was kept before.
fn replace(path: &Path, keep: bool) -> Result<Database, StoreError> {
    let aside: PathBuf = path.with_extension(if keep { "damaged" } else { "old" });
    let removed = match std::fs::remove_dir_all(&aside) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => std::fs::remove_file(&aside),
        removed => removed,
    };
    let moved = match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => std::fs::rename(path, &aside),
    };
    match moved {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(StoreError::Io(Arc::new(error))),
        Ok(()) if keep => tracing::warn!("the headers on disk are moved aside, to {}", aside.display()),
        Ok(()) => {
            std::fs::remove_dir_all(&aside).map_err(|error| StoreError::Io(Arc::new(error)))?;
        }
        Err(_) => {}
    }
    Ok(Database::open(path)?)
}

/// A copy of a store's files, for this user alone; it is removed in the end.
struct StoreCopy(PathBuf);

impl StoreCopy {
    fn make(path: &Path) -> io::Result<Self> {
        // What is in memory is never on a disk that is full.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let copy = place.join(format!("isonym-{:032x}", rand::random::<u128>()));
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&copy)?;
        let copy = Self(copy);
        copy_files(path, &copy.0)?;
        Ok(copy)
    }
}

impl Drop for StoreCopy {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("{} stays behind: {error}", self.0.display());
        }
    }
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&copy)?;
            copy_files(&entry.path(), &copy)?;
        } else {
            std::fs::copy(entry.path(), copy)?;
        }
    }
    Ok(())
}

/// Puts a header back on top of the skeleton on the tree's tip.
fn restore_above(tree: &mut HeaderTree, header: PureHeader, proved: bool) -> Result<(), HeaderError> {
    if tree.skeleton().is_none() {
        tree.begin_skeleton(tree.tip().hash)?;
    }
    tree.restore_skeleton(header, proved)
}

//! sled, held at arm's length.
//!
//! sled 0.34 tells of some damage to its files by an error, of some by a panic (it writes a snapshot of page states
//! that it never expects to see), and of some not at all: the records are gone. So every call is guarded here, and
//! whoever reads compares what is there with what must be.

use std::cell::Cell;
use std::io;
use std::ops::RangeBounds;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::StoreError;

/// Bytes of sled's page cache: the store is read once and then only written, so little serves.
const CACHE: u64 = 1 << 20;

/// How sled's error begins when its own lock is taken: it has no kind of its own.
const LOCKED: &str = "could not acquire lock";

/// How often and how long to wait for that lock.
const LOCK_TRIES: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// sled's log, and the folder of what is too large for it.
const LOG: &str = "db";
const LARGE: &str = "blobs";

/// sled's settings, and its snapshots: how their names begin, and how they end while they are written.
const SETTINGS: &str = "conf";
const SNAPSHOT: &str = "snap.";
const UNFINISHED: &str = ".generating";

/// Removes the files of a folder by their names, as far as that can be; returns how many.
fn remove(folder: &Path, is_meant: impl Fn(&str) -> bool) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let entries = entries.filter_map(Result::ok);
    let meant = entries.filter(|entry| entry.file_name().to_str().is_some_and(&is_meant));
    meant.filter(|entry| std::fs::remove_file(entry.path()).is_ok()).count()
}

/// Makes sure that sled finds files and folders where it has its own: it takes others for an error of the disk, or waits
/// for ever for what a pipe brings.
fn check_kinds(folder: &Path) -> Result<(), Trouble> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        // Links are followed, as sled does.
        let Ok(metadata) = std::fs::metadata(entry.path()) else {
            continue;
        };
        let is_odd = match name {
            LARGE => !metadata.is_dir(),
            LOG | SETTINGS => !metadata.is_file(),
            name => name.starts_with(SNAPSHOT) && !metadata.is_file(),
        };
        if is_odd {
            let wanted = if name == LARGE { "folder" } else { "file" };
            return Err(Trouble::Damaged(format!("{name} is no {wanted}")));
        }
    }
    Ok(())
}

/// Why sled did not do what it was asked for.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// Its files are damaged: only new ones help.
    Damaged(String),
    /// The file system, or sled itself.
    Failed(StoreError),
}

impl From<sled::Error> for Trouble {
    fn from(error: sled::Error) -> Self {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        match error {
            sled::Error::Io(error) if matches!(error.kind(), InvalidData | UnexpectedEof) => {
                Self::Damaged(error.to_string())
            }
            sled::Error::Io(error) => Self::Failed(StoreError::Io(Arc::new(error))),
            sled::Error::Corruption { .. } | sled::Error::Unsupported(_) | sled::Error::ReportableBug(_) => {
                Self::Damaged(error.to_string())
            }
            sled::Error::CollectionNotFound(_) => Self::Failed(StoreError::Database(error)),
        }
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Failed(error) => error,
            Trouble::Damaged(reason) => Self::Damaged { reason },
        }
    }
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Says whether this thread is inside of a call whose panic is caught and dealt with, so that a panic hook need not
/// tell of it.
pub fn panic_is_guarded() -> bool {
    GUARDED.get()
}

fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, Trouble> {
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(before);
    match result {
        Ok(result) => result.map_err(Trouble::from),
        Err(_) => Err(Trouble::Damaged("sled panicked".to_owned())),
    }
}

/// An open database; after [`Self::close`] every call says that it is damaged.
#[derive(Debug)]
pub(super) struct Database(Option<sled::Db>);

/// What is asked before anything is brought to the disk. The real one speaks for itself; disks of tests are slow, full or
/// broken.
#[derive(Clone)]
pub struct DiskGate(Arc<dyn Fn() -> io::Result<()> + Send + Sync>);

impl DiskGate {
    /// Makes a gate that says what this says, in the thread that writes.
    pub fn new(pass: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(pass))
    }
}

impl Default for DiskGate {
    fn default() -> Self {
        Self::new(|| Ok(()))
    }
}

impl std::fmt::Debug for DiskGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DiskGate(..)")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.close();
    }
}

impl Database {
    /// Opens the database. What sled has left of work that it did not end is removed first, and where it is damaged also
    /// what it can make again from the rest: its snapshots, which only say where in its log it is, and its settings.
    pub(super) fn open(path: &Path) -> Result<Self, Trouble> {
        remove(path, |name| name.starts_with(SNAPSHOT) && name.ends_with(UNFINISHED));
        match Self::open_as_is(path) {
            Err(Trouble::Damaged(reason)) => {
                let is_made_again = |name: &str| name.starts_with(SNAPSHOT) || name == SETTINGS;
                if remove(path, is_made_again) == 0 {
                    return Err(Trouble::Damaged(reason));
                }
                tracing::warn!("the header store is opened without its damaged snapshot: {reason}");
                Self::open_as_is(path)
            }
            opened => opened,
        }
    }

    fn open_as_is(path: &Path) -> Result<Self, Trouble> {
        check_kinds(path)?;
        // Every batch is flushed by hand, so that an error reaches whoever wrote it.
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE)
            .flush_every_ms(None)
            .mode(sled::Mode::LowSpace);
        // Threads of an earlier database in this process may hold sled's lock for some milliseconds after its end. No
        // other process has it: the data folder's own lock sees to that.
        for _ in 0..LOCK_TRIES {
            match guarded(|| config.open()) {
                Err(Trouble::Failed(StoreError::Io(error))) if error.to_string().starts_with(LOCKED) => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                opened => return opened.map(|db| Self(Some(db))),
            }
        }
        guarded(|| config.open()).map(|db| Self(Some(db)))
    }

    /// Closes the database. Files that are damaged stay so.
    pub(super) fn close(&mut self) {
        if let Some(db) = self.0.take() {
            let closed = guarded(|| {
                drop(db);
                Ok(())
            });
            if let Err(trouble) = closed {
                tracing::debug!(?trouble, "closing the header store");
            }
        }
    }

    fn call<T>(&self, call: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, Trouble> {
        let db = self.0.as_ref().ok_or(Trouble::Damaged("it is closed".to_owned()))?;
        guarded(|| call(db))
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>, Trouble> {
        self.call(|db| db.get(key))
    }

    /// Iterates over the records of these keys. After an error nothing more comes.
    pub(super) fn range<const N: usize>(&self, keys: impl RangeBounds<[u8; N]>) -> Result<Records, Trouble> {
        let records = self.call(|db| Ok(db.range(keys)))?;
        Ok(Records(Some(records)))
    }

    /// Writes a batch as a whole. It is on the disk after the next flush.
    pub(super) fn apply(&self, batch: sled::Batch) -> Result<(), Trouble> {
        self.call(|db| db.apply_batch(batch))
    }

    /// Returns when all that was applied is on the disk.
    pub(super) fn flush(&self, gate: &DiskGate) -> Result<(), Trouble> {
        self.call(|db| {
            (gate.0)()?;
            db.flush().map(drop)
        })
    }
}

/// The records of a range of keys, from either end.
pub(super) struct Records(Option<sled::Iter>);

type Record = Result<(sled::IVec, sled::IVec), Trouble>;

impl Records {
    fn step(
        &mut self,
        step: impl FnOnce(&mut sled::Iter) -> Option<sled::Result<(sled::IVec, sled::IVec)>>,
    ) -> Option<Record> {
        let records = self.0.as_mut()?;
        let record = guarded(|| step(records).transpose()).transpose();
        if matches!(record, Some(Err(_))) {
            self.0 = None;
        }
        record
    }
}

impl Iterator for Records {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        self.step(Iterator::next)
    }
}

impl DoubleEndedIterator for Records {
    fn next_back(&mut self) -> Option<Record> {
        self.step(DoubleEndedIterator::next_back)
    }
}

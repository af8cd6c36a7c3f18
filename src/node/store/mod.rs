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
//! Nothing that is read is believed: it must link from the anchor down and up, obey bits and times, and pass the tip
//! that `m` names, or all of it is dropped and fetched anew. Proof of work of merge-mined headers was checked before
//! they were written, or a sample's was.

mod database;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;

use self::database::{Database, Trouble};
use crate::chain::tree::{HeaderError, UnverifiedChain};
use crate::chain::{HeaderTree, Height, PureHeader};

pub use self::database::panic_is_guarded;

/// The layout above.
const FORMAT: u8 = 2;

const META_KEY: &[u8] = b"m";
const META_SIZE: usize = 1 + 32 + 4 + 32 + 32;
const HEADER_PREFIX: u8 = b'h';
const RECORD_SIZE: usize = PureHeader::SIZE + 1;

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

/// The best chain's headers on disk.
#[derive(Debug)]
pub struct HeaderStore {
    path: PathBuf,
    db: Database,
    /// What is on disk is not trusted. It stays until there is something better, since a wrong `--anchor` would cost
    /// good headers otherwise.
    distrusted: bool,
}

impl HeaderStore {
    /// Opens the store and fills the tree from it. What can't be trusted is dropped, and the reason told.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the file system or the database fails for another reason than damage.
    pub fn open(path: &Path, tree: &mut HeaderTree) -> Result<(Self, Option<Rebuilt>), StoreError> {
        let is_new = is_missing_or_empty(path).map_err(|error| StoreError::Io(Arc::new(error)))?;
        let (db, damaged) = match Database::open(path) {
            Ok(db) => (db, false),
            Err(Trouble::Damaged(reason)) => {
                tracing::debug!(reason, "the header store can't be opened");
                (replace(path)?, true)
            }
            Err(Trouble::Failed(error)) => return Err(error),
        };
        let mut store = Self {
            path: path.to_owned(),
            db,
            distrusted: false,
        };
        if is_new || damaged {
            // An empty database says what it is, so that one that lost everything can be told from a new one.
            store.write(tree, Height::MAX, Height::MAX)?;
            return Ok((store, damaged.then_some(Rebuilt::Damaged)));
        }
        let fresh = HeaderTree::new(tree.params(), *tree.anchor());
        let reason = match store.load(tree) {
            Ok(()) => return Ok((store, None)),
            Err(Failure::Store(Trouble::Failed(error))) => return Err(error),
            Err(Failure::Store(Trouble::Damaged(reason))) => {
                tracing::debug!(reason, "the header store can't be read");
                Rebuilt::Damaged
            }
            Err(Failure::Distrust(reason)) => reason,
        };
        *tree = fresh;
        store.distrusted = true;
        Ok((store, Some(reason)))
    }

    fn load(&self, tree: &mut HeaderTree) -> Result<(), Failure> {
        let meta = self.db.get(META_KEY)?.ok_or(Rebuilt::Damaged)?;
        let tip = check_meta(&meta, tree)?;
        let anchor = tree.anchor().height;
        // Genesis is known to a tree that is anchored there.
        let first = tree.lowest();
        let mut expected = first.map_or(anchor, |lowest| lowest.saturating_sub(1));
        if first != Some(0) {
            for record in self.db.range(header_key(0)..=header_key(anchor))?.rev() {
                let (height, header, _) = decode_record(&record?, expected)?;
                tree.backfill(header)
                    .map_err(|error| Rebuilt::Invalid { height, error })?;
                expected = height.saturating_sub(1);
            }
        }
        let mut expected = anchor.saturating_add(1);
        for record in self.db.range(header_key(expected)..)? {
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

    /// Writes the tree's headers of these heights, those of a skeleton on its tip among them, and drops what is stored
    /// above, as one batch. A database that is not trusted, or turns out to be damaged, gives way to a new one with all that the
    /// tree has.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the batch could not be brought to the disk; what was there before still is.
    pub fn write(&mut self, tree: &HeaderTree, from: Height, to: Height) -> Result<(), StoreError> {
        self.write_or_replace(tree, |store| store.try_write(tree, from, to))
    }

    /// Notes that the headers of these heights were proved, and which tip the tree has: headers that were stored as a
    /// skeleton may be part of its best chain now.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub fn write_proved(&mut self, tree: &HeaderTree, heights: &[Height]) -> Result<(), StoreError> {
        self.write_or_replace(tree, |store| {
            let proved = heights
                .iter()
                .filter_map(|height| Some((*height, tree.header_at(*height)?, true)));
            store.write_records(proved)?;
            let mut batch = sled::Batch::default();
            batch.insert(META_KEY, meta(tree, tree.tip().hash));
            store.db.write(batch)
        })
    }

    fn write_or_replace(
        &mut self,
        tree: &HeaderTree,
        write: impl FnOnce(&Self) -> Result<(), Trouble>,
    ) -> Result<(), StoreError> {
        if !self.distrusted {
            match write(self) {
                Ok(()) => return Ok(()),
                Err(Trouble::Failed(error)) => return Err(error),
                Err(Trouble::Damaged(reason)) => tracing::warn!("the headers on disk are written anew: {reason}"),
            }
        }
        self.distrusted = true;
        self.db.close();
        self.db = replace(&self.path)?;
        self.try_write(tree, 0, Height::MAX)?;
        self.distrusted = false;
        Ok(())
    }

    fn try_write(&self, tree: &HeaderTree, from: Height, to: Height) -> Result<(), Trouble> {
        let mut batch = sled::Batch::default();
        let tip = tree.tip();
        for (height, header) in tree.best_chain(from).take_while(|(height, _)| *height <= to) {
            let proved = tree.is_proved(height).unwrap_or(false);
            batch.insert(&header_key(height), record(&header, proved).as_slice());
        }
        let above = tree.skeleton().filter(|skeleton| skeleton.base() == tip.hash);
        let top = above.map_or(tip.height, UnverifiedChain::top_height);
        for stored in self.db.range(header_key(top.saturating_add(1))..)? {
            let (key, _) = stored?;
            if key.first() == Some(&HEADER_PREFIX) {
                batch.remove(key);
            }
        }
        batch.insert(META_KEY, meta(tree, tip.hash));
        self.db.write(batch)?;
        let bones = above.into_iter().flat_map(|skeleton| skeleton.headers(from));
        self.write_records(bones.take_while(|(height, ..)| *height <= to))
    }

    /// Writes records of which any number, from the first on, may be on the disk without the others. In small batches:
    /// sled keeps what a batch replaces until its end.
    fn write_records(&self, records: impl Iterator<Item = (Height, PureHeader, bool)>) -> Result<(), Trouble> {
        let mut records = records.peekable();
        while records.peek().is_some() {
            let mut batch = sled::Batch::default();
            for (height, header, proved) in records.by_ref().take(SMALL_BATCH) {
                batch.insert(&header_key(height), record(&header, proved).as_slice());
            }
            self.db.write(batch)?;
        }
        Ok(())
    }
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

/// Moves a closed database that is no good out of the way, puts an empty one in its place, and removes the old one.
fn replace(path: &Path) -> Result<Database, StoreError> {
    let aside: PathBuf = path.with_extension("damaged");
    let moved = match std::fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => std::fs::rename(path, &aside).and_then(|()| std::fs::remove_dir_all(&aside)),
    };
    match moved {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(StoreError::Io(Arc::new(error))),
        _ => {}
    }
    Ok(Database::open(path)?)
}

fn header_key(height: Height) -> [u8; 5] {
    let [a, b, c, d] = height.to_be_bytes();
    [HEADER_PREFIX, a, b, c, d]
}

fn record(header: &PureHeader, proved: bool) -> [u8; RECORD_SIZE] {
    let mut record = [u8::from(proved); RECORD_SIZE];
    if let Some(bytes) = record.first_chunk_mut() {
        *bytes = *header.as_bytes();
    }
    record
}

fn decode_record(
    (key, value): &(sled::IVec, sled::IVec),
    expected: Height,
) -> Result<(Height, PureHeader, bool), Rebuilt> {
    let torn = Rebuilt::Torn { height: expected };
    if key.as_ref() != header_key(expected).as_slice() || value.len() != RECORD_SIZE {
        return Err(torn);
    }
    match (PureHeader::decode(value), value.last()) {
        (Some(header), Some(0)) => Ok((expected, header, false)),
        (Some(header), Some(1)) => Ok((expected, header, true)),
        _ => Err(torn),
    }
}

/// Puts a header back on top of the skeleton on the tree's tip.
fn restore_above(tree: &mut HeaderTree, header: PureHeader, proved: bool) -> Result<(), HeaderError> {
    if tree.skeleton().is_none() {
        tree.begin_skeleton(tree.tip().hash)?;
    }
    tree.restore_skeleton(header, proved)
}

fn meta(tree: &HeaderTree, tip: BlockHash) -> Vec<u8> {
    let anchor = tree.anchor();
    let mut bytes = Vec::with_capacity(META_SIZE);
    bytes.push(FORMAT);
    bytes.extend_from_slice(&tree.params().genesis.hash().to_byte_array());
    bytes.extend_from_slice(&anchor.height.to_be_bytes());
    bytes.extend_from_slice(&anchor.hash.to_byte_array());
    bytes.extend_from_slice(&tip.to_byte_array());
    bytes
}

/// Compares what the store says of itself with the tree's network and anchor; returns the tip that it names.
fn check_meta(stored: &[u8], tree: &HeaderTree) -> Result<BlockHash, Rebuilt> {
    let tip: [u8; 32] = match stored.split_last_chunk() {
        Some((_, tip)) if stored.len() == META_SIZE => *tip,
        _ => return Err(Rebuilt::Foreign),
    };
    let tip = BlockHash::from_byte_array(tip);
    let ours = meta(tree, tip);
    if stored == ours {
        return Ok(tip);
    }
    let network = ..33;
    if stored.get(network) != ours.get(network) {
        return Err(Rebuilt::Foreign);
    }
    let height = stored
        .get(33..37)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, Height::from_be_bytes);
    Err(Rebuilt::OtherAnchor { height })
}

//! The header store: the best chain's headers on disk, in sled.
//!
//! One tree, so that a batch is atomic:
//!
//! | key | value |
//! | --- | --- |
//! | `m` | format (1 byte), network's genesis hash (32), anchor height (4, big-endian), anchor hash (32), tip hash (32) |
//! | `h` + height (4, big-endian) | pure header (80) |
//!
//! Nothing that is read is believed: it must link from the anchor down and up, obey bits and times, and end in the tip
//! that `m` names, or all of it is dropped and fetched anew. Proof of work of merge-mined headers was checked before
//! they were written.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;

use crate::chain::tree::HeaderError;
use crate::chain::{HeaderTree, Height, PureHeader};

/// The layout above.
const FORMAT: u8 = 1;

const META_KEY: &[u8] = b"m";
const META_SIZE: usize = 1 + 32 + 4 + 32 + 32;
const HEADER_PREFIX: u8 = b'h';

/// Bytes of sled's page cache: the store is read once and then only written, so little serves.
const CACHE: u64 = 1 << 20;

/// How the store fails.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system.
    #[error("{0}; make room or name another data folder with --datadir DIR, then run again: nothing is lost")]
    Io(Arc<io::Error>),
    /// sled itself.
    #[error("{0}")]
    Database(sled::Error),
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => Self::Io(Arc::new(error)),
            other => Self::Database(other),
        }
    }
}

/// Why what was on disk was dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rebuilt {
    /// sled can't read its own files.
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
pub(super) struct Store {
    db: sled::Db,
    /// What is on disk is not trusted. It stays until there is something better, since a wrong `--anchor` would cost
    /// good headers otherwise.
    distrusted: Cell<bool>,
}

impl Store {
    /// Opens the store and fills the tree from it. What can't be trusted is dropped, and the reason told.
    pub(super) fn open(path: &Path, tree: &mut HeaderTree) -> Result<(Self, Option<Rebuilt>), StoreError> {
        let (db, damaged) = match open_db(path) {
            Ok(db) => (db, None),
            Err(
                error @ (sled::Error::Corruption { .. } | sled::Error::Unsupported(_) | sled::Error::ReportableBug(_)),
            ) => {
                tracing::debug!(%error, "the header store can't be read");
                remove(path)?;
                (open_db(path)?, Some(Rebuilt::Damaged))
            }
            Err(error) => return Err(error.into()),
        };
        let store = Self {
            db,
            distrusted: Cell::new(false),
        };
        let fresh = HeaderTree::new(tree.params(), *tree.anchor());
        match store.load(tree) {
            Ok(()) => Ok((store, damaged)),
            Err(Failure::Store(error)) => Err(error),
            Err(Failure::Distrust(reason)) => {
                *tree = fresh;
                store.distrusted.set(true);
                Ok((store, Some(reason)))
            }
        }
    }

    fn load(&self, tree: &mut HeaderTree) -> Result<(), Failure> {
        let Some(meta) = self.db.get(META_KEY).map_err(StoreError::from)? else {
            return if self.db.is_empty() {
                Ok(())
            } else {
                Err(Rebuilt::Foreign.into())
            };
        };
        let tip = check_meta(&meta, tree)?;
        let anchor = tree.anchor().height;
        // Genesis is known to a tree that is anchored there.
        let first = tree.lowest();
        let mut expected = first.map_or(anchor, |lowest| lowest.saturating_sub(1));
        if first != Some(0) {
            for entry in self.db.range(header_key(0)..=header_key(anchor)).rev() {
                let (height, header) = decode_entry(&entry.map_err(StoreError::from)?, expected)?;
                tree.backfill(header)
                    .map_err(|error| Rebuilt::Invalid { height, error })?;
                expected = height.saturating_sub(1);
            }
        }
        let mut expected = anchor.saturating_add(1);
        for entry in self.db.range(header_key(expected)..) {
            let entry = entry.map_err(StoreError::from)?;
            if entry.0.first() != Some(&HEADER_PREFIX) {
                break;
            }
            let (height, header) = decode_entry(&entry, expected)?;
            tree.restore(header)
                .map_err(|error| Rebuilt::Invalid { height, error })?;
            expected = expected.saturating_add(1);
        }
        if tree.tip().hash != tip {
            return Err(Rebuilt::OtherTip.into());
        }
        Ok(())
    }

    /// Writes the tree's headers of these heights, and drops those above the tip that a reorganisation left, as one
    /// batch.
    pub(super) fn write(&self, tree: &HeaderTree, from: Height, to: Height) -> Result<(), StoreError> {
        if self.distrusted.replace(false) {
            self.db.clear()?;
        }
        let mut batch = sled::Batch::default();
        for (height, header) in tree.best_chain(from).take_while(|(height, _)| *height <= to) {
            batch.insert(&header_key(height), header.as_bytes().as_slice());
        }
        let tip = tree.tip();
        for key in self.db.range(header_key(tip.height.saturating_add(1))..).keys() {
            let key = key?;
            if key.first() == Some(&HEADER_PREFIX) {
                batch.remove(key);
            }
        }
        batch.insert(META_KEY, meta(tree, tip.hash));
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        Ok(())
    }
}

enum Failure {
    Store(StoreError),
    Distrust(Rebuilt),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Rebuilt> for Failure {
    fn from(reason: Rebuilt) -> Self {
        Self::Distrust(reason)
    }
}

fn open_db(path: &Path) -> sled::Result<sled::Db> {
    // Every batch is flushed by hand, so that an error reaches whoever wrote it.
    sled::Config::new()
        .path(path)
        .cache_capacity(CACHE)
        .flush_every_ms(None)
        .mode(sled::Mode::LowSpace)
        .open()
}

/// Moves a database that can't be read out of the way, and removes it.
fn remove(path: &Path) -> Result<(), StoreError> {
    let aside: PathBuf = path.with_extension("damaged");
    let moved = match std::fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => std::fs::rename(path, &aside).and_then(|()| std::fs::remove_dir_all(&aside)),
    };
    moved.map_err(|error| StoreError::Io(Arc::new(error)))
}

fn header_key(height: Height) -> [u8; 5] {
    let [a, b, c, d] = height.to_be_bytes();
    [HEADER_PREFIX, a, b, c, d]
}

fn decode_entry((key, value): &(sled::IVec, sled::IVec), expected: Height) -> Result<(Height, PureHeader), Rebuilt> {
    let torn = Rebuilt::Torn { height: expected };
    if key.as_ref() != header_key(expected).as_slice() || value.len() != PureHeader::SIZE {
        return Err(torn);
    }
    PureHeader::decode(value).map(|header| (expected, header)).ok_or(torn)
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

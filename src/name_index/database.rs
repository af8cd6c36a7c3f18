//! The index of names in a file, by redb: its memory has a bound, and a process that is killed loses the last blocks alone.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;
use redb::backends::FileBackend;
use redb::{
    Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table,
    TableDefinition, WriteTransaction,
};

use super::{Covered, IndexError, NextBlock, UNDO_DEPTH, Undo, name_key, name_of_key, updated_key};
use crate::chain::{Height, Params};
use crate::name::NameId;
use crate::name::proof::{HeldName, block_operations};

type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;
type UndoRows = TableDefinition<'static, (u32, u32), &'static [u8]>;
type Hashes = TableDefinition<'static, u32, [u8; 32]>;
type Heights = TableDefinition<'static, &'static str, u32>;

const NAMES: Rows = TableDefinition::new("names");
const UPDATED: Rows = TableDefinition::new("updated");
const UNDO: UndoRows = TableDefinition::new("undo");
const BLOCKS: Hashes = TableDefinition::new("blocks");
const COVERED: Heights = TableDefinition::new("covered");

const FROM: &str = "from";
const NEXT: &str = "next";
const UNDO_FROM: &str = "undo-from";

/// Bytes of redb's page cache. A lookup needs a handful of pages, which the system caches anyway.
const CACHE: usize = 4 << 20;

/// All living names, in a file.
#[derive(Debug)]
pub struct NameIndex {
    database: Database,
    path: PathBuf,
    params: &'static Params,
}

/// The tables that a block changes.
struct Tables<'t> {
    names: Table<'t, &'static [u8], &'static [u8]>,
    updated: Table<'t, &'static [u8], &'static [u8]>,
    undo: Table<'t, (u32, u32), &'static [u8]>,
    blocks: Table<'t, u32, [u8; 32]>,
    covered: Table<'t, &'static str, u32>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, IndexError> {
        Ok(Self {
            names: transaction.open_table(NAMES)?,
            updated: transaction.open_table(UPDATED)?,
            undo: transaction.open_table(UNDO)?,
            blocks: transaction.open_table(BLOCKS)?,
            covered: transaction.open_table(COVERED)?,
        })
    }

    fn height(&self, what: &str) -> Result<Option<Height>, IndexError> {
        Ok(self.covered.get(what)?.map(|row| row.value()))
    }
}

/// What a block changes is numbered, so that it can be undone in the opposite order.
struct Undoer {
    height: Height,
    number: u32,
    /// Whether the block may have to be taken back at all.
    is_kept: bool,
}

impl Undoer {
    fn note(&mut self, tables: &mut Tables<'_>, undo: &Undo<'_>) -> Result<(), IndexError> {
        if self.is_kept {
            let key = (self.height, self.number);
            tables.undo.insert(key, undo.to_bytes().as_slice())?;
            self.number = self.number.saturating_add(1);
        }
        Ok(())
    }
}

impl NameIndex {
    /// Opens the index of a network in a file, or makes it.
    ///
    /// # Errors
    ///
    /// [`IndexError::Io`], [`IndexError::Damaged`] where [`Self::remove`] helps.
    pub fn open(path: &Path, params: &'static Params) -> Result<Self, IndexError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(redb::Error::Io)?;
        let backend = FileBackend::new(file)?;
        let database = Database::builder().set_cache_size(CACHE).create_with_backend(backend)?;
        let index = Self {
            database,
            path: path.to_owned(),
            params,
        };
        // Readers find all tables from the beginning.
        let transaction = index.database.begin_write()?;
        Tables::open(&transaction)?;
        transaction.commit()?;
        Ok(index)
    }

    /// Removes the file of an index.
    ///
    /// # Errors
    ///
    /// [`IndexError::Io`].
    pub fn remove(path: &Path) -> Result<(), IndexError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(redb::Error::Io(error).into()),
            _ => Ok(()),
        }
    }

    /// Returns how many bytes the file takes.
    pub fn file_size(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// Returns which blocks the names are of; `None` before the first one.
    ///
    /// # Errors
    ///
    /// [`IndexError::Io`], [`IndexError::Damaged`].
    pub fn covered(&self) -> Result<Option<Covered>, IndexError> {
        let snapshot = self.database.begin_read()?;
        covered(&snapshot.open_table(COVERED)?, &snapshot.open_table(BLOCKS)?)
    }

    /// Returns the hash of a block that was read, as far as it is kept.
    ///
    /// # Errors
    ///
    /// [`IndexError::Io`], [`IndexError::Damaged`].
    pub fn hash_at(&self, height: Height) -> Result<Option<BlockHash>, IndexError> {
        let snapshot = self.database.begin_read()?;
        let hash = snapshot.open_table(BLOCKS)?.get(height)?;
        Ok(hash.map(|row| BlockHash::from_byte_array(row.value())))
    }

    /// Returns how many names there are.
    ///
    /// # Errors
    ///
    /// [`IndexError::Io`], [`IndexError::Damaged`].
    pub fn names(&self) -> Result<u64, IndexError> {
        Ok(self.database.begin_read()?.open_table(NAMES)?.len()?)
    }

    /// Returns a name's newest operation, if it is a living name, and which blocks that is by.
    ///
    /// # Errors
    ///
    /// [`IndexError::Io`], [`IndexError::Damaged`].
    pub fn find(&self, name: &NameId) -> Result<(Option<Covered>, Option<HeldName>), IndexError> {
        let snapshot = self.database.begin_read()?;
        let covered = covered(&snapshot.open_table(COVERED)?, &snapshot.open_table(BLOCKS)?)?;
        let row = snapshot.open_table(NAMES)?.get(name_key(name).as_slice())?;
        let held = row.map(|row| HeldName::from_bytes(row.value()).ok_or_else(|| IndexError::bad_row("names")));
        Ok((covered, held.transpose()?))
    }

    /// Hands names to a closure in their order, from one on, until it returns `false`. Returns which blocks they are by.
    ///
    /// # Errors
    ///
    /// [`IndexError::Io`], [`IndexError::Damaged`].
    pub fn scan(
        &self,
        start: &NameId,
        mut take: impl FnMut(NameId, HeldName) -> bool,
    ) -> Result<Option<Covered>, IndexError> {
        let snapshot = self.database.begin_read()?;
        let covered = covered(&snapshot.open_table(COVERED)?, &snapshot.open_table(BLOCKS)?)?;
        let names: ReadOnlyTable<_, _> = snapshot.open_table(NAMES)?;
        for row in names.range(name_key(start).as_slice()..)? {
            let (key, row) = row?;
            let name = name_of_key(key.value());
            let (name, held) = name
                .zip(HeldName::from_bytes(row.value()))
                .ok_or_else(|| IndexError::bad_row("names"))?;
            if !take(name, held) {
                break;
            }
        }
        Ok(covered)
    }

    /// Reads blocks, each on top of the one before; where nothing was read yet, the first one may have any height. `target`
    /// is how high the chain is: blocks so far below it that they will not be taken back leave nothing for that.
    /// With `is_lasting` all is on the disk when this returns, which it is else once a later call says so.
    ///
    /// # Errors
    ///
    /// [`IndexError::NotNext`], and the disk's; nothing of the blocks is taken then.
    pub fn read(&self, blocks: &[NextBlock], target: Height, is_lasting: bool) -> Result<(), IndexError> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(if is_lasting {
            Durability::Immediate
        } else {
            Durability::None
        })?;
        // What was killed opens at once then, without a look at all pages.
        transaction.set_quick_repair(is_lasting);
        let mut tables = Tables::open(&transaction)?;
        for next in blocks {
            self.read_block(&mut tables, next, target)?;
        }
        drop(tables);
        transaction.commit()?;
        Ok(())
    }

    fn read_block(&self, tables: &mut Tables<'_>, next: &NextBlock, target: Height) -> Result<(), IndexError> {
        let NextBlock { height, block } = next;
        let height = *height;
        let is_kept = height.saturating_add(UNDO_DEPTH) > target;
        let from = match (tables.height(FROM)?, tables.height(NEXT)?) {
            (Some(_), Some(expected)) if expected != height => {
                return Err(IndexError::NotNext { expected, got: height });
            }
            (Some(from), Some(_)) => from,
            _ => {
                tables.covered.insert(FROM, height)?;
                height
            }
        };
        if tables.height(UNDO_FROM)?.is_none() || !is_kept {
            let undo_from = if is_kept { height } else { height.saturating_add(1) };
            tables.covered.insert(UNDO_FROM, undo_from)?;
        }
        let mut undoer = Undoer {
            height,
            number: 0,
            is_kept,
        };
        self.expire(tables, &mut undoer)?;
        for operation in block_operations(block, height) {
            let key = name_key(operation.name());
            let before = tables.names.get(key.as_slice())?.map(|row| row.value().to_vec());
            let held = before.as_deref().map(HeldName::from_bytes);
            let held = match held {
                Some(None) => return Err(IndexError::bad_row("names")),
                held => held.flatten(),
            };
            let after = operation.follow(held.as_ref(), from, self.params);
            let undo = Undo {
                name_key: &key,
                before: before.as_deref().unwrap_or_default(),
            };
            undoer.note(tables, &undo)?;
            tables.names.insert(key.as_slice(), after.to_bytes().as_slice())?;
            tables.updated.insert(updated_key(height, &key).as_slice(), &[][..])?;
        }
        tables.blocks.insert(height, block.hash().to_byte_array())?;
        tables.covered.insert(NEXT, height.saturating_add(1))?;
        forget_below(tables, height.saturating_sub(UNDO_DEPTH))
    }

    /// Takes out the names that expire with a block.
    fn expire(&self, tables: &mut Tables<'_>, undoer: &mut Undoer) -> Result<(), IndexError> {
        let depth = self.params.expiration_depth(undoer.height);
        let Some(last) = undoer.height.checked_sub(depth) else {
            return Ok(());
        };
        let end = last.saturating_add(1).to_be_bytes();
        let mut updated = Vec::new();
        for row in tables.updated.range(..&end[..])? {
            updated.push(row?.0.value().to_vec());
        }
        for key in updated {
            tables.updated.remove(key.as_slice())?;
            let (height, name_key) = key.split_first_chunk().ok_or_else(|| IndexError::bad_row("updated"))?;
            let row = tables.names.get(name_key)?.map(|row| row.value().to_vec());
            let Some(row) = row else { continue };
            let held = HeldName::from_bytes(&row).ok_or_else(|| IndexError::bad_row("names"))?;
            // Where it was updated later, that is noted at a later height.
            if held.height() == Height::from_be_bytes(*height) {
                tables.names.remove(name_key)?;
                let undo = Undo { name_key, before: &row };
                undoer.note(tables, &undo)?;
            }
        }
        Ok(())
    }

    /// Forgets all that was read.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn clear(&self) -> Result<(), IndexError> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.delete_table(NAMES)?;
        transaction.delete_table(UPDATED)?;
        transaction.delete_table(UNDO)?;
        transaction.delete_table(BLOCKS)?;
        transaction.delete_table(COVERED)?;
        Tables::open(&transaction)?;
        transaction.commit()?;
        Ok(())
    }

    /// Takes blocks back, from the highest one down to a height, which is the next one to be read then.
    ///
    /// # Errors
    ///
    /// [`IndexError::TooDeep`] where what is kept does not reach back so far, and the disk's; nothing is taken back then.
    pub fn take_back(&self, to: Height) -> Result<(), IndexError> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_quick_repair(true);
        let mut tables = Tables::open(&transaction)?;
        let Some(next) = tables.height(NEXT)? else {
            return Ok(());
        };
        let from = tables.height(FROM)?.unwrap_or_default();
        let undo_from = tables.height(UNDO_FROM)?.unwrap_or(next);
        if to < undo_from || to <= from {
            return Err(IndexError::TooDeep { height: to });
        }
        for height in (to..next).rev() {
            take_block_back(&mut tables, height)?;
        }
        tables.covered.insert(NEXT, to)?;
        drop(tables);
        transaction.commit()?;
        Ok(())
    }
}

/// Returns which blocks the names are of.
fn covered(
    heights: &impl ReadableTable<&'static str, u32>,
    blocks: &impl ReadableTable<u32, [u8; 32]>,
) -> Result<Option<Covered>, IndexError> {
    let (Some(from), Some(next)) = (heights.get(FROM)?, heights.get(NEXT)?) else {
        return Ok(None);
    };
    let (from, next) = (from.value(), next.value());
    let tip = next.checked_sub(1).ok_or_else(|| IndexError::bad_row("covered"))?;
    let hash = blocks.get(tip)?.ok_or_else(|| IndexError::bad_row("blocks"))?;
    Ok(Some(Covered {
        from,
        tip,
        hash: BlockHash::from_byte_array(hash.value()),
    }))
}

/// Drops what it would take to take a block back, of all below a height.
fn forget_below(tables: &mut Tables<'_>, end: Height) -> Result<(), IndexError> {
    let mut keys = Vec::new();
    for row in tables.undo.range(..(end, 0))? {
        keys.push(row?.0.value());
    }
    for key in keys {
        tables.undo.remove(key)?;
    }
    let mut heights = Vec::new();
    for row in tables.blocks.range(..end)? {
        heights.push(row?.0.value());
    }
    for height in heights {
        tables.blocks.remove(height)?;
    }
    if tables.height(UNDO_FROM)?.is_some_and(|from| from < end) {
        tables.covered.insert(UNDO_FROM, end)?;
    }
    Ok(())
}

fn take_block_back(tables: &mut Tables<'_>, height: Height) -> Result<(), IndexError> {
    let mut rows = Vec::new();
    for row in tables.undo.range((height, 0)..=(height, u32::MAX))? {
        let (key, row) = row?;
        rows.push((key.value(), row.value().to_vec()));
    }
    let mut updated = Vec::new();
    for row in tables.updated.range(&height.to_be_bytes()[..]..)? {
        updated.push(row?.0.value().to_vec());
    }
    for key in updated {
        tables.updated.remove(key.as_slice())?;
    }
    for (key, row) in rows.into_iter().rev() {
        tables.undo.remove(key)?;
        let undo = Undo::from_bytes(&row).ok_or_else(|| IndexError::bad_row("undo"))?;
        if undo.before.is_empty() {
            tables.names.remove(undo.name_key)?;
            continue;
        }
        let before = HeldName::from_bytes(undo.before).ok_or_else(|| IndexError::bad_row("undo"))?;
        tables.names.insert(undo.name_key, undo.before)?;
        // What had expired was dropped there too.
        let key = updated_key(before.height(), undo.name_key);
        tables.updated.insert(key.as_slice(), &[][..])?;
    }
    tables.blocks.remove(height)?;
    Ok(())
}

//! The edge: a window in a file. It is made once, and read block by block: what is held of it in memory are two tables,
//! with about 100 bytes for each block and 12 for each name.
//!
//! | bytes | |
//! | --- | --- |
//! | 16 | what file it is |
//! | 20 | the plan: seed (8), blocks before the window, blocks, names |
//! | any | the blocks as serialized, genesis first |
//! | 48 each | of each block: where it begins (8), bytes of header and AuxPoW (4), bytes of the whole (4), its hash (32) |
//! | 12 each | of each name with an operation: its number, its version, the height of the newest operation |
//! | 16 | where the rows of blocks begin (8), how many those of blocks and of names are |
//!
//! Numbers are little-endian, of four bytes where nothing else is said.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;

use super::{Generator, Plan, Registered};
use crate::blocks::Blocks;
use isonym_core::chain::{Height, PureHeader};

/// The first bytes of such a file; what another version of the generator makes has others.
const MAGIC: &[u8; 16] = b"isonym window 01";

/// Bytes before the blocks.
const BEGIN: usize = 36;

/// Bytes of a block's row.
const ROW: usize = 48;

/// Bytes of a name's row.
const NAME_ROW: usize = 12;

/// Bytes behind the tables.
const END: usize = 16;

/// Why a window can't be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WindowError {
    /// The file can't be written or read.
    #[error("the file of the window can't be used")]
    File(#[from] io::Error),
    /// The file is not whole, not one of a window, or that of another plan.
    #[error("the file is not the window that was planned")]
    NotTheWindow,
}

/// Where a block is in the file.
#[derive(Clone, Copy, Debug)]
struct Row {
    at: u64,
    header: u32,
    whole: u32,
    hash: BlockHash,
}

/// A window in a file. It is there for reading alone, by any number of threads.
#[derive(Debug)]
pub struct WindowFile {
    file: Mutex<File>,
    rows: Vec<Row>,
    heights: BTreeMap<BlockHash, Height>,
    names: Vec<Registered>,
}

impl WindowFile {
    /// Opens the file at `path`, or makes it if it is not there or not that of the plan. Mainnet's takes a minute or two,
    /// and 250 MB. Within a process it is made once; of several processes each makes one, and the last one's stays.
    ///
    /// # Errors
    ///
    /// [`WindowError::File`].
    pub fn open_or_make(path: &Path, plan: Plan) -> Result<Self, WindowError> {
        static MAKING: Mutex<()> = Mutex::new(());
        let _turn = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(window) = Self::open(path, plan) {
            return Ok(window);
        }
        let passing = path.with_extension(format!("{}.part", std::process::id()));
        let made = make(&passing, plan).and_then(|()| Ok(fs::rename(&passing, path)?));
        if made.is_err() {
            let _ = fs::remove_file(&passing);
        }
        made?;
        Self::open(path, plan)
    }

    /// Opens the file at `path`, which must be that of the plan.
    ///
    /// # Errors
    ///
    /// [`WindowError`].
    pub fn open(path: &Path, plan: Plan) -> Result<Self, WindowError> {
        let mut file = File::open(path)?;
        let mut begin = [0; BEGIN];
        file.read_exact(&mut begin)?;
        let size = file.metadata()?.len();
        if begin != first_bytes(plan) || size < length(BEGIN + END) {
            return Err(WindowError::NotTheWindow);
        }
        let tables_end = size - length(END);
        let end = read_at(&mut file, tables_end, END)?;
        let mut fields = Fields(&end);
        let (tables, blocks, names) = (fields.u64()?, fields.u32()?, fields.u32()?);
        let expected = u64::from(blocks) * length(ROW) + u64::from(names) * length(NAME_ROW);
        if blocks != plan.height() + 1 || names > plan.names || tables.checked_add(expected) != Some(tables_end) {
            return Err(WindowError::NotTheWindow);
        }
        let bytes = read_at(&mut file, tables, usize::try_from(expected).unwrap_or(0))?;
        let mut fields = Fields(&bytes);
        let rows: Vec<Row> = (0..blocks).map(|_| fields.row()).collect::<Result<_, _>>()?;
        let names = (0..names).map(|_| fields.registered()).collect::<Result<_, _>>()?;
        if rows
            .iter()
            .any(|row| row.header > row.whole || row.at.saturating_add(row.whole.into()) > tables)
        {
            return Err(WindowError::NotTheWindow);
        }
        let heights = rows.iter().map(|row| row.hash).zip(0..).collect();
        Ok(Self {
            file: Mutex::new(file),
            rows,
            heights,
            names,
        })
    }

    /// Returns the height of the last block.
    pub fn height(&self) -> Height {
        Height::try_from(self.rows.len().saturating_sub(1)).unwrap_or(Height::MAX)
    }

    /// Returns the hash of the block at a height.
    pub fn hash(&self, height: Height) -> Option<BlockHash> {
        self.rows.get(height as usize).map(|row| row.hash)
    }

    /// Returns the height of a block.
    pub fn find(&self, hash: &BlockHash) -> Option<Height> {
        self.heights.get(hash).copied()
    }

    /// Returns how many bytes all blocks have.
    pub fn size(&self) -> u64 {
        self.rows.iter().map(|row| u64::from(row.whole)).sum()
    }

    /// Returns what became of the names: of each the newest operation, those that have expired at the end too.
    pub fn names(&self) -> &[Registered] {
        &self.names
    }

    /// Returns the header of a block.
    ///
    /// # Errors
    ///
    /// [`WindowError::File`], and [`WindowError::NotTheWindow`] where the chain ends below.
    pub fn header(&self, height: Height) -> Result<PureHeader, WindowError> {
        let bytes = self.read(height, |_| length(PureHeader::SIZE))?;
        PureHeader::decode(&bytes).ok_or(WindowError::NotTheWindow)
    }

    /// Returns header and AuxPoW of a block as serialized.
    ///
    /// # Errors
    ///
    /// As [`Self::header`].
    pub fn full_header(&self, height: Height) -> Result<Vec<u8>, WindowError> {
        self.read(height, |row| row.header.into())
    }

    /// Returns a block as serialized, with its witness.
    ///
    /// # Errors
    ///
    /// As [`Self::header`].
    pub fn block(&self, height: Height) -> Result<Vec<u8>, WindowError> {
        self.read(height, |row| row.whole.into())
    }

    fn read(&self, height: Height, bytes: impl Fn(&Row) -> u64) -> Result<Vec<u8>, WindowError> {
        let row = self.rows.get(height as usize).ok_or(WindowError::NotTheWindow)?;
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(read_at(&mut file, row.at, usize::try_from(bytes(row)).unwrap_or(0))?)
    }
}

fn make(path: &Path, plan: Plan) -> Result<(), WindowError> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&first_bytes(plan))?;
    let mut at = length(BEGIN);
    let mut rows = Vec::new();
    let mut generator = Generator::new(plan);
    for block in generator.by_ref() {
        let bytes = block.to_bytes();
        file.write_all(&bytes)?;
        rows.extend_from_slice(&at.to_le_bytes());
        for size in [block.full_header.len(), bytes.len()] {
            rows.extend_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
        }
        rows.extend_from_slice(block.header.hash().as_byte_array());
        at += length(bytes.len());
    }
    file.write_all(&rows)?;
    let mut names: u32 = 0;
    for registered in generator.registered() {
        for field in [registered.index, registered.version, registered.height] {
            file.write_all(&field.to_le_bytes())?;
        }
        names += 1;
    }
    file.write_all(&at.to_le_bytes())?;
    file.write_all(&(plan.height() + 1).to_le_bytes())?;
    file.write_all(&names.to_le_bytes())?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

fn first_bytes(plan: Plan) -> [u8; BEGIN] {
    let mut bytes = [0; BEGIN];
    let fields = MAGIC.iter().copied().chain(plan.seed.to_le_bytes()).chain(
        [plan.before, plan.blocks, plan.names]
            .into_iter()
            .flat_map(u32::to_le_bytes),
    );
    bytes.iter_mut().zip(fields).for_each(|(byte, field)| *byte = field);
    bytes
}

fn read_at(file: &mut File, at: u64, size: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; size];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Reads the tables.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], WindowError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(WindowError::NotTheWindow)?;
        self.0 = rest;
        Ok(*field)
    }

    fn u32(&mut self) -> Result<u32, WindowError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, WindowError> {
        self.take().map(u64::from_le_bytes)
    }

    fn row(&mut self) -> Result<Row, WindowError> {
        Ok(Row {
            at: self.u64()?,
            header: self.u32()?,
            whole: self.u32()?,
            hash: BlockHash::from_byte_array(self.take()?),
        })
    }

    fn registered(&mut self) -> Result<Registered, WindowError> {
        Ok(Registered {
            index: self.u32()?,
            version: self.u32()?,
            height: self.u32()?,
        })
    }
}

impl Blocks for WindowFile {
    fn height(&self) -> Height {
        self.height()
    }

    fn hash(&self, height: Height) -> Option<BlockHash> {
        self.hash(height)
    }

    fn find(&self, hash: &BlockHash) -> Option<Height> {
        self.find(hash)
    }

    fn full_header(&self, hash: &BlockHash) -> Option<Vec<u8>> {
        self.full_header(self.find(hash)?).ok()
    }

    fn block(&self, hash: &BlockHash) -> Option<Vec<u8>> {
        self.block(self.find(hash)?).ok()
    }
}

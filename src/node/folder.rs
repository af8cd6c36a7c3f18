//! The data folder of a network: made private, and held by one process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::NodeError;

/// The file whose lock says that a process uses the folder. It stays empty.
const LOCK_FILE: &str = "lock";

/// A data folder that this process holds until it is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder where it is missing, readable by its owner alone, and takes its lock.
    pub(super) fn open(path: &Path) -> Result<Self, NodeError> {
        let unusable = |error: io::Error| NodeError::Folder {
            path: path.to_owned(),
            error: error.into(),
        };
        create_private(path).map_err(unusable)?;
        let mut options = OpenOptions::new();
        let lock = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK_FILE))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(NodeError::FolderInUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a small text file; `None` when it isn't there.
    pub(super) fn read(&self, name: &str, max: u64) -> Result<Option<String>, NodeError> {
        let path = self.file(name);
        let failed = |error: io::Error| NodeError::Folder {
            path: path.clone(),
            error: error.into(),
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut text = String::new();
        file.take(max.saturating_add(1))
            .read_to_string(&mut text)
            .map_err(failed)?;
        if text.len() as u64 > max {
            return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "file is too large")));
        }
        Ok(Some(text))
    }

    /// Replaces a small file whole: whoever reads it, whenever the power fails, sees the old text or the new one.
    pub(super) fn replace(&self, name: &str, text: &str) -> Result<(), NodeError> {
        let path = self.file(name);
        let fresh = self.file(&format!("{name}.new"));
        let write = || -> io::Result<()> {
            let mut file = File::create(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)
        };
        write().map_err(|error| NodeError::Folder {
            path: path.clone(),
            error: error.into(),
        })
    }
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

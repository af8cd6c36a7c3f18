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
    /// Makes the folder where it is missing, readable by its owner alone, and takes its lock. A folder that others own or
    /// may write to is refused: they could have us write elsewhere, or believe what they put there.
    pub(super) fn open(path: &Path) -> Result<Self, NodeError> {
        let unusable = |error: io::Error| NodeError::Folder {
            path: path.to_owned(),
            error: error.into(),
        };
        create_private(path).map_err(unusable)?;
        check_owner(path)?;
        let lock = open_lock(path).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(NodeError::FolderInUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where a file of the folder is.
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

    /// Gives a file another name, in the place of what had it.
    pub(super) fn put_aside(&self, name: &str, aside: &str) -> Result<(), NodeError> {
        let path = self.file(name);
        fs::rename(&path, self.file(aside)).map_err(|error| NodeError::Folder {
            path,
            error: error.into(),
        })
    }

    /// Replaces a small file whole: whoever reads it, whenever the power fails, sees the old text or the new one.
    pub(super) fn replace(&self, name: &str, text: &str) -> Result<(), NodeError> {
        let path = self.file(name);
        let fresh = self.file(&format!("{name}.new"));
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            options.create(true).truncate(true).write(true);
            let mut file = no_link(&mut options).open(&fresh)?;
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

/// Opens what is locked: a file of its own, or where that can't be made, on a disk that is full or for reading alone, the
/// folder itself.
fn open_lock(folder: &Path) -> io::Result<File> {
    let file = folder.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    let Err(error) = no_link(&mut options).open(&file) else {
        return no_link(OpenOptions::new().read(true)).open(&file);
    };
    if !takes_nothing(&error) {
        return Err(error);
    }
    let found = no_link(OpenOptions::new().read(true)).open(&file);
    found.or_else(|_| File::open(folder))
}

/// Says whether a file can't be written since its disk is full, or for reading alone.
pub fn takes_nothing(error: &io::Error) -> bool {
    [
        io::ErrorKind::ReadOnlyFilesystem,
        io::ErrorKind::StorageFull,
        io::ErrorKind::QuotaExceeded,
    ]
    .contains(&error.kind())
}

/// Has a file opened only where it is no symbolic link: nothing is written where somebody else has it point to.
#[cfg(unix)]
fn no_link(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = rustix::fs::OFlags::NOFOLLOW.bits();
    options
        .mode(0o600)
        .custom_flags(i32::try_from(flags).unwrap_or_default())
}

#[cfg(not(unix))]
fn no_link(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Refuses a folder that somebody else than this user or root owns, or may write to.
#[cfg(unix)]
fn check_owner(path: &Path) -> Result<(), NodeError> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(path).map_err(|error| NodeError::Folder {
        path: path.to_owned(),
        error: error.into(),
    })?;
    let (owner, mode) = (metadata.uid(), metadata.mode());
    let path = path.to_owned();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(NodeError::FolderOfOther { path, owner });
    }
    if mode & 0o022 != 0 {
        return Err(NodeError::FolderOpen { path });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_owner(_: &Path) -> Result<(), NodeError> {
    Ok(())
}

/// Makes a folder where it is missing, with those above it, readable by its owner alone.
///
/// # Errors
///
/// As the system says.
#[cfg(unix)]
pub fn create_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes a folder where it is missing, with those above it.
///
/// # Errors
///
/// As the system says.
#[cfg(not(unix))]
pub fn create_private(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        for (mode, is_refused) in [(0o700, false), (0o755, false), (0o775, true), (0o702, true)] {
            fs::set_permissions(temp.path(), fs::Permissions::from_mode(mode)).unwrap();
            let opened = Folder::open(temp.path());
            let refused = matches!(opened, Err(NodeError::FolderOpen { .. }));
            assert_eq!(refused, is_refused, "{mode:o}: {opened:?}");
        }
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let (temp, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = Folder::open(temp.path()).unwrap();
        let target = other.path().join("target");
        fs::write(&target, "theirs").unwrap();
        symlink(&target, temp.path().join("file.new")).unwrap();
        folder.replace("file", "ours").unwrap_err();
        symlink(&target, temp.path().join("other")).unwrap();
        folder.replace("other", "ours").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "theirs");
        drop(folder);
        fs::remove_file(temp.path().join(LOCK_FILE)).unwrap();
        symlink(&target, temp.path().join(LOCK_FILE)).unwrap();
        assert!(matches!(Folder::open(temp.path()), Err(NodeError::Folder { .. })));
    }
}

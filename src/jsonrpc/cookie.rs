//! The cookie file: credentials for whoever may read the data folder, new at each start.
//!
//! One line `__cookie__:` and 64 hex digits, without a line feed. Source: Namecoin Core `rpc/request.cpp`,
//! `GenerateAuthCookie`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use bitcoin::hex::DisplayHex as _;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use zeroize::Zeroizing;

use super::credentials::{COOKIE_USER, Credentials};

/// The usual name of the file, in the data folder.
pub const FILE_NAME: &str = ".cookie";

/// Longest cookie file that is read, in bytes.
const MAX_SIZE: u64 = 1024;

/// Bytes of ours. Room for them is made at once: what a growing string leaves behind is not wiped.
const LENGTH: usize = 128;

/// Who may read a cookie file. Source: Namecoin Core `init.cpp`, `-rpccookieperms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CookieReaders {
    /// Its owner.
    #[default]
    Owner,
    /// Its group as well.
    Group,
    /// Everybody.
    All,
}

impl CookieReaders {
    const fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group => 0o640,
            Self::All => 0o644,
        }
    }
}

/// A cookie file that was written by this process.
#[derive(Debug)]
pub struct Cookie {
    path: PathBuf,
    credentials: Credentials,
}

impl Cookie {
    /// Writes a new cookie for these readers: beside its place first, so that nobody sees half of it.
    ///
    /// # Errors
    ///
    /// Those of the file system and of the system's source of randomness.
    pub fn create(path: &Path, readers: CookieReaders) -> io::Result<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        OsRng.try_fill_bytes(secret.as_mut_slice()).map_err(io::Error::other)?;
        let secret = Zeroizing::new(secret.to_lower_hex_string());
        let credentials = Credentials::new(COOKIE_USER, &secret)
            .ok_or_else(|| io::Error::other("the cookie's user holds a colon"))?;
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(".tmp");
        let fresh = PathBuf::from(fresh);
        // What a crash left may have another mode, or be a link to elsewhere.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private(&mut OpenOptions::new())
            .write(true)
            .create_new(true)
            .open(&fresh)?;
        file.write_all(credentials.to_line().as_bytes())?;
        // Whatever the mask of the process takes away.
        #[cfg(unix)]
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(readers.mode()))?;
        drop(file);
        fs::rename(&fresh, path)?;
        Ok(Self {
            path: path.to_owned(),
            credentials,
        })
    }

    /// Returns what it holds.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Removes the file at a clean stop, if it is still this one.
    ///
    /// # Errors
    ///
    /// Those of the file system; none when the file is gone.
    pub fn remove(self) -> io::Result<()> {
        match read(&self.path) {
            Ok(found) if found == self.credentials => fs::remove_file(&self.path),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Reads a cookie file.
///
/// # Errors
///
/// Those of the file system; `InvalidData` when it holds no credentials.
pub fn read(path: &Path) -> io::Result<Credentials> {
    let mut text = Zeroizing::new(String::with_capacity(LENGTH));
    File::open(path)?.take(MAX_SIZE).read_to_string(&mut text)?;
    let line = text.lines().next().unwrap_or_default();
    Credentials::parse(line).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no cookie is in this file"))
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn readers_are_those_that_were_named() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cookie");
        for (readers, mode) in [
            (CookieReaders::Owner, 0o600),
            (CookieReaders::Group, 0o640),
            (CookieReaders::All, 0o644),
        ] {
            let cookie = Cookie::create(&path, readers).unwrap();
            let found = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{readers:?}");
            cookie.remove().unwrap();
        }
    }

    #[test]
    fn a_cookie_is_private_and_gone_after_a_clean_stop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        fs::write(folder.path().join(".cookie.tmp"), "left by a crash").unwrap();
        let cookie = Cookie::create(&path, CookieReaders::default()).unwrap();
        let line = fs::read_to_string(&path).unwrap();
        let secret = line.strip_prefix("__cookie__:").unwrap();
        assert_eq!(secret.len(), 64);
        assert!(secret.bytes().all(|digit| b"0123456789abcdef".contains(&digit)));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(read(&path).unwrap(), *cookie.credentials());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        cookie.remove().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn another_starts_cookie_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let (first, second) = (
            Cookie::create(&path, CookieReaders::default()).unwrap(),
            Cookie::create(&path, CookieReaders::default()).unwrap(),
        );
        assert_ne!(first.credentials(), second.credentials());
        first.remove().unwrap();
        assert!(path.exists());
        second.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_cookie_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for text in ["", "no colon", "\nuser:password"] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}

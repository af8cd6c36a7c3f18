//! A folder of key files, as BIND's dnssec-keygen fills it: read, and written without ever replacing anything.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hickory_proto::rr::Name;

use super::key_file::{self, KeyFiles, MAX_LENGTH};
use super::{DnssecError, Key, Keys};
use crate::time::Timestamp;

/// Most keys of one zone that are read; two are needed, and one too many is an error already.
const MAX_KEYS: usize = 8;

/// Most other zones that an error names.
const MAX_NAMED: usize = 4;

/// Reads a zone's keys: the files `KZONE+AAA+TTTTT.key` and `.private`. Files of other zones, and others, are left
/// alone.
///
/// # Errors
///
/// [`DnssecError::Io`] and [`DnssecError::InFile`] for what can't be read, [`DnssecError::NoKeys`] with the other zones
/// that have keys there, [`DnssecError::FileName`], and those of [`Keys::new`].
pub fn read(folder: &Path, zone: &Name) -> Result<Keys, DnssecError> {
    let found = list(folder, zone)?;
    if found.stems.is_empty() {
        return Err(DnssecError::NoKeys {
            zone: qualified(zone),
            others: found.others.join(", "),
        });
    }
    let keys = found
        .stems
        .iter()
        .take(MAX_KEYS)
        .map(|stem| read_key(folder, stem, zone));
    Keys::new(zone, keys.collect::<Result<_, _>>()?)
}

/// Writes the keys, the private parts readable by their owner alone, and returns the files. A folder that is missing
/// is made, for its owner alone. After an error nothing is left of the keys.
///
/// # Errors
///
/// [`DnssecError::KeysPresent`] when the folder has a key for the zone already, and [`DnssecError::Io`].
pub fn write(folder: &Path, keys: &Keys, now: Timestamp) -> Result<Vec<PathBuf>, DnssecError> {
    create_private(folder).map_err(|error| unusable(folder, error))?;
    if let Some(stem) = list(folder, keys.zone())?.stems.first() {
        return Err(DnssecError::KeysPresent {
            zone: keys.zone().clone(),
            path: folder.join(format!("{stem}.key")),
        });
    }
    let mut written = Vec::new();
    for key in keys.both() {
        let (stem, files) = (key_file::stem(key), key_file::encode(key, now));
        // The public part last: a key is there when that is.
        for (ending, text, mode) in [
            ("private", files.private.as_str(), 0o600),
            ("key", &files.public, 0o644),
        ] {
            let path = folder.join(format!("{stem}.{ending}"));
            if let Err(error) = write_new(&path, text, mode, &mut written) {
                for path in &written {
                    // It was made here a moment ago; the error that counts is the first.
                    let _ = fs::remove_file(path);
                }
                return Err(unusable(&path, error));
            }
        }
    }
    Ok(written)
}

fn write_new(path: &Path, text: &str, mode: u32, written: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = with_mode(&mut options, mode).write(true).create_new(true).open(path)?;
    written.push(path.to_owned());
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[derive(Default)]
struct Found {
    /// Names of the zone's key files, without their endings, in order.
    stems: Vec<String>,
    /// Other zones that have keys.
    others: Vec<String>,
}

fn list(folder: &Path, zone: &Name) -> Result<Found, DnssecError> {
    let mut found = Found::default();
    for entry in fs::read_dir(folder).map_err(|error| unusable(folder, error))? {
        let name = entry.map_err(|error| unusable(folder, error))?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".key"));
        let Some((stem, of_zone)) = stem.and_then(|stem| Some((stem, zone_of(stem)?))) else {
            continue;
        };
        if of_zone.eq_ignore_ascii_case(&qualified(zone).to_ascii()) {
            found.stems.push(stem.to_owned());
        } else if found.others.len() < MAX_NAMED && !found.others.iter().any(|other| other == of_zone) {
            found.others.push(of_zone.to_owned());
        }
    }
    found.stems.sort();
    found.others.sort();
    Ok(found)
}

/// Returns the zone in the name of a key file: `bit.` of `Kbit.+013+12345`.
fn zone_of(stem: &str) -> Option<&str> {
    let (rest, tag) = stem.strip_prefix('K')?.rsplit_once('+')?;
    let (zone, algorithm) = rest.rsplit_once('+')?;
    let is_number = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(algorithm, 3) && is_number(tag, 5)).then_some(zone)
}

fn qualified(zone: &Name) -> Name {
    let mut zone = zone.to_lowercase();
    zone.set_fqdn(true);
    zone
}

fn read_key(folder: &Path, stem: &str, zone: &Name) -> Result<Key, DnssecError> {
    let [public, private] = ["key", "private"].map(|ending| folder.join(format!("{stem}.{ending}")));
    let files = KeyFiles {
        public: read_text(&public)?,
        private: read_text(&private)?.into(),
    };
    let key = key_file::decode(&files).and_then(|key| {
        let (expected, got) = (Box::new(qualified(zone)), Box::new(key.zone().clone()));
        if got != expected {
            return Err(DnssecError::OtherZone { expected, got });
        }
        let expected = key_file::stem(&key);
        if !stem.eq_ignore_ascii_case(&expected) {
            return Err(DnssecError::FileName { expected });
        }
        Ok(key)
    });
    key.map_err(|error| DnssecError::InFile {
        path: public,
        error: Box::new(error),
    })
}

fn read_text(path: &Path) -> Result<String, DnssecError> {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        let most = u64::try_from(MAX_LENGTH).unwrap_or(u64::MAX);
        // One byte more, so that the codec sees what is too long.
        File::open(path)?
            .take(most.saturating_add(1))
            .read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|error| unusable(path, error))
}

fn unusable(path: &Path, error: io::Error) -> DnssecError {
    DnssecError::Io {
        path: path.to_owned(),
        error: Arc::new(error),
    }
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[cfg(unix)]
fn with_mode(options: &mut OpenOptions, mode: u32) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(mode)
}

#[cfg(not(unix))]
fn with_mode(options: &mut OpenOptions, _mode: u32) -> &mut OpenOptions {
    options
}

#[cfg(test)]
mod tests;

//! The servers that were learned, over restarts. Suggestions are not written down.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::folder::Folder;
use crate::net::address::AddressError;
use crate::net::discovery::{Learned, LearnedBy, MAX_LEARNED};

/// The file in the data folder.
pub(super) const FILE: &str = "servers";

/// What it is called once it could not be read.
const ASIDE: &str = "servers.unread";

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// Most rows that a warning tells of one by one.
const MAX_SHOWN: usize = 4;

const WHAT_TO_DO: &str = "`isonym servers accept HOST:PORT` takes a server of it up again; \
                          a later release that wrote it reads it under its old name";

/// What is written of one server. Days are counted from 1970: nothing finer is kept of when it was seen.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    address: String,
    by: LearnedBy,
    since_day: u64,
    checked: bool,
    good_days: u32,
    last_good_day: Option<u64>,
}

/// Why one row can't be read.
#[derive(Debug, thiserror::Error)]
enum RowError {
    #[error(transparent)]
    Shape(#[from] serde_json::Error),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("no more than {MAX_LEARNED} are kept")]
    TooMany,
}

/// Reads what there is. What can't be read, one row or all of it, as of a later release, is left out, kept aside and told
/// of: what its user accepted can't be learnt anew, and the next file that is written must not take its place.
pub(super) fn read(folder: &Folder) -> Vec<Learned> {
    let text = match folder.read(FILE, MAX_FILE) {
        Ok(Some(text)) => text,
        Ok(None) => return Vec::new(),
        Err(error) => {
            put_aside(folder, &error.to_string());
            return Vec::new();
        }
    };
    let rows: Vec<Value> = match serde_json::from_str(&text) {
        Ok(rows) => rows,
        Err(error) => {
            put_aside(folder, &error.to_string());
            return Vec::new();
        }
    };
    let (mut read, mut unread) = (Vec::new(), Vec::new());
    for (row, at) in rows.into_iter().zip(1..) {
        match learned(row) {
            Ok(_) if read.len() >= MAX_LEARNED => unread.push((at, RowError::TooMany)),
            Ok(learned) => read.push(learned),
            Err(error) => unread.push((at, error)),
        }
    }
    match unread.first() {
        None => {}
        Some((at, error)) if read.is_empty() => put_aside(folder, &format!("row {at}: {error}")),
        Some(_) => leave_out(folder, &unread, &text, &read),
    }
    read
}

/// Gives the whole file another name.
fn put_aside(folder: &Folder, error: &str) {
    let file = folder.file(FILE);
    match folder.put_aside(FILE, ASIDE) {
        Ok(()) => tracing::warn!(
            "the learned servers in {} are left out: {error}; the file is kept as {}: {WHAT_TO_DO}",
            file.display(),
            folder.file(ASIDE).display()
        ),
        Err(kept) => tracing::warn!(
            "the learned servers in {} are left out: {error}; {kept}",
            file.display()
        ),
    }
}

/// Keeps a copy of a file of which some rows can't be read, and takes them out of it, so that they are told of once.
fn leave_out(folder: &Folder, unread: &[(usize, RowError)], text: &str, read: &[Learned]) {
    let file = folder.file(FILE);
    let shown = unread.iter().take(MAX_SHOWN);
    let mut rows: Vec<String> = shown.map(|(at, error)| format!("row {at}: {error}")).collect();
    let more = unread.len().saturating_sub(MAX_SHOWN);
    if more > 0 {
        rows.push(format!("and {more} more"));
    }
    let rows = rows.join("; ");
    // The copy comes first: whenever the power fails, one of the two files has all rows.
    let kept = folder
        .replace(ASIDE, text)
        .and_then(|()| folder.replace(FILE, &self::text(read.iter())));
    match kept {
        Ok(()) => tracing::warn!(
            "some of the learned servers in {} are left out ({rows}); the file as it was is kept as {}: {WHAT_TO_DO}",
            file.display(),
            folder.file(ASIDE).display()
        ),
        Err(error) => tracing::warn!(
            "some of the learned servers in {} are left out ({rows}); {error}",
            file.display()
        ),
    }
}

fn learned(row: Value) -> Result<Learned, RowError> {
    let written: Written = serde_json::from_value(row)?;
    Ok(Learned {
        address: written.address.parse()?,
        by: written.by,
        since: written.since_day,
        is_checked: written.checked,
        good_days: written.good_days,
        last_good: written.last_good_day,
    })
}

/// Returns the file's text.
pub(super) fn text<'a>(learned: impl Iterator<Item = &'a Learned>) -> String {
    let written = learned.map(|it| Written {
        address: it.address.to_string(),
        by: it.by,
        since_day: it.since,
        checked: it.is_checked,
        good_days: it.good_days,
        last_good_day: it.last_good,
    });
    let written: Vec<Written> = written.collect();
    serde_json::to_string_pretty(&written).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOWHERE: &str = r#"{"address": "nowhere", "by": "accepted", "since_day": 1, "checked": true, "good_days": 1,
        "last_good_day": null}"#;

    fn server(host: &str) -> Learned {
        Learned {
            address: format!("{host}:50002:s").parse().unwrap(),
            by: LearnedBy::Accepted,
            since: 20_000,
            is_checked: true,
            good_days: 3,
            last_good: None,
        }
    }

    #[test]
    fn a_row_that_cannot_be_read_is_left_out_alone_and_the_file_is_kept_once() {
        let later = r#"{"address": "z.example.net:50002:s", "by": "accepted", "since_day": 1, "checked": true,
            "good_days": 1, "last_good_day": null, "release": 2}"#;
        for bad in ["7", "null", "{}", "[]", NOWHERE, later] {
            let temp = tempfile::tempdir().unwrap();
            let folder = Folder::open(temp.path()).unwrap();
            let good = [server("x.example.net"), server("y.example.net")];
            let clean = text(good.iter());
            let damaged = clean.replacen("},", &format!("}}, {bad},"), 1);
            assert_ne!(damaged, clean);
            folder.replace(FILE, &damaged).unwrap();
            assert_eq!(read(&folder), good, "{bad}");
            assert_eq!(folder.read(ASIDE, MAX_FILE).unwrap(), Some(damaged), "{bad}");
            assert_eq!(folder.read(FILE, MAX_FILE).unwrap(), Some(clean), "{bad}");
            // What is kept stays as it is when there is nothing new to keep.
            folder.replace(ASIDE, "kept").unwrap();
            assert_eq!(read(&folder), good, "{bad}");
            assert_eq!(folder.read(ASIDE, MAX_FILE).unwrap().as_deref(), Some("kept"), "{bad}");
        }
    }

    #[test]
    fn rows_beyond_the_bound_are_kept_aside_too() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        let many: Vec<Learned> = (0..=MAX_LEARNED)
            .map(|at| server(&format!("s{at}.example.net")))
            .collect();
        let all = text(many.iter());
        folder.replace(FILE, &all).unwrap();
        assert_eq!(read(&folder), many[..MAX_LEARNED]);
        assert_eq!(folder.read(ASIDE, MAX_FILE).unwrap(), Some(all));
    }

    #[test]
    fn where_no_copy_can_be_kept_the_file_stays_as_it_is() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        let clean = text([server("x.example.net")].iter());
        let damaged = clean.replacen('[', "[7, ", 1);
        folder.replace(FILE, &damaged).unwrap();
        std::fs::create_dir(temp.path().join("servers.unread.new")).unwrap();
        assert_eq!(read(&folder), [server("x.example.net")]);
        assert_eq!(folder.read(FILE, MAX_FILE).unwrap(), Some(damaged));
    }

    #[test]
    fn what_is_written_is_read_back_and_what_cannot_be_read_is_put_aside() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        assert_eq!(read(&folder), []);
        let learned = [(true, None), (false, Some(20_001))].map(|(is_checked, last_good)| Learned {
            address: "x.example.net:50002:s".parse().unwrap(),
            by: LearnedBy::Corroborated,
            since: 20_000,
            is_checked,
            good_days: 3,
            last_good,
        });
        folder.replace(FILE, &text(learned.iter())).unwrap();
        assert_eq!(read(&folder), learned);
        let text = text(learned.iter());
        let later = text.replace("\"address\"", "\"release\": 2, \"address\"");
        let nowhere = text.replace("x.example.net:50002:s", "nowhere");
        let large = " ".repeat(70_000);
        for unread in [
            "{}",
            "[7",
            "[{\"address\": 1}]",
            "\u{0}",
            later.as_str(),
            &nowhere,
            &large,
        ] {
            folder.replace(FILE, unread).unwrap();
            assert_eq!(read(&folder), [], "{unread}");
            assert_eq!(folder.read(FILE, MAX_FILE).unwrap(), None, "{unread}");
            assert_eq!(folder.read(ASIDE, 1 << 20).unwrap().as_deref(), Some(unread));
        }
    }
}

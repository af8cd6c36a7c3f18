//! The servers that were learned, over restarts. Suggestions are not written down.

use serde::{Deserialize, Serialize};

use super::folder::Folder;
use crate::net::address::AddressError;
use crate::net::discovery::{Learned, LearnedBy};

/// The file in the data folder.
pub(super) const FILE: &str = "servers";

/// What it is called once it could not be read.
const ASIDE: &str = "servers.unread";

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 64 << 10;

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

/// Reads what there is. A file that can't be read, as one of a later release, is put aside and told of: what its user
/// accepted can't be learnt anew, and the next one that is written must not take its place.
pub(super) fn read(folder: &Folder) -> Vec<Learned> {
    let read = folder.read(FILE, MAX_FILE);
    let text = read.map_err(|error| error.to_string());
    let parsed = text.and_then(|text| match text {
        Some(text) => serde_json::from_str::<Vec<Written>>(&text).map_err(|error| error.to_string()),
        None => Ok(Vec::new()),
    });
    let written = parsed.unwrap_or_else(|error| {
        tell(folder, &error);
        Vec::new()
    });
    let learned = written.iter().map(learned).collect::<Result<Vec<_>, _>>();
    learned.unwrap_or_else(|error| {
        tell(folder, &error.to_string());
        Vec::new()
    })
}

fn tell(folder: &Folder, error: &str) {
    let file = folder.file(FILE);
    match folder.put_aside(FILE, ASIDE) {
        Ok(()) => {
            let aside = folder.file(ASIDE);
            tracing::warn!(
                "the learned servers in {} are left out, and kept as {}: {error}",
                file.display(),
                aside.display()
            );
        }
        Err(kept) => tracing::warn!(
            "the learned servers in {} are left out: {error}; {kept}",
            file.display()
        ),
    }
}

fn learned(written: &Written) -> Result<Learned, AddressError> {
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
        let later = text.replacen("\"address\"", "\"release\": 2, \"address\"", 1);
        let nowhere = text.replacen("x.example.net:50002:s", "nowhere", 1);
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

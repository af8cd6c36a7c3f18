//! The servers that were learned, over restarts. Suggestions are not written down.

use serde::{Deserialize, Serialize};

use super::folder::Folder;
use crate::net::discovery::{Learned, LearnedBy};

/// The file in the data folder.
pub(super) const FILE: &str = "servers";

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

/// Reads what there is. A file that can't be read is told of and is as good as none: all of it can be learnt anew.
pub(super) fn read(folder: &Folder) -> Vec<Learned> {
    let read = folder.read(FILE, MAX_FILE);
    let text = read.map_err(|error| error.to_string());
    let parsed = text.and_then(|text| match text {
        Some(text) => serde_json::from_str::<Vec<Written>>(&text).map_err(|error| error.to_string()),
        None => Ok(Vec::new()),
    });
    let written = parsed.unwrap_or_else(|error| {
        let file = folder.file(FILE);
        tracing::warn!("the learned servers in {} are left out: {error}", file.display());
        Vec::new()
    });
    written.iter().filter_map(learned).collect()
}

fn learned(written: &Written) -> Option<Learned> {
    Some(Learned {
        address: written.address.parse().ok()?,
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
    fn what_is_written_is_read_back_and_nonsense_is_as_good_as_none() {
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
        for nonsense in ["{}", "[7", "[{\"address\": 1}]", "\u{0}"] {
            folder.replace(FILE, nonsense).unwrap();
            assert_eq!(read(&folder), [], "{nonsense}");
        }
    }
}

//! What servers showed header sync of who runs them, over restarts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::folder::Folder;
use crate::net::ServerAddr;
use crate::net::operators::{AllShown, Shown};

/// The file in the data folder.
pub(super) const FILE: &str = "server-operators.json";

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What is written of one server.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    /// The SHA-256 of its certificate's key.
    key: Option<String>,
    /// The hosts that it says it is reached at.
    hosts: BTreeSet<String>,
}

/// Reads what there is. What can't be read is as good as none: all of it can be learnt anew.
pub(super) fn read(folder: &Folder) -> AllShown {
    let text = folder.read(FILE, MAX_FILE).ok().flatten().unwrap_or_default();
    let written: BTreeMap<String, Written> = serde_json::from_str(&text).unwrap_or_default();
    let shown = written.into_iter().filter_map(|(server, written)| {
        let key = written.key.and_then(|key| key.parse().ok());
        let hosts: Vec<String> = written.hosts.into_iter().collect();
        Some((server.parse().ok()?, Shown::new(key, &hosts)))
    });
    shown.collect()
}

/// Returns the file's text: of these servers, and no others.
pub(super) fn text<'a>(shown: &AllShown, servers: impl Iterator<Item = &'a ServerAddr>) -> String {
    let known = servers.filter_map(|server| Some((server, shown.get(server)?)));
    let written = known.map(|(server, shown)| {
        let written = Written {
            key: shown.key.map(|key| key.to_string()),
            hosts: shown.hosts.iter().map(ToString::to_string).collect(),
        };
        (server.to_string(), written)
    });
    let written: BTreeMap<String, Written> = written.collect();
    serde_json::to_string_pretty(&written).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Fingerprint;

    #[test]
    fn what_was_shown_is_known_after_a_restart_and_nonsense_is_as_good_as_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        assert!(read(&folder).is_empty());
        let [one, other, gone]: [ServerAddr; 3] =
            ["a.example.net:50002:s", "[2001:db8::1]:50001:t", "b.example.org:1:t"].map(|it| it.parse().unwrap());
        let hosts = ["a.example.net", "2001:db8::1", "192.0.2.1", "not a host"].map(str::to_owned);
        let shown: AllShown = [
            (one.clone(), Shown::new(Some(Fingerprint([7; 32])), &hosts)),
            (other.clone(), Shown::default()),
            (gone, Shown::default()),
        ]
        .into();
        folder.replace(FILE, &text(&shown, [&one, &other].into_iter())).unwrap();
        let read_back = read(&folder);
        assert_eq!(read_back.len(), 2);
        assert_eq!(read_back[&one], shown[&one]);
        assert_eq!(read_back[&other], shown[&other]);
        for nonsense in [
            "",
            "[]",
            "{\"a:1:t\": 7}",
            "{\"a:1:t\": {\"key\": null, \"hosts\": [7]}}",
        ] {
            folder.replace(FILE, nonsense).unwrap();
            assert!(read(&folder).is_empty(), "{nonsense}");
        }
    }
}

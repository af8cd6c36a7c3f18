//! What header sync knows of the ways to its servers, over restarts: on a slow way to learn it anew costs minutes.
//!
//! It is a file of its own, which header sync alone reads. A lookup goes by what its own connection shows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::folder::Folder;
use crate::net::ServerAddr;
use crate::reputation::{LEAST_REPLY, ServerWay};

/// The file in the data folder.
pub(super) const FILE: &str = "server-ways.json";

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What is written of one server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct WrittenWay {
    /// What it called its software when this was learnt.
    software: String,
    rate: Option<u32>,
    longest: Option<u32>,
    cuts_wrongly: bool,
    pads: bool,
}

/// What is on the disk, or will be, by address.
#[derive(Debug, Default)]
pub(super) struct ServerWays(BTreeMap<String, WrittenWay>);

impl ServerWays {
    /// Reads what there is. A file that can't be read is as good as none: all of it can be learnt anew.
    pub(super) fn read(folder: &Folder) -> Self {
        let text = folder.read(FILE, MAX_FILE).ok().flatten().unwrap_or_default();
        Self(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Returns what is known of the way to a server.
    pub(super) fn way(&self, server: &ServerAddr) -> ServerWay {
        let written = self.0.get(&server.to_string()).cloned().unwrap_or_default();
        ServerWay {
            rate: written.rate.filter(|rate| *rate > 0),
            longest: written.longest.map(|longest| longest.max(LEAST_REPLY)),
            cuts_wrongly: written.cuts_wrongly,
            pads: written.pads,
        }
    }

    /// Takes down what software a server runs; says whether it ran another one when it was last known.
    pub(super) fn learn_software(&mut self, server: &ServerAddr, software: String) -> bool {
        let written = self.0.entry(server.to_string()).or_default();
        let is_other = !written.software.is_empty() && written.software != software;
        written.software = software;
        is_other
    }

    /// Takes over what is known by now of the servers, and forgets all others; returns the file's text if it is another
    /// one now.
    pub(super) fn take_over<'a>(&mut self, ways: impl Iterator<Item = (&'a ServerAddr, ServerWay)>) -> Option<String> {
        let mut fresh = BTreeMap::new();
        for (server, way) in ways {
            let address = server.to_string();
            let software = self.0.get(&address).map(|written| written.software.clone());
            let written = WrittenWay {
                software: software.unwrap_or_default(),
                rate: way.rate,
                longest: way.longest,
                cuts_wrongly: way.cuts_wrongly,
                pads: way.pads,
            };
            fresh.insert(address, written);
        }
        if fresh == self.0 {
            return None;
        }
        self.0 = fresh;
        serde_json::to_string_pretty(&self.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_of_a_way_is_known_after_a_restart_and_bound_to_the_software() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        let server: ServerAddr = "electrum.example:50002:s".parse().unwrap();
        let way = ServerWay {
            rate: Some(7000),
            longest: Some(40_000),
            cuts_wrongly: true,
            pads: true,
        };
        let mut ways = ServerWays::read(&folder);
        assert!(!ways.learn_software(&server, "ElectrumX 2.0.0".to_owned()), "it is new");
        let text = ways.take_over([(&server, way)].into_iter()).unwrap();
        assert_eq!(ways.take_over([(&server, way)].into_iter()), None, "nothing changed");
        folder.replace(FILE, &text).unwrap();
        let mut ways = ServerWays::read(&folder);
        assert_eq!(ways.way(&server), way);
        assert!(!ways.learn_software(&server, "ElectrumX 2.0.0".to_owned()));
        assert!(ways.learn_software(&server, "ElectrumX 2.1.0".to_owned()));
    }

    #[test]
    fn a_file_of_nonsense_is_as_good_as_none() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        folder.replace(FILE, "{\"a:1:t\": {\"rate\": -3}}").unwrap();
        let server: ServerAddr = "a:1:t".parse().unwrap();
        assert_eq!(ServerWays::read(&folder).way(&server), ServerWay::default());
    }
}

//! The file of servers whose certificates were seen before, one a line: `HOST:PORT:s FINGERPRINT` or
//! `HOST:PORT:s authority`. People read it and remove lines from it, as with SSH's known hosts.

use super::NodeError;
use super::folder::Folder;
use crate::chain::Network;
use crate::net::servers;
use crate::net::{Pin, Pins, ServerAddr};

/// The file's name in the data folder.
pub(super) const FILE: &str = "known-servers";

/// Largest file that is read, in bytes: some ten thousand servers.
const MAX_SIZE: u64 = 1 << 20;

const HEADER: &str =
    "# Certificates of servers, as first seen. Remove a line to trust the server's next certificate.\n";

/// What servers must show: from the file, and where it is silent from the list that ships with the program.
#[derive(Debug)]
pub(super) struct KnownServers {
    seen: Pins,
    shipped: Pins,
}

impl KnownServers {
    pub(super) fn read(folder: &Folder, network: Network) -> Result<Self, NodeError> {
        let text = folder.read(FILE, MAX_SIZE)?.unwrap_or_default();
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let seen = lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(line, text)| {
                parse(text).ok_or_else(|| NodeError::KnownServers {
                    path: folder.file(FILE),
                    line,
                })
            })
            .collect::<Result<Pins, NodeError>>()?;
        Ok(Self {
            seen,
            shipped: servers::pins(network),
        })
    }

    pub(super) fn pin(&self, server: &ServerAddr) -> Option<Pin> {
        self.seen.of(server).or_else(|| self.shipped.of(server))
    }

    /// Remembers a certificate, and returns the file's new text; what is known already is never replaced. What can't be
    /// written is known nevertheless, and is written with the next one.
    #[must_use]
    pub(super) fn learn(&mut self, server: &ServerAddr, pin: Pin) -> Option<String> {
        if self.pin(server).is_some() {
            return None;
        }
        self.seen.insert(server.clone(), pin);
        let lines = self
            .seen
            .iter()
            .map(|(server, pin)| format!("{server} {}\n", word(pin)));
        Some(std::iter::once(HEADER.to_owned()).chain(lines).collect())
    }
}

fn word(pin: Pin) -> String {
    match pin {
        Pin::Authority => "authority".to_owned(),
        Pin::Certificate(fingerprint) => fingerprint.to_string(),
    }
}

fn parse(line: &str) -> Option<(ServerAddr, Pin)> {
    let (server, pin) = line.split_once(char::is_whitespace)?;
    let pin = match pin.trim() {
        "authority" => Pin::Authority,
        digits => Pin::Certificate(digits.parse().ok()?),
    };
    Some((server.parse().ok()?, pin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Fingerprint;

    fn folder() -> (tempfile::TempDir, Folder) {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        (temp, folder)
    }

    #[test]
    fn what_was_learnt_is_there_again_and_never_replaced() {
        let (_temp, folder) = folder();
        let server: ServerAddr = "electrum.example:50002:s".parse().unwrap();
        let other: ServerAddr = "[2001:db8::1]:50002:s".parse().unwrap();
        let first = Pin::Certificate(Fingerprint([7; 32]));
        let mut known = KnownServers::read(&folder, Network::Regtest).unwrap();
        assert!(known.learn(&server, first).is_some());
        let text = known.learn(&other, Pin::Authority).unwrap();
        assert_eq!(known.learn(&server, Pin::Certificate(Fingerprint([8; 32]))), None);
        folder.replace(FILE, &text).unwrap();
        let known = KnownServers::read(&folder, Network::Regtest).unwrap();
        assert_eq!(known.pin(&server), Some(first));
        assert_eq!(known.pin(&other), Some(Pin::Authority));
    }

    #[test]
    fn a_line_that_makes_no_sense_is_an_error_and_not_passed_over() {
        let (_temp, folder) = folder();
        folder
            .replace(FILE, "# comment\n\nelectrum.example:50002:s 12ab\n")
            .unwrap();
        let error = KnownServers::read(&folder, Network::Mainnet).unwrap_err();
        assert!(matches!(error, NodeError::KnownServers { line: 3, .. }), "{error}");
    }

    #[test]
    fn shipped_pins_hold_where_the_file_is_silent() {
        let (_temp, folder) = folder();
        let known = KnownServers::read(&folder, Network::Mainnet).unwrap();
        let shipped = servers::pins(Network::Mainnet);
        assert!(shipped.iter().next().is_some());
        assert!(shipped.iter().all(|(server, pin)| known.pin(server) == Some(pin)));
    }
}

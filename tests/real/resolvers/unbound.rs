//! A real unbound in front of our server.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use tempfile::TempDir;

use super::process::Process;

/// What an unbound is to do.
#[derive(Clone, Default)]
pub struct Config {
    /// Zones and the servers that have them.
    pub stubs: Vec<(String, SocketAddr)>,
    /// More lines for its `server` clause.
    pub lines: Vec<String>,
}

impl Config {
    /// Asks one server for `bit`.
    pub fn bit(server: SocketAddr) -> Self {
        Self {
            stubs: vec![("bit.".to_owned(), server)],
            lines: Vec::new(),
        }
    }

    /// Trusts the keys of a zone by their DS record.
    pub fn trusting(self, ds: &str) -> Self {
        self.with(&format!("trust-anchor: \"{ds}\""))
    }

    pub fn with(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    fn text(&self, interface: &str) -> String {
        // Alone in its folder, as the user who runs the tests, without a port for its tool.
        let mut text = format!(
            "server:\n  interface: {interface}\n  directory: \"\"\n  chroot: \"\"\n  username: \"\"\n  pidfile: \"\"\n  \
             use-syslog: no\n  logfile: \"\"\n  verbosity: 1\n  num-threads: 1\n  do-ip6: no\n  \
             do-not-query-localhost: no\n  module-config: \"validator iterator\"\n"
        );
        for line in &self.lines {
            writeln!(text, "  {line}").unwrap();
        }
        text.push_str("remote-control:\n  control-enable: no\n");
        // Nothing of the tests must ask strangers: who is named for the root refuses.
        let root = (".".to_owned(), self.stubs[0].1);
        for (zone, server) in self.stubs.iter().chain([&root]) {
            let (ip, port) = (server.ip(), server.port());
            write!(
                text,
                "stub-zone:\n  name: \"{zone}\"\n  stub-addr: {ip}@{port}\n  stub-prime: no\n  stub-first: no\n"
            )
            .unwrap();
        }
        text
    }
}

/// A running unbound.
pub struct Unbound {
    pub address: SocketAddr,
    _process: Process,
    _home: TempDir,
}

impl Unbound {
    /// Starts one on a free port.
    pub fn start(config: &Config) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (process, port) = Process::start_at_free_port(
            |port| command(&home, &config.text(&format!("127.0.0.1@{port}"))),
            "start of service",
        );
        Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            _process: process,
            _home: home,
        }
    }

    /// Starts one at an address that is known to be free.
    pub fn start_at(address: SocketAddr, config: &Config) -> Self {
        let home = tempfile::tempdir().unwrap();
        let text = config.text(&format!("{}@{}", address.ip(), address.port()));
        let (process, _) = Process::start(&mut command(&home, &text), "start of service").unwrap();
        Self {
            address,
            _process: process,
            _home: home,
        }
    }
}

fn command(home: &TempDir, text: &str) -> Command {
    let path = home.path().join("unbound.conf");
    fs::write(&path, text).unwrap();
    let mut command = Command::new("unbound");
    // Debian keeps it where users' paths don't lead.
    let paths = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{paths}:/usr/sbin"));
    command.current_dir(home.path()).arg("-d").arg("-c").arg(&path);
    command
}

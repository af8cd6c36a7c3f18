//! `isonym dns` as a running program.

use std::net::SocketAddr;

use crate::backend::Backend;
use crate::program::Program;
use crate::running::Running;

/// What all names, values and isolation IDs have in them that must be told to nobody.
pub const MARKER: &str = "marker-of-the";

/// A DNS server in front of a backend; killed when dropped.
pub struct Dns {
    running: Running,
    pub address: SocketAddr,
    program: Program,
    _log: tempfile::TempDir,
}

impl Dns {
    /// Starts one that says all it can.
    pub async fn start(backend: &Backend, arguments: &[&str]) -> Self {
        Self::start_before(&backend.url(), arguments).await
    }

    pub async fn start_before(url: &str, arguments: &[&str]) -> Self {
        let program = Program::new();
        let mut command = program.on_regtest();
        command.args(["dns", "-vv", "--listen=127.0.0.1:0", "--rpc-url", url]);
        command.args(arguments);
        let log = tempfile::tempdir().unwrap();
        let mut running = Running::start(command, &log.path().join("log"));
        let address = running.says("listening on ", " for DNS").await.parse().unwrap();
        Self {
            running,
            address,
            program,
            _log: log,
        }
    }

    pub fn log(&self) -> String {
        self.running.log()
    }

    /// Returns how much memory it takes, in bytes.
    pub fn resident(&self) -> u64 {
        self.running.resident()
    }

    /// Ends it, and asserts that all was well, and nothing told in log or files.
    pub async fn stop(self) {
        self.running.stop_having_told_nothing(&self.program, MARKER).await;
    }
}

/// Returns where a program listens for DNS, by what it said.
pub fn listens(log: &str) -> Option<SocketAddr> {
    let line = log
        .lines()
        .find_map(|line| line.split_once("listening on ")?.1.strip_suffix(" for DNS"));
    line.map(|address| address.parse().unwrap())
}

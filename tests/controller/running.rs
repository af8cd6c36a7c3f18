//! `isonym tor` as a running program.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::backend::{Backend, Says};
use crate::port::PATIENCE;
use crate::program::Program;

/// An onion service. Source: Tor, rend-spec-v3.
pub const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

/// A controller; killed when dropped.
pub struct Running {
    child: Child,
    pub program: Program,
}

impl Running {
    pub fn start(backend: &Backend, port: SocketAddr, arguments: &[&str]) -> Self {
        Self::start_before(&backend.url(), port, arguments)
    }

    pub fn start_before(url: &str, port: SocketAddr, arguments: &[&str]) -> Self {
        let program = Program::new();
        let mut command = program.on_regtest();
        command.args(["tor", "-vv", "--control", &port.to_string(), "--rpc-url", url]);
        let log = File::create(program.home().join("log")).unwrap();
        command.args(arguments).stdout(Stdio::null()).stderr(log);
        Self {
            child: command.spawn().unwrap(),
            program,
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.program.home().join("log")).unwrap()
    }

    /// Returns its memory in KiB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Waits for its end; asserts that it told nothing of anybody.
    pub async fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => panic!("it does not end: {}", self.log()),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let log = self.log();
        assert!(!log.contains("panicked") && !log.contains("marker"), "{log}");
        status.code()
    }

    pub async fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert_eq!(self.end().await, Some(0), "{}", self.log());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Names of each kind; none of them may be told to anybody.
pub async fn names() -> Backend {
    let backend = Backend::start().await;
    for (name, says) in [
        ("onion", Says::value(&json!({ "map": { "_tor": { "txt": ONION } } }))),
        ("address", Says::value(&json!({ "ip": "192.0.2.1" }))),
        ("slow", Says::value(&json!({ "ip": "192.0.2.1" })).held()),
        ("other", Says::value(&json!({ "alias": "elsewhere.test." }))),
    ] {
        backend.say(&format!("d/marker-{name}"), says);
    }
    for (number, text) in FORGED.iter().enumerate() {
        let value = json!({ "map": { "_tor": { "txt": text } } });
        backend.say(&format!("d/marker-forged-{number}"), Says::value(&value));
    }
    backend
}

/// What a value can say in the place of a service.
pub const FORGED: [&str; 5] = [
    "x.onion\r\nSIGNAL SHUTDOWN",
    "x.onion\nATTACHSTREAM 1 0",
    "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion 8080",
    "expyuzz4wqqyqhjn.onion",
    "elsewhere.bit.onion",
];

//! `isonym tor` as a running program, and names for it.

use std::net::SocketAddr;

use serde_json::json;

use isonym_testkit::backend::{Backend, Says};
use isonym_testkit::program::Program;
use isonym_testkit::running::Running;

/// An onion service. Source: Tor, rend-spec-v3.
pub const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

/// A controller; killed when dropped.
pub struct Controller {
    running: Running,
    _program: Program,
}

impl Controller {
    pub fn start(backend: &Backend, port: SocketAddr, arguments: &[&str]) -> Self {
        Self::start_before(&backend.url(), port, arguments)
    }

    pub fn start_before(url: &str, port: SocketAddr, arguments: &[&str]) -> Self {
        let place = ["--control", &port.to_string()];
        Self::start_at(url, &[&place, arguments].concat())
    }

    /// Starts one that is told by the arguments where Tor is.
    pub fn start_at(url: &str, arguments: &[&str]) -> Self {
        let program = Program::new();
        let mut command = program.on_regtest();
        command.args(["tor", "-vv", "--rpc-url", url]);
        command.args(arguments);
        let log = program.home().join("log");
        Self {
            running: Running::start(command, &log),
            _program: program,
        }
    }

    pub fn log(&self) -> String {
        self.running.log()
    }

    /// Asserts that it takes no more memory than it should, whatever it was told.
    pub fn assert_small(&self) {
        let resident = self.running.resident();
        assert!(resident < 100 << 20, "{resident} bytes");
    }

    /// Waits for its end; asserts that it told nothing of anybody.
    pub async fn end(&mut self) -> Option<i32> {
        let status = self.running.ended().await;
        let log = self.log();
        assert!(!log.contains("marker"), "{log}");
        status.code()
    }

    pub async fn stop(mut self) {
        self.running.signal("-TERM").await;
        assert_eq!(self.end().await, Some(0), "{}", self.log());
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

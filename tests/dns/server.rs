//! `isonym dns` as a running program.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::backend::Backend;
use crate::harness::{end_of, until};
use crate::program::Program;

/// What all names, values and isolation IDs have in them that must be told to nobody.
pub const MARKER: &str = "marker-of-the";

/// A DNS server in front of a backend; killed when dropped.
pub struct Dns {
    child: Child,
    pub address: SocketAddr,
    program: Program,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
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
        command.args(arguments).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let all = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in lines {
                let mut all = all.lock().unwrap();
                all.push_str(&line.unwrap());
                all.push('\n');
            }
        });
        let address = until("it listens", async || listens(&log.lock().unwrap())).await;
        Self {
            child,
            address,
            program,
            log,
            reader: Some(reader),
        }
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Returns how much memory it takes, in bytes.
    pub fn resident(&self) -> u64 {
        resident(self.child.id())
    }

    /// Ends it, and asserts that all was well: status 0, no panic, and nothing told in log or files.
    pub async fn stop(mut self) {
        let mut kill = Command::new("kill");
        kill.args(["-TERM", &self.child.id().to_string()]);
        assert_eq!(end_of(kill).await.status, Some(0));
        let status = until("it ends", || {
            let ended = self.child.try_wait().unwrap();
            async move { ended }
        })
        .await;
        self.reader.take().unwrap().join().unwrap();
        let log = self.log();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!log.contains("panicked"), "{log}");
        assert!(!log.contains(MARKER), "{log}");
        let home = fs::read_dir(self.program.home()).unwrap();
        let left: Vec<_> = home.map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "it left {left:?}");
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Returns where a program listens for DNS, by what it said.
pub fn listens(log: &str) -> Option<SocketAddr> {
    let line = log
        .lines()
        .find_map(|line| line.split_once("listening on ")?.1.strip_suffix(" for DNS"));
    line.map(|address| address.parse().unwrap())
}

/// Returns how much memory a process takes, in bytes.
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

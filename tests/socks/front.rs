//! `isonym socks` as a running program, and the same within the test where bounds have to be small.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use isonym::dns;
use isonym::dns::book::CacheSettings;
use isonym::naming::namer::Namer;
use isonym::rpc::client::{self, Client, Dialect, Login};
use isonym::socks::identity::{Epoch, Isolate};
use isonym::socks::server::{self, Limits};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::backend::{Backend, Says};
use crate::program::{End, Program};
use crate::tor::Tor;

/// What all names, credentials and results have in them that must be told to nobody.
pub const MARKER: &str = "marker-of-the";

/// An onion service. Source: Tor, rend-spec-v3.
pub const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

/// Longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(200);

pub async fn end_of(mut command: Command) -> End {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    soon(output).await.unwrap().into()
}

/// Waits for what should not take long.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.unwrap()
}

/// Asks again and again until the answer is there.
pub async fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"))
}

/// A backend with names of each kind.
pub async fn names() -> Backend {
    let backend = Backend::start().await;
    let onion = json!({ "ip": "192.0.2.1", "map": { "_tor": { "txt": ONION } } });
    for (name, says) in [
        ("onion", Says::value(&onion)),
        ("address", Says::value(&json!({ "ip": "192.0.2.1" }))),
        ("address6", Says::value(&json!({ "ip6": "2001:db8::1" }))),
        ("alias", Says::value(&json!({ "alias": "www.example.com." }))),
        ("loop", Says::value(&json!({ "alias": "marker-of-the-loop.bit." }))),
        ("empty", Says::value("{}")),
        ("old", Says::Expired(onion.to_string())),
        ("held", Says::value(&onion).held()),
        ("broken", Says::Code(-28)),
    ] {
        backend.say(&format!("d/{MARKER}-{name}"), says);
    }
    backend
}

/// A front before a backend and Tor; killed when dropped.
pub struct Front {
    child: Child,
    pub address: SocketAddr,
    program: Program,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Front {
    pub async fn start(backend: &Backend, tor: &Tor, arguments: &[&str]) -> Self {
        Self::start_before(backend, tor.address, arguments).await
    }

    /// Starts one that says all it can.
    pub async fn start_before(backend: &Backend, tor: SocketAddr, arguments: &[&str]) -> Self {
        let program = Program::new();
        let mut command = program.on_regtest();
        command.args(["socks", "-vv", "--listen=127.0.0.1:0", "--rpc-url", &backend.url()]);
        command.args(["--tor", &tor.to_string()]);
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
        let listens = || {
            let log = log.lock().unwrap();
            let mut lines = log.lines();
            lines.find_map(|line| line.split_once("listening on ")?.1.split_once(' ')?.0.parse().ok())
        };
        let address = until("it listens", listens).await;
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

    /// Sends it a signal.
    pub async fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.args([name, &self.child.id().to_string()]);
        assert_eq!(end_of(kill).await.status, Some(0));
    }

    /// Ends it, and asserts that all was well: status 0, no panic, and nothing told in log or files.
    pub async fn stop(mut self) {
        self.signal("-TERM").await;
        let status = until("it ends", || self.child.try_wait().unwrap()).await;
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

impl Drop for Front {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Serves within the test until that ends.
pub async fn served(backend: &Backend, tor: &Tor, limits: Limits, patience: Duration) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    served_on(listener, backend, tor, limits, patience)
}

pub fn served_on(
    listener: TcpListener,
    backend: &Backend,
    tor: &Tor,
    limits: Limits,
    patience: Duration,
) -> SocketAddr {
    let address = listener.local_addr().unwrap();
    let client = Client::new(client::Settings {
        url: backend.url(),
        login: Login::None,
        dialect: Dialect::Core,
        timeout: PATIENCE,
    });
    let backend = dns::backend::Backend::from(client.unwrap());
    let namer = Namer::new(backend, CacheSettings::default(), patience);
    let settings = server::Settings {
        tor: vec![tor.address],
        isolate: Isolate::default(),
        epoch: Arc::new(Epoch::new([7; 32])),
        limits,
    };
    tokio::spawn(server::serve(vec![listener], namer, settings, std::future::pending()));
    address
}

//! `isonym socks` as a running program, and the same within the test where bounds have to be small.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use isonym::jsonrpc::client::{Client, ClientSettings, Dialect, Login};
use isonym::naming::name_resolver::NameResolver;
use isonym::service::{CacheSettings, NameService};
use isonym::socks::identity::{IdentityEpoch, IsolationFlags};
use isonym::socks::server::{self, SocksLimits, SocksServerSettings, SocksTor};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use super::tor::Tor;
use crate::backend::{Backend, Says};
use crate::program::Program;
use crate::running::Running;

/// What all names, credentials and results have in them that must be told to nobody.
pub const MARKER: &str = "marker-of-the";

/// An onion service. Source: Tor, rend-spec-v3.
pub const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

/// Longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(200);

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
    running: Running,
    pub address: SocketAddr,
    program: Program,
    _log: tempfile::TempDir,
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
        command.args(arguments);
        let log = tempfile::tempdir().unwrap();
        let mut running = Running::start(command, &log.path().join("log"));
        let address = running.says("listening on ", " for SOCKS and HTTP CONNECT").await;
        Self {
            running,
            address: address.parse().unwrap(),
            program,
            _log: log,
        }
    }

    pub fn log(&self) -> String {
        self.running.log()
    }

    /// Sends it a signal.
    pub async fn signal(&self, name: &str) {
        self.running.signal(name).await;
    }

    /// Ends it, and asserts that all was well, and nothing told in log or files.
    pub async fn stop(self) {
        self.running.stop_having_told_nothing(&self.program, MARKER).await;
    }
}

/// Serves within the test until that ends.
pub async fn served(backend: &Backend, tor: &Tor, limits: SocksLimits, patience: Duration) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    served_on(listener, backend, tor, limits, patience)
}

pub fn served_on(
    listener: TcpListener,
    backend: &Backend,
    tor: &Tor,
    limits: SocksLimits,
    patience: Duration,
) -> SocketAddr {
    let address = listener.local_addr().unwrap();
    let client = Client::new(ClientSettings {
        url: backend.url(),
        login: Login::None,
        dialect: Dialect::Core,
        timeout: PATIENCE,
    });
    let names = NameService::remote(client.unwrap(), CacheSettings::default(), 1);
    let resolver = NameResolver::new(&names, patience);
    let settings = SocksServerSettings {
        tor: SocksTor::Port(vec![tor.address]),
        flags: IsolationFlags::default(),
        epoch: Arc::new(IdentityEpoch::new([7; 32])),
        limits,
    };
    tokio::spawn(server::serve(
        vec![listener],
        resolver,
        settings,
        std::future::pending(),
    ));
    address
}

//! The real daemon, called over JSON-RPC.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use isonym::rpc::client::{Client, ClientError, Dialect, Login, Settings};
use serde_json::{Value, json};

use crate::network::Tor;
use crate::program::Program;

/// What a call may take at most, whether it succeeds or not.
const CALL: Duration = Duration::from_secs(30);

/// How long something may take that is sure to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something holds.
pub async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(
            Instant::now() < deadline,
            "not within {} seconds: {what}",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A running daemon; it is killed when this is dropped.
pub struct Daemon {
    child: Child,
    client: Client,
    program: Program,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.program.home().join("log"));
            eprintln!("the daemon said:\n{}", log.unwrap_or_default());
        }
    }
}

impl Daemon {
    /// Starts a daemon behind a Tor and waits until its headers are up to date.
    pub async fn start(tor: &Tor, servers: &[String], arguments: &[&str]) -> Self {
        let program = Program::new();
        let log = std::fs::File::create(program.home().join("log")).unwrap();
        let mut command = program.on_regtest();
        command.args(servers.iter().map(|server| format!("--server={server}:t")));
        command.args(["-v", &tor.proxy(), "daemon", "--rpc-listen=127.0.0.1:0"]);
        command.args(arguments).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        let address = program.folder().join(".rpc-address");
        eventually("the daemon listens", async || {
            std::fs::read_to_string(&address).is_ok_and(|text| !text.is_empty())
        })
        .await;
        let client = Client::new(Settings {
            url: format!("http://{}", std::fs::read_to_string(&address).unwrap()),
            login: Login::Cookie(program.folder().join(".cookie")),
            dialect: Dialect::Core,
            timeout: CALL,
        });
        let daemon = Self {
            child,
            client: client.unwrap(),
            program,
        };
        eventually("headers are up to date", async || {
            let info = daemon.call("getblockchaininfo", &[]).await;
            info.is_ok_and(|info| info["initialblockdownload"] == false)
        })
        .await;
        daemon
    }

    pub async fn call(&self, method: &str, params: &[&str]) -> Result<Value, ClientError> {
        self.client.call(method, &json!(params)).await
    }

    /// Returns the value that is shown for a name under an isolation ID.
    pub fn shows(&self, name: &str, id: &str) -> impl Future<Output = Result<String, ClientError>> + use<> {
        let (client, params) = (self.client.clone(), json!([name, { "streamID": id }]));
        async move {
            let shown: Value = client.call("name_show", &params).await?;
            Ok(shown["value"].as_str().unwrap().to_owned())
        }
    }

    /// Says whether the pool is full, so that it opens no connection.
    pub async fn is_at_rest(&self) -> bool {
        let info = self.call("isolation_info", &[]).await.unwrap();
        info["clean"].as_u64().unwrap() >= 2 && info["opening"] == 0
    }
}

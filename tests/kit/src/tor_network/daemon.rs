//! The real daemon, called over JSON-RPC.

use std::time::Duration;

use isonym::jsonrpc::client::{Client, ClientError, ClientSettings, Dialect, Login};
use serde_json::{Value, json};

use super::client::Tor;
use crate::program::Program;
use crate::running::{Running, eventually};

/// What a call may take at most, whether it succeeds or not.
const CALL: Duration = Duration::from_secs(30);

/// A running daemon; it is killed when this is dropped.
pub struct Daemon {
    pub running: Running,
    client: Client,
    url: String,
    program: Program,
    arguments: Vec<String>,
}

impl Daemon {
    /// Starts a daemon behind a Tor and waits until its headers are up to date.
    pub async fn start(tor: &Tor, servers: &[String], arguments: &[&str]) -> Self {
        let proxy = tor.proxy();
        Self::start_by(&[&proxy], servers, arguments).await
    }

    /// Starts a daemon that goes out as these arguments say, and waits until its headers are up to date.
    pub async fn start_by(way_out: &[&str], servers: &[String], arguments: &[&str]) -> Self {
        let program = Program::new();
        let mut all: Vec<_> = servers.iter().map(|server| format!("--server={server}:t")).collect();
        all.extend(way_out.iter().map(|argument| (*argument).to_owned()));
        all.extend(["-v", "daemon", "--rpc-listen=127.0.0.1:0"].map(str::to_owned));
        // With more of them header sync closes those that it needs no more, which are no lookups'.
        all.push("--sync-connections=1".to_owned());
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let (running, client, url) = start(&program, &all).await;
        let daemon = Self {
            running,
            client,
            url,
            program,
            arguments: all,
        };
        daemon.up_to_date().await;
        daemon
    }

    /// Starts it again with the same arguments, where it was killed.
    pub async fn go_on(&mut self) {
        (self.running, self.client, self.url) = start(&self.program, &self.arguments).await;
        self.up_to_date().await;
    }

    async fn up_to_date(&self) {
        eventually("headers are up to date", async || {
            let info = self.call("getblockchaininfo", &[]).await;
            info.is_ok_and(|info| info["initialblockdownload"] == false)
        })
        .await;
    }

    /// Asserts that neither its log nor its files have any of these words in them.
    pub fn assert_tells_nothing_of(&self, words: &[&str]) {
        let mut folders = vec![self.program.home().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                // Nothing can be read of a socket.
                if !path.is_file() {
                    continue;
                }
                let content = std::fs::read(&path).unwrap();
                let content = String::from_utf8_lossy(&content);
                for word in words {
                    assert!(!content.contains(word), "{word} is in {}: {content}", path.display());
                }
            }
        }
    }

    /// Returns the program, whose other commands find this daemon.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Returns where it answers.
    pub fn url(&self) -> &str {
        &self.url
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
}

async fn start(program: &Program, arguments: &[String]) -> (Running, Client, String) {
    let address = program.folder().join(".rpc-address");
    // That of one that was killed is no news.
    let _ = std::fs::remove_file(&address);
    let mut command = program.on_regtest();
    command.args(arguments);
    let running = Running::start(command, &program.home().join("log"));
    eventually("the daemon listens", async || {
        std::fs::read_to_string(&address).is_ok_and(|text| !text.is_empty())
    })
    .await;
    let url = format!("http://{}", std::fs::read_to_string(&address).unwrap());
    let client = Client::new(ClientSettings {
        url: url.clone(),
        login: Login::Cookie(program.folder().join(".cookie")),
        dialect: Dialect::Core,
        timeout: CALL,
    });
    (running, client.unwrap(), url)
}

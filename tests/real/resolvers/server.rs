//! Our server with keys of its own, and a stand-in for the `name_show` behind it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use axum::extract::State;
use axum::response::Json;
use axum::routing::post;
use axum::serve::ListenerExt as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bitcoin::hex::FromHex as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::Process;

/// Names and the values that they have.
pub type Names = BTreeMap<&'static str, Value>;

/// What a `name_show` was asked for: each name and its isolation ID.
pub type Asked = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// Serves names as Namecoin Core does, until all tests end. Returns where, and what it is asked.
pub fn name_show(names: Names) -> (SocketAddr, Asked) {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let asked = Asked::default();
    let app = axum::Router::new()
        .route("/", post(shown))
        .with_state((Arc::new(names), Arc::clone(&asked)));
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
            axum::serve(listener, app).await.unwrap();
        });
    });
    (address, asked)
}

async fn shown(State((names, asked)): State<(Arc<Names>, Asked)>, body: String) -> Json<Value> {
    let request: Value = serde_json::from_str(&body).unwrap();
    let name = request["params"][0].as_str().unwrap().to_owned();
    let id = request["params"][1]["streamID"].as_str().map(str::to_owned);
    asked.lock().unwrap().push((name.clone(), id));
    let (result, error) = match names.get(name.as_str()) {
        Some(value) => {
            let result = json!({
                "name": name, "name_encoding": "ascii", "value": value.to_string(), "value_encoding": "ascii",
                "txid": "00".repeat(32),
                "vout": 0, "address": "", "height": 1, "expires_in": 100, "expired": false,
            });
            (result, Value::Null)
        }
        None => (Value::Null, json!({ "code": -4, "message": "name never existed" })),
    };
    Json(json!({ "result": result, "error": error, "id": request["id"] }))
}

fn isonym() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isonym"));
    command.env_clear();
    command
}

/// Keys of a zone.
pub struct Keys {
    home: TempDir,
    zone: String,
}

impl Keys {
    pub fn new(zone: &str, algorithm: &str) -> Self {
        let (home, zone) = (tempfile::tempdir().unwrap(), zone.to_owned());
        let keys = Self { home, zone };
        keys.tool("keygen", &["--algorithm", algorithm]);
        keys
    }

    fn tool(&self, command: &str, arguments: &[&str]) -> String {
        let mut tool = isonym();
        tool.args(["dnssec", command, "--zone", &self.zone]).args(arguments);
        let output = tool.arg(self.home.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The DS record, as in a zone file.
    pub fn ds(&self) -> String {
        self.tool("ds", &[]).lines().next().unwrap().to_owned()
    }

    /// The DS record as an item of a name's value.
    pub fn ds_item(&self) -> Value {
        let line = self.ds();
        let fields: Vec<&str> = line.split(' ').skip(3).collect();
        let number = |at: usize| fields[at].parse::<u16>().unwrap();
        let digest = BASE64_STANDARD.encode(Vec::from_hex(fields[3]).unwrap());
        json!([[number(0), number(1), number(2), digest]])
    }

    /// A file with the trust anchor as delv and BIND read it.
    pub fn anchor_file(&self) -> PathBuf {
        let text = self.tool("ds", &[]);
        let anchor = text.lines().find(|line| line.contains("static-ds")).unwrap();
        let path = self.home.path().join("anchor");
        fs::write(&path, anchor.trim_start_matches(';')).unwrap();
        path
    }
}

/// A running server.
pub struct Server {
    pub address: SocketAddr,
    _process: Process,
}

impl Server {
    /// Serves a zone, signed where there are keys for it.
    pub fn start(listen: &str, names: SocketAddr, zone: &str, keys: Option<&Keys>) -> Self {
        Self::start_with(&[], listen, names, zone, keys)
    }

    /// Serves a zone by more options.
    pub fn start_with(options: &[&str], listen: &str, names: SocketAddr, zone: &str, keys: Option<&Keys>) -> Self {
        let mut command = isonym();
        let backend = format!("http://{names}");
        command.args(["dns", "--listen", listen, "--suffix", zone, "--rpc-url", &backend]);
        command.args(options);
        if let Some(keys) = keys {
            command.arg("--dnssec").arg(keys.home.path());
        }
        let (process, line) = Process::start(&mut command, "listening on").unwrap();
        let address = line.split(' ').nth(2).unwrap().parse().unwrap();
        Self {
            address,
            _process: process,
        }
    }
}

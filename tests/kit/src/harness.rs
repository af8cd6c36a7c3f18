//! A running daemon, ways to call it, and what it must not have told when it ends.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use bitcoin::hex::DisplayHex;
use isonym_sim::{Ledger, SharedWorld, World};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::program::{End, Program};
use crate::running::signal;
use crate::stage::{NAME, Stage, name_id};

/// How long anything may take that comes by itself: so long that no load of the machine reaches it.
pub const PATIENCE: Duration = Duration::from_secs(400);

/// What all names, values, isolation IDs and passwords of these tests have in them.
const MARKERS: [&str; 2] = ["marker-of-the", "marker of the"];

/// A stage with so many honest servers, and the world that they share.
pub async fn honest(world: World, servers: usize) -> (Stage, SharedWorld) {
    let world = SharedWorld::new(world);
    let hosts = vec![(world.clone(), isonym_sim::Release::default(), None); servers];
    (Stage::with_worlds(hosts).await, world)
}

/// An isolation ID of these tests.
pub fn id(number: usize) -> String {
    format!("marker-of-the-id-{number}")
}

/// The arguments that lead the program to a stage.
pub fn way(stage: &Stage) -> Vec<String> {
    let proxy = format!("--proxy=socks5://{}", stage.proxy.addr);
    let servers = stage.hosts.iter().map(|host| format!("--server={}:50001:t", host.name));
    [proxy].into_iter().chain(servers).collect()
}

/// Runs a command to its end while the stage goes on.
pub async fn end_of(mut command: Command) -> End {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    timeout(PATIENCE, output).await.unwrap().unwrap().into()
}

/// Asks again and again until the answer is there.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"))
}

/// What HTTP brought back; status 0 when the connection ended instead.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

/// Sends bytes and reads to the end of what comes back.
pub async fn send(address: SocketAddr, request: String) -> Reply {
    let sent = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_default();
        Reply {
            status: head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap()),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    });
    timeout(PATIENCE, sent).await.unwrap().unwrap()
}

fn post(headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

/// A connection that is kept from call to call.
pub struct Line {
    stream: tokio::net::TcpStream,
    unread: Vec<u8>,
}

impl Line {
    pub async fn open(daemon: &Daemon) -> Self {
        Self {
            stream: tokio::net::TcpStream::connect(daemon.address).await.unwrap(),
            unread: Vec::new(),
        }
    }

    pub async fn ask(&mut self, request: &[u8]) -> Reply {
        // A body that is too large is answered and not read: then the stream ends while it is written.
        let _ = self.stream.write_all(request).await;
        timeout(PATIENCE, self.reply()).await.unwrap()
    }

    async fn reply(&mut self) -> Reply {
        loop {
            let end = self.unread.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                let head = String::from_utf8(self.unread[..end].to_vec()).unwrap().to_lowercase();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .map_or(0, |length| length.parse().unwrap());
                if self.unread.len() >= end + 4 + length {
                    let rest = self.unread.split_off(end + 4 + length);
                    let body = String::from_utf8(self.unread[end + 4..].to_vec()).unwrap();
                    self.unread = rest;
                    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                    return Reply { status, head, body };
                }
            }
            let read = self.stream.read_buf(&mut self.unread).await.unwrap();
            assert_ne!(read, 0, "hung up after {:?}", String::from_utf8_lossy(&self.unread));
        }
    }
}

/// How to ask the daemon to end.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    Terminate,
    Interrupt,
    Quit,
    Call,
}

/// A daemon on regtest; killed when dropped.
pub struct Daemon {
    child: Child,
    pub address: SocketAddr,
    pub folder: PathBuf,
    user: Option<String>,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Starts one that says all it can, and waits until it listens.
    pub async fn start(program: &Program, stage: &Stage, arguments: &[&str]) -> Self {
        Self::start_by(program.on_regtest(), program, &way(stage), arguments).await
    }

    /// Starts one with this way to its servers.
    pub async fn start_on(program: &Program, way: &[String], arguments: &[&str]) -> Self {
        Self::start_by(program.on_regtest(), program, way, arguments).await
    }

    /// Starts one that may have so many open files: `SOFT:HARD` as prlimit has it.
    pub async fn start_with_files(program: &Program, stage: &Stage, files: &str, arguments: &[&str]) -> Self {
        let plain = program.on_regtest();
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--nofile={files}")).arg(plain.get_program());
        limited.args(plain.get_args()).env_clear().env("PATH", "/usr/bin:/bin");
        let variables = plain.get_envs();
        limited.envs(variables.filter_map(|(name, value)| Some((name, value?))));
        limited.stdin(Stdio::null()).stderr(Stdio::piped());
        Self::start_by(limited, program, &way(stage), arguments).await
    }

    async fn start_by(mut command: Command, program: &Program, way: &[String], arguments: &[&str]) -> Self {
        command.args(way);
        command.args(["daemon", "-vv"]).args(arguments).stdout(Stdio::null());
        if !arguments.iter().any(|argument| argument.starts_with("--rpc-listen")) {
            command.arg("--rpc-listen=127.0.0.1:0");
        }
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
        let mut daemon = Self {
            child,
            address: ([0, 0, 0, 0], 0).into(),
            folder: program.folder(),
            user: None,
            log,
            reader: Some(reader),
        };
        until("the daemon listens", async || {
            daemon.log().contains("listening on http://").then_some(())
        })
        .await;
        let address = fs::read_to_string(daemon.folder.join(".rpc-address")).unwrap();
        daemon.address = address.parse().unwrap();
        daemon
    }

    /// Starts one, and waits until its headers are up to date.
    pub async fn ready(program: &Program, stage: &Stage, arguments: &[&str]) -> Self {
        let daemon = Self::start(program, stage, arguments).await;
        daemon.synced().await;
        daemon
    }

    pub async fn synced(&self) {
        until("headers are up to date", async || {
            let info = self.call("getinfo", json!([])).await.unwrap();
            info["synchronized"].as_bool().unwrap().then_some(())
        })
        .await;
    }

    /// Calls it by this `USER:PASSWORD` instead of the cookie.
    pub fn calling_as(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// `USER:PASSWORD`.
    pub fn user(&self) -> String {
        let cookie = || fs::read_to_string(self.folder.join(".cookie")).unwrap();
        self.user.clone().unwrap_or_else(cookie)
    }

    pub fn authorization(&self) -> String {
        let line = base64::engine::general_purpose::STANDARD.encode(self.user());
        format!("Authorization: Basic {line}\r\n")
    }

    /// The start of a request of its owner's, to which more headers may be added.
    pub fn head(&self) -> String {
        format!("POST / HTTP/1.1\r\nHost: {}\r\n{}", self.address, self.authorization())
    }

    /// A request of its owner's over a connection that is kept.
    pub fn with_body(&self, body: &[u8]) -> Vec<u8> {
        let head = format!("{}Content-Length: {}\r\n\r\n", self.head(), body.len());
        [head.as_bytes(), body].concat()
    }

    /// Posts a body with these header lines.
    pub async fn post(&self, headers: &str, body: &str) -> Reply {
        send(self.address, post(headers, body)).await
    }

    /// Posts JSON as its owner may.
    pub async fn ask(&self, request: &Value) -> Reply {
        send(self.address, self.request(request)).await
    }

    /// The bytes of [`Self::ask`].
    pub fn request(&self, request: &Value) -> String {
        let headers = format!("Host: {}\r\n{}", self.address, self.authorization());
        post(&headers, &request.to_string())
    }

    /// Calls a method; the error as its code and message.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, (i64, String)> {
        let request = json!({ "method": method, "params": params, "id": 1 });
        let mut reply = self.ask(&request).await.json();
        match &reply["error"] {
            Value::Null => Ok(reply["result"].take()),
            error => Err((
                error["code"].as_i64().unwrap(),
                error["message"].as_str().unwrap().to_owned(),
            )),
        }
    }

    /// Looks the name up for an ID; returns its value.
    pub async fn value(&self, id: &str) -> Result<String, (i64, String)> {
        let shown = self.call("name_show", json!([NAME, { "streamID": id }])).await?;
        Ok(shown["value"].as_str().unwrap().to_owned())
    }

    /// As [`Self::value`], asked for now, whatever is remembered.
    pub async fn value_of_now(&self, id: &str) -> Result<String, (i64, String)> {
        let options = json!({ "streamID": id, "maxAge": 0 });
        let shown = self.call("name_show", json!([NAME, options])).await?;
        Ok(shown["value"].as_str().unwrap().to_owned())
    }

    /// Ends it, and asserts that all was well: status 0, nothing left that lets callers in, and nothing told.
    pub async fn stop(mut self, stop: Stop, ledger: &Ledger) {
        let user = self.user();
        let name = match stop {
            Stop::Terminate => Some("-TERM"),
            Stop::Interrupt => Some("-INT"),
            Stop::Quit => Some("-QUIT"),
            Stop::Call => None,
        };
        if let Some(name) = name {
            assert_eq!(end_of(signal(name, self.pid())).await.status, Some(0));
        } else {
            let said = self.call("stop", json!([])).await;
            assert_eq!(said, Ok(json!("Isonym stopping")));
        }
        let status: ExitStatus = until("the daemon ends", || {
            let ended = self.child.try_wait().unwrap();
            async move { ended }
        })
        .await;
        self.reader.take().unwrap().join().unwrap();
        let log = self.log();
        assert_eq!(status.code(), Some(0), "{stop:?}: {log}");
        assert!(!log.contains("panicked"), "{log}");
        for file in [".cookie", ".cookie.tmp", ".rpc-address", "rpc.sock"] {
            assert!(!self.folder.join(file).exists(), "{stop:?} leaves {file}");
        }
        assert_nothing_told(&self.folder, &log, &user, ledger);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Everything by which a lookup or a caller could be recognised in a file or a log.
fn markers(user: &str, ledger: &Ledger) -> Vec<Vec<u8>> {
    let scripthash = name_id(NAME).scripthash();
    let mut markers = vec![scripthash.to_string().into_bytes(), scripthash.0.to_vec()];
    for text in MARKERS {
        markers.push(text.as_bytes().to_vec());
        markers.push(text.as_bytes().to_lower_hex_string().into_bytes());
    }
    for way in ledger.proxied() {
        let credentials = way.credentials.unwrap();
        markers.push(credentials.user.into_bytes());
        markers.push(credentials.password.into_bytes());
    }
    let (_, password) = user.split_once(':').unwrap();
    markers.push(password.as_bytes().to_vec());
    let line = base64::engine::general_purpose::STANDARD.encode(user);
    markers.push(line.into_bytes());
    markers
}

fn assert_nothing_told(folder: &Path, log: &str, user: &str, ledger: &Ledger) {
    let markers = markers(user, ledger);
    let files = files_below(folder);
    assert!(files.len() >= 3, "{files:?}");
    let texts = files
        .iter()
        .map(|file| (file.display().to_string(), fs::read(file).unwrap()));
    let log = ("the log".to_owned(), log.as_bytes().to_vec());
    for (place, bytes) in texts.chain([log]) {
        let bytes = bytes.to_ascii_lowercase();
        for marker in &markers {
            let marker = marker.to_ascii_lowercase();
            let found = bytes.windows(marker.len()).any(|window| window == marker);
            assert!(!found, "{place} tells {}", String::from_utf8_lossy(&marker));
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] })
        .collect()
}

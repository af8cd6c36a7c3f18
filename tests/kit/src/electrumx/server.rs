//! Real ElectrumX servers, in front of [`CoreRpc`].

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rand::Rng as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::core_rpc::CoreRpc;

/// How long a server may take to start and index what it is given, in steps of [`STEP`].
const PATIENCE_STEPS: u32 = 600;
const STEP: Duration = Duration::from_millis(100);

/// A release of `ElectrumX` (`e-x` on `PyPI`), and how it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// 1.16.0: up to protocol 1.4.2, as most public Namecoin servers.
    V1_16,
    /// 1.17.0: up to protocol 1.4.3, which has name proofs.
    V1_17,
    /// 1.18.0: up to 1.4.3, and small replies are held back.
    V1_18,
    /// 2.0.0: up to 1.7, and truncated header arrays are cut wrongly.
    V2_0,
}

impl Release {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::V1_16, Self::V1_17, Self::V1_18, Self::V2_0];

    /// Returns its number.
    pub const fn version(self) -> &'static str {
        match self {
            Self::V1_16 => "1.16.0",
            Self::V1_17 => "1.17.0",
            Self::V1_18 => "1.18.0",
            Self::V2_0 => "2.0.0",
        }
    }
}

/// How the program reaches a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain TCP.
    Tcp,
    /// TLS, with a certificate that the server signed itself.
    Tls,
}

/// A running ElectrumX on three free ports of the loopback interface, one of them for who runs it. Dropping it ends it; so does the end of
/// this process, however it comes, by the pipe to the server's standard input.
pub struct ElectrumX {
    child: Child,
    tcp: u16,
    tls: u16,
    admin: u16,
    folder: TempDir,
}

impl ElectrumX {
    /// Starts a server and waits until it serves the tip of `core`'s chain, at `tip`.
    ///
    /// # Panics
    /// With the end of the server's log when it does not get there within a minute.
    pub fn start(release: Release, core: &CoreRpc, tip: usize) -> Self {
        Self::start_with(release, core, tip, &[])
    }

    /// The same with settings of its own, by their names in the server's environment.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_with(release: Release, core: &CoreRpc, tip: usize, settings: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (tcp, tls, admin) = (free_port(), free_port(), free_port());
        let child = spawn(release, core, folder.path(), (tcp, tls, admin), settings);
        let mut server = Self {
            child,
            tcp,
            tls,
            admin,
            folder,
        };
        server.wait_for(tip);
        server
    }

    /// Returns what `--server` takes.
    pub fn server(&self, transport: Transport) -> String {
        let kind = match transport {
            Transport::Tcp => 't',
            Transport::Tls => 's',
        };
        format!("{}:{kind}", self.address(transport))
    }

    /// Returns where it listens.
    pub fn address(&self, transport: Transport) -> SocketAddr {
        let port = match transport {
            Transport::Tcp => self.tcp,
            Transport::Tls => self.tls,
        };
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// Returns the ports from which connections came, by the server's own log.
    pub fn peers(&self) -> Vec<u16> {
        let log = self.log();
        let peers = log
            .lines()
            .filter(|line| line.ends_with(" total"))
            .filter_map(|line| line.split_once("127.0.0.1:")?.1.split(',').next()?.parse().ok());
        peers.collect()
    }

    fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Opens a plain connection that asks and prints lines.
    pub fn lines(&self) -> Lines {
        Lines::open(self.tcp).expect("a server that was waited for takes connections")
    }

    /// The same for who runs the server.
    pub fn admin(&self) -> Lines {
        Lines::open(self.admin).expect("a server that was waited for takes connections")
    }

    /// Waits until the server's tip is at `tip`.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn wait_for(&mut self, tip: usize) {
        let mut last = None;
        for _ in 0..PATIENCE_STEPS {
            last = tip_height(self.tcp);
            if last == Some(tip) {
                return;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!(
                    "ElectrumX ended with {status} before it served height {tip}:\n{}",
                    self.log_tail()
                );
            }
            thread::sleep(STEP);
        }
        panic!(
            "ElectrumX is at height {last:?} and not at {tip} after a minute:\n{}",
            self.log_tail()
        );
    }

    /// Says whether a text is anywhere in the server's log.
    pub fn logged(&self, text: &str) -> bool {
        self.log().contains(text)
    }

    /// Returns the end of the server's log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for ElectrumX {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_gone = self.child.wait();
    }
}

fn spawn(
    release: Release,
    core: &CoreRpc,
    folder: &Path,
    (tcp, tls, admin): (u16, u16, u16),
    settings: &[(&str, String)],
) -> Child {
    let python = environments().join(release.version()).join("bin/python");
    assert!(
        python.exists(),
        "ElectrumX {} is not installed: run tests/install",
        release.version()
    );
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate can be made");
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    fs::write(&certificate, certified.cert.pem()).expect("the folder takes files");
    fs::write(&key, certified.signing_key.serialize_pem()).expect("the folder takes files");
    let database = folder.join("database");
    fs::create_dir(&database).expect("the folder takes folders");
    let log = File::create(folder.join("log")).expect("the folder takes files");
    Command::new(&python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("electrumx/serve.py"))
        .env_clear()
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("COIN", "Namecoin")
        .env("NET", "regtest")
        .env("DB_ENGINE", "leveldb")
        .env("DB_DIRECTORY", database)
        .env("DAEMON_URL", core.url())
        .env("DAEMON_POLL_INTERVAL_BLOCKS", "100")
        .env("DAEMON_POLL_INTERVAL_MEMPOOL", "1000")
        .env(
            "SERVICES",
            format!("tcp://127.0.0.1:{tcp},ssl://127.0.0.1:{tls},rpc://127.0.0.1:{admin}"),
        )
        .env("SSL_CERTFILE", certificate)
        .env("SSL_KEYFILE", key)
        .env("ALLOW_ROOT", "1")
        .env("PEER_DISCOVERY", "off")
        .env("PEER_ANNOUNCE", "")
        .env("CACHE_MB", "50")
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().expect("the log can be shared"))
        .stderr(log)
        .spawn()
        .expect("Python runs")
}

/// Where `tests/install` puts the servers: under `target` in the checkout, also when Cargo builds elsewhere.
fn environments() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/electrumx")
}

/// Picks a free port below the range from which the system picks ports for outgoing connections, so that none
/// of these takes it before the server does; never the same one twice.
fn free_port() -> u16 {
    static TAKEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let port = rand::rng().random_range(12_000..32_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && taken.insert(port) {
            return port;
        }
    }
}

fn tip_height(port: u16) -> Option<usize> {
    let mut lines = Lines::open(port)?;
    lines.ask("server.version", &json!(["", "1.4"]))?;
    let tip = lines.ask("blockchain.headers.subscribe", &json!([]))?;
    usize::try_from(tip["height"].as_u64()?).ok()
}

/// A connection that sends a request as a line and reads the reply as a line, and no more.
pub struct Lines {
    reader: BufReader<TcpStream>,
}

impl Lines {
    fn open(port: u16) -> Option<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        Some(Self {
            reader: BufReader::new(stream),
        })
    }

    /// Sends one request and returns its result; notifications that come before it are left out.
    pub fn ask(&mut self, method: &str, params: &Value) -> Option<Value> {
        let request = json!({ "jsonrpc": "2.0", "id": 0, "method": method, "params": params });
        self.say(&request.to_string())?;
        loop {
            let mut reply: Value = serde_json::from_str(&self.hear()?).ok()?;
            if reply.get("id").is_some() {
                return reply.get_mut("result").map(Value::take);
            }
        }
    }

    /// Sends a line.
    pub fn say(&mut self, line: &str) -> Option<()> {
        // In one piece: many small ones would wait for each other's acknowledgement.
        self.reader.get_mut().write_all(format!("{line}\n").as_bytes()).ok()
    }

    /// Reads a line with its newline; `None` at the end of the connection.
    pub fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).ok().filter(|size| *size > 0)?;
        Some(line)
    }
}

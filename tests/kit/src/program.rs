//! The real program, and a simulated world for it to look at.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

use isonym_sim::link::Link;
use isonym_sim::proxy::Mode;
use isonym_sim::{Host, Ledger, Proxy, Release, Server, SharedWorld, Transport, World};
use tokio::sync::oneshot;

/// Where Cargo put the program: beside the folder of the test or benchmark that runs. Or the one that
/// `ISONYM_TEST_PROGRAM` names, as one that was installed.
pub fn isonym() -> PathBuf {
    if let Some(named) = std::env::var_os("ISONYM_TEST_PROGRAM") {
        return named.into();
    }
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    folder.join("isonym")
}

/// The program, without anything of the user's own: no settings in the environment, an empty home.
pub struct Program {
    home: tempfile::TempDir,
}

impl Program {
    pub fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
        }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The folder of regtest's headers.
    pub fn folder(&self) -> PathBuf {
        self.home().join("data").join("regtest")
    }

    pub fn known_servers(&self) -> PathBuf {
        self.folder().join("known-servers")
    }

    /// The program itself, told nothing yet but where its home is.
    pub fn bare(&self) -> Command {
        let mut command = Command::new(isonym());
        command
            .env_clear()
            .env("HOME", self.home())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The program on regtest, with its own data folder, without a proxy.
    pub fn direct(&self) -> Command {
        let mut command = self.on_regtest();
        command.arg("--direct");
        command
    }

    pub fn on_regtest(&self) -> Command {
        let mut command = self.bare();
        let data = self.home().join("data");
        command.args(["--network", "regtest", "--datadir"]).arg(data);
        command
    }
}

/// How the program ended and what it said.
#[derive(Debug)]
pub struct End {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for End {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl End {
    /// Runs a command to its end.
    pub fn of<A: AsRef<OsStr>>(command: &mut Command, arguments: impl IntoIterator<Item = A>) -> Self {
        command.args(arguments).output().unwrap().into()
    }

    /// Asserts that it failed as failures should: status 1, nothing on standard output, these words in one message,
    /// and no panic.
    #[track_caller]
    pub fn assert_failed(&self, words: &[&str]) {
        assert_eq!((self.status, self.out.as_str()), (Some(1), ""), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in {}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }

    #[track_caller]
    pub fn assert_succeeded(&self) {
        assert_eq!(self.status, Some(0), "{self:?}");
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

/// A simulated server, and a proxy that knows the way to it as `server.sim`, on a thread of their own.
pub struct Stage {
    pub server: SocketAddr,
    pub proxy: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stage {
    pub fn new(world: World, transport: Transport, mode: Mode) -> Self {
        Self::start(world, transport, async move |ledger| {
            Proxy::start(mode, ledger).await.unwrap()
        })
    }

    /// A stage on which everything that goes through the proxy takes its time.
    pub fn slow(world: World, link: Link) -> Self {
        Self::start(world, Transport::Tcp, async move |ledger| {
            Proxy::over(link, ledger).await.unwrap()
        })
    }

    fn start<F>(world: World, transport: Transport, proxy: impl FnOnce(Ledger) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Proxy>,
    {
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let ledger = Ledger::new();
                let proxy = proxy(ledger.clone()).await;
                let server = Server::new(Release::default(), None);
                let host = Host::start("server.sim", transport, server, SharedWorld::new(world), ledger)
                    .await
                    .unwrap();
                proxy.route("server.sim", host.addr);
                tell.send((host.addr, proxy.addr)).unwrap();
                let _ = stopped.await;
            });
        });
        let (server, proxy) = told.recv().unwrap();
        Self {
            server,
            proxy,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn honest(world: World) -> Self {
        Self::new(world, Transport::Tcp, Mode::Open)
    }

    /// The server's address as an argument, `t` for TCP or `s` for TLS.
    pub fn server(&self, transport: char) -> String {
        format!("--server={}:{transport}", self.server)
    }

    pub fn proxy(&self) -> String {
        format!("--proxy=socks5://{}", self.proxy)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

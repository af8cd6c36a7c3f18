//! A Tor that somebody uses.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::circuits::circuits_of_streams_to;
use super::control::Control;
use super::process::{Process, common, complaints, free_port, run};
use super::record::Record;

/// How long one Tor may take to be ready.
const READY: Duration = Duration::from_secs(60);

/// The password of a naming client's control port, beside the cookie.
pub const PASSWORD: &str = "open \"sesame\" \\ please";

/// A Tor of its own that no other test uses.
pub struct Tor {
    folder: PathBuf,
    ports: Ports,
    torrc: Vec<String>,
    process: Option<Process>,
}

/// Where it listens.
#[derive(Clone, Copy)]
pub struct Ports {
    control: u16,
    pub socks: u16,
    /// `HTTPTunnelPort` and `DNSPort`, of a naming client alone.
    pub http: u16,
    pub dns: u16,
}

impl Ports {
    fn new() -> Self {
        Self {
            control: free_port(),
            socks: free_port(),
            http: free_port(),
            dns: free_port(),
        }
    }
}

impl Tor {
    /// Starts a Tor without ports for applications.
    pub fn start(root: &Path, name: &str, authorities: &[String]) -> Result<Self, String> {
        Self::begin(root, name, authorities, Ports::new(), vec!["SocksPort 0".to_owned()])
    }

    /// Starts a client. With conflux the streams of one circuit could move to another.
    pub fn client(root: &Path, name: &str, authorities: &[String]) -> Result<Self, String> {
        let ports = Ports::new();
        Self::begin(root, name, authorities, ports, client(ports))
    }

    /// Starts a client whose names somebody else may resolve over the control port. With `unattached` its streams wait
    /// for that.
    pub fn naming(root: &Path, name: &str, authorities: &[String], unattached: bool) -> Result<Self, String> {
        let ports = Ports::new();
        let mut torrc = client(ports);
        torrc.push(format!("HTTPTunnelPort 127.0.0.1:{}", ports.http));
        torrc.push(format!("DNSPort 127.0.0.1:{}", ports.dns));
        torrc.push(format!("ControlSocket {}", socket(&root.join(name)).display()));
        let hash = run("tor", &["--quiet", "--hash-password", PASSWORD], b"")?;
        torrc.push(format!("HashedControlPassword {}", hash.trim()));
        torrc.push(format!("__LeaveStreamsUnattached {}", u8::from(unattached)));
        Self::begin(root, name, authorities, ports, torrc)
    }

    /// Starts a client that reaches nobody: the one authority that it knows is at a port where nobody listens.
    pub fn stuck(name: &str, more: &[&str]) -> Result<Self, String> {
        let root = tempfile::Builder::new().prefix("isonym-tor-").tempdir();
        // What keeps the Tor removes it.
        let root = root.map_err(|error| error.to_string())?.keep();
        let ports = Ports::new();
        let mut torrc = client(ports);
        torrc.extend(more.iter().map(|line| (*line).to_owned()));
        let fingerprint = "0123456789ABCDEF".repeat(3)[..40].to_owned();
        let nobody = format!("DirAuthority nobody orport=1 v3ident={fingerprint} 127.0.0.1:1 {fingerprint}");
        let mut tor = Self::new(&root, name, &[nobody], ports, torrc);
        tor.go_on_until("PROGRESS=5 TAG=conn SUMMARY=\"Connecting to a relay\" WARNING=\"Connection refused\"")?;
        Ok(tor)
    }

    fn begin(
        root: &Path,
        name: &str,
        authorities: &[String],
        ports: Ports,
        torrc: Vec<String>,
    ) -> Result<Self, String> {
        let mut tor = Self::new(root, name, authorities, ports, torrc);
        tor.go_on()?;
        Ok(tor)
    }

    fn new(root: &Path, name: &str, authorities: &[String], ports: Ports, mut torrc: Vec<String>) -> Self {
        let folder = root.join(name);
        torrc.extend(common(&folder, ports.control, authorities));
        Self {
            folder,
            ports,
            torrc,
            process: None,
        }
    }

    /// Starts it, again where it was killed, and waits until it is ready.
    pub fn go_on(&mut self) -> Result<(), String> {
        self.go_on_until("PROGRESS=100 ")
    }

    /// Starts it, and waits until it says these words of how far it is.
    fn go_on_until(&mut self, words: &str) -> Result<(), String> {
        self.process = Some(Process::start(&self.folder, &self.torrc)?);
        let deadline = Instant::now() + READY;
        loop {
            let phase = self
                .control()
                .and_then(|mut control| control.command("GETINFO status/bootstrap-phase"));
            match phase {
                Ok(lines) if lines[0].contains(words) => return Ok(()),
                _ if Instant::now() < deadline => thread::sleep(Duration::from_millis(50)),
                other => return Err(format!("a Tor is not ready: {other:?}; {}", complaints(&self.folder))),
            }
        }
    }

    /// Kills it. It leaves nothing.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Returns the address of its SOCKS port, as an argument of the program.
    pub fn proxy(&self) -> String {
        format!("--proxy=socks5://127.0.0.1:{}", self.ports.socks)
    }

    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Returns where its control port is, as an argument of the program.
    pub fn control_port(&self) -> String {
        format!("127.0.0.1:{}", self.ports.control)
    }

    /// Returns where its control port is among the files.
    pub fn control_socket(&self) -> PathBuf {
        socket(&self.folder)
    }

    pub fn cookie(&self) -> PathBuf {
        self.folder.join("control_auth_cookie")
    }

    /// Has it listen for SOCKS on more ports, with these flags.
    pub fn listen_too(&self, flags: &[&str]) -> Vec<u16> {
        let ports: Vec<u16> = flags.iter().map(|_| free_port()).collect();
        let more = ports.iter().zip(flags);
        let more = more.map(|(port, flags)| format!(" SocksPort=\"127.0.0.1:{port} {flags}\""));
        let all = format!(
            "SETCONF SocksPort=127.0.0.1:{}{}",
            self.ports.socks,
            more.collect::<String>()
        );
        self.control().unwrap().command(&all).unwrap();
        ports
    }

    pub fn control(&self) -> Result<Control, String> {
        Control::open(self.ports.control, &self.cookie())
    }

    /// Returns which circuits streams to a port of this machine are on, where it has onion services.
    pub fn circuits_of_streams_to(&self, port: u16) -> Vec<String> {
        circuits_of_streams_to(&mut self.control().unwrap(), &self.folder, port)
    }

    /// Takes down what becomes of streams from now on.
    pub fn record(&self) -> Record {
        Record::of(self.control().unwrap())
    }
}

fn client(ports: Ports) -> Vec<String> {
    vec![
        "ClientOnly 1".to_owned(),
        format!("SocksPort 127.0.0.1:{}", ports.socks),
        "ConfluxEnabled 0".to_owned(),
    ]
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("control")
}

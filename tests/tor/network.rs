//! A private Tor network on 127.0.0.1: four directory authorities, which are all its relays, exits and onion service
//! directories too; a Tor that onion services stand behind; and clients. Four is the least that onion services need.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::control::{Control, Record};

const AUTHORITIES: usize = 4;

/// Seconds between two consensuses: one is enough for all tests.
const VOTING_INTERVAL: u64 = 1800;

/// Seconds for the votes and for the signatures; Tor takes no fewer than two.
const VOTE_DELAY: u64 = 2;

/// Seconds that the authorities get to start before they vote, for one try after the other.
const LEADS: [u64; 3] = [2, 5, 10];

/// How long one Tor may take to be ready.
const READY: Duration = Duration::from_secs(60);

/// Runs one Tor; ends it, and removes its files, when the other end of standard input is gone. So nothing is left
/// whatever becomes of the tests.
const KEEPER: &str = r#"
cd /
tor -f "$1/torrc" --defaults-torrc "$1/empty" </dev/null &
read -r _
kill -KILL $!
wait
rm -rf "$1"
rmdir "${1%/*}" 2>/dev/null
"#;

/// Returns the network that all tests share, begun by the first.
pub fn network() -> &'static Network {
    static NETWORK: OnceLock<Result<Network, String>> = OnceLock::new();
    match NETWORK.get_or_init(Network::start) {
        Ok(network) => network,
        Err(reason) => panic!("{reason}"),
    }
}

pub struct Network {
    root: PathBuf,
    authorities: Vec<String>,
    /// Where onion services stand. Not a relay: it could not use itself, and three are too few.
    onion: Mutex<Tor>,
    _relays: Vec<Process>,
}

/// A Tor of its own that no other test uses.
pub struct Tor {
    folder: PathBuf,
    control: u16,
    socks: u16,
    torrc: Vec<String>,
    process: Option<Process>,
}

/// An onion service; it ends with this.
pub struct Onion {
    pub host: String,
    _control: Control,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Network {
    fn start() -> Result<Self, String> {
        if !run("tor", &["--version"], b"").is_ok_and(|out| out.contains("Tor version")) {
            return Err("no `tor` found: run tests/install, or `apt-get install tor` on Debian".to_owned());
        }
        let mut missed = String::new();
        for lead in LEADS {
            match Self::try_start(lead) {
                Ok(network) => return Ok(network),
                Err(reason) => missed = reason,
            }
        }
        Err(format!("no private Tor network: {missed}"))
    }

    fn try_start(lead: u64) -> Result<Self, String> {
        let root = tempfile::Builder::new().prefix("isonym-tor-").tempdir();
        // The last keeper removes it.
        let root = root.map_err(|error| error.to_string())?.keep();
        let members: Vec<Member> = (0..AUTHORITIES).map(|number| Member::new(&root, number)).collect();
        let authorities = make_keys(&members)?;
        // A voting slot is made to suit us: slots lie at multiples of the interval plus an offset.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let slot = now + lead + 2 * VOTE_DELAY + 1;
        let relays: Result<Vec<Process>, String> = members
            .iter()
            .map(|member| Process::start(&member.folder, &member.torrc(&authorities, slot % VOTING_INTERVAL)))
            .collect();
        let relays = relays?;
        let deadline = Instant::now() + Duration::from_secs(lead + 2 * VOTE_DELAY + 5);
        for member in &members {
            wait_for_consensus(&member.folder, deadline)?;
        }
        let torrc = vec!["SocksPort 0".to_owned()];
        let onion = Mutex::new(Tor::start(&root, "onion", &authorities, torrc, 0)?);
        Ok(Self {
            root,
            authorities,
            onion,
            _relays: relays,
        })
    }

    /// Starts a client. With conflux the streams of one circuit could move to another.
    pub fn client(&self, name: &str) -> Tor {
        let socks = free_port();
        let torrc = vec![
            "ClientOnly 1".to_owned(),
            format!("SocksPort 127.0.0.1:{socks}"),
            "ConfluxEnabled 0".to_owned(),
        ];
        Tor::start(&self.root, name, &self.authorities, torrc, socks).unwrap()
    }

    /// Makes an onion service, with what listens at `to` behind it, and waits until it can be found.
    pub fn onion_service(&self, port: u16, to: SocketAddr) -> Onion {
        let onion = self.onion.lock().unwrap();
        let mut events = onion.control().unwrap();
        events.command("SETEVENTS HS_DESC").unwrap();
        let mut control = onion.control().unwrap();
        let add = format!("ADD_ONION NEW:ED25519-V3 Flags=DiscardPK Port={port},{to}");
        let reply = control.command(&add).unwrap();
        let id = reply[0].strip_prefix("250-ServiceID=").unwrap().to_owned();
        // It has two descriptors, each at all directories. One that fails is missed by nobody.
        let (mut begun, mut uploaded, mut failed) = (0, 0, 0);
        while uploaded + failed < begun || uploaded + failed < 2 * AUTHORITIES || uploaded < AUTHORITIES {
            let line = events.line().unwrap();
            if line.contains(&id) {
                begun += usize::from(line.contains(" UPLOAD "));
                uploaded += usize::from(line.contains(" UPLOADED "));
                failed += usize::from(line.contains(" FAILED "));
            }
        }
        Onion {
            host: format!("{id}.onion"),
            _control: control,
        }
    }
}

impl Tor {
    fn start(
        root: &Path,
        name: &str,
        authorities: &[String],
        mut torrc: Vec<String>,
        socks: u16,
    ) -> Result<Self, String> {
        let folder = root.join(name);
        let control = free_port();
        torrc.extend(common(&folder, control, authorities));
        let mut tor = Self {
            folder,
            control,
            socks,
            torrc,
            process: None,
        };
        tor.go_on()?;
        Ok(tor)
    }

    /// Starts it, again where it was killed, and waits until it is ready.
    pub fn go_on(&mut self) -> Result<(), String> {
        self.process = Some(Process::start(&self.folder, &self.torrc)?);
        let deadline = Instant::now() + READY;
        loop {
            let phase = self
                .control()
                .and_then(|mut control| control.command("GETINFO status/bootstrap-phase"));
            match phase {
                Ok(lines) if lines[0].contains("PROGRESS=100 ") => return Ok(()),
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
        format!("--proxy=socks5://127.0.0.1:{}", self.socks)
    }

    fn control(&self) -> Result<Control, String> {
        Control::open(self.control, &self.folder)
    }

    /// Takes down what becomes of streams from now on.
    pub fn record(&self) -> Record {
        Record::of(self.control().unwrap())
    }
}

impl Process {
    fn start(folder: &Path, torrc: &[String]) -> Result<Self, String> {
        let start = || {
            make_folder(folder)?;
            fs::write(folder.join("torrc"), torrc.join("\n") + "\n")?;
            // Tor takes no device for its torrc.
            fs::write(folder.join("empty"), "")?;
            let log = fs::File::create(folder.join("log"))?;
            let mut shell = program("sh");
            shell.args(["-c", KEEPER, "keeper"]).arg(folder);
            shell.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
            shell.spawn()
        };
        let child: std::io::Result<Child> = start();
        child.map(Self).map_err(|error| format!("can't start tor: {error}"))
    }
}

/// One authority.
struct Member {
    name: String,
    folder: PathBuf,
    or: u16,
    dir: u16,
    control: u16,
}

impl Member {
    fn new(root: &Path, number: usize) -> Self {
        let name = format!("auth{number}");
        Self {
            folder: root.join(&name),
            name,
            or: free_port(),
            dir: free_port(),
            control: free_port(),
        }
    }

    /// Makes the keys; returns the line by which everybody knows it.
    fn make_keys(&self) -> Result<String, String> {
        let keys = self.folder.join("keys");
        let made = make_folder(&self.folder).and_then(|()| make_folder(&keys));
        made.and_then(|()| fs::write(self.folder.join("empty"), ""))
            .map_err(|error| error.to_string())?;
        let file = |name: &str| keys.join(name).to_string_lossy().into_owned();
        let certificate = file("authority_certificate");
        run(
            "tor-gencert",
            &[
                "--create-identity-key",
                "-m",
                "12",
                "-a",
                &format!("127.0.0.1:{}", self.dir),
                "-i",
                &file("authority_identity_key"),
                "-s",
                &file("authority_signing_key"),
                "-c",
                &certificate,
                "--passphrase-fd",
                "0",
            ],
            b"not a secret\n",
        )?;
        let text = fs::read_to_string(certificate).map_err(|error| error.to_string())?;
        let v3ident = text.lines().find_map(|line| line.strip_prefix("fingerprint "));
        let (folder, empty) = (self.folder.to_string_lossy(), self.folder.join("empty"));
        let empty = empty.to_string_lossy();
        let out = run(
            "tor",
            &[
                "-f",
                &empty,
                "--defaults-torrc",
                &empty,
                "--list-fingerprint",
                "--quiet",
                "--DataDirectory",
                &folder,
                "--ORPort",
                &format!("127.0.0.1:{}", self.or),
                "--Address",
                "127.0.0.1",
                "--Nickname",
                &self.name,
                "--SocksPort",
                "0",
                "--AssumeReachable",
                "1",
            ],
            b"",
        )?;
        let fingerprint = out.lines().last().and_then(|line| line.strip_prefix(&self.name));
        let (Some(v3ident), Some(fingerprint)) = (v3ident, fingerprint) else {
            return Err(format!("no fingerprints of {}: {out}", self.name));
        };
        Ok(format!(
            "DirAuthority {} orport={} v3ident={v3ident} 127.0.0.1:{}{fingerprint}",
            self.name, self.or, self.dir
        ))
    }

    fn torrc(&self, authorities: &[String], offset: u64) -> Vec<String> {
        let mut torrc = common(&self.folder, self.control, authorities);
        let Self { name, or, dir, .. } = self;
        torrc.push(format!(
            "Nickname {name}
Address 127.0.0.1
ORPort 127.0.0.1:{or}
DirPort 127.0.0.1:{dir}
SocksPort 0
AssumeReachable 1
ExitRelay 1
ExitPolicyRejectPrivate 0
ExitPolicyRejectLocalInterfaces 0
ExitPolicy accept *:*
ServerDNSDetectHijacking 0
ServerDNSTestAddresses
ServerDNSAllowBrokenConfig 1
ServerDNSResolvConfFile {empty}
DoSCircuitCreationEnabled 0
DoSConnectionEnabled 0
NumCPUs 1
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
AuthDirMaxServersPerAddr 0
TestingAuthDirTimeToLearnReachability 0
TestingMinExitFlagThreshold 0
TestingMinFastFlagThreshold 0
MinUptimeHidServDirectoryV2 0
TestingDirAuthVoteExit *
TestingDirAuthVoteGuard *
TestingDirAuthVoteHSDir *
V3AuthVotingInterval {VOTING_INTERVAL} seconds
V3AuthVoteDelay {VOTE_DELAY} seconds
V3AuthDistDelay {VOTE_DELAY} seconds
TestingV3AuthInitialVotingInterval {VOTING_INTERVAL} seconds
TestingV3AuthInitialVoteDelay {VOTE_DELAY} seconds
TestingV3AuthInitialDistDelay {VOTE_DELAY} seconds
TestingV3AuthVotingStartOffset {offset}
V3AuthNIntervalsValid 12",
            empty = self.folder.join("empty").display(),
        ));
        torrc
    }
}

/// Makes the keys of all, two at a time: that is all work for the processor.
fn make_keys(members: &[Member]) -> Result<Vec<String>, String> {
    let lines = thread::scope(|scope| {
        let halves = members.chunks(AUTHORITIES.div_ceil(2));
        let threads: Vec<_> = halves
            .map(|half| scope.spawn(|| half.iter().map(Member::make_keys).collect::<Vec<_>>()))
            .collect();
        let lines = threads.into_iter().flat_map(|thread| thread.join().unwrap());
        lines.collect::<Vec<_>>()
    });
    lines.into_iter().collect()
}

/// What every Tor is told.
fn common(folder: &Path, control: u16, authorities: &[String]) -> Vec<String> {
    let mut torrc = authorities.to_vec();
    let (empty, owner) = (folder.join("empty"), std::process::id());
    torrc.push(format!(
        "TestingTorNetwork 1
DataDirectory {folder}
ControlPort 127.0.0.1:{control}
CookieAuthentication 1
PathsNeededToBuildCircuits 0.67
ShutdownWaitLength 0
SafeLogging 0
GeoIPFile {empty}
GeoIPv6File {empty}
__OwningControllerProcess {owner}",
        folder = folder.display(),
        empty = empty.display(),
    ));
    torrc
}

/// Waits until an authority has a consensus that all of them are in.
fn wait_for_consensus(folder: &Path, deadline: Instant) -> Result<(), String> {
    loop {
        let text = fs::read_to_string(folder.join("cached-consensus")).unwrap_or_default();
        let flags = text.lines().filter(|line| line.starts_with("s "));
        if flags.filter(|line| line.contains(" Running")).count() == AUTHORITIES {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("no consensus; {}", complaints(folder)));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Returns what a Tor warned of last.
fn complaints(folder: &Path) -> String {
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    let warnings = log.lines().rev();
    let last = warnings
        .filter(|line| line.contains("[warn]") || line.contains("[err]"))
        .take(3);
    last.collect::<Vec<_>>().join("; ")
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    // Tor insists on a folder that nobody else can read.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Returns a command that is found where Debian keeps daemons, too.
fn program(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.env("PATH", format!("{path}:/usr/sbin"));
    command
}

/// Runs a program to its end; returns what it said.
fn run(name: &str, arguments: &[&str], input: &[u8]) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("can't run {name}: {error}");
    let mut command = program(name);
    command.args(arguments);
    let (reader, mut writer) = std::io::pipe().map_err(failed)?;
    std::io::Write::write_all(&mut writer, input).map_err(failed)?;
    drop(writer);
    command.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    let mut out = String::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.read_to_string(&mut out).map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    status
        .success()
        .then_some(out)
        .ok_or(format!("{name} failed: {status}"))
}

/// Returns a port that nobody listens on, below those that connections of this machine come from.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    // Where two runs at a time begin to look is not the same.
    let begin = std::process::id().wrapping_mul(61);
    loop {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + begin.wrapping_add(step) % COUNT).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

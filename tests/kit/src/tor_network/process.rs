//! A Tor as a process, and the other programs that come with it.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

/// Runs one program; ends it, and removes its folder, when the other end of standard input is gone. So nothing is left
/// whatever becomes of the tests.
const KEEPER: &str = r#"
cd /
folder=$1
shift
"$@" </dev/null &
read -r _
kill -KILL $!
wait
rm -rf "$folder"
rmdir "${folder%/*}" 2>/dev/null
"#;

/// A program in a folder of its own, where its log is.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Process {
    /// Starts a Tor.
    pub fn start(folder: &Path, torrc: &[String]) -> Result<Self, String> {
        let write = || {
            make_folder(folder)?;
            fs::write(folder.join("torrc"), torrc.join("\n") + "\n")?;
            // Tor takes no device for its torrc.
            fs::write(folder.join("empty"), "")
        };
        write().map_err(|error| format!("can't start tor: {error}"))?;
        let file = |name: &str| folder.join(name).display().to_string();
        Self::keep(
            folder,
            "tor",
            &["-f", &file("torrc"), "--defaults-torrc", &file("empty")],
        )
    }

    /// Starts a program whose folder is there.
    pub fn keep(folder: &Path, name: &str, arguments: &[&str]) -> Result<Self, String> {
        let start = || {
            let log = fs::File::create(folder.join("log"))?;
            let mut shell = program("sh");
            shell
                .args(["-c", KEEPER, "keeper"])
                .arg(folder)
                .arg(name)
                .args(arguments);
            shell.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
            shell.spawn()
        };
        let child: std::io::Result<Child> = start();
        child.map(Self).map_err(|error| format!("can't start {name}: {error}"))
    }
}

/// What every Tor is told.
pub fn common(folder: &Path, control: u16, authorities: &[String]) -> Vec<String> {
    let mut torrc = authorities.to_vec();
    let (empty, owner) = (folder.join("empty"), std::process::id());
    torrc.push(format!(
        "TestingTorNetwork 1
DataDirectory {folder}
ControlPort 127.0.0.1:{control}
CookieAuthentication 1
PathsNeededToBuildCircuits 0.67
LearnCircuitBuildTimeout 0
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

/// Returns what a Tor warned of last.
pub fn complaints(folder: &Path) -> String {
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    let warnings = log.lines().rev();
    let last = warnings
        .filter(|line| line.contains("[warn]") || line.contains("[err]"))
        .take(3);
    last.collect::<Vec<_>>().join("; ")
}

pub fn make_folder(path: &Path) -> std::io::Result<()> {
    // Tor insists on a folder that nobody else can read.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Returns a command that is found where Debian keeps daemons, too.
pub fn program(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.env("PATH", format!("{path}:/usr/sbin"));
    command
}

/// Runs a program to its end; returns what it said.
pub fn run(name: &str, arguments: &[&str], input: &[u8]) -> Result<String, String> {
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
pub fn free_port() -> u16 {
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

//! A program that runs beside the test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::program::{End, Program};

/// How long something may take that is sure to happen.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until something holds.
pub async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    until(what, async || holds().await.then_some(())).await;
}

/// Asks again and again until the answer is there.
pub async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "not within {} seconds: {what}",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Runs a program to its end; it is killed when that doesn't come.
pub async fn end_of(command: Command) -> End {
    let mut command = tokio::process::Command::from(command);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await;
    output.unwrap().unwrap().into()
}

/// A command that sends a signal: `-TERM` and the like. The shell has it built in, so that no program need be installed.
pub fn signal(name: &str, process: u32) -> Command {
    let mut kill = Command::new("sh");
    kill.args(["-c", "kill \"$1\" \"$2\"", "sh", name, &process.to_string()]);
    kill
}

/// A running program; it is killed when this is dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{} was told:\n{}", self.log.display(), self.log());
        }
    }
}

impl Running {
    /// Starts a program that writes what it says into a file.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let stderr = File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        Self {
            child: command.spawn().unwrap(),
            log: log.to_owned(),
        }
    }

    /// Returns what it said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it says a line with these words at its beginning and its end; returns what stands between.
    pub async fn says(&mut self, start: &str, end: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            let found = log.lines().find_map(|line| line.split_once(start)?.1.strip_suffix(end));
            if let Some(found) = found {
                return found.to_owned();
            }
            assert!(self.status().is_none(), "it ended; {log}");
            assert!(Instant::now() < deadline, "it never said {start:?}: {log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns how it ended, if it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Kills it, without a chance to tidy up.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends it a signal.
    pub async fn signal(&self, name: &str) {
        end_of(signal(name, self.child.id())).await.assert_succeeded();
    }

    /// Ends it as the system does, and asserts that all was well with it.
    pub async fn stop(&mut self) {
        self.signal("-TERM").await;
        let status = self.ended().await;
        assert!(status.success(), "{status}; {}", self.log());
    }

    /// Ends it, and asserts that all was well, and neither its log nor files in its home tell of what is marked.
    pub async fn stop_having_told_nothing(mut self, program: &Program, marker: &str) {
        self.stop().await;
        let log = self.log();
        assert!(!log.contains(marker), "{log}");
        let home = std::fs::read_dir(program.home()).unwrap();
        let left: Vec<_> = home.map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "it left {left:?}");
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.status() {
                Some(status) => break status,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
            assert!(Instant::now() < deadline, "it goes on; {}", self.log());
        };
        assert!(!self.log().contains("panicked"), "{}", self.log());
        status
    }

    /// Returns its number.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Returns how much memory it takes, in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }
}

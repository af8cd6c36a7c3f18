//! The programs of users: curl, git, Chromium, tor-resolve and dig.

use std::path::Path;
use std::process::Command;

use crate::chromium;
use crate::program::End;
use crate::running::end_of;

/// How curl gets somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Socks5,
    Socks4a,
    Http,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Socks5, Self::Socks4a, Self::Http];

    /// The arguments for a proxy on this port.
    fn arguments(self, port: u16, user: &str) -> Vec<String> {
        let proxy = match self {
            Self::Socks5 => format!("socks5h://{user}:password@127.0.0.1:{port}"),
            Self::Socks4a => format!("socks4a://{user}@127.0.0.1:{port}"),
            Self::Http => format!("http://{user}:password@127.0.0.1:{port}"),
        };
        ["--proxytunnel", "--proxy", &proxy].map(str::to_owned).to_vec()
    }

    /// Asserts that the proxy refused, as Tor does where a name can't be resolved.
    #[track_caller]
    pub fn assert_refused(self, end: &End) {
        let (status, words) = match self {
            Self::Socks5 => (97, "(4)"),
            Self::Socks4a => (97, "(91)"),
            Self::Http => (56, "503"),
        };
        assert_eq!(end.status, Some(status), "{self:?}: {end:?}");
        assert!(end.err.contains(words), "{self:?}: {end:?}");
    }
}

/// Fetches a page.
pub async fn curl(way: Way, port: u16, user: &str, url: &str) -> End {
    let mut command = alone("curl");
    command.args(["-q", "--silent", "--show-error", "--max-time", "80"]);
    command.args(way.arguments(port, user)).arg(url);
    end_of(command).await
}

/// Clones a repository by a SOCKS port.
pub async fn git_clone(port: u16, user: &str, url: &str, to: &Path) -> End {
    let mut command = git(&["clone", "--quiet", url]);
    command.arg(to);
    let proxy = format!("socks5h://{user}:password@127.0.0.1:{port}");
    command.env("ALL_PROXY", proxy).env("GIT_TERMINAL_PROMPT", "0");
    end_of(command).await
}

/// A git with nobody's settings.
pub fn git(arguments: &[&str]) -> Command {
    let mut command = alone("git");
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .args(["-c", "user.name=a", "-c", "user.email=a@example"]);
    command.args(arguments);
    command
}

/// Loads a page by a SOCKS port and runs what is in it; the page comes on standard output, and what the browser did on
/// the network into a file.
pub async fn chromium(port: u16, url: &str, home: &Path, log: &Path) -> End {
    let mut command = alone(chromium::PROGRAM);
    command.env("HOME", home);
    // Within a container, and as root, it can't have a sandbox; nothing is loaded but what the test wrote.
    command.args([
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--dump-dom",
        "--timeout=80000",
    ]);
    command.arg(format!("--user-data-dir={}", home.join("profile").display()));
    command.arg(format!("--proxy-server=socks5://127.0.0.1:{port}"));
    // Else it goes to loopback addresses itself.
    command.arg("--proxy-bypass-list=<-loopback>");
    command.arg(format!("--log-net-log={}", log.display())).arg(url);
    end_of(command).await
}

/// Resolves a name by a SOCKS port; returns what is printed, or nothing where it can't.
pub async fn tor_resolve(port: u16, arguments: &[&str]) -> Option<String> {
    let mut command = alone("tor-resolve");
    command.args(arguments).arg(format!("127.0.0.1:{port}"));
    let end = end_of(command).await;
    assert!(matches!(end.status, Some(0 | 1)), "{end:?}");
    (end.status == Some(0)).then(|| end.out.trim().to_owned())
}

/// Asks a name server; returns all that is printed.
pub async fn dig(port: u16, arguments: &[&str]) -> String {
    let mut command = alone("dig");
    let port = format!("-p{port}");
    command.args([
        "@127.0.0.1",
        &port,
        "+tries=1",
        "+time=80",
        "+noall",
        "+comments",
        "+answer",
    ]);
    command.args(arguments);
    let end = end_of(command).await;
    end.assert_succeeded();
    end.out
}

/// A program with nothing of the user's own.
fn alone(name: &str) -> Command {
    let mut command = Command::new(name);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/nonexistent");
    command
}

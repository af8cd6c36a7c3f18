//! The programs of users: curl, tor-resolve and dig.

use std::process::Command;

use isonym_testkit::program::End;
use isonym_testkit::running::end_of;

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

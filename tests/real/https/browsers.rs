//! Those who look at sites, each with nothing of the user's own but one certificate in its store.

use std::io::{Write as _, stderr};
use std::path::Path;
use std::process::{Command, Stdio};

use isonym_testkit::harness::{end_of, until};
use isonym_testkit::https::{PAGE, Site, Visit};
use tempfile::TempDir;

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Browser {
    Curl,
    Chromium,
    Firefox,
}

/// What a certificate is trusted to be, in the words of certutil.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// An authority of servers.
    Authority,
    /// A server's own.
    Peer,
}

impl Trust {
    const fn flags(self) -> &'static str {
        match self {
            Self::Authority => "C,,",
            Self::Peer => "P,,",
        }
    }
}

impl Browser {
    const fn program(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::Chromium => "chromium-headless-shell",
            Self::Firefox => "firefox-esr",
        }
    }

    /// Returns those that are here, and says who is not.
    pub fn here() -> Vec<Self> {
        let runs = |program: &str, word: &str| alone(program, Path::new("/nonexistent")).arg(word).output().is_ok();
        let has_store = runs("certutil", "-H");
        let is_here = |browser: &Self| {
            let is_here = runs(browser.program(), "--version") && (has_store || *browser == Self::Curl);
            if !is_here {
                let program = browser.program();
                let _ = writeln!(
                    stderr(),
                    "LEFT OUT: there is no {program}, or no certutil, which tests/install installs"
                );
            }
            is_here
        };
        [Self::Curl, Self::Chromium, Self::Firefox]
            .into_iter()
            .filter(is_here)
            .collect()
    }

    /// Goes to a host, at the place of a site; says whether the page was asked for.
    pub async fn visit(self, trusted: Option<(&str, Trust)>, host: &str, site: &Site) -> bool {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("trusted.pem");
        std::fs::write(&file, trusted.map_or("", |(pem, _)| pem)).unwrap();
        let path = format!("/{}", home.path().file_name().unwrap().to_str().unwrap());
        let url = format!("https://{host}:{}{path}", site.address.port());
        match self {
            Self::Curl => curl(&home, trusted.is_some(), &url, host, site).await,
            Self::Chromium => {
                let store = home.path().join(".local/share/pki/nssdb");
                fill(&store, &file, trusted).await && chromium(&home, &url, site).await
            }
            Self::Firefox => {
                let profile = home.path().join("profile");
                fill(&profile, &file, trusted).await && firefox(&home, &profile, &url, &path, site).await
            }
        }
    }
}

fn alone(program: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Makes a store as Chromium and Firefox have it, with what is trusted in it; says whether it takes that.
async fn fill(store: &Path, file: &Path, trusted: Option<(&str, Trust)>) -> bool {
    std::fs::create_dir_all(store).unwrap();
    let store = format!("sql:{}", store.display());
    let mut made = alone("certutil", file.parent().unwrap());
    made.args(["-N", "--empty-password", "-d", &store]);
    end_of(made).await.assert_succeeded();
    let Some((_, trust)) = trusted else {
        return true;
    };
    let mut added = alone("certutil", file.parent().unwrap());
    added.args(["-A", "-d", &store, "-t", trust.flags(), "-n", "a pin", "-i"]);
    added.arg(file);
    end_of(added).await.status == Some(0)
}

async fn curl(home: &TempDir, trusts: bool, url: &str, host: &str, site: &Site) -> bool {
    let mut curl = alone("curl", home.path());
    curl.args(["-q", "-sS", "-m", "150"]);
    if trusts {
        curl.arg("--cacert").arg(home.path().join("trusted.pem"));
    }
    curl.arg("--resolve");
    curl.arg(format!("{host}:{}:{}", site.address.port(), site.address.ip()));
    curl.arg(url);
    end_of(curl).await.out == PAGE
}

async fn chromium(home: &TempDir, url: &str, site: &Site) -> bool {
    let mut chromium = alone(Browser::Chromium.program(), home.path());
    // Within a container, and as root, it can't have a sandbox; nothing is loaded but what the test wrote.
    chromium.args([
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-background-networking",
        "--dump-dom",
        "--timeout=80000",
    ]);
    chromium.arg(format!("--user-data-dir={}", home.path().join("profile").display()));
    // Nothing that it may ask for by itself leaves the machine.
    chromium.arg(format!("--host-resolver-rules=MAP * {}", site.address.ip()));
    chromium.arg(url);
    end_of(chromium).await.out.contains("marker of the page")
}

/// It does not end by itself where a page can't be had.
async fn firefox(home: &TempDir, profile: &Path, url: &str, path: &str, site: &Site) -> bool {
    let preferences = format!(
        "user_pref(\"network.dns.forceResolve\", \"{}\");\n\
         user_pref(\"browser.shell.checkDefaultBrowser\", false);\n\
         user_pref(\"datareporting.policy.dataSubmissionEnabled\", false);\n\
         user_pref(\"app.update.enabled\", false);\n",
        site.address.ip()
    );
    std::fs::write(profile.join("user.js"), preferences).unwrap();
    let before = site.visits().len();
    let mut firefox = alone(Browser::Firefox.program(), home.path());
    firefox.args(["--headless", "--no-remote", "--profile"]).arg(profile);
    let log = || std::fs::File::create(home.path().join("log")).unwrap();
    let mut firefox = firefox.arg(url).stdout(log()).stderr(log()).spawn().unwrap();
    let outcome = until("Firefox at the site", || async {
        let visits = site.visits();
        let new = &visits[before..];
        let asked = new.contains(&Visit::Asked(path.to_owned()));
        (asked || new.contains(&Visit::Refused)).then_some(asked)
    })
    .await;
    firefox.kill().unwrap();
    firefox.wait().unwrap();
    outcome
}

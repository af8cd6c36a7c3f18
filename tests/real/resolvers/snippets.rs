//! The settings in the documentation, which readers paste: each is taken by the program that it is for. Tests of the
//! resolvers run what they find here, with addresses of their own in it.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The page for operators.
pub const OPERATORS: &str = include_str!("../../../docs/operators.md");

/// The page about Tor.
const TOR: &str = include_str!("../../../docs/tor.md");

/// Where Debian keeps what is not for all users.
const SYSTEM: &str = "/usr/sbin";

/// Returns the blocks of a page, each with the word behind its fence.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let fenced = page.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.split_once('\n')).collect()
}

/// Returns the one block of the page that begins with this line.
pub fn snippet(page: &str, first_line: &str) -> String {
    let all = blocks(page);
    let mut found = all.iter().filter(|(_, text)| text.lines().next() == Some(first_line));
    let (Some((_, text)), None) = (found.next(), found.next()) else {
        panic!("not one block begins with {first_line}");
    };
    (*text).to_owned()
}

/// Puts something else in the place of what must be there.
pub fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in {text}");
    text.replace(from, to)
}

/// Has a line hold that is there for readers who need it: `# line`.
pub fn uncommented(text: &str, mark: &str, beginning: &str) -> String {
    replaced(text, &format!("{mark} {beginning}"), beginning)
}

/// Makes a command of a program that users may not have in their path.
pub fn system(program: &str) -> Command {
    let mut command = Command::new(program);
    let paths = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{paths}:{SYSTEM}"));
    command
}

/// Has a program look at a file with this text, which it must take.
#[track_caller]
fn assert_taken(text: &str, program: &str, arguments: impl Fn(&Path) -> Vec<String>) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("settings");
    fs::write(&path, text).unwrap();
    let mut command = system(program);
    let output = command.args(arguments(&path)).current_dir(home.path()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; tests/install installs it"));
    assert!(output.status.success(), "{program}: {text}\n{output:?}");
}

fn shown(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn unbound_takes_what_we_document() {
    let text = snippet(OPERATORS, "# /etc/unbound/unbound.conf.d/bit.conf");
    assert_taken(&text, "unbound-checkconf", |path| vec![shown(path)]);
}

#[test]
fn named_takes_what_we_document() {
    for first in [
        "// /etc/bind/named.conf.options",
        "// /etc/bind/named.conf.local",
        "// /etc/bind/named.conf.local, where Isonym is at a port of its own",
    ] {
        assert_taken(&snippet(OPERATORS, first), "named-checkconf", |path| vec![shown(path)]);
    }
    let both =
        ["// /etc/bind/named.conf.options", "// /etc/bind/named.conf.local"].map(|first| snippet(OPERATORS, first));
    assert_taken(&both.concat(), "named-checkconf", |path| vec![shown(path)]);
}

#[test]
fn dnsdist_takes_what_we_document() {
    let text = snippet(OPERATORS, "-- /etc/dnsdist/dnsdist.conf");
    assert_taken(&text, "dnsdist", |path| {
        vec!["--check-config".to_owned(), "--config".to_owned(), shown(path)]
    });
}

#[test]
fn dnsmasq_takes_what_we_document() {
    let text = snippet(
        OPERATORS,
        "# /etc/dnsmasq.d/bit.conf, with the unbound above, listening on port 5353, between it and Isonym",
    );
    assert_taken(&text, "dnsmasq", |path| {
        vec!["--test".to_owned(), format!("--conf-file={}", path.display())]
    });
}

#[test]
fn tor_takes_what_we_document() {
    let text = snippet(TOR, "ControlPort 127.0.0.1:9051");
    assert_taken(&text, "tor", |path| {
        let words = ["--verify-config", "--defaults-torrc", "/dev/null", "--DataDirectory"];
        let mut arguments: Vec<String> = words.map(str::to_owned).into();
        arguments.extend([shown(path.parent().unwrap()), "-f".to_owned(), shown(path)]);
        arguments
    });
}

#[test]
fn our_program_takes_what_we_document() {
    let mut count = 0;
    for (_, text) in [OPERATORS, TOR]
        .into_iter()
        .flat_map(blocks)
        .filter(|(word, _)| *word == "toml")
    {
        assert_taken(text, env!("CARGO_BIN_EXE_isonym"), |path| {
            ["--config", &shown(path), "config", "show"].map(str::to_owned).into()
        });
        count += 1;
    }
    assert!(count >= 2, "{count}");
}

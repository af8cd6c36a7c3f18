//! Keeps the rules of `src/lib.rs`, in all packages: a folder names only folders below it, no folders name each other in
//! a circle, and only the edge files touch the world. It reads the source as tokens: comments, literals and code for
//! tests do not count.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on is to fail"
)]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the source is, and the folder that all of it counts as, if it is one.
const PACKAGES: [(&str, Option<&str>); 3] = [
    ("crates/core/src", None),
    ("crates/sim/src", Some("sim")),
    ("src", None),
];

/// How code names the packages whose folders are in the line.
const CRATES: [&str; 3] = ["crate", "isonym", "isonym_core"];

/// The folders, lowest first; those of one row are at one height.
const LINE: [&[&str]; 21] = [
    &["time"],
    &["isolation", "backoff", "line"],
    &["reputation"],
    &["chain"],
    &["name"],
    &["electrum", "p2p"],
    &["net"],
    &["http", "dane", "name_index"],
    &["sim", "node"],
    &["jsonrpc"],
    &["service"],
    &["rpc"],
    &["dns"],
    &["naming"],
    &["prop279", "socks", "web"],
    &["tor"],
    &["light_client"],
    &["options"],
    &["config"],
    &["cli"],
    &["main"],
];

/// Returns how high a folder stands.
fn height(folder: &str) -> Option<usize> {
    LINE.iter().position(|row| row.contains(&folder))
}

/// Says whether a folder may name another: only those below it, and the simulation only where the program is put
/// together.
fn may_name(folder: &str, named: &str) -> bool {
    height(named) < height(folder) && (named != "sim" || ["cli", "main"].contains(&folder))
}

/// Files that may touch the world, and why. None is listed that does not.
const EDGE: &[(&str, &str)] = &[
    ("main.rs", "starts the runtime"),
    ("cli/anchor.rs", "reads an anchor file, ends the process"),
    ("cli/args.rs", "reads the arguments"),
    ("cli/config.rs", "ends the process"),
    (
        "cli/daemon.rs",
        "listens, waits for signals, raises the number of open files",
    ),
    ("cli/dns.rs", "listens, waits for signals"),
    ("cli/dnssec.rs", "ends the process"),
    ("cli/dump.rs", "writes to standard output, ends the process"),
    ("cli/handed.rs", "takes sockets of the service manager"),
    ("cli/metrics.rs", "listens, draws roundings, waits"),
    ("cli/pages.rs", "writes manual pages"),
    (
        "cli/playground.rs",
        "runs the simulated world's edge, waits for the user",
    ),
    ("cli/progress.rs", "writes to the terminal"),
    (
        "cli/prop279.rs",
        "reads standard input and the environment, writes standard output, waits",
    ),
    ("cli/resolve.rs", "ends the process"),
    (
        "cli/sandbox/calls.rs",
        "gives up system calls, of this processor's kind",
    ),
    (
        "cli/sandbox/calls.rs",
        "gives up system calls, for the thread and those that it starts",
    ),
    (
        "cli/sandbox/mod.rs",
        "gives up what the process may do, for it and its threads",
    ),
    ("cli/servers.rs", "ends the process"),
    ("cli/session.rs", "waits for other commands"),
    ("cli/show.rs", "writes to the terminal"),
    ("cli/socks.rs", "listens, waits for signals, draws keys"),
    ("cli/tls.rs", "ends the process, waits for lookups"),
    ("cli/tor.rs", "starts to forget, ends the process"),
    ("cli/typed.rs", "reads standard input"),
    ("cli/user.rs", "becomes another user"),
    ("cli/web.rs", "listens, draws a token, writes where the page is"),
    ("dane/site.rs", "connects to a site"),
    ("dane/throwaway.rs", "draws a key that signs once, and a serial number"),
    ("dns/dnssec/folder/mod.rs", "reads and writes key files"),
    (
        "dns/dnssec/private_key.rs",
        "draws keys, and a nonce for each ECDSA signature",
    ),
    ("dns/resolver.rs", "waits for lookups, draws identities"),
    ("dns/server.rs", "listens for queries"),
    ("dns/udp.rs", "reads and writes datagrams"),
    ("http.rs", "listens for callers, waits"),
    ("jsonrpc/client/mod.rs", "calls other nodes"),
    ("jsonrpc/cookie.rs", "writes and reads the cookie file"),
    ("jsonrpc/listener.rs", "reads who listens"),
    ("jsonrpc/local.rs", "listens and connects at a socket"),
    ("light_client.rs", "runs a node in a task"),
    ("name_index/database.rs", "owns the database"),
    ("naming/name_resolver.rs", "starts lookups, waits between tries"),
    ("naming/site.rs", "has lookups waited for until a moment of the clock"),
    ("net/accept.rs", "listens, waits"),
    ("net/connection/mod.rs", "starts a task for each connection"),
    ("net/connection/task.rs", "reads, writes and waits"),
    ("net/dialer.rs", "opens connections, draws SOCKS credentials"),
    ("net/embedded_tor/config.rs", "reads a file"),
    ("net/embedded_tor/mod.rs", "runs a Tor in a thread of its own"),
    ("net/tls.rs", "wraps connections"),
    ("node/anchor_check.rs", "asks servers"),
    ("node/candidate.rs", "asks a server in a task of its own"),
    ("node/clock.rs", "reads the clocks"),
    ("node/connections.rs", "opens, keeps and closes connections"),
    ("node/daemon.rs", "waits between syncs"),
    ("node/disk.rs", "writes, in a thread of its own"),
    ("node/folder.rs", "owns files"),
    ("node/handle.rs", "draws keys, starts tasks"),
    ("node/header_link.rs", "carries header requests out"),
    ("node/header_sync.rs", "carries effects out, waits"),
    (
        "node/local_names/mod.rs",
        "waits for the index, which looks in threads of its own",
    ),
    (
        "node/local_names/peer_link.rs",
        "opens connections to peers, reads and writes",
    ),
    ("node/local_names/sync.rs", "carries effects out, waits"),
    ("node/lookup_link.rs", "carries lookup requests out"),
    ("node/lookups.rs", "carries effects out, waits, draws servers"),
    ("node/run.rs", "draws the order of servers"),
    ("node/store/database.rs", "owns the database"),
    ("node/store/mod.rs", "removes, renames and copies a database"),
    ("options/file.rs", "reads the configuration file"),
    ("options/mod.rs", "reads the environment"),
    (
        "prop279/host_driver/child.rs",
        "starts a plugin, reads, writes and waits for it",
    ),
    ("prop279/host_driver/mod.rs", "owns a plugin in a task, waits"),
    ("prop279/write_buffer.rs", "writes"),
    (
        "prop279/plugin_driver/mod.rs",
        "reads, writes, has lookups made in tasks",
    ),
    ("rpc/methods/mod.rs", "lets others go on while it writes a long list"),
    ("rpc/server.rs", "listens for callers"),
    ("service/mod.rs", "has lookups made in tasks, draws identities"),
    ("service/result_cache/mod.rs", "joins tasks that wait for one result"),
    ("sim/conversation.rs", "reads, writes and waits"),
    ("sim/carry.rs", "reads, writes and waits for the proxy"),
    ("sim/host.rs", "listens on loopback"),
    ("sim/peer/host.rs", "listens on loopback, reads, writes and waits"),
    ("sim/proxy.rs", "listens on loopback"),
    ("sim/relay.rs", "reads, writes and waits"),
    ("sim/window/file.rs", "writes and reads a file of blocks"),
    ("socks/embedded.rs", "waits for the embedded Tor"),
    ("socks/http.rs", "listens to clients that speak HTTP"),
    ("socks/onward.rs", "connects to Tor, waits for it"),
    ("socks/relay.rs", "reads, writes and waits"),
    ("socks/server.rs", "listens for applications"),
    ("tor/auth.rs", "makes a path of the bytes that Tor names"),
    ("tor/bootstrap_driver.rs", "asks Tor how far it is, waits"),
    ("tor/driver.rs", "connects to Tor, reads the cookie, starts lookups"),
    ("web/finder.rs", "waits for headers and for imports"),
    ("web/server.rs", "listens to browsers, draws sessions, waits"),
];

/// Paths that only edge files may name, by their beginning.
const WORLD: [&str; 24] = [
    "arti_client::TorClient",
    "tokio",
    "tokio_rustls",
    "tokio_socks",
    "tor_rtcompat",
    "hyper",
    "hyper_util",
    "rustls",
    "fast_socks5",
    "listenfd",
    "nix",
    "rlimit",
    "rustix",
    "sled",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "rand::rng",
    "rand::random",
];

/// Names that only edge files may use, wherever they come from.
const WORLD_NAMES: [&str; 10] = [
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "ToSocketAddrs",
    "OsRng",
    "thread_rng",
    "SystemRandom",
    "EcdsaSigningKey",
];

/// Splits Rust source into identifiers and punctuation (`::` is one token), without comments and literals.
fn tokens(source: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let mut length = first.len_utf8();
        if rest.starts_with("//") {
            length = rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            length = block_comment(rest);
        } else if let Some(literal) = literal(rest) {
            length = literal;
        } else if first.is_alphanumeric() || first == '_' {
            length = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            tokens.push(rest[..length].to_owned());
        } else if rest.starts_with("::") {
            length = 2;
            tokens.push("::".to_owned());
        } else if !first.is_whitespace() {
            tokens.push(first.to_string());
        }
        rest = &rest[length..];
    }
    tokens
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Returns the length of the string, byte string, raw string, character or lifetime that `text` starts with.
fn literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        let after = text.strip_prefix(prefix);
        after.is_some_and(|after| after.trim_start_matches('#').starts_with('"') || after.starts_with('\''))
    })?;
    let after = &text[prefix.len()..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = &after[hashes..];
    if prefix.ends_with('r') && body.starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(prefix.len() + hashes + 1 + body[1..].find(&end).map_or(body.len() - 1, |at| at + end.len()));
    }
    if hashes > 0 {
        return None;
    }
    let quote = body.chars().next()?;
    let mut chars = body.char_indices().skip(1);
    if quote == '\'' {
        let (_, first) = chars.next()?;
        let (end, second) = chars.next()?;
        if first != '\\' && second != '\'' {
            return Some(prefix.len() + 1); // a lifetime: its name is a harmless token
        }
        if first != '\\' {
            return Some(prefix.len() + end + 1);
        }
    }
    let mut chars = body.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return Some(prefix.len() + at + 1);
        }
    }
    Some(text.len())
}

/// Leaves out every item behind `#[cfg(test)]`, and returns the names of modules of their own file among them.
fn without_tests(tokens: &[String]) -> (Vec<String>, Vec<String>) {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut files) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        if !tokens[at..].iter().map(String::as_str).take(MARK.len()).eq(MARK) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += MARK.len();
        let mut depth = 0_i32;
        while let Some(token) = tokens.get(at) {
            if depth == 0 && token == "mod" && tokens.get(at + 2).is_some_and(|end| end == ";") {
                files.push(tokens[at + 1].clone());
            }
            depth += i32::from(["{", "(", "["].contains(&token.as_str()));
            depth -= i32::from(["}", ")", "]"].contains(&token.as_str()));
            at += 1;
            if depth == 0 && (token == ";" || token == "}") {
                break;
            }
        }
    }
    (kept, files)
}

/// Returns every path in the tokens, groups of `use` written out.
fn paths(tokens: &[String]) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = path(tokens, at, &[], &mut found).max(at + 1);
    }
    found
}

fn path<'a>(tokens: &'a [String], mut at: usize, start: &[&'a str], found: &mut Vec<Vec<&'a str>>) -> usize {
    let mut path = start.to_vec();
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("{") if path.len() > start.len() || !start.is_empty() => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at = self::path(tokens, at, &path, found).max(at + 1);
                }
                return at + 1;
            }
            Some(token) if token.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                path.push(token);
                at += 1;
            }
            _ => break,
        }
        if tokens.get(at).is_none_or(|token| token != "::") {
            break;
        }
        at += 1;
    }
    if path.len() > start.len() {
        found.push(path);
    }
    at
}

/// Returns what a file does against the rules; `file` is relative to its package's source, with slashes.
fn faults(file: &str, source: &str) -> Vec<String> {
    let mut faults = upward_names(file, source);
    if !EDGE.iter().any(|(edge, _)| *edge == file) {
        let names = world_names(source).into_iter();
        faults.extend(names.map(|name| format!("{file}: names `{name}`, which only edge files may")));
    }
    faults
}

/// Returns where a file names a folder that is not below its own.
fn upward_names(file: &str, source: &str) -> Vec<String> {
    if file == "lib.rs" {
        return Vec::new();
    }
    let folder = file.split(['/', '.']).next().unwrap_or_default();
    if height(folder).is_none() {
        return vec![format!("{file}: `{folder}` has no place in the line")];
    }
    let (tokens, _) = without_tests(&tokens(source));
    let mut faults = Vec::new();
    for path in paths(&tokens) {
        // What a package that is one folder calls its own is no matter of the line.
        if is_package(folder) && ["crate", "super"].contains(&path[0]) {
            continue;
        }
        let from_root = path
            .iter()
            .position(|segment| !CRATES.contains(segment) && !["super", "self"].contains(segment));
        let named = match path[0].strip_prefix("isonym_").filter(|name| is_package(name)) {
            Some(package) => Some(package),
            None => from_root.filter(|at| *at > 0 && path[0] != "self").map(|at| path[at]),
        };
        // A module may have a child of a folder's name: `super::merkle` is such a path, `super::net` is not.
        if let Some(named) = named.filter(|named| height(named).is_some())
            && named != folder
            && !may_name(folder, named)
        {
            faults.push(format!("{file}: `{folder}` names `{named}`, which is not below it"));
        }
    }
    faults
}

/// Says whether a folder is a package of its own.
fn is_package(folder: &str) -> bool {
    PACKAGES.iter().any(|(_, package)| *package == Some(folder))
}

/// A file as a module, from its package's root on.
fn module(file: &str) -> Vec<&str> {
    let mut module: Vec<_> = file.trim_end_matches(".rs").split('/').collect();
    if ["mod", "lib", "main"].contains(module.last().unwrap()) {
        module.pop();
    }
    module
}

/// Returns circles of folders that name each other. What is below a folder may name it, and it what is below.
fn circles(sources: &[(&str, &str)]) -> Vec<String> {
    let folder_of = |file: &str| file.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let modules: BTreeMap<Vec<&str>, &str> = sources.iter().map(|(file, _)| (module(file), *file)).collect();
    let mut names = BTreeMap::<String, BTreeSet<String>>::new();
    for (file, source) in sources {
        let (own, folder) = (module(file), folder_of(file));
        let (tokens, _) = without_tests(&tokens(source));
        for path in paths(&tokens) {
            let ups = path.iter().take_while(|segment| **segment == "super").count();
            let start = match path[0] {
                "crate" if own.first().is_some_and(|first| is_package(first)) => &own[..1],
                name if CRATES.contains(&name) => &[],
                _ if ups > own.len() => continue,
                _ => &own[..own.len() - ups],
            };
            let rest = path
                .into_iter()
                .skip_while(|name| CRATES.contains(name) || ["super", "self"].contains(name));
            let full: Vec<_> = start.iter().copied().chain(rest).collect();
            let found = (1..=full.len()).rev().find_map(|length| modules.get(&full[..length]));
            let there = found.map(|file| folder_of(file));
            let is_below =
                |low: &str, high: &str| high.is_empty() || low == high || low.starts_with(&format!("{high}/"));
            if let Some(there) = there.filter(|there| !is_below(there, &folder) && !is_below(&folder, there)) {
                names.entry(folder.clone()).or_default().insert(there);
            }
        }
    }
    // Who names nobody that is left, or is named by nobody, is in no circle.
    let is_free = |folder: &String, names: &BTreeMap<String, BTreeSet<String>>| {
        names[folder].iter().all(|named| !names.contains_key(named)) || !names.values().any(|all| all.contains(folder))
    };
    while let Some(free) = names.keys().find(|folder| is_free(folder, &names)).cloned() {
        names.remove(&free);
    }
    let circle = |(folder, all): (&String, &BTreeSet<String>)| {
        let left: Vec<&str> = all
            .iter()
            .map(String::as_str)
            .filter(|named| names.contains_key(*named))
            .collect();
        format!("{folder}: names in a circle {}", left.join(", "))
    };
    names.iter().map(circle).collect()
}

/// Returns the paths in a source text that reach out into the world.
fn world_names(source: &str) -> Vec<String> {
    let (tokens, _) = without_tests(&tokens(source));
    let reaches_out = |path: &[&str]| {
        let text = path.join("::");
        WORLD
            .iter()
            .any(|world| text == *world || text.starts_with(&format!("{world}::")))
            || path.iter().any(|segment| WORLD_NAMES.contains(segment))
            || path
                .windows(2)
                .any(|pair| ["SystemTime", "Instant"].contains(&pair[0]) && pair[1] == "now")
    };
    paths(&tokens)
        .iter()
        .filter(|path| reaches_out(path))
        .map(|path| path.join("::"))
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Returns the files that hold tests alone: modules declared behind `#[cfg(test)]`, and what is below them.
fn test_files(file: &Path, source: &str) -> Vec<PathBuf> {
    let stem = file.file_stem().unwrap().to_str().unwrap();
    let parent = file.parent().unwrap();
    let home = if ["mod", "lib", "main"].contains(&stem) {
        parent.to_owned()
    } else {
        parent.join(stem)
    };
    let (_, modules) = without_tests(&tokens(source));
    modules
        .iter()
        .flat_map(|module| [home.join(format!("{module}.rs")), home.join(module)])
        .collect()
}

/// The source of all packages as files relative to where it begins, with their text and whether they hold tests alone.
fn sources() -> Vec<(String, String, bool)> {
    PACKAGES
        .iter()
        .flat_map(|(root, folder)| sources_of(root, *folder))
        .collect()
}

fn sources_of(root: &str, folder: Option<&str>) -> Vec<(String, String, bool)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let sources: Vec<_> = rust_files(&root)
        .into_iter()
        .map(|file| (fs::read_to_string(&file).unwrap(), file))
        .collect();
    assert!(sources.len() > 10, "the source was not found");
    let tests: HashSet<PathBuf> = sources
        .iter()
        .flat_map(|(source, file)| test_files(file, source))
        .collect();
    sources
        .into_iter()
        .map(|(source, file)| {
            let parts = file
                .strip_prefix(&root)
                .unwrap()
                .iter()
                .map(|part| part.to_str().unwrap());
            let name: Vec<_> = folder.into_iter().chain(parts).collect();
            let for_tests = file.ancestors().any(|ancestor| tests.contains(ancestor));
            (name.join("/"), source, for_tests)
        })
        .collect()
}

#[test]
fn source_keeps_the_line_of_dependence_and_the_edge() {
    let faults: Vec<_> = sources()
        .iter()
        .filter(|(_, _, for_tests)| !for_tests)
        .flat_map(|(file, source, _)| faults(file, source))
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn no_folders_name_each_other_in_a_circle() {
    let sources = sources();
    let sources = sources.iter().filter(|(_, _, for_tests)| !for_tests);
    let sources: Vec<_> = sources
        .map(|(file, source, _)| (file.as_str(), source.as_str()))
        .collect();
    let circles = circles(&sources);
    assert!(circles.is_empty(), "\n{}", circles.join("\n"));
}

#[test]
fn circles_are_found() {
    let zone = (
        "dns/zone/mod.rs",
        "use super::value::Record; use crate::name::NameId; mod records;",
    );
    let records = ("dns/zone/records.rs", "use super::Zone;");
    let root = ("dns/mod.rs", "mod zone; mod value; pub use zone::Zone;");
    let good = ("dns/value/mod.rs", "use super::message; use crate::chain::Height;");
    assert_eq!(circles(&[zone, records, root, good]), Vec::<String>::new());
    for (file, source) in [
        ("dns/value/mod.rs", "use super::zone::Zone;"),
        ("dns/value/item.rs", "fn f() { crate::dns::zone::records::g(); }"),
        (
            "dns/value/item.rs",
            "use super::super::{message, zone::{self, records}};",
        ),
    ] {
        let folders = [zone, records, root, ("dns/value/mod.rs", "mod item;"), (file, source)];
        assert_eq!(circles(&folders).len(), 2, "{file}: {source}");
    }
}

#[test]
fn every_edge_file_is_there_and_needs_to_be_one() {
    let sources = sources();
    for (edge, _) in EDGE {
        let found = sources.iter().find(|(file, _, _)| file == edge);
        let (_, source, for_tests) = found.unwrap_or_else(|| panic!("{edge} is not there"));
        assert!(!for_tests, "{edge} holds tests: it need not be listed");
        assert!(!world_names(source).is_empty(), "{edge} is as pure as the others");
    }
}

/// A file that is called tests but compiled into the program would be an edge that nobody sees, and one that is
/// called otherwise would escape the rules.
#[test]
fn files_of_tests_are_called_so() {
    for (file, _, for_tests) in sources() {
        let called = file.ends_with("/tests.rs") || file.ends_with("_tests.rs") || file.contains("/tests/");
        // A slow obvious model, which only tests compare with.
        assert_eq!(for_tests, called || file == "chain/model.rs", "{file}");
    }
}

#[test]
fn bad_samples_are_found() {
    for (file, source) in [
        ("chain/tree.rs", "use crate::name::NameId;"),
        ("chain/tree.rs", "fn f() { crate::electrum::ask(); }"),
        ("chain/mod.rs", "use super::net::Dialer;"),
        (
            "name/lookup/machine.rs",
            "use crate::{chain::Height, electrum::{self, Ask}};",
        ),
        ("node/run.rs", "use isonym_sim::World;"),
        ("chain/tree.rs", "use isonym_sim::World;"),
        ("sim/host.rs", "use isonym::node::Handle;"),
        ("node/run.rs", "use crate::rpc::RpcError;"),
        ("rpc/args.rs", "use hyper::Request;"),
        ("electrum/reply.rs", "pub(in crate::net) struct X;"),
        ("stranger/mod.rs", ""),
        ("chain/tree.rs", "use std::{collections::HashMap, fs};"),
        ("chain/tree.rs", "use std::net::{IpAddr, TcpStream};"),
        ("name/id.rs", "let c = '\"'; let now = std::time::SystemTime::now();"),
        ("name/id.rs", "let s = r#\"a \" b\"#; let now = Instant::now();"),
        ("name/id.rs", "fn f<'a>(x: &'a str) { let rng = rand::rng(); }"),
        (
            "name/id.rs",
            "#[cfg(test)] mod tests { use std::fs; } use rand::rngs::OsRng;",
        ),
        ("net/pins.rs", "async fn f() { tokio::select! {} }"),
        ("electrum/wire.rs", "/* a /* b */ */ use std::thread;"),
        ("sim/chain.rs", "let home = std::env::var(\"HOME\");"),
    ] {
        assert!(!faults(file, source).is_empty(), "nothing found in {file}: {source}");
    }
}

#[test]
fn good_samples_pass() {
    for (file, source) in [
        (
            "chain/tree.rs",
            "use super::{Height, params::Params}; use crate::time::Timestamp;",
        ),
        (
            "chain/tree.rs",
            "//! [`crate::net`]\n/* tokio */ const S: &str = \"std::fs \\\" tokio\";",
        ),
        (
            "name/proof/mod.rs",
            "#[cfg(test)] mod tests { use isonym_sim::World; use std::fs; }",
        ),
        ("net/dialer.rs", "use tokio::net::TcpStream; use crate::electrum::Ask;"),
        ("cli/playground.rs", "use isonym_sim::World; use isonym::node::Handle;"),
        (
            "sim/host.rs",
            "use tokio::net::TcpListener; use crate::server::Reply; use isonym_core::electrum::Request;",
        ),
        (
            "name/id.rs",
            "use std::net::IpAddr; use std::time::Duration; let name = rand::rngs::StdRng::seed_from_u64(1);",
        ),
    ] {
        assert_eq!(faults(file, source), Vec::<String>::new(), "{file}: {source}");
    }
}

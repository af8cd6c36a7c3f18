//! Other resolvers, and a balancer of load, before our server, by the settings that the documentation has.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use tempfile::TempDir;

use super::cases::{self, RENAMED, SECURE, Zones};
use super::client::{delv, dig};
use super::process::Process;
use super::server::{Keys, Server, name_show};
use super::snippets::{OPERATORS, replaced, snippet, system, uncommented};
use super::{ALGORITHMS, assert_cases, owned};

/// A program before our server.
pub struct Front {
    pub address: SocketAddr,
    _process: Process,
    _home: TempDir,
}

impl Front {
    /// Starts one on a free port; `command` writes its settings into the folder.
    fn start(words: &'static str, command: impl Fn(&TempDir, u16) -> Command) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (process, port) = Process::start_at_free_port(|port| command(&home, port), words);
        Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            _process: process,
            _home: home,
        }
    }

    /// Starts BIND with a zone as an operator has it, on a free port. It asks nobody but that zone's servers and the one
    /// that is named for the root, which refuses what is not of its zone.
    pub fn named(zone: &str, root: SocketAddr) -> Self {
        // It goes on where it can't have the port, but not with these words.
        Self::start("listening on IPv4 interface", |home, port| {
            let (root, root_port) = (root.ip(), root.port());
            let text = format!(
                "options {{ directory \"{}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; \
                 pid-file none; session-keyfile none; managed-keys-directory \".\"; empty-zones-enable no; notify no; \
                 allow-recursion {{ 127.0.0.0/8; }}; dnssec-validation yes; }};\ncontrols {{ }};\n\
                 zone \".\" {{ type forward; forward only; forwarders {{ {root} port {root_port}; }}; }};\n{zone}",
                home.path().display()
            );
            let path = home.path().join("named.conf");
            fs::write(&path, text).unwrap();
            let mut command = system("named");
            command.arg("-g").arg("-n1").arg("-c").arg(&path);
            command
        })
    }

    /// Starts `PowerDNS`'s recursor with the documented lines.
    fn recursor(settings: &str, anchors: &str, root: SocketAddr) -> Self {
        Self::start("Enabled multiplexer", |home, port| {
            let folder = home.path().display();
            let lua = home.path().join("bit.lua");
            fs::write(&lua, anchors).unwrap();
            let settings = replaced(settings, "/etc/powerdns/bit.lua", lua.to_str().unwrap());
            let text = format!(
                "{settings}local-address=127.0.0.1\nlocal-port={port}\nsocket-dir={folder}\nhint-file=no\n\
                 security-poll-suffix=\nthreads=1\nforward-zones+=.={root}\n"
            );
            fs::write(home.path().join("recursor.conf"), text).unwrap();
            let mut command = system("pdns_recursor");
            command.arg(format!("--config-dir={folder}"));
            command.args(["--daemon=no", "--write-pid=no", "--disable-syslog"]);
            command
        })
    }

    /// Starts dnsdist before these servers, by the documented settings.
    fn dnsdist(servers: [SocketAddr; 2], cache: bool) -> Self {
        Self::start("as 'up'", |home, port| {
            let mut text = snippet(OPERATORS, "-- /etc/dnsdist/dnsdist.conf");
            text = replaced(&text, "127.0.0.1:5353", &format!("127.0.0.1:{port}"));
            for (documented, server) in ["127.0.0.1:5300", "127.0.0.1:5301"].into_iter().zip(servers) {
                text = replaced(&text, documented, &server.to_string());
            }
            if cache {
                text = uncommented(&text, "--", "getPool(\"\"):setCache");
            }
            let path = home.path().join("dnsdist.conf");
            fs::write(&path, text).unwrap();
            // It says on standard output what others say on standard error.
            let mut command = system("sh");
            command.args([
                "-c",
                "exec dnsdist --supervised --disable-syslog --config \"$1\" >&2",
                "sh",
            ]);
            command.arg(&path);
            command
        })
    }
}

/// The fields of a zone's DS record: `TAG ALGORITHM TYPE DIGEST`.
fn fields(keys: &Keys) -> Vec<String> {
    keys.ds().split(' ').skip(3).map(str::to_owned).collect()
}

/// The documented zone of BIND's, signed by these keys.
pub fn named_zone(first_line: &str, keys: &Keys) -> String {
    let text = snippet(OPERATORS, first_line);
    let text = uncommented(&text, "//", "trust-anchors");
    let fields = fields(keys);
    let anchor = format!("{} {} {} \"{}\"", fields[0], fields[1], fields[2], fields[3]);
    replaced(&text, "12345 13 2 \"0123...\"", &anchor)
}

/// The documented zone of BIND's that is at a port of its own.
const NAMED_FORWARD: &str = "// /etc/bind/named.conf.local, where Isonym is at a port of its own";

/// What no referral leads away from: a forwarder is expected to follow those.
fn of_one_server() -> impl Iterator<Item = &'static cases::Case> {
    SECURE
        .iter()
        .filter(|(question, _)| !question.starts_with("unsigned.child.bit"))
        .chain([&RENAMED])
}

#[test]
fn named_validates_all_that_we_sign() {
    for algorithm in ALGORITHMS {
        let zones = Zones::on_free_ports(algorithm, algorithm);
        let zone = named_zone(NAMED_FORWARD, &zones.keys);
        let port = format!("port {}", zones.bit.address.port());
        let named = Front::named(&replaced(&zone, "port 5300", &port), zones.bit.address);
        // Twice, from us and from what it remembers.
        for _ in 0..2 {
            assert_cases(named.address, of_one_server(), true);
        }
        let others = Keys::new("bit", algorithm);
        let zone = named_zone(NAMED_FORWARD, &others);
        let wrong = Front::named(&replaced(&zone, "port 5300", &port), zones.bit.address);
        assert_eq!(dig(wrong.address, "example.bit A").status, "SERVFAIL");
    }
}

#[test]
fn recursor_validates_all_that_we_sign() {
    for algorithm in ALGORITHMS {
        let zones = Zones::on_free_ports(algorithm, algorithm);
        let settings = snippet(OPERATORS, "# /etc/powerdns/recursor.d/bit.conf");
        let settings = replaced(&settings, "127.0.0.1:5300", &zones.bit.address.to_string());
        let text = snippet(OPERATORS, "-- /etc/powerdns/bit.lua");
        let documented = "12345 13 2 0123...";
        let anchors = |keys: &Keys| {
            let text = uncommented(&text, "--", "addTA");
            let text = replaced(&text, "addNTA", "-- addNTA");
            replaced(&text, documented, &fields(keys).join(" "))
        };
        let recursor = Front::recursor(&settings, &anchors(&zones.keys), zones.bit.address);
        for _ in 0..2 {
            for (question, records) in of_one_server() {
                let mut seen = dig(recursor.address, question);
                // It gives the records of one reply in an order of its own.
                let mut records = owned(records);
                seen.records.sort();
                records.sort();
                assert_eq!(
                    (seen.status.as_str(), &seen.records),
                    ("NOERROR", &records),
                    "{}",
                    seen.text
                );
                assert!(seen.has_flag("ad"), "{}", seen.text);
            }
        }
        let wrong = anchors(&Keys::new("bit", algorithm));
        let wrong = Front::recursor(&settings, &wrong, zones.bit.address);
        assert_eq!(dig(wrong.address, "example.bit A").status, "SERVFAIL");
        // As it is pasted: the zone is not signed.
        let insecure = Front::recursor(&settings, &text, zones.bit.address);
        assert_cases(
            insecure.address,
            &[("example.bit A", &["example.bit. A 192.0.2.1"][..])],
            false,
        );
    }
}

#[test]
fn dnsdist_passes_isolation_ids_on_and_its_cache_keeps_them_apart() {
    let (names, asked) = name_show(cases::names(&Keys::new("signed.child.bit", ALGORITHMS[0])));
    let keys = Keys::new("bit", ALGORITHMS[0]);
    let servers = [(); 2].map(|()| Server::start("127.0.0.1:0", names, "bit", Some(&keys)));
    let at = [&servers[0], &servers[1]].map(|server| server.address);
    let dnsdist = Front::dnsdist(at, true);
    let ids = ["+ednsopt=65312:6d65", "+ednsopt=65312:796f75", "+edns"];
    for option in ids.iter().chain(&ids) {
        let seen = dig(dnsdist.address, &format!("{option} other.bit A"));
        assert_eq!(seen.records, ["other.bit. A 192.0.2.2"], "{}", seen.text);
    }
    let mut seen = asked.lock().unwrap().clone();
    seen.sort();
    let of = |id: Option<&str>| ("d/other".to_owned(), id.map(str::to_owned));
    assert_eq!(seen, [of(None), of(Some("me")), of(Some("you"))]);
    let said = delv(dnsdist.address, &keys.anchor_file(), "www.example.bit A");
    assert!(said.contains("; fully validated"), "{said}");

    // What it remembers for one ID outlives our servers, and is no other ID's.
    drop(servers);
    let patient = "+timeout=3 +tries=20";
    let seen = dig(dnsdist.address, &format!("{patient} {} other.bit A", ids[0]));
    assert_eq!(seen.records, ["other.bit. A 192.0.2.2"], "{}", seen.text);
    let seen = dig(dnsdist.address, &format!("{patient} +ednsopt=65312:6869 other.bit A"));
    assert_eq!(seen.status, "SERVFAIL", "{}", seen.text);
}

#[test]
fn dnsdist_asks_none_that_does_not_serve_the_zone_or_is_gone() {
    let (names, asked) = name_show(cases::names(&Keys::new("signed.child.bit", ALGORITHMS[0])));
    let start = |zone| Server::start("127.0.0.1:0", names, zone, None);
    let (right, wrong, second) = (start("bit"), start("other"), start("bit"));
    let dnsdist = Front::dnsdist([wrong.address, right.address], false);
    for number in 0..20 {
        let seen = dig(dnsdist.address, &format!("+ednsopt=65312:{number:04x} example.bit A"));
        assert_eq!(seen.status, "NOERROR", "{}", seen.text);
    }
    assert_eq!(asked.lock().unwrap().len(), 20);

    let dnsdist = Front::dnsdist([right.address, second.address], false);
    drop(right);
    for number in 0..10 {
        // Until it notices, queries to who is gone are lost.
        let question = format!("+timeout=3 +tries=20 +ednsopt=65312:1{number:03x} example.bit A");
        let seen = dig(dnsdist.address, &question);
        assert_eq!(seen.status, "NOERROR", "{}", seen.text);
    }
}

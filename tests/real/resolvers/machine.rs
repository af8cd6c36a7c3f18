//! A machine of its own for a test, where DNS's own port is free, with settings that a C library reads.

use std::fs;
use std::path::Path;
use std::process::Command;

use isonym_testkit::machine;
use tempfile::TempDir;

use super::cases::{RENAMED, SECURE, SIGNED, SIGNED_CHILD, UNSIGNED, UNSIGNED_CHILD, Zones};
use super::client::{dig, run};
use super::peers::{Front, named_zone};
use super::process::Process;
use super::snippets::replaced;
use super::unbound::{Config, Unbound};
use super::{ALGORITHMS, assert_cases};

/// Where Linux's C library finds its resolver inside.
const RESOLVER: &str = "127.0.0.53";

/// What is bound over which of the machine's files.
const FILES: [(&str, &str); 2] = [
    ("/etc/resolv.conf", "nameserver 127.0.0.53\n"),
    ("/etc/nsswitch.conf", "hosts: dns\npasswd: files\ngroup: files\n"),
];

/// Says whether we are in a machine of this test's own, and prepares it. If not, runs the test again in one, or says why it
/// can't.
fn is_inside(test: &str) -> Option<TempDir> {
    machine::is_inside(test).then(prepared)
}

/// Puts files over the machine's; nobody else sees them.
fn prepared() -> TempDir {
    let must = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    };
    let home = tempfile::tempdir().unwrap();
    for (path, text) in FILES {
        let own = home.path().join(Path::new(path).file_name().unwrap());
        fs::write(&own, text).unwrap();
        must("mount", &["--bind", own.to_str().unwrap(), path]);
    }
    // Else the machine's name service cache would be asked.
    if Path::new("/run/nscd").exists() {
        must("mount", &["-t", "tmpfs", "none", "/run/nscd"]);
    }
    home
}

/// The addresses that any program gets for a name, in order and once.
fn getent(name: &str) -> Vec<String> {
    let said = run("getent", &["ahosts", name]);
    let addresses = said.lines().filter_map(|line| line.split_whitespace().next());
    let mut addresses: Vec<String> = addresses.map(str::to_owned).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// The zones, the children where the records say that they are.
fn zones() -> Zones {
    let [signed, unsigned] = [SIGNED_CHILD, UNSIGNED_CHILD].map(|ip| format!("{ip}:53"));
    Zones::start(ALGORITHMS[0], ALGORITHMS[1], ["127.0.0.1:5300", &signed, &unsigned])
}

#[test]
fn getent_finds_names_through_unbound_which_follows_referrals() {
    let Some(_home) = is_inside("resolvers::machine::getent_finds_names_through_unbound_which_follows_referrals")
    else {
        return;
    };
    let zones = zones();
    let config = Config::bit(zones.bit.address).trusting(&zones.keys.ds());
    let address = format!("{RESOLVER}:53").parse().unwrap();
    let unbound = Unbound::start_at(address, &config);
    // It is told of no server but that of bit.
    assert_cases(unbound.address, SECURE.iter().chain(SIGNED), true);
    assert_cases(unbound.address, UNSIGNED, false);
    for (name, v4, v6) in [
        ("example.bit", "192.0.2.1", "2001:db8::1"),
        ("www.example.bit", "192.0.2.1", "2001:db8::1"),
        ("x.ren.example.bit", "192.0.2.3", ""),
        ("any.wild.example.bit", "192.0.2.9", ""),
        ("host.signed.child.bit", "192.0.2.33", ""),
        ("host.unsigned.child.bit", "192.0.2.33", ""),
        ("nosuch.bit", "", ""),
        ("deep.example.bit", "", ""),
    ] {
        let both: Vec<&str> = [v4, v6].into_iter().filter(|address| !address.is_empty()).collect();
        assert_eq!(getent(name), both, "{name}");
    }
}

#[test]
fn named_follows_referrals_and_validates_what_they_lead_to() {
    let Some(_home) = is_inside("resolvers::machine::named_follows_referrals_and_validates_what_they_lead_to") else {
        return;
    };
    let [signed, unsigned] = [SIGNED_CHILD, UNSIGNED_CHILD].map(|ip| format!("{ip}:53"));
    // The documented address of our server is that of a child here.
    let zones = Zones::start(ALGORITHMS[0], ALGORITHMS[1], ["127.0.0.56:53", &signed, &unsigned]);
    let zone = named_zone("// /etc/bind/named.conf.local", &zones.keys);
    let zone = replaced(&zone, "{ 127.0.0.54; }", "{ 127.0.0.56; }");
    let named = Front::named(&zone, zones.bit.address);
    for _ in 0..2 {
        assert_cases(named.address, SECURE.iter().chain(SIGNED).chain([&RENAMED]), true);
        assert_cases(named.address, UNSIGNED, false);
    }
}

/// Starts a dnsmasq that asks this server for bit, and nobody for anything else.
fn dnsmasq(listen: &str, server: &str) -> Process {
    let mut command = Command::new("dnsmasq");
    let paths = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{paths}:/usr/sbin"));
    // This option leaves it in the foreground, as the user whom it has.
    command.args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv"]);
    command.args(["--no-hosts", "--pid-file=", "--bind-interfaces"]);
    command.arg(format!("--listen-address={listen}"));
    command.arg(format!("--server=/bit/{server}"));
    Process::start(&mut command, "started, version").unwrap().0
}

#[test]
fn getent_finds_names_through_dnsmasq() {
    let Some(_home) = is_inside("resolvers::machine::getent_finds_names_through_dnsmasq") else {
        return;
    };
    let _zones = zones();
    let _dnsmasq = dnsmasq(RESOLVER, "127.0.0.1#5300");
    assert_eq!(getent("example.bit"), ["192.0.2.1", "2001:db8::1"]);
    assert_eq!(getent("any.wild.example.bit"), ["192.0.2.9"]);
    assert_eq!(getent("nosuch.bit"), [""; 0]);
    assert_eq!(getent("deep.example.bit"), [""; 0]);
    let resolver = format!("{RESOLVER}:53").parse().unwrap();
    for (question, status) in [
        ("nosuch.bit A", "NXDOMAIN"),
        ("deep.example.bit A", "NOERROR"),
        ("example.com A", "REFUSED"),
    ] {
        assert_eq!(dig(resolver, question).status, status, "{question}");
    }
    // Validators behind it get what they need.
    let signed = dig(resolver, "+dnssec example.bit TXT");
    assert_eq!(signed.records, ["example.bit. TXT \"some text\""], "{}", signed.text);
    assert_eq!(signed.signed, ["TXT"], "{}", signed.text);
}

#[test]
fn getent_follows_aliases_through_dnsmasq_with_unbound_behind_it() {
    let Some(_home) = is_inside("resolvers::machine::getent_follows_aliases_through_dnsmasq_with_unbound_behind_it")
    else {
        return;
    };
    let zones = zones();
    let config = Config::bit(zones.bit.address).trusting(&zones.keys.ds());
    let _unbound = Unbound::start_at("127.0.0.1:5335".parse().unwrap(), &config);
    let _dnsmasq = dnsmasq(RESOLVER, "127.0.0.1#5335");
    for (name, addresses) in [
        ("www.example.bit", &["192.0.2.1", "2001:db8::1"][..]),
        ("away.example.bit", &["192.0.2.2"]),
        ("x.ren.example.bit", &["192.0.2.3"]),
        // What aliases lead to is remembered right.
        ("example.bit", &["192.0.2.1", "2001:db8::1"]),
        ("other.bit", &["192.0.2.2"]),
        ("host.signed.child.bit", &["192.0.2.33"]),
        ("nosuch.bit", &[]),
    ] {
        assert_eq!(getent(name), addresses, "{name}");
    }
}

//! Arguments that make no sense.

use super::closed_port;
use isonym_testkit::program::{End, Program};

fn name_show(arguments: &[&str]) -> End {
    let program = Program::new();
    let server = format!("--server={}:t", closed_port());
    End::of(program.direct().args(["name_show", &server]), arguments)
}

#[test]
fn names_that_are_none_in_their_encoding() {
    name_show(&["d/b\u{fc}cher"]).assert_failed(&["the name can't be looked up", "ascii"]);
    name_show(&["642", "--name-encoding=hex"]).assert_failed(&["the name can't be looked up", "hex"]);
    name_show(&["d/x", "--name-encoding=hex"]).assert_failed(&["the name can't be looked up", "hex"]);
}

#[test]
fn a_name_that_is_too_long() {
    name_show(&[&"x".repeat(256)]).assert_failed(&["the name has 256 bytes", "at most 255"]);
    name_show(&[&"00".repeat(256), "--name-encoding=hex"]).assert_failed(&["the name has 256 bytes"]);
}

#[test]
fn an_unknown_encoding() {
    for option in ["--name-encoding", "--value-encoding"] {
        name_show(&["d/x", option, "latin1"]).assert_failed(&[option, "latin1"]);
    }
}

#[test]
fn a_quorum_out_of_range() {
    for quorum in ["0", "9"] {
        name_show(&["d/x", "--quorum", quorum]).assert_failed(&["--quorum", quorum, "from 1 to 8"]);
    }
    for quorum in ["256", "-1", "two", ""] {
        let option = format!("--quorum={quorum}");
        name_show(&["d/x", &option]).assert_failed(&["--quorum"]);
    }
}

#[test]
fn an_isolation_id_that_is_too_long() {
    name_show(&["d/x", "--isolation-id", &"i".repeat(10_000)]).assert_failed(&["--isolation-id", "10000 bytes"]);
}

#[test]
fn servers_and_proxies_that_are_no_addresses() {
    let program = Program::new();
    for (server, words) in [
        ("example.org", "port"),
        ("example.org:x:t", "port"),
        ("a b:1:t", "host"),
        (
            "example.org:1:x",
            "expected HOST:PORT:t, HOST:PORT:s, tcp://HOST:PORT or ssl://HOST:PORT",
        ),
        ("wss://example.org:1", "ssl://HOST:PORT"),
        ("ssl://example.org:1:t", "once whether it is TCP or TLS"),
        ("expyuzz4wqqyqhjn.onion:1:t", "invalid onion service"),
        (
            "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscrye.onion:1",
            "56 characters before .onion whose checksum fits; is one mistyped?",
        ),
    ] {
        End::of(&mut program.direct(), ["sync", "--server", server]).assert_failed(&["--server", server, words]);
    }
    for (proxy, words) in [
        ("127.0.0.1:9050", "socks5://HOST:PORT"),
        ("http://127.0.0.1:9050", "socks5://HOST:PORT"),
        ("socks5://tor.example:9050", "IP address or localhost"),
        ("socks5://me:secret@127.0.0.1:9050", "no user name or password"),
    ] {
        End::of(&mut program.on_regtest(), ["sync", "--proxy", proxy]).assert_failed(&["--proxy", words]);
    }
}

/// A wrong value is repeated by the error about it; what may be a password in it is not.
#[test]
fn passwords_in_addresses_are_not_repeated() {
    const SECRET: &str = "hunter2";
    let program = Program::new();
    for login in [
        "http://u:hunter2@",
        "http:/u:hunter2@",
        "//u:hunter2@",
        "u:hunter2@",
        "http://u:hun/ter2@hunter2@",
    ] {
        let address = format!("{login}127.0.0.1:1");
        for arguments in [
            ["resolve", "a.bit", "--rpc-url"],
            ["sync", "-v", "--server"],
            ["sync", "-v", "--proxy"],
            ["servers", "accept", "--"],
            ["config", "show", "--rpc-url"],
        ] {
            let end = End::of(program.on_regtest().args(arguments), [&address]);
            assert_eq!(end.status, Some(1), "{arguments:?} {login}: {end:?}");
            let told = format!("{}{}", end.out, end.err);
            assert!(
                !told.contains(SECRET) && told.contains("127.0.0.1"),
                "{arguments:?} {login}: {told}"
            );
        }
    }
    let end = End::of(
        &mut program.on_regtest(),
        ["resolve", "a.bit", "--rpc-url=http://u:p@127.0.0.1:1"],
    );
    end.assert_failed(&["rpc-user and rpc-password"]);
}

#[test]
fn direct_and_proxy_together() {
    let program = Program::new();
    let both = ["--proxy=socks5://127.0.0.1:9", "--direct"];
    for command in [
        ["status", both[0], both[1]],
        [both[0], "status", both[1]],
        [both[1], both[0], "status"],
    ] {
        End::of(&mut program.on_regtest(), command).assert_failed(&["--direct and --proxy exclude each other"]);
    }
}

#[test]
fn usage_errors_end_with_status_1() {
    let program = Program::new();
    for (arguments, words) in [
        (&[][..], "Usage"),
        (&["no_such_command"], "unrecognized subcommand"),
        (&["name_show"], "<NAME>"),
        (&["name_show", "d/x", "d/y"], "d/y"),
        (&["--no-such-option", "sync"], "--no-such-option"),
        (&["--network", "mars", "status"], "mars"),
        (&["-v", "-q", "sync"], "cannot be used with"),
        (&["sync", "--server"], "--server"),
        (&["--direct", "rpc", "uptime"], "--direct has no effect on `isonym rpc`"),
        (&["dns", "--server=a.b:1"], "--server has no effect on `isonym dns`"),
    ] {
        End::of(&mut program.bare(), arguments).assert_failed(&[words]);
    }
}

#[test]
fn a_network_without_servers_of_its_own() {
    let program = Program::new();
    End::of(&mut program.direct(), ["sync"]).assert_failed(&["no server is known for regtest", "--server"]);
}

#[test]
fn help_and_version_are_no_errors() {
    let program = Program::new();
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["name_show", "--help"],
        &["sync", "-h"],
    ] {
        let end = End::of(&mut program.bare(), arguments);
        end.assert_succeeded();
        assert!(end.out.contains("Usage"), "{end:?}");
    }
    let version = End::of(&mut program.bare(), ["--version"]);
    version.assert_succeeded();
    assert_eq!(version.out, concat!("isonym ", env!("CARGO_PKG_VERSION"), "\n"));
}

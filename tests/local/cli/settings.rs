//! The configuration file, the environment, and who wins over whom.

use std::fs;
use std::process::Command;

use super::closed_port;
use super::world;
use isonym_testkit::program::{End, Program, Stage};

fn with_file(program: &Program, text: &str) -> Command {
    let file = program.home().join("isonym.toml");
    fs::write(&file, text).unwrap();
    let mut command = program.direct();
    command.arg("--config").arg(file);
    command
}

#[test]
fn a_configuration_file_that_can_not_be_read() {
    let program = Program::new();
    for file in ["/nowhere/isonym.toml", "/"] {
        End::of(&mut program.direct(), ["--config", file, "status"])
            .assert_failed(&["cannot read the configuration file", file]);
    }
    #[cfg(target_os = "linux")]
    End::of(&mut program.direct(), ["--config", "/dev/zero", "status"]).assert_failed(&["is no configuration file"]);
}

#[test]
fn a_bad_configuration_file() {
    let program = Program::new();
    for (text, word) in [
        ("network = ", "isonym.toml"),
        ("network = 1", "network"),
        ("network = \"mars\"", "mars"),
        ("quorum = 300", "quorum"),
        ("quorum = 0", "from 1 to 8"),
        ("server = \"one\"", "server"),
        ("server = [\"one\"]", "one"),
        ("direct = \"yes\"", "direct"),
        ("name-encoding = \"latin1\"", "latin1"),
        ("anchor = \"1\"", "HEIGHT:HASH"),
    ] {
        let mut command = program.bare();
        let file = program.home().join("isonym.toml");
        fs::write(&file, text).unwrap();
        command.arg("--config").arg(&file);
        End::of(&mut command, ["status"]).assert_failed(&[word]);
    }
}

#[test]
fn an_unknown_key() {
    let program = Program::new();
    let mut command = with_file(&program, "servers = []\n");
    End::of(&mut command, ["status"]).assert_failed(&["isonym.toml", "unknown field", "servers"]);
}

#[test]
fn flags_go_over_the_environment_over_the_file_over_the_default() {
    let program = Program::new();
    let network = |command: &mut Command| {
        let end = End::of(command, ["status", "--json"]);
        end.assert_succeeded();
        end.json()["network"].as_str().unwrap().to_owned()
    };
    let file = program.home().join("isonym.toml");
    fs::write(&file, "network = \"testnet\"\n").unwrap();
    assert_eq!(network(&mut program.bare()), "mainnet");
    assert_eq!(network(program.bare().env("ISONYM_CONFIG", &file)), "testnet");
    let both = |command: &mut Command| {
        command.env("ISONYM_CONFIG", &file).env("ISONYM_NETWORK", "regtest");
    };
    let mut command = program.bare();
    both(&mut command);
    assert_eq!(network(&mut command), "regtest");
    let mut command = program.bare();
    both(&mut command);
    assert_eq!(network(command.arg("--network=mainnet")), "mainnet");

    // The user's own file needs no mention.
    let own = program.home().join(".config").join("isonym");
    if cfg!(target_os = "linux") {
        fs::create_dir_all(&own).unwrap();
        fs::rename(&file, own.join("isonym.toml")).unwrap();
        assert_eq!(network(&mut program.bare()), "testnet");
    }
}

#[test]
fn proxy_and_direct_are_one_choice() {
    let program = Program::new();
    let stage = Stage::honest(world());
    let (server, named) = (stage.server('t'), "--server=server.sim:50001:t");
    let closed = format!("socks5://{}", closed_port());
    let open = format!("socks5://{}", stage.proxy);
    let file = program.home().join("isonym.toml");
    let run = |text: &str, env: &[(&str, &str)], arguments: &[&str]| {
        fs::write(&file, text).unwrap();
        let mut command = program.on_regtest();
        command.envs(env.iter().copied()).arg("--config").arg(&file);
        End::of(command.arg("sync"), arguments)
    };
    let in_file = |proxy: &str| format!("proxy = \"{proxy}\"\n");

    run(&in_file(&open), &[], &[named]).assert_succeeded();
    run(&in_file(&closed), &[("ISONYM_PROXY", &open)], &[named]).assert_succeeded();
    run("direct = true\n", &[("ISONYM_PROXY", &closed)], &[&server]).assert_failed(&["no proxy at"]);
    run(&in_file(&closed), &[("ISONYM_DIRECT", "1")], &[&server]).assert_succeeded();
    // The contrary can be said too, and a word that is neither is not taken for a yes.
    let no = [("ISONYM_DIRECT", "false")];
    run(&format!("direct = true\n{}", in_file(&closed)), &no, &[&server]).assert_failed(&["no proxy at"]);
    run("", &[("ISONYM_DIRECT", "perhaps")], &[&server]).assert_failed(&["perhaps"]);
    run("", &[("ISONYM_DIRECT", "1")], &[named, "--proxy", &closed]).assert_failed(&["no proxy at"]);
    run("", &[("ISONYM_PROXY", &closed)], &[&server, "--direct"]).assert_succeeded();
    // Of one source, neither wins.
    let both = [("ISONYM_PROXY", open.as_str()), ("ISONYM_DIRECT", "1")];
    run("", &both, &[&server]).assert_failed(&["exclude each other"]);
    run(&format!("direct = true\n{}", in_file(&open)), &[], &[&server]).assert_failed(&["exclude each other"]);
}

#[test]
fn servers_are_named_one_by_one_or_in_a_list() {
    let program = Program::new();
    let stage = Stage::honest(world());
    let list = format!("{}:t,{}:t", closed_port(), stage.server);
    End::of(program.direct().env("ISONYM_SERVER", &list), ["sync"]).assert_succeeded();
    let text = format!("server = [\"{}:t\", \"{}:t\"]\n", closed_port(), stage.server);
    End::of(&mut with_file(&program, &text), ["sync"]).assert_succeeded();
}

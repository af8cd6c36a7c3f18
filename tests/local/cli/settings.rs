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
    let name_show = &["name_show", "d/x"][..];
    for (text, word, command) in [
        ("network = ", "isonym.toml", &["status"][..]),
        ("network = 1", "network", &["status"]),
        ("network = \"mars\"", "mars", &["status"]),
        ("quorum = 300", "quorum", name_show),
        ("quorum = 0", "from 1 to 8", name_show),
        ("server = \"one\"", "server", &["status"]),
        ("server = [\"one\"]", "one", &["status"]),
        ("direct = \"yes\"", "direct", &["status"]),
        ("name-encoding = \"latin1\"", "latin1", name_show),
        ("anchor = \"1\"", "HEIGHT:HASH", &["status"]),
    ] {
        let mut bare = program.bare();
        let file = program.home().join("isonym.toml");
        fs::write(&file, text).unwrap();
        bare.arg("--config").arg(&file);
        End::of(&mut bare, command).assert_failed(&[word, "isonym.toml:1: "]);
    }
    // What a command has no use for doesn't stop it.
    let mut status = with_file(&program, "quorum = 0\nname-encoding = \"latin1\"\n");
    End::of(&mut status, ["status"]).assert_succeeded();
}

#[test]
fn an_unknown_key() {
    let program = Program::new();
    let mut command = with_file(&program, "servers = []\n");
    End::of(&mut command, ["status"]).assert_failed(&[
        "isonym.toml:1: ",
        "unknown field",
        "servers",
        "did you mean `server`?",
    ]);
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

#[test]
fn a_variable_that_is_no_option_is_warned_of() {
    let program = Program::new();
    let end = End::of(program.direct().env("ISONYM_QUORUN", "2"), ["status"]);
    end.assert_succeeded();
    assert!(
        end.err.contains("ISONYM_QUORUN") && end.err.contains("ISONYM_QUORUM?"),
        "{end:?}"
    );
    let end = End::of(program.direct().env("ISONYM_QUORUN", "2"), ["-q", "status"]);
    assert_eq!((end.status, end.err.as_str()), (Some(0), ""));
}

#[test]
fn a_wrong_value_is_told_once_with_its_origin() {
    let program = Program::new();
    let file = program.home().join("isonym.toml");
    fs::write(&file, "\nquorum = 9\n").unwrap();
    let in_file = format!("isonym: {}:2: quorum = 9: give a number from 1 to 8\n", file.display());
    let run = |command: &mut Command| End::of(command.arg("--config").arg(&file), ["name_show", "d/x"]).err;
    assert_eq!(run(&mut program.direct()), in_file);
    let in_environment = run(program.direct().env("ISONYM_QUORUM", "two"));
    assert_eq!(in_environment, "isonym: ISONYM_QUORUM=two: give a number from 1 to 8\n");
    let on_command_line = End::of(
        program.direct().env("ISONYM_QUORUM", "2"),
        ["name_show", "d/x", "--quorum=0"],
    )
    .err;
    assert_eq!(on_command_line, "isonym: --quorum 0: give a number from 1 to 8\n");
}

#[test]
fn paths_are_expanded_or_refused() {
    let program = Program::new();
    for written in ["~/mine", "$HOME/mine", "${HOME}/mine"] {
        let file = program.home().join("isonym.toml");
        fs::write(&file, format!("datadir = \"{written}\"\nnetwork = \"regtest\"\n")).unwrap();
        let mut command = program.bare();
        command.current_dir(program.home()).arg("--config").arg(&file);
        End::of(&mut command, ["status"]).assert_succeeded();
        assert!(program.home().join("mine").join("regtest").is_dir(), "{written}");
        fs::remove_dir_all(program.home().join("mine")).unwrap();
        let mut command = program.bare();
        command.current_dir(program.home()).env("ISONYM_DATADIR", written);
        End::of(&mut command, ["status"]).assert_succeeded();
        fs::remove_dir_all(program.home().join("mine")).unwrap();
    }
    for written in ["~nobody/x", "$OTHER/x"] {
        let mut command = program.bare();
        command.current_dir(program.home());
        End::of(&mut command, ["status", "--datadir", written]).assert_failed(&["--datadir", "expanded"]);
    }
    let left: Vec<_> = fs::read_dir(program.home())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left, ["isonym.toml"], "no folder was made of a word");
}

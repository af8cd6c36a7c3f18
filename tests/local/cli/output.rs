//! What goes to standard output and error, and what happens when nobody reads it.

use std::io::Read;
use std::process::{Command, Stdio};

use isonym::time::Timestamp;
use isonym_sim::World;

use super::world;
use isonym_testkit::program::{End, Program, Stage};

#[test]
fn a_name_that_is_there() {
    let program = Program::new();
    let stage = Stage::honest(world());
    for command in ["name_show", "name-show"] {
        let end = End::of(&mut program.direct(), [command, "d/here", &stage.server('t')]);
        end.assert_succeeded();
        assert_eq!(end.json()["value"], "value");
        assert_eq!(end.json()["name"], "d/here");
    }
    let through = [&stage.proxy(), "name_show", "d/here", "--server=server.sim:50001:t"].map(str::to_owned);
    End::of(&mut program.on_regtest(), through).assert_succeeded();
}

#[test]
fn a_name_that_is_not_there() {
    let program = Program::new();
    let stage = Stage::honest(world());
    for command in ["name_show", "name_history"] {
        let end = End::of(&mut program.direct(), [command, "d/nowhere", &stage.server('t')]);
        assert_eq!((end.status, end.out.as_str()), (Some(2), ""), "{end:?}");
        assert!(end.err.contains("never existed"), "{end:?}");
    }
}

#[test]
fn status_before_any_sync() {
    let program = Program::new();
    let end = End::of(&mut program.bare(), ["status"]);
    end.assert_succeeded();
    for words in ["mainnet", "815000", "no headers yet", "isonym sync", "none asked yet"] {
        assert!(end.out.contains(words), "{end:?}");
    }
    let status = End::of(&mut program.direct(), ["status", "--json"]);
    status.assert_succeeded();
    assert_eq!(status.err, "");
    assert_eq!(status.json()["height"], 0);
    assert_eq!(status.json()["servers"], serde_json::json!([]));
    End::of(&mut program.bare(), ["status", "--json", "--network=testnet"]).assert_succeeded();
}

#[test]
fn a_log_in_a_pipe_has_no_colour() {
    let program = Program::new();
    let stage = Stage::honest(world());
    let end = End::of(&mut program.direct(), ["-vv", "sync", &stage.server('t')]);
    end.assert_succeeded();
    assert!(end.err.contains("headers are up to date"), "{end:?}");
    assert!(!end.err.contains('\u{1b}'), "{end:?}");
}

#[test]
fn ages_are_told_with_dates() {
    let program = Program::new();
    let stage = Stage::honest(world());
    End::of(&mut program.direct(), ["-q", "sync", &stage.server('t')]).assert_succeeded();
    let end = End::of(&mut program.direct(), ["status"]);
    let age = end.out.lines().find(|line| line.starts_with("age ")).unwrap();
    assert!(age.contains(", since 2023-11-1") && age.ends_with(" UTC"), "{age}");
}

#[test]
fn nothing_is_told_where_nothing_is_missing() {
    let program = Program::new();
    let stage = Stage::honest(world());
    for _ in 0..2 {
        let end = End::of(&mut program.direct(), ["name_show", "d/here", &stage.server('t')]);
        end.assert_succeeded();
        assert_eq!(end.err, "");
    }
}

#[test]
fn one_trouble_of_all_servers_is_told_once() {
    let program = Program::new();
    let servers = (0..7).map(|_| format!("--server={}:t", super::closed_port()));
    let end = End::of(program.direct().arg("sync"), servers);
    end.assert_failed(&["all 7 servers: ", "refuses connections"]);
    assert_eq!(end.err.matches("refuses connections").count(), 1, "{end:?}");
    let status = End::of(&mut program.direct(), ["status"]);
    assert_eq!(status.out.matches("refuses connections").count(), 1, "{status:?}");
}

#[test]
fn quiet_is_silent_but_for_errors() {
    let program = Program::new();
    let stage = Stage::honest(world());
    let end = End::of(&mut program.direct(), ["-q", "sync", &stage.server('t')]);
    end.assert_succeeded();
    assert_eq!((end.out.as_str(), end.err.as_str()), ("", ""));
    let server = stage.server('t');
    drop(stage);
    End::of(&mut program.direct(), ["-q", "sync", &server]).assert_failed(&["refuses connections"]);
}

#[test]
fn progress_in_a_pipe_is_plain_lines() {
    let mut world = World::new(5, Timestamp(1_700_000_000));
    world.mine(2100);
    let program = Program::new();
    let stage = Stage::honest(world);
    let end = End::of(&mut program.direct(), ["sync", &stage.server('t')]);
    end.assert_succeeded();
    assert_eq!(end.out, "");
    let lines: Vec<&str> = end.err.lines().collect();
    assert!(lines.len() >= 2, "{end:?}");
    let (last, progress) = lines.split_last().unwrap();
    assert!(last.starts_with("synchronised to height 2100"), "{end:?}");
    for line in progress {
        assert!(line.starts_with("headers: ") && line.contains(" circuit"), "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

/// Runs the program with a reader that takes one byte and goes.
fn with_a_reader_that_goes(mut command: Command) -> End {
    let mut child = command.spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut byte = [0];
    let _ = out.read(&mut byte);
    drop(out);
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_panic() {
    let program = Program::new();
    let stage = Stage::honest(world());
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["--help"],
        &["name_show", "d/here"],
    ] {
        let mut command = program.direct();
        command.arg(stage.server('t')).args(arguments);
        let end = with_a_reader_that_goes(command);
        assert_eq!((end.status, end.err.contains("panicked")), (Some(0), false), "{end:?}");
    }
}

/// Runs the program by a shell with some of its streams closed or full.
#[cfg(target_os = "linux")]
fn in_a_shell(program: &Program, redirection: &str, arguments: &[&str]) -> End {
    let direct = program.direct();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("exec \"$@\" {redirection}"), "sh"])
        .arg(direct.get_program())
        .args(direct.get_args())
        .args(arguments)
        .env_clear()
        .env("HOME", program.home());
    shell.stdin(Stdio::null()).output().unwrap().into()
}

#[cfg(target_os = "linux")]
#[test]
fn streams_that_are_closed_or_full() {
    let program = Program::new();
    let stage = Stage::honest(world());
    let server = stage.server('t');
    for redirection in ["2>&-", "2>/dev/full"] {
        let sync = in_a_shell(&program, redirection, &["-vv", "sync", &server]);
        assert_eq!(sync.status, Some(0), "{redirection}: {sync:?}");
        let absent = in_a_shell(&program, redirection, &["name_show", "d/nowhere", &server]);
        assert_eq!(absent.status, Some(2), "{redirection}: {absent:?}");
        let failed = in_a_shell(&program, redirection, &["sync", "--server=127.0.0.1:1:t"]);
        assert_eq!(failed.status, Some(1), "{redirection}: {failed:?}");
    }
    // An answer that could not be written is no answer.
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["name_show", "d/here", &server],
    ] {
        let end = in_a_shell(&program, ">/dev/full", arguments);
        end.assert_failed(&["cannot write to standard output"]);
    }
}

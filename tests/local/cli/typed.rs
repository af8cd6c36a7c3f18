//! Names that are typed otherwise than they are meant, and names that no other user is to see.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::{closed_port, world};
use isonym_testkit::backend::{Backend, Says};
use isonym_testkit::program::{End, Program, Stage};

/// Runs a command with this on its standard input.
fn with_input(command: &mut Command, input: &[u8]) -> End {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // A command that wants less of it is none the worse for that.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap().into()
}

#[test]
fn what_was_meant_is_said_and_nothing_asked() {
    let stage = Stage::honest(world());
    let program = Program::new();
    for command in ["name_show", "name_history"] {
        for (name, meant) in [
            ("alice.bit", "`d/alice`"),
            ("alice", "`d/alice`"),
            ("d/Alice", "`d/alice`"),
            ("d/b\u{fc}cher", "`d/xn--bcher-kva`"),
            ("B\u{fc}cher.bit", "`d/xn--bcher-kva`"),
        ] {
            let end = End::of(&mut program.direct(), [command, name, &stage.server('t')]);
            end.assert_failed(&[meant]);
        }
    }
    for (name, meant) in [("d/alice", "`alice.bit`"), ("alice", "`alice.bit`")] {
        let end = End::of(&mut program.direct(), ["resolve", name, &stage.server('t')]);
        end.assert_failed(&[meant]);
    }
    assert!(
        !program.folder().exists(),
        "not even headers were fetched, for which there would be a data folder"
    );
}

#[test]
fn the_very_name_can_be_asked_for() {
    let stage = Stage::honest(world());
    let program = Program::new();
    let refused = End::of(&mut program.direct(), ["name_show", "alice.bit", &stage.server('t')]);
    let (_, advice) = refused.err.split_once("--name-encoding hex ").unwrap();
    let arguments = ["name_show", "--name-encoding=hex", advice.trim(), &stage.server('t')];
    let end = End::of(&mut program.direct(), arguments);
    assert_eq!(end.status, Some(2), "{end:?}");
    assert!(
        end.err.contains("name purportedly never existed: 'alice.bit'"),
        "{end:?}"
    );
}

#[test]
fn a_name_from_standard_input() {
    let stage = Stage::honest(world());
    let program = Program::new();
    for input in ["d/here", "d/here\n", "d/here\r\n"] {
        let mut command = program.direct();
        let end = with_input(command.args(["name_show", "-", &stage.server('t')]), input.as_bytes());
        end.assert_succeeded();
        assert_eq!(end.json()["name"], "d/here");
    }
    let server = format!("--server={}:t", closed_port());
    for (input, words) in [
        (&b""[..], "empty"),
        (b"d/here\nd/there\n", "one line"),
        (b"d/\xff\n", "UTF-8"),
        (&[b'x'; 5000], "more than"),
        (b"here.bit\n", "`d/here`"),
    ] {
        let end = with_input(program.direct().args(["name_show", "-", &server]), input);
        end.assert_failed(&[words]);
    }
    let end = with_input(program.direct().args(["resolve", "-", &server]), b"here\n");
    end.assert_failed(&["`here.bit`"]);
}

#[tokio::test]
async fn what_is_absent_is_told_alike_and_shown_as_it_was_given() {
    let backend = Backend::start().await;
    backend.say("d/empty", Says::value("{}"));
    backend.say("d/old", Says::Expired("{}".to_owned()));
    let url = format!("--rpc-url={}", backend.url());
    for (given, told) in [
        (
            "B\u{fc}cher.Bit",
            "B\u{fc}cher.Bit has no records: name purportedly never existed: 'd/xn--bcher-kva'",
        ),
        ("Old.bit", "Old.bit has no records: name expired: 'd/old'"),
        (
            "www.Empty.bit.",
            "www.Empty.bit. has no records: the value of 'd/empty' has nothing there",
        ),
        ("a_b.bit", "a_b.bit has no records: no name holds such a domain"),
        ("empty.BIT", "empty.BIT has no such record"),
    ] {
        let url = url.clone();
        let run = move || End::of(&mut Program::new().on_regtest(), ["resolve", given, &url]);
        let end = tokio::task::spawn_blocking(run).await.unwrap();
        assert_eq!((end.status, end.err.trim_end()), (Some(2), told), "{end:?}");
    }
}

#[tokio::test]
async fn arguments_of_a_call_from_standard_input() {
    let backend = Backend::start().await;
    backend.say("d/here", Says::value("value"));
    let address = format!("--rpc-listen={}", backend.url().trim_start_matches("http://"));
    let run = move || {
        let program = Program::new();
        let mut command = program.on_regtest();
        let login = ["--rpc-user=u", "--rpc-password=p"];
        with_input(
            command
                .arg("rpc")
                .arg(address)
                .args(login)
                .args(["--stdin", "name_show"]),
            b"d/here\n{}\n",
        )
    };
    let end = tokio::task::spawn_blocking(run).await.unwrap();
    end.assert_succeeded();
    assert_eq!(end.json()["value"], "value");
    assert_eq!(backend.calls().len(), 1);
}

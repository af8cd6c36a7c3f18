//! The program's own commands as callers of a daemon.

use isonym_sim::{AddressKind, World};
use serde_json::{Value, json};

use isonym_testkit::harness::{Daemon, Stop, end_of, honest, id, way};
use isonym_testkit::program::{End, Program};
use isonym_testkit::stage::{NAME, Stage, VALUE, world};

async fn one_shot(program: &Program, stage: &Stage, arguments: &[&str]) -> End {
    let mut command = program.on_regtest();
    command.args(way(stage)).args(arguments);
    end_of(command).await
}

/// Calls the daemon of the data folder: the way to servers is its own business.
async fn called(program: &Program, arguments: &[&str]) -> End {
    let mut command = program.on_regtest();
    command.arg("rpc").args(arguments);
    end_of(command).await
}

fn field_names(value: &Value) -> Vec<&String> {
    value.as_object().unwrap().keys().collect()
}

#[tokio::test]
async fn answers_are_the_same_with_a_daemon_and_without() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let questions: [&[&str]; 6] = [
        &["name_show", NAME],
        &["name_show", NAME, "--value-encoding=hex"],
        &["name_show", NAME, "--isolation-id=marker-of-the-id"],
        &["name_history", NAME],
        &["name_history", NAME, "--isolation-id=marker-of-the-id"],
        &[
            "name_show",
            "642f6d61726b65722d6f662d7468652d6e616d65",
            "--name-encoding=hex",
        ],
    ];
    let mut alone = Vec::new();
    for question in questions {
        alone.push(one_shot(&program, &stage, question).await);
    }
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    for (question, alone) in questions.iter().zip(&alone) {
        alone.assert_succeeded();
        let end = one_shot(&program, &stage, question).await;
        end.assert_succeeded();
        assert_eq!(end.err, "");
        let (here, there) = (alone.json(), end.json());
        assert_eq!(here, there, "{question:?}");
        // Equal objects may differ in their order still.
        assert_eq!(alone.out, end.out);
        let entry = if here.is_array() { &here[0] } else { &here };
        let there = if there.is_array() { &there[0] } else { &there };
        assert_eq!(field_names(entry), field_names(there));
    }
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn absent_names_have_a_status_of_their_own() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    for command in ["name_show", "name_history"] {
        let end = one_shot(&program, &stage, &[command, "d/marker-of-the-nothing"]).await;
        assert_eq!((end.status, end.out.as_str()), (Some(2), ""), "{end:?}");
        assert!(end.err.contains("d/marker-of-the-nothing"), "{end:?}");
    }
    let end = called(&program, &["name_show", "d/marker-of-the-nothing"]).await;
    assert_eq!((end.status, end.out.as_str()), (Some(2), ""), "{end:?}");
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn expired_names_have_a_status_of_their_own() {
    let mut old = World::new(3, world().time());
    old.register(NAME, VALUE, AddressKind::P2pkh).unwrap();
    old.mine(40);
    let (stage, _) = honest(old, 1).await;
    let program = Program::new();
    let alone = one_shot(&program, &stage, &["name_show", NAME]).await;
    assert_eq!((alone.status, alone.out.as_str()), (Some(2), ""), "{alone:?}");
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    let end = one_shot(&program, &stage, &["name_show", NAME]).await;
    assert_eq!((end.status, end.out.as_str()), (Some(2), ""), "{end:?}");
    assert!(end.err.contains("expired"), "{end:?}");
    let options = r#"{"allowExpired":true}"#;
    let end = called(&program, &["name_show", NAME, options]).await;
    end.assert_succeeded();
    assert_eq!(
        (&end.json()["expired"], &end.json()["value"]),
        (&true.into(), &VALUE.into())
    );
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn a_user_and_a_password_in_place_of_the_cookie() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let (user, password) = ("--rpc-user=me", "--rpc-password=marker-of-the-password");
    let daemon = Daemon::start(&program, &stage, &[user, password]).await;
    let daemon = daemon.calling_as("me:marker-of-the-password");
    daemon.synced().await;
    assert!(!daemon.folder.join(".cookie").exists());
    called(&program, &[user, password, "name_show", NAME])
        .await
        .assert_succeeded();
    for command in [
        &["name_show", NAME, user, password][..],
        &["name_history", NAME, user, password],
    ] {
        one_shot(&program, &stage, command).await.assert_succeeded();
    }
    let mut by_environment = program.on_regtest();
    by_environment.env("ISONYM_RPC_USER", "me");
    by_environment.env("ISONYM_RPC_PASSWORD", "marker-of-the-password");
    by_environment.args(["name_show", NAME]);
    end_of(by_environment).await.assert_succeeded();
    // The system vouches for commands of the same user; a password that is given is looked at all the same.
    let end = one_shot(&program, &stage, &["name_show", NAME]).await;
    end.assert_succeeded();
    let end = called(&program, &[user, "--rpc-password=wrong", "uptime"]).await;
    end.assert_failed(&["refused the credentials", "401"]);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn a_daemon_that_listens_everywhere_is_found_on_this_machine() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &["--rpc-listen=0.0.0.0:0"]).await;
    assert!(daemon.log().contains("beyond this machine"));
    one_shot(&program, &stage, &["name_show", NAME])
        .await
        .assert_succeeded();
    called(&program, &["uptime"]).await.assert_succeeded();
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn a_quorum_of_a_call_or_of_the_daemon() {
    let (stage, _) = honest(world(), 2).await;
    let program = Program::new();
    let isolation_id = |number| format!("--isolation-id={}", id(number));
    let asked = || (stage.asked(0, NAME), stage.asked(1, NAME));
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    let show = async |number, more: &[&str]| {
        let isolation_id = isolation_id(number);
        one_shot(&program, &stage, &[&["name_show", NAME, &isolation_id], more].concat()).await
    };
    show(1, &[]).await.assert_succeeded();
    assert_eq!(asked().0 + asked().1, 1);
    show(2, &["--quorum=2"]).await.assert_succeeded();
    assert!(asked().0 >= 1 && asked().1 >= 1, "both were asked for the second ID");
    // What one server said is no answer for who wants two.
    let before = asked();
    show(1, &["--quorum=2"]).await.assert_succeeded();
    assert_ne!(asked(), before);
    show(3, &["--quorum=3"]).await.assert_failed(&["3 servers must answer"]);
    let refused = daemon.call("name_show", json!([NAME, { "quorum": 0 }])).await;
    assert_eq!(refused.unwrap_err().0, -8);
    daemon.stop(Stop::Terminate, &stage.ledger).await;

    let before = asked();
    let daemon = Daemon::ready(&program, &stage, &["--quorum=2"]).await;
    show(1, &[]).await.assert_succeeded();
    assert!(asked().0 > before.0 && asked().1 > before.1);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

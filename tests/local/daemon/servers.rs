//! The servers that a daemon knows: how they are listed, what its user says of them, and their file in the data folder.

use std::fs;

use serde_json::{Value, json};

use isonym_testkit::harness::{Daemon, Stop, end_of, honest, id, until};
use isonym_testkit::program::{End, Program};
use isonym_testkit::stage::{Stage, VALUE, world};

/// A server as the file has it.
fn written(address: &str, by: &str, is_checked: bool, good_days: u32) -> Value {
    json!({
        "address": address,
        "by": by,
        "since_day": 19_000,
        "checked": is_checked,
        "good_days": good_days,
        "last_good_day": is_checked.then_some(19_000 + good_days),
    })
}

/// Two that a stage has, of which lookups may use the first one, and one that is nowhere.
fn learned() -> [Value; 3] {
    [
        written("s0.example:50001:t", "accepted", true, 9),
        written("s1.example:50001:t", "corroborated", true, 2),
        written("s2.example:50002:s", "accepted", false, 0),
    ]
}

fn write(program: &Program, text: &str) {
    use std::os::unix::fs::DirBuilderExt as _;
    let folder = program.folder();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .unwrap();
    fs::write(folder.join("servers"), text).unwrap();
}

fn text(rows: &[Value]) -> String {
    serde_json::to_string(rows).unwrap()
}

/// The only way out, where servers were learned and none is given.
fn proxy(stage: &Stage) -> Vec<String> {
    vec![format!("--proxy=socks5://{}", stage.proxy.addr)]
}

async fn run(program: &Program, arguments: &[&str]) -> End {
    let mut command = program.on_regtest();
    command.args(arguments);
    end_of(command).await
}

async fn listed(program: &Program) -> Vec<String> {
    let end = run(program, &["servers", "--json"]).await;
    end.assert_succeeded();
    let list = end.json();
    let servers = list.as_array().unwrap().iter();
    servers.map(|it| it["address"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn learned_servers_are_listed_with_origin_and_health_and_their_user_decides() {
    let (stage, _) = honest(world(), 2).await;
    let program = Program::new();
    write(&program, &text(&learned()));
    let daemon = Daemon::start_on(&program, &proxy(&stage), &[]).await;
    daemon.synced().await;
    // What serves well today has one good day more.
    let list = until("both served well", async || {
        let list = daemon.call("server_list", json!([])).await.unwrap();
        (list[0]["good_days"] == 10 && list[1]["good_days"] == 3).then_some(list)
    })
    .await;
    for served in [&list[0], &list[1]] {
        let ago = served["last_good_days_ago"].as_u64();
        assert!(ago.is_some_and(|days| days <= 1), "{list}");
    }
    let shape = |mut list: Value| {
        let ago = |it: &mut Value| it.as_object_mut().unwrap().remove("last_good_days_ago");
        list.as_array_mut().unwrap().iter_mut().for_each(|it| drop(ago(it)));
        list
    };
    let expected = json!([
        { "address": "s0.example:50001:t", "class": "accepted", "used_for": "all", "good_days": 10 },
        { "address": "s1.example:50001:t", "class": "corroborated", "used_for": "header_sync", "good_days": 3 },
        { "address": "s2.example:50002:s", "class": "accepted", "used_for": "unchecked", "good_days": 0 },
    ]);
    assert_eq!(shape(list), expected);
    let command = run(&program, &["servers", "--json"]).await;
    command.assert_succeeded();
    assert_eq!(shape(command.json()), expected);
    let lines = run(&program, &["servers"]).await;
    lines.assert_succeeded();
    let lines: Vec<&str> = lines.out.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, words) in lines.iter().zip([
        ["accepted", "s0.example:50001:t  used, good on 10 days, last "],
        [
            "corroborated",
            "s1.example:50001:t  used by header sync alone, good on 3 days, last ",
        ],
        [
            "accepted",
            "s2.example:50002:s  not used before it was checked, good on 0 days",
        ],
    ]) {
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
    assert_eq!(daemon.value(&id(1)).await.unwrap(), VALUE);
    assert_eq!((stage.met_by_lookups(0) > 0, stage.met_by_lookups(1)), (true, 0));

    run(&program, &["servers", "accept", "new.example.org:50002"])
        .await
        .assert_succeeded();
    run(&program, &["servers", "forget", "s1.example:50001:t"])
        .await
        .assert_succeeded();
    let again = run(&program, &["servers", "accept", "new.example.org:50002"]).await;
    again.assert_failed(&["server is known already"]);
    let unknown = run(&program, &["servers", "forget", "s1.example:50001:t"]).await;
    unknown.assert_failed(&["server is neither learned nor suggested"]);
    let now = ["s0.example:50001:t", "s2.example:50002:s", "new.example.org:50002:s"];
    assert_eq!(listed(&program).await, now);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
    assert_eq!(listed(&program).await, now, "without a daemon");
}

#[tokio::test]
async fn where_servers_are_given_or_discovery_is_off_none_are_learned() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    write(&program, &text(&learned()));
    let configured = json!([{ "address": "s0.example:50001:t", "class": "configured", "used_for": "all" }]);
    let daemon = Daemon::ready(&program, &stage, &["--discover=on"]).await;
    assert_eq!(daemon.call("server_list", json!([])).await, Ok(configured.clone()));
    let refused = daemon
        .call("server_accept", json!(["new.example.org:50002"]))
        .await
        .unwrap_err();
    let words = "no servers are learned of: they were configured, or --discover is off";
    assert_eq!(refused, (-1, words.to_owned()));
    let forgotten = run(&program, &["servers", "forget", "s1.example:50001:t"]).await;
    forgotten.assert_failed(&[words]);
    daemon.stop(Stop::Terminate, &stage.ledger).await;

    let given = run(&program, &["--server=s0.example:50001:t", "servers", "--json"]).await;
    assert_eq!(given.json(), configured);
    let off = run(&program, &["--discover=off", "servers", "--json"]).await;
    assert_eq!(off.json(), json!([]));
    run(
        &program,
        &["--discover=off", "servers", "accept", "new.example.org:50002"],
    )
    .await
    .assert_failed(&[words]);
    assert_eq!(listed(&program).await.len(), 3, "none of it touched the file");
}

#[tokio::test]
async fn a_damaged_row_of_their_file_is_left_out_alone_and_told_of_once() {
    let (stage, _) = honest(world(), 2).await;
    let program = Program::new();
    let [first, second, third] = learned();
    let mut later = third;
    later["release"] = json!(2);
    // One character of the checksum is another one.
    let onion = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscrzd.onion:50001:t";
    let mistyped = written(onion, "accepted", true, 9);
    let damaged = text(&[first, json!({ "address": "s9.example" }), second, later, mistyped]);
    write(&program, &damaged);
    let daemon = Daemon::start_on(&program, &proxy(&stage), &[]).await;
    daemon.synced().await;
    let unread = program.folder().join("servers.unread");
    assert_eq!(fs::read_to_string(&unread).unwrap(), damaged);
    for word in [
        "row 2",
        "row 4",
        "row 5: invalid onion service",
        "servers.unread",
        "isonym servers accept HOST:PORT",
    ] {
        assert_eq!(daemon.log().matches(word).count(), 1, "{word}: {}", daemon.log());
    }
    let (code, message) = daemon.call("server_accept", json!([onion])).await.unwrap_err();
    assert!(
        code == -8 && message.contains("invalid onion service"),
        "{code} {message}"
    );
    daemon.stop(Stop::Terminate, &stage.ledger).await;
    fs::remove_file(&unread).unwrap();
    let end = run(&program, &["servers"]).await;
    end.assert_succeeded();
    assert_eq!((end.out.lines().count(), end.err.as_str()), (2, ""));
    assert!(!unread.exists());
}

#[tokio::test]
async fn a_foreign_file_in_the_place_of_theirs_is_kept_under_another_name_and_told_of_once() {
    for foreign in ["{\"release\": 2}", "host 1\nhost 2\n", "[7, 8]", "[[[[[["] {
        let program = Program::new();
        write(&program, foreign);
        let end = run(&program, &["servers", "accept", "new.example.org:50002"]).await;
        end.assert_succeeded();
        assert!(
            end.err.contains("servers.unread") && end.err.contains("accept HOST:PORT"),
            "{end:?}"
        );
        assert_eq!(
            fs::read_to_string(program.folder().join("servers.unread")).unwrap(),
            foreign
        );
        let end = run(&program, &["servers"]).await;
        end.assert_succeeded();
        assert_eq!((end.out.lines().count(), end.err.as_str()), (1, ""), "{foreign}");
    }
}

//! Tor, the program and applications come and go.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::scene::{HTTP, Scene, controller};
use crate::client::Tor;
use crate::raw::{CONNECT, GRANTED, Raw, UNREACHABLE, fetch};
use crate::record::Stream;
use crate::{NAMES, name};
use isonym_testkit::backend::{Backend, Says};
use isonym_testkit::program::Program;
use isonym_testkit::running::{end_of, eventually};

/// How long a fetch may take before it is given up and begun anew: Tor itself lets it wait for two minutes.
const TRY: Duration = Duration::from_secs(10);

/// Fetches a page until it is there.
async fn assert_fetched_some_day(scene: &Scene, tor: &Tor, host: &str) {
    eventually("the page is there", async || {
        let page = timeout(TRY, fetch(tor.ports().socks, None, host, scene.plain.port())).await;
        page.is_ok_and(|page| page.is_ok_and(|page| page.ends_with(&scene.plain.text)))
    })
    .await;
}

#[tokio::test]
async fn names_work_again_after_tor_was_killed() {
    let scene = Scene::new().await;
    let mut tor = scene.network.naming_client("killed", true);
    let before = tor.record();
    let mut daemon = scene.naming_daemon(&tor).await;
    assert_fetched_some_day(&scene, &tor, "of-0-0.bit").await;
    for number in 1..NAMES {
        tor.kill();
        eventually("Tor has ended", async || before.ended()).await;
        tor.go_on().unwrap();
        // One that was not asked for before, so that the lookup works too.
        assert_fetched_some_day(&scene, &tor, &format!("of-0-{number}.bit")).await;
        assert_fetched_some_day(&scene, &tor, "other.example").await;
        assert_eq!(daemon.running.status(), None);
    }
    scene.network.assert_no_leak();
}

#[tokio::test]
async fn without_a_controller_nothing_goes_anywhere_and_with_it_all_that_waits_ends() {
    let scene = Scene::new().await;
    let tor = scene.network.naming_client("alone", true);
    let record = tor.record();
    let mut daemon = scene.naming_daemon(&tor).await;
    let socks = tor.ports().socks;
    assert_fetched_some_day(&scene, &tor, "plain.bit").await;
    daemon.running.kill();
    let port = scene.plain.port();
    let hosts = ["plain.bit", "of-0-0.bit", "missing.bit", "other-two.example"];
    let fetches: Vec<_> = hosts.map(|host| tokio::spawn(fetch(socks, None, host, port))).into();
    let waiting = |stream: &Stream| stream.closed.is_none() && stream.waits == 1;
    let of_hosts = || {
        let streams = hosts.map(|host| record.streams_to(&format!("{host}:{port}")));
        streams.into_iter().flatten().filter(waiting).collect::<Vec<_>>()
    };
    eventually("all wait", async || of_hosts().len() == hosts.len()).await;
    // Long after each would have been there.
    sleep(Duration::from_secs(3)).await;
    assert_eq!(of_hosts().len(), hosts.len(), "{:?}", record.streams());
    assert!(of_hosts().iter().all(|stream| stream.circuits.is_empty()));
    assert!(!scene.network.asked_of_exits().contains("other-two.example"));

    daemon.go_on().await;
    for (host, ended) in hosts.into_iter().zip(fetches) {
        let page = timeout(TRY, ended).await.expect("it waits for ever").unwrap();
        match page {
            Ok(page) => assert!(
                page.ends_with(&scene.plain.text) && host != "missing.bit",
                "{host}: {page}"
            ),
            Err(error) => assert_ne!(host, "other-two.example", "{error}"),
        }
    }
    assert_fetched_some_day(&scene, &tor, "of-0-1.bit").await;
    scene.network.assert_no_leak();
}

/// Tor itself would have each wait for two minutes.
#[tokio::test]
async fn streams_that_wait_when_the_program_ends_are_over_at_once() {
    let scene = Scene::new().await;
    let tor = scene.network.naming_client("stops", true);
    let backend = Backend::start().await;
    backend.say_of_others(Says::value("{}").held());
    let home = Program::new();
    let arguments = [
        "--control",
        &tor.control_port(),
        "--name-patience=300",
        "--rpc-url",
        &backend.url(),
    ];
    let mut controller = controller(&home, &arguments).await;
    let (socks, port) = (tor.ports().socks, scene.plain.port());
    let hosts = ["held-0.bit", "held-1.bit", "held-2.bit"];
    let waiting: Vec<_> = hosts
        .map(|host| tokio::spawn(Raw::ask(socks, None, CONNECT, host, port)))
        .into();
    eventually("all are looked up", async || backend.count() == hosts.len()).await;
    assert!(waiting.iter().all(|it| !it.is_finished()));
    controller.stop().await;
    for ended in waiting {
        let raw = timeout(TRY, ended).await.expect("it waits on").unwrap().unwrap();
        assert_eq!(raw.reply, UNREACHABLE);
    }
    scene.network.assert_no_leak();
}

#[tokio::test]
async fn streams_are_made_to_wait_again_where_somebody_lets_them_go() {
    let scene = Scene::new().await;
    let tor = scene.network.naming_client("let-go", true);
    let _daemon = scene.naming_daemon(&tor).await;
    for command in [
        "SETCONF __LeaveStreamsUnattached=0",
        "RESETCONF __LeaveStreamsUnattached=0",
    ] {
        tor.control().unwrap().command(command).unwrap();
        eventually("it is put back", async || {
            let lines = tor.control().unwrap().command("GETCONF __LeaveStreamsUnattached");
            lines.unwrap() == ["250 __LeaveStreamsUnattached=1"]
        })
        .await;
        assert_fetched_some_day(&scene, &tor, "plain.bit").await;
    }
    scene.network.assert_no_leak();
}

#[tokio::test]
async fn it_does_not_start_before_a_tor_that_lets_streams_go() {
    let scene = Scene::new().await;
    let tor = scene.network.naming_client("lets-go", false);
    let control = tor.control_port();
    let (proxy, server) = (tor.proxy(), format!("--server={}:t", scene.server()));
    for arguments in [
        &["tor", "--control", &control, "--rpc-url=http://127.0.0.1:9"][..],
        &[
            "daemon",
            "--tor-control",
            &control,
            "--rpc-listen=127.0.0.1:0",
            &proxy,
            &server,
        ],
    ] {
        let program = Program::new();
        let mut command = program.on_regtest();
        command.args(arguments);
        end_of(command)
            .await
            .assert_failed(&["__LeaveStreamsUnattached 1", "torrc"]);
    }
    let option = tor.control().unwrap().command("GETCONF __LeaveStreamsUnattached");
    assert_eq!(
        option.unwrap(),
        ["250 __LeaveStreamsUnattached=0"],
        "it set it by itself"
    );
}

#[tokio::test]
async fn a_stream_that_an_exit_refuses_ends_and_one_whose_client_goes_does_no_harm() {
    let scene = Scene::new().await;
    let tor = scene.network.naming_client("refused", true);
    let record = tor.record();
    let mut daemon = scene.naming_daemon(&tor).await;
    let socks = tor.ports().socks;
    // Nobody listens there.
    for host in ["plain.bit", "127.0.0.1", "other.example"] {
        let raw = Raw::ask(socks, None, CONNECT, host, 1).await.unwrap();
        assert!(![GRANTED, UNREACHABLE].contains(&raw.reply), "{host}: {}", raw.reply);
    }
    let refused = record.streams_to("plain.bit:1");
    assert!(refused[0].waits > 1 && !refused[0].circuits.is_empty(), "{refused:?}");
    // The name of a host that an exit can't resolve.
    let raw = Raw::ask(socks, None, CONNECT, "absent.invalid", HTTP).await.unwrap();
    assert_eq!(raw.reply, UNREACHABLE);
    for number in 0..60 {
        let host = format!("of-{}-{}.bit", number % 20, number / 20);
        let wait = Duration::from_millis(number * 2);
        let port = scene.plain.port();
        let asked = Raw::ask(socks, Some(("goes", "away")), CONNECT, &host, port);
        let _ = timeout(wait, asked).await;
    }
    assert_fetched_some_day(&scene, &tor, "of-0-0.bit").await;
    assert_eq!(daemon.running.status(), None);
    eventually("no stream is left", async || {
        let streams = record.streams();
        let mut others = streams.iter().filter(|stream| stream.target != scene.server());
        others.all(|stream| stream.closed.is_some())
    })
    .await;
    assert_eq!(daemon.shows(&name(0, 0), "").await.unwrap(), r#"{"ip":"127.0.0.1"}"#);
    scene.network.assert_no_leak();
}

//! Plugins for other suffixes that do what they should not.

use super::port::Port;
use super::scene::{Controller, ONION, names};

/// Returns the option for a plugin that is this script of the shell.
fn script(text: &str) -> String {
    format!("test=sh -c '{text}'")
}

#[tokio::test]
async fn a_plugin_resolves_its_suffix_and_its_answers_are_checked() {
    let (backend, port) = (names().await, Port::open().await);
    let answer = format!(
        "echo INIT 1 0; while read word query name id; do case $name in \
         good.test) echo RESOLVED $query 0 {ONION};; bare.test) echo RESOLVED $query 0 192.0.2.1 80;; \
         odd.test) echo \"RESOLVED $query 0 x.bit\";; evil.test) echo RESOLVED $query 0 a,b;; \
         absent.test) echo RESOLVED $query 3 no;; esac; done"
    );
    let plugin = script(&answer);
    let controller = Controller::start(&backend, port.address(), &["--plugin", &plugin]);
    let mut control = port.accept_kindly(&[]).await;
    for (id, (name, expected)) in [
        ("good.test", format!("REDIRECTSTREAM 0 {ONION}")),
        ("bare.test", "REDIRECTSTREAM 1 192.0.2.1".to_owned()),
        ("odd.test", "CLOSESTREAM 2 2".to_owned()),
        ("evil.test", "CLOSESTREAM 3 2".to_owned()),
        ("absent.test", "CLOSESTREAM 4 2".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        control.wait(id, &format!("{name}:80")).await;
        control.expect(&expected).await;
        control.say("250 OK").await;
        if expected.starts_with("REDIRECT") {
            control.expect(&format!("ATTACHSTREAM {id} 0")).await;
            control.say("250 OK").await;
        }
    }
    assert_eq!(backend.count(), 0, "they are none of ours");
    controller.stop().await;
}

/// StemNS hangs or loses its reader thread over each of these.
#[tokio::test]
async fn a_plugin_that_makes_no_sense_closes_its_streams_and_harms_no_other() {
    for plugin in [
        "test=/nowhere/at/all".to_owned(),
        "test=false".to_owned(),
        "test=yes".to_owned(),
        "test=cat /dev/zero".to_owned(),
        script("echo INIT 1 1 no"),
        script("echo INIT 2 0; cat"),
        script("echo; echo \"   \"; exit 3"),
    ] {
        let (backend, port) = (names().await, Port::open().await);
        let controller = Controller::start(&backend, port.address(), &["--plugin", &plugin]);
        let mut control = port.accept_kindly(&[]).await;
        control.wait(1, "marker.test:80").await;
        control.wait(2, "marker-address.bit:80").await;
        let mut heard = [control.hear().await.unwrap(), control.hear().await.unwrap()];
        heard.sort();
        assert_eq!(heard, ["CLOSESTREAM 1 2", "REDIRECTSTREAM 2 192.0.2.1"], "{plugin}");
        let log = controller.log();
        assert!(log.contains("the naming plugin for .test ("), "{plugin}: {log}");
        controller.assert_small();
        controller.stop().await;
    }
}

/// Plugins of `TorNS` fail over a third word.
#[tokio::test]
async fn a_plugin_that_takes_two_words_is_given_no_more() {
    let (backend, port) = (names().await, Port::open().await);
    let plugin = script(
        "echo INIT 1 0; while read word query name more; do \
         case \"$more\" in \"\") echo RESOLVED $query 0 192.0.2.9;; *) echo RESOLVED $query 3 no;; esac; done",
    );
    for (option, expected) in [
        ("--plugin", "CLOSESTREAM 1 2"),
        ("--plugin-without-id", "REDIRECTSTREAM 1 192.0.2.9"),
    ] {
        let controller = Controller::start(&backend, port.address(), &[option, &plugin]);
        let mut control = port.accept_kindly(&[]).await;
        control.wait(1, "a.test:80").await;
        control.expect(expected).await;
        let warns = controller
            .log()
            .contains("the plugin for .test is told no isolation IDs");
        assert_eq!(warns, option == "--plugin-without-id", "{}", controller.log());
        controller.stop().await;
    }
}

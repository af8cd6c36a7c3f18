//! How the controller gets in, and what it refuses.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use bitcoin::hashes::{Hash as _, HashEngine as _, Hmac, HmacEngine, sha256};
use bitcoin::hex::{DisplayHex as _, FromHex as _};

use super::port::{Control, Port};
use super::scene::{Controller, names};
use isonym_testkit::backend::{Backend, Says};
use isonym_testkit::harness::until;
use isonym_testkit::program::Program;
use isonym_testkit::running::Running;

const COOKIE: [u8; 32] = [0xab; 32];

fn prove(key: &str, cookie: &[u8], ours: &[u8], theirs: &[u8]) -> String {
    let mut engine = HmacEngine::<sha256::Hash>::new(key.as_bytes());
    for part in [cookie, ours, theirs] {
        engine.input(part);
    }
    Hmac::<sha256::Hash>::from_engine(engine)
        .to_byte_array()
        .to_lower_hex_string()
}

/// Offers the cookie of this file, as real Tors do, and returns the controller's nonce.
async fn offer_cookie(port: &Port, path: &str) -> (Control, Vec<u8>) {
    let mut control = port.accept().await;
    control.expect("PROTOCOLINFO 1").await;
    let methods = format!("METHODS=COOKIE,SAFECOOKIE,HASHEDPASSWORD COOKIEFILE=\"{path}\"");
    control
        .say(&format!(
            "250-PROTOCOLINFO 1\r\n250-AUTH {methods}\r\n250-VERSION Tor=\"0.4.9.11\"\r\n250 OK"
        ))
        .await;
    let command = control.hear().await.unwrap();
    let nonce = command.strip_prefix("AUTHCHALLENGE SAFECOOKIE ").unwrap();
    (control, Vec::from_hex(nonce).unwrap())
}

#[tokio::test]
async fn both_prove_that_they_know_the_cookie_and_neither_says_it() {
    let (backend, port) = (names().await, Port::open().await);
    let folder = tempfile::tempdir().unwrap();
    // A path is bytes, and Tor escapes those that are no ASCII.
    let path = folder.path().join(OsStr::from_bytes(b"cookie \"1\" \xff\xc3"));
    std::fs::write(&path, COOKIE).unwrap();
    let named = format!("{}/cookie \\\"1\\\" \\377\\303", folder.path().display());
    let controller = Controller::start(&backend, port.address(), &[]);
    let (mut control, ours) = offer_cookie(&port, &named).await;
    let theirs = [7; 32];
    let hash = prove(
        "Tor safe cookie authentication server-to-controller hash",
        &COOKIE,
        &ours,
        &theirs,
    );
    let nonce = theirs.to_lower_hex_string();
    control
        .say(&format!("250 AUTHCHALLENGE SERVERHASH={hash} SERVERNONCE={nonce}"))
        .await;
    let proof = prove(
        "Tor safe cookie authentication controller-to-server hash",
        &COOKIE,
        &ours,
        &theirs,
    );
    control.expect(&format!("AUTHENTICATE {proof}")).await;
    control.say("250 OK").await;
    control.expect("SETEVENTS STREAM SIGNAL CONF_CHANGED").await;
    assert_eq!(
        controller.log().matches("TROVE-2026-053").count(),
        1,
        "{}",
        controller.log()
    );
    controller.stop().await;
}

#[tokio::test]
async fn a_tor_that_may_join_streams_is_told_of_once() {
    for (version, times) in [("0.4.9.12", 1), ("0.4.9.13", 0)] {
        let (backend, port) = (names().await, Port::open().await);
        let controller = Controller::start(&backend, port.address(), &[]);
        for _ in 0..2 {
            let mut control = port.accept().await;
            control.expect("PROTOCOLINFO 1").await;
            control
                .say(&format!(
                    "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n250-VERSION Tor=\"{version}\"\r\n250 OK"
                ))
                .await;
            control.expect("AUTHENTICATE").await;
            control.say("250 OK").await;
            control.hear().await.unwrap();
        }
        let log = controller.log();
        assert_eq!(log.matches("TROVE-2026-053").count(), times, "{log}");
        assert_eq!(
            log.contains(&format!("Tor {version} may put streams")),
            times > 0,
            "{log}"
        );
        controller.stop().await;
    }
}

/// A Tor that starts writes its cookie when it has come so far.
#[tokio::test]
async fn a_cookie_that_is_not_there_yet_is_waited_for() {
    let (backend, port) = (names().await, Port::open().await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cookie");
    let named = path.to_str().unwrap();
    let controller = Controller::start(&backend, port.address(), &[]);
    for _ in 0..2 {
        let mut control = port.accept().await;
        control.expect("PROTOCOLINFO 1").await;
        let methods = format!("METHODS=COOKIE,SAFECOOKIE COOKIEFILE=\"{named}\"");
        let offer = format!("250-PROTOCOLINFO 1\r\n250-AUTH {methods}\r\n250 OK");
        control.say(&offer).await;
        assert_eq!(control.hear().await, None, "it has nothing to log in with");
    }
    std::fs::write(&path, COOKIE).unwrap();
    drop(offer_cookie(&port, named).await);
    let log = controller.log();
    assert_eq!(log.matches("cannot read Tor's control cookie").count(), 1, "{log}");
    controller.stop().await;
}

/// Source: Tor's manual, `ControlPortWriteToFile`.
#[tokio::test]
async fn the_port_is_where_the_file_of_tor_says_once_it_is_there() {
    let backend = names().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control-port");
    let named = ["--control-file", path.to_str().unwrap()];
    let controller = Controller::start_at(&backend.url(), &named);
    until("it has looked for it", async || {
        controller
            .log()
            .contains("cannot read where Tor's control port is")
            .then_some(())
    })
    .await;
    // Tor is somewhere else each time that it starts.
    for _ in 0..2 {
        let port = Port::open().await;
        std::fs::write(&path, format!("PORT={}\n", port.address())).unwrap();
        let mut control = port.accept_kindly(&[]).await;
        control.wait(1, "other.example:80").await;
        control.expect("ATTACHSTREAM 1 0").await;
    }
    controller.stop().await;
    let both = ["--control=127.0.0.1:9051", "--control-file", path.to_str().unwrap()];
    let mut refused = Controller::start_at(&backend.url(), &both);
    assert_eq!(refused.end().await, Some(1));
    assert!(refused.log().contains("exclude each other"), "{}", refused.log());
}

/// Tor would have each wait for two minutes.
#[tokio::test]
async fn streams_that_wait_at_its_end_are_ended() {
    let (backend, port) = (names().await, Port::open().await);
    backend.say("d/held", Says::value("{}").held());
    let controller = Controller::start(&backend, port.address(), &[]);
    let mut control = port.accept_kindly(&[]).await;
    control.wait(7, "held.bit:80").await;
    until("it is looked up", async || (backend.count() > 0).then_some(())).await;
    let told = async {
        control.expect("CLOSESTREAM 7 2").await;
        control.expect("QUIT").await;
        control.say("250 OK\r\n250 closing connection").await;
        drop(control);
    };
    tokio::join!(controller.stop(), told);
}

/// Its own end is no sooner than that: it has other fronts, which end at once.
#[tokio::test]
async fn a_daemon_too_ends_the_streams_that_wait_at_its_end() {
    let port = Port::open().await;
    let program = Program::new();
    let mut command = program.on_regtest();
    let nowhere = Backend::nowhere().await;
    command.args([&format!("--proxy=socks5://{nowhere}"), "--server=a.example:50001:t"]);
    command.args(["daemon", "--rpc-listen=127.0.0.1:0", "--name-patience=300"]);
    command.args(["--tor-control", &port.address().to_string()]);
    let mut daemon = Running::start(command, &program.home().join("log"));
    let mut control = port.accept_kindly(&[]).await;
    control.wait(7, "a.bit:80").await;
    // One that comes behind it, and needs no lookup: the first one is being looked up by now.
    control.wait(8, "other.example:80").await;
    control.expect("ATTACHSTREAM 8 0").await;
    let told = async {
        control.expect("CLOSESTREAM 7 2").await;
        control.expect("QUIT").await;
        drop(control);
    };
    tokio::join!(daemon.stop(), told);
}

/// Another user of the machine could listen on Tor's port while Tor is down.
#[tokio::test]
async fn the_cookie_is_not_told_to_who_does_not_know_it() {
    let (backend, port) = (names().await, Port::open().await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cookie");
    std::fs::write(&path, COOKIE).unwrap();
    let mut controller = Controller::start(&backend, port.address(), &[]);
    let (mut control, _) = offer_cookie(&port, path.to_str().unwrap()).await;
    let (hash, nonce) = ("00".repeat(32), "07".repeat(32));
    control
        .say(&format!("250 AUTHCHALLENGE SERVERHASH={hash} SERVERNONCE={nonce}"))
        .await;
    assert_eq!(control.hear().await, None);
    assert_eq!(controller.end().await, Some(1));
    assert!(
        controller.log().contains("does not know Tor's cookie"),
        "{}",
        controller.log()
    );
}

#[tokio::test]
async fn a_cookie_that_is_no_file_is_not_waited_for() {
    let (backend, port) = (names().await, Port::open().await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let mut controller = Controller::start(&backend, port.address(), &[]);
    let mut control = port.accept().await;
    control.expect("PROTOCOLINFO 1").await;
    let auth = format!("METHODS=SAFECOOKIE COOKIEFILE=\"{}\"", path.display());
    control
        .say(&format!("250-PROTOCOLINFO 1\r\n250-AUTH {auth}\r\n250 OK"))
        .await;
    assert_eq!(controller.end().await, Some(1));
    assert!(controller.log().contains("it is no file"), "{}", controller.log());
}

#[tokio::test]
async fn a_password_is_said_as_hex_and_refusals_are_told() {
    let (backend, port) = (names().await, Port::open().await);
    let mut controller = Controller::start(&backend, port.address(), &["--control-password", "marker \"\\"]);
    let mut control = port.accept().await;
    control.expect("PROTOCOLINFO 1").await;
    control
        .say("250-PROTOCOLINFO 1\r\n250-AUTH METHODS=HASHEDPASSWORD\r\n250 OK")
        .await;
    control
        .expect(&format!("AUTHENTICATE {}", b"marker \"\\".to_lower_hex_string()))
        .await;
    control.say("515 Authentication failed: Password did not match").await;
    assert_eq!(controller.end().await, Some(1));
    assert!(
        controller.log().contains("Password did not match"),
        "{}",
        controller.log()
    );
}

#[tokio::test]
async fn what_the_user_has_to_mend_is_told() {
    for (replies, expected) in [
        (
            &["250-PROTOCOLINFO 1\r\n250-AUTH METHODS=HASHEDPASSWORD\r\n250 OK"][..],
            "--control-password",
        ),
        (
            &["250-PROTOCOLINFO 1\r\n250-AUTH METHODS=MAGIC\r\n250 OK"],
            "CookieAuthentication 1",
        ),
        (
            &["250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n250-VERSION Tor=\"0.4.4.9\"\r\n250 OK"],
            "Tor 0.4.4.9 is too old",
        ),
        (&["HTTP/1.1 400 Bad Request"], "does not speak Tor's control protocol"),
        (&["250 OK"], "PROTOCOLINFO"),
        (
            &[
                "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n250 OK",
                "250 OK",
                "250 OK\r\n250 __LeaveStreamsUnattached=0",
            ],
            "`__LeaveStreamsUnattached 1` to torrc",
        ),
    ] {
        let (backend, port) = (names().await, Port::open().await);
        let mut controller = Controller::start(&backend, port.address(), &[]);
        let mut control = port.accept().await;
        for reply in replies {
            control.hear().await.unwrap();
            control.say(reply).await;
        }
        assert_eq!(controller.end().await, Some(1), "{expected}");
        assert!(
            controller.log().contains(expected),
            "no {expected:?} in {}",
            controller.log()
        );
    }
    let backend = Backend::start().await;
    let port = Backend::nowhere().await;
    let mut controller = Controller::start(&backend, port, &["--plugin", "test"]);
    assert_eq!(controller.end().await, Some(1));
    assert!(controller.log().contains("SUFFIX=COMMAND"), "{}", controller.log());
}

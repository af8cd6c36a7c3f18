//! Tor's own `tor-resolve`.

use std::process::Command;

use isonym_testkit::running::end_of;
use isonym_testkit::socks::front::{Front, names};
use isonym_testkit::socks::tor::Tor;

#[tokio::test]
async fn tor_resolve_finds_addresses() {
    let (backend, tor) = (names().await, Tor::start().await);
    let front = Front::start(&backend, &tor, &[]).await;
    let resolve = |name: &str, version| {
        let mut command = Command::new("tor-resolve");
        command.args([version, name, &front.address.to_string()]);
        command
    };
    if resolve("", "-5").output().is_err() {
        eprintln!("skipped: there is no tor-resolve");
        return;
    }
    for version in ["-4", "-5"] {
        let end = end_of(resolve("marker-of-the-address.bit", version)).await;
        assert_eq!((end.status, end.out.trim()), (Some(0), "192.0.2.1"), "{end:?}");
        assert_ne!(
            end_of(resolve("marker-of-the-nothing.bit", version)).await.status,
            Some(0)
        );
    }
    tor.assert_unasked();
    front.stop().await;
}

//! torsocks, which asks for a name's address first and then connects to that.

use std::process::Command;

use isonym_testkit::running::end_of;
use isonym_testkit::socks::front::{Front, ONION, names};
use isonym_testkit::socks::tor::Tor;

#[tokio::test]
async fn names_lead_to_their_address_and_to_the_onion_service_that_is_insisted_on() {
    let (backend, tor) = (names().await, Tor::start().await);
    let front = Front::start(&backend, &tor, &[]).await;
    let fetch = |host: &str| {
        let mut command = Command::new("torsocks");
        let (ip, port) = (front.address.ip().to_string(), front.address.port().to_string());
        command.env_clear().env("PATH", "/usr/bin:/bin");
        command.args(["-a", &ip, "-P", &port, "-u", "marker-of-the-user", "-p", "pw"]);
        command.args(["curl", "-q", "-sS", "-4", "-m", "150", &format!("http://{host}/")]);
        command
    };
    for (host, to) in [
        ("marker-of-the-address.bit", "192.0.2.1"),
        // It has an onion service too, which no address can say.
        ("marker-of-the-onion.bit", "192.0.2.1"),
        ("marker-of-the-onion.bit.onion", ONION),
    ] {
        let end = end_of(fetch(host)).await;
        assert_eq!(end.status, Some(0), "{host}: {end:?}");
        assert!(end.out.starts_with("page\n"), "{host}: {end:?}");
        let asked = tor.one();
        assert_eq!((&*asked.host, asked.port, asked.command), (to, 80, 1), "{host}");
        let credentials = (asked.user.as_deref(), asked.password.as_deref());
        assert_eq!(credentials, (Some(&b"marker-of-the-user"[..]), Some(&b"pw"[..])));
    }
    for host in [
        "marker-of-the-address.bit.onion",
        "marker-of-the-nothing.bit",
        "marker-of-the-old.bit",
    ] {
        let end = end_of(fetch(host)).await;
        assert_ne!(end.status, Some(0), "{host}: {end:?}");
        tor.assert_unasked();
    }
    assert!(backend.calls().iter().all(|call| call.id.is_some()));
    front.stop().await;
}

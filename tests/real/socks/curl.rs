//! curl, by each way that it has.

use std::process::Command;

use isonym_testkit::program::End;
use isonym_testkit::running::end_of;
use isonym_testkit::socks::front::{Front, MARKER, ONION, names};
use isonym_testkit::socks::tor::Tor;

/// Fetches a page with no settings of the user's own; the status of CONNECT comes last.
async fn curl(host: &str, arguments: &[String]) -> End {
    let mut curl = Command::new("curl");
    curl.env_clear()
        .args(["-q", "-sS", "-m", "150", "-w", "%{http_connect}"]);
    curl.args(arguments).arg(format!("http://{host}/"));
    end_of(curl).await
}

fn way(words: &[&str], front: &Front) -> Vec<String> {
    let address = front.address.to_string();
    words.iter().map(|word| word.replace("FRONT", &address)).collect()
}

/// curl's exit status when a proxy refuses.
const REFUSED: i32 = 97;

/// curl's exit status when CONNECT fails.
const NO_TUNNEL: i32 = 56;

#[tokio::test]
async fn names_are_connected_to_what_they_stand_for() {
    let (backend, tor) = (names().await, Tor::start().await);
    let front = Front::start(&backend, &tor, &[]).await;
    for (words, user, password, failed) in [
        (
            &["--socks5-hostname", "marker-of-the-us%20er:pw%21@FRONT"][..],
            Some(&b"marker-of-the-us er"[..]),
            Some(&b"pw!"[..]),
            REFUSED,
        ),
        (&["--socks5-hostname", "FRONT"], None, None, REFUSED),
        (
            &["--proxy", "socks4a://marker-of-the-id@FRONT"],
            Some(b"marker-of-the-id"),
            None,
            REFUSED,
        ),
        (&["--proxy", "socks4a://FRONT"], None, None, REFUSED),
        (&["--proxytunnel", "--proxy", "http://FRONT"], None, None, NO_TUNNEL),
        (
            &["--proxytunnel", "--proxy", "http://alice:one@FRONT"],
            Some(b"Basic YWxpY2U6b25l"),
            Some(b""),
            NO_TUNNEL,
        ),
        (
            &[
                "--proxytunnel",
                "--proxy",
                "http://FRONT",
                "--proxy-header",
                "X-Tor-Stream-Isolation: zed",
            ],
            Some(b""),
            Some(b"\x01\xff\x01\xffzed"),
            NO_TUNNEL,
        ),
        (
            &[
                "--proxytunnel",
                "--proxy",
                "http://FRONT",
                "--proxy-header",
                "Tor-Stream-Isolation: zed2",
            ],
            Some(b""),
            Some(b"zed2\x01\xff\x01\xff"),
            NO_TUNNEL,
        ),
    ] {
        let way = way(words, &front);
        for (name, host) in [
            ("marker-of-the-onion.bit", ONION),
            ("Marker-OF-the-onion.BIT.", ONION),
            ("marker-of-the-onion.bit.onion", ONION),
            ("marker-of-the-address.bit", "192.0.2.1"),
            ("marker-of-the-address6.bit", "2001:db8::1"),
            ("marker-of-the-alias.bit", "www.example.com"),
            ("Example.COM", "Example.COM"),
            ("example.com.", "example.com."),
            ("192.0.2.7", "192.0.2.7"),
        ] {
            let end = curl(name, &way).await;
            assert_eq!(end.status, Some(0), "{words:?} {name}: {end:?}");
            assert!(end.out.starts_with("page\n"), "{words:?} {name}: {end:?}");
            let asked = tor.one();
            assert!(asked.host.eq_ignore_ascii_case(host), "{words:?} {name}: {asked:?}");
            assert_eq!((asked.port, asked.command), (80, 1));
            assert_eq!(
                (asked.user.as_deref(), asked.password.as_deref()),
                (user, password),
                "{words:?}"
            );
        }
        for name in [
            "marker-of-the-nothing.bit",
            "marker-of-the-nothing.bit.",
            "marker-of-the-old.bit",
            "marker-of-the-empty.bit",
            "marker-of-the-loop.bit",
            "marker-of-the-address.bit.onion",
            "under_score-.bit",
            "bit",
        ] {
            let end = curl(name, &way).await;
            assert_eq!(end.status, Some(failed), "{words:?} {name}: {end:?}");
            assert!(
                failed != NO_TUNNEL || end.out.ends_with("503"),
                "{words:?} {name}: {end:?}"
            );
            tor.assert_unasked();
        }
    }
    assert!(backend.calls().iter().all(|call| call.id.is_some()));
    front.stop().await;
}

#[tokio::test]
async fn what_is_no_connect_is_told_so() {
    let (backend, tor) = (names().await, Tor::start().await);
    let front = Front::start(&backend, &tor, &[]).await;
    let way = way(&["-i", "--proxy", "http://FRONT"], &front);
    for name in [format!("{MARKER}-onion.bit"), "example.com".to_owned()] {
        let end = curl(&name, &way).await;
        assert_eq!(end.status, Some(0));
        assert!(end.out.starts_with("HTTP/1.1 405 "), "{end:?}");
        assert!(
            end.out.contains(".bit") && end.out.to_lowercase().contains("allow: connect"),
            "{end:?}"
        );
        assert!(!end.out.contains(MARKER), "{end:?}");
    }
    tor.assert_unasked();
    assert_eq!(backend.count(), 0);
    front.stop().await;
}

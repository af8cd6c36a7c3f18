//! How far a Tor is on its way into its network, read from what its control port says.
//!
//! Source: Tor, control-spec, GETINFO (`status/bootstrap-phase`, `net/listeners/socks`) and GETCONF.

use std::net::SocketAddr;

use super::driver::ControlAddr;
use super::event::parse_fields;
use super::reply::ControlMessage;
use crate::net::tor_standing::TorStanding;

/// Asks how far it is, and where it listens.
pub const HOW_FAR: &str = "GETINFO net/listeners/socks status/bootstrap-phase";

/// Asks whether it was told to use no network.
pub const IS_DISABLED: &str = "GETCONF DisableNetwork";

/// Longest text of Tor's that is told, in characters; its own are shorter.
const MAX_WORDS: usize = 100;

/// Reads what a control port answered to [`HOW_FAR`] and [`IS_DISABLED`]; `None` where it tells nothing, or where it is
/// that of a Tor which is none of the proxies.
pub fn standing(
    how_far: &ControlMessage,
    is_disabled: &ControlMessage,
    proxies: &[SocketAddr],
    control: &ControlAddr,
) -> Option<TorStanding> {
    let listeners = how_far.value("net/listeners/socks=")?;
    if listeners.trim().is_empty() && is_disabled.value("DisableNetwork=") == Some("1") {
        let control = control.to_string();
        return Some(TorStanding::NetworkDisabled { control });
    }
    if !proxies.iter().any(|proxy| listens_at(listeners, *proxy)) {
        return None;
    }
    let phase = how_far.value("status/bootstrap-phase=")?;
    let fields = parse_fields(phase)?;
    let words = |name: &str| fields.get(name).map(told).filter(|words| !words.is_empty());
    let percent: u8 = words("PROGRESS")?.parse().ok()?;
    if percent >= 100 {
        return Some(TorStanding::Ready);
    }
    // Whom it can't reach it tells too; but a bridge is a secret of its user's.
    Some(TorStanding::Bootstrapping {
        percent,
        phase: words("SUMMARY").or_else(|| words("TAG")).unwrap_or_default(),
        problem: words("WARNING"),
    })
}

/// Says whether one of the listeners, each of which is quoted, takes connections to an address.
fn listens_at(listeners: &str, proxy: SocketAddr) -> bool {
    let listeners = listeners.split(' ').map(|listener| listener.trim_matches('"'));
    listeners
        .filter_map(|it| it.parse::<SocketAddr>().ok())
        .any(|listener| {
            let is_any = listener.ip().is_unspecified() && listener.port() == proxy.port() && proxy.ip().is_loopback();
            listener == proxy || is_any
        })
}

/// Returns Tor's words as they can be shown.
fn told(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .filter(|it| !it.is_control())
        .take(MAX_WORDS)
        .collect::<String>()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::reply::ControlDecoder;
    use super::*;

    fn message(text: &str) -> ControlMessage {
        let mut decoder = ControlDecoder::default();
        decoder.push(text.replace('\n', "\r\n").as_bytes());
        decoder.message().unwrap().unwrap()
    }

    fn read(listeners: &str, phase: &str, disabled: &str) -> Option<TorStanding> {
        let how_far = message(&format!(
            "250-net/listeners/socks={listeners}\n250-status/bootstrap-phase={phase}\n250 OK\n"
        ));
        let disabled = message(&format!("250 DisableNetwork={disabled}\n"));
        let proxies = ["127.0.0.1:9050", "127.0.0.1:9150"].map(|it| it.parse().unwrap());
        standing(&how_far, &disabled, &proxies, &ControlAddr::DEFAULT)
    }

    /// What Tor 0.4.9.11 answered before it could reach an authority, and after.
    const STUCK: &str = "WARN BOOTSTRAP PROGRESS=5 TAG=conn SUMMARY=\"Connecting to a relay\" \
                         WARNING=\"Connection refused\" REASON=CONNECTREFUSED COUNT=3 RECOMMENDATION=ignore \
                         HOSTID=\"0123456789ABCDEF0123456789ABCDEF01234567\" HOSTADDR=\"192.0.2.7:1\"";
    const DONE: &str = "NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY=\"Done\"";

    #[test]
    fn tors_own_words_are_read() {
        let stuck = read("\"127.0.0.1:9050\"", STUCK, "0").unwrap();
        assert_eq!(
            stuck,
            TorStanding::Bootstrapping {
                percent: 5,
                phase: "Connecting to a relay".to_owned(),
                problem: Some("Connection refused".to_owned()),
            }
        );
        assert!(!stuck.to_string().contains("192.0.2.7"), "a bridge may be secret");
        let starting = read("\"127.0.0.1:9050\"", "NOTICE BOOTSTRAP PROGRESS=0 TAG=starting", "0");
        assert_eq!(
            starting,
            Some(TorStanding::Bootstrapping {
                percent: 0,
                phase: "starting".to_owned(),
                problem: None,
            })
        );
        assert_eq!(read("\"127.0.0.1:9050\"", DONE, "0"), Some(TorStanding::Ready));
    }

    #[test]
    fn a_tor_that_is_not_the_proxy_tells_nothing_of_it() {
        for (listeners, fits) in [
            ("\"127.0.0.1:9150\"", true),
            ("\"unix:/run/tor/socks\" \"127.0.0.1:9050\"", true),
            ("\"0.0.0.0:9050\"", true),
            ("\"127.0.0.1:9052\"", false),
            ("\"10.0.0.1:9050\"", false),
            ("\"unix:/run/tor/socks\"", false),
            ("", false),
        ] {
            assert_eq!(read(listeners, STUCK, "0").is_some(), fits, "{listeners}");
        }
    }

    #[test]
    fn a_tor_without_a_network_listens_for_nobody() {
        let control = "127.0.0.1:9051".to_owned();
        assert_eq!(read("", STUCK, "1"), Some(TorStanding::NetworkDisabled { control }));
        // Whoever has this one's control port, it is another Tor that does not answer.
        assert_eq!(read("\"127.0.0.1:9052\"", STUCK, "1"), None);
    }

    #[test]
    fn nonsense_is_told_as_little_as_possible() {
        let here = "\"127.0.0.1:9050\"";
        for phase in [
            "",
            "NOTICE BOOTSTRAP",
            "PROGRESS=",
            "PROGRESS=many",
            "PROGRESS=-1",
            "PROGRESS=4000",
            "SUMMARY=\"no end",
        ] {
            assert_eq!(read(here, phase, "0"), None, "{phase}");
        }
        let long = format!("PROGRESS=1 SUMMARY=\"\\033[31m{}\"", "x".repeat(500));
        let Some(TorStanding::Bootstrapping { phase, .. }) = read(here, &long, "0") else {
            panic!("it tells a percentage");
        };
        assert!(
            phase.chars().count() <= MAX_WORDS && !phase.contains('\u{1b}'),
            "{phase}"
        );
        let refused = message("552 Unrecognized key\n");
        let proxies = ["127.0.0.1:9050".parse().unwrap()];
        assert_eq!(standing(&refused, &refused, &proxies, &ControlAddr::DEFAULT), None);
    }
}

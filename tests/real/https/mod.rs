//! Keyless pins in the stores of those who have to take them: curl, Debian's Chromium, Firefox.

mod browsers;
mod openssl;

use isonym::dane::chain::Chain;
use isonym::dane::judgement::judge;
use isonym::dane::keyless_pin::{self, LONGEST};
use isonym::dane::throwaway;
use isonym::time::Timestamp;
use isonym_fixtures::certificates::{Algorithm, Holder, SERIAL, Signer, Text, expired_site, name, self_signed, site};
use isonym_testkit::backend::{Backend, Says};
use isonym_testkit::harness::end_of;
use isonym_testkit::https::{Site, entry};
use isonym_testkit::program::Program;
use serde_json::json;

use browsers::{Browser, Trust};
use openssl::OpenSsl;

const HOST: &str = "example.bit";

/// Makes a pin by the program, for a host at the port of a site whose name says this.
async fn pin(site: &Site, value: &str, words: &[&str]) -> String {
    let backend = Backend::start().await;
    backend.say("d/example", Says::value(value));
    let program = Program::new();
    let mut command = program.direct();
    let url = format!("--rpc-url=http://{}", backend.address);
    let host = format!("{HOST}:{}", site.address.port());
    command.args(["tls", "pin"]).args(words).args([host, url]);
    let end = end_of(command).await;
    end.assert_succeeded();
    end.out
}

async fn pin_of(signer: &Signer, site: &Site) -> String {
    pin(site, &site.value(&[entry(2, 1, 0, &signer.holder.spki())]), &[]).await
}

/// Asserts what each browser here thinks of a host at a site, with and without a certificate that it trusts.
async fn assert_takes(
    what: &str,
    trusted: Option<(&str, Trust)>,
    host: &str,
    site: &Site,
    takes: impl Fn(Browser) -> bool,
) {
    for browser in Browser::here() {
        let took = browser.visit(trusted, host, site).await;
        assert_eq!(took, takes(browser), "{browser:?}: {what}");
    }
}

const NONE: fn(Browser) -> bool = |_| false;
const ALL: fn(Browser) -> bool = |_| true;

#[tokio::test]
async fn a_pin_has_browsers_take_the_site_and_nobody_else() {
    let signer = Signer::new(Algorithm::P256);
    let served = Site::start(&[&signer.site(&[HOST])]).await;
    let pin = pin_of(&signer, &served).await;
    let pinned = Some((pin.as_str(), Trust::Authority));
    assert_takes("no pin", None, HOST, &served, NONE).await;
    assert_takes("the pin", pinned, HOST, &served, ALL).await;

    // The same key may certify this host, and names below it, and nothing else.
    let below = "www.example.bit";
    assert_takes(
        "below",
        pinned,
        below,
        &Site::start(&[&signer.site(&[below])]).await,
        ALL,
    )
    .await;
    let other = Site::start(&[&signer.site(&["other.bit"])]).await;
    assert_takes("another name", pinned, "other.bit", &other, NONE).await;
    let both = Site::start(&[&signer.site(&[HOST, "other.bit"])]).await;
    assert_takes("another name as well", pinned, "other.bit", &both, NONE).await;
    let address = Site::with_address(|address| signer.site(&[address])).await;
    let ip = address.address.ip().to_string();
    assert_takes("an address", pinned, &ip, &address, NONE).await;

    // Who has the name's text but not its key.
    let stranger = Signer::new(Algorithm::P256).site(&[HOST]);
    assert_takes("another key", pinned, HOST, &Site::start(&[&stranger]).await, NONE).await;
    let expired = signer.sign(Algorithm::P256.key(), &expired_site(&[HOST]));
    assert_takes("expired", pinned, HOST, &Site::start(&[&expired]).await, NONE).await;
}

#[tokio::test]
async fn names_are_taken_as_they_are_written_and_chains_as_they_are_served() {
    for text in [Text::Utf8, Text::Printable] {
        let signer = Signer::named(Algorithm::P256.key(), name("example.bit Domain CA", SERIAL, text));
        let leaf = signer.site(&[HOST]);
        for chain in [&[&leaf][..], &[&leaf, &signer.holder]] {
            let served = Site::start(chain).await;
            let pin = pin_of(&signer, &served).await;
            let what = format!("{text:?}, {} certificates", chain.len());
            assert_takes(&what, Some((&pin, Trust::Authority)), HOST, &served, ALL).await;
        }
    }
    let top = Signer::new(Algorithm::P256);
    let middle = top.below(Algorithm::P256, "example.bit Domain CA 2");
    let served = Site::start(&[&middle.site(&[HOST]), &middle.holder]).await;
    let pin = pin_of(&top, &served).await;
    assert_takes(
        "an authority between",
        Some((&pin, Trust::Authority)),
        HOST,
        &served,
        ALL,
    )
    .await;
}

/// The server of somebody else's TLS, in each version.
#[tokio::test]
async fn a_site_that_openssl_serves_is_verified() {
    for (version, algorithm) in [
        ("-tls1_2", Algorithm::Rsa),
        ("-tls1_3", Algorithm::Rsa),
        ("-tls1_3", Algorithm::P384),
    ] {
        let signer = Signer::new(algorithm);
        let leaf = signer.sign(algorithm.key(), &site(&[HOST]));
        let served = OpenSsl::start(&leaf, &signer.holder, version);
        let value = json!({
            "ip": served.address.ip().to_string(),
            "map": { "*": { "tls": [entry(2, 1, 1, &signer.holder.spki())] } },
        });
        let backend = Backend::start().await;
        backend.say("d/example", Says::value(&value));
        let program = Program::new();
        let mut command = program.direct();
        command.args(["tls", "verify", &format!("{HOST}:{}", served.address.port())]);
        command.arg(format!("--rpc-url=http://{}", backend.address));
        let end = end_of(command).await;
        end.assert_succeeded();
        assert!(end.out.contains("TLSA 2 1 1"), "{end:?}");
    }
}

#[tokio::test]
async fn keys_of_each_kind() {
    for algorithm in [Algorithm::P384, Algorithm::Rsa, Algorithm::Ed25519] {
        let signer = Signer::new(algorithm);
        let served = Site::start(&[&signer.sign(algorithm.key(), &site(&[HOST]))]).await;
        let pin = pin_of(&signer, &served).await;
        // Stores of browsers take no Ed25519.
        let takes = |browser| algorithm != Algorithm::Ed25519 || browser == Browser::Curl;
        let what = format!("{algorithm:?}");
        assert_takes(&what, Some((&pin, Trust::Authority)), HOST, &served, takes).await;
    }
}

#[tokio::test]
async fn wildcards_below_the_host() {
    let signer = Signer::new(Algorithm::P256);
    let served = Site::start(&[&signer.site(&[HOST, "*.example.bit"])]).await;
    let pin = pin_of(&signer, &served).await;
    for host in [HOST, "www.example.bit"] {
        assert_takes(host, Some((&pin, Trust::Authority)), host, &served, ALL).await;
    }
}

/// A name that changed hands, or was let go: the old owner's pin ends by itself.
#[tokio::test]
async fn a_pin_that_is_over_is_over() {
    let signer = Signer::new(Algorithm::P256);
    let leaf = signer.site(&[HOST]);
    let served = Site::start(&[&leaf]).await;
    let made = |at: Timestamp, seconds: u64| {
        let shown = Chain::read([leaf.der().as_slice()].into_iter()).unwrap();
        let record = hickory_proto::rr::rdata::TLSA::new(2.into(), 1.into(), 0.into(), signer.holder.spki());
        let judged = judge(&[record], &shown, HOST, at).unwrap();
        let authority = keyless_pin::authority(&judged, &shown).unwrap();
        let der = throwaway::pin(authority, HOST, at, Timestamp(at.0 + seconds)).unwrap();
        keyless_pin::pem(&der)
    };
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let old = made(Timestamp(now - LONGEST - 86_400), LONGEST);
    assert_takes("over", Some((&old, Trust::Authority)), HOST, &served, NONE).await;
    let new = made(Timestamp(now), LONGEST);
    assert_takes("not over", Some((&new, Trust::Authority)), HOST, &served, ALL).await;

    // The new owner has another key: whoever pinned the old one does not take it until the name is pinned anew.
    let owner = Signer::new(Algorithm::P256);
    let served = Site::start(&[&owner.site(&[HOST])]).await;
    assert_takes("a new owner", Some((&new, Trust::Authority)), HOST, &served, NONE).await;
    let renewed = pin_of(&owner, &served).await;
    assert_takes("pinned anew", Some((&renewed, Trust::Authority)), HOST, &served, ALL).await;
}

/// What a name publishes as a whole, as `d8` does, is trusted as it is, and not by Firefox.
#[tokio::test]
async fn a_leaf_is_taken_by_some() {
    let leaf: Holder = self_signed(Algorithm::P256.key(), &site(&[HOST]));
    let served = Site::start(&[&leaf]).await;
    let pin = pin(&served, &served.value(&[entry(3, 0, 0, &leaf.der())]), &["--leaf"]).await;
    let takes = |browser| browser != Browser::Firefox;
    assert_takes("a leaf", Some((&pin, Trust::Peer)), HOST, &served, takes).await;
    let other = self_signed(Algorithm::P256.key(), &site(&[HOST]));
    assert_takes(
        "another leaf",
        Some((&pin, Trust::Peer)),
        HOST,
        &Site::start(&[&other]).await,
        NONE,
    )
    .await;
}

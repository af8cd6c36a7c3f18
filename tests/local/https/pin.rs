//! `isonym tls pin`: what can be pinned, and what is refused.

use std::process::Command;

use isonym_fixtures::certificates::{Algorithm, Signer, self_signed, site};
use isonym_testkit::harness::end_of;
use isonym_testkit::https::{Manner, Site, entry};
use isonym_testkit::program::End;

use super::{HOST, Scene, certified};

/// Asserts that what is printed is a certificate and nothing else.
fn assert_pem(end: &End) {
    end.assert_succeeded();
    let lines: Vec<&str> = end.out.lines().collect();
    assert_eq!(lines.first(), Some(&"-----BEGIN CERTIFICATE-----"), "{end:?}");
    assert_eq!(lines.last(), Some(&"-----END CERTIFICATE-----"), "{end:?}");
    assert!(
        lines[1..lines.len() - 1]
            .iter()
            .all(|line| line.len() <= 64 && !line.contains(' '))
    );
}

#[tokio::test]
async fn a_certified_site_is_pinned_and_the_rest_is_said_aside() {
    let signer = Signer::new(Algorithm::P256);
    let scene = Scene::of(certified(&signer).await, &[entry(2, 1, 0, &signer.holder.spki())]).await;
    let end = scene.run(&["pin"]).await;
    assert_pem(&end);
    let file = format!("{HOST}.pem");
    for words in [
        "curl --cacert",
        &file,
        "certutil -A",
        "certutil -D",
        ".local/share/pki/nssdb",
        "Firefox",
        "sql:PROFILE",
        "Tor Browser",
        "not proved",
        "good until",
    ] {
        assert!(end.err.contains(words), "no {words:?} in {}", end.err);
    }
    // Who has the old store is told of that.
    std::fs::create_dir_all(scene.program.home().join(".pki/nssdb")).unwrap();
    let end = scene.run(&["pin"]).await;
    assert!(
        end.err.contains("/.pki/nssdb") && !end.err.contains("/.local/share"),
        "{end:?}"
    );
    let end = scene.run(&["pin", "--quiet"]).await;
    assert_pem(&end);
    assert_eq!(end.err, "");
}

/// What is written in a pin, as OpenSSL reads it.
async fn text_of(pem: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pin.pem");
    std::fs::write(&file, pem).unwrap();
    Command::new("openssl").arg("version").output().ok()?;
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-text", "-in"]).arg(&file);
    let end = end_of(openssl).await;
    end.assert_succeeded();
    Some(end.out)
}

#[tokio::test]
async fn a_pin_says_what_it_is_for() {
    let signer = Signer::new(Algorithm::P256);
    let scene = Scene::of(certified(&signer).await, &[entry(2, 1, 0, &signer.holder.spki())]).await;
    let end = scene.run(&["pin"]).await;
    let Some(text) = text_of(&end.out).await else {
        eprintln!("LEFT OUT: there is no openssl");
        return;
    };
    let squeezed: Vec<&str> = text.split_whitespace().collect();
    let squeezed = squeezed.join(" ");
    for words in [
        "X509v3 Basic Constraints: critical CA:TRUE",
        "X509v3 Key Usage: critical Certificate Sign",
        "X509v3 Extended Key Usage: TLS Web Server Authentication",
        &format!(
            "X509v3 Name Constraints: critical Permitted: DNS:{HOST} Excluded: IP:0.0.0.0/0.0.0.0 IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0"
        ),
        "Subject: CN = example.bit Domain CA, serialNumber = Namecoin TLS Certificate",
    ] {
        assert!(squeezed.contains(words), "no {words:?} in {text}");
    }
}

#[tokio::test]
async fn what_can_not_be_limited_is_not_pinned_unless_that_is_said() {
    let leaf = self_signed(Algorithm::P256.key(), &site(&[HOST]));
    let scene = Scene::of(Site::start(&[&leaf]).await, &[entry(3, 0, 0, &leaf.der())]).await;
    let end = scene.run(&["pin"]).await;
    end.assert_failed(&["cannot be pinned", "--leaf", "isonym tls verify"]);
    let end = scene.run(&["pin", "--leaf"]).await;
    assert_pem(&end);
    assert!(
        end.err.contains("P,,") && end.err.contains("take it away by"),
        "{end:?}"
    );
    assert!(end.err.contains("Firefox does not take it"), "{end:?}");

    let wide = self_signed(Algorithm::P256.key(), &site(&[HOST, "bank.example"]));
    let scene = Scene::of(Site::start(&[&wide]).await, &[entry(3, 1, 1, &wide.spki())]).await;
    scene.run(&["verify"]).await.assert_succeeded();
    let end = scene.run(&["pin", "--leaf"]).await;
    end.assert_failed(&["cannot be pinned", "for other names"]);

    let mut params = site(&[HOST]);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let signs = self_signed(Algorithm::P256.key(), &params);
    let scene = Scene::of(Site::start(&[&signs]).await, &[entry(3, 1, 1, &signs.spki())]).await;
    let end = scene.run(&["pin", "--leaf"]).await;
    end.assert_failed(&["cannot be pinned", "may sign others"]);
}

#[tokio::test]
async fn a_wildcard_is_pinned_at_the_host_that_covers_it() {
    let signer = Signer::new(Algorithm::P256);
    let host = format!("www.{HOST}");
    let leaf = signer.site(&[HOST, &format!("*.{HOST}")]);
    let scene = Scene::of(Site::start(&[&leaf]).await, &[]).await;
    let ip = scene.site.address.ip().to_string();
    let records = serde_json::json!({ "*": { "ip": ip, "tls": [entry(2, 1, 0, &signer.holder.spki())] } });
    let value = serde_json::json!({ "ip": ip, "map": records });
    scene
        .backend
        .say(super::NAME, isonym_testkit::backend::Says::value(&value));
    scene.run_for(&host, &["verify"]).await.assert_succeeded();
    let end = scene.run_for(&host, &["pin"]).await;
    end.assert_failed(&["cannot be pinned", &format!("isonym tls pin {HOST}")]);
    assert_pem(&scene.run(&["pin"]).await);
}

#[tokio::test]
async fn who_is_somebody_else_is_not_pinned() {
    let signer = Signer::new(Algorithm::P256);
    let stranger = Signer::new(Algorithm::P256);
    let record = entry(2, 1, 0, &signer.holder.spki());
    let scene = Scene::of(certified(&stranger).await, std::slice::from_ref(&record)).await;
    let end = scene.run(&["pin"]).await;
    end.assert_failed(&["is not authenticated", "signed none"]);
    let scene = Scene::of(Site::with(Manner::Hangs).await, &[record]).await;
    scene.run(&["pin"]).await.assert_failed(&["is not authenticated"]);
}

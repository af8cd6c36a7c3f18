//! `isonym tls verify`.

use std::time::Duration;

use isonym::dane::chain::{ChainError, MAX_CERTIFICATE, MAX_CERTIFICATES};
use isonym::dane::site::{SiteError, SiteLimits, shown_chain};
use isonym::net::{Dialer, Host, Proxy};
use isonym_fixtures::certificates::{Algorithm, Holder, Signer, expired_site, self_signed, site};
use isonym_testkit::backend::Says;
use isonym_testkit::https::{Manner, Site, Visit, config, entry};
use serde_json::json;

use super::{HOST, NAME, Scene, certified};

#[tokio::test]
async fn sites_are_who_their_names_say() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let leaf = signer.sign(algorithm.key(), &site(&[HOST]));
        let (whole, der) = (signer.holder.spki(), signer.holder.der());
        for (record, numbers) in [
            (entry(2, 1, 0, &whole), "2 1 0"),
            (entry(2, 0, 1, &der), "2 0 1"),
            (entry(3, 1, 1, &leaf.spki()), "3 1 1"),
            (entry(3, 0, 2, &leaf.der()), "3 0 2"),
        ] {
            let served = Site::start(&[&leaf, &signer.holder]).await;
            let scene = Scene::of(served, &[record]).await;
            let end = scene.run(&["verify"]).await;
            end.assert_succeeded();
            let expected = format!("{HOST}:{} is authenticated: ", scene.site.address.port());
            assert!(end.out.starts_with(&expected) && end.out.contains(numbers), "{end:?}");
            assert!(
                end.out.contains("not proved"),
                "the word of a server is called proof: {end:?}"
            );
            assert_eq!(scene.site.visits_of(1).await, [Visit::Shook], "{algorithm:?}");
        }
    }
}

#[tokio::test]
async fn tls_12_will_do() {
    for algorithm in Algorithm::ALL {
        let leaf = self_signed(algorithm.key(), &site(&[HOST]));
        let shown = vec![leaf.der().into()];
        let served = Site::with(Manner::Serves(config(shown, &leaf.key.serialize_der(), false))).await;
        let scene = Scene::of(served, &[entry(3, 1, 1, &leaf.spki())]).await;
        scene.run(&["verify"]).await.assert_succeeded();
    }
}

/// A name's `tls` at `*` holds for every port, as owners write it.
#[tokio::test]
async fn keys_at_any_port_count() {
    let signer = Signer::new(Algorithm::P256);
    let scene = Scene::of(certified(&signer).await, &[]).await;
    let value = json!({
        "ip": scene.site.address.ip().to_string(),
        "map": { "*": { "tls": [entry(2, 1, 0, &signer.holder.spki())] } },
    });
    scene.backend.say(NAME, Says::value(&value));
    let end = scene.run(&["verify", "--json"]).await;
    end.assert_succeeded();
    let said = end.json();
    assert_eq!(
        (
            &said["host"],
            &said["port"],
            &said["authenticated"],
            &said["tlsa"],
            &said["proved"]
        ),
        (
            &json!(HOST),
            &json!(scene.site.address.port()),
            &json!(true),
            &json!("2 1 0"),
            &json!(false)
        )
    );
}

#[tokio::test]
async fn who_is_somebody_else_is_refused() {
    let signer = Signer::new(Algorithm::P256);
    let leaf = signer.site(&[HOST]);
    let record = || entry(2, 1, 0, &signer.holder.spki());
    let stranger = self_signed(Algorithm::P256.key(), &site(&[HOST]));
    let elsewhere = signer.site(&["other.bit"]);
    let expired = signer.sign(Algorithm::P256.key(), &expired_site(&[HOST]));
    let address = signer.site(&["127.0.0.1"]);
    for (shown, record, words) in [
        (
            &stranger,
            entry(3, 1, 1, &leaf.spki()),
            "another than the name publishes",
        ),
        (&stranger, record(), "signed none of the certificates"),
        (&elsewhere, record(), "not for this host"),
        (&address, record(), "not for this host"),
        (&expired, record(), "has expired"),
        (&leaf, entry(0, 1, 1, &leaf.spki()), "none of the TLSA records"),
        (&leaf, json!([3, 1, 1, "ffff"]), "cannot be read"),
    ] {
        let scene = Scene::of(Site::start(&[shown]).await, std::slice::from_ref(&record)).await;
        let end = scene.run(&["verify"]).await;
        end.assert_failed(&["is not authenticated", words]);
        let end = scene.run(&["verify", "--json"]).await;
        let said = end.json();
        assert_eq!(
            (end.status, &said["authenticated"]),
            (Some(1), &json!(false)),
            "{end:?}"
        );
        assert!(said["reason"].as_str().unwrap().contains(words), "{end:?}");
    }
    // One good record among those that are not is enough.
    let mixed = [
        entry(1, 1, 1, &leaf.spki()),
        entry(3, 1, 7, &leaf.spki()),
        entry(3, 1, 1, &leaf.spki()),
    ];
    let scene = Scene::of(Site::start(&[&leaf]).await, &mixed).await;
    scene.run(&["verify"]).await.assert_succeeded();
}

/// Whoever shows somebody's certificate has not got the key.
#[tokio::test]
async fn a_certificate_without_its_key_is_refused() {
    for algorithm in [Algorithm::P256, Algorithm::Ed25519] {
        let (own, stolen) = (algorithm.key(), self_signed(algorithm.key(), &site(&[HOST])));
        for speaks_tls13 in [false, true] {
            let shown = vec![stolen.der().into()];
            let served = Site::with(Manner::Serves(config(shown, &own.serialize_der(), speaks_tls13))).await;
            let scene = Scene::of(served, &[entry(3, 1, 1, &stolen.spki())]).await;
            let end = scene.run(&["verify"]).await;
            end.assert_failed(&["does not hold the key", "send them nothing"]);
        }
    }
}

#[tokio::test]
async fn where_there_is_nothing_to_go_by_nobody_is_connected_to() {
    let signer = Signer::new(Algorithm::P256);
    let scene = Scene::of(certified(&signer).await, &[]).await;
    let keyed = json!({ "map": { "*": { "tls": [entry(2, 1, 0, &signer.holder.spki())] } } });
    for (says, words) in [
        (Says::value(r#"{"ip":"127.0.0.1"}"#), "publishes no TLSA record"),
        (Says::value(r#"{"ns":"ns1.example.com."}"#), "nameservers"),
        (Says::value(&keyed), "nothing to connect to"),
        (Says::Code(-4), "no value"),
        (Says::Expired("{}".to_owned()), "no value"),
    ] {
        scene.backend.say(NAME, says.clone());
        for words_of in [&["verify"][..], &["pin"]] {
            let end = scene.run(words_of).await;
            assert_eq!((end.status, end.out.as_str()), (Some(2), ""), "{says:?}: {end:?}");
            assert!(end.err.contains(words), "{says:?}: {end:?}");
        }
        let end = scene.run(&["verify", "--json"]).await;
        let said = end.json();
        assert_eq!(
            (end.status, &said["authenticated"]),
            (Some(2), &json!(false)),
            "{says:?}"
        );
        assert!(said["reason"].as_str().unwrap().contains(words), "{says:?}: {end:?}");
    }
    scene.backend.say(NAME, Says::value("no JSON"));
    scene
        .run(&["verify"])
        .await
        .assert_failed(&["cannot be verified", "cannot be used"]);
    assert_eq!(scene.site.visits(), []);
}

#[tokio::test]
async fn what_is_no_site_is_not_looked_up() {
    let scene = Scene::of(Site::with(Manner::Hangs).await, &[]).await;
    for (host, words) in [
        ("example.com", "no zone"),
        ("d/example", "`example.bit`"),
        ("bit", "no host"),
        ("*.example.bit", "no host"),
        ("https://example.bit/", "`example.bit`"),
    ] {
        scene.run_for(host, &["verify"]).await.assert_failed(&[words]);
    }
    let mut command = scene.program.direct();
    command.args(["tls", "verify", "example.bit:0"]);
    isonym_testkit::harness::end_of(command)
        .await
        .assert_failed(&["no port from 1 to 65535"]);
    assert!(scene.backend.calls().is_empty());
}

#[tokio::test]
async fn what_speaks_no_tls_is_told_as_that() {
    let leaf = self_signed(Algorithm::P256.key(), &site(&[HOST]));
    for (manner, words) in [
        (
            Manner::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
            "does not speak TLS",
        ),
        (Manner::Says(vec![0; 70_000]), "does not speak TLS"),
        (Manner::Hangs, "the TLS handshake"),
    ] {
        let scene = Scene::of(Site::with(manner).await, &[entry(3, 1, 1, &leaf.spki())]).await;
        scene
            .run(&["verify"])
            .await
            .assert_failed(&["is not authenticated", words]);
    }
}

/// Has a site show what it has, in little time.
async fn shown(served: &Site) -> Result<usize, SiteError> {
    let dialer = Dialer::new(Proxy::Direct).unwrap();
    let limits = SiteLimits {
        handshake: Duration::from_secs(2),
        ..SiteLimits::default()
    };
    let place = (Host::Ip(served.address.ip()), served.address.port());
    let chain = shown_chain(&dialer, place, HOST, limits).await;
    chain.map(|chain| chain.all().count())
}

#[tokio::test]
async fn a_site_that_stalls_is_left() {
    let served = Site::with(Manner::Stalls).await;
    assert_eq!(shown(&served).await, Err(SiteError::TimedOut(Duration::from_secs(2))));
    // A record of the handshake that never ends.
    let served = Site::with(Manner::Says(vec![22, 3, 3, 1, 0, 2, 0])).await;
    assert_eq!(shown(&served).await, Err(SiteError::TimedOut(Duration::from_secs(2))));
}

#[tokio::test]
async fn chains_of_hostile_size_are_not_looked_at() {
    let signer = Signer::new(Algorithm::P256);
    let leaf = signer.site(&[HOST]);
    let others: Vec<Holder> = (0..MAX_CERTIFICATES).map(|_| signer.site(&[HOST])).collect();
    let mut all = vec![&leaf];
    all.extend(&others[1..]);
    assert_eq!(shown(&Site::start(&all).await).await, Ok(MAX_CERTIFICATES));
    all.push(&others[0]);
    let got = MAX_CERTIFICATES + 1;
    assert_eq!(
        shown(&Site::start(&all).await).await,
        Err(ChainError::TooMany { got }.into())
    );
    let names: Vec<String> = (0..MAX_CERTIFICATE / 20)
        .map(|number| format!("a{number}.long.example.bit"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let long = signer.site(&names);
    let got = long.der().len();
    assert_eq!(
        shown(&Site::start(&[&long]).await).await,
        Err(ChainError::TooLong { got }.into())
    );
    let shown_with_garbage = config(
        vec![leaf.der().into(), vec![0x30, 0x80].into()],
        &leaf.key.serialize_der(),
        true,
    );
    assert_eq!(
        shown(&Site::with(Manner::Serves(shown_with_garbage)).await).await,
        Err(ChainError::Malformed { place: 2 }.into())
    );
}

//! From an application to a site, in all ways that Tor listens for.

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::scene::{HTTP, Scene, V4, V6};
use crate::client::Tor;
use crate::name_server::HOST;
use crate::raw::{CONNECT, RESOLVE, Raw, UNREACHABLE, fetch};
use crate::record::Stream;
use crate::site::Site;
use crate::users::{Way, curl, dig, tor_resolve};
use isonym_testkit::running::eventually;

/// How many curls run at once.
const AT_ONCE: usize = 6;

/// Names that lead nowhere, whatever is asked.
const NOWHERE: [&str; 13] = [
    "missing.bit",
    "gone.bit",
    "gone.bit.",
    "empty.bit",
    "loop.bit",
    "old.bit",
    "poison.bit",
    "forged.bit",
    "blank.bit",
    "under.missing.bit",
    "plain.bit.onion",
    "missing.bit.onion",
    "bit",
];

/// What is in names, and in those who ask for them, and must be told to nobody.
const SECRETS: [&str; 8] = [
    "missing",
    "poison",
    "forged",
    "PLAIN",
    "other.example",
    "www.example.com",
    "user-",
    "d/site",
];

/// Where hosts lead to, at which port.
fn somewhere(scene: &Scene) -> Vec<(&str, u16, &Site)> {
    let (hidden, plain) = (&scene.hidden, &scene.plain);
    let port = plain.port();
    let mut all = vec![(scene.onion.host.as_str(), HTTP, hidden)];
    for host in [
        "site.bit",
        "SITE.Bit",
        "site.bit.",
        "site.bit.onion",
        "both.bit",
        "both.bit.onion",
        "alias.bit",
        "alias.bit.onion",
    ] {
        all.push((host, HTTP, hidden));
    }
    for host in [
        "plain.bit",
        "PLAIN.BIT",
        "plain.bit.",
        "host.bit",
        "www.both.bit",
        "www.moved.bit",
        "other.example",
        "Other.Example.",
        "rabbit.example",
        "127.0.0.1",
    ] {
        all.push((host, port, plain));
    }
    all
}

/// Asserts that curl gets where it should, and nowhere else, by a SOCKS and an HTTP port.
async fn assert_ways(scene: &Scene, socks: u16, http: u16) {
    let mut cases = Vec::new();
    for way in Way::ALL {
        let leads = somewhere(scene)
            .into_iter()
            .map(|(host, port, site)| (host, port, Some(site)));
        let nowhere = NOWHERE.iter().map(|host| (*host, HTTP, None));
        cases.extend(leads.chain(nowhere).map(|(host, port, site)| {
            let expected = site.map(|site| site.text.clone());
            (way, format!("http://{host}:{port}/"), expected)
        }));
    }
    let mut running = JoinSet::new();
    for (number, (way, url, expected)) in cases.into_iter().enumerate() {
        let port = if way == Way::Http { http } else { socks };
        running.spawn(async move {
            let end = curl(way, port, &format!("user-{}", number % 4), &url).await;
            match expected {
                Some(text) => assert_eq!((end.status, &*end.out), (Some(0), &*text), "{way:?}, {url}: {end:?}"),
                None => way.assert_refused(&end),
            }
        });
        if running.len() == AT_ONCE {
            running.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    for host in NOWHERE {
        let raw = Raw::ask(socks, Some(("raw", "one")), CONNECT, host, HTTP)
            .await
            .unwrap();
        assert_eq!(raw.reply, UNREACHABLE, "{host}");
    }
}

/// Says whether a stream is to a `.bit` name, however that is written.
fn is_for_name(target: &str) -> bool {
    let (host, _) = target.rsplit_once(':').unwrap();
    let host = host.trim_end_matches('.').to_lowercase();
    let host = host.strip_suffix(".onion").unwrap_or(&host);
    host.rsplit('.').next() == Some("bit")
}

#[tokio::test]
async fn applications_get_where_names_lead_with_a_controller() {
    let scene = Scene::new().await;
    let tor = scene.network.naming_client("ways", true);
    let record = tor.record();
    let daemon = scene.naming_daemon(&tor).await;
    let ports = tor.ports();
    assert_ways(&scene, ports.socks, ports.http).await;
    eventually("all streams of names have ended", async || {
        let streams = record.streams();
        let mut named = streams.iter().filter(|stream| is_for_name(&stream.target));
        named.all(|stream| stream.closed.is_some())
    })
    .await;
    let streams = record.streams();
    let of = |target: String| streams.iter().filter(move |stream| stream.target == target);
    let protocols = |streams: &mut dyn Iterator<Item = &Stream>| {
        let mut all: Vec<_> = streams.map(|stream| stream.protocol.clone()).collect();
        all.sort();
        all
    };
    let every = ["HTTPCONNECT", "SOCKS4", "SOCKS5"];
    let port = scene.plain.port();
    // What curl makes of it is what Tor was given, final dots and capitals included.
    for target in [
        "site.bit.:80".to_owned(),
        format!("PLAIN.BIT:{port}"),
        format!("plain.bit.:{port}"),
    ] {
        assert_eq!(protocols(&mut of(target.clone())), every, "{target}");
    }
    for stream in &streams {
        if is_for_name(&stream.target) {
            assert!(!stream.succeeded || !is_for_name(&stream.last), "{stream:?}");
            assert!(stream.succeeded || stream.circuits.is_empty(), "{stream:?}");
            assert!(stream.waits >= 1, "{stream:?}");
        }
    }
    daemon.assert_tells_nothing_of(&SECRETS);
    let asked = scene.network.asked_of_exits();
    for host in ["www.example.com", "other.example", "rabbit.example"] {
        assert!(asked.contains(host), "{host}: {asked:?}");
    }
    scene.network.assert_no_leak();
}

#[tokio::test]
async fn applications_get_where_names_lead_by_the_socks_front() {
    let scene = Scene::new().await;
    let tor = scene.network.client("front");
    let record = tor.record();
    let (daemon, port) = scene.front(&tor).await;
    assert_ways(&scene, port, port).await;
    for (host, expected) in [
        ("v4.bit", V4),
        ("v6.bit", V6),
        ("V4.bit.", V4),
        ("host.bit", "127.0.0.1"),
    ] {
        let raw = Raw::ask(port, None, RESOLVE, host, 0).await.unwrap();
        let address = raw.address.map(|address| address.to_string());
        assert_eq!((raw.reply, address.as_deref()), (0, Some(expected)), "{host}");
    }
    for host in NOWHERE.into_iter().chain(["site.bit", "v4.bit.onion"]) {
        let raw = Raw::ask(port, None, RESOLVE, host, 0).await.unwrap();
        assert_eq!(raw.reply, UNREACHABLE, "{host}");
    }
    daemon.assert_tells_nothing_of(&SECRETS);
    // Tor never heard of such a name, but had the users of applications as they were.
    let streams = record.streams();
    for stream in &streams {
        assert!(!is_for_name(&stream.target), "{stream:?}");
    }
    for resolved in record.resolved() {
        assert!(!is_for_name(&resolved), "{resolved}");
    }
    let site = format!("{}:{HTTP}", scene.onion.host);
    let users = streams.iter().filter(|stream| stream.target == site);
    let users: std::collections::BTreeSet<_> = users.filter_map(|stream| stream.user.as_deref()).collect();
    for number in 0..4 {
        assert!(users.contains(&*format!("user-{number}")), "{users:?}");
    }
    scene.network.assert_no_leak();
}

/// What Tor is told is put into the message to the exit as it is, so it must be written as exits read it.
#[tokio::test]
async fn addresses_of_ipv6_are_connected_to() {
    let Ok(listener) = TcpListener::bind(("::1", 0)).await else {
        println!("not tried: there is no ::1 on this machine");
        return;
    };
    let site = Site::of(listener, "six");
    let scene = Scene::new().await;
    let tor = scene.network.naming_client("six", true);
    let _daemon = scene.naming_daemon(&tor).await;
    let front_tor = scene.network.client("six-by-front");
    let (_front_daemon, front) = scene.front(&front_tor).await;
    for (proxy, host) in [
        (tor.ports().socks, "::1"),
        (tor.ports().socks, "six.bit"),
        (front, "::1"),
        (front, "six.bit"),
    ] {
        let page = fetch(proxy, Some(("user", "password")), host, site.port()).await;
        assert!(page.is_ok_and(|page| page.ends_with(&site.text)), "{host} by {proxy}");
    }
    scene.network.assert_no_leak();
}

#[tokio::test]
async fn names_are_resolved_to_addresses() {
    let scene = Scene::new().await;
    let tor = scene.network.naming_client("resolve", true);
    let _daemon = scene.naming_daemon(&tor).await;
    assert_resolved(&tor).await;
    scene.network.assert_no_leak();
}

async fn assert_resolved(tor: &Tor) {
    let ports = tor.ports();
    for (host, expected) in [
        ("v4.bit", V4),
        ("V4.BIT.", V4),
        ("plain.bit", "127.0.0.1"),
        ("host.bit", "127.0.0.1"),
        ("other.example", "127.0.0.1"),
    ] {
        let resolved = tor_resolve(ports.socks, &[host]).await;
        assert_eq!(resolved.as_deref(), Some(expected), "{host}");
        let dug = dig(ports.dns, &[host, "A"]).await;
        assert!(
            dug.contains("NOERROR") && dug.contains(&format!("\tA\t{expected}")),
            "{dug}"
        );
    }
    let resolved = tor_resolve(ports.socks, &["v6.bit"]).await;
    assert_eq!(resolved.as_deref(), Some(V6));
    let dug = dig(ports.dns, &["v6.bit", "AAAA"]).await;
    assert!(
        dug.contains("NOERROR") && dug.contains(&format!("\tAAAA\t{V6}")),
        "{dug}"
    );
    for host in NOWHERE.into_iter().chain(["site.bit", "alias.bit", "v4.bit.onion"]) {
        // The program itself won't ask for what ends in .onion.
        if host.rsplit('.').next() != Some("onion") {
            assert_eq!(tor_resolve(ports.socks, &[host]).await, None, "{host}");
        }
        let raw = Raw::ask(ports.socks, None, RESOLVE, host, 0).await.unwrap();
        assert_eq!(raw.reply, UNREACHABLE, "{host}");
        let dug = dig(ports.dns, &[host, "A"]).await;
        assert!(!dug.contains("NOERROR"), "{host}: {dug}");
    }
    // The other way about is none of the program's business.
    let reverse = tor_resolve(ports.socks, &["-x", V4]).await;
    assert_eq!(reverse.as_deref(), Some(HOST));
    let dug = dig(ports.dns, &["-x", V4]).await;
    assert!(dug.contains(HOST), "{dug}");
}

//! Programs of users that do more than fetch a page, by the SOCKS front: git and a browser.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Write as _, stderr};
use std::path::Path;

use isonym_testkit::chromium::{is_there, network_log};

use super::scene::{HTTP, Scene};
use crate::record::Stream;
use crate::site::Site;
use crate::users::{Way, chromium, curl, git, git_clone};

/// Publishes a repository with one commit as files.
fn publish_repository(site: &Site, home: &Path) {
    let (work, bare) = (home.join("work"), home.join("bare"));
    let shown = [&work, &bare].map(|path| path.to_str().unwrap().to_owned());
    let run = |arguments: &[&str]| {
        let output = git(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    };
    run(&["init", "--quiet", &shown[0]]);
    fs::write(work.join("file"), &site.text).unwrap();
    run(&["-C", &shown[0], "add", "file"]);
    run(&["-C", &shown[0], "commit", "--quiet", "--message=one"]);
    run(&["clone", "--quiet", "--bare", &shown[0], &shown[1]]);
    run(&["-C", &shown[1], "update-server-info"]);
    let mut folders = vec![bare.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let below = path.strip_prefix(&bare).unwrap().display().to_string();
                site.publish(&format!("/{below}"), fs::read(&path).unwrap());
            }
        }
    }
}

/// The circuits of all streams to a target that a user has.
fn circuits(streams: &[Stream], target: &str, user: Option<&str>) -> BTreeSet<u64> {
    let of_user = streams
        .iter()
        .filter(|it| it.target == target && it.user.as_deref() == user);
    of_user.flat_map(|stream| stream.circuits.clone()).collect()
}

#[tokio::test]
async fn git_clones_from_names_and_its_users_are_apart() {
    let scene = Scene::new().await;
    let tor = scene.network.client("git");
    let record = tor.record();
    let (_daemon, port) = scene.front(&tor).await;
    let home = tempfile::tempdir().unwrap();
    for (name, site) in [("of-hidden", &scene.hidden), ("of-plain", &scene.plain)] {
        let folder = home.path().join(name);
        fs::create_dir(&folder).unwrap();
        publish_repository(site, &folder);
    }
    let plain = format!("http://plain.bit:{}/", scene.plain.port());
    for user in ["user-a", "user-b"] {
        for (number, (url, site)) in [("http://site.bit/", &scene.hidden), (&*plain, &scene.plain)]
            .into_iter()
            .enumerate()
        {
            let to = home.path().join(format!("{user}-{number}"));
            git_clone(port, user, url, &to).await.assert_succeeded();
            assert_eq!(fs::read_to_string(to.join("file")).unwrap(), site.text, "{url}");
        }
    }
    let end = git_clone(port, "user-a", "http://missing.bit/", &home.path().join("missing")).await;
    assert_ne!(end.status, Some(0), "{end:?}");
    // One lookup for each user, and no circuit with both.
    assert_eq!(
        [scene.connections_with("d/site"), scene.connections_with("d/plain")],
        [2, 2]
    );
    let streams = record.streams();
    for target in [format!("{}:{HTTP}", scene.onion.host), scene.plain.address.to_string()] {
        let [one, other] = ["user-a", "user-b"].map(|user| circuits(&streams, &target, Some(user)));
        assert!(
            !one.is_empty() && !other.is_empty() && one.is_disjoint(&other),
            "{streams:?}"
        );
    }
    scene.network.assert_no_leak();
}

#[tokio::test]
async fn a_browser_loads_pages_of_names_and_asks_no_name_server() {
    if !is_there() {
        // Not by a macro, which would tell nobody.
        let _ = writeln!(stderr(), "LEFT OUT: there is no Chromium, which tests/install installs");
        return;
    }
    let scene = Scene::new().await;
    let tor = scene.network.client("browser");
    let record = tor.record();
    let (_daemon, port) = scene.front(&tor).await;
    let plain = scene.plain.port();
    let page = format!(
        "<body>the page<script src=http://plain.bit:{plain}/name.js></script>\
         <script src=http://other.example:{plain}/host.js></script>\
         <script src=http://127.0.0.1:{plain}/address.js></script>\
         <script src=http://missing.bit/missing.js></script><script src=/own.js></script></body>"
    );
    scene.hidden.publish("/", page.into_bytes());
    let says = |words: &str| format!("document.body.append(' {words} ')").into_bytes();
    scene.hidden.publish("/own.js", says("of the service"));
    for word in ["name", "host", "address"] {
        scene
            .plain
            .publish(&format!("/{word}.js"), says(&format!("by its {word}")));
    }
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("network log");
    let end = chromium(port, "http://site.bit/", home.path(), &log).await;
    end.assert_succeeded();
    for words in [
        "the page",
        "by its name",
        "by its host",
        "by its address",
        "of the service",
    ] {
        assert!(end.out.contains(words), "{words}: {end:?}");
    }
    let (addresses, kinds) = network_log(&log);
    assert_eq!(addresses, BTreeSet::from([format!("127.0.0.1:{port}")]), "{kinds:?}");
    assert_eq!(kinds.get("SOCKS5_CONNECT"), Some(&true), "{kinds:?}");
    // What it does where it resolves a name, or asks a name server itself.
    for kind in [
        "HOST_RESOLVER_MANAGER_JOB",
        "HOST_RESOLVER_SYSTEM_TASK",
        "HOST_RESOLVER_DNS_TASK",
        "UDP_BYTES_SENT",
    ] {
        assert_eq!(kinds.get(kind), Some(&false), "{kind}: {kinds:?}");
    }
    // It gives no credentials, and who does is another identity.
    assert_eq!(scene.connections_with("d/site"), 1);
    let shown = curl(Way::Socks5, port, "user", "http://site.bit/").await;
    shown.assert_succeeded();
    assert_eq!(scene.connections_with("d/site"), 2);
    let target = format!("{}:{HTTP}", scene.onion.host);
    let [browser, user] = [None, Some("user")].map(|user| circuits(&record.streams(), &target, user));
    assert!(!user.is_empty() && browser.is_disjoint(&user), "{browser:?}, {user:?}");
    scene.network.assert_no_leak();
}

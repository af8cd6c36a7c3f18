//! All that a daemon does for a Tor and its users at once, from one configuration file.

use super::scene::{Scene, in_control};
use crate::name;
use crate::raw::fetch;
use crate::users::dig;
use isonym_testkit::running::eventually;

/// Returns over how many connections the Electrum server was asked for a name: each ID that asks has one of its own.
fn questions(scene: &Scene) -> usize {
    scene.connections_with(&name(0, 0))
}

async fn assert_fetched(scene: &Scene, proxy: u16) {
    let page = fetch(proxy, Some(("user", "password")), "of-0-0.bit", scene.plain.port()).await;
    assert!(page.unwrap().ends_with(&scene.plain.text));
}

#[tokio::test]
async fn one_daemon_does_all_from_one_file() {
    let scene = Scene::new().await;
    let tor = scene.network.naming_client("together", true);
    let (control, socks) = (tor.control_port(), tor.ports().socks);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("isonym.toml");
    let text = format!(
        "tor-control = \"{control}\"\n\
         socks-listen = [\"127.0.0.1:0\"]\n\
         socks-tor = \"127.0.0.1:{socks}\"\n\
         dns-listen = [\"127.0.0.1:0\"]\n"
    );
    std::fs::write(&file, text).unwrap();
    let config = format!("--config={}", file.display());
    let mut daemon = scene.daemon(&tor, &["-v", &config]).await;
    in_control(&mut daemon.running).await;
    let mut port = async |what| {
        let address = daemon.running.says("listening on ", what).await;
        address.rsplit_once(':').unwrap().1.parse::<u16>().unwrap()
    };
    let (front, dns) = (port(" for SOCKS and HTTP CONNECT").await, port(" for DNS").await);

    // What is known under an ID costs no question more; who comes another way has another ID.
    assert_fetched(&scene, socks).await;
    let by_controller = questions(&scene);
    assert!(by_controller > 0);
    assert_fetched(&scene, socks).await;
    assert_eq!(questions(&scene), by_controller);
    assert_fetched(&scene, front).await;
    let by_front = questions(&scene);
    assert!(by_front > by_controller);
    assert_fetched(&scene, front).await;
    assert_eq!(questions(&scene), by_front);

    // A new identity is new for all of them.
    tor.control().unwrap().command("SIGNAL NEWNYM").unwrap();
    eventually("all IDs are forgotten", async || {
        assert_fetched(&scene, front).await;
        questions(&scene) > by_front
    })
    .await;

    let dug = dig(dns, &["plain.bit", "A"]).await;
    assert!(dug.contains("NOERROR") && dug.contains("\tA\t127.0.0.1"), "{dug}");
    daemon.running.stop().await;
    scene.network.assert_no_leak();
}

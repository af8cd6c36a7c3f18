//! All that a daemon does for a Tor and its users at once, from one configuration file.

use isonym::name::NameId;

use super::scene::{Scene, in_control};
use crate::name;
use crate::raw::fetch;
use crate::users::dig;
use isonym_testkit::running::eventually;

/// Returns how often the Electrum server was asked for a name.
fn questions(scene: &Scene) -> usize {
    let id = NameId::new(name(0, 0).as_bytes()).unwrap();
    let scripthash = id.scripthash().to_string();
    let connections = scene.ledger.connections();
    let requests = connections.iter().flat_map(|connection| &connection.requests);
    requests.filter(|request| request.line.contains(&scripthash)).count()
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
    eventually("all IDs are forgotten", async || daemon.ids().await == 0).await;
    assert_fetched(&scene, front).await;
    assert!(questions(&scene) > by_front);

    let dug = dig(dns, &["plain.bit", "A"]).await;
    assert!(dug.contains("NOERROR") && dug.contains("\tA\t127.0.0.1"), "{dug}");
    daemon.running.stop().await;
    scene.network.assert_no_leak();
}

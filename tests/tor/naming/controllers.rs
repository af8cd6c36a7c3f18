//! `isonym tor` by itself: each way to the control port, and other programs that resolve names.

use std::collections::BTreeSet;
use std::path::Path;

use super::scene::{HTTP, Scene, controller};
use crate::client::{PASSWORD, Tor};
use crate::raw::{CONNECT, Raw, UNREACHABLE, fetch};
use isonym_testkit::program::Program;
use isonym_testkit::running::end_of;

/// A plugin that writes down what it is told. What it says of names is in the table of its arguments.
const PLUGIN: &str = r#"
log=$1 onion=$2
echo "INIT 1 0"
while read -r word number name id; do
    echo "$word $name $id" >>"$log"
    [ "$word" = RESOLVE ] || continue
    case $name in
        good.test) echo "RESOLVED $number 0 127.0.0.1" ;;
        hidden.test) echo "RESOLVED $number 0 $onion" ;;
        host.test) echo "RESOLVED $number 0 www.example.com" ;;
        again.test) echo "RESOLVED $number 0 missing.bit" ;;
        round.test) echo "RESOLVED $number 0 round.test" ;;
        broken.test) echo "RESOLVED $number 0 evil..name" ;;
        nothing.test) echo "RESOLVED $number 0" ;;
        *) echo "RESOLVED $number 3 \"$name is not registered\"" ;;
    esac
done
"#;

/// Asserts that names work, those of no registrar do not, and what is no name is left alone.
async fn assert_names_work(scene: &Scene, tor: &Tor, user: &str) {
    let (socks, who, port) = (tor.ports().socks, Some((user, "password")), scene.plain.port());
    for (host, port, site) in [
        ("site.bit", HTTP, &scene.hidden),
        ("plain.bit", port, &scene.plain),
        ("other.example", port, &scene.plain),
    ] {
        let page = fetch(socks, who, host, port).await;
        assert!(
            page.as_ref().is_ok_and(|page| page.ends_with(&site.text)),
            "{user}, {host}: {page:?}"
        );
    }
    for host in ["missing.bit", "gone.bit", "plain.bit.onion"] {
        let raw = Raw::ask(socks, who, CONNECT, host, port).await.unwrap();
        assert_eq!(raw.reply, UNREACHABLE, "{user}, {host}");
    }
}

#[tokio::test]
async fn the_control_port_is_opened_by_each_means() {
    let scene = Scene::new().await;
    let way = scene.network.client("lookups");
    let daemon = scene.daemon(&way, &[]).await;
    let tor = scene.network.naming_client("means", true);
    let (port, cookie) = (tor.control_port(), tor.cookie().display().to_string());
    let socket = tor.control_socket().display().to_string();
    let with_cookie = format!("--control-cookie={cookie}");
    let password = format!("--control-password={PASSWORD}");
    for arguments in [
        vec![&*port],
        vec![&port, &with_cookie],
        vec![&socket],
        vec![&port, &password],
    ] {
        let mut all = vec!["--control"];
        all.extend(&arguments);
        let mut controller = controller(daemon.program(), &all).await;
        assert_names_work(&scene, &tor, arguments.last().unwrap()).await;
        controller.stop().await;
    }
    // Now there is but the password.
    tor.control()
        .unwrap()
        .command("SETCONF CookieAuthentication=0")
        .unwrap();
    let controller = controller(daemon.program(), &["--control", &port, &password]).await;
    assert_names_work(&scene, &tor, "password alone").await;
    drop(controller);
    let empty = Path::new(&cookie).with_file_name("empty");
    let no_cookie = format!("--control-cookie={}", empty.display());
    for wrong in [vec![], vec!["--control-password=wrong"], vec![&*no_cookie]] {
        let mut command = daemon.program().on_regtest();
        command.args(["tor", "--control", &port]).args(&wrong);
        let end = end_of(command).await;
        end.assert_failed(&[]);
        assert!(!end.err.contains(PASSWORD), "{end:?}");
    }
    scene.network.assert_no_leak();
}

#[tokio::test]
async fn another_program_resolves_names_of_its_own() {
    let scene = Scene::new().await;
    let way = scene.network.client("beside");
    let daemon = scene.daemon(&way, &[]).await;
    let tor = scene.network.naming_client("plugin", true);
    let home = daemon.program().home();
    let (script, log) = (home.join("plugin"), home.join("asked"));
    std::fs::write(&script, PLUGIN).unwrap();
    let words = [
        "sh".as_ref(),
        script.as_os_str(),
        log.as_os_str(),
        scene.onion.host.as_ref(),
    ];
    let words = words.map(|word| word.to_str().unwrap());
    let plugin = format!("--plugin=test={}", shlex::try_join(words).unwrap());
    let _controller = controller(daemon.program(), &["--control", &tor.control_port(), &plugin]).await;
    assert_names_work(&scene, &tor, "me").await;
    let (socks, port) = (tor.ports().socks, scene.plain.port());
    for (host, port, site) in [
        ("good.test", port, &scene.plain),
        ("GOOD.test.", port, &scene.plain),
        ("hidden.test", HTTP, &scene.hidden),
        ("host.test", port, &scene.plain),
    ] {
        let page = fetch(socks, Some(("me", "password")), host, port).await;
        assert!(
            page.as_ref().is_ok_and(|page| page.ends_with(&site.text)),
            "{host}: {page:?}"
        );
    }
    for host in [
        "missing.test",
        "again.test",
        "round.test",
        "broken.test",
        "nothing.test",
        "test",
    ] {
        let raw = Raw::ask(socks, Some(("me", "password")), CONNECT, host, port)
            .await
            .unwrap();
        assert_eq!(raw.reply, UNREACHABLE, "{host}");
    }
    fetch(socks, Some(("you", "password")), "good.test", port)
        .await
        .unwrap();

    let asked = std::fs::read_to_string(&log).unwrap();
    let ids = |name: &str| {
        let of_name = asked
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("RESOLVE {name} ")));
        of_name.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert_eq!((ids("good.test").len(), ids("hidden.test").len()), (2, 1), "{asked}");
    assert!(ids("good.test").is_superset(&ids("hidden.test")), "{asked}");
    // It heard of no names but its own, and not who asks.
    for line in asked.lines() {
        let mut words = line.split(' ').skip(1);
        assert!(words.next().unwrap().ends_with("test"), "{line}");
        let id = words.next().unwrap();
        assert!(id.len() >= 32 && !id.contains("me") && !id.contains("you"), "{line}");
    }
    for name in scene.network.asked_of_exits() {
        assert!(!name.ends_with("test"), "{name}");
    }
    scene.network.assert_no_leak();
}

#[tokio::test]
async fn the_own_plugin_resolves_names_for_the_own_controller() {
    let scene = Scene::new().await;
    let way = scene.network.client("behind");
    let daemon = scene.daemon(&way, &[]).await;
    let tor = scene.network.naming_client("own-plugin", true);
    let mut own = daemon.program().on_regtest();
    own.arg("prop279");
    let words = [own.get_program()].into_iter().chain(own.get_args());
    let words = words.map(|word| word.to_str().unwrap());
    let plugin = format!("--plugin=bit={}", shlex::try_join(words).unwrap());
    let _controller = controller(daemon.program(), &["--control", &tor.control_port(), &plugin]).await;
    for user in ["me", "you"] {
        assert_names_work(&scene, &tor, user).await;
    }
    // Who asks is known to the daemon behind both: one ID for each user.
    assert_eq!(scene.connections_with("d/plain"), 2);
    scene.network.assert_no_leak();
}

#[tokio::test]
async fn names_fail_while_there_is_nobody_to_ask_and_all_else_goes_on() {
    let scene = Scene::new().await;
    let tor = scene.network.naming_client("nobody", true);
    let home = Program::new();
    let arguments = [
        "--control",
        &tor.control_port(),
        "--name-patience=3",
        "--rpc-url=http://127.0.0.1:9",
    ];
    let mut controller = controller(&home, &arguments).await;
    let (socks, port) = (tor.ports().socks, scene.plain.port());
    for _ in 0..3 {
        let raw = Raw::ask(socks, None, CONNECT, "plain.bit", port).await.unwrap();
        assert_eq!(raw.reply, UNREACHABLE);
        let page = fetch(socks, None, "other.example", port).await.unwrap();
        assert!(page.ends_with(&scene.plain.text));
    }
    controller.stop().await;
    scene.network.assert_no_leak();
}

#[tokio::test]
async fn two_controllers_of_one_tor_do_not_keep_streams_from_their_ends() {
    let scene = Scene::new().await;
    let way = scene.network.client("for-two");
    let daemon = scene.daemon(&way, &[]).await;
    let tor = scene.network.naming_client("two", true);
    let record = tor.record();
    let one = controller(daemon.program(), &["--control", &tor.control_port()]).await;
    let home = Program::new();
    let cookie = format!("--rpc-cookie={}", daemon.program().folder().join(".cookie").display());
    let url = format!("--rpc-url={}", daemon.url());
    let other = controller(&home, &["--control", &tor.control_port(), &cookie, &url]).await;
    for number in 0..10 {
        assert_names_work(&scene, &tor, &format!("user-{number}")).await;
    }
    drop(one);
    assert_names_work(&scene, &tor, "the other alone").await;
    drop(other);
    // Who attaches what the other has attached already begins it anew: once may be, again and again may not.
    for stream in record.streams() {
        assert!(stream.waits <= 3, "{stream:?}");
    }
    scene.network.assert_no_leak();
}

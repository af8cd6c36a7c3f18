//! How an embedded Tor begins, what it tells meanwhile, and what keeps it from it.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::process::Command;

use isonym_sim::{Host, Ledger};
use isonym_testkit::loopback::own_address;
use isonym_testkit::program::{End, Program};
use isonym_testkit::running::Running;
use isonym_testkit::tor_network::names::world;

use crate::WayOut;

async fn end_of(mut command: Command) -> End {
    tokio::task::spawn_blocking(move || End::of(&mut command, [""; 0]))
        .await
        .unwrap()
}

fn command(program: &Program, arguments: &[&str]) -> Command {
    let mut command = program.on_regtest();
    command.args(["--server=127.0.0.1:1:t"]).args(arguments);
    command
}

#[tokio::test]
async fn settings_that_would_do_nothing_are_refused() {
    let program = Program::new();
    let misspelt = WayOut::with("[bridges]\nenabeld = true\n");
    let mut arguments = misspelt.arguments().to_vec();
    arguments.push("sync");
    let end = end_of(command(&program, &arguments)).await;
    end.assert_failed(&["tor.toml", "bridges.enabeld"]);
    let sound = WayOut::with("");
    let [_, config] = sound.arguments();
    for way_out in ["--proxy=socks5://127.0.0.1:1", "--direct"] {
        let end = end_of(command(&program, &[way_out, config, "sync"])).await;
        end.assert_failed(&["--tor-config", "--proxy embedded"]);
    }
}

#[tokio::test]
async fn a_folder_that_others_may_write_to_is_not_used() {
    let program = Program::new();
    let data = program.folder();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&data)
        .unwrap();
    let folder = data.join("tor");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let end = end_of(command(&program, &["--proxy=embedded", "sync"])).await;
    end.assert_failed(&["the embedded Tor cannot run", "tor"]);
}

#[tokio::test]
async fn how_far_it_is_can_be_seen_while_nothing_can_be_reached() {
    let unreachable = format!(
        "[tor_network]
fallback_caches = [
    {{ rsa_identity = \"{}\", ed_identity = \"{}\", orports = [\"{}:1\"] }},
]
[tor_network.authorities]
v3idents = [\"{}\"]
uploads = []
downloads = []
votes = []
",
        "A".repeat(40),
        "A".repeat(43),
        own_address(),
        "B".repeat(40),
    );
    let way_out = WayOut::with(&unreachable);
    let host = Host::honest("server", world(1), Ledger::new()).await.unwrap();
    let program = Program::new();
    let mut daemon = program.on_regtest();
    daemon.args(way_out.arguments());
    daemon.arg(format!("--server={}:t", host.addr));
    daemon.args(["daemon", "--rpc-listen=127.0.0.1:0"]);
    let mut daemon = Running::start(daemon, &program.home().join("log"));
    daemon.says("listening on ", "").await;
    let mut status = program.on_regtest();
    status.args(["status", "--json"]);
    let status = end_of(status).await.json();
    assert_eq!(status["tor"]["state"], "bootstrapping", "{status}");
    assert!(status["tor"]["percent"].as_u64().unwrap() < 100, "{status}");
    let mut show = program.on_regtest();
    show.args(["rpc", "name_show", "d/of-0-0"]);
    end_of(show).await.assert_failed(&["the embedded Tor"]);
    // Who ends it does not wait for what never comes.
    daemon.stop().await;
}

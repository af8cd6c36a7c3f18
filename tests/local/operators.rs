//! Addresses of one operator, as their servers tell: they count as one, and his onion service is preferred.

use std::collections::BTreeSet;
use std::time::Duration;

use isonym::service::DaemonSettings;
use isonym_testkit::virtual_world::{Side, VirtualDaemon, VirtualWorld, What, in_virtual_time, is_found, onion};
use tokio::time::sleep;

const HOUR: Duration = Duration::from_secs(3600);

/// Which servers answer each of so many lookups, each under an ID of its own.
async fn looked_up(world: &VirtualWorld, daemon: &VirtualDaemon, lookups: usize, label: &str) -> Vec<BTreeSet<usize>> {
    let mut all = Vec::new();
    for user in 0..lookups {
        let before = world.now();
        assert!(is_found(&daemon.look_up(user % 32, &format!("{label} {user}")).await));
        sleep(Duration::from_secs(20)).await;
        let servers = world.look(|record| {
            let used = record.seen.iter().filter(|seen| {
                let mut lookups = seen.messages.iter().filter(|it| it.what == What::Lookup);
                lookups.any(|it| it.from == Side::Client && it.at >= before)
            });
            used.map(|seen| seen.server).collect()
        });
        all.push(servers);
    }
    all
}

#[test]
fn servers_that_name_each_other_make_no_quorum_and_their_onion_is_preferred() {
    in_virtual_time(async {
        let world = VirtualWorld::new(1, 3);
        let onion = onion(1);
        for server in [0, 1] {
            world.set_hosts(server, &["s0.sim", &onion]);
        }
        // It names the onion too, which does not name it.
        world.set_hosts(2, &["s2.sim", &onion]);
        let mut settings = DaemonSettings::default();
        settings.lookup.quorum = 2;
        let servers = ["s0.sim:50001:t", &format!("{onion}:50001:t"), "s2.sim:50001:t"];
        let daemon = world.start_daemon_with(settings, &servers).await;
        daemon.synced().await;
        let one_operator = BTreeSet::from([0, 1]);
        let first = looked_up(&world, &daemon, 40, "first").await;
        assert!(first.contains(&one_operator), "nothing counts at once: {first:?}");
        sleep(HOUR * 72).await;
        let mut later = Vec::new();
        // At several times: now and then a server is in doubt, for a while, and the onion too.
        for time in 0..6 {
            later.extend(looked_up(&world, &daemon, 20, &format!("{time} later")).await);
            sleep(HOUR * 6).await;
        }
        assert!(!later.contains(&one_operator), "{later:?}");
        assert!(later.iter().all(|servers| servers.contains(&2)), "{later:?}");
        let count = |server| later.iter().filter(|servers| servers.contains(&server)).count();
        assert!(count(1) > 2 * count(0), "{} {}", count(0), count(1));
        daemon.stop().await;
    });
}

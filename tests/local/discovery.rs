//! Servers that were learned of: what two operators name is used, what one names is never dialed.

use std::collections::BTreeSet;
use std::time::Duration;

use isonym::node::{ListedServer, ServerClass, ServerResult, ServerStanding, ServerUse};
use isonym::service::DaemonSettings;
use isonym_testkit::virtual_world::{Seen, VirtualDaemon, VirtualWorld, What, in_virtual_time, is_found, onion};
use serde_json::{Value, json};
use tokio::time::sleep;

const HOUR: Duration = Duration::from_secs(3600);

/// Long enough that both servers were asked, and what they named was checked if it ever is.
const LONG: u32 = 16;

fn row(host: &str) -> Value {
    json!(["192.0.2.1", host, ["v1.4.2", "t50001"]])
}

fn learned(daemon: &VirtualDaemon) -> Vec<ListedServer> {
    let all = daemon.daemon.node.server_list().into_iter();
    all.filter(|it| it.class != ServerClass::Configured).collect()
}

/// Which servers were dialed beyond the two that are configured.
fn strangers(world: &VirtualWorld) -> usize {
    world.look(|record| record.seen.iter().filter(|seen| seen.server > 1).count())
}

/// The connections over which a server was asked for others.
fn that_asked_for_others(world: &VirtualWorld) -> Vec<Seen> {
    let seen = world.record().seen;
    seen.into_iter()
        .filter(|it| it.times(What::Peers).next().is_some())
        .collect()
}

#[test]
fn what_two_operators_name_is_checked_and_joins_header_sync_and_not_lookups() {
    in_virtual_time(async {
        let world = VirtualWorld::new(1, 2);
        for server in [0, 1] {
            world.set_peers(server, |_| json!([row(&onion(5))]));
        }
        let daemon = world.start_discovering(DaemonSettings::default()).await;
        daemon.synced().await;
        sleep(HOUR * LONG).await;
        let list = learned(&daemon);
        assert_eq!(list.len(), 1, "{list:?}");
        assert_eq!(list[0].class, ServerClass::Corroborated);
        assert_eq!(list[0].used_for, ServerUse::HeaderSync);
        let dialed = strangers(&world);
        // A circuit wears out after some hours, and the next one is opened before.
        assert!((1..=24).contains(&dialed), "checked, then by header sync: {dialed}");
        for user in 0..40 {
            assert!(is_found(&daemon.look_up(user % 32, &format!("user {user}")).await));
        }
        assert_eq!(strangers(&world), dialed, "no lookup asks it");
        daemon.stop().await;
    });
}

#[test]
fn what_one_operator_names_is_never_dialed_though_he_names_each_client_another_one() {
    in_virtual_time(async {
        let world = VirtualWorld::new(2, 2);
        world.set_peers(0, |connection| {
            json!([row(&onion(4)), row(&onion(5)), row(&onion(6 + connection % 20))])
        });
        let daemon = world.start_discovering(DaemonSettings::default()).await;
        daemon.synced().await;
        sleep(HOUR * LONG).await;
        let list = learned(&daemon);
        assert_eq!(list.len(), 3, "{list:?}");
        assert!(
            list.iter()
                .all(|it| it.class == ServerClass::Suggested && it.used_for == ServerUse::None)
        );
        assert_eq!(strangers(&world), 0);
        daemon.forget(None).await;
        assert_eq!(learned(&daemon), [], "New Identity clears what was suggested");
        daemon.stop().await;
    });
}

#[test]
fn hostile_lists_leave_nothing_and_cost_no_connection() {
    in_virtual_time(async {
        let world = VirtualWorld::new(3, 2);
        let hosts = [
            "127.0.0.1",
            "10.0.0.1",
            "::1",
            "nas.local",
            "relay.testls.bit",
            "\u{fffd}.org",
            "",
        ];
        let private: Vec<Value> = hosts
            .iter()
            .map(|host| row(host))
            .chain([row(&"a".repeat(300))])
            .collect();
        world.set_peers(0, move |_| json!(private));
        world.set_peers(1, |_| json!(vec![row(&onion(9)); 10_000]));
        let daemon = world.start_discovering(DaemonSettings::default()).await;
        daemon.synced().await;
        sleep(HOUR * LONG).await;
        assert_eq!(learned(&daemon), []);
        assert_eq!(strangers(&world), 0);
        assert!(is_found(&daemon.look_up(0, "a user").await));
        // Their connections may have been closed just now, but neither is left for what it names.
        let standing = daemon.daemon.node.standing();
        let is_left = |it: &ServerResult| it.state == ServerStanding::Faulty;
        assert!(!standing.servers.iter().any(is_left), "{:?}", standing.servers);
        daemon.stop().await;
    });
}

#[test]
fn servers_are_asked_for_others_over_header_sync_alone_and_not_where_discovery_is_off() {
    for (seed, discovers) in [(4, true), (5, false)] {
        in_virtual_time(async {
            let world = VirtualWorld::new(seed, 2);
            for server in [0, 1] {
                world.set_peers(server, |_| json!([row(&onion(5))]));
            }
            let settings = DaemonSettings::default();
            let daemon = if discovers {
                world.start_discovering(settings).await
            } else {
                world.start_daemon(settings).await
            };
            daemon.synced().await;
            for user in 0..LONG {
                // Some are answered over connections that were open before, some over new ones.
                assert!(is_found(&daemon.look_up(0, &format!("user {user}")).await));
                sleep(HOUR).await;
            }
            let asked = that_asked_for_others(&world);
            assert!(world.look(|record| record.seen.iter().filter(|it| it.first_use().is_some()).count() > 10));
            if discovers {
                let servers: BTreeSet<usize> = asked.iter().map(|it| it.server).collect();
                assert_eq!(servers, BTreeSet::from([0, 1]), "the one that is learned is not asked");
                assert!(asked.iter().all(|it| it.is_sync() && it.first_use().is_none()));
            } else {
                assert_eq!(asked.len(), 0);
                assert_eq!((learned(&daemon), strangers(&world)), (Vec::new(), 0));
            }
            daemon.stop().await;
        });
    }
}

//! Whole daemons in virtual time, over streams in memory.

use std::time::Duration;

use isonym::service::DaemonSettings;
use isonym_testkit::virtual_world::{Side, VirtualWorld, What, in_virtual_time, is_found};
use tokio::time::sleep;

#[test]
fn a_daemon_looks_names_up_and_follows_the_chain_for_hours() {
    in_virtual_time(async {
        let world = VirtualWorld::new(1, 2);
        let mut daemons = Vec::new();
        for _ in 0..3 {
            daemons.push(world.start_daemon(DaemonSettings::default()).await);
        }
        for daemon in &daemons {
            daemon.synced().await;
        }
        let height = daemons[0].daemon.node.standing().tip.height;
        for hour in 0..2 {
            sleep(Duration::from_secs(3600)).await;
            for daemon in &daemons {
                let found = daemon.look_up(hour, &format!("user of hour {hour}")).await;
                assert!(is_found(&found), "{found:?}");
            }
        }
        let now = daemons[0].daemon.node.standing().tip.height;
        assert!(now > height, "{height} blocks, after two hours {now}");
        let record = world.record();
        for daemon in 0..3 {
            let own = record
                .seen
                .iter()
                .zip(&record.truth)
                .filter(|(_, truth)| truth.owner == daemon);
            let own: Vec<_> = own.map(|(seen, _)| seen).collect();
            assert!(own.iter().any(|seen| seen.is_sync()));
            let used = own.iter().filter(|seen| seen.first_use().is_some());
            assert!(used.clone().count() >= 2);
            for seen in used {
                assert!(seen.times(What::Greeting).next() > Some(seen.opened));
                assert!(seen.messages.iter().any(|message| message.from == Side::Server));
            }
        }
    });
}

#[test]
fn a_way_that_is_shut_lets_nothing_through_until_it_opens() {
    in_virtual_time(async {
        let world = VirtualWorld::new(2, 2);
        let daemon = world.start_daemon(DaemonSettings::default()).await;
        daemon.synced().await;
        daemon.shut_way_out(true);
        let shut = world.now();
        sleep(Duration::from_secs(60)).await;
        assert!(!is_found(&daemon.look_up(0, "somebody").await));
        let record = world.record();
        assert!(
            record
                .seen
                .iter()
                .all(|seen| seen.opened <= shut && seen.closed.is_some())
        );
        daemon.shut_way_out(false);
        sleep(Duration::from_secs(600)).await;
        assert!(is_found(&daemon.look_up(0, "somebody").await));
    });
}

#[test]
fn what_was_remembered_before_a_sleep_is_asked_again_though_the_steady_clock_missed_it() {
    in_virtual_time(async {
        let world = VirtualWorld::new(3, 2);
        let daemon = world.start_daemon(DaemonSettings::default()).await;
        daemon.synced().await;
        let asked = async || {
            assert!(is_found(&daemon.look_up(0, "somebody").await));
            world.look(|record| {
                let lookups = record.seen.iter().map(|seen| seen.times(What::Lookup).count());
                lookups.sum::<usize>()
            })
        };
        let first = asked().await;
        assert_eq!(asked().await, first, "it is remembered");
        daemon.resume_after(Duration::from_secs(1800), false);
        assert!(asked().await > first, "it is half an hour old");
    });
}

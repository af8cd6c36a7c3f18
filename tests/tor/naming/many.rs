//! Many streams at once, and what the program costs those that are none of its business.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::scene::Scene;
use crate::NAMES;
use crate::daemon::Daemon;
use crate::network::alone;
use crate::raw::fetch;

/// Streams at once, half of them to names.
const STREAMS: usize = 1_000;

/// Who they are of.
const USERS: usize = 20;

/// Most memory that the daemon may take.
const MEMORY: u64 = 150 << 20;

/// Streams one after the other whose time is taken.
const TIMED: usize = 100;

#[tokio::test]
async fn a_thousand_streams_at_once_all_get_there_with_a_controller() {
    let _alone = alone().await;
    let scene = Scene::of_its_own().await;
    let tor = scene.network.naming_client("many", true);
    let mut daemon = scene.naming_daemon(&tor).await;
    let socks = tor.ports().socks;
    assert_all_get_there(&scene, &daemon, socks).await;
    let with = median(&scene, socks).await;
    daemon.running.kill();
    // Nobody is in control now, nor has to be.
    let without_controller = "SETCONF __LeaveStreamsUnattached=0";
    tor.control().unwrap().command(without_controller).unwrap();
    let without = median(&scene, socks).await;
    println!("a stream to no name, median: {with:.1?} with a controller, {without:.1?} without");
    assert!(with < without * 10 + Duration::from_secs(1), "that is not sane");
    scene.network.assert_no_leak();
}

#[tokio::test]
async fn a_thousand_streams_at_once_all_get_there_by_the_socks_front() {
    let _alone = alone().await;
    let scene = Scene::of_its_own().await;
    let tor = scene.network.client("many-by-front");
    let (daemon, front) = scene.front(&tor).await;
    assert_all_get_there(&scene, &daemon, front).await;
    let (with, without) = (median(&scene, front).await, median(&scene, tor.ports().socks).await);
    println!("a stream to no name, median: {with:.1?} by the front, {without:.1?} without");
    assert!(with < without * 10 + Duration::from_secs(1), "that is not sane");
    scene.network.assert_no_leak();
}

/// Asserts that a thousand streams begun at once all get there, and at what cost.
async fn assert_all_get_there(scene: &Scene, daemon: &Daemon, socks: u16) {
    rlimit::increase_nofile_limit(8_192).unwrap();
    let (port, idle) = (scene.plain.port(), daemon.running.resident());
    let mut fetches = JoinSet::new();
    let begin = Instant::now();
    for number in 0..STREAMS {
        let (user, text) = (format!("user-{}", number / 2 % USERS), scene.plain.text.clone());
        fetches.spawn(async move {
            let host = match number % 2 {
                0 => format!("of-{}-{}.bit", number / 2 % USERS, number / 2 / USERS % NAMES),
                _ => "other.example".to_owned(),
            };
            let page = fetch(socks, Some((&user, "password")), &host, port).await;
            match page {
                Ok(page) if page.ends_with(&text) => Ok(()),
                other => Err((host, other)),
            }
        });
    }
    let lost: Vec<_> = fetches.join_all().await.into_iter().filter_map(Result::err).collect();
    println!("{STREAMS} streams at once: all there after {:.1?}", begin.elapsed());
    assert!(lost.is_empty(), "{} lost: {lost:?}", lost.len());
    let busy = daemon.running.resident();
    println!(
        "memory of the daemon: {} KiB idle, {} KiB after them",
        idle >> 10,
        busy >> 10
    );
    assert!(busy < MEMORY, "{busy}");
}

/// Returns how long a page takes in the middle that is no name's, over circuits that are there.
async fn median(scene: &Scene, socks: u16) -> Duration {
    let mut times = Vec::new();
    for number in 0..TIMED {
        let user = format!("user-{}", number % USERS);
        let begin = Instant::now();
        let page = fetch(socks, Some((&user, "password")), "other.example", scene.plain.port()).await;
        times.push(begin.elapsed());
        assert!(page.unwrap().ends_with(&scene.plain.text));
    }
    times.sort();
    times[TIMED / 2]
}

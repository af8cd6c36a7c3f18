//! Connections over TLS to a real server that hands out tickets: nothing by which two of them are known to be one
//! client's.

use std::collections::BTreeSet;
use std::time::Duration;

use isonym_sim::tape::{Side, Stream};

use super::hello::{EARLY_DATA, Hello, PRE_SHARED_KEY, SESSION_TICKET};
use isonym_testkit::electrumx::client::Expected;
use isonym_testkit::electrumx::scene::{Scene, ask, full, join_all, settings, until};
use isonym_testkit::electrumx::server::{ElectrumX, Transport};

const IDS: usize = 20;
const CLEAN: usize = 6;

/// Names that each ID asks for, one without a value: which takes two connections.
const NAMES: [&str; 4] = ["d/addr-p2pkh", "d/signed-p2wsh", "d/asked-by-all", "d/many-updates"];

/// How many circuits are asked where a name has no value.
const ATTEMPTS: usize = 2;

/// Looks names up under many IDs, lets all IDs expire, looks one up again for each, and compares the handshakes.
pub(crate) async fn streams_have_nothing_in_common(server: &ElectrumX) {
    let scene = Scene::new(server, Transport::Tls).await;
    let mut settings = settings(CLEAN, Duration::from_millis(30));
    settings.pool.id_ttl = Duration::from_secs(1);
    scene
        .run(&settings, async |daemon| {
            full(&daemon, CLEAN).await;
            let look_up = |names: &'static [&'static str]| {
                let asks = (0..IDS * names.len()).map(|at| {
                    let (name, id) = (names[at % names.len()], format!("id-{}", at / names.len()));
                    let daemon = daemon.clone();
                    async move {
                        let answer = ask(&daemon, name.as_bytes(), &id).await;
                        let absent = answer == Expected::Absent("never existed");
                        assert_eq!(absent, name == "d/asked-by-all", "{name}: {answer:?}");
                    }
                });
                join_all(asks.collect::<Vec<_>>())
            };
            look_up(&NAMES).await;
            let ended = |streams: &[Stream]| streams.iter().filter(|stream| stream.ended.is_some()).count();
            // Header sync's, which it needs no more.
            let ended_before = scene.tape.read(ended);
            let opened = scene.tape.read(<[Stream]>::len);
            until(|| {
                let pool = daemon.node.standing().pool;
                pool.ids == 0 && pool.dirty == 0
            })
            .await;
            look_up(&NAMES[..1]).await;
            assert_eq!(
                scene.tape.read(ended),
                ended_before,
                "IDs expired, and connections with them"
            );
            let since = scene.tape.read(<[Stream]>::len) - opened;
            assert!(since >= IDS - CLEAN, "{since} connections for {IDS} IDs that had none");
        })
        .await;
    scene.tape.read(assert_hellos_are_alike);
}

fn assert_hellos_are_alike(streams: &[Stream]) {
    assert!(streams.len() > IDS * ATTEMPTS);
    let mut shapes = BTreeSet::new();
    let mut fresh = BTreeSet::new();
    let mut servers = 0;
    for stream in streams {
        // One that was being opened when the daemon ended has none.
        let Some(mut hello) = Hello::of_client(&stream.sent_by(Side::Client)) else {
            assert!(stream.pieces.is_empty(), "no hello in front");
            continue;
        };
        for linking in [PRE_SHARED_KEY, EARLY_DATA] {
            assert!(!hello.extensions.contains_key(&linking), "{linking}");
        }
        let ticket = hello.extensions.get(&SESSION_TICKET);
        assert!(ticket.is_none_or(Vec::is_empty), "shows a ticket");
        for bytes in hello.take_fresh().unwrap() {
            assert!(bytes.len() >= 32 && fresh.insert(bytes), "used before");
        }
        shapes.insert(format!("{hello:?}"));
        if let Some(answer) = Hello::of_server(&stream.sent_by(Side::Server)) {
            servers += 1;
            assert!(
                !answer.extensions.contains_key(&PRE_SHARED_KEY),
                "a session was resumed"
            );
        }
    }
    assert!(servers > IDS * ATTEMPTS);
    assert_eq!(shapes.len(), 1, "{shapes:#?}");
}

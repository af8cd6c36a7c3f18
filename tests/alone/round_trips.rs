//! How many round trips a lookup takes from when the caller asks to when it has the answer, counted behind a proxy that
//! is as slow as a circuit. `cargo test --test alone round_trips -- --nocapture` prints the table.

use std::ops::RangeInclusive;
use std::thread;
use std::time::Duration;

use isonym::service::Daemon;
use isonym_sim::tape::Stream;
use tokio::time::Instant;

use isonym_testkit::electrumx::blocks;
use isonym_testkit::electrumx::client::Expected;
use isonym_testkit::electrumx::core_rpc::CoreRpc;
use isonym_testkit::electrumx::recorded::recorded;
use isonym_testkit::electrumx::scene::is_answered;
use isonym_testkit::electrumx::scene::{Scene, ask, full, settings, until};
use isonym_testkit::electrumx::server::{ElectrumX, Release, Transport};
use isonym_testkit::electrumx::trips::trips;

/// How long each way through the proxy takes.
const ONE_WAY: Duration = Duration::from_millis(150);

/// How often each is measured; the median counts, since what else the machine does may hold a server up.
const TURNS: usize = 5;

/// Connections that the turns use up: each ID has one, and one more once it asks for a name without a value.
const CLEAN: usize = 2 * TURNS;

/// What is measured.
const CASES: [&str; 5] = [
    "first name of an ID",
    "next name of the ID",
    "the same name again",
    "a name that is absent",
    "first name, own connection",
];

/// The trips and the time that one lookup took.
type Took = (usize, Duration);

/// A daemon to measure.
struct Bench<'a> {
    scene: &'a Scene,
    daemon: &'a Daemon,
    /// Whether lookups find a connection ready. What the pool opens meanwhile is not theirs.
    is_warm: bool,
}

impl Bench<'_> {
    async fn measure(&self, name: &[u8], id: &str, is_absent: bool) -> Took {
        let tape = &self.scene.tape;
        let (from, start) = (tape.mark(), Instant::now());
        let answer = ask(self.daemon, name, id).await;
        let (by, took) = (tape.mark(), start.elapsed());
        assert_eq!(answer == Expected::Absent("never existed"), is_absent, "{answer:?}");
        let is_theirs = |stream: &&Stream| (stream.asked < from) == self.is_warm;
        let theirs: Vec<Stream> = tape.read(|streams| streams.iter().filter(is_theirs).cloned().collect());
        (trips(&theirs, from, by), took)
    }
}

/// Measures all cases in turns. No name is asked for twice, as servers answer faster the second time.
async fn measure_all(server: &ElectrumX, transport: Transport) -> [Vec<Took>; CASES.len()] {
    let scene = Scene::new(server, transport).await;
    let all = recorded().into_iter();
    let found = all.filter(|name| matches!(name.show, Expected::Found(_)));
    let mut found = found.map(|name| bitcoin::hex::FromHex::from_hex(&name.hex).unwrap());
    let mut table = [const { Vec::new() }; CASES.len()];
    let mean = Duration::from_millis(10);
    scene
        .run(&settings(CLEAN, mean), async |daemon| {
            full(&daemon, CLEAN).await;
            if transport == Transport::Tcp {
                until(|| scene.tape.read(|streams| streams.iter().all(is_answered))).await;
            }
            scene.proxy.set_delay(ONE_WAY);
            let bench = Bench {
                scene: &scene,
                daemon: &daemon,
                is_warm: true,
            };
            for turn in 0..TURNS {
                let [first, next]: [Vec<u8>; 2] = [found.next().unwrap(), found.next().unwrap()];
                let absent = format!("d/absent-{turn}").into_bytes();
                // The denial, a small reply, comes soon after others on its connection: then it is that some are held.
                let cases = [(&first, false), (&next, false), (&first, false), (&absent, true)];
                for (took, (name, is_absent)) in table.iter_mut().zip(cases) {
                    took.push(bench.measure(name, &format!("id-{turn}"), is_absent).await);
                }
            }
        })
        .await;
    scene.proxy.set_delay(Duration::ZERO);
    scene
        .run(&settings(0, mean), async |daemon| {
            scene.proxy.set_delay(ONE_WAY);
            let bench = Bench {
                scene: &scene,
                daemon: &daemon,
                is_warm: false,
            };
            for turn in 0..TURNS {
                let name = found.next().unwrap();
                table[4].push(bench.measure(&name, &format!("id-{turn}"), false).await);
            }
        })
        .await;
    table
}

/// How many trips each case takes.
fn due(release: Release, transport: Transport) -> [RangeInclusive<usize>; CASES.len()] {
    // A proof comes in one; without proofs it is the history first, then the transactions.
    let lookup = if release == Release::V1_16 { 2 } else { 1 };
    // To the server; the greeting and the question are one flight.
    let opening = 1 + usize::from(transport == Transport::Tls);
    // A denial is a small reply: where such are held back and the companion's reply overtakes it, it comes with that of
    // the next companion, one trip later. The second server is asked when the first one denied.
    let denials = match release {
        Release::V1_16 | Release::V1_17 => 2..=2,
        Release::V1_18 | Release::V2_0 => 2..=4,
    };
    // Since 1.18.0 a server may put a reply off to even out its packets (electrumx/server/transport.py), which depends on
    // the sizes of what went before it: then the greeting's replies hold the proof up.
    let put_off = usize::from(matches!(release, Release::V1_18 | Release::V2_0));
    [
        lookup..=lookup,
        lookup..=lookup,
        0..=0,
        denials,
        opening + lookup..=opening + lookup + put_off,
    ]
}

fn median<T: Copy + Ord>(all: impl Iterator<Item = T>) -> T {
    let mut all: Vec<T> = all.collect();
    all.sort_unstable();
    all[all.len() / 2]
}

#[test]
fn lookups_take_as_many_round_trips_as_they_must() {
    let _turn = crate::blocking_turn();
    let blocks = blocks::recorded();
    let core = CoreRpc::start(&blocks);
    let servers = thread::scope(|scope| {
        let start = |release| ElectrumX::start(release, &core, blocks.len() - 1);
        let started = Release::ALL.map(|release| scope.spawn(move || start(release)));
        started.map(|server| server.join().unwrap())
    });
    let [of_1_16, of_1_17, of_1_18, of_2_0] = &servers;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    // At once, so that what else the machine does falls on all alike.
    let tables = runtime.unwrap().block_on(async {
        tokio::join!(
            measure_all(of_1_16, Transport::Tcp),
            measure_all(of_1_17, Transport::Tcp),
            measure_all(of_1_17, Transport::Tls),
            measure_all(of_1_18, Transport::Tcp),
            measure_all(of_2_0, Transport::Tcp),
        )
    });
    let columns = [
        ("1.16.0", Release::V1_16, Transport::Tcp, tables.0),
        ("1.17.0", Release::V1_17, Transport::Tcp, tables.1),
        ("1.17.0, TLS", Release::V1_17, Transport::Tls, tables.2),
        ("1.18.0", Release::V1_18, Transport::Tcp, tables.3),
        ("2.0.0", Release::V2_0, Transport::Tcp, tables.4),
    ];
    let medians = columns.each_ref().map(|(_, _, _, table)| {
        table.each_ref().map(|turns| {
            let trips = median(turns.iter().map(|(trips, _)| *trips));
            (trips, median(turns.iter().map(|(_, time)| *time)))
        })
    });
    eprintln!(
        "| | {} |\n| ---{} |",
        columns.each_ref().map(|column| column.0).join(" | "),
        " | ---".repeat(5)
    );
    for (at, case) in CASES.iter().enumerate() {
        let cells = medians.map(|column| format!("{} ({} ms)", column[at].0, column[at].1.as_millis()));
        eprintln!("| {case} | {} |", cells.join(" | "));
    }
    for ((name, release, transport, table), medians) in columns.iter().zip(medians) {
        let due = due(*release, *transport);
        for (at, case) in CASES.iter().enumerate() {
            assert!(due[at].contains(&medians[at].0), "{name}: {case}: {:?}", table[at]);
        }
    }
    // A reply that is held back for its full second costs as much as three trips.
    let (_, plain) = medians[1][0];
    for ((name, ..), column) in columns.iter().zip(medians) {
        for (case, (trips, took)) in CASES.iter().zip(column) {
            let for_each = took / u32::try_from(trips.max(1)).unwrap();
            assert!(for_each * 10 < plain * 17, "{name}: {case}: {for_each:?} for each trip");
        }
    }
}

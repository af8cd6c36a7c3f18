//! Two thousand lookups under a hundred IDs over real servers: what a proxy and a server that keep everything can put
//! together afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use isonym::isolation::IsolationId;
use isonym::name::NameId;
use isonym::service::Daemon;
use isonym_sim::ledger::Target;
use isonym_sim::tape::{Side, Stream};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::over_tls;
use super::requests::{Asked, Flight, Requests, asks_both_ways, had_reply, went_out};
use isonym_testkit::electrumx::blocks;
use isonym_testkit::electrumx::client::Expected;
use isonym_testkit::electrumx::core_rpc::CoreRpc;
use isonym_testkit::electrumx::recorded::{Recorded, recorded};
use isonym_testkit::electrumx::scene::{Scene, ask, full, join_all, settings, until};
use isonym_testkit::electrumx::server::{ElectrumX, Release, Transport};

const IDS: usize = 100;
const LOOKUPS: usize = 20;

/// How many circuits are asked where a name has no value.
const ATTEMPTS: usize = 2;

/// Clean connections of the pool, and the mean of its clock: quick, so that many lookups find one.
const CLEAN: usize = 12;
const OPENING_MEAN: Duration = Duration::from_millis(30);

/// What lookups may ask once the handshake is done, beside signs of life.
const OF_NAMES: [&str; 4] = [
    "blockchain.name.get_value_proof",
    "blockchain.scripthash.get_history",
    "blockchain.transaction.get",
    "blockchain.transaction.get_merkle",
];

/// A name, and what must be said of it.
type Lookup = (Vec<u8>, Expected);

fn id(who: usize) -> String {
    format!("id-{who}")
}

/// The name that nobody but this ID asks for: whoever carries it belongs to this ID.
fn mark_of(who: usize) -> Vec<u8> {
    format!("d/asked-by-{who}-alone").into_bytes()
}

/// What an ID looks up, in this order: names with and without a value, its own one among them. The first is one of
/// four, so that many begin alike.
fn lookups_of(who: usize, names: &[Recorded]) -> Vec<Lookup> {
    let known = names.iter().map(|name| {
        let bytes: Vec<u8> = bitcoin::hex::FromHex::from_hex(&name.hex).unwrap();
        (bytes, name.show.clone())
    });
    let (mut found, mut others): (Vec<Lookup>, _) = known.partition(|(_, show)| matches!(show, Expected::Found(_)));
    let first = found.remove(who / 2 % 4);
    let mut rng = StdRng::seed_from_u64(u64::try_from(who).unwrap());
    found.shuffle(&mut rng);
    others.shuffle(&mut rng);
    let never = |name: &[u8]| (name.to_vec(), Expected::Absent("never existed"));
    let mut rest = vec![never(&mark_of(who)), never(b"d/asked-by-all")];
    rest.extend(others.into_iter().take(2));
    rest.extend(found.into_iter().take(LOOKUPS - 1 - rest.len()));
    rest.shuffle(&mut rng);
    rest.insert(0, first);
    rest
}

/// Looks the names of one ID up: all at once for odd ones, one after the other for even ones.
async fn look_up(daemon: Daemon, who: usize, lookups: Vec<Lookup>) {
    let asks = lookups.into_iter().map(|(name, expected)| {
        let daemon = daemon.clone();
        async move {
            let answer = ask(&daemon, &name, &id(who)).await;
            assert_eq!(answer, expected, "{}", String::from_utf8_lossy(&name));
        }
    });
    if who.is_multiple_of(2) {
        for ask in asks {
            ask.await;
        }
    } else {
        join_all(asks).await;
    }
}

/// Looks all names of all IDs up, side by side.
async fn look_all_up(daemon: &Daemon, lookups: &[Vec<Lookup>]) {
    let each = lookups.iter().enumerate();
    join_all(each.map(|(who, lookups)| look_up(daemon.clone(), who, lookups.clone()))).await;
}

/// The streams that are no header sync's, each with what was asked on it, by their place on the tape.
fn lookup_streams(scene: &Scene) -> BTreeMap<usize, (Stream, Requests)> {
    let streams = scene.tape.read(<[Stream]>::to_vec);
    let read = streams.into_iter().map(|stream| {
        let requests = Requests::of(&stream);
        (stream, requests)
    });
    read.enumerate()
        .filter(|(_, (_, requests))| !requests.is_sync())
        .collect()
}

fn scripthash(name: &[u8]) -> String {
    NameId::new(name).unwrap().scripthash().to_string()
}

/// Returns which ID each stream with lookups on it belongs to.
fn owners(streams: &BTreeMap<usize, (Stream, Requests)>) -> BTreeMap<usize, usize> {
    let marks: BTreeMap<String, usize> = (0..IDS).map(|who| (scripthash(&mark_of(who)), who)).collect();
    let mut owners = BTreeMap::new();
    for (at, (_, requests)) in streams {
        let subjects = requests.flights.iter().flatten().filter_map(Asked::subject);
        let whose: BTreeSet<usize> = subjects.filter_map(|subject| marks.get(subject).copied()).collect();
        assert!(whose.len() <= 1, "a connection carried the IDs {whose:?}");
        assert!(
            whose.len() == 1 || requests.flights.is_empty(),
            "a connection was not used for all lookups of an ID"
        );
        owners.extend(whose.first().map(|who| (*at, *who)));
    }
    owners
}

fn two_thousand_lookups_under_a_hundred_ids(release: Release) {
    let blocks = blocks::recorded();
    let core = CoreRpc::start(&blocks);
    let server = ElectrumX::start(release, &core, blocks.len() - 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let before = server.peers().len();
        let scene = Scene::new(&server, Transport::Tcp).await;
        let names = recorded();
        let lookups: Vec<Vec<Lookup>> = (0..IDS).map(|who| lookups_of(who, &names)).collect();
        scene
            .run(&settings(CLEAN, OPENING_MEAN), async |daemon| {
                full(&daemon, CLEAN).await;
                assert_greeted_and_no_more(&lookup_streams(&scene));
                look_all_up(&daemon, &lookups).await;
                let streams = lookup_streams(&scene);
                assert_each_id_asked_for_itself(&streams, &lookups);
                look_all_up(&daemon, &lookups).await;
                assert_eq!(flights(&lookup_streams(&scene)), flights(&streams), "each ID remembers");
                assert_forgetting_closes_nothing_and_begins_anew(&scene, &daemon, &lookups).await;
            })
            .await;
        assert_all_speak_alike(&lookup_streams(&scene));
        scene.tape.read(assert_nothing_links_streams);
        assert_none_came_past_the_proxy(&scene, &server, before).await;
        over_tls::streams_have_nothing_in_common(&server).await;
    });
}

fn flights(streams: &BTreeMap<usize, (Stream, Requests)>) -> usize {
    streams.values().map(|(_, requests)| requests.flights.len()).sum()
}

/// What is opened ahead of lookups says nothing but the greeting, and waits.
fn assert_greeted_and_no_more(streams: &BTreeMap<usize, (Stream, Requests)>) {
    // One that did not greet so far may be header sync's.
    let ready = streams.values().filter(|(_, requests)| requests.greeting.is_some());
    let ready: Vec<_> = ready.collect();
    assert_eq!(ready.len(), CLEAN);
    assert!(ready.iter().all(|(_, requests)| requests.flights.is_empty()));
}

/// Every ID has asked for each of its names itself, over connections that are its own, and asked for nothing else.
fn assert_each_id_asked_for_itself(streams: &BTreeMap<usize, (Stream, Requests)>, lookups: &[Vec<Lookup>]) {
    let owners = owners(streams);
    let mut asked: BTreeMap<(usize, &str), usize> = BTreeMap::new();
    for (at, who) in &owners {
        let first = streams[at].1.flights.iter().map(|flight| &flight[0]);
        for first in first.filter(|first| !first.method.starts_with("blockchain.transaction")) {
            *asked.entry((*who, first.subject().unwrap())).or_default() += 1;
        }
    }
    assert_eq!(asked.len(), IDS * LOOKUPS);
    for (who, lookups) in lookups.iter().enumerate() {
        let of_it = owners.values().filter(|owner| **owner == who).count();
        assert_eq!(of_it, ATTEMPTS, "an ID keeps its connections");
        for (name, expected) in lookups {
            let due = if matches!(expected, Expected::Found(_)) {
                1
            } else {
                ATTEMPTS
            };
            let scripthash = scripthash(name);
            let times = asked.get(&(who, scripthash.as_str()));
            assert_eq!(times, Some(&due), "{}", String::from_utf8_lossy(name));
        }
    }
}

async fn assert_forgetting_closes_nothing_and_begins_anew(scene: &Scene, daemon: &Daemon, lookups: &[Vec<Lookup>]) {
    let owned = owners(&lookup_streams(scene));
    let forgotten: BTreeSet<usize> = (0..IDS).step_by(3).collect();
    for who in &forgotten {
        daemon
            .names
            .forget(IsolationId::new(id(*who).as_bytes()).as_ref())
            .await;
    }
    let nobodys = forgotten.len() * ATTEMPTS;
    until(|| daemon.node.standing().pool.ids == IDS - forgotten.len()).await;
    look_up(daemon.clone(), 0, lookups[0].clone()).await;
    let again = owners(&lookup_streams(scene));
    let its = again.iter().filter(|(_, who)| **who == 0).map(|(at, _)| at);
    let (old, new): (Vec<usize>, Vec<usize>) = its.copied().partition(|at| owned.contains_key(at));
    assert_eq!(
        (old.len(), new.len()),
        (ATTEMPTS, ATTEMPTS),
        "something is left of what was forgotten"
    );
    // They end by idleness, as those of the others do, which takes minutes.
    let ended = |at: &&usize| scene.tape.read(|streams| streams[**at].ended.is_some());
    assert_eq!(
        owned.keys().filter(ended).count(),
        0,
        "somebody's connections were closed"
    );
    assert_eq!(daemon.node.standing().pool.parting, nobodys);
}

/// Each greeting has the same bytes; each name is asked for in the same words, whoever asks and whatever came before, but
/// for one difference: the first question of an own connection, and what else goes out before the greeting is answered.
fn assert_all_speak_alike(streams: &BTreeMap<usize, (Stream, Requests)>) {
    let mut greetings: BTreeSet<&Flight> = BTreeSet::new();
    let mut words: BTreeMap<(&str, bool), BTreeSet<&Flight>> = BTreeMap::new();
    let mut first_bytes: BTreeMap<(&str, bool), Vec<&[u8]>> = BTreeMap::new();
    let mut beginnings = BTreeSet::new();
    for (stream, requests) in streams.values() {
        greetings.extend(&requests.greeting);
        let mut is_known = false;
        for flight in &requests.flights {
            let of_names = |asked: &Asked| OF_NAMES.contains(&asked.method.as_str());
            assert!(flight.iter().all(of_names), "{flight:?}");
            let (subject, both_ways) = (flight[0].subject().unwrap(), asks_both_ways(flight));
            words.entry((subject, both_ways)).or_default().insert(flight);
            assert!(
                !is_known || !both_ways,
                "asked in both ways of a server that is known: {flight:?}"
            );
            if !is_known && !both_ways {
                is_known = true;
                let greeted = had_reply(stream, "server.features", went_out(stream, flight));
                assert!(
                    greeted,
                    "asked in one way of a server that is not known yet: {flight:?}"
                );
            }
        }
        if let Some(first) = requests.flights.first() {
            beginnings.insert(asks_both_ways(first));
        }
        if let Some(bytes) = requests.first_bytes() {
            let first = &requests.flights[0];
            let kind = (first[0].subject().unwrap(), asks_both_ways(first));
            first_bytes.entry(kind).or_default().push(bytes);
        }
    }
    assert_eq!(greetings.len(), 1, "{greetings:?}");
    assert_eq!(beginnings.len(), 2, "connections of only one kind were used");
    for ((subject, _), flights) in &words {
        assert_eq!(flights.len(), 1, "{subject} was asked for in several ways: {flights:?}");
    }
    for all in first_bytes.values() {
        assert!(all.iter().all(|bytes| *bytes == all[0]), "the first bytes differ");
    }
    assert!(first_bytes.values().any(|all| all.len() > 4), "nothing to compare");
}

/// No two streams have credentials in common, all go to host names, none does the work of another kind.
fn assert_nothing_links_streams(streams: &[Stream]) {
    let mut seen = BTreeSet::new();
    let mut places = vec![BTreeSet::new(); 64];
    let mut syncs = 0;
    for stream in streams {
        let credentials = stream.way.credentials.as_ref().expect("no credentials");
        for word in [&credentials.user, &credentials.password] {
            assert_eq!(word.len(), 32, "not 128 bits in hex");
            assert!(seen.insert(word), "used before");
        }
        let digits = credentials.user.chars().chain(credentials.password.chars());
        for (place, digit) in places.iter_mut().zip(digits) {
            assert!(digit.is_ascii_hexdigit());
            place.insert(digit);
        }
        let Target::Name(_) = &stream.way.target else {
            panic!("{:?} was resolved", stream.way.target)
        };
        let requests = Requests::of(stream);
        if requests.is_sync() {
            syncs += 1;
            assert!(
                !OF_NAMES.iter().any(|method| requests.asks(method)),
                "a lookup rode header sync's"
            );
        }
    }
    assert!((1..10).contains(&syncs), "{syncs}");
    // That chance leaves two digits out of any place in 200 streams has a probability of less than 10^-7.
    assert!(streams.len() > 200);
    let all_digits = |place: &BTreeSet<char>| place.len() >= 15;
    assert!(
        places.iter().all(all_digits),
        "part of the credentials is not left to chance"
    );
}

/// By the server's own log.
async fn assert_none_came_past_the_proxy(scene: &Scene, server: &ElectrumX, before: usize) {
    let onward = |streams: &[Stream]| streams.iter().filter_map(|stream| stream.way.onward).collect();
    let led: BTreeSet<u16> = scene.tape.read(onward);
    let came = || server.peers().into_iter().skip(before).collect::<BTreeSet<u16>>();
    until(|| came().is_superset(&led)).await;
    assert_eq!(came(), led);
}

#[test]
fn two_thousand_lookups_by_1_16_0() {
    two_thousand_lookups_under_a_hundred_ids(Release::V1_16);
}

#[test]
fn two_thousand_lookups_by_1_17_0() {
    two_thousand_lookups_under_a_hundred_ids(Release::V1_17);
}

#[test]
fn two_thousand_lookups_by_1_18_0() {
    two_thousand_lookups_under_a_hundred_ids(Release::V1_18);
}

#[test]
fn two_thousand_lookups_by_2_0_0() {
    two_thousand_lookups_under_a_hundred_ids(Release::V2_0);
}

/// Were a connection opened when another one is used, whoever sees both would know that the two belong together.
#[test]
fn connections_are_opened_at_moments_of_the_pools_own() {
    const USES: usize = 30;
    const MEAN: Duration = Duration::from_millis(100);
    const CLEAN: usize = 3;
    let blocks = blocks::recorded();
    let core = CoreRpc::start(&blocks);
    let server = ElectrumX::start(Release::V1_17, &core, blocks.len() - 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let scene = Scene::new(&server, Transport::Tcp).await;
        let mut pauses = Vec::new();
        scene
            .run(&settings(CLEAN, MEAN), async |daemon| {
                for at in 0..USES {
                    full(&daemon, CLEAN).await;
                    let (opened, from) = (scene.tape.read(<[Stream]>::len), scene.tape.mark());
                    ask(&daemon, b"d/addr-p2pkh", &id(at)).await;
                    until(|| scene.tape.read(<[Stream]>::len) > opened).await;
                    pauses.push(scene.tape.read(|streams| {
                        let pieces = streams.iter().flat_map(|stream| &stream.pieces);
                        let asked = pieces.filter(|piece| piece.from == Side::Client && piece.taken > from);
                        let asked = asked.min_by_key(|piece| piece.taken).unwrap();
                        streams[opened].way.at.since(asked.at)
                    }));
                }
            })
            .await;
        let count = |holds: fn(&Duration) -> bool| pauses.iter().filter(|pause| holds(pause)).count();
        // Pauses whose mean is MEAN and whose lengths are left to chance: each of these has a probability of 10^-6.
        assert!(count(|pause| *pause < MEAN / 10) < USES / 2, "at once: {pauses:?}");
        assert!(count(|pause| *pause < MEAN / 2) > 0, "never soon: {pauses:?}");
        assert!(count(|pause| *pause > MEAN) > 0, "never late: {pauses:?}");
    });
}

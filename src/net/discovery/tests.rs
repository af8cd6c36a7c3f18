use proptest::prelude::*;

use super::*;
use crate::time::Timestamp;

const DAY: u64 = 24 * 3600;
const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

fn at(seconds: u64) -> Now {
    Now {
        wall: Timestamp(20_000 * DAY + seconds),
        steady: Moment(seconds * 1000),
    }
}

fn address(word: &str) -> ServerAddr {
    word.parse().unwrap()
}

fn peer(host: &str) -> Peer {
    Peer {
        host: host.to_owned(),
        tls: Some(50002),
        tcp: Some(50001),
    }
}

const A: ServerIndex = ServerIndex(0);
const B: ServerIndex = ServerIndex(1);
const SIBLING_OF_B: ServerIndex = ServerIndex(2);

fn discovery() -> Discovery {
    let trusted = ["one.example:1", "a.two.example.org:1", "b.example.org:1"].map(address);
    let mut machine = Discovery::new(Moment(0), &trusted, Vec::new(), [7; 32]);
    machine.regroup(&[0, 1, 1]);
    machine
}

fn tell(machine: &mut Discovery, now: Now, server: ServerIndex, hosts: &[&str]) -> Vec<DiscoveryEffect> {
    let peers = hosts.iter().map(|host| peer(host)).collect();
    machine.on_event(now, DiscoveryEvent::Told(server, peers))
}

/// All effects up to a moment, each with the second of its own.
fn run_until(machine: &mut Discovery, end: u64) -> Vec<(u64, DiscoveryEffect)> {
    let mut seen = Vec::new();
    while let Some(wake) = machine.wake_at().filter(|wake| *wake <= at(end).steady) {
        let second = wake.0.div_ceil(1000);
        seen.extend(
            machine
                .on_event(at(second), DiscoveryEvent::Tick)
                .into_iter()
                .map(|it| (second, it)),
        );
    }
    seen
}

fn checks(effects: &[(u64, DiscoveryEffect)]) -> usize {
    effects
        .iter()
        .filter(|(_, it)| matches!(it, DiscoveryEffect::Check(_)))
        .count()
}

#[test]
fn each_trusted_server_is_asked_every_12_to_36_hours_whatever_is_told() {
    let (mut quiet, mut told) = (discovery(), discovery());
    let asks = |effects: Vec<(u64, DiscoveryEffect)>| -> Vec<(u64, ServerIndex)> {
        let asks = effects.into_iter().filter_map(|(second, it)| match it {
            DiscoveryEffect::Ask(server) => Some((second, server)),
            _ => None,
        });
        asks.collect()
    };
    let seen = asks(run_until(&mut quiet, 30 * DAY));
    for server in [A, B, SIBLING_OF_B] {
        let at: Vec<u64> = seen.iter().filter(|(_, it)| *it == server).map(|(at, _)| *at).collect();
        assert!((600..=3 * 3600).contains(&at[0]) && at.len() > 20);
        assert!(
            at.windows(2)
                .all(|pair| (12 * 3600..=36 * 3600 + 1).contains(&(pair[1] - pair[0])))
        );
    }
    tell(&mut told, at(0), A, &["x.example.net"]);
    assert_eq!(asks(run_until(&mut told, 30 * DAY)), seen, "a suggestion moves nothing");
}

#[test]
fn two_operators_corroborate_and_one_with_many_hosts_does_not() {
    let mut machine = discovery();
    tell(&mut machine, at(0), B, &["x.example.net"]);
    tell(&mut machine, at(1), SIBLING_OF_B, &["x.example.net"]);
    assert_eq!(checks(&run_until(&mut machine, 2 * DAY)), 0);
    assert_eq!(machine.suggested().count(), 1);
    assert_eq!(
        tell(&mut machine, at(2 * DAY), A, &["x.example.net"]),
        [DiscoveryEffect::Write]
    );
    assert_eq!(machine.suggested().count(), 0);
    let seen = run_until(&mut machine, 3 * DAY);
    assert_eq!(checks(&seen), 1, "once, at a moment of its own");
}

#[test]
fn what_two_said_who_turn_out_to_be_one_was_said_by_one() {
    let mut machine = discovery();
    let x = address("x.example.net:50002");
    tell(&mut machine, at(0), A, &["x.example.net"]);
    machine.regroup(&[0, 0, 0]);
    tell(&mut machine, at(1), B, &["x.example.net"]);
    assert_eq!(
        (machine.learned().count(), machine.suggested().collect::<Vec<_>>()),
        (0, vec![&x])
    );
    // Voices of before count for who speaks now.
    let mut machine = discovery();
    tell(&mut machine, at(0), B, &["x.example.net"]);
    machine.regroup(&[0, 0, 2]);
    tell(&mut machine, at(1), A, &["x.example.net"]);
    assert_eq!(machine.learned().count(), 0);
    tell(&mut machine, at(2), SIBLING_OF_B, &["x.example.net"]);
    assert_eq!(machine.learned().count(), 1);
}

#[test]
fn voices_that_are_a_week_apart_are_not_added_up() {
    let mut machine = discovery();
    tell(&mut machine, at(0), A, &["x.example.net"]);
    tell(&mut machine, at(7 * DAY + 1), B, &["x.example.net"]);
    assert_eq!(machine.learned().count(), 0);
    tell(&mut machine, at(7 * DAY + 2), A, &["x.example.net"]);
    assert_eq!(machine.learned().count(), 1);
}

#[test]
fn a_peer_of_its_own_for_each_client_is_never_dialed() {
    let mut machine = discovery();
    for day in 0..60 {
        let hosts: Vec<String> = (0..100).map(|at| format!("c{day}x{at}.example.net")).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        tell(&mut machine, at(day * DAY), A, &hosts);
        assert!(machine.suggested().count() <= MAX_SUGGESTIONS);
    }
    assert_eq!(checks(&run_until(&mut machine, 61 * DAY)), 0);
}

#[test]
fn many_suggestions_of_one_drive_out_none_of_another() {
    let mut machine = discovery();
    tell(&mut machine, at(0), B, &["x.example.net", "y.example.net"]);
    for round in 0..20 {
        let hosts: Vec<String> = (0..100).map(|at| format!("c{round}x{at}.example.net")).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        tell(&mut machine, at(round), A, &hosts);
    }
    assert_eq!(machine.suggested().count(), MAX_SUGGESTIONS);
    assert!(machine.suggested().any(|it| it.to_string().starts_with("x.")));
    assert!(machine.suggested().any(|it| it.to_string().starts_with("y.")));
}

#[test]
fn no_address_of_a_trusted_server_is_changed() {
    let mut machine = discovery();
    for server in [A, B] {
        let other_port = Peer {
            tls: Some(666),
            ..peer("ONE.example.")
        };
        machine.on_event(at(0), DiscoveryEvent::Told(server, vec![other_port]));
    }
    machine.on_event(at(0), DiscoveryEvent::Accept(address("one.example:666")));
    assert_eq!((machine.suggested().count(), machine.learned().count()), (0, 0));
}

#[test]
fn only_public_hosts_by_tls_and_onion_services_are_taken() {
    for host in [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "[::1]",
        "[fe80::1]",
        "[fc00::1]",
        "[::ffff:8.8.8.8]",
        "[2001:db8::1]",
        "[2002:a00:1::1]",
        "[64:ff9b::1]",
        "localhost",
        "a.localhost",
        "router.local",
        "relay.testls.bit",
        "nas",
        "a.lan",
        "short.onion",
        "expyuzz4wqqyqhjn.onion",
        "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscrye.onion",
        "qg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion",
        "a..b.org",
        "-a.org",
        "a.org:50002",
        "1.2.3",
        "a/b.org",
    ] {
        assert_eq!(address_of(&peer(host)), None, "{host}");
    }
    for host in ["8.8.8.8", "[2a00:1450::1]", "electrum.example.org", ONION] {
        assert_eq!(address_of(&peer(host)).unwrap().transport, Transport::Tls, "{host}");
    }
    let plain = |host: &str| Peer {
        tls: None,
        ..peer(host)
    };
    assert_eq!(address_of(&plain("electrum.example.org")), None);
    assert_eq!(address_of(&plain(ONION)).unwrap().transport, Transport::Tcp);
}

#[test]
fn a_candidate_is_checked_again_after_growing_pauses_and_then_joins() {
    let mut machine = discovery();
    let x = address("x.example.net:50002");
    machine.on_event(at(0), DiscoveryEvent::Accept(x.clone()));
    let mut now = 0;
    for _ in 0..12 {
        let wake = machine.learned[0].check_at.unwrap();
        assert!(wake.since(at(now).steady) <= Duration::from_secs(24 * 3600));
        now = wake.0.div_ceil(1000);
        let effects = machine.on_event(at(now), DiscoveryEvent::Tick);
        assert!(effects.contains(&DiscoveryEffect::Check(x.clone())));
        assert_eq!(machine.on_event(at(now), DiscoveryEvent::Checked(x.clone(), false)), []);
        let pause = machine.learned[0].check_at.unwrap().since(at(now).steady);
        assert!(pause <= Duration::from_secs(6 * 3600));
    }
    let effects = machine.on_event(at(now), DiscoveryEvent::Checked(x.clone(), true));
    assert_eq!(effects, [DiscoveryEffect::Join(x.clone()), DiscoveryEffect::Write]);
    assert_eq!(machine.learned[0].check_at, None);
    assert_eq!(machine.on_event(at(now), DiscoveryEvent::Checked(x, true)), [], "once");
}

#[test]
fn lookups_come_after_a_week_of_good_service_at_a_random_moment() {
    let mut machine = discovery();
    let x = address("x.example.net:50002");
    machine.on_event(at(0), DiscoveryEvent::Accept(x.clone()));
    machine.on_event(at(0), DiscoveryEvent::Good(x.clone()));
    machine.on_event(at(0), DiscoveryEvent::Checked(x.clone(), true));
    for day in 0..7 {
        assert_eq!(machine.learned[0].admit_at, None, "day {day}");
        for second in [1, 2] {
            machine.on_event(at(day * DAY + second), DiscoveryEvent::Good(x.clone()));
        }
    }
    assert!(machine.learned[0].admit_at.unwrap() > at(6 * DAY + 2).steady);
    let seen = run_until(&mut machine, 20 * DAY);
    let admitted = seen
        .iter()
        .filter(|(_, it)| *it == DiscoveryEffect::Admit(x.clone()))
        .count();
    assert_eq!(admitted, 1);
}

#[test]
fn what_serves_nobody_for_a_month_is_forgotten_unless_the_user_wanted_it() {
    let mut machine = discovery();
    for server in [A, B] {
        tell(&mut machine, at(0), server, &["x.example.net"]);
    }
    machine.on_event(at(0), DiscoveryEvent::Accept(address("y.example.net:50002")));
    let seen = run_until(&mut machine, 33 * DAY);
    assert!(
        seen.iter()
            .any(|(_, it)| *it == DiscoveryEffect::Part(address("x.example.net:50002")))
    );
    assert_eq!(machine.learned().count(), 1);
}

/// The wall clock so many days ahead of the steady one.
fn ahead(days: u64, seconds: u64) -> Now {
    let now = at(seconds);
    Now {
        wall: Timestamp(now.wall.0 + days * DAY),
        ..now
    }
}

#[test]
fn jumps_of_the_wall_clock_are_no_days_of_service_and_take_none_away() {
    let mut machine = discovery();
    let x = address("x.example.net:50002");
    machine.on_event(at(0), DiscoveryEvent::Accept(x.clone()));
    machine.on_event(at(0), DiscoveryEvent::Checked(x.clone(), true));
    for day in 0..30 {
        machine.on_event(ahead(day, day), DiscoveryEvent::Good(x.clone()));
    }
    assert_eq!(machine.learned[0].learned.good_days, 1);
    machine.on_event(ahead(9000, DAY), DiscoveryEvent::Good(x.clone()));
    machine.on_event(at(2 * DAY), DiscoveryEvent::Good(x));
    assert_eq!(
        machine.learned[0].learned.good_days, 3,
        "a day far ahead keeps none from counting"
    );
}

#[test]
fn nothing_is_forgotten_by_a_jump_of_the_wall_clock_or_after_a_long_sleep_before_it_could_serve() {
    let mut machine = discovery();
    for server in [A, B] {
        tell(&mut machine, at(0), server, &["x.example.net"]);
    }
    let x = address("x.example.net:50002");
    machine.on_event(at(0), DiscoveryEvent::Checked(x.clone(), true));
    let is_parted = |effects: &[DiscoveryEffect]| effects.contains(&DiscoveryEffect::Part(x.clone()));
    machine.on_event(at(5 * DAY), DiscoveryEvent::Tick);
    for second in [5 * DAY + 1, 6 * DAY - 1] {
        assert!(!is_parted(&machine.on_event(ahead(40, second), DiscoveryEvent::Tick)));
    }
    let written: Vec<Learned> = machine.learned().cloned().collect();
    assert!(is_parted(&machine.on_event(ahead(40, 7 * DAY), DiscoveryEvent::Tick)));
    let trusted = ["one.example:1"].map(address);
    let mut later = Discovery::new(at(0).steady, &trusted, written, [7; 32]);
    assert!(!is_parted(&later.on_event(ahead(90, 1), DiscoveryEvent::Tick)));
    assert!(is_parted(&later.on_event(ahead(90, DAY), DiscoveryEvent::Tick)));
}

#[test]
fn new_identity_forgets_what_was_suggested_and_forget_what_is_learned() {
    let mut machine = discovery();
    tell(&mut machine, at(0), A, &["x.example.net"]);
    machine.on_event(at(0), DiscoveryEvent::Accept(address("y.example.net:50002")));
    machine.on_event(at(0), DiscoveryEvent::NewIdentity);
    assert_eq!((machine.suggested().count(), machine.learned().count()), (0, 1));
    let effects = machine.on_event(at(0), DiscoveryEvent::Forget(address("y.example.net:50002")));
    assert_eq!(
        effects,
        [
            DiscoveryEffect::Part(address("y.example.net:50002")),
            DiscoveryEffect::Write
        ]
    );
}

proptest! {
    #[test]
    fn whatever_one_operator_says_nothing_is_dialed(
        said in prop::collection::vec((0_u64..30 * DAY, prop::collection::vec("[a-z0-9.]{1,20}", 0..100)), 0..8),
        seed: [u8; 32],
    ) {
        let trusted = ["one.example:1", "two.example.org:1"].map(address);
        let mut machine = Discovery::new(Moment(0), &trusted, Vec::new(), seed);
        let mut said = said;
        said.sort();
        for (second, hosts) in said {
            let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
            prop_assert_eq!(tell(&mut machine, at(second), B, &hosts), []);
            prop_assert!(machine.suggested().count() <= MAX_SUGGESTIONS);
        }
        prop_assert_eq!(checks(&run_until(&mut machine, 40 * DAY)), 0);
    }
}

#[test]
fn what_is_overdue_after_a_sleep_is_not_done_together() {
    let mut machine = discovery();
    let week = 7 * DAY;
    assert_eq!(machine.on_event(at(week), DiscoveryEvent::Tick), [], "nothing at once");
    let effects = run_until(&mut machine, week + 4 * 3600);
    let asked: Vec<u64> = effects
        .iter()
        .filter(|(_, it)| matches!(it, DiscoveryEffect::Ask(_)))
        .map(|(second, _)| *second)
        .collect();
    assert_eq!(asked.len(), 3, "{effects:?}");
    let moments: std::collections::BTreeSet<&u64> = asked.iter().collect();
    assert_eq!(moments.len(), 3, "each at a moment of its own");
}

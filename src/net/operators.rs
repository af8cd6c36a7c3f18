//! Who runs which servers, as far as they tell. Two servers of one operator are one voice: they count as one for a quorum,
//! for a second opinion on a name that is said not to exist, and for a server that they name.
//!
//! | servers with | have one operator |
//! |---|---|
//! | one label in the shipped list, such as a host and its onion service | always |
//! | one host, whatever the port | always, but on this machine and in private networks, where each port is one of its own |
//! | one registrable domain | always. Without a list of public suffixes: the last two labels, three where the last but one is one such as `co` in `co.uk` |
//! | one IPv4 /16 or IPv6 /32 | where the address is an IP. No name is resolved for that |
//! | one key, which both proved to have in their TLS handshakes | since header sync saw it |
//! | features that name each other's hosts | since header sync saw it. Of such an operator the own onion service is preferred: there is no exit on the way, and nothing to pin |
//!
//! Nothing of it proves that two operators are two: one person can have many names. It keeps what is known to be one from
//! counting as two.
//!
//! What servers show is shown to header sync, and could be shown to this program alone. So that no lookup marks it by that at
//! a moment of a server's choice, [`Kinship`] has it count from a random moment on, or from the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::address::{Host, ServerAddr};
use super::pins::Fingerprint;
use super::servers;
use crate::time::{Moment, random_pause};

/// Labels before a country's, below which anybody can have a domain.
const PUBLIC_LABELS: [&str; 7] = ["co", "com", "net", "org", "ac", "gov", "edu"];

/// Most hosts of its own that are kept of what a server names.
pub(crate) const MAX_HOSTS: usize = 16;

/// Mean time until what servers show counts.
const PAUSE: Duration = Duration::from_secs(6 * 3600);

/// How late that may come and still be done then: whoever asks for a tick gets it sooner, but for a machine that slept.
const ON_TIME: Duration = Duration::from_secs(60);

/// What a server showed of who runs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The key of its certificate.
    pub(crate) key: Option<Fingerprint>,
    /// The hosts that it says it is reached at.
    pub(crate) hosts: BTreeSet<Host>,
}

impl Shown {
    /// Takes over what a server says; what is no host is left out, as is what is too much.
    pub(crate) fn new(key: Option<Fingerprint>, hosts: &[String]) -> Self {
        // An IPv6 address stands there without brackets.
        let host = |host: &String| host.parse().map(Host::Ip).or_else(|_| host.parse()).ok();
        let hosts = hosts.iter().filter_map(host);
        Self {
            key,
            hosts: hosts.take(MAX_HOSTS).collect(),
        }
    }
}

/// What servers showed, by address.
pub(crate) type AllShown = BTreeMap<ServerAddr, Shown>;

/// What tells one operator from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operator {
    Label(&'static str),
    Domain(String),
    Network(Vec<u8>),
    Own(ServerAddr),
}

/// Returns the operator of each server as a number, the place of his first server; equal numbers are one operator.
pub(crate) fn operators(servers: &[ServerAddr], shown: &AllShown) -> Vec<usize> {
    let mut firsts = BTreeMap::new();
    let mut numbers: Vec<usize> = servers
        .iter()
        .zip(0..)
        .map(|(server, at)| *firsts.entry(operator(server)).or_insert(at))
        .collect();
    for (at, server) in servers.iter().enumerate() {
        for (other_at, other) in servers.iter().enumerate().take(at) {
            if is_one_by_what_they_show(server, other, shown) {
                join(&mut numbers, at, other_at);
            }
        }
    }
    numbers
}

/// Makes two groups one, under the lower number of both.
fn join(numbers: &mut [usize], a: usize, b: usize) {
    let (Some(a), Some(b)) = (numbers.get(a).copied(), numbers.get(b).copied()) else {
        return;
    };
    for number in numbers.iter_mut().filter(|number| **number == a.max(b)) {
        *number = a.min(b);
    }
}

fn is_one_by_what_they_show(a: &ServerAddr, b: &ServerAddr, shown: &AllShown) -> bool {
    let (Some(of_a), Some(of_b)) = (shown.get(a), shown.get(b)) else {
        return false;
    };
    (of_a.key.is_some() && of_a.key == of_b.key) || name_each_other((a, of_a), (b, of_b))
}

fn name_each_other((a, of_a): (&ServerAddr, &Shown), (b, of_b): (&ServerAddr, &Shown)) -> bool {
    of_a.hosts.contains(&b.host) && of_b.hosts.contains(&a.host)
}

/// Returns the servers in whose place an onion service of the same operator is preferred, each with that one.
pub(crate) fn own_onions(servers: &[ServerAddr], shown: &AllShown) -> BTreeMap<usize, usize> {
    let place_of_onion = |server: &ServerAddr| {
        let own = shown.get(server)?;
        // Of one that parted and came back the last place is its own.
        let (at, _) = servers.iter().enumerate().rfind(|(_, other)| {
            let theirs = shown.get(other);
            other.is_onion() && theirs.is_some_and(|theirs| name_each_other((server, own), (other, theirs)))
        })?;
        Some(at)
    };
    let all = servers.iter().zip(0..).filter(|(server, _)| !server.is_onion());
    all.filter_map(|(server, at)| Some((at, place_of_onion(server)?)))
        .collect()
}

/// What happened.
#[derive(Debug)]
pub(crate) enum KinshipEvent {
    /// Time has passed.
    Tick,
    /// A server showed this to header sync.
    Shown(ServerAddr, Shown),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KinshipEffect {
    /// Have servers counted by what [`Kinship::acting`] returns now.
    Regroup,
    /// Write down what [`Kinship::shown`] returns now.
    Write,
}

/// When what servers show of who runs them counts. A machine without I/O.
///
/// | what happens | what follows |
/// |---|---|
/// | a server shows what it did not | it is written down, and counts from the next start on |
/// | the same, and nothing waits | a random moment is drawn, hours ahead on average |
/// | that moment | all that was shown until then counts |
/// | that moment, long past since the machine slept | another one is drawn |
#[derive(Debug)]
pub(crate) struct Kinship {
    shown: AllShown,
    acting: AllShown,
    act_at: Option<Moment>,
    rng: StdRng,
}

impl Kinship {
    /// Makes the machine with what was written down before, which counts from now on.
    pub(crate) fn new(shown: AllShown, seed: [u8; 32]) -> Self {
        Self {
            acting: shown.clone(),
            shown,
            act_at: None,
            rng: StdRng::from_seed(seed),
        }
    }

    /// Returns what counts.
    pub(crate) fn acting(&self) -> &AllShown {
        &self.acting
    }

    /// Returns what was shown last.
    pub(crate) fn shown(&self) -> &AllShown {
        &self.shown
    }

    /// Returns when something is to be done next without an event.
    pub(crate) fn wake_at(&self) -> Option<Moment> {
        self.act_at
    }

    /// Advances by one event.
    pub(crate) fn on_event(&mut self, now: Moment, event: KinshipEvent) -> Option<KinshipEffect> {
        match event {
            KinshipEvent::Shown(server, shown) => {
                if self.shown.get(&server) == Some(&shown) {
                    return None;
                }
                self.shown.insert(server, shown);
                if self.act_at.is_none() {
                    self.act_at = Some(now + random_pause(PAUSE, &mut self.rng));
                }
                Some(KinshipEffect::Write)
            }
            KinshipEvent::Tick => {
                let due = self.act_at.filter(|at| *at <= now)?;
                if now.since(due) > ON_TIME {
                    self.act_at = Some(now + random_pause(PAUSE, &mut self.rng));
                    return None;
                }
                self.act_at = None;
                self.acting.clone_from(&self.shown);
                Some(KinshipEffect::Regroup)
            }
        }
    }
}

fn operator(server: &ServerAddr) -> Operator {
    if let Some(label) = servers::operator(&server.host) {
        return Operator::Label(label);
    }
    if is_local(&server.host) {
        return Operator::Own(server.clone());
    }
    match &server.host {
        Host::Name(name) => Operator::Domain(registrable(name).to_owned()),
        Host::Ip(IpAddr::V4(ip)) => Operator::Network(ip.octets().into_iter().take(2).collect()),
        Host::Ip(IpAddr::V6(ip)) => Operator::Network(ip.octets().into_iter().take(4).collect()),
    }
}

fn is_local(host: &Host) -> bool {
    host.is_loopback()
        || match host {
            Host::Ip(IpAddr::V4(ip)) => ip.is_private() || ip.is_link_local(),
            Host::Ip(IpAddr::V6(ip)) => ip.is_unique_local() || ip.is_unicast_link_local(),
            Host::Name(name) => !name.contains('.'),
        }
}

/// Returns the part of a name that somebody had to register.
fn registrable(name: &str) -> &str {
    let mut labels = name.rsplit('.');
    let (last, before) = (labels.next().unwrap_or(name), labels.next().unwrap_or_default());
    let kept = if last.len() == 2 && PUBLIC_LABELS.contains(&before) {
        3
    } else {
        2
    };
    let dots = name.rmatch_indices('.').map(|(at, _)| at + 1);
    dots.take(kept)
        .nth(kept - 1)
        .and_then(|at| name.get(at..))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Network;

    const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
    const OTHER: &str = "sp3k262uwy4r2k3ycr5awluarykdpag6a7y33jxop4cs2lu5uz5sseqd.onion";

    fn count(servers: &[&str]) -> usize {
        let servers: Vec<ServerAddr> = servers.iter().map(|server| server.parse().unwrap()).collect();
        operators(&servers, &AllShown::new())
            .into_iter()
            .collect::<BTreeSet<_>>()
            .len()
    }

    #[test]
    fn the_seven_shipped_servers_are_of_five_operators() {
        let shipped = servers::servers(Network::Mainnet);
        assert_eq!(operators(&shipped, &AllShown::new()), [0, 1, 1, 3, 3, 5, 6]);
        let by_address = [
            "162.212.154.52:50002",
            "i665jpwsq46zlsdbnj4axgzd3s56uzey5uhotsnxzsknzbn36jaddsid.onion:50002",
        ];
        assert_eq!(count(&by_address), 1);
    }

    #[test]
    fn what_is_near_is_one_operator() {
        for (servers, operators) in [
            (["a.example.org:1", "b.example.org:2"], 1),
            (["a.example.org:1", "example.org:1"], 1),
            (["a.example.org:1", "a.example.net:1"], 2),
            (["a.one.co.uk:1", "a.two.co.uk:1"], 2),
            (["a.one.co.uk:1", "b.one.co.uk:1"], 1),
            (["8.8.8.8:1", "8.8.200.1:2"], 1),
            (["8.8.8.8:1", "8.9.8.8:1"], 2),
            (["[2001:db8:1::1]:1", "[2001:db8:2::1]:1"], 1),
            (["[2001:db8:1::1]:1", "[2001:db9::1]:1"], 2),
            (["127.0.0.1:1", "127.0.0.1:2"], 2),
            (["10.0.0.1:1", "10.0.0.2:1"], 2),
            (["localhost:1", "localhost:2"], 2),
            ([&format!("{ONION}:1"), &format!("{OTHER}:1")], 2),
            ([&format!("x.{ONION}:1"), &format!("{ONION}:1")], 1),
        ] {
            assert_eq!(count(&servers), operators, "{servers:?}");
        }
    }

    fn addresses<const N: usize>(words: [&str; N]) -> [ServerAddr; N] {
        words.map(|word| word.parse().unwrap())
    }

    fn shown(key: Option<u8>, hosts: &[&str]) -> Shown {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        Shown::new(key.map(|key| Fingerprint([key; 32])), &hosts)
    }

    #[test]
    fn who_shows_the_same_key_is_one_operator_and_who_shows_none_is_not() {
        let servers = addresses(["a.one:1", "b.two:1", "c.three:1", "d.four:1", "e.five:1"]);
        let keys = [Some(1), Some(2), Some(1), None, None];
        let all: AllShown = servers.iter().cloned().zip(keys.map(|key| shown(key, &[]))).collect();
        assert_eq!(operators(&servers, &all), [0, 1, 0, 3, 4]);
    }

    #[test]
    fn who_name_each_other_are_one_operator_and_who_is_named_alone_is_not() {
        let servers = addresses(["a.one:1", "b.two:1", "8.8.8.8:1", "d.four:1"]);
        let hosts: [&[&str]; 4] = [
            &["a.one", "b.two", "8.8.8.8", "d.four"],
            &["B.TWO.", "a.one"],
            &["a.one", "8.8.8.8"],
            &["d.four"],
        ];
        let all: AllShown = servers
            .iter()
            .cloned()
            .zip(hosts.map(|hosts| shown(None, hosts)))
            .collect();
        assert_eq!(operators(&servers, &all), [0, 0, 0, 3]);
        // Nobody joins another one's group by his own word.
        let alone: AllShown = all.into_iter().filter(|(server, _)| *server != servers[0]).collect();
        assert_eq!(operators(&servers, &alone), [0, 1, 2, 3]);
    }

    #[test]
    fn groups_that_have_a_server_in_common_are_one() {
        let servers = addresses(["a.one:1", "b.two:1", "c.three.net:1", "d.three.net:1"]);
        let all: AllShown = [
            (servers[0].clone(), shown(Some(1), &["d.three.net", "a.one"])),
            (servers[1].clone(), shown(Some(1), &[])),
            (servers[3].clone(), shown(None, &["a.one"])),
        ]
        .into();
        assert_eq!(operators(&servers, &all), [0, 0, 0, 0]);
    }

    #[test]
    fn an_own_onion_is_preferred_where_both_name_each_other() {
        let onions = [ONION, OTHER].map(|onion| format!("{onion}:1:t"));
        let servers = addresses(["a.one:1", &onions[0], "b.two:1", &onions[1]]);
        let hosts: [&[&str]; 4] = [&["a.one", ONION], &["a.one", ONION], &["b.two", OTHER], &[OTHER]];
        let all: AllShown = servers
            .iter()
            .cloned()
            .zip(hosts.map(|hosts| shown(Some(1), hosts)))
            .collect();
        assert_eq!(
            own_onions(&servers, &all),
            BTreeMap::from([(0, 1)]),
            "a key alone says not which is preferred"
        );
        assert_eq!(own_onions(&servers, &AllShown::new()), BTreeMap::new());
    }

    #[test]
    fn what_is_shown_counts_from_a_random_moment_on() {
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let mut kinship = Kinship::new(AllShown::new(), [seed; 32]);
            let [server] = addresses(["a.one:1"]);
            let event = |key| KinshipEvent::Shown(server.clone(), shown(Some(key), &[]));
            assert_eq!(kinship.on_event(Moment(0), event(1)), Some(KinshipEffect::Write));
            assert_eq!(kinship.on_event(Moment(0), event(1)), None, "it is known");
            let due = kinship.wake_at().unwrap();
            assert_eq!(kinship.on_event(Moment(0), event(2)), Some(KinshipEffect::Write));
            assert_eq!(kinship.wake_at(), Some(due), "what comes later moves nothing");
            assert_eq!(kinship.on_event(Moment(due.0 - 1), KinshipEvent::Tick), None);
            assert!(kinship.acting().is_empty());
            assert_eq!(kinship.on_event(due, KinshipEvent::Tick), Some(KinshipEffect::Regroup));
            assert_eq!(kinship.acting(), kinship.shown());
            assert_eq!(kinship.wake_at(), None);
            seen.insert(due.0 / 3_600_000);
        }
        assert!(seen.len() > 10, "{seen:?}");
    }

    #[test]
    fn what_is_overdue_after_a_sleep_waits_for_another_moment() {
        let mut kinship = Kinship::new(AllShown::new(), [7; 32]);
        let [server] = addresses(["a.one:1"]);
        kinship.on_event(Moment(0), KinshipEvent::Shown(server, Shown::default()));
        let late = kinship.wake_at().unwrap() + ON_TIME + Duration::from_secs(1);
        assert_eq!(kinship.on_event(late, KinshipEvent::Tick), None);
        assert!(kinship.wake_at().unwrap() > late && kinship.acting().is_empty());
    }
}

//! Which servers are learnt of from others, and when anything is done about it. A machine without I/O.
//!
//! A server can hand each of its callers a peer of its own, to know them again by whoever dials it, and servers cost
//! nothing to whoever wants many. So what one operator says is remembered and nothing more:
//!
//! | class | a server is of it that | is used |
//! |---|---|---|
//! | trusted | was configured, or is shipped | as ever |
//! | learned | two trusted operators named within a week, or the user accepted | by header sync once it was checked, by lookups after a week of good service |
//! | suggested | one trusted operator named | never; it is not even dialed |
//!
//! A server of a lower class changes nothing of one of a higher class: what has the host of a trusted server is left out.
//! All moments come from the machine's own generator and the clock. No event tells of a lookup, so none can move them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::address::{Host, ServerAddr, Transport};
use crate::backoff::Backoff;
use crate::electrum::Peer;
use crate::reputation::ServerIndex;
use crate::time::{Moment, Now, random_pause};

/// Most suggestions that are kept.
pub(crate) const MAX_SUGGESTIONS: usize = 32;

/// Most learned servers.
pub(crate) const MAX_LEARNED: usize = 16;

/// Operators that must name a server.
const VOICES: usize = 2;

/// They must do so within this time.
const VOICE_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Days of good service before lookups use a learned server.
const PROBATION_DAYS: u32 = 7;

/// Least time of the steady clock between two days of good service: the wall clock's jumps make no days.
const SERVICE_DAY: Duration = Duration::from_secs(12 * 3600);

/// A learned server that was not good for so many days is forgotten.
const FORGOTTEN_AFTER_DAYS: u64 = 30;

/// Time in which it can show itself good first, after a start, a sleep, or a jump of the wall clock.
const FORGET_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// How much further than the steady clock the wall clock may go between two ticks, and not have jumped.
const JUMP: Duration = Duration::from_secs(3600);

/// When a server is asked first in a process, and how long after that again, in seconds.
const FIRST_ASK: Range<u64> = 600..3 * 3600;
const NEXT_ASK: Range<u64> = 12 * 3600..36 * 3600;

/// How late something may come and still be done: whoever asks for a tick gets it sooner, but for a machine that slept.
const ON_TIME: Duration = Duration::from_secs(60);

/// Mean pause before a learned server is checked, and before a week of good service shows in lookups.
const CHECK_PAUSE: Duration = Duration::from_secs(3600);
const ADMISSION_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// The longest pauses after checks that failed; each is a random part of these.
const CHECK_PAUSES: Backoff = Backoff::new(Duration::from_secs(600), Duration::from_secs(6 * 3600));

/// Labels that only a private network, this program, or a text knows.
const PRIVATE_LABELS: [&str; 10] = [
    "bit",
    "local",
    "localhost",
    "internal",
    "lan",
    "home",
    "arpa",
    "test",
    "invalid",
    "i2p",
];

/// Why a server counts as learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LearnedBy {
    /// Two trusted operators named it.
    Corroborated,
    /// The user said so.
    Accepted,
}

/// A learned server, as it is written down. Days are counted from 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Learned {
    /// Its address.
    pub(crate) address: ServerAddr,
    /// Why it is one.
    pub(crate) by: LearnedBy,
    /// The day on which it became one.
    pub(crate) since: u64,
    /// Whether its check was passed, so that header sync uses it.
    pub(crate) is_checked: bool,
    /// On how many days it was of good service.
    pub(crate) good_days: u32,
    /// The last of them.
    pub(crate) last_good: Option<u64>,
}

impl Learned {
    /// Says whether it served well for long enough that lookups may use it.
    pub(crate) fn is_proven(&self) -> bool {
        self.is_checked && self.good_days >= PROBATION_DAYS
    }
}

/// What happened.
#[derive(Debug)]
pub(crate) enum DiscoveryEvent {
    /// Time has passed.
    Tick,
    /// A trusted server, asked, told of others.
    Told(ServerIndex, Vec<Peer>),
    /// A check ended; whether the server is what it should be.
    Checked(ServerAddr, bool),
    /// Header sync found a learned server good.
    Good(ServerAddr),
    /// The user wants a server that was suggested, or any other, to be learned.
    Accept(ServerAddr),
    /// The user wants a server to be neither suggested nor learned.
    Forget(ServerAddr),
    /// All identities are forgotten, and with them what was suggested.
    NewIdentity,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DiscoveryEffect {
    /// Ask a trusted server for others over its header sync connection, if there is one.
    Ask(ServerIndex),
    /// See, over a circuit of its own, whether a learned server is what it should be.
    Check(ServerAddr),
    /// Have header sync use it.
    Join(ServerAddr),
    /// Have lookups use it.
    Admit(ServerAddr),
    /// Have nobody use it.
    Part(ServerAddr),
    /// Write down what is learned.
    Write,
}

#[derive(Debug)]
struct Candidate {
    learned: Learned,
    /// When it is checked next, and after how many failures.
    check_at: Option<Moment>,
    failures: u32,
    admit_at: Option<Moment>,
    is_admitted: bool,
    /// When a day of good service was counted last in this process.
    counted_at: Option<Moment>,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Discovery {
    trusted: Vec<ServerAddr>,
    operators: Vec<usize>,
    ask_at: Vec<Moment>,
    /// By whom each was named, and when last.
    suggested: BTreeMap<ServerAddr, BTreeMap<usize, Moment>>,
    learned: Vec<Candidate>,
    last_tick: Option<Now>,
    /// None is forgotten before.
    forget_from: Moment,
    rng: StdRng,
}

impl Discovery {
    /// Makes the machine for the servers that are trusted, each of an operator of its own unless [`Self::regroup`] says
    /// otherwise, with what was learned before.
    pub(crate) fn new(now: Moment, trusted: &[ServerAddr], learned: Vec<Learned>, seed: [u8; 32]) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let ask_at = trusted.iter().map(|_| now + seconds(FIRST_ASK, &mut rng)).collect();
        let mut machine = Self {
            trusted: trusted.to_vec(),
            operators: (0..trusted.len()).collect(),
            ask_at,
            suggested: BTreeMap::new(),
            learned: Vec::new(),
            last_tick: None,
            forget_from: now + FORGET_PAUSE,
            rng,
        };
        for learned in learned {
            machine.add(now, learned);
        }
        machine
    }

    /// Has the trusted servers be run by these from now on, each told by the place of his first one. What two said who are
    /// one now was said by one.
    pub(crate) fn regroup(&mut self, operators: &[usize]) {
        for (known, new) in self.operators.iter_mut().zip(operators) {
            *known = *new;
        }
        for voices in self.suggested.values_mut() {
            let mut heard = BTreeMap::new();
            for (operator, at) in std::mem::take(voices) {
                let operator = operators.get(operator).copied().unwrap_or(operator);
                let last = heard.entry(operator).or_insert(at);
                *last = at.max(*last);
            }
            *voices = heard;
        }
    }

    /// Returns what is learned.
    pub(crate) fn learned(&self) -> impl Iterator<Item = &Learned> {
        self.learned.iter().map(|it| &it.learned)
    }

    /// Returns what is suggested, by one operator each.
    pub(crate) fn suggested(&self) -> impl Iterator<Item = &ServerAddr> {
        self.suggested.keys()
    }

    /// Returns when something is to be done next without an event.
    pub(crate) fn wake_at(&self) -> Option<Moment> {
        let checks = self.learned.iter().filter_map(|it| it.check_at);
        let admissions = self.learned.iter().filter_map(|it| it.admit_at);
        self.ask_at.iter().copied().chain(checks).chain(admissions).min()
    }

    /// Advances by one event.
    pub(crate) fn on_event(&mut self, now: Now, event: DiscoveryEvent) -> Vec<DiscoveryEffect> {
        match event {
            DiscoveryEvent::Tick => self.on_tick(now),
            DiscoveryEvent::Told(server, peers) => self.on_told(now, server, &peers),
            DiscoveryEvent::Checked(address, fits) => self.on_checked(now, &address, fits),
            DiscoveryEvent::Good(address) => self.on_good(now, &address),
            DiscoveryEvent::Accept(address) => self.learn(now, address, LearnedBy::Accepted),
            DiscoveryEvent::Forget(address) => {
                self.suggested.remove(&address);
                self.part(&address)
            }
            DiscoveryEvent::NewIdentity => {
                self.suggested.clear();
                Vec::new()
            }
        }
    }

    fn on_tick(&mut self, now: Now) -> Vec<DiscoveryEffect> {
        let mut effects = Vec::new();
        // What is overdue, after the machine slept, must not be done together: each waits for another moment of its own.
        let is_overdue = |at: Moment| now.steady.since(at) > ON_TIME;
        for (at, ask_at) in self.ask_at.iter_mut().enumerate() {
            if *ask_at > now.steady {
                continue;
            }
            if is_overdue(*ask_at) {
                *ask_at = now.steady + seconds(FIRST_ASK, &mut self.rng);
                continue;
            }
            *ask_at = now.steady + seconds(NEXT_ASK, &mut self.rng);
            effects.push(DiscoveryEffect::Ask(ServerIndex(at)));
        }
        for it in &mut self.learned {
            for due in [&mut it.check_at, &mut it.admit_at].into_iter().flatten() {
                if is_overdue(*due) {
                    *due = now.steady + random_pause(CHECK_PAUSE, &mut self.rng);
                }
            }
            if it.check_at.is_some_and(|at| at <= now.steady) {
                it.check_at = None;
                effects.push(DiscoveryEffect::Check(it.learned.address.clone()));
            }
            if it.admit_at.is_some_and(|at| at <= now.steady) {
                it.admit_at = None;
                it.is_admitted = true;
                effects.push(DiscoveryEffect::Admit(it.learned.address.clone()));
            }
        }
        effects.extend(self.forget_old(now));
        effects
    }

    fn forget_old(&mut self, now: Now) -> Vec<DiscoveryEffect> {
        let has_jumped = self.last_tick.is_some_and(|last| {
            let passed = Duration::from_secs(now.wall.0.saturating_sub(last.wall.0));
            passed > now.steady.since(last.steady) + JUMP
        });
        self.last_tick = Some(now);
        if has_jumped {
            self.forget_from = now.steady + FORGET_PAUSE;
        }
        if now.steady < self.forget_from {
            return Vec::new();
        }
        let is_old = |it: &&Candidate| {
            let last = it.learned.last_good.unwrap_or(it.learned.since);
            it.learned.by == LearnedBy::Corroborated && day(now).saturating_sub(last) > FORGOTTEN_AFTER_DAYS
        };
        let old = self.learned.iter().filter(is_old);
        let old: Vec<ServerAddr> = old.map(|it| it.learned.address.clone()).collect();
        old.iter().flat_map(|address| self.part(address)).collect()
    }

    fn on_told(&mut self, now: Now, server: ServerIndex, peers: &[Peer]) -> Vec<DiscoveryEffect> {
        let Some(operator) = self.operators.get(server.0).copied() else {
            return Vec::new();
        };
        let mut effects = Vec::new();
        let addresses: BTreeSet<ServerAddr> = peers.iter().filter_map(address_of).collect();
        for address in addresses {
            if self.is_trusted(&address.host) || self.is_learned(&address) {
                continue;
            }
            let voices = self.suggested.entry(address.clone()).or_default();
            voices.retain(|_, at| now.steady.since(*at) <= VOICE_LIFE);
            voices.insert(operator, now.steady);
            if voices.len() >= VOICES {
                effects.extend(self.learn(now, address, LearnedBy::Corroborated));
            }
        }
        self.suggested.retain(|_, voices| {
            voices.retain(|_, at| now.steady.since(*at) <= VOICE_LIFE);
            !voices.is_empty()
        });
        while self.suggested.len() > MAX_SUGGESTIONS {
            self.drop_suggestion();
        }
        effects
    }

    /// Drops one of the operator that has most of them: by many of his own he drives out nobody else's.
    fn drop_suggestion(&mut self) {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for operator in self.suggested.values().flat_map(BTreeMap::keys) {
            *counts.entry(*operator).or_default() += 1;
        }
        let heaviest = counts.into_iter().max_by_key(|(_, count)| *count).map(|(it, _)| it);
        let his = self
            .suggested
            .iter()
            .filter(|(_, voices)| heaviest.is_some_and(|it| voices.contains_key(&it)));
        let his: Vec<ServerAddr> = his.map(|(address, _)| address.clone()).collect();
        let chosen = his.get(self.rng.random_range(0..his.len().max(1)));
        if let Some(address) = chosen.or(self.suggested.keys().next().cloned().as_ref()) {
            self.suggested.remove(address);
        }
    }

    fn learn(&mut self, now: Now, address: ServerAddr, by: LearnedBy) -> Vec<DiscoveryEffect> {
        if self.is_trusted(&address.host) || self.is_learned(&address) || self.learned.len() >= MAX_LEARNED {
            return Vec::new();
        }
        self.suggested.remove(&address);
        let learned = Learned {
            address,
            by,
            since: day(now),
            is_checked: false,
            good_days: 0,
            last_good: None,
        };
        self.add(now.steady, learned);
        vec![DiscoveryEffect::Write]
    }

    fn add(&mut self, now: Moment, learned: Learned) {
        if self.is_trusted(&learned.address.host)
            || self.is_learned(&learned.address)
            || self.learned.len() >= MAX_LEARNED
        {
            return;
        }
        let check_at = (!learned.is_checked).then(|| now + random_pause(CHECK_PAUSE, &mut self.rng));
        let is_admitted = learned.is_proven();
        self.learned.push(Candidate {
            learned,
            check_at,
            failures: 0,
            admit_at: None,
            is_admitted,
            counted_at: None,
        });
    }

    fn on_checked(&mut self, now: Now, address: &ServerAddr, fits: bool) -> Vec<DiscoveryEffect> {
        let mut all = self.learned.iter_mut();
        let Some(it) = all.find(|it| it.learned.address == *address && !it.learned.is_checked) else {
            return Vec::new();
        };
        if fits {
            it.learned.is_checked = true;
            it.check_at = None;
            return vec![DiscoveryEffect::Join(address.clone()), DiscoveryEffect::Write];
        }
        let longest = CHECK_PAUSES.pause(it.failures);
        it.failures = it.failures.saturating_add(1);
        it.check_at = Some(now.steady + longest.mul_f64(self.rng.random()));
        Vec::new()
    }

    fn on_good(&mut self, now: Now, address: &ServerAddr) -> Vec<DiscoveryEffect> {
        let mut all = self.learned.iter_mut();
        let it = all.find(|it| it.learned.address == *address && it.learned.is_checked);
        // A day that lies ahead is one that the wall clock showed wrongly: it must not keep later ones from counting.
        let is_new = |it: &&mut Candidate| {
            it.learned.last_good != Some(day(now)) && it.counted_at.is_none_or(|at| now.steady.since(at) >= SERVICE_DAY)
        };
        let Some(it) = it.filter(is_new) else {
            return Vec::new();
        };
        it.counted_at = Some(now.steady);
        it.learned.last_good = Some(day(now));
        it.learned.good_days = it.learned.good_days.saturating_add(1);
        if it.learned.is_proven() && !it.is_admitted && it.admit_at.is_none() {
            it.admit_at = Some(now.steady + random_pause(ADMISSION_PAUSE, &mut self.rng));
        }
        vec![DiscoveryEffect::Write]
    }

    fn part(&mut self, address: &ServerAddr) -> Vec<DiscoveryEffect> {
        let before = self.learned.len();
        self.learned.retain(|it| it.learned.address != *address);
        if self.learned.len() == before {
            return Vec::new();
        }
        vec![DiscoveryEffect::Part(address.clone()), DiscoveryEffect::Write]
    }

    fn is_trusted(&self, host: &Host) -> bool {
        self.trusted.iter().any(|it| it.host == *host)
    }

    fn is_learned(&self, address: &ServerAddr) -> bool {
        self.learned.iter().any(|it| it.learned.address == *address)
    }
}

fn day(now: Now) -> u64 {
    now.wall.0 / (24 * 3600)
}

fn seconds(range: Range<u64>, rng: &mut impl Rng) -> Duration {
    Duration::from_secs(rng.random_range(range))
}

/// Returns where a server is that another one speaks of, if it is one that may be dialed: an onion service, or by TLS
/// a host that is public.
pub(crate) fn address_of(peer: &Peer) -> Option<ServerAddr> {
    let host: Host = peer.host.parse().ok()?;
    let (transport, port) = match (peer.tls, peer.tcp) {
        (Some(port), _) => (Transport::Tls, port),
        (None, Some(port)) if host.is_onion() => (Transport::Tcp, port),
        _ => return None,
    };
    is_public(&host).then_some(ServerAddr { host, port, transport })
}

/// Says whether a host can be on the Internet, so that it may be dialed on somebody's word.
pub(crate) fn is_public(host: &Host) -> bool {
    match host {
        Host::Name(name) => name
            .rsplit_once('.')
            .is_some_and(|(_, last)| !PRIVATE_LABELS.contains(&last)),
        Host::Ip(IpAddr::V4(ip)) => is_public_v4(*ip),
        Host::Ip(IpAddr::V6(ip)) => is_public_v6(*ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_special = a == 0 || a >= 224 || (a == 192 && b == 0 && c == 0) || (a == 198 && (b == 18 || b == 19));
    !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_documentation() || is_shared || is_special)
}

/// Only what is handed out for the public, `2000::/3`, but for documentation and what holds an IPv4 address.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    a & 0xe000 == 0x2000 && a != 0x2002 && !(a == 0x2001 && (b == 0xdb8 || b == 0)) && a != 0x3fff
}

#[cfg(test)]
mod tests;
